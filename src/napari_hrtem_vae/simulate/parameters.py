"""Parameters of a scenario: one frozen dataclass, the source of options, labels and tooltips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import ParameterError
from .detector import Detector
from .fields import described

IMAGINGS = ("fast", "multislice")
DEVICES = ("auto", "cpu", "cuda", "mps")
LARGEST_JITTER_PX = 32


@dataclass(frozen=True)
class ScenarioParameters(Detector):
    """Size, specimen and imaging conditions of a scenario; dose and camera are `Detector`'s.

    Parameters
    ----------
    frames, rows, columns : int
        Of the video.
    period_px, pixel_size_nm : float
        Distance of atom columns in px; pixel size in nm. Multislice takes the period of PbS at the pixel
        size.
    frame_time_s : float
        In s.
    amount : float
        How much happens, as a multiple of what the scenario says.
    contrast : float
        Depth of an atom column against the film's grey level 1 (fast imaging).
    film : float
        Standard deviation of the amorphous film's speckle (fast imaging); 0: no film, of multislice too.
    film_change : float
        Share of the film's speckle that is another in the last frame.
    jitter_px : float
        Standard deviation of the position of each frame: what drift correction leaves.
    drift_px, jump_px : float, optional
        Way that the stage drifts smoothly over the video; length of each of two sudden steps. None: 20 and 4
        px in `drift`, 0 elsewhere.
    defocus_change_nm, defocus_wobble_nm : float
        Change of the defocus from the first frame to the last, from Scherzer's; amplitude of a slow wave of
        it.
    imaging : str
        "fast": nets of columns; "multislice": atoms of PbS.
    thickness_nm : float
        Of the crystals along the beam (multislice).
    device : str
        Where multislice is calculated: "auto", "cpu", "cuda", "mps".
    seed : int
        The same gives the same video to the bit, on one machine.

    Raises
    ------
    ParameterError
        A value lies outside its range.
    """

    frames: int = described(40, "Frames", "Number of frames.", min=1, max=100_000)
    rows: int = described(384, "Rows [px]", "Height of a frame in px.", min=1, max=100_000)
    columns: int = described(640, "Columns [px]", "Width of a frame in px.", min=1, max=100_000)
    period_px: float = described(
        21.2, "Period [px]", "Distance of atom columns in px (fast).", min=2.0, max=1000.0
    )
    pixel_size_nm: float = described(0.014, "Pixel size [nm]", "Pixel size in nm.", min=1e-6, max=1e6)
    frame_time_s: float = described(0.95, "Frame time [s]", "Time of a frame in s.", min=1e-12, max=1e6)
    amount: float = described(
        1.0, "Amount", "How much happens, as a multiple of what the scenario says.", min=0.0, max=10.0
    )
    contrast: float = described(
        0.3, "Contrast", "Depth of an atom column against grey level 1 (fast).", min=0.0, max=10.0
    )
    film: float = described(
        0.03, "Film", "Standard deviation of the film's speckle; 0: no film.", min=0.0, max=1.0
    )
    film_change: float = described(
        0.0, "Film renewed", "Share of the film's speckle that is another at the end.", min=0.0, max=1.0
    )
    jitter_px: float = described(
        0.2,
        "Jitter [px]",
        "Standard deviation of the position of each frame.",
        min=0.0,
        max=float(LARGEST_JITTER_PX),
    )
    drift_px: float | None = described(
        None, "Drift [px]", "Smooth drift over the video; empty: as the scenario.", min=0.0, max=1000.0
    )
    jump_px: float | None = described(
        None, "Jumps [px]", "Length of two sudden steps; empty: as the scenario.", min=0.0, max=1000.0
    )
    defocus_change_nm: float = described(
        0.0,
        "Defocus change [nm]",
        "Change of the defocus over the video, from Scherzer's.",
        min=-1000.0,
        max=1000.0,
    )
    defocus_wobble_nm: float = described(
        0.0, "Defocus wobble [nm]", "Amplitude of a slow wave of the defocus.", min=0.0, max=1000.0
    )
    imaging: str = described(
        "fast", "Imaging", "Nets of atom columns (fast), or atoms of PbS (multislice).", choices=IMAGINGS
    )
    thickness_nm: float = described(
        5.0, "Thickness [nm]", "Of the crystals along the beam (multislice).", min=0.3, max=50.0
    )
    device: str = described("cpu", "Device", "Where multislice is calculated.", choices=DEVICES)
    seed: int = described(0, "Seed", "The same gives the same video.", max=2**31 - 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        # A seed may be of any length: no range in the field.
        if not isinstance(self.seed, int | np.integer) or self.seed < 0:
            raise ParameterError(f"seed is {self.seed!r}; give a whole number, 0 or more.")
