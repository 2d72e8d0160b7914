"""Training material: noisy segments of simulated PbS HRTEM scenes and their noise-free truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ..errors import ParameterError
from ..progress import Progress, Steps
from ..video.scaling import grey_range, scale_to_range, scale_windows, smooth
from .material import columns, film

Float = NDArray[np.float32]
_SCENE = 256
_PER_SCENE = 16
# Grains end softly: this many px around their edge.
_EDGE_PX = (1.0, 3.0)


@dataclass(frozen=True)
class SegmentParameters:
    """What segments are drawn from; the defaults are the shipped models'.

    Parameters
    ----------
    count : int
        Segments.
    window : int
        Side of a segment in px.
    period_px : tuple of float
        Range of the fringe period in px.
    dose_e_per_px : tuple of float
        Range of the dose in electrons per px, log-uniform.
    smoothing_px : float
        Standard deviation of the Gaussian over scenes, in px.
    scaling : str
        "video": by the scene's range; "window": each segment by its own extremes.
    seed : int
        Seed; the same gives the same segments to the bit.
    """

    count: int = 12000
    window: int = 64
    period_px: tuple[float, float] = (18.0, 24.0)
    dose_e_per_px: tuple[float, float] = (5.0, 500.0)
    smoothing_px: float = 1.5
    scaling: str = "video"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or not 4 <= self.window <= _SCENE:
            raise ParameterError(
                f"count is {self.count}, window {self.window}; give 1 or more and 4 to {_SCENE} px."
            )


def polygon_envelope(rng: np.random.Generator, y: Float, x: Float, size: float) -> Float:
    """A soft-edged polygon of 3 to 7 sides, or the whole plane; 1 inside, 0 outside."""
    if rng.random() < 0.12:
        return np.ones_like(y)
    softness = rng.uniform(*_EDGE_PX)
    cy, cx = rng.uniform(0, y.shape[0], 2)
    outside = np.full_like(y, -np.inf)
    sides = int(rng.integers(3, 8))
    start = rng.uniform(0, 2 * np.pi)
    for side in range(sides):
        direction = start + 2 * np.pi * (side + rng.uniform(-0.25, 0.25)) / sides
        distance = size * rng.uniform(0.6, 1.2)
        np.maximum(
            outside, np.sin(direction) * (y - cy) + np.cos(direction) * (x - cx) - distance, out=outside
        )
    return np.asarray(special.expit(-outside / softness), np.float32)


def scene(rng: np.random.Generator, period_px: tuple[float, float]) -> Float:
    """One noise-free micrograph (256 × 256 px), its film at grey level 1."""
    y, x = np.mgrid[:_SCENE, :_SCENE].astype(np.float32)
    image = 1 + film(rng, (_SCENE, _SCENE), rng.uniform(1.5, 4), rng.uniform(0.01, 0.05))
    image += film(rng, (_SCENE, _SCENE), 40, rng.uniform(0, 0.03))
    free = np.ones_like(y)
    period = rng.uniform(*period_px)
    sign = rng.choice([-1.0, 1.0])
    amplitude = np.exp(rng.uniform(np.log(0.1), np.log(0.5)))
    for _ in range(rng.integers(1, 6)):
        # Later grains take what earlier ones left, so that neighbours touch along a boundary.
        envelope = polygon_envelope(rng, y, x, rng.uniform(30, 110)) * free
        free = free * (1 - envelope)
        sharpness = rng.uniform(0.3, 2.5) * np.array([1.0, rng.choice([1.0, 1.0, 1.0, 0.4, 0.05])])
        net = columns(
            y,
            x,
            period * rng.uniform(0.97, 1.03),
            rng.uniform(0, np.pi / 2),
            rng.uniform(0, 2 * np.pi, 2).astype(np.float32),
            sharpness.astype(np.float32),
        )
        contrast = amplitude * rng.uniform(0.6, 1.2)
        image += envelope * (sign * contrast * net - rng.uniform(0.0, 0.15))
    return np.maximum(image, 0.02).astype(np.float32)


def segments_steps(parameters: SegmentParameters) -> Steps[tuple[Float, Float]]:
    """Draw segments; yields progress by the scene.

    Returns
    -------
    noisy, clean : ndarray (count, window, window), float32
        Scaled to 0…1 by the same ranges.
    """
    p = parameters
    rng = np.random.default_rng(p.seed)
    noisy = np.empty((p.count, p.window, p.window), np.float32)
    clean = np.empty_like(noisy)
    done = 0
    while done < p.count:
        truth = scene(rng, p.period_px)
        dose = np.exp(rng.uniform(*np.log(p.dose_e_per_px)))
        seen = smooth(rng.poisson(truth * dose).astype(np.float32) / np.float32(dose), p.smoothing_px)
        truth = smooth(truth, p.smoothing_px)
        low, high = grey_range(seen)
        margin = (high - low) * rng.uniform(-0.05, 0.15)
        take = min(_PER_SCENE, p.count - done)
        for corner in rng.integers(0, _SCENE - p.window + 1, (take, 2)):
            cut = np.s_[corner[0] : corner[0] + p.window, corner[1] : corner[1] + p.window]
            noisy[done], clean[done] = seen[cut], truth[cut]
            done += 1
        block = np.s_[done - take : done]
        if p.scaling == "video":
            noisy[block] = scale_to_range(noisy[block], low - margin, high + margin)
            clean[block] = scale_to_range(clean[block], low - margin, high + margin)
        else:
            extremes = noisy[block].min((1, 2), keepdims=True), noisy[block].max((1, 2), keepdims=True)
            noisy[block] = scale_windows(noisy[block])
            clean[block] = np.clip((clean[block] - extremes[0]) / (extremes[1] - extremes[0]), 0, 1)
        yield Progress(done, p.count, "Simulating segments")
    return noisy, clean
