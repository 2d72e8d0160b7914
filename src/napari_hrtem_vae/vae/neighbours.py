"""Averages over neighbouring sites, whose windows overlap."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Float = NDArray[np.float32]
Double = NDArray[np.float64]
Bools = NDArray[np.bool_]
# Deviations beyond which a neighbour says nothing.
_TRUNCATED = 2.0
# Neighbours that change by this factor more, or less, count by exp(−1/2). With e, sites at the edges of what
# changes stand alone (an edge by 1 nm: area 0.9999 for 1.0000); with 4.5, twice as many still sites light up
# beside a pair that changes on a film that stands still.
_ALIKE = 3.5
# Where sites lie closer, not all neighbours are asked, but so many to a deviation.
_ASKED = 2
_SMALLEST = 1e-12


class Neighbours:
    """Sites that are told, at their places.

    Parameters
    ----------
    sites : ndarray (y, x), bool
    per_window : float
        Width of a window in distances of sites.
    """

    def __init__(self, sites: Bools, per_window: float) -> None:
        self._sites, self._per_window = sites, per_window

    def put(self, values: Float | Double | Bools) -> Double:
        """Values of the sites (n,) as a map (y, x), NaN elsewhere."""
        out = np.full(self._sites.shape, np.nan)
        out[self._sites] = values
        return out

    def averaged(self, values: Float | Double, reach: float) -> Double:
        """Values (n,) averaged over neighbours by a Gaussian of this deviation, in windows."""
        sigma = reach * self._per_window
        values_there, there = (
            ndimage.gaussian_filter(np.nan_to_num(one), sigma, mode="constant", truncate=_TRUNCATED)
            for one in (self.put(values), self._sites.astype(float))
        )
        return np.asarray((values_there / there.clip(_SMALLEST))[self._sites])

    def averaging_alike(self, change: Float | Double, reach: float) -> Callable[[Float | Double], Double]:
        """What averages values (n,) over neighbours that change alike: strong change stays where it is.

        Parameters
        ----------
        change : ndarray (n,)
            By how much each site changes.
        reach : float
            Deviation of the Gaussian, in windows.

        References
        ----------
        Tomasi & Manduchi 1998, Proc. ICCV, 839 (bilateral filter).
        """
        sigma = reach * self._per_window
        logarithm = self.put(np.log(np.maximum(change, _SMALLEST)) / math.log(_ALIKE)).astype(np.float32)
        apart = max(1, int(sigma / _ASKED))
        farthest = int(_TRUNCATED * sigma + 0.5) // apart * apart
        # Half of the distances, as two sites count as much to each other.
        across = range(-farthest, farthest + 1, apart)
        distances = [(down, right) for down in across for right in across if (down, right) > (0, 0)]

        def averaged(values: Float | Double) -> Double:
            there = np.nan_to_num(self.put(values)).astype(np.float32)
            total, weights = there.copy(), np.ones_like(there)
            for down, right in distances:
                one, other = zip(_overlap(down), _overlap(right), strict=True)
                near = np.float32(math.exp(-(down**2 + right**2) / (2 * sigma**2)))
                weight = near * np.exp(-np.square(logarithm[one] - logarithm[other]) / 2)
                np.nan_to_num(weight, copy=False)
                for to, of in ((one, other), (other, one)):
                    total[to] += weight * there[of]
                    weights[to] += weight
            return np.asarray((total / weights)[self._sites], np.float64)

        return averaged


def _overlap(distance: int) -> tuple[slice, slice]:
    """Along an axis: all that lie so far on from another, and these others."""
    if distance < 0:
        return slice(None, distance), slice(-distance, None)
    return slice(distance, None), slice(None, -distance or None)
