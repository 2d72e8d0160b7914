"""Scenarios by multislice: blocks of atoms, whose areas are columns counted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import fft

import napari_hrtem_vae as hv
from napari_hrtem_vae.simulate.parameters import ScenarioParameters
from napari_hrtem_vae.simulate.scenarios import simulate_steps

PIXEL = 0.02
BY_ATOMS = {
    "imaging": "multislice",
    "pixel_size_nm": PIXEL,
    "rows": 160,
    "columns": 288,
    "thickness_nm": 1.2,
    "film": 0.0,
    "jitter_px": 0.0,
    "flicker": 0.0,
}


@pytest.fixture(scope="module")
def pair():
    return hv.simulate("annealing-pair", frames=3, dose=2000, **BY_ATOMS)


def test_pair_has_the_papers_misfit_and_loses_whole_layers(pair) -> None:
    assert pair["misfit_deg"].values[[0, -1]] == pytest.approx([13.7, 9.3])
    columns = pair["area_nm2"].values / 0.2968**2
    np.testing.assert_allclose(columns, np.rint(columns), atol=1e-6)
    side = round(float(np.sqrt(columns[0, 0])))
    assert columns[0].tolist() == pytest.approx([side**2, side**2])
    assert (columns[0, 0] - columns[-1, 0]) % side == pytest.approx(0, abs=1e-6)
    assert 0.6 < columns[-1, 0] / columns[0, 0] < 0.85
    assert columns[-1, 1] == columns[0, 1]


def test_presence_covers_the_cells_of_the_columns(pair) -> None:
    shown = pair["presence"].sum(("y", "x")) * PIXEL**2
    np.testing.assert_allclose(shown, pair["area_nm2"], rtol=0.01)
    assert not (pair["presence"][:, 0] & pair["presence"][:, 1]).any()


def test_fringes_have_the_period_of_pbs_and_the_angle_of_the_truth(pair) -> None:
    assert pair.attrs["period_px"] == pytest.approx(0.2968 / PIXEL)
    for frame, grain in ((0, 0), (0, 1), (2, 1)):
        mask = pair["presence"].values[frame, grain]
        y, x = (int(axis.mean()) for axis in np.nonzero(mask))
        cut = pair["video"].values[frame, y - 32 : y + 32, x - 32 : x + 32].astype(float)
        window = np.outer(np.hanning(64), np.hanning(64))
        power = np.abs(fft.fft2((cut - cut.mean()) * window, (1024, 1024))) ** 2
        ky, kx = np.mgrid[:1024, :1024]
        ky, kx = ((k + 512) % 1024 - 512 for k in (ky, kx))
        k, angle = np.hypot(ky, kx) / 1024 * 0.2968 / PIXEL, np.rad2deg(np.arctan2(ky, kx))
        ring = (np.abs(k - 1) < 0.15) & (np.abs(angle - pair["angle_deg"].values[frame, grain]) < 25)
        best = np.argmax(np.where(ring, power, 0))
        assert k.flat[best] == pytest.approx(1, abs=0.03)
        assert angle.flat[best] == pytest.approx(float(pair["angle_deg"][frame, grain]), abs=1.5)


def test_beam_passes_where_nothing_stands(pair) -> None:
    # Delocalised fringes reach out of the crystals; over a corner they cancel.
    assert float(pair["video"][:, :20].mean()) == pytest.approx(2000, rel=0.03)


def test_same_seed_gives_the_same_video_to_the_bit() -> None:
    few = BY_ATOMS | {"rows": 64, "columns": 128, "film": 0.03, "film_change": 0.5}
    first, second = (hv.simulate("translation+drift", frames=2, seed=3, **few) for _ in range(2))
    np.testing.assert_array_equal(first["video"], second["video"])


def test_progress_comes_several_times_a_frame() -> None:
    few = BY_ATOMS | {"rows": 64, "columns": 128}
    steps = simulate_steps("static", ScenarioParameters(frames=2, **few))
    reported = [progress.done for progress in steps]
    assert reported[-1] == 2
    assert reported.count(0) >= 5


def test_an_empty_frame_is_an_even_beam() -> None:
    gone = BY_ATOMS | {"rows": 64, "columns": 64, "thickness_nm": 0.3}
    video = hv.simulate("contrast+contrast", frames=2, amount=10.0, dose=100, **gone)["video"].values
    assert video[1].mean() == pytest.approx(100, rel=0.01)
    assert video[1].var() == pytest.approx(100, rel=0.1)
