"""Parameters of the lattice analysis: one frozen dataclass, the source of options, labels and tooltips."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ..errors import ParameterError
from .conventions import SYMMETRIES, check_symmetry

MOST_GRAINS = 6


def _described(default: Any, label: str, tooltip: str, **limits: Any) -> Any:
    """A dataclass field with what a form needs to show it."""
    return field(default=default, metadata={"label": label, "tooltip": tooltip, **limits})


@dataclass(frozen=True)
class LatticeParameters:
    """How grains are found in a video and followed through it.

    Raises
    ------
    ParameterError
        A value lies outside its range.
    """

    n_grains: int = _described(
        2, "Grains", "How many lattices to follow, the largest first.", min=1, max=MOST_GRAINS
    )
    symmetry: Literal[2, 4, 6, "any"] = _described(
        4,
        "Symmetry",
        "4: square net, 6: hexagonal net, 2: fringes of one direction, any: two directions of any lengths.",
        choices=SYMMETRIES,
    )
    period_px: float | None = _described(
        None, "Period [px]", "Distance of the fringes in pixels; empty: found by itself."
    )
    exclusive: bool = _described(
        True,
        "Grains exclude each other",
        "Each place belongs to the grain that is strongest there; off: grains may overlap.",
    )
    outliers: bool = _described(
        True, "Replace outliers", "X-ray hits become the median of their neighbours first."
    )
    least_signal: float = _described(
        5.0,
        "Least signal",
        "Fringe amplitude over its noise below which a frame is called unreliable.",
        min=3.0,
        max=100.0,
    )
    workers: int | None = _described(
        None, "Threads", "Empty: one for each processor core; more than three gain nothing."
    )
    memory_gb: float | None = _described(
        None, "Memory [GB]", "What the analysis may take; empty: a quarter of what is free."
    )

    @property
    def threads(self) -> int:
        """How many threads work; the result is the same."""
        return self.workers or os.cpu_count() or 1

    def __post_init__(self) -> None:
        if not _is_whole(self.n_grains) or not 1 <= self.n_grains <= MOST_GRAINS:
            raise ParameterError(
                f"n_grains is {self.n_grains!r}; give a whole number from 1 to {MOST_GRAINS}."
            )
        check_symmetry(self.symmetry)
        if self.period_px is not None and not (_is_number(self.period_px) and 2 < self.period_px < 1000):
            raise ParameterError(f"period_px is {self.period_px!r}; give more than 2 and less than 1000 px.")
        for name in ("exclusive", "outliers"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise ParameterError(f"{name} is {getattr(self, name)!r}; give True or False.")
        if not (_is_number(self.least_signal) and 3 <= self.least_signal <= 100):
            raise ParameterError(f"least_signal is {self.least_signal!r}; give a number from 3 to 100.")
        if self.workers is not None and not (_is_whole(self.workers) and 1 <= self.workers <= 256):
            raise ParameterError(f"workers is {self.workers!r}; give a whole number from 1 to 256.")
        if self.memory_gb is not None and not (_is_number(self.memory_gb) and self.memory_gb > 0):
            raise ParameterError(f"memory_gb is {self.memory_gb!r}; give a positive number of gigabytes.")


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
