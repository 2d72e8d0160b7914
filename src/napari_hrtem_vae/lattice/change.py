"""What grew and what shrank between two frames, and how large a grain is inside a region."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from ..errors import LatticeError, ParameterError
from ..io.open import open_video
from ..progress import run
from ..video.drift import estimate_drift_steps

CLASSES = ("absent", "shrinkage", "growth", "unchanged")
_DRIFT_FRAMES, _DRIFT_STRIDE = 8, 3
# How many frames an outline may be told from: the most for which lines hold.
_WINDOWS = (30, 24, 19, 15, 12, 9, 7, 5)
_LINE_HOLDS = 1.8  # mean square about the lines, over that of the noise
# In periods: how far from the outline depths are told; how near to it they must lie on lines; smoothing.
_REACH = 3.0
_NEAR = 1.0
_OUTLINE_SMOOTHING = 1.0


def lattice_change(
    video: xr.DataArray | NDArray[Any] | str | None,
    grains: xr.Dataset,
    first: int = 0,
    last: int = -1,
    *,
    shift_px: ArrayLike | None = None,
) -> xr.DataArray:
    """Where each grain's lattice shrank, grew and stayed between two frames.

    An outline of one frame is noisy. With the frames next to it, on the inner side, each place of the outline
    is taken to move evenly, for as long as it does: up to 30 frames, and up to halfway to the other frame.

    Parameters
    ----------
    video : DataArray (time, y, x), array or path
        What `grains` were tracked in: the drift between the two frames is measured in it. None where
        `shift_px` is given.
    grains : Dataset
        As `track_grains` returns it.
    first, last : int
        Frames; negative ones count from the end.
    shift_px : (dy, dx), optional
        Displacement of the specimen from `first` to `last` in px of the video, positive down and to the
        right, in place of measuring it: (0, 0) of a video that is aligned.

    Returns
    -------
    DataArray (grain, y, x), uint8
        0: not there in either frame, or out of view in one; 1: shrinkage; 2: growth; 3: unchanged. It lies
        on frame `first`. attrs: "names" of the classes; "first", "last"; "shift_px", the displacement taken
        out.

    Raises
    ------
    ParameterError
        No such frame, neither a video nor a displacement, or a video of another length.
    LatticeError
        A grain is unreliable in one of the frames, or their displacement cannot be told.
    """
    frames = [_checked_frame(grains, name, value) for name, value in (("first", first), ("last", last))]
    for frame in frames:
        _check_reliable(grains, frame)
    if shift_px is not None:
        shift = np.asarray(shift_px, np.float64)
        if shift.shape != (2,) or not np.isfinite(shift).all():
            raise ParameterError(f"shift_px is {shift_px!r}; give two finite numbers of px, (dy, dx).")
    elif video is None:
        raise ParameterError("video is None and shift_px too; give one of them.")
    near = [_neighbours(grains, frame, other) for frame, other in (frames, frames[::-1])]
    if shift_px is not None:
        # What drifts evenly within a window moves evenly, which is allowed for.
        shifts = {one: shift if one in near[1] else np.zeros(2) for group in near for one in group}
    else:
        assert video is not None
        shifts = _measured_shifts(video, grains.sizes["time"], frames, near)
        shift = shifts[frames[1]]
    seen = np.isfinite(
        _moved(np.zeros(grains["presence"].shape[2:]), shift / grains.attrs["cell_px"], np.nan)
    )
    before, there = (
        _inside(_depths(grains, group, shifts), grains["presence"][group[0]].values) for group in near
    )
    classes = np.where(before & there, 3, np.where(there, 2, np.where(before, 1, 0)))
    return xr.DataArray(
        np.where(seen, classes, 0).astype(np.uint8),
        dims=("grain", "y", "x"),
        coords={name: grains[name] for name in ("grain", "y", "x")},
        name="change",
        attrs={
            "names": list(CLASSES),
            "first": frames[0],
            "last": frames[1],
            "shift_px": [float(one) for one in shift],
            "pixel_size_nm": grains.attrs.get("pixel_size_nm", np.nan),
            "cell_px": grains.attrs["cell_px"],
        },
    )


def change_areas(change: xr.DataArray) -> xr.Dataset:
    """Area of each class of `lattice_change`, of each grain.

    Returns
    -------
    Dataset (grain)
        `shrinkage_nm2`, `growth_nm2`, `unchanged_nm2`; NaN without a pixel size.
    """
    cell = (float(change.attrs["cell_px"]) * float(change.attrs["pixel_size_nm"])) ** 2
    return xr.Dataset(
        {
            f"{name}_nm2": ("grain", (change == kind).sum(("y", "x")).values * cell, {"units": "nm²"})
            for kind, name in enumerate(CLASSES)
            if kind
        },
        coords={"grain": change["grain"]},
    )


def lattice_area(grains: xr.Dataset, region: ArrayLike) -> xr.Dataset:
    """Area of each grain inside a region, through time.

    Parameters
    ----------
    grains : Dataset
        As `track_grains` returns it.
    region : array
        Corners of a polygon (n, 2) as (y, x) in the unit of the grains' coordinates, or a mask (y, x), bool,
        on their presence cells.

    Returns
    -------
    Dataset (time, grain)
        `area_nm2` and `area_sigma_nm2`, NaN where the grain is unreliable or the pixel size unknown;
        `area_px2` and `area_sigma_px2`; `share`, of the region's area.

    Raises
    ------
    ParameterError
        The region is neither, or holds no cell.
    """
    inside = _region_mask(grains, region)
    presence, reliable = grains["presence"], grains["reliable"].values
    cells = np.full(reliable.shape, np.nan)
    edges = np.full(reliable.shape, np.nan)
    for frame in range(len(presence)):
        masks = np.asarray(presence[frame].values)
        cells[frame] = (masks & inside).sum((1, 2))
        edge = _edge_length(masks, np.ones_like(inside))
        edges[frame] = _edge_length(masks, inside) / np.maximum(edge, 1)
    cells[~reliable] = np.nan
    cell_px2 = float(grains.attrs["cell_px"]) ** 2
    nm2 = float(grains.attrs.get("pixel_size_nm", np.nan)) ** 2
    area = cells * cell_px2
    # Pieces of the edge err independently: the variance goes with their length.
    sigma = grains["area_sigma_px2"].values * np.sqrt(edges)
    dims = ("time", "grain")
    return xr.Dataset(
        {
            "area_nm2": (dims, area * nm2, {"units": "nm²"}),
            "area_sigma_nm2": (dims, sigma * nm2, {"units": "nm²"}),
            "area_px2": (dims, area, {"units": "px²"}),
            "area_sigma_px2": (dims, sigma, {"units": "px²"}),
            "share": (dims, cells / inside.sum(), {"units": "1"}),
        },
        coords={name: grains[name] for name in dims},
    )


def _checked_frame(grains: xr.Dataset, name: str, value: int) -> int:
    count = grains.sizes["time"]
    if not isinstance(value, int | np.integer) or not -count <= value < count:
        raise ParameterError(f"{name} is {value!r}; give a frame from {-count} to {count - 1}.")
    return int(value) % count


def _check_reliable(grains: xr.Dataset, frame: int) -> None:
    reliable = grains["reliable"].values
    for grain in np.flatnonzero(~reliable[frame]):
        others = np.flatnonzero(reliable[:, grain])
        if not others.size:
            raise LatticeError(f"Grain {grain} has no reliable lattice in any frame; leave it out.")
        nearest = int(others[np.argmin(np.abs(others - frame))])
        raise LatticeError(
            f"Grain {grain} has no reliable lattice in frame {frame}; take frame {nearest}, or leave it out."
        )


def _neighbours(grains: xr.Dataset, frame: int, other: int) -> list[int]:
    """A frame, and after it those towards another in which all grains are reliable, up to halfway."""
    step = 1 if other >= frame else -1
    count = min(max((abs(other - frame) + 1) // 2, 1), _WINDOWS[0])
    near = [frame + step * away for away in range(count)]
    return [one for one in near if grains["reliable"].values[one].all()]


def _depths(
    grains: xr.Dataset, frames: list[int], shifts: dict[int, NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Depth of each place in each grain (grain, y, x) in the first of some frames, told from all of them."""
    cell = float(grains.attrs["cell_px"])
    period = float(grains.attrs["period_px"]) / cell
    masks = [grains["presence"][frame].values for frame in frames]
    moved = [shifts[frame] / cell for frame in frames]
    moments = np.array(frames, np.float64) - frames[0]
    depths = []
    for grain in range(len(masks[0])):
        course = [
            _moved(_depth(mask[grain], _REACH * period), by) for mask, by in zip(masks, moved, strict=True)
        ]
        depth = _at_start(np.stack(course), moments, _NEAR * period)
        depths.append(_smoothed(depth, _OUTLINE_SMOOTHING * period))
    return np.stack(depths)


def _inside(depths: NDArray[np.float64], masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where the depth is positive; where grains exclude each other in masks of them, they do so here."""
    inside = depths > 0
    if not (masks.sum(0) > 1).any():
        inside &= depths.argmax(0) == np.arange(len(depths))[:, None, None]
    return inside


def _depth(mask: NDArray[np.bool_], reach: float) -> NDArray[np.float64]:
    """Distance to the outline in cells, positive inside, `reach` at the most."""
    if mask.all() or not mask.any():
        return np.where(mask, reach, -reach)
    # Cells on both sides of the outline are half a cell away from it.
    depth = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    return np.asarray(np.clip(depth - np.sign(depth) / 2, -reach, reach))


def _at_start(depths: NDArray[np.float64], moments: NDArray[np.float64], near: float) -> NDArray[np.float64]:
    """Depths (y, x) at moment 0, from lines through as many frames (time, y, x) as lines hold for.

    Lines hold while depths near the outline scatter about them hardly more than noise does, which second
    differences tell whatever moves evenly.
    """
    if len(depths) < _WINDOWS[-1]:
        return np.asarray(depths[0])
    close = np.abs(depths).min(0) < near
    noise = np.mean(np.diff(depths[:, close], 2, axis=0) ** 2) / 6
    for count in _WINDOWS:
        if count > len(depths):
            continue
        powers = np.vander(moments[:count], 2, increasing=True)
        fit = np.linalg.pinv(powers)
        lines = np.tensordot(fit, depths[:count], 1)
        about = depths[:count, close] - powers @ lines[:, close]
        scatter = np.sum(about**2) / max(about.size * (1 - 2 / count), 1)
        if scatter <= _LINE_HOLDS * noise:
            return np.asarray(lines[0])
    return np.asarray(depths[0])


def _smoothed(depth: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Depths without what is shorter than `sigma`, in cells; what bends more gently keeps its place.

    References
    ----------
    Taubin, SIGGRAPH 1995: smoothing twice, the second time the rest, does not shrink.
    """
    smooth = ndimage.gaussian_filter(depth, sigma, mode="nearest")
    return np.asarray(smooth + ndimage.gaussian_filter(depth - smooth, sigma, mode="nearest"))


def _moved(
    values: NDArray[np.float64], by: NDArray[np.float64], beyond: float | None = None
) -> NDArray[np.float64]:
    """A map (y, x) of what lies `by` cells further on, `beyond` or the nearest where that is out of view."""
    if beyond is None:
        return np.asarray(ndimage.shift(values, -by, order=1, mode="nearest"))
    return np.asarray(ndimage.shift(values, -by, order=1, cval=beyond))


def _measured_shifts(
    video: xr.DataArray | NDArray[Any] | str, count: int, ends: list[int], near: list[list[int]]
) -> dict[int, NDArray[np.float64]]:
    """Displacement of the specimen from the first of two frames to both and to those near them."""
    if ends[0] == ends[1]:
        return {ends[0]: np.zeros(2)}
    video = video if isinstance(video, xr.DataArray) else open_video(video)
    if len(video) != count:
        raise ParameterError(
            f"video has {len(video)} frames, the grains {count}; give the video that they were tracked in."
        )
    between = np.linspace(min(ends), max(ends), _DRIFT_FRAMES).round().astype(int)
    frames = sorted({*ends, *near[0][::_DRIFT_STRIDE], *near[1][::_DRIFT_STRIDE], *between.tolist()})
    drift = run(estimate_drift_steps(video[frames]))
    places = np.stack([drift["dy_px"].values, drift["dx_px"].values], 1)
    known = np.isfinite(places).all(1)
    for frame in ends:
        if not known[frames.index(frame)]:
            raise LatticeError(
                f"The displacement between frame {ends[0]} and frame {ends[1]} cannot be told; take frames "
                "that lie closer together (in Python, shift_px can give it)."
            )
    wanted = sorted({*near[0], *near[1]})
    between_known = [np.interp(wanted, np.array(frames)[known], along[known]) for along in places.T]
    shifts = dict(zip(wanted, np.stack(between_known, 1), strict=True))
    return {frame: shift - shifts[ends[0]] for frame, shift in shifts.items()}


def _region_mask(grains: xr.Dataset, region: ArrayLike) -> NDArray[np.bool_]:
    y, x = grains["y"].values, grains["x"].values
    given = np.asarray(region)
    if given.shape == (len(y), len(x)) and given.dtype == bool:
        inside = given
    elif given.ndim == 2 and given.shape[1] == 2 and len(given) >= 3 and given.dtype.kind in "iuf":
        from matplotlib.path import Path

        places = np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2)
        inside = Path(given.astype(float)).contains_points(places).reshape(len(y), len(x))
    else:
        raise ParameterError(
            f"region has the shape {given.shape} and type {given.dtype}; give the corners of a polygon "
            f"(n, 2), or a bool mask {(len(y), len(x))}."
        )
    if not inside.any():
        raise ParameterError("region holds no place of the grains' presence; give a larger one.")
    return np.asarray(inside)


def _edge_length(masks: NDArray[np.bool_], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Borders between cells in and out of masks (grain, y, x), counted where both cells are inside."""
    down = (masks[:, :-1] != masks[:, 1:]) & (inside[:-1] & inside[1:])
    right = (masks[:, :, :-1] != masks[:, :, 1:]) & (inside[:, :-1] & inside[:, 1:])
    return np.asarray(down.sum((1, 2)) + right.sum((1, 2)), np.float64)
