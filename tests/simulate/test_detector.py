"""The camera: counts have the mean, the variance and the spectrum that analysis gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import napari_hrtem_vae as hv
from napari_hrtem_vae.errors import ParameterError
from napari_hrtem_vae.simulate.detector import Detector, beam_of, expose, modulation_transfer

EVEN = np.ones((512, 512), np.float32)


def exposed(rate: np.ndarray, detector: Detector, seed: int = 0) -> np.ndarray:
    rng, hits = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    return expose(rate, detector, 1.0, rng, hits).astype(float)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("gain", "nyquist"), [(1.0, 1.0), (124.0, 1.0), (1.0, 0.5), (7.5, 0.2), (30.0, 0.0)])
def test_mean_and_variance_are_those_of_counted_electrons(gain: float, nyquist: float, seed: int) -> None:
    dose = 20.0
    counts = exposed(EVEN, Detector(dose, gain=gain, mtf_nyquist=nyquist), seed)
    share = (1 - nyquist) / 4
    kept = (2 * share**2 + (1 - 2 * share) ** 2) ** 2  # Σ response², over both axes
    rounding = 0 if gain == 1 and nyquist == 1 else 1 / 12
    # Five standard errors: of a mean of 512² electrons, and of a variance of neighbours that know each other.
    assert counts.mean() == pytest.approx(gain * dose, abs=5 * gain * np.sqrt(dose) / 512)
    expected = gain**2 * dose * kept + rounding
    assert counts.var() == pytest.approx(expected, rel=5 * np.sqrt(2 / counts.size) * 3)


def test_noise_has_the_spectrum_of_the_transfer() -> None:
    detector = Detector(50.0, gain=10.0, mtf_nyquist=0.3)
    power = np.mean(
        [np.abs(np.fft.fft2(exposed(EVEN, detector, seed) - 500)) ** 2 for seed in range(4)], axis=0
    )
    frequency = np.fft.fftfreq(512)
    transfer = modulation_transfer(frequency, 0.3)
    expected = 50 * 10**2 * 512**2 * np.outer(transfer, transfer) ** 2
    blocks = (power / expected).reshape(8, 64, 8, 64)[:, 1:, :, 1:].mean((1, 3))
    # 4 × 63² independent frequencies a block: 0.8 %.
    np.testing.assert_allclose(blocks, 1, atol=0.04)


@pytest.mark.parametrize("period", [2, 4, 16])
def test_a_wave_is_seen_with_the_transfer_of_its_frequency(period: int) -> None:
    wave = np.cos(2 * np.pi * np.arange(512) / period)
    rate = (1 + 0.5 * np.broadcast_to(wave, (512, 512))).astype(np.float32)
    counts = exposed(rate, Detector(1000.0, mtf_nyquist=0.4))[:, 16:-16]
    seen = (counts.mean(0) @ wave[16:-16]) / (wave[16:-16] ** 2).sum() / 1000
    expected = 0.5 * modulation_transfer(np.array([1 / period]), 0.4)[0]
    assert seen == pytest.approx(expected, abs=0.001)


@given(st.floats(0, 1), st.floats(0, 0.5))
def test_transfer_is_1_at_rest_and_falls_to_its_value_at_nyquist(nyquist: float, frequency: float) -> None:
    rest, here, end = modulation_transfer(np.array([0.0, frequency, 0.5]), nyquist)
    assert rest == 1
    assert end == pytest.approx(nyquist)
    assert end - 1e-12 <= here <= 1


def test_blur_loses_no_electron_at_the_edges() -> None:
    sharp = exposed(EVEN, Detector(20.0))
    blurred = exposed(EVEN, Detector(20.0, mtf_nyquist=0.1))
    # What rounding of 512² pixels leaves.
    assert blurred.sum() == pytest.approx(sharp.sum(), abs=5 * 512 * np.sqrt(1 / 12))


def test_x_rays_are_as_many_and_as_bright_as_said_and_change_nothing_else() -> None:
    clean = Detector(10.0, gain=2.0)
    hit = Detector(10.0, gain=2.0, xray_hits_per_mpx=200, xray_electrons=400)
    differences = np.stack([exposed(EVEN, hit, seed) - exposed(EVEN, clean, seed) for seed in range(8)])
    struck = differences[differences != 0]
    expected = 200e-6 * differences.size
    assert len(struck) == pytest.approx(expected, abs=5 * np.sqrt(expected))
    assert struck.min() >= 400 - 1
    assert np.median(struck) == pytest.approx(800, rel=0.1)


def test_dead_pixels_stay_dark_in_every_frame_and_are_as_many_as_said() -> None:
    video = hv.simulate("static", frames=3, rows=100, columns=200, dose=50, dead_per_mpx=500, flicker=0.0)[
        "video"
    ]
    dark = video.values == 0
    np.testing.assert_array_equal(dark[0], dark[1])
    assert dark.sum((1, 2)).tolist() == [10, 10, 10]


def test_flicker_has_the_deviation_said() -> None:
    beam = beam_of(Detector(flicker=0.05), 4000, np.random.default_rng(3))
    assert beam.mean() == pytest.approx(1, abs=0.004)
    assert beam.std() == pytest.approx(0.05, rel=0.06)


def test_a_camera_that_would_saturate_is_refused() -> None:
    with pytest.raises(ParameterError, match="saturates the camera"):
        Detector(dose_e_per_px=1000, gain=124)


@pytest.mark.parametrize(
    "wrong", [{"gain": 0}, {"mtf_nyquist": 1.1}, {"xray_hits_per_mpx": -1}, {"dead_per_mpx": float("nan")}]
)
def test_values_out_of_range_are_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        Detector(**wrong)
