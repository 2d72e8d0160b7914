"""Outlines told by the fringes of many frames, less the film that stays, against discs of known radius."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import napari_hrtem_vae as hv
from napari_hrtem_vae.errors import CancelledError, ParameterError
from napari_hrtem_vae.lattice.change import lattice_change, lattice_change_steps
from napari_hrtem_vae.progress import run

from .scenes import Disc, film, paint, video

SHAPE = (224, 224)
CENTRE = (112.0, 112.0)


def annealing(radii: np.ndarray, seed: int, *, strength: float = 0.08, symmetry: int = 4) -> xr.DataArray:
    """A disc that turns by 3° while its radius changes, on a film as strong as the noise of a frame."""
    still = film(SHAPE, seed, strength=strength, size=1.2)
    angles = np.linspace(5, 8, len(radii))
    spots = ((1, 0),) if symmetry == 2 else None
    frames = [
        paint([Disc(CENTRE, radius, angle, spots=spots)], SHAPE) + still
        for radius, angle in zip(radii, angles, strict=True)
    ]
    return video(frames, dose=20.0, seed=seed)


def away_of(grains: xr.Dataset) -> np.ndarray:
    y, x = (grains[axis].values / 0.03 for axis in ("y", "x"))
    return np.hypot(y[:, None] - CENTRE[0], x[None] - CENTRE[1])


def overlap(change: xr.DataArray, kind: int, inner: float, outer: float) -> float:
    """Share of a class and the ring between two radii that both have."""
    away = away_of(change.to_dataset(name="change"))
    wanted, found = (away >= inner) & (away < outer), change.values[0] == kind
    return float((wanted & found).sum() / (wanted | found).sum())


def test_fringes_less_the_film_tell_shrinkage_better_than_masks() -> None:
    errors = []
    for seed in (1, 2):
        made = annealing(np.linspace(84, 64, 24), seed)
        grains = hv.track_grains(made, 1)
        errors.append(
            [1 - overlap(lattice_change(seen, grains, shift_px=(0, 0)), 1, 64, 84) for seen in (None, made)]
        )
    by_masks, by_fringes = np.transpose(errors)
    assert by_fringes.max() < 0.1
    assert by_fringes.mean() < 0.85 * by_masks.mean()


def test_growth_is_told_as_shrinkage_is_and_backwards_they_change_places() -> None:
    made = annealing(np.linspace(64, 84, 20), 3)
    grains = hv.track_grains(made, 1)
    change = lattice_change(made, grains, shift_px=(0, 0))
    assert overlap(change, 2, 64, 84) > 0.88
    back = lattice_change(made, grains, -1, 0, shift_px=(0, 0))
    assert np.mean((back.values == 1) != (change.values == 2)) < 0.005


def test_fringes_of_one_direction_tell_the_outline_too() -> None:
    made = annealing(np.linspace(84, 64, 16), 4, strength=0.03, symmetry=2)
    grains = hv.track_grains(made, 1, 2)
    assert overlap(lattice_change(made, grains, shift_px=(0, 0)), 1, 64, 84) > 0.8


def test_sudden_change_is_not_smeared_by_the_fringes() -> None:
    made = annealing(np.where(np.arange(20) < 8, 84.0, 64.0), 5)
    grains = hv.track_grains(made, 1)
    assert overlap(lattice_change(made, grains, shift_px=(0, 0)), 1, 64, 84) > 0.85


def test_a_still_outline_hardly_grows_or_shrinks() -> None:
    made = annealing(np.full(20, 74.0), 6)
    change = lattice_change(made, hv.track_grains(made, 1), shift_px=(0, 0))
    assert np.isin(change.values, (1, 2)).sum() < 0.02 * (change.values == 3).sum()
    assert overlap(change, 3, 0, 74) > 0.96


def test_a_video_of_another_size_is_refused() -> None:
    made = annealing(np.full(6, 74.0), 7)
    grains = hv.track_grains(made, 1)
    with pytest.raises(ParameterError, match="frames of 160 × 224 px"):
        lattice_change(made[:, :160], grains)


def test_work_can_be_stopped() -> None:
    made = annealing(np.full(6, 74.0), 7)
    grains = hv.track_grains(made, 1)
    seen: list[str] = []
    steps = lattice_change_steps(made, grains, shift_px=(0, 0))
    with pytest.raises(CancelledError):
        run(steps, on_progress=lambda one: seen.append(one.message), stop=lambda: len(seen) > 8)
    assert len(seen) == 9
