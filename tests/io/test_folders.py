from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_hrtem_vae.errors import VideoFileError
from napari_hrtem_vae.io import is_video_path, open_video


def write(folder, frames, names, **options):
    folder.mkdir(exist_ok=True, parents=True)
    for frame, name in zip(frames, names, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(folder / name, frame, **options)


def notices(video) -> str:
    return "\n".join(video.attrs["notices"])


def test_frames_come_in_the_order_of_their_numbers(tmp_path, frames):
    write(tmp_path / "run", frames, [f"f{n}.tif" for n in (8, 9, 10, 11, 12, 100, 101)])
    assert is_video_path(tmp_path / "run")
    video = open_video(tmp_path / "run", frame_time_s=0.5)
    np.testing.assert_array_equal(video.values, frames.astype(np.float32))
    np.testing.assert_allclose(video["time"], np.array([0, 1, 2, 3, 4, 92, 93]) * 0.5)
    assert "87 frames are missing" in notices(video)


def test_a_whole_series_has_no_notices(tmp_path, frames):
    write(tmp_path, frames, [f"run2_{n:03d}.tif" for n in range(7)])
    assert open_video(tmp_path).attrs["notices"] == []
    np.testing.assert_array_equal(open_video(tmp_path)[2:5, 3:9].values, frames[2:5, 3:9])


def test_series_saved_in_steps_miss_nothing(tmp_path, frames):
    write(tmp_path, frames, [f"run_{15 * n:04d}.tif" for n in range(7)])
    video = open_video(tmp_path, frame_time_s=1)
    assert video.attrs["notices"] == []
    np.testing.assert_allclose(video["time"], np.arange(7))


def test_duplicates_are_left_out_and_reported(tmp_path, frames):
    write(tmp_path, frames, [f"f_{n:02d}.tif" for n in range(7)])
    write(tmp_path, frames[:3], ["f_3.tif", "f_02 (1).tif", "f_05_copy.tif"])
    video = open_video(tmp_path)
    np.testing.assert_array_equal(np.delete(video.values, 3, 0), np.delete(frames, 3, 0))
    assert "3 files were left out (second files of a frame number)" in notices(video)


def test_foreign_files_are_left_out_and_reported(tmp_path, frames):
    write(tmp_path, frames, [f"f_{n:02d}.tif" for n in range(7)])
    write(tmp_path, frames[:1, :5, :5], ["overview.tif"])
    (tmp_path / "log.txt").write_text("…")
    (tmp_path / ".hidden.tif").write_text("…")
    video = open_video(tmp_path)
    assert video.shape == frames.shape
    assert "overview.tif" in notices(video)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_damaged_and_odd_sized_frames_are_left_out_and_reported(tmp_path, frames, compression):
    write(tmp_path, frames, [f"f_{n}.tif" for n in range(7)], compression=compression)
    whole = (tmp_path / "f_2.tif").read_bytes()
    (tmp_path / "f_2.tif").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "f_3.tif").write_bytes(b"")
    tifffile.imwrite(tmp_path / "f_5.tif", frames[5, :10, :10], compression=compression)
    video = open_video(tmp_path, frame_time_s=1)
    np.testing.assert_array_equal(video.values, frames[[0, 1, 4, 6]])
    np.testing.assert_allclose(video["time"], [0, 1, 4, 6])
    assert "2 files were left out (cut short or unreadable): f_2.tif, f_3.tif" in notices(video)
    assert "1 file was left out (not 24 × 20 px like the others): f_5.tif" in notices(video)


def test_a_frame_that_breaks_later_is_nan(tmp_path, frames):
    write(tmp_path, frames, [f"f_{n}.tif" for n in range(7)])
    video = open_video(tmp_path)
    (tmp_path / "f_4.tif").write_bytes(b"x" * (tmp_path / "f_4.tif").stat().st_size)
    values = video.values
    assert np.isnan(values[4]).all()
    np.testing.assert_array_equal(np.delete(values, 4, 0), np.delete(frames, 4, 0))


def gatan(n: int, rate: int = 4) -> str:
    second, frame = divmod(n, rate)
    minute, second = divmod(second + 58, 60)
    tree = f"Hour_00/Minute_{minute:02d}/Second_{second:02d}"
    return f"{tree}/run_Hour_00_Minute_{minute:02d}_Second_{second:02d}_Frame_{frame:04d}.tif"


def test_gatan_trees_are_sorted_by_time_with_their_gaps(tmp_path, frames):
    numbers = [0, 1, 2, 3, 4, 7, 9]
    write(
        tmp_path,
        frames,
        [gatan(n) for n in numbers],
        resolution=(50, 50),
        imagej=True,
        metadata={"unit": "nm"},
    )
    (tmp_path / "run.tif").write_bytes(b"the summary that the recorder leaves beside the tree")
    assert is_video_path(tmp_path)
    video = open_video(tmp_path)
    np.testing.assert_array_equal(video.values, frames)
    np.testing.assert_allclose(video["time"], np.array(numbers) * 0.25)
    assert video.attrs["frame_time_s"] == 0.25
    assert video.attrs["pixel_size_nm"] == pytest.approx(0.02)
    assert "3 frames are missing" in notices(video)


def test_pictures_and_lists_of_files_make_videos_too(tmp_path, frames):
    grey = (frames // 256).astype(np.uint8)
    paths = [tmp_path / f"p{n}.png" for n in range(7)]
    for path, frame in zip(paths, grey, strict=True):
        Image.fromarray(frame).save(path)
    np.testing.assert_array_equal(open_video(tmp_path).values, grey)
    np.testing.assert_array_equal(open_video([str(p) for p in reversed(paths[2:5])]).values, grey[2:5])


def test_folders_without_frames_are_told(tmp_path, frames):
    assert not is_video_path(tmp_path)
    with pytest.raises(VideoFileError, match="holds no frames"):
        open_video(tmp_path)
    for n in range(3):
        (tmp_path / f"f{n}.tif").write_bytes(b"nothing")
    with pytest.raises(VideoFileError, match="No file of"):
        open_video(tmp_path)
    for n in range(3):
        tifffile.imwrite(tmp_path / f"f{n}.tif", frames)
    with pytest.raises(VideoFileError, match="series of 7 frames"):
        open_video(tmp_path)


def test_thousands_of_frames_open_in_seconds(tmp_path):
    frame = np.zeros((8, 8), np.uint8)
    np.save(tmp_path / "f_0000.npy", frame)
    content = (tmp_path / "f_0000.npy").read_bytes()
    for n in range(1, 3000):
        (tmp_path / f"f_{n:04d}.npy").write_bytes(content)
    video = open_video(tmp_path)
    assert video.shape == (3000, 8, 8)
    assert not video[2999].values.any()
