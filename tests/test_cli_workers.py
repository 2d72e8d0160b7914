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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a video."""
    np.save(tmp_path / "v.npy", np.random.default_rng(3).poisson(9, (24, 256, 256)).astype(np.uint16))
    return tmp_path


def test_workers_import_nothing_from_the_folder_that_the_user_is_in(folder: Path) -> None:
    for name in ("torch", "distributed", "grp"):
        (folder / f"{name}.py").write_text("open('imported', 'w').close()\nraise SystemExit(f'{__name__}')\n")
    done = type_in(*ANALYZE, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sites"] == [25, 25]
    assert not (folder / "imported").exists()


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent as a signal")
@pytest.mark.parametrize("while_they", ["start", "work"])
def test_ctrl_c_ends_a_command_with_workers_without_a_traceback(folder: Path, while_they: str) -> None:
    frames = np.random.default_rng(3).poisson(9, (400, 256, 256)).astype(np.uint16)
    np.save(folder / "v.npy", np.tile(frames, (1, 2, 2)))
    # A shell sends it to all processes of a command.
    running = subprocess.Popen(
        [COMMAND, *ANALYZE],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    time.sleep(2.5)
    journal = folder / ".r.zarr.journal"
    while while_they == "work" and not journal.exists() and running.poll() is None:
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert b"Stopped; what was finished is kept" in errors
    assert b"Traceback" not in errors
    assert b"Exception" not in errors
