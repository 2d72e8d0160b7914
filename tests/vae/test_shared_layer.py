"""The first layer of overlapping windows, computed once for a frame: as computed window by window."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from napari_hrtem_vae.vae.architecture import Convolution
from napari_hrtem_vae.vae.network import PaddedConvolution
from napari_hrtem_vae.vae.shared_layer import SharedConvolution, blocks, can_share


def layer_of(kernel: int, stride: int, padding: str, window: int) -> PaddedConvolution:
    layer = PaddedConvolution(1, Convolution(5, kernel, stride, padding), window)
    return layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def window_by_window(layer: nn.Module, frames: torch.Tensor, window: int, step: int) -> torch.Tensor:
    """(n, rows, columns, filters, y, x)."""
    windows = frames.unfold(1, window, step).unfold(2, window, step)
    return layer(windows.reshape(-1, 1, window, window)).unflatten(0, windows.shape[:3])


@given(
    kernel=st.integers(1, 6),
    stride=st.integers(1, 4),
    padding=st.sampled_from(["same", "valid"]),
    window=st.integers(8, 20),
    more=st.tuples(st.integers(0, 13), st.integers(0, 13)),
    times=st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_every_window_has_the_outputs_that_it_has_alone(
    kernel: int, stride: int, padding: str, window: int, more: tuple[int, int], times: int
) -> None:
    step = times * stride
    torch.manual_seed(0)
    layer = layer_of(kernel, stride, padding, window)
    if not can_share(layer, window, step):
        assert step >= window or kernel > window
        return
    # One column of windows is not shared, see `pays`.
    frames = torch.rand(2, window + more[0], window + step + more[1])
    shared = SharedConvolution(layer, nn.SiLU(), window, step)
    with torch.inference_mode():
        views = shared.of_frames(frames)
        expected = window_by_window(nn.Sequential(layer, nn.SiLU()), frames, window, step)
        assert views[0].shape[:3] == expected.shape[:3]
        for frame, rows, columns in blocks(*expected.shape[:3], most=3):
            found = shared.windows(views, frame, rows, columns)
            torch.testing.assert_close(found, expected[frame, rows, columns].flatten(0, 1))


@pytest.mark.parametrize(
    ("step", "why"), [(3, "outputs lie between each other's"), (16, "windows lie side by side")]
)
def test_windows_that_have_nothing_in_common_are_not_shared(step: int, why: str) -> None:
    assert not can_share(layer_of(4, 2, "same", 16), 16, step), why


@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 30), st.integers(1, 12))
def test_blocks_cover_every_window_once(frames: int, rows: int, columns: int, most: int) -> None:
    seen = torch.zeros(frames, rows, columns)
    for place in blocks(frames, rows, columns, most):
        assert 0 < seen[place].numel() <= most
        seen[place] += 1
    assert (seen == 1).all()
