"""A click on the video picks a place; a frame around it shows the window."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from ..errors import HrtemVaeError
from .latents_state import LatentsStore
from .layers import METADATA, first_level, placement_on, video_axes
from .video_panel import NO_VIDEO

LAYER_NAME = "Window of Latents"
COLOR = "#02bbff"
# A press that moves further, in px of the screen, pans the view.
STILL_PX = 4.0


class ClickPicker:
    """Takes clicks on the video while the mouse has no other task, as drawing shapes."""

    def __init__(self, viewer: Any, store: LatentsStore) -> None:
        self._viewer, self._store = viewer, store
        viewer.mouse_drag_callbacks.append(self._pressed)

    def shut_down(self) -> None:
        """Let go of the viewer."""
        with suppress(ValueError):
            self._viewer.mouse_drag_callbacks.remove(self._pressed)

    def _pressed(self, viewer: Any, event: Any) -> Iterator[None]:
        active = viewer.layers.selection.active
        busy = active is not None and str(getattr(active, "mode", "pan_zoom")) != "pan_zoom"
        if busy or event.button != 1 or event.modifiers or viewer.dims.ndisplay != 2:
            return
        pressed = np.array(event.pos, float)
        yield
        while event.type == "mouse_move":
            yield
        if np.hypot(*(np.array(event.pos, float) - pressed)) <= STILL_PX:
            self.pick(event.position)

    def pick(self, position: Any) -> None:
        """Take the place at a position of the viewer's world; one beside the video is refused."""
        video = self._store.state.video
        if video is None:
            self._store.say(NO_VIDEO, error=True)
            return
        try:
            video_axes(video)
        except HrtemVaeError as error:
            self._store.say(str(error), error=True)
            return
        y, x = self._pixel(video, position)
        rows, columns = first_level(video).shape[-2:]
        if not (-0.5 <= y <= rows - 0.5 and -0.5 <= x <= columns - 0.5):
            self._store.say(
                f"This click lies outside the video '{video.name}'; click on it, or choose another layer.",
                error=True,
            )
            return
        self._store.change(place=np.array([y, x]))

    def _pixel(self, video: Any, position: Any) -> tuple[float, float]:
        """Pixel (y, x) of the video, fractional, at a world position of the viewer."""
        units = self._viewer.dims.units
        world = np.zeros(video.ndim)
        for axis in (-2, -1):
            factor = 1.0
            if units is not None and len(units) >= video.ndim:
                own, shown = video.units[axis], units[axis]
                if own != shown and own.dimensionality == shown.dimensionality:
                    factor = float((1 * own).to(shown).magnitude)
            world[axis] = position[axis] / factor
        y, x = video.world_to_data(world)[-2:]
        return float(y), float(x)


class WindowFrame:
    """A layer with a rectangle around the window; goes with the widget."""

    def __init__(self, viewer: Any, store: LatentsStore) -> None:
        self._viewer, self._store = viewer, store
        self._layer: Any = None
        self._video: Any = None
        viewer.layers.events.removed.connect(self._removed)
        store.on("site", self._show)

    @property
    def layer(self) -> Any:
        """The layer; None when there is none."""
        return self._layer

    def shut_down(self) -> None:
        """Take the rectangle away, and let go of the viewer."""
        self._viewer.layers.events.removed.disconnect(self._removed)
        # the window may be closing
        with suppress(ValueError, RuntimeError, AttributeError):
            self._take_away()
        self._layer = self._video = None

    def _removed(self, event: Any) -> None:
        if event.value is self._layer:
            self._layer = None

    def _take_away(self) -> None:
        layer, self._layer = self._layer, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def _show(self) -> None:
        from napari.layers import Shapes

        state = self._store.state
        if state.site is None or state.video is None:
            self._take_away()
            return
        (top, left), (bottom, right) = state.site.corners_px
        corners = np.array([[top, left], [top, right], [bottom, right], [bottom, left]])
        if self._layer is not None and self._video is state.video:
            self._layer.data = [corners]
            return
        self._take_away()
        self._video = state.video
        options = placement_on(state.video, [0, 1], [0, 1]).layer_options()
        self._layer = Shapes(
            [corners],
            ndim=2,
            shape_type="rectangle",
            name=LAYER_NAME,
            edge_color=COLOR,
            face_color="transparent",
            edge_width=max(1.0, 0.03 * (bottom - top)),
            metadata={METADATA: {"window": True}},
            **options,
        )
        active = self._viewer.layers.selection.active
        self._viewer.add_layer(self._layer)
        # the video stays selected: its frames are what the user steps through
        if active is not None and active in self._viewer.layers:
            self._viewer.layers.selection.active = active
