"""Grey values to 0…1: by one range for a whole video, or window by window as published."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

Float = NDArray[np.float32]
# The range must hold the columns of a small crystal in a large frame, and leave out stray hot pixels.
_PERCENTILES = (0.1, 99.9)


def smooth(frames: ArrayLike, sigma_px: float) -> Float:
    """Gaussian smoothing of frames (…, y, x), truncated at 3 σ, edges mirrored."""
    frames = np.asarray(frames, np.float32)
    if sigma_px == 0:
        return frames
    sigmas = (0.0,) * (frames.ndim - 2) + (sigma_px, sigma_px)
    return np.asarray(ndimage.gaussian_filter(frames, sigmas, truncate=3.0, mode="reflect"), np.float32)


def grey_range(frames: ArrayLike) -> tuple[float, float]:
    """Grey values that become 0 and 1: robust extremes of smoothed frames, NaN left out.

    Returns
    -------
    low, high : float
        Equal only when every pixel has one value.
    """
    values = np.asarray(frames, np.float32).ravel()
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 0.0
    low, high = np.percentile(values, _PERCENTILES)
    return float(low), float(high)


def scale_to_range(frames: Float, low: float, high: float) -> Float:
    """`low` becomes 0, `high` 1, the rest is clipped; a range of nothing gives 0.5."""
    if not high > low:
        return np.full_like(frames, 0.5)
    return np.asarray(np.clip((frames - np.float32(low)) * np.float32(1 / (high - low)), 0, 1), np.float32)


def scale_windows(windows: Float) -> Float:
    """Each window (…, y, x) by its own minimum and maximum, as published; a constant one gives 0."""
    low = windows.min((-2, -1), keepdims=True)
    extent = windows.max((-2, -1), keepdims=True) - low
    return np.asarray((windows - low) / np.where(extent > 0, extent, 1), np.float32)
