"""Which grains a video shows: a look at its first frames, and elsewhere where they do not show all."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import xarray as xr

from ..errors import LatticeError
from ..progress import Progress, Steps
from ..video.outliers import GreyLevels, grey_levels, replace_outliers
from ..video.reading import read_frames
from .conventions import Double
from .grid import Float
from .parameters import LatticeParameters
from .seeding import FoundGrains, find_lattice, grains_of
from .spectra import SpectrumReader, is_done

_SEED_FRAMES = 3
_SEED_PLACES = 5

Told = TypeVar("Told")


@dataclass(frozen=True)
class Seed:
    """Grains found in neighbouring frames, and a reader from the first of them to the end of the video.

    Parameters
    ----------
    frame : int
        The first of the frames.
    found : FoundGrains
    reader : SpectrumReader or None
        None where there is no lattice.
    """

    frame: int
    found: FoundGrains
    reader: SpectrumReader | None

    @property
    def worth(self) -> tuple[int, float]:
        """How many grains there are, and how much of them is seen."""
        fits = self.found.fits
        return len(fits), sum(fit.cells * fit.signal for fit in fits)


def seed_steps(video: xr.DataArray, parameters: LatticeParameters, bases: Double | None) -> Steps[Seed]:
    """Look for grains at the start of the video, then elsewhere; the look that finds most of them counts.

    Raises
    ------
    LatticeError
        No lattice stands out of the noise.
    """
    count = min(_SEED_FRAMES, len(video))
    last = len(video) - count
    places = sorted({round(last * place / (_SEED_PLACES - 1)) for place in range(_SEED_PLACES)})
    wanted = parameters.n_grains if bases is None else len(bases)
    best: Seed | None = None
    pool = ThreadPoolExecutor(1)
    try:
        for place in places:
            seed = yield from _look_steps(video, slice(place, place + count), parameters, bases, pool)
            if seed is not None and (best is None or seed.worth > best.worth):
                best, seed = seed, best
            if seed is not None and seed.reader is not None:
                seed.reader.close()
            if best is not None and len(best.found.fits) >= wanted:
                break
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    name = str(video.attrs.get("source", "the video"))
    if best is None:
        raise LatticeError(f"The frames of {name} are constant or hold NaN; choose another video.")
    if not best.found.fits:
        raise LatticeError(
            f"No lattice stands out of the noise in {name}; average frames, or give the fringes' period, "
            "another symmetry or spots of your own."
        )
    return best


def _look_steps(
    video: xr.DataArray,
    where: slice,
    parameters: LatticeParameters,
    bases: Double | None,
    pool: ThreadPoolExecutor,
) -> Steps[Seed | None]:
    """Grains in some neighbouring frames; None where none can be used."""
    told = yield from _told(pool.submit(_usable_frames, video, where, parameters), video)
    if told is None:
        return None
    first, frames, levels = told
    lattice = yield from _told(pool.submit(find_lattice, frames, parameters, bases), video)
    reader = None
    if lattice.grid is not None:
        reader = SpectrumReader(video, range(first, len(video)), lattice.grid, levels)
        if parameters.threads > 1:
            # One core is left idle while the grains are told apart.
            reader.begin()
    try:
        found = yield from _told(pool.submit(grains_of, lattice, frames, parameters, bases), video)
    except BaseException:
        if reader is not None:
            reader.close()
        raise
    return Seed(first, found, reader)


def _told(future: Future[Told], video: xr.DataArray) -> Generator[Progress, None, Told]:
    """What another thread tells; progress until then."""
    yield Progress(0, len(video), "Looking for grains")
    while not is_done(future):
        yield Progress(0, len(video), "Looking for grains")
    return future.result()


def _usable_frames(
    video: xr.DataArray, where: slice, parameters: LatticeParameters
) -> tuple[int, Float, GreyLevels | None] | None:
    """Number of the first of some frames that can be used, all that can, and their grey levels."""
    frames = read_frames(video, where)
    usable = np.isfinite(frames).all((1, 2)) & (frames.min((1, 2)) < frames.max((1, 2)))
    if not usable.any():
        return None
    frames = frames[usable]
    levels = grey_levels(frames) if parameters.outliers else None
    if levels is not None:
        frames = replace_outliers(frames, levels)
    return where.start + int(np.flatnonzero(usable)[0]), frames, levels
