"""Result stores: zarr groups that xarray opens by itself, written band by band."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..errors import ResultError
from .results_probe import is_result_store

_REMOVALS = 20
_REMOVAL_PAUSE_S = 0.02


def _beside(path: Path, suffix: str) -> Path:
    """Hidden companions of a store lie beside it: zarr warns of foreign files inside."""
    return path.with_name(f".{path.name}.{suffix}")


def _remove_folder(path: Path) -> None:
    """Remove what a failed write left; zarr's own threads may still be writing to it for a moment."""
    for _ in range(_REMOVALS if path.exists() else 0):
        shutil.rmtree(path, ignore_errors=True)
        time.sleep(_REMOVAL_PAUSE_S)
        if not path.exists():
            return


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
    # A run that died while it cleared its scratch is finished all the same.
    return opened.drop_vars("p", errors="ignore")


def check_place(path: str | Path, *, resumable: bool = True) -> None:
    """Refuse, before any work, a place where no result can be written; makes nothing.

    Parameters
    ----------
    path : path
        Of the store to be.
    resumable : bool
        Whether a store that a run left unfinished may lie there.

    Raises
    ------
    ResultError
        The place is taken, or its folder cannot be made or written.
    """
    path = Path(path)
    with _disk_errors(path):
        if path.exists() and not (resumable and _beside(path, "journal").exists()):
            raise _taken(path)
        folder = path.parent
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        # The permissions alone do not tell: of the superuser, of Windows, of file systems mounted read-only.
        with tempfile.TemporaryFile(dir=folder):
            pass


def _taken(path: Path) -> ResultError:
    return ResultError(f"{path} exists already; choose another name or delete it first.")


def save_result(dataset: xr.Dataset, path: str | Path) -> Path:
    """Write a result as a zarr store; it appears under its name when it is complete.

    Raises
    ------
    ResultError
        The place is taken, or cannot be written.
    """
    path = Path(path)
    aside = _beside(path, "part")
    try:
        with _disk_errors(path):
            if path.exists():
                raise _taken(path)
            _remove_folder(aside)
            _cleaned(dataset).to_zarr(aside, mode="w", zarr_format=3, consolidated=False)
            os.replace(aside, path)
    finally:
        _remove_folder(aside)
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
    _locked: bool = field(default=False, init=False)

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
        store = cls(Path(path), provenance, bands)
        with _disk_errors(store.path):
            store.path.parent.mkdir(parents=True, exist_ok=True)
            store._lock()
            try:
                if store.path.exists():
                    store._resume()
                else:
                    store._create(template)
            except BaseException:
                store.release()
                raise
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
        """Add what is known only at the end, close the journal, and drop what served until then."""
        with _disk_errors(self.path):
            extra.to_zarr(self.path, mode="a", zarr_format=3, consolidated=False)
            # The journal goes first: with it, a store without its scratch could not be gone on with.
            _beside(self.path, "journal").unlink(missing_ok=True)
            for name in scratch:
                shutil.rmtree(self.path / name, ignore_errors=True)
        self.release()

    def release(self) -> None:
        """Let another run have the store."""
        if self._locked:
            self._locked = False
            with contextlib.suppress(OSError):
                _beside(self.path, "lock").unlink(missing_ok=True)

    def _create(self, template: xr.Dataset) -> None:
        need = sum(array.nbytes for array in template.variables.values())
        folder = self.path.parent
        free = shutil.disk_usage(folder).free
        if need > 2 * free:
            raise ResultError(
                f"The result takes up to {need / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB; "
                "free space, choose another folder, or keep the maps alone."
            )
        # Made aside and renamed when its journal is there: half a store would block the place.
        aside = _beside(self.path, "part")
        try:
            _remove_folder(aside)
            template.to_zarr(aside, mode="w", zarr_format=3, consolidated=False, compute=False)
            self._write_journal()
            os.replace(aside, self.path)
        except BaseException:
            _remove_folder(aside)
            for suffix in ("journal.part", "journal"):
                with contextlib.suppress(OSError):
                    _beside(self.path, suffix).unlink(missing_ok=True)
            raise

    def _resume(self) -> None:
        journal = _beside(self.path, "journal")
        try:
            entries = json.loads(journal.read_text())
            finished, provenance = {int(index) for index in entries["finished"]}, dict(entries["provenance"])
            bands = [(int(first), int(last)) for first, last in entries["bands"]]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise _taken(self.path) from error
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
        self._locked = _take(lock) or (_set_aside_stale(lock) and _take(lock))
        if not self._locked:
            raise ResultError(
                f"Another run is writing to {self.path}; wait for it or choose another name "
                f"(if no such run exists, delete {lock})."
            )

    def _write_journal(self) -> None:
        aside = _beside(self.path, "journal.part")
        entries = {"provenance": self.provenance, "bands": self.bands, "finished": sorted(self.finished)}
        aside.write_text(json.dumps(entries))
        os.replace(aside, _beside(self.path, "journal"))


def _take(lock: Path) -> bool:
    """Make the lock file; False where it is already."""
    try:
        file = lock.open("x")
    except FileExistsError:
        return False
    try:
        with file:
            file.write(f"{socket.gethostname()} {os.getpid()}")
    except OSError:
        lock.unlink(missing_ok=True)
        raise
    return True


def _set_aside_stale(lock: Path) -> bool:
    """Remove the lock of a run that is no more; False where the run may be at work."""
    try:
        content = lock.read_text()
        if not content:
            # A run writes its name right after it makes the lock; one without a name died in between.
            time.sleep(0.2)
            content = lock.read_text()
        if content:
            host, process = content.split()
            if host != socket.gethostname() or _alive(int(process)):
                return False
    except FileNotFoundError:
        return True
    except (ValueError, OverflowError):
        return False
    # Of several runs that find the lock stale, one alone can rename it.
    aside = lock.with_name(f"{lock.name}.{os.getpid()}")
    try:
        os.replace(lock, aside)
    except FileNotFoundError:
        return True
    if aside.read_text() != content:
        # Another run took the stale lock over since it was read: this one is that run's.
        os.replace(aside, lock)
        return False
    aside.unlink()
    return True


def _alive(process: int) -> bool:
    """Whether a process of this machine runs."""
    if sys.platform == "win32":
        return _alive_on_windows(process)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if sys.platform == "win32":

    def _alive_on_windows(process: int) -> bool:
        # Signal 0 would end the process there.
        import ctypes

        query_limited_information, still_active, access_denied = 0x1000, 259, 5
        system = ctypes.WinDLL("kernel32", use_last_error=True)
        system.OpenProcess.restype = ctypes.c_void_p
        handle = system.OpenProcess(query_limited_information, False, process)
        if not handle:
            return ctypes.get_last_error() == access_denied
        code = ctypes.c_ulong()
        told = system.GetExitCodeProcess(ctypes.c_void_p(handle), ctypes.byref(code))
        system.CloseHandle(ctypes.c_void_p(handle))
        return not told or code.value == still_active


def plain_attributes(attributes: dict[str, Any]) -> dict[str, Any]:
    """Attributes as JSON can hold them; None is left out."""
    kept = {key: value for key, value in attributes.items() if value is not None}
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in kept.items()}
