"""Batches of frames and their spectra: the same whether begun before or not, in either direction."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from napari_hrtem_vae.lattice.grid import LatticeGrid
from napari_hrtem_vae.lattice.spectra import SpectrumReader, even_batches

GRID = LatticeGrid((96, 128), 8.0)


@pytest.fixture
def video() -> xr.DataArray:
    counts = np.random.default_rng(0).poisson(9, (70, 96, 128)).astype(np.uint16)
    counts[5] = 7
    return xr.DataArray(counts, dims=("time", "y", "x"))


@given(st.integers(1, 500), st.integers(1, 8))
def test_batches_hold_every_frame_and_are_alike(frames: int, most: int) -> None:
    batches = even_batches(frames, most)
    assert sum(batches) == frames
    assert 1 <= min(batches) <= max(batches) <= min(most, min(batches) + 1)
    # Two threads have as many each.
    assert len(batches) % 2 == 0 or len(batches) == frames


@pytest.mark.parametrize("order", [range(70), range(3, 70), range(41, -1, -1), range(2, 3)])
@pytest.mark.parametrize("begun", [False, True])
def test_every_frame_comes_once_in_order_with_its_spectrum(
    video: xr.DataArray, order: range, begun: bool
) -> None:
    reader = SpectrumReader(video, order, GRID, None)
    if begun:
        reader.begin()
    seen: list[int] = []
    for one in reader.batches():
        if one is None:
            continue
        frames, make = one
        spectra = make()
        told = [frames[number] for number in spectra.usable]
        assert told == [frame for frame in frames if frame != 5]
        for frame, spectrum in zip(told, spectra.values, strict=True):
            np.testing.assert_array_equal(spectrum, GRID.spectrum(video.values[frame].astype(np.float32)))
        seen += frames
    assert seen == list(order)


def test_what_was_begun_and_then_closed_is_made_where_it_is_asked_for(video: xr.DataArray) -> None:
    reader = SpectrumReader(video, range(20), GRID, None)
    reader.begin()
    batches = reader.batches()
    made = [one for one in batches if one is not None]
    # By now nothing is read any more.
    assert sum(len(make().usable) for _, make in made) == 19
