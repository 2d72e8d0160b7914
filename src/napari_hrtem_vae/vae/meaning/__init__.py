"""What latents mean: their response to known changes, and the reader of kinds and amounts of change."""

from __future__ import annotations

from ..model import Model
from .calibrated import calibration_of
from .response import from_record


def labels(model: Model) -> tuple[str, ...] | None:
    """What each latent of a calibrated model answers to; None where the model is not calibrated.

    Returns
    -------
    tuple of str
        "translation", "rotation", "edge", "contrast", "period", "mixed" or "inactive", by latent.
    """
    calibration = calibration_of(model)
    if calibration is None or "response" not in calibration.latents.card.record:
        return None
    found = from_record(calibration.latents.card.record["response"])["label"].values
    return tuple(found.tolist()) if len(found) == model.card.latents else None
