"""The model card: all that is known of a model, readable without torch."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..errors import ModelFileError
from .architecture import Architecture

FORMAT = "1"
_LARGEST_HEADER = 16 * 2**20


@dataclass(frozen=True)
class ModelCard:
    """What a model is, what it expects, and how it came to be.

    Parameters
    ----------
    name : str
        Name in lists and results.
    architecture : Architecture
        Layers of encoder and decoder.
    scaling : str
        "video" or "window": how grey values come to 0…1.
    smoothing_px : float
        Standard deviation of the Gaussian that frames pass first, in px of the model.
    material : str
        What it was trained on.
    pixel_size_nm : float or None
        Pixel size that it was trained at, in nm.
    period_px : float or None
        Mean fringe period that it was trained on, in px.
    step : int
        Distance between neighbouring windows that it is meant for, in px.
    licence, summary : str
        For lists.
    training : dict
        Recipe, loss curves, active latents, data, seed, comparisons.
    """

    name: str
    architecture: Architecture
    scaling: str = "video"
    smoothing_px: float = 0.0
    material: str = "unknown"
    pixel_size_nm: float | None = None
    period_px: float | None = None
    step: int = 8
    licence: str = "unknown"
    summary: str = ""
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def window(self) -> int:
        """Side of the window in px."""
        return self.architecture.window

    @property
    def latents(self) -> int:
        """Number of latents."""
        return self.architecture.latents

    def to_json(self) -> str:
        """As JSON text, as the model file holds it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read what `to_json` wrote.

        Raises
        ------
        ModelFileError
            The text is none, or an entry is missing, foreign or out of range.
        """
        try:
            entries = json.loads(text)
            known = {entry.name for entry in fields(cls)}
            if not isinstance(entries, Mapping) or set(entries) - known:
                raise ValueError("foreign entries")
            data = dict(entries)
            data["architecture"] = Architecture.from_dict(data["architecture"])
            card = cls(**data)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ModelFileError(f"The model card cannot be read ({error}).") from error
        sizes = [size for size in (card.pixel_size_nm, card.period_px) if size is not None]
        if (
            card.scaling not in ("video", "window")
            or not all(
                isinstance(text, str) for text in (card.name, card.material, card.licence, card.summary)
            )
            or not all(_is_number(size) and size > 0 for size in sizes)
            or not (_is_number(card.smoothing_px) and 0 <= card.smoothing_px <= card.window)
            or not (type(card.step) is int and 0 < card.step <= 4096)
            or not isinstance(card.training, dict)
        ):
            raise ModelFileError("The model card has a scaling, a size or a record out of range.")
        variances = card.training.get("variances")
        if variances is not None and not (
            isinstance(variances, list)
            and len(variances) == card.latents
            and all(_is_number(variance) and variance >= 0 for variance in variances)
        ):
            raise ModelFileError(
                f"The model card's record of training wants {card.latents} variances, one per latent."
            )
        return card


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_card(path: str | Path) -> ModelCard:
    """Read the card of a model file, without torch and without its weights.

    Raises
    ------
    ModelFileError
        The file is missing, damaged or not one of ours.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(_LARGEST_HEADER, path.stat().st_size):
                raise ValueError("header longer than the file")
            metadata = json.loads(file.read(length))["__metadata__"]
        text = metadata["hrtem_vae_card"]
    except FileNotFoundError as error:
        raise ModelFileError(f"There is no model file {path}; check the path.") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError, struct.error) as error:
        raise ModelFileError(
            f"{path.name} is damaged or no model file of this program; "
            "choose a .safetensors made by 'hrtem-vae train'."
        ) from error
    try:
        return ModelCard.from_json(text)
    except ModelFileError as error:
        raise ModelFileError(f"{path.name}: {error}") from error


def shipped_models() -> dict[str, Path]:
    """Model files in the package by name; the default model first."""
    folder = Path(str(files("napari_hrtem_vae.vae") / "models"))
    paths = {path.stem: path for path in sorted(folder.glob("*.safetensors"))}
    return dict(sorted(paths.items(), key=lambda item: item[0] != DEFAULT_MODEL))


DEFAULT_MODEL = "pbs-64-fast"


def list_models() -> list[ModelCard]:
    """Cards of the models in the package, the default model first."""
    return [read_card(path) for path in shipped_models().values()]
