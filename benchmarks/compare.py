"""The same work in other ways: z of all windows of one frame, in one run, the ways taking turns.

    python benchmarks/compare.py [--repeats 3] [--size 512] [--cpu-time]

The authors' way, one Keras `predict` a window in a loop, is timed with the weights of `pbs-64` where
TensorFlow is installed; without it a figure measured once stands in, and the table says so. AtomAI's
encoder, of its own architecture and untrained, is timed where atomai is installed: the task is the
same, the network is not.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import napari_hrtem_vae as hv
from napari_hrtem_vae.vae.encoding import FrameEncoder
from napari_hrtem_vae.vae.model import Model

# Measured once on two cores (AVX-512) with TensorFlow 2.21: a figure to stand in where it is not installed.
_MEASURED_ONCE_US = 46_000.0
_BY_ONE = 40
_STEP = 8
CPU = torch.device("cpu")
Way = tuple[str, int, Callable[[], np.ndarray]]


def windows_of(frame: torch.Tensor) -> torch.Tensor:
    """All windows of a frame, cut beforehand: (n, 1, 64, 64)."""
    return frame.unfold(0, 64, _STEP).unfold(1, 64, _STEP).reshape(-1, 1, 64, 64)


def keras_encoder(model: Model) -> Callable[[np.ndarray], np.ndarray]:
    """`predict` of the authors' Keras encoder with the weights of a model of the published layers."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tensorflow import keras

    activation = model.card.architecture.activation
    entry = x = keras.Input((64, 64, 1))
    convolutions = [layer.conv for layer in model.encoder.convolutions if hasattr(layer, "conv")]
    for layer in convolutions:
        x = keras.layers.Conv2D(layer.out_channels, 4, 2, padding="same", activation=activation)(x)
    assert model.encoder.dense is not None
    dense = [layer for layer in model.encoder.dense if isinstance(layer, nn.Linear)]
    x = keras.layers.Flatten()(x)
    for layer in dense:
        x = keras.layers.Dense(layer.out_features, activation=activation)(x)
    heads = [model.encoder.to_mean, model.encoder.to_log_variance]
    network = keras.Model(entry, [keras.layers.Dense(head.out_features)(x) for head in heads])
    weights: list[np.ndarray] = []
    for layer in convolutions:
        weights += [layer.weight.permute(2, 3, 1, 0).numpy(), layer.bias.numpy()]
    for layer in (*dense, *heads):
        weights += [layer.weight.T.numpy(), layer.bias.numpy()]
    network.set_weights(weights)
    return lambda windows: network.predict(windows, verbose=0)[0]


def atomai_encoder() -> Callable[[torch.Tensor], torch.Tensor]:
    """AtomAI's convolutional encoder at its own defaults, for windows of 64 px and 64 latents."""
    from atomai.nets import convEncoderNet

    network = convEncoderNet((64, 64), latent_dim=64).eval()
    return lambda windows: network(windows)[0]


def batched(encode: Callable[[torch.Tensor], torch.Tensor], windows: torch.Tensor, batch: int) -> np.ndarray:
    with torch.inference_mode():
        return torch.cat([encode(part) for part in windows.split(batch)]).numpy()


def ours(model: Model, frame: torch.Tensor, precision: str) -> Callable[[], np.ndarray]:
    encoder = FrameEncoder(model, step=_STEP, device=CPU, precision=precision)
    return lambda: np.concatenate([part.mean for part in encoder.rows(frame[None])]).reshape(
        -1, encoder.latents
    )


def ways_of(frame: torch.Tensor) -> list[Way]:
    """Name, windows encoded, and the work of each way; the ways with the same weights come first."""
    published, fast = hv.load_model("pbs-64"), hv.load_model("pbs-64-fast")
    windows = windows_of(frame)
    plain = published.encoder
    ways: list[Way] = []
    if importlib.util.find_spec("tensorflow"):
        predict = keras_encoder(published)
        few = windows[:_BY_ONE, 0, :, :, None].numpy()
        many = windows[:, 0, :, :, None].numpy()
        ways.append(
            (
                "authors' way: Keras, one a call",
                len(few),
                lambda: np.concatenate([predict(one[None]) for one in few]),
            )
        )
        ways.append(("Keras, batches of 512", len(many), lambda: predict_in(predict, many, 512)))
    ways += [
        ("PyTorch, one a call", _BY_ONE, lambda: batched(plain.mean, windows[:_BY_ONE], 1)),
        ("PyTorch, batches of 512", len(windows), lambda: batched(plain.mean, windows, 512)),
        ("pbs-64", len(windows), ours(published, frame, "float32")),
        ("pbs-64, bfloat16", len(windows), ours(published, frame, "bfloat16")),
        ("pbs-64-fast", len(windows), ours(fast, frame, "float32")),
        ("pbs-64-fast, bfloat16", len(windows), ours(fast, frame, "bfloat16")),
    ]
    if importlib.util.find_spec("atomai"):
        encode = atomai_encoder()
        ways.append(("AtomAI's encoder, batches of 512", len(windows), lambda: batched(encode, windows, 512)))
    return ways


def predict_in(predict: Callable[[np.ndarray], np.ndarray], windows: np.ndarray, batch: int) -> np.ndarray:
    return np.concatenate(
        [predict(windows[start : start + batch]) for start in range(0, len(windows), batch)]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--cpu-time", action="store_true")
    options = parser.parse_args()
    clock = time.process_time if options.cpu_time else time.perf_counter
    frame = torch.rand((options.size, options.size), generator=torch.Generator().manual_seed(0))
    ways = ways_of(frame)
    same_weights = {name: work() for name, _, work in ways}
    reference = same_weights["PyTorch, batches of 512"]
    taken: dict[str, list[float]] = {name: [] for name, *_ in ways}
    for _ in range(options.repeats):
        for name, count, work in ways:
            started = clock()
            work()
            taken[name].append((clock() - started) / count * 1e6)

    title = (
        f"z of {len(reference)} windows of one frame of {options.size}², {torch.get_num_threads()} threads"
    )
    table = Table("way", "µs a window", "authors' way ÷ it", "largest |Δz|", title=title)
    authors = taken.get("authors' way: Keras, one a call")
    if authors is None:
        table.add_row(
            "authors' way, measured elsewhere (no TensorFlow here)", f"{_MEASURED_ONCE_US:.0f}", "1", ""
        )
    for name, *_ in ways:
        pairs = zip(authors or [_MEASURED_ONCE_US] * options.repeats, taken[name], strict=True)
        z = same_weights[name]
        # Of the other networks z is another code: there is nothing to compare.
        other = "fast" in name or "AtomAI" in name
        difference = "" if other else f"{np.abs(z - reference[: len(z)]).max():.1e}"
        ratio = median(one / own for one, own in pairs)
        table.add_row(name, f"{median(taken[name]):.1f}", f"{ratio:.0f}", difference)
    Console().print(table)


if __name__ == "__main__":
    main()
