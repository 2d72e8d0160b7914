"""Frames from a lazy video: a chunk ahead, with errors that name the frames."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import HrtemVaeError, VideoFileError

Float = NDArray[np.float32]
CHUNK_BYTES = 1 << 25
_PATIENCE_S = 0.2


def read_frames(video: xr.DataArray, frames: slice, rows: slice = slice(None)) -> Float:
    """Rows of some frames as a new float32 array (n, rows, x).

    Raises
    ------
    VideoFileError
        They cannot be read, for whatever reason the file's reader has.
    """
    try:
        return np.array(video[frames, rows].data, np.float32)
    except HrtemVaeError:
        raise
    except Exception as error:
        source = video.attrs.get("source", "the video")
        raise VideoFileError(
            f"Frames {frames.start} to {frames.stop - 1} of {source} cannot be read ({error}); "
            "check the file."
        ) from error


def read_ahead(
    video: xr.DataArray, count: int, rows: slice = slice(None)
) -> Iterator[tuple[int, Float] | None]:
    """All frames, `count` at a time, with the number of the first; the next are read while these are used.

    Yields None while a read takes its time, so that a stop is seen.
    """
    slices = [slice(start, min(start + count, len(video))) for start in range(0, len(video), count)]
    reader = ThreadPoolExecutor(1)
    try:
        upcoming = reader.submit(read_frames, video, slices[0], rows)
        for number, current in enumerate(slices):
            frames = yield from _patiently(upcoming)
            if number + 1 < len(slices):
                upcoming = reader.submit(read_frames, video, slices[number + 1], rows)
            yield current.start, frames
    finally:
        reader.shutdown(wait=False, cancel_futures=True)


def _patiently(future: Future[Float]) -> Generator[None, None, Float]:
    while True:
        try:
            return future.result(timeout=_PATIENCE_S)
        except TimeoutError:
            yield None
