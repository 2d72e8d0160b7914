"""How close encoding comes to the machine's limit: ratios in one run, medians of paired repeats.

    python benchmarks/encode.py [--repeats 3] [--frames 24] [--size 512] [--cpu-time] [--layers]

--cpu-time counts the processor's time in place of the clock's, for a machine that does other work too:
then with OMP_NUM_THREADS=1. --layers prints where the networks' time goes, layer by layer.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
import xarray as xr
from rich.console import Console
from rich.table import Table
from torch import nn

import napari_hrtem_vae as hv
from napari_hrtem_vae.progress import run
from napari_hrtem_vae.vae.analysis import analyze_steps, encode_steps
from napari_hrtem_vae.vae.encoding import FrameEncoder, precision_here
from napari_hrtem_vae.vae.fused import ActivatedConvolution
from napari_hrtem_vae.vae.inference import InferenceEncoder
from napari_hrtem_vae.vae.model import Model
from napari_hrtem_vae.vae.network import PaddedConvolution
from napari_hrtem_vae.vae.overlap_save import OverlapSaveConvolution
from napari_hrtem_vae.vae.parameters import AnalyzeParameters
from napari_hrtem_vae.video.scaling import grey_range, scale_to_range, smooth

Clock = Callable[[], float]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
CPU = torch.device("cpu")


def seconds(work: Callable[[], object], clock: Clock) -> float:
    started = clock()
    work()
    return clock() - started


def matrix_product(precision: str, clock: Clock) -> float:
    """GFLOP/s of the machine's own matrix product."""
    # Without bfloat16 of its own a processor may need minutes for the large one.
    size = 3072 if precision_here(precision, CPU) == precision else 512
    a, b = (torch.randn(size, size).to(DTYPES[precision]) for _ in range(2))
    a @ b
    return 2 * size**3 / seconds(lambda: a @ b, clock) / 1e9


def poisson(frames: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).poisson(10, (frames, size, size)).astype(np.uint16)


def labelled(counts: np.ndarray) -> xr.DataArray:
    return xr.DataArray(counts, dims=("time", "y", "x"), attrs={"pixel_size_nm": 0.014})


def on_cpu(precision: str) -> AnalyzeParameters:
    return AnalyzeParameters(step=8, device="cpu", precision=precision)


def sites_of(video: xr.DataArray) -> int:
    return len(video) * ((video.shape[1] - 64) // 8 + 1) * ((video.shape[2] - 64) // 8 + 1)


def from_array_to_maps(options: argparse.Namespace, clock: Clock, table: Table) -> None:
    """Both models against the machine's matrix product, each beside it in time."""
    video = labelled(poisson(options.frames, options.size))
    sites = sites_of(video)
    models = {name: hv.load_model(name) for name in ("pbs-64", "pbs-64-fast")}
    # The mean's half of the last layer is all that maps need.
    card = models["pbs-64"].card
    operations = card.architecture.encoder_operations - 2 * 4096 * card.latents
    rows: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        rows.setdefault(name, []).append(value)

    run(analyze_steps(video[:2], models["pbs-64-fast"], on_cpu("float32")))
    for _ in range(options.repeats):
        for precision in DTYPES:
            note(f"product {precision}", matrix_product(precision, clock))
            for name, model in models.items():
                steps = analyze_steps(video, model, on_cpu(precision))
                note(f"{name} {precision}", sites / seconds(lambda steps=steps: run(steps), clock))  # type: ignore[misc]

    def ratio(a: str, b: str) -> float:
        return median(x / y for x, y in zip(rows[a], rows[b], strict=True))

    for precision, bar in (("float32", "≥ 0.8"), ("bfloat16", "≥ 0.6")):
        share = ratio(f"pbs-64 {precision}", f"product {precision}") * operations / 1e9
        faster = ratio(f"pbs-64-fast {precision}", f"pbs-64 {precision}")
        table.add_row(
            f"matrix product {precision}, GFLOP/s", f"{median(rows[f'product {precision}']):.0f}", ""
        )
        table.add_row(f"pbs-64 {precision} ÷ matrix product", f"{share:.2f}", bar)
        table.add_row(
            f"pbs-64 {precision}, µs a window", f"{1e6 / median(rows[f'pbs-64 {precision}']):.1f}", ""
        )
        table.add_row(
            f"pbs-64-fast {precision}, µs a site", f"{1e6 / median(rows[f'pbs-64-fast {precision}']):.2f}", ""
        )
        table.add_row(f"pbs-64-fast ÷ pbs-64, {precision}, sites/s", f"{faster:.1f}", "≥ 20")


def precision_kept(table: Table) -> None:
    """z in bfloat16 against float32, on noise and on a simulated crystal; also where no analysis takes it."""
    simulated = hv.simulate("annealing-pair", seed=77)["video"][:2, :320, :320].values
    for material, counts in (("noise", poisson(2, 256)), ("crystals", simulated)):
        for name in ("pbs-64", "pbs-64-fast"):
            model = hv.load_model(name)
            smoothed = smooth(counts, model.card.smoothing_px)
            frames = torch.from_numpy(scale_to_range(smoothed, *grey_range(smoothed)))
            z32, z16 = (
                np.concatenate([rows.mean for rows in encoder.rows(frames)])
                for encoder in (FrameEncoder(model, step=8, device=CPU, precision=one) for one in DTYPES)
            )
            error = np.sqrt(np.mean((z16 - z32) ** 2, axis=(0, 1))) / z32.std((0, 1))
            title = f"{name}, {material}: rms Δz of bfloat16 in spreads"
            table.add_row(title, f"{median(error):.4f}, worst {error.max():.4f}", "≤ 0.02")


def from_file_to_field(options: argparse.Namespace, clock: Clock, table: Table) -> None:
    """1024² frames of a file; the first run of each model is not counted."""
    model = hv.load_model("pbs-64-fast")
    operations = 121**2 * model.card.architecture.sliding_operations
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.npy"
        np.save(path, poisson(options.file_frames, 1024))
        # The bars in seconds are of two cores with matrix products of 187 and 753 GFLOP/s.
        for precision, bar, share_bar in (("float32", "≤ 0.06", "≥ 1.34"), ("bfloat16", "≤ 0.035", "≥ 0.57")):

            def work(precision: str = precision) -> None:
                run(encode_steps(hv.open_video(path, pixel_size_nm=0.014), model, on_cpu(precision)))

            work()
            taken, product = [], []
            for _ in range(options.repeats):
                product.append(matrix_product(precision, clock))
                taken.append(seconds(work, clock) / options.file_frames)
            taking = "" if precision_here(precision, CPU) == precision else " (float32 is faster here)"
            table.add_row(
                f"1024² frame from file to field, {precision}, s", f"{median(taken):.3f}{taking}", bar
            )
            share = median(operations / one / by / 1e9 for one, by in zip(taken, product, strict=True))
            table.add_row(f"the same ÷ matrix product, {precision}", f"{share:.2f}", share_bar)


def passes_equal_windows(table: Table) -> None:
    """The largest difference of z between whole frames in parts and window by window, by step."""
    model = hv.load_model("pbs-64-fast")
    frames = torch.rand((2, 150, 197), generator=torch.Generator().manual_seed(0))
    for step in (4, 8, 12, 16):
        fields = []
        for one_pass in (True, False):
            encoder = FrameEncoder(model, step=step, device=CPU, one_pass=one_pass)
            encoder.pixels = 100 * 197
            fields.append(np.concatenate([part.mean.ravel() for part in _in_order(encoder, frames)]))
        difference = np.abs(fields[0] - fields[1]).max()
        table.add_row(f"step {step}: one pass in parts − window by window", f"{difference:.1e}", "≤ 1e-4")


def _in_order(encoder: FrameEncoder, frames: torch.Tensor) -> list:
    return sorted(encoder.rows(frames), key=lambda part: (part.frame, part.row))


def layers(name: str, precision: str, repeats: int, clock: Clock) -> Table:
    """Time of each layer, and GFLOP/s where it is a convolution or a dense layer."""
    model: Model = hv.load_model(name)
    sliding = model.card.architecture.stride is not None
    encoder = InferenceEncoder(model.encoder, CPU, DTYPES[precision])
    inner = [*(encoder.frame_layers if sliding else encoder.rest), *(encoder.dense or ())]
    table = Table(
        "layer",
        "µs a site",
        "GFLOP/s",
        title=f"{name}, {precision}, {matrix_product(precision, clock):.0f} GFLOP/s",
    )
    x = torch.rand(1, 1, 512, 1024) if sliding else torch.rand(64, 1, 64, 64)
    sites = 57 * 121 if sliding else 64
    with torch.inference_mode():
        for layer in (*encoder.first, *inner, encoder.to_mean):
            x = x.to(encoder.dtype if layer in inner else torch.float32)
            if isinstance(layer, nn.Linear) and x.ndim == 4:
                x = x.permute(0, 2, 3, 1)
                x = x if sliding else x.flatten(1)
            before = x.clone(memory_format=torch.preserve_format)
            y = layer(x)
            # In-place activations change their input; for time that is all the same.
            taken = min(seconds(lambda x=x, layer=layer: layer(x), clock) for _ in range(repeats))  # type: ignore[misc]
            operations = _operations(layer, before, y)
            rate = f"{operations / taken / 1e9:.0f}" if operations else ""
            note = " (counted as if direct)" if isinstance(layer, OverlapSaveConvolution) else ""
            shape = " × ".join(str(size) for size in y.shape[1:])
            table.add_row(f"{type(layer).__name__} → {shape}", f"{taken / sites * 1e6:.2f}", rate + note)
            x = y
    return table


def _operations(layer: nn.Module, x: torch.Tensor, y: torch.Tensor) -> int:
    if isinstance(layer, PaddedConvolution | ActivatedConvolution):
        return 2 * y.numel() * layer.conv.weight[0].numel()
    if isinstance(layer, OverlapSaveConvolution):
        return 2 * y.numel() * layer.kernel**2 * x.shape[1]
    return 2 * y.numel() * x.shape[-1] if isinstance(layer, nn.Linear) else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--file-frames", type=int, default=64)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--layers", action="store_true")
    options = parser.parse_args()
    clock = time.process_time if options.cpu_time else time.perf_counter
    console = Console()
    if options.layers:
        for name in ("pbs-64", "pbs-64-fast"):
            for precision in DTYPES:
                console.print(layers(name, precision, 3 * options.repeats, clock))
        return
    title = f"{options.frames} frames of {options.size}², {torch.get_num_threads()} threads"
    table = Table("what", "figure", "bar", title=title)
    from_array_to_maps(options, clock, table)
    precision_kept(table)
    from_file_to_field(options, clock, table)
    passes_equal_windows(table)
    console.print(table)


if __name__ == "__main__":
    main()
