"""Segments with lattice fringes, picked from images by their whitened Fourier peaks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import fft

from ..progress import Progress, Steps
from .cutting import Cutter, cutter_steps
from .pixel_sizes import match_pixel_sizes_steps
from .recipe import Recipe

Float = NDArray[np.float32]
# Amorphous film under Poisson noise reaches this in 3 segments of 1000, a hole in it or a blob in 15;
# fringes of a contrast (standard deviation) of a tenth reach it at 10 e/px.
AUTOMATIC_THRESHOLD = 12.0
# Of segments that look like fringes fewer than this may be chance.
_CHANCE = 0.02
_ENOUGH_TO_TELL = 1000
_MOST_TRIES_A_SEGMENT = 50
# Fringes are looked for between these periods: window / 2.46 and 4 px.
_FEWEST_FRINGES = 2.46
_SHORTEST_PX = 4.0
_QUANTILE = 0.4
_NEAR = 2.5
_PREVIEW_TRIES = 2048
_PREVIEW_WINDOWS = 64


@dataclass(frozen=True)
class Picked:
    """Segments of one image or video.

    Parameters
    ----------
    windows : ndarray (n, window, window), float32
        Those kept, scaled to 0…1.
    scores : ndarray (tried,), float32
        Strength of the fringes of every window that was tried.
    """

    windows: Float
    scores: Float


@dataclass(frozen=True)
class Preview:
    """What would be trained on.

    Parameters
    ----------
    windows : ndarray (n, window, window), float32
        Up to 64 of those kept, scaled to 0…1.
    share : float
        Kept of all tried.
    scores : ndarray (tried,), float32
        Strength of the fringes of every window that was tried.
    threshold : float
        From this strength on a window is kept.
    notices : tuple of str
        Sentences for the user.
    """

    windows: Float
    share: float
    scores: Float
    threshold: float
    notices: tuple[str, ...]


def fringe_strengths(windows: Float, region: Float, finest_px: float = _SHORTEST_PX) -> Float:
    """How far the strongest Fourier peak of each window stands above what film and noise make there.

    The background is the ring quantile of the whole region's spectrum, which crystals hardly touch, brought
    to each window's own noise; or that of the window's own neighbouring rings where it is higher, so that a
    hole in the film makes no peaks of the film beside it.

    Parameters
    ----------
    windows : ndarray (n, w, w)
        Cut from `region`, not smoothed.
    region : ndarray (y, x)
        The picture around them.
    finest_px : float
        Shortest period that the picture can hold, in px.

    Returns
    -------
    ndarray (n,), float32
        Power over the mean power of the noise.
    """
    size = windows.shape[1]
    taper = _taper(size, size)
    power = np.abs(fft.rfft2(_detrended(windows) * taper)) ** 2
    radius = np.hypot(fft.fftfreq(size)[:, None], fft.rfftfreq(size)[None]) * size
    rings = np.round(radius).astype(int)
    band = (radius >= _FEWEST_FRINGES) & (radius <= size / max(finest_px, _SHORTEST_PX))
    highest = int(rings[band].max())
    flat = power[:, band]
    outer = _ring_levels(region, size, highest)[rings[band]] * np.square(taper).sum()
    # The band's own level: film and dose differ from place to place.
    level = np.quantile(flat / outer, _QUANTILE, axis=1) / -np.log(1 - _QUANTILE)
    inner = np.stack([_near_level(power, radius, ring) for ring in range(highest + 1)], axis=1)
    background = np.maximum(outer * level[:, None], inner[:, rings[band]])
    return np.asarray((flat / np.maximum(background, 1e-30)).max(1), np.float32)


def pick_segments_steps(cutter: Cutter, count: int, seed: int, threshold: float | None) -> Steps[Picked]:
    """Up to `count` segments whose fringes reach the threshold, from random places of random frames.

    It ends early where so few do that chance explains them; those are left out when the threshold is
    automatic.
    """
    limit = AUTOMATIC_THRESHOLD if threshold is None else threshold
    chance = _CHANCE if threshold is None else _CHANCE / 50
    kept: list[Float] = []
    scores: list[Float] = []
    found = tried = 0
    for windows, strengths in _tries(cutter, seed):
        good = strengths >= limit
        kept.append(windows[good])
        scores.append(strengths)
        found, tried = found + int(good.sum()), tried + len(good)
        yield Progress(min(found, count), count, f"Picking segments of {cutter.name}")
        hopeless = tried >= _ENOUGH_TO_TELL and found < chance * tried
        if hopeless and threshold is None:
            return Picked(kept[0][:0], np.concatenate(scores))
        if hopeless or found >= count or tried >= _MOST_TRIES_A_SEGMENT * count:
            break
    # A copy: a view would hold all that was found.
    return Picked(np.concatenate(kept)[:count].copy(), np.concatenate(scores))


def preview_segments_steps(
    videos: list[xr.DataArray], recipe: Recipe, *, threshold: float | None = None
) -> Steps[Preview]:
    """Try some windows of each image and show which would be kept.

    Parameters
    ----------
    videos : list of DataArray (time, y, x)
    recipe : Recipe
    threshold : float, optional
        Instead of the recipe's.

    Raises
    ------
    TrainingError
        Frames smaller than a window, or without a picture.
    """
    asked = recipe.fringe_threshold if threshold is None else threshold
    limit = AUTOMATIC_THRESHOLD if asked is None else asked
    matched = yield from match_pixel_sizes_steps(videos, recipe)
    share = max(1, _PREVIEW_TRIES // len(videos))
    kept: list[Float] = []
    scores: list[Float] = []
    for number, (video, zoom) in enumerate(zip(videos, matched.zooms, strict=True)):
        cutter = yield from cutter_steps(video, zoom, recipe)
        tried = 0
        for windows, strengths in _tries(cutter, recipe.seed + number):
            kept.append(windows[strengths >= limit])
            scores.append(strengths)
            tried += len(strengths)
            yield Progress(number, len(videos), f"Trying segments of {cutter.name}")
            if tried >= share:
                break
    every, strength = np.concatenate(kept), np.concatenate(scores)
    picks = np.linspace(0, len(every) - 1, min(_PREVIEW_WINDOWS, len(every))).round().astype(int)
    kept_share = len(every) / len(strength)
    notices = list(matched.notices)
    if asked is None and kept_share < _CHANCE:
        notices.append(no_fringes(len(strength), limit))
    return Preview(every[picks], kept_share, strength, limit, tuple(notices))


def no_fringes(tried: int, threshold: float) -> str:
    """The sentence about images in which nothing was picked."""
    return (
        f"No lattice fringes were found in {tried} segments; give images with fringes at a larger scale, "
        f"or set fringe_threshold below {threshold:g} (0 takes every segment)."
    )


def _tries(cutter: Cutter, seed: int) -> Iterator[tuple[Float, Float]]:
    """Without end: scaled windows and the strength of their fringes, a region at a time."""
    size = cutter.window
    for region in cutter.regions(seed):
        strengths = fringe_strengths(region.sharp, region.picture, 2 * max(cutter.zoom, 1.0))
        yield cutter.scaled(region.smooth.reshape(-1, size, size)), strengths


def _taper(rows: int, columns: int) -> NDArray[np.float32]:
    sides = (np.sin(np.pi * (np.arange(size) + 0.5) / size) for size in (rows, columns))
    return np.asarray(np.outer(*sides), np.float32)


def _detrended(windows: Float) -> Float:
    """Without their parabola of least squares: slow brightness would leak into the lowest rings."""
    axis = np.linspace(-1, 1, windows.shape[1], dtype=np.float64)
    y, x = (side.ravel() for side in np.meshgrid(axis, axis, indexing="ij"))
    basis, _ = np.linalg.qr(np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1))
    basis = basis.astype(np.float32)
    flat = windows.reshape(len(windows), -1)
    return np.asarray(flat - (flat @ basis) @ basis.T, np.float32).reshape(windows.shape)


def _ring_levels(region: Float, window: int, highest: int) -> NDArray[np.float64]:
    """Mean noise power a pixel of the region at each of the window's rings 0…highest."""
    rows, columns = region.shape
    taper = _taper(rows, columns)
    power = np.abs(fft.rfft2((region - region.mean()) * taper)) ** 2 / np.square(taper).sum()
    radius = np.hypot(fft.fftfreq(rows)[:, None], fft.rfftfreq(columns)[None]) * window
    rings = np.round(radius).astype(int).ravel()
    levels = np.empty(highest + 1)
    flat = power.ravel()
    for ring in range(highest + 1):
        # Exponential noise: a quantile tells the mean.
        levels[ring] = np.quantile(flat[rings == ring], _QUANTILE) / -np.log(1 - _QUANTILE)
    return np.maximum(levels, 1e-30)


def _near_level(power: Float, radius: NDArray[np.float64], ring: int) -> Float:
    """Mean noise power of each window at the rings around `ring`; (n,)."""
    near = (radius >= max(ring - _NEAR, 1.5)) & (radius < ring + _NEAR)
    return np.asarray(np.quantile(power[:, near], 0.3, axis=1) / -np.log(0.7), np.float32)
