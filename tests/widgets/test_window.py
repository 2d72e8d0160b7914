"""The real window, as a user meets it: sample, Analyze, latent, region, time, export, save, reopen.

With HRTEM_VAE_SCREENSHOTS set to a folder, pictures of the window are left there.
"""

from __future__ import annotations

import csv
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt

from napari_hrtem_vae.widgets.layers import result_of
from napari_hrtem_vae.widgets.regions import is_regions_layer

pytestmark = pytest.mark.window
PLUGIN = "napari-hrtem-vae"
SIZES = [(1366, 768), (1920, 1080)]


@pytest.fixture
def show(make_napari_viewer, qtbot):
    """Opens a real window of a size."""

    def make(width=1366, height=768):
        viewer = make_napari_viewer(show=True)
        viewer.window.resize(width, height)
        return viewer

    return make


def picture(viewer, qtbot, name):
    folder = os.environ.get("HRTEM_VAE_SCREENSHOTS")
    if folder:
        qtbot.wait(300)
        Path(folder).mkdir(parents=True, exist_ok=True)
        viewer.screenshot(str(Path(folder) / f"{name}.png"), canvas_only=False, flash=False)


def maps_in(viewer):
    return [layer for layer in viewer.layers if result_of(layer) is not None]


def open_analyze(viewer):
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Analyze")
    return widget


def click(qtbot, widget, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def click_in_plot(qtbot, plot, time):
    """Click in the axes of the plot, at a time."""
    axes = plot._axes[0]
    low, high = axes.get_ylim()
    x, y = axes.transData.transform((time, (low + high) / 2)) / plot.canvas.device_pixel_ratio
    where = QPoint(round(x), round(plot.canvas.height() - y))
    qtbot.mouseClick(plot.canvas, Qt.MouseButton.LeftButton, pos=where)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_from_the_sample_to_a_saved_result(show, qtbot, tmp_path, width, height):
    viewer = show(width, height)
    tag = f"{width}x{height}"
    (video,) = viewer.open_sample(PLUGIN, "annealing-pair")
    widget = open_analyze(viewer)
    picture(viewer, qtbot, f"{tag}-1-opened")
    click(qtbot, widget, widget.run.button)
    assert widget.run.button.text() == "Cancel"
    qtbot.waitUntil(lambda: bool(maps_in(viewer)) or widget.run.work is None, timeout=120_000)
    picture(viewer, qtbot, f"{tag}-2-running")
    qtbot.waitUntil(lambda: widget.run.work is None, timeout=600_000)
    assert widget.run.message.text().startswith("Done")
    (found,) = maps_in(viewer)
    lower, upper = found.extent.world
    assert np.all(lower >= video.extent.world[0][1:])
    assert np.all(upper <= video.extent.world[1][1:])
    picture(viewer, qtbot, f"{tag}-3-done")

    before = found.data.copy()
    qtbot.keyClick(widget.maps.latent_box, Qt.Key.Key_Down)
    latent = widget.maps.latent_box.currentData()
    np.testing.assert_array_equal(
        found.data, widget.store.state.result["time_correlated_variance"][..., latent]
    )
    assert not np.array_equal(found.data, before)
    qtbot.keyClick(widget.maps.latent_box, Qt.Key.Key_Up)

    click(qtbot, widget, widget.region.draw_button)
    shapes = widget.region.layer
    ny, nx = found.data.shape
    box = np.array([[0.3, 0.25], [0.3, 0.45], [0.5, 0.45], [0.5, 0.25]]) * (ny, nx)
    shapes.add_rectangles(box)
    shapes.add_ellipses(box + np.array([0.15 * ny, 0.3 * nx]))
    shapes.mode = "pan_zoom"
    qtbot.waitUntil(lambda: len(widget.plot._content.left) == 2, timeout=10_000)
    assert widget.plot.isVisible()

    times = widget.store.state.result["time"].values
    viewer.dims.set_current_step(0, 5)
    assert widget.plot._time == pytest.approx(times[5])
    qtbot.wait(200)
    click_in_plot(qtbot, widget.plot, times[len(times) // 2])
    assert viewer.dims.current_step[0] == len(times) // 2
    viewer.layers.selection.active = video
    viewer.reset_view()
    picture(viewer, qtbot, f"{tag}-4-regions")
    click(qtbot, widget, widget.maps.overview_button)
    picture(viewer, qtbot, f"{tag}-5-overview")
    widget.hotspots.table.cellClicked.emit(0, 0)
    picture(viewer, qtbot, f"{tag}-6-place")

    widget.plot.export_csv(tmp_path / "traces.csv")
    widget.plot.export_figure(tmp_path / "traces.svg")
    with (tmp_path / "traces.csv").open(newline="") as file:
        rows = [row for row in csv.reader(file) if row and not row[0].startswith("#")]
    assert any("Region 1" in heading for heading in rows[0])
    assert len(rows) == 1 + len(times)
    assert "Region 2" in (tmp_path / "traces.svg").read_text()

    path = tmp_path / "result.zarr"
    widget.save(path)
    qtbot.waitUntil(lambda: not widget.saver.busy, timeout=20_000)
    other = show(width, height)
    other.open(path, plugin=PLUGIN)
    again = open_analyze(other)
    (reopened,) = maps_in(other)
    np.testing.assert_allclose(reopened.extent.world, found.extent.world, atol=1e-6)
    assert len([layer for layer in other.layers if is_regions_layer(layer)]) == 1
    assert [layer for layer in other.layers if layer.ndim == 3]
    qtbot.waitUntil(lambda: len(again.plot._content.left) == 2, timeout=10_000)
    np.testing.assert_allclose(
        again.plot._content.left[0].values, widget.plot._content.left[0].values, rtol=1e-5
    )
    picture(other, qtbot, f"{tag}-7-reopened")


def test_a_viewer_closed_while_work_runs_ends_the_work(show, qtbot, model_file):
    viewer = show()
    viewer.open_sample(PLUGIN, "annealing-pair")
    widget = open_analyze(viewer)
    widget.model.load_file(model_file)
    widget.store.change(parameters=replace(widget.store.state.parameters, step=1))
    click(qtbot, widget, widget.run.button)
    qtbot.waitUntil(lambda: widget.store.state.result is not None, timeout=60_000)
    work = widget.run.work
    viewer.close()
    qtbot.waitUntil(lambda: not work.running, timeout=3000)
    qtbot.wait(200)


def test_a_dock_closed_with_its_cross_ends_the_work_but_a_hidden_one_does_not(show, qtbot, model_file):
    viewer = show()
    viewer.open_sample(PLUGIN, "annealing-pair")
    dock, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Analyze")
    widget.model.load_file(model_file)
    widget.store.change(parameters=replace(widget.store.state.parameters, step=1))
    click(qtbot, widget, widget.run.button)
    qtbot.waitUntil(lambda: widget.store.state.result is not None, timeout=60_000)
    work = widget.run.work
    dock.hide()
    qtbot.wait(100)
    assert work.running
    assert widget.run.work is work
    dock.show()
    dock.destroyOnClose()
    qtbot.waitUntil(lambda: not work.running, timeout=3000)
    qtbot.wait(100)


def test_files_are_opened_with_the_widget_beside_them(show):
    from napari_hrtem_vae.simulate import sample_path
    from napari_hrtem_vae.widgets.viewer import open_files

    viewer = show()
    widget = open_files(viewer, [sample_path()])
    assert widget.store.state.video is viewer.layers[0]
    assert widget.store.state.pixel_size_nm is not None


def test_the_menu_and_the_readers_know_the_plugin():
    from npe2 import PluginManager

    manager = PluginManager.instance()
    manager.discover()
    names = {widget.display_name for widget in manager.get_manifest(PLUGIN).contributions.widgets}
    assert "Analyze" in names
    for name in ("film.dm4", "film.mrc", "film.mp4", "film.TIF", "film.ser"):
        assert PLUGIN in {reader.plugin_name for reader in manager.iter_compatible_readers([name])}


def test_no_file_is_claimed_that_cannot_be_read():
    import yaml

    import napari_hrtem_vae
    from napari_hrtem_vae.io.files import supported_suffixes

    manifest = yaml.safe_load((Path(napari_hrtem_vae.__file__).parent / "napari.yaml").read_text())
    claimed = {p for reader in manifest["contributions"]["readers"] for p in reader["filename_patterns"]}
    assert claimed <= {f"*.{suffix}" for suffix in supported_suffixes()}
    assert "*.dm4" in claimed


def test_the_widget_opens_without_what_takes_long_to_load(tmp_path):
    """In a process of its own, for here everything is loaded already."""
    import subprocess
    import sys

    program = """
import sys
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication
app = QApplication([])
viewer = ViewerModel()
viewer.add_image(__import__("numpy").zeros((3, 80, 80), "uint8"))
from napari_hrtem_vae.widgets.analyze import AnalyzeWidget
widget = AnalyzeWidget(viewer)
widget.show()
app.processEvents()
slow = ("torch", "matplotlib", "zarr", "rsciio", "distributed")
sys.stdout.write(" ".join(name for name in slow if name in sys.modules))
"""
    settings = {"XDG_CONFIG_HOME": str(tmp_path), "QT_QPA_PLATFORM": "offscreen"}
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | settings, check=True
    )
    assert run.stdout == ""
