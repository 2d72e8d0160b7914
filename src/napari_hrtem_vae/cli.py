"""The command line: thin, over the same functions as Python and napari."""

from __future__ import annotations

import inspect
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import Field, replace
from dataclasses import fields as dataclass_fields
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from .errors import DeviceError, HrtemVaeError, ModelFileError, ParameterError, ResultError
from .progress import Steps, run
from .simulate.parameters import ScenarioParameters
from .simulate.scenes import SCENARIOS

Result = TypeVar("Result")
app = typer.Typer(
    help="See what changes in in situ HRTEM videos.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_ERRORS = Console(stderr=True)
_INTERRUPTED = 130
_STOPPED = {
    "lattice": "Stopped; what was finished is kept: the same command goes on with it.",
    "analyze": "Stopped; what was finished is kept: the same command goes on with it.",
    "train": "Stopped; the same command goes on after the last finished epoch.",
    "simulate": "Stopped; the video is not written.",
    "drift": "Stopped; the aligned video is not written.",
}

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="Where the result goes.")]


def _drive(steps: Steps[Result], quiet: bool) -> Result:
    """Run long work with a bar and the time left on standard error."""
    if quiet or not _ERRORS.is_terminal:
        return run(steps)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_ERRORS, transient=True) as bar:
        task = bar.add_task("Starting", total=None)

        def show(progress: Any) -> None:
            bar.update(task, completed=progress.done, total=progress.total, description=progress.message)

        return run(steps, on_progress=show)


def _tell(as_json: bool, record: dict[str, Any], table: Callable[[], Table]) -> None:
    if as_json:
        sys.stdout.write(json.dumps(record) + "\n")
    else:
        Console().print(table())


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"{version('napari-hrtem-vae')}\n")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    _debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error comes from (anywhere).")
    ] = False,
) -> None:
    """See what changes in in situ HRTEM videos."""


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
    precision: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
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
    export: Annotated[Path | None, typer.Option(help="Folder for maps, plots and tables.")] = None,
    as_json: Json = False,
) -> None:
    """Analyse a video: latent maps and the places where things happen."""
    from .io import open_video
    from .io.results import check_place
    from .vae.analysis import analyze_steps
    from .vae.model import load_model
    from .vae.parameters import AnalyzeParameters
    from .vae.report import write_report

    started = time.perf_counter()
    output = output or Path(f"{video.stem}-result.zarr")
    check_place(output)
    if export is not None and export.exists() and not export.is_dir():
        raise ResultError(f"{export} is a file; give --export a folder.")
    opened = open_video(video, dataset=dataset, pixel_size_nm=pixel_size, frame_time_s=frame_time)
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
    )
    result = _drive(analyze_steps(opened, chosen, parameters, store=output), as_json)
    if export is not None:
        try:
            write_report(result, export)
        except HrtemVaeError as error:
            raise ResultError(f"{error} The analysis itself is finished and lies in {output}.") from error
    unit = str(result["y"].attrs.get("units", "px"))
    columns = [
        result[f"hotspot_{name}"].values for name in ("y", "x", "area", "strength") if "change" in result
    ]
    hotspots = [
        {"y": float(y), "x": float(x), "area": float(area), "unit": unit, "strength": float(strength)}
        for y, x, area, strength in zip(*columns, strict=True)
    ]
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
            _ERRORS.print(f"[yellow]{notice}[/yellow]", highlight=False)
    _tell(as_json, record, lambda: _analysis_table(record, unit))


def _analysis_table(record: dict[str, Any], unit: str) -> Table:
    rows, columns = record["sites"]
    title = f"{record['result']}: {record['frames']} frames, {rows} × {columns} sites, {record['seconds']} s"
    table = Table("Where", f"y ({unit})", f"x ({unit})", f"area ({unit}²)", "strength", title=title)
    for number, spot in enumerate(record["hotspots"][:10]):
        table.add_row(
            str(number + 1),
            f"{spot['y']:.2f}",
            f"{spot['x']:.2f}",
            f"{spot['area']:.2f}",
            f"{spot['strength']:.3g}",
        )
    table.caption = f"{len(record['hotspots'])} place(s) with significant change"
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
    from .io import open_video
    from .io.results import check_place
    from .lattice.analysis import track_grains_steps
    from .lattice.conventions import check_symmetry
    from .lattice.parameters import LatticeParameters
    from .lattice.report import export_lattice, lattice_summary, lattice_table

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
    result = _drive(track_grains_steps(opened, parameters, store=output), as_json)
    if export is not None:
        try:
            export_lattice(opened, result, export)
        except HrtemVaeError as error:
            raise ResultError(f"{error} The analysis itself is finished and lies in {output}.") from error
    record = {"result": str(output), **lattice_summary(result)}
    record |= {"seconds": round(time.perf_counter() - started, 2), "notices": result.attrs["notices"]}
    for notice in [] if as_json else record["notices"]:
        _ERRORS.print(f"[yellow]{notice}[/yellow]", highlight=False)
    _tell(as_json, record, lambda: lattice_table(record))


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
    from .io import open_video
    from .io.export import save_table_csv
    from .io.results import check_place
    from .video.drift import DriftParameters, align_steps
    from .video.report import drift_record, drift_table_columns, shifts_path
    from .video.writing import write_video_steps

    started = time.perf_counter()
    table = shifts_path(output)
    for place in (output, table):
        check_place(place, resumable=False)
    parameters = DriftParameters(lock=lock, period_px=period, longest_jump_px=longest_jump)
    aligned, shifts = _drive(align_steps(open_video(video, dataset=dataset), parameters, mode), as_json)
    _drive(write_video_steps(aligned, shifts, output), as_json)
    save_table_csv(table, drift_table_columns(shifts))
    record = {
        "aligned": str(output),
        "shifts": str(table),
        **drift_record(shifts),
        "seconds": round(time.perf_counter() - started, 2),
    }
    _tell(as_json, record, lambda: _pairs_table(record))


@app.command()
def train(
    images: Annotated[
        list[str], typer.Argument(help="Images, videos, folders of stills, the word 'simulated', or both.")
    ],
    output: Output,
    recipe: Annotated[str, typer.Option(help="Name or YAML file of a recipe.")] = "pbs-64-fast",
    epochs: Annotated[int | None, typer.Option(help="Epochs, over the recipe's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed, over the recipe's.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Strength of fringes from which segments are taken; 0 takes all.")
    ] = None,
    pixel_size: Annotated[float | None, typer.Option(help="Pixel size in nm, over the files'.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    as_json: Json = False,
) -> None:
    """Train a model; a stopped training goes on where it was."""
    from .vae.images import open_images, train_images_steps
    from .vae.recipe import load_recipe
    from .vae.simulated import train_simulated_steps
    from .vae.training_file import checkpoint_path, train_to_file_steps

    started = time.perf_counter()
    given: dict[str, Any] = {"epochs": epochs, "seed": seed, "fringe_threshold": threshold}
    chosen = replace(load_recipe(recipe), **{name: one for name, one in given.items() if one is not None})
    _check_model_place(output)
    checkpoint = checkpoint_path(output)
    paths = [image for image in images if image != "simulated"]
    if paths:
        steps = train_images_steps(
            open_images(paths, pixel_size),
            replace(chosen, name=output.stem),
            device=device,
            checkpoint=checkpoint,
            simulated=len(paths) < len(images),
        )
    else:
        steps = train_simulated_steps(chosen, device=device, checkpoint=checkpoint)

    def tell(line: str) -> None:
        if not as_json:
            _ERRORS.print(line, highlight=False, markup=False, soft_wrap=True)

    # Closed at any end: the best model so far is written then.
    with closing(train_to_file_steps(steps, output, tell)) as kept:
        model = _drive(kept, as_json)
    training = model.card.training
    record = {
        "model": str(output),
        **{key: training[key] for key in ("bce", "kl", "active_latents", "epoch", "segments")},
        "share_kept": training.get("share_kept"),
        "seconds": round(time.perf_counter() - started, 2),
    }
    if as_json:
        record |= {"curves": training["curves"], "notices": training.get("notices", [])}
    _tell(as_json, record, lambda: _pairs_table(record))


def _check_model_place(path: Path) -> None:
    """Refuse, before the training, a place where no model can be written; an older model is replaced."""
    if path.is_dir() or (path.exists() and path.suffix != ".safetensors"):
        raise ModelFileError(f"{path} exists already and is no model file; choose another name.")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ModelFileError(
            f"The model cannot be written to {path} ({error.strerror or error}); "
            "make its folder or choose another."
        ) from error


def _pairs_table(record: dict[str, Any]) -> Table:
    table = Table(show_header=False)
    for key, value in record.items():
        table.add_row(key.replace("_", " "), str(value))
    return table


def _with_fields_of(parameters: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option more for each field of a parameters class, in place of its `**fields`."""
    hints = get_type_hints(parameters)

    def option(field: Field[Any]) -> inspect.Parameter:
        name = field.metadata.get("option", field.name).replace("_", "-")
        help_text = field.metadata["tooltip"] + (
            f" One of {', '.join(field.metadata['choices'])}." if "choices" in field.metadata else ""
        )
        return inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=Annotated[hints[field.name], typer.Option(f"--{name}", help=help_text)],
        )

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
        full = signature.replace(parameters=[*own, *map(option, dataclass_fields(parameters))])
        # Typer reads the one and the other.
        command.__dict__["__signature__"] = full
        command.__annotations__ = {one.name: one.annotation for one in full.parameters.values()}
        return command

    return decorate


@app.command()
@_with_fields_of(ScenarioParameters)
def simulate(
    scenario: Annotated[
        str, typer.Argument(help=f"One of {', '.join(SCENARIOS)}; or several joined by +, side by side.")
    ],
    output: Output,
    as_json: Json = False,
    **fields: Any,
) -> None:
    """Simulate a video; its truth is written beside it."""
    from .simulate.scenarios import write_simulation_steps

    parameters = ScenarioParameters(**fields)
    video, truth = _drive(write_simulation_steps(scenario, parameters, output), as_json)
    record = {
        "video": str(video),
        "truth": str(truth),
        "frames": parameters.frames,
        "seed": parameters.seed,
    }
    _tell(as_json, record, lambda: _pairs_table(record))


@app.command()
def models(
    model: Annotated[str | None, typer.Argument(help="Name of one, or its file: shows its card.")] = None,
    export: Annotated[
        Path | None, typer.Option(help="Folder for the figures of its training (with MODEL).")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the models of the package, or show one."""
    from .vae.card import list_models, read_card, shipped_models

    if export is not None and model is None:
        raise ParameterError("--export shows the training of one model; name it before.")
    files = shipped_models()
    if model is not None:
        path = files.get(model, Path(model))
        cards = [(read_card(path), path)]
    else:
        cards = [(card, files[card.name]) for card in list_models()]
    records = [
        {
            "name": card.name,
            "material": card.material,
            "pixel_size_nm": card.pixel_size_nm,
            "size_mb": round(path.stat().st_size / 1e6, 2),
            "licence": card.licence,
            "summary": card.summary,
        }
        for card, path in cards
    ]
    record: dict[str, Any] = {"models": records}
    if export is not None:
        from .vae.training_figures import save_training_figure

        record["figure"] = str(save_training_figure(cards[0][0], export))

    def table() -> Table:
        out = Table(
            Column("name", no_wrap=True), "material", "pixel size (nm)", "size (MB)", "licence", "summary"
        )
        for entry in records:
            out.add_row(*(str(value) for value in entry.values()))
        return out

    _tell(as_json, record, table)


@app.command()
def convert_keras(
    encoder: Annotated[Path, typer.Argument(help="SavedModel folder of the encoder (or the decoder).")],
    output: Output,
    decoder: Annotated[Path | None, typer.Argument(help="SavedModel folder of the decoder.")] = None,
    material: Annotated[str, typer.Option(help="What the model was trained on.")] = "unknown",
    pixel_size: Annotated[float | None, typer.Option(help="Pixel size it was trained at, in nm.")] = None,
    as_json: Json = False,
) -> None:
    """Make a model of SavedModel folders of Keras; needs no TensorFlow."""
    from .vae.keras_models import convert_keras as convert
    from .vae.model import save_model

    if output.exists():
        raise ModelFileError(f"{output} exists already; choose another name or delete it.")
    _check_model_place(output)
    folders = [encoder] if decoder is None else [encoder, decoder]
    model = convert(folders, name=output.stem, material=material, pixel_size_nm=pixel_size)
    save_model(model, output, exact=True)
    card, found = model.card, model.card.training["converted_from"]
    if decoder is not None and found.get("encoder") == decoder.name != encoder.name:
        _ERRORS.print("The first folder holds the decoder, the second the encoder; taken so.")
    record = {
        "model": str(output),
        "window": card.window,
        "latents": card.latents,
        **{part: found.get(part) for part in ("encoder", "decoder")},
        "licence": card.licence,
        "summary": card.summary,
    }
    _tell(as_json, record, lambda: _pairs_table(record))


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

        from .widgets.viewer import view_files
    except ImportError as error:
        raise HrtemVaeError(
            f"napari is not installed here ({error}); run: pip install 'napari-hrtem-vae[pyqt6]'."
        ) from error
    view_files(files)


def main() -> None:
    """Entry point: errors are one line and a code, a traceback comes with --debug only."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    try:
        code = app(args=[one for one in arguments if one != "--debug"], standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except Exception as error:
        if hasattr(error, "format_message"):
            usage = getattr(error, "ctx", None)
            if usage is not None:
                _ERRORS.print(usage.get_usage(), highlight=False, markup=False)
            _ERRORS.print(f"Error: {error.format_message()}", highlight=False, markup=False)
            sys.exit(getattr(error, "exit_code", 2))
        if debug:
            raise
        sentence = str(error) if isinstance(error, HrtemVaeError) else f"{type(error).__name__}: {error}"
        _ERRORS.print(f"Error: {sentence}", highlight=False, markup=False, soft_wrap=True)
        # A value out of its range is wrong usage, as an unknown option is.
        sys.exit(2 if isinstance(error, ParameterError | DeviceError) else 1)
    if code == _INTERRUPTED:
        # Typer returns this code after Ctrl-C, or lets the interrupt through: it depends on its version.
        command = next((one for one in arguments if not one.startswith("-")), "")
        _ERRORS.print(_STOPPED.get(command, "Stopped."), highlight=False)
    sys.exit(code if isinstance(code, int) else 0)
