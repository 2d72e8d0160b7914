"""From grains to the rate of electrons by multislice: blocks of PbS, layer by layer, on amorphous carbon."""

from __future__ import annotations

from collections.abc import Generator
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from .atoms import Atoms, Cluster, together
from .multislice import image_atoms_steps
from .optics import Microscope
from .parameters import ScenarioParameters
from .scenes import Grain
from .structures import amorphous_carbon

Float = NDArray[np.float32]
_FILM_NM = 2.0
_GAP_NM = 0.2
_SLACK = 1e-6  # of a column: cells that fit exactly are held


class AtomicImager:
    """Crystals are blocks of whole columns along their own {100} faces; they shrink and grow by layers.

    Parameters
    ----------
    parameters : ScenarioParameters
        Its `period_px` is that of PbS.
    rng : Generator
        Draws the film.
    margin : int
        How far the frame may shift, in px.
    """

    def __init__(self, parameters: ScenarioParameters, rng: np.random.Generator, margin: int) -> None:
        p = self._parameters = parameters
        self.period_px = p.period_px
        self._margin_nm = margin * p.pixel_size_nm
        self._field_nm = (p.columns * p.pixel_size_nm, p.rows * p.pixel_size_nm)
        self._layers = max(1, round(p.thickness_nm / (p.period_px * p.pixel_size_nm)))
        self._depth_nm = self._layers * p.period_px * p.pixel_size_nm + _GAP_NM
        self._films: list[Cluster] = []
        if p.film:
            width, height = (side + 2 * self._margin_nm for side in self._field_nm)
            extent = (width, height, _FILM_NM)
            self._films = [amorphous_carbon(rng, extent) for _ in range(2 if p.film_change else 1)]
            # Atoms are replaced in this order.
            self._turn = rng.random(len(self._films[0].symbols))
        self._microscope = Microscope()
        self._y, self._x = np.ogrid[: p.rows, : p.columns]

    def coverage(self, grains: list[Grain], shift: tuple[float, float]) -> list[Float]:
        """See `Imager`: the cells of the columns, 1 or 0 at the middle of each pixel."""
        return [self._covered(grain, shift) for grain in grains]

    def areas_px(self, grains: list[Grain], coverage: list[Float], shift: tuple[float, float]) -> list[float]:
        """See `Imager`: columns times their cell; of a crystal that the frame cuts, the pixels shown."""
        areas = []
        for grain, share in zip(grains, coverage, strict=True):
            (v0, v1), (u0, u1) = _block(grain, self.period_px)
            y, x = self._place(
                grain, shift, np.array([v0, v0, v1, v1]) - 0.5, np.array([u0, u1, u0, u1]) - 0.5
            )
            whole = (
                min(y.min(), x.min()) >= -0.5
                and y.max() <= self._parameters.rows - 0.5
                and x.max() <= self._parameters.columns - 0.5
            )
            columns = (v1 - v0) * (u1 - u0)
            areas.append(columns * self.period_px**2 if whole else float(share.sum()))
        return areas

    def rate(
        self,
        grains: list[Grain],
        coverage: list[Float],
        shift: tuple[float, float],
        t: float,
        defocus_nm: float,
    ) -> Generator[None, None, Float]:
        """See `Imager`; yields by the slice."""
        p = self._parameters
        clusters = [self._crystal(grain, shift) for grain in grains]
        if self._films:
            clusters.append(self._film(t, shift))
        width, height = self._field_nm
        atoms = together(clusters)
        x, y, _ = atoms.positions_nm.T
        atoms = atoms.where((x >= 0) & (x <= width) & (y >= 0) & (y <= height))
        if not len(atoms.symbols):
            return np.ones((p.rows, p.columns), np.float32)
        depth = self._depth_nm + (_FILM_NM if self._films else 0)
        steps = image_atoms_steps(
            Atoms(atoms.positions_nm, atoms.symbols, (width, height, depth)),
            Microscope(defocus_nm=self._microscope.scherzer_nm + defocus_nm),
            p.pixel_size_nm,
            (p.rows, p.columns),
            p.device,
        )
        while True:
            try:
                next(steps)
            except StopIteration as end:
                image: Float = end.value
                return image
            yield

    def fringe_contrast(self, grain: Grain, defocus_nm: float) -> float:
        """The share of its layers that a grain still has."""
        return self._layers_of(grain) / self._layers

    def _layers_of(self, grain: Grain) -> int:
        return round(grain.contrast * self._layers)

    def _crystal(self, grain: Grain, shift: tuple[float, float]) -> Cluster:
        """Rock salt along ⟨100⟩: in a net of half the lattice constant, lead and sulphur take turns."""
        (v0, v1), (u0, u1) = _block(grain, self.period_px)
        j, i, k = np.mgrid[v0:v1, u0:u1, : self._layers_of(grain)].reshape(3, -1)
        y, x = self._place(grain, shift, j, i)
        spacing_nm = self.period_px * self._parameters.pixel_size_nm
        nm = self._parameters.pixel_size_nm
        return Cluster(
            np.stack([x * nm, y * nm, (k + 0.5) * spacing_nm], 1),
            np.where((i + j + k) % 2 == 0, "Pb", "S"),
        )

    def _place(
        self, grain: Grain, shift: tuple[float, float], j: NDArray[np.generic], i: NDArray[np.generic]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pixel positions y, x of columns j, i of a grain; its pivot lies between columns."""
        angle = np.deg2rad(grain.angle_deg)
        v, u = (self.period_px * (np.asarray(one, np.float64) + 0.5) for one in (j, i))
        y = grain.pivot[0] + grain.displacement[0] + shift[0] + np.sin(angle) * u + np.cos(angle) * v
        x = grain.pivot[1] + grain.displacement[1] + shift[1] + np.cos(angle) * u - np.sin(angle) * v
        return np.asarray(y), np.asarray(x)

    def _covered(self, grain: Grain, shift: tuple[float, float]) -> Float:
        angle = np.deg2rad(grain.angle_deg)
        y = self._y - (grain.pivot[0] + grain.displacement[0] + shift[0])
        x = self._x - (grain.pivot[1] + grain.displacement[1] + shift[1])
        (v0, v1), (u0, u1) = _block(grain, self.period_px)
        i = (np.cos(angle) * x + np.sin(angle) * y) / self.period_px
        j = (-np.sin(angle) * x + np.cos(angle) * y) / self.period_px
        here = (i >= u0) & (i < u1) & (j >= v0) & (j < v1) & (self._layers_of(grain) > 0)
        return np.asarray(here, np.float32)

    def _film(self, t: float, shift: tuple[float, float]) -> Cluster:
        """The film under the crystals, some of its atoms already elsewhere."""
        first, later = self._films[0], self._films[-1]
        gone = self._turn < t * self._parameters.film_change
        positions = np.where(gone[:, None], later.positions_nm, first.positions_nm)
        nm = self._parameters.pixel_size_nm
        corner = (shift[1] * nm - self._margin_nm, shift[0] * nm - self._margin_nm, self._depth_nm)
        return Cluster(positions, first.symbols).moved(corner)


def _block(grain: Grain, period_px: float) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last + 1 of the columns along v and u whose cells the outline holds, from the pivot."""
    bounds = []
    for centre, pivot, radius in zip(grain.centre, grain.pivot, grain.radii, strict=True):
        middle = (centre - pivot) / period_px
        first = ceil(middle - radius / period_px - _SLACK)
        bounds.append((first, max(first, floor(middle + radius / period_px + _SLACK))))
    return bounds[0], bounds[1]
