"""A code that is learned from another model: the encoder imitates its teacher's, and has its decoder."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..errors import ParameterError, TrainingError
from ..progress import Progress, Steps
from .architecture import ARCHITECTURES
from .batches import BatchSource
from .evaluation import Segments
from .model import Model, load_model
from .network import Network
from .optimisation import follow_cycle, room_for
from .recipe import Recipe

# Larger than those of the training that follows: no decoder to go through, and a target to aim at.
_BATCH, _PEAK_RATE = 128, 3e-3
# Of the same order as most batches give: without a limit one training of 50,000 batches diverged.
_LARGEST_GRADIENT = 1e3


def load_teacher(recipe: Recipe) -> Model:
    """The recipe's teacher, after a look whether its code fits the recipe's model.

    Raises
    ------
    ParameterError
        It lacks a part, has another decoder, or sees windows that were made otherwise.
    ModelFileError
        There is no such model, or its file is damaged.
    """
    teacher = load_model(recipe.teacher)
    theirs, ours = teacher.card.architecture, ARCHITECTURES[recipe.architecture]()
    pairs = {
        "window": (theirs.window, ours.window),
        "latents": (theirs.latents, ours.latents),
        "scaling": (teacher.card.scaling, recipe.scaling),
        "smoothing_px": (teacher.card.smoothing_px, recipe.smoothing_px),
        "activation": (theirs.activation, ours.activation),
    }
    for name, (its, wanted) in pairs.items():
        if its != wanted:
            raise ParameterError(
                f"The teacher {teacher.card.name} has {name} {its!r} and the recipe {wanted!r}; "
                "choose another teacher or change the recipe."
            )
    if theirs.encoder is None or theirs.decoder != ours.decoder:
        raise ParameterError(
            f"The teacher {teacher.card.name} has no encoder, or another decoder than {recipe.architecture}; "
            "choose another teacher or architecture."
        )
    return teacher


def teach_steps(
    network: Network, teacher: Model, train: Segments, recipe: Recipe, device: torch.device
) -> Steps[None]:
    """Teach a network's encoder the code of a teacher, whose decoder it takes over.

    The divergence of the encoder's distribution of the code from the teacher's is minimised (knowledge
    distillation; Hinton, Vinyals & Dean 2015), summed over latents.

    Parameters
    ----------
    network : Network
        On the device; its weights are changed.
    teacher : Model
        See `load_teacher`.
    train : Segments
    recipe : Recipe
        `teaching_epochs`, augmentation, precision and seed; batches and rates are the same for all.
    device : torch.device

    Raises
    ------
    DeviceError
        The device's memory does not hold the batch.
    TrainingError
        The loss is no number any more.
    """
    assert network.encoder is not None
    assert network.decoder is not None
    network.decoder.load_state_dict(teacher.decoder.state_dict())
    network.train()
    its_encoder = copy.deepcopy(teacher.encoder).to(device)
    # What the teacher is shown, and nothing of what it shall give.
    lessons = replace(recipe, batch=_BATCH)
    source = BatchSource(train.seen, train.seen, lessons, device)
    adam = torch.optim.Adam(network.encoder.parameters(), _PEAK_RATE, fused=True)
    total = recipe.teaching_epochs * len(source)
    number = 0
    for epoch in range(recipe.teaching_epochs):
        for seen, _ in source.epoch(epoch):
            follow_cycle(adam, _PEAK_RATE, number / max(total - 1, 1))
            with room_for(len(seen), device):
                with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
                    with torch.no_grad():
                        wanted = its_encoder(seen)
                    given = network.encoder(seen)
                loss = code_divergence(*given, *wanted).mean()
                adam.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(network.encoder.parameters(), _LARGEST_GRADIENT)
                adam.step()
            number += 1
            yield Progress(number, total, f"Learning from {teacher.card.name}, pass {epoch + 1}")
        # Read once a pass: each reading waits for the device.
        if not torch.isfinite(loss):
            raise TrainingError(
                f"Learning from {teacher.card.name} diverged in pass {epoch + 1}; "
                "choose another seed or another teacher."
            )


def code_divergence(mean: Tensor, log_variance: Tensor, its_mean: Tensor, its_log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of normal codes from others, summed over latents, in nats; (n,)."""
    mean, log_variance, its_mean, its_log_variance = (
        one.float() for one in (mean, log_variance, its_mean, its_log_variance)
    )
    squares = log_variance.exp() + (mean - its_mean).square()
    return 0.5 * (its_log_variance - log_variance + squares / its_log_variance.exp() - 1).sum(1)
