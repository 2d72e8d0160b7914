"""Simulated scenes in which it is known what changes: what a model's latents are read by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from ...errors import ParameterError
from ...simulate.material import columns, film
from ...video.scaling import grey_range, scale_to_range, smooth
from ..card import ModelCard
from .imaged_columns import PlainMicroscope, channelled

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]
KINDS = ("still", "growth", "shrinkage", "rotation", "translation", "contrast")
# What each kind is measured by: of grain and pixel, signed.
MEASURES = ("rotation_deg", "edge_px", "contrast_percent")
_AMOUNTS = {"rotation": (1.5, 10.0), "edge": (6.0, 80.0), "translation": (2.0, 12.0), "contrast": (0.12, 0.7)}
# Of images those that change their pattern, not their contrast alone.
_AMOUNTS_IMAGED = _AMOUNTS | {"contrast": (0.2, 0.7)}
_STEEP = (6.0, 200.0)
# How many crystals do what; of images more change their contrast, for that has many looks.
_CHANGES = ("still", "rotation", "edge", "translation", "contrast", "two")
_SHARES, _SHARES_IMAGED = (0.2, 0.19, 0.25, 0.15, 0.13, 0.08), (0.14, 0.16, 0.22, 0.13, 0.29, 0.06)
# Share of the scenes that a microscope takes; phases of their columns and of their film, in rad.
# Those of heavy columns turn more than once in a few nm.
_IMAGED = 0.5
_PHASES, _FILM_PHASES = (0.4, 10.0), (0.02, 0.15)
_MARGIN_PX = 32
# Of scenes for a model: side in windows, frames, dose in e/px, and periods in those of the model.
_SIDE_WINDOWS, _FRAMES, _DOSES, _PERIODS = 3.0, 24, (4.0, 300.0), (0.93, 1.08)
_LEAST_CONTRAST = 1e-3


@dataclass(frozen=True, eq=False)
class KnownScene:
    """A short video, scaled as a model wants it, and what happens in it.

    Parameters
    ----------
    frames : ndarray (time, y, x), float32
        0…1.
    kind : ndarray (y, x), uint8
        Index into `KINDS` of what happens to each pixel from the first frame to the last.
    measures : ndarray (measure, y, x), float32
        By how much, in the order and units of `MEASURES`; 0 where it does not.
    """

    frames: Float
    kind: NDArray[np.uint8]
    measures: Float


@dataclass
class _Grain:
    """A crystal with straight facets that turns, moves, grows and fades in proportion to `course`."""

    centre: NDArray[np.float64]
    directions: NDArray[np.float64]
    distances: NDArray[np.float64]
    softness: float
    period: float
    angle: float
    phase: Float
    sharpness: Float
    contrast: float
    mass: float
    damping: float
    course: Float
    turn: float = 0.0
    growth: NDArray[np.float64] | float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    fading: float = 0.0

    def outside(self, y: Float, x: Float, grown: float, moved: float) -> Float:
        """Distance to the outline in px, negative inside."""
        dy = y - self.centre[0] - self.shift[0] * moved
        dx = x - self.centre[1] - self.shift[1] * moved
        out = np.full(np.broadcast_shapes(y.shape, x.shape), -np.inf, np.float32)
        for direction, distance in zip(
            self.directions, self.distances + np.asarray(self.growth) * grown, strict=True
        ):
            np.maximum(out, np.sin(direction) * dy + np.cos(direction) * dx - distance, out=out)
        return out

    def painted(self, y: Float, x: Float, amount: float) -> Float:
        """Its columns as grey levels, with the contrast they have then."""
        net = columns(*self._columns(y, x, amount))
        return np.asarray(self._strength(amount) * net - np.float32(self.mass), np.float32)

    def channelled(self, y: Float, x: Float, amount: float) -> NDArray[np.complex64]:
        """What its columns add to the wave, as thick as they are then."""
        return channelled(*self._columns(y, x, amount), self._strength(amount), self.damping)

    def _strength(self, amount: float) -> float:
        return self.contrast * (1 + self.fading * amount)

    def _columns(self, y: Float, x: Float, amount: float) -> tuple[Float, Float, float, float, Float, Float]:
        return (
            y - np.float32(self.centre[0] + self.shift[0] * amount),
            x - np.float32(self.centre[1] + self.shift[1] * amount),
            self.period,
            self.angle + float(np.deg2rad(self.turn)) * amount,
            self.phase,
            self.sharpness,
        )


def scene_for_model(rng: np.random.Generator, card: ModelCard) -> KnownScene:
    """A scene of windows and fringes as a model has them; see `known_scene`.

    Raises
    ------
    ParameterError
        The card tells no fringe period, or one that scenes cannot have.
    """
    if card.period_px is None or not 2 <= card.period_px <= card.window / 2:
        raise ParameterError(
            f"{card.name} tells no fringe period between 2 px and half of its window, "
            "so there is nothing to calibrate with."
        )
    return known_scene(
        rng,
        side=round(_SIDE_WINDOWS * card.window),
        frames=_FRAMES,
        period_px=card.period_px * rng.uniform(*_PERIODS),
        dose_e_per_px=_DOSES,
        smoothing_px=card.smoothing_px,
    )


def known_scene(
    rng: np.random.Generator,
    *,
    side: int,
    frames: int,
    period_px: float,
    dose_e_per_px: tuple[float, float],
    smoothing_px: float,
    sign: int | None = None,
) -> KnownScene:
    """Draw a scene of one to three crystals on film, of which some change, each in its own way.

    Parameters
    ----------
    side : int
        Of the frames in px.
    frames : int
        All at equal distances in time.
    period_px : float
        Mean fringe period.
    dose_e_per_px : tuple of float
        Range of the dose, log-uniform.
    smoothing_px : float
        As the model has it.
    sign : int, optional
        1: columns are bright, −1: dark; drawn if not given, and then every second scene is as a microscope
        shows them, see `PlainMicroscope`.

    Notes
    -----
    Beside what changes: film of which up to half is another at the end, residual drift, and flicker that the
    levelling of the beam leaves.
    """
    painter = _Painter(rng, side, period_px, sign)
    grains = [_grain(rng, side, frames, period_px, painter.imaged) for _ in range(rng.integers(1, 4))]
    for grain in grains:
        grain.contrast *= painter.contrast
    dose = float(np.exp(rng.uniform(*np.log(dose_e_per_px))))
    jitter = rng.normal(0, rng.uniform(0, 0.4), (frames, 2)).astype(np.float32)
    renewed = np.arccos(1 - rng.uniform(0, 0.5))
    seen = np.empty((frames, side, side), np.float32)
    beam = 1 + 0.01 * rng.standard_normal(frames)
    truth = []
    for index in range(frames):
        image = painter.image(grains, index, jitter[index], renewed * index / max(frames - 1, 1))
        if index in (0, frames - 1):
            truth.append(image)
        rate = np.maximum(image, 0.02) * (dose * beam[index])
        seen[index] = smooth(rng.poisson(rate).astype(np.float32) / np.float32(dose), smoothing_px)
    low, high = grey_range(seen[:: max(1, frames // 4)])
    margin = (high - low) * rng.uniform(-0.05, 0.1)
    y, x = (axis.astype(np.float32) for axis in np.ogrid[:side, :side])
    if painter.imaged:
        _measure_fading(grains, truth[0], truth[-1], y, x)
    return KnownScene(scale_to_range(seen, low - margin, high + margin), *_truth(grains, y, x))


def _measure_fading(grains: list[_Grain], first: Float, last: Float, y: Float, x: Float) -> None:
    """How much the fringes of a crystal that gets thinner or thicker gain, as its image shows it."""
    for grain in grains:
        here = grain.outside(y, x, 1.0, 1.0) < 0
        if grain.fading and here.any():
            gain = float(last[here].std() / max(first[here].std(), _LEAST_CONTRAST)) - 1
            grain.fading = gain if gain else _LEAST_CONTRAST


class _Painter:
    """Draws the frames of one scene: each as columns on film, or as the image of the wave behind them.

    Parameters
    ----------
    rng : Generator
    side : int
        Of the frames in px.
    period_px : float
    sign : int, optional
        Of the columns; drawn if not given, and with it whether a microscope takes the picture.
    """

    def __init__(self, rng: np.random.Generator, side: int, period_px: float, sign: int | None) -> None:
        self._microscope = PlainMicroscope.drawn(rng) if sign is None and rng.random() < _IMAGED else None
        # What is beyond the frame shows in it.
        self._margin = 0 if self._microscope is None else _MARGIN_PX
        whole = (side + 2 * self._margin,) * 2
        self._y, self._x = (
            axis.astype(np.float32) - self._margin for axis in np.ogrid[: whole[0], : whole[1]]
        )
        if self._microscope is None:
            bright = sign if sign is not None else int(rng.choice([-1, 1]))
            self.contrast = bright * _log_uniform(rng, 0.1, 0.5)
            speckle_px, strength = rng.uniform(1.5, 4), rng.uniform(0.01, 0.05)
        else:
            self._transfer = self._microscope.transfer(whole, period_px)
            self.contrast = rng.uniform(*_PHASES)
            speckle_px, strength = rng.uniform(0.05, 0.15) * period_px, _log_uniform(rng, *_FILM_PHASES)
        self._speckle = [film(rng, whole, speckle_px, strength) for _ in range(2)]
        self._uneven = film(rng, (side, side), 40, rng.uniform(0, 0.03))

    @property
    def imaged(self) -> bool:
        """Whether a microscope takes the picture."""
        return self._microscope is not None

    def image(self, grains: list[_Grain], frame: int, shift: Float, turn: float) -> Float:
        """Rate of electrons (y, x), the film turned into another by so many radians."""
        y, x = self._y - shift[0], self._x - shift[1]
        speckle = np.float32(np.cos(turn)) * self._speckle[0] + np.float32(np.sin(turn)) * self._speckle[1]
        covered = []
        free = np.ones_like(speckle)
        for grain in grains:
            amount = float(grain.course[frame])
            inside = special.expit(-grain.outside(y, x, amount, amount) / grain.softness) * free
            free = free * (1 - inside)
            covered.append((grain, amount, inside))
        if self._microscope is None:
            for grain, amount, inside in covered:
                speckle += inside * grain.painted(y, x, amount)
            return 1 + self._uneven + speckle
        wave = np.ones(speckle.shape, np.complex64)
        for grain, amount, inside in covered:
            wave += inside * grain.channelled(y, x, amount)
        seen = self._microscope.image(wave * np.exp(1j * speckle), self._transfer)
        inner = slice(self._margin, -self._margin)
        return np.asarray((1 + self._uneven) * seen[inner, inner])


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _grain(rng: np.random.Generator, side: int, frames: int, period_px: float, imaged: bool) -> _Grain:
    sides = int(rng.integers(3, 9))
    size = rng.uniform(0.2, 0.6) * side
    grain = _Grain(
        centre=rng.uniform(0, side, 2),
        directions=rng.uniform(0, 2 * np.pi)
        + 2 * np.pi * (np.arange(sides) + rng.uniform(-0.25, 0.25, sides)) / sides,
        distances=size * rng.uniform(0.6, 1.2, sides),
        softness=rng.uniform(0.5, 3.0),
        period=period_px * rng.uniform(0.93, 1.07),
        angle=rng.uniform(0, np.pi / 2),
        phase=rng.uniform(0, 2 * np.pi, 2).astype(np.float32),
        sharpness=(rng.uniform(0.3, 2.0) * np.array([1.0, rng.choice([1.0, 1.0, 1.0, 0.4, 0.05])])).astype(
            np.float32
        ),
        contrast=rng.uniform(0.6, 1.2),
        mass=rng.uniform(-0.02, 0.15),
        damping=rng.uniform(0, 0.2),
        course=_course(rng, frames),
    )
    kind = rng.choice(_CHANGES, p=_SHARES_IMAGED if imaged else _SHARES)
    amounts = _AMOUNTS_IMAGED if imaged else _AMOUNTS
    for one in ("rotation", "edge") if kind == "two" else (kind,):
        if one != "still":
            _change(rng, grain, one, *amounts[one])
    return grain


def _change(rng: np.random.Generator, grain: _Grain, kind: str, low: float, high: float) -> None:
    amount = float(np.exp(rng.uniform(np.log(low), np.log(high)))) * rng.choice([-1, 1])
    if kind == "rotation":
        grain.turn = amount
    elif kind == "translation":
        direction = rng.uniform(0, 2 * np.pi)
        grain.shift = (amount * np.sin(direction), amount * np.cos(direction))
    elif kind == "contrast":
        grain.fading = float(np.clip(amount, -0.7, 0.7))
        # Half of the time the first frame is the fainter one.
        if rng.random() < 0.5:
            grain.contrast *= 1 + grain.fading
            grain.fading = 1 / (1 + grain.fading) - 1
    else:
        amount = max(amount, -0.8 * float(grain.distances.min()))
        chosen = rng.random(len(grain.distances)) < rng.choice([0.4, 1.0])
        grain.growth = np.where(chosen if chosen.any() else True, amount, 0.0)


def _course(rng: np.random.Generator, frames: int) -> Float:
    """How far a change has come in each frame, 0 to 1: steadily, in part of the time, or in a step."""
    t = np.linspace(0, 1, frames)
    shape = rng.choice(3, p=[0.6, 0.2, 0.2])
    if shape == 0:
        return t.astype(np.float32)
    if shape == 1:
        begin = rng.uniform(0, 0.5)
        end = rng.uniform(begin + 0.3, 1)
        return np.clip((t - begin) / (end - begin), 0, 1).astype(np.float32)
    steep = special.expit(_log_uniform(rng, *_STEEP) * (t - rng.uniform(0.3, 0.7)))
    return np.asarray((steep - steep[0]) / (steep[-1] - steep[0]), np.float32)


def _truth(grains: list[_Grain], y: Float, x: Float) -> tuple[NDArray[np.uint8], Float]:
    """Kind and measures of each pixel, where the specimen is at the end."""
    shape = np.broadcast_shapes(y.shape, x.shape)
    flags = np.zeros((len(KINDS), *shape), bool)
    measures = np.zeros((len(MEASURES), *shape), np.float32)
    taken_before = np.zeros(shape, bool)
    taken = np.zeros(shape, bool)
    for grain in grains:
        reached = grain.outside(y, x, 1.0, 1.0)
        was = (grain.outside(y, x, 0.0, 1.0) < 0) & ~taken_before
        now = (reached < 0) & ~taken
        left = (grain.outside(y, x, 0.0, 0.0) < 0) & ~taken_before
        grown = np.asarray(grain.growth)
        if np.any(grown):
            amount = float(grown[grown != 0][0])
            # What a neighbour uncovers or takes is that neighbour's change.
            if amount > 0:
                changed = now & ~was
                flags[1] |= changed
            else:
                changed = was & ~now & ~flags[1]
                flags[2] |= changed
            measures[1][changed] = amount
        if grain.turn:
            flags[3] |= now
            measures[0][now] = grain.turn
        if any(grain.shift):
            flags[4] |= now | left
        if grain.fading:
            flags[5] |= now
            measures[2][now] = 100 * grain.fading
        taken_before |= was
        taken |= now
    kind = np.zeros(shape, np.uint8)
    for index in reversed(range(1, len(KINDS))):
        kind[flags[index]] = index
    return kind, measures
