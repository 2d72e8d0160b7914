"""Bragg maps: the complex amplitude of spots over frames, and what a grain adds to a spectrum.

All functions take one frame, or several in leading axes (...).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from .conventions import Double
from .grid import Complex, Float, LatticeGrid

Indices = Sequence[tuple[int, int]]
Place = NDArray[np.intp]
Part = tuple[Place, Complex]
# Where a grain's blurred mask is thinner than this, its amplitude is not scaled up any more.
_LEAST_COVER = 0.3


@dataclass(frozen=True)
class BraggMap:
    """Amplitude c(r) of a wave c(r)·exp(2πi·carrier·r), on the coarse cells of a grid.

    Parameters
    ----------
    index : tuple of int
        Of the spot, (h1, h2).
    carrier : ndarray (..., 2)
        (ky, kx) of the bin the map is centred on, in cycles per binned px.
    values : ndarray (..., rows, columns), complex64
        Half the amplitude of the fringes, with their phase.
    place : ndarray (..., rows, columns)
        Flat indices of the spectra that the map was made from, zero frequency first.
    """

    index: tuple[int, int]
    carrier: Double
    values: Complex
    place: Place


@dataclass(frozen=True)
class SpotPatches:
    """Patches of spectra around the spots of a net, from which maps of any smoothing are made.

    Parameters
    ----------
    indices : sequence of tuple of int
    bins : ndarray (spot, ..., 2)
        Row and column of the spectrum that each patch is centred on; beyond it, it goes on at its other end.
    place : ndarray (spot, ..., rows, columns)
        Flat indices of the spectra, zero frequency of the patch first.
    values : ndarray (spot, ..., rows, columns), complex64
    """

    indices: Indices
    bins: NDArray[np.int64]
    place: Place
    values: Complex

    @classmethod
    def of(cls, grid: LatticeGrid, spectrum: Complex, basis: Double, indices: Indices) -> SpotPatches:
        """Patches of spectra (..., rows, columns) around the spots of bases (..., 2, 2).

        One spectrum (rows, columns) serves any number of bases.
        """
        bins = np.round(_spots(basis, indices) * grid.shape).astype(np.int64)
        rows, columns = (
            np.mod(bins[..., axis, None] + _offsets(count), size)
            for axis, count, size in zip((0, 1), grid.coarse_shape, grid.shape, strict=True)
        )
        frames = np.arange(spectrum[..., 0, 0].size).reshape(spectrum.shape[:-2])
        rows += frames[..., None] * grid.shape[0]
        place = np.asarray(rows[..., :, None] * grid.shape[1] + columns[..., None, :], np.intp)
        return cls(indices, bins, place, spectrum.reshape(-1).take(place))

    def again(self, spectra: Complex, taken_off: Sequence[Complex], count: int) -> SpotPatches:
        """The first `count` patches of spectra that changed, with what was taken off there put back."""
        values = spectra.reshape(-1).take(self.place[:count])
        for one, part in zip(values, taken_off, strict=False):
            one += part
        return SpotPatches(self.indices[:count], self.bins[:count], self.place[:count], values)

    def take_off(self, spectra: Complex, parts: Sequence[Complex]) -> None:
        """Change spectra (n, ...) by less the parts (..., n, rows, columns) of each spot."""
        flat = spectra.reshape(-1)
        shape = self.place.shape[-3:]
        for places, of_spot in zip(self.place, parts, strict=True):
            # One by one: patches of neighbouring spots, and of grains, share places.
            for place, part in zip(places.reshape(-1, *shape), of_spot.reshape(-1, *shape), strict=True):
                flat[place] -= part

    def maps(self, grid: LatticeGrid, basis: Double, sigma: float) -> list[BraggMap]:
        """Bragg maps of all spots: the patches behind Gaussian masks that are centred on the spots.

        Parameters
        ----------
        basis : ndarray (..., 2, 2)
            In cycles per binned px.
        sigma : float
            Standard deviation, in binned px, of the Gaussian that the masks smooth by.
        """
        k = _spots(basis, self.indices)
        masks = []
        for axis, count, size in zip((0, 1), grid.coarse_shape, grid.shape, strict=True):
            away = (self.bins[..., axis] / size - k[..., axis])[..., None] + _offsets(count) / size
            masks.append(np.exp(-2 * (np.pi * sigma * away) ** 2).astype(np.float32))
        masks[0] *= np.float32(1 / grid.coarse_step**2)
        patches = self.values * masks[0][..., :, None]
        patches *= masks[1][..., None, :]
        values = fft.ifft2(patches, workers=1, overwrite_x=True)
        carriers = self.bins / np.array(grid.shape)
        return [
            BraggMap(index, carrier, of_spot, place)
            for index, carrier, of_spot, place in zip(self.indices, carriers, values, self.place, strict=True)
        ]


def bragg_map(
    grid: LatticeGrid, spectrum: Complex, basis: Double, index: tuple[int, int], sigma: float
) -> BraggMap:
    """Cut a spot out of a spectrum by a Gaussian mask.

    Parameters
    ----------
    spectrum : ndarray (..., rows, columns)
        As `LatticeGrid.spectrum` makes it.
    basis : ndarray (..., 2, 2)
        In cycles per binned px.
    index : tuple of int
    sigma : float
        Standard deviation, in binned px, of the Gaussian that the mask smooths by.
    """
    return SpotPatches.of(grid, spectrum, basis, (index,)).maps(grid, basis, sigma)[0]


def grain_parts(grid: LatticeGrid, maps: Sequence[BraggMap], cover: Float, sigma: float) -> list[Complex]:
    """What a grain adds to the spectrum at the places of its maps.

    The map of a grain that ends is blurred across its edge; over the blurred mask, inside the mask, it is
    the amplitude that the grain has right up to the edge.

    Parameters
    ----------
    maps : sequence of BraggMap
    cover : ndarray (..., rows, columns)
        The grain's mask on coarse cells, 0 to 1.
    sigma : float
        What the maps were smoothed by, in binned px.
    """
    blurred = grid.blur_coarse(cover, sigma)
    weight = (cover / np.maximum(blurred, _LEAST_COVER) * grid.coarse_step**2).astype(np.float32)
    return [np.asarray(fft.fft2(one.values * weight, workers=1, overwrite_x=True)) for one in maps]


def grain_spectra(grid: LatticeGrid, maps: Sequence[BraggMap], cover: Float, sigma: float) -> list[Part]:
    """`grain_parts` with their places, to be taken off by `without`."""
    return list(zip((one.place for one in maps), grain_parts(grid, maps, cover, sigma), strict=True))


@contextmanager
def without(spectrum: Complex, parts: Sequence[Part]) -> Iterator[None]:
    """Spectra without the parts of other grains, for as long as the context lasts; changed in place."""
    flat = spectrum.reshape(-1)
    for place, values in parts:
        flat[place] -= values
    try:
        yield
    finally:
        for place, values in parts:
            flat[place] += values


Noise = TypeVar("Noise", float, Double)


def map_noise(noise: Noise, sigma: float) -> Noise:
    """Root mean square of the fringe amplitude 2|c| where there is noise alone.

    Parameters
    ----------
    noise : float or ndarray
        Standard deviation of a binned pixel.
    sigma : float
        What the map was smoothed by, in binned px.
    """
    return noise / (sigma * float(np.sqrt(np.pi)))


def fringe_power(maps: Sequence[BraggMap], noises: ArrayLike, sigma: float) -> Float:
    """Mean over the spots of the squared fringe amplitude, less what noise adds; on coarse cells.

    Parameters
    ----------
    maps : sequence of BraggMap
    noises : array (spot, ...)
        Standard deviation of a binned pixel, at each spot.
    sigma : float
        What the maps were smoothed by, in binned px.
    """
    power = np.zeros(maps[0].values.shape, np.float32)
    for one in maps:
        power += one.values.real**2 + one.values.imag**2
    noise = map_noise(root_mean_square(noises), sigma)
    return np.asarray(power * np.float32(4 / len(maps)) - noise[..., None, None] ** 2, np.float32)


def root_mean_square(values: ArrayLike) -> Double:
    """Square root of the mean of the squares, over the first axis."""
    return np.asarray(np.sqrt(np.mean(np.square(values), axis=0)), np.float64)


def _spots(basis: Double, indices: Indices) -> Double:
    """Places (spot, ..., 2) of spots of bases (..., 2, 2)."""
    return np.asarray(np.moveaxis(np.array(indices, np.float64) @ basis, -2, 0))


def _offsets(count: int) -> NDArray[np.int64]:
    """Bins of a patch from its centre, zero frequency first."""
    return np.asarray(np.round(fft.fftfreq(count) * count), np.int64)
