"""Tiles: every site once, within the memory, whole stored chunks; and the least memory that works."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_hrtem_vae.errors import ParameterError
from napari_hrtem_vae.vae.tiles import (
    STORED_COLUMNS,
    WalkSize,
    plan_tiles,
    stored_field_columns,
    stored_sites,
)
from napari_hrtem_vae.video.geometry import SiteGrid

SIZES = st.builds(
    lambda rows, columns, step, frames, latents, kept: WalkSize(
        SiteGrid((rows, columns), 64, step), frames, latents, field_in_memory=kept, maps_in_memory=kept
    ),
    st.integers(64, 1500),
    st.integers(64, 1500),
    st.integers(4, 64),
    st.integers(1, 3000),
    st.integers(1, 64),
    st.booleans(),
)


@given(SIZES, st.floats(1, 30), st.integers(1, 9), st.integers(1, 16))
def test_tiles_hold_every_site_once_and_fit_the_memory(
    size: WalkSize, times: float, workers: int, rows_together: int
) -> None:
    budget = int(size.need(1, 1) * times)
    tiles = plan_tiles(size, budget, workers, rows_together)
    seen = np.zeros(size.grid.shape, int)
    for tile in tiles:
        seen[tile.rows, tile.columns] += 1
        assert size.need(*tile.shape) <= budget
    assert (seen == 1).all()


@pytest.mark.parametrize(("rows", "bands"), [(9, 1), (11, 1), (12, 2), (25, 2), (50, 2), (200, 5)])
def test_no_band_is_lower_than_what_the_encoder_makes_at_once_without_need(rows: int, bands: int) -> None:
    size = WalkSize(SiteGrid((64 + 8 * (rows - 1), 128), 64, 8), 100, 64)
    assert len(plan_tiles(size, 1 << 30, rows_together=11)) == bands


@given(SIZES, st.integers(1, 40), st.integers(1, 40))
def test_a_smaller_tile_never_needs_more(size: WalkSize, rows: int, columns: int) -> None:
    assert size.need(rows, columns) <= min(size.need(rows + 1, columns), size.need(rows, columns + 1))


@given(SIZES, st.floats(1, 30), st.integers(1, 9), st.integers(1, 16))
def test_tiles_are_whole_stored_chunks(
    size: WalkSize, times: float, workers: int, rows_together: int
) -> None:
    tiles = plan_tiles(size, int(size.need(1, 1) * times), workers, rows_together)
    tall, wide = stored_sites(tiles)
    of_field = stored_field_columns(tiles)
    rows, columns = size.grid.shape
    assert of_field <= min(wide, STORED_COLUMNS)
    for tile in tiles:
        assert tile.first_row % tall == 0
        assert tile.last_row % tall == 0 or tile.last_row == rows
        for across in (wide, of_field):
            assert tile.first_column % across == 0
            assert tile.last_column % across == 0 or tile.last_column == columns


@given(SIZES, st.integers(2, 9), st.integers(2, 16))
def test_workers_have_as_much_to_do(size: WalkSize, workers: int, rows_together: int) -> None:
    together = min(rows_together, size.grid.shape[0])
    # As a worker takes the next tile when it is done with one; in squares of sites that are encoded at once.
    busy = [0] * workers
    for tile in plan_tiles(size, 1 << 50, workers, rows_together):
        rows, columns = (math.ceil(count / together) for count in tile.shape)
        busy[busy.index(min(busy))] += rows * columns
    rows, columns = (math.ceil(count / together) for count in size.grid.shape)
    over = rows % workers
    assert max(busy) <= rows // workers * columns + over * 2 * math.ceil(columns / workers / 2)


@given(SIZES, st.floats(1, 30), st.integers(2, 16))
def test_tiles_are_as_tall_as_the_encoder_makes_rows_at_once_where_that_fits(
    size: WalkSize, times: float, rows_together: int
) -> None:
    budget = int(size.need(1, 1) * times)
    together = min(rows_together, size.grid.shape[0])
    if size.need(together, 1) <= budget < size.need(together, size.grid.shape[1]):
        assert plan_tiles(size, budget, 1, rows_together)[0].shape[0] == together


@given(SIZES)
def test_memory_that_is_too_small_is_told_with_one_that_is_enough(size: WalkSize) -> None:
    with pytest.raises(ParameterError) as refused:
        plan_tiles(size, size.need(1, 1) - 1)
    enough = re.search(r"give ([\d.]+) GB or more", str(refused.value))
    assert enough is not None
    assert plan_tiles(size, int(float(enough[1]) * 1e9))


def test_a_long_video_is_cut_into_columns_where_a_row_does_not_fit() -> None:
    size = WalkSize(SiteGrid((4096, 4096), 64, 8), 20_000, 64)
    row = size.tile_bytes(1, 505)
    tiles = plan_tiles(size, 1_500_000_000)
    assert row > 1_500_000_000
    assert tiles[0].shape[0] == 1
    assert tiles[0].shape[1] % STORED_COLUMNS == 0


@given(SIZES, st.floats(1, 30), st.integers(2, 16))
def test_tiles_are_as_tall_as_the_encoder_makes_rows(size: WalkSize, times: float, rows: int) -> None:
    tiles = plan_tiles(size, int(size.need(1, 1) * times), rows_together=rows)
    tall, wide = tiles[0].shape
    in_bands = wide == size.grid.shape[1]
    if in_bands and rows <= size.grid.shape[0] and size.need(rows, wide) <= int(size.need(1, 1) * times):
        assert tall % rows == 0


def test_frames_read_at_once_do_not_depend_on_the_memory_allowed() -> None:
    size = WalkSize(SiteGrid((512, 512), 64, 8), 500, 64)
    assert size.frames_at_once(7, 57) == replace(size, maps_in_memory=True).frames_at_once(7, 57)
