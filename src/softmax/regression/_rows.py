"""Rows of a data matrix as the solvers see them: blocks in float64, weighted means, second moments.

Everything that a solver asks of X stands in `DenseRows`; another storage (sparse, memory beyond a block) is a class
with the same methods.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.linalg.blas import dsyrk

from softmax._errors import ArrayValueError

from ._threads import Workers

Floats: TypeAlias = npt.NDArray[np.float64]

# A block of logits, a block of X and one temporary should stay in the second-level cache together.
BLOCK_ELEMENTS = 1 << 15
# Beyond this ratio of mean to spread, X @ W.T + b loses digits that matter, and blocks are centred before the product.
CANCELLATION = 1e3
CHUNKS_PER_THREAD = 4


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


class DenseRows:
    """A dense float32 or float64 matrix X (n, d), read block by block.

    `mean` (d,) is the weighted column mean where the model has an intercept and 0 otherwise; `spread` (d,) the root of
    the weighted second moment about `mean`. `block` returns X − `origin`: `origin` is 0 unless the offset of some
    column is so large that the product with the uncentred block would lose the digits of its spread, and then it is
    `mean`.
    """

    def __init__(
        self, X: npt.NDArray[Any], weights: Floats | None, n_classes: int, centre: bool, workers: Workers
    ) -> None:
        self.X = X
        self.n, self.d = X.shape
        self.weights = weights
        self.total_weight = float(self.n) if weights is None else float(weights.sum())
        self.workers = workers
        size = int(np.clip(BLOCK_ELEMENTS // max(n_classes, self.d // 2, 1), 64, 8192))
        self.chunks = self._split(size)
        self.n_blocks = sum(len(chunk) for chunk in self.chunks)
        self.block_rows = min(size, self.n)
        self.n_passes = 0
        self.origin = np.zeros(self.d)
        self.mean = self._sums(lambda rows: rows) / self.total_weight if centre else np.zeros(self.d)
        with np.errstate(over="ignore", invalid="ignore"):
            self.spread = np.sqrt(self._sums(lambda rows: (rows - self.mean) ** 2) / self.total_weight)
        if not np.isfinite(self.spread).all():
            column = int(np.argmin(np.isfinite(self.spread)))
            raise ArrayValueError(f"squares of column {column} of X overflow float64. Rescale the column.")
        self.flat = self.spread <= 16 * np.finfo(np.float64).eps * np.abs(self.mean)
        spread = np.where(self.flat, np.inf, self.spread)
        if np.any(np.abs(self.mean) > CANCELLATION * spread):
            self.origin = self.mean

    def _split(self, size: int) -> list[list[Block]]:
        """Blocks of at most `size` rows, dealt to chunks of neighbours; the split depends on shapes and the number of
        threads alone.
        """
        edges = range(0, self.n, size)
        n_chunks = min(len(edges), CHUNKS_PER_THREAD * self.workers.n_threads if self.workers.n_threads > 1 else 1)
        return [
            [Block(edges[i], min(edges[i] + size, self.n), chunk) for i in part]
            for chunk, part in enumerate(np.array_split(np.arange(len(edges)), n_chunks))
        ]

    def count_pass(self) -> None:
        """Note that X was read in full once more."""
        self.n_passes += 1

    def block(self, block: Block) -> Floats:
        """X[rows] − origin in float64: a view where nothing has to change."""
        rows = self.X[block.rows]
        if np.any(self.origin):
            return rows - self.origin
        return rows.astype(np.float64, copy=False)

    def centred(self, block: Block) -> Floats:
        """X[rows] − mean in float64, always a new array."""
        rows: Floats = np.subtract(self.X[block.rows], self.mean, dtype=np.float64)
        return rows

    def _sums(self, function: Any) -> Floats:
        """Σ_i weight_i · function(x_i), over blocks."""

        def chunk_sum(chunk: list[Block]) -> Floats:
            total = np.zeros(self.d)
            for block in chunk:
                rows = function(self.X[block.rows].astype(np.float64, copy=False))
                total += rows.sum(axis=0) if self.weights is None else self.weights[block.rows] @ rows
            return total

        self.count_pass()
        parts = self.workers.map(chunk_sum, self.chunks)
        return sum_in_order(parts)

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

    def few_chunks(self, elements: int) -> list[list[Block]]:
        """The blocks in as few chunks as there are threads (fewer where a result of `elements` numbers is large)."""
        blocks = list(self.blocks())
        n_chunks = max(1, min(len(blocks), self.workers.n_threads, (1 << 27) // max(elements, 1)))
        return [[blocks[i] for i in part] for part in np.array_split(np.arange(len(blocks)), n_chunks)]

    def blocks(self) -> Iterator[Block]:
        """All blocks, in order."""
        for chunk in self.chunks:
            yield from chunk


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
