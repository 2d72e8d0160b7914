"""Spots and grains found in single frames, and not found where there are none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_hrtem_vae.lattice.conventions import ideal_basis, lattice_angle_deg, wrap_deg
from napari_hrtem_vae.lattice.parameters import LatticeParameters
from napari_hrtem_vae.lattice.seeding import bases_from_spots, find_grains
from napari_hrtem_vae.lattice.spots import find_spots, whitened_spectrum
from napari_hrtem_vae.video.fringes import whitened_power

from .scenes import PAIR, Disc, film, paint, video

SHAPE = (256, 256)


def seen(discs, *, dose=20.0, seed=0, symmetry=4, shape=SHAPE, **parameters):
    frame = video([paint(list(discs), shape, symmetry) + film(shape, seed)], dose, seed).values
    return find_grains(frame, LatticeParameters(symmetry=symmetry, **parameters))


def angles(found) -> list[float]:
    return [fit.angle_deg for fit in found.fits]


def test_whitened_spectrum_is_symmetric_and_one_in_noise() -> None:
    for shape in ((64, 64), (65, 63), (64, 65)):
        frame = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
        whole = whitened_spectrum(frame)
        middle = np.array(shape) // 2
        mirrored = np.roll(whole[::-1, ::-1], [1 - shape[0] % 2, 1 - shape[1] % 2], (0, 1))
        np.testing.assert_allclose(whole, mirrored, rtol=1e-4)
        half = whitened_power(frame[0])
        np.testing.assert_allclose(np.fft.ifftshift(whole)[:, : shape[1] // 2 + 1], half, rtol=1e-5)
        assert whole[tuple(middle)] == pytest.approx(half[0, 0], rel=1e-5)
        assert np.median(whole) == pytest.approx(np.log(2), rel=0.15)


@settings(max_examples=15)
@given(st.floats(4.0, 20.0), st.floats(-44, 44))
def test_spots_lie_within_a_tenth_of_a_bin_or_two(period: float, angle: float) -> None:
    frame = video([paint([Disc((128, 128), 400, angle, period)])]).values
    spots = find_spots(whitened_spectrum(frame), 1)
    wanted = np.concatenate([one * ideal_basis(1 / period, angle, 4) for one in (1, -1)])
    away = np.hypot(*(spots.k[:2, None] - wanted).transpose(2, 0, 1)).min(1)
    assert away.max() * 256 < 0.25
    assert (spots.k[:, 1] * 256 > -0.5).all()


def test_spots_belong_to_their_grains() -> None:
    found = seen(PAIR)
    assert set(found.spot_grains[:4]) == {0, 1}
    for k, grain in zip(found.spots.k, found.spot_grains, strict=True):
        if grain >= 0:
            order = k @ np.linalg.inv(found.bases[grain])
            assert np.abs(order - np.round(order)).max() < 0.1


@pytest.mark.parametrize("symmetry", [4, 6, 2])
def test_two_grains_of_any_symmetry(symmetry) -> None:
    found = sorted(angles(seen(PAIR, symmetry=symmetry)))
    assert found == pytest.approx([3, 15], abs=0.5)


def test_grains_of_a_small_misfit_are_told_apart_down_to_two_degrees() -> None:
    pair = [Disc((256, 156), 95, 5.0), Disc((256, 352), 95, 7.0)]
    found = seen(pair, shape=(512, 512), seed=3)
    assert sorted(angles(found)) == pytest.approx([5, 7], abs=0.1)


def test_grains_one_degree_apart_are_one() -> None:
    pair = [Disc((256, 156), 95, 5.0), Disc((256, 352), 95, 6.0)]
    assert len(seen(pair, shape=(512, 512), seed=4).fits) == 1


def test_four_grains_are_found_and_the_fifth_is_not_invented() -> None:
    four = [Disc((70, 70), 45, 0), Disc((70, 186), 45, 20), Disc((186, 150), 50, 38), Disc((186, 44), 40, 65)]
    found = [float(wrap_deg(one, 90)) for one in angles(seen(four, n_grains=6))]
    assert sorted(found) == pytest.approx([-25, 0, 20, 38], abs=0.5)


def test_grain_with_one_pair_of_spots_is_found_in_a_square_net() -> None:
    found = seen([replace(PAIR[0], spots=((1, 0),)), PAIR[1]])
    assert sorted(angles(found)) == pytest.approx([3, 15], abs=0.7)
    orders = {round(fit.angle_deg): one.indices for fit, one in zip(found.fits, found.orders, strict=True)}
    assert len(orders[3]) == 1
    assert len(orders[15]) == 2


def test_overlapping_grains_are_both_found() -> None:
    over = [Disc((128, 110), 60, 3), Disc((128, 150), 60, 33)]
    found = seen(over, exclusive=False)
    assert sorted(angles(found)) == pytest.approx([3, 33], abs=0.3)
    for fit in found.fits:
        assert fit.cells * found.grid.cell_px**2 == pytest.approx(np.pi * 60**2, rel=0.05)
    parted = seen(over)
    both = parted.fits[0].mask & parted.fits[1].mask
    assert not both.any()


def test_oblique_net_needs_no_symmetry() -> None:
    basis = np.array([[0.01, 0.12], [0.1, 0.03]])
    found = seen([Disc((128, 128), 80, 0, basis=basis)], symmetry=4)
    assert not found.fits or found.fits[0].spacing != pytest.approx(8.9, abs=0.1)
    frame = video([paint([Disc((128, 128), 80, 0, basis=basis)]) + film(SHAPE, 0)]).values
    found = find_grains(frame, LatticeParameters(n_grains=1, symmetry="any"))
    np.testing.assert_allclose(found.bases[0], basis, atol=3e-4)
    assert found.fits[0].angle_deg == pytest.approx(float(lattice_angle_deg(basis, "any")), abs=0.2)


def test_grains_of_two_materials() -> None:
    found = seen([PAIR[0], replace(PAIR[1], period_px=10.5)])
    spacings = sorted(fit.spacing * found.grid.binning for fit in found.fits)
    assert spacings == pytest.approx([8, 10.5], rel=0.01)


@pytest.mark.parametrize("period", [2.3, 2.61, 4.0])
def test_spots_near_the_edge_of_the_spectrum(period: float) -> None:
    found = seen([Disc((128, 128), 100, 7, period)], n_grains=1)
    assert angles(found) == pytest.approx([7], abs=0.05)
    assert found.fits[0].spacing * found.grid.binning == pytest.approx(period, rel=1e-3)


def test_film_and_noise_hold_no_lattice() -> None:
    false = 0
    for seed in range(25):
        frame = video([1 + film(SHAPE, seed, strength=0.05)], 20.0, seed).values
        for symmetry in (2, 4, 6, "any"):
            given = LatticeParameters(symmetry=symmetry, period_px=9.0 if seed % 2 else None)
            false += bool(find_grains(frame, given).fits)
    # Of a hundred looks.
    assert false <= 1


def test_bases_come_from_spots_put_by_hand() -> None:
    spots = [ideal_basis(0.11, 20, 4)[1], -ideal_basis(0.12, -30, 4)[0]]
    bases = bases_from_spots(np.array(spots), 4)
    assert lattice_angle_deg(bases, 4) == pytest.approx([20, -30])
    pairs = bases_from_spots(np.array([[0.1, 0.0], [0.02, 0.1]]), "any")
    assert pairs.shape == (1, 2, 2)
    # Roughly put, the fit finds the rest.
    frame = video([paint(list(PAIR)) + film(SHAPE, 0)]).values
    rough = np.stack([ideal_basis(0.122, one.angle_deg + 1.5, 4) for one in PAIR])
    found = find_grains(frame, LatticeParameters(), bases=rough)
    assert angles(found) == pytest.approx([3, 15], abs=0.3)


def test_period_that_is_given_leads() -> None:
    # A superlattice of twice the period is stronger, and not what is asked for.
    frame = paint([Disc((128, 128), 100, 7, 8.0), Disc((128, 128), 100, 7, 16.0, contrast=0.3)])
    found = find_grains(video([frame]).values, LatticeParameters(n_grains=1, period_px=8.0))
    assert found.fits[0].spacing == pytest.approx(8.0, rel=1e-3)


def test_real_pbs_has_the_period_of_its_fringes(shared_data) -> None:
    import napari_hrtem_vae as hv

    still = hv.open_video(shared_data / "pbs_hrtem" / "pbs_nanocrystals_543x542.tif")
    found = find_grains(np.asarray(still[0], np.float32), LatticeParameters(n_grains=6))
    assert len(found.fits) == 6
    # 2.61 px by the paper's crystals on axis; the spread is that of crystals a little off it.
    assert [fit.spacing for fit in found.fits] == pytest.approx([2.63] * 6, abs=0.05)
