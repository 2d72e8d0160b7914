"""What the spectrum panel shows of one frame: the spectrum, its spots and the grains; no Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..lattice.conventions import first_order_spots, lattice_angle_deg, misfit_deg
from ..video.reading import read_frames

if TYPE_CHECKING:
    import xarray as xr

    from ..lattice.parameters import LatticeParameters
    from .regions import Region

Double = NDArray[np.float64]
LEAST_PX = 32
_MOST_PX = 512  # of the picture
_BRIGHTEST = 99.9
_ORDERS_SHOWN = 2.6  # how far the view reaches, in first-order vectors
_SNAP = 0.08  # of the length of a spot's vector


@dataclass(frozen=True)
class Look:
    """One spectrum.

    Parameters
    ----------
    values : ndarray (rows, columns), uint8, or None
        Logarithm of the power over its noise; None where there is no spectrum.
    edges : tuple of float
        ky of the upper and lower edge, kx of the left and right one.
    spots : ndarray (n, 2)
        (ky, kx) of those that stand out, in cycles per px.
    bases : ndarray (grain, 2, 2)
        In cycles per px; NaN for a grain that is not there.
    reach : float
        How far a view should reach, in cycles per px.
    words : str
        Why there is no spectrum, or nothing.
    """

    values: NDArray[np.uint8] | None
    edges: tuple[float, float, float, float]
    spots: Double
    bases: Double
    reach: float
    words: str = ""


def nothing(words: str) -> Look:
    """No spectrum, and why."""
    return Look(None, (-0.5, 0.5, -0.5, 0.5), np.empty((0, 2)), np.empty((0, 2, 2)), 0.5, words)


def look_at(
    video: xr.DataArray,
    frame: int,
    box: tuple[slice, slice] | None,
    parameters: LatticeParameters,
    bases: Double | None,
) -> Look:
    """Spectrum of a frame or of a part of it, its spots, and the grains unless they are given.

    Parameters
    ----------
    video : DataArray (time, y, x)
    frame : int
    box : tuple of 2 slices, optional
        Rows and columns; the whole frame by default.
    parameters : LatticeParameters
    bases : ndarray (grain, 2, 2), optional
        Grains that are known, in cycles per px.
    """
    from ..lattice.seeding import find_grains
    from ..lattice.spots import find_spots, whitened_spectrum

    image = read_frames(video, slice(frame, frame + 1))
    if box is not None:
        image = image[:, box[0], box[1]]
    if min(image.shape[1:]) < LEAST_PX:
        return nothing(f"Too small for a spectrum: {LEAST_PX} px are the least.")
    if not np.isfinite(image).all():
        return nothing("This frame holds NaN.")
    if image.min() == image.max():
        return nothing("This frame is constant.")
    if bases is None:
        found = find_grains(image, parameters)
        spectrum, spots, bases = found.spectrum, found.spots, found.bases
        # in the order that tracking gives them, so that they keep their colours
        if len(bases) > 1 and float(misfit_deg(bases[0], bases[1], parameters.symmetry)) < 0:
            bases = bases[[1, 0, *range(2, len(bases))]]
    else:
        spectrum = whitened_spectrum(image)
        spots = find_spots(spectrum, 1, parameters.period_px)
    lengths = np.hypot(*bases.reshape(-1, 2).T) if bases.size else np.hypot(*spots.k[:1].T)
    lengths = lengths[np.isfinite(lengths)]
    reach = min(0.5, _ORDERS_SHOWN * float(lengths.max())) if lengths.size else 0.5
    values, edges = picture_of(spectrum)
    return Look(values, edges, spots.k, bases, reach)


def picture_of(spectrum: NDArray[np.float32]) -> tuple[NDArray[np.uint8], tuple[float, float, float, float]]:
    """Grey values of a whitened spectrum, no larger than a screen needs, and its edges in cycles per px.

    Where pixels are joined the strongest stands for them, lest a spot be lost.
    """
    values, edges = spectrum, []
    for axis, size in enumerate(spectrum.shape):
        join = -(-size // _MOST_PX)
        count = -(-size // join)
        padding = [(0, 0), (0, 0)]
        padding[axis] = (0, count * join - size)
        values = np.pad(values, padding)
        shape = [*values.shape]
        shape[axis : axis + 1] = [count, join]
        values = values.reshape(shape).max(axis + 1)
        first = -(size // 2) - 0.5
        edges += [first / size, (first + count * join) / size]
    values = np.log1p(values)
    top = max(float(np.percentile(values, _BRIGHTEST)), 1e-6)
    grey = np.clip(255 * values / top, 0, 255).astype(np.uint8)
    return grey, (edges[0], edges[1], edges[2], edges[3])


def bases_by_hand(spots: tuple[tuple[float, float], ...], symmetry: Any) -> Double:
    """Nets through spots that were put by hand; see `bases_from_spots`."""
    from ..lattice.seeding import bases_from_spots

    return bases_from_spots(np.array(spots, float).reshape(-1, 2), symmetry)


def spots_of_bases(bases: Double, symmetry: Any) -> tuple[tuple[float, float], ...]:
    """The spots from which `bases_by_hand` makes these nets."""
    rows = bases.reshape(-1, 2) if symmetry == "any" else bases[:, 0]
    return tuple((float(ky), float(kx)) for ky, kx in rows if np.isfinite(ky + kx))


def snapped(k: tuple[float, float], spots: Double) -> tuple[float, float]:
    """The spot, or its mate, that a click near it means; the place itself where none is near."""
    both = np.concatenate([spots, -spots])
    if not len(both):
        return k
    away = np.hypot(*(both - k).T)
    nearest = int(np.argmin(away))
    if away[nearest] > _SNAP * np.hypot(*k):
        return k
    return float(both[nearest, 0]), float(both[nearest, 1])


def grain_spots(bases: Double, symmetry: Any) -> list[tuple[int, int, tuple[float, float]]]:
    """Grain, order and (ky, kx) of all first-order spots of the grains that are there."""
    found = []
    for grain, basis in enumerate(bases):
        if np.isfinite(basis).all():
            for order, index in enumerate(first_order_spots(symmetry)):
                ky, kx = np.array(index) @ basis
                found.append((grain, order, (float(ky), float(kx))))
    return found


def words_about(bases: Double, symmetry: Any, pixel_nm: float | None, counter_clockwise: bool) -> str:
    """Angle and spacing of each grain, for people."""
    lines = []
    for grain, basis in enumerate(bases):
        if not np.isfinite(basis).all():
            lines.append(f"Grain {grain}: not in this frame")
            continue
        angle = float(lattice_angle_deg(basis, symmetry)) * (-1 if counter_clockwise else 1)
        spots = np.array(first_order_spots(symmetry)) @ basis
        spacing = float(np.mean(1 / np.hypot(*spots.T)))
        length = f"{spacing:.2f} px" if pixel_nm is None else f"{spacing * pixel_nm:.4f} nm"
        lines.append(f"Grain {grain}: {angle:.1f}°, spacing {length}")
    return "\n".join(lines)


def box_of(region: Region, shape: tuple[int, int]) -> tuple[slice, slice] | None:
    """Rows and columns of the box around a region (in px of the video); None where it is beside the frame."""
    corners = np.asarray(region.vertices, float)
    low = np.maximum(np.floor(corners.min(0) + 0.5), 0).astype(int)
    high = np.minimum(np.ceil(corners.max(0) + 0.5), shape).astype(int)
    if np.any(high <= low):
        return None
    return slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))
