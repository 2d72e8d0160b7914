"""The walk through a video: the same on any number of threads, in memory that is used again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
import xarray as xr

from napari_hrtem_vae.progress import run
from napari_hrtem_vae.vae.analysis import encode
from napari_hrtem_vae.vae.parameters import AnalyzeParameters
from napari_hrtem_vae.vae.planning import plan_steps
from napari_hrtem_vae.vae.tiles import Tile

from ..conftest import random_model, video_of


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def video() -> xr.DataArray:
    counts = np.random.default_rng(3).poisson(9, (40, 160, 150)).astype(np.uint16)
    return video_of(counts)


def test_one_thread_and_several_give_the_same(video: xr.DataArray, threads: None) -> None:
    model, fields = random_model(), []
    for count in (1, 3):
        torch.set_num_threads(count)
        fields.append(encode(video, model).values)
    # The last bit of a product may hang on where in memory its numbers lie.
    np.testing.assert_allclose(*fields, rtol=0, atol=1e-6 * np.abs(fields[0]).max())


def test_tiles_have_their_field_in_the_memory_of_the_one_before(video: xr.DataArray) -> None:
    walk = run(plan_steps(video, random_model(), AnalyzeParameters(keep_field=False), one_pass=True))
    large, small = Tile(0, 6, 0, 11), Tile(6, 9, 0, 11)
    first = walk.empty_field(large)
    assert first.shape == (40, 6, 11, walk.plan.size.latents)
    assert np.shares_memory(first, walk.empty_field(small))
    walk.forget_field()
    assert not np.shares_memory(first, walk.empty_field(small))
