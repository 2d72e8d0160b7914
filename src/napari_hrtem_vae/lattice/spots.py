"""Bragg spots: maxima of a whitened power spectrum that noise does not make."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, special

from ..video.taper import tukey_taper
from .conventions import Double
from .grid import Float

_LARGEST_PX = 1 << 24  # of the frames that are transformed at a time
_FALSE_ALARMS = 1e-3  # a spectrum
_MOST_SPOTS = 200
_SEPARATION = 2.5  # bins
_BEYOND = 8  # bins, more than the Gaussian and the separation reach
_SAMPLE = 1 << 17  # values that the noise is estimated from
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


def whitened_spectrum(frames: Float, workers: int = 1) -> Float:
    """Mean power spectrum of frames (n, rows, columns) over the noise at each |k|.

    Parameters
    ----------
    frames : ndarray (n, rows, columns)
    workers : int
        How many frames are transformed at a time.

    Returns
    -------
    ndarray (rows, columns)
        Zero frequency in the middle, as `numpy.fft.fftshift` puts it; 1 where there is noise alone.
    """
    rows, columns = frames.shape[1:]
    taper = tukey_taper((rows, columns))
    radius = np.hypot(fft.fftfreq(rows)[:, None], fft.rfftfreq(columns)[None])
    # Whole bins of radius; as 16-bit numbers they are sorted in one go.
    ring = np.minimum(radius * min(rows, columns), 2**16 - 1).astype(np.uint16)
    order = np.argsort(ring, axis=None, kind="stable")
    edges = np.append(0, np.cumsum(np.bincount(ring.ravel())))

    def whitened(frame: Float) -> Float:
        spectrum = fft.rfft2((frame - frame.mean()) * taper, workers=1)
        power = spectrum.real**2 + spectrum.imag**2
        return np.asarray(power / _ring_noise(power.ravel()[order], edges)[ring], np.float32)

    with ThreadPoolExecutor(max(1, min(workers, len(frames), _LARGEST_PX // (rows * columns)))) as pool:
        half = np.sum(list(pool.map(whitened, frames)), axis=0) / np.float32(len(frames))
    mirrored = np.roll(half[::-1], 1, axis=0)[:, 1 : (columns + 1) // 2][:, ::-1]
    return np.asarray(fft.fftshift(np.concatenate([half, mirrored], axis=1)), np.float32)


def _ring_noise(power: Float, edges: NDArray[np.int64]) -> Float:
    """Noise power of each ring, from the powers in order of rings and where each ring begins and ends."""
    medians = np.ones(len(edges) - 1, np.float32)
    for ring, (first, end) in enumerate(pairwise(edges)):
        if end > first:
            middle = (end - first) // 2
            ordered = np.partition(power[first:end], middle)
            below = ordered[middle] if (end - first) % 2 else ordered[:middle].max()
            medians[ring] = (ordered[middle] + below) / 2
    # A median over a ring of exponential noise is ln 2 of its mean.
    noise = ndimage.median_filter(medians, 7, mode="nearest") / np.float32(np.log(2))
    return np.asarray(np.maximum(noise, 1e-12), np.float32)


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
    # The half where kx ≥ 0 holds all there is; the Gaussian and the maxima look a little beyond its ends.
    part = np.arange(columns // 2 - _BEYOND, columns + _BEYOND)
    smooth = ndimage.gaussian_filter(whitened.take(part, 1, mode="wrap"), 1.0, mode=("wrap", "nearest"))
    ky = fft.fftshift(fft.fftfreq(rows))[:, None]
    kx = (part - columns // 2)[None] / columns
    radius = np.hypot(ky, kx)
    # At the edge of the spectrum a spot and its Friedel mate merge: a bin more is left out.
    edge = (np.abs(ky) < 0.5 - 1.5 / rows) & (np.abs(kx) < 0.5 - 1.5 / columns)
    ring = (radius > _FRINGES / min(rows, columns)) & edge
    if period_px is not None:
        ring &= (radius > _RING[0] / period_px) & (radius < _RING[1] / period_px)
    ring &= ((kx > 0) | ((kx == 0) & (ky > 0))) & (part < columns)
    if not ring.any():
        return Spots(np.empty((0, 2)), np.empty(0))
    values = smooth[ring]
    candidates = values.size
    values = values[:: max(1, candidates // _SAMPLE)]
    middle = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - middle))) + 1e-9
    # The film is the same in all frames: their mean is no smoother than one of them where it prevails.
    shape = max((middle / spread) ** 2 / frames, 0.5)
    threshold = middle * special.gammainccinv(shape, _FALSE_ALARMS / candidates) / shape
    found = np.argwhere(ring & (smooth > threshold))
    around = np.arange(-int(np.ceil(_SEPARATION)), int(np.ceil(_SEPARATION)) + 1)
    y, x = (np.mod(found[:, axis, None] + around, smooth.shape[axis]) for axis in (0, 1))
    highest = smooth[y[:, :, None], x[:, None, :]].max((1, 2))
    found = found[smooth[tuple(found.T)] == highest]
    power = smooth[tuple(found.T)]
    order = np.argsort(-power, kind="stable")[:_MOST_SPOTS]
    found, power = found[order], power[order]
    offset = np.stack([_vertex(smooth, found, axis) for axis in (0, 1)], axis=1)
    k = (found + offset - np.array([rows // 2, _BEYOND])) / np.array([rows, columns])
    return Spots(k, np.asarray(power, np.float64))


def _vertex(values: Float, found: NDArray[np.intp], axis: int) -> Double:
    """Offset of the vertex of a parabola through the logarithms of three neighbours along an axis."""
    step = np.eye(2, dtype=int)[axis]
    below, at, above = (
        np.log(values[tuple(((found + shift * step) % values.shape).T)].astype(np.float64))
        for shift in (-1, 0, 1)
    )
    bend = np.minimum(below - 2 * at + above, -1e-9)
    return np.asarray(np.clip(0.5 * (below - above) / bend, -1, 1))
