"""The window, its reconstruction, and what the sliders change in it, side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtCore import QRectF, QSize, Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPalette
from qtpy.QtWidgets import QSizePolicy, QWidget

from ..vae.traversal import grey_limits
from .latents_state import LatentsStore
from .parts import Panel, note_label, show_note

GAP = 4
LARGEST = 220  # px of the screen
TITLES = ("Window", "Reconstruction", "Change")
HINT = "Click a place in the video: its window appears here, and the sliders go where its latents are."
GREY, DIVERGING = "gray", "RdBu_r"


class WindowsView(QWidget):
    """Three square pictures with their titles, as large as the width allows."""

    def __init__(self) -> None:
        super().__init__()
        self._images: list[QImage | None] = [None, None, None]
        self._hints = ["", "", ""]
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            "Window: as the model sees it. Reconstruction: what the latents stand for.\n"
            "Change: what the sliders have changed in the reconstruction, blue darker, red brighter."
        )
        self._fit()

    def sizeHint(self) -> QSize:
        """Three pictures in the width of the widget."""
        return QSize(300, self._side() + self._title())

    def show_images(self, images: list[QImage | None], hints: list[str]) -> None:
        """Show pictures; where there is none, what stands in its place."""
        self._images, self._hints = images, hints
        self.update()

    def images(self) -> list[QImage | None]:
        """What is shown now."""
        return self._images

    def _title(self) -> int:
        return self.fontMetrics().height() + 2

    def _side(self) -> int:
        return max(40, min(LARGEST, (self.width() - 2 * GAP) // 3))

    def _fit(self) -> None:
        self.setFixedHeight(self._side() + self._title())

    def resizeEvent(self, event: Any) -> None:
        """Grow and shrink with the width."""
        super().resizeEvent(event)
        self._fit()

    def paintEvent(self, event: Any) -> None:
        """Titles above, pictures below."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        side, top = self._side(), self._title()
        text = self.palette().color(QPalette.ColorRole.WindowText)
        for index, (image, title, hint) in enumerate(zip(self._images, TITLES, self._hints, strict=True)):
            left = index * (side + GAP)
            painter.setPen(text)
            painter.drawText(QRectF(left, 0, side, top), int(Qt.AlignmentFlag.AlignCenter), title)
            box = QRectF(left, top, side, side)
            if image is not None:
                painter.drawImage(box, image, QRectF(image.rect()))
                continue
            painter.fillRect(box, QColor(128, 128, 128, 40))
            painter.drawText(
                box.adjusted(4, 4, -4, -4),
                int(Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap),
                hint,
            )


class PicturesPanel(Panel):
    """Always in view below the sliders: the pictures, where they are from, and the sentence."""

    def __init__(self, store: LatentsStore) -> None:
        super().__init__("")
        self._store = store
        self._tables: dict[str, list[int]] = {}
        self.view = WindowsView()
        self.where = note_label()
        self.message = note_label()
        for widget in (self.view, self.where, self.message):
            self.column.addWidget(widget)
        store.on("window before after loaded site", self._show)
        store.on("site frame pixel_size_nm", self._tell)
        store.on("message", self._show_message)
        self._show()
        self._tell()

    def _show(self) -> None:
        state = self._store.state
        draws = state.loaded is None or state.loaded.network.decoder is not None
        nothing = "" if draws else "no decoder"
        pictures = [state.window, state.after, None]
        moved = state.z is not state.start and not np.array_equal(state.z, state.start)
        if moved and state.after is not None and state.before is not None:
            pictures[2] = state.after - state.before
        shown = [one for one in (state.window, state.before) if one is not None]
        # one scale for both, which stays while the sliders move
        low, high = grey_limits(shown)
        most = 0.5 * (high - low)
        limits = [(low, high), (low, high), (-most, most)]
        images = [
            None if picture is None else self._image(picture, *ends, colormap)
            for picture, ends, colormap in zip(pictures, limits, (GREY, GREY, DIVERGING), strict=True)
        ]
        self.view.show_images(images, ["click in the video", nothing, nothing or "move a slider"])

    def _image(self, picture: np.ndarray, low: float, high: float, colormap: str) -> QImage:
        """A picture in colours; loads matplotlib, and so only when there is a picture."""
        from .contact_sheet import color_table, map_image

        if colormap not in self._tables:
            self._tables[colormap] = color_table(colormap)
        return map_image(picture, low, high, self._tables[colormap])

    def _tell(self) -> None:
        state = self._store.state
        if state.site is None or state.video is None:
            show_note(self.where, HINT)
            return
        y, x = state.site.corners_px.mean(0)
        place = f"y {y:.0f}, x {x:.0f} px"
        if state.pixel_size_nm:
            place = f"y {y * state.pixel_size_nm:.2f}, x {x * state.pixel_size_nm:.2f} nm"
        show_note(self.where, f"Frame {state.frame} · window about {place}")

    def _show_message(self) -> None:
        message = self._store.state.message
        self.message.setStyleSheet("QLabel { color: #ff6b5f; }" if message.error else "")
        show_note(self.message, message.text)
