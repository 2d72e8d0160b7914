"""One frame: every grain's basis, fringe amplitude and presence, each with the others taken off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bragg import (
    BraggMap,
    Place,
    bragg_map,
    fringe_power,
    grain_spectra,
    map_noise,
    root_mean_square,
    without,
)
from .conventions import Double, Symmetry
from .grid import Complex, Float, LatticeGrid
from .presence import (
    Core,
    Mask,
    amplitude_in_phase,
    area_error,
    core_of,
    edge_level,
    largest_piece,
    present,
    tidy,
)
from .refinement import BasisFit, angle_and_spacing, capture_basis, refine_basis

# Smoothing of the Bragg maps in periods: wide at first, when the grains are known roughly.
_ROUGH_SMOOTHING = 2.5
SMOOTHING = 2.0
# For the last edges: less rounds corners less, more takes less of a film's fringes for the grain's.
_EDGE_SMOOTHING = 1.75
_FIT_SMOOTHING = 1.0
_PASSES = 3
_EDGE_PASSES = 3
_HALF = 0.5  # what an amplitude has fallen to at a straight edge, whatever it is blurred by
# The rim left out of the fit: weight 0 where the mask, blurred so wide (periods), is below the first share.
_RIM_BLUR = 0.75
_RIM = (0.5, 0.75)


Indices = tuple[tuple[int, int], ...]
Part = tuple[Place, Complex]


@dataclass(frozen=True)
class GrainStart:
    """Where a grain is looked for: a basis (cycles per binned px) and a mask on presence cells."""

    basis: Double
    mask: Mask


@dataclass(frozen=True)
class GrainSpots:
    """Which spots of a grain are looked at, and where in the spectrum the noise at each is taken from.

    Parameters
    ----------
    indices : tuple of tuple of int
        Those of first order first.
    rings : tuple of ndarray
        See `LatticeGrid.ring`.
    firsts : int
        How many are of first order: these tell where the grain is present.
    """

    indices: Indices
    rings: tuple[NDArray[np.int64], ...]
    firsts: int

    @classmethod
    def of(cls, grid: LatticeGrid, basis: Double, first: Indices, higher: Indices = ()) -> GrainSpots:
        """Spots of a net with the basis (cycles per binned px)."""
        lengths = np.hypot(*(np.array(first + higher) @ basis).T)
        return cls(first + higher, tuple(grid.ring(float(length)) for length in lengths), len(first))

    def noises(self, grid: LatticeGrid, spectrum: Complex) -> list[float]:
        """Standard deviation of a binned pixel by the noise at each spot."""
        return [max(grid.noise(spectrum, ring), 1e-12) for ring in self.rings]


@dataclass(frozen=True)
class GrainFit:
    """What one frame says about one grain.

    Parameters
    ----------
    basis : ndarray (2, 2)
        In cycles per binned px.
    mask : ndarray (rows, columns), bool
        Presence cells of the padded frame.
    angle_deg, angle_sigma_deg : float
    spacing, spacing_sigma : float
        Mean distance of fringes in binned px.
    amplitude : float
        Of the fringes inside the grain, in grey values.
    signal : float
        Amplitude over its noise, at one place.
    cells, cells_sigma : float
        Presence cells of the mask.
    """

    basis: Double
    mask: Mask
    angle_deg: float
    angle_sigma_deg: float
    spacing: float
    spacing_sigma: float
    amplitude: float
    signal: float
    cells: float
    cells_sigma: float


def fit_frame(
    grid: LatticeGrid,
    spectrum: Complex,
    starts: Sequence[GrainStart],
    spots: Sequence[GrainSpots],
    symmetry: Symmetry,
    exclusive: bool,
) -> list[GrainFit]:
    """Fit all grains of a frame.

    Three passes; in each, a grain is fitted to the spectrum less what the pass before found of the others
    ("peeling"): their tails would draw its angle by some 0.05° and its edge outwards.

    Parameters
    ----------
    spectrum : ndarray
        As `LatticeGrid.spectrum` makes it; the same afterwards.
    starts : sequence of GrainStart
    spots : sequence of GrainSpots
        Of each grain.
    """
    noises = [one.noises(grid, spectrum) for one in spots]
    bases = [start.basis for start in starts]
    masks = [start.mask for start in starts]
    fits: list[BasisFit] = []
    parts: list[list[Part]] = [[] for _ in starts]
    cores: list[Core] = []
    for number in range(_PASSES):
        sigma = (_ROUGH_SMOOTHING if number == 0 else SMOOTHING) * grid.period
        maps: list[list[BraggMap]] = []
        powers: list[Float] = []
        fits = []
        for grain, mask in enumerate(masks):
            weight = _inner_weight(grid, mask)
            with without(spectrum, _others(parts, grain)):
                fitted = [
                    bragg_map(grid, spectrum, bases[grain], index, _FIT_SMOOTHING * grid.period)
                    for index in spots[grain].indices
                ]
                if not weight.any():
                    fits.append(BasisFit(bases[grain], np.full((4, 4), np.inf)))
                    maps.append(fitted)
                    powers.append(np.zeros(grid.coarse_shape, np.float32))
                    continue
                if number == 0:
                    bases[grain] = capture_basis(grid, fitted, weight, symmetry)
                fit = refine_basis(
                    grid,
                    fitted,
                    weight,
                    bases[grain],
                    symmetry,
                    noises[grain],
                    _FIT_SMOOTHING * grid.period,
                )
                bases[grain] = fit.basis
                fits.append(fit)
                maps.append(
                    [bragg_map(grid, spectrum, fit.basis, index, sigma) for index in spots[grain].indices]
                )
            # Higher orders add to the angle; they fade otherwise at the edge, and not with every defocus.
            firsts = spots[grain].firsts
            powers.append(fringe_power(maps[-1][:firsts], noises[grain][:firsts], sigma))
        amplitudes = [np.sqrt(np.maximum(grid.to_fine(power), 0)) for power in powers]
        cores = [
            core_of(grid, amplitude, mask, sigma) for amplitude, mask in zip(amplitudes, masks, strict=True)
        ]
        masks = _masks(grid, cores, exclusive, [_HALF] * len(cores))
        parts = [
            grain_spectra(grid, found, _cover(grid, mask), sigma)
            for found, mask in zip(maps, masks, strict=True)
        ]
    masks = _sharpened(grid, spectrum, bases, masks, spots, parts, exclusive)
    sigma, edge_sigma = SMOOTHING * grid.period, _EDGE_SMOOTHING * grid.period
    found = []
    for fit, mask, core, noise, one in zip(fits, masks, cores, noises, spots, strict=True):
        signal = core.amplitude / map_noise(root_mean_square(noise[: one.firsts]), sigma)
        angle, angle_sigma, spacing, spacing_sigma = angle_and_spacing(fit, symmetry)
        cells = float(np.count_nonzero(mask))
        cells_sigma = area_error(grid, mask, signal * _EDGE_SMOOTHING / SMOOTHING, edge_sigma)
        found.append(
            GrainFit(
                fit.basis,
                mask,
                angle,
                angle_sigma,
                spacing,
                spacing_sigma,
                core.amplitude,
                signal,
                cells,
                cells_sigma,
            )
        )
    return found


def _others(parts: Sequence[list[Part]], grain: int) -> list[Part]:
    return [part for other, found in enumerate(parts) if other != grain for part in found]


def _sharpened(
    grid: LatticeGrid,
    spectrum: Complex,
    bases: Sequence[Double],
    masks: list[Mask],
    spots: Sequence[GrainSpots],
    parts: Sequence[list[Part]],
    exclusive: bool,
) -> list[Mask]:
    """Masks bounded where the amplitude in phase, under less blur, falls to the level their bend asks for."""
    sigma = _EDGE_SMOOTHING * grid.period
    amplitudes = []
    for grain, (basis, mask, one) in enumerate(zip(bases, masks, spots, strict=True)):
        with without(spectrum, _others(parts, grain)):
            maps = [bragg_map(grid, spectrum, basis, index, sigma) for index in one.indices[: one.firsts]]
        amplitudes.append(amplitude_in_phase(grid, maps, _cover(grid, mask), SMOOTHING * grid.period))
    for _ in range(_EDGE_PASSES):
        cores = [
            core_of(grid, amplitude, mask, sigma) for amplitude, mask in zip(amplitudes, masks, strict=True)
        ]
        masks = _masks(grid, cores, exclusive, [edge_level(grid, mask, sigma) for mask in masks])
    return masks


def _masks(
    grid: LatticeGrid, cores: Sequence[Core], exclusive: bool, levels: Sequence[Float | float]
) -> list[Mask]:
    least = (grid.period / grid.fine_step) ** 2
    return [tidy(mask, least) for mask in present(grid, cores, exclusive, levels)]


def _cover(grid: LatticeGrid, mask: Mask) -> Float:
    """A mask on coarse cells, 0 to 1."""
    smoothing = 0.5 * grid.coarse_step
    return np.asarray(np.clip(grid.to_coarse(mask.astype(np.float32), smoothing), 0, 1))


def _inner_weight(grid: LatticeGrid, mask: Mask) -> Float:
    """1 inside a grain, 0 at its rim and outside; of a tiny grain, what there is.

    Pieces of one net that lie apart need not be in phase: the largest alone tells the basis.
    """
    blurred = grid.to_coarse(largest_piece(mask).astype(np.float32), _RIM_BLUR * grid.period)
    most = max(float(blurred.max()), 1e-6)
    low, high = (share * min(most, 1.0) for share in _RIM)
    return np.asarray(np.clip((blurred - low) / (high - low), 0, 1), np.float32)
