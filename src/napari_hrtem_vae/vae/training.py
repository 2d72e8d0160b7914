"""Training: one generator that yields progress by the step, losses by the epoch, and returns a model."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ..errors import DeviceError, TrainingError
from ..progress import Progress, Steps
from .architecture import ARCHITECTURES
from .batches import BatchSource
from .best import BestEpoch
from .card import ModelCard
from .checkpoint import TrainingState, check_checkpoint, digest_steps, load_checkpoint, save_checkpoint
from .encoding import choose_device
from .evaluation import (
    ACTIVE_VARIANCE,
    Float,
    Losses,
    Segments,
    cross_entropy,
    entropy_floor,
    evaluate_steps,
    kl_divergence,
    reconstruct,
)
from .model import Model
from .optimisation import Optimisation
from .recipe import Recipe
from .teaching import load_teacher, teach_steps

__all__ = [
    "ACTIVE_VARIANCE",
    "Epoch",
    "Losses",
    "Segments",
    "check_start",
    "cross_entropy",
    "entropy_floor",
    "kl_divergence",
    "train_steps",
]

logger = logging.getLogger(__name__)
_FEWEST_ACTIVE = 2
_EXAMPLES = 8
# Losses are read from the device this often: each reading waits for it.
_READING_S = 0.25
# A uniform grey costs ln 2 a pixel; a network that is ten times worse does not come back.
_DIVERGED = 10 * np.log(2)


def _no_examples() -> tuple[Float, Float, Float]:
    none = np.empty((0, 0, 0), np.float32)
    return none, none, none


@dataclass(frozen=True)
class Epoch(Progress):
    """What training yields when an epoch is done.

    Parameters
    ----------
    epoch, epochs : int
        This one, counted from 1, and all.
    bce, kl : float
        Means over the epoch's segments, as trained on.
    validation_bce, validation_kl : float
        Of segments that are not trained on, with the code's mean decoded.
    active : int
        Latents whose variance over the validation segments exceeds `ACTIVE_VARIANCE`.
    variances : ndarray (latents,), float32
        Those variances, ascending.
    examples : tuple of ndarray (8, window, window), float32
        Of validation segments: seen, wanted, reconstruction.
    best : callable, optional
        Makes the best model so far; None before there is one.
    notice : str
        A sentence for the user, or nothing.
    """

    epoch: int = 0
    epochs: int = 0
    bce: float = np.nan
    kl: float = np.nan
    validation_bce: float = np.nan
    validation_kl: float = np.nan
    active: int = 0
    variances: Float = field(default_factory=lambda: np.empty(0, np.float32))
    examples: tuple[Float, Float, Float] = field(default_factory=_no_examples)
    best: Callable[[], Model] | None = None
    notice: str = ""


def train_steps(
    train: Segments,
    validation: Segments,
    recipe: Recipe,
    card: ModelCard | None = None,
    *,
    device: str = "auto",
    checkpoint: Path | None = None,
) -> Steps[Model]:
    """Train a model; the best epoch after the warm-up of β is kept.

    Where the recipe has a teacher, its code is learned first, see `teach_steps`.

    Parameters
    ----------
    train, validation : Segments
        From different scenes or images.
    recipe : Recipe
        How.
    card : ModelCard, optional
        What to write into the model's card besides the record of the training.
    device : str
        "auto", "cpu", "cuda", "cuda:1", "mps".
    checkpoint : Path, optional
        Written after each epoch; where it exists, the training goes on from it and has, on one machine, the
        losses that it would have had without a stop.

    Yields
    ------
    Progress
        After each step, and an `Epoch` after each epoch.

    Raises
    ------
    TrainingError
        The training diverged, fewer than two latents are active, or the checkpoint is damaged or of
        another training.
    DeviceError
        There is no such device, or it has too little memory.
    ParameterError, ModelFileError
        The recipe's teacher is of another kind than the model, or none.
    """
    yield Progress(0, recipe.epochs, "Starting to train")
    for segments in (train, validation):
        _check_segments(segments, recipe)
    source, training = _begin(train, recipe, device)
    curves: list[dict[str, float]] = []
    best_epoch, best = 0, None
    digest = ""
    if checkpoint is not None:
        digest = yield from digest_steps([train.seen, train.wanted, validation.seen, validation.wanted])
        if checkpoint.exists():
            state = load_checkpoint(checkpoint, training.network, recipe, digest)
            training.restore(state)
            curves, best_epoch, best = list(state.curves), state.best_epoch, state.best
    if recipe.teacher and not curves:
        yield from teach_steps(training.network, load_teacher(recipe), train, recipe, training.device)
    base = card or ModelCard(recipe.name, ARCHITECTURES[recipe.architecture]())
    material = (recipe, base, train.seen, training.device)
    examples = _spread(validation, _EXAMPLES)
    said = " ".join(base.training.get("notices", []))
    total = recipe.epochs * len(source)
    yield Progress(len(curves) * len(source), total, "Starting to train")
    for epoch in range(len(curves), recipe.epochs):
        bce, kl = yield from _epoch_steps(source, training, epoch, recipe)
        found = yield from evaluate_steps(training.network, validation)
        _refuse_divergence(found.bce + recipe.beta * found.kl, epoch, recipe)
        curves.append(
            {
                "bce": bce,
                "kl": kl,
                "val_bce": found.bce,
                "val_kl": found.kl,
                "active": found.active,
            }
        )
        logger.info("epoch %d: %s", epoch + 1, curves[-1])
        if _is_best(curves, best_epoch, recipe):
            best_epoch, best = epoch + 1, training.weights()
        notices = [said, _dying(curves, recipe)]
        said = ""
        if checkpoint is not None:
            notices.append(_save(checkpoint, training.state(curves, best_epoch, best), recipe, digest))
        kept = None if best is None else BestEpoch(best_epoch, best, list(curves), *material)
        yield Epoch(
            (epoch + 1) * len(source),
            total,
            f"Epoch {epoch + 1} of {recipe.epochs}: validation BCE {found.bce:.0f}, "
            f"KL {found.kl:.1f}, {found.active} latents active",
            epoch=epoch + 1,
            epochs=recipe.epochs,
            bce=bce,
            kl=kl,
            validation_bce=found.bce,
            validation_kl=found.kl,
            active=found.active,
            variances=np.sort(found.variances),
            examples=(examples.seen, examples.wanted, reconstruct(training.network, examples.seen)),
            best=kept,
            notice=" ".join(filter(None, notices)),
        )
    if best is None:
        raise TrainingError(
            f"The latents died ({curves[-1]['active']:.0f} of {base.latents} active); "
            f"lower beta (now {recipe.beta:g}) or train longer."
        )
    return (yield from BestEpoch(best_epoch, best, curves, *material).steps())


def check_start(recipe: Recipe, device: str, checkpoint: Path | None) -> None:
    """Refuse a device, a teacher or a checkpoint before segments are made, as `train_steps` would after.

    Raises
    ------
    DeviceError, ParameterError, ModelFileError, TrainingError
        See `train_steps`.
    """
    choose_device(device)
    if recipe.teacher:
        load_teacher(recipe)
    if checkpoint is not None and checkpoint.exists():
        check_checkpoint(checkpoint, recipe)


def _epoch_steps(
    source: BatchSource, training: Optimisation, epoch: int, recipe: Recipe
) -> Steps[tuple[float, float]]:
    """All segments once; returns the means of BCE and KL over them."""
    training.begin_epoch(epoch)
    total = recipe.epochs * len(source)
    bce, kl, read = np.nan, np.nan, -np.inf
    for number, (seen, wanted) in enumerate(source.epoch(epoch), epoch * len(source)):
        losses = training.step(number, seen, wanted)
        if time.monotonic() - read >= _READING_S:
            bce, kl = losses.tolist()
            _refuse_divergence(bce + recipe.beta * kl, epoch, recipe)
            read = time.monotonic()
        yield Progress(number + 1, total, f"Epoch {epoch + 1} of {recipe.epochs}: BCE {bce:.0f}, KL {kl:.1f}")
    bce, kl = (value / len(source.seen) for value in training.sums.tolist())
    _refuse_divergence(bce + recipe.beta * kl, epoch, recipe)
    return bce, kl


def _begin(train: Segments, recipe: Recipe, device: str) -> tuple[BatchSource, Optimisation]:
    chosen = choose_device(device)
    try:
        source = BatchSource(train.seen, train.wanted, recipe, chosen)
        return source, Optimisation(recipe, chosen, len(source))
    except torch.OutOfMemoryError as error:
        raise DeviceError(f"{chosen} has too little memory for the network; choose the CPU.") from error


def _check_segments(segments: Segments, recipe: Recipe) -> None:
    """Refuse what the network cannot take, and grey values for which the cross-entropy has no floor."""
    window = ARCHITECTURES[recipe.architecture]().window
    if segments.seen.shape[1:] != (window, window):
        raise TrainingError(
            f"The segments are {segments.seen.shape[1]} × {segments.seen.shape[2]} px, the network "
            f"{recipe.architecture} takes {window} × {window}; cut them to that size."
        )
    for values in (segments.seen, segments.wanted):
        if values.min() < 0 or values.max() > 1:
            raise TrainingError(
                f"The segments hold grey values from {values.min():.4g} to {values.max():.4g}; "
                "scale them to 0…1."
            )


def _is_best(curves: list[dict[str, float]], best_epoch: int, recipe: Recipe) -> bool:
    """Whether the last epoch lives, has the whole β, and validates better than the best before it."""
    last = curves[-1]
    if len(curves) < min(recipe.warmup_epochs, recipe.epochs) or last["active"] < _FEWEST_ACTIVE:
        return False
    return best_epoch == 0 or _loss(last, recipe) < _loss(curves[best_epoch - 1], recipe)


def _loss(entry: dict[str, float], recipe: Recipe) -> float:
    return entry["val_bce"] + recipe.beta * entry["val_kl"]


def _refuse_divergence(loss: float, epoch: int, recipe: Recipe) -> None:
    window = ARCHITECTURES[recipe.architecture]().window
    if not loss < _DIVERGED * window**2:
        raise TrainingError(
            f"Training diverged in epoch {epoch + 1}; lower learning_rate (now {recipe.learning_rate:g})."
        )


def _dying(curves: list[dict[str, float]], recipe: Recipe) -> str:
    """A sentence where the latents do not live although they should by now, or did before."""
    active = [entry["active"] for entry in curves]
    awaited = len(curves) >= max(2, recipe.warmup_epochs) or max(active) >= _FEWEST_ACTIVE
    if active[-1] >= _FEWEST_ACTIVE or not awaited:
        return ""
    count = ARCHITECTURES[recipe.architecture]().latents
    return f"Latents are dying: {active[-1]:.0f} of {count} active; lower beta (now {recipe.beta:g})."


def _save(path: Path, state: TrainingState, recipe: Recipe, digest: str) -> str:
    """Write the checkpoint; a full disk ends no training, but is said."""
    try:
        save_checkpoint(path, state, recipe, digest)
    except TrainingError as error:
        return str(error)
    return ""


def _spread(segments: Segments, count: int) -> Segments:
    """Some of them, from all over."""
    picks = np.linspace(0, len(segments.seen) - 1, min(count, len(segments.seen))).round().astype(int)
    return Segments(segments.seen[picks], segments.wanted[picks])
