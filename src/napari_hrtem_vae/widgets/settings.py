"""What the widget remembers from one session to the next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qtpy.QtCore import QSettings, QStandardPaths


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


def own_models() -> list[str]:
    """Model files that the user trained, oldest first; those that are gone are left out."""
    found = load_settings().get("models")
    names = found if isinstance(found, list) else []
    return [name for name in names if isinstance(name, str) and _is_file(name)]


def remember_model(path: str | Path) -> None:
    """Offer a model file from now on."""
    name = str(Path(path).absolute())
    save_settings({"models": [*(one for one in own_models() if one != name), name]})


def models_folder() -> Path:
    """Where the user's models go when no other place is given."""
    place = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.GenericDataLocation)
    return Path(place) / "napari-hrtem-vae" / "models"


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # a name may be too long, or none at all
        return False
