"""Grids of the analysis: binned frames, coarse Bragg maps, presence cells; between them by Fourier."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from ..video.binning import bin_frame
from .conventions import Double

Float = NDArray[np.float32]
Complex = NDArray[np.complex64]

# Binned frames keep this many pixels a period or more: at equal dose per area binning costs nothing.
_LEAST_PERIOD = 8.0
_CELLS_PER_PERIOD = 2.5
# The margin keeps a lattice at one edge of the frame from leaking to the opposite one.
_MARGIN_PERIODS = 2.0
_RING_WIDTH = 0.15
_RING_SAMPLES = 16_000


@dataclass(frozen=True)
class LatticeGrid:
    """How a frame is binned and padded, and where its maps have their cells.

    All maps start at the centre of the first binned pixel and lie on the padded frame.

    Parameters
    ----------
    frame : tuple of int
        Rows and columns of the video's frames.
    period_px : float
        Distance of the fringes in px of the video.
    """

    frame: tuple[int, int]
    period_px: float

    @cached_property
    def binning(self) -> int:
        """Pixels of the video along each side of a binned pixel."""
        return max(1, int(self.period_px // _LEAST_PERIOD))

    @property
    def period(self) -> float:
        """Distance of the fringes in binned px."""
        return self.period_px / self.binning

    @cached_property
    def binned(self) -> tuple[int, int]:
        """Rows and columns of a binned frame; a sliver at the end may be lost."""
        return self.frame[0] // self.binning, self.frame[1] // self.binning

    @cached_property
    def fine_step(self) -> int:
        """Distance of the cells of a presence map in binned px."""
        return _power_of_two(self.period / _CELLS_PER_PERIOD)

    @cached_property
    def coarse_step(self) -> int:
        """Distance of the cells of a Bragg map in binned px: four standard deviations of its band fit."""
        return max(self.fine_step, _power_of_two(0.85 * self.period))

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a binned frame with its margin, good for the FFT and for both maps."""
        step = self.coarse_step
        margin = int(np.ceil(_MARGIN_PERIODS * self.period))
        rows, columns = (step * fft.next_fast_len(-(-(size + margin) // step), True) for size in self.binned)
        return rows, columns

    @property
    def coarse_shape(self) -> tuple[int, int]:
        """Rows and columns of a Bragg map."""
        return self.shape[0] // self.coarse_step, self.shape[1] // self.coarse_step

    @property
    def fine_shape(self) -> tuple[int, int]:
        """Rows and columns of a presence map on the padded frame."""
        return self.shape[0] // self.fine_step, self.shape[1] // self.fine_step

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of a presence map on the frame itself."""
        rows, columns = (-(-size // self.fine_step) for size in self.binned)
        return rows, columns

    @property
    def cell_px(self) -> int:
        """Side of a presence cell in px of the video."""
        return self.fine_step * self.binning

    def centres(self, axis: int) -> Double:
        """Centres of the presence cells along an axis, in px of the video."""
        return np.asarray(np.arange(self.cells[axis]) * self.cell_px + (self.binning - 1) / 2, np.float64)

    @cached_property
    def coarse_positions(self) -> tuple[Double, Double]:
        """Positions of the Bragg maps' cells in binned px from the frame's middle, along y and along x."""
        rows, columns = (
            np.arange(count) * float(self.coarse_step) - size / 2
            for count, size in zip(self.coarse_shape, self.binned, strict=True)
        )
        return np.asarray(rows, np.float64), np.asarray(columns, np.float64)

    def spectrum(self, frame: Float) -> Complex:
        """Fourier transform of a frame (rows, columns) of the video: binned, its mean taken off, padded."""
        binned = bin_frame(frame, self.binning)
        padded = np.zeros(self.shape, np.float32)
        np.subtract(binned, binned.mean(dtype=np.float64), out=padded[: binned.shape[0], : binned.shape[1]])
        return np.asarray(fft.fft2(padded, workers=1), np.complex64)

    def ring(self, length: float) -> NDArray[np.int64]:
        """Flat indices of a sample of the spectrum where |k| is near `length` (cycles per binned px)."""
        low, high = ((1 + side * _RING_WIDTH) * length for side in (-1, 1))
        rows, columns = np.nonzero((self._squared_lengths > low**2) & (self._squared_lengths < high**2))
        every = max(1, len(rows) // _RING_SAMPLES)
        return np.asarray(rows[::every] * self.shape[1] + columns[::every], np.int64)

    @cached_property
    def _squared_lengths(self) -> Float:
        """|k|² over one half of the spectrum: the other, that of the Friedel mates, has the same noise."""
        rows, columns = (fft.fftfreq(size).astype(np.float32) ** 2 for size in self.shape)
        return np.asarray(rows[:, None] + columns[None, : (self.shape[1] + 1) // 2])

    def noise(self, spectrum: Complex, ring: NDArray[np.int64]) -> float:
        """Standard deviation of the white noise of a binned pixel that has the power of the ring's median."""
        return float(self.noises(spectrum[None], ring)[0])

    def noises(self, spectra: Complex, ring: NDArray[np.int64]) -> Double:
        """The same of each of some spectra (n, rows, columns); (n,)."""
        values = spectra.reshape(len(spectra), -1).take(ring, axis=1)
        power = np.median(values.real**2 + values.imag**2, axis=1) / np.log(2)
        return np.asarray(np.sqrt(power / (self.binned[0] * self.binned[1])), np.float64)

    def blur_coarse(self, values: Float, sigma: float) -> Float:
        """Maps (..., rows, columns) of coarse cells after a Gaussian of `sigma` binned px, periodic."""
        return resample(values, self.coarse_shape, sigma / self.coarse_step)

    def blur_fine(self, values: Float, sigma: float) -> Float:
        """A map of presence cells after a Gaussian of `sigma` binned px, periodic."""
        return resample(values, self.fine_shape, sigma / self.fine_step)

    def to_coarse(self, values: Float, sigma: float) -> Float:
        """A map of presence cells on coarse cells, after a Gaussian of `sigma` binned px."""
        return resample(values, self.coarse_shape, sigma / self.fine_step)

    def to_fine(self, values: Float) -> Float:
        """A map of coarse cells on presence cells: between its samples, nothing is lost or added."""
        return resample(values, self.fine_shape, 0.0)


def _power_of_two(size: float) -> int:
    return 1 << max(0, int(np.floor(np.log2(max(size, 1.0)))))


def resample(values: Float, shape: tuple[int, int], sigma: float) -> Float:
    """Real periodic maps smoothed by a Gaussian and sampled finer or coarser, all in Fourier space.

    Parameters
    ----------
    values : ndarray (..., rows, columns)
    shape : tuple of int
        Rows and columns of the result; it covers the same area, the first cells coincide.
    sigma : float
        Of the Gaussian, in cells of `values`.

    Returns
    -------
    ndarray (..., *shape)
    """
    before = values.shape[-2:]
    spectrum = fft.rfft2(values, workers=1)
    if sigma > 0:
        rows = np.exp(-2 * (np.pi * sigma * fft.fftfreq(before[0])) ** 2)
        columns = np.exp(-2 * (np.pi * sigma * fft.rfftfreq(before[1])) ** 2)
        spectrum *= (rows[:, None] * columns[None]).astype(np.float32)
    if shape != before:
        rows_kept = min(shape[0], before[0])
        columns_kept = min(shape[1], before[1]) // 2 + 1
        upper, lower = (rows_kept + 1) // 2, rows_kept // 2
        moved = np.zeros((*values.shape[:-2], shape[0], shape[1] // 2 + 1), spectrum.dtype)
        moved[..., :upper, :columns_kept] = spectrum[..., :upper, :columns_kept]
        if lower:
            moved[..., -lower:, :columns_kept] = spectrum[..., -lower:, :columns_kept]
        moved *= np.float32(shape[0] * shape[1] / (before[0] * before[1]))
        spectrum = moved
    return np.asarray(fft.irfft2(spectrum, s=shape, workers=1, overwrite_x=True), np.float32)
