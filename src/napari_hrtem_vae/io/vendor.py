"""Formats of microscopes and cameras, read by rosettasciio."""

from __future__ import annotations

import importlib
import inspect
import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import VideoFileError
from .candidates import Axis, Candidate
from .frames import MappedFrames, as_dask, check_size, reason, whole_frames

logger = logging.getLogger(__name__)

# Formats that are not read lazily may still be read, when they are no danger to memory.
EAGER_BYTES = 512 * 2**20
# Headers of these say how many raw bytes must be in the file itself.
_RAW = {"dm3", "dm4", "mrc", "mrcs", "ali", "blo", "mib"}
_SPECTRAL = ("EELS", "EDS", "CL", "XPS", "RAMAN")


def vendor_candidates(path: Path) -> list[Candidate]:
    """Every dataset that rosettasciio finds in `path`.

    Raises
    ------
    VideoFileError
        No reader for this suffix can read the file, or it is cut short.
    """
    suffix = path.suffix.lower().lstrip(".")
    suffix = "mrc" if suffix == "mrcs" else suffix
    if suffix in ("mrc", "ali"):
        _check_mrc(path)
    failures: list[Exception] = []
    for module in _readers(suffix, failures):
        try:
            found = _read_lazily(module, path)
        except VideoFileError:
            raise
        except Exception as error:
            failures.append(error)
            continue
        if suffix in _RAW:
            check_size(path, sum(int(entry["data"].nbytes) for entry in found))
        return [_candidate(entry, path) for entry in found]
    why = reason(failures[-1]) if failures else "no reader"
    raise VideoFileError(
        f"{path} cannot be read as {suffix} ({why}); it is damaged, cut short or something else."
    ) from (failures[-1] if failures else None)


def _readers(suffix: str, failures: list[Exception]) -> list[Any]:
    from rsciio import IO_PLUGINS

    modules: dict[str, Any] = {}
    for plugin in IO_PLUGINS:
        if suffix in (known.lower() for known in plugin["file_extensions"]) and plugin["api"] not in modules:
            try:
                modules[plugin["api"]] = importlib.import_module(plugin["api"])
            except ImportError as error:
                failures.append(error)
    return list(modules.values())


def _read_lazily(module: Any, path: Path) -> list[dict[str, Any]]:
    accepted = inspect.signature(module.file_reader).parameters
    options: dict[str, Any] = {"lazy": True}
    if "select_type" in accepted:
        options["select_type"] = "images"  # the event stream of a spectrum image takes minutes and gigabytes
    try:
        found: list[dict[str, Any]] = module.file_reader(str(path), **options)
    except Exception as error:
        if path.is_dir() or path.stat().st_size > EAGER_BYTES:
            raise
        logger.debug("%s: lazy reading failed (%s), reading it whole", path, error)
        found = module.file_reader(str(path), **{**options, "lazy": False})
    return found


def _without_maps(data: Any, path: Path) -> Any:
    """The same frames read from the file directly where rosettasciio maps a plain file into memory.

    Its blocks may cut frames, and a map fetches megabytes where a few rows are wanted. A block tells where
    the array lies: its strides, and how far it begins behind the start of the map.
    """
    import dask

    if data.ndim != 3 or 0 in data.shape:
        return data
    key = (data.name, 0, 0, 0)
    block = dask.get(data.dask.cull({key}), key)  # compute() would copy the block
    if type(block) is not np.memmap or block.shape[0] < min(2, data.shape[0]):
        return data
    root: Any = block
    while isinstance(root.base, np.memmap):
        root = root.base
    if str(root.filename) != str(path.resolve()) and str(root.filename) != str(path):
        return data
    start = root.offset + block.ctypes.data - root.ctypes.data
    row = data.shape[2] * data.dtype.itemsize
    if block.strides[1:] != (row, data.dtype.itemsize) or block.strides[0] < data.shape[1] * row:
        return data
    offsets = start + np.arange(data.shape[0], dtype=np.int64) * block.strides[0]
    shape = (int(data.shape[0]), int(data.shape[1]), int(data.shape[2]))
    return as_dask(MappedFrames(path, shape, data.dtype, offsets))


def _candidate(entry: dict[str, Any], path: Path) -> Candidate:
    import dask.array as da

    data = entry["data"]
    if not isinstance(data, da.Array):
        data = da.from_array(np.asarray(data))
    elif path.suffix.lower().lstrip(".") in _RAW:
        data = _without_maps(data, path)
    signal = entry.get("metadata", {}).get("Signal", {})
    spectral = str(signal.get("signal_type", "")).upper().startswith(_SPECTRAL)
    axes = [_axis(axis) for axis in entry["axes"]]
    if any(axis.name.casefold() in ("energy", "wavelength") for axis in axes):
        spectral = True
    signal_dims = [axis for axis in axes if axis.navigate is False]
    if axes and len(signal_dims) == 1 and data.ndim > 1:
        spectral = True
    title = str(entry.get("metadata", {}).get("General", {}).get("title") or "")
    candidate = Candidate(title, whole_frames(data), axes, spectral=spectral)
    _direct_electron(entry, candidate)
    header = entry.get("original_metadata", {}).get("std_header")
    if isinstance(header, dict):
        _uncalibrated_mrc(header, candidate)
    return candidate


def _axis(axis: dict[str, Any]) -> Axis:
    scale = axis.get("scale")
    try:
        number = float(scale) if scale is not None else None
    except (TypeError, ValueError):
        number = None
    unit = axis.get("units")
    return Axis(
        str(axis.get("name") or ""), number, unit if isinstance(unit, str) else None, axis.get("navigate")
    )


def _direct_electron(entry: dict[str, Any], candidate: Candidate) -> None:
    """Take from the log of a Direct Electron camera only what it knows: rosettasciio fills in ones."""
    log = entry.get("original_metadata", {}).get("de_metadata")
    if not isinstance(log, dict) or candidate.data.ndim != 3:
        return

    def number(key: str) -> float | None:
        try:
            value = float(log.get(key, "nan"))
        except ValueError:
            return None
        return value if value > 0 else None

    rate, summed = number("Frames Per Second"), number("Autosave Movie Sum Count")
    pixel = [number(f"Specimen Pixel Size {axis} (nanometers)") for axis in "YX"]
    unit = ["nm" if "nm^-1" not in (axis.unit or "") else None for axis in candidate.axes[-2:]]
    candidate.axes = [
        Axis("time", (summed or 1.0) / rate if rate else None, "s", True),
        *(Axis(name, pixel[i], unit[i], False) for i, name in enumerate("yx")),
    ]


def _uncalibrated_mrc(header: dict[str, Any], candidate: Candidate) -> None:
    """Say so where an mrc header has the 1 Å per pixel that programs write when they know nothing."""
    if not header.get("MX"):
        candidate.axes = [Axis(axis.name, None, None, axis.navigate) for axis in candidate.axes]
    elif float(header.get("Xlen", 0)) == float(header["MX"]):
        candidate.notices.append(
            "The pixel size is exactly 1 Å, which programs write when they do not know it; "
            "give pixel_size_nm where that is wrong."
        )


def _check_mrc(path: Path) -> None:
    """Compare the size that an mrc header promises with the file before an array is laid out for it."""
    with path.open("rb") as file:
        head = file.read(1024)
    if len(head) < 1024:
        raise VideoFileError(f"{path} is cut short: its header has 1024 bytes; copy it again.")
    width, height, frames, mode = struct.unpack("<IIII", head[:16])
    item = {0: 1, 1: 2, 2: 4, 4: 8, 6: 2, 12: 2}.get(mode)
    if item is None:
        raise VideoFileError(
            f"{path} is no mrc file that can be read (mode {mode}); save it as integers or float32."
        )
    if 0 in (width, height, frames):
        raise VideoFileError(f"{path} is empty ({frames} frames of {height} × {width} px); record it again.")
    check_size(path, 1024 + struct.unpack("<I", head[92:96])[0] + width * height * frames * item)
