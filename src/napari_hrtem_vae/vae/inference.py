"""An encoder made ready to encode, as fast as its device allows, and nothing else."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from .fused import fused
from .network import Encoder, PaddedConvolution
from .overlap_save import OverlapSaveConvolution, gains

# What the convolutions of so many windows leave behind fits a core's cache; dense layers gain from more.
_WINDOWS_IN_CACHE = 64


class InferenceEncoder:
    """Means of the latents, of windows or of whole frames.

    In bfloat16 the first layer and the one that gives the means stay in float32: of the error of
    z in units of its spread, up to 0.03, they made nine tenths, and of the time they take a fifteenth.

    Parameters
    ----------
    encoder : Encoder
        Stays as it is.
    device : torch.device
    dtype : torch.dtype
        Of the layers between the first and the last.
    """

    def __init__(self, encoder: Encoder, device: torch.device, dtype: torch.dtype) -> None:
        encoder = copy.deepcopy(encoder).to(device)
        for module in encoder.modules():
            if isinstance(module, nn.SiLU | nn.ReLU):
                module.inplace = True
        self.dtype = dtype
        layers = list(encoder.convolutions)
        first, rest = layers[:2], [layer.to(dtype) for layer in layers[2:]]
        by_frame = rest
        if device.type == "cpu":
            by_frame = fused(_by_frame(rest, dtype))
            first, rest = fused(first), fused(rest)
        self.first, self.rest = nn.Sequential(*first), nn.Sequential(*rest)
        self.frame_layers = nn.Sequential(*by_frame)
        self.dense = None if encoder.dense is None else encoder.dense.to(dtype)
        self.to_mean = encoder.to_mean
        # Rows of sites that one row of tiles gives; others are computed and thrown away.
        self.tile_rows = max(
            (one.kept for one in by_frame if isinstance(one, OverlapSaveConvolution)), default=1
        )
        self.at_once = _WINDOWS_IN_CACHE if device.type == "cpu" else None

    def mean(self, windows: Tensor) -> Tensor:
        """Windows (n, 1, w, w), float32 -> means (n, latents), float32."""
        parts = torch.split(windows, self.at_once or len(windows))
        features = torch.cat([self._features(part) for part in parts])
        if self.dense is not None:
            features = self.dense(features)
        out: Tensor = self.to_mean(features.float())
        return out

    def mean_of_frames(self, frames: Tensor) -> Tensor:
        """Frames (n, h, w), float32 -> means (n, sites y, sites x, latents); unpadded networks only."""
        features = self.frame_layers(self.first(frames[:, None]).to(self.dtype))
        out: Tensor = self.to_mean(features.permute(0, 2, 3, 1).float())
        return out

    def _features(self, windows: Tensor) -> Tensor:
        features: Tensor = self.rest(self.first(windows).to(self.dtype))
        return features.permute(0, 2, 3, 1).flatten(1)


def _by_frame(layers: list[nn.Module], dtype: torch.dtype) -> list[nn.Module]:
    """The same layers, the last convolution by its spectrum where that pays for whole frames on a CPU."""
    last = max(
        (index for index, layer in enumerate(layers) if isinstance(layer, PaddedConvolution)), default=None
    )
    if last is None:
        return layers
    convolution = layers[last]
    assert isinstance(convolution, PaddedConvolution)
    if convolution.extra or not gains(convolution.conv):
        return layers
    by_spectrum = OverlapSaveConvolution(convolution.conv, dtype)
    return [*layers[:last], by_spectrum, *layers[last + 1 :]]
