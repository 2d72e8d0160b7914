"""Small videos and models of random weights: geometry, streaming and files need no trained ones."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import settings

from napari_hrtem_vae.vae.architecture import published_pbs, unpadded
from napari_hrtem_vae.vae.card import ModelCard
from napari_hrtem_vae.vae.model import Model
from napari_hrtem_vae.vae.network import Network

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that runs the tests in the background has them ignore Ctrl-C, and all that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in each run, and none that fails for a busy machine.
settings.register_profile("shared", deadline=None, derandomize=True)
settings.load_profile("shared")

SHARED_DATA = Path(__file__).parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real micrographs; they are no part of the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real micrographs (../shared/data) are not on this machine")
    return SHARED_DATA


def random_model(architecture=None, **card) -> Model:
    torch.manual_seed(0)
    architecture = architecture or unpadded()
    card = {"scaling": "video", "smoothing_px": 1.5, "pixel_size_nm": 0.014, **card}
    return Model(ModelCard("random", architecture, **card), Network(architecture))


@pytest.fixture(scope="session")
def fast_model() -> Model:
    return random_model()


@pytest.fixture(scope="session")
def window_model() -> Model:
    return random_model(published_pbs(), scaling="window", smoothing_px=0.0)


def video_of(frames: np.ndarray, pixel_size_nm: float | None = 0.014, origin: float = 0.0) -> xr.DataArray:
    video = xr.DataArray(frames, dims=("time", "y", "x"))
    if pixel_size_nm is not None:
        video.attrs["pixel_size_nm"] = pixel_size_nm
        for axis in ("y", "x"):
            centres = origin + np.arange(video.sizes[axis]) * pixel_size_nm
            video = video.assign_coords({axis: (axis, centres, {"units": "nm"})})
    return video


@pytest.fixture
def video() -> xr.DataArray:
    """Eight frames of counts, 104 × 120 px."""
    return video_of(np.random.default_rng(0).poisson(10, (8, 104, 120)).astype(np.uint16))
