"""`--workers` as a user types it: processes of this computer that share an analysis."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from .test_cli import COMMAND, type_in

pytest.importorskip("distributed")
ANALYZE = ("analyze", "v.npy", "-o", "r.zarr", "--pixel-size", "0.014", "--workers", "2", "--json")


def write_video(folder: Path, frames: int, tiled: int) -> None:
    """Noise of 256 × 256 px, so many times beside itself and below."""
    noise = np.random.default_rng(3).poisson(9, (frames, 256, 256)).astype(np.uint16)
    np.save(folder / "v.npy", np.tile(noise, (1, tiled, tiled)))


def test_workers_import_nothing_from_the_folder_that_the_user_is_in(tmp_path: Path) -> None:
    write_video(tmp_path, frames=24, tiled=1)
    for name in ("torch", "distributed", "grp"):
        (tmp_path / f"{name}.py").write_text(
            "open('imported', 'w').close()\nraise SystemExit(f'{__name__}')\n"
        )
    done = type_in(*ANALYZE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sites"] == [25, 25]
    assert not (tmp_path / "imported").exists()


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent as a signal")
@pytest.mark.parametrize("while_they", ["start", "work"])
def test_ctrl_c_ends_a_command_with_workers_without_a_traceback(tmp_path: Path, while_they: str) -> None:
    write_video(tmp_path, frames=400, tiled=2)
    # A shell sends it to all processes of a command.
    running = subprocess.Popen(
        [COMMAND, *ANALYZE],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    time.sleep(2.5)
    journal = tmp_path / ".r.zarr.journal"
    while while_they == "work" and not journal.exists() and running.poll() is None:
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert b"Stopped; what was finished is kept" in errors
    assert b"Traceback" not in errors
    assert b"Exception" not in errors
