"""Columns of X as coordinate descent reads them, and gradients over all of them.

A column is stored for the kernels when it first has to do with a solution: as it is where it is sparse, minus its mean
where it is dense and the model has an intercept, because a coordinate that is far from orthogonal to the constant
converges slowly. `origin` says what was subtracted. Gradients that leave this file are those of centred columns,
whatever was stored: with an intercept the two differ by multiples of the intercept's own gradient.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from softmax._kernels.cpu import coordinate

from ._rows import CANCELLATION, Floats
from ._threads import Workers

# Columns with more entries than this share of the rows are stored densely: their mean is large against their spread.
DENSE_SHARE = 0.25
LANES = 16
BLOCK_ELEMENTS = 1 << 20

Indices = npt.NDArray[np.int64]


def padded(n: int) -> int:
    """Rows of a matrix of logits: a multiple of 16, an odd one so that classes do not fall on one another in caches."""
    blocks = -(-n // LANES)
    return LANES * (blocks + 1 - blocks % 2)


class Residuals:
    """π (p − y): what a gradient is made of. `targets` are the values π y, class by class, at `rows`."""

    def __init__(self, weights: Floats, targets: Floats, rows: npt.NDArray[np.int32], starts: Indices) -> None:
        self.weights = weights
        self.targets = targets
        self.rows = rows
        self.starts = starts
        self.width = len(weights)
        self.n_classes = len(starts) - 1

    @property
    def arrays(self) -> tuple[Floats, Floats, npt.NDArray[np.int32], Indices, int]:
        """In the order in which the kernels take them."""
        return self.weights, self.targets, self.rows, self.starts, self.width


def class_shares(n_classes: int, workers: Workers, *, pooled: bool = True) -> list[tuple[int, int]]:
    """Shares of the classes, a few to a thread, or one."""
    shares = min(n_classes, 4 * workers.n_threads) if pooled and workers.n_threads > 1 else 1
    return [(n_classes * i // shares, n_classes * (i + 1) // shares) for i in range(shares)]


class SparseColumns:
    """A CSR matrix, copied once into columns of float64."""

    def __init__(self, X: Any, weights: Floats, centre: bool, workers: Workers) -> None:
        self.n, self.d = X.shape
        self.workers = workers
        columns = X.tocsc()
        values = columns.data.astype(np.float64)
        rows = columns.indices.astype(np.int32)
        starts = columns.indptr.astype(np.int64)
        counts = np.diff(starts)
        owner = np.repeat(np.arange(self.d), counts)
        share = weights[rows]
        self.mean = np.bincount(owner, share * values, self.d) if centre else np.zeros(self.d)
        with np.errstate(over="ignore", invalid="ignore"):
            second = np.bincount(owner, share * (values - self.mean[owner]) ** 2, self.d)
            second += self.mean**2 * np.maximum(1.0 - np.bincount(owner, share, self.d), 0.0)
        self.spread = np.sqrt(second)
        self.origin = np.zeros(self.d)
        if centre:
            full = np.flatnonzero(counts > DENSE_SHARE * self.n)
            values, rows, starts = self._with_dense(values, rows, starts, full)
        self.arrays = (values, rows, starts)
        self._reach = np.full(self.d, 1e-300)
        np.maximum.at(self._reach, np.repeat(np.arange(self.d), np.diff(starts)), np.abs(values))

    def _with_dense(
        self, values: Floats, rows: npt.NDArray[np.int32], starts: Indices, full: npt.NDArray[np.intp]
    ) -> tuple[Floats, npt.NDArray[np.int32], Indices]:
        """The columns `full` with an entry in every row, minus their means."""
        if not len(full):
            return values, rows, starts
        self.origin[full] = self.mean[full]
        counts = np.diff(starts)
        counts[full] = self.n
        new_starts = np.concatenate([[0], np.cumsum(counts)])
        new_values, new_rows = np.empty(new_starts[-1]), np.empty(new_starts[-1], dtype=np.int32)
        others = np.setdiff1d(np.arange(self.d), full)
        kept = np.repeat(np.isin(np.arange(self.d), others), np.diff(starts))
        target = np.repeat(np.isin(np.arange(self.d), others), counts)
        new_values[target], new_rows[target] = values[kept], rows[kept]
        for j in full:
            column = np.full(self.n, -self.mean[j])
            column[rows[starts[j] : starts[j + 1]]] += values[starts[j] : starts[j + 1]]
            here = slice(new_starts[j], new_starts[j + 1])
            new_values[here], new_rows[here] = column, np.arange(self.n)
        return new_values, new_rows, new_starts

    def store(self, features: npt.NDArray[np.intp]) -> Indices:
        """Where the kernels find these columns."""
        return features.astype(np.int64)

    def sizes(self, slots: Indices) -> Floats:
        """How many entries the columns at `slots` have."""
        counts: Floats = np.diff(self.arrays[2]).astype(np.float64)
        return counts[slots]

    def reach(self, slots: Indices) -> Floats:
        """The largest entries in absolute value."""
        reach: Floats = self._reach[slots]
        return reach

    def gradients(self, probability: Floats, residuals: Residuals, buffer: Floats, out: Floats) -> Floats:
        """out[k, j] = Σ π (p − y) (x_j − mean_j) in all columns; returns Σ π (p − y)."""
        excess = np.empty(residuals.n_classes)

        def share(classes: tuple[int, int]) -> None:
            v = np.empty(residuals.width)
            coordinate.all_gradients(self.arrays, self.d, probability, *residuals.arrays, *classes, v, out, excess)

        self.workers.map(share, class_shares(residuals.n_classes, self.workers))
        apart = self.mean - self.origin
        if apart.any():
            out -= np.multiply.outer(excess, apart)
        return excess


class DenseColumns:
    """A dense matrix; the columns that are asked for are copied, centred, into rows of `values`."""

    def __init__(self, X: npt.NDArray[Any], weights: Floats, centre: bool, workers: Workers) -> None:
        self.X = X
        self.n, self.d = X.shape
        self.workers = workers
        self.width = len(weights)
        self._weights = weights[: self.n]
        blocks = self._blocks()
        self.mean = np.zeros(self.d)
        if centre:
            for b in blocks:
                self.mean += self._weights[b] @ X[b].astype(np.float64, copy=False)
        second = np.zeros(self.d)
        with np.errstate(over="ignore", invalid="ignore"):
            for b in blocks:
                second += self._weights[b] @ (X[b] - self.mean) ** 2
        self.spread = np.sqrt(second)
        self.origin = self.mean
        self._shifted = bool(np.any(np.abs(self.mean) > CANCELLATION * self.spread))
        self._place = np.full(self.d, -1, dtype=np.int64)
        self._count = 0
        self._reach = np.zeros(0)
        self._values = np.zeros((0, self.width))

    def _blocks(self) -> list[slice]:
        size = max(LANES, BLOCK_ELEMENTS // max(self.d, 1))
        return [slice(i, min(i + size, self.n)) for i in range(0, self.n, size)]

    @property
    def arrays(self) -> tuple[Floats, int]:
        """What the kernels take for columns."""
        return self._values.reshape(-1), self.width

    def store(self, features: npt.NDArray[np.intp]) -> Indices:
        """Where the kernels find these columns."""
        new = np.unique(features[self._place[features] < 0])
        if len(new):
            needed = self._count + len(new)
            if needed > len(self._values):
                larger = np.zeros((min(self.d, max(needed, 2 * len(self._values))), self.width))
                larger[: self._count] = self._values[: self._count]
                self._values = larger
            here = self._values[self._count : needed, : self.n]
            here[...] = self.X[:, new].T
            here -= self.mean[new, None]
            self._reach = np.append(self._reach, np.maximum(np.abs(here).max(axis=1), 1e-300))
            self._place[new] = np.arange(self._count, needed)
            self._count = needed
        places: Indices = self._place[features]
        return places

    def sizes(self, slots: Indices) -> Floats:
        """How many entries the columns at `slots` have."""
        return np.full(len(slots), float(self.n))

    def reach(self, slots: Indices) -> Floats:
        """The largest entries in absolute value."""
        reach: Floats = self._reach[slots]
        return reach

    def gradients(self, probability: Floats, residuals: Residuals, buffer: Floats, out: Floats) -> Floats:
        """out[k, j] = Σ π (p − y) (x_j − mean_j) in all columns; returns Σ π (p − y). `buffer` is overwritten."""

        def share(classes: tuple[int, int]) -> None:
            coordinate.residual_rows(probability, *residuals.arrays, *classes, buffer)

        share((0, residuals.n_classes))
        matrix = buffer.reshape(residuals.n_classes, residuals.width)[:, : self.n]
        excess: Floats = matrix.sum(axis=1)
        whole = self.X.flags.c_contiguous or self.X.flags.f_contiguous
        if whole and self.X.dtype == np.float64 and not self._shifted:
            np.matmul(matrix, self.X, out=out)
        else:
            out[...] = 0.0
            for b in self._blocks():
                block = self.X[b] - self.mean if self._shifted else self.X[b].astype(np.float64)
                out += matrix[:, b] @ block
        if not self._shifted and self.mean.any():
            out -= np.multiply.outer(excess, self.mean)
        return excess
