"""Segments by multislice: reproducible, true to their parameters, noisy as their dose says."""

from __future__ import annotations

import numpy as np
import pytest

from napari_hrtem_vae.errors import ParameterError
from napari_hrtem_vae.progress import run
from napari_hrtem_vae.simulate.physical import physical_segments_steps
from napari_hrtem_vae.simulate.segments import SegmentParameters

COUNT = 48


def segments(**options) -> tuple[np.ndarray, np.ndarray]:
    return run(physical_segments_steps(SegmentParameters(**{"count": COUNT, "seed": 5, **options})))


@pytest.fixture(scope="module")
def usual() -> tuple[np.ndarray, np.ndarray]:
    return segments()


def test_same_seed_gives_the_same_segments_to_the_bit(usual) -> None:
    for first, second in zip(usual, segments(), strict=True):
        np.testing.assert_array_equal(first, second)
    assert (segments(count=4, seed=6)[1] != usual[1][:4]).any()


def test_segments_are_scaled_and_finite(usual) -> None:
    for stack in usual:
        assert stack.shape == (COUNT, 64, 64)
        assert stack.dtype == np.float32
        assert stack.min() >= 0
        assert stack.max() <= 1
    assert np.median(usual[1].std((1, 2))) > 0.05


def test_noise_is_that_of_the_dose() -> None:
    # Poisson noise of mean 1 has a variance of 1/dose; the smoothing leaves 1/(4πσ²) of it.
    errors = []
    for dose in (40.0, 4000.0):
        noisy, clean = segments(count=16, dose_e_per_px=(dose, dose), seed=9)
        inside = (noisy > 0.02) & (noisy < 0.98) & (clean > 0.02) & (clean < 0.98)
        errors.append(float((noisy - clean)[inside].std()))
    # Ten times less noise on a range that is up to a little wider.
    assert 6 < errors[0] / errors[1] <= 10.5


def test_fringes_have_the_period_asked_for() -> None:
    for period in (15.0, 24.0):
        _, clean = segments(window=128, period_px=(period, period), smoothing_px=0.0, seed=21)
        taper = np.hanning(128)
        spectra = (
            np.abs(np.fft.fft2((clean - clean.mean((1, 2), keepdims=True)) * np.outer(taper, taper))) ** 2
        )
        frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128))
        # {200} stands at 1/period and {220} at √2 of it; the film fills everything else evenly.
        rings = [
            spectra[:, np.abs(frequency * period - ring) < 0.1].sum(1) for ring in (1.0, 2**0.5, 0.6, 1.2)
        ]
        fringes = np.maximum(rings[0], rings[1]) > 3 * np.maximum(rings[2], rings[3])
        assert fringes.mean() > 0.4


def test_window_scaling_takes_the_extremes_of_each_segment() -> None:
    noisy, clean = segments(count=20, scaling="window")
    np.testing.assert_allclose(noisy.min((1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(noisy.max((1, 2)), 1, atol=1e-6)
    assert clean.min() >= 0
    assert clean.max() <= 1


def test_progress_comes_by_the_slice() -> None:
    steps = list(physical_segments_steps(SegmentParameters(count=20, seed=1)))
    assert len(steps) > 10
    assert steps[-1].done == steps[-1].total == 20


@pytest.mark.parametrize(
    ("options", "words"),
    [({"period_px": (2.0, 24.0)}, "period_px is"), ({"count": 10**9}, "half of the free memory")],
)
def test_what_cannot_be_simulated_is_refused(options: dict, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        segments(**options)
