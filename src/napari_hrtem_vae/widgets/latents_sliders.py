"""One slider a latent: what moves the reconstruction."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import QComboBox, QGridLayout, QHBoxLayout, QLabel, QPushButton, QSlider

from .latents_state import ORDERS, LatentsStore, name_of, order_of, spreads_of
from .parts import Panel, note_label, show_note

STEPS = 300  # to each side of 0
SETTLE_MS = 200
NAME_WIDTH, MEANING_WIDTH, VALUE_WIDTH = 36, 120, 96


class LatentSlider(QSlider):
    """A slider that a turn of the wheel does not move: the wheel scrolls the list."""

    restored = Signal()

    def __init__(self) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        self.setRange(-STEPS, STEPS)
        self.setPageStep(STEPS // 10)
        self.setMinimumWidth(60)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def wheelEvent(self, event: Any) -> None:
        """Leave the wheel to the scroll area."""
        event.ignore()

    def mouseDoubleClickEvent(self, event: Any) -> None:
        """Ask for the value of the window again."""
        self.restored.emit()


class SlidersPanel(Panel):
    """Every latent with its index, meaning, slider, value and range."""

    def __init__(self, store: LatentsStore) -> None:
        super().__init__("Latents")
        self._store = store
        self._order: list[int] = []
        self._limits = np.zeros(0, np.float32)
        self._shown = np.zeros((2, 0), np.float32)  # values and ranges that stand there
        self.sliders: list[LatentSlider] = []  # by latent
        self._names: list[QLabel] = []
        self._values: list[QLabel] = []
        self.order_box = QComboBox()
        for key, label in ORDERS.items():
            self.order_box.addItem(label, key)
        self.order_box.setToolTip(
            "Order of the latents: that which changes most at this site first (before one is chosen, that of "
            "the largest variance over the training set), or by index"
        )
        self.reset_button = QPushButton("Reset")
        self.reset_button.setToolTip("All latents back to those of the window; a double click resets one")
        self.zero_button = QPushButton("All 0")
        self.zero_button.setToolTip("All latents to 0, the middle of what the model was trained on")
        self.note = note_label()
        row = QHBoxLayout()
        row.addWidget(self.order_box, 1)
        row.addWidget(self.reset_button)
        row.addWidget(self.zero_button)
        self.column.addLayout(row)
        self.column.addWidget(self.note)
        self._grid = QGridLayout()
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(6)
        self._grid.setVerticalSpacing(1)
        self._grid.setColumnStretch(1, 1)
        self.column.addLayout(self._grid)
        # while a video plays the list keeps its order
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SETTLE_MS)
        self._timer.timeout.connect(self._sort)

        self.order_box.currentIndexChanged.connect(
            lambda index: store.change(order=self.order_box.itemData(index))
        )
        self.reset_button.clicked.connect(lambda: self._set_all(store.state.start))
        self.zero_button.clicked.connect(self._zero)
        store.on("loaded", self._build)
        store.on("meanings", self._name)
        store.on("order complete", self._timer.start)
        store.on("z", self._show)
        self._build()

    @property
    def order(self) -> list[int]:
        """Latents from top to bottom."""
        return self._order

    def shut_down(self) -> None:
        """Sort no more."""
        self._timer.stop()

    def _build(self) -> None:
        """A row for each latent of the model."""
        state = self._store.state
        count = 0 if state.loaded is None else state.card.latents
        for latent in range(len(self.sliders), count):
            self._add_row(latent)
        for latent, slider in enumerate(self.sliders):
            for widget in (slider, self._names[latent], self._values[latent]):
                widget.setVisible(latent < count)
        draws = state.loaded is not None and state.loaded.network.decoder is not None
        for widget in (*self.sliders, self.reset_button, self.zero_button):
            widget.setEnabled(draws)
        if state.loaded is None:
            show_note(self.note, "The model is being read…" if state.card is not None else "")
            return
        lines = []
        if not draws:
            lines.append("This model has no decoder: nothing can be drawn; traces are shown below the video.")
        if state.card.training.get("variances") is None:
            lines.append("This model has no record of training: ranges are ±3, or those of the site.")
        show_note(self.note, "\n".join(lines))
        self._sort()
        self._name()

    def _add_row(self, latent: int) -> None:
        name, slider, value = QLabel(), LatentSlider(), QLabel()
        value.setFixedWidth(VALUE_WIDTH)
        value.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        slider.setToolTip("Drag, or use the arrow keys; a double click brings the window's value back")
        value.setToolTip("Value, and how far the slider goes: 3 spreads, or as far as this site goes")
        slider.valueChanged.connect(lambda position: self._moved(latent, position))
        slider.restored.connect(lambda: self._restore(latent))
        self._names.append(name)
        self._values.append(value)
        self.sliders.append(slider)

    def _sort(self) -> None:
        """Put the rows in their order, and give the sliders their ranges."""
        from ..vae.traversal import latent_limits

        state = self._store.state
        if state.loaded is None:
            return
        seen = state.series if state.complete else None
        self._limits = latent_limits(spreads_of(state), seen)
        order = order_of(state)
        if order != self._order:
            self._order = order
            for row, latent in enumerate(order):
                for column, widget in enumerate(
                    (self._names[latent], self.sliders[latent], self._values[latent])
                ):
                    self._grid.addWidget(widget, row, column)
        self._show()

    def _name(self) -> None:
        state = self._store.state
        if state.loaded is None:
            return
        width = NAME_WIDTH if state.meanings is None else MEANING_WIDTH
        for latent in range(state.card.latents):
            self._names[latent].setFixedWidth(width)
            self._names[latent].setText(name_of(state, latent))
            self._names[latent].setToolTip(name_of(state, latent))

    def _show(self) -> None:
        """Put the sliders where z is."""
        state = self._store.state
        if state.z is None or state.loaded is None or len(self._limits) != len(state.z):
            return
        # one beyond its range widens it
        self._limits = np.maximum(self._limits, np.abs(state.z))
        now = np.stack([state.z, self._limits])
        # only those that differ from what stands there: this happens at every move of a slider
        same = np.zeros(len(state.z), bool) if now.shape != self._shown.shape else (now == self._shown).all(0)
        self._shown = now
        for latent in np.flatnonzero(~same):
            self._show_one(int(latent), float(state.z[latent]), float(self._limits[latent]))

    def _show_one(self, latent: int, value: float, limit: float) -> None:
        slider = self.sliders[latent]
        blocked = slider.blockSignals(True)
        slider.setValue(round(value / limit * STEPS))
        slider.blockSignals(blocked)
        self._values[latent].setText(f"{value:+.2f} (±{limit:.1f})".replace("-", "−"))

    def _moved(self, latent: int, position: int) -> None:
        self._set(latent, position / STEPS * float(self._limits[latent]))

    def _restore(self, latent: int) -> None:
        start = self._store.state.start
        if start is not None:
            self._set(latent, float(start[latent]))

    def _set(self, latent: int, value: float) -> None:
        z = self._store.state.z
        if z is not None:
            z = z.copy()
            z[latent] = value
            self._store.change(z=z)

    def _zero(self) -> None:
        z = self._store.state.z
        self._set_all(None if z is None else np.zeros_like(z))

    def _set_all(self, z: np.ndarray | None) -> None:
        if z is not None:
            self._store.change(z=z)
