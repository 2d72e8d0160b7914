"""A folder that grows: time is given, files are real."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from napari_hrtem_vae.errors import VideoFileError
from napari_hrtem_vae.io.growing import PATIENCE_S, SETTLE_S, GrowingFolder, State

SETTLED = 2 * SETTLE_S


def frame(value: int = 0) -> np.ndarray:
    return (np.random.default_rng(0).integers(0, 200, (32, 40)) + value).astype(np.uint16)


def save(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, frame(value))
    elif path.suffix == ".png":
        Image.fromarray(frame(value).astype(np.uint8)).save(path)
    else:
        tifffile.imwrite(path, frame(value))
    return path


def taken(folder: GrowingFolder, now: float) -> list[str]:
    """Look, and read what is ready: names, in order."""
    folder.look(now)
    return [file.path.name for file in folder.ready(now) if folder.read(file, now) is not None]


def followed(path: Path, names: list[str]) -> GrowingFolder:
    """A folder whose first files have been read at time 1."""
    for number, name in enumerate(names):
        save(path / name, number)
    folder = GrowingFolder(path)
    folder.look(0)
    assert taken(folder, 1) == names
    return folder


def test_files_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    followed(tmp_path, ["frame_2.tif", "frame_9.tif", "frame_10.tif"])


@pytest.mark.parametrize("suffix", ["tif", "npy", "png"])
def test_what_is_read_is_what_was_written(tmp_path: Path, suffix: str) -> None:
    for number in range(2):
        save(tmp_path / f"a{number}.{suffix}", number)
    folder = GrowingFolder(tmp_path)
    folder.look(0)
    folder.look(1)
    for number, file in enumerate(folder.ready(1)):
        picture = folder.read(file, 1)
        assert picture is not None
        np.testing.assert_array_equal(picture.frame, frame(number))
        assert picture.frame.dtype == np.float32


@pytest.mark.parametrize("suffix", ["tif", "npy", "png"])
def test_file_written_in_pieces_is_read_when_it_is_whole(tmp_path: Path, suffix: str) -> None:
    folder = followed(tmp_path, [f"a0.{suffix}", f"a1.{suffix}"])
    whole = save(tmp_path.with_name("aside") / f"a2.{suffix}", 7).read_bytes()
    growing = tmp_path / f"a2.{suffix}"
    now = 2.0
    for share in (0.0, 0.3, 0.6, 0.9):
        growing.write_bytes(whole[: int(share * len(whole))])
        for _ in range(4):
            assert taken(folder, now) == []
            now += SETTLED
    growing.write_bytes(whole)
    folder.look(now)
    assert taken(folder, now + SETTLED) == [growing.name]
    assert folder.count(State.BROKEN) == 0


def test_file_laid_out_in_full_and_filled_later_is_read_again(tmp_path: Path) -> None:
    folder = followed(tmp_path, ["a0.npy", "a1.npy"])
    path = save(tmp_path / "a2.npy", 0)
    os.utime(path, ns=(1, 1))
    folder.look(2)
    assert taken(folder, 3) == ["a2.npy"]
    save(path, 5)
    os.utime(path, ns=(2, 2))
    folder.look(3.5)
    (file,) = folder.ready(4)
    picture = folder.read(file, 4)
    assert picture is not None
    np.testing.assert_array_equal(picture.frame, frame(5))


def test_file_that_changes_while_it_is_read_is_not_taken(tmp_path: Path) -> None:
    folder = followed(tmp_path, ["a0.npy", "a1.npy"])
    path = save(tmp_path / "a2.npy", 0)
    folder.look(2)
    (file,) = folder.ready(3)
    # After the look and before the reading: as a writer does that is not done.
    os.utime(path, ns=(1, 1))
    assert folder.read(file, 3) is None
    assert file.state is State.WAITING


def test_file_that_stays_broken_is_given_up_and_taken_up_when_it_is_mended(tmp_path: Path) -> None:
    folder = followed(tmp_path, ["a0.tif", "a1.tif"])
    broken = tmp_path / "a2.tif"
    broken.write_bytes(b"II*\0 no picture")
    (tmp_path / "a3.tif").write_bytes(b"")
    save(tmp_path / "a4.tif", 4)
    folder.look(2)
    assert taken(folder, 2 + SETTLED) == ["a4.tif"]
    for now in np.arange(3, 4 + 2 * PATIENCE_S, 0.5):
        assert taken(folder, float(now)) == []
    assert folder.count(State.BROKEN) == 2
    assert all(file.reason for file in folder.files if file.state is State.BROKEN)
    save(broken, 2)
    now = 5 + 2 * PATIENCE_S
    folder.look(now)
    assert taken(folder, now + SETTLED) == ["a2.tif"]
    assert folder.count(State.BROKEN) == 1


def test_frame_that_is_spoilt_after_it_was_analysed_stays_one(tmp_path: Path) -> None:
    folder = followed(tmp_path, ["a0.tif", "a1.tif"])
    for number, content in enumerate((b"", b"no picture")):
        file = folder.files[number]
        file.analysed = True
        file.path.write_bytes(content)
    for now in np.arange(2, 3 + 2 * PATIENCE_S, 0.5):
        assert taken(folder, float(now)) == []
    assert [file.state for file in folder.files] == [State.TAKEN, State.TAKEN]


def test_names_of_files_written_aside_are_no_frames(tmp_path: Path) -> None:
    folder = followed(tmp_path, ["a0.tif", "a1.tif"])
    for aside in (".a2.tif", "a2.tif.part", "a2.tmp", "copying_a2.tif"):
        whole = save(tmp_path.with_name("aside") / "a2.tif", 2)
        whole.rename(tmp_path / aside)
        folder.look(2)
        assert taken(folder, 3) == []
    (tmp_path / "a2.tif.part").rename(tmp_path / "a2.tif")
    folder.look(4)
    assert taken(folder, 5) == ["a2.tif"]
    assert folder.found == 3
    assert folder.foreign == 1


def test_file_renamed_before_it_was_read_is_forgotten(tmp_path: Path) -> None:
    folder = followed(tmp_path, ["a0.tif", "a1.tif"])
    path = save(tmp_path / "a9.tif", 2)
    folder.look(2)
    path.rename(tmp_path / "a2.tif")
    folder.look(2.1)
    assert taken(folder, 3) == ["a2.tif"]
    assert folder.found == 3
    assert folder.missing == 0


def test_foreign_files_and_second_files_of_a_number_are_counted(tmp_path: Path) -> None:
    save(tmp_path / "gain_2026.tif")
    (tmp_path / "notes.txt").write_text("no frame")
    folder = GrowingFolder(tmp_path)
    folder.look(0)
    assert taken(folder, 1) == []
    for name in ("a1.tif", "a2.tif"):
        save(tmp_path / name)
    folder.look(2)
    assert taken(folder, 3) == ["a1.tif", "a2.tif"]
    save(tmp_path / "a002.tif")
    folder.look(4)
    assert taken(folder, 5) == []
    assert (folder.found, folder.foreign) == (2, 2)


def test_only_names_of_the_pattern_count(tmp_path: Path) -> None:
    for name in ("old_1.tif", "old_2.tif", "old_3.tif", "new_1.tif", "new_2.tif"):
        save(tmp_path / name)
    folder = GrowingFolder(tmp_path, "new_*")
    folder.look(0)
    assert taken(folder, 1) == ["new_1.tif", "new_2.tif"]


def test_pictures_beside_the_frames_are_left_alone(tmp_path: Path) -> None:
    for name in ("a1.png", "a1.tif", "a2.png", "a2.tif"):
        save(tmp_path / name)
    folder = GrowingFolder(tmp_path)
    folder.look(0)
    assert taken(folder, 1) == ["a1.tif", "a2.tif"]


def test_gatan_tree_is_followed_into_new_folders(tmp_path: Path) -> None:
    def name(minute: int, second: int, number: int) -> Path:
        return tmp_path / (
            f"Hour_00/Minute_{minute:02d}/Second_{second:02d}/"
            f"In_Hour_00_Minute_{minute:02d}_Second_{second:02d}_Frame_{number:04d}.tif"
        )

    folder = GrowingFolder(tmp_path)
    order = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0)]
    found = []
    for now, place in enumerate(order):
        save(name(*place), now)
        folder.look(10 * now)
        found += taken(folder, 10 * now + 1)
    assert found == [name(*place).name for place in order]


def test_missing_numbers_are_counted_and_leave_gaps(tmp_path: Path) -> None:
    folder = followed(tmp_path, ["a05.tif", "a10.tif", "a25.tif", "a30.tif"])
    assert folder.missing == 2
    assert [folder.place(file) for file in folder.files] == [0, 1, 4, 5]


def test_time_stamps_do_not_count_frames(tmp_path: Path) -> None:
    folder = followed(tmp_path, ["a1000.tif", "a1103.tif", "a1199.tif"])
    assert folder.missing is None
    assert folder.place(folder.files[0]) is None


@given(st.lists(st.integers(0, 400), min_size=2, unique=True), st.integers(1, 7), st.integers(0, 50))
def test_places_count_from_the_first_in_steps_whatever_the_order(numbers, step, start) -> None:
    from napari_hrtem_vae.io.growing import _Numbering

    numbering = _Numbering()
    for number in numbers:
        numbering = numbering.with_file((7, start + step * number))
    span = np.gcd.reduce(np.subtract(numbers, min(numbers)))
    expected = (np.subtract(numbers, min(numbers))) // span
    if expected.max() + 1 > 2 * len(numbers):
        assert numbering.missing is None
        return
    assert [numbering.place((7, start + step * number)) for number in numbers] == expected.tolist()
    assert numbering.missing == expected.max() + 1 - len(numbers)


def test_folder_that_is_missing_or_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoFileError, match="no folder"):
        GrowingFolder(tmp_path / "gone")
    (tmp_path / "file.tif").write_bytes(b"")
    with pytest.raises(VideoFileError, match="is a file"):
        GrowingFolder(tmp_path / "file.tif")


def test_folder_may_be_away_for_a_moment_but_not_for_good(tmp_path: Path) -> None:
    path = tmp_path / "recording"
    folder = followed(path, ["a1.tif", "a2.tif"])
    path.rename(tmp_path / "away")
    folder.look(2)
    (tmp_path / "away").rename(path)
    folder.look(3)
    assert folder.found == 2
    path.rename(tmp_path / "away")
    folder.look(4)
    with pytest.raises(VideoFileError, match="is gone"):
        folder.look(9)


def test_stack_in_the_folder_and_a_picture_too_large_are_left_out(tmp_path: Path) -> None:
    folder = followed(tmp_path, ["a1.tif", "a2.tif"])
    tifffile.imwrite(tmp_path / "a3.tif", np.zeros((5, 32, 40), np.uint16))
    save(tmp_path / "a4.tif")
    folder.look(2)
    stack, large = folder.ready(3)
    assert folder.read(stack, 3) is None
    assert "series of 5 frames" in stack.reason
    assert folder.read(large, 3, most_bytes=100) is None
    assert "more than the memory" in large.reason
