"""scikit-learn: single fits, loops of them cold and warm, and LogisticRegressionCV."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from benchmarks.regression.methods import Setting
from benchmarks.regression.rivals import Solve, spread
from benchmarks.regression.tasks import Answer, Task

MAX_ITER = 1_000_000


def start(method: str, task: Task, threads: int) -> Solve:
    """Return the call for a method: "solver", "cold solver", "warm solver", "sweep solver" or "cv solver"."""
    from sklearn.exceptions import ConvergenceWarning

    # Whether it reached anything is found out by the gap.
    warnings.simplefilter("ignore", ConvergenceWarning)
    warnings.simplefilter("ignore", RuntimeWarning)
    *way, solver = method.split(" ")
    if way in (["cv"], ["sweep"]):
        return lambda settings: _cross_validated(task, solver, settings[0])
    return lambda settings: _loop(task, solver, settings, warm=way == ["warm"])


def _problems(task: Task) -> list[tuple[Any, np.ndarray, dict[str, float]]]:
    """Return X, y and the penalty of each problem."""
    found = []
    for rows in task.row_sets:
        X, y = (task.X, task.y) if rows is None else (task.X[rows], task.y[rows])
        found += [(X, y, {"C": 1 / (lasso * len(y)), "l1_ratio": 1.0}) for lasso in task.lassos]
        found += [(X, y, {"C": C}) for C in task.C] if not task.lassos else []
    return found


def _loop(task: Task, solver: str, settings: list[Setting], *, warm: bool) -> Answer:
    from sklearn.linear_model import LogisticRegression

    coefs, intercepts, iterations = [], [], 0
    model = LogisticRegression(solver=solver, max_iter=MAX_ITER, warm_start=warm, random_state=0)
    for (X, y, penalty), setting in zip(_problems(task), spread(settings, task.count), strict=True):
        model.set_params(tol=setting["tol"], **penalty).fit(X, y)
        coefs.append(model.coef_.copy())
        intercepts.append(model.intercept_.copy())
        iterations += int(np.max(model.n_iter_))
    return Answer(coefs, intercepts, claims={"iterations": iterations})


def _cross_validated(task: Task, solver: str, setting: Setting) -> Answer:
    from sklearn.linear_model import LogisticRegressionCV

    # For a sweep one split that trains on everything; it is tested on a row of each class, which costs nothing.
    one_of_each = np.unique(task.y, return_index=True)[1]
    splits = task.splits() if task.kind == "cv" else [(np.arange(len(task.y)), one_of_each)]
    model = LogisticRegressionCV(
        Cs=list(task.C), l1_ratios=(0.0,), solver=solver, cv=splits, tol=setting["tol"], max_iter=MAX_ITER, refit=False,
        scoring="neg_log_loss", use_legacy_attributes=True,
    ).fit(task.X, task.y)  # fmt: skip
    # {class: (folds, penalties, 1, d + 1)}, the intercept last.
    paths = np.stack([np.squeeze(model.coefs_paths_[label]) for label in model.classes_])
    paths = paths.reshape(task.n_classes, -1, paths.shape[-1]).swapaxes(0, 1)
    return Answer([path[:, :-1] for path in paths], [path[:, -1] for path in paths])
