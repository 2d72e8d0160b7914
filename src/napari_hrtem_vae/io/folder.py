"""A video from a folder of one-frame files; frames that cannot be used are reported, not fatal."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import HrtemVaeError, VideoFileError
from .candidates import Candidate, arrange, choose
from .files import FRAME_SUFFIXES, candidates_of, suffix_of
from .frames import LazyFrames, as_dask
from .sequence import left_out, order_frames

logger = logging.getLogger(__name__)

# Beyond this many files of unusual size the check costs more than it saves: they show when read.
MAX_PROBED = 2000


class FolderFrames(LazyFrames):
    """Frames in one file each, float32; a frame that cannot be read comes out as NaN.

    Parameters
    ----------
    path : Path
        The folder, for messages.
    files : list of Path
        One per frame.
    shape : tuple of int
        (time, y, x).
    """

    def __init__(self, path: Path, files: list[Path], shape: tuple[int, int, int]) -> None:
        super().__init__(path, shape, np.dtype(np.float32))
        self.files = files

    def read(self, numbers: range, rows: slice) -> np.ndarray:
        """See `LazyFrames.read`."""
        out = np.full((len(numbers), *self.shape[1:]), np.nan, np.float32)[:, rows]
        for i, number in enumerate(numbers):
            try:
                frame, _, _ = _read_frame(self.files[number])
                if frame.shape[1:] != self.shape[1:]:
                    raise VideoFileError(f"{self.files[number]} has another size than the other frames.")
                out[i] = frame[0, rows].compute(scheduler="synchronous")
            except (HrtemVaeError, OSError, ValueError) as error:
                logger.warning("Frame %d is left empty: %s", number, error)
        return out


def _read_frame(path: Path) -> tuple[dask.array.Array, float | None, float | None]:  # type: ignore[name-defined]  # noqa: F821
    """One frame (1, y, x), lazily, with its pixel size in nm and frame time in s."""
    chosen, _ = choose(candidates_of(path), None, path)
    data, pixel, frame_time, _ = arrange(chosen, str(path))
    if data.shape[0] != 1:
        raise VideoFileError(
            f"{path} is a series of {data.shape[0]} frames; open that file itself, not its folder."
        )
    return data, pixel, frame_time


def holds_frames(folder: Path) -> bool:
    """Whether a folder has files that may be frames, or is a tree of Hour_…/Minute_…/Second_… folders."""
    try:
        with os.scandir(folder) as entries:
            return any(
                suffix_of(Path(entry.name)) in FRAME_SUFFIXES if entry.is_file() else _is_hour(entry.name)
                for entry in entries
                if not entry.name.startswith(".")
            )
    except OSError:
        return False


def _is_hour(name: str) -> bool:
    return name.lower().startswith("hour_")


def frame_files(folder: Path) -> list[Path]:
    """Files of the commonest frame format of a folder, or of the tree where it has Hour_… folders."""
    with os.scandir(folder) as entries:
        tree = [Path(entry.path) for entry in entries if entry.is_dir() and _is_hour(entry.name)]
    if tree:
        found = [Path(where) / name for top in tree for where, _, names in os.walk(top) for name in names]
    else:
        with os.scandir(folder) as entries:
            found = [Path(entry.path) for entry in entries if entry.is_file()]
    found = [path for path in found if not path.name.startswith(".") and suffix_of(path) in FRAME_SUFFIXES]
    if not found:
        return []
    common = Counter(suffix_of(path) for path in found).most_common(1)[0][0]
    return [path for path in found if suffix_of(path) == common]


def folder_candidate(folder: Path, files: Sequence[Path] | None = None) -> Candidate:
    """The video that the frame files of a folder make, in the order of time.

    Parameters
    ----------
    folder : Path
        Where they lie.
    files : sequence of Path, optional
        These instead of all.

    Raises
    ------
    VideoFileError
        No file is a frame.
    """
    paths = list(files) if files is not None else frame_files(folder)
    if not paths:
        known = ", ".join(FRAME_SUFFIXES)
        raise VideoFileError(f"{folder} holds no frames; choose a folder of one-frame files ({known}).")
    series = order_frames(paths, folder)
    usable, unreadable, frame = _probe(series.paths)
    if frame is None:
        raise VideoFileError(f"No file of {folder} can be read as a frame ({unreadable[series.paths[0]]})")
    data, pixel, own_time = frame
    height, width = (int(n) for n in data.shape[1:])
    kept = [
        (path, number) for path, number in zip(series.paths, series.numbers, strict=True) if path in usable
    ]
    notices = list(series.notices)
    odd = [path for path in series.paths if path not in usable and path not in unreadable]
    if unreadable:
        notices.append(left_out(list(unreadable), "cut short or unreadable"))
    if odd:
        notices.append(left_out(odd, f"not {width} × {height} px like the others"))
    source = FolderFrames(folder, [path for path, _ in kept], (len(kept), height, width))
    numbers = np.array([number for _, number in kept], dtype=float)
    even = bool((np.diff(numbers) == 1).all())
    return Candidate(
        folder.name,
        as_dask(source),
        pixel_size_nm=pixel,
        frame_time_s=series.frame_time_s or own_time,
        frame_numbers=None if even else numbers - numbers[0],
        notices=notices,
    )


def _probe(
    paths: list[Path],
) -> tuple[set[Path], dict[Path, str], tuple[dask.array.Array, float | None, float | None] | None]:  # type: ignore[name-defined]  # noqa: F821
    """Which files are frames of the usual size, which are unreadable and why, and one usual frame.

    Files of the usual number of bytes are taken at their word; the others are opened.
    """
    sizes = {path: path.stat().st_size for path in paths}
    usual = Counter(sizes.values()).most_common(1)[0][0]
    doubtful = [path for path in paths if sizes[path] != usual]
    trusted = [path for path in paths if sizes[path] == usual]
    unreadable: dict[Path, str] = {}
    shapes: dict[Path, tuple[int, ...]] = {}
    opened = {}
    stacks: VideoFileError | None = None
    for path in [*trusted[:1], *doubtful[:MAX_PROBED]]:
        try:
            opened[path] = frame = _read_frame(path)
            shapes[path] = tuple(int(n) for n in frame[0].shape[1:])
        except VideoFileError as error:
            unreadable[path] = str(error)
            stacks = error if "is a series of" in str(error) else stacks
    if not shapes:
        if stacks is not None:
            raise stacks
        return set(), unreadable, None
    votes = Counter(shapes.values())
    for path in trusted[:1]:
        if path in shapes:
            votes[shapes[path]] += len(trusted) - 1
    shape = votes.most_common(1)[0][0]
    usable = {path for path, its in shapes.items() if its == shape} | set(doubtful[MAX_PROBED:])
    if trusted and trusted[0] in usable:
        usable |= set(trusted)
    example = next(path for path in paths if shapes.get(path) == shape)
    return usable, unreadable, opened[example]
