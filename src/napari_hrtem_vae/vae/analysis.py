"""From a video to maps: bands of rows over all frames, each final when it is done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import ParameterError, ResultError, VideoFileError, VideoShapeError
from ..io.memory import memory_budget
from ..io.results import RESULT_KEY, ResultStore, plain_attributes
from ..progress import Progress, Steps, run
from ..video.geometry import SiteGrid, check_video, choose_zoom
from .card import ModelCard
from .encoding import FrameEncoder, choose_device
from .hotspots import find_hotspots
from .model import Model, load_model
from .parameters import AnalyzeParameters
from .preprocessing import FrameStatistics, Preprocessing, frame_statistics, prepare_steps
from .statistics import Double, maps_dataset, raw_maps, usable_frames

Float = NDArray[np.float32]
# Several bands let a map fill in while the rest is computed.
_FEWEST_BANDS = 6
_FEWEST_ROWS = 4
_CHUNK_BYTES = 1 << 26
_RAW_MAPS = ("variance", "spearman", "time_correlated_variance")


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


def encode_steps(
    video: xr.DataArray, model: Model, parameters: AnalyzeParameters, *, one_pass: bool = True
) -> Steps[xr.DataArray]:
    """Encode every site of every frame; yields progress by the batch and returns what `encode` does."""
    plan = yield from _plan_steps(video, model, parameters, one_pass)
    field = np.empty((len(video), *plan.grid.shape, model.card.latents), np.float32)
    for band in range(len(plan.bands)):
        yield from plan.encode_band_steps(band, field[:, slice(*plan.bands[band])])
    return xr.DataArray(field, _coordinates(video, plan.grid, model.card.latents), plan.dims, "z", {"units": "1"})


def encode(video: xr.DataArray, model: Model | str, *, step: int | None = None, **options: Any) -> xr.DataArray:
    """Latent field of a video.

    Parameters
    ----------
    video : DataArray (time, y, x)
        As `open_video` returns it.
    model : Model or str
        Or its name or file.
    step : int, optional
        Distance of neighbouring windows in px of the model; its own by default.
    **options
        Other fields of `AnalyzeParameters`.

    Returns
    -------
    DataArray (time, y, x, latent), float32
        Means of the latents; NaN in frames that are constant or hold NaN. y and x are the centres of
        the windows, in nm where the video's pixel size is known, else px.

    Raises
    ------
    VideoShapeError, ParameterError, ModelPartError, DeviceError
    """
    model = load_model(model) if isinstance(model, str | Path) else model
    return run(encode_steps(video, model, AnalyzeParameters(step=step or model.card.step, **options)))


def analyze(
    video: xr.DataArray | str | Path,
    model: Model | str = "pbs-64-fast",
    *,
    step: int | None = None,
    store: str | Path | None = None,
    **options: Any,
) -> xr.Dataset:
    """Latent field, maps and hotspots of a video; see `analyze_steps`."""
    if isinstance(video, str | Path):
        from ..io import open_video

        video = open_video(video)
    model = load_model(model) if isinstance(model, str | Path) else model
    return run(analyze_steps(video, model, AnalyzeParameters(step=step or model.card.step, **options), store=store))


def analyze_steps(
    video: xr.DataArray, model: Model, parameters: AnalyzeParameters, *, store: str | Path | None = None
) -> Steps[xr.Dataset]:
    """Analyse a video; yields progress by the batch and each band's maps as they become final.

    Parameters
    ----------
    video : DataArray (time, y, x)
    model : Model
    parameters : AnalyzeParameters
    store : path, optional
        Where the result is written while it is made; a run that was stopped goes on there.

    Returns
    -------
    Dataset
        `z` (time, y, x, latent) if kept; `variance`, `spearman`, `time_correlated_variance`,
        `significance` (y, x, latent); `change` (y, x); hotspots. A video of one frame has z alone.

    Raises
    ------
    VideoShapeError, ModelPartError, DeviceError, ResultError
    """
    plan = yield from _plan_steps(video, model, parameters, one_pass=True)
    grid, card = plan.grid, model.card
    coords = _coordinates(video, grid, card.latents)
    maps = {name: np.full((*grid.shape, card.latents), np.nan, np.float32) for name in _RAW_MAPS}
    p = np.full((*grid.shape, card.latents), np.nan)
    active = active_latents(card)
    still = len(video) < 2
    attributes = _attributes(video, model, parameters, plan)
    field = None
    written: ResultStore | None = None
    if store is not None:
        template = _template(plan, coords, parameters.keep_field or still, attributes, still)
        provenance = _provenance(video, model, parameters, plan)
        written = ResultStore.create_or_resume(store, template, provenance, plan.bands)
        plan.bands = written.bands
    elif parameters.keep_field or still:
        plan.check_field_fits()
        field = np.empty((len(video), *grid.shape, card.latents), np.float32)
    try:
        for index, (first, last) in enumerate(plan.bands):
            rows = slice(first, last)
            if written is not None and index in written.finished:
                _read_back(written.path, rows, maps, p, still)
                plan.skip(index)
                continue
            block = np.empty((len(video), last - first, grid.shape[1], card.latents), np.float32)
            block = block if field is None else field[:, rows]
            yield from plan.encode_band_steps(index, block)
            band = xr.Dataset(coords={name: coords[name] for name in ("x", "latent")} | {"y": coords["y"][rows]})
            if not still:
                found, p[rows] = raw_maps(block)
                for name, values in found.items():
                    maps[name][rows] = values
                band = maps_dataset(found, p[rows], {name: band[name] for name in ("y", "x", "latent")}, active)
            if written is not None:
                _write_band(written, index, rows, block, band, p[rows], parameters.keep_field or still)
            yield plan.progress(finished=None if still else band)
        result = xr.Dataset(coords=coords)
        if not still:
            labels = {name: result[name] for name in ("y", "x", "latent")}
            result = result.merge(maps_dataset(maps, p, labels, active))
            result = result.merge(find_hotspots(result, parameters.false_discovery_rate, active))
        result.attrs = {**attributes, "notices": plan.notices()}
        if written is not None:
            yield plan.progress("Finishing the store")
            late = [name for name in result.data_vars if name not in _RAW_MAPS]
            written.finish(result[late], scratch=["p"])
            result = xr.open_zarr(written.path, consolidated=False)
        elif field is not None:
            result["z"] = (plan.dims, field, {"units": "1", "long_name": "latents"})
        return result
    finally:
        if written is not None:
            written.release()


def active_latents(card: ModelCard) -> NDArray[np.bool_] | None:
    """Latents that varied over the training set; None where the card does not tell."""
    variances = card.training.get("variances")
    return None if not variances else np.asarray(variances) > 0.01


@dataclass
class _Plan:
    """One walk through a video: bands, readers, encoder, and how far it has come."""

    video: xr.DataArray
    grid: SiteGrid
    encoder: FrameEncoder
    preprocessing: Preprocessing
    bands: list[tuple[int, int]]
    statistics: FrameStatistics | None
    budget: int
    done: int = 0
    bad_frames: frozenset[int] = frozenset()
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
            found = frame_statistics(frames)
            if self.statistics is not None:
                several = slice(start, start + len(frames))
                found = FrameStatistics(
                    self.statistics.mean[several], self.statistics.deviation[several], self.statistics.usable[several]
                )
            elif band.rows != slice(0, self.grid.frame[0]):
                # A band of a good frame may be constant, and says nothing of the frame.
                found = FrameStatistics(found.mean, found.deviation, np.isfinite(found.deviation))
            for rows in self.encoder.rows(band(frames, found)):
                out[start + rows.frame, rows.row : rows.row + len(rows.mean)] = rows.mean
                self.done += rows.mean.shape[0] * rows.mean.shape[1]
                yield self.progress()
            bad = np.flatnonzero(~found.usable)
            out[start + bad] = np.nan
            self.bad_frames = self.bad_frames | frozenset(int(start + one) for one in bad)

    def _read(self, rows: slice) -> Iterator[tuple[int, Float]]:
        """Rows of all frames, chunk by chunk; the next chunk is read while this one is used."""
        each = 4 * (rows.stop - rows.start) * self.grid.frame[1]
        count = max(1, min(_CHUNK_BYTES, self.budget // 8) // each)
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
                f"z(t) of this video takes {need / 1e9:.1f} GB, more than the {self.budget / 1e9:.1f} GB allowed; "
                "give a place to store it, a coarser step, or keep the maps alone."
            )

    def notices(self) -> list[str]:
        notices = [str(notice) for notice in self.video.attrs.get("notices", [])]
        if self.grid.zoom != 1:
            notices.append(f"Frames were enlarged {self.grid.zoom:.4g} times to the model's pixel size.")
        if self.bad_frames:
            listed = ", ".join(str(frame) for frame in sorted(self.bad_frames)[:10])
            more = " …" if len(self.bad_frames) > 10 else ""
            notices.append(
                f"{len(self.bad_frames)} frame(s) are constant or hold NaN and were left out: {listed}{more}."
            )
        if len(self.video) < 2:
            notices.append("The video has one frame, so no time axis and no maps; z of the still is given.")
        return notices


def _plan_steps(
    video: xr.DataArray, model: Model, parameters: AnalyzeParameters, one_pass: bool
) -> Steps[_Plan]:
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
    statistics = None
    if len(bands) > 1:
        statistics = yield from _statistics_steps(video)
        if not statistics.usable.any():
            raise VideoShapeError("Every frame is constant or holds NaN; choose a video with a picture in it.")
    return _Plan(video, grid, encoder, preprocessing, bands, statistics, budget)


def _load_steps(video: xr.DataArray) -> Steps[xr.DataArray]:
    """Read a video that fits into memory, chunk by chunk, so that bands need no second reading."""
    if isinstance(video.data, np.ndarray):
        return video
    frames = np.empty(video.shape, video.dtype)
    count = max(1, _CHUNK_BYTES // max(1, video[0].nbytes))
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
    count = max(1, _CHUNK_BYTES // (4 * video[0].size))
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
            f"The memory of {budget / 1e9:.2f} GB is too small for one row of sites; give {row_bytes * 1.1 / 1e9:.2f} GB."
        )
    fitting = max(1, budget // 4 // row_bytes)
    wanted = max(_FEWEST_ROWS, -(-rows // _FEWEST_BANDS))
    each = max(1, min(fitting, wanted))
    return [(first, min(first + each, rows)) for first in range(0, rows, each)]


def _coordinates(video: xr.DataArray, grid: SiteGrid, latents: int) -> dict[str, xr.DataArray]:
    """Coordinates of a latent field, with units."""
    if "time" in video.coords:
        time = np.asarray(video["time"].values, float)
        unit = str(video["time"].attrs.get("units", "s"))
    else:
        time, unit = np.arange(len(video), dtype=float), "frame"
    return {
        "time": xr.DataArray(time, dims="time", attrs={"units": unit}),
        "y": xr.DataArray(grid.y, dims="y", attrs={"units": grid.unit}),
        "x": xr.DataArray(grid.x, dims="x", attrs={"units": grid.unit}),
        "latent": xr.DataArray(np.arange(latents), dims="latent", attrs={"long_name": "rank by variance in training"}),
    }


def _attributes(video: xr.DataArray, model: Model, parameters: AnalyzeParameters, plan: _Plan) -> dict[str, Any]:
    return plain_attributes(
        {
            RESULT_KEY: "analysis",
            "source": str(video.attrs.get("source", "array")),
            "pixel_size_nm": video.attrs.get("pixel_size_nm"),
            "frame_time_s": video.attrs.get("frame_time_s"),
            "model": model.card.name,
            "model_checksum": model.checksum,
            "parameters": json.dumps(asdict(parameters)),
            "window_px": plan.grid.window,
            "zoom": plan.grid.zoom,
            "device": str(plan.encoder.device),
            "version": version("napari-hrtem-vae"),
        }
    )


def _provenance(video: xr.DataArray, model: Model, parameters: AnalyzeParameters, plan: _Plan) -> dict[str, Any]:
    ends = np.asarray(video[[0, -1]].data)
    result_parameters = {
        key: value for key, value in asdict(parameters).items() if key not in ("device", "memory_gb")
    }
    return {
        "video": hashlib.sha256(f"{video.shape} {video.dtype}".encode() + ends.tobytes()).hexdigest()[:16],
        "pixel size": video.attrs.get("pixel_size_nm"),
        "model": model.checksum or model.card.name,
        "parameters": result_parameters,
        "version": version("napari-hrtem-vae"),
    }


def _template(
    plan: _Plan, coords: dict[str, xr.DataArray], keep_field: bool, attributes: dict[str, Any], still: bool
) -> xr.Dataset:
    """Lazy arrays of the result's sizes; one chunk along y a band."""
    shape = (*plan.grid.shape, plan.encoder.latents)
    rows = tuple(last - first for first, last in plan.bands)
    template = xr.Dataset(coords=coords, attrs=attributes)
    if not still:
        for name, dtype in [*((name, np.float32) for name in _RAW_MAPS), ("p", np.float64)]:
            chunks = (rows[0], *shape[1:])
            template[name] = (plan.dims[1:], da.full(shape, np.nan, dtype=dtype, chunks=chunks))
    if keep_field:
        frames = len(plan.video)
        several = max(1, min(frames, _CHUNK_BYTES // (4 * rows[0] * shape[1] * shape[2])))
        empty = da.full((frames, *shape), np.nan, dtype=np.float32, chunks=(several, rows[0], *shape[1:]))
        template["z"] = (plan.dims, empty, {"units": "1", "long_name": "latents"})
    return template


def _write_band(
    store: ResultStore, index: int, rows: slice, block: Float, band: xr.Dataset, p: Double, keep_field: bool
) -> None:
    part = xr.Dataset({name: band[name] for name in _RAW_MAPS if name in band})
    if part.data_vars:
        part["p"] = (("y", "x", "latent"), p)
    if keep_field:
        part["z"] = (("time", "y", "x", "latent"), block)
    store.write(index, part, {"y": rows})


def _read_back(path: Path, rows: slice, maps: dict[str, Float], p: Double, still: bool) -> None:
    if still:
        return
    with xr.open_zarr(path, consolidated=False) as stored:
        for name, values in maps.items():
            values[rows] = stored[name][rows].values
        p[rows] = stored["p"][rows].values


__all__ = ["active_latents", "analyze", "analyze_steps", "encode", "encode_steps", "site_grid", "usable_frames"]
