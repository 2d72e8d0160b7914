"""Nets of known basis, displaced, turned and cut as told."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from napari_hrtem_vae.lattice.conventions import first_order_spots, ideal_basis

Displacement = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def unmoved(y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros_like(y), np.zeros_like(x)


def net(
    shape: tuple[int, int],
    period: float,
    angle_deg: float,
    displacement: Displacement = unmoved,
    *,
    symmetry: int = 4,
    amplitude: float = 0.1,
) -> np.ndarray:
    """Fringes cos 2πg·(r − u(r)) of a net about 0; u gets y and x from the middle of the frame."""
    y, x = (np.arange(size) - size / 2 for size in shape)
    y, x = np.meshgrid(y, x, indexing="ij")
    uy, ux = displacement(y, x)
    basis = ideal_basis(1 / period, angle_deg, symmetry)
    waves = [
        np.cos(2 * np.pi * (k[0] * (y - uy) + k[1] * (x - ux)))
        for k in np.array(first_order_spots(symmetry)) @ basis
    ]
    return amplitude * np.sum(waves, axis=0)


def video_of(*frames: np.ndarray) -> xr.DataArray:
    return xr.DataArray(np.stack(frames).astype(np.float32), dims=("time", "y", "x"))
