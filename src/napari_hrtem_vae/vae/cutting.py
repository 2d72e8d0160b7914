"""Windows at random places of random frames, prepared as Analyze prepares them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import TrainingError
from ..progress import Progress, Steps
from ..video.geometry import check_video, enlarged_size
from ..video.outliers import GreyLevels, grey_levels, replace_outliers
from ..video.reading import read_frames
from ..video.resampling import enlarging_operator
from ..video.scaling import grey_range, scale_to_range, scale_windows, smooth
from .architecture import ARCHITECTURES
from .recipe import Recipe

Float = NDArray[np.float32]
_SAMPLE_FRAMES = 8
# Pixels of the model along an axis that are looked at together.
_REGION = 768
_FEWEST_WINDOWS, _MOST_WINDOWS = 16, 256
_STRONGEST_FLICKER = 2.0


@dataclass(frozen=True)
class Region:
    """Part of one frame, at the model's pixel size, and windows of it.

    Parameters
    ----------
    picture : ndarray (y, x), float32
        The part, not smoothed.
    sharp, smooth : ndarray (n, window, window), float32
        Windows before and after smoothing.
    """

    picture: Float
    sharp: Float
    smooth: Float


@dataclass(frozen=True)
class Cutter:
    """Cuts windows out of one image or video.

    Parameters
    ----------
    video : DataArray (time, y, x)
    zoom : float
        Pixels of the model per pixel of the video.
    recipe : Recipe
    levels : GreyLevels
        Of the video, for x-ray hits.
    beam : float or None
        Mean that each frame is brought to.
    grey : tuple of float
        What becomes 0 and 1.
    """

    video: xr.DataArray
    zoom: float
    recipe: Recipe
    levels: GreyLevels
    beam: float | None
    grey: tuple[float, float]

    @property
    def name(self) -> str:
        """The file's name, for messages."""
        return Path(str(self.video.attrs.get("source", "the video"))).name

    @property
    def window(self) -> int:
        """Side of a window in px of the model."""
        return ARCHITECTURES[self.recipe.architecture]().window

    def regions(self, seed: int) -> Iterator[Region]:
        """Regions of random frames, without end; each frame comes once before any comes again."""
        rng = np.random.default_rng(seed)
        while True:
            for number in rng.permutation(len(self.video)):
                frame = read_frames(self.video, slice(int(number), int(number) + 1))[0]
                if _usable(frame):
                    yield self._region(frame, rng)

    def scaled(self, windows: Float) -> Float:
        """Smoothed windows (n, w, w) to 0…1 as the recipe has it."""
        if self.recipe.scaling == "window":
            return scale_windows(windows)
        return scale_to_range(windows, *self.grey)

    def _region(self, frame: Float, rng: np.random.Generator) -> Region:
        size = self.window
        part = replace_outliers(frame[None], self.levels)[0]
        mean = float(part.mean())
        gain = 1.0 if self.beam is None or mean <= 0 else self.beam / mean
        for axis, length in enumerate(frame.shape):
            side = min(length, int(np.ceil(_REGION / self.zoom)))
            start = int(rng.integers(0, length - side + 1))
            part = part.take(range(start, start + side), axis)
        picture = enlarged(part * np.float32(gain), self.zoom)
        count = int(np.clip(picture.size // size**2, _FEWEST_WINDOWS, _MOST_WINDOWS))
        corners = rng.integers(0, np.array(picture.shape) - size + 1, (count, 2))
        smoothed = smooth(picture, self.recipe.smoothing_px)
        return Region(picture, cut(picture, corners, size), cut(smoothed, corners, size))


def cutter_steps(video: xr.DataArray, zoom: float, recipe: Recipe) -> Steps[Cutter]:
    """Look at a sample of frames for grey range, outliers and beam.

    Raises
    ------
    TrainingError
        Frames smaller than a window, or not one usable frame among the sample.
    VideoShapeError
        This is no video.
    """
    check_video(video)
    size = ARCHITECTURES[recipe.architecture]().window
    source = str(video.attrs.get("source", "the video"))
    if min(enlarged_size(side, zoom) for side in video.shape[1:]) < size:
        raise TrainingError(
            f"Frames of {source} are smaller than the window of {size} px; enlarge them first."
        )
    picks = np.unique(np.linspace(0, len(video) - 1, _SAMPLE_FRAMES).round().astype(int))
    sparse: list[Float] = []
    usable: list[int] = []
    for done, pick in enumerate(picks):
        yield Progress(done, 2 * len(picks), f"Looking at {Path(source).name}")
        frame = read_frames(video, slice(int(pick), int(pick) + 1))[0]
        if _usable(frame):
            usable.append(int(pick))
            sparse.append(frame[::4, ::4].copy())
    if not usable:
        raise TrainingError(
            f"{source} has no usable frame: all are constant or hold NaN; choose other images."
        )
    levels = grey_levels(np.stack(sparse))
    means: list[float] = []
    seen: list[Float] = []
    for pick in usable:
        yield Progress(len(picks) + len(seen), 2 * len(picks), f"Looking at {Path(source).name}")
        clean = replace_outliers(read_frames(video, slice(pick, pick + 1)), levels)[0]
        means.append(float(clean.mean()))
        # The same grey values as after enlarging and smoothing, at less cost.
        seen.append(smooth(clean, recipe.smoothing_px / zoom)[::2, ::2].ravel())
    plausible = min(means) > 0 and max(means) < _STRONGEST_FLICKER * min(means)
    beam = float(np.mean(means)) if plausible else None
    gains = [1.0 if beam is None else beam / mean for mean in means]
    grey = grey_range(np.concatenate([one * np.float32(gain) for one, gain in zip(seen, gains, strict=True)]))
    return Cutter(video, zoom, recipe, levels, beam, grey)


def enlarged(picture: Float, zoom: float) -> Float:
    """A picture (y, x) at the model's pixel size."""
    if zoom == 1:
        return picture
    rows, columns = (enlarging_operator(side, zoom).astype(np.float32) for side in picture.shape)
    return np.asarray((columns @ (rows @ picture).T).T, np.float32)


def cut(picture: Float, corners: NDArray[np.int64], size: int) -> Float:
    """Windows (n, size, size) with these upper left corners (n, 2)."""
    views = np.lib.stride_tricks.sliding_window_view(picture, (size, size))
    return np.ascontiguousarray(views[corners[:, 0], corners[:, 1]])


def _usable(frame: Float) -> bool:
    return bool(np.isfinite(frame).all()) and frame.min() < frame.max()
