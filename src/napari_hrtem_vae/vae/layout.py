"""What a result holds: its arrays, their coordinates, how it was made, and the maps of all sites."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec

from ..io.results import SCRATCH, plain_attributes
from ..io.results_probe import RESULT_KEY
from ..progress import Steps
from ..video.geometry import SiteGrid
from ..video.reading import read_frames
from .card import ModelCard
from .hotspots import find_hotspots
from .meaning import labels
from .meaning.calibrated import calibration_of
from .meaning.reading import ShareReading, SiteMoments, every_site, read_changes_steps
from .meaning.site_features import moment_noise
from .meaning.window_changes import MOMENTS
from .model import Model
from .parameters import AnalyzeParameters
from .statistics import FRAME_NOISE, Double, maps_dataset
from .tiles import stored_field_columns, stored_sites
from .walk import Walk

Float = NDArray[np.float32]
DIMS = ("time", "y", "x", "latent")
MOMENT_DIMS = ("y", "x", "moment")
# What each tile has for itself: maps over (y, x, latent), and what kinds of change need.
RAW_MAPS = ("variance", "spearman", "time_correlated_variance")
TILE_MAPS = (*RAW_MAPS, FRAME_NOISE)
P_VALUES = "p"
# Of the sites that kinds are read at: latents, and components where the calibration has any.
SITE_MOMENTS, SITE_COMPONENTS = "moments", "components"
_STORED_CHUNK_BYTES = 1 << 23
# Of the order in which a store is cut; a store of another layout cannot be gone on with.
_LAYOUT = 6


def active_latents(card: ModelCard) -> NDArray[np.bool_] | None:
    """Latents that varied over the training set; None where the card does not tell."""
    variances = card.training.get("variances")
    return None if not variances else np.asarray(variances) > 0.01


def field_coordinates(video: xr.DataArray, grid: SiteGrid, latents: int) -> dict[str, xr.DataArray]:
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


def empty_moments(walk: Walk) -> SiteMoments:
    """Moments of the sites that kinds are read at, none known yet."""
    grid = walk.plan.grid
    components = 0 if walk.components is None else walk.components.count
    return SiteMoments.empty(
        grid.shape, walk.plan.size.latents, every_site(grid.window, grid.step), components
    )


def map_dims(name: str) -> tuple[str, ...]:
    """Dims of a tile's map."""
    return DIMS[1:3] if name == FRAME_NOISE else DIMS[1:]


def stored_name(name: str) -> str:
    """What a tile's map is called in the store."""
    return name if name in RAW_MAPS else SCRATCH + name


def labelled_maps(
    raw: dict[str, Float],
    p: Double,
    coords: dict[str, xr.DataArray],
    active: NDArray[np.bool_] | None,
    grid: SiteGrid,
    change_p: Double | None = None,
) -> xr.Dataset:
    """Maps of a tile or of all sites; of a tile, what needs all sites together is provisional.

    `change_p` is what the frames tell of these sites; without it latents do.
    """
    labels = {name: coords[name] for name in DIMS[1:]}
    return maps_dataset(raw, p, labels, active, grid.window / grid.step, change_p)


def final_maps_steps(
    maps: xr.Dataset,
    noise: Float,
    known: SiteMoments,
    frames: int,
    model: Model,
    grid: SiteGrid,
    parameters: AnalyzeParameters,
    share: ShareReading | None = None,
) -> Steps[xr.Dataset]:
    """Maps of all sites with kinds of change where it is significant, and the hotspots.

    Parameters
    ----------
    maps : Dataset
        Of all sites, as `labelled_maps` makes them.
    noise : ndarray (y, x)
        Variance of z from frame to frame, mean of the latents.
    known : SiteMoments
        What kinds are read from.
    frames : int
        Of the video.
    model : Model
    grid : SiteGrid
    parameters : AnalyzeParameters
    share : callable, optional
        See `read_changes_steps`.
    """
    length = UnitOfLength(grid.pixel_size / grid.zoom, grid.unit)
    rate = parameters.false_discovery_rate
    kinds = yield from kinds_steps(maps, noise, known, frames, model, grid.step, length, rate, share)
    maps = maps.merge(kinds)
    return maps.merge(find_hotspots(maps, rate, active_latents(model.card)))


@dataclass(frozen=True)
class UnitOfLength:
    """What a px of the model is in the video's unit of length."""

    per_px: float
    unit: str

    @classmethod
    def between_sites(cls, field: xr.DataArray, step: int) -> UnitOfLength:
        """From the coordinates of sites that lie `step` px apart."""
        for axis in ("y", "x"):
            if axis in field.coords and field.sizes[axis] > 1:
                along = field.coords[axis]
                return cls(float(along[1] - along[0]) / step, str(along.attrs.get("units", "px")))
        return cls(1.0, "px")


def kinds_steps(
    maps: xr.Dataset,
    noise: Float,
    known: SiteMoments,
    frames: int,
    model: Model,
    step: int,
    length: UnitOfLength,
    false_discovery_rate: float,
    share: ShareReading | None = None,
) -> Steps[xr.Dataset]:
    """Kinds of change and read-outs where `change` is significant; see `read_changes_steps`.

    Parameters
    ----------
    maps : Dataset
        With `change` over (y, x).
    noise : ndarray (y, x)
        Variance of z from frame to frame, mean of the latents.
    known : SiteMoments
    frames : int
    model : Model
    step : int
        Distance of neighbouring sites in px of the model.
    length : UnitOfLength
    false_discovery_rate : float
    share : callable, optional
        See `read_changes_steps`.
    """
    significant = maps["change"].values > -np.log10(false_discovery_rate)
    of_moment = moment_noise(noise, frames)
    calibration = calibration_of(model) if model.network.decoder is not None else None
    kinds = yield from read_changes_steps(known, of_moment, significant, model, calibration, step, share)
    for name in ("edge_shift", "edge_shift_error"):
        kinds[name] = kinds[name] * np.float32(length.per_px)
        kinds[name].attrs["units"] = length.unit
    return kinds


def final_maps(
    raw: dict[str, Float],
    p: Double,
    coords: dict[str, xr.DataArray],
    active: NDArray[np.bool_] | None,
    grid: SiteGrid,
    parameters: AnalyzeParameters,
) -> xr.Dataset:
    """Maps of all sites and the hotspots, without kinds of change."""
    maps = labelled_maps(raw, p, coords, active, grid)
    return maps.merge(find_hotspots(maps, parameters.false_discovery_rate, active))


def notices_of(
    result: xr.Dataset, video: xr.DataArray, model: Model, parameters: AnalyzeParameters, walk: Walk
) -> list[str]:
    """Sentences for the user: of the video, of what was done to it, and of what is not told."""
    notices = walk.plan.notices(video)
    if walk.encoder.precision != parameters.precision:
        notices.append(
            f"{walk.encoder.precision} was used in place of {parameters.precision}: "
            f"this processor is faster with {walk.encoder.precision}, and z is more precise."
        )
    return [*notices, *_change_notices(result), *_kind_notices(model, len(video))]


def _change_notices(result: xr.Dataset) -> list[str]:
    """That nothing can be told of change, where a result has maps and no site a value."""
    if "change" not in result or np.isfinite(result["change"].values).any():
        return []
    return ["Change cannot be told at any site: the frames are too few, or all alike."]


def _kind_notices(model: Model, frames: int) -> list[str]:
    """Why kinds of change are not told, where they are not."""
    name = model.card.name
    if frames < 2:
        return []
    if frames < MOMENTS:
        return [f"The video has fewer than {MOMENTS} frames, so that kinds of change are not told."]
    if model.network.decoder is None:
        return [f"{name} has no decoder: no kinds."]
    if calibration_of(model) is None:
        return [
            f"{name} is not calibrated, so that kinds of change are not told; "
            "run 'hrtem-vae models MODEL --calibrate' once."
        ]
    return []


def result_attributes(
    video: xr.DataArray, model: Model, parameters: AnalyzeParameters, walk: Walk
) -> dict[str, Any]:
    """How a result was made, as JSON can hold it."""
    plan = walk.plan
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
            "device": str(walk.encoder.device),
            "left_out_frames": np.flatnonzero(plan.left_out).tolist(),
            "unreadable_frames": np.flatnonzero(plan.unreadable).tolist(),
            "version": version("napari-hrtem-vae"),
            **meanings_of(model),
        }
    )


def meanings_of(model: Model) -> dict[str, list[str]]:
    """What each latent answers to, for the attributes of a result; nothing where it is not known."""
    found = labels(model)
    return {} if found is None else {"latent_meanings": list(found)}


def result_parameters(parameters: AnalyzeParameters) -> dict[str, Any]:
    """The parameters that decide what comes out, not those of how it is computed."""
    how = ("device", "memory_gb")
    return {name: value for name, value in asdict(parameters).items() if name not in how}


def provenance(
    video: xr.DataArray, model: Model, parameters: AnalyzeParameters, walk: Walk
) -> dict[str, Any]:
    """What two runs must agree in for the one to go on where the other was."""
    ends = [read_frames(walk.video, slice(frame, frame + 1)).tobytes() for frame in (0, len(video) - 1)]
    digest = hashlib.sha256(f"{video.shape} {video.dtype}".encode() + b"".join(ends))
    digest.update(walk.plan.statistics.mean.tobytes())
    return {
        "video": digest.hexdigest()[:16],
        "source": str(video.attrs.get("source", "array")),
        "pixel size": video.attrs.get("pixel_size_nm"),
        "model": model.checksum,
        "parameters": result_parameters(parameters),
        "version": version("napari-hrtem-vae"),
        "layout": _LAYOUT,
        "calibration": None if walk.components is None else walk.components.checksum,
    }


def store_template(
    walk: Walk,
    coords: dict[str, xr.DataArray],
    parameters: AnalyzeParameters,
    attributes: dict[str, Any],
) -> xr.Dataset:
    """Lazy arrays of the result's sizes; tiles are whole chunks of them."""
    plan = walk.plan
    frames, latents = plan.size.frames, plan.size.latents
    tall, wide = stored_sites(plan.tiles)
    template = xr.Dataset(coords=coords, attrs=attributes)
    if frames > 1:
        for name in (*TILE_MAPS, P_VALUES):
            dtype = np.dtype(np.float64 if name == P_VALUES else np.float32)
            of_latent = (latents,) * (name != FRAME_NOISE)
            map_ = _lazy((*plan.grid.shape, *of_latent), (tall, wide, *of_latent), dtype)
            template[stored_name(name)] = (map_dims(name), map_)
        components = 0 if walk.components is None else walk.components.count
        for name, last, count in (
            (SITE_MOMENTS, "latent", latents),
            (SITE_COMPONENTS, "component", components),
        ):
            if count:
                shape = (*plan.grid.shape, MOMENTS, count)
                moments = _lazy(shape, (tall, wide, MOMENTS, count), np.dtype(np.float16))
                template[stored_name(name)] = ((*MOMENT_DIMS, last), moments)
    if parameters.keep_field or frames < 2:
        dtype = np.dtype(parameters.field_type)
        wide = stored_field_columns(plan.tiles)
        together = max(1, min(frames, _STORED_CHUNK_BYTES // (dtype.itemsize * tall * wide * latents)))
        field = _lazy((frames, *plan.grid.shape, latents), (together, tall, wide, latents), dtype)
        template["z"] = (DIMS, field, {"units": "1", "long_name": "latents"})
    for array in template.data_vars.values():
        # Bytes of equal weight lie together, and compress; what a disk or a copy spoiled is found out.
        packed = BloscCodec(cname="zstd", clevel=1, shuffle="shuffle", typesize=array.dtype.itemsize)
        array.encoding = {"compressors": (packed, Crc32cCodec())}
    return template


def _lazy(shape: tuple[int, ...], chunks: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    return da.full(shape, np.nan, dtype=dtype, chunks=chunks)
