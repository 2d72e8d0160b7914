"""What the widget tests share: a small model file, a small video, settings of their own."""

from __future__ import annotations

import os

os.environ.setdefault("NAPARI_ENSURE_PLUGIN_MAIN_THREAD", "1")

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QSettings

WINDOW, STEP = 16, 8


@pytest.fixture(autouse=True)
def own_settings(tmp_path_factory):
    """Remembered settings go to a folder of the test."""
    folder = str(tmp_path_factory.mktemp("settings"))
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, folder)
    return folder


@pytest.fixture(scope="session")
def model_file(tmp_path_factory):
    """A tiny model of random weights: 16 px window, 4 latents, made for sliding."""
    import torch

    from napari_hrtem_vae.vae.architecture import Architecture, Convolution, EncoderLayers
    from napari_hrtem_vae.vae.card import ModelCard
    from napari_hrtem_vae.vae.model import Model, save_model
    from napari_hrtem_vae.vae.network import Network

    torch.manual_seed(0)
    layers = (Convolution(8, 4, 2, "valid"), Convolution(8, 3, 2, "valid"), Convolution(8, 3, 1, "valid"))
    architecture = Architecture(window=WINDOW, latents=4, activation="silu", encoder=EncoderLayers(layers))
    card = ModelCard(
        "tiny",
        architecture,
        material="noise",
        pixel_size_nm=0.02,
        period_px=8.0,
        step=STEP,
        licence="GPL-3.0",
    )
    network = Network(architecture)
    with torch.no_grad():
        for weights in network.parameters():
            weights.mul_(3)
    return save_model(Model(card, network), tmp_path_factory.mktemp("model") / "tiny.safetensors")


def moving_disc(frames=12, shape=(64, 80), centre=(40, 24), seed=0):
    """Noise, and a disc of radius 6 px at `centre` that grows brighter: (frames, y, x) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    disc = np.hypot(y - centre[0], x - centre[1]) <= 6
    brighter = np.linspace(0, 120, frames)[:, None, None] * disc
    return (60 + rng.normal(0, 3, (frames, *shape)) + brighter).clip(0, 255).astype(np.uint8)


@pytest.fixture
def video_array():
    """A disc at (40, 24) px that grows brighter: (12, 64, 80) uint8."""
    return moving_disc()


@pytest.fixture
def viewer():
    """The model of a viewer, without a window."""
    return ViewerModel()


@pytest.fixture
def make_widget(qtbot, model_file):
    """Makes Analyze widgets over viewers with the tiny model chosen; closes them at the end."""
    from napari_hrtem_vae.widgets.analyze import AnalyzeWidget

    made = []

    def make(viewer):
        widget = AnalyzeWidget(viewer)
        widget.model.load_file(model_file)
        made.append(widget)
        return widget

    yield make
    for widget in made:
        work = widget.run.work
        widget.shut_down()
        if work is not None:
            work.join(20)
        widget.deleteLater()


@pytest.fixture
def analyse(qtbot):
    """Clicks Analyze and waits for the end."""
    from qtpy.QtCore import Qt

    def run(widget, timeout_ms=60_000):
        qtbot.mouseClick(widget.run.button, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: widget.run.work is None, timeout=timeout_ms)

    return run
