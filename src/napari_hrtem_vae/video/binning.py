"""Squares of pixels as one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]


def bin_frame(frame: Float, count: int) -> Float:
    """Mean over squares of `count`² pixels of a frame (rows, columns); a sliver at the end is lost."""
    if count == 1:
        return frame
    rows, columns = (size // count * count for size in frame.shape)
    # Adding strided views is several times faster than a mean over two axes.
    tall = frame[0:rows:count, :columns].copy()
    for row in range(1, count):
        tall += frame[row:rows:count, :columns]
    wide = tall[:, 0::count].copy()
    for column in range(1, count):
        wide += tall[:, column::count]
    wide *= np.float32(1 / count**2)
    return wide
