"""What the lattice layers show and how they lie on the video: presence, change, orientation, strain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LatticeError
from ..io.results_probe import RESULT_KEY
from .lattice_state import ALL_GRAINS, GRAIN_COLORS
from .layers import METADATA, Placement, note_of, video_axes

if TYPE_CHECKING:
    import xarray as xr

LayerData = tuple[Any, dict[str, Any], str]
MAPS = {
    "presence": "Presence of the grains",
    "change": "Growth and shrinkage",
    "orientation": "Orientation, this frame",
    "strain": "Strain, this frame",
}
STRAINS = {"exx": "exx", "eyy": "eyy", "exy": "exy", "rotation_deg": "rotation"}
KEY = "grains"  # of a lattice result in a layer's notes
LABELS = "labels"  # variable of a growing result: its presence as labels
_LEAST_LIMIT = 0.5  # of a strain map, in % or degrees: below it noise alone would be in full colour


@dataclass(frozen=True)
class TimeAxis:
    """Where time runs among the axes of the layers over a video; the other axes are singletons or y and x.

    Parameters
    ----------
    ndim : int
        Axes of the video's layer; 2 for a still.
    axis : int or None
        That of time.
    scale, translate : tuple of float
        Of all axes but y and x.
    units, labels : tuple of str
        Of all axes but y and x.
    """

    ndim: int = 3
    axis: int | None = 0
    scale: tuple[float, ...] = (1.0,)
    translate: tuple[float, ...] = (0.0,)
    units: tuple[str, ...] = ("pixel",)
    labels: tuple[str, ...] = ("time",)

    @classmethod
    def of_layer(cls, layer: Any) -> TimeAxis:
        """That of a video's layer."""
        others = range(layer.ndim - 2)
        origin = np.asarray(layer.data_to_world(np.zeros(layer.ndim)), float)
        scale = [float(layer.data_to_world(np.eye(layer.ndim)[i])[i] - origin[i]) for i in others]
        return cls(
            layer.ndim,
            video_axes(layer).time,
            tuple(scale),
            tuple(float(origin[i]) for i in others),
            tuple(str(layer.units[i]) for i in others),
            tuple(str(layer.axis_labels[i]) for i in others),
        )

    @classmethod
    def of_result(cls, result: xr.Dataset) -> TimeAxis:
        """Of a result without its video: as the reader of videos would lay it."""
        step = result.attrs.get("frame_time_s")
        return cls(scale=(float(step or 1.0),), units=("s" if step else "pixel",))

    def options(self, placement: Placement) -> dict[str, Any]:
        """Keyword arguments with which a layer over time and the cells of `placement` lies right."""
        flat = placement.layer_options()
        options: dict[str, Any] = {
            "units": (*self.units, *flat["units"]),
            "axis_labels": (*self.labels, *flat["axis_labels"]),
        }
        if "affine" in flat:
            affine = np.eye(self.ndim + 1)
            others = len(self.scale)
            affine[range(others), range(others)] = self.scale
            affine[:others, -1] = self.translate
            affine[np.ix_(range(others, others + 2), [others, others + 1, -1])] = flat["affine"][:2]
            return options | {"affine": affine}
        scale, translate = (*self.scale, *flat["scale"]), (*self.translate, *flat["translate"])
        return options | {"scale": scale, "translate": translate}

    def shaped(self, labels: Any) -> Any:
        """(time, y, x) with the axes of the video's layer."""
        if self.axis is None:
            return (
                labels[0] if self.ndim == 2 else labels[0].reshape((1,) * (self.ndim - 2) + labels.shape[1:])
            )
        shape = [1] * (self.ndim - 2) + list(labels.shape[1:])
        shape[self.axis] = labels.shape[0]
        return labels.reshape(shape)


def cell_placement(result: xr.Dataset, pixels: Placement) -> Placement:
    """Where the cells of a map lie, from where the pixels of its video do.

    Parameters
    ----------
    result : Dataset
        With y and x in nm or px, as `track_grains` or `orientation_map_steps` returns it.
    pixels : Placement
        Of the video's pixels.
    """
    first, step = cells_px(result)
    corner = pixels.sites_to_world([first, (first[0] + step, first[1]), (first[0], first[1] + step)])
    return Placement(
        tuple(corner[0]),
        tuple(corner[1] - corner[0]),
        tuple(corner[2] - corner[0]),
        pixels.units,
        pixels.axis_labels,
    )


def pixel_placement(result: xr.Dataset, cells: Placement) -> Placement:
    """Where the pixels of a result's video lie, from where its cells do; undoes `cell_placement`."""
    first, step = cells_px(result)
    zero = (-first[0] / step, -first[1] / step)
    corner = cells.sites_to_world([zero, (zero[0] + 1 / step, zero[1]), (zero[0], zero[1] + 1 / step)])
    return Placement(
        tuple(corner[0]),
        tuple(corner[1] - corner[0]),
        tuple(corner[2] - corner[0]),
        cells.units,
        cells.axis_labels,
    )


def cells_px(result: xr.Dataset) -> tuple[tuple[float, float], float]:
    """Centre (y, x) of the first cell and distance of the cells, in px of the video."""
    step = float(result.attrs["cell_px"])
    per_px = float(result["x"][1] - result["x"][0]) / step
    # videos taken from layers begin at 0: coordinates count from the first pixel
    return (float(result["y"][0]) / per_px, float(result["x"][0]) / per_px), step


def pixels_of_result(result: xr.Dataset) -> Placement:
    """Where the pixels of a result's video lie when no video is at hand."""
    nm = result["y"].attrs.get("units") == "nm"
    pixel = float(result.attrs.get("pixel_size_nm") or 1.0) if nm else 1.0
    unit = "nm" if nm else "pixel"
    return Placement((0.0, 0.0), (pixel, 0.0), (0.0, pixel), (unit, unit))


def presence_labels(result: xr.Dataset) -> Any:
    """Presence as labels (time, y, x), uint8: 1 for grain 0; where grains overlap, the last.

    In memory where there is room: napari's cache of lazy layers fails when threads compute beside it.
    """
    from ..io.memory import memory_budget

    if LABELS in result:
        return result[LABELS].values
    presence = result["presence"].data
    labels = labels_of(presence)
    return np.asarray(labels) if presence.nbytes < memory_budget(None) else labels


def labels_of(presence: Any) -> Any:
    """Presence (time, grain, y, x) as labels (time, y, x), uint8."""
    numbers = np.arange(1, presence.shape[1] + 1, dtype=np.uint8)[:, None, None]
    return (presence * numbers).max(axis=1)


def presence_data(result: xr.Dataset, placement: Placement, time: TimeAxis, title: str) -> LayerData:
    """Labels of the grains in each frame, in the colours of the spectrum."""
    options = {
        "name": f"{title} · grains",
        "colormap": _colors(dict(enumerate(GRAIN_COLORS, 1))),
        "opacity": 0.4,
        "metadata": {METADATA: {KEY: result, "map": "presence", "title": title}},
    }
    labels = time.shaped(presence_labels(result))
    return labels, options | time.options(cell_placement(result, placement)), "labels"


def change_labels(change: xr.DataArray, grain: int) -> NDArray[np.uint8]:
    """Classes (y, x) of one grain; of all, where one grain took a place of another, growth."""
    classes = np.asarray(change.values)
    if grain != ALL_GRAINS:
        return classes[grain]
    # in order of what wins: growth, shrinkage, unchanged
    rank = np.array([0, 2, 3, 1])[classes]
    return np.array([0, 3, 1, 2], np.uint8)[rank.max(0)]


def change_words(change: xr.DataArray, grain: int) -> str:
    """Area of each class, of one grain or of all together, for people."""
    from ..lattice.change import CLASSES

    classes = change_labels(change, grain)
    pixel = float(change.attrs["pixel_size_nm"])
    unit, side = ("nm²", pixel) if np.isfinite(pixel) else ("px²", 1.0)
    cell = (float(change.attrs["cell_px"]) * side) ** 2
    areas = (f"{name} {(classes == kind).sum() * cell:.4g}" for kind, name in enumerate(CLASSES) if kind)
    return f"{', '.join(areas)} {unit}"


def change_data(
    change: xr.DataArray, grain: int, result: xr.Dataset, placement: Placement, title: str
) -> LayerData:
    """Growth, shrinkage and unchanged between two frames, in the colours of the paper's Fig. 6."""
    from ..lattice.change import CLASSES
    from ..lattice.report import CLASS_COLOURS

    whose = "" if grain == ALL_GRAINS else f" of grain {grain}"
    options = {
        "name": f"{title} · change{whose} {change.attrs['first']}→{change.attrs['last']}",
        "colormap": _colors({kind: color for kind, color in enumerate(CLASS_COLOURS) if kind}),
        "features": {"index": list(range(len(CLASSES))), "class": list(CLASSES)},
        "opacity": 0.6,
        "metadata": {
            METADATA: {KEY: result, "map": "change", "title": title, "areas": change_words(change, grain)}
        },
    }
    place = cell_placement(result, placement).layer_options()
    return change_labels(change, grain), options | place, "labels"


def orientation_data(
    found: xr.Dataset, result: xr.Dataset, placement: Placement, title: str, counter_clockwise: bool
) -> LayerData:
    """Angle of the local lattice in a cyclic colour map, nothing where there is none."""
    period = 360.0 / int(found.attrs["symmetry"])
    angle = np.asarray(found["angle_deg"][0], np.float32)
    if counter_clockwise:
        angle = np.mod(-angle, np.float32(period))
    options = {
        "name": f"{title} · orientation",
        "colormap": "hsv",
        "contrast_limits": (0.0, period),
        "blending": "translucent",
        "opacity": 0.6,
        "interpolation2d": "nearest",
        "metadata": {METADATA: {"map": "orientation", "title": title, KEY: result}},
    }
    return angle, options | cell_placement(found, placement).layer_options(), "image"


def strain_data(
    maps: xr.Dataset,
    component: str,
    result: xr.Dataset,
    placement: Placement,
    title: str,
    counter_clockwise: bool,
) -> LayerData:
    """One component of the strain, red where it is positive."""
    values = np.asarray(maps[component], np.float32)
    if component == "rotation_deg" and counter_clockwise:
        values = -values
    finite = np.abs(values[np.isfinite(values)])
    limit = max(float(np.percentile(finite, 98)) if finite.size else 0.0, _LEAST_LIMIT)
    unit = maps[component].attrs["units"]
    options = {
        "name": f"{title} · {STRAINS[component]} ({'°' if unit == 'deg' else unit})",
        "colormap": "RdBu_r",
        "contrast_limits": (-limit, limit),
        "blending": "translucent",
        "opacity": 0.75,
        "interpolation2d": "nearest",
        "metadata": {METADATA: {"map": "strain", "title": title, KEY: result}},
    }
    return values, options | cell_placement(result, placement).layer_options(), "image"


def strain_of_frame(video: xr.DataArray, result: xr.Dataset, frame: int, grain: int) -> xr.Dataset:
    """Strain maps (y, x) of one grain or of all in one frame, each against its own mean."""
    from ..lattice.strain import strain_maps

    grains = range(result.sizes["grain"]) if grain == ALL_GRAINS else [grain]
    maps = None
    for one in grains:
        found = strain_maps(video, result, one, frames=[frame]).isel(time=0)
        maps = found if maps is None else maps.fillna(found)
    if maps is None:
        raise LatticeError("The result holds no grain; track the grains again.")
    return maps


def _colors(colors: dict[int, str]) -> Any:
    from napari.utils.colormaps import DirectLabelColormap

    by_label: dict[int | None, str] = {None: "transparent"}
    by_label.update(colors.items())
    return DirectLabelColormap(color_dict=by_label)


def grains_of(layer: Any) -> xr.Dataset | None:
    """The finished lattice result that a layer of this plugin shows; None for other layers."""
    result = note_of(layer).get(KEY)
    return result if is_finished(result) else None


def is_finished(result: xr.Dataset | None) -> bool:
    """Whether there is a result and all its frames were followed: not one that grows, or was cancelled."""
    return result is not None and RESULT_KEY in result.attrs
