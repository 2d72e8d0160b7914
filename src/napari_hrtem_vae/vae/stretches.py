"""Which sites change, told by the frames themselves: mean frames over stretches of time, and their windows.

Few numbers tell slow change best: those in which the windows of this very video differ most. Components
beyond them, and the latents of a network that keeps every detail, add noise of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray

from ..progress import Progress, Steps, relabel, run
from ..video.binning import bin_frame
from ..video.geometry import SiteGrid
from ..video.outliers import GreyLevels
from .evidence import FEWEST_FRAMES, SITE_CHANGES, change_p_steps, site_changes_steps
from .meaning.components import Components, principal_components
from .preprocessing import FrameStatistics, Preprocessing, without_outliers

Float = NDArray[np.float32]
Half = NDArray[np.float16]
Double = NDArray[np.float64]
Bools = NDArray[np.bool_]
COMPONENTS = 40
# Stretches of one video: up to so many, then each two neighbours become one.
MOST_STRETCHES = 32
# Windows are binned until they have so many pixels along each side, by two at least.
_LARGEST_SIDE, _LEAST_BINNING = 32, 2
_WINDOWS, _SEED = 8000, 0
_ROWS_AT_ONCE = 8
# Variance of second differences of white noise over its own; the share of them that tells it, and the mean of
# squared normal numbers within that share over that of all.
_OF_SECOND, _SHARE, _MEAN_OF_SHARE = 6, 0.85, 0.5205
_FARTHEST = 6e4  # deviations, within what a float16 holds
# To prepare a mean frame: nothing is left out of it any more.
_AS_IT_IS = FrameStatistics(
    np.ones(1, np.float32), np.ones(1, np.float32), np.ones(1, bool), np.zeros(1, bool)
)
_NO_LEVELS = GreyLevels(0.0, 0.0)


@dataclass(frozen=True)
class Stretch:
    """What is kept of a stretch of time.

    Parameters
    ----------
    deviation : ndarray (y, x), float16
        The mean frame, smoothed and binned, in spreads of the video from its median.
    brightness : float
        Mean of its pixels.
    """

    deviation: Half
    brightness: float


def even_stretches(frames: int) -> list[slice]:
    """The stretches of a video of which all frames can be used."""
    each = 1
    while frames // each >= MOST_STRETCHES:
        each *= 2
    return [slice(start, min(start + each, frames)) for start in range(0, frames, each)]


class StretchFrames:
    """Mean frames of a video over stretches of as many usable frames each, smoothed for a model and binned.

    Parameters
    ----------
    grid : SiteGrid
    smoothing_px : float
        In px of the enlarged frame.
    outliers : str
        See `Preprocessing`.
    each : int, optional
        Usable frames of a stretch, to begin with.
    """

    def __init__(self, grid: SiteGrid, smoothing_px: float, outliers: str, each: int = 1) -> None:
        self._grid, self._outliers = grid, outliers
        plain = Preprocessing(grid, smoothing_px, "off", _NO_LEVELS)
        self._band = plain.whole()
        self._levels = _NO_LEVELS
        self._each, self._taken, self._brightness = each, 0, 0.0
        self._sum: Float | None = None
        self._stretches: list[Stretch] = []

    def take(self, frames: Float, statistics: FrameStatistics, levels: GreyLevels) -> None:
        """Take up frames (n, y, x), which are changed; all come in order of time."""
        self._levels = levels
        frames = without_outliers(frames, statistics, self._outliers, levels)
        for number in np.flatnonzero(statistics.usable):
            if self._sum is None:
                self._sum = frames[number].copy()
            else:
                self._sum += frames[number]
            self._brightness += float(statistics.mean[number])
            self._taken += 1
            if self._taken == self._each:
                self._finish()
            if len(self._stretches) == MOST_STRETCHES:
                self._join_neighbours()

    def finished(self) -> list[Stretch]:
        """The stretches of the frames that were taken, in order of time; after the last one."""
        if 2 * self._taken > self._each:
            self._finish()
        return list(self._stretches)

    def take_over(self, stretches: list[Stretch], levels: GreyLevels) -> None:
        """Take up all stretches of a video, found elsewhere."""
        self._stretches, self._levels = list(stretches), levels

    def _finish(self) -> None:
        """Keep the mean of the frames that were taken since the last one."""
        assert self._sum is not None
        mean = self._band(self._sum[None] / np.float32(self._taken), _AS_IT_IS)[0].numpy()
        # As deviations they keep their precision in half of the memory.
        deviation = (mean - np.float32(self._levels.median)) / np.float32(self._levels.spread or 1)
        binned = bin_frame(deviation, self._binning)
        half = np.clip(binned, -_FARTHEST, _FARTHEST).astype(np.float16)
        self._stretches.append(Stretch(half, self._brightness / self._taken))
        self._sum, self._taken, self._brightness = None, 0, 0.0

    def _join_neighbours(self) -> None:
        """Make each two neighbouring stretches one."""
        self._stretches = [
            Stretch(
                ((one.deviation.astype(np.float32) + other.deviation) / 2).astype(np.float16),
                (one.brightness + other.brightness) / 2,
            )
            for one, other in zip(self._stretches[::2], self._stretches[1::2], strict=True)
        ]
        self._each *= 2

    def change_steps(self, beam: float | None, seen: Bools | None) -> Steps[Double | None]:
        """How likely as much change is at each site where nothing happens; after the last frame was taken.

        Parameters
        ----------
        beam : float or None
            To which the brightness of all frames is brought, see `Preprocessing`.
        seen : ndarray (y, x), bool, optional
            Sites that stay in view; the others are NaN.

        Returns
        -------
        ndarray (y, x), or None
            See `change_p_steps`; None also for fewer than 8 frames that can be used.
        """
        if len(self.finished()) < FEWEST_FRAMES:
            return None
        rows, columns = self._grid.shape
        yield Progress(0, rows, "Looking for change")
        seen = np.ones((rows, columns), bool) if seen is None else seen
        windows = self._some_windows(beam, np.argwhere(seen))
        yield Progress(0, rows, "Looking for change")
        components = principal_components(windows, COMPONENTS)
        changes = {name: np.empty((rows, columns, components.count), np.float32) for name in SITE_CHANGES}
        together = _ROWS_AT_ONCE if self._lie_evenly else 1
        for first in range(0, rows, together):
            some = slice(first, min(first + together, rows))
            z = self._components_of(some, beam, components)
            for name, values in run(site_changes_steps(z)).items():
                changes[name][some] = values
            changes["noise"][some] = _noise(z)
            yield Progress(some.stop, rows, "Looking for change")
        for values in changes.values():
            values[~seen] = np.nan
        judging = change_p_steps(changes, None, self._grid.window / self._grid.step)
        return (yield from relabel(judging, lambda: Progress(rows, rows, "Looking for change")))

    @property
    def _binning(self) -> int:
        return max(_LEAST_BINNING, math.ceil(self._grid.window / _LARGEST_SIDE))

    @property
    def _size(self) -> int:
        """Side of a window in binned px."""
        return max(1, self._grid.window // self._binning)

    @property
    def _lie_evenly(self) -> bool:
        """Whether binned windows lie equally far apart."""
        return self._grid.step % self._binning == 0

    def _first_px(self, axis: int) -> NDArray[np.intp]:
        """Where the windows of sites begin along an axis, in binned px."""
        return np.asarray(np.arange(self._grid.shape[axis]) * self._grid.step // self._binning, np.intp)

    def _grey_values(self, stretch: Stretch, beam: float | None, deviations: Half) -> Float:
        """Deviations in a stretch as grey values under a steady beam."""
        spread, median = self._levels.spread or 1, self._levels.median
        gain = np.float32(1 if beam is None else beam / stretch.brightness)
        return (deviations.astype(np.float32) * np.float32(spread) + np.float32(median)) * gain

    def _some_windows(self, beam: float | None, sites: NDArray[np.intp]) -> Float:
        """Windows (m, px) of random ones of some sites (n, 2), in random stretches."""
        rows, columns = (self._first_px(axis) for axis in (0, 1))
        rng = np.random.default_rng(_SEED)
        numbers, picks = (rng.integers(0, count, _WINDOWS) for count in (len(self._stretches), len(sites)))
        windows = np.empty((_WINDOWS, self._size**2), np.float32)
        for number, stretch in enumerate(self._stretches):
            views = np.lib.stride_tricks.sliding_window_view(stretch.deviation, (self._size, self._size))
            here = numbers == number
            row, column = sites[picks[here]].T
            some = self._grey_values(stretch, beam, views[rows[row], columns[column]])
            windows[here] = some.reshape(-1, self._size**2)
        return windows

    def _components_of(self, rows: slice, beam: float | None, components: Components) -> Float:
        """Components (stretch, row, column, component) of the windows of some rows of sites."""
        tops, lefts = self._first_px(0)[rows], self._first_px(1)
        part = slice(tops[0], tops[-1] + self._size)
        strips = np.stack([self._grey_values(one, beam, one.deviation[part]) for one in self._stretches])
        kernels = components.axes.T.reshape(-1, 1, self._size, self._size)
        stride = self._grid.step // self._binning if self._lie_evenly else 1
        z = functional.conv2d(torch.from_numpy(strips[:, None]), torch.from_numpy(kernels), stride=stride)
        of_columns = z.movedim(1, -1).numpy()[:, : len(tops), lefts // stride]
        return np.asarray(of_columns - components.offset, np.float32)


def _noise(z: Float) -> Float:
    """Variance of components (stretch, row, column, component) from stretch to stretch, by what is usual.

    Stretches are few, and what changes does so by much from one to the next: second differences leave out
    what changes steadily, their smaller ones an edge that passes.
    """
    squares = np.square(np.diff(z, 2, axis=0))
    count = max(1, round(_SHARE * len(squares)))
    smaller = np.partition(squares, count - 1, axis=0)[:count]
    return np.asarray(smaller.mean(0) / (_OF_SECOND * _MEAN_OF_SHARE), np.float32)


def stretch_bytes(grid: SiteGrid) -> int:
    """The most that the mean frames of a video take."""
    return MOST_STRETCHES * math.prod(grid.enlarged) // _LEAST_BINNING**2 * np.dtype(np.float16).itemsize
