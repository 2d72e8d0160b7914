"""Keeps the whole video in view while docks come and go, until the user zooms or pans."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from qtpy.QtCore import QObject, QTimer

SETTLE_MS = 30
APART = 0.02  # of the layers' width, between centres of fits to some of the layers
CLOSER = 1.5  # a window made smaller leaves the zoom up to this far above that of a fit


class ViewKeeper(QObject):
    """Fits the view again when the canvas changes its size, and leaves a view that the user chose alone.

    Parameters
    ----------
    viewer : napari viewer or ViewerModel
        Whose view.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self._viewer = viewer
        self._given: tuple[float, ...] | None = None  # what the last fit gave; None: the user has the view
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SETTLE_MS)
        self._timer.timeout.connect(self._fit)
        self._begin()
        viewer.events.reset_view.connect(self._fitted)
        # older versions of napari do not tell the size of their canvas
        canvas = getattr(viewer, "canvas", None)
        self._sizes = canvas.events.size if canvas is not None else None
        if self._sizes is not None:
            self._sizes.connect(self._resized)

    def shut_down(self) -> None:
        """Let go of the viewer."""
        self._viewer.events.reset_view.disconnect(self._fitted)
        if self._sizes is not None:
            self._sizes.disconnect(self._resized)
        with suppress(RuntimeError):  # Qt may have destroyed it already
            self._timer.stop()

    def _view(self) -> tuple[float, ...]:
        camera = self._viewer.camera
        return (*camera.center[-2:], camera.zoom)

    def _begin(self) -> None:
        """Find out whether the view is that of a fit: what came before this object is not known."""
        camera = self._viewer.camera
        if self._viewer.dims.ndisplay != 2 or not len(self._viewer.layers):
            return
        center, zoom = camera.center, camera.zoom
        self._viewer.reset_view(reset_camera_angle=False)
        # napari fits to the first layer; those that came after it may reach a little further
        width = float(np.ptp(self._viewer.layers.extent.world[:, -2:], axis=0).max())
        apart = np.abs(np.subtract(center[-2:], camera.center[-2:])).max()
        fitted = apart <= APART * width and zoom <= CLOSER * camera.zoom
        camera.center, camera.zoom = center, zoom
        self._given = self._view() if fitted else None

    def _fitted(self, event: Any = None) -> None:
        self._given = self._view()

    def _resized(self, event: Any = None) -> None:
        if self._given is not None:
            self._timer.start()

    def _fit(self) -> None:
        if self._viewer.dims.ndisplay != 2 or not len(self._viewer.layers):
            return
        if self._given is not None and np.allclose(self._view(), self._given, rtol=1e-3, atol=1e-9):
            self._viewer.reset_view()
