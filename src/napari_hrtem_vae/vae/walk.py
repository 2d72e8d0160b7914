"""One walk through a video: bands of rows over all frames, read, prepared and encoded."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ParameterError, ResultError, VideoShapeError
from ..io.memory import memory_budget
from ..progress import Progress, Steps
from ..video.drift import DriftParameters, check_told, estimate_drift_steps
from ..video.geometry import SiteGrid, check_video, choose_zoom
from ..video.reading import CHUNK_BYTES, as_read, read_ahead
from ..video.shift import apply_shifts, common_area, shift_array
from .card import ModelCard
from .encoding import FrameEncoder, choose_device
from .model import Model
from .parameters import AnalyzeParameters
from .preprocessing import FrameStatistics, Preprocessing, prepare_steps

Float = NDArray[np.float32]
# Several bands let a map fill in while the rest is computed.
_MOST_BANDS = 6
_ROWS_OF_A_BAND = 24
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


@dataclass
class Walk:
    """One walk through a video: its bands, encoder, and how far it has come."""

    video: xr.DataArray
    grid: SiteGrid
    encoder: FrameEncoder
    preprocessing: Preprocessing
    bands: list[tuple[int, int]]
    statistics: FrameStatistics
    budget: int
    done: int = 0
    dims: tuple[str, ...] = ("time", "y", "x", "latent")
    drift: DriftTaken | None = None

    @property
    def total(self) -> int:
        """Sites × frames."""
        return len(self.video) * self.grid.shape[0] * self.grid.shape[1]

    def progress(self, message: str = "Encoding", finished: xr.Dataset | None = None) -> Progress:
        """How far the walk has come."""
        return Progress(self.done, self.total, message, finished)

    def skip(self, index: int) -> None:
        """Count a band as done that a run before has written."""
        first, last = self.bands[index]
        self.done += len(self.video) * (last - first) * self.grid.shape[1]

    def encode_band_steps(self, index: int, out: Float) -> Iterator[Progress]:
        """Encode a band of all frames into `out` (frames, rows, x, latent); unusable frames become NaN."""
        band = self.preprocessing.band(*self.bands[index], self.encoder.device)
        frame_bytes = (
            4 * (band.rows.stop - band.rows.start) * self.grid.frame[1] * max(1.0, self.grid.zoom) ** 2
        )
        count = max(1, int(min(CHUNK_BYTES, self.budget // 16) / frame_bytes))

        def prepare(start: int, frames: Float) -> Tensor:
            return band(frames, self.statistics.of(slice(start, start + len(frames))))

        for chunk in read_ahead(self.video, count, band.rows, prepare):
            if chunk is None:
                yield self.progress("Reading")
                continue
            start, frames = chunk
            for rows in self.encoder.rows(frames):
                out[start + rows.frame, rows.row : rows.row + len(rows.mean)] = rows.mean
                self.done += rows.mean.shape[0] * rows.mean.shape[1]
                yield self.progress()
        out[~self.statistics.usable] = np.nan
        if self.drift is not None:
            out[:, ~self.drift.seen[slice(*self.bands[index])]] = np.nan

    def check_field_fits(self) -> None:
        """Raise `ResultError` when the latent field is larger than the memory allowed."""
        need = self.total * self.encoder.latents * 4
        if need > self.budget:
            raise ResultError(
                f"z(t) of this video takes {need / 1e9:.1f} GB, more than {self.budget / 1e9:.1f} GB; "
                "give a place to store it, a coarser step, or keep the maps alone."
            )

    def notices(self) -> list[str]:
        """Sentences for the user: the video's own, and what was done to it."""
        notices = [str(notice) for notice in self.video.attrs.get("notices", [])]
        if self.grid.zoom != 1:
            change = "enlarged" if self.grid.zoom > 1 else "reduced"
            notices.append(f"Frames were {change} to {self.grid.zoom:.4g} times their size for the model.")
        bad = np.flatnonzero(~self.statistics.usable)
        if self.drift is not None:
            notices.append(_drift_notice(self.drift))
            bad = np.flatnonzero(~self.statistics.usable & self.drift.shifts["reliable"].values)
        if bad.size:
            listed = ", ".join(str(frame) for frame in bad[:10])
            more = " …" if bad.size > 10 else ""
            notices.append(f"{bad.size} frame(s) are constant or hold NaN and were left out: {listed}{more}.")
        if len(self.video) < 2:
            notices.append("The video has one frame, so no time axis and no maps; z of the still is given.")
        return notices


def plan_steps(
    video: xr.DataArray, model: Model, parameters: AnalyzeParameters, one_pass: bool
) -> Steps[Walk]:
    """Look at the video once, and plan the walk: bands that fit the memory, encoder, preprocessing."""
    grid = site_grid(video, model.card, parameters)
    scaling = model.card.scaling if parameters.scaling == "model" else parameters.scaling
    encoder = FrameEncoder(
        model,
        step=parameters.step,
        device=choose_device(parameters.device),
        precision=parameters.precision,
        scale_windows=scaling == "window",
        one_pass=one_pass,
    )
    budget = memory_budget(parameters.memory_gb)
    drift = None
    if parameters.drift == "rigid" and len(video) > 1:
        drift = yield from _drift_steps(video, grid, _margin_px(grid, model.card))
        # Pixels that leave come in on the other side: no site that counts sees them, and grey levels stay.
        video = apply_shifts(video, drift.shifts, "whole", border="wrap")
    if 4 * video.size <= budget // 2:
        video = yield from _load_steps(video)
    preprocessing, statistics = yield from prepare_steps(video, model.card, parameters, grid)
    bands = _bands(grid, len(video), model.card.latents, budget)
    return Walk(video, grid, encoder, preprocessing, bands, statistics, budget, drift=drift)


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


def _bands(grid: SiteGrid, frames: int, latents: int, budget: int) -> list[tuple[int, int]]:
    """Rows of sites [first, last) whose latent field takes a quarter of the budget at most."""
    rows, columns = grid.shape
    row_bytes = frames * columns * latents * 4
    if row_bytes > budget // 2:
        raise ParameterError(
            f"The memory of {budget / 1e9:.3g} GB is too small for one row of sites; "
            f"give {row_bytes * 2.1 / 1e9:.3g} GB or more."
        )
    fitting = max(1, budget // 4 // row_bytes)
    # Neighbouring bands read and encode a window's height twice: a few tall ones cost less.
    bands = min(max(rows // _ROWS_OF_A_BAND, 2), _MOST_BANDS)
    each = min(fitting, -(-rows // bands))
    return [(first, min(first + each, rows)) for first in range(0, rows, each)]
