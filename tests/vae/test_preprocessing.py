"""Frames on their way to the encoder: statistics as in double precision, smoothing as scipy has it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_hrtem_vae.vae.preprocessing import Preprocessing, frame_statistics
from napari_hrtem_vae.video.geometry import SiteGrid
from napari_hrtem_vae.video.outliers import grey_levels
from napari_hrtem_vae.video.scaling import smooth


def frames_of(offset: float, shape: tuple[int, int, int] = (3, 70, 90)) -> np.ndarray:
    return (offset + np.random.default_rng(0).normal(0, 3, shape)).astype(np.float32)


@pytest.mark.parametrize("offset", [0.0, 30.0, 30_000.0])
def test_statistics_are_those_of_double_precision(offset: float) -> None:
    frames = frames_of(offset)
    found = frame_statistics(frames, grey_levels(frames))
    exact = frames.astype(np.float64)
    np.testing.assert_allclose(found.mean, exact.mean((1, 2)), rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(found.deviation, exact.std((1, 2)), rtol=1e-4)
    assert found.usable.all()


@pytest.mark.parametrize("value", [0.0, 0.1, 1e-20, 65_535.0])
def test_a_constant_frame_is_of_no_use(value: float) -> None:
    frames = frames_of(10)
    frames[1] = value
    assert frame_statistics(frames, grey_levels(frames)).usable.tolist() == [True, False, True]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_frame_with_a_value_that_is_no_number_is_of_no_use(value: float) -> None:
    frames = frames_of(10)
    frames[2, 3, 4] = value
    assert frame_statistics(frames, grey_levels(frames)).usable.tolist() == [True, True, False]


@pytest.mark.parametrize(("left", "right"), [(0, 9), (0, 2), (4, 6), (7, 9)])
@pytest.mark.parametrize(("first", "last"), [(0, 6), (0, 1), (2, 5), (5, 6)])
@pytest.mark.parametrize("sigma", [0.0, 0.7, 1.5, 4.0])
def test_a_band_is_smoothed_and_scaled_as_the_whole_frame(
    first: int, last: int, left: int, right: int, sigma: float
) -> None:
    frames = frames_of(100, (2, 104, 131))
    statistics = frame_statistics(frames, grey_levels(frames))
    grid = SiteGrid(frame=(104, 131), window=64, step=8)
    preprocessing = Preprocessing(
        grid, sigma, "off", grey_levels(frames), beam=float(statistics.mean.mean()), grey=(96.0, 104.0)
    )
    band = preprocessing.band((slice(first, last), slice(left, right)), torch.device("cpu"))
    found = band(frames[:, band.rows, band.columns].copy(), statistics).numpy()
    levelled = frames * (preprocessing.beam / statistics.mean)[:, None, None]
    whole = np.stack([smooth(frame, sigma) if sigma else frame for frame in levelled])
    expected = np.clip((whole - 96) / 8, 0, 1)
    expected = expected[:, 8 * first : 8 * (last - 1) + 64, 8 * left : 8 * (right - 1) + 64]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("zoom", [0.8, 1.0, 1.7])
def test_a_band_is_cut_out_of_the_whole_frame_with_its_hot_pixels(zoom: float) -> None:
    frames = frames_of(100, (2, 130, 150))
    # Also at the edges of what the band needs, where an outlier is told by neighbours outside.
    frames[0, np.arange(130), 7 * np.arange(130) % 150] = 900
    statistics = frame_statistics(frames, grey_levels(frames_of(100)))
    grid = SiteGrid(frame=(130, 150), window=64, step=8, zoom=zoom)
    preprocessing = Preprocessing(grid, 0.7, "robust", grey_levels(frames_of(100)))
    rows, columns = slice(2, 4), slice(1, 6)
    band = preprocessing.band((rows, columns), torch.device("cpu"))
    found = band(frames[:, band.rows, band.columns].copy(), statistics).numpy()
    whole = preprocessing.whole()(frames.copy(), statistics).numpy()
    assert whole.shape[1:] == grid.enlarged
    assert found.max() < 200
    np.testing.assert_allclose(found, whole[:, 16 : 3 * 8 + 64, 8 : 5 * 8 + 64], atol=1e-4)
