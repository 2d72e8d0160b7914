"""Long work in a thread: the same generators that a plain call drives, with signals for the widgets.

napari's own generator workers swallow `RuntimeError` and run the generator's `finally` after `finished`;
this one reports every exception and closes the generator first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QObject, Signal

from ..errors import HrtemVaeError

log = logging.getLogger(__name__)
INTERVAL_S = 0.1


@dataclass(frozen=True)
class Outcome:
    """How work ended: with a `result`, with an `error` (a sentence), or `cancelled`."""

    result: Any = None
    error: str = ""
    cancelled: bool = False


def sentence_of(error: BaseException) -> str:
    """One sentence for the user about `error`, whatever its class."""
    if isinstance(error, HrtemVaeError):
        return str(error)
    if isinstance(error, MemoryError):
        return "There is not enough memory; set a lower limit under Options, or close other programs."
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return f"The system says: {error.strerror}{where}; check the file, its folder and the free space."
    text = str(error).strip().splitlines()
    detail = text[0] if text else "no details"
    return f"Something unforeseen happened ({type(error).__name__}: {detail}); please report it."


class _Signals(QObject):
    progressed = Signal(object)
    ended = Signal(object)


class Work:
    """Drives a generator in a thread of its own.

    Parameters
    ----------
    make_steps : callable
        Makes the generator; called inside the thread.

    Notes
    -----
    `progressed` hands over the list of all that was yielded since the last time, ten times a second at
    most; `ended` hands over the `Outcome` once, after the generator is closed. Both arrive in the thread
    that made this object.
    """

    def __init__(self, make_steps: Callable[[], Generator[Any, None, Any]]) -> None:
        self._make_steps = make_steps
        self._signals = _Signals()  # without a parent: lives as long as the thread needs it
        self.progressed = self._signals.progressed
        self.ended = self._signals.ended
        self._stop = threading.Event()
        self._silent = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hrtem-vae work", daemon=False)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Ask for an end at the next step; `ended` tells when."""
        self._stop.set()

    def abandon(self) -> None:
        """Ask for an end and send no signal any more: nobody is there to hear it."""
        self._silent.set()
        self._stop.set()

    @property
    def running(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait for the thread."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        gathered: list[Any] = []
        steps: Generator[Any, None, Any] | None = None
        last = -INTERVAL_S
        try:
            steps = self._make_steps()
            while True:
                if self._stop.is_set():
                    outcome = Outcome(cancelled=True)
                    break
                try:
                    gathered.append(next(steps))
                except StopIteration as end:
                    outcome = Outcome(result=end.value)
                    break
                if time.monotonic() - last >= INTERVAL_S:
                    self._emit("progressed", gathered)
                    gathered = []
                    last = time.monotonic()
        except BaseException as error:
            if not isinstance(error, HrtemVaeError):
                log.exception("work failed")
            outcome = Outcome(error=sentence_of(error))
        outcome = _closed(steps, outcome)
        if gathered:
            self._emit("progressed", gathered)
        self._emit("ended", outcome)

    def _emit(self, name: str, value: Any) -> None:
        if self._silent.is_set():
            return
        try:
            getattr(self._signals, name).emit(value)
        except RuntimeError:  # the window went away between the check and the signal
            log.debug("nobody hears %s", name)


def _closed(steps: Generator[Any, None, Any] | None, outcome: Outcome) -> Outcome:
    """Run the generator's `finally`; an error in there is an error of the work."""
    if steps is None:
        return outcome
    try:
        steps.close()
    except BaseException as error:
        log.exception("work failed while it ended")
        return Outcome(error=sentence_of(error))
    return outcome


class Latest:
    """Runs short functions in a thread, one at a time; of those that wait only the newest is run.

    Parameters
    ----------
    on_error : callable
        Takes the sentence of one that failed, unless something newer waits.
    each : bool
        A value is handed over though something newer waits: for what follows a video that plays, where
        something newer waits always. `take` must then bear a value that is out of date.
    """

    def __init__(self, on_error: Callable[[str], None], *, each: bool = False) -> None:
        self._on_error = on_error
        self._each = each
        self._work: Work | None = None
        self._closed = False
        self._take: Callable[[Any], None] | None = None
        self._waiting: tuple[Callable[[], Any], Callable[[Any], None]] | None = None

    def submit(self, compute: Callable[[], Any], take: Callable[[Any], None]) -> None:
        """Run `compute` in the thread and hand its value to `take` here; see `each` for when newer comes."""
        if self._closed:
            return
        if self._work is not None:
            self._waiting = (compute, take)
            return

        def steps() -> Generator[Any, None, Any]:
            yield None
            return compute()

        self._take = take
        self._work = Work(steps)
        self._work.ended.connect(self._ended)
        self._work.start()

    def _ended(self, outcome: Outcome) -> None:
        if self._closed:
            return
        take, self._work = self._take, None
        waiting, self._waiting = self._waiting, None
        if waiting is not None:  # before `take`, which may submit something newer still
            self.submit(*waiting)
            if outcome.error or not self._each:
                return
        if outcome.error:
            self._on_error(outcome.error)
        elif not outcome.cancelled and take is not None:
            take(outcome.result)

    @property
    def busy(self) -> bool:
        """Whether something runs or waits."""
        return self._work is not None

    def close(self) -> None:
        """Drop what runs and what waits, and take nothing more."""
        self._closed = True
        self._waiting = None
        if self._work is not None:
            self._work.abandon()
            self._work = None
