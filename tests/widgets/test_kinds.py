"""Kinds of change: their colours, words, layer, legend and table, and which map is shown first."""

from __future__ import annotations

import csv
from itertools import combinations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from napari.components import ViewerModel
from napari.layers import Image, Labels
from scipy import ndimage
from skimage.color import rgb2lab

from napari_hrtem_vae.errors import ResultError
from napari_hrtem_vae.io.results import open_result, save_result
from napari_hrtem_vae.widgets.hotspots_table import HotspotsPanel
from napari_hrtem_vae.widgets.kinds import (
    COLOURS,
    amount_words,
    hotspot_kinds,
    kind_map,
    kind_names,
    kinds_layer_data,
    kinds_of_layer,
    kinds_seen,
)
from napari_hrtem_vae.widgets.kinds_legend import KindsLegend
from napari_hrtem_vae.widgets.layers import (
    Placement,
    latent_names,
    limits_of,
    map_layer_data,
    placement_of_result,
    result_of,
)
from napari_hrtem_vae.widgets.map_layer import MapLayer
from napari_hrtem_vae.widgets.maps_panel import MapsPanel
from napari_hrtem_vae.widgets.results_reader import get_result_reader
from napari_hrtem_vae.widgets.results_writer import write_results
from napari_hrtem_vae.widgets.store import Store

NAMES = ["no change", "growth", "shrinkage", "rotation", "translation", "contrast", "unknown"]
# Severity 1, of linear RGB; Machado, Oliveira and Fernandes 2009, IEEE Trans. Vis. Comput. Graph. 15, 1291.
SEEN_BY = {
    "all cones": np.eye(3),
    "no long": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no medium": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "no short": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}


def result_of_kinds(kinds, names=NAMES, latents=3, **variables):
    """A finished result whose sites show these kinds (y, x); sites 0.2 nm apart."""
    kinds = np.asarray(kinds, np.int8)
    sites = ("y", "x")
    rng = np.random.default_rng(0)
    maps = rng.random((*kinds.shape, latents)).astype(np.float32)
    nm = {"units": "nm"}
    data = {
        "change": (sites, np.where(kinds > 0, 4.0, 0.1).astype(np.float32)),
        "time_correlated_variance": ((*sites, "latent"), maps),
        "kind": (sites, kinds, {"names": list(names)}),
        "kind_confidence": (sites, np.full(kinds.shape, 0.9, np.float32)),
    }
    coords = {
        "y": ("y", 0.5 + 0.2 * np.arange(kinds.shape[0]), nm),
        "x": ("x", 0.7 + 0.2 * np.arange(kinds.shape[1]), nm),
        "latent": np.arange(latents),
    }
    return xr.Dataset(data | variables, coords, {"hrtem_vae_result": "analysis"})


def read_outs(name, values, errors, unit):
    sites = ("y", "x")
    attrs = {"units": unit}
    return {name: (sites, np.asarray(values), attrs), f"{name}_error": (sites, np.asarray(errors), attrs)}


TWO_TURNS = [[3, 3, 0, 0], [0, 0, 0, 3], [1, 0, 0, 3]]
NAN = np.nan


def turning():
    """Two places that rotate and one that grows."""
    angles = [[4.0, 5.0, NAN, NAN], [NAN, NAN, NAN, -3.0], [NAN, NAN, NAN, -3.0]]
    errors = [[0.5, 1.0, NAN, NAN], [NAN, NAN, NAN, 0.2], [NAN, NAN, NAN, 0.2]]
    moved = np.where(np.asarray(TWO_TURNS) == 1, 0.61, NAN)
    return result_of_kinds(
        TWO_TURNS,
        **read_outs("rotation", angles, errors, "deg"),
        **read_outs("edge_shift", moved, moved / 3, "nm"),
    )


def layer_of(result, placement=None):
    values, options, kind = kinds_layer_data(result, placement or placement_of_result(result), "film")
    assert kind == "labels"
    return Labels(values, **options)


@pytest.mark.parametrize("eyes", SEEN_BY)
def test_any_two_colours_are_told_apart_by_all_eyes(eyes):
    rgb = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in COLOURS.values()]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = (linear @ np.array(SEEN_BY[eyes]).T).clip(0, 1)
    seen = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    lab = rgb2lab(seen[None])[0]
    assert min(np.linalg.norm(one - other) for one, other in combinations(lab, 2)) > 30


@pytest.mark.parametrize(
    ("value", "error", "unit", "words"),
    [
        (4.81, 0.52, "deg", "4.8 ± 0.5°"),
        (-4.81, 0.52, "deg", "−4.8 ± 0.5°"),
        (0.612, 0.2, "nm", "0.6 ± 0.2 nm"),
        (0.0123, 0.0041, "nm", "0.012 ± 0.004 nm"),
        (-31.4, 6.0, "%", "−31 ± 6 %"),
        (123.4, 15.0, "px", "123 ± 15 px"),
        (2.0, np.nan, "deg", "2.00°"),
        (2.0, 0.0, "nm", "2.00 nm"),
        (np.nan, 0.5, "deg", ""),
    ],
)
def test_an_amount_ends_with_its_error(value, error, unit, words):
    assert amount_words(value, error, unit) == words


def test_a_place_tells_its_kind_how_sure_it_is_and_by_how_much():
    layer = layer_of(turning())
    told = layer.features.set_index("index")
    at = {site: told.loc[layer.data[site]] for site in ((0, 0), (1, 3), (2, 0))}
    # weights 1/0.5² and 1/1²: (4·4 + 5·1)/5 = 4.2, and the error √(2/5)
    assert tuple(at[0, 0]) == ("rotation", 0.9, "4.2 ± 0.6°")
    assert tuple(at[1, 3]) == ("rotation", 0.9, "−3.0 ± 0.2°")
    assert tuple(at[2, 0]) == ("growth", 0.9, "0.6 ± 0.2 nm")
    for text in ("kind: rotation", "confidence: 0.9", "amount: 4.2 ± 0.6°"):
        assert text in layer.get_status(layer.data_to_world((0, 1)), world=True)["value"]
    still = layer.get_status(layer.data_to_world((1, 1)), world=True)["value"]
    assert "no change" in still
    assert "confidence" not in still


def test_kinds_have_their_colours_wherever_they_are():
    layer = layer_of(turning())
    for site, kind in (((0, 0), "rotation"), ((2, 3), "rotation"), ((2, 0), "growth")):
        colour = layer.colormap.map(int(layer.data[site]))
        assert to_hex(colour[:3]) == COLOURS[kind]
    assert layer.colormap.map(0)[3] == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_every_place_is_connected_and_of_the_kind_of_its_sites(rows, columns, seed):
    kinds = np.random.default_rng(seed).integers(0, len(NAMES), (rows, columns))
    result = result_of_kinds(kinds)
    if not kinds.any():
        assert kinds_layer_data(result, placement_of_result(result), "") is None
        return
    labels, options, _ = kinds_layer_data(result, placement_of_result(result), "")
    told = options["features"]
    np.testing.assert_array_equal(np.array(told["kind"])[labels], np.array(NAMES)[kinds])
    for place in told["index"][1:]:
        assert ndimage.label(labels == place, np.ones((3, 3)))[1] == 1


@pytest.mark.parametrize(
    "placement",
    [
        Placement((1.5, -2.0), (0.3, 0.0), (0.0, 0.2), ("nm", "nm")),
        Placement((1.0, 2.0), (0.3, 0.1), (-0.1, 0.4)),
    ],
    ids=["straight", "turned"],
)
def test_the_kinds_lie_exactly_on_the_map(placement):
    result = turning()
    values, options, _ = map_layer_data(result, placement, kind="change", latent=0, frame=0, title="film")
    shown, layer = Image(values, **options), layer_of(result, placement)
    for site in ((0, 0), (2, 3)):
        np.testing.assert_allclose(layer.data_to_world(site), shown.data_to_world(site), atol=1e-12)
    assert (layer.units, layer.axis_labels) == (shown.units, shown.axis_labels)
    assert layer.data.shape == shown.data.shape


def test_where_no_kind_is_known_the_layer_is_hidden_and_the_legend_empty(qtbot):
    result = result_of_kinds([[6, 0], [6, 6]])
    assert not layer_of(result).visible
    assert layer_of(turning()).visible
    store = Store()
    legend = KindsLegend(store)
    qtbot.addWidget(legend)
    store.change(result=result)
    assert legend.isHidden()
    store.change(result=turning())
    assert not legend.isHidden()
    assert "growth" in legend.text()
    assert COLOURS["rotation"] in legend.text()
    assert "shrinkage" not in legend.text()
    store.drop_result()
    assert legend.isHidden()


def test_a_result_without_kinds_or_with_damaged_ones_has_no_such_layer():
    good = turning()
    odd = [
        good.drop_vars("kind"),
        good.assign(kind=good["kind"].isel(x=0)),
        good.assign(kind=good["kind"].copy().assign_attrs(names=7)),
        good.assign(kind=good["kind"] * 0),
    ]
    for result in odd:
        assert kinds_layer_data(result, placement_of_result(good), "film") is None
        assert kinds_seen(result) == []
    assert kind_names(odd[0]) == ()


def test_numbers_without_a_name_count_as_no_change_and_names_are_only_words(qtbot):
    result = result_of_kinds([[100, -3], [1, 2]], names=["no change", "<img src=x>", "melting"])
    np.testing.assert_array_equal(kind_map(result), [[0, 0], [1, 2]])
    store = Store()
    legend = KindsLegend(store)
    qtbot.addWidget(legend)
    store.change(result=result)
    assert "<img" not in legend.text()
    assert "melting" in legend.text()


def test_a_map_of_nothing_significant_stays_dark():
    assert limits_of(np.array([[0.1, 0.4]], np.float32), "change") == (0.0, 3.0)
    assert limits_of(np.array([[0.1, 5.0]], np.float32), "change")[1] > 4.9


@pytest.mark.parametrize(
    ("meanings", "names"),
    [
        (["rotation", "mixed", "inactive"], ["z0 · rotation", "z1", "z2 · inactive"]),
        (["mixed"] * 3, ["z0", "z1", "z2"]),
        (["edge", "", "edge"], ["z0 · edge", "z1", "z2 · edge"]),
        (["edge"], ["z0", "z1", "z2"]),
        (None, ["z0", "z1", "z2"]),
    ],
)
def test_a_latent_is_called_by_what_tells_it_apart(meanings, names):
    result = turning()
    if meanings is not None:
        result.attrs["latent_meanings"] = meanings
    assert latent_names(result) == names


# Panels


@pytest.fixture
def maps(qtbot, viewer):
    store = Store()
    panel = MapsPanel(viewer, store)
    qtbot.addWidget(panel)
    yield panel, store
    panel.shut_down()


def finish(store, result, analysis=1):
    store.change(running=True)
    store.change(result=result.drop_attrs(deep=False), analysis=analysis)
    shown = store.state.kind
    store.change(running=False, result=result)
    return shown


def pick(panel, kind):
    panel.kind_box.setCurrentIndex(panel.kind_box.findData(kind))


def test_what_changed_is_shown_when_an_analysis_ends_and_the_published_map_is_one_click_away(maps):
    panel, store = maps
    assert finish(store, turning()) == "time_correlated_variance"
    assert store.state.kind == "change"
    assert panel.kind_box.itemData(0) == panel.kind_box.currentData() == "change"
    pick(panel, "time_correlated_variance")
    assert store.state.kind == "time_correlated_variance"
    assert finish(store, turning(), analysis=2) == "time_correlated_variance"
    assert store.state.kind == "change"


def test_a_map_that_is_picked_while_it_runs_stays(maps):
    panel, store = maps
    store.change(running=True)
    store.change(result=turning().drop_attrs(deep=False), analysis=1)
    panel.latent_box.setCurrentIndex(2)
    store.change(running=False, result=turning())
    assert store.state.kind == "time_correlated_variance"


def test_a_cancelled_run_keeps_the_map_that_filled_in(maps):
    _, store = maps
    store.change(running=True)
    store.change(result=turning().drop_attrs(deep=False), analysis=1)
    store.change(running=False)
    assert store.state.kind == "time_correlated_variance"


@pytest.mark.parametrize("how", ["another", "the same", "elsewhere"])
def test_a_latent_that_is_picked_is_shown_though_the_map_was_of_all(maps, how):
    panel, store = maps
    finish(store, turning())
    if how == "another":
        panel.step(1)
    elif how == "the same":
        panel.latent_box.activated.emit(panel.latent_box.currentIndex())
    else:
        store.change(latent=panel.latent_box.itemData(1))
    assert store.state.kind == "time_correlated_variance"
    assert panel.kind_box.currentData() == "time_correlated_variance"


def test_latents_are_listed_with_meaning_and_peak(maps):
    panel, store = maps
    result = turning().assign_attrs(latent_meanings=["rotation", "edge", "period"])
    finish(store, result)
    peaks = result["time_correlated_variance"].max(("y", "x")).values
    first = panel.latent_box.itemData(0)
    meaning = result.attrs["latent_meanings"][first]
    assert panel.latent_box.itemText(0) == f"z{first} · {meaning} · {peaks[first]:.3g}"


def with_hotspots(result):
    columns = {
        "strength": ([3.0, 2.0], "1"),
        "area": ([0.16, 0.04], "nm²"),
        "y": ([0.5, 0.9], "nm"),
        "x": ([0.8, 0.7], "nm"),
        "kind_confidence": ([0.93, 0.7], "1"),
        "rotation": ([4.81, NAN], "deg"),
        "rotation_error": ([0.5, NAN], "deg"),
        "edge_shift": ([NAN, 0.6], "nm"),
        "edge_shift_error": ([NAN, 0.2], "nm"),
    }
    spots = {f"hotspot_{name}": ("hotspot", *column) for name, (*column, _) in columns.items()}
    found = result.assign(spots)
    for name, (_, unit) in columns.items():
        found[f"hotspot_{name}"].attrs["units"] = unit
    return found.assign(hotspot_kind=("hotspot", np.array([3, 1], np.int8), {"names": NAMES}))


@pytest.fixture
def places(qtbot, viewer):
    store = Store()
    panel = HotspotsPanel(viewer, store)
    qtbot.addWidget(panel)
    return panel, store


def test_the_table_and_its_file_tell_the_kind_of_each_place(places, tmp_path):
    panel, store = places
    store.change(result=with_hotspots(turning()))
    assert not panel.table.isColumnHidden(4)
    assert panel.table.horizontalHeaderItem(4).text() == "Kind"
    assert panel.table.item(0, 4).text() == "rotation 4.8 ± 0.5° (0.93)"
    assert panel.table.item(1, 4).text() == "growth 0.6 ± 0.2 nm (0.70)"
    panel.export_csv(tmp_path / "places.csv")
    with (tmp_path / "places.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == ["rotation", "growth"]
    assert float(rows[0]["rotation [deg]"]) == 4.81
    assert float(rows[0]["rotation error [deg]"]) == 0.5
    assert np.isnan(float(rows[0]["edge shift [nm]"]))
    assert [float(row["area [nm²]"]) for row in rows] == [0.16, 0.04]


def test_without_known_kinds_the_table_is_as_it_was(places, tmp_path):
    panel, store = places
    kinds = with_hotspots(turning())
    old = kinds.drop_vars([name for name in kinds if str(name).startswith("hotspot_kind")])
    unknown = kinds.assign(hotspot_kind=kinds["hotspot_kind"] * 0 + 6)
    unknown["hotspot_kind"].attrs["names"] = NAMES
    for result in (kinds, old, unknown):
        store.change(result=result)
        assert panel.table.isColumnHidden(4) == (result is not kinds)
        assert panel.table.item(0, 0).text() == "3"
    assert hotspot_kinds(old) == []


def test_a_table_of_no_places_is_refused(places, tmp_path):
    panel, _ = places
    assert panel.csv_button.isHidden()
    with pytest.raises(ResultError, match="no places"):
        panel.export_csv(tmp_path / "places.csv")
    assert not (tmp_path / "places.csv").exists()


# Stores and viewers


def kinds_in(viewer):
    return [layer for layer in viewer.layers if kinds_of_layer(layer) is not None]


@pytest.mark.parametrize("opened", ["before", "after"])
def test_a_reopened_result_brings_its_kinds_back_once(make_widget, tmp_path, opened):
    result = with_hotspots(turning()).assign_attrs(latent_meanings=["rotation", "edge", "mixed"])
    path = str(save_result(result, tmp_path / "result.zarr"))
    viewer = ViewerModel()
    widget = make_widget(viewer) if opened == "before" else None
    for data, options, kind in get_result_reader(path)(path):
        viewer._add_layer_from_data(data, options, kind)
    widget = widget or make_widget(viewer)
    (shown,) = [layer for layer in viewer.layers if result_of(layer) is not None]
    (layer,) = kinds_in(viewer)
    assert widget.store.state.kind == "change"
    np.testing.assert_array_equal(shown.data, result["change"])
    np.testing.assert_array_equal(layer.data > 0, result["kind"] > 0)
    np.testing.assert_allclose(layer.extent.world, shown.extent.world)
    assert layer.contour == 1
    assert "rotation" in widget.maps.legend.text()
    assert widget.hotspots.table.item(0, 4).text().startswith("rotation 4.8 ± 0.5°")
    assert any("rotation" in widget.maps.latent_box.itemText(i) for i in range(3))


def test_the_writer_saves_the_result_of_its_kinds_alone(tmp_path):
    path = str(tmp_path / "written.zarr")
    write_results(path, [layer_of(turning()).as_layer_data_tuple()])
    again = open_result(path)
    np.testing.assert_array_equal(again["kind"], TWO_TURNS)
    assert kind_names(again) == tuple(NAMES)


def test_the_end_of_an_analysis_shows_what_changed(viewer, make_widget, analyse, video_array):
    viewer.add_image(video_array, name="film")
    widget = make_widget(viewer)
    analyse(widget)
    (shown,) = [layer for layer in viewer.layers if result_of(layer) is not None]
    np.testing.assert_array_equal(shown.data, widget.store.state.result["change"])
    assert shown.name == "film · change"


def test_the_kinds_of_a_finished_result_lie_above_its_map_and_leave_the_video_selected(viewer):
    video = viewer.add_image(np.zeros((3, 20, 20)), name="film")
    store = Store()
    layers = MapLayer(viewer, store)
    result = turning()
    found = {"placement": placement_of_result(result), "title": "film", "analysed": video}
    store.change(running=True)
    store.change(result=result.drop_vars("kind"), analysis=1, **found)
    assert kinds_in(viewer) == []
    store.change(running=False, result=result)
    (layer,) = kinds_in(viewer)
    assert viewer.layers[-1] is layer
    assert layer.name == "film · kinds"
    assert viewer.layers.selection.active is video
    layer.contour = 0
    viewer.layers.selection.active = layer
    assert layer.contour == 0
    viewer.layers.remove(layer)
    store.change(latent=1)
    assert kinds_in(viewer) == []
    # a map of an older result that is selected is not taken for the new one
    viewer.layers.selection.active = layers.layer
    again = turning()
    store.change(result=again, analysis=2, **found)
    assert len(kinds_in(viewer)) == 1
    assert store.state.result is again
    assert store.state.analysis == 2
    layers.shut_down()
