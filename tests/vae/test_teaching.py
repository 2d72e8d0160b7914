"""A model that learns the code of another, closer with more passes; one that cannot teach it is refused."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

import napari_hrtem_vae as hv
from napari_hrtem_vae.errors import HrtemVaeError, ModelFileError, ParameterError, TrainingError
from napari_hrtem_vae.progress import Progress, run
from napari_hrtem_vae.vae.architecture import unpadded, unpadded_strided
from napari_hrtem_vae.vae.model import Model
from napari_hrtem_vae.vae.network import Network
from napari_hrtem_vae.vae.simulated import train_simulated_steps
from napari_hrtem_vae.vae.teaching import code_divergence, load_teacher, teach_steps
from napari_hrtem_vae.vae.training import train_steps

from .material import QUICK, epochs_of, stripes

CPU = torch.device("cpu")
STRIDED = replace(QUICK, architecture="unpadded-strided", epochs=1, learning_rate=5e-4)


@pytest.fixture(scope="module")
def teacher() -> Model:
    """A model that has learned a little."""
    return run(train_steps(stripes(96, 0), stripes(32, 1), replace(QUICK, name="teacher", smoothing_px=1.5)))


@pytest.fixture(scope="module")
def teacher_file(teacher: Model, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    hv.save_model(teacher, path)
    return str(path)


def test_divergence_of_codes_is_that_of_normal_distributions() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, log_variance, its_mean, its_log_variance = torch.randn((4, 7, 5), generator=generator)
    expected = kl_divergence(
        Normal(mean, (log_variance / 2).exp()), Normal(its_mean, (its_log_variance / 2).exp())
    )
    found = code_divergence(mean, log_variance, its_mean, its_log_variance)
    torch.testing.assert_close(found, expected.sum(1))


def test_an_encoder_comes_closer_to_its_teachers_code_and_has_its_decoder(teacher: Model) -> None:
    windows = stripes(64, 2).seen
    wanted = teacher.encode(windows)[0]
    away = []
    for passes in (5, 120):
        torch.manual_seed(0)
        network = Network(unpadded_strided())
        recipe = replace(STRIDED, teaching_epochs=passes)
        run(teach_steps(network, teacher, stripes(128, 0), recipe, CPU))
        model = Model(replace(teacher.card, architecture=unpadded_strided()), network)
        active = wanted.std(0) > 0.1
        assert active.sum() >= 2
        error = (model.encode(windows)[0] - wanted)[:, active] / wanted.std(0)[active]
        away.append(float(np.sqrt((error**2).mean())))
        np.testing.assert_array_equal(model.decode(wanted), teacher.decode(wanted))
    assert away[1] < 0.6
    assert away[1] < 0.6 * away[0]


def test_training_begins_with_what_the_teacher_knows(teacher_file: str, tmp_path: Path) -> None:
    recipe = replace(STRIDED, teacher=teacher_file, teaching_epochs=60, warmup_epochs=0)
    told: list[Progress] = []
    path = tmp_path / "model.checkpoint"
    segments = stripes(128, 0), stripes(32, 1)
    taught = run(train_steps(*segments, recipe, checkpoint=path), on_progress=told.append)
    alone = next(epochs_of(train_steps(*segments, replace(recipe, teacher=""))))
    assert taught.card.training["bce"] < alone.validation_bce - 20
    assert taught.card.training["recipe"]["teacher"] == teacher_file
    assert any("Learning from teacher, pass 60" in one.message for one in told)
    # What was taught once is in the checkpoint.
    told.clear()
    again = run(train_steps(*segments, recipe, checkpoint=path), on_progress=told.append)
    assert again.checksum == taught.checksum
    assert not any("Learning" in one.message for one in told)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"teacher": "nobody"}, ModelFileError, "There is no model nobody"),
        ({"teacher": "pbs-64"}, ParameterError, "pbs-64 has activation 'relu' and the recipe 'silu'"),
        ({"smoothing_px": 0.5}, ParameterError, "smoothing_px 1.5 and the recipe 0.5; choose another"),
        ({"scaling": "window"}, ParameterError, "scaling 'video' and the recipe 'window'"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_before_the_work(
    changes: dict, error: type[HrtemVaeError], says: str, teacher_file: str
) -> None:
    recipe = replace(STRIDED, **{"teacher": teacher_file, **changes})
    with pytest.raises(error, match=says):
        next(train_simulated_steps(recipe))
    with pytest.raises(ParameterError, match="teacher is 3; give a model's name or file"):
        replace(STRIDED, teacher=3)


def test_a_teacher_with_another_decoder_is_refused(teacher: Model, tmp_path: Path) -> None:
    architecture = replace(unpadded(), decoder=None)
    only_encoder = Model(replace(teacher.card, architecture=architecture), Network(architecture))
    path = tmp_path / "half.safetensors"
    hv.save_model(only_encoder, path)
    with pytest.raises(ParameterError, match="no encoder, or another decoder than unpadded-strided"):
        load_teacher(replace(STRIDED, teacher=str(path)))


def test_learning_that_diverges_is_told_within_its_pass(teacher: Model) -> None:
    network = copy.deepcopy(teacher.network)
    # So sure of its code that no float32 holds how far another one is from it.
    network.encoder.to_log_variance.bias -= 200
    steps = teach_steps(
        Network(unpadded_strided()), Model(teacher.card, network), stripes(128, 0), STRIDED, CPU
    )
    with pytest.raises(TrainingError, match="Learning from teacher diverged in pass 1; choose another seed"):
        run(steps)


def test_stop_while_the_code_is_learned(teacher_file: str) -> None:
    steps = train_steps(stripes(96, 0), stripes(32, 1), replace(STRIDED, teacher=teacher_file))
    while "Learning" not in next(steps).message:
        pass
    steps.close()
    assert list(epochs_of(steps)) == []
