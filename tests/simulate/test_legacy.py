"""The paper's Gaussian columns against the Fourier series of a net of Gaussians."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_hrtem_vae.errors import ParameterError
from napari_hrtem_vae.simulate.legacy import SIGMA_PX, simulate_image

SMALL = (160, 160)


def test_one_column_is_a_gaussian_at_the_middle() -> None:
    image = simulate_image(900, shape=(101, 81), jitter_px=0)
    y, x = np.mgrid[-50:51, -40:41]
    np.testing.assert_allclose(image, 0.2 + 0.75 * np.exp(-0.5 * (y**2 + x**2) / SIGMA_PX**2), atol=1e-5)


@pytest.mark.parametrize("sigma", [4.0, SIGMA_PX])
def test_waves_of_a_net_are_those_of_its_fourier_series(sigma: float) -> None:
    # Poisson's sum: order h has amplitude (2π σ² / p²) exp(−2π² σ² h² / p²).
    image = simulate_image(20, shape=SMALL, sigma_px=sigma, jitter_px=0)
    waves = np.abs(np.fft.fft2(image - 0.2)) / image.size / 0.75
    mean = 2 * np.pi * sigma**2 / 400
    for v, u in ((0, 0), (1, 0), (0, 1), (1, 1), (2, 0)):
        expected = mean * np.exp(-2 * np.pi**2 * sigma**2 * (u**2 + v**2) / 400)
        assert waves[8 * v, 8 * u] == pytest.approx(expected, abs=2e-5)


@settings(max_examples=15)
@given(st.floats(12, 30), st.floats(-45, 45), st.floats(-15, 15), st.floats(-15, 15))
def test_fringes_have_the_period_angle_and_place_asked_for(
    period: float, angle: float, dy: float, dx: float
) -> None:
    image = simulate_image(period, angle, translation_px=(dy, dx), shape=(256, 256), jitter_px=0).astype(
        float
    )
    y, x = np.mgrid[:256, :256] - 127.5
    window = np.hanning(256)
    turn = np.deg2rad(angle)
    along = (np.cos(turn) * x + np.sin(turn) * y) / period
    image -= image.mean()
    wave = np.sum(image * np.outer(window, window) * np.exp(-2j * np.pi * along))
    expected = -2 * np.pi * (np.cos(turn) * dx + np.sin(turn) * dy) / period
    # 0.01 periods.
    assert abs(np.angle(wave * np.exp(-1j * expected))) < 2 * np.pi * 0.01


def test_legacy_columns_stand_on_whole_pixels_and_others_between() -> None:
    options = {"shape": SMALL, "sigma_px": 1.0, "jitter_px": 0.0}
    exact, rounded = simulate_image(20.5, 7, **options), simulate_image(20.5, 7, legacy=True, **options)
    tops = (rounded > 0.2 + 0.75 * 0.9999).sum()
    assert tops >= 50
    assert (rounded[1:-1, 1:-1] > 0.9).sum() == (rounded[1:-1, 1:-1] > 0.9499).sum()
    assert (exact > 0.9499).sum() < tops / 4


def test_missing_columns_are_missing() -> None:
    whole = simulate_image(16, shape=(640, 640), sigma_px=2.0, jitter_px=0)
    some = simulate_image(16, shape=(640, 640), sigma_px=2.0, jitter_px=0, defect=0.25, seed=5)
    tops = whole > 0.9
    missing = (some[tops] < 0.25).mean()
    assert missing == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 1600))
    # Others stay as they were.
    assert np.isclose(some[tops], whole[tops]).mean() == pytest.approx(1 - missing)
    np.testing.assert_allclose(simulate_image(16, defect=1.0, shape=SMALL), 0.2)


def test_same_seed_gives_the_same_image() -> None:
    first, second, other = (simulate_image(defect=0.1, shape=SMALL, seed=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"period_px": 0.1},
        {"defect": 2},
        {"shape": (10**6, 10**6)},
        {"sigma_px": float("nan")},
        {"shape": (0, 5)},
    ],
)
def test_values_out_of_range_are_named(wrong: dict) -> None:
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        simulate_image(**wrong)
