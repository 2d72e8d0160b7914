"""Batches of segments: shuffled, placed on the device, augmented as they are used."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..video.resampling import gaussian_taps
from .recipe import Recipe

Float = NDArray[np.float32]
# Segments go to the GPU as a whole where they leave it this much room.
_SHARE_OF_DEVICE = 0.25


class BatchSource:
    """Pairs of segments, ready to be drawn from.

    Parameters
    ----------
    seen, wanted : ndarray (n, window, window), float32
        May be one and the same array.
    recipe : Recipe
        Size of a batch, seed, augmentation.
    device : torch.device
        Where the batches are wanted.
    """

    def __init__(self, seen: Float, wanted: Float, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        self.seen = _placed(seen, device)
        self.wanted = self.seen if wanted is seen else _placed(wanted, device)

    def __len__(self) -> int:
        """Batches an epoch."""
        return -(-len(self.seen) // self.recipe.batch)

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All segments once, (n, 1, window, window) each; the same for the same number and seed."""
        rng = np.random.default_rng([self.recipe.seed, number])
        order = torch.from_numpy(rng.permutation(len(self.seen))).to(self.seen.device)
        noise = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        for start in range(0, len(order), self.recipe.batch):
            pick = order[start : start + self.recipe.batch]
            seen = self.seen[pick].to(self.device)
            wanted = seen if self.wanted is self.seen else self.wanted[pick].to(self.device)
            yield augment(seen, wanted, self.recipe, rng, noise)


def augment(
    seen: Tensor, wanted: Tensor, recipe: Recipe, rng: np.random.Generator, noise: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Turn and mirror each pair, change its grey values, add noise to what is seen.

    Parameters
    ----------
    seen, wanted : Tensor (n, window, window)
        May be one and the same.
    recipe : Recipe
        `contrast_jitter`, `grey_jitter`, `dose_noise`, `smoothing_px`.
    rng : numpy.random.Generator
        Draws the changes.
    noise : torch.Generator
        Draws the noise, on the tensors' device.

    Returns
    -------
    seen, wanted : Tensor (n, 1, window, window)
    """
    device, count = seen.device, len(seen)
    symmetries = torch.from_numpy(rng.integers(0, 8, count)).to(device)
    same = wanted is seen
    seen = turn(seen, symmetries)
    wanted = seen if same else turn(wanted, symmetries)
    if recipe.contrast_jitter or recipe.grey_jitter:
        spread = np.log1p(recipe.contrast_jitter)
        gains = np.exp(rng.uniform(-spread, spread, (count, 1, 1)))
        offsets = 0.5 + rng.uniform(-recipe.grey_jitter, recipe.grey_jitter, (count, 1, 1))
        gain, offset = (torch.from_numpy(x.astype(np.float32)).to(device) for x in (gains, offsets))
        seen = ((seen - 0.5) * gain + offset).clamp_(0, 1)
        wanted = seen if same else ((wanted - 0.5) * gain + offset).clamp_(0, 1)
    if recipe.dose_noise:
        strength = rng.uniform(0, recipe.dose_noise, (count, 1, 1)).astype(np.float32)
        added = smoothed_noise(count, seen.shape[-1], recipe.smoothing_px, noise)
        seen = torch.addcmul(seen, added, torch.from_numpy(strength).to(device)).clamp_(0, 1)
    return seen[:, None], wanted[:, None]


def turn(windows: Tensor, symmetries: Tensor) -> Tensor:
    """Apply to each window (n, w, w) one of the eight symmetries of a square, numbered 0…7; 0 is none."""
    chosen = [(symmetries >> bit & 1).bool()[:, None, None] for bit in range(3)]
    windows = torch.where(chosen[0], windows.transpose(1, 2), windows)
    for axis in (1, 2):
        windows = torch.where(chosen[axis], windows.flip(axis), windows)
    return windows


def smoothed_noise(count: int, window: int, sigma_px: float, generator: torch.Generator) -> Tensor:
    """White noise that has passed the Gaussian that frames pass; standard deviation 1, (count, w, w)."""
    taps = torch.from_numpy(gaussian_taps(sigma_px).astype(np.float32)) if sigma_px else torch.ones(1)
    taps = (taps / taps.norm()).to(generator.device)
    size = window + len(taps) - 1
    noise = torch.randn((count, 1, size, size), generator=generator, device=generator.device)
    return F.conv2d(F.conv2d(noise, taps[None, None, None]), taps[None, None, :, None])[:, 0]


def _placed(windows: Float, device: torch.device) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(windows))
    if device.type == "cuda" and windows.nbytes < _SHARE_OF_DEVICE * torch.cuda.mem_get_info(device)[0]:
        return tensor.to(device)
    return tensor
