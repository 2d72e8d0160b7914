"""Scenarios: the picture shows what the truth says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import fft

import napari_hrtem_vae as hv
from napari_hrtem_vae.errors import ParameterError, ResultError
from napari_hrtem_vae.progress import run
from napari_hrtem_vae.simulate.material import columns, faceted_crystal
from napari_hrtem_vae.simulate.scenarios import sample_path, save_simulation, truth_path
from napari_hrtem_vae.simulate.segments import SegmentParameters, segments_steps

SMALL = {"frames": 3, "rows": 200, "columns": 400}


def test_room_is_also_the_function() -> None:
    import napari_hrtem_vae.simulate as room

    assert hv.simulate is room
    assert set(hv.simulate("static", frames=1, rows=64, columns=64).data_vars) >= {
        "video",
        "misfit_deg",
        "presence",
    }


def test_same_seed_gives_the_same_video_to_the_bit() -> None:
    first, second, other = (hv.simulate("rotation", seed=seed, **SMALL) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first["video"], second["video"])
    assert (first["video"] != other["video"]).any()


def test_annealing_pair_has_the_papers_misfit_and_shrinks_on_one_side() -> None:
    truth = hv.simulate("annealing-pair", **SMALL)
    assert truth["misfit_deg"].values[[0, -1]] == pytest.approx([13.7, 9.3])
    areas = truth["area_nm2"].values
    assert areas[-1, 0] < 0.8 * areas[0, 0]
    assert areas[-1, 1] == pytest.approx(areas[0, 1], rel=0.01)
    np.testing.assert_allclose(truth["presence"].sum(("y", "x")) * 0.014**2, areas, rtol=0.02)


def test_sample_is_what_its_command_makes() -> None:
    made = hv.simulate("annealing-pair", seed=0, frames=40)
    shipped = hv.open_video(sample_path())
    assert shipped.shape == (40, 384, 640)
    # To the bit on one machine; another's mathematics may round a rate the other way.
    assert float((shipped.values == made["video"].values).mean()) > 0.99
    assert sum(file.stat().st_size for file in sample_path().parent.rglob("*") if file.is_file()) < 12e6


def test_mean_counts_are_the_dose() -> None:
    video = hv.simulate("static", dose=37, flicker=0.0, **SMALL)["video"]
    assert float(video[:, :20].mean()) == pytest.approx(37, rel=0.02)


def test_angle_of_the_picture_is_the_angle_of_the_truth() -> None:
    truth = hv.simulate("static", dose=1e4, jitter_px=0.0, frames=1, rows=256, columns=512)
    crystal = truth["video"].values[0, 64:192, 64:192].astype(float)
    power = np.abs(
        fft.fft2((crystal - crystal.mean()) * np.outer(np.hanning(128), np.hanning(128)), (1024, 1024))
    )
    ky, kx = np.unravel_index(int(power[:200, :200].argmax()), (200, 200))
    assert np.hypot(ky, kx) / 1024 == pytest.approx(1 / 21.2, rel=0.03)
    # Fringes along either axis of the square net: modulo 90°.
    assert np.rad2deg(np.arctan2(ky, kx)) % 90 == pytest.approx(10, abs=1.5)


def test_columns_have_mean_0_and_their_period() -> None:
    y, x = np.mgrid[:210, :210].astype(np.float32)
    net = columns(y, x, 21.0, 0.0, np.zeros(2, np.float32), np.array([1.0, 2.0], np.float32))
    assert abs(net.mean()) < 1e-3
    np.testing.assert_allclose(net[:, 21:], net[:, :-21], atol=1e-4)


def test_crystal_has_the_area_of_a_superellipse() -> None:
    y, x = np.mgrid[:200, :200].astype(np.float32)
    # A superellipse of order 4 covers 0.9270 of its box.
    assert faceted_crystal(y, x, (100, 97), (60, 40)).sum() == pytest.approx(0.9270 * 4 * 60 * 40, rel=0.01)


def test_video_and_truth_are_written_side_by_side_and_never_over(tmp_path) -> None:
    scene = hv.simulate("rotation", seed=1, **SMALL)
    video, truth = save_simulation(scene, tmp_path / "v.zarr")
    assert truth == truth_path(video)
    opened = hv.open_video(video)
    np.testing.assert_array_equal(opened.values, scene["video"].values)
    assert opened.attrs["pixel_size_nm"] == 0.014
    assert opened.attrs["frame_time_s"] == pytest.approx(0.95)
    with pytest.raises(ResultError, match="exists already"):
        save_simulation(scene, tmp_path / "v.zarr")


def test_video_is_not_written_where_the_truth_finds_no_place(tmp_path) -> None:
    truth_path(tmp_path / "v.zarr").mkdir()
    with pytest.raises(ResultError, match=r"v-truth\.zarr exists already"):
        save_simulation(hv.simulate("static", frames=1, rows=64, columns=64), tmp_path / "v.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["v-truth.zarr"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"frames": 0},
        {"dose": -1.0},
        {"dose": 1e30},
        {"rows": 10**9},
        {"seed": -1},
        {"flicker": float("nan")},
        {"period_px": 1e9},
    ],
)
def test_parameters_out_of_range_are_named(wrong) -> None:
    with pytest.raises(ParameterError, match=f"{next(iter(wrong))}.* is "):
        hv.simulate("static", **wrong)


def test_video_larger_than_memory_is_refused_with_its_size() -> None:
    with pytest.raises(ParameterError, match=r"100000 × 100000 px takes 6\d{5}\d*\.\d GB"):
        hv.simulate("static", frames=10_000, rows=100_000, columns=100_000)


def test_beam_that_fails_now_and_then_is_dark() -> None:
    assert hv.simulate("static", flicker=1.0, frames=40, rows=16, columns=16)["video"].min() == 0


def test_unknown_scenario_lists_the_known() -> None:
    with pytest.raises(ParameterError, match="annealing-pair"):
        hv.simulate("explosion")


def test_segments_are_reproducible_scaled_and_paired() -> None:
    parameters = SegmentParameters(count=40, seed=9)
    (seen, clean), (again, _) = run(segments_steps(parameters)), run(segments_steps(parameters))
    np.testing.assert_array_equal(seen, again)
    assert seen.min() >= 0
    assert seen.max() <= 1
    correlations = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(seen, clean, strict=True)]
    assert np.median(correlations) > 0.5


def test_window_scaled_segments_span_0_to_1() -> None:
    seen, _ = run(segments_steps(SegmentParameters(count=20, scaling="window")))
    np.testing.assert_allclose(seen.min((1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(seen.max((1, 2)), 1, atol=1e-6)
