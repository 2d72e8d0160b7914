"""Feeds the plot of the lattice against time from the store: traces, marks, the time cursor, clicks."""

from __future__ import annotations

from typing import Any

import numpy as np

from .lattice_maps import cell_placement
from .lattice_panels import PlotPanel
from .lattice_state import LatticeStore
from .lattice_traces import grain_traces, missing_times, region_traces, times_of_grains
from .traces import TracePlot
from .worker import Latest


class LatticePlotFeed:
    """Between the store and a `TracePlot`."""

    def __init__(self, plot: TracePlot, panel: PlotPanel, store: LatticeStore) -> None:
        self._plot, self._panel, self._store = plot, panel, store
        self._closed = False
        self._latest = Latest(lambda text: store.say(text, error=True))
        plot.set_moving_mean_frames(1)
        plot.time_clicked.connect(self._clicked)
        panel.chosen.connect(self._traces)
        store.on("result revision running regions counter_clockwise", self._traces)
        store.on("frame result", self._cursor)
        # the plot's dock may be destroyed before the rest
        plot.destroyed.connect(self.shut_down)
        self._traces()
        self._cursor()

    def shut_down(self, *_: Any) -> None:
        """Drop what still runs, and touch the plot no more."""
        self._closed = True
        self._latest.close()

    @property
    def busy(self) -> bool:
        """Whether traces are being computed."""
        return self._latest.busy

    def _traces(self) -> None:
        if self._closed:
            return
        state = self._store.state
        result, tracked = state.result, state.tracked
        if result is None or tracked is None:
            self._latest.submit(lambda: None, self._empty)
            return
        regions, placement, sense = (
            state.regions,
            state.placement or tracked.placement,
            state.counter_clockwise,
        )
        wanted = (self._panel.left, self._panel.right)
        _, label = times_of_grains(result)

        def one(quantity: str) -> Any:
            if not quantity or (quantity == "region" and "presence" not in result):
                return [], ""
            if quantity == "region":
                return region_traces(result, regions, placement, cell_placement(result, tracked.placement))
            return grain_traces(result, quantity, sense)

        def compute() -> Any:
            missing = None if state.running else missing_times(result)
            return [one(quantity) for quantity in wanted], missing

        def take(found: Any) -> None:
            (left, right), missing = found
            self._plot.set_traces(left[0], y_label=left[1], time_label=label)
            self._plot.set_right_traces(right[0], y_label=right[1])
            self._plot.set_missing(missing)
            self._cursor()

        self._latest.submit(compute, take)

    def _empty(self, _: Any) -> None:
        if not self._closed:
            self._plot.set_traces([], y_label="")
            self._plot.set_right_traces([])

    def _cursor(self) -> None:
        state = self._store.state
        if not self._closed and state.result is not None:
            times, _ = times_of_grains(state.result)
            self._plot.set_time(float(times[min(max(state.frame, 0), len(times) - 1)]))

    def _clicked(self, time: float) -> None:
        result = self._store.state.result
        if result is not None:
            times, _ = times_of_grains(result)
            self._store.change(frame=int(np.argmin(np.abs(times - time))))
