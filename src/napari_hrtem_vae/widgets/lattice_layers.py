"""Keeps the lattice's layers in the viewer in step with the store, and takes over those that others open."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..errors import HrtemVaeError
from .lattice_maps import (
    LayerData,
    TimeAxis,
    change_data,
    grains_of,
    is_finished,
    orientation_data,
    pixels_of_result,
    presence_data,
    strain_data,
    strain_of_frame,
)
from .lattice_state import LatticeStore, Tracked
from .layers import (
    METADATA,
    frame_time_of,
    note_of,
    notices_of,
    pixel_size_of,
    placement_on,
    video_axes,
    video_of,
)
from .store import Message
from .worker import Latest

OUTLINE = 1  # of the masks: the crystals and the change between them stay in sight
NO_VIDEO_NOW = "The video of this result is not open; open it and track its grains again."


class LatticeLayers:
    """One layer for each map that is shown; another result gets layers of its own.

    Parameters
    ----------
    viewer : napari viewer or ViewerModel
        Where the layers lie.
    store : LatticeStore
        What is to be seen.
    """

    def __init__(self, viewer: Any, store: LatticeStore) -> None:
        self._viewer, self._store = viewer, store
        self._layers: dict[str, Any] = {}
        self._analysis = store.state.analysis
        self._adding = False
        self._change: tuple[Any, ...] = ()  # result and frames of the change that is known, and the change
        self._unasked: tuple[Any, ...] = ()  # result and frames of the change that nobody asked for
        self._makers: dict[str, Callable[[], Callable[[], LayerData]]] = {
            "presence": self._presence,
            "change": self._changed,
            "orientation": self._orientation,
            "strain": self._strain,
        }
        self._latest = {key: Latest(self._failing(key), each=True) for key in self._makers}
        viewer.layers.events.inserted.connect(self._inserted)
        viewer.layers.events.removed.connect(self._removed)
        store.on("analysis result", self._renew)
        for names, keys in (
            ("result revision shown", ("presence",)),
            ("result running shown ends grain", ("change",)),
            ("result running shown frame counter_clockwise", ("orientation",)),
            ("result running shown frame grain strain counter_clockwise", ("strain",)),
        ):
            store.on(names, partial(self._update, keys))
        store.on("running", self._finished)
        for layer in list(viewer.layers):
            self._adopt(layer)

    def layer(self, key: str) -> Any:
        """The layer of a map; None when there is none."""
        return self._layers.get(key)

    @property
    def busy(self) -> bool:
        """Whether a map is being computed."""
        return any(latest.busy for latest in self._latest.values())

    def shut_down(self) -> None:
        """Let go of the viewer; the layers stay."""
        self._viewer.layers.events.inserted.disconnect(self._inserted)
        self._viewer.layers.events.removed.disconnect(self._removed)
        for latest in self._latest.values():
            latest.close()
        self._layers.clear()
        self._change = self._unasked = ()

    # The viewer's layers come and go

    def _inserted(self, event: Any) -> None:
        if not self._adding:
            self._adopt(event.value)

    def _removed(self, event: Any) -> None:
        state = self._store.state
        for key, layer in list(self._layers.items()):
            if layer is event.value:
                del self._layers[key]
                self._hide(key)
        if state.result is None or state.running or self._layers:
            return
        video = state.tracked.layer() if state.tracked is not None and state.tracked.layer else None
        if video is None or video not in self._viewer.layers:
            self._store.change(result=None, tracked=None, shown=(), message=Message())

    def _adopt(self, layer: Any) -> None:
        """Take over a result that a reader, or another widget, brought."""
        result = grains_of(layer)
        if result is None or self._store.state.running or note_of(layer).get("map") != "presence":
            return
        if result is self._store.state.result:
            return
        tracked = self._tracked(result, note_of(layer))
        self._analysis = self._store.state.analysis + 1
        self._layers = {"presence": layer}
        self._change = self._unasked = ()
        changes: dict[str, Any] = {}
        if self._store.state.placement is None:
            changes["placement"] = tracked.placement
        self._store.change(
            result=result,
            tracked=tracked,
            analysis=self._analysis,
            revision=0,
            shown=("presence",),
            areas="",
            ends=reliable_ends(result),
            message=Message(" ".join(notices_of(result))),
            **changes,
        )

    def _tracked(self, result: Any, note: dict[str, Any]) -> Tracked:
        title, source = str(note.get("title", "")), str(result.attrs.get("source", "array"))
        for layer in self._viewer.layers:
            ours = note_of(layer)
            if "map" in ours or layer.ndim < 2 or source == "array" or str(ours.get("source")) != source:
                continue
            try:
                pixel, step = pixel_size_of(layer), frame_time_of(layer, video_axes(layer))
                video = video_of(layer, pixel_size_nm=pixel, frame_time_s=step)
            except HrtemVaeError:
                continue
            if len(video) == result.sizes["time"]:
                placement = placement_on(layer, [0, 1], [0, 1])
                return Tracked(placement, TimeAxis.of_layer(layer), title, video, weakref.ref(layer))
        return Tracked(pixels_of_result(result), TimeAxis.of_result(result), title)

    # The store changes

    def _renew(self) -> None:
        """Layers of an earlier result stay as they are, and are no more in step."""
        state = self._store.state
        if state.analysis != self._analysis or state.result is None:
            self._analysis, self._layers = state.analysis, {}
            self._change = self._unasked = ()
            self._store.change(areas="")

    def _finished(self) -> None:
        """A result that is complete: its masks, and what grew and shrank from its first frame to its last."""
        state = self._store.state
        if state.running or not is_finished(state.result):
            return
        still = state.result.sizes["time"] == 1
        shown = {*state.shown, "presence"} | (set() if still else {"change"})
        ends = reliable_ends(state.result)
        self._unasked = (state.result, ends)
        self._store.change(shown=tuple(key for key in self._makers if key in shown), ends=ends)

    def _update(self, keys: tuple[str, ...]) -> None:
        state = self._store.state
        for key in keys:
            if key not in state.shown:
                layer = self._layers.pop(key, None)
                if layer is not None and layer in self._viewer.layers:
                    self._viewer.layers.remove(layer)
            elif state.result is not None and state.tracked is not None:
                if "presence" not in state.result if key == "presence" else not is_finished(state.result):
                    continue
                try:
                    make = self._makers[key]()
                except HrtemVaeError as error:
                    self._failing(key)(str(error))
                    continue
                self._latest[key].submit(make, partial(self._take, key, state.analysis))

    def _failing(self, key: str) -> Callable[[str], None]:
        def fail(text: str) -> None:
            state = self._store.state
            if not is_finished(state.result):
                return  # of a result that is gone
            unasked = key == "change" and self._unasked and self._unasked[0] is state.result
            unasked = unasked and self._unasked[1] == state.ends
            if not unasked:
                self._store.say(text, error=True)
            if key not in self._layers:  # a map that never came is not shown
                self._hide(key)
            if unasked:  # what was asked for went well: its message stays
                self._store.change(areas=text)

        return fail

    def _hide(self, key: str) -> None:
        """Show a map no more, nor its areas."""
        shown = tuple(one for one in self._store.state.shown if one != key)
        self._store.change(shown=shown, **({"areas": ""} if key == "change" else {}))

    def _take(self, key: str, analysis: int, data: LayerData) -> None:
        state = self._store.state
        if key not in state.shown or state.analysis != analysis or state.result is None:
            return
        values, options, kind = data
        if key == "change":
            self._store.change(areas=options["metadata"][METADATA]["areas"])
        layer = self._layers.get(key)
        if layer is None or layer.ndim != values.ndim:
            self._layers[key] = self._add(key, values, options, kind)
            return
        layer.data = values
        layer.name = options["name"]
        layer.metadata = options["metadata"]
        if kind == "image" and tuple(layer.contrast_limits) != options["contrast_limits"]:
            layer.contrast_limits_range = options["contrast_limits"]
            layer.contrast_limits = options["contrast_limits"]

    def _add(self, key: str, values: Any, options: dict[str, Any], kind: str) -> Any:
        from napari.layers import Layer

        layer = Layer.create(values, options, kind)
        if key == "presence":
            layer.contour, layer.opacity = OUTLINE, 0.9
        active = self._viewer.layers.selection.active
        self._adding = True
        try:
            self._viewer.add_layer(layer)
        finally:
            self._adding = False
        # the video stays selected: its frames are what the user steps through
        if active is not None and active in self._viewer.layers:
            self._viewer.layers.selection.active = active
        return layer

    # What a map is made of: gathered here, computed in a thread

    def _presence(self) -> Callable[[], LayerData]:
        state = self._store.state
        result, tracked = state.result, state.tracked
        return lambda: presence_data(result, tracked.placement, tracked.time, tracked.title)

    def _changed(self) -> Callable[[], LayerData]:
        state = self._store.state
        result, tracked, ends, grain = state.result, state.tracked, state.ends, state.grain
        if tracked.video is None:
            raise HrtemVaeError(NO_VIDEO_NOW)

        def make() -> LayerData:
            from ..lattice.change import lattice_change

            if not self._change or self._change[0] is not result or self._change[1] != ends:
                self._change = (result, ends, lattice_change(tracked.video, result, *ends))
            return change_data(self._change[2], grain, result, tracked.placement, tracked.title)

        return make

    def _orientation(self) -> Callable[[], LayerData]:
        state = self._store.state
        result, tracked, frame, sense = state.result, state.tracked, state.frame, state.counter_clockwise
        if tracked.video is None:
            raise HrtemVaeError(NO_VIDEO_NOW)

        def make() -> LayerData:
            from ..lattice.orientation import OrientationParameters, orientation_map_steps
            from ..progress import run

            kind = str(result.attrs["symmetry"])
            parameters = OrientationParameters(
                symmetry="any" if kind == "any" else int(kind),  # type: ignore[arg-type]
                period_px=float(result.attrs["period_px"]),
            )
            found = run(orientation_map_steps(tracked.video, parameters, [frame]))
            return orientation_data(found, result, tracked.placement, tracked.title, sense)

        return make

    def _strain(self) -> Callable[[], LayerData]:
        state = self._store.state
        result, tracked, frame, grain = state.result, state.tracked, state.frame, state.grain
        component, sense = state.strain, state.counter_clockwise
        if tracked.video is None:
            raise HrtemVaeError(NO_VIDEO_NOW)

        def make() -> LayerData:
            maps = strain_of_frame(tracked.video, result, frame, grain)
            return strain_data(maps, component, result, tracked.placement, tracked.title, sense)

        return make


def reliable_ends(result: Any) -> tuple[int, int]:
    """First and last frame in which every grain is reliable; the ends of the video where none is."""
    good = np.flatnonzero(np.asarray(result["reliable"]).all(1))
    return (int(good[0]), int(good[-1])) if good.size else (0, result.sizes["time"] - 1)
