"""Commands on models: train, models, convert-keras."""

from __future__ import annotations

import shlex
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from ..errors import ModelFileError, ParameterError
from .console import ERRORS, Json, Output, app, drive, pairs_table, tell_result


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
    from ..vae.images import open_images, train_images_steps
    from ..vae.recipe import load_recipe
    from ..vae.simulated import train_simulated_steps
    from ..vae.training_file import checkpoint_path, train_to_file_steps

    started = time.perf_counter()
    given: dict[str, Any] = {"epochs": epochs, "seed": seed, "fringe_threshold": threshold}
    chosen = replace(load_recipe(recipe), **{name: one for name, one in given.items() if one is not None})
    _check_model_place(output)
    checkpoint = checkpoint_path(output)
    chosen = replace(chosen, name=output.stem)
    command = f"hrtem-vae {shlex.join(sys.argv[1:])}"
    paths = [image for image in images if image != "simulated"]
    if paths:
        steps = train_images_steps(
            open_images(paths, pixel_size),
            chosen,
            device=device,
            checkpoint=checkpoint,
            simulated=len(paths) < len(images),
            command=command,
        )
    else:
        steps = train_simulated_steps(chosen, device=device, checkpoint=checkpoint, command=command)

    def tell(line: str) -> None:
        if not as_json:
            ERRORS.print(line, highlight=False, markup=False, soft_wrap=True)

    # Closed at any end: the best model so far is written then.
    with closing(train_to_file_steps(steps, output, tell)) as kept:
        model = drive(kept, as_json)
    training = model.card.training
    record = {
        "model": str(output),
        **{key: training[key] for key in ("bce", "kl", "active_latents", "epoch", "segments")},
        "share_kept": training.get("share_kept"),
        "seconds": round(time.perf_counter() - started, 2),
    }
    if as_json:
        record |= {"curves": training["curves"], "notices": training.get("notices", [])}
    tell_result(as_json, record, lambda: pairs_table(record))


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


@app.command()
def models(
    model: Annotated[str | None, typer.Argument(help="Name of one, or its file: shows its card.")] = None,
    export: Annotated[
        Path | None, typer.Option(help="Folder for the figures of its training (with MODEL).")
    ] = None,
    traversal: Annotated[
        Path | None,
        typer.Option(help="Picture (.png, .svg, .tif) of what each latent does (with MODEL)."),
    ] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Learn to read kinds of change from it (minutes; with MODEL).")
    ] = False,
    scenes: Annotated[int | None, typer.Option(help="Simulated scenes to calibrate with.")] = None,
    response: Annotated[
        Path | None, typer.Option(help="Table (.csv) of what each latent answers to (with MODEL).")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the models of the package, or show one."""
    from ..vae.card import list_models, read_card, shipped_models

    if model is None and (calibrate or any(one is not None for one in (export, traversal, response))):
        raise ParameterError("--export, --traversal, --response and --calibrate are of one model; name it.")
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
        from ..vae.training_figures import save_training_figure

        record["figure"] = str(save_training_figure(cards[0][0], export))
    if traversal is not None:
        from ..vae.traversal_figure import export_traversal_steps

        record["traversal"] = str(drive(export_traversal_steps(cards[0][1], traversal), as_json))
    if calibrate:
        record["calibration"] = _calibrate(cards[0][1], scenes, as_json)
    if response is not None:
        record["response"] = str(_save_response(cards[0][1], response, as_json))

    def table() -> Table:
        out = Table(
            Column("name", no_wrap=True), "material", "pixel size (nm)", "size (MB)", "licence", "summary"
        )
        for entry in records:
            out.add_row(*(str(value) for value in entry.values()))
        return out

    tell_result(as_json, record, table)


def _calibrate(path: Path, scenes: int | None, quiet: bool) -> dict[str, Any]:
    """Calibrate a model; the calibration is written beside its file."""
    from ..vae.meaning.calibrated import calibration_path, save_calibration
    from ..vae.meaning.calibration import CalibrationParameters, calibrate_steps
    from ..vae.model import load_model

    parameters = CalibrationParameters() if scenes is None else CalibrationParameters(scenes=scenes)
    place = calibration_path(path)
    _check_model_place(place)
    calibration = drive(calibrate_steps(load_model(path), parameters), quiet)
    save_calibration(calibration, place)
    best = calibration.latents if calibration.beside is None else calibration.beside.both
    return {"file": str(place), "recall": best.card.record["recall"]}


def _save_response(path: Path, place: Path, quiet: bool) -> Path:
    """Write what each latent answers to: of the calibration where there is one, else found now."""
    from ..io.export import save_table_csv
    from ..vae.meaning.calibrated import calibration_of
    from ..vae.meaning.response import from_record, response_columns, response_steps
    from ..vae.model import load_model

    model = load_model(path)
    calibration = calibration_of(model)
    known = None if calibration is None else calibration.latents.card.record.get("response")
    table = drive(response_steps(model), quiet) if known is None else from_record(known)
    save_table_csv(place, response_columns(table))
    return place


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
    from ..vae.keras_models import convert_keras as convert
    from ..vae.model import save_model

    if output.exists():
        raise ModelFileError(f"{output} exists already; choose another name or delete it.")
    _check_model_place(output)
    folders = [encoder] if decoder is None else [encoder, decoder]
    model = convert(folders, name=output.stem, material=material, pixel_size_nm=pixel_size)
    save_model(model, output, exact=True)
    card, found = model.card, model.card.training["converted_from"]
    if decoder is not None and found.get("encoder") == decoder.name != encoder.name:
        ERRORS.print("The first folder holds the decoder, the second the encoder; taken so.")
    record = {
        "model": str(output),
        "window": card.window,
        "latents": card.latents,
        **{part: found.get(part) for part in ("encoder", "decoder")},
        "licence": card.licence,
        "summary": card.summary,
    }
    tell_result(as_json, record, lambda: pairs_table(record))
