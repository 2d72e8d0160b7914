"""Several frames fitted together against each for itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_hrtem_vae.lattice.bragg import SpotPatches, bragg_map
from napari_hrtem_vae.lattice.conventions import first_order_spots, ideal_basis
from napari_hrtem_vae.lattice.frame import GrainStart, fit_frames
from napari_hrtem_vae.lattice.grid import LatticeGrid
from napari_hrtem_vae.lattice.parameters import LatticeParameters
from napari_hrtem_vae.lattice.presence import largest_piece, tidy
from napari_hrtem_vae.lattice.seeding import find_grains

from .scenes import PAIR, film, paint, video

SHAPE = (256, 256)


@pytest.fixture(scope="module")
def turning() -> np.ndarray:
    frames = [
        paint([replace(PAIR[0], angle_deg=3 + 0.3 * t), replace(PAIR[1], radius=44 - 2 * t)]) + film(SHAPE, 0)
        for t in range(3)
    ]
    return video(frames, dose=30.0).values


def test_frames_fitted_together_are_as_each_fitted_alone(turning: np.ndarray) -> None:
    found = find_grains(turning[0], LatticeParameters())
    starts = [GrainStart(fit.basis, fit.mask) for fit in found.fits]

    def fits(frames: np.ndarray):
        spectra = np.stack([found.grid.spectrum(frame) for frame in frames])
        return fit_frames(found.grid, spectra, [starts] * len(frames), found.orders, 4, True)

    together = fits(turning)
    for frame, of_frame in zip(turning, together, strict=True):
        for one, alone in zip(of_frame, fits(frame[None])[0], strict=True):
            assert one.angle_deg == pytest.approx(alone.angle_deg, abs=1e-4)
            assert one.angle_sigma_deg == pytest.approx(alone.angle_sigma_deg, rel=1e-3)
            assert one.signal == pytest.approx(alone.signal, rel=1e-3)
            # A cell that lies on the outline may round to either side.
            assert np.count_nonzero(one.mask != alone.mask) <= 2


def test_grain_that_is_nowhere_keeps_its_start_and_disturbs_no_other(turning: np.ndarray) -> None:
    found = find_grains(turning[0], LatticeParameters())
    starts = [GrainStart(fit.basis, fit.mask) for fit in found.fits]
    lost = [starts[0], GrainStart(starts[1].basis, np.zeros_like(starts[1].mask))]
    spectra = np.stack([found.grid.spectrum(frame) for frame in turning[:2]])
    fits = fit_frames(found.grid, spectra, [starts, lost], found.orders, 4, True)
    np.testing.assert_array_equal(fits[1][1].basis, starts[1].basis)
    assert not fits[1][1].mask.any()
    assert fits[1][1].signal == 0
    assert fits[1][0].angle_deg == pytest.approx(fits[0][0].angle_deg, abs=0.5)
    assert fits[0][1].signal > 5


def test_patches_of_several_spectra_and_bases_are_those_of_each() -> None:
    rng = np.random.default_rng(0)
    grid = LatticeGrid((120, 96), 9.0)
    spectra = np.stack([grid.spectrum(rng.random((120, 96), np.float32)) for _ in range(3)])
    bases = np.stack([ideal_basis(0.11, angle, 6) for angle in (3, 4, 29)])
    maps = SpotPatches.of(grid, spectra, bases, first_order_spots(6)).maps(grid, bases, 12.0)
    for one in maps:
        for frame in range(3):
            alone = bragg_map(grid, spectra[frame], bases[frame], one.index, 12.0)
            np.testing.assert_allclose(one.values[frame], alone.values, atol=1e-5)
            np.testing.assert_array_equal(one.carrier[frame], alone.carrier)


def test_what_is_taken_off_and_put_back_leaves_the_patches() -> None:
    rng = np.random.default_rng(1)
    grid = LatticeGrid((96, 96), 8.0)
    spectra = grid.spectrum(rng.random((96, 96), np.float32))[None]
    bases = ideal_basis(0.12, 10, 4)[None]
    patches = SpotPatches.of(grid, spectra, bases, first_order_spots(4))
    parts = [0.5 * patches.values[0], 0 * patches.values[1]]
    patches.take_off(spectra, parts)
    np.testing.assert_allclose(
        patches.again(spectra, parts, 1).values, patches.values[:1], rtol=1e-4, atol=1e-3
    )
    np.testing.assert_allclose(spectra.reshape(-1)[patches.place[0]], parts[0], rtol=1e-4, atol=1e-3)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(0.3, 0.7), st.integers(1, 12))
def test_masks_are_tidied_each_for_itself(seed: int, share: float, least: int) -> None:
    noise = np.random.default_rng(seed).random((4, 31, 23))
    masks = noise < share
    masks[2] = False
    tidied, largest = tidy(masks, least), largest_piece(masks)
    for mask, one, piece in zip(masks, tidied, largest, strict=True):
        labels, count = ndimage.label(mask)
        sizes = np.bincount(labels.ravel(), minlength=1)[1:]
        kept = np.flatnonzero(sizes >= np.maximum(least, 0.05 * sizes.max(initial=0))) + 1
        np.testing.assert_array_equal(one, ndimage.binary_fill_holes(np.isin(labels, kept)))
        assert np.count_nonzero(piece) == sizes.max(initial=0)
        assert ndimage.label(piece)[1] == min(count, 1)
