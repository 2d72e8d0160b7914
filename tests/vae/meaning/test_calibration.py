"""Calibration end to end, with a coder that is quick; and of the shipped models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import napari_hrtem_vae as hv
from napari_hrtem_vae.errors import ParameterError
from napari_hrtem_vae.progress import run
from napari_hrtem_vae.vae.card import shipped_models
from napari_hrtem_vae.vae.meaning import labels
from napari_hrtem_vae.vae.meaning.calibrated import calibration_of
from napari_hrtem_vae.vae.meaning.calibration import (
    CalibrationParameters,
    _falls_short,
    calibrate_steps,
    known_sites_steps,
    train_reader_steps,
)
from napari_hrtem_vae.vae.meaning.known_changes import KINDS
from napari_hrtem_vae.vae.meaning.reader import ReaderCard
from napari_hrtem_vae.vae.meaning.site_features import MOTION_FEATURES, REACHES
from napari_hrtem_vae.vae.meaning.window_changes import MOMENTS, change_features
from napari_hrtem_vae.vae.model import Model


class Blocks:
    """Latents are means of blocks of 4 × 4 px, drawn as they are."""

    def __init__(self):
        self.card = hv.load_model("pbs-64-fast").card

    def encode(self, windows):
        n, size = len(windows), windows.shape[-1] // 4
        z = windows.reshape(n, size, 4, size, 4).mean((2, 4)).reshape(n, -1)
        return z, z

    def decode(self, z):
        size = round(z.shape[1] ** 0.5)
        return np.repeat(np.repeat(z.reshape(-1, size, size), 4, 1), 4, 2)


@pytest.fixture(scope="module")
def known():
    coder = Blocks()
    both = run(known_sites_steps(coder, None, 20, 0, both_directions=True))
    return both, run(known_sites_steps(coder, None, 6, 1))


def test_backwards_growth_is_shrinkage(known):
    both, _ = known
    rows, columns = both.sites
    kind = both.kind.reshape(-1, 2, rows * columns)
    measure = both.measure.reshape(-1, 2, rows * columns, 3)
    np.testing.assert_array_equal(kind[:, 0] == 1, kind[:, 1] == 2)
    np.testing.assert_array_equal(kind[:, 0] == 3, kind[:, 1] == 3)
    np.testing.assert_allclose(measure[:, 0, :, :2], -measure[:, 1, :, :2])
    # What fades to a half grows to the double.
    product = (1 + measure[:, 0, :, 2] / 100) * (1 + measure[:, 1, :, 2] / 100)
    np.testing.assert_allclose(product, 1, atol=1e-5)


def test_features_of_motion_come_first_and_then_those_of_patterns(known):
    """Calibrations of earlier versions read the first ones alone, and measures are read from them."""
    features = known[0].features
    window = hv.load_model("pbs-64-fast").card.window
    own, _ = change_features(np.zeros((1, MOMENTS, window, window), np.float32), np.zeros(1, np.float32))
    assert own.shape[1] + 7 * len(REACHES) == MOTION_FEATURES
    share_explained, alike = features[:, MOTION_FEATURES : MOTION_FEATURES + 2].T
    assert -1e-3 < share_explained.min() < share_explained.max() < 1.001
    assert np.abs(alike).max() < 1.001


def test_a_reader_of_known_sites_does_better_than_chance(known):
    both, test = known
    card = ReaderCard("blocks", "", 0)
    reader = run(train_reader_steps(both, test, card, CalibrationParameters(scenes=26)))
    everywhere = np.ones((len(test.kind) // (test.sites[0] * test.sites[1]), *test.sites), bool)
    guess = reader.read(test.features, everywhere).probability.argmax(1)
    clear = test.kind >= 0
    recall = [(guess == index)[test.kind == index].mean() for index in np.unique(test.kind[clear])]
    assert np.mean(recall) > 2 / len(KINDS)
    recalls = reader.card.record["recall"]
    assert set(recalls) <= set(KINDS)


@pytest.mark.parametrize("name", list(shipped_models()))
def test_shipped_models_are_calibrated(name):
    model = hv.load_model(name)
    calibration = calibration_of(model)
    assert calibration is not None
    assert len(labels(model)) == model.card.latents
    beside = calibration.beside
    for reader in (calibration.latents, beside.alone, beside.both):
        assert reader.card.model == name
        assert min(reader.card.record["recall"].values()) > 0.3


def test_a_model_without_a_period_cannot_be_calibrated():
    model = hv.load_model("pbs-64-fast")
    unknown = Model(replace(model.card, period_px=None), model.network)
    with pytest.raises(ParameterError, match="fringe period"):
        run(calibrate_steps(unknown, CalibrationParameters(scenes=8)))


def test_too_few_scenes_are_refused():
    with pytest.raises(ParameterError, match="scenes"):
        CalibrationParameters(scenes=3)


def test_measures_are_stretched_by_what_large_changes_fall_short() -> None:
    truth = np.repeat([1.0, -8.0], [60, 20]).astype(np.float32)
    told = truth * np.repeat([1.0, 0.8], [60, 20]).astype(np.float32)
    error = np.full_like(truth, 0.5)
    assert _falls_short(truth, told, error, largest=5) == pytest.approx(1.25)
    # Where next to nothing is told, the network does not see it: no factor makes it seen.
    assert _falls_short(truth, told / 100, error, largest=5) == pytest.approx(1.5)
