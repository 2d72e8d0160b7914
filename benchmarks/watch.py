"""How far `hrtem-vae watch` is behind a camera, and what it loses: the command, and a writer beside it.

    python benchmarks/watch.py [--frames 300] [--size 512] [--rate 10] [--last 100] [--format tif]
                               [--way at-once|aside|pieces] [--precision float32]

The lag of a frame is the time from when its file was whole to the first line of output that counts it.
Ways to write: "at-once", "aside" (and rename), "pieces" (five, with pauses). Some neighbouring frames
change places, a foreign file lies in the folder, one number is left out and one file stays broken.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import tifffile
from rich.console import Console
from rich.table import Table

BROKEN, LEFT_OUT, SWAPPED = 7, 11, 20


def encoded(frame: np.ndarray, suffix: str, scratch: Path) -> bytes:
    """The bytes of a frame's file."""
    path = scratch / f"frame.{suffix}"
    np.save(path, frame) if suffix == "npy" else tifffile.imwrite(path, frame)
    return path.read_bytes()


def write(path: Path, content: bytes, way: str) -> None:
    """Write a file as cameras and copying programs do."""
    if way == "aside":
        path.with_name(f"{path.name}.part").write_bytes(content)
        os.replace(path.with_name(f"{path.name}.part"), path)
        return
    parts = np.array_split(np.frombuffer(content, np.uint8), 5 if way == "pieces" else 1)
    with path.open("wb") as file:
        for part in parts:
            file.write(part.tobytes())
            file.flush()
            if way == "pieces":
                time.sleep(0.05)


def record(folder: Path, options: argparse.Namespace, whole: list[float]) -> None:
    """Write frames at the rate; `whole` gets the time at which each file that can be read was whole."""
    base = np.random.default_rng(0).poisson(20, (16, options.size, options.size)).astype(np.uint16)
    numbers = [number for number in range(options.frames + 1) if number != LEFT_OUT]
    numbers[SWAPPED], numbers[SWAPPED + 1] = numbers[SWAPPED + 1], numbers[SWAPPED]
    with tempfile.TemporaryDirectory() as scratch:
        # No two frames of a camera are alike: values that repeat would be ranked more slowly.
        contents = {
            number: encoded(np.roll(base[number % len(base)], number, 1), options.format, Path(scratch))
            for number in numbers
        }
    (folder / f"gain.{options.format}").write_bytes(contents[numbers[0]])
    began = time.monotonic()
    writers = []
    for place, number in enumerate(numbers):
        time.sleep(max(0.0, began + place / options.rate - time.monotonic()))
        content = contents[number]

        def one(number: int = number, content: bytes = content) -> None:
            path = folder / f"frame_{number:06d}.{options.format}"
            write(path, content[: len(content) // 3] if number == BROKEN else content, options.way)
            if number != BROKEN:
                whole.append(time.monotonic())

        writers.append(threading.Thread(target=one))
        writers[-1].start()
    for writer in writers:
        writer.join()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--last", type=int, default=100)
    parser.add_argument("--format", choices=["tif", "npy"], default="tif")
    parser.add_argument("--way", choices=["at-once", "aside", "pieces"], default="pieces")
    parser.add_argument("--precision", default="float32")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        told, whole, most_mb = follow(Path(scratch), options)
    seen: list[float] = []
    for moment, line in told:
        seen += [moment] * (line["frames"] + line["skipped"] - len(seen))
    lags = np.subtract(seen[: len(whole)], sorted(whole)[: len(seen)])
    last = told[-1][1]
    table = Table(
        "what", "measured", title=f"{options.frames} frames of {options.size}² at {options.rate:g}/s"
    )
    table.add_row("largest lag", f"{lags.max():.2f} s")
    table.add_row("median lag", f"{np.median(lags):.2f} s")
    # The last line counts every file once; what it leaves out of those that were written is lost.
    done = sum(last[name] for name in ("frames", "skipped", "broken", "other_size", "late", "earlier"))
    table.add_row("largest lag, as the command tells", f"{max(line['lag_s'] for _, line in told):.2f} s")
    table.add_row("frames lost", str(options.frames - done))
    table.add_row("frames skipped", str(last["skipped"]))
    table.add_row("broken, foreign, missing", f"{last['broken']}, {last['foreign']}, {last['missing']}")
    table.add_row("updates", str(len(told)))
    table.add_row("most memory", f"{most_mb:.0f} MB")
    Console().print(table)


def follow(scratch: Path, options: argparse.Namespace) -> tuple[list[tuple[float, dict]], list[float], float]:
    """Run the command beside the writer: what it told and when, when files were whole, its memory."""
    folder = scratch / "recording"
    folder.mkdir()
    command = [
        *(str(Path(sys.executable).with_name("hrtem-vae")), "watch", str(folder), "--json"),
        *("-o", str(scratch / "result.zarr"), "--last", str(options.last)),
        *("--until", str(options.frames), "--precision", options.precision),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    whole: list[float] = []
    writer = threading.Thread(target=record, args=(folder, options, whole))
    writer.start()
    told: list[tuple[float, dict]] = []
    most_mb = 0.0
    try:
        for text in process.stdout:
            line = json.loads(text)
            if line["event"] == "update":
                told.append((time.monotonic(), line))
                most_mb = max(most_mb, resident_mb(process.pid))
            elif line["event"] == "end":
                told.append((time.monotonic(), line))
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
    writer.join()
    process.wait()
    return told, whole, most_mb


def resident_mb(process: int) -> float:
    """Most memory that a process has had, where the system tells."""
    status = Path(f"/proc/{process}/status")
    if not status.exists():
        return float("nan")
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if "VmHWM" in line) / 1024


if __name__ == "__main__":
    main()
