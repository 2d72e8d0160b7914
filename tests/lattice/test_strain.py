"""Strain by phase against displacements of known gradient: signs, size, noise, references."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from napari_hrtem_vae.errors import LatticeError, ParameterError
from napari_hrtem_vae.lattice.conventions import ideal_basis
from napari_hrtem_vae.lattice.grid import LatticeGrid
from napari_hrtem_vae.lattice.strain import StrainParameters, strain_maps, strain_tensor

from .nets import net, video_of

SHAPE, PERIOD, ANGLE = (256, 288), 12.0, 7.0


def grains_of(
    video: xr.DataArray,
    *,
    symmetry: int = 4,
    angles: tuple[float, ...] = (ANGLE,),
    masks: np.ndarray | None = None,
) -> xr.Dataset:
    """What tracking would tell of a video whose grains have their known, undistorted bases."""
    grid = LatticeGrid((video.shape[1], video.shape[2]), PERIOD)
    frames, count = len(video), len(angles)
    basis = np.stack([ideal_basis(1 / PERIOD, angle, symmetry) for angle in angles])
    presence = np.ones((frames, count, *grid.cells), bool)
    if masks is not None:
        rows, columns = (np.rint(grid.centres(axis)).astype(int) for axis in (0, 1))
        presence[:] = masks[:, rows][:, :, columns]
    return xr.Dataset(
        {
            "basis": (
                ("time", "grain", "vector", "component"),
                np.broadcast_to(basis, (frames, *basis.shape)).copy(),
            ),
            "presence": (("time", "grain", "y", "x"), presence),
            "reliable": (("time", "grain"), np.ones((frames, count), bool)),
        },
        coords={"y": grid.centres(0), "x": grid.centres(1), "time": np.arange(frames)},
        attrs={"symmetry": str(symmetry), "period_px": PERIOD},
    )


FIELDS = {
    "exx": (lambda y, x: (0 * y, 0.01 * x), (1, 0, 0, 0)),
    "eyy": (lambda y, x: (-0.01 * y, 0 * x), (0, -1, 0, 0)),
    "exy": (lambda y, x: (0.005 * x, 0.005 * y), (0, 0, 0.5, 0)),
    # From x towards y: what lies to the right moves down, what lies below moves left.
    "rotation": (lambda y, x: (0.01 * x, -0.01 * y), (0, 0, 0, np.rad2deg(0.01))),
}


@pytest.mark.parametrize("symmetry", [4, 6])
@pytest.mark.parametrize("field", FIELDS)
def test_even_strain_is_found_with_its_sign_to_a_hundredth_of_a_percent(field, symmetry) -> None:
    displacement, expected = FIELDS[field]
    still = net(SHAPE, PERIOD, ANGLE, symmetry=symmetry)
    video = video_of(still, net(SHAPE, PERIOD, ANGLE, displacement, symmetry=symmetry))
    maps = strain_maps(video, grains_of(video, symmetry=symmetry), reference="first", frames=[1])
    names = ("exx", "eyy", "exy", "rotation_deg")
    for name, value in zip(names, expected, strict=True):
        assert float(np.abs(maps[name] - value).max()) < 0.01
    assert float(maps["exx"].notnull().mean()) > 0.45


def test_tensor_is_minus_inverse_basis_times_change_of_basis() -> None:
    basis = ideal_basis(0.1, 20, 4)
    gradient = np.array([[0.01, -0.02], [0.03, 0.015]])  # ∂u_j/∂x_i, y first
    tensor = strain_tensor(basis @ (np.eye(2) - gradient), basis)
    assert tensor["eyy"] == pytest.approx(0.01)
    assert tensor["exx"] == pytest.approx(0.015)
    assert tensor["exy"] == pytest.approx(0.005)
    assert tensor["rotation"] == pytest.approx((-0.02 - 0.03) / 2)


def test_uneven_strain_is_found_but_for_the_smoothing() -> None:
    length, smoothing = 240.0, 2.5 * PERIOD
    share = np.exp(-2 * np.pi**2 * smoothing**2 / length**2)

    def displacement(y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return 0.005 * length / (2 * np.pi) * np.sin(2 * np.pi * x / length), 0 * y

    shape = (256, 480)
    video = video_of(net(shape, PERIOD, ANGLE, displacement))
    maps = strain_maps(video, grains_of(video))
    x = maps["x"].values - shape[1] / 2
    inner = np.abs(x) < 120
    rotation = maps["rotation_deg"][0, len(maps["y"]) // 2].values[inner]
    truth = np.rad2deg(0.0025 * np.cos(2 * np.pi * x[inner] / length))
    slope, _ = np.polyfit(truth, rotation, 1)
    assert slope == pytest.approx(share, abs=0.02)
    assert np.corrcoef(truth, rotation)[0, 1] > 0.999


def test_shot_noise_gives_the_stated_error() -> None:
    rng = np.random.default_rng(3)
    frames = [rng.poisson(30 * (1 + net((320, 320), PERIOD, ANGLE))) for _ in range(3)]
    video = video_of(*frames)
    maps = strain_maps(video, grains_of(video))
    stated = float(np.sqrt((maps["sigma"] ** 2).mean()))
    for name in ("exx", "eyy"):
        assert 0.6 < float(maps[name].std()) / stated < 1.4
        assert float(maps[name].std()) <= 0.2


def test_grain_beside_another_is_as_even_as_alone() -> None:
    x = np.indices(SHAPE)[1]
    masks = np.stack([x < 144, x >= 144])
    frame = np.where(masks[0], net(SHAPE, PERIOD, 3), net(SHAPE, PERIOD, 14))
    video = video_of(frame)
    maps = strain_maps(video, grains_of(video, angles=(3.0, 14.0), masks=masks), grain=1)
    seen = maps["exx"][0].notnull().values
    assert not seen[:, maps["x"].values < 144].any()
    assert float(np.abs(maps["exx"]).max()) < 0.3
    assert float(np.abs(maps["rotation_deg"]).max()) < 0.3


def test_region_counts_as_unstrained() -> None:
    def step(y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return 0 * y, np.where(x > 0, 0.02 * x, 0)

    shape = (256, 640)
    video = video_of(net(shape, PERIOD, ANGLE, step))
    maps = strain_maps(video, grains_of(video), reference="region", region=(60, 196, 130, 200))
    left, right = (
        maps["exx"].sel(x=slice(a, b), y=slice(60, 196)).mean() for a, b in ((130, 200), (440, 510))
    )
    assert float(left) == pytest.approx(0, abs=0.02)
    assert float(right) == pytest.approx(2, abs=0.03)


def test_turned_grain_is_not_strained() -> None:
    turned = net(SHAPE, PERIOD, ANGLE + 3)
    video = video_of(net(SHAPE, PERIOD, ANGLE), turned)
    grains = grains_of(video)
    grains["basis"][1, 0] = ideal_basis(1 / PERIOD, ANGLE + 3, 4)
    maps = strain_maps(video, grains, reference="first", frames=[1])
    assert float(np.abs(maps["exx"]).max()) < 0.01
    assert float(maps["rotation_deg"].mean()) == pytest.approx(3, abs=0.01)


def test_frame_without_the_grain_has_no_strain() -> None:
    video = video_of(net(SHAPE, PERIOD, ANGLE), np.full(SHAPE, np.nan))
    maps = strain_maps(video, grains_of(video))
    assert maps["exx"][0].notnull().any()
    assert maps["exx"][1].isnull().all()


def test_what_tells_no_strain_is_refused() -> None:
    video = video_of(net(SHAPE, PERIOD, ANGLE))
    with pytest.raises(LatticeError, match="one direction"):
        strain_maps(video, grains_of(video, symmetry=2))
    with pytest.raises(ParameterError, match="grain is 4"):
        strain_maps(video, grains_of(video), grain=4)
    with pytest.raises(ParameterError, match="2 frames, the video has 1"):
        strain_maps(video, grains_of(video_of(video.values[0], video.values[0])))
    with pytest.raises(LatticeError, match="no place in the grain"):
        strain_maps(video, grains_of(video), reference="region", region=(0, 1, 0, 1))


@pytest.mark.parametrize(
    "options",
    [{"smoothing_periods": 0.1}, {"reference": "bulk"}, {"reference": "region"}, {"region": (5, 5, 0, 9)}],
)
def test_parameters_out_of_range_are_refused(options) -> None:
    with pytest.raises(ParameterError):
        StrainParameters(**options)
