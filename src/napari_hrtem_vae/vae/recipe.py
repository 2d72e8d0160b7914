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
        A key of `ARCHITECTURES` that has an encoder and a decoder.
    scenes : str
        Simulated scenes: "fast" (columns as sums of cosines), "multislice" (atoms), or "both", half of each.
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
        Segments for training; a tenth as many, from other scenes or images, for validation.
    dose_e_per_px : tuple of float
        Range of the dose of simulated scenes, log-uniform, in electrons per px.
    pixel_size_nm : float, optional
        Pixel size in nm that images are resampled to; None takes that which most images have.
    fringe_threshold : float, optional
        Strength of fringes from which a segment of an image is taken; 0 takes all, None a strength that
        film and noise reach once in a hundred segments.
    contrast_jitter : float
        Each segment's contrast is multiplied by up to 1 + this, or divided.
    grey_jitter : float
        Each segment's grey values, 0…1, are shifted by up to this.
    dose_noise : float
        Noise of a standard deviation of up to this, in grey values, smoothed as frames are, is added to what
        the network sees, not to what it shall give.
    precision : str
        "float32", or "bfloat16" for the products within a step: twice as fast where the processor has it;
        weights and losses stay in float32.
    seed : int
        Seed of scenes, weights and order.
    teacher : str
        Name or file of a model whose code the encoder learns first, and whose decoder it begins with; empty
        for none. A small encoder learns a code that is there many times faster than it finds one.
    teaching_epochs : int
        Passes over the segments for that.
    """

    name: str = "custom"
    architecture: str = "unpadded"
    scenes: str = "fast"
    scaling: str = "video"
    smoothing_px: float = 1.5
    target: str = "noise-free"
    beta: float = 0.08
    warmup_epochs: int = 2
    epochs: int = 13
    batch: int = 32
    learning_rate: float = 1.0e-3
    segments: int = 12000
    dose_e_per_px: tuple[float, float] = (5.0, 500.0)
    pixel_size_nm: float | None = None
    fringe_threshold: float | None = None
    contrast_jitter: float = 0.0
    grey_jitter: float = 0.0
    dose_noise: float = 0.0
    precision: str = "float32"
    seed: int = 0
    teacher: str = ""
    teaching_epochs: int = 40

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ParameterError(f"name is {self.name!r}; give a word.")
        if not isinstance(self.teacher, str):
            raise ParameterError(f"teacher is {self.teacher!r}; give a model's name or file, or ''.")
        for name, allowed in (
            ("architecture", _trainable()),
            ("scenes", ("fast", "multislice", "both")),
            ("scaling", ("video", "window")),
            ("target", ("noise-free", "input")),
            ("precision", ("float32", "bfloat16")),
        ):
            if not isinstance(getattr(self, name), str) or getattr(self, name) not in allowed:
                raise ParameterError(f"{name} is {getattr(self, name)!r}; give one of {', '.join(allowed)}.")
        for name, least, most in (
            ("epochs", 1, 100_000),
            ("warmup_epochs", 0, 100_000),
            ("batch", 1, 65_536),
            ("segments", 1, 10_000_000),
            ("teaching_epochs", 1, 100_000),
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
        for name, limit in (
            ("fringe_threshold", 1e6),
            ("contrast_jitter", 10.0),
            ("grey_jitter", 1.0),
            ("dose_noise", 1.0),
        ):
            value = getattr(self, name)
            if value is None and name == "fringe_threshold":
                continue
            if not _is_number(value) or not 0 <= value <= limit:
                raise ParameterError(f"{name} is {value!r}; give a number from 0 to {limit:g}.")
        size = self.pixel_size_nm
        if size is not None and (not _is_number(size) or not 1e-4 <= size <= 1e3):
            raise ParameterError(f"pixel_size_nm is {size!r}; give a number from 0.0001 to 1000, in nm.")
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


def _trainable() -> tuple[str, ...]:
    """Architectures with both parts."""
    made = {name: make() for name, make in ARCHITECTURES.items()}
    return tuple(name for name, one in made.items() if one.encoder is not None and one.decoder is not None)


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
    if not isinstance(entries, dict):
        raise ParameterError(f"The recipe {name_or_path} is no list of 'name: value'; see docs/models.md.")
    known = [entry.name for entry in fields(Recipe)]
    foreign = [str(name) for name in entries if name not in known]
    if foreign:
        raise ParameterError(
            f"The recipe {name_or_path} has an entry {foreign[0]!r}, which none has; "
            f"allowed are {', '.join(known)}."
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
