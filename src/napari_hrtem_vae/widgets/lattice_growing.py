"""A lattice result that is still growing: blocks of frames put where they belong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..io.memory import memory_budget
from .lattice_maps import LABELS, labels_of

if TYPE_CHECKING:
    import xarray as xr


class GrowingResult:
    """All frames of a tracking, NaN (presence: False) where they are not done.

    Presence is kept, with its labels, where the whole of it fits into memory; else it is seen at the end,
    from the store.

    Parameters
    ----------
    video : DataArray (time, y, x)
        What is tracked.
    parameters : LatticeParameters
        How.

    Attributes
    ----------
    result : xarray.Dataset or None
        None until the first block came; then it changes in place.
    """

    def __init__(self, video: xr.DataArray, parameters: Any) -> None:
        count = video.sizes["time"]
        self._times = (
            np.asarray(video["time"], float) if "time" in video.coords else np.arange(count, dtype=float)
        )
        self._attrs: dict[str, Any] = {
            "symmetry": str(parameters.symmetry),
            "source": str(video.attrs.get("source", "array")),
        }
        self._memory_gb = parameters.memory_gb
        if video.attrs.get("pixel_size_nm"):
            self._attrs["pixel_size_nm"] = video.attrs["pixel_size_nm"]
        self.result: xr.Dataset | None = None

    def put(self, block: xr.Dataset) -> None:
        """Take up a block of frames, by its times."""
        if self.result is None:
            self.result = self._empty(block)
        rows = np.searchsorted(self._times, np.asarray(block["time"], float) - 1e-9)
        for name in set(self.result.data_vars) - {LABELS}:
            self.result[name].values[rows] = block[name].values
        if LABELS in self.result:
            self.result[LABELS].values[rows] = labels_of(block["presence"].values)

    def _empty(self, block: xr.Dataset) -> xr.Dataset:
        import xarray as xr

        # as the finished result tells it
        cell = float(block["x"][1] - block["x"][0]) / float(self._attrs.get("pixel_size_nm", 1.0))
        self._attrs["cell_px"] = round(cell)
        result = xr.Dataset(coords=block.drop_vars("time").coords, attrs=self._attrs)
        result["time"] = ("time", self._times, block["time"].attrs)
        frames, grid = len(self._times), block["presence"].shape[-2:]
        for name, field in block.drop_vars("presence").data_vars.items():
            fill = False if field.dtype == bool else np.nan
            result[name] = (field.dims, np.full((frames, *field.shape[1:]), fill, field.dtype), field.attrs)
        if frames * (block.sizes["grain"] + 1) * grid[0] * grid[1] <= memory_budget(self._memory_gb):
            # zeros take memory only where they are overwritten
            dims = block["presence"].dims
            result["presence"] = (dims, np.zeros((frames, *block["presence"].shape[1:]), bool))
            result[LABELS] = ((dims[0], *dims[-2:]), np.zeros((frames, *grid), np.uint8))
        return result
