from __future__ import annotations

import csv

import numpy as np
import pytest
import tifffile

from napari_hrtem_vae.errors import ParameterError, ResultError
from napari_hrtem_vae.io import open_video, save_map_tiff, save_table_csv


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(12, 17))


def test_maps_come_back_with_their_resolution(tmp_path, values):
    from rsciio.tiff import file_reader

    path = tmp_path / "map.tif"
    save_map_tiff(path, values, 0.163)
    np.testing.assert_array_equal(tifffile.imread(path), values.astype(np.float32))
    with tifffile.TiffFile(path) as tiff:
        assert tiff.imagej_metadata["unit"] == "nm"
        over, under = tiff.pages[0].tags["XResolution"].value
        assert under / over == pytest.approx(0.163, rel=1e-6)
    axes = file_reader(str(path))[0]["axes"]
    assert [axis["units"] for axis in axes] == ["nm", "nm"]
    assert [axis["scale"] for axis in axes] == pytest.approx([0.163] * 2, rel=1e-6)
    assert open_video(path).attrs["pixel_size_nm"] == pytest.approx(0.163, rel=1e-6)


def test_maps_of_unknown_pixel_size_claim_none(tmp_path, values):
    save_map_tiff(tmp_path / "map.tif", values, None)
    assert "pixel_size_nm" not in open_video(tmp_path / "map.tif").attrs


def test_tables_come_back(tmp_path):
    columns = {"time [s]": np.arange(4) * 0.1, "z_3": np.array([1.5, np.nan, -2, 0]), "frame": np.arange(4)}
    save_table_csv(tmp_path / "t.csv", columns)
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == list(columns)
    back = np.array(rows[1:], dtype=float).T
    for read, written in zip(back, columns.values(), strict=True):
        np.testing.assert_array_equal(read, written)


def test_what_was_there_stays_when_writing_fails(tmp_path, values):
    resource = pytest.importorskip("resource")
    path = tmp_path / "map.tif"
    save_map_tiff(path, values, 1.0)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (5000, limits[1])
    )  # the system refuses more, as a full disk does
    try:
        with pytest.raises(ResultError, match=r"map\.tif cannot be written") as caught:
            save_map_tiff(path, np.zeros((200, 200)), 1.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["map.tif"]


def test_a_missing_folder_is_told(tmp_path, values):
    with pytest.raises(ResultError, match=r"nowhere"):
        save_table_csv(tmp_path / "nowhere" / "t.csv", {"a": np.arange(3)})
    with pytest.raises(ResultError, match=r"nowhere"):
        save_map_tiff(tmp_path / "nowhere" / "m.tif", values, None)


def test_wrong_shapes_are_told(tmp_path, values):
    with pytest.raises(ParameterError, match="map2d"):
        save_map_tiff(tmp_path / "m.tif", values[None], 1.0)
    with pytest.raises(ParameterError, match="pixel_size_nm"):
        save_map_tiff(tmp_path / "m.tif", values, 0.0)
    with pytest.raises(ParameterError, match="columns"):
        save_table_csv(tmp_path / "t.csv", {"a": np.arange(3), "b": np.arange(4)})
    assert not list(tmp_path.iterdir())
