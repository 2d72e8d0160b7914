"""The viewer's time slider and the store's frame, in step both ways."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import HrtemVaeError
from .layers import first_level, video_axes
from .store import Store


class Timeline:
    """Follows the viewer's frame and moves it; the only part that knows the viewer's time axis."""

    def __init__(self, viewer: Any, store: Store) -> None:
        self._viewer, self._store = viewer, store
        viewer.dims.events.point.connect(self._viewer_moved)
        store.on("frame", self._frame_changed)
        store.on("video", self._viewer_moved)
        self._viewer_moved()

    def shut_down(self) -> None:
        """Let go of the viewer."""
        self._viewer.dims.events.point.disconnect(self._viewer_moved)

    def _time_axis(self) -> tuple[Any, int, int] | None:
        """The video, its time axis, and that axis among the viewer's."""
        video = self._store.state.video
        if video is None:
            return None
        try:
            axis = video_axes(video).time
        except HrtemVaeError:
            return None
        if axis is None:
            return None
        return video, axis, self._viewer.dims.ndim - video.ndim + axis

    def _viewer_moved(self, event: Any = None) -> None:
        found = self._time_axis()
        if found is None:
            return
        video, axis, shown = found
        point = np.zeros(video.ndim)
        point[axis] = self._viewer.dims.point[shown] / self._factor(video, axis, shown)
        frame = round(float(video.world_to_data(point)[axis]))
        self._store.change(frame=min(max(frame, 0), first_level(video).shape[axis] - 1))

    def _frame_changed(self) -> None:
        found = self._time_axis()
        if found is None:
            return
        video, axis, shown = found
        position = np.zeros(video.ndim)
        position[axis] = self._store.state.frame
        world = float(video.data_to_world(position)[axis]) * self._factor(video, axis, shown)
        if not np.isclose(world, self._viewer.dims.point[shown]):
            self._viewer.dims.set_point(shown, world)

    def _factor(self, video: Any, axis: int, shown: int) -> float:
        """From the video's unit of time to the viewer's."""
        units = self._viewer.dims.units
        if units is None or len(units) <= shown:
            return 1.0
        own, world = video.units[axis], units[shown]
        if own == world or own.dimensionality != world.dimensionality:
            return 1.0
        return float((1 * own).to(world).magnitude)
