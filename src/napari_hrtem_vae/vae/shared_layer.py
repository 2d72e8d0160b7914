"""The first convolution of windows that overlap, computed once where they see the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from .fused import fused
from .network import PaddedConvolution

_FEWEST_WINDOWS = 8  # of a frame


@dataclass(frozen=True)
class _Outputs:
    """Outputs of a window along one axis that see as much of it, and how a frame's convolution gives them.

    Parameters
    ----------
    first, count : int
        Which of the window's.
    start : int
        First pixel of the window that the first of them sees.
    kernel : slice
        What of the kernel lies within the window.
    stride : int
        Pixels from one output of the frame's to the next.
    apart : int
        Outputs of the frame's from one window to the next.
    """

    first: int
    count: int
    start: int
    kernel: slice
    stride: int
    apart: int

    @property
    def places(self) -> slice:
        """Within a window's outputs."""
        return slice(self.first, self.first + self.count)


class SharedConvolution:
    """The first layer of all windows of a frame, those `step` px apart sharing what they see alike.

    A window's outermost outputs see zeros beyond it where the frame goes on: each row, column and corner of
    them has a convolution of its own, of what lies within, a step apart.

    Parameters
    ----------
    layer : PaddedConvolution
        Its stride divides `step`; see `can_share`.
    activation : ReLU or SiLU
    window, step : int
        In px.
    """

    def __init__(self, layer: PaddedConvolution, activation: nn.Module, window: int, step: int) -> None:
        self.window, self.step, self.filters = window, step, layer.conv.out_channels
        along = _outputs(layer, window, step)
        self.size = sum(outputs.count for outputs in along)
        self.parts = [
            (y, x, nn.Sequential(*fused([_part_of(layer.conv, y, x), activation])))
            for y, x in product(along, along)
        ]

    def of_frames(self, frames: Tensor) -> list[Tensor]:
        """What all windows of frames (n, y, x) are put together from, as views.

        Each is (n, row, column, y, x, filter), of some outputs of the windows.
        """
        rows, columns = ((size - self.window) // self.step + 1 for size in frames.shape[1:])
        views = []
        for y, x, layer in self.parts:
            found = layer(frames[:, None, y.start :, x.start :])
            view = found.unfold(2, y.count, y.apart)[:, :, :rows]
            view = view.unfold(3, x.count, x.apart)[:, :, :, :columns]
            views.append(view.permute(0, 2, 3, 4, 5, 1))
        return views

    def windows(self, views: list[Tensor], frame: int, rows: slice, columns: slice) -> Tensor:
        """The layer's outputs (n, filters, y, x) for the windows of some rows and columns of a frame."""
        some = [view[frame, rows, columns] for view in views]
        out = some[0].new_empty(*some[0].shape[:2], self.size, self.size, self.filters)
        for (y, x, _), part in zip(self.parts, some, strict=True):
            out[:, :, y.places, x.places] = part
        return out.flatten(0, 1).permute(0, 3, 1, 2)


def can_share(layer: PaddedConvolution, window: int, step: int) -> bool:
    """Whether the windows of a frame, `step` px apart, have outputs of a first layer in common."""
    conv = layer.conv
    return step % conv.stride[0] == 0 and step < window and conv.kernel_size[0] <= window


def pays(rows: int, columns: int) -> bool:
    """Whether so many windows of a frame have enough in common for it to take less time.

    One column never has: torch 2.13 computes it wrongly where a part of the kernel has a stride of 1 along y
    and another along x.
    """
    return columns > 1 and rows * columns >= _FEWEST_WINDOWS


def blocks(frames: int, rows: int, columns: int, most: int) -> Iterator[tuple[int, slice, slice]]:
    """Frame, rows and columns of windows that cover all of them, up to `most` windows in each."""
    wide = -(-columns // -(-columns // most))
    tall = max(1, most // columns)
    for frame, row, column in product(range(frames), range(0, rows, tall), range(0, columns, wide)):
        yield frame, slice(row, min(row + tall, rows)), slice(column, min(column + wide, columns))


def _outputs(layer: PaddedConvolution, window: int, step: int) -> list[_Outputs]:
    """All outputs of a window along one axis: those that see none of its padding together, others alone."""
    conv = layer.conv
    kernel, stride, before = conv.kernel_size[0], conv.stride[0], int(conv.padding[0])
    count = (window + 2 * before + layer.extra - kernel) // stride + 1
    found: list[_Outputs] = []
    inner = [place for place in range(count) if 0 <= place * stride - before <= window - kernel]
    for place in range(count):
        start = place * stride - before
        if place not in inner:
            seen = slice(max(0, -start), min(kernel, window - start))
            found.append(_Outputs(place, 1, max(0, start), seen, step, 1))
        elif place == inner[0]:
            found.append(_Outputs(place, len(inner), start, slice(0, kernel), stride, step // stride))
    return found


def _part_of(conv: nn.Conv2d, y: _Outputs, x: _Outputs) -> nn.Conv2d:
    """An unpadded convolution with some rows and columns of another's kernel."""
    weight = conv.weight.detach()[:, :, y.kernel, x.kernel]
    size = int(weight.shape[2]), int(weight.shape[3])
    strides = (y.stride, x.stride)
    # Without memory: random weights would be replaced at once, and random numbers are others' business.
    part = nn.Conv2d(conv.in_channels, conv.out_channels, size, strides, device="meta")
    assert conv.bias is not None
    part.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))
    part.bias = nn.Parameter(conv.bias.detach())
    return part
