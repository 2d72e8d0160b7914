"""Local orientation of a net: a bank of Gaussian masks turned about the centre of the spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import fft, special

from ..errors import LatticeError, ParameterError
from ..progress import Progress, Steps
from ..video.fringes import fringe_period_px
from ..video.outliers import grey_levels, replace_outliers
from ..video.reading import read_frames
from .bragg import map_noise
from .conventions import Double, Symmetry, angle_period_deg, check_symmetry, first_order_spots, ideal_basis
from .faded import FadedFrame, roomy_grid
from .grid import Float, LatticeGrid
from .record import scale_of

_STEP_DEG = 3.0
_FALSE_ALARM = 0.01
_FEWEST_PERIODS = 4


@dataclass(frozen=True)
class OrientationParameters:
    """How a map of local orientation is made.

    Parameters
    ----------
    symmetry : {4, 6, 2}
        Of the net.
    period_px : float, optional
        Distance of the fringes in px; by default found by Fourier transform.
    smoothing_periods : float
        Standard deviation of the Gaussian that a place is averaged over, in periods: wider is more exact
        and less local.

    Raises
    ------
    ParameterError
        A value lies outside its range.
    """

    symmetry: Symmetry = 4
    period_px: float | None = None
    smoothing_periods: float = 2.0

    def __post_init__(self) -> None:
        if check_symmetry(self.symmetry) == "any":
            raise ParameterError("An orientation map needs the symmetry of the net; give 2, 4 or 6.")
        if self.period_px is not None and not 2 < self.period_px < 1000:
            raise ParameterError(f"period_px is {self.period_px!r}; give more than 2 and less than 1000 px.")
        if not 1 <= self.smoothing_periods <= 20:
            raise ParameterError(
                f"smoothing_periods is {self.smoothing_periods!r}; give a number from 1 to 20."
            )


class OrientationBank:
    """Gaussian masks on the spots of nets of all angles, made once for frames of one grid.

    Parameters
    ----------
    grid : LatticeGrid
    length : float
        |g| in cycles per binned px.
    symmetry : {2, 4, 6}
    sigma : float
        What a place is averaged over, in binned px.
    """

    def __init__(self, grid: LatticeGrid, length: float, symmetry: Symmetry, sigma: float) -> None:
        self.grid, self.sigma = grid, sigma
        self.period = angle_period_deg(symmetry)
        self.angles = np.arange(0.0, self.period, _STEP_DEG)
        self._ring = grid.ring(length)
        spots = np.array(first_order_spots(symmetry), np.float64)
        bases = np.stack([ideal_basis(length, float(angle), symmetry) for angle in self.angles])
        k = np.einsum("sh,ahi->asi", spots, bases)
        axes = [self._axis(axis, k[..., axis]) for axis in (0, 1)]
        self._rows, self._columns = axes[0][0][..., :, None], axes[1][0][..., None, :]
        self._masks = axes[0][1][..., :, None] * axes[1][1][..., None, :]
        self._threshold = _noise_maximum(self.period, len(spots), length, sigma)

    def _axis(self, axis: int, k: Double) -> tuple[NDArray[np.int64], Float]:
        """Bins of the spectrum around each k along an axis, and the Gaussian over them."""
        count, size = self.grid.coarse_shape[axis], self.grid.shape[axis]
        bins = np.round(k * size)[..., None] + np.round(fft.fftfreq(count) * count)
        gaussian = np.exp(-2 * (np.pi * self.sigma * (bins / size - k[..., None])) ** 2)
        return np.mod(bins, size).astype(np.int64), gaussian.astype(np.float32)

    def power(self, frame: FadedFrame) -> Float:
        """Power behind the masks of each angle.

        Parameters
        ----------
        frame : FadedFrame
            On the same grid.

        Returns
        -------
        ndarray (angles, rows, columns)
            Mean over the spots, on coarse cells, in units of the noise's mean.
        """
        noise = map_noise(frame.noise_on(self._ring), self.sigma) / 2
        patches = frame.spectrum[self._rows, self._columns] * self._masks
        values = fft.ifft2(patches, workers=1, overwrite_x=True)
        scale = 1 / (noise * self.grid.coarse_step**2) ** 2
        return np.asarray((values.real**2 + values.imag**2).mean(axis=1) * np.float32(scale), np.float32)

    def orientation(self, frame: FadedFrame) -> tuple[Float, Float]:
        """Angle of the strongest net at each place, and how far it stands out.

        The logarithm of the power behind a Gaussian mask is a parabola in the mask's angle: three angles
        tell its vertex.

        Returns
        -------
        angle : ndarray (rows, columns)
            On coarse cells, in degrees from 0 to the net's period.
        confidence : ndarray (rows, columns)
            Power over what noise alone exceeds at one place in a hundred.
        """
        power = np.maximum(self.power(frame), 1e-12)
        best = power.argmax(axis=0)[None]
        before, top, after = (
            np.log(np.take_along_axis(power, (best + by) % len(self.angles), axis=0)[0]) for by in (-1, 0, 1)
        )
        offset = 0.5 * (before - after) / np.minimum(before - 2 * top + after, -1e-9)
        angle = np.mod(self.angles[best[0]] + _STEP_DEG * np.clip(offset, -0.5, 0.5), self.period)
        angle = angle.astype(np.float32)
        angle[angle >= self.period] = 0  # rounded up
        return angle, np.asarray(np.exp(top) / self._threshold, np.float32)


def _noise_maximum(period: float, spots: int, length: float, sigma: float) -> float:
    """What the largest of the bank's powers of noise exceeds at one place in a hundred."""
    # Masks further apart than their correlation in angle see independent noise.
    apart = np.rad2deg(np.sqrt(np.pi) / (2 * np.pi * sigma * length))
    independent = max(period / apart, 1.0)
    return float(special.gammainccinv(spots, _FALSE_ALARM / independent)) / spots


def orientation_map_steps(
    video: xr.DataArray,
    parameters: OrientationParameters | None = None,
    frames: Sequence[int] | None = None,
) -> Steps[xr.Dataset]:
    """Maps of local lattice orientation; yields progress by the frame.

    Parameters
    ----------
    video : DataArray (time, y, x)
    parameters : OrientationParameters, optional
    frames : sequence of int, optional
        Which frames; all by default.

    Returns
    -------
    Dataset (time, y, x)
        `angle_deg`: from x towards y (clockwise on a screen), from 0 to 360° over the symmetry, NaN where
        there is no lattice; `confidence`: power over what noise exceeds at one place in a hundred. y and x
        are the centres of cells a little under a period wide. Frames with NaN have no lattice.

    Raises
    ------
    LatticeError
        No period stands out, or frames are smaller than a few periods.
    VideoShapeError, VideoFileError
    """
    parameters = parameters or OrientationParameters()
    scale = scale_of(video)
    yield Progress(0, len(video), "Looking at the video")
    period = parameters.period_px or fringe_period_px(video)
    if period is None:
        raise LatticeError("No lattice stands out of the noise of this video; give its period.")
    grid = LatticeGrid((video.shape[1], video.shape[2]), period)
    if min(video.shape[1:]) < _FEWEST_PERIODS * period:
        raise LatticeError(
            f"Frames of {video.shape[1]} × {video.shape[2]} px hold fewer than {_FEWEST_PERIODS} periods of "
            f"{period:.3g} px; give larger frames."
        )
    sigma = parameters.smoothing_periods * period
    roomy = roomy_grid(grid.frame, period, sigma)
    bank = OrientationBank(roomy, 1 / grid.period, parameters.symmetry, sigma / grid.binning)
    picks = range(len(video)) if frames is None else [int(frame) % len(video) for frame in frames]
    shape = tuple(-(-size // grid.coarse_step) for size in grid.binned)
    angle = np.full((len(picks), *shape), np.nan, np.float32)
    confidence = np.zeros((len(picks), *shape), np.float32)
    for number, frame in enumerate(picks):
        yield Progress(number, len(picks), "Mapping the orientation")
        image = read_frames(video, slice(frame, frame + 1))
        if not np.isfinite(image).all():
            continue
        image = replace_outliers(image, grey_levels(image))[0]
        found, stands_out = bank.orientation(FadedFrame.of(image, roomy))
        found, stands_out = found[: shape[0], : shape[1]], stands_out[: shape[0], : shape[1]]
        angle[number] = np.where(stands_out > 1, found, np.nan)
        confidence[number] = stands_out
    cell = grid.coarse_step * grid.binning
    centres = [
        scale.origin[axis] + (np.arange(shape[axis]) * cell + (grid.binning - 1) / 2) * scale.pixel
        for axis in (0, 1)
    ]
    coords = {
        "y": ("y", centres[0], {"units": scale.unit}),
        "x": ("x", centres[1], {"units": scale.unit}),
    }
    if "time" in video.coords:
        coords["time"] = ("time", video["time"].values[list(picks)], dict(video["time"].attrs))
    dims = ("time", "y", "x")
    return xr.Dataset(
        {"angle_deg": (dims, angle, {"units": "deg"}), "confidence": (dims, confidence, {"units": "1"})},
        coords=coords,
        attrs={"symmetry": str(parameters.symmetry), "period_px": period, "cell_px": cell},
    )
