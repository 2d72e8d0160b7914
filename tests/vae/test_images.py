"""Training on one's own images: sizes brought together, validation by image, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import napari_hrtem_vae as hv
from napari_hrtem_vae.errors import TrainingError, VideoFileError
from napari_hrtem_vae.progress import run
from napari_hrtem_vae.vae.images import open_images, split_images, train_images_steps
from napari_hrtem_vae.vae.pixel_sizes import match_pixel_sizes_steps

from ..conftest import video_of
from .material import QUICK, epochs_of, film, still_of

TINY = replace(QUICK, beta=1e-6, segments=96)


def movie(frames: int) -> xr.DataArray:
    """Fringes of one direction that move: soon learnt."""
    x = np.arange(150)[None].repeat(150, 0)
    waves = [np.cos(2 * np.pi * (x + 3 * number) / 20) for number in range(frames)]
    return video_of(np.random.default_rng(0).poisson(100 + 80 * np.stack(waves)))


def test_own_video_trains_a_model_that_says_where_it_came_from() -> None:
    card = hv.train(movie(12), replace(TINY, segments=160, epochs=2)).card
    assert (card.material, card.pixel_size_nm) == ("own images", 0.014)
    assert card.period_px == pytest.approx(20, abs=0.5)
    assert card.training["recipe"]["target"] == "input"
    assert card.training["segments"] == 160
    assert card.training["share_kept"] > 0.9
    assert card.training["notices"] == []
    assert len(card.training["curves"]) == 2


def test_images_and_simulated_scenes_train_together() -> None:
    steps = train_images_steps([still_of(0), still_of(1)], replace(TINY, segments=64), simulated=True)
    with pytest.raises(TrainingError, match="32 with fringes were found to train on"):
        next(epochs_of(steps))
    steps = train_images_steps([still_of(0), still_of(1)], replace(TINY, segments=160), simulated=True)
    first = next(epochs_of(steps))
    assert first.total == 3 * 160 // 8


def test_images_of_other_pixel_sizes_are_resampled_and_it_is_said() -> None:
    videos = [still_of(0), still_of(1), still_of(2, 14.0, 0.02)]
    steps = train_images_steps(videos, replace(TINY, segments=64))
    first = next(epochs_of(steps))
    assert "is resampled from 0.02 to 0.014 nm a pixel" in first.notice
    matched = run(match_pixel_sizes_steps(videos, TINY))
    assert matched.zooms == (1.0, 1.0, pytest.approx(0.02 / 0.014))
    assert matched.pixel_size_nm == 0.014
    assert matched.period_px == pytest.approx(20, rel=0.03)
    to_recipe = run(match_pixel_sizes_steps(videos, replace(TINY, pixel_size_nm=0.01)))
    assert to_recipe.zooms == pytest.approx((1.4, 1.4, 2.0))


def test_images_without_pixel_size_are_matched_by_their_fringes() -> None:
    videos = [still_of(0), still_of(1, 10.0, None)]
    matched = run(match_pixel_sizes_steps(videos, TINY))
    assert matched.zooms[0] == 1
    assert matched.zooms[1] == pytest.approx(2, rel=0.04)
    assert "its fringes of 10.0 px are brought to 20" in matched.notices[0]


def test_fringes_too_fine_for_the_network_are_enlarged_to_the_papers() -> None:
    matched = run(match_pixel_sizes_steps([still_of(0, 3.0, 0.1)], TINY))
    assert matched.zooms[0] == pytest.approx(20 / 3, rel=0.03)
    assert matched.pixel_size_nm == pytest.approx(0.1 * 3 / 20, rel=0.03)
    assert "do not suit a window of 64 px" in matched.notices[0]
    unknown = run(match_pixel_sizes_steps([still_of(0, 3.0, None)], TINY))
    assert unknown.zooms[0] == pytest.approx(20 / 3, rel=0.03)
    assert unknown.pixel_size_nm is None
    nothing = film(np.random.default_rng(0), (160, 160), 20)
    alone = run(match_pixel_sizes_steps([video_of(nothing[None], None)], TINY))
    assert alone.zooms == (1.0,)
    assert "is unknown; it is taken as it is" in alone.notices[0]


@settings(max_examples=60)
@given(st.integers(2, 400))
def test_last_frames_of_a_video_are_held_out_with_a_gap(frames: int) -> None:
    video = video_of(np.zeros((frames, 4, 4)) + np.arange(frames)[:, None, None], None)
    split = split_images([(video, 1.0)], TINY)
    ((train, _),), ((held_out, _),) = split.train, split.validation
    last, first = int(train[-1, 0, 0]), int(held_out[0, 0, 0])
    assert int(train[0, 0, 0]) == 0
    assert int(held_out[-1, 0, 0]) == frames - 1
    assert first - last >= (2 if frames > 2 else 1)
    assert len(train) >= 0.8 * frames - 2


@settings(max_examples=60)
@given(st.integers(64, 900), st.integers(64, 900), st.sampled_from([0.5, 1.0, 1.7, 3.0]))
def test_halves_of_one_image_lie_a_window_apart(rows: int, columns: int, zoom: float) -> None:
    image = video_of(np.zeros((1, rows, columns), np.uint8), 1.0)
    axis, long = ("y", rows) if rows >= columns else ("x", columns)
    gap = int(np.ceil(64 / zoom))
    if np.floor((long - gap) // 2 * zoom + 1e-6) < 64:
        with pytest.raises(TrainingError, match="two images or a video"):
            split_images([(image, zoom)], TINY)
        return
    split = split_images([(image, zoom)], TINY)
    ((train, _),), ((held_out, _),) = split.train, split.validation
    # The pixel size is 1: coordinates are pixels.
    assert float(held_out[axis][0] - train[axis][-1] - 1) * zoom >= 64
    assert len(train[axis]) == len(held_out[axis])
    assert np.floor(len(train[axis]) * zoom + 1e-6) >= 64
    assert "one half of it is trained on" in split.notice


def test_of_several_images_whole_ones_are_held_out() -> None:
    images = [(still_of(seed), 1.0) for seed in range(21)]
    split = split_images(images, TINY)
    assert split.train == images[:19]
    assert split.validation == images[19:]


def test_image_without_fringes_is_not_what_is_validated_on() -> None:
    rng = np.random.default_rng(0)
    videos = [still_of(0), still_of(1), video_of(film(rng, (160, 160), 50)[None])]
    first = next(epochs_of(train_images_steps(videos, replace(TINY, segments=140))))
    assert first.total == 3 * -(-70 // 8)
    assert "70 segments with fringes were found; 140 were asked for" in first.notice


def test_film_alone_is_refused() -> None:
    rng = np.random.default_rng(0)
    videos = [video_of(film(rng, (160, 160), 50)[None]) for _ in range(2)]
    with pytest.raises(TrainingError, match="No lattice fringes were found in 2"):
        run(train_images_steps(videos, TINY))


def test_threshold_of_nothing_takes_every_segment() -> None:
    rng = np.random.default_rng(0)
    videos = [video_of(film(rng, (160, 160), 50)[None]) for _ in range(2)]
    steps = train_images_steps(videos, replace(TINY, fringe_threshold=0.0, segments=64))
    assert next(epochs_of(steps)).total == 3 * 8


def test_too_few_segments_are_refused_with_their_number() -> None:
    with pytest.raises(
        TrainingError, match=r"40 with fringes were found to train on and 64 .* 64 and 8 are needed"
    ):
        run(train_images_steps([still_of(0), still_of(1)], replace(TINY, segments=40)))


def test_one_small_still_leaves_none_to_validate_on() -> None:
    with pytest.raises(TrainingError, match="two images or a video, or an image of 192 px or more"):
        run(train_images_steps([still_of(0, size=150)], TINY))
    with pytest.raises(TrainingError, match="no images to train on"):
        run(train_images_steps([], TINY))


def test_folder_of_stills_gives_an_image_a_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number, (size, pixel) in enumerate([(100, 0.014), (120, 0.02), (100, 0.014)]):
        tifffile.imwrite(
            tmp_path / f"still_{number}.tif",
            film(rng, (size, size), 20).astype(np.uint16),
            imagej=True,
            resolution=(1 / pixel, 1 / pixel),
            metadata={"unit": "nm"},
        )
    images = open_images([tmp_path])
    assert [image.shape for image in images] == [(1, 100, 100), (1, 120, 120), (1, 100, 100)]
    assert [image.attrs["pixel_size_nm"] for image in images] == pytest.approx([0.014, 0.02, 0.014])
    assert [one.attrs["pixel_size_nm"] for one in open_images([tmp_path], 0.5)] == [0.5] * 3
    with pytest.raises(VideoFileError):
        open_images([tmp_path / "gone.tif"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(VideoFileError, match="holds no frames"):
        open_images([tmp_path / "empty"])


def test_the_same_material_gives_the_same_segments() -> None:
    recipe = replace(TINY, segments=64, epochs=1)
    losses = [next(epochs_of(train_images_steps([movie(6)], recipe))).validation_bce for _ in range(2)]
    assert losses[0] == losses[1]
