"""Convolutions with large kernels by Fourier transforms of overlapping tiles, as matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

Double = NDArray[np.float64]
# With 16 pixels a kernel of 6 × 6 takes 4.2 products an output in place of 36, and its spectra stay in cache.
TILE = 16
# Smaller kernels gain less than the transforms cost, larger ones leave too little of a tile.
_KERNELS = range(5, 9)


def gains(convolution: nn.Conv2d) -> bool:
    """Whether a convolution takes less time by its spectrum."""
    height, width = convolution.kernel_size
    return (
        height == width
        and height in _KERNELS
        and convolution.stride == (1, 1)
        and convolution.padding == (0, 0)
        and min(convolution.in_channels, convolution.out_channels) >= TILE
    )


class OverlapSaveConvolution(nn.Module):
    """An unpadded convolution by the overlap-save method, on real matrices throughout.

    Tiles of 16 × 16 px overlap by the kernel less one. Along x frequencies lie halfway between those of
    the usual transform: a real tile then has eight complex ones and none twice, and what wraps around
    changes its sign, in outputs that are thrown away. A complex product is one of real matrices with the
    real and imaginary parts side by side. With bfloat16 the first transforms and the last stay in
    float32: they take little of the time, and eight bits there would double the error.

    Parameters
    ----------
    convolution : Conv2d
        Square kernel, no padding, stride 1; see `gains`.
    dtype : torch.dtype
        Of the products; the output is of float32.

    References
    ----------
    Oppenheim & Schafer, Discrete-Time Signal Processing, section 8.7.3 (overlap-save).
    """

    def __init__(self, convolution: nn.Conv2d, dtype: torch.dtype) -> None:
        super().__init__()
        self.kernel, self.dtype = convolution.kernel_size[0], dtype
        self.kept = TILE - self.kernel + 1
        weight = convolution.weight.detach().double().cpu().numpy()
        assert convolution.bias is not None
        self.along_x, self.along_y = _tensor(_forward_x()), _tensor(_forward_y())
        self.products = _tensor(_products(weight)).to(dtype)
        self.back_y = _tensor(_backward_y(self.kept)).to(dtype)
        self.back_x = _tensor(_backward_x(self.kept))
        self.bias = convolution.bias.detach().float()

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, filters, h − kernel + 1, w − kernel + 1), channels last."""
        height, width = (size - self.kernel + 1 for size in x.shape[2:])
        rows, columns = -(-height // self.kept), -(-width // self.kept)
        x = x.permute(0, 2, 3, 1).float()
        beyond = rows * self.kept - height, columns * self.kept - width
        if any(beyond):
            x = F.pad(x, (0, 0, 0, beyond[1], 0, beyond[0]))
        spectra = self._spectra(x, rows, columns)
        out = self._pictures(spectra, len(x), rows, columns)
        return out[:, :, :height, :width]

    def _spectra(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """(n, y, x, channels) -> (kx, ky, tiles, re and im × channels)."""
        n, height, _, channels = x.shape
        half = TILE // 2
        tiles = x.unfold(2, TILE, self.kept).transpose(3, 4)
        lines = torch.matmul(self.along_x, tiles).view(n, height, columns, 2, half, channels)
        lines = lines.transpose(2, 3).reshape(n, 2 * height, -1)
        spectra = x.new_empty(n, rows, 2 * TILE, lines.shape[2])
        for row in range(rows):
            first = 2 * self.kept * row
            torch.matmul(self.along_y, lines[:, first : first + 2 * TILE], out=spectra[:, row])
        spectra = spectra.view(n, rows, TILE, 2, columns, half, channels).permute(5, 2, 0, 1, 4, 3, 6)
        ordered = torch.empty(spectra.shape, dtype=self.dtype, device=x.device).copy_(spectra)
        return ordered.view(half, TILE, n * rows * columns, 2 * channels)

    def _pictures(self, spectra: Tensor, n: int, rows: int, columns: int) -> Tensor:
        """Multiply by the kernel's spectrum, and back: (n, filters, y, x)."""
        half, _, tiles, _ = spectra.shape
        filters = self.products.shape[-1]
        # Of one kx at a time, and back along y at once: what the products leave behind stays in the cache.
        products = spectra.new_empty(2, TILE, tiles, filters)
        lines = spectra.new_empty(half, 2 * self.kept, tiles * filters)
        for kx in range(half):
            for part in range(2):
                torch.bmm(spectra[kx], self.products[kx, part], out=products[part])
            torch.mm(self.back_y, products.view(2 * TILE, -1), out=lines[kx])
        out = torch.mm(self.back_x, lines.view(2 * half, -1).float())
        out = out.view(self.kept, self.kept, n, rows, columns, filters).permute(2, 3, 1, 4, 0, 5)
        out = out.reshape(n, rows * self.kept, columns * self.kept, filters)
        return out.add_(self.bias).permute(0, 3, 1, 2)


def _tensor(values: NDArray[np.floating[Any]]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def _frequencies_x() -> Double:
    return (np.arange(TILE // 2) + 0.5) * 2 * np.pi / TILE


def _frequencies_y() -> Double:
    return np.arange(TILE) * 2 * np.pi / TILE


def _forward_x() -> Double:
    """(re and im × kx, x)."""
    wave = np.exp(-1j * np.outer(_frequencies_x(), np.arange(TILE)))
    return np.concatenate([wave.real, wave.imag])


def _forward_y() -> Double:
    """(ky × re and im, y × re and im)."""
    wave = np.exp(-1j * np.outer(_frequencies_y(), np.arange(TILE)))
    parts = np.array([[wave.real, -wave.imag], [wave.imag, wave.real]])
    return parts.transpose(2, 0, 3, 1).reshape(2 * TILE, 2 * TILE)


def _products(weight: Double) -> NDArray[np.float32]:
    """Of a kernel (filters, channels, k, k): (kx, re and im, ky, re and im × channels, filters)."""
    filters, channels, size, _ = weight.shape
    # A convolution in the sense of networks is a correlation: the conjugate of the spectrum.
    wave_y, wave_x = (
        np.exp(1j * np.outer(frequencies, np.arange(size)))
        for frequencies in (_frequencies_y(), _frequencies_x())
    )
    waves, taps = np.kron(wave_y, wave_x), weight.transpose(2, 3, 1, 0).reshape(size**2, -1)
    real, imag = (
        (part @ taps).reshape(TILE, TILE // 2, channels, filters).swapaxes(0, 1)
        for part in (waves.real, waves.imag)
    )
    products = np.empty((TILE // 2, 2, TILE, 2, channels, filters), np.float32)
    products[:, 0, :, 0], products[:, 0, :, 1] = real, -imag
    products[:, 1, :, 0], products[:, 1, :, 1] = imag, real
    return products.reshape(TILE // 2, 2, TILE, 2 * channels, filters)


def _backward_y(kept: int) -> Double:
    """(re and im × y, re and im × ky), of the outputs that are kept."""
    wave = np.exp(1j * np.outer(np.arange(kept), _frequencies_y())) / TILE
    return np.block([[wave.real, -wave.imag], [wave.imag, wave.real]])


def _backward_x(kept: int) -> Double:
    """(x, kx × re and im), of the outputs that are kept."""
    # Each frequency stands for its mirror too.
    wave = np.exp(1j * np.outer(np.arange(kept), _frequencies_x())) * 2 / TILE
    return np.stack([wave.real, -wave.imag], axis=2).reshape(kept, TILE)
