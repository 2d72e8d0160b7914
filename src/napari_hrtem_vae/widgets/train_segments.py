"""Which segments of the images are trained on: a preview, the share kept, a threshold."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QPushButton, QSlider

from ..errors import HrtemVaeError
from .parts import Panel, note_label, show_note
from .train_sources import material_of
from .train_state import TrainStore
from .train_work import preview_work
from .worker import Outcome, Work

if TYPE_CHECKING:
    from .contact_sheet import ContactSheet

PREVIEW, STOP = "Preview segments", "Stop"
_STEPS_A_DECADE = 40
_DECADES = 3
_SETTLE_MS = 400
_SHEET_HEIGHT = 230
NOTHING_KEPT = "No segment is kept."


def threshold_at(step: int) -> float:
    """Threshold of a slider's position: 0 at its left end, then 1 to 1000 in equal ratios."""
    return 0.0 if step == 0 else float(f"{10 ** ((step - 1) / _STEPS_A_DECADE):.3g}")


def step_of(threshold: float) -> int:
    """The position that is nearest to a threshold."""
    if threshold < 1:
        return 0
    return min(1 + round(_STEPS_A_DECADE * math.log10(threshold)), 1 + _STEPS_A_DECADE * _DECADES)


class SegmentsPanel(Panel):
    """Part 3: segments that would be trained on, side by side, and from which strength of fringes on."""

    def __init__(self, store: TrainStore) -> None:
        super().__init__("Segments with fringes")
        self._store = store
        self._work: Work | None = None
        self._automatic_limit: float | None = None
        self._previewed_automatic = True
        self.button = QPushButton(PREVIEW)
        self.button.setToolTip("Cuts some segments from the images and shows those that would be trained on")
        self.automatic = QCheckBox("Automatic")
        self.automatic.setToolTip("A threshold that film and noise reach once in a hundred segments")
        self.automatic.setChecked(True)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, 1 + _STEPS_A_DECADE * _DECADES)
        self.slider.setToolTip(
            "How strong fringes must be, as Fourier peaks over noise; at the left end all segments are taken"
        )
        self.value = QLabel()
        self.value.setMinimumWidth(44)
        self.note = note_label()
        self.sheet: ContactSheet | None = None  # made when it is first wanted, for it loads matplotlib
        row = QHBoxLayout()
        row.addWidget(self.automatic)
        row.addWidget(self.slider, 1)
        row.addWidget(self.value)
        self.column.addWidget(self.button)
        self.column.addLayout(row)
        self.column.addWidget(self.note)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_SETTLE_MS)
        self._timer.timeout.connect(self._preview_again)
        self.button.clicked.connect(self._clicked)
        self.slider.valueChanged.connect(self._moved)
        self.automatic.toggled.connect(self._toggled)
        store.on("recipe", self._show_threshold)
        store.on("preview", self._show_preview)
        store.on("layers files simulated", self._forget)
        store.on("running", self._running_changed)
        self._show_threshold()

    @property
    def work(self) -> Work | None:
        """The preview that is being made; None when none is."""
        return self._work

    def shut_down(self) -> None:
        """Stop the work; nobody waits for it."""
        self._timer.stop()
        if self._work is not None:
            self._work.abandon()
            self._work = None

    def _clicked(self) -> None:
        if self._work is not None:
            self._work.stop()
            return
        self._begin()

    def _begin(self) -> None:
        try:
            material = material_of(self._store)
        except HrtemVaeError as error:
            self._store.say(str(error), error=True)
            return
        recipe = self._store.state.recipe
        self._previewed_automatic = recipe.fringe_threshold is None
        self._work = Work(preview_work(material, recipe))
        self._work.progressed.connect(lambda items: show_note(self.note, items[-1].message))
        self._work.ended.connect(self._ended)
        self.button.setText(STOP)
        self._work.start()

    def _ended(self, outcome: Outcome) -> None:
        if self._work is None:
            return
        self._work = None
        self.button.setText(PREVIEW)
        if outcome.result is not None:
            preview = outcome.result
            if self._previewed_automatic and len(preview.scores):
                self._automatic_limit = preview.threshold
            self._store.change(preview=preview)
            self._show_threshold()
            return
        show_note(self.note, "")
        if outcome.error:
            self._store.say(outcome.error, error=True)

    def _preview_again(self) -> None:
        if self._store.state.preview is None or self._store.state.running:
            return
        if self._work is not None:
            self._timer.start()  # it shows the threshold of before
            return
        self._begin()

    # The threshold

    def _moved(self, step: int) -> None:
        blocked = self.automatic.blockSignals(True)
        self.automatic.setChecked(False)
        self.automatic.blockSignals(blocked)
        self._set_threshold(threshold_at(step))

    def _toggled(self, automatic: bool) -> None:
        self._set_threshold(None if automatic else threshold_at(self.slider.value()))

    def _set_threshold(self, threshold: float | None) -> None:
        self._store.change(recipe=replace(self._store.state.recipe, fringe_threshold=threshold))
        self._timer.start()

    def _show_threshold(self) -> None:
        recipe = self._store.state.recipe
        if recipe is None:
            return
        threshold = recipe.fringe_threshold
        for widget, change in (
            (self.automatic, lambda: self.automatic.setChecked(threshold is None)),
            (self.slider, lambda: self._place_slider(threshold)),
        ):
            blocked = widget.blockSignals(True)
            change()
            widget.blockSignals(blocked)
        limit = self._limit()
        self.value.setText("" if limit is None else "all" if limit == 0 else f"≥ {limit:.3g}")
        self._show_share()

    def _limit(self) -> float | None:
        """The threshold; None for an automatic one before a preview has told it."""
        state = self._store.state
        if state.recipe.fringe_threshold is not None:
            return float(state.recipe.fringe_threshold)
        return self._automatic_limit

    def _place_slider(self, threshold: float | None) -> None:
        limit = self._limit()
        # two positions may round to one threshold: a slider under the pointer stays
        if limit is not None and (threshold is None or threshold_at(self.slider.value()) != limit):
            self.slider.setValue(step_of(limit))

    # The preview

    def _forget(self) -> None:
        self._store.change(preview=None)

    def _running_changed(self) -> None:
        self.button.setEnabled(not self._store.state.running)

    def _show_preview(self) -> None:
        preview = self._store.state.preview
        if self.sheet is not None:
            self.sheet.setVisible(preview is not None)
        if preview is None:
            show_note(self.note, "")
            return
        if self.sheet is None:
            from .contact_sheet import ContactSheet

            self.sheet = ContactSheet()
            self.sheet.setFixedHeight(_SHEET_HEIGHT)
            self.column.addWidget(self.sheet)
        if len(preview.windows):
            numbers = [str(number + 1) for number in range(len(preview.windows))]
            self.sheet.set_maps(preview.windows, numbers, colormap="gray")
        else:
            self.sheet.clear(NOTHING_KEPT)
        self._show_share()

    def _show_share(self) -> None:
        preview: Any = self._store.state.preview
        if preview is None:
            return
        if not len(preview.scores):
            show_note(self.note, "Simulated segments, as they will be trained on.")
            return
        limit = self._limit()
        share = float(np.mean(preview.scores >= (preview.threshold if limit is None else limit)))
        lines = [f"{share:.0%} of {len(preview.scores)} segments tried are kept.", *preview.notices]
        show_note(self.note, "\n".join(lines))
