"""The work behind *Follow while recorded*: a watch, and beside it the video that grows."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Grown:
    """What an update of a watch brings to the screen.

    Parameters
    ----------
    result : Dataset
        Maps and hotspots of the last frames; z of all, NaN where it is not kept any more.
    video : DataArray (time, y, x)
        All frames so far, lazily.
    contrast : tuple of float
        Grey levels on the screen.
    note : str
        How far the watch has come, in words.
    """

    result: xr.Dataset
    video: xr.DataArray
    contrast: tuple[float, float]
    note: str


def watch_work(
    folder: Path, model: str, parameters: Any, watching: Any, store: str | None, stop: Callable[[], bool]
) -> Callable[[], Generator[Any, None, xr.Dataset]]:
    """Steps of a watch that yield `Grown`; torch and the model are loaded inside, in the thread.

    Returns the result, z of all frames in it.
    """

    def steps() -> Generator[Any, None, xr.Dataset]:
        from ..progress import Progress

        yield Progress(0, 0, "Loading the model…")
        from ..vae.live import watch_steps
        from ..vae.model import load_model

        loaded = load_model(model)
        watch = watch_steps(folder, loaded, parameters, watching, store=store, stop=stop)
        grown: Grown | None = None
        while True:
            try:
                progress = next(watch)
            except StopIteration as end:
                return with_all_frames(end.value, None if grown is None else grown.video["time"])
            if progress.finished is not None:
                grown = _grown(folder, progress, grown)
                yield grown
            else:
                yield progress

    return steps


def with_all_frames(result: xr.Dataset, times: xr.DataArray | None) -> xr.Dataset:
    """A result of the last frames as one of all frames of the video, at `times`: z is NaN before them."""
    import dask.array as da

    if times is None or result.sizes["time"] >= len(times):
        return result
    z = result["z"].data
    before = (len(times) - len(z), *z.shape[1:])
    frames = da.concatenate(
        [
            da.full(before, np.nan, np.float32, chunks=(64, *z.shape[1:])),
            da.from_array(z, chunks=(1, *z.shape[1:]), name=False),
        ]
    )
    dims, attrs = result["z"].dims, result["z"].attrs
    return result.drop_dims("time").assign_coords(time=times).assign(z=(dims, frames, attrs))


def _grown(folder: Path, update: Any, before: Grown | None) -> Grown:
    from .readers import contrast_limits

    video = growing_video(folder, update, None if before is None else before.video.shape[1:])
    result = with_all_frames(update.finished, update.times)
    contrast = contrast_limits(video[-1:]) if before is None else before.contrast
    counts = update.counts
    words = [f"{counts.frames} of {counts.landed} frames", f"{update.lag_s:.1f} s behind"]
    left_out = counts.done - counts.frames
    words += [f"{left_out} left out"] if left_out else []
    return Grown(result, video, contrast, " · ".join(words))


def growing_video(folder: Path, update: Any, shape: tuple[int, ...] | None) -> xr.DataArray:
    """The frames of an update as a lazy video (time, y, x), of frames of `shape` where it is known."""
    import xarray as xr

    from ..io import open_video
    from ..io.folder import FolderFrames
    from ..io.frames import as_dask

    files = list(update.files)
    rows, columns = shape or open_video(files[-1]).shape[1:]
    attrs = {
        "source": str(folder),
        "notices": [],
        **{
            key: update.finished.attrs[key]
            for key in ("pixel_size_nm", "frame_time_s")
            if key in update.finished.attrs
        },
    }
    data = as_dask(FolderFrames(folder, files, (len(files), rows, columns)))
    return xr.DataArray(data, dims=("time", "y", "x"), coords={"time": update.times}, attrs=attrs)


def without_drift(parameters: Any) -> Any:
    """Parameters that a watch can take: drift is known only at the end."""
    return replace(parameters, drift="off")
