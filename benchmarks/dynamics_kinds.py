"""Which kind of change each site shows, and by how much: the latents against components of the windows.

    python benchmarks/dynamics_kinds.py [--models pbs-64-fast] [--doses 20 8] [--seeds 901 902]
                                        [--imaging fast] [--share 1] [--components SCENES] [--apart]

Scenes as of `dynamics.py`. Balanced accuracy is over no change, growth, shrinkage, rotation, translation and
contrast; a site of unknown kind counts as wrong. Selective: area under the ROC curve of each kind's
probability, sites of that kind against all others. With --share 0.4 each change is by four tenths of its
amount: 2°, 2 px, 12 %, an edge by 0.4 periods. Kinds are read from latents and components together; with
--apart those read from the latents alone are told as well, where they find a change. With --components the
same classifier is calibrated on so many scenes for 64 principal components of windows alone (minutes), and
told which sites changed, or left to what 64 components find.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import xarray as xr
from dynamics_measures import (
    area_under_curve,
    components_coder,
    components_of,
    components_of_windows,
    levelled,
)
from dynamics_scenes import Scene, make_scene
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import napari_hrtem_vae as hv
from napari_hrtem_vae.progress import run
from napari_hrtem_vae.vae.meaning.calibrated import Calibration
from napari_hrtem_vae.vae.meaning.calibration import (
    CalibrationParameters,
    Coder,
    known_sites_steps,
    train_reader_steps,
)
from napari_hrtem_vae.vae.meaning.reader import ReaderCard
from napari_hrtem_vae.vae.meaning.reading import KIND_NAMES, SiteMoments, read_changes_steps
from napari_hrtem_vae.vae.meaning.site_features import MOTION_FEATURES, noise_of

CHANGES = ("rotation", "growth", "shrinkage", "translation", "contrast", "static")
DOSES = (50.0, 20.0, 8.0)
SEEDS = (901, 902)
_TURN_DEG = 5.0
_COVERED = 1.96
_SHOWN = -np.log10(0.05)


def readings(
    scene: Scene, models: list[str], components: tuple[Coder, Calibration] | None, apart: bool
) -> Iterator[tuple[str, NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]]:
    """Kind, probability of kinds, and rotation with its error (2, y, x), by method."""
    significant = None
    for model in models:
        maps = hv.analyze(scene.video, model, keep_field=apart)
        significant = maps["change"].values > _SHOWN
        yield model, *_of(maps)
        if apart:
            yield f"{model}, latents alone", *_of(hv.map_dynamics(maps["z"], model=model))
    if components is not None and significant is not None:
        coder, calibration = components
        field = components_of(levelled(scene.video), coder)
        known = SiteMoments.empty(field.shape[1:3], field.shape[3], 2)
        known.take(field)
        own = hv.map_dynamics(components_of_windows(levelled(scene.video)))["change"].values
        for name, changed in (("64 components", significant), ("64 components, found by them", own > _SHOWN)):
            maps = run(read_changes_steps(known, noise_of(field), changed, coder, calibration, 8))
            yield name, *_of(maps)


def _of(maps: xr.Dataset) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
    turn = np.stack([maps["rotation"].values, maps["rotation_error"].values])
    return maps["kind"].values, maps["kind_probability"].values, turn


def calibrated_components(scenes: int) -> tuple[Coder, Calibration]:
    """Components of windows of known scenes, and the same classifier as the latents', calibrated on them."""
    coder = components_coder()
    train = run(known_sites_steps(coder, None, scenes, 0, both_directions=True))
    test = run(known_sites_steps(coder, None, max(scenes // 8, 1), 1_000_003))
    parameters = CalibrationParameters(scenes=scenes)
    card = ReaderCard("components", "", features=0, measured_from=MOTION_FEATURES)
    return coder, Calibration(run(train_reader_steps(train, test, card, parameters)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["pbs-64-fast"])
    parser.add_argument("--doses", nargs="+", type=float, default=list(DOSES))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--imaging", default="fast", choices=("fast", "multislice"))
    parser.add_argument("--share", type=float, default=1.0, help="of each change's amount")
    parser.add_argument("--components", type=int, default=0)
    parser.add_argument("--apart", action="store_true")
    options = parser.parse_args()
    console = Console(width=170)
    components = calibrated_components(options.components) if options.components else None
    kinds = KIND_NAMES[:-1]
    table = Table("e/px", "method", "balanced", *kinds, "selective (least)", "turn rms", "covered", "given")
    for dose in options.doses:
        found = defaultdict(lambda: defaultdict(list))
        for change in CHANGES:
            for seed in options.seeds:
                scene = make_scene(change, dose, seed, options.imaging, options.share)
                clear = scene.kind >= 0
                for method, kind, probability, turn in readings(
                    scene, options.models, components, options.apart
                ):
                    of = found[method]
                    of["truth"].append(scene.kind[clear])
                    of["kind"].append(kind[clear])
                    of["probability"].append(probability[:, clear])
                    if change == "rotation":
                        of["turn"].append(turn[:, scene.kind == kinds.index("rotation")])
        for method, of in found.items():
            truth, kind = np.concatenate(of["truth"]), np.concatenate(of["kind"])
            probability, turn = np.concatenate(of["probability"], 1), np.concatenate(of["turn"], 1)
            # An edge that moves by a few px changes too little of any window on some seeds.
            there = [index for index in range(len(kinds)) if (truth == index).any()]
            recall = {index: (kind[truth == index] == index).mean() for index in there}
            selective = [
                area_under_curve(probability[index], truth == index, truth != index)
                for index in there
                if index > 0
            ]
            given = np.isfinite(turn[0])
            off = turn[0, given] - options.share * _TURN_DEG
            table.add_row(
                f"{dose:g}",
                method,
                f"{np.mean(list(recall.values())):.3f}",
                *(f"{recall[index]:.3f}" if index in recall else "–" for index in range(len(kinds))),
                f"{min(selective):.3f}",
                f"{np.sqrt(np.mean(off**2)):.2f}°",
                f"{100 * np.mean(np.abs(off) < _COVERED * turn[1, given]):.0f} %",
                f"{100 * given.mean():.0f} %",
            )
        console.log(f"{dose:g} e/px done")
    console.print(table)


if __name__ == "__main__":
    main()
