"""What each latent answers to: its variance while one thing about a simulated lattice changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy import special

from ...errors import ModelFileError, ParameterError
from ...progress import Progress, Steps, run
from ...simulate.material import columns
from ...simulate.optics import Microscope, scherzer_nm, transfer
from ...video.scaling import scale_to_range, scale_windows, smooth
from ..card import ModelCard
from ..model import Model

Float = NDArray[np.float32]
_PERIOD_NM = 0.2968  # PbS along ⟨100⟩: sets what a defocus does to fringes, whatever their period in px
_PHASE_RAD = 0.25
_POINTS = 12
# Beyond the window, so that no border of the field shows in it.
_AROUND_PX = 48
_ACTIVE_VARIANCE = 0.01
_OWN_SHARE = 0.4


@dataclass(frozen=True)
class _Lattice:
    """A lattice in a window, about the window's centre; lengths in px, angles in rad."""

    period: float
    angle: float
    phase: tuple[float, float]
    sharpness: float
    contrast: float
    edge_angle: float
    edge: float | None = None
    shift: tuple[float, float] = (0.0, 0.0)
    defocus_nm: float = 0.0


Change = Callable[[_Lattice, float], _Lattice]


def _shifted(lattice: _Lattice, y: float, x: float) -> _Lattice:
    return replace(lattice, shift=(y * lattice.period, x * lattice.period))


# Each over t from 0 to 1; the first three as the paper has them (Fig. 2).
CHANGES: dict[str, tuple[str, Change]] = {
    "translation y": ("one period", lambda one, t: _shifted(one, t, 0)),
    "translation x": ("one period", lambda one, t: _shifted(one, 0, t)),
    "rotation": ("90°", lambda one, t: replace(one, angle=one.angle + np.pi / 2 * t)),
    "edge": ("two periods", lambda one, t: replace(one, edge=(2 * t - 1) * one.period)),
    "contrast": ("1 to 0.3", lambda one, t: replace(one, contrast=one.contrast * (1 - 0.7 * t))),
    "defocus": ("±40 nm", lambda one, t: replace(one, defocus_nm=40 * (2 * t - 1))),
    "period": ("±6 %", lambda one, t: replace(one, period=one.period * (0.94 + 0.12 * t))),
}
# Label of a latent by what it answers to; the two directions, and contrast and defocus, count as one.
_LABELS = {
    "translation": ("translation y", "translation x"),
    "rotation": ("rotation",),
    "edge": ("edge",),
    "contrast": ("contrast", "defocus"),
    "period": ("period",),
}


def latent_response(
    model: Model, *, period_px: float | None = None, lattices: int = 48, seed: int = 0
) -> xr.Dataset:
    """How every latent answers to known changes of lattices; see `response_steps`."""
    return run(response_steps(model, period_px=period_px, lattices=lattices, seed=seed))


def response_steps(
    model: Model, *, period_px: float | None = None, lattices: int = 48, seed: int = 0
) -> Steps[xr.Dataset]:
    """Change simulated lattices in one way at a time, encode them, and see which latents move.

    Parameters
    ----------
    model : Model
    period_px : float, optional
        Fringe period in px of what the model will see; the card's by default.
    lattices : int
        Lattices of random angle, phase, contrast and sign that each change is done to.
    seed : int

    Returns
    -------
    Dataset
        `response` (change, latent): variance of the latent over the change, mean over lattices, as a share
        of its variance over the training set (of 1 where the card tells none); `response_error`, its
        standard error; `label` (latent): "translation", "rotation", "edge", "contrast", "period", "mixed" or
        "inactive". Coordinate `range` (change): from where to where.

    Raises
    ------
    ParameterError
        No period is known, or it does not fit the window twice; fewer than 2 lattices.
    ModelPartError
        The model has no encoder.

    References
    ----------
    Wang et al. 2023, Fig. 2 and S4.
    """
    period = _checked_period(model.card, period_px)
    if lattices < 2:
        raise ParameterError(f"lattices is {lattices}; give 2 or more, so that there is an error.")
    rng = np.random.default_rng(seed)
    spread = _variances(model.card)
    each = np.empty((lattices, len(CHANGES), model.card.latents))
    for index in range(lattices):
        first = _drawn(rng, period)
        for number, (_, change) in enumerate(CHANGES.values()):
            yield Progress(index * len(CHANGES) + number, lattices * len(CHANGES), "Changing lattices")
            sweep = [change(first, t) for t in np.arange(_POINTS) / _POINTS]
            mean, _ = model.encode(_windows(sweep, model.card))
            each[index, number] = mean.var(0) / spread
    answer, error = each.mean(0), each.std(0, ddof=1) / np.sqrt(lattices)
    result = xr.Dataset(
        {
            "response": (("change", "latent"), answer, {"units": "1", "long_name": "variance over a change"}),
            "response_error": (("change", "latent"), error, {"units": "1"}),
            "label": ("latent", _labels(answer, model.card)),
        },
        coords={
            "change": list(CHANGES),
            "range": ("change", [said for said, _ in CHANGES.values()]),
            "latent": np.arange(model.card.latents),
        },
        attrs={"model": model.card.name, "period_px": period, "lattices": lattices, "seed": seed},
    )
    return result


def _checked_period(card: ModelCard, period_px: float | None) -> float:
    period = card.period_px if period_px is None else period_px
    if period is None:
        raise ParameterError(f"{card.name} tells no fringe period; give period_px.")
    if not 2 <= period <= card.window / 2:
        raise ParameterError(
            f"period_px is {period:g}; give 2 px to half of the model's window of {card.window} px."
        )
    return float(period)


def _variances(card: ModelCard) -> NDArray[np.float64]:
    """Of the latents over the training set; 1 where unknown, so that nothing is divided by nothing."""
    variances = card.training.get("variances")
    if not variances:
        return np.ones(card.latents)
    known = np.asarray(variances, float)
    return np.where(known > _ACTIVE_VARIANCE, known, 1.0)


def _drawn(rng: np.random.Generator, period: float) -> _Lattice:
    return _Lattice(
        period=period,
        angle=float(rng.uniform(0, np.pi / 2)),
        phase=(float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0, 2 * np.pi))),
        sharpness=float(rng.uniform(0.5, 2.0)),
        contrast=float(rng.uniform(0.5, 1.0)),
        edge_angle=float(rng.uniform(0, 2 * np.pi)),
    )


def _windows(sweep: list[_Lattice], card: ModelCard) -> Float:
    """Noise-free windows as the model sees them: one range for all, or each its own."""
    images = smooth(_images(sweep, card.window), card.smoothing_px)
    inner = slice(_AROUND_PX, _AROUND_PX + card.window)
    windows = np.ascontiguousarray(images[:, inner, inner])
    if card.scaling == "window":
        return scale_windows(windows)
    low, high = float(windows.min()), float(windows.max())
    # Noise widens the range of a video beyond what its columns have.
    margin = 0.25 * (high - low)
    return scale_to_range(windows, low - margin, high + margin)


def _images(sweep: list[_Lattice], window: int) -> Float:
    """Thin phase objects (n, y, x) seen through a microscope at, or off, Scherzer's defocus."""
    side = window + 2 * _AROUND_PX
    waves = np.exp(1j * _PHASE_RAD * np.stack([_potential(one, side) for one in sweep]))
    spectra = torch.fft.fft2(torch.from_numpy(waves.astype(np.complex64)))
    seen: dict[tuple[float, float], torch.Tensor] = {}
    for index, one in enumerate(sweep):
        extent = side * _PERIOD_NM / one.period
        key = (extent, one.defocus_nm)
        if key not in seen:
            microscope = Microscope(defocus_nm=scherzer_nm(200.0, 1.2) + one.defocus_nm)
            seen[key] = transfer((side, side), (extent, extent), microscope)
        spectra[index] *= seen[key]
    return np.asarray(torch.fft.ifft2(spectra).abs().square().numpy(), np.float32)


def _potential(lattice: _Lattice, side: int) -> Float:
    axis = np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2)
    y, x = axis[:, None] - lattice.shift[0], axis[None, :] - lattice.shift[1]
    sharpness = np.full(2, lattice.sharpness, np.float32)
    phase = np.asarray(lattice.phase, np.float32)
    potential = lattice.contrast * columns(y, x, lattice.period, lattice.angle, phase, sharpness)
    if lattice.edge is not None:
        beyond = np.sin(lattice.edge_angle) * y + np.cos(lattice.edge_angle) * x - lattice.edge
        potential = potential * special.expit(-beyond)
    return np.asarray(potential, np.float32)


def _labels(answer: NDArray[np.float64], card: ModelCard) -> NDArray[np.str_]:
    """What a latent answers to more than to all else, each change weighed by what it does to all latents."""
    total = answer.sum(1, keepdims=True)
    part = np.divide(answer, total, out=np.zeros_like(answer), where=total > 0)
    names = list(CHANGES)
    by_label = np.stack([part[[names.index(one) for one in ones]].mean(0) for ones in _LABELS.values()])
    strongest = by_label.argmax(0)
    share = by_label.max(0) / np.maximum(by_label.sum(0), 1e-12)
    labels = np.where(share >= _OWN_SHARE, np.array(list(_LABELS))[strongest], "mixed")
    variances = card.training.get("variances")
    inactive = answer.max(0) <= 1e-6
    if variances:
        inactive |= np.asarray(variances) <= _ACTIVE_VARIANCE
    return np.where(inactive, "inactive", labels)


def recorded(answer: xr.Dataset) -> dict[str, Any]:
    """What `response` found, as a record can hold it; `from_record` makes a Dataset of it again."""
    return {
        "response": np.round(answer["response"].values, 5).tolist(),
        "error": np.round(answer["response_error"].values, 5).tolist(),
        "label": answer["label"].values.tolist(),
        "change": answer["change"].values.tolist(),
        "range": answer["range"].values.tolist(),
        "attrs": dict(answer.attrs),
    }


def from_record(record: dict[str, Any]) -> xr.Dataset:
    """The Dataset that `recorded` took down.

    Raises
    ------
    ModelFileError
        It is not one.
    """
    try:
        table = ("change", "latent")
        return xr.Dataset(
            {
                "response": (table, np.asarray(record["response"], float), {"units": "1"}),
                "response_error": (table, np.asarray(record["error"], float), {"units": "1"}),
                "label": ("latent", np.asarray(record["label"], str)),
            },
            coords={
                "change": [str(one) for one in record["change"]],
                "range": ("change", [str(one) for one in record["range"]]),
                "latent": np.arange(len(record["label"])),
            },
            attrs=dict(record["attrs"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"The record of the response is damaged ({error}); calibrate again.") from error


def response_columns(answer: xr.Dataset) -> dict[str, NDArray[Any]]:
    """Columns of a table with a row for each latent: response to each change, its error, and the label."""
    columns: dict[str, NDArray[Any]] = {"latent": answer["latent"].values}
    for change in answer["change"].values:
        for name, array in (("", "response"), (" error", "response_error")):
            columns[f"{change}{name} (1)"] = answer[array].sel(change=change).values
    columns["label"] = answer["label"].values
    return columns
