"""Hotspots: connected places of significant change, strongest first."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage

_TOUCHING = np.ones((3, 3), int)
READ_OUTS = ("rotation", "edge_shift", "contrast_change")


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
        Σ ρ² variance in it). Where the maps have kinds of change also `hotspot_kind`, the one that most of
        it shows, an index into its `attrs["names"]`, `hotspot_kind_confidence`, and the mean of each
        read-out over it with its error, NaN where none is given.
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
    if "kind" in maps:
        columns |= _kinds_of_spots(maps, labels, index)
    found = xr.Dataset(
        {name: ("hotspot", values[order], {"units": units}) for name, (values, units) in columns.items()}
    )
    if "kind" in maps:
        found["hotspot_kind"].attrs["names"] = maps["kind"].attrs["names"]
    return found


def _kinds_of_spots(
    maps: xr.Dataset, labels: NDArray[Any], index: NDArray[Any]
) -> dict[str, tuple[NDArray[Any], str]]:
    """Kind of each spot, how sure it is, and its read-outs."""
    kind, sure = maps["kind"].values, np.nan_to_num(maps["kind_confidence"].values)
    names = maps["kind"].attrs["names"]
    votes = np.stack(
        [ndimage.sum_labels(sure * (kind == number), labels, index) for number in range(len(names))], -1
    ).reshape(-1, len(names))
    votes[:, 0] = 0
    # A place that no site is sure about is of unknown kind, the last of the names.
    chosen = np.where(votes.any(1), votes.argmax(1), len(names) - 1).astype(np.int8)
    of_kind = np.append(0, chosen)[labels] == kind
    sites = np.maximum(ndimage.sum_labels(of_kind & (labels > 0), labels, index), 1)
    columns = {
        "hotspot_kind": (chosen, "1"),
        "hotspot_kind_confidence": (ndimage.sum_labels(sure * of_kind, labels, index) / sites, "1"),
    }
    for name in READ_OUTS:
        value, error = maps[name].values, maps[f"{name}_error"].values
        told = of_kind & np.isfinite(value)
        weight = np.where(told, 1 / np.square(np.where(told, error, 1)), 0)
        total = ndimage.sum_labels(weight, labels, index)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = ndimage.sum_labels(weight * np.nan_to_num(value), labels, index) / total
            # Neighbouring sites are wrong alike: their mean is no better known than one of them.
            wrong = np.sqrt(ndimage.sum_labels(weight * np.nan_to_num(error) ** 2, labels, index) / total)
        unit = str(maps[name].attrs["units"])
        columns[f"hotspot_{name}"] = (np.asarray(mean, float), unit)
        columns[f"hotspot_{name}_error"] = (np.asarray(wrong, float), unit)
    return columns


def _spacing(y: NDArray[np.float64], x: NDArray[np.float64]) -> float:
    """Area of one site; a single row or column borrows the other's spacing."""
    steps = [float(axis[1] - axis[0]) for axis in (y, x) if len(axis) > 1]
    return steps[0] * steps[-1] if steps else 1.0
