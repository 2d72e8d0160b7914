"""Whether a lattice stays where it is while its pattern changes, as with thickness or defocus."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Float = NDArray[np.float32]
# Neighbouring cells are this far apart, in shares of the window.
_NEAREST, _FARTHEST = 0.19, 0.53
_RIDGE, _LEAST_POWER = 1e-3, 1e-6


def pattern_features(windows: Float) -> Float:
    """Numbers that tell a change of pattern from a lattice that comes, goes or moves.

    Parameters
    ----------
    windows : ndarray (n, moments, window, window)

    Returns
    -------
    ndarray (n, 5), float32
        Share of the change from first to last that is a function of the first picture's own grey levels,
        slopes and curvatures; correlation between the autocorrelations of first and change; and the highest
        of those of first, last and change, at the distances of neighbouring cells. A pattern that changes is
        a function of what was there, and all of it is periodic alike; a lattice that comes is not.
    """
    first, last = windows[:, :2].mean(1), windows[:, -2:].mean(1)
    share = _share_explained(_centred((last - first)[:, 1:-1, 1:-1]), first)
    periodic = [_neighbourhood(one) for one in (first, last, last - first)]
    alike = _correlation(periodic[0], periodic[2])
    return np.stack([share, alike, *(one.max(1) for one in periodic)], 1).astype(np.float32)


def _centred(pictures: Float) -> Float:
    """Pictures (n, …) as rows of zero mean."""
    flat = pictures.reshape(len(pictures), -1)
    return np.asarray(flat - flat.mean(1, keepdims=True))


def _share_explained(change: Float, pictures: Float) -> Float:
    """Share of each change (n, pixels) that is a sum of local functions of pictures (n, window, window)."""
    own = pictures[:, 1:-1, 1:-1]
    beside = pictures[:, 2:, 1:-1], pictures[:, :-2, 1:-1], pictures[:, 1:-1, 2:], pictures[:, 1:-1, :-2]
    curvature = sum(beside) - 4 * own
    steepness = (beside[0] - beside[1]) ** 2 + (beside[2] - beside[3]) ** 2
    functions = (own, own**2, own**3, curvature, steepness, curvature**2)
    basis = np.stack([_centred(one) for one in functions], 1)
    basis /= np.sqrt(np.square(basis).sum(2, keepdims=True)) + np.float32(_LEAST_POWER)
    product = basis @ basis.transpose(0, 2, 1) + np.float32(_RIDGE) * np.eye(len(functions), dtype=np.float32)
    seen = (basis @ change[..., None])[..., 0]
    weights = np.linalg.solve(product, seen[..., None])[..., 0]
    return np.asarray((weights * seen).sum(1) / (np.square(change).sum(1) + _LEAST_POWER), np.float32)


def _neighbourhood(pictures: Float) -> Float:
    """Autocorrelation (n, lags) at the distances of neighbouring cells, 1 where a picture repeats itself."""
    n, size = pictures.shape[0], pictures.shape[-1]
    farthest = int(_FARTHEST * size)
    padded = fft.next_fast_len(size + farthest, real=True)
    shape = (padded, padded)

    def products(of: Float) -> Float:
        power = np.square(np.abs(fft.rfft2(of, shape))).astype(np.float32)
        found = fft.irfft2(power, shape)
        return np.asarray(np.concatenate([found[:, :farthest], found[:, -farthest:]], 1)[:, :, :farthest])

    both = products(_centred(pictures).reshape(n, size, size))
    overlap = products(np.ones((1, size, size), np.float32))
    relative = both / overlap
    relative /= relative[:, :1, :1] + np.float32(_LEAST_POWER)
    down = np.concatenate([np.arange(farthest), np.arange(-farthest, 0)])
    distance = np.hypot(down[:, None], np.arange(farthest))
    return np.asarray(relative[:, (distance >= _NEAREST * size) & (distance <= farthest)])


def _correlation(one: Float, other: Float) -> Float:
    """Of the rows of two arrays (n, values)."""
    a, b = (each - each.mean(1, keepdims=True) for each in (one, other))
    scale = np.sqrt(np.square(a).sum(1) * np.square(b).sum(1)) + np.float32(_LEAST_POWER)
    return np.asarray((a * b).sum(1) / scale)
