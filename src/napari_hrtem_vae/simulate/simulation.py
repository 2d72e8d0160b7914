"""A scenario played: frame after frame with its truth, and what is known of the whole."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import ParameterError
from .detector import beam_of, dead_pixels, expose
from .imaging import FastImager, Imager, margin_px
from .parameters import ScenarioParameters
from .scenes import Grain, Scene
from .truth import KINDS, Frame, change_since, kinds_of

_BYTES_AT_WORK = 110  # of a pixel of the frame that is being made; measured
_BYTES_OF_FILM = 40  # of a pixel of the film, which reaches as far as frames shift
_PBS_PERIOD_NM = 0.2968  # a / 2: the square net of columns of PbS seen along ⟨100⟩
_FILM, _DRIFT, _HITS, _DEAD = range(1, 5)  # random streams beside the main one: an option changes no other's


class Simulation:
    """A scenario with its parameters: frames one after the other, and what is known of all of them.

    Parameters
    ----------
    scenario : str
        A key of `SCENARIOS`, or several joined by +; see `scenes.words_of`.
    parameters : ScenarioParameters
    frames_held : int, optional
        How many frames are in memory at once; all when left out.

    Raises
    ------
    ParameterError
        No such scenario, too many crystals, or it takes more than half of the memory that is free.
    """

    def __init__(
        self, scenario: str, parameters: ScenarioParameters, *, frames_held: int | None = None
    ) -> None:
        self.scenario = scenario
        if parameters.imaging == "multislice":
            parameters = replace(parameters, period_px=_PBS_PERIOD_NM / parameters.pixel_size_nm)
        self.parameters = p = parameters
        self._scene = Scene(scenario, p)
        self.n_grains = self._scene.n_grains
        self._drift = self._scene.drift(self._stream(_DRIFT))
        self._margin = margin_px(self._drift)
        _check_memory(p, self.n_grains, frames_held or p.frames, self._margin)
        self._defocus_nm = self._scene.defocus_nm()
        self._rng = np.random.default_rng(p.seed)
        self._shifts = self._beam = np.zeros(0)
        self._imager: Imager | None = None

    def frames(self) -> Generator[Frame | None, None, None]:
        """The frames in turn; None comes between them where one takes long."""
        p = self.parameters
        self._imager = imager = self._make_imager()
        self._shifts = self._rng.normal(0, p.jitter_px, (p.frames, 2)) + self._drift
        self._beam = beam_of(p, p.frames, self._rng)
        hits = self._stream(_HITS)
        dead = dead_pixels(p, (p.rows, p.columns), self._stream(_DEAD))
        before = self._scene.grains(0)
        for index in range(p.frames):
            grains = self._grains(index)
            shift, defocus = self._shift(index), float(self._defocus_nm[index])
            coverage = imager.coverage(grains, shift)
            rate = yield from imager.rate(grains, coverage, shift, self._moment(index), defocus)
            counts = expose(rate, p, self._beam[index], self._rng, hits)
            counts[dead] = 0
            presence = np.stack([share > 0.5 for share in coverage])
            change = change_since(imager, before, grains, presence, shift)
            yield Frame(counts, presence, change, imager.areas_px(grains, coverage, shift))

    def moving(self) -> NDArray[np.uint8]:
        """Kind of change (y, x) from the first frame to the last, where the specimen lies without shift."""
        imager = self._made()
        before, after = self._scene.grains(0), self._grains(self.parameters.frames - 1)
        presence = np.stack([share > 0.5 for share in imager.coverage(after, (0.0, 0.0))])
        return kinds_of(change_since(imager, before, after, presence, (0.0, 0.0)))

    def tables(self, areas_px: list[list[float]]) -> xr.Dataset:
        """All truth that is not by the pixel and the frame, with coordinates and attributes.

        Parameters
        ----------
        areas_px : list of list of float
            As the frames told them, (time, grain).
        """
        p, imager = self.parameters, self._made()
        states = np.empty((p.frames, self.n_grains, 4))
        for index, defocus in enumerate(self._defocus_nm):
            states[index] = [
                (one.angle_deg, *one.displacement, imager.fringe_contrast(one, float(defocus)))
                for one in self._grains(index)
            ]
        angles, displaced_y, displaced_x, contrast = np.moveaxis(states, -1, 0)
        by_grain, px = ("time", "grain"), {"units": "px"}
        table = xr.Dataset(
            {
                "angle_deg": (by_grain, angles, {"units": "deg"}),
                "area_nm2": (by_grain, np.array(areas_px) * p.pixel_size_nm**2, {"units": "nm²"}),
                "displacement_y_px": (by_grain, displaced_y, px),
                "displacement_x_px": (by_grain, displaced_x, px),
                "contrast": (by_grain, contrast, {"units": "1"}),
                "shift_y_px": ("time", self._shifts[:, 0], px),
                "shift_x_px": ("time", self._shifts[:, 1], px),
                "defocus_nm": ("time", self._defocus_nm, {"units": "nm"}),
                "beam": ("time", self._beam, {"units": "1"}),
                "moving": (("y", "x"), self.moving(), {"names": list(KINDS)}),
            },
            coords=self.coordinates(),
            attrs=self.attributes(),
        )
        if self.n_grains == 2:
            table["misfit_deg"] = ("time", angles[:, 1] - angles[:, 0], {"units": "deg"})
        return table

    def coordinates(self) -> dict[str, Any]:
        """Of time in s, y and x in nm."""
        p, nm = self.parameters, {"units": "nm"}
        return {
            "time": ("time", np.arange(p.frames) * p.frame_time_s, {"units": "s"}),
            "y": ("y", np.arange(p.rows) * p.pixel_size_nm, nm),
            "x": ("x", np.arange(p.columns) * p.pixel_size_nm, nm),
        }

    def attributes(self) -> dict[str, Any]:
        """Of the Dataset: what made it."""
        p = self.parameters
        return {
            "scenario": self.scenario,
            "seed": int(p.seed),
            "dose_e_per_px": p.dose_e_per_px,
            "period_px": p.period_px,
            "parameters": json.dumps(asdict(p), default=float),
        }

    def layout(self) -> dict[str, tuple[tuple[str, ...], Any, dict[str, Any]]]:
        """Dims, dtype and attributes of what comes by the frame: `video`, `presence`, `change`."""
        p = self.parameters
        video = {
            "pixel_size_nm": p.pixel_size_nm,
            "frame_time_s": p.frame_time_s,
            "source": f"simulated {self.scenario}",
            "units": "counts",
        }
        # As the CF conventions have it for bits (section 3.5).
        flags = {
            "flag_masks": [1 << index for index in range(len(KINDS) - 1)],
            "flag_meanings": " ".join(KINDS[1:]),
        }
        return {
            "video": (("time", "y", "x"), np.uint16, video),
            "presence": (("time", "grain", "y", "x"), np.bool_, {}),
            "change": (("time", "y", "x"), np.uint8, flags),
        }

    def sizes(self) -> dict[str, int]:
        """Length of each dim."""
        p = self.parameters
        return {"time": p.frames, "grain": self.n_grains, "y": p.rows, "x": p.columns}

    def _make_imager(self) -> Imager:
        p = self.parameters
        if p.imaging == "fast":
            return FastImager(p, self._rng, self._margin, self._stream(_FILM))
        from .atomic_imaging import AtomicImager

        return AtomicImager(p, self._stream(_FILM), self._margin)

    def _made(self) -> Imager:
        if self._imager is None:
            self._imager = self._make_imager()
        return self._imager

    def _stream(self, number: int) -> np.random.Generator:
        return np.random.default_rng([self.parameters.seed, number])

    def _moment(self, index: int) -> float:
        return index / max(self.parameters.frames - 1, 1)

    def _grains(self, index: int) -> list[Grain]:
        return self._scene.grains(self._moment(index))

    def _shift(self, index: int) -> tuple[float, float]:
        return self._shifts[index, 0], self._shifts[index, 1]


def _check_memory(p: ScenarioParameters, n_grains: int, frames_held: int, margin: int) -> None:
    """Refuse a video that would not fit, before memory is taken."""
    from ..io.memory import memory_budget

    # A pixel of the video takes two bytes, one for its change and one for each crystal, and one at the end.
    need = p.rows * p.columns * (frames_held * (4 + n_grains) + _BYTES_AT_WORK)
    need += (p.rows + 2 * margin) * (p.columns + 2 * margin) * _BYTES_OF_FILM
    half = 2 * memory_budget()
    if need > half:
        held = "" if frames_held == p.frames else f", {frames_held} at once,"
        raise ParameterError(
            f"A video of {p.frames} frames{held} of {p.rows} × {p.columns} px takes {need / 1e9:.1f} GB "
            f"here, over half of the free memory ({half / 1e9:.1f} GB); give fewer frames, rows or columns."
        )
