"""Opening videos in napari: drag a file or a folder in, or File → Open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .layers import METADATA

if TYPE_CHECKING:
    import xarray as xr

LayerData = tuple[Any, dict[str, Any], str]
Reader = Callable[[str | Sequence[str]], list[LayerData]]


def get_reader(path: str | Sequence[str]) -> Reader | None:
    """`read_video` where `path` looks like a video, or like the frames of one; else None.

    Parameters
    ----------
    path : str or list of str
        What the user opened. Names are looked at, no file is read.
    """
    from ..io import is_video_path

    paths = [path] if isinstance(path, str) else list(path)
    return read_video if paths and all(is_video_path(one) for one in paths) else None


def read_video(path: str | Sequence[str]) -> list[LayerData]:
    """Open a video as one lazy image layer; several files are the frames of one.

    Parameters
    ----------
    path : str or list of str
        A file, a folder of frames, a zarr store, or frame files.

    Returns
    -------
    list of one layer data tuple
        The dask array (time, y, x), the options of the layer, and "image".

    Raises
    ------
    VideoFileError, VideoShapeError
        It is no video; the message says why.
    """
    from ..io import open_video

    source = path if isinstance(path, str) else [str(one) for one in path]
    if isinstance(source, list) and len(source) == 1:
        source = source[0]
    video = open_video(source)
    frames = None
    if "time" not in video.coords and (isinstance(source, list) or Path(source).is_dir()):
        # frames may be missing, and the user may type the frame time later
        frames = open_video(source, frame_time_s=1.0)["time"].values
    return [video_layer(video, frames)]


def video_layer(video: xr.DataArray, frame_numbers: np.ndarray | None = None) -> LayerData:
    """`video` as layer data tuple; its notices are shown to the user."""
    notices = list(video.attrs.get("notices", []))
    if notices:
        from napari.utils.notifications import show_info

        show_info("\n".join(notices))
    return video.data, layer_options(video, frame_numbers), "image"


def layer_options(video: xr.DataArray, frame_numbers: np.ndarray | None = None) -> dict[str, Any]:
    """Name, place, units, contrast and provenance of the layer that shows `video`.

    Parameters
    ----------
    video : xarray.DataArray
        (time, y, x), as `open_video` returns it.
    frame_numbers : ndarray (time,), optional
        Places of the frames in frame times, for a video whose frame time is unknown.
    """
    times = video["time"].values if "time" in video.coords else frame_numbers
    pixel, frame_time = video.attrs.get("pixel_size_nm"), video.attrs.get("frame_time_s")
    source = Path(str(video.attrs.get("source", "video")))
    return {
        "name": source.stem or source.name or "video",
        "scale": (frame_time or 1.0, pixel or 1.0, pixel or 1.0),
        "translate": (0.0, 0.0, 0.0),
        "units": ("s" if frame_time else "pixel", *(("nm",) * 2 if pixel else ("pixel",) * 2)),
        "axis_labels": ("time", "y", "x"),
        "contrast_limits": contrast_limits(video),
        "metadata": {
            METADATA: {
                "source": video.attrs.get("source"),
                "dataset": video.attrs.get("dataset"),
                "pixel_size_nm": pixel,
                "frame_time_s": frame_time,
                # a layer's own axis cannot have the gaps of missing frames
                "time": None if times is None else [float(time) for time in times],
                "notices": list(video.attrs.get("notices", [])),
            }
        },
    }


def contrast_limits(video: xr.DataArray) -> tuple[float, float]:
    """Grey levels of a video on the screen: percentiles 0.5 and 99.5 of its first, middle and last frame."""
    count = video.shape[0]
    # One frame at a time: a stack of three would be a copy of three.
    limits = []
    for number in sorted({0, count // 2, count - 1}):
        frame = np.asarray(video.data[number])
        finite = frame[np.isfinite(frame)]
        if finite.size:
            limits.append(np.percentile(finite, (0.5, 99.5)))
    if not limits:
        return 0.0, 1.0
    low, high = min(low for low, _ in limits), max(high for _, high in limits)
    return float(low), float(high if high > low else low + 1)
