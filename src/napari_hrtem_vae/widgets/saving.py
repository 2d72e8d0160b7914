"""Files that a widget saves: the dialog, and writing that leaves no half of a file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

from ..errors import HrtemVaeError, ResultError


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` beside `path` and rename, so that `path` is never half a file.

    Parameters
    ----------
    path : Path
        The file to make or replace.
    data : bytes
        All of its content.

    Raises
    ------
    ResultError
        The folder is missing or write-protected, or the disk is full.
    """
    aside = path.with_name(f".{path.name}.part")
    try:
        try:
            aside.write_bytes(data)
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise ResultError(
            f"{path} cannot be written ({error.strerror or error}); choose another folder or free some space."
        ) from error


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
