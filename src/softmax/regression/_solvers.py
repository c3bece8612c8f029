"""The solvers by name, the rule that chooses one, and the fit that runs it."""

from collections.abc import Callable

import numpy as np

from softmax._threads import number_of_threads

from ._certificate import Targets
from ._newton import Result, Scheme, minimise
from ._objective import MultinomialObjective
from ._preconditioners import FactoredHessian, KroneckerInverse, Preconditioner
from ._problem import Problem, Progress, Solution
from ._rows import Floats, rows_of
from ._threads import Workers

# Up to this number of parameters a factor of the whole Hessian costs less than the CG steps that it saves.
FACTOR_LIMIT = 3000
# Beyond this number of features their covariance is taken as diagonal: its eigenvectors would cost more than the fit.
COVARIANCE_LIMIT = 4096
# Up to this number of multiplications an assembly costs no more than the overhead of a few passes.
SMALL_ASSEMBLY = 2e7
SOLVERS = ("auto", "newton", "newton-cg")
# A safety net: the hardest data met so far took a tenth of it.
DEFAULT_MAX_ITER = 1000
# Below this estimated time of one pass, in nanoseconds, a pool of threads costs more than it saves.
POOL_FROM = 1e6


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
    problem: Problem,
    *,
    solver: str = "auto",
    tol: float,
    max_iter: int = DEFAULT_MAX_ITER,
    start: tuple[Floats, Floats] | None = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
    announce: Callable[[str, str], None] | None = None,
) -> Solution:
    """Fit; `start` is (coef, intercept) of an earlier fit, `n_threads` as in `number_of_threads`.

    `announce` is told the solver and the reason for it before the first iteration.
    """
    number_of_threads(n_threads)  # refuses what is no number, whether or not the fit is worth a pool
    if problem.lasso is not None:
        from ._proximal import solve_proximal

        return solve_proximal(problem, tol=tol, max_iter=max_iter, start=start, n_threads=n_threads, progress=progress)
    if problem.lower is not None:
        from ._bounded import solve_bounded

        return solve_bounded(problem, tol=tol, max_iter=max_iter, start=start, n_threads=n_threads, progress=progress)
    with workers_for(problem, n_threads) as workers:
        return solve_smooth(
            problem,
            workers,
            solver=solver,
            tol=tol,
            max_iter=max_iter,
            start=start,
            progress=progress,
            announce=announce,
        )


def workers_for(problem: Problem, n_threads: int | None) -> Workers:
    """The threads that the passes of a problem are worth."""
    n, d = problem.X.shape
    long_pass = n * problem.n_classes * (4.0 + d / 6.0) >= POOL_FROM
    return Workers(number_of_threads(n_threads) if long_pass or n_threads is not None else None)


def solve_smooth(
    problem: Problem,
    workers: Workers,
    *,
    solver: str,
    tol: float,
    max_iter: int,
    start: tuple[Floats, Floats] | None,
    progress: Progress | None,
    announce: Callable[[str, str], None] | None,
) -> Solution:
    """Newton's method for a problem without lasso and limits."""
    n_classes, intercept = problem.n_classes, problem.intercept
    chosen, because = choose_solver(solver, n_classes, problem.X.shape[1])
    if announce is not None:
        announce(chosen, because)
    rows = rows_of(problem.X, problem.weights, n_classes, intercept, workers)
    penalty = float(problem.ridge[0])
    objective = MultinomialObjective(rows, problem)
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
    if chosen == "newton-cg":
        scheme = KroneckerScheme(inverse)
    else:
        scheme = StaleFactorScheme(inverse, cg_limit(rows.n, objective.shape), exact_start=not begin.coef.any())
    result = minimise(objective, begin, scheme, targets, tol=tol, max_iter=max_iter, progress=progress)
    result.history[0] |= {"solver": chosen, "because": because}
    return _as_solution(result, rows.n_passes)


def _as_solution(result: Result, n_passes: int) -> Solution:
    """The part of a Newton run that callers see."""
    certificate = result.certificate
    return Solution(
        coef=result.evaluation.coef,
        intercept=result.evaluation.intercept,
        objective=certificate.objective,
        gap=certificate.gap,
        grad_norm=certificate.grad_norm,
        reason=result.reason,
        n_iter=result.n_iter,
        n_passes=n_passes,
        history=result.history,
    )
