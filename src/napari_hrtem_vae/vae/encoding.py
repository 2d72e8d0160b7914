"""Encoding frames: in one pass where the network allows it, else window by window, behind one interface."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DeviceError
from .architecture import Architecture
from .inference import InferenceEncoder
from .model import Model
from .shared_layer import pays
from .threads import Threads

Float = NDArray[np.float32]
# Each thread of a CPU reads the weights once a batch: few large batches win there too.
_BATCH = {"cpu": 1024, "cuda": 8192, "mps": 2048}
# On a CPU the largest array then takes 16 MB: from 32 MB on the system takes each back and clears it anew.
_PIXELS_AT_ONCE = {"cpu": 1 << 20, "cuda": 1 << 25, "mps": 1 << 23}
# Small products, and a last convolution that is done directly: an operation of a window takes longer.
_WINDOW_TO_PASS = 1.2


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


def precision_here(wanted: str, device: torch.device) -> str:
    """The precision that is faster on a device, where "bfloat16" is wanted: nothing else speaks for it."""
    # Older versions of torch do not tell what the processor can do.
    tell: Callable[[], Mapping[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    return "float32" if device.type == "cpu" and not multiplies_bfloat16_faster(tell()) else wanted


def multiplies_bfloat16_faster(processor: Mapping[str, Any]) -> bool:
    """Whether a processor (see `torch.cpu.get_capabilities`) does; of others than x86 nothing is known.

    Those with matrix units (AMX) do, and AMD's with AVX-512's own products; Intel's take twice as long for
    these as for float32, and what has neither does them in pieces.
    """
    if processor.get("architecture") != "x86_64":
        return True
    of_avx512 = processor.get("avx512_bf16") and not str(processor.get("cpu_name", "")).startswith("Intel")
    return bool(processor.get("amx_bf16") or of_avx512)


def passes_an_axis(architecture: Architecture, step: int) -> int | None:
    """How many passes along each axis give all sites; None where window by window is less work.

    One pass gives sites at multiples of the network's stride. Of the sites at multiples of `step` it
    holds every n-th, n such that n × step is a multiple of the stride; passes that begin at the sites in
    between give the others.
    """
    stride = architecture.stride
    if stride is None:
        return None
    distance = math.lcm(step, stride)
    # Of a pass every site counts as work, and those at multiples of `distance` are kept.
    work = (distance // stride) ** 2 * architecture.sliding_operations
    return distance // step if work < _WINDOW_TO_PASS * architecture.encoder_operations else None


@dataclass(frozen=True)
class EncodedRows:
    """A batch that has just been encoded: rows [row, row + n) of sites of one frame."""

    frame: int
    row: int
    mean: Float


@dataclass(frozen=True)
class _Job:
    """Rows [row, row + rows) of sites of frames [frame, frame + frames)."""

    frame: int
    frames: int
    row: int
    rows: int

    def halves(self) -> tuple[_Job, _Job] | None:
        """Two jobs that make up this one; None for one row of one frame."""
        if self.frames > 1:
            half = self.frames // 2
            return (
                _Job(self.frame, half, self.row, self.rows),
                _Job(self.frame + half, self.frames - half, self.row, self.rows),
            )
        if self.rows > 1:
            half = self.rows // 2
            return (
                _Job(self.frame, 1, self.row, half),
                _Job(self.frame, 1, self.row + half, self.rows - half),
            )
        return None


class FrameEncoder:
    """A model on a device, ready to encode rows of scaled frames.

    On a CPU every thread works on rows of its own.

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
        self.precision = precision
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        architecture = model.card.architecture
        self.stride = architecture.stride or 1
        sliding = one_pass and not scale_windows
        self.passes = passes_an_axis(architecture, step) if sliding else None
        shared = self.passes is None and not scale_windows
        self.encoder = InferenceEncoder(model.encoder, device, dtype, (self.window, step) if shared else None)
        # Every row of such a pass is a row of sites; of other passes some are left out anyway.
        self.rows_together = self.encoder.tile_rows if self.passes == 1 and step == self.stride else 1
        self.batch = _BATCH[device.type]
        self.pixels = _PIXELS_AT_ONCE[device.type]
        # One pool for all frames: its threads keep the memory that they work in.
        self.threads = Threads(torch.get_num_threads() if device.type == "cpu" else 1)

    def rows(self, frames: Tensor) -> Iterator[EncodedRows]:
        """Encode all sites of frames (n, y, x) that are scaled to 0…1; yields by the batch."""
        return (rows for rows in self.rows_of_chunks([(0, frames)]) if rows is not None)

    def rows_of_chunks(self, chunks: Iterable[tuple[int, Tensor] | None]) -> Iterator[EncodedRows | None]:
        """Encode frames that come some at a time, with the number of the first.

        None among them is handed on: while a read takes its time a stop is seen.
        """
        for rows in self.threads.share(lambda one: self._encode(*one), self._work(chunks)):
            if rows is None:
                yield None
            else:
                yield from rows

    def _work(self, chunks: Iterable[tuple[int, Tensor] | None]) -> Iterator[tuple[int, Tensor, _Job] | None]:
        """The jobs of all chunks, each with the first frame's number and the frames."""
        for chunk in chunks:
            if chunk is None:
                yield None
                continue
            start, frames = chunk
            for job in self._jobs(*frames.shape):
                yield start, frames, job

    def _jobs(self, frames: int, height: int, width: int) -> Iterator[_Job]:
        """Batches of as many rows as work well together; where a frame is small, of several frames."""
        total, columns = ((size - self.window) // self.step + 1 for size in (height, width))
        if self.passes is not None:
            # Of wide frames, too, no fewer rows than are made at once: the rest would be thrown away.
            several = max(self.rows_together, (self.pixels // width - self.window) // self.step + 1)
            several -= several % self.rows_together
            together = self.pixels // (height * width)
        else:
            several = max(1, self.batch // columns)
            together = self.batch // (total * columns)
        for frame in range(0, frames, max(1, together)):
            for row in range(0, total, several):
                yield _Job(frame, min(max(1, together), frames - frame), row, min(several, total - row))

    def _encode(self, start: int, frames: Tensor, job: _Job) -> list[EncodedRows]:
        """One job; in halves when the device is full."""
        top = job.row * self.step
        bottom = top + (job.rows - 1) * self.step + self.window
        part = frames[job.frame : job.frame + job.frames, top:bottom]
        try:
            # Entered here, not around a yield: it would reach into the caller's own work.
            with torch.inference_mode():
                mean = self._windows(part) if self.passes is None else self._one_pass(part, self.passes)
                means = mean.cpu().numpy()
            first = start + job.frame
            return [EncodedRows(first + index, job.row, mean) for index, mean in enumerate(means)]
        except torch.OutOfMemoryError as error:
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            halves = job.halves()
            if halves is None and (self.passes is not None or self.batch == 1):
                raise DeviceError(
                    f"{self.device} has too little memory for one batch; choose the CPU."
                ) from error
        if halves is None:
            self.batch = max(1, self.batch // 2)
            return self._encode(start, frames, job)
        return [rows for half in halves for rows in self._encode(start, frames, half)]

    def _one_pass(self, part: Tensor, passes: int) -> Tensor:
        """(n, y, x) -> (n, rows, columns, latents), a pass for each place that windows begin at."""
        each = passes * self.step // self.stride
        rows, columns = ((size - self.window) // self.step + 1 for size in part.shape[1:])
        # A network that does not see its window's last pixels finds one more site at the edge.
        if passes == 1:
            return self.encoder.mean_of_frames(part)[:, ::each, ::each][:, :rows, :columns]
        out = part.new_empty(len(part), rows, columns, self.latents)
        for y in range(min(passes, rows)):
            for x in range(min(passes, columns)):
                target = out[:, y::passes, x::passes]
                found = self.encoder.mean_of_frames(part[:, y * self.step :, x * self.step :])
                target[:] = found[:, ::each, ::each][:, : target.shape[1], : target.shape[2]]
        return out

    def _windows(self, part: Tensor) -> Tensor:
        """(n, y, x) -> (n, rows, columns, latents)."""
        rows, columns = ((size - self.window) // self.step + 1 for size in part.shape[1:])
        # A row longer than a batch is cut into equal parts.
        parts = [
            part[:, :, some[0] * self.step : some[-1] * self.step + self.window]
            for some in np.array_split(range(columns), -(-columns // self.batch))
        ]
        if self.encoder.shared is not None and pays(rows, columns):
            return torch.cat([self.encoder.mean_of_windows(some) for some in parts], dim=2)
        return torch.cat([self._one_by_one(some) for some in parts], dim=2)

    def _one_by_one(self, part: Tensor) -> Tensor:
        """The same, each window by itself."""
        views = part.unfold(1, self.window, self.step).unfold(2, self.window, self.step)
        means = self.encoder.mean(self._scaled(views.reshape(-1, 1, self.window, self.window)))
        return means.view(*views.shape[:3], self.latents)

    def _scaled(self, windows: Tensor) -> Tensor:
        if not self.scale_windows:
            return windows
        low = windows.amin((2, 3), keepdim=True)
        extent = windows.amax((2, 3), keepdim=True).sub_(low)
        return (windows - low).div_(extent.masked_fill_(extent == 0, 1))
