"""Videos out of layers of any shape, and maps that lie where their sites are."""

from __future__ import annotations

from types import SimpleNamespace

import dask.array as da
import h5py
import numpy as np
import pytest
import tifffile
import xarray as xr
from napari.layers import Image

from napari_hrtem_vae.errors import VideoShapeError
from napari_hrtem_vae.io import open_video
from napari_hrtem_vae.widgets.layers import (
    Axes,
    Placement,
    frame_time_of,
    latent_order,
    limits_of,
    map_layer_data,
    peaks_of,
    pixel_size_of,
    placement_of_layer,
    placement_of_result,
    placement_on,
    video_axes,
    video_of,
)
from napari_hrtem_vae.widgets.readers import read_video

PLAIN = np.zeros((5, 20, 30), np.uint8)


@pytest.mark.parametrize(
    ("shape", "labels", "expected"),
    [
        ((5, 20, 30), None, Axes(0, 1, 2)),
        ((1, 5, 20, 30), None, Axes(1, 2, 3)),
        ((5, 1, 20, 30), None, Axes(0, 2, 3)),
        ((1, 1, 20, 30), ("c", "t", "y", "x"), Axes(1, 2, 3)),
        ((1, 20, 30), None, Axes(0, 1, 2)),
        ((20, 30), None, Axes(None, 0, 1)),
    ],
)
def test_time_is_found_among_the_axes(shape, labels, expected):
    layer = Image(np.zeros(shape, np.uint8), axis_labels=labels, contrast_limits=(0, 1))
    assert video_axes(layer) == expected
    video = video_of(layer, pixel_size_nm=None, frame_time_s=None)
    assert video.shape == (max(shape[:-2], default=1), 20, 30)


def test_multiscale_is_read_at_full_resolution():
    layer = Image([PLAIN, PLAIN[:, ::2, ::2]], multiscale=True, contrast_limits=(0, 1))
    assert video_of(layer, pixel_size_nm=None, frame_time_s=None).shape == PLAIN.shape


@pytest.mark.parametrize(
    ("layer", "word"),
    [
        (Image(np.zeros((5, 20, 30, 3), np.uint8), rgb=True), "RGB"),
        (Image(np.zeros((3, 5, 20, 30), np.uint8), contrast_limits=(0, 1)), "shape"),
    ],
)
def test_what_is_no_video_is_refused_with_a_sentence(layer, word):
    with pytest.raises(VideoShapeError, match=word):
        video_of(layer, pixel_size_nm=None, frame_time_s=None)


def test_complex_numbers_are_refused_with_a_sentence():
    # napari cannot show them, yet other layer classes may hold them
    layer = SimpleNamespace(name="wave", rgb=False, multiscale=False, data=np.zeros((5, 9, 9), np.complex64))
    with pytest.raises(VideoShapeError, match="complex"):
        video_axes(layer)


def layer_of_folder(folder, numbers):
    for number in numbers:
        tifffile.imwrite(folder / f"f_{number:04d}.tif", np.full((20, 24), number, np.uint8))
    ((data, options, _),) = read_video(str(folder))
    return Image(data, **options)


@pytest.mark.parametrize("frame_time", [1.0, 0.25])
def test_missing_frames_leave_their_gap_in_time(tmp_path, frame_time):
    numbers = [0, 1, 2, 3, 10, 11, 12, 13]
    layer = layer_of_folder(tmp_path, numbers)
    video = video_of(layer, pixel_size_nm=None, frame_time_s=frame_time)
    np.testing.assert_allclose(video["time"], np.array(numbers) * frame_time)
    assert video["time"].attrs["units"] == "s"
    assert any("missing" in notice for notice in video.attrs["notices"])


def test_gaps_scale_with_a_frame_time_that_is_typed_over_the_files():
    times = {"time": [0.0, 0.5, 1.0, 4.0, 4.5], "frame_time_s": 0.5}
    layer = Image(PLAIN, metadata={"hrtem_vae": times}, contrast_limits=(0, 1))
    video = video_of(layer, pixel_size_nm=None, frame_time_s=0.1)
    np.testing.assert_allclose(video["time"], [0, 0.1, 0.2, 0.8, 0.9])


def test_times_of_another_number_of_frames_do_not_count():
    note = {"time": [0.0, 1.0, 7.0], "frame_time_s": 1.0}
    layer = Image(PLAIN, metadata={"hrtem_vae": note}, contrast_limits=(0, 1))
    video = video_of(layer, pixel_size_nm=None, frame_time_s=1.0)
    np.testing.assert_allclose(video["time"], np.arange(5))


def test_a_video_of_a_layer_knows_its_file_and_dataset(tmp_path):
    path = tmp_path / "run.h5"
    with h5py.File(path, "w") as file:
        file["big"] = np.zeros((6, 20, 24), np.uint8)
        file["small"] = np.zeros((5, 10, 12), np.uint8)
    ((data, options, _),) = read_video(str(path))
    video = video_of(Image(data, **options), pixel_size_nm=None, frame_time_s=None)
    opened = open_video(path)
    assert opened.attrs["dataset"]
    assert video.attrs == opened.attrs


def test_opening_a_lazy_layer_reads_no_frame():
    read = []

    def frame(block_info=None):
        read.append(block_info)
        return np.zeros((1, 16, 16), np.uint8)

    lazy = da.map_blocks(
        frame, chunks=((1,) * 6, (16,), (16,)), dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8)
    )
    layer = Image(lazy, contrast_limits=(0, 1))
    read.clear()
    video = video_of(layer, pixel_size_nm=0.1, frame_time_s=1.0)
    assert read == []
    np.asarray(video[2])
    assert len(read) == 1


@pytest.mark.parametrize(("unit", "size"), [("nm", 0.02), ("angstrom", 0.002), ("um", 20.0), ("pixel", None)])
def test_pixel_size_comes_from_scale_and_units(unit, size):
    layer = Image(PLAIN, scale=(1, 0.02, 0.02), units=("pixel", unit, unit), contrast_limits=(0, 1))
    assert pixel_size_of(layer) == (size if size is None else pytest.approx(size))


def test_frame_time_comes_from_scale_and_units():
    layer = Image(PLAIN, scale=(50, 1, 1), units=("ms", "pixel", "pixel"), contrast_limits=(0, 1))
    assert frame_time_of(layer, video_axes(layer)) == pytest.approx(0.05)


def test_what_the_reader_noted_beats_the_scale():
    note = {"hrtem_vae": {"pixel_size_nm": None, "frame_time_s": 0.25}}
    layer = Image(PLAIN, scale=(1, 2, 2), units=("s", "nm", "nm"), metadata=note, contrast_limits=(0, 1))
    assert pixel_size_of(layer) is None
    assert frame_time_of(layer, video_axes(layer)) == 0.25


@pytest.mark.parametrize(
    "transform",
    [
        {},
        {"scale": (0.5, 0.03, 0.04), "translate": (1, -7, 11)},
        {"scale": (1, 2, 2), "rotate": np.array([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]])},
        {"affine": np.array([[1, 0, 0, 0], [0, 1.2, 0.1, 5], [0, -0.2, 0.9, -3], [0, 0, 0, 1]])},
        {"scale": (1, -0.5, 0.5)},
    ],
)
def test_a_map_lies_on_its_sites(transform):
    video = Image(PLAIN, contrast_limits=(0, 1), units=("s", "nm", "nm"), **transform)
    y, x = np.arange(7.5, 20, 3), np.arange(6.25, 30, 3)
    placement = placement_on(video, y, x)
    layer = Image(np.zeros((len(y), len(x))), contrast_limits=(0, 1), **placement.layer_options())
    for i, j in ((0, 0), (1, 2), (len(y) - 1, len(x) - 1)):
        expected = video.data_to_world((0, y[i], x[j]))[1:]
        np.testing.assert_allclose(layer.data_to_world((i, j)), expected, atol=1e-9)
    again = placement_of_layer(layer)
    np.testing.assert_allclose(again.sites_to_world([[2, 3]]), placement.sites_to_world([[2, 3]]), atol=1e-9)
    assert again.units == placement.units


def test_sites_and_world_are_inverse():
    placement = Placement((1.0, 2.0), (0.3, 0.1), (-0.1, 0.4))
    points = np.random.default_rng(0).normal(size=(10, 2))
    np.testing.assert_allclose(placement.world_to_sites(placement.sites_to_world(points)), points, atol=1e-12)


def result(ny=3, nx=4, latents=3):
    rng = np.random.default_rng(0)
    maps = rng.random((ny, nx, latents)).astype(np.float32)
    units = {"units": "nm"}
    return xr.Dataset(
        {"time_correlated_variance": (("y", "x", "latent"), maps), "change": (("y", "x"), maps[..., 0])},
        coords={"y": ("y", 0.5 + 0.2 * np.arange(ny), units), "x": ("x", 0.7 + 0.2 * np.arange(nx), units)},
    )


def test_without_a_video_a_map_lies_at_its_own_coordinates():
    values, options, kind = map_layer_data(
        result(), placement_of_result(result()), kind="change", latent=0, frame=0, title="a"
    )
    layer = Image(values, **options)
    assert kind == "image"
    np.testing.assert_allclose(layer.scale, (0.2, 0.2))
    np.testing.assert_allclose(layer.translate, (0.5, 0.7))
    assert [str(unit) for unit in layer.units] == ["nanometer"] * 2
    assert layer.axis_labels == ("y", "x")


def test_one_site_has_a_map_too():
    placement = placement_of_result(result(1, 1))
    assert np.all(np.diag([placement.along_y[0], placement.along_x[1]]) >= 0)
    assert placement.sites_to_world([[0, 0]]).tolist() == [[0.5, 0.7]]


def test_latents_are_ordered_by_their_peaks_unknown_last():
    data = result()
    data["time_correlated_variance"][..., 1] = np.nan
    data["time_correlated_variance"][1, 1, 2] = 9
    peaks = peaks_of(data)
    assert peaks[2] == 9
    assert np.isnan(peaks[1])
    assert latent_order(peaks, "peak") == [2, 0, 1]
    assert latent_order(peaks, "index") == [0, 1, 2]


def test_limits_are_an_interval_whatever_the_map_holds():
    assert limits_of(np.full((2, 2), np.nan, np.float32), "variance") == (0.0, 1.0)
    assert limits_of(np.zeros((2, 2), np.float32), "z") == (-1.0, 1.0)
    assert limits_of(np.array([[-3.0, 2.0]], np.float32), "z") == (-3.0, 3.0)
    assert limits_of(np.array([[0.0] * 999 + [5.0]], np.float32), "variance") == (0.0, 5.0)
    assert limits_of(np.array([[1.0] * 999 + [5.0]], np.float32), "variance") == (0.0, 1.0)
    assert limits_of(np.array([[0.1]], np.float32), "spearman") == (-1.0, 1.0)
