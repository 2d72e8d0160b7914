"""The widget Latents: sliders that move latents, the window they stand for, and a site's way through them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton, QToolButton, QVBoxLayout, QWidget

from .docked import DockedWidget, Release
from .latents_click import ClickPicker, WindowFrame
from .latents_pictures import PicturesPanel
from .latents_site import SiteReader
from .latents_sliders import SlidersPanel
from .latents_state import LatentsStore
from .latents_work import ModelLoader, Reconstructions
from .model_panel import ModelPanel
from .parts import Panel
from .timeline import Timeline
from .video_panel import VideoPanel
from .view_keeper import ViewKeeper

if TYPE_CHECKING:
    from .latents_plots import LatentsDock

DOCK_NAME = "HRTEM VAE: latents"


class LatentsModelPanel(ModelPanel):
    """The model; windows are prepared with the options of Analyze."""

    def _build(self) -> None:
        super()._build()
        self.options.hide()


class SetupPanel(Panel):
    """Video and model, folded away once both are there."""

    def __init__(self, video: VideoPanel, model: ModelPanel, store: LatentsStore) -> None:
        super().__init__("")
        self._store = store
        self.button = QToolButton()
        self.button.setCheckable(True)
        self.button.setAutoRaise(True)
        self.button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.inner = QWidget()
        column = QVBoxLayout(self.inner)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(video)
        column.addWidget(model)
        self.column.addWidget(self.button)
        self.column.addWidget(self.inner)
        self.button.toggled.connect(self._unfold)
        store.on("video model card", self._name)
        state = store.state
        self._name()
        self.button.setChecked(state.video is None or state.pixel_size_nm is None or state.card is None)
        self._unfold(self.button.isChecked())

    def _unfold(self, wanted: bool) -> None:
        self.button.setArrowType(Qt.ArrowType.DownArrow if wanted else Qt.ArrowType.RightArrow)
        self.inner.setVisible(wanted)

    def _name(self) -> None:
        state = self._store.state
        video = "no video" if state.video is None else state.video.name
        model = "no model" if state.card is None else state.card.name
        self.button.setText(f"{video} · {model}")
        self.button.setToolTip("Video and model")


class LatentsWidget(DockedWidget):
    """What the latents of a model mean, seen at any window of a video.

    Parameters
    ----------
    napari_viewer : napari.Viewer or ViewerModel
        Clicks on its video pick windows; the dock of the plots is added where it has a window.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.store = LatentsStore()
        self._dock: LatentsDock | None = None
        self.video = VideoPanel(napari_viewer, self.store)
        self.model = LatentsModelPanel(self.store)
        self.loader = ModelLoader(self.store)
        self.site = SiteReader(self.store)
        self.reconstructions = Reconstructions(self.store)
        self.sliders = SlidersPanel(self.store)
        self.pictures = PicturesPanel(self.store)
        self.timeline = Timeline(napari_viewer, self.store)
        self.picker = ClickPicker(napari_viewer, self.store)
        self.frame = WindowFrame(napari_viewer, self.store)
        self.setup = SetupPanel(self.video, self.model, self.store)
        self.plots_button = QPushButton("Plots and traversal")
        self.plots_button.setToolTip("The site through time, its path, and strips of what each latent does")
        self.setup.column.addWidget(self.plots_button)
        self._parts: list[Any] = [
            _Closing(self.store),
            self.sliders,
            self.model,
            self.video,
            self.timeline,
            self.frame,
            self.picker,
            self.reconstructions,
            self.site,
            self.loader,
            ViewKeeper(napari_viewer),
        ]
        self._begin([self.setup, self.sliders], self.pictures, Release(self._parts))
        self.plots_button.clicked.connect(self.show_plots)
        self.store.on("site", self._site_changed)

    @property
    def dock(self) -> LatentsDock:
        """Plots and strips; made when they are first wanted, for they load matplotlib."""
        if self._dock is None:
            from .latents_plots import DockFeed, LatentsDock

            self._dock = LatentsDock(self.store)
            self._parts.append(DockFeed(self._dock, self.store))
        return self._dock

    def show_plots(self) -> None:
        """Show plots and strips below the viewer."""
        self.show_dock(self.dock, DOCK_NAME)

    def _site_changed(self) -> None:
        # a dock that the user closed stays closed
        if self.store.state.site is not None and self._dock is None and not self._closed:
            self.show_plots()


class _Closing:
    """Closes the store; as the last of the parts, after all that listen to it."""

    def __init__(self, store: LatentsStore) -> None:
        self._store = store

    def shut_down(self) -> None:
        self._store.close()
