"""The look at a video before the walk through it: once, here or by a crew, and the plan that follows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import ResultError, VideoFileError, VideoShapeError
from ..io.frames import plain_frames
from ..io.memory import give_back_memory, memory_budget
from ..progress import Progress, Steps
from ..video.drift import DriftParameters, check_told, estimate_drift_steps
from ..video.geometry import SiteGrid
from ..video.outliers import GreyLevels
from ..video.reading import CHUNK_BYTES, as_read, read_ahead
from ..video.shift import common_area, shift_array
from ..video.unreadable import find_unreadable_steps
from .card import ModelCard
from .crew import Busy, Elsewhere, Material
from .encoding import FrameEncoder
from .evidence import FEWEST_FRAMES
from .model import Model
from .parameters import AnalyzeParameters
from .preprocessing import FrameStatistics, Preprocessing, beam_of, frame_statistics_steps, prepare_steps
from .stretches import Stretch, StretchFrames, even_stretches
from .tiles import WalkSize, plan_tiles
from .walk import DriftTaken, Walk, WalkPlan, make_encoder, readable, site_grid


def plan_steps(
    video: xr.DataArray,
    model: Model,
    parameters: AnalyzeParameters,
    one_pass: bool,
    *,
    maps: bool = True,
    stored: bool = False,
    elsewhere: Elsewhere | None = None,
) -> Steps[Walk]:
    """Look at the video once, and plan the walk: tiles that fit the memory, encoder, preprocessing.

    Parameters
    ----------
    video : DataArray (time, y, x)
    model : Model
    parameters : AnalyzeParameters
    one_pass : bool
        See `FrameEncoder`.
    maps : bool
        Maps are wanted, so that change is looked for.
    stored : bool
        Results go to a store as they come: neither z nor maps of all sites are kept in memory.
    elsewhere : Elsewhere, optional
        Other processes look at the video and walk.

    Raises
    ------
    VideoShapeError, VideoFileError, ModelPartError, DeviceError
    ParameterError
        The memory is too small, or the pixel size a slip.
    ResultError
        z is to be kept in memory and does not fit.
    """
    grid = site_grid(video, model.card, parameters)
    budget = memory_budget(parameters.memory_gb) // (1 if elsewhere is None else elsewhere.crew.sharing)
    keep = parameters.keep_field or len(video) < 2
    size = WalkSize(
        grid,
        len(video),
        model.card.latents,
        field_in_memory=keep and not stored,
        maps_in_memory=not stored,
    )
    _check_memory(size, budget)
    encoder = make_encoder(model, parameters, one_pass=one_pass)
    unreadable = np.zeros(len(video), bool)
    look = _Look(size, budget, maps, elsewhere, encoder, model.card, parameters)
    try:
        return (yield from look.steps(video, unreadable))
    except VideoFileError:
        unreadable = yield from find_unreadable_steps(video)
    return (yield from look.steps(video, unreadable))


def _check_memory(size: WalkSize, budget: int) -> None:
    """Raise before any work when the memory is too small."""
    without_field = replace(size, field_in_memory=False, copies=2)
    plan_tiles(without_field, budget)
    need = replace(size, copies=2).need(1, 1)
    if need > budget:
        raise ResultError(
            f"z(t) of this video and its maps take {need / 1e9:.3g} GB, more than {budget / 1e9:.3g} GB; "
            "give a place to store it, a coarser step, or keep the maps alone."
        )


@dataclass(frozen=True)
class _Look:
    """How a video is looked at before its walk is planned."""

    size: WalkSize
    budget: int
    maps: bool
    elsewhere: Elsewhere | None
    encoder: FrameEncoder
    card: ModelCard
    parameters: AnalyzeParameters

    def steps(self, video: xr.DataArray, unreadable: NDArray[np.bool_]) -> Steps[Walk]:
        """Look at the video, and plan."""
        grid, size, budget, drift = self.size.grid, self.size, self.budget, None
        video = readable(video, unreadable)
        if self.parameters.drift == "rigid" and len(video) > 1:
            drift = yield from _drift_steps(video, grid, _margin_px(grid, self.card))
            video = readable(video, drift=drift)
        loaded, workers = 4 * video.size, 1
        # What was read of a plain file the system keeps anyway: as fast, and nothing is copied.
        not_plain = plain_frames(video.data) is None
        if self.elsewhere is not None:
            workers = self.elsewhere.crew.workers
        elif not_plain and loaded + max(loaded, replace(size, copies=2).need(1, 1)) <= budget:
            video = yield from _load_steps(video)
            budget -= loaded
        preprocessing, statistics, change_p = yield from self._prepare_steps(video, unreadable, drift)
        if drift is not None or not statistics.usable.all():
            size = replace(size, copies=2)
        tiles = tuple(plan_tiles(size, budget, workers, self.encoder.rows_together))
        # Half a gigabyte after large frames; where there is room it is used again, not cleared anew.
        if 2 * max(size.need(*tile.shape) for tile in tiles) > budget:
            give_back_memory()
        plan = WalkPlan(size, tiles, preprocessing, statistics, unreadable, drift, change_p)
        return Walk(video, self.encoder, plan)

    def _prepare_steps(
        self, video: xr.DataArray, unreadable: NDArray[np.bool_], drift: DriftTaken | None
    ) -> Steps[tuple[Preprocessing, FrameStatistics, NDArray[np.float64] | None]]:
        """Read the video once: how frames are prepared, what each is like, and where they change."""
        grid, card, parameters = self.size.grid, self.card, self.parameters
        if not self.maps or len(video) < FEWEST_FRAMES:
            return *(yield from prepare_steps(video, card, parameters, grid)), None
        stretches = StretchFrames(grid, card.smoothing_px, parameters.outliers)

        def look_steps(levels: GreyLevels) -> Steps[FrameStatistics]:
            # One worker would take longer than the threads here.
            if self.elsewhere is not None and self.elsewhere.crew.workers > 1:
                as_it_is = self.elsewhere.material, unreadable, drift, levels
                job = LookJob(*as_it_is, grid, card.smoothing_px, parameters.outliers)
                statistics, all_stretches = yield from _look_elsewhere_steps(self.elsewhere, job)
                if statistics.usable.all():
                    stretches.take_over(all_stretches, levels)
                    return statistics
                # Which frames make up a stretch is known only now.
            return (yield from frame_statistics_steps(video, levels, stretches.take))

        found = yield from prepare_steps(video, card, parameters, grid, look_steps)
        # Also where each window has a grey range of its own, which hides the beam from the encoder alone.
        beam = beam_of(found[1]) if parameters.level_beam else None
        seen = None if drift is None else drift.seen
        return *found, (yield from stretches.change_steps(beam, seen))


@dataclass(frozen=True)
class LookJob:
    """What a process needs to know to look at frames of a video.

    Parameters
    ----------
    material : Material
    unreadable : ndarray (frames,), bool
        Frames that cannot be read, and are blank.
    drift : DriftTaken or None
    levels : GreyLevels
        Of the video.
    grid : SiteGrid
    smoothing_px : float
    outliers : str
    """

    material: Material
    unreadable: NDArray[np.bool_]
    drift: DriftTaken | None
    levels: GreyLevels
    grid: SiteGrid
    smoothing_px: float
    outliers: str

    def open(self) -> LookBench:
        """With the video."""
        return LookBench(self, readable(self.material.open_video(), self.unreadable, self.drift))


@dataclass(frozen=True)
class LookBench:
    """A video that is looked at, a stretch at a time."""

    job: LookJob
    video: xr.DataArray

    def work_steps(self, part: slice) -> Steps[tuple[FrameStatistics, list[Stretch]]]:
        """Statistics of the frames of a stretch, and their mean where they are enough."""
        job, first = self.job, even_stretches(len(self.video))[0]
        stretches = StretchFrames(job.grid, job.smoothing_px, job.outliers, first.stop)
        found = yield from frame_statistics_steps(self.video, job.levels, stretches.take, part)
        return found, stretches.finished()


def _look_elsewhere_steps(elsewhere: Elsewhere, job: LookJob) -> Steps[tuple[FrameStatistics, list[Stretch]]]:
    """What a crew finds in all frames, in order of time."""
    parts = even_stretches(job.material.shape[0])
    done: dict[int, tuple[FrameStatistics, list[Stretch]]] = {}
    for told in elsewhere.share(job, parts):
        if not isinstance(told, Busy):
            done[told[0]] = told[1]
        yield Progress(len(done), len(parts), "Checking the frames")
    statistics, stretches = zip(*(done[number] for number in range(len(parts))), strict=True)
    return FrameStatistics.of_all(statistics), [one for some in stretches for one in some]


def _margin_px(grid: SiteGrid, card: ModelCard) -> int:
    """How far beyond its window a site sees, by smoothing and enlarging, in px of the enlarged frame."""
    enlarging = 0 if grid.zoom == 1 else math.ceil(2 * max(1.0, grid.zoom))
    return int(3 * card.smoothing_px + 0.5) + enlarging


def _drift_steps(video: xr.DataArray, grid: SiteGrid, margin_px: int) -> Steps[DriftTaken]:
    """Measure the drift, and find the sites that stay in view."""
    shifts = yield from estimate_drift_steps(video, DriftParameters())
    check_told(shifts)
    area = common_area(grid.frame, shift_array(shifts), "whole")
    inside = [
        grid.seen_along(axis, covered.start, covered.stop, margin_px) for axis, covered in enumerate(area)
    ]
    seen = np.logical_and.outer(*inside)
    if not seen.any():
        raise VideoShapeError(
            "The specimen drifts so far that no window stays in view; analyse fewer frames at a time."
        )
    return DriftTaken(shifts, seen)


def _load_steps(video: xr.DataArray) -> Steps[xr.DataArray]:
    """Read a video that fits into memory, chunk by chunk, so that bands need no second reading."""
    if isinstance(video.data, np.ndarray):
        return video
    frames = np.empty(video.shape, np.float32)
    done = 0
    for chunk in read_ahead(video, max(1, CHUNK_BYTES // (4 * video[0].size)), slice(None), as_read):
        yield Progress(done, len(video), "Reading")
        if chunk is not None:
            frames[chunk[0] : chunk[0] + len(chunk[1])] = chunk[1]
            done += len(chunk[1])
    return video.copy(data=frames)
