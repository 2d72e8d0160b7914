"""Frames of a video in batches, and their spectra."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..video.outliers import GreyLevels, replace_outliers
from ..video.reading import CHUNK_BYTES, stored_frames
from .grid import Complex, Float, LatticeGrid

# Frames are fitted in batches, the more the smaller they are: with large arrays threads wait less.
_BATCH, _BATCH_PX = 8, 6 << 20
_BEGUN = 4  # batches
_PATIENCE_S = 0.2


@dataclass(frozen=True)
class Spectra:
    """Spectra of some frames.

    Parameters
    ----------
    values : ndarray (n, rows, columns)
        As `LatticeGrid.spectrum` makes them, of those frames that can be used.
    usable : list of int
        Which of the frames these are; the others hold NaN or one grey value alone.
    """

    values: Complex
    usable: list[int]

    @classmethod
    def of(cls, grid: LatticeGrid, frames: Sequence[NDArray[Any]], outliers: GreyLevels | None) -> Spectra:
        """Spectra of frames (rows, columns) as they are stored."""
        values = np.empty((len(frames), *grid.shape), np.complex64)
        usable: list[int] = []
        for number, stored in enumerate(frames):
            frame = np.array(stored, np.float32)
            if not _is_usable(frame):
                continue
            if outliers is not None:
                frame = replace_outliers(frame[None], outliers)[0]
            values[len(usable)] = grid.spectrum(frame)
            usable.append(number)
        return cls(values[: len(usable)], usable)


def _is_usable(frame: Float) -> bool:
    """Whether a frame holds more than one grey value, and no NaN."""
    # Both are NaN where one pixel is.
    low, high = float(frame.min()), float(frame.max())
    return low < high and np.isfinite([low, high]).all().item()


def batches_of(order: range, shape: tuple[int, int]) -> list[range]:
    """Frames of a shape (rows, columns), in order, by the batches in which they are fitted."""
    counts = even_batches(len(order), max(1, min(_BATCH, _BATCH_PX // (shape[0] * shape[1]))))
    ends = np.cumsum([0, *counts]).tolist()
    return [order[first:end] for first, end in pairwise(ends)]


def even_batches(frames: int, most: int) -> list[int]:
    """How many frames each batch has, as alike as may be: no thread waits for another's longer last one."""
    batches = -(-frames // most)
    # An even number of them, for two threads.
    batches = min(frames, batches + batches % 2)
    return [frames // batches + (one < frames % batches) for one in range(batches)]


class SpectrumReader:
    """Batches of a video's frames, in order, each with what makes their spectra.

    Chunks of neighbours are read at a time, the next one while one is used.

    Parameters
    ----------
    video : DataArray (time, y, x)
    order : range
    grid : LatticeGrid
    outliers : GreyLevels or None
    """

    def __init__(
        self, video: xr.DataArray, order: range, grid: LatticeGrid, outliers: GreyLevels | None
    ) -> None:
        self.video, self.order, self.grid, self.outliers = video, order, grid, outliers
        self._batches = batches_of(order, grid.shape)
        self._begun: deque[Future[Spectra]] = deque()
        self._pool = ThreadPoolExecutor(1)

    def begin(self) -> None:
        """Make the spectra of the first batches now, in another thread, until they are asked for."""
        self._begun.extend(self._pool.submit(self._spectra, one) for one in self._batches[:_BEGUN])

    def batches(self) -> Generator[tuple[range, Callable[[], Spectra]] | None, None, None]:
        """Frames of each batch, and what makes their spectra where it is called; None while a read lasts.

        Threads that fit frames share the work of making spectra, so that they come as they are stored.
        """
        try:
            begun, rest = self._batches[: len(self._begun)], self._batches[len(self._begun) :]
            for batch in begun:
                yield batch, partial(self._begun_spectra, batch, self._begun.popleft())
            most = max(1, CHUNK_BYTES // (4 * self.video.shape[1] * self.video.shape[2]))
            order = [frame for batch in rest for frame in batch]
            chunks = deque(order[first : first + most] for first in range(0, len(order), most))
            held: dict[int, NDArray[Any]] = {}
            upcoming = self._pool.submit(self._read, chunks.popleft()) if chunks else None
            for batch in rest:
                while batch[-1] not in held:
                    assert upcoming is not None
                    while not is_done(upcoming):
                        yield None
                    held |= upcoming.result()
                    upcoming = self._pool.submit(self._read, chunks.popleft()) if chunks else None
                frames = [held.pop(frame) for frame in batch]
                yield batch, partial(Spectra.of, self.grid, frames, self.outliers)
        finally:
            self.close()

    def close(self) -> None:
        """Read no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _begun_spectra(self, batch: range, future: Future[Spectra]) -> Spectra:
        """What the other thread made; what it has not taken up is made here."""
        return self._spectra(batch) if future.cancel() else future.result()

    def _spectra(self, batch: range) -> Spectra:
        return Spectra.of(self.grid, list(self._read(batch).values()), self.outliers)

    def _read(self, frames: Sequence[int]) -> dict[int, NDArray[Any]]:
        first = min(frames)
        stored = stored_frames(self.video, slice(first, max(frames) + 1))
        return {frame: stored[frame - first] for frame in frames}


def is_done(future: Future[Any]) -> bool:
    """Whether work in another thread has ended, after a little patience."""
    try:
        future.exception(timeout=_PATIENCE_S)
    except TimeoutError:
        return False
    return True
