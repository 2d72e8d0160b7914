"""Where a grain's lattice is present in a frame, from its fringe amplitude; its area, with an error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .bragg import BraggMap
from .grid import Float, LatticeGrid

Mask = NDArray[np.bool_]
# A blurred amplitude falls to half at a straight edge, whatever the blur.
_HALF = 0.5
_LEVELS = (0.3, 0.7)
_CORE_COVER = 0.97
# A mask that came out too small would else raise the core, and the core shrink the mask.
_LEAST_CORE_COVER = 0.75
_LEAST_SHARE = 0.05  # of the largest piece; smaller ones are dropped


@dataclass(frozen=True)
class Core:
    """Fringe amplitude of a grain away from its edges.

    Parameters
    ----------
    amplitude : float
        Of each fringe, in grey values.
    ratio : ndarray (rows, columns)
        Local amplitude over it, on presence cells.
    """

    amplitude: float
    ratio: Float


def amplitude_in_phase(grid: LatticeGrid, maps: Sequence[BraggMap], cover: Float, reach: float) -> Float:
    """Fringe amplitude in phase with the grain's own fringes, those of its inside carried on beyond its edge.

    The other half of the noise is out of phase, and what is left has mean 0 where there is no lattice: other
    than of a modulus, which noise only raises, half of it may be looked for under less blur.

    Parameters
    ----------
    maps : sequence of BraggMap
        Of the spots of first order.
    cover : ndarray (rows, columns)
        The grain's mask on coarse cells, 0 to 1.
    reach : float
        Standard deviation of the Gaussian, in binned px, that the phase is carried on by.

    Returns
    -------
    ndarray (rows, columns), float32
        Of presence cells, in grey values; below 0 where the fringes run against the grain's.
    """
    total = np.zeros(grid.coarse_shape, np.float32)
    for one in maps:
        inside = one.values * cover
        carried = grid.blur_coarse(inside.real, reach) + 1j * grid.blur_coarse(inside.imag, reach)
        total += (one.values * carried.conj()).real / np.maximum(np.abs(carried), 1e-12)
    return grid.to_fine(2 / len(maps) * total)


def core_of(grid: LatticeGrid, amplitude: Float, mask: Mask, sigma: float) -> Core:
    """The amplitude inside a grain, robust to how small the grain is.

    The blurred mask says which share of the amplitude the blur leaves; where it leaves most, the median of
    amplitude over share is the core's.

    Parameters
    ----------
    amplitude : ndarray (rows, columns)
        Blurred fringe amplitude on presence cells.
    mask : ndarray (rows, columns), bool
    sigma : float
        What the amplitude was blurred by, in binned px.
    """
    share = grid.blur_fine(mask.astype(np.float32), sigma)
    most = float(share.max())
    if most < 0.05:
        return Core(0.0, np.zeros_like(amplitude))
    deep = share >= min(_CORE_COVER, 0.9 * most)
    core = float(np.median(amplitude[deep] / np.maximum(share[deep], _LEAST_CORE_COVER)))
    return Core(core, amplitude / np.float32(max(core, 1e-12)))


def present(
    grid: LatticeGrid, cores: Sequence[Core], exclusive: bool, levels: Sequence[Float | float]
) -> list[Mask]:
    """Cells where the amplitude exceeds a share of the core's; each cell goes to one grain if `exclusive`.

    Because the core is of the same frame, a change of contrast or of defocus moves no edge.
    """
    inside = [core.ratio > level for core, level in zip(cores, levels, strict=True)]
    if exclusive and len(cores) > 1:
        ratios = np.stack([core.ratio for core in cores])
        strongest = ratios.argmax(0)
        inside = [mask & (strongest == grain) for grain, mask in enumerate(inside)]
    rows, columns = grid.cells
    for mask in inside:
        mask[rows:] = False
        mask[:, columns:] = False
    return inside


def tidy(mask: Mask, least_cells: float) -> Mask:
    """A mask without holes, specks smaller than `least_cells`, and pieces far smaller than the largest."""
    box = _bounding_box(mask)
    labels, count = ndimage.label(mask[box])
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    keep = sizes >= max(least_cells, _LEAST_SHARE * sizes.max())
    kept = keep[labels]
    holes, count = ndimage.label(np.pad(~kept, 1, constant_values=True))
    # The first label is that of the corner: all that is open to the outside.
    if count > 1:
        kept |= holes[1:-1, 1:-1] > 1
    mask = np.zeros_like(mask)
    mask[box] = kept
    return mask


def _bounding_box(mask: Mask) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def largest_piece(mask: Mask) -> Mask:
    """The largest connected piece of a mask."""
    box = _bounding_box(mask)
    labels, count = ndimage.label(mask[box])
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    piece = np.zeros_like(mask)
    piece[box] = labels == int(np.argmax(sizes))
    return piece


def edge_level(grid: LatticeGrid, mask: Mask, sigma: float) -> Float:
    """The share of the core's amplitude that lies at the grain's edge, near each cell.

    Half for a straight edge; less at a convex corner, which a fixed half would round off.

    Parameters
    ----------
    mask : ndarray (rows, columns), bool
    sigma : float
        What the amplitude is blurred by, in binned px.
    """
    share = grid.blur_fine(mask.astype(np.float32), sigma)
    edge = np.zeros(mask.shape, bool)
    down, right = mask[:-1] != mask[1:], mask[:, :-1] != mask[:, 1:]
    for change, one, other in (
        (down, np.s_[:-1], np.s_[1:]),
        (right, np.s_[:, :-1], np.s_[:, 1:]),
    ):
        edge[one] |= change
        edge[other] |= change
    near = grid.blur_fine(edge.astype(np.float32), sigma)
    level = grid.blur_fine(edge * share, sigma) / np.maximum(near, 1e-6)
    return np.clip(np.where(near > 1e-3, level, _HALF), *_LEVELS).astype(np.float32)


def area_error(grid: LatticeGrid, mask: Mask, signal: float, sigma: float) -> float:
    """Standard error of a mask's area, in presence cells.

    Noise moves the edge by noise over slope, independently in pieces as long as the blur correlates.

    Parameters
    ----------
    mask : ndarray (rows, columns), bool
    signal : float
        Core amplitude over the noise of the amplitude.
    sigma : float
        What the amplitude was blurred by, in binned px.
    """
    # The borders of cells overrate the length of a slanting edge by 4/π.
    steps = np.count_nonzero(mask[:-1] != mask[1:]) + np.count_nonzero(mask[:, :-1] != mask[:, 1:])
    perimeter = np.pi / 4 * steps
    blur = sigma / grid.fine_step
    moved = blur * np.sqrt(2 * np.pi) / (np.sqrt(2) * max(signal, 1e-6))
    correlated = 2 * np.sqrt(np.pi) * blur
    return float(moved * np.sqrt(max(perimeter, correlated) * correlated))
