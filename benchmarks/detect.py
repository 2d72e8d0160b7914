"""Which model finds motion: area under the ROC curve of sites on a turning crystal against still sites.

    python benchmarks/detect.py [MODEL ...] [--into-card MODEL]

A crystal turns by 5°, another stays still; 0.3 px drift residual, 5 % flicker; three seeds that no training
used. "published" is the sum of the paper's map over latents, "evidence" what `map_dynamics` makes of the
latents alone: the map `change` of an analysis is of the frames, the same for all models. With --into-card
the table is written into that model's card.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

import napari_hrtem_vae as hv
from napari_hrtem_vae.vae.card import shipped_models
from napari_hrtem_vae.vae.model import Model

DOSES = (200, 20, 8)
SEEDS = (501, 502, 503)


def area_under_curve(moving: np.ndarray, still: np.ndarray) -> float:
    """Probability that a moving site scores above a still one."""
    return float(stats.mannwhitneyu(moving, still).statistic / (moving.size * still.size))


def areas(model: Model, dose: float, seed: int) -> tuple[float, float]:
    scene = hv.simulate(
        "rotation", seed=seed, dose=dose, frames=40, rows=256, columns=512, jitter_px=0.3, flicker=0.05
    )
    result = hv.analyze(scene["video"], model)
    # A site moves when half its window lies on the turning crystal, and is still when none does.
    on_crystal = scene["presence"][0, 0].values.astype(float)
    window = np.lib.stride_tricks.sliding_window_view(on_crystal, (64, 64))[::8, ::8].mean((2, 3))
    evidence = hv.map_dynamics(result["z"].drop_attrs())["change"]
    maps = np.nansum(result["time_correlated_variance"].values, -1), np.nan_to_num(evidence.values)
    found = [area_under_curve(values[window > 0.5], values[window == 0]) for values in maps]
    return found[0], found[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["pbs-64-fast", "pbs-64"])
    parser.add_argument("--into-card")
    options = parser.parse_args()
    table = Table(
        "model",
        "β",
        "scaling",
        "active",
        *(f"{kind}, {dose} e/px" for kind in ("published", "evidence") for dose in DOSES),
    )
    comparison = {}
    for name in options.models:
        model = hv.load_model(name)
        means = {dose: np.mean([areas(model, dose, seed) for seed in SEEDS], axis=0) for dose in DOSES}
        columns = [f"{means[dose][kind]:.3f}" for kind in (0, 1) for dose in DOSES]
        recipe = model.card.training["recipe"]
        table.add_row(
            model.card.name,
            f"{recipe['beta']:g}",
            model.card.scaling,
            str(model.card.training["active_latents"]),
            *columns,
        )
        comparison[model.card.name] = {
            "beta": recipe["beta"],
            "scaling": model.card.scaling,
            "target": recipe["target"],
            "active_latents": model.card.training["active_latents"],
            "roc_area_published_map": {str(dose): round(float(means[dose][0]), 3) for dose in DOSES},
            "roc_area_evidence": {str(dose): round(float(means[dose][1]), 3) for dose in DOSES},
        }
    Console(width=140).print(table)
    if options.into_card:
        path = shipped_models()[options.into_card]
        model = hv.load_model(options.into_card)
        training = {**model.card.training, "comparison": comparison}
        hv.save_model(Model(replace(model.card, training=training), model.network), path)


if __name__ == "__main__":
    main()
