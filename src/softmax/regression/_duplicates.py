"""Rows of a sparse X put next to their equals, which the passes then take together.

Counts of words, one-hot columns and other categories give the same row again and again; its logits, their exponentials
and its part of the gradient have to be computed once for all. Order changes the optimum no more than rounding does.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ._problem import Problem

# Logits of a pass below which, and share of different rows above which, there is too little to gain.
WORTH_FROM = 1 << 23
DIFFERENT = 0.7


def with_equal_rows_together(problem: Problem) -> Problem:
    """The problem with equal rows next to each other, if it has many; else itself."""
    X = problem.X
    apart = problem.probabilities is not None or problem.offset is not None
    if isinstance(X, np.ndarray) or apart or X.shape[0] * problem.n_classes < WORTH_FROM:
        return problem
    marks = _marks(X)
    order = np.argsort(marks, kind="stable")
    different = 1 + np.count_nonzero(np.diff(marks[order]))
    if different > DIFFERENT * X.shape[0]:
        return problem
    assert problem.labels is not None
    weights = None if problem.weights is None else problem.weights[order]
    return replace(problem, X=X[order], labels=problem.labels[order], weights=weights)


def _marks(X: Any) -> npt.NDArray[np.uint64]:
    """A number for each row, (n,), the same for equal rows and for others by a rare chance, which does no harm."""
    random = np.random.default_rng(0).integers(1 << 63, size=X.shape[1], dtype=np.uint64)
    bits = np.ascontiguousarray(X.data, np.float64).view(np.uint64)
    with np.errstate(over="ignore"):
        terms = random[X.indices] * ((bits ^ (bits >> np.uint64(29))) | np.uint64(1))
        terms ^= terms >> np.uint64(31)
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)])
        marks: npt.NDArray[np.uint64] = sums[X.indptr[1:]] - sums[X.indptr[:-1]]
    return marks
