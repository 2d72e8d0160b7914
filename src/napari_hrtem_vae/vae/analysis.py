"""From a video to maps: bands of rows over all frames, each final when it is done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..io.open import open_video
from ..io.results import ResultStore, check_place, plain_attributes
from ..io.results_probe import RESULT_KEY
from ..progress import Progress, Steps, relabel, run
from ..video.geometry import SiteGrid
from ..video.reading import CHUNK_BYTES, read_frames
from .card import DEFAULT_MODEL, ModelCard
from .hotspots import find_hotspots
from .model import Model, load_model
from .parameters import AnalyzeParameters
from .statistics import Double, maps_dataset, raw_maps_steps
from .walk import Walk, plan_steps, site_grid

Float = NDArray[np.float32]
_RAW_MAPS = ("variance", "spearman", "time_correlated_variance")


def encode_steps(
    video: xr.DataArray, model: Model, parameters: AnalyzeParameters, *, one_pass: bool = True
) -> Steps[xr.DataArray]:
    """Encode every site of every frame; yields progress by the batch and returns what `encode` does."""
    plan = yield from plan_steps(video, model, parameters, one_pass)
    plan.check_field_fits()
    field = np.empty((len(video), *plan.grid.shape, model.card.latents), np.float32)
    for band in range(len(plan.bands)):
        yield from plan.encode_band_steps(band, field[:, slice(*plan.bands[band])])
    return xr.DataArray(
        field, _coordinates(video, plan.grid, model.card.latents), plan.dims, "z", {"units": "1"}
    )


def encode(
    video: xr.DataArray | NDArray[Any], model: Model | str, *, step: int | None = None, **options: Any
) -> xr.DataArray:
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
    video = video if isinstance(video, xr.DataArray) else open_video(video)
    model = load_model(model) if isinstance(model, str | Path) else model
    return run(encode_steps(video, model, _parameters(model, step, options)))


def analyze(
    video: xr.DataArray | NDArray[Any] | str | Path,
    model: Model | str = DEFAULT_MODEL,
    *,
    step: int | None = None,
    store: str | Path | None = None,
    **options: Any,
) -> xr.Dataset:
    """Latent field, maps and hotspots of a video; see `analyze_steps`."""
    video = video if isinstance(video, xr.DataArray) else open_video(video)
    model = load_model(model) if isinstance(model, str | Path) else model
    return run(analyze_steps(video, model, _parameters(model, step, options), store=store))


def _parameters(model: Model, step: int | None, options: dict[str, Any]) -> AnalyzeParameters:
    return AnalyzeParameters(step=model.card.step if step is None else step, **options)


def analyze_steps(
    video: xr.DataArray, model: Model, parameters: AnalyzeParameters, *, store: str | Path | None = None
) -> Steps[xr.Dataset]:
    """Analyse a video; yields progress by the batch and the maps of each band when it is done.

    A band's `significance` and `change` are provisional: their false-discovery rate is settled over all
    sites at the end.

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
    if store is not None:
        check_place(store)
    plan = yield from plan_steps(video, model, parameters, one_pass=True)
    grid, card = plan.grid, model.card
    coords = _coordinates(video, grid, card.latents)
    maps = _Maps.empty((*grid.shape, card.latents), active_latents(card))
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
                if not still:
                    maps.read_back(written.path, rows)
                plan.skip(index)
                continue
            shape = (len(video), last - first, grid.shape[1], card.latents)
            block = np.empty(shape, np.float32) if field is None else field[:, rows]
            yield from plan.encode_band_steps(index, block)
            band = None
            if not still:
                labels = {"y": coords["y"][rows], "x": coords["x"], "latent": coords["latent"]}
                band = yield from maps.band_steps(block, rows, labels, plan.progress)
            if written is not None:
                if parameters.keep_field or still:
                    yield from _write_field_steps(written, plan, rows, block)
                if band is not None:
                    part = band[list(_RAW_MAPS)].assign(p=(plan.dims[1:], maps.p[rows]))
                    written.write(part, {"y": rows})
                written.note(index)
            yield plan.progress(finished=band)
        result = xr.Dataset(coords=coords)
        if not still:
            labels = {name: result[name] for name in ("y", "x", "latent")}
            result = result.merge(maps_dataset(maps.values, maps.p, labels, maps.active))
            result = result.merge(find_hotspots(result, parameters.false_discovery_rate, maps.active))
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


@dataclass
class _Maps:
    """Maps of all sites, filled band by band, and the p-values that significance needs at the end."""

    values: dict[str, Float]
    p: Double
    active: NDArray[np.bool_] | None

    @classmethod
    def empty(cls, shape: tuple[int, ...], active: NDArray[np.bool_] | None) -> _Maps:
        values = {name: np.full(shape, np.nan, np.float32) for name in _RAW_MAPS}
        return cls(values, np.full(shape, np.nan), active)

    def band_steps(
        self, block: Float, rows: slice, labels: dict[str, xr.DataArray], progress: Callable[[], Progress]
    ) -> Steps[xr.Dataset]:
        """Map a band of the field; its significance is provisional until all bands are there."""
        if np.isfinite(block[..., 0]).any():
            found, self.p[rows] = yield from relabel(raw_maps_steps(block), progress)
        else:
            # The specimen drifted out of view here: the maps stay NaN.
            found = {name: values[rows] for name, values in self.values.items()}
        for name, values in found.items():
            self.values[name][rows] = values
        return maps_dataset(found, self.p[rows], labels, self.active)

    def read_back(self, path: Path, rows: slice) -> None:
        """Take up a band that a run before has written."""
        with xr.open_zarr(path, consolidated=False) as stored:
            for name, values in self.values.items():
                values[rows] = stored[name][rows].values
            self.p[rows] = stored["p"][rows].values


def active_latents(card: ModelCard) -> NDArray[np.bool_] | None:
    """Latents that varied over the training set; None where the card does not tell."""
    variances = card.training.get("variances")
    return None if not variances else np.asarray(variances) > 0.01


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
        "latent": xr.DataArray(
            np.arange(latents), dims="latent", attrs={"long_name": "rank by variance in training"}
        ),
    }


def _attributes(
    video: xr.DataArray, model: Model, parameters: AnalyzeParameters, plan: Walk
) -> dict[str, Any]:
    return plain_attributes(
        {
            RESULT_KEY: "analysis",
            "source": str(video.attrs.get("source", "array")),
            "dataset": video.attrs.get("dataset"),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
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


def _provenance(
    video: xr.DataArray, model: Model, parameters: AnalyzeParameters, plan: Walk
) -> dict[str, Any]:
    ends = [read_frames(video, slice(frame, frame + 1)).tobytes() for frame in (0, len(video) - 1)]
    digest = hashlib.sha256(f"{video.shape} {video.dtype}".encode() + b"".join(ends))
    digest.update(plan.statistics.mean.tobytes())
    result_parameters = {
        key: value for key, value in asdict(parameters).items() if key not in ("device", "memory_gb")
    }
    return {
        "video": digest.hexdigest()[:16],
        "source": str(video.attrs.get("source", "array")),
        "pixel size": video.attrs.get("pixel_size_nm"),
        "model": model.checksum,
        "parameters": result_parameters,
        "version": version("napari-hrtem-vae"),
    }


def _template(
    plan: Walk, coords: dict[str, xr.DataArray], keep_field: bool, attributes: dict[str, Any], still: bool
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
        several = max(1, min(frames, CHUNK_BYTES // (4 * rows[0] * shape[1] * shape[2])))
        empty = da.full((frames, *shape), np.nan, dtype=np.float32, chunks=(several, rows[0], *shape[1:]))
        template["z"] = (plan.dims, empty, {"units": "1", "long_name": "latents"})
    return template


def _write_field_steps(store: ResultStore, plan: Walk, rows: slice, block: Float) -> Iterator[Progress]:
    """Write z of a band a few frames at a time, so that a stop need not wait for all of it."""
    several = max(1, CHUNK_BYTES // block[0].nbytes)
    for start in range(0, len(block), several):
        yield plan.progress("Writing")
        frames = slice(start, min(start + several, len(block)))
        store.write(xr.Dataset({"z": (plan.dims, block[frames])}), {"time": frames, "y": rows})


__all__ = [
    "active_latents",
    "analyze",
    "analyze_steps",
    "encode",
    "encode_steps",
    "site_grid",
]
