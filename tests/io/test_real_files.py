"""Files of real microscopes: shape and units, and the same numbers as the libraries of their formats read."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from napari_hrtem_vae.errors import VideoFileError
from napari_hrtem_vae.io import open_video

# file, shape, pixel size in nm, frame time in s, words of a notice
FILES = [
    ("formats/03_Scanning Preview.emi", (5, 128, 128), 0.38435, None, None),
    ("formats/03_Scanning Preview_1.ser", (5, 128, 128), 0.38435, None, None),
    ("formats/16_STOimage_1.ser", (1, 1024, 1024), 0.0100127, None, None),
    ("formats/64x64x5_TEM_preview.emi", (5, 64, 64), 6.28183, None, None),
    ("formats/64x64x5_TEM_preview_1.ser", (5, 64, 64), 6.28183, None, None),
    ("formats/Custom_movie.mrc", (30, 16, 16), None, None, None),
    ("formats/dmTest_3D_int16_64,65,66.dm4", (66, 65, 64), 0.002, None, "3 nm high and 0.002 nm wide"),
    ("formats/fei_example_tem_stack.emd", (2, 3, 3), 0.00817288, 0.8, None),
    ("formats/test_loading_image_saved_with_DM_stack.tif", (2, 68, 68), 168.674, 2.5, "wide"),
    ("formats/test_stackbuilder_imagestack.dm3", (3, 2, 16), 59.9829, None, None),
    ("formats/test_tvips_2345_000.tvips", (6, 4, 5), None, None, None),
    ("graphene_si/graphene_Si1_frames_2-52.tif", (48, 256, 256), None, None, None),
    ("graphene_si/G-GrainBoundary-4nm.hdf5", (1, 512, 512), None, None, None),
    ("graphene_si/G-Si-2nm.hdf5", (1, 256, 256), None, None, None),
    ("graphene_si/G-dimSi.hdf5", (1, 512, 512), None, None, None),
    ("au_heating/au_750c_194x369x369.tif", (194, 369, 369), None, None, None),
    ("pbs_hrtem/pbs_nanocrystals_543x542.tif", (1, 543, 542), None, None, None),
    ("abf_drift/stem_abf_data_imagestack.hspy", (5, 512, 512), 0.0092024, None, None),
    ("lptem_prisms/LPTEM_prism_assembly_10frames_every15_uint8.tif", (10, 1024, 1024), 1.72697, None, None),
]


@pytest.mark.parametrize(
    ("name", "shape", "pixel", "time", "notice"), FILES, ids=[entry[0] for entry in FILES]
)
def test_shape_and_units(shared, name, shape, pixel, time, notice):
    video = open_video(shared / name)
    assert video.shape == shape
    assert video.attrs.get("pixel_size_nm") == (pytest.approx(pixel, rel=1e-4) if pixel else None)
    assert video.attrs.get("frame_time_s") == (pytest.approx(time) if time else None)
    assert notice is None or any(notice in said for said in video.attrs["notices"])
    assert np.isfinite(video[-1].values).all()


@pytest.mark.parametrize("name", ["formats/protochips_electrothermal.csv", "formats/Custom_info.txt"])
def test_logs_are_no_videos(shared, name):
    with pytest.raises(VideoFileError, match="is no video"):
        open_video(shared / name)


def test_complex_data_are_told(shared):
    with pytest.raises(VideoFileError, match="complex"):
        open_video(shared / "formats/test-27.dm4")


VENDORS = [
    ("digitalmicrograph", "dmTest_3D_int16_64,65,66.dm4"),
    ("digitalmicrograph", "test_stackbuilder_imagestack.dm3"),
    ("tia", "03_Scanning Preview_1.ser"),
    ("tia", "64x64x5_TEM_preview_1.ser"),
    ("mrc", "Custom_movie.mrc"),
    ("emd", "fei_example_tem_stack.emd"),
    ("tvips", "test_tvips_2345_000.tvips"),
]


@pytest.mark.parametrize(("module", "name"), VENDORS)
def test_numbers_are_those_of_rosettasciio(shared, module, name):
    import importlib

    path = shared / "formats" / name
    theirs = importlib.import_module(f"rsciio.{module}").file_reader(str(path))[0]["data"]
    video = open_video(path)
    np.testing.assert_array_equal(video.values, theirs)
    np.testing.assert_array_equal(video[1, 1:3].values, theirs[1, 1:3])


def test_tiff_frames_are_those_of_tifffile(shared):
    path = shared / "graphene_si/graphene_Si1_frames_2-52.tif"
    np.testing.assert_array_equal(open_video(path)[10:14].values, tifffile.imread(path)[10:14])


def test_a_vendor_file_cut_short_is_told(shared, tmp_path):
    for name in ("dmTest_3D_int16_64,65,66.dm4", "03_Scanning Preview_1.ser", "fei_example_tem_stack.emd"):
        whole = (shared / "formats" / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(VideoFileError, match="cut short"):
            open_video(tmp_path / name)
