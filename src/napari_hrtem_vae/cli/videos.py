"""Commands on videos: analyze, batch, lattice, drift, simulate, view."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from ..errors import HrtemVaeError, ResultError
from ..simulate.parameters import ScenarioParameters
from ..simulate.scenes import SCENARIOS
from ..vae.worker_start import start_reading_in
from .console import ERRORS, Json, Output, app, drive, pairs_table, tell_result, with_fields_of

if TYPE_CHECKING:
    from ..vae.batch import BatchRow

Workers = Annotated[int, typer.Option(help="Processes of one thread each that share the work.")]
Cluster = Annotated[str, typer.Option(help="Address of a dask scheduler, as tcp://host:8786.")]


@app.command()
def analyze(
    video: Annotated[Path, typer.Argument(help="A video: file or folder.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Result store (.zarr).")] = None,
    model: Annotated[str, typer.Option(help="Name of a model, or its file.")] = "pbs-64-fast",
    step: Annotated[int | None, typer.Option(help="Distance of windows in px of the model.")] = None,
    pixel_size: Annotated[float | None, typer.Option(help="Pixel size in nm, over the file's.")] = None,
    frame_time: Annotated[float | None, typer.Option(help="Time of a frame in s, over the file's.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Which of a file's datasets.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="float32, or bfloat16 where that is faster.")] = "float32",
    outliers: Annotated[str, typer.Option(help="robust, published or off.")] = "robust",
    drift: Annotated[str, typer.Option(help="off or rigid.")] = "off",
    scaling: Annotated[str, typer.Option(help="model, window or video.")] = "model",
    level_beam: Annotated[bool, typer.Option(help="Divide each frame by its mean.")] = True,
    zoom: Annotated[
        float | None, typer.Option(help="Enlarge frames by this; else from the pixel sizes.")
    ] = None,
    memory: Annotated[
        float | None, typer.Option(help="Memory in GB; else a quarter of what is free.")
    ] = None,
    maps_only: Annotated[bool, typer.Option(help="Do not keep z(t).")] = False,
    field_type: Annotated[str, typer.Option(help="How z(t) is stored: float32 or float16.")] = "float32",
    workers: Workers = 0,
    cluster: Cluster = "",
    export: Annotated[Path | None, typer.Option(help="Folder for maps, plots and tables.")] = None,
    as_json: Json = False,
) -> None:
    """Analyse a video: latent maps and the places where things happen."""
    started = time.perf_counter()
    if workers and video.exists():
        # They take the longest to be ready.
        start_reading_in()

    from ..io.results import check_place
    from ..io.source import VideoSource

    output = output or Path(f"{video.stem}-result.zarr")
    check_place(output)
    if export is not None and export.exists() and not export.is_dir():
        raise ResultError(f"{export} is a file; give --export a folder.")
    source = VideoSource(str(video), dataset, pixel_size, frame_time)
    opened = source.open()

    # Reading torch in takes seconds: a wrong file is told before.
    from ..vae.analysis import analyze_shared_steps, analyze_steps
    from ..vae.model import load_model
    from ..vae.parameters import AnalyzeParameters
    from ..vae.report import hotspot_records, write_report

    chosen = load_model(model)
    parameters = AnalyzeParameters(
        step=chosen.card.step if step is None else step,
        outliers=outliers,
        drift=drift,
        scaling=scaling,
        level_beam=level_beam,
        zoom=zoom,
        device=device,
        precision=precision,
        memory_gb=memory,
        keep_field=not maps_only,
        field_type=field_type,
    )
    _take_no_more_cores_than(workers)
    if workers or cluster:
        steps = analyze_shared_steps(source, model, parameters, output, workers=workers, cluster=cluster)
    else:
        steps = analyze_steps(opened, chosen, parameters, store=output)
    result = drive(steps, as_json)
    if export is not None:
        try:
            write_report(result, export)
        except HrtemVaeError as error:
            raise ResultError(f"{error} The analysis itself is finished and lies in {output}.") from error
    unit = str(result["y"].attrs.get("units", "px"))
    hotspots = hotspot_records(result)
    record = {
        "result": str(output),
        "frames": len(opened),
        "sites": [len(result["y"]), len(result["x"])],
        "model": chosen.card.name,
        "device": result.attrs["device"],
        "seconds": round(time.perf_counter() - started, 2),
        "hotspots": hotspots,
        "notices": list(result.attrs.get("notices", [])),
    }
    if not as_json:
        for notice in record["notices"]:
            ERRORS.print(f"[yellow]{notice}[/yellow]", highlight=False)
    tell_result(as_json, record, lambda: _analysis_table(record, unit))


def _what(spot: dict[str, Any]) -> str:
    """Kind of change of a hotspot with its read-out, for a table."""
    told = str(spot.get("kind", ""))
    for name, unit in (("rotation", "°"), ("edge_shift", f" {spot['unit']}"), ("contrast_change", " %")):
        if name in spot:
            told += f" {spot[name]:+.2g} ± {spot[f'{name}_error']:.1g}{unit}"
    return told


def _analysis_table(record: dict[str, Any], unit: str) -> Table:
    rows, columns = record["sites"]
    title = f"{record['result']}: {record['frames']} frames, {rows} × {columns} sites, {record['seconds']} s"
    table = Table("Where", f"y ({unit})", f"x ({unit})", f"area ({unit}²)", "strength", "what", title=title)
    for number, spot in enumerate(record["hotspots"][:10]):
        table.add_row(
            str(number + 1),
            f"{spot['y']:.2f}",
            f"{spot['x']:.2f}",
            f"{spot['area']:.2f}",
            f"{spot['strength']:.3g}",
            _what(spot),
        )
    table.caption = f"{len(record['hotspots'])} place(s) with significant change"
    return table


def _take_no_more_cores_than(workers: int) -> None:
    """Where a number of workers is given, this process has as many threads for what they cannot share."""
    import torch

    if workers:
        torch.set_num_threads(min(workers, torch.get_num_threads()))


@app.command()
def batch(
    videos: Annotated[list[Path], typer.Argument(help="Videos: files or folders.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")],
    table: Annotated[Path | None, typer.Option(help="One table of all videos (.csv).")] = None,
    model: Annotated[str, typer.Option(help="Name of a model, or its file.")] = "pbs-64-fast",
    step: Annotated[int | None, typer.Option(help="Distance of windows in px of the model.")] = None,
    pixel_size: Annotated[float | None, typer.Option(help="Pixel size in nm, over the files'.")] = None,
    frame_time: Annotated[float | None, typer.Option(help="Time of a frame in s, over the files'.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="float32, or bfloat16 where that is faster.")] = "float32",
    drift: Annotated[str, typer.Option(help="off or rigid.")] = "off",
    memory: Annotated[
        float | None, typer.Option(help="Memory in GB; else a quarter of what is free.")
    ] = None,
    maps_only: Annotated[bool, typer.Option(help="Do not keep z(t).")] = False,
    field_type: Annotated[str, typer.Option(help="How z(t) is stored: float32 or float16.")] = "float32",
    workers: Workers = 0,
    cluster: Cluster = "",
    as_json: Json = False,
) -> None:
    """Analyse many videos: a result for each, one table; one that fails does not stop the others."""
    if workers:
        start_reading_in()
    from ..io.source import VideoSource
    from ..vae.batch import analyze_batch_steps
    from ..vae.model import load_model
    from ..vae.parameters import AnalyzeParameters

    parameters = AnalyzeParameters(
        step=load_model(model).card.step if step is None else step,
        drift=drift,
        device=device,
        precision=precision,
        memory_gb=memory,
        keep_field=not maps_only,
        field_type=field_type,
    )
    sources = [VideoSource(str(video), None, pixel_size, frame_time) for video in videos]
    table = output / "table.csv" if table is None else table
    _take_no_more_cores_than(workers)
    steps = analyze_batch_steps(
        sources, output, model, parameters, table=table, workers=workers, cluster=cluster
    )
    rows = drive(steps, as_json)
    failed = [row for row in rows if row.error]
    record = {"table": str(table), "videos": [row.told() for row in rows], "failed": len(failed)}
    tell_result(as_json, record, lambda: _batch_table(rows, table))
    if failed:
        raise typer.Exit(1)


def _batch_table(rows: list[BatchRow], place: Path) -> Table:
    table = Table("Video", "frames", "hotspots", "changed area", "strongest", "error", title=str(place))
    for row in rows:
        told = "" if row.error else f"{row.changed_area:.3g} {row.unit}²"
        strongest = "" if row.hotspots < 1 else f"{row.strongest_strength:.3g}"
        counts = ("", "") if row.error else (str(row.frames), str(max(row.hotspots, 0)))
        table.add_row(Path(row.video).name, *counts, told, strongest, row.error)
    return table


@app.command()
def lattice(
    video: Annotated[Path, typer.Argument(help="A video: file or folder.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Result store (.zarr).")] = None,
    grains: Annotated[int, typer.Option(help="How many grains to follow, 1 to 6.")] = 2,
    symmetry: Annotated[str, typer.Option(help="4, 6, 2 (fringes of one direction) or any.")] = "4",
    period: Annotated[float | None, typer.Option(help="Distance of fringes in px; else found.")] = None,
    pixel_size: Annotated[float | None, typer.Option(help="Pixel size in nm, over the file's.")] = None,
    frame_time: Annotated[float | None, typer.Option(help="Time of a frame in s, over the file's.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Which of a file's datasets.")] = None,
    overlap: Annotated[bool, typer.Option(help="Grains may lie over each other.")] = False,
    threads: Annotated[int | None, typer.Option(help="Else one for each processor core.")] = None,
    export: Annotated[Path | None, typer.Option(help="Folder for tables and plots.")] = None,
    as_json: Json = False,
) -> None:
    """Follow the angles, spacings and areas of crystal lattices by Fourier transform."""
    from ..io import open_video
    from ..io.results import check_place
    from ..lattice.analysis import track_grains_steps
    from ..lattice.conventions import check_symmetry
    from ..lattice.parameters import LatticeParameters
    from ..lattice.report import export_lattice, lattice_summary, lattice_table

    started = time.perf_counter()
    output = output or Path(f"{video.stem}-lattice.zarr")
    parameters = LatticeParameters(
        n_grains=grains,
        symmetry=check_symmetry(int(symmetry) if symmetry.isdecimal() else symmetry),
        period_px=period,
        exclusive=not overlap,
        workers=threads,
    )
    check_place(output)
    if export is not None and export.exists() and not export.is_dir():
        raise ResultError(f"{export} is a file; give --export a folder.")
    opened = open_video(video, dataset=dataset, pixel_size_nm=pixel_size, frame_time_s=frame_time)
    result = drive(track_grains_steps(opened, parameters, store=output), as_json)
    if export is not None:
        try:
            export_lattice(opened, result, export)
        except HrtemVaeError as error:
            raise ResultError(f"{error} The analysis itself is finished and lies in {output}.") from error
    record = {"result": str(output), **lattice_summary(result)}
    record |= {"seconds": round(time.perf_counter() - started, 2), "notices": result.attrs["notices"]}
    for notice in [] if as_json else record["notices"]:
        ERRORS.print(f"[yellow]{notice}[/yellow]", highlight=False)
    tell_result(as_json, record, lambda: lattice_table(record))


@app.command(name="drift")
def take_out_drift(
    video: Annotated[Path, typer.Argument(help="A video: file or folder.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the aligned video goes (.zarr).")],
    mode: Annotated[str, typer.Option(help="whole: by whole pixels; subpixel.")] = "whole",
    lock: Annotated[str, typer.Option(help="What is held still: auto, support or lattice.")] = "auto",
    period: Annotated[float | None, typer.Option(help="Lattice period in px; else found.")] = None,
    longest_jump: Annotated[
        float | None, typer.Option(help="Farthest move between frames in px; else a quarter of the frame.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Which of a file's datasets.")] = None,
    as_json: Json = False,
) -> None:
    """Measure the drift of the specimen and take it out; the shifts are written beside as CSV."""
    from ..io import open_video
    from ..io.export import save_table_csv
    from ..io.results import check_place
    from ..video.drift import DriftParameters, align_steps
    from ..video.report import drift_record, drift_table_columns, shifts_path
    from ..video.writing import write_video_steps

    started = time.perf_counter()
    table = shifts_path(output)
    for place in (output, table):
        check_place(place, resumable=False)
    parameters = DriftParameters(lock=lock, period_px=period, longest_jump_px=longest_jump)
    aligned, shifts = drive(align_steps(open_video(video, dataset=dataset), parameters, mode), as_json)
    # The shifts first: they are small, and a full disk then loses none of them.
    save_table_csv(table, drift_table_columns(shifts))
    drive(write_video_steps(aligned, shifts, output), as_json)
    record = {
        "aligned": str(output),
        "shifts": str(table),
        **drift_record(shifts),
        "seconds": round(time.perf_counter() - started, 2),
    }
    tell_result(as_json, record, lambda: pairs_table(record))


@app.command()
@with_fields_of(ScenarioParameters)
def simulate(
    scenario: Annotated[
        str, typer.Argument(help=f"One of {', '.join(SCENARIOS)}; or several joined by +, side by side.")
    ],
    output: Output,
    as_json: Json = False,
    **fields: Any,
) -> None:
    """Simulate a video; its truth is written beside it."""
    from ..simulate.scenarios import write_simulation_steps

    parameters = ScenarioParameters(**fields)
    video, truth = drive(write_simulation_steps(scenario, parameters, output), as_json)
    record = {
        "video": str(video),
        "truth": str(truth),
        "frames": parameters.frames,
        "seed": parameters.seed,
    }
    tell_result(as_json, record, lambda: pairs_table(record))


@app.command()
def view(
    files: Annotated[list[Path] | None, typer.Argument(help="Videos and results; may be none.")] = None,
) -> None:
    """Open napari with the widget and the layers ready."""
    files = files or []
    missing = [str(file) for file in files if not file.exists()]
    if missing:
        raise HrtemVaeError(f"There is no file {missing[0]}; check the path.")
    try:
        import torch  # noqa: F401  # before Qt: on Windows its libraries may not load after it

        from ..widgets.viewer import view_files
    except ImportError as error:
        raise HrtemVaeError(
            f"napari is not installed here ({error}); run: pip install 'napari-hrtem-vae[pyqt6]'."
        ) from error
    view_files(files)
