"""The figure of a training: losses, variance of the latents, reconstructions; no Qt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .trace_figure import REGION_COLORS, FigureStyle, dress

if TYPE_CHECKING:
    from ..vae.training import Epoch

BCE_COLOR, KL_COLOR, ACTIVE_COLOR = REGION_COLORS[0], REGION_COLORS[1], REGION_COLORS[2]
# Of the variance of a latent's mean: above it the latent counts as active (Burda et al. 2016).
ACTIVE_VARIANCE = 0.01
_GAP = 3


def draw_training(figure: Figure, epochs: Sequence[Epoch], style: FigureStyle) -> list[Axes]:
    """Draw what the epochs say into the emptied figure.

    From left to right: the losses by epoch, on a second axis the divergence and the active latents (Wang
    et al. 2023, Fig. 1b); the variance of each latent (Fig. 1c); segments as seen, as wanted and as
    reconstructed, one below the other.

    Parameters
    ----------
    figure : matplotlib Figure
    epochs : sequence of Epoch
        Finished, from the first.
    style : FigureStyle

    Returns
    -------
    list of Axes
        None when there are no epochs.
    """
    figure.clear()
    figure.set_facecolor(style.ground)
    if not epochs:
        return []
    losses, variances, pictures = figure.subplots(1, 3, width_ratios=(1.25, 1.0, 1.6))
    right = _draw_losses(losses, epochs, style)
    _draw_variances(variances, epochs[-1], style)
    _draw_examples(pictures, epochs[-1], style)
    return [losses, right, variances, pictures]


def _draw_losses(axes: Axes, epochs: Sequence[Epoch], style: FigureStyle) -> Axes:
    number = [one.epoch for one in epochs]
    dress(axes, style, right=False)
    axes.set_xlabel("epoch")
    axes.set_ylabel("BCE (nats a segment)", color=BCE_COLOR)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    marker: dict[str, Any] = {"marker": "o", "ms": 3, "lw": 1.4}
    axes.plot(number, [one.bce for one in epochs], color=BCE_COLOR, label="BCE", **marker)
    axes.plot(
        number, [one.validation_bce for one in epochs], "--", color=BCE_COLOR, label="validation", **marker
    )
    right = axes.twinx()
    dress(right, style, right=True)
    right.set_ylabel("KL (nats), active latents", color=KL_COLOR)
    right.plot(number, [one.kl for one in epochs], color=KL_COLOR, label="KL", **marker)
    right.plot(number, [one.validation_kl for one in epochs], "--", color=KL_COLOR, **marker)
    right.plot(number, [one.active for one in epochs], ":", color=ACTIVE_COLOR, label="active", **marker)
    right.set_ylim(bottom=0)
    axes.set_xlim(min(number[0], 1) - 0.2, max(number[-1], 2) + 0.2)
    drawn = [*axes.get_lines(), *right.get_lines()]
    # matplotlib itself names a line that was given no name
    named = {name: line for line in drawn if not (name := str(line.get_label())).startswith("_")}
    axes.legend(
        list(named.values()),
        list(named),
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=len(named),
        frameon=False,
        fontsize=style.font,
        labelcolor=style.text,
        handlelength=2.0,
        columnspacing=0.9,
        handletextpad=0.4,
        borderpad=0.1,
    )
    return right


def _draw_variances(axes: Axes, epoch: Epoch, style: FigureStyle) -> None:
    dress(axes, style, right=False)
    variances = np.sort(np.asarray(epoch.variances, float))
    shown = np.maximum(variances, 1e-6)  # a dead latent has none, and a logarithm needs some
    axes.bar(np.arange(len(shown)), shown, width=0.8, color=BCE_COLOR)
    axes.set_yscale("log")
    axes.axhline(ACTIVE_VARIANCE, color=style.text, lw=0.8, ls=":")
    axes.set_xlabel("latent, by variance")
    axes.set_ylabel("variance")
    _title(axes, f"{epoch.active} of {len(variances)} latents active", style)


def _draw_examples(axes: Axes, epoch: Epoch, style: FigureStyle) -> None:
    axes.set_axis_off()
    rows = [np.asarray(one, np.float32) for one in epoch.examples]
    if not all(len(row) for row in rows):
        return
    axes.imshow(mosaic(rows), cmap="gray", interpolation="nearest")
    size = rows[0].shape[1] + _GAP
    for number, word in enumerate(("seen", "wanted", "recon-\nstruction")):
        axes.text(
            -_GAP,
            number * size + size / 2,
            word,
            ha="right",
            va="center",
            color=style.text,
            fontsize=0.9 * style.font,
        )
    _title(axes, f"Validation segments, epoch {epoch.epoch}", style)


def _title(axes: Axes, text: str, style: FigureStyle) -> None:
    axes.set_title(text, color=style.text, fontsize=style.font, pad=4)


def mosaic(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures side by side, row below row, with gaps of NaN; each by its own extremes.

    Parameters
    ----------
    rows : sequence of ndarray (n, w, w)

    Returns
    -------
    ndarray (rows · (w + gap) - gap, n · (w + gap) - gap), float32
        0…1.
    """
    pictures = np.stack(rows)
    low = pictures.min((2, 3), keepdims=True)
    extent = pictures.max((2, 3), keepdims=True) - low
    pictures = (pictures - low) / np.where(extent > 0, extent, 1)
    padded = np.pad(pictures, ((0, 0), (0, 0), (0, _GAP), (0, _GAP)), constant_values=np.nan)
    many, count, height, width = padded.shape
    sheet = padded.transpose(0, 2, 1, 3).reshape(many * height, count * width)
    return np.asarray(sheet[:-_GAP, :-_GAP], np.float32)
