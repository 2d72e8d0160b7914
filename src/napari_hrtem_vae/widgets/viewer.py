"""Opens napari with files and a widget ready: what `hrtem-vae view` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..io.results_probe import LATTICE, result_kind

PLUGIN = "napari-hrtem-vae"


def open_files(viewer: Any, files: Sequence[str | Path]) -> Any:
    """Show videos and results in a viewer, beside the widget that they are of.

    Parameters
    ----------
    viewer : napari.Viewer
        Where to.
    files : sequence of path
        Videos, folders of frames, result stores.

    Returns
    -------
    AnalyzeWidget or LatticeWidget
        Lattice for lattice results alone, else Analyze.

    Raises
    ------
    VideoFileError, ResultError
        A file cannot be read.
    """
    for file in files:
        viewer.open(str(file), plugin=PLUGIN)
    _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, widget_for(files))
    return widget


def widget_for(files: Sequence[str | Path]) -> str:
    """Name of the widget that shows these files: "Lattice" where all results among them are a lattice's."""
    kinds = {result_kind(file) for file in files} - {None}
    return "Lattice" if kinds == {LATTICE} else "Analyze"


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
