"""From latents over time to what a reader reads: moments, drawn windows, and what neighbours add."""

from __future__ import annotations

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
_AT_ONCE = 32
# Each holds some 55 MB.
_MOST_THREADS = 4
_PATTERN_FEATURES, _TOLD_AROUND = 5, 8
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


def features_of_steps(
    moments: NDArray[np.floating[Any]],
    noise: Float,
    told: Bools,
    wanted: Bools,
    drawer: Drawer,
    spacing_px: float,
    *,
    backwards: bool = False,
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

    Returns
    -------
    list of ndarray (wanted, features), float32
        One, or two.
    """
    near = told & ndimage.binary_dilation(wanted, np.ones(2 * [2 * max(REACHES) + 1], bool))
    index = np.flatnonzero(near)
    latents = moments.shape[-1]
    flat, flat_noise = moments.reshape(-1, MOMENTS, latents), noise.reshape(-1)
    orders = (1, -1) if backwards else (1,)
    alike = np.zeros((len(orders), wanted.size, _TOLD_AROUND), np.float32)
    power = np.zeros((len(orders), wanted.size), np.float32)
    motion = np.zeros((len(orders), wanted.size, 2, 3), np.float32)

    def read(some: NDArray[np.intp]) -> list[Float]:
        """Draw windows of sites and look at them in each order; parts write to places of their own."""
        z = flat[some].reshape(-1, latents).astype(np.float32, copy=False)
        drawn = drawer.decode(z)
        windows = drawn.reshape(-1, MOMENTS, *drawn.shape[1:])
        found = []
        for number, order in enumerate(orders):
            features, moved = change_features(windows[:, ::order], flat_noise[some])
            found.append(features)
            alike[number, some] = np.concatenate([pattern_features(windows[:, ::order]), _told_by(moved)], 1)
            power[number, some] = moved.changed.mean(1)
            motion[number, some, 0] = moved.steps.sum(1)[:, :3]
            motion[number, some, 1] = moved.error[:, :3]
        return found

    threads = Threads(min(torch.get_num_threads(), _MOST_THREADS))
    parts = (index[start : start + _AT_ONCE] for start in range(0, len(index), _AT_ONCE))
    own: list[list[Float]] = []
    yield Progress(0, len(index), "Reading the changes")
    for found in threads.share(read, parts):
        own.append(found or [])
        yield Progress(min(len(own) * _AT_ONCE, len(index)), len(index), "Reading the changes")
    kept = wanted.reshape(-1)[index]
    results = []
    for number, (moved_sites, pattern, changed) in enumerate(zip(motion, alike, power, strict=True)):
        features = np.concatenate([each[number] for each in own])[kept]
        among = _among_neighbours(moved_sites.reshape(*wanted.shape, 2, 3), near, spacing_px)
        patterns = pattern.reshape(*wanted.shape, -1)
        around = surroundings(patterns, changed.reshape(wanted.shape), near)
        # What was added last comes last: earlier calibrations read what is before it.
        own_pattern = patterns[wanted][:, :_PATTERN_FEATURES]
        results.append(np.concatenate([features, among[wanted], own_pattern, around[wanted]], 1))
    return results


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
