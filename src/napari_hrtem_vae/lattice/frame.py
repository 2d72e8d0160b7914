"""Every grain's basis, fringe amplitude and presence in a frame, each with the others taken off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bragg import (
    SpotPatches,
    fringe_power,
    grain_parts,
    map_noise,
    root_mean_square,
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

# Smoothing of the Bragg maps in periods.
SMOOTHING = 2.0
# For the last edges: less rounds corners less, more takes less of a film's fringes for the grain's.
_EDGE_SMOOTHING = 1.75
_FIT_SMOOTHING = 1.0
# From a start of another frame, and from a rough one.
_PASSES, _ROUGH_PASSES = 2, 3
_EDGE_PASSES = 2
_HALF = 0.5  # what an amplitude has fallen to at a straight edge, whatever it is blurred by
# The rim left out of the fit: weight 0 where the mask, blurred so wide (periods), is below the first share.
_RIM_BLUR = 0.75
_RIM = (0.5, 0.75)
_SAME_RING = 0.02

Indices = tuple[tuple[int, int], ...]


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
        See `LatticeGrid.ring`; spots of about one length have one ring.
    ring_of : tuple of int
        Which ring each spot has.
    firsts : int
        How many are of first order: these tell where the grain is present.
    """

    indices: Indices
    rings: tuple[NDArray[np.int64], ...]
    ring_of: tuple[int, ...]
    firsts: int

    @classmethod
    def of(cls, grid: LatticeGrid, basis: Double, first: Indices, higher: Indices = ()) -> GrainSpots:
        """Spots of a net with the basis (cycles per binned px)."""
        lengths = np.hypot(*(np.array(first + higher) @ basis).T)
        rings: dict[float, NDArray[np.int64]] = {}
        for length in lengths:
            if not any(abs(length / one - 1) < _SAME_RING for one in rings):
                rings[float(length)] = grid.ring(float(length))
        known = np.array(list(rings))
        ring_of = tuple(int(np.argmin(np.abs(known - length))) for length in lengths)
        return cls(first + higher, tuple(rings.values()), ring_of, len(first))

    def noises(self, grid: LatticeGrid, spectra: Complex) -> Double:
        """Standard deviation of a binned pixel by the noise at each spot, in spectra (n, …); (spot, n)."""
        by_ring = np.stack([grid.noises(spectra, ring) for ring in self.rings])
        return np.maximum(by_ring[list(self.ring_of)], 1e-12)


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
    rough: bool = True,
) -> list[GrainFit]:
    """Fit all grains of one frame (rows, columns), a pass more where starts are rough; see `fit_frames`."""
    passes = _ROUGH_PASSES if rough else _PASSES
    return fit_frames(grid, spectrum[None].copy(), [starts], spots, symmetry, exclusive, passes)[0]


def fit_frames(
    grid: LatticeGrid,
    spectra: Complex,
    starts: Sequence[Sequence[GrainStart]],
    spots: Sequence[GrainSpots],
    symmetry: Symmetry,
    exclusive: bool,
    passes: int = _PASSES,
) -> list[list[GrainFit]]:
    """Fit all grains of some frames, each frame for itself.

    In each pass a grain is fitted to the spectrum less what was found before of the others ("peeling"): their
    tails would draw its angle by some 0.05° and its edge outwards. At first they are taken to lie where they
    start.

    Parameters
    ----------
    spectra : ndarray (n, rows, columns)
        As `LatticeGrid.spectrum` makes them; afterwards without the grains.
    starts : sequence of sequence of GrainStart
        Of each frame and grain.
    spots : sequence of GrainSpots
        Of each grain.
    passes : int
        How often each grain is fitted.

    Returns
    -------
    list of list of GrainFit
        Of each frame and grain.
    """
    sigma = SMOOTHING * grid.period
    noises = [one.noises(grid, spectra) for one in spots]
    grains = range(len(spots))
    bases = [np.stack([of_frame[grain].basis for of_frame in starts]) for grain in grains]
    masks = [np.stack([of_frame[grain].mask for of_frame in starts]) for grain in grains]
    fits: list[BasisFit] = []
    cores: list[Core] = []
    patches: list[SpotPatches] = []
    parts: list[list[Complex]] = []
    for grain, one in enumerate(spots):
        bases[grain] = _captured(grid, spectra, bases[grain], masks[grain], one.indices, symmetry)
        patches.append(SpotPatches.of(grid, spectra, bases[grain], one.indices))
        maps = patches[grain].maps(grid, bases[grain], sigma)
        parts.append(grain_parts(grid, maps, _cover(grid, masks[grain]), sigma))
    for places, part in zip(patches, parts, strict=True):
        places.take_off(spectra, part)
    for _ in range(passes):
        fits, found, powers = [], [], []
        for grain, one in enumerate(spots):
            alone = patches[grain].again(spectra, parts[grain], len(one.indices))
            weight = _inner_weight(grid, masks[grain])
            fits.append(_refined(grid, alone, bases[grain], weight, symmetry, noises[grain]))
            bases[grain] = fits[-1].basis
            found.append(alone.maps(grid, bases[grain], sigma))
            # Higher orders add to the angle; they fade otherwise at the edge, and not with every defocus.
            power = fringe_power(found[-1][: one.firsts], noises[grain][: one.firsts], sigma)
            power[~weight.any((-2, -1))] = 0
            powers.append(power)
        amplitudes = [np.sqrt(np.maximum(grid.to_fine(power), 0)) for power in powers]
        shares = [grid.blur_fine(mask.astype(np.float32), sigma) for mask in masks]
        cores = [core_of(amplitude, share) for amplitude, share in zip(amplitudes, shares, strict=True)]
        masks = _masks(grid, cores, exclusive, [_HALF] * len(cores))
        for grain, maps in enumerate(found):
            before, parts[grain] = parts[grain], grain_parts(grid, maps, _cover(grid, masks[grain]), sigma)
            change = [new - old for new, old in zip(parts[grain], before, strict=True)]
            patches[grain].take_off(spectra, change)
    firsts = [
        places.again(spectra, part, one.firsts)
        for places, part, one in zip(patches, parts, spots, strict=True)
    ]
    masks = _sharpened(grid, firsts, bases, masks, exclusive)
    by_grain = [
        _grain_fits(grid, *told, symmetry) for told in zip(fits, masks, cores, noises, spots, strict=True)
    ]
    return [list(of_frame) for of_frame in zip(*by_grain, strict=True)]


def _captured(
    grid: LatticeGrid, spectra: Complex, starts: Double, masks: Mask, indices: Indices, symmetry: Symmetry
) -> Double:
    """Bases (n, 2, 2) near enough to be refined; of a grain that is nowhere, the start."""
    weight = _inner_weight(grid, masks)
    maps = SpotPatches.of(grid, spectra, starts, indices).maps(grid, starts, _FIT_SMOOTHING * grid.period)
    found = capture_basis(grid, maps, weight, symmetry)
    return np.where(weight.any((-2, -1), keepdims=True), found, starts)


def _refined(
    grid: LatticeGrid,
    patches: SpotPatches,
    starts: Double,
    weight: Float,
    symmetry: Symmetry,
    noises: Double,
) -> BasisFit:
    """Bases (n, 2, 2) from where the grain is; of a grain that is nowhere, the start."""
    sigma = _FIT_SMOOTHING * grid.period
    fit = refine_basis(grid, patches.maps(grid, starts, sigma), weight, starts, symmetry, noises, sigma)
    there = weight.any((-2, -1), keepdims=True)
    return BasisFit(np.where(there, fit.basis, starts), np.where(there, fit.covariance, np.inf))


def _grain_fits(
    grid: LatticeGrid,
    fit: BasisFit,
    masks: Mask,
    core: Core,
    noises: Double,
    spots: GrainSpots,
    symmetry: Symmetry,
) -> list[GrainFit]:
    """What is told of one grain in each frame."""
    signals = core.amplitude / map_noise(root_mean_square(noises[: spots.firsts]), SMOOTHING * grid.period)
    angles = angle_and_spacing(fit, symmetry)
    edge_sigma = _EDGE_SMOOTHING * grid.period
    found = []
    for frame, (mask, signal) in enumerate(zip(masks, signals, strict=True)):
        angle, angle_sigma, spacing, spacing_sigma = (float(one) for one in angles[:, frame])
        found.append(
            GrainFit(
                fit.basis[frame],
                mask,
                angle,
                angle_sigma,
                spacing,
                spacing_sigma,
                float(core.amplitude[frame]),
                float(signal),
                float(np.count_nonzero(mask)),
                area_error(grid, mask, float(signal) * _EDGE_SMOOTHING / SMOOTHING, edge_sigma),
            )
        )
    return found


def _sharpened(
    grid: LatticeGrid,
    patches: Sequence[SpotPatches],
    bases: Sequence[Double],
    masks: list[Mask],
    exclusive: bool,
) -> list[Mask]:
    """Masks bounded where the amplitude in phase, under less blur, falls to the level their bend asks for."""
    sigma = _EDGE_SMOOTHING * grid.period
    amplitudes = []
    for one, basis, mask in zip(patches, bases, masks, strict=True):
        maps = one.maps(grid, basis, sigma)
        amplitudes.append(amplitude_in_phase(grid, maps, _cover(grid, mask), SMOOTHING * grid.period))
    for _ in range(_EDGE_PASSES):
        shares = [grid.blur_fine(mask.astype(np.float32), sigma) for mask in masks]
        cores = [core_of(amplitude, share) for amplitude, share in zip(amplitudes, shares, strict=True)]
        levels = [edge_level(grid, mask, share, sigma) for mask, share in zip(masks, shares, strict=True)]
        masks = _masks(grid, cores, exclusive, levels)
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
    most = np.clip(blurred.max((-2, -1), keepdims=True), 1e-6, 1)
    low, high = (share * most for share in _RIM)
    return np.asarray(np.clip((blurred - low) / (high - low), 0, 1), np.float32)
