"""Training: it learns, it stops when asked, and nothing dead or diverged comes out of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

import napari_hrtem_vae as hv
from napari_hrtem_vae.errors import CancelledError, DeviceError, ParameterError, TrainingError
from napari_hrtem_vae.progress import Progress, run
from napari_hrtem_vae.vae.evaluation import check_room
from napari_hrtem_vae.vae.optimisation import one_cycle
from napari_hrtem_vae.vae.recipe import Recipe
from napari_hrtem_vae.vae.simulated import simulated_segments_steps, train_simulated_steps
from napari_hrtem_vae.vae.training import Epoch, Segments, entropy_floor, train_steps

from .material import QUICK, epochs_of, stripes


def test_training_lowers_the_loss_and_orders_the_latents() -> None:
    model = run(train_steps(stripes(192, 0), stripes(64, 1), QUICK))
    curves = model.card.training["curves"]
    assert curves[-1]["val_bce"] < curves[0]["val_bce"] - 20
    assert model.card.training["bce"] > entropy_floor(stripes(64, 1).wanted)
    mean, _ = model.encode(stripes(192, 0).seen)
    variances = mean.var(0)
    np.testing.assert_allclose(variances, model.card.training["variances"], rtol=1e-2, atol=1e-4)
    assert (np.diff(variances) >= -1e-6).all()


def test_half_precision_within_a_step_learns_the_same() -> None:
    exact, half = (
        list(epochs_of(train_steps(stripes(96, 0), stripes(32, 1), replace(QUICK, precision=precision))))[-1]
        for precision in ("float32", "bfloat16")
    )
    assert half.bce != exact.bce
    assert half.validation_bce == pytest.approx(exact.validation_bce, rel=0.02)
    with pytest.raises(ParameterError, match="precision is 'float8'; give one of float32, bfloat16"):
        Recipe(precision="float8")


@pytest.mark.parametrize(
    ("factor", "size", "says"),
    [(255, 64, "grey values from .* to .*; scale them to 0…1"), (1, 32, "32 × 32 px, the network unpadded")],
)
def test_segments_that_the_loss_or_the_network_cannot_take_are_refused(factor, size, says) -> None:
    good = stripes(32, 0)
    seen = factor * good.seen[:, :size, :size]
    with pytest.raises(TrainingError, match=says):
        run(train_steps(good, Segments(seen, seen), QUICK))


def test_dead_latents_are_refused() -> None:
    with pytest.raises(TrainingError, match="latents died"):
        run(train_steps(stripes(128, 0), stripes(32, 1), replace(QUICK, beta=1000.0, epochs=2)))


def test_divergence_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"diverged|died"):
        run(train_steps(stripes(128, 0), stripes(32, 1), replace(QUICK, learning_rate=1e6)))


def test_training_stops_when_asked() -> None:
    steps = []
    with pytest.raises(CancelledError):
        run(train_simulated_steps(QUICK), on_progress=steps.append, stop=lambda: len(steps) == 20)
    assert len(steps) == 20


def test_same_seed_gives_the_same_losses() -> None:
    recipes = [QUICK, QUICK, replace(QUICK, seed=1)]
    first, again, other = (
        next(epochs_of(train_steps(stripes(40, 0), stripes(32, 1), recipe))) for recipe in recipes
    )
    assert (first.bce, first.kl, first.validation_bce) == (again.bce, again.kl, again.validation_bce)
    np.testing.assert_array_equal(first.examples[2], again.examples[2])
    assert first.bce != other.bce


def test_patches_train_a_model() -> None:
    model = hv.train(stripes(210, 0).wanted, replace(QUICK, beta=1e-6))
    assert model.encode(stripes(3, 1).seen)[0].shape == (3, 64)
    with pytest.raises(TrainingError, match="leaves none to validate on"):
        hv.train(stripes(1, 0).seen, QUICK)


def test_segments_that_are_no_numbers_are_refused() -> None:
    broken = np.full((2, 64, 64), np.nan, np.float32)
    with pytest.raises(TrainingError, match="no numbers"):
        Segments(broken, broken)


def test_each_epoch_tells_how_it_went_and_makes_its_best_model() -> None:
    recipe = replace(QUICK, beta=1e-6, epochs=3, warmup_epochs=2)
    validation = stripes(40, 1)
    seen = list(epochs_of(train_steps(stripes(96, 0), validation, recipe)))
    assert [one.epoch for one in seen] == [1, 2, 3]
    assert [one.best is None for one in seen] == [True, False, False]
    last = seen[-1]
    assert isinstance(last, Progress)
    assert (last.epochs, last.done, last.total, last.variances.shape) == (3, 36, 36, (64,))
    assert last.active == (last.variances > 0.01).sum() >= 2
    assert (np.diff(last.variances) >= 0).all()
    assert [part.shape for part in last.examples] == [(8, 64, 64)] * 3
    np.testing.assert_array_equal(last.examples[0][[0, -1]], validation.seen[[0, -1]])
    best = last.best()
    curves = best.card.training["curves"]
    losses = [entry["val_bce"] + recipe.beta * entry["val_kl"] for entry in curves]
    assert best.card.training["epoch"] == 2 + int(np.argmin(losses[1:]))
    # What it draws is what the examples show, once the latents are in order.
    if best.card.training["epoch"] == 3:
        drawn = best.decode(best.encode(last.examples[0])[0])
        np.testing.assert_allclose(drawn, last.examples[2], atol=1e-4)


def test_dying_latents_are_told_of_while_training() -> None:
    steps = train_steps(stripes(64, 0), stripes(32, 1), replace(QUICK, beta=1000.0))
    first, second = islice(epochs_of(steps), 2)
    # In the first epoch they may yet come alive.
    assert first.notice == ""
    assert "Latents are dying: 0 of 64 active; lower beta" in second.notice


def test_divergence_stops_the_training_within_its_epoch() -> None:
    yielded = []
    with pytest.raises(TrainingError, match="diverged in epoch 1; lower learning_rate"):
        run(
            train_steps(stripes(128, 0), stripes(32, 1), replace(QUICK, learning_rate=1e6)),
            on_progress=yielded.append,
        )
    assert not any(isinstance(one, Epoch) for one in yielded)


def test_schedule_is_torchs_one_cycle() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    adam = torch.optim.Adam([weight], 0.2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, 0.2, total_steps=1001)
    for number in range(1001):
        rate, momentum = one_cycle(number / 1000)
        # Torch has its peak one step earlier.
        assert 0.2 * rate == pytest.approx(adam.param_groups[0]["lr"], abs=2e-3)
        assert momentum == pytest.approx(adam.param_groups[0]["betas"][0], abs=2e-3)
        adam.step()
        if number < 1000:
            schedule.step()


def test_device_that_is_not_there_is_refused_before_the_work() -> None:
    with pytest.raises(DeviceError, match="no device cuda:99"):
        next(train_simulated_steps(QUICK, device="cuda:99"))


def test_more_segments_than_memory_are_refused_before_the_work() -> None:
    with pytest.raises(ParameterError, match="half of the free memory"):
        next(train_simulated_steps(replace(QUICK, segments=10_000_000)))
    check_room(64, 64)


@pytest.mark.parametrize("scenes", ["multislice", "both"])
def test_scenes_of_atoms_make_segments(scenes: str) -> None:
    recipe = replace(QUICK, scenes=scenes, target="noise-free")
    first, again = (run(simulated_segments_steps(recipe, 6, 1)) for _ in range(2))
    assert first.seen.shape == first.wanted.shape == (6, 64, 64)
    np.testing.assert_array_equal(first.seen, again.seen)
    # Noise is in what is seen, not in what is wanted.
    assert np.diff(first.seen, axis=1).std() > np.diff(first.wanted, axis=1).std()
