from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from napari_hrtem_vae.errors import ParameterError, VideoShapeError
from napari_hrtem_vae.io import frame_time_s, open_video, pixel_size_nm


@given(
    st.tuples(st.integers(2, 5), st.integers(2, 9), st.integers(5, 9)),
    st.lists(st.integers(0, 2), max_size=2),
)
def test_singleton_axes_are_dropped_wherever_they_are(shape, places):
    frames = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    padded = frames
    for place in places:
        padded = np.expand_dims(padded, place)
    np.testing.assert_array_equal(open_video(padded).values, frames)


def test_a_picture_is_a_video_of_one_frame(frames):
    video = open_video(frames[0])
    assert video.dims == ("time", "y", "x")
    assert video.shape == (1, 20, 24)


def test_unknown_units_stay_unknown(frames):
    video = open_video(frames)
    assert pixel_size_nm(video) is None
    assert frame_time_s(video) is None
    assert not video.coords
    assert "pixel_size_nm" not in video.attrs


def test_given_units_become_coordinates(frames):
    video = open_video(frames, pixel_size_nm=0.02, frame_time_s=0.5)
    np.testing.assert_allclose(video["x"], np.arange(24) * 0.02)
    np.testing.assert_allclose(video["time"], np.arange(7) * 0.5)
    assert video["y"].attrs["units"] == "nm"
    assert video["time"].attrs["units"] == "s"
    assert (pixel_size_nm(video), frame_time_s(video)) == (0.02, 0.5)


def test_frames_are_never_cut_by_chunks(frames):
    cut = da.from_array(frames, chunks=(3, 7, 5))
    video = open_video(cut)
    assert video.data.chunksize[1:] == (20, 24)
    np.testing.assert_array_equal(video.values, frames)


def test_a_video_goes_through_with_its_units_and_gaps(frames):
    video = open_video(frames, pixel_size_nm=0.1, frame_time_s=2.0)[[0, 1, 4]]
    again = open_video(video.transpose("y", "x", "time"))
    assert pixel_size_nm(again) == 0.1
    np.testing.assert_allclose(again["time"], [0, 2, 8])
    np.testing.assert_array_equal(again.values, frames[[0, 1, 4]])


def test_a_mask_becomes_grey_levels():
    video = open_video(np.eye(8, dtype=bool)[None])
    assert video.dtype == np.uint8


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.zeros(5), "time, y, x"),
        (np.zeros((2, 2, 2, 2, 2)), "time, y, x"),
        (np.zeros((2, 3, 30, 30)), "time, y, x"),
        (np.zeros((0, 4, 4)), "empty"),
        (np.zeros((4, 4), complex), "complex"),
        (np.zeros((4, 4), object), "object"),
        (np.zeros((4, 4), "M8[s]"), "no grey levels"),
        (np.zeros((30, 30, 3), np.uint8), "colour"),
        (np.zeros((5, 30, 30, 3), np.uint8), "colour"),
        ({"a": 1}, "dict"),
        (xr.DataArray(np.zeros((2, 3, 4)), dims=("z", "y", "x")), "dims"),
    ],
)
def test_what_is_no_video_is_told_in_a_sentence(array, why):
    with pytest.raises(VideoShapeError, match=why) as caught:
        open_video(array)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), "2", True])
@pytest.mark.parametrize("name", ["pixel_size_nm", "frame_time_s"])
def test_sizes_must_be_positive(name, value):
    with pytest.raises(ParameterError, match=name):
        open_video(np.zeros((2, 4, 4)), **{name: value})
