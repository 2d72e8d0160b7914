"""The camera: from a rate of electrons to counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError
from .fields import check_fields, described

Float = NDArray[np.float32]
FULL_WELL = 65535  # of 16 bits


@dataclass(frozen=True)
class Detector:
    """Dose and camera.

    Parameters
    ----------
    dose_e_per_px : float
        Electrons per pixel and frame where the specimen is empty.
    flicker : float
        Standard deviation of the beam from frame to frame, as a share.
    gain : float
        Counts per electron.
    mtf_nyquist : float
        Modulation transfer at the Nyquist frequency along either axis, see `modulation_transfer`; 1 is a
        camera that blurs nothing.
    xray_hits_per_mpx : float
        X-ray hits per million pixels and frame, on average.
    xray_electrons : float
        Mean brightness of a hit in electrons; single hits lie evenly between half and one and a half of it.
    dead_per_mpx : float
        Dead pixels, which count nothing in any frame, per million.

    Raises
    ------
    ParameterError
        A value lies outside its range, or the empty specimen alone saturates the camera.
    """

    dose_e_per_px: float = described(
        10.0, "Dose [e/px]", "Electrons per px and frame.", min=1e-6, max=1e6, option="dose"
    )
    flicker: float = described(
        0.01, "Flicker", "Standard deviation of the beam from frame to frame, as a share.", min=0.0, max=1.0
    )
    gain: float = described(1.0, "Gain", "Counts per electron.", min=1e-3, max=10_000.0)
    mtf_nyquist: float = described(
        1.0, "MTF at Nyquist", "Modulation transfer at the Nyquist frequency; 1: no blur.", min=0.0, max=1.0
    )
    xray_hits_per_mpx: float = described(
        0.0, "X-ray hits [per Mpx]", "X-ray hits per million px and frame.", min=0.0, max=1e5
    )
    xray_electrons: float = described(
        300.0, "X-ray brightness [e]", "Mean brightness of an x-ray hit in electrons.", min=0.0, max=1e6
    )
    dead_per_mpx: float = described(
        0.0, "Dead pixels [per Mpx]", "Pixels that count nothing, per million.", min=0.0, max=1e6
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if self.dose_e_per_px * self.gain > FULL_WELL:
            raise ParameterError(
                f"dose_e_per_px is {self.dose_e_per_px!r} at {self.gain:g} counts per electron, which "
                f"saturates the camera; give both so that a pixel counts at most {FULL_WELL}."
            )


def modulation_transfer(frequency: NDArray[np.float64], nyquist: float) -> NDArray[np.float64]:
    """Modulation transfer along one axis: m + (1 − m) cos²(π q).

    Parameters
    ----------
    frequency : ndarray
        q in cycles per pixel.
    nyquist : float
        m, its value at q = ½.

    Notes
    -----
    That of a camera whose every pixel gives the share (1 − m) / 4 to each neighbour on the axis: the response
    has three pixels, none is negative, and they sum to 1, so mean counts are exact. The product over y and x
    holds for two axes.
    """
    return np.asarray(nyquist + (1 - nyquist) * np.cos(np.pi * frequency) ** 2)


def beam_of(detector: Detector, frames: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Strength of the beam in each frame, 1 on average; a beam that fails is 0, never less."""
    return np.asarray(np.maximum(1 + detector.flicker * rng.standard_normal(frames), 0))


def dead_pixels(
    detector: Detector, shape: tuple[int, int], rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the pixels that are dead."""
    count = round(detector.dead_per_mpx * 1e-6 * shape[0] * shape[1])
    chosen = rng.choice(shape[0] * shape[1], count, replace=False) if count else np.zeros(0, np.intp)
    y, x = np.unravel_index(chosen, shape)
    return y, x


def expose(
    rate: Float, detector: Detector, beam: float, rng: np.random.Generator, hits: np.random.Generator
) -> NDArray[np.uint16]:
    """One frame of counts.

    Parameters
    ----------
    rate : ndarray (y, x)
        Intensity relative to the empty specimen, 0 or more.
    detector : Detector
    beam : float
        Strength of the beam in this frame.
    rng, hits : Generator
        Of the electrons; of the x-rays, apart, so that a film with and without hits is the same otherwise.

    Returns
    -------
    ndarray (y, x), uint16
        Of mean gain · rate · dose · beam (convolved with the response), and, over an even field, of variance
        gain² · rate · dose · beam · Σ response². Rounding to whole counts adds at most 1/12 where the gain
        or the blur make it necessary.
    """
    counts = rng.poisson(rate * (detector.dose_e_per_px * beam))
    if detector.mtf_nyquist == 1 and detector.gain == 1 and detector.xray_hits_per_mpx == 0:
        return np.asarray(counts.clip(0, FULL_WELL), np.uint16)
    signal = detector.gain * _blurred(counts.astype(np.float32), detector.mtf_nyquist)
    number = hits.poisson(detector.xray_hits_per_mpx * 1e-6 * signal.size)
    places = hits.integers(0, signal.size, number)
    brightness = detector.gain * detector.xray_electrons * hits.uniform(0.5, 1.5, number)
    np.add.at(signal.reshape(-1), places, brightness.astype(np.float32))
    return np.asarray(np.rint(signal).clip(0, FULL_WELL), np.uint16)


def _blurred(electrons: Float, nyquist: float) -> Float:
    """Each pixel shares its signal with its neighbours; the edges reflect, so that nothing is lost."""
    if nyquist == 1:
        return electrons
    from scipy import ndimage

    share = (1 - nyquist) / 4
    response = np.array([share, 1 - 2 * share, share], np.float32)
    along_y = ndimage.correlate1d(electrons, response, axis=0, mode="reflect")
    return np.asarray(ndimage.correlate1d(along_y, response, axis=1, mode="reflect"), np.float32)
