"""Frames from a lazy video: a chunk ahead, with errors that name the frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import HrtemVaeError, VideoFileError
from ..io.frames import ALL, plain_frames

Float = NDArray[np.float32]
Prepared = TypeVar("Prepared")
# Twice as much is taken from the system and cleared anew for every chunk.
CHUNK_BYTES = 1 << 24
_PATIENCE_S = 0.2


def read_frames(video: xr.DataArray, frames: slice, rows: slice = ALL, columns: slice = ALL) -> Float:
    """Rows and columns of some frames as a new float32 array (n, rows, columns).

    Raises
    ------
    VideoFileError
        They cannot be read, for whatever reason the file's reader has.
    """
    with _named_errors(video, frames):
        plain = plain_frames(video.data)
        if plain is None:
            return np.array(load(video[frames, rows, columns].data), np.float32)
        return plain.read(range(len(video))[frames], rows, columns, np.float32)


def stored_frames(
    video: xr.DataArray, frames: slice, rows: slice = ALL, columns: slice = ALL
) -> NDArray[Any]:
    """Rows and columns of some frames as they are stored: of an array in memory a view, not to be changed.

    Raises
    ------
    VideoFileError
        They cannot be read, for whatever reason the file's reader has.
    """
    with _named_errors(video, frames):
        return load(video[frames, rows, columns].data)


@contextmanager
def _named_errors(video: xr.DataArray, frames: slice) -> Iterator[None]:
    """Errors of a file's reader as one that names the frames."""
    try:
        yield
    except HrtemVaeError:
        raise
    except Exception as error:
        source = video.attrs.get("source", "the video")
        raise VideoFileError(
            f"Frames {frames.start} to {frames.stop - 1} of {source} cannot be read ({error}); "
            "check the file."
        ) from error


def load(data: Any) -> NDArray[Any]:
    """The numbers of a numpy or dask array.

    napari listens to all that dask computes, from its own thread while it draws: our reading stays unheard.
    """
    if hasattr(data, "compute"):
        data = data.compute(scheduler="threads", callbacks=())
    return np.asarray(data)


def as_read(start: int, frames: Float) -> Float:
    """Frames as they are: what `read_ahead` prepares unless told otherwise."""
    return frames


def read_ahead(
    video: xr.DataArray,
    count: int,
    rows: slice,
    prepare: Callable[[int, Float], Prepared],
    threads: int = 1,
    columns: slice = ALL,
    frames: slice = ALL,
) -> Iterator[tuple[int, Prepared] | None]:
    """All frames, `count` at a time, with the number of the first; the next are read while these are used.

    Yields None while a read takes its time, so that a stop is seen.

    Parameters
    ----------
    video : DataArray (time, y, x)
    count : int
    rows : slice
        Rows of each frame.
    prepare : callable
        Gets the first frame's number and the frames (n, rows, columns), in the thread that reads.
    threads : int, optional
        How many read, each frames of its own: with several `prepare` is not called in order.
    columns : slice, optional
        Columns of each frame.
    frames : slice, optional
        Which ones, if not all.
    """
    wanted = range(len(video))[frames]
    slices = [slice(start, min(start + count, wanted.stop)) for start in wanted[::count]]

    def read(some: slice) -> Prepared:
        return prepare(some.start, read_frames(video, some, rows, columns))

    reader = ThreadPoolExecutor(threads)
    try:
        upcoming = deque(reader.submit(read, some) for some in slices[:threads])
        for number, current in enumerate(slices):
            prepared = yield from _patiently(upcoming.popleft())
            if number + threads < len(slices):
                upcoming.append(reader.submit(read, slices[number + threads]))
            yield current.start, prepared
    finally:
        reader.shutdown(wait=False, cancel_futures=True)


def _patiently(future: Future[Prepared]) -> Generator[None, None, Prepared]:
    while True:
        try:
            return future.result(timeout=_PATIENCE_S)
        except TimeoutError:
            yield None
