"""The order and the gaps of a series of frame files, from their names alone."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

# Gatan's in situ trees: …/Hour_00/Minute_00/Second_00/name_Hour_00_Minute_00_Second_00_Frame_0000.dm4
_GATAN = re.compile(r"Hour_(\d+).*Minute_(\d+).*Second_(\d+).*Frame_(\d+)", re.IGNORECASE)


@dataclass
class FrameSeries:
    """Frame files in the order of time.

    Parameters
    ----------
    paths : list of Path
        One per frame.
    numbers : list of int
        Number of each frame, counted from 0 in steps of one frame; with gaps where frames are missing.
    frame_time_s : float, optional
        Known where names tell the second.
    notices : list of str
        Missing, duplicate and foreign files.
    """

    paths: list[Path]
    numbers: list[int]
    frame_time_s: float | None = None
    notices: list[str] = field(default_factory=list)


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Sorts frame_2 before frame_10."""
    parts = re.split(r"(\d+)", str(path).casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def order_frames(paths: Sequence[Path], root: Path) -> FrameSeries:
    """Sort `paths`, all under `root`, by the time that their names tell.

    Parameters
    ----------
    paths : sequence of Path
        Files of one frame each.
    root : Path
        Folder that they were found in.
    """
    gatan = [_GATAN.search(str(path.relative_to(root))) for path in paths]
    if sum(match is not None for match in gatan) > len(paths) / 2:
        return _gatan(paths, gatan)
    return _numbered(sorted(paths, key=natural_key))


def _gatan(paths: Sequence[Path], matches: Sequence[re.Match[str] | None]) -> FrameSeries:
    times: dict[Path, tuple[int, int]] = {}
    foreign = []
    for path, match in zip(paths, matches, strict=True):
        if match is None:
            foreign.append(path)
        else:
            hour, minute, second, frame = (int(part) for part in match.groups())
            times[path] = (hour * 3600 + minute * 60 + second, frame)
    seconds = sorted({second for second, _ in times.values()})
    # A full second tells the rate; a recording within one second does not.
    rate = max(frame for _, frame in times.values()) + 1
    known = len(seconds) > 1
    first = seconds[0] * rate
    numbered = [(second * rate + frame - first, path) for path, (second, frame) in times.items()]
    numbered.sort(key=lambda entry: (entry[0], natural_key(entry[1])))
    start = numbered[0][0]
    result = _without_duplicates([(number - start, path) for number, path in numbered])
    if known:
        result.frame_time_s = 1 / rate
        result.notices.append(f"The frame time, 1/{rate} s, comes from the largest frame number in a second.")
    if foreign:
        result.notices.append(_left_out(foreign, "not named like the frames"))
    return result


def _numbered(paths: list[Path]) -> FrameSeries:
    shapes = [re.sub(r"\d+", "#", path.stem) for path in paths]
    common, count = Counter(shapes).most_common(1)[0]
    if len(paths) < 3 or count < 0.5 * len(paths) or "#" not in common:
        return FrameSeries(paths, list(range(len(paths))))
    groups = {path: re.findall(r"\d+", path.stem) for path in paths}
    members = [path for path, shape in zip(paths, shapes, strict=True) if shape == common]
    table = np.array([[int(text) for text in groups[path]] for path in members], dtype=object)
    varying = [column for column in range(table.shape[1]) if len(set(table[:, column])) > 1]
    if not varying:  # one name in many folders
        return FrameSeries(paths, list(range(len(paths))))
    column = varying[-1]
    values = {path: int(groups[path][column]) for path in members}
    # "frame_003 (1).tif" and "frame_003_copy.tif" begin like frame_003.
    lead = re.escape(re.sub(r"\d+", "#", common)).replace(r"\#", "#").split("#")
    begins = re.compile(r"(\d+)".join(lead[: column + 1]) + r"(\d+)")
    foreign = []
    for path, shape in zip(paths, shapes, strict=True):
        if shape == common:
            continue
        match = begins.match(path.stem)
        if match is None:
            foreign.append(path)
        else:
            values[path] = int(match.groups()[-1])
    ordered = sorted(
        values, key=lambda path: (values[path], shapes[paths.index(path)] != common, natural_key(path))
    )
    if len(varying) > 1 and len(set(values.values())) < 0.9 * len(values):
        # The last number starts again (one run after another): the order is known, gaps are not.
        return FrameSeries([path for path in paths if path in values], list(range(len(values))))
    result = _without_duplicates(_in_steps([(values[path], path) for path in ordered]))
    if foreign:
        result.notices.append(_left_out(foreign, "not named like the frames"))
    return result


def _in_steps(numbered: list[tuple[int, Path]]) -> list[tuple[int, Path]]:
    """Count from 0 in units of the usual step, where every number fits it."""
    steps = [b - a for (a, _), (b, _) in itertools.pairwise(numbered) if b > a]
    step = Counter(steps).most_common(1)[0][0] if steps else 1
    start = numbered[0][0]
    if any((number - start) % step for number, _ in numbered):
        step = 1
    return [((number - start) // step, path) for number, path in numbered]


def _without_duplicates(numbered: list[tuple[int, Path]]) -> FrameSeries:
    kept: dict[int, Path] = {}
    doubles = []
    for number, path in numbered:
        if number in kept:
            doubles.append(path)
        else:
            kept[number] = path
    numbers = sorted(kept)
    result = FrameSeries([kept[number] for number in numbers], numbers)
    missing = sorted(set(range(numbers[0], numbers[-1])) - set(numbers)) if numbers[-1] < 10**7 else []
    if missing:
        result.notices.append(
            f"{len(missing)} {'frame is' if len(missing) == 1 else 'frames are'} missing from the series "
            f"(place {_listed(missing)}, counted from 0)."
        )
    if doubles:
        result.notices.append(_left_out(doubles, "second files of a frame number"))
    return result


def _listed(numbers: list[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:8])
    return shown + (", …" if len(numbers) > 8 else "")


def _left_out(paths: list[Path], why: str) -> str:
    shown = ", ".join(path.name for path in paths[:5]) + (", …" if len(paths) > 5 else "")
    return f"{len(paths)} {'file was' if len(paths) == 1 else 'files were'} left out ({why}): {shown}."


def left_out(paths: list[Path], why: str) -> str:
    """A notice about files that do not become frames."""
    return _left_out(paths, why)
