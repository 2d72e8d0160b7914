"""Long work as generators: what they yield while they work, and the driver of a plain call."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

import xarray as xr

from .errors import CancelledError

Result = TypeVar("Result")


@dataclass(frozen=True)
class Progress:
    """What long work yields at every batch.

    Parameters
    ----------
    done, total : int
        Units of work finished, and in all.
    message : str
        What is being done now, for a person.
    finished : xarray.Dataset, optional
        The block that has just become final, with the coordinates of where it belongs.
    """

    done: int
    total: int
    message: str = ""
    finished: xr.Dataset | None = None


Steps = Generator[Progress, None, Result]


def relabel(steps: Steps[Result], progress: Callable[[], Progress]) -> Steps[Result]:
    """Drive `steps` as a part of larger work, whose own `progress` is reported instead of theirs."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result
        yield progress()


def run(
    steps: Steps[Result],
    *,
    on_progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Result:
    """Drive `steps` to the end and return its result.

    Parameters
    ----------
    steps : generator of Progress
        The work.
    on_progress : callable, optional
        Called with each `Progress`.
    stop : callable, optional
        Asked at each `Progress`; when true the work is closed.

    Raises
    ------
    CancelledError
        `stop` said so.
    """
    while True:
        try:
            progress = next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result
        if on_progress is not None:
            on_progress(progress)
        if stop is not None and stop():
            steps.close()
            raise CancelledError("Stopped before the end, as asked.")
