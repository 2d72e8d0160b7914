"""Enlarging and smoothing frames: both are linear along each axis, so one matrix an axis does both."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from .geometry import enlarged_size


def mirrored(index: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Indices beyond the edges folded back (d c b a | a b c d | d c b a)."""
    index = index % (2 * size)
    return np.where(index < size, index, 2 * size - 1 - index)


def _cubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cubic convolution kernel with a = −1/2 (Keys 1981)."""
    d = np.abs(distance)
    near = 1.5 * d**3 - 2.5 * d**2 + 1
    far = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return np.where(d < 1, near, np.where(d < 2, far, 0.0))


def _banded(first: NDArray[np.int64], weights: NDArray[np.float64], size: int) -> sparse.csr_array:
    """Rows of `weights` placed from the column `first` on, mirrored at the edges."""
    rows, width = weights.shape
    columns = mirrored(first[:, None] + np.arange(width), size)
    row = np.repeat(np.arange(rows), width)
    return sparse.csr_array(sparse.coo_array((weights.ravel(), (row, columns.ravel())), shape=(rows, size)))


def enlarging_operator(size: int, zoom: float) -> sparse.csr_array:
    """Cubic interpolation of an axis of `size` px; below zoom 1 the kernel widens, against aliasing.

    Returns
    -------
    csr_array (enlarged size, size)
    """
    centres = (np.arange(enlarged_size(size, zoom)) + 0.5) / zoom - 0.5
    stretch = max(1.0, 1 / zoom)
    first = np.ceil(centres - 2 * stretch).astype(np.int64)
    taps = np.arange(int(np.ceil(4 * stretch)) + 1)
    weights = _cubic((first[:, None] + taps - centres[:, None]) / stretch)
    return _banded(first, weights / weights.sum(1, keepdims=True), size)


def gaussian_taps(sigma_px: float) -> NDArray[np.float64]:
    """Weights of a Gaussian truncated at 3 σ; an odd number of them, their sum 1."""
    radius = int(3.0 * sigma_px + 0.5)
    impulse = np.zeros(2 * radius + 1)
    impulse[radius] = 1
    return np.asarray(ndimage.gaussian_filter1d(impulse, sigma_px, truncate=3.0, mode="constant"))


def smoothing_operator(size: int, sigma_px: float) -> sparse.csr_array:
    """Gaussian smoothing of an axis, truncated at 3 σ; equals `scaling.smooth`."""
    taps = gaussian_taps(sigma_px)
    first = np.arange(size) - len(taps) // 2
    return _banded(first, np.tile(taps, (size, 1)), size)


def axis_operator(size: int, zoom: float, sigma_px: float) -> sparse.csr_array:
    """Enlarging by `zoom`, then smoothing by `sigma_px` (px of the enlarged frame).

    Returns
    -------
    csr_array (enlarged size, size)
    """
    operator = enlarging_operator(size, zoom)
    if sigma_px > 0:
        operator = sparse.csr_array(smoothing_operator(enlarged_size(size, zoom), sigma_px) @ operator)
    return operator


def input_range(operator: sparse.csr_array, start: int, stop: int) -> tuple[int, int]:
    """Pixels [first, last) of the video's axis that the enlarged pixels [start, stop) depend on."""
    touched = operator.indices[operator.indptr[start] : operator.indptr[stop]]
    return int(touched.min()), int(touched.max()) + 1
