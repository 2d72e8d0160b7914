"""What has no lattice, what is missing, and runs that are cancelled or lose their layers."""

from __future__ import annotations

import threading

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from qtpy.QtCore import Qt

from napari_hrtem_vae.lattice import spectra
from napari_hrtem_vae.lattice.analysis import track_grains
from napari_hrtem_vae.lattice.parameters import LatticeParameters
from napari_hrtem_vae.widgets.lattice import LatticeWidget
from napari_hrtem_vae.widgets.lattice_growing import GrowingResult
from napari_hrtem_vae.widgets.lattice_maps import (
    LABELS,
    presence_labels,
)
from napari_hrtem_vae.widgets.layers import note_of

from ...lattice.scenes import Disc, paint
from .scene import FRAMES, NM, PLACE, SHAPE, layer_of, settle, track


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: np.random.default_rng(0).poisson(20, (3, 128, 128)).astype("f4"), "No lattice"),
        (lambda: np.full((3, 128, 128), 7.0, "f4"), "constant or hold NaN"),
        (lambda: np.full((3, 128, 128), np.nan, "f4"), "constant or hold NaN"),
        (lambda: np.zeros((2, 20, 20), "u1"), "too small"),
    ],
)
def test_what_has_no_lattice_is_told_in_one_sentence(viewer, make_widget, qtbot, make, words):
    viewer.add_image(make(), contrast_limits=(0, 50), **NM)
    widget = make_widget(viewer)
    track(qtbot, widget)
    assert words in widget.run.message.text()
    assert widget.store.state.message.error
    assert len(viewer.layers) == 1
    assert widget.run.button.text() == "Track"


def test_without_a_video_the_widget_says_what_to_do(viewer, make_widget, qtbot):
    widget = make_widget(viewer)
    track(qtbot, widget)
    assert "Open a video first" in widget.run.message.text()


def test_one_frame_has_angles_and_masks_but_no_change(viewer, make_widget, frames, qtbot):
    viewer.add_image(frames[0], scale=(0.03, 0.03), units=("nm", "nm"))
    widget = make_widget(viewer)
    track(qtbot, widget)
    assert widget.store.state.result["misfit_deg"][0] == pytest.approx(12, abs=0.4)
    assert layer_of(viewer, "presence").ndim == 2
    assert not widget.maps.boxes["change"].isEnabled()
    assert not widget.store.state.message.error


def test_frames_of_nan_are_left_out_and_marked(viewer, make_widget, frames, qtbot):
    film_with_gap = frames.copy()
    film_with_gap[2, :10] = np.nan
    viewer.add_image(film_with_gap, contrast_limits=(0, 50), **NM)
    widget = make_widget(viewer)
    track(qtbot, widget)
    widget.plot  # noqa: B018
    settle(qtbot, widget)
    (misfit,) = widget.plot._content.left
    assert np.isnan(misfit.values[2])
    np.testing.assert_array_equal(widget.plot._content.missing, [1.0])
    viewer.dims.set_current_step(0, 2)
    settle(qtbot, widget)
    assert "NaN" in widget.spectrum.look.words
    widget.maps.boxes["strain"].click()
    settle(qtbot, widget)
    assert np.isnan(layer_of(viewer, "strain").data).all()
    widget.maps.last_box.setValue(2)
    settle(qtbot, widget)
    assert "frame 2" in widget.run.message.text()


def test_an_unknown_pixel_size_leaves_angles_and_gives_areas_in_pixels(viewer, make_widget, frames, qtbot):
    viewer.add_image(frames)
    widget = make_widget(viewer)
    assert "in pixels" in widget.video.note.text()
    track(qtbot, widget)
    widget.plot  # noqa: B018
    widget.plots.left_box.setCurrentIndex(widget.plots.left_box.findData("area"))
    settle(qtbot, widget)
    assert widget.plot._content.left_label == "area (px²)"
    # 46 px of radius
    assert widget.plot._content.left[0].values[0] == pytest.approx(np.pi * 46**2, rel=0.08)
    np.testing.assert_allclose(widget.store.state.result["misfit_deg"], np.linspace(12, 8, FRAMES), atol=0.3)


@pytest.mark.parametrize("gone", ["layer", "all"])
def test_a_layer_deleted_in_a_run_leaves_the_result_where_it_was(viewer, make_widget, frames, qtbot, gone):
    video = viewer.add_image(frames, **(NM | PLACE))
    other = None if gone == "all" else viewer.add_image(np.zeros((FRAMES, 60, 60)), contrast_limits=(0, 1))
    widget = make_widget(viewer)
    widget.video.layer_box.setCurrentIndex(0)
    origin = np.array(video.data_to_world((0, 0, 0)))
    qtbot.mouseClick(widget.run.button, Qt.MouseButton.LeftButton)
    viewer.layers.remove(video)
    settle(qtbot, widget)
    masks = layer_of(viewer, "presence")
    np.testing.assert_allclose(masks.data_to_world((0, 0, 0)), origin, atol=0.03)
    assert other is None or other in viewer.layers


class Gate:
    """A video of 160 frames; while the gate is shut, those from `first` on cannot be read."""

    def __init__(self, frames, first, monkeypatch):
        monkeypatch.setattr(spectra, "CHUNK_BYTES", 16 * frames[0].nbytes)
        self.opened = threading.Event()
        self.opened.set()
        self._first = first
        whole = np.concatenate([frames, frames[::-1]] * 16)
        lazy = da.from_array(whole, chunks=(1, *SHAPE))
        self.video = lazy.map_blocks(self._read, dtype=whole.dtype, meta=whole[:0])

    def _read(self, block, block_info=None):
        if block_info[0]["array-location"][0][0] >= self._first:
            self.opened.wait(30)
        return block


def cancel_at_gate(viewer, make_widget, qtbot, gate, ready):
    """Track up to the gate, cancel when `ready` of the widget, and only then open the gate."""
    viewer.add_image(gate.video, contrast_limits=(0, 50), **NM)
    viewer.dims.set_current_step(0, 0)
    widget = make_widget(viewer)
    settle(qtbot, widget)
    gate.opened.clear()
    qtbot.mouseClick(widget.run.button, Qt.MouseButton.LeftButton)
    try:
        qtbot.waitUntil(lambda: ready(widget), timeout=60_000)
        qtbot.mouseClick(widget.run.button, Qt.MouseButton.LeftButton)
    finally:
        gate.opened.set()
    settle(qtbot, widget)
    assert widget.run.message.text().startswith("Cancelled.")
    assert not widget.store.state.message.error
    assert widget.run.button.text() == "Track"
    assert widget.run.button.isEnabled()
    return widget


def test_cancel_before_anything_is_done_leaves_the_widget_ready(
    viewer, make_widget, qtbot, frames, monkeypatch
):
    gate = Gate(frames, 16, monkeypatch)
    widget = cancel_at_gate(viewer, make_widget, qtbot, gate, lambda it: "frames" in it.run.progress.text())
    assert widget.store.state.result is None
    assert len(viewer.layers) == 1


def test_cancel_keeps_the_plot_of_what_is_done_and_offers_no_maps_of_it(
    viewer, make_widget, qtbot, frames, monkeypatch
):
    # Of the second block of 32 frames some cannot be read, however late the cancel comes.
    gate = Gate(frames, 60, monkeypatch)
    widget = cancel_at_gate(viewer, make_widget, qtbot, gate, lambda it: it.store.state.result is not None)
    done = np.isfinite(widget.store.state.result["misfit_deg"].values)
    assert done.sum() == 32
    assert [layer for layer in viewer.layers if note_of(layer).get("map") in ("presence", "change")] == []
    assert not any(box.isEnabled() for box in widget.maps.boxes.values())
    assert not widget.plots.save_button.isEnabled()
    widget.plot  # noqa: B018
    settle(qtbot, widget)
    np.testing.assert_array_equal(np.isfinite(widget.plot._content.left[0].values), done)


def test_cancel_of_a_second_run_leaves_the_masks_and_no_error(
    viewer, make_widget, qtbot, frames, monkeypatch
):
    gate = Gate(frames, 64, monkeypatch)
    first = viewer.add_image(frames, **NM)
    widget = make_widget(viewer)
    track(qtbot, widget)
    earlier = [layer_of(viewer, key) for key in ("presence", "change")]
    viewer.layers.remove(first)
    widget = cancel_at_gate(viewer, make_widget, qtbot, gate, lambda it: it.store.state.result is not None)
    assert all(layer in viewer.layers for layer in earlier)


def growing(frames, **options):
    """A growing result of eight frames, the blocks that come, and the result at the end."""
    video = xr.DataArray(np.concatenate([frames[:4]] * 2), dims=("time", "y", "x"))
    whole = track_grains(video, 2)
    parameters = LatticeParameters(n_grains=2, **options)
    return GrowingResult(video, parameters), [whole.isel(time=slice(at, at + 4)) for at in (4, 0)], whole


def test_masks_grow_by_the_frames_that_are_done(frames):
    kept, blocks, whole = growing(frames)
    kept.put(blocks[0])
    assert not presence_labels(kept.result)[:4].any()
    np.testing.assert_array_equal(presence_labels(kept.result)[4:], presence_labels(blocks[0]))
    kept.put(blocks[1])
    np.testing.assert_array_equal(presence_labels(kept.result), presence_labels(whole))
    np.testing.assert_array_equal(kept.result["presence"], whole["presence"])


def test_masks_that_exceed_the_memory_are_not_kept_while_they_grow(frames):
    kept, blocks, whole = growing(frames, memory_gb=1e-6)
    for block in blocks:
        kept.put(block)
    assert not {"presence", LABELS} & set(kept.result)
    np.testing.assert_array_equal(kept.result["misfit_deg"], whole["misfit_deg"])


def test_a_change_that_cannot_be_told_is_noted_beside_its_box_and_the_message_stays(
    viewer, make_widget, qtbot
):
    """A disc on nothing, which moves: whether it drifted, or shrank here and grew there, cannot be told."""
    rng = np.random.default_rng(0)
    discs = [rng.poisson(20 * paint([Disc((56, 128 - 20 * t), 30, 3.0)], SHAPE)) for t in range(5)]
    viewer.add_image(np.stack(discs).astype(np.float32), **NM)
    widget = make_widget(viewer)
    track(qtbot, widget)
    assert widget.run.message.text().startswith("Done")
    assert not widget.store.state.message.error
    assert "between frame 0 and frame 4 cannot be told" in widget.maps.areas.text()
    assert not widget.maps.areas.isHidden()
    assert not widget.maps.boxes["change"].isChecked()
    assert layer_of(viewer, "presence") is not None
    # what the user asks for is answered at the bottom
    widget.maps.last_box.setValue(3)
    widget.maps.boxes["change"].click()
    settle(qtbot, widget)
    assert "between frame 0 and frame 3 cannot be told" in widget.run.message.text()
    assert widget.maps.areas.isHidden()


def test_blocks_that_are_done_appear_while_the_rest_is_followed(viewer, make_widget, qtbot, frames):
    # many blocks: however late the window looks, some are still to come
    video = np.concatenate([frames, frames[::-1]] * 16)
    viewer.add_image(video, **NM)
    widget = make_widget(viewer)
    widget.plot  # noqa: B018
    seen = []

    def note():
        result = widget.store.state.result
        if result is not None and widget.store.state.running:
            seen.append(int(np.isfinite(result["misfit_deg"].values).sum()))

    widget.store.on("revision", note)
    track(qtbot, widget)
    assert seen
    assert 0 < seen[0] < len(video)
    assert np.isfinite(widget.store.state.result["misfit_deg"]).all()
    assert len([layer for layer in viewer.layers if note_of(layer).get("map") == "presence"]) == 1


def test_a_widget_that_is_shut_down_lets_go_of_the_viewer(viewer, frames, qtbot):
    viewer.add_image(frames, **NM)
    widget = LatticeWidget(viewer)
    qtbot.mouseClick(widget.run.button, Qt.MouseButton.LeftButton)
    work = widget.run.work
    widget.shut_down()
    qtbot.waitUntil(lambda: not work.running, timeout=20_000)
    viewer.layers.clear()
    viewer.add_image(frames, **NM)
    assert widget.store.state.video is None
    widget.deleteLater()


def test_a_bad_option_is_told_and_not_taken(viewer, make_widget):
    widget = make_widget(viewer)
    before = widget.store.state.parameters
    widget.grains.more._rows["period_px"].value = "1"
    assert "period_px" in widget.run.message.text()
    assert widget.store.state.parameters == before
    widget.grains.more._rows["period_px"].value = "8.25"
    widget.grains.more._rows["workers"].value = "2"
    assert widget.store.state.parameters.period_px == 8.25
    assert widget.store.state.parameters.workers == 2
