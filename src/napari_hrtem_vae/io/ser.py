"""TIA series (.ser, .emi), frame by frame: rosettasciio reads them whole.

The layout is the one described with the format: http://www.er-c.org/cbb/info/TIAformat/.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np

from ..errors import VideoFileError
from .candidates import Axis, Candidate
from .frames import MappedFrames, as_dask, check_size

_IMAGES = 0x4122
_ELEMENT_HEADER = 50
_DTYPES = {
    1: "<u1",
    2: "<u2",
    3: "<u4",
    4: "<i1",
    5: "<i2",
    6: "<i4",
    7: "<f4",
    8: "<f8",
    9: "<c8",
    10: "<c16",
}


def ser_candidates(path: Path) -> list[Candidate]:
    """The image series of a ser file, without a pixel size where its emi tells of diffraction."""
    emi = path.with_name(re.sub(r"_\d+$", "", path.stem) + ".emi")
    return [_read(path, _is_diffraction(emi) if emi.exists() else False)]


def emi_candidates(path: Path) -> list[Candidate]:
    """The image series of all ser files that belong to an emi file."""
    pattern = re.compile(re.escape(path.stem) + r"_\d+\.ser", re.IGNORECASE)
    series = sorted(entry for entry in path.parent.iterdir() if pattern.fullmatch(entry.name))
    if not series:
        raise VideoFileError(f"{path} has no data: put {path.stem}_1.ser, which belongs to it, beside it.")
    diffraction = _is_diffraction(path)
    return [_read(one, diffraction) for one in series]


def _is_diffraction(emi: Path) -> bool:
    modes = re.findall(rb"<Mode>([^<]*)</Mode>", emi.read_bytes()[: 2**24])
    return any(b"diffraction" in mode.lower() for mode in modes)


def _read(path: Path, diffraction: bool) -> Candidate:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(22)
        if len(head) < 22 or head[:4] != b"II\x97\x01":
            raise VideoFileError(f"{path} is no TIA series; choose a .ser file written by TIA.")
        version, kind, _tag, _total, valid = struct.unpack("<HIIII", head[4:])
        wide = version >= 0x220
        place = struct.unpack("<Q" if wide else "<I", file.read(8 if wide else 4))[0]
        if kind != _IMAGES:
            raise VideoFileError(f"{path} holds spectra; choose an image series.")
        if valid == 0:
            raise VideoFileError(f"{path} is empty; record it again.")
        check_size(path, place + valid * (8 if wide else 4))
        file.seek(place)
        offsets = np.fromfile(file, "<u8" if wide else "<u4", valid).astype(np.int64)
        if offsets[0] + _ELEMENT_HEADER > size:
            check_size(path, int(offsets[0]) + _ELEMENT_HEADER)
        file.seek(int(offsets[0]))
        element = struct.unpack("<ddiddiHII", file.read(_ELEMENT_HEADER))
    _, x_scale, _, _, y_scale, _, code, width, height = element
    if code not in _DTYPES or width == 0 or height == 0:
        raise VideoFileError(f"{path} has a damaged header; copy it again.")
    dtype = np.dtype(_DTYPES[code])
    check_size(path, int(offsets.max()) + _ELEMENT_HEADER + width * height * dtype.itemsize)
    unit = None if diffraction else "m"
    axes = [Axis("time", navigate=True), Axis("y", y_scale, unit, False), Axis("x", x_scale, unit, False)]
    # TIA stores the bottom row first.
    frames = MappedFrames(path, (valid, height, width), dtype, offsets + _ELEMENT_HEADER, flipped=True)
    return Candidate(path.stem, as_dask(frames), axes)
