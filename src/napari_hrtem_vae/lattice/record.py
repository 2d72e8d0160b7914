"""What is kept of each frame: arrays over time and grains, and the labelled Dataset they become."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import VideoShapeError
from ..io.results import plain_attributes
from ..io.results_probe import LATTICE, RESULT_KEY
from ..video.geometry import check_video
from .conventions import Double, angle_period_deg, wrap_deg
from .grid import LatticeGrid
from .parameters import LatticeParameters
from .tracking import Judged

_SQUARE = 0.01
DIMS = ("time", "grain")


@dataclass(frozen=True)
class Scale:
    """Pixel size of a video, square; without one lengths stay in px.

    Parameters
    ----------
    pixel : float
        In `unit`; 1 where the unit is px.
    unit : str
        "nm" or "px".
    origin : tuple of float
        Coordinate of the centre of the first pixel along y and x, in `unit`.
    """

    pixel: float
    unit: str
    origin: tuple[float, float]

    @property
    def nm(self) -> float:
        """Pixel size in nm, NaN where unknown."""
        return self.pixel if self.unit == "nm" else float("nan")


def scale_of(video: xr.DataArray) -> Scale:
    """Pixel size of a video.

    Raises
    ------
    VideoShapeError
        The pixels are not square: angles in them would be wrong.
    """
    check_video(video)
    pixel = video.attrs.get("pixel_size_nm")
    if not pixel:
        return Scale(1.0, "px", (0.0, 0.0))
    for notice in video.attrs.get("notices", []):
        if str(notice).startswith("The pixels of"):
            raise VideoShapeError(
                f"{notice.split(';')[0]}: angles would be wrong; resample the video to square "
                "pixels, or give the pixel size."
            )
    for axis in ("y", "x"):
        if axis in video.coords and video.sizes[axis] > 1:
            spacing = float(video[axis][1] - video[axis][0])
            if abs(spacing / pixel - 1) > _SQUARE:
                raise VideoShapeError(
                    f"Pixels are {spacing:.4g} nm along {axis} and {pixel:.4g} nm by the video's pixel size: "
                    "angles would be wrong; resample the video to square pixels, or give the pixel size."
                )
    origin = tuple(float(video[axis][0]) if axis in video.coords else 0.0 for axis in ("y", "x"))
    return Scale(float(pixel), "nm", (origin[0], origin[1]))


@dataclass
class Records:
    """Measurements of some frames; NaN and False until they are made.

    Parameters
    ----------
    values : dict of ndarray (time, grain) and `basis` (time, grain, 2, 2)
        Lengths in px of the video.
    reliable : ndarray (time, grain), bool
    presence : ndarray (time, grain, y, x), bool
    """

    values: dict[str, Double]
    reliable: NDArray[np.bool_]
    presence: NDArray[np.bool_]

    @classmethod
    def empty(cls, frames: int, grains: int, cells: tuple[int, int]) -> Records:
        """Records of frames that are not yet looked at."""
        names = (
            "angle_deg",
            "angle_sigma_deg",
            "spacing_px",
            "spacing_sigma_px",
            "amplitude",
            "signal",
            "area_px2",
            "area_sigma_px2",
        )
        values = {name: np.full((frames, grains), np.nan) for name in names}
        values["basis"] = np.full((frames, grains, 2, 2), np.nan)
        return cls(values, np.zeros((frames, grains), bool), np.zeros((frames, grains, *cells), bool))

    def part(self, frames: slice) -> Records:
        """The records of some frames, as views: what is put there is put here."""
        values = {name: array[frames] for name, array in self.values.items()}
        return Records(values, self.reliable[frames], self.presence[frames])

    def put(self, row: int, judged: Sequence[Judged | None], grid: LatticeGrid) -> None:
        """Take up one frame; of an unreliable grain its signal and amplitude alone."""
        for grain, one in enumerate(judged):
            if one is None:
                continue
            fit = one.fit
            self.values["signal"][row, grain] = fit.signal
            self.values["amplitude"][row, grain] = fit.amplitude
            if not one.reliable:
                continue
            self.reliable[row, grain] = True
            cell = float(grid.cell_px**2)
            for name, value in (
                ("angle_deg", one.angle_deg),
                ("angle_sigma_deg", fit.angle_sigma_deg),
                ("spacing_px", fit.spacing * grid.binning),
                ("spacing_sigma_px", fit.spacing_sigma * grid.binning),
                ("area_px2", fit.cells * cell),
                ("area_sigma_px2", fit.cells_sigma * cell),
            ):
                self.values[name][row, grain] = value
            self.values["basis"][row, grain] = fit.basis / grid.binning
            self.presence[row, grain] = fit.mask[: grid.cells[0], : grid.cells[1]]

    def dataset(self, coords: dict[str, Any], scale: Scale, parameters: LatticeParameters) -> xr.Dataset:
        """The records as a labelled Dataset; see `track_grains`."""
        values, nm = self.values, scale.nm
        period = angle_period_deg(parameters.symmetry)
        misfit = np.full((2, len(self.reliable)), np.nan)
        if self.reliable.shape[1] > 1:
            turned = values["angle_deg"][:, 1] - values["angle_deg"][:, 0]
            misfit[0] = wrap_deg(turned, period)
            misfit[1] = np.hypot(*values["angle_sigma_deg"][:, :2].T)
        table = {
            "angle_deg": (values["angle_deg"], "deg"),
            "angle_sigma_deg": (values["angle_sigma_deg"], "deg"),
            "spacing_nm": (values["spacing_px"] * nm, "nm"),
            "spacing_sigma_nm": (values["spacing_sigma_px"] * nm, "nm"),
            "spacing_px": (values["spacing_px"], "px"),
            "area_nm2": (values["area_px2"] * nm**2, "nm²"),
            "area_sigma_nm2": (values["area_sigma_px2"] * nm**2, "nm²"),
            "area_px2": (values["area_px2"], "px²"),
            "area_sigma_px2": (values["area_sigma_px2"], "px²"),
            "amplitude": (values["amplitude"], "1"),
            "signal": (values["signal"], "1"),
        }
        per_length = {"units": f"1/{scale.unit}", "long_name": "rows g1, g2; (ky, kx)"}
        # All at once: one by one each variable is aligned with those before it.
        return xr.Dataset(
            {
                **{name: (DIMS, array, {"units": unit}) for name, (array, unit) in table.items()},
                "reliable": (DIMS, self.reliable),
                "basis": ((*DIMS, "vector", "component"), values["basis"] / scale.pixel, per_length),
                "misfit_deg": ("time", misfit[0], {"units": "deg"}),
                "misfit_sigma_deg": ("time", misfit[1], {"units": "deg"}),
                "presence": ((*DIMS, "y", "x"), self.presence),
            },
            coords=coords,
        )


def coordinates(video: xr.DataArray, grid: LatticeGrid, scale: Scale, grains: int) -> dict[str, Any]:
    """Coordinates of a result: y and x are the centres of the presence cells."""
    if "time" in video.coords:
        time = np.asarray(video["time"].values, float)
        unit = str(video["time"].attrs.get("units", "s"))
    else:
        time, unit = np.arange(len(video), dtype=float), "frame"
    y, x = (scale.origin[axis] + grid.centres(axis) * scale.pixel for axis in (0, 1))
    return {
        "time": ("time", time, {"units": unit}),
        "grain": ("grain", np.arange(grains)),
        "y": ("y", y, {"units": scale.unit}),
        "x": ("x", x, {"units": scale.unit}),
    }


def attributes(
    video: xr.DataArray, grid: LatticeGrid, parameters: LatticeParameters, seed_frame: int
) -> dict[str, Any]:
    """Where a result comes from."""
    return plain_attributes(
        {
            RESULT_KEY: LATTICE,
            "source": str(video.attrs.get("source", "array")),
            "dataset": video.attrs.get("dataset"),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "pixel_size_nm": video.attrs.get("pixel_size_nm"),
            "frame_time_s": video.attrs.get("frame_time_s"),
            "parameters": json.dumps(asdict(parameters)),
            "symmetry": str(parameters.symmetry),
            "period_px": grid.period_px,
            "cell_px": grid.cell_px,
            "seed_frame": seed_frame,
            "version": version("napari-hrtem-vae"),
        }
    )


def template(
    coords: dict[str, Any],
    attrs: dict[str, Any],
    records: Records,
    frames: int,
    block: int,
    scale: Scale,
    parameters: LatticeParameters,
) -> xr.Dataset:
    """Lazy arrays of the sizes of a whole result, chunked by blocks of frames, for a store.

    Parameters
    ----------
    records : Records
        Of one frame, for the shapes.
    """
    one = records.dataset(
        {name: value for name, value in coords.items() if name != "time"}, scale, parameters
    )
    result = xr.Dataset(coords=coords, attrs=attrs)
    for name, array in one.data_vars.items():
        shape = (frames, *array.shape[1:])
        fill = False if array.dtype == bool else np.nan
        lazy = da.full(shape, fill, dtype=array.dtype, chunks=(block, *array.shape[1:]))
        result[name] = (array.dims, lazy, array.attrs)
    return result
