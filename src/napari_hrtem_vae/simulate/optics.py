"""The microscope: aberrations and coherence, from an exit wave to the image."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import ParameterError

Float = NDArray[np.float32]
_RANGES = {
    "energy_kev": (10.0, 3000.0),
    "cs_mm": (-100.0, 100.0),
    "defocus_nm": (-1e4, 1e4),
    "focal_spread_nm": (0.0, 1e3),
    "angular_spread_mrad": (0.0, 20.0),
    "aperture_mrad": (0.1, 200.0),
    "astigmatism_nm": (-1e3, 1e3),
    "astigmatism_deg": (-360.0, 360.0),
    "coma_nm": (-1e5, 1e5),
    "coma_deg": (-360.0, 360.0),
}


@dataclass(frozen=True)
class Microscope:
    """How a transmission electron microscope images an exit wave.

    Parameters
    ----------
    energy_kev : float
        Of the electrons, in keV.
    cs_mm : float
        Third-order spherical aberration in mm.
    defocus_nm : float, optional
        In nm; positive is underfocus (a weaker lens), where Scherzer's lies for a positive Cs. None is
        Scherzer's, √(3/2 |Cs| λ) with the sign of Cs.
    focal_spread_nm : float
        1/e half-width of the spread of focus, √2 times its standard deviation, in nm.
    angular_spread_mrad : float
        1/e half-width of the angles of illumination, in mrad.
    aperture_mrad : float
        Half-angle of the objective aperture in mrad.
    astigmatism_nm, astigmatism_deg : float
        Twofold astigmatism: half the distance of its foci in nm, and its direction from x towards y.
    coma_nm, coma_deg : float
        Axial coma (C21 of Krivanek's notation) in nm, and its direction from x towards y.

    Raises
    ------
    ParameterError
        A value is no number or lies outside its range.
    """

    energy_kev: float = 200.0
    cs_mm: float = 1.2
    defocus_nm: float | None = None
    focal_spread_nm: float = 8.0
    angular_spread_mrad: float = 0.5
    aperture_mrad: float = 25.0
    astigmatism_nm: float = 0.0
    astigmatism_deg: float = 0.0
    coma_nm: float = 0.0
    coma_deg: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value, (least, most) = getattr(self, field.name), _RANGES[field.name]
            if value is None and field.name == "defocus_nm":
                continue
            if not (isinstance(value, int | float | np.integer | np.floating) and least <= value <= most):
                raise ParameterError(f"{field.name} is {value!r}; give a number from {least:g} to {most:g}.")

    @property
    def wavelength_nm(self) -> float:
        """Of the electrons, in nm."""
        return wavelength_nm(self.energy_kev)

    @property
    def scherzer_nm(self) -> float:
        """Scherzer's defocus in nm."""
        return scherzer_nm(self.energy_kev, self.cs_mm)

    @property
    def used_defocus_nm(self) -> float:
        """The defocus asked for, or Scherzer's."""
        return self.scherzer_nm if self.defocus_nm is None else float(self.defocus_nm)


def wavelength_nm(energy_kev: float) -> float:
    """Relativistic wavelength of electrons in nm."""
    volts = 1e3 * energy_kev
    return float(1.2264259 / np.sqrt(volts * (1 + 0.97847e-6 * volts)))


def interaction_per_volt_nm(energy_kev: float) -> float:
    """Phase by potential along the beam, rad / (V nm): Kirkland (2010), equation 5.6."""
    volts, rest = 1e3 * energy_kev, 510998.95
    return float(2 * np.pi / (wavelength_nm(energy_kev) * volts) * (rest + volts) / (2 * rest + volts))


def scherzer_nm(energy_kev: float, cs_mm: float) -> float:
    """Scherzer's defocus √(3/2 |Cs| λ) in nm, with the sign of Cs: underfocus is positive."""
    cs_nm = 1e6 * cs_mm
    return float(np.sign(cs_nm) * np.sqrt(1.5 * abs(cs_nm) * wavelength_nm(energy_kev)))


def transfer(shape: tuple[int, int], field_nm: tuple[float, float], microscope: Microscope) -> torch.Tensor:
    """Transfer function of the microscope over the Fourier plane of a wave.

    Phase exp(−iχ), χ = 2π W(λk) / λ, times the envelopes of temporal and spatial coherence and the aperture:
    Kirkland (2010), section 3.2, generalised to aberrations without symmetry by the gradient of W.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    field_nm : tuple of float
        Extent of the field along y and x, in nm.
    microscope : Microscope

    Returns
    -------
    Tensor (y, x), complex64
        With zero frequency first, as of `torch.fft`.
    """
    m, wavelength = microscope, microscope.wavelength_nm
    v, u = (
        wavelength * np.fft.fftfreq(count, extent / count)
        for count, extent in zip(shape, field_nm, strict=True)
    )
    v = v[:, None]
    angle2 = u**2 + v**2
    focus, cs = -m.used_defocus_nm, 1e6 * m.cs_mm
    astigmatism = m.astigmatism_nm * np.exp(2j * np.deg2rad(m.astigmatism_deg))
    coma = m.coma_nm * np.exp(1j * np.deg2rad(m.coma_deg))
    cos2, sin2 = float(astigmatism.real), float(astigmatism.imag)
    coma_u, coma_v = float(coma.real), float(coma.imag)
    along = coma_u * u + coma_v * v
    path = (
        0.5 * (focus * angle2 + cos2 * (u**2 - v**2) + 2 * sin2 * u * v)
        + angle2 * along / 3
        + 0.25 * cs * angle2**2
    )
    slope_u = (focus + cs * angle2) * u + cos2 * u + sin2 * v + (2 * u * along + angle2 * coma_u) / 3
    slope_v = (focus + cs * angle2) * v - cos2 * v + sin2 * u + (2 * v * along + angle2 * coma_v) / 3
    spatial = np.pi * 1e-3 * m.angular_spread_mrad / wavelength
    temporal = 0.5 * np.pi * m.focal_spread_nm / wavelength
    damped = np.exp(-(spatial**2) * (slope_u**2 + slope_v**2) - (temporal * angle2) ** 2)
    damped = damped * (angle2 < (1e-3 * m.aperture_mrad) ** 2)
    function = damped * np.exp(-2j * np.pi / wavelength * path)
    return torch.from_numpy(function.astype(np.complex64))


def image_wave(wave: torch.Tensor, field_nm: tuple[float, float], microscope: Microscope) -> Float:
    """Noise-free image of an exit wave: intensity, 1 where nothing stands in the beam.

    Parameters
    ----------
    wave : Tensor (y, x), complex64
        As `exit_wave` gives it.
    field_nm : tuple of float
        Its extent along y and x, in nm.
    microscope : Microscope

    Returns
    -------
    ndarray (y, x), float32
    """
    function = transfer((wave.shape[0], wave.shape[1]), field_nm, microscope).to(wave.device)
    seen = torch.fft.ifft2(torch.fft.fft2(wave) * function)
    return np.asarray((seen.real**2 + seen.imag**2).cpu().numpy(), np.float32)


def resample(image: Float, shape: tuple[int, int]) -> Float:
    """A periodic image on another number of pixels by its Fourier series; the corner pixel stays.

    Exact where neither grid is coarser than the image: what an aperture of half-angle α lets through holds
    no detail under λ / 2α.
    """
    from scipy import fft

    if image.shape == shape:
        return image
    spectrum = fft.rfft2(image)
    rows = (min(image.shape[0], shape[0]) - 1) // 2
    columns = (min(image.shape[1], shape[1]) + 1) // 2
    kept = np.zeros((shape[0], shape[1] // 2 + 1), np.complex64)
    kept[: rows + 1, :columns] = spectrum[: rows + 1, :columns]
    if rows:
        kept[-rows:, :columns] = spectrum[-rows:, :columns]
    kept *= np.float32(shape[0] * shape[1] / image.size)
    return np.asarray(fft.irfft2(kept, s=shape), np.float32)
