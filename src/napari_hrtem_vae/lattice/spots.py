"""Bragg spots: maxima of a whitened power spectrum that noise does not make."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, stats

from ..video.fringes import whitened_power
from .conventions import Double
from .grid import Float

_FALSE_ALARMS = 1e-3  # a spectrum
_MOST_SPOTS = 200
_SEPARATION = 2.5  # bins
_FRINGES = 10  # across the frame, at least
# Around a period that is given, spots of its net and a little more are of interest.
_RING = (0.6, 2.3)
_SAME_NODE = 0.1  # of the shortest vector


@dataclass(frozen=True)
class Spots:
    """Bragg spots, one of each Friedel pair, strongest first.

    Parameters
    ----------
    k : ndarray (n, 2)
        (ky, kx) in cycles per px, kx ≥ 0 to within half a bin.
    power : ndarray (n,)
        Over the noise of the spectrum around.
    """

    k: Double
    power: Double

    def outside(self, bases: list[Double]) -> Spots:
        """The spots that are nodes of none of the nets."""
        kept = np.ones(len(self.k), bool)
        for basis in bases:
            kept &= ~is_node(self.k, basis)
        return Spots(self.k[kept], self.power[kept])


def is_node(k: Double, basis: Double) -> NDArray[np.bool_]:
    """Which k (n, 2) lie on the net of a basis (2, 2), up to the second order."""
    order = k @ np.linalg.inv(basis)
    away = np.hypot(*((order - np.round(order)) @ basis).T)
    near = np.abs(np.round(order)).max(1)
    shortest = min(np.hypot(*basis.T))
    return np.asarray((away < _SAME_NODE * shortest) & (near > 0) & (near <= 2))


def whitened_spectrum(frames: Float) -> Float:
    """Mean power spectrum of frames (n, rows, columns) over the noise at each |k|.

    Returns
    -------
    ndarray (rows, columns)
        Zero frequency in the middle, as `numpy.fft.fftshift` puts it; 1 where there is noise alone.
    """
    half = np.stack([whitened_power(frame) for frame in frames]).mean(0)
    columns = frames.shape[2]
    mirrored = np.roll(half[::-1], 1, axis=0)[:, 1 : (columns + 1) // 2][:, ::-1]
    return np.asarray(fft.fftshift(np.concatenate([half, mirrored], axis=1)), np.float32)


def find_spots(whitened: Float, frames: int, period_px: float | None = None) -> Spots:
    """Spots that stand out at a constant rate of false alarms.

    Parameters
    ----------
    whitened : ndarray (rows, columns)
        As `whitened_spectrum` makes it.
    frames : int
        How many frames it is the mean of.
    period_px : float, optional
        Distance of fringes; spots far from its net are left out.
    """
    rows, columns = whitened.shape
    smooth = ndimage.gaussian_filter(whitened, 1.0, mode="wrap")
    ky = fft.fftshift(fft.fftfreq(rows))[:, None]
    kx = fft.fftshift(fft.fftfreq(columns))[None]
    radius = np.hypot(ky, kx)
    # At the edge of the spectrum a spot and its Friedel mate merge: a bin more is left out.
    edge = (np.abs(ky) < 0.5 - 1.5 / rows) & (np.abs(kx) < 0.5 - 1.5 / columns)
    ring = (radius > _FRINGES / min(rows, columns)) & edge
    if period_px is not None:
        ring &= (radius > _RING[0] / period_px) & (radius < _RING[1] / period_px)
    ring &= (kx > 0) | ((kx == 0) & (ky > 0))
    if not ring.any():
        return Spots(np.empty((0, 2)), np.empty(0))
    values = smooth[ring]
    middle = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - middle))) + 1e-9
    # The film is the same in all frames: their mean is no smoother than one of them where it prevails.
    shape = max((middle / spread) ** 2 / frames, 0.5)
    threshold = middle * stats.gamma.isf(_FALSE_ALARMS / values.size, shape) / shape
    highest = ndimage.maximum_filter(smooth, size=2 * int(np.ceil(_SEPARATION)) + 1, mode="wrap")
    found = np.argwhere((smooth == highest) & ring & (smooth > threshold))
    power = smooth[tuple(found.T)]
    order = np.argsort(-power, kind="stable")[:_MOST_SPOTS]
    found, power = found[order], power[order]
    offset = np.stack([_vertex(np.log(smooth), found, axis) for axis in (0, 1)], axis=1)
    k = (found + offset - np.array([rows // 2, columns // 2])) / np.array([rows, columns])
    return Spots(k, np.asarray(power, np.float64))


def _vertex(values: Float, found: NDArray[np.intp], axis: int) -> Double:
    """Offset of the vertex of a parabola through three neighbours along an axis."""
    step = np.eye(2, dtype=int)[axis]
    below, at, above = (
        values[tuple(((found + shift * step) % values.shape).T)].astype(np.float64) for shift in (-1, 0, 1)
    )
    bend = np.minimum(below - 2 * at + above, -1e-9)
    return np.asarray(np.clip(0.5 * (below - above) / bend, -1, 1))
