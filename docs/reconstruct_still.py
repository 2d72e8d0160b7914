"""Makes images/reconstruction.png: what the model draws of windows on real PbS crystals.

    python docs/reconstruct_still.py ../shared/data/pbs_hrtem/pbs_nanocrystals_543x542.tif

The micrograph has no licence, so the picture shows the model's drawings alone, each with its correlation to
the window that it was made from.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import napari_hrtem_vae as hv
from napari_hrtem_vae.progress import run
from napari_hrtem_vae.vae.model import Model
from napari_hrtem_vae.vae.parameters import AnalyzeParameters
from napari_hrtem_vae.vae.preprocessing import prepare_steps
from napari_hrtem_vae.vae.walk import site_grid
from napari_hrtem_vae.video.fringes import fringe_period_px

PERIOD_PX = 20


def reconstructed_windows(still: xr.DataArray, model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Windows of a still enlarged to a fringe period of 20 px, and what the model draws of them."""
    period = fringe_period_px(still)
    assert period is not None
    parameters = AnalyzeParameters(step=model.card.window, zoom=PERIOD_PX / period)
    grid = site_grid(still, model.card, parameters)
    preprocessing, statistics = run(prepare_steps(still, model.card, parameters, grid))
    frame = np.array(still, np.float32)
    seen = preprocessing.whole()(frame, statistics)[0].numpy()
    size = model.card.window
    views = np.lib.stride_tricks.sliding_window_view(seen, (size, size))[::size, ::size].reshape(
        -1, size, size
    )
    mean, _ = model.encode(views)
    return views, model.decode(mean)


def fringe_contrast(windows: np.ndarray) -> np.ndarray:
    """Largest share of each window's power in one Fourier coefficient near the fringe period."""
    power = np.abs(np.fft.rfft2(windows - windows.mean((1, 2), keepdims=True))) ** 2
    radius = np.hypot(np.fft.fftfreq(windows.shape[1])[:, None], np.fft.rfftfreq(windows.shape[2])[None])
    return power[:, np.abs(radius * PERIOD_PX - 1) < 0.35].max(1) / power.sum((1, 2))


def main() -> None:
    still = hv.open_video(sys.argv[1])[:, 60:330, 60:330]
    windows, drawn = reconstructed_windows(still, hv.load_model("pbs-64-fast"))
    best = np.argsort(-fringe_contrast(windows) * windows.var((1, 2)))[:12]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, index in zip(figure.subplots(2, 6).ravel(), best, strict=True):
        axes.imshow(drawn[index], cmap="gray", vmin=0, vmax=1)
        axes.set_title(
            f"r = {np.corrcoef(windows[index].ravel(), drawn[index].ravel())[0, 1]:.2f}", fontsize=9
        )
        axes.set_axis_off()
    figure.savefig(Path(__file__).parent / "images" / "reconstruction.png", dpi=120)


if __name__ == "__main__":
    main()
