"""From moments of sites to kinds on all sites."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import napari_hrtem_vae as hv
from napari_hrtem_vae.progress import run
from napari_hrtem_vae.vae.meaning.calibrated import calibration_of
from napari_hrtem_vae.vae.meaning.reading import (
    KIND_NAMES,
    UNKNOWN,
    SiteMoments,
    every_site,
    read_changes_steps,
    usable_moments,
)


@pytest.fixture(scope="module")
def model():
    return hv.load_model("pbs-64-fast")


@pytest.fixture(scope="module")
def calibrated(model):
    return calibration_of(model)


def known_sites(rows=6, columns=8, latents=64, seed=0):
    rng = np.random.default_rng(seed)
    field = rng.normal(0, 0.5, (12, rows, columns, latents)).astype(np.float32)
    known = SiteMoments.empty((rows, columns), latents, 2)
    known.take(field)
    return known, np.full((rows, columns), 0.1, np.float32)


def test_reading_tells_how_far_it_is_every_few_sites(model, calibrated):
    known, noise = known_sites(20, 26)
    steps = read_changes_steps(known, noise, np.ones((20, 26), bool), model, calibrated, 8)
    done = [(progress.done, progress.total) for progress in steps]
    assert {total for _, total in done} == {10 * 13}
    assert [count for count, _ in done] == [0, *range(16, 130, 16), 130]


def test_moments_are_means_of_stretches_of_time():
    field = np.arange(12, dtype=np.float32)[:, None, None, None] * np.ones((1, 2, 3, 4), np.float32)
    np.testing.assert_array_equal(usable_moments(field)[1, 2, :, 0], [0.5, 2.5, 4.5, 6.5, 8.5, 10.5])


def test_frames_that_cannot_be_used_are_left_out_and_too_few_give_nothing():
    field = np.ones((8, 2, 2, 3), np.float32)
    field[3] = np.nan
    assert np.isfinite(usable_moments(field)).all()
    field[:3] = np.nan
    assert np.isnan(usable_moments(field)).all()


def test_a_site_that_left_the_view_has_no_moments():
    field = np.ones((8, 2, 2, 3), np.float32)
    field[:, 0, 0] = np.nan
    moments = usable_moments(field)
    assert np.isnan(moments[0, 0]).all()
    assert np.isfinite(moments[1]).all()


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.data())
def test_tiles_in_any_cut_give_the_moments_of_the_whole(rows, columns, every, data):
    field = np.random.default_rng(0).normal(size=(6, rows, columns, 2)).astype(np.float32)
    whole, parts = (SiteMoments.empty((rows, columns), 2, every) for _ in range(2))
    whole.take(field)
    row, column = data.draw(st.integers(0, rows)), data.draw(st.integers(0, columns))
    for a, b in ((0, row), (row, rows)):
        for c, d in ((0, column), (column, columns)):
            if a < b and c < d:
                parts.take(field[:, a:b, c:d], a, c)
    np.testing.assert_array_equal(parts.moments, whole.moments)


def test_every_second_site_is_read_at_the_usual_step():
    assert every_site(64, 8) == 2
    assert every_site(64, 16) == 1
    assert every_site(64, 64) == 1


def test_without_calibration_significant_sites_are_of_unknown_kind(model):
    known, noise = known_sites()
    significant = np.zeros((6, 8), bool)
    significant[2:4, 3:5] = True
    kinds = run(read_changes_steps(known, noise, significant, model, None, 8))
    assert (kinds["kind"].values == np.where(significant, UNKNOWN, 0)).all()
    assert tuple(kinds["kind"].attrs["names"]) == KIND_NAMES
    assert np.isnan(kinds["rotation"]).all()


def test_kinds_stand_at_significant_sites_alone_and_probabilities_sum_to_one(model, calibrated):
    known, noise = known_sites()
    significant = np.zeros((6, 8), bool)
    significant[1:5, 2:7] = True
    kinds = run(read_changes_steps(known, noise, significant, model, calibrated, 8))
    assert (kinds["kind"].values[~significant] == 0).all()
    assert (kinds["kind"].values[significant] > 0).all()
    np.testing.assert_allclose(kinds["kind_probability"].sum("change_kind"), 1, atol=1e-4)
    np.testing.assert_array_equal(kinds["kind_probability"].values[0][~significant], 1)
    assert ((kinds["kind_confidence"] >= 0) & (kinds["kind_confidence"] <= 1)).all()
    # A read-out is given with its error or not at all, and where its kind is.
    turned = np.isfinite(kinds["rotation"].values)
    assert (turned == np.isfinite(kinds["rotation_error"].values)).all()
    assert (kinds["kind"].values[turned] == KIND_NAMES.index("rotation")).all()


def test_sites_without_moments_are_of_unknown_kind(model, calibrated):
    known = SiteMoments.empty((6, 8), 64, 2)
    noise = np.full((6, 8), np.nan, np.float32)
    kinds = run(read_changes_steps(known, noise, np.ones((6, 8), bool), model, calibrated, 8))
    assert (kinds["kind"].values == UNKNOWN).all()


def test_nothing_significant_reads_nothing(model, calibrated):
    known, noise = known_sites()
    kinds = run(read_changes_steps(known, noise, np.zeros((6, 8), bool), model, calibrated, 8))
    assert (kinds["kind"].values == 0).all()
    assert (kinds["kind_probability"].values[0] == 1).all()
