"""The panel with the live power spectrum: which spots stand out, which grains they make, and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QPushButton

from ..errors import HrtemVaeError
from .lattice_look import (
    Look,
    bases_by_hand,
    box_of,
    grain_spots,
    look_at,
    nothing,
    snapped,
    spots_of_bases,
    words_about,
)
from .lattice_state import LatticeStore, grain_color
from .layers import video_of
from .parts import Panel, narrow, note_label, show_note
from .spectrum_view import Mark, Picture, SpectrumView
from .worker import Latest

SPOT_COLOR = "#ffffff"
WHOLE = "Whole frame"
HELP = "Click adds a grain; dragging a coloured spot turns it; right click or Delete removes it."
BY_HAND = "Grains by hand; Track starts from them in the first frame."


class SpectrumPanel(Panel):
    """Part 3: the spectrum of the frame or of a region, following the viewer."""

    def __init__(self, store: LatticeStore) -> None:
        super().__init__("Spectrum")
        self._store = store
        self._latest = Latest(self._failed, each=True)
        self._look = nothing("")
        self._video: tuple[Any, ...] = ()  # what the labelled video was made of, and the video
        self.view = SpectrumView()
        self.source_box = narrow(QComboBox())
        self.source_box.addItem(WHOLE, None)
        self.source_box.setToolTip("What the spectrum is of: the whole frame, or the box around a region")
        self.again_button = QPushButton("Find again")
        self.again_button.setToolTip("Forget what was done by hand and find the grains anew")
        self.pointer = note_label()
        self.note = note_label()
        row = QHBoxLayout()
        row.addWidget(self.source_box, 1)
        row.addWidget(self.again_button)
        self.column.addLayout(row)
        self.column.addWidget(self.view)
        self.column.addWidget(self.pointer)
        self.column.addWidget(self.note)
        show_note(self.pointer, HELP)
        self.source_box.currentIndexChanged.connect(
            lambda index: store.change(source=self.source_box.itemData(index))
        )
        self.again_button.clicked.connect(self.find_again)
        self.view.spot_added.connect(self._added)
        self.view.spot_moved.connect(self._moved)
        self.view.spot_removed.connect(self._removed)
        self.view.pointed.connect(self._pointed)
        store.on("video frame parameters result revision spots source regions pixel_size_nm", self._ask)
        store.on("regions source", self._list_sources)
        store.on("counter_clockwise", self._show)
        self._ask()

    @property
    def look(self) -> Look:
        """What is shown now."""
        return self._look

    @property
    def busy(self) -> bool:
        """Whether a spectrum is being computed."""
        return self._latest.busy

    def shut_down(self) -> None:
        """Drop what still runs."""
        self._latest.close()
        self._video = ()

    def find_again(self) -> None:
        """Find the grains anew."""
        self.view.fit()
        self._store.change(spots=None)
        self._ask()

    # What is shown

    def _list_sources(self) -> None:
        state = self._store.state
        blocked = self.source_box.blockSignals(True)
        self.source_box.clear()
        self.source_box.addItem(WHOLE, None)
        for index, region in enumerate(state.regions):
            self.source_box.addItem(region.name, index)
        known = state.source is not None and state.source < len(state.regions)
        self.source_box.setCurrentIndex(1 + state.source if known else 0)
        self.source_box.blockSignals(blocked)
        if not known:
            self._store.change(source=None)

    def _labelled(self) -> Any:
        """The video of the layer; made anew only when the layer or its numbers are others."""
        state = self._store.state
        key = (state.video, state.pixel_size_nm, state.frame_time_s)
        if not self._video or any(one is not other for one, other in zip(self._video, key, strict=False)):
            video = video_of(state.video, pixel_size_nm=state.pixel_size_nm, frame_time_s=state.frame_time_s)
            self._video = (*key, video)
        return self._video[-1]

    def _ask(self) -> None:
        """Compute the spectrum in a thread; of several requests the newest counts."""
        state = self._store.state
        if state.video is None:
            self._video = ()
            self._take(nothing("The power spectrum of the frame stands here."))
            return
        try:
            video = self._labelled()
        except HrtemVaeError as error:
            self._take(nothing(str(error)))
            return
        box = None
        frame = min(state.frame, len(video) - 1)
        if state.source is not None and state.source < len(state.regions):
            box = box_of(state.regions[state.source], (video.sizes["y"], video.sizes["x"]))
            if box is None:
                self._take(nothing("This region lies beside the frame."))
                return
        parameters, bases = state.parameters, self._known_bases(frame)

        def take(look: Look) -> None:
            if _same_but_frame(state, self._store.state):
                self._take(look)

        self._latest.submit(lambda: look_at(video, frame, box, parameters, bases), take)

    def _known_bases(self, frame: int) -> Any:
        """Grains that need not be looked for: put by hand, or followed; None: look for them."""
        state = self._store.state
        if state.spots is not None:
            return bases_by_hand(state.spots, state.parameters.symmetry)
        result = state.result
        if result is None or str(result.attrs.get("symmetry")) != str(state.parameters.symmetry):
            return None
        if frame >= result.sizes["time"]:
            return None
        return np.asarray(result["basis"][frame], float) * float(result.attrs.get("pixel_size_nm", 1.0))

    def _failed(self, text: str) -> None:
        self._take(nothing(text))

    def _take(self, look: Look) -> None:
        self._look = look
        self._show()

    def _show(self) -> None:
        state, look = self._store.state, self._look
        symmetry = state.parameters.symmetry
        picture = None if look.values is None else Picture(look.values, look.edges)
        self.view.show_picture(picture, reach=look.reach, hint=look.words)
        marks = [
            Mark((sign * ky, sign * kx), SPOT_COLOR, 3.5)
            for ky, kx in look.spots.tolist()
            for sign in (1, -1)
        ]
        if state.spots is not None and symmetry == "any" and len(state.spots) % 2:
            # the first of two spots that make a net
            marks.append(Mark(state.spots[-1], grain_color(len(look.bases)), grain=len(look.bases)))
        for grain, order, (ky, kx) in grain_spots(look.bases, symmetry):
            for sign in (1, -1):
                marks.append(Mark((sign * ky, sign * kx), grain_color(grain), 7.0, grain, order, sign))
        self.view.show_marks(marks)
        self.again_button.setEnabled(state.video is not None)
        lines = [BY_HAND] if state.spots is not None else []
        if look.values is not None:
            if len(look.bases):
                lines.append(words_about(look.bases, symmetry, state.pixel_size_nm, state.counter_clockwise))
            elif not self._latest.busy:
                lines.append("No lattice stands out of the noise here.")
        show_note(self.note, "\n".join(lines))

    # By hand

    def _spots_now(self) -> list[tuple[float, float]]:
        """The spots by hand; at the first touch those of the grains that are shown."""
        state = self._store.state
        if state.spots is not None:
            return list(state.spots)
        return list(spots_of_bases(self._look.bases, state.parameters.symmetry))

    def _index_of(self, grain: int, order: int) -> int:
        """Place of a grain's spot in the list of spots by hand."""
        if self._store.state.parameters.symmetry == "any":
            return 2 * grain + order
        there = np.all(np.isfinite(self._look.bases), axis=(1, 2))
        return int(grain if self._store.state.spots is not None else np.count_nonzero(there[:grain]))

    def _added(self, ky: float, kx: float) -> None:
        from ..lattice.parameters import MOST_GRAINS

        spots = self._spots_now()
        most = MOST_GRAINS * (2 if self._store.state.parameters.symmetry == "any" else 1)
        if len(spots) >= most:
            self._store.say(f"There are {MOST_GRAINS} grains already; remove one first.", error=True)
        elif 0.004 < np.hypot(ky, kx) < 0.5:
            self._store.change(spots=(*spots, snapped((ky, kx), self._look.spots)))

    def _moved(self, grain: int, order: int, ky: float, kx: float) -> None:
        spots, index = self._spots_now(), self._index_of(grain, order)
        if index < len(spots) and 0.004 < np.hypot(ky, kx) < 0.5:
            spots[index] = snapped((ky, kx), self._look.spots)
            self._store.change(spots=tuple(spots))

    def _removed(self, grain: int, order: int) -> None:
        spots, index = self._spots_now(), self._index_of(grain, order)
        if index < len(spots):
            del spots[index]
            self._store.change(spots=tuple(spots) or None)

    def _pointed(self, k: tuple[float, float] | None) -> None:
        if k is None or self._look.values is None:
            show_note(self.pointer, HELP)
            return
        length = float(np.hypot(*k))
        state = self._store.state
        angle = float(np.rad2deg(np.arctan2(k[0], k[1]))) * (-1 if state.counter_clockwise else 1)
        spacing = 1 / max(length, 1e-4)
        words = f"{spacing:.1f} px"
        if state.pixel_size_nm is not None:
            words = f"{spacing * state.pixel_size_nm:.3f} nm"
        show_note(self.pointer, f"d = {words}, {angle:.1f}°")


def _same_but_frame(one: Any, other: Any) -> bool:
    """Whether a spectrum asked for in one state may be shown in another: that of an earlier frame may."""
    return one.video is other.video and all(
        getattr(one, name) == getattr(other, name) for name in ("parameters", "spots", "source", "regions")
    )
