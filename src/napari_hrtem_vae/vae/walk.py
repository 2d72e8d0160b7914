"""One walk through a video: tiles of sites over all frames, read, prepared and encoded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ParameterError, VideoShapeError
from ..io.memory import keep_freed_memory
from ..progress import Progress, Steps
from ..video.geometry import SiteGrid, check_video, choose_zoom
from ..video.reading import as_read, read_ahead
from ..video.shift import apply_shifts
from ..video.unreadable import blank_frames
from .card import ModelCard
from .encoding import FrameEncoder, choose_device, precision_here
from .meaning.calibrated import calibration_of
from .meaning.components import Components
from .meaning.moment_frames import MomentFrames
from .meaning.reading import every_site
from .meaning.window_changes import MOMENTS, Moments
from .model import Model
from .parameters import AnalyzeParameters
from .preprocessing import Band, FrameStatistics, Preprocessing
from .tiles import Tile, WalkSize

Float = NDArray[np.float32]
# Beyond this a pixel size is a slip (pm for nm), or of a video without atomic columns.
_LARGEST_ZOOM = 12.0
_MOST_PIXELS = 1 << 29


def site_grid(video: xr.DataArray, card: ModelCard, parameters: AnalyzeParameters) -> SiteGrid:
    """Where the sites of an analysis will lie; cheap.

    Raises
    ------
    VideoShapeError
        The video is none, or its frames are smaller than the model's window.
    """
    check_video(video)
    pixel_nm = video.attrs.get("pixel_size_nm")
    zoom = parameters.zoom or choose_zoom(pixel_nm, card.pixel_size_nm)
    if parameters.zoom is None and not 1 / _LARGEST_ZOOM <= zoom <= _LARGEST_ZOOM:
        raise ParameterError(
            f"The video has {pixel_nm:g} nm/px and the model {card.pixel_size_nm:g}: frames would become "
            f"{zoom:.3g} times as large; correct the pixel size, choose another model, or give a zoom."
        )
    origin = tuple(float(video[axis][0]) if pixel_nm and axis in video.coords else 0.0 for axis in ("y", "x"))
    grid = SiteGrid(
        frame=(video.shape[1], video.shape[2]),
        window=card.window,
        step=parameters.step,
        zoom=zoom,
        pixel_size=pixel_nm or 1.0,
        unit="nm" if pixel_nm else "px",
        origin=(origin[0], origin[1]),
    )
    if grid.enlarged[0] * grid.enlarged[1] > _MOST_PIXELS:
        raise ParameterError(
            f"A zoom of {zoom:.3g} makes frames of {grid.enlarged[0]} × {grid.enlarged[1]} px; "
            "give a smaller one."
        )
    if min(grid.enlarged) < card.window:
        rows, columns = grid.enlarged
        scaled = f" ({rows} × {columns} at the model's pixel size)" if zoom != 1 else ""
        raise VideoShapeError(
            f"Frames of {grid.frame[0]} × {grid.frame[1]} px{scaled} are smaller than the model's window of "
            f"{card.window} px; give larger frames or another pixel size."
        )
    return grid


@dataclass(frozen=True)
class DriftTaken:
    """Drift that was taken out of a video before the walk.

    Parameters
    ----------
    shifts : Dataset (time)
        As measured.
    seen : ndarray (y, x), bool
        Sites whose windows every frame with a known place has pixels for.
    """

    shifts: xr.Dataset
    seen: NDArray[np.bool_]


@dataclass(frozen=True)
class WalkPlan:
    """What was found out about a video before the walk: the same for every process that takes part.

    Parameters
    ----------
    size : WalkSize
    tiles : tuple of Tile
        They cover all sites once.
    preprocessing : Preprocessing
    statistics : FrameStatistics
    unreadable : ndarray (frames,), bool
        Frames that cannot be read, and are blank.
    drift : DriftTaken, optional
    change_p : ndarray (y, x), optional
        What the frames tell of change at each site, see `StretchFrames`.
    """

    size: WalkSize
    tiles: tuple[Tile, ...]
    preprocessing: Preprocessing
    statistics: FrameStatistics
    unreadable: NDArray[np.bool_]
    drift: DriftTaken | None = None
    change_p: NDArray[np.float64] | None = None

    @property
    def grid(self) -> SiteGrid:
        """Where the sites lie."""
        return self.size.grid

    def change_p_of(self, tile: Tile) -> NDArray[np.float64] | None:
        """What the frames tell of change at a tile's sites."""
        return None if self.change_p is None else self.change_p[tile.rows, tile.columns]

    @property
    def left_out(self) -> NDArray[np.bool_]:
        """Frames without z: unreadable, constant, or not all numbers."""
        return ~self.statistics.usable

    def prepared(self, video: xr.DataArray) -> xr.DataArray:
        """A video as the walk reads it; see `readable`."""
        return readable(video, self.unreadable, self.drift)

    def notices(self, video: xr.DataArray) -> list[str]:
        """Sentences for the user: the video's own, and what was done to it."""
        notices = [str(notice) for notice in video.attrs.get("notices", [])]
        if self.grid.zoom != 1:
            change = "enlarged" if self.grid.zoom > 1 else "reduced"
            notices.append(f"Frames were {change} to {self.grid.zoom:.4g} times their size for the model.")
        if self.unreadable.any():
            notices.append(f"{_listed(self.unreadable)} cannot be read and were left out.")
        blank = self.left_out & ~self.unreadable
        if self.drift is not None:
            notices.append(_drift_notice(self.drift))
            blank &= self.drift.shifts["reliable"].values
        if blank.any():
            notices.append(f"{_listed(blank)} are constant or hold NaN and were left out.")
        if self.size.frames < 2:
            notices.append("The video has one frame, so no time axis and no maps; z of the still is given.")
        return notices


def _listed(frames: NDArray[np.bool_]) -> str:
    numbers = np.flatnonzero(frames)
    listed = ", ".join(str(number) for number in numbers[:10]) + (" …" if numbers.size > 10 else "")
    return f"{numbers.size} frame(s) ({listed})"


@dataclass
class Walk:
    """One walk through a video: what is read, what encodes it, and how far it has come."""

    video: xr.DataArray
    encoder: FrameEncoder
    plan: WalkPlan
    components: Components | None = None
    done: int = 0
    _memory: Float = field(default_factory=lambda: np.empty(0, np.float32))

    @property
    def total(self) -> int:
        """Sites × frames."""
        return self.plan.size.frames * math.prod(self.plan.grid.shape)

    def progress(self, message: str = "Encoding", finished: xr.Dataset | None = None) -> Progress:
        """How far the walk has come."""
        return Progress(self.done, self.total, message, finished)

    def empty_field(self, tile: Tile) -> Float:
        """An array for z of a tile (frames, rows, columns, latent), in the memory of the tile before.

        New memory of this size is cleared by the system as it is first written to.
        """
        shape = (self.plan.size.frames, *tile.shape, self.plan.size.latents)
        size = math.prod(shape)
        if self._memory.size < size:
            self.forget_field()
            self._memory = np.empty(size, np.float32)
        return self._memory[:size].reshape(shape)

    def forget_field(self) -> None:
        """Let the memory of `empty_field` go."""
        self._memory = np.empty(0, np.float32)

    def sites_of(self, tile: Tile) -> int:
        """Sites × frames of a tile."""
        return self.plan.size.frames * math.prod(tile.shape)

    def count_done(self, tile: Tile) -> None:
        """Count a tile as done that another run or process has written."""
        self.done += self.sites_of(tile)

    def encode_tile_steps(self, tile: Tile, out: Float) -> Steps[Moments | None]:
        """Encode a tile of all frames into `out` (frames, rows, columns, latent); left-out frames are NaN.

        Returns the components (rows, columns, 6, component) of the sites that kinds are read at, where the
        walk has any to look for.
        """
        plan, grid = self.plan, self.plan.grid
        band = plan.preprocessing.band((tile.rows, tile.columns), self.encoder.device)

        def prepare(start: int, frames: Float) -> Tensor:
            prepared = band(frames, plan.statistics.of(slice(start, start + len(frames))))
            if moments is not None:
                moments.take(start, prepared)
            return prepared

        usable = plan.statistics.usable
        moments = MomentFrames(usable) if self.components and usable.sum() >= MOMENTS else None
        together = plan.size.frames_at_once(*tile.shape)
        for rows in self.encoder.rows_of_chunks(self._chunks(together, band, prepare)):
            if rows is None:
                yield self.progress("Reading")
                continue
            out[rows.frame, rows.row : rows.row + len(rows.mean)] = rows.mean
            self.done += rows.mean.shape[0] * rows.mean.shape[1]
            yield self.progress()
        out[plan.left_out] = np.nan
        if plan.drift is not None:
            out[:, ~plan.drift.seen[tile.rows, tile.columns]] = np.nan
        if self.components is None or moments is None:
            return None
        read = tile.every(every_site(grid.window, grid.step))
        return moments.components(self.components, *read, grid.step)

    def _chunks(
        self, together: int, band: Band, prepare: Callable[[int, Float], Tensor]
    ) -> Iterator[tuple[int, Tensor] | None]:
        """Some frames at a time, prepared; where the encoder has one thread of a CPU, in that thread.

        The next are read meanwhile, but a process of one thread works on one core: as many fill a computer.
        """
        if self.encoder.device.type != "cpu" or self.encoder.threads.count > 1:
            yield from read_ahead(self.video, together, band.rows, prepare, columns=band.columns)
            return
        for chunk in read_ahead(self.video, together, band.rows, as_read, columns=band.columns):
            yield None if chunk is None else (chunk[0], prepare(*chunk))


def readable(
    video: xr.DataArray, unreadable: NDArray[np.bool_] | None = None, drift: DriftTaken | None = None
) -> xr.DataArray:
    """A video that is blank where it cannot be read, and without its drift; lazy."""
    if unreadable is not None and unreadable.any():
        video = blank_frames(video, unreadable)
    # Pixels that leave come in on the other side: no site that counts sees them, and grey levels stay.
    return video if drift is None else apply_shifts(video, drift.shifts, "whole", border="wrap")


def make_encoder(model: Model, parameters: AnalyzeParameters, *, one_pass: bool = True) -> FrameEncoder:
    """The encoder as the parameters have it, in a process made ready to work with it."""
    keep_freed_memory()
    scaling = model.card.scaling if parameters.scaling == "model" else parameters.scaling
    device = choose_device(parameters.device)
    return FrameEncoder(
        model,
        step=parameters.step,
        device=device,
        precision=precision_here(parameters.precision, device),
        scale_windows=scaling == "window",
        one_pass=one_pass,
    )


def components_of(model: Model, parameters: AnalyzeParameters) -> Components | None:
    """Components that kinds of change are read from beside latents; they are of frames scaled as a whole."""
    scaling = model.card.scaling if parameters.scaling == "model" else parameters.scaling
    calibration = None if scaling == "window" else calibration_of(model)
    return None if calibration is None else calibration.components


def _drift_notice(drift: DriftTaken) -> str:
    ranges = [float(np.ptp(drift.shifts[name].dropna("time").values)) for name in ("dy_px", "dx_px")]
    notice = f"Drift over {ranges[0]:.1f} px in y and {ranges[1]:.1f} px in x was taken out"
    lost = int((~drift.seen).sum())
    if lost:
        notice += f"; {lost} of {drift.seen.size} sites at the edges left the view and are empty"
    unknown = int((~drift.shifts["reliable"]).sum())
    if unknown:
        notice += f"; {unknown} frame(s) whose place could not be told were left out"
    return notice + "."
