"""An encoder made ready to encode, as fast as its device allows, and nothing else."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from .fused import fused
from .network import Encoder, PaddedConvolution
from .overlap_save import OverlapSaveConvolution, gains
from .shared_layer import SharedConvolution, blocks, can_share

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
    windows : tuple of int, optional
        Size and distance in px of windows of frames that are to be encoded. `shared` is then their first
        layer, or None where they cannot share it.
    """

    def __init__(
        self,
        encoder: Encoder,
        device: torch.device,
        dtype: torch.dtype,
        windows: tuple[int, int] | None = None,
    ) -> None:
        encoder = copy.deepcopy(encoder).to(device)
        for module in encoder.modules():
            if isinstance(module, nn.SiLU | nn.ReLU):
                module.inplace = True
        self.dtype = dtype
        layers = list(encoder.convolutions)
        first, rest = layers[:2], [layer.to(dtype) for layer in layers[2:]]
        by_frame = rest
        convolution, activation = first
        assert isinstance(convolution, PaddedConvolution)
        self.shared = None
        if device.type == "cpu" and windows is not None and can_share(convolution, *windows):
            self.shared = SharedConvolution(convolution, activation, *windows)
        if device.type == "cpu":
            by_frame = fused(_by_frame(rest, dtype))
            first, rest = fused(first), fused(rest)
        self.first, self.rest = nn.Sequential(*first), nn.Sequential(*rest)
        self.frame_layers = nn.Sequential(*by_frame)
        self.dense = None if encoder.dense is None else encoder.dense.to(dtype)
        self.to_mean = encoder.to_mean
        self.width = encoder.width
        # Rows of sites that one row of tiles gives; others are computed and thrown away.
        self.tile_rows = max(
            (one.kept for one in by_frame if isinstance(one, OverlapSaveConvolution)), default=1
        )
        self.at_once = _WINDOWS_IN_CACHE if device.type == "cpu" else None

    def mean(self, windows: Tensor) -> Tensor:
        """Windows (n, 1, w, w), float32 -> means (n, latents), float32."""
        parts = torch.split(windows, self.at_once or len(windows))
        return self._mean(torch.cat([self._features(self.first(part)) for part in parts]))

    def mean_of_windows(self, frames: Tensor) -> Tensor:
        """Frames (n, h, w), float32 -> means (n, rows, columns, latents) of all windows, by `shared`."""
        assert self.shared is not None
        views = self.shared.of_frames(frames)
        count, rows, columns = views[0].shape[:3]
        features = torch.empty(count, rows, columns, self.width, dtype=self.dtype)
        for place in blocks(count, rows, columns, _WINDOWS_IN_CACHE):
            target = features[place]
            target[:] = self._features(self.shared.windows(views, *place)).view_as(target)
        return self._mean(features)

    def mean_of_frames(self, frames: Tensor) -> Tensor:
        """Frames (n, h, w), float32 -> means (n, sites y, sites x, latents); unpadded networks only."""
        features = self.frame_layers(self.first(frames[:, None]).to(self.dtype))
        out: Tensor = self.to_mean(features.permute(0, 2, 3, 1).float())
        return out

    def _features(self, first: Tensor) -> Tensor:
        """The first layer's outputs -> (n, width), flattened in row, column, channel order."""
        features: Tensor = self.rest(first.to(self.dtype))
        return features.permute(0, 2, 3, 1).flatten(1)

    def _mean(self, features: Tensor) -> Tensor:
        if self.dense is not None:
            features = self.dense(features)
        out: Tensor = self.to_mean(features.float())
        return out


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
