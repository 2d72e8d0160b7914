"""Local orientation against nets of known angle, and noise that has none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_hrtem_vae.errors import LatticeError, ParameterError
from napari_hrtem_vae.lattice.orientation import OrientationParameters, orientation_map_steps
from napari_hrtem_vae.progress import run

from ..conftest import video_of as labelled_video
from .nets import net, video_of

PERIOD = 12.0


def map_of(*frames: np.ndarray, **options):
    options = {"period_px": PERIOD, **options}
    return run(orientation_map_steps(video_of(*frames), OrientationParameters(**options)))


@pytest.mark.parametrize(("symmetry", "period"), [(2, 180), (4, 90), (6, 60)])
@pytest.mark.parametrize("angle", [0.0, 1.4, 33.3, 59.9])
def test_angle_of_a_net_is_found_everywhere(symmetry, period, angle) -> None:
    maps = map_of(net((160, 192), PERIOD, angle, symmetry=symmetry), symmetry=symmetry)
    error = (maps["angle_deg"].values - angle + period / 2) % period - period / 2
    inner = error[:, 3:-3, 3:-3]
    assert np.isfinite(inner).all()
    assert np.abs(inner).max() < 0.1
    assert 0 <= float(maps["angle_deg"].min()) <= float(maps["angle_deg"].max()) < period


@pytest.mark.parametrize(("dose", "rms"), [(10, 0.2), (2.5, 0.25)])
def test_two_grains_are_told_apart_in_shot_noise(dose, rms) -> None:
    rng = np.random.default_rng(5)
    shape = (512, 768)
    y, x = np.mgrid[: shape[0], : shape[1]]
    left, right = (np.hypot(y - 256, x - centre) < 170 for centre in (200, 560))
    # 10 % fringes of 20.5 px, as in the paper's frames.
    truth = {3.0: left, 15.0: right}
    image = 1 + sum(mask * net(shape, 20.5, angle) for angle, mask in truth.items())
    maps = map_of(rng.poisson(dose * image), period_px=20.5)
    rows, columns = (np.rint(maps[axis].values).astype(int) for axis in ("y", "x"))
    rows, columns = rows.clip(0, shape[0] - 1), columns.clip(0, shape[1] - 1)
    angles = maps["angle_deg"][0].values
    for angle, mask in truth.items():
        core = (ndimage.distance_transform_edt(mask) > 41)[np.ix_(rows, columns)]
        assert np.isfinite(angles[core]).all()
        assert np.sqrt(((angles[core] - angle) ** 2).mean()) <= rms


def test_noise_is_called_a_lattice_at_one_place_in_a_hundred() -> None:
    rng = np.random.default_rng(0)
    maps = map_of(*(rng.poisson(10, (256, 256)) for _ in range(8)))
    assert float(maps["angle_deg"].notnull().mean()) < 0.03


def test_coordinates_are_those_of_the_places() -> None:
    shape = (240, 240)
    x = np.arange(shape[1])
    frame = np.where(x < 120, net(shape, PERIOD, 5), net(shape, PERIOD, 40))
    video = labelled_video(frame[None].astype(np.float32), 0.02, origin=3.0)
    maps = run(orientation_map_steps(video, OrientationParameters(period_px=PERIOD)))
    assert maps["x"].attrs["units"] == "nm"
    jump = 3.0 + 119.5 * 0.02
    row = maps["angle_deg"][0, len(maps["y"]) // 2]
    assert float(row.sel(x=jump - 0.5, method="nearest")) == pytest.approx(5, abs=0.3)
    assert float(row.sel(x=jump + 0.5, method="nearest")) == pytest.approx(40, abs=0.3)
    edge = maps["x"].values[1:][np.abs(np.diff(row.values)) > 10]
    assert np.abs(edge - jump).min() < maps.attrs["cell_px"] * 0.02


def test_frame_with_nan_has_no_orientation() -> None:
    bad = net((160, 160), PERIOD, 5)
    bad[3, 4] = np.nan
    maps = map_of(bad, net((160, 160), PERIOD, 5))
    assert maps["angle_deg"][0].isnull().all()
    assert maps["angle_deg"][1].notnull().any()


def test_video_without_a_lattice_is_refused() -> None:
    noise = np.random.default_rng(0).poisson(10, (128, 128))
    with pytest.raises(LatticeError, match="give its period"):
        map_of(noise, period_px=None)
    with pytest.raises(LatticeError, match="fewer than 4 periods"):
        map_of(noise, period_px=40.0)


@pytest.mark.parametrize("options", [{"symmetry": "any"}, {"period_px": 1.0}, {"smoothing_periods": 0.0}])
def test_parameters_out_of_range_are_refused(options) -> None:
    with pytest.raises(ParameterError):
        OrientationParameters(**options)
