"""What happens to the picture in a window from moment to moment: it shifts, turns, fades, or is new."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
# Moments that a video's frames are averaged to.
MOMENTS = 6
# Latents or components of sites at these, (..., 6, value).
Moments = NDArray[np.float16]
# Parts of the window along each axis that are looked at for themselves.
_PARTS = 4
_BORDER = 2
# What the parameters of a motion are counted in: px, degrees, per cent of a px per px, shares of grey.
_MOTIONS = ("shift y", "shift x", "turn", "stretch", "contrast", "grey", "grey along y", "grey along x")
_UNIT = np.array([1, 1, np.pi / 180, 0.01, 1, 0.1, 1 / 300, 1 / 300], np.float32)
_TYPICAL = np.array([3, 3, 2, 2, 0.2, 0.5, 1, 1], np.float32)
_TURN, _CONTRAST = _MOTIONS.index("turn"), _MOTIONS.index("contrast")
_RIDGE = (1e-4, 1e-3)
_LEAST = 1e-3
_MOST_ERRORS = 60.0


@dataclass(frozen=True)
class WindowMotion:
    """Least-squares motion of windows from moment to moment; see `fit_motion`.

    Parameters
    ----------
    steps : ndarray (n, moments − 1, 8)
        Shift (y, x) in px, turn in degrees (from x towards y), stretch in per cent, contrast as a share, and
        grey level and its slopes.
    error : ndarray (n, 8)
        Standard error of their sums over the steps, from what they leave unexplained.
    rest : ndarray (n, moments − 1, window, window)
        What they leave unexplained; 0 at the border.
    changed, unexplained : ndarray (n, moments − 1)
        Mean square of the difference of neighbouring moments, and of the rest.
    """

    steps: Float
    error: Float
    rest: Float
    changed: Float
    unexplained: Float


def fit_motion(windows: Float) -> WindowMotion:
    """Explain the difference of neighbouring moments by motions of the whole picture.

    Parameters
    ----------
    windows : ndarray (n, moments, window, window)

    References
    ----------
    Lucas & Kanade 1981, Proc. IJCAI, 674; here with turn, stretch and contrast beside the shift.
    """
    n, moments, size = windows.shape[:3]
    inner = slice(_BORDER, size - _BORDER)
    axis = np.arange(size, dtype=np.float32)[inner] - np.float32((size - 1) / 2)
    y, x = axis[:, None], axis[None, :]
    middle = (windows[:, 1:] + windows[:, :-1]) / 2
    difference = (windows[:, 1:] - windows[:, :-1])[:, :, inner, inner]
    slope_y, slope_x = (np.gradient(middle, axis=axis_)[:, :, inner, inner] for axis_ in (2, 3))
    patterns = np.empty((n, moments - 1, len(_MOTIONS), *difference.shape[2:]), np.float32)
    patterns[:, :, 0], patterns[:, :, 1] = -slope_y, -slope_x
    patterns[:, :, 2] = slope_x * y - slope_y * x
    patterns[:, :, 3] = -slope_y * y - slope_x * x
    patterns[:, :, 4] = (middle - middle.mean((2, 3), keepdims=True))[:, :, inner, inner]
    patterns[:, :, 5], patterns[:, :, 6], patterns[:, :, 7] = 1, y, x
    patterns *= _UNIT[:, None, None]
    flat = patterns.reshape(n, moments - 1, len(_MOTIONS), -1)
    product = flat @ flat.transpose(0, 1, 3, 2)
    share, least = _RIDGE
    ridge = share * np.trace(product, axis1=2, axis2=3) / len(_MOTIONS) + least
    inverse = np.linalg.inv(product + ridge[..., None, None] * np.eye(len(_MOTIONS), dtype=np.float32))
    seen = difference.reshape(n, moments - 1, -1)
    steps = (inverse @ (flat @ seen[..., None]))[..., 0]
    rest = seen - (steps[:, :, None] @ flat)[:, :, 0]
    unexplained = (rest**2).mean(2)
    error = np.sqrt((np.diagonal(inverse, axis1=2, axis2=3) * unexplained[..., None]).sum(1))
    whole = np.zeros((n, moments - 1, size, size), np.float32)
    whole[:, :, inner, inner] = rest.reshape(difference.shape)
    return WindowMotion(steps, error, whole, (seen**2).mean(2), unexplained)


def change_features(windows: Float, noise: Float) -> tuple[Float, WindowMotion]:
    """Numbers that tell what happens to the lattice of each window.

    Parameters
    ----------
    windows : ndarray (n, moments, window, window)
        The window as drawn at `MOMENTS` moments at equal distances in time; side a multiple of 4.
    noise : ndarray (n,)
        Log of the variance that noise gives the latents of a moment.

    Returns
    -------
    features : ndarray (n, features), float32
        Of order 1: strength of the columns by part of the window at first, halfway and at last, their motion
        and its error, what motion does not explain and where, grey levels.
    motion : WindowMotion
        What some of them are made from.
    """
    n, moments = windows.shape[:2]
    motion = fit_motion(windows)
    strength, grey = _by_part(windows)
    strongest = strength.max((1, 2, 3)) + np.float32(_LEAST)
    relative = strength / strongest[:, None, None, None]
    left = np.sqrt(_mean_by_part(motion.rest**2).mean(1)) / strongest[:, None, None]
    whole = np.sqrt((strength**2).mean((2, 3))) + np.float32(_LEAST)
    total = motion.steps.sum(1)
    chosen = motion.steps[:, :, [0, 1, _TURN, _CONTRAST]] * np.array([1, 1, 1, 5], np.float32)
    significance = total / (motion.error + np.float32(1e-4))
    parts = [
        relative[:, 0],
        relative[:, moments // 2],
        relative[:, -1],
        3 * (relative[:, -1] - relative[:, 0]),
        5 * left,
        20 * (grey[:, -1] - grey[:, 0]),
        5 * (grey[:, 0] - grey[:, 0].mean((1, 2), keepdims=True)),
        total / _TYPICAL,
        chosen,
        np.hypot(total[:, 0], total[:, 1]) / 3,
        np.abs(total[:, _TURN]) / 2,
        np.log(motion.error + np.float32(1e-4)),
        significance.clip(-_MOST_ERRORS, _MOST_ERRORS) / 10,
        np.log(strongest),
        np.log(motion.unexplained.mean(1) / (motion.changed.mean(1) + np.float32(1e-9)) + np.float32(_LEAST)),
        np.log(motion.changed.mean(1) + np.float32(1e-7)),
        3 * np.log(whole[:, -1] / whole[:, 0]),
        np.log(whole[:, 0]),
        noise,
    ]
    return np.concatenate([np.asarray(part, np.float32).reshape(n, -1) for part in parts], 1), motion


def _by_part(windows: Float) -> tuple[Float, Float]:
    """Standard deviation and mean of grey levels in parts of windows, (n, moments, 4, 4) each."""
    mean = _mean_by_part(windows)
    return np.sqrt(np.maximum(_mean_by_part(windows**2) - mean**2, 0)), mean


def _mean_by_part(pictures: Float) -> Float:
    each = pictures.shape[-1] // _PARTS
    parted = pictures.reshape(*pictures.shape[:-2], _PARTS, each, _PARTS, each)
    return np.asarray(parted.mean((-3, -1)), np.float32)
