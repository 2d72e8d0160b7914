"""Where a grain is, and how large, against discs of known area."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_hrtem_vae.lattice.bragg import bragg_map
from napari_hrtem_vae.lattice.grid import LatticeGrid
from napari_hrtem_vae.lattice.parameters import LatticeParameters
from napari_hrtem_vae.lattice.presence import amplitude_in_phase, area_error, edge_level, largest_piece, tidy
from napari_hrtem_vae.lattice.seeding import find_grains

from .scenes import PAIR, Disc, film, paint, video

SHAPE = (256, 256)


def disc_mask(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.indices(shape)
    return np.hypot(y - centre[0], x - centre[1]) < radius


def area_px2(frame: np.ndarray, **parameters) -> float:
    found = find_grains(frame, LatticeParameters(n_grains=1, **parameters))
    return found.fits[0].cells * found.grid.cell_px**2


@settings(max_examples=10)
@given(st.floats(65, 100), st.floats(-44, 44))
def test_area_of_a_disc(radius: float, angle: float) -> None:
    frame = paint([Disc((128, 128), radius, angle)])[None].astype(np.float32)
    assert area_px2(frame) == pytest.approx(np.pi * radius**2, rel=0.015)


def test_area_stays_when_the_contrast_halves() -> None:
    areas = []
    for contrast in (0.2, 0.1):
        frame = video([paint([Disc((128, 128), 80, 5, contrast=contrast)]) + film(SHAPE, 1)], 40.0, 1).values
        areas.append(area_px2(frame))
    assert areas[1] == pytest.approx(areas[0], rel=0.02)


def test_grain_at_the_border_of_the_frame_ends_there() -> None:
    frame = paint([Disc((128, 0), 80, 5)])[None].astype(np.float32)
    found = find_grains(frame, LatticeParameters(n_grains=1))
    assert found.fits[0].cells * found.grid.cell_px**2 == pytest.approx(np.pi * 80**2 / 2, rel=0.04)
    # Nothing leaks to the opposite border.
    assert not found.fits[0].mask[:, found.grid.cells[1] // 2 :].any()


def test_stated_error_is_the_scatter_of_the_area() -> None:
    clean = paint([Disc((128, 128), 70, 5)])
    found = []
    for seed in range(30):
        one = find_grains(video([clean], 15.0, seed).values, LatticeParameters(n_grains=1))
        found.append((one.fits[0].cells, one.fits[0].cells_sigma))
    cells, sigma = np.array(found).T
    # The standard deviation of 30 values is known to 13 %.
    assert 0.6 < np.std(cells) / sigma.mean() < 1.5


def test_edge_level_is_half_at_a_straight_edge_and_less_at_a_convex_one() -> None:
    grid = LatticeGrid((400, 400), 8.0)
    straight = np.zeros(grid.fine_shape, bool)
    straight[grid.fine_shape[0] // 4 : 3 * grid.fine_shape[0] // 4] = True
    level = edge_level(grid, straight, grid.blur_fine(straight.astype(np.float32), 16.0), 16.0)
    assert level[grid.fine_shape[0] // 4, 5] == pytest.approx(0.5, abs=0.03)
    centre = (grid.fine_shape[0] // 2, grid.fine_shape[1] // 2)
    radius = 40 / grid.fine_step
    disc = disc_mask(grid.fine_shape, centre, radius)
    level = edge_level(grid, disc, grid.blur_fine(disc.astype(np.float32), 16.0), 16.0)
    # A disc of radius 2.5 σ blurred by σ has 0.42 at its edge, by numerical integration.
    assert level[centre[0], int(centre[1] + radius)] == pytest.approx(0.42, abs=0.03)


def test_amplitude_in_phase_is_of_the_fringes_and_has_mean_0_beside_them() -> None:
    rng = np.random.default_rng(5)
    y, x = np.indices((512, 512))
    grid = LatticeGrid((512, 512), 8.0)
    basis = np.array([[0.02, 0.123], [0.123, -0.02]])
    left = x < 256
    fringes = np.cos(2 * np.pi * (basis[0, 0] * y + basis[0, 1] * x) + 0.7)
    fringes += np.cos(2 * np.pi * (basis[1, 0] * y + basis[1, 1] * x) - 1.9)
    image = (0.5 * fringes * left + rng.normal(0, 4.0, left.shape)).astype(np.float32)
    maps = [bragg_map(grid, grid.spectrum(image), basis, index, 12.0) for index in ((1, 0), (0, 1))]
    cover = np.zeros(grid.coarse_shape, np.float32)
    cover[: 512 // grid.coarse_step, : 256 // grid.coarse_step] = 1
    found = amplitude_in_phase(grid, maps, cover, 16.0)
    inside = found[40 // grid.fine_step : 470 // grid.fine_step, 40 // grid.fine_step : 216 // grid.fine_step]
    beside = found[
        40 // grid.fine_step : 470 // grid.fine_step, 296 // grid.fine_step : 470 // grid.fine_step
    ]
    # Noise of a fringe's amplitude in phase: s √2 / (σ √(2π)) / √2 of two spots = 0.13; 40 places and more.
    assert inside.mean() == pytest.approx(0.5, abs=0.07)
    assert beside.mean() == pytest.approx(0.0, abs=0.07)


def test_tidy_fills_holes_and_drops_specks() -> None:
    mask = disc_mask((60, 80), (30, 40), 15)
    wanted = mask.copy()
    mask[30, 40] = False
    mask[2, 2] = True
    np.testing.assert_array_equal(tidy(mask, 4), wanted)
    open_ring = disc_mask((40, 40), (20, 20), 15) & ~disc_mask((40, 40), (20, 20), 8)
    open_ring[20, :20] = False
    np.testing.assert_array_equal(tidy(open_ring, 4), open_ring)
    assert not tidy(np.zeros((5, 5), bool), 1).any()


def test_largest_piece_is_one() -> None:
    mask = disc_mask((60, 80), (30, 20), 8)
    both = mask | disc_mask((60, 80), (30, 60), 12)
    np.testing.assert_array_equal(largest_piece(both), disc_mask((60, 80), (30, 60), 12))
    np.testing.assert_array_equal(largest_piece(mask), mask)


def test_area_error_grows_with_noise_and_with_the_edge() -> None:
    grid = LatticeGrid((256, 256), 8.0)
    small, large = (disc_mask(grid.fine_shape, (64, 64), radius) for radius in (15, 45))
    assert area_error(grid, large, 10, 16.0) == pytest.approx(
        area_error(grid, small, 10, 16.0) * np.sqrt(3), rel=0.1
    )
    assert area_error(grid, large, 5, 16.0) == pytest.approx(2 * area_error(grid, large, 10, 16.0))


def test_two_grains_share_no_cell() -> None:
    found = find_grains(video([paint(list(PAIR)) + film(SHAPE, 0)]).values)
    assert not (found.fits[0].mask & found.fits[1].mask).any()
