"""Traversals as pictures in files: labelled as PNG or SVG, bare as TIFF."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from ..errors import ParameterError
from ..io.export import replace_file, save_map_tiff
from ..progress import Steps
from .traversal import Traversal, grey_limits, traverse_steps

SUFFIXES = (".png", ".svg", ".tif", ".tiff")
# Inches of a window, of what stands left of and above them.
_WINDOW, _LEFT, _TOP = 0.62, 0.95, 0.5


def traversal_figure(traversal: Traversal, names: Sequence[str] | None = None) -> Figure:
    """A row a latent, a column a value, as Fig. 3 of Wang et al. 2023.

    Parameters
    ----------
    traversal : Traversal
    names : sequence of str, optional
        Of the rows, below z_n: what the latents mean; empty where unknown.
    """
    rows, columns, side, _ = traversal.pictures.shape
    width, height = columns * _WINDOW, rows * _WINDOW
    figure = Figure(figsize=(width + _LEFT + 0.1, height + _TOP + 0.1))
    frame = (_LEFT, 0.1, width, height)
    whole = (width + _LEFT + 0.1, height + _TOP + 0.1)
    axes = figure.add_axes(tuple(part / whole[i % 2] for i, part in enumerate(frame)))
    gap = 2
    mosaic = traversal.mosaic(gap)
    low, high = grey_limits([traversal.pictures])
    axes.imshow(mosaic, cmap="gray", vmin=low, vmax=high, interpolation="nearest", aspect="auto")
    middles = [(side - 1) / 2 + (side + gap) * index for index in range(max(rows, columns))]
    labels = [f"z{latent}" for latent in traversal.latents]
    if names is not None:
        labels = [f"{label}\n{name}".strip() for label, name in zip(labels, names, strict=True)]
    axes.set_yticks(middles[:rows], labels, fontsize=7)
    axes.set_xticks(middles[:columns], [column_name(value) for value in traversal.spreads], fontsize=7)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("z in spreads", fontsize=8)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def column_name(spreads: float) -> str:
    """What stands over a column: so many spreads from 0."""
    return f"{spreads:+.3g}".replace("-", "−") if abs(spreads) > 1e-6 else "0"


def save_traversal(
    traversal: Traversal,
    path: str | Path,
    *,
    names: Sequence[str] | None = None,
    pixel_size_nm: float | None = None,
) -> Path:
    """Write a traversal as a picture.

    Parameters
    ----------
    traversal : Traversal
    path : path
        Ends in .png or .svg (with labels), or in .tif (grey values 0…1, float32). Replaced where it exists.
    names : sequence of str, optional
        What the latents of the rows mean.
    pixel_size_nm : float or None
        Of the model, in nm, for the resolution of the TIFF.

    Raises
    ------
    ParameterError
        Another suffix.
    ResultError
        The file cannot be written.
    """
    path = _picture_path(path)
    suffix = path.suffix.lower()
    if suffix in (".tif", ".tiff"):
        save_map_tiff(path, traversal.mosaic(), pixel_size_nm)
        return path
    picture = io.BytesIO()
    # Letters stay letters in vector files, so that a figure can still be edited.
    with rc_context({"svg.fonttype": "none"}):
        traversal_figure(traversal, names).savefig(picture, format=suffix[1:], dpi=200, facecolor="white")
    replace_file(path, lambda aside: aside.write_bytes(picture.getvalue()))
    return path


def export_traversal_steps(model_file: str | Path, path: str | Path) -> Steps[Path]:
    """Write the traversal of all latents of a model file, from z = 0; see `save_traversal`.

    Raises
    ------
    ParameterError
        The path does not end as a picture does.
    ModelFileError, ModelPartError
        The model cannot be read, or has no decoder.
    ResultError
        The file cannot be written.
    """
    from .model import load_model

    path = _picture_path(path)
    model = load_model(model_file)
    traversal = yield from traverse_steps(model)
    return save_traversal(traversal, path, pixel_size_nm=model.card.pixel_size_nm)


def _picture_path(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ParameterError(f"{path} is not a kind of picture to write; name it with {', '.join(SUFFIXES)}.")
    return path
