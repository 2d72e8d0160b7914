"""Writes what is on the screen as a result store: the dataset behind a map, and the regions drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ResultError
from .kinds import kinds_of_layer
from .lattice_maps import grains_of, pixel_placement
from .layers import Placement, placement_of_layer, result_of
from .regions import Region, is_regions_layer, regions_in, with_regions

if TYPE_CHECKING:
    import xarray as xr


def save_with_regions(result: xr.Dataset | None, regions: tuple[Region, ...], path: str | Path) -> None:
    """Write a result and its regions to the store `path` (a folder ending in .zarr).

    Raises
    ------
    ResultError
        There is no finished result, or it cannot be written.
    """
    from ..io.results import save_result

    if result is None or "hrtem_vae_result" not in result.attrs:
        raise ResultError("There is no finished result to save; press Analyze and wait until it is done.")
    save_result(with_regions(result, regions), path)


def write_results(path: str, layers: list[tuple[Any, dict[str, Any], str]]) -> list[str]:
    """npe2 writer: the result of the map among `layers`, with the regions among them.

    Parameters
    ----------
    path : str
        Store to write, ending in .zarr.
    layers : list of layer data tuples
        One map of this plugin, and perhaps its regions.

    Returns
    -------
    list of str
        The store.

    Raises
    ------
    ResultError
        No layer, or more than one result, is among them, or it cannot be written.
    """
    from napari.layers import Layer

    made = [Layer.create(*_creatable(layer)) for layer in layers]
    maps = [layer for layer in made if _result_of(layer) is not None]
    if not maps:
        raise ResultError(
            f"None of the layers for {path} is a map of HRTEM VAE; select a map that Analyze made, or the "
            "grains of Lattice."
        )
    result = _result_of(maps[0])
    if any(_result_of(layer) is not result for layer in maps):
        raise ResultError(f"The layers for {path} come from several results; select the maps of one.")
    shapes = [layer for layer in made if is_regions_layer(layer)]
    regions = regions_in(shapes[0], _regions_placement(maps[0])) if shapes else ()
    save_with_regions(result, regions, path)
    return [path]


def _result_of(layer: Any) -> xr.Dataset | None:
    """What a layer shows: a result of Analyze, its maps or its kinds of change, or one of Lattice."""
    shown = (result_of(layer), kinds_of_layer(layer), grains_of(layer))
    return next((result for result in shown if result is not None), None)


def _regions_placement(layer: Any) -> Placement:
    """What regions are told in: sites of a map, pixels of a lattice result."""
    placement, grains = placement_of_layer(layer), grains_of(layer)
    return placement if grains is None else pixel_placement(grains, placement)


def _creatable(layer: tuple[Any, dict[str, Any], str]) -> tuple[Any, dict[str, Any], str]:
    data, options, kind = layer
    wanted = ("name", "metadata", "scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
    kept = {key: value for key, value in options.items() if key in wanted}
    if kind == "shapes":
        kept["shape_type"] = options["shape_type"]
    if kind == "image":
        kept["contrast_limits"] = (0, 1)  # else napari computes them
    return data, kept, kind
