"""Drift of the specimen: where each frame lies against the others, measured in two passes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import ParameterError, VideoShapeError
from ..io.open import open_video
from ..progress import Progress, Steps, run
from .correlation import Complex, Correlator, Match
from .fringes import fringe_period_px
from .geometry import check_video
from .outliers import GreyLevels, grey_levels, replace_dead_pixels, replace_outliers
from .reading import CHUNK_BYTES, read_ahead, read_frames
from .shift import MODES, apply_shifts

Float = NDArray[np.float32]
Double = NDArray[np.float64]
LOCKS = ("auto", "support", "lattice")
# Frames are averaged down to about this size: a shift needs no finer pixels.
_SIZE = 640
_SMALLEST = 16
_SAMPLE_FRAMES, _SAMPLE_SIZE = 5, 256
# What a particle looks like as a whole changes while it grows or shrinks: lengths over so many periods.
_LONGEST_PERIODS = 1.4
_NOTCH = (0.82, 1.2)
_HIGHEST_ORDER = 1.9
_LATTICE = (0.6, 2.3)
# Share of the running reference that is kept from frame to frame.
_MEMORY = 0.97
# The highest of a million values of noise has 5 standard deviations.
_STRENGTH = 6.5
_RIVAL = 0.75
_LARGEST_SIGMA_PX = 1.0
_TRACKS = 4
# With fewer frames told than this share by the support, the lattice is tried; it must tell more than that.
_FEW, _MOST = 0.7, 0.9
# In periods: a step further than this is as likely one the other way; of steps with this standard deviation
# one in ten thousand is longer than half a period.
_LONGEST_STEP, _SHORT_STEP = 0.35, 0.13
# Noise of a ring's median: less above the noise than this is none.
_CLEAR = 1.05


@dataclass(frozen=True)
class DriftParameters:
    """How drift is measured.

    Parameters
    ----------
    lock : str
        What is held still. "support": the film under the particles (their lattices, which may turn and
        move by themselves, are left out). "lattice": the crystals; a step of more than half a lattice
        period between frames cannot be told from a smaller one, and of more than a third is marked.
        "auto": the support, and where it has no texture the lattice, if the steps are short against it.
    period_px : float, optional
        Lattice period in px; by default found by Fourier transform.
    longest_jump_px : float, optional
        Farthest that the specimen moves from one frame to the next; by default a quarter of the frame.
    region : tuple of int, optional
        Rows and columns (first row, last row, first column, last column; last ones excluded) that are
        looked at: bare support, or a grain to lock to. By default the whole frame.

    Raises
    ------
    ParameterError
        A value lies outside its range.
    """

    lock: str = "auto"
    period_px: float | None = None
    longest_jump_px: float | None = None
    region: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.lock not in LOCKS:
            raise ParameterError(f"lock is {self.lock!r}; give one of {', '.join(LOCKS)}.")
        for name, least in (("period_px", 2.0), ("longest_jump_px", 0.0)):
            value = getattr(self, name)
            if value is not None and not (least < value < np.inf):
                raise ParameterError(f"{name} is {value!r}; give a number of pixels above {least:g}.")
        if self.region is not None:
            top, bottom, left, right = self.region
            if min(top, left) < 0 or min(bottom - top, right - left) < _SMALLEST:
                raise ParameterError(
                    f"region is {self.region!r}; give first row, last row, first column, last column, "
                    f"at least {_SMALLEST} px apart."
                )


def estimate_drift_steps(video: xr.DataArray, parameters: DriftParameters | None = None) -> Steps[xr.Dataset]:
    """Measure where the specimen lies in each frame; reads the video twice (four times with "auto", where
    the support tells nothing).

    Each frame is matched by correlation with the running mean of those before it, then, in a second pass,
    with the mean of all the others. Low frequencies (the shapes of particles, which grow and shrink), the
    ring of the lattice's spots, and single frequencies that stand far out of their ring are left out;
    the rest is weighted by its signal against noise, as found in the frames.

    Parameters
    ----------
    video : DataArray (time, y, x)
    parameters : DriftParameters, optional

    Returns
    -------
    Dataset (time)
        `dy_px`, `dx_px`: displacement of the specimen against its first reliable frame, in px; positive
        down and to the right. `sigma_px`: standard error of each along either axis. `reliable`: False
        where no place could be told (constant frame, NaN, no or several matches); the displacement is NaN
        there. attrs: "lock", what was held still.

    Raises
    ------
    VideoShapeError
        No video, or frames smaller than 16 px.
    VideoFileError
        Frames cannot be read.
    """
    parameters = parameters or DriftParameters()
    check_video(video)
    looked_at = _region(video, parameters.region)
    yield Progress(0, 2 * len(video), "Looking at the video")
    levels = yield from _levels_steps(looked_at)
    period = parameters.period_px or fringe_period_px(looked_at)
    lock = "lattice" if parameters.lock == "lattice" else "support"
    if lock == "lattice" and period is None:
        raise VideoShapeError(
            "No lattice stands out in the video, so there is none to lock to; give its period or lock to the "
            "support."
        )
    found = yield from _measure_steps(looked_at, _Setting.of(looked_at, levels, period, lock, parameters))
    told = np.isfinite(found[:, 0]).mean()
    if parameters.lock == "auto" and period is not None and told < _FEW and len(video) > 1:
        setting = _Setting.of(looked_at, levels, period, "lattice", parameters)
        by_lattice = yield from _measure_steps(looked_at, setting)
        if _is_unambiguous(by_lattice, period):
            found, lock = by_lattice, "lattice"
    return _dataset(video, found, lock)


def _is_unambiguous(found: Double, period: float) -> bool:
    """Whether steps between frames are so short against the lattice that none can have slipped."""
    known = found[np.isfinite(found[:, 0]), :2]
    if len(known) < max(2, _MOST * len(found)):
        return False
    return bool(np.sqrt((np.diff(known, axis=0) ** 2).mean()) <= _SHORT_STEP * period)


def _dataset(video: xr.DataArray, found: Double, lock: str) -> xr.Dataset:
    px = {"units": "px"}
    reliable = np.isfinite(found[:, 0])
    coords = {"time": video["time"]} if "time" in video.coords else {}
    return xr.Dataset(
        {
            "dy_px": ("time", found[:, 0], px),
            "dx_px": ("time", found[:, 1], px),
            "sigma_px": ("time", found[:, 2], px),
            "reliable": ("time", reliable),
        },
        coords=coords,
        attrs={"lock": lock},
    )


def _region(video: xr.DataArray, region: tuple[int, int, int, int] | None) -> xr.DataArray:
    if region is not None:
        top, bottom, left, right = region
        if bottom > video.shape[1] or right > video.shape[2]:
            raise ParameterError(
                f"region is {region!r}, and frames have {video.shape[1]} × {video.shape[2]} px; "
                "give a region inside them."
            )
        video = video[:, top:bottom, left:right]
    if min(video.shape[1:]) < _SMALLEST:
        raise VideoShapeError(
            f"Frames of {video.shape[1]} × {video.shape[2]} px are too small to tell a drift; "
            f"give {_SMALLEST} px or more."
        )
    return video


def _levels_steps(video: xr.DataArray) -> Steps[GreyLevels]:
    picks = np.unique(np.linspace(0, len(video) - 1, _SAMPLE_FRAMES).round().astype(int))
    stride = max(1, min(video.shape[1:]) // _SAMPLE_SIZE)
    sample: list[Float] = []
    for pick in picks:
        yield Progress(0, 2 * len(video), "Looking at the video")
        sample.append(read_frames(video, slice(pick, pick + 1))[0, ::stride, ::stride].copy())
    return grey_levels(np.stack(sample))


@dataclass(frozen=True)
class _Setting:
    """What both passes share."""

    correlator: Correlator
    levels: GreyLevels
    bin: int
    band: Float
    lattice_period: float | None
    reach: tuple[float, float]
    apart: float

    @classmethod
    def of(
        cls,
        video: xr.DataArray,
        levels: GreyLevels,
        period: float | None,
        lock: str,
        parameters: DriftParameters,
    ) -> _Setting:
        shape = video.shape[1:]
        size = max(1, round(max(shape) / _SIZE))
        size = min(size, min(shape) // _SMALLEST)
        if lock == "lattice" and period is not None:
            size = max(1, min(size, int(period / 4)))
        correlator = Correlator((shape[0] // size, shape[1] // size))
        fringes = None if period is None else period / size
        reach = parameters.longest_jump_px
        reaches = [edge / 4 if reach is None else reach for edge in shape]
        if lock == "lattice" and period is not None:
            reaches = [min(reach, 0.5 * period) for reach in reaches]
        band = _passed(correlator.radius, fringes, lock)
        apart = max(3.0, 0.7 * fringes if fringes else 0.0)
        locked = fringes if lock == "lattice" else None
        return cls(correlator, levels, size, band, locked, (reaches[0] / size, reaches[1] / size), apart)

    def first_weights(self, power: Double, frames: float) -> Float:
        """Weights of frequencies while one frame's power by ring is known, against a mean of `frames`."""
        if self.lattice_period is not None:
            return self.band / (self.correlator.spread(power) + np.float32(1e-20))
        size = min(self.correlator.shape)
        # The finest rings hold noise alone.
        noise = float(np.median(power[int(0.4 * size) : int(0.5 * size)]))
        signal = np.maximum(power - _CLEAR * noise, 0)
        return self.band * self.correlator.spread(signal / (power * (signal + noise / frames) + 1e-20))

    def weights(self, power: Double, power_of_mean: Double, frames: int) -> Float:
        """Weights of frequencies from the power by ring of single frames and of their mean."""
        if self.lattice_period is not None:
            return self.band / (self.correlator.spread(power) + np.float32(1e-20))
        # What the mean has kept is the frames' common picture, plus their noise over their number.
        kept = np.maximum((power_of_mean - power / frames) / (1 - 1 / frames), 0)
        noise = np.maximum(power - kept, 0.05 * power)
        return self.band * self.correlator.spread(kept / (noise * (kept + noise / frames) + 1e-20))

    def spectra(self, frames: Float) -> list[Complex | None]:
        """Spectra of frames (n, y, x), which are changed; None for one without a picture."""
        finite = np.isfinite(frames)
        whole = finite.all((1, 2))
        enough = whole | (finite.mean((1, 2)) > 0.5)
        frames[~finite] = self.levels.median
        replace_dead_pixels(replace_outliers(frames, self.levels), self.levels)
        (rows, columns), b = self.correlator.shape, self.bin
        frames = frames[:, : rows * b, : columns * b]
        summed = np.sum([frames[:, first::b] for first in range(b)], axis=0)
        small = np.sum([summed[..., first::b] for first in range(b)], axis=0) / np.float32(b * b)
        return [
            self.correlator.spectrum(frame) if usable and frame.std() > 0 else None
            for frame, usable in zip(small, enough, strict=True)
        ]


def _passed(radius: Double, period: float | None, lock: str) -> Float:
    """Share of each frequency that is looked at, by |k| in cycles per px."""
    if lock == "lattice" and period is not None:
        order = radius * period
        return np.asarray((order > _LATTICE[0]) & (order < _LATTICE[1]), np.float32)
    longest = _LONGEST_PERIODS * period if period is not None else 1 / (30 * radius[0, 1])
    band = 1 - np.exp(-2 * (np.pi * longest * radius) ** 2)
    if period is not None:
        order = radius * period
        band[(order > _NOTCH[0]) & (order < _NOTCH[1]) | (order > _HIGHEST_ORDER)] = 0
    return np.asarray(band, np.float32)


@dataclass(eq=False)
class _Track:
    """Frames that match each other, and their sum in the place of the first."""

    running: Complex
    total: Complex
    weight: float
    power: Double
    last: Double
    sigma: float = 0.0
    shifts: dict[int, Double] = field(default_factory=dict)

    @classmethod
    def begin(cls, frame: int, spectrum: Complex, power: Double) -> _Track:
        return cls(
            spectrum.copy(), spectrum.copy(), 1.0, power.copy(), np.zeros(2), shifts={frame: np.zeros(2)}
        )

    def add(self, frame: int, spectrum: Complex, power: Double, match: Match) -> None:
        """Take up a frame; `spectrum` is back in the place of the first."""
        self.running *= np.float32(_MEMORY)
        self.running += spectrum
        self.total += spectrum
        self.power += power
        self.weight = _MEMORY * self.weight + 1
        self.last = match.shift
        self.sigma = match.mean_sigma
        self.shifts[frame] = match.shift


def _measure_steps(video: xr.DataArray, setting: _Setting) -> Steps[Double]:
    """Shift along y and x and its error of each frame, in px of the video; NaN where none was found."""
    found = np.full((len(video), 3), np.nan)
    track = yield from _first_pass_steps(video, setting)
    if track is None:
        return found
    c, n = setting.correlator, len(track.shifts)
    if n < min(3, len(video)):
        # Of many frames two may match by chance, and one is no match.
        return found
    if n < 3:
        for frame, shift in track.shifts.items():
            found[frame] = [*shift * setting.bin, track.sigma * setting.bin]
        return found
    weights = setting.weights(track.power / n, c.ring_power(track.total) / n**2, n)
    known = sorted(track.shifts)
    for frame, spectrum in _spectra(video, setting):
        yield Progress(len(video) + frame, 2 * len(video), "Measuring drift, second pass")
        if spectrum is None:
            continue
        if setting.lattice_period is None:
            spectrum = c.limited(spectrum, c.ring_power(spectrum))
        others = track.total
        near = track.shifts.get(frame)
        if near is not None:
            others = others - c.moved(spectrum, -near)
        else:
            near = track.shifts[min(known, key=lambda other: abs(other - frame))]
        match = c.match(spectrum * np.conj(others) * weights, near, setting.reach, setting.apart)
        if _sure(match, near, setting):
            found[frame] = [*match.shift * setting.bin, match.mean_sigma * setting.bin]
    first = np.flatnonzero(np.isfinite(found[:, 0]))[:1]
    found[:, :2] -= found[first, :2].sum(0)
    return found


def _first_pass_steps(video: xr.DataArray, setting: _Setting) -> Steps[_Track | None]:
    """Follow the frames from one to the next; the longest run of them that match each other."""
    c = setting.correlator
    tracks: list[_Track] = []
    for frame, spectrum in _spectra(video, setting):
        yield Progress(frame, 2 * len(video), "Measuring drift, first pass")
        if spectrum is None:
            continue
        power = c.ring_power(spectrum)
        if setting.lattice_period is None:
            spectrum = c.limited(spectrum, power)
        for track in tracks:
            weights = setting.first_weights(power, track.weight)
            product = spectrum * np.conj(track.running) * weights
            match = c.match(product, track.last, setting.reach, setting.apart)
            if _sure(match, track.last, setting):
                track.add(frame, c.moved(spectrum, -match.shift), power, match)
                tracks.remove(track)
                tracks.insert(0, track)
                break
        else:
            if len(tracks) == _TRACKS:
                tracks.remove(min(tracks, key=lambda track: len(track.shifts)))
            tracks.insert(0, _Track.begin(frame, spectrum, power))
    return max(tracks, key=lambda track: len(track.shifts), default=None)


def _sure(match: Match, near: Double, setting: _Setting) -> bool:
    """Whether a match is the frame's place, and not noise or one of several."""
    fine = float(match.sigma.max()) * setting.bin <= _LARGEST_SIGMA_PX
    if setting.lattice_period is None:
        single = match.rival <= _RIVAL
    else:
        # Every period of a lattice is a rival: the nearest is taken where it is much nearer than the next.
        single = float(np.abs(match.shift - near).max()) <= _LONGEST_STEP * setting.lattice_period
    return bool(fine and single and match.strength >= _STRENGTH)


def _spectra(video: xr.DataArray, setting: _Setting) -> Iterator[tuple[int, Complex | None]]:
    """Numbers and spectra of frames in order; None without a picture, and while a read takes time."""
    count = max(1, CHUNK_BYTES // (4 * video[0].size))
    done = 0

    def prepare(start: int, frames: Float) -> list[Complex | None]:
        return setting.spectra(frames)

    for chunk in read_ahead(video, count, slice(None), prepare):
        if chunk is None:
            yield done, None
        else:
            yield from enumerate(chunk[1], chunk[0])
            done = chunk[0] + len(chunk[1])


def check_told(shifts: xr.Dataset) -> None:
    """Raise `VideoShapeError` where no frame's place could be told."""
    if not shifts["reliable"].any():
        raise VideoShapeError(
            "The drift of this video cannot be told from its frames: none matches the others; give a region, "
            "a lattice period, or frames with more electrons."
        )


def align_steps(
    video: xr.DataArray, parameters: DriftParameters | None = None, mode: str = "whole"
) -> Steps[tuple[xr.DataArray, xr.Dataset]]:
    """Measure drift and take it out; see `align`."""
    if mode not in MODES:
        raise ParameterError(f"mode is {mode!r}; give one of {', '.join(MODES)}.")
    shifts = yield from estimate_drift_steps(video, parameters)
    check_told(shifts)
    levels = (yield from _levels_steps(video)) if mode == "subpixel" else None
    aligned = apply_shifts(video, shifts, mode, levels=levels)
    shifts.attrs["mode"] = mode
    return aligned, shifts


def align(
    video: xr.DataArray | NDArray[Any] | str | Path, *, mode: str = "whole", **options: Any
) -> tuple[xr.DataArray, xr.Dataset]:
    """A video with the drift of its specimen taken out.

    Parameters
    ----------
    video : DataArray (time, y, x), array, or path
        As `open_video` takes it.
    mode : str
        "whole" (default): frames move by whole pixels, so that every value stays one that the camera
        gave, counts stay counts, and the noise of neighbouring pixels stays independent; up to half a
        pixel of drift is left. "subpixel": by the phases of the Fourier transform; outliers and dead
        pixels, which would ring, are replaced first.
    **options
        Fields of `DriftParameters`.

    Returns
    -------
    aligned : DataArray (time, y, x), float32
        Lazy: frames are moved when they are read. Coordinates and attributes are the video's. Pixels for
        which a frame has nothing are NaN, and so are all of a frame whose place could not be told.
    shifts : Dataset (time)
        As of `estimate_drift_steps`.

    Raises
    ------
    ParameterError, VideoShapeError, VideoFileError
    """
    video = video if isinstance(video, xr.DataArray) else open_video(video)
    return run(align_steps(video, DriftParameters(**options), mode))
