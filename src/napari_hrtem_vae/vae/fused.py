"""Convolutions and their activations in one pass over memory, by the oneDNN that torch has on x86."""

from __future__ import annotations

import platform
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .network import PaddedConvolution

_MACHINES = ("x86_64", "AMD64")
_ACTIVATIONS: dict[type[nn.Module], str] = {nn.ReLU: "relu", nn.SiLU: "swish"}


class ActivatedConvolution(nn.Module):
    """A convolution and what follows it; forward alone, on a CPU.

    By itself an activation reads and writes all that the convolution has just written.

    Parameters
    ----------
    conv : Conv2d
    activation : ReLU or SiLU
    extra : int, optional
        Rows and columns of zeros after the frame, beside its padding.
    """

    def __init__(self, conv: nn.Conv2d, activation: nn.Module, extra: int = 0) -> None:
        super().__init__()
        self.conv, self.extra = conv, extra
        self.activation = _ACTIVATIONS[type(activation)]

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, filters, …)."""
        if self.extra:
            x = F.pad(x, (0, self.extra, 0, self.extra))
        conv = self.conv
        weight, bias = conv.weight.detach(), None if conv.bias is None else conv.bias.detach()
        place = conv.padding, conv.stride, conv.dilation, conv.groups
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, weight, bias, *place, self.activation, [], ""
        )
        return out


def fused(layers: Sequence[nn.Module]) -> list[nn.Module]:
    """The same layers, each convolution and its activation as one where oneDNN can."""
    out: list[nn.Module] = []
    for layer in layers:
        before, extra = out[-1] if out else None, 0
        if isinstance(before, PaddedConvolution):
            extra, before = before.extra, before.conv
        if isinstance(before, nn.Conv2d) and type(layer) in _ACTIVATIONS and _can(before):
            out[-1] = ActivatedConvolution(before, layer, extra)
        else:
            out.append(layer)
    return out


def _can(convolution: nn.Conv2d) -> bool:
    """Whether torch has oneDNN's way here, for the kind of number."""
    if platform.machine() not in _MACHINES or not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        return False
    rounded = convolution.weight.dtype == torch.bfloat16
    return not rounded or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
