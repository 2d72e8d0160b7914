"""Kinds of change and by how much, for every site where a change is significant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage

from ...progress import Steps
from .calibrated import Calibration
from .known_changes import KINDS
from .reader import LARGEST_ERRORS, Float
from .site_features import (
    SPACING,
    Bools,
    Drawer,
    SiteLooks,
    SitesAtMoments,
    features_of_steps,
    moments_of,
)
from .window_changes import MOMENTS, Moments

KIND_NAMES = ("no change", *KINDS[1:], "unknown")
# Has parts of sites looked at elsewhere, drawn from components (True) or from latents; see `ShareSites`.
ShareReading = Callable[[bool, Sequence[SitesAtMoments]], Iterator[tuple[int, list[SiteLooks]] | None]]
UNKNOWN = KIND_NAMES.index("unknown")
_SURE = 0.5
_LEAST_NOISE = 1e-12
# Measure by measure: name, kinds it is of, unit.
_READ_OUTS = (
    ("rotation", ("rotation",), "deg"),
    ("edge_shift", ("growth", "shrinkage"), "px"),
    ("contrast_change", ("contrast",), "%"),
)


@dataclass(frozen=True)
class SiteMoments:
    """Latents of some sites at six moments of a video, and components of their windows.

    Parameters
    ----------
    moments : ndarray (y, x, 6, latent), float16
        Of every `every`-th site along y and x from the first; NaN where they are not known.
    every : int
    components : ndarray (y, x, 6, component), float16, optional
    """

    moments: Moments
    every: int
    components: Moments | None = None

    @classmethod
    def empty(cls, sites: tuple[int, ...], latents: int, every: int, components: int = 0) -> SiteMoments:
        """Of so many sites along y and x, none known yet."""
        shape = (*(-(-count // every) for count in sites), MOMENTS)
        latent, component = (np.full((*shape, count), np.nan, np.float16) for count in (latents, components))
        return cls(latent, every, component if components else None)

    def take(
        self,
        field: Float,
        first_row: int = 0,
        first_column: int = 0,
        components: Moments | None = None,
    ) -> None:
        """Take up the field (frames, y, x, latent) of a tile whose first site is this one.

        `components` are of those of the tile's sites that are read, as a walk finds them.
        """
        firsts = (first_row, first_column)
        rows, columns = (slice(-first % self.every, None, self.every) for first in firsts)
        part = field[:, rows, columns]
        top, left = (-(-first // self.every) for first in firsts)
        place = np.s_[top : top + part.shape[1], left : left + part.shape[2]]
        self.moments[place] = usable_moments(part)
        if self.components is not None and components is not None:
            self.components[place] = components


def usable_moments(field: Float) -> Moments:
    """Moments (y, x, 6, latent) of a field (frames, y, x, latent), whose unusable frames are left out.

    NaN where a site is not known throughout the others, or where fewer than six frames can be used.
    """
    shape = (*field.shape[1:3], MOMENTS, field.shape[3])
    told: Bools = np.isfinite(field.sum(-1))
    frames = told.any(axis=(1, 2))
    if frames.sum() < MOMENTS:
        return np.full(shape, np.nan, np.float16)
    return moments_of(field if frames.all() else field[frames]).astype(np.float16)


def every_site(window: int, step: int) -> int:
    """How many sites lie from one that is read to the next."""
    return max(1, round(SPACING * window / step))


def read_changes_steps(
    known: SiteMoments,
    noise: Float,
    significant: Bools,
    model: Drawer,
    calibration: Calibration | None,
    step: int,
    share: ShareReading | None = None,
) -> Steps[xr.Dataset]:
    """Read what happens where a change is significant.

    Parameters
    ----------
    known : SiteMoments
    noise : ndarray (y, x)
        Of all sites: mean variance of the latents from frame to frame, that of a moment.
    significant : ndarray (y, x), bool
        Of all sites.
    model : Drawer
        To draw windows.
    calibration : Calibration or None
        Of the model; without one every change is of unknown kind. Where components are known, and it has
        any, these are read as well.
    step : int
        Distance of neighbouring sites in px of the model.
    share : callable, optional
        Has other processes look at the sites, drawn from components or from latents.

    Returns
    -------
    Dataset
        Over (y, x): `kind`, index into its `attrs["names"]`, and `kind_confidence`; `rotation` in degrees
        (from x towards y), `edge_shift` in px of the model (outwards positive), `contrast_change` in per
        cent, from the first frame to the last, each with `…_error`; NaN where another thing happens or the
        error would be too large to be of use. `kind_probability` (change_kind, y, x),
        whose coordinate has the names, 1 for "no change" where the change is not significant.
    """
    shape = significant.shape
    names = KIND_NAMES[:-1]
    probability = np.zeros((len(names), *shape), np.float32)
    probability[0] = 1
    measures = np.full((2 * len(_READ_OUTS), *shape), np.nan, np.float32)
    kind = np.where(significant, UNKNOWN, 0).astype(np.int8)
    confidence = np.where(significant, np.nan, 1).astype(np.float32)
    noise = np.log(noise[:: known.every, :: known.every] + _LEAST_NOISE).astype(np.float32)
    told = np.isfinite(noise) & np.isfinite(known.moments[:, :, 0, 0])
    wanted = told & _near(significant, known.every)
    if calibration is not None and wanted.any():
        sites = noise, told, wanted
        spacing = known.every * step
        of_latents, of_components = (
            None if share is None else partial(share, components) for components in (False, True)
        )
        (features,) = yield from features_of_steps(known.moments, *sites, model, spacing, share=of_latents)
        if calibration.beside is not None and known.components is not None:
            drawer = calibration.beside.components
            (found,) = yield from features_of_steps(
                known.components, *sites, drawer, spacing, share=of_components
            )
            reading = calibration.beside.read(calibration.latents, features, found, wanted)
        else:
            reading = calibration.latents.read(features, wanted)
        values = np.concatenate([reading.probability, reading.measure, reading.error], 1)
        spread = _spread(values, wanted, known.every, shape)
        read = significant & np.isfinite(spread[0])
        probability[:, read] = spread[: len(names), read]
        measures[:, read] = spread[len(names) :, read]
        kind, confidence = _judged(probability, significant, read)
    result = xr.Dataset(
        {
            "kind": (("y", "x"), kind, {"names": list(KIND_NAMES)}),
            "kind_confidence": (("y", "x"), confidence, {"units": "1"}),
            "kind_probability": (("change_kind", "y", "x"), probability, {"units": "1"}),
        },
        coords={"change_kind": ("change_kind", np.arange(len(names)), {"names": list(names)})},
    )
    half = len(_READ_OUTS)
    for index, (name, kinds, unit) in enumerate(_READ_OUTS):
        value, error = measures[index], measures[half + index]
        given = np.isin(kind, [KIND_NAMES.index(one) for one in kinds]) & (error <= LARGEST_ERRORS[index])
        result[name] = (("y", "x"), np.where(given, value, np.nan), {"units": unit})
        result[f"{name}_error"] = (("y", "x"), np.where(given, error, np.nan), {"units": unit})
    return result


def _near(significant: Bools, every: int) -> Bools:
    """Sites among every `every`-th that significant ones lie next to."""
    reach = np.ones((2 * every - 1, 2 * every - 1), bool)
    return np.asarray(ndimage.binary_dilation(significant, reach)[::every, ::every])


def _spread(values: Float, wanted: Bools, every: int, shape: tuple[int, ...]) -> Float:
    """Values (n, value) of the wanted sites, on all sites (value, y, x): linear between them."""
    weight = wanted.astype(np.float32)
    y, x = (np.arange(count, dtype=np.float32) / every for count in shape)
    grid = np.meshgrid(y, x, indexing="ij")
    total = ndimage.map_coordinates(weight, grid, order=1, mode="nearest")
    out = np.empty((values.shape[1], *shape), np.float32)
    for index in range(values.shape[1]):
        filled = np.zeros(wanted.shape, np.float32)
        filled[wanted] = values[:, index]
        summed = ndimage.map_coordinates(filled, grid, order=1, mode="nearest")
        out[index] = np.where(total > 0, summed / np.maximum(total, 1e-6), np.nan)
    return out


def _judged(probability: Float, significant: Bools, read: Bools) -> tuple[NDArray[np.int8], Float]:
    """The kind of each site and how sure it is; unknown where no kind has more than half."""
    moving = probability[1:]
    strongest = moving.argmax(0) + 1
    share = moving.max(0) / np.maximum(moving.sum(0), 1e-9)
    clear = read & (share > _SURE) & (probability[0] < 1 - _SURE)
    kind = np.where(significant, np.where(clear, strongest, UNKNOWN), 0).astype(np.int8)
    unsure = np.where(read, 1 - np.maximum(moving.max(0), 0), np.nan)
    confidence = np.where(significant, np.where(clear, moving.max(0), unsure), 1)
    return kind, confidence.astype(np.float32)
