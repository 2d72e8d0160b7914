"""The widget Train: from images or simulated scenes to a model that Analyze can use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QApplication

from .docked import DockedWidget, Release
from .model_panel import ModelPanel
from .train_recipe import RecipePanel
from .train_run import TrainPanel
from .train_segments import SegmentsPanel
from .train_sources import SourcesPanel
from .train_state import TrainStore
from .view_keeper import ViewKeeper

if TYPE_CHECKING:
    from .training_plot import TrainingPlot

PLOT_NAME = "HRTEM VAE: training"


class TrainWidget(DockedWidget):
    """Four panels around one store, and the figure of the training in a dock below.

    Parameters
    ----------
    napari_viewer : napari.Viewer or ViewerModel
        Its image layers can be trained on; the dock is added where it has a window.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.store = TrainStore()
        self._plot: TrainingPlot | None = None
        self.sources = SourcesPanel(napari_viewer, self.store)
        self.recipe = RecipePanel(self.store)
        self.segments = SegmentsPanel(self.store)
        self.run = TrainPanel(self.store)
        panels = [self.sources, self.recipe, self.segments]
        ends = [self.run, self.segments, self.recipe, self.sources, ViewKeeper(napari_viewer)]
        self._begin(panels, self.run, Release([_Closing(self.store), *ends]))
        self.run.trained.connect(_tell_analyze)
        self.store.on("running", self._running_changed)
        self.store.on("epochs", self._show_epochs)

    @property
    def plot(self) -> TrainingPlot:
        """The figure of the training; made when it is first wanted, for it loads matplotlib."""
        if self._plot is None:
            from .training_plot import TrainingPlot

            self._plot = TrainingPlot()
        return self._plot

    def _running_changed(self) -> None:
        if self.store.state.running:
            self.show_dock(self.plot, PLOT_NAME)

    def _show_epochs(self) -> None:
        self.plot.set_epochs(self.store.state.epochs)


class _Closing:
    """Closes the store; as the last of the parts, after all that listen to it."""

    def __init__(self, store: TrainStore) -> None:
        self._store = store

    def shut_down(self) -> None:
        self._store.close()


def _tell_analyze() -> None:
    """Offer the new model in every open Analyze, of whatever viewer."""
    for widget in QApplication.allWidgets():
        if isinstance(widget, ModelPanel):
            widget.show_own_models()
