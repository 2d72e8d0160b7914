"""Reads the window of the clicked site at the viewer's frame, and its latents through time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import HrtemVaeError, ModelPartError
from .latents_state import LatentsState, LatentsStore, Site
from .latents_work import Newest
from .layers import video_of
from .worker import Latest

if TYPE_CHECKING:
    from ..vae.site_windows import SiteWindows

LEFT_IN = (
    "Analyze takes the drift out, this widget does not: align the video first to follow one place of it."
)
# A series is plotted so often while it grows.
SHOWN_EVERY_S = 0.5


@dataclass(frozen=True, eq=False)
class Look:
    """A window, and what was found out on the way to it."""

    source: SiteWindows
    index: tuple[int, int]
    window: np.ndarray
    z: np.ndarray | None
    note: str


class SiteReader:
    """Between the clicked place and its window, latents and series."""

    def __init__(self, store: LatentsStore) -> None:
        self._store = store
        self._looks = Latest(self._failed, each=True)
        self._series = Newest(lambda text: store.say(text, error=True))
        self._sources = _Sources()
        self._followed: tuple[Any, tuple[int, int]] | None = None
        self._key: Any = ()
        self._video: Any = None  # that of the key
        self._shown_at = 0.0
        store.on("video", self._forget)
        store.on("loaded pixel_size_nm frame_time_s parameters place frame", self._look)

    @property
    def busy(self) -> bool:
        """Whether a window or a series is being read."""
        return self._looks.busy or self._series.busy

    def shut_down(self) -> None:
        """Drop what still runs, and let go of video and model."""
        self._looks.close()
        self._series.stop()
        self._drop()

    def _forget(self) -> None:
        """A place belongs to one video."""
        self._series.stop()
        self._drop()
        start = self._store.state.start
        zeros = None if start is None else np.zeros_like(start)
        nothing = dict.fromkeys(("place", "site", "window", "series"))
        self._store.change(**nothing, complete=False, start=zeros, z=zeros)

    def _drop(self) -> None:
        self._followed, self._key, self._video = None, (), None
        self._sources = _Sources()

    def _look(self) -> None:
        state = self._store.state
        place, model, frame = state.place, state.loaded, state.frame
        if place is None or model is None or state.video is None:
            self._series.stop()
            self._followed = None
            return
        key = _key(state)
        if not _same(key, self._key):
            try:
                self._video = video_of(
                    state.video, pixel_size_nm=state.pixel_size_nm, frame_time_s=state.frame_time_s
                )
            except HrtemVaeError as error:
                self._store.say(str(error), error=True)
                return
            self._key = key
        sources, parameters, video = self._sources, state.parameters, self._video

        def compute() -> Look:
            source = sources.get(key, video, model, parameters)
            return look_at(source, model, place, min(frame, len(video) - 1))

        self._looks.submit(compute, partial(self._seen, key, place))

    def _seen(self, key: Any, place: np.ndarray, look: Look) -> None:
        state = self._store.state
        if state.place is not place or not _same(_key(state), key):
            return
        changes: dict[str, Any] = {"window": look.window}
        if look.z is not None:
            changes |= {"start": look.z, "z": look.z}
        another = (
            self._followed is None or self._followed[1] != look.index or not _same(self._followed[0], key)
        )
        if another:
            self._followed = (key, look.index)
            changes |= {"site": _site(look), "series": None, "complete": False}
        self._store.change(**changes)
        self._store.say(look.note or (LEFT_IN if state.parameters.drift != "off" else ""))
        if another:
            self._follow(look, state.loaded)

    def _failed(self, text: str) -> None:
        # what stood there is not the window of this frame
        self._store.change(window=None)
        self._store.say(text, error=True)

    def _follow(self, look: Look, model: Any) -> None:
        """Begin to read the series of a site."""
        if model.network.encoder is None:
            return
        series = np.full((len(look.source.video), model.card.latents), np.nan, np.float32)
        self._shown_at = time.monotonic()

        def progressed(items: list[Any]) -> None:
            for item in items:
                if item.finished is not None:
                    series[item.finished["frame"].values] = item.finished["z"].values
            if time.monotonic() - self._shown_at > SHOWN_EVERY_S:
                self._shown_at = time.monotonic()
                self._store.change(series=series.copy())

        def take(result: np.ndarray) -> None:
            self._store.change(series=result, complete=True)

        self._series.start(lambda: look.source.series_steps(model, look.index), take, progressed)


class _Sources:
    """The last video that was prepared; used in one thread at a time."""

    def __init__(self) -> None:
        self._key: Any = ()
        self._source: SiteWindows | None = None

    def get(self, key: Any, video: Any, model: Any, parameters: Any) -> SiteWindows:
        """That of `key`, prepared now where it is not the last one."""
        from ..progress import run
        from ..vae.site_windows import site_windows_steps

        if self._source is None or not _same(key, self._key):
            self._source = run(site_windows_steps(video, model.card, parameters))
            self._key = key
        return self._source


def _key(state: LatentsState) -> tuple[Any, ...]:
    """What the windows of a place depend on."""
    return (state.video, state.pixel_size_nm, state.frame_time_s, state.parameters, state.loaded)


def _same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Whether two keys hold the same objects; layers and models have no equality of their own."""
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


def look_at(source: SiteWindows, model: Any, place: np.ndarray, frame: int) -> Look:
    """The window nearest to a pixel of the video, and its latents where there are any."""
    from ..vae.site_windows import latents_of

    index = source.nearest_site(float(place[0]), float(place[1]))
    window = source.window(index, frame)
    if not np.isfinite(window).all():
        note = f"Frame {frame} is constant or holds NaN: it has no latents; go to another frame."
        return Look(source, index, window, None, note)
    try:
        z = latents_of(model, window[None])[0]
    except ModelPartError as error:
        return Look(source, index, window, None, str(error))
    note = "" if np.ptp(window) > 0 else "This window is constant: there is nothing in it that could change."
    return Look(source, index, window, z, note)


def _site(look: Look) -> Site:
    time_axis = look.source.video["time"]
    seconds = time_axis.attrs.get("units") == "s"
    return Site(
        look.index,
        look.source.corners_px(look.index),
        np.asarray(time_axis, float),
        "time (s)" if seconds else "frame",
    )
