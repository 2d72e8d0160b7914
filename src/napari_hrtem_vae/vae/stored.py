"""An analysis into a store: tile by tile, here or by a crew of workers, and maps from what was written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from ..errors import ResultError
from ..io.memory import give_back_memory, memory_budget
from ..io.results import ResultStore, store_errors, write_region
from ..progress import Progress, Steps, relabel
from ..video.reading import CHUNK_BYTES
from .crew import Busy, Elsewhere, Material
from .layout import (
    DIMS,
    MOMENT_DIMS,
    P_VALUES,
    RAW_MAPS,
    SITE_COMPONENTS,
    SITE_MOMENTS,
    TILE_MAPS,
    active_latents,
    empty_moments,
    field_coordinates,
    final_maps_steps,
    labelled_maps,
    map_dims,
    notices_of,
    provenance,
    result_attributes,
    store_template,
    stored_name,
)
from .meaning.calibrated import calibration_of
from .meaning.reading import SiteMoments, every_site, usable_moments
from .meaning.site_features import Drawer, SiteLooks, SitesAtMoments, look_at_sites
from .meaning.window_changes import MOMENTS, Moments
from .model import Model
from .parameters import AnalyzeParameters
from .planning import plan_steps
from .statistics import FRAME_NOISE, Double, raw_maps_steps
from .tiles import Tile, in_gigabytes
from .walk import Walk, WalkPlan, components_of, make_encoder

Float = NDArray[np.float32]
Active = NDArray[np.bool_] | None
Write = Callable[[xr.Dataset, dict[str, slice]], None]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TileJob:
    """What a process needs to know to work on tiles of an analysis.

    Parameters
    ----------
    material : Material
    parameters : AnalyzeParameters
    plan : WalkPlan
    store : Path
        Where regions are written.
    """

    material: Material
    parameters: AnalyzeParameters
    plan: WalkPlan
    store: Path

    def open(self) -> TileBench:
        """With video and encoder."""
        model, video = self.material.open_model(), self.material.open_video()
        encoder, components = make_encoder(model, self.parameters), components_of(model, self.parameters)
        return TileBench(self, Walk(self.plan.prepared(video), encoder, self.plan, components))


@dataclass(frozen=True)
class TileBench:
    """A walk through a video by which tiles are made."""

    job: TileJob
    walk: Walk

    def work_steps(self, part: Tile) -> Steps[None]:
        """Encode and map a tile, and write its regions."""
        store = self.job.store
        with store_errors(store, "what is finished is kept: free space and run the same analysis again"):
            write, before = partial(write_region, store), self.walk.done
            steps = tile_into_store_steps(self.walk, part, store, write, self.job.parameters)
            total = self.walk.sites_of(part)
            yield from relabel(steps, lambda: Progress(self.walk.done - before, total))


def _tiles_elsewhere_steps(
    elsewhere: Elsewhere, walk: Walk, store: Path, tiles: list[Tile], parameters: AnalyzeParameters
) -> Generator[Progress | Tile, None, None]:
    """Have a crew work on tiles."""
    job = TileJob(elsewhere.material, parameters, walk.plan, store.absolute())
    for told in elsewhere.share(job, tiles):
        if isinstance(told, Busy):
            underway = sum(share * walk.sites_of(tiles[number]) for number, share in told.shares.items())
            message = f"Encoding with {told.workers} workers"
            yield Progress(walk.done + round(underway), walk.total, message)
        else:
            walk.count_done(tiles[told[0]])
            yield tiles[told[0]]


@dataclass(frozen=True)
class ReadingJob:
    """What a process needs to know to look at windows drawn of sites.

    Parameters
    ----------
    material : Material
    components : bool
        They are drawn from components, not from latents.
    """

    material: Material
    components: bool

    def open(self) -> ReadingBench:
        """With what draws windows."""
        model = self.material.open_model()
        calibration = calibration_of(model) if self.components else None
        beside = None if calibration is None else calibration.beside
        return ReadingBench(model if beside is None else beside.components)


@dataclass(frozen=True)
class ReadingBench:
    """What draws windows of sites."""

    drawer: Drawer

    def work_steps(self, part: SitesAtMoments) -> Steps[list[SiteLooks]]:
        """What is seen in some sites' windows."""
        yield Progress(0, 1)
        return look_at_sites(part, self.drawer)


def _read_elsewhere(
    elsewhere: Elsewhere, components: bool, parts: Sequence[SitesAtMoments]
) -> Iterator[tuple[int, list[SiteLooks]] | None]:
    """Have a crew look at windows drawn of sites."""
    for told in elsewhere.share(ReadingJob(elsewhere.material, components), parts):
        yield None if isinstance(told, Busy) else told


def analyze_into_store_steps(
    video: xr.DataArray,
    model: Model,
    parameters: AnalyzeParameters,
    store: str | Path,
    elsewhere: Elsewhere | None = None,
) -> Steps[xr.Dataset]:
    """Analyse a video into a store; see `analyze_steps`. A run that was stopped goes on there."""
    walk = yield from plan_steps(video, model, parameters, one_pass=True, stored=True, elsewhere=elsewhere)
    coords = field_coordinates(video, walk.plan.grid, model.card.latents)
    active = active_latents(model.card)
    walk.components = components_of(model, parameters)
    attributes = result_attributes(video, model, parameters, walk)
    template = store_template(walk, coords, parameters, attributes)
    size = f"The result takes up to {template.nbytes / 1e9:.3g} GB of disk"
    log.info("%s: %s", store, size)
    yield walk.progress(size)
    edges = [tile.edges for tile in walk.plan.tiles]
    written = ResultStore.create_or_resume(store, template, provenance(video, model, parameters, walk), edges)
    try:
        tiles = [Tile(*edges) for edges in written.bands]
        _check_memory_of_tiles(walk, tiles, parameters, written.path)
        waiting = []
        for index, tile in enumerate(tiles):
            if index in written.finished:
                written.check_written(_region(tile), list(map(str, template.data_vars)))
                walk.count_done(tile)
            else:
                waiting.append(tile)
        if elsewhere is None:
            working = _tiles_here_steps(walk, written, waiting, parameters)
        else:
            working = _tiles_elsewhere_steps(elsewhere, walk, written.path, waiting, parameters)
        # Closed before the lock is let go: nobody writes any more then.
        with closing(working):
            for done in working:
                if isinstance(done, Tile):
                    written.note(tiles.index(done))
                    done = walk.progress(finished=_maps_of(done, written, walk, coords, active))
                yield done
        walk.forget_field()
        yield walk.progress("Finishing the store")
        result = xr.Dataset()
        if walk.plan.size.frames > 1:
            grid, frames = walk.plan.grid, walk.plan.size.frames
            maps, noise = _maps_of_all(written.path, coords, active, walk.plan)
            give_back_memory()
            known = _read_moments(written.path, empty_moments(walk))
            share = None if elsewhere is None else partial(_read_elsewhere, elsewhere)
            result = yield from final_maps_steps(maps, noise, known, frames, model, grid, parameters, share)
        result.attrs = {
            **attributes,
            "notices": notices_of(result, video, model, parameters, walk),
        }
        late = [name for name in result.data_vars if name not in RAW_MAPS]
        written.finish(result[late])
        stored: xr.Dataset = xr.open_zarr(written.path, consolidated=False)
        return stored
    finally:
        written.release()


def tile_into_store_steps(
    walk: Walk, tile: Tile, store: Path, write: Write, parameters: AnalyzeParameters
) -> Steps[None]:
    """Encode a tile, map it, and write what is to be kept; the same wherever it is done."""
    frames = walk.plan.size.frames
    block = walk.empty_field(tile)
    components = yield from walk.encode_tile_steps(tile, block)
    give_back_memory()
    if frames > 1:
        raw, p = yield from tile_maps_steps(block, walk.progress)
        arrays = raw | {P_VALUES: p}
        variables: dict[str, Any] = {
            stored_name(name): (map_dims(name), values) for name, values in arrays.items()
        }
        # Where sites are not read it stays NaN, which takes no room.
        rows, columns = tile.every(every_site(walk.plan.grid.window, walk.plan.grid.step))
        part = np.s_[rows.start :: rows.step, columns.start :: columns.step]
        moments = np.full((*tile.shape, MOMENTS, walk.plan.size.latents), np.nan, np.float16)
        moments[part] = usable_moments(block[:, *part])
        variables[stored_name(SITE_MOMENTS)] = ((*MOMENT_DIMS, "latent"), moments)
        if walk.components is not None:
            spread = np.full((*tile.shape, MOMENTS, walk.components.count), np.nan, np.float16)
            if components is not None:
                spread[part] = components
            variables[stored_name(SITE_COMPONENTS)] = ((*MOMENT_DIMS, "component"), spread)
        write(xr.Dataset(variables), _region(tile))
    if parameters.keep_field or frames < 2:
        yield from _write_field_steps(
            walk, tile, store, write, block.astype(parameters.field_type, copy=False)
        )


def tile_maps_steps(block: Float, progress: Callable[[], Progress]) -> Steps[tuple[dict[str, Float], Double]]:
    """Maps of a tile's field and its noise, and the p-values; NaN where the specimen drifted out of view."""
    if not np.isfinite(block[..., 0]).any():
        shape = block.shape[1:]
        maps = {name: np.full(shape, np.nan, np.float32) for name in RAW_MAPS}
        return maps | {FRAME_NOISE: np.full(shape[:2], np.nan, np.float32)}, np.full(shape, np.nan)
    return (yield from relabel(raw_maps_steps(block), progress))


def _tiles_here_steps(
    walk: Walk, store: ResultStore, tiles: list[Tile], parameters: AnalyzeParameters
) -> Generator[Progress | Tile, None, None]:
    for tile in tiles:
        yield from tile_into_store_steps(walk, tile, store.path, store.write, parameters)
        yield tile


def _region(tile: Tile) -> dict[str, slice]:
    return {"y": tile.rows, "x": tile.columns}


def _write_field_steps(
    walk: Walk, tile: Tile, store: Path, write: Write, block: NDArray[np.floating[Any]]
) -> Iterator[Progress]:
    """Write z of a tile some chunks at a time, so that a stop need not wait for all of it."""
    chunk = int(zarr.open_array(store / "z", mode="r").chunks[0])
    several = max(1, CHUNK_BYTES // (chunk * block[0].nbytes)) * chunk
    for start in range(0, len(block), several):
        yield walk.progress("Writing")
        frames = slice(start, min(start + several, len(block)))
        write(xr.Dataset({"z": (DIMS, block[frames])}), {"time": frames, **_region(tile)})


def _read_maps(
    store: Path, rows: slice, columns: slice, names: tuple[str, ...] = TILE_MAPS
) -> tuple[dict[str, Float], Double]:
    """Raw maps and p-values of some sites, as they were written."""
    try:
        arrays = {name: zarr.open_array(store / stored_name(name), mode="r") for name in (*names, P_VALUES)}
        maps = {name: np.asarray(array[rows, columns]) for name, array in arrays.items()}
    except Exception as error:
        raise ResultError(
            f"The maps in {store} are damaged ({error}); delete it and run the analysis again."
        ) from error
    p = maps.pop(P_VALUES)
    return maps, p


def _maps_of_all(
    store: Path, coords: dict[str, xr.DataArray], active: Active, plan: WalkPlan
) -> tuple[xr.Dataset, Float]:
    """Labelled maps of all sites, and the mean noise of each; what is on the disk as it is stays there."""
    raw: dict[str, Any]
    for name in RAW_MAPS:
        # One at a time, to find out now whether it is damaged.
        _read_maps(store, slice(None), slice(None), (name,))
    raw, p = _read_maps(store, slice(None), slice(None), (FRAME_NOISE,))
    raw |= {name: da.from_zarr(store / stored_name(name)) for name in RAW_MAPS}
    give_back_memory()
    return labelled_maps(raw, p, coords, active, plan.grid, plan.change_p), raw[FRAME_NOISE]


def _read_moments(store: Path, known: SiteMoments) -> SiteMoments:
    """Moments of the sites that kinds are read at, as they were written."""

    def read(name: str) -> Moments:
        array = zarr.open_array(store / stored_name(name), mode="r")
        return np.asarray(array[:: known.every, :: known.every])

    try:
        components = None if known.components is None else read(SITE_COMPONENTS)
        return replace(known, moments=read(SITE_MOMENTS), components=components)
    except Exception as error:
        raise ResultError(
            f"The moments in {store} are damaged ({error}); delete it and run the analysis again."
        ) from error


def _maps_of(
    tile: Tile, store: ResultStore, walk: Walk, coords: dict[str, xr.DataArray], active: Active
) -> xr.Dataset | None:
    """Maps of a tile that has just been written, to be shown."""
    if walk.plan.size.frames < 2:
        return None
    labels = {**coords, "y": coords["y"][tile.rows], "x": coords["x"][tile.columns]}
    raw, p = _read_maps(store.path, tile.rows, tile.columns)
    return labelled_maps(raw, p, labels, active, walk.plan.grid, walk.plan.change_p_of(tile))


def _check_memory_of_tiles(walk: Walk, tiles: list[Tile], parameters: AnalyzeParameters, store: Path) -> None:
    """Raise where the tiles that a run was begun with are too much for the memory given now."""
    need = max(walk.plan.size.need(*tile.shape) for tile in tiles)
    if parameters.memory_gb is not None and need > memory_budget(parameters.memory_gb):
        raise ResultError(
            f"The unfinished run in {store} was begun with more memory; give {in_gigabytes(need)} or more to "
            "go on with it, or delete it first."
        )
