"""Which frames of a growing folder are read next, and which are skipped for want of time."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from statistics import median

import numpy as np

from ..io.growing import FrameFile, GrowingFolder, Picture, State
from .live_parameters import WatchParameters
from .live_result import Counts, count_files

LOOK_EVERY_S = 0.1
FRAMES_AT_ONCE = 8
_READ_BYTES = 1 << 26
# More waits than can be analysed in so long: frames come faster than that, and some must be skipped.
_MOST_WAITING_S = 1.6
_BATCH_S = 0.4
_FEWEST_COSTS = 2
_COSTS_KEPT = 5


@dataclass(frozen=True)
class Found:
    """A file that was read in some seconds, or is to be skipped: then without a picture."""

    file: FrameFile
    picture: Picture | None
    seconds: float = 0.0
    read_at: float = 0.0


@dataclass(frozen=True)
class Looked:
    """What a look at a time gave: frames, what became of all files, when something landed last."""

    found: list[Found]
    seen: Counts
    at: float
    landed: float
    next_at: float


class Reading:
    """Looks into the folder and reads; used by one thread at a time.

    Parameters
    ----------
    folder : GrowingFolder
    watching : WatchParameters
    budget : int
        Bytes that the watch may take.
    """

    def __init__(self, folder: GrowingFolder, watching: WatchParameters, budget: int) -> None:
        self.folder, self._watching, self._budget = folder, watching, budget
        # Before the last ones when the watch began, and those of the last ones that wait still.
        self.earlier: list[FrameFile] = []
        self._existing: set[FrameFile] | None = None
        self._costs: deque[float] = deque(maxlen=_COSTS_KEPT)
        self._begun = False

    def note_cost(self, seconds: float) -> None:
        """Take note of what reading and encoding a frame took."""
        self._costs.append(seconds)

    def look(self, wanted: int | None) -> Looked:
        """Look, and read some of the frames that are ready, no more than `wanted`."""
        began = time.monotonic()
        self.folder.look(began)
        if self._existing is None:
            self._leave_earlier()
        ready, skipped = self._thinned(self.folder.ready(began))
        found = [Found(file, None) for file in skipped]
        room = _READ_BYTES
        for file in self._chosen(ready if wanted is None else ready[: max(wanted, 0)]):
            at = time.monotonic()
            picture = self.folder.read(file, at, self._budget // 8)
            if picture is not None:
                found.append(Found(file, picture, time.monotonic() - at, at))
                room -= picture.frame.nbytes
            if room <= 0:
                break
        self._begun = self._begun or bool(found)
        # A slow drive gets a rest between two looks.
        pause = LOOK_EVERY_S if found else max(LOOK_EVERY_S, 2 * (time.monotonic() - began))
        return Looked(found, count_files(self.folder), began, self.folder.changed or 0.0, began + pause)

    def _leave_earlier(self) -> None:
        """Of the frames that are there when the watch begins the last ones are analysed."""
        files = self.folder.files
        self.earlier = files[: -self._watching.last]
        self._existing = set(files[-self._watching.last :])
        for file in self.earlier:
            file.state = State.EARLIER

    def _thinned(self, ready: list[FrameFile]) -> tuple[list[FrameFile], list[FrameFile]]:
        """What to read and what to skip, where more waits than can be done in time.

        None is skipped of the frames that were there at the beginning, that could not be read so far, or
        that are read once more.
        """
        self._existing = {file for file in self._existing or () if file.state is State.WAITING}
        if self._existing or len(self._costs) < _FEWEST_COSTS:
            return ready, []
        new = [file for file in ready if not (file.reason or file.analysed)]
        fitting = self._fitting(_MOST_WAITING_S, len(new))
        if len(new) <= fitting:
            return ready, []
        # Half of what fits, so that skipping is soon over; the newest one stays.
        kept = {round(number) for number in np.linspace(len(new) - 1, 0, max(1, fitting // 2))}
        skipped = [file for number, file in enumerate(new) if number not in kept]
        for file in skipped:
            file.state = State.SKIPPED
        return [file for file in ready if file.state is not State.SKIPPED], skipped

    def _chosen(self, ready: list[FrameFile]) -> list[FrameFile]:
        """What to read now: the oldest; at first some from all over, so that the grey range holds for all."""
        if not self._begun and len(ready) > FRAMES_AT_ONCE:
            return [ready[round(number)] for number in np.linspace(0, len(ready) - 1, FRAMES_AT_ONCE)]
        return ready[: self._fitting(_BATCH_S, FRAMES_AT_ONCE)]

    def _fitting(self, seconds: float, most: int) -> int:
        """How many frames can be read and encoded in so long, as far as is known; at least one."""
        return min(most, max(1, int(seconds / median(self._costs)))) if self._costs else most
