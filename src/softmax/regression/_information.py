"""Log-likelihood, score and Fisher information of a softmax model in reference coordinates, block by block of rows.

The parameters are θ (K−1, p): one row per class but the reference class, whose row is 0; an intercept is the first of
the p columns. Columns of X are taken in units x̃ = (x − centre) / scale, so that no choice of units costs digits;
`Design.forth` and `Design.back` lead there and back.

With p_i = softmax(z_i) the information of weighted rows is, for classes k ≠ l,

    I_kl = −O_kl,     I_kk = Σ_{l ≠ k} O_kl,     O_kl = Σ_i w_i p_ik p_il x̃_i x̃_iᵀ,

where the sum over l includes the reference class, so that I_kk = Σ_i w_i p_ik (Σ_{l ≠ k} p_il) x̃_i x̃_iᵀ: nothing
cancels where a probability is near 1, as it would in p_k (1 − p_k) = p_k − p_k². All O_kl of a block of rows come from
one product of matrices, Bᵀ B with the rows √w_i p_i ⊗ x̃_i, and all I_kk from another. Rows are divided among threads.
Besides the result, of ((K−1) p)² numbers for each thread, only blocks of rows are stored.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import scipy.sparse
from scipy.linalg.blas import dsyrk

from softmax._function import log_softmax

from ._problem import Problem
from ._rows import Floats, mirrored, sum_in_order
from ._threads import Workers

Result = TypeVar("Result")

# A block of the design and one of the probabilities should stay in the cache.
BLOCK_ELEMENTS = 1 << 16
# Numbers of the sums of all threads together.
ACCUMULATORS = 1 << 27


@dataclass(eq=False)
class Design:
    """The rows of a fit: (n, p) with the intercept first, in units x̃; `total` the sum of the weights.

    `weights` (n,) and `targets` are those of the problem; `reference` is the class whose parameters are 0; `workers`
    the threads of sums over the rows.
    """

    problem: Problem
    total: float
    reference: int = 0
    workers: Workers = field(default_factory=lambda: Workers(None))
    weights: Floats = field(init=False)
    centre: Floats = field(init=False)
    scale: Floats = field(init=False)

    def __post_init__(self) -> None:
        n = self.problem.X.shape[0]
        weights = self.problem.weights
        self.weights = np.full(n, self.total / n) if weights is None else weights
        d = self.problem.X.shape[1]
        self.centre, self.scale = np.zeros(d), np.ones(d)
        if self.problem.intercept:
            self.centre = self._mean(lambda rows: rows)
            self.centre = self.centre + self._mean(lambda rows: rows - self.centre)
        spread = np.sqrt(self._mean(lambda rows: (rows - self.centre) ** 2))
        flat = spread <= 16 * np.finfo(np.float64).eps * np.abs(self.centre)
        self.scale = np.where(flat, 1.0, spread)

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.problem.X.shape[0])

    @property
    def n_features(self) -> int:
        """Number p of parameters per class."""
        return int(self.problem.X.shape[1]) + int(self.problem.intercept)

    @property
    def others(self) -> list[int]:
        """The classes but the reference, in order."""
        return [k for k in range(self.problem.n_classes) if k != self.reference]

    def _mean(self, function: Callable[[Floats], Floats]) -> Floats:
        total = np.zeros(self.problem.X.shape[1])
        for rows in self.slices():
            total += self.weights[rows] @ function(self._raw(rows))
        return total / self.total

    def _raw(self, rows: slice) -> Floats:
        """Rows of X as they are, dense, in float64."""
        block = self.problem.X[rows]
        dense: Floats = (block.toarray() if scipy.sparse.issparse(block) else block).astype(np.float64, copy=False)
        return dense

    def slices(self, width: int = 0, span: tuple[int, int] | None = None) -> Iterator[slice]:
        """Blocks of rows, of those from span[0] to span[1]; `width` is the number of floats that a caller stores per
        row, where it is large.
        """
        width = max(self.problem.X.shape[1] + 1, self.problem.n_classes, width // 8)
        size = int(np.clip(BLOCK_ELEMENTS // width, 64, 8192))
        first, last = (0, self.n) if span is None else span
        for start in range(first, last, size):
            yield slice(start, min(start + size, last))

    def run(self, task: Callable[[tuple[int, int]], Result], elements: int) -> list[Result]:
        """`task` for spans of rows, one for each thread, fewer where sums of so many `elements` would be too many."""
        parts = max(1, min(self.workers.n_threads, ACCUMULATORS // max(elements, 1), self.n // 64))
        edges = [self.n * i // parts for i in range(parts + 1)]
        # One span runs here, where BLAS may use all threads.
        return [task((0, self.n))] if parts == 1 else self.workers.map(task, list(pairwise(edges)))

    def rows(self, rows: slice) -> Floats:
        """x̃ of some rows, (m, p), a new array."""
        block = (self._raw(rows) - self.centre) / self.scale
        return np.column_stack([np.ones(len(block)), block]) if self.problem.intercept else block

    def targets(self, rows: slice) -> Floats:
        """One-hot labels or probabilities of some rows, (m, K)."""
        if self.problem.probabilities is not None:
            return self.problem.probabilities[rows]
        assert self.problem.labels is not None
        targets = np.zeros((rows.stop - rows.start, self.problem.n_classes))
        targets[np.arange(len(targets)), self.problem.labels[rows]] = 1.0
        return targets

    def log_probabilities(self, theta: Floats, rows: slice, block: Floats) -> Floats:
        """Log-probabilities of some rows, (m, K), θ in the units of x̃."""
        logits = np.zeros((len(block), self.problem.n_classes))
        logits[:, self.others] = block @ theta.T
        if self.problem.offset is not None:
            logits += self.problem.offset[rows]
        logs: Floats = log_softmax(logits)
        return logs

    def back(self) -> Floats:
        """The matrix T (p, p) with θ = θ̃ Tᵀ, from the units of x̃ to those of X."""
        matrix = np.diag(1.0 / self.scale)
        return self._bordered(matrix, -self.centre / self.scale)

    def forth(self) -> Floats:
        """The inverse of `back`: θ̃ = θ T⁻ᵀ."""
        return self._bordered(np.diag(self.scale), self.centre)

    def _bordered(self, matrix: Floats, shift: Floats) -> Floats:
        """The matrix, and before it the row of the intercept where there is one."""
        if not self.problem.intercept:
            return matrix
        return np.block([[np.ones((1, 1)), shift[None, :]], [np.zeros((len(shift), 1)), matrix]])

    def gram(self) -> Floats:
        """Σ w_i x̃_i x̃_iᵀ / Σ w_i, (p, p)."""
        total = np.zeros((self.n_features, self.n_features))
        for rows in self.slices():
            block = self.rows(rows)
            total += (block * self.weights[rows, None]).T @ block
        return total / self.total


@dataclass(frozen=True, eq=False)
class Point:
    """Sums over the rows at a θ: log-likelihood in nats, score (K−1, p), information ((K−1)p, (K−1)p) or None."""

    likelihood: float
    score: Floats
    information: Floats | None


def evaluate(design: Design, theta: Floats, *, information: bool = True) -> Point:
    """One pass over the rows at θ (K−1, p) in the units of x̃; log-likelihood Σ w_i Σ_k y_ik log p_ik."""
    others, p = design.others, design.n_features
    size = len(others) * p if information else 0

    def sums(span: tuple[int, int]) -> tuple[float, Floats, Floats, Floats]:
        likelihood, score = 0.0, np.zeros((len(others), p))
        products, diagonal = np.zeros((size, size), order="F"), np.zeros((p, size))
        for rows in design.slices(2 * size, span):
            block = design.rows(rows)
            logs = design.log_probabilities(theta, rows, block)
            weights, targets = design.weights[rows], design.targets(rows)
            likelihood += float(weights @ np.sum(targets * np.where(targets > 0, logs, 0.0), axis=1))
            probabilities = np.exp(logs)
            score += ((targets - probabilities) * weights[:, None])[:, others].T @ block
            if size:
                curvature = probabilities * _of_the_others(probabilities) * weights[:, None]
                diagonal += block.T @ _spread(curvature[:, others], block)
                spread = _spread(probabilities[:, others] * np.sqrt(weights)[:, None], block)
                products = dsyrk(-1.0, spread.T, beta=1.0, c=products, lower=1, overwrite_c=1)
        return likelihood, score, products, diagonal

    parts = design.run(sums, size**2)
    likelihood, score = sum(part[0] for part in parts), sum_in_order([part[1] for part in parts])
    if not information:
        return Point(likelihood, score, None)
    matrix = mirrored(sum_in_order([part[2] for part in parts]))
    diagonal = sum_in_order([part[3] for part in parts])
    for k in range(len(others)):
        own = slice(k * p, (k + 1) * p)
        matrix[own, own] = 0.5 * (diagonal[:, own] + diagonal[:, own].T)
    return Point(likelihood, score, matrix)


def _spread(factors: Floats, block: Floats) -> Floats:
    """The rows factors_i ⊗ x̃_i, (m, (K−1) p)."""
    spread: Floats = (factors[:, :, None] * block[:, None, :]).reshape(len(block), -1)
    return spread


def _of_the_others(probabilities: Floats) -> Floats:
    """1 − p_ik as the sum of the other classes where p_ik is large, (m, K)."""
    rest = 1.0 - probabilities
    likeliest = probabilities.argmax(axis=1)[:, None]
    without = probabilities.copy()
    np.put_along_axis(without, likeliest, 0.0, axis=1)
    np.put_along_axis(rest, likeliest, without.sum(axis=1, keepdims=True), axis=1)
    return rest


def meat(design: Design, theta: Floats, drift: Floats, clusters: npt.NDArray[np.intp] | None) -> Floats:
    """Σ_g u_g u_gᵀ, ((K−1)p, (K−1)p), over clusters g, or rows: u_g = Σ_{i in g} w_i score_i − (rows of g) · drift.

    `drift` (K−1, p) is the mean of w_i score_i, which is 0 without a penalty.
    """
    others = design.others
    size = len(others) * design.n_features

    def scores(rows: slice) -> Floats:
        block = design.rows(rows)
        probabilities = np.exp(design.log_probabilities(theta, rows, block))
        residual = ((design.targets(rows) - probabilities) * design.weights[rows, None])[:, others]
        return _spread(residual, block) - drift.ravel()

    def products(span: tuple[int, int]) -> Floats:
        total = np.zeros((size, size), order="F")
        for rows in design.slices(size, span):
            total = dsyrk(1.0, scores(rows).T, beta=1.0, c=total, lower=1, overwrite_c=1)
        return total

    if clusters is None:
        return mirrored(sum_in_order(design.run(products, size**2)))
    sums = np.zeros((int(clusters.max()) + 1, size))
    for rows in design.slices(size):
        order = np.argsort(clusters[rows], kind="stable")
        present, starts = np.unique(clusters[rows][order], return_index=True)
        sums[present] += np.add.reduceat(scores(rows)[order], starts, axis=0)
    return mirrored(dsyrk(1.0, sums.T, lower=1))


def marginal_effects(design: Design, theta: Floats) -> tuple[Floats, Floats]:
    """Average effects m (K, d) of the features on the probabilities, and ∂m/∂θ, (K, d, K−1, p), in the units of x̃.

    With W (K, d) the coefficients of all classes and w̄_ij = Σ_l p_il W_lj, row i has ∂p_ik/∂x_j = p_ik (W_kj − w̄_ij),
    and its derivative by θ_mr is

        x_ir [p_ik (δ_km − p_im) (W_kj − w̄_ij) − p_ik p_im (W_mj − w̄_ij)] + δ_jr p_ik (δ_km − p_im).
    """
    others, p, n_classes = design.others, design.n_features, design.problem.n_classes
    first = int(design.problem.intercept)
    coef = np.zeros((n_classes, p - first))
    coef[others] = theta[:, first:]
    effects = np.zeros(coef.shape)
    slopes = np.zeros((*coef.shape, len(others), p))
    diagonal = np.arange(p - first)
    for rows in design.slices():
        block = design.rows(rows)
        probabilities = np.exp(design.log_probabilities(theta, rows, block))
        weights = design.weights[rows] / design.total
        mean = probabilities @ coef
        for k in range(n_classes):
            own = probabilities[:, k, None] * (coef[k] - mean)
            effects[k] += weights @ own
            for place, m in enumerate(others):
                share = (k == m) - probabilities[:, m]
                parts = share[:, None] * own - (probabilities[:, k] * probabilities[:, m])[:, None] * (coef[m] - mean)
                slopes[k, :, place, :] += (parts * weights[:, None]).T @ block
                slopes[k, diagonal, place, first + diagonal] += weights @ (probabilities[:, k] * share)
    return effects, slopes
