"""From a camera's frames to what the encoder sees: outliers, pixel size, smoothing, grey range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from ..errors import VideoShapeError
from ..progress import Progress, Steps
from ..video.geometry import SiteGrid
from ..video.outliers import GreyLevels, clip_published, grey_levels, replace_outliers
from ..video.resampling import axis_operator, input_range
from ..video.scaling import grey_range
from .card import ModelCard
from .parameters import AnalyzeParameters

Float = NDArray[np.float32]
_SAMPLE_FRAMES = 8
_OPERATOR_BLOCK = 128


class BandedOperator:
    """A banded matrix along one axis, applied block by block as small dense products.

    Parameters
    ----------
    operator : csr_array (out, in)
    start, stop : int
        Rows of it that are wanted; columns are counted from the first that these rows touch.
    """

    def __init__(self, operator: sparse.csr_array, start: int, stop: int, device: torch.device) -> None:
        first, _ = input_range(operator, start, stop)
        self.rows = stop - start
        self.blocks: list[tuple[slice, slice, Tensor]] = []
        for block in range(start, stop, _OPERATOR_BLOCK):
            end = min(block + _OPERATOR_BLOCK, stop)
            low, high = input_range(operator, block, end)
            dense = operator[block:end, low:high].toarray().astype(np.float32)
            place = slice(block - start, end - start), slice(low - first, high - first)
            self.blocks.append((*place, torch.from_numpy(dense).to(device)))

    def along_rows(self, frames: Tensor) -> Tensor:
        """(n, in, x) -> (n, out, x)."""
        out = frames.new_empty(len(frames), self.rows, frames.shape[2])
        for target, source, block in self.blocks:
            torch.matmul(block, frames[:, source], out=out[:, target])
        return out

    def along_columns(self, frames: Tensor) -> Tensor:
        """(n, y, in) -> (n, y, out)."""
        out = frames.new_empty(*frames.shape[:2], self.rows)
        for target, source, block in self.blocks:
            out[..., target] = torch.matmul(frames[..., source], block.T)
        return out


@dataclass(frozen=True)
class FrameStatistics:
    """Mean and standard deviation of each whole frame, and which frames can be used.

    Parameters
    ----------
    mean, deviation : ndarray (frames,)
    usable : ndarray (frames,), bool
        All pixels are numbers and not all are equal.
    """

    mean: Float
    deviation: Float
    usable: NDArray[np.bool_]

    def of(self, frames: slice) -> FrameStatistics:
        """Those of some frames."""
        return FrameStatistics(self.mean[frames], self.deviation[frames], self.usable[frames])


def frame_statistics(frames: Float) -> FrameStatistics:
    """Statistics of frames (n, y, x)."""
    flat = frames.reshape(len(frames), -1)
    with np.errstate(invalid="ignore", over="ignore"):
        mean = flat.mean(1, dtype=np.float64).astype(np.float32)
        deviation = flat.std(1, dtype=np.float64).astype(np.float32)
    return FrameStatistics(mean, deviation, np.isfinite(deviation) & (deviation > 0))


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
    grey : tuple of float or None
        What becomes 0 and 1; None where each window has its own.
    """

    grid: SiteGrid
    smoothing_px: float
    outliers: str
    levels: GreyLevels
    grey: tuple[float, float] | None

    def band(self, first_row: int, last_row: int, device: torch.device) -> Band:
        """What turns the frames' rows into the rows of sites [first_row, last_row)."""
        start = first_row * self.grid.step
        stop = (last_row - 1) * self.grid.step + self.grid.window
        return Band(self, start, stop, device)


class Band:
    """Rows [start, stop) of the enlarged frame, and the rows of the video that they depend on."""

    def __init__(self, preprocessing: Preprocessing, start: int, stop: int, device: torch.device) -> None:
        self.preprocessing = preprocessing
        self.device = device
        grid = preprocessing.grid
        self.along_y = self.along_x = None
        operator = axis_operator(grid.frame[0], grid.zoom, preprocessing.smoothing_px)
        # Two rows more on each side, so that an outlier at the border sees its neighbours.
        low, high = input_range(operator, start, stop)
        self.rows = slice(max(low - 2, 0), min(high + 2, grid.frame[0]))
        self._inner = slice(low - self.rows.start, high - self.rows.start)
        if operator is not None:
            self.along_y = BandedOperator(operator, start, stop, device)
            across = axis_operator(grid.frame[1], grid.zoom, preprocessing.smoothing_px)
            assert across is not None
            self.along_x = BandedOperator(across, 0, grid.enlarged[1], device)

    def __call__(self, frames: Float, statistics: FrameStatistics) -> Tensor:
        """Rows of the video (n, rows, x), float32, to the encoder's input (n, stop − start, enlarged x).

        `frames` is changed; unusable frames become 0.
        """
        p = self.preprocessing
        frames[~statistics.usable] = 0
        if p.outliers == "robust":
            frames = replace_outliers(frames, p.levels)
        elif p.outliers == "published":
            frames = clip_published(frames, statistics.mean, statistics.deviation)
        x = torch.from_numpy(frames[:, self._inner]).to(self.device)
        if self.along_y is not None and self.along_x is not None:
            x = self.along_columns_first(x)
        if p.grey is not None:
            low, high = p.grey
            x = x.sub(low).mul_(1 / (high - low)).clamp_(0, 1)
        return x

    def along_columns_first(self, x: Tensor) -> Tensor:
        """Both axes, the cheaper order: rows are cut to the band before columns are mixed."""
        assert self.along_y is not None
        assert self.along_x is not None
        return self.along_x.along_columns(self.along_y.along_rows(x))


def prepare_steps(
    video: xr.DataArray, card: ModelCard, parameters: AnalyzeParameters, grid: SiteGrid
) -> Steps[Preprocessing]:
    """Find grey levels and grey range of a video from a few of its frames.

    Raises
    ------
    VideoShapeError
        None of these frames holds numbers that differ.
    """
    scaling = card.scaling if parameters.scaling == "model" else parameters.scaling
    picks = np.unique(np.linspace(0, len(video) - 1, _SAMPLE_FRAMES).round().astype(int))
    frames: list[Float] = []
    statistics: list[FrameStatistics] = []
    for done, pick in enumerate(picks):
        yield Progress(done, len(picks), "Looking at the video")
        frame = np.array(video[pick : pick + 1], np.float32)
        found = frame_statistics(frame)
        if found.usable[0]:
            frames.append(frame)
            statistics.append(found)
    if not frames:
        raise VideoShapeError(
            "The frames looked at are constant or hold values that are no numbers (NaN); "
            "choose a video with a picture in it."
        )
    levels = grey_levels(np.concatenate([frame[:, ::2, ::2] for frame in frames]))
    preprocessing = Preprocessing(grid, card.smoothing_px, parameters.outliers, levels, None)
    if scaling == "window":
        return preprocessing
    whole = Band(preprocessing, 0, grid.enlarged[0], torch.device("cpu"))
    seen: list[Float] = []
    for frame, found in zip(frames, statistics, strict=True):
        yield Progress(len(seen), len(frames), "Finding the grey range")
        seen.append(whole(frame, found)[:, ::2, ::2].numpy().ravel())
    low, high = grey_range(np.concatenate(seen))
    if not high > low:
        raise VideoShapeError(
            "The video has one grey value almost everywhere; "
            "choose 'window' scaling or a video with a picture in it."
        )
    return Preprocessing(grid, card.smoothing_px, parameters.outliers, levels, (low, high))
