"""Geometry, resampling, outliers, scaling and fringes against analytic truth and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from napari_hrtem_vae.video.fringes import fringe_period_px
from napari_hrtem_vae.video.geometry import SiteGrid, choose_zoom
from napari_hrtem_vae.video.outliers import bright_share, clip_published, grey_levels, replace_outliers
from napari_hrtem_vae.video.reading import read_frames, stored_frames
from napari_hrtem_vae.video.resampling import (
    enlarging_operator,
    input_range,
    smoothing_operator,
)
from napari_hrtem_vae.video.scaling import grey_range, scale_to_range, scale_windows, smooth

from ..conftest import video_of


@given(
    rows=st.integers(64, 700),
    step=st.integers(1, 32),
    zoom=st.sampled_from([1.0, 0.5, 1.5, 2.0]),
    pixel=st.floats(1e-3, 10),
    origin=st.floats(-50, 50),
)
def test_first_and_last_window_lie_inside_the_frame(rows, step, zoom, pixel, origin) -> None:
    grid = SiteGrid((rows, rows), 32, step, zoom, pixel, "nm", (origin, origin))
    edge_low, edge_high = origin - pixel / 2, origin + (rows - 0.5) * pixel
    half_window = 16 / zoom * pixel
    assert grid.y[0] == pytest.approx(edge_low + half_window, abs=1e-6 * pixel)
    assert grid.y[-1] + half_window <= edge_high + 1e-6 * pixel
    # One step more would leave the frame (a sliver of less than a pixel may be lost by enlarging).
    assert grid.y[-1] + grid.spacing + half_window > edge_high - pixel / zoom - 1e-6 * pixel


def test_window_of_64_at_step_8_gives_the_papers_73_sites() -> None:
    assert SiteGrid((640, 640), 64, 8).shape == (73, 73)


@pytest.mark.parametrize(
    ("video", "model", "zoom"), [(None, 0.014, 1), (0.014, None, 1), (0.0145, 0.014, 1), (0.028, 0.014, 2)]
)
def test_zoom_comes_from_known_pixel_sizes_that_differ(video, model, zoom) -> None:
    assert choose_zoom(video, model) == zoom


@given(size=st.integers(12, 90), sigma=st.floats(0.3, 3))
def test_smoothing_operator_equals_scipy(size: int, sigma: float) -> None:
    signal = np.random.default_rng(size).standard_normal(size)
    expected = ndimage.gaussian_filter1d(signal, sigma, truncate=3.0, mode="reflect")
    np.testing.assert_allclose(smoothing_operator(size, sigma) @ signal, expected, atol=1e-12)


@given(size=st.integers(16, 80), zoom=st.floats(0.3, 6))
def test_enlarging_keeps_constants_and_straight_lines(size: int, zoom: float) -> None:
    operator = enlarging_operator(size, zoom)
    np.testing.assert_allclose(operator @ np.ones(size), 1)
    line = operator @ np.arange(size, dtype=float)
    centres = (np.arange(len(line)) + 0.5) / zoom - 0.5
    inner = (centres > 2 + 2 / zoom) & (centres < size - 3 - 2 / zoom)
    np.testing.assert_allclose(line[inner], centres[inner], atol=0.05 if zoom < 1 else 1e-9)


def test_enlarged_fringes_are_the_fringes_of_the_finer_video() -> None:
    period, zoom = 7.0, 2.9
    coarse = np.cos(2 * np.pi * np.arange(60) / period)
    fine = enlarging_operator(60, zoom) @ coarse
    centres = (np.arange(len(fine)) + 0.5) / zoom - 0.5
    assert np.abs(fine - np.cos(2 * np.pi * centres / period))[10:-10].max() < 0.05


def test_rows_know_what_they_need() -> None:
    assert input_range(smoothing_operator(50, 1.5), 20, 30) == (15, 35)
    assert input_range(smoothing_operator(50, 1.5), 0, 2) == (0, 7)


def test_x_ray_hits_go_and_columns_stay() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:128, :128]
    lattice = 10 + 4 * np.cos(2 * np.pi * x / 20) * np.cos(2 * np.pi * y / 20)
    clean = rng.poisson(lattice, (3, 128, 128)).astype(np.float32)
    hit = clean.copy()
    places = tuple(rng.integers(0, n, 12) for n in clean.shape)
    hit[places] += 400
    cured = replace_outliers(hit.copy(), grey_levels(hit))
    assert np.abs(cured[places] - clean[places]).max() < 25
    untouched = np.ones(clean.shape, bool)
    untouched[places] = False
    np.testing.assert_array_equal(cured[untouched], hit[untouched])


def test_bright_objects_are_told_from_x_rays() -> None:
    frames = np.random.default_rng(0).normal(10, 1, (2, 64, 64)).astype(np.float32)
    levels = grey_levels(frames)
    frames[0, 20:40, 20:40] += 500
    frames[1, [3, 9], [4, 60]] += 500
    share = bright_share(frames, levels)
    assert share[0] == pytest.approx(400 / 64**2)
    assert share[1] == pytest.approx(2 / 64**2)


def test_published_rule_sets_pixels_beyond_3_72_deviations_to_3_5() -> None:
    frame = np.random.default_rng(0).normal(0, 1, (1, 100, 100)).astype(np.float32)
    frame[0, 3, 4] = 50
    mean, deviation = frame.mean((1, 2)), frame.std((1, 2))
    expected = frame.copy()
    likelihood = np.exp(-((frame - mean) ** 2) / (2 * deviation**2))
    expected[(likelihood < 0.001) & (frame > mean)] = mean + 3.5 * deviation
    np.testing.assert_allclose(clip_published(frame.copy(), mean, deviation), expected, rtol=1e-6)
    assert expected[0, 3, 4] < 6


def test_windows_are_scaled_by_their_extremes_and_constant_ones_become_0() -> None:
    windows = np.random.default_rng(0).normal(5, 2, (4, 8, 8)).astype(np.float32)
    windows[2] = 3
    scaled = scale_windows(windows)
    assert scaled[2].max() == 0
    np.testing.assert_allclose(scaled[[0, 1, 3]].min((1, 2)), 0)
    np.testing.assert_allclose(scaled[[0, 1, 3]].max((1, 2)), 1, rtol=1e-6)


def test_range_leaves_out_hot_pixels_and_nan() -> None:
    values = np.linspace(0, 1, 100_001, dtype=np.float32)
    values[:5], values[5] = np.nan, 1e9
    low, high = grey_range(values)
    assert (low, high) == (pytest.approx(0.001, abs=1e-3), pytest.approx(0.999, abs=1e-3))
    assert scale_to_range(np.float32([-5, 0.5, 5]), 0, 1).tolist() == [0, 0.5, 1]
    assert grey_range(np.full(3, np.nan)) == (0, 0)
    assert scale_to_range(np.float32([2, 2]), 2, 2).tolist() == [0.5, 0.5]


def test_smoothing_lowers_white_noise_as_it_should() -> None:
    noise = np.random.default_rng(0).standard_normal((256, 256))
    assert smooth(noise, 1.5).std() == pytest.approx(1 / (2 * np.sqrt(np.pi) * 1.5), rel=0.05)
    assert smooth(noise, 0).std() == pytest.approx(noise.std())


@pytest.mark.parametrize(("period", "angle"), [(20.5, 0.3), (7.3, 1.2), (3.1, 0.8)])
def test_fringe_period_is_found(period: float, angle: float) -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:256, :300]
    wave = np.cos(2 * np.pi * (np.cos(angle) * x + np.sin(angle) * y) / period)
    video = video_of(rng.poisson(10 * (1 + 0.3 * wave), (4, 256, 300)), None)
    assert fringe_period_px(video) == pytest.approx(period, rel=0.02)


def test_no_fringes_no_period() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        blurred = ndimage.gaussian_filter(rng.standard_normal((4, 256, 256)), (0, 2, 2))
        noise = rng.poisson(20 * (1 + 0.05 * blurred / blurred.std()))
        assert fringe_period_px(video_of(noise, None)) is None
    assert fringe_period_px(video_of(np.full((2, 64, 64), np.nan), None)) is None


def test_fringe_period_of_the_real_pbs_crystals(shared_data) -> None:
    import napari_hrtem_vae as hv

    still = hv.open_video(shared_data / "pbs_hrtem" / "pbs_nanocrystals_543x542.tif")
    assert fringe_period_px(still) == pytest.approx(2.61, abs=0.04)


def test_frames_of_an_array_are_a_view_as_stored_and_a_copy_in_float32() -> None:
    video = video_of(np.arange(2 * 3 * 4, dtype=np.uint16).reshape(2, 3, 4))
    stored, read = stored_frames(video, slice(1, 2)), read_frames(video, slice(1, 2), slice(1, 3))
    assert stored.dtype == np.uint16
    assert np.shares_memory(stored, video.data)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, video.values[1:2, 1:3])
    assert not np.shares_memory(read, video.data)
