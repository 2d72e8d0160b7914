"""Named scenarios: videos with their truth, as one Dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import ParameterError
from ..progress import Progress, Steps, run
from .material import columns, faceted_crystal, film

_SHARPNESS = np.array([1.2, 1.2], np.float32)
_MARGIN = 32


@dataclass(frozen=True)
class ScenarioParameters:
    """Size and imaging conditions of a scenario.

    Parameters
    ----------
    frames, rows, columns : int
        Of the video.
    dose_e_per_px : float
        Electrons per pixel and frame.
    period_px, pixel_size_nm : float
        Distance of atom columns in px; pixel size in nm.
    frame_time_s : float
        In s.
    contrast : float
        Depth of an atom column against the film's grey level 1.
    jitter_px : float
        Standard deviation of the position of each frame: what drift correction leaves.
    flicker : float
        Standard deviation of the beam from frame to frame, as a share.
    seed : int
        The same gives the same video to the bit.
    """

    frames: int = 40
    rows: int = 384
    columns: int = 640
    dose_e_per_px: float = 10.0
    period_px: float = 21.2
    pixel_size_nm: float = 0.014
    frame_time_s: float = 0.95
    contrast: float = 0.3
    jitter_px: float = 0.2
    flicker: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("frames", "rows", "columns"):
            value = getattr(self, name)
            if not (isinstance(value, int) and 1 <= value <= 100_000):
                raise ParameterError(f"{name} is {value!r}; give a whole number from 1 to 100000.")
        if not isinstance(self.seed, int | np.integer) or self.seed < 0:
            raise ParameterError(f"seed is {self.seed!r}; give a whole number, 0 or more.")
        for name, least, most in (
            ("dose_e_per_px", 1e-6, 1e6),
            ("period_px", 2, 1000),
            ("pixel_size_nm", 1e-6, 1e6),
            ("frame_time_s", 1e-12, 1e6),
            ("contrast", 0, 10),
            ("jitter_px", 0, _MARGIN),
            ("flicker", 0, 1),
        ):
            value = getattr(self, name)
            if not (isinstance(value, int | float | np.integer | np.floating) and least <= value <= most):
                raise ParameterError(f"{name} is {value!r}; give a number from {least:g} to {most:g}.")


@dataclass(frozen=True)
class Grain:
    """One crystal in one frame: angle in degrees (clockwise on a screen), centre and radii in px (y, x).

    The columns turn about `pivot`, so that a grain whose centre moves as it shrinks keeps its lattice.
    """

    angle_deg: float
    centre: tuple[float, float]
    radii: tuple[float, float]
    pivot: tuple[float, float]


Motion = Callable[[ScenarioParameters, float], list[Grain]]


def annealing_pair(p: ScenarioParameters, t: float) -> list[Grain]:
    """Two attached crystals: misfit 13.7° to 9.3°, the left one shrinks from its outer side by a quarter."""
    misfit = 13.7 + (9.3 - 13.7) * t
    half = 0.36 * p.rows
    interface = p.columns / 2
    left = 0.21 * p.columns * (1 - 0.25 * t)
    right = 0.21 * p.columns
    middle = p.rows / 2
    return [
        Grain(
            7 - misfit / 2,
            (middle, interface - left),
            (half * (1 - 0.1 * t), left),
            (middle, interface - right),
        ),
        Grain(7 + misfit / 2, (middle, interface + right), (half, right), (middle, interface + right)),
    ]


def rotation(p: ScenarioParameters, t: float) -> list[Grain]:
    """One crystal turns by 5° about its centre, another stays still."""
    return _two_apart(p, angles=(10 + 5 * t, 30.0))


def static(p: ScenarioParameters, t: float) -> list[Grain]:
    """Two crystals; nothing changes."""
    return _two_apart(p, angles=(10.0, 30.0))


def _two_apart(p: ScenarioParameters, angles: tuple[float, float]) -> list[Grain]:
    radius = 0.35 * min(p.rows, p.columns / 2)
    places = [(p.rows / 2, 0.25 * p.columns), (p.rows / 2, 0.75 * p.columns)]
    return [Grain(angle, place, (radius, radius), place) for angle, place in zip(angles, places, strict=True)]


SCENARIOS: dict[str, Motion] = {"annealing-pair": annealing_pair, "rotation": rotation, "static": static}


def simulate_steps(scenario: str, parameters: ScenarioParameters) -> Steps[xr.Dataset]:
    """Simulate a video with its truth; yields progress by the frame.

    Returns
    -------
    Dataset
        `video` (time, y, x), uint16 counts; truth: `angle_deg` (time, grain), `misfit_deg` (time),
        `area_nm2` (time, grain), `presence` (time, grain, y, x) bool, `shift_y_px`, `shift_x_px` (time).

    Raises
    ------
    ParameterError
        No such scenario, or the video is larger than half of the memory that is free.
    """
    if scenario not in SCENARIOS:
        raise ParameterError(f"There is no scenario {scenario}; give one of {', '.join(SCENARIOS)}.")
    p = parameters
    _check_memory(p)
    rng = np.random.default_rng(p.seed)
    wide = (p.rows + 2 * _MARGIN, p.columns + 2 * _MARGIN)
    support = film(rng, wide, 2.5 * p.period_px / 20, 0.03)
    phases = rng.uniform(0, 2 * np.pi, (8, 2)).astype(np.float32)
    shifts = rng.normal(0, p.jitter_px, (p.frames, 2))
    beam = np.maximum(1 + p.flicker * rng.standard_normal(p.frames), 0)
    y, x = np.mgrid[: p.rows, : p.columns].astype(np.float32)
    video = np.empty((p.frames, p.rows, p.columns), np.uint16)
    presence: list[NDArray[np.bool_]] = []
    angles: list[list[float]] = []
    areas: list[list[float]] = []
    for frame in range(p.frames):
        yield Progress(frame, p.frames, "Simulating")
        grains = SCENARIOS[scenario](p, frame / max(p.frames - 1, 1))
        dy, dx = shifts[frame]
        moved = ndimage.shift(support, (dy, dx), order=1, mode="nearest")
        image = 1 + moved[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
        envelopes = [faceted_crystal(y - dy, x - dx, grain.centre, grain.radii) for grain in grains]
        for grain, envelope, phase in zip(grains, envelopes, phases, strict=False):
            net = columns(
                y - dy - grain.pivot[0],
                x - dx - grain.pivot[1],
                p.period_px,
                np.deg2rad(grain.angle_deg),
                phase,
                _SHARPNESS,
            )
            image = image - envelope * np.float32(p.contrast) * (net + np.float32(0.3))
        video[frame] = rng.poisson(np.maximum(image, 0.02) * (p.dose_e_per_px * beam[frame])).clip(0, 65535)
        presence.append(np.stack([envelope > 0.5 for envelope in envelopes]))
        angles.append([grain.angle_deg for grain in grains])
        areas.append([float(envelope.sum()) * p.pixel_size_nm**2 for envelope in envelopes])
    return _dataset(scenario, p, video, np.stack(presence), np.array(angles), np.array(areas), shifts)


def _check_memory(p: ScenarioParameters) -> None:
    """Refuse a video that would not fit, before memory is taken."""
    from ..io.memory import memory_budget

    # A pixel of the video takes two bytes, and two for each of two crystals; one at work about 200.
    need = p.rows * p.columns * (p.frames * 6 + 200)
    half = 2 * memory_budget()
    if need > half:
        raise ParameterError(
            f"A video of {p.frames} frames of {p.rows} × {p.columns} px takes {need / 1e9:.1f} GB here, "
            f"over half of the free memory ({half / 1e9:.1f} GB); give fewer frames, rows or columns."
        )


def _dataset(
    scenario: str,
    p: ScenarioParameters,
    video: NDArray[np.uint16],
    presence: NDArray[np.bool_],
    angles: NDArray[np.float64],
    areas: NDArray[np.float64],
    shifts: NDArray[np.float64],
) -> xr.Dataset:
    nm = {"units": "nm"}
    attributes = {
        "pixel_size_nm": p.pixel_size_nm,
        "frame_time_s": p.frame_time_s,
        "source": f"simulated {scenario}",
    }
    return xr.Dataset(
        {
            "video": (("time", "y", "x"), video, {**attributes, "units": "counts"}),
            "angle_deg": (("time", "grain"), angles, {"units": "deg"}),
            "misfit_deg": ("time", angles[:, 1] - angles[:, 0], {"units": "deg"}),
            "area_nm2": (("time", "grain"), areas, {"units": "nm²"}),
            "presence": (("time", "grain", "y", "x"), presence),
            "shift_y_px": ("time", shifts[:, 0], {"units": "px"}),
            "shift_x_px": ("time", shifts[:, 1], {"units": "px"}),
        },
        coords={
            "time": ("time", np.arange(p.frames) * p.frame_time_s, {"units": "s"}),
            "y": ("y", np.arange(p.rows) * p.pixel_size_nm, nm),
            "x": ("x", np.arange(p.columns) * p.pixel_size_nm, nm),
        },
        attrs={"scenario": scenario, "seed": p.seed, "dose_e_per_px": p.dose_e_per_px},
    )


def simulate(scenario: str, *, seed: int = 0, dose: float = 10.0, **options: float) -> xr.Dataset:
    """A video with its truth; see `simulate_steps`.

    Parameters
    ----------
    scenario : str
        A key of `SCENARIOS`.
    seed : int
    dose : float
        Electrons per pixel and frame.
    **options
        Other fields of `ScenarioParameters`.
    """
    return run(simulate_steps(scenario, ScenarioParameters(seed=seed, dose_e_per_px=dose, **options)))  # type: ignore[arg-type]


def truth_path(video: str | Path) -> Path:
    """Where the truth of a simulated video lies: beside it."""
    path = Path(video)
    return path.with_name(f"{path.stem}-truth.zarr")


def save_simulation(dataset: xr.Dataset, path: str | Path) -> tuple[Path, Path]:
    """Write the video and, beside it, its truth.

    Raises
    ------
    ResultError
        A place is taken, or cannot be written.
    """
    from ..io.results import check_place, save_result

    truth = truth_path(path)
    for place in (path, truth):
        check_place(place, resumable=False)
    chunked = dataset[["video"]].chunk(time=10, y=-1, x=-1)
    chunked.attrs = {**dataset.attrs}
    return save_result(chunked, path), save_result(dataset.drop_vars("video").chunk(), truth)


def sample_path() -> Path:
    """The sample video in the package."""
    return Path(str(files("napari_hrtem_vae") / "sample_data" / "annealing-pair.zarr"))
