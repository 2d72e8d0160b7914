"""From a video to the angles, spacings, areas and presence of its grains through time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ..errors import LatticeError, ParameterError, ResultError
from ..io.memory import keep_freed_memory, memory_budget
from ..io.open import open_video
from ..io.results import ResultStore, check_place
from ..progress import Progress, Steps, run
from ..video.reading import read_frames
from .conventions import Double, misfit_deg
from .first_look import seed_steps
from .frame import GrainFit, GrainSpots, GrainStart
from .grid import LatticeGrid
from .parameters import MOST_GRAINS, LatticeParameters
from .record import Records, Scale, attributes, coordinates, scale_of, template
from .spectra import SpectrumReader
from .tracking import GrainTrack, follow

_BLOCK = 32
_LARGEST_FRAME = 1 << 28


def track_grains(
    video: xr.DataArray | NDArray[Any] | str | Path,
    n_grains: int = 2,
    symmetry: Any = 4,
    *,
    bases: ArrayLike | None = None,
    store: str | Path | None = None,
    **options: Any,
) -> xr.Dataset:
    """Angles, spacings, areas and presence of the grains in a video; see `track_grains_steps`.

    Parameters
    ----------
    video : DataArray (time, y, x), array, or path
    n_grains : int
        How many grains to follow, 1 to 6.
    symmetry : {4, 6, 2, "any"}
    bases : array (grain, 2, 2), optional
        Reciprocal bases in cycles per px to start from.
    store : path, optional
        Where the result is written while it is made.
    **options
        Other fields of `LatticeParameters`.
    """
    video = video if isinstance(video, xr.DataArray) else open_video(video)
    parameters = LatticeParameters(n_grains=n_grains, symmetry=symmetry, **options)
    return run(track_grains_steps(video, parameters, bases=bases, store=store))


def track_grains_steps(
    video: xr.DataArray,
    parameters: LatticeParameters,
    *,
    bases: ArrayLike | None = None,
    store: str | Path | None = None,
) -> Steps[xr.Dataset]:
    """Find grains and follow them; yields progress by the frame and each block of frames when it is done.

    Parameters
    ----------
    video : DataArray (time, y, x)
    parameters : LatticeParameters
    bases : array (grain, 2, 2), optional
        Reciprocal bases, (ky, kx) in cycles per px, to start from in the first frame; found if not given.
    store : path, optional
        Where the result is written while it is made; a run that was stopped goes on there.

    Returns
    -------
    Dataset
        (time, grain): `angle_deg` (from x towards y, clockwise on a screen), `area_nm2`, `spacing_nm`, each
        with its standard error `…_sigma…`; `signal`, fringe amplitude over its noise; `reliable`. `basis`
        (time, grain, 2, 2): rows g1 and g2, (ky, kx) in 1/nm. (time): `misfit_deg` from grain 0 to grain 1,
        `misfit_sigma_deg`. `presence` (time, grain, y, x), bool, on cells of a fifth of a period or so whose
        centres are y and x. Where a grain is not `reliable` its values are NaN and its presence False.
        The largest grain comes first, but that the first two stand so that their misfit is positive. Without
        a pixel size the values in nm are NaN, and `area_px2`, `spacing_px` tell them in px.

    Raises
    ------
    LatticeError
        No lattice stands out of the noise.
    VideoShapeError
        No video, or its pixels are not square.
    ParameterError, ResultError, VideoFileError

    Notes
    -----
    The angle is that of maximum likelihood for plane waves in noise, its error the curvature of the
    likelihood; noise is taken from the spectrum at the same |k|, so that it holds the amorphous film, which
    is the same in all frames: changes of angle are better known than angles. Areas are of the lattice's
    footprint, which grows off focus by delocalisation.
    """
    if store is not None:
        check_place(store)
    scale = scale_of(video)
    _check_size(video)
    keep_freed_memory()
    given = None if bases is None else _checked_bases(bases)
    seed = yield from seed_steps(video, parameters, given)
    found, reader = seed.found, seed.reader
    assert reader is not None
    order = _order(found.fits, parameters)
    fits, orders = [found.fits[one] for one in order], [found.orders[one] for one in order]
    grains = len(fits)
    starts = [GrainStart(fit.basis, fit.mask) for fit in fits]
    kept = (scale, parameters, store, seed.frame, given)
    with closing(reader), closing(_Keeper.open(video, reader.grid, grains, *kept)) as keeper:
        for blocks in _blocks(len(video), seed.frame):
            tracks = [
                GrainTrack(start, fit.angle_deg, held=fit) for start, fit in zip(starts, fits, strict=True)
            ]
            yield from _follow_steps(reader, tracks, keeper, blocks, orders, parameters)
        return keeper.finish(_notices(video, parameters, grains))


def _follow_steps(
    reader: SpectrumReader,
    tracks: list[GrainTrack],
    keeper: _Keeper,
    blocks: list[range],
    orders: list[GrainSpots],
    parameters: LatticeParameters,
) -> Iterator[Progress]:
    """Follow grains through blocks of frames in one direction of time; those that a store has are skipped."""
    waiting = []
    for block in blocks:
        if keeper.has(block):
            keeper.resume(block, tracks)
        else:
            waiting.append(block)
    if not waiting:
        return
    order = range(waiting[0].start, waiting[-1].stop, waiting[0].step)
    if order != reader.order:
        reader = SpectrumReader(reader.video, order, reader.grid, reader.outliers)
    block = waiting.pop(0)
    records = keeper.records(block)
    steps = follow(reader, tracks, orders, parameters)
    try:
        for one in steps:
            if one is None:
                yield keeper.progress()
                continue
            frame, judged = one
            records.put(frame - min(block), judged, reader.grid)
            keeper.done += 1
            finished = None
            if frame == block[-1]:
                finished = keeper.keep(block, records)
                if waiting:
                    block = waiting.pop(0)
                    records = keeper.records(block)
            yield keeper.progress(finished)
    finally:
        steps.close()


@dataclass
class _Keeper:
    """Where results go: into memory, or block by block into a store that a later run can go on with."""

    coords: dict[str, Any]
    attrs: dict[str, Any]
    grid: LatticeGrid
    scale: Scale
    parameters: LatticeParameters
    grains: int
    frames: int
    whole: Records | None = None
    store: ResultStore | None = None
    done: int = 0

    @classmethod
    def open(
        cls,
        video: xr.DataArray,
        grid: LatticeGrid,
        grains: int,
        scale: Scale,
        parameters: LatticeParameters,
        store: str | Path | None,
        seed_frame: int,
        bases: Double | None,
    ) -> _Keeper:
        coords = coordinates(video, grid, scale, grains)
        attrs = attributes(video, grid, parameters, seed_frame)
        keeper = cls(coords, attrs, grid, scale, parameters, grains, len(video))
        if store is None:
            _check_memory(len(video) * grains * grid.cells[0] * grid.cells[1], parameters)
            keeper.whole = Records.empty(len(video), grains, grid.cells)
        else:
            one = Records.empty(1, grains, grid.cells)
            empty = template(coords, attrs, one, len(video), _BLOCK, scale, parameters)
            bands = [(min(b), max(b) + 1) for blocks in _blocks(len(video), seed_frame) for b in blocks]
            keeper.store = ResultStore.create_or_resume(
                store, empty, _provenance(video, grid, parameters, seed_frame, bases), bands
            )
        return keeper

    def progress(self, finished: xr.Dataset | None = None) -> Progress:
        return Progress(self.done, self.frames, "Following grains", finished)

    def records(self, block: range) -> Records:
        """Records of a block's frames, in order of time."""
        if self.whole is not None:
            return self.whole.part(slice(min(block), max(block) + 1))
        return Records.empty(len(block), self.grains, self.grid.cells)

    def keep(self, block: range, records: Records) -> xr.Dataset:
        """A block that is done, labelled; written where there is a store."""
        frames = slice(min(block), max(block) + 1)
        dims, time, attrs = self.coords["time"]
        coords = {**self.coords, "time": (dims, time[frames], attrs)}
        finished = records.dataset(coords, self.scale, self.parameters)
        if self.store is not None:
            self.store.write(finished, {"time": frames})
            self.store.note(self.store.bands.index((frames.start, frames.stop)))
        return finished

    def has(self, block: range) -> bool:
        """Whether a run before has written a block."""
        if self.store is None:
            return False
        return self.store.bands.index((min(block), max(block) + 1)) in self.store.finished

    def resume(self, block: range, tracks: list[GrainTrack]) -> None:
        """Set tracks to where they were at the end of a block that a run before has written."""
        assert self.store is not None
        with xr.open_zarr(self.store.path, consolidated=False) as stored:
            part = stored.isel(time=list(block))[["basis", "angle_deg", "reliable", "presence"]].load()
        for grain, track in enumerate(tracks):
            seen = np.flatnonzero(part["reliable"].values[:, grain])
            if not seen.size:
                track.misses += len(block)
                continue
            row = int(seen[-1])
            mask = np.zeros(self.grid.fine_shape, bool)
            mask[: self.grid.cells[0], : self.grid.cells[1]] = part["presence"].values[row, grain]
            basis = part["basis"].values[row, grain] * self.scale.pixel * self.grid.binning
            track.start = GrainStart(basis, mask)
            track.angle_deg = float(part["angle_deg"].values[row, grain])
            track.misses, track.held, track.measured = len(block) - 1 - row, None, None
        self.done += len(block)

    def finish(self, notices: list[str]) -> xr.Dataset:
        """The whole result, with the notices that its frames give."""
        if self.store is None:
            assert self.whole is not None
            result = self.whole.dataset(self.coords, self.scale, self.parameters)
        else:
            result = xr.open_zarr(self.store.path, consolidated=False)
        notices = [*notices, *_frame_notices(result["reliable"].values)]
        attrs = {**self.attrs, "notices": notices}
        if self.store is not None:
            self.store.finish(xr.Dataset(attrs=attrs))
            result = xr.open_zarr(self.store.path, consolidated=False)
        result.attrs = attrs
        return result

    def close(self) -> None:
        """Let another run have the store."""
        if self.store is not None:
            self.store.release()


def _blocks(frames: int, seed: int) -> tuple[list[range], list[range]]:
    """Blocks of frames from the seed to the end, and from before it back to the start."""
    edges = sorted({*range(0, frames, _BLOCK), seed, frames})
    forward = [range(a, b) for a, b in pairwise(edges) if a >= seed]
    backward = [range(b - 1, a - 1, -1) for a, b in pairwise(edges) if b <= seed]
    return forward, backward[::-1]


def _order(fits: list[GrainFit], parameters: LatticeParameters) -> list[int]:
    """The largest first, but the first two so that the misfit from one to the other is positive."""
    order = sorted(range(len(fits)), key=lambda one: -fits[one].cells)
    if len(order) > 1:
        first, second = (fits[one].basis for one in order[:2])
        if float(misfit_deg(first, second, parameters.symmetry)) < 0:
            order[:2] = order[1::-1]
    return order


def _checked_bases(bases: ArrayLike) -> Double:
    checked = np.asarray(bases, np.float64)
    if checked.ndim == 2:
        checked = checked[None]
    if checked.shape[1:] != (2, 2) or not 1 <= len(checked) <= MOST_GRAINS or not np.isfinite(checked).all():
        raise ParameterError(
            f"bases have the shape {checked.shape}; give 1 to {MOST_GRAINS} finite bases (grain, 2, 2)."
        )
    lengths = np.hypot(checked[..., 0], checked[..., 1])
    if lengths.min() < 1e-3 or lengths.max() > 0.5 or np.abs(np.linalg.det(checked)).min() < 1e-7:
        raise ParameterError(
            f"bases reach from {lengths.min():.3g} to {lengths.max():.3g} cycles per px; give independent "
            "vectors of 0.001 to 0.5."
        )
    return checked


def _check_size(video: xr.DataArray) -> None:
    rows, columns = video.shape[1:]
    if rows * columns > _LARGEST_FRAME:
        raise ParameterError(f"Frames of {rows} × {columns} px are too large; bin or crop the video.")
    if min(rows, columns) < 32:
        raise LatticeError(
            f"Frames of {rows} × {columns} px are too small for a lattice; 32 px are the least."
        )


def _check_memory(need: int, parameters: LatticeParameters) -> None:
    budget = memory_budget(parameters.memory_gb)
    if need > budget:
        raise ResultError(
            f"The presence of the grains takes {need / 1e9:.1f} GB, more than {budget / 1e9:.1f} GB; "
            "give a place to store the result."
        )


def _provenance(
    video: xr.DataArray,
    grid: LatticeGrid,
    parameters: LatticeParameters,
    seed_frame: int,
    bases: Double | None,
) -> dict[str, Any]:
    """What a stopped run must agree in to go on."""
    ends = [read_frames(video, slice(frame, frame + 1)).tobytes() for frame in (0, len(video) - 1)]
    digest = hashlib.sha256(f"{video.shape} {video.dtype}".encode() + b"".join(ends))
    kept = {name: value for name, value in asdict(parameters).items() if name not in ("workers", "memory_gb")}
    return {
        "video": digest.hexdigest()[:16],
        "source": str(video.attrs.get("source", "array")),
        "pixel size": video.attrs.get("pixel_size_nm"),
        "frame time": video.attrs.get("frame_time_s"),
        "parameters": kept,
        "period": round(float(grid.period), 6),
        "grains by hand": None if bases is None else bases.tolist(),
        "seed frame": seed_frame,
        "version": version("napari-hrtem-vae"),
    }


def _notices(video: xr.DataArray, parameters: LatticeParameters, grains: int) -> list[str]:
    notices = [str(notice) for notice in video.attrs.get("notices", [])]
    if grains < parameters.n_grains:
        notices.append(
            f"{grains} of {parameters.n_grains} grains were found; those of one net that differ by less "
            "than 1.3° are one."
        )
    if not video.attrs.get("pixel_size_nm"):
        notices.append("The pixel size is unknown: angles are given, lengths and areas in pixels alone.")
    return notices


def _frame_notices(reliable: NDArray[np.bool_]) -> list[str]:
    bad = np.flatnonzero(~reliable.all(1))
    if not bad.size:
        return []
    listed = ", ".join(str(frame) for frame in bad[:10]) + (" …" if bad.size > 10 else "")
    return [f"{bad.size} frame(s) show no reliable lattice of every grain and are left out: {listed}."]
