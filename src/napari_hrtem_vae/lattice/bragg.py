"""Bragg maps: the complex amplitude of one spot over the frame, and what a grain adds to a spectrum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from .conventions import Double
from .grid import Complex, Float, LatticeGrid

Place = tuple[NDArray[np.intp], NDArray[np.intp]]
# Where a grain's blurred mask is thinner than this, its amplitude is not scaled up any more.
_LEAST_COVER = 0.3


@dataclass(frozen=True)
class BraggMap:
    """Amplitude c(r) of a wave c(r)·exp(2πi·carrier·r), on the coarse cells of a grid.

    Parameters
    ----------
    index : tuple of int
        Of the spot, (h1, h2).
    carrier : ndarray (2,)
        (ky, kx) of the bin the map is centred on, in cycles per binned px.
    values : ndarray (rows, columns), complex64
        Half the amplitude of the fringes, with their phase.
    place : tuple of ndarray
        Rows and columns of the spectrum that the map was made from, zero frequency first.
    """

    index: tuple[int, int]
    carrier: Double
    values: Complex
    place: Place


def bragg_map(
    grid: LatticeGrid, spectrum: Complex, basis: Double, index: tuple[int, int], sigma: float
) -> BraggMap:
    """Cut a spot out of a spectrum by a Gaussian mask.

    Parameters
    ----------
    spectrum : ndarray
        As `LatticeGrid.spectrum` makes it.
    basis : ndarray (2, 2)
        In cycles per binned px.
    index : tuple of int
    sigma : float
        Standard deviation, in binned px, of the Gaussian that the mask smooths by.
    """
    k = index[0] * basis[0] + index[1] * basis[1]
    masks, rows = [], []
    centre = np.round(k * grid.shape).astype(int)
    for axis in (0, 1):
        count, size = grid.coarse_shape[axis], grid.shape[axis]
        bins = centre[axis] + np.round(fft.fftfreq(count) * count).astype(int)
        masks.append(np.exp(-2 * (np.pi * sigma * (bins / size - k[axis])) ** 2).astype(np.float32))
        # Near the edge of the spectrum the patch goes on at the opposite edge, as the spectrum does.
        rows.append(np.mod(bins, size))
    place = (rows[0][:, None], rows[1][None, :])
    patch = spectrum[place] * (masks[0][:, None] * masks[1][None, :])
    values = fft.ifft2(patch, workers=1, overwrite_x=True) * np.float32(1 / grid.coarse_step**2)
    return BraggMap(index, centre / np.array(grid.shape), np.asarray(values, np.complex64), place)


def grain_spectra(
    grid: LatticeGrid, maps: Sequence[BraggMap], cover: Float, sigma: float
) -> list[tuple[Place, Complex]]:
    """What a grain adds to the spectrum at its spots.

    The map of a grain that ends is blurred across its edge; over the blurred mask, inside the mask, it is
    the amplitude that the grain has right up to the edge.

    Parameters
    ----------
    maps : sequence of BraggMap
    cover : ndarray (rows, columns)
        The grain's mask on coarse cells, 0 to 1.
    sigma : float
        What the maps were smoothed by, in binned px.
    """
    blurred = grid.blur_coarse(cover, sigma)
    weight = (cover / np.maximum(blurred, _LEAST_COVER)).astype(np.float32)
    scale = np.float32(grid.coarse_step**2)
    return [(one.place, np.asarray(fft.fft2(one.values * weight, workers=1) * scale)) for one in maps]


@contextmanager
def without(spectrum: Complex, parts: Sequence[tuple[Place, Complex]]) -> Iterator[None]:
    """The spectrum without the parts of other grains, for as long as the context lasts; changed in place."""
    for place, values in parts:
        spectrum[place] -= values
    try:
        yield
    finally:
        for place, values in parts:
            spectrum[place] += values


def map_noise(noise: float, sigma: float) -> float:
    """Root mean square of the fringe amplitude 2|c| where there is noise alone.

    Parameters
    ----------
    noise : float
        Standard deviation of a binned pixel.
    sigma : float
        What the map was smoothed by, in binned px.
    """
    return noise / (sigma * float(np.sqrt(np.pi)))


def fringe_power(maps: Sequence[BraggMap], noises: Sequence[float], sigma: float) -> Float:
    """Mean over the spots of the squared fringe amplitude, less what noise adds; on coarse cells.

    Parameters
    ----------
    maps : sequence of BraggMap
    noises : sequence of float
        Standard deviation of a binned pixel, at each spot.
    sigma : float
        What the maps were smoothed by, in binned px.
    """
    power = np.mean([np.abs(one.values) ** 2 for one in maps], axis=0)
    return np.asarray(4 * power - map_noise(root_mean_square(noises), sigma) ** 2, np.float32)


def root_mean_square(values: Sequence[float]) -> float:
    """Square root of the mean of the squares."""
    return float(np.sqrt(np.mean(np.square(values))))
