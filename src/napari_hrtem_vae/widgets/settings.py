"""What the widget remembers from one session to the next."""

from __future__ import annotations

import json
from typing import Any

from qtpy.QtCore import QSettings


def _settings() -> QSettings:
    return QSettings(QSettings.Format.IniFormat, QSettings.Scope.UserScope, "napari-hrtem-vae", "analyze")


def load_settings() -> dict[str, Any]:
    """Remembered settings; empty when there are none or they cannot be read."""
    try:
        found = json.loads(str(_settings().value("settings", "{}")))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def save_settings(values: dict[str, Any]) -> None:
    """Remember `values`, on top of what is remembered already."""
    settings = _settings()
    settings.setValue("settings", json.dumps(load_settings() | values))
    settings.sync()
