"""Arithmetic on matrices of coefficients that are larger than a cache, a slice at a time, over the threads of a fit.

With many features or classes a vector of conjugate gradients has more elements than X has entries. NumPy would read and
write a temporary matrix for each operation, in one thread; in slices temporaries stay in the second-level cache. The
slices depend on the shape alone, and sums over them are taken in order, so that a result repeats bitwise.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from ._rows import Floats
from ._threads import Workers

SLICE = 1 << 15
# Fewer neighbouring features would make less than a few cache lines of each class.
FEATURES = 64


def slices(length: int, elements_each: int = 1) -> list[slice]:
    """Neighbouring slices of an axis of `length`, each position of which stands for so many elements."""
    count = max(1, length * elements_each // SLICE)
    return [slice(a, b) for a, b in pairwise(length * i // count for i in range(count + 1))]


def over_features(workers: Workers, shape: tuple[int, int], task: Callable[[slice], None]) -> None:
    """`task` over slices of the columns of a matrix of this shape."""

    def share(parts: list[slice]) -> None:
        for own in parts:
            task(own)

    parts = slices(shape[1], min(shape[0], SLICE // FEATURES))
    if len(parts) == 1:
        task(parts[0])
    else:
        workers.map(share, shares(workers, parts))


def dot(workers: Workers, x: Floats, y: Floats) -> float:
    """⟨x, y⟩ of two contiguous arrays of one shape."""
    x, y = x.reshape(-1), y.reshape(-1)
    return sum(_over(workers, len(x), lambda own: float(np.dot(x[own], y[own]))))


def add_multiple(workers: Workers, y: Floats, factor: float, x: Floats) -> None:
    """y += factor·x, for contiguous arrays of one shape."""
    x, y = x.reshape(-1), y.reshape(-1)

    def add(own: slice) -> float:
        y[own] += factor * x[own]
        return 0.0

    _over(workers, len(x), add)


def multiply_and_add(workers: Workers, y: Floats, factor: float, x: Floats) -> None:
    """y = factor·y + x, for contiguous arrays of one shape."""
    x, y = x.reshape(-1), y.reshape(-1)

    def add(own: slice) -> float:
        part = y[own]
        part *= factor
        part += x[own]
        return 0.0

    _over(workers, len(x), add)


def _over(workers: Workers, length: int, task: Callable[[slice], float]) -> list[float]:
    """`task` over the slices of a flat array; in shares, as a task of the pool costs more than a slice."""
    parts = slices(length)
    if len(parts) == 1:
        return [task(parts[0])]

    def share(own: list[slice]) -> list[float]:
        return [task(part) for part in own]

    return [value for values in workers.map(share, shares(workers, parts)) for value in values]


def shares(workers: Workers, parts: list[slice]) -> list[list[slice]]:
    """The slices that each task of the pool takes, in order."""
    count = min(len(parts), workers.n_threads)
    edges = [len(parts) * i // count for i in range(count + 1)]
    return [parts[a:b] for a, b in pairwise(edges)]
