"""How a model learned: loss curves and the variance of each latent, as figures 1b and 1c of the paper."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import ModelPartError
from .card import ModelCard
from .report import folder_errors
from .training import ACTIVE_VARIANCE


def training_figure(card: ModelCard) -> Figure:
    """Loss curves (Wang et al. 2023, Fig. 1b) beside the variance of each latent (Fig. 1c).

    Raises
    ------
    ModelPartError
        The card holds no record of a training.
    """
    curves, variances = card.training.get("curves"), card.training.get("variances")
    if not curves or not variances:
        raise ModelPartError(
            f"The model {card.name} has no record of its training, and so no figures; "
            "one trained by hrtem-vae train has."
        )
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_curves(left, curves, card.training.get("entropy_floor"))
    _draw_variances(right, variances)
    return figure


def save_training_figure(card: ModelCard, folder: str | Path) -> Path:
    """Write `training_figure` into `folder`, as NAME-training.png.

    Raises
    ------
    ModelPartError
        The card holds no record of a training.
    ResultError
        The folder cannot be written.
    """
    figure, folder = training_figure(card), Path(folder)
    with folder_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{card.name}-training.png"
        figure.savefig(path, dpi=120)
    return path


def _draw_curves(axes: Axes, curves: list[dict[str, float]], floor: float | None) -> None:
    epochs = range(1, len(curves) + 1)
    axes.plot(epochs, [entry["bce"] for entry in curves], color="tab:blue", label="training")
    axes.plot(epochs, [entry["val_bce"] for entry in curves], color="tab:blue", ls="--", label="validation")
    if floor is not None:
        axes.axhline(floor, color="0.6", lw=0.8, label="floor")
    axes.set(xlabel="epoch", title="Training")
    axes.set_ylabel("cross-entropy (nats a window)", color="tab:blue")
    axes.legend(fontsize=8, loc="center right")
    divergence = axes.twinx()
    divergence.plot(epochs, [entry["kl"] for entry in curves], color="tab:red")
    divergence.plot(epochs, [entry["val_kl"] for entry in curves], color="tab:red", ls="--")
    divergence.set_ylabel("Kullback–Leibler divergence (nats)", color="tab:red")


def _draw_variances(axes: Axes, variances: list[float]) -> None:
    active = sum(variance > ACTIVE_VARIANCE for variance in variances)
    axes.bar(range(len(variances)), variances, color="tab:blue")
    axes.set(xlabel="latent", ylabel="variance over the training set", yscale="log")
    axes.set_title(f"{active} of {len(variances)} latents active")
