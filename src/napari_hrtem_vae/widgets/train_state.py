"""What the widget Train shows, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .store import Message, Store

if TYPE_CHECKING:
    from napari.layers import Image

    from ..vae.picking import Preview
    from ..vae.recipe import Recipe
    from ..vae.training import Epoch


@dataclass(frozen=True)
class TrainState:
    """The state of the Train widget.

    Parameters
    ----------
    layers : tuple of napari.layers.Image
        Chosen layers, by identity.
    files : tuple of str
        Chosen files and folders.
    simulated : bool
        Simulated scenes too, or alone.
    recipe : Recipe or None
        How; its `fringe_threshold` is what the slider says.
    device : str
        As torch names it, or 'auto'.
    place : str
        File that the model is written to.
    running : bool
        A training is under way.
    preview : Preview or None
        Segments that would be trained on.
    epochs : tuple of Epoch
        Finished epochs of this training.
    message : Message
        The sentence at the bottom.
    """

    layers: tuple[Image, ...] = ()
    files: tuple[str, ...] = ()
    simulated: bool = False
    recipe: Recipe | None = None
    device: str = "auto"
    place: str = ""
    running: bool = False
    preview: Preview | None = None
    epochs: tuple[Epoch, ...] = ()
    message: Message = field(default_factory=Message)


class TrainStore(Store):
    """Holds the `TrainState` and tells who asks which fields of it changed."""

    _state: Any

    def __init__(self) -> None:
        super().__init__()
        self._state = TrainState()

    @property
    def state(self) -> Any:
        """The `TrainState` now."""
        return self._state

    def close(self) -> None:
        """Forget all listeners and let go of layers and segments."""
        super().close()
        self._state = TrainState()
