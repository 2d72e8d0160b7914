"""Which layer's lattice is looked at, and how large its pixels and how far apart its frames are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import HrtemVaeError
from .layers import first_level, frame_time_of, pixel_size_of, placement_on, video_axes
from .parts import show_note
from .timeline import Timeline
from .video_panel import NO_VIDEO, VideoPanel


class LatticeTimeline(Timeline):
    """Follows the masks of a result whose video is not open, else the video.

    Parameters
    ----------
    masks : callable
        The layer of the masks; None when there is none.
    """

    def __init__(self, viewer: Any, store: Any, masks: Callable[[], Any]) -> None:
        self._masks = masks
        super().__init__(viewer, store)
        store.on("analysis", self._viewer_moved)

    def _time_axis(self) -> tuple[Any, int, int] | None:
        state: Any = self._store.state
        layer, tracked = self._masks(), state.tracked
        if state.video is not None or layer is None or tracked.time.axis is None:
            return super()._time_axis()
        return layer, tracked.time.axis, self._viewer.dims.ndim - layer.ndim + tracked.time.axis


class LatticeVideoPanel(VideoPanel):
    """Part 1: as in Analyze, without a model that the pixels would have to match."""

    def _choose(self, layer: Any) -> None:
        state: Any = self._store.state
        if layer is state.video:
            self._show()
            return
        pixel_size = frame_time = None
        # without a video regions are told in the pixels of the one that was tracked
        placement = None if state.tracked is None else state.tracked.placement
        if layer is not None and layer.ndim >= 2:
            pixel_size = pixel_size_of(layer)
            placement = placement_on(layer, [0, 1], [0, 1])
            try:
                frame_time = frame_time_of(layer, video_axes(layer))
            except HrtemVaeError:
                frame_time = None
        self._store.change(
            video=layer,
            pixel_size_nm=pixel_size,
            frame_time_s=frame_time,
            placement=placement,
            # spots put by hand belong to the video that they were put for
            spots=None,
            source=None,
        )
        self._show()

    def _edited(self) -> None:
        self._store.change(pixel_size_nm=self.pixel_size.value(), frame_time_s=self.frame_time.value())

    def _show(self) -> None:
        state = self._store.state
        self.match_button.hide()
        self.pixel_size.set_value(state.pixel_size_nm)
        self.frame_time.set_value(state.frame_time_s)
        if state.video is None:
            show_note(self.note, NO_VIDEO)
            return
        try:
            axes = video_axes(state.video)
        except HrtemVaeError as error:
            show_note(self.note, str(error))
            return
        shape = first_level(state.video).shape
        frames = 1 if axes.time is None else shape[axes.time]
        lines = [f"{frames} frame{'s' * (frames != 1)} of {shape[axes.y]} × {shape[axes.x]} px"]
        if state.pixel_size_nm is None:
            lines.append("Pixel size unknown: angles are given, lengths and areas in pixels.")
        if state.frame_time_s is None and frames > 1:
            lines.append("Frame time unknown: time is in frames.")
        show_note(self.note, "\n".join(lines))
