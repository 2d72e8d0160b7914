"""Outlines of grains that move evenly, told by the fringes of many frames less the film that stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import fft, ndimage

from ..progress import Progress, Steps
from ..video.outliers import GreyLevels, grey_levels, replace_outliers
from ..video.reading import read_frames
from .bragg import BraggMap, bragg_map, grain_spectra, without
from .conventions import Double, check_symmetry, first_order_spots
from .frame import SMOOTHING
from .grid import Complex, Float, LatticeGrid

Index = tuple[int, int]
# In periods: blur of the maps that tell the outline, and of those that carry a grain's phase beyond it.
_BLUR, _REACH = 1.0, 2.0
_DEEP = 0.97
_PASSES = 6
# Of each pass, corrections are averaged over so much (periods); many passes bring finer ones too.
_SPREAD = 1.5
# A film as strong as the noise of one frame is told from so many frames by their mean over their number + 1;
# it is somewhat weaker than that at 10 electrons a pixel.
_FILM = 2.3
# Weight of the outline that the masks gave, in frames.
_HELD = 0.3


@dataclass(frozen=True)
class Course:
    """An outline that moves evenly: where depth + speed·moment is positive, there is the grain.

    Parameters
    ----------
    depth : ndarray (y, x)
        Distance to the outline at moment 0 in presence cells, positive inside.
    speed : ndarray (y, x)
        In cells per unit of time.
    """

    depth: Double
    speed: Double

    def at(self, moment: float) -> Double:
        """Depth at a moment."""
        return np.asarray(self.depth + self.speed * moment)


@dataclass(frozen=True)
class Fringes:
    """The fringes of one grain in some frames, where they lay in the first of the frames compared.

    Parameters
    ----------
    values : ndarray (time, spot, rows, columns), complex64
        Bragg maps on coarse cells, other grains taken off, each spot's of all frames at one carrier.
    phases : ndarray (time, spot, rows, columns), complex64
        Of the grain's own fringes, carried on beyond its edge; modulus 1.
    cores : ndarray (time, spot)
        Modulus of the maps inside the grain.
    free : ndarray (rows, columns)
        0 where another grain is so near that it disturbs the maps, else 1.
    views : ndarray (time, y, x), bool
        Which presence cells (of the padded frame) each frame shows.
    """

    values: Complex
    phases: Complex
    cores: Double
    free: Float
    views: NDArray[np.bool_]

    def part(self, rows: Sequence[int]) -> Fringes:
        """Those of some of the frames."""
        chosen = list(rows)
        return Fringes(
            self.values[chosen], self.phases[chosen], self.cores[chosen], self.free, self.views[chosen]
        )


def fringes_steps(
    video: xr.DataArray,
    grains: xr.Dataset,
    frames: Sequence[int],
    masks: dict[int, NDArray[np.bool_]],
    shifts: dict[int, Double],
) -> Steps[list[Fringes]]:
    """Fringes of each grain in some frames; yields progress by the frame.

    Parameters
    ----------
    video : DataArray (time, y, x)
        What `grains` were tracked in.
    grains : Dataset
        As `track_grains` returns it, all grains reliable in `frames`.
    masks : dict
        Presence (grain, y, x) in each frame.
    shifts : dict
        Displacement (dy, dx) of the specimen in each frame, in px.
    """
    reader = _FringeReader.of(video, grains)
    count = grains.sizes["grain"]
    shape = (len(frames), len(reader.spots), *reader.grid.coarse_shape)
    values, phases = ([np.empty(shape, np.complex64) for _ in range(count)] for _ in range(2))
    cores = np.empty((count, *shape[:2]))
    covers = np.zeros((count, *reader.grid.coarse_shape), np.float32)
    views = np.zeros((len(frames), *reader.grid.fine_shape), bool)
    carriers: dict[tuple[int, int], Double] = {}
    for row, frame in enumerate(frames):
        yield Progress(row, len(frames), "Reading the fringes")
        shift = shifts[frame]
        views[row] = reader.view(shift)
        spectrum = reader.spectrum(frame)
        bases, present = reader.bases(frame), reader.padded(masks[frame])
        parts = [reader.parts(spectrum, basis, mask) for basis, mask in zip(bases, present, strict=True)]
        for grain, (basis, mask) in enumerate(zip(bases, present, strict=True)):
            others = [part for other in range(count) if other != grain for part in parts[other]]
            cover = np.clip(reader.moved(reader.cover(mask), shift), 0, 1)
            covers[grain] = np.maximum(covers[grain], cover)
            with without(spectrum, others):
                for spot, index in enumerate(reader.spots):
                    one = bragg_map(reader.grid, spectrum, basis, index, _BLUR * reader.grid.period)
                    carrier = carriers.setdefault((grain, spot), one.carrier)
                    exact = np.array(index, np.float64) @ basis
                    found = reader.in_phase(one, shift, exact, cover)
                    values[grain][row, spot] = found[0] * reader.wave(exact - carrier)
                    phases[grain][row, spot] = found[1] * reader.wave(exact - carrier)
                    cores[grain, row, spot] = found[2]
    result = []
    for grain in range(count):
        near = np.zeros(reader.grid.coarse_shape, np.float32)
        for other in range(count):
            if other != grain:
                near = np.maximum(near, reader.grid.blur_coarse(covers[other], reader.grid.period))
        free = np.clip(1 - 2 * near, 0, 1)
        result.append(Fringes(values[grain], phases[grain], cores[grain], free, views))
    return result


@dataclass
class _FringeReader:
    """What all frames share; `scale` is the side of a binned pixel in the grains' unit."""

    video: xr.DataArray
    grains: xr.Dataset
    grid: LatticeGrid
    spots: Sequence[Index]
    scale: float
    levels: GreyLevels | None = None

    @classmethod
    def of(cls, video: xr.DataArray, grains: xr.Dataset) -> _FringeReader:
        grid = grid_of(video, grains)
        kind = str(grains.attrs["symmetry"])
        symmetry = check_symmetry(kind if kind == "any" else int(kind))
        scale = float(grains.attrs.get("pixel_size_nm") or 1.0) * grid.binning
        return cls(video, grains, grid, first_order_spots(symmetry), scale)

    def spectrum(self, frame: int) -> Complex:
        image = read_frames(self.video, slice(frame, frame + 1))
        if self.levels is None:
            self.levels = grey_levels(image)
        return self.grid.spectrum(replace_outliers(image, self.levels)[0])

    def bases(self, frame: int) -> list[Double]:
        return list(self.grains["basis"][frame].values * self.scale)

    def padded(self, masks: NDArray[np.bool_]) -> Float:
        """Masks (grain, y, x) on the cells of the padded frame."""
        padded = np.zeros((len(masks), *self.grid.fine_shape), np.float32)
        padded[:, : masks.shape[1], : masks.shape[2]] = masks
        return padded

    def cover(self, mask: Float) -> Float:
        return np.asarray(np.clip(self.grid.to_coarse(mask, 0.5 * self.grid.coarse_step), 0, 1))

    def parts(self, spectrum: Complex, basis: Double, mask: Float) -> list[tuple[Any, Complex]]:
        """What a grain adds to the spectrum."""
        sigma = SMOOTHING * self.grid.period
        maps = [bragg_map(self.grid, spectrum, basis, index, sigma) for index in self.spots]
        return grain_spectra(self.grid, maps, self.cover(mask), sigma)

    def view(self, shift: Double) -> NDArray[np.bool_]:
        """The presence cells that lie in a frame displaced by `shift` px."""
        inside = []
        for axis, count in enumerate(self.grid.fine_shape):
            place = np.arange(count) + shift[axis] / self.grid.cell_px
            seen = (place > -0.5) & (place < self.grid.cells[axis] - 0.5)
            inside.append(seen & (np.arange(count) < self.grid.cells[axis]))
        return np.asarray(inside[0][:, None] & inside[1])

    def wave(self, k: Double) -> Complex:
        """exp(2πi·k·r) on coarse cells, k in cycles per binned px."""
        rows, columns = (
            np.exp(2j * np.pi * along * step * np.arange(count))
            for along, count, step in zip(k, self.grid.coarse_shape, [self.grid.coarse_step] * 2, strict=True)
        )
        return np.asarray(np.outer(rows, columns), np.complex64)

    def moved(self, values: Float, shift: Double) -> Float:
        """A real map of what lies `shift` px further on."""
        if not shift.any():
            return values
        return np.asarray(self._moved(values, shift).real, np.float32)

    def _moved(self, values: NDArray[Any], shift: Double) -> Complex:
        cells = shift / (self.grid.binning * self.grid.coarse_step)
        rows, columns = (
            np.exp(2j * np.pi * by * fft.fftfreq(count))
            for by, count in zip(cells, values.shape, strict=True)
        )
        moved = fft.ifft2(fft.fft2(values, workers=1) * np.outer(rows, columns), workers=1)
        return np.asarray(moved, np.complex64)

    def in_phase(
        self, one: BraggMap, shift: Double, exact: Double, cover: Float
    ) -> tuple[Complex, Complex, float]:
        """A map where the specimen lay at first, at the carrier `exact`; its phase; its modulus inside."""
        values = one.values
        if shift.any():
            turned = np.exp(2j * np.pi * float(one.carrier @ shift) / self.grid.binning)
            values = np.asarray(self._moved(values, shift) * np.complex64(turned))
        values = values * self.wave(one.carrier - exact)
        inside = values * cover
        parts = (np.ascontiguousarray(part) for part in (inside.real, inside.imag))
        real, imaginary = (self.grid.blur_coarse(part, _REACH * self.grid.period) for part in parts)
        carried = real + 1j * imaginary
        phase = np.asarray(carried / np.maximum(np.abs(carried), 1e-12), np.complex64)
        share = self.grid.blur_coarse(cover, _BLUR * self.grid.period)
        deep = share >= min(_DEEP, 0.9 * float(share.max()))
        core = np.median((values * phase.conj()).real[deep] / np.maximum(share[deep], 1e-3))
        return values, phase, max(float(core), 1e-12)


def grid_of(video: xr.DataArray, grains: xr.Dataset) -> LatticeGrid:
    """The grid that grains were tracked on."""
    return LatticeGrid((video.shape[1], video.shape[2]), float(grains.attrs["period_px"]))


def refine_course_steps(
    grid: LatticeGrid, fringes: Fringes, course: Course, moments: Double
) -> Steps[Course]:
    """Move an outline until the grain that it bounds, blurred, has the fringes that are seen.

    What is left of the fringes' maps beside the grain's own, averaged over the frames, is the film: it stays
    while the lattice turns and its edge moves. Without it, places of the outline and their speeds follow by
    least squares, in passes.

    Parameters
    ----------
    course : Course
        To start from, on the presence cells of the frame.
    moments : ndarray (time,)
        Of the frames of `fringes`.
    """
    rows, columns = course.depth.shape
    depth, speed = (np.pad(one, _margins(one, grid), mode="edge") for one in (course.depth, course.speed))
    every = grid.coarse_step // grid.fine_step
    blur = _BLUR * grid.period
    # A blurred edge is this steep: share of the inside per cell.
    steep = grid.fine_step / (np.sqrt(2 * np.pi) * blur)
    spread = _SPREAD * grid.period / grid.coarse_step
    width = blur / grid.fine_step
    film = np.zeros(fringes.values.shape[1:], np.complex64)
    for number in range(_PASSES):
        sums = np.zeros((5, *grid.coarse_shape))
        left = np.zeros_like(film)
        for row, moment in enumerate(moments):
            yield Progress(number * len(moments) + row, _PASSES * len(moments), "Fitting the outlines")
            now = depth + speed * moment
            share = grid.to_coarse((np.clip(now + 0.5, 0, 1) * fringes.views[row]).astype(np.float32), blur)
            phases, cores = fringes.phases[row], fringes.cores[row][:, None, None]
            rest = fringes.values[row] - (cores * phases * share).astype(np.complex64)
            left += rest
            off = ((rest - film) * phases.conj()).real / cores
            away = np.clip(off.mean(0) / steep, -2 * width, 2 * width)
            weight = np.exp(-0.5 * (now[::every, ::every] / width) ** 2) * fringes.free
            for total, factor in zip(sums, (moment * away, away, moment**2, moment, 1.0), strict=True):
                total += weight * factor
        film = left / np.float32(len(moments) + _FILM)
        by_time, once, s2, s1, s0 = (ndimage.gaussian_filter(one, spread) for one in sums)
        s0, s1, s2 = (
            one + _HELD * power
            for one, power in zip((s0, s1, s2), (1, moments.mean(), (moments**2).mean()), strict=True)
        )
        spanned = s0 * s2 - s1**2
        depth = depth + grid.to_fine(((s2 * once - s1 * by_time) / spanned).astype(np.float32))
        speed = speed + grid.to_fine(((s0 * by_time - s1 * once) / spanned).astype(np.float32))
    return Course(depth[:rows, :columns], speed[:rows, :columns])


def _margins(values: Double, grid: LatticeGrid) -> list[tuple[int, int]]:
    return [(0, whole - size) for whole, size in zip(grid.fine_shape, values.shape, strict=True)]
