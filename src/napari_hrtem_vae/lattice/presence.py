"""Where a grain's lattice is present in a frame, from its fringe amplitude; its area, with an error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .bragg import BraggMap
from .conventions import Double
from .grid import Float, LatticeGrid

Mask = NDArray[np.bool_]
# A blurred amplitude falls to half at a straight edge, whatever the blur.
_HALF = 0.5
_LEVELS = (0.3, 0.7)
_CORE_COVER = 0.97
# A mask that came out too small would else raise the core, and the core shrink the mask.
_LEAST_CORE_COVER = 0.75
_LEAST_COVER = 0.05  # a mask that is nowhere denser, blurred, has no core
_LEAST_SHARE = 0.05  # of the largest piece; smaller ones are dropped


@dataclass(frozen=True)
class Core:
    """Fringe amplitude of a grain away from its edges, in one frame or several (...).

    Parameters
    ----------
    amplitude : ndarray (...)
        Of each fringe, in grey values.
    ratio : ndarray (..., rows, columns)
        Local amplitude over it, on presence cells.
    """

    amplitude: Double
    ratio: Float


def amplitude_in_phase(grid: LatticeGrid, maps: Sequence[BraggMap], cover: Float, reach: float) -> Float:
    """Fringe amplitude in phase with the grain's own fringes, those of its inside carried on beyond its edge.

    The other half of the noise is out of phase, and what is left has mean 0 where there is no lattice: other
    than of a modulus, which noise only raises, half of it may be looked for under less blur.

    Parameters
    ----------
    maps : sequence of BraggMap
        Of the spots of first order.
    cover : ndarray (..., rows, columns)
        The grain's mask on coarse cells, 0 to 1.
    reach : float
        Standard deviation of the Gaussian, in binned px, that the phase is carried on by.

    Returns
    -------
    ndarray (..., rows, columns), float32
        Of presence cells, in grey values; below 0 where the fringes run against the grain's.
    """
    total = np.zeros(cover.shape, np.float32)
    for one in maps:
        inside = one.values * cover
        real, imaginary = grid.blur_coarse(np.stack([inside.real, inside.imag]), reach)
        in_phase = one.values.real * real + one.values.imag * imaginary
        total += in_phase / np.maximum(np.hypot(real, imaginary), 1e-12)
    return grid.to_fine(2 / len(maps) * total)


def core_of(amplitude: Float, share: Float) -> Core:
    """The amplitude inside a grain, robust to how small the grain is.

    The blurred mask says which share of the amplitude the blur leaves; where it leaves most, the median of
    amplitude over share is the core's.

    Parameters
    ----------
    amplitude : ndarray (..., rows, columns)
        Blurred fringe amplitude on presence cells.
    share : ndarray (..., rows, columns)
        The grain's mask, blurred as much.
    """
    most = share.max((-2, -1), keepdims=True)
    deep = (share >= np.minimum(_CORE_COVER, 0.9 * most)) & (most >= _LEAST_COVER)
    # All frames at once: a loop of small steps would hold up other threads.
    ratios = amplitude[deep] / np.maximum(share[deep], _LEAST_CORE_COVER)
    counts = np.count_nonzero(deep, (-2, -1))
    core = np.zeros(counts.shape)
    for frame, of_frame in zip(np.ndindex(core.shape), np.split(ratios, np.cumsum(counts)[:-1]), strict=True):
        if of_frame.size:
            core[frame] = _median(of_frame)
    scale = np.where(core > 0, 1 / np.maximum(core, 1e-12), 0).astype(np.float32)
    return Core(core, amplitude * scale[..., None, None])


def _median(values: Float) -> float:
    """The median of values (n,), which change places: of a few thousand in a third of the time of numpy's."""
    middle = len(values) // 2
    values.partition(middle)
    high = values[middle]
    return float(high if len(values) % 2 else (values[:middle].max() + high) / 2)


def present(grid: LatticeGrid, core: Core, exclusive: bool, level: Float | float) -> Mask:
    """Cells where the amplitude exceeds a share of the core's; each cell goes to one grain if `exclusive`.

    Because the core is of the same frame, a change of contrast or of defocus moves no edge.

    Parameters
    ----------
    core : Core
        Of grains (grain, ...).
    exclusive : bool
    level : float or ndarray (grain, ..., rows, columns)
    """
    inside = np.asarray(core.ratio > level)
    if exclusive and len(inside) > 1:
        inside &= core.ratio >= core.ratio.max(0)
    rows, columns = grid.cells
    inside[..., rows:, :] = False
    inside[..., columns:] = False
    return inside


def tidy(mask: Mask, least_cells: float) -> Mask:
    """Masks without holes, specks smaller than `least_cells`, and pieces far smaller than the largest.

    Parameters
    ----------
    mask : ndarray (..., rows, columns), bool
        Each for itself.
    least_cells : float
    """
    pieces = _Pieces.of(mask)
    if not pieces.sizes.size:
        return mask
    keep = pieces.sizes >= np.maximum(least_cells, _LEAST_SHARE * pieces.largest[pieces.owner])
    kept = np.concatenate([[False], keep])[pieces.labels]
    holes, count = ndimage.label(~kept)
    # The first label is that of the corner: all that is open to the outside.
    if count > 1:
        kept |= holes > 1
    return pieces.cut(kept)


def largest_piece(mask: Mask) -> Mask:
    """The largest connected piece of each mask (..., rows, columns)."""
    pieces = _Pieces.of(mask)
    if not pieces.sizes.size:
        return mask
    large = np.flatnonzero(pieces.sizes == pieces.largest[pieces.owner])
    _, one_each = np.unique(pieces.owner[large], return_index=True)
    keep = np.zeros(len(pieces.sizes) + 1, bool)
    keep[large[one_each] + 1] = True
    return pieces.cut(keep[pieces.labels])


@dataclass(frozen=True)
class _Pieces:
    """Connected pieces of masks that lie below each other on one sheet, with a rim around each.

    Parameters
    ----------
    shape : tuple of int
        Of the masks.
    box : tuple of slice
        Rows and columns outside which all masks are empty.
    labels : ndarray (rows, columns)
        Of the sheet: 0 outside the pieces, then the piece's number and 1.
    sizes, owner : ndarray (pieces,)
        Cells of each piece, and which mask it is of, in order.
    largest : ndarray (masks,)
        Cells of the largest piece of each mask.
    """

    shape: tuple[int, ...]
    box: tuple[slice, slice]
    labels: NDArray[np.signedinteger[Any]]
    sizes: NDArray[np.int64]
    owner: NDArray[np.int64]
    largest: NDArray[np.int64]

    @classmethod
    def of(cls, mask: Mask) -> _Pieces:
        """Pieces of masks (..., rows, columns)."""
        masks = mask.reshape(-1, *mask.shape[-2:])
        box = _bounding_box(np.asarray(masks.any(0)))
        inside = masks[:, box[0], box[1]]
        rows, columns = inside.shape[1] + 1, inside.shape[2] + 2
        sheet = np.zeros((len(masks) * rows + 1, columns), bool)
        sheet[1:].reshape(len(masks), rows, columns)[:, :-1, 1:-1] = inside
        labels, count = ndimage.label(sheet)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        tops = [(piece[0].start - 1) // rows for piece in ndimage.find_objects(labels)]
        owner = np.array(tops, np.int64)
        largest = np.zeros(len(masks), np.int64)
        np.maximum.at(largest, owner, sizes)
        return cls(mask.shape, box, labels, sizes, owner, largest)

    def cut(self, sheet: Mask) -> Mask:
        """The masks of a sheet."""
        masks = np.zeros((len(self.largest), *self.shape[-2:]), bool)
        inside = masks[:, self.box[0], self.box[1]]
        inside[...] = sheet[1:].reshape(len(masks), -1, sheet.shape[1])[:, :-1, 1:-1]
        return masks.reshape(self.shape)


def _bounding_box(mask: Mask) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def edge_level(grid: LatticeGrid, mask: Mask, share: Float, sigma: float) -> Float:
    """The share of the core's amplitude that lies at the grain's edge, near each cell.

    Half for a straight edge; less at a convex corner, which a fixed half would round off.

    Parameters
    ----------
    mask : ndarray (..., rows, columns), bool
    share : ndarray (..., rows, columns)
        The mask blurred as the amplitude is.
    sigma : float
        What the amplitude is blurred by, in binned px.
    """
    edge = np.zeros(mask.shape, bool)
    down, right = mask[..., :-1, :] != mask[..., 1:, :], mask[..., :-1] != mask[..., 1:]
    for change, one, other in (
        (down, np.s_[..., :-1, :], np.s_[..., 1:, :]),
        (right, np.s_[..., :-1], np.s_[..., 1:]),
    ):
        edge[one] |= change
        edge[other] |= change
    near, level = grid.blur_fine(np.stack([edge, edge * share]).astype(np.float32), sigma)
    level /= np.maximum(near, 1e-6)
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
