"""Calibrations and their files."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import napari_hrtem_vae as hv
from napari_hrtem_vae.errors import ModelFileError
from napari_hrtem_vae.vae.card import shipped_models
from napari_hrtem_vae.vae.meaning.calibrated import (
    Beside,
    Calibration,
    calibration_of,
    calibration_path,
    load_calibration,
    save_calibration,
)
from napari_hrtem_vae.vae.meaning.components import COMPONENTS, Components
from napari_hrtem_vae.vae.meaning.reader import Reader, ReaderCard

WINDOW = 12


def a_reader(features, measured_from=0):
    torch.manual_seed(features)
    return Reader(ReaderCard("m", "c", features, measured_from=measured_from, record={"scenes": 8})).eval()


@pytest.fixture
def of_both():
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(WINDOW**2, COMPONENTS)))[0].astype(np.float16).astype(np.float32)
    components = Components(rng.normal(size=WINDOW**2).astype(np.float32), axes)
    return Calibration(a_reader(12, 9), Beside(components, a_reader(12, 9), a_reader(24, 18)))


def assert_reads_alike(one, other):
    assert one.card == other.card
    features = np.random.default_rng(1).normal(size=(30, one.card.features)).astype(np.float32)
    where = np.ones((1, 5, 6), bool)
    # Weights are written in half precision.
    for name in ("probability", "measure", "error"):
        a, b = (getattr(each.read(features, where), name) for each in (one, other))
        np.testing.assert_allclose(a, b, rtol=2e-2, atol=5e-2)


def test_a_calibration_comes_back_from_its_file(of_both, tmp_path):
    path = save_calibration(of_both, tmp_path / "m.calibration")
    again = load_calibration(path)
    assert_reads_alike(again.latents, of_both.latents)
    assert_reads_alike(again.beside.alone, of_both.beside.alone)
    assert_reads_alike(again.beside.both, of_both.beside.both)
    np.testing.assert_array_equal(again.components.axes, of_both.components.axes)
    assert again.components.checksum == of_both.components.checksum
    assert again.components.window == WINDOW
    assert list(tmp_path.iterdir()) == [path]


def test_a_calibration_of_latents_alone_comes_back(tmp_path):
    before = Calibration(a_reader(12))
    again = load_calibration(save_calibration(before, tmp_path / "m.calibration"))
    assert_reads_alike(again.latents, before.latents)
    assert again.beside is None
    assert again.components is None


def test_a_file_that_is_none_is_refused(tmp_path):
    path = tmp_path / "x.calibration"
    with pytest.raises(ModelFileError, match="no calibration"):
        load_calibration(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ModelFileError, match="damaged"):
        load_calibration(path)
    save_file({"a": torch.zeros(2)}, path, {"hrtem_vae_reader": "{}"})
    with pytest.raises(ModelFileError, match="damaged"):
        load_calibration(path)


def test_a_card_of_another_size_than_its_weights_is_refused_before_memory_is_taken(tmp_path):
    path = tmp_path / "x.calibration"
    for features, measured in ((13, 0), (10**9, 0), (12, 7), (12, 13), (12, -1)):
        card = {"model": "m", "model_checksum": "c", "features": features, "measured_from": measured}
        save_file(dict(a_reader(12).state_dict()), path, {"hrtem_vae_reader": json.dumps(card)})
        with pytest.raises(ModelFileError, match="damaged"):
            load_calibration(path)


def test_components_of_no_window_or_missing_ones_are_refused(of_both, tmp_path):
    path = save_calibration(of_both, tmp_path / "x.calibration")
    with safe_open(path, "pt") as file:
        cards = file.metadata()
    whole = load_file(path)
    for broken in (
        {"components.mean": torch.zeros(WINDOW**2 - 1)},
        {"components.mean": torch.zeros(0)},
        {"components.axes": torch.zeros(WINDOW**2, COMPONENTS - 1)},
        {"components.axes": None},
    ):
        tensors = {name: each for name, each in (whole | broken).items() if each is not None}
        save_file(tensors, path, cards)
        with pytest.raises(ModelFileError, match="damaged"):
            load_calibration(path)


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    reader = a_reader(4)
    with torch.no_grad():
        reader.layers[0].weight[0, 0] = torch.nan
    path = save_calibration(Calibration(reader), tmp_path / "x.calibration")
    with pytest.raises(ModelFileError, match="no numbers"):
        load_calibration(path)


def test_components_of_other_windows_than_the_models_are_refused(of_both, tmp_path):
    model_file = tmp_path / "mine.safetensors"
    shutil.copy(shipped_models()["pbs-64-fast"], model_file)
    model = hv.load_model(model_file)
    of_both.latents.card = replace(of_both.latents.card, model_checksum=model.checksum)
    save_calibration(of_both, calibration_path(model_file))
    with pytest.raises(ModelFileError, match="windows of 12 px and the model's are of 64"):
        calibration_of(model)
