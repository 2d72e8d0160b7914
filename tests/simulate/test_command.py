"""The command `simulate` as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np

import napari_hrtem_vae as hv
from napari_hrtem_vae.simulate.parameters import ScenarioParameters
from napari_hrtem_vae.simulate.scenes import SCENARIOS

COMMAND = [str(Path(sys.executable).with_name("hrtem-vae")), "simulate"]


def type_in(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, cwd=cwd, check=False)


def test_help_names_every_scenario_and_every_field(tmp_path: Path) -> None:
    said = type_in("--help", cwd=tmp_path).stdout
    assert all(name in said for name in SCENARIOS)
    for field in fields(ScenarioParameters):
        assert f"--{field.metadata.get('option', field.name).replace('_', '-')} " in said


def test_options_arrive_in_the_video(tmp_path: Path) -> None:
    options = "--frames 3 --rows 64 --columns 96 --seed 5 --dose 40 --gain 2 --drift-px 3 --amount 2"
    done = type_in("rotation+drift", "-o", "v.zarr", "--json", *options.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"video": "v.zarr", "truth": "v-truth.zarr", "frames": 3, "seed": 5}
    scene = hv.simulate(
        "rotation+drift", frames=3, rows=64, columns=96, seed=5, dose=40.0, gain=2.0, drift_px=3.0, amount=2.0
    )
    np.testing.assert_array_equal(hv.open_video(tmp_path / "v.zarr").values, scene["video"].values)


def test_wrong_values_are_one_sentence_and_leave_nothing(tmp_path: Path) -> None:
    for arguments, says in (
        (("static", "--imaging", "x-ray"), "imaging is 'x-ray'; give one of fast, multislice"),
        (("static+statics",), "no scenario statics"),
        (("static", "--gain", "1e4"), "saturates the camera"),
    ):
        done = type_in(*arguments, "-o", "v.zarr", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert says in done.stderr
        assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
