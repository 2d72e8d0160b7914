"""Windows of one site: those that Analyze encodes, wherever they lie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import napari_hrtem_vae as hv
from napari_hrtem_vae.errors import ModelPartError, ParameterError, VideoShapeError
from napari_hrtem_vae.progress import run
from napari_hrtem_vae.vae.model import Model
from napari_hrtem_vae.vae.network import Network
from napari_hrtem_vae.vae.parameters import AnalyzeParameters
from napari_hrtem_vae.vae.site_windows import SiteWindows, latents_of, site_windows_steps
from napari_hrtem_vae.video.geometry import SiteGrid

from ..conftest import video_of
from .test_traversal import without_decoder


def counts(frames: int = 12, shape: tuple[int, int] = (104, 120), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(10, (frames, *shape)).astype(np.uint16)


def prepared(video: xr.DataArray, model: Model, **parameters) -> SiteWindows:
    return run(site_windows_steps(video, model.card, AnalyzeParameters(**parameters)))


@pytest.mark.parametrize("pixel_size_nm", [0.014, 0.02, 0.008])
@pytest.mark.parametrize("network", ["fast_model", "window_model"])
def test_the_latents_of_a_site_are_those_of_analyze(network, pixel_size_nm, request) -> None:
    model = request.getfixturevalue(network)
    shape = (104, 120) if pixel_size_nm > 0.01 else (180, 190)
    video = video_of(counts(shape=shape), pixel_size_nm)
    field = hv.encode(video, model, step=8)
    source = prepared(video, model)
    site = (field.sizes["y"] - 1, 1)
    np.testing.assert_allclose(run(source.series_steps(model, site)), field[:, *site], atol=2e-4)
    window = source.window(site, 7)
    np.testing.assert_allclose(model.encode(window[None])[0][0], field[7, *site], atol=2e-4)


@given(
    st.integers(64, 200),
    st.integers(64, 200),
    st.integers(1, 30),
    st.floats(1.0, 4.0),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_the_nearest_site_is_nearest_and_its_window_lies_about_its_centre(
    rows, columns, step, zoom, up, along
) -> None:
    grid = SiteGrid(frame=(rows, columns), window=64, step=step, zoom=zoom)
    source = SiteWindows(None, grid, None, False)
    y, x = up * (rows - 1), along * (columns - 1)
    row, column = source.nearest_site(y, x)
    distances = np.hypot(*np.meshgrid(grid.y - y, grid.x - x, indexing="ij"))
    assert distances[row, column] == pytest.approx(distances.min(), abs=1e-9)
    corners = source.corners_px((row, column))
    np.testing.assert_allclose(corners.mean(0), [grid.y[row], grid.x[column]], atol=1e-9)
    np.testing.assert_allclose(corners[1] - corners[0], 64 / zoom)


@pytest.mark.parametrize("place", [(-0.6, 5), (104, 5), (5, -1), (5, 119.6)])
def test_a_place_beside_the_frame_is_refused(place, fast_model) -> None:
    with pytest.raises(VideoShapeError, match="outside the frame"):
        prepared(video_of(counts()), fast_model).nearest_site(*place)


def test_unusable_frames_have_no_latents_and_harm_no_others(fast_model) -> None:
    frames = counts().astype(np.float32)
    whole = run(prepared(video_of(frames), fast_model).series_steps(fast_model, (0, 0)))
    damaged = frames.copy()
    damaged[4, 90, 100] = np.nan  # far from the window
    damaged[6] = 5
    source = prepared(video_of(damaged), fast_model)
    series = run(source.series_steps(fast_model, (0, 0)))
    assert np.flatnonzero(np.isnan(series).all(1)).tolist() == [4, 6]
    rest = np.delete(np.arange(12), (4, 6))
    np.testing.assert_allclose(series[rest], whole[rest], atol=0.02)
    assert np.isnan(source.window((0, 0), 4)).all()


def test_a_video_whose_sample_is_all_bad_is_looked_at_whole(fast_model) -> None:
    frames = counts(frames=30).astype(np.float32)
    picks = np.unique(np.linspace(0, 29, 8).round().astype(int))
    frames[picks] = np.nan
    series = run(prepared(video_of(frames), fast_model).series_steps(fast_model, (1, 1)))
    assert np.isnan(series).all(1).sum() == len(picks)


def test_a_video_without_one_usable_frame_says_so(fast_model) -> None:
    with pytest.raises(VideoShapeError, match="constant or holds NaN"):
        prepared(video_of(np.full((3, 80, 80), np.nan)), fast_model)


@pytest.mark.parametrize("frames", [1, 2])
def test_one_or_two_frames_are_enough(frames, fast_model) -> None:
    series = run(prepared(video_of(counts(frames)), fast_model).series_steps(fast_model, (2, 3)))
    assert series.shape == (frames, 64)
    assert np.isfinite(series).all()


def test_a_constant_window_in_a_frame_with_a_picture_has_latents(fast_model, window_model) -> None:
    frames = counts()
    frames[:, :80, :80] = 10
    for model in (fast_model, window_model):
        source = prepared(video_of(frames), model)
        assert np.ptp(source.window((0, 0), 3)) == pytest.approx(0, abs=1e-6)
        assert np.isfinite(run(source.series_steps(model, (0, 0)))).all()


def test_finished_frames_come_once_and_in_order(fast_model) -> None:
    video = video_of(counts(frames=70, shape=(80, 80)))
    source = prepared(video, fast_model)
    blocks = []
    series = run(source.series_steps(fast_model, (0, 0)), on_progress=lambda one: blocks.append(one.finished))
    together = xr.concat([block for block in blocks if block is not None], "frame")
    assert len(blocks) > 1
    np.testing.assert_array_equal(together["frame"], np.arange(70))
    np.testing.assert_array_equal(together["z"], series)


def test_pixel_sizes_that_cannot_be_meant_are_refused(fast_model) -> None:
    with pytest.raises(ParameterError, match="nm/px"):
        prepared(video_of(counts(), 14.0), fast_model)


def test_frames_smaller_than_a_window_are_refused(fast_model) -> None:
    with pytest.raises(VideoShapeError, match="smaller than the model's window"):
        prepared(video_of(counts(shape=(60, 90))), fast_model)


def test_windows_without_an_encoder_have_no_latents(fast_model) -> None:
    assert latents_of(without_decoder(fast_model), np.full((2, 64, 64), np.nan, np.float32)).shape == (2, 64)
    architecture = replace(fast_model.card.architecture, encoder=None)
    model = Model(replace(fast_model.card, architecture=architecture), Network(architecture))
    with pytest.raises(ModelPartError, match="no encoder"):
        latents_of(model, np.zeros((1, 64, 64), np.float32))
