"""Convolutions by spectra against torch's own in double precision."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from napari_hrtem_vae.vae.overlap_save import OverlapSaveConvolution, gains


def convolution_of(kernel: int, channels: int = 16, filters: int = 24) -> nn.Conv2d:
    torch.manual_seed(kernel)
    return nn.Conv2d(channels, filters, kernel).requires_grad_(False)


def exact(convolution: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    assert convolution.bias is not None
    return F.conv2d(x.double(), convolution.weight.double(), convolution.bias.double())


@given(
    st.integers(5, 8), st.integers(1, 3), st.integers(0, 30), st.integers(0, 30), st.integers(0, 2**32 - 1)
)
def test_any_size_equals_the_direct_convolution(kernel, frames, height, width, seed) -> None:
    convolution = convolution_of(kernel)
    x = torch.randn(
        frames, 16, height + kernel, width + kernel, generator=torch.Generator().manual_seed(seed)
    )
    found = OverlapSaveConvolution(convolution, torch.float32)(x)
    torch.testing.assert_close(found.double(), exact(convolution, x), atol=1e-5, rtol=0)


def test_no_less_precise_than_the_direct_convolution_in_float32() -> None:
    convolution = convolution_of(6, 64, 64)
    x = torch.randn(1, 64, 40, 40, generator=torch.Generator().manual_seed(0)) + 1
    truth = exact(convolution, x)
    by_spectrum = OverlapSaveConvolution(convolution, torch.float32)(x) - truth
    direct = convolution(x) - truth
    assert by_spectrum.square().mean() < 2 * direct.square().mean()


def test_bfloat16_is_as_precise_as_its_eight_bits() -> None:
    convolution = convolution_of(6, 64, 64)
    x = torch.randn(1, 64, 40, 40, generator=torch.Generator().manual_seed(0))
    truth = exact(convolution, x)
    error = OverlapSaveConvolution(convolution, torch.bfloat16)(x.bfloat16()).double() - truth
    # One rounding to eight bits has an error of 2⁻⁹ / √3 of the value; a handful of them in a row.
    assert error.square().mean().sqrt() < 4 * 2**-9 * truth.square().mean().sqrt()


@pytest.mark.parametrize(
    ("convolution", "expected"),
    [
        (nn.Conv2d(64, 128, 6), True),
        (nn.Conv2d(64, 128, 6, stride=2), False),
        (nn.Conv2d(64, 128, 6, padding=1), False),
        (nn.Conv2d(64, 128, (6, 5)), False),
        (nn.Conv2d(64, 128, 4), False),
        (nn.Conv2d(64, 128, 12), False),
        (nn.Conv2d(1, 128, 6), False),
    ],
)
def test_only_large_unpadded_kernels_are_taken(convolution, expected) -> None:
    assert gains(convolution) == expected
