"""File → Open Sample."""

from __future__ import annotations

from typing import Any


def annealing_pair() -> list[tuple[Any, dict[str, Any], str]]:
    """The simulated annealing of two PbS crystals, as napari's layer data tuples."""
    from ..simulate import sample_path
    from .readers import get_reader

    path = str(sample_path())
    read = get_reader(path)
    if read is None:
        from ..errors import VideoFileError

        raise VideoFileError(f"The sample {path} is missing or damaged; install the package again.")
    layers: list[tuple[Any, dict[str, Any], str]] = list(read(path))
    return layers
