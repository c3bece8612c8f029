"""A case with its data at hand: what every tool has to solve, and in which order the solutions come back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.regression.datasets import Data
from benchmarks.regression.gap import Objective
from benchmarks.regression.registry import Case

LASSO_VALUES = 50
LASSO_RANGE = 1e-2
MOST_CLASSES_WARM = 200


@dataclass(frozen=True, eq=False)
class Task:
    """Problems on one X.

    `C` or `lassos` (μ of the mean loss) are the path, `folds` the test fold of each row, `batches` the rows of each
    small fit. Solutions come fold by fold, and inside a fold penalty by penalty.
    """

    kind: str
    X: Any
    y: np.ndarray
    n_classes: int
    C: tuple[float, ...]
    lassos: tuple[float, ...] = ()
    grouped: bool = False
    folds: np.ndarray | None = None
    batches: np.ndarray | None = None

    @property
    def row_sets(self) -> list[np.ndarray | None]:
        """Return the rows of each data set that is fitted; None for all of them."""
        if self.kind == "cv":
            assert self.folds is not None
            return [np.flatnonzero(self.folds != fold) for fold in range(int(self.folds.max()) + 1)]
        if self.kind == "batch":
            assert self.batches is not None
            return list(self.batches)
        return [None]

    def splits(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return (training rows, test rows) of each fold."""
        assert self.folds is not None
        every = range(int(self.folds.max()) + 1)
        return [(np.flatnonzero(self.folds != fold), np.flatnonzero(self.folds == fold)) for fold in every]

    @property
    def path_length(self) -> int:
        """Return how many penalties there are."""
        return len(self.lassos) or len(self.C)

    @property
    def count(self) -> int:
        """Return how many solutions are asked for."""
        return len(self.row_sets) * self.path_length

    def objectives(self) -> Iterator[Objective]:
        """Yield what each solution minimises."""
        for rows in self.row_sets:
            X, y = (self.X, self.y) if rows is None else (self.X[rows], self.y[rows])
            for lasso in self.lassos:
                yield Objective(X, y, self.n_classes, 0.0, lasso, self.grouped)
            for C in () if self.lassos else self.C:
                yield Objective(X, y, self.n_classes, 1 / (C * len(y)))


@dataclass(eq=False)
class Answer:
    """What a tool gives back: (K, d) coefficients, dense or CSR, and (K,) intercepts of each problem.

    `seconds` and `peak` where the tool runs in a process of its own; `claims` what it says of itself.
    """

    coefs: list[Any]
    intercepts: list[np.ndarray]
    seconds: float | None = None
    peak: int | None = None
    claims: dict[str, Any] | None = None


def largest_lasso(X: Any, y: np.ndarray, K: int, *, grouped: bool) -> float:
    """Return the smallest μ at which all coefficients are 0: the dual norm of the gradient there."""
    Y = np.zeros((len(y), K))
    Y[np.arange(len(y)), y] = 1
    G = np.asarray((X.T @ (Y.mean(axis=0) - Y)).T) / len(y)
    return float((np.linalg.norm(G, axis=0) if grouped else np.abs(G)).max())


def task_of(case: Case, data: Data) -> Task:
    """Return the problems of a case."""
    lassos: tuple[float, ...] = ()
    if case.kind == "lasso path":
        largest = largest_lasso(data.X, data.y, data.n_classes, grouped=case.grouped)
        lassos = tuple(float(value) for value in largest * np.geomspace(1, LASSO_RANGE, LASSO_VALUES))
    return Task(
        case.kind, data.X, data.y, data.n_classes, case.C, lassos, case.grouped,
        data.folds if case.kind == "cv" else None, data.batches if case.kind == "batch" else None,
    )  # fmt: skip


# A warm-up of at most so many coefficients has at least so many rows.
FEW_COEFFICIENTS, ROWS_WARM = 3000, 12_000


def warm_up_of(task: Task, per_class: int = 4) -> Task:
    """Return a little task of the same form, dtypes and features, to compile and load whatever a fit needs.

    It has the same classes, or the first of very many, and always a penalty: so few rows are separable. Where a fit
    has few coefficients its rows are also many enough for what a tool does to large data alone.
    """
    order = np.argsort(task.y, kind="stable")
    counts = np.bincount(task.y, minlength=task.n_classes)
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    n_classes = min(task.n_classes, MOST_CLASSES_WARM)
    chosen = (place < per_class) & (task.y[order] < n_classes)
    if task.X.shape[1] * n_classes <= FEW_COEFFICIENTS and n_classes == task.n_classes:
        chosen[:: max(1, len(order) // ROWS_WARM)] = True
    rows = np.sort(order[chosen])
    y = task.y[rows]
    folds = batches = None
    if task.folds is not None:
        folds = np.zeros(len(rows), dtype=np.intp)
        folds[np.argsort(y, kind="stable")] = np.arange(len(rows)) % 2
    if task.batches is not None:
        batches = np.arange(len(rows))[None]
    C = tuple(C if np.isfinite(C) else 1.0 for C in task.C[:2])
    small = replace(task, X=task.X[rows], y=y, n_classes=n_classes, C=C, lassos=task.lassos[:2])
    return replace(small, folds=folds, batches=batches)
