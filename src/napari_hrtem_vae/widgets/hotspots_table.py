"""Where things happen: the places with significant change, most first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QPushButton, QTableWidget, QTableWidgetItem

from ..errors import ResultError
from .kinds import UNKNOWN, hotspot_kinds, names_in
from .parts import Panel, note_label, show_note
from .saving import ask_and_save
from .store import Store

if TYPE_CHECKING:
    import xarray as xr

COLUMNS = {"Strength": "hotspot_strength", "Area": "hotspot_area", "y": "hotspot_y", "x": "hotspot_x"}
KIND = "Kind"
MOST_ROWS = 200
SITES_SHOWN = 24
ROW_PX, LEAST_ROWS = 22, 5
TOOLTIPS = {
    "Strength": "How much of the latents' variance at the strongest site of the place is trend: the sum of "
    "ρ² × variance over the latents. Larger is more; it is not a significance.",
    "Area": "Area of the sites with significant change: nm², or px² where the pixel size is unknown",
    "y": "Centre of the place, from the top of the frames",
    "x": "Centre of the place, from the left of the frames",
    KIND: "What kind of change most of the place shows, and by how much from the first frame to the last: "
    "rotation from x towards y, that is clockwise on the screen; growth and shrinkage by how far the edge "
    "moved outwards; contrast by its gain. In brackets how sure the kind is, 0 to 1",
}


class HotspotsPanel(Panel):
    """Part 7: a table; a click takes the camera there."""

    def __init__(self, viewer: Any, store: Store) -> None:
        super().__init__("Where things happen")
        self._viewer, self._store = viewer, store
        self.note = note_label()
        self.table = QTableWidget(0, len(COLUMNS) + 1)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setMinimumSectionSize(ROW_PX)
        self.table.verticalHeader().setDefaultSectionSize(ROW_PX)
        self.table.horizontalHeader().moveSection(len(COLUMNS), 0)  # what tells most comes first
        # a heading, and rows that are seen without scrolling the whole widget far
        self.table.setMinimumHeight((LEAST_ROWS + 1) * ROW_PX + 8)
        self.csv_button = QPushButton("CSV…")
        self.csv_button.setToolTip("Save all places with all that is known of them as a table")
        self.csv_button.clicked.connect(self._ask_where_to_save)
        self.column.addWidget(self.note)
        self.column.addWidget(self.table, 100)
        self.column.addWidget(self.csv_button)
        self.column.addStretch(1)  # takes the room while there is no table
        self.table.cellClicked.connect(lambda row, _: self.go_to(row))
        store.on("result", self._fill)
        self._fill()

    def go_to(self, row: int) -> None:
        """Take the camera to the place in a row."""
        state = self._store.state
        result, placement = state.result, state.placement
        if result is None or placement is None or row >= result.sizes.get("hotspot", 0):
            return
        site = [_site(result, axis, float(result[f"hotspot_{axis}"][row])) for axis in "yx"]
        y, x = self._to_viewer(placement.sites_to_world([site])[0])
        camera = self._viewer.camera
        camera.center = (*camera.center[:-2], y, x)
        step = float(np.linalg.norm(placement.along_y)) * self._factors()[0]
        # closer where the whole frame is in view, never further away
        camera.zoom = max(camera.zoom, 400 / (SITES_SHOWN * step))

    def _to_viewer(self, point: Any) -> tuple[float, float]:
        factors = self._factors()
        return float(point[0] * factors[0]), float(point[1] * factors[1])

    def _factors(self) -> tuple[float, float]:
        """From the units of the sites to the viewer's."""
        import pint

        registry = pint.get_application_registry()
        units = self._viewer.dims.units
        placement = self._store.state.placement
        if units is None or placement is None or len(units) < 2:
            return 1.0, 1.0
        pairs = [(registry.Unit(own), world) for own, world in zip(placement.units, units[-2:], strict=True)]
        y, x = (
            float((1 * own).to(world).magnitude) if own.dimensionality == world.dimensionality else 1.0
            for own, world in pairs
        )
        return y, x

    def _fill(self) -> None:
        result = self._store.state.result
        count = 0 if result is None else int(result.sizes.get("hotspot", 0))
        self.table.setRowCount(min(count, MOST_ROWS))
        self.table.setVisible(count > 0)
        self.csv_button.setVisible(count > 0)
        if result is None:
            show_note(self.note, "After a run, places with change stand here.")
            return
        if "hotspot_y" not in result:
            show_note(self.note, "One frame shows no change over time." if "z" in result else "")
            return
        show_note(self.note, self._summary(count))
        headings = []
        for column, (heading, variable) in enumerate(COLUMNS.items()):
            field = result[variable]
            unit = str(field.attrs.get("units", ""))
            headings.append(f"{heading} [{unit}]" if unit not in ("", "1") else heading)
            for row, value in enumerate(np.asarray(field, float)[:MOST_ROWS]):
                words = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
                self.table.setItem(row, column, _entry(words, Qt.AlignmentFlag.AlignRight))
        self._fill_kinds(result)
        self.table.setHorizontalHeaderLabels([*headings, KIND])
        for column, heading in enumerate([*COLUMNS, KIND]):
            self.table.horizontalHeaderItem(column).setToolTip(TOOLTIPS[heading])

    def _fill_kinds(self, result: xr.Dataset) -> None:
        """The column of kinds; hidden where no place has a kind that is known."""
        words = hotspot_kinds(result)
        known = bool(words) and set(names_in(result["hotspot_kind"])) != {UNKNOWN}
        self.table.setColumnHidden(len(COLUMNS), not known)
        # in full: the others may have to be scrolled to
        mode = QHeaderView.ResizeMode.ResizeToContents if known else QHeaderView.ResizeMode.Stretch
        self.table.horizontalHeader().setSectionResizeMode(mode)
        for row, entry in enumerate(words[:MOST_ROWS]):
            self.table.setItem(row, len(COLUMNS), _entry(entry, Qt.AlignmentFlag.AlignLeft))

    def export_csv(self, path: str | Path) -> None:
        """Write all places with all that the result knows of them as a table.

        Raises
        ------
        ResultError
            There is no result with places, or the file cannot be written.
        """
        from ..io.export import save_table_csv

        result = self._store.state.result
        if result is None or "hotspot_y" not in result:
            raise ResultError(f"There are no places to write to {path}; analyze a video first.")
        save_table_csv(path, hotspot_columns(result))

    def _ask_where_to_save(self) -> None:
        ask_and_save(self, "Save the places", "places.csv", "CSV (*.csv)", self.export_csv)

    def _summary(self, count: int) -> str:
        if not count:
            return "No place changed significantly."
        more = f"; the first {MOST_ROWS} are listed" if count > MOST_ROWS else ""
        return f"{count} place{'s' * (count != 1)}{more}; click one to go there."


def hotspot_columns(result: xr.Dataset) -> dict[str, np.ndarray]:
    """All that a result knows of its hotspots, (hotspot,) each, by headings with units; kinds by name."""
    columns = {}
    for name, field in result.data_vars.items():
        if field.dims != ("hotspot",):
            continue
        unit = str(field.attrs.get("units", ""))
        heading = str(name).removeprefix("hotspot_").replace("_", " ")
        heading += f" [{unit}]" if unit not in ("", "1") else ""
        columns[heading] = np.asarray(names_in(field) if "names" in field.attrs else field)
    return columns


def _entry(words: str, side: Qt.AlignmentFlag) -> QTableWidgetItem:
    item = QTableWidgetItem(words)
    item.setTextAlignment(side | Qt.AlignmentFlag.AlignVCenter)
    return item


def _site(result: Any, axis: str, value: float) -> float:
    """Fractional site index of a coordinate."""
    centres = np.asarray(result[axis], float)
    if len(centres) < 2:
        return 0.0
    return float((value - centres[0]) / ((centres[-1] - centres[0]) / (len(centres) - 1)))
