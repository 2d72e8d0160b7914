"""Pictures and tables of a result, for people without napari."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import ResultError
from ..io.export import save_map_tiff, save_table_csv
from .hotspots import READ_OUTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAPS_SHOWN = 16
_HOTSPOTS_SHOWN = 6


def order_latents(result: xr.Dataset) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Latents by the peak of their time-correlated variance, most first; NaN counts as nothing."""
    peaks = np.nan_to_num(result["time_correlated_variance"].values).max((0, 1))
    return np.argsort(-peaks, kind="stable")


def write_report(result: xr.Dataset, folder: str | Path) -> list[Path]:
    """Write maps (TIFF, PNG), z(t) at the hotspots (PNG, CSV) and the hotspots (CSV) into `folder`.

    Raises
    ------
    ResultError
        The folder cannot be written.
    """
    folder = Path(folder)
    with folder_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        written: list[Path] = []
        if "change" not in result:
            return written
        pixel_nm = _spacings(result)[0] if result["y"].attrs.get("units") == "nm" else None
        order = order_latents(result)
        for name, values in [("change", result["change"])] + [
            (f"z{latent}-time-correlated-variance", result["time_correlated_variance"][..., latent])
            for latent in order[:3]
        ]:
            save_map_tiff(folder / f"{name}.tif", values, pixel_nm)
            written.append(folder / f"{name}.tif")
        _maps_figure(result, order).savefig(folder / "maps.png", dpi=150)
        save_table_csv(folder / "hotspots.csv", hotspot_columns(result))
        written += [folder / "maps.png", folder / "hotspots.csv"]
        if "z" in result and len(result["hotspot_y"]):
            written += _write_traces(result, folder, int(order[0]))
    return written


def hotspot_columns(result: xr.Dataset) -> dict[str, NDArray[Any]]:
    """Columns of a table of hotspots, units in their names; kinds as words."""
    columns: dict[str, NDArray[Any]] = {}
    for name in ("y", "x", "area", "strength", "kind", "kind_confidence", *_read_outs(result)):
        if (key := f"hotspot_{name}") not in result:
            continue
        values, attrs = result[key].values, result[key].attrs
        if name == "kind":
            columns["kind"] = np.array(attrs["names"])[values]
        else:
            columns[f"{name} ({attrs.get('units', '1')})"] = values
    return columns


def hotspot_records(result: xr.Dataset) -> list[dict[str, Any]]:
    """Hotspots as JSON can hold them: y, x, area, unit, strength, and where told kind and read-outs."""
    if "hotspot_y" not in result:
        return []
    unit = str(result["y"].attrs.get("units", "px"))
    records = []
    for spot in range(result.sizes["hotspot"]):
        record: dict[str, Any] = {
            name: float(result[f"hotspot_{name}"][spot]) for name in ("y", "x", "area", "strength")
        }
        record["unit"] = unit
        if "hotspot_kind" in result:
            record["kind"] = result["hotspot_kind"].attrs["names"][int(result["hotspot_kind"][spot])]
            record["kind_confidence"] = round(float(result["hotspot_kind_confidence"][spot]), 3)
            for name in _read_outs(result):
                value = float(result[f"hotspot_{name}"][spot])
                if np.isfinite(value):
                    record[name] = round(value, 4)
        records.append(record)
    return records


def _read_outs(result: xr.Dataset) -> list[str]:
    """Names of the read-outs that a result has, each with its error."""
    return [f"{name}{end}" for name in READ_OUTS for end in ("", "_error") if f"hotspot_{name}" in result]


def _maps_figure(result: xr.Dataset, order: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Figure:
    # Loads matplotlib, which takes half a second, and so only where something is drawn.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 8), layout="constrained")
    extent = _extent(result)
    shown = order[:_MAPS_SHOWN]
    rows = -(-len(shown) // 4)
    for axes, latent in zip(figure.subplots(rows, 4, squeeze=False).ravel(), shown, strict=False):
        axes.imshow(result["time_correlated_variance"].values[..., latent], cmap="magma", extent=extent)
        axes.set_title(f"z{latent}", fontsize=9)
        axes.tick_params(labelsize=7)
    figure.suptitle(
        "Time-correlated variance (ρ · variance)², axes in " + str(result["y"].attrs.get("units", "px"))
    )
    return figure


def _extent(result: xr.Dataset) -> tuple[float, float, float, float]:
    """Outer edges of the picture: left, right, bottom, top; a site reaches half a step beyond its centre."""
    y, x = result["y"].values, result["x"].values
    half_y, half_x = (0.5 * (spacing or 1.0) for spacing in _spacings(result))
    return float(x[0] - half_x), float(x[-1] + half_x), float(y[-1] + half_y), float(y[0] - half_y)


def _spacings(result: xr.Dataset) -> tuple[float | None, float | None]:
    """Distance of neighbouring sites along y and x; a single row or column borrows the other's."""
    along_y, along_x = (
        float(axis[1] - axis[0]) if len(axis) > 1 else None
        for axis in (result["y"].values, result["x"].values)
    )
    return along_y or along_x, along_x or along_y


def _write_traces(result: xr.Dataset, folder: Path, latent: int) -> list[Path]:
    from matplotlib.figure import Figure

    time = result["time"].values
    unit = result["time"].attrs.get("units", "frame")
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    columns = {f"time ({unit})": time}
    places = zip(result["hotspot_y"].values, result["hotspot_x"].values, strict=True)
    for number, (y, x) in enumerate(list(places)[:_HOTSPOTS_SHOWN]):
        z = result["z"].sel(y=y, x=x, method="nearest")[:, latent].values
        columns[f"hotspot {number + 1}: z{latent}"] = z
        axes.plot(time, z, label=f"hotspot {number + 1}")
    axes.set_xlabel(f"time ({unit})")
    axes.set_ylabel(f"z{latent}")
    axes.legend(fontsize=8)
    figure.savefig(folder / "z.png", dpi=150)
    save_table_csv(folder / "z.csv", columns)
    return [folder / "z.png", folder / "z.csv"]


@contextlib.contextmanager
def folder_errors(folder: Path) -> Iterator[None]:
    """An error of the system becomes a `ResultError` that names `folder`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise ResultError(f"Nothing can be written to {folder} ({reason}); choose another folder.") from error
