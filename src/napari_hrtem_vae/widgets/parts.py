"""Small parts that the panels are made of."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtGui import QDoubleValidator
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QFrame,
    QLabel,
    QLayout,
    QLineEdit,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)


class Panel(QFrame):
    """One part of the widget under a heading."""

    def __init__(self, heading: str) -> None:
        super().__init__()
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(0, 0, 0, 4)
        self.column.setSpacing(3)
        if heading:
            label = QLabel(f"<b>{heading}</b>")
            # no room to spare goes to a heading
            label.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
            self.column.addWidget(label)


class Rows(QFormLayout):
    """Labelled rows whose fields begin at one line."""

    def __init__(self, label_width: int = 92) -> None:
        super().__init__()
        self._label_width = label_width
        self.setContentsMargins(0, 0, 0, 0)
        self.setVerticalSpacing(3)
        self.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)

    def add(self, text: str, field: QWidget | QLayout, tooltip: str = "") -> None:
        """Add a row."""
        label = QLabel(text)
        label.setMinimumWidth(self._label_width)
        label.setToolTip(tooltip)
        self.addRow(label, field)


def narrow(box: QComboBox) -> QComboBox:
    """Let a combobox be narrower than its longest entry."""
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(6)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return box


def note_label() -> QLabel:
    """A label for sentences: wraps, can be copied, takes no room while empty."""
    label = QLabel()
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    label.hide()
    return label


def show_note(label: QLabel, text: str) -> None:
    """Show `text`, or hide the label when there is none."""
    label.setText(text)
    label.setVisible(bool(text))


class QuantityEdit(QLineEdit):
    """A positive number, or nothing: unknown."""

    def __init__(self, tooltip: str) -> None:
        super().__init__()
        validator = QDoubleValidator(0.0, 1e9, 9, self)
        validator.setLocale(validator.locale().c())
        self.setValidator(validator)
        self._shown: tuple[str, float | None] = ("", None)
        self.setPlaceholderText("unknown")
        self.setToolTip(tooltip)

    def value(self) -> float | None:
        """The number; None when empty or not positive."""
        if self.text() == self._shown[0]:
            return self._shown[1]  # with the digits that are not shown
        return _number(self.text())

    def set_value(self, value: float | None) -> None:
        """Show a number, unless it is what stands there already."""
        text = "" if value is None else f"{value:.6g}"
        self._shown = (text, value)
        if value != _number(self.text()) or value is None:
            self.setText(text)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number > 0 else None
