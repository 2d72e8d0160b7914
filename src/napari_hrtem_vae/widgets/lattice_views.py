"""The panel of the maps, and the pictures for the eye that a button adds: filtered frames, {100} upright."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLabel, QPushButton, QSpinBox

from ..errors import HrtemVaeError, LatticeError
from .lattice_maps import MAPS, STRAINS, LayerData, TimeAxis, change_labels, is_finished
from .lattice_state import ALL_GRAINS, LatticeStore
from .layers import METADATA, Placement, placement_on, video_of
from .parts import Panel, Rows, narrow, note_label, show_note
from .worker import Latest

FILTERS = {"wiener": "Wiener", "background": "Background off", "grain": "One grain"}
_SMOOTHING_PERIODS = 2.0


class MapsPanel(Panel):
    """Part 4: which maps are shown, of which grain, between which frames; frames for the eye."""

    def __init__(self, viewer: Any, store: LatticeStore) -> None:
        super().__init__("Maps")
        self._viewer, self._store = viewer, store
        self._latest = Latest(lambda text: store.say(text, error=True))
        self.boxes = {key: QCheckBox(words) for key, words in MAPS.items()}
        self.grain_box = narrow(QComboBox())
        self.grain_box.setMinimumContentsLength(4)
        self.grain_box.setToolTip("Grain that change, strain and pictures are of")
        self.first_box, self.last_box = QSpinBox(), QSpinBox()
        self.areas = note_label()
        self.strain_box = narrow(QComboBox())
        for key, words in STRAINS.items():
            self.strain_box.addItem(words, key)
        self.strain_box.setToolTip("exx, eyy, exy: tension positive, in %; rotation in degrees")
        self.sense_box = QCheckBox("Counter-clockwise positive")
        self.sense_box.setToolTip(
            "Angles grow clockwise on the screen, where y points down; ticked, counter-clockwise. The misfit "
            "is the angle between two grains and keeps its sign."
        )
        self.filter_box = narrow(QComboBox())
        for key, words in FILTERS.items():
            self.filter_box.addItem(words, key)
        self.filter_button = QPushButton("Add filtered")
        self.filter_button.setToolTip(
            "Adds the video with its noise taken off, or the fringes of one grain in the frame on the screen"
        )
        self.upright_button = QPushButton("{100} upright")
        self.upright_button.setToolTip(
            "Adds the frame on the screen, and the change if it is shown, turned until the grain's nearest "
            "{100} direction lies along x; nothing is resampled"
        )
        self._build()
        for key, box in self.boxes.items():
            box.clicked.connect(lambda ticked, key=key: self._ticked(key, ticked))
        self.grain_box.currentIndexChanged.connect(
            lambda index: store.change(grain=self.grain_box.itemData(index))
        )
        self.strain_box.currentIndexChanged.connect(
            lambda index: store.change(strain=self.strain_box.itemData(index))
        )
        for box in (self.first_box, self.last_box):
            box.setKeyboardTracking(False)
            box.valueChanged.connect(self._ends_edited)
        self.sense_box.toggled.connect(lambda ticked: store.change(counter_clockwise=ticked))
        self.filter_button.clicked.connect(self.add_filtered)
        self.upright_button.clicked.connect(self.add_upright)
        store.on("result running shown ends areas video", self._show)
        self._show()

    def _build(self) -> None:
        frames = QHBoxLayout()
        for words, box in (("frame", self.first_box), ("to", self.last_box)):
            frames.addWidget(QLabel(words))
            frames.addWidget(box, 1)
        strain = QHBoxLayout()
        strain.addWidget(self.boxes["strain"], 1)
        strain.addWidget(self.strain_box)
        rows = Rows(46)
        grain = QHBoxLayout()
        grain.addWidget(self.grain_box, 1)
        grain.addWidget(self.upright_button)
        rows.add("Grain", grain)
        filters = QHBoxLayout()
        filters.addWidget(self.filter_box, 1)
        filters.addWidget(self.filter_button)
        rows.add("Picture", filters)
        self.column.addWidget(self.boxes["presence"])
        self.column.addWidget(self.boxes["change"])
        self.column.addLayout(frames)
        self.column.addWidget(self.areas)
        self.column.addWidget(self.boxes["orientation"])
        self.column.addLayout(strain)
        self.column.addLayout(rows)
        self.column.addWidget(self.sense_box)

    def shut_down(self) -> None:
        """Drop what still runs."""
        self._latest.close()

    @property
    def busy(self) -> bool:
        """Whether a picture is being made."""
        return self._latest.busy

    def _show(self) -> None:
        state = self._store.state
        result = state.result
        ready = is_finished(result)
        frames = 1 if result is None else result.sizes["time"]
        for key, box in self.boxes.items():
            box.setChecked(key in state.shown)
            box.setEnabled(ready)
        self.boxes["change"].setEnabled(ready and frames > 1)
        for box, value in zip((self.first_box, self.last_box), state.ends, strict=True):
            blocked = box.blockSignals(True)
            box.setRange(0, frames - 1)
            box.setValue(value)
            box.blockSignals(blocked)
            box.setEnabled(ready and frames > 1)
        show_note(self.areas, state.areas if ready else "")
        grains = 0 if result is None else result.sizes["grain"]
        if self.grain_box.count() != grains + 1:
            blocked = self.grain_box.blockSignals(True)
            self.grain_box.clear()
            self.grain_box.addItem("all", ALL_GRAINS)
            for grain in range(grains):
                self.grain_box.addItem(f"grain {grain}", grain)
            self.grain_box.blockSignals(blocked)
            self._store.change(grain=ALL_GRAINS)
        for widget in (self.grain_box, self.strain_box, self.upright_button):
            widget.setEnabled(ready)
        self.filter_button.setEnabled(state.video is not None)

    def _ticked(self, key: str, ticked: bool) -> None:
        shown = set(self._store.state.shown) - {key} | ({key} if ticked else set())
        areas = {"areas": ""} if key == "change" else {}
        self._store.change(shown=tuple(one for one in MAPS if one in shown), **areas)

    def _ends_edited(self) -> None:
        self._store.change(ends=(self.first_box.value(), self.last_box.value()))

    # Pictures for the eye

    def add_filtered(self) -> None:
        """Add a filtered video, or the fringes of one grain in this frame, as a new layer."""
        state = self._store.state
        kind = self.filter_box.currentData()
        try:
            if kind == "grain":
                result, tracked, grain = self._grain_now()
                frame = state.frame
                self._latest.submit(lambda: fringes_data(result, tracked, grain, frame), self._add)
                return
            if state.video is None:
                raise HrtemVaeError("Open a video first.")
            layer = state.video
            video = video_of(layer, pixel_size_nm=state.pixel_size_nm, frame_time_s=state.frame_time_s)
            placement, time = placement_on(layer, [0, 1], [0, 1]), TimeAxis.of_layer(layer)
        except HrtemVaeError as error:
            self._store.say(str(error), error=True)
            return
        title, frame = layer.name, state.frame
        self._latest.submit(lambda: filtered_data(video, kind, frame, placement, time, title), self._add)

    def add_upright(self) -> None:
        """Add this frame, turned until a grain's {100} is upright."""
        try:
            result, tracked, grain = self._grain_now()
        except HrtemVaeError as error:
            self._store.say(str(error), error=True)
            return
        state = self._store.state
        frame, ends = state.frame, state.ends if "change" in state.shown else None
        self._latest.submit(lambda: upright_data(result, tracked, grain, frame, ends), self._add)

    def _grain_now(self) -> tuple[Any, Any, int]:
        """The result, what it is of, and the grain that is picked; the first where all are."""
        state = self._store.state
        if not is_finished(state.result) or state.tracked is None:
            raise HrtemVaeError("Track the grains first, to the last frame.")
        if state.tracked.video is None:
            raise HrtemVaeError("The video of this result is not open; open it and track its grains again.")
        return state.result, state.tracked, max(state.grain, 0)

    def _add(self, layers: list[LayerData]) -> None:
        from napari.layers import Layer

        active = self._viewer.layers.selection.active
        for data in layers:
            self._viewer.add_layer(Layer.create(*data))
        if active is not None and active in self._viewer.layers:
            self._viewer.layers.selection.active = active


def filtered_data(
    video: Any, kind: str, frame: int, placement: Placement, time: TimeAxis, title: str
) -> list[LayerData]:
    """The whole video with its noise taken off, frame by frame when it is looked at."""
    from ..lattice.filtering import filter_video

    filtered = filter_video(video, kind)
    options = {
        "name": f"{title} · {FILTERS[kind]}",
        "contrast_limits": _limits(np.asarray(filtered.data[frame])),
    }
    return [(time.shaped(filtered.data), options | time.options(placement), "image")]


def fringes_data(result: Any, tracked: Any, grain: int, frame: int) -> list[LayerData]:
    """The fringes of one grain in one frame."""
    from ..lattice.conventions import check_symmetry
    from ..lattice.filtering import grain_image

    basis = np.asarray(result["basis"][frame, grain]) * float(result.attrs.get("pixel_size_nm", 1.0))
    if not np.isfinite(basis).all():
        raise LatticeError(f"Grain {grain} has no reliable lattice in frame {frame}; take another frame.")
    kind = str(result.attrs["symmetry"])
    symmetry = check_symmetry(kind if kind == "any" else int(kind))
    image = grain_image(
        _frame(tracked.video, frame), basis, _SMOOTHING_PERIODS * float(result.attrs["period_px"]), symmetry
    )
    limit = max(float(np.percentile(np.abs(image), 99.5)), 1e-12)
    options = {
        "name": f"{tracked.title} · fringes of grain {grain}, frame {frame}",
        "contrast_limits": (-limit, limit),
        "metadata": {METADATA: {"map": "fringes", "title": tracked.title}},
    }
    return [(image, options | tracked.placement.layer_options(), "image")]


def upright_data(
    result: Any, tracked: Any, grain: int, frame: int, ends: tuple[int, int] | None
) -> list[LayerData]:
    """One frame, and the change of the grain if wanted, turned about the middle of the grain."""
    from ..lattice.change import lattice_change
    from ..lattice.conventions import check_symmetry
    from ..lattice.filtering import upright_affine
    from .lattice_maps import cell_placement, change_data

    angle = float(result["angle_deg"][frame, grain])
    if not np.isfinite(angle):
        raise LatticeError(f"Grain {grain} has no reliable lattice in frame {frame}; take another frame.")
    kind = str(result.attrs["symmetry"])
    cells = np.argwhere(np.asarray(result["presence"][frame, grain]))
    cell_place = cell_placement(result, tracked.placement)
    y, x = cell_place.sites_to_world([cells.mean(0)])[0]
    turn = upright_affine(angle, (float(y), float(x)), check_symmetry(kind if kind == "any" else int(kind)))
    image = _frame(tracked.video, frame)
    note = {METADATA: {"map": "upright", "title": tracked.title}}
    options = {
        "name": f"{tracked.title} · grain {grain} upright, frame {frame}",
        "contrast_limits": _limits(image),
        "metadata": note,
    }
    layers: list[LayerData] = [(image, options | turned(tracked.placement, turn), "image")]
    if ends is not None:
        change = lattice_change(tracked.video, result, *ends)
        _, look, _ = change_data(change, grain, result, tracked.placement, tracked.title)
        look = {key: look[key] for key in ("name", "colormap", "features", "opacity")}
        look |= {"name": f"{look['name']}, upright", "metadata": note} | turned(cell_place, turn)
        layers.append((change_labels(change, grain), look, "labels"))
    return layers


def turned(placement: Placement, turn: Any) -> dict[str, Any]:
    """Keyword arguments of a layer that lies at `placement` and is then turned in the world."""
    options = placement.layer_options()
    if "affine" in options:
        return options | {"affine": turn @ options["affine"]}
    return options | {"affine": turn}


def _frame(video: Any, frame: int) -> Any:
    from ..video.reading import read_frames

    image = read_frames(video, slice(frame, frame + 1))[0]
    if not np.isfinite(image).all():
        raise LatticeError(f"Frame {frame} holds NaN; take another frame.")
    return image


def _limits(image: Any) -> tuple[float, float]:
    finite = image[np.isfinite(image)]
    low, high = np.percentile(finite, (0.5, 99.5)) if finite.size else (0.0, 1.0)
    return float(low), float(high if high > low else low + 1)
