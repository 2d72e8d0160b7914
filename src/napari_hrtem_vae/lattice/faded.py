"""Frames that fade out at their edges, for maps that are to be right up to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from .grid import Complex, Float, LatticeGrid

# Standard deviation, in periods, of the edge over which frames fade out.
_FADE = 0.75
# Room around a frame, in standard deviations of the smoothing: its opposite edges must not meet.
_ROOM = 4.5


@dataclass(frozen=True)
class FadedFrame:
    """A frame that fades out at its edges, with room around it for the smoothing of its maps.

    A lattice that is cut off leaks from each spot into the others' masks; one that fades does not, and the
    phase at a place does not depend on how bright its surroundings are.

    Parameters
    ----------
    grid : LatticeGrid
        Of the frame with its room; cells and pixels of the frame are the first of it.
    spectrum : ndarray
        On the grid.
    noise_gain : float
        By how much `LatticeGrid.noise` of the spectrum falls short, as the room has none.
    """

    grid: LatticeGrid
    spectrum: Complex
    noise_gain: float

    @classmethod
    def of(cls, frame: Float, grid: LatticeGrid) -> FadedFrame:
        """Of a frame (rows, columns) on a grid that `roomy_grid` made for its size."""
        period_px = grid.period_px
        fades = []
        for size in frame.shape:
            inward = np.minimum(np.arange(size), np.arange(size)[::-1]) + 0.5
            # The transform of a Gaussian edge is a Gaussian: nothing of it reaches the next spot.
            fades.append(special.ndtr(inward / (_FADE * period_px) - 2.5))
        fade = np.outer(*fades).astype(np.float32)
        faded = np.zeros(grid.frame, np.float32)
        faded[: frame.shape[0], : frame.shape[1]] = (frame - frame.mean()) * fade
        gain = float(np.sqrt(faded.size / (fade.astype(np.float64) ** 2).sum()))
        return cls(grid, grid.spectrum(faded), gain)

    def noise(self, length: float) -> float:
        """Standard deviation of a binned pixel by the noise at |k| = `length`."""
        return self.noise_on(self.grid.ring(length))

    def noise_on(self, ring: NDArray[np.int64]) -> float:
        """The same, from a ring of the grid."""
        return max(self.noise_gain * self.grid.noise(self.spectrum, ring), 1e-12)


def roomy_grid(frame: tuple[int, int], period_px: float, sigma_px: float) -> LatticeGrid:
    """Grid for frames of so many rows and columns, with room for maps that are smoothed by `sigma_px`."""
    room = int(np.ceil(_ROOM * sigma_px))
    return LatticeGrid((frame[0] + room, frame[1] + room), period_px)
