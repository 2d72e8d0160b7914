"""Structures: distances and counts that crystallography knows, and what cannot be simulated."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from napari_hrtem_vae.errors import ParameterError
from napari_hrtem_vae.simulate.atoms import Atoms, Cluster, in_box
from napari_hrtem_vae.simulate.structure_files import read_structure
from napari_hrtem_vae.simulate.structures import (
    MATERIALS,
    SHAPES,
    amorphous_carbon,
    attached_pair,
    nanocrystal,
    plate,
)

SQUARE = [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]
BONDS = {"PbS": 0.2968, "PbSe": 0.3062, "CdSe": 0.263, "Au": 0.2884, "graphene": 0.1421}
NUMBER = 6.02214e23
DENSITIES = {
    "PbS": (239.3, 2, 7.60),
    "PbSe": (286.2, 2, 8.27),
    "CdSe": (191.4, 2, 5.66),
    "Au": (196.97, 1, 19.3),
}


def nearest(cluster: Cluster) -> np.ndarray:
    return cKDTree(cluster.positions_nm).query(cluster.positions_nm, k=2)[0][:, 1]


@pytest.mark.parametrize("material", MATERIALS)
def test_neighbours_keep_the_published_distance(material: str) -> None:
    crystal = plate(material, SQUARE, 0.8 if material != "graphene" else 0.3)
    distances = np.sort(nearest(crystal))[: len(crystal.symbols) // 2]
    assert np.abs(distances - BONDS[material]).max() < 0.001


@pytest.mark.parametrize("material", DENSITIES)
def test_density_is_the_tabulated_one(material: str) -> None:
    weight, atoms, grams_per_cm3 = DENSITIES[material]
    assert MATERIALS[material].per_nm3 == pytest.approx(
        grams_per_cm3 * 1e-21 * NUMBER / weight * atoms, rel=0.015
    )


@settings(max_examples=30)
@given(st.sampled_from(["PbS", "CdSe", "Au"]), st.tuples(*[st.integers(-3, 3)] * 3), st.floats(0, 360))
def test_zone_axis_and_turn_move_atoms_and_no_distance(
    material: str, zone_axis: tuple[int, int, int], angle: float
) -> None:
    assume(any(zone_axis))
    straight = nanocrystal(material, "sphere", 1.5)
    turned = nanocrystal(material, "sphere", 1.5, zone_axis=zone_axis, angle_deg=angle)
    assert len(turned.symbols) == len(straight.symbols)
    np.testing.assert_allclose(np.sort(nearest(turned)), np.sort(nearest(straight)), atol=1e-9)
    # Along the zone axis atoms stand in rows: its direction in the crystal leads to an equal atom.
    step = np.array(zone_axis) // np.gcd.reduce(zone_axis) @ np.array(MATERIALS[material].cell_nm)
    wide = nanocrystal(material, "sphere", 2.2 * np.linalg.norm(step) + 1, zone_axis=zone_axis)
    middle = np.linalg.norm(wide.positions_nm, axis=1).argmin()
    above = wide.positions_nm[middle] + [0, 0, np.linalg.norm(step)]
    distance, index = cKDTree(wide.positions_nm).query(above)
    assert distance < 1e-9
    assert wide.symbols[index] == wide.symbols[middle]


@pytest.mark.parametrize(
    ("shape", "counts"), [("octahedron", {2: 19, 4: 85, 6: 231}), ("cuboctahedron", {1: 13, 2: 55, 3: 147})]
)
def test_gold_has_the_magic_numbers(shape: str, counts: dict[int, int]) -> None:
    for cells, count in counts.items():
        assert len(nanocrystal("Au", shape, cells * 0.40782).symbols) == count


@pytest.mark.parametrize("shape", SHAPES)
def test_size_is_the_extent_along_100(shape: str) -> None:
    crystal = nanocrystal("Au", shape, 10 * 0.40782)
    np.testing.assert_allclose(np.ptp(crystal.positions_nm, axis=0), 4.0782)


def test_turn_is_clockwise_on_a_screen() -> None:
    turned = Cluster(np.array([[1.0, 0.0, 0.5]]), np.array(["Au"])).turned(30)
    np.testing.assert_allclose(turned.positions_nm, [[np.cos(np.pi / 6), 0.5, 0.5]])


def test_tilt_about_x_lifts_y() -> None:
    atoms = Cluster(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), np.array(["Au", "Au"]))
    np.testing.assert_allclose(
        atoms.tilted(2).positions_nm, [[1, 0, 0], [0, np.cos(np.pi / 90), np.sin(np.pi / 90)]]
    )
    np.testing.assert_allclose(atoms.tilted(5, 90).positions_nm[1], [0, 1, 0], atol=1e-12)


@pytest.mark.parametrize("misfit", [-20.0, 0.0, 13.7])
def test_pair_has_its_misfit_and_gap(misfit: float) -> None:
    pair = attached_pair("PbSe", 2.5, misfit, gap_nm=0.2)
    left, right = (pair.where(side) for side in (pair.positions_nm[:, 0] < 0, pair.positions_nm[:, 0] > 0))
    assert len(left.symbols) == len(right.symbols) == 8**3
    assert right.positions_nm[:, 0].min() - left.positions_nm[:, 0].max() == pytest.approx(0.2)
    for half, angle in ((left, -misfit / 2), (right, misfit / 2)):
        rows = half.turned(-angle).positions_nm
        assert len(np.unique((rows - rows.min(0)).round(6)[:, 0])) == 8


@settings(max_examples=20)
@given(st.integers(3, 9), st.floats(0, 6.28), st.booleans(), st.floats(0, 90))
def test_plate_stays_within_its_outline(sides: int, start: float, clockwise: bool, angle: float) -> None:
    turns = start + 2 * np.pi * np.arange(sides) / sides * (-1 if clockwise else 1)
    crystal = plate("Au", 1.5 * np.stack([np.cos(turns), np.sin(turns)], 1), 0.9, angle_deg=angle)
    inner = 1.5 * np.cos(np.pi / sides)
    radii = np.hypot(*crystal.positions_nm[:, :2].T)
    assert radii.max() <= 1.5 + 1e-6
    area = 0.5 * sides * 1.5**2 * np.sin(2 * np.pi / sides)
    assert (radii < inner).sum() == pytest.approx(np.pi * inner**2 / area * len(radii), rel=0.25)
    assert np.abs(crystal.positions_nm[:, 2]).max() <= 0.45 + 1e-6


def test_graphene_is_one_sheet() -> None:
    sheet = plate("graphene", 3 * np.array(SQUARE), 0.3)
    assert np.ptp(sheet.positions_nm[:, 2]) == 0
    assert len(sheet.symbols) == pytest.approx(36 * 38.2, rel=0.03)  # atoms in a nm²


def test_amorphous_carbon_has_its_density_and_keeps_bonds() -> None:
    film = amorphous_carbon(np.random.default_rng(3), (3.0, 2.5, 2.0))
    assert len(film.symbols) == 1500
    assert (film.positions_nm >= 0).all()
    assert (film.positions_nm <= [3.0, 2.5, 2.0]).all()
    tree = cKDTree(film.positions_nm % [3.0, 2.5, np.inf], boxsize=[3.0, 2.5, 0])
    assert tree.query(film.positions_nm, k=2)[0][:, 1].min() > 0.13
    again = amorphous_carbon(np.random.default_rng(3), (3.0, 2.5, 2.0))
    np.testing.assert_array_equal(film.positions_nm, again.positions_nm)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nanocrystal("PbO", "cube", 3), "no material PbO; give one of PbS, PbSe"),
        (lambda: nanocrystal("PbS", "cone", 3), "no shape cone; give one of cube"),
        (lambda: nanocrystal("PbS", "cube", -3), "size_nm is -3"),
        (lambda: nanocrystal("PbS", "cube", float("nan")), "size_nm is nan"),
        (lambda: nanocrystal("PbS", "cube", 3, zone_axis=(0, 0, 0)), "zone_axis is"),
        (lambda: nanocrystal("PbS", "cube", 3, zone_axis=(0.5, 0, 1)), "zone_axis is"),
        (lambda: nanocrystal("PbS", "cube", 5000), "half of the free memory"),
        (lambda: nanocrystal("PbS", "sphere", 0.1, origin=(0.25, 0.25, 0.25)), "holds no atom"),
        (lambda: plate("PbS", [(0, 0), (1, 1)], 2), "three corners"),
        (lambda: attached_pair(misfit_deg=90), "misfit_deg is 90"),
        (lambda: amorphous_carbon(np.random.default_rng(0), (5, 5, 5000.0), 1e3), "per_nm3 is"),
        (lambda: amorphous_carbon(np.random.default_rng(0), (1e4, 1e4, 1e4)), "half of the free memory"),
    ],
)
def test_what_cannot_be_made_is_said(make, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        make()


def test_atoms_that_make_no_sense_are_refused() -> None:
    gold, box = np.array(["Au"]), (1.0, 1.0, 1.0)
    with pytest.raises(ParameterError, match="There are no atoms"):
        in_box([], box)
    with pytest.raises(
        ParameterError, match=r"1 of 2 atoms lie outside .* \(number 1, Au\) at \(2, 0.5, 0.5\)"
    ):
        Atoms(np.array([[0.5, 0.5, 0.5], [2, 0.5, 0.5]]), np.array(["Au", "Au"]), box)
    with pytest.raises(ParameterError, match="outside"):
        Atoms(np.array([[np.nan, 0.5, 0.5]]), gold, box)
    with pytest.raises(ParameterError, match=r"no scattering factors for Xx; .* known here are H, C"):
        Atoms(np.full((1, 3), 0.5), np.array(["Xx"]), box)
    with pytest.raises(ParameterError, match="box_nm is"):
        Atoms(np.full((1, 3), 0.5), gold, (1.0, 0.0, 1.0))
    with pytest.raises(ParameterError, match=r"give \(n, 3\) and \(n,\)"):
        Atoms(np.full((2, 3), 0.5), gold, box)


def test_structure_file_says_which_extra_it_needs(tmp_path: Path, monkeypatch) -> None:
    # As where it is not installed: importing it, or any part of it, fails.
    for name in ["ase", *(one for one in sys.modules if one.startswith("ase."))]:
        monkeypatch.setitem(sys.modules, name, None)
    file = tmp_path / "gold.xyz"
    file.write_text("1\n\nAu 0 0 0\n")
    with pytest.raises(ParameterError, match=r"gold.xyz needs the extra ase .*napari-hrtem-vae\[ase\]"):
        read_structure(file)


def test_structure_file_that_is_none_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="There is no file"):
        read_structure(tmp_path / "absent.cif")
    with pytest.raises(ParameterError, match="There is no file"):
        read_structure(tmp_path)
    with pytest.raises(ParameterError, match="repeat is"):
        read_structure(tmp_path / "a.cif", repeat=(1, 0, 1))
    packed = tmp_path / "gold.xyz.gz"
    packed.touch()
    with pytest.raises(ParameterError, match="compressed"):
        read_structure(packed)
    vast = tmp_path / "vast.xyz"
    with vast.open("wb") as file:
        file.truncate(1 << 42)  # sparse: it takes no room on the disk
    with pytest.raises(ParameterError, match="half of the free memory"):
        read_structure(vast)


@pytest.mark.parametrize("name", ["gold.cif", "gold.xyz", "gold.pdb", "gold.xsf", "POSCAR"])
def test_structure_files_are_read(tmp_path: Path, name: str) -> None:
    from ase import build, io

    io.write(tmp_path / name, build.bulk("Au", cubic=True))
    atoms = read_structure(tmp_path / name, repeat=(3, 2, 1), margin_nm=0.5)
    assert len(atoms.symbols) == 24
    assert set(atoms.symbols) == {"Au"}
    assert atoms.box_nm == pytest.approx((1.0 + 2.5 * 0.408, 1.0 + 1.5 * 0.408, 0.2 + 0.204), abs=1e-3)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.xyz", "3\n\nH 0 0 0\n", "cannot be read as"),
        ("b.xyz", "9999999999\n\nH 0 0 0\n", "announces 9999999999 atoms"),
        ("c.xyz", "1\n\nU 0 0 0\n", "no scattering factors for U"),
        ("d.xyz", "1\n\nH nan 0 0\n", "no numbers"),
        ("e.xyz", "0\n\n", "holds no atoms"),
        ("f.cif", "", "no structure file"),
        ("g.cif", "no such thing", "cannot be read as CIF"),
        ("POSCAR", "x\n1\n1 0 0\n0 1 0\n0 0 1\nAu\n99999999999\nDirect\n0 0 0\n", "announces"),
        ("h.traj", "- of Ulm", "looks like"),
    ],
)
def test_damaged_structure_files_are_named(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ParameterError, match=words) as caught:
        read_structure(tmp_path / name)
    assert name in str(caught.value)
