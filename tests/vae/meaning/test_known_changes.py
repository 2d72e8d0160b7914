"""Scenes of known change hold what they say."""

from __future__ import annotations

import numpy as np
import pytest

from napari_hrtem_vae.vae.meaning.known_changes import KINDS, MEASURES, _Painter, known_scene


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


def test_columns_are_of_the_sign_asked_for():
    """Bright columns skew the grey levels up, against dark ones of the same scenes."""
    skews = {}
    for sign in (-1, 1):
        rng = np.random.default_rng(3)
        pictures = [
            known_scene(
                rng,
                side=96,
                frames=2,
                period_px=21,
                dose_e_per_px=(1000, 1001),
                smoothing_px=1.5,
                sign=sign,
            ).frames[0]
            for _ in range(12)
        ]
        skews[sign] = np.median([((picture - picture.mean()) ** 3).mean() for picture in pictures])
    assert skews[1] > skews[-1] + 0.001


def test_without_a_sign_some_scenes_are_as_a_microscope_shows_them():
    rng = np.random.default_rng(0)
    imaged = [_Painter(rng, 64, 21.0, None).imaged for _ in range(60)]
    assert 15 < sum(imaged) < 45
    assert not any(_Painter(rng, 64, 21.0, sign).imaged for sign in (-1, 1) for _ in range(10))


@pytest.mark.parametrize("imaged", [False, True])
def test_contrast_that_changes_is_measured_in_the_picture(imaged):
    """The stated change is that of the standard deviation within the crystal, which the film adds to."""
    rng = np.random.default_rng(8)
    found = []
    while len(found) < 4:
        scene = known_scene(
            rng,
            side=128,
            frames=2,
            period_px=21,
            dose_e_per_px=(5000, 5001),
            smoothing_px=0.5,
            sign=None if imaged else 1,
        )
        stated = scene.measures[2][scene.kind == KINDS.index("contrast")]
        if stated.size > 4000 and len(np.unique(stated)) == 1 and abs(stated[0]) > 20:
            inside = scene.kind == KINDS.index("contrast")
            first, last = (frame[inside].std() for frame in scene.frames)
            found.append((last / first - 1) * stated[0] > 0)
    assert np.mean(found) > 0.8
