"""Change told by the frames themselves, on fringes of which it is known where and when they turn."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_hrtem_vae.progress import run
from napari_hrtem_vae.vae.preprocessing import frame_statistics
from napari_hrtem_vae.vae.stretches import StretchFrames
from napari_hrtem_vae.video.geometry import SiteGrid
from napari_hrtem_vae.video.outliers import grey_levels

SIDE, WINDOW, STEP = 256, 32, 8
GRID = SiteGrid((SIDE, SIDE), WINDOW, STEP)
PATCH = np.s_[96:176, 96:176]


def fringes(frames: int, turn_deg: float, dose: float = 30.0, seed: int = 3) -> NDArray[np.float32]:
    """Crossed fringes with a patch in the middle that turns, in counts."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE].astype(float) - SIDE / 2
    angles = np.deg2rad(np.full((frames, SIDE, SIDE), 10.0))
    angles[:, *PATCH] += np.deg2rad(np.linspace(0, turn_deg, frames))[:, None, None]
    u, v = np.cos(angles) * x + np.sin(angles) * y, np.cos(angles) * y - np.sin(angles) * x
    wave = 1 + 0.3 * (np.cos(2 * np.pi * u / 8) + np.cos(2 * np.pi * v / 8)) / 2
    return rng.poisson(dose * wave).astype(np.float32)


def change_p(
    video: NDArray[np.float32], together: int = 5, grid: SiteGrid = GRID, outliers: str = "robust"
) -> NDArray[np.float64] | None:
    """Probabilities of as much change by chance, from frames that come `together` at a time."""
    levels = grey_levels(video[np.isfinite(video).all((1, 2))])
    stretches = StretchFrames(len(video), grid, 1.0, outliers)
    statistics = frame_statistics(video, levels)
    for start in range(0, len(video), together):
        part = slice(start, start + together)
        stretches.take(start, video[part].copy(), statistics.of(part), levels)
    beam = float(statistics.mean[statistics.usable].mean())
    return run(stretches.change_steps(beam, None))


def test_a_patch_that_turns_is_found_and_nothing_else() -> None:
    p = change_p(fringes(40, 4.0))
    assert p is not None
    assert p.shape == GRID.shape
    starts = np.arange(GRID.shape[0]) * STEP
    inside = (starts >= 96) & (starts + WINDOW <= 176)
    outside = (starts + WINDOW <= 80) | (starts >= 192)
    assert (p[np.ix_(inside, inside)] < 1e-3).all()
    assert (p[np.ix_(outside, outside)] < 0.05).mean() < 0.1


def test_where_nothing_moves_few_sites_claim_a_change() -> None:
    alarms = [np.mean(change_p(fringes(30, 0.0, seed=seed)) < 0.05) for seed in range(4)]
    assert np.mean(alarms) < 0.08


def test_frames_may_come_in_chunks_of_any_size() -> None:
    video = fringes(30, 3.0)
    np.testing.assert_allclose(change_p(video, 1), change_p(video, 7), rtol=1e-6)


def test_flicker_of_the_beam_is_no_change() -> None:
    steady = fringes(40, 3.0)
    beam = np.linspace(1.3, 0.7, 40, dtype=np.float32)[:, None, None]
    there, still = np.s_[10:16, 10:16], np.s_[:4, :]
    with_flicker = change_p(steady * beam)
    assert (with_flicker[there] < 1e-3).all()
    assert (with_flicker[still] < 0.05).mean() < 0.1


def test_frames_that_cannot_be_used_and_x_rays_are_left_out() -> None:
    video = fringes(40, 3.0)
    before = change_p(video)
    spoiled = video.copy()
    spoiled[[4, 5, 17]] = np.nan
    spoiled[22, 40, 40] = 1e6
    after = change_p(spoiled)
    assert np.isfinite(after).all()
    assert ((before < 0.05) == (after < 0.05)).mean() > 0.95


def test_sites_out_of_view_are_empty() -> None:
    video = fringes(20, 3.0)
    levels = grey_levels(video)
    stretches = StretchFrames(len(video), GRID, 1.0, "off")
    stretches.take(0, video, frame_statistics(video, levels), levels)
    seen = np.ones(GRID.shape, bool)
    seen[:, :2] = False
    p = run(stretches.change_steps(None, seen))
    assert np.array_equal(np.isfinite(p), seen)


@pytest.mark.parametrize("step", [5, 7, 12])
def test_windows_may_lie_any_distance_apart(step: int) -> None:
    video, grid = fringes(20, 4.0), SiteGrid((SIDE, SIDE), WINDOW, step)
    p = change_p(video, grid=grid)
    assert p.shape == grid.shape
    middle = np.argmin(np.abs(np.arange(grid.shape[0]) * step + WINDOW / 2 - 136))
    assert p[middle, middle] < 1e-3


@pytest.mark.parametrize("frames", [1, 7])
def test_too_few_frames_tell_nothing(frames: int) -> None:
    assert change_p(fringes(frames, 3.0)) is None
