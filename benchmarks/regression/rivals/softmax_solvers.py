"""Ours, through the public names alone."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np

from benchmarks.regression.rivals import Solve
from benchmarks.regression.tasks import Answer, Task


def start(method: str, task: Task, threads: int) -> Solve:
    """Return the call for the kind of the task; what the library cannot do yet raises when it is called."""
    ways = {"fit": _fits, "batch": _fits, "verdict": _fits, "path": _path, "lasso path": _path, "cv": _cross_validated}
    return lambda settings: ways[task.kind](task, settings[0]["tol"], threads)


def _fits(task: Task, tol: float, threads: int) -> Answer:
    import softmax as sm

    coefs, intercepts, statuses, gaps = [], [], [], []
    model: Any = None
    for rows in task.row_sets:
        X, y = (task.X, task.y) if rows is None else (task.X[rows], task.y[rows])
        for C in task.C:
            model = sm.SoftmaxRegression(C=C, tol=tol, n_threads=threads).fit(X, y)
            coefs.append(model.coef_)
            intercepts.append(model.intercept_)
            statuses.append(model.status_)
            gaps.append(model.gap_ / model.objective_)
    claims = {
        "status": statuses, "gap": gaps, "passes": model.n_passes_, "iterations": model.n_iter_,
        "solver": model.history_[0].get("solver", ""),
    }  # fmt: skip
    if task.kind == "verdict" and getattr(model, "separating_direction_", None) is not None:
        direction = model.separating_direction_
        coefs, intercepts = [direction[:, :-1]], [direction[:, -1]]
    return Answer(coefs, intercepts, claims=claims)


def _path(task: Task, tol: float, threads: int) -> Answer:
    import softmax as sm

    n = len(task.y)
    Cs = [1 / (mu * n) for mu in task.lassos] or list(task.C)
    options = {"l1_ratio": 1.0, "grouped": task.grouped} if task.lassos else {}
    path = sm.softmax_path(task.X, task.y, Cs, tol=tol, n_threads=threads, **options)
    claims = {
        "status": list(path.statuses), "gap": (path.gaps / path.objectives).tolist(), "passes": int(sum(path.n_passes)),
    }  # fmt: skip
    return Answer(list(path.coefs), list(path.intercepts), claims=claims)


def _cross_validated(task: Task, tol: float, threads: int) -> Answer:
    import softmax as sm

    splits = task.splits()
    options = {"Cs": list(task.C), "cv": splits, "tol": tol, "n_threads": threads, "refit": False}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", sm.NotCertifiedWarning)
        began = time.perf_counter()
        model = sm.SoftmaxRegressionCV(**options).fit(task.X, task.y)
        seconds = time.perf_counter() - began

    # The estimator keeps no coefficients of its folds. A scorer sees them, in a second fit that does the same again.
    seen: dict[int, list[tuple[Any, Any]]] = {fold: [] for fold in range(len(splits))}

    def keep(fitted: Any, X: Any, y: Any) -> float:
        fold = next(i for i, (_, test) in enumerate(splits) if len(test) == len(y) and np.array_equal(X, task.X[test]))
        seen[fold].append((fitted.coef_.copy(), fitted.intercept_.copy()))
        return 0.0

    sm.SoftmaxRegressionCV(**options, scoring=keep).fit(task.X, task.y)
    # Inside a fold the fits come with rising C, as the task asks for them.
    points = [point for fold in sorted(seen) for point in seen[fold]]
    # It warns where a fit of a fold is not certified, and says no more of them.
    certified = not any(issubclass(warning.category, sm.NotCertifiedWarning) for warning in caught)
    claims = {"status": "certified" if certified else "not certified", "passes": int(model.total_passes_)}
    return Answer([W for W, _ in points], [b for _, b in points], seconds, claims=claims)
