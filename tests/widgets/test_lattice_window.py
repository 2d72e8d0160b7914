"""Lattice in the real window: the grains of the sample are tracked, seen, plotted beside z, and reopened.

With HRTEM_VAE_SCREENSHOTS set to a folder, pictures of the window are left there.
"""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from napari_hrtem_vae.simulate import sample_path

from .test_room import in_view
from .test_window import PLUGIN, click, click_in_plot, maps_in, open_analyze, picture, show  # noqa: F401

pytestmark = pytest.mark.window


def open_lattice(viewer):
    return viewer.window.add_plugin_dock_widget(PLUGIN, "Lattice")


def idle(widget):
    return not (
        widget.layers.busy
        or widget.spectrum.busy
        or widget.maps.busy
        or (widget.feed is not None and widget.feed.busy)
    )


def track(qtbot, widget):
    click(qtbot, widget, widget.run.button)
    assert widget.run.button.text() == "Cancel"
    qtbot.waitUntil(lambda: widget.run.work is None, timeout=120_000)
    qtbot.waitUntil(lambda: idle(widget), timeout=60_000)


def layer_of(viewer, key):
    (found,) = [layer for layer in viewer.layers if layer.metadata.get("hrtem_vae", {}).get("map") == key]
    return found


@pytest.fixture(scope="module")
def truth():
    path = sample_path()
    return xr.open_zarr(path.with_name("annealing-pair-truth.zarr"), consolidated=False)


def test_the_grains_of_the_sample_from_spectrum_to_a_reopened_result(show, qtbot, tmp_path, truth):  # noqa: F811
    viewer = show()
    (video,) = viewer.open_sample(PLUGIN, "annealing-pair")
    _, widget = open_lattice(viewer)
    qtbot.waitUntil(lambda: idle(widget), timeout=30_000)
    assert len(widget.spectrum.look.bases) == 2
    picture(viewer, qtbot, "lattice-1-opened")
    track(qtbot, widget)
    assert widget.run.message.text().startswith("Done")

    result = widget.store.state.result
    # three of the standard errors that are stated
    for frame, expected in ((0, 13.7), (-1, 9.3)):
        assert abs(result["misfit_deg"][frame] - expected) < 3 * result["misfit_sigma_deg"][frame]
    assert widget.plot.isVisible()
    drawn = widget.plot._content.left[0]
    np.testing.assert_array_equal(drawn.values, result["misfit_deg"])
    picture(viewer, qtbot, "lattice-2-tracked")

    masks = layer_of(viewer, "presence")
    np.testing.assert_allclose(masks.extent.world[0], video.extent.world[0], atol=0.12)
    for grain in (0, 1):
        _assert_on_truth(masks, truth, grain, frame=0)

    times = result["time"].values
    viewer.dims.set_current_step(0, 5)
    assert widget.plot._time == pytest.approx(times[5])
    qtbot.waitUntil(lambda: widget.plot._background is not None)
    click_in_plot(qtbot, widget.plot, times[30])
    assert viewer.dims.current_step[0] == 30

    for key in ("orientation", "strain"):
        click(qtbot, widget, widget.maps.boxes[key])
    qtbot.waitUntil(lambda: idle(widget), timeout=60_000)
    masks.visible = False
    layer_of(viewer, "change").visible = False
    layer_of(viewer, "strain").visible = False
    picture(viewer, qtbot, "lattice-3-orientation")
    layer_of(viewer, "orientation").visible = False
    layer_of(viewer, "strain").visible = True
    widget.plots.left_box.setCurrentIndex(widget.plots.left_box.findData("angle"))
    widget.plots.right_box.setCurrentIndex(widget.plots.right_box.findData("area"))
    qtbot.waitUntil(lambda: idle(widget), timeout=60_000)
    picture(viewer, qtbot, "lattice-4-strain")
    widget.plot.export_csv(tmp_path / "lattice.csv")
    assert "standard error" in (tmp_path / "lattice.csv").read_text()

    path = tmp_path / "lattice.zarr"
    widget.save(path)
    qtbot.waitUntil(lambda: not widget.saver.busy, timeout=20_000)
    other = show()
    other.open(path, plugin=PLUGIN)
    _, again = open_lattice(other)
    qtbot.waitUntil(lambda: idle(again), timeout=30_000)
    reopened = layer_of(other, "presence")
    np.testing.assert_array_equal(np.asarray(reopened.data), np.asarray(masks.data))
    np.testing.assert_allclose(reopened.extent.world, masks.extent.world, atol=1e-6)
    np.testing.assert_array_equal(again.plot._content.left[0].values, result["misfit_deg"])
    qtbot.waitUntil(lambda: in_view(other), timeout=5_000)
    picture(other, qtbot, "lattice-5-reopened")


def _assert_on_truth(masks, truth, grain, frame):
    """Mask and true mask at the same places of the world: most of either lies in both."""
    y, x = np.meshgrid(truth["y"].values, truth["x"].values, indexing="ij")
    time = float(truth["time"][frame])
    world = np.stack([np.full(y.size, time), y.ravel(), x.ravel()], axis=1)
    cells = np.array([np.round(masks.world_to_data(point)) for point in world[::7]]).astype(int)
    cells = np.clip(cells, 0, np.array(masks.data.shape) - 1)
    found = np.asarray(masks.data)[tuple(cells.T)] == grain + 1
    true = truth["presence"][frame, grain].values.ravel()[::7]
    assert (found & true).sum() > 0.85 * (found | true).sum()


def test_z_and_the_lattice_of_one_region_stand_in_one_plot(show, qtbot, model_file):  # noqa: F811
    viewer = show()
    viewer.open_sample(PLUGIN, "annealing-pair")
    _, widget = open_lattice(viewer)
    track(qtbot, widget)
    analyze = open_analyze(viewer)
    analyze.model.load_file(model_file)
    click(qtbot, analyze, analyze.run.button)
    qtbot.waitUntil(lambda: analyze.run.work is None, timeout=120_000)
    analyze.region.draw()
    placement = analyze.store.state.placement
    corners = placement.world_to_sites([[1.2, 1.5], [1.2, 3.5], [3.6, 3.5], [3.6, 1.5]])
    analyze.region.layer.add_rectangles(corners)
    qtbot.waitUntil(lambda: len(analyze.plot._content.left) == 1, timeout=10_000)
    box = analyze.region.right_box
    box.setCurrentIndex(box.findData("lattice:region"))
    qtbot.waitUntil(lambda: len(analyze.plot._content.right) == 1, timeout=10_000)
    assert "ρ =" in analyze.plot._content.note
    assert "n = 40" in analyze.plot._content.note
    analyze.region.layer.mode = "pan_zoom"
    picture(viewer, qtbot, "lattice-6-region")
    box.setCurrentIndex(box.findData("lattice:misfit"))
    qtbot.waitUntil(lambda: analyze.plot._content.right_label == "misfit (°)", timeout=10_000)
    viewer.layers.remove(layer_of(viewer, "presence"))
    assert box.findData("lattice:misfit") < 0
    qtbot.waitUntil(lambda: not analyze.plot._content.right, timeout=10_000)


def test_a_viewer_closed_while_grains_are_followed_ends_the_work(show, qtbot):  # noqa: F811
    viewer = show()
    viewer.open_sample(PLUGIN, "annealing-pair")
    _, widget = open_lattice(viewer)
    click(qtbot, widget, widget.run.button)
    work = widget.run.work
    viewer.close()
    qtbot.waitUntil(lambda: not work.running, timeout=10_000)
