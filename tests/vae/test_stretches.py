"""Change told by the frames themselves, on fringes of which it is known where and when they turn."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_hrtem_vae.progress import run
from napari_hrtem_vae.vae.meaning.components import Components
from napari_hrtem_vae.vae.preprocessing import frame_statistics
from napari_hrtem_vae.vae.stretches import StretchFrames, even_stretches
from napari_hrtem_vae.video.geometry import SiteGrid
from napari_hrtem_vae.video.outliers import GreyLevels, grey_levels

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


def taken(
    video: NDArray[np.float32], together: int = 5, grid: SiteGrid = GRID, outliers: str = "robust"
) -> tuple[StretchFrames, float]:
    """A video that came some frames at a time, and its mean."""
    levels = grey_levels(video[np.isfinite(video).all((1, 2))])
    stretches = StretchFrames(grid, 1.0, outliers)
    statistics = frame_statistics(video, levels)
    for start in range(0, len(video), together):
        part = slice(start, start + together)
        stretches.take(video[part].copy(), statistics.of(part), levels)
    return stretches, float(statistics.mean[statistics.usable].mean())


def change_p(
    video: NDArray[np.float32], together: int = 5, grid: SiteGrid = GRID, outliers: str = "robust"
) -> NDArray[np.float64] | None:
    """Probabilities of as much change by chance."""
    stretches, beam = taken(video, together, grid, outliers)
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


def test_frames_that_cannot_be_used_are_left_out() -> None:
    video = fringes(40, 3.0)
    spoiled = np.insert(video, [4, 4, 17], np.nan, axis=0)
    np.testing.assert_array_equal(change_p(spoiled), change_p(video))


def test_a_beam_that_is_off_for_most_of_the_time_hides_nothing() -> None:
    video = fringes(34, 3.0)
    off = np.full((66, SIDE, SIDE), np.nan, np.float32)
    np.testing.assert_array_equal(change_p(np.concatenate([video, off])), change_p(video))


def test_x_rays_are_taken_out() -> None:
    rng = np.random.default_rng(8)
    video = fringes(40, 3.0)
    # More and more of them, on the left alone: a trend, if they were left.
    hit = video.copy()
    for frame in range(40):
        hit[frame, rng.integers(0, SIDE, frame), rng.integers(0, 80, frame)] = 3000
    before, after, left_in = change_p(video), change_p(hit), change_p(hit, outliers="off")
    assert ((before < 0.05) == (after < 0.05)).mean() > 0.97
    assert ((before < 0.05) == (left_in < 0.05)).mean() < 0.95


def test_a_long_video_has_stretches_of_several_frames_each() -> None:
    few, many = fringes(30, 3.0), np.repeat(fringes(30, 3.0), 8, axis=0)
    np.testing.assert_allclose(np.log(change_p(many)), np.log(change_p(few)), atol=0.02)


@pytest.mark.parametrize("frames", [8, 31, 32, 70, 133])
def test_stretches_looked_at_one_by_one_make_up_the_video(frames: int) -> None:
    video = np.resize(fringes(40, 3.0), (frames, SIDE, SIDE))
    together, beam = taken(video)
    levels = grey_levels(video)
    apart = []
    parts = even_stretches(frames)
    for part in parts:
        one = StretchFrames(GRID, 1.0, "robust", parts[0].stop)
        one.take(video[part].copy(), frame_statistics(video[part], levels), levels)
        apart += one.finished()
    joined = StretchFrames(GRID, 1.0, "robust")
    joined.take_over(apart, levels)
    assert np.concatenate([np.arange(frames)[part] for part in parts]).tolist() == list(range(frames))
    for one, other in zip(apart, together.finished(), strict=True):
        # What is joined is rounded once more.
        np.testing.assert_allclose(one.deviation, other.deviation, atol=4e-3)
        assert one.brightness == pytest.approx(other.brightness, rel=1e-6)
    p, other_p = (run(each.change_steps(beam, None)) for each in (joined, together))
    np.testing.assert_allclose(np.log(p), np.log(other_p), atol=0.1)


def test_sites_out_of_view_are_empty() -> None:
    video = fringes(20, 3.0)
    levels = grey_levels(video)
    stretches = StretchFrames(GRID, 1.0, "off")
    stretches.take(video, frame_statistics(video, levels), levels)
    seen = np.ones(GRID.shape, bool)
    seen[:, :2] = False
    p = run(stretches.change_steps(None, seen))
    assert np.array_equal(np.isfinite(p), seen)


@pytest.mark.parametrize("window", [31, 32, 100])
@pytest.mark.parametrize("step", [5, 8, 12])
@pytest.mark.parametrize("zoom", [1.0, 0.8])
def test_windows_lie_where_the_sites_are(window: int, step: int, zoom: float) -> None:
    """One pixel a time is bright: its components are those of the windows that hold it."""
    side = 250
    grid = SiteGrid((side, side), window, step, zoom)
    y, x = np.array([60, 130, 201, 77, 99, 180, 30, 222]), np.array([40, 131, 90, 200, 55, 160, 222, 30])
    video = np.zeros((8, side, side), np.float32)
    for frame, (row, column) in enumerate(zip(y, x, strict=True)):
        video[frame, row - 2 : row + 3, column - 2 : column + 3] = 100
    stretches = StretchFrames(grid, 0.0, "off")
    levels = GreyLevels(0.0, 1.0)
    stretches.take(video, frame_statistics(video, levels), levels)
    binning = max(2, -(-window // 32))
    total = np.ones(((window // binning) ** 2, 1), np.float32)
    components = Components(np.zeros(len(total), np.float32), total)
    rows = grid.shape[0]
    together = rows if step % binning == 0 else 1
    seen = np.concatenate(
        [
            stretches._components_of(slice(first, min(first + together, rows)), None, components)
            for first in range(0, rows, together)
        ],
        axis=1,
    )[..., 0]
    low = np.arange(rows) * step
    for frame, place in enumerate(np.stack([y, x], 1) * zoom):
        inside, outside = (
            np.logical_and.outer(*((low + margin <= at) & (at < low + window - margin) for at in place))
            for margin in (3 + binning, -3 - binning)
        )
        assert (seen[frame][inside] > 0.9 * seen[frame].max()).all()
        assert (np.abs(seen[frame][~outside]) < 1e-3 * seen[frame].max()).all()


@pytest.mark.parametrize("frames", [1, 7])
def test_too_few_frames_tell_nothing(frames: int) -> None:
    assert change_p(fringes(frames, 3.0)) is None
