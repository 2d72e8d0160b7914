"""Training on a user's own images and videos."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import TrainingError
from ..progress import Progress, Steps, run
from ..video.geometry import SAME_PIXEL_SIZE, check_video
from ..video.scaling import grey_range, scale_to_range, scale_windows, smooth
from .architecture import ARCHITECTURES
from .card import ModelCard
from .model import Model
from .recipe import Recipe, load_recipe
from .training import Float, Segments, train_steps

_SAMPLE_FRAMES = 8
_PER_FRAME = 64


def video_segments_steps(video: xr.DataArray, recipe: Recipe, count: int, seed: int) -> Steps[Float]:
    """Windows at random places of random frames, scaled as `recipe` has it; (count, window, window).

    Raises
    ------
    TrainingError
        Frames smaller than a window, or not one usable frame.
    """
    check_video(video)
    size = ARCHITECTURES[recipe.architecture]().window
    source = str(video.attrs.get("source", "the video"))
    if min(video.shape[1:]) < size:
        raise TrainingError(
            f"Frames of {source} are smaller than the window of {size} px; enlarge them first."
        )
    rng = np.random.default_rng(seed)
    picks = np.unique(np.linspace(0, len(video) - 1, _SAMPLE_FRAMES).round().astype(int))
    sample = np.stack([smooth(video[pick].values, recipe.smoothing_px)[::2, ::2] for pick in picks])
    low, high = grey_range(sample)
    segments: list[Float] = []
    visits = -(-count // _PER_FRAME)
    for visit in range(visits):
        yield Progress(visit, visits, f"Cutting segments of {source}")
        frame = smooth(video[int(rng.integers(len(video)))].values, recipe.smoothing_px)
        if not np.isfinite(frame).all() or frame.min() == frame.max():
            continue
        for y, x in rng.integers(0, np.array(frame.shape) - size + 1, (_PER_FRAME, 2)):
            segments.append(frame[y : y + size, x : x + size])
    if not segments:
        raise TrainingError(
            f"{source} has no usable frame: all are constant or hold NaN; choose other images."
        )
    windows = np.stack(segments[:count])
    return scale_windows(windows) if recipe.scaling == "window" else scale_to_range(windows, low, high)


def train_images_steps(videos: list[xr.DataArray], recipe: Recipe) -> Steps[Model]:
    """Train on images and videos; validation by image, or by the last frames of a single video.

    Their own noise is the target: `recipe.target` is taken as "input".

    Raises
    ------
    TrainingError
        Nothing to validate on, or see `train_steps`.
    """
    sizes = {video.attrs.get("pixel_size_nm") for video in videos}
    known = [size for size in sizes if size]
    if known and (len(known) < len(sizes) or max(known) > (1 + SAME_PIXEL_SIZE) * min(known)):
        raise TrainingError(
            f"The images have pixel sizes of {', '.join(f'{size} nm' for size in sizes)}; "
            "train on images of one pixel size."
        )
    recipe = replace(recipe, target="input")
    if len(videos) == 1 and len(videos[0]) > 1:
        cut = max(1, len(videos[0]) // 10)
        training, held_out = [videos[0][:-cut]], [videos[0][-cut:]]
    elif len(videos) > 1:
        cut = max(1, len(videos) // 10)
        training, held_out = videos[:-cut], videos[-cut:]
    else:
        raise TrainingError("One image leaves none to validate on; give two images or a video.")
    parts: list[Float] = []
    for number, video in enumerate(training):
        share = -(-recipe.segments // len(training))
        parts.append((yield from video_segments_steps(video, recipe, share, recipe.seed + number)))
    checks: list[Float] = []
    for number, video in enumerate(held_out):
        share = max(64, recipe.segments // 10 // len(held_out))
        checks.append(
            (yield from video_segments_steps(video, recipe, share, recipe.seed + 1_000_003 + number))
        )
    train, validation = np.concatenate(parts), np.concatenate(checks)
    card = ModelCard(
        name=recipe.name,
        architecture=ARCHITECTURES[recipe.architecture](),
        material="own images",
        pixel_size_nm=videos[0].attrs.get("pixel_size_nm"),
        training={"data": [str(video.attrs.get("source", "array")) for video in videos]},
    )
    return (yield from train_steps(Segments(train, train), Segments(validation, validation), recipe, card))


Material = Segments | xr.DataArray | list[xr.DataArray] | NDArray[np.floating]


def train(patches_or_videos: Material, recipe: Recipe | str | None = None) -> Model:
    """Train a model.

    Parameters
    ----------
    patches_or_videos : ndarray (n, window, window), DataArray, list of DataArray, or Segments
        Patches scaled to 0…1, of which the last tenth serves for validation; or a video, or several
        images and videos (time, y, x), validated on others than they are trained on.
    recipe : Recipe or str, optional
        How, or the name or file of a recipe; the default recipe otherwise.

    Returns
    -------
    Model

    Raises
    ------
    TrainingError
        Too little material, values that are no numbers, divergence, or dead latents.
    """
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe or Recipe()
    if isinstance(patches_or_videos, xr.DataArray):
        return run(train_images_steps([patches_or_videos], recipe))
    if isinstance(patches_or_videos, list):
        return run(train_images_steps(patches_or_videos, recipe))
    segments = patches_or_videos
    if not isinstance(segments, Segments):
        patches = np.asarray(segments, np.float32)
        segments = Segments(patches, patches)
        recipe = replace(recipe, target="input")
    cut = max(1, len(segments.seen) // 10)
    if cut == len(segments.seen):
        raise TrainingError("One patch leaves none to validate on; give many.")
    held_out = Segments(segments.seen[-cut:], segments.wanted[-cut:])
    return run(train_steps(Segments(segments.seen[:-cut], segments.wanted[:-cut]), held_out, recipe))
