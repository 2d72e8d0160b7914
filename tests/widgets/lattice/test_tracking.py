"""Track: layers that lie on the video, of the frames and grains asked for."""

from __future__ import annotations

import re

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from napari_hrtem_vae.widgets.lattice_maps import (
    TimeAxis,
    cell_placement,
    change_labels,
    pixel_placement,
)
from napari_hrtem_vae.widgets.layers import Placement, note_of, placement_of_layer

from ...lattice.scenes import paint
from .scene import FRAMES, PAIR, SHAPE, layer_of, settle, track


def test_track_gives_angles_masks_and_change_that_lie_on_the_video(viewer, tracked, frames):
    result = tracked.store.state.result
    np.testing.assert_allclose(result["misfit_deg"], np.linspace(12, 8, FRAMES), atol=0.3)
    video, masks, change = viewer.layers[0], layer_of(viewer, "presence"), layer_of(viewer, "change")
    assert tracked.run.message.text().startswith("Done")
    assert tuple(masks.axis_labels) == tuple(video.axis_labels)
    assert masks.units == video.units
    assert change.units == video.units[1:]
    for layer, grain in ((masks, 0), (masks, 1)):
        cells = np.argwhere(np.asarray(layer.data)[0] == grain + 1).mean(0)
        world = np.array(layer.data_to_world((0, *cells)))
        seen = np.array(video.world_to_data(world))[1:]
        # centre of mass of the true disc; noise of the edge moves it by far less than a period
        np.testing.assert_allclose(seen, PAIR[grain].centre, atol=2.5)
    kinds = np.asarray(change.data)
    assert (kinds == 3).sum() > (kinds == 1).sum() > 5 * (kinds == 2).sum()
    # the layers that were there are as they were
    np.testing.assert_array_equal(video.data, frames)
    assert viewer.layers.selection.active is video


def test_presence_cells_lie_on_the_pixels_that_they_stand_for(viewer, tracked):
    """Within a hundredth of a pixel, on a layer that is shifted."""
    result, video = tracked.store.state.result, viewer.layers[0]
    masks = layer_of(viewer, "presence")
    pixels_y = result["y"].values / 0.03
    for cell in (0, 17, len(pixels_y) - 1):
        world = np.array(masks.data_to_world((0, cell, 0)))
        assert video.world_to_data(world)[1] == pytest.approx(pixels_y[cell], abs=0.01)


@pytest.mark.parametrize("kind", ["orientation", "strain"])
def test_maps_of_the_frame_are_shown_follow_it_and_go(viewer, tracked, qtbot, kind):
    tracked.maps.boxes[kind].click()
    settle(qtbot, tracked)
    layer = layer_of(viewer, kind)
    assert layer.units == viewer.layers[0].units[1:]
    viewer.dims.set_current_step(0, 0)
    settle(qtbot, tracked)
    first = np.array(layer.data)
    viewer.dims.set_current_step(0, FRAMES - 1)
    settle(qtbot, tracked)
    assert layer in viewer.layers
    assert not np.array_equal(first, layer.data, equal_nan=True)
    tracked.maps.boxes[kind].click()
    assert layer not in viewer.layers


def test_the_orientation_map_tells_the_angles_of_both_crystals(viewer, tracked, qtbot):
    viewer.dims.set_current_step(0, 0)
    tracked.maps.boxes["orientation"].click()
    settle(qtbot, tracked)
    layer = layer_of(viewer, "orientation")
    assert layer.contrast_limits == [0, 90]
    for disc in PAIR:
        world = viewer.layers[0].data_to_world((0, *disc.centre))
        place = tuple(np.round(layer.world_to_data(world[1:])).astype(int))
        assert layer.data[place] == pytest.approx(disc.angle_deg, abs=1)
    tracked.maps.sense_box.setChecked(True)
    settle(qtbot, tracked)
    assert layer.data[place] == pytest.approx(90 - 15, abs=1)


def test_change_is_told_between_any_two_frames_and_of_one_grain(viewer, tracked, qtbot):
    before = np.asarray(layer_of(viewer, "change").data)
    tracked.maps.grain_box.setCurrentIndex(1)
    settle(qtbot, tracked)
    one = np.asarray(layer_of(viewer, "change").data)
    assert not one[:, one.shape[1] * 3 // 4 :].any()
    assert before[:, one.shape[1] * 3 // 4 :].any()
    tracked.maps.last_box.setValue(0)
    settle(qtbot, tracked)
    assert set(np.unique(layer_of(viewer, "change").data)) == {0, 3}
    assert "0→0" in layer_of(viewer, "change").name
    # a disc of 46 px of radius; shrinkage and growth are none from a frame to itself
    words = re.fullmatch(r"shrinkage 0, growth 0, unchanged (\S+) nm²", tracked.maps.areas.text())
    assert float(words[1]) == pytest.approx(np.pi * (46 * 0.03) ** 2, rel=0.05)


def test_a_map_that_the_user_deletes_stays_away_until_it_is_ticked(viewer, tracked, qtbot):
    viewer.layers.remove(layer_of(viewer, "change"))
    assert not tracked.maps.boxes["change"].isChecked()
    tracked.maps.first_box.setValue(1)
    settle(qtbot, tracked)
    assert layer_of(viewer, "change") is None
    tracked.maps.boxes["change"].click()
    settle(qtbot, tracked)
    assert layer_of(viewer, "change") is not None


def test_a_second_run_gets_layers_of_its_own(viewer, tracked, qtbot):
    first = layer_of(viewer, "presence")
    data = np.array(first.data)
    track(qtbot, tracked)
    assert len([layer for layer in viewer.layers if note_of(layer).get("map") == "presence"]) == 2
    np.testing.assert_array_equal(first.data, data)


def test_an_upright_view_turns_the_fringes_along_x(viewer, tracked, qtbot):
    viewer.dims.set_current_step(0, 0)
    tracked.maps.grain_box.setCurrentIndex(2)
    settle(qtbot, tracked)
    tracked.maps.upright_button.click()
    settle(qtbot, tracked)
    upright = [layer for layer in viewer.layers if note_of(layer).get("map") == "upright"]
    assert len(upright) == 2  # the frame, and the change that is shown
    (image,) = [layer for layer in upright if layer.data.dtype == np.float32]
    angle = float(tracked.store.state.result["angle_deg"][0, 1])
    step = np.array(image.data_to_world((0, 1))) - image.data_to_world((0, 0))
    # x of the image, at 0°, is turned back by the angle of the grain
    assert np.rad2deg(np.arctan2(*step)) == pytest.approx(-angle, abs=1e-6)


@pytest.mark.parametrize(("kind", "ndim"), [("wiener", 3), ("background", 3), ("grain", 2)])
def test_filtered_pictures_are_new_layers_on_the_video(viewer, tracked, qtbot, kind, ndim):
    before = list(viewer.layers)
    tracked.maps.filter_box.setCurrentIndex(tracked.maps.filter_box.findData(kind))
    tracked.maps.filter_button.click()
    settle(qtbot, tracked)
    (new,) = [layer for layer in viewer.layers if layer not in before]
    assert new.ndim == ndim
    np.testing.assert_allclose(new.extent.world[:, -2:], viewer.layers[0].extent.world[:, -2:], atol=1e-9)
    clean = paint(list(PAIR), SHAPE)
    if ndim == 3:
        raw, image = viewer.layers[0].data[0], np.asarray(new.data[0])
        assert stats.pearsonr(image.ravel(), clean.ravel())[0] > stats.pearsonr(raw.ravel(), clean.ravel())[0]


@pytest.mark.parametrize("turn", [0.0, 0.4])
def test_cells_and_pixels_are_turned_into_each_other(turn):
    c, s = np.cos(turn), np.sin(turn)
    pixels = Placement((3.0, -2.0), (0.03 * c, 0.03 * s), (-0.03 * s, 0.03 * c))
    result = xr.Dataset(
        coords={"y": 0.03 * (1.5 + 8 * np.arange(6)), "x": 0.03 * (1.5 + 8 * np.arange(9))},
        attrs={"cell_px": 8, "pixel_size_nm": 0.03},
    )
    cells = cell_placement(result, pixels)
    np.testing.assert_allclose(cells.sites_to_world([(2, 3)]), pixels.sites_to_world([(17.5, 25.5)]))
    again = pixel_placement(result, cells)
    np.testing.assert_allclose(again.sites_to_world([(40, 7)]), pixels.sites_to_world([(40, 7)]))


def test_masks_lie_on_a_turned_layer_with_another_axis(frames):
    from napari.layers import Image, Labels

    layer = Image(
        frames[:, None],
        rotate=0.0,
        affine=np.array(
            [
                [2.0, 0, 0, 0, 7],
                [0, 1, 0, 0, 0],
                [0, 0, 0.8, -0.6, 3],
                [0, 0, 0.6, 0.8, 4],
                [0, 0, 0, 0, 1],
            ]
        ),
        axis_labels=("t", "c", "y", "x"),
    )
    from napari_hrtem_vae.widgets.layers import placement_on

    time, pixels = TimeAxis.of_layer(layer), placement_on(layer, [0, 1], [0, 1])
    labels = time.shaped(np.zeros(frames.shape, np.uint8))
    masks = Labels(labels, **time.options(pixels))
    assert labels.shape == frames[:, None].shape
    for point in ((0, 0, 0, 0), (3, 0, 20, 50)):
        np.testing.assert_allclose(masks.data_to_world(point), layer.data_to_world(point))
    assert placement_of_layer(masks).along_y == pytest.approx(pixels.along_y)


def test_where_one_grain_takes_a_place_of_another_growth_is_shown():
    change = xr.DataArray(np.array([[[1, 3, 0, 1]], [[2, 0, 0, 0]]], np.uint8), dims=("grain", "y", "x"))
    np.testing.assert_array_equal(change_labels(change, -1), [[2, 3, 0, 1]])
    np.testing.assert_array_equal(change_labels(change, 0), [[1, 3, 0, 1]])
