"""Axes, angles and symmetries against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import linalg

from napari_hrtem_vae.errors import ParameterError
from napari_hrtem_vae.lattice.conventions import (
    SYMMETRIES,
    angle_period_deg,
    canonical_basis,
    check_symmetry,
    first_order_spots,
    higher_order_spots,
    ideal_basis,
    lattice_angle_deg,
    misfit_deg,
    wrap_deg,
)

symmetries = st.sampled_from(SYMMETRIES)
angles = st.floats(-360, 360)
distortions = st.lists(st.floats(-0.1, 0.1), min_size=4, max_size=4)


def turned(basis: np.ndarray, degrees: float) -> np.ndarray:
    """Rotated by an angle that grows from x towards y."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    y, x = basis[..., 0], basis[..., 1]
    return np.stack([s * x + c * y, c * x - s * y], axis=-1)


def test_angle_grows_from_x_towards_y_down() -> None:
    assert lattice_angle_deg([[0.0, 0.1], [0.1, 0.0]], 4) == pytest.approx(0)
    assert lattice_angle_deg([[0.01, 0.1], [0.1, -0.01]], 4) > 0


@given(symmetries, angles)
def test_ideal_basis_has_its_angle(symmetry, angle: float) -> None:
    found = lattice_angle_deg(ideal_basis(0.1, angle, symmetry), symmetry)
    assert wrap_deg(found - angle, 360) == pytest.approx(0, abs=1e-9)


@given(st.sampled_from([4, 6]), angles, distortions)
def test_angle_is_the_rotation_of_the_polar_decomposition(
    symmetry, angle: float, strain: list[float]
) -> None:
    stretch = np.eye(2) + np.array([[strain[0], strain[1]], [strain[1], strain[2]]])
    basis = ideal_basis(0.1, angle, symmetry) @ stretch
    # In row vectors a basis is ideal(0) · U with U = R · P, by a second library.
    rotation, _ = linalg.polar(np.linalg.solve(ideal_basis(0.1, 0, symmetry), basis))
    wanted = np.rad2deg(np.arctan2(rotation[1, 0], rotation[1, 1]))
    assert wrap_deg(lattice_angle_deg(basis, symmetry) - wanted, 360) == pytest.approx(0, abs=1e-7)


@given(symmetries, angles, angles)
def test_turning_a_net_turns_its_angle(symmetry, angle: float, by: float) -> None:
    basis = ideal_basis(0.1, angle, symmetry)
    away = lattice_angle_deg(turned(basis, by), symmetry) - lattice_angle_deg(basis, symmetry) - by
    assert wrap_deg(away, 360) == pytest.approx(0, abs=1e-8)


@given(symmetries, st.floats(-29, 29), st.integers(-3, 3))
def test_all_bases_of_a_net_have_one_canonical_basis(symmetry, angle: float, turns: int) -> None:
    # Within half of the smallest period, the basis nearest to x is the ideal one.
    basis = ideal_basis(0.1, angle, symmetry)
    other = ideal_basis(0.1, angle + turns * angle_period_deg(symmetry), symmetry)
    np.testing.assert_allclose(canonical_basis(other, symmetry), basis, atol=1e-12)


@given(st.floats(-1e4, 1e4), st.sampled_from([60.0, 90.0, 180.0, 360.0]))
def test_wrapped_angles_lie_in_half_a_period_about_zero(angle: float, period: float) -> None:
    wrapped = float(wrap_deg(angle, period))
    assert -period / 2 < wrapped <= period / 2
    assert np.cos(np.deg2rad((wrapped - angle) * 360 / period)) == pytest.approx(1)


def test_misfit_goes_from_the_first_to_the_second() -> None:
    first, second = ideal_basis(0.1, 80, 4), ideal_basis(0.1, 3, 4)
    assert misfit_deg(first, second, 4) == pytest.approx(13)
    assert misfit_deg(second, first, 4) == pytest.approx(-13)


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_first_spots_are_the_shortest(symmetry) -> None:
    basis = ideal_basis(1.0, 12, symmetry)
    first = np.hypot(*(np.array(first_order_spots(symmetry)) @ basis).T)
    higher = np.hypot(*(np.array(higher_order_spots(symmetry)) @ basis).T)
    np.testing.assert_allclose(first, 1)
    assert higher.min() > 1.4


@pytest.mark.parametrize("wrong", [0, 3, True, "square", None, 4.5])
def test_unknown_symmetry_is_refused(wrong) -> None:
    with pytest.raises(ParameterError, match="give 2, 4, 6 or 'any'"):
        check_symmetry(wrong)
