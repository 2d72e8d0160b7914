"""What the shipped models do on scenes that they were not trained on."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import napari_hrtem_vae as hv
from napari_hrtem_vae.progress import run
from napari_hrtem_vae.simulate.material import columns, faceted_crystal, film
from napari_hrtem_vae.simulate.segments import SegmentParameters, segments_steps
from napari_hrtem_vae.vae.hotspots import trend_strength
from napari_hrtem_vae.vae.training import ACTIVE_VARIANCE

from ..conftest import video_of

MODELS = ("pbs-64-fast", "pbs-64")
PIXEL_NM = 0.014


def turning_disc(centre: tuple[float, float], radius: float, seed: int, dose: float = 200.0) -> np.ndarray:
    """A disc of lattice that turns by 8° on still film; nothing else moves."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:256, :256].astype(np.float32)
    disc = np.clip(radius - np.hypot(y - centre[0], x - centre[1]) + 0.5, 0, 1)
    still = 1 + film(rng, (256, 256), 2.5, 0.03)
    phase = rng.uniform(0, 6, 2).astype(np.float32)
    frames = []
    for angle in np.deg2rad(np.linspace(10, 18, 20)):
        net = columns(y - centre[0], x - centre[1], 21, angle, phase, np.array([1.2, 1.2], np.float32))
        frames.append(rng.poisson(np.maximum(still - 0.3 * disc * (net + 0.3), 0.02) * dose))
    return np.array(frames, np.uint16)


@pytest.mark.parametrize(
    ("centre", "radius", "seed"), [((128, 128), 40, 10), ((110, 145), 36, 11), ((150, 105), 50, 12)]
)
def test_map_lies_where_the_motion_is(centre: tuple[float, float], radius: float, seed: int) -> None:
    video = video_of(turning_disc(centre, radius, seed), PIXEL_NM)
    video = video.assign_coords(y=video["y"] + 7.0, x=video["x"] - 3.0)
    result = hv.analyze(video)
    weight = result["change"].where(result["change"] > -np.log10(0.05), 0)
    # Evidence is averaged over neighbours, and a disc's neighbourhood is not as even as the disc.
    step = 8 * PIXEL_NM
    assert float((weight * weight["y"]).sum() / weight.sum()) == pytest.approx(
        7 + centre[0] * PIXEL_NM, abs=step
    )
    assert float((weight * weight["x"]).sum() / weight.sum()) == pytest.approx(
        -3 + centre[1] * PIXEL_NM, abs=step
    )
    assert float(result["hotspot_y"][0]) == pytest.approx(7 + centre[0] * PIXEL_NM, abs=step)
    assert float(result["hotspot_x"][0]) == pytest.approx(-3 + centre[1] * PIXEL_NM, abs=step)


@pytest.mark.parametrize(
    ("centre", "radius", "seed"), [((128, 128), 20, 31), ((100, 150), 24, 32), ((150, 110), 18, 33)]
)
def test_published_map_is_centred_on_a_disc_that_moves(centre, radius: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:256, :256].astype(np.float32)
    still = 1 + film(rng, (256, 256), 2.5, 0.03)
    discs = [
        np.clip(radius - np.hypot(y - centre[0], x - centre[1] - shift) + 0.5, 0, 1)
        for shift in np.linspace(-6, 6, 20)
    ]
    frames = rng.poisson(100 * (still - 0.4 * np.array(discs)))
    result = hv.analyze(video_of(frames, PIXEL_NM, origin=2.0))
    weight = result["time_correlated_variance"].sum("latent")
    for axis, place in zip("yx", centre, strict=True):
        found = float((weight * weight[axis]).sum() / weight.sum())
        assert found == pytest.approx(2 + place * PIXEL_NM, abs=4 * PIXEL_NM)


def test_published_map_is_strongest_where_the_motion_is() -> None:
    result = hv.analyze(video_of(turning_disc((128, 128), 44, 13), PIXEL_NM))
    strength = result["time_correlated_variance"].sum("latent")
    distance = np.hypot(result["y"] - 128 * PIXEL_NM, result["x"] - 128 * PIXEL_NM) / PIXEL_NM
    assert float(strength.where(distance < 44).mean()) > 10 * float(strength.where(distance > 110).mean())


@pytest.mark.parametrize("name", MODELS)
def test_reconstruction_is_nearer_the_truth_than_the_input(name: str) -> None:
    model = hv.load_model(name)
    parameters = SegmentParameters(
        count=320, seed=77, dose_e_per_px=(5, 20), smoothing_px=model.card.smoothing_px
    )
    seen, truth = run(segments_steps(parameters))
    mean, _ = model.encode(seen)
    assert np.mean((model.decode(mean) - truth) ** 2) < 0.6 * np.mean((seen - truth) ** 2)
    assert int((mean.var(0) > ACTIVE_VARIANCE).sum()) >= 20


def test_sample_shows_the_shrinking_edge_and_the_turning_lattices() -> None:
    from napari_hrtem_vae.simulate import sample_path

    result = hv.analyze(sample_path())
    assert result["z"].shape == (40, 41, 73, 64)
    strength = xr.DataArray(
        trend_strength(result), coords={name: result[name] for name in ("y", "x")}, dims=("y", "x")
    )
    # The left crystal loses 0.9 nm of its left side, about x = 1.2 nm; the far corners are film.
    edge = float(strength.sel(x=slice(0.8, 1.7), y=slice(1.5, 3.8)).mean())
    corner = float(strength.sel(x=slice(8.4, 9), y=slice(0, 0.6)).mean())
    assert edge > 5 * corner
    assert float(result["hotspot_area"][0]) > 10


def test_bfloat16_of_the_shipped_models_stays_close() -> None:
    y, x = np.mgrid[:128, :128].astype(np.float32)
    crystal = faceted_crystal(y, x, (60, 70), (40, 50))
    net = columns(y, x, 21, 0.3, np.zeros(2, np.float32), np.ones(2, np.float32))
    frames = np.random.default_rng(0).poisson(20 * (1 - 0.3 * crystal * (net + 0.3)), (3, 128, 128))
    for name in MODELS:
        model = hv.load_model(name)
        exact, rounded = (
            hv.encode(video_of(frames, PIXEL_NM), model, precision=precision)
            for precision in ("float32", "bfloat16")
        )
        spread = exact.std(("time", "y", "x"))
        assert float((np.sqrt(((rounded - exact) ** 2).mean(("time", "y", "x"))) / spread).max()) < 0.05, name
