"""The networks in torch, built from an `Architecture`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .architecture import Architecture, Convolution, DecoderLayers, EncoderLayers


class PaddedConvolution(nn.Module):
    """A convolution whose 'same' padding is TensorFlow's, odd zeros after."""

    def __init__(self, channels: int, layer: Convolution, size: int) -> None:
        super().__init__()
        before, after = layer.padding_before_after(size)
        self.extra = after - before
        self.conv = nn.Conv2d(channels, layer.filters, layer.kernel, layer.stride, padding=before)

    def forward(self, x: Tensor) -> Tensor:
        if self.extra:
            x = F.pad(x, (0, self.extra, 0, self.extra))
        out: Tensor = self.conv(x)
        return out


class CroppedTransposedConvolution(nn.Module):
    """A transposed convolution cropped to stride × size, as TensorFlow crops it."""

    def __init__(self, channels: int, layer: Convolution, size: int) -> None:
        super().__init__()
        self.size = size * layer.stride
        # The crop of the output is the padding of the convolution that this one transposes.
        self.before, after = layer.padding_before_after(self.size)
        self.symmetric = self.before == after
        padding = self.before if self.symmetric else 0
        self.conv = nn.ConvTranspose2d(channels, layer.filters, layer.kernel, layer.stride, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        if not self.symmetric:
            out = out[..., self.before : self.before + self.size, self.before : self.before + self.size]
        return out


def _activation(name: str) -> nn.Module:
    return nn.ReLU() if name == "relu" else nn.SiLU()


class Encoder(nn.Module):
    """Windows (n, 1, w, w) to mean and log variance, or frames to a grid of them."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        layers = architecture.encoder
        assert isinstance(layers, EncoderLayers)
        sizes = architecture.encoder_sizes()
        blocks: list[nn.Module] = []
        channels = 1
        for layer, size in zip(layers.convolutions, sizes[:-1], strict=True):
            blocks += [PaddedConvolution(channels, layer, size), _activation(architecture.activation)]
            if layers.batch_normalisation:
                blocks.append(nn.BatchNorm2d(layer.filters, eps=layers.epsilon))
            channels = layer.filters
        self.convolutions = nn.Sequential(*blocks)
        self.dense: nn.Sequential | None = None
        width = self.width = channels * sizes[-1] ** 2
        if layers.dense:
            dense: list[nn.Module] = []
            for units in layers.dense:
                dense += [nn.Linear(width, units), _activation(architecture.activation)]
                width = units
            self.dense = nn.Sequential(*dense)
        self.to_mean = nn.Linear(width, architecture.latents)
        self.to_log_variance = nn.Linear(width, architecture.latents)

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 1, w, w) -> mean and log variance, (n, latents) each."""
        features = self.features(windows)
        return self.to_mean(features), self.to_log_variance(features)

    def features(self, windows: Tensor) -> Tensor:
        """(n, 1, w, w) -> (n, width), flattened in row, column, channel order."""
        x: Tensor = self.convolutions(windows).permute(0, 2, 3, 1).flatten(1)
        if self.dense is not None:
            x = self.dense(x)
        return x

    def mean(self, windows: Tensor) -> Tensor:
        """(n, 1, w, w) -> mean (n, latents), without the log variance."""
        out: Tensor = self.to_mean(self.features(windows))
        return out


class Decoder(nn.Module):
    """Latents (n, latents) to logits of windows (n, 1, w, w)."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        layers = architecture.decoder
        assert isinstance(layers, DecoderLayers)
        self.grid, self.channels = layers.grid, layers.channels
        self.dense = nn.Sequential(
            nn.Linear(architecture.latents, layers.grid**2 * layers.channels),
            _activation(architecture.activation),
        )
        blocks: list[nn.Module] = []
        channels, size = layers.channels, layers.grid
        for layer in layers.convolutions:
            if blocks:
                blocks.append(_activation(architecture.activation))
                if layers.batch_normalisation:
                    blocks.append(nn.BatchNorm2d(channels, eps=layers.epsilon))
            blocks.append(CroppedTransposedConvolution(channels, layer, size))
            channels, size = layer.filters, size * layer.stride
        self.convolutions = nn.Sequential(*blocks)

    def forward(self, z: Tensor) -> Tensor:
        x = self.dense(z).view(-1, self.grid, self.grid, self.channels).permute(0, 3, 1, 2)
        out: Tensor = self.convolutions(x)
        return out


class Network(nn.Module):
    """Encoder and decoder; either may be absent."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.encoder = Encoder(architecture) if architecture.encoder is not None else None
        self.decoder = Decoder(architecture) if architecture.decoder is not None else None
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
