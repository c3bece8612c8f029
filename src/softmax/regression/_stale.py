"""Curvature that outlives the fit it was computed for: what fits at several C, and to parts of the rows, share.

The Hessian of the loss depends on C only through the probabilities, and to a part of the rows it is nearly that of all
of them. So a Hessian assembled once, or the eigenvectors of the features, precondition many fits: λ enters when they
are used.
"""

from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

from ._objective import MultinomialObjective
from ._preconditioners import _cholesky, contrast_eigen
from ._rows import Floats

# Numbers that Hessians kept for others may hold together.
SNAPSHOT_NUMBERS = 6e7
# Of more blocks than this, one in so many stands for all.
SAMPLED_BLOCKS, SAMPLED_EVERY = 16, 4


class SharedCovariance:
    """(M ⊗ Σ + I ⊗ diag λ)⁻¹ for any M (K, K) and any multiple of one vector λ: Σ is diagonalised once.

    With D = diag(v)^−½ for λ = λ₀ v and D Σ D = U diag(s) Uᵀ the inverse is D U (m_k s + λ₀)⁻¹ Uᵀ D in the eigenvectors
    of M.
    """

    def __init__(self, covariance: Floats, shape_of_ridge: Floats) -> None:
        self._root = 1.0 / np.sqrt(shape_of_ridge)
        self._vectors: Floats | None = None
        if covariance.ndim == 2:
            values, self._vectors = scipy.linalg.eigh(covariance * np.outer(self._root, self._root), check_finite=False)
        else:
            values = covariance * self._root**2
        self._values: Floats = np.maximum(values, 0.0)

    def inverse(self, class_covariance: Floats, strength: float, intercept: bool) -> "KroneckerSolve":
        """The inverse for M and λ₀."""
        values, vectors = contrast_eigen(class_covariance)
        scale = np.outer(values, self._values) + strength
        return KroneckerSolve(vectors, values, scale, self._vectors, self._root, intercept)


@dataclass(frozen=True)
class KroneckerSolve:
    """One inverse of `SharedCovariance`."""

    class_vectors: Floats
    class_values: Floats
    scale: Floats
    vectors: Floats | None
    root: Floats
    intercept: bool

    def solve(self, residual: Floats) -> Floats:
        """Apply it to a (K, p) matrix whose columns sum to 0 over the classes."""
        rotated = self.class_vectors.T @ residual
        inner = (rotated[:, :-1] if self.intercept else rotated) * self.root
        inner = inner / self.scale if self.vectors is None else ((inner @ self.vectors) / self.scale) @ self.vectors.T
        inner *= self.root
        if self.intercept:
            inner = np.column_stack([inner, rotated[:, -1] / self.class_values])
        solution: Floats = self.class_vectors @ inner
        return solution


class Snapshot:
    """The Hessian of the loss at the point evaluated last, in the contrasts to one class; factored for any λ.

    All rows go into it: those that matter little here may matter much at another C or to a part of the rows, and there
    it is to serve.
    """

    def __init__(self, objective: MultinomialObjective, trace: float) -> None:
        n_classes, width = objective.shape
        self.trace = trace
        self._reference = int(np.argmax(objective.frequency))
        self._hessian = objective.reduced_hessian(self._reference)
        self.numbers = self._hessian.size
        # ‖W‖² is ‖A‖² − ‖Σ_k A_k‖² / K in the contrasts A: where the penalty of feature j goes, and how much of it.
        d = width - int(objective.has_intercept)
        k, other = np.tril_indices(n_classes - 1)
        self._rows = (k[:, None] * width + np.arange(d)).ravel()
        self._columns = (other[:, None] * width + np.arange(d)).ravel()
        self._shares = np.repeat((k == other) - 1.0 / n_classes, d)

    def factor(self, ridge: Floats, scale: float) -> "FactorSolve":
        """The inverse of scale · H + diag λ."""
        matrix = scale * self._hessian
        matrix[self._rows, self._columns] += np.tile(ridge, len(self._rows) // len(ridge)) * self._shares
        return FactorSolve(_cholesky(matrix), self._reference)


@dataclass(frozen=True)
class FactorSolve:
    """The inverse that a Cholesky factor in contrasts to class `reference` stands for."""

    factor: Floats
    reference: int

    def solve(self, residual: Floats) -> Floats:
        """Apply it to a (K, p) matrix whose columns sum to 0 over the classes."""
        right = np.delete(residual, self.reference, axis=0)
        contrasts = scipy.linalg.cho_solve((self.factor, True), right.ravel(), check_finite=False)
        solution: Floats = np.insert(contrasts.reshape(right.shape), self.reference, 0.0, axis=0)
        solution -= solution.mean(axis=0)
        return solution


# Numbers that covariances of classes may hold together.
COVARIANCE_NUMBERS = 2e7


@dataclass
class Shared:
    """What fits to all rows lend to fits to parts of them.

    `features` are the eigenvectors of the features; `snapshots` Hessians with the C from which on each serves, rising;
    `optima` (coef, intercept) in the coordinates of X, and `covariances` Σ π (diag p − p pᵀ), by C.
    """

    features: SharedCovariance | None = None
    snapshots: list[tuple[float, Snapshot]] = field(default_factory=list)
    optima: dict[float, tuple[Floats, Floats]] = field(default_factory=dict)
    covariances: dict[float, Floats] = field(default_factory=dict)

    def snapshot(self, C: float) -> Snapshot | None:
        """The last that began at this C or before."""
        return next((snapshot for start, snapshot in reversed(self.snapshots) if start <= C), None)

    def keep_snapshot(self, C: float, snapshot: Snapshot) -> None:
        """Add one, and forget the first where they grow too large."""
        self.snapshots.append((C, snapshot))
        del self.snapshots[: -max(1, int(SNAPSHOT_NUMBERS // snapshot.numbers))]

    def keep_covariance(self, C: float, covariance: Floats) -> None:
        """Add one, where there is room."""
        if (len(self.covariances) + 1) * covariance.size <= COVARIANCE_NUMBERS:
            self.covariances[C] = covariance


def sampled_covariance(objective: MultinomialObjective) -> Floats:
    """Σ π_i (diag p_i − p_i p_iᵀ) at the last evaluation, of every fourth block of rows where there are many."""
    blocks = list(objective.rows.blocks())
    if len(blocks) < SAMPLED_BLOCKS or not objective.keeps_probabilities:
        return objective.class_covariance()
    k = objective.n_classes
    second, first, total = np.zeros((k, k)), np.zeros(k), 0.0
    for block in blocks[::SAMPLED_EVERY]:
        p = objective._kept_probabilities(block.start, block.stop)
        weights = np.broadcast_to(objective._weights_of(block.rows), p.shape[1])
        weighted = p * weights
        second += weighted @ p.T
        first += weighted.sum(axis=1)
        total += float(weights.sum())
    covariance: Floats = (np.diag(first) - second) / total
    return covariance
