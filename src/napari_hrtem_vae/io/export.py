"""Maps as TIFF and tables as CSV, written aside and renamed: a crash leaves the old file or the new one."""

from __future__ import annotations

import contextlib
import csv
import math
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..errors import ParameterError, ResultError
from .frames import reason


def save_map_tiff(path: str | Path, map2d: np.ndarray | xr.DataArray, pixel_size_nm: float | None) -> None:
    """Write a map as a float32 TIFF whose resolution ImageJ and rosettasciio read.

    Parameters
    ----------
    path : path
        Replaced where it exists.
    map2d : array
        (y, x), real.
    pixel_size_nm : float or None
        Distance between the pixels of the map in nm; None leaves the resolution out.

    Raises
    ------
    ParameterError
        `map2d` is not two-dimensional and real, or the pixel size is not positive.
    ResultError
        The file cannot be written.
    """
    values = np.asarray(map2d)
    if values.ndim != 2 or values.dtype.kind not in "buif":
        raise ParameterError(
            f"map2d has shape {values.shape} and type {values.dtype}; give a real (y, x) array."
        )
    options: dict[str, Any] = {"imagej": True}
    if pixel_size_nm is not None:
        if not (math.isfinite(pixel_size_nm) and pixel_size_nm > 0):
            raise ParameterError(f"pixel_size_nm is {pixel_size_nm!r}; give a positive number of nm.")
        options |= {
            "resolution": (1 / pixel_size_nm, 1 / pixel_size_nm),
            "metadata": {"unit": "nm"},
            # ImageJ has its unit in words; rosettasciio and DigitalMicrograph look for it in these tags.
            "extratags": [
                (65003, "s", 0, "nm", True),
                (65004, "s", 0, "nm", True),
                (65009, "d", 1, float(pixel_size_nm), True),
                (65010, "d", 1, float(pixel_size_nm), True),
            ],
        }

    def write(target: Path) -> None:
        import tifffile

        tifffile.imwrite(target, np.ascontiguousarray(values, dtype=np.float32), **options)

    replace_file(Path(path), write)


def save_table_csv(path: str | Path, columns: Mapping[str, np.ndarray]) -> None:
    """Write columns of equal length as CSV.

    Parameters
    ----------
    path : path
        Replaced where it exists.
    columns : mapping of str to array
        (n,) each; the key is the header, with the unit: "time [s]".

    Raises
    ------
    ParameterError
        Columns differ in length or are not one-dimensional.
    ResultError
        The file cannot be written.
    """
    arrays = [np.asarray(column) for column in columns.values()]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
        raise ParameterError(f"columns have the shapes {sorted(shapes)}; give columns of one length.")

    def write(target: Path) -> None:
        with target.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*(array.tolist() for array in arrays), strict=True))

    replace_file(Path(path), write)


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside `path`, then put it in its place: `path` is never half a file.

    Parameters
    ----------
    path : Path
        The file to make or replace.
    write : callable
        Takes the path, of the same suffix, that it is to write.

    Raises
    ------
    ResultError
        The folder is missing or write-protected, or the disk is full.
    """
    aside = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        write(aside)
        with aside.open("rb+") as file:
            os.fsync(file.fileno())  # a full disk shows here, while the old file is still there
        os.replace(aside, path)
    except OSError as error:
        raise ResultError(
            f"{path} cannot be written ({reason(error)}); free some space or choose another folder."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
