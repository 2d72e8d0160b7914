"""The map of change against fields of which it is known what moves, and what still ones may claim."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import fft, ndimage

from napari_hrtem_vae.progress import run
from napari_hrtem_vae.vae.dynamics import map_dynamics
from napari_hrtem_vae.vae.evidence import change_p, site_changes_steps
from napari_hrtem_vae.vae.statistics import FRAME_NOISE, maps_dataset, raw_maps_steps, site_maps_steps
from napari_hrtem_vae.vae.still_sites import change_null_p, fading_null_p, still_group

LATENTS = 12
SHAPE = (26, 40)
# Windows of the fields below are as wide as this many sites.
PER_WINDOW = 3.0
SHOWN = -np.log10(0.05)


def seen_by_windows(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """White noise that neighbouring sites (the axes before the last) share, of variance 1."""
    values = ndimage.gaussian_filter(rng.standard_normal(shape), (*[0] * (len(shape) - 3), 1.1, 1.1, 0))
    return values / values.std()


def still_field(rng: np.random.Generator, frames: int, film: float = 0.0, memory: float = 0.0) -> np.ndarray:
    """Noise and a film that slowly becomes another, over places that differ by more."""
    noise = seen_by_windows(rng, frames, *SHAPE, LATENTS)
    for frame in range(1, frames):
        noise[frame] += memory * noise[frame - 1]
    places, before, after = (seen_by_windows(rng, *SHAPE, LATENTS) for _ in range(3))
    turn = np.linspace(0, np.pi / 3, frames)[:, None, None, None]
    # The film fills some latents more than others.
    strength = film * np.linspace(0.2, 2, LATENTS)
    return 8 * places + strength * (np.cos(turn) * before + np.sin(turn) * after) + noise


def maps_of(values: np.ndarray) -> xr.Dataset:
    field = xr.DataArray(values.astype(np.float32), dims=("time", "y", "x", "latent"))
    return map_dynamics(field, sites_per_window=PER_WINDOW)


@pytest.mark.parametrize(("frames", "film", "memory"), [(40, 0, 0), (24, 3, 0), (40, 3, 0), (60, 0, 0.7)])
def test_where_nothing_moves_five_per_cent_claim_what_five_per_cent_do(
    frames: int, film: float, memory: float
) -> None:
    rng = np.random.default_rng(3)
    fields = [maps_of(still_field(rng, frames, film, memory)) for _ in range(3)]
    alarms = [(maps["change_p"].values < 0.05).mean() for maps in fields]
    assert 0.02 < np.mean(alarms) < 0.08
    assert np.mean([(maps["change"].values > SHOWN).mean() for maps in fields]) < 0.02


def moved(values: np.ndarray, block: tuple[slice, slice], radians: float) -> np.ndarray:
    """The phase of fringes in a block turns from frame to frame: pairs of latents are cosine and sine."""
    out = values.copy()
    turn = np.linspace(0, radians, len(values))[:, None, None, None]
    even, odd = (8 * np.ones((*SHAPE, LATENTS // 2)) for _ in range(2))
    out[:, *block, ::2] += (even[block] * (np.cos(turn) - 1)) - odd[block] * np.sin(turn)
    out[:, *block, 1::2] += (odd[block] * (np.cos(turn) - 1)) + even[block] * np.sin(turn)
    return out


@pytest.mark.parametrize("radians", [0.2, 2.0, 4 * np.pi])
@pytest.mark.parametrize("columns", [6, 16])
def test_what_moves_is_found_over_a_film_that_evolves(radians: float, columns: int) -> None:
    block = np.s_[4:20, 10 : 10 + columns]
    values = moved(still_field(np.random.default_rng(5), 40, film=1.0), block, radians)
    change = maps_of(values)["change"].values
    inside = np.zeros(SHAPE, bool)
    inside[block] = True
    # Evidence is averaged over two thirds of a window around, and its direction once more.
    outside = ~ndimage.binary_dilation(inside, iterations=4)
    assert (change[ndimage.binary_erosion(inside)] > SHOWN).mean() > 0.95
    assert (change[outside] > SHOWN).mean() < 0.05


@pytest.mark.parametrize("film", [0.0, 1.0])
@pytest.mark.parametrize("radians", [0.5, 4 * np.pi])
def test_what_moves_is_found_where_four_sites_in_five_do(radians: float, film: float) -> None:
    rng = np.random.default_rng(11)
    # Fringes that turn far from the axis go through periods, and every place begins somewhere else.
    values = still_field(rng, 40, film)
    phases = seen_by_windows(rng, *SHAPE, LATENTS // 2) * 2
    speeds = np.linspace(0.2, 1, SHAPE[1] - 8)[:, None]
    turn = np.linspace(0, radians, 40)[:, None, None, None] * speeds + phases[:, 8:]
    values[:, :, 8:, ::2] += 8 * (np.cos(turn) - np.cos(turn[0]))
    values[:, :, 8:, 1::2] += 8 * (np.sin(turn) - np.sin(turn[0]))
    change = maps_of(values)["change"].values
    assert (change[:, 10:] > SHOWN).mean() > 0.75
    assert (change[:, :4] > SHOWN).mean() < 0.05


def test_contrast_that_fades_is_found_by_its_direction() -> None:
    """A loss in proportion to what is there stands out more than an equal change of any other direction."""
    rng = np.random.default_rng(11)
    block = np.s_[6:20, 12:28]
    values = still_field(rng, 40)
    fading = np.linspace(0, 0.12, 40)[:, None, None, None]
    level = values.mean(0)[block]
    found = []
    for lost in (level, np.roll(level, 1, axis=-1)):
        other = values.copy()
        other[:, *block] -= fading * lost
        found.append(np.median(-np.log10(maps_of(other)["change_p"].values[block])))
    assert found[0] > 1.3 * found[1]


def test_a_frame_that_moves_all_over_lights_up() -> None:
    values = moved(still_field(np.random.default_rng(7), 40), np.s_[:, :], 2.0)
    changes = run(site_changes_steps(values.astype(np.float32)))
    assert change_p(changes, None, PER_WINDOW) is None
    assert (maps_of(values)["change"].values > SHOWN).mean() > 0.95


@pytest.mark.parametrize("frames", [2, 3, 4, 5])
def test_few_frames_claim_nothing(frames: int) -> None:
    maps = maps_of(still_field(np.random.default_rng(frames), frames, film=3))
    change = maps["change"].values
    assert np.isnan(change).all() if frames < 4 else (change < SHOWN).all()


def test_sites_that_left_the_view_stay_empty_and_change_nothing_else() -> None:
    values = moved(still_field(np.random.default_rng(9), 40, film=1.0), np.s_[4:20, 10:20], 2.0)
    cut = values.copy()
    cut[:, :, :3] = np.nan
    cut[7] = np.nan
    whole, part = maps_of(values)["change"].values, maps_of(cut)["change"].values
    assert np.isnan(part[:, :3]).all()
    assert np.isfinite(part[:, 3:]).all()
    assert ((whole > SHOWN) == (part > SHOWN))[:, 6:].mean() > 0.97


def test_constant_sites_and_constant_latents_are_left_out() -> None:
    values = still_field(np.random.default_rng(2), 40)
    values[..., 5] = 1.0
    values[:, :4, :4] = 0.5
    maps = maps_of(values)
    assert np.isnan(maps["change_p"].values[:4, :4]).all()
    assert np.isfinite(maps["change_p"].values[6:, 6:]).all()
    constant = maps_of(np.zeros((40, *SHAPE, LATENTS)))
    assert np.isnan(constant["change"].values).all()


def test_order_of_change_is_that_of_p() -> None:
    values = moved(still_field(np.random.default_rng(1), 40, film=1.0), np.s_[4:20, 10:20], 0.3)
    maps = maps_of(values)
    order = np.argsort(maps["change_p"].values, axis=None)
    assert (np.diff(maps["change"].values.ravel()[order]) <= 0).all()


def test_tiles_together_give_what_the_whole_field_does() -> None:
    values = moved(still_field(np.random.default_rng(4), 40, film=1.0), np.s_[4:20, 10:20], 2.0)
    field = values.astype(np.float32)
    tiles = [
        [run(site_maps_steps(field[:, rows, columns])) for columns in (np.s_[:13], np.s_[13:])]
        for rows in (np.s_[:9], np.s_[9:])
    ]
    raw = {
        name: np.concatenate([np.concatenate([tile[0][name] for tile in row], 1) for row in tiles])
        for name in tiles[0][0][0]
    }
    p = np.concatenate([np.concatenate([tile[1] for tile in row], 1) for row in tiles])
    together = maps_dataset(raw, p, {}, None, PER_WINDOW)
    np.testing.assert_allclose(together["change"], maps_of(values)["change"], rtol=1e-4, atol=1e-5)


def test_the_noise_of_a_site_is_the_mean_of_that_of_its_latents() -> None:
    field = still_field(np.random.default_rng(8), 20).astype(np.float32)
    expected = run(site_changes_steps(field))["noise"].mean(-1)
    np.testing.assert_allclose(run(raw_maps_steps(field))[0][FRAME_NOISE], expected, rtol=1e-5)


def test_latents_that_do_not_count_say_nothing() -> None:
    values = still_field(np.random.default_rng(6), 40)
    values[:, 5:15, 5:15, 0] += np.linspace(0, 20, 40)[:, None, None]
    active = np.arange(LATENTS) > 0
    field = xr.DataArray(values.astype(np.float32), dims=("time", "y", "x", "latent"))
    shown = [
        (map_dynamics(field, active=mask, sites_per_window=PER_WINDOW)["change"].values > SHOWN)[7:13, 7:13]
        for mask in (None, active)
    ]
    assert shown[0].all()
    assert not shown[1].any()


def test_a_line_over_time_equals_its_cosine_transform() -> None:
    """Against scipy's orthonormal DCT-II, and noise from frame to frame against its definition."""
    values = np.random.default_rng(8).standard_normal((17, 3, 4, 5)).astype(np.float32)
    changes = run(site_changes_steps(values))
    coefficients = fft.dct(values.astype(float), type=2, norm="ortho", axis=0)
    np.testing.assert_allclose(changes["trend"], coefficients[1], atol=1e-5)
    np.testing.assert_allclose(changes["rest"], np.square(coefficients[2:]).sum(0) / 15, rtol=1e-4)
    np.testing.assert_allclose(changes["noise"], np.square(np.diff(values, axis=0)).mean(0) / 2, rtol=1e-5)
    lost = np.linspace(1, 0, 17)[:, None, None, None] * values[:1]
    alone = run(site_changes_steps(lost.astype(np.float32)))
    # What fades to nothing has twice the trend that its mean would have.
    np.testing.assert_allclose(alone["trend"], 2 * alone["level"], rtol=1e-4)


# Of the cube root of chi-squared with 64 degrees of freedom.
USUAL = float(np.sqrt(2 / 64) / 3)


def test_null_is_found_beside_many_that_stand_out() -> None:
    """Against chi-square, of which the cube root is close to normal."""
    rng = np.random.default_rng(0)
    score = rng.chisquare(64, 4000)
    for moving in (0, 200, 400, 1600):
        mixed = score.copy()
        mixed[:moving] += 400
        p = change_null_p(mixed, 4000.0, USUAL)
        # What stands out makes the rest claim less, never more.
        alarms = (p[moving:] < 0.05).mean()
        assert alarms < 0.07
        assert moving > 200 or alarms > 0.025
        assert (p[:moving] < 1e-6).all()


def test_null_is_found_where_most_sites_stand_out_and_change_fades_into_still_ones() -> None:
    """As beside the edge of a crystal that grows: neighbours of what moves change a little as well."""
    rng = np.random.default_rng(1)
    score = 3 * rng.chisquare(64, 4000)
    score[:2200] += rng.uniform(350, 700, 2200)
    score[2200:3000] += rng.uniform(0, 250, 800)
    p = change_null_p(score, 12.0, USUAL)
    assert (p[:2200] < 0.01).all()
    assert (p[3000:] < 0.05).mean() < 0.07


@pytest.mark.parametrize("moving", [3200, 3600])
def test_sites_known_to_be_still_tell_what_still_ones_do(moving: int) -> None:
    """Where what moves much and what moves little are further apart than this and what is still."""
    rng = np.random.default_rng(6)
    score = rng.chisquare(64, 4000)
    score[:moving] += rng.uniform(100, 300, moving)
    score[: moving // 2] *= rng.uniform(50, 100, moving // 2)
    stillest = np.arange(4000) >= moving
    p = change_null_p(score, 12.0, USUAL, stillest)
    assert (p[:moving] < 0.05).mean() > 0.95
    assert (p[moving:] < 0.05).mean() < 0.08
    # Without them, what moves little counts as still.
    assert (change_null_p(score, 12.0, USUAL)[moving // 2 : moving] < 0.05).mean() < 0.5


def test_few_windows_that_happen_to_be_alike_do_not_light_up_the_others() -> None:
    """Twelve windows: by their own width alone, now and then some of them seem impossible."""
    rng = np.random.default_rng(8)
    least = []
    for _ in range(200):
        score = np.repeat(rng.chisquare(64, 12), 64)
        least.append(change_null_p(score, 12.0, USUAL).min())
    # Of 12 normal numbers whose width is known the least p is below 0.001 in 1.2 % of draws.
    assert np.mean(np.array(least) < 0.001) < 0.03
    assert min(least) > 1e-5


def test_one_group_that_is_skewed_is_not_parted() -> None:
    """A film that evolves more in some places: sites differ, but do not fall in two groups."""
    rng = np.random.default_rng(2)
    score = rng.gamma(8, 8, 4000)
    usual = float(np.sqrt(1 / 8) / 3)
    assert (change_null_p(score, 12.0, usual) < 0.05).mean() < 0.08


def test_where_nothing_fades_fading_is_as_unlikely_as_stated() -> None:
    p = fading_null_p(7 * np.random.default_rng(4).chisquare(2, 6000), 4000.0, None)
    for share in (0.05, 0.01):
        assert (p < share).mean() == pytest.approx(share, rel=0.2)


def test_few_windows_leave_fading_uncertain() -> None:
    score = 7 * np.random.default_rng(4).chisquare(2, 6000)
    few, many = (fading_null_p(score, windows, None) for windows in (5.0, 500.0))
    assert (few[many < 0.01] > 2 * many[many < 0.01]).all()


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_sites_that_fade_stand_out_and_the_others_claim_no_more(share: float) -> None:
    score = 7 * np.random.default_rng(4).chisquare(2, 6000)
    faded = int(share * len(score))
    score[:faded] *= 100
    p = fading_null_p(score, 4000.0, None)
    assert np.median(p[:faded]) < 1e-6
    assert (p[faded:] < 0.05).mean() < 0.06


def test_fading_is_judged_against_the_still_group_where_most_sites_fade() -> None:
    rng = np.random.default_rng(5)
    changed = rng.chisquare(64, 6000)
    changed[:4000] += 400
    still = still_group(changed)
    assert still is not None
    assert not still[:4000].any()
    assert still[4000:].all()
    score = 7 * rng.chisquare(2, 6000)
    score[:4000] *= 30
    p = fading_null_p(score, 4000.0, still)
    assert (p[:4000] < 0.01).mean() > 0.8
    assert (p[4000:] < 0.05).mean() == pytest.approx(0.05, abs=0.02)


def test_no_fading_at_all_is_nothing_unlikely() -> None:
    assert fading_null_p(np.array([0.0, np.nan, 0.0]), 9.0, None).tolist()[::2] == [1.0, 1.0]


def test_noise_alone_claims_no_place() -> None:
    """Where only noise changes, the tail of what sites share with their own level is heavy."""
    rng = np.random.default_rng(12)
    for _ in range(3):
        field = 2 * seen_by_windows(rng, 1, 52, 80, LATENTS) + seen_by_windows(rng, 30, 52, 80, LATENTS)
        assert (maps_of(field)["change"].values > SHOWN).mean() < 0.002
