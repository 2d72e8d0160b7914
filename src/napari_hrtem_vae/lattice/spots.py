"""Bragg spots: maxima of a whitened power spectrum that noise does not make."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise, repeat

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

    def power_of(frame: Float) -> Float:
        faded = frame - frame.mean()
        faded *= taper
        spectrum = fft.rfft2(faded, workers=1, overwrite_x=True)
        return np.asarray(spectrum.real**2 + spectrum.imag**2)

    def whitened(power: Float, noise: Float, rings: _Rings) -> Float:
        return np.asarray(power / noise[rings.of], np.float32)

    with ThreadPoolExecutor(max(1, min(workers, len(frames), _LARGEST_PX // (rows * columns)))) as pool:
        sorting = pool.submit(_Rings.within, rows, columns)
        powers = list(pool.map(power_of, frames))
        rings = sorting.result()
        half, *others = pool.map(whitened, powers, rings.noises(powers), repeat(rings))
    for other in others:
        half += other
    half /= np.float32(len(frames))
    # The other half is that of the Friedel mates, turned by 180° about the zero frequency.
    middle = columns // 2
    whole = np.empty((rows, columns), np.float32)
    whole[:, middle:] = np.roll(half[:, : columns - middle], rows // 2, axis=0)
    mates = half[np.mod(rows // 2 - np.arange(rows), rows)]
    whole[:, :middle] = mates[:, middle:0:-1]
    return whole


@dataclass(frozen=True)
class _Rings:
    """Rings of whole bins of |k| over one half of a spectrum.

    Parameters
    ----------
    of : ndarray (rows, columns)
        Which ring each place is in.
    order : ndarray (n,)
        Flat places, ring by ring.
    edges : ndarray (ring + 1,)
        Where each ring begins and ends in that order.
    """

    of: NDArray[np.uint16]
    order: NDArray[np.intp]
    edges: NDArray[np.int64]

    @classmethod
    def within(cls, rows: int, columns: int) -> _Rings:
        """The rings of a real frame's spectrum (rows, columns // 2 + 1)."""
        radius = np.hypot(fft.fftfreq(rows)[:, None], fft.rfftfreq(columns)[None])
        # As 16-bit numbers they are sorted in one go.
        of = np.minimum(radius * min(rows, columns), 2**16 - 1).astype(np.uint16)
        order = np.argsort(of, axis=None, kind="stable")
        return cls(of, order, np.append(0, np.cumsum(np.bincount(of.ravel()))))

    def noises(self, powers: Sequence[Float]) -> Float:
        """Noise power in each ring of power spectra (rows, columns) each; (n, ring)."""
        ordered = np.stack([power.ravel()[self.order] for power in powers])
        medians = np.ones((len(powers), len(self.edges) - 1), np.float32)
        for ring, (first, end) in enumerate(pairwise(self.edges)):
            if end > first:
                middle = (end - first) // 2
                parted = np.partition(ordered[:, first:end], middle, axis=1)
                below = parted[:, middle] if (end - first) % 2 else parted[:, :middle].max(1)
                medians[:, ring] = (parted[:, middle] + below) / 2
        # A median over a ring of exponential noise is ln 2 of its mean.
        noise = ndimage.median_filter(medians, (1, 7), mode="nearest") / np.float32(np.log(2))
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
    squared = np.asarray(ky**2 + kx**2, np.float32)
    # At the edge of the spectrum a spot and its Friedel mate merge: a bin more is left out.
    edge = (np.abs(ky) < 0.5 - 1.5 / rows) & (np.abs(kx) < 0.5 - 1.5 / columns)
    ring = (squared > (_FRINGES / min(rows, columns)) ** 2) & edge
    if period_px is not None:
        ring &= (squared > (_RING[0] / period_px) ** 2) & (squared < (_RING[1] / period_px) ** 2)
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
