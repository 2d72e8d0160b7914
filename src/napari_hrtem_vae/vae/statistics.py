"""Maps from a latent field: variance, rank correlation with time, significance."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy import special

from ..errors import VideoShapeError
from ..progress import Progress, Steps, run
from .evidence import FEWEST_FRAMES, SITE_CHANGES, SITES_PER_WINDOW, change_p, site_changes_steps

Float = NDArray[np.float32]
Double = NDArray[np.float64]
Number = TypeVar("Number", np.float32, np.float64)
# Values ranked at once: a stop comes through within a fraction of a second.
_VALUES_AT_ONCE = 1 << 18
_FEWEST_FRAMES = 4
# Below this p a float64 tail is no longer told from 0.
_SMALLEST_P = 1e-300
MAP_NAMES = ("variance", "spearman", "time_correlated_variance", "significance")
FRAME_NOISE = "frame_noise"
# Of an integer that holds a value above and a place below.
_PLACE = 2**32 - 1
# Sites of one false-discovery rate are told apart by this share of what speaks for each alone.
_OWN_SHARE = 1e-3


class SeriesStatistics(NamedTuple):
    """What is told of every series.

    Parameters
    ----------
    variance, rho : ndarray (n,), float32
    p : ndarray (n,), float64
    noise : ndarray (n,), float32
        Variance from frame to frame, half of the mean squared difference of neighbours.
    """

    variance: Float
    rho: Float
    p: Double
    noise: Float


def rank_statistics(series: Float, per_site: int = 1) -> tuple[Float, Float, Double]:
    """Variance, Spearman's ρ against time, and its p-value; see `rank_statistics_steps`."""
    return run(rank_statistics_steps(series, per_site))[:3]


def rank_statistics_steps(series: Float, per_site: int = 1) -> Steps[SeriesStatistics]:
    """Variance, Spearman's ρ against time, the p-value of ρ, and the noise of every series.

    Ties get their mean rank. A constant series has no rank correlation: ρ and p are NaN.
    The p-value is two-sided, of Student's t with an effective number of frames
    n (1 − φ) / (1 + φ), φ the lag-one autocorrelation of the ranks without their trend, its bias
    in short series corrected and not below 0. Where a site has several series, φ is not below their
    mean either: one short series alone tells its own memory badly.

    Parameters
    ----------
    series : ndarray (frames, n)
        All finite; the series of one site follow each other.
    per_site : int
        Series of one site.

    References
    ----------
    Bretherton et al. 1999, J. Climate 12, 1990 (effective sample size); Marriott & Pope 1954,
    Biometrika 41, 390 (bias of φ).
    """
    frames, count = series.shape
    variance, rho, noise = (np.empty(count, np.float32) for _ in range(3))
    p = np.empty(count)
    several = max(1, _VALUES_AT_ONCE // (frames * per_site)) * per_site

    def rank(start: int) -> None:
        block = np.s_[start : start + several]
        # Copied out before it is turned over: a page of memory would be looked up for every number else.
        some = np.ascontiguousarray(series[:, block])
        found = _rank_statistics_of_block(np.ascontiguousarray(some.T), per_site)
        variance[block], rho[block], p[block], noise[block] = found

    # As many threads as torch has: one in a worker of one thread, whatever the computer has.
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        blocks = [pool.submit(rank, start) for start in range(0, count, several)]
        try:
            for number, block in enumerate(blocks):
                block.result()
                yield Progress(min((number + 1) * several, count), count, "Ranking")
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return SeriesStatistics(variance, rho, p, noise)


def _rank_statistics_of_block(series: Float, per_site: int) -> SeriesStatistics:
    """The same for (n, frames)."""
    frames = series.shape[1]
    steps = np.diff(series, axis=1)
    noise = np.einsum("nt,nt->n", steps, steps) / (2 * max(frames - 1, 1))
    centred = series - series.mean(axis=1, keepdims=True)
    variance = np.einsum("nt,nt->n", centred, centred) / frames
    ranks, tied = _centred_ranks(series)
    time = np.arange(frames, dtype=np.float32) - np.float32((frames - 1) / 2)
    time_power = float((time.astype(np.float64) ** 2).sum())
    power = np.full(len(series), time_power)
    power[tied] = (ranks[tied].astype(np.float64) ** 2).sum(1)
    # No matrix product: its own threads would be in the way of those that share the blocks.
    slope = np.einsum("nt,t->n", ranks, time).astype(np.float64) / time_power
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = np.where(power > 0, slope * np.sqrt(time_power / power), np.nan)
    if frames < _FEWEST_FRAMES:
        return SeriesStatistics(variance, rho.astype(np.float32), np.full(len(series), np.nan), noise)
    ranks -= slope[:, None].astype(np.float32) * time
    with np.errstate(divide="ignore", invalid="ignore"):
        lag_one = np.einsum("nt,nt->n", ranks[:, 1:], ranks[:, :-1]) / np.einsum("nt,nt->n", ranks, ranks)
    by_site = lag_one.reshape(-1, per_site)
    # Constant series and straight lines have no memory to tell: NaN, which counts as none.
    told = np.isfinite(by_site).sum(1)
    of_site = np.where(told > 0, np.nansum(by_site, axis=1) / np.maximum(told, 1), np.nan)
    p = p_value(rho, np.fmax(lag_one, np.repeat(of_site, per_site)), frames)
    return SeriesStatistics(variance, rho.astype(np.float32), p, noise)


def _centred_ranks(series: Float) -> tuple[Float, NDArray[np.intp]]:
    """Ranks minus their mean, ties averaged, and which series have ties."""
    count, frames = series.shape
    # Value and place as one integer: sorting these is twice as fast as sorting places by value.
    keys = _in_order_as_integers(series) << 32
    keys |= np.arange(frames)
    keys.sort(axis=1)
    order = keys & _PLACE
    ranks = np.empty((count, frames), np.float32)
    # Places in the flat array: twice as fast as `put_along_axis`.
    places = order + np.arange(0, ranks.size, frames)[:, None]
    ranks.reshape(-1)[places.reshape(-1)] = np.tile(np.arange(frames, dtype=np.float32), count)
    keys >>= 32
    equal = keys[:, 1:] == keys[:, :-1]
    tied = np.flatnonzero(equal.any(axis=1))
    if tied.size:
        averaged = np.empty((tied.size, frames), np.float32)
        np.put_along_axis(averaged, order[tied], _mean_ranks(equal[tied]), axis=1)
        ranks[tied] = averaged
    ranks -= np.float32((frames - 1) / 2)
    return ranks, tied


def _in_order_as_integers(values: Float) -> NDArray[np.int64]:
    """Integers in the order of finite numbers, equal where these are equal."""
    # The bits of positive numbers are in order, those of negative ones in the reverse; −0 becomes 0.
    bits = (values + np.float32(0)).view(np.int32)
    return (bits ^ ((bits >> 31) & np.int32(2**31 - 1))).astype(np.int64)


def _mean_ranks(equal: NDArray[np.bool_]) -> Float:
    """Ranks in order (n, frames), ties averaged; `equal` (n, frames − 1) to the next."""
    place = np.arange(equal.shape[1] + 1)
    edge = np.zeros((len(equal), 1), bool)
    first = np.maximum.accumulate(np.where(np.hstack([edge, equal]), 0, place), axis=1)
    last = np.where(np.hstack([equal, edge]), place[-1], place)
    last = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]
    return ((first + last) / 2).astype(np.float32)


def p_value(rho: Double, lag_one: Double, frames: int) -> Double:
    """Two-sided p of a rank correlation with time against no trend, for autocorrelated series."""
    phi = np.clip((lag_one * frames + 2) / max(frames - 4, 1), 0.0, 0.99)
    phi = np.where(np.isfinite(phi), phi, 0.0)
    freedom = np.maximum(frames * (1 - phi) / (1 + phi) - 2, 1.0)
    bounded = np.clip(np.abs(rho), 0, 1 - 1 / frames**3)
    t = bounded * np.sqrt(freedom / (1 - bounded**2))
    # Of n! orders two are monotonic: so few frames can claim no smaller p than that.
    return np.asarray(np.maximum(2 * special.stdtr(freedom, -t), 2 / special.gamma(frames + 1.0)))


def false_discovery_rate(p: Double) -> Double:
    """Benjamini-Hochberg adjusted p of all finite entries together; NaN stays NaN."""
    count = int(np.isfinite(p).sum())
    # NaN comes last. Sorted copies, not one more than is needed: of a large video they are the most of all.
    order = np.argsort(p, axis=None)[:count]
    adjusted = p.reshape(-1)[order]
    adjusted *= count
    adjusted /= np.arange(1, count + 1, dtype=np.float64)
    np.minimum.accumulate(adjusted[::-1], out=adjusted[::-1])
    q = np.full(p.size, np.nan)
    q[order] = np.minimum(adjusted, 1, out=adjusted)
    return q.reshape(p.shape)


def combined_p(p: Double, axis: int = -1) -> Double:
    """One p from many dependent ones: the Cauchy combination; NaN are left out.

    References
    ----------
    Liu & Xie 2020, J. Am. Stat. Assoc. 115, 393.
    """
    bounded = np.clip(p, _SMALLEST_P, 0.99)
    # 1 / (π p) is tan(π (1/2 − p)) where the tangent loses its digits.
    score = np.where(bounded < 1e-12, 1 / (np.pi * bounded), np.tan((0.5 - bounded) * np.pi))
    finite = np.isfinite(p)
    weight = finite.sum(axis=axis)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(finite, score, 0).sum(axis=axis) / weight
        tail = np.where(mean > 1e12, 1 / (np.pi * mean), 0.5 - np.arctan(mean) / np.pi)
    return np.where(weight > 0, tail, np.nan)


def evidence(p: Double) -> Float:
    """−log10 of the false-discovery rate; never negative, never infinite."""
    q = false_discovery_rate(p)
    np.log10(np.maximum(q, _SMALLEST_P, out=q), out=q)
    return np.subtract(0, q, out=q).astype(np.float32)


def _told(field: Float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Frames and sites (y, x) of a field (frames, y, x, latent) that hold numbers throughout."""
    # By the sum: a mask of all latents would take a quarter of the field's memory.
    finite = np.isfinite(field.sum(axis=-1))
    sites = finite.any(axis=0)
    frames = (finite | ~sites).reshape(len(field), -1).all(axis=1) & sites.any()
    return np.asarray(frames), np.asarray(sites)


def raw_maps_steps(field: Float) -> Steps[tuple[dict[str, Float], Double]]:
    """Variance, ρ and time-correlated variance of a block, its noise, and the p-values for significance.

    `FRAME_NOISE` (y, x) is the variance of z from frame to frame, mean of the latents; NaN for fewer frames
    than tell it.

    Parameters
    ----------
    field : ndarray (frames, y, x, latent)
        Frames that are not numbers are left out; sites that never are (drift took them out of view) have
        NaN in every map.
    """
    usable, sites = _told(field)
    used = field if usable.all() else field[usable]
    if len(used) < 2:
        raise VideoShapeError(
            f"The video has {len(used)} usable frame(s), so no time axis and no maps; give two or more."
        )
    if not sites.all():
        used = used[:, sites]
    shape = field.shape[1:]
    found = yield from rank_statistics_steps(used.reshape(len(used), -1), shape[-1])
    changing = np.square(found.rho * found.variance)
    maps = {"variance": found.variance, "spearman": found.rho, "time_correlated_variance": changing}
    placed = {name: _placed(values, sites, shape) for name, values in maps.items()}
    placed[FRAME_NOISE] = np.full(shape[:2], np.nan, np.float32)
    if len(used) >= FEWEST_FRAMES:
        placed[FRAME_NOISE][sites] = found.noise.reshape(-1, shape[-1]).mean(1)
    return placed, _placed(found.p, sites, shape)


def site_maps_steps(field: Float) -> Steps[tuple[dict[str, Float], Double]]:
    """The same as `raw_maps_steps`, and the `SITE_CHANGES` that `change` needs of all sites together.

    Parameters
    ----------
    field : ndarray (frames, y, x, latent)
        As `raw_maps_steps` takes it. Of too few frames `SITE_CHANGES` are NaN.
    """
    maps, p = yield from raw_maps_steps(field)
    usable, _ = _told(field)
    if usable.sum() < FEWEST_FRAMES:
        return maps | {name: np.full(field.shape[1:], np.nan, np.float32) for name in SITE_CHANGES}, p
    changes = yield from site_changes_steps(field if usable.all() else field[usable])
    return maps | changes, p


def _placed(values: NDArray[Number], sites: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[Number]:
    """Values of the sites that are told, at their places; NaN elsewhere."""
    if sites.all():
        return values.reshape(shape)
    out = np.full(shape, np.nan, values.dtype)
    out[sites] = values.reshape(-1, shape[-1])
    return out


def maps_dataset(
    maps: dict[str, Float],
    p: Double,
    coords: dict[str, xr.DataArray],
    active: NDArray[np.bool_] | None = None,
    sites_per_window: float = SITES_PER_WINDOW,
    of_site: Double | None = None,
) -> xr.Dataset:
    """Label maps, and add what needs all sites together: significance and change.

    Parameters
    ----------
    maps : dict of ndarray (y, x, latent)
        Of `raw_maps_steps`, or of `site_maps_steps`, without which `change` knows nothing of still sites.
    p : ndarray (y, x, latent)
        Of ρ.
    coords : dict of DataArray
        y, x and latent.
    active, sites_per_window
        See `dynamics.map_dynamics`.
    of_site : ndarray (y, x), optional
        `change_p` where it is known from the frames.
    """
    labelled = {name: (("y", "x", "latent"), values) for name, values in maps.items() if name in MAP_NAMES}
    dataset = xr.Dataset(labelled, coords=coords)
    dataset["significance"] = (("y", "x", "latent"), evidence(p))
    if of_site is None and all(name in maps for name in SITE_CHANGES):
        of_site = change_p({name: maps[name] for name in SITE_CHANGES}, active, sites_per_window)
    if of_site is None:
        of_site = combined_p(p if active is None or not active.any() else p[..., active])
    dataset["change_p"] = (("y", "x"), of_site)
    own = -np.log10(np.maximum(of_site, _SMALLEST_P)).astype(np.float32)
    dataset["change"] = (("y", "x"), evidence(of_site) + np.float32(_OWN_SHARE) * own)
    for name, meaning in _MEANINGS.items():
        dataset[name].attrs.update(long_name=meaning, units="1")
    return dataset


_MEANINGS = {
    "variance": "variance of the latent over time",
    "spearman": "Spearman's ρ of the latent against time",
    "time_correlated_variance": "time-correlated variance (ρ · variance)²",
    "significance": "−log10 of the false-discovery rate of ρ over sites and latents",
    "change_p": "probability of as much change where nothing happens",
    "change": "−log10 of the false-discovery rate that anything changed here",
}
