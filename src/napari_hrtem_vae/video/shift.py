"""Moving frames by whole pixels or parts of them; what comes in from outside is NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import fft

from ..errors import ParameterError
from ..io.frames import as_dask, whole_frames
from .geometry import check_video
from .outliers import GreyLevels, replace_dead_pixels, replace_outliers

Float = NDArray[np.float32]
Double = NDArray[np.float64]
MODES = ("whole", "subpixel")
# Beyond the edges a frame is mirrored and fades out over so many px, or its edges would ring.
_PAD = 32


def rounded_shift(shift: Double) -> tuple[int, int]:
    """The displacement (2,) in whole pixels."""
    return int(np.rint(shift[0])), int(np.rint(shift[1]))


def put_back(frames: Float, shifts: Double, mode: str, *, border: str = "nan") -> Float:
    """Frames (n, y, x) with their contents moved back by `shifts`.

    Parameters
    ----------
    frames : ndarray (n, y, x), float32
    shifts : ndarray (n, 2)
        Displacement of the contents along y and x in px; a frame of NaN displacement becomes all NaN.
    mode : str
        "whole": rounded to whole pixels, every value one of the frame's. "subpixel": by the phases of the
        Fourier transform, which leaves the noise's power as it is.
    border : str
        What pixels become that the frame has nothing for: "nan", or "wrap": those that left on the other
        side.

    Returns
    -------
    ndarray (n, y, x), float32
    """
    out = np.full(frames.shape, np.nan, np.float32)
    for number, (frame, shift) in enumerate(zip(frames, shifts, strict=True)):
        if not np.isfinite(shift).all():
            continue
        if border == "wrap":
            out[number] = np.roll(frame, (-int(np.rint(shift[0])), -int(np.rint(shift[1]))), (0, 1))
            continue
        whole = mode == "whole" or bool((shift == np.rint(shift)).all())
        moved = frame if whole else _moved_by_phase(frame, shift)
        by = rounded_shift(shift) if whole else (0, 0)
        rows, columns = covered(frame.shape, shift, "whole" if whole else "subpixel")
        out[number, rows, columns] = moved[
            rows.start + by[0] : rows.stop + by[0], columns.start + by[1] : columns.stop + by[1]
        ]
    return out


def covered(shape: tuple[int, ...], shift: Double, mode: str) -> tuple[slice, slice]:
    """Rows and columns of a frame put back by `shift` that it has pixels for; may be empty."""
    slices = []
    for size, by in zip(shape, rounded_shift(shift) if mode == "whole" else shift, strict=True):
        start, stop = max(0, int(np.ceil(-by))), min(size, int(np.floor(size - by)))
        slices.append(slice(min(start, size), max(stop, min(start, size))))
    return slices[0], slices[1]


def common_area(shape: tuple[int, ...], shifts: Double, mode: str) -> tuple[slice, slice]:
    """Rows and columns that every frame with a displacement has pixels for; may be empty."""
    known = shifts[np.isfinite(shifts).all(1)]
    if len(known) == 0:
        return slice(0, shape[0]), slice(0, shape[1])
    ends = [covered(shape, extreme, mode) for extreme in (known.min(0), known.max(0))]
    rows, columns = (
        slice(max(a.start, b.start), max(max(a.start, b.start), min(a.stop, b.stop)))
        for a, b in zip(*ends, strict=True)
    )
    return rows, columns


def _moved_by_phase(frame: Float, shift: Double) -> Float:
    """The frame with its contents moved back by `shift`, by Fourier transform."""
    centre = np.float32(np.nanmean(frame)) if np.isfinite(frame).any() else np.float32(0)
    missing = ~np.isfinite(frame)
    values = np.where(missing, 0, frame - centre)
    pads = [_PAD + int(np.ceil(abs(by))) for by in shift]
    pads = [min(pad, size) for pad, size in zip(pads, frame.shape, strict=True)]
    padded = np.pad(values, [(pad, pad) for pad in pads], mode="symmetric")
    for axis, (pad, size) in enumerate(zip(pads, frame.shape, strict=True)):
        ramp = (0.5 - 0.5 * np.cos(np.pi * (np.arange(pad) + 0.5) / pad)).astype(np.float32)
        fade = np.concatenate([ramp, np.ones(size, np.float32), ramp[::-1]])
        padded *= fade[:, None] if axis == 0 else fade
    lengths = [fft.next_fast_len(size, real=True) for size in padded.shape]
    spectrum = fft.rfft2(padded, lengths)
    spectrum *= np.exp(2j * np.pi * fft.fftfreq(lengths[0]) * shift[0]).astype(np.complex64)[:, None]
    spectrum *= np.exp(2j * np.pi * fft.rfftfreq(lengths[1]) * shift[1]).astype(np.complex64)
    moved = fft.irfft2(spectrum, lengths)[
        pads[0] : pads[0] + frame.shape[0], pads[1] : pads[1] + frame.shape[1]
    ]
    moved += centre
    if missing.any():
        at = [
            np.clip(np.rint(np.arange(n) + by), 0, n - 1).astype(int)
            for n, by in zip(frame.shape, shift, strict=True)
        ]
        moved[missing[np.ix_(*at)]] = np.nan
    return np.asarray(moved, np.float32)


def apply_shifts(
    video: xr.DataArray,
    shifts: xr.Dataset,
    mode: str = "whole",
    *,
    levels: GreyLevels | None = None,
    border: str = "nan",
) -> xr.DataArray:
    """A video with its drift taken out, lazily: frames are moved when they are read.

    Parameters
    ----------
    video : DataArray (time, y, x)
    shifts : Dataset (time)
        `dy_px`, `dx_px`, as measured; NaN where unknown.
    mode : str
        "whole" or "subpixel"; see `put_back`.
    levels : GreyLevels, optional
        With it outliers and dead pixels are replaced first.
    border : str
        "nan" or "wrap"; see `put_back`.

    Returns
    -------
    DataArray (time, y, x), float32
        Coordinates and attributes of `video`.

    Raises
    ------
    ParameterError
        Another mode, or shifts of another number of frames.
    """
    check_video(video)
    if mode not in MODES:
        raise ParameterError(f"mode is {mode!r}; give one of {', '.join(MODES)}.")
    if len(shifts["dy_px"]) != len(video):
        raise ParameterError(
            f"There are {len(shifts['dy_px'])} shifts for {len(video)} frames; measure this video's drift."
        )
    by = shift_array(shifts)
    data = video.data
    lazy = as_dask(data) if isinstance(data, np.ndarray) else whole_frames(data)

    def move(block: NDArray[Any], block_info: Any = None) -> Float:
        first, last = block_info[0]["array-location"][0]
        frames = np.array(block, np.float32)
        if levels is not None:
            frames = replace_dead_pixels(replace_outliers(frames, levels), levels)
        return put_back(frames, by[first:last], mode, border=border)

    moved = lazy.map_blocks(move, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32))
    return video.copy(data=moved)


def shift_array(shifts: xr.Dataset) -> Double:
    """Displacements of a Dataset as an array (frames, 2), y first."""
    return np.stack([shifts["dy_px"].values, shifts["dx_px"].values], axis=1).astype(np.float64)
