"""Files of tensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from napari_hrtem_vae.vae.tensor_file import WRITE_ERRORS, write_tensors


def test_tensors_come_back_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tensors = {"whole": torch.arange(6.0).reshape(2, 3), "turned": torch.arange(6.0).reshape(2, 3).T}
    write_tensors(path, tensors, {"made": "here"})
    found = load_file(path)
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_may_be_read_by_whom_other_new_files_may(tmp_path: Path) -> None:
    path, other = tmp_path / "x.safetensors", tmp_path / "other"
    write_tensors(path, {"a": torch.zeros(1)}, {})
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode


def test_what_cannot_be_written_leaves_the_old(tmp_path: Path) -> None:
    place = tmp_path / "taken"
    place.mkdir()
    (place / "old").touch()
    with pytest.raises(WRITE_ERRORS):
        write_tensors(place, {"a": torch.zeros(1)}, {})
    assert [entry.name for entry in tmp_path.rglob("*")] == ["taken", "old"]
