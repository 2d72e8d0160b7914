"""Hotspots: connected places of significant change, strongest first."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage

_TOUCHING = np.ones((3, 3), int)


def trend_strength(maps: xr.Dataset, active: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """How much of the latents' variance is trend, Σ ρ² variance over latents; (y, x)."""
    values = np.nan_to_num(maps["spearman"].values.astype(np.float64)) ** 2 * maps["variance"].values
    if active is not None and active.any():
        values = values[..., active]
    return np.asarray(values.sum(-1))


def find_hotspots(
    maps: xr.Dataset, false_discovery_rate: float, active: NDArray[np.bool_] | None = None
) -> xr.Dataset:
    """Connected sites where `change` is significant.

    Parameters
    ----------
    maps : Dataset
        Of `map_dynamics`, with coordinates y and x.
    false_discovery_rate : float
        Share of the sites called significant that may be false.
    active : ndarray (latent,), bool, optional
        Latents that count.

    Returns
    -------
    Dataset
        Over (hotspot,), strongest first: `hotspot_y`, `hotspot_x` (centre, weighted by the evidence),
        `hotspot_area` (sites × their spacing², in the squared unit of y), `hotspot_strength` (largest
        Σ ρ² variance in it).
    """
    significant = maps["change"].values > -np.log10(false_discovery_rate)
    strength = trend_strength(maps, active)
    labels, count = ndimage.label(significant, _TOUCHING)
    index = np.arange(1, count + 1)
    y, x = maps["y"].values, maps["x"].values
    unit = str(maps["y"].attrs.get("units", "px"))
    centres = np.array(ndimage.center_of_mass(maps["change"].values, labels, index)).reshape(count, 2)
    peak = np.asarray(ndimage.maximum(strength, labels, index), float).reshape(count)
    area = np.asarray(ndimage.sum_labels(np.ones_like(strength), labels, index)) * _spacing(y, x)
    order = np.argsort(-peak)
    columns = {
        "hotspot_y": (np.interp(centres[:, 0], np.arange(len(y)), y), unit),
        "hotspot_x": (np.interp(centres[:, 1], np.arange(len(x)), x), unit),
        "hotspot_area": (area, f"{unit}²"),
        "hotspot_strength": (peak, "1"),
    }
    return xr.Dataset(
        {name: ("hotspot", values[order], {"units": units}) for name, (values, units) in columns.items()}
    )


def _spacing(y: NDArray[np.float64], x: NDArray[np.float64]) -> float:
    """Area of one site; a single row or column borrows the other's spacing."""
    steps = [float(axis[1] - axis[0]) for axis in (y, x) if len(axis) > 1]
    return steps[0] * steps[-1] if steps else 1.0
