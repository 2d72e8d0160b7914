"""Which model sees the video, on which device, and with which options."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import Field, asdict, fields, replace
from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QToolButton,
)
from superqt import QCollapsible

from ..errors import HrtemVaeError, ModelFileError
from ..vae.card import list_models, read_card
from .form import ParameterForm
from .parts import Panel, narrow, note_label, show_note
from .settings import load_settings, own_models, save_settings
from .store import Store
from .worker import Latest


class DeviceBox(QComboBox):
    """Devices by name; looks for accelerators (which loads torch) only when it is opened."""

    opened = Signal()

    def showPopup(self) -> None:
        """Tell that the list is wanted, and show it."""
        self.opened.emit()
        super().showPopup()


def accelerators() -> list[tuple[str, str]]:
    """Names for people and for torch of the accelerators here; loads torch."""
    import torch

    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    found = [(f"{name} (cuda:{i})", f"cuda:{i}") for i, name in enumerate(names)]
    if torch.backends.mps.is_available():
        found.append(("Apple GPU (mps)", "mps"))
    return found


def remembered_parameters(parameters: Any, values: Any) -> Any:
    """`parameters` with those remembered values that can be; the settings file may be old or damaged."""
    if not isinstance(values, dict):
        return parameters
    for field in fields(parameters):
        # zoom belongs to one video, a remembered one would be wrong for the next
        if field.name in values and field.name != "zoom" and _fits(field, values[field.name]):
            with suppress(HrtemVaeError, TypeError, ValueError):
                parameters = replace(parameters, **{field.name: values[field.name]})
    return parameters


def _fits(field: Field[Any], value: Any) -> bool:
    """Whether a value is of the kind of a field's default and within what the form can show."""
    if isinstance(value, bool) or isinstance(field.default, bool):
        return isinstance(value, bool) and isinstance(field.default, bool)
    if isinstance(field.default, str):
        return isinstance(value, str)
    if value is None or not isinstance(value, int | float):
        return value is None and field.default is None
    if isinstance(field.default, int) and not isinstance(value, int):
        return False
    return bool(
        math.isfinite(value)
        and value >= field.metadata.get("min", -math.inf)
        and value <= field.metadata.get("max", math.inf)
    )


def _is_file(name: str) -> bool:
    with suppress(OSError, ValueError):  # a name may be too long, or none at all
        return Path(name).is_file()
    return False


class ModelPanel(Panel):
    """Parts 2 and 3: model, device, options."""

    def __init__(self, store: Store) -> None:
        super().__init__("Model")
        self._store = store
        self._cards: list[tuple[str, Any]] = []
        self._latest = Latest(lambda text: store.say(text, error=True))
        self.model_box = narrow(QComboBox())
        self.load_button = QToolButton()
        self.load_button.setText("Load file…")
        self.load_button.setToolTip("Use a model file (.safetensors) of your own")
        self.note = note_label()
        self.device_box = DeviceBox()
        narrow(self.device_box)
        self.device_box.addItem("Automatic", "auto")
        self.device_box.addItem("CPU", "cpu")
        self.form = ParameterForm(store.state.parameters, skip=["device"])
        self.store_edit = QLineEdit()
        self.store_edit.setPlaceholderText("in memory")
        self.store_edit.setToolTip(
            "Folder (.zarr) that the result is written to as it grows; an interrupted run goes on there"
        )
        self.browse_button = QToolButton()
        self.browse_button.setText("…")
        self.options = QCollapsible("Options", expandedIcon="▾", collapsedIcon="▸")
        self.options.layout().setContentsMargins(0, 0, 0, 0)
        self._build()

        self.model_box.currentIndexChanged.connect(self._picked)
        self.load_button.clicked.connect(self._ask_for_file)
        self.device_box.opened.connect(self._find_devices)
        self.device_box.currentIndexChanged.connect(self._device_picked)
        self.form.edited.connect(self._options_edited)
        self.store_edit.editingFinished.connect(self._store_edited)
        self.browse_button.clicked.connect(self._ask_for_store)
        store.on("pixel_size_nm card parameters video", self._show)
        self._restore()

    def _build(self) -> None:
        row = QHBoxLayout()
        row.addWidget(self.model_box, 1)
        row.addWidget(self.load_button)
        self.column.addLayout(row)
        self.column.addWidget(self.note)
        self.form.add_row("Device", self.device_box)
        where = QHBoxLayout()
        where.addWidget(self.store_edit, 1)
        where.addWidget(self.browse_button)
        self.form.add_row("Store result in", where)
        self.options.addWidget(self.form)
        self.column.addWidget(self.options)

    def shut_down(self) -> None:
        """Drop what still runs."""
        self._latest.close()

    def load_file(self, path: str | Path) -> None:
        """Use a model file; a damaged one is refused with a sentence, and the choice stays as it was."""
        try:
            card = read_card(path)
        except HrtemVaeError as error:
            self._store.say(str(error), error=True)
            return
        self._add(str(path), card, f"{card.name} (file)")
        self.model_box.setCurrentIndex(self.model_box.count() - 1)

    def show_own_models(self) -> None:
        """Offer the models that the user trained; one that was written anew takes its old place."""
        for path in own_models():
            with suppress(HrtemVaeError):  # damaged since: nothing that this user asked for now
                card = read_card(path)
                index = next((i for i, (key, _) in enumerate(self._cards) if key == path), -1)
                if index < 0:
                    self._add(path, card, f"{card.name} (own)")
                else:
                    self._cards[index] = (path, card)
                    if index == self.model_box.currentIndex():
                        self._picked(index)

    def _restore(self) -> None:
        remembered = load_settings()
        try:
            for card in list_models():
                self._add(card.name, card, card.name)
        except ModelFileError as error:
            self._store.say(str(error), error=True)
        self.show_own_models()
        name = remembered.get("model")
        if isinstance(name, str) and name not in [key for key, _ in self._cards] and _is_file(name):
            self.load_file(name)
        index = next((i for i, (key, _) in enumerate(self._cards) if key == name), 0)
        self.model_box.setCurrentIndex(index)
        self._picked(self.model_box.currentIndex())
        self._restore_parameters(remembered.get("parameters", {}))
        if remembered.get("options_open") is True:
            self.options.expand(animate=False)
        self.options.toggled.connect(lambda on: save_settings({"options_open": bool(on)}))

    def _restore_parameters(self, values: Any) -> None:
        parameters = remembered_parameters(self._store.state.parameters, values)
        device = parameters.device
        if self.device_box.findData(device) < 0:
            self.device_box.addItem(device, device)
        self.device_box.setCurrentIndex(self.device_box.findData(device))
        self._store.change(parameters=parameters)

    def _add(self, key: str, card: Any, label: str) -> None:
        self._cards.append((key, card))
        self.model_box.addItem(label)

    def _picked(self, index: int) -> None:
        if not 0 <= index < len(self._cards):
            self._store.change(model=None, card=None)
            show_note(self.note, "There is no model; load a model file.")
            return
        key, card = self._cards[index]
        parameters = self._store.state.parameters
        if self._store.state.card is not None and card.step != parameters.step:
            parameters = replace(parameters, step=card.step)
        self._store.change(model=key, card=card, parameters=parameters)
        save_settings({"model": key})
        self._show()

    def _show(self) -> None:
        from ..video.geometry import choose_zoom

        state = self._store.state
        self.form.show_parameters(state.parameters)
        card = state.card
        if card is None:
            return
        size = f"{card.pixel_size_nm:.3g} nm/px" if card.pixel_size_nm else "pixel size unknown"
        lines = [f"{card.material} · {size} · {card.latents} latents"]
        zoom = state.parameters.zoom or choose_zoom(state.pixel_size_nm, card.pixel_size_nm)
        if zoom != 1:
            word = "enlarged" if zoom > 1 else "reduced to"
            lines.append(f"The video is resampled on the fly: frames are {word} {zoom:.3g} ×.")
        show_note(self.note, "\n".join(lines))
        about = f"{card.summary}\nWindow: {card.window} px\nLicence: {card.licence}"
        self.model_box.setToolTip(about.strip())

    def _ask_for_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Load a model", "", "Models (*.safetensors)")
        if path:
            self.load_file(path)

    def _ask_for_store(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Store the next result in", "", "Result (*.zarr)")
        if path:
            self.store_edit.setText(path if path.endswith(".zarr") else f"{path}.zarr")
            self._store_edited()

    def _store_edited(self) -> None:
        self._store.change(result_store=self.store_edit.text().strip())

    def _find_devices(self) -> None:
        self._latest.submit(accelerators, self._add_devices)

    def _add_devices(self, found: list[tuple[str, str]]) -> None:
        for label, key in found:
            index = self.device_box.findData(key)
            if index < 0:
                self.device_box.addItem(label, key)
            else:
                self.device_box.setItemText(index, label)

    def _device_picked(self, index: int) -> None:
        self._change_parameters(replace(self._store.state.parameters, device=self.device_box.itemData(index)))

    def _options_edited(self) -> None:
        try:
            self._change_parameters(replace(self.form.parameters(), device=self.device_box.currentData()))
        except HrtemVaeError as error:
            self._store.say(str(error), error=True)

    def _change_parameters(self, parameters: Any) -> None:
        self._store.change(parameters=parameters)
        save_settings({"parameters": asdict(parameters)})
