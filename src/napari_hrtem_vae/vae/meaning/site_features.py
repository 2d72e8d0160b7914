"""From latents over time to what a reader reads: moments, drawn windows, and what neighbours add."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, product
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from ...progress import Progress, Steps
from ..threads import Threads
from .pattern_changes import pattern_features
from .surroundings import surroundings
from .window_changes import MOMENTS, Float, WindowMotion, change_features

Bools = NDArray[np.bool_]
# Sites that are read are this far apart, in shares of the window; windows overlap by the rest.
SPACING = 0.25
# How far neighbours tell of a site, in sites that are read.
REACHES = (1, 2, 3)
_NEARNESS = 0.75
# Px and degrees: no shift or turn is known better.
_LEAST_ERROR = 0.1
_AT_ONCE = 16
# Each holds some 28 MB.
_MOST_THREADS = 4
_PATTERN_FEATURES = 5
# How many of the features tell motion: that of the window, and of its neighbours. The others tell patterns.
MOTION_FEATURES = 185


class Drawer(Protocol):
    """What draws windows from what it has made of them: a model, or components."""

    def decode(self, z: Float) -> Float:
        """Latents (n, latent) to windows."""


def moments_of(field: Float) -> Float:
    """Average latents (frames, …, latent) over six stretches of time: (…, 6, latent).

    Six frames or more are needed.
    """
    edges = stretch_edges(len(field))
    return np.stack([field[a:b].mean(0) for a, b in pairwise(edges)], -2).astype(np.float32)


def stretch_edges(frames: int) -> NDArray[np.int64]:
    """First frames of the six stretches of time, and the number of frames; (7,)."""
    return np.linspace(0, frames, MOMENTS + 1).round().astype(np.int64)


def noise_of(field: Float) -> Float:
    """Mean variance (…) that noise gives a moment's latents, from differences of neighbouring frames."""
    power = np.zeros(field.shape[1:-1], np.float32)
    for before, after in pairwise(field):
        power += np.square(after - before).mean(-1)
    power /= np.float32(2 * (len(field) - 1))
    return moment_noise(power, len(field))


def moment_noise(variance: Float, frames: int) -> Float:
    """Variance of a moment's mean from that of single frames."""
    return variance * np.float32(MOMENTS / frames)


@dataclass(frozen=True)
class SitesAtMoments:
    """Some sites to be looked at.

    Parameters
    ----------
    moments : ndarray (n, 6, latent)
    noise : ndarray (n,)
        Log of that of `noise_of`.
    """

    moments: NDArray[np.floating[Any]]
    noise: Float


@dataclass(frozen=True)
class SiteLooks:
    """What is seen in the windows of sites, each by itself.

    Parameters
    ----------
    features : ndarray (n, features)
    pattern : ndarray (n, 8)
        What neighbours tell of patterns.
    power : ndarray (n,)
        How much changes.
    motion : ndarray (n, 2, 3)
        Shift (y, x) and turn over all moments, and their errors.
    """

    features: Float
    pattern: Float
    power: Float
    motion: Float


# Has parts looked at elsewhere: `look_at_sites` with the number of the part, as they come; None while all are
# being worked on.
ShareSites = Callable[[Sequence[SitesAtMoments]], Iterator[tuple[int, list[SiteLooks]] | None]]


def look_at_sites(sites: SitesAtMoments, drawer: Drawer, backwards: bool = False) -> list[SiteLooks]:
    """Draw windows of sites and look at them; `backwards` also at their moments in reversed order."""
    z = sites.moments.reshape(-1, sites.moments.shape[-1]).astype(np.float32, copy=False)
    drawn = drawer.decode(z)
    windows = drawn.reshape(-1, MOMENTS, *drawn.shape[1:])
    return [_seen(windows[:, ::order], sites.noise) for order in ((1, -1) if backwards else (1,))]


def _seen(windows: Float, noise: Float) -> SiteLooks:
    features, moved = change_features(windows, noise)
    motion = np.stack([moved.steps.sum(1)[:, :3], moved.error[:, :3]], 1)
    pattern = np.concatenate([pattern_features(windows), _told_by(moved)], 1)
    return SiteLooks(features, pattern, moved.changed.mean(1), motion)


def features_of_steps(
    moments: NDArray[np.floating[Any]],
    noise: Float,
    told: Bools,
    wanted: Bools,
    drawer: Drawer,
    spacing_px: float,
    *,
    backwards: bool = False,
    share: ShareSites | None = None,
) -> Steps[list[Float]]:
    """What a reader reads about each wanted site: its own window, and how it moves among its neighbours.

    Parameters
    ----------
    moments : ndarray (y, x, 6, latent)
        Of sites `spacing_px` apart.
    noise : ndarray (y, x)
        Log of that of `noise_of`.
    told : ndarray (y, x), bool
        Sites whose moments are known.
    wanted : ndarray (y, x), bool
        Some of them.
    drawer : Drawer
    spacing_px : float
    backwards : bool, optional
        Also of the same moments in reversed order: drawing them is what takes time.
    share : callable, optional
        Has other processes look at the sites, and not backwards.

    Returns
    -------
    list of ndarray (wanted, features), float32
        One, or two.
    """
    near = told & ndimage.binary_dilation(wanted, np.ones(2 * [2 * max(REACHES) + 1], bool))
    index = np.flatnonzero(near)
    flat, flat_noise = moments.reshape(-1, *moments.shape[2:]), noise.reshape(-1)
    parts = [
        SitesAtMoments(flat[some], flat_noise[some])
        for some in (index[start : start + _AT_ONCE] for start in range(0, len(index), _AT_ONCE))
    ]
    if share is None:
        threads = Threads(min(torch.get_num_threads(), _MOST_THREADS))
        look = partial(look_at_sites, drawer=drawer, backwards=backwards)
        share = partial(_by_threads, threads, look)
    done: dict[int, list[SiteLooks]] = {}
    yield Progress(0, len(index), "Reading the changes")
    for found in share(parts):
        if found is not None:
            done[found[0]] = found[1]
        yield Progress(min(len(done) * _AT_ONCE, len(index)), len(index), "Reading the changes")
    in_order = zip(*(done[number] for number in range(len(parts))), strict=True)
    return [_with_neighbours(looks, near, wanted, spacing_px) for looks in in_order]


def _by_threads(
    threads: Threads, look: Callable[[SitesAtMoments], list[SiteLooks]], parts: Sequence[SitesAtMoments]
) -> Iterator[tuple[int, list[SiteLooks]]]:
    for number, found in enumerate(threads.share(look, parts)):
        assert found is not None
        yield number, found


def _with_neighbours(looks: Sequence[SiteLooks], near: Bools, wanted: Bools, spacing_px: float) -> Float:
    """Features (wanted, features) of looks at the sites `near`, in parts."""

    def placed(values: list[Float]) -> Float:
        out = np.zeros((*near.shape, *values[0].shape[1:]), np.float32)
        out[near] = np.concatenate(values)
        return out

    features = np.concatenate([look.features for look in looks])[wanted[near]]
    among = _among_neighbours(placed([look.motion for look in looks]), near, spacing_px)
    patterns = placed([look.pattern for look in looks])
    around = surroundings(patterns, placed([look.power for look in looks]), near)
    # What was added last comes last: earlier calibrations read what is before it.
    own_pattern = patterns[wanted][:, :_PATTERN_FEATURES]
    return np.concatenate([features, among[wanted], own_pattern, around[wanted]], 1)


def joined(latents: Float, components: Float) -> Float:
    """Features (n, features) of latents and of components together: those of motion first, of both."""
    parts = [each[:, :MOTION_FEATURES] for each in (latents, components)]
    parts += [each[:, MOTION_FEATURES:] for each in (latents, components)]
    return np.concatenate(parts, 1)


def _told_by(moved: WindowMotion) -> Float:
    """How little of each change is motion, and how far that goes: shift and turn."""
    total = moved.steps.sum(1)
    told = moved.unexplained.mean(1) / (moved.changed.mean(1) + np.float32(1e-9))
    motion = np.hypot(total[:, 0], total[:, 1]), np.abs(total[:, 2])
    return np.stack([np.log(told + np.float32(1e-3)), *motion], 1)


def _among_neighbours(motion: Float, known: Bools, spacing_px: float) -> Float:
    """Turn and stretch that the shifts of a site and its neighbours tell, near and farther, and how well.

    Shifts tell a turn by where they are made, with a longer arm than one window has.
    """
    return np.concatenate([_told_within(reach, motion, known, spacing_px) for reach in REACHES], -1)


def _told_within(reach: int, motion: Float, known: Bools, spacing_px: float) -> Float:
    rows, columns = shape = known.shape
    padded = np.pad(motion, ((reach, reach), (reach, reach), (0, 0), (0, 0)))
    there = np.pad(known, reach)
    normal, right = np.zeros((*shape, 4, 4)), np.zeros((*shape, 4))
    power, turns, turn_weight = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for down, along in product(range(-reach, reach + 1), repeat=2):
        part = np.s_[reach + down : reach + down + rows, reach + along : reach + along + columns]
        near = there[part] * np.exp(-0.5 * (down**2 + along**2) / (_NEARNESS * reach) ** 2)
        total, error = padded[part][:, :, 0], padded[part][:, :, 1]
        weights = near[..., None] / (error**2 + _LEAST_ERROR**2)
        dy, dx = down * spacing_px, along * spacing_px
        # Shift (y, x), turn from x towards y, stretch.
        for axis, pattern in ((0, (1, 0, dx, dy)), (1, (0, 1, -dy, dx))):
            weight, row = weights[..., axis], np.array(pattern, float)
            normal += weight[..., None, None] * np.outer(row, row)
            right += (weight * total[..., axis])[..., None] * row
            power += weight * total[..., axis] ** 2
        turns += weights[..., 2] * total[..., 2]
        turn_weight += weights[..., 2]
    inverse = np.linalg.inv(normal + np.diag([1e-3, 1e-3, 1.0, 1.0]))
    fit = (inverse @ right[..., None])[..., 0]
    left = np.maximum(power - (fit * right).sum(-1), 0) / np.maximum(power, 1e-6)
    told = [
        np.rad2deg(fit[..., 2]) / 2,
        100 * fit[..., 3] / 2,
        np.log(np.rad2deg(np.sqrt(inverse[..., 2, 2])) + 1e-3),
        np.log(left + 1e-3),
        np.log(power + 1),
        turns / np.maximum(turn_weight, 1e-6) / 2,
        np.log(turn_weight + 1e-2),
    ]
    return np.stack(told, -1).astype(np.float32)
