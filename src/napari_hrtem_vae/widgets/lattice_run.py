"""Options of the tracking, the button that starts and cancels it, and what is seen of it while it runs."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Generator
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QProgressBar, QPushButton, QToolButton
from superqt import QCollapsible

from ..errors import HrtemVaeError, ParameterError
from .form import ParameterForm
from .lattice_growing import GrowingResult
from .lattice_look import bases_by_hand
from .lattice_maps import TimeAxis
from .lattice_state import LatticeStore, Tracked
from .layers import notices_of, placement_on, video_of
from .parts import Panel, note_label, show_note
from .run_panel import CANCELLING, duration
from .store import Message
from .video_panel import NO_VIDEO
from .worker import Outcome, Work

if TYPE_CHECKING:
    import xarray as xr

    from ..progress import Progress

TRACK, CANCEL = "Track", "Cancel"
FIRST_ROWS = ("n_grains", "symmetry")


class GrainsPanel(Panel):
    """Part 2: how many grains, of which symmetry, and the rest of the options folded away."""

    def __init__(self, store: LatticeStore) -> None:
        super().__init__("Grains")
        self._store = store
        parameters = store.state.parameters
        names = [one.name for one in fields(parameters)]
        self.form = ParameterForm(parameters, skip=[name for name in names if name not in FIRST_ROWS])
        self.more = ParameterForm(parameters, skip=FIRST_ROWS)
        self.store_edit = QLineEdit()
        self.store_edit.setPlaceholderText("in memory")
        self.store_edit.setToolTip(
            "Folder (.zarr) that the result is written to as it grows; an interrupted run goes on there"
        )
        self.browse_button = QToolButton()
        self.browse_button.setText("…")
        where = QHBoxLayout()
        where.addWidget(self.store_edit, 1)
        where.addWidget(self.browse_button)
        self.more.add_row("Store result in", where)
        self.options = QCollapsible("Options", expandedIcon="▾", collapsedIcon="▸")
        self.options.layout().setContentsMargins(0, 0, 0, 0)
        self.options.addWidget(self.more)
        self.column.addWidget(self.form)
        self.column.addWidget(self.options)
        self.form.edited.connect(self._edited)
        self.more.edited.connect(self._edited)
        self.store_edit.editingFinished.connect(
            lambda: store.change(result_store=self.store_edit.text().strip())
        )
        self.browse_button.clicked.connect(self._ask_for_store)

    def _edited(self) -> None:
        state = self._store.state
        try:
            shown, more = self.form.parameters(), self.more.parameters()
            parameters = replace(more, **{name: getattr(shown, name) for name in FIRST_ROWS})
        except ParameterError as error:
            self._store.say(str(error), error=True)
            return
        if parameters == state.parameters:
            return
        changes: dict[str, Any] = {"parameters": parameters, "message": Message()}
        if parameters.symmetry != state.parameters.symmetry:
            changes["spots"] = None  # they stood for nets of another symmetry
        self._store.change(**changes)

    def _ask_for_store(self) -> None:
        option = QFileDialog.Option.DontConfirmOverwrite
        path, _ = QFileDialog.getSaveFileName(
            self, "Store the result in", "lattice.zarr", "Result (*.zarr)", options=option
        )
        if path:
            self.store_edit.setText(path if path.endswith(".zarr") else f"{path}.zarr")
            self._store.change(result_store=self.store_edit.text())


def tracking_work(
    video: xr.DataArray, parameters: Any, bases: Any, store: str | None
) -> Callable[[], Generator[Any, None, xr.Dataset]]:
    """Steps of a tracking; what it loads is loaded in its own thread."""

    def steps() -> Generator[Any, None, xr.Dataset]:
        from ..lattice.analysis import track_grains_steps

        return (yield from track_grains_steps(video, parameters, bases=bases, store=store))

    return steps


class TrackPanel(Panel):
    """Track and Cancel, a bar, frames done, time left, and the sentence; always in view."""

    def __init__(self, store: LatticeStore) -> None:
        super().__init__("")
        self._store = store
        self._work: Work | None = None
        self._began = self._clicked_at = 0.0
        self._growing: GrowingResult | None = None
        self._tracked: Tracked | None = None
        self.button = QPushButton(TRACK)
        self.button.setDefault(True)
        self.bar = QProgressBar()
        self.bar.setTextVisible(True)
        self.bar.hide()
        self.progress = note_label()
        self.message = note_label()
        for widget in (self.button, self.bar, self.progress, self.message):
            self.column.addWidget(widget)
        self.button.clicked.connect(self._clicked)
        store.on("message", self._show_message)

    @property
    def work(self) -> Work | None:
        """The work that runs; None when none does."""
        return self._work

    def shut_down(self) -> None:
        """Stop the work; nobody waits for it."""
        if self._work is not None:
            self._work.abandon()
            self._work = None

    def _clicked(self) -> None:
        if self._work is None:
            self._begin()
            return
        self._work.stop()
        self.button.setEnabled(False)
        self.button.setText(CANCELLING)
        show_note(self.progress, CANCELLING)

    def _begin(self) -> None:
        state = self._store.state
        parameters, bases = state.parameters, None
        try:
            if state.video is None:
                raise HrtemVaeError(NO_VIDEO)
            video = video_of(state.video, pixel_size_nm=state.pixel_size_nm, frame_time_s=state.frame_time_s)
            if state.spots is not None:
                bases = bases_by_hand(state.spots, parameters.symmetry)
                if not len(bases):
                    raise HrtemVaeError("One spot makes no net of two directions; click a second one.")
                parameters = replace(parameters, n_grains=len(bases))
        except HrtemVaeError as error:
            self._store.say(str(error), error=True)
            return
        # the layer may be gone or moved when results come
        self._tracked = Tracked(
            placement_on(state.video, [0, 1], [0, 1]),
            TimeAxis.of_layer(state.video),
            state.video.name,
            video,
            weakref.ref(state.video),
        )
        self._growing = GrowingResult(video, parameters)
        self._began = self._clicked_at = time.monotonic()
        self._work = Work(tracking_work(video, parameters, bases, state.result_store or None))
        self._work.progressed.connect(self._progressed)
        self._work.ended.connect(self._ended)
        self.button.setText(CANCEL)
        self.bar.setRange(0, 0)
        self.bar.show()
        # nothing of the last result may be taken for one of this run; its layers stay
        self._store.change(running=True, result=None, tracked=None, message=Message())
        self._work.start()

    def _progressed(self, items: list[Progress]) -> None:
        if self._work is None or self._growing is None:
            return
        state = self._store.state
        fresh = self._growing.result is None
        blocks = [item.finished for item in items if item.finished is not None]
        for block in blocks:
            self._growing.put(block)
        if blocks:
            changes: dict[str, Any] = {"revision": state.revision + 1}
            if fresh:
                changes |= {
                    "result": self._growing.result,
                    "analysis": state.analysis + 1,
                    "tracked": self._tracked,
                }
            self._store.change(**changes)
        if self.button.isEnabled():
            self._show_progress(items[-1])

    def _show_progress(self, progress: Progress) -> None:
        if not progress.done:
            self._began = time.monotonic()
            show_note(self.progress, f"{progress.message}…")
            return
        self.bar.setRange(0, progress.total)
        self.bar.setValue(progress.done)
        parts = [f"{progress.done} of {progress.total} frames"]
        elapsed = time.monotonic() - self._began
        if elapsed > 1:
            parts.append(f"{duration(elapsed * (progress.total - progress.done) / progress.done)} left")
        show_note(self.progress, " · ".join(parts))

    def _ended(self, outcome: Outcome) -> None:
        if self._work is None:
            return
        self._work = None
        growing, self._growing = self._growing, None
        self.button.setText(TRACK)
        self.button.setEnabled(True)
        self.bar.hide()
        show_note(self.progress, "")
        if outcome.result is not None:
            self._take(outcome.result, growing)
        elif outcome.cancelled:
            kept = self._store.state.result is not None
            words = "Cancelled." + (" The plot shows what was finished." if kept else "")
            self._store.change(running=False, message=Message(words))
        else:
            self._store.change(running=False, message=Message(outcome.error, True))

    def _take(self, result: xr.Dataset, growing: GrowingResult | None) -> None:
        state = self._store.state
        done = f"Done in {duration(time.monotonic() - self._clicked_at)}."
        changes: dict[str, Any] = {"result": result, "revision": state.revision + 1, "running": False}
        if growing is None or growing.result is None:
            changes |= {"analysis": state.analysis + 1, "tracked": self._tracked}
        words = " ".join([done, *summary_of(result), *notices_of(result)])
        self._store.change(**changes, message=Message(words))

    def _show_message(self) -> None:
        message = self._store.state.message
        self.message.setStyleSheet("QLabel { color: #ff6b5f; }" if message.error else "")
        show_note(self.message, message.text)


def summary_of(result: xr.Dataset) -> list[str]:
    """The misfit at the first and the last frame that show it, as a sentence; none for a single grain."""
    import numpy as np

    misfit, sigma = (np.asarray(result[name], float) for name in ("misfit_deg", "misfit_sigma_deg"))
    known = np.flatnonzero(np.isfinite(misfit))
    if not known.size:
        return []
    first, last = known[0], known[-1]
    if first == last:
        return [f"Misfit {misfit[first]:.2f} ± {sigma[first]:.2f}°."]
    return [
        f"Misfit {misfit[first]:.2f} ± {sigma[first]:.2f}° at first, "
        f"{misfit[last]:.2f} ± {sigma[last]:.2f}° at last."
    ]
