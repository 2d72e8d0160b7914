"""Training on a user's own images and videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import TrainingError
from ..io import open_video
from ..io.folder import frame_files
from ..io.results_probe import is_zarr
from ..progress import Steps, run
from ..video.geometry import enlarged_size
from .architecture import ARCHITECTURES
from .card import ModelCard
from .cutting import cutter_steps
from .evaluation import Segments, check_room
from .model import Model
from .picking import AUTOMATIC_THRESHOLD, Picked, no_fringes, pick_segments_steps
from .pixel_sizes import MatchedSizes, match_pixel_sizes_steps
from .recipe import Recipe, load_recipe
from .simulated import OTHER_SCENES, describe_scenes, joined, simulated_segments_steps, validation_count
from .training import check_start, train_steps

_FEWEST_TRAINED, _FEWEST_VALIDATED = 64, 8
# Folders of more files are videos: each file is opened to see its pixel size.
_MOST_STILLS = 200


@dataclass(frozen=True)
class Split:
    """Parts of images for training and for validation, with the zoom of each."""

    train: list[tuple[xr.DataArray, float]]
    validation: list[tuple[xr.DataArray, float]]
    notice: str = ""


def open_images(paths: Sequence[str | Path], pixel_size_nm: float | None = None) -> list[xr.DataArray]:
    """Open files and folders for training; a folder of stills gives one image a file.

    Parameters
    ----------
    paths : sequence of path
        Files, folders of one-frame files, zarr stores. Files may differ in size and pixel size.
    pixel_size_nm : float, optional
        In nm; beats the files.

    Returns
    -------
    list of DataArray (time, y, x)

    Raises
    ------
    VideoFileError
        One cannot be read as a video.
    """
    images: list[xr.DataArray] = []
    for path in map(Path, paths):
        stills = frame_files(path) if path.is_dir() and not is_zarr(path) else []
        if 0 < len(stills) <= _MOST_STILLS:
            images += [open_video(still, pixel_size_nm=pixel_size_nm) for still in sorted(stills)]
        else:
            images.append(open_video(path, pixel_size_nm=pixel_size_nm))
    return images


def train_images_steps(
    videos: list[xr.DataArray],
    recipe: Recipe,
    *,
    device: str = "auto",
    checkpoint: Path | None = None,
    simulated: bool = False,
    command: str | None = None,
) -> Steps[Model]:
    """Train on images and videos; validation by image, never by segment.

    Of several images or videos the last tenth is held out, of one video its last tenth of frames, of one
    image the far half. What the images show, noise included, is the target: `recipe.target` holds for
    simulated segments only.

    Parameters
    ----------
    videos : list of DataArray (time, y, x)
    recipe : Recipe
    device, checkpoint
        As for `train_steps`.
    simulated : bool
        Half of the segments are simulated, as the recipe has it.
    command : str, optional
        What was typed, for the card.

    Raises
    ------
    TrainingError
        No or too few segments with fringes, nothing to validate on, or see `train_steps`.
    ParameterError
        More segments than memory holds.
    """
    if not videos:
        raise TrainingError("There are no images to train on; give files, folders or videos.")
    window = ARCHITECTURES[recipe.architecture]().window
    if not simulated:
        recipe = replace(recipe, target="input")
    check_start(recipe, device, checkpoint)
    drawn = recipe.segments // 2 if simulated else 0
    wanted, held_out = recipe.segments - drawn, validation_count(recipe.segments - drawn)
    check_room(recipe.segments + validation_count(recipe.segments), window)
    matched = yield from match_pixel_sizes_steps(videos, recipe)
    train, validation, record = yield from _own_segments_steps(videos, recipe, matched, wanted, held_out)
    if simulated:
        more = yield from simulated_segments_steps(recipe, drawn, recipe.seed)
        checks = yield from simulated_segments_steps(
            recipe, validation_count(drawn), recipe.seed + OTHER_SCENES
        )
        train, validation = joined([train, more]), joined([validation, checks])
        record["data"].append(describe_scenes(recipe))
    if command is not None:
        record["command"] = command
    card = ModelCard(
        name=recipe.name,
        architecture=ARCHITECTURES[recipe.architecture](),
        material="own images and PbS (simulated)" if simulated else "own images",
        pixel_size_nm=matched.pixel_size_nm,
        period_px=None if matched.period_px is None else round(matched.period_px, 1),
        training=record,
    )
    return (yield from train_steps(train, validation, recipe, card, device=device, checkpoint=checkpoint))


def _own_segments_steps(
    videos: list[xr.DataArray], recipe: Recipe, matched: MatchedSizes, wanted: int, held_out: int
) -> Steps[tuple[Segments, Segments, dict[str, Any]]]:
    """Segments with fringes for training and validation, and the card's record of them."""
    split = split_images(list(zip(videos, matched.zooms, strict=True)), recipe)
    train = yield from _pick_steps(split.train, recipe, wanted, recipe.seed)
    validation = yield from _pick_steps(split.validation, recipe, held_out, recipe.seed + OTHER_SCENES)
    useful = [one for one in train if len(one.windows)]
    if not any(len(one.windows) for one in validation) and len(useful) > 1:
        # To hold out an image without fringes tells nothing.
        train, validation = useful[:-1], [Picked(useful[-1].windows[:held_out], useful[-1].scores)]
    scores = np.concatenate([one.scores for one in (*train, *validation)])
    limit = AUTOMATIC_THRESHOLD if recipe.fringe_threshold is None else recipe.fringe_threshold
    counts = [sum(len(one.windows) for one in part) for part in (train, validation)]
    if sum(counts) == 0:
        raise TrainingError(no_fringes(len(scores), limit))
    if counts[0] < _FEWEST_TRAINED or counts[1] < _FEWEST_VALIDATED:
        raise TrainingError(
            f"Of {len(scores)} segments {counts[0]} with fringes were found to train on and {counts[1]} to "
            f"validate on; {_FEWEST_TRAINED} and {_FEWEST_VALIDATED} are needed: add images, "
            f"or set fringe_threshold below {limit:g}."
        )
    notices = [*matched.notices, *([split.notice] if split.notice else [])]
    if counts[0] < wanted:
        notices.append(f"{counts[0]} segments with fringes were found; {wanted} were asked for.")
    names = [str(video.attrs.get("source", "array")) for video in videos]
    record: dict[str, Any] = {
        "data": names,
        "share_kept": round(float((scores >= limit).mean()), 4),
        "segments_tried": len(scores),
        "fringe_threshold": limit,
        "notices": notices,
    }
    parts = [np.concatenate([one.windows for one in part]) for part in (train, validation)]
    return Segments(parts[0], parts[0]), Segments(parts[1], parts[1]), record


def _pick_steps(
    parts: list[tuple[xr.DataArray, float]], recipe: Recipe, count: int, seed: int
) -> Steps[list[Picked]]:
    """About `count` segments, as many from each image."""
    picked: list[Picked] = []
    for number, (video, zoom) in enumerate(parts):
        cutter = yield from cutter_steps(video, zoom, recipe)
        share = -(-count // len(parts))
        picked.append((yield from pick_segments_steps(cutter, share, seed + number, recipe.fringe_threshold)))
    return picked


def split_images(parts: list[tuple[xr.DataArray, float]], recipe: Recipe) -> Split:
    """Hold out images, else the last frames, else half of the one image."""
    cut = max(1, len(parts) // 10)
    if len(parts) > 1:
        return Split(parts[:-cut], parts[-cut:])
    ((video, zoom),) = parts
    frames = len(video)
    if frames > 1:
        cut = max(1, frames // 10)
        # Neighbouring frames are nearly the same picture.
        gap = min(max(1, frames // 20), frames - cut - 1)
        return Split([(video[: frames - cut - gap], zoom)], [(video[frames - cut :], zoom)])
    window = ARCHITECTURES[recipe.architecture]().window
    axis = "y" if video.sizes["y"] >= video.sizes["x"] else "x"
    length, gap = video.sizes[axis], int(np.ceil(window / zoom))
    half = (length - gap) // 2
    if enlarged_size(half, zoom) < window:
        raise TrainingError(
            f"One image of {length} px leaves none to validate on; give two images or a video, "
            f"or an image of {3 * gap} px or more."
        )
    halves = [(video.isel({axis: slice(*ends)}), zoom) for ends in ((0, half), (length - half, length))]
    return Split(
        halves[:1],
        halves[1:],
        f"There is one image only: one half of it is trained on, the other validated on, {gap} px apart.",
    )


Material = Segments | xr.DataArray | Sequence[xr.DataArray] | NDArray[np.floating]


def train(
    images_or_videos: Material,
    recipe: Recipe | str | None = None,
    *,
    device: str = "auto",
    checkpoint: str | Path | None = None,
) -> Model:
    """Train a model.

    Parameters
    ----------
    images_or_videos : ndarray (n, window, window), DataArray, sequence of DataArray, or Segments
        Patches scaled to 0…1, of which the last tenth serves for validation; or a video, or several
        images and videos (time, y, x), validated on others than they are trained on.
    recipe : Recipe or str, optional
        How, or the name or file of a recipe; the default recipe otherwise.
    device : str
        "auto", "cpu", "cuda", "cuda:1", "mps".
    checkpoint : path, optional
        Written after each epoch; where it exists, the training goes on from it.

    Returns
    -------
    Model

    Raises
    ------
    TrainingError
        No or too little material, values that are no numbers, divergence, dead latents, or the checkpoint
        of another training.
    """
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe or Recipe()
    place = None if checkpoint is None else Path(checkpoint)
    material = images_or_videos
    if isinstance(material, xr.DataArray):
        material = [material]
    if isinstance(material, Sequence):
        return run(train_images_steps(list(material), recipe, device=device, checkpoint=place))
    if not isinstance(material, Segments):
        patches = np.asarray(material, np.float32)
        material = Segments(patches, patches)
        recipe = replace(recipe, target="input")
    cut = max(1, len(material.seen) // 10)
    if cut == len(material.seen):
        raise TrainingError("One patch leaves none to validate on; give many.")
    parts = [slice(None, -cut), slice(-cut, None)]
    same = material.wanted is material.seen
    seen = [material.seen[part] for part in parts]
    wanted = seen if same else [material.wanted[part] for part in parts]
    training, held_out = (Segments(*pair) for pair in zip(seen, wanted, strict=True))
    return run(train_steps(training, held_out, recipe, device=device, checkpoint=place))
