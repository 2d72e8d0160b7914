"""Files that a widget saves: the dialog, and results written while the window stays alive."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

from ..errors import HrtemVaeError
from .results_writer import save_with_regions
from .store import Store
from .worker import Outcome, Work


def ask_and_save(parent: QWidget, title: str, name: str, filters: str, save: Callable[[str], None]) -> None:
    """Ask for a file and call `save` with its path; an error that the user can mend is shown in a box.

    Parameters
    ----------
    parent : QWidget
        Where the dialog belongs.
    title : str
        Title of the dialog.
    name : str
        Name of the file that is offered.
    filters : str
        As Qt writes them: ``"PNG (*.png);;SVG (*.svg)"``; the chosen one gives the suffix when none is typed.
    save : callable
        Takes the path.
    """
    path, chosen = QFileDialog.getSaveFileName(parent, title, name, filters)
    if not path:
        return
    suffix = re.search(r"\*(\.\w+)", chosen or filters)
    if not Path(path).suffix and suffix:
        path += suffix.group(1)
    try:
        save(path)
    except HrtemVaeError as error:
        QMessageBox.warning(parent, title, str(error))


class ResultSaver:
    """Writes the result on the screen in a thread: with z(t) it may take minutes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._work: Work | None = None

    @property
    def busy(self) -> bool:
        """Whether a result is being written."""
        return self._work is not None

    def save(self, path: str | Path) -> None:
        """Begin to write the result with its regions to the store `path`; messages tell how it went."""
        if self._work is not None:
            self._store.say("Another result is being saved; wait until it is done.", error=True)
            return
        result, regions = self._store.state.result, self._store.state.regions

        def steps() -> Generator[None, None, None]:
            save_with_regions(result, regions, path)
            yield

        def ended(outcome: Outcome) -> None:
            self._work = None
            if outcome.error:
                self._store.say(outcome.error, error=True)
            else:
                self._store.say(f"Saved as {path}.")

        self._store.say(f"Saving to {path}…")
        self._work = Work(steps)
        self._work.ended.connect(ended)
        self._work.start()

    def shut_down(self) -> None:
        """Wait until what is being written is written: a process that ends would cut it off."""
        work, self._work = self._work, None
        if work is not None:
            with suppress(TypeError, RuntimeError):
                work.ended.disconnect()
            work.join()
