"""The basis of a grain from the phases of its Bragg maps: coarse by neighbouring cells, fine by Newton."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .bragg import BraggMap
from .conventions import Double, Symmetry, first_order_spots, ideal_basis, lattice_angle_deg
from .grid import Float, LatticeGrid

_MOST_STEPS = 8
_CONVERGED = 1e-8
# A net is taken to be ideal but for so much distortion (1 σ): it holds a spot that is too weak to be seen,
# and leaves one that is seen alone.
_DISTORTION = 0.005
_CAPTURE_PRIOR = 1e-2
# Likelihood up to which a spot may be noise, and its share of the strongest spot's.
_UNSEEN, _UNSEEN_SHARE = 8.0, 0.02


@dataclass(frozen=True)
class BasisFit:
    """A refined basis (cycles per binned px) and the covariance (4, 4) of g1y, g1x, g2y, g2x."""

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
    weight : ndarray (rows, columns)
        Where the grain is, on coarse cells.

    Returns
    -------
    ndarray (2, 2)
        Cycles per binned px.
    """
    found = []
    for one in maps:
        c = one.values * np.sqrt(weight)
        down = np.angle(np.vdot(c[:-1], c[1:]))
        right = np.angle(np.vdot(c[:, :-1], c[:, 1:]))
        found.append(one.carrier + np.array([down, right]) / (2 * np.pi * grid.coarse_step))
    indices = np.array([one.index for one in maps], np.float64)
    strength = np.array([np.sqrt((np.abs(one.values) ** 2 * weight).sum()) for one in maps])
    strength /= strength.max()
    design = np.kron(indices * strength[:, None], np.eye(2))
    wanted = (np.array(found) * strength[:, None]).ravel()
    precision = design.T @ design + _CAPTURE_PRIOR * _ideal_precision(symmetry)
    return np.asarray(np.linalg.solve(precision, design.T @ wanted).reshape(2, 2))


def refine_basis(
    grid: LatticeGrid,
    maps: Sequence[BraggMap],
    weight: Float,
    start: Double,
    symmetry: Symmetry,
    noises: Sequence[float],
    sigma: float,
) -> BasisFit:
    """The basis of greatest likelihood, all spots of a grain at once.

    Maximises Σ_h |Σ_r w(r)·c_h(r)·exp(−2πi (h·G − carrier_h)·r)|², the likelihood of plane waves in white
    noise where w is the grain's own area, by Newton steps over the four entries of G.

    Parameters
    ----------
    maps : sequence of BraggMap
    weight : ndarray (rows, columns)
        Where the grain is, on coarse cells, 0 to 1.
    start : ndarray (2, 2)
        Cycles per binned px.
    noises : sequence of float
        Standard deviation of a binned pixel, at each spot.
    sigma : float
        What the maps were smoothed by, in binned px.

    Returns
    -------
    BasisFit
        The covariance is the inverse of the information in the waves found.
    """
    y, x = grid.coarse_positions
    powers_y, powers_x = (np.stack([np.ones_like(axis), axis, axis**2]) for axis in (y, x))
    weighted = [one.values * weight for one in maps]
    # The log-likelihood of a plane wave is its |S|² over the noise's mean of |S|²; the maps' smoothing takes
    # from the noise as if the weight were smoothed.
    smooth = grid.blur_coarse(weight, sigma).astype(np.float64)
    scales = grid.coarse_step**2 / (np.square(noises) * max(float((smooth**2).sum()), 1e-12))
    spread = _second_moments(smooth, y, x)
    shapes = [np.kron(np.array(one.index, np.float64), np.eye(2)) for one in maps]
    prior = _ideal_precision(symmetry) / (_DISTORTION**2 * float((start**2).sum() / 2))
    limit = 0.25 / max(grid.binned)
    basis = start.astype(np.float64).copy()
    information = prior.copy()
    waves = list(zip(maps, weighted, shapes, scales, strict=True))
    waves.sort(key=lambda wave: -float((np.abs(wave[1]) ** 2).sum()) * wave[3])
    for _ in range(_MOST_STEPS):
        slope, curvature, information = -prior @ basis.ravel(), prior.copy(), prior.copy()
        strongest = 0.0
        for one, values, shape, scale in waves:
            k = one.index[0] * basis[0] + one.index[1] * basis[1] - one.carrier
            wave_y, wave_x = np.exp(-2j * np.pi * k[0] * y), np.exp(-2j * np.pi * k[1] * x)
            # Moments S_ab = Σ yᵃ xᵇ w c e, all nine at once.
            s = (powers_y * wave_y) @ values @ (powers_x * wave_x).T
            conjugate = np.conj(s[0, 0])
            likelihood = scale * abs(s[0, 0]) ** 2
            strongest = max(strongest, likelihood)
            if likelihood < min(_UNSEEN, _UNSEEN_SHARE * strongest):
                # Its slope is that of noise: the prior leads this spot.
                continue
            first = 4 * np.pi * scale * np.array([(conjugate * s[1, 0]).imag, (conjugate * s[0, 1]).imag])
            cross = (np.conj(s[1, 0]) * s[0, 1]).real - (conjugate * s[1, 1]).real
            second = np.array(
                [
                    [abs(s[1, 0]) ** 2 - (conjugate * s[2, 0]).real, cross],
                    [cross, abs(s[0, 1]) ** 2 - (conjugate * s[0, 2]).real],
                ]
            )
            slope += shape.T @ first
            curvature -= 8 * np.pi**2 * scale * (shape.T @ second @ shape)
            # Noise alone has a mean likelihood of 1.
            seen = max(likelihood - 1, 0)
            information += 8 * np.pi**2 * seen * (shape.T @ spread @ shape)
        step = _ascent(slope, curvature)
        longest = float(np.abs(step).max())
        basis += (step * min(1.0, limit / max(longest, 1e-300))).reshape(2, 2)
        if longest < _CONVERGED:
            break
    return BasisFit(basis, np.asarray(np.linalg.pinv(information), np.float64))


def angle_and_spacing(fit: BasisFit, symmetry: Symmetry) -> tuple[float, float, float, float]:
    """Angle in degrees and its standard error, mean fringe distance in binned px and its standard error."""

    def measure(flat: Double) -> Double:
        basis = flat.reshape(2, 2)
        spots = np.array(first_order_spots(symmetry)) @ basis
        return np.array([float(lattice_angle_deg(basis, symmetry)), 1 / np.hypot(*spots.T).mean()])

    centre = fit.basis.ravel()
    here = measure(centre)
    small = 1e-5 * float(np.abs(centre).max())
    jacobian = np.empty((2, 4))
    for entry in range(4):
        change = measure(centre + small * (np.arange(4) == entry)) - here
        change[0] = (change[0] + 180) % 360 - 180
        jacobian[:, entry] = change / small
    sigma = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", jacobian, fit.covariance, jacobian), 0))
    return float(here[0]), float(sigma[0]), float(here[1]), float(sigma[1])


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
    floor = max(float(np.abs(values).max()) * 1e-6, 1e-300)
    return np.asarray(vectors @ ((vectors.T @ slope) / np.maximum(np.abs(values), floor)))


def _second_moments(weight: Double, y: Double, x: Double) -> Double:
    """Covariance of the places under a weight (rows, columns); (2, 2), y first."""
    share = weight / max(float(weight.sum()), 1e-12)
    along_y, along_x = share.sum(1), share.sum(0)
    y, x = y - along_y @ y, x - along_x @ x
    cross = y @ share @ x
    return np.array([[along_y @ y**2, cross], [cross, along_x @ x**2]])
