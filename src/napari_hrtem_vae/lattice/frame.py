"""Every grain's basis, fringe amplitude and presence in a frame, each with the others taken off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

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
    order = sorted(range(len(spots)), key=lambda grain: spots[grain].indices)
    bases: Double = np.array([[of_frame[grain].basis for of_frame in starts] for grain in order])
    masks: Mask = np.array([[of_frame[grain].mask for of_frame in starts] for grain in order])
    weight, cover = _inner_weight(grid, masks), _cover(grid, masks)
    groups = []
    for at, members in _alike([spots[grain] for grain in order]):
        bases[at] = _captured(grid, spectra, bases[at], weight[at], members[0].indices, symmetry)
        group = _Group.cut(grid, spectra, at, members, bases[at])
        group.parts = grain_parts(grid, group.patches.maps(grid, bases[at], sigma), cover[at], sigma)
        groups.append(group)
    for one in groups:
        one.patches.take_off(spectra, one.parts)
    covariances = np.empty((*bases.shape[:2], 4, 4))
    power = np.empty((*bases.shape[:2], *grid.coarse_shape), np.float32)
    for _ in range(passes):
        found = []
        for one in groups:
            alone = one.alone(spectra)
            fit = _refined(grid, alone, bases[one.at], weight[one.at], symmetry, one.noises)
            bases[one.at], covariances[one.at] = fit.basis, fit.covariance
            found.append(alone.maps(grid, fit.basis, sigma))
            # Higher orders add to the angle; they fade otherwise at the edge, and not with every defocus.
            power[one.at] = fringe_power(found[-1][: one.firsts], one.noises[: one.firsts], sigma)
        power[~weight.any((-2, -1))] = 0
        amplitude = np.sqrt(np.maximum(grid.to_fine(power), 0))
        core = core_of(amplitude, grid.blur_fine(masks.astype(np.float32), sigma))
        masks = _masks(grid, core, exclusive, _HALF)
        weight, cover = _inner_weight(grid, masks), _cover(grid, masks)
        for one, maps in zip(groups, found, strict=True):
            before, one.parts = one.parts, grain_parts(grid, maps, cover[one.at], sigma)
            one.patches.take_off(spectra, [new - old for new, old in zip(one.parts, before, strict=True)])
    masks = _sharpened(grid, spectra, groups, bases, masks, cover, exclusive)
    told = _grain_fits(grid, BasisFit(bases, covariances), masks, core, groups, symmetry)
    by_grain: list[list[GrainFit]] = [[] for _ in spots]
    for grain, of_grain in zip(order, told, strict=True):
        by_grain[grain] = of_grain
    return [list(of_frame) for of_frame in zip(*by_grain, strict=True)]


@dataclass
class _Group:
    """Grains that have the same spots: fitted at once, as many small steps would hold up other threads.

    Parameters
    ----------
    at : slice
        Which of all grains, in the order in which they are fitted.
    indices : tuple of tuple of int
    firsts : int
        As in `GrainSpots`.
    noises : ndarray (spot, grain, n)
    patches : SpotPatches
        (spot, grain, n, rows, columns).
    parts : list of ndarray (grain, n, rows, columns)
        What was taken off the spectra, by spot.
    """

    at: slice
    indices: Indices
    firsts: int
    noises: Double
    patches: SpotPatches
    parts: list[Complex]

    @classmethod
    def cut(
        cls, grid: LatticeGrid, spectra: Complex, at: slice, spots: Sequence[GrainSpots], bases: Double
    ) -> _Group:
        """Cut the spots of grains with these bases (grain, n, 2, 2) out of spectra (n, rows, columns)."""
        indices = spots[0].indices
        noises = np.stack([one.noises(grid, spectra) for one in spots], axis=1)
        patches = SpotPatches.of(grid, spectra, bases, indices)
        return cls(at, indices, spots[0].firsts, noises, patches, [])

    def alone(self, spectra: Complex, firsts_alone: bool = False) -> SpotPatches:
        """Patches of each grain without the others."""
        return self.patches.again(spectra, self.parts, self.firsts if firsts_alone else len(self.indices))


def _alike(spots: Sequence[GrainSpots]) -> Iterator[tuple[slice, list[GrainSpots]]]:
    """Neighbours that look at the same spots, and where they are."""
    first = 0
    for _, some in groupby(spots, key=lambda one: one.indices):
        members = list(some)
        yield slice(first, first + len(members)), members
        first += len(members)


def _captured(
    grid: LatticeGrid, spectra: Complex, starts: Double, weight: Float, indices: Indices, symmetry: Symmetry
) -> Double:
    """Bases (..., 2, 2) near enough to be refined; of a grain that is nowhere, the start."""
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
    """Bases (..., 2, 2) from where the grain is; of a grain that is nowhere, the start."""
    sigma = _FIT_SMOOTHING * grid.period
    fit = refine_basis(grid, patches.maps(grid, starts, sigma), weight, starts, symmetry, noises, sigma)
    there = weight.any((-2, -1), keepdims=True)
    return BasisFit(np.where(there, fit.basis, starts), np.where(there, fit.covariance, np.inf))


def _grain_fits(
    grid: LatticeGrid, fit: BasisFit, masks: Mask, core: Core, groups: Sequence[_Group], symmetry: Symmetry
) -> list[list[GrainFit]]:
    """What is told of each grain, frame by frame."""
    noises = np.concatenate([root_mean_square(one.noises[: one.firsts]) for one in groups])
    signals = core.amplitude / map_noise(noises, SMOOTHING * grid.period)
    told = angle_and_spacing(fit, symmetry)
    edge_sigma = _EDGE_SMOOTHING * grid.period

    def of(grain: int, frame: int) -> GrainFit:
        angle, angle_sigma, spacing, spacing_sigma = told[:, grain, frame].tolist()
        mask, signal = masks[grain, frame], float(signals[grain, frame])
        return GrainFit(
            fit.basis[grain, frame],
            mask,
            angle,
            angle_sigma,
            spacing,
            spacing_sigma,
            float(core.amplitude[grain, frame]),
            signal,
            float(np.count_nonzero(mask)),
            area_error(grid, mask, signal * _EDGE_SMOOTHING / SMOOTHING, edge_sigma),
        )

    return [[of(grain, frame) for frame in range(masks.shape[1])] for grain in range(len(masks))]


def _sharpened(
    grid: LatticeGrid,
    spectra: Complex,
    groups: Sequence[_Group],
    bases: Double,
    masks: Mask,
    cover: Float,
    exclusive: bool,
) -> Mask:
    """Masks bounded where the amplitude in phase, under less blur, falls to the level their bend asks for."""
    sigma = _EDGE_SMOOTHING * grid.period
    amplitude = np.empty(masks.shape, np.float32)
    for one in groups:
        maps = one.alone(spectra, firsts_alone=True).maps(grid, bases[one.at], sigma)
        amplitude[one.at] = amplitude_in_phase(grid, maps, cover[one.at], SMOOTHING * grid.period)
    for _ in range(_EDGE_PASSES):
        share = grid.blur_fine(masks.astype(np.float32), sigma)
        level = edge_level(grid, masks, share, sigma)
        masks = _masks(grid, core_of(amplitude, share), exclusive, level)
    return masks


def _masks(grid: LatticeGrid, core: Core, exclusive: bool, level: Float | float) -> Mask:
    least = (grid.period / grid.fine_step) ** 2
    # Grain by grain: each lies in a box of its own.
    return np.stack([tidy(of_grain, least) for of_grain in present(grid, core, exclusive, level)])


def _cover(grid: LatticeGrid, mask: Mask) -> Float:
    """A mask on coarse cells, 0 to 1."""
    smoothing = 0.5 * grid.coarse_step
    return np.asarray(np.clip(grid.to_coarse(mask.astype(np.float32), smoothing), 0, 1))


def _inner_weight(grid: LatticeGrid, mask: Mask) -> Float:
    """1 inside a grain, 0 at its rim and outside; of a tiny grain, what there is.

    Pieces of one net that lie apart need not be in phase: the largest alone tells the basis.
    """
    largest = np.stack([largest_piece(of_grain) for of_grain in mask]).astype(np.float32)
    blurred = grid.to_coarse(largest, _RIM_BLUR * grid.period)
    most = np.clip(blurred.max((-2, -1), keepdims=True), 1e-6, 1)
    low, high = (share * most for share in _RIM)
    return np.asarray(np.clip((blurred - low) / (high - low), 0, 1), np.float32)
