"""Scenes of known change hold what they say."""

from __future__ import annotations

import numpy as np
import pytest

from napari_hrtem_vae.vae.meaning.known_changes import KINDS, MEASURES, known_scene


def scenes(count=12, frames=6, seed=0):
    rng = np.random.default_rng(seed)
    return [
        known_scene(rng, side=128, frames=frames, period_px=21, dose_e_per_px=(50, 300), smoothing_px=1.5)
        for _ in range(count)
    ]


def test_frames_are_scaled_and_truth_lies_on_them():
    for scene in scenes(3):
        assert scene.frames.shape == (6, 128, 128)
        assert scene.frames.min() >= 0
        assert scene.frames.max() <= 1
        assert scene.kind.shape == (128, 128)
        assert scene.measures.shape == (len(MEASURES), 128, 128)


def test_all_kinds_occur():
    seen = {KINDS[index] for scene in scenes(40, frames=2) for index in np.unique(scene.kind)}
    assert seen == set(KINDS)


def test_measures_stand_where_their_kind_does():
    for scene in scenes(20, frames=2):
        turning, edge = (scene.kind == KINDS.index(kind) for kind in ("rotation", "growth"))
        assert (scene.measures[0][turning] != 0).all()
        assert (scene.measures[1][edge] > 0).all()
        assert (scene.measures[1][scene.kind == KINDS.index("shrinkage")] < 0).all()


def test_pixels_that_change_differ_more_than_still_ones():
    ratios = []
    for scene in scenes(30, frames=6):
        last = np.square(scene.frames[-1] - scene.frames[0])
        moving = scene.kind == KINDS.index("translation")
        if moving.mean() > 0.1 and (scene.kind == 0).mean() > 0.1:
            ratios.append(last[moving].mean() / last[scene.kind == 0].mean())
    assert np.median(ratios) > 1.3


def test_the_same_seed_gives_the_same_scene():
    np.testing.assert_array_equal(scenes(1)[0].frames, scenes(1)[0].frames)
    assert np.abs(scenes(1, seed=1)[0].frames - scenes(1)[0].frames).max() > 0.1


@pytest.mark.parametrize("sign", [-1, 1])
def test_columns_are_of_the_sign_asked_for(sign):
    rng = np.random.default_rng(3)
    skews = []
    for _ in range(12):
        scene = known_scene(
            rng,
            side=96,
            frames=2,
            period_px=21,
            dose_e_per_px=(1000, 1001),
            smoothing_px=1.5,
            sign=sign,
        )
        picture = scene.frames[0] - scene.frames[0].mean()
        skews.append(float((picture**3).mean()))
    assert np.sign(np.median(skews)) == sign
