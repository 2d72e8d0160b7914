"""Which latent and which kind of map is on the screen."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QPushButton, QToolButton

from ..io.results_probe import RESULT_KEY
from .kinds_legend import KindsLegend
from .layers import (
    KINDS,
    PUBLISHED,
    RECOMMENDED,
    available_kinds,
    latent_names,
    latent_order,
    peaks_of,
)
from .parts import Panel, Rows, narrow
from .store import Store

NEXT_KEY, PREVIOUS_KEY = "Shift-Right", "Shift-Left"
ORDERS = {"peak": "most first", "index": "by index"}


class MapsPanel(Panel):
    """Part 5: latent, kind of map, overview."""

    def __init__(self, viewer: Any, store: Store) -> None:
        super().__init__("Map")
        self._viewer, self._store = viewer, store
        self._order: list[int] = []
        self._analysis = store.state.analysis
        self._latent = store.state.latent
        self._picked = False  # a map, by the user, since this analysis began
        self.latent_box = narrow(QComboBox())
        self.latent_box.setToolTip(
            f"Latent, its meaning where known, and the peak of its map; {PREVIOUS_KEY} and {NEXT_KEY} step "
            "through"
        )
        self.previous_button, self.next_button = QToolButton(), QToolButton()
        for button, sign, key in (
            (self.previous_button, "◀", PREVIOUS_KEY),
            (self.next_button, "▶", NEXT_KEY),
        ):
            button.setText(sign)
            button.setFixedWidth(24)
            button.setToolTip(f"{key} in the viewer")
        self.order_box = QComboBox()
        for key, label in ORDERS.items():
            self.order_box.addItem(label, key)
        self.order_box.setToolTip("Order of the latents: the one in which most happens first, or by index")
        self.kind_box = narrow(QComboBox())
        self.kind_box.setToolTip(
            "What changed: evidence that anything did, tested against chance. The others are maps "
            "of one latent; time-correlated variance is the published one"
        )
        self.legend = KindsLegend(store)
        self.overview_button = QPushButton("Overview")
        self.overview_button.setToolTip("This kind of map for all latents at once; click one to pick it")
        self.save_button = QPushButton("Save result…")
        self._build()
        self.latent_box.currentIndexChanged.connect(self._latent_picked)
        self.order_box.currentIndexChanged.connect(
            lambda index: store.change(order=self.order_box.itemData(index))
        )
        self.kind_box.currentIndexChanged.connect(self._kind_picked)
        self.previous_button.clicked.connect(lambda: self.step(-1))
        self.next_button.clicked.connect(lambda: self.step(1))
        self._next, self._previous = (lambda _viewer: self.step(1)), (lambda _viewer: self.step(-1))
        viewer.bind_key(NEXT_KEY, self._next, overwrite=True)
        viewer.bind_key(PREVIOUS_KEY, self._previous, overwrite=True)
        # one that is picked again counts too
        self.latent_box.activated.connect(lambda index: self.pick(self.latent_box.itemData(index)))
        store.on("running", self._recommend)
        store.on("latent analysis", self._latent_changed)
        store.on("result revision analysis order running", self._list)
        store.on("latent kind", self._show)
        self._list()

    def _build(self) -> None:
        row = QHBoxLayout()
        row.addWidget(self.previous_button)
        row.addWidget(self.latent_box, 1)
        row.addWidget(self.next_button)
        form = Rows(46)
        form.add("Latent", row)
        form.add("Order", self.order_box)
        form.add("Map", self.kind_box)
        self.column.addLayout(form)
        self.column.addWidget(self.legend)
        buttons = QHBoxLayout()
        buttons.addWidget(self.overview_button)
        buttons.addWidget(self.save_button)
        self.column.addLayout(buttons)

    def shut_down(self) -> None:
        """Give the keys back."""
        for key in (NEXT_KEY, PREVIOUS_KEY):
            self._viewer.bind_key(key, None)

    def step(self, by: int) -> None:
        """Go to the next or previous latent of the list."""
        if self._order:
            index = (self.latent_box.currentIndex() + by) % len(self._order)
            self.latent_box.setCurrentIndex(index)

    def pick(self, latent: int) -> None:
        """Show the map of a latent; of the one that is picked already too, where the map was of all."""
        self._store.change(latent=latent)
        self._show_a_latent()

    def _list(self) -> None:
        state = self._store.state
        result = state.result
        kinds = available_kinds(result) if result is not None else []
        _fill(self.kind_box, [(KINDS[kind].label, kind) for kind in kinds])
        peaks = peaks_of(result) if result is not None else np.zeros(0, np.float32)
        latents = len(peaks)
        self.overview_button.setEnabled(latents > 0)
        self.save_button.setEnabled(result is not None and RESULT_KEY in result.attrs)
        self._order = latent_order(peaks, state.order)
        names = latent_names(result) if result is not None else []
        entries = []
        for latent in self._order:
            # beside a meaning there is no room for the word
            word = "" if "·" in names[latent] else "peak "
            peak = "" if np.isnan(peaks[latent]) else f" · {word}{peaks[latent]:.3g}"
            entries.append((f"{names[latent]}{peak}", latent))
        _fill(self.latent_box, entries)
        view = self.latent_box.view()
        view.setMinimumWidth(view.sizeHintForColumn(0) + view.verticalScrollBar().sizeHint().width())
        self._show()

    def _show(self) -> None:
        state = self._store.state
        if self._order and state.result is not None:
            latent = state.latent
            if latent is None:
                latent = latent_order(peaks_of(state.result), "peak")[0]
            _select(self.latent_box, latent)
        _select(self.kind_box, state.kind)
        for widget in (
            self.latent_box,
            self.previous_button,
            self.next_button,
            self.order_box,
            self.kind_box,
        ):
            widget.setEnabled(bool(self._order))

    def _recommend(self) -> None:
        """When an analysis ends show what changed, while it runs the published map; what is picked stays."""
        state = self._store.state
        if state.running:
            self._picked = False
            self._store.change(kind=PUBLISHED)
        elif not self._picked and state.result is not None and RESULT_KEY in state.result.attrs:
            self._store.change(kind=RECOMMENDED)

    def _latent_changed(self) -> None:
        """A latent that is picked is to be seen, also where the map was one of all latents."""
        state = self._store.state
        picked = state.analysis == self._analysis and state.latent not in (None, self._latent)
        self._analysis, self._latent = state.analysis, state.latent
        if picked:
            self._show_a_latent()

    def _show_a_latent(self) -> None:
        self._picked = True
        if not KINDS[self._store.state.kind].per_latent:
            self._store.change(kind=PUBLISHED)

    def _latent_picked(self, index: int) -> None:
        if index >= 0:
            self._store.change(latent=self.latent_box.itemData(index))

    def _kind_picked(self, index: int) -> None:
        if index >= 0:
            self._picked = True
            self._store.change(kind=self.kind_box.itemData(index))


def _fill(box: QComboBox, entries: list[tuple[str, Any]]) -> None:
    """Put entries into a box and keep what was picked, without a signal."""
    if [(box.itemText(i), box.itemData(i)) for i in range(box.count())] == entries:
        return
    blocked = box.blockSignals(True)
    picked = box.currentData()
    box.clear()
    for label, data in entries:
        box.addItem(label, data)
    box.setCurrentIndex(max(box.findData(picked), 0))
    box.blockSignals(blocked)


def _select(box: QComboBox, data: Any) -> None:
    blocked = box.blockSignals(True)
    index = box.findData(data)
    if index >= 0:
        box.setCurrentIndex(index)
    box.blockSignals(blocked)
