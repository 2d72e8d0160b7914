"""Layers of a network, read off the operations of its graph, last to first."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelFileError
from .saved_model import Array, Input, SavedModel, Tensor, Value

_ACTIVATIONS = {"Relu": "relu", "Sigmoid": "sigmoid"}
_LINEAR = {"Conv2D": "convolution", "Conv2DBackpropInput": "transposed", "MatMul": "dense"}
_MOST_OPERATIONS = 1000
_KNOWN = "Conv2D, Conv2DTranspose, Dense, BatchNormalization, Flatten, Reshape, relu, silu and sigmoid"


@dataclass(frozen=True)
class Layer:
    """A linear map, an activation, and what scales and shifts each channel behind it.

    Parameters
    ----------
    kind : str
        "convolution", "transposed" or "dense".
    name : str
        Of its operation in the graph.
    kernel : ndarray
        (row, column, in, out), (row, column, out, in) or (in, out).
    bias : ndarray (out,)
    stride : int
    padding : str
        "same" or "valid".
    activation : str or None
    scale, shift : ndarray (out,) or None
        Batch normalisation behind the activation; that before it is in the kernel.
    epsilon : float or None
        Of the batch normalisation, where the graph tells.
    """

    kind: str
    name: str
    kernel: Array
    bias: Array
    stride: int = 1
    padding: str = "same"
    activation: str | None = None
    scale: Array | None = None
    shift: Array | None = None
    epsilon: float | None = None

    @property
    def units(self) -> int:
        """Outputs of a dense layer."""
        return int(self.kernel.shape[-1])

    @property
    def filters(self) -> int:
        """Channels that come out."""
        return int(self.kernel.shape[2 if self.kind == "transposed" else -1])

    def normalised(self, scale: Array, shift: Array, epsilon: float | None) -> Layer:
        """Followed by another scaling and shift of its channels."""
        ones, zeros = np.ones(self.filters), np.zeros(self.filters)
        for one in (scale, shift):
            if one.size not in (1, self.filters) or (one.size > 1 and one.shape[-1] != one.size):
                raise ModelFileError(f"{self.name} is followed by an operation that is not one of channels.")
        scale, shift = scale.ravel() * ones, shift.ravel() + zeros
        if self.activation is None:
            by_output = scale[:, None] if self.kind == "transposed" else scale
            return replace(self, kernel=self.kernel * by_output, bias=self.bias * scale + shift)
        before = ones if self.scale is None else self.scale
        offset = zeros if self.shift is None else self.shift
        return replace(
            self, scale=before * scale, shift=offset * scale + shift, epsilon=self.epsilon or epsilon
        )


def read_layers(saved: SavedModel, output: Value) -> tuple[list[Layer], Value]:
    """Layers from first to last, and the value that they start from: the input, or a sampled code.

    Raises
    ------
    ModelFileError
        An operation that is none of a known layer; it is named.
    """
    operations: list[Tensor] = []
    value = output
    while isinstance(value, Tensor):
        below = _data_input(saved, value)
        if below is None:
            break
        if len(operations) == _MOST_OPERATIONS:
            raise ModelFileError(f"{saved.folder} holds too many layers.")
        operations.append(value)
        value = below
    layers: list[Layer] = []
    for tensor in reversed(operations):
        _append(saved, layers, tensor)
    return _without_dense_normalisation(layers), value


def read_heads(saved: SavedModel, outputs: dict[str, Value]) -> tuple[tuple[Layer, Layer], list[Layer]]:
    """Mean and log variance of an encoder, and the layers before them.

    Which is which is told by the sampling that takes both, else by their names, else by their order.

    Raises
    ------
    ModelFileError
        The outputs are no such pair of dense layers on one trunk.
    """
    named: list[tuple[str, list[Layer]]] = []
    for name, value in outputs.items():
        layers, start = read_layers(saved, value)
        if not isinstance(start, Input):
            pair = zip(("mean", "log_var"), _sampled(saved, start), strict=True)
            named = [(name, read_layers(saved, one)[0]) for name, one in pair]
            break
        named.append((f"{name} {layers[-1].name}" if layers else name, layers))
    if len(named) != 2 or not all(layers for _, layers in named):
        raise ModelFileError(
            f"{saved.folder} gives {len(named)} output(s) of layers; "
            "an encoder gives a mean and a log variance."
        )
    if "var" in named[0][0].lower() and "var" not in named[1][0].lower():
        named.reverse()
    (*trunk, mean), (*other, log_variance) = (layers for _, layers in named)
    for head in (mean, log_variance):
        if head.kind != "dense" or head.activation is not None or head.units != mean.units:
            raise ModelFileError(
                f"{saved.folder} ends with {head.name}; mean and log variance are dense layers "
                "of one width without an activation."
            )
    if [layer.name for layer in trunk] != [layer.name for layer in other]:
        raise ModelFileError(
            f"{saved.folder} computes mean and log variance by layers of their own; only heads on one trunk "
            "are read."
        )
    return (mean, log_variance), trunk


def _data_input(saved: SavedModel, tensor: Tensor) -> Value | None:
    """The one input of an operation that carries the data; None where two are mixed (a sampling)."""
    op, inputs = tensor.node.op, saved.inputs(tensor)
    if op in _LINEAR:
        return inputs[2 if op == "Conv2DBackpropInput" else 0]
    if op in _ACTIVATIONS or op in ("BiasAdd", "Reshape") or op.startswith("FusedBatchNorm"):
        return inputs[0]
    if op in ("AddV2", "Add", "Sub", "Mul"):
        data = [one for one in inputs if saved.depends(one)]
        if len(data) == 1:
            return data[0]
        if op == "Mul":
            return _silu_input(saved, inputs)
        if op in ("AddV2", "Add"):
            return None
    raise ModelFileError(
        f"{saved.folder} holds {tensor.node.name}, an operation ({op}) of a layer that is not read; "
        f"known are {_KNOWN}."
    )


def _silu_input(saved: SavedModel, inputs: list[Value]) -> Value | None:
    """x of x · sigmoid(x), however its two factors stand; None for another product."""
    for value, factor in (inputs, inputs[::-1]):
        if isinstance(factor, Tensor) and factor.node.op == "Sigmoid":
            inside = saved.inputs(factor)[0]
            if isinstance(inside, Tensor) and inside.node.op == "Mul":
                # Keras writes β x with β = 1.
                x, beta = sorted(saved.inputs(inside), key=saved.depends, reverse=True)
                if not saved.depends(beta) and np.all(saved.evaluate(beta) == 1):
                    inside = x
            if inside == value:
                return value
    return None


def _sampled(saved: SavedModel, code: Value) -> tuple[Value, Value]:
    """Mean and log variance that a code is drawn from: mean + exp(log variance / 2) · noise."""
    for tensor in [code] if isinstance(code, Tensor) else []:
        for mean, noise in (saved.inputs(tensor), saved.inputs(tensor)[::-1]):
            exponential = _find(saved, noise, "Exp")
            if exponential is None or _find(saved, mean, "Exp") is not None:
                continue
            inside = saved.inputs(exponential)[0]
            for _ in range(_MOST_OPERATIONS):
                if not isinstance(inside, Tensor) or inside.node.op not in ("Mul", "RealDiv"):
                    break
                inside = next((one for one in saved.inputs(inside) if saved.depends(one)), inside)
            return mean, inside
    where = code.node.name if isinstance(code, Tensor) else "its input"
    raise ModelFileError(
        f"{saved.folder} mixes two branches at {where}; only the sampling of a variational "
        "autoencoder is read."
    )


def _find(saved: SavedModel, value: Value, op: str) -> Tensor | None:
    """The operation of that kind behind sums and products."""
    waiting, seen = [value], set()
    while waiting:
        one = waiting.pop()
        if not isinstance(one, Tensor) or (one.scope, one.node.name) in seen:
            continue
        seen.add((one.scope, one.node.name))
        if one.node.op == op:
            return one
        if one.node.op in ("Mul", "AddV2", "Add", "Sqrt"):
            waiting += reversed(saved.inputs(one))
    return None


def _append(saved: SavedModel, layers: list[Layer], tensor: Tensor) -> None:
    """Add an operation to the layers before it."""
    op, inputs = tensor.node.op, saved.inputs(tensor)
    if op in _LINEAR:
        layers.append(_linear(saved, tensor))
    elif op == "Reshape":
        return
    elif not layers:
        raise ModelFileError(
            f"{saved.folder} changes its input by {tensor.node.name} ({op}) before the first layer; "
            f"known are {_KNOWN}."
        )
    elif op in _ACTIVATIONS or (op == "Mul" and all(map(saved.depends, inputs))):
        if layers[-1].activation is not None:
            raise ModelFileError(f"{saved.folder} has two activations behind {layers[-1].name}.")
        layers[-1] = replace(layers[-1], activation=_ACTIVATIONS.get(op, "silu"))
    else:
        layers[-1] = layers[-1].normalised(*_affine(saved, tensor))


def _affine(saved: SavedModel, tensor: Tensor) -> tuple[Array, Array, float | None]:
    """Scale and shift of an operation, and its ε where it is a batch normalisation."""
    op, inputs = tensor.node.op, saved.inputs(tensor)
    if op.startswith("FusedBatchNorm"):
        # An attribute at the operation's own default is not written: ε 1e-4, training true.
        attributes = tensor.node.attributes
        if "is_training" not in attributes or attributes["is_training"].integer(5) != 0:
            raise ModelFileError(f"{tensor.node.name} normalises as in training; save the model again.")
        epsilon = float(f"{attributes['epsilon'].float32(4):.6g}") if "epsilon" in attributes else 1e-4
        gamma, beta, mean, variance = (saved.evaluate(one) for one in inputs[1:5])
        scale = gamma / np.sqrt(variance + epsilon)
        return scale, beta - mean * scale, epsilon
    one, zero = np.ones(1), np.zeros(1)
    first_is_data = saved.depends(inputs[0])
    constant = saved.evaluate(inputs[1] if first_is_data else inputs[0])
    constant = constant if constant.ndim else constant[None]
    if op == "Mul":
        return constant, zero, None
    if op == "Sub":
        return (one, -constant, None) if first_is_data else (-one, constant, None)
    return one, constant, None


def _linear(saved: SavedModel, tensor: Tensor) -> Layer:
    node = tensor.node
    kind = _LINEAR[node.op]
    kernel: NDArray[np.float64] = saved.evaluate(saved.inputs(tensor)[1])
    if kind == "dense":
        if node.attribute("transpose_a").integer(5) or node.attribute("transpose_b").integer(5):
            raise ModelFileError(f"{node.name} multiplies by a transposed matrix; that is not read.")
        return Layer(kind, node.name, kernel, np.zeros(kernel.shape[-1]))
    strides = node.attribute("strides").message(1).integers(3)
    dilations = node.attribute("dilations").message(1).integers(3) or [1] * 4
    padding = node.attribute("padding").text(2).lower()
    layout = node.attribute("data_format").text(2)
    if (
        len(strides) != 4
        or strides[1] != strides[2]
        or set(dilations) != {1}
        or kernel.shape[0] != kernel.shape[1]
        or padding not in (("same",) if kind == "transposed" else ("same", "valid"))
        or layout not in ("", "NHWC")
    ):
        raise ModelFileError(
            f"{node.name} has a kernel of {kernel.shape[0]} × {kernel.shape[1]} px, strides "
            f"{tuple(strides[1:3])}, dilations {tuple(dilations[1:3])}, padding '{padding}', "
            f"layout {layout or 'NHWC'}; "
            "only square kernels with equal strides, no dilation, channels last and padding 'same' "
            "(or 'valid' in an encoder) are read."
        )
    channels = kernel.shape[2 if kind == "transposed" else 3]
    return Layer(kind, node.name, kernel, np.zeros(channels), strides[1], padding)


def _without_dense_normalisation(layers: list[Layer]) -> list[Layer]:
    """What scales a dense layer's units goes into the dense layer behind it, where there is one."""
    out = list(layers)
    for index in range(len(out) - 1):
        layer, behind = out[index], out[index + 1]
        if layer.kind == behind.kind == "dense" and layer.scale is not None and layer.shift is not None:
            out[index] = replace(layer, scale=None, shift=None, epsilon=None)
            out[index + 1] = replace(
                behind,
                kernel=layer.scale[:, None] * behind.kernel,
                bias=behind.bias + layer.shift @ behind.kernel,
            )
    return out
