"""What the widget Latents shows, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..vae.parameters import AnalyzeParameters
from .store import Message, Store

if TYPE_CHECKING:
    from napari.layers import Image

    from ..vae.model import Model

ORDERS = {"most": "most first", "index": "by index"}


@dataclass(frozen=True, eq=False)
class Site:
    """The site that was clicked, and the latents that stand for its windows.

    Parameters
    ----------
    index : tuple of 2 ints
        Row and column among the sites of the video.
    corners_px : ndarray (2, 2)
        Upper left and lower right corner of its window, in px of the video.
    times : ndarray (time,)
        Of the frames.
    time_label : str
        What they are, with their unit.
    """

    index: tuple[int, int]
    corners_px: np.ndarray
    times: np.ndarray
    time_label: str


@dataclass(frozen=True)
class LatentsState:
    """The state of the Latents widget.

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
    loaded : Model or None
        `model`, once it is read.
    meanings : tuple of (str or None), or None
        What each latent means, where that is known.
    parameters : AnalyzeParameters
        How windows are prepared: those of Analyze.
    frame : int
        Frame on the screen.
    place : ndarray (2,) or None
        Pixel (y, x) of the video that was clicked; a click on the same one is another place.
    site : Site or None
        Whose window is on the screen.
    window : ndarray (w, w) or None
        The window at this frame, 0…1; NaN where the frame cannot be used.
    start : ndarray (latents,) or None
        Latents of the window; zeros without one. The sliders start there.
    z : ndarray (latents,) or None
        Latents that the sliders stand at.
    before, after : ndarray (w, w) or None
        Reconstructions of `start` and of `z`.
    series : ndarray (time, latents) or None
        Latents of the site through time; NaN where there are none, or not yet.
    complete : bool
        `series` has come to its end.
    order : str
        How latents are listed: a key of `ORDERS`.
    message : Message
        The sentence at the bottom.
    """

    video: Image | None = None
    pixel_size_nm: float | None = None
    frame_time_s: float | None = None
    model: str | None = None
    card: Any = None
    loaded: Model | None = None
    meanings: tuple[str | None, ...] | None = None
    parameters: AnalyzeParameters = field(default_factory=AnalyzeParameters)
    frame: int = 0
    place: np.ndarray | None = None
    site: Site | None = None
    window: np.ndarray | None = None
    start: np.ndarray | None = None
    z: np.ndarray | None = None
    before: np.ndarray | None = None
    after: np.ndarray | None = None
    series: np.ndarray | None = None
    complete: bool = False
    order: str = "most"
    message: Message = field(default_factory=Message)


class LatentsStore(Store):
    """Holds the `LatentsState` and tells who asks which fields of it changed."""

    _state: Any

    def __init__(self) -> None:
        super().__init__()
        self._state = LatentsState()

    @property
    def state(self) -> Any:
        """The `LatentsState` now."""
        return self._state

    def close(self) -> None:
        """Forget all listeners and let go of layers and models."""
        super().close()
        self._state = LatentsState()


def name_of(state: LatentsState, latent: int) -> str:
    """How a latent is called: its index, and its meaning where known."""
    meaning = state.meanings[latent] if state.meanings is not None else None
    return f"z{latent} · {meaning}" if meaning else f"z{latent}"


def spreads_of(state: LatentsState) -> np.ndarray:
    """Spread of each latent: the model's, else the site's, else 1."""
    from ..vae.traversal import latent_spreads

    return latent_spreads(state.card, state.series if state.complete else None)


def order_of(state: LatentsState) -> list[int]:
    """Latents in the order of a list: by index, or most change here first, else most variance."""
    from ..vae.traversal import slow_variation

    count = state.card.latents
    if state.order == "index":
        return list(range(count))
    change = slow_variation(state.series) if state.complete and state.series is not None else np.zeros(count)
    if not change.any():
        change = spreads_of(state)
    return [int(latent) for latent in np.argsort(-change, kind="stable")]
