"""What grew and what shrank between two frames, and how large a grain is inside a region."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ..errors import LatticeError, ParameterError
from ..io.open import open_video
from ..progress import Steps, run
from ..video.drift import estimate_drift_steps
from .courses import Views, frames_between, frames_near, moved, outline_plan, refined_steps
from .outlines import grid_of

CLASSES = ("absent", "shrinkage", "growth", "unchanged")
_DRIFT_FRAMES, _DRIFT_STRIDE = 8, 3
# In periods: an outline that moved less than the first has not moved, more than the second has.
_STILL = (0.25, 0.5)


def lattice_change(
    video: xr.DataArray | NDArray[Any] | str | None,
    grains: xr.Dataset,
    first: int = 0,
    last: int = -1,
    *,
    shift_px: ArrayLike | None = None,
) -> xr.DataArray:
    """Where each grain's lattice shrank, grew and stayed between two frames; see `lattice_change_steps`.

    Parameters
    ----------
    video : DataArray (time, y, x), array or path
        What `grains` were tracked in. None where `shift_px` is given: the outlines are then of the masks
        alone, and less sharp.
    grains : Dataset
        As `track_grains` returns it.
    first, last : int
        Frames; negative ones count from the end.
    shift_px : (dy, dx), optional
        Displacement of the specimen from `first` to `last` in px of the video, positive down and to the
        right, in place of measuring it: (0, 0) of a video that is aligned.
    """
    return run(lattice_change_steps(video, grains, first, last, shift_px=shift_px))


def lattice_change_steps(
    video: xr.DataArray | NDArray[Any] | str | None,
    grains: xr.Dataset,
    first: int = 0,
    last: int = -1,
    *,
    shift_px: ArrayLike | None = None,
) -> Steps[xr.DataArray]:
    """Where each grain's lattice shrank, grew and stayed between two frames; yields progress by the frame.

    An outline of one frame is noisy, and the film under it draws it the same way in every frame. Each place
    of the outline is taken to move evenly, for as long as it does: from the one frame to the other, told
    from up to 60 frames; else next to each of the two, from up to 30 frames and up to halfway to the other.
    The fringes of all these frames tell where it is, less the film, which stays while the lattice turns and
    its edge moves. What moved by less than a quarter of a lattice period is taken to have stayed.

    Parameters
    ----------
    video, grains, first, last, shift_px
        As in `lattice_change`.

    Returns
    -------
    DataArray (grain, y, x), uint8
        0: not there in either frame, or out of view in one; 1: shrinkage; 2: growth; 3: unchanged. It lies
        on frame `first`. attrs: "names" of the classes; "first", "last"; "shift_px", the displacement taken
        out.

    Raises
    ------
    ParameterError
        No such frame, neither a video nor a displacement, or a video of another length or size.
    LatticeError
        A grain is unreliable in one of the frames, or their displacement cannot be told.
    """
    frames = [_checked_frame(grains, name, value) for name, value in (("first", first), ("last", last))]
    for frame in frames:
        _check_reliable(grains, frame)
    if video is not None:
        video = _checked_video(video, grains)
    near = [frames_near(grains, frame, other) for frame, other in (frames, frames[::-1])]
    whole = frames_between(grains, *frames)
    if shift_px is not None:
        shift = np.asarray(shift_px, np.float64)
        if shift.shape != (2,) or not np.isfinite(shift).all():
            raise ParameterError(f"shift_px is {shift_px!r}; give two finite numbers of px, (dy, dx).")
        if shift.any():
            # How the specimen went there is not known: the masks alone tell, and what drifts evenly next to
            # a frame moves evenly there, which is allowed for.
            whole, video = [], None
        shifts = {one: shift if one in near[1] else np.zeros(2) for group in (whole, *near) for one in group}
    elif video is None:
        raise ParameterError("video is None and shift_px too; give one of them.")
    else:
        shifts = yield from _measured_shifts(video, frames, [whole, *near])
        shift = shifts[frames[1]]
    seen = np.isfinite(moved(np.zeros(grains["presence"].shape[2:]), shift / grains.attrs["cell_px"], np.nan))
    used = sorted({one for group in (whole, *near) for one in group})
    masks = dict(zip(used, grains["presence"][used].values, strict=True))
    views = Views(masks, shifts, float(grains.attrs["cell_px"]))
    plans = [outline_plan(grains, grain, views, whole, near) for grain in range(grains.sizes["grain"])]
    if video is not None:
        plans = yield from refined_steps(video, grains, plans, views)
    period = float(grains.attrs["period_px"]) / float(grains.attrs["cell_px"])
    depths = np.stack([_held_still(*plan.ends(), period) for plan in plans], axis=1)
    before, there = (_inside(depth, masks[frame]) for depth, frame in zip(depths, frames, strict=True))
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


def _held_still(
    first: NDArray[np.float64], last: NDArray[np.float64], period: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Depths in two frames, made one where they differ by less than a change that can be told."""
    low, high = (share * period for share in _STILL)
    half = (last - first) / 2
    told = np.clip((2 * np.abs(half) - low) / (high - low), 0, 1)
    told = told**2 * (3 - 2 * told)
    middle = (first + last) / 2
    return middle - half * told, middle + half * told


def _inside(depths: NDArray[np.float64], masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where the depth is positive; where grains exclude each other in masks of them, they do so here."""
    inside = depths > 0
    if not (masks.sum(0) > 1).any():
        inside &= depths.argmax(0) == np.arange(len(depths))[:, None, None]
    return inside


def _checked_video(video: xr.DataArray | NDArray[Any] | str, grains: xr.Dataset) -> xr.DataArray:
    video = video if isinstance(video, xr.DataArray) else open_video(video)
    if len(video) != grains.sizes["time"]:
        raise ParameterError(
            f"video has {len(video)} frames, the grains {grains.sizes['time']}; give the video that they "
            "were tracked in."
        )
    if grid_of(video, grains).cells != grains["presence"].shape[2:]:
        raise ParameterError(
            f"video has frames of {video.shape[1]} × {video.shape[2]} px, the grains are of others; give the "
            "video that they were tracked in."
        )
    return video


def _measured_shifts(
    video: xr.DataArray, ends: list[int], groups: list[list[int]]
) -> Steps[dict[int, NDArray[np.float64]]]:
    """Displacement of the specimen from the first of two frames to both and to some groups of others."""
    if ends[0] == ends[1]:
        return {ends[0]: np.zeros(2)}
    between = np.linspace(min(ends), max(ends), _DRIFT_FRAMES).round().astype(int)
    some = [one for group in groups for one in group[::_DRIFT_STRIDE]]
    frames = sorted({*ends, *some, *between.tolist()})
    drift = yield from estimate_drift_steps(video[frames])
    places = np.stack([drift["dy_px"].values, drift["dx_px"].values], 1)
    known = np.isfinite(places).all(1)
    for frame in ends:
        if not known[frames.index(frame)]:
            raise LatticeError(
                f"The displacement between frame {ends[0]} and frame {ends[1]} cannot be told; take frames "
                "that lie closer together (in Python, shift_px can give it)."
            )
    wanted = sorted({one for group in groups for one in group})
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
