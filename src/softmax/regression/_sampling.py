"""Rows that stand for all: drawn by how much each can matter, weighed so that sums are right on average.

The share of row i in the curvature of class k is p_ik (1 − p_ik) / Σ, its share in that of the features the leverage
l_i. Drawn with probability q_i = min(1, c·s_i), s_i = l_i + (p/K) Σ_k share_ik, and multiplied by 1/q_i, the sum over
the drawn rows is an unbiased Hessian, and close to it in every direction that few rows determine: those rows have
q_i = 1. A uniform draw fails there, with rare classes and rare binary features.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ._objective import MultinomialObjective
from ._problem import Problem
from ._rows import Floats, sum_in_order


def drawn_rows(objective: MultinomialObjective, count: int) -> tuple[npt.NDArray[np.intp], Floats]:
    """About `count` rows, in order, and the factor of each, for `MultinomialObjective.reduced_hessian`.

    Systematic sampling: the cumulated probabilities are cut at whole numbers, so that the draw needs no random number
    and repeats.
    """
    scores = _scores(objective)
    chances = _chances(scores, count)
    edges = np.floor(np.cumsum(chances) + 0.5)
    drawn = np.flatnonzero(np.diff(edges, prepend=0.0) > 0)
    return drawn, 1.0 / chances[drawn]


def _scores(objective: MultinomialObjective) -> Floats:
    """s (n,), by the probabilities of the last evaluation."""
    rows = objective.rows
    _, scores = objective.row_scores()
    n_classes, width = objective.shape

    def blocks(span: tuple[int, int]) -> Iterator[tuple[slice, Floats]]:
        for start in range(*span, rows.block_rows):
            own = slice(start, min(start + rows.block_rows, span[1]))
            yield own, objective.class_curvature(own.start, own.stop)

    def total(span: tuple[int, int]) -> Floats:
        return sum_in_order([curvature.sum(axis=1) for _, curvature in blocks(span)])

    totals = sum_in_order(rows.run(total))
    factors = np.where(totals > 0.0, width / (n_classes * np.where(totals > 0.0, totals, 1.0)), 0.0)

    def add(span: tuple[int, int]) -> None:
        for own, curvature in blocks(span):
            scores[own] += factors @ curvature

    rows.run(add)
    return scores


def _chances(scores: Floats, count: int) -> Floats:
    """min(1, c·s) with c such that they sum to `count`, and a floor that keeps every factor finite."""
    scores = scores + 1e-3 * scores.mean()
    if count >= len(scores):
        return np.ones(len(scores))
    factor = count / float(scores.sum())
    for _ in range(30):
        chances = np.minimum(1.0, factor * scores)
        certain = chances == 1.0
        rest = float(scores[~certain].sum())
        new = (count - int(certain.sum())) / rest if rest > 0 else factor
        if new <= factor * (1 + 1e-6):
            break
        factor = new
    return np.minimum(1.0, factor * scores)


def coarse_problem(problem: Problem, leverage: Floats, share: int, at_least: int) -> Problem:
    """The problem on about every `share`-th row of each class, or on `at_least` rows of a class where it has them, and
    on the rows that lie far out; weights make up for the rows left out, so that the penalty means the same.

    A row is kept with a chance that grows with its `leverage` (n,): the few rows far out decide alone on the directions
    that they lie in, and a coarse optimum that has not seen them is no start.
    """
    n = problem.X.shape[0]
    weights = np.ones(n) if problem.weights is None else problem.weights
    if problem.labels is None:
        order, chances = np.arange(n), np.full(n, 1.0 / share)
    else:
        counts = np.bincount(problem.labels, minlength=problem.n_classes)
        wanted = np.minimum(counts, np.maximum(counts // share, at_least))
        order = np.argsort(problem.labels, kind="stable")
        chances = (wanted / np.maximum(counts, 1))[problem.labels]
    chances = np.minimum(1.0, chances + (0.5 * n / share) * leverage / leverage.sum())
    # Class by class, so that each gets its number of rows to within one.
    edges = np.floor(np.cumsum(chances[order]) + 0.5)
    kept = np.sort(order[np.diff(edges, prepend=0.0) > 0])
    return replace(
        problem,
        X=problem.X[kept],
        labels=None if problem.labels is None else problem.labels[kept],
        probabilities=None if problem.probabilities is None else problem.probabilities[kept],
        offset=None if problem.offset is None else problem.offset[kept],
        weights=weights[kept] / chances[kept],
    )
