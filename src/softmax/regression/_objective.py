"""The smooth part of the objective over rows: value, gradient, Hessian products, Hessians.

    f(W, b) = Σ_i π_i [lse(z_i) − ⟨y_i, z_i⟩] + ½ Σ_j λ_j ‖W_:j‖²,    z_i = W x_i + b + o_i,  π_i = weight_i / Σ weight

W is (K, d), b (K,). Points are matrices (K, p): W, and behind it, where the model has an intercept, the column a
= b + W·mean, the intercept for centred features: in these coordinates the intercept and the coefficients are nearly
uncorrelated, whatever the units of X.

Read: X once per call. Written: the probabilities of the last evaluated point, n·K float32, where they fit the memory
that is allowed for them; Hessian products read them again, or compute them anew. Never stored: logits, residuals.
Float32 is enough for them: products divide by their sum, which leaves every curvature a relative error of 1e-7.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_triangular
from scipy.linalg.blas import dsyrk

from ._problem import Problem
from ._rows import DenseRows, Floats, SparseRows, mirrored, sum_in_order
from ._slices import SLICE, over_features

# The probabilities may take a quarter of the free memory, and no more than this.
MEMORY_LIMIT = 1 << 31
# The covariance of more classes than this, and its eigenvectors, would cost more than the fit.
CLASS_LIMIT = 512
SINGLE_EPS = float(np.finfo(np.float32).eps)
# Rows that a Hessian is assembled from at a time: their (m, K·p) matrix should stay in cache.
ASSEMBLY_ELEMENTS = 1 << 18


@dataclass(frozen=True)
class Evaluation:
    """What one pass over X says about one point.

    `point` (K, p); `coef` (K, d), a part of it, and `intercept` (K,) the same point in the coordinates of X; `loss` the
    mean loss in nats, `value` with the penalty; `gradient_sum` (K, d) = Σ π_i (p_i − y_i)(x_i − mean)ᵀ; `excess` (K,) =
    Σ π_i (p_i − y_i); `ridge` (d,) = λ; `whole` the gradient where it was computed with the rest.
    """

    point: Floats
    coef: Floats
    intercept: Floats
    loss: float
    value: float
    gradient_sum: Floats
    excess: Floats
    ridge: Floats
    whole: Floats | None = None

    @property
    def gradient(self) -> Floats:
        """The gradient (K, p) of the value in the coordinates of `point`: not kept, it may be as large as all else."""
        if self.whole is not None:
            return self.whole
        gradient = np.empty(self.point.shape)
        d = self.coef.shape[1]
        gradient[:, d:] = self.excess[:, None]
        pulled = gradient[:, :d]
        np.multiply(self.coef, self.ridge, out=pulled)
        pulled += self.gradient_sum
        return gradient


class MultinomialObjective:
    """The objective of `problem` over `rows`, without its lasso penalty and limits.

    Hessian calls refer to the point evaluated last. `memory` is how many bytes the probabilities may take. With
    `single` set, Hessian products are computed in float32 and added up in float64; with `single_evaluate`, evaluations
    are.
    """

    def __init__(self, rows: DenseRows | SparseRows, problem: Problem, *, memory: int | None = None) -> None:
        self.rows = rows
        self.labels = problem.labels
        self.n_classes = problem.n_classes
        self.ridge = np.ascontiguousarray(problem.ridge, np.float64)
        self.has_intercept = problem.intercept
        self.shape = (problem.n_classes, rows.d + int(problem.intercept))
        self.single = False
        self.single_evaluate = False
        self.goal = _goal(problem, rows)
        self._offset = problem.offset
        self.frequency: Floats = self._frequency(problem)
        size = int(rows.matrix.kept_size(problem.n_classes))
        keeps = 4 * size <= (_free_memory() if memory is None else memory)
        self._kept = np.empty(size if keeps else 0, np.float32)
        self._nothing = np.empty(0, np.float32)
        self._at: tuple[Floats, Floats] = (np.zeros((problem.n_classes, rows.d)), np.zeros(problem.n_classes))
        self._prepared: dict[bool, Any] = {}
        self._ridge_row = np.append(self.ridge, 0.0) if self.has_intercept else self.ridge
        self._far = {single: bool(self._origin(single).any()) for single in (False, True)}
        self._quick = self._quick_passes()

    @property
    def penalty(self) -> float:
        """The ridge penalty of the first feature, for callers that know it to be the same for all."""
        return float(self.ridge[0])

    @property
    def few_classes(self) -> bool:
        """Whether the covariance of the classes costs little beside a pass."""
        return self.n_classes <= CLASS_LIMIT

    @property
    def keeps_probabilities(self) -> bool:
        """Whether the probabilities of the last point are at hand."""
        return self._kept.size > 0

    def _frequency(self, problem: Problem) -> Floats:
        weights = self.rows.weights
        if problem.probabilities is None:
            assert problem.labels is not None
            counts: Any = np.bincount(problem.labels, weights=weights, minlength=self.n_classes)
        else:
            counts = problem.probabilities.sum(axis=0) if weights is None else weights @ problem.probabilities
        frequency: Floats = counts / self.rows.total_weight
        return frequency

    def _quick_passes(self) -> Any:
        """What serves small problems: passes of one thread that keep their memory; None where it cannot."""
        rows = self.rows
        if rows.workers.n_threads > 1 or self._kept.size == 0 or self._far[False] or not hasattr(rows.matrix, "quick"):
            return None
        common = rows.mean, self.ridge, rows.total_weight, self._kept, self.has_intercept
        return rows.matrix.quick(self.goal, *common)

    # Coordinates.

    def split(self, point: Floats) -> tuple[Floats, Floats]:
        """Coefficients (K, d) and intercept (K,) for X − origin, from a point or a direction."""
        return self._split(point, self.rows.origin, self._far[False])

    def _split(self, point: Floats, origin: Floats, far: bool) -> tuple[Floats, Floats]:
        if not self.has_intercept:
            return point, np.zeros(len(point))
        coef = point[:, :-1]
        return coef, point[:, -1] - _times(coef, self.rows.mean - origin if far else self.rows.mean)

    def joined(self, coef_part: Floats, intercept_part: Floats) -> Floats:
        """A (K, p) matrix from its two parts."""
        if not self.has_intercept:
            return coef_part
        point = np.empty((len(coef_part), coef_part.shape[1] + 1))
        point[:, :-1] = coef_part
        point[:, -1] = intercept_part
        return point

    def returned(self, point: Floats) -> tuple[Floats, Floats]:
        """`coef`, a part of the point, and `intercept` in the coordinates of X, rounded as they are returned."""
        return self._split(point, self.rows.mean, False)

    def point_of(self, coef: Floats, intercept: Floats) -> Floats:
        """The point of given coefficients."""
        return self.joined(coef, intercept + _times(coef, self.rows.mean))

    def _origin(self, single: bool) -> Floats:
        return self.rows.single_origin if single else self.rows.origin

    def _constant(self, coef: Floats, intercept: Floats, single: bool) -> tuple[Floats, Floats]:
        """b + W·origin and the origin to subtract, of length 0 for none."""
        if not self._far[single]:
            return intercept, self.ridge[:0]
        # With shifted blocks the rounding of `intercept` must not be lost again: extended precision.
        origin = self._origin(single)
        return (intercept + coef.astype(np.longdouble) @ origin).astype(np.float64), origin

    # One pass.

    def _pass(self, single: bool, rough: bool, count: int, task: Any) -> tuple[Floats, Floats, Floats]:
        """Mean losses (count,), gradients (count·K, p), those of intercepts last, and the excesses (count·K,).

        task(span, losses, gradient, excess) adds to the sums over a span.
        """
        rows, matrix, k = self.rows, self.rows.matrix, self.n_classes
        size = count * k

        def span_pass(span: tuple[int, int]) -> tuple[Floats, Any, Floats]:
            sums = np.zeros(count), matrix.accumulator(size, k, single, rough), np.zeros(size)
            task(span, *sums)
            return sums

        rows.count_pass()
        parts = rows.run(span_pass, size * rows.d)
        losses = sum_in_order([part[0] for part in parts])
        excess = sum_in_order([part[2] for part in parts])
        excess /= rows.total_weight
        far = self._far[single]
        centre = rows.mean - self._origin(single) if far else rows.mean
        gradient = np.empty((size, self.shape[1]))

        def collect(own: slice) -> None:
            part = gradient[:, own]
            matrix.collect([part[1] for part in parts], k, own, part)
            part /= rows.total_weight
            if self.has_intercept:
                part -= np.outer(excess, centre[own])

        over_features(rows.workers, (size, rows.d), collect)
        if self.has_intercept:
            gradient[:, -1] = excess
        return losses / rows.total_weight, gradient, excess

    def evaluate(self, point: Floats) -> Evaluation:
        """Value and gradient at the coefficients that `point` rounds to; the point of Hessian calls from now on."""
        single = self.single_evaluate and self.rows.allows_single
        if self._quick is not None and not (single and self._far[True]):
            self.rows.count_pass()
            coef, intercept, loss, sums, excess, gradient, pull = self._quick.evaluate(point, single)
            self._at, self._prepared = (coef, intercept), {}
            return Evaluation(point, coef, intercept, loss, loss + pull, sums, excess, self.ridge, gradient)
        coef, intercept = self.returned(point)
        self._at, self._prepared = (coef, intercept), {}
        losses, gradient_sum, excess = self._evaluate(coef, intercept, single, self._kept)
        return self._evaluation(point, coef, intercept, float(losses[0]), gradient_sum, excess)

    def _evaluate(
        self, coef: Floats, intercept: Floats, single: bool, kept: npt.NDArray[np.float32]
    ) -> tuple[Floats, Floats, Floats]:
        matrix = self.rows.matrix
        constant, origin = self._constant(coef, intercept, single)
        at = matrix.prepared(coef, constant, self.n_classes, single)

        def task(span: tuple[int, int], losses: Floats, gradient: Any, excess: Floats) -> None:
            matrix.evaluate(*span, at, origin, self.goal, kept, losses, gradient, excess)

        losses, gradient, excess = self._pass(single, False, len(coef) // self.n_classes, task)
        return losses, gradient[:, : self.rows.d], excess

    def _evaluation(
        self, point: Floats, coef: Floats, intercept: Floats, loss: float, gradient_sum: Floats, excess: Floats
    ) -> Evaluation:
        value = loss + 0.5 * _inner(coef, coef, self.ridge)
        return Evaluation(point, coef, intercept, loss, value, gradient_sum, excess, self.ridge)

    def evaluate_many(self, points: Sequence[Floats] | Floats) -> list[Evaluation]:
        """`evaluate` of several points in one pass; the point of Hessian calls stays as it is."""
        single = self.single_evaluate and self.rows.allows_single
        parts = [self.returned(point) for point in points]
        coef = np.concatenate([part[0] for part in parts])
        intercept = np.concatenate([part[1] for part in parts])
        losses, sums, excess = self._evaluate(coef, intercept, single, self._nothing)
        k = self.n_classes
        own = [slice(i * k, (i + 1) * k) for i in range(len(parts))]
        return [
            self._evaluation(point, *part, float(loss), sums[i], excess[i])
            for point, part, loss, i in zip(points, parts, losses, own, strict=True)
        ]

    def hessian_product(self, direction: Floats) -> Floats:
        """H·v for v (K, p), in one pass over X."""
        single = self.single and self.rows.allows_single
        if self._quick is not None and not (single and self._far[True]):
            self.rows.count_pass()
            product: Floats = self._quick.product(direction, single)
            return product
        return self._products(direction)

    def hessian_products(self, directions: Sequence[Floats] | Floats) -> Floats:
        """H·v for several directions, (R, K, p), in one pass over X."""
        stacked = np.asarray(directions, np.float64)
        return self._products(stacked.reshape(-1, self.shape[1])).reshape(stacked.shape)

    def _products(self, direction: Floats) -> Floats:
        """H·v for directions below each other, (R·K, p)."""
        single = self.single and self.rows.allows_single
        matrix = self.rows.matrix
        origin = self._origin(single)
        far = self._far[single]
        coef, constant = self._split(direction, origin, far)
        move = matrix.prepared(coef, constant, self.n_classes, single)
        shift = origin if far else self.ridge[:0]
        at = None if self.keeps_probabilities else self._prepared_point(single)

        def task(span: tuple[int, int], _: Floats, gradient: Any, excess: Floats) -> None:
            if at is None:
                matrix.product(*span, move, shift, self.goal, self._kept, gradient, excess)
            else:
                matrix.product_anew(*span, at, move, shift, self.goal, gradient, excess)

        _, product, _ = self._pass(single, True, len(direction) // self.n_classes, task)

        def add_penalty(own: slice) -> None:
            product[:, own] += self._ridge_row[own] * direction[:, own]

        over_features(self.rows.workers, product.shape, add_penalty)
        return product

    def along(self, point: Floats, direction: Floats, steps: Floats) -> tuple[Floats, Floats]:
        """f(point + t·direction) and its derivative in t, for every t of `steps`, in one pass; the point of Hessian
        calls stays as it is.
        """
        rows, matrix = self.rows, self.rows.matrix
        shift = rows.origin if self._far[False] else self.ridge[:0]
        at = matrix.prepared(*self.split(point), self.n_classes, False)
        move = matrix.prepared(*self.split(direction), self.n_classes, False)
        lengths = np.array(steps, np.float64)

        def span_pass(span: tuple[int, int]) -> Floats:
            sums = np.zeros((2, len(steps)))
            matrix.along(*span, at, move, shift, self.goal, lengths, sums)
            return sums

        rows.count_pass()
        values, slopes = sum_in_order(rows.run(span_pass)) / rows.total_weight
        w, v = (point[:, :-1], direction[:, :-1]) if self.has_intercept else (point, direction)
        squares = [_inner(a, b, self.ridge) for a, b in ((w, w), (w, v), (v, v))]
        values += 0.5 * squares[0] + steps * squares[1] + 0.5 * steps**2 * squares[2]
        slopes += squares[1] + steps * squares[2]
        return values, slopes

    # Probabilities of the last point, and Hessians from them.

    def probabilities(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Probabilities (K, m) of rows start ... stop, of one block or several, computed anew in float64."""
        shift = self.rows.origin if self._far[False] else self.ridge[:0]
        p: Floats = self.rows.matrix.probabilities(start, stop, self._prepared_point(False), shift, self.goal)
        return p

    def _prepared_point(self, single: bool) -> Any:
        """The point of Hessian calls as the passes take it, prepared once: a read of one block costs less than that."""
        if single not in self._prepared:
            constant, _ = self._constant(*self._at, single)
            self._prepared[single] = self.rows.matrix.prepared(self._at[0], constant, self.n_classes, single)
        return self._prepared[single]

    def _kept_probabilities(self, start: int, stop: int) -> npt.NDArray[Any]:
        """The same as they were kept, if they were: start and stop are those of a block."""
        if not self.keeps_probabilities:
            return self.probabilities(start, stop)
        p: Floats = self.rows.matrix.kept_block(self._kept, self.n_classes, start, stop).astype(np.float64)
        p /= p.sum(axis=0)
        return p

    def _weights_of(self, index: Any) -> Any:
        """Σπ = 1 times the total weight: weights of rows, 1.0 where all are equal."""
        return 1.0 if self.rows.weights is None else self.rows.weights[index]

    def class_covariance(self) -> Floats:
        """Σ π_i (diag p_i − p_i p_iᵀ), (K, K), at the last evaluation: the Hessian in the intercepts. Does not read
        X where the probabilities were kept.
        """
        rows, k = self.rows, self.n_classes

        def span_pass(span: tuple[int, int]) -> Floats:
            total = np.zeros((k + 1, k))
            for start in range(*span, rows.block_rows):
                stop = min(start + rows.block_rows, span[1])
                p = self._kept_probabilities(start, stop)
                weighted = p * self._weights_of(slice(start, stop))
                total[:k] += weighted @ p.T
                total[k] += weighted.sum(axis=1)
            return total

        if not self.keeps_probabilities:
            rows.count_pass()
        total = sum_in_order(rows.run(span_pass, k * k))
        covariance: Floats = (np.diag(total[k]) - total[:k]) / rows.total_weight
        return covariance

    def class_curvature(self, start: int, stop: int) -> Floats:
        """weight_i p_ik (1 − p_ik), (K, m), of the rows of one block."""
        p = self._kept_probabilities(start, stop)
        curvature: Floats = p * (1.0 - p) * self._weights_of(slice(start, stop))
        return curvature

    def hessian_diagonal(self) -> Floats:
        """Σ_i π_i p_ik (1 − p_ik) (x_ij − mean_j)², (K, p), with 1 in place of the square for intercepts: the diagonal
        of the loss's Hessian, in one pass over X. Sums over sparse rows are in float32.
        """
        rows, k = self.rows, self.n_classes
        shift = rows.origin if self._far[False] else self.ridge[:0]
        centre = rows.mean - rows.origin if self._far[False] else rows.mean
        at_once = hasattr(rows.matrix, "curvature_moments")
        single = rows.allows_single or not at_once
        at = self._prepared_point(single) if at_once else None

        def span_pass(span: tuple[int, int]) -> tuple[Any, Floats]:
            total, weight = rows.matrix.accumulator(2 * k, k, single, True), np.zeros((k, 1))
            if at_once:
                rows.matrix.curvature_moments(*span, at, self.goal, total, weight)
                return total, weight
            for start in range(*span, rows.block_rows):
                stop = min(start + rows.block_rows, span[1])
                curvature = self.class_curvature(start, stop)
                weight += curvature.sum(axis=1, keepdims=True)
                rows.matrix.moments(start, stop, curvature, shift, total)
            return total, weight

        rows.count_pass()
        parts = rows.run(span_pass, 2 * k * rows.d)
        weight = sum_in_order([part[1] for part in parts])
        diagonal = np.empty(self.shape)
        diagonal[:, rows.d :] = weight / rows.total_weight

        def collect(own: slice) -> None:
            sums = np.empty((2 * k, own.stop - own.start))
            rows.matrix.collect([part[0] for part in parts], k, own, sums)
            centred = sums[k:] - centre[own] * (2.0 * sums[:k] - centre[own] * weight)
            # What is left of rounding must not pass for a curvature of 0.
            diagonal[:, own] = np.maximum(centred, SINGLE_EPS * sums[k:]) / rows.total_weight

        over_features(rows.workers, (2 * k, rows.d), collect)
        self._prepared.pop(False, None)  # one more matrix of coefficients, not needed for products
        return diagonal

    def row_curvature(self) -> Floats:
        """h_i = π_i (1 − Σ_k p_ik²), (n,): how much a row adds to the Hessian."""
        rows = self.rows
        curvature = np.empty(rows.n)

        def span_pass(span: tuple[int, int]) -> None:
            for start in range(*span, rows.block_rows):
                own = slice(start, min(start + rows.block_rows, span[1]))
                p = self._kept_probabilities(own.start, own.stop)
                # 1 − Σ p² = Σ p (1 − p), which does not cancel
                curvature[own] = (p * (1.0 - p)).sum(axis=0) * self._weights_of(own)

        rows.run(span_pass)
        curvature /= rows.total_weight
        return curvature

    def row_scores(self) -> tuple[Floats, Floats]:
        """(h, leverage), both (n,): h_i = π_i (1 − Σ_k p_ik²), and l_i = h_i x̃_iᵀ (Σ h x̃ x̃ᵀ + diag λ)⁻¹ x̃_i.

        x̃ is the centred row, with a 1 behind it where the model has an intercept. Rows drawn with probability
        proportional to l and divided by it give an unbiased Hessian of small variance. Two passes of n·d² each.
        """
        rows = self.rows
        curvature = self.row_curvature()
        metric = mirrored(self._weighted_moments(curvature[None], np.ones(1))[0])
        ridge = np.append(self.ridge, 0.0) if self.has_intercept else self.ridge
        metric[np.diag_indices_from(metric)] += ridge + 1e-12 * np.diag(metric).max()
        factor = np.linalg.cholesky(metric)
        leverage = np.empty(rows.n)

        def span_pass(span: tuple[int, int]) -> None:
            for start in range(*span, rows.block_rows):
                own = slice(start, min(start + rows.block_rows, span[1]))
                z = solve_triangular(factor, self._features(own).T, lower=True, check_finite=False)
                leverage[own] = np.einsum("ij,ij->j", z, z) * curvature[own]

        rows.count_pass()
        rows.run(span_pass)
        return curvature, leverage

    def _features(self, index: Any) -> Floats:
        """x̃ (m, p) of rows, centred, with a column of ones where the model has an intercept; always a new array."""
        x = self.rows.gathered(index)
        return self.joined(x, np.ones(len(x)))

    def _weighted_moments(self, factors: Floats, scale: Floats) -> Floats:
        """Lower triangles of Σ_i s_k f_ki x̃_i x̃_iᵀ, (K, p, p), for `factors` (K, n) and `scale` (K,)."""
        rows, width = self.rows, self.shape[1]
        size = len(factors)

        def span_pass(span: tuple[int, int]) -> Floats:
            totals = [np.zeros((width, width), order="F") for _ in range(size)]
            for start in range(*span, rows.block_rows):
                own = slice(start, min(start + rows.block_rows, span[1]))
                x = self._features(own)
                for k in range(size):
                    weighted = x * np.sqrt(factors[k, own])[:, None]
                    totals[k] = dsyrk(1.0, weighted.T, beta=1.0, c=totals[k], lower=1, overwrite_c=1)
            return np.array(totals)

        rows.count_pass()
        total: Floats = sum_in_order(rows.run(span_pass, size * width**2)) * scale[:, None, None]
        return total

    def class_blocks(self) -> Floats:
        """Σ_i π_i p_ik (1 − p_ik) x̃_i x̃_iᵀ for each class, (K, p, p): the diagonal blocks of the Hessian without the
        penalty.
        """
        rows, width, k = self.rows, self.shape[1], self.n_classes

        def span_pass(span: tuple[int, int]) -> Floats:
            totals = [np.zeros((width, width), order="F") for _ in range(k)]
            for start in range(*span, rows.block_rows):
                own = slice(start, min(start + rows.block_rows, span[1]))
                x = self._features(own)
                p = self._kept_probabilities(own.start, own.stop)
                roots = np.sqrt(p * (1.0 - p) * self._weights_of(own))
                for c in range(k):
                    weighted = x * roots[c][:, None]
                    totals[c] = dsyrk(1.0, weighted.T, beta=1.0, c=totals[c], lower=1, overwrite_c=1)
            return np.array(totals)

        rows.count_pass()
        total = sum_in_order(rows.run(span_pass, k * width**2))
        return np.array([mirrored(block) for block in total]) / rows.total_weight

    def reduced_hessian(
        self, reference: int, rows: npt.NDArray[np.intp] | None = None, scale: Floats | None = None
    ) -> Floats:
        """Lower triangle of the data part of H in the contrasts A_k = W_k − W_reference, ((K−1)·p, (K−1)·p), Fortran
        order; from the rows with positions `rows` alone, each multiplied by its `scale`, if they are given.

        The contrasts carry the whole model (softmax does not see what is added to every class), so that the symmetric
        matrix of K sets need not be formed: with B_i the rows √π_i p_ik x_i, H = blockdiag_k(Σ π_i p_ik x_i x_iᵀ) −
        BᵀB.
        """
        kept = np.delete(np.arange(self.n_classes), reference)
        width = self.shape[1]
        size = len(kept) * width
        count = self.rows.n if rows is None else len(rows)
        step = max(16, ASSEMBLY_ELEMENTS // size)
        coef, intercept = self._at
        centre = self.point_of(coef, intercept)[kept], self.point_of(coef, intercept)[reference]
        contrasts = centre[0] - centre[1]

        def span_pass(span: tuple[int, int]) -> Floats:
            hessian = np.zeros((size, size), order="F")
            diagonal = np.zeros((width, size))
            for start in range(*span, step):
                part = slice(start, min(start + step, span[1]))
                index: Any = part if rows is None else rows[part]
                x = self._features(index)
                p = self._contrast_probabilities(x, contrasts, index, reference, kept)
                factor = self._weights_of(index) * (1.0 if scale is None else scale[part])
                x *= np.sqrt(factor)[:, None] if np.ndim(factor) else np.sqrt(factor)
                weighted = (p[:, :, None] * x[:, None, :]).reshape(len(x), size)
                hessian = dsyrk(-1.0, weighted.T, beta=1.0, c=hessian, lower=1, overwrite_c=1)
                diagonal += x.T @ weighted
            for k in range(len(kept)):
                own = slice(k * width, (k + 1) * width)
                hessian[own, own] += diagonal[:, own]
            return hessian

        if rows is None:
            self.rows.count_pass()
        n_spans = max(1, min(self.rows.workers.n_threads, (1 << 27) // size**2, count // step))
        edges = [count * i // n_spans for i in range(n_spans)] + [count]
        spans = list(pairwise(edges))
        return sum_in_order(self.rows.workers.map(span_pass, spans)) / self.rows.total_weight

    def _contrast_probabilities(
        self, x: Floats, contrasts: Floats, index: Any, reference: int, kept: npt.NDArray[np.intp]
    ) -> Floats:
        """Probabilities (m, K−1) of the classes `kept` for rows x̃, from the contrasts to the reference class."""
        z = x @ contrasts.T
        if self._offset is not None:
            offset = self._offset[index]
            z += offset[:, kept] - offset[:, reference, None]
        top = np.maximum(z.max(axis=1), 0.0)
        np.exp(z - top[:, None], out=z)
        z /= (z.sum(axis=1) + np.exp(-top))[:, None]
        return z


def _times(matrix: Floats, vector: Floats) -> Floats:
    """matrix @ vector, without waking the threads of BLAS: that can take longer than a whole pass."""
    product: Floats = np.einsum("kj,j->k", matrix, vector)
    return product


def _inner(a: Floats, b: Floats, weights: Floats) -> float:
    """Σ_j w_j Σ_k a_kj b_kj, a few rows at a time: whole products of many coefficients would be one matrix more."""
    step = max(1, SLICE // max(a.shape[1], 1))
    return float(sum((a[i : i + step] * weights * b[i : i + step]).sum() for i in range(0, len(a), step)))


def _goal(problem: Problem, rows: DenseRows | SparseRows) -> Any:
    """What the kernels compare the logits with."""
    none = np.empty(0)
    return rows.matrix.goal(
        np.empty(0, np.float32) if problem.labels is None else problem.labels.astype(np.float32),
        none if problem.probabilities is None else np.ascontiguousarray(problem.probabilities, np.float64),
        none if rows.weights is None else np.ascontiguousarray(rows.weights, np.float64),
        none if problem.offset is None else np.ascontiguousarray(problem.offset, np.float64),
        problem.n_classes,
    )


def _free_memory() -> int:
    """A quarter of the memory that is available, in bytes, and at most MEMORY_LIMIT."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            available = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return MEMORY_LIMIT
    return min(available // 4, MEMORY_LIMIT)
