"""A video's frames at six moments, summed up while they pass, and the components of windows in them."""

from __future__ import annotations

from itertools import groupby, pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..threads import one_thread
from .components import Components
from .site_features import stretch_edges
from .window_changes import MOMENTS, Moments

Bools = NDArray[np.bool_]


class MomentFrames:
    """Some rows of the frames that can be used, averaged over six stretches of time.

    Parameters
    ----------
    usable : ndarray (frames,), bool
        Six or more.
    """

    def __init__(self, usable: Bools) -> None:
        numbers = np.flatnonzero(usable)
        edges = stretch_edges(len(numbers))
        self._stretch = np.full(len(usable), -1)
        for stretch, (first, last) in enumerate(pairwise(edges)):
            self._stretch[numbers[first:last]] = stretch
        self._frames_of = np.diff(edges)
        self._total: Tensor | None = None

    def take(self, start: int, frames: Tensor) -> None:
        """Take up frames (n, y, x), of which the first has this number; all of them in order of time."""
        if self._total is None:
            self._total = frames.new_zeros(MOMENTS, *frames.shape[1:])
        first = 0
        for stretch, alike in groupby(self._stretch[start : start + len(frames)].tolist()):
            last = first + len(list(alike))
            if stretch >= 0:
                with one_thread():
                    self._total[stretch] += frames[first:last].sum(0)
            first = last

    def components(self, components: Components, rows: range, columns: range, step: int) -> Moments:
        """Components (row, column, 6, component) of the windows of some sites, `step` px apart.

        Rows and columns are counted from the first site that the frames hold; sites lie at equal distances.
        """
        assert self._total is not None
        mean = self._total.cpu() / torch.from_numpy(self._frames_of.astype(np.float32))[:, None, None]
        size, left = components.window, columns.start * step
        axes, offset = torch.from_numpy(components.axes), torch.from_numpy(components.offset)
        found = np.empty((len(rows), len(columns), MOMENTS, axes.shape[1]), np.float16)
        for place, row in enumerate(rows):
            strip = mean[:, row * step : row * step + size, left:]
            windows = strip.unfold(2, size, columns.step * step)[:, :, : len(columns)]
            flat = windows.permute(2, 0, 1, 3).reshape(-1, size**2)
            found[place] = (flat @ axes - offset).reshape(found.shape[1:]).numpy()
        return found
