"""Training in the real window: a folder of PbS stills becomes a model that Analyze uses.

With HRTEM_VAE_SCREENSHOTS set to a folder, pictures of the window are left there.
"""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt

from napari_hrtem_vae.vae.card import read_card

from .test_train import SIMULATED, click, make_tiny, own_place, stills, tick, wait_for_an_epoch_to_keep  # noqa: F401
from .test_window import PLUGIN, maps_in, picture, show  # noqa: F401

pytestmark = pytest.mark.window


def open_train(viewer):
    return viewer.window.add_plugin_dock_widget(PLUGIN, "Train")


def test_from_a_folder_of_stills_to_the_maps_of_the_new_model(show, qtbot, stills, tmp_path):  # noqa: F811
    viewer = show()
    _, widget = open_train(viewer)
    picture(viewer, qtbot, "train-1-opened")
    widget.sources.add_files([str(stills)])
    make_tiny(widget, tmp_path, segments=256)
    click(qtbot, widget.segments.button)
    qtbot.waitUntil(lambda: widget.store.state.preview is not None, timeout=120_000)
    picture(viewer, qtbot, "train-2-preview")
    click(qtbot, widget.run.button)
    assert widget.run.button.text() == "Cancel"
    qtbot.waitUntil(lambda: len(widget.store.state.epochs) > 0, timeout=120_000)
    assert widget.plot.isVisible()
    qtbot.wait(200)
    picture(viewer, qtbot, "train-3-running")
    qtbot.waitUntil(lambda: widget.run.work is None, timeout=120_000)
    assert widget.run.message.text().startswith("Done")
    picture(viewer, qtbot, "train-4-done")
    assert read_card(tmp_path / "model.safetensors").material == "own images"
    widget.plot.export_figure(tmp_path / "training.svg")
    assert "latents active" in (tmp_path / "training.svg").read_text()

    viewer.open(str(sorted(stills.iterdir())[0]), plugin=PLUGIN)
    _, analyze = viewer.window.add_plugin_dock_widget(PLUGIN, "Analyze")
    analyze.model.model_box.setCurrentIndex(analyze.model.model_box.findText("model (own)"))
    qtbot.mouseClick(analyze.run.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: analyze.run.work is None, timeout=120_000)
    assert analyze.run.message.text().startswith("Done")
    qtbot.waitUntil(lambda: len(maps_in(viewer)) == 1, timeout=10_000)


def test_a_viewer_closed_in_a_run_keeps_the_best_so_far(show, qtbot, tmp_path):  # noqa: F811
    viewer = show()
    dock, widget = open_train(viewer)
    tick(widget, SIMULATED)
    make_tiny(widget, tmp_path, epochs=500)
    click(qtbot, widget.run.button)
    wait_for_an_epoch_to_keep(qtbot, widget)
    work = widget.run.work
    dock.hide()
    qtbot.wait(100)
    assert widget.run.work is work
    viewer.close()
    qtbot.waitUntil(lambda: not work.running, timeout=30_000)
    assert read_card(tmp_path / "model.safetensors").training["epoch"] >= 1
