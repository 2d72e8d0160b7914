"""Zarr stores (2 and 3): xarray's, OME-Zarr, bare arrays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import VideoFileError
from .candidates import Axis, Candidate
from .frames import as_dask, reason
from .results_probe import is_result_store
from .units import to_nm, to_s

# A time coordinate is read in full to find gaps, up to this many values.
_LONGEST = 10_000_000


def zarr_candidates(path: Path) -> list[Candidate]:
    """The arrays of a zarr store that may be a video: "video" first where there is one, level 0 of OME-Zarr.

    Raises
    ------
    VideoFileError
        Not a zarr store, damaged, or the result of an analysis.
    """
    import zarr

    if is_result_store(path):
        raise VideoFileError(f"{path} is the result of an analysis, not a video; open it as a result.")
    try:
        root = zarr.open(str(path), mode="r")
        if isinstance(root, zarr.Array):
            return [_array(path, root, path.stem, None)]
        levels = _ome_levels(root)
        if levels:
            return levels
        arrays = [(name, array, parent) for name, array, parent in _walk(root, "") if array.ndim >= 2]
        if any(name == "video" for name, _, _ in arrays):
            arrays = [entry for entry in arrays if entry[0] == "video"]
        found = [_array(path, array, name, parent) for name, array, parent in arrays]
    except VideoFileError:
        raise
    except Exception as error:
        raise VideoFileError(
            f"{path} cannot be read as zarr ({reason(error)}); it is damaged or something else."
        ) from error
    return found


def _walk(group: Any, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    for name, array in sorted(group.arrays()):
        yield prefix + name, array, group
    for name, child in sorted(group.groups()):
        yield from _walk(child, f"{prefix}{name}/")


def _dask(array: Any) -> Any:
    stored = getattr(array, "shards", None) or array.chunks
    return as_dask(array, multiple_of=int(stored[-3]) if array.ndim > 2 else 1)


def _array(path: Path, array: Any, name: str, parent: Any) -> Candidate:
    attributes = dict(array.attrs)
    candidate = Candidate(name, _dask(array))
    dims = getattr(array.metadata, "dimension_names", None) or attributes.get("_ARRAY_DIMENSIONS")
    if dims and len(dims) == array.ndim and not any(dim is None for dim in dims):
        candidate.axes = [
            _coordinate(str(dim), parent, length, candidate.notices)
            for dim, length in zip(dims, array.shape, strict=True)
        ]
        order = _labelled_order([axis.name for axis in candidate.axes])
        if order is not None:
            candidate.data = candidate.data.transpose(order)
            candidate.axes = [candidate.axes[i] for i in order]
    candidate.pixel_size_nm = to_nm(attributes.get("pixel_size_nm"), "nm")
    candidate.frame_time_s = to_s(attributes.get("frame_time_s"), "s")
    notices = attributes.get("notices")
    if isinstance(notices, list):
        candidate.notices.extend(str(notice) for notice in notices)
    _uneven_times(candidate, parent)
    return candidate


def _labelled_order(names: list[str]) -> list[int] | None:
    """The order of dims in which y and x come last, where both are named."""
    if "y" not in names or "x" not in names:
        return None
    rest = [i for i, name in enumerate(names) if name not in ("y", "x")]
    return [*rest, names.index("y"), names.index("x")]


def _coordinate(dim: str, parent: Any, length: int, notices: list[str]) -> Axis:
    """The axis `dim` of `length` values with the spacing and unit of the coordinate beside the array."""
    if parent is None or dim not in parent or getattr(parent[dim], "ndim", 0) != 1:
        return Axis(dim)
    coordinate = parent[dim]
    if coordinate.shape[0] != length:
        notices.append(
            f"The coordinate {dim} has {coordinate.shape[0]} values where the video has {length}; "
            "it was not used."
        )
        return Axis(dim)
    unit = coordinate.attrs.get("units")
    if length < 2 or coordinate.dtype.kind not in "iuf":
        return Axis(dim, None, unit)
    step = _spacing(coordinate)
    return Axis(dim, step if np.isfinite(step) else None, unit)


def _spacing(coordinate: Any) -> float:
    """Distance of neighbouring values, from the first two and the last; of uneven ones the median."""
    (first, second), (last,) = coordinate[:2].astype(float), coordinate[-1:].astype(float)
    step, count = second - first, coordinate.shape[0] - 1
    if abs(last - first - count * step) <= 0.01 * abs(step) or count >= _LONGEST:
        return float(abs(last - first) / count)
    return float(np.median(np.abs(np.diff(coordinate[:].astype(float)))))


def _uneven_times(candidate: Candidate, parent: Any) -> None:
    """Keep the gaps of a time coordinate."""
    step = candidate.frame_time_s
    if parent is None or "time" not in parent or candidate.data.ndim != 3 or not candidate.axes:
        return
    times = parent["time"]
    if getattr(times, "ndim", 0) != 1 or times.dtype.kind not in "iuf":
        return
    step = step or to_s(candidate.axes[0].scale, candidate.axes[0].unit)
    if step is None or times.shape[0] != candidate.data.shape[0] or times.shape[0] > _LONGEST:
        return
    seconds = [to_s(1.0, times.attrs.get("units"))]
    if seconds[0] is None:
        return
    values = times[:].astype(float) * seconds[0]
    numbers = (values - values[0]) / step
    if np.abs(numbers - np.arange(len(numbers))).max() > 0.01:
        candidate.frame_numbers = numbers


def _ome_levels(root: Any) -> list[Candidate]:
    """Level 0 of each image of an OME-Zarr group, with its scale."""
    attributes = dict(root.attrs)
    images = attributes.get("ome", attributes).get("multiscales")
    if not isinstance(images, list):
        return []
    found = []
    for number, image in enumerate(images):
        level = image["datasets"][0]
        scales = [1.0] * root[level["path"]].ndim
        known = False
        for transform in [
            *level.get("coordinateTransformations", []),
            *image.get("coordinateTransformations", []),
        ]:
            if transform.get("type") == "scale":
                known = True
                scales = [a * float(b) for a, b in zip(scales, transform["scale"], strict=True)]
        axes = [
            Axis(axis["name"], scale if known else None, axis.get("unit"))
            if isinstance(axis, dict)
            else Axis(str(axis))
            for axis, scale in zip(image.get("axes", []), scales, strict=False)
        ]
        name = str(image.get("name") or f"image {number}")
        found.append(Candidate(name, _dask(root[level["path"]]), axes))
    return found
