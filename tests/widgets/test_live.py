"""Following a recording in the window: real files, real work in its thread."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtWidgets import QFileDialog

import napari_hrtem_vae as hv
from napari_hrtem_vae.io import growing
from napari_hrtem_vae.vae import live_reading
from napari_hrtem_vae.widgets.layers import result_of
from napari_hrtem_vae.widgets.readers import read_video

from .conftest import moving_disc

PATIENCE_MS = 60_000


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """No frame is skipped for want of time, however busy the machine is."""
    monkeypatch.setattr(live_reading, "_MOST_WAITING_S", 1e6)


@pytest.fixture
def frames():
    return moving_disc(frames=40)


def write(folder: Path, frames: np.ndarray, first: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    for number, frame in enumerate(frames, first):
        np.save(folder / "aside.part.npy", frame)
        os.replace(folder / "aside.part.npy", folder / f"frame_{number:04d}.npy")


def maps_in(viewer):
    return [layer for layer in viewer.layers if result_of(layer) is not None]


def videos_in(viewer):
    return [layer for layer in viewer.layers if result_of(layer) is None]


def shown(widget):
    """Frames of the result on the screen."""
    result = widget.store.state.result
    return 0 if result is None or "z" not in result else result.sizes["time"]


def switch_off(widget, qtbot):
    widget.live.switch.setChecked(False)
    qtbot.waitUntil(lambda: widget.live.work is None, timeout=PATIENCE_MS)


def test_empty_folder_is_waited_for_and_then_video_and_maps_grow(
    viewer, make_widget, qtbot, tmp_path, frames, monkeypatch
):
    folder = tmp_path / "recording"
    folder.mkdir()
    widget = make_widget(viewer)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    widget.live.switch.setChecked(True)
    qtbot.waitUntil(lambda: "Waiting for frames" in widget.live.note.text(), timeout=PATIENCE_MS)
    assert not widget.run.button.isEnabled()
    write(folder, frames[:12])
    qtbot.waitUntil(lambda: shown(widget) == 12, timeout=PATIENCE_MS)
    (video,) = videos_in(viewer)
    (found,) = maps_in(viewer)
    assert video.data.shape == (12, 64, 80)
    np.testing.assert_array_equal(video.data[5].compute(), frames[5])
    assert viewer.dims.current_step[0] == 11
    write(folder, frames[12:20], 12)
    qtbot.waitUntil(lambda: shown(widget) == 20, timeout=PATIENCE_MS)
    assert videos_in(viewer) == [video]
    assert maps_in(viewer) == [found]
    assert video.data.shape[0] == 20
    assert viewer.dims.current_step[0] == 19
    # A user who looks at an earlier frame is left there.
    viewer.dims.set_current_step(0, 3)
    write(folder, frames[20:], 20)
    qtbot.waitUntil(lambda: shown(widget) == 40, timeout=PATIENCE_MS)
    assert viewer.dims.current_step[0] == 3
    assert widget.hotspots.table.rowCount() > 0
    assert "40 of 40 frames" in widget.live.note.text()
    switch_off(widget, qtbot)
    state = widget.store.state
    assert not state.running
    assert state.message.text.startswith("Ended.")
    assert widget.run.button.isEnabled()
    assert maps_in(viewer) == [found]


def test_map_of_a_recording_lies_where_the_disc_is(viewer, make_widget, qtbot, tmp_path):
    centre = (40, 24)
    write(tmp_path / "frames", moving_disc(frames=30, centre=centre))
    widget = make_widget(viewer)
    widget.live.follow(tmp_path / "frames")
    qtbot.waitUntil(lambda: shown(widget) == 30, timeout=PATIENCE_MS)
    switch_off(widget, qtbot)
    (found,) = maps_in(viewer)
    values = np.nan_to_num(found.data.astype(float))
    values[values < values.max() / 10] = 0
    index = [(values * grid).sum() / values.sum() for grid in np.mgrid[: values.shape[0], : values.shape[1]]]
    assert np.abs(np.array(found.data_to_world(index)) - centre).max() < 4


def test_layer_of_the_folder_is_the_one_that_grows(viewer, make_widget, qtbot, tmp_path, frames):
    folder = tmp_path / "recording"
    write(folder, frames[:10])
    data, options, _ = read_video(str(folder))[0]
    layer = viewer.add_image(data, **options)
    widget = make_widget(viewer)
    widget.live.switch.setChecked(True)
    qtbot.waitUntil(lambda: shown(widget) == 10, timeout=PATIENCE_MS)
    write(folder, frames[10:], 10)
    qtbot.waitUntil(lambda: shown(widget) == 40, timeout=PATIENCE_MS)
    switch_off(widget, qtbot)
    assert videos_in(viewer) == [layer]
    assert layer.data.shape[0] == 40
    # Frames and z belong together.
    assert widget.store.state.result.sizes["time"] == 40


def test_only_the_last_frames_have_z_and_all_are_in_the_video(viewer, make_widget, qtbot, tmp_path, frames):
    folder = tmp_path / "recording"
    write(folder, frames[:20])
    widget = make_widget(viewer)
    widget.live.last.setValue(10)
    widget.live.follow(folder)
    qtbot.waitUntil(lambda: shown(widget) == 20, timeout=PATIENCE_MS)
    z = widget.store.state.result["z"].values
    assert np.isfinite(z).all(axis=(1, 2, 3)).tolist() == [False] * 10 + [True] * 10
    assert videos_in(viewer)[0].data.shape[0] == 20
    widget.store.change(kind="z", latent=0)
    viewer.dims.set_current_step(0, 15)
    qtbot.waitUntil(lambda: np.array_equal(maps_in(viewer)[0].data, z[15, ..., 0]), timeout=PATIENCE_MS)
    switch_off(widget, qtbot)
    assert shown(widget) == 20


def test_result_is_stored_where_it_was_asked_for(viewer, make_widget, qtbot, tmp_path, frames):
    write(tmp_path / "frames", frames[:15])
    widget = make_widget(viewer)
    widget.store.change(result_store=str(tmp_path / "kept.zarr"))
    widget.live.follow(tmp_path / "frames")
    qtbot.waitUntil(lambda: shown(widget) == 15, timeout=PATIENCE_MS)
    switch_off(widget, qtbot)
    assert hv.open_result(tmp_path / "kept.zarr").sizes["time"] == 15


def test_what_is_wrong_is_a_sentence(viewer, make_widget, qtbot, tmp_path, frames, monkeypatch):
    widget = make_widget(viewer)
    widget.live.follow(tmp_path / "nowhere")
    assert "There is no folder" in widget.store.state.message.text
    assert not widget.live.switch.isChecked()
    small = tmp_path / "small"
    write(small, frames[:10, :12, :12])
    widget.live.follow(small)
    qtbot.waitUntil(lambda: widget.live.work is None, timeout=PATIENCE_MS)
    assert "smaller than the model's window" in widget.store.state.message.text
    assert not widget.live.switch.isChecked()
    assert not widget.store.state.running
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "")
    widget.live.switch.setChecked(True)
    assert not widget.live.switch.isChecked()


def test_folder_that_is_deleted_ends_it_with_a_sentence(
    viewer, make_widget, qtbot, tmp_path, frames, monkeypatch
):
    import shutil

    monkeypatch.setattr(growing, "_GONE_S", 0.3)
    folder = tmp_path / "recording"
    write(folder, frames[:12])
    widget = make_widget(viewer)
    widget.live.follow(folder)
    qtbot.waitUntil(lambda: shown(widget) == 12, timeout=PATIENCE_MS)
    shutil.rmtree(folder)
    qtbot.waitUntil(lambda: widget.live.work is None, timeout=PATIENCE_MS)
    assert "is gone" in widget.store.state.message.text
    assert shown(widget) == 12


def test_closing_the_widget_ends_the_work_and_hears_nothing_more(
    viewer, make_widget, qtbot, tmp_path, frames
):
    write(tmp_path / "frames", frames[:12])
    widget = make_widget(viewer)
    widget.live.follow(tmp_path / "frames")
    qtbot.waitUntil(lambda: shown(widget) == 12, timeout=PATIENCE_MS)
    work = widget.live.work
    widget.shut_down()
    work.join(60)
    assert not work.running
    layers = list(viewer.layers)
    qtbot.wait(50)
    assert list(viewer.layers) == layers
