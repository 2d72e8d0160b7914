"""The windows of one site through time, prepared as Analyze prepares them, and their latents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from ..errors import VideoShapeError
from ..progress import Progress, Steps
from ..video.geometry import SiteGrid
from ..video.reading import CHUNK_BYTES, read_ahead, read_frames
from ..video.scaling import scale_windows
from .card import ModelCard
from .model import Model
from .parameters import AnalyzeParameters
from .preprocessing import Band, Preprocessing, frame_statistics, prepare_steps
from .walk import site_grid

Float = NDArray[np.float32]
# Those that `prepare_steps` picks, so that it picks all of them.
_SAMPLE_FRAMES = 8
# Frames of a chunk: partial results come soon, and a stop is seen.
_MOST_FRAMES = 32


@dataclass(frozen=True)
class SiteWindows:
    """Cuts the windows of sites out of a video.

    Parameters
    ----------
    video : DataArray (time, y, x)
        Lazy.
    grid : SiteGrid
        Where its sites lie.
    preprocessing : Preprocessing
        From frames to what the encoder sees.
    scaled_by_window : bool
        Each window has its own grey range.
    """

    video: xr.DataArray
    grid: SiteGrid
    preprocessing: Preprocessing
    scaled_by_window: bool

    def nearest_site(self, y_px: float, x_px: float) -> tuple[int, int]:
        """Row and column of the site whose centre is nearest to a pixel of the video.

        Raises
        ------
        VideoShapeError
            The place lies outside the frame.
        """
        rows, columns = self.grid.frame
        if not (-0.5 <= y_px <= rows - 0.5 and -0.5 <= x_px <= columns - 0.5):
            raise VideoShapeError(
                f"The place ({y_px:.0f}, {x_px:.0f}) px lies outside the frame of {rows} × {columns} px; "
                "choose one on the video."
            )
        enlarged = (np.array([y_px, x_px]) + 0.5) * self.grid.zoom - 0.5
        nearest = np.rint((enlarged - (self.grid.window - 1) / 2) / self.grid.step).astype(int)
        row, column = np.clip(nearest, 0, np.array(self.grid.shape) - 1)
        return int(row), int(column)

    def corners_px(self, site: tuple[int, int]) -> NDArray[np.float64]:
        """Upper left and lower right corner (2, 2) of a site's window, in px of the video.

        The centre of the first pixel is 0, its upper edge −0.5.
        """
        low = np.array(site, float) * self.grid.step
        return np.stack([low, low + self.grid.window]) / self.grid.zoom - 0.5

    def window(self, site: tuple[int, int], frame: int) -> Float:
        """The window (w, w) of a site in one frame, scaled to 0…1; NaN where the frame cannot be used.

        Raises
        ------
        VideoFileError
            The frame cannot be read.
        """
        frames = read_frames(self.video, slice(frame, frame + 1))
        window: Float = self._cut(self._band(site), site, frames)[0]
        return window

    def series_steps(self, model: Model, site: tuple[int, int]) -> Steps[Float]:
        """Latents of a site through time.

        Yields
        ------
        Progress
            `finished` holds `z` (frame, latent) of the frames that have just been encoded.

        Returns
        -------
        ndarray (time, latents), float32
            NaN in frames that are constant or hold NaN.

        Raises
        ------
        VideoFileError
            Frames cannot be read.
        ModelPartError
            The model has no encoder.
        """
        band, total = self._band(site), len(self.video)
        series = np.full((total, model.card.latents), np.nan, np.float32)
        count = int(np.clip(CHUNK_BYTES // (4 * self.video[0].size), 1, _MOST_FRAMES))

        def prepare(_: int, frames: Float) -> Float:
            return self._cut(band, site, frames)

        done = 0
        for chunk in read_ahead(self.video, count, slice(None), prepare):
            if chunk is None:
                yield Progress(done, total, "Reading")
                continue
            start, windows = chunk
            done = start + len(windows)
            series[start:done] = latents_of(model, windows)
            block = xr.Dataset(
                {"z": (("frame", "latent"), series[start:done])}, coords={"frame": np.arange(start, done)}
            )
            yield Progress(done, total, "Following the site", block)
        return series

    def _band(self, site: tuple[int, int]) -> Band:
        row, column = site
        return self.preprocessing.band((slice(row, row + 1), slice(column, column + 1)), torch.device("cpu"))

    def _cut(self, band: Band, site: tuple[int, int], frames: Float) -> Float:
        """Windows (n, w, w) out of whole frames (n, y, x), which are changed."""
        statistics = frame_statistics(frames, self.preprocessing.levels)
        windows = band(frames[:, band.rows, band.columns], statistics).numpy()
        if self.scaled_by_window:
            windows = scale_windows(windows)
        windows[~statistics.usable] = np.nan
        return windows


def latents_of(model: Model, windows: Float) -> Float:
    """Means (n, latents) of windows (n, w, w); NaN for windows that hold NaN.

    Raises
    ------
    ModelPartError
        The model has no encoder.
    """
    usable = np.isfinite(windows).all((1, 2))
    z = np.full((len(windows), model.card.latents), np.nan, np.float32)
    z[usable] = model.encode(windows[usable])[0]
    return z


def site_windows_steps(
    video: xr.DataArray, card: ModelCard, parameters: AnalyzeParameters
) -> Steps[SiteWindows]:
    """Prepare a video for the windows of single sites, from a sample of its frames.

    The sample is that from which Analyze takes the grey range, so that z is that of Analyze; drift is
    left in.

    Raises
    ------
    VideoShapeError
        The video is none, is smaller than a window, or has not one frame to see.
    VideoFileError
        Frames cannot be read.
    ParameterError
        The pixel sizes of video and model lie too far apart.
    """
    grid = site_grid(video, card, parameters)
    picks = np.unique(np.linspace(0, len(video) - 1, _SAMPLE_FRAMES).round().astype(int))
    try:
        preprocessing, _ = yield from prepare_steps(video[picks], card, parameters, grid)
    except VideoShapeError:
        if len(picks) == len(video):
            raise
        # The frames of the sample may be the only bad ones.
        preprocessing, _ = yield from prepare_steps(video, card, parameters, grid)
    scaling = card.scaling if parameters.scaling == "model" else parameters.scaling
    return SiteWindows(video, grid, preprocessing, scaling == "window")
