"""Pictures of columns against linear imaging theory and the conservation of electrons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_hrtem_vae.vae.meaning.imaged_columns import PlainMicroscope, channelled

SIDE, PERIOD = 128, 16.0
WAVELENGTH_NM, SPACING_NM = 0.0025079, 0.2968
COHERENT = PlainMicroscope(
    cs_nm=1.2e6,
    defocus_nm=67.0,
    focal_spread_nm=0.0,
    divergence_rad=0.0,
    aperture_rad=0.03,
    contrast=1.0,
)


def fringes(amplitude: float) -> np.ndarray:
    line = amplitude * np.cos(2 * np.pi * np.arange(SIDE) / PERIOD)
    return np.broadcast_to(line, (SIDE, SIDE)).astype(np.float32)


def image_of(microscope: PlainMicroscope, wave: np.ndarray) -> np.ndarray:
    return microscope.image(wave, microscope.transfer(wave.shape, PERIOD))


def contrast_of(microscope: PlainMicroscope, phase: np.ndarray) -> float:
    """Signed amplitude of the fringes in the image of a phase object."""
    image = image_of(microscope, np.exp(1j * phase))
    wave = np.cos(2 * np.pi * np.arange(SIDE) / PERIOD)
    return float(2 * (image * wave).mean())


@pytest.mark.parametrize("defocus_nm", [-60.0, 10.0, 67.0, 90.0])
def test_weak_fringes_have_the_contrast_of_linear_imaging(defocus_nm: float) -> None:
    """2 φ sin χ: Kirkland 2010, equation 3.42, with χ at the frequency of the fringes."""
    k2 = SPACING_NM**-2
    chi = np.pi * WAVELENGTH_NM * k2 * (0.5 * COHERENT.cs_nm * WAVELENGTH_NM**2 * k2 - defocus_nm)
    found = contrast_of(replace(COHERENT, defocus_nm=defocus_nm), fringes(0.01))
    assert found == pytest.approx(2 * 0.01 * np.sin(chi), abs=1e-4)


def test_spread_of_focus_dims_fringes_by_its_gaussian() -> None:
    spread = 8.0
    dimmed = contrast_of(replace(COHERENT, focal_spread_nm=spread), fringes(0.01))
    share = np.exp(-0.5 * (np.pi * WAVELENGTH_NM * spread / SPACING_NM**2) ** 2)
    assert dimmed == pytest.approx(share * contrast_of(COHERENT, fringes(0.01)), rel=1e-2)


def test_beside_the_specimen_the_beam_is_whole() -> None:
    for microscope in (PlainMicroscope.drawn(np.random.default_rng(seed)) for seed in range(5)):
        image = image_of(microscope, np.ones((SIDE, SIDE), np.complex64))
        np.testing.assert_allclose(image, 1, atol=1e-5)


def test_an_aperture_that_no_fringe_passes_shows_none() -> None:
    narrow = replace(COHERENT, aperture_rad=0.9 * WAVELENGTH_NM / SPACING_NM)
    assert abs(contrast_of(narrow, fringes(0.01))) < 1e-5


def columns_of(turn: float, sharpness: np.ndarray, damping: float = 0.0) -> np.ndarray:
    y, x = (axis.astype(np.float32) for axis in np.ogrid[:SIDE, :SIDE])
    return channelled(y, x, PERIOD, 0.0, np.zeros(2, np.float32), sharpness, turn, damping)


@pytest.mark.parametrize("turn", [0.3, 2.0, np.pi, 5.5])
@pytest.mark.parametrize("sharpness", [(0.3, 0.3), (1.5, 1.5), (1.5, 0.05)])
def test_as_many_electrons_leave_a_crystal_of_any_thickness_as_enter(
    turn: float, sharpness: tuple[float, float]
) -> None:
    wave = 1 + columns_of(turn, np.array(sharpness, np.float32))
    assert float(np.square(np.abs(wave)).mean()) == pytest.approx(1, abs=2e-3)
    weakened = 1 + columns_of(turn, np.array(sharpness, np.float32), damping=0.2)
    assert float(np.square(np.abs(weakened)).mean()) < 1


def test_a_state_that_has_turned_round_shows_nothing() -> None:
    assert np.abs(columns_of(2 * np.pi, np.ones(2, np.float32))).max() < 1e-5


def test_fringes_double_where_the_state_has_turned_by_half() -> None:
    """Seen in focus: what is thin is a phase object, whose fringes focus hides."""
    in_focus = replace(COHERENT, cs_nm=0.0, defocus_nm=0.0, aperture_rad=0.1)
    seen = [
        np.abs(np.fft.rfft(image_of(in_focus, 1 + columns_of(turn, np.ones(2, np.float32))).mean(0)))
        for turn in (0.1, np.pi)
    ]
    periods = round(SIDE / PERIOD)
    thin, thick = (one[[periods, 2 * periods]] / SIDE for one in seen)
    assert thin.max() < 0.02
    assert thick[1] > 0.2
