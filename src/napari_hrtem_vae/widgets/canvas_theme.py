"""Colours and letters of a figure as those of the widget that it stands in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtGui import QFontInfo, QPalette
from qtpy.QtWidgets import QWidget

from .trace_figure import FigureStyle

if TYPE_CHECKING:
    from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg


def theme_of(widget: QWidget, canvas: FigureCanvasQTAgg) -> FigureStyle:
    """Colours and letter size of `widget` as they are now, under a palette or a style sheet."""
    palette = widget.palette()
    pixels = min(max(QFontInfo(widget.font()).pixelSize(), 10), 18)
    return FigureStyle(
        ground=palette.color(QPalette.ColorRole.Window).name(),
        text=palette.color(QPalette.ColorRole.WindowText).name(),
        font=0.92 * pixels * 72 / canvas.figure.dpi * canvas.device_pixel_ratio,
    )
