"""What a video still moves as a whole where its drift was taken out, or was never large: parts of a pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Double = NDArray[np.float64]
# So many of the parts of a frame move as one, at the least; those that do are found in so many rounds.
_TOGETHER, _ROUNDS = 0.4, 8
_FEWEST_PARTS = 8
# Px: where noise tells parts worse, what moves otherwise is not told from it; beyond, pictures are not alike.
_LARGEST_ERROR, _FARTHEST = 0.03, 1.0


class ShiftsFromMean:
    """Shifts of the parts of frames against a mean frame, as far as its gradient tells them.

    Parameters
    ----------
    mean : ndarray (y, x)
    side : int
        Of each part, in px.

    References
    ----------
    Lucas & Kanade 1981, Proc. IJCAI, 674, eq. 14: one step, as shifts are small.
    """

    def __init__(self, mean: Float, side: int) -> None:
        self._mean, self._side = mean, side
        self._along_y, self._along_x = (np.asarray(one, np.float32) for one in np.gradient(mean))
        self._yy = self._sums(self._along_y, self._along_y)
        self._yx = self._sums(self._along_y, self._along_x)
        self._xx = self._sums(self._along_x, self._along_x)
        with np.errstate(divide="ignore"):
            self._inverse = 1 / (self._yy * self._xx - self._yx**2)

    def of(self, frame: Float) -> tuple[Double, float]:
        """Shifts (part, 2) in px along y and x of a frame's parts, and what error noise gives most of them.

        NaN where a part shows nothing.
        """
        away = frame - self._mean
        y, x = self._sums(self._along_y, away), self._sums(self._along_x, away)
        with np.errstate(invalid="ignore"):
            along_y = (self._xx * y - self._yx * x) * self._inverse
            along_x = (self._yy * x - self._yx * y) * self._inverse
            left = self._sums(away, away) - along_y * y - along_x * x
            variance = left / self._side**2 * (self._yy + self._xx) * self._inverse / 2
        told = np.isfinite(variance)
        shifts = np.where(told[:, None], np.stack([along_y, along_x], axis=1), np.nan)
        return shifts, float(np.sqrt(max(np.median(variance[told]), 0))) if told.any() else np.inf

    def put_back(self, frame: Float, shift: Double) -> Float:
        """A frame as it would be had it not shifted by (y, x) px."""
        y, x = np.asarray(shift, np.float32)
        return np.asarray(frame - y * self._along_y - x * self._along_x, np.float32)

    def _sums(self, one: Float, other: Float) -> Double:
        rows, columns = (size // self._side for size in one.shape)
        product = (one * other)[: rows * self._side, : columns * self._side]
        parts = product.reshape(rows, self._side, columns, self._side)
        return np.asarray(parts.sum((1, 3), dtype=np.float64).ravel())


def shared_shifts(shifts: Sequence[Double], errors: Sequence[float]) -> Double | None:
    """How the parts of a video move together, frame by frame: as the four tenths do that agree best.

    Parameters
    ----------
    shifts : sequence of ndarray (part, 2)
        Of each frame, see `ShiftsFromMean`.
    errors : sequence of float
        Of a part's shift in each frame, in px.

    Returns
    -------
    ndarray (frame, 2), or None
        None where noise hides it, or where the video moves by more than a pixel.

    References
    ----------
    Rousseeuw & Van Driessen 2006, Data Min. Knowl. Discov. 12, 29 (least trimmed squares by concentration).
    """
    told = np.stack(shifts)
    told = told[:, np.isfinite(told).all((0, 2))]
    if told.shape[1] < _FEWEST_PARTS or np.median(errors) > _LARGEST_ERROR:
        return None
    shared = np.median(told, axis=1)
    for _ in range(_ROUNDS):
        apart = np.square(told - shared[:, None]).sum((0, 2))
        shared = np.median(told[:, apart <= np.quantile(apart, _TOGETHER)], axis=1)
    return None if np.hypot(*shared.T).max() > _FARTHEST else np.asarray(shared)
