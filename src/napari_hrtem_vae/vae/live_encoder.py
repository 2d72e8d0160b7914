"""Encoding frames as they come: all are prepared as the first ones were, so that z can be compared."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile
import xarray as xr
from numpy.typing import NDArray

from ..errors import ParameterError, VideoShapeError
from ..io import open_video
from ..progress import Progress, Steps, relabel
from .layout import DIMS, active_latents, final_maps
from .model import Model
from .parameters import AnalyzeParameters
from .preprocessing import Band, FrameStatistics, Preprocessing, frame_statistics, prepare_steps
from .statistics import site_maps_steps
from .walk import make_encoder, site_grid

Float = NDArray[np.float32]
# A beam this much weaker than at first is off: its picture is the detector's noise.
_DARK = 0.1
_REHEARSED_FRAMES = 8


class LiveEncoder:
    """Frames (n, y, x) to z, with the grey levels, the grey range and the beam of the first frames.

    Parameters
    ----------
    model : Model
    parameters : AnalyzeParameters
    frame : ndarray (y, x), float32
        A frame of the size that all must have.
    pixel_size_nm : float or None

    Raises
    ------
    VideoShapeError
        Frames are smaller than the model's window.
    ParameterError
        Drift is to be taken out, for which the whole video must be known.
    DeviceError
        There is no such device.
    """

    def __init__(
        self, model: Model, parameters: AnalyzeParameters, frame: Float, pixel_size_nm: float | None
    ) -> None:
        if parameters.drift != "off":
            raise ParameterError(
                f"drift is {parameters.drift!r}; while a video is recorded it can only be 'off'."
            )
        self.model, self.parameters, self._pixel_size_nm = model, parameters, pixel_size_nm
        self.grid = site_grid(self._labelled(frame[None]), model.card, parameters)
        self._encoder = make_encoder(model, parameters)
        self._preprocessing: Preprocessing | None = None
        self._band: Band | None = None

    @property
    def device(self) -> str:
        """Where frames are encoded."""
        return str(self._encoder.device)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a frame's z: (y, x, latent)."""
        return (*self.grid.shape, self._encoder.latents)

    def encode_steps(self, frames: Float) -> Steps[tuple[Float, NDArray[np.bool_]]]:
        """Encode frames; the first that show anything settle how all later ones are prepared.

        Parameters
        ----------
        frames : ndarray (n, y, x), float32
            Changed.

        Returns
        -------
        z : ndarray (n, y, x, latent), float32
            NaN in frames that are not usable.
        usable : ndarray (n,), bool
            False where a frame is constant, holds NaN, or was taken with the beam off.
        """
        z = np.full((len(frames), *self.shape), np.nan, np.float32)
        if self._preprocessing is None and not (yield from self._settle_steps(frames)):
            return z, np.zeros(len(frames), bool)
        assert self._preprocessing is not None
        assert self._band is not None
        statistics = self._statistics(frames, self._preprocessing)
        prepared = self._band(frames[:, self._band.rows, self._band.columns], statistics)
        for done, rows in enumerate(self._encoder.rows(prepared)):
            z[rows.frame, rows.row : rows.row + len(rows.mean)] = rows.mean
            yield Progress(done, done, "Encoding")
        z[~statistics.usable] = np.nan
        return z, statistics.usable

    def _settle_steps(self, frames: Float) -> Steps[bool]:
        """Settle how frames are prepared; False where these show nothing."""
        try:
            self._preprocessing, _ = yield from prepare_steps(
                self._labelled(frames), self.model.card, self.parameters, self.grid
            )
        except VideoShapeError:
            return False
        rows, columns = self.grid.shape
        self._band = self._preprocessing.band((slice(0, rows), slice(0, columns)), self._encoder.device)
        return True

    @staticmethod
    def _statistics(frames: Float, preprocessing: Preprocessing) -> FrameStatistics:
        statistics = frame_statistics(frames, preprocessing.levels)
        usable = statistics.usable
        if preprocessing.beam is not None:
            usable = usable & (statistics.mean > _DARK * preprocessing.beam)
        # What is divided by must be a number, of frames that are left out too.
        return replace(statistics, usable=usable, mean=np.where(usable, statistics.mean, np.float32(1)))

    def _labelled(self, frames: Float) -> xr.DataArray:
        attrs = {} if self._pixel_size_nm is None else {"pixel_size_nm": self._pixel_size_nm}
        video = xr.DataArray(frames, dims=("time", "y", "x"), attrs=attrs)
        if self._pixel_size_nm is None:
            return video
        return video.assign_coords(
            {axis: np.arange(video.sizes[axis]) * self._pixel_size_nm for axis in ("y", "x")}
        )


def rehearse_steps(model: Model, parameters: AnalyzeParameters) -> Steps[None]:
    """Analyse a few small frames of noise: readers are loaded, threads started, kernels chosen.

    It takes about a second, and as much from the lag of the first frames.
    """

    def progress() -> Progress:
        return Progress(0, 0, "Getting ready")

    yield progress()
    side = 2 * model.card.window
    noise = np.random.default_rng(0).poisson(20, (_REHEARSED_FRAMES, side, side)).astype(np.uint16)
    with tempfile.TemporaryDirectory() as scratch:
        tifffile.imwrite(Path(scratch) / "noise.tif", noise[0])
        open_video(Path(scratch) / "noise.tif").data.compute(scheduler="synchronous", callbacks=())
    yield progress()
    frames = noise.astype(np.float32)
    # A zoom is of the video: frames of this size are large enough as they are.
    encoder = LiveEncoder(model, replace(parameters, zoom=None), frames[0], None)
    z, _ = yield from relabel(encoder.encode_steps(frames), progress)
    raw, p = yield from relabel(site_maps_steps(z), progress)
    coords = {
        name: xr.DataArray(np.arange(size), dims=name) for name, size in zip(DIMS, z.shape, strict=True)
    }
    final_maps(raw, p, coords, active_latents(model.card), encoder.grid, parameters)
    yield progress()
