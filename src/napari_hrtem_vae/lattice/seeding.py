"""Which grains there are: spots give the period, a bank of orientations the angles and places."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from .bragg import SpotPatches, map_noise
from .conventions import (
    Double,
    Symmetry,
    angle_period_deg,
    canonical_basis,
    first_order_spots,
    higher_order_spots,
    ideal_basis,
    misfit_deg,
    wrap_deg,
)
from .frame import SMOOTHING, GrainFit, GrainSpots, GrainStart, fit_frame
from .grid import Complex, Float, LatticeGrid
from .parameters import LatticeParameters
from .spots import Spots, find_spots, is_node, whitened_spectrum

_BANK_STEP_DEG = 3.0
_BANK_CELLS = 1 << 18  # of the maps that are made at a time
_BIN_DEG = 0.25
_SAME_RING = 0.06
# Of the spots' power: a ring with less is no fundamental.
_LEAST_RING = 0.2
# Lengths of spots of the next orders over the first.
_ORDERS = (np.sqrt(2), np.sqrt(3), 2.0)
_SAME_ORDER = 0.035
_LEAST_ORDER_RING = 0.01
_MOST_RINGS = 3
# Chance that noise alone exceeds the threshold at one place and angle.
_FALSE_ALARM = 1e-6
_LEAST_PERIODS = 3.0
SEPARATION_DEG = 1.3
_WIDEST_DEG = 4.0
_VALLEY = 0.7
# Where nets too close in angle to be told apart meet, their waves blend into others: up to the width of the
# bank's mask away in angle, and over a small share of the grain.
_BLEND_DEG = 6.0
_BLEND_SHARE = 0.25
_BLEND_STRETCH = 0.15
_SPARE = 2
_TURN_OF_ANY = 15.0
# A spot of higher order is used where its amplitude is so many times the noise of the amplitude, and so many
# standard deviations of its mask away from the edge of the spectrum.
_LEAST_ORDER = 3.0
_EDGE_WIDTHS = 3.0


@dataclass(frozen=True)
class FoundGrains:
    """What a look at a few frames finds.

    Parameters
    ----------
    spectrum : ndarray (rows, columns)
        Whitened power, zero frequency in the middle.
    spots : Spots
    bases : ndarray (grain, 2, 2)
        In cycles per px of the video, largest grain first.
    grid : LatticeGrid or None
        None where there is no lattice.
    fits : list of GrainFit
        On the grid.
    orders : list of GrainSpots
        Spots of each grain that are strong enough to be followed.
    """

    spectrum: Float
    spots: Spots
    bases: Double
    grid: LatticeGrid | None
    fits: list[GrainFit]
    orders: list[GrainSpots]

    @property
    def spot_grains(self) -> NDArray[np.int64]:
        """Which grain each spot belongs to, −1 for none; (n,)."""
        owner = np.full(len(self.spots.k), -1)
        for grain in reversed(range(len(self.bases))):
            owner[is_node(self.spots.k, self.bases[grain])] = grain
        return owner


def find_grains(
    frames: Float, parameters: LatticeParameters | None = None, bases: Double | None = None
) -> FoundGrains:
    """Find spots and grains in a frame, a part of one, or the mean spectrum of a few.

    Parameters
    ----------
    frames : ndarray (rows, columns) or (n, rows, columns)
        Grey values; outliers are not looked for.
    parameters : LatticeParameters, optional
    bases : ndarray (grain, 2, 2), optional
        Grains to start from, in cycles per px, in place of those that would be found.

    Returns
    -------
    FoundGrains
        Without grains where nothing stands out of the noise.
    """
    parameters = parameters or LatticeParameters()
    frames = np.asarray(frames, np.float32)
    frames = frames[None] if frames.ndim == 2 else frames
    return grains_of(find_lattice(frames, parameters, bases), frames, parameters, bases)


def find_lattice(frames: Float, parameters: LatticeParameters, bases: Double | None) -> FoundGrains:
    """Spots of frames (n, rows, columns), and the grid for their period; no grains yet."""
    spectrum = whitened_spectrum(frames, parameters.threads)
    spots = find_spots(spectrum, len(frames), parameters.period_px)
    nothing = FoundGrains(spectrum, spots, np.empty((0, 2, 2)), None, [], [])
    if bases is not None:
        period = 1 / float(np.hypot(*np.asarray(bases)[:, 0].T).mean())
    elif parameters.period_px is not None:
        period = parameters.period_px
    else:
        rings = _rings(spots)
        if not rings:
            return nothing
        period = 1 / rings[0]
    shape = (frames.shape[1], frames.shape[2])
    if min(shape) < 8 * period:
        return nothing
    return replace(nothing, grid=LatticeGrid(shape, float(period)))


def grains_of(
    lattice: FoundGrains, frames: Float, parameters: LatticeParameters, bases: Double | None
) -> FoundGrains:
    """The grains of a lattice that `find_lattice` found in the same frames."""
    grid, spots = lattice.grid, lattice.spots
    if grid is None:
        return lattice
    with ThreadPoolExecutor(parameters.threads) as pool:
        spectra = list(pool.map(grid.spectrum, frames))
    if bases is not None:
        starts = [start_from_basis(grid, spectra[0], basis * grid.binning, parameters) for basis in bases]
        fits = _fit(grid, spectra[0], starts, parameters)
        return _with_orders(lattice, grid, spectra[0], fits, parameters)
    if parameters.symmetry == "any":
        candidates = _oblique_nets(grid, spectra[0], spots, parameters)
    else:
        candidates = orientations(grid, spectra, 1 / grid.period, parameters.symmetry)
    fits = _settle(grid, spectra[0], candidates, parameters)
    if len(fits) < parameters.n_grains and parameters.symmetry != "any" and parameters.period_px is None:
        # Another material: spots that the grains so far do not explain.
        for length in _rings(spots.outside([fit.basis / grid.binning for fit in fits]))[:_MOST_RINGS]:
            more = orientations(grid, spectra, length * grid.binning, parameters.symmetry)
            starts = [GrainStart(fit.basis, fit.mask) for fit in fits]
            fits = _settle(grid, spectra[0], starts + more, parameters)
            if len(fits) >= parameters.n_grains:
                break
    found = _with_orders(lattice, grid, spectra[0], fits, parameters)
    while len(apart := _apart(found.fits, parameters.symmetry)) < len(found.fits):
        found = _with_orders(lattice, grid, spectra[0], apart, parameters)
    return found


def bases_from_spots(k: Double, symmetry: Symmetry) -> Double:
    """Bases of nets that have a spot at each given place: from spots put or dragged by hand.

    Parameters
    ----------
    k : ndarray (n, 2)
        (ky, kx) in cycles per px. One spot a grain; with "any" two, g1 and g2 in turn.

    Returns
    -------
    ndarray (grain, 2, 2)
    """
    k = np.asarray(k, np.float64).reshape(-1, 2)
    if symmetry == "any":
        return k[: len(k) // 2 * 2].reshape(-1, 2, 2)
    angles = np.rad2deg(np.arctan2(k[:, 0], k[:, 1]))
    nets = [
        canonical_basis(ideal_basis(float(length), float(angle), symmetry), symmetry)
        for length, angle in zip(np.hypot(*k.T), angles, strict=True)
    ]
    return np.array(nets).reshape(-1, 2, 2)


def orientations(
    grid: LatticeGrid, spectra: Sequence[Complex], length: float, symmetry: Symmetry
) -> list[GrainStart]:
    """Grains of a net of given |g|, told apart by angle, the largest first.

    At each place the power behind a Gaussian mask turned about the centre has a maximum at the local angle;
    grains are the peaks of the histogram of these angles. Places with two maxima count for two grains.

    Parameters
    ----------
    spectra : sequence of ndarray
        Of neighbouring frames.
    length : float
        |g| in cycles per binned px.
    symmetry : {2, 4, 6}
    """
    period = angle_period_deg(symmetry)
    angles = np.arange(0, period, _BANK_STEP_DEG)
    spots = first_order_spots(symmetry)
    sigma = SMOOTHING * grid.period
    ring = grid.ring(length)
    bases = np.stack([ideal_basis(length, float(angle), symmetry) for angle in angles])
    power = np.zeros((len(angles), *grid.coarse_shape), np.float32)
    weakest = np.full(power.shape, np.inf, np.float32)
    chunk = max(1, _BANK_CELLS // power[0].size)
    for spectrum in spectra:
        noise = map_noise(max(grid.noise(spectrum, ring), 1e-12), sigma) / 2
        for some in (slice(first, first + chunk) for first in range(0, len(angles), chunk)):
            for one in SpotPatches.of(grid, spectrum, bases[some], spots).maps(grid, bases[some], sigma):
                values = (one.values.real**2 + one.values.imag**2) * np.float32(1 / noise**2)
                power[some] += values
                np.minimum(weakest[some], values, out=weakest[some])
    power /= len(spectra) * len(spots)
    rows, columns = (-(-size // grid.coarse_step) for size in grid.binned)
    power[:, rows:] = 0
    power[:, :, columns:] = 0
    threshold = special.gammainccinv(len(spots), _FALSE_ALARM) / len(spots)
    before, after = np.roll(power, 1, 0), np.roll(power, -1, 0)
    peak = (power > threshold) & (power >= before) & (power > after)
    if not peak.any():
        return []
    logs = [np.log(np.maximum(values[peak].astype(np.float64), 1e-12)) for values in (before, power, after)]
    bend = np.minimum(logs[0] - 2 * logs[1] + logs[2], -1e-9)
    local = angles[np.nonzero(peak)[0]] + _BANK_STEP_DEG * np.clip(0.5 * (logs[0] - logs[2]) / bend, -1, 1)
    strength = power[peak].astype(np.float64)
    starts = []
    for angle, reach in _histogram_peaks(local, strength, period, grid):
        near = np.abs(wrap_deg(local - angle, period)) < reach
        member = np.zeros(power.shape, np.float32)
        member[peak] = near
        mask = grid.to_fine(member.max(0)) > 0.5
        basis = canonical_basis(ideal_basis(length, angle, symmetry), symmetry)
        # By the weakest spot: a grain that shows all of its spots goes before one that shows some.
        starts.append((float(weakest[peak][near].sum()), GrainStart(basis, mask)))
    return [start for _, start in sorted(starts, key=lambda one: -one[0])]


def start_from_basis(
    grid: LatticeGrid, spectrum: Complex, basis: Double, parameters: LatticeParameters
) -> GrainStart:
    """A start for a grain whose basis (cycles per binned px) is known but not its place."""
    spots = first_order_spots(parameters.symmetry)
    sigma = SMOOTHING * grid.period
    maps = SpotPatches.of(grid, spectrum, basis, spots).maps(grid, basis, sigma)
    fine = grid.to_fine(np.mean([np.abs(one.values) ** 2 for one in maps], axis=0))
    # A quarter of the power is half of the amplitude.
    return GrainStart(basis, fine > 0.25 * np.percentile(fine, 99))


def _histogram_peaks(
    local: Double, strength: Double, period: float, grid: LatticeGrid
) -> list[tuple[float, float]]:
    """Angles at which places gather, with how far around each its places lie."""
    bins = round(period / _BIN_DEG)
    counts = np.bincount((np.mod(local, period) / _BIN_DEG).astype(int) % bins, minlength=bins).astype(float)
    # Scatter of a local angle in degrees, from the phase noise over the width of the smoothing.
    scatter = 1.6 / np.sqrt(float(np.median(strength)))
    smooth = ndimage.gaussian_filter1d(counts, max(0.35, scatter) / _BIN_DEG, mode="wrap")
    reach = round(SEPARATION_DEG / _BIN_DEG)
    top = ndimage.maximum_filter1d(smooth, 2 * reach + 1, mode="wrap")
    peaks = sorted(np.flatnonzero((smooth == top) & (smooth > 0)).tolist(), key=lambda one: -smooth[one])
    chosen: list[int] = []
    for one in peaks:
        if all(smooth[_between(one, other, bins)].min() < _VALLEY * smooth[one] for other in chosen):
            chosen.append(one)
    least = _LEAST_PERIODS**2 * (grid.period / grid.coarse_step) ** 2
    found = []
    for one in chosen:
        others = [abs(float(wrap_deg((one - other) * _BIN_DEG, period))) for other in chosen if other != one]
        width = min([_WIDEST_DEG, *(distance / 2 for distance in others)])
        angle = (one + 0.5) * _BIN_DEG
        if np.count_nonzero(np.abs(wrap_deg(local - angle, period)) < width) >= least:
            found.append((angle, width))
    return found


def _between(one: int, other: int, bins: int) -> NDArray[np.int64]:
    """Bins from one to another, the shorter way round."""
    forward = (other - one) % bins
    steps = np.arange(forward + 1) if forward <= bins // 2 else -np.arange(bins - forward + 1)
    return np.asarray((one + steps) % bins)


def _settle(
    grid: LatticeGrid, spectrum: Complex, candidates: list[GrainStart], parameters: LatticeParameters
) -> list[GrainFit]:
    """Fit candidates together; keep the largest of those that hold, each net once."""
    candidates = candidates[: parameters.n_grains + _SPARE]
    fits: list[GrainFit] = []
    least = _LEAST_PERIODS**2 * (grid.period / grid.fine_step) ** 2
    while candidates:
        fits = _fit(grid, spectrum, candidates, parameters)
        kept: list[GrainFit] = []
        first = first_order_spots(parameters.symmetry)
        # A grain that shows all of its spots goes before one that shows some.
        shares = [len(_seen(grid, spectrum, fit, first)) / len(first) for fit in fits]
        order = sorted(range(len(fits)), key=lambda one: -fits[one].cells * max(shares[one], 0.1) ** 2)
        for fit in (fits[one] for one in order):
            holds = fit.signal >= parameters.least_signal and fit.cells >= least
            if holds and not any(_same_net(fit, other, parameters.symmetry) for other in kept):
                kept.append(fit)
        kept = kept[: parameters.n_grains]
        if len(kept) == len(fits):
            return kept
        # Without the fits that fell, the others take their places.
        candidates = [GrainStart(fit.basis, fit.mask) for fit in kept]
    return []


def _fit(
    grid: LatticeGrid, spectrum: Complex, starts: list[GrainStart], parameters: LatticeParameters
) -> list[GrainFit]:
    first = first_order_spots(parameters.symmetry)
    spots = [GrainSpots.of(grid, start.basis, first) for start in starts]
    return fit_frame(grid, spectrum, starts, spots, parameters.symmetry, parameters.exclusive)


def _with_orders(
    lattice: FoundGrains,
    grid: LatticeGrid,
    spectrum: Complex,
    fits: list[GrainFit],
    parameters: LatticeParameters,
) -> FoundGrains:
    """The grains fitted once more, with those of their higher spots that stand out."""
    orders = [_orders(grid, spectrum, fit, parameters.symmetry) for fit in fits]
    if fits:
        starts = [GrainStart(fit.basis, fit.mask) for fit in fits]
        fits = fit_frame(grid, spectrum, starts, orders, parameters.symmetry, parameters.exclusive, False)
    bases = np.array([fit.basis / grid.binning for fit in fits]).reshape(-1, 2, 2)
    return replace(lattice, bases=bases, fits=fits, orders=orders)


def _orders(grid: LatticeGrid, spectrum: Complex, fit: GrainFit, symmetry: Symmetry) -> GrainSpots:
    """Spots of a grain that are seen where it is; if none is, those of first order."""
    first = first_order_spots(symmetry)
    seen = _seen(grid, spectrum, fit, first)
    if not seen or symmetry == "any":
        seen = first
    return GrainSpots.of(grid, fit.basis, seen, _seen(grid, spectrum, fit, higher_order_spots(symmetry)))


def _seen(
    grid: LatticeGrid, spectrum: Complex, fit: GrainFit, indices: Sequence[tuple[int, int]]
) -> tuple[tuple[int, int], ...]:
    """Those of a net's spots that stand out of the noise inside the grain, and not at the spectrum's edge."""
    sigma = SMOOTHING * grid.period
    inside = grid.to_coarse(fit.mask.astype(np.float32), 0.5 * grid.coarse_step) > 0.5
    lengths = np.array(indices) @ fit.basis
    inner = np.abs(lengths).max(1) <= 0.5 - _EDGE_WIDTHS / (2 * np.pi * sigma)
    indices = [index for index, one in zip(indices, inner, strict=True) if one]
    if not indices or not inside.any():
        return ()
    noises = GrainSpots.of(grid, fit.basis, tuple(indices)).noises(grid, spectrum[None])[:, 0]
    maps = SpotPatches.of(grid, spectrum, fit.basis, indices).maps(grid, fit.basis, sigma)
    return tuple(
        one.index
        for one, noise in zip(maps, map_noise(noises, sigma), strict=True)
        if np.median(4 * np.abs(one.values[inside]) ** 2) > (_LEAST_ORDER * noise) ** 2
    )


def _apart(fits: list[GrainFit], symmetry: Symmetry) -> list[GrainFit]:
    """Fits without those that are the net of another, larger one."""
    kept: list[GrainFit] = []
    for fit in sorted(fits, key=lambda one: -one.cells):
        if not any(_same_net(fit, other, symmetry) for other in kept):
            kept.append(fit)
    return kept


def _same_net(one: GrainFit, other: GrainFit, symmetry: Symmetry) -> bool:
    """Whether a fit is the net of another, larger one: of its angle, or a patch where two blend in it."""
    turned = abs(float(misfit_deg(one.basis, other.basis, symmetry)))
    stretched = abs(one.spacing / other.spacing - 1)
    patch = one.cells < _BLEND_SHARE * other.cells and turned < _BLEND_DEG and stretched < _BLEND_STRETCH
    return patch or (turned < SEPARATION_DEG and stretched < _SAME_RING)


def _rings(spots: Spots) -> list[float]:
    """|k| at which spots gather, the likeliest fundamental first: the shortest of the strong ones."""
    length = np.hypot(*spots.k.T) if len(spots.k) else np.empty(0)
    left = np.ones(len(length), bool)
    rings: list[tuple[float, float]] = []
    while left.any():
        strongest = np.flatnonzero(left)[int(np.argmax(spots.power[left]))]
        near = left & (np.abs(length / length[strongest] - 1) < _SAME_RING)
        rings.append(
            (float(np.average(length[near], weights=spots.power[near])), float(spots.power[near].sum()))
        )
        left &= ~near
    most = max((power for _, power in rings), default=0.0)
    strong = [length for length, power in rings if power >= _LEAST_RING * most]
    # The strongest may be a higher order of a net whose first is weak.
    weak = [
        length
        for length, power in rings
        if _LEAST_ORDER_RING * most <= power < _LEAST_RING * most
        and any(abs(one / length / order - 1) < _SAME_ORDER for one in strong for order in _ORDERS)
    ]
    return sorted(strong + weak)


def _oblique_nets(
    grid: LatticeGrid, spectrum: Complex, spots: Spots, parameters: LatticeParameters
) -> list[GrainStart]:
    """Nets of any shape: the strongest spot with the partner that explains most others, then the next."""
    starts: list[GrainStart] = []
    while len(spots.k) >= 2 and len(starts) < parameters.n_grains:
        bases = [np.stack([spots.k[0], other]) for other in spots.k[1:]]
        turns = [abs(float(np.cross(*basis))) / np.prod(np.hypot(*basis.T)) for basis in bases]
        wide = [
            basis for basis, turn in zip(bases, turns, strict=True) if turn > np.sin(np.deg2rad(_TURN_OF_ANY))
        ]
        if not wide:
            break
        explained = [float(np.log(spots.power[is_node(spots.k, basis)]).sum()) for basis in wide]
        areas = [abs(float(np.linalg.det(basis))) for basis in wide]
        # Of nets that explain the same, the one with the largest cell in reciprocal space has no empty nodes.
        best = max(range(len(wide)), key=lambda one: (round(explained[one], 6), areas[one]))
        basis = canonical_basis(wide[best], "any")
        starts.append(start_from_basis(grid, spectrum, basis * grid.binning, parameters))
        spots = spots.outside([basis])
    return starts
