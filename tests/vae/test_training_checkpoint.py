"""Stop and resume: the same losses to the bit, and no checkpoint but one's own."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from napari_hrtem_vae.errors import TrainingError
from napari_hrtem_vae.progress import Progress, run
from napari_hrtem_vae.vae import tensor_file
from napari_hrtem_vae.vae.simulated import train_simulated_steps
from napari_hrtem_vae.vae.training import Epoch, train_steps

from .material import QUICK, epochs_of, stripes

RECIPE = replace(QUICK, beta=1e-6, contrast_jitter=0.1, dose_noise=0.05)
TRAIN, VALIDATION = stripes(96, 0), stripes(32, 1)


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("stopped") / "model.checkpoint"
    steps = train_steps(TRAIN, VALIDATION, RECIPE, checkpoint=path)
    next(epochs_of(steps))
    next(steps)
    steps.close()
    return path.read_bytes()


@pytest.fixture
def stopped(stopped_once: bytes, tmp_path: Path) -> Path:
    """The checkpoint of a training that was stopped in its second epoch."""
    path = tmp_path / "model.checkpoint"
    path.write_bytes(stopped_once)
    return path


def losses(epoch: Epoch) -> tuple[float, ...]:
    return epoch.bce, epoch.kl, epoch.validation_bce, epoch.validation_kl, *epoch.variances


@pytest.mark.parametrize("architecture", ["unpadded", "published-pbs"])
def test_a_stop_changes_no_loss_and_no_weight(architecture: str, tmp_path: Path) -> None:
    recipe, train = replace(RECIPE, architecture=architecture), stripes(20, 0)
    paths = [tmp_path / name for name in ("whole.checkpoint", "stopped.checkpoint")]
    whole = list(islice(epochs_of(train_steps(train, VALIDATION, recipe, checkpoint=paths[0])), 3))
    first = train_steps(train, VALIDATION, recipe, checkpoint=paths[1])
    parts = [next(epochs_of(first))]
    next(first)
    first.close()
    rest = train_steps(train, VALIDATION, recipe, checkpoint=paths[1])
    parts += islice(epochs_of(rest), 2)
    assert [one.epoch for one in parts] == [1, 2, 3]
    assert [losses(one) for one in parts] == [losses(one) for one in whole]
    tensors, again = (load_file(path) for path in paths)
    assert set(tensors) == set(again)
    assert all(torch.equal(tensor, again[name]) for name, tensor in tensors.items())


def test_finished_training_is_not_done_again(tmp_path: Path) -> None:
    path = tmp_path / "model.checkpoint"
    first = run(train_steps(TRAIN, VALIDATION, RECIPE, checkpoint=path))
    steps: list[Progress] = []
    model = run(train_steps(TRAIN, VALIDATION, RECIPE, checkpoint=path), on_progress=steps.append)
    assert not any(isinstance(one, Epoch) for one in steps)
    assert model.checksum == first.checksum


def test_checkpoint_of_another_recipe_is_refused_by_what_differs(stopped: Path) -> None:
    steps = train_steps(TRAIN, VALIDATION, replace(RECIPE, beta=0.5), checkpoint=stopped)
    with pytest.raises(TrainingError, match=r"another recipe: beta was 1e-06, now it is 0\.5"):
        run(steps)
    # A name changes nothing.
    next(epochs_of(train_steps(TRAIN, VALIDATION, replace(RECIPE, name="new"), checkpoint=stopped)))


def test_checkpoint_from_before_recipes_had_teachers_goes_on(stopped: Path) -> None:
    with safe_open(stopped, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(stopped)
    record = json.loads(metadata["hrtem_vae_training"])
    del record["recipe"]["teacher"], record["recipe"]["teaching_epochs"]
    save_file(tensors, stopped, {**metadata, "hrtem_vae_training": json.dumps(record)})
    epochs = list(epochs_of(train_steps(TRAIN, VALIDATION, RECIPE, checkpoint=stopped)))
    assert [one.epoch for one in epochs] == [2, 3]


def test_checkpoint_of_another_recipe_is_refused_before_segments_are_made(stopped: Path) -> None:
    with pytest.raises(TrainingError, match="another recipe: seed was 0, now it is 5"):
        next(train_simulated_steps(replace(RECIPE, seed=5), checkpoint=stopped))


def test_checkpoint_of_other_segments_is_refused(stopped: Path) -> None:
    with pytest.raises(TrainingError, match="other segments than these"):
        run(train_steps(stripes(96, 7), VALIDATION, RECIPE, checkpoint=stopped))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: data[: len(data) // 2], "damaged"),
        (lambda data: b"", "damaged"),
        (lambda data: b"\xff" * 64, "damaged"),
        (lambda data: data.replace(b"hrtem_vae_training", b"hrtem_vae_trainers"), "damaged"),
        (lambda data: data.replace(b'\\"epoch\\": 1', b'\\"epoch\\": 9'), "an epoch 9"),
        (lambda data: data.replace(b'\\"curves\\": [', b'\\"curves\\": 1,['), "damaged"),
    ],
)
def test_damaged_checkpoint_is_refused_in_a_sentence(damage, says: str, stopped: Path) -> None:
    data = stopped.read_bytes()
    stopped.write_bytes(damage(data))
    assert stopped.read_bytes() != data
    with pytest.raises(TrainingError, match=says) as raised:
        run(train_steps(TRAIN, VALIDATION, RECIPE, checkpoint=stopped))
    assert "delete it to begin anew" in str(raised.value)


def test_checkpoint_whose_weights_are_no_numbers_is_refused(stopped: Path) -> None:
    with safe_open(stopped, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors["weights.encoder.to_mean.bias"].fill_(np.nan)
    save_file(tensors, stopped, metadata)
    with pytest.raises(TrainingError, match="no numbers"):
        run(train_steps(TRAIN, VALIDATION, RECIPE, checkpoint=stopped))


def test_full_disk_ends_no_training_and_leaves_the_last_checkpoint(
    stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stopped.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tensor_file, "save", full)
    told = list(epochs_of(train_steps(TRAIN, VALIDATION, RECIPE, checkpoint=stopped)))
    assert [one.epoch for one in told] == [2, 3]
    assert "cannot be written" in told[0].notice
    assert "No space left" in told[0].notice
    assert stopped.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.checkpoint"]
