"""What neighbours tell, against fields of which the averages are known."""

from __future__ import annotations

import numpy as np

from napari_hrtem_vae.vae.meaning.surroundings import surroundings

SHAPE, FEATURES = (9, 12), 3
NEAR, FARTHER = slice(0, FEATURES), slice(FEATURES + 1, 2 * FEATURES + 1)
RATIOS = [FEATURES, 2 * FEATURES + 1]


def field(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    changes = rng.normal(size=(*SHAPE, FEATURES)).astype(np.float32)
    return changes, rng.uniform(0.1, 1, SHAPE).astype(np.float32)


def test_where_all_sites_are_alike_the_average_is_what_each_shows() -> None:
    changes = np.broadcast_to(np.array([1, -2, 0.5], np.float32), (*SHAPE, FEATURES))
    found = surroundings(changes, np.full(SHAPE, 0.3, np.float32), np.ones(SHAPE, bool))
    for part in (NEAR, FARTHER):
        np.testing.assert_allclose(found[..., part], changes, rtol=1e-5)
    np.testing.assert_allclose(found[..., RATIOS], 0, atol=1e-5)


def test_sites_that_are_not_known_say_nothing() -> None:
    changes, power = field()
    known = np.random.default_rng(1).random(SHAPE) < 0.7
    other, more = changes.copy(), power.copy()
    other[~known], more[~known] = np.nan, np.inf
    np.testing.assert_array_equal(
        surroundings(changes, power, known)[known], surroundings(other, more, known)[known]
    )


def test_sites_that_change_the_most_count_the_most() -> None:
    changes, power = field()
    power[:] = 1e-3
    power[4, 6] = 1e3
    found = surroundings(changes, power, np.ones(SHAPE, bool))
    np.testing.assert_allclose(found[4, 5, NEAR], changes[4, 6], atol=1e-2)
    # Around what changes there is less change, and beside it more.
    assert (found[4, 6, RATIOS] < 0).all()
    assert (found[4, 5, RATIOS] > 0).all()


def test_the_average_is_that_of_a_gaussian_of_one_and_a_half_sites() -> None:
    changes, power = field()
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    distance = (y - 4) ** 2 + (x - 5) ** 2
    weight = power * np.exp(-distance / (2 * 1.5**2)) * ((abs(y - 4) <= 4) & (abs(x - 5) <= 4))
    expected = (weight[..., None] * changes).sum((0, 1)) / weight.sum()
    found = surroundings(changes, power, np.ones(SHAPE, bool))
    np.testing.assert_allclose(found[4, 5, NEAR], expected, rtol=1e-4)


def test_where_nothing_changes_there_are_numbers() -> None:
    changes, _ = field()
    assert np.isfinite(surroundings(changes, np.zeros(SHAPE, np.float32), np.ones(SHAPE, bool))).all()
