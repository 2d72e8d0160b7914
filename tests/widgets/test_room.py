"""Room on a laptop's screen: the video stays in view beside the docks, and the table is seen.

In a real window of 1366 × 768 px.
"""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QPoint
from qtpy.QtWidgets import QScrollArea

from .conftest import moving_disc

pytestmark = pytest.mark.window
PLUGIN = "napari-hrtem-vae"
NM = {"scale": (0.5, 0.02, 0.02), "units": ("s", "nm", "nm"), "axis_labels": ("t", "y", "x")}


@pytest.fixture
def laptop(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1366, 768)
    qtbot.wait(200)
    # as wide as the canvas: a dock beside it cuts the video off
    viewer.add_image(moving_disc(shape=(100, 180)), **NM)
    return viewer


def open_analyze(viewer, qtbot, model_file):
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Analyze")
    widget.model.load_file(model_file)
    qtbot.wait(400)
    return widget


def in_view(viewer):
    """Whether the frames lie on the canvas."""
    size = np.array(viewer.canvas.size) / viewer.camera.zoom
    low, high = viewer.layers[0].extent.world[:, 1:]
    center = np.array(viewer.camera.center[-2:])
    return bool((low >= center - size / 2).all() and (high <= center + size / 2).all())


def test_the_video_stays_in_view_when_widget_and_plot_open_and_close(laptop, qtbot, model_file):
    alone = laptop.camera.zoom
    widget = open_analyze(laptop, qtbot, model_file)
    beside = laptop.camera.zoom
    assert beside < alone
    assert in_view(laptop)
    widget.region.draw_button.click()
    qtbot.wait(400)
    assert widget.plot.isVisible()
    assert in_view(laptop)
    above = laptop.camera.zoom
    widget.plot.parent().hide()
    qtbot.wait(400)
    assert laptop.camera.zoom > above or above == pytest.approx(beside, rel=0.01)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", ["zoom", "pan"])
def test_a_view_that_the_user_chose_is_kept(laptop, qtbot, model_file, when, what):
    def choose():
        if what == "zoom":
            laptop.camera.zoom *= 4
        else:
            laptop.camera.center = (0, *(np.array(laptop.camera.center[-2:]) + 0.3))

    if when == "before":
        choose()
    else:
        widget = open_analyze(laptop, qtbot, model_file)
        choose()
    chosen = (*laptop.camera.center, laptop.camera.zoom)
    if when == "before":
        widget = open_analyze(laptop, qtbot, model_file)
    widget.region.draw_button.click()
    qtbot.wait(400)
    np.testing.assert_allclose((*laptop.camera.center, laptop.camera.zoom), chosen, rtol=1e-3)


def test_home_brings_back_a_view_that_follows(laptop, qtbot, model_file):
    widget = open_analyze(laptop, qtbot, model_file)
    laptop.camera.zoom *= 4
    laptop.reset_view()
    widget.region.draw_button.click()
    qtbot.wait(400)
    assert in_view(laptop)


def test_five_rows_of_the_table_are_seen_without_scrolling(laptop, qtbot, model_file, analyse):
    widget = open_analyze(laptop, qtbot, model_file)
    analyse(widget)
    qtbot.wait(300)
    table, area = widget.hotspots.table, widget.findChild(QScrollArea)
    assert table.rowCount() > 0
    top = table.viewport().mapTo(area, QPoint(0, 0)).y()
    seen = min(table.viewport().height(), area.viewport().height() - top)
    assert seen >= 5 * table.rowHeight(0)


def test_plot_and_overview_together_leave_the_window_its_size(laptop, qtbot, model_file, analyse):
    widget = open_analyze(laptop, qtbot, model_file)
    analyse(widget)
    widget.region.draw_button.click()
    widget.show_overview()
    qtbot.wait(400)
    assert laptop.window._qt_window.height() == 768


def test_a_long_label_of_an_axis_does_not_run_into_the_legend(qtbot):
    from napari_hrtem_vae.widgets.traces import REGION_COLORS, Trace, TracePlot

    plot = TracePlot()
    qtbot.addWidget(plot)
    plot.resize(1000, 215)
    plot.show()
    qtbot.waitExposed(plot)
    time = np.arange(20.0)
    traces = [Trace(f"Region {i}", REGION_COLORS[i], time, time * i) for i in range(2)]
    plot.set_traces(traces, y_label="z55, mean of the whole region")
    plot.canvas.draw()
    label = plot._axes[0].yaxis.label.get_window_extent()
    assert not label.overlaps(plot.canvas.figure.legends[0].get_window_extent())
    assert label.y0 >= 0
