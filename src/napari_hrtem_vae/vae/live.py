"""Analysis while frames are recorded: z of each frame as it lands, maps and hotspots of the last ones."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import xarray as xr

from ..errors import CancelledError, VideoFileError
from ..io.growing import FrameFile, GrowingFolder, Picture, State
from ..io.growing_field import GrowingField
from ..io.memory import memory_budget
from ..io.results import check_place
from ..progress import Progress, Steps, relabel
from .layout import DIMS, active_latents, final_maps
from .live_encoder import LiveEncoder, rehearse_steps
from .live_field import LastFrames, Row
from .live_parameters import WatchParameters
from .live_reading import FRAMES_AT_ONCE, Found, Looked, Reading
from .live_result import (
    GONE,
    IDLE,
    STOPPED,
    UNTIL,
    Counts,
    coordinates,
    count_files,
    notices,
    result_attributes,
)
from .model import Model
from .parameters import AnalyzeParameters
from .statistics import site_maps_steps
from .threads import one_thread_of_blas

WAITING = "Waiting for frames in"
_FEWEST_FOR_MAPS = 4
_REST_S = 0.02
# Between the begin of some maps and of the next: frames that land together share their maps.
_BETWEEN_MAPS_S = 0.1
# The first frames settle the grey range: so many, or all that come within half a second.
_PATIENCE_AT_FIRST_S = 0.5
_PATIENCE_AT_THE_END_S = 0.5


@dataclass(frozen=True)
class Update(Progress):
    """Progress of a watch; with `finished`, the maps and hotspots of the last frames.

    Parameters
    ----------
    counts : Counts
    lag_s : float
        The longest that a frame has waited from its landing to these maps, of those new in them.
    files : tuple of Path
        With `finished`: every frame so far, in order; the last ones are those of `finished`.
    times : DataArray (time,), optional
        With `finished`: of `files`, in s or frames.
    """

    counts: Counts = field(default_factory=Counts)
    lag_s: float = 0.0
    files: tuple[Path, ...] = ()
    times: xr.DataArray | None = None


def watch_steps(
    folder: str | Path,
    model: Model,
    parameters: AnalyzeParameters,
    watching: WatchParameters | None = None,
    *,
    store: str | Path | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Steps[xr.Dataset]:
    """Analyse the frames of a folder as they land; yields an `Update` with maps whenever some are new.

    Grey levels, grey range and beam are those of the first frames. A file that is not whole waits, one that
    stays broken is left out, one that changes after it was read is read again; all are counted. None is
    skipped that can be analysed: only where frames go on coming faster than that, some are, evenly.

    Parameters
    ----------
    folder : path
    model : Model
    parameters : AnalyzeParameters
    watching : WatchParameters, optional
    store : path, optional
        Where z of all frames and the last maps are kept at the end.
    stop : callable, optional
        Asked at each step; when true the watch ends, and what was done is its result.

    Returns
    -------
    Dataset
        As of `analyze`: `z` of all frames where there is a store, else of the last ones; maps and hotspots
        of the last frames.

    Raises
    ------
    VideoFileError
        There is no such folder, it was deleted before a frame landed, or no frame landed within the time
        given by `watching.idle`.
    CancelledError
        `stop` said so before a frame had landed.
    VideoShapeError, ParameterError, DeviceError, ResultError
        As of `analyze`; also where the last frames do not fit the memory.
    """
    if store is not None:
        check_place(store, resumable=False)
    watch = _Watch(folder, model, parameters, watching or WatchParameters(), store, stop)
    try:
        return (yield from watch.steps())
    finally:
        watch.close()


class _Watch:
    """One watch: the folder, the encoder once frames are there, the last frames, and the maps of them."""

    def __init__(
        self,
        folder: str | Path,
        model: Model,
        parameters: AnalyzeParameters,
        watching: WatchParameters,
        store: str | Path | None,
        stop: Callable[[], bool],
    ) -> None:
        self.folder = GrowingFolder(folder, watching.pattern)
        self.budget = memory_budget(parameters.memory_gb)
        self.reading = Reading(self.folder, watching, self.budget)
        self.model, self.parameters, self.watching, self.stop = model, parameters, watching, stop
        self.active = active_latents(model.card)
        self.place = store
        self.pixel_size_nm, self.frame_time_s = watching.pixel_size_nm, watching.frame_time_s
        self.encoder: LiveEncoder | None = None
        self.frames: LastFrames | None = None
        self.stored: GrowingField | None = None
        self.reader = ThreadPoolExecutor(1)
        self.look_at = 0.0
        # As the last look found them: the folder belongs to the reader's thread while it looks.
        self.seen = Counts()
        self.looked_at = self.landed = time.monotonic()
        self.first: list[Found] = []
        # Frames that no maps show yet, and those of the maps that are being made.
        self.unseen: list[FrameFile] = []
        self.in_maps: list[FrameFile] = []
        self.maps: xr.Dataset | None = None
        self.maps_begun = -_BETWEEN_MAPS_S
        self.end = ""
        self.said: list[str] = []

    def close(self) -> None:
        """Let go of the thread and of what was not finished."""
        self.reader.shutdown(wait=False, cancel_futures=True)
        if self.stored is not None:
            self.stored.discard()

    def steps(self) -> Steps[xr.Dataset]:
        """The loop: look and read in a thread, encode what came, make maps in between."""
        yield from relabel(rehearse_steps(self.model, self.parameters), self.getting_ready)
        self.looked_at = self.landed = time.monotonic()
        looking: Future[Looked] | None = None
        maps: Steps[Update] | None = None
        while not self._ended():
            if looking is None and time.monotonic() >= self.look_at:
                looking = self.reader.submit(self.reading.look, self._wanted())
            if looking is not None and looking.done():
                found, looking = self._looked(looking), None
                yield from self._take_steps(found)
            elif maps is None and not self._maps_due():
                time.sleep(_REST_S)
            if maps is None and self._maps_due():
                maps = self._maps_steps()
            if maps is not None:
                try:
                    next(maps)
                except StopIteration as done:
                    maps = None
                    yield done.value
            yield self.progress()
        if looking is not None:
            # What is read by now is taken; a drive that does not answer is not waited for.
            wait([looking], timeout=_PATIENCE_AT_THE_END_S)
        answers = looking is None or looking.done()
        yield from self._take_steps(self._looked(looking) if looking is not None and answers else [])
        if answers:
            self.seen = count_files(self.folder)
        return (yield from self._finish_steps(maps))

    def progress(self) -> Update:
        """How far the watch has come; the total is not known unless it was given."""
        counts = self.counts
        done = counts.landed - counts.waiting
        message = f"{counts.frames} frames" if done else f"{WAITING} {self.folder.folder}"
        return Update(done, self.watching.until or 0, message, counts=counts)

    def getting_ready(self) -> Update:
        """Before the first look."""
        return Update(0, self.watching.until or 0, "Getting ready")

    @property
    def counts(self) -> Counts:
        """What became of all files; what is not known to be done waits."""
        seen, frames = self.seen, self.frames
        if frames is None:
            return replace(seen, waiting=seen.landed - seen.done)
        rows = len(frames.before) + len(frames.rows) - seen.earlier - seen.skipped
        unusable = sum(not row.usable and row.file.state is not State.SKIPPED for row in frames.rows)
        counts = replace(seen, frames=rows, unusable=unusable)
        return replace(counts, waiting=counts.landed - counts.done)

    def _ended(self) -> bool:
        """Whether the watch is over."""
        if not self.end:
            counts, idle = self.counts, self.watching.idle
            if self.stop():
                self.end = STOPPED
            elif self.watching.until is not None and counts.done >= self.watching.until:
                self.end = UNTIL
            elif idle is not None and not counts.waiting and self.looked_at - self.landed > idle:
                self.end = IDLE
        return bool(self.end)

    def _looked(self, looking: Future[Looked]) -> list[Found]:
        try:
            looked = looking.result()
        except VideoFileError as error:
            if self.frames is None and not self.first:
                raise
            self.end, self.said = GONE, [str(error)]
            return []
        self.seen, self.looked_at, self.look_at = looked.seen, looked.at, looked.next_at
        self.landed = max(self.landed, looked.landed)
        return looked.found

    def _wanted(self) -> int | None:
        """How many more frames are wanted; None where there is no end to it."""
        until = self.watching.until
        return None if until is None else until - self.counts.done - len(self.first)

    # Encoding

    def _take_steps(self, found: list[Found]) -> Steps[None]:
        """Encode what was read; the first frames wait for each other, to settle the grey range together."""
        if self.encoder is None:
            self.first += found
            if not self.first or not self._first_due():
                return
            found, self.first = self.first, []
            self._begin(found)
        assert self.encoder is not None
        assert self.frames is not None
        read: list[tuple[FrameFile, Picture]] = []
        cost = 0.0
        for one in found:
            if one.picture is None:
                self.frames.put(Row(one.file, self.frames.nothing, False))
            elif one.picture.frame.shape != self.encoder.grid.frame:
                one.file.state = State.TAKEN if one.file.analysed else State.OTHER_SIZE
            else:
                read.append((one.file, one.picture))
                cost += one.seconds
        if not read:
            return
        began = time.monotonic()
        frames = np.stack([picture.frame for _, picture in read])
        z, usable = yield from relabel(self.encoder.encode_steps(frames), self.progress)
        for (file, _), its, good in zip(read, z, usable, strict=True):
            self.frames.put(Row(file, its, bool(good)))
            self.unseen.append(file)
        self.reading.note_cost((cost + time.monotonic() - began) / len(read))

    def _first_due(self) -> bool:
        """Whether the first frames are enough: eight, all that are wanted, or those of half a second."""
        wanted = min(FRAMES_AT_ONCE, self.watching.until or FRAMES_AT_ONCE)
        waited = time.monotonic() - min(one.read_at for one in self.first)
        return len(self.first) >= wanted or waited > _PATIENCE_AT_FIRST_S or bool(self.end)

    def _begin(self, found: list[Found]) -> None:
        """Make what depends on the size of frames; the commonest size of the first ones is that of all."""
        pictures = [one.picture for one in found if one.picture is not None]
        ((shape, _),) = Counter(picture.frame.shape for picture in pictures).most_common(1)
        first = next(picture for picture in pictures if picture.frame.shape == shape)
        self.pixel_size_nm = self.pixel_size_nm or first.pixel_size_nm
        self.frame_time_s = self.frame_time_s or first.frame_time_s
        self.encoder = LiveEncoder(self.model, self.parameters, first.frame, self.pixel_size_nm)
        if self.place is not None:
            self.stored = GrowingField(self.place, self.encoder.shape)
        self.frames = LastFrames(
            self.watching.last, self.encoder.shape, self.budget, self.reading.earlier, self.stored
        )

    # Maps

    def _maps_due(self) -> bool:
        return (
            self.frames is not None
            and bool(self.unseen)
            and self.frames.usable >= _FEWEST_FOR_MAPS
            and time.monotonic() - self.maps_begun >= _BETWEEN_MAPS_S
        )

    def _maps_steps(self) -> Steps[Update]:
        """Maps and hotspots of the frames that are here now."""
        assert self.frames is not None
        assert self.encoder is not None
        self.maps_begun = time.monotonic()
        self.in_maps, self.unseen = self.unseen, []
        files, shown = self.frames.files, len(self.frames.rows)
        z = self.frames.field()
        coords = self._coordinates(files)
        times = coords["time"]
        with one_thread_of_blas():
            raw, p = yield from relabel(site_maps_steps(z), self.progress)
            maps = final_maps(raw, p, coords, self.active, self.encoder.grid, self.parameters)
        maps = maps.assign_coords(time=times[-shown:])
        maps["z"] = (DIMS, z, {"units": "1", "long_name": "latents"})
        self.maps = self._described(maps, shown)
        lag = max(time.monotonic() - file.landed for file in self.in_maps)
        self.in_maps = []
        told = self.progress()
        paths = tuple(file.path for file in files)
        return replace(told, finished=self.maps, lag_s=lag, files=paths, times=times)

    def _described(self, result: xr.Dataset, shown: int) -> xr.Dataset:
        assert self.encoder is not None
        return result.assign_attrs(
            result_attributes(
                self.folder, self.model, self.parameters, self.encoder, self.pixel_size_nm, self.frame_time_s
            ),
            notices=[*notices(self.counts, shown), *self.said],
            watch=json.dumps({**asdict(self.counts), "frames_in_maps": shown, "ended": self.end}),
            ended=self.end,
        )

    def _coordinates(self, files: list[FrameFile]) -> dict[str, xr.DataArray]:
        assert self.encoder is not None
        return coordinates(self.folder, files, self.encoder, self.frame_time_s)

    # The end

    def _finish_steps(self, maps: Steps[Update] | None) -> Steps[xr.Dataset]:
        """Maps of all that is here, and the result."""
        if self.frames is None:
            self._tell_that_nothing_came()
        assert self.frames is not None
        if maps is not None and self.unseen:
            maps.close()
            self.unseen, maps = [*self.in_maps, *self.unseen], None
        if maps is None and self.unseen and self.frames.usable >= _FEWEST_FOR_MAPS:
            maps = self._maps_steps()
        if maps is not None:
            yield (yield from maps)
        shown = len(self.frames.rows)
        if self.stored is None:
            result = self._last_alone() if self.maps is None else self.maps
            return self._described(result, shown)
        for done, _ in enumerate(self.frames.store_rest()):
            yield Update(done, shown, "Writing", counts=self.counts)
        rest = xr.Dataset(coords=self._coordinates(self.frames.files))
        if self.maps is not None:
            rest = rest.merge(self.maps.drop_vars(["z", "time"]))
        return self.stored.finish(self._described(rest, shown))

    def _last_alone(self) -> xr.Dataset:
        """z of frames that are too few for maps."""
        assert self.frames is not None
        result = xr.Dataset(coords=self._coordinates(self.frames.files[-len(self.frames.rows) :]))
        result["z"] = (DIMS, self.frames.field(), {"units": "1", "long_name": "latents"})
        return result

    def _tell_that_nothing_came(self) -> None:
        folder = self.folder.folder
        if self.end == STOPPED:
            raise CancelledError(f"Stopped before a frame had landed in {folder}.")
        if self.seen.broken:
            raise VideoFileError(f"No file in {folder} can be read as a frame; see what the camera writes.")
        raise VideoFileError(
            f"No frame has landed in {folder} for {self.watching.idle:g} s; "
            "check that it is the folder that the camera writes to."
        )


__all__ = ["GONE", "WAITING", "Counts", "Update", "watch_steps"]
