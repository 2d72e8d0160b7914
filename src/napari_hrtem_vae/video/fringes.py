"""The fringe period of a video, by Fourier transform, without knowing its pixel size."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import fft, ndimage

from .taper import tukey_taper

_FRAMES = 3
_SIZE = 1024
# White noise exceeds its own ring median by this factor less than once in a thousand frames of 1024².
_THRESHOLD = 20.0
_LONGEST = 1 / 6  # of the frame: longer periods have no six fringes in it


def whitened_power(frame: NDArray[np.float32]) -> NDArray[np.float32]:
    """Power spectrum over its own ring median, zero frequency at (0, 0), half plane of `rfft2`."""
    tapered = (frame - frame.mean()) * tukey_taper(frame.shape)
    power = np.abs(fft.rfft2(tapered, workers=-1)) ** 2
    radius = _radius(frame.shape)
    bins = np.minimum((radius * min(frame.shape)).astype(int), min(frame.shape))
    order = np.argsort(bins, axis=None)
    edges = np.searchsorted(bins.ravel()[order], np.arange(bins.max() + 2))
    ring = np.array([np.median(power.ravel()[order[a:b]]) if b > a else 1.0 for a, b in pairwise(edges)])
    # A median over a ring of exponential noise is ln 2 of its mean.
    ring = ndimage.median_filter(ring, 7, mode="nearest") / np.log(2)
    return np.asarray(power / np.maximum(ring[bins], 1e-12), np.float32)


def fringe_period_px(video: xr.DataArray) -> float | None:
    """Period of the strongest lattice fringes in px; None when nothing stands out.

    Parameters
    ----------
    video : DataArray (time, y, x)
        The first, middle and last frame are read, 1024² of their centre.
    """
    rows, columns = (
        slice(max(0, (size - _SIZE) // 2), max(0, (size - _SIZE) // 2) + _SIZE) for size in video.shape[1:]
    )
    picks = sorted({0, len(video) // 2, len(video) - 1})[:_FRAMES]
    frames = np.asarray(video[picks, rows, columns], np.float32)
    frames = frames[np.isfinite(frames).all((1, 2))]
    if len(frames) == 0 or min(frames.shape[1:]) < 16:
        return None
    power = np.mean([whitened_power(frame) for frame in frames], axis=0)
    radius = _radius(frames.shape[1:])
    longest = _LONGEST * min(frames.shape[1:])
    allowed = (radius > 1 / longest) & (radius < 0.48)
    smooth = ndimage.gaussian_filter(power, 0.7, mode=("wrap", "nearest"))
    smooth[~allowed] = 0
    peak = np.unravel_index(int(smooth.argmax()), smooth.shape)
    if power[peak] < _THRESHOLD:
        return None
    # The centre of mass of the peak, against the width of a bin.
    window = [(np.arange(i - 1, i + 2)) for i in peak]
    window[0] %= power.shape[0]
    window[1] = np.clip(window[1], 0, power.shape[1] - 1)
    weights = power[np.ix_(*window)]
    return float(weights.sum() / (weights * radius[np.ix_(*window)]).sum())


def _radius(shape: tuple[int, ...]) -> NDArray[np.float64]:
    return np.hypot(fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])[None])
