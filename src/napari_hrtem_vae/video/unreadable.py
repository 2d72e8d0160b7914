"""Frames that cannot be read: found one by one, and left blank so that the rest of a video can be used."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import VideoFileError
from ..progress import Progress, Steps
from .reading import CHUNK_BYTES, read_frames


def find_unreadable_steps(video: xr.DataArray) -> Steps[NDArray[np.bool_]]:
    """Which frames of a video (time, y, x) cannot be read; tries all of them.

    Returns
    -------
    ndarray (frames,), bool

    Raises
    ------
    VideoFileError
        None can be read.
    """
    unreadable = np.zeros(len(video), bool)
    together = max(1, CHUNK_BYTES // (4 * video[0].size))
    for start in range(0, len(video), together):
        stop = min(start + together, len(video))
        yield Progress(start, len(video), "Looking for frames that can be read")
        if _error_of(video, start, stop) is None:
            continue
        for frame in range(start, stop):
            yield Progress(frame, len(video), "Looking for frames that can be read")
            unreadable[frame] = _error_of(video, frame, frame + 1) is not None
    if unreadable.all():
        error = _error_of(video, 0, 1)
        raise error if error is not None else VideoFileError("The video cannot be read; check the file.")
    return unreadable


def _error_of(video: xr.DataArray, start: int, stop: int) -> VideoFileError | None:
    try:
        read_frames(video, slice(start, stop))
    except VideoFileError as error:
        return error
    return None


def blank_frames(video: xr.DataArray, blank: NDArray[np.bool_]) -> xr.DataArray:
    """The video (time, y, x), lazy and float32, with NaN in some frames, which are not read any more."""
    import dask.array as da

    edges = [0, *(np.flatnonzero(np.diff(blank)) + 1), len(video)]
    parts = []
    for start, stop in pairwise(edges):
        part = da.asarray(video.data[start:stop])
        if blank[start]:
            parts.append(da.full(part.shape, np.nan, np.float32, chunks=(1, -1, -1)))
        else:
            parts.append(part.astype(np.float32))
    return video.copy(data=da.concatenate(parts))
