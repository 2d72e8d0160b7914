"""The dock of a training: its figure, epoch by epoch, and the button that saves it."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from qtpy.QtCore import QEvent, QSize, Qt
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QSizePolicy, QWidget

from ..errors import ParameterError, ResultError
from ..io.export import replace_file
from .canvas_theme import theme_of
from .saving import ask_and_save
from .trace_figure import ON_WHITE
from .traces import FIGURE_FILTERS, FIGURE_SUFFIXES
from .training_figure import draw_training

# After qtpy: matplotlib takes the Qt binding that is already loaded.
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg  # isort: skip

if TYPE_CHECKING:
    from ..vae.training import Epoch

HINT = "After the first epoch, losses, latents and reconstructions stand here."


class TrainingPlot(QWidget):
    """Losses, variance of the latents and reconstructions, in the colours of the dock."""

    def __init__(self) -> None:
        super().__init__()
        self._epochs: tuple[Epoch, ...] = ()
        self.canvas = FigureCanvasQTAgg(Figure(layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.04)))
        self.canvas.setMinimumSize(200, 120)
        self.canvas.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self._figure = QPushButton("Figure…")
        self._figure.setToolTip("Save the figure on white, as PNG, SVG or PDF.")
        self._figure.clicked.connect(
            lambda: ask_and_save(self, "Save the figure", "training.png", FIGURE_FILTERS, self.export_figure)
        )
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 8, 4)
        layout.setSpacing(2)
        layout.addWidget(self.canvas, 1)
        layout.addWidget(self._figure, 0, Qt.AlignmentFlag.AlignBottom)
        self._style = theme_of(self, self.canvas)
        self._rebuild()

    def set_epochs(self, epochs: Sequence[Epoch]) -> None:
        """Show a training; no epochs bring the hint back."""
        self._epochs = tuple(epochs)
        self._rebuild()

    def export_figure(self, path: str | os.PathLike[str]) -> None:
        """Draw the figure on white, whatever the theme, and write it.

        Parameters
        ----------
        path : path
            Ends in .png (200 dpi), .svg or .pdf.

        Raises
        ------
        ParameterError
            Another suffix.
        ResultError
            There are no epochs, or the file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() not in FIGURE_SUFFIXES:
            raise ParameterError(
                f"{path} is not a kind of picture to write; name it with {', '.join(FIGURE_SUFFIXES)}."
            )
        if not self._epochs:
            raise ResultError(f"There is nothing to write to {path}: train a model first.")
        figure = Figure(figsize=(11.0, 3.0), layout="constrained")
        picture = io.BytesIO()
        # Letters stay letters in vector files, so that a figure can still be edited.
        with rc_context({"svg.fonttype": "none", "pdf.fonttype": 42}):
            draw_training(figure, self._epochs, ON_WHITE)
            figure.savefig(picture, format=path.suffix[1:].lower(), dpi=200, facecolor=ON_WHITE.ground)
        replace_file(path, lambda aside: aside.write_bytes(picture.getvalue()))

    def _rebuild(self) -> None:
        """Build the figure anew; the canvas draws it when it next has time."""
        figure = self.canvas.figure
        if not draw_training(figure, self._epochs, self._style):
            style: dict[str, Any] = {"color": self._style.text, "alpha": 0.65, "fontsize": self._style.font}
            figure.text(0.5, 0.5, HINT, ha="center", va="center", **style)
        self._figure.setEnabled(bool(self._epochs))
        self.canvas.draw_idle()

    def changeEvent(self, event) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange, QEvent.Type.FontChange):
            self._adopt_theme()

    def showEvent(self, event) -> None:
        super().showEvent(event)
        self._adopt_theme()

    def _adopt_theme(self) -> None:
        # Qt sends palette changes from the base constructor on, before there is a canvas.
        if hasattr(self, "_style") and (style := theme_of(self, self.canvas)) != self._style:
            self._style = style
            self._rebuild()

    def sizeHint(self) -> QSize:
        return QSize(700, 240)

    def minimumSizeHint(self) -> QSize:
        return QSize(300, 180)
