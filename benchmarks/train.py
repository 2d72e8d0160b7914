"""What training costs over the bare network: steps a second of `train_steps` ÷ forward, backward and Adam.

    python benchmarks/train.py [--rounds 5] [--steps 20] [--device auto] [--recipe pbs-64-fast pbs-64]

Both are timed in turns within one run. The bare network is the same network with torch's own Adam, in the
recipe's precision, on one batch that never changes; training draws its batches, augments them, and reports
each step. Validation, once an epoch, is timed apart.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from statistics import median

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from napari_hrtem_vae.progress import Steps
from napari_hrtem_vae.vae.architecture import ARCHITECTURES
from napari_hrtem_vae.vae.encoding import choose_device
from napari_hrtem_vae.vae.model import Model
from napari_hrtem_vae.vae.network import Network
from napari_hrtem_vae.vae.recipe import Recipe, load_recipe
from napari_hrtem_vae.vae.training import Epoch, Segments, cross_entropy, kl_divergence, train_steps


class BareNetwork:
    """Forward, backward and Adam on a fixed batch."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.network = Network(ARCHITECTURES[recipe.architecture]()).to(device)
        self.half = recipe.precision == "bfloat16"
        self.adam = torch.optim.Adam(self.network.parameters(), 1e-5)
        self.batch = torch.rand(recipe.batch, 1, 64, 64, device=device)

    def step(self) -> None:
        with torch.autocast(self.batch.device.type, torch.bfloat16, enabled=self.half):
            mean, log_variance = (one.float() for one in self.network.encoder(self.batch))
            z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
            drawn = self.network.decoder(z).float()
        loss = cross_entropy(drawn, self.batch) + kl_divergence(mean, log_variance).mean()
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def training(recipe: Recipe, count: int, device: str) -> Steps[Model]:
    """The whole of training on random segments, seen and wanted apart."""
    rng = np.random.default_rng(0)
    parts = [rng.random((size, 64, 64), np.float32) for size in (count, count, 256, 256)]
    return train_steps(Segments(*parts[:2]), Segments(*parts[2:]), recipe, device=device)


def ratio(recipe: Recipe, options: argparse.Namespace) -> tuple[float, float, float, float]:
    """Steps a second bare and in training, their ratio, and seconds a validation of 256 segments."""
    device = choose_device(options.device)
    bare = BareNetwork(recipe, device)
    # Epochs of one round: validation stands between the rounds.
    steps = training(replace(recipe, epochs=1000), options.steps * recipe.batch, options.device)
    for _ in range(3):
        bare.step()
    while not isinstance(next(steps), Epoch):
        pass
    rates: list[tuple[float, float]] = []
    validation: list[float] = []
    for _ in range(options.rounds):
        wait_for(device)
        started = time.perf_counter()
        for _ in range(options.steps):
            bare.step()
        wait_for(device)
        middle = time.perf_counter()
        for _ in range(options.steps):
            next(steps)
        wait_for(device)
        ended = time.perf_counter()
        rates.append((options.steps / (middle - started), options.steps / (ended - middle)))
        while not isinstance(next(steps), Epoch):
            pass
        validation.append(time.perf_counter() - ended)
    bare_rate, rate = (median(column) for column in zip(*rates, strict=True))
    return bare_rate, rate, median(b / a for a, b in rates), median(validation)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--recipe", nargs="+", default=["pbs-64-fast", "pbs-64"])
    options = parser.parse_args()
    table = Table(
        "recipe",
        "augmentation",
        "bare, steps/s",
        "training, steps/s",
        "ratio (≥ 0.6)",
        "validation, s",
        title=f"{choose_device(options.device)}, {torch.get_num_threads()} threads, {options.rounds} rounds",
    )
    for name in options.recipe:
        plain = load_recipe(name)
        full = replace(plain, contrast_jitter=0.2, grey_jitter=0.05, dose_noise=0.05)
        for recipe, said in ((plain, "symmetries"), (full, "and grey, contrast, noise")):
            bare, rate, share, validation = ratio(recipe, options)
            table.add_row(name, said, f"{bare:.1f}", f"{rate:.1f}", f"{share:.2f}", f"{validation:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
