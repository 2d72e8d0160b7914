"""Videos written while they are simulated."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import napari_hrtem_vae as hv
from napari_hrtem_vae.errors import ParameterError, ResultError
from napari_hrtem_vae.progress import run
from napari_hrtem_vae.simulate.parameters import ScenarioParameters
from napari_hrtem_vae.simulate.scenarios import truth_path, write_simulation_steps

SMALL = {"frames": 23, "rows": 64, "columns": 96}


def test_what_is_written_is_what_is_simulated_in_memory(tmp_path: Path) -> None:
    parameters = ScenarioParameters(seed=6, **SMALL)
    video, truth = run(write_simulation_steps("rotation+drift+growth", parameters, tmp_path / "v.zarr"))
    assert truth == truth_path(video)
    scene = hv.simulate("rotation+drift+growth", seed=6, **SMALL)
    opened = hv.open_video(video)
    np.testing.assert_array_equal(opened.values, scene["video"].values)
    assert (opened.attrs["pixel_size_nm"], opened.attrs["frame_time_s"]) == (0.014, pytest.approx(0.95))
    xr.testing.assert_identical(xr.open_zarr(truth, consolidated=False).load(), scene.drop_vars("video"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v-truth.zarr", "v.zarr"]


@pytest.mark.parametrize("steps", [1, 2, 15])
def test_stopped_work_leaves_nothing(tmp_path: Path, steps: int) -> None:
    work = write_simulation_steps("static", ScenarioParameters(**SMALL), tmp_path / "v.zarr")
    for _ in range(steps):
        next(work)
    work.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_in_nobodys_way(tmp_path: Path) -> None:
    for name in (".v.zarr.part", ".v-truth.zarr.part"):
        (tmp_path / name / "video" / "c").mkdir(parents=True)
    run(write_simulation_steps("static", ScenarioParameters(**SMALL), tmp_path / "v.zarr"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v-truth.zarr", "v.zarr"]
    assert hv.open_video(tmp_path / "v.zarr").shape == (23, 64, 96)


def test_memory_does_not_grow_with_the_length_of_the_video(tmp_path: Path) -> None:
    def peak_of(frames: int) -> int:
        parameters = ScenarioParameters(frames=frames, rows=128, columns=160)
        tracemalloc.start()
        run(write_simulation_steps("static", parameters, tmp_path / f"{frames}.zarr"))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    peak_of(1)  # what is imported at first use
    # 80 frames more are 8 MB, and 60 kB in tables.
    assert peak_of(100) - peak_of(20) < 1e6


def test_a_place_that_is_taken_is_refused_before_the_work(tmp_path: Path) -> None:
    truth_path(tmp_path / "v.zarr").mkdir()
    with pytest.raises(ResultError, match=r"v-truth\.zarr exists already"):
        next(write_simulation_steps("static", ScenarioParameters(**SMALL), tmp_path / "v.zarr"))
    assert [path.name for path in tmp_path.iterdir()] == ["v-truth.zarr"]


def test_a_video_larger_than_the_disk_is_refused_with_its_size(tmp_path: Path) -> None:
    huge = ScenarioParameters(frames=100_000, rows=2000, columns=2000)
    with pytest.raises(ResultError, match=r"takes up to 4400\.0 GB"):
        next(write_simulation_steps("+".join(["static"] * 8), huge, tmp_path / "v.zarr"))
    assert list(tmp_path.iterdir()) == []


def test_a_frame_larger_than_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="1 at once"):
        next(
            write_simulation_steps(
                "static", ScenarioParameters(rows=100_000, columns=100_000), tmp_path / "v.zarr"
            )
        )
