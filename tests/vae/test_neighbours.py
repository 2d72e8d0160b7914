"""Averages over neighbouring sites, against sums that are written out."""

from __future__ import annotations

import numpy as np
import pytest

from napari_hrtem_vae.vae.neighbours import Neighbours


def written_out(there: np.ndarray, change: np.ndarray, sigma: float, radius: int) -> np.ndarray:
    """The mean over neighbours with weights of distance and likeness, site by site."""
    out = np.full(there.shape, np.nan)
    for y, x in np.argwhere(np.isfinite(there)):
        total = weights = 0.0
        for v, u in np.argwhere(np.isfinite(there)):
            if abs(v - y) <= radius and abs(u - x) <= radius:
                far = ((v - y) ** 2 + (u - x) ** 2) / (2 * sigma**2)
                weight = np.exp(-far - (np.log(change[v, u] / change[y, x]) / np.log(3.5)) ** 2 / 2)
                total += weight * there[v, u]
                weights += weight
        out[y, x] = total / weights
    return out


def test_an_average_among_alike_is_weighted_by_distance_and_by_ratio() -> None:
    rng = np.random.default_rng(0)
    sites = rng.random((9, 12)) > 0.2
    change, values = rng.gamma(2, 1, (2, sites.sum()))
    neighbours = Neighbours(sites, 4.0)
    found = neighbours.put(neighbours.averaging_alike(change, 0.3)(values))
    expected = written_out(neighbours.put(values), neighbours.put(change), 1.2, 2)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_what_changes_does_not_spread_to_what_is_still_beside_it() -> None:
    change = np.ones((20, 40))
    change[:, 20:] = 1e4
    neighbours = Neighbours(np.ones(change.shape, bool), 8.0)
    alike = neighbours.put(neighbours.averaging_alike(change.ravel(), 0.3)(change.ravel()))
    np.testing.assert_allclose(alike, change, rtol=1e-5)
    assert neighbours.put(neighbours.averaged(change.ravel(), 0.3))[10, 17] > 100


@pytest.mark.parametrize("per_window", [1.0, 2.5, 16.0])
def test_sites_close_together_or_far_apart_are_averaged_as_by_a_gaussian_where_all_are_alike(
    per_window: float,
) -> None:
    rng = np.random.default_rng(1)
    sites = np.ones((60, 60), bool)
    values = rng.normal(size=sites.size)
    neighbours = Neighbours(sites, per_window)
    smooth = neighbours.averaged(values, 0.3)
    inside = np.s_[12:-12, 12:-12]
    found = neighbours.put(neighbours.averaging_alike(np.ones(sites.size), 0.3)(smooth))[inside]
    expected = neighbours.put(neighbours.averaged(smooth, 0.3))[inside]
    assert np.abs(found - expected).max() < 0.05 * smooth.std()
