"""Traversals of latent space, the order and the range of latents, and the path of a site."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from napari_hrtem_vae.cli import app
from napari_hrtem_vae.errors import ModelPartError, ParameterError, ResultError
from napari_hrtem_vae.vae.model import Model, save_model
from napari_hrtem_vae.vae.network import Network
from napari_hrtem_vae.vae.traversal import (
    grey_limits,
    latent_limits,
    latent_spreads,
    principal_path,
    slow_variation,
    traverse,
    traverse_steps,
)
from napari_hrtem_vae.vae.traversal_figure import column_name, save_traversal, traversal_figure

from ..conftest import random_model


@pytest.fixture(scope="module")
def model() -> Model:
    """Random weights, with a record of how far each latent spreads."""
    return random_model(training={"variances": np.linspace(0.1, 2, 64).tolist()})


def without_record(model: Model) -> Model:
    return Model(replace(model.card, training={}), model.network)


def without_decoder(model: Model) -> Model:
    architecture = replace(model.card.architecture, decoder=None)
    return Model(replace(model.card, architecture=architecture), Network(architecture))


def test_a_picture_is_what_the_decoder_draws_with_one_latent_moved(model) -> None:
    start = np.random.default_rng(0).normal(size=64).astype(np.float32)
    found = traverse(model, start=start, latents=[5, 40], columns=3)
    spread = np.sqrt(np.linspace(0.1, 2, 64)[40])
    moved = start.copy()
    moved[40] = 3 * spread
    np.testing.assert_allclose(found.pictures[1, 2], model.decode(moved[None])[0], atol=1e-6)
    np.testing.assert_allclose(found.values[1], [-3 * spread, 0, 3 * spread], rtol=1e-5)
    np.testing.assert_allclose(found.spreads, [-3, 0, 3])
    assert found.latents == (5, 40)


def test_all_latents_are_moved_unless_some_are_chosen_those_of_most_spread_first(model) -> None:
    found = traverse(model, columns=2)
    assert found.latents == tuple(range(63, -1, -1))
    assert found.pictures.shape == (64, 2, 64, 64)
    np.testing.assert_array_equal(found.start, np.zeros(64))


def test_a_traversal_can_be_stopped_between_batches(model) -> None:
    steps = traverse_steps(model, columns=7)
    progress = [next(steps) for _ in range(3)]
    assert [one.done for one in progress] == [0, 64, 128]
    assert {one.total for one in progress} == {64 * 7}
    steps.close()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"latents": [64]}, "latents"),
        ({"latents": [-1]}, "latents"),
        ({"latents": []}, "latents"),
        ({"columns": 1}, "columns"),
        ({"columns": 102}, "columns"),
        ({"start": np.zeros(63)}, "start"),
        ({"start": np.full(64, np.nan)}, "start"),
        ({"spreads": np.full(64, np.inf)}, "spreads"),
        ({"latents": [0] * 10_000, "columns": 101}, "too large"),
    ],
)
def test_what_is_out_of_range_is_told(model, options, says) -> None:
    with pytest.raises(ParameterError, match=says):
        traverse(model, **options)


def test_a_model_without_a_decoder_says_so(model) -> None:
    with pytest.raises(ModelPartError, match="no decoder"):
        traverse(without_decoder(model))


def test_the_mosaic_has_every_picture_in_its_place(model) -> None:
    found = traverse(model, latents=[1, 2], columns=3)
    mosaic = found.mosaic(gap=4)
    assert mosaic.shape == (2 * 64 + 4, 3 * 64 + 8)
    np.testing.assert_array_equal(mosaic[68:, 136:], found.pictures[1, 2])
    assert (mosaic[64:68] == 1).all()


def test_spreads_are_those_of_the_training_set_else_of_the_series_else_of_the_prior(model) -> None:
    np.testing.assert_allclose(latent_spreads(model.card) ** 2, np.linspace(0.1, 2, 64), rtol=1e-5)
    bare = without_record(model).card
    np.testing.assert_array_equal(latent_spreads(bare), np.ones(64))
    series = np.full((5, 64), 2.0)
    series[2] = np.nan
    series[:, 7] = 0
    expected = np.full(64, 2.0)
    expected[7] = 1  # never a range of nothing
    np.testing.assert_allclose(latent_spreads(bare, series), expected)
    np.testing.assert_allclose(latent_spreads(model.card, series), latent_spreads(model.card))


def test_limits_reach_three_spreads_and_whatever_was_seen() -> None:
    spreads = np.array([1.0, 2.0], np.float32)
    np.testing.assert_array_equal(latent_limits(spreads), [3, 6])
    seen = np.array([[-5.0, 1.0], [np.nan, np.nan]])
    np.testing.assert_array_equal(latent_limits(spreads, seen), [5, 6])


def test_slow_change_outweighs_stronger_noise() -> None:
    rng = np.random.default_rng(3)
    time = np.linspace(0, 1, 200)
    series = rng.normal(0, 1, (200, 4))
    series[:, 1] += 2 * time
    # there and back again: no rank correlation with time
    series[:, 2] = rng.normal(0, 0.5, 200) + np.sin(2 * np.pi * time)
    series[:, 3] *= 1.5
    series[20] = np.nan
    variation = slow_variation(series)
    assert set(np.argsort(-variation)[:2]) == {1, 2}


@pytest.mark.parametrize("frames", [0, 1])
def test_fewer_than_two_frames_do_not_vary(frames) -> None:
    np.testing.assert_array_equal(slow_variation(np.ones((frames, 3))), np.zeros(3))


def test_two_frames_vary_by_their_difference() -> None:
    np.testing.assert_allclose(slow_variation(np.array([[0.0, 1.0], [2.0, 1.0]])), [1, 0])


@given(st.integers(0, 2**31), st.floats(0.1, 10), st.floats(0, 0.09))
def test_a_path_in_a_plane_is_found_whatever_its_direction(seed, length, width) -> None:
    rng = np.random.default_rng(seed)
    along, across = np.linalg.qr(rng.normal(size=(6, 2)))[0].T
    time = np.linspace(-1, 1, 31)
    plane = length * np.stack([time, width * (time**2 - np.mean(time**2))], axis=1)
    series = plane @ np.stack([along, across]) + rng.normal(size=6)
    found = principal_path(series)
    np.testing.assert_allclose(np.abs(found.points), np.abs(plane), atol=1e-9 * length)
    assert found.points[-1, 0] > 0
    assert sum(found.shares) == pytest.approx(1)


def test_frames_without_values_have_no_place_in_the_plane() -> None:
    series = np.random.default_rng(0).normal(size=(9, 5))
    whole = principal_path(np.delete(series, 4, axis=0))
    series[4, 2] = np.nan
    found = principal_path(series)
    assert np.isnan(found.points[4]).all()
    np.testing.assert_allclose(np.delete(found.points, 4, axis=0), whole.points)


@pytest.mark.parametrize(
    "series", [np.full((3, 4), np.nan), np.ones((1, 4)), np.ones((5, 4)), np.zeros((0, 4)), np.ones((5, 1))]
)
def test_what_does_not_move_has_no_shares(series) -> None:
    found = principal_path(series)
    assert found.points.shape == (len(series), 2)
    assert found.shares == (0.0, 0.0)
    assert not np.nan_to_num(found.points).any()


def test_black_and_white_are_robust_extremes_of_all_pictures() -> None:
    ramp = np.linspace(0.2, 0.6, 10_001, dtype=np.float32)
    hot = np.append(ramp[:5000], np.float32(9))
    low, high = grey_limits([hot, np.append(ramp[5000:], np.float32(np.nan))])
    assert (low, high) == (pytest.approx(0.202, abs=1e-3), pytest.approx(0.598, abs=1e-3))


@pytest.mark.parametrize("pictures", [[], [np.full((2, 2), np.nan)], [np.full((2, 2), 0.3)]])
def test_pictures_of_nothing_have_the_whole_range(pictures) -> None:
    assert grey_limits(pictures) == (0.0, 1.0)


def test_columns_are_named_by_their_sign() -> None:
    assert [column_name(value) for value in (-3.0, -1e-9, 0.0, 1.5)] == ["−3", "0", "0", "+1.5"]


def test_strips_are_written_as_picture_vector_and_grey_values(model, tmp_path) -> None:
    found = traverse(model, latents=[3, 9], columns=5)
    png, svg, tif = (tmp_path / f"strip{suffix}" for suffix in (".png", ".svg", ".tif"))
    for path in (png, svg, tif):
        save_traversal(found, path, names=["rotation", ""], pixel_size_nm=0.014)
    with Image.open(png) as picture:
        assert picture.width > picture.height > 200
    text = svg.read_text()
    assert "z3" in text
    assert "rotation" in text
    assert "+1.5" in text
    np.testing.assert_array_equal(tifffile.imread(tif), found.mosaic())
    with tifffile.TiffFile(tif) as file:
        pixels, nanometres = file.pages[0].tags["XResolution"].value
    assert pixels / nanometres == pytest.approx(1 / 0.014)
    assert sorted(tmp_path.iterdir()) == sorted([png, svg, tif])


def test_every_picture_of_the_figure_lies_beside_its_name(model) -> None:
    figure = traversal_figure(traverse(model, latents=[3, 9, 11], columns=5))
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["z3", "z9", "z11"]
    np.testing.assert_allclose(axes.get_yticks(), [31.5, 97.5, 163.5])
    figure.draw_without_rendering()
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label):
        box = label.get_window_extent()
        assert box.x0 >= 0
        assert box.y1 <= figure.bbox.y1


def test_a_strip_goes_nowhere_it_cannot(model, tmp_path) -> None:
    found = traverse(model, latents=[3], columns=3)
    with pytest.raises(ParameterError, match=r"\.svg"):
        save_traversal(found, tmp_path / "strip.bmp")
    with pytest.raises(ResultError, match="missing"):
        save_traversal(found, tmp_path / "missing" / "strip.png")


def test_the_command_line_draws_all_latents_of_a_model(model, tmp_path, capsys) -> None:
    path = save_model(model, tmp_path / "own.safetensors")
    picture = tmp_path / "own.tif"

    def type_in(*words: object) -> None:
        app(args=["models", *map(str, words), "--json"], standalone_mode=False)

    type_in(path, "--traversal", picture)
    assert str(picture) in capsys.readouterr().out
    assert tifffile.imread(picture).shape == (64 * 66 - 2, 7 * 66 - 2)
    bare = save_model(without_decoder(model), tmp_path / "bare.safetensors")
    with pytest.raises(ModelPartError, match="no decoder"):
        type_in(bare, "--traversal", picture)
    with pytest.raises(ParameterError, match="name it"):
        type_in("--traversal", picture)
