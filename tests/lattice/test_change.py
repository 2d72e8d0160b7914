"""Growth and shrinkage between two frames, and areas in a region, against known shapes."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import ndimage

import napari_hrtem_vae as hv
from napari_hrtem_vae.errors import LatticeError, ParameterError
from napari_hrtem_vae.lattice.change import change_areas, lattice_area, lattice_change
from napari_hrtem_vae.lattice.report import export_lattice, lattice_summary

from .scenes import Disc, film, paint, video

SHAPE = (320, 320)
RADII = (np.linspace(110, 80, 6), np.linspace(80, 100, 6))


def growing(shift=(0, 0)) -> xr.DataArray:
    """A disc of 8-px fringes that shrinks and then a film that drifts by `shift` a frame."""
    frames = []
    still = film((480, 480), 0, strength=0.05, size=2.0)
    for t, radius in enumerate(RADII[0]):
        image = paint([Disc((160, 160), radius, 5)], SHAPE) - 1
        dy, dx = np.array(shift) * t
        moved = ndimage.shift(still, (dy, dx), order=1, mode="wrap")[80:-80, 80:-80]
        frames.append(1 + ndimage.shift(image, (dy, dx), order=3) + moved)
    return video(frames, dose=30.0)


@pytest.fixture(scope="module")
def shrinking() -> tuple[xr.DataArray, xr.Dataset]:
    made = growing()
    return made, hv.track_grains(made, 1)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def ring(grains: xr.Dataset, inner: float, outer: float) -> np.ndarray:
    y, x = (grains[axis].values / 0.03 for axis in ("y", "x"))
    away = np.hypot(y[:, None] - 160, x[None] - 160)
    return (away >= inner) & (away < outer)


def test_classes_are_shrinkage_growth_and_unchanged(shrinking) -> None:
    _, grains = shrinking
    change = lattice_change(None, grains, 0, -1, shift_px=(0, 0))
    assert change.dims == ("grain", "y", "x")
    assert change.attrs["names"] == ["absent", "shrinkage", "growth", "unchanged"]
    assert overlap(change.values[0] == 1, ring(grains, 80, 110)) > 0.85
    assert overlap(change.values[0] == 3, ring(grains, 0, 80)) > 0.95
    assert (change.values[0] == 2).mean() < 0.005
    back = lattice_change(None, grains, -1, 0, shift_px=(0, 0))
    np.testing.assert_array_equal(back.values == 2, change.values == 1)
    areas = change_areas(change)
    assert float(areas["shrinkage_nm2"][0]) == pytest.approx(np.pi * (110**2 - 80**2) * 0.03**2, rel=0.1)


def test_drift_between_the_frames_is_taken_out() -> None:
    made = growing(shift=(3.0, -2.0))
    grains = hv.track_grains(made, 1)
    change = hv.lattice_change(made, grains)
    assert change.attrs["shift_px"] == pytest.approx([15, -10], abs=1.0)
    assert overlap(change.values[0] == 1, ring(grains, 80, 110)) > 0.8
    back = hv.lattice_change(made, grains, first=-1, last=0)
    assert back.attrs["shift_px"] == pytest.approx([-15, 10], abs=1.0)


def outlines(radii, scatter: float, grains: int = 1) -> xr.Dataset:
    """Presence of a disc (the first grain) of some radii in cells, whose outline wobbles by `scatter`."""
    rng = np.random.default_rng(3)
    y, x = np.indices((96, 96)) - 47.5
    angle = np.arctan2(y, x)
    masks = []
    for radius in radii:
        wobble = sum(
            amplitude * np.cos(order * angle + phase)
            for order, amplitude, phase in zip(
                range(1, 9), rng.normal(0, scatter / 2, 8), rng.uniform(0, 2 * np.pi, 8), strict=True
            )
        )
        inside = np.hypot(y, x) < radius + wobble
        masks.append([inside, ~inside][:grains])
    return xr.Dataset(
        {
            "presence": (("time", "grain", "y", "x"), np.array(masks)),
            "reliable": (("time", "grain"), np.ones((len(radii), grains), bool)),
        },
        coords={"grain": np.arange(grains), "y": np.arange(96) * 8.0, "x": np.arange(96) * 8.0},
        attrs={"cell_px": 8, "period_px": 21.2},
    )


def true_ring(inner: float, outer: float) -> np.ndarray:
    y, x = np.indices((96, 96)) - 47.5
    return (np.hypot(y, x) < outer) & (np.hypot(y, x) >= inner)


def test_noise_of_an_outline_falls_with_the_frames_that_tell_it() -> None:
    radii = np.linspace(36, 24, 40)
    grains = outlines(radii, scatter=0.8)
    shrunk = lattice_change(None, grains, shift_px=(0, 0)).values[0] == 1
    two_frames = lattice_change(None, grains.isel(time=[0, -1]), shift_px=(0, 0)).values[0] == 1
    wanted = true_ring(24, 36)
    # By 0.8 cells of noise, 0.89 is expected of one frame at each end, 0.95 of a line through 20.
    assert overlap(two_frames, wanted) == pytest.approx(0.89, abs=0.04)
    assert overlap(shrunk, wanted) > 0.94
    assert 1 - overlap(shrunk, wanted) < 0.6 * (1 - overlap(two_frames, wanted))


@pytest.mark.parametrize("moment", [1, 4, 12])
def test_sudden_change_is_not_smeared(moment: int) -> None:
    radii = np.where(np.arange(40) < moment, 36.0, 24.0)
    grains = outlines(radii, scatter=0.3)
    shrunk = lattice_change(None, grains, shift_px=(0, 0)).values[0] == 1
    assert overlap(shrunk, true_ring(24, 36)) > 0.93


def test_frames_without_a_lattice_tell_no_outline() -> None:
    grains = outlines(np.linspace(36, 24, 40), scatter=0.3)
    grains["reliable"][3:9] = False
    grains["presence"][3:9] = False
    shrunk = lattice_change(None, grains, shift_px=(0, 0)).values[0] == 1
    assert overlap(shrunk, true_ring(24, 36)) > 0.93


def test_grains_that_exclude_each_other_do_so_in_the_change() -> None:
    change = lattice_change(None, outlines(np.linspace(36, 24, 40), 0.6, grains=2), shift_px=(0, 0))
    for kinds in ((1, 3), (2, 3)):
        assert np.isin(change.values, kinds).sum(0).max() == 1
    assert overlap(change.values[0] == 1, change.values[1] == 2) > 0.99


def test_one_frame_against_itself_is_unchanged(shrinking) -> None:
    made, grains = shrinking
    assert set(np.unique(hv.lattice_change(made, grains, 2, 2))) == {0, 3}


def test_area_in_a_region(shrinking) -> None:
    _, grains = shrinking
    # The right half of the disc, by corners in nm.
    half = [(0.0, 160 * 0.03), (0.0, 9.6), (9.6, 9.6), (9.6, 160 * 0.03)]
    inside = lattice_area(grains, half)
    np.testing.assert_allclose(inside["area_nm2"], grains["area_nm2"] / 2, rtol=0.05)
    np.testing.assert_allclose(inside["area_sigma_nm2"], grains["area_sigma_nm2"] / np.sqrt(2), rtol=0.1)
    whole = lattice_area(grains, np.ones((grains.sizes["y"], grains.sizes["x"]), bool))
    np.testing.assert_allclose(whole["area_nm2"], grains["area_nm2"])
    np.testing.assert_allclose(whole["area_sigma_nm2"], grains["area_sigma_nm2"])
    assert float(lattice_area(grains, [(4, 4), (4, 5.5), (5.5, 5.5), (5.5, 4)])["share"][0, 0]) == 1


def test_what_cannot_be_is_said(shrinking) -> None:
    made, grains = shrinking
    with pytest.raises(ParameterError, match="last is 6"):
        lattice_change(made, grains, 0, 6)
    with pytest.raises(ParameterError, match="give one of them"):
        lattice_change(None, grains)
    with pytest.raises(ParameterError, match="two finite numbers"):
        lattice_change(None, grains, shift_px=(1, np.nan))
    with pytest.raises(ParameterError, match="corners"):
        lattice_area(grains, np.zeros((2, 2)))
    with pytest.raises(ParameterError, match="no place"):
        lattice_area(grains, [(100.0, 100.0), (100.0, 101.0), (101.0, 101.0)])
    with pytest.raises(ParameterError, match="video has 4 frames, the grains 6"):
        lattice_change(made[:4], grains)
    lost = grains.copy(deep=True)
    lost["reliable"][5, 0] = False
    with pytest.raises(LatticeError, match="take frame 4"):
        lattice_change(made, lost)


def test_export_writes_tables_and_pictures(shrinking, tmp_path) -> None:
    made, grains = shrinking
    written = export_lattice(made, grains, tmp_path / "out")
    names = {path.name for path in written}
    assert names == {"lattice.csv", "lattice.png", "change.png", "change-grain-0.tif"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    header, first = (tmp_path / "out" / "lattice.csv").read_text().splitlines()[:2]
    assert header.split(",")[1] == "grain 0 angle (deg)"
    assert float(first.split(",")[1]) == pytest.approx(float(grains["angle_deg"][0, 0]))


def test_export_without_a_displacement_says_what_is_left_out(tmp_path) -> None:
    discs = [paint([Disc((56, 128 - 20 * t), 30, 3.0)], (112, 256)) for t in range(5)]
    made = video(discs)
    grains = hv.track_grains(made, 1)
    before = list(grains.attrs["notices"])
    written = export_lattice(made, grains, tmp_path / "out")
    assert {path.name for path in written} == {"lattice.csv", "lattice.png"}
    *others, notice = grains.attrs["notices"]
    assert others == before
    assert "frame 0 and frame 4 cannot be told" in notice


def test_summary_has_what_the_interface_promises(shrinking) -> None:
    _, grains = shrinking
    record = lattice_summary(grains)
    assert (record["frames"], record["grains"], record["unreliable_frames"]) == (6, 1, 0)
    assert record["misfit_deg"] == [None, None]
    first, last = record["area_nm2"][0]
    assert first == pytest.approx(np.pi * 110**2 * 0.03**2, rel=0.03)
    assert last == pytest.approx(np.pi * 80**2 * 0.03**2, rel=0.03)
