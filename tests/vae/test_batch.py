"""Many videos, one table: each has its row, one that fails stops none, and what is done is not done again."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import napari_hrtem_vae as hv
from napari_hrtem_vae.errors import ModelFileError, ParameterError
from napari_hrtem_vae.io.source import VideoSource
from napari_hrtem_vae.progress import run
from napari_hrtem_vae.vae.batch import BatchRow, analyze_batch_steps
from napari_hrtem_vae.vae.model import save_model
from napari_hrtem_vae.vae.parameters import AnalyzeParameters

from ..conftest import random_model

MAPS_ALONE = AnalyzeParameters(keep_field=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two videos, a file that is none between them, and a model."""
    rng = np.random.default_rng(4)
    for name, frames in (("first", 12), ("last", 9)):
        np.save(tmp_path / f"{name}.npy", rng.poisson(9, (frames, 96, 88)).astype(np.uint16))
    (tmp_path / "broken.npy").write_text("no video")
    save_model(random_model(), tmp_path / "m.safetensors")
    return tmp_path


def batch(folder: Path, parameters: AnalyzeParameters = MAPS_ALONE, **options: object) -> list[BatchRow]:
    sources = [VideoSource(str(folder / f"{name}.npy")) for name in ("first", "broken", "last")]
    return run(
        analyze_batch_steps(sources, folder / "out", str(folder / "m.safetensors"), parameters, **options)
    )


def test_one_that_fails_stops_none_and_all_stand_in_the_table(folder: Path) -> None:
    rows = batch(folder, table=folder / "table.csv")
    assert [row.frames for row in rows] == [12, -1, 9]
    assert "broken.npy is no npy file" in rows[1].error
    with (folder / "table.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [Path(row["video"]).name for row in table] == ["first.npy", "broken.npy", "last.npy"]
    assert [row["frames"] for row in table] == ["12", "", "9"]
    assert [bool(row["error"]) for row in table] == [False, True, False]
    for row in (rows[0], rows[2]):
        result = hv.open_result(row.result)
        assert row.hotspots == result.sizes["hotspot"]
        assert (row.sites_y, row.sites_x) == (result.sizes["y"], result.sizes["x"])
        assert row.changed_area == pytest.approx(float(result["hotspot_area"].sum()))


def test_run_again_it_does_what_is_missing_alone(folder: Path) -> None:
    before = batch(folder)
    np.save(folder / "broken.npy", np.load(folder / "first.npy"))
    made = {row.result: Path(row.result, "zarr.json").stat().st_mtime_ns for row in before if not row.error}
    after = batch(folder)
    assert [row.error for row in after] == ["", "", ""]
    assert after[0] == before[0]
    assert after[1].hotspots == before[0].hotspots
    for store, written in made.items():
        assert Path(store, "zarr.json").stat().st_mtime_ns == written


def test_results_of_other_parameters_are_not_taken_for_these(folder: Path) -> None:
    batch(folder)
    rows = batch(folder, AnalyzeParameters(keep_field=False, step=16))
    assert "holds a result with another parameters; choose another folder" in rows[0].error
    assert "another parameters" in rows[2].error


def test_videos_of_one_name_no_videos_and_no_model_are_refused_before_any_work(folder: Path) -> None:
    twice = [VideoSource(str(folder / "first.npy")), VideoSource(str(folder / "else" / "first.npy"))]
    with pytest.raises(ParameterError, match=r"would have one result, first-result\.zarr"):
        run(analyze_batch_steps(twice, folder / "out", "pbs-64-fast", MAPS_ALONE))
    with pytest.raises(ParameterError, match="no video"):
        run(analyze_batch_steps([], folder / "out", "pbs-64-fast", MAPS_ALONE))
    with pytest.raises(ModelFileError):
        run(analyze_batch_steps(twice[:1], folder / "out", "nonesuch", MAPS_ALONE))
    assert not (folder / "out").exists()


def test_command_ends_with_1_when_a_video_failed(folder: Path) -> None:
    command = [Path(sys.executable).with_name("hrtem-vae"), "batch", "first.npy", "broken.npy", "-o", "out"]
    words = [*map(str, command), "--model", "m.safetensors", "--maps-only", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 1, done.stderr
    record = json.loads(done.stdout)
    assert record["failed"] == 1
    assert record["videos"][0]["frames"] == 12
    assert "broken.npy" in record["videos"][1]["error"]
    assert Path(folder, record["table"]) == folder / "out" / "table.csv"
    assert (folder / "out" / "table.csv").is_file()
