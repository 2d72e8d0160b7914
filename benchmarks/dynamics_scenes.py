"""Scenes of `dynamics.py`, with what is true of every site: a crystal that changes and one that does not.

In the annealing pair both change, and seven sites in ten.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import napari_hrtem_vae as hv

# Scenario and how much of it: 5°, 1 nm and one period of an edge, 5 px, 30 %.
CHANGES = {
    "rotation": ("rotation", 1.0),
    "growth": ("growth", 1.0),
    "shrinkage": ("shrinkage", 1.0),
    "growth by 1 nm": ("growth", 3.37),
    "shrinkage by 1 nm": ("shrinkage", 3.37),
    "translation": ("translation", 1.0),
    "contrast": ("contrast", 1.0),
    "static": ("static", 1.0),
    "annealing pair": ("annealing-pair", 1.0),
}
# Frames, rows and columns.
_SMALL, _LARGE, _PAIR = (40, 256, 512), (40, 384, 768), (60, 640, 1024)
# Drift residual, flicker, and a film of which a part is another in the end: on every scene.
NUISANCE = {"jitter_px": 0.3, "flicker": 0.05, "film_change": 0.3}
WINDOW, STEP = 64, 8
# What share of a window has to change for its site to count as changed.
_LEAST_SHARE = {"growth": 0.15, "shrinkage": 0.15}
_HALF = 0.5
# Further from a change than this a window is still. A multislice image of an edge that moves changes beyond
# it as well, as lenses with aberrations delocalise: 0.7 nm away by more than film of which 30 % is renewed
# (without noise, rms 0.07 to 0.11 of the mean against 0.065, and 0.21 to 0.25 where the change is).
_NEAR_PX = {"fast": 8, "multislice": 48}


@dataclass(frozen=True)
class Scene:
    """A video and what is true of its sites.

    Parameters
    ----------
    video : DataArray (time, y, x)
    kind : ndarray (site y, site x), int
        Index into `names` of what happens in the window; −1 where too little of it changes to say, or
        where two crystals meet.
    names : tuple of str
        The first stands for no change.
    truth : Dataset
        All that the simulator knows.
    """

    video: xr.DataArray
    kind: NDArray[np.int8]
    names: tuple[str, ...]
    truth: xr.Dataset

    @property
    def moving(self) -> NDArray[np.bool_]:
        return self.kind > 0

    @property
    def still(self) -> NDArray[np.bool_]:
        return self.kind == 0


def make_scene(
    change: str, dose: float, seed: int, imaging: str = "fast", share: float = 1.0, **options: float
) -> Scene:
    """A scene of one kind of change, a still crystal beside it, or of a pair; `options` go to `hv.simulate`.

    With a `share` of the change, all of it takes place, by so much less.
    """
    word, amount = CHANGES[change]
    extent = _PAIR if change == "annealing pair" else _LARGE if amount > 1 else _SMALL
    made = dict(zip(("frames", "rows", "columns"), extent, strict=True)) | NUISANCE | options
    truth = hv.simulate(word, seed=seed, dose=dose, imaging=imaging, amount=share * amount, **made)
    names = tuple(truth["moving"].attrs["names"])
    return Scene(
        truth["video"], kinds_of_sites(truth["moving"].values, names, _NEAR_PX[imaging]), names, truth
    )


def kinds_of_sites(moving: NDArray[np.uint8], names: tuple[str, ...], near_px: int) -> NDArray[np.int8]:
    """Kind of each site from the kind of each pixel (y, x); −1 where it cannot be said.

    Sites are still whose windows lie more than `near_px` from anything that changes.
    """
    shares = np.stack([share_of_windows(moving == index) for index in range(len(names))])
    least = np.array([_LEAST_SHARE.get(name, _HALF) for name in names])
    kind = np.full(shares.shape[1:], -1, np.int8)
    # Growth and shrinkage come first: a window on the edge of a crystal that turns as well shows both.
    for index in reversed(range(1, len(names))):
        kind[shares[index] >= least[index]] = index
    kind[share_of_windows(moving > 0, near_px) == 0] = 0
    return kind


def share_of_windows(where: NDArray[np.generic], around_px: int = 0) -> NDArray[np.float64]:
    """Mean over each site's window, or that and some px around it: of a mask, the share that it covers."""
    size = WINDOW + 2 * around_px
    padded = np.pad(where.astype(np.float64), around_px, mode="edge")
    total = np.pad(padded.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums = total[size:, size:] - total[:-size, size:] - total[size:, :-size] + total[:-size, :-size]
    return np.asarray(sums[::STEP, ::STEP] / size**2)
