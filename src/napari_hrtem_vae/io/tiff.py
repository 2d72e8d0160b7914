"""TIFF stacks: memory-mapped where they lie in one piece, page by page where not."""

from __future__ import annotations

import dataclasses
import math
import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import VideoFileError
from .candidates import Axis, Candidate
from .frames import LazyFrames, as_dask, check_size, plain_array, reason
from .units import to_nm, to_s


class TiffPages(LazyFrames):
    """Pages of one series of a TIFF file, or of all (None), decoded one by one when asked for."""

    def __init__(
        self, path: Path, series: int | None, shape: tuple[int, int, int], dtype: np.dtype[Any]
    ) -> None:
        super().__init__(path, shape, dtype)
        self.series = series
        self._open()

    def _open(self) -> None:
        self._lock = threading.Lock()
        self._file: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_file")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def read(self, numbers: range, rows: slice) -> np.ndarray:
        """See `LazyFrames.read`."""
        import tifffile

        with self._lock:
            if self._file is None:
                # Kept open: parsing thousands of page headers for each chunk costs more than the data.
                self._file = tifffile.TiffFile(self.path)
            pages = self._file.pages if self.series is None else self._file.series[self.series].pages
            frames = [pages[n].asarray(squeeze=False).reshape(self.shape[1:])[rows] for n in numbers]
        if not frames:
            return np.empty((0, *self.shape[1:]), self.dtype)[:, rows]
        return np.stack(frames).astype(self.dtype, copy=False)


def tiff_candidates(path: Path) -> list[Candidate]:
    """Every series of a TIFF file, with pixel size and frame time where its tags have them."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            if not tiff.series:
                raise VideoFileError(f"{path} is a TIFF file without a picture; record it again.")
            _check_chain(path, tiff)
            pixel, frame_time = _ome_or_imagej(tiff)
            if _is_split_stack(tiff):
                stack = _page_stack(path, tiff)
                return [dataclasses.replace(stack, pixel_size_nm=pixel, frame_time_s=frame_time)]
            # Its time grows with the square of the number of series; stacks of the vendors are one series.
            vendor = _vendor_axes(path) if len(tiff.series) <= 16 else []
            found = []
            for number, series in enumerate(tiff.series):
                candidate = _series_candidate(path, tiff, number, series)
                axes = vendor[number] if number < len(vendor) else []
                if len(axes) == candidate.data.ndim:
                    candidate.axes = axes
                sizes = [to_nm(axis.scale, axis.unit) for axis in candidate.axes]
                if pixel is not None and not any(sizes):
                    candidate.pixel_size_nm = pixel
                candidate.frame_time_s = frame_time
                found.append(candidate)
    except VideoFileError:
        raise
    except Exception as error:
        raise VideoFileError(
            f"{path} cannot be read as TIFF ({reason(error)}); it is damaged, cut short or something else."
        ) from error
    return found


def _check_chain(path: Path, tiff: Any) -> None:
    """Raise where the last page points to another one behind the end of the file."""
    layout, file = tiff.tiff, tiff.filehandle
    file.seek(tiff.pages[len(tiff.pages) - 1].offset)
    tags = struct.unpack(layout.tagnoformat, file.read(layout.tagnosize))[0]
    file.seek(tags * layout.tagsize, 1)
    following = struct.unpack(layout.offsetformat, file.read(layout.offsetsize))[0]
    check_size(path, following)


def _is_split_stack(tiff: Any) -> bool:
    """Whether a stack was written page by page, so that each page calls itself a series."""
    count = len(tiff.pages)
    if count < 2 or count != len(tiff.series):
        return False
    kinds = {(series.shape, str(series.dtype), series.axes) for series in tiff.series}
    return len(kinds) == 1 and len(tiff.series[0].shape) == 2


def _page_stack(path: Path, tiff: Any) -> Candidate:
    pages = _probed(tiff.pages)
    check_size(path, _end(pages))
    first = tiff.pages[0]
    shape = (len(tiff.pages), int(first.shape[0]), int(first.shape[1]))
    return Candidate(
        path.stem, as_dask(TiffPages(path, None, shape, np.dtype(first.dtype).newbyteorder("=")))
    )


def _end(pages: list[Any]) -> int:
    """Where the data of `pages` end in the file."""
    return max(
        int(offset + count)
        for page in pages
        if page is not None
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)
    )


def _series_candidate(path: Path, tiff: Any, number: int, series: Any) -> Candidate:
    shape, dtype = tuple(int(n) for n in series.shape), np.dtype(series.dtype)
    axes = [Axis(name={"T": "time"}.get(letter, letter.lower())) for letter in series.axes]
    if "S" in series.axes:
        colour = np.dtype([(channel, dtype) for channel in "RGBA"[: max(1, shape[series.axes.index("S")])]])
        return Candidate(series.name or f"series {number}", as_dask(np.empty((1, 1), colour)))
    if math.prod(shape) == 0:
        raise VideoFileError(f"{path} is empty (shape {shape}); record it again.")
    check_size(path, _end(_probed(series.pages)))
    if series.dataoffset is not None:
        check_size(path, series.dataoffset + math.prod(shape) * dtype.itemsize)
        data = as_dask(plain_array(path, shape, dtype.newbyteorder(tiff.byteorder), series.dataoffset))
    else:
        frames = math.prod(shape[:-2])
        if len(series.pages) != frames:
            raise VideoFileError(
                f"{path} has {len(series.pages)} pages where its header promises {frames}; copy it again."
            )
        source = TiffPages(path, number, (frames, shape[-2], shape[-1]), dtype.newbyteorder("="))
        data = as_dask(source)
        if len(shape) != 3:
            data = data.reshape(shape)
    return Candidate(series.name or f"series {number}", data, axes)


def _probed(pages: Any) -> list[Any]:
    """Pages whose place in the file is checked: all of a stack of a usual length, else the ends of it."""
    count = len(pages)
    return [pages[i] for i in (range(count) if count <= 5000 else (0, count // 2, count - 1))]


def _vendor_axes(path: Path) -> list[list[Axis]]:
    """Axes as rosettasciio finds them in the tags of the vendors."""
    from rsciio.tiff import file_reader

    try:
        return [
            [Axis(a.get("name") or "", a.get("scale"), a.get("units"), a.get("navigate")) for a in d["axes"]]
            for d in file_reader(str(path), lazy=True)
        ]
    except Exception:
        return []  # tags that it cannot parse: the picture is still there, its units are unknown


def _ome_or_imagej(tiff: Any) -> tuple[float | None, float | None]:
    """Pixel size in nm and frame time in s from the OME or ImageJ description."""
    if tiff.is_ome and tiff.ome_metadata:
        import xml.etree.ElementTree as ET

        for element in ET.fromstring(tiff.ome_metadata).iter():
            if element.tag.endswith("Pixels"):
                get = element.attrib.get
                return (
                    to_nm(get("PhysicalSizeX"), get("PhysicalSizeXUnit", "µm")),
                    to_s(get("TimeIncrement"), get("TimeIncrementUnit", "s")),
                )
    described = tiff.imagej_metadata if tiff.is_imagej else None
    if not described:
        return None, None
    frame_time = to_s(described.get("finterval"), str(described.get("tunit") or "s"))
    tag = tiff.pages[0].tags.get("XResolution")
    unit = str(described.get("unit") or "").replace("\\u00B5", "µ").replace("\\u00C5", "Å")
    if tag is None or not tag.value[0]:
        return None, frame_time
    return to_nm(tag.value[1] / tag.value[0], unit), frame_time
