"""What axes, bases, angles and symmetries mean in this room.

Image axes are (y down, x right). A reciprocal vector k is (ky, kx) in cycles per px; a plane wave is
exp(2πi k·r). A basis is an array (2, 2) whose rows are g1 and g2; the spot (h1, h2) lies at h1·g1 + h2·g2.
Angles grow from x towards y: clockwise on a screen, where y points down.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ParameterError

Double = NDArray[np.float64]
# 2: fringes of one direction; 4: square net; 6: hexagonal net; any: two directions, whatever their lengths.
Symmetry = Literal[2, 4, 6, "any"]
SYMMETRIES: tuple[Symmetry, ...] = (2, 4, 6, "any")
# Angle from g1 to g2 in the ideal net, in degrees; of fringes, g2 is g1 turned by a right angle.
_BETWEEN_DEG = {2: 90.0, 4: 90.0, 6: 60.0, "any": 90.0}
_SPOTS = {
    2: ((1, 0),),
    4: ((1, 0), (0, 1)),
    6: ((1, 0), (0, 1), (-1, 1)),
    "any": ((1, 0), (0, 1)),
}
_HIGHER_SPOTS = {
    2: ((2, 0),),
    4: ((1, 1), (-1, 1), (2, 0), (0, 2)),
    6: ((1, 1), (-1, 2), (-2, 1)),
    "any": ((1, 1), (-1, 1)),
}


def check_symmetry(symmetry: object) -> Symmetry:
    """The symmetry itself.

    Raises
    ------
    ParameterError
        It is none of 2, 4, 6 and "any".
    """
    for known in SYMMETRIES:
        if symmetry == known and not isinstance(symmetry, bool):
            return known
    raise ParameterError(f"symmetry is {symmetry!r}; give 2, 4, 6 or 'any'.")


def angle_period_deg(symmetry: Symmetry) -> float:
    """Turn in degrees that brings the net onto itself: 180, 90 or 60."""
    return 180.0 if symmetry == "any" else 360.0 / symmetry


def first_order_spots(symmetry: Symmetry) -> tuple[tuple[int, int], ...]:
    """Indices (h1, h2) of the shortest spots, one of each Friedel pair."""
    return _SPOTS[symmetry]


def higher_order_spots(symmetry: Symmetry) -> tuple[tuple[int, int], ...]:
    """Indices of the next spots, one of each Friedel pair; a net may or may not have them."""
    return _HIGHER_SPOTS[symmetry]


def wrap_deg(angle: ArrayLike, period: float) -> Double:
    """Angles brought to (−period/2, period/2]."""
    return np.asarray(period / 2 - np.mod(period / 2 - np.asarray(angle, np.float64), period))


def ideal_basis(length: float, angle_deg: float, symmetry: Symmetry) -> Double:
    """Basis of an undistorted net.

    Parameters
    ----------
    length : float
        |g1| = |g2| in cycles per px.
    angle_deg : float
        Direction of g1, from x towards y.
    symmetry : {2, 4, 6, "any"}

    Returns
    -------
    ndarray (2, 2)
    """
    directions = np.deg2rad([angle_deg, angle_deg + _BETWEEN_DEG[symmetry]])
    return np.asarray(length * np.stack([np.sin(directions), np.cos(directions)], axis=1))


def lattice_angle_deg(basis: ArrayLike, symmetry: Symmetry) -> Double:
    """Angle of a net, free of the strain and scale in its basis.

    The basis is the ideal one after a linear map a·w + b·w̄ of the complex plane w = x + iy; arg a is the
    rotation of the map's polar decomposition. With "any", whose ideal is not known, it is the mean
    direction of g1 and of g2 turned back by 90°; with 2 the direction of g1.

    Parameters
    ----------
    basis : array (..., 2, 2)
        Any unit.
    symmetry : {2, 4, 6, "any"}

    Returns
    -------
    ndarray (...)
        Degrees, (−180, 180]; not reduced by the symmetry, so that it is continuous where the basis is.
    """
    basis = np.asarray(basis, np.float64)
    g = basis[..., 1] + 1j * basis[..., 0]
    if symmetry == 2:
        return np.asarray(np.rad2deg(np.angle(g[..., 0])))
    if symmetry == "any":
        g = g / np.maximum(np.abs(g), np.finfo(float).tiny)
    between = np.exp(1j * np.deg2rad(_BETWEEN_DEG[symmetry]))
    # g1 = a + b and g2 = a·e + b·ē, solved for a.
    rotation = (g[..., 1] - g[..., 0] * np.conj(between)) / (between - np.conj(between))
    return np.asarray(np.rad2deg(np.angle(rotation)))


def misfit_deg(first: ArrayLike, second: ArrayLike, symmetry: Symmetry) -> Double:
    """Angle from the net of one basis to that of another, in (−period/2, period/2] of the symmetry."""
    difference = lattice_angle_deg(second, symmetry) - lattice_angle_deg(first, symmetry)
    return wrap_deg(difference, angle_period_deg(symmetry))


def canonical_basis(basis: ArrayLike, symmetry: Symmetry) -> Double:
    """The basis of the same net whose g1 points nearest to +x, and g2 on from it towards +y.

    A net has many bases; this is where tracking starts. From frame to frame the basis itself is followed.

    Parameters
    ----------
    basis : array (2, 2)
    symmetry : {2, 4, 6, "any"}

    Returns
    -------
    ndarray (2, 2)
    """
    basis = np.asarray(basis, np.float64)
    spots = np.array(first_order_spots(symmetry)) @ basis
    spots = np.concatenate([spots, -spots])
    angle = np.arctan2(spots[:, 0], spots[:, 1])
    # A hair of a preference for the positive of two equal angles keeps the choice stable.
    first = int(np.argmin(np.abs(angle - 1e-9)))
    if symmetry == 2:
        g1 = spots[first]
        return np.stack([g1, [g1[1], -g1[0]]])
    on = np.mod(angle - angle[first], 2 * np.pi)
    on[(on < 1e-6) | (on > np.pi - 1e-6)] = np.inf
    return np.stack([spots[first], spots[int(np.argmin(on))]])
