"""Training: it learns, it stops when asked, and nothing dead or diverged comes out of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import napari_hrtem_vae as hv
from napari_hrtem_vae.errors import CancelledError, ParameterError, TrainingError
from napari_hrtem_vae.progress import run
from napari_hrtem_vae.vae.images import train_images_steps
from napari_hrtem_vae.vae.recipe import Recipe, load_recipe, recipe_names
from napari_hrtem_vae.vae.simulated import train_simulated_steps
from napari_hrtem_vae.vae.training import Segments, entropy_floor, train_steps

from ..conftest import video_of

QUICK = Recipe(name="quick", segments=256, epochs=3, warmup_epochs=1, batch=32, learning_rate=2e-3, beta=0.01)


def stripes(count: int, seed: int) -> Segments:
    """Windows of plain fringes of any direction and phase: little to learn."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64].astype(np.float32)
    direction, phase = rng.uniform(0, np.pi, (count, 1, 1)), rng.uniform(0, 2 * np.pi, (count, 1, 1))
    waves = np.cos((np.cos(direction) * x + np.sin(direction) * y) * 2 * np.pi / 40 + phase)
    clean = (0.5 + 0.4 * waves).astype(np.float32)
    return Segments(np.clip(clean + rng.normal(0, 0.05, clean.shape), 0, 1).astype(np.float32), clean)


def test_training_lowers_the_loss_and_orders_the_latents() -> None:
    model = run(train_steps(stripes(512, 0), stripes(64, 1), replace(QUICK, epochs=5)))
    curves = model.card.training["curves"]
    assert curves[-1]["val_bce"] < curves[0]["val_bce"] - 20
    assert model.card.training["bce"] > entropy_floor(stripes(64, 1).wanted)
    mean, _ = model.encode(stripes(512, 0).seen)
    variances = mean.var(0)
    np.testing.assert_allclose(variances, model.card.training["variances"], rtol=1e-2, atol=1e-4)
    assert (np.diff(variances) >= -1e-6).all()


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


def test_same_seed_gives_the_same_model() -> None:
    quick = replace(QUICK, beta=1e-5, epochs=2)
    first, second = (run(train_steps(stripes(192, 0), stripes(32, 1), quick)) for _ in range(2))
    windows = stripes(4, 2).seen
    np.testing.assert_allclose(first.encode(windows)[0], second.encode(windows)[0], atol=1e-5)


def test_own_videos_train_a_model_that_says_where_it_came_from() -> None:
    rng = np.random.default_rng(0)
    x = np.arange(96)[None].repeat(96, 0)
    frames = np.stack([200 + 150 * np.cos((x + shift) / 6) for shift in range(12)])
    model = hv.train(video_of(rng.poisson(frames)), replace(QUICK, beta=1e-5, epochs=4))
    assert model.card.material == "own images"
    assert model.card.pixel_size_nm == 0.014
    assert model.card.training["recipe"]["target"] == "input"


def test_patches_train_a_model() -> None:
    model = hv.train(stripes(600, 0).wanted, replace(QUICK, beta=1e-6, epochs=6))
    assert model.encode(stripes(3, 1).seen)[0].shape == (3, 64)
    with pytest.raises(TrainingError, match="leaves none to validate on"):
        hv.train(stripes(1, 0).seen, QUICK)


def test_images_of_other_pixel_sizes_are_refused() -> None:
    with pytest.raises(TrainingError, match="one pixel size"):
        hv.train([video_of(np.ones((2, 80, 80)), 0.014), video_of(np.ones((2, 80, 80)), 0.02)], QUICK)


def test_one_still_leaves_none_to_validate_on() -> None:
    with pytest.raises(TrainingError, match="two images or a video"):
        run(train_images_steps([video_of(np.ones((1, 80, 80)))], QUICK))


def test_frames_of_nothing_and_small_frames_are_refused() -> None:
    with pytest.raises(TrainingError, match="no usable frame"):
        run(train_images_steps([video_of(np.ones((20, 80, 80)))], QUICK))
    with pytest.raises(TrainingError, match="smaller than the window"):
        run(train_images_steps([video_of(np.ones((20, 40, 80)))], QUICK))


def test_segments_that_are_no_numbers_are_refused() -> None:
    broken = np.full((2, 64, 64), np.nan, np.float32)
    with pytest.raises(TrainingError, match="no numbers"):
        Segments(broken, broken)


def test_recipes_of_the_package_load() -> None:
    assert {"pbs-64", "pbs-64-fast", "pbs-64-published"} <= set(recipe_names())
    assert load_recipe("pbs-64-published").beta == 2


@pytest.mark.parametrize(
    "text",
    ["[1, 2]", "surprise: 1", "beta: -1", "epochs: 0", "a: b: c", "architecture: giant", "epochs: many"],
)
def test_recipe_that_is_none_is_refused(text: str, tmp_path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ParameterError):
        load_recipe(path)
