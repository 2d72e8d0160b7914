"""All maps in one sheet: a grid of small pictures, one click from the map itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from qtpy.QtCore import QAbstractListModel, QBuffer, QIODevice, QRect, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QFont, QFontMetrics, QImage, QPainter, QPalette, QPixmap
from qtpy.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QListView,
    QPushButton,
    QStyle,
    QStyledItemDelegate,
    QVBoxLayout,
    QWidget,
)

from ..errors import ParameterError, ResultError
from ..io.export import replace_file
from .saving import ask_and_save

ROBUST_PERCENTILE = 99.8
MISSING = 255  # index of the grey that stands for NaN; the colours take 0 … 254
_GREY = QColor(128, 128, 128)
_SAMPLES = 1 << 16  # values of one map that its robust maximum is taken from


def robust_maximum(values: np.ndarray) -> float:
    """The 99.8th percentile of the absolute values; the maximum where that is 0.

    Parameters
    ----------
    values : numpy.ndarray
        Any shape; NaN and infinite values do not count.

    Returns
    -------
    float
        In the unit of the values; 0 where none is finite.
    """
    values = np.abs(values[np.isfinite(values)])
    if not values.size:
        return 0.0
    sample = values[:: -(-values.size // _SAMPLES)]
    return float(np.percentile(sample, ROBUST_PERCENTILE)) or float(values.max())


def color_table(colormap: str) -> list[int]:
    """255 colours of a matplotlib colormap and the grey of missing values, as Qt counts them.

    Parameters
    ----------
    colormap : str
        Name in matplotlib.

    Returns
    -------
    list of int
        256 values 0xAARRGGBB.

    Raises
    ------
    ParameterError
        No colormap has this name.
    """
    if colormap not in colormaps:
        raise ParameterError(f"There is no colormap {colormap!r}; give one of matplotlib's, as 'magma'.")
    colors = colormaps[colormap](np.linspace(0, 1, MISSING), bytes=True)
    return [QColor(*(int(part) for part in color)).rgba() for color in colors] + [_GREY.rgba()]


def map_image(values: np.ndarray, low: float, high: float, colors: list[int]) -> QImage:
    """One map as an indexed picture of its own size.

    Parameters
    ----------
    values : numpy.ndarray
        (y, x) float; NaN becomes grey.
    low, high : float
        What the first and the last colour stand for.
    colors : list of int
        From `color_table`.

    Returns
    -------
    QImage
        Format_Indexed8, which owns its pixels.
    """
    span = high - low if high > low else 1.0
    known = np.isfinite(values)
    level = np.clip((np.where(known, values, low) - low) * ((MISSING - 1) / span), 0, MISSING - 1)
    index = np.ascontiguousarray(np.where(known, np.rint(level), MISSING).astype(np.uint8))
    rows, columns = index.shape
    image = QImage(index.data, columns, rows, columns, QImage.Format.Format_Indexed8)
    image.setColorTable(colors)
    return image.copy()


def fitted(image: QImage, size: QSize) -> QImage:
    """`image` scaled into `size` [px], proportions kept; small maps keep their sites as crisp squares."""
    target = image.size().scaled(size, Qt.AspectRatioMode.KeepAspectRatio).expandedTo(QSize(1, 1))
    times = -(-target.width() // image.width())
    if times > 1:
        image = image.scaled(image.size() * times)
    return image.convertToFormat(QImage.Format.Format_RGB32).scaled(
        target, Qt.AspectRatioMode.IgnoreAspectRatio, Qt.TransformationMode.SmoothTransformation
    )


class _Maps(QAbstractListModel):
    """The pictures and their labels, as a list view wants them."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[QImage] = []
        self.labels: list[str] = []
        self.tips: list[str] = []

    def set(self, images: list[QImage], labels: list[str], tips: list[str]) -> None:
        same = len(images) == len(self.images)
        if not same:
            self.beginResetModel()
        self.images, self.labels, self.tips = images, labels, tips
        if same:
            # Maps that fill in keep the place of the scroll bar and the chosen one.
            if images:
                self.dataChanged.emit(self.index(0), self.index(len(images) - 1))
        else:
            self.endResetModel()

    def rowCount(self, parent=None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.labels)

    def data(self, index, role=Qt.ItemDataRole.DisplayRole):
        if not index.isValid():
            return None
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            return self.labels[index.row()]
        if role == Qt.ItemDataRole.ToolTipRole:
            return self.tips[index.row()]
        return None


class _Tile(QStyledItemDelegate):
    """Paints one map with its label beneath, framed when it is the chosen one."""

    MARGIN = 4

    def __init__(self, parent) -> None:
        super().__init__(parent)
        self.picture = QSize(80, 80)
        self._pixmaps: dict[tuple[int, int, int, float], QPixmap] = {}

    def forget(self) -> None:
        """Drop the scaled pictures: the maps or the size of the tiles changed."""
        self._pixmaps.clear()

    def paint(self, painter, option, index) -> None:
        painter.save()
        palette = option.palette
        chosen = bool(option.state & QStyle.StateFlag.State_Selected)
        hovered = bool(option.state & QStyle.StateFlag.State_MouseOver)
        area = option.rect.adjusted(1, 1, -1, -1)
        if chosen or hovered:
            ground = palette.color(QPalette.ColorRole.Highlight)
            ground.setAlphaF(1.0 if chosen else 0.3)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(ground)
            painter.drawRoundedRect(QRectF(area), 4, 4)
        ratio = painter.device().devicePixelRatioF()
        pixmap = self._pixmap(index.model().images[index.row()], ratio)
        width, height = round(pixmap.width() / ratio), round(pixmap.height() / ratio)
        box = QRect(area.left(), area.top() + self.MARGIN - 1, area.width(), self.picture.height())
        corner = QRect(0, 0, width, height)
        corner.moveCenter(box.center())
        painter.drawPixmap(corner, pixmap)
        role = QPalette.ColorRole.HighlightedText if chosen else QPalette.ColorRole.WindowText
        painter.setPen(palette.color(role))
        below = QRect(area.left() + 2, box.bottom() + 2, area.width() - 4, area.bottom() - box.bottom() - 2)
        text = option.fontMetrics.elidedText(index.data(), Qt.TextElideMode.ElideRight, below.width())
        painter.drawText(below, int(Qt.AlignmentFlag.AlignCenter), text)
        painter.restore()

    def _pixmap(self, image: QImage, ratio: float) -> QPixmap:
        key = (image.cacheKey(), self.picture.width(), self.picture.height(), ratio)
        if key not in self._pixmaps:
            pixmap = QPixmap.fromImage(fitted(image, self.picture * ratio))
            pixmap.setDevicePixelRatio(ratio)
            self._pixmaps[key] = pixmap
        return self._pixmaps[key]

    def sizeHint(self, option, index) -> QSize:
        return QSize(
            self.picture.width() + 2 * self.MARGIN,
            self.picture.height() + 2 * self.MARGIN + option.fontMetrics.height() + 2,
        )


class _Grid(QListView):
    """A list view whose tiles fill the width, as many in a row as stand well side by side."""

    picked = Signal(int)
    TILE = 92  # px, the least width of a tile

    def __init__(self) -> None:
        super().__init__()
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setMovement(QListView.Movement.Static)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setUniformItemSizes(True)
        self.setMouseTracking(True)
        self.setFrameShape(QListView.Shape.NoFrame)
        self.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        # A bar that comes and goes would change the width, and with it the tiles, without end.
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)
        self.tile = _Tile(self)
        self.setItemDelegate(self.tile)
        self.aspect = 1.0  # height of a map by its width
        self.clicked.connect(lambda index: self.picked.emit(index.row()))

    def fit(self) -> None:
        """Share the width among the tiles of a row."""
        width = self.viewport().width() - 2
        side = width // max(1, width // self.TILE)
        picture = max(16, side - 2 * self.tile.MARGIN)
        self.tile.picture = QSize(picture, round(picture * min(max(self.aspect, 0.4), 2.0)))
        self.tile.forget()
        height = self.tile.picture.height() + 2 * self.tile.MARGIN + self.fontMetrics().height() + 4
        self.setGridSize(QSize(side, height))

    def resizeEvent(self, event) -> None:
        self.fit()
        super().resizeEvent(event)

    def keyPressEvent(self, event) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.currentIndex().isValid():
            self.picked.emit(self.currentIndex().row())
            return
        super().keyPressEvent(event)


class ContactSheet(QWidget):
    """All maps side by side, each scaled by its own maximum or all by one.

    Parameters
    ----------
    parent : QWidget, optional
        The dock or dialog.

    Attributes
    ----------
    picked : Signal(int)
        A click on a map, or Enter; its position in the sequence.
    """

    picked = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._maps = np.zeros((0, 1, 1))
        self._labels: list[str] = []
        self._colormap = "magma"
        self._model = _Maps()
        self._grid = _Grid()
        self._grid.setModel(self._model)
        self._grid.picked.connect(self.picked)
        self._same = QCheckBox("Same scale")
        self._same.setToolTip("One scale for all maps, so that they compare; else each has its own.")
        self._same.toggled.connect(self._paint)
        self._save = QPushButton("Picture…")
        self._save.setToolTip("Save all maps with their labels as one PNG.")
        self._save.clicked.connect(
            lambda: ask_and_save(self, "Save the contact sheet", "maps.png", "PNG (*.png)", self.export_png)
        )
        bar = QHBoxLayout()
        bar.setContentsMargins(8, 4, 8, 4)
        bar.addWidget(self._same)
        bar.addStretch(1)
        bar.addWidget(self._save)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(bar)
        layout.addWidget(self._grid, 1)
        self._save.setEnabled(False)
        # inside the grid, so that it takes no room of its own
        self._hint = QLabel(self._grid.viewport())
        self._hint.setContentsMargins(10, 8, 10, 8)
        self._hint.hide()

    def clear(self, hint: str) -> None:
        """Show no maps, and `hint` in their place."""
        self.set_maps(np.zeros((0, 1, 1), np.float32), [])
        self.set_current(-1)
        self._hint.setText(hint)
        self._hint.adjustSize()
        self._hint.show()

    def hint(self) -> str:
        """What stands in place of maps; empty while there are some."""
        return "" if self._hint.isHidden() else self._hint.text()

    def set_maps(self, maps: np.ndarray, labels: Sequence[str], *, colormap: str = "magma") -> None:
        """Show `maps` in the order given; the highlight stays where it is while their number does.

        Parameters
        ----------
        maps : numpy.ndarray
            (n, y, x) float, NaN where there is no value (grey). Maps without negative values run from 0 to
            their robust maximum; if any has some, all run from minus to plus it.
        labels : sequence of str
            n, what stands beneath each.
        colormap : str
            Name in matplotlib.

        Raises
        ------
        ParameterError
            Maps are not (n, y, x), labels are not n, or no colormap has this name.
        """
        maps = np.asarray(maps)
        if maps.ndim != 3 or 0 in maps.shape[1:]:
            raise ParameterError(f"Maps have the shape {maps.shape}; give (n, y, x).")
        if len(labels) != len(maps):
            raise ParameterError(f"There are {len(maps)} maps and {len(labels)} labels; give one for each.")
        color_table(colormap)
        self._maps, self._labels, self._colormap = maps, [str(label) for label in labels], colormap
        self._grid.aspect = maps.shape[1] / maps.shape[2]
        self._paint()
        self._grid.fit()
        self._save.setEnabled(len(maps) > 0)
        self._hint.hide()

    def set_same_scale(self, same: bool) -> None:
        """Scale all maps by the largest robust maximum (true), or each by its own."""
        self._same.setChecked(same)

    def set_current(self, i: int) -> None:
        """Highlight map `i` and scroll to it; a position outside the sequence highlights none.

        Parameters
        ----------
        i : int
            Position in the sequence.
        """
        index = self._model.index(i)
        self._grid.setCurrentIndex(index)
        if index.isValid():
            self._grid.scrollTo(index)
        else:
            self._grid.clearSelection()

    def current(self) -> int:
        """Position of the highlighted map, −1 when there is none."""
        return self._grid.currentIndex().row()

    def image(self, i: int) -> QImage:
        """Map `i` as it is coloured, one pixel a site."""
        return self._model.images[i]

    def _paint(self) -> None:
        """Colour all maps anew."""
        colors = color_table(self._colormap)
        tops = [robust_maximum(values) for values in self._maps]
        highs = [max(tops, default=0.0)] * len(tops) if self._same.isChecked() else tops
        signed = bool((self._maps < 0).any())
        images = [
            map_image(values, -high if signed else 0.0, high, colors)
            for values, high in zip(self._maps, highs, strict=True)
        ]
        tips = [f"{label}\nlargest: {top:.3g}" for label, top in zip(self._labels, tops, strict=True)]
        self._grid.tile.forget()
        self._model.set(images, self._labels, tips)
        self._grid.viewport().update()

    def export_png(self, path: str | os.PathLike[str]) -> None:
        """Write the sheet as one picture, on white: about as many columns as rows, a label beneath each map.

        Parameters
        ----------
        path : path
            The PNG file.

        Raises
        ------
        ResultError
            There are no maps, or the file cannot be written.
        """
        path = Path(path)
        if not self._labels:
            raise ResultError(f"There is nothing to write to {path}: analyze a video first.")
        buffer = QBuffer()
        buffer.open(QIODevice.OpenModeFlag.WriteOnly)
        self._sheet().save(buffer, "PNG")
        replace_file(path, lambda aside: aside.write_bytes(bytes(buffer.data().data())))

    def _sheet(self) -> QImage:
        """The picture that `export_png` writes; maps 192 px wide."""
        width, gap = 192, 10
        height = round(width * min(max(self._grid.aspect, 0.4), 2.0))
        font = QFont(self.font())
        font.setPixelSize(18)
        line = QFontMetrics(font).height() + 4
        columns = int(np.ceil(np.sqrt(len(self._labels) * height / width)))
        rows = -(-len(self._labels) // columns)
        sheet = QImage(
            columns * (width + gap) + gap, rows * (height + line + gap) + gap, QImage.Format.Format_RGB32
        )
        sheet.fill(Qt.GlobalColor.white)
        painter = QPainter(sheet)
        painter.setFont(font)
        painter.setPen(QColor("#1a1a1a"))
        for i, (image, label) in enumerate(zip(self._model.images, self._labels, strict=True)):
            row, column = divmod(i, columns)
            box = QRect(gap + column * (width + gap), gap + row * (height + line + gap), width, height)
            picture = fitted(image, box.size())
            place = picture.rect()
            place.moveCenter(box.center())
            painter.drawImage(place, picture)
            text = painter.fontMetrics().elidedText(label, Qt.TextElideMode.ElideRight, width)
            painter.drawText(
                QRect(box.left(), box.bottom() + 1, width, line), int(Qt.AlignmentFlag.AlignCenter), text
            )
        painter.end()
        return sheet

    def sizeHint(self) -> QSize:
        return QSize(420, 480)

    def minimumSizeHint(self) -> QSize:
        return QSize(220, 140)
