"""Where a video lies, so that another process can open it as this one did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from ..errors import VideoFileError
from .open import frame_time_s, open_video, pixel_size_nm


@dataclass(frozen=True)
class VideoSource:
    """A video file or folder and what was said about it.

    Parameters
    ----------
    path : str
    dataset : str, optional
        Which of a file's datasets.
    pixel_size_nm, frame_time_s : float, optional
        Over the file's.
    """

    path: str
    dataset: str | None = None
    pixel_size_nm: float | None = None
    frame_time_s: float | None = None

    @classmethod
    def of(cls, video: xr.DataArray) -> VideoSource:
        """Of a video (time, y, x) that `open_video` opened.

        Raises
        ------
        VideoFileError
            It is of no file: an array in memory, or several files.
        """
        path = Path(str(video.attrs.get("source", "")))
        source = cls(str(path), video.attrs.get("dataset"), pixel_size_nm(video), frame_time_s(video))
        if not path.exists() or source.open().shape != video.shape:
            raise VideoFileError(
                f"The video ({video.attrs.get('source', 'array')}) cannot be opened by other processes; "
                "give the path of one file or folder."
            )
        return source

    def open(self) -> xr.DataArray:
        """The video (time, y, x), lazy; see `open_video`."""
        return open_video(
            self.path,
            dataset=self.dataset,
            pixel_size_nm=self.pixel_size_nm,
            frame_time_s=self.frame_time_s,
        )
