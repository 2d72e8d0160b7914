"""Frames of files, whole and in parts, against the array that was written."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import napari_hrtem_vae as hv
from napari_hrtem_vae.errors import VideoFileError
from napari_hrtem_vae.io.frames import MappedFrames, as_dask, plain_frames
from napari_hrtem_vae.video.reading import as_read, read_ahead, read_frames

SHAPE = (7, 9, 11)
SOME = np.random.default_rng(0).integers(0, 4000, SHAPE)


def parts(size: int) -> st.SearchStrategy[slice]:
    """Slices of one value or more."""
    edges = st.lists(st.integers(0, size), min_size=2, max_size=2, unique=True).map(sorted)
    return edges.map(lambda both: slice(*both))


@pytest.fixture(scope="module", params=["<u2", ">u2", "<f4", "<i4"])
def plain(request, tmp_path_factory) -> dict[bool, xr.DataArray]:
    """A plain file as videos, by whether its rows are stored bottom first."""
    dtype = np.dtype(request.param)
    path = tmp_path_factory.mktemp("plain") / "frames.raw"
    frame_bytes = dtype.itemsize * SHAPE[1] * SHAPE[2]
    # Frames lie apart, as in files with a header for each.
    offsets = 5 + np.arange(SHAPE[0]) * (frame_bytes + 3)
    with path.open("wb") as file:
        for offset, frame in zip(offsets, SOME, strict=True):
            file.seek(offset)
            file.write(frame.astype(dtype).tobytes())
    return {
        flipped: xr.DataArray(
            as_dask(MappedFrames(path, SHAPE, dtype, offsets, flipped)), dims=("time", "y", "x")
        )
        for flipped in (False, True)
    }


@pytest.mark.parametrize("flipped", [False, True])
@given(frames=parts(SHAPE[0]), rows=parts(SHAPE[1]), columns=parts(SHAPE[2]))
def test_parts_of_a_plain_file_are_those_of_the_array(plain, flipped, frames, rows, columns) -> None:
    video, wanted = plain[flipped], SOME[:, ::-1] if flipped else SOME
    assert plain_frames(video.data) is not None
    read = read_frames(video, frames, rows, columns)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, wanted[frames, rows, columns])
    np.testing.assert_array_equal(video.data[frames, rows, columns].compute(), wanted[frames, rows, columns])


def test_what_was_done_to_a_plain_file_is_read_with_it(plain) -> None:
    video = plain[False]
    for changed, wanted in ((video[2:], SOME[2:]), (video * 2, SOME * 2), (video[::-1], SOME[::-1])):
        assert plain_frames(changed.data) is None
        np.testing.assert_array_equal(read_frames(changed, slice(1, 4)), wanted[1:4])


@given(frames=parts(SHAPE[0]), count=st.integers(1, 9), threads=st.integers(1, 3))
def test_frames_come_some_at_a_time_and_each_once(frames, count, threads) -> None:
    video = xr.DataArray(SOME, dims=("time", "y", "x"))
    chunks = [one for one in read_ahead(video, count, slice(2, 5), as_read, threads, frames=frames) if one]
    assert [first for first, _ in chunks] == list(range(frames.start, frames.stop, count))
    np.testing.assert_array_equal(np.concatenate([read for _, read in chunks]), SOME[frames, 2:5])


def test_a_file_cut_short_while_it_is_read_is_told_with_its_frames(tmp_path) -> None:
    path = tmp_path / "video.npy"
    np.save(path, SOME.astype(np.uint16))
    video = hv.open_video(path)
    path.write_bytes(path.read_bytes()[:-1])
    np.testing.assert_array_equal(read_frames(video, slice(0, 6)), SOME[:6])
    with pytest.raises(VideoFileError, match=r"Frames 5 to 6 of .*video\.npy cannot be read .*ends within"):
        read_frames(video, slice(5, 7))
