"""Small videos of nets whose angles, spacings and masks are known exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from napari_hrtem_vae.lattice.conventions import first_order_spots, ideal_basis


@dataclass(frozen=True)
class Disc:
    """A grain: disc of `radius` px about `centre` (y, x), its net at `angle_deg`, `contrast` a fringe."""

    centre: tuple[float, float]
    radius: float
    angle_deg: float
    period_px: float = 8.0
    contrast: float = 0.15
    spots: tuple[tuple[int, int], ...] | None = None
    basis: np.ndarray | None = None


def paint(discs: list[Disc], shape=(256, 256), symmetry=4) -> np.ndarray:
    """One frame without noise, its film at grey level 1."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    image = np.ones(shape)
    for disc in discs:
        away = np.hypot(y - disc.centre[0], x - disc.centre[1])
        inside = np.clip(disc.radius - away + 0.5, 0, 1)
        basis = disc.basis
        if basis is None:
            basis = ideal_basis(1 / disc.period_px, disc.angle_deg, symmetry)
        for index in disc.spots or first_order_spots(symmetry):
            k = np.array(index) @ basis
            phase = 2 * np.pi * (k[0] * (y - disc.centre[0]) + k[1] * (x - disc.centre[1]))
            image += inside * disc.contrast * np.cos(phase + 0.7)
    return image


def film(shape, seed: int, strength=0.03, size=1.5) -> np.ndarray:
    from scipy import ndimage

    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), size, mode="wrap")
    return noise * strength / noise.std()


def video(frames: list[np.ndarray], dose: float | None = 20.0, seed=0, pixel_size_nm=0.03) -> xr.DataArray:
    """Counts of `dose` electrons per px; None: no noise."""
    array = np.stack(frames).astype(np.float32)
    if dose is not None:
        array = np.random.default_rng(seed).poisson(np.maximum(array, 0) * dose).astype(np.float32)
    made = xr.DataArray(array, dims=("time", "y", "x"))
    if pixel_size_nm is not None:
        made.attrs["pixel_size_nm"] = pixel_size_nm
        for axis in ("y", "x"):
            centres = np.arange(made.sizes[axis]) * pixel_size_nm
            made = made.assign_coords({axis: (axis, centres, {"units": "nm"})})
    return made


PAIR = (Disc((128, 78), 46, 3.0), Disc((128, 176), 44, 15.0))
