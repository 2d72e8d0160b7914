"""What crystals do in a scenario: where they are, how they lie and how they look at every moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError
from .parameters import ScenarioParameters

Double = NDArray[np.float64]
MOST_GRAINS = 8
_DRIFTS = "drift"
_DRIFT_PX, _JUMP_PX = 20.0, 4.0


@dataclass(frozen=True)
class Grain:
    """One crystal in one frame.

    Parameters
    ----------
    angle_deg : float
        Of its first fringes, clockwise on a screen.
    centre, radii : tuple of float
        Of its outline in px (y, x).
    pivot : tuple of float
        The point (y, x) in px about which its columns turn: a grain whose centre moves as it shrinks keeps
        its lattice.
    displacement : tuple of float
        Of outline and columns in px (y, x), from where they were in the first frame.
    contrast : float
        Of its columns, 1 in the first frame.
    """

    angle_deg: float
    centre: tuple[float, float]
    radii: tuple[float, float]
    pivot: tuple[float, float]
    displacement: tuple[float, float] = (0.0, 0.0)
    contrast: float = 1.0


@dataclass(frozen=True)
class Field:
    """Part of the frame that one word of a scenario has: size and corner in px, number of its first grain."""

    rows: float
    columns: float
    top: float = 0.0
    left: float = 0.0
    first: int = 0

    @property
    def middle(self) -> tuple[float, float]:
        """Its centre (y, x)."""
        return self.top + self.rows / 2, self.left + self.columns / 2


Motion = Callable[[Field, ScenarioParameters, float], list[Grain]]


def annealing_pair(field: Field, p: ScenarioParameters, t: float) -> list[Grain]:
    """Two attached crystals: misfit 13.7° to 9.3°, the left one shrinks from its outer side by a quarter."""
    misfit = 13.7 + (9.3 - 13.7) * p.amount * t
    kept = max(1 - 0.25 * p.amount * t, 0.0)
    if p.imaging == "multislice":
        return _cubes(field, p, misfit, kept)
    half = 0.36 * field.rows
    interface = field.left + field.columns / 2
    left = 0.21 * field.columns * kept
    right = 0.21 * field.columns
    middle = field.top + field.rows / 2
    return [
        Grain(
            7 - misfit / 2,
            (middle, interface - left),
            (half * max(1 - 0.1 * p.amount * t, 0.0), left),
            (middle, interface - right),
        ),
        Grain(7 + misfit / 2, (middle, interface + right), (half, right), (middle, interface + right)),
    ]


def _cubes(field: Field, p: ScenarioParameters, misfit: float, kept: float) -> list[Grain]:
    """The pair as cubes of 5 nm, or as large as fits; corners do not meet when the misfit is largest."""
    # Half of the width that each takes at the most, when it leans by 2.35° and by 13.85°, over half its side.
    reach = np.cos(np.deg2rad((2.35, 13.85))) + np.sin(np.deg2rad((2.35, 13.85)))
    radius = float(
        min(2.5 / p.pixel_size_nm, 0.46 * field.rows / reach[1], 0.46 * field.columns / reach.sum())
    )
    # Of whole columns, so that the two touch.
    radius = max(radius // p.period_px, 1) * p.period_px
    y, x = field.middle
    left, right = (y, x - radius * float(reach[0])), (y, x + radius * float(reach[1]))
    shrunk = (left[0], left[1] + radius * (1 - kept))
    return [
        Grain(7 - misfit / 2, shrunk, (radius, radius * kept), left),
        Grain(7 + misfit / 2, right, (radius, radius), right),
    ]


def rotation(field: Field, p: ScenarioParameters, t: float) -> list[Grain]:
    """A crystal turns by 5° about its centre."""
    (grain,) = static(field, p, t)
    return [replace(grain, angle_deg=grain.angle_deg + 5 * p.amount * t)]


def translation(field: Field, p: ScenarioParameters, t: float) -> list[Grain]:
    """A crystal moves by 5 px as a whole: 3 down and 4 to the right."""
    (grain,) = static(field, p, t)
    return [replace(grain, displacement=(3 * p.amount * t, 4 * p.amount * t))]


def growth(field: Field, p: ScenarioParameters, t: float) -> list[Grain]:
    """A crystal grows by one period on every side."""
    (grain,) = static(field, p, t)
    return [_resized(grain, p.period_px * p.amount * t)]


def shrinkage(field: Field, p: ScenarioParameters, t: float) -> list[Grain]:
    """A crystal shrinks by one period on every side."""
    (grain,) = static(field, p, t)
    return [_resized(grain, -p.period_px * p.amount * t)]


def contrast(field: Field, p: ScenarioParameters, t: float) -> list[Grain]:
    """The fringes of a crystal lose 30 % of their contrast."""
    (grain,) = static(field, p, t)
    return [replace(grain, contrast=max(1 - 0.3 * p.amount * t, 0.0))]


def ripening(field: Field, p: ScenarioParameters, t: float) -> list[Grain]:
    """Two crystals: one grows by the area that the other loses, half of what it had."""
    lost = min(0.5 * p.amount * t, 1.0)
    halves = [
        replace(field, columns=field.columns / 2, left=field.left + side * field.columns / 2)
        for side in (0, 1)
    ]
    grains = []
    for number, (half, area) in enumerate(zip(halves, (1 - lost, 1 + lost), strict=True)):
        (grain,) = static(replace(half, first=field.first + number), p, t)
        # Room for one with twice the area.
        radius = grain.radii[0] * np.sqrt(0.5 * area)
        grains.append(replace(grain, radii=(float(radius), float(radius))))
    return grains


def static(field: Field, p: ScenarioParameters, t: float) -> list[Grain]:
    """A crystal; nothing changes."""
    radius = 0.35 * min(field.rows, field.columns)
    angle = 10.0 + 20.0 * field.first
    return [Grain(angle, field.middle, (radius, radius), field.middle)]


def _resized(grain: Grain, by_px: float) -> Grain:
    height, width = (max(radius + by_px, 0.0) for radius in grain.radii)
    return replace(grain, radii=(height, width))


SCENARIOS: dict[str, Motion] = {
    "annealing-pair": annealing_pair,
    "rotation": rotation,
    "translation": translation,
    "growth": growth,
    "shrinkage": shrinkage,
    "ripening": ripening,
    "contrast": contrast,
    "static": static,
    _DRIFTS: static,
}
_PAIRS = ("annealing-pair", "ripening")


def words_of(scenario: str) -> list[str]:
    """What the fields of a scenario do: one word each.

    Raises
    ------
    ParameterError
        A word is no scenario.

    Notes
    -----
    Words joined by + stand side by side in one scene: "rotation+growth+static" is three crystals. A word
    alone gets a still crystal beside it. "drift" among others moves the whole frame and takes no place.
    """
    words = scenario.split("+")
    for word in words:
        if word not in SCENARIOS:
            raise ParameterError(
                f"There is no scenario {word or scenario}; give one of {', '.join(SCENARIOS)}, "
                "or several joined by +."
            )
    others = [word for word in words if word != _DRIFTS] or [_DRIFTS]
    return [*others, "static"] if len(others) == 1 and others[0] not in _PAIRS else others


class Scene:
    """A scenario in a frame of a given size: its grains at any moment, and the way of the stage.

    Parameters
    ----------
    scenario : str
        As `words_of` takes it.
    parameters : ScenarioParameters

    Raises
    ------
    ParameterError
        No such scenario, or more crystals than `MOST_GRAINS`.
    """

    def __init__(self, scenario: str, parameters: ScenarioParameters) -> None:
        self._parameters = parameters
        self._words = words_of(scenario)
        counts = [2 if word in _PAIRS else 1 for word in self._words]
        self.n_grains = sum(counts)
        if self.n_grains > MOST_GRAINS:
            raise ParameterError(
                f"The scenario {scenario} has {self.n_grains} crystals; give {MOST_GRAINS} at most."
            )
        self._fields = _fields(parameters.rows, parameters.columns, counts)
        self.drifts = _DRIFTS in scenario.split("+")

    def grains(self, t: float) -> list[Grain]:
        """All crystals at `t`, 0 in the first frame and 1 in the last."""
        grains: list[Grain] = []
        for word, field in zip(self._words, self._fields, strict=True):
            grains += SCENARIOS[word](field, self._parameters, t)
        return grains

    def drift(self, rng: np.random.Generator) -> Double:
        """Way of the stage from 0 in px (time, 2), along y and x: smooth, slightly curved, with two steps."""
        p = self._parameters
        drift = (_DRIFT_PX if self.drifts else 0.0) if p.drift_px is None else p.drift_px
        jump = (_JUMP_PX if self.drifts else 0.0) if p.jump_px is None else p.jump_px
        t = np.linspace(0, 1, p.frames)
        angle, *turns = rng.uniform(0, 2 * np.pi, 3)
        along = np.array([np.sin(angle), np.cos(angle)])
        across = along[::-1] * (1, -1)
        way = drift * (t[:, None] * along + 0.15 * np.sin(2 * np.pi * t)[:, None] * across)
        for turn, moment in zip(turns, np.sort(rng.uniform(0.1, 0.9, 2)), strict=True):
            way += jump * np.array([np.sin(turn), np.cos(turn)]) * (t > moment)[:, None]
        return np.asarray(way)

    def defocus_nm(self) -> Double:
        """Defocus of each frame against Scherzer's, in nm (time,): a line and a slow wave."""
        p = self._parameters
        t = np.linspace(0, 1, p.frames)
        return np.asarray(p.defocus_change_nm * t + p.defocus_wobble_nm * np.sin(2 * np.pi * 2.3 * t + 1))


def _fields(rows: int, columns: int, counts: list[int]) -> list[Field]:
    """A grid of equal fields, as many as words, whose shorter side is as long as can be."""
    n = len(counts)
    grids = [(-(-n // across), across) for across in range(n, 0, -1)]
    down, across = max(grids, key=lambda grid: min(rows / grid[0], columns / grid[1]))
    height, width = rows / down, columns / across
    first = np.cumsum([0, *counts])
    return [
        Field(height, width, index // across * height, index % across * width, int(first[index]))
        for index in range(n)
    ]
