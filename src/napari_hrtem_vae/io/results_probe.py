"""A cheap look at whether a folder is a result store of this project."""

from __future__ import annotations

import json
from pathlib import Path

RESULT_KEY = "hrtem_vae_result"
LATTICE = "lattice"


def result_kind(path: str | Path) -> str | None:
    """What the zarr group `path` says that it is the result of: "analysis" or "lattice"; None for no result.

    Reads one small file.
    """
    for name, nested in (("zarr.json", True), (".zattrs", False)):
        try:
            content = json.loads((Path(path) / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        attributes = content.get("attributes") if nested and isinstance(content, dict) else content
        if isinstance(attributes, dict) and RESULT_KEY in attributes:
            return str(attributes[RESULT_KEY])
    return None


def is_result_store(path: str | Path) -> bool:
    """Whether `path` is a zarr group that an analysis wrote (its attributes have "hrtem_vae_result")."""
    return result_kind(path) is not None


def is_zarr(path: str | Path) -> bool:
    """Whether `path` is a folder that zarr (2 or 3) wrote."""
    return any((Path(path) / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray", ".zmetadata"))
