"""scikit-learn-intelex: scikit-learn patched, and then the same calls."""

from __future__ import annotations

from benchmarks.regression.rivals import Solve, sklearn_solvers
from benchmarks.regression.tasks import Task


def start(method: str, task: Task, threads: int) -> Solve:
    """Patch scikit-learn and return its call."""
    import daal4py
    from sklearnex import patch_sklearn

    patch_sklearn(verbose=False)
    daal4py.daalinit(threads)
    return sklearn_solvers.start(method, task, threads)
