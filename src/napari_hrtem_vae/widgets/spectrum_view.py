"""A power spectrum on the screen, with spots that can be added, dragged and removed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QPainter, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

NEAR_PX = 7.0
MOVED_PX = 4.0
CLOSEST, WIDEST = 0.01, 0.5  # cycles per px at the edge of the view
WHEEL_STEP = 1.2


@dataclass(frozen=True)
class Picture:
    """A part of a power spectrum around k = 0.

    Parameters
    ----------
    values : ndarray (rows, columns), uint8
    edges : tuple of float
        ky of the upper and lower edge, kx of the left and right one, in cycles per px.
    """

    values: NDArray[np.uint8]
    edges: tuple[float, float, float, float]


@dataclass(frozen=True)
class Mark:
    """A circle around a spot.

    Parameters
    ----------
    k : tuple of 2 floats
        (ky, kx) in cycles per px.
    color : str
        Hex colour.
    radius : float
        In px of the screen.
    grain, order : int
        Which grain and which of its spots it stands for; grain -1: a spot that belongs to none.
    sign : int
        -1 for the spot opposite to the one that `grain` and `order` name.
    """

    k: tuple[float, float]
    color: str
    radius: float = 7.0
    grain: int = -1
    order: int = 0
    sign: int = 1


class SpectrumView(QWidget):
    """Shows a `Picture` with its `Mark`s, ky down and kx to the right as in the image.

    Attributes
    ----------
    spot_added : Signal(float, float)
        A click beside all grains' spots, at (ky, kx).
    spot_moved : Signal(int, int, float, float)
        Grain, order, and (ky, kx) where its spot was dragged to.
    spot_removed : Signal(int, int)
        Grain and order of a spot that was clicked with the right button, or deleted.
    pointed : Signal(object)
        (ky, kx) under the pointer; None when it leaves.
    """

    spot_added = Signal(float, float)
    spot_moved = Signal(int, int, float, float)
    spot_removed = Signal(int, int)
    pointed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._picture: Picture | None = None
        self._marks: tuple[Mark, ...] = ()
        self._hint = ""
        self._reach = WIDEST
        self._own_reach = False  # the user has turned the wheel
        self._pressed: QPointF | None = None
        self._dragged: Mark | None = None
        self._pointer: QPointF | None = None
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(230)
        self.setCursor(Qt.CursorShape.CrossCursor)

    def sizeHint(self) -> QSize:
        return QSize(290, 230)

    @property
    def marks(self) -> tuple[Mark, ...]:
        """What is marked now."""
        return self._marks

    @property
    def picture(self) -> Picture | None:
        """What is shown now."""
        return self._picture

    def show_picture(self, picture: Picture | None, *, reach: float = WIDEST, hint: str = "") -> None:
        """Show a spectrum up to `reach` cycles per px; None shows the hint alone."""
        self._picture, self._hint = picture, hint
        if not self._own_reach:
            self._reach = min(max(reach, CLOSEST), WIDEST)
        self.update()

    def fit(self) -> None:
        """Let the view choose again how far it reaches."""
        self._own_reach = False

    def show_marks(self, marks: Sequence[Mark]) -> None:
        """Show circles; the last ones are on top."""
        self._marks = tuple(marks)
        self.update()

    # Between k and the screen

    def _scale(self) -> float:
        """Pixels of the screen per cycle per px: the same both ways, so that angles are what they are."""
        return min(self.width(), self.height()) / (2 * self._reach)

    def place_of(self, k: tuple[float, float]) -> QPointF:
        """Where (ky, kx) is on the widget."""
        scale = self._scale()
        return QPointF(self.width() / 2 + k[1] * scale, self.height() / 2 + k[0] * scale)

    def k_at(self, place: QPointF) -> tuple[float, float]:
        """(ky, kx) at a place on the widget."""
        scale = self._scale()
        return (place.y() - self.height() / 2) / scale, (place.x() - self.width() / 2) / scale

    def _mark_near(self, place: QPointF) -> Mark | None:
        """The nearest mark of a grain within reach of the pointer."""
        own = [mark for mark in self._marks if mark.grain >= 0]
        away = [np.hypot(*_apart(self.place_of(mark.k), place)) for mark in own]
        nearest = int(np.argmin(away)) if away else -1
        return own[nearest] if away and away[nearest] <= NEAR_PX else None

    # Painting

    def paintEvent(self, event: Any) -> None:
        """Spectrum, then circles, then the spot that is being dragged."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), QColor("#000000"))
        if self._picture is not None:
            values = np.ascontiguousarray(self._picture.values)
            image = QImage(
                values.data,
                values.shape[1],
                values.shape[0],
                values.shape[1],
                QImage.Format.Format_Grayscale8,
            )
            top, bottom, left, right = self._picture.edges
            target = QRectF(self.place_of((top, left)), self.place_of((bottom, right)))
            painter.drawImage(target, image, QRectF(image.rect()))
        if self._hint:
            painter.setPen(QColor("#b0b0b0"))
            painter.drawText(
                QRectF(self.rect()).adjusted(8, 8, -8, -8),
                int(Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap),
                self._hint,
            )
        for mark in self._marks:
            self._paint_mark(painter, mark, self.place_of(mark.k))
        if self._dragged is not None and self._pointer is not None:
            self._paint_mark(painter, self._dragged, self._pointer)

    def _paint_mark(self, painter: QPainter, mark: Mark, place: QPointF) -> None:
        painter.setPen(QPen(QColor(mark.color), 2.0 if mark.grain >= 0 else 1.0))
        painter.drawEllipse(place, mark.radius, mark.radius)

    # Pointer and keys

    def mousePressEvent(self, event: Any) -> None:
        """Left begins a click or a drag; right removes."""
        place = event.position()
        near = self._mark_near(place)
        if event.button() == Qt.MouseButton.RightButton:
            if near is not None:
                self.spot_removed.emit(near.grain, near.order)
        elif event.button() == Qt.MouseButton.LeftButton and self._picture is not None:
            self._pressed, self._dragged = place, near

    def mouseMoveEvent(self, event: Any) -> None:
        """Tell where the pointer is; a dragged spot follows it."""
        self._pointer = event.position()
        self.pointed.emit(self.k_at(self._pointer))
        if self._dragged is not None:
            self.update()

    def mouseReleaseEvent(self, event: Any) -> None:
        """A click beside all spots adds one; the end of a drag moves one."""
        if event.button() != Qt.MouseButton.LeftButton or self._pressed is None:
            return
        pressed, dragged = self._pressed, self._dragged
        self._pressed = self._dragged = None
        place = event.position()
        moved = np.hypot(*_apart(place, pressed)) > MOVED_PX
        ky, kx = self.k_at(place)
        if dragged is not None and moved:
            self.spot_moved.emit(dragged.grain, dragged.order, dragged.sign * ky, dragged.sign * kx)
        elif dragged is None and not moved:
            self.spot_added.emit(ky, kx)
        self.update()

    def leaveEvent(self, event: Any) -> None:
        """Nothing is pointed at any more."""
        self._pointer = None
        self.pointed.emit(None)
        super().leaveEvent(event)

    def keyPressEvent(self, event: Any) -> None:
        """Delete removes the spot under the pointer."""
        near = None if self._pointer is None else self._mark_near(self._pointer)
        if event.key() in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace) and near is not None:
            self.spot_removed.emit(near.grain, near.order)
        else:
            super().keyPressEvent(event)

    def wheelEvent(self, event: Any) -> None:
        """Zoom about the middle."""
        turns = event.angleDelta().y() / 120
        self._own_reach = True
        self._reach = float(np.clip(self._reach * WHEEL_STEP**-turns, CLOSEST, WIDEST))
        self.update()
        event.accept()  # else the controls scroll at the same time


def _apart(one: QPointF, other: QPointF) -> tuple[float, float]:
    return one.x() - other.x(), one.y() - other.y()
