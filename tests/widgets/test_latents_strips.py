"""Traversal strips of the widget Latents."""

from __future__ import annotations

import numpy as np
import tifffile
from qtpy.QtCore import QPointF, Qt

from .test_latents import (
    LATENTS,
    PATIENCE_MS,
    VARIANCES,
    film,  # noqa: F401
    make_latents,  # noqa: F401
    pick,
    whole_model,  # noqa: F401
)

# ruff: noqa: F811


def shown_strips(qtbot, widget):
    strips = widget.dock.strips
    widget.dock.setCurrentIndex(1)
    widget.dock.show()
    qtbot.waitUntil(lambda: strips.traversal is not None and not strips.busy, timeout=PATIENCE_MS)
    return strips


def test_strips_begin_at_the_window_and_a_click_in_them_moves_the_slider(viewer, make_latents, film, qtbot):
    widget = make_latents(viewer)
    pick(qtbot, widget, 40, 24)
    strips = shown_strips(qtbot, widget)
    state = widget.store.state
    np.testing.assert_array_equal(strips.traversal.start, state.start)
    assert len(strips.traversal.latents) == 8
    latent = strips.traversal.latents[1]
    moved = state.start.copy()
    moved[latent] = -3 * np.sqrt(VARIANCES[latent])
    np.testing.assert_allclose(
        strips.traversal.pictures[1, 0], state.loaded.decode(moved[None])[0], atol=1e-5
    )
    qtbot.mouseClick(strips.view, Qt.MouseButton.LeftButton, pos=QPointF(100, 120).toPoint())
    np.testing.assert_allclose(widget.store.state.z, moved, atol=1e-5)


def test_one_latent_or_all_in_so_many_columns(viewer, make_latents, qtbot, tmp_path):
    widget = make_latents(viewer)
    strips = shown_strips(qtbot, widget)
    strips.latents_box.setCurrentIndex(1)
    strips.columns_spin.setValue(5)
    qtbot.waitUntil(lambda: strips.traversal.values.shape == (LATENTS, 5), timeout=PATIENCE_MS)
    assert set(strips.traversal.latents) == set(range(LATENTS))
    strips.latents_box.setCurrentIndex(strips.latents_box.findData(6))
    qtbot.waitUntil(lambda: strips.traversal.latents == (6,), timeout=PATIENCE_MS)
    strips.export(tmp_path / "strip.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "strip.tif"), strips.traversal.mosaic())
    strips.export(tmp_path / "strip.svg")
    assert "z6" in (tmp_path / "strip.svg").read_text()


def test_strips_follow_another_window_only_while_they_are_seen(viewer, make_latents, film, qtbot):
    widget = make_latents(viewer)
    strips = shown_strips(qtbot, widget)
    np.testing.assert_array_equal(strips.traversal.start, np.zeros(LATENTS))
    pick(qtbot, widget, 40, 24)
    qtbot.waitUntil(
        lambda: np.array_equal(strips.traversal.start, widget.store.state.start), timeout=PATIENCE_MS
    )
    widget.dock.hide()
    before = strips.traversal
    pick(qtbot, widget, 12, 50)
    qtbot.wait(300)
    assert strips.traversal is before
    widget.dock.show()
    qtbot.waitUntil(
        lambda: np.array_equal(strips.traversal.start, widget.store.state.start), timeout=PATIENCE_MS
    )
