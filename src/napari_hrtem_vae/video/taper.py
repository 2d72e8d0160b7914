"""Frames that fade at their edges, before they are transformed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Of each axis, half at each end.
_SHARE = 0.25


def tukey_taper(shape: tuple[int, int]) -> NDArray[np.float32]:
    """Weights (rows, columns): 1 inside, falling to 0 as a cosine over the outer eighths of each axis.

    References
    ----------
    Harris 1978, Proc. IEEE 66, 51.
    """
    # scipy.signal takes a second to import, with all of scipy's statistics: not where nothing is transformed.
    from scipy.signal import windows

    return np.outer(*(windows.tukey(size, _SHARE).astype(np.float32) for size in shape))
