"""Result stores: places, locks, crashes and full disks; coordinates of foreign stores."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr

from napari_hrtem_vae.errors import ResultError
from napari_hrtem_vae.io import is_result_store, open_video, run_lock
from napari_hrtem_vae.io.results import ResultStore, check_place, open_result, save_result
from napari_hrtem_vae.io.results_probe import RESULT_KEY

LATE = xr.Dataset({"change": ("y", np.ones(4))}, attrs={RESULT_KEY: "analysis"})


def begin(path: Path, **provenance: str) -> ResultStore:
    template = xr.Dataset(coords={"y": np.arange(4.0)}, attrs={RESULT_KEY: "analysis"})
    for name in ("variance", "scratch_p"):
        template[name] = ("y", da.full(4, np.nan, chunks=2))
    return ResultStore.create_or_resume(path, template, provenance or {"model": "a"}, [(0, 2), (2, 4)])


def write(store: ResultStore, band: int) -> None:
    rows = slice(*store.bands[band])
    store.write(
        xr.Dataset({name: ("y", np.full(2, band + 1.0)) for name in ("variance", "scratch_p")}), {"y": rows}
    )
    store.note(band)


def leave_lock(path: Path, content: str) -> Path:
    lock = path.with_name(f".{path.name}.lock")
    lock.write_text(content)
    return lock


def stale() -> str:
    """The lock of a process of this machine that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return f"{socket.gethostname()} {ended.pid}"


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


@contextlib.contextmanager
def no_file_over(size: int) -> Iterator[None]:
    """Writes fail beyond `size` bytes of a file, as they do on a full disk."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "r.zarr"


def test_store_is_resumed_where_it_was_left_and_leaves_nothing_beside_it(path: Path) -> None:
    first = begin(path)
    write(first, 0)
    first.release()
    with pytest.raises(ResultError, match="has not ended"):
        open_result(path)
    second = begin(path)
    assert second.finished == {0}
    write(second, 1)
    second.finish(LATE)
    opened = open_result(path)
    assert set(opened.data_vars) == {"variance", "change"}
    np.testing.assert_array_equal(opened["variance"], [1, 1, 2, 2])
    assert names(path.parent) == {"r.zarr"}


def test_crash_while_the_scratch_is_removed_leaves_a_finished_result(path: Path, monkeypatch) -> None:
    store = begin(path)
    for band in (0, 1):
        write(store, band)

    def crash(*_: object, **__: object) -> None:
        (path / "scratch_p" / "c" / "0").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", crash)
    with pytest.raises(KeyboardInterrupt):
        store.finish(LATE)
    monkeypatch.undo()
    opened = open_result(path)
    assert set(opened.data_vars) == {"variance", "change"}
    np.testing.assert_array_equal(opened["variance"], [1, 1, 2, 2])


def test_run_at_work_is_told_before_its_journal_is_read(path: Path) -> None:
    first = begin(path)
    with pytest.raises(ResultError, match="Another run is writing"):
        begin(path, model="b")
    first.release()
    with pytest.raises(ResultError, match="unfinished run with another model"):
        begin(path, model="b")
    assert names(path.parent) == {"r.zarr", ".r.zarr.journal"}


def test_store_that_is_refused_keeps_the_lock_of_the_other_run(path: Path) -> None:
    first = begin(path)
    with pytest.raises(ResultError):
        begin(path)
    assert ".r.zarr.lock" in names(path.parent)
    first.release()
    second = begin(path)
    # A run that lets go twice does not let go for the next one.
    first.release()
    with pytest.raises(ResultError, match="Another run"):
        begin(path)
    second.release()


@pytest.mark.parametrize("content", ["", "stale"])
def test_lock_of_a_run_that_died_is_taken_over(path: Path, content: str) -> None:
    begin(path).release()
    leave_lock(path, content and stale())
    begin(path).release()
    assert names(path.parent) == {"r.zarr", ".r.zarr.journal"}


@pytest.mark.parametrize(
    "content", ["another-machine 1", "what is this", f"{socket.gethostname()} 9" + "9" * 40]
)
def test_lock_that_may_be_in_use_is_named(path: Path, content: str) -> None:
    lock = leave_lock(path, content)
    with pytest.raises(ResultError, match=r"delete .*\.r\.zarr\.lock"):
        begin(path)
    assert lock.read_text() == content


def test_of_two_runs_that_find_a_stale_lock_one_takes_it(path: Path, monkeypatch) -> None:
    begin(path).release()
    leave_lock(path, stale())
    others: list[ResultStore] = []

    def dead_but_taken_over_meanwhile(_: int) -> bool:
        if not others:
            others.append(None)  # type: ignore[arg-type]
            others[0] = begin(path)
        return False

    monkeypatch.setattr(run_lock, "_alive", dead_but_taken_over_meanwhile)
    with pytest.raises(ResultError, match="Another run"):
        begin(path)
    monkeypatch.undo()
    with pytest.raises(ResultError, match="Another run"):
        begin(path)
    others[0].release()
    begin(path)


@pytest.mark.parametrize("size", [0, 300, 50_000])
def test_full_disk_at_the_start_leaves_the_place_free(path: Path, size: int) -> None:
    with no_file_over(size), pytest.raises(ResultError, match="cannot be written"):
        begin(path, model="a" * 100_000)
    assert names(path.parent) == set()
    begin(path).release()


def test_full_disk_when_a_run_is_resumed_is_a_sentence(path: Path) -> None:
    begin(path).release()
    with no_file_over(0), pytest.raises(ResultError, match=r"r\.zarr \(.*free space"):
        begin(path)
    assert begin(path).finished == set()


def test_place_is_checked_without_making_anything(tmp_path: Path, path: Path) -> None:
    check_place(path)
    check_place(tmp_path / "new" / "folders" / "r.zarr")
    assert names(tmp_path) == set()
    path.mkdir()
    with pytest.raises(ResultError, match=r"r\.zarr exists already"):
        check_place(path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match="cannot be written"):
        check_place(tmp_path / "file" / "r.zarr")
    with pytest.raises(ResultError, match="cannot be written"):
        check_place(tmp_path / ("long" * 100))


def test_place_of_an_unfinished_run_is_free_for_that_run_alone(path: Path) -> None:
    begin(path).release()
    check_place(path)
    with pytest.raises(ResultError, match="exists already"):
        check_place(path, resumable=False)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is a folder that nobody can write")
def test_folder_that_cannot_be_written_is_told() -> None:
    with pytest.raises(ResultError, match="cannot be written"):
        check_place("/proc/r.zarr")
    with pytest.raises(ResultError, match="cannot be written"):
        save_result(xr.Dataset(), "/proc/r.zarr")
    with pytest.raises(ResultError, match="cannot be written"):
        begin(Path("/proc/r.zarr"))


def test_group_with_metadata_nested_too_deeply_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "zarr.json").write_text("[" * 100_000)
    assert not is_result_store(tmp_path)


def foreign_store(path: Path, x: int, time: list[float]) -> Path:
    """A video (5, 8, 8) with coordinates; x is declared with `x` values, none of them stored beyond eight."""
    group = zarr.open_group(path, mode="w")
    group.create_array("video", data=np.ones((5, 8, 8), np.uint16), dimension_names=("time", "y", "x"))
    for name, values, unit in (("time", time, "s"), ("y", np.arange(8) * 0.1, "nm")):
        group.create_array(name, data=np.asarray(values, float)).attrs["units"] = unit
    array = group.create_array("x", shape=(x,), chunks=(8,), dtype=float)
    array[:8] = np.arange(8) * 0.1
    array.attrs["units"] = "nm"
    return path


def test_coordinate_of_another_length_than_the_video_is_not_read(tmp_path: Path) -> None:
    video = open_video(foreign_store(tmp_path / "v.zarr", 10**12, [0, 1, 2, 3, 4]))
    assert video.shape == (5, 8, 8)
    assert any("coordinate x has 1000000000000 values" in notice for notice in video.attrs["notices"])


@pytest.mark.parametrize(
    ("time", "step"), [([0, 2, 4, 6, 8], 2.0), ([0, 1, 2, 5, 6], 1.0), ([0, 3, 4, 5, 6], 1.0)]
)
def test_spacing_is_that_of_most_frames(tmp_path: Path, time: list[float], step: float) -> None:
    video = open_video(foreign_store(tmp_path / "v.zarr", 8, time))
    assert video.attrs["frame_time_s"] == pytest.approx(step)
    np.testing.assert_allclose(video["time"], time)
    assert video.attrs["pixel_size_nm"] == pytest.approx(0.1)
