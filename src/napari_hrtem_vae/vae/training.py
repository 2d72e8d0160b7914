"""Training: one generator that yields progress by the step and returns a model."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from ..errors import TrainingError
from ..progress import Progress, Steps
from .architecture import ARCHITECTURES
from .card import ModelCard
from .model import Model
from .network import Network
from .recipe import Recipe

logger = logging.getLogger(__name__)
Float = NDArray[np.float32]
# A latent is active when the variance of its mean over the segments exceeds this (Burda et al. 2016).
ACTIVE_VARIANCE = 0.01
_FEWEST_ACTIVE = 2


@dataclass(frozen=True)
class Segments:
    """Training material: what the network sees and what it shall give.

    Parameters
    ----------
    seen, wanted : ndarray (n, window, window), float32
        Scaled to 0…1.
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


def train_steps(
    train: Segments, validation: Segments, recipe: Recipe, card: ModelCard | None = None
) -> Steps[Model]:
    """Train a model; the best epoch after the warm-up of β is kept.

    Parameters
    ----------
    train, validation : Segments
        From different scenes or images.
    recipe : Recipe
        How.
    card : ModelCard, optional
        What to write into the model's card besides the record of the training.

    Raises
    ------
    TrainingError
        The loss is no number, or fewer than two latents are active at the end.
    """
    torch.manual_seed(recipe.seed)
    architecture = ARCHITECTURES[recipe.architecture]()
    network = Network(architecture)
    optimiser = torch.optim.Adam(network.parameters(), recipe.learning_rate)
    steps_per_epoch = -(-len(train.seen) // recipe.batch)
    total = recipe.epochs * steps_per_epoch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, total_steps=total)
    curves: list[dict[str, float]] = []
    best, best_loss, best_losses = None, np.inf, None
    done = 0
    for epoch in range(recipe.epochs):
        network.train()
        beta = recipe.beta * min(1.0, (epoch + 1) / max(recipe.warmup_epochs, 1))
        sums = np.zeros(2)
        for seen, wanted in _batches(train, recipe, epoch):
            mean, log_variance = network.encoder(seen)  # type: ignore[misc]
            z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
            bce = cross_entropy(network.decoder(z), wanted)  # type: ignore[misc]
            kl = kl_divergence(mean, log_variance).mean()
            optimiser.zero_grad()
            (bce + beta * kl).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            sums += len(seen) * np.array([bce.item(), kl.item()])
            done += 1
            yield Progress(
                done, total, f"Epoch {epoch + 1} of {recipe.epochs}: BCE {bce.item():.0f}, KL {kl.item():.1f}"
            )
        if not np.isfinite(sums).all():
            raise TrainingError(
                f"Training diverged in epoch {epoch + 1}; lower learning_rate (now {recipe.learning_rate:g})."
            )
        losses = evaluate(network, validation)
        bce_train, kl_train = sums / len(train.seen)
        curves.append(
            {
                "bce": bce_train,
                "kl": kl_train,
                "val_bce": losses.bce,
                "val_kl": losses.kl,
                "active": losses.active,
            }
        )
        logger.info("epoch %d: %s", epoch + 1, curves[-1])
        loss = losses.bce + recipe.beta * losses.kl
        if epoch + 1 >= min(recipe.warmup_epochs, recipe.epochs) and loss < best_loss:
            best, best_loss, best_losses = _copy(network), loss, losses
    if best is None or best_losses is None or not np.isfinite(best_loss):
        raise TrainingError(f"Training diverged; lower learning_rate (now {recipe.learning_rate:g}).")
    if best_losses.active < _FEWEST_ACTIVE:
        raise TrainingError(
            f"The latents died ({best_losses.active} of {architecture.latents} active); "
            f"lower beta (now {recipe.beta:g}) or train longer."
        )
    network.load_state_dict(best)
    network.eval()
    variances = _order_latents(network, evaluate(network, train).variances)
    record: dict[str, Any] = {
        "recipe": asdict(recipe),
        "segments": len(train.seen),
        "curves": [{key: round(float(value), 3) for key, value in entry.items()} for entry in curves],
        "bce": round(best_losses.bce, 2),
        "kl": round(best_losses.kl, 2),
        "active_latents": best_losses.active,
        "variances": [round(float(value), 5) for value in variances],
    }
    base = card or ModelCard(recipe.name, architecture)
    return Model(
        replace(
            base,
            architecture=architecture,
            scaling=recipe.scaling,
            smoothing_px=recipe.smoothing_px,
            training={**base.training, **record},
        ),
        network,
    )


def evaluate(network: Network, segments: Segments, batch: int = 256) -> Losses:
    """Losses without noise in the code: the mean is decoded."""
    network.eval()
    bce = kl = 0.0
    means: list[ArrayLike] = []
    with torch.inference_mode():
        for start in range(0, len(segments.seen), batch):
            seen = _tensor(segments.seen[start : start + batch])
            mean, log_variance = network.encoder(seen)  # type: ignore[misc]
            logits = network.decoder(mean)  # type: ignore[misc]
            bce += cross_entropy(logits, _tensor(segments.wanted[start : start + batch])).item() * len(seen)
            kl += kl_divergence(mean, log_variance).sum().item()
            means.append(mean.numpy())
    variances = np.concatenate(means).var(0)
    count = len(segments.seen)
    return Losses(bce / count, kl / count, int((variances > ACTIVE_VARIANCE).sum()), variances)


def entropy_floor(wanted: Float) -> float:
    """The cross-entropy that a perfect reconstruction of `wanted` still has, summed over pixels."""
    p = np.clip(wanted.astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-(p * np.log(p) + (1 - p) * np.log(1 - p)).sum((1, 2)).mean())


def _tensor(windows: Float) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(windows[:, None]))


def _copy(network: Network) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _batches(segments: Segments, recipe: Recipe, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled batches, each turned and mirrored as a whole by one of the eight symmetries of a square."""
    rng = np.random.default_rng([recipe.seed, epoch])
    order = rng.permutation(len(segments.seen))
    for start in range(0, len(order), recipe.batch):
        pick = order[start : start + recipe.batch]
        turns, mirror = int(rng.integers(4)), bool(rng.integers(2))
        pair = []
        for windows in (segments.seen, segments.wanted):
            turned = np.rot90(windows[pick], turns, (1, 2))
            pair.append(_tensor(turned[:, :, ::-1] if mirror else turned))
        yield pair[0], pair[1]


def _order_latents(network: Network, variances: Float) -> Float:
    """Renumber the latents by ascending variance (z_0 lowest), as the paper does; returns the variances."""
    order = torch.from_numpy(np.argsort(variances, kind="stable"))
    with torch.no_grad():
        if network.encoder is not None:
            for head in (network.encoder.to_mean, network.encoder.to_log_variance):
                head.weight.copy_(head.weight[order].clone())
                head.bias.copy_(head.bias[order].clone())
        if network.decoder is not None:
            weight = network.decoder.dense[0].weight
            assert isinstance(weight, Tensor)
            weight.copy_(weight[:, order].clone())
    return np.sort(variances, kind="stable")
