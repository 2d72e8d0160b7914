"""How likely a score is where nothing happens: the distribution of still sites, from the scores of all.

Most sites of some videos change, and next to none of others. Only the lower part of the scores is looked at,
as what changes raises them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

Double = NDArray[np.float64]
Mask = NDArray[np.bool_]
# Share of the sites that tell what the still ones do: when many stand out, when few do, and within the lower
# of two groups, whose uppermost may be of what changes.
_LEAST, _MOST, _OF_GROUP = 0.4, 0.9, 0.7
# So many widths from the centre, or as unlikely, a site stands out; beyond this share of sites, fewer of the
# others count.
_OUTSTANDING, _OUTSTANDING_P = 4.0, 1e-3
_FEW_OUTSTANDING, _FEWER = 0.01, 5.0
# Share of the variance that lies between two groups (of a normal distribution it is 0.64), ratio of their
# means, and fewest values: film does not part its sites as far (0.76 and 1.17 on 121 still scenes).
_PARTED, _APART, _FEWEST_PARTED = 0.7, 1.25, 20
# A lower group so much larger than the sites known to be still holds others.
_FAR_MORE = 2.5
# Degrees of freedom of a squared fading that is averaged over about a window: 1.5 to 2 on still scenes.
_FADING_DEGREES = 2.0
# What is known of the width before a video is seen counts as much as so many windows side by side.
_KNOWN_WINDOWS = 10.0
_SMALLEST = 1e-150


def change_null_p(score: Double, windows: float, usual: float, stillest: Mask | None = None) -> Double:
    """Tail probability of each score that is a sum of many squares.

    Parameters
    ----------
    score : ndarray
        NaN is left out.
    windows : float
        How many of them are independent.
    usual : float
        Width over centre of the cube roots as it usually is where nothing happens.
    stillest : ndarray of bool, optional
        See `still_group`.

    Returns
    -------
    ndarray, float64
        Of Student's t with so many degrees of freedom: centre and width are only estimated.

    Notes
    -----
    Cube roots of such sums are close to normal (Wilson & Hilferty 1931, PNAS 17, 684). Centre and width come
    from the lower part of the sites (Efron 2004, J. Am. Stat. Assoc. 99, 96), the more of them the fewer
    stand out, or, where they fall in two groups far apart, from the lower group. Few windows tell the width
    badly, so it is moderated by the usual one (Smyth 2004, Stat. Appl. Genet. Mol. Biol. 3, 3).
    """
    root = np.cbrt(score)
    known = np.isfinite(root)
    still = still_group(score, stillest)

    def fitted(values: Double, part: float, share: float) -> tuple[float, float]:
        centre, width = _lower_part(values, part)
        return centre, _moderated(width, share * windows, usual * centre)

    if still is not None:
        centre, width = fitted(root[still & known], _MOST, float(still.sum() / known.sum()))
    else:
        values = root[known]
        centre, width = fitted(values, _LEAST, _LEAST)
        share = _share_that_tells(float(np.mean(values > centre + _OUTSTANDING * width)))
        centre, width = fitted(values, share, share)
    if not width > 0:
        return np.where(known, 1.0, np.nan)
    return np.asarray(special.stdtr(windows + _KNOWN_WINDOWS, -(root - centre) / width))


def fading_null_p(score: Double, windows: float, still: Mask | None) -> Double:
    """Tail probability of each score that is a square of hardly more than one number.

    Parameters
    ----------
    score : ndarray
        NaN is left out.
    windows : float
        How many of them are independent.
    still : ndarray of bool, or None
        Which of them are of the lower of two groups, see `still_group`.

    Returns
    -------
    ndarray, float64
        Of the F distribution: chi-squared, whose scale is only estimated, from the lower part of the scores.
    """
    known = np.isfinite(score)
    if still is not None:
        scale = _chi_squared_scale(score[still & known], _OF_GROUP)
    else:
        scale = max(_chi_squared_scale(score[known], _LEAST), _SMALLEST)
        outstanding = np.mean(special.chdtrc(_FADING_DEGREES, score[known] / scale) < _OUTSTANDING_P)
        scale = _chi_squared_scale(score[known], _share_that_tells(float(outstanding)))
    if not scale > 0:
        return np.where(known, 1.0, np.nan)
    return np.asarray(
        special.fdtrc(_FADING_DEGREES, _FADING_DEGREES * windows, score / (scale * _FADING_DEGREES))
    )


def still_group(score: Double, stillest: Mask | None = None) -> Mask | None:
    """Which sites are of the lower group, where their cube roots fall in two; None where they do not.

    Parameters
    ----------
    score : ndarray
        NaN is left out.
    stillest : ndarray of bool, optional
        Sites known to be still where most are not. They are the group where no two are told apart, or the
        lower one holds far more: then what parts them is how much sites move.
    """
    root = np.cbrt(score)
    lower = _lower_group(np.sort(root[np.isfinite(root)]))
    if stillest is not None and (lower is None or len(lower) > _FAR_MORE * stillest.sum()):
        return stillest
    return None if lower is None else np.asarray(root <= lower[-1])


def _moderated(width: float, windows: float, usual: float) -> float:
    """A width that so many windows tell, and the usual one, each with its weight."""
    return float(np.sqrt((windows * width**2 + _KNOWN_WINDOWS * usual**2) / (windows + _KNOWN_WINDOWS)))


def _share_that_tells(outstanding: float) -> float:
    """Share of the sites that tell what still ones do: where next to nothing stands out, more of them."""
    return max(_MOST - _FEWER * max(outstanding - _FEW_OUTSTANDING, 0), _LEAST)


def _lower_group(values: Double) -> Double | None:
    """The lower ones of values in order, where these fall in two groups far apart; None where they do not.

    The parting with the most variance between the groups: Otsu 1979, IEEE Trans. Syst. Man Cybern. 9, 62.
    """
    if len(values) < _FEWEST_PARTED or not values[0] > 0:
        return None
    logarithm = np.log(values)
    below = np.arange(1, len(values))
    sums = logarithm.cumsum()
    means = sums[:-1] / below, (sums[-1] - sums[:-1]) / (len(values) - below)
    between = below * (len(values) - below) * np.square(means[1] - means[0])
    best = int(between.argmax())
    parted = between[best] > _PARTED * len(values) ** 2 * logarithm.var()
    lower, upper = values[: best + 1], values[best + 1 :]
    return lower if parted and upper.mean() > _APART * lower.mean() else None


def _lower_part(values: Double, share: float) -> tuple[float, float]:
    """Mean and deviation of the normal distribution whose lower part, up to this share, fits the values'."""
    shares = _shares_up_to(share)
    width, centre = np.polyfit(special.ndtri(shares), np.quantile(values, shares), 1)
    return float(centre), float(width)


def _chi_squared_scale(values: Double, share: float) -> float:
    """The scale with which the lower part, up to this share, of chi-squared values fits these."""
    shares = _shares_up_to(share)
    expected = special.chdtri(_FADING_DEGREES, 1 - shares)
    return float(expected @ np.quantile(values, shares) / (expected @ expected))


def _shares_up_to(share: float) -> Double:
    return np.linspace(0.05, share, 12)
