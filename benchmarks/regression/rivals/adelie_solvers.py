"""adelie: paths of the lasso grouped by feature, by coordinate descent."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

from benchmarks.regression.methods import Setting
from benchmarks.regression.rivals import Solve
from benchmarks.regression.tasks import Answer, Task


def start(method: str, task: Task, threads: int) -> Solve:
    """Return the call; with several classes adelie knows groups of a feature's coefficients only."""
    import adelie

    n, d, K = task.X.shape[0], task.X.shape[1], task.n_classes
    if scipy.sparse.issparse(task.X):
        X: Any = adelie.matrix.sparse(task.X.tocsc(), n_threads=threads)
    else:
        X = np.asfortranarray(task.X)
    Y = np.zeros((n, K), order="F")
    Y[np.arange(n), task.y] = 1
    path = np.asarray(task.lassos) / K  # its loss is divided by K

    def solve(settings: list[Setting]) -> Answer:
        tol = settings[0]["tol"]
        state = adelie.grpnet(
            X=X, glm=adelie.glm.multinomial(Y, dtype=np.float64), penalty=np.ones(d), lmda_path=path,
            tol=tol, irls_tol=tol, n_threads=threads, early_exit=False, progress_bar=False,
        )  # fmt: skip
        betas = [scipy.sparse.csr_matrix(beta.reshape(d, K)).T.tocsr() for beta in state.betas]
        return Answer(betas, list(np.asarray(state.intercepts)))

    return solve
