"""The widget Lattice over a viewer without a window, with the real work in its threads."""

from __future__ import annotations

import re

import numpy as np
import pytest
import xarray as xr
from napari.components import ViewerModel
from qtpy.QtCore import QPoint, QPointF, Qt
from scipy import stats

from napari_hrtem_vae.errors import ResultError
from napari_hrtem_vae.io.results import open_result
from napari_hrtem_vae.lattice.change import lattice_area
from napari_hrtem_vae.widgets.lattice import LatticeWidget
from napari_hrtem_vae.widgets.lattice_maps import (
    TimeAxis,
    cell_placement,
    change_labels,
    pixel_placement,
)
from napari_hrtem_vae.widgets.lattice_traces import correlation_note, rank_correlation
from napari_hrtem_vae.widgets.layers import Placement, note_of, placement_of_layer
from napari_hrtem_vae.widgets.results_reader import read_result
from napari_hrtem_vae.widgets.results_writer import write_results
from napari_hrtem_vae.widgets.traces import Trace

from ..lattice.scenes import Disc, film, paint

NM = {"scale": (0.5, 0.03, 0.03), "units": ("s", "nm", "nm"), "axis_labels": ("time", "y", "x")}
FRAMES = 5
SHAPE = (112, 256)
PAIR = (Disc((56, 78), 46, 3.0), Disc((56, 176), 44, 15.0))
PLACE = {"translate": (0.0, 1.5, -2.0)}


def turning(frames=FRAMES, noise=True, seed=0):
    """Two crystals; the second turns from 15° to 11° and loses its outer rim: (frames, *SHAPE)."""
    rng = np.random.default_rng(seed)
    made = []
    for share in np.linspace(0, 1, frames):
        second = Disc(PAIR[1].centre, 44 - 8 * share, 15.0 - 4 * share)
        image = paint([PAIR[0], second], SHAPE) + film(SHAPE, seed=1, strength=0.01)
        made.append(rng.poisson(20 * image) if noise else 20 * image)
    return np.stack(made).astype(np.float32)


@pytest.fixture(scope="module")
def frames():
    return turning()


@pytest.fixture
def make_widget(qtbot):
    made = []

    def make(viewer):
        widget = LatticeWidget(viewer)
        made.append(widget)
        return widget

    yield make
    for widget in made:
        work = widget.run.work
        widget.shut_down()
        if work is not None:
            work.join(20)
        widget.deleteLater()


def idle(widget):
    return (
        widget.run.work is None
        and not widget.saver.busy
        and not widget.layers.busy
        and not widget.spectrum.busy
        and not widget.maps.busy
        and (widget.feed is None or not widget.feed.busy)
    )


def settle(qtbot, widget):
    qtbot.waitUntil(lambda: idle(widget), timeout=60_000)


def track(qtbot, widget):
    qtbot.mouseClick(widget.run.button, Qt.MouseButton.LeftButton)
    settle(qtbot, widget)


def layer_of(viewer, key):
    found = [layer for layer in viewer.layers if note_of(layer).get("map") == key]
    return found[0] if len(found) == 1 else None


@pytest.fixture
def tracked(viewer, make_widget, frames, qtbot):
    viewer.add_image(frames, name="film", **(NM | PLACE))
    widget = make_widget(viewer)
    track(qtbot, widget)
    return widget


# Spectrum


def spot_on(widget, grain, order=0):
    return next(
        mark
        for mark in widget.spectrum.view.marks
        if (mark.grain, mark.order, mark.sign) == (grain, order, 1)
    )


def test_the_spectrum_shows_both_grains_before_anything_is_tracked(viewer, make_widget, frames, qtbot):
    viewer.add_image(frames, **NM)
    viewer.dims.set_current_step(0, 0)
    widget = make_widget(viewer)
    settle(qtbot, widget)
    angles = sorted(np.rad2deg(np.arctan2(*spot_on(widget, grain).k)) for grain in (0, 1))
    np.testing.assert_allclose(angles, [3, 15], atol=0.3)
    spacings = [float(words) for words in re.findall(r"spacing (\S+) nm", widget.spectrum.note.text())]
    np.testing.assert_allclose(spacings, 8 * 0.03, rtol=0.01)
    assert viewer.layers[0].metadata == {}


def test_the_spectrum_follows_the_frame_on_the_screen(viewer, make_widget, frames, qtbot):
    viewer.add_image(frames, **NM)
    widget = make_widget(viewer)
    for frame, expected in ((0, 15), (FRAMES - 1, 11)):
        viewer.dims.set_current_step(0, frame)
        settle(qtbot, widget)
        assert np.rad2deg(np.arctan2(*spot_on(widget, 1).k)) == pytest.approx(expected, abs=0.4)


def test_the_spectrum_of_a_region_shows_the_one_grain_in_it(viewer, make_widget, frames, qtbot):
    viewer.add_image(frames, **(NM | PLACE))
    viewer.dims.set_current_step(0, 0)
    widget = make_widget(viewer)
    widget.region.draw()
    widget.region.layer.add_rectangles([[8, 30], [8, 125], [104, 125], [104, 30]])
    qtbot.waitUntil(lambda: len(widget.store.state.regions) == 1)
    widget.spectrum.source_box.setCurrentIndex(1)
    settle(qtbot, widget)
    assert len(widget.spectrum.look.bases) == 1
    assert np.rad2deg(np.arctan2(*spot_on(widget, 0).k)) == pytest.approx(3, abs=0.5)
    viewer.layers.remove(widget.region.layer)
    qtbot.waitUntil(lambda: widget.store.state.source is None)
    settle(qtbot, widget)
    assert len(widget.spectrum.look.bases) == 2


def press(qtbot, widget, k, button=Qt.MouseButton.LeftButton, to=None):
    """Click in the spectrum at k, or drag from there to `to`."""
    view = widget.spectrum.view
    start = view.place_of(k).toPoint()
    if to is None:
        qtbot.mouseClick(view, button, pos=start)
        return
    qtbot.mousePress(view, button, pos=start)
    qtbot.mouseMove(view, view.place_of(to).toPoint())
    qtbot.mouseRelease(view, button, pos=view.place_of(to).toPoint())


def k_of(angle_deg, period_px=8.0):
    angle = np.deg2rad(angle_deg)
    return float(np.sin(angle) / period_px), float(np.cos(angle) / period_px)


@pytest.fixture
def by_hand(viewer, make_widget, frames, qtbot):
    viewer.add_image(frames, **NM)
    viewer.dims.set_current_step(0, 0)
    widget = make_widget(viewer)
    widget.spectrum.view.resize(300, 230)
    settle(qtbot, widget)
    return widget


def test_spots_are_removed_added_and_dragged_by_hand(by_hand, qtbot):
    press(qtbot, by_hand, spot_on(by_hand, 0).k, Qt.MouseButton.RightButton)
    settle(qtbot, by_hand)
    assert len(by_hand.store.state.spots) == 1
    # beside the spot that was found: it is the one that is meant
    press(qtbot, by_hand, k_of(4.0))
    settle(qtbot, by_hand)
    found = np.array(by_hand.store.state.spots[1])
    assert min(np.hypot(*(found - k_of(angle))) for angle in (3, 93, -87)) < 0.002
    # to a place where there is no spot
    press(qtbot, by_hand, spot_on(by_hand, 1).k, to=k_of(40, 9.0))
    settle(qtbot, by_hand)
    np.testing.assert_allclose(by_hand.store.state.spots[1], k_of(40, 9.0), atol=0.003)
    by_hand.spectrum.again_button.click()
    settle(qtbot, by_hand)
    assert by_hand.store.state.spots is None
    assert len(by_hand.spectrum.look.bases) == 2


def test_the_mate_of_a_spot_is_dragged_as_the_spot_is(by_hand, qtbot):
    mate = next(mark for mark in by_hand.spectrum.view.marks if (mark.grain, mark.sign) == (0, -1))
    away = k_of(70, 9.5)
    press(qtbot, by_hand, mate.k, to=(-away[0], -away[1]))
    np.testing.assert_allclose(by_hand.store.state.spots[0], away, atol=0.003)


def test_delete_removes_the_spot_under_the_pointer(by_hand, qtbot):
    view = by_hand.spectrum.view
    view._pointer = QPointF(view.place_of(spot_on(by_hand, 1).k))
    qtbot.keyClick(view, Qt.Key.Key_Delete)
    assert len(by_hand.store.state.spots) == 1


def test_grains_put_by_hand_are_the_ones_that_are_followed(by_hand, qtbot):
    press(qtbot, by_hand, spot_on(by_hand, 0).k, Qt.MouseButton.RightButton)
    track(qtbot, by_hand)
    result = by_hand.store.state.result
    assert result.sizes["grain"] == 1
    np.testing.assert_allclose(result["angle_deg"][:, 0], np.linspace(15, 11, FRAMES), atol=0.3)


def test_the_wheel_zooms_and_angles_stay_what_they_are(by_hand, qtbot):
    view, k = by_hand.spectrum.view, (0.05, 0.1)
    before = view.place_of(k)
    view._reach /= 2
    np.testing.assert_allclose(view.k_at(view.place_of(k)), k, atol=1e-9)
    middle = QPointF(view.width() / 2, view.height() / 2)
    for after, was in ((view.place_of(k).x(), before.x()), (view.place_of(k).y(), before.y())):
        center = middle.x() if was == before.x() else middle.y()
        assert after - center == pytest.approx(2 * (was - center))


# Tracking


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


# Plot


def test_the_plot_shows_quantities_with_their_errors_and_follows_time_both_ways(viewer, tracked, qtbot):
    result, plot = tracked.store.state.result, tracked.plot
    settle(qtbot, tracked)
    (misfit,) = plot._content.left
    np.testing.assert_array_equal(misfit.sigma, result["misfit_sigma_deg"])
    box = tracked.plots.left_box
    for key, name in (("angle", "angle_deg"), ("spacing", "spacing_nm"), ("area", "area_nm2")):
        box.setCurrentIndex(box.findData(key))
        settle(qtbot, tracked)
        shown = np.stack([trace.values for trace in plot._content.left], axis=1)
        np.testing.assert_array_equal(shown, result[name])
    viewer.dims.set_current_step(0, 3)
    assert plot._time == result["time"][3]
    plot.time_clicked.emit(float(result["time"][1]))
    assert viewer.dims.current_step[0] == 1


def test_counter_clockwise_turns_angles_and_leaves_the_misfit(tracked, qtbot):
    result, box = tracked.store.state.result, tracked.plots.left_box
    tracked.plot  # noqa: B018  made when it is first asked for
    box.setCurrentIndex(box.findData("angle"))
    tracked.plots.right_box.setCurrentIndex(tracked.plots.right_box.findData("misfit"))
    tracked.maps.sense_box.setChecked(True)
    settle(qtbot, tracked)
    np.testing.assert_array_equal(tracked.plot._content.left[1].values, -result["angle_deg"][:, 1])
    np.testing.assert_array_equal(tracked.plot._content.right[0].values, result["misfit_deg"])
    assert "counter-clockwise" in tracked.plot._content.left_label


def test_the_area_in_a_region_is_that_of_the_cells_inside_it(viewer, tracked, qtbot):
    tracked.region.draw()
    tracked.region.layer.add_rectangles([[2, 128], [2, 250], [110, 250], [110, 128]])
    qtbot.waitUntil(lambda: len(tracked.store.state.regions) == 1)
    tracked.plot  # noqa: B018
    tracked.plots.left_box.setCurrentIndex(tracked.plots.left_box.findData("region"))
    settle(qtbot, tracked)
    result = tracked.store.state.result
    corners = np.array([[2, 128], [2, 250], [110, 250], [110, 128]]) * 0.03
    expected = lattice_area(result, corners)["area_nm2"].sum("grain")
    (trace,) = tracked.plot._content.left
    np.testing.assert_allclose(trace.values, expected, rtol=0.02)
    assert trace.unit == "nm²"


def test_rank_correlation_is_scipys_over_the_frames_that_both_have():
    rng = np.random.default_rng(5)
    time, values = np.arange(20.0), rng.normal(size=20)
    other = values**3 + rng.normal(0, 0.3, 20)
    other[4] = np.nan
    one, two = Trace("a", "#02bbff", time, values), Trace("b", "#02bbff", time[2:], other[2:])
    rho, count = rank_correlation(one, two)
    good = np.r_[2:4, 5:20]
    assert count == 17
    assert rho == pytest.approx(stats.spearmanr(values[good], other[good]).statistic)
    assert f"n = {count}" in correlation_note([one], [two])


@pytest.mark.parametrize("values", [np.zeros(9), np.r_[1.0, 2.0, np.full(7, np.nan)]])
def test_no_rank_correlation_is_invented(values):
    one = Trace("a", "#02bbff", np.arange(9.0), np.arange(9.0))
    two = Trace("b", "#02bbff", np.arange(9.0), values)
    assert np.isnan(rank_correlation(one, two)[0])
    assert "not defined" in correlation_note([one], [two])


# Save and reopen


def test_a_saved_result_comes_back_with_masks_regions_and_the_widget(
    viewer, tracked, make_widget, qtbot, tmp_path
):
    tracked.region.draw()
    tracked.region.layer.add_ellipses([[28, 130], [28, 220], [88, 220], [88, 130]])
    qtbot.waitUntil(lambda: len(tracked.store.state.regions) == 1)
    path = tmp_path / "lattice.zarr"
    tracked.save(path)
    settle(qtbot, tracked)
    assert tracked.run.message.text() == f"Saved as {path}."
    other = ViewerModel()
    widget = make_widget(other)
    for data in read_result(str(path)):
        other._add_layer_from_data(*data)
    settle(qtbot, widget)
    qtbot.waitUntil(lambda: len(widget.store.state.regions) == 1)
    masks = layer_of(other, "presence")
    np.testing.assert_array_equal(np.asarray(masks.data), np.asarray(layer_of(viewer, "presence").data))
    np.testing.assert_allclose(
        widget.store.state.regions[0].vertices, tracked.store.state.regions[0].vertices, atol=1e-6
    )
    # the plot follows the masks, and they the plot
    other.dims.set_current_step(0, 4)
    assert widget.store.state.frame == 4
    widget.plot.time_clicked.emit(float(widget.store.state.result["time"][1]))
    assert other.dims.current_step[0] == 1
    # there is no video with it, and that is said
    widget.maps.boxes["change"].click()
    assert "video" in widget.run.message.text()
    assert not widget.maps.boxes["change"].isChecked()
    other.layers.clear()
    assert widget.store.state.result is None


def test_the_writer_saves_the_result_of_its_masks(viewer, tracked, tmp_path):
    path = str(tmp_path / "written.zarr")
    masks = layer_of(viewer, "presence").as_layer_data_tuple()
    assert write_results(path, [masks]) == [path]
    np.testing.assert_array_equal(open_result(path)["misfit_deg"], tracked.store.state.result["misfit_deg"])


def test_a_store_that_lacks_its_masks_is_refused_with_a_sentence(tracked, tmp_path):
    from napari_hrtem_vae.io.results import save_result

    save_result(tracked.store.state.result.drop_vars("presence"), tmp_path / "lame.zarr")
    with pytest.raises(ResultError, match="track the grains again"):
        read_result(str(tmp_path / "lame.zarr"))


def test_a_result_written_while_it_is_made_is_shown_from_the_store(
    viewer, make_widget, frames, qtbot, tmp_path
):
    viewer.add_image(frames, **NM)
    widget = make_widget(viewer)
    widget.store.change(result_store=str(tmp_path / "own.zarr"))
    track(qtbot, widget)
    assert widget.run.message.text().startswith("Done")
    assert layer_of(viewer, "presence").data[0].any()
    widget.plot  # noqa: B018
    settle(qtbot, widget)
    assert np.isfinite(widget.plot._content.left[0].values).all()


# Bad input


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: np.random.default_rng(0).poisson(20, (3, 128, 128)).astype("f4"), "No lattice"),
        (lambda: np.full((3, 128, 128), 7.0, "f4"), "constant or hold NaN"),
        (lambda: np.full((3, 128, 128), np.nan, "f4"), "constant or hold NaN"),
        (lambda: np.zeros((2, 20, 20), "u1"), "too small"),
    ],
)
def test_what_has_no_lattice_is_told_in_one_sentence(viewer, make_widget, qtbot, make, words):
    viewer.add_image(make(), contrast_limits=(0, 50), **NM)
    widget = make_widget(viewer)
    track(qtbot, widget)
    assert words in widget.run.message.text()
    assert widget.store.state.message.error
    assert len(viewer.layers) == 1
    assert widget.run.button.text() == "Track"


def test_without_a_video_the_widget_says_what_to_do(viewer, make_widget, qtbot):
    widget = make_widget(viewer)
    track(qtbot, widget)
    assert "Open a video first" in widget.run.message.text()


def test_one_frame_has_angles_and_masks_but_no_change(viewer, make_widget, frames, qtbot):
    viewer.add_image(frames[0], scale=(0.03, 0.03), units=("nm", "nm"))
    widget = make_widget(viewer)
    track(qtbot, widget)
    assert widget.store.state.result["misfit_deg"][0] == pytest.approx(12, abs=0.4)
    assert layer_of(viewer, "presence").ndim == 2
    assert not widget.maps.boxes["change"].isEnabled()
    assert not widget.store.state.message.error


def test_frames_of_nan_are_left_out_and_marked(viewer, make_widget, frames, qtbot):
    film_with_gap = frames.copy()
    film_with_gap[2, :10] = np.nan
    viewer.add_image(film_with_gap, contrast_limits=(0, 50), **NM)
    widget = make_widget(viewer)
    track(qtbot, widget)
    widget.plot  # noqa: B018
    settle(qtbot, widget)
    (misfit,) = widget.plot._content.left
    assert np.isnan(misfit.values[2])
    np.testing.assert_array_equal(widget.plot._content.missing, [1.0])
    viewer.dims.set_current_step(0, 2)
    settle(qtbot, widget)
    assert "NaN" in widget.spectrum.look.words
    widget.maps.boxes["strain"].click()
    settle(qtbot, widget)
    assert np.isnan(layer_of(viewer, "strain").data).all()
    widget.maps.last_box.setValue(2)
    settle(qtbot, widget)
    assert "frame 2" in widget.run.message.text()


def test_an_unknown_pixel_size_leaves_angles_and_gives_areas_in_pixels(viewer, make_widget, frames, qtbot):
    viewer.add_image(frames)
    widget = make_widget(viewer)
    assert "in pixels" in widget.video.note.text()
    track(qtbot, widget)
    widget.plot  # noqa: B018
    widget.plots.left_box.setCurrentIndex(widget.plots.left_box.findData("area"))
    settle(qtbot, widget)
    assert widget.plot._content.left_label == "area (px²)"
    # 46 px of radius
    assert widget.plot._content.left[0].values[0] == pytest.approx(np.pi * 46**2, rel=0.08)
    np.testing.assert_allclose(widget.store.state.result["misfit_deg"], np.linspace(12, 8, FRAMES), atol=0.3)


@pytest.mark.parametrize("gone", ["layer", "all"])
def test_a_layer_deleted_in_a_run_leaves_the_result_where_it_was(viewer, make_widget, frames, qtbot, gone):
    video = viewer.add_image(frames, **(NM | PLACE))
    other = None if gone == "all" else viewer.add_image(np.zeros((FRAMES, 60, 60)), contrast_limits=(0, 1))
    widget = make_widget(viewer)
    widget.video.layer_box.setCurrentIndex(0)
    origin = np.array(video.data_to_world((0, 0, 0)))
    qtbot.mouseClick(widget.run.button, Qt.MouseButton.LeftButton)
    viewer.layers.remove(video)
    settle(qtbot, widget)
    masks = layer_of(viewer, "presence")
    np.testing.assert_allclose(masks.data_to_world((0, 0, 0)), origin, atol=0.03)
    assert other is None or other in viewer.layers


def test_cancel_ends_the_run_and_leaves_the_widget_ready(viewer, make_widget, qtbot, frames):
    viewer.add_image(np.concatenate([frames, frames[::-1]] * 20), **NM)
    widget = make_widget(viewer)
    qtbot.mouseClick(widget.run.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "frames" in widget.run.progress.text(), timeout=60_000)
    qtbot.mouseClick(widget.run.button, Qt.MouseButton.LeftButton)
    settle(qtbot, widget)
    assert widget.run.message.text().startswith("Cancelled.")
    assert widget.run.button.text() == "Track"
    assert widget.run.button.isEnabled()


def test_blocks_that_are_done_appear_while_the_rest_is_followed(viewer, make_widget, qtbot, frames):
    viewer.add_image(np.concatenate([frames, frames[::-1]] * 4), **NM)
    widget = make_widget(viewer)
    widget.plot  # noqa: B018
    seen = []

    def note():
        result = widget.store.state.result
        if result is not None and widget.store.state.running:
            seen.append(int(np.isfinite(result["misfit_deg"].values).sum()))

    widget.store.on("revision", note)
    track(qtbot, widget)
    assert seen
    assert 0 < seen[0] < 40
    assert np.isfinite(widget.store.state.result["misfit_deg"]).all()
    assert len([layer for layer in viewer.layers if note_of(layer).get("map") == "presence"]) == 1


def test_a_widget_that_is_shut_down_lets_go_of_the_viewer(viewer, frames, qtbot):
    viewer.add_image(frames, **NM)
    widget = LatticeWidget(viewer)
    qtbot.mouseClick(widget.run.button, Qt.MouseButton.LeftButton)
    work = widget.run.work
    widget.shut_down()
    qtbot.waitUntil(lambda: not work.running, timeout=20_000)
    viewer.layers.clear()
    viewer.add_image(frames, **NM)
    assert widget.store.state.video is None
    widget.deleteLater()


def test_a_bad_option_is_told_and_not_taken(viewer, make_widget):
    widget = make_widget(viewer)
    before = widget.store.state.parameters
    widget.grains.more._rows["period_px"].value = "1"
    assert "period_px" in widget.run.message.text()
    assert widget.store.state.parameters == before
    widget.grains.more._rows["period_px"].value = "8.25"
    widget.grains.more._rows["workers"].value = "2"
    assert widget.store.state.parameters.period_px == 8.25
    assert widget.store.state.parameters.workers == 2


# Geometry


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


def test_a_click_lands_where_the_picture_says(by_hand):
    view = by_hand.spectrum.view
    assert view.k_at(QPointF(QPoint(view.width() // 2, view.height() // 2))) == pytest.approx(
        (0, 0), abs=1e-9
    )
    ky, kx = view.k_at(QPointF(view.width() / 2 + 20, view.height() / 2 + 10))
    assert kx == pytest.approx(2 * ky)
    assert ky > 0
