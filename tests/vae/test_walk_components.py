"""Components that a walk finds beside latents, and the kinds that are read from both."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import napari_hrtem_vae as hv
from napari_hrtem_vae.progress import run
from napari_hrtem_vae.vae.layout import empty_moments
from napari_hrtem_vae.vae.meaning.calibrated import calibration_of
from napari_hrtem_vae.vae.meaning.site_features import moments_of
from napari_hrtem_vae.vae.parameters import AnalyzeParameters
from napari_hrtem_vae.vae.planning import plan_steps
from napari_hrtem_vae.vae.tiles import Tile
from napari_hrtem_vae.vae.walk import components_of

LEFT_OUT = 4


@pytest.fixture(scope="module")
def model():
    return hv.load_model("pbs-64-fast")


@pytest.fixture(scope="module")
def video() -> xr.DataArray:
    """Two crystals that turn; one frame cannot be used."""
    made = hv.simulate("annealing-pair", frames=13, rows=168, columns=232, dose=40.0, seed=5)["video"]
    frames = made.values.astype(np.float32)
    frames[LEFT_OUT] = np.nan
    return made.copy(data=frames)


def walked(video, model, tiles=None):
    """The walk, and what it knows of the sites that are read, by tiles of one's own if given."""
    parameters = AnalyzeParameters(keep_field=False)
    walk = run(plan_steps(video, model, parameters, one_pass=True))
    walk.components = components_of(model, parameters)
    known = empty_moments(walk)
    for tile in tiles or walk.plan.tiles:
        field = walk.empty_field(tile)
        found = run(walk.encode_tile_steps(tile, field))
        known.take(field, tile.first_row, tile.first_column, found)
    return walk, known


def test_components_are_those_of_the_prepared_frames_that_can_be_used(video, model) -> None:
    walk, known = walked(video, model)
    plan, grid = walk.plan, walk.plan.grid
    rows, columns = grid.shape
    band = plan.preprocessing.band((slice(0, rows), slice(0, columns)), walk.encoder.device)
    seen = np.nan_to_num(video.values[:, band.rows, band.columns])
    prepared = band(seen, plan.statistics).numpy()
    usable = np.delete(prepared, LEFT_OUT, axis=0)
    views = np.lib.stride_tricks.sliding_window_view(usable, (64, 64), (1, 2))[:, ::16, ::16]
    z, _ = walk.components.encode(views.reshape(-1, 64, 64))
    wanted = moments_of(z.reshape(*views.shape[:3], -1))
    assert known.components.shape == wanted.shape
    np.testing.assert_allclose(known.components, wanted, atol=0.02)


def test_tiles_in_any_cut_give_the_same_components(video, model) -> None:
    _, whole = walked(video, model)
    tiles = [Tile(0, 5, 0, 9), Tile(0, 5, 9, 22), Tile(5, 14, 0, 3), Tile(5, 14, 3, 22)]
    _, parts = walked(video, model, tiles)
    assert np.isfinite(whole.components).all()
    np.testing.assert_allclose(parts.components, whole.components, atol=0.01)


def test_a_store_gives_the_kinds_that_memory_gives(video, model, tmp_path) -> None:
    direct = hv.analyze(video, model, keep_field=False)
    stored = hv.analyze(video, model, keep_field=False, store=tmp_path / "r.zarr")
    assert (direct["kind"].values > 0).any()
    np.testing.assert_array_equal(stored["kind"], direct["kind"])
    np.testing.assert_allclose(stored["kind_probability"], direct["kind_probability"], atol=1e-3)


def test_windows_scaled_each_for_itself_are_read_from_latents_alone(model) -> None:
    assert calibration_of(model).components is not None
    assert components_of(model, AnalyzeParameters(scaling="window")) is None


def test_too_few_frames_have_no_components(video, model) -> None:
    walk, known = walked(video[:5], model)
    assert walk.components is not None
    assert np.isnan(known.components).all()
