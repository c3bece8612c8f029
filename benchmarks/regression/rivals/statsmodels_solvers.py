"""statsmodels: MNLogit, the reference class being the first."""

from __future__ import annotations

import warnings

import numpy as np

from benchmarks.regression.methods import Setting
from benchmarks.regression.rivals import Solve
from benchmarks.regression.tasks import Answer, Task

MAX_ITER = 100_000


def start(method: str, task: Task, threads: int) -> Solve:
    """Return the call for a method of `fit`."""
    from statsmodels.discrete.discrete_model import MNLogit

    warnings.simplefilter("ignore")
    X = np.column_stack([np.ones(len(task.y)), task.X])

    def solve(settings: list[Setting]) -> Answer:
        tol = settings[0]["tol"]
        stop = {"tol": tol} if method == "newton" else {"pgtol": tol, "factr": 0.0}
        params = MNLogit(task.y, X).fit(method=method, maxiter=MAX_ITER, disp=0, **stop).params
        W = np.column_stack([np.zeros(X.shape[1]), np.asarray(params)]).T
        return Answer([W[:, 1:]], [W[:, 0]])

    return solve
