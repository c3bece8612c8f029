"""The passes of a fit, compiled: `Dense` and `Sparse` with the methods of `portable_fit`, whose docstrings hold."""

from typing import Any

import numpy as np

from . import fit_dense, fit_sparse
from .fit_products import pack
from .fit_vectors import REGISTER
from .simd import LANES

# Rows of a tile: a multiple of 16. More rows make up for the accumulators, which are read and written once a tile.
TILE = 48
LARGE_TILE = 96
LARGE_FROM = 64  # classes
# A block of a matrix that is transposed.
TURNED = 256, 128
# Rows whose squares are taken at a time.
MOMENT_ROWS = 256


class _Memory:
    """Memory under an interface that does not say it is read-only: kernels are compiled for one kind and write none."""

    def __init__(self, owner: Any, address: int, size: int, dtype: np.dtype[Any]) -> None:
        self.owner = owner
        self.__array_interface__ = {
            "data": (address, False),
            "shape": (size,),
            "typestr": dtype.str,
            "version": 3,
        }


def flat_view(x: Any) -> tuple[Any, int]:
    """(all memory between the first and the last element of x as one axis, the position of x[0, ...] in it)."""
    if x.size == 0:
        return np.empty(0, x.dtype), 0
    low = sum(min(0, (n - 1) * s) for n, s in zip(x.shape, x.strides, strict=True))
    high = sum(max(0, (n - 1) * s) for n, s in zip(x.shape, x.strides, strict=True))
    address = x.__array_interface__["data"][0] + low
    size = (high - low) // x.itemsize + 1
    return np.asarray(_Memory(x, address, size, x.dtype)), -low // x.itemsize


def _padded(n: int, to: int) -> int:
    return -(-n // to) * to


class Goal:
    """What logits are compared with, as the kernels take it: (labels, soft, weights, offset) along one axis each."""

    def __init__(self, labels: Any, soft: Any, weights: Any, offset: Any, n_classes: int) -> None:
        self.n_classes = n_classes
        self.arrays = tuple(flat_view(np.ascontiguousarray(x).reshape(-1))[0] for x in (labels, soft, weights, offset))


class Dense:
    """A dense X of float32 or float64 in any order."""

    def __init__(self, X: Any, n_classes: int) -> None:
        if any(s % X.itemsize for s in X.strides) or not X.flags.aligned:
            X = np.ascontiguousarray(X)
        self.X = X
        self.n, self.d = X.shape
        flat, base = flat_view(X)
        self._x = flat, (base, X.strides[0] // X.itemsize, X.strides[1] // X.itemsize, self.d)
        self.tile = TILE if n_classes < LARGE_FROM else LARGE_TILE

    goal = Goal

    def kept_size(self, n_classes: int) -> int:
        """Elements of `kept`."""
        return n_classes * _padded(self.n, self.tile)

    def prepared(self, coef: Any, constant: Any, n_classes: int, single: bool) -> tuple[Any, Any]:
        dtype, lanes = (np.float32, REGISTER // 4) if single else (np.float64, REGISTER // 8)
        size = _padded(len(coef), lanes)
        packed = np.empty(size * self.d, dtype)
        pack(np.ascontiguousarray(coef, np.float64), packed)
        padded = np.zeros(size, dtype)
        padded[: len(coef)] = constant
        return packed, padded

    def accumulator(self, size: int, n_classes: int, single: bool, rough: bool) -> Any:
        return np.zeros((_padded(size, 4), _padded(self.d, REGISTER // (4 if single else 8))))

    def collect(self, accumulators: list[Any], n_classes: int, own: slice, out: Any) -> None:
        whole = slice(len(out)), own
        out[...] = accumulators[0][whole]
        for part in accumulators[1:]:
            out += part[whole]

    def moments(self, start: int, stop: int, q: Any, shift: Any, total: Any) -> None:
        for first in range(start, stop, MOMENT_ROWS):
            own = slice(first, min(first + MOMENT_ROWS, stop))
            x = self.X[own].astype(np.float64, copy=False)
            x = x - shift if shift.size else x
            here = q[:, own.start - start : own.stop - start]
            total[: len(q), : self.d] += here @ x
            total[len(q) : 2 * len(q), : self.d] += here @ (x * x)

    def kept_block(self, kept: Any, n_classes: int, start: int, stop: int) -> Any:
        end = min(_padded(stop, self.tile), _padded(self.n, self.tile))
        tiles = kept[n_classes * start : n_classes * end].reshape(-1, n_classes, self.tile)
        return tiles.transpose(1, 0, 2).reshape(n_classes, -1)[:, : stop - start]

    def _scratch(
        self, dtype: Any, goal: Any, constant: Any, groups: int, label: float = 0.0
    ) -> tuple[int, tuple[Any, ...]]:
        """(width of a row of features, (z, a tile of X, a panel of it, labels, weights, soft targets of a tile))."""
        lanes = REGISTER // dtype.itemsize
        width = _padded(self.d, lanes)
        soft = goal.n_classes if goal.arrays[1].size else 0
        return width, (
            np.zeros(max(constant.size, groups) * self.tile, dtype),
            np.zeros(self.tile * width, dtype),
            np.empty(3 * lanes * self.tile, dtype),
            np.full(self.tile, label, dtype),
            np.empty(self.tile, dtype),
            np.empty(soft * self.tile, dtype),
        )

    def evaluate(
        self, start: int, stop: int, at: Any, shift: Any, goal: Any, kept: Any, losses: Any, gradient: Any, excess: Any
    ) -> None:
        width, scratch = self._scratch(at[0].dtype, goal, at[1], len(gradient))
        lanes = np.zeros((excess.size, LANES))
        span = start, stop, self.tile, at, goal.n_classes, goal.arrays
        sums = gradient.reshape(-1), width, lanes.reshape(-1)
        fit_dense.evaluate(*self._x, shift, *span, kept, losses, *sums, scratch)
        excess += lanes.sum(axis=1)

    def product(
        self, start: int, stop: int, move: Any, shift: Any, goal: Any, kept: Any, gradient: Any, excess: Any
    ) -> None:
        width, scratch = self._scratch(move[0].dtype, goal, move[1], len(gradient))
        lanes = np.zeros((excess.size, LANES))
        span = start, stop, self.tile, move, goal.n_classes, goal.arrays[2]
        fit_dense.product(*self._x, shift, *span, kept, gradient.reshape(-1), width, lanes.reshape(-1), scratch)
        excess += lanes.sum(axis=1)

    def product_anew(
        self, start: int, stop: int, at: Any, move: Any, shift: Any, goal: Any, gradient: Any, excess: Any
    ) -> None:
        width, scratch = self._scratch(move[0].dtype, goal, move[1], len(gradient))
        lanes = np.zeros((excess.size, LANES))
        span = start, stop, self.tile, at, move, goal.n_classes, goal.arrays
        kept = np.empty(goal.n_classes * self.tile, np.float32)
        sums = gradient.reshape(-1), width, lanes.reshape(-1)
        fit_dense.product_anew(*self._x, shift, *span, kept, *sums, scratch)
        excess += lanes.sum(axis=1)

    def along(self, start: int, stop: int, at: Any, move: Any, shift: Any, goal: Any, steps: Any, sums: Any) -> None:
        width, scratch = self._scratch(at[0].dtype, goal, at[1], 0, -1.0)
        span = start, stop, self.tile, at, move, goal.n_classes, goal.arrays
        u = np.empty_like(scratch[0])
        fit_dense.along(*self._x, shift, *span, steps, sums.reshape(-1), width, scratch, u)

    def probabilities(self, start: int, stop: int, at: Any, shift: Any, goal: Any) -> Any:
        out = np.empty((goal.n_classes, stop - start))
        width, scratch = self._scratch(at[0].dtype, goal, at[1], 0)
        span = start, stop, self.tile, at, goal.n_classes, goal.arrays[3]
        fit_dense.probabilities(*self._x, shift, *span, width, scratch, out)
        return out

    def quick(self, goal: Goal, mean: Any, ridge: Any, weight: float, kept: Any, intercept: bool) -> "Quick":
        return Quick(self, goal, mean, ridge, weight, kept, intercept)

    def column_sums(self, start: int, stop: int, weights: Any, centre: Any, total: Any) -> None:
        """total (d,) += Σ w x over rows; with a centre, Σ w (x − centre)²."""
        fit_dense.column_sums(*self._x, start, stop, weights, centre, total)


class Quick:
    """Passes of one thread over all of a dense X, with memory that is kept from call to call: for small problems.

    Points and directions are (K, p), intercepts for centred features behind the coefficients.
    """

    def __init__(
        self, matrix: Dense, goal: Goal, mean: Any, ridge: Any, weight: float, kept: Any, intercept: bool
    ) -> None:
        self._matrix, self._goal, self._kept = matrix, goal, kept
        self._common = weight, mean, intercept, ridge
        size, self._none = goal.n_classes, np.empty(0)
        self._lanes = np.zeros((size, LANES))
        self._memory: dict[bool, tuple[Any, ...]] = {}
        self._shapes = (size, matrix.d), (size, matrix.d + int(intercept))

    def _of(self, single: bool) -> tuple[Any, ...]:
        found = self._memory.get(single)
        if found is None:
            matrix, size = self._matrix, self._goal.n_classes
            dtype = np.dtype(np.float32 if single else np.float64)
            padded = _padded(size, REGISTER // dtype.itemsize)
            at = np.empty(padded * matrix.d, dtype), np.zeros(padded, dtype)
            gradient = matrix.accumulator(size, size, single, False)
            width, scratch = matrix._scratch(dtype, self._goal, at[1], len(gradient))
            sums = gradient.reshape(-1), width, self._lanes.reshape(-1), scratch
            found = self._memory[single] = (at, gradient, sums, np.zeros(1))
        return found

    def _prepared(self, point: Any, at: Any) -> tuple[Any, Any]:
        coef, constant = np.empty(self._shapes[0]), np.empty(len(point))
        fit_dense.prepare_point(
            np.ascontiguousarray(point, np.float64), self._common[1], self._common[2], coef, constant, *at
        )
        return coef, constant

    def _finished(self, coef: Any, gradient: Any) -> tuple[Any, Any, Any, float]:
        """(sums of the centred rows (K, d), excess (K,), gradient with the penalty (K, p), the penalty)."""
        sums, excess, whole = np.empty(self._shapes[0]), np.empty(len(coef)), np.empty(self._shapes[1])
        pull = fit_dense.finish_sums(gradient, self._lanes, *self._common, coef, sums, excess, whole)
        return sums, excess, whole, pull

    def evaluate(self, point: Any, single: bool) -> tuple[Any, ...]:
        """(coef, intercept, mean loss, and the result of `_finished`)."""
        matrix, goal = self._matrix, self._goal
        at, gradient, sums, losses = self._of(single)
        coef, constant = self._prepared(point, at)
        losses[0] = 0.0
        span = 0, matrix.n, matrix.tile, at, goal.n_classes, goal.arrays
        fit_dense.evaluate(*matrix._x, self._none, *span, self._kept, losses, *sums)
        return (coef, constant, losses[0] / self._common[0], *self._finished(coef, gradient))

    def product(self, direction: Any, single: bool) -> Any:
        """The Hessian times a direction, with the probabilities kept."""
        matrix, goal = self._matrix, self._goal
        at, gradient, sums, _ = self._of(single)
        coef, _ = self._prepared(direction, at)
        span = 0, matrix.n, matrix.tile, at, goal.n_classes, goal.arrays[2]
        fit_dense.product(*matrix._x, self._none, *span, self._kept, *sums)
        return self._finished(coef, gradient)[2]


class Sparse:
    """A SciPy CSR matrix or array of float32 or float64."""

    goal = Goal
    tile = 1

    def __init__(self, X: Any, n_classes: int) -> None:
        self.X = X
        self.n, self.d = X.shape
        ends = np.asarray(X.indptr, np.int64)
        self._x = tuple(flat_view(np.ascontiguousarray(x))[0] for x in (X.data, X.indices, ends))
        self._squares: Any = None

    def kept_size(self, n_classes: int) -> int:
        return n_classes * int(self.n)

    def prepared(self, coef: Any, constant: Any, n_classes: int, single: bool) -> tuple[Any, Any]:
        dtype, lanes = (np.float32, REGISTER // 4) if single else (np.float64, REGISTER // 8)
        size, sets = _padded(n_classes, lanes), len(coef) // n_classes
        turned = np.zeros((self.d, sets, size), dtype)
        for r in range(sets):
            _transpose(coef[r * n_classes : (r + 1) * n_classes], turned[:, r, :n_classes])
        padded = np.zeros((sets, size), dtype)
        padded[:, :n_classes] = constant.reshape(sets, n_classes)
        return turned.reshape(-1), padded.reshape(-1)

    def accumulator(self, size: int, n_classes: int, single: bool, rough: bool) -> Any:
        padded = _padded(n_classes, REGISTER // (4 if single else 8))
        return np.zeros((self.d, size // n_classes, padded), np.float32 if rough and single else np.float64)

    def collect(self, accumulators: list[Any], n_classes: int, own: slice, out: Any) -> None:
        total = accumulators[0][own]
        for part in accumulators[1:]:
            total += part[own]
        for r in range(len(out) // n_classes):
            _transpose(total[:, r, :n_classes], out[r * n_classes : (r + 1) * n_classes])

    def curvature_moments(self, start: int, stop: int, at: Any, goal: Any, total: Any, weight: Any) -> None:
        """Add the `moments` of q = w p (1 − p) at a point to an accumulator of two sets, and Σ q to weight (K, 1)."""
        if self._squares is None:
            self._squares = flat_view(np.square(self.X.data))[0]
        values, columns, ends = self._x
        sums = np.zeros(at[1].size)
        place = values, self._squares, columns, ends, start, stop, *at, at[1].size, goal.n_classes, goal.arrays
        fit_sparse.moments(*place, total.reshape(-1), sums)
        weight += sums[: goal.n_classes, None]

    def kept_block(self, kept: Any, n_classes: int, start: int, stop: int) -> Any:
        return kept[n_classes * start : n_classes * stop].reshape(-1, n_classes).T

    def evaluate(
        self, start: int, stop: int, at: Any, shift: Any, goal: Any, kept: Any, losses: Any, gradient: Any, excess: Any
    ) -> None:
        size, sums = _lane_sums(gradient)
        fit_sparse.evaluate(
            *self._x,
            start,
            stop,
            *at,
            size,
            goal.n_classes,
            goal.arrays,
            kept,
            losses,
            gradient.reshape(-1),
            sums.reshape(-1),
        )
        excess += sums[:, : goal.n_classes].ravel()

    def product(
        self, start: int, stop: int, move: Any, shift: Any, goal: Any, kept: Any, gradient: Any, excess: Any
    ) -> None:
        size, sums = _lane_sums(gradient)
        fit_sparse.product(
            *self._x,
            start,
            stop,
            *move,
            size,
            goal.n_classes,
            goal.arrays[2],
            kept,
            goal.arrays[1].size > 0 or goal.arrays[3].size > 0,
            gradient.reshape(-1),
            sums.reshape(-1),
        )
        excess += sums[:, : goal.n_classes].ravel()

    def product_anew(
        self, start: int, stop: int, at: Any, move: Any, shift: Any, goal: Any, gradient: Any, excess: Any
    ) -> None:
        size, sums = _lane_sums(gradient)
        fit_sparse.product_anew(
            *self._x,
            start,
            stop,
            *at,
            *move,
            size,
            goal.n_classes,
            goal.arrays,
            gradient.reshape(-1),
            sums.reshape(-1),
        )
        excess += sums[:, : goal.n_classes].ravel()

    def along(self, start: int, stop: int, at: Any, move: Any, shift: Any, goal: Any, steps: Any, sums: Any) -> None:
        size = at[1].size
        fit_sparse.along(*self._x, start, stop, *at, *move, size, goal.n_classes, goal.arrays, steps, sums.reshape(-1))

    def probabilities(self, start: int, stop: int, at: Any, shift: Any, goal: Any) -> Any:
        out = np.empty((stop - start, goal.n_classes))
        fit_sparse.probabilities(*self._x, start, stop, *at, at[1].size, goal.n_classes, goal.arrays[3], out)
        return out.T

    def column_sums(self, start: int, stop: int, weights: Any, centre: Any, total: Any) -> None:
        """total (3, d) += (Σ w (x − centre)^power, Σ w, number) of the stored entries; power 1 or, with a centre, 2."""
        fit_sparse.column_sums(*self._x, start, stop, weights, centre, total)

    def second_moment(self, start: int, stop: int, weights: Any, total: Any) -> None:
        """total (d, d), its lower triangle, += Σ w x xᵀ."""
        fit_sparse.second_moment(*self._x, start, stop, weights, total)


def _transpose(source: Any, target: Any) -> None:
    """target = sourceᵀ, block by block: a whole column of a large matrix would touch a page for each element."""
    height, width = TURNED
    for i in range(0, source.shape[0], height):
        for j in range(0, source.shape[1], width):
            target[j : j + width, i : i + height] = source[i : i + height, j : j + width].T


def _lane_sums(gradient: Any) -> tuple[int, Any]:
    """(S, zeros (R, S) for the sums of residuals) for a gradient (d, R, S)."""
    _, sets, size = gradient.shape
    return size, np.zeros((sets, size))
