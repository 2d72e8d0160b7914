"""What the sites around one show: what changes its contrast does so all over, what grows at its edge."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Float = NDArray[np.float32]
Double = NDArray[np.float64]
# Deviations of the Gaussians that sites are averaged by, in sites that are read, and where they end.
_REACHES, _TRUNCATED = (1.5, 3.0), 2.5
_LEAST_POWER = 1e-7
_MOST = 30.0


def surroundings(changes: Float, power: Float, known: NDArray[np.bool_]) -> Float:
    """What changes are like around each site, those that change the most counting the most.

    Parameters
    ----------
    changes : ndarray (y, x, feature)
        What the change of each site is like.
    power : ndarray (y, x)
        Mean square of it.
    known : ndarray (y, x), bool
        Sites of which both are known.

    Returns
    -------
    ndarray (y, x, 2 · (feature + 1)), float32
        Near and farther: averages of `changes` weighted by `power`, and the log of the mean power against
        the site's own.
    """
    weight = np.where(known, power, 0).astype(float)[..., None]
    values = np.where(known[..., None], changes.clip(-_MOST, _MOST), 0).astype(float)
    there = known.astype(float)[..., None]
    found = []
    for reach in _REACHES:
        total, count = _averaged(weight, reach), _averaged(there, reach)
        found.append(_averaged(weight * values, reach) / np.maximum(total, _LEAST_POWER**2))
        mean = total / np.maximum(count, _LEAST_POWER)
        found.append(np.log((mean + _LEAST_POWER) / (weight + _LEAST_POWER)))
    return np.concatenate(found, -1).astype(np.float32)


def _averaged(values: Double, reach: float) -> Double:
    """Values (y, x, …) smoothed over the sites around."""
    sigma = (reach, reach, 0)
    return np.asarray(ndimage.gaussian_filter(values, sigma, mode="constant", truncate=_TRUNCATED))
