"""Atoms of named materials: nanocrystals cut from a lattice, attached pairs, amorphous carbon."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ParameterError
from ..io.memory import memory_budget
from .atoms import Cluster, turn_about_beam

Double = NDArray[np.float64]
Direction = tuple[int, int, int]

# Carbon of 2.0 g/cm³, in which bonds are 0.14 nm or longer.
CARBON_PER_NM3 = 100.0
_CARBON_BOND_NM = 0.135
_BYTES_PER_ATOM = 400


@dataclass(frozen=True)
class Material:
    """A crystal: its cell and what is in it.

    Parameters
    ----------
    name : str
    cell_nm : tuple
        Three cell vectors in nm, one a row.
    basis : tuple
        Element and place, in shares of the cell vectors, of each atom.
    source : str
        Where the lattice constants come from.
    """

    name: str
    cell_nm: tuple[tuple[float, float, float], ...]
    basis: tuple[tuple[str, tuple[float, float, float]], ...]
    source: str

    @property
    def per_nm3(self) -> float:
        """Atoms in a cubic nm."""
        return float(len(self.basis) / abs(np.linalg.det(np.array(self.cell_nm))))


def _cubic(a: float) -> tuple[tuple[float, float, float], ...]:
    return ((a, 0, 0), (0, a, 0), (0, 0, a))


def _hexagonal(a: float, c: float) -> tuple[tuple[float, float, float], ...]:
    return ((a, 0, 0), (-a / 2, a * 3**0.5 / 2, 0), (0, 0, c))


_FACE_CENTRED = ((0.0, 0.0, 0.0), (0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0))


def _rock_salt(name: str, metal: str, other: str, a: float, source: str) -> Material:
    metals = tuple((metal, place) for place in _FACE_CENTRED)
    others = tuple((other, (x + 0.5, y, z)) for x, y, z in _FACE_CENTRED)
    return Material(name, _cubic(a), metals + others, source)


_NODA = "Y. Noda et al., Acta Cryst. C 43, 1443 (1987)"
MATERIALS: dict[str, Material] = {
    material.name: material
    for material in (
        _rock_salt("PbS", "Pb", "S", 0.5936, _NODA),
        _rock_salt("PbSe", "Pb", "Se", 0.6124, _NODA),
        Material(
            "CdSe",  # wurtzite
            _hexagonal(0.4299, 0.7010),
            (
                ("Cd", (1 / 3, 2 / 3, 0.0)),
                ("Cd", (2 / 3, 1 / 3, 0.5)),
                ("Se", (1 / 3, 2 / 3, 0.375)),
                ("Se", (2 / 3, 1 / 3, 0.875)),
            ),
            "R. W. G. Wyckoff, Crystal Structures 1 (1963), wurtzite with the ideal u = 3/8",
        ),
        Material(
            "Au",
            _cubic(0.40782),
            tuple(("Au", place) for place in _FACE_CENTRED),
            "R. W. G. Wyckoff, Crystal Structures 1 (1963)",
        ),
        Material(
            "graphene",  # one sheet a cell; plates thinner than a cell hold one
            _hexagonal(0.2461, 0.3354),
            (("C", (1 / 3, 2 / 3, 0.0)), ("C", (2 / 3, 1 / 3, 0.0))),
            "Y. Baskin and L. Meyer, Phys. Rev. 100, 544 (1955)",
        ),
    )
}

# Normals of the faces of each shape, and their distance from the centre in halves of the size.
_FACES: dict[str, tuple[tuple[Direction, float], ...]] = {
    "cube": (((1, 0, 0), 1.0),),
    "octahedron": (((1, 1, 1), 3**-0.5),),
    "truncated-octahedron": (((1, 0, 0), 1.0), ((1, 1, 1), 3**0.5 / 2)),
    "cuboctahedron": (((1, 0, 0), 1.0), ((1, 1, 1), 2 / 3**0.5)),
}
SHAPES = (*_FACES, "sphere")


def nanocrystal(
    material: str,
    shape: str,
    size_nm: float,
    *,
    zone_axis: Direction = (0, 0, 1),
    angle_deg: float = 0.0,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Cluster:
    """A nanocrystal about its centre, its faces those of the crystal.

    Parameters
    ----------
    material : str
        A key of `MATERIALS`.
    shape : str
        One of `SHAPES`.
    size_nm : float
        Extent along ⟨100⟩: side of a cube, diameter of a sphere, from corner to corner of an octahedron.
    zone_axis : tuple of int
        Direction [uvw] of the crystal that lies along the beam.
    angle_deg : float
        Turn about the beam, clockwise on a screen; at 0 the first cell vector that is not along the beam
        shows along x.
    origin : tuple of float
        What lies in the centre, in shares of the cell vectors.

    Returns
    -------
    Cluster

    Raises
    ------
    ParameterError
        No such material, shape or direction; a size of no atoms, or of more than fit in memory.
    """
    if shape not in SHAPES:
        raise ParameterError(f"There is no shape {shape}; give one of {', '.join(SHAPES)}.")
    crystal = _material(material)
    half = _positive("size_nm", size_nm) / 2
    straight = _fill(crystal, np.eye(3), np.full(3, half), origin)
    edge = half * (1 + 1e-9)
    if shape == "sphere":
        inside = (straight.positions_nm**2).sum(1) <= edge**2
    else:
        inside = np.ones(len(straight.symbols), np.bool_)
        for normal, distance in _FACES[shape]:
            for face in _equivalent(normal):
                inside &= straight.positions_nm @ face <= edge * distance
    turn = turn_about_beam(angle_deg) @ _orientation(crystal, zone_axis)
    return _some(straight.where(inside).transformed(turn), size_nm)


def plate(
    material: str,
    outline_nm: ArrayLike,
    thickness_nm: float,
    *,
    zone_axis: Direction = (0, 0, 1),
    angle_deg: float = 0.0,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Cluster:
    """A crystal of any convex outline, flat across the beam.

    Parameters
    ----------
    material : str
        A key of `MATERIALS`.
    outline_nm : array (n, 2)
        Corners (x, y) of a convex polygon about the origin, in order.
    thickness_nm : float
        Along the beam, from −thickness/2 to thickness/2; of graphene, under 0.335 nm is one sheet.
    zone_axis, angle_deg, origin
        As for `nanocrystal`; the turn is the lattice's, the outline stays.

    Returns
    -------
    Cluster

    Raises
    ------
    ParameterError
        As `nanocrystal`; an outline of fewer than three corners.
    """
    corners = np.asarray(outline_nm, np.float64)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3 or not np.isfinite(corners).all():
        raise ParameterError(f"outline_nm has shape {corners.shape}; give three corners (x, y) or more.")
    crystal = _material(material)
    half = _positive("thickness_nm", thickness_nm) / 2
    turn = turn_about_beam(angle_deg) @ _orientation(crystal, zone_axis)
    filled = _fill(crystal, turn, np.array([*np.abs(corners).max(0), half]), origin)
    normals, distances = outline_sides(corners)
    inside = np.all(filled.positions_nm[:, :2] @ normals.T <= distances + 1e-9, axis=1)
    return _some(filled.where(inside), thickness_nm)


def outline_sides(corners_nm: Double) -> tuple[Double, Double]:
    """Outward normals (n, 2) of the sides of a convex polygon, and how far each side lies along its own."""
    along = np.roll(corners_nm, -1, 0) - corners_nm
    normals = np.stack([along[:, 1], -along[:, 0]], 1) / np.maximum(np.hypot(*along.T), 1e-12)[:, None]
    distances = (normals * corners_nm).sum(1)
    outward = 1.0 if (corners_nm.mean(0) @ normals.T <= distances).mean() > 0.5 else -1.0
    return normals * outward, distances * outward


def attached_pair(
    material: str = "PbS", size_nm: float = 4.8, misfit_deg: float = 13.7, gap_nm: float = 0.15
) -> Cluster:
    """Two cubes seen along [001], side by side, that meet at an edge of their {100} faces.

    The left one is turned by −`misfit_deg`/2, the right one by as much the other way.

    Parameters
    ----------
    material : str
        A cubic key of `MATERIALS`.
    size_nm : float
        Side of each cube.
    misfit_deg : float
        Angle between the two lattices.
    gap_nm : float
        Along x, between the last atoms of the left and the first of the right.

    Returns
    -------
    Cluster
        About the middle of the interface.

    Raises
    ------
    ParameterError
        As `nanocrystal`; an angle out of −45 to 45°.
    """
    if not -45 <= misfit_deg <= 45:
        raise ParameterError(f"misfit_deg is {misfit_deg!r}; give -45 to 45.")
    # A quarter of the cell in the centre: as many planes on either side of it.
    cube = nanocrystal(material, "cube", size_nm, origin=(0.75, 0.25, 0.25))
    left, right = cube.turned(-misfit_deg / 2), cube.turned(misfit_deg / 2)
    left = left.moved([-gap_nm / 2 - left.positions_nm[:, 0].max(), 0, 0])
    right = right.moved([gap_nm / 2 - right.positions_nm[:, 0].min(), 0, 0])
    return Cluster(
        np.concatenate([left.positions_nm, right.positions_nm]),
        np.concatenate([left.symbols, right.symbols]),
    )


def amorphous_carbon(
    rng: np.random.Generator, extent_nm: tuple[float, float, float], per_nm3: float = CARBON_PER_NM3
) -> Cluster:
    """Carbon atoms at random places that keep the distance of a bond, from 0 to the extent.

    Random sequential addition (Widom, J. Chem. Phys. 44, 3888, 1966): freely random atoms would clump, and
    their speckle be too strong. The film repeats along x and y.

    Parameters
    ----------
    rng : Generator
        The same state gives the same film.
    extent_nm : tuple of float
        Along x, y, z.
    per_nm3 : float
        Atoms in a cubic nm, to 150; 100 are 2.0 g/cm³.

    Returns
    -------
    Cluster

    Raises
    ------
    ParameterError
        An extent of no atoms or of more than fit in memory; a density that cannot be packed.
    """
    from scipy.spatial import cKDTree

    extent = np.array([_positive("extent_nm", length) for length in extent_nm])
    if not 0 < per_nm3 <= 150:
        raise ParameterError(f"per_nm3 is {per_nm3!r}; give a density over 0, to 150 atoms in a cubic nm.")
    count = round(float(extent.prod()) * per_nm3)
    check_count(count)
    positions = np.empty((0, 3))
    period = np.array([extent[0], extent[1], 0.0])
    bond = min(_CARBON_BOND_NM, extent[:2].min() / 2.01)
    while len(positions) < count:
        fresh = rng.random((max(2 * (count - len(positions)), 16), 3)) * extent
        if len(positions):
            distance, _ = cKDTree(positions, boxsize=period).query(fresh, distance_upper_bound=bond)
            fresh = fresh[~np.isfinite(distance)]
        close = cKDTree(fresh, boxsize=period).query_pairs(bond, output_type="ndarray")
        keep = np.ones(len(fresh), np.bool_)
        keep[close.max(1)] = False
        positions = np.concatenate([positions, fresh[keep]])
    return _some(Cluster(positions[:count], np.full(count, "C")), min(extent))


def _material(name: str) -> Material:
    if name not in MATERIALS:
        raise ParameterError(f"There is no material {name}; give one of {', '.join(MATERIALS)}.")
    return MATERIALS[name]


def _positive(name: str, value: float) -> float:
    if not (isinstance(value, int | float | np.integer | np.floating) and 0 < value <= 1e4):
        raise ParameterError(f"{name} is {value!r}; give a length over 0, to 10000 nm.")
    return float(value)


def check_count(count: float) -> None:
    """Refuse more atoms than fit, before memory is taken."""
    most = 2 * memory_budget() / _BYTES_PER_ATOM
    if count > most:
        raise ParameterError(
            f"That makes about {count:.2g} atoms, and half of the free memory holds {most:.2g}; "
            "give a smaller size."
        )


def _some(cluster: Cluster, size_nm: float) -> Cluster:
    if len(cluster.symbols) == 0:
        raise ParameterError(f"A size of {size_nm:g} nm holds no atom; give a larger one.")
    return cluster


def _orientation(material: Material, zone_axis: Direction) -> Double:
    """Rotation (3, 3) that turns the direction [uvw] of a crystal to the beam."""
    cell = np.array(material.cell_nm)
    indices = np.asarray(zone_axis)
    if indices.shape != (3,) or not np.issubdtype(indices.dtype, np.integer) or not indices.any():
        raise ParameterError(f"zone_axis is {zone_axis!r}; give three whole numbers, not all of them 0.")
    beam = indices @ cell
    beam = beam / np.linalg.norm(beam)
    across = next(
        vector - (vector @ beam) * beam
        for vector in cell
        if abs(vector @ beam) < (1 - 1e-9) * np.linalg.norm(vector)
    )
    across = across / np.linalg.norm(across)
    return np.stack([across, np.cross(beam, across), beam])


def _fill(material: Material, turn: Double, half_nm: Double, origin: tuple[float, float, float]) -> Cluster:
    """The turned lattice within −half … half along x, y, z."""
    cell = np.array(material.cell_nm) @ turn.T
    signs = np.stack(np.meshgrid(*[[-1, 1]] * 3), -1).reshape(-1, 3)
    corners = (signs * half_nm) @ np.linalg.inv(cell) + origin
    low, high = np.floor(corners.min(0)).astype(int) - 1, np.ceil(corners.max(0)).astype(int) + 1
    check_count(float(np.prod(high - low, dtype=np.float64)) * len(material.basis))
    cells = np.stack(
        np.meshgrid(*(np.arange(first, last) for first, last in zip(low, high, strict=True)), indexing="ij"),
        -1,
    ).reshape(-1, 1, 3)
    places = np.array([place for _, place in material.basis])
    positions = ((cells + places - origin) @ cell).reshape(-1, 3)
    symbols = np.tile([symbol for symbol, _ in material.basis], len(cells))
    inside = (np.abs(positions) <= half_nm + 1e-9).all(1)
    return Cluster(positions[inside], symbols[inside])


def _equivalent(normal: Direction) -> Double:
    """Unit normals of all faces that a cube's symmetry makes of one of {100} or {111}."""
    if normal == (1, 0, 0):
        return np.concatenate([np.eye(3), -np.eye(3)])
    signs = np.stack(np.meshgrid(*[[-1.0, 1.0]] * 3), -1).reshape(-1, 3)
    return signs / 3**0.5
