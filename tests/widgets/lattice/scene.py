"""Two crystals, one of which turns and shrinks, and what the widget's tests do with them."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import Qt

from napari_hrtem_vae.widgets.layers import note_of

from ...lattice.scenes import Disc, film, paint

NM = {"scale": (0.5, 0.03, 0.03), "units": ("s", "nm", "nm"), "axis_labels": ("time", "y", "x")}
FRAMES = 5
SHAPE = (112, 256)
PAIR = (Disc((56, 78), 46, 3.0), Disc((56, 176), 44, 15.0))
PLACE = {"translate": (0.0, 1.5, -2.0)}


def turning(frames=FRAMES, noise=True, seed=0):
    """Two crystals; the second turns from 15° to 11° and loses its outer rim: (frames, *SHAPE)."""
    rng = np.random.default_rng(seed)
    made = []
    for share in np.linspace(0, 1, frames):
        second = Disc(PAIR[1].centre, 44 - 8 * share, 15.0 - 4 * share)
        image = paint([PAIR[0], second], SHAPE) + film(SHAPE, seed=1, strength=0.01)
        made.append(rng.poisson(20 * image) if noise else 20 * image)
    return np.stack(made).astype(np.float32)


def idle(widget):
    return (
        widget.run.work is None
        and not widget.saver.busy
        and not widget.layers.busy
        and not widget.spectrum.busy
        and not widget.maps.busy
        and (widget.feed is None or not widget.feed.busy)
    )


def settle(qtbot, widget):
    qtbot.waitUntil(lambda: idle(widget), timeout=60_000)


def track(qtbot, widget):
    qtbot.mouseClick(widget.run.button, Qt.MouseButton.LeftButton)
    settle(qtbot, widget)


def layer_of(viewer, key):
    found = [layer for layer in viewer.layers if note_of(layer).get("map") == key]
    return found[0] if len(found) == 1 else None
