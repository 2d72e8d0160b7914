"""Taking drift out: whole and sub-pixel moves, borders, files, the command, and Analyze."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import napari_hrtem_vae as hv
from napari_hrtem_vae.errors import ParameterError, ResultError
from napari_hrtem_vae.progress import run
from napari_hrtem_vae.vae.parameters import AnalyzeParameters
from napari_hrtem_vae.video.outliers import grey_levels, replace_dead_pixels
from napari_hrtem_vae.video.shift import apply_shifts, common_area, covered, put_back
from napari_hrtem_vae.video.writing import write_video_steps

from ..conftest import video_of
from .drifting import random_walk, specimen

COMMAND = Path(sys.executable).with_name("hrtem-vae")


def shifts_of(values: np.ndarray) -> xr.Dataset:
    values = np.asarray(values, float)
    return xr.Dataset({"dy_px": ("time", values[:, 0]), "dx_px": ("time", values[:, 1])})


@given(dy=st.integers(-40, 40), dx=st.integers(-40, 40), part=st.floats(-0.49, 0.49), seed=st.integers(0, 9))
def test_whole_pixels_bring_every_value_back_to_its_place(dy, dx, part, seed) -> None:
    scene = np.random.default_rng(seed).poisson(10, (120, 130)).astype(np.float32)
    still, moved = scene[40:72, 40:76], scene[40 - dy : 72 - dy, 40 - dx : 76 - dx]
    back = put_back(moved[None], np.array([[dy + part, dx - part]]), "whole")[0]
    seen = np.isfinite(back)
    np.testing.assert_array_equal(back[seen], still[seen])
    assert seen.sum() == max(0, 32 - abs(dy)) * max(0, 36 - abs(dx))


@given(
    shifts=st.lists(
        st.tuples(st.floats(-30, 30, width=32), st.floats(-30, 30, width=32)), min_size=1, max_size=5
    ),
    mode=st.sampled_from(["whole", "subpixel"]),
)
@settings(max_examples=40)
def test_common_area_is_where_no_frame_has_a_border(shifts, mode) -> None:
    moved = put_back(np.ones((len(shifts), 24, 40), np.float32), np.array(shifts), mode)
    expected = np.isfinite(moved).all(0)
    found = np.zeros((24, 40), bool)
    found[common_area((24, 40), np.array(shifts), mode)] = True
    np.testing.assert_array_equal(found, expected)


def test_parts_of_a_pixel_move_waves_as_they_should() -> None:
    y, x = np.mgrid[:90, :101].astype(float)
    shift = np.array([2.3, -4.7])

    def waves(dy: float, dx: float) -> np.ndarray:
        return 5 + np.cos(2 * np.pi * ((y - dy) / 7.3 + (x - dx) / 11.1)) + 0.02 * (x - dx)

    back = put_back(waves(*shift)[None].astype(np.float32), shift[None], "subpixel")[0]
    rows, columns = covered(back.shape, shift, "subpixel")
    assert np.isnan(back).sum() == back.size - (rows.stop - rows.start) * (columns.stop - columns.start)
    inner = np.s_[12:-12, 12:-12]
    assert np.abs(back - waves(0, 0))[inner].max() < 0.02


def test_parts_of_a_pixel_leave_the_noise_as_strong_as_it_was() -> None:
    noise = np.random.default_rng(0).standard_normal((1, 256, 256)).astype(np.float32)
    back = put_back(noise, np.array([[0.5, 0.5]]), "subpixel")
    assert np.nanstd(back) == pytest.approx(1, abs=0.02)


def test_aligned_video_is_lazy_and_keeps_coordinates_and_attributes() -> None:
    truth = np.array([[0, 0], [3, -2], [-4, 6], [1, 1]])
    still = specimen(truth, dose=None, crystal="none")
    video = video_of(still.values, 0.02, origin=5.0).assign_coords(time=("time", [0.0, 2, 4, 6]))
    aligned, shifts = hv.align(video)
    assert isinstance(aligned.data, da.Array)
    assert aligned.dtype == np.float32
    assert aligned.attrs["pixel_size_nm"] == 0.02
    np.testing.assert_array_equal(aligned["time"], video["time"])
    np.testing.assert_array_equal(shifts["time"], video["time"])
    inner = aligned.values[:, 8:-8, 8:-8]
    assert np.abs(inner - inner[0]).max() < 1e-3
    # A part of the frames reads no more than that part.
    np.testing.assert_array_equal(aligned[2].values, aligned.values[2])


def test_frame_without_a_place_is_all_nan_and_counts_stay_counts() -> None:
    video = xr.DataArray(np.arange(2 * 20 * 20, dtype=np.uint16).reshape(2, 20, 20), dims=("time", "y", "x"))
    aligned = apply_shifts(video, shifts_of([[np.nan, np.nan], [2.2, 0]]))
    assert np.isnan(aligned.values[0]).all()
    np.testing.assert_array_equal(aligned.values[1, :-2], video.values[1, 2:])


def test_wrong_mode_and_foreign_shifts_are_refused() -> None:
    video = specimen(np.zeros((3, 2)), dose=None)
    with pytest.raises(ParameterError, match="mode is 'cubic'"):
        hv.align(video, mode="cubic")
    with pytest.raises(ParameterError, match="2 shifts for 3 frames"):
        apply_shifts(video, shifts_of(np.zeros((2, 2))))


def test_dead_pixels_go_and_dark_columns_stay() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:128, :128]
    lattice = 100 - 40 * (np.cos(2 * np.pi * x / 20) * np.cos(2 * np.pi * y / 20)).clip(0)
    clean = rng.poisson(lattice, (2, 128, 128)).astype(np.float32)
    dead = clean.copy()
    places = tuple(rng.integers(0, n, 12) for n in clean.shape)
    dead[places] = -200
    cured = replace_dead_pixels(dead.copy(), grey_levels(dead))
    assert np.abs(cured[places] - clean[places]).max() < 60
    untouched = np.ones(clean.shape, bool)
    untouched[places] = False
    np.testing.assert_array_equal(cured[untouched], dead[untouched])


def test_interrupted_writing_leaves_nothing(tmp_path) -> None:
    video = specimen(np.zeros((4, 2)), dose=10)
    steps = write_video_steps(video, shifts_of(np.zeros((4, 2))), tmp_path / "a.zarr")
    next(steps)
    assert not (tmp_path / "a.zarr").exists()
    steps.close()
    assert list(tmp_path.iterdir()) == []


def test_written_video_opens_as_it_was_and_its_place_is_not_taken_twice(tmp_path) -> None:
    truth = random_walk(6, 2, 1)
    video = video_of(specimen(truth, dose=20).values, 0.05)
    aligned, shifts = hv.align(video)
    path = run(write_video_steps(aligned, shifts, tmp_path / "aligned.zarr"))
    opened = hv.open_video(path)
    np.testing.assert_array_equal(opened.values, aligned.values)
    assert opened.attrs["pixel_size_nm"] == pytest.approx(0.05)
    with xr.open_zarr(path, consolidated=False) as stored:
        np.testing.assert_array_equal(stored["dy_px"], shifts["dy_px"])
    with pytest.raises(ResultError, match="exists already"):
        run(write_video_steps(aligned, shifts, path))


def test_command_writes_video_and_table(tmp_path) -> None:
    truth = random_walk(6, 3, 2)
    np.save(tmp_path / "v.npy", specimen(truth, dose=20, seed=2).values)
    ask = [COMMAND, "drift", "v.npy", "-o", "aligned.zarr", "--json"]
    done = subprocess.run(ask, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["frames"], record["unreliable_frames"], record["lock"]) == (6, [], "support")
    table = np.genfromtxt(tmp_path / record["shifts"], delimiter=",", names=True)
    assert np.abs(table["dy_px"] - truth[:, 0]).max() < 1
    assert hv.open_video(tmp_path / "aligned.zarr").shape == (6, 256, 288)


def test_analysis_of_a_drifting_still_specimen_sees_nothing_move(fast_model) -> None:
    rng = np.random.default_rng(0)
    scene = rng.poisson(50 * (1 + 0.2 * rng.standard_normal((40, 44)).repeat(8, 0).repeat(8, 1)).clip(0))
    truth = np.array([[0, 0], [9, -3], [-12, 5], [2, 14], [6, 6]])
    frames = np.stack([scene[60 - dy : 220 - dy, 60 - dx : 252 - dx] for dy, dx in truth])
    video = video_of(frames.astype(np.float32))
    # What comes into view changes the frames' mean: it is no beam that flickers.
    loose = hv.analyze(video, fast_model, level_beam=False)
    held = hv.analyze(video, fast_model, level_beam=False, drift="rigid")
    assert held["z"].shape == loose["z"].shape
    seen = held["variance"].notnull().all("latent").values
    # Lost rows: 12 px at the top, 9 at the bottom, and what the smoothing sees beyond its window.
    assert np.flatnonzero(seen.any(1)).tolist() == list(range(3, 11))
    assert np.isnan(held["z"].values[:, ~seen]).all()
    assert float(held["variance"].max()) < 1e-6 * float(loose["variance"].median())
    assert any(notice.startswith("Drift over") for notice in held.attrs["notices"])


def test_analysis_leaves_out_frames_whose_place_cannot_be_told(fast_model) -> None:
    video = specimen(random_walk(8, 1, 0), dose=30, crystal="none", film=0.1)
    video[5] = np.random.default_rng(1).poisson(30, video.shape[1:])
    result = hv.analyze(video, fast_model, drift="rigid")
    assert np.isnan(result["z"].values[5]).all()
    assert any("1 frame(s) whose place could not be told" in one for one in result.attrs["notices"])
    assert np.isfinite(result["change"].values).any()


def test_unknown_drift_rule_is_refused() -> None:
    with pytest.raises(ParameterError, match="drift is 'elastic'"):
        AnalyzeParameters(drift="elastic")
