"""Result stores: zarr groups that xarray opens by itself, written band by band."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from ..errors import ResultError
from .results_probe import is_result_store
from .run_lock import take_lock

# Variables so named are needed until all bands are written.
SCRATCH = "scratch_"
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
    scratch = [name for name in opened.data_vars if str(name).startswith(SCRATCH)]
    return opened.drop_vars(scratch)


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
    with store_errors(path):
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
        with store_errors(path):
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
def store_errors(path: Path, then: str = "free space or choose another folder") -> Iterator[None]:
    """An error of the system becomes a `ResultError` that names the store and says what to do `then`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise ResultError(f"The result cannot be written to {path} ({reason}); {then}.") from error


def write_region(path: Path, block: xr.Dataset, region: dict[str, slice]) -> None:
    """Write a region of a store, and see it on the disk; of several processes each may write its own."""
    block = block.drop_vars(list(block.coords))
    # An empty chunk is written too: one that is missing is then one that was lost.
    block.to_zarr(path, region=region, zarr_format=3, consolidated=False, write_empty_chunks=True)
    for file in region_files(path, list(block.data_vars), region):
        _settle(file)


def region_files(path: Path, names: Iterable[Any], region: dict[str, slice]) -> Iterator[Path]:
    """The files of the chunks that hold a region of some variables, whether they are there or not."""
    for name in names:
        array = zarr.open_array(path / str(name), mode="r", zarr_format=3)
        dims: Sequence[Any] = getattr(array.metadata, "dimension_names", None) or ()
        spans = [region.get(dim, slice(0, size)) for dim, size in zip(dims, array.shape, strict=True)]
        chunks = [
            range(span.start // each, -(-span.stop // each))
            for span, each in zip(spans, array.chunks, strict=True)
        ]
        for place in itertools.product(*chunks):
            yield path.joinpath(str(name), "c", *map(str, place))


def _settle(file: Path) -> None:
    """Wait until a file is on the disk: a journal must not outlive what it tells of in a power cut."""
    with file.open("r+b") as opened:
        os.fsync(opened.fileno())


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
        What is written piece by piece: [first, last) along one axis or several; of a resumed store, those
        that it was begun with.
    finished : set of int
        Bands that are written.
    need : int
        Bytes of the whole result, uncompressed.
    """

    path: Path
    provenance: dict[str, Any]
    bands: list[tuple[int, ...]]
    need: int = 0
    finished: set[int] = field(default_factory=set)
    _locked: bool = field(default=False, init=False)

    @classmethod
    def create_or_resume(
        cls,
        path: str | Path,
        template: xr.Dataset,
        provenance: dict[str, Any],
        bands: Sequence[tuple[int, ...]],
    ) -> ResultStore:
        """Make the store, or take up one that was left unfinished by the same analysis.

        Parameters
        ----------
        template : Dataset
            Lazy arrays of the final sizes, chunked as they will be written.

        Raises
        ------
        ResultError
            The place is taken by something else or by an unfinished run of another provenance, the store
            is damaged, another run is at work, or the disk is too small.
        """
        need = sum(array.nbytes for array in template.variables.values())
        store = cls(Path(path), provenance, list(bands), need)
        with store_errors(store.path):
            store.path.parent.mkdir(parents=True, exist_ok=True)
            store._lock()
            try:
                if store.path.exists():
                    store._resume(template)
                else:
                    store._create(template)
            except BaseException:
                store.release()
                raise
        return store

    def write(self, block: xr.Dataset, region: dict[str, slice]) -> None:
        """Write a region; it counts when its band is noted."""
        with self._full_disk():
            write_region(self.path, block, region)

    def note(self, index: int) -> None:
        """Note in the journal that a band is written."""
        with self._full_disk():
            self.finished.add(index)
            self._write_journal()

    def check_written(self, region: dict[str, slice], names: Iterable[str]) -> None:
        """Raise `ResultError` where a finished region lacks a part: the store was damaged since."""
        for file in region_files(self.path, names, region):
            if not file.is_file():
                raise ResultError(
                    f"{self.path} is damaged ({file.relative_to(self.path)} is missing); "
                    "delete it and run the analysis again."
                )

    def finish(self, extra: xr.Dataset) -> None:
        """Add what is known only at the end, close the journal, and drop what served until then."""
        with self._full_disk():
            extra.to_zarr(self.path, mode="a", zarr_format=3, consolidated=False)
            # The journal goes first: with it, a store without its scratch could not be gone on with.
            _beside(self.path, "journal").unlink(missing_ok=True)
            for folder in self.path.glob(f"{SCRATCH}*"):
                shutil.rmtree(folder, ignore_errors=True)
        self.release()

    def release(self) -> None:
        """Let another run have the store."""
        if self._locked:
            self._locked = False
            with contextlib.suppress(OSError):
                _beside(self.path, "lock").unlink(missing_ok=True)

    def _full_disk(self) -> contextlib.AbstractContextManager[None]:
        """Errors of writing with what is needed and what becomes of what there is."""
        left = self.need * (1 - len(self.finished) / max(len(self.bands), 1))
        return store_errors(
            self.path,
            f"it may need {_gigabytes(left)} more; what is finished is kept: free space and run the same "
            "analysis again to go on",
        )

    def _create(self, template: xr.Dataset) -> None:
        free = _free_bytes(self.path.parent)
        if self.need > free:
            raise ResultError(
                f"The result takes up to {_gigabytes(self.need)}, and {self.path.parent} has "
                f"{_gigabytes(free)}; free space, choose another folder, store z(t) in float16, or keep the "
                "maps alone."
            )
        # Made aside and renamed when its journal is there: half a store would block the place.
        aside = _beside(self.path, "part")
        try:
            _remove_folder(aside)
            template.to_zarr(aside, mode="w", zarr_format=3, consolidated=False, compute=False)
            for file in aside.rglob("*"):
                if file.is_file():
                    _settle(file)
            self._write_journal()
            os.replace(aside, self.path)
        except BaseException:
            _remove_folder(aside)
            for suffix in ("journal.part", "journal"):
                with contextlib.suppress(OSError):
                    _beside(self.path, suffix).unlink(missing_ok=True)
            raise

    def _resume(self, template: xr.Dataset) -> None:
        journal = _beside(self.path, "journal")
        try:
            entries = json.loads(journal.read_text())
            finished, provenance = {int(index) for index in entries["finished"]}, dict(entries["provenance"])
            bands = [tuple(int(edge) for edge in band) for band in entries["bands"]]
        except FileNotFoundError as error:
            raise _taken(self.path) from error
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ResultError(
                f"The journal {journal} of an unfinished run is damaged; delete it and {self.path.name}, and "
                "run the analysis again."
            ) from error
        wanted = json.loads(json.dumps(self.provenance))
        differing = sorted(key for key in wanted if provenance.get(key) != wanted[key])
        if differing:
            raise ResultError(
                f"{self.path} holds an unfinished run with another {', '.join(differing)}; "
                "choose another name or delete it first."
            )
        self._check_arrays(template)
        self.finished, self.bands = finished, bands

    def _check_arrays(self, template: xr.Dataset) -> None:
        """Raise `ResultError` unless the store has the arrays of the template."""
        for name, array in template.variables.items():
            try:
                shape: object = zarr.open_array(self.path / str(name), mode="r").shape
            except Exception:
                shape = None
            if shape != array.shape:
                found = "is missing or damaged" if shape is None else f"has the shape {shape}"
                raise ResultError(
                    f"{self.path} is damaged (its {name} {found}); delete it and run the analysis again."
                )

    def _lock(self) -> None:
        lock = _beside(self.path, "lock")
        self._locked = take_lock(lock)
        if not self._locked:
            raise ResultError(
                f"Another run is writing to {self.path}; wait for it or choose another name "
                f"(if no such run exists, delete {lock})."
            )

    def _write_journal(self) -> None:
        aside = _beside(self.path, "journal.part")
        entries = {"provenance": self.provenance, "bands": self.bands, "finished": sorted(self.finished)}
        aside.write_text(json.dumps(entries))
        _settle(aside)
        os.replace(aside, _beside(self.path, "journal"))


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size > 1e8 else f"{size / 1e6:.1f} MB"


def plain_attributes(attributes: dict[str, Any]) -> dict[str, Any]:
    """Attributes as JSON can hold them; None is left out."""
    kept = {key: value for key, value in attributes.items() if value is not None}
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in kept.items()}
