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
_DRIFT_FRAMES = 8
_FAR_APART = 12


def lattice_change(
    video: xr.DataArray | NDArray[Any] | str | None,
    grains: xr.Dataset,
    first: int = 0,
    last: int = -1,
    *,
    shift_px: ArrayLike | None = None,
) -> xr.DataArray:
    """Where each grain's lattice shrank, grew and stayed between two frames.

    Frames far enough apart are taken by the majority with their next two neighbours on the inner side: the
    noise of an edge halves, and little happens meanwhile.

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
        No such frame, or neither a video nor a displacement.
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
        shifts = {one: shift if one in near[1] else np.zeros(2) for group in near for one in group}
    else:
        assert video is not None
        shifts = _measured_shifts(video, near[0] + near[1], frames[0])
        shift = shifts[frames[1]]
    shares = [_share(grains, group, shifts) for group in near]
    seen = np.isfinite(shares[0]) & np.isfinite(shares[1])
    before, there = (share > 0.5 for share in shares)
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
    """A frame and its next two towards another, if that is far away and all grains are reliable in them."""
    if abs(other - frame) < _FAR_APART:
        return [frame]
    near = [frame + int(np.sign(other - frame)) * step for step in range(3)]
    return near if grains["reliable"].values[near].all() else [frame]


def _share(
    grains: xr.Dataset, frames: list[int], shifts: dict[int, NDArray[np.float64]]
) -> NDArray[np.float32]:
    """Share of frames in which each grain is at a place, each moved back by its shift; NaN out of view."""
    cell = float(grains.attrs["cell_px"])
    total = np.zeros(grains["presence"].shape[1:], np.float32)
    for frame in frames:
        # What lay at a place before the shift lies a shift further on after it.
        back = (0.0, *(-shifts[frame] / cell))
        masks = grains["presence"][frame].values.astype(np.float32)
        total += ndimage.shift(masks, back, order=1, cval=np.nan)
    return total / np.float32(len(frames))


def _measured_shifts(
    video: xr.DataArray | NDArray[Any] | str, wanted: list[int], origin: int
) -> dict[int, NDArray[np.float64]]:
    """Displacement of the specimen from one frame to some others, by way of a few in between."""
    if set(wanted) == {origin}:
        return {origin: np.zeros(2)}
    video = video if isinstance(video, xr.DataArray) else open_video(video)
    between = np.linspace(min(wanted), max(wanted), _DRIFT_FRAMES).round().astype(int)
    frames = sorted({*wanted, *between.tolist()})
    drift = run(estimate_drift_steps(video[frames]))
    places = {
        frame: np.array([drift["dy_px"].values[row], drift["dx_px"].values[row]])
        for row, frame in enumerate(frames)
    }
    lost = [frame for frame in wanted if not np.isfinite(places[frame]).all()]
    if lost:
        raise LatticeError(
            f"The displacement of frame {lost[0]} against frame {origin} cannot be told; give shift_px, or "
            "align the video."
        )
    return {frame: places[frame] - places[origin] for frame in wanted}


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
