"""Videos and segments with known truth.

`napari_hrtem_vae.simulate` is this room and, as the public API has it, the function too.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import xarray as xr

from .scenarios import SCENARIOS, ScenarioParameters, sample_path, simulate

__all__ = ["SCENARIOS", "ScenarioParameters", "sample_path", "simulate"]


class _CallableRoom(ModuleType):
    """Importing a room binds it to its name in the package, over the function of that name."""

    def __call__(self, scenario: str, **options: Any) -> xr.Dataset:
        return simulate(scenario, **options)


sys.modules[__name__].__class__ = _CallableRoom
