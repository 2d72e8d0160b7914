"""Encoding on a device: every way gives what the network gives window by window."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import napari_hrtem_vae as hv
from napari_hrtem_vae.errors import DeviceError
from napari_hrtem_vae.vae.architecture import (
    Architecture,
    Convolution,
    EncoderLayers,
    published_cdse,
    published_pbs,
    unpadded,
    unpadded_narrow,
    unpadded_strided,
)
from napari_hrtem_vae.vae.encoding import (
    FrameEncoder,
    multiplies_bfloat16_faster,
    passes_an_axis,
    precision_here,
)
from napari_hrtem_vae.vae.inference import InferenceEncoder
from napari_hrtem_vae.vae.model import Model
from napari_hrtem_vae.vae.threads import Threads
from napari_hrtem_vae.video.scaling import grey_range, scale_to_range, smooth

from ..conftest import random_model
from .material import still_of

CPU = torch.device("cpu")


def frames_of(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def field_of(encoder: FrameEncoder, frames: Tensor) -> np.ndarray:
    """All sites of all frames; fails where a site is missing or comes twice."""
    rows, columns = ((size - encoder.window) // encoder.step + 1 for size in frames.shape[1:])
    field = np.full((len(frames), rows, columns, encoder.latents), np.nan, np.float32)
    for part in encoder.rows(frames):
        target = field[part.frame, part.row : part.row + len(part.mean)]
        assert np.isnan(target).all()
        target[:] = part.mean
    assert np.isfinite(field).all()
    return field


@pytest.mark.parametrize("step", [1, 2, 3, 4, 6, 8, 12, 16, 24])
def test_one_pass_at_any_step_equals_window_by_window(step: int, fast_model) -> None:
    side = 64 + 5 * min(step, 8)
    frames = frames_of((2, side, side + 13), step)
    ways = [FrameEncoder(fast_model, step=step, device=CPU, one_pass=one_pass) for one_pass in (True, False)]
    assert ways[0].passes is not None
    assert ways[1].passes is None
    one_pass, windows = (field_of(encoder, frames) for encoder in ways)
    np.testing.assert_allclose(one_pass, windows, atol=1e-4)


@pytest.mark.parametrize("step", [4, 5, 8, 12])
def test_strided_network_gives_the_same_in_one_pass(step: int) -> None:
    model, frames = random_model(unpadded_strided()), frames_of((2, 120, 163), step)
    ways = [FrameEncoder(model, step=step, device=CPU, one_pass=one_pass) for one_pass in (True, False)]
    np.testing.assert_allclose(*(field_of(encoder, frames) for encoder in ways), atol=1e-5)


def test_passes_are_taken_where_they_are_less_work() -> None:
    for make in (unpadded, unpadded_narrow, unpadded_strided):
        assert [passes_an_axis(make(), step) for step in (8, 16, 4, 1, 12)] == [1, 1, 2, 8, 2]
    # 5 and 8 have no common multiple below 40: of 25 sites of a pass one is kept, and windows cost 19.
    assert passes_an_axis(unpadded(), 5) is None
    assert passes_an_axis(published_pbs(), 8) is None


def test_operations_of_a_pass_are_those_of_a_large_frame() -> None:
    # 16 × 16 places of the first layer a site, 4 × 4, 2 × 2, one, and the mean and log variance.
    products = 16 * 16 * 32 + 4 * 16 * 32 * 64 + 16 * 64 * 64 + 36 * 64 * 128 + 2 * 128 * 64
    assert unpadded().sliding_operations == 2 * products


@pytest.mark.parametrize("make", [published_pbs, published_cdse, unpadded])
def test_float32_is_the_networks_own(make) -> None:
    model = random_model(make())
    windows = frames_of((70, 1, model.card.window, model.card.window))
    with torch.inference_mode():
        expected = model.encoder.mean(windows)
        found = InferenceEncoder(model.encoder, CPU, torch.float32).mean(windows)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def stride_one() -> Architecture:
    layers = (Convolution(6, 4), Convolution(8, 4, 4), Convolution(8, 4, 4))
    return Architecture(latents=5, encoder=EncoderLayers(layers, dense=(20,)))


@pytest.mark.parametrize("make", [published_pbs, published_cdse, stride_one])
@pytest.mark.parametrize("more", [(0, 0), (40, 0), (3, 17), (20, 50)])
def test_windows_of_frames_are_what_they_are_alone(make, more) -> None:
    model = random_model(make())
    window, step = model.card.window, 4
    frames = frames_of((2, window + more[0], window + more[1]))
    encoder = FrameEncoder(model, step=step, device=CPU)
    assert encoder.encoder.shared is not None
    encoder.batch = 9  # rows of more windows are cut
    with torch.inference_mode():
        windows = frames.unfold(1, window, step).unfold(2, window, step)
        expected = model.encoder.mean(windows.reshape(-1, 1, window, window)).view(*windows.shape[:3], -1)
    np.testing.assert_allclose(field_of(encoder, frames), expected.numpy(), atol=2e-5)


def test_the_model_stays_as_it_is(fast_model) -> None:
    before = {name: tensor.clone() for name, tensor in fast_model.encoder.state_dict().items()}
    InferenceEncoder(fast_model.encoder, CPU, torch.bfloat16)
    after = fast_model.encoder.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert not any(module.inplace for module in fast_model.encoder.modules() if isinstance(module, nn.SiLU))


@pytest.mark.parametrize("name", ["pbs-64", "pbs-64-fast"])
@pytest.mark.parametrize("seed", [11, 12])
def test_bfloat16_changes_z_by_less_than_a_fiftieth_of_its_spread(name: str, seed: int) -> None:
    model = hv.load_model(name)
    frames = smooth(still_of(seed), model.card.smoothing_px)
    frames = torch.from_numpy(scale_to_range(frames, *grey_range(frames)))
    # The encoder itself: an analysis takes float32 where that is faster.
    encoders = [FrameEncoder(model, step=16, device=CPU, precision=one) for one in ("float32", "bfloat16")]
    z = [field_of(encoder, frames).reshape(-1, 64) for encoder in encoders]
    error = np.sqrt(np.mean((z[1] - z[0]) ** 2, axis=0)) / z[0].std(0)
    assert 0 < error.max() < 0.02


@pytest.mark.parametrize(
    ("processor", "faster"),
    [
        ({"architecture": "x86_64", "cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": True}, True),
        ({"architecture": "x86_64", "cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": False}, False),
        ({"architecture": "x86_64", "cpu_name": "AMD EPYC", "avx512_bf16": True, "amx_bf16": False}, True),
        ({"architecture": "x86_64", "cpu_name": "AMD EPYC", "avx2": True}, False),
        ({"architecture": "ARM64", "bf16": True}, True),
        ({}, True),
    ],
)
def test_bfloat16_is_taken_where_the_processor_is_made_for_it(processor, faster) -> None:
    assert multiplies_bfloat16_faster(processor) is faster


def test_float32_is_float32_on_any_processor() -> None:
    assert precision_here("float32", CPU) == "float32"
    assert precision_here("bfloat16", torch.device("cuda")) == "bfloat16"


@pytest.mark.parametrize("one_pass", [True, False])
def test_frames_encoded_together_are_as_each_alone(one_pass: bool, fast_model) -> None:
    frames = frames_of((5, 72, 96))
    encoder = FrameEncoder(fast_model, step=8, device=CPU, one_pass=one_pass)
    together = field_of(encoder, frames)
    alone = np.concatenate([field_of(encoder, frame[None]) for frame in frames])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize(("step", "rows"), [(8, 11), (16, 2)])
def test_a_frame_larger_than_a_batch_is_encoded_in_parts(step: int, rows: int, fast_model) -> None:
    encoder = FrameEncoder(fast_model, step=step, device=CPU)
    frames = frames_of((2, 176, 104))
    whole = field_of(encoder, frames)
    encoder.pixels = 90 * 104
    # No fewer than are made at once, where every row that is made is one of sites.
    assert max(len(part.mean) for part in encoder.rows(frames)) == rows
    np.testing.assert_allclose(field_of(encoder, frames), whole, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_chunks_are_encoded_as_all_at_once_and_waiting_is_handed_on(threads: int, fast_model) -> None:
    frames = frames_of((7, 88, 96))
    encoder = FrameEncoder(fast_model, step=8, device=CPU)
    encoder.threads = Threads(threads)
    whole = field_of(encoder, frames)
    found = list(encoder.rows_of_chunks([(0, frames[:3]), None, (3, frames[3:4]), (4, frames[4:])]))
    assert found.count(None) == 1
    parts = [part for part in found if part is not None]
    field = np.full_like(whole, np.nan)
    for part in parts:
        field[part.frame, part.row : part.row + len(part.mean)] = part.mean
    assert [part.frame for part in parts] == sorted(part.frame for part in parts)
    np.testing.assert_allclose(field, whole, atol=1e-5)


class OneWaitsForTheNext(InferenceEncoder):
    """An encoder whose first two calls go on only when both are being made."""

    def __init__(self, model: Model) -> None:
        super().__init__(model.encoder, CPU, torch.float32)
        self.both = threading.Barrier(2, timeout=60)

    def mean_of_frames(self, frames: Tensor) -> Tensor:
        self.both.wait()
        return super().mean_of_frames(frames)


def test_threads_work_on_different_chunks_at_once(fast_model) -> None:
    encoder = FrameEncoder(fast_model, step=8, device=CPU)
    encoder.threads = Threads(2)
    encoder.encoder = OneWaitsForTheNext(fast_model)
    frames = frames_of((2, 72, 72))
    assert len(list(encoder.rows_of_chunks([(0, frames[:1]), (1, frames[1:])]))) == 2


class Cramped(InferenceEncoder):
    """An encoder on a device with room for so many pixels at once."""

    def __init__(self, model: Model, room: int) -> None:
        super().__init__(model.encoder, CPU, torch.float32)
        self.room = room

    def _take(self, pixels: Tensor) -> None:
        if pixels.numel() > self.room:
            raise torch.OutOfMemoryError("out of memory")

    def mean(self, windows: Tensor) -> Tensor:
        self._take(windows)
        return super().mean(windows)

    def mean_of_frames(self, frames: Tensor) -> Tensor:
        self._take(frames)
        return super().mean_of_frames(frames)


@pytest.mark.parametrize("one_pass", [True, False])
@pytest.mark.parametrize("room", [64 * 104, 2 * 80 * 104])
def test_a_full_device_gets_smaller_batches(one_pass: bool, room: int, fast_model) -> None:
    frames = frames_of((3, 104, 104))
    encoder = FrameEncoder(fast_model, step=8, device=CPU, one_pass=one_pass)
    roomy = field_of(encoder, frames)
    encoder.encoder = Cramped(fast_model, room)
    np.testing.assert_allclose(field_of(encoder, frames), roomy, atol=1e-5)


@pytest.mark.parametrize("one_pass", [True, False])
def test_a_device_without_room_for_one_window_is_named(one_pass: bool, fast_model) -> None:
    encoder = FrameEncoder(fast_model, step=8, device=CPU, one_pass=one_pass)
    encoder.encoder = Cramped(fast_model, 1000)
    with pytest.raises(DeviceError, match="cpu has too little memory"):
        field_of(encoder, frames_of((1, 72, 72)))
