"""Drifting specimens with known truth: a film, and on it a crystal that shrinks and turns."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy import ndimage

PERIOD = 12.0


def specimen(
    shifts: np.ndarray,
    *,
    dose: float | None,
    seed: int = 0,
    shape: tuple[int, int] = (256, 288),
    film: float = 0.03,
    crystal: str = "shrinking",
) -> xr.DataArray:
    """Frames whose contents lie at `shifts` (frames, 2) px; without a dose, without noise.

    `crystal` is "shrinking" (one particle, of half the frame's height at first, that turns by 3°),
    "everywhere" or "none".
    """
    rng = np.random.default_rng(seed)
    margin = int(np.abs(shifts).max()) + 8
    wide = tuple(size + 2 * margin for size in shape)
    texture = ndimage.gaussian_filter(rng.standard_normal(wide), 1.5, mode="wrap")
    texture *= film / texture.std()
    frames = np.empty((len(shifts), *shape), np.float32)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    for number, (dy, dx) in enumerate(shifts):
        time = number / max(len(shifts) - 1, 1)
        moved = np.fft.ifft2(ndimage.fourier_shift(np.fft.fft2(texture), (dy, dx))).real
        image = 1 + moved[margin : margin + shape[0], margin : margin + shape[1]]
        if crystal != "none":
            v, u = y - shape[0] / 2 - dy, x - shape[1] / 2 - dx
            angle = np.deg2rad(10 + (3 * time if crystal == "shrinking" else 0))
            along, across = np.cos(angle) * u + np.sin(angle) * v, np.cos(angle) * v - np.sin(angle) * u
            fringes = np.cos(2 * np.pi * along / PERIOD) + np.cos(2 * np.pi * across / PERIOD)
            inside = 1.0
            if crystal == "shrinking":
                inside = np.clip(shape[0] / 4 * (1 - 0.3 * time) - np.hypot(u - 20, v), 0, 1)
            image = image - inside * (0.1 + 0.1 * fringes)
        frames[number] = image if dose is None else rng.poisson(np.maximum(image, 0) * dose)
    return xr.DataArray(frames, dims=("time", "y", "x"))


def random_walk(frames: int, step_px: float, seed: int) -> np.ndarray:
    """Shifts (frames, 2) that begin at 0; each step has a standard deviation of `step_px` along each axis."""
    steps = np.random.default_rng(seed).normal(0, step_px, (frames, 2))
    steps[0] = 0
    return np.cumsum(steps, axis=0)
