"""Latents and what is wrong with models, videos and places: said, and what can be given is given."""

from __future__ import annotations

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest

from napari_hrtem_vae.errors import ResultError
from napari_hrtem_vae.vae.model import save_model

from .conftest import WINDOW, moving_disc
from .test_latents import (
    LATENTS,
    NM,
    PATIENCE_MS,
    encoded,
    film,  # noqa: F401
    make_latents,  # noqa: F401
    pick,
    settle,
    tiny_model,
    whole_model,  # noqa: F401
)

# ruff: noqa: F811


def test_without_a_video_a_click_says_what_to_do(viewer, make_latents):
    widget = make_latents(viewer)
    widget.picker.pick((0, 0))
    assert "Open a video first" in widget.pictures.message.text()
    assert widget.store.state.place is None


@pytest.mark.parametrize("place", [(-1, 5), (64, 5), (5, -0.7), (5, 80)])
def test_a_click_outside_the_video_is_told_and_changes_nothing(viewer, make_latents, film, qtbot, place):
    widget = make_latents(viewer)
    pick(qtbot, widget, 40, 24)
    before = widget.store.state
    pick(qtbot, widget, *place)
    assert "outside the video 'film'" in widget.pictures.message.text()
    assert widget.store.state.place is before.place
    pick(qtbot, widget, 40, 24)
    assert widget.pictures.message.text() == ""


def test_a_model_without_a_decoder_still_shows_traces(viewer, make_latents, film, model_file, qtbot):
    widget = make_latents(viewer)  # first one of more latents, for the rows
    widget.model.load_file(model_file)
    settle(qtbot, widget)
    pick(qtbot, widget, 40, 24)
    state = widget.store.state
    assert "no decoder" in widget.sliders.note.text()
    assert not widget.sliders.sliders[0].isEnabled()
    assert state.after is None
    assert np.isfinite(state.series).all()
    assert len(widget.dock.plot._content.left) == 4
    assert [slider.isHidden() for slider in widget.sliders.sliders[:5]] == [False] * 4 + [True]
    strips = widget.dock.strips
    widget.dock.setCurrentIndex(1)
    widget.dock.show()
    qtbot.waitUntil(lambda: "no decoder" in strips.hint.text(), timeout=PATIENCE_MS)
    assert not strips.save_button.isEnabled()
    with pytest.raises(ResultError, match="nothing to write"):
        strips.export("strip.png")


def test_a_model_without_an_encoder_still_draws(viewer, make_latents, film, qtbot, tmp_path):
    path = save_model(tiny_model(encoder=False), tmp_path / "half.safetensors")
    widget = make_latents(viewer, path)
    widget.sliders.sliders[1].setValue(200)
    pick(qtbot, widget, 40, 24)
    state = widget.store.state
    assert "no encoder" in state.message.text
    assert state.window.shape == (WINDOW, WINDOW)
    assert state.series is None
    assert state.z[1] > 0
    assert state.after is not None


def test_without_a_record_of_training_ranges_come_from_the_site_else_are_3(
    viewer, make_latents, film, qtbot, tmp_path
):
    path = save_model(tiny_model(training={}), tmp_path / "bare.safetensors")
    widget = make_latents(viewer, path)
    assert "no record of training" in widget.sliders.note.text()
    np.testing.assert_array_equal(widget.sliders._limits, np.full(LATENTS, 3))
    pick(qtbot, widget, 40, 24)
    spread = np.sqrt((widget.store.state.series.astype(float) ** 2).mean(0))
    expected = np.maximum(3 * spread, np.abs(widget.store.state.series).max(0))
    qtbot.waitUntil(lambda: np.allclose(widget.sliders._limits, expected, rtol=1e-4), timeout=PATIENCE_MS)


def test_a_video_of_another_pixel_size_is_resampled_as_analyze_does(viewer, make_latents, qtbot):
    array = moving_disc(frames=3)
    viewer.add_image(array, scale=(0.5, 0.03, 0.03), units=("s", "nm", "nm"))
    widget = make_latents(viewer)
    pick(qtbot, widget, 40, 24)
    state = widget.store.state
    field = encoded(array, widget, pixel_size_nm=0.03)
    np.testing.assert_allclose(state.series, field[:, *state.site.index], atol=1e-3)
    np.testing.assert_allclose(np.diff(state.site.corners_px, axis=0), WINDOW / 1.5)
    widget.video.pixel_size.setText("0.02")
    widget.video.pixel_size.editingFinished.emit()
    settle(qtbot, widget)
    np.testing.assert_allclose(np.diff(widget.store.state.site.corners_px, axis=0), WINDOW)


def test_a_pixel_size_that_cannot_be_meant_is_told(viewer, make_latents, qtbot):
    viewer.add_image(moving_disc(frames=3), scale=(1, 20, 20), units=("s", "nm", "nm"))
    widget = make_latents(viewer)
    pick(qtbot, widget, 40, 24)
    assert "correct the pixel size" in widget.pictures.message.text()
    assert widget.store.state.window is None


def test_frames_smaller_than_a_window_are_told(viewer, make_latents, qtbot):
    viewer.add_image(moving_disc(frames=3)[:, :12], **NM)
    widget = make_latents(viewer)
    pick(qtbot, widget, 5, 24)
    assert "smaller than the model's window" in widget.pictures.message.text()


def test_a_frame_with_nan_has_a_window_and_no_latents(viewer, make_latents, qtbot):
    array = moving_disc().astype(np.float32)
    array[3, 0, 0] = np.nan
    viewer.add_image(array, contrast_limits=(0, 255), **NM)
    widget = make_latents(viewer)
    pick(qtbot, widget, 40, 24)
    viewer.dims.set_point(0, 1.0)
    settle(qtbot, widget)
    z = widget.store.state.z
    viewer.dims.set_point(0, 1.5)
    settle(qtbot, widget)
    assert "Frame 3 is constant or holds NaN" in widget.pictures.message.text()
    np.testing.assert_array_equal(widget.store.state.z, z)
    assert np.isnan(widget.store.state.series).all(1).tolist() == [i == 3 for i in range(12)]
    viewer.dims.set_point(0, 2.0)
    settle(qtbot, widget)
    assert widget.pictures.message.text() == ""


def test_a_constant_window_is_told(viewer, make_latents, qtbot):
    array = moving_disc()
    array[:, :40, 40:] = 60
    viewer.add_image(array, **NM)
    widget = make_latents(viewer)
    pick(qtbot, widget, 12, 64)
    assert "This window is constant" in widget.pictures.message.text()
    assert np.isfinite(widget.store.state.series).all()
    assert widget.dock.path._path is not None


@pytest.mark.parametrize("shape", ["still", "one", "two"])
def test_videos_of_one_and_two_frames(viewer, make_latents, qtbot, shape):
    array = moving_disc(frames=2)
    frames = {"still": array[0], "one": array[:1], "two": array}[shape]
    viewer.add_image(frames, contrast_limits=(0, 255))
    widget = make_latents(viewer)
    pick(qtbot, widget, 40, 24)
    state = widget.store.state
    assert state.series.shape == (2 if shape == "two" else 1, LATENTS)
    assert not state.message.error
    widget.dock.plot.canvas.draw()
    widget.dock.path.canvas.draw()
    assert len(widget.dock.plot._content.left) == 4


def test_rgb_is_refused(viewer, make_latents, qtbot):
    viewer.add_image(np.zeros((3, 40, 40, 3), np.uint8), rgb=True)
    widget = make_latents(viewer)
    widget.picker.pick((0, 5, 5))
    assert "RGB" in widget.pictures.message.text()


def test_a_file_that_cannot_be_read_is_told(viewer, make_latents, qtbot):
    gone = []

    def read(block):
        if gone:
            raise OSError("the disk is gone")
        return block

    lazy = da.zeros((4, 64, 80), chunks=(1, 64, 80), dtype=np.uint8)
    frames = lazy.map_blocks(read, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))
    viewer.add_image(frames, contrast_limits=(0, 1))
    widget = make_latents(viewer)
    gone.append(True)
    pick(qtbot, widget, 30, 30)
    assert "cannot be read" in widget.pictures.message.text()


def test_drift_that_analyze_takes_out_is_said_to_be_left_in(viewer, make_latents, film, qtbot):
    widget = make_latents(viewer)
    widget.store.change(parameters=replace(widget.store.state.parameters, drift="rigid"))
    pick(qtbot, widget, 40, 24)
    assert "align the video first" in widget.pictures.message.text()
