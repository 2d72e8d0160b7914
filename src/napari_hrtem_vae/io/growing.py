"""A folder that a camera writes frames to: what has landed, what is whole, what stays broken.

Polling alone: it works on network drives, where no system tells of new files. Each look is given the time,
so that nothing here depends on a clock.
"""

from __future__ import annotations

import fnmatch
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import HrtemVaeError, VideoFileError
from .files import FRAME_SUFFIXES, suffix_of
from .open import frame_time_s, open_video, pixel_size_nm

Float = NDArray[np.float32]
# A file that has not changed for so long is tried; one that is changed afterwards is read again.
SETTLE_S = 0.2
_WATCHED_AFTERWARDS_S = 10.0
_BROKEN_WATCHED_S = 60.0
# A file that cannot be read is given up when nothing was written to it for so long.
PATIENCE_S = 5.0
_FIRST_RETRY_S = 0.25
# A network drive may be away for a moment.
_GONE_S = 3.0
_FEWEST_OF_A_SERIES = 2


class State(Enum):
    """What became of a file."""

    WAITING = "waiting"
    TAKEN = "taken"
    BROKEN = "broken"
    OTHER_SIZE = "of another size"
    SKIPPED = "skipped"
    LATE = "too late"
    EARLIER = "there before"
    DOUBLE = "of a number that is there already"


@dataclass(eq=False)
class FrameFile:
    """One file of the series.

    Parameters
    ----------
    path : Path
    key : tuple of int
        The numbers in its name, by which files are ordered.
    landed : float
        When it was last seen to change, in s.
    state : State
    reason : str
        Why it cannot be read.
    analysed : bool
        Whether it was analysed: if it is spoilt afterwards, what was read of it holds.
    """

    path: Path
    key: tuple[int, ...]
    landed: float
    state: State = State.WAITING
    reason: str = ""
    analysed: bool = False
    signature: tuple[int, int] = (-1, -1)
    retry_at: float = 0.0
    retry_after: float = _FIRST_RETRY_S


@dataclass(frozen=True)
class Picture:
    """What one file holds.

    Parameters
    ----------
    frame : ndarray (y, x), float32
    pixel_size_nm, frame_time_s : float or None
        As the file tells them.
    """

    frame: Float
    pixel_size_nm: float | None
    frame_time_s: float | None


@dataclass
class _Group:
    """Files of one pattern of names."""

    files: dict[str, FrameFile] = field(default_factory=dict)
    keys: set[tuple[int, ...]] = field(default_factory=set)


class GrowingFolder:
    """The frames of a folder in the order of their names, while it grows.

    The series is the commonest pattern of names with a number in it, chosen as soon as two files have it;
    files of other names are foreign. Gatan's trees of Hour_…/Minute_…/Second_… folders are followed too.

    Parameters
    ----------
    folder : path
    pattern : str
        Names that count, as a shell has it: "frame_*.tif".

    Attributes
    ----------
    changed : float or None
        When a file of the series came or was last seen to change, in s.

    Raises
    ------
    VideoFileError
        There is no such folder.
    """

    def __init__(self, folder: str | Path, pattern: str = "*") -> None:
        self.folder, self.pattern = Path(folder), pattern
        if not self.folder.exists():
            raise VideoFileError(f"There is no folder {self.folder}; check the path.")
        if not self.folder.is_dir():
            raise VideoFileError(
                f"{self.folder} is a file; give the folder that the camera writes its frames to."
            )
        self.changed: float | None = None
        self._groups: dict[str, _Group] = {}
        self._noted: set[str] = set()
        self._series: str | None = None
        self._open: dict[str, FrameFile] = {}
        self._seen_at: float | None = None
        self._numbers = _Numbering()
        self._branches: dict[str, tuple[int, float]] = {}

    # What is known

    @property
    def files(self) -> list[FrameFile]:
        """All files of the series, in order."""
        members = (file for file in self._members.values() if file.state is not State.DOUBLE)
        return sorted(members, key=lambda file: file.key)

    def count(self, state: State) -> int:
        """Files of the series in a state."""
        return sum(file.state is state for file in self._members.values())

    @property
    def found(self) -> int:
        """Files of the series."""
        return len(self._members) - self.count(State.DOUBLE)

    @property
    def foreign(self) -> int:
        """Files that are frames by their suffix, but not of the series, or second ones of a number."""
        chosen = self._groups.get(self._series or "")
        others = sum(len(group.files) for name, group in self._groups.items() if group is not chosen)
        return others + self.count(State.DOUBLE)

    @property
    def missing(self) -> int | None:
        """Numbers that no file has, between the first and the last; None where names do not count frames."""
        return self._numbers.missing

    def place(self, file: FrameFile) -> int | None:
        """Place of a frame in the series, gaps counted; None where names do not count frames."""
        return self._numbers.place(file.key)

    @property
    def _members(self) -> dict[str, FrameFile]:
        return self._groups[self._series].files if self._series is not None else {}

    # Looking

    def look(self, now: float) -> None:
        """Find out what is new and what has changed.

        Raises
        ------
        VideoFileError
            The folder has been gone for some seconds.
        """
        try:
            if not self.folder.is_dir():
                raise FileNotFoundError(self.folder)
            for directory, name in self._names(now):
                self._note(directory, name, now)
        except OSError as error:
            self._seen_at = now if self._seen_at is None else self._seen_at
            if now - self._seen_at > _GONE_S:
                raise VideoFileError(
                    f"{self.folder} is gone: it was deleted, renamed, or its drive is away; "
                    "start again when it is there."
                ) from error
            return
        self._seen_at = now
        if self._series is None:
            self._choose()
        for name, file in list(self._open.items()):
            self._check(name, file, now)

    def ready(self, now: float) -> list[FrameFile]:
        """Files that seem whole, in order."""
        found = [
            file
            for file in self._open.values()
            if file.state is State.WAITING
            and file.signature[0] > 0
            and now - file.landed >= SETTLE_S
            and now >= file.retry_at
        ]
        return sorted(found, key=lambda file: file.key)

    def read(self, file: FrameFile, now: float, most_bytes: int = 1 << 32) -> Picture | None:
        """The frame of a file; None where it is not whole yet, or given up: its state tells.

        Parameters
        ----------
        file : FrameFile
            One of `ready`.
        now : float
        most_bytes : int
            Larger frames are refused before memory is taken for them.
        """
        try:
            picture = _read(file.path, most_bytes)
            same = _signature(file.path) == file.signature
        except FileNotFoundError:
            return None
        except (HrtemVaeError, OSError, ValueError) as error:
            file.reason = str(error)
            file.retry_at, file.retry_after = now + file.retry_after, 2 * file.retry_after
            if now - file.landed > PATIENCE_S:
                file.state = State.TAKEN if file.analysed else State.BROKEN
            return None
        if not same:
            file.retry_at = now + SETTLE_S
            return None
        file.state, file.reason = State.TAKEN, ""
        return picture

    def _names(self, now: float) -> Iterator[tuple[str, str]]:
        """Folder, relative to the watched one, and name of every file; of a tree, where something is new."""
        with os.scandir(self.folder) as entries:
            listed = list(entries)
        for entry in listed:
            if entry.name.startswith("."):
                continue
            if entry.name.lower().startswith("hour_") and entry.is_dir():
                yield from self._branch(entry.name, now)
            else:
                yield "", entry.name

    def _branch(self, directory: str, now: float) -> Iterator[tuple[str, str]]:
        path = self.folder / directory
        modified = path.stat().st_mtime_ns
        before, changed = self._branches.get(directory, (-1, now))
        changed = now if modified != before else changed
        self._branches[directory] = modified, changed
        with os.scandir(path) as entries:
            listed = list(entries) if now - changed < _WATCHED_AFTERWARDS_S or _is_limb(directory) else []
        for entry in listed:
            if entry.is_dir():
                yield from self._branch(f"{directory}/{entry.name}", now)
            else:
                yield directory, entry.name

    def _note(self, directory: str, name: str, now: float) -> None:
        """Take up a file that is seen for the first time."""
        full = f"{directory}/{name}" if directory else name
        if full in self._noted:
            return
        self._noted.add(full)
        if suffix_of(Path(name)) not in FRAME_SUFFIXES or not fnmatch.fnmatch(name, self.pattern):
            return
        shape = _shape(full)
        group = self._groups.setdefault(shape, _Group())
        key = tuple(int(text) for text in re.findall(r"\d+", full))
        file = FrameFile(self.folder / full, key, now)
        group.files[full] = file
        if shape == self._series:
            self._enter(full, file)

    def _choose(self) -> None:
        """The series is the pattern of most files; dm4 before the png that is saved beside it."""
        counted = {name: group for name, group in self._groups.items() if "#" in name}
        if not counted:
            return

        def rank(name: str) -> tuple[int, int]:
            return len(counted[name].files), -FRAME_SUFFIXES.index(suffix_of(Path(name)))

        best = max(counted, key=rank)
        if len(counted[best].files) < _FEWEST_OF_A_SERIES:
            return
        self._series = best
        for name, file in list(counted[best].files.items()):
            self._enter(name, file)

    def _enter(self, name: str, file: FrameFile) -> None:
        """Count a file of the series, unless its number is there already."""
        group = self._groups[self._series or ""]
        if file.key in group.keys:
            file.state = State.DOUBLE
            return
        group.keys.add(file.key)
        self._numbers = self._numbers.with_file(file.key)
        self.changed = file.landed
        self._open[name] = file

    def _check(self, name: str, file: FrameFile, now: float) -> None:
        """See whether a file was written to; forget those that are done with."""
        try:
            signature = _signature(file.path)
        except FileNotFoundError:
            del self._open[name]
            if file.state is State.WAITING:
                # Written aside under a name like the frames', and renamed; or deleted unread.
                self._forget(name, file)
            return
        except OSError:
            return
        if signature != file.signature:
            file.signature, file.landed = signature, now
            self.changed = now
            file.retry_at, file.retry_after = now, _FIRST_RETRY_S
            if file.state in (State.TAKEN, State.BROKEN, State.OTHER_SIZE):
                file.state = State.WAITING
        elif file.state is State.WAITING and not signature[0] and now - file.landed > PATIENCE_S:
            file.state = State.TAKEN if file.analysed else State.BROKEN
            file.reason = f"{file.path} is empty (0 bytes)."
        elif file.state is not State.WAITING:
            longest = _BROKEN_WATCHED_S if file.state is State.BROKEN else _WATCHED_AFTERWARDS_S
            if now - file.landed > longest:
                del self._open[name]

    def _forget(self, name: str, file: FrameFile) -> None:
        group = self._groups[self._series or ""]
        del group.files[name]
        self._noted.discard(name)
        group.keys.discard(file.key)
        self._numbers = _Numbering()
        for key in sorted(group.keys):
            self._numbers = self._numbers.with_file(key)


@dataclass(frozen=True)
class _Numbering:
    """What the numbers in the names tell of gaps; a new one with each file, so that threads may read it."""

    first: tuple[int, ...] = ()
    varying: frozenset[int] = frozenset()
    step: int = 0
    count: int = 0
    low: int = 0
    high: int = 0

    def with_file(self, key: tuple[int, ...]) -> _Numbering:
        """The same with one more file."""
        first = self.first or key
        varying = self.varying | {i for i, (a, b) in enumerate(zip(key, first, strict=True)) if a != b}
        known = replace(self, first=first, varying=varying, count=self.count + 1)
        if len(varying) != 1:
            return known
        away = known.away(key)
        step, low, high = math.gcd(self.step, away), min(self.low, away), max(self.high, away)
        return replace(known, step=step, low=low, high=high)

    @property
    def missing(self) -> int | None:
        """See `GrowingFolder.missing`."""
        if len(self.varying) > 1:
            return None
        if not self.step:
            return 0
        gaps = (self.high - self.low) // self.step + 1 - self.count
        # Time stamps leave more gaps than frames: they do not count frames.
        return gaps if gaps <= self.count else None

    def place(self, key: tuple[int, ...]) -> int | None:
        """See `GrowingFolder.place`."""
        if self.missing is None:
            return None
        return (self.away(key) - self.low) // self.step if self.step else 0

    def away(self, key: tuple[int, ...]) -> int:
        """How far a file's number is from that of the first file."""
        column = next(iter(self.varying), 0)
        return key[column] - self.first[column]


def _is_limb(directory: str) -> bool:
    """Whether folders, not frames, lie in a folder of the tree: Hour_ and Minute_ hold few entries."""
    return not directory.rpartition("/")[2].lower().startswith("second_")


def _shape(name: str) -> str:
    """The pattern of a name: its numbers become #."""
    return re.sub(r"\d+", "#", name)


def _signature(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _read(path: Path, most_bytes: int) -> Picture:
    video = open_video(path)
    if len(video) != 1:
        raise VideoFileError(
            f"{path} is a series of {len(video)} frames; analyse that file itself, not its folder."
        )
    if 4 * video.size > most_bytes:
        raise VideoFileError(
            f"{path} has {video.shape[1]} × {video.shape[2]} px, more than the memory allowed holds; "
            "give more memory."
        )
    frame = np.asarray(video.data[0].compute(scheduler="synchronous", callbacks=()))
    return Picture(frame.astype(np.float32), pixel_size_nm(video), frame_time_s(video))
