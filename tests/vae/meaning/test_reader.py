"""Readers, and what they do with sites."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_hrtem_vae.errors import ModelFileError
from napari_hrtem_vae.progress import run
from napari_hrtem_vae.vae.meaning.calibration import CalibrationParameters, KnownSites, train_reader_steps
from napari_hrtem_vae.vae.meaning.known_changes import KINDS, MEASURES
from napari_hrtem_vae.vae.meaning.reader import Reader, ReaderCard, Reading, agreed, pool

SITES = (5, 6)


def sites(scenes, seed):
    """Kinds that features tell plainly, and a rotation that one of them measures roughly; one a scene."""
    rng = np.random.default_rng(seed)
    count = scenes * SITES[0] * SITES[1]
    kind = np.repeat(rng.choice([-1, 0, 1, 2, 3, 3, 3, 4, 5], scenes), count // scenes)
    features = rng.normal(0, 0.3, (count, 12)).astype(np.float32)
    for index in range(len(KINDS)):
        features[kind == index, index] += 3
    measure = np.zeros((count, len(MEASURES)), np.float32)
    turn = np.repeat(rng.uniform(-10, 10, scenes), count // scenes)
    measure[:, 0] = np.where(kind == 3, turn, 0)
    features[:, 8] += turn / 5
    return KnownSites(features, kind, measure, SITES)


def maps(scenes):
    return np.ones((scenes, *SITES), bool)


@pytest.fixture(scope="module", params=[0, 9], ids=["one network", "two networks"])
def reader(request):
    parameters = CalibrationParameters(scenes=8, epochs=40)
    card = ReaderCard("m", "c", 0, measured_from=request.param)
    return run(train_reader_steps(sites(150, 0), sites(150, 1), card, parameters))


def test_a_reader_learns_kinds_and_measures(reader):
    test = sites(200, 2)
    reading = reader.read(test.features, maps(200))
    clear = test.kind >= 0
    assert (reading.probability.argmax(1) == test.kind)[clear].mean() > 0.97
    np.testing.assert_allclose(reading.probability.sum(1), 1, atol=1e-5)
    turning = test.kind == 3
    error = (reading.measure - test.measure)[turning, 0]
    # One site alone is off by 1.5°; its neighbours that turn with it help.
    assert np.sqrt(np.mean(error**2)) < 0.7
    told, truth = reading.measure[turning, 0], test.measure[turning, 0]
    assert 0.97 < (told @ truth) / (truth @ truth) < 1.03
    assert 0.85 < np.mean(np.abs(error) < 1.96 * reading.error[turning, 0]) < 0.995
    assert set(reader.card.record["recall"]) == set(KINDS)


def test_what_one_map_shows_stays_out_of_the_next(reader):
    test = sites(2, 5)
    both = reader.read(test.features, maps(2))
    first = reader.read(test.features[: SITES[0] * SITES[1]], maps(1))
    for name in ("probability", "measure", "error"):
        one, other = getattr(both, name)[: len(first.measure)], getattr(first, name)
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def pooled_kinds(probability):
    """Of a map (y, x, kind), after its neighbours were heard."""
    shape = probability.shape
    flat = probability.reshape(-1, shape[2]).astype(np.float32)
    told = np.ones((len(flat), len(MEASURES)), np.float32)
    return pool(Reading(flat, told, told), np.ones(shape[:2], bool)).probability.reshape(shape)


def one_kind_clearly(shape, kind, sure=0.95):
    probability = np.full((*shape, len(KINDS)), (1 - sure) / (len(KINDS) - 1))
    probability[..., kind] = sure
    return probability


def test_where_all_sites_say_the_same_they_go_on_saying_it():
    probability = one_kind_clearly((7, 8), 5, 0.6)
    np.testing.assert_allclose(pooled_kinds(probability), probability, atol=1e-3)


def test_a_site_that_shows_nothing_clearly_is_told_by_its_neighbours():
    probability = one_kind_clearly((7, 7), 3)
    probability[3, 3] = 1 / len(KINDS)
    pooled = pooled_kinds(probability)[3, 3]
    assert pooled.argmax() == 3
    assert pooled[3] > 0.85


def test_two_kinds_side_by_side_stay_apart():
    probability = np.concatenate([one_kind_clearly((6, 5), 2), one_kind_clearly((6, 5), 3)], 1)
    kinds = pooled_kinds(probability).argmax(2)
    assert (kinds[:, :5] == 2).all()
    assert (kinds[:, 5:] == 3).all()


def test_a_reader_leaves_out_features_that_are_later_than_it(reader):
    known, where = sites(2, 9), maps(2)
    more = np.concatenate([known.features, np.full((len(known.features), 3), 7, np.float32)], 1)
    for one, other in zip(
        vars(reader.read(known.features, where)).values(),
        vars(reader.read(more, where)).values(),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_measures_are_told_by_the_first_features_alone_where_the_card_says_so():
    reader = Reader(ReaderCard("m", "c", 12, measured_from=9)).eval()
    features = sites(2, 6).features
    other = features.copy()
    other[:, 9:] += 1
    with torch.inference_mode():
        before, after = (reader(reader.normalised(one)) for one in (features, other))
    assert not torch.equal(before[0], after[0])
    for one, same in zip(before[1:], after[1:], strict=True):
        torch.testing.assert_close(one, same, rtol=0, atol=0)


def test_a_reader_of_features_that_are_not_there_is_refused():
    reader = Reader(ReaderCard("m", "c", 14))
    with pytest.raises(ModelFileError, match="14 features of a site and there are 12; calibrate"):
        reader.read(sites(2, 6).features, maps(2))


def test_a_crystal_that_turns_as_one_is_told_from_all_its_sites_and_from_no_others():
    rng = np.random.default_rng(3)
    probability = np.concatenate([one_kind_clearly((12, 9), 3), one_kind_clearly((12, 9), 1, 0.999)], 1)
    turns = np.concatenate([5 + rng.normal(0, 0.5, (12, 9)), rng.normal(-9, 0.5, (12, 9))], 1)
    measure = np.ones((turns.size, len(MEASURES)), np.float32)
    measure[:, 0] = turns.ravel()
    flat = probability.reshape(-1, len(KINDS)).astype(np.float32)
    pooled = pool(Reading(flat, measure, np.ones_like(measure)), np.ones(turns.shape, bool))
    told = pooled.measure[:, 0].reshape(turns.shape)[:, :9]
    assert np.sqrt(np.mean((told - 5) ** 2)) < 0.2


def test_readers_agree_on_what_most_are_sure_of():
    sure, unsure = (one_kind_clearly((1, 1), 3, value).reshape(1, -1) for value in (0.95, 0.4))
    other = one_kind_clearly((1, 1), 5, 0.5).reshape(1, -1)
    readings = [
        Reading(p.astype(np.float32), *(np.full((1, len(MEASURES)), n, np.float32) for n in (n, 1)))
        for n, p in enumerate((sure, unsure, other))
    ]
    found = agreed(readings)
    assert found.probability.argmax() == 3
    np.testing.assert_allclose(found.probability.sum(1), 1, rtol=1e-5)
    # Measures are those of the last.
    np.testing.assert_array_equal(found.measure, readings[-1].measure)
    alone = agreed(readings[:1])
    np.testing.assert_allclose(alone.probability, sure, atol=1e-3)
