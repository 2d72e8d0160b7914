"""The paper's simulated images: a square net of Gaussian columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError

Float = NDArray[np.float32]
SIGMA_PX = 7.5 * 1.17
_COLUMNS_AT_ONCE = 2048
_REACH = 5  # standard deviations beyond the frame from which a column still shows


def simulate_image(
    period_px: float = 20.5,
    rotation_deg: float = 0.0,
    defect: float = 0.0,
    *,
    translation_px: tuple[float, float] = (0.0, 0.0),
    shape: tuple[int, int] = (640, 640),
    sigma_px: float = SIGMA_PX,
    amplitude: float = 0.75,
    background: float = 0.2,
    jitter_px: float = 0.05,
    legacy: bool = False,
    seed: int = 0,
) -> Float:
    """An image of Gaussian columns on a square net about the middle of the frame.

    Parameters
    ----------
    period_px : float
        Distance of neighbouring columns in px.
    rotation_deg : float
        Clockwise on a screen, about the middle.
    defect : float
        Share of the columns that is missing, each by chance.
    translation_px : tuple of float
        Of the net along y and x, after the rotation.
    shape : tuple of int
        Rows and columns of the image.
    sigma_px, amplitude, background : float
        Standard deviation and height of a column; grey level between columns that do not overlap.
    jitter_px : float
        Positions are off by up to this much along each axis, evenly.
    legacy : bool
        Round positions to whole pixels, as the published code does: that adds 0.29 px rms along each axis.
    seed : int
        Of jitter and missing columns.

    Returns
    -------
    ndarray (y, x), float32
        background + amplitude Σ exp(−r² / 2σ²).

    Raises
    ------
    ParameterError
        A value lies outside its range, or there are too many columns.

    Notes
    -----
    Wang, Yan, Ondry, Ercius & Alivisatos (2023), the simulated lattices of figures 2 and 5c.
    """
    _check(period_px, rotation_deg, defect, translation_px, shape, sigma_px, jitter_px)
    y, x = column_positions(period_px, rotation_deg, translation_px, shape, _REACH * sigma_px)
    rng = np.random.default_rng(seed)
    kept = rng.random(len(y)) >= defect
    offset = rng.uniform(-jitter_px, jitter_px, (2, len(y)))
    y, x = (y + offset[0])[kept], (x + offset[1])[kept]
    if legacy:
        y, x = np.rint(y), np.rint(x)
    image = np.zeros(shape, np.float32)
    for start in range(0, len(y), _COLUMNS_AT_ONCE):
        some = slice(start, start + _COLUMNS_AT_ONCE)
        # A Gaussian is a product of one along y and one along x.
        image += _profiles(y[some], shape[0], sigma_px).T @ _profiles(x[some], shape[1], sigma_px)
    return np.asarray(background + amplitude * image, np.float32)


def column_positions(
    period_px: float,
    rotation_deg: float,
    translation_px: tuple[float, float],
    shape: tuple[int, int],
    beyond_px: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places y, x in px of the columns of a square net in a frame and up to `beyond_px` around it."""
    middle = (shape[0] - 1) / 2, (shape[1] - 1) / 2
    reach = np.hypot(shape[0], shape[1]) / 2 + beyond_px + np.hypot(*translation_px)
    number = int(np.ceil(reach / period_px))
    v, u = period_px * np.mgrid[-number : number + 1, -number : number + 1].reshape(2, -1)
    angle = np.deg2rad(rotation_deg)
    y = middle[0] + translation_px[0] + np.sin(angle) * u + np.cos(angle) * v
    x = middle[1] + translation_px[1] + np.cos(angle) * u - np.sin(angle) * v
    near = (np.abs(y - middle[0]) <= shape[0] / 2 + beyond_px) & (
        np.abs(x - middle[1]) <= shape[1] / 2 + beyond_px
    )
    return y[near], x[near]


def _profiles(centres: NDArray[np.float64], length: int, sigma_px: float) -> Float:
    distance = (np.arange(length) - centres[:, None]) / sigma_px
    return np.exp(-0.5 * distance**2).astype(np.float32)


def _check(
    period_px: float,
    rotation_deg: float,
    defect: float,
    translation_px: tuple[float, float],
    shape: tuple[int, int],
    sigma_px: float,
    jitter_px: float,
) -> None:
    for name, value, least, most in (
        ("period_px", period_px, 2, 1000),
        ("rotation_deg", rotation_deg, -360, 360),
        ("defect", defect, 0, 1),
        ("translation_px", max(translation_px, key=abs), -1e4, 1e4),
        ("shape", min(shape), 1, 16384),
        ("shape", max(shape), 1, 16384),
        ("sigma_px", sigma_px, 0.1, 1000),
        ("jitter_px", jitter_px, 0, 1000),
    ):
        if not least <= value <= most:
            raise ParameterError(f"{name} is {value!r}; give numbers from {least:g} to {most:g}.")
