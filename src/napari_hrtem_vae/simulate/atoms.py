"""Atoms in space: a cluster about an origin of its own, and atoms in the box that the beam goes through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ParameterError
from .elements import known_elements

Double = NDArray[np.float64]
Symbols = NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Cluster:
    """Atoms about an origin, in no box; each method gives a new one.

    Parameters
    ----------
    positions_nm : ndarray (n, 3)
        x (right on a screen), y (down), z (along the beam).
    symbols : ndarray (n,) of str
        Elements.
    """

    positions_nm: Double
    symbols: Symbols

    def where(self, keep: NDArray[np.bool_]) -> Cluster:
        """The atoms that `keep` (n,) says."""
        return Cluster(self.positions_nm[keep], self.symbols[keep])

    def moved(self, by_nm: ArrayLike) -> Cluster:
        """Shifted by (x, y, z) nm."""
        return Cluster(self.positions_nm + np.asarray(by_nm, np.float64), self.symbols)

    def turned(self, angle_deg: float) -> Cluster:
        """Turned about the beam, clockwise on a screen with y down."""
        return self.transformed(turn_about_beam(angle_deg))

    def tilted(self, tilt_deg: float, axis_deg: float = 0.0) -> Cluster:
        """Tilted about an axis across the beam that lies at `axis_deg` from x towards y."""
        there, tilt = turn_about_beam(axis_deg), np.deg2rad(tilt_deg)
        cosine, sine = np.cos(tilt), np.sin(tilt)
        about_x = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
        return self.transformed(there @ about_x @ there.T)

    def transformed(self, matrix: ArrayLike) -> Cluster:
        """Positions multiplied by a matrix (3, 3) from the left."""
        return Cluster(self.positions_nm @ np.asarray(matrix, np.float64).T, self.symbols)


def turn_about_beam(angle_deg: float) -> Double:
    """Matrix (3, 3) that turns x towards y."""
    angle = np.deg2rad(angle_deg)
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])


def together(clusters: Sequence[Cluster]) -> Cluster:
    """All clusters as one."""
    if not clusters:
        return Cluster(np.empty((0, 3)), np.empty(0, np.str_))
    return Cluster(
        np.concatenate([cluster.positions_nm for cluster in clusters]),
        np.concatenate([cluster.symbols for cluster in clusters]),
    )


@dataclass(frozen=True, eq=False)
class Atoms:
    """Atoms in a box that repeats along x and y; the beam enters at z = 0 and leaves at the box's end.

    Parameters
    ----------
    positions_nm : ndarray (n, 3)
        x, y, z of each atom, from the corner of the box: x goes right along the columns of an image, y down
        along its rows, z along the beam.
    symbols : ndarray (n,) of str
        Elements, such as "Pb".
    box_nm : tuple of float
        Extent along x, y, z.

    Raises
    ------
    ParameterError
        No atoms, positions that are no numbers, an atom outside the box, or an element that is not known.
    """

    positions_nm: Double
    symbols: Symbols
    box_nm: tuple[float, float, float]

    def __post_init__(self) -> None:
        positions = np.asarray(self.positions_nm, np.float64)
        symbols = np.asarray(self.symbols, np.str_)
        box = np.asarray(self.box_nm, np.float64)
        if box.shape != (3,) or not (np.isfinite(box).all() and (box > 0).all()):
            raise ParameterError(f"box_nm is {self.box_nm!r}; give three lengths over 0 nm: x, y, z.")
        if positions.ndim != 2 or positions.shape[1] != 3 or symbols.shape != positions.shape[:1]:
            raise ParameterError(
                f"positions_nm has shape {positions.shape} and symbols {symbols.shape}; "
                "give (n, 3) and (n,): x, y, z and an element for each atom."
            )
        if len(positions) == 0:
            raise ParameterError("There are no atoms to simulate; give one at least.")
        unknown = sorted(set(np.unique(symbols)) - set(known_elements()))
        if unknown:
            raise ParameterError(
                f"There are no scattering factors for {', '.join(unknown)}; "
                f"the elements known here are {', '.join(known_elements())}."
            )
        outside = ~((positions >= 0) & (positions <= box)).all(1)  # NaN is outside too
        if outside.any():
            first = int(np.argmax(outside))
            place = ", ".join(f"{value:.4g}" for value in positions[first])
            size = " × ".join(f"{value:.4g}" for value in box)
            raise ParameterError(
                f"{int(outside.sum())} of {len(positions)} atoms lie outside the box of {size} nm, the first "
                f"(number {first}, {symbols[first]}) at ({place}) nm; move them or give a larger box."
            )
        object.__setattr__(self, "positions_nm", positions)
        object.__setattr__(self, "symbols", symbols)
        object.__setattr__(self, "box_nm", tuple(float(length) for length in box))


def in_box(clusters: Sequence[Cluster], box_nm: tuple[float, float, float]) -> Atoms:
    """Clusters, each already where it belongs, as the atoms of one box.

    Raises
    ------
    ParameterError
        As `Atoms`.
    """
    cluster = together(clusters)
    return Atoms(cluster.positions_nm, cluster.symbols, box_nm)
