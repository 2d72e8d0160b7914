"""Strain by phase: how the period and direction of a grain's fringes vary from place to place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import fft

from ..errors import LatticeError, ParameterError
from ..progress import Progress, Steps, run
from ..video.outliers import grey_levels, replace_outliers
from ..video.reading import read_frames
from .bragg import BraggMap, bragg_map, grain_spectra, map_noise, without
from .conventions import Double, Symmetry, check_symmetry, first_order_spots, lattice_angle_deg
from .faded import FadedFrame, roomy_grid
from .frame import SMOOTHING
from .grid import Complex, LatticeGrid
from .record import scale_of

REFERENCES = ("mean", "first", "region")
_DIMS = ("time", "y", "x")
_PERCENT = {"exx": "%", "eyy": "%", "exy": "%", "rotation_deg": "deg", "sigma": "%"}
# Fringes weaker than so many times their noise have no phase to speak of.
_LEAST_SIGNAL = 3.0
# Where less than this share of the smoothing's width lies in the grain, its fringes tell little.
_RIM = 0.7
_FEWEST_CELLS = 4
_CENTRINGS, _CENTRED = 6, 5e-5


@dataclass(frozen=True)
class StrainParameters:
    """How strain is mapped, and against what.

    Parameters
    ----------
    smoothing_periods : float
        Standard deviation of the Gaussian that a place is averaged over, in periods.
    reference : str
        What counts as unstrained. "mean": the grain's own mean in each frame. "first": its mean in the
        first frame where it is reliable, turned along with the grain. "region": its mean in `region` in
        each frame.
    region : tuple of int, optional
        First row, last row, first column, last column in px of the video, last ones excluded.

    Raises
    ------
    ParameterError
        A value lies outside its range.
    """

    smoothing_periods: float = 2.5
    reference: str = "mean"
    region: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.smoothing_periods <= 20:
            raise ParameterError(
                f"smoothing_periods is {self.smoothing_periods!r}; give a number from 1 to 20."
            )
        if self.reference not in REFERENCES:
            raise ParameterError(f"reference is {self.reference!r}; give one of {', '.join(REFERENCES)}.")
        if self.reference == "region" and self.region is None:
            raise ParameterError("reference is 'region' and region is None; give its rows and columns.")
        if self.region is not None:
            top, bottom, left, right = self.region
            if not (0 <= top < bottom and 0 <= left < right):
                raise ParameterError(
                    f"region is {self.region!r}; give first row, last row, first column, last column."
                )


@dataclass(frozen=True)
class LocalBasis:
    """The basis of a grain at every place.

    Parameters
    ----------
    basis : ndarray (2, 2, rows, columns)
        Rows g1 and g2, (ky, kx) in cycles per binned px, on presence cells of the padded frame.
    clear : ndarray (rows, columns)
        Amplitude of the weakest fringes over its noise.
    sigma : ndarray (rows, columns)
        Standard error of an entry of the strain tensor.
    """

    basis: Double
    clear: Double
    sigma: Double


def local_basis(frame: FadedFrame, basis: Double, symmetry: Symmetry, sigma: float) -> LocalBasis:
    """Basis at every place from the gradients of the phases of the first-order fringes.

    The phase of c = |c|·exp(iφ) changes by ∇φ = Im(c̄·∇c)/|c|², with the gradient taken in Fourier space: no
    phase is unwrapped. c is demodulated by a whole bin, so that it stays periodic; k(r) = carrier + ∇φ/2π.

    Parameters
    ----------
    frame : FadedFrame
    basis : ndarray (2, 2)
        Mean basis in cycles per binned px.
    symmetry : {4, 6, "any"}
    sigma : float
        What a place is averaged over, in binned px.

    References
    ----------
    Hÿtch, Snoeck & Kilaas 1998, Ultramicroscopy 74, 131.
    """
    spots = first_order_spots(symmetry)
    lengths = [float(np.hypot(*(np.array(spot) @ basis))) for spot in spots]
    noises = [map_noise(frame.noise(length), sigma) for length in lengths]
    vectors, amplitudes = [], []
    for spot in spots:
        one = bragg_map(frame.grid, frame.spectrum, basis, spot, sigma)
        k, amplitude = _local_vector(frame.grid, one)
        vectors.append(k)
        amplitudes.append(amplitude)
    # Three directions over-determine the basis: least squares.
    inverse = np.linalg.pinv(np.array(spots, np.float64))
    clear = np.min([amplitude / noise for amplitude, noise in zip(amplitudes, noises, strict=True)], axis=0)
    length = float(np.hypot(*basis.T).mean())
    # Noise smoothed by a Gaussian of σ has a phase gradient of 1/(√2·σ) times its phase, in one quadrature.
    error = 1 / (4 * np.pi * sigma * length * np.maximum(clear, 1e-6))
    return LocalBasis(np.einsum("gh,hkyx->gkyx", inverse, np.array(vectors)), clear, error)


def _local_vector(grid: LatticeGrid, one: BraggMap) -> tuple[Double, Double]:
    """k(r) of a Bragg map (2, rows, columns) in cycles per binned px, and its amplitude 2|c|."""
    values = one.values.astype(np.complex128)
    spectrum = fft.fft2(values, workers=1)
    down, right = (2j * np.pi / grid.coarse_step * fft.fftfreq(size) for size in values.shape)
    maps = [_to_fine(grid, part) for part in (spectrum, spectrum * down[:, None], spectrum * right)]
    power = np.maximum(np.abs(maps[0]) ** 2, 1e-30)
    gradient = np.stack([(np.conj(maps[0]) * along).imag / power for along in maps[1:]])
    return one.carrier[:, None, None] + gradient / (2 * np.pi), 2 * np.sqrt(power)


def _to_fine(grid: LatticeGrid, spectrum: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """A periodic complex map on presence cells, from its spectrum on coarse cells."""
    shape, fine = spectrum.shape, grid.fine_shape
    centred = fft.fftshift(spectrum)
    before = [large // 2 - small // 2 for large, small in zip(fine, shape, strict=True)]
    padding = [(left, large - small - left) for left, large, small in zip(before, fine, shape, strict=True)]
    spread = fft.ifft2(fft.ifftshift(np.pad(centred, padding)), workers=1)
    return np.asarray(spread * (fine[0] * fine[1] / (shape[0] * shape[1])))


def strain_tensor(local: Double, reference: Double) -> dict[str, Double]:
    """Strain and rotation of a local basis against a reference.

    Fringes displaced by u(r), cos 2πg·(r − u), have the local vector G(r) = G₀·(1 − ∇u): ∇u = 1 − G₀⁻¹·G.

    Parameters
    ----------
    local : ndarray (2, 2, ...)
        Rows g1 and g2, (ky, kx).
    reference : ndarray (2, 2)
        In the same unit.

    Returns
    -------
    dict
        `exx`, `eyy`, `exy` (1, tension positive), `rotation` (rad, from x towards y), each (...).
    """
    gradient = np.eye(2).reshape(2, 2, *(1,) * (local.ndim - 2)) - np.einsum(
        "ij,jk...->ik...", np.linalg.inv(reference), local
    )
    # gradient[j, i] is ∂u_j/∂x_i, with y first.
    return {
        "exx": gradient[1, 1],
        "eyy": gradient[0, 0],
        "exy": 0.5 * (gradient[1, 0] + gradient[0, 1]),
        "rotation": 0.5 * (gradient[0, 1] - gradient[1, 0]),
    }


def strain_maps(
    video: xr.DataArray,
    grains: xr.Dataset,
    grain: int = 0,
    *,
    frames: Sequence[int] | None = None,
    **options: Any,
) -> xr.Dataset:
    """Maps of strain in one grain; see `strain_maps_steps`.

    Parameters
    ----------
    **options
        Fields of `StrainParameters`.
    """
    return run(strain_maps_steps(video, grains, grain, StrainParameters(**options), frames))


def strain_maps_steps(
    video: xr.DataArray,
    grains: xr.Dataset,
    grain: int = 0,
    parameters: StrainParameters | None = None,
    frames: Sequence[int] | None = None,
) -> Steps[xr.Dataset]:
    """Maps of strain in one grain; yields progress by the frame.

    Parameters
    ----------
    video : DataArray (time, y, x)
    grains : Dataset
        Of this video, as `track_grains` returns it.
    grain : int
    parameters : StrainParameters, optional
    frames : sequence of int, optional
        Which frames; all by default.

    Returns
    -------
    Dataset (time, y, x)
        `exx`, `eyy`, `exy` in %, tension positive; `rotation_deg` from x towards y; `sigma` in %, the
        standard error of exx and eyy at one place. NaN where the grain is not, or not reliable. y and x
        are those of `grains`.

    Raises
    ------
    ParameterError
        No such grain, or a region outside the frame.
    LatticeError
        Fringes of one direction tell no strain; or the reference has no place in the grain.
    VideoShapeError, VideoFileError
    """
    parameters = parameters or StrainParameters()
    scale = scale_of(video)
    kind = str(grains.attrs["symmetry"])
    symmetry = check_symmetry(kind if kind == "any" else int(kind))
    if symmetry == 2:
        raise LatticeError(
            "Fringes of one direction tell no strain tensor; track the grains with symmetry 4."
        )
    if not 0 <= grain < grains.sizes["grain"]:
        raise ParameterError(f"grain is {grain!r}; give 0 to {grains.sizes['grain'] - 1}.")
    if grains.sizes["time"] != len(video):
        raise ParameterError(
            f"The grains are of {grains.sizes['time']} frames, the video has {len(video)}; track this video."
        )
    grid = LatticeGrid((video.shape[1], video.shape[2]), float(grains.attrs["period_px"]))
    picks = list(range(len(video))) if frames is None else [int(one) % len(video) for one in frames]
    work = _StrainWork(video, grains, grid, symmetry, parameters, scale.pixel * grid.binning)
    first = None
    if parameters.reference == "first":
        first = work.first_reference(grain)
    maps = {name: np.full((len(picks), *grid.cells), np.nan, np.float32) for name in _PERCENT}
    for number, frame in enumerate(picks):
        yield Progress(number, len(picks), "Mapping the strain")
        found = work.local(frame, grain)
        if found is not None:
            for name, values in work.frame_maps(found, first).items():
                maps[name][number] = values
    coords = {name: grains[name] for name in ("y", "x")}
    coords["time"] = grains["time"][picks]
    return xr.Dataset(
        {name: (_DIMS, values, {"units": _PERCENT[name]}) for name, values in maps.items()},
        coords=coords,
        attrs={
            "grain": grain,
            "reference": parameters.reference,
            "smoothing_px": parameters.smoothing_periods * grid.period_px,
        },
    )


@dataclass(frozen=True)
class _StrainWork:
    """What all frames of a strain map share; `scale` is the side of a binned pixel in the grains' unit."""

    video: xr.DataArray
    grains: xr.Dataset
    grid: LatticeGrid
    symmetry: Symmetry
    parameters: StrainParameters
    scale: float

    def local(self, frame: int, grain: int) -> tuple[LocalBasis, NDArray[np.bool_]] | None:
        """Local basis of a grain in a frame and where it is told; None where it is not reliable."""
        reliable = self.grains["reliable"][frame].values
        image = read_frames(self.video, slice(frame, frame + 1))
        if not reliable[grain] or not np.isfinite(image).all():
            return None
        sigma = self.parameters.smoothing_periods * self.grid.period
        roomy = roomy_grid(self.grid.frame, self.grid.period_px, sigma * self.grid.binning)
        faded = FadedFrame.of(replace_outliers(image, grey_levels(image))[0], roomy)
        bases = self.grains["basis"][frame].values * self.scale
        masks = self.grains["presence"][frame].values
        others: list[tuple[Any, Complex]] = []
        for other in np.flatnonzero(reliable):
            if other != grain:
                others += self._spectra(faded, bases[other], masks[other])
        rows, columns = self.grid.cells
        basis, where = bases[grain], masks[grain]
        with without(faded.spectrum, others):
            # Masks that are not centred on a grain's spots draw its phases at its edges: they are centred
            # again on the mean that the first ones find.
            for _ in range(_CENTRINGS):
                found = local_basis(faded, basis, self.symmetry, sigma)
                clear = found.clear[:rows, :columns]
                core = float(np.percentile(clear[masks[grain]], 90)) if masks[grain].any() else 0.0
                where = masks[grain] & (clear > max(_LEAST_SIGNAL, _RIM * core))
                if not where.any():
                    break
                mean = found.basis[:, :, :rows, :columns][:, :, where].mean(axis=-1)
                off, basis = np.abs(mean - basis).max(), mean
                if off < _CENTRED * np.abs(mean).max():
                    break
        return found, where

    def _spectra(
        self, frame: FadedFrame, basis: Double, mask: NDArray[np.bool_]
    ) -> list[tuple[Any, Complex]]:
        """What another grain adds to the spectrum."""
        grid, sigma = frame.grid, SMOOTHING * frame.grid.period
        spots = first_order_spots(self.symmetry)
        maps = [bragg_map(grid, frame.spectrum, basis, spot, sigma) for spot in spots]
        padded = np.zeros(grid.fine_shape, np.float32)
        padded[: mask.shape[0], : mask.shape[1]] = mask
        cover = np.clip(grid.to_coarse(padded, 0.5 * grid.coarse_step), 0, 1).astype(np.float32)
        return grain_spectra(grid, maps, cover, sigma)

    def first_reference(self, grain: int) -> Double | None:
        """Mean basis in the first frame where the grain is reliable; None where it never is."""
        for frame in np.flatnonzero(self.grains["reliable"][:, grain].values):
            found = self.local(int(frame), grain)
            if found is not None:
                return self.reference(found)
        return None

    def reference(self, found: tuple[LocalBasis, NDArray[np.bool_]]) -> Double:
        """Mean basis over the grain, or over the part of it in the region."""
        local, where = found
        if self.parameters.reference == "region" and self.parameters.region is not None:
            top, bottom, left, right = self.parameters.region
            rows, columns = (self.grid.centres(axis) for axis in (0, 1))
            inside = [(rows >= top) & (rows < bottom), (columns >= left) & (columns < right)]
            where = where & np.logical_and.outer(*inside)
        if np.count_nonzero(where) < _FEWEST_CELLS:
            raise LatticeError(
                "The reference of the strain has no place in the grain; give a region inside it, or its mean."
            )
        cells = local.basis[:, :, : where.shape[0], : where.shape[1]]
        return np.asarray(cells[:, :, where].mean(axis=-1))

    def frame_maps(
        self, found: tuple[LocalBasis, NDArray[np.bool_]], first: Double | None
    ) -> dict[str, Double]:
        """Strain in % and rotation in degrees on presence cells of the frame, NaN outside the grain."""
        local, where = found
        reference, turned = self.reference(found), 0.0
        if first is not None:
            angles = lattice_angle_deg(np.stack([reference, first]), self.symmetry)
            turned = float(angles[0] - angles[1])
            c, s = np.cos(np.deg2rad(turned)), np.sin(np.deg2rad(turned))
            reference = first @ np.array([[c, -s], [s, c]])
        rows, columns = self.grid.cells
        tensor = strain_tensor(local.basis[:, :, :rows, :columns], reference)
        maps = {name: 100 * tensor[name] for name in ("exx", "eyy", "exy")}
        maps["rotation_deg"] = np.rad2deg(tensor["rotation"]) + turned
        maps["sigma"] = 100 * local.sigma[:rows, :columns]
        return {name: np.where(where, values, np.nan) for name, values in maps.items()}
