"""The solvers by name, the rule that chooses one, and the fit that runs it."""

import numpy as np
import numpy.typing as npt

from ._certificate import Targets
from ._newton import Progress, Result, Scheme, minimise
from ._objective import MultinomialObjective
from ._preconditioners import FactoredHessian, KroneckerInverse, Preconditioner
from ._rows import DenseRows, Floats

# Up to this number of parameters a factor of the whole Hessian costs less than the CG steps that it saves.
FACTOR_LIMIT = 3000
# Beyond this number of features their covariance is taken as diagonal: its eigenvectors would cost more than the fit.
COVARIANCE_LIMIT = 4096
# Up to this number of multiplications an assembly costs no more than the overhead of a few passes.
SMALL_ASSEMBLY = 2e7
SOLVERS = ("auto", "newton", "newton-cg")


def choose_solver(name: str, n_classes: int, n_features: int) -> tuple[str, str]:
    """The solver that `name` stands for, and why."""
    size = n_classes * n_features
    if name != "auto":
        return name, "as asked"
    if size <= FACTOR_LIMIT:
        return "newton", f"K·d = {size} ≤ {FACTOR_LIMIT}"
    return "newton-cg", f"K·d = {size} > {FACTOR_LIMIT}"


class KroneckerScheme:
    """Kronecker preconditioner with the class covariance of the current point."""

    def __init__(self, inverse: KroneckerInverse, limit: int = 200) -> None:
        self._inverse = inverse
        self._limit = limit

    def prepare(self, objective: MultinomialObjective, last_cg: int) -> tuple[Preconditioner, str, int]:
        """Refresh the class factor: it needs the probabilities at hand and no pass."""
        self._inverse.update(objective.class_covariance())
        return self._inverse, "kronecker", self._limit


class StaleFactorScheme:
    """A factor of the Hessian, assembled anew only when CG became slow with the old one.

    The first step is taken with the Kronecker inverse, which is exact at a cold start. A `limit` of 0 assembles at
    every step.
    """

    def __init__(self, inverse: KroneckerInverse, limit: int, exact_start: bool) -> None:
        self._kronecker: KroneckerInverse | None = inverse
        self._limit = limit
        self._exact = exact_start
        self._factor: FactoredHessian | None = None

    def prepare(self, objective: MultinomialObjective, last_cg: int) -> tuple[Preconditioner, str, int]:
        """Keep what there is while CG is quick with it."""
        slow = last_cg >= self._limit
        if self._kronecker is not None and (self._exact or not slow):
            self._kronecker.update(objective.class_covariance())
            limit, self._exact = (0 if self._exact else self._limit), False
            return self._kronecker, "kronecker", limit
        self._kronecker = None
        if self._factor is None or slow:
            self._factor = FactoredHessian(objective)
            return self._factor, "fresh factor", 0
        return self._factor, "factor", self._limit


def cg_limit(n: int, shape: tuple[int, int]) -> int:
    """CG steps after which a new factor is worth its assembly; 0 where calls cost more than arithmetic."""
    size = shape[0] * shape[1]
    return 0 if n * size**2 <= SMALL_ASSEMBLY else int(np.clip(size // 40, 4, 24))


def solve(
    rows: DenseRows,
    labels: npt.NDArray[np.intp],
    n_classes: int,
    *,
    penalty: float,
    intercept: bool,
    solver: str,
    tol: float,
    max_iter: int,
    start: tuple[Floats, Floats] | None,
    progress: Progress | None,
) -> Result:
    """Fit; `start` is (coef, intercept) of an earlier fit."""
    objective = MultinomialObjective(rows, labels, n_classes, penalty, intercept)
    covariance = rows.second_moment() if rows.d <= COVARIANCE_LIMIT else rows.spread**2
    inverse = KroneckerInverse(covariance, penalty, intercept)
    cold = np.zeros(objective.shape)
    if intercept:
        logs = np.log(objective.frequency)
        cold[:, -1] = logs - logs.mean()
    begin = objective.evaluate(cold)
    # Σ π (p − y) x̃ with p the same for all rows, as at W = 0, is −Σ π y x̃.
    targets = Targets(objective.frequency, -begin.gradient_sum, rows.mean, rows.spread)
    if start is not None:
        warm = objective.evaluate(objective.point_of(*start))
        begin = warm if warm.value < begin.value else objective.evaluate(cold)
    scheme: Scheme
    if solver == "newton-cg":
        scheme = KroneckerScheme(inverse)
    else:
        scheme = StaleFactorScheme(inverse, cg_limit(rows.n, objective.shape), exact_start=not begin.coef.any())
    return minimise(objective, begin, scheme, targets, tol=tol, max_iter=max_iter, progress=progress)
