"""What is told of a drift that was taken out: a table, and a few figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr


def shifts_path(video: str | Path) -> Path:
    """Where the shifts of an aligned video lie: beside it."""
    path = Path(video)
    return path.with_name(f"{path.stem}-shifts.csv")


def drift_table_columns(shifts: xr.Dataset) -> dict[str, np.ndarray]:
    """Columns of the table of shifts, with units in their names."""
    columns: dict[str, np.ndarray] = {"frame": np.arange(shifts.sizes["time"])}
    if "time" in shifts.coords:
        columns[f"time [{shifts['time'].attrs.get('units', 's')}]"] = shifts["time"].values
    for name in ("dy", "dx", "sigma"):
        columns[f"{name} [px]"] = shifts[f"{name}_px"].values
    return {**columns, "reliable": shifts["reliable"].values.astype(int)}


def drift_record(shifts: xr.Dataset) -> dict[str, Any]:
    """Frames, those whose place could not be told, how far the specimen moved, and what was held still."""
    reliable = shifts["reliable"].values
    known = [shifts[name].values[reliable] for name in ("dy_px", "dx_px")]
    return {
        "frames": len(reliable),
        "unreliable_frames": np.flatnonzero(~reliable).tolist(),
        "range_px": [round(float(np.ptp(values)), 2) if values.size else None for values in known],
        "lock": str(shifts.attrs["lock"]),
        "mode": str(shifts.attrs["mode"]),
    }
