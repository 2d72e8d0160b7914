from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from napari_hrtem_vae.errors import VideoFileError
from napari_hrtem_vae.io import open_video

COUNT, HEIGHT, WIDTH = 60, 48, 64


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    """(60, 48, 64) uint8: a bright bar walks, its brightness tells the frame."""
    frames = np.full((COUNT, HEIGHT, WIDTH), 20, np.uint8)
    for i in range(COUNT):
        frames[i, :, i : i + 4] = 60 + 3 * i
        frames[i, : HEIGHT // 2] += np.uint8(2 * (i % 7))
    return frames


def write(path, frames, codec, pixels="yuv420p", colour=False, stamps=None, **options):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], pixels
        for i, image in enumerate(frames):
            if colour:
                frame = av.VideoFrame.from_ndarray(
                    np.stack([image, image // 2, image // 4], -1), format="rgb24"
                )
            elif image.dtype == np.uint16:
                frame = av.VideoFrame.from_ndarray(image, format="gray16le")
            else:
                chroma = np.full((frames.shape[1] // 2, frames.shape[2]), 128, np.uint8)
                frame = av.VideoFrame.from_ndarray(np.concatenate([image, chroma]), format="yuv420p")
            frame.pts = i if stamps is None else int(stamps[i])
            frame.time_base = Fraction(1, 25)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


LOSSLESS = {
    "b_frames.mp4": ("libx264", {"qp": "0", "bf": "3", "g": "12"}),
    "b_frames.mkv": ("libx264", {"qp": "0", "bf": "3", "g": "250", "sc_threshold": "0"}),
    "raw.avi": ("rawvideo", {}),
    "ffv1.avi": ("ffv1", {}),
    "a.mov": ("libx264", {"qp": "0", "bf": "2"}),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_every_frame_is_the_one_that_was_written(tmp_path, clip, name):
    codec, options = LOSSLESS[name]
    write(tmp_path / name, clip, codec, **options)
    video = open_video(tmp_path / name)
    assert video.shape == clip.shape
    assert video.dtype == np.uint8
    np.testing.assert_array_equal(video.values, clip)
    order = np.random.default_rng(0).permutation(COUNT)[:12]
    for number in order:
        np.testing.assert_array_equal(video[int(number)].values, clip[number])
    np.testing.assert_array_equal(video[5:50:7, 10:20].values, clip[5:50:7, 10:20])


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mpg", "mpeg2video"), ("a.webm", "libvpx-vp9"), ("a.avi", "mpeg4")]
)
def test_lossy_movies_come_in_the_right_order(tmp_path, clip, name, codec):
    write(tmp_path / name, clip, codec, b="2000000")
    video = open_video(tmp_path / name)
    assert video.shape[0] == COUNT
    difference = np.abs(video.values.astype(int) - clip).mean(axis=(1, 2))
    assert difference.max() < 6  # a wrong frame differs by more than 8 on average
    assert np.abs(video[40].values.astype(int) - clip[40]).mean() < 6


def test_the_playing_rate_is_taken_as_frame_time_and_said(tmp_path, clip):
    write(tmp_path / "a.mkv", clip, "ffv1")
    video = open_video(tmp_path / "a.mkv")
    assert video.attrs["frame_time_s"] == pytest.approx(0.04)
    assert any("rate at which it plays" in notice for notice in video.attrs["notices"])
    assert "pixel_size_nm" not in video.attrs


def test_sixteen_bits_stay(tmp_path, clip):
    deep = clip.astype(np.uint16) * 200
    write(tmp_path / "deep.mkv", deep, "ffv1", pixels="gray16le")
    video = open_video(tmp_path / "deep.mkv")
    assert video.dtype == np.uint16
    np.testing.assert_array_equal(video.values, deep)


def test_colour_becomes_grey_and_is_said(tmp_path, clip):
    write(tmp_path / "colour.mkv", clip, "libx264", colour=True)
    video = open_video(tmp_path / "colour.mkv")
    assert video.shape == clip.shape
    assert any("in colour" in notice for notice in video.attrs["notices"])


def test_uneven_movies_keep_their_times(tmp_path, clip):
    stamps = np.concatenate([np.arange(30), np.arange(30) + 60])
    write(tmp_path / "gap.mkv", clip, "ffv1", stamps=stamps)
    video = open_video(tmp_path / "gap.mkv", frame_time_s=0.04)
    times = video["time"].values
    assert times[29] - times[0] == pytest.approx(29 * (times[1] - times[0]), rel=0.05)
    assert times[30] - times[29] == pytest.approx(31 * (times[1] - times[0]), rel=0.05)
    np.testing.assert_array_equal(video[30].values, clip[30])


@pytest.mark.parametrize("name", ["b_frames.mp4", "raw.avi"])
def test_movies_cut_short_are_told(tmp_path, clip, name):
    codec, options = LOSSLESS[name]
    write(tmp_path / name, clip, codec, **options)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VideoFileError, match=r"cut short"):
        open_video(tmp_path / name)
