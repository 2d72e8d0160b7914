"""A convolution and its activation as one layer, against the two by torch."""

from __future__ import annotations

import copy
import platform

import pytest
import torch
from torch import nn

from napari_hrtem_vae.vae.architecture import Convolution
from napari_hrtem_vae.vae.fused import ActivatedConvolution, fused
from napari_hrtem_vae.vae.network import PaddedConvolution

on_x86 = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="layers stay two where torch has no oneDNN for x86"
)


def layers_of(activation: nn.Module, kernel: int, stride: int, dtype: torch.dtype) -> list[nn.Module]:
    torch.manual_seed(kernel)
    convolution = PaddedConvolution(3, Convolution(8, kernel, stride), 20)
    return [convolution.to(dtype), activation]


@on_x86
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.SiLU()])
@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (3, 2), (5, 1)])
@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)])
def test_both_in_one_give_what_they_give_one_after_the_other(
    activation, kernel: int, stride: int, dtype, within: float
) -> None:
    layers = layers_of(activation, kernel, stride, dtype)
    exact = nn.Sequential(*copy.deepcopy(layers)).float()
    together = fused(layers)
    # Where oneDNN has no bfloat16 they stay two.
    assert dtype != torch.float32 or [type(one) for one in together] == [ActivatedConvolution]
    x = torch.randn(5, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = nn.Sequential(*together)(x.to(dtype))
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), exact(x), atol=within, rtol=within)


def test_what_is_no_convolution_with_an_activation_stays_as_it_is() -> None:
    convolution, activation = layers_of(nn.ReLU(), 4, 2, torch.float32)
    linear = nn.Linear(4, 4)
    assert fused([convolution, linear, activation]) == [convolution, linear, activation]
    assert fused([linear, activation]) == [linear, activation]
    assert fused([]) == []
