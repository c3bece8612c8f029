"""Ours, through the public names alone."""

from __future__ import annotations

from typing import Any

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
    raise NotImplementedError("not there yet")
