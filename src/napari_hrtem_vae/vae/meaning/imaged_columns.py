"""Columns of atoms as a microscope shows them: fringes that reverse, double and leave the crystal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, special

from ...simulate.material import columns

Float = NDArray[np.float32]
Wave = NDArray[np.complex64]
# 200 kV, and the {200} planes of PbS, whose fringes are a period.
_WAVELENGTH_NM, _SPACING_NM = 0.0025079, 0.2968


def channelled(
    y: Float,
    x: Float,
    period: float,
    angle: float,
    phase: Float,
    sharpness: Float,
    turn: float,
    damping: float,
) -> Wave:
    """What columns add to a wave of 1: their bound state, whose phase turns with the thickness.

    Parameters
    ----------
    y, x, period, angle, phase, sharpness
        As `simulate.material.columns` takes them.
    turn : float
        Of the phase of the bound state, in rad; proportional to the thickness.
    damping : float
        Share of it by which the bound state is weakened as well.

    Notes
    -----
    1 + c p (exp(iθ) − 1) for columns p of height 1: Geuens & Van Dyck 2002, Ultramicroscopy 93, 179, with one
    state. c is what keeps the mean intensity at 1 for every thickness.
    """
    mean = float(np.prod(special.ive(0, sharpness)))
    height = max(1 - mean, 0.1)
    excited = mean / float(np.prod(special.ive(0, 2 * sharpness)))
    state = height * columns(y, x, period, angle, phase, sharpness) + np.float32(mean)
    return np.asarray(np.complex64(excited * (np.exp((1j - damping) * turn) - 1)) * state)


@dataclass(frozen=True)
class PlainMicroscope:
    """What a microscope without astigmatism makes of the wave behind a specimen.

    Parameters
    ----------
    cs_nm, defocus_nm : float
        Spherical aberration, and defocus (positive is underfocus), in nm.
    focal_spread_nm : float
        Standard deviation of the focus.
    divergence_rad : float
        1/e half-width of the angles of illumination.
    aperture_rad : float
        Half-angle of the objective aperture.
    contrast : float
        Measured contrast against the computed one (Hÿtch & Stobbs 1994, Ultramicroscopy 53, 191).

    References
    ----------
    Kirkland 2010, Advanced Computing in Electron Microscopy, chapter 3.
    """

    cs_nm: float
    defocus_nm: float
    focal_spread_nm: float
    divergence_rad: float
    aperture_rad: float
    contrast: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> PlainMicroscope:
        """With a corrector or without, from −1.5 to 1.5 of Scherzer's defocus."""
        corrected = rng.random() < 0.3
        cs_nm = float(rng.uniform(-2e4, 2e4) if corrected else rng.uniform(0.5e6, 1.3e6))
        reach = max(np.sqrt(1.5 * abs(cs_nm) * _WAVELENGTH_NM), 8.0)
        return cls(
            cs_nm=cs_nm,
            defocus_nm=float(rng.uniform(-1.5, 1.5) * reach),
            focal_spread_nm=float(rng.uniform(2, 7)),
            divergence_rad=float(rng.uniform(1e-4, 6e-4)),
            aperture_rad=float(rng.uniform(0.015, 0.03)),
            contrast=float(np.exp(rng.uniform(np.log(0.3), 0))),
        )

    def transfer(self, shape: tuple[int, int], period_px: float) -> Wave:
        """Of a wave's Fourier transform (y, x), whose fringes are `period_px` apart."""
        per_nm = period_px / _SPACING_NM
        ky, kx = (fft.fftfreq(side).astype(np.float32) * per_nm for side in shape)
        k2 = ky[:, None] ** 2 + kx**2
        angle2 = (_WAVELENGTH_NM * _WAVELENGTH_NM) * k2
        chi = np.pi * k2 * _WAVELENGTH_NM * (self.cs_nm * angle2 / 2 - self.defocus_nm)
        spread = np.pi * self.focal_spread_nm * _WAVELENGTH_NM * k2
        slope = np.pi * self.divergence_rad * np.sqrt(k2) * (self.cs_nm * angle2 - self.defocus_nm)
        seen = np.exp(-(spread**2) / 2 - slope**2) * (angle2 <= self.aperture_rad**2)
        return np.asarray(seen * np.exp(-1j * chi), np.complex64)

    def image(self, wave: Wave, transfer: Wave) -> Float:
        """Rate of electrons (y, x) for a wave (y, x): 1 where that is 1 all over."""
        seen = fft.ifft2(fft.fft2(wave) * transfer)
        rate = seen.real**2 + seen.imag**2
        return np.asarray(1 + np.float32(self.contrast) * (rate - 1), np.float32)
