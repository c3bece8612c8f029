"""The multinomial logistic objective over rows: value, gradient, Hessian product, Hessian.

    f(W, b) = Σ_i π_i [lse(z_i) − z_i,y_i] + (λ/2) ‖W‖²,      z_i = W x_i + b,      π_i = weight_i / Σ weight

W is (K, d), b (K,). Blocks of logits are held with the classes first, (K, m), so that every reduction over classes runs
over whole rows of memory. Points are matrices (K, p): W, and behind it, where the model has an intercept, the column a
= b + W·mean, the intercept for centred features: in these coordinates the intercept and the coefficients are nearly
uncorrelated, whatever the units of X.

Read: X once per call. Written: one work array of n·K probabilities, which Hessian products read again. Never stored:
logits, residuals.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg.blas import dsyrk

from ._rows import Block, DenseRows, Floats, sum_in_order


@dataclass(frozen=True)
class Evaluation:
    """What one pass over X says about one point.

    `point` (K, p); `coef` (K, d) and `intercept` (K,) the same point in the coordinates of X, as they would be
    returned; `loss` the mean loss in nats, `value` with the penalty; `gradient_sum` (K, d) = Σ π_i (p_i − y_i)(x_i −
    mean)ᵀ; `excess` (K,) = Σ π_i (p_i − y_i); `gradient` (K, p) that of the value in the coordinates of `point`.
    """

    point: Floats
    coef: Floats
    intercept: Floats
    loss: float
    value: float
    gradient_sum: Floats
    excess: Floats
    gradient: Floats


class MultinomialObjective:
    """The objective for `labels` (n,) in [0, K) over `rows`; `penalty` is λ. Hessian calls refer to the point evaluated
    last.
    """

    def __init__(
        self, rows: DenseRows, labels: npt.NDArray[np.intp], n_classes: int, penalty: float, intercept: bool
    ) -> None:
        self.rows = rows
        self.labels = labels
        self.n_classes = n_classes
        self.penalty = penalty
        self.has_intercept = intercept
        self.shape = (n_classes, rows.d + int(intercept))
        self._probabilities = np.empty(rows.n * n_classes)
        # Position of the true class of each row inside its own block of logits (K, m).
        self._truth = np.empty(rows.n, dtype=np.intp)
        for block in rows.blocks():
            size = block.stop - block.start
            self._truth[block.rows] = labels[block.rows] * size + np.arange(size)
        counts = np.bincount(labels, weights=rows.weights, minlength=n_classes)
        self.frequency: Floats = counts / rows.total_weight
        shape = (2, n_classes, rows.block_rows)
        self._scratch = [np.empty(shape) for _ in rows.chunks]

    def block_probabilities(self, block: Block) -> Floats:
        """The (K, m) view of the work array that belongs to a block."""
        size = block.stop - block.start
        flat = self._probabilities[self.n_classes * block.start : self.n_classes * block.stop]
        return flat.reshape(self.n_classes, size)

    def _temporaries(self, block: Block) -> tuple[Floats, Floats]:
        """Two contiguous (K, m) arrays that belong to the chunk of `block`."""
        size = self.n_classes * (block.stop - block.start)
        first, second = (flat.reshape(-1)[:size].reshape(self.n_classes, -1) for flat in self._scratch[block.chunk])
        return first, second

    def split(self, point: Floats) -> tuple[Floats, Floats]:
        """Coefficients (K, d) and intercept (K,) for the blocks of `rows`, from a point or a direction."""
        if not self.has_intercept:
            return point, np.zeros(self.n_classes)
        coef = np.ascontiguousarray(point[:, :-1])
        return coef, point[:, -1] - coef @ (self.rows.mean - self.rows.origin)

    def joined(self, coef_part: Floats, intercept_part: Floats) -> Floats:
        """A (K, p) matrix from its two parts."""
        return np.column_stack([coef_part, intercept_part]) if self.has_intercept else coef_part

    def returned(self, point: Floats) -> tuple[Floats, Floats]:
        """`coef` and `intercept` in the coordinates of X, rounded as they are returned."""
        if not self.has_intercept:
            return point.copy(), np.zeros(self.n_classes)
        coef = np.ascontiguousarray(point[:, :-1])
        return coef, point[:, -1] - coef @ self.rows.mean

    def point_of(self, coef: Floats, intercept: Floats) -> Floats:
        """The point of given coefficients."""
        return self.joined(coef, intercept + coef @ self.rows.mean)

    def evaluate(self, point: Floats) -> Evaluation:
        """Value and gradient at the coefficients that `point` rounds to; fills the work array with probabilities."""
        rows = self.rows
        coef, intercept = self.returned(point)
        # With shifted blocks the rounding of `intercept` must not be lost again: b + W·origin in extended precision.
        constant = (
            (intercept + coef.astype(np.longdouble) @ rows.origin).astype(np.float64)
            if rows.origin.any()
            else intercept
        )

        def chunk_pass(chunk: list[Block]) -> tuple[float, Floats, Floats]:
            loss, gradient, excess = 0.0, np.zeros(coef.shape), np.zeros(self.n_classes)
            for block in chunk:
                x = rows.block(block)
                z = np.matmul(coef, x.T, out=self.block_probabilities(block))
                z += constant[:, None]
                truth = self._truth[block.rows]
                losses, truth_probability = softmax_and_residual(z, truth)
                residual = z
                if rows.weights is None:
                    loss += float(losses.sum())
                else:
                    loss += float(rows.weights[block.rows] @ losses)
                    residual = np.multiply(z, rows.weights[block.rows], out=self._temporaries(block)[0])
                gradient += residual @ x
                excess += residual.sum(axis=1)
                z.reshape(-1)[truth] = truth_probability
            return loss, gradient, excess

        rows.count_pass()
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # a trial step may overflow: its value is nan and it is refused
            losses, gradients, excesses = zip(*rows.workers.map(chunk_pass, rows.chunks), strict=True)
        loss = float(sum(losses)) / rows.total_weight
        excess = sum_in_order(list(excesses)) / rows.total_weight
        gradient_sum = sum_in_order(list(gradients)) / rows.total_weight
        gradient_sum -= np.outer(excess, rows.mean - rows.origin)
        value = loss + 0.5 * self.penalty * float(np.vdot(coef, coef))
        gradient = self.joined(gradient_sum + self.penalty * coef, excess)
        return Evaluation(point, coef, intercept, loss, value, gradient_sum, excess, gradient)

    def hessian_product(self, direction: Floats) -> Floats:
        """H·v for v (K, p), with the probabilities of the last evaluation; one pass over X without exponentials."""
        rows = self.rows
        coef, constant = self.split(direction)

        def chunk_pass(chunk: list[Block]) -> tuple[Floats, Floats]:
            product, excess = np.zeros(coef.shape), np.zeros(self.n_classes)
            for block in chunk:
                x = rows.block(block)
                p = self.block_probabilities(block)
                u, weighted = self._temporaries(block)
                np.matmul(coef, x.T, out=u)
                u += constant[:, None]
                u -= np.multiply(p, u, out=weighted).sum(axis=0)
                u *= p
                if rows.weights is not None:
                    u *= rows.weights[block.rows]
                product += u @ x
                excess += u.sum(axis=1)
            return product, excess

        rows.count_pass()
        products, excesses = zip(*rows.workers.map(chunk_pass, rows.chunks), strict=True)
        excess = sum_in_order(list(excesses)) / rows.total_weight
        product = sum_in_order(list(products)) / rows.total_weight
        product -= np.outer(excess, rows.mean - rows.origin)
        product += self.penalty * (direction[:, :-1] if self.has_intercept else direction)
        return self.joined(product, excess)

    def along(self, point: Floats, direction: Floats, steps: Floats) -> tuple[Floats, Floats]:
        """f(point + t·direction) and its derivative in t, for every t of `steps`, in one pass; leaves the work array as
        it is.
        """
        rows = self.rows
        coef, constant = self.split(point)
        move, move_constant = self.split(direction)

        def chunk_pass(chunk: list[Block]) -> Floats:
            sums = np.zeros((2, len(steps)))
            for block in chunk:
                x = rows.block(block)
                z, u = self._temporaries(block)
                np.matmul(coef, x.T, out=z)
                np.matmul(move, x.T, out=u)
                z += constant[:, None]
                u += move_constant[:, None]
                weights = 1.0 if rows.weights is None else rows.weights[block.rows]
                truth = self._truth[block.rows]
                for j, step in enumerate(steps):
                    residual = z + step * u
                    losses, _ = softmax_and_residual(residual, truth)
                    residual *= u
                    sums[0, j] += float((weights * losses).sum())
                    sums[1, j] += float((weights * residual.sum(axis=0)).sum())
            return sums

        rows.count_pass()
        with np.errstate(over="ignore", invalid="ignore"):
            values, slopes = sum_in_order(rows.workers.map(chunk_pass, rows.chunks)) / rows.total_weight
        w, v = (point[:, :-1], direction[:, :-1]) if self.has_intercept else (point, direction)
        squares = [float(np.vdot(w, w)), float(np.vdot(w, v)), float(np.vdot(v, v))]
        values += 0.5 * self.penalty * (squares[0] + 2 * steps * squares[1] + steps**2 * squares[2])
        slopes += self.penalty * (squares[1] + steps * squares[2])
        return values, slopes

    def class_covariance(self) -> Floats:
        """Σ π_i (diag p_i − p_i p_iᵀ), (K, K), at the last evaluation: the Hessian in the intercepts. Does not read
        X.
        """
        rows = self.rows

        def chunk_pass(chunk: list[Block]) -> tuple[Floats, Floats]:
            second, first = np.zeros((self.n_classes, self.n_classes)), np.zeros(self.n_classes)
            for block in chunk:
                p = self.block_probabilities(block)
                weighted = p if rows.weights is None else p * rows.weights[block.rows]
                second += weighted @ p.T
                first += weighted.sum(axis=1)
            return second, first

        seconds, firsts = zip(*rows.workers.map(chunk_pass, rows.chunks), strict=True)
        covariance = np.diag(sum_in_order(list(firsts))) - sum_in_order(list(seconds))
        return covariance / rows.total_weight

    def reduced_hessian(self, reference: int) -> Floats:
        """Lower triangle of the data part of H in the contrasts A_k = W_k − W_reference, ((K−1)·p, (K−1)·p), Fortran
        order.

        The contrasts carry the whole model (softmax does not see what is added to every class), so that the symmetric
        matrix of K sets need not be formed: with B_i the rows √π_i p_ik x_i, H = blockdiag_k(Σ π_i p_ik x_i x_iᵀ) −
        BᵀB.
        """
        rows = self.rows
        kept = np.delete(np.arange(self.n_classes), reference)
        width = self.shape[1]
        size = len(kept) * width

        def chunk_pass(chunk: list[Block]) -> Floats:
            hessian = np.zeros((size, size), order="F")
            diagonal = np.zeros((width, size))
            for block in chunk:
                x = rows.centred(block)
                if self.has_intercept:
                    x = np.column_stack([x, np.ones(len(x))])
                p = np.ascontiguousarray(self.block_probabilities(block)[kept].T)
                if rows.weights is not None:
                    x *= np.sqrt(rows.weights[block.rows])[:, None]
                weighted = (p[:, :, None] * x[:, None, :]).reshape(len(x), size)
                hessian = dsyrk(-1.0, weighted.T, beta=1.0, c=hessian, lower=1, overwrite_c=1)
                diagonal += x.T @ weighted
            for k in range(len(kept)):
                own = slice(k * width, (k + 1) * width)
                hessian[own, own] += diagonal[:, own]
            return hessian

        rows.count_pass()
        return sum_in_order(rows.workers.map(chunk_pass, rows.few_chunks(size**2))) / rows.total_weight


def softmax_and_residual(z: Floats, truth: npt.NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Turn logits (K, m), in place, into residuals softmax(z) − onehot; return losses (m,) and probabilities of the
    true class (m,).

    `truth` holds flat positions of the true classes. Loss and residual are relative to the other classes' share of the
    sum, which is accurate when the probability of the true class rounds to 1: loss = log1p(Σ_{j≠y} e_j + (e_y − 1)) −
    (z_y − max z).
    """
    flat = z.reshape(-1)
    top = z.max(axis=0)
    margin = flat[truth] - top
    z -= top
    np.exp(z, out=z)
    own = flat[truth]
    flat[truth] = 0.0
    others = z.sum(axis=0)
    losses = np.log1p(others + (own - 1.0)) - margin
    scale = 1.0 / (others + own)
    z *= scale
    flat[truth] = -others * scale
    return losses, own * scale
