"""A model: network and card, its file, and what it does to windows."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import safetensors
import torch
from numpy.typing import ArrayLike, NDArray

from ..errors import ModelFileError, ModelPartError, VideoShapeError
from .card import FORMAT, ModelCard, read_card, shipped_models
from .network import Decoder, Encoder, Network
from .tensor_file import WRITE_ERRORS, write_tensors

Float = NDArray[np.float32]
_ENCODED_AT_ONCE = 32
# What the last layers leave behind of so many windows fits a core's cache: half the time of 32.
_DRAWN_AT_ONCE = 4
# Eight bits are enough where a few per cent of a weight change nothing that is shown; they keep the
# published network's file below 10 MB.
_STORED_IN_EIGHT_BITS = "encoder.to_log_variance.weight"


class Model:
    """Encoder, decoder and card.

    Parameters
    ----------
    card : ModelCard
        What the model is.
    network : Network
        Its layers, built from `card.architecture`.
    checksum : str
        Of the file it came from; empty for one not saved.
    path : Path, optional
        That file.
    """

    def __init__(
        self, card: ModelCard, network: Network, checksum: str = "", path: Path | None = None
    ) -> None:
        self.card = card
        self.path = path
        self.network = network.eval().requires_grad_(False)
        self._checksum = checksum

    @property
    def checksum(self) -> str:
        """Of the file, or of the weights of a model that was not saved; 16 hexadecimal digits."""
        if not self._checksum:
            digest = hashlib.sha256()
            for tensor in self.network.state_dict().values():
                digest.update(tensor.cpu().contiguous().numpy().tobytes())
            self._checksum = digest.hexdigest()[:16]
        return self._checksum

    @property
    def encoder(self) -> Encoder:
        """The encoder; `ModelPartError` where the model has none."""
        if self.network.encoder is None:
            raise ModelPartError(
                f"{self.card.name} has no encoder, so it cannot analyse; choose another model."
            )
        return self.network.encoder

    @property
    def decoder(self) -> Decoder:
        """The decoder; `ModelPartError` where the model has none."""
        if self.network.decoder is None:
            raise ModelPartError(
                f"{self.card.name} has no decoder, so it cannot draw windows; choose another model."
            )
        return self.network.decoder

    def encode(self, windows: ArrayLike) -> tuple[Float, Float]:
        """Mean and log variance of the latents of windows.

        Parameters
        ----------
        windows : array_like (n, window, window)
            Scaled to 0…1 as `card.scaling` has it.

        Returns
        -------
        mean, log_variance : ndarray (n, latents), float32

        Raises
        ------
        VideoShapeError
            The windows are not of the model's size.
        ModelPartError
            The model has no encoder.
        """
        size = self.card.window
        windows = np.ascontiguousarray(windows, np.float32)
        if windows.ndim != 3 or windows.shape[1:] != (size, size):
            raise VideoShapeError(
                f"Windows of shape {windows.shape} do not fit the model; give (n, {size}, {size})."
            )
        mean = np.empty((len(windows), self.card.latents), np.float32)
        log_variance = np.empty_like(mean)
        with torch.inference_mode():
            for start in range(0, len(windows), _ENCODED_AT_ONCE):
                some = slice(start, start + _ENCODED_AT_ONCE)
                block = torch.from_numpy(windows[some, None])
                for out, part in zip((mean, log_variance), self.encoder(self._placed(block)), strict=True):
                    out[some] = part.float().cpu().numpy()
        return mean, log_variance

    def decode(self, z: ArrayLike) -> Float:
        """Windows that latents stand for.

        Parameters
        ----------
        z : array_like (n, latents)

        Returns
        -------
        ndarray (n, window, window), float32
            Grey values 0…1.

        Raises
        ------
        VideoShapeError
            z is not of the model's number of latents.
        ModelPartError
            The model has no decoder.
        """
        z = np.ascontiguousarray(z, np.float32)
        if z.ndim != 2 or z.shape[1] != self.card.latents:
            raise VideoShapeError(
                f"z of shape {z.shape} does not fit the model; give (n, {self.card.latents})."
            )
        windows = np.empty((len(z), self.card.window, self.card.window), np.float32)
        with torch.inference_mode():
            for start in range(0, len(z), _DRAWN_AT_ONCE):
                some = slice(start, start + _DRAWN_AT_ONCE)
                logits = self.decoder(self._placed(torch.from_numpy(z[some])))
                windows[some] = torch.sigmoid(logits)[:, 0].float().cpu().numpy()
        return windows

    def _placed(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(next(self.network.parameters()))


def save_model(model: Model, path: str | Path, *, exact: bool = False) -> Path:
    """Write a model file: safetensors, weights in float16, the card in its metadata.

    The file is written aside and renamed: a crash leaves the old one or the new.

    Parameters
    ----------
    model : Model
    path : str or Path
    exact : bool, optional
        Keep the weights as they are, in float32: outputs stay the same to the last digit.

    Raises
    ------
    ModelFileError
        The file cannot be written.
    """
    path = Path(path)
    tensors = {
        name: tensor.detach().cpu() if exact else _stored(name, tensor)
        for name, tensor in model.network.state_dict().items()
    }
    try:
        write_tensors(path, tensors, {"hrtem_vae_card": model.card.to_json(), "hrtem_vae_format": FORMAT})
    except WRITE_ERRORS as error:
        raise ModelFileError(
            f"The model cannot be written to {path} ({error}); choose another folder."
        ) from error
    return path


def _stored(name: str, tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor.cpu()
    dtype = torch.float8_e5m2 if name == _STORED_IN_EIGHT_BITS else torch.float16
    return tensor.detach().to("cpu", dtype)


def load_model(name_or_path: str | Path) -> Model:
    """Load a model of the package by name, or a model file.

    Nothing is unpickled; the sizes of all tensors are compared with the card's architecture before
    memory is taken.

    Raises
    ------
    ModelFileError
        No such model, or the file is damaged or of another architecture.
    """
    shipped = shipped_models()
    path = shipped.get(str(name_or_path), Path(name_or_path))
    if not path.is_file() and path.suffix != ".safetensors":
        raise ModelFileError(f"There is no model {name_or_path}; give a file or one of {', '.join(shipped)}.")
    card = read_card(path)
    with torch.device("meta"):
        network = Network(card.architecture)
    expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
    try:
        with safetensors.safe_open(path, "pt") as file:
            found = {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            if found != expected:
                wrong = sorted(set(found.items()) ^ set(expected.items()))[0][0]
                raise ModelFileError(
                    f"{path.name} holds another architecture than its card says (see {wrong}); "
                    "train or convert the model again."
                )
            tensors = {name: file.get_tensor(name) for name in expected}
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelFileError(f"{path.name} is damaged ({error}); copy or train it again.") from error
    # Copied, as a file that is mapped could not be replaced; and not by `to_empty`, which reads sympy in.
    copies = {
        name: tensor.to(torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)
        for name, tensor in tensors.items()
    }
    network.load_state_dict(copies, assign=True)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if not all(torch.isfinite(tensor).all() for tensor in network.parameters()):
        raise ModelFileError(f"{path.name} holds weights that are no numbers; train the model again.")
    return Model(card, network, checksum=_checksum(path), path=path)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
