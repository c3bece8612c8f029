"""Approximate inverses of the Hessian, for conjugate gradients. Each has `solve`, (K, p) -> (K, p), symmetric and
positive on contrasts.

What is added to the intercepts of all classes at once changes nothing, so the Hessian is singular there; both inverses
return matrices whose rows sum to 0 over the classes, given one that does.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt
import scipy.linalg

from ._objective import MultinomialObjective
from ._rows import Floats
from ._sampling import drawn_rows
from ._slices import over_features
from ._threads import Workers


class Preconditioner(Protocol):
    """An approximate inverse of the Hessian."""

    def solve(self, residual: Floats) -> Floats:
        """Apply it to a (K, p) matrix whose rows sum to 0 over the classes."""


class KroneckerInverse:
    """The inverse of M ⊗ Σ + I ⊗ diag λ with M = Σ π_i (diag p_i − p_i p_iᵀ) and Σ the covariance of the features.

    Exact where p_i is the same for all i. M is diagonalised at each update, Σ and diag λ together once for all. With
    `covariance` of one dimension, the variances, Σ is taken as diagonal. `idle` features, constant and without penalty,
    have neither curvature nor a gradient but rounding: they get 0.
    """

    def __init__(
        self,
        covariance: Floats,
        ridge: Floats,
        intercept: bool,
        idle: npt.NDArray[np.bool_] | None = None,
        workers: Workers | None = None,
    ) -> None:
        self._workers = workers or Workers(None)
        self._intercept = intercept
        self._idle = None if idle is None or not idle.any() else np.flatnonzero(idle)
        self._vectors: Floats | None = None
        self._penalty = ridge
        if covariance.ndim == 1:
            self._values = covariance
        elif np.all(ridge == ridge[0]):
            values, self._vectors = scipy.linalg.eigh(covariance, check_finite=False)
            self._values = np.maximum(values, 0.0)
        else:
            # Vᵀ(Σ + diag λ)V = I makes VᵀΣV = diag s and Vᵀ(diag λ)V = I − diag s.
            both = covariance + np.diag(ridge)
            scale = 1.0 / np.sqrt(np.maximum(np.diag(both), np.finfo(np.float64).tiny))
            both *= np.outer(scale, scale)
            both[np.diag_indices_from(both)] += len(both) * np.finfo(np.float64).eps
            values, vectors = scipy.linalg.eigh(covariance * np.outer(scale, scale), both, check_finite=False)
            self._values = np.clip(values, 0.0, 1.0)
            self._vectors, self._penalty = scale[:, None] * vectors, 1.0 - self._values
        # Directions without curvature and without penalty do not matter, but must not divide by 0.
        self._floor = np.finfo(np.float64).eps * max(float(self._values.max(initial=0.0)), np.finfo(np.float64).tiny)
        self._class_values: Floats
        self._class_vectors: Floats

    def update(self, class_covariance: Floats) -> None:
        """Take a new M."""
        self._class_values, self._class_vectors = contrast_eigen(class_covariance)

    def solve(self, residual: Floats) -> Floats:
        """(M ⊗ Σ + λI)⁻¹ on the coefficients, M⁻¹ on the intercepts."""
        if self._idle is not None:
            residual = residual.copy()
            residual[:, self._idle] = 0.0
        solution = np.empty(residual.shape)
        self.solve_intercepts(residual, solution)
        if self._vectors is None:
            self._solve_apart(residual, solution)
        else:
            rotated = self._class_vectors.T @ residual[:, : len(self._values)]
            rotated = ((rotated @ self._vectors) / self._scale(slice(None))) @ self._vectors.T
            solution[:, : len(self._values)] = self._class_vectors @ rotated
        if self._idle is not None:
            solution[:, self._idle] = 0.0
        return solution

    def solve_intercepts(self, residual: Floats, solution: Floats) -> None:
        """Fill the intercepts of a solution, where there are any."""
        if self._intercept:
            solution[:, -1] = self._class_vectors @ ((self._class_vectors.T @ residual[:, -1]) / self._class_values)

    def _scale(self, own: slice) -> Floats:
        penalty = self._penalty[own]
        scale: Floats = np.outer(self._class_values, np.maximum(self._values[own], self._floor)) + penalty
        return scale

    def _solve_apart(self, residual: Floats, solution: Floats) -> None:
        """Fill the coefficients of a solution where each feature stands alone, in slices of features."""

        def solve(own: slice) -> None:
            rotated = self._class_vectors.T @ residual[:, own]
            rotated /= self._scale(own)
            solution[:, own] = self._class_vectors @ rotated

        over_features(self._workers, (len(residual), len(self._values)), solve)


class DiagonalInverse:
    """The inverse of diag h on contrasts for each feature, with h (K, p) the diagonal of the Hessian and its penalty at
    the point where it was computed: D⁻¹ − D⁻¹ 1 1ᵀ D⁻¹ / (1ᵀ D⁻¹ 1), D = diag h_:j.

    Where the rows in which a feature occurs are decided long before the others, as those of a word with one tag, no
    covariance of classes that all features share is near their curvature. Intercepts are like features, or, where
    `kronecker` is given, as it treats them. `idle` features, constant and without penalty, get 0.
    """

    def __init__(self, objective: MultinomialObjective, kronecker: KroneckerInverse | None = None) -> None:
        self._kronecker = kronecker
        self._workers = objective.rows.workers
        self._idle = np.flatnonzero(objective.rows.flat & (objective.ridge == 0))
        h = objective.hessian_diagonal()
        h[:, : objective.rows.d] += objective.ridge
        floor = np.finfo(np.float64).eps * max(float(h.max(initial=0.0)), float(np.finfo(np.float64).tiny))
        np.maximum(h, floor, out=h)
        self._inverse = np.reciprocal(h, out=h)

    def solve(self, residual: Floats) -> Floats:
        """Apply it to a (K, p) matrix whose columns sum to 0 over the classes."""
        solution = np.empty(residual.shape)

        def solve(own: slice) -> None:
            inverse = self._inverse[:, own]
            scaled = inverse * residual[:, own]
            scaled -= inverse * (scaled.sum(axis=0) / inverse.sum(axis=0))
            solution[:, own] = scaled

        over_features(self._workers, residual.shape, solve)
        solution[:, self._idle] = 0.0
        if self._kronecker is not None:
            self._kronecker.solve_intercepts(residual, solution)
        return solution


def contrast_eigen(class_covariance: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues (K−1,), floored above 0, and vectors (K, K−1) of M without the direction of equal logits."""
    size = len(class_covariance)
    lifted = 2 * max(float(np.trace(class_covariance)), float(np.finfo(np.float64).tiny))
    values, vectors = scipy.linalg.eigh(class_covariance + lifted / size, check_finite=False)
    return np.maximum(values[:-1], np.finfo(np.float64).eps * lifted), vectors[:, :-1]


class FactoredHessian:
    """The inverse of the whole Hessian as it was at the point where it was assembled, by a Cholesky factor in the
    contrasts to one class; with `count`, of an unbiased estimate of it from about so many rows. Features that are
    constant and have no penalty get 0, as in `KroneckerInverse`.
    """

    def __init__(
        self, objective: MultinomialObjective, count: int | None = None, damping: Floats | None = None
    ) -> None:
        self._width = objective.shape[1]
        self._reference = int(np.argmax(objective.frequency))
        if count is None or count >= objective.rows.n:
            hessian = objective.reduced_hessian(self._reference)
        else:
            hessian = objective.reduced_hessian(self._reference, *drawn_rows(objective, count))
        self._add(hessian, np.append(objective.ridge, 0.0) if objective.has_intercept else objective.ridge)
        self._idle = np.flatnonzero(objective.rows.flat & (objective.ridge == 0))
        for k in range(objective.n_classes - 1):
            hessian[k * self._width + self._idle, k * self._width + self._idle] = 1.0
        self._hessian = hessian
        self.damp(damping)

    def damp(self, row: Floats | None) -> None:
        """Add `row` (p,) to the diagonal of every class."""
        damped = self._hessian.copy(order="F")
        if row is not None:
            self._add(damped, row)
        self._factor = _cholesky(damped)

    def _add(self, hessian: Floats, row: Floats) -> None:
        """Σ_k ⟨W_k, row·W_k⟩ in the contrasts A is Σ_k ⟨A_k, row·A_k⟩ − ⟨Σ_k A_k, row·Σ_k A_k⟩ / K."""
        n_contrasts = len(hessian) // self._width
        own = np.arange(n_contrasts)[:, None] * self._width + np.arange(self._width)
        for k in range(n_contrasts):
            hessian[own[k], own[k]] += row
            for other in range(k + 1):
                hessian[own[k], own[other]] -= row / (n_contrasts + 1)

    def solve(self, residual: Floats) -> Floats:
        """C H⁻¹ Cᵀ with C the map from contrasts to K centred sets."""
        centred = residual - residual.mean(axis=0)
        right = np.delete(centred, self._reference, axis=0)
        right[:, self._idle] = 0.0
        contrasts = scipy.linalg.cho_solve((self._factor, True), right.ravel(), check_finite=False).reshape(right.shape)
        solution: Floats = np.insert(contrasts, self._reference, 0.0, axis=0)
        solution -= solution.mean(axis=0)
        solution[:, self._idle] = 0.0
        return solution


def _cholesky(matrix: Floats) -> Floats:
    """The lower factor; a matrix that rounding has made indefinite gets a growing part of its diagonal added (it only
    preconditions).
    """
    diagonal = np.diag(matrix).copy()
    floor = diagonal.max() * np.finfo(np.float64).tiny
    for power in range(-14, 1):
        try:
            factor: Floats = scipy.linalg.cholesky(matrix, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            np.fill_diagonal(matrix, diagonal + 10.0**power * np.maximum(diagonal, floor))
        else:
            return factor
    return np.asfortranarray(np.diag(np.sqrt(np.maximum(diagonal, floor))))
