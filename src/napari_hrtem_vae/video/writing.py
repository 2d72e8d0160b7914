"""A video and what was measured of it, written to a zarr store frame by frame."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr

from ..errors import ResultError
from ..io.frames import reason
from ..io.results import check_place, plain_attributes
from ..progress import Progress, Steps
from .reading import CHUNK_BYTES, as_read, read_ahead


def write_video_steps(video: xr.DataArray, beside: xr.Dataset, path: str | Path) -> Steps[Path]:
    """Write a lazy video as a zarr store that `open_video` reads; memory is taken for a few frames.

    The store is made under a hidden name and gets its own when it is complete.

    Parameters
    ----------
    video : DataArray (time, y, x)
        Written as float32, under the name "video".
    beside : Dataset (time)
        Written with it.
    path : path
        Of the store.

    Raises
    ------
    ResultError
        The place is taken or cannot be written, or the disk has too little room.
    """
    path = Path(path)
    check_place(path, resumable=False)
    count = max(1, CHUNK_BYTES // (4 * video[0].size))
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_room(path, video.size * 4)
        _template(video, beside, count).to_zarr(
            aside, mode="w", zarr_format=3, consolidated=False, compute=False
        )
        done = 0
        for chunk in read_ahead(video, count, slice(None), as_read):
            yield Progress(done, len(video), "Writing")
            if chunk is not None:
                start, frames = chunk
                done = start + len(frames)
                part = xr.Dataset({"video": (("time", "y", "x"), frames)})
                part.to_zarr(aside, region={"time": slice(start, done)}, zarr_format=3, consolidated=False)
        os.replace(aside, path)
    except OSError as error:
        raise ResultError(
            f"The video cannot be written to {path} ({reason(error)}); free space or choose another folder."
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return path


def _check_room(path: Path, need: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if need > free:
        raise ResultError(
            f"The video takes {need / 1e9:.1f} GB, and {path.parent} has {free / 1e9:.1f} GB; free space or "
            "choose another folder."
        )


def _template(video: xr.DataArray, beside: xr.Dataset, count: int) -> xr.Dataset:
    """The store's arrays, the video's without its values."""
    empty = da.full(video.shape, np.nan, dtype=np.float32, chunks=(count, *video.shape[1:]))
    template = beside.assign(video=(("time", "y", "x"), empty, plain_attributes(dict(video.attrs))))
    return template.assign_coords({name: video[name] for name in ("time", "y", "x") if name in video.coords})
