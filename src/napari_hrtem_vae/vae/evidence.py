"""Evidence that anything changed at a site: slow change of all numbers that tell of it, against still sites.

The numbers are components of its window, or latents where there are no frames (`latent` below).

Shot noise is not all that changes where nothing happens: the film evolves, and every window holds some of
it. So how much a site changes by chance is learnt from the stillest part of the video's own sites, see
`still_sites`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..progress import Progress, Steps, run
from .neighbours import Neighbours
from .still_sites import change_null_p, fading_null_p, still_group

Float = NDArray[np.float32]
Double = NDArray[np.float64]
Bools = NDArray[np.bool_]
# What a block of sites tells, each over (y, x, latent); `change_p` takes them of all sites.
SITE_CHANGES = ("level", "trend", "rest", "noise")
FEWEST_FRAMES = 8
SITES_PER_WINDOW = 8.0
_VALUES_AT_ONCE = 1 << 20
# Evidence is averaged over neighbours whose windows overlap by most of their width: deviations in windows.
# A contrast that fades is one for a whole crystal.
_REACH, _NOISE_REACH, _FADING_REACH = 0.3, 0.25, 0.6
# Of a contrast that fades, for each latent, and of other slow change than the slowest.
_FADING_WEIGHT, _REST_WEIGHT = 0.45, 0.5
# Fading, averaged twice, reaches to still neighbours: where most sites change, it adds so much of a site's
# own change at most.
_MOST_FADING = 0.5
# Fewer windows side by side do not tell what still sites do.
_FEWEST_WINDOWS = 8.0
# So many sites of any video are still, and with them those that change by up to so many times what these do,
# once film is told apart: 95 % of the sites do on 45 scenes where nothing moves. If fewer than six in ten do,
# most of the video changes.
_FEWEST_STILL, _STILL_RATIO, _MOST_CHANGES = 0.08, 2.8, 0.6
# Film that evolves changes the stillest sites by less than this share of what sites differ by.
_MOST_OF_STILL = 0.3
# Chance alone makes some directions of a few windows vary more than others: up to this, it is noise.
_CHANCE = 2.0
_REFINEMENTS = 3
# The average over neighbours holds so many independent values of each number, of noise and of film that
# evolves, and fading adds to the width: chosen on 122 still scenes; on 240 the width is 1.04 ± 0.19 of that.
_OF_NOISE, _OF_FILM, _WITH_FADING = 6.0, 3.0, 1.2
_LOOKING = Progress(0, 1, "Looking for change")
# Memory that a site's noise has beyond the others' counts up to this; more of it is motion.
_MOST_MEMORY = 1.4


def site_changes_steps(field: Float) -> Steps[dict[str, Float]]:
    """What every site of a block tells about slow change and about noise.

    Parameters
    ----------
    field : ndarray (frames, y, x, latent)
        Two frames or more; sites that are not numbers give NaN.

    Returns
    -------
    dict of ndarray (y, x, latent), float32
        The arrays of `SITE_CHANGES`. `trend`: coefficient of the slowest cosine over time (orthonormal
        DCT-II); `level`: the mean, as the trend that a steady loss of all of it would be; `rest`: variance
        without the trend; `noise`: variance from frame to frame, half of the mean squared difference of
        neighbouring frames (von Neumann 1941, Ann. Math. Stat. 12, 367).
    """
    frames, rows, columns, latents = field.shape
    slowest = np.cos(np.pi * (np.arange(frames) + 0.5) / frames) * np.sqrt(2 / frames)
    # A straight line from 1 to 0 has this coefficient.
    fading = np.float32(np.linspace(1, 0, frames) @ slowest)
    slowest = slowest.astype(np.float32)
    found = {name: np.empty((rows, columns, latents), np.float32) for name in SITE_CHANGES}
    several = max(1, _VALUES_AT_ONCE // (frames * latents))
    for row in range(rows):
        for first in range(0, columns, several):
            at = np.s_[row, first : first + several]
            sites = np.ascontiguousarray(field[:, row, first : first + several])
            shape = sites.shape[1:]
            series = sites.reshape(frames, -1)
            mean = series.mean(0)
            centred = series - mean
            trend = slowest @ centred
            steps = np.diff(series, axis=0)
            power = np.einsum("tn,tn->n", centred, centred) - np.square(trend)
            found["level"][at] = (mean * fading).reshape(shape)
            found["trend"][at] = trend.reshape(shape)
            found["rest"][at] = (power.clip(0) / max(frames - 2, 1)).reshape(shape)
            found["noise"][at] = (np.einsum("tn,tn->n", steps, steps) / (2 * (frames - 1))).reshape(shape)
            yield Progress(row, rows, "Looking for change")
    return found


def change_p(
    changes: dict[str, Float],
    active: Bools | None = None,
    sites_per_window: float = SITES_PER_WINDOW,
) -> Double | None:
    """Probability of at least this much change at a site where nothing happens; see `change_p_steps`."""
    return run(change_p_steps(changes, active, sites_per_window))


def change_p_steps(
    changes: dict[str, Float],
    active: Bools | None = None,
    sites_per_window: float = SITES_PER_WINDOW,
) -> Steps[Double | None]:
    """Probability of at least this much change at a site where nothing happens.

    Parameters
    ----------
    changes : dict of ndarray (y, x, latent)
        The arrays of `site_changes_steps`, of all sites.
    active : ndarray (latent,), bool, optional
        Latents that count.
    sites_per_window : float
        Width of a window in distances of sites.

    Returns
    -------
    ndarray (y, x), or None
        None where the sites do not tell what still ones do: too few of them, or even the stillest ones
        change as only something that moves does.

    Notes
    -----
    Trends are measured in units of the noise, then made independent and of unit variance by the covariance of
    the stiller half of the still sites where that is more than noise (as the minimum covariance determinant
    does, Rousseeuw 1984, J. Am. Stat. Assoc. 79, 871; how many are still is told from the stillest few, as a
    forward search does, Atkinson 1994, J. Am. Stat. Assoc. 89, 1329). Two scores of a site, both averaged
    over neighbours that change alike (`neighbours`), are added: the squared length of its trends, with other
    slow change; and the square of their part along the site's own level, where a contrast that fades shows.
    The sum is judged against what the still sites do (`still_sites`). Where hardly more than one number makes
    it up its tail is heavier than told, so no sum is taken to be less likely than the less likely of its
    parts.
    """
    scores = yield from change_scores_steps(changes, active, sites_per_window)
    yield _LOOKING
    if scores is None:
        return None
    changed, faded = scores.changed, scores.faded
    both = changed + (faded if scores.still is None else np.minimum(faded, _MOST_FADING * changed))
    # An average over neighbours reaches over about two windows.
    windows = np.isfinite(both).sum() / (2 * sites_per_window**2)
    still = still_group(changed, scores.still)
    if still is None:
        still = still_group(both)
    of_changed = change_null_p(changed, windows, scores.usual_width, scores.still)
    of_both = change_null_p(both, windows, _WITH_FADING * scores.usual_width, scores.still)
    return np.maximum(of_both, np.minimum(of_changed, fading_null_p(faded, windows, still)))


class ChangeScores(NamedTuple):
    """How much each site changes, and how much it fades.

    Parameters
    ----------
    changed, faded : ndarray (y, x), float64
        In units of noise and of the stillest sites; NaN where nothing is told.
    still : ndarray (y, x), bool, or None
        The stillest sites, of a video most of which changes.
    usual_width : float
        Width over centre of the cube roots of `changed` that noise and film usually have.
    """

    changed: Double
    faded: Double
    still: Bools | None
    usual_width: float


def change_scores_steps(
    changes: dict[str, Float], active: Bools | None, sites_per_window: float
) -> Steps[ChangeScores | None]:
    """How much each site changes and fades; see `change_p_steps`."""
    noise = changes["noise"]
    sites = np.asarray(np.isfinite(noise).all(-1) & (noise > 0).any(-1))
    if sites.sum() < _FEWEST_WINDOWS * sites_per_window**2:
        return None
    typical = np.median(noise[sites], axis=0)
    counted = typical > 0 if active is None or not active.any() else (typical > 0) & active
    if not counted.any():
        return None
    typical = typical[counted]
    yield _LOOKING
    neighbours = Neighbours(sites, sites_per_window)

    # Views, sums by products and changes in place: of a large video these arrays are the most there is.
    def of_sites(name: str) -> Float:
        values = changes[name].reshape(-1, len(counted)) if sites.all() else changes[name][sites]
        return np.asarray(values if counted.all() else values[:, counted], np.float32)

    share = (1 / (typical * counted.sum())).astype(np.float32)
    noise, rest = of_sites("noise") @ share, of_sites("rest")
    roughness = neighbours.averaged(noise / (rest @ share), _NOISE_REACH)
    memory = np.clip(np.median(roughness) / roughness, 1, _MOST_MEMORY)
    scale = (neighbours.averaged(noise, _NOISE_REACH) * memory).astype(np.float32)
    trend = np.asarray(of_sites("trend") / np.sqrt(typical), np.float32)
    trend /= np.sqrt(scale)[:, None]
    level = of_sites("level") / np.sqrt(typical)
    level -= np.median(level, axis=0)

    yield _LOOKING
    film, still, all_still = yield from _film_steps(trend, neighbours)
    count = int(counted.sum())
    over_noise = float(_squared_lengths(trend)[still].mean()) / count
    if (over_noise - 1) * count > _MOST_OF_STILL * _squared_lengths(level).mean():
        return None
    trend = trend @ film
    level = level @ film
    length = _squared_lengths(level)
    fading = np.einsum("nl,nl->n", trend, level) / np.sqrt(length + np.quantile(length, 0.25))
    usual = np.maximum((still / scale) @ rest / (still.sum() * typical), 1)
    others = rest @ (1 / (typical * usual)).astype(np.float32) / scale
    yield _LOOKING
    power = _squared_lengths(trend) + _REST_WEIGHT * others
    averaged = neighbours.averaging_alike(power, _REACH)
    # What fades does so at neighbouring sites alike, unlike noise: averaged with its sign first.
    coherent = averaged(np.square(neighbours.averaging_alike(power, _FADING_REACH)(fading)))
    return ChangeScores(
        neighbours.put(averaged(power)),
        neighbours.put(_FADING_WEIGHT * count * coherent),
        neighbours.put(all_still) > 0 if all_still.mean() < _MOST_CHANGES else None,
        _usual_width(count, 1 - 1 / max(over_noise, 1)),
    )


def _usual_width(count: int, film: float) -> float:
    """Width over centre of cube roots of averaged sums of so many squares, of which so much is film.

    Of chi-squared with n degrees of freedom it is √(2/n) / 3 (Wilson & Hilferty 1931).
    """
    return math.sqrt(2 / count * (1 / _OF_NOISE + film / _OF_FILM)) / 3


def _film_steps(trend: Float, neighbours: Neighbours) -> Steps[tuple[Float, Bools, Bools]]:
    """What makes the trends (n, latent) of still sites independent and of unit variance, and which these are.

    It begins with the stillest few, by which all that changes stands out, and goes on with the stiller half
    of those that are like them. That half is returned too, and all that are like them.
    """
    film, share = np.eye(trend.shape[1], dtype=np.float32), _FEWEST_STILL

    def changed() -> Double:
        return neighbours.averaged(_squared_lengths(trend @ film), _REACH)

    for _ in range(2):
        for _ in range(_REFINEMENTS):
            how_much = changed()
            stillest = np.asarray(how_much <= np.quantile(how_much, share))
            of_still = trend[stillest]
            variances, axes = np.linalg.eigh(of_still.T @ of_still / stillest.sum())
            film = (axes / np.sqrt(np.maximum(variances / _CHANCE, 1))).astype(np.float32)
            yield _LOOKING
        how_much = changed()
        like_them = np.asarray(how_much <= _STILL_RATIO * np.quantile(how_much, _FEWEST_STILL / 2))
        share = float(like_them.mean()) / 2
    return film, stillest, like_them


def _squared_lengths(vectors: Float | Double) -> Float:
    """Of vectors (n, latent)."""
    return np.asarray(np.einsum("nl,nl->n", vectors, vectors), np.float32)
