from __future__ import annotations

import struct
import subprocess
import sys

import h5py
import numpy as np
import pytest
import tifffile
import xarray as xr
import zarr
from PIL import Image

from napari_hrtem_vae.errors import VideoFileError
from napari_hrtem_vae.io import is_result_store, is_video_path, open_video


def write_mrc(path, frames, pixel_nm=0.02, promised=None):
    count, height, width = frames.shape
    header = bytearray(1024)
    header[:16] = struct.pack("<IIII", width, height, promised or count, 6)
    header[28:40] = struct.pack("<III", width, height, count)
    header[40:52] = struct.pack("<fff", width * pixel_nm * 10, height * pixel_nm * 10, 0)
    path.write_bytes(bytes(header) + frames.tobytes())


def write_ser(path, frames, pixel_nm=0.02):
    count, height, width = frames.shape
    size = 50 + frames[0].nbytes
    head = b"II\x97\x01" + struct.pack("<HIIIIQI", 0x220, 0x4122, 0x4152, count, count, 34, 1)
    head = head[:34]
    offsets = 34 + 8 * count + size * np.arange(count, dtype="<u8")
    body = b"".join(
        struct.pack("<ddiddiHII", 0, pixel_nm * 1e-9, 0, 0, pixel_nm * 1e-9, 0, 2, width, height)
        + frame[::-1].tobytes()
        for frame in frames
    )
    path.write_bytes(head + offsets.tobytes() + body)


def write_hspy(path, data, names="tyx", scales=(250.0, 20.0, 20.0), units=("ms", "pm", "pm"), signal_type=""):
    from rsciio.hspy import file_writer

    axes = [
        {"name": name, "size": size, "scale": scale, "offset": 0.0, "units": unit, "navigate": i < 1}
        for i, (name, size, scale, unit) in enumerate(zip(names, data.shape, scales, units, strict=True))
    ]
    signal = {
        "data": data,
        "axes": [{**axis, "_type": "UniformDataAxis"} for axis in axes],
        "metadata": {"General": {"title": "a"}, "Signal": {"signal_type": signal_type}},
        "original_metadata": {},
        "attributes": {"_lazy": False},
        "learning_results": {},
        "package_info": {"package": "hyperspy", "package_version": "2.0"},
        "models": {},
        "tmp_parameters": {},
    }
    file_writer(str(path), signal)


WRITERS = {
    "a.npy": lambda path, frames: np.save(path, frames),
    "fortran.npy": lambda path, frames: np.save(path, np.asfortranarray(frames)),
    "big_endian.npy": lambda path, frames: np.save(path, frames.astype(">u2")),
    "one_more_axis.npy": lambda path, frames: np.save(path, frames[None]),
    "a.mrc": write_mrc,
    "a.ser": write_ser,
    "a.hspy": write_hspy,
    "plain.tif": lambda path, frames: tifffile.imwrite(path, frames),
    "imagej.tif": lambda path, frames: tifffile.imwrite(path, frames, imagej=True),
    "big_endian.tif": lambda path, frames: tifffile.imwrite(path, frames, byteorder=">"),
    "packed.tif": lambda path, frames: tifffile.imwrite(path, frames, compression="zlib", rowsperstrip=5),
    "page_by_page.tif": lambda path, frames: [tifffile.imwrite(path, f, append=True) for f in frames],
    "ome.ome.tif": lambda path, frames: tifffile.imwrite(path, frames, metadata={"axes": "TYX"}),
    "a.h5": lambda path, frames: (
        h5py.File(path, "w").create_dataset("x/y", data=frames, chunks=(2, 5, 6)).file.close()
    ),
    "bare.zarr": lambda path, frames: zarr.save_array(path, frames),
    "two.zarr": lambda path, frames: zarr.save_array(path, frames, zarr_format=2),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_back_its_frames(tmp_path, frames, name):
    path = tmp_path / name
    WRITERS[name](path, frames)
    assert is_video_path(path)
    video = open_video(path)
    assert video.dims == ("time", "y", "x")
    assert video.dtype == np.uint16
    assert video.dtype.isnative
    assert video.attrs["source"] == str(path)
    np.testing.assert_array_equal(video.values, frames)
    np.testing.assert_array_equal(video[3].values, frames[3])
    np.testing.assert_array_equal(video[1:6:2, 4:9, 2:7].values, frames[1:6:2, 4:9, 2:7])
    np.testing.assert_array_equal(video[[5, 0, 3], ::-1].values, frames[[5, 0, 3], ::-1])


def test_units_come_from_the_file(tmp_path, frames):
    write_mrc(tmp_path / "a.mrc", frames)
    write_ser(tmp_path / "a.ser", frames)
    write_hspy(tmp_path / "a.hspy", frames)
    resolution = {"resolution": (50, 50), "imagej": True}
    tifffile.imwrite(
        tmp_path / "a.tif", frames, metadata={"unit": "nm", "finterval": 0.25, "axes": "TYX"}, **resolution
    )
    ome = {
        "axes": "TYX",
        "PhysicalSizeX": 0.2,
        "PhysicalSizeXUnit": "Å",
        "TimeIncrement": 250,
        "TimeIncrementUnit": "ms",
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", frames, metadata=ome)
    for name, time in {
        "a.mrc": None,
        "a.ser": None,
        "a.hspy": 0.25,
        "a.tif": 0.25,
        "a.ome.tif": 0.25,
    }.items():
        attrs = open_video(tmp_path / name).attrs
        assert attrs["pixel_size_nm"] == pytest.approx(0.02, rel=1e-6), name
        assert attrs.get("frame_time_s") == (pytest.approx(time) if time else None), name
    given = open_video(tmp_path / "a.hspy", pixel_size_nm=0.3, frame_time_s=2)
    assert given.attrs["pixel_size_nm"] == 0.3
    assert float(given["time"][-1]) == 12


def test_an_mrc_without_calibration_has_no_pixel_size(tmp_path, frames):
    write_mrc(tmp_path / "a.mrc", frames, pixel_nm=0)
    assert "pixel_size_nm" not in open_video(tmp_path / "a.mrc").attrs


def test_an_mrc_of_one_angstrom_is_doubted(tmp_path, frames):
    write_mrc(tmp_path / "a.mrc", frames, pixel_nm=0.1)
    assert any("1 Å" in notice for notice in open_video(tmp_path / "a.mrc").attrs["notices"])


def test_ser_of_diffraction_has_no_pixel_size(tmp_path, frames):
    write_ser(tmp_path / "a_1.ser", frames)
    (tmp_path / "a.emi").write_bytes(b"\0<ObjectInfo><Mode>TEM Diffraction</Mode></ObjectInfo>\0")
    for name in ("a_1.ser", "a.emi"):
        video = open_video(tmp_path / name)
        assert "pixel_size_nm" not in video.attrs
        np.testing.assert_array_equal(video.values, frames)


def test_xarray_stores_keep_units_gaps_and_notices(tmp_path, frames):
    video = open_video(frames, pixel_size_nm=0.02, frame_time_s=0.5)[[0, 1, 4]]
    video.attrs["notices"] = ["A notice."]
    for version in (2, 3):
        path = tmp_path / f"{version}.zarr"
        video.to_dataset(name="video").assign(truth=("time", [1, 2, 3])).to_zarr(path, zarr_format=version)
        again = open_video(path)
        xr.testing.assert_allclose(again.compute(), video.compute())
        assert again.attrs["pixel_size_nm"] == 0.02
        assert again.attrs["notices"] == ["A notice."]


def test_coordinates_alone_give_the_units(tmp_path, frames):
    coords = {
        "t": ("t", np.arange(7) * 20.0, {"units": "ms"}),
        "x": ("x", np.arange(24) * 3.0, {"units": "pm"}),
        "y": ("y", np.arange(20) * 3.0, {"units": "pm"}),
    }
    stack = xr.DataArray(frames, dims=("t", "y", "x"), coords=coords).transpose("x", "t", "y")
    stack.to_dataset(name="stack").to_zarr(tmp_path / "a.zarr")
    video = open_video(tmp_path / "a.zarr")
    np.testing.assert_array_equal(video.values, frames)
    assert video.attrs["pixel_size_nm"] == pytest.approx(0.003)
    assert video.attrs["frame_time_s"] == pytest.approx(0.02)


@pytest.mark.parametrize("nested", [True, False])
def test_ome_zarr_opens_at_full_resolution(tmp_path, frames, nested):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("0", data=frames[:, None])
    group.create_array("1", data=frames[:, None, ::2, ::2])
    axes = [{"name": "t", "unit": "second"}, {"name": "c"}, *({"name": n, "unit": "nanometer"} for n in "yx")]
    scale = [{"type": "scale", "scale": [0.5, 1, 0.02, 0.02]}]
    levels = [{"path": p, "coordinateTransformations": scale} for p in ("0", "1")]
    multiscales = [{"axes": axes, "datasets": levels, "name": "run"}]
    group.attrs.update({"ome": {"multiscales": multiscales}} if nested else {"multiscales": multiscales})
    video = open_video(tmp_path / "a.zarr")
    np.testing.assert_array_equal(video.values, frames)
    assert (video.attrs["pixel_size_nm"], video.attrs["frame_time_s"]) == (0.02, 0.5)


def test_result_stores_are_no_videos(tmp_path, frames):
    for version in (2, 3):
        path = tmp_path / f"{version}.zarr"
        data = xr.Dataset({"z": (("time", "y", "x"), frames)}, attrs={"hrtem_vae_result": 1})
        data.to_zarr(path, zarr_format=version)
        assert is_result_store(path)
        assert not is_video_path(path)
        with pytest.raises(VideoFileError, match="result of an analysis"):
            open_video(path)
    zarr.save_array(tmp_path / "video.zarr", frames)
    assert not is_result_store(tmp_path / "video.zarr")
    assert not is_result_store(tmp_path / "absent.zarr")


def test_of_several_datasets_the_series_with_the_largest_frames_is_taken(tmp_path, frames):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["survey"] = np.zeros((200, 200), np.uint16)
        file["small"] = np.zeros((9, 5, 5), np.uint16)
        file["run/stack"] = frames
        file["table"] = np.zeros((4, 3), object).astype("S3")
    video = open_video(tmp_path / "a.h5")
    np.testing.assert_array_equal(video.values, frames)
    assert video.attrs["dataset"] == "run/stack"
    assert any("'survey'" in notice and "dataset=" in notice for notice in video.attrs["notices"])
    assert open_video(tmp_path / "a.h5", dataset="small").shape == (9, 5, 5)
    assert open_video(tmp_path / "a.h5", dataset=2).shape == (1, 200, 200)
    for absent in ("nothing", 7, -1):
        with pytest.raises(VideoFileError, match=r"'run/stack'.*'small'.*'survey'"):
            open_video(tmp_path / "a.h5", dataset=absent)


def test_spectrum_images_are_refused(tmp_path):
    cube = np.zeros((6, 6, 6))
    write_hspy(tmp_path / "units.hspy", cube, "yxE", (1.0, 1.0, 1.0), ("nm", "nm", "eV"))
    write_hspy(tmp_path / "type.hspy", cube, "yxc", (1.0, 1.0, 1.0), ("nm", "nm", ""), signal_type="EELS")
    for name in ("units.hspy", "type.hspy"):
        with pytest.raises(VideoFileError, match="spectrum"):
            open_video(tmp_path / name)


def test_grey_pictures_open_and_coloured_ones_do_not(tmp_path, frames):
    grey = (frames[0] // 256).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(frames[0]).save(tmp_path / "deep.png")
    Image.fromarray(np.stack([grey] * 3, -1)).save(tmp_path / "equal.png")
    Image.fromarray(np.stack([grey, grey, grey + 1], -1)).save(tmp_path / "colour.png")
    np.testing.assert_array_equal(open_video(tmp_path / "grey.png")[0].values, grey)
    np.testing.assert_array_equal(open_video(tmp_path / "deep.png")[0].values, frames[0])
    np.testing.assert_array_equal(open_video(tmp_path / "equal.png")[0].values, grey)
    with pytest.raises(VideoFileError, match="colour"):
        open_video(tmp_path / "colour.png")
    tifffile.imwrite(tmp_path / "colour.tif", np.zeros((20, 20, 3), np.uint8), photometric="rgb")
    with pytest.raises(VideoFileError, match="colour"):
        open_video(tmp_path / "colour.tif")


@pytest.mark.parametrize("suffix", ["npy", "mrc"])
def test_fifty_gigabytes_open_without_memory(tmp_path, suffix):
    path, shape = tmp_path / f"big.{suffix}", (1500, 4096, 4096)
    if suffix == "npy":
        with path.open("wb") as file:
            header = {"descr": "<u2", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            size = file.tell()
    else:
        write_mrc(path, np.broadcast_to(np.uint16(0), shape)[:0], promised=shape[0])
        header = bytearray(path.read_bytes())
        header[:12] = struct.pack("<III", shape[2], shape[1], shape[0])
        path.write_bytes(header)
        size = 1024
    with path.open("rb+") as file:
        file.truncate(size + int(np.prod(shape)) * 2)
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    video = open_video(path)
    assert video.shape == shape
    assert not video[1499, -64:, -64:].values.any()
    assert not video[:50, 2000:2010].values.any()
    # kilobytes: one chunk of one frame is 32 MB
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


NOISY = ("dm3", "dm4", "tif", "mp4", "mrc", "avi", "ser")
DAMAGED = {
    "text.dm4": b"This is no image, it is a letter.\n" * 40,
    "text.mib": b"hello" * 99,
    "text.tvips": b"hello" * 99,
    "text.h5": b"hello" * 99,
    "text.emd": b"hello" * 99,
    "text.png": b"hello" * 99,
    "text.npy": b"hello" * 99,
    "text.hspy": b"hello" * 99,
    "text.ser": b"hello" * 99,
    "text.blo": b"hello" * 9999,
    **{f"noise.{s}": np.random.default_rng(1).bytes(5000) for s in NOISY},
    **{f"empty.{s}": b"" for s in ("dm4", "tif", "mp4", "npy", "mrc", "png")},
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_no_video_is_told_in_one_sentence_with_its_name(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(DAMAGED[name])
    with pytest.raises(VideoFileError) as caught:
        open_video(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [n for n in WRITERS if not n.endswith(".zarr")])
def test_files_cut_short_are_told(tmp_path, frames, name):
    path = tmp_path / name
    WRITERS[name](path, frames)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(0.6 * len(whole))])
    with pytest.raises(VideoFileError, match=r"cut short|damaged|cannot be read") as caught:
        open_video(path)
    assert str(path) in str(caught.value)


def test_a_header_that_promises_terabytes_takes_no_memory(tmp_path, frames):
    write_mrc(tmp_path / "a.mrc", frames, promised=2**31)
    with pytest.raises(VideoFileError, match="promises"):
        open_video(tmp_path / "a.mrc")


def test_pickles_are_refused_unread(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    np.save(tmp_path / "bomb.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(VideoFileError, match="pickled"):
        open_video(tmp_path / "bomb.npy")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("absent.dm4", "does not exist"),
        ("log.csv", r"\.csv files are not read; read are .*dm4"),
        ("none", "without suffix"),
    ],
)
def test_what_cannot_be_opened_says_what_can(tmp_path, name, why):
    if "absent" not in name:
        (tmp_path / name).write_text("a,b\n1,2\n")
    with pytest.raises(VideoFileError, match=why):
        open_video(tmp_path / name)
    assert not is_video_path(tmp_path / name) or "absent" in name


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.zeros((4, 4), complex), "complex"),
        (np.zeros((0, 4, 4)), "empty"),
        (np.zeros((2, 2, 2, 2, 2)), "dims"),
    ],
)
def test_arrays_that_are_no_video_are_told_with_their_file(tmp_path, array, why):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(VideoFileError, match=rf"a\.npy .*{why}"):
        open_video(tmp_path / "a.npy")


def test_a_damaged_zarr_is_told(tmp_path, frames):
    zarr.save_array(tmp_path / "a.zarr", frames)
    (tmp_path / "a.zarr" / "zarr.json").write_text("{")
    with pytest.raises(VideoFileError, match=r"a\.zarr"):
        open_video(tmp_path / "a.zarr")


def test_importing_io_loads_no_reader():
    code = (
        "import sys, napari_hrtem_vae.io\n"
        "heavy = 'torch qtpy napari rsciio av tifffile h5py zarr PIL'.split()\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
