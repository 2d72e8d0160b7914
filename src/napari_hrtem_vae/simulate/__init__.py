"""Videos and segments with known truth.

`napari_hrtem_vae.simulate` is this room and, as the public API has it, the function too.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr

    from .legacy import simulate_image as simulate_image
    from .parameters import ScenarioParameters as ScenarioParameters
    from .scenarios import sample_path as sample_path
    from .scenarios import simulate as simulate
    from .scenes import SCENARIOS as SCENARIOS

_HOMES = {
    "SCENARIOS": ".scenes",
    "ScenarioParameters": ".parameters",
    "sample_path": ".scenarios",
    "simulate": ".scenarios",
    "simulate_image": ".legacy",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


class _CallableRoom(ModuleType):
    """Importing a room binds it to its name in the package, over the function of that name."""

    def __call__(self, scenario: str, **options: Any) -> xr.Dataset:
        from .scenarios import simulate

        return simulate(scenario, **options)


sys.modules[__name__].__class__ = _CallableRoom
