"""The widget Analyze: seven panels around one store, the map layer, the plot and the overview."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtWidgets import QApplication, QFileDialog, QFrame, QMainWindow, QScrollArea, QVBoxLayout, QWidget

from .hotspots_table import HotspotsPanel
from .layers import KINDS
from .live import LivePanel
from .map_layer import MapLayer
from .maps_panel import MapsPanel
from .model_panel import ModelPanel
from .region_panel import RegionPanel
from .run_panel import RunPanel
from .saving import ResultSaver
from .store import Store
from .timeline import Timeline
from .video_panel import VideoPanel
from .view_keeper import ViewKeeper

if TYPE_CHECKING:
    from .contact_sheet import ContactSheet
    from .traces import TracePlot

PLOT_NAME, SHEET_NAME = "HRTEM VAE: z(t)", "HRTEM VAE: overview"
WIDTH = 330
NOTHING_YET = "After an analysis, the maps of all latents stand here."
STILL = "One frame shows no change over time: there are no maps to compare."


class AnalyzeWidget(QWidget):
    """From a video layer to latent maps, z(t) in regions, and the places where things happen.

    Parameters
    ----------
    napari_viewer : napari.Viewer or ViewerModel
        Docks for plot and overview are added where it has a window.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._closed = False
        self.store = Store()
        self._plot: TracePlot | None = None
        self.sheet: ContactSheet | None = None
        self._sheet_latents: list[int] = []
        self.video = VideoPanel(napari_viewer, self.store)
        self.live = LivePanel(napari_viewer, self.store)
        self.model = ModelPanel(self.store)
        self.run = RunPanel(self.store)
        self.maps = MapsPanel(napari_viewer, self.store)
        self.region = RegionPanel(napari_viewer, self.store)
        self.hotspots = HotspotsPanel(napari_viewer, self.store)
        self.timeline = Timeline(napari_viewer, self.store)
        self.map_layer = MapLayer(napari_viewer, self.store)
        self.saver = ResultSaver(self.store)
        self.view = ViewKeeper(napari_viewer)
        parts = [
            self.view,
            self.saver,
            self.run,
            self.live,
            self.model,
            self.timeline,
            self.map_layer,
            self.maps,
            self.region,
        ]
        self._release = _Release([*parts, self.video], self.store)
        self._build()
        self.maps.overview_button.clicked.connect(self.show_overview)
        self.maps.save_button.clicked.connect(self._ask_where_to_save)
        self.region.draw_button.clicked.connect(self._show_plot)
        self.store.on("regions", self._regions_changed)
        self.store.on("kind revision analysis result", self._fill_sheet)
        self.store.on("latent", self._mark_latent)
        application = QApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.shut_down)
        # a window that closes destroys its widgets without a word to them; a slot of this object would not
        # be called any more
        self.destroyed.connect(self._release)

    def _build(self) -> None:
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(6, 6, 10, 6)
        column.setSpacing(2)
        panels = (self.video, self.model, self.run, self.maps, self.region, self.hotspots, self.live)
        for index, panel in enumerate(panels):
            if index and panel is not self.run:
                column.addWidget(_line())
            column.addWidget(panel, 1 if panel is self.hotspots else 0)
        scroll = QScrollArea()
        scroll.setWidget(inner)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(scroll)
        self.setMinimumWidth(300)
        self.setMinimumHeight(200)

    def sizeHint(self) -> QSize:
        """As narrow as beside a viewer on a laptop."""
        return QSize(WIDTH, 640)

    # Closing

    def hideEvent(self, event: Any) -> None:
        """A dock closed with × only hides its widget and then lets go of it: that is the end."""
        super().hideEvent(event)
        QTimer.singleShot(0, self._end_when_let_go)

    def _end_when_let_go(self) -> None:
        if self.parent() is None and not self.isVisible():
            self.shut_down()

    def closeEvent(self, event: Any) -> None:
        """The end, when not inside a dock."""
        self.shut_down()
        super().closeEvent(event)

    def shut_down(self) -> None:
        """Stop the work and let go of the viewer; layers stay."""
        if self._closed:
            return
        self._closed = True
        application = QApplication.instance()
        if application is not None:
            with suppress(TypeError, RuntimeError):
                application.aboutToQuit.disconnect(self.shut_down)
        self._release()
        for widget in (self._plot, self.sheet):
            if widget is not None:
                self._remove_dock(widget)

    def _remove_dock(self, widget: QWidget) -> None:
        window = getattr(self._viewer, "window", None)
        # the window may be closing, or the user may have closed this dock before
        with suppress(LookupError, RuntimeError, AttributeError):
            if window is not None and widget.parent() is not None:
                window.remove_dock_widget(widget)

    # Docks

    @property
    def plot(self) -> TracePlot:
        """The plot of z against time; made when it is first wanted, for it loads matplotlib."""
        if self._plot is None:
            from .plot_feed import PlotFeed
            from .traces import TracePlot

            self._plot = TracePlot()
            self._release.add(PlotFeed(self._plot, self.store))
        return self._plot

    def _add_dock(self, widget: QWidget, name: str, *, tabify: bool) -> None:
        window = getattr(self._viewer, "window", None)
        if window is None:
            return
        outer = self.window()
        if isinstance(outer, QMainWindow):
            # the controls keep the full height beside the plot
            outer.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea)
        if widget.parent() is None:
            window.add_dock_widget(
                widget, name=name, area="bottom", tabify=tabify, add_vertical_stretch=False
            )
        dock = widget.parent()
        dock.show()
        dock.raise_()

    def _regions_changed(self) -> None:
        if self.store.state.regions:
            self._show_plot()

    def _show_plot(self) -> None:
        if self.plot.parent() is None or not self.plot.parent().isVisible():
            self._add_dock(self.plot, PLOT_NAME, tabify=False)

    def show_overview(self) -> None:
        """All maps of this kind in one contact sheet."""
        from .contact_sheet import ContactSheet

        if self.sheet is None:
            self.sheet = ContactSheet()
            self.sheet.picked.connect(self._picked)
        self._fill_sheet()
        self._add_dock(
            self.sheet, SHEET_NAME, tabify=self._plot is not None and self._plot.parent() is not None
        )

    def _fill_sheet(self) -> None:
        from .layers import latent_names, latent_order, peaks_of

        state = self.store.state
        if self.sheet is None:
            return
        if state.result is None:
            self._empty_sheet(NOTHING_YET)
            return
        kind = state.kind
        if not KINDS[kind].per_latent or kind == "z" or kind not in state.result:
            kind = "time_correlated_variance"
        if kind not in state.result:
            self._empty_sheet(STILL if "z" in state.result else NOTHING_YET)
            return
        self._sheet_latents = latent_order(peaks_of(state.result), state.order)
        field = state.result[kind].transpose("latent", "y", "x")
        maps = np.asarray(field, np.float32)[self._sheet_latents]
        names = latent_names(state.result)
        labels = [names[latent] for latent in self._sheet_latents]
        self.sheet.set_maps(maps, labels, colormap=KINDS[kind].colormap)
        self._mark_latent()

    def _empty_sheet(self, hint: str) -> None:
        if self.sheet is not None:
            self._sheet_latents = []
            self.sheet.clear(hint)

    def _picked(self, index: int) -> None:
        if 0 <= index < len(self._sheet_latents):
            self.maps.pick(self._sheet_latents[index])

    def _mark_latent(self) -> None:
        latent = self.maps.latent_box.currentData()
        if self.sheet is not None and latent in self._sheet_latents:
            self.sheet.set_current(self._sheet_latents.index(latent))

    # Saving

    def save(self, path: str | Path) -> None:
        """Begin to write the result with its regions to a folder (.zarr); a message tells the end."""
        self.saver.save(path)

    def _ask_where_to_save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save the result", "result.zarr", "Result (*.zarr)")
        if not path:
            return
        self.save(path if path.endswith(".zarr") else f"{path}.zarr")


class _Release:
    """Lets go of viewer and threads; does so once, and needs no living widget."""

    def __init__(self, parts: list[Any], store: Store) -> None:
        self._parts, self._store = parts, store

    def __call__(self, *_: Any) -> None:
        while self._parts:
            self._parts.pop().shut_down()
        self._store.close()

    def add(self, part: Any) -> None:
        """One more that has to let go."""
        self._parts.append(part)


def _line() -> QFrame:
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    line.setFrameShadow(QFrame.Shadow.Plain)
    line.setStyleSheet("QFrame { color: rgba(128, 128, 128, 90); }")
    line.setMaximumHeight(1)
    return line
