"""Frames for the eye: noise taken off, one grain alone, and views turned until {100} stands upright."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from ..errors import ParameterError
from ..io.frames import as_dask, whole_frames
from ..video.correlation import Correlator
from ..video.geometry import check_video
from .conventions import Double, Symmetry, angle_period_deg, check_symmetry, first_order_spots, wrap_deg

Float = NDArray[np.float32]
FILTERS = ("wiener", "background")


def filter_frame(frame: ArrayLike, kind: str = "wiener") -> Float:
    """A frame with the noise at each |k| taken off its spectrum.

    The noise's power is the median of a ring, which Bragg spots do not move, over ln 2.

    Parameters
    ----------
    frame : array (rows, columns)
        Without NaN.
    kind : str
        "wiener": each frequency times the share of its power above the noise. "background": the noise's
        amplitude is taken off each amplitude ("average background subtraction"), gentler.

    Returns
    -------
    ndarray (rows, columns), float32
        Of the same mean.

    References
    ----------
    Kilaas 1998, J. Microsc. 190, 45.
    """
    if kind not in FILTERS:
        raise ParameterError(f"kind is {kind!r}; give one of {', '.join(FILTERS)}.")
    values = np.asarray(frame, np.float32)
    return _filtered(values, Correlator((values.shape[0], values.shape[1])), kind)


def _filtered(frame: Float, rings: Correlator, kind: str) -> Float:
    mean = frame.mean(dtype=np.float64)
    spectrum = np.asarray(fft.rfft2(frame - np.float32(mean), workers=1), np.complex64)
    noise = rings.spread(rings.ring_power(spectrum))
    share = noise / np.maximum(spectrum.real**2 + spectrum.imag**2, 1e-30)
    spectrum *= np.maximum(0, 1 - (share if kind == "wiener" else np.sqrt(share)))
    return np.asarray(fft.irfft2(spectrum, frame.shape, workers=1) + mean, np.float32)


def grain_image(frame: ArrayLike, basis: ArrayLike, smoothing_px: float, symmetry: Any = 4) -> Float:
    """The fringes of one grain: the frame behind Gaussian masks on its first-order spots.

    Parameters
    ----------
    frame : array (rows, columns)
        Without NaN.
    basis : array (2, 2)
        Rows g1 and g2, (ky, kx) in cycles per px.
    smoothing_px : float
        Standard deviation, in px, of the Gaussian that the masks average over.
    symmetry : {2, 4, 6, "any"}

    Returns
    -------
    ndarray (rows, columns), float32
        Grey values about 0.
    """
    frame = np.asarray(frame, np.float32)
    basis = _checked_basis(basis)
    if not smoothing_px > 0:
        raise ParameterError(f"smoothing_px is {smoothing_px!r}; give a positive number of px.")
    spectrum = np.asarray(fft.rfft2(frame - frame.mean(), workers=1), np.complex64)
    mask = np.zeros(spectrum.shape, np.float32)
    along = fft.fftfreq(frame.shape[0]), fft.rfftfreq(frame.shape[1])
    for spot in first_order_spots(check_symmetry(symmetry)):
        for sign in (1, -1):
            k = sign * np.array(spot) @ basis
            # Frequencies wrap: a spot near the edge goes on at the opposite one.
            parts = [
                np.exp(-2 * (np.pi * smoothing_px * _wrapped(frequencies - centre)) ** 2)
                for frequencies, centre in zip(along, k, strict=True)
            ]
            np.maximum(mask, np.outer(*parts).astype(np.float32), out=mask)
    return np.asarray(fft.irfft2(spectrum * mask, frame.shape, workers=1), np.float32)


def _wrapped(frequencies: Double) -> Double:
    return np.asarray(frequencies - np.rint(frequencies))


def _checked_basis(basis: ArrayLike) -> Double:
    values = np.asarray(basis, np.float64)
    if values.shape != (2, 2) or not np.isfinite(values).all():
        raise ParameterError(f"basis has the shape {values.shape}; give the two rows g1 and g2 of a grain.")
    return values


def filter_video(video: xr.DataArray, kind: str = "wiener") -> xr.DataArray:
    """A filtered video, lazily: frames are filtered when they are read; see `filter_frame`.

    Returns
    -------
    DataArray (time, y, x), float32
        Coordinates and attributes of `video`; a frame with NaN is all NaN.
    """
    check_video(video)
    if kind not in FILTERS:
        raise ParameterError(f"kind is {kind!r}; give one of {', '.join(FILTERS)}.")
    rings = Correlator((video.shape[1], video.shape[2]))

    def filtered(block: NDArray[Any]) -> Float:
        frames = np.asarray(block, np.float32)
        return np.stack(
            [
                _filtered(frame, rings, kind) if np.isfinite(frame).all() else np.full_like(frame, np.nan)
                for frame in frames
            ]
        )

    data = video.data
    lazy = as_dask(data) if isinstance(data, np.ndarray) else whole_frames(data)
    return video.copy(data=lazy.map_blocks(filtered, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32)))


def upright_affine(
    angle_deg: float, centre: tuple[float, float] = (0.0, 0.0), symmetry: Symmetry = 4
) -> Double:
    """Matrix that turns a view until a grain's nearest {100} direction lies along x.

    Parameters
    ----------
    angle_deg : float
        Angle of the grain, from x towards y.
    centre : tuple of float
        (y, x) in world coordinates that stays where it is.
    symmetry : {2, 4, 6, "any"}

    Returns
    -------
    ndarray (3, 3)
        Acts on (y, x, 1) in world coordinates: the `affine` of a napari layer. Nothing is resampled.
    """
    turn = -float(np.deg2rad(wrap_deg(angle_deg, angle_period_deg(symmetry))))
    c, s = np.cos(turn), np.sin(turn)
    matrix = np.eye(3)
    matrix[:2, :2] = [[c, s], [-s, c]]
    matrix[:2, 2] = np.array(centre) - matrix[:2, :2] @ np.array(centre)
    return matrix
