"""The basis of a grain from the phases of its Bragg maps: coarse by neighbouring cells, fine by Newton.

All functions take one frame, or several in leading axes (...).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .bragg import BraggMap
from .conventions import Double, Symmetry, first_order_spots, ideal_basis, lattice_angle_deg
from .grid import Complex, Float, LatticeGrid

_MOST_STEPS = 8
# A step leaves its own square times the grain's size: nothing, after one so short (cycles per binned px).
_CONVERGED = 1e-6
# A net is taken to be ideal but for so much distortion (1 σ): it holds a spot that is too weak to be seen,
# and leaves one that is seen alone.
_DISTORTION = 0.005
_CAPTURE_PRIOR = 1e-2
# Likelihood up to which a spot may be noise, and its share of the strongest spot's.
_UNSEEN, _UNSEEN_SHARE = 8.0, 0.02


@dataclass(frozen=True)
class BasisFit:
    """Refined bases (..., 2, 2), cycles per binned px; covariances (..., 4, 4) of g1y, g1x, g2y, g2x."""

    basis: Double
    covariance: Double


def capture_basis(grid: LatticeGrid, maps: Sequence[BraggMap], weight: Float, symmetry: Symmetry) -> Double:
    """A first basis from the mean phase step between neighbouring cells ("pulse pair").

    It needs no start within half a fringe of the truth, as `refine_basis` does: any k within the band of
    the maps is captured.

    Parameters
    ----------
    maps : sequence of BraggMap
        Of the first-order spots, wide enough to hold the true k.
    weight : ndarray (..., rows, columns)
        Where the grain is, on coarse cells.

    Returns
    -------
    ndarray (..., 2, 2)
        Cycles per binned px.
    """
    c = np.stack([one.values for one in maps]) * np.sqrt(weight)
    down = np.angle((c[..., :-1, :].conj() * c[..., 1:, :]).sum((-2, -1)))
    right = np.angle((c[..., :, :-1].conj() * c[..., :, 1:]).sum((-2, -1)))
    found = np.stack([one.carrier for one in maps])
    found = found + np.stack([down, right], -1) / (2 * np.pi * grid.coarse_step)
    strength = (c.real**2 + c.imag**2).sum((-2, -1), dtype=np.float64)
    strongest = strength.max(0)
    strength = np.where(strongest > 0, strength / np.where(strongest > 0, strongest, 1), 1)
    indices = np.array([one.index for one in maps], np.float64)
    prior = _CAPTURE_PRIOR * _ideal_precision(symmetry)
    precision = prior + _spread_over_net(
        indices, strength, np.broadcast_to(np.eye(2), (*strength.shape, 2, 2))
    )
    wanted = np.einsum("si,s...,s...k->...ik", indices, strength, found)
    solved = np.linalg.solve(precision, wanted.reshape(*wanted.shape[:-2], 4, 1))
    return np.asarray(solved.reshape(wanted.shape))


def refine_basis(
    grid: LatticeGrid,
    maps: Sequence[BraggMap],
    weight: Float,
    start: Double,
    symmetry: Symmetry,
    noises: ArrayLike,
    sigma: float,
) -> BasisFit:
    """The basis of greatest likelihood, all spots of a grain at once.

    Maximises Σ_h |Σ_r w(r)·c_h(r)·exp(−2πi (h·G − carrier_h)·r)|², the likelihood of plane waves in white
    noise where w is the grain's own area, by Newton steps over the four entries of G.

    Parameters
    ----------
    maps : sequence of BraggMap
    weight : ndarray (..., rows, columns)
        Where the grain is, on coarse cells, 0 to 1.
    start : ndarray (..., 2, 2)
        Cycles per binned px.
    noises : array (spot, ...)
        Standard deviation of a binned pixel, at each spot.
    sigma : float
        What the maps were smoothed by, in binned px.

    Returns
    -------
    BasisFit
        The covariance is the inverse of the information in the waves found.
    """
    y, x = grid.coarse_positions
    # The log-likelihood of a plane wave is its |S|² over the noise's mean of |S|²; the maps' smoothing takes
    # from the noise as if the weight were smoothed.
    smooth = grid.blur_coarse(weight, sigma).astype(np.float64)
    scales = grid.coarse_step**2 / (np.square(noises) * np.maximum((smooth**2).sum((-2, -1)), 1e-12))
    spread = _second_moments(smooth, y, x)
    indices = np.array([one.index for one in maps], np.float64)
    carriers = np.stack([one.carrier for one in maps])
    weighted = np.asarray(np.stack([one.values for one in maps]) * weight, np.complex64)
    prior = _ideal_precision(symmetry) / (_DISTORTION**2 * (start**2).sum((-2, -1))[..., None, None] / 2)
    limit = 0.25 / max(grid.binned)
    basis = start.astype(np.float64).copy()
    moving = np.ones(basis.shape[:-2], bool)
    for _ in range(_MOST_STEPS):
        k = np.moveaxis(indices @ basis, -2, 0) - carriers
        s = _moments(weighted, k, y, x)
        conjugate = np.conj(s[..., 0, 0])
        likelihood = scales * np.abs(s[..., 0, 0]) ** 2
        # The slope of the others is that of noise: the prior leads these spots.
        seen = likelihood >= np.minimum(_UNSEEN, _UNSEEN_SHARE * likelihood.max(0))
        share = np.where(seen, scales, 0)
        first = np.stack([(conjugate * s[..., 1, 0]).imag, (conjugate * s[..., 0, 1]).imag], -1)
        cross = (np.conj(s[..., 1, 0]) * s[..., 0, 1]).real - (conjugate * s[..., 1, 1]).real
        yy = np.abs(s[..., 1, 0]) ** 2 - (conjugate * s[..., 2, 0]).real
        xx = np.abs(s[..., 0, 1]) ** 2 - (conjugate * s[..., 0, 2]).real
        second = np.stack([np.stack([yy, cross], -1), np.stack([cross, xx], -1)], -1)
        flat = basis.reshape(*basis.shape[:-2], 4, 1)
        slope = (4 * np.pi) * np.einsum("si,s...,s...k->...ik", indices, share, first).reshape(
            flat.shape
        ) - prior @ flat
        curvature = prior - 8 * np.pi**2 * _spread_over_net(indices, share, second)
        step = _ascent(slope[..., 0], curvature)
        longest = np.abs(step).max(-1)
        step *= (np.minimum(1.0, limit / np.maximum(longest, 1e-300)) * moving)[..., None]
        basis += step.reshape(basis.shape)
        moving &= longest >= _CONVERGED
        if not moving.any():
            break
    # Noise alone has a mean likelihood of 1.
    told = np.where(seen, np.maximum(likelihood - 1, 0), 0)
    information = prior + 8 * np.pi**2 * _spread_over_net(indices, told, spread[None])
    return BasisFit(basis, np.asarray(np.linalg.pinv(information), np.float64))


def angle_and_spacing(fit: BasisFit, symmetry: Symmetry) -> Double:
    """Angle in degrees and its standard error, mean fringe distance in binned px and its standard error.

    Returns
    -------
    ndarray (4, ...)
    """

    def measure(basis: Double) -> Double:
        spots = np.array(first_order_spots(symmetry), np.float64) @ basis
        return np.stack([lattice_angle_deg(basis, symmetry), 1 / np.hypot(*_axes(spots)).mean(-1)], -1)

    centre = fit.basis[..., None, :, :]
    here = measure(centre)
    small = 1e-5 * np.abs(centre).max((-2, -1), keepdims=True)
    change = measure(centre + small * np.eye(4).reshape(4, 2, 2)) - here
    change[..., 0] = (change[..., 0] + 180) % 360 - 180
    jacobian = change / small[..., 0]
    variance = np.einsum("...ji,...jk,...ki->...i", jacobian, fit.covariance, jacobian)
    sigma = np.sqrt(np.maximum(variance, 0))
    return np.stack([here[..., 0, 0], sigma[..., 0], here[..., 0, 1], sigma[..., 1]])


def _axes(vectors: Double) -> tuple[Double, Double]:
    return vectors[..., 0], vectors[..., 1]


def _moments(weighted: Complex, k: Double, y: Double, x: Double) -> Double:
    """Moments Σ yᵃ xᵇ w c exp(−2πi k·r) of maps (spot, ..., rows, columns); (spot, ..., a, b), a, b ≤ 2."""
    left, right = (
        (axis ** np.arange(3)[:, None] * np.exp(-2j * np.pi * k[..., one, None] * axis)[..., None, :])
        for one, axis in enumerate((y, x))
    )
    columns = weighted @ np.swapaxes(right, -1, -2).astype(np.complex64)
    return np.asarray(left @ columns, np.complex128)


def _spread_over_net(indices: Double, shares: Double, matrices: Double) -> Double:
    """Σ_h share_h · (h hᵀ ⊗ M_h): what spots say of k, of the basis; M (spot or 1, ..., 2, 2)."""
    total = np.einsum("si,sj,s...,s...kl->...ikjl", indices, indices, shares, matrices)
    return np.asarray(total.reshape(*total.shape[:-4], 4, 4))


def _ideal_precision(symmetry: Symmetry) -> Double:
    """Matrix Q with g·Q·g the squared distance of a basis (g1y, g1x, g2y, g2x) from undistorted ones."""
    if symmetry == "any":
        return np.zeros((4, 4))
    # Undistorted bases are the span of an ideal one and of the same turned by 90°.
    spans = np.stack([ideal_basis(1, angle, symmetry).ravel() for angle in (0, 90)]) / np.sqrt(2)
    return np.asarray(np.eye(4) - spans.T @ spans)


def _ascent(slope: Double, curvature: Double) -> Double:
    """Newton's step to a maximum; where the likelihood is not concave, a step up the slope."""
    values, vectors = np.linalg.eigh(curvature)
    floor = np.maximum(np.abs(values).max(-1, keepdims=True) * 1e-6, 1e-300)
    along = np.einsum("...ji,...j->...i", vectors, slope) / np.maximum(np.abs(values), floor)
    return np.asarray(np.einsum("...ij,...j->...i", vectors, along))


def _second_moments(weight: Double, y: Double, x: Double) -> Double:
    """Covariance of the places under weights (..., rows, columns); (..., 2, 2), y first."""
    share = weight / np.maximum(weight.sum((-2, -1), keepdims=True), 1e-12)
    along_y, along_x = share.sum(-1), share.sum(-2)
    down = y - (along_y @ y)[..., None]
    right = x - (along_x @ x)[..., None]
    cross = np.einsum("...y,...yx,...x->...", down, share, right)
    variances = (along_y * down**2).sum(-1), (along_x * right**2).sum(-1)
    rows = [np.stack([variances[0], cross], -1), np.stack([cross, variances[1]], -1)]
    return np.stack(rows, -2)
