"""The command watch: analysis while frames are recorded, a line on standard output for each update."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ..errors import CancelledError, ResultError, VideoFileError
from ..progress import Progress, run
from .console import ERRORS, Json, app, asked_to_stop, pairs_table

if TYPE_CHECKING:
    import xarray as xr

    from ..vae.live import Update

# A shell's code for a program that a signal ended.
_SIGNALLED = 128


@app.command()
def watch(
    folder: Annotated[Path, typer.Argument(help="The folder that the camera writes its frames to.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Result store (.zarr), written at the end.")
    ] = None,
    model: Annotated[str, typer.Option(help="Name of a model, or its file.")] = "pbs-64-fast",
    last: Annotated[int, typer.Option(help="Maps and places are of so many frames, the newest.")] = 100,
    step: Annotated[int | None, typer.Option(help="Distance of windows in px of the model.")] = None,
    pixel_size: Annotated[float | None, typer.Option(help="Pixel size in nm, over the file's.")] = None,
    frame_time: Annotated[float | None, typer.Option(help="Time of a frame in s, over the file's.")] = None,
    pattern: Annotated[str, typer.Option(help="Names of the frames, where others lie beside them.")] = "*",
    until: Annotated[int | None, typer.Option(help="End after so many frames.")] = None,
    idle: Annotated[float | None, typer.Option(help="End when nothing landed for so many s.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="float32, or bfloat16 where that is faster.")] = "float32",
    memory: Annotated[
        float | None, typer.Option(help="Memory in GB; else a quarter of what is free.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Analyse frames as they are recorded: a JSON line for each update, a result at the end."""
    from ..io.growing import GrowingFolder
    from ..io.results import check_place
    from ..vae.live_parameters import WatchParameters

    watching = WatchParameters(last, pattern, until, idle, pixel_size, frame_time)
    GrowingFolder(folder)
    output = output or Path(f"{folder.resolve().name}-watched.zarr")
    check_place(output, resumable=False)
    # What could be told at once has been: what follows loads torch, which takes seconds.
    from ..vae.live import GONE, WAITING, Update, watch_steps
    from ..vae.model import load_model
    from ..vae.parameters import AnalyzeParameters

    chosen = load_model(model)
    parameters = AnalyzeParameters(
        step=chosen.card.step if step is None else step,
        device=device,
        precision=precision,
        memory_gb=memory,
    )
    teller = _Teller(folder, output, chosen.card.name, as_json or not sys.stdout.isatty())
    with asked_to_stop(signal.SIGINT, signal.SIGTERM) as signals:

        def tell(progress: Progress) -> None:
            if progress.message.startswith(WAITING):
                teller.tell_waiting()
            if isinstance(progress, Update) and progress.finished is not None:
                teller.tell(progress, progress.finished)

        steps = watch_steps(
            folder,
            chosen,
            parameters,
            watching,
            store=output,
            stop=lambda: bool(signals) or teller.deaf,
        )
        try:
            result = run(steps, on_progress=tell)
        except CancelledError as error:
            ERRORS.print(str(error), highlight=False, markup=False)
            raise typer.Exit(_SIGNALLED + signals[0] if signals else 1) from None
    teller.tell_end(result)
    if result.attrs["ended"] == GONE:
        raise VideoFileError(f"{result.attrs['notices'][-1]} What was done is kept in {teller.output}.")
    if teller.deaf:
        raise ResultError(f"Nobody reads what is told any more; what was done is kept in {teller.output}.")
    if signals:
        raise typer.Exit(_SIGNALLED + signals[0])


class _Teller:
    """Writes a line for each update: JSON for programs, words for people."""

    def __init__(self, folder: Path, output: Path, model: str, as_json: bool) -> None:
        self.folder, self.output, self.model, self.as_json = folder, output, model, as_json
        self.began = time.monotonic()
        # Whether the reader of our output has gone.
        self.deaf = False
        self._has_begun = False
        self._most_lag_s = 0.0
        self._counts: dict[str, Any] = {}

    def tell_waiting(self) -> None:
        """Say, once, that the watch has begun."""
        if self._has_begun:
            return
        self._has_begun = True
        if self.as_json:
            self._write(self._record("waiting", 0.0))
        else:
            ERRORS.print(f"Watching {self.folder}; Ctrl-C ends it and keeps the result.", highlight=False)

    def tell(self, update: Update, maps: xr.Dataset) -> None:
        """Tell of new maps."""
        self._counts, self._most_lag_s = asdict(update.counts), max(self._most_lag_s, update.lag_s)
        record = self._record("update", update.lag_s) | found_in(maps)
        if self.as_json:
            self._write(record)
            return
        counts, spots = update.counts, record["hotspots"]
        words = [
            f"{counts.frames} frames",
            f"{update.lag_s:.1f} s behind",
            f"{len(spots)} place(s) with change",
        ]
        words += [f"strongest at y {spot['y']:.2f}, x {spot['x']:.2f} {spot['unit']}" for spot in spots[:1]]
        words += [f"{counts.done - counts.frames} left out"] if counts.done > counts.frames else []
        ERRORS.print(" · ".join(words), highlight=False, markup=False)

    def tell_end(self, result: xr.Dataset) -> None:
        """Tell what was found, and where it is kept."""
        # The name was taken meanwhile, perhaps, and another one found.
        self.output = self.output.with_name(Path(str(result.encoding["source"])).name)
        record = self._record("end", self._most_lag_s) | json.loads(result.attrs["watch"]) | found_in(result)
        if self.as_json:
            self._write(record)
            return
        for notice in record.pop("notices"):
            ERRORS.print(f"[yellow]{notice}[/yellow]", highlight=False)
        record["hotspots"] = len(record["hotspots"])
        Console().print(pairs_table(record))

    def _record(self, event: str, lag_s: float) -> dict[str, Any]:
        """What every line tells."""
        return {
            "event": event,
            "folder": str(self.folder),
            "result": str(self.output),
            "model": self.model,
            "seconds": round(time.monotonic() - self.began, 3),
            "lag_s": round(lag_s, 3),
            **self._counts,
        }

    def _write(self, record: dict[str, Any]) -> None:
        try:
            sys.stdout.write(json.dumps(record) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            self.deaf = True
            # Python would try once more when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def found_in(result: xr.Dataset) -> dict[str, Any]:
    """What `analyze --json` tells of a result: sites, device, hotspots, notices."""
    from ..vae.report import hotspot_records

    return {
        "sites": [len(result["y"]), len(result["x"])],
        "device": result.attrs["device"],
        "hotspots": hotspot_records(result),
        "notices": list(result.attrs["notices"]),
    }
