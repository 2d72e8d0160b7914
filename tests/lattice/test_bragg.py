"""Grids, Bragg maps and the fit of a basis against plane waves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_hrtem_vae.lattice.bragg import bragg_map, fringe_power, map_noise
from napari_hrtem_vae.lattice.conventions import first_order_spots, ideal_basis
from napari_hrtem_vae.lattice.grid import LatticeGrid, resample
from napari_hrtem_vae.lattice.refinement import angle_and_spacing, capture_basis, refine_basis
from napari_hrtem_vae.video.binning import bin_frame

from .scenes import Disc, paint


@settings(max_examples=30)
@given(st.integers(40, 700), st.integers(40, 700), st.floats(2.1, 40))
def test_grid_covers_the_frame_with_whole_cells(rows: int, columns: int, period: float) -> None:
    grid = LatticeGrid((rows, columns), period)
    assert grid.binning == 1 or grid.period >= 8
    for axis, size in enumerate((rows, columns)):
        assert grid.shape[axis] >= grid.binned[axis] + grid.period
        assert grid.shape[axis] % grid.coarse_step == 0
        assert grid.coarse_step % grid.fine_step == 0
        centres = grid.centres(axis)
        assert len(centres) == grid.cells[axis]
        assert centres[0] >= 0
        assert centres[-1] <= size - 1 + grid.cell_px


def test_binning_is_the_mean_over_blocks() -> None:
    frame = np.random.default_rng(0).random((67, 50)).astype(np.float32)
    grid = LatticeGrid(frame.shape, 24.5)
    assert grid.binning == 3
    blocks = frame[:66, :48].reshape(22, 3, 16, 3).mean((1, 3))
    np.testing.assert_allclose(bin_frame(frame, grid.binning), blocks, rtol=1e-6)


def test_resampling_smooths_as_a_gaussian_and_keeps_the_first_cell() -> None:
    rng = np.random.default_rng(1)
    values = ndimage.gaussian_filter(rng.random((48, 64)), 2, mode="wrap").astype(np.float32)
    smooth = ndimage.gaussian_filter(values.astype(float), 3, mode="wrap", truncate=8)
    np.testing.assert_allclose(resample(values, values.shape, 3.0), smooth, atol=1e-5)
    finer = resample(values, (96, 128), 0.0)
    np.testing.assert_allclose(finer[::2, ::2], values, atol=1e-3)
    np.testing.assert_allclose(resample(finer, (48, 64), 0.0), values, atol=1e-3)


def test_bragg_map_of_a_plane_wave_is_half_its_amplitude() -> None:
    grid = LatticeGrid((256, 192), 9.0)
    basis = ideal_basis(1 / 9, 11, 4)
    y, x = np.mgrid[:256, :192]
    frame = 5 + 0.2 * np.cos(2 * np.pi * (basis[0, 0] * y + basis[0, 1] * x) + 1.1)
    found = bragg_map(grid, grid.spectrum(frame.astype(np.float32)), basis, (1, 0), 12.0)
    middle = np.s_[8:24, 8:16]
    np.testing.assert_allclose(np.abs(found.values[middle]), 0.1, rtol=0.02)
    rows, columns = (np.arange(size) * grid.coarse_step for size in grid.coarse_shape)
    away = basis[0] - found.carrier
    phase = 2 * np.pi * (away[0] * rows[:, None] + away[1] * columns[None]) + 1.1
    turned = found.values * np.exp(-1j * phase)
    assert np.abs(np.angle(turned[middle])).max() < 0.02


def test_noise_of_bragg_maps_is_what_it_is_said_to_be() -> None:
    rng = np.random.default_rng(2)
    grid = LatticeGrid((512, 512), 9.0)
    basis = ideal_basis(1 / 9, 20, 4)
    spectrum = grid.spectrum(rng.normal(0, 2.0, (512, 512)).astype(np.float32))
    noise = grid.noise(spectrum, grid.ring(1 / 9))
    assert noise == pytest.approx(2.0, rel=0.03)
    maps = [bragg_map(grid, spectrum, basis, spot, 18.0) for spot in first_order_spots(4)]
    inside = np.s_[: 512 // grid.coarse_step, : 512 // grid.coarse_step]
    power = np.mean([4 * np.abs(one.values[inside]) ** 2 for one in maps])
    # About 130 independent places a map: the mean of their powers scatters by 6 %.
    assert power == pytest.approx(map_noise(2.0, 18.0) ** 2, rel=0.2)
    assert abs(fringe_power(maps, [noise] * 2, 18.0)[inside].mean()) < 0.2 * power


@settings(max_examples=15)
@given(st.floats(-44, 44), st.floats(-3, 3), st.floats(0.97, 1.03), st.sampled_from([4, 6]))
def test_basis_is_found_from_a_start_that_is_off(angle: float, turn: float, stretch: float, symmetry) -> None:
    disc = Disc((128, 128), 90, angle, period_px=9.0)
    grid = LatticeGrid((256, 256), 9.0)
    spectrum = grid.spectrum(paint([disc], symmetry=symmetry).astype(np.float32))
    y, x = (np.arange(size) * grid.coarse_step for size in grid.coarse_shape)
    weight = (np.hypot(y[:, None] - 128, x[None] - 128) < 80).astype(np.float32)
    start = ideal_basis(stretch / 9, angle + turn, symmetry)
    for _ in range(3):
        maps = [bragg_map(grid, spectrum, start, spot, 9.0) for spot in first_order_spots(symmetry)]
        start = capture_basis(grid, maps, weight, symmetry)
    noises = [0.01] * len(maps)
    maps = [bragg_map(grid, spectrum, start, spot, 9.0) for spot in first_order_spots(symmetry)]
    fit = refine_basis(grid, maps, weight, start, symmetry, noises, 9.0)
    np.testing.assert_allclose(fit.basis, ideal_basis(1 / 9, angle, symmetry), atol=2e-5)


def test_stated_error_is_the_scatter_of_the_angle() -> None:
    disc = Disc((128, 128), 80, 17.0, period_px=9.0, contrast=0.1)
    clean = paint([disc])
    grid = LatticeGrid((256, 256), 9.0)
    y, x = (np.arange(size) * grid.coarse_step for size in grid.coarse_shape)
    weight = (np.hypot(y[:, None] - 128, x[None] - 128) < 76).astype(np.float32)
    basis = ideal_basis(1 / 9, 17, 4)
    rng = np.random.default_rng(3)
    found = []
    for _ in range(60):
        spectrum = grid.spectrum((clean + rng.normal(0, 0.4, clean.shape)).astype(np.float32))
        noises = [grid.noise(spectrum, grid.ring(1 / 9))] * 2
        maps = [bragg_map(grid, spectrum, basis, spot, 9.0) for spot in first_order_spots(4)]
        fit = refine_basis(grid, maps, weight, basis, 4, noises, 9.0)
        found.append(angle_and_spacing(fit, 4))
    angle, sigma, spacing, spacing_sigma = np.array(found).T
    # The standard deviation of 60 values is known to 9 %.
    assert np.std(angle) / sigma.mean() == pytest.approx(1, abs=0.27)
    assert np.std(spacing) / spacing_sigma.mean() == pytest.approx(1, abs=0.27)
    # Cramér-Rao: a real wave of amplitude A in white noise s, over N px of variance v.
    inside = np.pi * 76**2
    bound = np.rad2deg(
        np.sqrt(2 * 0.4**2 / (0.1**2 * (2 * np.pi) ** 2 * inside * 76**2 / 4)) * 9 / np.sqrt(2)
    )
    assert sigma.mean() == pytest.approx(bound, rel=0.2)
