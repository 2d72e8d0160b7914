"""Brings a saved result back: video where its file still is, map, kinds of change, regions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import HrtemVaeError, ResultError
from ..io.results_probe import LATTICE, RESULT_KEY
from .kinds import kinds_layer_data
from .layers import available_kinds, latent_order, map_layer_data, peaks_of, placement_of_result
from .regions import regions_from, regions_layer_data

log = logging.getLogger(__name__)
LayerData = tuple[Any, dict[str, Any], str]


def get_result_reader(path: str | list[str]) -> Callable[[Any], list[LayerData]] | None:
    """npe2 reader of result stores; None for anything else, so that the other readers get their turn."""
    paths = [path] if isinstance(path, str | Path) else list(path)
    if len(paths) != 1 or not Path(paths[0]).is_dir():
        return None
    from ..io.results_probe import is_result_store

    return read_result if is_result_store(paths[0]) else None


def read_result(path: str | list[str]) -> list[LayerData]:
    """Layers of a result store: the video where it is found, maps or grains, and the regions.

    Of an analysis the map of what changed, else that of the liveliest latent, and the kinds of change.

    Raises
    ------
    ResultError
        The store is damaged.
    """
    from ..io.results import open_result
    from .traces import REGION_COLORS

    path = path if isinstance(path, str | Path) else path[0]
    result = open_result(path)
    layers = _video_layers(result)
    if result.attrs.get(RESULT_KEY) == LATTICE:
        return layers + _lattice_layers(result, path)
    placement = placement_of_result(result)
    title = Path(str(result.attrs.get("source") or path)).stem
    kinds = available_kinds(result)
    if kinds:
        latent = latent_order(peaks_of(result), "peak")[0]
        layers.append(map_layer_data(result, placement, kind=kinds[0], latent=latent, frame=0, title=title))
        seen = kinds_layer_data(result, placement, title)
        layers += [] if seen is None else [seen]
    regions = regions_from(result)
    if regions:
        layers.append(regions_layer_data(placement, regions, REGION_COLORS))
    return layers


def _lattice_layers(result: Any, path: str | Path) -> list[LayerData]:
    """Masks of the grains, and the regions, over the video that its reader lays at its own coordinates."""
    from .lattice_maps import TimeAxis, pixels_of_result, presence_data
    from .traces import REGION_COLORS

    title = Path(str(result.attrs.get("source") or path)).stem
    pixels = pixels_of_result(result)
    try:
        layers = [presence_data(result, pixels, TimeAxis.of_result(result), title)]
    except (KeyError, ValueError, IndexError) as error:
        raise ResultError(
            f"{path} is no complete lattice result ({error}); track the grains again."
        ) from error
    regions = regions_from(result)
    if regions:
        data, options, kind = regions_layer_data(pixels, regions, REGION_COLORS)
        layers.append((data, options | {"edge_width": 2}, kind))
    return layers


def _video_layers(result: Any) -> list[LayerData]:
    """The analysed video as the result saw it, where its file is still there."""
    from ..io import open_video
    from .readers import video_layer

    source = str(result.attrs.get("source", "array"))
    if source == "array" or not Path(source).exists():
        return []
    known = {
        "pixel_size_nm": ("y", "nm", result.attrs.get("pixel_size_nm")),
        "frame_time_s": ("time", "s", result.attrs.get("frame_time_s")),
    }
    try:
        video = open_video(
            source,
            dataset=result.attrs.get("dataset"),
            **{name: size for name, (_, _, size) in known.items() if size},
        )
        for name, (dim, unit, _) in known.items():
            if result[dim].attrs.get("units") != unit:
                # what was unknown to the result stays so, else the layers would lie in different units
                video.attrs.pop(name, None)
                video = video.drop_vars({"pixel_size_nm": ["y", "x"]}.get(name, [dim]), errors="ignore")
        return [video_layer(video)]
    except (HrtemVaeError, OSError, ValueError) as error:
        log.warning("the video of the result is not shown: %s", error)
        return []
