"""The best epoch so far, and the model that it makes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..progress import Steps, run
from .architecture import ARCHITECTURES
from .card import ModelCard
from .checkpoint import Weights
from .evaluation import latent_variances_steps
from .model import Model
from .network import Network
from .recipe import Recipe

Float = NDArray[np.float32]


@dataclass(frozen=True)
class BestEpoch:
    """The weights of one epoch and the record of the training up to now; called, it makes the model.

    Parameters
    ----------
    epoch : int
        Counted from 1.
    weights : dict of Tensor
        In main memory.
    curves : list of dict
        Losses of all epochs so far.
    recipe : Recipe
    card : ModelCard
        What is known besides.
    windows : ndarray (n, window, window), float32
        Of the training, by whose codes the latents are ordered.
    device : torch.device
        Where they are encoded.
    """

    epoch: int
    weights: Weights
    curves: list[dict[str, float]]
    recipe: Recipe
    card: ModelCard
    windows: Float
    device: torch.device

    def __call__(self) -> Model:
        """The model, its latents ordered by ascending variance, its card complete."""
        return run(self.steps())

    def steps(self) -> Steps[Model]:
        """The same, with progress."""
        recipe, losses = self.recipe, self.curves[self.epoch - 1]
        architecture = ARCHITECTURES[recipe.architecture]()
        network = Network(architecture)
        network.load_state_dict(self.weights)
        network.to(self.device)
        variances = yield from latent_variances_steps(network, self.windows)
        network.to("cpu")
        variances = order_latents(network, variances)
        active, bce, kl = round(losses["active"]), losses["val_bce"], losses["val_kl"]
        record: dict[str, Any] = {
            "recipe": asdict(recipe),
            "segments": len(self.windows),
            "curves": [
                {key: round(float(value), 3) for key, value in entry.items()} for entry in self.curves
            ],
            "epoch": self.epoch,
            "bce": round(bce, 2),
            "kl": round(kl, 2),
            "active_latents": active,
            "variances": [round(float(value), 5) for value in variances],
        }
        summary = f"{active} of {architecture.latents} latents active; BCE {bce:.0f}, KL {kl:.0f}"
        card = replace(
            self.card,
            architecture=architecture,
            scaling=recipe.scaling,
            smoothing_px=recipe.smoothing_px,
            summary=self.card.summary or summary,
            training={**self.card.training, **record},
        )
        return Model(card, network)


def order_latents(network: Network, variances: Float) -> Float:
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
