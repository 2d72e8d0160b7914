"""Time and peak memory against frames, size, memory setting and workers; runs that are killed and go on.

    python benchmarks/scale.py memory [--size 4096] [--frames 640] [--memory 1.5] [--keep float16]
    python benchmarks/scale.py frames [--size 128]
    python benchmarks/scale.py workers [--size 1024] [--frames 800] [--memory]
    python benchmarks/scale.py kills [--times 10] [--workers 0]

`memory` analyses a video that is made as it is read (4096² × 640 are 21 GB) with `pbs-64-fast` and tells
the peak of resident memory. `frames` compares the time of a frame from 50 to 5,000 frames, `workers` one
and two processes of one thread each; both with a quarter of the free memory unless told. `kills` ends a run
with SIGKILL at random moments, goes on with it, and compares the bytes of its maps with those of a run left
in peace.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import dask.array as da
import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Table

import napari_hrtem_vae as hv
from napari_hrtem_vae.vae.analysis import analyze_steps
from napari_hrtem_vae.vae.model import Model
from napari_hrtem_vae.vae.parameters import AnalyzeParameters

COMMAND = Path(sys.executable).with_name("hrtem-vae")
BLOCK = 256


def made_as_it_is_read(frames: int, size: int) -> xr.DataArray:
    """Counts (frames, size, size), uint16, with a lattice that fades in one corner; never all in memory."""
    rng = np.random.default_rng(0)
    noise = rng.poisson(20, (BLOCK, size)).astype(np.uint16)
    x = np.arange(size)
    fringes = (6 + 6 * np.cos(2 * np.pi * x / 21)).astype(np.uint16)

    def make(block_info: dict[int, dict[str, list[tuple[int, int]]]]) -> np.ndarray:
        (first, last), (top, bottom), _ = block_info[None]["array-location"]
        block = np.empty((last - first, bottom - top, size), np.uint16)
        for place, frame in enumerate(range(first, last)):
            block[place] = np.roll(noise[: bottom - top], 977 * frame + 131 * top, axis=1)
            if top < size // 4:
                block[place, :, : size // 4] += (fringes[: size // 4] * (1 - frame / frames)).astype(
                    np.uint16
                )
        return block

    chunks = (tuple(_parts(frames, 4)), tuple(_parts(size, BLOCK)), (size,))
    data = da.map_blocks(make, chunks=chunks, dtype=np.uint16, meta=np.empty((0, 0, 0), np.uint16))
    return xr.DataArray(data, dims=("time", "y", "x"), attrs={"pixel_size_nm": 0.014})


def _parts(total: int, each: int) -> list[int]:
    return [min(each, total - start) for start in range(0, total, each)]


def analyse(options: argparse.Namespace) -> None:
    """One analysis in this process; prints what it took as JSON."""
    started = time.perf_counter()
    video = made_as_it_is_read(options.frames, options.size)
    keep = {} if options.keep == "no" else {"field_type": options.keep}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        result = hv.analyze(
            video,
            options.model,
            store=Path(folder) / "result.zarr",
            memory_gb=options.memory,
            keep_field=bool(keep),
            device="cpu",
            **keep,
        )
        hotspots = result.sizes.get("hotspot", 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "cpu": time.process_time(), "peak": peak, "hotspots": hotspots}))


def in_its_own_process(*arguments: object) -> dict[str, float]:
    """What `analyse` prints, of a fresh process: its peak of memory is its own."""
    done = subprocess.run(
        [sys.executable, __file__, "analyse", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def memory(options: argparse.Namespace) -> None:
    took = in_its_own_process(
        *("--size", options.size, "--frames", options.frames, "--memory", options.memory),
        *("--keep", options.keep, "--model", options.model),
        *(("--folder", options.folder) if options.folder else ()),
    )
    size = 2 * options.frames * options.size**2
    table = Table("figure", "value", "bar", title=f"{options.size}² × {options.frames}, {size / 1e9:.1f} GB")
    table.add_row("memory setting", f"{options.memory} GB", "")
    table.add_row("peak of resident memory", f"{took['peak'] / 1e9:.2f} GB", "≤ 2 GB with 1.5")
    table.add_row("time", f"{took['seconds']:.0f} s", "")
    table.add_row("processor time", f"{took['cpu']:.0f} s", "")
    table.add_row("hotspots", f"{took['hotspots']}", "")
    Console().print(table)


def frames(options: argparse.Namespace) -> None:
    """Time a frame of a file, of reading, checking, encoding and mapping them, without what is done once.

    Once are the start (encoder, plan, grey levels), the search for change in the mean frames of at most 32
    stretches, and at the end the maps of all sites and the kinds of what changed: these depend on the
    sites, not on the frames. Each band of sites begins and ends once, too: what a frame more costs is told
    by a longer video less a shorter one.
    """
    model = hv.load_model(options.model)
    counts = (50, 500, 5000)
    costs: dict[int, list[tuple[float, float, float]]] = {count: [] for count in counts}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        videos = {count: Path(folder) / f"{count}.npy" for count in (8, *counts)}
        for count, path in videos.items():
            write_noise(path, count, options.size)
        walk_cost(videos[8], model, options)
        for _ in range(options.repeats):
            # Short ones more often: what disturbs a machine then disturbs all alike.
            for count, times in zip(counts, (20, 10, 1), strict=True):
                costs[count] += [walk_cost(videos[count], model, options) for _ in range(times)]
    columns = ("frames", "start (ms)", "walk (ms)", "end (ms)", "walk ÷ frames (ms)", "a frame more (ms)")
    table = Table(*columns, title=f"{options.size}² px")
    fewer = None
    for count in counts:
        start, walk, ended = 1e3 * np.median(costs[count], axis=0)
        more = "" if fewer is None else f"{(walk - fewer[1]) / (count - fewer[0]):.2f}"
        once = f"{start:.0f}", f"{walk:.0f}", f"{ended:.0f}"
        table.add_row(str(count), *once, f"{walk / count:.2f}", more)
        fewer = count, walk
    Console().print(table)


def write_noise(path: Path, frames: int, size: int) -> None:
    """Counts (frames, size, size), uint16, no frame like another, with a lattice that fades in one corner."""
    rng = np.random.default_rng(0)
    corner = np.zeros((size, size))
    corner[: size // 4, : size // 4] = 6 + 6 * np.cos(2 * np.pi * np.arange(size // 4) / 21)
    video = np.lib.format.open_memmap(path, "w+", np.uint16, (frames, size, size))
    for number in range(frames):
        video[number] = rng.poisson(20 + corner * (1 - number / frames))


def walk_cost(path: Path, model: Model, options: argparse.Namespace) -> tuple[float, float, float]:
    """Seconds of what is done once until the last tile, of all frames, and from then to the end."""
    began = time.perf_counter()
    video = hv.open_video(path, pixel_size_nm=0.014)
    parameters = AnalyzeParameters(
        step=model.card.step, keep_field=False, memory_gb=options.memory, device="cpu"
    )
    last: dict[str, float] = {}
    checked = mapped = 0.0
    for progress in analyze_steps(video, model, parameters):
        now = time.perf_counter()
        # What is told comes after the first frames: they were begun with when what is before was told last.
        if "Checking the frames" in last and not checked and progress.message != "Checking the frames":
            checked = now
        last[progress.message] = now
        if progress.finished is not None:
            mapped = now
    ended = time.perf_counter()
    walk = checked - last["Looking at the video"] + mapped - last["Looking for change"]
    return mapped - began - walk, walk, ended - mapped


def workers(options: argparse.Namespace) -> None:
    """One process and two, one thread each, on one file."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        video = Path(folder) / "video.npy"
        np.save(video, made_as_it_is_read(options.frames, options.size).data.compute())
        took: dict[int, list[float]] = {1: [], 2: []}
        for repeat in range(options.repeats):
            for count in took:
                store = Path(folder) / f"{repeat}-{count}.zarr"
                started = time.perf_counter()
                _command(video, store, options, "--workers", str(count), "--maps-only").wait()
                took[count].append(time.perf_counter() - started)
                shutil.rmtree(store)
    table = Table("workers of one thread", "s", "÷ one", title=f"{options.size}² × {options.frames}")
    for count, seconds in took.items():
        table.add_row(str(count), f"{median(seconds):.1f}", f"{median(took[1]) / median(seconds):.2f}")
    Console().print(table)


def kills(options: argparse.Namespace) -> None:
    """SIGKILL at random moments, and on."""
    extra = ("--workers", str(options.workers)) if options.workers else ()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        video = Path(folder) / "video.npy"
        np.save(video, made_as_it_is_read(options.frames, options.size).data.compute())
        peace, war = Path(folder) / "peace.zarr", Path(folder) / "war.zarr"
        started = time.perf_counter()
        if _command(video, peace, options, *extra).wait():
            sys.exit("the run in peace failed")
        whole = time.perf_counter() - started
        rng, killed = random.Random(options.seed), 0
        while killed < options.times:
            if war.exists() and not _unfinished(war):
                # It was through before its moment came: from the start again, with what is killed so far.
                shutil.rmtree(war)
            run = _command(video, war, options, *extra)
            time.sleep(rng.uniform(0.2, 0.9) * whole)
            if run.poll() is None:
                run.send_signal(signal.SIGKILL)
                killed += 1
            elif run.returncode:
                sys.exit("a run failed")
            run.wait()
        while not war.exists() or _unfinished(war):
            if _command(video, war, options, *extra).wait():
                sys.exit("the last run failed")
        same = all(_bytes(peace / name) == _bytes(war / name) for name in _arrays(peace))
        table = Table(title=f"{options.times} kills, {whole:.0f} s a run in peace")
        table.add_row("arrays of the same bytes: " + ", ".join(_arrays(peace)), str(same))
        Console().print(table)
        sys.exit(not same)


def _command(video: Path, store: Path, options: argparse.Namespace, *extra: str) -> subprocess.Popen[bytes]:
    words = [COMMAND, "analyze", video, "-o", store, "--pixel-size", "0.014", "--model", options.model]
    threads = {"OMP_NUM_THREADS": str(options.threads)} if options.threads else {}
    if options.memory is not None:
        words += ["--memory", options.memory]
    return subprocess.Popen(
        [*map(str, words), "--device", "cpu", *extra, "--json"],
        stdout=subprocess.DEVNULL,
        env={**os.environ, **threads},
    )


def _unfinished(store: Path) -> bool:
    return store.with_name(f".{store.name}.journal").exists()


def _arrays(store: Path) -> list[str]:
    return sorted(entry.name for entry in store.iterdir() if (entry / "c").is_dir())


def _bytes(array: Path) -> dict[str, bytes]:
    return {str(file.relative_to(array)): file.read_bytes() for file in array.rglob("*") if file.is_file()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    actions = {"memory": memory, "frames": frames, "workers": workers, "kills": kills, "analyse": analyse}
    defaults = {"memory": (4096, 640), "frames": (128, 0), "workers": (1024, 800), "kills": (320, 300)}
    parser.add_argument("what", choices=actions, nargs="?", default="memory")
    parser.add_argument("--size", type=int)
    parser.add_argument("--frames", type=int)
    parser.add_argument("--memory", type=float)
    parser.add_argument("--keep", choices=("no", "float32", "float16"), default="no")
    parser.add_argument("--model", default="pbs-64-fast")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="where results go meanwhile")
    options = parser.parse_args()
    size, count = defaults.get(options.what, (512, 50))
    options.size, options.frames = options.size or size, options.frames or count
    if options.memory is None and options.what not in ("frames", "workers"):
        options.memory = 1.5
    actions[options.what](options)


if __name__ == "__main__":
    main()
