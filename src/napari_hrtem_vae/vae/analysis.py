"""From a video to maps: tiles of sites over all frames, each final when it is done."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import ClusterError, ParameterError
from ..io.open import open_video
from ..io.results import check_place
from ..io.source import VideoSource
from ..progress import Progress, Steps, run
from .card import DEFAULT_MODEL
from .crew import Crew, Elsewhere, Material
from .layout import (
    DIMS,
    RAW_MAPS,
    active_latents,
    empty_moments,
    field_coordinates,
    final_maps_steps,
    labelled_maps,
    notices_of,
    result_attributes,
)
from .model import Model, load_model
from .parameters import AnalyzeParameters
from .planning import plan_steps
from .statistics import FRAME_NOISE
from .stored import analyze_into_store_steps, tile_maps_steps
from .threads import one_thread_of_blas
from .walk import components_of, site_grid

# Told first: from then on a stop waits until the workers are there, as half of them could not be ended.
CONNECTING = Progress(0, 1, "Connecting to the workers")


def encode_steps(
    video: xr.DataArray, model: Model, parameters: AnalyzeParameters, *, one_pass: bool = True
) -> Steps[xr.DataArray]:
    """Encode every site of every frame; yields progress by the batch and returns what `encode` does."""
    whole = replace(parameters, keep_field=True)
    walk = yield from plan_steps(video, model, whole, one_pass, maps=False)
    grid, latents = walk.plan.grid, model.card.latents
    field = np.empty((len(video), *grid.shape, latents), np.float32)
    for tile in walk.plan.tiles:
        yield from walk.encode_tile_steps(tile, field[:, tile.rows, tile.columns])
    made_by = {} if model.path is None else {"model_file": str(model.path)}
    attrs = {"units": "1", "model": model.card.name, "model_checksum": model.checksum, **made_by}
    return xr.DataArray(field, field_coordinates(video, grid, latents), DIMS, "z", attrs)


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
    workers: int = 0,
    cluster: str = "",
    **options: Any,
) -> xr.Dataset:
    """Latent field, maps and hotspots of a video; see `analyze_steps`.

    Parameters
    ----------
    video : DataArray (time, y, x), ndarray or path
    model : Model or str
        Or its name or file.
    step : int, optional
        Distance of neighbouring windows in px of the model; its own by default.
    store : path, optional
        Where the result is written while it is made.
    workers, cluster
        See `analyze_shared_steps`: then the video must be of a file, the model a name or file, and a
        store be given.
    **options
        Other fields of `AnalyzeParameters`.
    """
    video = video if isinstance(video, xr.DataArray) else open_video(video)
    loaded = load_model(model) if isinstance(model, str | Path) else model
    parameters = _parameters(loaded, step, options)
    if not workers and not cluster:
        return run(analyze_steps(video, loaded, parameters, store=store))
    if store is None or isinstance(model, Model):
        raise ParameterError("Workers need a store to write to, and the model as a name or file.")
    source = VideoSource.of(video)
    return run(analyze_shared_steps(source, str(model), parameters, store, workers=workers, cluster=cluster))


def _parameters(model: Model, step: int | None, options: dict[str, Any]) -> AnalyzeParameters:
    return AnalyzeParameters(step=model.card.step if step is None else step, **options)


def analyze_steps(
    video: xr.DataArray, model: Model, parameters: AnalyzeParameters, *, store: str | Path | None = None
) -> Steps[xr.Dataset]:
    """Analyse a video; yields progress by the batch and the maps of each tile when it is done.

    A tile's `significance` and `change` are provisional: their false-discovery rate is settled over all
    sites at the end. Meanwhile numpy's matrix products have one thread in this process.

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
    with one_thread_of_blas():
        if store is None:
            return (yield from _analyze_in_memory_steps(video, model, parameters))
        check_place(store)
        return (yield from analyze_into_store_steps(video, model, parameters, store))


def _analyze_in_memory_steps(
    video: xr.DataArray, model: Model, parameters: AnalyzeParameters
) -> Steps[xr.Dataset]:
    """Analyse a video without a store; see `analyze_steps`."""
    walk = yield from plan_steps(video, model, parameters, one_pass=True)
    walk.components = components_of(model, parameters)
    plan, frames, latents = walk.plan, len(video), model.card.latents
    coords = field_coordinates(video, plan.grid, latents)
    active = active_latents(model.card)
    raw = {name: np.full((*plan.grid.shape, latents), np.nan, np.float32) for name in RAW_MAPS}
    raw[FRAME_NOISE] = np.full(plan.grid.shape, np.nan, np.float32)
    p = np.full((*plan.grid.shape, latents), np.nan)
    known = empty_moments(walk)
    field = None
    if plan.size.field_in_memory:
        field = np.empty((frames, *plan.grid.shape, latents), np.float32)
    for tile in plan.tiles:
        place = tile.rows, tile.columns
        block = walk.empty_field(tile) if field is None else field[:, *place]
        components = yield from walk.encode_tile_steps(tile, block)
        if frames < 2:
            continue
        found, p[place] = yield from tile_maps_steps(block, walk.progress)
        for name, values in found.items():
            raw[name][place] = values
        known.take(block, tile.first_row, tile.first_column, components)
        labels = {**coords, "y": coords["y"][tile.rows], "x": coords["x"][tile.columns]}
        told = labelled_maps(found, p[place], labels, active, plan.grid, plan.change_p_of(tile))
        yield walk.progress(finished=told)
    walk.forget_field()
    result = xr.Dataset(coords=coords)
    if frames > 1:
        maps = labelled_maps(raw, p, coords, active, plan.grid, plan.change_p)
        final = final_maps_steps(maps, raw[FRAME_NOISE], known, frames, model, plan.grid, parameters)
        result = result.merge((yield from final))
    result.attrs = {
        **result_attributes(video, model, parameters, walk),
        "notices": notices_of(result, video, model, parameters, walk),
    }
    if field is not None:
        result["z"] = (DIMS, field, {"units": "1", "long_name": "latents"})
    return result


def analyze_shared_steps(
    source: VideoSource,
    model: str,
    parameters: AnalyzeParameters,
    store: str | Path,
    *,
    workers: int = 0,
    cluster: str = "",
) -> Steps[xr.Dataset]:
    """Analyse a video into a store, its tiles shared by several processes.

    Parameters
    ----------
    source : VideoSource
        Seen under the same path by all of them.
    model : str
        Name of a shipped model, or a file that all see under that path.
    parameters : AnalyzeParameters
    store : path
        Where all of them write; a run that was stopped goes on there, with workers or without.
    workers : int
        Processes of one thread each to be started on this computer; they share the memory allowed.
    cluster : str
        Instead: the address of a dask scheduler, as "tcp://host:8786". Each of its workers may take the
        memory allowed.

    Returns
    -------
    Dataset
        See `analyze_steps`.

    Raises
    ------
    ClusterError
        The cluster cannot be reached, or its workers died again and again.
    ParameterError
        Neither or both of `workers` and `cluster` are given.
    HrtemVaeError
        As of `analyze_steps`.
    """
    check_place(store)
    yield CONNECTING
    with connected_crew(workers, cluster) as crew, one_thread_of_blas():
        video, loaded = source.open(), load_model(model)
        elsewhere = Elsewhere(crew, Material.of(source, video, model, loaded))
        return (yield from analyze_into_store_steps(video, loaded, parameters, store, elsewhere))


def connected_crew(workers: int, cluster: str) -> AbstractContextManager[Crew]:
    """The crew of `workers` processes of this computer, or of the cluster at an address."""
    try:
        from .cluster import ClusterParameters, connected
    except ImportError as error:
        raise ClusterError(
            f"Workers need dask.distributed ({error}); run: pip install 'napari-hrtem-vae[cluster]'."
        ) from error
    return connected(ClusterParameters(workers, cluster))


__all__ = [
    "CONNECTING",
    "active_latents",
    "analyze",
    "analyze_shared_steps",
    "analyze_steps",
    "connected_crew",
    "encode",
    "encode_steps",
    "site_grid",
]
