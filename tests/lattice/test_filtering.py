"""Filtered frames against the clean picture, and views turned upright."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_hrtem_vae.errors import ParameterError
from napari_hrtem_vae.lattice.conventions import ideal_basis
from napari_hrtem_vae.lattice.filtering import (
    FILTERS,
    filter_frame,
    filter_video,
    grain_image,
    upright_affine,
)

from .nets import net, video_of

PERIOD = 12.0


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


@pytest.mark.parametrize("kind", FILTERS)
def test_filtered_frame_is_nearer_to_the_clean_one(kind) -> None:
    clean = 1 + net((250, 260), PERIOD, 20)
    noisy = np.random.default_rng(0).poisson(10 * clean).astype(np.float32)
    filtered = filter_frame(noisy, kind)
    assert filtered.shape == noisy.shape
    assert filtered.mean() == pytest.approx(noisy.mean(), rel=1e-5)
    assert correlation(filtered, clean) > 1.5 * correlation(noisy, clean)


def test_noise_free_frame_is_hardly_changed() -> None:
    frame = 1 + net((256, 256), 16.0, 0)
    np.testing.assert_allclose(filter_frame(frame), frame, atol=1e-4)


def test_filtered_video_is_lazy_and_leaves_out_nan_frames() -> None:
    video = video_of(1 + net((96, 96), PERIOD, 20), np.full((96, 96), np.nan))
    filtered = filter_video(video)
    assert filtered.chunks is not None
    np.testing.assert_array_equal(filtered.values[0], filter_frame(video.values[0]))
    assert np.isnan(filtered.values[1]).all()


def test_one_grain_is_seen_without_the_other() -> None:
    shape = (240, 300)
    one, other = net(shape, PERIOD, 5), net(shape, PERIOD, 20)
    seen = grain_image(1 + one + other, ideal_basis(1 / PERIOD, 5, 4), 3 * PERIOD)
    inner = np.s_[60:-60, 60:-60]
    assert correlation(seen[inner], one[inner]) > 0.999
    assert seen[inner].std() == pytest.approx(one[inner].std(), rel=0.02)


def test_spots_at_the_edge_of_the_spectrum_are_seen_too() -> None:
    one = net((200, 200), 2.05, 2)
    seen = grain_image(one, ideal_basis(1 / 2.05, 2, 4), 8.0)
    assert correlation(seen[40:-40, 40:-40], one[40:-40, 40:-40]) > 0.99


@given(angle=st.floats(-200, 200), y=st.floats(-50, 50), x=st.floats(-50, 50))
def test_upright_view_turns_the_lattice_onto_the_axes_about_its_centre(angle, y, x) -> None:
    matrix = upright_affine(angle, (y, x))
    np.testing.assert_allclose(matrix @ [y, x, 1], [y, x, 1], atol=1e-9)
    direction = np.deg2rad(angle)
    turned = matrix[:2, :2] @ [np.sin(direction), np.cos(direction)]
    assert np.abs(turned).min() == pytest.approx(0, abs=1e-9)
    assert np.linalg.det(matrix[:2, :2]) == pytest.approx(1)
    # Never by more than half the angle between equal directions.
    assert matrix[0, 0] >= np.cos(np.pi / 4) - 1e-9


def test_unknown_filters_and_foreign_bases_are_refused() -> None:
    frame = np.ones((32, 32))
    with pytest.raises(ParameterError, match="kind is 'median'"):
        filter_frame(frame, "median")
    with pytest.raises(ParameterError, match="kind is 'median'"):
        filter_video(video_of(frame), "median")
    with pytest.raises(ParameterError, match="shape"):
        grain_image(frame, np.eye(3), 5.0)
    with pytest.raises(ParameterError, match="smoothing_px"):
        grain_image(frame, np.eye(2) / 8, 0.0)
