"""What the tests of training train on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from napari_hrtem_vae.progress import Steps
from napari_hrtem_vae.vae.model import Model
from napari_hrtem_vae.vae.recipe import Recipe
from napari_hrtem_vae.vae.training import Epoch, Segments

from ..conftest import video_of

# Small batches: few segments make many steps.
QUICK = Recipe(name="quick", segments=256, epochs=3, warmup_epochs=1, batch=8, learning_rate=3e-3, beta=0.01)


def stripes(count: int, seed: int) -> Segments:
    """Windows of plain fringes of any direction and phase: little to learn."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64].astype(np.float32)
    direction, phase = rng.uniform(0, np.pi, (count, 1, 1)), rng.uniform(0, 2 * np.pi, (count, 1, 1))
    waves = np.cos((np.cos(direction) * x + np.sin(direction) * y) * 2 * np.pi / 40 + phase)
    clean = (0.5 + 0.4 * waves).astype(np.float32)
    return Segments(np.clip(clean + rng.normal(0, 0.05, clean.shape), 0, 1).astype(np.float32), clean)


def epochs_of(steps: Steps[Model]) -> Iterator[Epoch]:
    """The epochs among what a training yields."""
    return (one for one in steps if isinstance(one, Epoch))


def film(rng: np.random.Generator, shape: tuple[int, int], dose: float) -> np.ndarray:
    """Counts of amorphous film."""
    from scipy import ndimage

    speckle = ndimage.gaussian_filter(rng.standard_normal(shape), rng.uniform(1, 4), mode="wrap")
    return rng.poisson(dose * np.maximum(1 + rng.uniform(0.01, 0.06) * speckle / speckle.std(), 0.02))


def lattice(
    rng: np.random.Generator, shape: tuple[int, int], dose: float, period: float, contrast: float = 0.15
) -> np.ndarray:
    """Counts of a crystal on film: two sets of fringes of this standard deviation together."""
    y, x = np.indices(shape)
    angle, phases = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi, 2)
    u = (np.cos(angle) * x + np.sin(angle) * y) * 2 * np.pi / period + phases[0]
    v = (np.cos(angle) * y - np.sin(angle) * x) * 2 * np.pi / period + phases[1]
    ground = film(rng, shape, 1000) / 1000
    return rng.poisson(dose * np.maximum(ground + contrast * (np.cos(u) + np.cos(v)), 0.02))


def still_of(
    seed: int, period: float = 20.0, pixel_size_nm: float | None = 0.014, size: int = 160
) -> xr.DataArray:
    """One image full of one crystal."""
    rng = np.random.default_rng(seed)
    return video_of(lattice(rng, (size, size), 50, period)[None], pixel_size_nm)
