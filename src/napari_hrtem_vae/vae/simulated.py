"""Training on simulated scenes: from a recipe to a model with its card."""

from __future__ import annotations

from dataclasses import replace

from ..progress import Steps
from ..simulate.segments import SegmentParameters, segments_steps
from .architecture import ARCHITECTURES
from .card import ModelCard
from .model import Model
from .recipe import Recipe
from .training import Segments, entropy_floor, train_steps

_LATTICE_NM = 0.2968  # PbS: a / 2, the square net of columns seen along ⟨100⟩
_PIXEL_NM = 0.014


def simulated_segments(recipe: Recipe, count: int, seed: int) -> Steps[Segments]:
    """Segments as `recipe` wants them."""
    parameters = SegmentParameters(
        count=count,
        window=ARCHITECTURES[recipe.architecture]().window,
        dose_e_per_px=recipe.dose_e_per_px,
        smoothing_px=recipe.smoothing_px,
        scaling=recipe.scaling,
        seed=seed,
    )
    seen, clean = yield from segments_steps(parameters)
    return Segments(seen, clean if recipe.target == "noise-free" else seen)


def train_simulated_steps(recipe: Recipe) -> Steps[Model]:
    """Simulate PbS segments and train on them; validation scenes are others than the training's."""
    train = yield from simulated_segments(recipe, recipe.segments, recipe.seed)
    validation = yield from simulated_segments(
        recipe, max(recipe.segments // 10, 64), recipe.seed + 1_000_003
    )
    card = ModelCard(
        name=recipe.name,
        architecture=ARCHITECTURES[recipe.architecture](),
        material="PbS (simulated)",
        pixel_size_nm=_PIXEL_NM,
        period_px=round(_LATTICE_NM / _PIXEL_NM, 1),
        licence="GPL-3.0-or-later",
        training={
            "data": "simulated PbS scenes: grains, edges, touching grains, film, contrast of both signs; "
            f"period 18 to 24 px, {recipe.dose_e_per_px[0]:g} to {recipe.dose_e_per_px[1]:g} e/px",
            "command": f"hrtem-vae train simulated --recipe {recipe.name} -o {recipe.name}.safetensors",
            "entropy_floor": round(entropy_floor(validation.wanted), 2),
        },
    )
    model = yield from train_steps(train, validation, recipe, card)
    active, latents = model.card.training["active_latents"], model.card.latents
    bce, kl = model.card.training["bce"], model.card.training["kl"]
    summary = f"{active} of {latents} latents active; BCE {bce:.0f}, KL {kl:.0f}"
    return Model(replace(model.card, summary=summary), model.network)
