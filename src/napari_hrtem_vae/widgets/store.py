"""What is on the screen, in one place: panels read it and change it, and never call each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from ..vae.parameters import AnalyzeParameters

if TYPE_CHECKING:
    import xarray as xr
    from napari.layers import Image, Layer

    from .lattice_link import LatticeLink
    from .layers import Placement
    from .regions import Region

NO_MESSAGE = ""


@dataclass(frozen=True)
class Message:
    """One sentence for the user.

    Parameters
    ----------
    text : str
        The sentence; empty when there is nothing to say.
    error : bool
        Whether something went wrong.
    """

    text: str = NO_MESSAGE
    error: bool = False


@dataclass(frozen=True)
class State:
    """The state of the Analyze widget.

    Parameters
    ----------
    video : napari.layers.Image or None
        The chosen layer, by identity.
    pixel_size_nm, frame_time_s : float or None
        Of the chosen video, as the user sees and edits them; None: unknown.
    model : str or None
        Name of a shipped model or path of a model file.
    card : ModelCard or None
        Card of `model`.
    parameters : AnalyzeParameters
        What the next analysis takes.
    result_store : str
        Folder (.zarr) for the next result; empty: memory.
    running : bool
        An analysis is under way.
    result : xarray.Dataset or None
        Result on the screen; maps only, with NaN where sites are not done, while it runs.
    analysis : int
        Counts results: another number is another result, which gets a layer of its own.
    revision : int
        Counts the changes inside a result that is still growing.
    placement : Placement or None
        Where the result's sites lie in the world.
    title : str
        Name of the analysed video.
    analysed : napari.layers.Layer or None
        Layer of the analysed video, by identity; None: not known.
    latent : int or None
        Latent on the screen; None: the one in which most happens.
    order : str
        How latents are listed: 'peak' or 'index'.
    kind : str
        Which map: a key of `layers.KINDS`.
    frame : int
        Frame on the screen.
    regions : tuple of Region
        Regions drawn.
    right_axis : str
        On the plot's right axis: a variable of the result, or a key of `lattice_link`; empty: nothing.
    lattice : LatticeLink or None
        The lattice result among the viewer's layers.
    message : Message
        The sentence at the bottom of the controls.
    """

    video: Image | None = None
    pixel_size_nm: float | None = None
    frame_time_s: float | None = None
    model: str | None = None
    card: Any = None
    parameters: AnalyzeParameters = field(default_factory=AnalyzeParameters)
    result_store: str = ""
    running: bool = False
    result: xr.Dataset | None = None
    analysis: int = 0
    revision: int = 0
    placement: Placement | None = None
    title: str = ""
    analysed: Layer | None = None
    latent: int | None = None
    order: str = "peak"
    kind: str = "time_correlated_variance"
    frame: int = 0
    regions: tuple[Region, ...] = ()
    right_axis: str = ""
    lattice: LatticeLink | None = None
    message: Message = Message()


class Store:
    """Holds the `State` and tells who asks which fields of it changed."""

    changed = Signal(object)  # frozenset of names

    def __init__(self, state: State | None = None) -> None:
        self._state = state or State()
        self._listeners: list[Callable[..., None]] = []

    @property
    def state(self) -> State:
        """The state now."""
        return self._state

    def change(self, **values: Any) -> None:
        """Replace fields of the state; listeners hear once, and only of what is another value."""
        before = self._state
        # by identity: layers and datasets compare elementwise or deeply
        names = frozenset(
            name
            for name, value in values.items()
            if value is not getattr(before, name) and not _same(value, getattr(before, name))
        )
        if not names:
            return
        self._state = replace(before, **values)
        self.changed.emit(names)

    def drop_result(self, **values: Any) -> None:
        """Forget the result and all that belongs to it; `values` change at the same time."""
        nothing = {"result": None, "placement": None, "analysed": None, "title": "", "latent": None}
        self.change(**(nothing | values))

    def say(self, text: str, *, error: bool = False) -> None:
        """Show one sentence to the user."""
        self.change(message=Message(text, error))

    def on(self, names: str, react: Callable[[], None]) -> None:
        """Call `react` whenever one of `names` (separated by spaces) changes."""
        wanted = frozenset(names.split())

        def listener(changed: frozenset[str]) -> None:
            if wanted & changed:
                react()

        self._listeners.append(listener)
        self.changed.connect(listener)

    def close(self) -> None:
        """Forget all listeners and let go of layers and results."""
        self.changed.disconnect()
        self._listeners.clear()
        self._state = State()


def _same(one: Any, other: Any) -> bool:
    """Whether two plain values are equal; anything that is not plain counts as another."""
    plain = (str, int, float, bool, tuple, Message, AnalyzeParameters)
    return isinstance(one, plain) and type(one) is type(other) and bool(one == other)
