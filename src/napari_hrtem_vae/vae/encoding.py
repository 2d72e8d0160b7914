"""Encoding frames: in one pass where the network allows it, else window by window, behind one interface."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DeviceError
from .model import Model

Float = NDArray[np.float32]
# Small batches stay in a CPU's cache; a GPU wants all it can hold.
_BATCH = {"cpu": 64, "cuda": 8192, "mps": 2048}
_PIXELS_AT_ONCE = {"cpu": 1 << 18, "cuda": 1 << 25, "mps": 1 << 23}


def list_devices() -> list[str]:
    """Devices that torch can use here, `auto` first."""
    names = ["auto", "cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    return [*names, "mps"] if torch.backends.mps.is_available() else names


def choose_device(name: str) -> torch.device:
    """The device of that name; `auto` takes CUDA, then MPS, then the CPU.

    Raises
    ------
    DeviceError
        There is none of that name here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    known = list_devices()
    if name not in known and not (name == "cuda" and torch.cuda.is_available()):
        raise DeviceError(f"There is no device {name} here; choose one of {', '.join(known)}.")
    return torch.device(name)


@dataclass(frozen=True)
class EncodedRows:
    """A batch that has just been encoded: rows [row, row + n) of sites of one frame."""

    frame: int
    row: int
    mean: Float


class FrameEncoder:
    """A model on a device, ready to encode rows of scaled frames.

    Parameters
    ----------
    model : Model
    step : int
        Distance of neighbouring windows in px.
    device : torch.device
    precision : str
        "float32" or "bfloat16".
    scale_windows : bool
        Scale each window by its own extremes.
    one_pass : bool, optional
        Encode whole frames where possible; False forces window by window.
    """

    def __init__(
        self,
        model: Model,
        *,
        step: int,
        device: torch.device,
        precision: str = "float32",
        scale_windows: bool = False,
        one_pass: bool = True,
    ) -> None:
        self.step, self.device, self.scale_windows = step, device, scale_windows
        self.window, self.latents = model.card.window, model.card.latents
        self.dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        self.encoder = copy.deepcopy(model.encoder).to(device, self.dtype)
        stride = model.card.architecture.stride
        self.stride = stride or 1
        self.one_pass = one_pass and stride is not None and step % stride == 0 and not scale_windows
        self.batch = _BATCH[device.type]
        self.pixels = _PIXELS_AT_ONCE[device.type]

    def rows(self, frames: Tensor) -> Iterator[EncodedRows]:
        """Encode all sites of frames (n, y, x) that are scaled to 0…1; yields by the batch."""
        yield from self._whole_frames(frames) if self.one_pass else self._windows(frames)

    def _whole_frames(self, frames: Tensor) -> Iterator[EncodedRows]:
        sites = (frames.shape[1] - self.window) // self.step + 1
        each = self.step // self.stride
        for frame in range(len(frames)):
            row = 0
            while row < sites:
                rows = max(1, (self.pixels // frames.shape[2] - self.window) // self.step + 1)
                top = row * self.step
                part = frames[frame, top : top + (min(rows, sites - row) - 1) * self.step + self.window]
                mean = self._fitting(self.encoder.mean_of_frames, part[None, None])
                if mean is None:
                    self.pixels //= 2
                    continue
                found = mean[0, ::each, ::each]
                yield EncodedRows(frame, row, found)
                row += len(found)

    def _windows(self, frames: Tensor) -> Iterator[EncodedRows]:
        views = frames.unfold(1, self.window, self.step).unfold(2, self.window, self.step)
        rows, columns = views.shape[1:3]
        for frame in range(len(frames)):
            row = 0
            while row < rows:
                several = max(1, self.batch // columns)
                # A row longer than a batch is cut into equal parts.
                parts = -(-columns // self.batch)
                means = []
                for part in torch.tensor_split(views[frame, row : row + several], parts, dim=1):
                    windows = part.reshape(-1, 1, self.window, self.window)
                    mean = self._fitting(self.encoder.mean, self._scaled(windows))
                    if mean is None:
                        break
                    means.append(mean.reshape(part.shape[0], part.shape[1], self.latents))
                if len(means) < parts:
                    self.batch //= 2
                    continue
                yield EncodedRows(frame, row, np.concatenate(means, axis=1))
                row += several

    def _scaled(self, windows: Tensor) -> Tensor:
        if not self.scale_windows:
            return windows
        low = windows.amin((2, 3), keepdim=True)
        extent = windows.amax((2, 3), keepdim=True).sub_(low)
        return (windows - low).div_(extent.masked_fill_(extent == 0, 1))

    def _fitting(self, encode: Callable[[Tensor], Tensor], x: Tensor) -> Float | None:
        """Run `encode`, or None when the device's memory is too small for this batch."""
        try:
            # Entered here, not around a yield: it would reach into the caller's own work.
            with torch.inference_mode():
                found: Float = encode(x.to(self.dtype)).float().cpu().numpy()
            return found
        except torch.OutOfMemoryError as error:
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            if min(self.batch, self.pixels // self.window**2) <= 1:
                raise DeviceError(
                    f"{self.device} has too little memory for one batch; choose the CPU."
                ) from error
            return None
