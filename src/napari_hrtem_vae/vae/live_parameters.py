"""Parameters of an analysis that goes on while frames are recorded."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import ParameterError

FEWEST_FRAMES, MOST_FRAMES = 8, 100_000


@dataclass(frozen=True)
class WatchParameters:
    """Which frames of a growing folder are analysed, and when that ends.

    Parameters
    ----------
    last : int
        Maps and hotspots are those of so many frames, the newest; they are what is kept in memory.
    pattern : str
        Names of the frames as a shell has them, "frame_*.tif", where others lie beside them.
    until : int, optional
        End after so many frames; None: go on until it is stopped.
    idle : float, optional
        End when nothing has landed for so many s; None: go on waiting.
    pixel_size_nm, frame_time_s : float, optional
        Over what the files tell; in nm and s.

    Raises
    ------
    ParameterError
        A value lies outside its range.
    """

    last: int = 100
    pattern: str = "*"
    until: int | None = None
    idle: float | None = None
    pixel_size_nm: float | None = None
    frame_time_s: float | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.last, int) and FEWEST_FRAMES <= self.last <= MOST_FRAMES):
            raise ParameterError(
                f"last is {self.last!r}; give a whole number of frames from {FEWEST_FRAMES} to {MOST_FRAMES}."
            )
        if not self.pattern or "/" in self.pattern or "\\" in self.pattern:
            raise ParameterError(f"pattern is {self.pattern!r}; give names without a folder, frame_*.tif.")
        if self.until is not None and not (isinstance(self.until, int) and self.until >= 1):
            raise ParameterError(f"until is {self.until!r}; give a whole number of frames, 1 or more.")
        for name, unit in (("idle", "s"), ("pixel_size_nm", "nm"), ("frame_time_s", "s")):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ParameterError(f"{name} is {value!r}; give a positive number of {unit}.")
