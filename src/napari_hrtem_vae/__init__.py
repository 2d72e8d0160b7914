"""See what changes in in situ HRTEM videos.

The names of the public API are imported at first use: importing the package loads neither torch nor Qt.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .io import open_video as open_video
    from .io.results import open_result as open_result
    from .io.results import save_result as save_result
    from .lattice.analysis import track_grains as track_grains
    from .lattice.change import lattice_change as lattice_change
    from .lattice.parameters import LatticeParameters as LatticeParameters
    from .simulate import simulate as simulate
    from .vae.analysis import analyze as analyze
    from .vae.analysis import encode as encode
    from .vae.card import list_models as list_models
    from .vae.dynamics import map_dynamics as map_dynamics
    from .vae.images import train as train
    from .vae.meaning.calibration import calibrate as calibrate
    from .vae.meaning.response import latent_response as latent_response
    from .vae.model import load_model as load_model
    from .vae.model import save_model as save_model
    from .vae.parameters import AnalyzeParameters as AnalyzeParameters
    from .vae.recipe import Recipe as Recipe
    from .video.drift import align as align

__version__ = version("napari-hrtem-vae")

_HOMES = {
    "AnalyzeParameters": ".vae.parameters",
    "LatticeParameters": ".lattice.parameters",
    "Recipe": ".vae.recipe",
    "align": ".video.drift",
    "calibrate": ".vae.meaning.calibration",
    "analyze": ".vae.analysis",
    "encode": ".vae.analysis",
    "lattice_change": ".lattice.change",
    "list_models": ".vae.card",
    "load_model": ".vae.model",
    "map_dynamics": ".vae.dynamics",
    "latent_response": ".vae.meaning.response",
    "open_result": ".io.results",
    "open_video": ".io",
    "save_model": ".vae.model",
    "save_result": ".io.results",
    "simulate": ".simulate",
    "track_grains": ".lattice.analysis",
    "train": ".vae.images",
}
__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return __all__
