"""Tables and pictures of a lattice result, for people without napari."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from rich.table import Table

from ..errors import LatticeError, ResultError
from ..io.export import replace_file, save_map_tiff, save_table_csv
from .change import CLASSES, lattice_change

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Shrinkage red, growth blue, unchanged cyan, as in the paper's Fig. 6.
CLASS_COLOURS = ("#00000000", "#d62728", "#1f4fd6", "#17becf")

_TABLE_DIGITS = {"angle_deg": 2, "spacing_nm": 4, "area_nm2": 2}


def lattice_summary(result: xr.Dataset) -> dict[str, Any]:
    """What the command line says of a result: first and last reliable values, as JSON can hold them."""
    reliable = result["reliable"].values
    grains = reliable.shape[1]
    misfit = _ends(result["misfit_deg"].values)
    sigma = result["misfit_sigma_deg"].values
    sigma = sigma[np.isfinite(sigma)]
    return {
        "frames": len(reliable),
        "grains": grains,
        "misfit_deg": misfit,
        "misfit_sigma_deg": round(float(np.sqrt(np.mean(sigma**2))), 4) if sigma.size else None,
        "angle_deg": [_ends(result["angle_deg"].values[:, grain]) for grain in range(grains)],
        "spacing_nm": [_ends(result["spacing_nm"].values[:, grain]) for grain in range(grains)],
        "area_nm2": [_ends(result["area_nm2"].values[:, grain]) for grain in range(grains)],
        "unreliable_frames": int((~reliable.all(1)).sum()),
    }


def lattice_table(record: dict[str, Any]) -> Table:
    """The summary as a table for a terminal."""
    title = f"{record['result']}: {record['frames']} frames, {record['seconds']} s"
    table = Table("Grain", "angle (°)", "spacing (nm)", "area (nm²)", title=title)
    for grain in range(record["grains"]):
        cells = (_arrow(record[name][grain], digits) for name, digits in _TABLE_DIGITS.items())
        table.add_row(str(grain), *cells)
    caption = f"{record['unreliable_frames']} frame(s) without a reliable lattice"
    if record["misfit_sigma_deg"] is not None:
        misfit = _arrow(record["misfit_deg"], 2)
        caption = f"misfit {misfit}°, ± {record['misfit_sigma_deg']:.2f}° a frame; {caption}"
    table.caption = caption
    return table


def export_lattice(video: xr.DataArray, result: xr.Dataset, folder: str | Path) -> list[Path]:
    """Write the report, with growth and shrinkage from the first to the last frame that shows all grains.

    Where their displacement cannot be told, growth and shrinkage are left out, and `result` gets a notice.
    """
    reliable = np.flatnonzero(result["reliable"].values.all(1))
    change = None
    if reliable.size > 1:
        # Without texture there is no telling the drift; angles and areas are worth writing all the same.
        try:
            change = lattice_change(video, result, int(reliable[0]), int(reliable[-1]))
        except LatticeError as error:
            notice = f"Growth and shrinkage are left out of the report. {error}"
            result.attrs["notices"] = [*result.attrs.get("notices", []), notice]
    return write_lattice_report(result, folder, change)


def write_lattice_report(
    result: xr.Dataset, folder: str | Path, change: xr.DataArray | None = None
) -> list[Path]:
    """Write angles, spacings and areas (CSV, PNG) and, if given, growth and shrinkage (PNG, TIFF).

    Raises
    ------
    ResultError
        The folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultError(
            f"Nothing can be written to {folder} ({error.strerror}); choose another folder."
        ) from error
    save_table_csv(folder / "lattice.csv", _columns(result))
    figure = _traces(result)
    replace_file(folder / "lattice.png", lambda path: figure.savefig(path, dpi=150))
    written = [folder / "lattice.csv", folder / "lattice.png"]
    if change is not None:
        picture = _classes(change)
        replace_file(folder / "change.png", lambda path: picture.savefig(path, dpi=150))
        written.append(folder / "change.png")
        pixel = change.attrs["pixel_size_nm"] * change.attrs["cell_px"]
        for grain, classes in enumerate(change.values):
            path = folder / f"change-grain-{grain}.tif"
            save_map_tiff(path, classes, float(pixel) if np.isfinite(pixel) else None)
            written.append(path)
    return written


def _ends(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[float | None]:
    known = values[np.isfinite(values)]
    return [round(float(known[0]), 4), round(float(known[-1]), 4)] if known.size else [None, None]


def _arrow(ends: list[float | None], digits: int) -> str:
    """ "13.70 → 9.30", or a dash where nothing is known."""
    if ends[0] is None or ends[1] is None:
        return "–"
    return f"{ends[0]:.{digits}f} → {ends[1]:.{digits}f}"


def _columns(result: xr.Dataset) -> dict[str, np.ndarray]:
    unit = result["time"].attrs.get("units", "frame")
    columns = {f"time ({unit})": result["time"].values}
    nm = np.isfinite(result["spacing_nm"].values).any()
    lengths = ("spacing_nm", "spacing_sigma_nm", "area_nm2", "area_sigma_nm2")
    if not nm:
        lengths = ("spacing_px", "area_px2", "area_sigma_px2")  # type: ignore[assignment]
    for grain in range(result.sizes["grain"]):
        for name in ("angle_deg", "angle_sigma_deg", *lengths, "signal"):
            header = f"grain {grain} {_label(name)} ({result[name].attrs['units']})"
            columns[header] = result[name].values[:, grain]
        columns[f"grain {grain} reliable"] = result["reliable"].values[:, grain]
    if result.sizes["grain"] > 1:
        for name in ("misfit_deg", "misfit_sigma_deg"):
            columns[f"{_label(name)} (deg)"] = result[name].values
    return columns


def _label(name: str) -> str:
    return name.rsplit("_", 1)[0].replace("_", " ")


def _traces(result: xr.Dataset) -> Figure:
    # Loads matplotlib, which takes half a second, and so only where something is drawn.
    from matplotlib.figure import Figure

    time = result["time"].values
    area = "area_nm2" if np.isfinite(result["area_nm2"].values).any() else "area_px2"
    panels = [("angle_deg", "angle (°)"), (area, f"area ({result[area].attrs['units']})")]
    if result.sizes["grain"] > 1:
        panels.insert(0, ("misfit_deg", "misfit (°)"))
    figure = Figure(figsize=(8, 2.4 * len(panels)), layout="constrained")
    for axes, (name, label) in zip(figure.subplots(len(panels), 1, sharex=True), panels, strict=True):
        values = result[name].values.reshape(len(time), -1)
        stem, unit = name.rsplit("_", 1)
        sigma = result[f"{stem}_sigma_{unit}"].values.reshape(len(time), -1)
        for grain in range(values.shape[1]):
            (line,) = axes.plot(
                time, values[:, grain], marker=".", label=f"grain {grain}" if values.shape[1] > 1 else None
            )
            low, high = values[:, grain] - sigma[:, grain], values[:, grain] + sigma[:, grain]
            axes.fill_between(time, low, high, alpha=0.25, color=line.get_color(), linewidth=0)
        axes.set_ylabel(label)
        if values.shape[1] > 1:
            axes.legend(fontsize=8)
    axes.set_xlabel(f"time ({result['time'].attrs.get('units', 'frame')})")
    return figure


def _classes(change: xr.DataArray) -> Figure:
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    grains = change.sizes["grain"]
    figure = Figure(figsize=(4.2 * grains, 4.6), layout="constrained")
    y, x = change["y"].values, change["x"].values
    extent = (float(x[0]), float(x[-1]), float(y[-1]), float(y[0]))
    for grain, axes in enumerate(figure.subplots(1, grains, squeeze=False)[0]):
        axes.imshow(
            change.values[grain],
            cmap=ListedColormap(CLASS_COLOURS),
            vmin=-0.5,
            vmax=3.5,
            extent=extent,
            interpolation="nearest",
        )
        axes.set_title(f"grain {grain}", fontsize=9)
        axes.set_xlabel(f"x ({change['x'].attrs.get('units', 'px')})")
        axes.set_facecolor("white")
    handles = [
        Patch(color=colour, label=name) for colour, name in zip(CLASS_COLOURS[1:], CLASSES[1:], strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8)
    return figure
