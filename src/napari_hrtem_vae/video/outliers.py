"""X-ray hits and dead pixels: pixels far brighter, or darker, than electrons make them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float32]
_SIGMAS = 6.0
_SD_OF_MAD = 1.4826
# Likelihood below 0.001 of its maximum: exp(−t²/2) < 0.001.
_PUBLISHED_SIGMAS = float(np.sqrt(-2 * np.log(0.001)))
_PUBLISHED_REPLACEMENT = 3.5


@dataclass(frozen=True)
class GreyLevels:
    """Robust centre and spread of a video's grey values.

    Parameters
    ----------
    median, spread : float
        Median, and standard deviation as estimated from the median absolute deviation.
    """

    median: float
    spread: float


def grey_levels(frames: ArrayLike) -> GreyLevels:
    """Median and robust spread of a sample of frames; every fourth pixel is enough.

    A spread of nothing (counts of 0 and 1, say) falls back to the standard deviation.
    """
    values = np.asarray(frames, np.float32)[..., ::4, ::4].ravel()
    values = values[np.isfinite(values)]
    if values.size == 0:
        return GreyLevels(0.0, 0.0)
    median = float(np.median(values))
    spread = float(np.median(np.abs(values - median))) * _SD_OF_MAD
    return GreyLevels(median, spread or float(values.std()))


def bright_share(frames: Float, levels: GreyLevels) -> Float:
    """Share of each frame's pixels (n, y, x) that lie far above the video's median; (n,)."""
    threshold = levels.median + _SIGMAS * levels.spread
    bright = [np.count_nonzero(frame > threshold) / frame.size for frame in frames]
    return np.asarray(bright, np.float32)


def replace_outliers(frames: Float, levels: GreyLevels) -> Float:
    """Pixels far above the video and far above their 24 neighbours become those neighbours' median.

    Parameters
    ----------
    frames : ndarray (n, y, x)
        Changed in place.
    levels : GreyLevels
        Of the video.

    Returns
    -------
    ndarray (n, y, x)
        `frames`.
    """
    return _replace_beyond(frames, levels, np.float32(1))


def replace_dead_pixels(frames: Float, levels: GreyLevels) -> Float:
    """Pixels far below the video and far below their 24 neighbours become those neighbours' median.

    Parameters
    ----------
    frames : ndarray (n, y, x)
        Changed in place.
    levels : GreyLevels
        Of the video.

    Returns
    -------
    ndarray (n, y, x)
        `frames`.
    """
    return _replace_beyond(frames, levels, np.float32(-1))


def _replace_beyond(frames: Float, levels: GreyLevels, sign: np.float32) -> Float:
    """Replace what lies far above (`sign` 1) or far below (−1) the video and its neighbours."""
    margin = _SIGMAS * levels.spread
    if not margin > 0:
        return frames
    limit = levels.median + sign * margin
    # Most frames have none, and an extreme is found ten times as fast as places; NaN is an extreme, too.
    if not frames.size or (frames.max() <= limit if sign > 0 else frames.min() >= limit):
        return frames
    beyond = frames > limit if sign > 0 else frames < limit
    # Ten times as fast as np.nonzero of three axes.
    places = np.unravel_index(np.flatnonzero(beyond), beyond.shape)
    if places[0].size:
        around = _median_around(frames, places)
        _replace(frames, places, around, sign * (frames[places] - around) > margin)
    return frames


Places = tuple[NDArray[np.intp], ...]


def _median_around(frames: Float, places: Places) -> Float:
    """Median of the 24 neighbours of pixels (frame, row, column)."""
    n, y, x = places
    offsets = np.array([(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if (dy, dx) != (0, 0)])
    rows = np.clip(y[:, None] + offsets[:, 0], 0, frames.shape[1] - 1)
    columns = np.clip(x[:, None] + offsets[:, 1], 0, frames.shape[2] - 1)
    return np.asarray(np.median(frames[n[:, None], rows, columns], axis=1), np.float32)


def _replace(frames: Float, places: Places, values: Float, chosen: NDArray[np.bool_]) -> None:
    n, y, x = (index[chosen] for index in places)
    frames[n, y, x] = values[chosen]


def clip_published(frames: Float, mean: Float, deviation: Float) -> Float:
    """The paper's rule: pixels whose likelihood is below 0.001 become mean + 3.5 standard deviations.

    Parameters
    ----------
    frames : ndarray (n, y, x)
        Changed in place.
    mean, deviation : ndarray (n,)
        Of each whole frame.

    References
    ----------
    Wang et al. 2023, `Gaussian_adjust` of the code with it.
    """
    mean, deviation = mean[:, None, None], deviation[:, None, None]
    np.copyto(
        frames, mean + _PUBLISHED_REPLACEMENT * deviation, where=frames > mean + _PUBLISHED_SIGMAS * deviation
    )
    return frames
