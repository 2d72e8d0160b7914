"""The path of a site through latent space, in a plane, coloured by time."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from qtpy.QtCore import QEvent, QSize, Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from ..errors import ParameterError, ResultError
from ..io.export import replace_file
from .canvas_theme import theme_of
from .parts import narrow
from .saving import ask_and_save
from .trace_figure import ON_WHITE, FigureStyle, dress, moving_mean
from .traces import FIGURE_FILTERS, FIGURE_SUFFIXES

# After qtpy: matplotlib takes the Qt binding that is already loaded.
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg  # isort: skip

HINT = "Click a place in the video to see its path"
PRINCIPAL = -1  # what stands for the principal components among the latents
COLORMAP = "viridis"


@dataclass(frozen=True, eq=False)
class Path2D:
    """A path in a plane.

    Parameters
    ----------
    points : ndarray (time, 2)
        Along x and y; NaN where there is no value.
    times : ndarray (time,)
    labels : tuple of 2 str
        Of x and y.
    time_label : str
    frames : int
        Length of the moving mean that the line is of; 1 is off.
    """

    points: np.ndarray
    times: np.ndarray
    labels: tuple[str, str]
    time_label: str
    frames: int = 1

    def smoothed(self) -> np.ndarray:
        """The moving mean of the points (time, 2)."""
        return np.stack([moving_mean(self.points[:, axis], self.frames) for axis in (0, 1)], axis=1)


class PathPlot(QWidget):
    """A path in the colours of the dock, with a ring at the viewer's frame.

    Attributes
    ----------
    plane_chosen : Signal
        Other axes were picked.
    frame_clicked : Signal(int)
        The frame whose point is nearest to a click.
    """

    plane_chosen = Signal()
    frame_clicked = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self._path: Path2D | None = None
        self._frame = 0
        self._axes: Axes | None = None
        self._ring: Any = None
        self._background: Any = None  # the drawn figure without the ring; None while it is out of date
        self.canvas = FigureCanvasQTAgg(Figure(layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.05)))
        self.canvas.setMinimumSize(140, 100)
        self.canvas.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.canvas.mpl_connect("draw_event", self._drawn)
        self.canvas.mpl_connect("resize_event", lambda _: self._outdate())
        self.canvas.mpl_connect("button_press_event", self._pressed)
        self.boxes = narrow(QComboBox()), narrow(QComboBox())
        for box in self.boxes:
            box.setMinimumContentsLength(4)
            box.setToolTip(
                "Axis of the plane: a latent, or a principal component of all latents of this site"
            )
            box.currentIndexChanged.connect(lambda _: self.plane_chosen.emit())
        self._figure = QPushButton("Figure…")
        self._figure.setToolTip("Save the path on white, as PNG, SVG or PDF.")
        self._figure.clicked.connect(
            lambda: ask_and_save(self, "Save the path", "path.png", FIGURE_FILTERS, self.export_figure)
        )
        bar = QHBoxLayout()
        bar.setContentsMargins(4, 2, 8, 4)
        bar.setSpacing(4)
        for label, box in zip(("x", "y"), self.boxes, strict=True):
            bar.addWidget(QLabel(label))
            bar.addWidget(box, 1)
        bar.addWidget(self._figure)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.canvas, 1)
        layout.addLayout(bar)
        self._style = theme_of(self, self.canvas)
        self._rebuild()

    def list_axes(self, names: Sequence[tuple[str, int]]) -> None:
        """Offer the principal components, then latents (name, index); what was picked stays if it can."""
        for number, box in enumerate(self.boxes):
            entries = [(f"PC {number + 1}", PRINCIPAL), *names]
            if [(box.itemText(i), box.itemData(i)) for i in range(box.count())] == entries:
                continue
            blocked = box.blockSignals(True)
            picked = box.currentData()
            box.clear()
            for name, latent in entries:
                box.addItem(name, latent)
            box.setCurrentIndex(max(box.findData(picked), 0))
            box.blockSignals(blocked)

    @property
    def plane(self) -> tuple[int, int]:
        """Latents along x and y; `PRINCIPAL` for the principal component."""
        x, y = (box.currentData() for box in self.boxes)
        return (PRINCIPAL if x is None else int(x), PRINCIPAL if y is None else int(y))

    def set_path(self, path: Path2D | None) -> None:
        """Show a path; None brings the hint back."""
        self._path = path
        self._rebuild()

    def set_moving_mean_frames(self, frames: int) -> None:
        """Set the length of the moving mean that the line is of."""
        if self._path is not None and frames != self._path.frames:
            self.set_path(replace(self._path, frames=frames))

    def set_frame(self, frame: int) -> None:
        """Move the ring; the path is not drawn again."""
        self._frame = frame
        if self._background is not None:
            self.canvas.restore_region(self._background)
            self._draw_ring()
            self.canvas.blit(self.canvas.figure.bbox)

    def export_figure(self, path: str | os.PathLike[str]) -> None:
        """Draw the path on white, whatever the theme, and write it.

        Parameters
        ----------
        path : path
            Ends in .png (200 dpi), .svg or .pdf.

        Raises
        ------
        ParameterError
            Another suffix.
        ResultError
            There is no path, or the file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() not in FIGURE_SUFFIXES:
            raise ParameterError(
                f"{path} is not a kind of picture to write; name it with {', '.join(FIGURE_SUFFIXES)}."
            )
        if self._path is None:
            raise ResultError(f"There is nothing to write to {path}: click a place in the video first.")
        figure = Figure(figsize=(4.4, 3.6), layout="constrained")
        picture = io.BytesIO()
        # Letters stay letters in vector files, so that a figure can still be edited.
        with rc_context({"svg.fonttype": "none", "pdf.fonttype": 42}):
            draw_path(figure, self._path, ON_WHITE)
            figure.savefig(picture, format=path.suffix[1:].lower(), dpi=200, facecolor=ON_WHITE.ground)
        replace_file(path, lambda aside: aside.write_bytes(picture.getvalue()))

    # Drawing

    def _outdate(self) -> None:
        self._background = None

    def _rebuild(self) -> None:
        """Build the figure anew; the canvas draws it when it next has time."""
        self._background = None
        figure, style = self.canvas.figure, self._style
        self._axes = None
        if self._path is None:
            figure.clear()
            figure.set_facecolor(style.ground)
            words: dict[str, Any] = {"color": style.text, "alpha": 0.65, "fontsize": style.font, "wrap": True}
            figure.text(0.5, 0.5, HINT, ha="center", va="center", **words)
        else:
            self._axes = draw_path(figure, self._path, style)
            (self._ring,) = self._axes.plot(
                [], [], "o", ms=9, mfc="none", mec=style.text, mew=1.8, animated=True, zorder=6
            )
        self._figure.setEnabled(self._path is not None)
        self.canvas.draw_idle()

    def _drawn(self, _event: Any) -> None:
        self._background = self.canvas.copy_from_bbox(self.canvas.figure.bbox)
        self._draw_ring()

    def _draw_ring(self) -> None:
        """Draw the ring into the canvas's buffer."""
        if self._path is None or self._axes is None or not 0 <= self._frame < len(self._path.points):
            return
        x, y = self._path.smoothed()[self._frame]
        if np.isfinite(x) and np.isfinite(y):
            self._ring.set_data([x], [y])
            self._axes.draw_artist(self._ring)

    def _pressed(self, event: Any) -> None:
        if self._path is None or self._axes is None or event.button != 1 or event.inaxes is not self._axes:
            return
        places = self._axes.transData.transform(self._path.smoothed())
        away = np.hypot(places[:, 0] - event.x, places[:, 1] - event.y)
        if np.isfinite(away).any():
            self.frame_clicked.emit(int(np.nanargmin(away)))

    # Theme and size

    def changeEvent(self, event: Any) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange, QEvent.Type.FontChange):
            self._adopt_theme()

    def showEvent(self, event: Any) -> None:
        super().showEvent(event)
        self._adopt_theme()

    def _adopt_theme(self) -> None:
        # Qt sends palette changes from the base constructor on, before there is a canvas.
        if hasattr(self, "_style") and (style := theme_of(self, self.canvas)) != self._style:
            self._style = style
            self._rebuild()

    def sizeHint(self) -> QSize:
        return QSize(300, 240)


def draw_path(figure: Figure, path: Path2D, style: FigureStyle) -> Axes:
    """Draw a path into the emptied figure: points pale, their moving mean as a line, coloured by time."""
    figure.clear()
    figure.set_facecolor(style.ground)
    axes = figure.add_subplot()
    dress(axes, style, right=False)
    axes.margins(0.08)
    axes.set_xlabel(path.labels[0], color=style.text, fontsize=style.font)
    axes.set_ylabel(path.labels[1])
    first, last = float(path.times[0]), float(path.times[-1])
    span: dict[str, Any] = {"cmap": COLORMAP, "norm": _span(first, last)}
    x, y = path.points.T
    dots = axes.scatter(x, y, c=path.times, s=8, alpha=0.55, linewidths=0, zorder=2, **span)
    line = path.smoothed()
    pieces = np.stack([line[:-1], line[1:]], axis=1)
    known = np.isfinite(pieces).all((1, 2))
    middle = (path.times[:-1] + path.times[1:]) / 2
    lines = LineCollection(list(pieces[known]), array=middle[known], linewidths=1.8, zorder=3, **span)
    axes.add_collection(lines, autolim=False)
    bar = figure.colorbar(dots, ax=axes, pad=0.02, aspect=30)
    if bar.solids is not None:
        bar.solids.set_alpha(1)
    bar.set_label(path.time_label, color=style.text, fontsize=style.font)
    bar.ax.tick_params(colors=style.text, labelsize=style.font, color=style.pale, length=3, width=0.8)
    bar.outline.set_visible(False)
    return axes


def _span(first: float, last: float) -> Any:
    from matplotlib.colors import Normalize

    return Normalize(first, last if last > first else first + 1)
