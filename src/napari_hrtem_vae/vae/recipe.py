"""Training recipes: small YAML files, read into a frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path

import yaml

from ..errors import ParameterError
from .architecture import ARCHITECTURES


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Parameters
    ----------
    name : str
        Name of the model.
    architecture : str
        A key of `ARCHITECTURES`.
    scaling : str
        "video" (one range for all windows of a video) or "window" (each by its own extremes).
    smoothing_px : float
        Standard deviation of the Gaussian that every frame passes before windows are cut, in px.
    target : str
        "noise-free" (the simulated truth) or "input".
    beta : float
        Weight of the Kullback-Leibler term.
    warmup_epochs : int
        Epochs over which β rises linearly to its value, from the first step on.
    epochs, batch : int
        Passes over the segments, segments a step.
    learning_rate : float
        Peak of the one-cycle schedule of Adam.
    segments : int
        Simulated segments for training; a tenth as many, from other scenes, for validation.
    dose_e_per_px : tuple of float
        Range of the dose, log-uniform, in electrons per px.
    seed : int
        Seed of scenes, weights and order.
    """

    name: str = "custom"
    architecture: str = "unpadded"
    scaling: str = "video"
    smoothing_px: float = 1.5
    target: str = "noise-free"
    beta: float = 0.3
    warmup_epochs: int = 4
    epochs: int = 13
    batch: int = 64
    learning_rate: float = 1.2e-3
    segments: int = 12000
    dose_e_per_px: tuple[float, float] = (5.0, 500.0)
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "dose_e_per_px", tuple(float(dose) for dose in self.dose_e_per_px))
        for name, allowed in (
            ("architecture", tuple(ARCHITECTURES)),
            ("scaling", ("video", "window")),
            ("target", ("noise-free", "input")),
        ):
            if getattr(self, name) not in allowed:
                raise ParameterError(f"{name} is {getattr(self, name)!r}; give one of {', '.join(allowed)}.")
        for name in ("epochs", "batch", "segments"):
            if not (isinstance(getattr(self, name), int) and getattr(self, name) > 0):
                raise ParameterError(f"{name} is {getattr(self, name)!r}; give a whole number above 0.")
        for name in ("beta", "learning_rate"):
            if not getattr(self, name) > 0:
                raise ParameterError(f"{name} is {getattr(self, name)!r}; give a number above 0.")
        if not self.smoothing_px >= 0:
            raise ParameterError(f"smoothing_px is {self.smoothing_px!r}; give 0 or more.")
        if len(self.dose_e_per_px) != 2 or not 0 < self.dose_e_per_px[0] <= self.dose_e_per_px[1]:
            raise ParameterError(f"dose_e_per_px is {self.dose_e_per_px!r}; give two doses, the lower first.")


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Read a recipe of the package by name, or a YAML file.

    Raises
    ------
    ParameterError
        No such recipe, not YAML, or an entry that is none of a recipe's.
    """
    path = Path(name_or_path)
    shipped = files("napari_hrtem_vae.vae") / "recipes" / f"{name_or_path}.yaml"
    if not path.is_file() and not shipped.is_file():
        names = ", ".join(recipe_names())
        raise ParameterError(f"There is no recipe {name_or_path}; give a YAML file or one of {names}.")
    try:
        entries = yaml.safe_load(path.read_text() if path.is_file() else shipped.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParameterError(f"The recipe {name_or_path} is not YAML; see docs/models.md for one.") from error
    known = {entry.name for entry in fields(Recipe)}
    if not isinstance(entries, dict) or set(entries) - known:
        raise ParameterError(
            f"The recipe {name_or_path} may hold these entries only: {', '.join(sorted(known))}."
        )
    try:
        return Recipe(**entries)
    except TypeError as error:
        raise ParameterError(f"The recipe {name_or_path} has an entry of a wrong kind ({error}).") from error


def recipe_names() -> list[str]:
    """Names of the recipes in the package."""
    folder = files("napari_hrtem_vae.vae") / "recipes"
    return sorted(
        entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")
    )
