"""Where one frame lies against another, by correlation of their filtered spectra."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from .taper import tukey_taper

Float = NDArray[np.float32]
Double = NDArray[np.float64]
Complex = NDArray[np.complex64]
# Amplitudes above this many times those of their ring are Bragg spots of a crystal, which may move otherwise
# than its support, and would all by themselves decide where the frame lies.
_LIMIT = 2.5
_NEWTON_STEPS = 6


@dataclass(frozen=True)
class Match:
    """Where a frame lies.

    Parameters
    ----------
    shift : ndarray (2,)
        Along y and x in px of the correlated frames; that of the frame's contents against the reference.
    strength : float
        Height of the correlation's peak in its own standard deviations.
    rival : float
        Height of the next peak, as a share.
    sigma : ndarray (2,)
        Standard error of `shift`.
    """

    shift: Double
    strength: float
    rival: float
    sigma: Double

    @property
    def mean_sigma(self) -> float:
        """Standard error along either axis."""
        return float(np.sqrt((self.sigma**2).mean()))


class Correlator:
    """Spectra of frames of one size, and their correlation.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the frames.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self._taper = tukey_taper(shape)
        self.ky, self.kx = fft.fftfreq(shape[0]), fft.rfftfreq(shape[1])
        self.radius = np.hypot(self.ky[:, None], self.kx[None])
        least = min(shape)
        self._ring = np.minimum((self.radius * least).astype(np.int64), least * 3 // 4)
        self._order = np.argsort(self._ring, axis=None, kind="stable")
        self._edges = np.searchsorted(self._ring.ravel()[self._order], np.arange(int(self._ring.max()) + 2))
        # All columns of a half spectrum but the first, and the last of an even size, stand for two.
        self._weight = np.full(len(self.kx), 2.0, np.float32)
        self._weight[0] = 1
        if shape[1] % 2 == 0:
            self._weight[-1] = 1

    def spectrum(self, frame: Float) -> Complex:
        """Half spectrum of a frame (y, x) without its mean, tapered towards its edges."""
        return np.asarray(fft.rfft2((frame - frame.mean()) * self._taper), np.complex64)

    def ring_power(self, spectrum: Complex) -> Double:
        """Power by ring of |k|, from the median, which spots do not move; one value a bin of the frame."""
        power = (spectrum.real**2 + spectrum.imag**2).ravel()[self._order]
        middles = [
            np.partition(power[a:b], (b - a) // 2)[(b - a) // 2] if b > a else 0.0
            for a, b in pairwise(self._edges)
        ]
        # A median of exponential noise is ln 2 of its mean.
        smooth = ndimage.median_filter(np.array(middles) / np.log(2), 5, mode="nearest")
        return np.asarray(np.exp(ndimage.uniform_filter1d(np.log(smooth + 1e-30), 7, mode="nearest")))

    def spread(self, by_ring: Double) -> Float:
        """Values by ring, laid out as a spectrum."""
        return np.asarray(by_ring[self._ring], np.float32)

    def limited(self, spectrum: Complex, ring_power: Double) -> Complex:
        """A spectrum without amplitudes far above those of their ring; phases stay."""
        most = _LIMIT * np.sqrt(self.spread(ring_power))
        magnitude = np.abs(spectrum)
        return np.asarray(spectrum * (most / np.maximum(np.maximum(magnitude, most), 1e-20)), np.complex64)

    def moved(self, spectrum: Complex, shift: Double) -> Complex:
        """The spectrum of a frame after its contents moved by `shift`."""
        along_y = np.exp(-2j * np.pi * self.ky * shift[0]).astype(np.complex64)
        along_x = np.exp(-2j * np.pi * self.kx * shift[1]).astype(np.complex64)
        return np.asarray(spectrum * along_y[:, None] * along_x, np.complex64)

    def match(self, product: Complex, near: Double, reach: tuple[float, float], apart: float) -> Match:
        """The highest peak of a correlation.

        Parameters
        ----------
        product : ndarray
            Spectrum of the frame times the conjugate of the reference's, filtered.
        near : ndarray (2,)
            Where the peak is looked for, in px.
        reach : tuple of float
            How far from there along y and x.
        apart : float
            Peaks closer than this to the highest are parts of it.
        """
        surface = fft.irfft2(product, self.shape)
        wrapped = [
            (np.arange(size) - centre + size / 2) % size - size / 2
            for size, centre in zip(self.shape, near, strict=True)
        ]
        allowed = [
            np.flatnonzero(np.abs(offset) <= most) for offset, most in zip(wrapped, reach, strict=True)
        ]
        window = surface[np.ix_(*allowed)]
        row, column = np.unravel_index(int(window.argmax()), window.shape)
        height = float(window[row, column])
        offsets = [wrapped[0][allowed[0]], wrapped[1][allowed[1]]]
        coarse = np.array([offsets[0][row], offsets[1][column]])
        far = np.hypot(offsets[0][:, None] - coarse[0], offsets[1][None] - coarse[1]) > apart
        rival = float(window[far].max()) if far.any() else 0.0
        rival = rival / height if height > 0 else 1.0
        return self._refine(product, near + coarse, rival)

    def _refine(self, product: Complex, start: Double, rival: float) -> Match:
        """Newton's way to the top of the band-limited peak, and its errors from the phases left over."""
        shift, unknown = start.copy(), Match(start, 0.0, rival, np.full(2, np.inf))
        ky, kx = 2 * np.pi * self.ky, 2 * np.pi * self.kx
        for step in range(_NEWTON_STEPS + 1):
            along_y = np.exp(1j * ky * shift[0])
            along_x = np.exp(1j * kx * shift[1]) * self._weight
            by_row = product @ np.stack([along_x, kx * along_x, kx**2 * along_x], 1).astype(np.complex64)
            by_order = np.stack([along_y, ky * along_y, ky**2 * along_y]) @ by_row
            height = float(by_order[0, 0].real)
            slope = np.array([by_order[1, 0].imag, by_order[0, 1].imag])
            mixed = by_order[1, 1].real
            curvature = np.array([[by_order[2, 0].real, mixed], [mixed, by_order[0, 2].real]])
            bends, axes = np.linalg.eigh(curvature)
            if step < _NEWTON_STEPS:
                # Uphill even where the surface is not yet a dome.
                along = (axes.T @ -slope) / np.maximum(np.abs(bends), 1e-3 * np.abs(bends).max() + 1e-300)
                shift = shift + np.clip(axes @ along, -0.5, 0.5)
        if height <= 0 or bends[0] <= 0 or np.abs(shift - start).max() > 1.5:
            return unknown
        # What lies in quadrature to the match is noise, of the height and of the slope (Huber's sandwich).
        off = ((product * along_y.astype(np.complex64)[:, None]) * along_x.astype(np.complex64)).imag ** 2
        mixed = ky @ off @ kx
        noise = np.array([[ky**2 @ off.sum(1), mixed], [mixed, off.sum(0) @ kx**2]])
        inverse = np.linalg.inv(curvature)
        sigma = np.sqrt(np.maximum(np.diag(inverse @ noise @ inverse), 0))
        return Match(shift, height / max(float(np.sqrt(off.sum())), 1e-30), rival, sigma)
