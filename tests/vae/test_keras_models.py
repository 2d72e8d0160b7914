"""Keras folders against what TensorFlow says that they give, and against what may be wrong with them."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_hrtem_vae.errors import ModelFileError, ParameterError
from napari_hrtem_vae.vae.architecture import Convolution, DecoderLayers, EncoderLayers, published_cdse
from napari_hrtem_vae.vae.keras_models import convert_keras
from napari_hrtem_vae.vae.model import Model, load_model, save_model
from napari_hrtem_vae.vae.protobuf import Message

PUBLISHED = Path(__file__).parents[2].parent / "shared" / "reference" / "published_models"
COMMAND = Path(sys.executable).with_name("hrtem-vae")
# float32 sums in another order than TensorFlow's
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by make_keras_folders.py."""
    place = tmp_path_factory.mktemp("keras")
    with zipfile.ZipFile(Path(__file__).with_name("keras_folders.zip")) as archive:
        archive.extractall(place)
    return place


@pytest.fixture(scope="module")
def expected(folders: Path) -> dict[str, np.ndarray]:
    with np.load(folders / "expected.npz") as arrays:
        return dict(arrays)


@pytest.fixture
def published() -> Path:
    if not PUBLISHED.is_dir():
        pytest.skip("the published models (../shared/reference) are not on this machine")
    return PUBLISHED


def through_a_file(model: Model, folder: Path) -> Model:
    return load_model(save_model(model, folder / "model.safetensors", exact=True))


@pytest.mark.parametrize("order", [("encoder", "decoder"), ("decoder", "encoder")])
def test_encoder_and_decoder_give_what_tensorflow_gives_in_either_order(
    folders: Path, expected: dict[str, np.ndarray], tmp_path: Path, order: tuple[str, str]
) -> None:
    model = through_a_file(convert_keras([folders / part for part in order]), tmp_path)
    # The folder's own outputs stand in the order log variance, mean, sample.
    mean, log_variance = model.encode(expected["windows"])
    np.testing.assert_allclose(mean, expected["keras2_mean"], atol=TOLERANCE)
    np.testing.assert_allclose(log_variance, expected["keras2_log_variance"], atol=TOLERANCE)
    np.testing.assert_allclose(model.decode(expected["z"]), expected["keras2_pictures"], atol=TOLERANCE)
    assert model.card.licence.startswith("unknown")


def test_layers_strides_padding_and_epsilon_are_found(folders: Path) -> None:
    architecture = convert_keras([folders / "encoder", folders / "decoder"]).card.architecture
    assert (architecture.window, architecture.latents, architecture.activation) == (18, 3, "relu")
    assert architecture.encoder == EncoderLayers(
        (Convolution(4, 3, 2), Convolution(6, 5, 3)), (10,), batch_normalisation=True, epsilon=2e-3
    )
    assert architecture.decoder == DecoderLayers(
        3, 5, (Convolution(4, 3, 2), Convolution(3, 3, 3), Convolution(1, 4, 1)), batch_normalisation=True
    )


def test_a_whole_autoencoder_of_keras_3_gives_both_parts(
    folders: Path, expected: dict[str, np.ndarray], tmp_path: Path
) -> None:
    model = through_a_file(convert_keras([folders / "whole"]), tmp_path)
    mean, log_variance = model.encode(expected["windows"])
    np.testing.assert_allclose(mean, expected["keras3_mean"], atol=TOLERANCE)
    np.testing.assert_allclose(log_variance, expected["keras3_log_variance"], atol=TOLERANCE)
    np.testing.assert_allclose(model.decode(expected["z"]), expected["keras3_pictures"], atol=TOLERANCE)


def test_published_cdse_encoder(published: Path, tmp_path: Path) -> None:
    model = through_a_file(convert_keras([published / "cdse_encoder"]), tmp_path)
    check = np.load(published / "cdse_encoder_io.npz")
    mean, log_variance = model.encode(check["patches"])
    np.testing.assert_allclose(mean, check["z_mean"], atol=TOLERANCE)
    np.testing.assert_allclose(log_variance, check["z_log_var"], atol=TOLERANCE)
    assert model.card.architecture == published_cdse()
    assert "cannot draw" in model.card.summary


def test_published_pbs_decoder(published: Path, tmp_path: Path) -> None:
    model = through_a_file(convert_keras([published / "pbs_decoder"]), tmp_path)
    check = np.load(published / "pbs_decoder_io.npz")
    np.testing.assert_allclose(model.decode(check["z"]), check["reconstruction"], atol=TOLERANCE)
    assert "cannot analyse" in model.card.summary


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        (("encoder", "encoder"), "two parts of one kind"),
        (("decoder", "whole"), "two parts of one kind"),
        (("encoder", "decoder-of-4"), "3 latents and the decoder .* 4"),
        (("leaky",), "LeakyRelu"),
        (("",), "no saved_model.pb"),
        (("nowhere",), "no saved_model.pb"),
        ((), "Give the folder"),
    ],
)
def test_what_does_not_fit_is_said(folders: Path, parts: tuple[str, ...], says: str) -> None:
    with pytest.raises(ModelFileError, match=says):
        convert_keras([folders / part for part in parts])


def test_a_pixel_size_below_zero_is_refused(folders: Path) -> None:
    with pytest.raises(ParameterError, match="pixel_size_nm is -1"):
        convert_keras([folders / "encoder"], pixel_size_nm=-1)


@pytest.mark.parametrize("name", ["variables.index", "variables.data-00000-of-00001"])
def test_missing_weights_are_named(folders: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(folders / "encoder", tmp_path / "encoder")
    (tmp_path / "encoder" / "variables" / name).unlink()
    with pytest.raises(ModelFileError, match=f"{name} is missing"):
        convert_keras([tmp_path / "encoder"])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_one_wrong_bit_of_the_weights_is_found(folders: Path, tmp_path: Path, share: float) -> None:
    shutil.copytree(folders / "decoder", tmp_path / "decoder")
    path = tmp_path / "decoder" / "variables" / "variables.data-00000-of-00001"
    data = bytearray(path.read_bytes())
    data[int(share * len(data))] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match="checksum"):
        convert_keras([tmp_path / "decoder"])


def test_a_message_takes_no_memory_beyond_its_fields() -> None:
    with pytest.raises(ValueError, match="too many fields"):
        Message(b"\x08\x00" * 200_001)
    with pytest.raises(ValueError, match="another size"):
        Message(b"\x0a\x01\x00").float32(1)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["saved_model.pb", "variables/variables.index"]),
    cut=st.one_of(st.none(), st.floats(0, 1)),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=20),
)
def test_damage_is_a_sentence_or_nothing(
    folders: Path, tmp_path: Path, name: str, cut: float | None, changes: list[tuple[float, int]]
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(folders / "whole", folder, dirs_exist_ok=True)
    data = bytearray((folder / name).read_bytes())
    for place, byte in changes:
        data[int(place * len(data))] = byte
    (folder / name).write_bytes(data if cut is None else data[: int(cut * len(data))])
    # Any other error fails the test; damage in what is not read does no harm.
    with contextlib.suppress(ModelFileError):
        convert_keras([folder])


def test_command_line(folders: Path, tmp_path: Path) -> None:
    arguments = [COMMAND, "convert-keras", folders / "decoder", folders / "encoder", "-o", "new.safetensors"]
    done = subprocess.run([*arguments, "--json"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["encoder"], record["decoder"], record["latents"]) == ("encoder", "decoder", 3)
    assert "The first folder holds the decoder" in done.stderr
    before = (tmp_path / "new.safetensors").read_bytes()
    again = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert "exists already" in again.stderr
    assert (tmp_path / "new.safetensors").read_bytes() == before
