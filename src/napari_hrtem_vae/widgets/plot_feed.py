"""Feeds the plot from the store: traces of the regions, the time cursor, clicks."""

from __future__ import annotations

from typing import Any

import numpy as np

from .lattice_link import PREFIX, LatticeLink, axis_traces
from .lattice_traces import correlation_note
from .regions import region_trace
from .settings import load_settings, save_settings
from .store import Store
from .traces import REGION_COLORS, Trace, TracePlot
from .worker import Latest


def times_of(result: Any) -> tuple[np.ndarray, str]:
    """Times of a result's frames and how to call them."""
    unit = result["time"].attrs.get("units", "") if "time" in result.coords else ""
    count = result.sizes["time"]
    times = np.asarray(result["time"], float) if "time" in result.coords else np.arange(count, dtype=float)
    return times, "time (s)" if unit == "s" else "frame"


class PlotFeed:
    """Between the store and a `TracePlot`."""

    def __init__(self, plot: TracePlot, store: Store) -> None:
        self._plot, self._store = plot, store
        self._closed = False
        self._latest = Latest(lambda text: store.say(text, error=True))
        self._lattice = Latest(lambda text: store.say(text, error=True))
        self._left: list[Trace] = []
        self._partners: list[Trace] = []  # of the left traces, on the right axis
        frames = load_settings().get("moving_mean")
        if type(frames) is int and 1 <= frames <= 9999:
            plot.set_moving_mean_frames(frames)
        plot.moving_mean_changed.connect(lambda n: save_settings({"moving_mean": int(n)}))
        plot.time_clicked.connect(self._clicked)
        store.on("regions latent result revision running", self._traces)
        store.on("right_axis result lattice regions placement", self._right)
        store.on("frame result", self._cursor)
        # the plot's dock may be destroyed before the rest
        plot.destroyed.connect(self.shut_down)
        self._traces()
        self._cursor()

    def shut_down(self, *_: Any) -> None:
        """Drop what still runs, and touch the plot no more."""
        self._closed = True
        self._latest.close()
        self._lattice.close()

    def _traces(self) -> None:
        if self._closed:
            return
        state = self._store.state
        result, regions = state.result, state.regions
        if result is None or "z" not in result or not regions:
            self._latest.submit(lambda: None, self._empty)
            return
        latent = _latent_now(state)
        times, label = times_of(result)

        def compute() -> list[Any]:
            shape = result.sizes["y"], result.sizes["x"]
            return [
                region_trace(result, region, latent) if region.sites(*shape).any() else None
                for region in regions
            ]

        def take(values: list[Any]) -> None:
            traces = [
                Trace(region.name, REGION_COLORS[i % len(REGION_COLORS)], times, series)
                for i, (region, series) in enumerate(zip(regions, values, strict=True))
                if series is not None
            ]
            self._plot.set_traces(traces, y_label=f"z{latent}, region mean", time_label=label)
            self._left = traces
            self._correlate(self._partners)
            self._cursor()

        self._latest.submit(compute, take)

    def _empty(self, _: Any) -> None:
        self._left = []
        self._plot.set_traces([], y_label="")
        self._plot.set_note("")

    def _right(self) -> None:
        if self._closed:
            return
        state = self._store.state
        name = state.right_axis
        if state.result is not None and name.startswith(PREFIX) and state.lattice is not None:
            self._right_lattice(state.lattice, name)
            return
        self._lattice.submit(lambda: None, lambda _: None)  # what is on its way is of no use any more
        if state.result is None or not name or name not in state.result:
            self._plot.set_right_traces([])
            self._correlate([])
            return
        field = state.result[name]
        unit = str(field.attrs.get("units", ""))
        times, _ = times_of(state.result)
        columns = np.asarray(field, float).reshape(len(times), -1)
        word = name.replace("_", " ")
        labels = [word if columns.shape[1] == 1 else f"{word} {i}" for i in range(columns.shape[1])]
        # from the end of the palette: regions take it from the start
        traces = [
            Trace(label, REGION_COLORS[-1 - i % len(REGION_COLORS)], times, columns[:, i], unit)
            for i, label in enumerate(labels)
        ]
        self._plot.set_right_traces(traces, y_label=f"{word} ({unit})" if unit else word)
        self._correlate([])

    def _right_lattice(self, link: LatticeLink, key: str) -> None:
        """Misfit, angles, or lattice areas of the regions; masks may come from disk: read in a thread."""
        state = self._store.state
        regions, placement = state.regions, state.placement
        if placement is None:
            return

        def take(found: Any) -> None:
            traces, label = found
            self._plot.set_right_traces(traces, y_label=label)
            self._correlate(traces if not key.endswith("angle") else [])

        self._lattice.submit(lambda: axis_traces(link, key, regions, placement), take)

    def _correlate(self, right: list[Any]) -> None:
        """Tell the rank correlation of each region's z with what stands on the right."""
        self._partners = right
        self._plot.set_note(correlation_note(self._left, right))

    def _cursor(self) -> None:
        if self._closed:
            return
        state = self._store.state
        if state.result is not None and "time" in state.result.sizes:
            times, _ = times_of(state.result)
            self._plot.set_time(float(times[min(max(state.frame, 0), len(times) - 1)]))

    def _clicked(self, time: float) -> None:
        result = self._store.state.result
        if result is not None and "time" in result.sizes:
            times, _ = times_of(result)
            self._store.change(frame=int(np.argmin(np.abs(times - time))))


def _latent_now(state: Any) -> int:
    from .layers import latent_order, peaks_of

    return state.latent if state.latent is not None else latent_order(peaks_of(state.result), "peak")[0]
