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
    """Kronecker first (exact at the start), then a factor of the Hessian, assembled anew only when CG became slow with
    the old one.
    """

    def __init__(self, inverse: KroneckerInverse, limit: int) -> None:
        self._first: KroneckerInverse | None = inverse
        self._limit = limit
        self._factor: FactoredHessian | None = None

    def prepare(self, objective: MultinomialObjective, last_cg: int) -> tuple[Preconditioner, str, int]:
        """Keep the factor while CG is quick."""
        if self._first is not None and last_cg < self._limit:
            self._first.update(objective.class_covariance())
            return self._first, "kronecker", self._limit
        self._first = None
        if self._factor is None or last_cg >= self._limit:
            self._factor = FactoredHessian(objective)
            return self._factor, "fresh factor", self._limit
        return self._factor, "factor", self._limit


def cg_limit(shape: tuple[int, int]) -> int:
    """CG steps after which a new factor is worth its assembly, which costs about K·p / 50 Hessian products."""
    return int(np.clip(shape[0] * shape[1] // 50, 2, 8))


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
    scheme: Scheme = (
        KroneckerScheme(inverse) if solver == "newton-cg" else StaleFactorScheme(inverse, cg_limit(objective.shape))
    )
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
    return minimise(objective, begin, scheme, targets, tol=tol, max_iter=max_iter, progress=progress)
