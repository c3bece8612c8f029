"""The passes of a fit in plain NumPy: what serves without Numba, and what the compiled ones are compared with.

`Dense` and `Sparse` hold a matrix X (n, d) and compute, over rows start ... stop, what a solver needs; `target` says
against what (attributes `labels`, `soft`, `weights`, `offset`, each of length 0 if there is none, and `n_classes`, K).
README.md holds the contract. Logits of a block are (K, m), classes first; R sets of coefficients, (R·K, d) in the form
that `prepared` gives them, go through one pass.

Read: X, once per call. Written: the sums, and the probabilities in `kept` if it has room. Never stored: logits.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np


class _Matrix:
    """What both storages share: everything but the products with X."""

    def __init__(self, X: Any, block_rows: int) -> None:
        self.X = X
        self.block_rows = block_rows

    def prepared(self, coef: Any, single: bool) -> Any:
        """Coefficients (R·K, d) as the passes take them, in the arithmetic that they decide."""
        return np.ascontiguousarray(coef, np.float32 if single else np.float64)

    def accumulator(self, rows: int, single: bool) -> Any:
        """Zeros for R·K gradients."""
        return np.zeros((rows, self.X.shape[1]))

    def collected(self, accumulators: list[Any]) -> Any:
        """The sum of accumulators, in their order, as float64 (R·K, d)."""
        total = accumulators[0]
        for part in accumulators[1:]:
            total += part
        return total

    def kept_block(self, kept: Any, n_classes: int, start: int, stop: int) -> Any:
        """The probabilities of rows start ... stop (a block, or its beginning) as (K, m)."""
        return kept[n_classes * start : n_classes * stop].reshape(n_classes, stop - start)

    def _blocks(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        for first in range(start, stop, self.block_rows):
            yield first, min(first + self.block_rows, stop)

    def _block(self, start: int, stop: int, shift: Any, dtype: Any) -> Any:
        raise NotImplementedError

    def _logits(self, coef: Any, x: Any) -> Any:
        raise NotImplementedError

    def _gradient(self, residual: Any, x: Any) -> Any:
        raise NotImplementedError

    def _z(self, start: int, stop: int, coef: Any, constant: Any, shift: Any, offset: Any) -> tuple[Any, Any]:
        """(logits (R, K, m), the block of X)."""
        x = self._block(start, stop, shift, coef.dtype)
        z = self._logits(coef, x) + constant[:, None].astype(coef.dtype)
        if offset.size:
            z = z.reshape(-1, *offset[start:stop].T.shape) + offset[start:stop].T
            z = z.astype(coef.dtype)
        return z, x

    def evaluate(
        self,
        start: int,
        stop: int,
        coef: Any,
        constant: Any,
        shift: Any,
        target: Any,
        kept: Any,
        losses: Any,
        gradient: Any,
        excess: Any,
    ) -> None:
        """Add Σ w·loss to `losses` (R,), Σ w (p − y) xᵀ to `gradient`, Σ w (p − y) to `excess` (R·K,).

        Probabilities of the last of the R sets are written to `kept` if it has a size.
        """
        k = target.n_classes
        for first, last in self._blocks(start, stop):
            z, x = self._z(first, last, coef, constant, shift, target.offset)
            z = z.reshape(-1, k, last - first)
            for i, logits in enumerate(z):
                loss, p = _residual(logits, target, first, last)
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
        move_constant: Any,
        shift: Any,
        target: Any,
        kept: Any,
        gradient: Any,
        excess: Any,
    ) -> None:
        """Add Σ w p∘(u − pᵀu) xᵀ to `gradient` and Σ w p∘(u − pᵀu) to `excess`, u = V x + v, with kept p."""
        for first, last in self._blocks(start, stop):
            p = self.kept_block(kept, target.n_classes, first, last).astype(move.dtype)
            self._add_product(first, last, p, move, move_constant, shift, target, gradient, excess)

    def product_anew(
        self,
        start: int,
        stop: int,
        coef: Any,
        constant: Any,
        move: Any,
        move_constant: Any,
        shift: Any,
        target: Any,
        gradient: Any,
        excess: Any,
    ) -> None:
        """The same with the probabilities computed again from the coefficients."""
        for first, last in self._blocks(start, stop):
            p = self.probabilities(first, last, coef, constant, shift, target)
            self._add_product(first, last, p, move, move_constant, shift, target, gradient, excess)

    def _add_product(
        self,
        first: int,
        last: int,
        p: Any,
        move: Any,
        move_constant: Any,
        shift: Any,
        target: Any,
        gradient: Any,
        excess: Any,
    ) -> None:
        u, x = self._z(first, last, move, move_constant, shift, target.offset[:0])
        u = u.reshape(-1, *p.shape)
        u -= (p * u).sum(axis=1, keepdims=True) / p.sum(axis=0)  # kept probabilities are rounded: their sum is not 1
        u *= p
        if target.weights.size:
            u *= target.weights[first:last].astype(u.dtype)
        residual = u.reshape(-1, last - first)
        gradient += self._gradient(residual, x)
        excess += residual.sum(axis=1, dtype=np.float64)

    def probabilities(self, start: int, stop: int, coef: Any, constant: Any, shift: Any, target: Any) -> Any:
        """softmax (K, m) of the rows of one block."""
        z, _ = self._z(start, stop, coef, constant, shift, target.offset)
        z = z.reshape(target.n_classes, stop - start)
        np.exp(z - z.max(axis=0), out=z)
        z /= z.sum(axis=0)
        return z

    def along(
        self,
        start: int,
        stop: int,
        coef: Any,
        constant: Any,
        move: Any,
        move_constant: Any,
        shift: Any,
        target: Any,
        steps: Any,
        sums: Any,
    ) -> None:
        """Add to `sums` (2, S) the losses at coef + t·move, and their derivatives in t, for t in `steps`."""
        for first, last in self._blocks(start, stop):
            z, x = self._z(first, last, coef, constant, shift, target.offset)
            u = self._logits(move, x) + move_constant[:, None]
            z = z.reshape(u.shape)
            for j, step in enumerate(steps):
                residual = z + step * u
                loss, _ = _residual(residual, target, first, last)
                sums[0, j] += loss
                sums[1, j] += np.vdot(residual, u)


class Dense(_Matrix):
    """A dense X of float32 or float64 in any order."""

    def _block(self, start: int, stop: int, shift: Any, dtype: Any) -> Any:
        rows = self.X[start:stop]
        return (rows - shift).astype(dtype) if shift.size else rows.astype(dtype, copy=False)

    def _logits(self, coef: Any, x: Any) -> Any:
        return coef @ x.T

    def _gradient(self, residual: Any, x: Any) -> Any:
        return residual @ x


class Sparse(_Matrix):
    """A SciPy CSR matrix or array of float32 or float64."""

    def _block(self, start: int, stop: int, shift: Any, dtype: Any) -> Any:
        return self.X[start:stop].astype(dtype, copy=False)

    def _logits(self, coef: Any, x: Any) -> Any:
        return np.ascontiguousarray((x @ coef.T).T)

    def _gradient(self, residual: Any, x: Any) -> Any:
        return (x.T @ residual.T).T


def _residual(z: Any, target: Any, start: int, stop: int) -> tuple[float, Any]:
    """Turn logits (K, m), in place, into w (p − y); return Σ w·loss and the probabilities.

    Loss and residual are relative to the other classes' share of the sum, which is accurate when the probability of
    the true class rounds to 1: loss = log1p(Σ_{j≠y} e_j + (e_y − 1)) − (z_y − max z). With probabilities for a target
    the class of the largest logit takes the place of y.
    """
    columns = np.arange(stop - start)
    top = z.max(axis=0)
    if target.soft.size:
        pivot = z.argmax(axis=0)
        y = target.soft[start:stop].T
        margin = -np.where(y == 0.0, 0.0, y * (top - z)).sum(axis=0)
    else:
        pivot = target.labels[start:stop].astype(np.intp)
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
    if target.soft.size:
        z -= y
        z[pivot, columns] = (1.0 - y[pivot, columns]) - others * scale
    else:
        z[pivot, columns] = -others * scale
    if not target.weights.size:
        return float(losses.sum(dtype=np.float64)), p
    weights = target.weights[start:stop]
    z *= weights
    return float(weights @ losses.astype(np.float64)), p
