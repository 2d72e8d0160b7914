"""The switch *Follow while recorded*: maps and hotspots of the last frames while a camera writes them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QCheckBox, QFileDialog, QSpinBox

from ..errors import HrtemVaeError, ParameterError
from ..vae.live_parameters import FEWEST_FRAMES, WatchParameters
from .layers import METADATA, note_of, notices_of, placement_on
from .live_work import Grown, watch_work, without_drift
from .parts import Panel, Rows, note_label, show_note
from .readers import layer_options
from .store import Message, Store
from .worker import Outcome, Work

LAST_SHOWN = 10_000
ENDING = "Finishing…"


class LivePanel(Panel):
    """Follows the folder of the chosen video, or one that is asked for, until it is switched off.

    Parameters
    ----------
    viewer : napari viewer or ViewerModel
        Where the video grows.
    store : Store
        Where the result goes.
    """

    def __init__(self, viewer: Any, store: Store) -> None:
        super().__init__("")
        self._viewer, self._store = viewer, store
        self._work: Work | None = None
        self._stop = threading.Event()
        self._folder = Path()
        self._layer: Any = None
        self.switch = QCheckBox("Follow while recorded")
        self.switch.setToolTip(
            "Analyses the frames of a folder as the camera writes them: the folder of the video above, "
            "or one that you choose. Switch off to end, and keep the result"
        )
        self.last = QSpinBox()
        self.last.setRange(FEWEST_FRAMES, LAST_SHOWN)
        self.last.setValue(WatchParameters().last)
        self.last.setToolTip("Maps and places are those of so many frames, the newest")
        form = Rows()
        form.add("Last frames", self.last, self.last.toolTip())
        self.note = note_label()
        self.column.addWidget(self.switch)
        self.column.addLayout(form)
        self.column.addWidget(self.note)
        self.switch.toggled.connect(self._toggled)
        store.on("running", self._enable)

    @property
    def work(self) -> Work | None:
        """The work that runs; None when none does."""
        return self._work

    def shut_down(self) -> None:
        """Stop the work; nobody waits for it."""
        if self._work is not None:
            self._work.abandon()
            self._work = None
        self._layer = None

    def follow(self, folder: str | Path) -> None:
        """Begin to follow a folder; what is wrong is said."""
        from ..io.growing import GrowingFolder

        state = self._store.state
        self._folder = Path(folder)
        try:
            if state.model is None:
                raise ParameterError("There is no model; load a model file first.")
            GrowingFolder(self._folder)
            of_this = state.video is not None and self._is_of_folder(state.video)
            # What is typed above holds for this folder, unless it is of another video.
            typed = of_this or state.video is None
            watching = WatchParameters(
                self.last.value(),
                pixel_size_nm=state.pixel_size_nm if typed else None,
                frame_time_s=state.frame_time_s if typed else None,
            )
        except HrtemVaeError as error:
            self._store.say(str(error), error=True)
            self._show_off()
            return
        self._layer = state.video if of_this else None
        self._stop = threading.Event()
        parameters, place = without_drift(state.parameters), state.result_store or None
        self._work = Work(
            watch_work(self._folder, state.model, parameters, watching, place, self._stop.is_set)
        )
        self._work.progressed.connect(self._progressed)
        self._work.ended.connect(self._ended)
        self._store.drop_result(running=True, message=Message())
        self._store.change(analysis=self._store.state.analysis + 1, revision=0)
        self._show_on()
        show_note(self.note, f"Waiting for frames in {self._folder}")
        self._work.start()

    def _toggled(self, on: bool) -> None:
        if on and self._work is None:
            folder = self._chosen_folder()
            if folder:
                self.follow(folder)
            else:
                self._show_off()
        elif not on and self._work is not None:
            self._stop.set()
            self.switch.setEnabled(False)
            show_note(self.note, ENDING)

    def _chosen_folder(self) -> str:
        """The folder that the video above is of; else the user is asked."""
        from ..io.folder import holds_frames

        video = self._store.state.video
        source = note_of(video).get("source") if video is not None else None
        if source and Path(source).is_dir() and holds_frames(Path(source)):
            return str(source)
        return str(QFileDialog.getExistingDirectory(self, "The folder that the camera writes its frames to"))

    def _is_of_folder(self, layer: Any) -> bool:
        source = note_of(layer).get("source")
        return source is not None and Path(source) == self._folder and layer.ndim == 3

    def _progressed(self, items: list[Any]) -> None:
        if self._work is None:
            return
        grown = next((item for item in reversed(items) if isinstance(item, Grown)), None)
        if grown is None:
            if self._store.state.result is None and not self._stop.is_set():
                show_note(self.note, items[-1].message)
            return
        self._show_video(grown)
        self._take(grown.result)
        if not self._stop.is_set():
            show_note(self.note, grown.note)

    def _take(self, result: Any, **values: Any) -> None:
        state = self._store.state
        placement = state.placement
        if placement is None and self._layer is not None:
            pixel = result.attrs.get("pixel_size_nm") or 1.0
            placement = placement_on(self._layer, result["y"].values / pixel, result["x"].values / pixel)
        self._store.change(
            result=result,
            revision=state.revision + 1,
            placement=placement,
            title=state.title if self._layer is None else self._layer.name,
            analysed=self._layer,
            **values,
        )

    def _show_video(self, grown: Grown) -> None:
        """Let the layer grow; a viewer on its last frame goes on to the new one."""
        layer, video = self._layer, grown.video
        if layer is None:
            self._add_layer(grown)
            return
        if layer not in self._viewer.layers:
            return
        axis = self._viewer.dims.ndim - layer.ndim
        at_the_end = self._viewer.dims.current_step[axis] >= layer.data.shape[0] - 1
        note = note_of(layer) | {"time": [float(time) for time in video["time"].values]}
        layer.data = video.data
        layer.metadata = layer.metadata | {METADATA: note}
        if at_the_end:
            self._viewer.dims.set_current_step(axis, len(video) - 1)

    def _add_layer(self, grown: Grown) -> None:
        from napari.layers import Image

        options = layer_options(grown.video) | {"contrast_limits": grown.contrast, "name": self._folder.name}
        self._layer = Image(grown.video.data, **options)
        self._viewer.add_layer(self._layer)
        self._viewer.dims.set_current_step(self._viewer.dims.ndim - 3, len(grown.video) - 1)
        attrs = grown.result.attrs
        self._store.change(
            video=self._layer,
            pixel_size_nm=attrs.get("pixel_size_nm"),
            frame_time_s=attrs.get("frame_time_s"),
        )

    def _ended(self, outcome: Outcome) -> None:
        if self._work is None:
            return
        self._work = None
        self._show_off()
        if outcome.result is not None:
            message = Message(" ".join(["Ended.", *notices_of(outcome.result)]))
            self._take(outcome.result, running=False, message=message)
        else:
            self._store.change(running=False, message=Message(outcome.error, not self._stop.is_set()))
        self._layer = None

    def _show_on(self) -> None:
        blocked = self.switch.blockSignals(True)
        self.switch.setChecked(True)
        self.switch.blockSignals(blocked)
        self.last.setEnabled(False)

    def _show_off(self) -> None:
        blocked = self.switch.blockSignals(True)
        self.switch.setChecked(False)
        self.switch.blockSignals(blocked)
        self.last.setEnabled(True)
        self.switch.setEnabled(True)
        show_note(self.note, "")

    def _enable(self) -> None:
        """No second analysis beside one that runs."""
        self.switch.setEnabled(self._work is not None or not self._store.state.running)
