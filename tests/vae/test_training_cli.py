"""The command train as a user types it: what it writes, and what is left when it ends early."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_hrtem_vae.cli import main
from napari_hrtem_vae.vae.model import load_model

COMMAND = Path(sys.executable).with_name("hrtem-vae")
RECIPE = "segments: 160\nepochs: 2\nwarmup_epochs: 1\nbeta: 1.0e-6\nlearning_rate: 3.0e-3\nbatch: 8\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recipes and three stills of fringes."""
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    (tmp_path / "long.yaml").write_text(RECIPE.replace("epochs: 2", "epochs: 500"))
    (tmp_path / "stills").mkdir()
    rng, x = np.random.default_rng(0), np.arange(150)[None].repeat(150, 0)
    for number in range(3):
        counts = rng.poisson(100 + 80 * np.cos(2 * np.pi * (x + 3 * number) / 20))
        tifffile.imwrite(tmp_path / "stills" / f"still_{number}.tif", counts.astype(np.uint16))
    return tmp_path


def typed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str
) -> tuple[int, str, str]:
    """The same in this process: code, output and errors."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["hrtem-vae", "train", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, *capsys.readouterr()


def type_in(folder: Path, *arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "train", *arguments], capture_output=True, text=True, cwd=folder, check=False, **options
    )


def test_stills_of_a_folder_train_a_model_and_json_tells_how(folder: Path, capsys, monkeypatch) -> None:
    arguments = ("stills", "-o", "m.safetensors", "--recipe", "tiny.yaml")
    code, out, err = typed(capsys, monkeypatch, folder, *arguments, "--json")
    assert (code, err) == (0, "")
    record = json.loads(out)
    assert (record["model"], record["segments"], len(record["curves"])) == ("m.safetensors", 160, 2)
    assert record["active_latents"] >= 2
    assert record["share_kept"] > 0.9
    assert record["seconds"] > 0
    card = load_model(folder / "m.safetensors").card
    assert card.name == "m"
    assert len(card.training["data"]) == 3
    assert "hrtem-vae train" in card.training["command"]
    assert not (folder / "m.checkpoint").exists()
    # Again, for a person: a line an epoch, and a table; the older model is replaced.
    before = (folder / "m.safetensors").read_bytes()
    code, out, err = typed(capsys, monkeypatch, folder, *arguments, "--epochs", "1")
    assert code == 0
    assert "epoch   1 of 1" in err
    assert "active latents" in out
    assert (folder / "m.safetensors").read_bytes() != before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
def test_interrupt_keeps_the_best_and_the_same_command_goes_on(folder: Path, capsys, monkeypatch) -> None:
    arguments = ["train", "stills", "-o", "m.safetensors", "--recipe", "long.yaml"]
    with subprocess.Popen(
        [COMMAND, *arguments], cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stderr:
            if line.startswith("epoch   2 of 500"):
                break
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait() == 130
    assert "The best model so far is in m.safetensors." in said
    assert "the same command goes on after the last finished epoch" in said
    assert "Traceback" not in said
    stopped = load_model(folder / "m.safetensors").card.training
    with subprocess.Popen(
        [COMMAND, *arguments], cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        first = next(line for line in process.stderr if line.startswith("epoch"))
        process.send_signal(signal.SIGINT)
        process.stderr.read()
        assert process.wait() == 130
    # One more where the interrupt came between an epoch's checkpoint and its telling.
    assert int(first.split()[1]) - len(stopped["curves"]) in (1, 2)
    resumed = load_model(folder / "m.safetensors").card.training["curves"]
    assert resumed[: len(stopped["curves"])] == stopped["curves"]
    code, _, err = typed(capsys, monkeypatch, folder, *arguments[1:], "--seed", "4")
    assert code == 1
    assert "m.checkpoint is of another recipe: seed was 0, now it is 4" in err


def test_full_disk_leaves_the_last_good_model_and_says_so(folder: Path) -> None:
    resource = pytest.importorskip("resource", reason="there are no limits on files on Windows")
    (folder / "m.safetensors").write_bytes(b"the last good model")

    def small_files_only() -> None:
        # A write beyond the limit fails as on a full disk.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    full = type_in(
        folder,
        "stills",
        "-o",
        "m.safetensors",
        "--recipe",
        "tiny.yaml",
        "--epochs",
        "1",
        preexec_fn=small_files_only,
    )
    assert full.returncode == 1
    assert "The checkpoint cannot be written to m.checkpoint" in full.stderr
    assert "The model cannot be written to m.safetensors" in full.stderr
    assert "Traceback" not in full.stderr
    assert (folder / "m.safetensors").read_bytes() == b"the last good model"
    assert sorted(one.name for one in folder.iterdir()) == [
        "long.yaml", "m.safetensors", "stills", "tiny.yaml",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["gone.tif"], 1, "gone.tif does not exist"),
        (["stills", "--device", "cuda:99"], 2, "no device cuda:99"),
        (["stills", "--epochs", "0"], 2, "epochs is 0"),
        (["stills", "--threshold", "-1"], 2, "fringe_threshold is -1"),
        (["stills", "--recipe", "wrong.yaml"], 2, "an entry 'epoch', which none has; allowed are name"),
        (["stills", "--threshold", "1e6"], 1, "No lattice fringes were found"),
    ],
)
def test_what_is_wrong_is_one_line_and_a_code(
    folder: Path, capsys, monkeypatch, arguments, code: int, says: str
) -> None:
    (folder / "wrong.yaml").write_text("epoch: 3\n")
    ended, out, err = typed(capsys, monkeypatch, folder, *arguments, "-o", "m.safetensors")
    assert (ended, out) == (code, "")
    assert says in err
    assert err.count("Error:") == 1
    assert not (folder / "m.safetensors").exists()
