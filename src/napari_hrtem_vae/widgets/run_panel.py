"""The button that starts and cancels an analysis, and what is seen of it while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import QProgressBar, QPushButton

from ..errors import HrtemVaeError
from .layers import Placement, notices_of, placement_on, video_of
from .parts import Panel, note_label, show_note
from .store import Message, Store
from .video_panel import NO_VIDEO
from .worker import Outcome, Work

if TYPE_CHECKING:
    import xarray as xr

    from ..progress import Progress


CANCELLING = "Cancelling…"


@dataclass(frozen=True)
class Started:
    """The first thing the work tells: where the sites will be."""

    grid: Any
    frames: int


def analysis_work(
    video: xr.DataArray, model: str, parameters: Any, store: str | None
) -> Callable[[], Generator[Any, None, xr.Dataset]]:
    """Steps of an analysis, torch and the model loaded inside: nothing of it runs in the caller's thread."""

    def steps() -> Generator[Any, None, xr.Dataset]:
        from ..progress import Progress

        yield Progress(0, 0, "Loading the model…")
        from ..vae.analysis import analyze_steps, site_grid
        from ..vae.model import load_model

        loaded = load_model(model)
        yield Started(site_grid(video, loaded.card, parameters), len(video))
        return (yield from analyze_steps(video, loaded, parameters, store=store))

    return steps


def empty_result(grid: Any) -> xr.Dataset:
    """A result in which no site is done yet: coordinates, no map."""
    import xarray as xr

    attrs = {"units": grid.unit}
    return xr.Dataset(coords={"y": ("y", grid.y, attrs), "x": ("x", grid.x, attrs)})


def fill_in(result: xr.Dataset, finished: xr.Dataset) -> None:
    """Put the maps of finished sites into `result`, in place."""
    rows = np.searchsorted(result["y"].values, finished["y"].values - 1e-9)
    columns = np.searchsorted(result["x"].values, finished["x"].values - 1e-9)
    for name, field in finished.data_vars.items():
        if field.dims[:2] != ("y", "x"):
            continue
        if name not in result:
            shape = (result.sizes["y"], result.sizes["x"], *field.shape[2:])
            result[name] = (field.dims, np.full(shape, np.nan, np.float32))
        result[name].values[np.ix_(rows, columns)] = field.values


class RunPanel(Panel):
    """Part 4: Analyze and Cancel, a bar, sites done, time left, and the sentence."""

    def __init__(self, store: Store) -> None:
        super().__init__("")
        self._store = store
        self._work: Work | None = None
        self._began = self._clicked_at = 0.0
        self._title = ""
        self._video: Any = None
        self._sites = self._frames = self._counted = 0
        self._placement: Callable[[Any], Placement] | None = None
        self.button = QPushButton("Analyze")
        self.button.setDefault(True)
        self.bar = QProgressBar()
        self.bar.setTextVisible(True)
        self.bar.hide()
        self.progress = note_label()
        self.message = note_label()
        for widget in (self.button, self.bar, self.progress, self.message):
            self.column.addWidget(widget)
        self.button.clicked.connect(self._clicked)
        store.on("message", self._show_message)
        store.on("running", self._enable)

    @property
    def work(self) -> Work | None:
        """The work that runs; None when none does."""
        return self._work

    def shut_down(self) -> None:
        """Stop the work; nobody waits for it."""
        if self._work is not None:
            self._work.abandon()
            self._work = None

    def _clicked(self) -> None:
        if self._work is not None:
            self._work.stop()
            self.button.setEnabled(False)
            self.button.setText(CANCELLING)
            show_note(self.progress, CANCELLING)
            # now: while torch is loaded the window may hang for a moment
            self.button.repaint()
            self.progress.repaint()
            return
        self._begin()

    def _begin(self) -> None:
        state = self._store.state
        try:
            if state.video is None:
                raise _sentence(NO_VIDEO)
            if state.model is None:
                raise _sentence("There is no model; load a model file first.")
            video = video_of(state.video, pixel_size_nm=state.pixel_size_nm, frame_time_s=state.frame_time_s)
        except HrtemVaeError as error:
            self._store.say(str(error), error=True)
            return
        pixel = state.pixel_size_nm or 1.0
        origin = float(video["y"][0]), float(video["x"][0])
        fixed = _frozen_transform(state.video)
        # the layer may be gone or moved when the sites are known
        self._placement = lambda grid: placement_on(
            fixed, (grid.y - origin[0]) / pixel, (grid.x - origin[1]) / pixel
        )
        self._title, self._video = state.video.name, state.video
        self._began = self._clicked_at = time.monotonic()
        self._sites = self._frames = self._counted = 0
        self._work = Work(analysis_work(video, state.model, state.parameters, state.result_store or None))
        self._work.progressed.connect(self._progressed)
        self._work.ended.connect(self._ended)
        self.button.setText("Cancel")
        self.bar.setRange(0, 0)
        self.bar.show()
        # nothing of the last result may be taken for one of this run; its map layer stays
        self._store.drop_result(running=True, message=Message())
        self._work.start()

    def _progressed(self, items: list[Any]) -> None:
        if self._work is None:
            return
        grew = False
        for item in items:
            if isinstance(item, Started):
                self._started(item)
            elif item.finished is not None and self._store.state.result is not None:
                fill_in(self._store.state.result, item.finished)
                grew = True
        if grew:
            self._store.change(revision=self._store.state.revision + 1)
        last = items[-1]
        if not isinstance(last, Started) and self.button.isEnabled():
            self._show_progress(last)

    def _started(self, started: Started) -> None:
        grid = started.grid
        self._sites, self._frames = len(grid.y) * len(grid.x), started.frames
        self._began = time.monotonic()
        notices = " ".join(getattr(grid, "notices", ()))
        self._store.change(
            result=empty_result(grid),
            analysis=self._store.state.analysis + 1,
            revision=0,
            placement=self._placement(grid) if self._placement else None,
            title=self._title,
            analysed=self._video,
            latent=None,
            message=Message(notices),
        )

    def _show_progress(self, progress: Progress) -> None:
        if not progress.total:
            show_note(self.progress, progress.message)
            return
        share = min(progress.done / progress.total, 1.0)
        self.bar.setRange(0, 1000)
        self.bar.setValue(round(1000 * share))
        if progress.total != self._counted:
            # what comes before the encoding, and after it, counts other things
            self._counted, self._began = progress.total, time.monotonic()
        encoding = progress.total == self._sites * self._frames
        parts = [f"{round(share * self._sites)} of {self._sites} sites" if encoding else progress.message]
        elapsed = time.monotonic() - self._began
        if share > 0 and elapsed > 1:
            parts.append(f"{duration(elapsed * (1 - share) / share)} left")
        show_note(self.progress, " · ".join(parts))

    def _ended(self, outcome: Outcome) -> None:
        if self._work is None:
            return
        self._work = self._video = None
        self.button.setText("Analyze")
        self.button.setEnabled(True)
        self.bar.hide()
        show_note(self.progress, "")
        if outcome.result is not None:
            self._take(outcome.result)
        elif outcome.cancelled:
            kept = self._store.state.result is not None and bool(self._store.state.result.data_vars)
            self._store.change(
                running=False,
                message=Message("Cancelled." + (" The map shows what was finished." if kept else "")),
            )
        else:
            self._store.change(running=False, message=Message(outcome.error, True))

    def _take(self, result: xr.Dataset) -> None:
        done = f"Done in {duration(time.monotonic() - self._clicked_at)}."
        self._store.change(
            running=False,
            result=result,
            revision=self._store.state.revision + 1,
            message=Message(" ".join([done, *notices_of(result)])),
        )

    def _enable(self) -> None:
        """No second analysis beside one that follows a recording."""
        self.button.setEnabled(self._work is not None or not self._store.state.running)

    def _show_message(self) -> None:
        message = self._store.state.message
        self.message.setStyleSheet("QLabel { color: #ff6b5f; }" if message.error else "")
        show_note(self.message, message.text)


def _sentence(text: str) -> HrtemVaeError:
    return HrtemVaeError(text)


def _frozen_transform(layer: Any) -> Any:
    """What `placement_on` asks of a layer, as it is now."""
    return _Frozen(layer)


class _Frozen:
    """Transform, units and labels of a layer, without its data."""

    def __init__(self, layer: Any) -> None:
        self.ndim = layer.ndim
        self.units = tuple(layer.units)
        self.axis_labels = tuple(layer.axis_labels)
        origin = np.asarray(layer.data_to_world(np.zeros(layer.ndim)), float)
        columns = [np.asarray(layer.data_to_world(unit), float) - origin for unit in np.eye(layer.ndim)]
        self._origin, self._matrix = origin, np.stack(columns, 1)

    def data_to_world(self, position: Any) -> Any:
        """World position of a position in data pixels; all of napari's transforms are affine."""
        return self._matrix @ np.asarray(position, float) + self._origin


def duration(seconds: float) -> str:
    """A time span for people."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
