"""Networks against the published counts, TensorFlow's padding, and their own other way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import signal

from napari_hrtem_vae.errors import ModelFileError, ParameterError
from napari_hrtem_vae.vae.architecture import (
    Architecture,
    Convolution,
    DecoderLayers,
    EncoderLayers,
    published_cdse,
    published_pbs,
    unpadded,
)
from napari_hrtem_vae.vae.network import CroppedTransposedConvolution, Network, PaddedConvolution
from napari_hrtem_vae.vae.recipe import load_recipe


def parameters_of(module: torch.nn.Module | None) -> int:
    assert module is not None
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_networks_have_the_published_number_of_parameters() -> None:
    network = Network(published_pbs())
    assert parameters_of(network.decoder) == 247_489
    # The published count, 4.58 million, is of the encoder up to its mean.
    assert parameters_of(network.encoder) - 4096 * 64 - 64 == 4_576_000
    assert published_pbs().encoder_operations / 2 == pytest.approx(12.3e6, rel=0.06)


def test_published_cdse_network_encodes_windows_of_32() -> None:
    encoder = Network(published_cdse()).eval().encoder
    assert encoder is not None
    mean, log_variance = encoder(torch.zeros(3, 1, 32, 32))
    assert mean.shape == log_variance.shape == (3, 64)


@pytest.mark.parametrize(("size", "kernel", "stride"), [(32, 3, 2), (64, 4, 2), (9, 5, 3), (8, 4, 1)])
def test_same_padding_is_tensorflows(size: int, kernel: int, stride: int) -> None:
    layer = PaddedConvolution(1, Convolution(1, kernel, stride), size)
    image = np.random.default_rng(0).standard_normal((size, size)).astype(np.float32)
    # TensorFlow: the output has ceil(n / s) pixels, the odd zero goes after.
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + kernel - size, 0)
    padded = np.pad(image, (total // 2, total - total // 2))
    weight = layer.conv.weight.detach().numpy()[0, 0]
    expected = signal.correlate2d(padded, weight, mode="valid")[::stride, ::stride] + layer.conv.bias.item()
    found = layer(torch.from_numpy(image)[None, None]).detach().numpy()[0, 0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("size", "kernel", "stride"), [(4, 4, 2), (16, 3, 2), (8, 4, 1)])
def test_transposed_convolution_is_the_transpose(size: int, kernel: int, stride: int) -> None:
    transposed = CroppedTransposedConvolution(1, Convolution(1, kernel, stride), size)
    convolution = PaddedConvolution(1, Convolution(1, kernel, stride), size * stride)
    with torch.no_grad():
        convolution.conv.weight.copy_(transposed.conv.weight)
        convolution.conv.bias.zero_()
        transposed.conv.bias.zero_()
        small, large = torch.randn(1, 1, size, size), torch.randn(1, 1, size * stride, size * stride)
        assert (transposed(small) * large).sum().item() == pytest.approx(
            (small * convolution(large)).sum().item(), rel=1e-4, abs=1e-4
        )


def test_unpadded_network_has_a_stride_and_padded_ones_have_none() -> None:
    assert unpadded().stride == 8
    assert published_pbs().stride is None


@pytest.mark.parametrize("make", [published_pbs, published_cdse, unpadded])
def test_architecture_survives_its_own_dict(make: type) -> None:
    assert Architecture.from_dict(make().to_dict()) == make()


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": 64, "surprise": 1},
        {"window": -3},
        {"latents": 10**9},
        {"encoder": {"convolutions": 5}},
        {"encoder": 3},
    ],
)
def test_foreign_architecture_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ModelFileError, match="architecture"):
        Architecture.from_dict(wrong)


def test_layers_that_do_not_fit_the_window_are_refused() -> None:
    with pytest.raises(ParameterError, match="one pixel"):
        Architecture(encoder=EncoderLayers((Convolution(8, 4, 2, "valid"),)))
    with pytest.raises(ParameterError, match="decoder gives 8 px"):
        Architecture(decoder=DecoderLayers(4, 8, (Convolution(1, 4, 2),)))
    with pytest.raises(ParameterError, match="kernel"):
        Convolution(8, 0)


def test_layers_without_or_with_too_many_convolutions_are_refused() -> None:
    with pytest.raises(ParameterError, match="encoder has 0 convolutions"):
        EncoderLayers((), dense=(8,))
    with pytest.raises(ParameterError, match="decoder has 0 convolutions"):
        DecoderLayers(64, 1, ())
    with pytest.raises(ParameterError, match="encoder has 65 convolutions"):
        EncoderLayers((Convolution(1, 1),) * 65)


@pytest.mark.parametrize("wrong", [{"epsilon": "small"}, {"epsilon": 0}, {"batch_normalisation": "yes"}])
def test_normalisation_of_a_wrong_kind_is_refused(wrong: dict[str, object]) -> None:
    entries = published_cdse().to_dict()
    entries["encoder"] |= wrong
    with pytest.raises(ModelFileError, match=next(iter(wrong))):
        Architecture.from_dict(entries)


@pytest.mark.parametrize(
    "entry",
    [
        "dose_e_per_px: [low, high]",
        "dose_e_per_px: 5",
        "dose_e_per_px: [5, 1.0e+30]",
        "seed: abc",
        "seed: -1",
        "warmup_epochs: x",
        "smoothing_px: 1.0e+9",
        "beta: .inf",
        "learning_rate: fast",
        "epochs: 2.5",
        "name: [a]",
        "architecture: [a]",
    ],
)
def test_recipe_with_an_entry_out_of_range_names_it(entry: str, tmp_path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(entry)
    with pytest.raises(ParameterError, match=f"{entry.split(':')[0]} is"):
        load_recipe(path)


def test_recipe_nested_too_deeply_is_refused(tmp_path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("[" * 5000)
    with pytest.raises(ParameterError, match="not YAML"):
        load_recipe(path)
