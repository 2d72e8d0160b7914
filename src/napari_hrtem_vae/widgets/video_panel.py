"""Which layer is analysed, and how large its pixels and how far apart its frames are."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

from qtpy.QtWidgets import QComboBox, QPushButton

from ..errors import HrtemVaeError
from .layers import first_level, frame_time_of, note_of, pixel_size_of, video_axes, video_of
from .parts import Panel, QuantityEdit, Rows, narrow, note_label, show_note
from .store import Store
from .worker import Outcome, Work

NO_VIDEO = "Open a video first: drop a file on the window, or take File → Open Sample → HRTEM VAE."


class VideoPanel(Panel):
    """Part 1: the layer, its pixel size and frame time."""

    def __init__(self, viewer: Any, store: Store) -> None:
        super().__init__("Video")
        self._viewer, self._store = viewer, store
        self._layers: list[Any] = []
        self._named: list[Any] = []
        self._work: Work | None = None
        self.layer_box = narrow(QComboBox())
        self.layer_box.setToolTip("The image layer to analyse")
        self.pixel_size = QuantityEdit("Pixel size as the file has it; edit it where the file is wrong")
        self.frame_time = QuantityEdit(
            "Time between frames as the file has it; edit it where the file is wrong"
        )
        self.match_button = QPushButton("Match fringes to the model")
        self.match_button.setToolTip(
            "Finds the fringe period of this video by Fourier transform, and enlarges the frames so that it "
            "becomes the period that the model was trained on"
        )
        self.note = note_label()
        form = Rows()
        form.add("Layer", self.layer_box)
        form.add("Pixel size [nm]", self.pixel_size)
        form.add("Frame time [s]", self.frame_time)
        self.column.addLayout(form)
        self.column.addWidget(self.note)
        self.column.addWidget(self.match_button)

        self.layer_box.currentIndexChanged.connect(self._picked)
        self.pixel_size.editingFinished.connect(self._edited)
        self.frame_time.editingFinished.connect(self._edited)
        self.match_button.clicked.connect(self._match)
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            event.connect(self._list_layers)
        store.on("video pixel_size_nm frame_time_s card parameters", self._show)
        # a video that is being recorded grows; what is being typed stays
        store.on("revision", self._show_note)
        self._list_layers()

    def shut_down(self) -> None:
        """Let go of the viewer."""
        for event in (self._viewer.layers.events.inserted, self._viewer.layers.events.removed):
            event.disconnect(self._list_layers)
        for layer in self._named:
            layer.events.name.disconnect(self._rename)
        self._named = []
        self._layers = []
        if self._work is not None:
            self._work.abandon()

    def _list_layers(self, event: Any = None) -> None:
        from napari.layers import Image

        self._layers = [
            layer for layer in self._viewer.layers if isinstance(layer, Image) and "map" not in note_of(layer)
        ]
        for layer in self._named:
            layer.events.name.disconnect(self._rename)
        self._named = list(self._layers)
        for layer in self._named:
            layer.events.name.connect(self._rename)
        chosen = self._store.state.video
        if not any(layer is chosen for layer in self._layers):
            videos = [layer for layer in self._layers if layer.ndim > 2]
            chosen = (videos or self._layers or [None])[-1]
        blocked = self.layer_box.blockSignals(True)
        self.layer_box.clear()
        self.layer_box.addItems([layer.name for layer in self._layers])
        self.layer_box.setCurrentIndex(next((i for i, la in enumerate(self._layers) if la is chosen), -1))
        self.layer_box.blockSignals(blocked)
        self._choose(chosen)

    def _rename(self, event: Any = None) -> None:
        for index, layer in enumerate(self._layers):
            self.layer_box.setItemText(index, layer.name)

    def _picked(self, index: int) -> None:
        self._choose(self._layers[index] if 0 <= index < len(self._layers) else None)

    def _choose(self, layer: Any) -> None:
        if layer is self._store.state.video and layer is not None:
            return
        pixel_size = frame_time = None
        if layer is not None:
            pixel_size = pixel_size_of(layer) if layer.ndim >= 2 else None
            try:
                frame_time = frame_time_of(layer, video_axes(layer))
            except HrtemVaeError:
                frame_time = None
        # an enlargement found for one video would be wrong for the next
        self._store.change(
            video=layer,
            pixel_size_nm=pixel_size,
            frame_time_s=frame_time,
            parameters=replace(self._store.state.parameters, zoom=None),
        )
        self._show()

    def _edited(self) -> None:
        state = self._store.state
        parameters = state.parameters
        if self.pixel_size.value() != state.pixel_size_nm:
            # a known pixel size says how far to enlarge
            parameters = replace(parameters, zoom=None)
        self._store.change(
            pixel_size_nm=self.pixel_size.value(),
            frame_time_s=self.frame_time.value(),
            parameters=parameters,
        )

    def _show(self) -> None:
        state = self._store.state
        self.pixel_size.set_value(state.pixel_size_nm)
        self.frame_time.set_value(state.frame_time_s)
        self._show_note()

    def _show_note(self) -> None:
        state = self._store.state
        if state.video is None:
            show_note(self.note, NO_VIDEO)
            self.match_button.hide()
            return
        try:
            axes = video_axes(state.video)
        except HrtemVaeError as error:
            show_note(self.note, str(error))
            self.match_button.hide()
            return
        shape = first_level(state.video).shape
        frames = 1 if axes.time is None else shape[axes.time]
        lines = [f"{frames} frame{'s' * (frames != 1)} of {shape[axes.y]} × {shape[axes.x]} px"]
        if state.pixel_size_nm is None:
            lines.append("Pixel size unknown: type it or match it.")
        if state.frame_time_s is None and frames > 1:
            lines.append("Frame time unknown: time is in frames.")
        if frames == 1:
            lines.append("One frame: z, but no change over time.")
        show_note(self.note, "\n".join(lines))
        self.match_button.setVisible(state.pixel_size_nm is None)
        self.match_button.setEnabled(self._work is None)

    def _match(self) -> None:
        state = self._store.state
        if state.card is None or not state.card.period_px:
            self._store.say("This model does not tell its fringe period; type the pixel size.", error=True)
            return
        try:
            video = video_of(state.video, pixel_size_nm=None, frame_time_s=None)
        except HrtemVaeError as error:
            self._store.say(str(error), error=True)
            return

        def steps() -> Generator[None, None, float | None]:
            from ..video.fringes import fringe_period_px

            yield
            return fringe_period_px(video)

        self._work = Work(steps)
        self._work.ended.connect(self._matched)
        self._work.start()
        self.match_button.setEnabled(False)
        self._store.say("Looking for fringes…")

    def _matched(self, outcome: Outcome) -> None:
        self._work = None
        self.match_button.setEnabled(True)
        state = self._store.state
        if outcome.error:
            self._store.say(outcome.error, error=True)
        elif not outcome.result:
            self._store.say("No fringes stand out in this video; type its pixel size.", error=True)
        elif state.card is not None:
            zoom = round(float(state.card.period_px / outcome.result), 3)
            self._store.change(parameters=replace(state.parameters, zoom=zoom))
            self._store.say(
                f"Fringes every {outcome.result:.1f} px here, {state.card.period_px:.1f} px in the model's "
                f"training: frames will be enlarged {zoom:g} ×."
            )
