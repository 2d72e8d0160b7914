"""Models that were trained with Keras: from SavedModel folders to a model of this program.

The layers are read off the graph that the folder's signature computes, the weights off its checkpoint;
neither TensorFlow nor Keras is needed, and nothing in the folder is executed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..errors import ModelFileError, ParameterError
from .architecture import Architecture, Convolution, DecoderLayers, EncoderLayers
from .card import ModelCard
from .keras_layers import Layer, read_heads, read_layers
from .model import Model
from .network import Network
from .saved_model import SavedModel

_LICENCE = "unknown: not stated in the Keras folder; ask the authors before passing it on"
_EPSILON = 1e-3


@dataclass(frozen=True)
class _Part:
    """An encoder or a decoder: `heads` (mean, log variance) are the encoder's."""

    folder: Path
    window: int
    latents: int
    layers: list[Layer]
    heads: tuple[Layer, ...] = ()


def convert_keras(
    folders: Sequence[str | Path],
    *,
    name: str = "converted",
    material: str = "unknown",
    pixel_size_nm: float | None = None,
) -> Model:
    """Make a model of one or two SavedModel folders of Keras.

    Parameters
    ----------
    folders : sequence of path
        An encoder, a decoder, or both in any order; which is which is found out.
    name, material : str, optional
        For the card.
    pixel_size_nm : float, optional
        That the network was trained at, in nm.

    Returns
    -------
    Model
        Without an encoder or a decoder where none was given. Its windows are scaled one by one, as those
        of Wang et al. 2023.

    Raises
    ------
    ModelFileError
        A folder is no SavedModel, is damaged, holds a layer that is not known, or the two do not fit.
    ParameterError
        The pixel size is not above 0.
    """
    if pixel_size_nm is not None and not 0 < pixel_size_nm < math.inf:
        raise ParameterError(f"pixel_size_nm is {pixel_size_nm!r}; give a number above 0.")
    parts: dict[str, _Part] = {}
    for folder in map(Path, folders):
        for kind, part in _read_folder(folder).items():
            if kind in parts:
                raise ModelFileError(
                    f"{parts[kind].folder} and {folder} hold two parts of one kind ({kind}); "
                    "give an encoder and a decoder."
                )
            parts[kind] = part
    if not parts:
        raise ModelFileError("Give the folder of an encoder, of a decoder, or both.")
    _check_that_they_fit(parts)
    try:
        architecture = _architecture(parts)
    except ParameterError as error:
        raise ModelFileError(f"{next(iter(parts.values())).folder} cannot be converted: {error}") from error
    network = Network(architecture)
    with torch.no_grad():
        if "encoder" in parts:
            _fill_encoder(network, parts["encoder"])
        if "decoder" in parts:
            _fill_decoder(network, parts["decoder"])
    card = ModelCard(
        name,
        architecture,
        scaling="window",
        material=material,
        pixel_size_nm=pixel_size_nm,
        licence=_LICENCE,
        summary=_summary(parts),
        training={"converted_from": {kind: part.folder.name for kind, part in parts.items()}},
    )
    return Model(card, network)


def _summary(parts: dict[str, _Part]) -> str:
    part = next(iter(parts.values()))
    text = f"from Keras; {part.window} × {part.window} px, {part.latents} latents"
    if "decoder" not in parts:
        return f"{text}; no decoder, so it cannot draw windows"
    return text if "encoder" in parts else f"{text}; no encoder, so it cannot analyse"


def _check_that_they_fit(parts: dict[str, _Part]) -> None:
    if len(parts) < 2:
        return
    encoder, decoder = parts["encoder"], parts["decoder"]
    for what, unit in (("window", "px"), ("latents", "latents")):
        if getattr(encoder, what) != getattr(decoder, what):
            raise ModelFileError(
                f"The encoder {encoder.folder} has {getattr(encoder, what)} {unit} and the decoder "
                f"{decoder.folder} {getattr(decoder, what)}; give two of one model, or convert them apart."
            )


def _read_folder(folder: Path) -> dict[str, _Part]:
    """The parts in a folder; a whole autoencoder holds both."""
    saved = SavedModel(folder)
    shape = saved.input.shape
    try:
        if len(shape) == 4 and shape[3] == 1 and shape[1] == shape[2] > 0:
            return _read_from_windows(saved)
        if len(shape) == 2 and shape[1] > 0:
            name, output = next(iter(saved.outputs.items()))
            layers, end = read_layers(saved, output)
            _check_end(folder, end is saved.input)
            return {"decoder": _decoder(saved, layers, saved.output_shapes[name], shape[1])}
    except RecursionError as error:
        raise ModelFileError(f"{folder} holds too many layers.") from error
    except (ValueError, KeyError, IndexError) as error:
        if isinstance(error, ModelFileError | ParameterError):
            raise
        raise ModelFileError(f"{folder} cannot be read as a network ({error}).") from error
    raise ModelFileError(
        f"{folder} takes an input of shape {shape}; an encoder takes square windows of one channel, "
        "(any, w, w, 1), a decoder takes (any, latents)."
    )


def _read_from_windows(saved: SavedModel) -> dict[str, _Part]:
    window = saved.input.shape[1]
    pictures = [name for name, shape in saved.output_shapes.items() if len(shape) == 4]
    if not pictures:
        (mean, log_variance), trunk = read_heads(saved, saved.outputs)
        return {"encoder": _Part(saved.folder, window, mean.units, trunk, (mean, log_variance))}
    layers, code = read_layers(saved, saved.outputs[pictures[0]])
    (mean, log_variance), trunk = read_heads(saved, {"z": code})
    return {
        "encoder": _Part(saved.folder, window, mean.units, trunk, (mean, log_variance)),
        "decoder": _decoder(saved, layers, saved.output_shapes[pictures[0]], mean.units),
    }


def _check_end(folder: Path, whole: bool) -> None:
    if not whole:
        raise ModelFileError(f"{folder} samples within its decoder; save encoder and decoder apart.")


def _decoder(saved: SavedModel, layers: list[Layer], shape: tuple[int, ...], latents: int) -> _Part:
    kinds = [layer.kind for layer in layers]
    if kinds[:1] != ["dense"] or kinds[1:] != ["transposed"] * (len(kinds) - 1) or len(kinds) < 2:
        raise ModelFileError(
            f"{saved.folder} has the layers {', '.join(kinds)}; a decoder has one dense layer and then "
            "transposed convolutions."
        )
    if layers[-1].activation != "sigmoid" or layers[-1].scale is not None:
        raise ModelFileError(f"{saved.folder} does not end with a sigmoid, so it gives no grey values.")
    if layers[0].scale is not None:
        raise ModelFileError(
            f"{saved.folder} normalises behind its dense layer ({layers[0].name}); that is not read."
        )
    grid = math.isqrt(layers[0].units // layers[1].kernel.shape[3])
    window = grid * math.prod(layer.stride for layer in layers[1:])
    if len(shape) != 4 or shape[3] != 1 or any(size not in (-1, window) for size in shape[1:3]):
        raise ModelFileError(
            f"{saved.folder} gives pictures of shape {shape[1:]}, its layers {window} × {window} px; "
            "only squares of one channel, padded 'same', are read."
        )
    return _Part(saved.folder, window, latents, layers)


def _architecture(parts: dict[str, _Part]) -> Architecture:
    some = next(iter(parts.values()))
    activations: set[str | None] = set()
    encoder = decoder = None
    if "encoder" in parts:
        layers = parts["encoder"].layers
        convolutions = [layer for layer in layers if layer.kind == "convolution"]
        dense = layers[len(convolutions) :]
        if not convolutions or any(layer.kind != "dense" for layer in dense):
            raise ModelFileError(
                f"{parts['encoder'].folder} has the layers {', '.join(layer.kind for layer in layers)}; "
                "an encoder has convolutions and then dense layers."
            )
        activations |= {layer.activation for layer in layers}
        normalised, epsilon = _normalisation(convolutions)
        encoder = EncoderLayers(
            tuple(map(_convolution, convolutions)),
            tuple(layer.units for layer in dense),
            normalised,
            epsilon,
        )
    if "decoder" in parts:
        layers = parts["decoder"].layers
        activations |= {layer.activation for layer in layers[:-1]}
        channels = layers[1].kernel.shape[3]
        normalised, epsilon = _normalisation(layers[1:])
        decoder = DecoderLayers(
            math.isqrt(layers[0].units // channels),
            channels,
            tuple(map(_convolution, layers[1:])),
            normalised,
            epsilon,
        )
    if len(activations) != 1 or not activations <= {"relu", "silu"}:
        found = ", ".join(sorted(str(one or "none") for one in activations))
        raise ModelFileError(
            f"{some.folder} has the activations {found}; this program reads networks with relu, or with "
            "silu, behind every layer but the last."
        )
    return Architecture(some.window, some.latents, str(activations.pop()), encoder, decoder)


def _convolution(layer: Layer) -> Convolution:
    return Convolution(layer.filters, layer.kernel.shape[0], layer.stride, layer.padding)


def _normalisation(layers: list[Layer]) -> tuple[bool, float]:
    """Whether any layer is normalised behind its activation, and by which ε."""
    epsilons = [layer.epsilon for layer in layers if layer.epsilon is not None]
    return any(layer.scale is not None for layer in layers), epsilons[0] if epsilons else _EPSILON


def _set(module: nn.Module, name: str, values: np.ndarray) -> None:
    tensor = getattr(module, name)
    if tensor.shape != values.shape:
        raise ModelFileError(f"A layer has weights of shape {values.shape}, not {tuple(tensor.shape)}.")
    tensor.copy_(torch.from_numpy(np.ascontiguousarray(values)))


def _fill_convolutions(modules: nn.Sequential, layers: list[Layer]) -> None:
    convolutions = [one for one in modules.modules() if isinstance(one, nn.Conv2d | nn.ConvTranspose2d)]
    for module, layer in zip(convolutions, layers, strict=True):
        # Keras: (row, column, in, out), or out before in where transposed; torch: (out, in, row, column),
        # or in before out where transposed. The same turn serves both.
        _set(module, "weight", layer.kernel.transpose(3, 2, 0, 1))
        _set(module, "bias", layer.bias)
    norms = [one for one in modules.modules() if isinstance(one, nn.BatchNorm2d)]
    for norm, layer in zip(norms, layers, strict=False):
        # The statistics are in the scale already: mean 0, variance 1.
        _set(norm, "weight", np.ones(layer.filters) if layer.scale is None else layer.scale)
        _set(norm, "bias", np.zeros(layer.filters) if layer.shift is None else layer.shift)
        _set(norm, "running_var", np.full(layer.filters, 1 - norm.eps))


def _fill_dense(module: nn.Module, layer: Layer) -> None:
    _set(module, "weight", layer.kernel.T)
    _set(module, "bias", layer.bias)


def _fill_encoder(network: Network, part: _Part) -> None:
    assert network.encoder is not None
    convolutions = [layer for layer in part.layers if layer.kind == "convolution"]
    _fill_convolutions(network.encoder.convolutions, convolutions)
    dense = [one for one in network.encoder.dense or () if isinstance(one, nn.Linear)]
    for module, layer in zip(dense, part.layers[len(convolutions) :], strict=True):
        _fill_dense(module, layer)
    heads = (network.encoder.to_mean, network.encoder.to_log_variance)
    for module, layer in zip(heads, part.heads, strict=True):
        _fill_dense(module, layer)


def _fill_decoder(network: Network, part: _Part) -> None:
    assert network.decoder is not None
    _fill_dense(network.decoder.dense[0], part.layers[0])
    _fill_convolutions(network.decoder.convolutions, part.layers[1:])
