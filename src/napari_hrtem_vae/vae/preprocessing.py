"""From a camera's frames to what the encoder sees: outliers, pixel size, smoothing, grey range."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from ..errors import VideoShapeError
from ..io.frames import ALL
from ..progress import Progress, Steps
from ..video.geometry import SiteGrid
from ..video.outliers import GreyLevels, bright_share, clip_published, grey_levels, replace_outliers
from ..video.reading import CHUNK_BYTES, read_ahead, read_frames
from ..video.resampling import axis_operator, input_range, smoothing_operator
from ..video.scaling import grey_range
from .card import ModelCard
from .parameters import AnalyzeParameters
from .threads import one_thread

Float = NDArray[np.float32]
_SAMPLE_FRAMES = 8
_READING = 2  # threads
_BRIGHT_SHARE = 0.01
_STRONGEST_FLICKER = 2.0
_NOTHING_TO_SEE = "Every frame is constant or holds NaN; choose a video with a picture in it."
# Wider blocks multiply by more zeros, narrower ones are too small for a matrix product.
_OPERATOR_BLOCK = 32


class BandedOperator:
    """A banded matrix along one axis of frames (n, y, x), applied block by block as small dense products.

    Parameters
    ----------
    operator : csr_array (out, in)
    axis : int
        1 or 2.
    start, stop : int
        Rows of it that are wanted.
    device : torch.device
    """

    def __init__(
        self, operator: sparse.csr_array, axis: int, start: int, stop: int, device: torch.device
    ) -> None:
        self.axis, self.size = axis, stop - start
        self.source = input_range(operator, start, stop)
        self.blocks: list[tuple[slice, slice, Tensor]] = []
        for block in range(start, stop, _OPERATOR_BLOCK):
            end = min(block + _OPERATOR_BLOCK, stop)
            low, high = input_range(operator, block, end)
            dense = operator[block:end, low:high].toarray().astype(np.float32)
            place = slice(block - start, end - start), slice(low - self.source[0], high - self.source[0])
            self.blocks.append((*place, torch.from_numpy(dense).to(device)))

    def __call__(self, frames: Tensor) -> Tensor:
        shape = list(frames.shape)
        shape[self.axis] = self.size
        out = frames.new_empty(shape)
        # Products are written where they belong: copies of them would take as long.
        if self.axis == 1:
            for target, source, block in self.blocks:
                torch.matmul(block, frames[:, source], out=out[:, target])
            return out
        rows_in, rows_out = frames.flatten(0, 1), out.flatten(0, 1)
        for target, source, block in self.blocks:
            torch.mm(rows_in[:, source], block.T, out=rows_out[:, target])
        return out


@dataclass(frozen=True)
class FrameStatistics:
    """What is known of each whole frame, whichever rows of it are looked at.

    Parameters
    ----------
    mean, deviation : ndarray (frames,)
    usable : ndarray (frames,), bool
        All pixels are numbers and not all are equal.
    bright : ndarray (frames,), bool
        More than one pixel in a hundred lies far above the video's median: an object, not x-rays.
    """

    mean: Float
    deviation: Float
    usable: NDArray[np.bool_]
    bright: NDArray[np.bool_]

    def of(self, frames: slice) -> FrameStatistics:
        """Those of some frames."""
        return FrameStatistics(
            self.mean[frames], self.deviation[frames], self.usable[frames], self.bright[frames]
        )

    @classmethod
    def of_all(cls, parts: Sequence[FrameStatistics]) -> FrameStatistics:
        """Those of all frames, from those of some after some."""
        columns = zip(*((part.mean, part.deviation, part.usable, part.bright) for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))


def frame_statistics(frames: Float, levels: GreyLevels) -> FrameStatistics:
    """Statistics of frames (n, y, x)."""
    deviation = np.empty(len(frames), np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        # Row by row in float32, over the rows in float64: as precise, and a third of the time.
        mean = frames.mean(2).mean(1, dtype=np.float64).astype(np.float32)
        for index, frame in enumerate(frames):
            from_mean = frame - mean[index]
            squares = np.einsum("yx,yx->y", from_mean, from_mean)
            deviation[index] = np.sqrt(squares.mean(dtype=np.float64) / frame.shape[1])
    # A constant's mean may be rounded away from it.
    usable = np.isfinite(deviation) & (frames.min((1, 2)) < frames.max((1, 2)))
    return FrameStatistics(mean, deviation, usable, bright_share(frames, levels) > _BRIGHT_SHARE)


def frame_statistics_steps(
    video: xr.DataArray, levels: GreyLevels, also: TakeFrames | None = None, frames: slice = ALL
) -> Steps[FrameStatistics]:
    """Statistics of every frame; reads the video once.

    Parameters
    ----------
    video : DataArray (time, y, x)
    levels : GreyLevels
    also : callable, optional
        Gets what is read too, in order of time; it may change the frames.
    frames : slice, optional
        Which ones, if not all.
    """
    parts: list[FrameStatistics] = []
    total = len(range(len(video))[frames])
    count = max(1, CHUNK_BYTES // (4 * video[0].size))
    done = 0

    def prepare(_: int, read: Float) -> tuple[Float, FrameStatistics]:
        return read, frame_statistics(read, levels)

    # What is read takes more time than what `also` does with it.
    threads = min(_READING, torch.get_num_threads())
    for chunk in read_ahead(video, count, ALL, prepare, threads, frames=frames):
        yield Progress(done, total, "Checking the frames")
        if chunk is not None:
            read, found = chunk[1]
            if also is not None:
                also(read, found, levels)
            parts.append(found)
            done += len(read)
    return FrameStatistics.of_all(parts)


# Frames (n, y, x), their statistics, the video's levels.
TakeFrames = Callable[[Float, FrameStatistics, GreyLevels], None]
# What finds the statistics of all frames.
Look = Callable[[GreyLevels], Steps[FrameStatistics]]


def without_outliers(frames: Float, statistics: FrameStatistics, outliers: str, levels: GreyLevels) -> Float:
    """Frames (n, y, x), which are changed, without outliers (see `Preprocessing`); unusable ones become 0."""
    frames[~statistics.usable] = 0
    if outliers == "robust" and not statistics.bright.any():
        return replace_outliers(frames, levels)
    if outliers == "robust":
        frames[~statistics.bright] = replace_outliers(frames[~statistics.bright], levels)
    elif outliers == "published":
        return clip_published(frames, statistics.mean, statistics.deviation)
    return frames


@dataclass(frozen=True)
class Preprocessing:
    """All that turns rows of frames into rows of the encoder's input; the same for every band.

    Parameters
    ----------
    grid : SiteGrid
        Size and zoom.
    smoothing_px : float
        In px of the enlarged frame.
    outliers : str
        "robust", "published" or "off".
    levels : GreyLevels
        Of the video, for "robust".
    beam : float or None
        Mean of the video, to which each frame's mean is brought; None leaves the frames as bright as
        they are.
    grey : tuple of float or None
        What becomes 0 and 1; None where each window has its own.
    """

    grid: SiteGrid
    smoothing_px: float
    outliers: str
    levels: GreyLevels
    beam: float | None = None
    grey: tuple[float, float] | None = None

    def band(self, sites: tuple[slice, slice], device: torch.device) -> Band:
        """What turns frames into what some rows and columns of sites see."""
        rows, columns = (
            slice(some.start * self.grid.step, (some.stop - 1) * self.grid.step + self.grid.window)
            for some in sites
        )
        return Band(self, (rows, columns), device)

    def whole(self) -> Band:
        """What turns frames into whole enlarged ones."""
        height, width = self.grid.enlarged
        return Band(self, (slice(0, height), slice(0, width)), torch.device("cpu"))


class Band:
    """Some rows and columns of the enlarged frame, and those of the video that they depend on.

    Parameters
    ----------
    preprocessing : Preprocessing
    wanted : tuple of slice
        Rows and columns of the enlarged frame.
    device : torch.device
    """

    def __init__(
        self, preprocessing: Preprocessing, wanted: tuple[slice, slice], device: torch.device
    ) -> None:
        self.preprocessing = preprocessing
        self.device = device
        grid, sigma = preprocessing.grid, preprocessing.smoothing_px
        operators: list[sparse.csr_array] = []
        if grid.zoom != 1:
            operators = [axis_operator(size, grid.zoom, sigma) for size in grid.frame]
        elif sigma > 0:
            operators = [smoothing_operator(size, sigma) for size in grid.frame]
        self.axes = [
            BandedOperator(operator, axis, some.start, some.stop, device)
            for axis, (operator, some) in enumerate(zip(operators, wanted, strict=False), 1)
        ]
        source = [axis.source for axis in self.axes] or [(some.start, some.stop) for some in wanted]
        # Two more on each side, so that an outlier at the border sees its neighbours.
        self.rows, self.columns = (
            slice(max(low - 2, 0), min(high + 2, size))
            for (low, high), size in zip(source, grid.frame, strict=True)
        )
        self._inner = tuple(
            slice(low - read.start, high - read.start)
            for (low, high), read in zip(source, (self.rows, self.columns), strict=True)
        )

    def __call__(self, frames: Float, statistics: FrameStatistics) -> Tensor:
        """Rows and columns of the video (n, y, x), float32, to the encoder's input.

        `frames` is changed; unusable frames become 0.
        """
        p = self.preprocessing
        frames = without_outliers(frames, statistics, p.outliers, p.levels)
        x = torch.from_numpy(frames[:, *self._inner]).to(self.device)
        low, high = (0.0, 1.0) if p.grey is None else p.grey
        gain = np.full(len(frames), 1 / (high - low), np.float32)
        if p.beam is not None:
            gain *= np.where(statistics.usable, p.beam / statistics.mean, 1)
        x.mul_(torch.from_numpy(gain)[:, None, None].to(self.device))
        with one_thread():
            # Rows are cut to the band before columns are mixed: the cheaper order.
            for axis in self.axes:
                x = axis(x)
        if p.grey is not None:
            x.sub_(low / (high - low)).clamp_(0, 1)
        return x


def prepare_steps(
    video: xr.DataArray,
    card: ModelCard,
    parameters: AnalyzeParameters,
    grid: SiteGrid,
    look: Look | None = None,
) -> Steps[tuple[Preprocessing, FrameStatistics]]:
    """Find what every band needs to know of the whole video: grey levels, frame statistics, grey range.

    Parameters
    ----------
    video : DataArray (time, y, x)
    card : ModelCard
    parameters : AnalyzeParameters
    grid : SiteGrid
    look : callable, optional
        Instead of `frame_statistics_steps`.

    Raises
    ------
    VideoShapeError
        No frame holds numbers that differ.
    VideoFileError
        Frames cannot be read.
    """
    picks = np.unique(np.linspace(0, len(video) - 1, _SAMPLE_FRAMES).round().astype(int))
    sparse_frames: list[Float] = []
    for pick in picks:
        yield Progress(len(sparse_frames), len(picks), "Looking at the video")
        sparse_frames.append(read_frames(video, slice(pick, pick + 1))[0, ::4, ::4].copy())
    levels = grey_levels(np.stack(sparse_frames))
    statistics = yield from (frame_statistics_steps(video, levels) if look is None else look(levels))
    if not statistics.usable.any():
        raise VideoShapeError(_NOTHING_TO_SEE)
    scaling = card.scaling if parameters.scaling == "model" else parameters.scaling
    preprocessing = Preprocessing(grid, card.smoothing_px, parameters.outliers, levels)
    if scaling == "window":
        return preprocessing, statistics
    if parameters.level_beam:
        preprocessing = replace(preprocessing, beam=beam_of(statistics))
    whole = preprocessing.whole()
    seen: list[Float] = []
    for pick in (
        picks[statistics.usable[picks]] if statistics.usable[picks].any() else _first_usable(statistics)
    ):
        yield Progress(len(seen), len(picks), "Finding the grey range")
        frame = slice(int(pick), int(pick) + 1)
        prepared = whole(read_frames(video, frame, whole.rows), statistics.of(frame))
        seen.append(prepared[:, ::2, ::2].numpy().ravel())
    low, high = grey_range(np.concatenate(seen))
    if not high > low:
        raise VideoShapeError(
            "The video has one grey value almost everywhere; "
            "choose 'window' scaling or a video with a picture in it."
        )
    return replace(preprocessing, grey=(low, high)), statistics


def _first_usable(statistics: FrameStatistics) -> NDArray[np.intp]:
    return np.flatnonzero(statistics.usable)[:1]


def beam_of(statistics: FrameStatistics) -> float | None:
    """Mean of the frames' means; None where a ratio of means says nothing of the beam (offsets, signs)."""
    means = statistics.mean[statistics.usable]
    plausible = means.min() > 0 and means.max() < _STRONGEST_FLICKER * means.min()
    return float(means.mean(dtype=np.float64)) if plausible else None
