"""Training recipes: small YAML files, read into a frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from ..errors import ParameterError
from .architecture import ARCHITECTURES

_LARGEST_DOSE = 1e6


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
        if not isinstance(self.name, str) or not self.name:
            raise ParameterError(f"name is {self.name!r}; give a word.")
        for name, allowed in (
            ("architecture", tuple(ARCHITECTURES)),
            ("scaling", ("video", "window")),
            ("target", ("noise-free", "input")),
        ):
            if getattr(self, name) not in allowed:
                raise ParameterError(f"{name} is {getattr(self, name)!r}; give one of {', '.join(allowed)}.")
        for name, least, most in (
            ("epochs", 1, 100_000),
            ("warmup_epochs", 0, 100_000),
            ("batch", 1, 65_536),
            ("segments", 1, 10_000_000),
            ("seed", 0, 2**32 - 1),
        ):
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise ParameterError(f"{name} is {value!r}; give a whole number from {least} to {most}.")
        for name in ("beta", "learning_rate"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 < value <= 1e6:
                raise ParameterError(f"{name} is {value!r}; give a number above 0, at most 1e6.")
        window = ARCHITECTURES[self.architecture]().window
        if not _is_number(self.smoothing_px) or not 0 <= self.smoothing_px <= window:
            raise ParameterError(f"smoothing_px is {self.smoothing_px!r}; give a number from 0 to {window}.")
        doses = self.dose_e_per_px
        if (
            not isinstance(doses, list | tuple)
            or len(doses) != 2
            or not all(_is_number(dose) for dose in doses)
            or not 0 < doses[0] <= doses[1] <= _LARGEST_DOSE
        ):
            raise ParameterError(
                f"dose_e_per_px is {doses!r}; give two doses up to {_LARGEST_DOSE:g}, the lower first."
            )
        object.__setattr__(self, "dose_e_per_px", (float(doses[0]), float(doses[1])))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


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
        text = (path if path.is_file() else shipped).read_text(encoding="utf-8")
        entries = yaml.safe_load(text)
    except OSError as error:
        raise ParameterError(
            f"The recipe {name_or_path} cannot be read ({error.strerror or error}); check its permissions."
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
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
