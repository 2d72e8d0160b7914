"""Regions hold the sites whose centres lie in them, and z(t) is their mean."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from napari.layers import Shapes

from napari_hrtem_vae.widgets.layers import Placement
from napari_hrtem_vae.widgets.regions import (
    Region,
    region_trace,
    regions_from,
    regions_in,
    regions_layer_data,
    with_regions,
)


def rectangle(y0, x0, y1, x1, name="Region 1"):
    return Region(name, "rectangle", ((y0, x0), (y0, x1), (y1, x1), (y1, x0)))


def test_a_rectangle_holds_the_centres_inside_and_on_its_edge():
    sites = rectangle(1, 2, 3.4, 4.9).sites(6, 7)
    expected = np.zeros((6, 7), bool)
    expected[1:4, 2:5] = True
    np.testing.assert_array_equal(sites, expected)


@pytest.mark.parametrize("clockwise", [False, True])
def test_the_direction_of_drawing_does_not_matter(clockwise):
    corners = ((1, 1), (1, 4), (4, 4), (4, 1))
    region = Region("r", "polygon", corners[::-1] if clockwise else corners)
    assert region.sites(6, 6).sum() == 16


def test_an_ellipse_holds_less_than_its_box():
    corners = ((0, 0), (0, 8), (8, 8), (8, 0))
    sites = Region("r", "ellipse", corners).sites(9, 9)
    y, x = np.mgrid[:9, :9]
    np.testing.assert_array_equal(sites, np.hypot(y - 4, x - 4) <= 4 + 1e-6)


def test_a_polygon_that_goes_in_leaves_its_notch_out():
    region = Region("r", "polygon", ((-0.5, -0.5), (-0.5, 4.5), (4.5, 4.5), (2.1, 2), (4.5, -0.5)))
    sites = region.sites(5, 5)
    assert not sites[4, 2]
    assert sites[0, 2]


@pytest.mark.parametrize(
    ("region", "site"),
    [
        (rectangle(1.2, 1.2, 1.4, 1.4), (1, 1)),
        (rectangle(-0.4, 3.9, -0.1, 4.4), (0, 4)),
        (Region("r", "line", ((2, 3), (2, 3.2))), (2, 3)),
        (Region("r", "ellipse", ((2, 2), (2, 2), (2, 2), (2, 2))), (2, 2)),
    ],
)
def test_a_shape_smaller_than_a_site_takes_the_nearest(region, site):
    assert np.argwhere(region.sites(4, 5)).tolist() == [list(site)]


@pytest.mark.parametrize("corner", [(-9, -9), (-1, 2), (1, 5), (4, 4)])
def test_a_shape_beside_all_sites_has_none(corner):
    y, x = corner
    region = rectangle(y, x, y + 0.3, x + 0.3)
    assert not region.sites(4, 5).any()
    assert np.isnan(region_trace(field(ny=4, nx=5), region, 0)).all()


def test_shapes_are_read_in_world_units():
    placement = Placement((10.0, 20.0), (0.5, 0.0), (0.0, 0.5), ("nm", "nm"))
    corners = np.array([[110, 210], [110, 220], [120, 220], [120, 210]], float)
    shapes = Shapes([corners], shape_type="rectangle", units=("angstrom", "angstrom"))
    (region,) = regions_in(shapes, placement)
    np.testing.assert_allclose(region.vertices, (corners / 10 - (10, 20)) / 0.5)


def test_the_layer_of_regions_gives_the_regions_back():
    placement = Placement((1.0, 2.0), (0.16, 0.0), (0.0, 0.16), ("nm", "nm"))
    regions = (
        rectangle(1, 2, 3, 4),
        Region("Region 2", "ellipse", ((0, 0), (0, 2), (2, 2), (2, 0))),
        Region("Region 3", "polygon", ((0, 0), (0, 2), (3, 1))),
    )
    data, options, kind = regions_layer_data(placement, regions, ("#ff0000", "#00ff00"))
    assert kind == "shapes"
    found = regions_in(Shapes(data, **options), placement)
    assert [r.shape_type for r in found] == [r.shape_type for r in regions]
    for one, other in zip(found, regions, strict=True):
        np.testing.assert_allclose(one.vertices, other.vertices, atol=1e-9)


def field(frames=5, ny=6, nx=7, latents=3):
    values = np.random.default_rng(0).normal(size=(frames, ny, nx, latents)).astype(np.float32)
    return xr.Dataset({"z": (("time", "y", "x", "latent"), values)})


def test_a_trace_is_the_mean_over_the_sites():
    result, region = field(), Region("r", "polygon", ((0.5, 0.5), (0.5, 5.2), (4.3, 2)))
    expected = result["z"].values[:, region.sites(6, 7)][:, :, 1].mean(1)
    np.testing.assert_allclose(region_trace(result, region, 1), expected, rtol=1e-5)


def test_a_lazy_field_gives_the_same_trace():
    result, region = field(), rectangle(1, 1, 3, 4)
    lazy = result.chunk({"time": 2})
    np.testing.assert_array_equal(region_trace(lazy, region, 2), region_trace(result, region, 2))


def test_frames_without_a_value_stay_without_one():
    result, region = field(), rectangle(1, 1, 3, 4)
    result["z"][2] = np.nan
    trace = region_trace(result, region, 0)
    assert np.isnan(trace[2])
    assert np.isfinite(np.delete(trace, 2)).all()


def test_regions_are_noted_in_a_result_and_read_back():
    result, regions = field(), (rectangle(1, 2, 3, 4), Region("R2", "path", ((0, 0.25), (1, 1))))
    noted = with_regions(result, regions)
    assert regions_from(noted) == regions
    assert "regions" not in result.attrs
    assert regions_from(result) == ()
    assert regions_from(result.assign_attrs(regions="[{]")) == ()
