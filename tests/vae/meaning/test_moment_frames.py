"""Frames at six moments, and the components of windows in them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_hrtem_vae.progress import run
from napari_hrtem_vae.vae.architecture import Architecture, Convolution, EncoderLayers
from napari_hrtem_vae.vae.card import ModelCard
from napari_hrtem_vae.vae.meaning.components import COMPONENTS, Components, fit_components_steps
from napari_hrtem_vae.vae.meaning.known_changes import scene_for_model
from napari_hrtem_vae.vae.meaning.moment_frames import MomentFrames
from napari_hrtem_vae.vae.meaning.site_features import moments_of

WINDOW, STEP = 8, 2


@pytest.fixture(scope="module")
def components():
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(WINDOW**2, 5)))[0].astype(np.float32)
    return Components(rng.normal(size=WINDOW**2).astype(np.float32), axes)


def by_window(frames, components, rows, columns):
    """Components (frames, row, column, component) of each window for itself."""
    cut = [
        [frames[:, y * STEP : y * STEP + WINDOW, x * STEP : x * STEP + WINDOW] for x in columns] for y in rows
    ]
    windows = np.array(cut).transpose(2, 0, 1, 3, 4)
    z, _ = components.encode(windows.reshape(-1, WINDOW, WINDOW))
    return z.reshape(*windows.shape[:3], -1)


@given(
    st.integers(6, 30),
    st.lists(st.integers(0, 29), max_size=8),
    st.lists(st.integers(1, 9), min_size=1, max_size=30),
    st.integers(0, 2),
    st.integers(1, 3),
)
def test_components_of_moments_are_those_of_frames_averaged(components, count, left_out, parts, first, every):
    """However the frames come; those that cannot be used count nowhere."""
    rng = np.random.default_rng(count)
    frames = rng.uniform(size=(count, 20, 24)).astype(np.float32)
    usable = np.ones(count, bool)
    usable[[one for one in left_out if one < count]] = False
    if usable.sum() < 6:
        return
    moments = MomentFrames(usable)
    start = 0
    for part in [*parts, *[5] * count]:
        if start < count:
            moments.take(start, torch.from_numpy(frames[start : start + part]))
            start += part
    rows, columns = range(first, 7, every), range(first, 9, every)
    found = moments.components(components, rows, columns, STEP)
    wanted = moments_of(by_window(frames[usable], components, rows, columns))
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=2e-3)


def test_components_draw_what_lies_in_their_span_and_nothing_else(components):
    z = np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32)
    again, _ = components.encode(components.decode(z))
    np.testing.assert_allclose(again, z, atol=1e-5)


def test_fitted_components_tell_most_of_a_window():
    layers = (Convolution(4, 16, 1, "valid"),)
    architecture = Architecture(window=16, latents=4, activation="silu", encoder=EncoderLayers(layers))
    card = ModelCard("small", architecture, smoothing_px=1.0, period_px=6.0)
    found = run(fit_components_steps(card))
    assert found.axes.shape == (16**2, COMPONENTS)
    np.testing.assert_allclose(found.axes.T @ found.axes, np.eye(COMPONENTS), atol=5e-3)
    frames = scene_for_model(np.random.default_rng(5), card).frames
    windows = np.lib.stride_tricks.sliding_window_view(frames, (16, 16), (1, 2))[::8, ::8, ::8]
    windows = windows.reshape(-1, 16, 16)
    left = windows - found.decode(found.encode(windows)[0])
    # 64 axes drawn by chance would leave three quarters.
    assert np.sum(left**2) < 0.15 * np.sum((windows - windows.mean(0)) ** 2)
