"""The command line as a user types it: output, JSON, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

COMMAND = Path(sys.executable).with_name("hrtem-vae")


def type_in(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, check=False
    )


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scene")
    done = type_in(
        "simulate",
        "rotation",
        "-o",
        "video.zarr",
        "--rows",
        "128",
        "--columns",
        "256",
        "--frames",
        "8",
        "--json",
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["truth"] == "video-truth.zarr"
    return folder


def test_analyze_writes_the_promised_json_store_and_pictures(scene: Path) -> None:
    done = type_in("analyze", "video.zarr", "-o", "result.zarr", "--export", "out", "--json", cwd=scene)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert {"result", "frames", "sites", "model", "device", "seconds", "hotspots"} <= set(record)
    assert (record["frames"], record["sites"], record["model"]) == (8, [9, 25], "pbs-64-fast")
    for spot in record["hotspots"]:
        assert set(spot) == {"y", "x", "area", "unit", "strength"}
    import napari_hrtem_vae as hv

    assert hv.open_result(scene / "result.zarr")["z"].shape == (8, 9, 25, 64)
    assert {"change.tif", "maps.png", "hotspots.csv"} <= {path.name for path in (scene / "out").iterdir()}
    again = type_in("analyze", "video.zarr", "-o", "result.zarr", cwd=scene)
    assert again.returncode == 1
    assert again.stderr.startswith("Error: result.zarr exists already")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("analyze", "nothing.dm4"), 1, "nothing.dm4"),
        (("analyze", "video.zarr", "--model", "nonesuch"), 1, "no model nonesuch"),
        (("analyze", "video.zarr", "--step", "0"), 1, "step is 0"),
        (("analyze", "video.zarr", "--pixel-size", "-1"), 1, "pixel_size_nm"),
        (("train", "simulated", "-o", "m.safetensors", "--recipe", "nonesuch"), 1, "no recipe nonesuch"),
        (("simulate", "explosion", "-o", "x.zarr"), 1, "no scenario explosion"),
        (("view", "gone.zarr"), 1, "gone.zarr"),
        (("analyze",), 2, "Missing argument"),
        (("analyze", "video.zarr", "--no-such-option"), 2, "No such option"),
        (("dance",), 2, "No such command"),
    ],
)
def test_what_is_wrong_is_one_line_and_a_code(scene: Path, arguments, code: int, says: str) -> None:
    done = type_in(*arguments, cwd=scene)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_debug_shows_where_it_went_wrong(scene: Path) -> None:
    assert "Traceback" in type_in("--debug", "analyze", "nothing.dm4", cwd=scene).stderr


def test_one_frame_is_analysed_and_says_what_is_missing(scene: Path) -> None:
    np.save(scene / "still.npy", np.random.default_rng(0).poisson(10, (80, 80)))
    done = type_in("analyze", "still.npy", "-o", "still.zarr", cwd=scene)
    assert done.returncode == 0, done.stderr
    assert "no time axis" in " ".join(done.stderr.split())


def test_models_lists_what_is_shipped(scene: Path) -> None:
    models = json.loads(type_in("models", "--json", cwd=scene).stdout)["models"]
    assert [model["name"] for model in models] == ["pbs-64-fast", "pbs-64"]
    for model in models:
        assert model["size_mb"] < 10
        assert model["pixel_size_nm"] == 0.014


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent as a signal")
def test_ctrl_c_keeps_what_was_finished_and_the_same_command_goes_on(tmp_path: Path) -> None:
    made = type_in(
        "simulate",
        "static",
        "-o",
        "v.zarr",
        "--rows",
        "512",
        "--columns",
        "512",
        "--frames",
        "24",
        cwd=tmp_path,
    )
    assert made.returncode == 0
    command = [COMMAND, "analyze", "v.zarr", "-o", "r.zarr", "--json"]
    running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    journal = tmp_path / ".r.zarr.journal"
    for _ in range(600):
        if journal.exists() and json.loads(journal.read_text())["finished"]:
            break
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert b"Traceback" not in errors
    assert json.loads(journal.read_text())["finished"]
    done = type_in(*command[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not journal.exists()
