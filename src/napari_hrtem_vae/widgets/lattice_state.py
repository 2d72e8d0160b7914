"""What the widget Lattice shows, in one place."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..lattice.parameters import LatticeParameters
from .store import Message, Store

if TYPE_CHECKING:
    import xarray as xr
    from napari.layers import Image

    from .lattice_link import LatticeLink
    from .lattice_maps import TimeAxis
    from .layers import Placement
    from .regions import Region

# Okabe and Ito's: told apart by all eyes; a grain has its colour in spectrum, masks and plot.
# Blue and red stay with growth and shrinkage.
GRAIN_COLORS = ("#e69f00", "#cc79a7", "#009e73", "#f0e442", "#56b4e9", "#d55e00")
ALL_GRAINS = -1


@dataclass(frozen=True, eq=False)
class Tracked:
    """What a result was made of, as it was then: the layer may be gone or moved since.

    Parameters
    ----------
    placement : Placement
        Where the pixels of the video lie in the world.
    time : TimeAxis
        Where its time runs.
    title : str
        Its name.
    video : DataArray or None
        (time, y, x), lazy; None where it is not at hand.
    layer : weakref or None
        Of its layer.
    """

    placement: Placement
    time: TimeAxis
    title: str
    video: xr.DataArray | None = None
    layer: weakref.ref[Any] | None = None


@dataclass(frozen=True)
class LatticeState:
    """The state of the Lattice widget.

    Parameters
    ----------
    video : napari.layers.Image or None
        The chosen layer, by identity.
    pixel_size_nm, frame_time_s : float or None
        Of the chosen video, as the user sees and edits them; None: unknown.
    parameters : LatticeParameters
        What the next tracking takes.
    result_store : str
        Folder (.zarr) for the next result; empty: memory.
    spots : tuple of (ky, kx) or None
        Spots put by hand in cycles per px, one a grain (two with symmetry "any"); None: grains are found.
    source : int or None
        Region whose spectrum is shown; None: the whole frame.
    running : bool
        Grains are being followed.
    result : xarray.Dataset or None
        Grains on the screen; NaN in frames that are not done, while it grows.
    analysis : int
        Counts results: another number is another result, which gets layers of its own.
    revision : int
        Counts the changes inside a result that is still growing.
    tracked : Tracked or None
        What `result` was made of.
    placement : Placement or None
        Where the pixels of the chosen video lie in the world: regions are told in them.
    frame : int
        Frame on the screen.
    ends : tuple of 2 ints
        Frames that growth and shrinkage are told between.
    areas : str
        Areas that grew, shrank and stayed, for people.
    grain : int
        Grain that the maps are of; -1: all.
    shown : tuple of str
        Maps that are on the screen, keys of `lattice_maps.MAPS`.
    strain : str
        Component of the strain on the screen.
    counter_clockwise : bool
        Angles grow counter-clockwise on the screen; else clockwise.
    regions : tuple of Region
        Regions drawn, in px of the video.
    lattice : LatticeLink or None
        What a region panel notes of the viewer's layers.
    message : Message
        The sentence at the bottom.
    """

    video: Image | None = None
    pixel_size_nm: float | None = None
    frame_time_s: float | None = None
    parameters: LatticeParameters = field(default_factory=LatticeParameters)
    result_store: str = ""
    spots: tuple[tuple[float, float], ...] | None = None
    source: int | None = None
    running: bool = False
    result: xr.Dataset | None = None
    analysis: int = 0
    revision: int = 0
    tracked: Tracked | None = None
    placement: Placement | None = None
    frame: int = 0
    ends: tuple[int, int] = (0, 0)
    areas: str = ""
    grain: int = ALL_GRAINS
    shown: tuple[str, ...] = ()
    strain: str = "exx"
    counter_clockwise: bool = False
    regions: tuple[Region, ...] = ()
    lattice: LatticeLink | None = None
    message: Message = field(default_factory=Message)


class LatticeStore(Store):
    """Holds the `LatticeState` and tells who asks which fields of it changed."""

    _state: Any

    def __init__(self) -> None:
        super().__init__()
        self._state = LatticeState()

    @property
    def state(self) -> Any:
        """The `LatticeState` now."""
        return self._state

    def close(self) -> None:
        """Forget all listeners and let go of layers and results."""
        super().close()
        self._state = LatticeState()


def grain_color(grain: int) -> str:
    """Hex colour of a grain, the same wherever it is seen."""
    return GRAIN_COLORS[grain % len(GRAIN_COLORS)]
