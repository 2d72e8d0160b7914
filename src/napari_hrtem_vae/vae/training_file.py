"""Training that ends in a model file, whatever ends it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..errors import ModelFileError, TrainingError
from ..progress import Steps
from .model import Model, save_model
from .training import Epoch


def checkpoint_path(path: Path) -> Path:
    """Where the checkpoint of the training of this model file lies: beside it."""
    return path.with_name(f"{path.stem}.checkpoint")


def train_to_file_steps(steps: Steps[Model], path: Path, tell: Callable[[str], None]) -> Steps[Model]:
    """Drive a training whose checkpoint lies at `checkpoint_path(path)`, and write its model.

    A training that is closed or interrupted leaves its best model so far; one that fails does, too, unless
    an older model lies there. The checkpoint goes when the model is written.

    Parameters
    ----------
    steps : generator
        Of `train_images_steps` or `train_simulated_steps`.
    path : Path
        The model file.
    tell : callable
        Gets a line on each epoch, and sentences.

    Raises
    ------
    ModelFileError
        The model cannot be written; an older one stays.
    TrainingError
        See `train_steps`.
    """
    checkpoint = checkpoint_path(path)
    best: Callable[[], Model] | None = None
    try:
        while True:
            try:
                progress = next(steps)
            except StopIteration as end:
                model: Model = end.value
                break
            if isinstance(progress, Epoch):
                best = progress.best
                tell(_line(progress))
                if progress.notice:
                    tell(progress.notice)
            yield progress
    except (KeyboardInterrupt, GeneratorExit):
        if best is not None:
            tell(f"The best model so far is in {save_model(best(), path)}.")
        raise
    except TrainingError as error:
        # An older model is no worse than one whose training failed.
        if best is None or path.exists():
            raise
        raise TrainingError(
            f"{error} The best model before that is in {save_model(best(), path)}."
        ) from error
    finally:
        steps.close()
    try:
        save_model(model, path)
    except ModelFileError as error:
        if not checkpoint.exists():
            raise
        raise ModelFileError(f"{error} The training is kept: the same command writes the model.") from error
    checkpoint.unlink(missing_ok=True)
    return model


def _line(epoch: Epoch) -> str:
    return (
        f"epoch {epoch.epoch:3d} of {epoch.epochs}   BCE {epoch.bce:7.1f}   KL {epoch.kl:5.1f}   "
        f"validation {epoch.validation_bce:7.1f}, {epoch.validation_kl:5.1f}   "
        f"{epoch.active} latents active"
    )
