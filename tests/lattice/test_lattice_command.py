"""`hrtem-vae lattice` as a user types it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import napari_hrtem_vae as hv
from napari_hrtem_vae.cli import main

from .scenes import PAIR, film, paint, video


@dataclass
class Done:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def type_in(folder: Path, monkeypatch, capsys) -> Callable[..., Done]:
    """Run the command as the entry point does, in the folder of the videos."""
    monkeypatch.chdir(folder)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["hrtem-vae", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return Done(int(end.value.code or 0), said.out, said.err)

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    import tifffile

    place = tmp_path_factory.mktemp("lattice")
    frames = video([paint(list(PAIR)) + film((256, 256), 0)] * 3, dose=30.0).values
    tifffile.imwrite(place / "pair.tif", frames.astype(np.uint16), metadata={"axes": "TYX"})
    noise = np.random.default_rng(0).poisson(20, (2, 128, 128)).astype(np.uint16)
    tifffile.imwrite(place / "noise.tif", noise, metadata={"axes": "TYX"})
    return place


def test_json_store_and_export(folder: Path, type_in) -> None:
    done = type_in(
        "lattice",
        "pair.tif",
        "--pixel-size",
        "0.03",
        "--frame-time",
        "2",
        "--export",
        "out",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["frames"], record["grains"], record["unreliable_frames"]) == (3, 2, 0)
    assert record["misfit_deg"] == pytest.approx([12, 12], abs=0.5)
    assert 0 < record["misfit_sigma_deg"] < 0.3
    for ends in record["area_nm2"]:
        assert ends == pytest.approx([6400 * 0.03**2] * 2, rel=0.15)
    result = hv.open_result(folder / record["result"])
    assert result["time"].values.tolist() == [0, 2, 4]
    assert {"lattice.csv", "lattice.png", "change.png"} <= {path.name for path in (folder / "out").iterdir()}


def test_table_names_each_grain_and_the_misfit(folder: Path, type_in) -> None:
    done = type_in("lattice", "pair.tif", "-o", "table.zarr", "--grains", "2", "--symmetry", "4")
    assert done.returncode == 0, done.stderr
    assert "misfit" in done.stdout
    assert "pixel size is unknown" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("noise.tif",), 1, "No lattice stands out"),
        (("gone.tif",), 1, "gone.tif"),
        (("pair.tif", "--grains", "9"), 2, "n_grains is 9"),
        (("pair.tif", "--symmetry", "5"), 2, "symmetry is 5"),
        (("pair.tif", "--symmetry", "round"), 2, "symmetry is 'round'"),
        (("pair.tif", "-o", "noise.tif"), 1, "exists already"),
        (("pair.tif", "-o", "new.zarr", "--export", "noise.tif"), 1, "is a file"),
    ],
)
def test_what_is_wrong_is_one_line_and_a_code(folder: Path, type_in, arguments, code: int, says: str) -> None:
    before = sorted(folder.iterdir())
    done = type_in("lattice", *arguments)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(folder.iterdir()) == before
