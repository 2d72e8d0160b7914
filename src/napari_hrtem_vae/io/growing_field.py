"""A latent field on disk to which frames are added; it appears under its name when it is complete."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .results import open_result, store_errors
from .run_lock import take_lock

Float = NDArray[np.float32]
_CHUNK_BYTES = 1 << 25
_MOST_FRAMES_OF_A_CHUNK = 32
_DIMS = ("time", "y", "x", "latent")


class GrowingField:
    """z of a recording, written a chunk of frames at a time into a hidden folder beside its place.

    What a run left there that was killed is removed by the next one to the same place.

    Parameters
    ----------
    path : path
        Of the result store to be.
    shape : tuple of int
        Of one frame: (y, x, latent).

    Raises
    ------
    ResultError
        Nothing can be written there.
    """

    def __init__(self, path: str | Path, shape: tuple[int, int, int]) -> None:
        import zarr

        self.path = Path(path)
        several = _CHUNK_BYTES // (4 * int(np.prod(shape)))
        self._several = int(min(max(several, 1), _MOST_FRAMES_OF_A_CHUNK))
        self._waiting: list[Float] = []
        self._finished = False
        with store_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._aside, self._lock = _take_aside(self.path)
        try:
            with store_errors(self.path):
                group = zarr.open_group(self._aside, mode="w-", zarr_format=3)
                self._array: Any = group.create_array(
                    "z",
                    shape=(0, *shape),
                    chunks=(self._several, *shape),
                    dtype="float32",
                    fill_value=float("nan"),
                    dimension_names=_DIMS,
                    attributes={"units": "1", "long_name": "latents"},
                )
        except BaseException:
            self.discard()
            raise

    def add(self, frame: Float) -> None:
        """Add the z (y, x, latent) of the next frame.

        Raises
        ------
        ResultError
            The disk is full or away.
        """
        self._waiting.append(frame)
        if len(self._waiting) == self._several:
            self._write()

    def finish(self, rest: xr.Dataset) -> xr.Dataset:
        """Add all that is known at the end, and give the store its name.

        Where the name was taken meanwhile, the store gets the next free one: RESULT-2.zarr.

        Parameters
        ----------
        rest : Dataset
            Maps, coordinates of all dims, attributes.

        Returns
        -------
        Dataset
            The result, opened.
        """
        with store_errors(self.path):
            self._write()
            rest.to_zarr(self._aside, mode="a", zarr_format=3, consolidated=False)
            self.path = _free_name(self.path)
            os.replace(self._aside, self.path)
            self._finished = True
        self._lock.unlink(missing_ok=True)
        return open_result(self.path)

    def discard(self) -> None:
        """Remove what was written, unless it was finished."""
        if not self._finished:
            shutil.rmtree(self._aside, ignore_errors=True)
            self._lock.unlink(missing_ok=True)

    def _write(self) -> None:
        if self._waiting:
            with store_errors(self.path):
                self._array.append(np.stack(self._waiting), axis=0)
            self._waiting = []


def _take_aside(path: Path) -> tuple[Path, Path]:
    """A hidden folder beside `path` that no other run writes to, removed as yet, and its lock."""
    number = 1
    while not take_lock(lock := path.with_name(f".{path.name}.{number}.lock")):
        number += 1
    aside = lock.with_suffix(".part")
    shutil.rmtree(aside, ignore_errors=True)
    return aside, lock


def _free_name(path: Path) -> Path:
    """`path`, or the first of path-2, path-3, … that is not there."""
    number, found = 1, path
    while found.exists():
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found
