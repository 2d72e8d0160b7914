"""The variational autoencoder: model, file, training, encoding, maps.

Importing this loads no torch; `load_model` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .card import DEFAULT_MODEL, ModelCard, list_models, read_card

if TYPE_CHECKING:
    from .model import Model

__all__ = ["DEFAULT_MODEL", "ModelCard", "list_models", "load_model", "read_card"]


def load_model(name_or_path: str | Path) -> Model:
    """Load a model of the package by name, or a model file; see `vae.model.load_model`."""
    from .model import load_model as load

    return load(name_or_path)
