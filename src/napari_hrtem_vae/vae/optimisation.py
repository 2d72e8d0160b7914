"""The part of training that steps: a network, its Adam, and where both stand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from ..errors import DeviceError
from .architecture import ARCHITECTURES
from .checkpoint import TrainingState, Weights
from .evaluation import cross_entropy, kl_divergence
from .network import Network
from .recipe import Recipe

# One cycle (Smith & Topin 2019), with torch's defaults.
_RISE, _FIRST, _LAST = 0.3, 1 / 25, 1 / 25e4
_MOMENTUM = (0.95, 0.85)


def one_cycle(share: float) -> tuple[float, float]:
    """Learning rate over its peak, and Adam's first decay, after this share of all steps (0…1)."""
    rise = share < _RISE
    turn = share / _RISE if rise else (share - _RISE) / (1 - _RISE)
    # 0 at the peak, 1 at either end.
    away = 0.5 * (1 + np.cos(np.pi * turn)) if rise else 0.5 * (1 - np.cos(np.pi * turn))
    end = _FIRST if rise else _LAST
    return float(1 + (end - 1) * away), float(_MOMENTUM[1] + (_MOMENTUM[0] - _MOMENTUM[1]) * away)


def follow_cycle(adam: torch.optim.Adam, peak: float, share: float) -> None:
    """Set rate and first decay as they are after this share of all steps (0…1)."""
    rate, momentum = one_cycle(share)
    for group in adam.param_groups:
        group["lr"], group["betas"] = peak * rate, (momentum, group["betas"][1])


@contextmanager
def room_for(segments: int, device: torch.device) -> Iterator[None]:
    """A batch that the device's memory does not hold becomes a `DeviceError`."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"{device} has too little memory for a batch of {segments}; "
            "lower batch in the recipe or choose the CPU."
        ) from error


class Optimisation:
    """A network and its Adam.

    Parameters
    ----------
    recipe : Recipe
    device : torch.device
    steps : int
        Steps an epoch.
    """

    def __init__(self, recipe: Recipe, device: torch.device, steps: int) -> None:
        self.recipe, self.device, self.steps = recipe, device, steps
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.network = Network(ARCHITECTURES[recipe.architecture]())
        self.network.to(device)
        self.adam = torch.optim.Adam(self.network.parameters(), recipe.learning_rate, fused=True)
        self.sums = torch.zeros(2, device=device)
        self.noise = torch.Generator(device)

    def begin_epoch(self, epoch: int) -> None:
        """Make ready for epoch `epoch`, counted from 0; nothing of the last one is needed."""
        self.network.train()
        self.sums = torch.zeros(2, device=self.device)
        self.noise.manual_seed(int(np.random.default_rng([self.recipe.seed, epoch, 1]).integers(2**62)))

    def step(self, number: int, seen: Tensor, wanted: Tensor) -> Tensor:
        """One step, counted from 0 over all epochs; returns BCE and KL (2,), still on the device.

        Raises
        ------
        DeviceError
            The device's memory does not hold the batch.
        """
        recipe = self.recipe
        follow_cycle(self.adam, recipe.learning_rate, number / max(recipe.epochs * self.steps - 1, 1))
        # Rises from the first step on: without it the code first explodes, then dies.
        beta = recipe.beta * min(1.0, (number // self.steps + 1) / max(recipe.warmup_epochs, 1))
        with room_for(len(seen), self.device):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
                mean, log_variance = (one.float() for one in self.network.encoder(seen))  # type: ignore[misc]
                noise = torch.randn(mean.shape, generator=self.noise, device=self.device)
                z = mean + noise * torch.exp(0.5 * log_variance)
                drawn = self.network.decoder(z).float()  # type: ignore[misc]
            bce = cross_entropy(drawn, wanted)
            kl = kl_divergence(mean, log_variance).mean()
            self.adam.zero_grad()
            (bce + beta * kl).backward()  # type: ignore[no-untyped-call]
            self.adam.step()
        losses = torch.stack((bce.detach(), kl.detach()))
        self.sums += losses * len(seen)
        return losses

    def weights(self) -> Weights:
        """A copy of the network's weights in main memory."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self.network.state_dict().items()}

    def state(self, curves: list[dict[str, float]], best_epoch: int, best: Weights | None) -> TrainingState:
        """All that the next epoch depends on."""
        moments = {name: self.adam.state[one] for name, one in self.network.named_parameters()}
        return TrainingState(
            len(curves),
            dict(self.network.state_dict()),
            {name: one["exp_avg"] for name, one in moments.items()},
            {name: one["exp_avg_sq"] for name, one in moments.items()},
            curves,
            best_epoch,
            best,
        )

    def restore(self, state: TrainingState) -> None:
        """Go back to `state`, to the bit."""
        self.network.load_state_dict(state.weights)
        for name, parameter in self.network.named_parameters():
            # As Adam makes them: the same layout in memory gives the same rounding.
            self.adam.state[parameter] = {
                "step": torch.tensor(float(state.epoch * self.steps), device=self.device),
                "exp_avg": torch.zeros_like(parameter).copy_(state.means[name]),
                "exp_avg_sq": torch.zeros_like(parameter).copy_(state.squares[name]),
            }
