"""Rows of a data matrix as the solvers see them: passes over blocks of rows, weighted means, second moments.

Everything that a solver asks of X stands in `DenseRows` and `SparseRows`, which have the same methods; `rows_of`
chooses. A pass is split into spans of neighbouring rows, one task of the pool each; a span is read block by block. The
split depends on shapes and the number of threads alone, and sums over spans are taken in their order, so that a pass
repeats bitwise.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.linalg.blas import dsyrk

from softmax._errors import ArrayValueError

from ._threads import Workers

Floats: TypeAlias = npt.NDArray[np.float64]
Result = TypeVar("Result")

# A block of logits and a block of X should stay in the second-level cache together.
BLOCK_ELEMENTS = 1 << 15
# Beyond this ratio of mean to spread, X @ W.T + b loses digits that matter, and blocks are centred before the product.
CANCELLATION = 1e3
# The kernels take seconds to compile once; NumPy takes a few milliseconds for a pass of this size.
COMPILED_FROM = 2e5
SINGLE_CANCELLATION = 4.0
# Magnitudes that float32 holds with room for their products.
SINGLE_RANGE = (1e-12, 1e12)
SPANS_PER_THREAD = 4
# Elements of all accumulators of a pass together.
ACCUMULATORS = 1 << 27
# Beyond this number of features the second moment of sparse rows is taken as diagonal.
MOMENT_LIMIT = 4096


@dataclass(frozen=True)
class Block:
    """Rows `start:stop`, and the number of the chunk they belong to."""

    start: int
    stop: int
    chunk: int

    @property
    def rows(self) -> slice:
        """The rows as a slice."""
        return slice(self.start, self.stop)


def fit_kernels(work: float = np.inf) -> Any:
    """The kernel set for the passes of a fit: compiled, or NumPy under SOFTMAX_KERNELS=portable or without Numba, and
    where a pass of `work` multiplications is so short that nobody should wait for a compiler.
    """
    from softmax._dispatch import wants_portable
    from softmax._kernels import portable_fit

    if work < COMPILED_FROM or wants_portable():
        return portable_fit
    try:
        from softmax._kernels.cpu import fit
    except ImportError:
        return portable_fit
    return fit


def work_of(X: Any, n_classes: int) -> float:
    """Multiplications of a pass, the softmax of an element counted as 16 of them."""
    return float(n_classes * (X.size + 16 * X.shape[0]))


class _Rows:
    """What both storages share; `matrix` holds the passes."""

    def __init__(self, X: Any, matrix: Any, weights: Floats | None, n_classes: int, workers: Workers) -> None:
        self.X = X
        self.matrix = matrix
        self.n, self.d = X.shape
        self.weights = weights
        self._weights = np.empty(0) if weights is None else np.ascontiguousarray(weights, np.float64)
        self.total_weight = float(self.n) if weights is None else float(weights.sum())
        self.workers = workers
        self.block_rows = min(self._block_size(n_classes), self.n)
        self.n_blocks = -(-self.n // self.block_rows)
        self.n_passes = 0
        n_chunks = SPANS_PER_THREAD * workers.n_threads if workers.n_threads > 1 else 1
        self.chunks = [
            [Block(start, min(start + self.block_rows, stop), chunk) for start in range(first, stop, self.block_rows)]
            for chunk, (first, stop) in enumerate(self._split(n_chunks))
        ]

    def _block_size(self, n_classes: int) -> int:
        tile = int(self.matrix.tile)
        size = int(np.clip(BLOCK_ELEMENTS // max(n_classes, self.d // 2, 1), 48, 8192))
        return max(size // tile, 1) * tile

    def _split(self, parts: int) -> list[tuple[int, int]]:
        parts = max(1, min(parts, self.n_blocks))
        edges = [self.block_rows * (self.n_blocks * k // parts) for k in range(parts)] + [self.n]
        return list(pairwise(edges))

    def spans(self, accumulator: int) -> list[tuple[int, int]]:
        """(start, stop) of each task of a pass whose tasks hold `accumulator` elements each."""
        threads = self.workers.n_threads
        if threads == 1:
            return [(0, self.n)]
        # More spans than threads even out the load, where adding up their results costs little beside the pass.
        several = accumulator * SPANS_PER_THREAD * threads <= 0.02 * self.X.size
        wanted = SPANS_PER_THREAD * threads if several else threads
        return self._split(min(wanted, max(1, ACCUMULATORS // max(accumulator, 1))))

    def _few_spans(self, elements: int) -> list[tuple[int, int]]:
        return self._split(min(self.workers.n_threads, max(1, ACCUMULATORS // max(elements, 1))))

    def run(self, task: Callable[[tuple[int, int]], Result], accumulator: int = 0) -> list[Result]:
        """`task` over the spans of a pass."""
        return self.workers.map(task, self.spans(accumulator))

    def count_pass(self) -> None:
        """Note that X was read in full once more."""
        self.n_passes += 1

    def blocks(self) -> Iterator[Block]:
        """All blocks, in order."""
        for chunk in self.chunks:
            yield from chunk

    def few_chunks(self, elements: int) -> list[list[Block]]:
        """The blocks in as few chunks as there are threads (fewer where a result of `elements` numbers is large)."""
        blocks = list(self.blocks())
        n_chunks = max(1, min(len(blocks), self.workers.n_threads, ACCUMULATORS // max(elements, 1)))
        return [[blocks[i] for i in part] for part in np.array_split(np.arange(len(blocks)), n_chunks)]

    def _moments(self, centre: bool) -> None:
        """Set `mean`, `spread` and `flat`."""
        self.mean = self._sums(None) / self.total_weight if centre else np.zeros(self.d)
        with np.errstate(over="ignore", invalid="ignore"):
            self.spread = np.sqrt(self._sums(self.mean) / self.total_weight)
        if not np.isfinite(self.spread).all():
            column = int(np.argmin(np.isfinite(self.spread)))
            raise ArrayValueError(f"squares of column {column} of X overflow float64. Rescale the column.")
        self.flat = self.spread <= 16 * np.finfo(np.float64).eps * np.abs(self.mean)
        sizes = np.concatenate([self.spread[~self.flat], np.abs(self.mean[self.mean != 0.0])])
        self.allows_single = bool(np.all((sizes > SINGLE_RANGE[0]) & (sizes < SINGLE_RANGE[1])))

    def _sums(self, centre: Floats | None) -> Floats:
        """Σ w x, or Σ w (x − centre)²."""
        raise NotImplementedError


class DenseRows(_Rows):
    """A dense float32 or float64 matrix X (n, d), read block by block.

    `mean` (d,) is the weighted column mean where the model has an intercept and 0 otherwise; `spread` (d,) the root of
    the weighted second moment about `mean`. Passes read X − `origin`: `origin` is 0 unless the offset of some column
    is so large that the product with the uncentred block would lose the digits of its spread, and then it is `mean`;
    `single_origin` is the same for passes in float32.
    """

    def __init__(
        self, X: npt.NDArray[Any], weights: Floats | None, n_classes: int, centre: bool, workers: Workers
    ) -> None:
        super().__init__(X, fit_kernels(work_of(X, n_classes)).Dense(X, n_classes), weights, n_classes, workers)
        self._moments(centre)
        spread = np.where(self.flat, np.inf, self.spread)
        far = np.max(np.abs(self.mean) / np.maximum(spread, np.finfo(np.float64).tiny), initial=0.0)
        self.origin = self.mean if far > CANCELLATION else np.zeros(self.d)
        self.single_origin = self.mean if far > SINGLE_CANCELLATION else np.zeros(self.d)

    def block(self, block: Block) -> Floats:
        """X[rows] − origin in float64: a view where nothing has to change."""
        rows = self.X[block.rows]
        shifted: Floats = rows - self.origin if np.any(self.origin) else rows.astype(np.float64, copy=False)
        return shifted

    def centred(self, block: Block) -> Floats:
        """X[rows] − mean in float64, always a new array."""
        return self.gathered(block.rows)

    def gathered(self, index: Any) -> Floats:
        """X[index] − mean in float64, always a new array; `index` a slice or positions of rows."""
        rows: Floats = np.subtract(self.X[index], self.mean, dtype=np.float64)
        return rows

    def _sums(self, centre: Floats | None) -> Floats:
        at = np.empty(0) if centre is None else centre

        def span_sum(span: tuple[int, int]) -> Floats:
            total = np.zeros(self.d)
            self.matrix.column_sums(*span, self._weights, at, total)
            return total

        self.count_pass()
        return sum_in_order(self.run(span_sum, self.d))

    def second_moment(self) -> Floats:
        """Σ_i π_i (x_i − mean)(x_i − mean)ᵀ, (d, d) symmetric, π the weights over their sum."""

        def chunk_moment(chunk: list[Block]) -> Floats:
            total = np.zeros((self.d, self.d), order="F")
            for block in chunk:
                rows = self.centred(block)
                if self.weights is not None:
                    rows *= np.sqrt(self.weights[block.rows])[:, None]
                total = dsyrk(1.0, rows.T, beta=1.0, c=total, lower=1, overwrite_c=1)
            return total

        self.count_pass()
        return mirrored(sum_in_order(self.workers.map(chunk_moment, self.few_chunks(self.d**2)))) / self.total_weight


class SparseRows(_Rows):
    """A SciPy CSR matrix or array (n, d) of float32 or float64 with sorted unique indices; never made dense.

    Attributes as in `DenseRows`; `origin` is 0: the mean enters through the constants of the logits alone.
    """

    def __init__(self, X: Any, weights: Floats | None, n_classes: int, centre: bool, workers: Workers) -> None:
        super().__init__(X, fit_kernels(work_of(X, n_classes)).Sparse(X, n_classes), weights, n_classes, workers)
        self._moments(centre)
        self.origin = self.single_origin = np.zeros(self.d)

    def centred(self, block: Block) -> Floats:
        """X[rows] − mean as a dense float64 array: for few features only."""
        return self.gathered(block.rows)

    def gathered(self, index: Any) -> Floats:
        """X[index] − mean as a dense float64 array."""
        rows: Floats = self.X[index].toarray().astype(np.float64, copy=False) - self.mean
        return rows

    def _sums(self, centre: Floats | None) -> Floats:
        at = np.empty(0) if centre is None else centre

        def span_sum(span: tuple[int, int]) -> Floats:
            total = np.zeros((3, self.d))
            self.matrix.column_sums(*span, self._weights, at, total)
            return total

        self.count_pass()
        parts: Floats = sum_in_order(self.run(span_sum, 3 * self.d))
        sums, weight, number = parts
        if centre is None:
            plain: Floats = sums
            return plain
        # Entries that are not stored are 0, each at the distance of the mean.
        rest = np.where(number == self.n, 0.0, np.maximum(self.total_weight - weight, 0.0))
        total: Floats = sums + rest * centre**2
        return total

    def second_moment(self) -> Floats:
        """Σ_i π_i (x_i − mean)(x_i − mean)ᵀ, (d, d) symmetric; its diagonal (d,) beyond MOMENT_LIMIT features."""
        if self.d > MOMENT_LIMIT:
            return self.spread**2

        def span_moment(span: tuple[int, int]) -> Floats:
            total = np.zeros((self.d, self.d))
            self.matrix.second_moment(*span, self._weights, total)
            return total

        self.count_pass()
        moment = mirrored(sum_in_order(self.workers.map(span_moment, self._few_spans(self.d**2))))
        moment /= self.total_weight
        moment -= np.outer(self.mean, self.mean)
        return moment


def rows_of(X: Any, weights: Floats | None, n_classes: int, centre: bool, workers: Workers) -> DenseRows | SparseRows:
    """The rows of X, by its storage."""
    storage = DenseRows if isinstance(X, np.ndarray) else SparseRows
    return storage(X, weights, n_classes, centre, workers)


def sum_in_order(parts: list[Floats]) -> Floats:
    """The sum of arrays of one shape, into the first of them."""
    total = parts[0]
    for part in parts[1:]:
        total += part
    return total


def mirrored(lower: Floats) -> Floats:
    """A symmetric matrix from its lower triangle; what stood above is ignored."""
    full: Floats = np.tril(lower)
    full += np.tril(lower, -1).T
    return full
