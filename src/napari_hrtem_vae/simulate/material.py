"""What simulated micrographs are made of: nets of atom columns, crystal shapes, amorphous film."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

Float = NDArray[np.float32]


def columns(y: Float, x: Float, period: float, angle: float, phase: Float, sharpness: Float) -> Float:
    """A square net of atom columns with mean 0 and peak-to-mean about 1.

    Parameters
    ----------
    y, x : ndarray
        Positions in px.
    period : float
        Distance of neighbouring columns in px.
    angle : float
        Direction of the first fringes in rad, clockwise on a screen with y down.
    phase : ndarray (2,)
        Shift of the two sets of fringes in rad.
    sharpness : ndarray (2,)
        Concentration of each set: 0 is none, 1 about a cosine, 3 narrow dots.
    """
    u = (np.cos(angle) * x + np.sin(angle) * y) * (2 * np.pi / period) + phase[0]
    v = (-np.sin(angle) * x + np.cos(angle) * y) * (2 * np.pi / period) + phase[1]
    # von Mises profile: periodic, smooth, of any width, with a known mean.
    net = np.exp(sharpness[0] * (np.cos(u) - 1)) * np.exp(sharpness[1] * (np.cos(v) - 1))
    mean = float(np.prod(special.ive(0, sharpness)))
    return np.asarray((net - mean) / max(1 - mean, 0.1), np.float32)


def film(rng: np.random.Generator, shape: tuple[int, int], grain_px: float, strength: float) -> Float:
    """Amorphous speckle: Gaussian random field of given correlation and standard deviation."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), grain_px, mode="wrap")
    return np.asarray(noise * (strength / noise.std()), np.float32)


def faceted_crystal(y: Float, x: Float, centre: tuple[float, float], radii: tuple[float, float]) -> Float:
    """A rounded rectangle (superellipse of order 4), 1 inside, 0 outside, its edge one pixel soft.

    Parameters
    ----------
    y, x : ndarray
        Positions in px, of one shape or open grids.
    centre, radii : tuple of float
        Along y and x, in px.
    """
    v, u = (y - centre[0]) / radii[0], (x - centre[1]) / radii[1]
    sum4 = v**4 + u**4
    # No level changes faster than this a pixel: beyond half of it from the edge all is 1 or 0.
    half = 0.5 * np.hypot(1 / radii[0], 1 / radii[1])
    covered = (sum4 < 1).astype(np.float32)
    edge = np.nonzero((sum4 > max(1 - half, 0) ** 4) & (sum4 < (1 + half) ** 4))
    v, u = (np.broadcast_to(one, sum4.shape)[edge] for one in (v, u))
    level = sum4[edge] ** 0.25
    # Distance to the edge is the level over its gradient.
    gradient = np.hypot(u**3 / radii[1], v**3 / radii[0]) / np.maximum(level, 1e-6) ** 3
    covered[edge] = np.clip(0.5 - (level - 1) / np.maximum(gradient, 1e-6), 0, 1)
    return covered
