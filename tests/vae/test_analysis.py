"""Encoding and analysis: both ways agree, bands and stores change nothing, bad videos get their sentence."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr
from scipy import stats

import napari_hrtem_vae as hv
from napari_hrtem_vae.errors import (
    CancelledError,
    DeviceError,
    ParameterError,
    ResultError,
    VideoFileError,
    VideoShapeError,
)
from napari_hrtem_vae.progress import run
from napari_hrtem_vae.vae.analysis import analyze_steps, encode_steps, site_grid
from napari_hrtem_vae.vae.encoding import precision_here
from napari_hrtem_vae.vae.parameters import AnalyzeParameters
from napari_hrtem_vae.video.scaling import scale_windows, smooth

from ..conftest import random_model, video_of


def test_one_pass_equals_window_by_window(video, fast_model) -> None:
    parameters = AnalyzeParameters()
    one_pass = run(encode_steps(video, fast_model, parameters))
    windows = run(encode_steps(video, fast_model, parameters, one_pass=False))
    np.testing.assert_allclose(one_pass, windows, atol=1e-4)


def test_window_scaling_equals_encoding_each_window_by_hand(video, window_model) -> None:
    field = hv.encode(video, window_model, outliers="off")
    for frame, row, column in [(0, 0, 0), (3, 2, 4), (7, 5, 7)]:
        window = video.values[frame, 8 * row : 8 * row + 64, 8 * column : 8 * column + 64].astype(np.float32)
        mean, _ = window_model.encode(scale_windows(window[None]))
        np.testing.assert_allclose(field.values[frame, row, column], mean[0], atol=1e-4)


def test_video_scaling_equals_encoding_smoothed_windows_by_hand(video, fast_model) -> None:
    field = hv.encode(video, fast_model, outliers="off")
    smoothed = np.stack([smooth(frame, 1.5) for frame in video.values])
    low, high = np.percentile(smoothed[:, ::2, ::2], (0.1, 99.9))
    window = np.clip((smoothed[2, 16:80, 24:88] - low) / (high - low), 0, 1)
    mean, _ = fast_model.encode(window[None].astype(np.float32))
    np.testing.assert_allclose(field.values[2, 2, 3], mean[0], atol=1e-4)


@pytest.mark.parametrize("step", [4, 8, 12, 16])
def test_any_step_gives_the_same_z_at_the_same_place(video, fast_model, step: int) -> None:
    fine = hv.encode(video, fast_model, step=4)
    coarse = hv.encode(video, fast_model, step=step)
    np.testing.assert_allclose(coarse.values, fine.values[:, :: step // 4, :: step // 4], atol=1e-4)
    np.testing.assert_allclose(coarse["x"], fine["x"][:: step // 4])


def test_sites_are_the_centres_of_windows(fast_model) -> None:
    video = video_of(np.ones((1, 100, 120)), pixel_size_nm=0.014, origin=3.0)
    grid = site_grid(video, fast_model.card, AnalyzeParameters())
    assert grid.shape == (5, 8)
    assert grid.y[0] == pytest.approx(3.0 + 31.5 * 0.014)
    assert np.diff(grid.x) == pytest.approx(8 * 0.014)


def test_enlarging_keeps_places_and_finds_what_the_fine_video_shows(fast_model) -> None:
    y, x = np.mgrid[:160, :192]
    fine = 10 + 3 * np.cos(2 * np.pi * x / 21) * np.cos(2 * np.pi * y / 25)
    coarse = fine.reshape(80, 2, 96, 2).mean((1, 3))
    near = hv.encode(video_of(fine[None], 0.014), fast_model, outliers="off")
    far = hv.encode(video_of(coarse[None], 0.028, origin=0.007), fast_model, outliers="off")
    np.testing.assert_allclose(far["y"], near["y"], atol=1e-9)
    np.testing.assert_allclose(far, near, atol=0.05 * float(near.std()))


def test_tiles_change_nothing(fast_model) -> None:
    video = video_of(np.random.default_rng(1).poisson(5, (120, 104, 96)).astype(np.uint16))
    whole = hv.analyze(video, fast_model)
    tiles: list[tuple[int, int]] = []

    def note(progress) -> None:
        if progress.finished is not None:
            tiles.append((progress.finished.sizes["y"], progress.finished.sizes["x"]))

    # Not enough for a row of sites, and for a video that is read row by row.
    parameters = AnalyzeParameters(memory_gb=0.0069, keep_field=False)
    tight = run(analyze_steps(video, fast_model, parameters), on_progress=note)
    assert len(tiles) > 6
    assert all(shape[0] == 1 and shape[1] < 5 for shape in tiles)
    for name in ("variance", "spearman"):
        np.testing.assert_allclose(tight[name], whole[name], atol=2e-3, err_msg=name)


def test_bright_object_is_the_same_in_every_band(fast_model) -> None:
    frames = np.random.default_rng(1).poisson(5, (5, 160, 96)).astype(np.float32)
    frames[:, 20:50, 20:50] += 200
    frames[2, 120, 40] = 900
    whole = hv.encode(video_of(frames), fast_model)
    steps = analyze_steps(video_of(frames), fast_model, AnalyzeParameters())
    banded = run(steps)["z"]
    np.testing.assert_allclose(banded, whole, atol=1e-4)


def test_beam_that_fades_is_no_change(fast_model) -> None:
    rng = np.random.default_rng(3)
    still = 100 + 30 * rng.random((96, 96))
    fading = rng.poisson(still * np.linspace(1, 0.9, 30)[:, None, None])
    levelled = hv.analyze(video_of(fading), fast_model)
    as_it_is = hv.analyze(video_of(fading), fast_model, level_beam=False)
    assert (levelled["change"].values < -np.log10(0.05)).all()
    assert (as_it_is["change"].values > -np.log10(0.05)).mean() > 0.5


def test_change_is_the_same_however_windows_are_scaled(fast_model) -> None:
    rng = np.random.default_rng(4)
    still = 100 + 30 * rng.random((240, 240))
    fading = video_of(rng.poisson(still * np.linspace(1, 0.8, 12)[:, None, None]))
    of_video, of_window = (
        hv.analyze(fading, fast_model, scaling=scaling, keep_field=False)["change_p"].values
        for scaling in ("video", "window")
    )
    np.testing.assert_array_equal(of_video, of_window)
    assert np.mean(of_video < 0.05) < 0.1


def unreadable_at(*starts: int) -> xr.DataArray:
    """Eight frames in chunks of two; chunks that begin at `starts` cannot be read."""

    def read(block_info):
        start = block_info[None]["array-location"][0][0]
        if start in starts:
            raise RuntimeError("Zstd decompression error")
        return np.random.default_rng(start).poisson(support, (2, 80, 80))

    # One picture in all frames: its drift can be told.
    support = 20 + 60 * np.random.default_rng(99).random((80, 80))
    lazy = da.map_blocks(
        read, chunks=((2, 2, 2, 2), (80,), (80,)), dtype=np.int64, meta=np.empty((0, 0, 0), int)
    )
    return video_of(lazy)


@pytest.mark.parametrize("drift", ["off", "rigid"])
def test_frames_that_cannot_be_read_are_marked_and_the_rest_is_done(fast_model, tmp_path, drift: str) -> None:
    result = hv.analyze(unreadable_at(4), fast_model, store=tmp_path / "r.zarr", drift=drift)
    lost = np.isnan(result["z"].values).all((1, 2, 3))
    assert {4, 5} <= set(np.flatnonzero(lost))
    assert result.attrs["unreadable_frames"] == [4, 5]
    assert any("2 frame(s) (4, 5) cannot be read" in notice for notice in result.attrs["notices"])
    if drift == "off":
        assert lost.sum() == 2
        # The grey range is of the frames that there are, and so is theirs.
        without = hv.analyze(unreadable_at()[[0, 1, 2, 3, 6, 7]], fast_model)
        np.testing.assert_allclose(result["z"].values[~lost], without["z"], atol=0.02)
        np.testing.assert_allclose(result["variance"], without["variance"], rtol=0.05, atol=1e-5)


def test_video_of_which_no_frame_can_be_read_is_refused(fast_model) -> None:
    with pytest.raises(VideoFileError, match=r"cannot be read .*Zstd decompression error"):
        hv.analyze(unreadable_at(0, 2, 4, 6), fast_model)


def test_unfinished_run_of_another_video_is_refused(fast_model, tmp_path) -> None:
    frames = np.random.default_rng(1).poisson(5, (6, 200, 96))
    path = tmp_path / "result.zarr"
    steps = analyze_steps(video_of(frames), fast_model, AnalyzeParameters(), store=path)
    while not path.exists():
        next(steps)
    steps.close()
    other = frames.copy()
    other[3] = frames[2]
    with pytest.raises(ResultError, match="another video"):
        hv.analyze(video_of(other), fast_model, store=path)


def test_taken_place_is_refused_before_a_frame_is_read(fast_model, tmp_path) -> None:
    def never(block_info):
        raise AssertionError("a frame was read")

    lazy = da.map_blocks(never, chunks=((2,), (80,), (80,)), dtype=np.int64, meta=np.empty((0, 0, 0), int))
    (tmp_path / "taken.zarr").mkdir()
    with pytest.raises(ResultError, match="exists already"):
        hv.analyze(video_of(lazy), fast_model, store=tmp_path / "taken.zarr")


def test_stop_does_not_wait_for_a_slow_disk(fast_model) -> None:
    def read(block_info):
        time.sleep(1.5)
        return np.ones((4, 80, 80), int)

    lazy = da.map_blocks(read, chunks=((4,) * 5, (80,), (80,)), dtype=np.int64, meta=np.empty((0, 0, 0), int))
    steps = analyze_steps(video_of(lazy)[:, :, :], fast_model, AnalyzeParameters())
    next(steps)
    began = time.perf_counter()
    steps.close()
    assert time.perf_counter() - began < 1


def test_maps_of_an_analysis_equal_numpy_and_scipy_on_its_field(video, fast_model) -> None:
    result = hv.analyze(video, fast_model)
    z = result["z"].values
    variance = z.astype(np.float64).var(0)
    rho = stats.spearmanr(z[:, 2, 3, 5], np.arange(len(z))).statistic
    np.testing.assert_allclose(result["variance"], variance, rtol=1e-5, atol=1e-9)
    assert result["spearman"].values[2, 3, 5] == pytest.approx(rho, abs=1e-5)
    expected = (rho * variance[2, 3, 5]) ** 2
    assert result["time_correlated_variance"].values[2, 3, 5] == pytest.approx(expected, rel=1e-4)


def test_finished_bands_cover_every_site_once(fast_model) -> None:
    video = tall_video()
    bands = []
    steps = analyze_steps(video, fast_model, AnalyzeParameters())
    result = run(steps, on_progress=lambda progress: bands.append(progress.finished))
    bands = [band for band in bands if band is not None]
    together = xr.concat(bands, "y")
    assert len(bands) > 1
    np.testing.assert_array_equal(together["y"], result["y"])
    xr.testing.assert_allclose(together["variance"], result["variance"])


def test_store_holds_what_memory_holds(video, fast_model, tmp_path) -> None:
    in_memory = hv.analyze(video, fast_model)
    on_disk = hv.analyze(video, fast_model, store=tmp_path / "result.zarr")
    again = hv.open_result(tmp_path / "result.zarr")
    for name in in_memory.data_vars:
        xr.testing.assert_identical(on_disk[name].load().drop_attrs(), in_memory[name].drop_attrs())
    assert set(again.data_vars) == set(in_memory.data_vars)
    assert again.attrs["model"] == "random"
    assert json.loads(again.attrs["parameters"])["step"] == 8
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.zarr"]


def tall_video() -> xr.DataArray:
    """99 rows of sites: three bands."""
    return video_of(np.random.default_rng(1).poisson(5, (6, 64 + 98 * 8, 80)))


def test_cancelled_run_goes_on_where_it_was(fast_model, tmp_path) -> None:
    video = tall_video()
    expected = hv.analyze(video, fast_model)
    path = tmp_path / "result.zarr"
    seen = []

    def stop() -> bool:
        return sum(progress.finished is not None for progress in seen) == 2

    with pytest.raises(CancelledError):
        run(
            analyze_steps(video, fast_model, AnalyzeParameters(), store=path),
            on_progress=seen.append,
            stop=stop,
        )
    with pytest.raises(ResultError, match="not ended"):
        hv.open_result(path)
    later = []
    resumed = run(analyze_steps(video, fast_model, AnalyzeParameters(), store=path), on_progress=later.append)
    encoded_again = sum(progress.finished is not None for progress in later)
    assert encoded_again == 3 - 2
    for name in expected.data_vars:
        np.testing.assert_array_equal(resumed[name], expected[name], err_msg=name)


def test_unfinished_run_of_other_parameters_is_refused(fast_model, tmp_path) -> None:
    video = video_of(np.random.default_rng(1).poisson(5, (6, 200, 96)))
    path = tmp_path / "result.zarr"
    with pytest.raises(CancelledError):
        run(analyze_steps(video, fast_model, AnalyzeParameters(), store=path), stop=lambda: True)
    steps = analyze_steps(video, fast_model, AnalyzeParameters(), store=path)
    # The first stop came before the store was made: begin it, then leave it.
    while not path.exists():
        next(steps)
    steps.close()
    with pytest.raises(ResultError, match="another parameters"):
        hv.analyze(video, fast_model, store=path, step=16)


def test_two_runs_on_one_store_refuse_each_other(video, fast_model, tmp_path) -> None:
    path = tmp_path / "result.zarr"
    first = analyze_steps(video, fast_model, AnalyzeParameters(), store=path)
    while not path.exists():
        next(first)
    with pytest.raises(ResultError, match="Another run"):
        hv.analyze(video, fast_model, store=path)
    run(first)


def test_finished_result_is_never_overwritten(video, fast_model, tmp_path) -> None:
    path = tmp_path / "result.zarr"
    hv.analyze(video, fast_model, store=path)
    with pytest.raises(ResultError, match="exists already"):
        hv.analyze(video, fast_model, store=path)
    with pytest.raises(ResultError, match="exists already"):
        hv.save_result(hv.open_result(path), path)


def test_full_disk_says_so_and_leaves_nothing_half(video, tmp_path) -> None:
    script = f"""
import resource, sys
import numpy as np
import napari_hrtem_vae as hv
from tests.conftest import random_model, video_of
result = hv.analyze(video_of(np.random.default_rng(0).poisson(10, (4, 80, 80))), random_model())
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
try:
    hv.save_result(result, {str(tmp_path / "full.zarr")!r})
except hv.errors.ResultError as error:
    sys.exit(0 if "cannot be written" in str(error) else str(error))
sys.exit("nothing was refused")
"""
    if sys.platform != "linux":
        pytest.skip("file size limits are a thing of Linux here")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=_root())
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def _root() -> str:
    from pathlib import Path

    return str(Path(__file__).parents[2])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
def test_cancel_at_any_moment_leaves_the_caller_free(video, fast_model, share: float) -> None:
    seen = []

    def stop() -> bool:
        return seen[-1].message == "Encoding" and seen[-1].done >= share * seen[-1].total

    with pytest.raises(CancelledError):
        run(analyze_steps(video, fast_model, AnalyzeParameters()), on_progress=seen.append, stop=stop)
    assert np.isfinite(hv.encode(video, fast_model)).all()


@pytest.mark.parametrize("stored", [False, True])
def test_one_frame_gives_latents_and_no_maps(video, fast_model, tmp_path, stored: bool) -> None:
    result = hv.analyze(video[:1], fast_model, store=tmp_path / "still.zarr" if stored else None)
    assert set(result.data_vars) == {"z"}
    assert result["z"].shape == (1, 6, 8, 64)
    assert any("no time axis" in notice for notice in result.attrs["notices"])


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("frames", [2, 12])
def test_a_video_whose_frames_are_all_alike_says_that_no_change_can_be_told(
    video, fast_model, tmp_path, frames: int, stored: bool
) -> None:
    alike = video[[0] * frames].assign_coords(time=np.arange(float(frames)))
    result = hv.analyze(alike, fast_model, store=tmp_path / "alike.zarr" if stored else None)
    assert any("cannot be told at any site" in notice for notice in result.attrs["notices"])
    varied = hv.analyze(video, fast_model)
    assert not any("cannot be told at any site" in notice for notice in varied.attrs["notices"])


@pytest.mark.parametrize("stored", [False, True])
def test_a_result_says_where_float32_was_the_faster_precision(
    video, fast_model, tmp_path, stored: bool
) -> None:
    store = tmp_path / "rounded.zarr" if stored else None
    results = [
        hv.analyze(video, fast_model, device="cpu", precision="float32"),
        hv.analyze(video, fast_model, device="cpu", precision="bfloat16", store=store),
    ]
    told = [any("faster with float32" in notice for notice in one.attrs["notices"]) for one in results]
    taken = precision_here("bfloat16", torch.device("cpu"))
    assert told == [False, taken == "float32"]
    assert np.allclose(*(one["z"].values for one in results), atol=1e-5) is (taken == "float32")


def test_frames_of_nan_and_constant_frames_are_left_out(fast_model) -> None:
    frames = np.random.default_rng(0).poisson(10, (9, 80, 80)).astype(np.float32)
    clean = frames[[0, 1, 3, 4, 6, 7, 8]]
    frames[2, 5, 5] = np.nan
    frames[5] = 7
    result = hv.analyze(video_of(frames), fast_model, scaling="window")
    assert np.isnan(result["z"].values[[2, 5]]).all()
    assert any("2 frame(s)" in notice and "2, 5" in notice for notice in result.attrs["notices"])
    expected = hv.analyze(video_of(clean), fast_model, scaling="window")
    np.testing.assert_allclose(result["spearman"], expected["spearman"], atol=1e-5)


@pytest.mark.parametrize("frames", [np.full((3, 80, 80), np.nan), np.full((3, 80, 80), 4)])
def test_video_of_nothing_is_refused(frames, fast_model) -> None:
    with pytest.raises(VideoShapeError, match="constant or hold"):
        hv.analyze(video_of(frames), fast_model)


@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 40, 80), (3, 80, 63)])
def test_frames_smaller_than_a_window_are_refused(shape, fast_model) -> None:
    with pytest.raises(VideoShapeError, match="smaller than the model's window of 64 px"):
        hv.analyze(video_of(np.random.default_rng(0).random(shape)), fast_model)


def test_complex_arrays_and_foreign_axes_are_refused(fast_model) -> None:
    with pytest.raises(VideoShapeError, match="complex"):
        hv.analyze(video_of(np.ones((3, 80, 80), complex)), fast_model)
    with pytest.raises(VideoShapeError, match="time, y, x"):
        site_grid(xr.DataArray(np.ones((3, 80, 80))), fast_model.card, AnalyzeParameters())


def test_bare_array_is_a_video_in_pixels(video, fast_model) -> None:
    result = hv.analyze(video.values, fast_model)
    assert result["y"].attrs["units"] == "px"
    np.testing.assert_allclose(result["z"], hv.analyze(video, fast_model)["z"], atol=1e-5)


def test_pixel_size_that_is_a_slip_is_said(fast_model) -> None:
    frames = np.random.default_rng(0).poisson(10, (2, 80, 80))
    with pytest.raises(ParameterError, match=r"14 nm/px and the model 0\.014"):
        hv.analyze(video_of(frames, 14.0), fast_model)
    with pytest.raises(ParameterError, match="give a smaller one"):
        hv.analyze(video_of(np.zeros((2, 4000, 4000))), fast_model, zoom=50.0)


@pytest.mark.parametrize(
    "wrong",
    [{"step": 0}, {"zoom": -1.0}, {"outliers": "some"}, {"memory_gb": 0.0}, {"precision": "int8"}],
)
def test_parameters_out_of_range_name_the_range(wrong) -> None:
    with pytest.raises(ParameterError, match=f"{next(iter(wrong))} is"):
        AnalyzeParameters(**wrong)


def test_memory_too_small_for_a_row_says_what_works(video, fast_model) -> None:
    with pytest.raises(ParameterError, match="GB or more"):
        hv.analyze(video, fast_model, memory_gb=1e-6)


def test_field_larger_than_memory_wants_a_store(fast_model) -> None:
    video = video_of(np.random.default_rng(1).poisson(5, (300, 104, 96)))
    with pytest.raises(ResultError, match="place to store"):
        hv.analyze(video, fast_model, memory_gb=0.0075)


def test_unknown_device_lists_the_known(video, fast_model) -> None:
    with pytest.raises(DeviceError, match="cpu"):
        hv.analyze(video, fast_model, device="tpu")


def test_model_without_an_encoder_says_what_it_cannot_do(video) -> None:
    from dataclasses import replace

    from napari_hrtem_vae.errors import ModelPartError
    from napari_hrtem_vae.vae.architecture import published_pbs

    decoder_only = random_model(replace(published_pbs(), encoder=None))
    assert decoder_only.decode(np.zeros((2, 64))).shape == (2, 64, 64)
    with pytest.raises(ModelPartError, match="no encoder"):
        hv.analyze(video, decoder_only)
