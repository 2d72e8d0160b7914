"""Opens napari with files and the widget Analyze ready: what `hrtem-vae view` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

PLUGIN = "napari-hrtem-vae"


def open_files(viewer: Any, files: Sequence[str | Path]) -> Any:
    """Show videos and results in a viewer, beside the widget Analyze.

    Parameters
    ----------
    viewer : napari.Viewer
        Where to.
    files : sequence of path
        Videos, folders of frames, result stores.

    Returns
    -------
    AnalyzeWidget
        The widget.

    Raises
    ------
    VideoFileError, ResultError
        A file cannot be read.
    """
    for file in files:
        viewer.open(str(file), plugin=PLUGIN)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "Analyze")
    return widget


def view_files(files: Sequence[str | Path]) -> None:
    """Open napari with `files`; returns when its window is closed."""
    import napari

    viewer = napari.Viewer(show=False)
    try:
        open_files(viewer, files)
    except Exception:
        viewer.close()
        raise
    viewer.show()
    napari.run()
