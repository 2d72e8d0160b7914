"""What scenarios do, measured in the pictures, and what their truth says of it."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

import napari_hrtem_vae as hv
from napari_hrtem_vae.errors import ParameterError
from napari_hrtem_vae.simulate.imaging import fringe_transfer
from napari_hrtem_vae.simulate.material import faceted_crystal
from napari_hrtem_vae.simulate.scenes import SCENARIOS
from napari_hrtem_vae.simulate.truth import KINDS

CLEAR = {"dose": 2e4, "jitter_px": 0.0, "flicker": 0.0, "film": 0.0}
WIDE = {"rows": 192, "columns": 384}


def wave_of(scene: xr.Dataset, frame: int, grain: int) -> complex:
    """The first fringes of a grain at the place of the truth, as a complex amplitude."""
    period, angle = scene.attrs["period_px"], np.deg2rad(float(scene["angle_deg"][0, grain]))
    y, x = np.mgrid[: scene.sizes["y"], : scene.sizes["x"]]
    middle_y, middle_x = (axis[scene["presence"].values[0, grain]].mean() for axis in (y, x))
    window = np.exp(-0.5 * ((y - middle_y) ** 2 + (x - middle_x) ** 2) / (1.2 * period) ** 2)
    image = scene["video"].values[frame].astype(float)
    image -= (image * window).sum() / window.sum()
    along = (np.cos(angle) * x + np.sin(angle) * y) / period
    return complex((image * window * np.exp(-2j * np.pi * along)).sum())


def kinds_at_centres(scene: xr.Dataset) -> list[set[str]]:
    """For each grain, the kinds of change where it was in the first frame."""
    names = np.array(scene["moving"].attrs["names"])
    return [set(names[scene["moving"].values[mask]]) for mask in scene["presence"].values[0]]


def test_a_crystal_moves_by_the_displacement_of_the_truth() -> None:
    scene = hv.simulate("translation", frames=3, **CLEAR, **WIDE)
    assert scene["displacement_y_px"].values[:, 0].tolist() == [0, 1.5, 3]
    angle = np.deg2rad(10)
    for frame in (1, 2):
        moved = (
            np.cos(angle) * scene["displacement_x_px"].values[frame, 0]
            + np.sin(angle) * scene["displacement_y_px"].values[frame, 0]
        )
        phase = np.angle(wave_of(scene, frame, 0) / wave_of(scene, 0, 0))
        assert -phase * 21.2 / (2 * np.pi) == pytest.approx(moved, abs=0.05)
        assert abs(np.angle(wave_of(scene, frame, 1) / wave_of(scene, 0, 1))) < 0.01


def test_a_crystal_fades_to_the_contrast_of_the_truth() -> None:
    scene = hv.simulate("contrast", frames=2, amount=1.5, **CLEAR, **WIDE)
    np.testing.assert_allclose(scene["contrast"], [[1, 1], [0.55, 1]])
    faded, still = (abs(wave_of(scene, 1, grain) / wave_of(scene, 0, grain)) for grain in (0, 1))
    assert faded == pytest.approx(0.55, abs=0.01)
    assert still == pytest.approx(1, abs=0.01)


def test_defocus_changes_the_contrast_as_the_truth_says() -> None:
    scene = hv.simulate("static", frames=3, defocus_change_nm=-20.0, **CLEAR, **WIDE)
    assert scene["defocus_nm"].values.tolist() == [0, -10, -20]
    for frame in (1, 2):
        expected = float(scene["contrast"][frame, 0])
        ratio = wave_of(scene, frame, 0) / wave_of(scene, 0, 0)
        assert ratio.real == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("defocus", [-60.0, -12.0, 8.0, 30.0])
def test_transfer_of_fringes_is_the_microscopes(defocus: float) -> None:
    from napari_hrtem_vae.simulate.optics import Microscope, transfer

    def sine(change: float) -> float:
        microscope = Microscope(
            defocus_nm=Microscope().scherzer_nm + change, focal_spread_nm=0, angular_spread_mrad=0
        )
        # 0.3 nm is the tenth order of 3 nm.
        return float(-np.imag(transfer((64, 64), (3.0, 3.0), microscope).numpy()[0, 10]))

    assert fringe_transfer(defocus, 0.3) == pytest.approx(sine(defocus) / sine(0), abs=2e-3)


def test_ripening_conserves_the_area() -> None:
    areas = hv.simulate("ripening", frames=3, rows=256, columns=400)["area_nm2"]
    np.testing.assert_allclose(areas.sum("grain"), float(areas[0].sum()), rtol=2e-3)
    assert float(areas[-1, 0] / areas[0, 0]) == pytest.approx(0.5, abs=0.005)
    assert float(areas[-1, 1] / areas[0, 1]) == pytest.approx(1.5, abs=0.005)


def test_outline_has_the_area_of_a_superellipse() -> None:
    y, x = (axis.astype(np.float32) for axis in np.ogrid[:300, :400])
    exact = 4 * special.gamma(1.25) ** 2 / special.gamma(1.5)
    for radii in ((60.3, 40.7), (12.2, 90.0), (5.5, 5.0)):
        area = faceted_crystal(y, x, (150.3, 201.8), radii).sum()
        # An edge a pixel wide over an edge that bends.
        assert area == pytest.approx(exact * radii[0] * radii[1], rel=0.1 / min(radii) ** 2)


def test_drift_moves_the_film_by_the_shift_of_the_truth() -> None:
    scene = hv.simulate(
        "drift", frames=8, seed=3, rows=200, columns=240, dose=2000, contrast=0.0, film=0.1, jitter_px=0.0
    )
    shifts = np.stack([scene["shift_y_px"], scene["shift_x_px"]], 1)
    assert shifts[0].tolist() == [0, 0]
    assert np.hypot(*shifts[-1]) > 5
    assert np.hypot(*np.diff(shifts, axis=0).T).max() > 4
    first, last = (scene["video"].values[frame].astype(float) for frame in (0, -1))
    window = np.outer(np.hanning(200), np.hanning(240))
    spectra = [np.fft.fft2((image - image.mean()) * window) for image in (first, last)]
    peak = np.fft.ifft2(spectra[0].conj() * spectra[1]).real
    place = np.array(np.unravel_index(int(peak.argmax()), peak.shape))
    found = (place + np.array(peak.shape) // 2) % peak.shape - np.array(peak.shape) // 2
    np.testing.assert_allclose(found, shifts[-1], atol=1)


def test_drift_is_no_change_but_moves_presence() -> None:
    scene = hv.simulate("drift", frames=3, drift_px=40.0, jump_px=0.0, rows=160, columns=320)
    assert not scene["change"].any()
    assert not scene["moving"].any()
    y, x = np.mgrid[:160, :320]
    mask = scene["presence"].values[:, 0]
    for axis, name in ((y, "shift_y_px"), (x, "shift_x_px")):
        centres = [axis[one].mean() for one in mask]
        assert centres[2] - centres[0] == pytest.approx(float(scene[name][2] - scene[name][0]), abs=0.5)


def test_film_changes_by_the_share_asked_for() -> None:
    still = {"jitter_px": 0.0, "flicker": 0.0, "contrast": 0.0, "film": 0.2, "dose": 2e4}
    video = hv.simulate("static", frames=3, film_change=0.4, rows=400, columns=400, **still)["video"].values
    correlation = np.corrcoef(video.reshape(3, -1))
    assert correlation[0, 2] == pytest.approx(0.6, abs=0.05)
    assert correlation[0, 1] > correlation[0, 2]
    np.testing.assert_allclose(video.std((1, 2)) / video[0].std(), 1, atol=0.05)


def test_options_leave_the_electrons_of_other_pixels_alone() -> None:
    plain, hit = (
        hv.simulate("static", frames=2, rows=64, columns=128, seed=9, xray_hits_per_mpx=rate)["video"]
        for rate in (0.0, 500.0)
    )
    assert 0 < float((plain != hit).mean()) < 0.005


def test_each_word_has_its_place_and_its_kind() -> None:
    words = ["rotation", "translation", "growth", "shrinkage", "contrast", "static"]
    scene = hv.simulate("+".join(words), frames=3, rows=300, columns=450, jitter_px=0.0)
    assert scene.sizes["grain"] == 6
    assert "misfit_deg" not in scene
    found = kinds_at_centres(scene)
    assert found == [
        {"rotation"},
        {"translation"},
        {"still"},
        {"still", "shrinkage"},
        {"contrast"},
        {"still"},
    ]
    names = scene["moving"].attrs["names"]
    grown = scene["moving"].values == names.index("growth")
    pixel = scene["y"].values[1] ** 2
    change = scene["area_nm2"].values[-1] - scene["area_nm2"].values[0]
    assert grown.sum() * pixel == pytest.approx(change[2], rel=0.02)
    shrunk = scene["moving"].values == names.index("shrinkage")
    assert shrunk.sum() * pixel == pytest.approx(-change[3], rel=0.02)
    assert not (grown & scene["presence"].values[0].any(0)).any()


def test_change_grows_frame_by_frame_and_names_its_bits() -> None:
    scene = hv.simulate("annealing-pair", frames=3, rows=200, columns=400, jitter_px=0.0)
    change = scene["change"]
    bits = dict(zip(change.attrs["flag_meanings"].split(), change.attrs["flag_masks"], strict=True))
    assert tuple(bits) == KINDS[1:]
    assert not change[0].any()
    shrunk = (change.values & bits["shrinkage"] > 0).sum((1, 2))
    assert shrunk[0] < shrunk[1] < shrunk[2]
    lost = (scene["area_nm2"].values[0] - scene["area_nm2"].values[2]).sum() / 0.014**2
    assert shrunk[2] == pytest.approx(lost, rel=0.02)
    turned = change.values[2] & bits["rotation"] > 0
    np.testing.assert_array_equal(turned, scene["presence"].values[2].any(0))
    # Of several kinds at a place, the edge comes first.
    assert set(np.unique(scene["moving"])) == {0, KINDS.index("shrinkage"), KINDS.index("rotation")}


def test_amount_scales_what_happens_and_none_is_still() -> None:
    for scenario in SCENARIOS:
        if scenario != "drift":
            still = hv.simulate(scenario, frames=2, rows=64, columns=128, amount=0.0)
            assert not still["moving"].any()
    twice = hv.simulate("rotation", frames=2, rows=64, columns=128, amount=2.0)
    assert twice["angle_deg"].values[:, 0].tolist() == [10, 20]


@settings(max_examples=12)
@given(st.lists(st.sampled_from(sorted(SCENARIOS)), min_size=1, max_size=4), st.integers(0, 99))
def test_area_is_that_of_the_presence_in_any_mixture(words: list[str], seed: int) -> None:
    scene = hv.simulate("+".join(words), frames=2, rows=300, columns=400, seed=seed)
    shown = scene["presence"].sum(("y", "x")) * 0.014**2
    # A pixel more or less for each four on the edge, for a side of about 40 px.
    np.testing.assert_allclose(shown, scene["area_nm2"], rtol=0.02, atol=0.01)
    assert ("misfit_deg" in scene) == (scene.sizes["grain"] == 2)
    assert (scene["video"] > 0).any(("y", "x")).all()


@pytest.mark.parametrize("scenario", ["", "rotation+", "rotation + static", "Static", "drift+explosion"])
def test_unknown_words_are_refused_with_the_known(scenario: str) -> None:
    with pytest.raises(ParameterError, match=r"no scenario .*annealing-pair"):
        hv.simulate(scenario)


def test_too_many_crystals_are_refused() -> None:
    with pytest.raises(ParameterError, match="10 crystals"):
        hv.simulate("+".join(["ripening"] * 5))


def test_a_crystal_that_is_gone_leaves_nothing() -> None:
    scene = hv.simulate("shrinkage", frames=2, rows=64, columns=128, amount=10.0)
    assert scene["area_nm2"].values[-1, 0] == 0
    assert not scene["presence"].values[-1, 0].any()
