"""The wave behind atoms, by multislice (Cowley & Moodie, Acta Cryst. 10, 609, 1957), and its image."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft

from ..errors import DeviceError, ParameterError
from ..io.memory import memory_budget
from ..progress import Progress, Steps, relabel, run
from .atoms import Atoms
from .elements import scattering_factor, thermal_nm
from .optics import Microscope, image_wave, interaction_per_volt_nm, resample, wavelength_nm

Float = NDArray[np.float32]
# With thermal smearing, images of waves at 0.014 nm and at half of it correlate to 0.9999 (PbS, 5 nm).
WAVE_PIXEL_NM = 0.014
SLICE_NM = 0.2
# h² / (2π m₀ e), from scattering factors in Å to potentials in V Å².
_POTENTIAL = 47.877645145863056
# Products of so many atoms and orders take a fraction of a second: between them work can stop.
_ATOMS_AT_ONCE = 4096
_PRODUCTS_AT_ONCE = 1e9
# Waves, potentials and what transforms of them take, measured.
_BYTES_PER_PIXEL = 170


def image_atoms(
    atoms: Atoms,
    microscope: Microscope,
    pixel_size_nm: float,
    shape: tuple[int, int],
    device: str = "cpu",
) -> Float:
    """Noise-free HRTEM image of atoms, by multislice.

    The field is `shape` pixels; the box of the atoms lies in its upper left corner, so that an atom at
    (x, y) nm stands at pixel (y, x) / `pixel_size_nm`, and what the box leaves is vacuum. The field repeats:
    leave as much room around the atoms as the defocus spreads their fringes.

    Parameters
    ----------
    atoms : Atoms
    microscope : Microscope
    pixel_size_nm : float
        In nm; the wave itself is computed on pixels of 0.014 nm or finer.
    shape : tuple of int
        Rows and columns of the image.
    device : str
        "cpu", "cuda", "cuda:1", "mps", or "auto".

    Returns
    -------
    ndarray (y, x), float32
        Intensity; 1 where nothing stands in the beam.

    Raises
    ------
    ParameterError
        The box is larger than the field, the pixels are too coarse for the aperture, or the image takes more
        than half of the free memory.
    DeviceError
        There is no such device here.
    """
    return run(image_atoms_steps(atoms, microscope, pixel_size_nm, shape, device))


def image_atoms_steps(
    atoms: Atoms,
    microscope: Microscope,
    pixel_size_nm: float,
    shape: tuple[int, int],
    device: str = "cpu",
) -> Steps[Float]:
    """`image_atoms` as a generator that yields progress by the slice."""
    _check_field(atoms, microscope, pixel_size_nm, shape)
    field_nm = (shape[0] * pixel_size_nm, shape[1] * pixel_size_nm)
    wide = replace(
        atoms, box_nm=(max(field_nm[1], atoms.box_nm[0]), max(field_nm[0], atoms.box_nm[1]), atoms.box_nm[2])
    )
    wave = yield from exit_wave_steps(
        wide, wave_shape(field_nm), energy_kev=microscope.energy_kev, device=device
    )
    return resample(image_wave(wave, field_nm, microscope), shape)


def wave_shape(field_nm: tuple[float, float]) -> tuple[int, int]:
    """Pixels (y, x) of a wave over a field (y, x): 0.014 nm or finer, and quick to transform."""
    rows, columns = (
        # Half a promille of slack: 14.336 nm are 1024 pixels however they are rounded.
        int(fft.next_fast_len(int(np.ceil(extent / WAVE_PIXEL_NM * 0.9995))))
        for extent in field_nm
    )
    return rows, columns


def exit_wave(
    atoms: Atoms,
    shape: tuple[int, int],
    *,
    energy_kev: float = 200.0,
    slice_nm: float = SLICE_NM,
    device: str = "cpu",
    incident: torch.Tensor | None = None,
) -> torch.Tensor:
    """The wave behind atoms; see `exit_wave_steps`."""
    return run(
        exit_wave_steps(
            atoms, shape, energy_kev=energy_kev, slice_nm=slice_nm, device=device, incident=incident
        )
    )


def exit_wave_steps(
    atoms: Atoms,
    shape: tuple[int, int],
    *,
    energy_kev: float = 200.0,
    slice_nm: float = SLICE_NM,
    device: str = "cpu",
    incident: torch.Tensor | None = None,
) -> Steps[torch.Tensor]:
    """The wave behind atoms, by multislice; yields progress by the slice and batch of atoms.

    Potentials of slices come from exact structure factors, with Kirkland's scattering factors and thermal
    displacements; the wave is limited to 2/3 of the highest frequency, so that products do not fold back.

    Parameters
    ----------
    atoms : Atoms
        The box is the field of the wave.
    shape : tuple of int
        Rows and columns of the wave; pixels much over 0.014 nm do not converge.
    energy_kev : float
        Of the electrons.
    slice_nm : float
        Thickness of slices at most; they fill the box evenly.
    device : str
        As for `image_atoms`.
    incident : Tensor (y, x), complex64, optional
        The wave that comes in; a plane wave of intensity 1 when left out.

    Returns
    -------
    Tensor (y, x), complex64
        At the end of the box, on the device.

    Raises
    ------
    ParameterError
        The slices are not thicker than 0, or the wave takes more than half of the free memory.
    DeviceError
        There is no such device here.
    """
    if not 0 < slice_nm < np.inf:
        raise ParameterError(f"slice_nm is {slice_nm!r}; give a length over 0 nm.")
    _check_memory(shape)
    place = _device(device)
    width, height, depth = atoms.box_nm
    slices = max(1, math.ceil(depth / slice_nm - 1e-6))
    grid = _FourierGrid(shape, (height, width), place)
    scattering = {
        str(symbol): grid.scattering(str(symbol), energy_kev) for symbol in np.unique(atoms.symbols)
    }
    propagator = grid.propagator(energy_kev, depth / slices)
    waves = torch.fft.fft2(
        torch.ones(shape, dtype=torch.complex64, device=place) if incident is None else incident.to(place)
    )
    layer = np.minimum((atoms.positions_nm[:, 2] * (slices / depth)).astype(np.int64), slices - 1)
    order = np.argsort(layer, kind="stable")
    bounds = np.searchsorted(layer[order], np.arange(slices + 1))
    done = 0

    def progress() -> Progress:
        return Progress(done, slices, "Multislice")

    for start, stop in pairwise(bounds):
        here = order[start:stop]
        if len(here):
            steps = grid.phase_steps(atoms.positions_nm[here], atoms.symbols[here], scattering)
            phase = yield from relabel(steps, progress)
            waves = torch.fft.fft2(torch.fft.ifft2(waves).mul_(torch.polar(torch.ones_like(phase), phase)))
        waves.mul_(propagator)
        done += 1
        yield progress()
    wave: torch.Tensor = torch.fft.ifft2(waves)
    return wave


class _FourierGrid:
    """Fourier plane of a field: what is needed to put atoms on it and to go through vacuum."""

    def __init__(self, shape: tuple[int, int], field_nm: tuple[float, float], device: torch.device) -> None:
        self.shape, self.field_nm, self.device = shape, field_nm, device
        rows, columns = shape
        height, width = field_nm
        self.limit = min(rows / height, columns / width) / 3  # 2/3 of the highest frequency, 1/nm
        # Only orders within the band are computed, and of a real potential only those of x ≥ 0.
        row_order = min(int(self.limit * height), (rows - 1) // 2)
        column_order = min(int(self.limit * width), (columns - 1) // 2)
        self.row_orders = torch.arange(-row_order, row_order + 1, dtype=torch.float32, device=device)
        self.column_orders = torch.arange(column_order + 1, dtype=torch.float32, device=device)
        ky = np.arange(-row_order, row_order + 1) / height
        kx = np.arange(column_order + 1) / width
        self.k_squared = ky[:, None] ** 2 + kx**2

    def scattering(self, symbol: str, energy_kev: float) -> torch.Tensor:
        """Phase that one atom adds, as its Fourier series over the field, for `phase`."""
        rows, columns = self.shape
        height, width = self.field_nm
        smear = np.exp(-2 * np.pi**2 * thermal_nm(symbol) ** 2 * self.k_squared)
        factor = scattering_factor(symbol, self.k_squared / 100) * smear * (self.k_squared < self.limit**2)
        # V Å² over Å² is V Å; ten Å make a nm.
        potential = factor * (_POTENTIAL / (100 * height * width) / 10) * (rows * columns)
        phase = potential * interaction_per_volt_nm(energy_kev)
        return torch.from_numpy(phase.astype(np.float32)).to(self.device)

    def propagator(self, energy_kev: float, distance_nm: float) -> torch.Tensor:
        """Fresnel propagation within the band."""
        rows, columns = self.shape
        height, width = self.field_nm
        ky, kx = np.fft.fftfreq(rows, height / rows), np.fft.fftfreq(columns, width / columns)
        k2 = ky[:, None] ** 2 + kx**2
        function = np.exp(-1j * np.pi * wavelength_nm(energy_kev) * distance_nm * k2) * (k2 < self.limit**2)
        return torch.from_numpy(function.astype(np.complex64)).to(self.device)

    def phase_steps(
        self,
        positions_nm: NDArray[np.float64],
        symbols: NDArray[np.str_],
        scattering: dict[str, torch.Tensor],
    ) -> Steps[torch.Tensor]:
        """Phase that the atoms of a slice add to the wave, (y, x) in rad; yields progress by the batch."""
        series = torch.zeros(self.k_squared.shape, dtype=torch.complex64, device=self.device)
        batch = min(_ATOMS_AT_ONCE, max(64, int(_PRODUCTS_AT_ONCE / series.numel())))
        for symbol, factor in scattering.items():
            own = positions_nm[symbols == symbol]
            for start in range(0, len(own), batch):
                series += self._structure_factor(own[start : start + batch]) * factor
                yield Progress(min(start + batch, len(own)), len(own), f"Potential of {symbol}")
        rows, columns = self.shape
        half = (series.shape[0] - 1) // 2
        plane = torch.zeros((rows, columns // 2 + 1), dtype=torch.complex64, device=self.device)
        plane[: half + 1, : series.shape[1]] = series[half:]
        plane[rows - half :, : series.shape[1]] = series[:half]
        phase: torch.Tensor = torch.fft.irfft2(plane, s=self.shape)
        return phase

    def _structure_factor(self, positions_nm: NDArray[np.float64]) -> torch.Tensor:
        """Σ exp(−2πi k·r) over atoms: a product of what depends on y and what depends on x."""
        height, width = self.field_nm
        y, x = positions_nm[:, 1] / height, positions_nm[:, 0] / width
        along_y = self._waves(self.row_orders[:, None], self._on_device(y))
        along_x = self._waves(self._on_device(x)[:, None], self.column_orders)
        return along_y @ along_x

    def _on_device(self, share: NDArray[np.float64]) -> torch.Tensor:
        return torch.from_numpy((share % 1.0).astype(np.float32)).to(self.device)

    @staticmethod
    def _waves(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        angle = first * second
        # Whole turns are taken away while they are exact: orders reach hundreds.
        angle = (angle - torch.round(angle)) * (-2 * np.pi)
        return torch.polar(torch.ones_like(angle), angle)


def _device(name: str) -> torch.device:
    """The device of that name; `auto` takes CUDA, then MPS, then the CPU."""
    cuda, mps = torch.cuda.device_count(), torch.backends.mps.is_available()
    known = ["cpu", *(["cuda"] if cuda else []), *(f"cuda:{index}" for index in range(cuda))]
    known += ["mps"] if mps else []
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    if name not in known:
        raise DeviceError(f"There is no device {name} here; choose one of auto, {', '.join(known)}.")
    return torch.device(name)


def _check_field(atoms: Atoms, microscope: Microscope, pixel_size_nm: float, shape: tuple[int, int]) -> None:
    """Refuse a field that cannot be computed, or that would not show what is in the box."""
    sides = all(isinstance(side, int | np.integer) and 16 <= side <= 100_000 for side in shape)
    if len(shape) != 2 or not sides:
        raise ParameterError(f"shape is {shape!r}; give rows and columns, 16 to 100000 each.")
    # Intensity holds twice the frequencies that the aperture lets through.
    coarsest = microscope.wavelength_nm / (4e-3 * microscope.aperture_mrad)
    if not (isinstance(pixel_size_nm, int | float | np.floating) and 1e-4 <= pixel_size_nm <= coarsest):
        raise ParameterError(
            f"pixel_size_nm is {pixel_size_nm!r}; give 0.0001 to {coarsest:.3g} nm: coarser pixels cannot "
            f"hold what an aperture of {microscope.aperture_mrad:g} mrad lets through."
        )
    width, height = shape[1] * pixel_size_nm, shape[0] * pixel_size_nm
    if atoms.box_nm[0] > width + pixel_size_nm / 2 or atoms.box_nm[1] > height + pixel_size_nm / 2:
        raise ParameterError(
            f"The box of {atoms.box_nm[0]:.4g} × {atoms.box_nm[1]:.4g} nm (x, y) is larger than the image of "
            f"{shape[1]} × {shape[0]} px, {width:.4g} × {height:.4g} nm; give more pixels or a smaller box."
        )
    _check_memory(wave_shape((height, width)))


def _check_memory(shape: tuple[int, int]) -> None:
    """Refuse a wave that would not fit, before memory is taken."""
    need = shape[0] * shape[1] * _BYTES_PER_PIXEL
    half = 2 * memory_budget()
    if need > half:
        raise ParameterError(
            f"A wave of {shape[0]} × {shape[1]} pixels of {WAVE_PIXEL_NM:g} nm takes {need / 1e9:.1f} GB, "
            f"over half of the free memory ({half / 1e9:.1f} GB); give a smaller field."
        )
