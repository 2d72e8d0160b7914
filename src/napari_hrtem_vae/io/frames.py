"""Lazy arrays over files: nothing is read before a frame is asked for, and then little more than that."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import DTypeLike

from ..errors import VideoFileError

CHUNK_BYTES = 32 * 2**20
ALL = slice(None)


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
        key = key if isinstance(key, tuple) else (key,)
        time, rows, columns = (*key, *(slice(None),) * 3)[:3]
        picked = np.arange(self.shape[0])[time]  # an integer, a slice or a list of them
        numbers = np.unique(picked)
        step = int(numbers[1] - numbers[0]) if len(numbers) > 1 else 1
        even = len(numbers) == 0 or bool((np.diff(numbers) == step).all())
        band = rows if isinstance(rows, slice) and (rows.step or 1) > 0 else slice(None)
        try:
            if even:
                start = int(numbers[0]) if len(numbers) else 0
                block = self.read(range(start, start + step * len(numbers), step), band)
            else:
                block = np.concatenate([self.read(range(int(n), int(n) + 1), band) for n in numbers])
        except VideoFileError:
            raise
        except Exception as error:
            raise VideoFileError(
                f"{self.path} cannot be read at frame {numbers[0]} ({reason(error)}); copy the file again."
            ) from error
        if not np.array_equal(picked, numbers):
            block = block[np.searchsorted(numbers, picked)]
        if band is not rows:
            block = block[..., rows, :]
        return block[..., columns]


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
        # A view where the byte order allows: what is sliced away later is then never read.
        return np.asarray(mapped[key], dtype=self.dtype)


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

    def read(
        self, numbers: range, rows: slice, columns: slice = ALL, dtype: DTypeLike | None = None
    ) -> np.ndarray:
        """See `LazyFrames.read`; of some columns, and as another dtype, where wanted."""
        height, width = self.shape[1:]
        lines = range(height)[rows]
        if self.flipped:
            lines = range(height - 1 - lines.start, height - 1 - lines.stop, -lines.step)
        first, last = (min(lines), max(lines)) if len(lines) else (0, -1)
        across = range(width)[columns]
        out = np.empty((len(numbers), len(lines), len(across)), dtype or self.dtype)
        # Whole rows in their order are read to where they belong.
        direct = lines.step == 1 and across == range(width) and out.dtype == self.stored
        band = np.empty((last - first + 1, width), self.stored)
        inside = ALL if lines.step == 1 else np.array(lines, dtype=int) - first
        # Read, not mapped: a page fault of a memory map fetches megabytes around the few rows asked for.
        with self.path.open("rb") as file:
            for i, number in enumerate(numbers):
                file.seek(int(self.offsets[number]) + first * width * self.stored.itemsize)
                target = out[i] if direct else band
                if file.readinto(target) < target.nbytes:  # type: ignore[arg-type]
                    raise EOFError("the file ends within it")
                if not direct:
                    out[i] = band[inside, columns]
        return out


# Plain files by the names that dask has for their arrays.
_PLAIN: WeakValueDictionary[str, MappedFrames] = WeakValueDictionary()


def plain_array(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], offset: int, order: str = "C"
) -> Any:
    """A source for `as_dask` of an array that lies in `path` in one piece, `offset` bytes from its start."""
    if len(shape) != 3 or order == "F":
        return MappedArray(path, shape, dtype, offset, order)
    frame = shape[1] * shape[2] * np.dtype(dtype).itemsize
    return MappedFrames(path, (shape[0], shape[1], shape[2]), dtype, offset + np.arange(shape[0]) * frame)


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
    # A name of chance: hashing a memory map would read the file. dask joins a later slice with the reading.
    lazy = da.from_array(source, chunks=tuple(max(1, n) for n in chunks), name=False)
    if isinstance(source, MappedFrames):
        _PLAIN[lazy.name] = source
    return lazy


def plain_frames(data: Any) -> MappedFrames | None:
    """The plain file that an array is as it was opened: its frames are read without a graph of dask's."""
    return _PLAIN.get(getattr(data, "name", ""))


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
