"""Between napari layers and labelled arrays: videos out of layers, maps onto them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import VideoShapeError

if TYPE_CHECKING:
    import xarray as xr
    from napari.layers import Image, Layer

METADATA = "hrtem_vae"  # key of this plugin's notes in a layer's metadata
BRIGHTEST = 99.5
MIXED = "mixed"  # meaning of a latent that answers to several changes
TIME_LABELS = ("t", "time", "frame", "frames")
Float = NDArray[np.float64]


@dataclass(frozen=True)
class MapKind:
    """How one kind of map is called and looks."""

    label: str
    short: str
    variable: str
    colormap: str
    symmetric: bool = False
    per_latent: bool = True
    blending: str = "additive"
    opacity: float = 0.8
    least: float = 0.0  # what full colour stands for at the least


RECOMMENDED, PUBLISHED = "change", "time_correlated_variance"
# Sequential maps are added to the video: where nothing happens it shines through untouched. The first that
# a result has is what is shown unless another is picked.
KINDS = {
    # where nothing changes no chance alone is in full colour, only a rate of false discoveries below 0.1 %
    "change": MapKind("What changed", "change", "change", "magma", False, False, least=3.0),
    "time_correlated_variance": MapKind(
        "Time-correlated variance", "ρ·var", "time_correlated_variance", "inferno"
    ),
    "variance": MapKind("Variance", "var", "variance", "viridis"),
    "spearman": MapKind("Spearman's ρ", "ρ", "spearman", "RdBu_r", True, True, "translucent", 0.6),
    "significance": MapKind("Significance", "sig", "significance", "magma"),
    "z": MapKind("z at this frame", "", "z", "RdBu_r", True, True, "translucent", 0.6),
}


@dataclass(frozen=True)
class Axes:
    """Where time, y and x are among a layer's axes; `time` is None for a still."""

    time: int | None
    y: int
    x: int


@dataclass(frozen=True)
class Placement:
    """Where a grid of sites lies in the world, in the units of the layer that it lies on.

    Parameters
    ----------
    origin : tuple of 2 floats
        World position (y, x) of the first site's centre.
    along_y, along_x : tuple of 2 floats
        World vectors from a site to the next one down and to the next one right.
    units, axis_labels : tuple of 2 str
        Of y and x.
    """

    origin: tuple[float, float]
    along_y: tuple[float, float]
    along_x: tuple[float, float]
    units: tuple[str, str] = ("pixel", "pixel")
    axis_labels: tuple[str, str] = ("y", "x")

    @property
    def _matrix(self) -> Float:
        return np.array([self.along_y, self.along_x], float).T

    def layer_options(self) -> dict[str, Any]:
        """Keyword arguments with which a layer over the sites lies right."""
        options: dict[str, Any] = {"units": self.units, "axis_labels": self.axis_labels}
        matrix = self._matrix
        size = np.abs(matrix).max()
        if abs(matrix[0, 1]) + abs(matrix[1, 0]) > 1e-9 * size or np.diag(matrix).min() <= 0:
            affine = np.eye(3)
            affine[:2, :2] = matrix
            affine[:2, 2] = self.origin
            return options | {"affine": affine}
        return options | {"scale": tuple(np.diag(matrix)), "translate": self.origin}

    def world_to_sites(self, points: Any) -> Float:
        """World positions (n, 2) as fractional site indices."""
        return np.asarray(np.linalg.solve(self._matrix, (np.asarray(points, float) - self.origin).T).T, float)

    def sites_to_world(self, sites: Any) -> Float:
        """Fractional site indices (n, 2) as world positions."""
        return np.asarray(sites, float) @ self._matrix.T + self.origin


def first_level(layer: Image) -> Any:
    """A layer's data at full resolution."""
    return layer.data[0] if layer.multiscale else layer.data


def video_axes(layer: Any) -> Axes:
    """Find time, y and x among a layer's axes.

    y and x are the last two; time is the axis labelled so, else the only other one longer than 1, else the
    first of the others.

    Raises
    ------
    VideoShapeError
        The layer is no video: RGB, complex, one-dimensional, or with several candidates for time.
    """
    name = f"The layer '{layer.name}'"
    if getattr(layer, "rgb", False):
        raise VideoShapeError(f"{name} is RGB; choose a video of grey values, or convert it first.")
    data = first_level(layer)
    kind = np.dtype(data.dtype).kind
    if kind == "c":
        raise VideoShapeError(f"{name} holds complex numbers; choose a video of real grey values.")
    if kind not in "biuf":
        raise VideoShapeError(f"{name} holds {data.dtype}, not grey values; choose another layer.")
    shape = data.shape
    if len(shape) < 2:
        raise VideoShapeError(f"{name} has one axis only; a video has time, y and x.")
    others = range(len(shape) - 2)
    labelled = [i for i in others if str(layer.axis_labels[i]).lower() in TIME_LABELS]
    long = [i for i in others if shape[i] > 1]
    if len(labelled) == 1 and set(long) <= set(labelled):
        time: int | None = labelled[0]
    elif len(long) > 1:
        raise VideoShapeError(
            f"{name} has the shape {tuple(shape)}, with more than one axis beside y and x; "
            "reduce it to (time, y, x)."
        )
    else:
        time = long[0] if long else (others[0] if others else None)
    return Axes(time, len(shape) - 2, len(shape) - 1)


def pixel_size_of(layer: Image) -> float | None:
    """Pixel size in nm: from the reader's note, else from scale and units; None: unknown."""
    note = layer.metadata.get(METADATA, {})
    if "pixel_size_nm" in note:
        return _positive(note["pixel_size_nm"])
    return _in_unit(layer, layer.ndim - 2, "nm")


def frame_time_of(layer: Image, axes: Axes) -> float | None:
    """Time between frames in s, found as `pixel_size_of` finds the pixel size."""
    note = layer.metadata.get(METADATA, {})
    if "frame_time_s" in note:
        return _positive(note["frame_time_s"])
    return None if axes.time is None else _in_unit(layer, axes.time, "s")


def _positive(value: Any) -> float | None:
    return float(value) if value is not None and np.isfinite(value) and value > 0 else None


def _in_unit(layer: Layer, axis: int, unit: str) -> float | None:
    import pint

    own = layer.units[axis]
    registry = pint.get_application_registry()
    if own.dimensionality != registry.Unit(unit).dimensionality:
        return None
    return _positive(abs(layer.scale[axis]) * (1 * own).to(unit).magnitude)


def video_of(layer: Image, *, pixel_size_nm: float | None, frame_time_s: float | None) -> xr.DataArray:
    """A layer as a lazy video (time, y, x), with the gaps, notices and provenance that its reader noted.

    Raises
    ------
    VideoShapeError
        The layer is no video.
    """
    import dask.array as da
    import xarray as xr

    from ..io import open_video

    axes = video_axes(layer)
    data = first_level(layer)
    if not isinstance(data, da.Array):
        chunks = tuple(1 if i < len(data.shape) - 2 else n for i, n in enumerate(data.shape))
        # arrays in memory need no copy; a chunk is a frame so that no reader takes more than one at once
        data = da.from_array(data, chunks=chunks, name=False)
    keep = tuple(slice(None) if i in (axes.time, axes.y, axes.x) else 0 for i in range(data.ndim))
    data = data[keep]
    if axes.time is None:
        data = data[None]
    note = note_of(layer)
    attrs = {
        "source": note.get("source") or layer.source.path,
        "dataset": note.get("dataset"),
        "pixel_size_nm": pixel_size_nm,
        "frame_time_s": frame_time_s,
        "notices": list(note.get("notices") or []),
    }
    video = xr.DataArray(
        data,
        dims=("time", "y", "x"),
        attrs={key: value for key, value in attrs.items() if value is not None},
    )
    times = np.asarray(note.get("time") or [], float)
    if frame_time_s is not None and len(times) == len(video):
        # the user may have typed another frame time than the reader noted
        video = video.assign_coords(time=times * (frame_time_s / (_positive(note.get("frame_time_s")) or 1)))
    return open_video(video)


def placement_on(layer: Image, y_px: Any, x_px: Any) -> Placement:
    """Where sites with centres at the pixels `y_px`, `x_px` (1-D) of a video layer lie in its world."""
    y_px, x_px = np.asarray(y_px, float), np.asarray(x_px, float)
    first = _world(layer, y_px[0], x_px[0])
    # from end to end: no rounding of single steps adds up
    down = _per_step(layer, y_px, x_px[0], lambda y, x: _world(layer, y, x))
    right = _per_step(layer, x_px, y_px[0], lambda x, y: _world(layer, y, x))
    return Placement(
        tuple(first),
        tuple(down),
        tuple(right),
        (str(layer.units[-2]), str(layer.units[-1])),
        tuple(layer.axis_labels[-2:]) if len(set(layer.axis_labels[-2:])) == 2 else ("y", "x"),
    )


def _per_step(layer: Image, along: Float, fixed: float, world: Any) -> Float:
    if len(along) > 1:
        return (world(along[-1], fixed) - world(along[0], fixed)) / (len(along) - 1)
    return world(along[0] + 1, fixed) - world(along[0], fixed)


def _world(layer: Layer, y: float, x: float) -> Float:
    position = np.zeros(layer.ndim)
    position[-2:] = y, x
    return np.asarray(layer.data_to_world(position), float)[-2:]


def placement_of_result(result: xr.Dataset) -> Placement:
    """Where a result's sites lie when no video is at hand: at their own coordinates."""
    y, x = np.asarray(result["y"], float), np.asarray(result["x"], float)
    step_y, step_x = (float((c[-1] - c[0]) / (len(c) - 1)) if len(c) > 1 else 0.0 for c in (y, x))
    step_y, step_x = step_y or step_x or 1.0, step_x or step_y or 1.0
    unit = "nm" if result["y"].attrs.get("units") == "nm" else "pixel"
    return Placement((float(y[0]), float(x[0])), (step_y, 0.0), (0.0, step_x), (unit, unit))


def placement_of_layer(layer: Layer) -> Placement:
    """Where the pixels of a map layer lie."""
    first = _world(layer, 0, 0)
    return Placement(
        tuple(first),
        tuple(_world(layer, 1, 0) - first),
        tuple(_world(layer, 0, 1) - first),
        (str(layer.units[-2]), str(layer.units[-1])),
        tuple(layer.axis_labels[-2:]),
    )


def available_kinds(result: xr.Dataset) -> list[str]:
    """Kinds of map that a result holds."""
    return [key for key, kind in KINDS.items() if kind.variable in result]


def map_of(result: xr.Dataset, kind: str, latent: int, frame: int) -> NDArray[np.float32]:
    """One map (y, x) of a result; reads from disk where the result lies there."""
    field = result[KINDS[kind].variable]
    if KINDS[kind].per_latent:
        field = field.isel(latent=latent)
    if kind == "z":
        field = field.isel(time=min(max(frame, 0), field.sizes["time"] - 1))
    return np.asarray(field.transpose("y", "x"), np.float32)


def limits_of(values: NDArray[np.float32], kind: str) -> tuple[float, float]:
    """Contrast limits of a map; a map of nothing gets an interval all the same."""
    if kind == "spearman":
        return -1.0, 1.0
    finite = values[np.isfinite(values)]
    highest = float(np.abs(finite).max()) if finite.size else 0.0
    if highest > 0 and not KINDS[kind].symmetric:
        # a few sites far above the rest would leave the rest black
        highest = float(np.percentile(finite, BRIGHTEST)) or highest
    highest = max(highest, KINDS[kind].least) or 1.0
    return (-highest, highest) if KINDS[kind].symmetric else (0.0, highest)


def peaks_of(result: xr.Dataset) -> NDArray[np.float32]:
    """How much happens in each latent: the peak of its time-correlated variance, (latent,); NaN: unknown."""
    name = "time_correlated_variance" if "time_correlated_variance" in result else "variance"
    if name not in result:
        return np.full(result.sizes.get("latent", 0), np.nan, np.float32)
    values = np.asarray(result[name].transpose("y", "x", "latent"), np.float32)
    return np.asarray(np.fmax.reduce(values.reshape(-1, values.shape[-1]), axis=0), np.float32)


def latent_order(peaks: NDArray[np.float32], order: str) -> list[int]:
    """Latents in the order of a list: 'peak', most first (unknown last), or 'index'."""
    if order == "index":
        return list(range(len(peaks)))
    return [int(i) for i in np.argsort(np.where(np.isnan(peaks), np.inf, -peaks), kind="stable")]


def latent_names(result: xr.Dataset) -> list[str]:
    """How each latent is called: its index, and its meaning where the result tells one.

    Latents that answer to several changes are most of a model's; the word for them would tell none apart.
    """
    latents = int(result.sizes.get("latent", 0))
    meanings = result.attrs.get("latent_meanings")
    if not isinstance(meanings, list | tuple) or len(meanings) != latents:
        meanings = [MIXED] * latents
    return [
        f"z{latent} · {meaning}" if meaning and meaning != MIXED else f"z{latent}"
        for latent, meaning in enumerate(meanings)
    ]


def note_of(layer: Any) -> dict[str, Any]:
    """What this plugin noted on a layer; empty on others' layers."""
    note = layer.metadata.get(METADATA, {})
    return note if isinstance(note, dict) else {}


def result_of(layer: Any) -> xr.Dataset | None:
    """The result that a map layer shows; None for other layers."""
    return note_of(layer).get("result")


def notices_of(result: xr.Dataset) -> list[str]:
    """What the user should know about a result, sentence by sentence."""
    notices = result.attrs.get("notices", [])
    return [notices] if isinstance(notices, str) else [str(notice) for notice in notices]


def map_layer_data(
    result: xr.Dataset, placement: Placement, *, kind: str, latent: int, frame: int, title: str
) -> tuple[NDArray[np.float32], dict[str, Any], str]:
    """A map as napari's layer data tuple."""
    values = map_of(result, kind, latent, frame)
    look = KINDS[kind]
    options = {
        "name": map_name(title, kind, latent),
        "colormap": look.colormap,
        "contrast_limits": limits_of(values, kind),
        "blending": look.blending,
        "opacity": look.opacity,
        "interpolation2d": "nearest",
        "metadata": {METADATA: {"result": result, "map": kind, "latent": latent, "title": title}},
    }
    return values, options | placement.layer_options(), "image"


def map_name(title: str, kind: str, latent: int) -> str:
    """Name of a map layer, short enough for the layer list."""
    look = KINDS[kind]
    what = f"z{latent} {look.short}".strip() if look.per_latent else look.short
    return f"{title} · {what}" if title else what
