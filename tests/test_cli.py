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
        (("analyze", "video.zarr", "--step", "0"), 2, "step is 0"),
        (("analyze", "video.zarr", "--pixel-size", "-1"), 2, "pixel_size_nm"),
        (("train", "simulated", "-o", "m.safetensors", "--recipe", "nonesuch"), 2, "no recipe nonesuch"),
        (("simulate", "explosion", "-o", "x.zarr"), 2, "no scenario explosion"),
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


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("analyze", "video.zarr", "-o", "video-truth.zarr"), "video-truth.zarr exists already"),
        (("analyze", "video.zarr", "-o", "still/r.zarr"), "still/r.zarr"),
        (("analyze", "video.zarr", "-o", "new.zarr", "--export", "still"), "still is a file"),
        (("simulate", "static", "-o", "video.zarr", "--frames", "100000"), "video.zarr exists already"),
        (("simulate", "static", "-o", "still/v.zarr", "--frames", "100000"), "still/v.zarr"),
        (("train", "simulated", "-o", "gone/m.safetensors"), "cannot be written to gone/m.safetensors"),
        (("train", "simulated", "-o", "still"), "still exists already and is no model file"),
        (("train", "simulated", "-o", "."), "exists already and is no model file"),
    ],
)
def test_place_that_cannot_serve_is_refused_before_the_work(
    scene: Path, tmp_path: Path, arguments, says: str
) -> None:
    for name in ("video.zarr", "video-truth.zarr"):
        (tmp_path / name).symlink_to(scene / name, target_is_directory=True)
    (tmp_path / "still").write_text("a file")
    before = sorted(tmp_path.iterdir())
    started = time.monotonic()
    done = type_in(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    # None of these ends within a minute of work.
    assert time.monotonic() - started < 60
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--dose", "1e30", "dose_e_per_px is 1e+30"),
        ("--seed", "-1", "seed is -1"),
        ("--frames", "100000", "half of the free memory"),
    ],
)
def test_simulation_out_of_bounds_is_a_sentence(tmp_path: Path, option: str, value: str, says: str) -> None:
    sizes = ("--rows", "90000", "--columns", "90000") if option == "--frames" else ()
    done = type_in("simulate", "static", "-o", "v.zarr", option, value, *sizes, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert "ValueError" not in done.stderr


def test_failed_export_says_that_the_result_is_there(scene: Path, tmp_path: Path) -> None:
    export = tmp_path / "out"
    (export / "maps.png").mkdir(parents=True)
    result = tmp_path / "r.zarr"
    done = type_in("analyze", "video.zarr", "-o", result, "--export", export, cwd=scene)
    assert done.returncode == 1
    assert f"finished and lies in {result}" in done.stderr
    assert result.is_dir()


def test_help_tells_of_every_option_of_simulate(scene: Path) -> None:
    said = type_in("simulate", "--help", cwd=scene).stdout
    for words in ("Number of frames", "Height of a frame", "Width of a frame"):
        assert words in said


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent as a signal")
def test_ctrl_c_in_a_simulation_promises_nothing(tmp_path: Path) -> None:
    command = ["hrtem-vae", "simulate", "static", "-o", "v.zarr", "--frames", "2000"]
    code = (
        "import os, signal, sys; from napari_hrtem_vae import cli;"
        "from napari_hrtem_vae.simulate import scenarios;"
        "real = scenarios.SCENARIOS['static'];"
        "scenarios.SCENARIOS['static'] = lambda *of: os.kill(os.getpid(), signal.SIGINT) or real(*of);"
        f"sys.argv = {command!r}; cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 130
    assert "Stopped; the video is not written." in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_view_without_files_shows_the_widget(scene: Path) -> None:
    code = (
        "import sys; from napari_hrtem_vae import cli; from napari_hrtem_vae.widgets import viewer;"
        "viewer.view_files = lambda files: print('shows', files);"
        "sys.argv = ['hrtem-vae', 'view']; cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=scene, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "shows []\n")


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


def test_models_shows_one_and_draws_how_it_learned(scene: Path) -> None:
    told = type_in("models", "pbs-64-fast", "--export", "figures", "--json", cwd=scene)
    assert [model["name"] for model in json.loads(told.stdout)["models"]] == ["pbs-64-fast"]
    assert (scene / "figures" / "pbs-64-fast-training.png").is_file()
    assert json.loads(told.stdout)["figure"].endswith("pbs-64-fast-training.png")
    missing = type_in("models", "nosuch", cwd=scene)
    assert missing.returncode == 1
    assert "There is no model file nosuch" in missing.stderr
    assert type_in("models", "--export", "figures", cwd=scene).returncode == 2


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
    assert b"the same command goes on" in errors
    assert json.loads(journal.read_text())["finished"]
    done = type_in(*command[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not journal.exists()


def test_train_writes_a_model_that_analyze_takes(scene: Path) -> None:
    recipe = "segments: 320\nepochs: 3\nwarmup_epochs: 1\nbeta: 1.0e-6\nlearning_rate: 2.0e-3\n"
    (scene / "quick.yaml").write_text(recipe)
    done = type_in(
        "train", "simulated", "--recipe", "quick.yaml", "-o", "quick.safetensors", "--json", cwd=scene
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["active_latents"] >= 2
    used = type_in(
        "analyze", "video.zarr", "--model", "quick.safetensors", "-o", "quick.zarr", "--json", cwd=scene
    )
    assert used.returncode == 0, used.stderr


def test_version_is_the_packages(scene: Path) -> None:
    import napari_hrtem_vae as hv

    assert type_in("--version", cwd=scene).stdout.strip() == hv.__version__
