"""The geometry of windows: where sites lie, in the video's own unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import VideoShapeError

# Pixel sizes that differ by no more than this share are taken as equal: no resampling.
SAME_PIXEL_SIZE = 0.05


@dataclass(frozen=True)
class SiteGrid:
    """Sites of a sliding window over frames that are first enlarged by `zoom`.

    Parameters
    ----------
    frame : tuple of int
        Rows and columns of the video's frames.
    window, step : int
        Side of the window and distance of neighbours, in px of the enlarged frame.
    zoom : float
        Enlarged pixels per pixel of the video.
    pixel_size : float
        Size of the video's pixel in `unit`; 1 where the unit is px.
    unit : str
        "nm" or "px".
    origin : tuple of float
        Coordinate of the centre of the first pixel, in `unit`.
    """

    frame: tuple[int, int]
    window: int
    step: int
    zoom: float = 1.0
    pixel_size: float = 1.0
    unit: str = "px"
    origin: tuple[float, float] = (0.0, 0.0)

    @property
    def enlarged(self) -> tuple[int, int]:
        """Rows and columns of the enlarged frame."""
        return enlarged_size(self.frame[0], self.zoom), enlarged_size(self.frame[1], self.zoom)

    @property
    def shape(self) -> tuple[int, int]:
        """Sites along y and x."""
        rows, columns = ((size - self.window) // self.step + 1 for size in self.enlarged)
        return rows, columns

    @property
    def spacing(self) -> float:
        """Distance of neighbouring sites in `unit`."""
        return self.step / self.zoom * self.pixel_size

    @property
    def y(self) -> NDArray[np.float64]:
        """Coordinates of the windows' centres along y, in `unit`."""
        return self._centres(0)

    @property
    def x(self) -> NDArray[np.float64]:
        """Coordinates of the windows' centres along x, in `unit`."""
        return self._centres(1)

    def seen_along(self, axis: int, start: int, stop: int, margin: int) -> NDArray[np.bool_]:
        """Which sites along an axis have their window, and `margin` px about it, within pixels [start, stop).

        Beyond the frame's own edges nothing is asked for; `margin` is in px of the enlarged frame.
        """
        low = np.arange(self.shape[axis]) * self.step
        high = low + self.window
        first = 0.0 if start <= 0 else start * self.zoom + margin
        last = np.inf if stop >= self.frame[axis] else stop * self.zoom - margin
        return np.asarray((low >= first) & (high <= last))

    def _centres(self, axis: int) -> NDArray[np.float64]:
        enlarged = np.arange(self.shape[axis]) * self.step + (self.window - 1) / 2
        # Pixel areas, not centres, scale: the enlarged pixel j covers [j, j + 1] / zoom.
        pixels = (enlarged + 0.5) / self.zoom - 0.5
        return np.asarray(self.origin[axis] + pixels * self.pixel_size, np.float64)


def enlarged_size(size: int, zoom: float) -> int:
    """Pixels along an axis after enlarging; a sliver at the end may be lost."""
    return int(np.floor(size * zoom + 1e-6))


def choose_zoom(video_nm: float | None, model_nm: float | None) -> float:
    """Factor that brings a video to a model's pixel size; 1 where one is unknown or both agree to 5 %."""
    if not video_nm or not model_nm or abs(video_nm / model_nm - 1) <= SAME_PIXEL_SIZE:
        return 1.0
    return video_nm / model_nm


def check_video(video: xr.DataArray) -> None:
    """Refuse what no analysis can read.

    Raises
    ------
    VideoShapeError
        Not labelled (time, y, x), empty, or of a dtype that is no grey value.
    """
    if tuple(video.dims) != ("time", "y", "x"):
        raise VideoShapeError(
            f"The video has the axes {video.dims}; open it with open_video to get (time, y, x)."
        )
    if 0 in video.shape:
        raise VideoShapeError(f"The video is empty (shape {video.shape}); choose another file.")
    if video.dtype.kind not in "biuf":
        raise VideoShapeError(f"The video holds {video.dtype} values; give real grey values.")
