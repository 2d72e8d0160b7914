"""Keeps one map layer in the viewer in step with the store, and lays the kinds of change over it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .kinds import kinds_layer_data, kinds_of_layer
from .layers import (
    KINDS,
    METADATA,
    available_kinds,
    latent_order,
    limits_of,
    map_layer_data,
    map_name,
    map_of,
    note_of,
    notices_of,
    peaks_of,
    placement_of_layer,
    result_of,
)
from .store import Message, Store
from .worker import Latest

OUTLINE = 1  # of the kinds, in sites: the map inside stays in sight


class MapLayer:
    """The map on the screen: made when a result comes, updated when something else of it is chosen.

    Layers with results of this plugin that others add (a reader, or the user) are taken over. The kinds of
    change of a result that is new get a layer of their own, once, when it is finished.

    Parameters
    ----------
    viewer : napari viewer or ViewerModel
        Where the layer lies.
    store : Store
        What is to be seen.
    """

    def __init__(self, viewer: Any, store: Store) -> None:
        self._viewer, self._store = viewer, store
        self._layer: Any = None
        self._adding = False  # a layer of ours: the selection that moves with it is not the user's
        self._deleted = False  # by the user: comes back only when something of the result is picked
        self._analysis = store.state.analysis
        self._with_kinds = self._analysis  # the last analysis whose kinds were shown, here or by a reader
        self._shown: tuple[str, int] | None = None
        self._limits: tuple[float, float] | None = None
        self._latest = Latest(lambda text: store.say(text, error=True))
        viewer.layers.events.inserted.connect(self._inserted)
        viewer.layers.events.removed.connect(self._removed)
        viewer.layers.selection.events.active.connect(self._activated)
        store.on("result revision latent kind analysis", self._update)
        store.on("frame", self._frame_moved)
        store.on("running", self._drop_if_gone)
        for layer in list(viewer.layers):
            _outline_kinds(layer)
            self._adopt(layer)

    @property
    def layer(self) -> Any:
        """The map layer; None when there is none."""
        return self._layer

    def shut_down(self) -> None:
        """Let go of the viewer; the layer stays."""
        self._viewer.layers.events.inserted.disconnect(self._inserted)
        self._viewer.layers.events.removed.disconnect(self._removed)
        self._viewer.layers.selection.events.active.disconnect(self._activated)
        self._latest.close()
        self._layer = None

    def _inserted(self, event: Any) -> None:
        _outline_kinds(event.value)
        if event.value is not self._layer:
            self._adopt(event.value)

    def _removed(self, event: Any) -> None:
        if event.value is self._layer:
            self._layer, self._deleted = None, True
        self._drop_if_gone()

    def _drop_if_gone(self) -> None:
        """Forget a result of which the viewer shows neither the video nor a map."""
        state = self._store.state
        if state.result is None or state.running or self._latest.busy or self._layer is not None:
            return
        layers = list(self._viewer.layers)
        if not any(layer is state.analysed or result_of(layer) is state.result for layer in layers):
            self._store.drop_result(message=Message())

    def _activated(self, event: Any) -> None:
        if event.value is not None and event.value is not self._layer and not self._adding:
            self._adopt(event.value)

    def _adopt(self, layer: Any) -> None:
        result = result_of(layer)
        if result is None or self._store.state.running:
            return
        note = note_of(layer)
        self._layer, self._deleted = layer, False
        self._analysis = self._with_kinds = self._store.state.analysis + 1
        self._shown = (note.get("map", ""), note.get("latent", 0))
        self._limits = None
        self._store.change(
            result=result,
            analysis=self._analysis,
            revision=0,
            placement=placement_of_layer(layer),
            title=note.get("title", ""),
            analysed=self._video_of(result, note),
            latent=note.get("latent"),
            kind=note.get("map", self._store.state.kind),
            message=Message(" ".join(notices_of(result))),
        )

    def _video_of(self, result: Any, note: dict[str, Any]) -> Any:
        """The layer in the viewer that a result was made of: of the same file, else of the same name."""
        others = [layer for layer in self._viewer.layers if result_of(layer) is None and layer.ndim > 1]
        source = str(result.attrs.get("source", "array"))
        same = [
            layer for layer in others if source != "array" and str(note_of(layer).get("source")) == source
        ]
        named = [layer for layer in others if layer.name == note.get("title")]
        return next(iter(same + named), None)

    def _update(self) -> None:
        state = self._store.state
        if state.result is None:
            # what was on the screen stays there, but is no more in step
            self._layer, self._shown, self._limits, self._deleted = None, None, None, False
        if state.result is None or state.placement is None:
            return
        if state.analysis != self._analysis:
            self._analysis, self._layer, self._shown, self._limits = state.analysis, None, None, None
            self._deleted = False
        if not available_kinds(state.result):
            return
        kind = self._kind(state.result)
        latent = state.latent
        if latent is None:
            latent = latent_order(peaks_of(state.result), "peak")[0]
        if kind == "z":
            self._show_frame(latent)
        else:
            self._show(kind, latent, map_of(state.result, kind, latent, state.frame))
        self._show_kinds()

    def _frame_moved(self) -> None:
        result = self._store.state.result
        if result is None or self._deleted:
            return
        if "z" in available_kinds(result) and self._kind(result) == "z":
            self._update()

    def _kind(self, result: Any) -> str:
        """The kind that is wanted, or the first one that there is."""
        kinds = available_kinds(result)
        return self._store.state.kind if self._store.state.kind in kinds else kinds[0]

    def _show_frame(self, latent: int) -> None:
        """z at this frame comes from disk perhaps: read in a thread."""
        state = self._store.state
        result, frame = state.result, state.frame
        if result is None:
            return
        fresh = self._shown != ("z", latent) or self._limits is None

        def read() -> Any:
            values = map_of(result, "z", latent, frame)
            if not fresh:
                return values, None
            last = result.sizes["time"] - 1
            # limits that hold for all frames, so that colours can be compared from frame to frame
            picks = sorted({0, last // 4, last // 2, 3 * last // 4, last})
            some = [map_of(result, "z", latent, pick) for pick in picks]
            return values, limits_of(np.stack([values, *some]), "z")

        def take(found: Any) -> None:
            if self._store.state.result is result:
                self._show("z", latent, found[0], found[1])

        self._latest.submit(read, take)

    def _show(self, kind: str, latent: int, values: Any, limits: tuple[float, float] | None = None) -> None:
        state = self._store.state
        new_picture = self._shown != (kind, latent)
        self._shown = (kind, latent)
        if limits is not None:
            self._limits = limits
        if self._layer is None:
            self._add(kind, latent, values)
            return
        layer, look = self._layer, KINDS[kind]
        note = note_of(layer)
        if note.get("map") != kind:
            layer.colormap, layer.blending, layer.opacity = look.colormap, look.blending, look.opacity
        layer.data = values
        if kind == "z":
            if limits is not None:
                _set_limits(layer, limits)
        elif new_picture or state.running:
            _set_limits(layer, limits_of(values, kind))
        layer.name = map_name(state.title, kind, latent)
        layer.metadata = layer.metadata | {
            METADATA: {"result": state.result, "map": kind, "latent": latent, "title": state.title}
        }

    def _add(self, kind: str, latent: int, values: Any) -> None:
        from napari.layers import Image

        state = self._store.state
        if state.result is None or state.placement is None:
            return
        _, options, _ = map_layer_data(
            state.result, state.placement, kind=kind, latent=latent, frame=state.frame, title=state.title
        )
        options["contrast_limits"] = self._limits if kind == "z" and self._limits else limits_of(values, kind)
        self._layer, self._deleted = Image(values, **options), False
        self._add_above(self._layer)

    def _show_kinds(self) -> None:
        from napari.layers import Labels

        state = self._store.state
        if state.running or state.analysis == self._with_kinds or state.placement is None:
            return
        self._with_kinds = state.analysis
        made = None if state.result is None else kinds_layer_data(state.result, state.placement, state.title)
        if made is not None:
            values, options, _ = made
            self._add_above(Labels(values, **options))

    def _add_above(self, layer: Any) -> None:
        active = self._viewer.layers.selection.active
        self._adding = True
        try:
            self._viewer.add_layer(layer)
            # the video stays selected: its frames are what the user steps through
            if active is not None and active in self._viewer.layers:
                self._viewer.layers.selection.active = active
        finally:
            self._adding = False


def _outline_kinds(layer: Any) -> None:
    """Outlines, which the options of a layer cannot tell napari."""
    if kinds_of_layer(layer) is not None:
        layer.contour = OUTLINE


def _set_limits(layer: Any, limits: tuple[float, float]) -> None:
    layer.contrast_limits_range = limits
    layer.contrast_limits = limits
