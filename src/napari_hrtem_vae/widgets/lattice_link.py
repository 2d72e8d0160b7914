"""From a lattice result in the viewer to the right axis of Analyze's plot of z against time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .lattice_maps import grains_of
from .layers import Placement, note_of, placement_of_layer

if TYPE_CHECKING:
    import xarray as xr

    from .regions import Region
    from .trace_figure import Trace

PREFIX = "lattice:"


@dataclass(frozen=True, eq=False)
class LatticeLink:
    """A lattice result that is on the screen.

    Parameters
    ----------
    result : xarray.Dataset
        As `track_grains` returns it.
    cells : Placement
        Where its presence cells lie in the world.
    """

    result: xr.Dataset
    cells: Placement


def link_in(viewer: Any) -> LatticeLink | None:
    """The uppermost finished lattice result among the viewer's layers; None where there is none."""
    for layer in reversed(list(viewer.layers)):
        result = grains_of(layer)
        if result is not None and note_of(layer).get("map") == "presence":
            return LatticeLink(result, placement_of_layer(layer))
    return None


def axis_choices(link: LatticeLink | None) -> list[tuple[str, str]]:
    """Words and keys of what a lattice result offers the right axis of z(t)."""
    if link is None:
        return []
    grains = range(link.result.sizes["grain"])
    choices = [("misfit", f"{PREFIX}misfit")] if len(grains) > 1 else []
    choices += [("lattice angles", f"{PREFIX}angle"), ("lattice area in the region", f"{PREFIX}region")]
    return choices + [(f"area of grain {one} in the region", f"{PREFIX}region:{one}") for one in grains]


def axis_traces(
    link: LatticeLink, key: str, regions: tuple[Region, ...], placement: Placement
) -> tuple[list[Trace], str]:
    """Traces for the right axis and how to call it; `placement` is that of the regions' sites."""
    from .lattice_traces import grain_traces, region_traces

    quantity, _, grain = key.removeprefix(PREFIX).partition(":")
    if quantity == "region":
        return region_traces(link.result, regions, placement, link.cells, int(grain) if grain else None)
    return grain_traces(link.result, quantity)
