"""A form made from a frozen dataclass of parameters: labels, ranges and tooltips come from its fields."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, Field, fields, replace
from typing import Any

from magicgui.widgets import CheckBox, ComboBox, FloatSpinBox, LineEdit, SpinBox
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLayout, QWidget

from ..errors import ParameterError
from .parts import Rows


class ParameterForm(QWidget):
    """One row a field of a parameters dataclass.

    Parameters
    ----------
    parameters : dataclass instance
        What the form shows first; its class checks what is typed.
    skip : iterable of str
        Fields that are shown elsewhere.
    """

    edited = Signal()

    def __init__(self, parameters: Any, *, skip: Iterable[str] = ()) -> None:
        super().__init__()
        self._parameters = parameters
        self._rows = {f.name: _row_of(f) for f in fields(parameters) if f.name not in set(skip)}
        self._layout = rows = Rows(112)
        self.setLayout(rows)
        for field in fields(parameters):
            if field.name in self._rows:
                row = self._rows[field.name]
                row.native.setMinimumWidth(60)
                label, tooltip = (field.metadata.get(key, "") for key in ("label", "tooltip"))
                rows.add(label or field.name, row.native, tooltip)
        self.show_parameters(parameters)
        for row in self._rows.values():
            row.changed.connect(self._row_changed)

    def add_row(self, text: str, field: QWidget | QLayout) -> None:
        """One more row, of something that is no field of the dataclass."""
        self._layout.add(text, field)

    def show_parameters(self, parameters: Any) -> None:
        """Put the values of `parameters` into the rows."""
        for name, row in self._rows.items():
            value = getattr(parameters, name)
            with row.changed.blocked():
                row.value = ("" if value is None else f"{value:g}") if isinstance(row, LineEdit) else value
        self._parameters = parameters

    def parameters(self) -> Any:
        """The parameters as typed.

        Raises
        ------
        ParameterError
            A value is out of range or no number.
        """
        values = {}
        for name, row in self._rows.items():
            values[name] = _number(row) if isinstance(row, LineEdit) else row.value
        return replace(self._parameters, **values)

    def _row_changed(self, *_: Any) -> None:
        self.edited.emit()


def _row_of(field: Field[Any]) -> Any:
    options = field.metadata
    shared = {"label": options.get("label", field.name), "tooltip": options.get("tooltip", "")}
    default = field.default if field.default is not MISSING else None
    if "choices" in options:
        return ComboBox(choices=list(options["choices"]), value=default, **shared)
    if isinstance(default, bool):
        return CheckBox(value=default, **(shared | {"label": ""}))
    if isinstance(default, int):
        return SpinBox(value=default, min=options.get("min", 0), max=options.get("max", 10_000), **shared)
    if isinstance(default, float):
        return FloatSpinBox(
            value=default, min=options.get("min", 0.0), max=options.get("max", 1e6), step=0.01, **shared
        )
    row = LineEdit(value="", **shared)
    row.native.setPlaceholderText("automatic")
    return row


def _number(row: LineEdit) -> float | None:
    text = row.value.strip().replace(",", ".")
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)  # a count is no fraction
    try:
        return float(text)
    except ValueError:
        raise ParameterError(f"{row.label} is '{text}'; give a number, or leave it empty.") from None
