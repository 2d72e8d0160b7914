"""What was learnt of a model by calibration: how changes are read from it, in a file beside it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors
import torch
from torch import Tensor

from ...errors import ModelFileError
from ..card import shipped_models
from ..model import Model
from ..tensor_file import WRITE_ERRORS, write_tensors
from .components import COMPONENTS, Components
from .reader import Bools, Float, Reader, ReaderCard, Reading, agreed
from .site_features import joined

FORMAT = "2"
SUFFIX = ".calibration"
_LARGEST_FILE = 10 * 2**20
_MOST = 4096
# What each reader's card and tensors are called in the file.
_CARD = {
    "latents": "hrtem_vae_reader",
    "components": "hrtem_vae_reader_of_components",
    "both": "hrtem_vae_reader_of_both",
}
_PREFIX = {"latents": "", "components": "alone.", "both": "both."}
_AXES, _MEAN = "components.axes", "components.mean"


@dataclass(frozen=True)
class Calibration:
    """How changes are read from a model.

    Parameters
    ----------
    latents : Reader
        Of what its latents show.
    beside : Beside, optional
        What is read beside them, where there are frames to find it in.
    """

    latents: Reader
    beside: Beside | None = None

    @property
    def components(self) -> Components | None:
        """Components that are read beside latents."""
        return None if self.beside is None else self.beside.components


@dataclass(frozen=True)
class Beside:
    """Components of windows, and the readers that know them.

    Parameters
    ----------
    components : Components
    alone : Reader
        Of what they show.
    both : Reader
        Of what latents and components show together.
    """

    components: Components
    alone: Reader
    both: Reader

    def read(self, latents: Reader, of_latents: Float, of_components: Float, where: Bools) -> Reading:
        """What three readers agree on, each with features of its own; see `agreed`.

        On scenes unlike those that they learned from each errs in its own way.
        """
        return agreed(
            [
                latents.read(of_latents, where),
                self.alone.read(of_components, where),
                self.both.read(joined(of_latents, of_components), where),
            ]
        )


def save_calibration(calibration: Calibration, path: str | Path) -> Path:
    """Write a calibration beside its model: aside and renamed, so that a crash leaves the old or the new.

    Raises
    ------
    ModelFileError
        The file cannot be written.
    """
    path = Path(path)
    tensors: dict[str, Tensor] = {}
    cards = {"format": FORMAT}
    readers = {"latents": calibration.latents}
    if (beside := calibration.beside) is not None:
        readers |= {"components": beside.alone, "both": beside.both}
        tensors[_AXES] = torch.from_numpy(beside.components.axes).half()
        tensors[_MEAN] = torch.from_numpy(beside.components.mean)
    for part, reader in readers.items():
        cards[_CARD[part]] = json.dumps(asdict(reader.card))
        for name, tensor in reader.state_dict().items():
            tensors[_PREFIX[part] + name] = tensor.half() if "layers" in name else tensor
    try:
        write_tensors(path, tensors, cards)
    except WRITE_ERRORS as error:
        raise ModelFileError(
            f"The calibration cannot be written to {path} ({error}); choose another folder."
        ) from error
    return path


def load_calibration(path: str | Path) -> Calibration:
    """Read what `save_calibration` wrote; nothing is unpickled, sizes are compared before memory is taken.

    Raises
    ------
    ModelFileError
        The file is missing, damaged or not one of ours.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ValueError("larger than a calibration is")
        with safetensors.safe_open(path, "pt") as file:
            known = file.metadata() or {}
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            parts = list(_CARD) if _CARD["both"] in known else ["latents"]
            cards = {part: _reader_card(known[_CARD[part]]) for part in parts}
            wanted: dict[str, tuple[int, ...]] = {}
            for part in parts:
                wanted |= _shapes(cards[part], _PREFIX[part])
            if "both" in cards:
                window = math.isqrt(found[_MEAN][0])
                wanted |= {_AXES: (window**2, min(COMPONENTS, window**2)), _MEAN: (window**2,)}
            if found != wanted:
                raise ValueError("another architecture than its card says")
            tensors = {name: file.get_tensor(name).float() for name in wanted}
    except FileNotFoundError as error:
        raise ModelFileError(f"There is no calibration {path}; check the path.") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError, safetensors.SafetensorError) as error:
        raise ModelFileError(
            f"{path.name} is damaged or no calibration ({error}); calibrate again."
        ) from error
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise ModelFileError(f"{path.name} holds weights that are no numbers; calibrate again.")
    readers = {part: _loaded(of, tensors, _PREFIX[part]) for part, of in cards.items()}
    if "both" not in readers:
        return Calibration(readers["latents"])
    components = Components(tensors[_MEAN].numpy(), tensors[_AXES].numpy())
    return Calibration(readers["latents"], Beside(components, readers["components"], readers["both"]))


def _reader_card(text: str) -> ReaderCard:
    card = ReaderCard(**json.loads(text))
    if not (0 < card.features <= _MOST and 0 < card.width <= _MOST):
        raise ValueError("sizes out of range")
    if not 0 <= card.measured_from <= card.features:
        raise ValueError("measures of more features than it reads")
    return card


def _shapes(card: ReaderCard, prefix: str) -> dict[str, tuple[int, ...]]:
    """What the tensors of a reader are called and their shapes, without the memory for them."""
    with torch.device("meta"):
        return {prefix + name: tuple(tensor.shape) for name, tensor in Reader(card).state_dict().items()}


def _loaded(card: ReaderCard, tensors: dict[str, Tensor], prefix: str) -> Reader:
    reader = Reader(card)
    reader.load_state_dict({name: tensors[prefix + name] for name in reader.state_dict()})
    return reader.eval()


def calibration_path(model_path: str | Path) -> Path:
    """Where the calibration of a model file lies: beside it."""
    return Path(model_path).with_suffix(SUFFIX)


def calibration_of(model: Model) -> Calibration | None:
    """The calibration of a model: beside its file, or the package's; None where there is none for it.

    Raises
    ------
    ModelFileError
        A file beside the model is damaged, or of other windows.
    """
    places = [] if model.path is None else [calibration_path(model.path)]
    places += [calibration_path(path) for path in shipped_models().values()]
    for place in places:
        if place.is_file():
            calibration = load_calibration(place)
            if calibration.latents.card.model_checksum != model.checksum:
                continue
            components = calibration.components
            if components is not None and components.window != model.card.window:
                raise ModelFileError(
                    f"The components in {place.name} are of windows of {components.window} px "
                    f"and the model's are of {model.card.window}; calibrate again."
                )
            return calibration
    return None
