"""What the widget Train does outside the window: opening, picking, training, writing the model; no Qt."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import HrtemVaeError, ModelFileError

if TYPE_CHECKING:
    import xarray as xr

    from ..progress import Steps
    from ..vae.model import Model
    from ..vae.picking import Preview
    from ..vae.recipe import Recipe

NOTHING_CHOSEN = "Choose what to train on: tick a layer, add files or a folder, or tick simulated scenes."
SUFFIX = ".safetensors"
_PREVIEWED = 64


@dataclass(frozen=True)
class Material:
    """What is trained on.

    Parameters
    ----------
    videos : tuple of DataArray (time, y, x)
        Of layers, lazy.
    files : tuple of str
        Files and folders, not yet opened.
    simulated : bool
        Simulated scenes too, or alone.

    Raises
    ------
    HrtemVaeError
        Nothing of all that.
    """

    videos: tuple[xr.DataArray, ...] = ()
    files: tuple[str, ...] = ()
    simulated: bool = False

    def __post_init__(self) -> None:
        if not (self.videos or self.files or self.simulated):
            raise HrtemVaeError(NOTHING_CHOSEN)


@dataclass
class Kept:
    """The model that a training leaves: in memory, and where it was written."""

    model: Model | None = None
    path: Path | None = None

    def keep(self, model: Model, place: Path) -> None:
        """Hold the model and write it; where that fails, it is still held.

        Another training may have written there since this one began: both models stay.
        """
        from ..vae.model import save_model

        self.model = model
        self.path = save_model(model, free_place(place.parent, place.stem) if place.exists() else place)


def free_place(folder: Path, name: str) -> Path:
    """A model file that does not exist: NAME, else NAME-2 and so on."""
    path, number = folder / f"{name}{SUFFIX}", 1
    while path.exists():
        number += 1
        path = folder / f"{name}-{number}{SUFFIX}"
    return path


def check_place(place: Path) -> None:
    """Refuse, before the training, a place where no model can be written; its folder is made.

    Raises
    ------
    ModelFileError
        The file exists, or its folder cannot be written.
    """
    if place.exists():
        raise ModelFileError(f"{place} exists already; choose another name.")
    if place.suffix != SUFFIX:
        raise ModelFileError(f"{place.name} is no name of a model; let it end with {SUFFIX}.")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place.parent):
            pass
    except OSError as error:
        raise ModelFileError(
            f"No model can be written to {place.parent} ({error.strerror or error}); choose another folder."
        ) from error


def _opened_steps(material: Material) -> Steps[list[xr.DataArray]]:
    from ..progress import Progress
    from ..vae.images import open_images

    videos = list(material.videos)
    for number, file in enumerate(material.files):
        yield Progress(number, len(material.files), f"Opening {Path(file).name}")
        videos += open_images([file])
    return videos


def preview_work(material: Material, recipe: Recipe) -> Callable[[], Generator[Any, None, Preview]]:
    """Steps that pick segments as a training would, without training."""

    def steps() -> Generator[Any, None, Preview]:
        from ..progress import Progress

        yield Progress(0, 0, "Loading…")
        from ..vae.picking import Preview, preview_segments_steps
        from ..vae.simulated import simulated_segments_steps

        videos = yield from _opened_steps(material)
        if videos:
            return (yield from preview_segments_steps(videos, recipe, threshold=recipe.fringe_threshold))
        segments = yield from simulated_segments_steps(recipe, _PREVIEWED, recipe.seed)
        return Preview(segments.seen, 1.0, np.empty(0, np.float32), 0.0, ())

    return steps


def training_work(
    material: Material, recipe: Recipe, device: str, place: Path, kept: Kept
) -> Callable[[], Generator[Any, None, Model]]:
    """Steps of a training; the model, or the best so far when it ends early, goes to `kept` and `place`."""

    def steps() -> Generator[Any, None, Model]:
        from ..progress import Progress

        check_place(place)
        yield Progress(0, 0, "Loading torch…")
        from ..vae.images import train_images_steps
        from ..vae.simulated import train_simulated_steps

        named = replace(recipe, name=place.stem)
        videos = yield from _opened_steps(material)
        if videos:
            training = train_images_steps(videos, named, device=device, simulated=material.simulated)
        else:
            training = train_simulated_steps(named, device=device)
        model = yield from keep_the_best_steps(training, place, kept)
        kept.keep(model, place)
        return model

    return steps


def keep_the_best_steps(training: Steps[Model], place: Path, kept: Kept) -> Steps[Model]:
    """Drive `training`; cancelled or failed, it leaves the best epoch that it had."""
    best: Callable[[], Model] | None = None
    try:
        while True:
            try:
                progress = next(training)
            except StopIteration as end:
                model: Model = end.value
                return model
            best = getattr(progress, "best", None) or best
            yield progress
    except BaseException:
        training.close()
        if best is not None:
            kept.keep(best(), place)
        raise
