"""Segments with lattice fringes are picked, film and noise are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import napari_hrtem_vae as hv
from napari_hrtem_vae.errors import TrainingError
from napari_hrtem_vae.progress import Progress, run
from napari_hrtem_vae.vae.cutting import cut, cutter_steps
from napari_hrtem_vae.vae.picking import (
    AUTOMATIC_THRESHOLD,
    fringe_strengths,
    pick_segments_steps,
    preview_segments_steps,
)
from napari_hrtem_vae.vae.recipe import Recipe

from ..conftest import video_of
from .material import film, lattice

RECIPE = Recipe(segments=200)


def share_picked(picture: np.ndarray, rng: np.random.Generator, count: int = 60) -> float:
    picture = picture.astype(np.float32)
    windows = cut(picture, rng.integers(0, np.array(picture.shape) - 63, (count, 2)), 64)
    return float((fringe_strengths(windows, picture) >= AUTOMATIC_THRESHOLD).mean())


def test_of_film_and_noise_at_most_two_in_a_hundred_are_picked() -> None:
    rng = np.random.default_rng(0)
    shares = [share_picked(film(rng, (384, 320), dose), rng) for dose in [3, 10, 30, 100] * 5]
    assert np.mean(shares) <= 0.02


def test_a_hole_in_the_film_is_not_taken_for_fringes() -> None:
    rng = np.random.default_rng(1)
    shares = []
    for _ in range(10):
        picture = film(rng, (384, 384), 20)
        picture[:, 200:] = rng.poisson(22, (384, 184))
        shares.append(share_picked(picture, rng))
    assert np.mean(shares) <= 0.04


@pytest.mark.parametrize("period", [8.0, 18.0, 22.0])
def test_of_fringes_at_ten_electrons_nine_in_ten_are_picked(period: float) -> None:
    rng = np.random.default_rng(2)
    shares = [
        share_picked(lattice(rng, (320, 384), 10, period, contrast), rng) for contrast in (0.12, 0.25) * 4
    ]
    assert np.mean(shares) >= 0.9


def test_one_set_of_fringes_is_enough() -> None:
    rng = np.random.default_rng(3)
    y = np.arange(256)[:, None]
    picture = rng.poisson(10 * (1 + 0.2 * np.cos(2 * np.pi * y / 20)) * np.ones((1, 256)))
    assert share_picked(picture, rng) >= 0.9


def test_brightness_that_changes_slowly_is_no_fringe() -> None:
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:300, :300] / 300
    assert share_picked(rng.poisson(20 * (1 + 2 * y * x + x**2)), rng) <= 0.02


def half_and_half(frames: int, seed: int = 5) -> np.ndarray:
    """Crystal on the left, film on the right."""
    rng = np.random.default_rng(seed)
    made = [np.hstack([lattice(rng, (256, 256), 20, 20.0), film(rng, (256, 256), 20)]) for _ in range(frames)]
    return np.stack(made)


def test_preview_shows_what_is_kept_and_of_how_many() -> None:
    steps: list[Progress] = []
    video = video_of(half_and_half(2))
    preview = run(preview_segments_steps([video], RECIPE), on_progress=steps.append)
    assert len(steps) > 3
    # Windows within the left half are 193 of 449 places; those across the edge have fringes as well.
    assert 0.35 < preview.share < 0.6
    assert preview.windows.shape == (64, 64, 64)
    assert preview.windows.dtype == preview.scores.dtype == np.float32
    assert 0 <= preview.windows.min() < preview.windows.max() <= 1
    assert preview.share == pytest.approx((preview.scores >= preview.threshold).mean())
    assert preview.threshold == AUTOMATIC_THRESHOLD
    assert preview.notices == ()
    everything = run(preview_segments_steps([video], RECIPE, threshold=0.0))
    assert everything.share == 1
    np.testing.assert_array_equal(everything.scores, preview.scores)
    nothing = run(preview_segments_steps([video], replace(RECIPE, fringe_threshold=1e6)))
    assert (nothing.share, nothing.windows.shape) == (0, (0, 64, 64))


def test_preview_of_film_says_that_there_are_no_fringes() -> None:
    rng = np.random.default_rng(6)
    video = video_of(np.stack([film(rng, (256, 256), 20) for _ in range(3)]))
    (notice,) = run(preview_segments_steps([video], RECIPE)).notices
    assert "No lattice fringes were found" in notice
    assert "fringe_threshold below 12" in notice


def test_picking_film_ends_soon_and_gives_nothing() -> None:
    rng = np.random.default_rng(7)
    video = video_of(np.stack([film(rng, (200, 200), 20) for _ in range(3)]))
    cutter = run(cutter_steps(video, 1.0, RECIPE))
    picked = run(pick_segments_steps(cutter, 100_000, 0, None))
    assert len(picked.windows) == 0
    assert 1000 <= len(picked.scores) < 1300


def test_picked_segments_are_as_analyze_would_see_them() -> None:
    video = video_of(half_and_half(3))
    cutter = run(cutter_steps(video, 1.0, RECIPE))
    picked = run(pick_segments_steps(cutter, 100, 0, None))
    again = run(pick_segments_steps(cutter, 100, 0, None))
    np.testing.assert_array_equal(picked.windows, again.windows)
    assert picked.windows.shape == (100, 64, 64)
    # Smoothed by 1.5 px: noise between neighbouring pixels is gone.
    assert np.abs(np.diff(picked.windows, axis=2)).mean() < 0.06
    by_window = run(cutter_steps(video, 1.0, replace(RECIPE, scaling="window")))
    windows = run(pick_segments_steps(by_window, 50, 0, None)).windows
    assert (windows.min((1, 2)) == 0).all()
    assert (windows.max((1, 2)) == 1).all()


def test_hot_pixels_and_frames_of_nothing_do_not_show() -> None:
    frames = half_and_half(3).astype(np.float32)
    rng = np.random.default_rng(8)
    hot = frames.copy()
    hot.reshape(-1)[rng.integers(0, hot.size, 40)] = 1e5
    hot[1] = np.nan
    kept = video_of(frames[[0, 2]])
    truth, seen = (run(cutter_steps(video, 1.0, RECIPE)) for video in (kept, video_of(hot)))
    assert seen.grey == pytest.approx(truth.grey, rel=0.02)
    assert np.isfinite(run(pick_segments_steps(seen, 50, 0, None)).windows).all()


def test_frames_of_nothing_and_small_frames_are_refused() -> None:
    with pytest.raises(TrainingError, match="no usable frame"):
        run(cutter_steps(video_of(np.ones((20, 80, 80))), 1.0, RECIPE))
    with pytest.raises(TrainingError, match="smaller than the window"):
        run(cutter_steps(video_of(np.ones((20, 40, 80))), 1.0, RECIPE))
    with pytest.raises(TrainingError, match="smaller than the window"):
        run(cutter_steps(video_of(np.ones((20, 120, 120))), 0.5, RECIPE))


def test_real_crystals_are_picked_and_their_film_is_not(shared_data: Path) -> None:
    still = hv.open_video(shared_data / "pbs_hrtem" / "pbs_nanocrystals_543x542.tif")
    preview = run(preview_segments_steps([still], RECIPE))
    # Crystals on axis cover about a tenth of the frame.
    assert 0.05 < preview.share < 0.3
    assert "fringes of 2.6 px are brought to 20.0 px" in preview.notices[0]
