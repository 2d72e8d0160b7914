"""What is saved comes back: in another viewer, with the map, the regions and the widget's state."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_hrtem_vae.errors import ResultError
from napari_hrtem_vae.io.results import open_result
from napari_hrtem_vae.widgets.layers import result_of
from napari_hrtem_vae.widgets.regions import is_regions_layer, regions_from
from napari_hrtem_vae.widgets.results_reader import get_result_reader
from napari_hrtem_vae.widgets.results_writer import write_results

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


def shown_in(viewer, path):
    for data, options, kind in get_result_reader(str(path))(str(path)):
        viewer._add_layer_from_data(data, options, kind)
    return viewer


def test_a_saved_result_brings_map_and_regions_back(analysed, tmp_path, viewer):
    path = tmp_path / "result.zarr"
    analysed.save(path)
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
    analysed.save(path)
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


def test_nothing_to_save_is_said(viewer, make_widget, tmp_path):
    with pytest.raises(ResultError, match="no finished result"):
        make_widget(viewer).save(tmp_path / "a.zarr")


def test_the_reader_leaves_other_things_to_others(tmp_path):
    (tmp_path / "some.zarr").mkdir()
    (tmp_path / "some.zarr" / "zarr.json").write_text(
        '{"zarr_format": 3, "node_type": "array", "attributes": {}}'
    )
    (tmp_path / "film.npy").write_bytes(b"")
    for path in (tmp_path, tmp_path / "some.zarr", tmp_path / "film.npy", tmp_path / "absent.zarr"):
        assert get_result_reader(str(path)) is None
    assert get_result_reader([str(tmp_path), str(tmp_path)]) is None
