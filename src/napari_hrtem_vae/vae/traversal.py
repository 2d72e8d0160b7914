"""Moving through latent space: what one latent does to a window, and the path of a site through time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ParameterError
from ..progress import Progress, Steps, run
from .card import ModelCard

if TYPE_CHECKING:
    from .model import Model

Float = NDArray[np.float32]
# Spreads to each side of 0 that latents are moved by.
REACH = 3.0
# Windows decoded at once: a stop is seen after each batch.
_BATCH = 64
_GREY_PERCENTILES = (0.5, 99.5)
_MOST_BYTES = 1 << 28


def latent_spreads(card: ModelCard, series: ArrayLike | None = None) -> Float:
    """How far each latent usually lies from 0.

    Parameters
    ----------
    card : ModelCard
        Its record of training holds the variances over the training set.
    series : array_like (n, latents), optional
        Latents seen, for a card without that record; NaN are left out.

    Returns
    -------
    ndarray (latents,), float32
        Standard deviation over the training set; else the root mean square of `series`; else 1, the
        prior's. Never 0.
    """
    variances = card.training.get("variances")
    if variances is not None:
        spreads = np.sqrt(np.asarray(variances, np.float32))
    elif series is not None and (known := _known_rows(series)).size:
        spreads = np.sqrt(np.mean(np.square(known, dtype=np.float64), axis=0)).astype(np.float32)
    else:
        spreads = np.ones(card.latents, np.float32)
    return np.where(spreads > 0, spreads, np.float32(1))


def latent_limits(spreads: Float, seen: ArrayLike | None = None) -> Float:
    """How far each latent can be moved to either side: `REACH` spreads, or as far as latents were seen.

    Parameters
    ----------
    spreads : ndarray (latents,)
    seen : array_like (n, latents), optional
        NaN are left out.

    Returns
    -------
    ndarray (latents,), float32
    """
    limits = np.float32(REACH) * spreads
    known = np.empty((0, len(spreads))) if seen is None else _known_rows(seen)
    return np.asarray(np.maximum(limits, np.abs(known).max(0, initial=0)), np.float32)


def slow_variation(series: ArrayLike) -> NDArray[np.float64]:
    """How much each latent changes in the course of a series: the variance of means over tenths of it.

    Noise from frame to frame counts little, whatever way the change runs.

    Parameters
    ----------
    series : array_like (time, latents)
        NaN frames are left out.

    Returns
    -------
    ndarray (latents,)
        Zeros where fewer than two frames have values.
    """
    known = _known_rows(series)
    if len(known) < 2:
        return np.zeros(known.shape[1])
    parts = np.array_split(known, min(10, len(known)))
    return np.asarray(np.var([part.mean(0) for part in parts], axis=0))


@dataclass(frozen=True, eq=False)
class PrincipalPath:
    """A series in the plane in which it moves most.

    Parameters
    ----------
    points : ndarray (time, 2)
        First and second principal component about the mean; NaN where the series has none.
    shares : tuple of 2 floats
        Share of the variance over all latents that each holds, 0…1.
    """

    points: NDArray[np.float64]
    shares: tuple[float, float]


def principal_path(series: ArrayLike) -> PrincipalPath:
    """The path of a series (time, latents) in the plane of its first two principal components.

    The sign of a component is such that the last frame lies on its positive side.
    """
    series = np.asarray(series, np.float64)
    points = np.full((len(series), 2), np.nan)
    known = np.isfinite(series).all(1)
    if not known.any():
        return PrincipalPath(points, (0.0, 0.0))
    centred = series[known] - series[known].mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    scores = np.zeros((len(centred), 2))
    found = min(2, len(values))
    scores[:, :found] = left[:, :found] * values[:found]
    points[known] = scores * np.where(scores[-1] < 0, -1, 1)
    total = float((values**2).sum())
    shares = [float(value**2 / total) if total > 0 else 0.0 for value in values[:2]]
    return PrincipalPath(points, (shares[0], shares[1] if len(shares) > 1 else 0.0))


@dataclass(frozen=True, eq=False)
class Traversal:
    """Windows as single latents are moved (Wang et al. 2023, Fig. 3 and S7).

    Parameters
    ----------
    pictures : ndarray (rows, columns, window, window), float32
        Grey values 0…1: a row a latent, a column a value.
    latents : tuple of int
        Of the rows.
    values : ndarray (rows, columns), float32
        z of the row's latent; all other latents are those of `start`.
    spreads : ndarray (columns,), float32
        The same in units of each latent's spread.
    start : ndarray (latents,), float32
        Latents that the traversal starts from.
    """

    pictures: Float
    latents: tuple[int, ...]
    values: Float
    spreads: Float
    start: Float

    def mosaic(self, gap: int = 2) -> Float:
        """All pictures as one, `gap` white pixels between neighbours."""
        rows, columns, side, _ = self.pictures.shape
        padded = np.pad(self.pictures, ((0, 0), (0, 0), (0, gap), (0, gap)), constant_values=1)
        joined = padded.swapaxes(1, 2).reshape(rows * (side + gap), columns * (side + gap))
        return joined[: joined.shape[0] - gap, : joined.shape[1] - gap]


def grey_limits(pictures: Sequence[Float]) -> tuple[float, float]:
    """What is black and white in pictures that are to be compared.

    Parameters
    ----------
    pictures : sequence of ndarray
        Grey values 0…1; NaN are left out.

    Returns
    -------
    low, high : float
        Robust extremes of all of them; 0 and 1 where there are none, or all are one value.
    """
    values = [picture[np.isfinite(picture)] for picture in pictures]
    together = np.concatenate(values) if values else np.zeros(0, np.float32)
    if not together.size:
        return 0.0, 1.0
    low, high = np.percentile(together, _GREY_PERCENTILES)
    return (float(low), float(high)) if high > low else (0.0, 1.0)


def traverse_steps(
    model: Model,
    *,
    start: ArrayLike | None = None,
    latents: Sequence[int] | None = None,
    columns: int = 7,
    spreads: ArrayLike | None = None,
) -> Steps[Traversal]:
    """Decode windows as one latent after the other is moved.

    Parameters
    ----------
    model : Model
    start : array_like (latents,), optional
        Latents of the window to start from; default all 0, the mean of the prior.
    latents : sequence of int, optional
        Which are moved, a row each; default all, those of the largest spread first.
    columns : int
        Values from −3 to 3 spreads, evenly; 2 to 101.
    spreads : array_like (latents,), optional
        Default `latent_spreads` of the card.

    Returns
    -------
    Traversal

    Raises
    ------
    ParameterError
        A latent, the start or the number of columns is out of range.
    ModelPartError
        The model has no decoder.
    """
    count, window = model.card.latents, model.card.window
    _ = model.decoder  # one that is missing is told before the rest
    each = latent_spreads(model.card) if spreads is None else np.asarray(spreads, np.float32)
    origin = np.zeros(count, np.float32) if start is None else np.array(start, np.float32)
    chosen = np.argsort(-each, kind="stable").tolist() if latents is None else list(latents)
    _check(count, origin, each, chosen, columns)
    if 4 * len(chosen) * columns * (count + window**2) > _MOST_BYTES:
        raise ParameterError(
            f"A traversal of {len(chosen)} latents in {columns} columns is too large; give fewer of either."
        )
    multiples = np.linspace(-REACH, REACH, columns, dtype=np.float32)
    values = each[chosen][:, None] * multiples
    z = np.tile(origin, (len(chosen), columns, 1))
    z[np.arange(len(chosen)), :, chosen] = values
    flat = z.reshape(-1, count)
    pictures = np.empty((len(flat), window, window), np.float32)
    for first in range(0, len(flat), _BATCH):
        yield Progress(first, len(flat), "Drawing windows")
        pictures[first : first + _BATCH] = model.decode(flat[first : first + _BATCH])
    shape = (len(chosen), columns, window, window)
    return Traversal(pictures.reshape(shape), tuple(chosen), values, multiples, origin)


def traverse(
    model: Model,
    *,
    start: ArrayLike | None = None,
    latents: Sequence[int] | None = None,
    columns: int = 7,
    spreads: ArrayLike | None = None,
) -> Traversal:
    """Decode windows as one latent after the other is moved; see `traverse_steps`."""
    return run(traverse_steps(model, start=start, latents=latents, columns=columns, spreads=spreads))


def _check(count: int, start: Float, spreads: Float, latents: list[int], columns: int) -> None:
    if not latents or not all(isinstance(one, int | np.integer) and 0 <= one < count for one in latents):
        raise ParameterError(f"latents is {latents!r}; give indices from 0 to {count - 1}.")
    if not 2 <= columns <= 101:
        raise ParameterError(f"columns is {columns!r}; give a number from 2 to 101.")
    for name, value in (("start", start), ("spreads", spreads)):
        if value.shape != (count,) or not np.isfinite(value).all():
            raise ParameterError(f"{name} has the shape {value.shape}; give {count} finite numbers.")


def _known_rows(series: ArrayLike) -> NDArray[np.float64]:
    """Rows of (n, latents) without NaN."""
    rows = np.atleast_2d(np.asarray(series, np.float64))
    return rows[np.isfinite(rows).all(1)]
