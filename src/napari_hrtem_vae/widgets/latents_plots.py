"""The dock of the widget Latents: a site through time, its path, traversal strips; and what feeds them."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QSplitter, QTabWidget

from .latents_path import PRINCIPAL, Path2D, PathPlot
from .latents_state import LatentsStore, name_of, order_of
from .latents_strips import StripsPanel
from .settings import load_settings, save_settings
from .traces import REGION_COLORS, Trace, TracePlot

HINT = "Click a place in the video to plot its latents against time"
SHOWN = 4  # latents in the plot


class LatentsDock(QTabWidget):
    """Tab 1: z(t) of the site beside its path through latent space; tab 2: traversal strips."""

    def __init__(self, store: LatentsStore) -> None:
        super().__init__()
        self.setDocumentMode(True)
        self.plot = TracePlot(hint=HINT)
        self.path = PathPlot()
        self.strips = StripsPanel(store)
        both = QSplitter(Qt.Orientation.Horizontal)
        both.addWidget(self.plot)
        both.addWidget(self.path)
        both.setSizes([3000, 2000])
        both.setChildrenCollapsible(False)
        self.addTab(both, "Site in time")
        self.addTab(self.strips, "Traversal")

    def sizeHint(self) -> QSize:
        """As low as beside a video on a laptop."""
        return QSize(620, 290)


class DockFeed:
    """Between the store and the plots of a `LatentsDock`."""

    def __init__(self, dock: LatentsDock, store: LatentsStore) -> None:
        self._dock, self._store = dock, store
        self._closed = False
        frames = load_settings().get("moving_mean")
        if type(frames) is int and 1 <= frames <= 9999:
            dock.plot.set_moving_mean_frames(frames)
        dock.plot.moving_mean_changed.connect(self._smoothed)
        dock.plot.time_clicked.connect(self._clicked)
        dock.path.frame_clicked.connect(lambda frame: store.change(frame=frame))
        dock.path.plane_chosen.connect(self._path)
        store.on("series complete meanings", self._update)
        store.on("frame site", self._cursor)
        # the dock may be destroyed before the rest
        dock.destroyed.connect(self.shut_down)
        self._update()

    def shut_down(self, *_: Any) -> None:
        """Touch the plots no more."""
        if not self._closed:
            self._closed = True
            self._dock.strips.shut_down()

    def _update(self) -> None:
        if self._closed:
            return
        state = self._store.state
        if state.card is not None:
            self._dock.path.list_axes([(f"z{latent}", latent) for latent in order_of(state)])
        if state.series is None or state.site is None:
            self._dock.plot.set_traces([], y_label="")
        else:
            # while the series grows it is not known what changes most
            latents = order_of(state)[:SHOWN]
            traces = [
                Trace(name_of(state, latent), REGION_COLORS[i], state.site.times, state.series[:, latent])
                for i, latent in enumerate(latents)
            ]
            self._dock.plot.set_traces(traces, y_label="z at the site", time_label=state.site.time_label)
        self._dock.plot.set_note(_reading(state))
        self._path()
        self._cursor()

    def _path(self) -> None:
        if self._closed:
            return
        from ..vae.traversal import principal_path

        state = self._store.state
        if state.series is None or state.site is None or not state.complete:
            self._dock.path.set_path(None)
            return
        principal = principal_path(state.series)
        columns, labels = [], []
        for axis, latent in enumerate(self._dock.path.plane):
            if latent == PRINCIPAL:
                columns.append(principal.points[:, axis])
                labels.append(f"PC {axis + 1} ({100 * principal.shares[axis]:.0f} %)")
            else:
                columns.append(np.asarray(state.series[:, latent], float))
                labels.append(name_of(state, latent))
        self._dock.path.set_path(
            Path2D(
                np.stack(columns, axis=1),
                state.site.times,
                (labels[0], labels[1]),
                state.site.time_label,
                self._dock.plot.moving_mean_frames(),
            )
        )
        self._dock.path.set_frame(state.frame)

    def _smoothed(self, frames: int) -> None:
        save_settings({"moving_mean": int(frames)})
        self._dock.path.set_moving_mean_frames(frames)

    def _cursor(self) -> None:
        state = self._store.state
        if self._closed or state.site is None:
            return
        times = state.site.times
        self._dock.plot.set_time(float(times[min(max(state.frame, 0), len(times) - 1)]))
        self._dock.path.set_frame(state.frame)

    def _clicked(self, time: float) -> None:
        site = self._store.state.site
        if site is not None:
            self._store.change(frame=int(np.argmin(np.abs(site.times - time))))


def _reading(state: Any) -> str:
    """How many frames are there, while a series grows."""
    if state.series is None or state.complete:
        return ""
    there = np.isfinite(state.series[:, 0]).sum()
    return f"{there} of {len(state.series)} frames"
