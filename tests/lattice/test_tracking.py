"""Grains through time: values, gaps, refusals, stores."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

import napari_hrtem_vae as hv
from napari_hrtem_vae.errors import CancelledError, LatticeError, ParameterError, ResultError, VideoShapeError
from napari_hrtem_vae.lattice.analysis import track_grains, track_grains_steps
from napari_hrtem_vae.lattice.conventions import ideal_basis
from napari_hrtem_vae.lattice.parameters import LatticeParameters
from napari_hrtem_vae.progress import run

from .scenes import PAIR, Disc, film, paint, video

SHAPE = (256, 256)
FRAMES = 12


def turning(frames: int, *, first=0.1, second=-0.2) -> list[np.ndarray]:
    """Two discs on a film, each turning by so many degrees a frame."""
    still = film(SHAPE, 0)
    return [
        paint([replace(PAIR[0], angle_deg=3 + first * t), replace(PAIR[1], angle_deg=15 + second * t)])
        + still
        for t in range(frames)
    ]


@pytest.fixture(scope="module")
def pair() -> xr.DataArray:
    return video(turning(FRAMES), dose=30.0)


@pytest.fixture(scope="module")
def tracked(pair: xr.DataArray) -> xr.Dataset:
    return track_grains(pair)


def test_result_has_what_the_interface_promises(tracked: xr.Dataset, pair: xr.DataArray) -> None:
    for name in ("angle_deg", "angle_sigma_deg", "area_nm2", "spacing_nm", "reliable", "signal"):
        assert tracked[name].dims == ("time", "grain")
    assert tracked["basis"].dims[:2] == ("time", "grain")
    assert tracked["presence"].dims == ("time", "grain", "y", "x")
    assert tracked["presence"].dtype == bool
    assert tracked["misfit_deg"].dims == ("time",)
    assert tracked["area_nm2"].attrs["units"] == "nm²"
    assert tracked["y"].attrs["units"] == "nm"
    assert float(tracked["y"][-1]) <= float(pair["y"][-1])
    assert json.loads(tracked.attrs["parameters"])["n_grains"] == 2


def test_values_are_true_to_within_their_errors(tracked: xr.Dataset) -> None:
    t = np.arange(FRAMES)
    truth = np.stack([3 + 0.1 * t, 15 - 0.2 * t], axis=1)
    order = np.argsort(tracked["angle_deg"].values[0])
    assert tracked["reliable"].values.all()
    scatter = (tracked["angle_deg"].values[:, order] - truth) / tracked["angle_sigma_deg"].values[:, order]
    assert np.sqrt(np.mean(scatter**2)) < 2.5
    misfit = (tracked["misfit_deg"].values - (12 - 0.3 * t)) / tracked["misfit_sigma_deg"].values
    assert np.sqrt(np.mean(misfit**2)) < 2.5
    # The film is the same in all frames, so that a change is better known than an angle.
    slope = np.polyfit(t, tracked["misfit_deg"].values, 1)[0]
    assert slope == pytest.approx(-0.3, abs=0.02)
    np.testing.assert_allclose(tracked["spacing_nm"], 8 * 0.03, rtol=0.01)
    areas = np.pi * np.array([disc.radius**2 for disc in PAIR]) * 0.03**2
    np.testing.assert_allclose(tracked["area_nm2"].values[:, order], np.tile(areas, (FRAMES, 1)), rtol=0.12)


def test_basis_is_in_cycles_per_nm(tracked: xr.Dataset) -> None:
    lengths = np.hypot(tracked["basis"].values[..., 0], tracked["basis"].values[..., 1])
    np.testing.assert_allclose(lengths, 1 / (8 * 0.03), rtol=0.02)


def test_misfit_starts_positive(tracked: xr.Dataset) -> None:
    mirrored = track_grains(video([frame[:, ::-1] for frame in turning(1)]))
    assert float(tracked["misfit_deg"][0]) == pytest.approx(12, abs=0.5)
    assert float(mirrored["misfit_deg"][0]) == pytest.approx(12, abs=0.5)


def test_result_is_the_same_on_one_thread_and_on_several(pair: xr.DataArray, tracked: xr.Dataset) -> None:
    one = track_grains(pair, workers=1)
    three = track_grains(pair, workers=3)
    xr.testing.assert_equal(one, three)
    xr.testing.assert_equal(one, tracked)


def test_angle_goes_on_across_the_period_of_the_symmetry() -> None:
    frames = [paint([Disc((128, 128), 100, 43 + 1.0 * t)]) for t in range(6)]
    found = track_grains(video(frames), 1)
    assert np.diff(found["angle_deg"].values[:, 0]) == pytest.approx([1.0] * 5, abs=0.1)


def test_lattice_that_goes_and_comes_back_is_unreliable_between() -> None:
    frames = turning(24)
    for t in range(8, 16):
        frames[t] = 1 + film(SHAPE, 0)
    lost = video(frames, dose=30.0)
    lost[3, 10, 10] = np.nan
    found = track_grains(lost)
    gone = np.zeros(24, bool)
    gone[[3, *range(8, 16)]] = True
    np.testing.assert_array_equal(found["reliable"].values.all(1), ~gone)
    assert np.isnan(found["angle_deg"].values[gone]).all()
    assert np.isnan(found["area_nm2"].values[gone]).all()
    assert not found["presence"].values[gone].any()
    assert float(found["misfit_deg"][-1]) == pytest.approx(12 - 0.3 * 23, abs=0.4)
    assert any("3, 8, 9" in notice for notice in found.attrs["notices"])


def test_lattice_that_appears_late_is_followed_both_ways() -> None:
    frames = [1 + film(SHAPE, 0)] * 7 + turning(14)[7:]
    found = track_grains(video(frames, dose=30.0))
    assert not found["reliable"].values[:7].any()
    assert found["reliable"].values[7:].all()
    assert found.attrs["seed_frame"] >= 7


def test_one_frame_is_enough() -> None:
    found = track_grains(video(turning(1)))
    assert found.sizes["time"] == 1
    assert float(found["misfit_deg"][0]) == pytest.approx(12, abs=0.5)


def test_without_a_pixel_size_angles_still_come() -> None:
    found = track_grains(video(turning(2), pixel_size_nm=None))
    assert np.isfinite(found["angle_deg"]).all()
    for name in ("area_nm2", "area_sigma_nm2", "spacing_nm"):
        assert np.isnan(found[name]).all()
    np.testing.assert_allclose(found["spacing_px"], 8, rtol=0.02)
    assert found["y"].attrs["units"] == "px"
    assert any("pixel size is unknown" in notice for notice in found.attrs["notices"])


def test_fewer_grains_than_asked_for_are_said() -> None:
    found = track_grains(video([paint([PAIR[0]]) + film(SHAPE, 0)]))
    assert found.sizes["grain"] == 1
    assert np.isnan(found["misfit_deg"]).all()
    assert any("1 of 2 grains" in notice for notice in found.attrs["notices"])


def test_bases_by_hand_are_where_it_starts() -> None:
    rough = [ideal_basis(0.123, 14, 4)]
    found = track_grains(video(turning(2)), bases=rough)
    assert found["angle_deg"].values[:, 0] == pytest.approx([15, 14.8], abs=0.4)


def test_frames_that_are_not_square() -> None:
    found = track_grains(video([paint(list(PAIR), (301, 258))]))
    assert float(found["misfit_deg"][0]) == pytest.approx(12, abs=0.4)


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        (np.random.default_rng(0).poisson(20, (3, 128, 128)), "No lattice"),
        (np.full((2, 64, 64), 7.0), "constant or hold NaN"),
        (np.full((2, 64, 64), np.nan), "constant or hold NaN"),
        (np.zeros((2, 20, 20)), "32 px"),
    ],
)
def test_no_lattice_is_said_in_a_sentence(frames: np.ndarray, says: str) -> None:
    with pytest.raises(LatticeError, match=says):
        track_grains(frames.astype(np.float32))


def test_pixels_that_are_not_square_are_refused(pair: xr.DataArray) -> None:
    wide = pair.assign_coords(x=pair["x"] * 1.1)
    with pytest.raises(VideoShapeError, match="along x"):
        track_grains(wide)
    noticed = pair.assign_attrs(
        notices=["The pixels of a.dm4 are 0.1 nm high and 0.2 nm wide; 0.2 nm was taken"]
    )
    with pytest.raises(VideoShapeError, match="square"):
        track_grains(noticed)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"n_grains": 0}, "n_grains is 0"),
        ({"n_grains": 7}, "n_grains is 7"),
        ({"symmetry": 5}, "symmetry is 5"),
        ({"period_px": 1.0}, "period_px is 1"),
        ({"least_signal": 1}, "least_signal is 1"),
        ({"workers": 0}, "workers is 0"),
        ({"memory_gb": -1}, "memory_gb is -1"),
        ({"exclusive": "yes"}, "exclusive is 'yes'"),
        ({"bases": [[[0.1, 0.0], [0.2, 0.0]]]}, "independent"),
        ({"bases": np.zeros((2, 3))}, "bases have the shape"),
        ({"bases": [[[0.9, 0.0], [0.0, 0.9]]]}, "0.001 to 0.5"),
    ],
)
def test_parameters_out_of_range_are_named(pair: xr.DataArray, options, says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        track_grains(pair, **options)


def test_presence_larger_than_the_memory_asks_for_a_store(pair: xr.DataArray) -> None:
    with pytest.raises(ResultError, match="give a place"):
        track_grains(pair, memory_gb=1e-5)


def test_store_holds_the_same_and_opens(pair: xr.DataArray, tracked: xr.Dataset, tmp_path) -> None:
    place = tmp_path / "grains.zarr"
    stored = track_grains(pair, store=place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grains.zarr"]
    opened = hv.open_result(place)
    for one in (stored, opened):
        xr.testing.assert_equal(one.load(), tracked)
        assert one.attrs["hrtem_vae_result"] == "lattice"
        assert list(one.attrs["notices"]) == tracked.attrs["notices"]
    with pytest.raises(ResultError, match="exists already"):
        track_grains(pair, store=place)


def test_stopped_run_goes_on_where_it_was(tmp_path) -> None:
    long = video(turning(40, first=0.02, second=-0.03), dose=30.0)
    whole = track_grains(long)
    place = tmp_path / "grains.zarr"
    steps = track_grains_steps(long, LatticeParameters(), store=place)
    seen = []
    with pytest.raises(CancelledError):
        run(steps, on_progress=seen.append, stop=lambda: seen[-1].finished is not None)
    first = seen[-1].finished
    assert first.sizes["time"] == 32
    with pytest.raises(ResultError, match="has not ended"):
        hv.open_result(place)
    with pytest.raises(ResultError, match="another parameters"):
        track_grains(long, 1, store=place)
    with pytest.raises(ResultError, match="another grains by hand"):
        track_grains(long, bases=whole["basis"][0].values * 0.03, store=place)
    resumed = track_grains_steps(long, LatticeParameters(), store=place)
    seen = []
    result = run(resumed, on_progress=seen.append)
    # The first block is not done again.
    assert min(one.done for one in seen if one.message.startswith("Following")) >= 32
    for name in ("angle_deg", "area_nm2"):
        np.testing.assert_allclose(result[name], whole[name], rtol=0.02)
    np.testing.assert_array_equal(result["angle_deg"][:32], whole["angle_deg"][:32])


def test_progress_counts_frames_and_gives_finished_blocks(pair: xr.DataArray) -> None:
    seen = []
    run(track_grains_steps(pair, LatticeParameters()), on_progress=seen.append)
    assert seen[-1].done == seen[-1].total == FRAMES
    finished = [one.finished for one in seen if one.finished is not None]
    assert sum(one.sizes["time"] for one in finished) == FRAMES


def test_pair_of_a_multislice_calculation_on_a_carbon_film(shared_data) -> None:
    reference = shared_data.parent / "reference" / "multislice" / "pbs_pair_carbon_film_3_frames.npz"
    if not reference.exists():
        pytest.skip("the multislice reference (../shared/reference) is not on this machine")
    with np.load(reference) as stored:
        truth, images = stored["misfit_deg"], stored["images"].astype(np.float32)
    counts = np.random.default_rng(0).poisson(images * 10).astype(np.float32)
    found = track_grains(video(list(counts), dose=None, pixel_size_nm=0.014))
    error = found["misfit_deg"].values - truth
    assert np.abs(error).max() < 3 * float(found["misfit_sigma_deg"].max())
    assert error[-1] - error[0] == pytest.approx(0, abs=0.06)
    # Cubes of 16 × 16 columns, d = 0.2968 nm.
    np.testing.assert_allclose(found["area_nm2"], 256 * 0.2968**2, rtol=0.04)
    np.testing.assert_allclose(found["spacing_nm"], 0.2968, rtol=0.005)
