"""Traversal strips: what each latent does to the window, and their export."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from qtpy.QtCore import QRect, QRectF, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QImage, QPainter, QPalette
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from ..errors import ResultError
from ..vae.traversal import grey_limits
from .latents_state import LatentsStore, name_of, order_of, spreads_of
from .latents_work import Newest
from .parts import narrow
from .saving import ask_and_save

HINT = "A row for each latent stands here once the model is read."
NO_DECODER = "This model has no decoder: it cannot draw what a latent does."
FILTERS = "PNG (*.png);;SVG (*.svg);;TIFF (*.tif)"
FEW, ALL = -8, -1  # entries of the list that are no latents
SIDE, LEFT, TOP, GAP = 64, 96, 20, 2
SETTLE_MS = 150


class StripView(QWidget):
    """The pictures of a traversal in rows and columns, with their names.

    Attributes
    ----------
    picked : Signal(int, float)
        A latent and the value of the picture that was clicked.
    """

    picked = Signal(int, float)

    def __init__(self) -> None:
        super().__init__()
        self._traversal: Any = None
        self._names: list[str] = []
        self._image: QImage | None = None
        self.setToolTip("Click a picture to put the slider of its latent there")

    def show_traversal(self, traversal: Any, names: list[str], limits: tuple[float, float]) -> None:
        """Show a traversal; None shows nothing."""
        self._traversal, self._names = traversal, names
        self._image = None
        if traversal is None:
            self.setFixedSize(0, 0)
            return
        from .contact_sheet import color_table, map_image

        self._image = map_image(traversal.mosaic(GAP), *limits, color_table("gray"))
        rows, columns = traversal.values.shape
        self.setFixedSize(LEFT + columns * (SIDE + GAP), TOP + rows * (SIDE + GAP))
        self.update()

    def sizeHint(self) -> QSize:
        """All pictures in their own size."""
        return self.size()

    def paintEvent(self, event: Any) -> None:
        """Names, then those pictures that are seen."""
        if self._traversal is None or self._image is None:
            return
        from ..vae.traversal_figure import column_name

        painter = QPainter(self)
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        for column, spreads in enumerate(self._traversal.spreads):
            box = QRectF(LEFT + column * (SIDE + GAP), 0, SIDE, TOP)
            painter.drawText(box, int(Qt.AlignmentFlag.AlignCenter), column_name(float(spreads)))
        for row, name in enumerate(self._names):
            box = QRectF(4, TOP + row * (SIDE + GAP), LEFT - 8, SIDE)
            flags = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
            painter.drawText(box, int(flags) | int(Qt.TextFlag.TextWordWrap), name)
        side = self._traversal.pictures.shape[-1]
        for row, column in np.ndindex(self._traversal.values.shape):
            source = QRect(column * (side + GAP), row * (side + GAP), side, side)
            target = QRect(LEFT + column * (SIDE + GAP), TOP + row * (SIDE + GAP), SIDE, SIDE)
            if target.intersects(event.rect()):
                painter.drawImage(target, self._image, source)

    def mousePressEvent(self, event: Any) -> None:
        """A click on a picture picks it."""
        if self._traversal is None or event.button() != Qt.MouseButton.LeftButton:
            return
        place = event.position()
        row = int((place.y() - TOP) // (SIDE + GAP))
        column = int((place.x() - LEFT) // (SIDE + GAP))
        rows, columns = self._traversal.values.shape
        if 0 <= row < rows and 0 <= column < columns:
            self.picked.emit(self._traversal.latents[row], float(self._traversal.values[row, column]))


class StripsPanel(QWidget):
    """Which latents, from −3 to 3 spreads; the pictures; the button that saves them."""

    def __init__(self, store: LatentsStore) -> None:
        super().__init__()
        self._store = store
        self._closed = False
        self._work = Newest(self._failed)
        self._drawn_from: Any = None
        self.traversal: Any = None
        self.latents_box = narrow(QComboBox())
        self.latents_box.setMinimumContentsLength(14)
        self.columns_spin = QSpinBox()
        self.columns_spin.setRange(3, 15)
        self.columns_spin.setSingleStep(2)
        self.columns_spin.setValue(7)
        self.columns_spin.setToolTip("Pictures in a row, from −3 to 3 spreads of the latent")
        self.save_button = QPushButton("Picture…")
        self.save_button.setToolTip("Save the strips as PNG or SVG with names, or as TIFF of grey values.")
        self.hint = QLabel(HINT)
        self.view = StripView()
        scroll = QScrollArea()
        scroll.setWidget(self.view)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        bar = QHBoxLayout()
        bar.setContentsMargins(8, 2, 8, 4)
        bar.setSpacing(6)
        bar.addWidget(QLabel("Latents"))
        bar.addWidget(self.latents_box)
        bar.addWidget(QLabel("Columns"))
        bar.addWidget(self.columns_spin)
        bar.addWidget(self.hint, 1)
        bar.addWidget(self.save_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(scroll, 1)
        layout.addLayout(bar)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SETTLE_MS)
        self._timer.timeout.connect(self._draw)

        self.latents_box.currentIndexChanged.connect(lambda _: self._timer.start())
        self.columns_spin.valueChanged.connect(lambda _: self._timer.start())
        self.save_button.clicked.connect(
            lambda: ask_and_save(self, "Save the traversal", "traversal.png", FILTERS, self.export)
        )
        self.view.picked.connect(self._picked)
        store.on("loaded order complete meanings", self._list)
        store.on("start loaded complete", self._outdated)
        # the dock may be destroyed before the rest
        self.destroyed.connect(self._work.stop)
        self._list()

    def shut_down(self) -> None:
        """Drop what still runs."""
        self._closed = True
        self._work.stop()

    @property
    def busy(self) -> bool:
        """Whether pictures are being drawn, or about to be."""
        return self._work.busy or self._timer.isActive()

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write the strips: PNG or SVG with names, TIFF bare.

        Raises
        ------
        ParameterError
            Another suffix.
        ResultError
            There are none, or the file cannot be written.
        """
        from ..vae.traversal_figure import save_traversal

        if self.traversal is None:
            raise ResultError(f"There is nothing to write to {os.fspath(path)}: wait for the strips.")
        state = self._store.state
        means = state.meanings
        names = None if means is None else [means[latent] or "" for latent in self.traversal.latents]
        save_traversal(self.traversal, os.fspath(path), names=names, pixel_size_nm=state.card.pixel_size_nm)

    def showEvent(self, event: Any) -> None:
        """Draw what was put off while nobody saw it."""
        super().showEvent(event)
        self._timer.start()

    def _list(self) -> None:
        state = self._store.state
        if self._closed or state.loaded is None:
            return
        count = state.card.latents
        entries = [(f"{min(-FEW, count)} that change most" if state.complete else "8 of most variance", FEW)]
        entries += [(f"all {count}", ALL), *((name_of(state, latent), latent) for latent in order_of(state))]
        box = self.latents_box
        if [(box.itemText(i), box.itemData(i)) for i in range(box.count())] == entries:
            return
        blocked = box.blockSignals(True)
        picked = box.currentData()
        box.clear()
        for name, latent in entries:
            box.addItem(name, latent)
        box.setCurrentIndex(max(box.findData(picked), 0))
        box.blockSignals(blocked)

    def _outdated(self) -> None:
        if self.isVisible() and not self._closed:
            self._timer.start()

    def _chosen(self) -> list[int]:
        picked = self.latents_box.currentData()
        order = order_of(self._store.state)
        if picked is None or picked == FEW:
            return order[:-FEW]
        return order if picked == ALL else [int(picked)]

    def _draw(self) -> None:
        state = self._store.state
        if self._closed or not self.isVisible():
            return
        model, start = state.loaded, state.start
        if model is None or start is None or model.network.decoder is None:
            self._work.stop()
            self._take(None)
            self.hint.setText(NO_DECODER if model is not None and start is not None else HINT)
            return
        wanted = (model, start, self._chosen(), self.columns_spin.value(), spreads_of(state))
        if self._drawn_from is not None and _same(wanted, self._drawn_from):
            return

        def steps() -> Any:
            from ..vae.traversal import traverse_steps

            _, _, latents, columns, spreads = wanted
            return traverse_steps(model, start=start, latents=latents, columns=columns, spreads=spreads)

        def take(traversal: Any) -> None:
            self._drawn_from = wanted
            self._take(traversal)

        self.hint.setText("Drawing…")
        self._work.start(steps, take)

    def _take(self, traversal: Any) -> None:
        state = self._store.state
        self.traversal = traversal
        self.save_button.setEnabled(traversal is not None)
        if traversal is None:
            self._drawn_from = None
            self.view.show_traversal(None, [], (0, 1))
            return
        words = "from the window" if state.window is not None else "from z = 0"
        self.hint.setText(f"z from −3 to 3 spreads, all others {words}")
        names = [name_of(state, latent) for latent in traversal.latents]
        self.view.show_traversal(traversal, names, grey_limits([traversal.pictures]))

    def _failed(self, text: str) -> None:
        self.hint.setText("")
        self._store.say(text, error=True)

    def _picked(self, latent: int, value: float) -> None:
        state = self._store.state
        if state.start is not None:
            z = state.start.copy()
            z[latent] = value
            self._store.change(z=z)


def _same(wanted: Any, drawn: Any) -> bool:
    model, start, latents, columns, spreads = wanted
    return (
        model is drawn[0]
        and start is drawn[1]
        and (latents, columns) == drawn[2:4]
        and np.array_equal(spreads, drawn[4])
    )
