"""Training material by multislice: noisy segments of nanocrystals on carbon, and their noise-free truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import ParameterError
from ..io.memory import memory_budget
from ..progress import Progress, Steps, relabel
from ..video.scaling import grey_range, scale_to_range, scale_windows, smooth
from .atoms import Cluster, in_box, together
from .material import film as unevenness
from .multislice import exit_wave_steps, wave_shape
from .optics import Microscope, image_wave, resample, scherzer_nm
from .segments import SegmentParameters
from .structures import MATERIALS, amorphous_carbon, outline_sides, plate

Float = NDArray[np.float32]
Double = NDArray[np.float64]
_SCENE = 448
_IMAGES = 3
_PER_IMAGE = 16
# Fringes of what the field repeats reach this far into it.
_MARGIN = 24
_PERIODS_PX = (8.0, 60.0)
# A column of the lattice is this far from its neighbours of another grain.
_GAP_NM = 0.12
_CELL_PX = 8


@dataclass(frozen=True)
class _Scene:
    """What one exit wave shows."""

    wave: torch.Tensor
    field_nm: tuple[float, float]
    crystal: Float  # share of crystal in cells of _CELL_PX px


def physical_segments_steps(parameters: SegmentParameters) -> Steps[tuple[Float, Float]]:
    """Draw segments from multislice scenes; yields progress by the slice.

    One to four nanocrystals of PbS, or PbSe, 2 to 8 nm thick, within 2° of [001] (one in seven 3 to 7° off,
    so that fringes of one direction show) at any angle in the plane, with facets or irregular outlines, rough
    faces and missing columns, apart or touching, on 0 to 3 nm of amorphous carbon; with and without a
    corrector, from −1.5 to 1.5 of Scherzer's defocus. Each exit wave is imaged thrice, with a film, a defocus
    and a dose of its own.

    Parameters
    ----------
    parameters : SegmentParameters
        The period is that of the {200} planes and says the pixel size.

    Returns
    -------
    noisy, clean : ndarray (count, window, window), float32
        Scaled to 0…1 by the same ranges, as `segments_steps` does.

    Raises
    ------
    ParameterError
        The period is out of 8 to 60 px, or the segments take more than half of the free memory.
    """
    p = parameters
    _check(p)
    rng = np.random.default_rng(p.seed)
    noisy = np.empty((p.count, p.window, p.window), np.float32)
    clean = np.empty_like(noisy)
    done = 0

    def progress() -> Progress:
        return Progress(done, p.count, "Simulating segments by multislice")

    while done < p.count:
        energy_kev = float(rng.choice([200.0, 300.0]))
        scene = yield from relabel(_scene_steps(rng, p.period_px, energy_kev), progress)
        for _ in range(_IMAGES):
            truth = yield from relabel(_image_steps(rng, scene, energy_kev), progress)
            take = min(_PER_IMAGE, p.count - done)
            block = np.s_[done : done + take]
            noisy[block], clean[block] = _segments(rng, truth, scene.crystal, take, p)
            done += take
            yield progress()
            if done == p.count:
                break
    return noisy, clean


def _check(p: SegmentParameters) -> None:
    least, most = _PERIODS_PX
    if not least <= p.period_px[0] <= p.period_px[1] <= most:
        raise ParameterError(
            f"period_px is {p.period_px!r}; give a range within {least:g} to {most:g} px: "
            "the simulation by multislice holds a few nm."
        )
    need = 8 * p.count * p.window**2
    half = 2 * memory_budget()
    if need > half:
        raise ParameterError(
            f"{p.count} segments of {p.window} px take {need / 1e9:.1f} GB, over half of the free memory "
            f"({half / 1e9:.1f} GB); give fewer."
        )


def _scene_steps(
    rng: np.random.Generator, period_px: tuple[float, float], energy_kev: float
) -> Steps[_Scene]:
    """Crystals, and the wave behind them."""
    material = "PbSe" if rng.random() < 0.15 else "PbS"
    spacing = MATERIALS[material].cell_nm[0][0] / 2
    pixel = spacing / rng.uniform(*period_px)
    extent = _SCENE * pixel
    crystals = _crystals(rng, material, extent)
    depth = float(crystals.positions_nm[:, 2].max()) + 0.1
    atoms = in_box([crystals], (extent, extent, depth))
    wave = yield from exit_wave_steps(
        atoms, wave_shape((extent, extent)), energy_kev=energy_kev, slice_nm=spacing
    )
    cells = _SCENE // _CELL_PX
    columns, _, _ = np.histogram2d(
        crystals.positions_nm[:, 1], crystals.positions_nm[:, 0], cells, [(0, extent), (0, extent)]
    )
    # Columns stand further apart than cells: what lies between them is crystal too.
    share = ndimage.binary_closing(columns > 0, iterations=3).astype(np.float32)
    return _Scene(wave, (extent, extent), share)


def _image_steps(rng: np.random.Generator, scene: _Scene, energy_kev: float) -> Steps[Float]:
    """One noise-free image (448 × 448 px) of mean 1, on a film of its own."""
    wave, (height, width) = scene.wave, scene.field_nm
    thickness = float(rng.uniform(0, 3))
    if thickness > 0.3:
        carbon = amorphous_carbon(rng, (width, height, thickness))
        atoms = in_box([carbon], (width, height, thickness))
        # A film scatters weakly: its slices may be thick.
        wave = yield from exit_wave_steps(
            atoms, (wave.shape[0], wave.shape[1]), energy_kev=energy_kev, slice_nm=0.5, incident=wave
        )
    seen = resample(image_wave(wave, scene.field_nm, _microscope(rng, energy_kev)), (_SCENE, _SCENE))
    # Vibration and the detector blur.
    seen = smooth(seen, float(rng.uniform(0, 2)))
    # Measured contrast is weaker than computed (Hÿtch & Stobbs, Ultramicroscopy 53, 191, 1994).
    contrast = np.float32(np.exp(rng.uniform(np.log(0.15), 0)))
    seen = 1 + contrast * (seen / seen.mean() - 1)
    seen = seen * (1 + unevenness(rng, seen.shape, 60, rng.uniform(0.001, 0.03)))
    return np.asarray(np.maximum(seen / seen.mean(), 0.02), np.float32)


def _microscope(rng: np.random.Generator, energy_kev: float) -> Microscope:
    """With a corrector or without, somewhere from −1.5 to 1.5 of Scherzer's defocus."""
    corrected = rng.random() < 0.4
    cs_mm = float(rng.uniform(-0.02, 0.02) if corrected else rng.uniform(0.5, 1.3))
    reach = max(abs(scherzer_nm(energy_kev, cs_mm)), 8.0)
    return Microscope(
        energy_kev=energy_kev,
        cs_mm=cs_mm,
        defocus_nm=float(rng.uniform(-1.5, 1.5) * reach),
        focal_spread_nm=float(rng.uniform(3, 6) if corrected else rng.uniform(5, 10)),
        angular_spread_mrad=float(rng.uniform(0.1, 0.6)),
        aperture_mrad=float(rng.uniform(18, 30)),
        astigmatism_nm=float(rng.uniform(0, 4)),
        astigmatism_deg=float(rng.uniform(0, 180)),
        coma_nm=float(rng.uniform(0, 150)),
        coma_deg=float(rng.uniform(0, 360)),
    )


def _crystals(rng: np.random.Generator, material: str, extent_nm: float) -> Cluster:
    """One to four crystals in a square field, on one plane; later ones take what earlier ones left."""
    grown: list[Cluster] = []
    taken: list[tuple[Double, Double]] = []
    place = rng.uniform(0.2, 0.8, 2) * extent_nm
    for number in range(int(rng.integers(1, 5))):
        whole = number == 0 and rng.random() < 0.1
        radii = np.full(2, extent_nm) if whole else extent_nm * rng.uniform(0.14, 0.5, 2)
        if number and rng.random() < 0.7:
            # Near the last one, so that the two touch.
            towards = rng.uniform(0, 2 * np.pi)
            place = place + 1.1 * radii.mean() * np.array([np.cos(towards), np.sin(towards)])
        elif number:
            place = rng.uniform(0, 1, 2) * extent_nm
        corners = _outline(rng, radii)
        angle = float(rng.uniform(0, 90))
        crystal = _crystal(rng, material, corners).turned(angle).moved([*place, 0])
        positions = crystal.positions_nm
        free = np.all((positions[:, :2] >= 0) & (positions[:, :2] < extent_nm), axis=1)
        for normals, distances in taken:
            free = free & np.any(positions[:, :2] @ normals.T > distances + _GAP_NM, axis=1)
        kept = crystal.where(free)
        if len(kept.symbols):
            grown.append(kept.moved([0, 0, -kept.positions_nm[:, 2].max()]))
        turn = np.deg2rad(angle)
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        taken.append(outline_sides(corners @ matrix.T + place))
    if not grown:
        return _crystals(rng, material, extent_nm)
    crystals = together(grown)
    return crystals.moved([0, 0, 0.1 - crystals.positions_nm[:, 2].min()])


def _crystal(rng: np.random.Generator, material: str, corners_nm: Double) -> Cluster:
    """One crystal about its centre: rough on both faces, without some of its columns, a little tilted."""
    thickness = float(rng.uniform(2, 8))
    spacing = MATERIALS[material].cell_nm[0][0] / 2
    flat = plate(material, corners_nm, thickness, origin=tuple(rng.uniform(0, 1, 3)))
    x, y, z = flat.positions_nm.T
    roughness = float(rng.uniform(0, 0.25) * thickness)
    top, bottom = (thickness / 2 - roughness * _relief(rng, x, y) for _ in range(2))
    column = np.round(np.stack([x - x.min(), y - y.min()], 1) / spacing).astype(np.int64)
    number = column[:, 0] * (column[:, 1].max() + 1) + column[:, 1]
    present = rng.random(int(number.max()) + 1) >= rng.choice([0.0, 0.01, 0.04])
    kept = flat.where((z <= top) & (z >= -bottom) & present[number])
    if rng.random() < 0.15:
        # Off the axis about ⟨100⟩ columns smear: fringes of one direction stay.
        return kept.tilted(float(rng.uniform(3, 7)), float(90 * rng.integers(2) + rng.uniform(-6, 6)))
    return kept.tilted(float(rng.uniform(0, 2)), float(rng.uniform(0, 180)))


def _relief(rng: np.random.Generator, x: Double, y: Double) -> Double:
    """A smooth surface of a few waves of 1.5 to 6 nm, 0 to 1."""
    waves = 2 * np.pi / rng.uniform(1.5, 6, 4)
    towards, phases = rng.uniform(0, 2 * np.pi, (2, 4))
    angle = waves * (np.multiply.outer(x, np.cos(towards)) + np.multiply.outer(y, np.sin(towards))) + phases
    return np.asarray(0.5 + 0.125 * np.cos(angle).sum(-1))


def _outline(rng: np.random.Generator, radii_nm: Double) -> Double:
    """Corners (n, 2) of a crystal along its own axes: {100} facets with cut corners, or irregular."""
    if rng.random() < 0.6:
        cut = rng.uniform(0, 0.6) * radii_nm.min()
        a, b = radii_nm
        quarter = np.array([[a, b - cut], [a - cut, b]])
        flip = quarter[::-1]
        return np.concatenate([quarter, flip * [-1, 1], -quarter, flip * [1, -1]])
    sides = int(rng.integers(4, 9))
    turns = 2 * np.pi * (np.arange(sides) + rng.uniform(-0.35, 0.35, sides)) / sides
    return np.stack([radii_nm[0] * np.cos(turns), radii_nm[1] * np.sin(turns)], 1)


def _segments(
    rng: np.random.Generator, truth: Float, crystal: Float, count: int, p: SegmentParameters
) -> tuple[Float, Float]:
    """Noisy and clean segments of one image, scaled alike."""
    dose = np.exp(rng.uniform(*np.log(p.dose_e_per_px)))
    seen = smooth(rng.poisson(truth * dose).astype(np.float32) / np.float32(dose), p.smoothing_px)
    truth = smooth(truth, p.smoothing_px)
    low, high = grey_range(seen)
    margin = (high - low) * rng.uniform(-0.05, 0.15)
    corners = _corners(rng, crystal, count, p.window)
    cuts = [np.s_[y : y + p.window, x : x + p.window] for y, x in corners]
    noisy = np.stack([seen[cut] for cut in cuts])
    clean = np.stack([truth[cut] for cut in cuts])
    if p.scaling == "video":
        return scale_to_range(noisy, low - margin, high + margin), scale_to_range(
            clean, low - margin, high + margin
        )
    least, most = noisy.min((1, 2), keepdims=True), noisy.max((1, 2), keepdims=True)
    return scale_windows(noisy), np.clip((clean - least) / (most - least), 0, 1)


def _corners(rng: np.random.Generator, crystal: Float, count: int, window: int) -> NDArray[np.int64]:
    """Places of windows, most of them on crystal or its edge."""
    free = _SCENE - 2 * _MARGIN - window
    places = _MARGIN + rng.integers(0, free + 1, (8 * count, 2))
    share = ndimage.uniform_filter(crystal, max(window // _CELL_PX, 1), mode="constant")
    middle = (places + window // 2) // _CELL_PX
    here = share[middle[:, 0], middle[:, 1]]
    weight = 0.04 + (here > 0.15) + 0.5 * ((here > 0.15) & (here < 0.85))
    return places[rng.choice(len(places), count, replace=False, p=weight / weight.sum())]
