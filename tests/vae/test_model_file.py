"""Model files: what was saved comes back, and nothing foreign gets in."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from napari_hrtem_vae.errors import ModelFileError, VideoShapeError
from napari_hrtem_vae.vae.architecture import published_cdse, published_pbs
from napari_hrtem_vae.vae.card import ModelCard, list_models, read_card
from napari_hrtem_vae.vae.model import load_model, save_model

from ..conftest import random_model


@pytest.mark.parametrize("architecture", [None, published_pbs(), published_cdse()])
def test_saved_model_encodes_and_decodes_as_before(architecture, tmp_path) -> None:
    model = random_model(architecture, material="PbS", training={"variances": [0.1] * 64})
    again = load_model(save_model(model, tmp_path / "m.safetensors"))
    assert again.card == model.card
    windows = np.random.default_rng(0).random((3, model.card.window, model.card.window))
    mean, log_variance = model.encode(windows)
    # Weights are stored in float16, those of the log variance in eight bits.
    np.testing.assert_allclose(again.encode(windows)[0], mean, atol=2e-3)
    np.testing.assert_allclose(again.encode(windows)[1], log_variance, atol=3e-2)
    if model.card.architecture.decoder is not None:
        np.testing.assert_allclose(again.decode(mean), model.decode(mean), atol=1e-3)


def test_published_architecture_fits_into_ten_megabytes(tmp_path) -> None:
    path = save_model(random_model(published_pbs()), tmp_path / "m.safetensors")
    assert path.stat().st_size < 10e6


@pytest.mark.parametrize(
    "content",
    [b"", b"not a model", b"\xff" * 64, struct.pack("<Q", 2**60) + b"{}", struct.pack("<Q", 2) + b"[]"],
)
def test_foreign_file_is_refused(content: bytes, tmp_path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"m\.safetensors is damaged or no model file"):
        load_model(path)


def test_missing_model_lists_what_there_is(tmp_path) -> None:
    with pytest.raises(ModelFileError, match="There is no model nonesuch"):
        load_model("nonesuch")
    with pytest.raises(ModelFileError, match="no model file"):
        load_model(tmp_path / "gone.safetensors")


@settings(max_examples=40)
@given(cut=st.floats(0.0, 0.999))
def test_file_cut_short_is_refused(cut: float, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("cut")
    whole = save_model(random_model(published_cdse()), folder / "m.safetensors").read_bytes()
    path = folder / "short.safetensors"
    path.write_bytes(whole[: int(cut * len(whole))])
    with pytest.raises(ModelFileError):
        load_model(path)


def test_weights_of_another_architecture_are_refused(tmp_path) -> None:
    path = save_model(random_model(), tmp_path / "m.safetensors")
    card = json.loads(read_card(path).to_json())
    card["architecture"] = published_pbs().to_dict()
    foreign = tmp_path / "foreign.safetensors"
    tensors = {name: tensor.contiguous() for name, tensor in random_model().network.state_dict().items()}
    save_file(tensors, foreign, metadata={"hrtem_vae_card": json.dumps(card)})
    with pytest.raises(ModelFileError, match="another architecture than its card says"):
        load_model(foreign)


def test_architecture_of_absurd_size_takes_no_memory(tmp_path) -> None:
    card = json.loads(random_model().card.to_json())
    card["architecture"]["encoder"]["dense"] = [10**12]
    path = tmp_path / "huge.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={"hrtem_vae_card": json.dumps(card)})
    with pytest.raises(ModelFileError, match="dense is 1000000000000"):
        load_model(path)


def test_weights_that_are_no_numbers_are_refused(tmp_path) -> None:
    model = random_model()
    with torch.no_grad():
        model.encoder.to_mean.bias[3] = torch.nan
    with pytest.raises(ModelFileError, match="no numbers"):
        load_model(save_model(model, tmp_path / "m.safetensors"))


def test_model_that_cannot_be_written_leaves_the_old_one(tmp_path) -> None:
    path = save_model(random_model(), tmp_path / "m.safetensors")
    before = path.read_bytes()
    with pytest.raises(ModelFileError, match="cannot be written"):
        save_model(random_model(), tmp_path / "none" / "m.safetensors")
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.safetensors"]


@settings(max_examples=60)
@given(st.text(max_size=40) | st.dictionaries(st.text(max_size=8), st.integers()).map(json.dumps))
def test_any_text_as_a_card_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ModelFileError):
        ModelCard.from_json(text)


@pytest.mark.parametrize(
    "wrong",
    [
        {"training": {"variances": [0.1] * 63}},
        {"training": {"variances": ["much"] * 64}},
        {"training": {"variances": 0.1}},
        {"pixel_size_nm": 0},
        {"pixel_size_nm": 1e999},
        {"step": 0.5},
        {"name": ["m"]},
    ],
)
def test_card_with_an_entry_out_of_range_is_refused(wrong) -> None:
    entries = json.loads(random_model().card.to_json()) | wrong
    with pytest.raises(ModelFileError, match="model card"):
        ModelCard.from_json(json.dumps(entries))


def test_card_of_a_decoder_without_convolutions_is_refused(tmp_path) -> None:
    card = json.loads(random_model().card.to_json())
    card["architecture"]["decoder"] = {"grid": 64, "channels": 1, "convolutions": []}
    path = tmp_path / "m.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={"hrtem_vae_card": json.dumps(card)})
    with pytest.raises(ModelFileError, match=r"m\.safetensors.*decoder has 0 convolutions"):
        load_model(path)


def test_card_nested_too_deeply_is_refused(tmp_path) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    with pytest.raises(ModelFileError, match="cannot be read"):
        ModelCard.from_json(deep)
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", len(deep)) + deep.encode())
    with pytest.raises(ModelFileError, match="no model file"):
        read_card(path)


@pytest.mark.parametrize("shape", [(64, 64), (2, 32, 32), (2, 64, 64, 1)])
def test_windows_of_another_size_are_refused(shape, fast_model) -> None:
    with pytest.raises(VideoShapeError, match="do not fit the model"):
        fast_model.encode(np.zeros(shape))


def test_shipped_models_tell_how_they_came_to_be() -> None:
    cards = {card.name: card for card in list_models()}
    assert next(iter(cards)) == "pbs-64-fast"
    for name in ("pbs-64-fast", "pbs-64"):
        record = cards[name].training
        assert record["active_latents"] >= 20
        assert {"bce", "kl", "val_bce", "val_kl", "active"} <= set(record["curves"][0])
        assert len(record["curves"]) == record["recipe"]["epochs"]
        assert "simulated" in record["command"]
        assert sorted(record["variances"]) == record["variances"]
