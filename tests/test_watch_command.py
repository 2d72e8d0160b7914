"""`hrtem-vae watch`: a line for each update, a result at the end, exit codes."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import tifffile

import napari_hrtem_vae as hv
from napari_hrtem_vae.cli import main
from napari_hrtem_vae.io import growing
from napari_hrtem_vae.vae import live_reading

COMMAND = Path(sys.executable).with_name("hrtem-vae")
UPDATE = {
    *("event", "folder", "result", "model", "seconds", "lag_s", "sites", "device", "hotspots", "notices"),
    *("landed", "frames", "waiting", "skipped", "broken", "other_size", "late", "earlier", "unusable"),
    *("foreign", "missing"),
}


def write(folder: Path, count: int, first: int = 0, size: int = 96) -> None:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(first)
    for number in range(first, first + count):
        frame = rng.poisson(20, (size, size)).astype(np.uint16)
        frame[30:60, 30:60] += number
        tifffile.imwrite(folder / "aside.part", frame)
        os.replace(folder / "aside.part", folder / f"frame_{number:04d}.tif")


class Output(io.TextIOWrapper):
    """Standard output of a command; `react` gets each line before it is written."""

    def __init__(self, file: BinaryIO, react: Callable[[dict], None]) -> None:
        super().__init__(file, encoding="utf-8")
        self.lines: list[dict] = []
        self._react = react

    def write(self, text: str) -> int:
        self.lines.append(json.loads(text))
        self._react(self.lines[-1])
        return super().write(text)


@pytest.fixture
def watch(tmp_path: Path, monkeypatch, capsys):
    """Type the command in: its exit code, its lines, what it says on standard error."""
    # No frame is skipped for want of time, however busy the machine is.
    monkeypatch.setattr(live_reading, "_MOST_WAITING_S", 1e6)
    monkeypatch.chdir(tmp_path)

    def watch(
        *arguments: str, react: Callable[[dict], None] = lambda _: None, into: int | str = os.devnull
    ) -> tuple[int, list[dict], str]:
        monkeypatch.setattr(sys, "argv", ["hrtem-vae", "watch", *arguments])
        with open(into, "wb") as file, Output(file, react) as output:
            monkeypatch.setattr(sys, "stdout", output)
            with pytest.raises(SystemExit) as end:
                main()
        monkeypatch.undo()
        return end.value.code, output.lines, " ".join(capsys.readouterr().err.split())

    return watch


def first_update(reaction: Callable[[], object]) -> Callable[[dict], None]:
    """React to the first line that tells of maps."""
    done: list[dict] = []

    def react(line: dict) -> None:
        if line["event"] == "update" and not done:
            done.append(line)
            reaction()

    return react


def test_each_update_is_a_line_and_the_end_is_a_result(tmp_path: Path, watch) -> None:
    folder = tmp_path / "frames"
    write(folder, 10)
    code, lines, errors = watch(
        *("frames", "--until", "16", "-o", "r.zarr", "--json", "--pixel-size", "0.014"),
        react=first_update(lambda: write(folder, 6, 10)),
    )
    assert (code, errors) == (0, "")
    events = [line["event"] for line in lines]
    assert events == ["waiting", *["update"] * (len(lines) - 2), "end"]
    assert len(lines) >= 4
    assert all(set(line) >= UPDATE for line in lines[1:])
    assert {line["result"] for line in lines} == {"r.zarr"}
    last = lines[-1]
    assert (last["landed"], last["frames"], last["ended"]) == (16, 16, "until")
    assert last["sites"] == [5, 5]
    for spot in last["hotspots"]:
        assert set(spot) == {"y", "x", "area", "unit", "strength"}
        assert spot["unit"] == "nm"
    assert hv.open_result(tmp_path / "r.zarr")["z"].shape == (16, 5, 5, 64)


def test_empty_folder_is_waited_for_until_a_signal(tmp_path: Path, watch) -> None:
    (tmp_path / "frames").mkdir()
    code, lines, errors = watch("frames", react=lambda _: signal.raise_signal(signal.SIGTERM))
    assert code == 143
    assert [(line["event"], line["folder"]) for line in lines] == [("waiting", "frames")]
    assert "before a frame had landed" in errors
    assert list(tmp_path.iterdir()) == [tmp_path / "frames"]


def test_folder_deleted_while_watched_ends_with_a_sentence_and_a_result(
    tmp_path: Path, watch, monkeypatch
) -> None:
    monkeypatch.setattr(growing, "_GONE_S", 0.3)
    write(tmp_path / "frames", 12)
    code, lines, errors = watch("frames", react=first_update(lambda: shutil.rmtree(tmp_path / "frames")))
    assert code == 1
    assert "frames is gone" in errors
    assert "kept in frames-watched.zarr" in errors
    assert (lines[-1]["event"], lines[-1]["ended"]) == ("end", "gone")
    assert hv.open_result(tmp_path / "frames-watched.zarr").sizes["time"] == lines[-1]["frames"]


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent as a signal")
def test_ctrl_c_ends_the_process_and_keeps_its_result(tmp_path: Path) -> None:
    write(tmp_path / "frames", 12)
    process = subprocess.Popen(
        [COMMAND, "watch", "frames"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while json.loads(process.stdout.readline())["event"] != "update":
        pass
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in errors
    end = json.loads(out.splitlines()[-1])
    assert (end["event"], end["ended"]) == ("end", "stopped")
    kept = hv.open_result(tmp_path / "frames-watched.zarr")
    # A busy machine may have skipped some.
    assert kept.sizes["time"] == end["frames"] + end["skipped"] >= 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames", "frames-watched.zarr"]


def test_reader_that_goes_away_ends_the_watch_with_a_result(tmp_path: Path, watch) -> None:
    write(tmp_path / "frames", 12)
    reader, writer = os.pipe()
    code, _, errors = watch("frames", react=first_update(lambda: os.close(reader)), into=writer)
    assert code == 1
    assert "Nobody reads" in errors
    assert hv.open_result(tmp_path / "frames-watched.zarr").sizes["time"] >= 4


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("gone",), 1, "no folder gone"),
        (("file.tif",), 1, "file.tif is a file"),
        (("frames", "-o", "taken.zarr"), 1, "taken.zarr exists already"),
        (("frames", "--last", "3"), 2, "last is 3"),
        (("frames", "--until", "0"), 2, "until is 0"),
        (("frames", "--idle", "-1"), 2, "idle is -1"),
        (("frames", "--pixel-size", "0"), 2, "pixel_size_nm is 0"),
        (("frames", "--idle", "0.1"), 1, "No frame has landed in frames"),
        ((), 2, "Missing argument"),
    ],
)
def test_what_is_wrong_is_one_line_and_a_code(tmp_path: Path, watch, arguments, code: int, says: str) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "taken.zarr").mkdir()
    (tmp_path / "file.tif").write_bytes(b"")
    returned, _, errors = watch(*arguments)
    assert returned == code
    assert says in errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.tif", "frames", "taken.zarr"]
