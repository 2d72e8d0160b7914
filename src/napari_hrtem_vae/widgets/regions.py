"""Regions drawn as shapes: which sites they hold, and z(t) in them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .layers import METADATA, Placement, note_of

if TYPE_CHECKING:
    import xarray as xr
    from napari.layers import Shapes

LAYER_NAME = "Regions"
RECORDS = "regions"  # attribute of a saved result
_EDGE = 1e-6


@dataclass(frozen=True)
class Region:
    """A shape over the sites.

    Parameters
    ----------
    name : str
        As the plot shows it.
    shape_type : str
        napari's: rectangle, ellipse, polygon, path, line.
    vertices : tuple of (y, x)
        In site indices, fractional.
    """

    name: str
    shape_type: str
    vertices: tuple[tuple[float, float], ...]

    def sites(self, ny: int, nx: int) -> NDArray[np.bool_]:
        """Sites whose centres lie inside, (ny, nx) bool.

        A region too small to hold a centre takes the site that its own centre belongs to, no further than
        half a step away; a region beside all sites has none.
        """
        points = np.indices((ny, nx)).reshape(2, -1).T.astype(float)
        corners = np.asarray(self.vertices, float)
        if self.shape_type == "ellipse":
            inside = _in_ellipse(points, corners)
        elif len(corners) > 2:
            inside = _in_polygon(points, corners)
        else:
            inside = np.zeros(len(points), bool)
        sites = inside.reshape(ny, nx)
        centre = corners.mean(0)
        if not inside.any() and np.all((centre > -0.5 - _EDGE) & (centre < np.array([ny, nx]) - 0.5 + _EDGE)):
            row, column = np.clip(np.rint(centre).astype(int), 0, (ny - 1, nx - 1))
            sites[row, column] = True
        return sites


def _in_ellipse(points: NDArray[np.float64], corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Corners are those of the box around the ellipse, which may be turned."""
    half_axes = np.stack([corners[1] - corners[0], corners[3] - corners[0]], 1) / 2
    if abs(np.linalg.det(half_axes)) < 1e-12:
        return np.zeros(len(points), bool)
    unit = np.linalg.solve(half_axes, (points - corners.mean(0)).T)
    return (unit**2).sum(0) <= 1 + _EDGE


def _in_polygon(points: NDArray[np.float64], corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    from matplotlib.path import Path

    area = np.roll(corners, -1, 0)
    signed = (corners[:, 0] * area[:, 1] - corners[:, 1] * area[:, 0]).sum()
    # matplotlib widens to the outside only for one direction of going round
    path = Path(corners if signed > 0 else corners[::-1])
    inside = path.contains_points(points, radius=_EDGE) | path.contains_points(points, radius=-_EDGE)
    return np.asarray(inside)


def regions_in(shapes: Shapes, placement: Placement) -> tuple[Region, ...]:
    """The shapes of a layer as regions over the sites of `placement`."""
    found = []
    for number, (vertices, kind) in enumerate(zip(shapes.data, shapes.shape_type, strict=True), 1):
        world = np.array([shapes.data_to_world(vertex) for vertex in np.asarray(vertices, float)])[:, -2:]
        world = world * _unit_factors(shapes, placement)
        sites = placement.world_to_sites(world)
        found.append(Region(f"Region {number}", str(kind), tuple((float(y), float(x)) for y, x in sites)))
    return tuple(found)


def _unit_factors(shapes: Shapes, placement: Placement) -> NDArray[np.float64]:
    """From the shapes' units to those of the sites; 1 where they cannot be compared."""
    import pint

    registry = pint.get_application_registry()
    factors = []
    for own, wanted in zip(shapes.units[-2:], placement.units, strict=True):
        target = registry.Unit(wanted)
        same = own.dimensionality == target.dimensionality
        factors.append((1 * own).to(target).magnitude if same else 1.0)
    return np.array(factors, float)


def is_regions_layer(layer: Any) -> bool:
    """Whether a layer holds this plugin's regions."""
    return bool(note_of(layer).get("regions"))


def regions_layer_data(
    placement: Placement, regions: tuple[Region, ...] = (), colors: tuple[str, ...] = ()
) -> tuple[list[NDArray[np.float64]], dict[str, Any], str]:
    """A Shapes layer for regions, in units of sites, as napari's layer data tuple."""
    options: dict[str, Any] = {
        "name": LAYER_NAME,
        "ndim": 2,
        "edge_width": 0.25,
        "face_color": "transparent",
        "opacity": 1.0,
        "blending": "translucent",
        "metadata": {METADATA: {"regions": True}},
    }
    data = [np.asarray(region.vertices, float) for region in regions]
    if regions:
        options["shape_type"] = [region.shape_type for region in regions]
    if regions and colors:
        options["edge_color"] = [colors[i % len(colors)] for i in range(len(regions))]
    return data, options | placement.layer_options(), "shapes"


def region_trace(result: xr.Dataset, region: Region, latent: int) -> NDArray[np.float64]:
    """Mean z(t) over a region's sites, (time,), NaN where it has none; reads from disk if need be."""
    field = result["z"].transpose("time", "y", "x", "latent")
    sites = region.sites(field.sizes["y"], field.sizes["x"])
    if not sites.any():
        return np.full(field.sizes["time"], np.nan)
    rows, columns = np.flatnonzero(sites.any(1)), np.flatnonzero(sites.any(0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    values = np.asarray(field.isel(y=box[0], x=box[1], latent=latent), float)
    inside = values[:, sites[box]]
    finite = np.isfinite(inside)
    count = finite.sum(1)
    return np.where(count > 0, np.where(finite, inside, 0).sum(1) / np.maximum(count, 1), np.nan)


def with_regions(result: xr.Dataset, regions: tuple[Region, ...]) -> xr.Dataset:
    """The result with the regions noted in its attributes, in site indices; the given one stays as it is."""
    records = [{"name": r.name, "shape_type": r.shape_type, "vertices": r.vertices} for r in regions]
    return result.assign_attrs({RECORDS: json.dumps(records)})


def regions_from(result: xr.Dataset) -> tuple[Region, ...]:
    """Regions noted in a result; records that cannot be read are left out."""
    try:
        records = json.loads(result.attrs.get(RECORDS, "[]"))
        return tuple(
            Region(
                str(record["name"]),
                str(record["shape_type"]),
                tuple((float(y), float(x)) for y, x in record["vertices"]),
            )
            for record in records
        )
    except (TypeError, ValueError, KeyError):
        return ()
