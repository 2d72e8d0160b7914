"""Maps against numpy and scipy on the same field, and what noise alone may claim."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from napari_hrtem_vae.errors import VideoShapeError
from napari_hrtem_vae.vae.dynamics import map_dynamics
from napari_hrtem_vae.vae.statistics import combined_p, false_discovery_rate, rank_statistics


def field_of(values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values.astype(np.float32), dims=("time", "y", "x", "latent"))


@pytest.fixture
def field() -> xr.DataArray:
    rng = np.random.default_rng(4)
    values = rng.standard_normal((23, 5, 6, 4))
    values[:, 1, 2, 0] += np.linspace(0, 5, 23)
    values[:, 3, 3, 1] = np.round(values[:, 3, 3, 1])
    values[:, 0, 0, 2] = 1.5
    return field_of(values)


def test_maps_equal_numpy_and_scipy(field: xr.DataArray) -> None:
    maps = map_dynamics(field)
    variance = field.values.astype(np.float64).var(0)
    np.testing.assert_allclose(maps["variance"], variance, rtol=1e-5, atol=1e-7)
    for y, x, latent in np.ndindex(5, 6, 4):
        if (y, x, latent) == (0, 0, 2):
            continue
        rho = stats.spearmanr(field.values[:, y, x, latent], np.arange(23)).statistic
        assert maps["spearman"].values[y, x, latent] == pytest.approx(rho, abs=1e-5)
        published = (rho * variance[y, x, latent]) ** 2
        assert maps["time_correlated_variance"].values[y, x, latent] == pytest.approx(
            published, rel=1e-5, abs=1e-7
        )


def test_constant_series_has_no_rank_correlation(field: xr.DataArray) -> None:
    maps = map_dynamics(field)
    assert np.isnan(maps["spearman"].values[0, 0, 2])
    assert np.isnan(maps["significance"].values[0, 0, 2])
    assert maps["variance"].values[0, 0, 2] == 0


@settings(max_examples=50)
@given(
    hnp.arrays(
        np.float32, st.tuples(st.integers(2, 30), st.integers(1, 5)), elements=st.integers(-3, 3).map(float)
    )
)
def test_ties_get_their_mean_rank(series: np.ndarray) -> None:
    _, rho, _ = rank_statistics(series)
    for column, found in zip(series.T, rho, strict=True):
        if np.ptp(column) == 0:
            assert np.isnan(found)
        else:
            ranks = stats.rankdata(column)
            assert found == pytest.approx(np.corrcoef(ranks, np.arange(len(column)))[0, 1], abs=1e-5)


def test_frames_that_are_no_numbers_are_left_out(field: xr.DataArray) -> None:
    broken = field.copy(deep=True)
    broken[7] = np.nan
    expected = map_dynamics(field.isel(time=[index for index in range(23) if index != 7]))
    xr.testing.assert_allclose(map_dynamics(broken), expected)


def test_one_frame_has_no_maps() -> None:
    with pytest.raises(VideoShapeError, match="no time axis"):
        map_dynamics(field_of(np.zeros((1, 2, 2, 3))))


def test_other_axes_are_refused() -> None:
    with pytest.raises(VideoShapeError, match="give \\(time, y, x, latent\\)"):
        map_dynamics(xr.DataArray(np.zeros((3, 2, 2)), dims=("time", "y", "x")))


def test_significance_finds_the_trend_and_spares_white_noise() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((40, 20, 20, 8))
    values[:, 4, 5, 3] += np.linspace(0, 8, 40)
    maps = map_dynamics(field_of(values))
    significant = maps["significance"].values > -np.log10(0.05)
    assert significant[4, 5, 3]
    # At most one expected false discovery in twenty among the few that are found.
    assert significant.sum() <= 3
    assert np.unravel_index(int(maps["change"].values.argmax()), (20, 20)) == (4, 5)


@pytest.mark.parametrize("memory", [0.0, 0.3, 0.6])
def test_autocorrelated_noise_is_not_taken_for_a_trend(memory: float) -> None:
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((150, 5000))
    for frame in range(1, 150):
        noise[frame] += memory * noise[frame - 1]
    _, rho, p = rank_statistics(noise[50:].astype(np.float32))
    naive = stats.t.sf(np.abs(rho) * np.sqrt(98 / (1 - rho**2)), 98) * 2
    false_alarms = (p < 0.05).mean()
    # 5 % are stated; the short-series estimate of the memory costs a little.
    assert 0.03 < false_alarms < 0.075
    if memory > 0.5:
        assert (naive < 0.05).mean() > 3 * false_alarms


@pytest.mark.parametrize("memory", [0.0, 0.6, 0.8])
def test_still_field_of_autocorrelated_noise_shows_next_to_nothing(memory: float) -> None:
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((90, 15, 15, 32))
    for frame in range(1, 90):
        noise[frame] += memory * noise[frame - 1]
    change = map_dynamics(field_of(noise[50:]))["change"].values
    assert (change > -np.log10(0.05)).mean() < 0.08


def test_few_frames_cannot_claim_more_than_their_orders_allow() -> None:
    _, rho, p = rank_statistics(np.arange(5, dtype=np.float32)[:, None])
    assert rho[0] == pytest.approx(1)
    assert p[0] == pytest.approx(2 / 120)


def test_false_discovery_rate_equals_scipy() -> None:
    p = np.random.default_rng(0).random((7, 9)) ** 3
    expected = stats.false_discovery_control(p.ravel()).reshape(p.shape)
    np.testing.assert_allclose(false_discovery_rate(p), expected)


def test_combined_p_is_uniform_without_change_and_leaves_out_nan() -> None:
    p = np.random.default_rng(0).random((20000, 12))
    p[:, 3] = np.nan
    assert (combined_p(p) < 0.05).mean() == pytest.approx(0.05, abs=0.01)
    assert np.isnan(combined_p(np.full((1, 4), np.nan)))[0]
