"""Batches: each segment once, turned and changed as the recipe asks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_hrtem_vae.vae.batches import BatchSource, smoothed_noise, turn
from napari_hrtem_vae.video.scaling import smooth

from .material import QUICK

CPU = torch.device("cpu")


def test_eight_symmetries_are_those_of_the_square() -> None:
    square = np.arange(9, dtype=np.float32).reshape(3, 3)
    made = turn(torch.from_numpy(np.stack([square] * 8)), torch.arange(8)).numpy()
    truth = [np.rot90(one, turns) for one in (square, square.T) for turns in range(4)]
    assert {one.tobytes() for one in made} == {np.ascontiguousarray(one).tobytes() for one in truth}
    np.testing.assert_array_equal(made[0], square)


def test_an_epoch_has_each_segment_once_and_pairs_stay_pairs() -> None:
    seen = np.random.default_rng(0).random((70, 8, 8), np.float32)
    source = BatchSource(seen, seen + 1, replace(QUICK, batch=32), CPU)
    batches = list(source.epoch(3))
    assert [len(one) for one, _ in batches] == [32, 32, 6]
    assert len(source) == 3
    for one, wanted in batches:
        torch.testing.assert_close(one + 1, wanted)
    sums = torch.cat([one for one, _ in batches]).sum((1, 2, 3)).sort().values
    np.testing.assert_allclose(sums, np.sort(seen.sum((1, 2))), rtol=1e-5)


def test_an_epoch_is_the_same_again_and_others_differ() -> None:
    seen = np.random.default_rng(0).random((40, 64, 64), np.float32)
    source = BatchSource(seen, seen, replace(QUICK, contrast_jitter=0.2, dose_noise=0.1), CPU)
    first, again, other = (torch.cat([one for one, _ in source.epoch(n)]) for n in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_grey_values_change_alike_in_seen_and_wanted() -> None:
    flat = np.full((500, 4, 4), 0.6, np.float32)
    source = BatchSource(
        flat, flat.copy(), replace(QUICK, contrast_jitter=0.5, grey_jitter=0.1, batch=500), CPU
    )
    seen, wanted = next(source.epoch(0))
    assert torch.equal(seen, wanted)
    greys = seen[:, 0, 0, 0].numpy()
    # Contrast between 1 / 1.5 and 1.5 of 0.1 above the middle, then a shift by up to 0.1.
    assert greys.min() >= 0.5 + 0.1 / 1.5 - 0.1 - 1e-6
    assert greys.max() <= 0.5 + 0.1 * 1.5 + 0.1 + 1e-6
    assert greys.std() > 0.04


def test_added_noise_is_on_what_is_seen_only_and_as_strong_as_asked() -> None:
    flat = np.full((256, 64, 64), 0.5, np.float32)
    source = BatchSource(flat, flat, replace(QUICK, dose_noise=0.1, batch=256), CPU)
    seen, wanted = next(source.epoch(0))
    assert torch.equal(wanted, torch.full_like(wanted, 0.5))
    # Standard deviations are uniform from 0 to 0.1: their mean is 0.05.
    assert float(seen.std((1, 2, 3)).mean()) == pytest.approx(0.05, rel=0.1)


def test_noise_is_as_smooth_as_smoothed_frames_are() -> None:
    made = smoothed_noise(200, 64, 1.5, torch.Generator().manual_seed(0)).numpy()
    white = smooth(np.random.default_rng(0).standard_normal((200, 64, 64)), 1.5)
    assert made.std() == pytest.approx(1, abs=0.02)
    neighbours = [
        float((x[:, :, 10:-10] * np.roll(x, 2, 2)[:, :, 10:-10]).mean() / x.var()) for x in (made, white)
    ]
    assert neighbours[0] == pytest.approx(neighbours[1], abs=0.03)
