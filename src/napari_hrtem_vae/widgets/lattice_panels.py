"""Panels of the widget Lattice: what is plotted against time, and the regions."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QPushButton

from .lattice_maps import is_finished
from .lattice_state import LatticeStore
from .parts import Panel, Rows, narrow
from .region_panel import RegionPanel

QUANTITIES = {
    "misfit": "Misfit",
    "angle": "Angles",
    "spacing": "Spacings",
    "area": "Areas",
    "region": "Area in regions",
}
NOTHING = "none"


def quantities_of(result: Any) -> list[str]:
    """Quantities that a result can be plotted by."""
    if result is None:
        return []
    return [key for key in QUANTITIES if key != "misfit" or result.sizes["grain"] > 1]


class PlotPanel(Panel):
    """Part 5: what is plotted, and saving the result.

    Attributes
    ----------
    chosen : Signal
        Another quantity was picked.
    """

    chosen = Signal()

    def __init__(self, store: LatticeStore) -> None:
        super().__init__("Plot")
        self._store = store
        self.left_box, self.right_box = narrow(QComboBox()), narrow(QComboBox())
        self.save_button = QPushButton("Save result…")
        self.save_button.setToolTip(
            "Writes angles, areas and masks to a folder (.zarr) that brings them back"
        )
        rows = Rows(72)
        rows.add("Left axis", self.left_box)
        rows.add("Right axis", self.right_box)
        self.column.addLayout(rows)
        self.column.addWidget(self.save_button)
        for box in (self.left_box, self.right_box):
            box.currentIndexChanged.connect(lambda _: self.chosen.emit())
        store.on("result running", self._list)
        self._list()

    @property
    def left(self) -> str:
        """Quantity on the left axis; empty: nothing."""
        return self.left_box.currentData() or ""

    @property
    def right(self) -> str:
        """Quantity on the right axis; empty: nothing."""
        return self.right_box.currentData() or ""

    def _list(self) -> None:
        state = self._store.state
        keys = quantities_of(state.result)
        self.save_button.setEnabled(is_finished(state.result))
        if keys == [self.left_box.itemData(index) for index in range(self.left_box.count())]:
            return
        for box, entries in (
            (self.left_box, [(QUANTITIES[key], key) for key in keys]),
            (self.right_box, [(NOTHING, ""), *((QUANTITIES[key], key) for key in keys)]),
        ):
            blocked = box.blockSignals(True)
            picked = box.currentData()
            box.clear()
            for words, key in entries:
                box.addItem(words, key)
            box.setCurrentIndex(max(box.findData(picked), 0))
            box.blockSignals(blocked)
        if keys:
            self.chosen.emit()


class LatticeRegionPanel(RegionPanel):
    """Part 6: regions, the same layer as those of Analyze; in px of the video."""

    _HINT = "Each region plots the lattice area inside it, and its spectrum can be shown."
    _EDGE_WIDTH = 2.0

    def _list_right(self) -> None:
        """The right axis is chosen beside the left one."""

    def _counts(self, regions: Any) -> str:
        return (
            f"{len(regions)} region{'s' * (len(regions) != 1)}; pick one under Spectrum to see its spectrum."
        )
