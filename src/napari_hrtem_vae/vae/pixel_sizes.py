"""Images of different pixel sizes brought to one: by what their files say, else by their fringes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from ..progress import Progress, Steps
from ..video.fringes import fringe_period_px
from ..video.geometry import SAME_PIXEL_SIZE, check_video, choose_zoom
from .architecture import ARCHITECTURES
from .recipe import Recipe

# The paper's scale: a period of about 20 px in a window of 64.
_PERIODS_A_WINDOW = 3.2
_FINEST_PX = 5.0
_FEWEST_PERIODS = 2.46
_LARGEST_ZOOM = 16.0
_MEASURED = 3
_NAMED = 3


@dataclass(frozen=True)
class MatchedSizes:
    """How images come to one pixel size.

    Parameters
    ----------
    zooms : tuple of float
        Pixels of the model per pixel of each image.
    pixel_size_nm : float or None
        Of the model; None where no image tells.
    period_px : float or None
        Fringe period at that size; None where none was found.
    notices : tuple of str
        What was done to whom.
    """

    zooms: tuple[float, ...]
    pixel_size_nm: float | None
    period_px: float | None
    notices: tuple[str, ...]


def match_pixel_sizes_steps(videos: list[xr.DataArray], recipe: Recipe) -> Steps[MatchedSizes]:
    """Find the zoom of each image or video.

    Images that know their pixel size go to the recipe's, else to the commonest; where the fringes would then
    be finer than 5 px or fewer than 2.5 in a window, to that which has 3.2 in a window. Images that do not
    know it are matched by their fringe period.

    Raises
    ------
    VideoShapeError
        One is no video.
    """
    for video in videos:
        check_video(video)
    sizes = [_size(video) for video in videos]
    known = [number for number, size in enumerate(sizes) if size]
    measured = {*known[:_MEASURED], *(number for number, size in enumerate(sizes) if not size)}
    periods: dict[int, float] = {}
    for done, number in enumerate(sorted(measured)):
        yield Progress(done, len(measured), f"Looking for fringes in {_name(videos[number])}")
        period = fringe_period_px(videos[number])
        if period:
            periods[number] = period
    target = recipe.pixel_size_nm or _commonest([sizes[number] for number in known])
    seen = [periods[n] * choose_zoom(sizes[n], target) for n in known if n in periods]
    wanted = float(np.median(seen)) if seen else None
    window = ARCHITECTURES[recipe.architecture]().window
    notices: list[str] = []
    if target and wanted and recipe.pixel_size_nm is None and not _fits(wanted, window):
        ideal = window / _PERIODS_A_WINDOW
        finer = target * wanted / ideal
        notices.append(
            f"Fringes of {wanted:.1f} px do not suit a window of {window} px: all images are resampled from "
            f"{target:.3g} to {finer:.3g} nm a pixel, where they have {ideal:.0f} px."
        )
        target, wanted = finer, ideal
    unknown = [n for n in range(len(videos)) if not sizes[n]]
    if wanted is None:
        wanted = _wanted_period([periods[n] for n in unknown if n in periods], window)
    zooms = [1.0] * len(videos)
    far: list[str] = []
    for number in known:
        zooms[number] = _bounded(choose_zoom(sizes[number], target))
        if not np.isclose(zooms[number], choose_zoom(sizes[number], target)):
            far.append(
                f"{_name(videos[number])} ({sizes[number]:.3g} nm a pixel) is far from the others and is "
                f"resampled by no more than {_LARGEST_ZOOM:g}."
            )
    for number in unknown:
        if number in periods and wanted and abs(periods[number] / wanted - 1) > SAME_PIXEL_SIZE:
            zooms[number] = _bounded(wanted / periods[number])
    if not notices:
        notices += _about_known(videos, [n for n in known if zooms[n] != 1], sizes, target)
    notices += far + _about_unknown(videos, unknown, periods, zooms)
    return MatchedSizes(tuple(zooms), target, wanted, tuple(notices))


def _size(video: xr.DataArray) -> float | None:
    value = video.attrs.get("pixel_size_nm")
    return float(value) if value else None


def _name(video: xr.DataArray) -> str:
    return Path(str(video.attrs.get("source", "the array"))).name


def _fits(period: float, window: int) -> bool:
    return _FINEST_PX <= period <= window / _FEWEST_PERIODS


def _bounded(zoom: float) -> float:
    return float(np.clip(zoom, 1 / _LARGEST_ZOOM, _LARGEST_ZOOM))


def _commonest(sizes: Sequence[float | None]) -> float | None:
    """The size that most others agree with to 5 %; of several such, the finest."""
    values = np.array([size for size in sizes if size])
    if values.size == 0:
        return None
    alike = (np.abs(values[:, None] / values - 1) <= SAME_PIXEL_SIZE).sum(0)
    return float(values[alike == alike.max()].min())


def _wanted_period(periods: list[float], window: int) -> float | None:
    """Of images without a pixel size: the commonest period where it suits the window, else the paper's."""
    common = _commonest(periods)
    if common is None or _fits(common, window):
        return common
    return window / _PERIODS_A_WINDOW


def _about_known(
    videos: list[xr.DataArray], numbers: list[int], sizes: list[float | None], target: float | None
) -> list[str]:
    if len(numbers) > _NAMED:
        return [f"{len(numbers)} images of other pixel sizes are resampled to {target:.3g} nm a pixel."]
    return [
        f"{_name(videos[n])} is resampled from {sizes[n]:.3g} to {target:.3g} nm a pixel." for n in numbers
    ]


def _about_unknown(
    videos: list[xr.DataArray], numbers: list[int], periods: dict[int, float], zooms: list[float]
) -> list[str]:
    if len(numbers) > _NAMED:
        found = sum(n in periods for n in numbers)
        return [
            f"The pixel size of {len(numbers)} images is unknown: {found} are matched by their fringes, "
            "the others taken as they are."
        ]
    lines = []
    for n in numbers:
        if n not in periods:
            lines.append(f"The pixel size of {_name(videos[n])} is unknown; it is taken as it is.")
        elif zooms[n] != 1:
            lines.append(
                f"The pixel size of {_name(videos[n])} is unknown; its fringes of {periods[n]:.1f} px are "
                f"brought to {periods[n] * zooms[n]:.1f} px."
            )
    return lines
