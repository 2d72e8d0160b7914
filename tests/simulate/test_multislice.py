"""Multislice: published factors, analytic waves, and the image that another program computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_hrtem_vae.errors import DeviceError, ParameterError
from napari_hrtem_vae.simulate.atoms import Atoms, in_box
from napari_hrtem_vae.simulate.elements import known_elements, scattering_factor
from napari_hrtem_vae.simulate.multislice import (
    exit_wave,
    image_atoms,
    image_atoms_steps,
    wave_shape,
)
from napari_hrtem_vae.simulate.optics import Microscope, interaction_per_volt_nm, wavelength_nm
from napari_hrtem_vae.simulate.structures import attached_pair, nanocrystal

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "multislice" / "pbs_pair_no_film.npz"
SHAPE, BOX = (160, 192), (2.688, 2.24, 1.0)


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    """The pair of PbS cubes and its image by abTEM."""
    if not REFERENCE.is_file():
        pytest.skip("the reference image (../shared/reference/multislice) is not on this machine")
    with np.load(REFERENCE) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def cube() -> Atoms:
    return in_box([nanocrystal("PbS", "cube", 0.9, angle_deg=10).moved([1.4, 1.1, 0.5])], BOX)


def one(symbol: str, x: float, y: float) -> Atoms:
    return Atoms(np.array([[x, y, 0.1]]), np.array([symbol]), (*BOX[:2], 0.2))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_image_is_that_of_another_program(reference) -> None:
    box = tuple(float(length) / 10 for length in reference["box_angstrom"])
    atoms = Atoms(reference["positions_angstrom"].astype(np.float64) / 10, reference["symbols"], box)
    image = image_atoms(atoms, Microscope(), 0.014, (1024, 1024))
    wanted = reference["image"].astype(np.float32)
    assert image.dtype == np.float32
    assert correlation(image, wanted) >= 0.995
    assert image.mean() == pytest.approx(wanted.mean(), rel=0.01)


def test_attached_pair_is_that_of_the_reference(reference) -> None:
    wanted = reference["positions_angstrom"].astype(np.float64) / 10
    pair = attached_pair("PbS", 4.8, float(reference["misfit_deg"]))
    pair = pair.moved(reference["box_angstrom"] / 20)
    distance = np.linalg.norm(wanted[::37, None] - pair.positions_nm, axis=2)
    nearest = distance.argmin(1)
    assert distance.min(1).max() < 1e-4
    assert (pair.symbols[nearest] == reference["symbols"][::37]).all()
    assert len(pair.symbols) == 2 * 16**3  # the reference leaves four atoms out at each corner


@pytest.mark.parametrize(
    ("symbol", "published"),
    [("C", 2.509), ("Si", 5.828), ("S", 5.161), ("Cu", 5.600), ("Ag", 8.671), ("Cd", 9.232)],
)
def test_forward_scattering_is_doyle_and_turners(symbol: str, published: float) -> None:
    # P. A. Doyle and P. S. Turner, Acta Cryst. A 24, 390 (1968): another fit to other wave functions.
    assert float(scattering_factor(symbol, np.zeros(()))) == pytest.approx(published, rel=0.01)


def test_scattering_falls_off_as_rutherfords() -> None:
    # Far out the nucleus stands bare: f → Z / (2π² a₀ k²).
    numbers = {"C": 6, "S": 16, "Au": 79, "Pb": 82}
    for symbol, number in numbers.items():
        bare = number / (2 * np.pi**2 * 0.529177 * 36)
        assert float(scattering_factor(symbol, np.array(36.0))) == pytest.approx(bare, rel=0.35)
    assert set(numbers) <= set(known_elements())


def test_phase_behind_an_atom_is_its_forward_scattering() -> None:
    wave = exit_wave(one("C", 1.0, 0.7), SHAPE)
    # Propagation over 0.2 nm keeps the mean; of a weak phase the mean of the wave is 1 + i times the phase's.
    inner = 47.878 / 1000 * float(scattering_factor("C", np.zeros(()))) / (BOX[0] * BOX[1])
    assert float(wave.mean().imag) == pytest.approx(interaction_per_volt_nm(200) * inner, rel=0.02)


def test_vacuum_propagates_as_fresnel_says() -> None:
    orders = (3, 5)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    tilted = np.exp(2j * np.pi * (orders[0] * y / SHAPE[0] + orders[1] * x / SHAPE[1]))
    # One light atom far too weak to matter: a box must hold one.
    atoms = Atoms(np.array([[0.0, 0.0, 99.9]]), np.array(["H"]), (*BOX[:2], 100.0))
    incident = torch.from_numpy(tilted.astype(np.complex64))
    wave = exit_wave(atoms, SHAPE, slice_nm=10, incident=incident).numpy()
    k_squared = (orders[0] / BOX[1]) ** 2 + (orders[1] / BOX[0]) ** 2
    phase = np.angle((wave / tilted).mean())
    expected = -np.pi * wavelength_nm(200) * 100 * k_squared
    assert np.exp(1j * phase) == pytest.approx(np.exp(1j * expected), abs=0.01)


def test_electrons_are_kept(cube: Atoms) -> None:
    wave = exit_wave(cube, SHAPE)
    intensity = float((wave.abs() ** 2).mean())
    assert 0.98 < intensity <= 1 + 1e-4


def test_atom_stands_where_its_position_says() -> None:
    image = image_atoms(one("Au", 1.26, 0.70), Microscope(), 0.014, SHAPE)
    assert np.unravel_index(image.argmin(), SHAPE) == (50, 90)


def test_atoms_moved_by_pixels_move_the_image(cube: Atoms) -> None:
    moved = Atoms(np.add(cube.positions_nm, [0.014 * 7, -0.014 * 4, 0]), cube.symbols, BOX)
    first, second = (image_atoms(atoms, Microscope(), 0.014, SHAPE) for atoms in (cube, moved))
    np.testing.assert_allclose(np.roll(first, (-4, 7), (0, 1)), second, atol=2e-3)


def test_film_behind_a_crystal_needs_no_second_calculation_of_the_crystal(cube: Atoms) -> None:
    film = Atoms(np.array([[0.5, 0.5, 0.1], [2.0, 1.5, 0.3]]), np.array(["C", "C"]), (*BOX[:2], 0.4))
    behind = np.concatenate([cube.positions_nm, np.add(film.positions_nm, [0, 0, 1.0])])
    whole = Atoms(behind, np.concatenate([cube.symbols, film.symbols]), (*BOX[:2], 1.4))
    in_parts = exit_wave(film, SHAPE, incident=exit_wave(cube, SHAPE))
    torch.testing.assert_close(in_parts, exit_wave(whole, SHAPE), atol=1e-4, rtol=0)


def test_room_beyond_the_box_is_vacuum(cube: Atoms) -> None:
    image = image_atoms(cube, Microscope(), 0.014, (320, 384))
    assert image.shape == (320, 384)
    assert image[250:, 290:].std() < 0.05 * image[:160, :192].std()


def test_pixel_size_changes_the_sampling_only(cube: Atoms) -> None:
    fine = image_atoms(cube, Microscope(), 0.007, (320, 384))
    coarse = image_atoms(cube, Microscope(), 0.021, (107, 128))
    plain = image_atoms(cube, Microscope(), 0.014, SHAPE)
    np.testing.assert_allclose(fine[::2, ::2], plain, atol=1e-5)
    # 107 × 0.021 nm are 2.247 nm: the same atoms in a field a third of a pixel higher.
    assert correlation(coarse[::2, ::2][:53], fine[::6, ::6][:53]) > 0.99


def test_image_converges_in_pixels_and_slices(cube: Atoms) -> None:
    from napari_hrtem_vae.simulate.optics import image_wave

    field = (BOX[1], BOX[0])
    usual = image_wave(exit_wave(cube, SHAPE), field, Microscope())
    fine = image_wave(exit_wave(cube, (320, 384), slice_nm=0.05), field, Microscope())
    assert correlation(usual, fine[::2, ::2]) > 0.99


def test_progress_comes_by_the_slice(cube: Atoms) -> None:
    steps = list(image_atoms_steps(cube, Microscope(), 0.014, SHAPE))
    done = [step.done for step in steps]
    assert done == sorted(done)
    assert {1, 2, 3, 4, 5} <= set(done)
    assert {step.total for step in steps} == {5}


def test_wave_is_fine_and_quick_to_transform() -> None:
    assert wave_shape((14.336, 14.336)) == (1024, 1024)
    rows, columns = wave_shape((3.1, 5.03))
    assert rows >= 3.1 / 0.014
    assert columns >= 5.03 / 0.0141
    assert max(rows / (3.1 / 0.014), columns / (5.03 / 0.014)) < 1.1


@pytest.mark.parametrize(
    ("pixel", "shape", "words"),
    [
        (0.0, SHAPE, "pixel_size_nm is 0.0"),
        (float("nan"), SHAPE, "pixel_size_nm is nan"),
        (0.05, SHAPE, "coarser pixels cannot hold"),
        (0.014, (160, 100), "larger than the image"),
        (0.014, (160.5, 192), "shape is"),
        (0.014, (100_000, 100_000), "over half of the free memory"),
    ],
)
def test_fields_that_make_no_sense_are_refused(cube: Atoms, pixel: float, shape: tuple, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        image_atoms(cube, Microscope(), pixel, shape)


def test_device_that_is_not_here_is_named(cube: Atoms) -> None:
    with pytest.raises(DeviceError, match="no device cuda:99 here; choose one of auto, cpu"):
        image_atoms(cube, Microscope(), 0.014, SHAPE, device="cuda:99")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_gives_the_image_of_the_cpu(cube: Atoms) -> None:
    images = [image_atoms(cube, Microscope(), 0.014, SHAPE, device=device) for device in ("cpu", "cuda")]
    np.testing.assert_allclose(*images, atol=1e-3)
