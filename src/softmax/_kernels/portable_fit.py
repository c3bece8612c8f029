"""The passes of a fit in plain NumPy: what serves without Numba, and what the compiled ones are compared with.

`Dense` and `Sparse` hold a matrix X (n, d) and compute, over rows start ... stop, what a solver needs; a `Goal` says
against what. README.md holds the contract. Logits of a block are (K, m), classes first; R sets of coefficients, (R·K,
d), go through one pass.

Read: X, once per call. Written: the sums, and the probabilities in `kept` if it has room. Never stored: logits.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np


class Goal:
    """What logits are compared with; an array of length 0 stands for none.

    `labels` (n,) float32 or `soft` (n, K) float64; `weights` (n,) and `offset` (n, K) float64.
    """

    def __init__(self, labels: Any, soft: Any, weights: Any, offset: Any, n_classes: int) -> None:
        self.labels, self.soft, self.weights, self.offset = labels, soft, weights, offset
        self.n_classes = n_classes


class _Matrix:
    """What both storages share: everything but the products with X.

    A pass over rows start ... stop gets `at`, the point as `prepared` returned it, `shift` (d,), which is subtracted
    from every row, or length 0, and a `goal`. It adds to what it was given. `tile` divides `start`.
    """

    goal = Goal
    tile = 48

    def __init__(self, X: Any, n_classes: int) -> None:
        self.X = X
        self.n, self.d = X.shape
        self._step = max(self.tile, (1 << 15) // n_classes // self.tile * self.tile)

    def prepared(self, coef: Any, constant: Any, n_classes: int, single: bool) -> Any:
        """Coefficients (R·K, d) and constants (R·K,) as the passes take them, in the arithmetic that they decide."""
        dtype = np.float32 if single else np.float64
        return np.ascontiguousarray(coef, dtype), constant.astype(dtype)

    def accumulator(self, size: int, n_classes: int, single: bool, rough: bool) -> Any:
        """Zeros for R·K = `size` gradients; with `rough` they may be summed in float32."""
        return np.zeros((size, self.d))

    def collect(self, accumulators: list[Any], n_classes: int, own: slice, out: Any) -> None:
        """Put the sum of accumulators, in their order, for the features `own` into out, float64 (R·K, features)."""
        out[...] = accumulators[0][:, own]
        for part in accumulators[1:]:
            out += part[:, own]

    def moments(self, start: int, stop: int, q: Any, shift: Any, total: Any) -> None:
        """Add Σ_i q_ki x_i and behind them Σ_i q_ki x_i² to an accumulator of two sets; q (K, stop − start)."""
        for first, last in self._blocks(start, stop):
            x, own = self._block(first, last, shift, np.float64), q[:, first - start : last - start]
            total[: len(q)] += self._gradient(own, x)
            total[len(q) :] += self._gradient(own, self._square(x))

    def kept_size(self, n_classes: int) -> int:
        """How many probabilities `kept` holds."""
        return n_classes * int(self.n)

    def kept_block(self, kept: Any, n_classes: int, start: int, stop: int) -> Any:
        """The probabilities (K, m) of rows start ... stop; `tile` divides start."""
        return kept[n_classes * start : n_classes * stop].reshape(-1, n_classes).T

    def _blocks(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        for first in range(start, stop, self._step):
            yield first, min(first + self._step, stop)

    def _block(self, start: int, stop: int, shift: Any, dtype: Any) -> Any:
        raise NotImplementedError

    def _logits(self, coef: Any, x: Any) -> Any:
        raise NotImplementedError

    def _gradient(self, residual: Any, x: Any) -> Any:
        raise NotImplementedError

    def _square(self, x: Any) -> Any:
        raise NotImplementedError

    def _z(self, start: int, stop: int, at: Any, shift: Any, offset: Any) -> tuple[Any, Any]:
        """(logits (R, K, m), the block of X)."""
        coef, constant = at
        x = self._block(start, stop, shift, coef.dtype)
        z = self._logits(coef, x) + constant[:, None]
        if offset.size:
            z = z.reshape(-1, *offset[start:stop].T.shape) + offset[start:stop].T
            z = z.astype(coef.dtype)
        return z, x

    def evaluate(
        self,
        start: int,
        stop: int,
        at: Any,
        shift: Any,
        goal: Any,
        kept: Any,
        losses: Any,
        gradient: Any,
        excess: Any,
    ) -> None:
        """Add Σ w·loss to `losses` (R,), Σ w (p − y) xᵀ to `gradient`, Σ w (p − y) to `excess` (R·K,).

        Probabilities of the last of the R sets are written to `kept` if it has a size.
        """
        k = goal.n_classes
        for first, last in self._blocks(start, stop):
            z, x = self._z(first, last, at, shift, goal.offset)
            z = z.reshape(-1, k, last - first)
            for i, logits in enumerate(z):
                with np.errstate(over="ignore", invalid="ignore"):  # logits may overflow: the loss is nan then
                    loss, p = _residual(logits, goal, first, last)
                losses[i] += loss
            if kept.size:
                self.kept_block(kept, k, first, last)[...] = p
            residual = z.reshape(-1, last - first)
            gradient += self._gradient(residual, x)
            excess += residual.sum(axis=1, dtype=np.float64)

    def product(
        self,
        start: int,
        stop: int,
        move: Any,
        shift: Any,
        goal: Any,
        kept: Any,
        gradient: Any,
        excess: Any,
    ) -> None:
        """Add Σ w p∘(u − pᵀu) xᵀ to `gradient` and Σ w p∘(u − pᵀu) to `excess`, u = V x + v, with kept p."""
        for first, last in self._blocks(start, stop):
            p = self.kept_block(kept, goal.n_classes, first, last).astype(move[0].dtype)
            self._add_product(first, last, p, move, shift, goal, gradient, excess)

    def product_anew(
        self,
        start: int,
        stop: int,
        at: Any,
        move: Any,
        shift: Any,
        goal: Any,
        gradient: Any,
        excess: Any,
    ) -> None:
        """The same with the probabilities computed again from the coefficients."""
        for first, last in self._blocks(start, stop):
            p = self.probabilities(first, last, at, shift, goal)
            self._add_product(first, last, p, move, shift, goal, gradient, excess)

    def _add_product(
        self,
        first: int,
        last: int,
        p: Any,
        move: Any,
        shift: Any,
        goal: Any,
        gradient: Any,
        excess: Any,
    ) -> None:
        u, x = self._z(first, last, move, shift, goal.offset[:0])
        u = u.reshape(-1, *p.shape)
        u -= (p * u).sum(axis=1, keepdims=True) / p.sum(axis=0)  # p was kept rounded: its sum is not 1
        u *= p
        if goal.weights.size:
            u *= goal.weights[first:last].astype(u.dtype)
        residual = u.reshape(-1, last - first)
        gradient += self._gradient(residual, x)
        excess += residual.sum(axis=1, dtype=np.float64)

    def probabilities(self, start: int, stop: int, at: Any, shift: Any, goal: Any) -> Any:
        """softmax (K, m) of the rows of one block."""
        z, _ = self._z(start, stop, at, shift, goal.offset)
        z = z.reshape(goal.n_classes, stop - start)
        np.exp(z - z.max(axis=0), out=z)
        z /= z.sum(axis=0)
        return z

    def along(
        self,
        start: int,
        stop: int,
        at: Any,
        move: Any,
        shift: Any,
        goal: Any,
        steps: Any,
        sums: Any,
    ) -> None:
        """Add to `sums` (2, S) the losses at coef + t·move, and their derivatives in t, for t in `steps`."""
        for first, last in self._blocks(start, stop):
            z, x = self._z(first, last, at, shift, goal.offset)
            u = self._logits(move[0], x) + move[1][:, None]
            z = z.reshape(u.shape)
            for j, step in enumerate(steps):
                residual = z + step * u
                with np.errstate(over="ignore", invalid="ignore"):
                    loss, _ = _residual(residual, goal, first, last)
                    sums[0, j] += loss
                    sums[1, j] += np.vdot(residual, u)


class Dense(_Matrix):
    """A dense X of float32 or float64 in any order."""

    def _block(self, start: int, stop: int, shift: Any, dtype: Any) -> Any:
        rows = self.X[start:stop]
        return (rows - shift).astype(dtype) if shift.size else rows.astype(dtype, copy=False)

    def column_sums(self, start: int, stop: int, weights: Any, centre: Any, total: Any) -> None:
        """total (d,) += Σ w x over rows; with a centre, Σ w (x − centre)²."""
        for first, last in self._blocks(start, stop):
            x = self.X[first:last].astype(np.float64, copy=False)
            if centre.size:
                x = (x - centre) ** 2
            total += weights[first:last] @ x if weights.size else x.sum(axis=0)

    def _logits(self, coef: Any, x: Any) -> Any:
        return coef @ x.T

    def _gradient(self, residual: Any, x: Any) -> Any:
        return residual @ x

    def _square(self, x: Any) -> Any:
        return x * x


class Sparse(_Matrix):
    """A SciPy CSR matrix or array of float32 or float64."""

    def _block(self, start: int, stop: int, shift: Any, dtype: Any) -> Any:
        return self.X[start:stop].astype(dtype, copy=False)

    def column_sums(self, start: int, stop: int, weights: Any, centre: Any, total: Any) -> None:
        """total (3, d) += (Σ w (x − centre)^power, Σ w, number) of the stored entries; power 1 or, with a centre, 2."""
        ends = self.X.indptr[start : stop + 1]
        columns = self.X.indices[ends[0] : ends[-1]]
        values = self.X.data[ends[0] : ends[-1]].astype(np.float64, copy=False)
        w = np.repeat(weights[start:stop], np.diff(ends)) if weights.size else np.ones(len(values))
        if centre.size:
            values = (values - centre[columns]) ** 2
        for row, terms in zip(total, (w * values, w, np.ones(len(values))), strict=True):
            row += np.bincount(columns, weights=terms, minlength=self.d)

    def second_moment(self, start: int, stop: int, weights: Any, total: Any) -> None:
        """total (d, d), its lower triangle, += Σ w x xᵀ."""
        x = self.X[start:stop].astype(np.float64)
        y = x.multiply(weights[start:stop, None]).tocsr() if weights.size else x
        total += (x.T @ y).toarray()

    def _logits(self, coef: Any, x: Any) -> Any:
        return np.ascontiguousarray((x @ coef.T).T)

    def _gradient(self, residual: Any, x: Any) -> Any:
        return (x.T @ residual.T).T

    def _square(self, x: Any) -> Any:
        return x.power(2)


def _residual(z: Any, goal: Any, start: int, stop: int) -> tuple[float, Any]:
    """Turn logits (K, m), in place, into w (p − y); return Σ w·loss and the probabilities.

    Loss and residual are relative to the other classes' share of the sum, which is accurate when the probability of
    the true class rounds to 1: loss = log1p(Σ_{j≠y} e_j + (e_y − 1)) − (z_y − max z). With probabilities for a target
    the class of the largest logit takes the place of y.
    """
    columns = np.arange(stop - start)
    top = z.max(axis=0)
    if goal.soft.size:
        pivot = z.argmax(axis=0)
        y = goal.soft[start:stop].T
        margin = -np.where(y == 0.0, 0.0, y * (top - z)).sum(axis=0)
    else:
        pivot = goal.labels[start:stop].astype(np.intp)
        margin = z[pivot, columns] - top
    z -= top
    np.exp(z, out=z)
    own = z[pivot, columns]
    z[pivot, columns] = 0.0
    others = z.sum(axis=0)
    losses = np.log1p(others + (own - 1.0)) - margin
    scale = 1.0 / (others + own)
    z *= scale
    p = z.copy()
    p[pivot, columns] = own * scale
    if goal.soft.size:
        z -= y
        z[pivot, columns] = (1.0 - y[pivot, columns]) - others * scale
    else:
        z[pivot, columns] = -others * scale
    if not goal.weights.size:
        return float(losses.sum(dtype=np.float64)), p
    weights = goal.weights[start:stop]
    z *= weights
    return float(weights @ losses.astype(np.float64)), p
