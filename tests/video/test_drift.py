"""Drift against specimens of known place: error, aliasing, jumps, and frames that tell nothing."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import napari_hrtem_vae as hv
from napari_hrtem_vae.errors import CancelledError, ParameterError, VideoShapeError
from napari_hrtem_vae.progress import run
from napari_hrtem_vae.video.drift import DriftParameters, estimate_drift_steps

from .drifting import PERIOD, random_walk, specimen


def measure(video: xr.DataArray, **options) -> xr.Dataset:
    return run(estimate_drift_steps(video, DriftParameters(**options)))


def errors(shifts: xr.Dataset, truth: np.ndarray) -> np.ndarray:
    """Measured less true displacement of the reliable frames, but for a common one; (n, 2)."""
    found = np.stack([shifts["dy_px"], shifts["dx_px"]], axis=1) - truth
    found = found[shifts["reliable"].values]
    return found - found.mean(axis=0)


@pytest.mark.parametrize("seed", [11, 12])
@pytest.mark.parametrize(("dose", "film", "rms"), [(10, 0.03, 0.35), (2.5, 0.06, 0.5)])
def test_drift_of_the_film_is_found_under_a_shrinking_turning_crystal(dose, film, rms, seed) -> None:
    truth = random_walk(12, 4.0, seed)
    shifts = measure(specimen(truth, dose=dose, film=film, seed=seed))
    assert shifts["reliable"].all()
    error = errors(shifts, truth)
    assert np.sqrt((error**2).mean()) <= rms
    # Half a period would be the beginning of a slip by a lattice vector.
    assert np.abs(error).max() < PERIOD / 4
    assert float(shifts["dy_px"][0]) == float(shifts["dx_px"][0]) == 0


def test_stated_error_is_the_error() -> None:
    ratios = []
    for seed in range(4):
        truth = random_walk(14, 2.0, seed)
        shifts = measure(specimen(truth, dose=8, seed=seed))
        ratios.append(np.sqrt((errors(shifts, truth) ** 2).mean() / (shifts["sigma_px"] ** 2).mean()))
    assert 0.7 < np.mean(ratios) < 1.5


def test_jump_of_many_periods_is_followed() -> None:
    truth = np.zeros((9, 2))
    truth[4:] = (14, -38)
    shifts = measure(specimen(truth, dose=20, seed=3))
    assert shifts["reliable"].all()
    assert np.abs(errors(shifts, truth)).max() < 1


def test_frames_that_tell_nothing_are_marked_and_do_no_harm() -> None:
    truth = random_walk(12, 2.0, 5)
    video = specimen(truth, dose=15, seed=5)
    rng = np.random.default_rng(0)
    video[0] = rng.poisson(15, video.shape[1:])
    video[4] = 7
    video[6] = np.nan
    video[9] = rng.poisson(15, video.shape[1:])
    shifts = measure(video)
    assert np.flatnonzero(~shifts["reliable"]).tolist() == [0, 4, 6, 9]
    assert shifts["dy_px"].isnull().values.tolist() == (~shifts["reliable"]).values.tolist()
    assert np.sqrt((errors(shifts, truth) ** 2).mean()) < 0.35


def test_noise_has_no_drift() -> None:
    noise = xr.DataArray(
        np.random.default_rng(0).poisson(10, (10, 128, 160)).astype(np.float32), dims=("time", "y", "x")
    )
    assert not measure(noise)["reliable"].any()
    with pytest.raises(VideoShapeError, match="cannot be told"):
        hv.align(noise)
    with pytest.raises(VideoShapeError, match="none to lock to"):
        hv.align(noise, lock="lattice")


def test_where_all_is_crystal_the_crystal_is_held_still() -> None:
    truth = random_walk(10, 1.5, 2)
    video = specimen(truth, dose=10, seed=2, film=0, crystal="everywhere")
    shifts = measure(video)
    assert shifts.attrs["lock"] == "lattice"
    assert shifts["reliable"].all()
    assert np.abs(errors(shifts, truth)).max() < 0.3


def test_crystal_that_steps_too_far_to_be_told_is_not_guessed() -> None:
    truth = random_walk(12, 5.0, 2)
    video = specimen(truth, dose=10, seed=2, film=0, crystal="everywhere")
    assert not measure(video)["reliable"].any()
    # Asked for, it is followed, but for steps that could be ones the other way.
    told = measure(video, lock="lattice")["reliable"].values
    assert 0 < told.sum() < 12


def test_region_locks_to_what_is_in_it() -> None:
    truth = random_walk(8, 1.5, 4)
    video = specimen(truth, dose=None, seed=4, crystal="none")
    # The left half stands still, the right half drifts.
    video[:, :, :144] = video[0, :, :144]
    right = measure(video, region=(0, 256, 150, 288))
    assert np.abs(errors(right, truth)).max() < 0.3
    left = measure(video, region=(0, 256, 0, 140))
    assert np.abs(left["dy_px"]).max() < 0.05


def test_one_frame_stays_where_it_is_and_two_are_compared() -> None:
    still = measure(specimen(np.zeros((1, 2)), dose=None))
    assert (still["dy_px"].item(), still["reliable"].item()) == (0, True)
    truth = np.array([[0, 0], [3.4, -5.2]])
    pair = measure(specimen(truth, dose=100, seed=1))
    assert float(pair["dy_px"][1]) == pytest.approx(3.4, abs=0.3)
    assert float(pair["dx_px"][1]) == pytest.approx(-5.2, abs=0.3)


def test_drift_that_leaves_the_frame_behind_is_followed() -> None:
    truth = np.stack([np.linspace(0, 300, 21), np.zeros(21)], axis=1)
    shifts = measure(specimen(truth, dose=30, seed=6, shape=(192, 224), crystal="none"))
    assert shifts["reliable"].all()
    assert float(shifts["dy_px"][-1]) == pytest.approx(300, abs=3)


def test_work_stops_when_asked() -> None:
    with pytest.raises(CancelledError):
        run(estimate_drift_steps(specimen(np.zeros((6, 2)), dose=10)), stop=lambda: True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"lock": "sample"}, "lock is 'sample'"),
        ({"period_px": 1.0}, "period_px is 1.0"),
        ({"longest_jump_px": float("nan")}, "longest_jump_px"),
        ({"region": (0, 8, 0, 100)}, "region is"),
    ],
)
def test_parameters_out_of_range_are_refused(options, says) -> None:
    with pytest.raises(ParameterError, match=says):
        DriftParameters(**options)


def test_frames_too_small_and_regions_outside_are_refused() -> None:
    small = xr.DataArray(np.zeros((3, 8, 8), np.float32), dims=("time", "y", "x"))
    with pytest.raises(VideoShapeError, match="too small"):
        measure(small)
    with pytest.raises(ParameterError, match="inside"):
        measure(specimen(np.zeros((2, 2)), dose=10), region=(0, 1000, 0, 100))


def test_drift_of_the_real_gold_video(shared_data) -> None:
    video = hv.open_video(next((shared_data / "au_heating").glob("*.tif")))[:40]
    aligned, shifts = hv.align(video)
    # Frame 7 is exposed in the middle of a jump: it shows everything twice.
    assert np.flatnonzero(~shifts["reliable"]).tolist() == [7]
    assert float(shifts["dy_px"].diff("time")[2]) == pytest.approx(-14, abs=1)
    assert float(shifts["dx_px"].diff("time")[2]) == pytest.approx(38, abs=1)
    middle = np.s_[:, 60:-60, 60:-60]
    before, after = video.values[middle].mean(0), np.nanmean(aligned.values[middle], 0)
    assert after.std() > 1.5 * before.std()


def test_misleading_frames_of_the_real_gold_video(shared_data) -> None:
    video = hv.open_video(next((shared_data / "au_heating").glob("*.tif")))[165:190]
    shifts = measure(video)
    assert np.flatnonzero(~shifts["reliable"]).tolist() == [12]
    assert np.ptp(shifts["dy_px"].dropna("time").values) < 4
    assert np.ptp(shifts["dx_px"].dropna("time").values) < 4


def test_drift_of_the_real_perovskite_series(shared_data) -> None:
    video = hv.open_video(next((shared_data / "abf_drift").glob("*.hspy")))
    aligned, shifts = hv.align(video, mode="subpixel")
    assert shifts["reliable"].all()
    assert float(shifts["dx_px"][-1]) == pytest.approx(9.4, abs=0.5)
    middle = np.s_[:, 20:-20, 20:-20]
    before, after = video.values[middle].mean(0), aligned.values[middle].mean(0)
    assert after.std() > 1.1 * before.std()
