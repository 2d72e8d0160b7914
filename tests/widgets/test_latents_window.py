"""Latents in the real window: a click on the sample, sliders, frames, strips, and a closed viewer.

With HRTEM_VAE_SCREENSHOTS set to a folder, pictures of the window are left there.
"""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt

from .test_window import PLUGIN, click_in_plot, picture, show  # noqa: F401

pytestmark = pytest.mark.window
PATIENCE_MS = 120_000


def open_latents(viewer, qtbot):
    dock, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Latents")
    qtbot.waitUntil(lambda: widget.store.state.after is not None, timeout=PATIENCE_MS)
    qtbot.wait(300)
    return dock, widget


def click_on_video(viewer, qtbot, y, x):
    """Press and release the mouse over a pixel of the first layer."""
    world = np.array(viewer.layers[0].data_to_world((0, y, x)))[-2:]
    place = (world - viewer.camera.center[-2:]) * viewer.camera.zoom + np.array(viewer.canvas.size) / 2
    # napari tells the mouse in no other way than through its own canvas
    canvas = viewer.window._qt_viewer.canvas.native
    qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=QPoint(round(place[1]), round(place[0])))


@pytest.mark.filterwarnings("ignore:Public access to Window")
def test_from_a_click_on_the_sample_to_strips_and_a_closed_dock(show, qtbot, tmp_path):  # noqa: F811
    viewer = show()
    (video,) = viewer.open_sample(PLUGIN, "annealing-pair")
    callbacks = list(viewer.mouse_drag_callbacks)
    dock, widget = open_latents(viewer, qtbot)
    picture(viewer, qtbot, "latents-1-opened")
    click_on_video(viewer, qtbot, 120, 200)
    qtbot.waitUntil(lambda: widget.store.state.complete, timeout=PATIENCE_MS)
    state = widget.store.state
    np.testing.assert_allclose(state.site.corners_px.mean(0), (120, 200), atol=5)
    assert viewer.layers.selection.active is video
    assert widget.dock.plot.isVisible()
    assert len(widget.dock.plot._content.left) == 4
    picture(viewer, qtbot, "latents-2-clicked")

    latent = widget.sliders.order[0]
    slider = widget.sliders.sliders[latent]
    shown = widget.store.state.after
    slider.setFocus()
    qtbot.keyClick(slider, Qt.Key.Key_PageUp)
    # The picture alone may also change because it was still being drawn when the key was pressed.
    qtbot.waitUntil(lambda: widget.store.state.z[latent] > state.z[latent], timeout=PATIENCE_MS)
    qtbot.waitUntil(lambda: widget.store.state.after is not shown, timeout=PATIENCE_MS)
    picture(viewer, qtbot, "latents-3-moved")

    viewer.dims.set_current_step(0, 7)
    qtbot.waitUntil(lambda: not widget.site.busy, timeout=PATIENCE_MS)
    np.testing.assert_allclose(widget.store.state.z, widget.store.state.series[7], atol=1e-4)
    qtbot.waitUntil(lambda: widget.dock.plot._background is not None, timeout=PATIENCE_MS)
    click_in_plot(qtbot, widget.dock.plot, state.site.times[30])
    assert viewer.dims.current_step[0] == 30

    # as many sliders as latents can be reached, and the pictures stay in view
    last = widget.sliders.sliders[widget.sliders.order[-1]]
    assert last.parentWidget() is not None
    assert widget.pictures.view.visibleRegion().boundingRect().height() == widget.pictures.view.height()

    widget.dock.setCurrentIndex(1)
    strips = widget.dock.strips
    qtbot.waitUntil(lambda: strips.traversal is not None and not strips.busy, timeout=PATIENCE_MS)
    picture(viewer, qtbot, "latents-4-strips")
    strips.export(tmp_path / "strips.png")
    assert (tmp_path / "strips.png").stat().st_size > 10_000

    # its cross takes all of it away
    dock.destroyOnClose()
    qtbot.waitUntil(lambda: list(viewer.layers) == [video], timeout=PATIENCE_MS)
    assert list(viewer.mouse_drag_callbacks) == callbacks
    viewer.dims.set_current_step(0, 3)
    qtbot.wait(100)


def test_a_viewer_closed_while_a_site_is_read_ends_the_work(show, qtbot):  # noqa: F811
    import dask.array as da

    viewer = show()
    noise = np.random.default_rng(0).integers(0, 255, (1, 256, 256), dtype=np.uint8)
    viewer.add_image(da.tile(da.from_array(noise), (5000, 1, 1)), contrast_limits=(0, 255), name="long")
    _, widget = open_latents(viewer, qtbot)
    widget.picker.pick((0, 128, 128))
    qtbot.waitUntil(lambda: widget.store.state.site is not None, timeout=PATIENCE_MS)
    work = widget.site._series._run.work
    viewer.close()
    qtbot.waitUntil(lambda: not work.running, timeout=PATIENCE_MS)
    qtbot.wait(100)
