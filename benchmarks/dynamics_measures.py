"""What `dynamics.py` measures, and what a user would do without this project."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from dynamics_scenes import STEP, WINDOW, share_of_windows
from numpy.typing import NDArray
from scipy import ndimage, stats

import napari_hrtem_vae as hv
from napari_hrtem_vae.progress import run
from napari_hrtem_vae.vae.card import ModelCard
from napari_hrtem_vae.vae.evidence import site_changes_steps
from napari_hrtem_vae.vae.meaning.components import COMPONENTS, Components, principal_components
from napari_hrtem_vae.vae.meaning.known_changes import known_scene
from napari_hrtem_vae.video.scaling import grey_range, scale_to_range

Map = NDArray[np.floating]
_SMOOTHING_PX = 1.5
_WINDOWS_FOR_PCA = 8000
# Subspace iteration (Halko, Martinsson & Tropp 2011, SIAM Rev. 53, 217).
_SPARE, _PASSES = 16, 6


def area_under_curve(score: Map, moving: NDArray[np.bool_], still: NDArray[np.bool_]) -> float:
    """Probability that a moving site scores above a still one; ties count half."""
    one, other = score[moving], score[still]
    return float(stats.mannwhitneyu(one, other).statistic / (one.size * other.size))


def levelled(video: xr.DataArray) -> NDArray[np.float32]:
    """Frames of equal mean, smoothed as the shipped models have it: what the rivals get is no worse."""
    frames = video.values.astype(np.float32)
    frames /= frames.mean((1, 2), keepdims=True)
    return ndimage.gaussian_filter(frames, (0, _SMOOTHING_PX, _SMOOTHING_PX))


def frame_difference(frames: NDArray[np.float32]) -> Map:
    """Mean of the last third minus mean of the first, absolute, averaged over the window."""
    third = max(len(frames) // 3, 1)
    return share_of_windows(np.abs(frames[-third:].mean(0) - frames[:third].mean(0)))


def rank_evidence_of_pixels(frames: NDArray[np.float32]) -> Map:
    """Fisher's z² of Spearman's ρ of every pixel, averaged over the window."""
    ranks = np.argsort(np.argsort(frames, axis=0), axis=0).astype(np.float32)
    ranks -= ranks.mean(0)
    time = np.arange(len(frames)) - (len(frames) - 1) / 2
    rho = np.tensordot(time, ranks, (0, 0)) / np.sqrt((time**2).sum() * (ranks**2).sum(0))
    return share_of_windows(np.arctanh(np.clip(rho, -0.999, 0.999)) ** 2)


def trend_evidence_of_pixels(frames: NDArray[np.float32]) -> Map:
    """Power of the trend of every pixel over its noise, as in `change`, averaged over the window."""
    changes = run(site_changes_steps(frames[..., None]))
    return share_of_windows((changes["trend"] ** 2 / changes["noise"].mean())[..., 0])


def components_of_windows(frames: NDArray[np.float32], seed: int = 0) -> xr.DataArray:
    """The field (time, y, x, latent) of 64 principal components, fitted on the video's own windows."""
    windows = np.lib.stride_tricks.sliding_window_view(frames, (WINDOW, WINDOW), axis=(1, 2))
    windows = windows[:, ::STEP, ::STEP]
    shape = windows.shape[:3]
    picked = np.random.default_rng(seed).integers(0, shape, (_WINDOWS_FOR_PCA, 3))
    some = windows[tuple(picked.T)].reshape(len(picked), -1)
    mean = some.mean(0)
    some = some - mean
    size = WINDOW**2
    axes = np.random.default_rng(seed).standard_normal((size, COMPONENTS + _SPARE), dtype=np.float32)
    for _ in range(_PASSES):
        axes, _ = np.linalg.qr(some.T @ (some @ axes))
    _, _, turn = np.linalg.svd(some @ axes, full_matrices=False)
    axes = (axes @ turn.T)[:, :COMPONENTS]
    field = np.stack([(frame.reshape(-1, size) - mean) @ axes for frame in windows])
    dims = ("time", "y", "x", "latent")
    return xr.DataArray(field.reshape(*shape, COMPONENTS).astype(np.float32), dims=dims)


@dataclass(frozen=True)
class ComponentsCoder:
    """Components in the place of a model, whose windows they are of."""

    card: ModelCard
    components: Components

    def encode(self, windows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Windows (n, window, window) to components (n, 64), twice, for they have no variance."""
        return self.components.encode(windows)

    def decode(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        """Components (n, 64) to windows."""
        return self.components.decode(z)


def components_coder(scenes: int = 60, seed: int = 99) -> ComponentsCoder:
    """Components of the windows of scenes of known change."""
    rng = np.random.default_rng(seed)
    card = hv.load_model("pbs-64-fast").card
    windows = []
    for _ in range(scenes):
        scene = known_scene(
            rng, side=192, frames=24, period_px=21.2, dose_e_per_px=(4, 300), smoothing_px=_SMOOTHING_PX
        )
        views = np.lib.stride_tricks.sliding_window_view(scene.frames, (WINDOW, WINDOW), (1, 2))
        windows.append(views[::6, ::32, ::32].reshape(-1, WINDOW**2))
    return ComponentsCoder(card, principal_components(np.concatenate(windows)))


def components_of(frames: NDArray[np.float32], coder: ComponentsCoder) -> NDArray[np.float32]:
    """Components (time, y, x, 64) of all sites of a video, scaled as a model has it."""
    scaled = scale_to_range(frames, *grey_range(frames[:: max(1, len(frames) // 8)]))
    windows = np.lib.stride_tricks.sliding_window_view(scaled, (WINDOW, WINDOW), (1, 2))[:, ::STEP, ::STEP]
    shape = windows.shape[1:3]
    return np.stack(
        [coder.encode(frame.reshape(-1, WINDOW, WINDOW))[0].reshape(*shape, -1) for frame in windows]
    )
