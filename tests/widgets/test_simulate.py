"""The widget Simulate over a viewer without a window, with the real work in its thread."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image, Labels
from qtpy.QtCore import Qt

import napari_hrtem_vae as hv
from napari_hrtem_vae.simulate.parameters import ScenarioParameters
from napari_hrtem_vae.widgets.layers import frame_time_of, pixel_size_of, video_axes
from napari_hrtem_vae.widgets.simulate import SimulateWidget

SMALL = ScenarioParameters(frames=4, rows=60, columns=120, seed=3)


@pytest.fixture
def make_widget(qtbot):
    made = []

    def make(viewer, parameters=SMALL, scenario="rotation"):
        widget = SimulateWidget(viewer)
        widget.form.show_parameters(parameters)
        widget.scenario.setCurrentText(scenario)
        made.append(widget)
        return widget

    yield make
    for widget in made:
        work = widget.work
        widget.shut_down()
        if work is not None:
            work.join(20)
        widget.deleteLater()


def click(qtbot, widget):
    qtbot.mouseClick(widget.button, Qt.MouseButton.LeftButton)


def simulate(qtbot, widget):
    click(qtbot, widget)
    qtbot.waitUntil(lambda: widget.work is None, timeout=60_000)


def test_the_video_and_its_truth_become_layers_that_lie_on_each_other(viewer, make_widget, qtbot):
    widget = make_widget(viewer, scenario="rotation+growth")
    widget.pixel_size.setText("0.02")
    simulate(qtbot, widget)
    video, grains, change = viewer.layers
    assert (type(video), type(grains), type(change)) == (Image, Labels, Labels)
    scene = hv.simulate("rotation+growth", frames=4, rows=60, columns=120, seed=3, pixel_size_nm=0.02)
    np.testing.assert_array_equal(video.data, scene["video"])
    np.testing.assert_array_equal(grains.data == 2, scene["presence"][:, 1])
    np.testing.assert_array_equal(change.data, scene["moving"])
    assert change.features["kind"][int(change.data[scene["presence"].values[0, 0]].max())] == "rotation"
    for layer, labels in ((video, ("time", "y", "x")), (grains, ("time", "y", "x")), (change, ("y", "x"))):
        assert tuple(layer.axis_labels) == labels
        assert [str(unit) for unit in layer.units][-2:] == ["nanometer"] * 2
        np.testing.assert_allclose(layer.scale[-2:], 0.02)
    assert video.name == "simulated rotation+growth"
    assert (pixel_size_of(video), frame_time_of(video, video_axes(video))) == (0.02, pytest.approx(0.95))


def test_every_scenario_is_offered(viewer, make_widget):
    widget = make_widget(viewer)
    offered = {widget.scenario.itemText(index) for index in range(widget.scenario.count())}
    assert offered == set(hv.simulate.SCENARIOS)


def test_the_form_gives_the_parameters_back(viewer, make_widget):
    assert make_widget(viewer).parameters() == SMALL
    assert make_widget(viewer, ScenarioParameters()).parameters() == ScenarioParameters()


def test_cancel_ends_the_work_and_adds_nothing(viewer, make_widget, qtbot):
    widget = make_widget(viewer, ScenarioParameters(frames=2000, rows=200, columns=300))
    click(qtbot, widget)
    assert widget.button.text() == "Cancel"
    qtbot.waitUntil(lambda: "of 2000 frames" in widget.message.text(), timeout=30_000)
    click(qtbot, widget)
    qtbot.waitUntil(lambda: widget.work is None, timeout=30_000)
    assert widget.button.text() == "Simulate"
    assert "Cancelled" in widget.message.text()
    assert len(viewer.layers) == 0


@pytest.mark.parametrize(
    ("scenario", "size", "says"),
    [("explosion", "0.014", "no scenario explosion"), ("static", "", "pixel_size_nm is 0.0")],
)
def test_what_is_wrong_is_said_before_the_work(viewer, make_widget, qtbot, scenario, size, says):
    widget = make_widget(viewer, scenario=scenario)
    widget.pixel_size.setText(size)
    click(qtbot, widget)
    assert widget.work is None
    assert says in widget.message.text()


def test_what_goes_wrong_in_the_work_is_said(viewer, make_widget, qtbot):
    widget = make_widget(viewer, ScenarioParameters(frames=100_000, rows=100_000, columns=100_000))
    simulate(qtbot, widget)
    assert "half of the free memory" in widget.message.text()
    assert len(viewer.layers) == 0


def test_a_widget_that_goes_away_stops_its_work(viewer, make_widget, qtbot):
    widget = make_widget(viewer, ScenarioParameters(frames=5000, rows=200, columns=300))
    click(qtbot, widget)
    work = widget.work
    widget.close()
    work.join(20)
    assert not work.running
    assert widget.work is None


def test_the_manifest_offers_the_widget():
    from npe2 import PluginManifest

    manifest = PluginManifest.from_distribution("napari-hrtem-vae")
    commands = {one.command for one in manifest.contributions.widgets if one.display_name == "Simulate"}
    (command,) = [one for one in manifest.contributions.commands if one.id in commands]
    assert command.python_name == "napari_hrtem_vae.widgets.simulate:SimulateWidget"
