"""Result stores: zarr groups that xarray opens by itself, written band by band."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..errors import ResultError
from .results_probe import is_result_store


def _beside(path: Path, suffix: str) -> Path:
    """Hidden companions of a store lie beside it: zarr warns of foreign files inside."""
    return path.with_name(f".{path.name}.{suffix}")


def open_result(path: str | Path) -> xr.Dataset:
    """Open a result store, lazily.

    Raises
    ------
    ResultError
        No store, not one of ours, damaged, or of a run that has not ended.
    """
    path = Path(path)
    if not path.exists():
        raise ResultError(f"There is no result {path}; check the path.")
    if not is_result_store(path):
        raise ResultError(
            f"{path.name} is no result store of this program; choose a .zarr written by Analyze."
        )
    if _beside(path, "journal").exists():
        raise ResultError(
            f"{path.name} is of a run that has not ended; run the same analysis again to go on with it."
        )
    try:
        opened: xr.Dataset = xr.open_zarr(path, consolidated=False)
    except Exception as error:
        raise ResultError(f"{path.name} is damaged ({error}); run the analysis again.") from error
    return opened


def save_result(dataset: xr.Dataset, path: str | Path) -> Path:
    """Write a result as a zarr store; it appears under its name when it is complete.

    Raises
    ------
    ResultError
        The place is taken, or cannot be written.
    """
    path = Path(path)
    if path.exists():
        raise ResultError(f"{path} exists already; choose another name or delete it first.")
    aside = _beside(path, "part")
    try:
        with _disk_errors(path):
            shutil.rmtree(aside, ignore_errors=True)
            _cleaned(dataset).to_zarr(aside, mode="w", zarr_format=3, consolidated=False)
            os.replace(aside, path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return path


def _cleaned(dataset: xr.Dataset) -> xr.Dataset:
    """Without encodings and chunks of where the dataset came from: they may not fit the new store."""
    dataset = dataset.copy()
    for name in dataset.variables:
        dataset[name].encoding = {}
    return dataset


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise ResultError(
            f"The result cannot be written to {path} ({reason}); free space or choose another folder."
        ) from error


@dataclass
class ResultStore:
    """A store being written: made in full at the start, then region by region, with a journal.

    Parameters
    ----------
    path : Path
        Where.
    provenance : dict
        What the result depends on; a store of another provenance is refused.
    bands : list of tuple of int
        Rows of sites [first, last) of each band; of a resumed store, those that it was begun with.
    finished : set of int
        Bands that are written.
    """

    path: Path
    provenance: dict[str, Any]
    bands: list[tuple[int, int]]
    finished: set[int] = field(default_factory=set)

    @classmethod
    def create_or_resume(
        cls, path: str | Path, template: xr.Dataset, provenance: dict[str, Any], bands: list[tuple[int, int]]
    ) -> ResultStore:
        """Make the store, or take up one that was left unfinished by the same analysis.

        Parameters
        ----------
        template : Dataset
            Lazy arrays of the final sizes, chunked as they will be written.

        Raises
        ------
        ResultError
            The place is taken by something else, another run is at work, or the disk is full.
        """
        path = Path(path)
        store = cls(path, provenance, bands)
        if path.exists():
            store._resume()
            store._lock()
            return store
        need = sum(array.nbytes for array in template.variables.values())
        with _disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(path.parent).free
            if need > 2 * free:
                raise ResultError(
                    f"The result takes up to {need / 1e9:.1f} GB, and {path.parent} has {free / 1e9:.1f} GB; "
                    "free space, choose another folder, or keep the maps alone."
                )
            template.to_zarr(path, mode="w-", zarr_format=3, consolidated=False, compute=False)
            store._lock()
            store._write_journal()
        return store

    def write(self, block: xr.Dataset, region: dict[str, slice]) -> None:
        """Write a region; it counts when its band is noted."""
        with _disk_errors(self.path):
            block.drop_vars(list(block.coords)).to_zarr(
                self.path, region=region, zarr_format=3, consolidated=False
            )

    def note(self, index: int) -> None:
        """Note in the journal that a band is written."""
        with _disk_errors(self.path):
            self.finished.add(index)
            self._write_journal()

    def finish(self, extra: xr.Dataset, scratch: Iterable[str] = ()) -> None:
        """Add what is known only at the end, drop what served until then, and close the journal."""
        with _disk_errors(self.path):
            extra.to_zarr(self.path, mode="a", zarr_format=3, consolidated=False)
            for name in scratch:
                shutil.rmtree(self.path / name, ignore_errors=True)
            _beside(self.path, "journal").unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Let another run have the store."""
        with contextlib.suppress(OSError):
            _beside(self.path, "lock").unlink(missing_ok=True)

    def _resume(self) -> None:
        journal = _beside(self.path, "journal")
        try:
            entries = json.loads(journal.read_text())
            finished, provenance = {int(index) for index in entries["finished"]}, entries["provenance"]
            bands = [(int(first), int(last)) for first, last in entries["bands"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ResultError(
                f"{self.path} exists already; choose another name or delete it first."
            ) from error
        wanted = json.loads(json.dumps(self.provenance))
        differing = sorted(key for key in wanted if provenance.get(key) != wanted[key])
        if differing:
            raise ResultError(
                f"{self.path} holds an unfinished run with another {', '.join(differing)}; "
                "choose another name or delete it first."
            )
        self.finished, self.bands = finished, bands

    def _lock(self) -> None:
        lock = _beside(self.path, "lock")
        try:
            host, process = lock.read_text().split()
            if host == socket.gethostname() and not _alive(int(process)):
                lock.unlink(missing_ok=True)
        except (OSError, ValueError):
            pass
        try:
            with lock.open("x") as file:
                file.write(f"{socket.gethostname()} {os.getpid()}")
        except FileExistsError as error:
            raise ResultError(
                f"Another run is writing to {self.path}; wait for it or choose another name."
            ) from error

    def _write_journal(self) -> None:
        aside = _beside(self.path, "journal.part")
        entries = {"provenance": self.provenance, "bands": self.bands, "finished": sorted(self.finished)}
        aside.write_text(json.dumps(entries))
        os.replace(aside, _beside(self.path, "journal"))


def _alive(process: int) -> bool:
    if os.name == "nt":
        # Signal 0 would end the process there; a stale lock is then removed by hand.
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def plain_attributes(attributes: dict[str, Any]) -> dict[str, Any]:
    """Attributes as JSON can hold them; None is left out."""
    kept = {key: value for key, value in attributes.items() if value is not None}
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in kept.items()}
