"""One walk through a video: bands of rows over all frames, read, prepared and encoded."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import ParameterError, ResultError, VideoFileError, VideoShapeError
from ..io.memory import memory_budget
from ..progress import Progress, Steps
from ..video.geometry import SiteGrid, check_video, choose_zoom
from .card import ModelCard
from .encoding import FrameEncoder, choose_device
from .model import Model
from .parameters import AnalyzeParameters
from .preprocessing import FrameStatistics, Preprocessing, frame_statistics, prepare_steps

Float = NDArray[np.float32]
# Several bands let a map fill in while the rest is computed.
_FEWEST_BANDS = 6
_FEWEST_ROWS = 4
CHUNK_BYTES = 1 << 26


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
    if min(grid.enlarged) < card.window:
        rows, columns = grid.enlarged
        scaled = f" ({rows} × {columns} at the model's pixel size)" if zoom != 1 else ""
        raise VideoShapeError(
            f"Frames of {grid.frame[0]} × {grid.frame[1]} px{scaled} are smaller than the model's window of "
            f"{card.window} px; give larger frames or another pixel size."
        )
    return grid


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

    @property
    def total(self) -> int:
        return len(self.video) * self.grid.shape[0] * self.grid.shape[1]

    def progress(self, message: str = "Encoding", finished: xr.Dataset | None = None) -> Progress:
        return Progress(self.done, self.total, message, finished)

    def skip(self, index: int) -> None:
        first, last = self.bands[index]
        self.done += len(self.video) * (last - first) * self.grid.shape[1]

    def encode_band_steps(self, index: int, out: Float) -> Iterator[Progress]:
        """Encode a band of all frames into `out` (frames, rows, x, latent)."""
        first, last = self.bands[index]
        band = self.preprocessing.band(first, last, self.encoder.device)
        for start, frames in self._read(band.rows):
            found = self.statistics.of(slice(start, start + len(frames)))
            for rows in self.encoder.rows(band(frames, found)):
                out[start + rows.frame, rows.row : rows.row + len(rows.mean)] = rows.mean
                self.done += rows.mean.shape[0] * rows.mean.shape[1]
                yield self.progress()
        out[~self.statistics.usable] = np.nan

    def _read(self, rows: slice) -> Iterator[tuple[int, Float]]:
        """Rows of all frames, chunk by chunk; the next chunk is read while this one is used."""
        each = 4 * (rows.stop - rows.start) * self.grid.frame[1]
        count = max(1, min(CHUNK_BYTES, self.budget // 8) // each)
        starts = range(0, len(self.video), count)
        with ThreadPoolExecutor(1) as reader:
            upcoming: Future[Float] | None = None
            for start in starts:
                frames = (upcoming or reader.submit(self._read_chunk, start, count, rows)).result()
                upcoming = None
                if start + count < len(self.video):
                    upcoming = reader.submit(self._read_chunk, start + count, count, rows)
                yield start, frames

    def _read_chunk(self, start: int, count: int, rows: slice) -> Float:
        try:
            return np.array(self.video[start : start + count, rows].data, np.float32)
        except (OSError, ValueError, EOFError, IndexError) as error:
            raise VideoFileError(
                f"Frames {start} to {start + count - 1} of {self.video.attrs.get('source', 'the video')} "
                f"cannot be read ({error}); check the file."
            ) from error

    def check_field_fits(self) -> None:
        need = self.total * self.encoder.latents * 4
        if need > self.budget:
            raise ResultError(
                f"z(t) of this video takes {need / 1e9:.1f} GB, more than {self.budget / 1e9:.1f} GB; "
                "give a place to store it, a coarser step, or keep the maps alone."
            )

    def notices(self) -> list[str]:
        notices = [str(notice) for notice in self.video.attrs.get("notices", [])]
        if self.grid.zoom != 1:
            change = "enlarged" if self.grid.zoom > 1 else "reduced"
            notices.append(f"Frames were {change} to {self.grid.zoom:.4g} times their size for the model.")
        bad = np.flatnonzero(~self.statistics.usable)
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
    if 4 * video.size <= budget // 2:
        video = yield from _load_steps(video)
    preprocessing = yield from prepare_steps(video, model.card, parameters, grid)
    bands = _bands(grid, len(video), model.card.latents, budget)
    # A band of a good frame may be constant: only whole frames tell which of them can be used.
    statistics = yield from _statistics_steps(video)
    return Walk(video, grid, encoder, preprocessing, bands, statistics, budget)


def _load_steps(video: xr.DataArray) -> Steps[xr.DataArray]:
    """Read a video that fits into memory, chunk by chunk, so that bands need no second reading."""
    if isinstance(video.data, np.ndarray):
        return video
    frames = np.empty(video.shape, video.dtype)
    count = max(1, CHUNK_BYTES // max(1, video[0].nbytes))
    for start in range(0, len(video), count):
        yield Progress(start, len(video), "Reading")
        try:
            frames[start : start + count] = video[start : start + count].values
        except (OSError, ValueError, EOFError, IndexError) as error:
            raise VideoFileError(
                f"{video.attrs.get('source', 'The video')} cannot be read ({error}); check the file."
            ) from error
    return video.copy(data=frames)


def _statistics_steps(video: xr.DataArray) -> Steps[FrameStatistics]:
    parts: list[FrameStatistics] = []
    count = max(1, CHUNK_BYTES // (4 * video[0].size))
    for start in range(0, len(video), count):
        yield Progress(start, len(video), "Checking the frames")
        parts.append(frame_statistics(np.asarray(video[start : start + count].data, np.float32)))
    columns = zip(*((part.mean, part.deviation, part.usable) for part in parts), strict=True)
    return FrameStatistics(*(np.concatenate(column) for column in columns))


def _bands(grid: SiteGrid, frames: int, latents: int, budget: int) -> list[tuple[int, int]]:
    """Rows of sites [first, last) whose latent field takes a quarter of the budget at most."""
    rows, columns = grid.shape
    row_bytes = frames * columns * latents * 4
    if row_bytes > budget:
        raise ParameterError(
            f"The memory of {budget / 1e9:.3f} GB is too small for one row of sites; "
            f"give {row_bytes * 1.1 / 1e9:.3f} GB or more."
        )
    fitting = max(1, budget // 4 // row_bytes)
    wanted = max(_FEWEST_ROWS, -(-rows // _FEWEST_BANDS))
    each = max(1, min(fitting, wanted))
    return [(first, min(first + each, rows)) for first in range(0, rows, each)]
