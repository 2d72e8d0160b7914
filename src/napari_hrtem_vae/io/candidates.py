"""What a file offers: its datasets with their axes, and the choice among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import VideoFileError, VideoShapeError
from .units import is_time_unit, to_nm, to_s

_SPECTRAL = ("ev", "kev", "mev")
_REAL = "buif"


@dataclass(frozen=True)
class Axis:
    """One axis of a dataset as its file tells it; None is unknown."""

    name: str = ""
    scale: float | None = None
    unit: str | None = None
    navigate: bool | None = None


@dataclass
class Candidate:
    """One dataset of a file that may be the video.

    Parameters
    ----------
    name : str
        How the user can name it.
    data : dask.array.Array
        Any number of dims.
    axes : list of Axis, optional
        One per dim, or empty where the file says nothing.
    pixel_size_nm, frame_time_s : float, optional
        Known from elsewhere than the axes.
    frame_numbers : numpy.ndarray, optional
        (time,) float64, place of each frame in frame times, where some are missing or uneven.
    notices : list of str
        Sentences for the user.
    spectral : bool
        A spectrum or a spectrum image.
    """

    name: str
    data: Any
    axes: list[Axis] = field(default_factory=list)
    pixel_size_nm: float | None = None
    frame_time_s: float | None = None
    frame_numbers: np.ndarray | None = None
    notices: list[str] = field(default_factory=list)
    spectral: bool = False

    def problem(self) -> str | None:
        """Why this is no video, as the end of a sentence; None where it is one."""
        dtype, shape = self.data.dtype, tuple(int(n) for n in self.data.shape)
        if dtype.names is not None:
            return "is in colour; save it in grey levels"
        if dtype.kind == "c":
            return "holds complex numbers; save their modulus as a real image"
        if dtype.kind not in _REAL:
            return f"holds {dtype} values, which are no grey levels; save it as numbers"
        if 0 in shape:
            return f"is empty (shape {shape}); record it again"
        if self.spectral or any((axis.unit or "").casefold() in _SPECTRAL for axis in self.axes):
            return "is a spectrum or a spectrum image; choose an image series"
        if looks_like_colour(shape, dtype) and not self.axes:
            return f"is in colour (shape {shape}); save it in grey levels"
        count = len(squeezed_dims(shape))
        if count not in (2, 3):
            return f"has the shape {shape}; a video has the dims (time, y, x)"
        return None

    def preference(self) -> tuple[bool, bool, int, int]:
        """Sorts datasets: usable first, series before stills, then larger frames, then more of them."""
        shape = [int(n) for n in self.data.shape]
        dims = [shape[i] for i in squeezed_dims(tuple(shape))]
        area = dims[-1] * dims[-2] if len(dims) > 1 else 0
        frames = dims[0] if len(dims) == 3 else 1
        return self.problem() is None, len(dims) == 3 and frames > 1, area, frames


def looks_like_colour(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether the last axis is three or four colour channels, as picture libraries lay them out."""
    if len(shape) not in (3, 4) or shape[-1] not in (3, 4) or dtype.kind not in "uf":
        return False
    return min(shape[-3:-1]) > 16


def squeezed_dims(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The dims that stay when singletons are dropped until three are left, outer ones first.

    >>> squeezed_dims((1, 5, 8, 8)), squeezed_dims((5, 1, 8, 8)), squeezed_dims((1, 8, 8))
    ((1, 2, 3), (0, 2, 3), (0, 1, 2))
    """
    kept = list(range(len(shape)))
    for dim in range(len(shape)):
        if len(kept) > 3 and shape[dim] == 1:
            kept.remove(dim)
    return tuple(kept)


def choose(
    candidates: Sequence[Candidate], dataset: str | int | None, path: Path
) -> tuple[Candidate, list[str]]:
    """The dataset asked for, or the likeliest image series, with a notice where there was a choice.

    Raises
    ------
    VideoFileError
        None is a video, or there is no such dataset.
    """
    names = _unique_names(candidates)
    if not candidates:
        raise VideoFileError(f"{path} holds no images; choose a file with an image series.")
    if dataset is not None:
        chosen = _named(dataset, names, path)
        problem = candidates[chosen].problem()
        if problem is not None:
            raise VideoFileError(f"Dataset {names[chosen]!r} of {path} {problem}.")
    else:
        chosen = max(range(len(candidates)), key=lambda i: (candidates[i].preference(), -i))
        problem = candidates[chosen].problem()
        if problem is not None:
            raise VideoFileError(f"{path} {problem}.")
    notices = []
    if len(candidates) > 1 and dataset is None:
        listed = ", ".join(repr(name) for name in names)
        notices.append(
            f"{path.name} holds {len(candidates)} datasets ({listed}); {names[chosen]!r} was opened, "
            f"dataset=NAME opens another."
        )
    candidates[chosen].name = names[chosen]
    return candidates[chosen], notices


def _unique_names(candidates: Sequence[Candidate]) -> list[str]:
    names: list[str] = []
    for i, candidate in enumerate(candidates):
        name = candidate.name or f"dataset {i}"
        names.append(name if name not in names else f"{name} ({i})")
    return names


def _named(dataset: str | int, names: list[str], path: Path) -> int:
    if isinstance(dataset, str) and dataset in names:
        return names.index(dataset)
    number = int(dataset) if isinstance(dataset, int) or dataset.isdecimal() else -1
    if not 0 <= number < len(names):
        listed = ", ".join(f"{i} = {name!r}" for i, name in enumerate(names))
        raise VideoFileError(f"{path} has no dataset {dataset!r}; choose one of {listed}.")
    return number


def arrange(candidate: Candidate, label: str) -> tuple[Any, float | None, float | None, list[str]]:
    """The data as (time, y, x) with pixel size in nm, frame time in s and notices.

    Which axis is time: the one with a unit of time or named time, else the navigated one, else the first.

    Raises
    ------
    VideoShapeError
        The data cannot be laid out so.
    """
    data = candidate.data
    axes = list(candidate.axes) or [Axis() for _ in range(data.ndim)]
    if len(axes) != data.ndim:
        axes = [Axis() for _ in range(data.ndim)]
    kept = squeezed_dims(tuple(int(n) for n in data.shape))
    if len(kept) not in (2, 3):
        raise VideoShapeError(
            f"{label} has the shape {tuple(data.shape)}; a video has the dims (time, y, x)."
        )
    data = data[tuple(slice(None) if dim in kept else 0 for dim in range(data.ndim))]
    axes = [axes[dim] for dim in kept]
    notices: list[str] = []
    if data.ndim == 2:
        data, axes = data[None], [Axis(), *axes]
    else:
        time_dim = _time_dim(axes)
        if time_dim != 0:
            order = [time_dim, *(dim for dim in range(3) if dim != time_dim)]
            data, axes = data.transpose(order), [axes[dim] for dim in order]
        if axes[0].unit and not is_time_unit(axes[0].unit):
            notices.append(
                f"The first axis of {label} is in {axes[0].unit}, which is no time; it was taken as time "
                f"and the frame time is unknown."
            )
    pixel, pixel_notices = _pixel_size(axes[1], axes[2], label)
    return (
        data,
        candidate.pixel_size_nm or pixel,
        candidate.frame_time_s or to_s(axes[0].scale, axes[0].unit),
        notices + pixel_notices,
    )


def _time_dim(axes: list[Axis]) -> int:
    timed = [i for i, axis in enumerate(axes) if is_time_unit(axis.unit)]
    if not timed:
        timed = [i for i, axis in enumerate(axes) if axis.name.casefold() in ("time", "t", "frame", "frames")]
    if len(timed) == 1:
        return timed[0]
    navigated = [i for i, axis in enumerate(axes) if axis.navigate]
    return navigated[0] if len(navigated) == 1 else 0


def _pixel_size(y: Axis, x: Axis, label: str) -> tuple[float | None, list[str]]:
    y_nm, x_nm = to_nm(y.scale, y.unit), to_nm(x.scale, x.unit)
    if x_nm is None or y_nm is None:
        return x_nm or y_nm, []
    if abs(y_nm - x_nm) > 0.01 * x_nm:
        return x_nm, [
            f"The pixels of {label} are {y_nm:.4g} nm high and {x_nm:.4g} nm wide; {x_nm:.4g} nm was taken "
            f"for both, give pixel_size_nm where that is wrong."
        ]
    return x_nm, []
