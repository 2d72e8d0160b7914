"""Where the model goes, the button that starts and cancels a training, and what is seen of it."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QProgressBar, QPushButton, QToolButton

from ..errors import HrtemVaeError
from .parts import Panel, note_label, show_note
from .run_panel import CANCELLING, duration
from .settings import models_folder, remember_model
from .store import Message
from .train_sources import material_of
from .train_state import TrainStore
from .train_work import SUFFIX, Kept, check_place, free_place, training_work
from .worker import Outcome, Work

TRAIN, CANCEL = "Train", "Cancel"
FILTER = f"Models (*{SUFFIX})"


class TrainPanel(Panel):
    """Part 4: Train and Cancel, a bar, the epoch, the time left, and the sentence.

    Attributes
    ----------
    trained : Signal
        A model was written and can be used.
    """

    trained = Signal()

    def __init__(self, store: TrainStore) -> None:
        super().__init__("Model")
        self._store = store
        self._work: Work | None = None
        self._kept = Kept()
        self._began, self._done, self._total = 0.0, 0, 0
        self._clicked_at = 0.0
        self.place_edit = QLineEdit()
        self.place_edit.setToolTip("File that the model is written to; a file that exists is not replaced")
        self.browse_button = QToolButton()
        self.browse_button.setText("…")
        self.button = QPushButton(TRAIN)
        self.button.setDefault(True)
        self.bar = QProgressBar()
        self.bar.setTextVisible(True)
        self.bar.hide()
        self.progress = note_label()
        self.message = note_label()
        self.save_button = QPushButton("Save the model…")
        self.save_button.setToolTip("The model could not be written; write it to another place")
        self.save_button.hide()
        row = QHBoxLayout()
        row.addWidget(self.place_edit, 1)
        row.addWidget(self.browse_button)
        self.column.addLayout(row)
        for widget in (self.button, self.bar, self.progress, self.message, self.save_button):
            self.column.addWidget(widget)
        self.button.clicked.connect(self._clicked)
        self.browse_button.clicked.connect(self._ask_for_place)
        self.save_button.clicked.connect(self._ask_where_to_save)
        self.place_edit.editingFinished.connect(lambda: store.change(place=self.place_edit.text().strip()))
        store.on("place", lambda: self.place_edit.setText(store.state.place))
        store.on("message", self._show_message)
        store.change(place=str(free_place(models_folder(), "own")))

    @property
    def work(self) -> Work | None:
        """The training that runs; None when none does."""
        return self._work

    def shut_down(self) -> None:
        """Stop the training; its thread writes the best so far, and nobody waits for it."""
        if self._work is not None:
            self._work.abandon()
            self._work = None

    # Running

    def _clicked(self) -> None:
        if self._work is None:
            self._begin()
            return
        self._work.stop()
        self.button.setEnabled(False)
        self.button.setText(CANCELLING)
        show_note(self.progress, CANCELLING)
        # now: while torch is loaded the window may hang for a moment
        self.button.repaint()
        self.progress.repaint()

    def _begin(self) -> None:
        state = self._store.state
        place = Path(state.place).expanduser()
        if not place.suffix:
            place = place.with_name(f"{place.name}{SUFFIX}")
        try:
            if not state.place:
                raise HrtemVaeError("Name the file that the model goes to.")
            material = material_of(self._store)
        except HrtemVaeError as error:
            self._store.say(str(error), error=True)
            return
        self._kept = Kept()
        self._work = Work(training_work(material, state.recipe, state.device, place, self._kept))
        self._work.progressed.connect(self._progressed)
        self._work.ended.connect(self._ended)
        self._began = self._clicked_at = time.monotonic()
        self._done = self._total = 0
        self.button.setText(CANCEL)
        self.bar.setRange(0, 0)
        self.bar.show()
        self.save_button.hide()
        self._store.change(running=True, epochs=(), message=Message())
        self._work.start()

    def _progressed(self, items: list[Any]) -> None:
        if self._work is None:
            return
        epochs = [item for item in items if getattr(item, "epoch", 0)]
        if epochs:
            # of the last epoch only: latents that were dying may live by now
            self._store.change(
                epochs=drawn_of((*self._store.state.epochs, *epochs)), message=Message(epochs[-1].notice)
            )
        if self.button.isEnabled():
            self._show_progress(items[-1])

    def _show_progress(self, progress: Any) -> None:
        if not progress.total:
            show_note(self.progress, progress.message)
            return
        if progress.total != self._total or progress.done < self._done:
            # another part of the work counts other things
            self._began, self._total = time.monotonic(), progress.total
            self._done = progress.done
        self.bar.setRange(0, 1000)
        self.bar.setValue(round(1000 * min(progress.done / progress.total, 1.0)))
        parts = [progress.message]
        elapsed, done = time.monotonic() - self._began, progress.done - self._done
        if done > 0 and elapsed > 1:
            parts.append(f"{duration(elapsed * (progress.total - progress.done) / done)} left")
        show_note(self.progress, " · ".join(parts))

    def _ended(self, outcome: Outcome) -> None:
        if self._work is None:
            return
        self._work = None
        self.button.setText(TRAIN)
        self.button.setEnabled(True)
        self.bar.hide()
        show_note(self.progress, "")
        parts = [self._how_it_ended(outcome)]
        path = self._kept.path
        if path is not None:
            parts.insert(1, f"Saved as {path.name}; Analyze offers it.")
            self._offer(path)
        elif self._kept.model is not None:
            self.save_button.show()
        if self._kept.model is not None:
            parts += self._kept.model.card.training.get("notices", [])
        self._store.change(running=False, message=Message(" ".join(parts), bool(outcome.error)))

    def _how_it_ended(self, outcome: Outcome) -> str:
        if outcome.error:
            return outcome.error
        if outcome.cancelled:
            if self._kept.model is None:
                return "Cancelled before there was an epoch to keep; nothing is saved."
            record = self._kept.model.card.training
            return f"Cancelled; the best so far is kept, epoch {record['epoch']}."
        card = outcome.result.card
        return (
            f"Done in {duration(time.monotonic() - self._clicked_at)}: "
            f"{card.training['active_latents']} of {card.latents} latents active."
        )

    def _offer(self, path: Path) -> None:
        remember_model(path)
        self._store.change(place=str(free_place(path.parent, path.stem)))
        self.trained.emit()

    # Places

    def _ask_for_place(self) -> None:
        path = self._asked_path("Write the model to")
        if path is not None:
            self._store.change(place=str(path))

    def _asked_path(self, title: str) -> Path | None:
        option = QFileDialog.Option.DontConfirmOverwrite
        text, _ = QFileDialog.getSaveFileName(self, title, self._store.state.place, FILTER, options=option)
        if not text:
            return None
        return Path(text) if text.endswith(SUFFIX) else Path(f"{text}{SUFFIX}")

    def _ask_where_to_save(self) -> None:
        path = self._asked_path("Save the model")
        if path is not None:
            self.save_kept(path)

    def save_kept(self, path: Path) -> None:
        """Write a model that could not be written at the end of its training to another place."""
        model = self._kept.model
        if model is None:
            return
        try:
            check_place(path)
            self._kept.keep(model, path)
        except HrtemVaeError as error:
            self._store.say(str(error), error=True)
            return
        self.save_button.hide()
        self._offer(path)
        self._store.say(f"Saved as {path.name}; Analyze offers it.")

    def _show_message(self) -> None:
        message = self._store.state.message
        self.message.setStyleSheet("QLabel { color: #ff6b5f; }" if message.error else "")
        show_note(self.message, message.text)


def drawn_of(epochs: tuple[Any, ...]) -> tuple[Any, ...]:
    """What is drawn of them: each can make its model, but only the last one's is held in memory."""
    return (*(replace(epoch, best=None) for epoch in epochs[:-1]), epochs[-1])
