"""What is known of a simulated frame: which crystal covers what, and what has changed there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .imaging import Imager
from .scenes import Grain

KINDS = ("still", "growth", "shrinkage", "rotation", "translation", "contrast")
Bits = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame and its truth.

    Parameters
    ----------
    counts : ndarray (y, x), uint16
    presence : ndarray (grain, y, x), bool
    change : ndarray (y, x), uint8
        Bits, see `change_since`.
    area_px : list of float
        Of each grain.
    """

    counts: NDArray[np.uint16]
    presence: NDArray[np.bool_]
    change: Bits
    area_px: list[float]


def change_since(
    imager: Imager,
    before: Sequence[Grain],
    grains: Sequence[Grain],
    presence: NDArray[np.bool_],
    shift: tuple[float, float],
) -> Bits:
    """What has changed at each pixel since the first frame.

    Parameters
    ----------
    imager : Imager
    before, grains : sequence of Grain
        In the first frame, and now.
    presence : ndarray (grain, y, x), bool
        Where the grains are now.
    shift : tuple of float
        Of this frame, in px (y, x); the truth follows it, so that drift is no change.

    Returns
    -------
    ndarray (y, x), uint8
        Bit i − 1 is set where `KINDS[i]` happened: growth and shrinkage where a grain's lattice has come or
        gone in the grain's own coordinates; translation where a displaced grain is or was; rotation and
        contrast where a turned grain, or one of other contrast, is.
    """
    bits = np.zeros(presence.shape[1:], np.uint8)

    def mark(kind: str, where: NDArray[np.bool_]) -> None:
        bits[where] |= np.uint8(1 << (KINDS.index(kind) - 1))

    if list(before) == list(grains):
        return bits
    # As the grains were, where they are now: a grain that only moved has not grown on one side.
    carried = [
        replace(now, centre=first.centre, radii=first.radii)
        for first, now in zip(before, grains, strict=True)
    ]
    reshaped = [first != now for first, now in zip(carried, grains, strict=True)]
    stayed = [share > 0.5 for share in imager.coverage(carried, shift)] if any(reshaped) else list(presence)
    moved = [first.displacement != now.displacement for first, now in zip(before, grains, strict=True)]
    left = imager.coverage(list(before), shift) if any(moved) else []
    for index, (first, now) in enumerate(zip(before, grains, strict=True)):
        here = presence[index]
        if reshaped[index]:
            mark("growth", here & ~stayed[index])
            mark("shrinkage", stayed[index] & ~here)
        if moved[index]:
            mark("translation", here | (left[index] > 0.5))
        if first.angle_deg != now.angle_deg:
            mark("rotation", here)
        if first.contrast != now.contrast:
            mark("contrast", here)
    return bits


def kinds_of(change: Bits) -> Bits:
    """The kind of change at each pixel, an index of `KINDS`; of several, the first in their order."""
    kinds = np.zeros_like(change)
    for index in range(len(KINDS) - 1, 0, -1):
        kinds[change & (1 << (index - 1)) > 0] = index
    return kinds
