"""Traces of a lattice result, whole and in regions, and their rank correlation with z."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .lattice_state import grain_color
from .layers import Placement
from .regions import Region
from .trace_figure import NEUTRAL_COLOR, REGION_COLORS, Trace

if TYPE_CHECKING:
    import xarray as xr

Double = NDArray[np.float64]
FEWEST = 3  # frames of which a rank correlation is told


def times_of_grains(result: xr.Dataset) -> tuple[Double, str]:
    """Times of a result's frames and how to call them."""
    seconds = result["time"].attrs.get("units") == "s"
    return np.asarray(result["time"], float), "time (s)" if seconds else "frame"


def variable_of(result: xr.Dataset, quantity: str) -> tuple[str, str]:
    """Variable of a quantity and its unit: in nm where the pixel size is known, else in px."""
    known = bool(result.attrs.get("pixel_size_nm"))
    return {
        "misfit": ("misfit_deg", "°"),
        "angle": ("angle_deg", "°"),
        "spacing": ("spacing_nm", "nm") if known else ("spacing_px", "px"),
        "area": ("area_nm2", "nm²") if known else ("area_px2", "px²"),
    }[quantity]


def grain_traces(
    result: xr.Dataset, quantity: str, counter_clockwise: bool = False
) -> tuple[list[Trace], str]:
    """A quantity of each grain, with its error, and how to call its axis."""
    name, unit = variable_of(result, quantity)
    times, _ = times_of_grains(result)
    values = np.asarray(result[name], float).reshape(len(times), -1)
    stem, end = name.rsplit("_", 1)
    error = f"{stem}_sigma_{end}"
    sigma = np.asarray(result[error], float).reshape(values.shape) if error in result else None
    label = f"{stem} ({unit})"
    if quantity == "angle":
        values = -values if counter_clockwise else values
        label = f"angle, {'counter-' if counter_clockwise else ''}clockwise (°)"
    if quantity == "misfit":
        errors = None if sigma is None else sigma[:, 0]
        return [Trace("misfit", NEUTRAL_COLOR, times, values[:, 0], unit, errors)], label
    traces = [
        Trace(
            f"grain {grain} {stem}",
            grain_color(grain),
            times,
            values[:, grain],
            unit,
            None if sigma is None else sigma[:, grain],
        )
        for grain in range(values.shape[1])
    ]
    return traces, label


def cells_in(region: Region, regions: Placement, result: xr.Dataset, cells: Placement) -> NDArray[np.bool_]:
    """Presence cells (y, x) whose centres lie in a region.

    Parameters
    ----------
    region : Region
    regions : Placement
        What the region is told in.
    result : Dataset
        As `track_grains` returns it.
    cells : Placement
        Where the result's presence cells lie.
    """
    world = regions.sites_to_world(region.vertices)
    vertices = cells.world_to_sites(world)
    moved = Region(region.name, region.shape_type, tuple((float(y), float(x)) for y, x in vertices))
    return moved.sites(result.sizes["y"], result.sizes["x"])


def region_traces(
    result: xr.Dataset,
    regions: tuple[Region, ...],
    placement: Placement,
    cells: Placement,
    grain: int | None = None,
) -> tuple[list[Trace], str]:
    """Lattice area in each region, of one grain or of all together, in the regions' colours."""
    from ..lattice.change import lattice_area

    times, _ = times_of_grains(result)
    name, unit = variable_of(result, "area")
    traces = []
    for index, region in enumerate(regions):
        inside = cells_in(region, placement, result, cells)
        if not inside.any():
            continue
        areas = lattice_area(result, inside)
        error = name.replace("_", "_sigma_")
        if grain is None:
            values = np.asarray(areas[name].sum("grain", skipna=False))
            sigma = np.sqrt(np.asarray((areas[error] ** 2).sum("grain", skipna=False)))
        else:
            values, sigma = np.asarray(areas[name][:, grain]), np.asarray(areas[error][:, grain])
        whose = "" if grain is None else f", grain {grain}"
        color = REGION_COLORS[index % len(REGION_COLORS)]
        traces.append(Trace(f"{region.name} area{whose}", color, times, values, unit, sigma))
    return traces, f"lattice area in region ({unit})"


def missing_times(result: xr.Dataset) -> Double:
    """Times of frames in which not every grain is reliable."""
    times, _ = times_of_grains(result)
    return times[~np.asarray(result["reliable"]).all(1)]


def rank_correlation(one: Trace, other: Trace) -> tuple[float, int]:
    """Spearman's ρ of two traces over the frames that both have, and how many these are; NaN: not known."""
    from scipy import stats

    _, first, second = np.intersect1d(
        np.round(one.time, 9), np.round(other.time, 9), assume_unique=False, return_indices=True
    )
    left, right = np.asarray(one.values, float)[first], np.asarray(other.values, float)[second]
    good = np.isfinite(left) & np.isfinite(right)
    left, right, count = left[good], right[good], int(good.sum())
    if count < FEWEST or np.ptp(left) == 0 or np.ptp(right) == 0:
        return float("nan"), count
    return float(stats.spearmanr(left, right).statistic), count


def correlation_note(left: list[Trace], right: list[Trace]) -> str:
    """Spearman's ρ of each region's z with the one right trace, or with the right trace of its own colour."""
    parts = []
    for trace in left:
        partners = right if len(right) == 1 else [one for one in right if one.color == trace.color]
        for partner in partners[:1]:
            rho, count = rank_correlation(trace, partner)
            told = f"{rho:+.2f}".replace("-", "−") if np.isfinite(rho) else "not defined"
            parts.append(f"{trace.label} ρ = {told} (n = {count})")
    return "Spearman: " + " · ".join(parts) if parts else ""
