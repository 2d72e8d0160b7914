"""What the widget Latents does in threads: the model is loaded, windows are drawn from latents."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import HrtemVaeError
from .latents_state import LatentsStore
from .worker import Latest, Outcome, Work

if TYPE_CHECKING:
    from ..vae.model import Model


class Newest:
    """Runs long work; what is started later ends what ran before.

    Parameters
    ----------
    on_error : callable
        Takes the sentence of work that failed.
    """

    def __init__(self, on_error: Callable[[str], None]) -> None:
        self._on_error = on_error
        self._run: _Run | None = None

    @property
    def busy(self) -> bool:
        """Whether work runs."""
        return self._run is not None

    def start(
        self,
        make_steps: Callable[[], Generator[Any, None, Any]],
        take: Callable[[Any], None],
        progressed: Callable[[list[Any]], None] | None = None,
    ) -> None:
        """Run the steps in a thread; `take` gets the result, here."""
        self.stop()

        def ended(outcome: Outcome) -> None:
            self._run = None
            if outcome.error:
                self._on_error(outcome.error)
            elif not outcome.cancelled:
                take(outcome.result)

        self._run = _Run(Work(make_steps), ended, progressed)

    def stop(self, *_: Any) -> None:
        """End what runs; nothing of it is handed over any more."""
        run, self._run = self._run, None
        if run is not None:
            run.work.abandon()


class _Run:
    """One work and who hears of it. Qt holds it weakly: signals on their way die with it.

    A closure would not do: it holds the work, and such a ring may be taken apart in the work's own thread.
    """

    def __init__(
        self,
        work: Work,
        ended: Callable[[Outcome], None],
        progressed: Callable[[list[Any]], None] | None,
    ) -> None:
        self.work, self._end, self._progress = work, ended, progressed
        work.ended.connect(self._ended)
        if progressed is not None:
            work.progressed.connect(self._progressed)
        work.start()

    def _ended(self, outcome: Outcome) -> None:
        self._end(outcome)

    def _progressed(self, items: list[Any]) -> None:
        if self._progress is not None:
            self._progress(items)


def meanings_of(model: Model) -> tuple[str | None, ...] | None:
    """What each latent of a model means, where that is known."""
    from ..vae import meaning

    labels = getattr(meaning, "labels", None)
    if labels is None:
        return None
    try:
        return tuple(labels(model) or ()) or None
    except HrtemVaeError:  # as of a model that tells no fringe period: nothing that this user asked for
        return None


class ModelLoader:
    """Reads the chosen model, and finds out what its latents mean."""

    def __init__(self, store: LatentsStore) -> None:
        self._store = store
        self._models = Latest(lambda text: store.say(text, error=True))
        self._meanings = Latest(lambda text: store.say(text, error=True))
        store.on("card", self._load)
        self._load()

    @property
    def busy(self) -> bool:
        """Whether a model is being read."""
        return self._models.busy

    def shut_down(self) -> None:
        """Drop what still runs."""
        self._models.close()
        self._meanings.close()

    def _load(self) -> None:
        state = self._store.state
        nothing = dict.fromkeys(
            ("loaded", "meanings", "site", "window", "start", "z", "before", "after", "series")
        )
        self._store.change(complete=False, **nothing)
        if state.card is not None:
            self._models.submit(partial(_read, state.model), partial(self._loaded, state.card))

    def _loaded(self, card: Any, model: Model) -> None:
        if self._store.state.card is not card:
            return
        # the file may have been written anew since its card was read
        zeros = np.zeros(model.card.latents, np.float32)
        if model.card.latents != card.latents:
            self._store.say(
                f"{card.name} has just been replaced by another model; load it again.", error=True
            )
            return
        self._store.change(loaded=model, start=zeros, z=zeros)
        self._meanings.submit(partial(meanings_of, model), partial(self._told, model))

    def _told(self, model: Model, meanings: tuple[str | None, ...] | None) -> None:
        if self._store.state.loaded is model:
            self._store.change(meanings=meanings)


def _read(name: str) -> Model:
    """Load a model, and what will be wanted next: a thread can, and the window need not wait for it."""
    import matplotlib.colors
    import matplotlib.figure  # noqa: F401

    from ..vae import site_windows  # noqa: F401
    from ..vae.model import load_model

    return load_model(name)


class Reconstructions:
    """Draws the window that the sliders stand for, and the one that they started from."""

    def __init__(self, store: LatentsStore) -> None:
        self._store = store
        # each: while a slider is dragged something newer waits always
        self._latest = Latest(lambda text: store.say(text, error=True), each=True)
        self._before_of: np.ndarray | None = None
        store.on("z start loaded", self._draw)
        self._draw()

    @property
    def busy(self) -> bool:
        """Whether a window is being drawn."""
        return self._latest.busy

    def shut_down(self) -> None:
        """Drop what still runs."""
        self._latest.close()

    def _draw(self) -> None:
        state = self._store.state
        model, start, z = state.loaded, state.start, state.z
        if model is None or z is None or model.network.decoder is None:
            return
        needs_start = self._before_of is not start or state.before is None
        wanted = [z] if not needs_start else [z] if start is z else [z, start]

        def take(pictures: np.ndarray) -> None:
            if self._store.state.loaded is not model:
                return
            changes = {"after": pictures[0]}
            if needs_start:
                changes["before"] = pictures[-1]
                self._before_of = start
            self._store.change(**changes)

        self._latest.submit(lambda: model.decode(np.stack(wanted)), take)
