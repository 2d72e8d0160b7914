"""Checkpoints of training: one safetensors file an epoch, from which the same command goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import TrainingError
from ..progress import Progress, Steps
from .recipe import Recipe
from .tensor_file import WRITE_ERRORS, write_tensors

_FORMAT = "1"
_CURVES = ("bce", "kl", "val_bce", "val_kl", "active")
_PIECE = 1 << 26
_ANEW = "delete it to begin anew, or give the model another name"
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class TrainingState:
    """All that the next epoch depends on; its random numbers come from the recipe's seed and its number.

    Parameters
    ----------
    epoch : int
        Epochs that are done.
    weights : dict of Tensor
        Of the network.
    means, squares : dict of Tensor
        Moments of Adam, by parameter.
    curves : list of dict
        "bce", "kl", "val_bce", "val_kl", "active" of each epoch.
    best_epoch : int
        The epoch to keep, counted from 1; 0 where there is none yet.
    best : dict of Tensor
        Its weights; empty where there is none yet.
    """

    epoch: int
    weights: Weights
    means: Weights
    squares: Weights
    curves: list[dict[str, float]]
    best_epoch: int = 0
    best: Weights | None = None

    def tensors(self) -> Weights:
        """All tensors under the names that they have in the file."""
        groups = {"weights": self.weights, "means": self.means, "squares": self.squares}
        groups["best"] = self.best or {}
        return {f"{group}.{name}": one for group, named in groups.items() for name, one in named.items()}


def digest_steps(arrays: list[NDArray[np.float32]]) -> Steps[str]:
    """SHA-256 of the training material, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    total = sum(array.nbytes for array in arrays)
    done = 0
    for array in arrays:
        digest.update(repr(array.shape).encode())
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        for start in range(0, len(data), _PIECE):
            piece = data[start : start + _PIECE]
            digest.update(piece.data)
            done += len(piece)
            yield Progress(done, total, "Looking at the segments")
    return digest.hexdigest()[:16]


def save_checkpoint(path: Path, state: TrainingState, recipe: Recipe, data: str) -> None:
    """Write aside, then rename: a crash leaves the last one or this one.

    Raises
    ------
    TrainingError
        It cannot be written.
    """
    record = {
        "epoch": state.epoch,
        "best_epoch": state.best_epoch,
        "curves": state.curves,
        "recipe": asdict(recipe),
        "data": data,
    }
    tensors = {name: one.detach().cpu() for name, one in state.tensors().items()}
    try:
        write_tensors(path, tensors, {"hrtem_vae_training": json.dumps(record), "hrtem_vae_format": _FORMAT})
    except WRITE_ERRORS as error:
        raise TrainingError(
            f"The checkpoint cannot be written to {path} ({error}); make room or choose another folder."
        ) from error


def check_checkpoint(path: Path, recipe: Recipe) -> None:
    """Refuse a checkpoint that is damaged or of another recipe, from its header alone.

    Raises
    ------
    TrainingError
        It is; the message names the difference.
    """
    with _refusals(path), safetensors.safe_open(path, "pt") as file:
        _compare(path, _record(file), recipe)


def load_checkpoint(path: Path, network: torch.nn.Module, recipe: Recipe, data: str) -> TrainingState:
    """Read a checkpoint of this very training; sizes are compared before memory is taken.

    Raises
    ------
    TrainingError
        The file is damaged or foreign, or of another recipe or other segments; the message names the
        difference.
    """
    with _refusals(path), safetensors.safe_open(path, "pt") as file:
        record = _record(file)
        _compare(path, record, recipe)
        if record["data"] != data:
            raise TrainingError(f"The checkpoint {path} is of other segments than these; {_ANEW}.")
        epoch = _counted(record["epoch"], 1, recipe.epochs)
        best_epoch = _counted(record["best_epoch"], 0, epoch)
        curves = _checked_curves(record["curves"], epoch)
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        expected = _expected_shapes(network, best_epoch > 0)
        if shapes != expected:
            raise ValueError("other tensors than the network's")
        groups: dict[str, Weights] = {"weights": {}, "means": {}, "squares": {}, "best": {}}
        for name in expected:
            group, _, rest = name.partition(".")
            groups[group][rest] = file.get_tensor(name)
            if not torch.isfinite(groups[group][rest]).all():
                raise ValueError("weights that are no numbers")
        best = groups.pop("best") or None
        return TrainingState(epoch, **groups, curves=curves, best_epoch=best_epoch, best=best)


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Whatever is wrong with a file becomes one sentence."""
    try:
        yield
    except TrainingError:
        raise
    except OSError as error:
        raise TrainingError(f"The checkpoint {path} cannot be read ({error}); {_ANEW}.") from error
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        safetensors.SafetensorError,
    ) as error:
        raise TrainingError(
            f"The checkpoint {path} is damaged or none of this program ({error}); {_ANEW}."
        ) from error


def _record(file: Any) -> dict[str, Any]:
    record = json.loads((file.metadata() or {})["hrtem_vae_training"])
    if not isinstance(record, dict) or not isinstance(record["recipe"], dict):
        raise TypeError("no record in it")
    return record


def _compare(path: Path, record: dict[str, Any], recipe: Recipe) -> None:
    """Refuse the checkpoint of another recipe; its name alone may differ."""
    # What a recipe did not have yet, in an older version, was as it is by default.
    theirs = {**asdict(Recipe()), **record["recipe"]}
    # As JSON, where a tuple is a list.
    ours = json.loads(json.dumps(asdict(recipe)))
    for name, value in ours.items():
        if name != "name" and theirs.get(name) != value:
            raise TrainingError(
                f"The checkpoint {path} is of another recipe: {name} was {theirs.get(name)!r}, "
                f"now it is {value!r}; {_ANEW}."
            )


def _expected_shapes(network: torch.nn.Module, has_best: bool) -> dict[str, list[int]]:
    weights = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    parameters = {name: list(tensor.shape) for name, tensor in network.named_parameters()}
    groups = {"weights": weights, "means": parameters, "squares": parameters}
    if has_best:
        groups["best"] = weights
    return {f"{group}.{name}": shape for group, named in groups.items() for name, shape in named.items()}


def _counted(value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"an epoch {value!r}")
    return value


def _checked_curves(curves: Any, epochs: int) -> list[dict[str, float]]:
    if not isinstance(curves, list) or len(curves) != epochs:
        raise ValueError("curves of other epochs")
    for entry in curves:
        if set(entry) != set(_CURVES) or not all(
            isinstance(value, int | float) and np.isfinite(value) for value in entry.values()
        ):
            raise ValueError("curves that are no numbers")
    return curves
