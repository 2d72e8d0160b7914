"""A latent field that grows on disk: what it becomes, and what is left when its run is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from napari_hrtem_vae.errors import ResultError
from napari_hrtem_vae.io.growing_field import GrowingField
from napari_hrtem_vae.io.results import open_result
from napari_hrtem_vae.io.results_probe import RESULT_KEY

SHAPE = (2, 3, 4)
KILLED = f"""
import os, signal, sys
import numpy as np
from napari_hrtem_vae.io.growing_field import GrowingField
field = GrowingField(sys.argv[1], {SHAPE})
for number in range(70):
    field.add(np.full({SHAPE}, number, np.float32))
os.kill(os.getpid(), signal.SIGKILL)
"""


def frames_of(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, *SHAPE)).astype(np.float32)


def rest_of(count: int) -> xr.Dataset:
    sizes = dict(zip(("time", "y", "x", "latent"), (count, *SHAPE), strict=True))
    coords = {name: np.arange(size) for name, size in sizes.items()}
    return xr.Dataset(coords=coords, attrs={RESULT_KEY: "analysis"})


def filled(path: Path, frames: np.ndarray) -> GrowingField:
    field = GrowingField(path, SHAPE)
    for frame in frames:
        field.add(frame)
    return field


@pytest.mark.parametrize("count", [1, 32, 75])
def test_what_was_added_is_the_result_whatever_fills_the_last_chunk(tmp_path: Path, count: int) -> None:
    frames = frames_of(count)
    field = filled(tmp_path / "r.zarr", frames)
    assert not (tmp_path / "r.zarr").exists()
    field.finish(rest_of(count))
    np.testing.assert_array_equal(open_result(tmp_path / "r.zarr")["z"], frames)
    assert list(tmp_path.iterdir()) == [tmp_path / "r.zarr"]


def test_two_runs_to_one_place_both_keep_what_they_have(tmp_path: Path) -> None:
    one, two = frames_of(40), -frames_of(40)
    first, second = filled(tmp_path / "r.zarr", one), filled(tmp_path / "r.zarr", two)
    first.finish(rest_of(40))
    second.finish(rest_of(40))
    np.testing.assert_array_equal(open_result(tmp_path / "r.zarr")["z"], one)
    np.testing.assert_array_equal(open_result(tmp_path / "r-2.zarr")["z"], two)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r-2.zarr", "r.zarr"]


def test_discarded_field_leaves_nothing_and_a_finished_one_stays(tmp_path: Path) -> None:
    field = filled(tmp_path / "r.zarr", frames_of(40))
    field.discard()
    assert list(tmp_path.iterdir()) == []
    field = filled(tmp_path / "r.zarr", frames_of(40))
    field.finish(rest_of(40))
    field.discard()
    assert open_result(tmp_path / "r.zarr").sizes["time"] == 40


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_what_a_killed_run_left_is_removed_by_the_next_to_the_same_place(tmp_path: Path) -> None:
    other = filled(tmp_path / "other.zarr", frames_of(40))
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "r.zarr"], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "r.zarr").exists()
    assert any(path.name.startswith(".r.zarr") for path in tmp_path.iterdir())
    frames = frames_of(40)
    filled(tmp_path / "r.zarr", frames).finish(rest_of(40))
    np.testing.assert_array_equal(open_result(tmp_path / "r.zarr")["z"], frames)
    other.finish(rest_of(40))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.zarr", "r.zarr"]


def test_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ResultError, match="cannot be written"):
        GrowingField(tmp_path / "file" / "r.zarr", SHAPE)
