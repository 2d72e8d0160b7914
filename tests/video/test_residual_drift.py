"""Small shifts that a whole video shares, told of pictures that were shifted by known amounts."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from napari_hrtem_vae.video.residual_drift import ShiftsFromMean, shared_shifts

FRAMES, ROWS, COLUMNS, SIDE = 16, 192, 256, 32
Float = NDArray[np.float32]


def picture(seed: int = 0) -> Float:
    """Film, smooth enough for its gradient to tell shifts, and fringes on a half of it."""
    rng = np.random.default_rng(seed)
    film = 4 * ndimage.gaussian_filter(rng.normal(size=(ROWS, COLUMNS)), 2, mode="wrap")
    y, x = np.indices(film.shape)
    fringes = np.sin(2 * np.pi * (x + 0.4 * y) / 9) * (y < ROWS / 2)
    return (20 + film + fringes).astype(np.float32)


def moved(by: NDArray[np.float64], seed: int = 0, noise: float = 0.0) -> Float:
    """The picture, frame by frame, where all of it lies `by` (frame, 2) px further along y and x."""
    rng = np.random.default_rng(seed + 1)
    spectrum = np.fft.fft2(picture(seed))
    frequencies = np.fft.fftfreq(ROWS)[:, None], np.fft.fftfreq(COLUMNS)[None]
    frames = [
        np.fft.ifft2(spectrum * np.exp(-2j * np.pi * (frequencies[0] * y + frequencies[1] * x))).real
        for y, x in by
    ]
    return (np.array(frames) + noise * rng.normal(size=(len(by), ROWS, COLUMNS))).astype(np.float32)


def told_of(frames: Float) -> NDArray[np.float64] | None:
    parts = ShiftsFromMean(frames.mean(0), SIDE)
    return shared_shifts(*zip(*(parts.of(frame) for frame in frames), strict=True))


def jitter(seed: int, deviation: float = 0.2) -> NDArray[np.float64]:
    by = np.random.default_rng(seed).normal(0, deviation, (FRAMES, 2))
    return by - by.mean(0)


@pytest.mark.parametrize("seed", range(3))
def test_shifts_of_a_whole_video_are_told_and_taken_off(seed: int) -> None:
    by = jitter(seed)
    frames = moved(by, seed, noise=0.01)
    told = told_of(frames)
    assert told is not None
    # The gradient points to where the picture came from.
    np.testing.assert_allclose(told, -by, atol=0.03)
    parts = ShiftsFromMean(frames.mean(0), SIDE)
    still = np.stack([parts.put_back(frame, shift) for frame, shift in zip(frames, told, strict=True)])
    assert still.std(0).mean() < 0.4 * frames.std(0).mean()


def test_what_moves_on_its_own_does_not_draw_the_rest() -> None:
    by = jitter(5)
    own = by + np.linspace(-1.5, 1.5, FRAMES)[:, None]
    frames, others = moved(by), moved(own)
    frames[:, :, : COLUMNS // 3] = others[:, :, : COLUMNS // 3]
    told = told_of(frames)
    assert told is not None
    np.testing.assert_allclose(told, -by, atol=0.06)


def test_noise_is_not_taken_for_a_shift() -> None:
    assert told_of(moved(jitter(1), noise=3.0)) is None


def test_a_video_that_drifts_far_is_left_as_it_is() -> None:
    assert told_of(moved(np.linspace([-3, -3], [3, 3], FRAMES))) is None


def test_a_part_without_a_picture_has_no_shift() -> None:
    frames = moved(jitter(2), noise=0.0)
    frames[:, : 2 * SIDE, : 2 * SIDE] = 7
    shifts, error = ShiftsFromMean(frames.mean(0), SIDE).of(frames[0])
    assert np.isnan(shifts[0]).all()
    assert np.isfinite(shifts[2 : COLUMNS // SIDE]).all()
    assert np.isfinite(error)
    told = told_of(frames)
    assert told is not None
    assert np.isfinite(told).all()


def test_frames_of_one_grey_value_tell_no_shift() -> None:
    assert told_of(np.full((FRAMES, ROWS, COLUMNS), 5, np.float32)) is None
