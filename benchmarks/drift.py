"""How well drift is measured: error against truth, and frames a second.

    python benchmarks/drift.py [--size 1024] [--frames 30] [--seeds 3]

Two attached crystals on a film, one of which shrinks and turns; the specimen steps by 4 px along each axis
from frame to frame. "slips" counts frames that are wrong by more than a quarter of a lattice period. Beside
it, plain cross-correlation of neighbouring frames.
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import fft

import napari_hrtem_vae as hv
from napari_hrtem_vae.progress import run
from napari_hrtem_vae.video.drift import estimate_drift_steps

DOSES = (10.0, 2.5, 1.0)
PERIOD_PX = 21.2


def cross_correlated(frames: np.ndarray) -> np.ndarray:
    """Whole-pixel displacements (frames, 2) by the highest peak of neighbours' cross-correlations, summed."""
    spectra = [fft.rfft2(frame - frame.mean()) for frame in frames.astype(np.float32)]
    steps = [np.zeros(2)]
    for before, after in pairwise(spectra):
        surface = fft.irfft2(after * np.conj(before), frames.shape[1:])
        peak = np.array(np.unravel_index(int(surface.argmax()), surface.shape))
        size = np.array(surface.shape)
        steps.append((peak + size // 2) % size - size // 2)
    return np.cumsum(steps, axis=0)


def error(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Error of the frames that were told, but for one common to all."""
    off = (found - truth)[np.isfinite(found[:, 0])]
    return off - np.median(off, axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    table = Table("dose (e/px)", "seed", "rms (px)", "stated (px)", "most (px)", "slips", "told", "plain rms")
    table.add_column("frames/s")
    for dose in DOSES:
        for seed in range(900, 900 + options.seeds):
            scene = hv.simulate(
                "annealing-pair",
                seed=seed,
                dose=dose,
                frames=options.frames,
                rows=options.size,
                columns=options.size,
                jitter_px=4 / np.sqrt(2),
            )
            truth = np.stack([scene["shift_y_px"], scene["shift_x_px"]], axis=1)
            started = time.perf_counter()
            shifts = run(estimate_drift_steps(scene["video"]))
            took = time.perf_counter() - started
            off = error(np.stack([shifts["dy_px"], shifts["dx_px"]], axis=1), truth)
            plain = error(cross_correlated(scene["video"].values), truth)
            told = int(shifts["reliable"].sum())
            figures = ["-"] * 4
            if told:
                stated = np.sqrt(np.nanmean(shifts["sigma_px"].values ** 2))
                figures = [
                    f"{np.sqrt((off**2).mean()):.3f}",
                    f"{stated:.3f}",
                    f"{np.abs(off).max():.2f}",
                    str(int((np.abs(off).max(axis=1) > PERIOD_PX / 4).sum())),
                ]
            table.add_row(
                f"{dose:g}",
                str(seed),
                *figures,
                f"{told}/{options.frames}",
                f"{np.sqrt((plain**2).mean()):.2f}",
                f"{options.frames / took:.1f}",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
