"""Cyanure: multinomial logistic regression with a duality-gap stop."""

from __future__ import annotations

import warnings

from benchmarks.regression.methods import Setting
from benchmarks.regression.rivals import Solve
from benchmarks.regression.tasks import Answer, Task

MAX_PASSES = 1_000_000


def start(method: str, task: Task, threads: int) -> Solve:
    """Return the call for a solver of Cyanure."""
    from cyanure.estimators import Classifier

    warnings.simplefilter("ignore")
    (objective,) = task.objectives()

    def solve(settings: list[Setting]) -> Answer:
        model = Classifier(
            loss="multiclass-logistic", penalty="l2", fit_intercept=True, lambda_1=objective.ridge, solver=method,
            tol=settings[0]["tol"], max_iter=MAX_PASSES, n_threads=threads, verbose=False, multi_class="multinomial",
        ).fit(task.X, task.y)  # fmt: skip
        return Answer([model.coef_.T if model.coef_.shape[0] != task.n_classes else model.coef_], [model.intercept_])

    return solve
