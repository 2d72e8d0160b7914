"""Grains through time: frames fitted in parallel, each from an earlier one; then judged in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from .conventions import (
    Double,
    Symmetry,
    angle_period_deg,
    first_order_spots,
    lattice_angle_deg,
    misfit_deg,
    wrap_deg,
)
from .frame import GrainFit, GrainSpots, GrainStart, fit_frames
from .grid import Complex, LatticeGrid
from .parameters import LatticeParameters
from .seeding import SEPARATION_DEG, orientations
from .spectra import Spectra, SpectrumReader, is_done

# A batch starts from what the batch so many before it gave: so many can be fitted at a time, and the result
# does not depend on how many are.
_LAG = 3
_MISSES = 5
_JUMP_SIGMAS, _JUMP_DEG = 4.0, 1.0
_AREA_JUMP = 0.3
_LEAST_PERIODS = 2.0


@dataclass(frozen=True)
class Judged:
    """A grain in a frame: what was measured, and whether it can be believed."""

    fit: GrainFit
    angle_deg: float
    reliable: bool


@dataclass
class GrainTrack:
    """One grain on its way through the frames, in one direction of time.

    Parameters
    ----------
    start : GrainStart
        Where the next frames look for it.
    angle_deg : float
        The last reliable angle, continuous in time.
    """

    start: GrainStart
    angle_deg: float
    misses: int = 0
    measured: GrainFit | None = None
    held: GrainFit | None = None

    def judge(self, fit: GrainFit | None, grid: LatticeGrid, parameters: LatticeParameters) -> Judged | None:
        """Take up a frame's fit if it holds; the grain that is lost stays where it was last seen."""
        if fit is None:
            self.misses += 1
            return None
        least = (_LEAST_PERIODS * grid.period / grid.fine_step) ** 2
        seen = fit.signal >= parameters.least_signal and fit.cells >= least
        angle = self._continued(fit, parameters.symmetry)
        steady = seen and any(
            other is None or self._follows(fit, other, parameters) for other in (self.held, self.measured)
        )
        if seen:
            self.measured = fit
        if steady:
            self.held, self.misses = fit, 0
            self.start, self.angle_deg = GrainStart(fit.basis, fit.mask), angle
        else:
            self.misses += 1
        return Judged(fit, angle, steady)

    def _continued(self, fit: GrainFit, symmetry: Symmetry) -> float:
        """The fit's angle with the full turns of the track; a new seed may hold the net by other vectors."""
        period = angle_period_deg(symmetry)
        return self.angle_deg + float(wrap_deg(fit.angle_deg - self.angle_deg, period))

    def _follows(self, fit: GrainFit, before: GrainFit, parameters: LatticeParameters) -> bool:
        """Whether a fit may come after another: neither its angle nor its area jumps."""
        # What is seen clearly may change fast.
        clear = min(fit.signal, before.signal) / parameters.least_signal
        turned = abs(float(wrap_deg(fit.angle_deg - before.angle_deg, angle_period_deg(parameters.symmetry))))
        scatter = float(np.hypot(fit.angle_sigma_deg, before.angle_sigma_deg))
        allowed = _JUMP_DEG * clear + _JUMP_SIGMAS * scatter
        slack = _JUMP_SIGMAS * float(np.hypot(fit.cells_sigma, before.cells_sigma))
        area = abs(fit.cells - before.cells) <= _AREA_JUMP * clear * before.cells + slack
        # Over missed frames a grain may have gone on turning and growing.
        return turned <= allowed * (1 + self.misses) and (area or self.misses >= _MISSES)


def follow(
    reader: SpectrumReader,
    tracks: Sequence[GrainTrack],
    spots: Sequence[GrainSpots],
    parameters: LatticeParameters,
) -> Generator[tuple[int, list[Judged | None]] | None, None, None]:
    """Follow grains through the frames of a reader, in its order; `tracks` change as it goes.

    Yields the number of each frame with what holds of each grain; None while nothing is ready.
    """
    grid = reader.grid
    waiting: deque[tuple[range, Future[list[list[GrainFit | None]]]]] = deque()
    pool = ThreadPoolExecutor(min(parameters.threads, _LAG))
    batches = reader.batches()

    def places() -> tuple[list[GrainStart], list[int]]:
        """Where the next frames look for the grains, and which of these are lost."""
        lost = [grain for grain, track in enumerate(tracks) if track.misses >= _MISSES]
        return [track.start for track in tracks], lost

    def fit(
        frames: int, spectra: Callable[[], Spectra], starts: list[GrainStart], lost: list[int]
    ) -> list[list[GrainFit | None]]:
        return _fit_batch(grid, frames, spectra(), starts, lost, spots, parameters)

    # For the batches to come, whether what they follow from is told early or late: one place each.
    ahead = deque([places()] * _LAG)
    try:
        exhausted = False
        while waiting or not exhausted:
            # What is done is told at once, however long the next frames take to be read.
            if not exhausted and ahead and not (waiting and waiting[0][1].done()):
                upcoming = next(batches, False)
                if upcoming is None:
                    yield None
                elif isinstance(upcoming, tuple):
                    frames, spectra = upcoming
                    waiting.append((frames, pool.submit(fit, len(frames), spectra, *ahead.popleft())))
                else:
                    exhausted = True
                continue
            done, future = waiting[0]
            while not is_done(future):
                yield None
            waiting.popleft()
            for number, fits in zip(done, future.result(), strict=True):
                judged = [track.judge(one, grid, parameters) for track, one in zip(tracks, fits, strict=True)]
                yield number, judged
            ahead.append(places())
    finally:
        batches.close()
        pool.shutdown(wait=False, cancel_futures=True)


def _fit_batch(
    grid: LatticeGrid,
    frames: int,
    spectra: Spectra,
    starts: list[GrainStart],
    lost: list[int],
    spots: Sequence[GrainSpots],
    parameters: LatticeParameters,
) -> list[list[GrainFit | None]]:
    """Fit some frames; None for all grains of those that cannot be used."""
    found: list[list[GrainFit | None]] = [[None] * len(starts) for _ in range(frames)]
    if spectra.usable:
        looked = [_starts_again(grid, one, starts, lost, parameters) for one in spectra.values]
        fits = fit_frames(grid, spectra.values, looked, spots, parameters.symmetry, parameters.exclusive)
        for number, of_frame in zip(spectra.usable, fits, strict=True):
            found[number] = list(of_frame)
    return found


def _starts_again(
    grid: LatticeGrid,
    spectrum: Complex,
    starts: list[GrainStart],
    lost: list[int],
    parameters: LatticeParameters,
) -> list[GrainStart]:
    """Starts in which lost grains are looked for anew, by angle."""
    starts = list(starts)
    if parameters.symmetry != "any":
        for grain in lost:
            others = [start.basis for index, start in enumerate(starts) if index not in lost]
            length = float(np.hypot(*starts[grain].basis[0]))
            found = orientations(grid, [spectrum], length, parameters.symmetry)
            starts[grain] = _nearest(starts[grain], found, others, parameters.symmetry)
    return starts


def _nearest(
    before: GrainStart, found: list[GrainStart], others: list[Double], symmetry: Symmetry
) -> GrainStart:
    """The seed nearest in angle to where a lost grain was, held by the vectors nearest to its own."""
    free = [
        one
        for one in found
        if all(abs(float(misfit_deg(one.basis, other, symmetry))) >= SEPARATION_DEG for other in others)
    ]
    if not free:
        return before
    seed = min(free, key=lambda one: abs(float(misfit_deg(before.basis, one.basis, symmetry))))
    return GrainStart(_held_alike(seed.basis, before.basis, symmetry), seed.mask)


def _held_alike(basis: Double, like: Double, symmetry: Symmetry) -> Double:
    """Of the bases of one net, turned by its symmetry, the one nearest in angle to another's."""
    spots = np.array(first_order_spots(symmetry)) @ basis
    spots = np.concatenate([spots, -spots])
    if symmetry == 2:
        bases = [np.stack([spot, [spot[1], -spot[0]]]) for spot in spots]
    else:
        # Sorted by angle, the next spot (square) or the one after it in turn is g2.
        order = spots[np.argsort(np.arctan2(spots[:, 0], spots[:, 1]))]
        bases = [np.stack([order[one], order[(one + 1) % len(order)]]) for one in range(len(order))]
    wanted = float(lattice_angle_deg(like, symmetry))
    away = [abs(float(wrap_deg(lattice_angle_deg(one, symmetry) - wanted, 360))) for one in bases]
    return np.asarray(bases[int(np.argmin(away))])
