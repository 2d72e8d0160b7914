"""A lattice result that is still growing: blocks of frames put where they belong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr


class GrowingResult:
    """All frames of a tracking, NaN (presence: False) where they are not done.

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
        if video.attrs.get("pixel_size_nm"):
            self._attrs["pixel_size_nm"] = video.attrs["pixel_size_nm"]
        self.result: xr.Dataset | None = None

    def put(self, block: xr.Dataset) -> None:
        """Take up a block of frames, by its times."""
        if self.result is None:
            self.result = self._empty(block)
        rows = np.searchsorted(self._times, np.asarray(block["time"], float) - 1e-9)
        for name, field in block.data_vars.items():
            self.result[name].values[rows] = field.values

    def _empty(self, block: xr.Dataset) -> xr.Dataset:
        import xarray as xr

        # as the finished result tells it
        cell = float(block["x"][1] - block["x"][0]) / float(self._attrs.get("pixel_size_nm", 1.0))
        self._attrs["cell_px"] = round(cell)
        result = xr.Dataset(coords=block.drop_vars("time").coords, attrs=self._attrs)
        result["time"] = ("time", self._times, block["time"].attrs)
        for name, field in block.data_vars.items():
            fill = False if field.dtype == bool else np.nan
            shape = (len(self._times), *field.shape[1:])
            result[name] = (field.dims, np.full(shape, fill, field.dtype), field.attrs)
        return result
