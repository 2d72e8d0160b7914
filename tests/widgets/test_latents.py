"""Latents without a window: sliders, reconstructions, sites, clicks, and a clean end."""

from __future__ import annotations

import threading

import dask.array as da
import numpy as np
import pytest
from qtpy.QtCore import QPointF, Qt
from qtpy.QtGui import QWheelEvent

import napari_hrtem_vae as hv
from napari_hrtem_vae.errors import ParameterError, ResultError
from napari_hrtem_vae.vae.architecture import Architecture, Convolution, DecoderLayers, EncoderLayers
from napari_hrtem_vae.vae.card import ModelCard
from napari_hrtem_vae.vae.model import Model, save_model
from napari_hrtem_vae.vae.network import Network
from napari_hrtem_vae.vae.traversal import slow_variation
from napari_hrtem_vae.widgets.latents import LatentsWidget
from napari_hrtem_vae.widgets.settings import save_settings

from .conftest import STEP, WINDOW, moving_disc

LATENTS = 12
PATIENCE_MS = 60_000
VARIANCES = np.linspace(0.5, 2, LATENTS).tolist()
NM = {"scale": (0.5, 0.02, 0.02), "units": ("s", "nm", "nm"), "axis_labels": ("t", "y", "x")}


def tiny_model(*, encoder: bool = True, decoder: bool = True, **card) -> Model:
    """Random weights: 16 px window, 12 latents."""
    import torch

    torch.manual_seed(1)
    layers = (Convolution(8, 4, 2, "valid"), Convolution(8, 3, 2, "valid"), Convolution(8, 3, 1, "valid"))
    up = (Convolution(8, 4, 2), Convolution(8, 4, 2), Convolution(1, 3, 1))
    architecture = Architecture(
        window=WINDOW,
        latents=LATENTS,
        activation="silu",
        encoder=EncoderLayers(layers) if encoder else None,
        decoder=DecoderLayers(4, 8, up) if decoder else None,
    )
    given = {"pixel_size_nm": 0.02, "step": STEP, "training": {"variances": VARIANCES}} | card
    network = Network(architecture)
    with torch.no_grad():
        for weights in network.parameters():
            weights.mul_(3)
    return Model(ModelCard("small", architecture, **given), network)


@pytest.fixture(scope="module")
def whole_model(tmp_path_factory):
    return save_model(tiny_model(), tmp_path_factory.mktemp("model") / "whole.safetensors", exact=True)


@pytest.fixture
def make_latents(qtbot, whole_model):
    """Makes Latents widgets over viewers, with a model file chosen and read; closes them at the end."""
    made = []

    def make(viewer, model=whole_model):
        save_settings({"model": str(model)})
        widget = LatentsWidget(viewer)
        made.append(widget)
        settle(qtbot, widget)
        assert widget.store.state.loaded is not None
        return widget

    yield make
    for widget in made:
        dock = widget._dock
        widget.shut_down()
        for one in (widget, dock):
            if one is not None:
                one.deleteLater()


def settle(qtbot, widget):
    """Wait until all that was asked for is on the screen."""
    qtbot.waitUntil(
        lambda: not (widget.loader.busy or widget.site.busy or widget.reconstructions.busy),
        timeout=PATIENCE_MS,
    )


def pick(qtbot, widget, y, x):
    """Click at a pixel of the video."""
    video = widget.store.state.video
    position = np.zeros(video.ndim)
    position[-2:] = y, x
    widget.picker.pick(video.data_to_world(position))
    settle(qtbot, widget)


@pytest.fixture
def film(viewer, video_array):
    return viewer.add_image(video_array, name="film", **NM)


def encoded(array, widget, **options):
    """The latent field of Analyze, of the same video."""
    video = hv.open_video(array, pixel_size_nm=options.pop("pixel_size_nm", 0.02))
    return hv.encode(video, widget.store.state.loaded, step=STEP, **options)


# Sliders and reconstructions


def test_before_a_click_the_sliders_stand_at_0_and_draw_the_middle_of_the_model(viewer, make_latents):
    widget = make_latents(viewer)
    state = widget.store.state
    assert [slider.value() for slider in widget.sliders.sliders[:LATENTS]] == [0] * LATENTS
    np.testing.assert_allclose(state.after, state.loaded.decode(np.zeros((1, LATENTS)))[0], atol=1e-6)
    # most variance over the training set first
    assert widget.sliders.order == list(range(LATENTS - 1, -1, -1))


def test_a_slider_moves_its_latent_over_three_spreads(viewer, make_latents, qtbot):
    widget = make_latents(viewer)
    slider = widget.sliders.sliders[4]
    slider.setValue(slider.maximum())
    settle(qtbot, widget)
    expected = np.zeros((1, LATENTS), np.float32)
    expected[0, 4] = 3 * np.sqrt(VARIANCES[4])
    state = widget.store.state
    np.testing.assert_allclose(state.z, expected[0], rtol=1e-5)
    np.testing.assert_allclose(state.after, state.loaded.decode(expected)[0], atol=1e-6)
    np.testing.assert_allclose(state.before, state.loaded.decode(np.zeros((1, LATENTS)))[0], atol=1e-6)
    images = widget.pictures.view.images()
    assert images[0] is None
    assert images[1] is not None
    assert images[2] is not None
    assert widget.sliders._values[4].text().startswith(f"+{expected[0, 4]:.2f}")


def test_while_a_slider_is_dragged_the_picture_follows(viewer, make_latents, qtbot):
    widget = make_latents(viewer)
    shown = []
    widget.store.on("after", lambda: shown.append(widget.store.state.after))
    for position in range(-200, 201, 10):
        widget.sliders.sliders[2].setValue(position)
        qtbot.wait(1)
    settle(qtbot, widget)
    # not only the last one: something newer waits all the time
    assert len(shown) > 5
    assert not any(np.array_equal(one, other) for one, other in zip(shown[1:], shown[:-1], strict=True))


def test_reset_zero_and_double_click_bring_latents_back(viewer, make_latents, film, qtbot):
    widget = make_latents(viewer)
    pick(qtbot, widget, 40, 24)
    start = widget.store.state.start
    qtbot.mouseClick(widget.sliders.zero_button, Qt.MouseButton.LeftButton)
    np.testing.assert_array_equal(widget.store.state.z, np.zeros(LATENTS))
    slider = widget.sliders.sliders[3]
    qtbot.mouseDClick(slider, Qt.MouseButton.LeftButton)
    assert widget.store.state.z[3] == pytest.approx(start[3], abs=1e-6)
    assert widget.store.state.z[5] == 0
    qtbot.mouseClick(widget.sliders.reset_button, Qt.MouseButton.LeftButton)
    np.testing.assert_array_equal(widget.store.state.z, start)


def test_the_wheel_scrolls_and_moves_no_slider(viewer, make_latents, qtbot):
    widget = make_latents(viewer)
    slider = widget.sliders.sliders[0]
    here = QPointF(5, 5)
    turn = QWheelEvent(
        here,
        QPointF(slider.mapToGlobal(here.toPoint())),
        here.toPoint(),
        QPointF(0, 120).toPoint(),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    slider.wheelEvent(turn)
    assert slider.value() == 0
    assert not turn.isAccepted()


def test_every_latent_has_a_row_in_either_order(viewer, make_latents, film, qtbot):
    widget = make_latents(viewer)
    pick(qtbot, widget, 40, 24)
    expected = np.argsort(-slow_variation(widget.store.state.series), kind="stable").tolist()
    qtbot.waitUntil(lambda: widget.sliders.order == expected, timeout=PATIENCE_MS)
    rows = [widget.sliders._grid.itemAtPosition(row, 1).widget() for row in range(LATENTS)]
    assert rows == [widget.sliders.sliders[latent] for latent in expected]
    widget.sliders.order_box.setCurrentIndex(1)
    qtbot.waitUntil(lambda: widget.sliders.order == list(range(LATENTS)), timeout=PATIENCE_MS)


def test_meanings_stand_beside_the_indices(viewer, make_latents):
    widget = make_latents(viewer)
    widget.store.change(meanings=("rotation", *([None] * (LATENTS - 1))))
    assert widget.sliders._names[0].text() == "z0 · rotation"
    assert widget.sliders._names[1].text() == "z1"


# Sites


def test_a_click_takes_the_window_of_the_nearest_site_at_this_frame(viewer, make_latents, film, qtbot):
    widget = make_latents(viewer)
    viewer.dims.set_point(0, 4.0)
    pick(qtbot, widget, 41.3, 22.8)
    field = encoded(film.data, widget)
    state = widget.store.state
    row, column = state.site.index
    centres = np.array([field["y"][row], field["x"][column]]) / 0.02
    assert np.abs(centres - (41.3, 22.8)).max() <= STEP / 2
    np.testing.assert_allclose(state.start, field[8, row, column], atol=1e-4)
    np.testing.assert_array_equal(state.z, state.start)
    np.testing.assert_allclose(state.series, field[:, row, column], atol=1e-4)
    assert state.window.shape == (WINDOW, WINDOW)
    assert state.complete
    np.testing.assert_allclose(state.site.times, np.arange(12) * 0.5)


def test_the_window_lies_where_it_is_drawn(viewer, make_latents, film, qtbot):
    widget = make_latents(viewer)
    pick(qtbot, widget, 40, 24)
    frame = widget.frame.layer
    corners = np.array([frame.data_to_world(corner) for corner in frame.data[0]])
    np.testing.assert_allclose(np.ptp(corners, axis=0), WINDOW * 0.02)
    np.testing.assert_allclose(corners.mean(0) / 0.02, widget.store.state.site.corners_px.mean(0))
    assert [str(unit) for unit in frame.units] == ["nanometer", "nanometer"]
    assert viewer.layers.selection.active is film
    pick(qtbot, widget, 10, 60)
    assert widget.frame.layer is frame
    assert len(viewer.layers) == 2


def test_window_and_sliders_follow_the_viewers_frame(viewer, make_latents, film, qtbot):
    widget = make_latents(viewer)
    pick(qtbot, widget, 40, 24)
    first = widget.store.state
    site, frames = first.site, []
    widget.store.on("site", lambda: frames.append(widget.store.state.site))
    viewer.dims.set_point(0, 5.5)
    settle(qtbot, widget)
    state = widget.store.state
    assert state.frame == 11
    np.testing.assert_allclose(state.z, state.series[11], atol=1e-5)
    assert not np.array_equal(state.window, first.window)
    assert (state.site, frames) == (site, [])


def test_plots_show_what_changes_most_and_the_path_and_move_the_viewer(viewer, make_latents, film, qtbot):
    widget = make_latents(viewer)
    pick(qtbot, widget, 40, 24)
    series, dock = widget.store.state.series, widget.dock
    most = np.argsort(-slow_variation(series), kind="stable")[:4]
    traces = dock.plot._content.left
    assert [trace.label for trace in traces] == [f"z{latent}" for latent in most]
    for trace, latent in zip(traces, most, strict=True):
        np.testing.assert_array_equal(trace.values, series[:, latent])
    assert dock.plot._content.note == ""
    points = dock.path._path.points
    assert np.var(points[:, 0]) >= np.var(points[:, 1])
    assert dock.path._path.labels[0].startswith("PC 1 (")

    box = dock.path.boxes[1]
    box.setCurrentIndex(box.findData(7))
    np.testing.assert_array_equal(dock.path._path.points[:, 1], series[:, 7])
    np.testing.assert_array_equal(dock.path._path.points[:, 0], points[:, 0])

    dock.plot.time_clicked.emit(3.1)
    assert viewer.dims.point[0] == pytest.approx(3.0)
    assert dock.path._frame == 6
    dock.path.frame_clicked.emit(2)
    assert viewer.dims.point[0] == pytest.approx(1.0)
    assert dock.plot._time == pytest.approx(1.0)


def test_a_path_and_its_table_are_saved(viewer, make_latents, film, qtbot, tmp_path):
    widget = make_latents(viewer)
    with pytest.raises(ResultError, match="click a place"):
        widget.dock.path.export_figure(tmp_path / "path.png")
    pick(qtbot, widget, 40, 24)
    widget.dock.path.export_figure(tmp_path / "path.svg")
    widget.dock.plot.export_csv(tmp_path / "z.csv")
    with pytest.raises(ParameterError, match=r"\.svg"):
        widget.dock.path.export_figure(tmp_path / "path.bmp")
    assert "PC 1" in (tmp_path / "path.svg").read_text()
    table = np.genfromtxt(tmp_path / "z.csv", delimiter=",", skip_header=1)
    np.testing.assert_allclose(table[:, 0], np.arange(12) * 0.5)


@pytest.mark.parametrize("name", ["pbs-64-fast", "pbs-64"])
def test_a_reconstruction_of_a_shipped_model_looks_like_its_window(viewer, make_latents, name, qtbot):
    scene = hv.simulate("static", frames=2, rows=128, columns=128, dose=200, seed=3)
    viewer.add_image(scene["video"].values, scale=(1, 0.014, 0.014), units=("s", "nm", "nm"))
    widget = make_latents(viewer)
    names = [widget.model.model_box.itemText(index) for index in range(widget.model.model_box.count())]
    widget.model.model_box.setCurrentIndex(names.index(name))
    qtbot.waitUntil(lambda: widget.store.state.loaded is not None, timeout=PATIENCE_MS)
    pick(qtbot, widget, 64, 64)
    state = widget.store.state
    assert np.corrcoef(state.window.ravel(), state.after.ravel())[0, 1] > 0.8


# Clicks, layers, closing


class Press:
    """What napari tells of the mouse."""

    def __init__(self, position, button=1, modifiers=()):
        self.position, self.button, self.modifiers = position, button, modifiers
        self.pos, self.type = np.zeros(2), "mouse_press"


def press_and_release(viewer, widget, event, moved_px=0.0):
    (drag,) = [one for one in viewer.mouse_drag_callbacks if one == widget.picker._pressed]
    steps = drag(viewer, event)
    if next(steps, "refused") == "refused":
        return
    if moved_px:
        event.type, event.pos = "mouse_move", np.array([moved_px, 0.0])
        next(steps)
    event.type = "mouse_release"
    assert next(steps, "done") == "done"


def test_a_click_picks_and_a_drag_pans(viewer, make_latents, film, qtbot):
    widget = make_latents(viewer)
    world = film.data_to_world((0, 40, 24))
    press_and_release(viewer, widget, Press(world), moved_px=30)
    assert widget.store.state.place is None
    for other in (Press(world, button=2), Press(world, modifiers=("Shift",))):
        press_and_release(viewer, widget, other)
        assert widget.store.state.place is None
    press_and_release(viewer, widget, Press(world), moved_px=2)
    np.testing.assert_allclose(widget.store.state.place, (40, 24))


def test_a_mouse_that_draws_shapes_picks_nothing(viewer, make_latents, film, qtbot):
    widget = make_latents(viewer)
    shapes = viewer.add_shapes(ndim=2, **{key: value[1:] for key, value in NM.items()})
    shapes.mode = "add_rectangle"
    press_and_release(viewer, widget, Press(film.data_to_world((0, 40, 24))))
    assert widget.store.state.place is None


def test_a_place_is_told_in_the_viewers_unit(viewer, make_latents, film, qtbot):
    """A layer in µm beside one in nm: the click lands on the same pixel."""
    widget = make_latents(viewer)
    viewer.add_image(moving_disc(), scale=(0.5, 2e-5, 2e-5), units=("s", "um", "um"), name="small unit")
    small = viewer.layers["small unit"]
    widget.video.layer_box.setCurrentIndex(1)
    assert widget.store.state.video is small
    shown = viewer.dims.units
    factor = 1.0 if shown is None else float((1 * small.units[-1]).to(shown[-1]).magnitude)
    widget.picker.pick(np.array([0, 40, 24]) * (0.5, 2e-5 * factor, 2e-5 * factor))
    np.testing.assert_allclose(widget.store.state.place, (40, 24), atol=1e-6)


def test_a_video_that_goes_takes_its_site_along(viewer, make_latents, film, qtbot):
    widget = make_latents(viewer)
    pick(qtbot, widget, 40, 24)
    viewer.layers.remove(film)
    settle(qtbot, widget)
    state = widget.store.state
    assert (state.place, state.site, state.window, state.series) == (None,) * 4
    assert len(viewer.layers) == 0
    assert widget.dock.plot._content.left == ()
    np.testing.assert_array_equal(state.z, np.zeros(LATENTS))


def test_another_model_keeps_the_place(viewer, make_latents, film, model_file, qtbot):
    widget = make_latents(viewer)
    pick(qtbot, widget, 40, 24)
    widget.model.load_file(model_file)
    qtbot.waitUntil(
        lambda: widget.store.state.complete and widget.store.state.series.shape[1] == 4, timeout=PATIENCE_MS
    )
    assert widget.store.state.site is not None


def test_a_newer_place_ends_the_reading_of_the_older(viewer, make_latents, qtbot):
    gate = threading.Event()
    gate.set()

    def slow(block):
        gate.wait(20)
        return block

    film = np.tile(moving_disc(), (20, 1, 1))
    frames = da.from_array(film, chunks=(1, 64, 80))
    lazy = frames.map_blocks(slow, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))
    viewer.add_image(lazy, contrast_limits=(0, 255), **NM)
    widget = make_latents(viewer)
    # the first series waits for its first frames while the second place is picked
    widget.store.on("site", gate.clear)
    widget.picker.pick(widget.store.state.video.data_to_world((0, 20, 20)))
    qtbot.waitUntil(lambda: widget.store.state.site is not None, timeout=PATIENCE_MS)
    first = widget.store.state.site
    widget.store.on("site", gate.set)
    assert widget.store.state.series is None
    widget.picker.pick(widget.store.state.video.data_to_world((0, 20, 60)))
    gate.set()
    settle(qtbot, widget)
    state = widget.store.state
    assert state.site is not first
    assert state.complete
    np.testing.assert_allclose(state.series, encoded(film, widget)[:, *state.site.index], atol=1e-3)


def test_closing_ends_all_work_and_takes_the_frame_away(viewer, make_latents, film, qtbot):
    widget = make_latents(viewer)
    before = list(viewer.mouse_drag_callbacks)
    pick(qtbot, widget, 40, 24)
    assert len(viewer.layers) == 2
    widget.close()
    assert list(viewer.layers) == [film]
    assert len(viewer.mouse_drag_callbacks) == len(before) - 1
    assert widget.store.state.video is None
    viewer.dims.set_point(0, 2.0)
    widget.shut_down()


def test_the_frame_that_the_user_deleted_comes_back_with_the_next_site(viewer, make_latents, film, qtbot):
    widget = make_latents(viewer)
    pick(qtbot, widget, 40, 24)
    viewer.layers.remove(widget.frame.layer)
    assert widget.store.state.site is not None
    pick(qtbot, widget, 12, 50)
    assert widget.frame.layer in viewer.layers


def test_video_and_model_are_folded_away_unless_something_is_missing(viewer, make_latents, film):
    widget = make_latents(viewer)
    assert widget.setup.inner.isHidden()
    assert widget.setup.button.text() == "film · small"
    from napari.components import ViewerModel

    empty = make_latents(ViewerModel())
    assert not empty.setup.inner.isHidden()


def test_the_menu_has_five_widgets_in_order():
    from npe2 import PluginManifest

    manifest = PluginManifest.from_distribution("napari-hrtem-vae")
    names = [one.display_name for one in manifest.contributions.widgets]
    assert [name for name in names if name in ("Analyze", "Lattice", "Train", "Latents", "Simulate")] == [
        "Analyze",
        "Lattice",
        "Train",
        "Latents",
        "Simulate",
    ]
