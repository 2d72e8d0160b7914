"""The microscope: published constants, and gratings whose image is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_hrtem_vae.errors import ParameterError
from napari_hrtem_vae.simulate.optics import (
    Microscope,
    image_wave,
    interaction_per_volt_nm,
    resample,
    scherzer_nm,
    transfer,
    wavelength_nm,
)

PLAIN = Microscope(cs_mm=0.0, defocus_nm=0.0, focal_spread_nm=0.0, angular_spread_mrad=0.0)
SHAPE, FIELD = (32, 48), (3.2, 4.8)


def grating(orders: tuple[int, int], strength: float) -> tuple[torch.Tensor, np.ndarray]:
    """A weak phase grating of the field, and its cosine."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    cosine = np.cos(2 * np.pi * (orders[0] * y / SHAPE[0] + orders[1] * x / SHAPE[1]))
    return torch.from_numpy((1 + 1j * strength * cosine).astype(np.complex64)), cosine


@pytest.mark.parametrize(("energy", "picometres"), [(100, 3.7014), (200, 2.5079), (300, 1.9687)])
def test_wavelength_is_the_published_one(energy: float, picometres: float) -> None:
    assert 1e3 * wavelength_nm(energy) == pytest.approx(picometres, abs=1e-3)


@pytest.mark.parametrize(("energy", "interaction"), [(100, 0.9244), (200, 0.7288), (300, 0.6526)])
def test_interaction_is_kirklands(energy: float, interaction: float) -> None:
    # Kirkland (2010), table 5.1, in 1e-3 rad / (V Å).
    assert 100 * interaction_per_volt_nm(energy) == pytest.approx(interaction, abs=2e-4)


def test_scherzers_defocus() -> None:
    assert Microscope().used_defocus_nm == pytest.approx(67.19, abs=0.01)
    assert scherzer_nm(200, -1.2) == -scherzer_nm(200, 1.2)
    assert scherzer_nm(200, 0.0) == 0
    assert Microscope(defocus_nm=-5).used_defocus_nm == -5


def test_nothing_in_the_beam_is_grey_level_one() -> None:
    image = image_wave(torch.ones(SHAPE, dtype=torch.complex64), FIELD, Microscope(coma_nm=100))
    np.testing.assert_allclose(image, 1, atol=1e-6)


@settings(max_examples=40)
@given(
    st.floats(-200, 200),
    st.floats(-2, 2),
    st.floats(0, 15),
    st.floats(0, 1),
    st.tuples(st.integers(0, 6), st.integers(1, 9)),
)
def test_weak_phase_grating_shows_the_contrast_of_theory(
    defocus: float, cs: float, spread: float, angles: float, orders: tuple[int, int]
) -> None:
    # Image of 1 + iε cos: 1 + 2ε E sin χ cos, with the envelopes of Kirkland (2010), section 3.2.
    microscope = Microscope(
        cs_mm=cs, defocus_nm=defocus, focal_spread_nm=spread, angular_spread_mrad=angles, aperture_mrad=60
    )
    wave, cosine = grating(orders, 1e-3)
    contrast = image_wave(wave, FIELD, microscope) - 1
    k, wavelength = np.hypot(orders[0] / FIELD[0], orders[1] / FIELD[1]), wavelength_nm(200)
    cs_nm, illumination = 1e6 * cs, 1e-3 * angles
    chi = np.pi * wavelength * k**2 * (0.5 * cs_nm * wavelength**2 * k**2 - defocus)
    slope = cs_nm * wavelength**3 * k**3 - defocus * wavelength * k
    envelope = np.exp(-((0.5 * np.pi * wavelength * spread * k**2) ** 2))
    envelope *= np.exp(-((np.pi * illumination / wavelength * slope) ** 2))
    np.testing.assert_allclose(contrast, 2e-3 * envelope * np.sin(chi) * cosine, atol=5e-6)


def test_underfocus_shows_phase_dark_and_overfocus_bright() -> None:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    bump = 0.05 * np.exp(-((y - 16) ** 2 + (x - 24) ** 2) / 4)
    wave = torch.from_numpy(np.exp(1j * bump).astype(np.complex64))
    under, over = (image_wave(wave, FIELD, replace(PLAIN, defocus_nm=sign * 6.0)) for sign in (1, -1))
    assert under[16, 24] < 0.99
    assert over[16, 24] > 1.01


def test_astigmatism_is_a_defocus_that_depends_on_direction() -> None:
    astigmatic = transfer(SHAPE, FIELD, replace(PLAIN, astigmatism_nm=20))
    under, over = (transfer(SHAPE, FIELD, replace(PLAIN, defocus_nm=value)) for value in (20, -20))
    torch.testing.assert_close(astigmatic[0], over[0])
    torch.testing.assert_close(astigmatic[:, 0], under[:, 0])
    turned = transfer(SHAPE, FIELD, replace(PLAIN, astigmatism_nm=20, astigmatism_deg=90))
    torch.testing.assert_close(turned[0], under[0])


def test_coma_is_odd_and_lies_along_its_direction() -> None:
    comatic = transfer(SHAPE, FIELD, replace(PLAIN, coma_nm=900, coma_deg=90))
    torch.testing.assert_close(comatic[0].imag, torch.zeros(SHAPE[1]), atol=1e-5, rtol=0)
    angle = wavelength_nm(200) * 4 / FIELD[0]
    phase = -2 * np.pi / wavelength_nm(200) * 900 * angle**3 / 3
    assert float(torch.angle(comatic[4, 0])) == pytest.approx(phase, rel=1e-4)
    assert float(torch.angle(comatic[-4, 0])) == pytest.approx(-phase, rel=1e-4)


def test_slope_of_the_aberrations_damps() -> None:
    # Spatial coherence damps by the gradient of χ, here taken by differences on a fine Fourier grid.
    field = (400.0, 400.0)
    sharp = replace(PLAIN, defocus_nm=30, cs_mm=0.3, astigmatism_nm=9, astigmatism_deg=20, coma_nm=400)
    chi = -torch.angle(transfer((64, 64), field, sharp)).double().numpy()
    damping = transfer((64, 64), field, replace(sharp, angular_spread_mrad=3.0)).abs().double().numpy()
    slope = np.hypot(*np.gradient(np.fft.fftshift(chi), 1 / 400))[2:-2, 2:-2]
    expected = np.exp(-((3e-3 / wavelength_nm(200) / 2 * slope) ** 2))
    np.testing.assert_allclose(np.fft.fftshift(damping)[2:-2, 2:-2], expected, atol=1e-3)
    assert expected.min() < 0.999


def test_aperture_lets_nothing_through_beyond_it() -> None:
    wave, _ = grating((0, 9), 1e-2)  # 4.7 mrad
    closed = image_wave(wave, FIELD, replace(PLAIN, defocus_nm=50, aperture_mrad=4.6))
    opened = image_wave(wave, FIELD, replace(PLAIN, defocus_nm=50, aperture_mrad=4.8))
    np.testing.assert_allclose(closed, 1, atol=1e-6)
    assert opened.std() > 1e-4


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("energy_kev", 0),
        ("defocus_nm", float("nan")),
        ("aperture_mrad", -1),
        ("cs_mm", "1"),
        ("coma_nm", 1e9),
    ],
)
def test_values_out_of_range_are_named(name: str, value: object) -> None:
    with pytest.raises(ParameterError, match=f"{name} is .*give a number from"):
        Microscope(**{name: value})


@settings(max_examples=30)
@given(st.integers(17, 40), st.integers(17, 40), st.integers(-7, 7), st.integers(0, 7))
def test_resampling_keeps_what_both_grids_hold(rows: int, columns: int, ky: int, kx: int) -> None:
    def wave(shape: tuple[int, int]) -> np.ndarray:
        y, x = np.mgrid[: shape[0], : shape[1]]
        return 2 + np.cos(2 * np.pi * (ky * y / shape[0] + kx * x / shape[1]) + 0.3).astype(np.float32)

    resampled = resample(wave((30, 24)), (rows, columns))
    assert resampled.dtype == np.float32
    np.testing.assert_allclose(resampled, wave((rows, columns)), atol=1e-5)
