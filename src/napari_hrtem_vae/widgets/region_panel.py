"""Regions drawn on the video, and what the plot of z against time shows of them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QPushButton, QWidget

from .lattice_link import axis_choices, link_in
from .lattice_maps import KEY
from .layers import Placement, note_of, placement_on
from .parts import Panel, Rows, narrow, note_label, show_note
from .regions import Region, is_regions_layer, regions_in, regions_layer_data
from .store import Store

SHAPES = {"Rectangle": "add_rectangle", "Ellipse": "add_ellipse", "Polygon": "add_polygon"}
SETTLE_MS = 120


def right_axis_choices(result: Any) -> list[str]:
    """Variables over time, other than z, that a result holds: (time,) or (time, grain)."""
    if result is None:
        return []
    return [
        str(name)
        for name, field in result.data_vars.items()
        if name != "z" and field.dims[:1] == ("time",) and field.ndim <= 2 and field.dtype.kind in "biuf"
    ]


class RegionPanel(Panel):
    """Part 6: the button that draws, and the right axis of the plot."""

    _HINT = "Each region plots z against time, below."
    _EDGE_WIDTH = 0.25  # in sites

    def __init__(self, viewer: Any, store: Store) -> None:
        super().__init__("Region")
        self._viewer, self._store = viewer, store
        self._layer: Any = None
        self.shape_box = QComboBox()
        self.shape_box.addItems(list(SHAPES))
        self.draw_button = QPushButton("Draw region")
        self.draw_button.setToolTip("Adds a layer 'Regions' and lets you draw on it, as many as you like")
        self.right_box = narrow(QComboBox())
        self.right_box.addItem("none", "")
        self.note = note_label()
        row = QHBoxLayout()
        row.addWidget(self.draw_button, 1)
        row.addWidget(self.shape_box)
        form = Rows()
        form.add("Right axis", self.right_box)
        # of no use, and so out of sight, while the result holds z alone
        self.right_row = QWidget()
        self.right_row.setLayout(form)
        self.right_row.hide()
        self.column.addLayout(row)
        self.column.addWidget(self.note)
        self.column.addWidget(self.right_row)
        show_note(self.note, self._HINT)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SETTLE_MS)
        self._timer.timeout.connect(self._read)

        self.draw_button.clicked.connect(self.draw)
        self.right_box.currentIndexChanged.connect(
            lambda index: store.change(right_axis=self.right_box.itemData(index) or "")
        )
        viewer.layers.events.inserted.connect(self._inserted)
        viewer.layers.events.removed.connect(self._removed)
        store.on("placement analysis", self._timer.start)
        store.on("result", self._list_right)
        store.on("lattice", self._list_right)
        for layer in viewer.layers:
            if is_regions_layer(layer):
                self._watch(layer)
        self._lattice_layers: list[Any] = []
        self._find_lattice()

    @property
    def layer(self) -> Any:
        """The Shapes layer; None when there is none."""
        return self._layer

    def shut_down(self) -> None:
        """Let go of the viewer; the layer stays."""
        self._viewer.layers.events.inserted.disconnect(self._inserted)
        self._viewer.layers.events.removed.disconnect(self._removed)
        for layer in self._lattice_layers:
            layer.events.metadata.disconnect(self._find_lattice)
        self._lattice_layers = []
        with suppress(RuntimeError):  # Qt may have destroyed it already
            self._timer.stop()
        self._unwatch()

    def draw(self) -> None:
        """Make the layer 'Regions' where there is none, and switch it to drawing."""
        from napari.layers import Shapes

        from .traces import REGION_COLORS

        placement = self._placement()
        if placement is None:
            self._store.say("Open a video first, then draw regions on it.", error=True)
            return
        if self._layer is None:
            data, options, _ = regions_layer_data(placement)
            options["edge_width"] = 2 if self._store.state.placement is None else self._EDGE_WIDTH
            options["edge_color"] = REGION_COLORS[0]
            self._viewer.add_layer(Shapes(data or None, **options))
        self._viewer.layers.selection.active = self._layer
        self._layer.mode = SHAPES[self.shape_box.currentText()]

    def _placement(self) -> Placement | None:
        """Of the sites; before there are any, of the video's pixels."""
        state = self._store.state
        if state.placement is not None:
            return state.placement
        if state.video is None or state.video.ndim < 2:
            return None
        return placement_on(state.video, [0, 1], [0, 1])

    def _inserted(self, event: Any) -> None:
        if is_regions_layer(event.value):
            self._watch(event.value)
        self._find_lattice()

    def _find_lattice(self, event: Any = None) -> None:
        """Note which lattice result is on the screen, for the right axis."""
        for layer in self._lattice_layers:
            layer.events.metadata.disconnect(self._find_lattice)
        # a result that is still growing is noted when it is finished
        self._lattice_layers = [layer for layer in self._viewer.layers if KEY in note_of(layer)]
        for layer in self._lattice_layers:
            layer.events.metadata.connect(self._find_lattice)
        link, known = link_in(self._viewer), self._store.state.lattice
        if (link and link.result) is not (known and known.result):
            self._store.change(lattice=link)

    def _removed(self, event: Any) -> None:
        self._find_lattice()
        if event.value is self._layer:
            self._unwatch()
            self._read()

    def _watch(self, layer: Any) -> None:
        self._unwatch()
        self._layer = layer
        for event in (layer.events.data, layer.events.scale, layer.events.translate):
            event.connect(self._changed)
        self._timer.start()

    def _unwatch(self) -> None:
        if self._layer is not None:
            for event in (self._layer.events.data, self._layer.events.scale, self._layer.events.translate):
                event.disconnect(self._changed)
        self._layer = None

    def _changed(self, event: Any = None) -> None:
        self._timer.start()

    def _read(self) -> None:
        placement = self._store.state.placement
        regions: tuple[Region, ...] = ()
        if self._layer is not None:
            self._colour()
            if placement is not None:
                regions = regions_in(self._layer, placement)
        self._store.change(regions=regions)
        drawn = 0 if self._layer is None else self._layer.nshapes
        if not drawn:
            show_note(self.note, self._HINT)
        elif placement is None:
            show_note(self.note, f"{drawn} region{'s' * (drawn != 1)}; press Analyze to plot z in them.")
        else:
            show_note(self.note, self._counts(regions))

    def _counts(self, regions: tuple[Region, ...]) -> str:
        result = self._store.state.result
        if result is None:
            return ""
        counts = [int(r.sites(result.sizes["y"], result.sizes["x"]).sum()) for r in regions]
        words = [f"{n} site{'s' * (n != 1)}" if n else "outside all sites" for n in counts]
        said = ", ".join(f"{r.name}: {word}" for r, word in zip(regions, words, strict=True))
        if all(counts):
            return said
        return f"{said}\nA site is the middle of a window: near the edges of the frames there is none."

    def _colour(self) -> None:
        """Each shape has the colour of its trace."""
        from napari.utils.colormaps.standardize_color import transform_color

        from .traces import REGION_COLORS

        layer = self._layer
        wanted = transform_color([REGION_COLORS[i % len(REGION_COLORS)] for i in range(layer.nshapes)])
        if layer.nshapes and not np.allclose(layer.edge_color, wanted):
            layer.edge_color = wanted

    def _list_right(self) -> None:
        blocked = self.right_box.blockSignals(True)
        self.right_box.clear()
        self.right_box.addItem("none", "")
        state = self._store.state
        choices = [(name.replace("_", " "), name) for name in right_axis_choices(state.result)]
        if state.result is not None:
            choices += axis_choices(state.lattice)
        self.right_row.setVisible(bool(choices))
        for words, name in choices:
            self.right_box.addItem(words, name)
        index = max(self.right_box.findData(self._store.state.right_axis), 0)
        self.right_box.setCurrentIndex(index)
        self.right_box.blockSignals(blocked)
        self._store.change(right_axis=self.right_box.itemData(index))
