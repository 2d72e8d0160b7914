"""The widget Lattice: spectrum, grains, their angles and areas through time, maps of growth and strain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFileDialog

from .docked import DockedWidget, Release
from .lattice_layers import LatticeLayers
from .lattice_panels import LatticeRegionPanel, PlotPanel
from .lattice_run import GrainsPanel, TrackPanel
from .lattice_spectrum import SpectrumPanel
from .lattice_state import LatticeStore
from .lattice_video import LatticeTimeline, LatticeVideoPanel
from .lattice_views import MapsPanel
from .saving import ResultSaver
from .view_keeper import ViewKeeper

if TYPE_CHECKING:
    from .lattice_plot import LatticePlotFeed
    from .traces import TracePlot

PLOT_NAME = "HRTEM VAE: lattice(t)"
PLOT_HINT = "Press Track to plot angles, misfit, spacings and areas against time"


class LatticeWidget(DockedWidget):
    """From a video layer to its grains: spots, angles, presence, growth and shrinkage, strain.

    Parameters
    ----------
    napari_viewer : napari.Viewer or ViewerModel
        Its image layers can be tracked; the dock of the plot is added where it has a window.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.store = LatticeStore()
        self._plot: TracePlot | None = None
        self.feed: LatticePlotFeed | None = None
        self._parts: list[Any] = []
        self.video = LatticeVideoPanel(napari_viewer, self.store)
        self.grains = GrainsPanel(self.store)
        self.spectrum = SpectrumPanel(self.store)
        self.maps = MapsPanel(napari_viewer, self.store)
        self.plots = PlotPanel(self.store)
        self.region = LatticeRegionPanel(napari_viewer, self.store)
        self.run = TrackPanel(self.store)
        self.saver = ResultSaver(self.store)
        self.layers = LatticeLayers(napari_viewer, self.store)
        self.timeline = LatticeTimeline(napari_viewer, self.store, lambda: self.layers.layer("presence"))
        self._parts = [
            _Closing(self.store),
            self.video,
            self.timeline,
            self.region,
            self.layers,
            self.maps,
            self.spectrum,
            self.saver,
            ViewKeeper(napari_viewer),
            self.run,
        ]
        panels = [self.video, self.grains, self.spectrum, self.maps, self.plots, self.region]
        self._begin(panels, self.run, Release(self._parts))
        self.store.on("result", self._result_changed)
        self.plots.save_button.clicked.connect(self._ask_where_to_save)
        # a dock knows its corner only when this widget has taken its own place
        QTimer.singleShot(0, self._result_changed)

    @property
    def plot(self) -> TracePlot:
        """The plot against time; made when it is first wanted, for it loads matplotlib."""
        if self._plot is None:
            from .lattice_plot import LatticePlotFeed
            from .traces import TracePlot

            self._plot = TracePlot(hint=PLOT_HINT)
            self.feed = LatticePlotFeed(self._plot, self.plots, self.store)
            self._parts.append(self.feed)
        return self._plot

    def _result_changed(self) -> None:
        if self.store.state.result is not None and not self._closed:
            self.show_dock(self.plot, PLOT_NAME)

    def save(self, path: str | Path) -> None:
        """Begin to write the result with its regions to a folder (.zarr); a message tells the end."""
        self.saver.save(path)

    def _ask_where_to_save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save the result", "lattice.zarr", "Result (*.zarr)")
        if path:
            self.save(path if path.endswith(".zarr") else f"{path}.zarr")


class _Closing:
    """Closes the store; as the last of the parts, after all that listen to it."""

    def __init__(self, store: LatticeStore) -> None:
        self._store = store

    def shut_down(self) -> None:
        self._store.close()
