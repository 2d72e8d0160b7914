"""What becomes of a result when its layers go, when another run begins, and of one still."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_hrtem_vae.widgets.layers import result_of

from .conftest import moving_disc

NM = {"scale": (0.5, 0.02, 0.02), "units": ("s", "nm", "nm"), "axis_labels": ("t", "y", "x")}


def maps_in(viewer):
    return [layer for layer in viewer.layers if result_of(layer) is not None]


def draw(qtbot, widget):
    widget.region.draw()
    widget.region.layer.add_rectangles([[1, 1], [1, 3], [4, 3], [4, 1]])
    qtbot.waitUntil(lambda: len(widget.plot._content.left) == 1)


def is_empty(widget):
    return (
        widget.store.state.result is None
        and widget.maps.latent_box.count() == 0
        and widget.maps.kind_box.count() == 0
        and not widget.maps.save_button.isEnabled()
        and not widget.maps.overview_button.isEnabled()
        and widget.hotspots.table.rowCount() == 0
        and (widget.sheet is None or widget.sheet._model.rowCount() == 0)
        and not widget.plot._content.left
    )


@pytest.fixture
def analysed(viewer, make_widget, analyse, video_array, qtbot):
    viewer.add_image(video_array, name="film", **NM)
    widget = make_widget(viewer)
    analyse(widget)
    widget.show_overview()
    yield widget
    widget.sheet.deleteLater()


def test_nothing_of_a_result_is_left_when_all_layers_are_gone(viewer, analysed, qtbot):
    draw(qtbot, analysed)
    viewer.layers.clear()
    qtbot.waitUntil(lambda: is_empty(analysed))
    assert not analysed.run.message.text().startswith("Done")
    assert "After an analysis" in analysed.sheet.hint()


@pytest.mark.parametrize("first", ["map", "video"])
def test_a_result_goes_with_the_last_of_its_video_and_its_map(viewer, analysed, qtbot, first):
    layers = [*maps_in(viewer), analysed.store.state.video]
    if first == "video":
        layers.reverse()
    viewer.add_image(moving_disc(frames=3), name="another")
    viewer.layers.remove(layers[0])
    assert analysed.store.state.result is not None
    viewer.layers.remove(layers[1])
    qtbot.waitUntil(lambda: is_empty(analysed))


def test_a_deleted_map_comes_back_when_a_latent_is_picked_and_not_before(viewer, analysed):
    viewer.layers.remove(maps_in(viewer)[0])
    viewer.dims.set_point(0, 2.0)
    assert maps_in(viewer) == []
    analysed.maps.step(1)
    assert len(maps_in(viewer)) == 1


def test_a_deleted_map_of_z_does_not_come_back_with_the_next_frame(viewer, analysed, qtbot):
    analysed.store.change(kind="z", latent=2)
    qtbot.waitUntil(lambda: not analysed.map_layer._latest.busy)
    viewer.layers.remove(maps_in(viewer)[0])
    viewer.dims.set_point(0, 2.0)
    qtbot.wait(200)
    assert maps_in(viewer) == []
    analysed.maps.step(1)
    qtbot.waitUntil(lambda: len(maps_in(viewer)) == 1)


def test_the_map_of_a_still_that_is_gone_does_not_come_back_with_another_video(
    viewer, make_widget, analyse, qtbot
):
    viewer.add_image(moving_disc(frames=1)[0], name="still", contrast_limits=(0, 255))
    widget = make_widget(viewer)
    analyse(widget)
    qtbot.waitUntil(lambda: len(maps_in(viewer)) == 1)
    viewer.layers.clear()
    viewer.add_image(moving_disc(), name="film", **NM)
    names = []
    viewer.layers.events.inserted.connect(lambda event: names.append(event.value.name))
    analyse(widget)
    qtbot.waitUntil(lambda: bool(maps_in(viewer)))
    assert names
    assert not [name for name in names if "still" in name]


def test_a_run_begins_with_nothing_of_the_last_result(viewer, analysed, qtbot):
    draw(qtbot, analysed)
    qtbot.mouseClick(analysed.run.button, Qt.MouseButton.LeftButton)
    assert analysed.store.state.result is None
    assert analysed.hotspots.table.rowCount() == 0
    assert analysed.maps.latent_box.count() == 0
    assert analysed.sheet._model.rowCount() == 0
    qtbot.waitUntil(lambda: analysed.run.work is None, timeout=60_000)
    assert analysed.sheet._model.rowCount() == 4
    # the region drawn before is read again
    qtbot.waitUntil(lambda: len(analysed.plot._content.left) == 1)


def test_the_overview_of_a_still_shows_a_hint_and_no_error(viewer, analysed, analyse, qtbot):
    viewer.layers.clear()
    viewer.add_image(moving_disc(frames=1)[0], name="still", contrast_limits=(0, 255))
    analyse(analysed)
    qtbot.waitUntil(lambda: len(maps_in(viewer)) == 1)
    message = analysed.store.state.message
    assert message.text.startswith("Done")
    assert not message.error
    assert "ff6b5f" not in analysed.run.message.styleSheet()
    assert analysed.sheet._model.rowCount() == 0
    assert analysed.sheet.current() == -1
    assert "One frame" in analysed.sheet.hint()
    assert "One frame" in analysed.hotspots.note.text()


def test_a_result_that_is_reopened_goes_with_its_layers_too(viewer, analysed, qtbot, tmp_path, make_widget):
    from napari.components import ViewerModel

    from napari_hrtem_vae.widgets.results_reader import read_result

    analysed.save(tmp_path / "result.zarr")
    qtbot.waitUntil(lambda: not analysed.saver.busy, timeout=20_000)
    other = ViewerModel()
    widget = make_widget(other)
    for data, options, kind in read_result(str(tmp_path / "result.zarr")):
        other._add_layer_from_data(data, options, kind)
    assert widget.maps.latent_box.count() == 4
    other.layers.clear()
    qtbot.waitUntil(lambda: is_empty(widget))


def test_cancel_is_answered_at_once_while_the_model_is_loaded(viewer, make_widget, qtbot, video_array):
    viewer.add_image(video_array, **NM)
    widget = make_widget(viewer)
    qtbot.mouseClick(widget.run.button, Qt.MouseButton.LeftButton)
    qtbot.mouseClick(widget.run.button, Qt.MouseButton.LeftButton)
    assert widget.run.button.text() == "Cancelling…"
    assert widget.run.progress.text() == "Cancelling…"
    # steps that were under way do not write over it
    said = []
    while widget.run.work is not None:
        said.append(widget.run.progress.text())
        qtbot.wait(5)
    assert set(said) <= {"Cancelling…"}
    assert widget.run.message.text().startswith("Cancelled")
    assert widget.run.button.text() == "Analyze"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("time_correlated_variance", "film · z2 ρ·var"),
        ("variance", "film · z2 var"),
        ("spearman", "film · z2 ρ"),
        ("significance", "film · z2 sig"),
        ("z", "film · z2"),
        ("change", "film · change"),
    ],
)
def test_names_of_maps_fit_into_the_layer_list(kind, name):
    from napari_hrtem_vae.widgets.layers import map_name

    assert map_name("film", kind, 2) == name


def test_the_table_explains_its_columns(analysed):
    tips = [analysed.hotspots.table.horizontalHeaderItem(i).toolTip() for i in range(4)]
    assert "ρ² × variance" in tips[0]
    assert "not a significance" in tips[0]
    assert "nm²" in tips[1]
    assert all(tips)


def test_the_right_axis_is_offered_only_where_there_is_something_for_it(analysed):
    assert analysed.region.right_row.isHidden()
    result = analysed.store.state.result
    misfit = result.assign(misfit=("time", np.arange(result.sizes["time"], dtype=float)))
    analysed.store.change(result=misfit)
    assert not analysed.region.right_row.isHidden()
