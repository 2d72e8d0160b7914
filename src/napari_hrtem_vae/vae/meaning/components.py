"""Principal components of windows of known scenes: what latents see, once more, by a linear map."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg

from ...progress import Progress, Steps
from ..card import ModelCard
from .known_changes import scene_for_model
from .window_changes import Float

COMPONENTS = 64
_SCENES, _SEED = 60, 99
# Windows of every sixth frame, half a window apart.
_EVERY_FRAME = 6


@dataclass(frozen=True)
class Components:
    """Windows to their principal components and back, as a model does with latents.

    Parameters
    ----------
    mean : ndarray (window²,), float32
    axes : ndarray (window², component), float32
        Orthonormal, the strongest first.
    """

    mean: Float
    axes: Float

    @property
    def window(self) -> int:
        """Side of a window in px."""
        return math.isqrt(len(self.mean))

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.axes.shape[1])

    @property
    def checksum(self) -> str:
        """What tells them from others."""
        return hashlib.sha256(self.mean.tobytes() + self.axes.tobytes()).hexdigest()[:16]

    @property
    def offset(self) -> Float:
        """Components of the mean (component,)."""
        return np.asarray(self.mean @ self.axes)

    def encode(self, windows: Float) -> tuple[Float, Float]:
        """Windows (n, window, window) to components (n, component), twice: they have no variance."""
        z = np.ascontiguousarray(windows).reshape(len(windows), -1) @ self.axes - self.offset
        return z, z

    def decode(self, z: Float) -> Float:
        """Components (n, component) to windows."""
        return (z @ self.axes.T + self.mean).reshape(len(z), self.window, self.window)


def principal_components(windows: Float, count: int = COMPONENTS) -> Components:
    """The strongest components of windows (n, window²), as many as there are up to `count`."""
    mean = windows.mean(0)
    centred = windows - mean
    squares, last = centred.T @ centred, windows.shape[1] - 1
    # All of them would take three times as long.
    strongest = max(0, last - count + 1), last
    _, axes = linalg.eigh(squares, subset_by_index=strongest, overwrite_a=True, check_finite=False)
    return Components(mean, np.ascontiguousarray(axes[:, ::-1]))


def fit_components_steps(card: ModelCard) -> Steps[Components]:
    """Components of windows of scenes of known change, as float16 holds them.

    Parameters
    ----------
    card : ModelCard
        Whose window, period and smoothing the scenes have.
    """
    size = card.window
    windows = []
    rng = np.random.default_rng(_SEED)
    for number in range(_SCENES):
        yield Progress(number, _SCENES, "Finding components")
        frames = scene_for_model(rng, card).frames
        views = np.lib.stride_tricks.sliding_window_view(frames, (size, size), (1, 2))
        windows.append(views[::_EVERY_FRAME, :: size // 2, :: size // 2].reshape(-1, size**2))
    found = principal_components(np.concatenate(windows))
    return replace(found, axes=found.axes.astype(np.float16).astype(np.float32))
