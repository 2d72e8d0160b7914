"""Training on simulated scenes: from a recipe to a model with its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..progress import Steps
from .architecture import ARCHITECTURES
from .card import ModelCard
from .evaluation import Segments, check_room, entropy_floor
from .model import Model
from .recipe import Recipe
from .training import check_start, train_steps

_LATTICE_NM = 0.2968  # PbS: a / 2, the square net of columns seen along ⟨100⟩
_PIXEL_NM = 0.014
# Validation scenes are drawn from seeds that no training scene has.
OTHER_SCENES = 1_000_003


def simulated_segments_steps(recipe: Recipe, count: int, seed: int) -> Steps[Segments]:
    """Segments of the scenes that `recipe` wants; "both" gives half of each."""
    halves = {"fast": [count, 0], "multislice": [0, count], "both": [count - count // 2, count // 2]}
    fast, multislice = halves[recipe.scenes]
    parts: list[Segments] = []
    if fast:
        parts.append((yield from _fast_steps(recipe, fast, seed)))
    if multislice:
        parts.append((yield from _multislice_steps(recipe, multislice, seed)))
    if len(parts) == 1:
        return parts[0]
    return joined(parts)


def joined(parts: list[Segments]) -> Segments:
    """All of them, one behind the other; what is one array stays one."""
    seen = np.concatenate([part.seen for part in parts])
    if all(part.wanted is part.seen for part in parts):
        return Segments(seen, seen)
    return Segments(seen, np.concatenate([part.wanted for part in parts]))


def _fast_steps(recipe: Recipe, count: int, seed: int) -> Steps[Segments]:
    from ..simulate.segments import SegmentParameters, segments_steps

    seen, clean = yield from segments_steps(SegmentParameters(**_drawn_from(recipe, count, seed)))
    return Segments(seen, clean if recipe.target == "noise-free" else seen)


def _multislice_steps(recipe: Recipe, count: int, seed: int) -> Steps[Segments]:
    from ..simulate.physical import physical_segments_steps
    from ..simulate.segments import SegmentParameters

    seen, clean = yield from physical_segments_steps(SegmentParameters(**_drawn_from(recipe, count, seed)))
    return Segments(seen, clean if recipe.target == "noise-free" else seen)


def _drawn_from(recipe: Recipe, count: int, seed: int) -> dict[str, Any]:
    return {
        "count": count,
        "window": ARCHITECTURES[recipe.architecture]().window,
        "dose_e_per_px": recipe.dose_e_per_px,
        "smoothing_px": recipe.smoothing_px,
        "scaling": recipe.scaling,
        "seed": seed,
    }


def train_simulated_steps(
    recipe: Recipe, *, device: str = "auto", checkpoint: Path | None = None, command: str | None = None
) -> Steps[Model]:
    """Simulate PbS segments and train on them; validation scenes are others than the training's.

    Parameters
    ----------
    recipe : Recipe
    device, checkpoint
        As for `train_steps`.
    command : str, optional
        What was typed, for the card.

    Raises
    ------
    TrainingError, DeviceError
        See `train_steps`.
    ParameterError
        More segments than memory holds.
    """
    check_start(recipe, device, checkpoint)
    held_out = validation_count(recipe.segments)
    check_room(recipe.segments + held_out, ARCHITECTURES[recipe.architecture]().window)
    train = yield from simulated_segments_steps(recipe, recipe.segments, recipe.seed)
    validation = yield from simulated_segments_steps(recipe, held_out, recipe.seed + OTHER_SCENES)
    card = ModelCard(
        name=recipe.name,
        architecture=ARCHITECTURES[recipe.architecture](),
        material="PbS (simulated)",
        pixel_size_nm=_PIXEL_NM,
        period_px=round(_LATTICE_NM / _PIXEL_NM, 1),
        licence="GPL-3.0-or-later",
        training={
            "data": describe_scenes(recipe),
            "command": command
            or f"hrtem-vae train simulated --recipe {recipe.name} -o {recipe.name}.safetensors",
            "entropy_floor": round(entropy_floor(validation.wanted), 2),
        },
    )
    return (yield from train_steps(train, validation, recipe, card, device=device, checkpoint=checkpoint))


def validation_count(segments: int) -> int:
    """Segments to validate on for so many to train on."""
    return max(segments // 10, 64)


def describe_scenes(recipe: Recipe) -> str:
    """What simulated segments show, for the card."""
    kinds = {
        "fast": "scenes of fast columns",
        "multislice": "scenes of atoms by multislice",
        "both": "scenes, half of fast columns, half of atoms by multislice",
    }
    low, high = recipe.dose_e_per_px
    return (
        f"simulated PbS {kinds[recipe.scenes]}: grains, edges, touching grains, film, "
        f"contrast of both signs; period 18 to 24 px, {low:g} to {high:g} e/px"
    )
