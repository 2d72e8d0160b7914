"""Simulated videos on disk: written by the frame, so that one larger than memory can be made."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..errors import ResultError
from ..io.results import check_place, save_result
from ..progress import Progress, Steps
from .parameters import ScenarioParameters
from .simulation import Simulation
from .truth import Frame

_FRAMES_TOGETHER = 10
_BLOCK_BYTES = 64 << 20


def truth_path(video: str | Path) -> Path:
    """Where the truth of a simulated video lies: beside it."""
    path = Path(video)
    return path.with_name(f"{path.stem}-truth.zarr")


def save_simulation(dataset: xr.Dataset, path: str | Path) -> tuple[Path, Path]:
    """Write a video that is in memory and, beside it, its truth.

    Raises
    ------
    ResultError
        A place is taken, or cannot be written.
    """
    truth = truth_path(path)
    for place in (path, truth):
        check_place(place, resumable=False)
    chunked = dataset[["video"]].chunk(time=_FRAMES_TOGETHER, y=-1, x=-1)
    chunked.attrs = {**dataset.attrs}
    return save_result(chunked, path), save_result(dataset.drop_vars("video").chunk(), truth)


def write_simulation_steps(
    scenario: str, parameters: ScenarioParameters, path: str | Path
) -> Steps[tuple[Path, Path]]:
    """Simulate a video straight into a zarr store, its truth beside it; yields progress by the frame.

    Memory holds a few frames however long the video is. Both stores appear under their names when they are
    complete.

    Returns
    -------
    video, truth : Path

    Raises
    ------
    ParameterError
        No such scenario, or one frame is larger than half of the memory that is free.
    ResultError
        A place is taken, cannot be written, or the disk is too small.
    """
    path, truth = Path(path), truth_path(path)
    for place in (path, truth):
        check_place(place, resumable=False)
    frame_bytes = 2 * parameters.rows * parameters.columns
    together = int(np.clip(_BLOCK_BYTES // frame_bytes, 1, min(_FRAMES_TOGETHER, parameters.frames)))
    simulation = Simulation(scenario, parameters, frames_held=together)
    stores = _Stores(simulation, path, truth, together)
    areas: list[list[float]] = []
    held: list[Frame] = []
    try:
        stores.make()
        yield Progress(0, parameters.frames, "Simulating")
        for frame in simulation.frames():
            if frame is not None:
                held.append(frame)
                areas.append(frame.area_px)
                if len(held) == together or len(areas) == parameters.frames:
                    stores.write(len(areas) - len(held), held)
                    held = []
            yield Progress(len(areas), parameters.frames, "Simulating")
        stores.finish(simulation.tables(areas))
    except OSError as error:
        raise ResultError(
            f"The video cannot be written to {path} ({error.strerror or error}); "
            "free space or choose another folder."
        ) from error
    finally:
        stores.clear()
    return path, truth


class _Stores:
    """Video and truth while they are written, under hidden names beside their own."""

    def __init__(self, simulation: Simulation, video: Path, truth: Path, together: int) -> None:
        self._simulation, self._together = simulation, together
        self._places = {"video": video, "truth": truth}
        self._aside = {key: place.with_name(f".{place.name}.part") for key, place in self._places.items()}
        self._arrays: dict[str, Any] = {}

    def make(self) -> None:
        """Empty stores of the final sizes."""
        import dask.array as da
        import zarr

        sizes, chunks = self._simulation.sizes(), {"time": self._together}
        layout = self._simulation.layout()
        need = sum(
            int(np.prod([sizes[dim] for dim in dims])) * np.dtype(kind).itemsize
            for dims, kind, _ in layout.values()
        )
        self._check_space(need)
        self.clear()
        attributes = self._simulation.attributes()
        for key, names in (("video", ["video"]), ("truth", ["presence", "change"])):
            empty = {
                name: (dims, da.empty(shape, dtype=kind, chunks=parts), attrs)
                for name, (dims, kind, attrs) in layout.items()
                if name in names
                for shape in [[sizes[dim] for dim in dims]]
                for parts in [tuple(chunks.get(dim, sizes[dim]) for dim in dims)]
            }
            template = xr.Dataset(empty, coords=self._simulation.coordinates(), attrs=attributes)
            self._aside[key].parent.mkdir(parents=True, exist_ok=True)
            template.to_zarr(self._aside[key], mode="w", zarr_format=3, consolidated=False, compute=False)
            group = zarr.open_group(self._aside[key], mode="r+")
            self._arrays |= {name: group[name] for name in names}

    def write(self, first: int, frames: list[Frame]) -> None:
        """Frames from number `first` on: whole chunks."""
        where = slice(first, first + len(frames))
        self._arrays["video"][where] = np.stack([frame.counts for frame in frames])
        self._arrays["presence"][where] = np.stack([frame.presence for frame in frames])
        self._arrays["change"][where] = np.stack([frame.change for frame in frames])

    def finish(self, tables: xr.Dataset) -> None:
        """Add the tables of the truth, and let both appear: the truth first, so that no video lacks it."""
        tables.drop_vars(list(tables.coords)).to_zarr(
            self._aside["truth"], mode="a", zarr_format=3, consolidated=False
        )
        os.replace(self._aside["truth"], self._places["truth"])
        try:
            os.replace(self._aside["video"], self._places["video"])
        except BaseException:
            shutil.rmtree(self._places["truth"], ignore_errors=True)
            raise

    def clear(self) -> None:
        """Remove what is unfinished."""
        for aside in self._aside.values():
            with suppress(FileNotFoundError):
                shutil.rmtree(aside)

    def _check_space(self, need: int) -> None:
        folder = self._places["video"].parent
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        free = shutil.disk_usage(folder).free
        # Counts compress to about half.
        if need > 2 * free:
            raise ResultError(
                f"The video takes up to {need / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB; "
                "free space, choose another folder, or give fewer frames."
            )
