"""Motion of windows against lattices that are drawn with it."""

from __future__ import annotations

import numpy as np
import pytest

from napari_hrtem_vae.simulate.material import columns
from napari_hrtem_vae.vae.meaning.window_changes import MOMENTS, change_features, fit_motion

SIDE, PERIOD = 64, 21.0


def lattice(shift=(0.0, 0.0), turn_deg=0.0, stretch=1.0, contrast=1.0, grey=0.5):
    """A square net about the window's centre."""
    axis = np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2
    y, x = axis[:, None] - shift[0], axis[None, :] - shift[1]
    net = columns(y, x, PERIOD * stretch, 0.3 + np.deg2rad(turn_deg), np.array([0.4, 1.1]), np.ones(2))
    return (grey + 0.1 * contrast * net).astype(np.float32)


def windows(**last):
    """Six moments from a lattice at rest to one changed as `last` has it, in equal steps."""
    rest = {"shift": (0.0, 0.0), "turn_deg": 0.0, "stretch": 1.0, "contrast": 1.0, "grey": 0.5}
    frames = []
    for t in np.linspace(0, 1, MOMENTS):
        now = {
            name: tuple(np.array(first) + t * (np.array(last.get(name, first)) - np.array(first)))
            if name == "shift"
            else first + t * (last.get(name, first) - first)
            for name, first in rest.items()
        }
        frames.append(lattice(**now))
    return np.stack(frames)[None]


def total(**last):
    return fit_motion(windows(**last)).steps.sum(1)[0]


def test_a_shift_is_found_in_px_along_both_axes():
    found = total(shift=(2.0, -3.0))
    assert found[:2] == pytest.approx([2.0, -3.0], abs=0.1)
    assert abs(found[2]) < 0.1


@pytest.mark.parametrize("degrees", [-4.0, 1.0, 5.0])
def test_a_turn_is_found_in_degrees_from_x_towards_y(degrees):
    found = total(turn_deg=degrees)
    assert found[2] == pytest.approx(degrees, rel=0.05)
    assert np.abs(found[:2]).max() < 0.1


def test_a_stretch_is_found_in_per_cent():
    # The ridge that keeps empty windows quiet draws so weak a pattern in.
    assert total(stretch=1.03)[3] == pytest.approx(3.0, rel=0.2)


def test_fading_is_a_loss_of_contrast_and_no_motion():
    found = total(contrast=0.6)
    assert found[4] == pytest.approx(np.log(0.6), rel=0.05)
    assert np.abs(found[:4]).max() < 0.05


def test_a_darker_film_is_a_change_of_grey_alone():
    found = total(grey=0.4)
    assert found[5] == pytest.approx(-1.0, rel=0.02)
    assert np.abs(found[:5]).max() < 0.05


def test_noise_makes_errors_that_cover_what_it_does():
    rng = np.random.default_rng(0)
    still = np.repeat(windows(), 200, 0)
    noisy = still + rng.normal(0, 0.02, still.shape).astype(np.float32)
    motion = fit_motion(noisy)
    # Of steps that share moments errors cancel in the sum: never less than what happened.
    assert (motion.steps.sum(1).std(0)[:5] < 1.5 * motion.error.mean(0)[:5]).all()


def test_reversed_moments_move_the_other_way():
    changed = windows(shift=(1.0, 2.0), turn_deg=2.0)
    forth, back = fit_motion(changed).steps.sum(1), fit_motion(changed[:, ::-1]).steps.sum(1)
    np.testing.assert_allclose(forth[:, :4], -back[:, :4], atol=0.02)


def test_features_are_finite_for_windows_without_anything_in_them():
    flat = np.full((3, MOMENTS, SIDE, SIDE), 0.5, np.float32)
    features, motion = change_features(flat, np.zeros(3, np.float32))
    assert np.isfinite(features).all()
    assert np.abs(motion.steps).max() == 0
