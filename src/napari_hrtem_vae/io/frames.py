"""Lazy arrays over files: nothing is read before a frame is asked for, and then little more than that."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import VideoFileError

CHUNK_BYTES = 32 * 2**20


class LazyFrames(ABC):
    """Frames on disk that look like an array (time, y, x) to dask.

    Parameters
    ----------
    path : Path
        The file, for messages.
    shape : tuple of int
        (time, y, x).
    dtype : numpy.dtype
        Native byte order.
    """

    ndim = 3

    def __init__(self, path: Path, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> None:
        self.path, self.shape, self.dtype = path, shape, np.dtype(dtype)

    @abstractmethod
    def read(self, numbers: range, rows: slice) -> np.ndarray:
        """The frames `numbers` (increasing), (n, rows, x)."""

    def __getitem__(self, key: Any) -> np.ndarray:
        key = (
            (*key, slice(None), slice(None), slice(None))[:3]
            if isinstance(key, tuple)
            else (key, slice(None))
        )
        time, rows, *columns = key
        single = not isinstance(time, slice)
        numbers = range(self.shape[0])[slice(int(time), int(time) + 1) if single else time]
        backwards = numbers.step < 0
        band = rows if isinstance(rows, slice) and (rows.step or 1) > 0 else slice(None)
        try:
            block = self.read(numbers[::-1] if backwards else numbers, band)
        except VideoFileError:
            raise
        except Exception as error:
            raise VideoFileError(
                f"{self.path} cannot be read at frame {numbers[0]} ({reason(error)}); copy the file again."
            ) from error
        block = block[::-1] if backwards else block
        if band is not rows and not (isinstance(band, slice) and band == rows):
            block = block[:, rows]
        if columns:
            block = block[..., columns[0]]
        return block[0] if single else block


class MappedArray:
    """A plain array in a file, memory-mapped at each access, so that only the bytes asked for are read.

    Parameters
    ----------
    path : Path
        The file.
    shape, dtype, order
        As of `numpy.memmap`; the dtype may be of any byte order and comes out native.
    offset : int
        Bytes before the first value.
    """

    def __init__(
        self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], offset: int = 0, order: str = "C"
    ) -> None:
        self.path, self.shape, self.offset, self.order = path, shape, offset, order
        self.stored = np.dtype(dtype)
        self.dtype = self.stored.newbyteorder("=")
        self.ndim = len(shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        try:
            mapped = np.memmap(
                self.path, self.stored, "r", self.offset, self.shape, "F" if self.order == "F" else "C"
            )
        except (OSError, ValueError) as error:
            raise VideoFileError(
                f"{self.path} cannot be read ({reason(error)}); it was moved or cut short."
            ) from error
        return np.array(mapped[key], dtype=self.dtype)


class MappedFrames(LazyFrames):
    """Frames of one size at known places of a file.

    Parameters
    ----------
    path, shape, dtype
        As of `LazyFrames`.
    offsets : numpy.ndarray
        (time,) int64, bytes before each frame.
    flipped : bool
        The rows are stored bottom first.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int, int],
        dtype: np.dtype[Any],
        offsets: np.ndarray,
        flipped: bool = False,
    ) -> None:
        super().__init__(path, shape, np.dtype(dtype).newbyteorder("="))
        self.stored, self.offsets, self.flipped = np.dtype(dtype), offsets, flipped

    def read(self, numbers: range, rows: slice) -> np.ndarray:
        """See `LazyFrames.read`."""
        mapped = np.memmap(self.path, np.uint8, "r")
        frames = []
        for number in numbers:
            frame: np.ndarray = np.ndarray(
                self.shape[1:], self.stored, buffer=mapped, offset=int(self.offsets[number])
            )
            frames.append((frame[::-1] if self.flipped else frame)[rows])
        if not frames:
            return np.empty((0, *self.shape[1:]), self.dtype)[:, rows]
        return np.stack(frames).astype(self.dtype, copy=False)


def frames_per_chunk(shape: tuple[int, ...], dtype: np.dtype[Any], multiple_of: int = 1) -> int:
    """How many frames of (…, y, x) a chunk of about 32 MB holds: a multiple of `multiple_of`."""
    frame = max(1, math.prod(shape[-2:]) * np.dtype(dtype).itemsize)
    count = max(1, CHUNK_BYTES // frame)
    count = max(multiple_of, count // multiple_of * multiple_of)
    return int(min(count, max(1, shape[-3]) if len(shape) > 2 else 1))


def as_dask(source: Any, multiple_of: int = 1) -> Any:
    """`source`, anything array-like and lazy, as a dask array with whole frames in each chunk.

    Parameters
    ----------
    source : array-like
        (…, y, x), with shape, dtype, ndim and `__getitem__`.
    multiple_of : int
        Frames that the file stores together.
    """
    import dask.array as da

    shape = tuple(int(n) for n in source.shape)
    chunks: tuple[int, ...] = shape
    if len(shape) > 2:
        chunks = (*(1,) * (len(shape) - 3), frames_per_chunk(shape, source.dtype, multiple_of), *shape[-2:])
    # A name of chance: hashing a memory map would read the file.
    return da.from_array(source, chunks=tuple(max(1, n) for n in chunks), name=False, fancy=False)


def whole_frames(data: Any) -> Any:
    """The dask array `data` (…, y, x), rechunked where its chunks cut frames."""
    if data.ndim < 2 or all(len(blocks) == 1 for blocks in data.chunks[-2:]):
        return data
    chunks: dict[int, int] = {data.ndim - 2: -1, data.ndim - 1: -1}
    if data.ndim > 2:
        chunks[data.ndim - 3] = frames_per_chunk(data.shape, data.dtype)
    return data.rechunk(chunks)


def reason(error: BaseException) -> str:
    """The first line of an error, short enough for a sentence."""
    text = str(error).strip().splitlines()
    line = text[0].strip().rstrip(".") if text else type(error).__name__
    return line if len(line) <= 160 else line[:157] + "…"


def check_size(path: Path, needed: int) -> None:
    """Raise VideoFileError where `path` is shorter than the `needed` bytes that its header promises."""
    size = path.stat().st_size
    if needed > size:
        raise VideoFileError(
            f"{path} is cut short: its header promises {needed} bytes and the file has {size}; copy it again."
        )
