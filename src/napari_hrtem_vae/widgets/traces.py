"""The plot of z against time: traces of regions, a moving mean, a time cursor, export of table and figure."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from qtpy.QtCore import QEvent, QSize, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSizePolicy, QSpinBox, QVBoxLayout, QWidget

from ..errors import ParameterError, ResultError
from ..io.export import replace_file
from .canvas_theme import theme_of
from .saving import ask_and_save
from .trace_figure import (
    NEUTRAL_COLOR,
    ON_WHITE,
    REGION_COLORS,
    FigureContent,
    FigureStyle,
    Trace,
    draw_figure,
    moving_mean,
)

# After qtpy: matplotlib takes the Qt binding that is already loaded.
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg  # isort: skip

__all__ = ["NEUTRAL_COLOR", "REGION_COLORS", "Trace", "TracePlot", "moving_mean"]

HINT = "Draw a region on the video to plot z against time"
FIGURE_FILTERS = "PNG (*.png);;SVG (*.svg);;PDF (*.pdf)"
FIGURE_SUFFIXES = (".png", ".svg", ".pdf")


class TracePlot(QWidget):
    """Traces against time in the colours of the dock, with a cursor at the viewer's time.

    Parameters
    ----------
    parent : QWidget, optional
        The dock.
    hint : str
        What stands in the empty plot.

    Attributes
    ----------
    time_clicked : Signal(float)
        A click or a drag in the axes; the time under the pointer, in the unit of the time label.
    moving_mean_changed : Signal(int)
        The user changed the length of the moving mean [frames].
    canvas : FigureCanvasQTAgg
        The picture.
    """

    time_clicked = Signal(float)
    moving_mean_changed = Signal(int)

    def __init__(self, parent: QWidget | None = None, *, hint: str = HINT) -> None:
        super().__init__(parent)
        self._hint = hint
        self._content = FigureContent()
        self._axes: list[Axes] = []
        self._time: float | None = None
        self._background = None  # the drawn figure without the cursor; None while it is out of date
        self._dragging = False

        self.canvas = FigureCanvasQTAgg(Figure(layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.05)))
        self.canvas.setMinimumSize(200, 100)
        self.canvas.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.canvas.mpl_connect("draw_event", self._on_drawn)
        self.canvas.mpl_connect("resize_event", self._on_resized)
        self.canvas.mpl_connect("button_press_event", self._on_pressed)
        self.canvas.mpl_connect("motion_notify_event", self._on_moved)
        self.canvas.mpl_connect("button_release_event", self._on_released)

        self._spin = QSpinBox()
        self._spin.setRange(1, 9999)
        self._spin.setValue(self._content.frames)
        self._spin.setSpecialValueText("off")
        self._spin.setSuffix(" frames")
        self._spin.setKeyboardTracking(False)
        self._spin.setToolTip("Length of the moving mean drawn bold over the values; 1 turns it off.")
        self._spin.valueChanged.connect(self._on_spin)
        label = QLabel("Moving mean")
        label.setBuddy(self._spin)
        self._csv = QPushButton("CSV…")
        self._csv.setToolTip("Save the traces and their moving means as a table.")
        self._csv.clicked.connect(self._ask_csv)
        self._figure = QPushButton("Figure…")
        self._figure.setToolTip("Save the plot on white, as PNG, SVG or PDF.")
        self._figure.clicked.connect(self._ask_figure)

        bar = QHBoxLayout()
        bar.setContentsMargins(8, 2, 8, 4)
        bar.setSpacing(6)
        bar.addWidget(label)
        bar.addWidget(self._spin)
        bar.addStretch(1)
        bar.addWidget(self._csv)
        bar.addWidget(self._figure)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.canvas, 1)
        layout.addLayout(bar)
        self._style = self._themed()
        self._rebuild()

    # What the plot shows

    def set_traces(self, traces: Sequence[Trace], *, y_label: str, time_label: str = "time (s)") -> None:
        """Show `traces` on the left axis; none brings the hint back.

        Parameters
        ----------
        traces : sequence of Trace
            One for each region, in order.
        y_label : str
            What the left axis is, with its unit.
        time_label : str
            What the time axis is, with its unit in parentheses.
        """
        self._change(left=tuple(traces), left_label=y_label, time_label=time_label)

    def set_missing(self, times: np.ndarray | None) -> None:
        """Mark frames that have no reliable value, by their times, with crosses at the foot of the plot."""
        self._change(missing=times)

    def set_note(self, note: str) -> None:
        """Show a line over the axes; none when empty."""
        if note != self._content.note:
            self._change(note=note)

    def set_right_traces(self, traces: Sequence[Trace], *, y_label: str = "") -> None:
        """Show `traces` dashed on a second axis; none hides it.

        Parameters
        ----------
        traces : sequence of Trace
            Angles, misfit or areas, on the same times as the left ones or on others.
        y_label : str
            What the right axis is, with its unit.
        """
        self._change(right=tuple(traces), right_label=y_label)

    def moving_mean_frames(self) -> int:
        """Length of the moving mean [frames]; 1 is off."""
        return self._content.frames

    def set_moving_mean_frames(self, frames: int) -> None:
        """Set the length of the moving mean.

        Parameters
        ----------
        frames : int
            1 (off) to 9999.
        """
        self._spin.setValue(frames)

    def set_time(self, value: float) -> None:
        """Move the cursor; the traces are not drawn again.

        Parameters
        ----------
        value : float
            Time in the unit of the time label; outside the traces, or not finite, no cursor is shown.
        """
        self._time = float(value)
        if self._background is not None:
            self.canvas.restore_region(self._background)
            self._draw_cursor()
            self.canvas.blit(self.canvas.figure.bbox)

    # Files

    def export_csv(self, path: str | os.PathLike[str]) -> None:
        """Write time, each trace and its moving mean as a table.

        Traces on different times stand on all of the times together, empty where they have none.

        Parameters
        ----------
        path : path
            The file.

        Raises
        ------
        ResultError
            There are no traces, or the file cannot be written.
        """
        from ..io.export import save_table_csv

        self._check_filled(path)
        save_table_csv(Path(path), self._columns())

    def export_figure(self, path: str | os.PathLike[str]) -> None:
        """Draw the plot on white, whatever the theme, without the cursor, and write it.

        Parameters
        ----------
        path : path
            Ends in .png (200 dpi), .svg or .pdf.

        Raises
        ------
        ParameterError
            Another suffix.
        ResultError
            There are no traces, or the file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() not in FIGURE_SUFFIXES:
            raise ParameterError(
                f"{path} is not a kind of picture to write; name it with {', '.join(FIGURE_SUFFIXES)}."
            )
        self._check_filled(path)
        figure = Figure(figsize=(6.0, 3.2), layout="constrained")
        picture = io.BytesIO()
        # Letters stay letters in vector files, so that a figure can still be edited.
        with rc_context({"svg.fonttype": "none", "pdf.fonttype": 42}):
            draw_figure(figure, self._content, ON_WHITE)
            figure.savefig(picture, format=path.suffix[1:].lower(), dpi=200, facecolor=ON_WHITE.ground)
        replace_file(path, lambda aside: aside.write_bytes(picture.getvalue()))

    def _check_filled(self, path: str | os.PathLike[str]) -> None:
        if not (self._content.left or self._content.right):
            raise ResultError(
                f"There is nothing to write to {os.fspath(path)}: draw a region on the video first."
            )

    def _columns(self) -> dict[str, np.ndarray]:
        """The table: time, then each trace and its moving mean, by name and unit."""
        content = self._content
        traces = content.left + content.right
        time = np.asarray(traces[0].time, dtype=np.float64)
        shared = all(np.array_equal(time, trace.time) for trace in traces)
        if not shared:
            time = np.unique(np.concatenate([trace.time for trace in traces]))
        columns = {content.time_label: time}
        for trace in traces:
            unit = f" ({trace.unit})" if trace.unit else ""
            series = {f"{trace.label}{unit}": trace.values}
            if trace.sigma is not None:
                series[f"{trace.label}, standard error{unit}"] = trace.sigma
            if content.frames > 1:
                name = f"{trace.label}, mean of {content.frames} frames{unit}"
                series[name] = moving_mean(trace.values, content.frames)
            for name, values in series.items():
                column = np.asarray(values, dtype=np.float64)
                if not shared:
                    column = np.full(time.shape, np.nan)
                    column[np.searchsorted(time, trace.time)] = values
                unique, count = name, 2
                while unique in columns:
                    unique, count = f"{name} [{count}]", count + 1
                columns[unique] = column
        return columns

    def _ask_csv(self) -> None:
        ask_and_save(self, "Save the traces", "traces.csv", "Table (*.csv)", self.export_csv)

    def _ask_figure(self) -> None:
        ask_and_save(self, "Save the plot", "traces.png", FIGURE_FILTERS, self.export_figure)

    # Drawing

    def _change(self, **changes) -> None:
        self._content = replace(self._content, **changes)
        self._rebuild()

    def _rebuild(self) -> None:
        """Build the figure anew; the canvas draws it when it next has time."""
        self._background = None
        style = self._style
        self._axes = draw_figure(self.canvas.figure, self._content, style)
        if self._axes:
            axes = self._axes[0]
            self._cursor = axes.axvline(color=style.text, lw=1.0, alpha=0.8, animated=True, zorder=5)
            self._stamp = axes.annotate(
                "",
                (0, 1),
                xycoords=("data", "axes fraction"),
                xytext=(4, -2),
                textcoords="offset points",
                va="top",
                color=style.text,
                fontsize=style.font,
                animated=True,
                zorder=6,
                bbox={"facecolor": style.ground, "edgecolor": "none", "alpha": 0.75, "pad": 1.0},
            )
        else:
            self.canvas.figure.text(
                0.5,
                0.5,
                self._hint,
                ha="center",
                va="center",
                color=style.text,
                alpha=0.65,
                fontsize=style.font,
            )
        self._csv.setEnabled(bool(self._axes))
        self._figure.setEnabled(bool(self._axes))
        self.canvas.draw_idle()

    def _draw_cursor(self) -> None:
        """Draw the cursor and its time into the canvas's buffer."""
        if not self._axes or self._time is None:
            return
        axes = self._axes[0]
        first, last = axes.get_xlim()
        if not first <= self._time <= last:
            return
        self._cursor.set_xdata([self._time, self._time])
        unit = re.search(r"\(([^)]*)\)\s*$", self._content.time_label)
        self._stamp.set_text(f"{self._time:.5g} {unit.group(1) if unit else ''}".strip())
        self._stamp.xy = (self._time, 1)
        # Past two thirds the time stands left of the line, lest it leave the axes.
        left_of = self._time - first > 0.66 * (last - first)
        self._stamp.set(ha="right" if left_of else "left", position=(-4 if left_of else 4, -2))
        axes.draw_artist(self._cursor)
        axes.draw_artist(self._stamp)

    def _on_drawn(self, _event) -> None:
        self._background = self.canvas.copy_from_bbox(self.canvas.figure.bbox)
        self._draw_cursor()

    def _on_resized(self, _event) -> None:
        # The legend may fit more or fewer labels in a line.
        self._rebuild()

    def _on_spin(self, frames: int) -> None:
        self._change(frames=frames)
        self.moving_mean_changed.emit(frames)

    # Pointer

    def _on_pressed(self, event) -> None:
        if event.button == 1 and event.inaxes in self._axes:
            self._dragging = True
            self._on_moved(event)

    def _on_moved(self, event) -> None:
        if not self._dragging or not self._axes:
            return
        axes = self._axes[0]
        time = axes.transData.inverted().transform((event.x, event.y))[0]
        time = float(np.clip(time, *axes.get_xlim()))
        self.set_time(time)
        self.time_clicked.emit(time)

    def _on_released(self, _event) -> None:
        self._dragging = False

    # Theme and size

    def _themed(self) -> FigureStyle:
        """Colours and letter size of the widget as they are now, under a palette or a style sheet."""
        return theme_of(self, self.canvas)

    def changeEvent(self, event) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange, QEvent.Type.FontChange):
            self._adopt_theme()

    def showEvent(self, event) -> None:
        super().showEvent(event)
        self._adopt_theme()

    def _adopt_theme(self) -> None:
        # Qt sends palette changes from the base constructor on, before there is a canvas.
        if hasattr(self, "_style") and (style := self._themed()) != self._style:
            self._style = style
            self._rebuild()

    def sizeHint(self) -> QSize:
        return QSize(600, 300)

    def minimumSizeHint(self) -> QSize:
        return QSize(300, 140)
