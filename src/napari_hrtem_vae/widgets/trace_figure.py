"""The figure of traces against time: the traces, their moving mean, how they are drawn; no Qt."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import is_color_like, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..errors import ParameterError

# Searched for the largest smallest CIELAB distance under normal, protan and deutan sight (23),
# at a contrast of at least 2.2 against white and 2.6 against napari's dark ground.
REGION_COLORS = (
    "#02bbff",
    "#bc7132",
    "#0bc078",
    "#bc218f",
    "#bbad15",
    "#894fdb",
    "#a74a62",
    "#95b4b3",
)
NEUTRAL_COLOR = "#8c8c8c"  # for what belongs to no region, as the misfit


@dataclass(frozen=True, eq=False)
class Trace:
    """One quantity against time.

    Parameters
    ----------
    label : str
        What the legend and the table call it.
    color : str
        Hex colour, usually that of the region.
    time : numpy.ndarray
        (frames,), in the unit of the plot's time label.
    values : numpy.ndarray
        (frames,), NaN where there is no value.
    unit : str
        Unit of the values, for the table; empty for z.
    sigma : numpy.ndarray, optional
        (frames,), standard error of the values, drawn as a band.

    Raises
    ------
    ParameterError
        Time and values are not of one length, or the colour is none.
    """

    label: str
    color: str
    time: np.ndarray
    values: np.ndarray
    unit: str = ""
    sigma: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.sigma is not None and np.shape(self.sigma) != np.shape(self.values):
            raise ParameterError(
                f"Trace {self.label!r} has errors of shape {np.shape(self.sigma)} and values of shape "
                f"{np.shape(self.values)}; give one error for each value."
            )
        if np.ndim(self.time) != 1 or np.shape(self.time) != np.shape(self.values):
            raise ParameterError(
                f"Trace {self.label!r} has times of shape {np.shape(self.time)} and values of shape "
                f"{np.shape(self.values)}; give one value for each frame."
            )
        if not is_color_like(self.color):
            raise ParameterError(f"Trace {self.label!r} has color {self.color!r}; give one as '#02bbff'.")


def moving_mean(values: np.ndarray, frames: int) -> np.ndarray:
    """Mean over a window of frames centred on each frame, shorter at both ends.

    Frame i is the mean of i - frames // 2 … i + (frames - 1) // 2. Frames without a value (NaN, infinite) do
    not enter the means of their neighbours, and stay without one.

    Parameters
    ----------
    values : numpy.ndarray
        (frames,), any real dtype.
    frames : int
        Length of the window; 1 returns the values.

    Returns
    -------
    numpy.ndarray
        (frames,), float64.

    Raises
    ------
    ParameterError
        The window is shorter than one frame.
    """
    if frames < 1:
        raise ParameterError(f"The moving mean is over {frames!r} frames; give 1 (off) or more.")
    values = np.asarray(values, dtype=np.float64)
    known = np.isfinite(values)
    if frames == 1 or not known.any():
        return np.where(known, values, np.nan)
    # Running sums of the deviations, so that a large offset costs no digits.
    offset = values[known].mean()
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, values - offset, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    index = np.arange(values.size)
    start = np.maximum(index - frames // 2, 0)
    stop = np.minimum(index + (frames - 1) // 2 + 1, values.size)
    count = np.maximum(counts[stop] - counts[start], 1)
    return np.where(known, offset + (sums[stop] - sums[start]) / count, np.nan)


@dataclass(frozen=True)
class FigureStyle:
    """Colours and letter size of a figure."""

    ground: str
    text: str
    font: float  # points

    @property
    def pale(self) -> tuple[float, float, float, float]:
        """The text colour, thinned for frames and grids."""
        return to_rgba(self.text, 0.35)


ON_WHITE = FigureStyle(ground="#ffffff", text="#1a1a1a", font=9.0)


@dataclass(frozen=True)
class FigureContent:
    """All that a figure shows."""

    left: tuple[Trace, ...] = ()
    right: tuple[Trace, ...] = ()
    left_label: str = ""
    right_label: str = ""
    time_label: str = "time (s)"
    frames: int = 10
    missing: np.ndarray | None = None  # times without a reliable value, marked below the traces
    note: str = ""  # over the axes


def _draw_trace(axes: Axes, trace: Trace, frames: int, dashed: bool) -> Line2D:
    """The raw values thin and pale, their moving mean bold; returns the line for the legend."""
    style = "--" if dashed else "-"
    mean = moving_mean(trace.values, frames)
    if frames > 1:
        raw = moving_mean(trace.values, 1)
        axes.plot(trace.time, raw, style, color=trace.color, lw=0.8, alpha=0.4, zorder=2)
    # A value between two gaps makes no line: it is a dot.
    known = np.concatenate([[False], np.isfinite(mean), [False]])
    lonely = known[1:-1] & ~known[:-2] & ~known[2:]
    axes.plot(trace.time[lonely], mean[lonely], ".", color=trace.color, ms=4, zorder=3)
    if trace.sigma is not None:
        low, high = trace.values - trace.sigma, trace.values + trace.sigma
        axes.fill_between(trace.time, low, high, color=trace.color, alpha=0.22, lw=0, zorder=1)
    (line,) = axes.plot(trace.time, mean, style, color=trace.color, lw=2.0 if frames > 1 else 1.3, zorder=3)
    return line


def dress(axes: Axes, style: FigureStyle, *, right: bool) -> None:
    """Frame, ticks and label of one value axis."""
    axes.set_facecolor("none")
    for spine in axes.spines.values():
        spine.set_color(style.pale)
        spine.set_linewidth(0.8)
    axes.spines["top"].set_visible(False)
    axes.spines["right"].set_visible(right)
    axes.tick_params(colors=style.text, labelsize=style.font, color=style.pale, length=3, width=0.8)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.label.set(color=style.text, fontsize=style.font)
    axes.xaxis.label.set(color=style.text, fontsize=style.font)
    axes.margins(x=0, y=0.08)


def _legend_columns(labels: Sequence[str], style: FigureStyle, width: float) -> int:
    """How many labels fit side by side in `width` points; a letter is about 0.6 of its height wide."""
    widest = style.font * (0.6 * max(len(label) for label in labels) + 3.5)
    return int(max(1, min(len(labels), width // widest)))


def _in_lines(label: str, style: FigureStyle, height: float) -> str:
    """An axis label in lines that fit into `height` points; a letter is about 0.6 of its height wide."""
    return textwrap.fill(label, max(6, int(height / (0.6 * style.font))), break_long_words=False)


def draw_figure(figure: Figure, content: FigureContent, style: FigureStyle) -> list[Axes]:
    """Draw `content` into the emptied figure; returns the axes, left first, none when there is nothing."""
    figure.clear()
    figure.set_facecolor(style.ground)
    if not (content.left or content.right):
        return []
    left = figure.add_subplot()
    # what legend, ticks and time label leave of the figure
    height = figure.get_figheight() * 72 - 6 * style.font
    axes = [left]
    dress(left, style, right=False)
    left.set_xlabel(content.time_label)
    left.grid(axis="y", color=style.pale, alpha=0.12, lw=0.8)
    lines = [_draw_trace(left, trace, content.frames, dashed=False) for trace in content.left]
    if content.left:
        left.set_ylabel(_in_lines(content.left_label, style, height))
    else:
        left.yaxis.set_visible(False)
    if content.right:
        right = left.twinx()
        axes.append(right)
        dress(right, style, right=True)
        lines += [_draw_trace(right, trace, content.frames, dashed=True) for trace in content.right]
        right.set_ylabel(_in_lines(content.right_label, style, height))
    traces = content.left + content.right
    if len(traces) > 1:
        labels = [trace.label for trace in traces]
        columns = _legend_columns(labels, style, figure.get_figwidth() * 72 - 12)
        # matplotlib fills columns first; people read rows.
        order = [i for column in range(columns) for i in range(column, len(labels), columns)]
        figure.legend(
            [lines[i] for i in order],
            [labels[i] for i in order],
            loc="outside upper left",
            ncols=columns,
            frameon=False,
            fontsize=style.font,
            labelcolor=style.text,
            handlelength=1.6,
            columnspacing=1.4,
            borderaxespad=0.6,
            borderpad=0.1,
        )
    if content.missing is not None and len(content.missing):
        # in the axes' own height, so that no range of values moves for them
        left.plot(
            content.missing,
            np.full(len(content.missing), 0.03),
            "x",
            transform=left.get_xaxis_transform(),
            color=style.text,
            ms=4,
            alpha=0.7,
            zorder=4,
            clip_on=False,
        )
    if content.note:
        left.set_title(content.note, loc="right", color=style.text, fontsize=style.font)
    times = np.concatenate([np.asarray(trace.time, dtype=np.float64) for trace in traces])
    times = times[np.isfinite(times)]
    if times.size and times.min() < times.max():
        left.set_xlim(times.min(), times.max())
    return axes
