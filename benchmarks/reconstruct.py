"""How well models redraw held-out simulated segments, against principal components of the same segments.

    python benchmarks/reconstruct.py [MODEL ...] [--scenes fast multislice] [--count 1000] [--fit 16000]
                                     [--seed 9001] [--into-card MODEL]

Mean squared error against the noise-free truth, in thousandths of the grey range squared, for doses that are
the same for all segments of a column; 64 principal components are fitted on segments of all doses, as many as
the shipped models saw. The cross-entropy is compared with the floor that a perfect reconstruction of the
noise-free segments still has. No training used the default seed. With --into-card the figures are put into
that model's card, those of its forerunners beside it. The last column is the cross-entropy less that of the
last model, on the same segments, in the same unit, with its standard error.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy import linalg

import napari_hrtem_vae as hv
from napari_hrtem_vae.progress import run
from napari_hrtem_vae.simulate.physical import physical_segments_steps
from napari_hrtem_vae.simulate.segments import SegmentParameters, segments_steps
from napari_hrtem_vae.vae.card import shipped_models
from napari_hrtem_vae.vae.model import Model
from napari_hrtem_vae.vae.training import ACTIVE_VARIANCE, entropy_floor

DOSES = (5.0, 20.0, 100.0)
SOURCES = {"fast": segments_steps, "multislice": physical_segments_steps}
FIT_SEED, HELD_OUT_SEED = 7001, 9001
Float = NDArray[np.float32]


class PrincipalComponents:
    """Mean and the first directions of segments, by the eigenvectors of their covariance."""

    name = "PCA, 64 components"

    def __init__(self, segments: Float, components: int = 64) -> None:
        flat = segments.reshape(len(segments), -1)
        self.mean = flat.mean(0)
        covariance = np.cov(flat - self.mean, rowvar=False)
        last = [len(covariance) - components, len(covariance) - 1]
        self.directions = linalg.eigh(covariance, subset_by_index=last)[1].astype(np.float32)

    def reconstruct(self, segments: Float) -> Float:
        flat = segments.reshape(len(segments), -1) - self.mean
        return (self.mean + (flat @ self.directions) @ self.directions.T).reshape(segments.shape)


def held_out(source: str, count: int, seed: int, dose: tuple[float, float]) -> tuple[Float, Float]:
    return run(SOURCES[source](SegmentParameters(count=count, dose_e_per_px=dose, seed=seed)))


def cross_entropies(drawn: Float, clean: Float) -> NDArray[np.float64]:
    """Of each segment, summed over its pixels."""
    drawn = np.clip(drawn.astype(np.float64), 1e-7, 1 - 1e-7)
    return np.asarray(-(clean * np.log(drawn) + (1 - clean) * np.log(1 - drawn)).sum((1, 2)))


def squared_error(drawn: Float, clean: Float) -> float:
    return 1000 * float(np.square(drawn - clean, dtype=np.float64).mean())


def add_rows(
    table: Table, source: str, models: dict[str, Model], count: int, fit: int, seed: int
) -> dict[str, dict[str, float]]:
    """Rows of the table for one kind of scene; returns them by model."""
    found: dict[str, dict[str, float]] = {}
    by_dose = {dose: held_out(source, count, seed, (dose, dose)) for dose in DOSES}
    noisy, clean = held_out(source, count, seed, SegmentParameters().dose_e_per_px)
    floor = entropy_floor(clean)
    components = PrincipalComponents(run(SOURCES[source](SegmentParameters(count=fit, seed=FIT_SEED)))[0])
    errors = [squared_error(components.reconstruct(by_dose[dose][0]), by_dose[dose][1]) for dose in DOSES]
    table.add_row(source, components.name, *(f"{error:.2f}" for error in errors), "", "", "")
    last = list(models.values())[-1]
    of_last = cross_entropies(last.decode(last.encode(noisy)[0]), clean)
    for name, model in models.items():
        errors = []
        for dose in DOSES:
            seen, truth = by_dose[dose]
            errors.append(squared_error(model.decode(model.encode(seen)[0]), truth))
        mean = model.encode(noisy)[0]
        entropies = cross_entropies(model.decode(mean), clean)
        over = 100 * (float(entropies.mean()) / floor - 1)
        more = 100 * (entropies - of_last) / floor
        table.add_row(
            source,
            name,
            *(f"{error:.2f}" for error in errors),
            f"{over:.2f} %",
            str(int((mean.var(0) > ACTIVE_VARIANCE).sum())),
            "" if model is last else f"{more.mean():+.3f} ± {more.std() / np.sqrt(len(more)):.3f} %",
        )
        found[name] = {
            f"squared_error_{dose:g}": round(error, 2) for dose, error in zip(DOSES, errors, strict=True)
        }
        found[name]["cross_entropy_over_floor_percent"] = round(over, 2)
    return found


def write_card(name: str, held_out: dict[str, dict[str, dict[str, float]]]) -> None:
    """Write the figures into the card of a model of the package."""
    model = hv.load_model(name)
    training = {**model.card.training, "held_out": held_out}
    hv.save_model(Model(replace(model.card, training=training), model.network), shipped_models()[name])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", default=["pbs-64-fast", "pbs-64"])
    parser.add_argument("--scenes", nargs="+", choices=list(SOURCES), default=list(SOURCES))
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--fit", type=int, default=16000)
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED)
    parser.add_argument("--into-card")
    options = parser.parse_args()
    if options.into_card and options.seed != HELD_OUT_SEED:
        parser.error("a card tells nothing of the seed: leave it as it is")
    models = {Path(name).stem: hv.load_model(name) for name in options.models}
    doses = (f"{dose:g} e/px" for dose in DOSES)
    names = ("cross-entropy over floor", "active latents", f"more than {list(models)[-1]}")
    table = Table("segments", "by", *doses, *names)
    held_out = {
        source: add_rows(table, source, models, options.count, options.fit, options.seed)
        for source in options.scenes
    }
    Console(width=120).print(table)
    if options.into_card:
        write_card(options.into_card, held_out)


if __name__ == "__main__":
    main()
