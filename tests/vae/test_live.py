"""Analysis while frames are recorded: real files, written while the generator is driven."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import napari_hrtem_vae as hv
from napari_hrtem_vae.errors import (
    CancelledError,
    ParameterError,
    ResultError,
    VideoFileError,
    VideoShapeError,
)
from napari_hrtem_vae.io import growing
from napari_hrtem_vae.progress import run
from napari_hrtem_vae.vae import live_reading
from napari_hrtem_vae.vae.live import GONE, Update, watch_steps
from napari_hrtem_vae.vae.live_parameters import WatchParameters
from napari_hrtem_vae.vae.parameters import AnalyzeParameters

PARAMETERS = AnalyzeParameters(step=8, device="cpu")


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """No frame is skipped for want of time, however busy the machine is."""
    monkeypatch.setattr(live_reading, "_MOST_WAITING_S", 1e6)


def frames_of(count: int, seed: int = 0) -> np.ndarray:
    """Counts with a bright disc that moves to the right, as bright in all frames: (count, 104, 120)."""
    y, x = np.mgrid[:104, :120]
    centres = np.linspace(30, 90, count)[:, None, None]
    disc = np.hypot(y - 52, x - centres) <= 12
    return np.random.default_rng(seed).poisson(20 + 30 * disc).astype(np.uint16)


def write(folder: Path, frames: np.ndarray, numbers: range | list[int] | None = None) -> None:
    """Each frame aside, and renamed."""
    folder.mkdir(exist_ok=True)
    for number, frame in zip(numbers if numbers is not None else count(), frames, strict=False):
        np.save(folder / "aside.part.npy", frame)
        os.replace(folder / "aside.part.npy", folder / f"frame_{number:04d}.npy")


def drive(steps, react: Callable[[Update], None] = lambda _: None) -> tuple[xr.Dataset, list[Update]]:
    """Run to the end; `react` gets each update that brings maps."""
    updates: list[Update] = []

    def note(progress) -> None:
        assert isinstance(progress, Update)
        if progress.finished is not None:
            updates.append(progress)
            react(progress)

    return run(steps, on_progress=note), updates


def likeness(result: xr.Dataset) -> np.ndarray:
    """Correlation of each frame's z with each other's: tells their order, whatever the grey range."""
    z = result["z"].values - result["z"].values.mean(0)
    return np.corrcoef(z.reshape(len(z), -1))


def test_frames_are_encoded_as_analyze_does(tmp_path: Path, fast_model) -> None:
    frames = frames_of(8)
    write(tmp_path, frames)
    watching = WatchParameters(until=8, pixel_size_nm=0.014, frame_time_s=0.1)
    result, updates = drive(watch_steps(tmp_path, fast_model, PARAMETERS, watching))
    video = hv.open_video(frames, pixel_size_nm=0.014, frame_time_s=0.1)
    expected = hv.analyze(video, fast_model, step=8, device="cpu")
    for name in ("z", "variance", "spearman", "change", "hotspot_strength"):
        np.testing.assert_allclose(result[name], expected[name], rtol=2e-4, atol=2e-4, err_msg=name)
    for name in ("time", "y", "x", "latent"):
        np.testing.assert_allclose(result[name], expected[name])
        assert result[name].attrs == expected[name].attrs
    assert updates[-1].counts.frames == updates[-1].counts.landed == 8
    assert [path.name for path in updates[-1].files] == [f"frame_{n:04d}.npy" for n in range(8)]


def test_frames_that_land_while_it_runs_are_taken_in_order(tmp_path: Path, fast_model) -> None:
    frames = frames_of(20)
    write(tmp_path, frames[:5])
    parts = iter([[6, 5], [9, 7, 8], [10, 12, 11, 13], [14, 15, 16, 17, 18, 19]])

    def land(_: Update) -> None:
        numbers = next(parts, [])
        write(tmp_path, frames[numbers], numbers)

    result, updates = drive(
        watch_steps(tmp_path, fast_model, PARAMETERS, WatchParameters(until=20)), react=land
    )
    assert len(updates) >= 5
    told = [update.counts.frames for update in updates]
    assert told == sorted(told)
    assert np.isfinite(result["z"]).all()
    assert result.sizes["time"] == 20
    again, _ = drive(watch_steps(tmp_path, fast_model, PARAMETERS, WatchParameters(until=20)))
    np.testing.assert_allclose(likeness(result), likeness(again), atol=0.05)


def test_memory_holds_the_last_frames_and_the_store_all(tmp_path: Path, fast_model) -> None:
    folder, store = tmp_path / "frames", tmp_path / "r.zarr"
    frames = frames_of(45)
    write(folder, frames[:10])
    landed = iter(range(10, 45, 7))

    def land(update: Update) -> None:
        assert update.finished is not None
        assert update.finished.sizes["time"] <= 10
        start = next(landed, None)
        if start is not None:
            write(folder, frames[start : start + 7], range(start, start + 7))

    watching = WatchParameters(last=10, until=45)
    result, updates = drive(watch_steps(folder, fast_model, PARAMETERS, watching, store=store), react=land)
    assert result["z"].shape[0] == 45
    assert np.isfinite(result["z"]).all()
    last = updates[-1].finished
    assert last is not None
    np.testing.assert_array_equal(result["z"][-10:], last["z"])
    np.testing.assert_array_equal(result["change"], last["change"])
    assert len(updates[-1].files) == 45
    opened = hv.open_result(store)
    assert opened.sizes["time"] == 45
    np.testing.assert_allclose(opened["time"], np.arange(45))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_of_frames_that_were_there_before_the_last_are_analysed(tmp_path: Path, fast_model) -> None:
    folder = tmp_path / "frames"
    write(folder, frames_of(30))
    watching = WatchParameters(last=10, until=30)
    steps = watch_steps(folder, fast_model, PARAMETERS, watching, store=tmp_path / "r.zarr")
    result, updates = drive(steps)
    assert (updates[-1].counts.earlier, updates[-1].counts.frames) == (20, 10)
    finite = np.isfinite(result["z"].values).all(axis=(1, 2, 3))
    assert finite.tolist() == [False] * 20 + [True] * 10
    assert any("left to analyze" in notice for notice in result.attrs["notices"])


def test_what_cannot_be_used_is_counted_and_harms_nothing(tmp_path: Path, fast_model, monkeypatch) -> None:
    monkeypatch.setattr(growing, "PATIENCE_S", 0.5)
    frames = frames_of(16)
    write(tmp_path, frames)
    (tmp_path / "frame_0004.npy").write_bytes(b"no array")
    np.save(tmp_path / "frame_0007.npy", frames[7, :90])
    np.save(tmp_path / "frame_0009.npy", np.zeros_like(frames[9]))
    np.save(tmp_path / "reference.npy", frames[0])
    (tmp_path / "frame_0012.npy").unlink()
    result, updates = drive(watch_steps(tmp_path, fast_model, PARAMETERS, WatchParameters(until=15)))
    counts = json.loads(result.attrs["watch"])
    told = {"landed": 15, "frames": 13, "waiting": 0, "broken": 1, "other_size": 1, "unusable": 1}
    assert {name: counts[name] for name in told} == told
    assert (counts["foreign"], counts["missing"]) == (1, 1)
    finite = np.isfinite(result["z"].values).all(axis=(1, 2, 3))
    assert finite.tolist() == [True] * 7 + [False] + [True] * 5
    told = " ".join(result.attrs["notices"])
    for words in ("cannot be read", "another size", "constant", "missing", "other names"):
        assert words in told
    files = [path.name for path in updates[-1].files]
    assert "frame_0004.npy" not in files
    assert "frame_0007.npy" not in files


def test_late_file_takes_its_place_and_a_changed_one_is_read_again(tmp_path: Path, fast_model) -> None:
    frames = frames_of(12)
    write(tmp_path, frames[[0, 1, 2, 4, 0, 6]], [0, 1, 2, 4, 5, 6])
    seen: list[xr.DataArray] = []

    def mend(update: Update) -> None:
        if not seen:
            write(tmp_path, frames[[3, 5]], [3, 5])
        assert update.finished is not None
        seen.append(update.finished["z"])

    def enough() -> bool:
        """Whether both are in the last maps: a seventh frame, and another one in place of 5."""
        return bool(seen) and len(seen[-1]) == 7 and not np.array_equal(seen[-1][5], seen[0][4])

    result, _ = drive(watch_steps(tmp_path, fast_model, PARAMETERS, stop=enough), react=mend)
    whole, _ = drive(watch_steps(tmp_path, fast_model, PARAMETERS, WatchParameters(until=7)))
    assert result.sizes["time"] == 7
    np.testing.assert_allclose(likeness(result), likeness(whole), atol=0.05)


def test_frames_with_the_beam_off_are_left_out(tmp_path: Path, fast_model) -> None:
    frames = frames_of(12)
    write(tmp_path, frames)
    np.save(tmp_path / "frame_0010.npy", np.random.default_rng(1).poisson(0.5, frames[0].shape))
    result, _ = drive(watch_steps(tmp_path, fast_model, PARAMETERS, WatchParameters(until=12)))
    finite = np.isfinite(result["z"].values).all(axis=(1, 2, 3))
    assert finite.tolist() == [True] * 10 + [False, True]


def test_recording_may_begin_with_frames_that_show_nothing(tmp_path: Path, fast_model) -> None:
    frames = frames_of(20)
    frames[:9] = 3
    write(tmp_path, frames)
    result, _ = drive(watch_steps(tmp_path, fast_model, PARAMETERS, WatchParameters(until=20)))
    finite = np.isfinite(result["z"].values).all(axis=(1, 2, 3))
    assert finite.tolist() == [False] * 9 + [True] * 11


def test_frames_that_come_too_fast_are_skipped_evenly_and_counted(
    tmp_path: Path, fast_model, monkeypatch
) -> None:
    monkeypatch.setattr(live_reading, "_MOST_WAITING_S", 1e-6)
    frames = frames_of(60)
    write(tmp_path, frames[:40])
    landed = []

    def land(update: Update) -> None:
        if not landed:
            landed.append(update)
            write(tmp_path, frames[40:], range(40, 60))

    result, updates = drive(
        watch_steps(tmp_path, fast_model, PARAMETERS, WatchParameters(until=60)), react=land
    )
    counts = updates[-1].counts
    assert counts.skipped > 0
    assert counts.frames + counts.skipped == counts.landed == 60
    finite = np.isfinite(result["z"].values).all(axis=(1, 2, 3))
    # What was there at the beginning is never skipped, nor is the newest frame.
    assert finite[:40].all()
    assert finite[-1]
    assert (~finite).sum() == counts.skipped
    assert any("faster than this computer" in notice for notice in result.attrs["notices"])


def test_stop_keeps_what_was_done(tmp_path: Path, fast_model) -> None:
    folder, store = tmp_path / "frames", tmp_path / "r.zarr"
    write(folder, frames_of(12))
    seen: list[Update] = []
    steps = watch_steps(folder, fast_model, PARAMETERS, store=store, stop=lambda: bool(seen))
    result, _ = drive(steps, react=seen.append)
    assert result.attrs["ended"] == "stopped"
    assert hv.open_result(store).sizes["time"] == result.sizes["time"] >= 4
    assert "change" in hv.open_result(store)


def test_closing_leaves_nothing_behind(tmp_path: Path, fast_model) -> None:
    folder = tmp_path / "frames"
    write(folder, frames_of(12))
    steps = watch_steps(folder, fast_model, PARAMETERS, store=tmp_path / "r.zarr")
    while next(steps).finished is None:
        pass
    steps.close()
    assert list(tmp_path.iterdir()) == [folder]


def test_deleted_folder_ends_the_watch_and_keeps_what_was_done(
    tmp_path: Path, fast_model, monkeypatch
) -> None:
    monkeypatch.setattr(growing, "_GONE_S", 0.3)
    folder, store = tmp_path / "frames", tmp_path / "r.zarr"
    write(folder, frames_of(10))
    steps = watch_steps(folder, fast_model, PARAMETERS, store=store)
    result, _ = drive(steps, react=lambda _: shutil.rmtree(folder, ignore_errors=True))
    assert result.attrs["ended"] == GONE
    assert "is gone" in result.attrs["notices"][-1]
    assert hv.open_result(store).sizes["time"] >= 4


def test_few_frames_have_z_but_no_maps(tmp_path: Path, fast_model) -> None:
    write(tmp_path, frames_of(2))
    result, updates = drive(watch_steps(tmp_path, fast_model, PARAMETERS, WatchParameters(until=2)))
    assert updates == []
    assert list(result.data_vars) == ["z"]


def test_nothing_that_lands_is_said(tmp_path: Path, fast_model) -> None:
    with pytest.raises(VideoFileError, match="No frame has landed"):
        run(watch_steps(tmp_path, fast_model, PARAMETERS, WatchParameters(idle=0.2)))
    with pytest.raises(CancelledError, match="before a frame had landed"):
        run(watch_steps(tmp_path, fast_model, PARAMETERS, stop=lambda: True))


def test_idle_waits_for_files_that_are_not_whole(tmp_path: Path, fast_model, monkeypatch) -> None:
    monkeypatch.setattr(growing, "PATIENCE_S", 1e6)
    frames = frames_of(9)
    write(tmp_path, frames)
    whole = (tmp_path / "frame_0008.npy").read_bytes()
    (tmp_path / "frame_0008.npy").write_bytes(whole[:1000])
    seen: list[Update] = []

    def complete(update: Update) -> None:
        if not seen:
            (tmp_path / "frame_0008.npy").write_bytes(whole)
        seen.append(update)

    result, _ = drive(
        watch_steps(tmp_path, fast_model, PARAMETERS, WatchParameters(idle=0.5)), react=complete
    )
    assert seen[0].counts.waiting == 1
    assert result.sizes["time"] == 9


def test_what_cannot_work_is_refused(tmp_path: Path, fast_model) -> None:
    folder = tmp_path / "frames"
    write(folder, frames_of(8))
    with pytest.raises(ParameterError, match=r"last is 100, and z .* give \d+ or fewer"):
        run(watch_steps(folder, fast_model, AnalyzeParameters(memory_gb=0.004), WatchParameters()))
    with pytest.raises(ParameterError, match="drift"):
        run(watch_steps(folder, fast_model, AnalyzeParameters(drift="rigid"), WatchParameters()))
    (tmp_path / "taken.zarr").mkdir()
    with pytest.raises(ResultError, match="exists already"):
        run(watch_steps(folder, fast_model, PARAMETERS, store=tmp_path / "taken.zarr"))
    small = tmp_path / "small"
    write(small, frames_of(8)[:, :40, :40])
    with pytest.raises(VideoShapeError, match="smaller than the model's window"):
        run(watch_steps(small, fast_model, PARAMETERS))


@pytest.mark.parametrize(
    "values",
    [{"last": 7}, {"last": 1.5}, {"pattern": "a/b"}, {"until": 0}, {"idle": -1.0}, {"frame_time_s": 0}],
)
def test_parameters_out_of_range_are_refused(values) -> None:
    with pytest.raises(ParameterError, match=next(iter(values))):
        WatchParameters(**values)


def test_name_that_was_taken_meanwhile_gets_a_number(tmp_path: Path, fast_model) -> None:
    folder, store = tmp_path / "frames", tmp_path / "r.zarr"
    write(folder, frames_of(8))
    steps = watch_steps(folder, fast_model, PARAMETERS, WatchParameters(until=8), store=store)
    next(steps)
    store.mkdir()
    result, _ = drive(steps)
    assert result.sizes["time"] == 8
    assert hv.open_result(tmp_path / "r-2.zarr").sizes["time"] == 8
