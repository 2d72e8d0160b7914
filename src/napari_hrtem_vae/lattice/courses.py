"""How the outlines of grains move through many frames: evenly for as long as lines hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage

from ..progress import Steps
from .conventions import Double
from .outlines import Course, Fringes, fringes_steps, grid_of, refine_course_steps

# How many frames next to one an outline may be told from: the most for which lines hold.
_WINDOWS = (30, 24, 19, 15, 12, 9, 7, 5)
_MOST_FRAMES, _MOST_BYTES = 60, 1 << 29
_LINE_HOLDS = 2.2  # mean square about the lines, over that of the noise
# In periods: how far from the outline depths are told; how near to it they must lie on lines; smoothing.
_REACH = 12.0
_NEAR = 1.0
_OUTLINE_SMOOTHING = 1.0


@dataclass(frozen=True)
class Views:
    """Masks (grain, y, x) of some frames, and how far the specimen is displaced in each, in px.

    Parameters
    ----------
    masks : dict of ndarray (grain, y, x), bool
    shifts : dict of ndarray (2,)
    cell_px : float
        Side of a presence cell.
    """

    masks: dict[int, NDArray[np.bool_]]
    shifts: dict[int, Double]
    cell_px: float

    def depth(self, frame: int, grain: int, reach: float) -> Double:
        """Distance to a grain's outline in cells, where it lay in the first of the frames compared."""
        return moved(_depth(self.masks[frame][grain], reach), self.shifts[frame] / self.cell_px)


@dataclass(frozen=True)
class Told:
    """A course and the frames that tell it, at moment 0 in the first of them."""

    course: Course
    frames: list[int]

    @property
    def moments(self) -> Double:
        return np.array(self.frames, np.float64) - self.frames[0]


@dataclass(frozen=True)
class OutlinePlan:
    """How the outline of one grain goes: one course from the first frame to the last, or one next to each."""

    grain: int
    told: list[Told]

    def ends(self) -> tuple[Double, Double]:
        """Depth in the first and in the last frame."""
        first, last = self.told[0], self.told[-1]
        return first.course.at(0), last.course.at(last.moments[-1] if len(self.told) == 1 else 0)


def frames_near(grains: xr.Dataset, frame: int, other: int) -> list[int]:
    """A frame, and after it those towards another in which all grains are reliable, up to halfway."""
    step = 1 if other >= frame else -1
    count = min(max((abs(other - frame) + 1) // 2, 1), _WINDOWS[0], _most_frames(grains))
    near = [frame + step * away for away in range(count)]
    return [one for one in near if grains["reliable"].values[one].all()]


def frames_between(grains: xr.Dataset, first: int, last: int) -> list[int]:
    """Two frames and some evenly between them, in order, in which all grains are reliable."""
    step = 1 if last >= first else -1
    reliable = grains["reliable"].values
    usable = [one for one in range(first, last + step, step) if reliable[one].all()]
    picks = np.linspace(0, len(usable) - 1, min(len(usable), _most_frames(grains))).round().astype(int)
    return [usable[pick] for pick in picks]


def _most_frames(grains: xr.Dataset) -> int:
    """How many frames may be looked at: the maps of large ones take much memory."""
    presence = grains["presence"]
    each = 8 * presence.shape[2] * presence.shape[3] * (presence.shape[1] + 3)
    return int(np.clip(_MOST_BYTES // each, _WINDOWS[-1], _MOST_FRAMES))


def outline_plan(
    grains: xr.Dataset, grain: int, views: Views, whole: list[int], near: list[list[int]]
) -> OutlinePlan:
    """The course of a grain's outline as its masks tell it.

    Parameters
    ----------
    whole : list of int
        Frames from the first to the last; empty where the way of the specimen between them is not known.
    near : list of list of int
        Frames next to each of the two, these before the others.
    """
    period = float(grains.attrs["period_px"]) / views.cell_px
    if len(whole) >= _WINDOWS[-1]:
        told = _told(views, grain, whole, [len(whole)], period)
        if len(told.frames) == len(whole):
            return OutlinePlan(grain, [told])
    return OutlinePlan(grain, [_told(views, grain, group, _WINDOWS, period) for group in near])


def _told(views: Views, grain: int, frames: list[int], counts: Sequence[int], period: float) -> Told:
    """Lines through the depths in the most of some frames that lines hold for, of given `counts`."""
    depths = np.stack([views.depth(frame, grain, _REACH * period) for frame in frames])
    moments = np.array(frames, np.float64) - frames[0]
    lines, count = _lines(depths, moments, counts, _NEAR * period)
    depth, speed = (_smoothed(line, _OUTLINE_SMOOTHING * period) for line in lines)
    return Told(Course(depth, speed), frames[:count])


def refined_steps(
    video: xr.DataArray,
    grains: xr.Dataset,
    plans: list[OutlinePlan],
    views: Views,
) -> Steps[list[OutlinePlan]]:
    """Plans whose courses follow the fringes, where enough frames tell them."""
    wanted = {
        frame
        for plan in plans
        for told in plan.told
        if len(told.frames) >= _WINDOWS[-1]
        for frame in told.frames
    }
    frames = sorted(wanted)
    if not frames:
        return plans
    fringes: list[Fringes] = yield from fringes_steps(video, grains, frames, views.masks, views.shifts)
    rows = {frame: row for row, frame in enumerate(frames)}
    grid = grid_of(video, grains)
    refined = []
    for plan in plans:
        courses = []
        for told in plan.told:
            course = told.course
            if len(told.frames) >= _WINDOWS[-1]:
                seen = fringes[plan.grain].part([rows[frame] for frame in told.frames])
                course = yield from refine_course_steps(grid, seen, course, told.moments)
            courses.append(Told(course, told.frames))
        refined.append(OutlinePlan(plan.grain, courses))
    return refined


def _depth(mask: NDArray[np.bool_], reach: float) -> Double:
    """Distance to the outline in cells, positive inside, `reach` at the most."""
    if mask.all() or not mask.any():
        return np.where(mask, reach, -reach)
    # Cells on both sides of the outline are half a cell away from it.
    depth = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    return np.asarray(np.clip(depth - np.sign(depth) / 2, -reach, reach))


def _lines(depths: Double, moments: Double, counts: Sequence[int], near: float) -> tuple[Double, int]:
    """Lines (2, y, x: depth at moment 0, speed) through depths (time, y, x), and of how many frames.

    Lines hold while depths near the outline scatter about them little more than noise does, which second
    differences tell whatever moves evenly; a film draws the outline by 1.6 times as much where it moves on.
    Where lines hold for none of `counts`, the first frame stands.
    """
    for count in counts:
        if count > len(depths):
            continue
        close = np.abs(depths[:count]).min(0) < near
        if not close.any():
            break
        noise = np.mean(np.diff(depths[:, close], 2, axis=0) ** 2) / 6
        powers = np.vander(moments[:count], 2, increasing=True)
        lines = np.tensordot(np.linalg.pinv(powers), depths[:count], 1)
        told = depths[:count, close]
        about = (told - np.tensordot(powers, lines[:, close], 1))[np.abs(told) < near]
        scatter = np.mean(about**2) / (1 - 2 / count)
        if scatter <= _LINE_HOLDS * noise:
            return np.asarray(lines), count
    return np.stack([depths[0], np.zeros_like(depths[0])]), 1


def _smoothed(depth: Double, sigma: float) -> Double:
    """Depths without what is shorter than `sigma`, in cells; what bends more gently keeps its place.

    References
    ----------
    Taubin, SIGGRAPH 1995: smoothing twice, the second time the rest, does not shrink.
    """
    smooth = ndimage.gaussian_filter(depth, sigma, mode="nearest")
    return np.asarray(smooth + ndimage.gaussian_filter(depth - smooth, sigma, mode="nearest"))


def moved(values: Double, by: Double, beyond: float | None = None) -> Double:
    """A map (y, x) of what lies `by` cells further on, `beyond` or the nearest where that is out of view."""
    if beyond is None:
        return np.asarray(ndimage.shift(values, -by, order=1, mode="nearest"))
    return np.asarray(ndimage.shift(values, -by, order=1, cval=beyond))
