"""One way in: a file, a folder, a list of files or an array becomes a video."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..errors import ParameterError, VideoFileError, VideoShapeError
from .candidates import Candidate, arrange, choose
from .files import candidates_of, suffix_of
from .folder import folder_candidate
from .frames import as_dask, whole_frames
from .results_probe import is_zarr

DIMS = ("time", "y", "x")


def open_video(
    source: Any,
    *,
    dataset: str | int | None = None,
    pixel_size_nm: float | None = None,
    frame_time_s: float | None = None,
) -> xr.DataArray:
    """Open a video lazily.

    Parameters
    ----------
    source : path, sequence of paths, numpy.ndarray, dask.array.Array or xarray.DataArray
        A file of a microscope, camera or movie; a folder of one-frame files; the frame files themselves;
        a zarr store; or an array (time, y, x), (y, x), or with singleton axes besides.
    dataset : str or int, optional
        Which dataset of a file with several; by default the likeliest image series.
    pixel_size_nm : float, optional
        In nm; beats the file.
    frame_time_s : float, optional
        From one frame to the next, in s; beats the file.

    Returns
    -------
    xarray.DataArray
        (time, y, x) over dask, whole frames in each chunk. attrs: "source"; "pixel_size_nm" and
        "frame_time_s" only where known; "dataset" where there were several; "notices", sentences for
        the user. Coordinates y and x in nm where the pixel size is known, time in s where the frame time
        is, with gaps where frames are missing.

    Raises
    ------
    VideoFileError
        The file is missing, damaged, cut short, or no video.
    VideoShapeError
        An array cannot be a video.
    ParameterError
        `pixel_size_nm` or `frame_time_s` is not positive and finite.
    """
    for name, value in (("pixel_size_nm", pixel_size_nm), ("frame_time_s", frame_time_s)):
        if value is not None and not (_is_number(value) and math.isfinite(value) and value > 0):
            unit = "nm" if name == "pixel_size_nm" else "s"
            raise ParameterError(f"{name} is {value!r}; give a positive number of {unit}.")
    attrs: dict[str, Any]
    if isinstance(source, xr.DataArray):
        candidate, attrs = _from_labelled(source)
    elif isinstance(source, (str, os.PathLike)) or _is_paths(source):
        candidate, attrs = _from_files(source, dataset)
    else:
        candidate, attrs = _from_array(source), {"source": "array"}
    label = str(attrs["source"]) if attrs["source"] != "array" else "the array"
    data, pixel, frame_time, notices = arrange(candidate, Path(label).name)
    if data.dtype == bool:
        data = data.astype(np.uint8)
    if 0 in data.shape:
        raise VideoShapeError(f"{label} is empty (shape {tuple(data.shape)}); record it again.")
    if pixel_size_nm is not None:
        notices = [notice for notice in notices if not notice.startswith("The pixels of")]
    attrs["notices"] = [*attrs.get("notices", []), *candidate.notices, *notices]
    return _labelled(data, pixel_size_nm or pixel, frame_time_s or frame_time, candidate.frame_numbers, attrs)


def pixel_size_nm(video: xr.DataArray) -> float | None:
    """Pixel size of a video in nm, None where unknown."""
    value = video.attrs.get("pixel_size_nm")
    return None if value is None else float(value)


def frame_time_s(video: xr.DataArray) -> float | None:
    """Time from one frame of a video to the next in s, None where unknown."""
    value = video.attrs.get("frame_time_s")
    return None if value is None else float(value)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _is_paths(source: Any) -> bool:
    return (
        isinstance(source, Sequence)
        and len(source) > 0
        and all(isinstance(s, (str, os.PathLike)) for s in source)
    )


def _from_files(source: Any, dataset: str | int | None) -> tuple[Candidate, dict[str, Any]]:
    if not isinstance(source, (str, os.PathLike)):
        paths = [Path(one).expanduser() for one in source]
        if len(paths) > 1:
            absent = [path for path in paths if not path.exists()]
            if absent:
                raise VideoFileError(f"{absent[0]} does not exist; check its name and folder.")
            folder = Path(os.path.commonpath([path.parent for path in paths]))
            return folder_candidate(folder, paths), {"source": str(folder)}
        source = paths[0]
    path = Path(source).expanduser()
    attrs: dict[str, Any] = {"source": str(path)}
    if path.is_dir() and not is_zarr(path) and suffix_of(path) not in ("zspy", "zarr"):
        return folder_candidate(path), attrs
    candidates = candidates_of(path)
    chosen, notices = choose(candidates, dataset, path)
    if len(candidates) > 1:
        attrs["dataset"] = chosen.name
    attrs["notices"] = notices
    return chosen, attrs


def _from_array(source: Any) -> Candidate:
    import dask.array as da

    if not isinstance(source, (np.ndarray, da.Array)):
        raise VideoShapeError(
            f"A {type(source).__name__} is no video; give a path, or a numpy or dask array (time, y, x)."
        )
    candidate = Candidate("array", source)
    problem = candidate.problem()
    if problem is not None:
        raise VideoShapeError(f"The array {problem}.")
    if isinstance(source, np.ndarray):
        candidate.data = as_dask(source)
    else:
        candidate.data = whole_frames(source)
    return candidate


def _from_labelled(source: xr.DataArray) -> tuple[Candidate, dict[str, Any]]:
    if set(source.dims) != set(DIMS):
        raise VideoShapeError(
            f"The array has the dims {tuple(source.dims)}; a video has the dims (time, y, x)."
        )
    source = source.transpose(*DIMS)
    candidate = _from_array(source.data)
    candidate.pixel_size_nm = pixel_size_nm(source)
    candidate.frame_time_s = frame_time_s(source)
    if "time" in source.coords and candidate.frame_time_s:
        numbers = (source["time"].values - source["time"].values[0]) / candidate.frame_time_s
        if np.abs(numbers - np.arange(len(numbers))).max() > 0.01:
            candidate.frame_numbers = numbers
    return candidate, {"source": "array", **source.attrs}


def _labelled(
    data: Any,
    pixel: float | None,
    frame_time: float | None,
    frame_numbers: np.ndarray | None,
    attrs: dict[str, Any],
) -> xr.DataArray:
    coords: dict[str, Any] = {}
    if frame_time is not None:
        attrs["frame_time_s"] = float(frame_time)
        numbers = np.arange(data.shape[0]) if frame_numbers is None else frame_numbers
        coords["time"] = ("time", numbers * float(frame_time), {"units": "s"})
    if pixel is not None:
        attrs["pixel_size_nm"] = float(pixel)
        for dim, size in zip(("y", "x"), data.shape[1:], strict=True):
            coords[dim] = (dim, np.arange(size) * float(pixel), {"units": "nm"})
    return xr.DataArray(data, dims=DIMS, coords=coords, attrs=attrs, name="video")
