"""What is saved comes back: in another viewer, with the map, the regions and the widget's state."""

from __future__ import annotations

import threading
from dataclasses import replace

import h5py
import numpy as np
import pytest
import tifffile
import xarray as xr
import zarr
from napari.components import ViewerModel

from napari_hrtem_vae.errors import ResultError
from napari_hrtem_vae.io import open_video
from napari_hrtem_vae.io.results import open_result, save_result
from napari_hrtem_vae.io.results_probe import RESULT_KEY
from napari_hrtem_vae.widgets.layers import frame_time_of, pixel_size_of, result_of, video_axes
from napari_hrtem_vae.widgets.readers import read_video
from napari_hrtem_vae.widgets.regions import is_regions_layer, regions_from
from napari_hrtem_vae.widgets.results_reader import get_result_reader
from napari_hrtem_vae.widgets.results_writer import write_results
from napari_hrtem_vae.widgets.viewer import widget_for

NM = {"scale": (0.5, 0.02, 0.02), "units": ("s", "nm", "nm"), "axis_labels": ("t", "y", "x")}


@pytest.fixture
def analysed(viewer, make_widget, analyse, video_array, qtbot):
    viewer.add_image(video_array, name="film", **NM)
    widget = make_widget(viewer)
    analyse(widget)
    widget.region.draw()
    widget.region.layer.add_rectangles([[1, 1], [1, 3], [4, 3], [4, 1]])
    widget.region.layer.add_ellipses([[0, 4], [0, 7], [3, 7], [3, 4]])
    qtbot.waitUntil(lambda: len(widget.store.state.regions) == 2)
    return widget


def save(qtbot, widget, path):
    """Save from the widget, and wait until it says so."""
    widget.save(path)
    qtbot.waitUntil(lambda: not widget.saver.busy, timeout=20_000)
    assert widget.run.message.text() == f"Saved as {path}."


def shown_in(viewer, path):
    for data, options, kind in get_result_reader(str(path))(str(path)):
        viewer._add_layer_from_data(data, options, kind)
    return viewer


def test_a_saved_result_brings_map_and_regions_back(analysed, tmp_path, viewer, qtbot):
    path = tmp_path / "result.zarr"
    save(qtbot, analysed, path)
    again = shown_in(ViewerModel(), path)
    (found,) = [layer for layer in again.layers if result_of(layer) is not None]
    (first,) = [layer for layer in viewer.layers if result_of(layer) is not None]
    np.testing.assert_allclose(found.data, first.data)
    np.testing.assert_allclose(found.extent.world, first.extent.world)
    (shapes,) = [layer for layer in again.layers if is_regions_layer(layer)]
    np.testing.assert_allclose(shapes.extent.world, analysed.region.layer.extent.world)
    assert list(shapes.shape_type) == ["rectangle", "ellipse"]


@pytest.mark.parametrize("opened", ["before", "after"])
def test_an_open_widget_takes_a_read_result_over(analysed, tmp_path, make_widget, qtbot, opened):
    path = tmp_path / "result.zarr"
    save(qtbot, analysed, path)
    other = ViewerModel()
    widget = make_widget(other) if opened == "before" else None
    shown_in(other, path)
    widget = widget or make_widget(other)
    state = widget.store.state
    assert state.result.attrs["model"] == "tiny"
    assert widget.maps.latent_box.count() == 4
    qtbot.waitUntil(lambda: len(widget.plot._content.left) == 2)
    np.testing.assert_allclose(
        widget.plot._content.left[0].values, analysed.plot._content.left[0].values, rtol=1e-6
    )
    widget.store.change(kind="z")
    widget.plot.time_clicked.emit(2.0)
    qtbot.waitUntil(lambda: widget.store.state.frame == 4)


def test_the_writer_saves_the_result_of_selected_layers(analysed, tmp_path, viewer):
    path = str(tmp_path / "written.zarr")
    ours = [layer for layer in viewer.layers if result_of(layer) is not None or is_regions_layer(layer)]
    assert write_results(path, [layer.as_layer_data_tuple() for layer in ours]) == [path]
    result = open_result(path)
    np.testing.assert_array_equal(result["z"], analysed.store.state.result["z"])
    assert len(regions_from(result)) == 2
    for one, other in zip(regions_from(result), analysed.store.state.regions, strict=True):
        np.testing.assert_allclose(one.vertices, other.vertices, atol=1e-6)


def test_napari_saves_selected_layers_with_the_writer(analysed, tmp_path, viewer):
    from npe2 import PluginManager

    PluginManager.instance().discover()
    path = str(tmp_path / "selected.zarr")
    ours = [layer for layer in viewer.layers if result_of(layer) is not None or is_regions_layer(layer)]
    for chosen in (ours, ours[:1]):
        viewer.layers.selection = chosen
        viewer.layers.save(path, selected=True, plugin="napari-hrtem-vae")
        assert len(regions_from(open_result(path))) == 2 * (len(chosen) - 1)
        path = str(tmp_path / "alone.zarr")


def test_the_writer_refuses_layers_that_are_no_result(viewer, tmp_path):
    layer = viewer.add_image(np.zeros((4, 4)))
    with pytest.raises(ResultError, match="map of HRTEM VAE"):
        write_results(str(tmp_path / "a.zarr"), [layer.as_layer_data_tuple()])
    assert not (tmp_path / "a.zarr").exists()


def test_nothing_to_save_is_said(viewer, make_widget, tmp_path, qtbot):
    widget = make_widget(viewer)
    widget.save(tmp_path / "a.zarr")
    qtbot.waitUntil(lambda: not widget.saver.busy)
    assert "no finished result" in widget.run.message.text()


def test_saving_leaves_the_window_alive(analysed, tmp_path, qtbot):
    result = analysed.store.state.result
    release = threading.Event()

    def slow(block):
        release.wait(20)
        return block

    z = (
        result["z"]
        .chunk()
        .copy(data=result["z"].chunk().data.map_blocks(slow, meta=np.empty((0,) * 4, "f4")))
    )
    analysed.store.change(result=result.assign(z=z))
    path = tmp_path / "slow.zarr"
    analysed.save(path)
    assert analysed.saver.busy
    assert "Saving to" in analysed.run.message.text()
    qtbot.wait(50)
    analysed.save(tmp_path / "other.zarr")
    assert "being saved" in analysed.run.message.text()
    release.set()
    qtbot.waitUntil(lambda: not analysed.saver.busy, timeout=20_000)
    assert "Saved as" in analysed.run.message.text()
    np.testing.assert_array_equal(open_result(path)["z"], result["z"])
    assert not (tmp_path / "other.zarr").exists()


def test_a_place_that_is_taken_is_said(analysed, tmp_path, qtbot):
    (tmp_path / "taken.zarr").mkdir()
    analysed.save(tmp_path / "taken.zarr")
    qtbot.waitUntil(lambda: not analysed.saver.busy, timeout=20_000)
    assert "exists already" in analysed.run.message.text()


def test_a_widget_closed_while_it_saves_saves_all(analysed, tmp_path):
    analysed.save(tmp_path / "late.zarr")
    analysed.shut_down()
    assert len(regions_from(open_result(tmp_path / "late.zarr"))) == 2


@pytest.mark.parametrize(
    ("of_file", "typed"),
    [
        ((0.05, 1.0), (0.02, 0.5)),
        ((None, None), (0.02, 0.5)),
        ((0.05, 1.0), (None, None)),
        ((0.05, 1.0),) * 2,
    ],
    ids=["typed over", "typed", "cleared", "as the file"],
)
def test_a_reopened_result_lies_on_its_video(
    of_file, typed, make_widget, analyse, video_array, tmp_path, qtbot
):
    pixel, seconds = of_file
    described = {"axes": "TYX", "unit": "nm" if pixel else "pixel"} | (
        {"finterval": seconds} if seconds else {}
    )
    resolution = {"resolution": (1 / pixel,) * 2} if pixel else {}
    tifffile.imwrite(tmp_path / "run.tif", video_array, imagej=True, metadata=described, **resolution)
    first = ViewerModel()
    for data, options, _ in read_video(str(tmp_path / "run.tif")):
        first.add_image(data, **options)
    widget = make_widget(first)
    widget.store.change(pixel_size_nm=typed[0], frame_time_s=typed[1])
    # the same grid of sites, whatever the pixel size
    widget.store.change(parameters=replace(widget.store.state.parameters, zoom=1.0))
    analyse(widget)
    save(qtbot, widget, tmp_path / "result.zarr")
    again = shown_in(ViewerModel(), tmp_path / "result.zarr")
    video, found = again.layers[:2]
    result = result_of(found)
    sites = np.array([[0, 0], [result.sizes["y"] - 1, result.sizes["x"] - 1]])
    pixels = [[7.5, 7.5], [7.5 + 8 * 6, 7.5 + 8 * 8]]
    for site, pixel_of_video in zip(sites, pixels, strict=True):
        np.testing.assert_allclose(
            found.data_to_world(site), video.data_to_world((0, *pixel_of_video))[1:], rtol=1e-6
        )
    assert video.units[1:] == found.units
    assert (pixel_size_of(video), frame_time_of(video, video_axes(video))) == (
        pytest.approx(typed[0]) if typed[0] else None,
        typed[1],
    )


def test_a_reopened_result_shows_the_dataset_that_was_analysed(tmp_path, video_array, viewer):
    with h5py.File(tmp_path / "run.h5", "w") as file:
        file["big"] = np.zeros((20, 80, 80), np.uint8)
        file["small"] = video_array
    small = open_video(tmp_path / "run.h5", dataset="small")
    attrs = {
        "hrtem_vae_result": "analysis",
        "source": str(tmp_path / "run.h5"),
        "dataset": small.attrs["dataset"],
    }
    coords = {"time": np.arange(12.0), "y": 8.0 * np.arange(7), "x": 8.0 * np.arange(9)}
    maps = np.ones((7, 9, 4), np.float32)
    result = xr.Dataset({"variance": (("y", "x", "latent"), maps)}, coords, attrs)
    save_result(result, tmp_path / "result.zarr")
    again = shown_in(viewer, tmp_path / "result.zarr")
    np.testing.assert_array_equal(np.asarray(again.layers[0].data), video_array)


def test_notices_of_a_reopened_result_are_shown(analysed, tmp_path, make_widget, qtbot):
    analysed.store.change(result=analysed.store.state.result.assign_attrs(notices=["Two frames are odd."]))
    save(qtbot, analysed, tmp_path / "result.zarr")
    other = ViewerModel()
    widget = make_widget(other)
    shown_in(other, tmp_path / "result.zarr")
    assert widget.run.message.text() == "Two frames are odd."


def test_the_reader_leaves_other_things_to_others(tmp_path):
    (tmp_path / "some.zarr").mkdir()
    (tmp_path / "some.zarr" / "zarr.json").write_text(
        '{"zarr_format": 3, "node_type": "array", "attributes": {}}'
    )
    (tmp_path / "film.npy").write_bytes(b"")
    for path in (tmp_path, tmp_path / "some.zarr", tmp_path / "film.npy", tmp_path / "absent.zarr"):
        assert get_result_reader(str(path)) is None
    assert get_result_reader([str(tmp_path), str(tmp_path)]) is None


@pytest.mark.parametrize(
    ("kinds", "widget"),
    [(["lattice"], "Lattice"), (["lattice", "analysis"], "Analyze"), ([None], "Analyze"), ([], "Analyze")],
)
def test_files_open_beside_the_widget_that_they_are_of(tmp_path, kinds, widget):
    files = []
    for number, kind in enumerate(kinds):
        files.append(tmp_path / f"{number}.zarr")
        attributes = {} if kind is None else {RESULT_KEY: kind}
        zarr.create_group(files[-1], attributes=attributes)
    assert widget_for(files) == widget
