"""The widget Simulate: a scenario and its parameters, to a video layer with its truth."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QProgressBar,
    QPushButton,
)

from ..errors import HrtemVaeError
from ..simulate.parameters import ScenarioParameters
from ..simulate.scenes import SCENARIOS, words_of
from .docked import DockedWidget, Release
from .form import ParameterForm
from .parts import Panel, QuantityEdit, Rows, narrow, note_label, show_note
from .run_panel import CANCELLING, duration
from .worker import Outcome, Work

if TYPE_CHECKING:
    import xarray as xr

    from ..progress import Progress

SIMULATE = "Simulate"
# The form would round it to 0.01.
_OWN_ROW = "pixel_size_nm"


class SimulateWidget(DockedWidget):
    """Simulates a video; it appears as a layer, with the grains and the changes of its truth as Labels.

    Parameters
    ----------
    napari_viewer : napari.Viewer or ViewerModel
        Where the layers go.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self._began = 0.0
        self._running = _Running()
        self.scenario = narrow(QComboBox())
        self.scenario.setEditable(True)
        self.scenario.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.scenario.addItems(list(SCENARIOS))
        for index, motion in enumerate(SCENARIOS.values()):
            self.scenario.setItemData(index, motion.__doc__, Qt.ItemDataRole.ToolTipRole)
        self.scenario.setToolTip("One scenario, or several joined by +: crystals that stand side by side.")
        self.form = ParameterForm(ScenarioParameters(), skip=[_OWN_ROW])
        self.pixel_size = QuantityEdit("Pixel size in nm.")
        self.pixel_size.set_value(ScenarioParameters().pixel_size_nm)
        self.form.add_row("Pixel size [nm]", self.pixel_size)
        self.button = QPushButton(SIMULATE)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.hide()
        self.message = note_label()
        panel, pinned = Panel(SIMULATE), Panel("")
        rows = Rows(112)
        rows.add("Scenario", self.scenario)
        panel.column.addLayout(rows)
        panel.column.addWidget(self.form)
        for widget in (self.button, self.bar, self.message):
            pinned.column.addWidget(widget)
        self.button.clicked.connect(self._clicked)
        self._begin([panel], pinned, Release([self._running]))

    @property
    def work(self) -> Work | None:
        """The work that runs; None when none does."""
        return self._running.work

    def parameters(self) -> ScenarioParameters:
        """The parameters as typed.

        Raises
        ------
        ParameterError
            A value is out of range.
        """
        size = self.pixel_size.value()
        return replace(self.form.parameters(), pixel_size_nm=0.0 if size is None else size)

    # Running

    def _clicked(self) -> None:
        if self.work is not None:
            self.work.stop()
            self.button.setEnabled(False)
            self.button.setText(CANCELLING)
            return
        scenario = self.scenario.currentText().strip()
        try:
            words_of(scenario)
            parameters = self.parameters()
        except HrtemVaeError as error:
            self._say(str(error), error=True)
            return
        work = Work(partial(_steps, scenario, parameters))
        work.progressed.connect(self._progressed)
        work.ended.connect(self._ended)
        self._running.work = work
        self._began = time.monotonic()
        self.button.setText("Cancel")
        self.bar.setRange(0, 0)
        self.bar.show()
        self._say("")
        work.start()

    def _progressed(self, items: list[Progress]) -> None:
        if self.work is None or not self.button.isEnabled():
            return
        done, total = items[-1].done, items[-1].total
        self.bar.setRange(0, total)
        self.bar.setValue(done)
        elapsed = time.monotonic() - self._began
        left = f" · {duration(elapsed * (total - done) / done)} left" if done and elapsed > 1 else ""
        self._say(f"{done} of {total} frames{left}")

    def _ended(self, outcome: Outcome) -> None:
        if self.work is None:
            return
        self._running.work = None
        self.button.setText(SIMULATE)
        self.button.setEnabled(True)
        self.bar.hide()
        if outcome.result is not None:
            self._say(f"Done in {duration(time.monotonic() - self._began)}.")
            self._show(outcome.result)
        elif outcome.cancelled:
            self._say("Cancelled; no layer is added.")
        else:
            self._say(outcome.error, error=True)

    def _say(self, text: str, *, error: bool = False) -> None:
        self.message.setStyleSheet("QLabel { color: #ff6b5f; }" if error else "")
        show_note(self.message, text)

    # Layers

    def _show(self, scene: xr.Dataset) -> None:
        from .readers import layer_options

        options = layer_options(scene["video"])
        name = options["name"]
        video = self._viewer.add_image(scene["video"].values, **options)
        place = {key: options[key] for key in ("scale", "translate", "units", "axis_labels")}
        self._viewer.add_labels(grain_labels(scene), name=f"{name} · grains", opacity=0.3, **place)
        flat = {key: value[1:] for key, value in place.items()}
        names = scene["moving"].attrs["names"]
        self._viewer.add_labels(
            np.asarray(scene["moving"].values),
            name=f"{name} · change",
            features={"index": list(range(len(names))), "kind": list(names)},
            visible=False,
            **flat,
        )
        self._viewer.layers.selection.active = video


def grain_labels(scene: xr.Dataset) -> np.ndarray:
    """Presence as labels (time, y, x), uint8: 1 for the first grain; of grains that overlap, the last."""
    presence = scene["presence"]
    labels = np.zeros([presence.sizes[dim] for dim in ("time", "y", "x")], np.uint8)
    for number in range(presence.sizes["grain"]):
        labels[presence.values[:, number]] = number + 1
    return labels


def _steps(scenario: str, parameters: ScenarioParameters) -> Any:
    """The work, with what it loads loaded in its own thread."""
    from ..simulate.scenarios import simulate_steps

    return simulate_steps(scenario, parameters)


class _Running:
    """The work that runs, if any; the widget may be gone before it."""

    work: Work | None = None

    def shut_down(self) -> None:
        """Stop it; nobody waits for it."""
        if self.work is not None:
            self.work.abandon()
            self.work = None
