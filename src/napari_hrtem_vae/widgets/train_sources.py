"""What a model is trained on: layers, files and folders, simulated scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QListWidget, QListWidgetItem, QPushButton

from .layers import frame_time_of, pixel_size_of, result_of, video_axes, video_of
from .parts import Panel
from .train_state import TrainStore
from .train_work import Material

SIMULATED = "Simulated PbS scenes"
_LINES = 4


class SourcesPanel(Panel):
    """Part 1: a list of all that can be trained on, with ticks."""

    def __init__(self, viewer: Any, store: TrainStore) -> None:
        super().__init__("Train on")
        self._viewer, self._store = viewer, store
        self._layers: list[Any] = []
        self._files: list[str] = []
        self.list = QListWidget()
        self.list.setToolTip("Image layers of the viewer, your files, and simulated scenes")
        self.list.setMinimumWidth(60)
        self.list.setFixedHeight(_LINES * (self.list.fontMetrics().height() + 8))
        self.files_button = QPushButton("Add files…")
        self.folder_button = QPushButton("Add folder…")
        self.folder_button.setToolTip("A folder of stills, each an image of its own, or of a video's frames")
        row = QHBoxLayout()
        row.addWidget(self.files_button)
        row.addWidget(self.folder_button)
        self.column.addWidget(self.list)
        self.column.addLayout(row)
        self.list.itemChanged.connect(self._ticked)
        self.files_button.clicked.connect(self._ask_for_files)
        self.folder_button.clicked.connect(self._ask_for_folder)
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            event.connect(self._list_all)
        self._named: list[Any] = []
        self._list_all()

    def shut_down(self) -> None:
        """Let go of the viewer."""
        for event in (self._viewer.layers.events.inserted, self._viewer.layers.events.removed):
            event.disconnect(self._list_all)
        for layer in self._named:
            layer.events.name.disconnect(self._rename)
        self._named, self._layers = [], []

    def add_files(self, paths: list[str]) -> None:
        """Offer files and folders, ticked."""
        new = [path for path in paths if path not in self._files]
        self._files += new
        self._store.change(files=(*self._store.state.files, *new))
        self._list_all()

    def _list_all(self, event: Any = None) -> None:
        from napari.layers import Image

        self._layers = [
            layer for layer in self._viewer.layers if isinstance(layer, Image) and result_of(layer) is None
        ]
        for layer in self._named:
            layer.events.name.disconnect(self._rename)
        self._named = list(self._layers)
        for layer in self._named:
            layer.events.name.connect(self._rename)
        state = self._store.state
        chosen = tuple(layer for layer in state.layers if any(layer is one for one in self._layers))
        blocked = self.list.blockSignals(True)
        self.list.clear()
        for layer in self._layers:
            self._add(layer.name, any(layer is one for one in chosen), "Layer")
        for path in self._files:
            self._add(Path(path).name, path in state.files, path)
        self._add(SIMULATED, state.simulated, "Alone, or half of the segments beside your images")
        self.list.blockSignals(blocked)
        self._store.change(layers=chosen)

    def _add(self, text: str, ticked: bool, tooltip: str) -> None:
        item = QListWidgetItem(text)
        item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable)
        item.setCheckState(Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)
        item.setToolTip(tooltip)
        self.list.addItem(item)

    def _rename(self, event: Any = None) -> None:
        blocked = self.list.blockSignals(True)
        for index, layer in enumerate(self._layers):
            self.list.item(index).setText(layer.name)
        self.list.blockSignals(blocked)

    def _ticked(self, item: QListWidgetItem) -> None:
        ticks = [
            self.list.item(index).checkState() == Qt.CheckState.Checked for index in range(self.list.count())
        ]
        layers, files = ticks[: len(self._layers)], ticks[len(self._layers) : -1]
        self._store.change(
            layers=tuple(layer for layer, on in zip(self._layers, layers, strict=True) if on),
            files=tuple(file for file, on in zip(self._files, files, strict=True) if on),
            simulated=ticks[-1],
        )

    def _ask_for_files(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self, "Images and videos to train on")
        if paths:
            self.add_files(paths)

    def _ask_for_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "A folder of images to train on")
        if path:
            self.add_files([path])


def material_of(store: TrainStore) -> Material:
    """What is ticked, ready for a thread.

    Raises
    ------
    HrtemVaeError
        Nothing is ticked, or a layer is no video.
    """
    state = store.state
    videos = tuple(
        video_of(
            layer,
            pixel_size_nm=pixel_size_of(layer) if layer.ndim >= 2 else None,
            frame_time_s=frame_time_of(layer, video_axes(layer)),
        )
        for layer in state.layers
    )
    return Material(videos, state.files, state.simulated)
