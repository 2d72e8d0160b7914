"""z of the last frames of a recording, in the order of their names; older ones go to disk, or are let go."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError
from ..io.growing import FrameFile, State
from ..io.growing_field import GrowingField

Float = NDArray[np.float32]
# The frames, a copy of them while maps are made, and what ranking takes.
_COPIES = 4


@dataclass(frozen=True)
class Row:
    """One frame's z.

    Parameters
    ----------
    file : FrameFile
    z : ndarray (y, x, latent), float32
    usable : bool
        Whether z is numbers.
    """

    file: FrameFile
    z: Float
    usable: bool


class LastFrames:
    """The newest `last` frames; a file that lands late takes its place among them.

    Parameters
    ----------
    last : int
    shape : tuple of int
        Of a frame's z: (y, x, latent).
    budget : int
        Bytes that may be taken.
    earlier : list of FrameFile
        Frames before the first that is analysed.
    stored : GrowingField, optional
        Where frames go that make room for newer ones.

    Raises
    ------
    ParameterError
        So many frames do not fit the memory.
    """

    def __init__(
        self,
        last: int,
        shape: tuple[int, int, int],
        budget: int,
        earlier: list[FrameFile],
        stored: GrowingField | None,
    ) -> None:
        self.last, self.shape, self._stored = last, shape, stored
        each = 4 * int(np.prod(shape)) * _COPIES
        if last * each > budget:
            raise ParameterError(
                f"last is {last}, and z of so many frames takes {last * each / 1e9:.3g} GB of the "
                f"{budget / 1e9:.3g} GB allowed; give {max(budget // each, 1)} or fewer, or a coarser step."
            )
        self.before = list(earlier)
        self.rows: list[Row] = []
        for _ in earlier:
            self._store(self.nothing)

    @property
    def nothing(self) -> Float:
        """z of a frame that tells nothing; takes no memory."""
        return np.broadcast_to(np.float32(np.nan), self.shape)

    @property
    def usable(self) -> int:
        """Frames whose z is numbers."""
        return sum(row.usable for row in self.rows)

    @property
    def files(self) -> list[FrameFile]:
        """All frames so far, those that were let go included."""
        return [*self.before, *(row.file for row in self.rows)]

    def put(self, row: Row) -> None:
        """Take up a frame, or what was read of it anew; one older than all that are here comes too late."""
        key = row.file.key
        place = bisect.bisect_left(self.rows, key, key=lambda one: one.file.key)
        if place < len(self.rows) and self.rows[place].file is row.file:
            self.rows[place] = row
        elif place == 0 and self.before and key <= self.before[-1].key:
            if row.file is not self.before[-1] and row.file not in self.before:
                row.file.state = State.LATE
        else:
            row.file.analysed = row.file.state is not State.SKIPPED
            self.rows.insert(place, row)
            self._let_go()

    def field(self) -> Float:
        """z of all frames here, (frames, y, x, latent): a copy."""
        return np.stack([row.z for row in self.rows])

    def store_rest(self) -> Iterator[None]:
        """Store the frames that are here, one by one."""
        for row in self.rows:
            self._store(row.z)
            yield

    def _let_go(self) -> None:
        while len(self.rows) > self.last:
            oldest = self.rows.pop(0)
            self._store(oldest.z)
            self.before.append(oldest.file)

    def _store(self, z: Float) -> None:
        if self._stored is not None:
            self._stored.add(z)
