"""From grains to the rate of electrons, the fast way: nets of columns under soft outlines, on film."""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .material import columns, faceted_crystal, film
from .parameters import LARGEST_JITTER_PX, ScenarioParameters
from .scenes import MOST_GRAINS, Grain

Float = NDArray[np.float32]
_SHARPNESS = np.array([1.2, 1.2], np.float32)
_MASS = np.float32(0.3)  # what a crystal darkens beside its columns, as a share of their contrast
_DARKEST = 0.02
_SMALLEST_PX = 0.5  # radius under which a crystal is gone
# Wavelength at 200 kV and Cs, both in nm, as optics.py has them; not imported, for it loads torch.
_WAVELENGTH_NM, _CS_NM = 0.0025079, 1.2e6


class Imager(Protocol):
    """Draws frames; knows what of a frame a crystal covers."""

    period_px: float

    def coverage(self, grains: list[Grain], shift: tuple[float, float]) -> list[Float]:
        """Share of every pixel that each grain covers, (y, x) each, with the frame shifted by px (y, x)."""

    def areas_px(self, grains: list[Grain], coverage: list[Float], shift: tuple[float, float]) -> list[float]:
        """Area of what each grain covers of the frame, in px²."""

    def rate(
        self,
        grains: list[Grain],
        coverage: list[Float],
        shift: tuple[float, float],
        t: float,
        defocus_nm: float,
    ) -> Generator[None, None, Float]:
        """Rate of electrons (y, x) relative to the empty specimen; yields now and then at work."""

    def fringe_contrast(self, grain: Grain, defocus_nm: float) -> float:
        """Contrast of a grain's fringes, against the first frame at Scherzer's defocus."""


class FastImager:
    """Square nets of columns of any period; 0.1 s a frame of 512².

    Parameters
    ----------
    parameters : ScenarioParameters
    rng : Generator
        Draws the film and where columns begin.
    margin : int
        How far the frame may shift, in px.
    extra : Generator
        Draws the film that the first turns into.
    """

    def __init__(
        self,
        parameters: ScenarioParameters,
        rng: np.random.Generator,
        margin: int,
        extra: np.random.Generator,
    ) -> None:
        p = self._parameters = parameters
        self.period_px = p.period_px
        self._margin = margin
        wide = (p.rows + 2 * margin, p.columns + 2 * margin)
        speckle_px = 2.5 * p.period_px / 20
        self._film = film(rng, wide, speckle_px, p.film)
        self._phases = rng.uniform(0, 2 * np.pi, (MOST_GRAINS, 2)).astype(np.float32)
        self._later_film = film(extra, wide, speckle_px, p.film) if p.film_change else None
        self._y, self._x = (axis.astype(np.float32) for axis in np.ogrid[: p.rows, : p.columns])

    def coverage(self, grains: list[Grain], shift: tuple[float, float]) -> list[Float]:
        """See `Imager`; edges are one pixel soft."""
        return [self._outline(grain, shift) for grain in grains]

    def areas_px(self, grains: list[Grain], coverage: list[Float], shift: tuple[float, float]) -> list[float]:
        """See `Imager`."""
        return [float(share.sum()) for share in coverage]

    def rate(
        self,
        grains: list[Grain],
        coverage: list[Float],
        shift: tuple[float, float],
        t: float,
        defocus_nm: float,
    ) -> Generator[None, None, Float]:
        """See `Imager`."""
        p = self._parameters
        image = 1 + self._moved_film(shift, t)
        for grain, share, phase in zip(grains, coverage, self._phases, strict=False):
            dy, dx = shift[0] + grain.displacement[0], shift[1] + grain.displacement[1]
            net = columns(
                self._y - dy - grain.pivot[0],
                self._x - dx - grain.pivot[1],
                p.period_px,
                np.deg2rad(grain.angle_deg),
                phase,
                _SHARPNESS,
            )
            fringes = np.float32(self.fringe_contrast(grain, defocus_nm)) * net
            image = image - share * np.float32(p.contrast) * (fringes + _MASS)
            yield
        return np.asarray(np.maximum(image, _DARKEST), np.float32)

    def fringe_contrast(self, grain: Grain, defocus_nm: float) -> float:
        """See `Imager`."""
        spacing_nm = self.period_px * self._parameters.pixel_size_nm
        return grain.contrast * (fringe_transfer(defocus_nm, spacing_nm) if defocus_nm else 1.0)

    def _outline(self, grain: Grain, shift: tuple[float, float]) -> Float:
        if min(grain.radii) < _SMALLEST_PX:
            return np.zeros((self._parameters.rows, self._parameters.columns), np.float32)
        dy, dx = shift[0] + grain.displacement[0], shift[1] + grain.displacement[1]
        return faceted_crystal(self._y - dy, self._x - dx, grain.centre, grain.radii)

    def _moved_film(self, shift: tuple[float, float], t: float) -> Float:
        speckle = self._film
        if self._later_film is not None:
            # Turned from one into the other, the film keeps its strength; the share is 1 − correlation.
            turn = t * np.arccos(1 - self._parameters.film_change)
            speckle = np.float32(np.cos(turn)) * speckle + np.float32(np.sin(turn)) * self._later_film
        moved = ndimage.shift(speckle, shift, order=1, mode="nearest")
        inner = slice(self._margin, -self._margin)
        return np.asarray(moved[inner, inner], np.float32)


def fringe_transfer(defocus_nm: float, spacing_nm: float) -> float:
    """Contrast of fringes of a weak phase object against that at Scherzer's defocus: a ratio of sin χ.

    Parameters
    ----------
    defocus_nm : float
        Against Scherzer's; positive is further underfocus.
    spacing_nm : float
        Of the fringes.

    Notes
    -----
    χ = π λ k² (Δf − Cs λ² k² / 2) at k = 1 / spacing: Kirkland (2010), section 3.1. Where fringes vanish at
    Scherzer's defocus, their contrast is against the most there is.
    """
    k2 = spacing_nm**-2.0
    scherzer = np.sqrt(1.5 * _CS_NM * _WAVELENGTH_NM)

    def transfer(defocus: float) -> float:
        return float(np.sin(np.pi * _WAVELENGTH_NM * k2 * (defocus - _CS_NM * _WAVELENGTH_NM**2 * k2 / 2)))

    at_scherzer = transfer(scherzer)
    reference = at_scherzer if abs(at_scherzer) > 0.1 else 1.0
    return transfer(scherzer + defocus_nm) / reference


def margin_px(drift: NDArray[np.float64]) -> int:
    """How far frames may shift in px, drift and jitter together."""
    return LARGEST_JITTER_PX + int(np.ceil(np.abs(drift).max(initial=0)))
