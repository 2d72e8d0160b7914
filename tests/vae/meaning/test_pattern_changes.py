"""A pattern that changes on its lattice, against a lattice that comes or is another."""

from __future__ import annotations

import numpy as np
import pytest

from napari_hrtem_vae.simulate.material import columns
from napari_hrtem_vae.vae.meaning.pattern_changes import pattern_features

SIDE, PERIOD, MOMENTS = 64, 16.0, 6
BY_FIRST, ALIKE, FIRST, LAST, CHANGE = range(5)


def lattice(angle: float = 0.2) -> np.ndarray:
    y, x = (axis.astype(np.float32) for axis in np.ogrid[:SIDE, :SIDE])
    net = columns(y, x, PERIOD, angle, np.array([0.4, 1.1], np.float32), np.ones(2, np.float32))
    return 0.5 + 0.1 * net


def told(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Features of a window that is the first picture in half of the moments and then the last."""
    return pattern_features(np.stack([first] * (MOMENTS // 2) + [last] * (MOMENTS // 2))[None])[0]


@pytest.mark.parametrize(
    "change", [lambda p: 0.5 + 0.4 * (p - 0.5), lambda p: 1 - p, lambda p: 4 * (p - 0.5) ** 2]
)
def test_a_pattern_that_is_a_function_of_the_first_is_explained_and_periodic(change) -> None:
    features = told(lattice(), change(lattice()))
    assert features[BY_FIRST] > 0.98
    assert features[[FIRST, LAST, CHANGE]].min() > 0.9


def test_a_lattice_that_comes_is_not_explained_by_what_was_there() -> None:
    rng = np.random.default_rng(0)
    film = (0.5 + 0.01 * rng.standard_normal((SIDE, SIDE))).astype(np.float32)
    came, left = told(film, lattice()), told(lattice(), film)
    assert came[BY_FIRST] < 0.2 < 0.8 < left[BY_FIRST]
    assert came[FIRST] < 0.2
    # Backwards, it left.
    np.testing.assert_allclose(left[[LAST, CHANGE]], came[[FIRST, CHANGE]], rtol=1e-4)


def test_another_lattice_is_neither_explained_nor_alike() -> None:
    features = told(lattice(), lattice(0.2 + np.pi / 4))
    faded = told(lattice(), 0.5 + 0.4 * (lattice() - 0.5))
    assert features[BY_FIRST] < 0.7 < faded[BY_FIRST]
    assert features[ALIKE] < 0.8 < faded[ALIKE]


def test_half_a_window_that_changes_is_less_periodic_than_a_whole_one() -> None:
    first, last = lattice(), 1 - lattice()
    half = first.copy()
    half[:, SIDE // 2 :] = last[:, SIDE // 2 :]
    assert told(first, half)[BY_FIRST] < 0.8 * told(first, last)[BY_FIRST]


def test_windows_of_one_grey_level_give_numbers() -> None:
    assert np.isfinite(pattern_features(np.full((3, MOMENTS, SIDE, SIDE), 0.5, np.float32))).all()
