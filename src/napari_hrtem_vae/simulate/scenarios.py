"""Named scenarios: videos with their truth, as one Dataset."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..progress import Progress, Steps, run
from .parameters import ScenarioParameters
from .scenes import SCENARIOS
from .simulation import Simulation
from .writing import save_simulation, truth_path, write_simulation_steps

__all__ = [
    "SCENARIOS",
    "ScenarioParameters",
    "sample_path",
    "save_simulation",
    "simulate",
    "simulate_steps",
    "truth_path",
    "write_simulation_steps",
]


def simulate_steps(scenario: str, parameters: ScenarioParameters) -> Steps[xr.Dataset]:
    """Simulate a video with its truth; yields progress by the frame.

    Returns
    -------
    Dataset
        `video` (time, y, x), uint16 counts. Truth, by frame and grain: `angle_deg`, `area_nm2`,
        `displacement_y_px`, `displacement_x_px`, `contrast` (of the fringes, 1 at first); by frame:
        `shift_y_px`, `shift_x_px` (drift and jitter), `defocus_nm` (from Scherzer's), `beam`, and
        `misfit_deg` where there are two grains; `presence` (time, grain, y, x) bool; `change` (time, y, x),
        bits of what has changed since the first frame, `attrs["flag_meanings"]`; `moving` (y, x), the kind
        of change over the video where the specimen lies without shift, `attrs["names"]`.

    Raises
    ------
    ParameterError
        No such scenario, or the video is larger than half of the memory that is free.
    """
    simulation = Simulation(scenario, parameters)
    sizes, layout = simulation.sizes(), simulation.layout()
    arrays = {
        name: np.empty([sizes[dim] for dim in dims], dtype) for name, (dims, dtype, _) in layout.items()
    }
    areas: list[list[float]] = []
    yield Progress(0, parameters.frames, "Simulating")
    for frame in simulation.frames():
        if frame is not None:
            index = len(areas)
            arrays["video"][index], arrays["presence"][index] = frame.counts, frame.presence
            arrays["change"][index] = frame.change
            areas.append(frame.area_px)
        yield Progress(len(areas), parameters.frames, "Simulating")
    table = simulation.tables(areas)
    return table.assign({name: (layout[name][0], array, layout[name][2]) for name, array in arrays.items()})


def simulate(scenario: str, *, seed: int = 0, dose: float = 10.0, **options: Any) -> xr.Dataset:
    """A video with its truth; see `simulate_steps`.

    Parameters
    ----------
    scenario : str
        A key of `SCENARIOS`, or several joined by +: "rotation+growth+static" is three crystals.
    seed : int
    dose : float
        Electrons per pixel and frame.
    **options
        Other fields of `ScenarioParameters`.
    """
    return run(simulate_steps(scenario, ScenarioParameters(seed=seed, dose_e_per_px=dose, **options)))


def sample_path() -> Path:
    """The sample video in the package."""
    return Path(str(files("napari_hrtem_vae") / "sample_data" / "annealing-pair.zarr"))
