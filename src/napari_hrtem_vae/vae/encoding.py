"""Encoding frames: in one pass where the network allows it, else window by window, behind one interface."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DeviceError
from .model import Model

Float = NDArray[np.float32]
# Each thread of a CPU reads the weights once a batch: few large batches win there too.
_BATCH = {"cpu": 256, "cuda": 8192, "mps": 2048}
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

    On a CPU every thread works on rows of its own: small products that are split over threads wait for
    each other longer than they work.

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
        self.threads = torch.get_num_threads() if device.type == "cpu" else 1
        # One pool for all frames: its threads keep the memory that they work in, and end with it.
        self.pool = ThreadPoolExecutor(self.threads, initializer=torch.set_num_threads, initargs=(1,))

    def rows(self, frames: Tensor) -> Iterator[EncodedRows]:
        """Encode all sites of frames (n, y, x) that are scaled to 0…1; yields by the batch."""
        total, columns = ((size - self.window) // self.step + 1 for size in frames.shape[1:])
        if self.one_pass:
            several = max(1, (self.pixels // frames.shape[2] - self.window) // self.step + 1)
        else:
            several = max(1, self.batch // columns)
        jobs = (
            (frames[frame], frame, row, min(several, total - row))
            for frame in range(len(frames))
            for row in range(0, total, several)
        )
        if self.threads == 1:
            yield from (self._encode(*job) for job in jobs)
        else:
            yield from self._in_threads(jobs)

    def _in_threads(self, jobs: Iterator[tuple[Tensor, int, int, int]]) -> Iterator[EncodedRows]:
        """The same, one thread a job; results come in order, a few jobs ahead."""
        waiting: deque[Future[EncodedRows]] = deque()
        try:
            for job in jobs:
                waiting.append(self.pool.submit(self._encode, *job))
                if len(waiting) > 2 * self.threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            # The pool's threads changed what new threads begin with.
            torch.set_num_threads(self.threads)

    def _encode(self, frame: Tensor, index: int, row: int, rows: int) -> EncodedRows:
        """Rows [row, row + rows) of sites of one frame (y, x); halves them when the device is full."""
        top = row * self.step
        part = frame[top : top + (rows - 1) * self.step + self.window]
        try:
            # Entered here, not around a yield: it would reach into the caller's own work.
            with torch.inference_mode():
                mean = self._one_pass(part) if self.one_pass else self._windows(part)
                return EncodedRows(index, row, mean.float().cpu().numpy())
        except torch.OutOfMemoryError as error:
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            if rows == 1 and (self.one_pass or self.batch == 1):
                raise DeviceError(
                    f"{self.device} has too little memory for one batch; choose the CPU."
                ) from error
        if rows == 1:
            self.batch = max(1, self.batch // 2)
            return self._encode(frame, index, row, rows)
        halves = [self._encode(frame, index, row, rows // 2)]
        halves.append(self._encode(frame, index, row + rows // 2, rows - rows // 2))
        return EncodedRows(index, row, np.concatenate([half.mean for half in halves]))

    def _one_pass(self, part: Tensor) -> Tensor:
        each = self.step // self.stride
        return self.encoder.mean_of_frames(part[None, None].to(self.dtype))[0, ::each, ::each]

    def _windows(self, part: Tensor) -> Tensor:
        views = part.unfold(0, self.window, self.step).unfold(1, self.window, self.step)
        rows, columns = views.shape[:2]
        # A row longer than a batch is cut into equal parts.
        means = [
            self.encoder.mean(self._scaled(some.reshape(-1, 1, self.window, self.window)).to(self.dtype))
            for some in torch.tensor_split(views, -(-columns // self.batch), dim=1)
        ]
        return torch.cat([mean.view(rows, -1, self.latents) for mean in means], dim=1)

    def _scaled(self, windows: Tensor) -> Tensor:
        if not self.scale_windows:
            return windows
        low = windows.amin((2, 3), keepdim=True)
        extent = windows.amax((2, 3), keepdim=True).sub_(low)
        return (windows - low).div_(extent.masked_fill_(extent == 0, 1))
