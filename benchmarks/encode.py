"""How close encoding comes to the machine's limit: ratios in one run, medians of paired repeats.

    python benchmarks/encode.py [--repeats 3] [--frames 24] [--size 512] [--keras]

With --keras the authors' way (one `predict` a window) is timed with TensorFlow, which must then be
installed; without it that row is left out.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
import xarray as xr
from rich.console import Console
from rich.table import Table

import napari_hrtem_vae as hv
from napari_hrtem_vae.progress import run
from napari_hrtem_vae.vae.analysis import analyze_steps
from napari_hrtem_vae.vae.model import Model
from napari_hrtem_vae.vae.parameters import AnalyzeParameters


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def matrix_product(dtype: torch.dtype, size: int = 3072) -> float:
    """GFLOP/s of the machine's own matrix product."""
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    a @ b
    return 3 * 2 * size**3 / seconds(lambda: [a @ b for _ in range(3)]) / 1e9


def analysis(video: xr.DataArray, model: Model, precision: str) -> Callable[[], xr.Dataset]:
    parameters = AnalyzeParameters(step=8, device="cpu", precision=precision)
    return lambda: run(analyze_steps(video, model, parameters))


def keras_one_by_one(count: int) -> float:
    """Seconds a window of the authors' way: the published layers in Keras, one `predict` a window."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tensorflow import keras

    layers = keras.layers
    entry = keras.Input((64, 64, 1))
    x = entry
    for filters in (32, 32, 64, 64):
        x = layers.Conv2D(filters, 4, 2, padding="same", activation="relu")(x)
    x = layers.Dense(4096, activation="relu")(layers.Flatten()(x))
    encoder = keras.Model(entry, [layers.Dense(64)(x), layers.Dense(64)(x)])
    windows = np.random.default_rng(0).random((count, 1, 64, 64, 1), np.float32)
    encoder.predict(windows[0], verbose=0)
    return seconds(lambda: [encoder.predict(window, verbose=0) for window in windows]) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--keras", action="store_true")
    options = parser.parse_args()

    counts = (
        np.random.default_rng(0).poisson(10, (options.frames, options.size, options.size)).astype(np.uint16)
    )
    video = xr.DataArray(counts, dims=("time", "y", "x"), attrs={"pixel_size_nm": 0.014})
    published, fast = hv.load_model("pbs-64"), hv.load_model("pbs-64-fast")
    sites = options.frames * ((options.size - 64) // 8 + 1) ** 2
    # The mean's half of the last layer is all that maps need.
    latents = published.card.latents
    operations = published.card.architecture.encoder_operations - 2 * 4096 * latents

    rows: dict[str, list[float]] = {
        name: [] for name in ("float32", "bfloat16", "published", "published16", "fast", "fast16")
    }
    analysis(video[:2], fast, "float32")()
    for _ in range(options.repeats):
        rows["float32"].append(matrix_product(torch.float32))
        rows["published"].append(sites * operations / seconds(analysis(video, published, "float32")) / 1e9)
        rows["bfloat16"].append(matrix_product(torch.bfloat16))
        rows["published16"].append(sites * operations / seconds(analysis(video, published, "bfloat16")) / 1e9)
        rows["fast"].append(sites / seconds(analysis(video, fast, "float32")))
        rows["fast16"].append(sites / seconds(analysis(video, fast, "bfloat16")))

    def ratio(a: str, b: str) -> float:
        return median(x / y for x, y in zip(rows[a], rows[b], strict=True))

    z32 = hv.encode(video[:2], published, device="cpu").values
    z16 = hv.encode(video[:2], published, device="cpu", precision="bfloat16").values
    spread = np.sqrt(np.mean((z16 - z32) ** 2, axis=(0, 1, 2))) / np.maximum(z32.std((0, 1, 2)), 1e-6)
    sites_per_second = [value * 1e9 / operations for value in rows["published"]]
    faster = median(a / b for a, b in zip(rows["fast"], sites_per_second, strict=True))

    table = Table(
        "from array to maps",
        "figure",
        "bar",
        title=f"{options.frames} frames of {options.size}², {torch.get_num_threads()} threads",
    )
    table.add_row("matrix product float32, GFLOP/s", f"{median(rows['float32']):.0f}", "")
    table.add_row("matrix product bfloat16, GFLOP/s", f"{median(rows['bfloat16']):.0f}", "")
    table.add_row("pbs-64 float32, GFLOP/s", f"{median(rows['published']):.0f}", "")
    table.add_row("pbs-64 float32 ÷ matrix product", f"{ratio('published', 'float32'):.2f}", "≥ 0.7")
    table.add_row("pbs-64 bfloat16 ÷ float32", f"{ratio('published16', 'published'):.2f}", "≥ 2")
    table.add_row("largest |Δz| of bfloat16", f"{np.abs(z16 - z32).max():.3f}", "")
    table.add_row("rms Δz of bfloat16 in spreads, worst latent", f"{spread.max():.4f}", "")
    table.add_row("pbs-64 µs a window", f"{1e6 / median(sites_per_second):.0f}", "")
    table.add_row("pbs-64-fast float32, sites/s", f"{median(rows['fast']):.0f}", "")
    table.add_row("pbs-64-fast ÷ pbs-64, sites/s", f"{faster:.1f}", "≥ 15")
    table.add_row("pbs-64-fast bfloat16 ÷ float32", f"{ratio('fast16', 'fast'):.2f}", "")
    if options.keras:
        slow = keras_one_by_one(60)
        table.add_row("authors' way (Keras, one window a call), µs a window", f"{slow * 1e6:.0f}", "")
        table.add_row("pbs-64 ÷ authors' way", f"{slow * median(sites_per_second):.0f}", "≥ 200")
        table.add_row("pbs-64-fast ÷ authors' way", f"{slow * median(rows['fast']):.0f}", "")
    Console().print(table)


if __name__ == "__main__":
    main()
