from __future__ import annotations

import numpy as np
import pytest
import tifffile
from napari.layers import Image
from napari.utils.notifications import notification_manager

from napari_hrtem_vae.errors import VideoFileError
from napari_hrtem_vae.io import open_video
from napari_hrtem_vae.widgets.readers import contrast_limits, get_reader, read_video


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 60000, (7, 20, 24)).astype(np.uint16)


@pytest.mark.parametrize(
    ("pixel", "time", "units"),
    [
        (0.02, 0.5, ["second", "nanometer", "nanometer"]),
        (0.02, None, ["pixel", "nanometer", "nanometer"]),
        (None, None, ["pixel"] * 3),
    ],
)
def test_a_video_becomes_one_lazy_layer_in_its_units(tmp_path, frames, pixel, time, units):
    path = tmp_path / "run.tif"
    calibration = {"resolution": (1 / pixel,) * 2} if pixel else {}
    described = {"axes": "TYX", "unit": "nm" if pixel else "pixel"} | ({"finterval": time} if time else {})
    tifffile.imwrite(path, frames, imagej=True, metadata=described, **calibration)
    ((data, options, kind),) = get_reader(str(path))(str(path))
    assert kind == "image"
    assert hasattr(data, "dask")
    layer = Image(data, **options)
    assert layer.name == "run"
    assert [str(unit) for unit in layer.units] == units
    np.testing.assert_allclose(layer.scale, [time or 1, pixel or 1, pixel or 1], rtol=1e-6)
    assert tuple(layer.axis_labels) == ("time", "y", "x")
    low, high = layer.contrast_limits
    assert 0 <= low < 1000 < 59000 < high < 60000
    note = layer.metadata["hrtem_vae"]
    assert note["source"] == str(path)
    assert note["pixel_size_nm"] == (pytest.approx(pixel) if pixel else None)
    assert note["frame_time_s"] == time
    np.testing.assert_array_equal(np.asarray(layer.data), frames)


def test_files_of_one_frame_are_one_video(tmp_path, frames):
    paths = [str(tmp_path / f"f{n:02d}.tif") for n in range(7)]
    for path, frame in zip(paths, frames, strict=True):
        tifffile.imwrite(path, frame)
    ((data, options, _),) = get_reader(paths)(paths)
    np.testing.assert_array_equal(np.asarray(data), frames)
    assert options["name"] == tmp_path.name
    assert get_reader(str(tmp_path)) is read_video


def test_what_is_no_video_is_left_to_others(tmp_path, frames):
    (tmp_path / "empty").mkdir()
    result = tmp_path / "result.zarr"
    result.mkdir()
    (result / "zarr.json").write_text(
        '{"attributes": {"hrtem_vae_result": 1}, "node_type": "group", "zarr_format": 3}'
    )
    for other in ("table.csv", "empty", "result.zarr", "notes"):
        assert get_reader(str(tmp_path / other)) is None
    assert get_reader([str(tmp_path / "a.tif"), str(tmp_path / "a.csv")]) is None
    assert get_reader([]) is None


def test_errors_come_through_as_one_sentence(tmp_path):
    (tmp_path / "a.dm4").write_text("no image")
    with pytest.raises(VideoFileError, match=r"a\.dm4"):
        read_video(str(tmp_path / "a.dm4"))


def test_notices_reach_the_user_and_the_layer(tmp_path, frames):
    for n in (0, 1, 3):
        tifffile.imwrite(tmp_path / f"f{n}.tif", frames[n])
    before = len(notification_manager.records)
    ((_, options, _),) = read_video(str(tmp_path))
    assert any("1 frame is missing" in n.message for n in list(notification_manager.records)[before:])
    assert any("missing" in notice for notice in options["metadata"]["hrtem_vae"]["notices"])


def test_contrast_needs_no_more_than_three_frames_and_bears_nan(frames):
    stack = frames.astype(np.float32)
    stack[0] = np.nan
    low, high = contrast_limits(open_video(stack))
    assert 0 <= low < high <= 60000
    assert contrast_limits(open_video(np.full((2, 4, 4), np.nan))) == (0.0, 1.0)
    assert contrast_limits(open_video(np.full((2, 4, 4), 5))) == (5.0, 6.0)
