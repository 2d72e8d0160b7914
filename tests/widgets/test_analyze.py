"""The widget over a viewer without a window, with the real work in its thread."""

from __future__ import annotations

import time
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image, Shapes
from qtpy.QtCore import Qt

from napari_hrtem_vae.widgets.layers import result_of

from .conftest import moving_disc

NM = {"scale": (0.5, 0.02, 0.02), "units": ("s", "nm", "nm"), "axis_labels": ("t", "y", "x")}


def maps_in(viewer):
    return [layer for layer in viewer.layers if result_of(layer) is not None]


def click(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def start_long(qtbot, widget, step=1):
    """Begin an analysis that lasts for seconds, and wait until its sites are known."""
    widget.store.change(parameters=replace(widget.store.state.parameters, step=step))
    click(qtbot, widget.run.button)
    qtbot.waitUntil(lambda: widget.store.state.result is not None, timeout=30_000)


@pytest.fixture
def long_video():
    return moving_disc(frames=240, shape=(96, 96))


def test_size_and_times_of_a_calibrated_layer_are_shown(viewer, make_widget, video_array):
    viewer.add_image(video_array, **NM)
    widget = make_widget(viewer)
    assert widget.video.pixel_size.value() == 0.02
    assert widget.video.frame_time.value() == 0.5
    assert "12 frames of 64 × 80 px" in widget.video.note.text()
    assert widget.video.match_button.isHidden()


def test_leaving_a_field_unedited_changes_no_digit(viewer, make_widget, video_array):
    size = 0.0123456789
    viewer.add_image(video_array, scale=(1, size, size), units=("s", "nm", "nm"))
    widget = make_widget(viewer)
    widget.video.pixel_size.editingFinished.emit()
    assert widget.store.state.pixel_size_nm == size


def test_an_unknown_pixel_size_is_said_and_fringes_are_offered(viewer, make_widget, video_array):
    viewer.add_image(video_array)
    widget = make_widget(viewer)
    assert "unknown" in widget.video.note.text()
    assert widget.video.pixel_size.value() is None
    assert not widget.video.match_button.isHidden()


def test_matching_fringes_enlarges_to_the_models_period(viewer, make_widget, qtbot):
    x = np.arange(128)
    rng = np.random.default_rng(0)
    fringes = 100 + 50 * np.cos(2 * np.pi * x / 5.0)[None, None] + rng.normal(0, 5, (3, 128, 128))
    viewer.add_image(fringes.astype(np.float32))
    widget = make_widget(viewer)
    click(qtbot, widget.video.match_button)
    qtbot.waitUntil(lambda: widget.store.state.parameters.zoom is not None, timeout=20_000)
    assert widget.store.state.parameters.zoom == pytest.approx(8 / 5, rel=0.02)
    assert widget.store.state.pixel_size_nm is None
    assert "resampled" in widget.model.note.text()
    widget.video.pixel_size.setText("0.02")
    widget.video.pixel_size.editingFinished.emit()
    assert widget.store.state.parameters.zoom is None
    assert "resampled" not in widget.model.note.text()


def test_a_video_of_another_pixel_size_is_said_to_be_resampled(viewer, make_widget, video_array):
    viewer.add_image(video_array, **NM)
    widget = make_widget(viewer)
    assert "resampled" not in widget.model.note.text()
    widget.video.pixel_size.setText("0.03")
    widget.video.pixel_size.editingFinished.emit()
    assert "1.5 ×" in widget.model.note.text()


def test_the_map_lies_where_the_disc_is(viewer, make_widget, analyse):
    centre = (40, 24)
    layer = viewer.add_image(moving_disc(centre=centre), translate=(3, -1, 2), **NM)
    widget = make_widget(viewer)
    analyse(widget)
    (found,) = maps_in(viewer)
    values = np.nan_to_num(found.data.astype(float))
    values[values < values.max() / 10] = 0
    index = np.array(
        [(values * grid).sum() / values.sum() for grid in np.mgrid[: values.shape[0], : values.shape[1]]]
    )
    expected = np.array(layer.data_to_world((0, *centre)))[1:]
    half_a_step = 0.5 * 8 * 0.02
    assert np.abs(np.array(found.data_to_world(index)) - expected).max() < half_a_step
    assert [str(unit) for unit in found.units] == ["nanometer"] * 2
    assert found.axis_labels == ("y", "x")


def test_the_layer_follows_what_is_picked_and_stays_the_same(
    viewer, make_widget, analyse, video_array, qtbot
):
    viewer.add_image(video_array, name="film", **NM)
    widget = make_widget(viewer)
    analyse(widget)
    (found,) = maps_in(viewer)
    result = widget.store.state.result
    for kind in ("variance", "spearman", "significance"):
        widget.maps.kind_box.setCurrentIndex(widget.maps.kind_box.findData(kind))
        for latent in (1, 3):
            widget.maps.latent_box.setCurrentIndex(widget.maps.latent_box.findData(latent))
            np.testing.assert_array_equal(found.data, result[kind].isel(latent=latent))
            assert f"z{latent}" in found.name
    assert maps_in(viewer) == [found]


def test_z_at_this_frame_follows_the_slider(viewer, make_widget, analyse, video_array, qtbot):
    viewer.add_image(video_array, **NM)
    widget = make_widget(viewer)
    analyse(widget)
    (found,) = maps_in(viewer)
    widget.store.change(kind="z", latent=2)
    for frame in (3, 7):
        viewer.dims.set_point(0, 0.5 * frame)
        assert widget.store.state.frame == frame
        expected = widget.store.state.result["z"][frame, ..., 2].values
        qtbot.waitUntil(lambda wanted=expected: np.array_equal(found.data, wanted))


def test_latents_are_listed_most_first_with_their_peaks(viewer, make_widget, analyse, video_array):
    viewer.add_image(video_array, **NM)
    widget = make_widget(viewer)
    analyse(widget)
    peaks = widget.store.state.result["time_correlated_variance"].max(("y", "x")).values
    box = widget.maps.latent_box
    assert [box.itemData(i) for i in range(box.count())] == list(np.argsort(-peaks))
    assert f"{peaks.max():.3g}" in box.itemText(0)
    assert box.currentIndex() == 0
    widget.maps.order_box.setCurrentIndex(1)
    assert [box.itemData(i) for i in range(box.count())] == [0, 1, 2, 3]
    assert box.currentData() == int(np.argmax(peaks))


def test_keys_step_through_latents_and_are_given_back(viewer, make_widget, analyse, video_array):
    viewer.add_image(video_array, **NM)
    before = dict(viewer.keymap)
    widget = make_widget(viewer)
    analyse(widget)
    bound = {str(key): action for key, action in viewer.keymap.items() if key not in before}
    first = widget.maps.latent_box.currentData()
    bound["Shift+Right"](viewer)
    assert widget.store.state.latent == widget.maps.latent_box.itemData(1)
    bound["Shift+Left"](viewer)
    assert widget.store.state.latent == first
    widget.shut_down()
    assert dict(viewer.keymap) == before


def test_a_second_analysis_makes_a_layer_of_its_own(viewer, make_widget, analyse, video_array):
    viewer.add_image(video_array, **NM)
    widget = make_widget(viewer)
    analyse(widget)
    (first,) = maps_in(viewer)
    kept = first.data.copy()
    analyse(widget)
    assert len(maps_in(viewer)) == 2
    np.testing.assert_array_equal(first.data, kept)


def test_the_users_layer_is_left_as_it_was(viewer, make_widget, analyse, video_array):
    layer = viewer.add_image(video_array.copy(), metadata={"mine": 1}, **NM)
    before = (layer.name, layer.scale.tolist(), dict(layer.metadata), layer.contrast_limits)
    widget = make_widget(viewer)
    analyse(widget)
    assert (layer.name, layer.scale.tolist(), dict(layer.metadata), layer.contrast_limits) == before
    np.testing.assert_array_equal(layer.data, video_array)


def test_each_region_is_plotted_in_its_colour(viewer, make_widget, analyse, video_array, qtbot):
    from napari_hrtem_vae.widgets.regions import region_trace
    from napari_hrtem_vae.widgets.traces import REGION_COLORS

    viewer.add_image(video_array, **NM)
    widget = make_widget(viewer)
    analyse(widget)
    widget.region.draw()
    shapes = widget.region.layer
    assert isinstance(shapes, Shapes)
    assert shapes.mode == "add_rectangle"
    assert [str(unit) for unit in shapes.units] == ["nanometer"] * 2
    shapes.add_rectangles([[1, 1], [1, 3], [4, 3], [4, 1]])
    shapes.add_ellipses([[0, 4], [0, 7], [3, 7], [3, 4]])
    qtbot.waitUntil(lambda: len(widget.plot._content.left) == 2)
    state = widget.store.state
    for i, trace in enumerate(widget.plot._content.left):
        assert trace.color == REGION_COLORS[i]
        expected = region_trace(state.result, state.regions[i], widget.maps.latent_box.currentData())
        np.testing.assert_allclose(trace.values, expected)
        np.testing.assert_allclose(trace.time, 0.5 * np.arange(12))
    assert not np.allclose(shapes.edge_color[0], shapes.edge_color[1])
    shapes.data = shapes.data[:1]
    qtbot.waitUntil(lambda: len(widget.plot._content.left) == 1)
    viewer.layers.remove(shapes)
    qtbot.waitUntil(lambda: not widget.plot._content.left)


def test_a_region_beside_all_sites_is_said_and_not_plotted(viewer, make_widget, analyse, video_array, qtbot):
    viewer.add_image(video_array, **NM)
    widget = make_widget(viewer)
    analyse(widget)
    widget.region.draw()
    widget.region.layer.add_rectangles([[-9, -9], [-9, -8], [-8, -8], [-8, -9]])
    widget.region.layer.add_rectangles([[1, 1], [1, 3], [4, 3], [4, 1]])
    qtbot.waitUntil(lambda: len(widget.store.state.regions) == 2)
    qtbot.waitUntil(lambda: len(widget.plot._content.left) == 1)
    assert widget.plot._content.left[0].label == "Region 2"
    assert "Region 1: outside all sites" in widget.region.note.text()


def test_regions_may_be_drawn_before_the_analysis(viewer, make_widget, analyse, video_array, qtbot):
    viewer.add_image(video_array, **NM)
    widget = make_widget(viewer)
    widget.region.draw()
    # in pixels of the video: the sites with centres at 7.5, 15.5, 23.5, … inside
    widget.region.layer.add_rectangles([[6, 6], [6, 25], [17, 25], [17, 6]])
    analyse(widget)
    qtbot.waitUntil(lambda: bool(widget.store.state.regions))
    assert widget.store.state.regions[0].sites(7, 9).sum() == 2 * 3


def test_time_goes_both_ways_between_plot_and_viewer(viewer, make_widget, analyse, video_array, qtbot):
    viewer.add_image(video_array, **NM)
    widget = make_widget(viewer)
    analyse(widget)
    plot = widget.plot
    plot.time_clicked.emit(4.4)
    assert widget.store.state.frame == 9
    assert viewer.dims.point[0] == pytest.approx(4.5)
    viewer.dims.set_point(0, 1.0)
    assert plot._time == pytest.approx(1.0)


def test_a_click_on_a_place_takes_the_camera_there(viewer, make_widget, analyse):
    layer = viewer.add_image(moving_disc(), **NM)
    widget = make_widget(viewer)
    analyse(widget)
    assert widget.hotspots.table.rowCount() == widget.store.state.result.sizes["hotspot"] > 0
    widget.hotspots.table.cellClicked.emit(0, 0)
    expected = layer.data_to_world((0, 40, 24))[1:]
    assert np.abs(np.array(viewer.camera.center[-2:]) - expected).max() < 2 * 8 * 0.02


def test_the_overview_shows_all_latents_and_picks_one(viewer, make_widget, analyse, video_array):
    viewer.add_image(video_array, **NM)
    widget = make_widget(viewer)
    analyse(widget)
    widget.show_overview()
    assert widget.sheet.current() == 0
    widget.sheet.picked.emit(2)
    assert widget.store.state.latent == widget.maps.latent_box.itemData(2)
    assert widget.sheet.current() == 2
    widget.sheet.deleteLater()


def test_model_device_and_options_are_remembered(viewer, make_widget, model_file, qtbot):
    from napari_hrtem_vae.widgets.analyze import AnalyzeWidget

    widget = make_widget(viewer)
    widget.model.form._rows["step"].value = 4
    widget.model.form._rows["outliers"].value = "off"
    widget.model.form._rows["zoom"].value = "2"
    widget.model.device_box.setCurrentIndex(1)
    again = AnalyzeWidget(viewer)
    qtbot.addWidget(again)
    state = again.store.state
    assert state.model == str(model_file)
    assert (state.parameters.step, state.parameters.outliers, state.parameters.device) == (4, "off", "cpu")
    assert state.parameters.zoom is None
    assert again.model.device_box.currentData() == "cpu"
    again.shut_down()


@pytest.mark.parametrize(
    "damaged",
    [
        {"parameters": 5},
        {"parameters": [1, 2, 3]},
        {
            "parameters": {
                "step": "many",
                "device": 7,
                "outliers": ["off"],
                "memory_gb": "all",
                "keep_field": 3,
            }
        },
        {"parameters": {"step": 4000, "false_discovery_rate": 0.9, "memory_gb": float("inf"), "nothing": 1}},
        {"parameters": {"keep_field": 3, "scaling": None, "precision": "float128"}},
        {"model": ["pbs-64"]},
        {"model": "x" * 5000},
        {"options_open": {}, "moving_mean": 10**30},
    ],
)
def test_damaged_settings_do_not_keep_the_widget_from_opening(viewer, make_widget, video_array, damaged):
    from napari_hrtem_vae.vae.parameters import AnalyzeParameters
    from napari_hrtem_vae.widgets.settings import save_settings

    save_settings(damaged)
    viewer.add_image(video_array, **NM)
    widget = make_widget(viewer)
    assert widget.store.state.parameters == AnalyzeParameters()
    assert widget.plot.moving_mean_frames() >= 1


def test_good_settings_beside_a_damaged_one_are_kept(viewer, make_widget):
    from napari_hrtem_vae.widgets.settings import save_settings

    save_settings({"parameters": {"step": "many", "outliers": "off"}})
    assert make_widget(viewer).store.state.parameters.outliers == "off"


# Bad input


def test_without_a_layer_the_button_says_what_to_do(viewer, make_widget, qtbot):
    widget = make_widget(viewer)
    click(qtbot, widget.run.button)
    assert "Open a video first" in widget.run.message.text()


def test_an_rgb_layer_is_refused(viewer, make_widget, qtbot):
    viewer.add_image(np.zeros((5, 40, 40, 3), np.uint8), rgb=True)
    widget = make_widget(viewer)
    click(qtbot, widget.run.button)
    assert "RGB" in widget.run.message.text()
    assert widget.run.work is None


def test_frames_smaller_than_the_window_are_refused(viewer, make_widget, analyse):
    viewer.add_image(np.zeros((5, 12, 12), np.uint8), contrast_limits=(0, 1))
    widget = make_widget(viewer)
    analyse(widget)
    assert "smaller than the model's window" in widget.run.message.text()
    assert maps_in(viewer) == []
    assert widget.run.button.text() == "Analyze"


@pytest.mark.parametrize("array", [moving_disc(frames=1), moving_disc(frames=1)[0]])
def test_a_still_gives_z_alone(viewer, make_widget, analyse, array, qtbot):
    viewer.add_image(array, contrast_limits=(0, 255))
    widget = make_widget(viewer)
    analyse(widget)
    assert "one frame" in widget.run.message.text()
    qtbot.waitUntil(lambda: len(maps_in(viewer)) == 1)
    assert widget.maps.kind_box.count() == 1
    np.testing.assert_array_equal(
        maps_in(viewer)[0].data, widget.store.state.result["z"][0, ..., widget.maps.latent_box.currentData()]
    )


def test_a_damaged_model_file_is_refused_and_the_choice_stays(viewer, make_widget, tmp_path):
    widget = make_widget(viewer)
    model = widget.store.state.model
    damaged = tmp_path / "broken.safetensors"
    damaged.write_bytes(b"\x10\0\0\0\0\0\0\0 nonsense nonsense")
    widget.model.load_file(damaged)
    assert "broken.safetensors" in widget.run.message.text()
    assert widget.store.state.model == model


def test_a_model_cut_short_is_told_when_it_is_loaded(
    viewer, make_widget, analyse, model_file, tmp_path, video_array
):
    viewer.add_image(video_array)
    widget = make_widget(viewer)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(model_file.read_bytes()[:-500])
    widget.model.load_file(cut)
    analyse(widget)
    assert "cut.safetensors" in widget.run.message.text()
    assert widget.run.button.isEnabled()


def test_a_frame_that_cannot_be_read_is_left_out_and_told(viewer, make_widget, analyse):
    def frame(block_info=None):
        where = block_info[None]["chunk-location"][0] if block_info else 0
        if where == 7:
            raise OSError(5, "Input/output error", "film.dm4")
        return np.random.default_rng(where).poisson(50, (1, 96, 96)).astype(np.uint8)

    lazy = da.map_blocks(
        frame, chunks=((1,) * 9, (96,), (96,)), dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8)
    )
    viewer.add_image(lazy, contrast_limits=(0, 99), **NM)
    widget = make_widget(viewer)
    analyse(widget)
    assert "1 frame(s) (7) cannot be read and were left out" in widget.run.message.text()
    assert len(maps_in(viewer)) == 1


def test_cancel_ends_within_a_second_and_keeps_what_was_done(viewer, make_widget, qtbot, long_video):
    viewer.add_image(long_video, **NM)
    widget = make_widget(viewer)
    cancelled = []

    def cancel_at_the_first_map():
        # at once: a fast machine may end the work before the test's loop comes round
        if not cancelled and maps_in(viewer):
            cancelled.append((time.monotonic(), widget.run.button.text()))
            click(qtbot, widget.run.button)

    widget.store.on("revision", cancel_at_the_first_map)
    start_long(qtbot, widget)
    qtbot.waitUntil(lambda: widget.run.work is None, timeout=60_000)
    ((began, said),) = cancelled
    assert time.monotonic() - began < 1
    assert said == "Cancel"
    partial = maps_in(viewer)[0].data
    assert np.isfinite(partial).any()
    assert np.isnan(partial).any()
    assert widget.run.message.text().startswith("Cancelled")
    assert widget.run.button.text() == "Analyze"
    assert len(maps_in(viewer)) == 1
    assert not widget.maps.save_button.isEnabled()


def test_a_layer_that_vanishes_does_not_stop_the_work(viewer, make_widget, qtbot):
    layer = viewer.add_image(moving_disc(frames=60, shape=(96, 96)), name="film", **NM)
    centre = np.array(layer.data_to_world((0, 40, 24)))[1:]
    widget = make_widget(viewer)
    widget.store.change(parameters=replace(widget.store.state.parameters, step=4))
    click(qtbot, widget.run.button)
    viewer.layers.remove(layer)
    del layer
    qtbot.waitUntil(lambda: widget.run.work is None, timeout=60_000)
    (found,) = maps_in(viewer)
    assert found.name.startswith("film")
    brightest = np.unravel_index(np.nanargmax(found.data), found.data.shape)
    assert np.abs(np.array(found.data_to_world(brightest)) - centre).max() < 12 * 0.02


def test_a_map_deleted_while_work_runs_comes_back_with_the_result(viewer, make_widget, qtbot, long_video):
    viewer.add_image(long_video[:40], **NM)
    widget = make_widget(viewer)
    deleted = []

    def delete_the_first():
        # at once: a fast machine may end the work before the test's loop comes round
        if not deleted and maps_in(viewer):
            deleted.append(widget.store.state.running)
            viewer.layers.remove(maps_in(viewer)[0])

    widget.store.on("revision", delete_the_first)
    start_long(qtbot, widget, step=2)
    qtbot.waitUntil(lambda: widget.run.work is None, timeout=60_000)
    assert deleted == [True]
    assert len(maps_in(viewer)) == 1
    assert not widget.run.message.text().startswith("Cancelled")


def test_a_closed_widget_stops_the_work_and_hears_nothing_more(viewer, make_widget, qtbot, long_video):
    viewer.add_image(long_video, **NM)
    widget = make_widget(viewer)
    start_long(qtbot, widget)
    work = widget.run.work
    widget.show()
    widget.hide()
    qtbot.waitUntil(lambda: not work.running, timeout=2000)
    layers = list(viewer.layers)
    viewer.add_image(np.zeros((3, 20, 20)))
    qtbot.wait(100)
    assert len(viewer.layers) == len(layers) + 1


def test_layers_are_told_apart_by_identity(viewer, make_widget, video_array):
    first = viewer.add_image(video_array, name="film")
    second = viewer.add_image(video_array[:5], name="film 2")
    widget = make_widget(viewer)
    widget.video.layer_box.setCurrentIndex(0)
    second.name, first.name = "x", "film 2"
    assert widget.store.state.video is first
    assert widget.video.layer_box.currentText() == "film 2"
    viewer.layers.remove(first)
    assert widget.store.state.video is second


def test_a_store_on_disk_is_written_and_shown(viewer, make_widget, analyse, video_array, tmp_path, qtbot):
    viewer.add_image(video_array, **NM)
    widget = make_widget(viewer)
    target = tmp_path / "kept.zarr"
    widget.model.store_edit.setText(str(target))
    widget.model.store_edit.editingFinished.emit()
    analyse(widget)
    assert target.is_dir()
    assert len(maps_in(viewer)) == 1
    analyse(widget)
    assert "kept.zarr" in widget.run.message.text()
    assert isinstance(maps_in(viewer)[0], Image)
