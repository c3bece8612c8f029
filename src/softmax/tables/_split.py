"""A split into training and held-out rows that keeps the classes in proportion and repeats with its seed."""

from __future__ import annotations

import numpy as np

from softmax._errors import DataError, OptionError

from ._table import IntArray


def stratified_split(codes: IntArray, test_size: float, seed: int) -> tuple[IntArray, IntArray]:
    """Split rows into (training, held-out) indices, each sorted.

    Every class keeps at least one row for training, so a class of one row is never held out. The held-out rows are
    shared out among the classes by largest remainder, round(n · test_size) in all where the classes allow it.

    Parameters
    ----------
    codes
        Class of each row, `(n,)`, in [0, K).
    test_size
        Share of rows to hold out, in [0, 1).
    seed
        In [0, 2³²). The legacy generator is used because NumPy promises that its stream never changes.

    Raises
    ------
    OptionError
        If `test_size` or `seed` is out of range.
    DataError
        If no row can be held out.
    """
    if not 0.0 <= test_size < 1.0:
        raise OptionError(f"the test size is a share of the rows in [0, 1), got {test_size}.")
    if not 0 <= seed < 2**32:
        raise OptionError(f"the seed must lie in [0, 2**32), got {seed}.")
    sizes = np.bincount(codes)
    quota = np.minimum(sizes * test_size, np.maximum(sizes - 1, 0))
    held = np.floor(quota).astype(np.int64)
    spare = round(len(codes) * test_size) - int(held.sum())
    for place in np.argsort(held - quota, kind="stable")[: max(spare, 0)]:
        held[place] += held[place] + 1 < sizes[place]
    if test_size and not held.any():
        raise DataError(
            f"no row can be held out of {len(codes)} with a test size of {test_size}: "
            "every class needs a row to learn from. Pass --test-size 0, or a test file with --test."
        )
    shuffled = np.random.RandomState(seed).permutation(len(codes))
    rank = np.empty(len(codes), dtype=np.int64)
    by_class = shuffled[np.argsort(codes[shuffled], kind="stable")]
    rank[by_class] = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    is_held = rank < held[codes]
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)
