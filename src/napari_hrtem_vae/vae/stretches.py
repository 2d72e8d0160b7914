"""Which sites change, told by the frames themselves: mean frames over stretches of time, and their windows.

Few numbers tell slow change best: those in which the windows of this very video differ most. Components
beyond them, and the latents of a network that keeps every detail, add noise of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray

from ..progress import Progress, Steps, run
from ..video.geometry import SiteGrid
from ..video.outliers import GreyLevels
from .evidence import FEWEST_FRAMES, SITE_CHANGES, change_p, site_changes_steps
from .meaning.components import Components, principal_components
from .preprocessing import Band, FrameStatistics, Preprocessing, without_outliers

Float = NDArray[np.float32]
Half = NDArray[np.float16]
Double = NDArray[np.float64]
Bools = NDArray[np.bool_]
STRETCHES, COMPONENTS = 20, 40
# Frames are smoothed and hold little that half their pixels do not.
BINNING = 2
_WINDOWS, _SEED = 8000, 0
_ROWS_AT_ONCE = 8
# Variance of second differences of white noise over its own; median of a squared normal number over its mean.
_OF_SECOND, _MEDIAN_OF_SQUARE = 6, 0.4549
_FARTHEST = 6e4  # deviations, within what a float16 holds
# To prepare a mean frame: nothing is left out of it any more.
_AS_IT_IS = FrameStatistics(
    np.ones(1, np.float32), np.ones(1, np.float32), np.ones(1, bool), np.zeros(1, bool)
)
_NO_LEVELS = GreyLevels(0.0, 0.0)


class StretchFrames:
    """Mean frames of a video over stretches of time, as the encoder would see them at half the resolution.

    Parameters
    ----------
    frames : int
        Of the video.
    grid : SiteGrid
    smoothing_px : float
        In px of the enlarged frame.
    outliers : str
        See `Preprocessing`.
    """

    def __init__(self, frames: int, grid: SiteGrid, smoothing_px: float, outliers: str) -> None:
        self._frames, self._grid, self._outliers = frames, grid, outliers
        plain = Preprocessing(grid, smoothing_px, "off", _NO_LEVELS)
        self._band = Band(plain, 0, grid.enlarged[0], torch.device("cpu"))
        self._current, self._taken, self._brightness = 0, 0, 0.0
        self._sum: Float | None = None
        self._levels = _NO_LEVELS
        # Of each stretch: the mean frame in deviations from the video's median, and the mean of its pixels.
        self._means: list[Half] = []
        self._means_of: list[float] = []

    def take(self, start: int, frames: Float, statistics: FrameStatistics, levels: GreyLevels) -> None:
        """Take up frames (n, y, x), the first of this number, in order of time; they are changed."""
        self._levels = levels
        frames = without_outliers(frames, statistics, self._outliers, levels)
        count = min(STRETCHES, self._frames)
        for number, (frame, usable) in enumerate(zip(frames, statistics.usable, strict=True)):
            stretch = (start + number) * count // self._frames
            if stretch != self._current:
                self._finish()
                self._current = stretch
            if not usable:
                continue
            self._taken += 1
            self._brightness += float(statistics.mean[number])
            if self._sum is None:
                self._sum = frame.copy()
            else:
                self._sum += frame

    def _finish(self) -> None:
        """Keep the mean of the stretch that has ended, if it had a frame that can be used."""
        if self._sum is None:
            return
        mean = self._band(self._sum[None] / np.float32(self._taken), _AS_IT_IS)[0].numpy()
        # As deviations they keep their precision in half of the memory.
        deviation = (mean - np.float32(self._levels.median)) / np.float32(self._levels.spread or 1)
        self._means.append(np.clip(_binned(deviation), -_FARTHEST, _FARTHEST).astype(np.float16))
        self._means_of.append(self._brightness / self._taken)
        self._sum, self._taken, self._brightness = None, 0, 0.0

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
            See `change_p`; None also for fewer than 8 stretches with frames that can be used.
        """
        self._finish()
        if len(self._means) < FEWEST_FRAMES:
            return None
        rows, columns = self._grid.shape
        yield Progress(0, rows, "Looking for change")
        components = principal_components(self._some_windows(beam), COMPONENTS)
        changes = {name: np.empty((rows, columns, components.count), np.float32) for name in SITE_CHANGES}
        for first in range(0, rows, _ROWS_AT_ONCE):
            some = slice(first, min(first + _ROWS_AT_ONCE, rows))
            z = self._components_of(some, beam, components)
            for name, values in run(site_changes_steps(z)).items():
                changes[name][some] = values
            changes["noise"][some] = _noise(z)
            yield Progress(some.stop, rows, "Looking for change")
        if seen is not None:
            for values in changes.values():
                values[~seen] = np.nan
        return change_p(changes, None, self._grid.window / self._grid.step)

    @property
    def _size(self) -> int:
        """Side of a window in binned px."""
        return max(1, self._grid.window // BINNING)

    def _first_px(self, axis: int) -> NDArray[np.intp]:
        """Where the windows of sites begin along an axis, in binned px."""
        return np.asarray(np.arange(self._grid.shape[axis]) * self._grid.step // BINNING, np.intp)

    def _part(self, stretch: int, beam: float | None) -> Callable[[Half], Float]:
        """What turns deviations in a stretch into grey values under a steady beam."""
        spread, median = self._levels.spread or 1, self._levels.median
        gain = np.float32(1 if beam is None else beam / self._means_of[stretch])
        return lambda part: (part.astype(np.float32) * np.float32(spread) + np.float32(median)) * gain

    def _some_windows(self, beam: float | None) -> Float:
        """Windows (n, px) of random sites and stretches."""
        rows, columns = (self._first_px(axis) for axis in (0, 1))
        picks = np.random.default_rng(_SEED).integers(
            0, (len(self._means), len(rows), len(columns)), (_WINDOWS, 3)
        )
        windows = np.empty((_WINDOWS, self._size**2), np.float32)
        for stretch, mean in enumerate(self._means):
            views = np.lib.stride_tricks.sliding_window_view(mean, (self._size, self._size))
            here = picks[:, 0] == stretch
            some = views[rows[picks[here, 1]], columns[picks[here, 2]]]
            windows[here] = self._part(stretch, beam)(some).reshape(-1, self._size**2)
        return windows

    def _components_of(self, rows: slice, beam: float | None, components: Components) -> Float:
        """Components (stretch, row, column, component) of the windows of some rows of sites."""
        tops, lefts = self._first_px(0)[rows], self._first_px(1)
        part = slice(tops[0], tops[-1] + self._size)
        strips = np.stack([self._part(stretch, beam)(mean[part]) for stretch, mean in enumerate(self._means)])
        kernels = components.axes.T.reshape(-1, 1, self._size, self._size)
        # At a step of odd pixels binned windows do not lie evenly.
        stride = self._grid.step // BINNING if self._grid.step % BINNING == 0 else 1
        z = functional.conv2d(torch.from_numpy(strips[:, None]), torch.from_numpy(kernels), stride=stride)
        of_rows = z.movedim(1, -1).numpy()[:, (tops - tops[0]) // stride]
        return np.asarray(of_rows[:, :, lefts // stride] - components.offset, np.float32)


def _noise(z: Float) -> Float:
    """Variance of components (stretch, row, column, component) from stretch to stretch, by what is usual.

    Stretches are few, and what changes does so by much from one to the next: second differences leave out
    what changes steadily, their median an edge that passes.
    """
    squares = np.square(np.diff(z, 2, axis=0))
    return np.asarray(np.median(squares, axis=0) / (_OF_SECOND * _MEDIAN_OF_SQUARE), np.float32)


def stretch_bytes(grid: SiteGrid) -> int:
    """What the mean frames of a video take."""
    return STRETCHES * math.prod(grid.enlarged) // BINNING**2 * np.dtype(np.float16).itemsize


def _binned(frame: Float) -> Float:
    """Means of squares of pixels; a sliver at the end is lost."""
    rows, columns = (size // BINNING * BINNING for size in frame.shape)
    # Adding strided views is several times faster than a mean over two axes.
    tall = np.add.reduce([frame[row:rows:BINNING, :columns] for row in range(BINNING)])
    wide = np.add.reduce([tall[:, column::BINNING] for column in range(BINNING)])
    return np.asarray(wide / BINNING**2, np.float32)
