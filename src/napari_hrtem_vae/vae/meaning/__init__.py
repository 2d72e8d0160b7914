"""What latents mean: their response to known changes, and the reader of kinds and amounts of change."""

from __future__ import annotations

from ..model import Model
from .reader import reader_of
from .response import from_record


def labels(model: Model) -> tuple[str, ...] | None:
    """What each latent of a calibrated model answers to; None where the model is not calibrated.

    Returns
    -------
    tuple of str
        "translation", "rotation", "edge", "contrast", "period", "mixed" or "inactive", by latent.
    """
    reader = reader_of(model)
    if reader is None or "response" not in reader.card.record:
        return None
    found = from_record(reader.card.record["response"])["label"].values
    return tuple(found.tolist()) if len(found) == model.card.latents else None
