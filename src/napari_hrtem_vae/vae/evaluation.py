"""Segments, and how well a network describes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..errors import ParameterError, TrainingError
from ..io.memory import memory_budget
from ..progress import Progress, Steps
from .network import Network

Float = NDArray[np.float32]
# A latent is active when the variance of its mean over the segments exceeds this (Burda et al. 2016).
ACTIVE_VARIANCE = 0.01
_BATCH = 256


@dataclass(frozen=True)
class Segments:
    """Training material: what the network sees and what it shall give.

    Parameters
    ----------
    seen, wanted : ndarray (n, window, window), float32
        Scaled to 0…1; may be one and the same array.
    """

    seen: Float
    wanted: Float

    def __post_init__(self) -> None:
        if self.seen.shape != self.wanted.shape or self.seen.ndim != 3 or len(self.seen) == 0:
            raise TrainingError(
                f"Segments of shape {self.seen.shape} and {self.wanted.shape} do not pair up."
            )
        if not (np.isfinite(self.seen).all() and np.isfinite(self.wanted).all()):
            raise TrainingError(
                "The segments hold values that are no numbers; leave out the frames they come from."
            )


def check_room(count: int, window: int) -> None:
    """Refuse more segments than half of the free memory holds, before it is taken.

    Raises
    ------
    ParameterError
        They would take more.
    """
    # Seen and wanted, and as much again while parts are joined.
    need, half = count * window**2 * 4 * 4, 2 * memory_budget()
    if need > half:
        raise ParameterError(
            f"{count} segments of {window} px take {need / 1e9:.1f} GB while they are made, over half of the "
            f"free memory ({half / 1e9:.1f} GB); lower segments in the recipe."
        )


@dataclass(frozen=True)
class Losses:
    """Means over segments: cross-entropy summed over pixels, divergence, latents that vary."""

    bce: float
    kl: float
    active: int
    variances: Float


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Of each segment's code from the unit normal, summed over latents, in nats; (n,)."""
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1)


def cross_entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    """Binary cross-entropy summed over pixels, mean over the batch."""
    return F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / len(wanted)


def entropy_floor(wanted: Float) -> float:
    """The cross-entropy that a perfect reconstruction of `wanted` still has, summed over pixels."""
    p = np.clip(wanted.astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-(p * np.log(p) + (1 - p) * np.log(1 - p)).sum((1, 2)).mean())


def evaluate_steps(network: Network, segments: Segments) -> Steps[Losses]:
    """Losses without noise in the code: the mean is decoded."""
    network.eval()
    assert network.encoder is not None
    assert network.decoder is not None
    bce = kl = 0.0
    means: list[Float] = []
    count = len(segments.seen)
    for start in range(0, count, _BATCH):
        yield Progress(start, count, "Validating")
        # Entered anew each time, never around a yield: it would reach into the caller's own work.
        with torch.inference_mode():
            seen = as_batch(segments.seen[start : start + _BATCH], network)
            wanted = as_batch(segments.wanted[start : start + _BATCH], network)
            mean, log_variance = network.encoder(seen)
            bce += cross_entropy(network.decoder(mean), wanted).item() * len(seen)
            kl += kl_divergence(mean, log_variance).sum().item()
            means.append(mean.cpu().numpy())
    variances = np.concatenate(means).var(0)
    return Losses(bce / count, kl / count, int((variances > ACTIVE_VARIANCE).sum()), variances)


def latent_variances_steps(network: Network, windows: Float) -> Steps[Float]:
    """Variance of each latent's mean over windows (n, window, window); (latents,)."""
    network.eval()
    assert network.encoder is not None
    means: list[Float] = []
    for start in range(0, len(windows), _BATCH):
        yield Progress(start, len(windows), "Ordering the latents")
        with torch.inference_mode():
            batch = as_batch(windows[start : start + _BATCH], network)
            means.append(network.encoder.mean(batch).cpu().numpy())
    return np.asarray(np.concatenate(means).var(0), np.float32)


def reconstruct(network: Network, windows: Float) -> Float:
    """Windows (n, window, window) as the network draws them from their codes' means."""
    network.eval()
    assert network.encoder is not None
    assert network.decoder is not None
    with torch.inference_mode():
        logits = network.decoder(network.encoder.mean(as_batch(windows, network)))
        return np.asarray(torch.sigmoid(logits)[:, 0].cpu().numpy(), np.float32)


def as_batch(windows: Float, network: Network) -> Tensor:
    """Windows (n, window, window) as (n, 1, window, window) on the network's device."""
    device = next(network.parameters()).device
    return torch.from_numpy(np.ascontiguousarray(windows[:, None])).to(device)
