"""The solvers by name, the rule that chooses one, and the fit that runs it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from softmax._threads import number_of_threads

from ._certificate import Targets
from ._condition import Condition, condition_of
from ._duplicates import with_equal_rows_together
from ._newton import Result, Run, Scheme
from ._objective import Evaluation, MultinomialObjective
from ._preconditioners import KroneckerInverse
from ._problem import Problem, Progress, Solution
from ._rows import DenseRows, Floats, SparseRows, rows_of
from ._sampling import coarse_problem
from ._schemes import DiagonalScheme, KroneckerScheme, StaleFactorScheme
from ._threads import Workers

# Up to this number of parameters a factor of the whole Hessian costs less than the CG steps that it saves.
FACTOR_LIMIT = 3000
# Beyond this number of features their covariance is taken as diagonal: its eigenvectors would cost more than the fit.
COVARIANCE_LIMIT = 4096
# Nor does newton-cg take that of more than a few features where its eigenvectors, of so many multiplications times d³,
# cost more than so many passes.
FEW_FEATURES = 100
EIGEN_COST = 9.0
MANY_PASSES = 50.0
# Fits of at least so many rows start from the optimum of every eighth row, found to one part in a thousand.
COARSE_FROM = 10_000
COARSE_SHARE = 8
COARSE_ROWS_PER_FEATURE = 10
COARSE_TOL = 1e-3
COARSE_MAX_ITER = 60
# A fit without a bound that has not ended after so many iterations is suspected to have no finite optimum.
SUSPECT = 10
# The last Newton step of a fit with a finite optimum changes no difference of logits by more than this.
SMALL_MOVE = 0.25
SOLVERS = ("auto", "newton", "newton-cg")
# A column of this spread, relative to its mean, may be constant.
NEARLY_CONSTANT = 1e-8
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
    # Workers(1): the BLAS of NumPy and that of SciPy would wait for work side by side, each with its own threads.
    few = 1 if n_threads is not None and not _long_pass(problem) else n_threads
    with workers_for(problem, few) as workers, Workers(1 if workers.limited else None):
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
    pooled = n_threads is not None or _long_pass(problem)
    return Workers(number_of_threads(n_threads) if pooled else None)


def _long_pass(problem: Problem) -> bool:
    """Whether a pass takes so long that threads could shorten it."""
    n, d = problem.X.shape
    return bool(n * problem.n_classes * (4.0 + d / 6.0) >= POOL_FROM)


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
    problem = with_equal_rows_together(problem)
    rows = rows_of(problem.X, problem.weights, n_classes, intercept, workers)
    rows.flat |= _constant_columns(rows)
    objective = MultinomialObjective(rows, problem)
    costly = rows.d > FEW_FEATURES and EIGEN_COST * rows.d**3 > MANY_PASSES * 4.0 * rows.n * n_classes * rows.d
    full = rows.d <= COVARIANCE_LIMIT and objective.few_classes and not (costly and chosen == "newton-cg")
    covariance = rows.second_moment() if full else rows.spread**2
    inverse = KroneckerInverse(covariance, problem.ridge, intercept, rows.flat & (problem.ridge == 0), workers)
    cold = np.zeros(objective.shape)
    if intercept:
        logs = np.log(objective.frequency)
        cold[:, -1] = logs - logs.mean()
    begin = objective.evaluate(cold)
    estimated = not problem.ridge.all()
    targets = None if estimated else _targets(problem, objective, begin)
    start, before = (start, 0) if start is not None else _coarse_start(problem, objective, chosen)
    if start is not None:
        warm = objective.evaluate(objective.point_of(*start))
        begin = warm if warm.value < begin.value else objective.evaluate(cold)
    scheme: Scheme
    at_zero = not begin.coef.any() and problem.offset is None
    if chosen == "newton":
        scheme = StaleFactorScheme(inverse, objective, exact_start=at_zero)
    elif full:
        scheme = KroneckerScheme(inverse)
    else:
        scheme = DiagonalScheme(inverse, exact_start=at_zero)
    run = Run(objective, begin, scheme, targets, tol=tol, max_iter=max_iter, progress=progress)
    del begin, cold  # four matrices of coefficients, and one
    result = run.minimise(SUSPECT if estimated else None)
    decision: Any = None
    condition: Condition | None = None
    if estimated:
        result, decision = _finite_optimum(problem, run, result)
        condition = condition_of(run, result, inverse)
    result.history[0] |= {"solver": chosen, "because": because}
    certificate = result.certificate
    return Solution(
        coef=np.ascontiguousarray(result.evaluation.coef),
        intercept=result.evaluation.intercept,
        objective=certificate.objective,
        gap=certificate.gap,
        grad_norm=certificate.grad_norm,
        reason=result.reason,
        n_iter=result.n_iter,
        n_passes=rows.n_passes + before,
        estimated=estimated,
        direction=decision.separation.direction if result.reason == "separated" else None,
        decision=decision,
        condition=condition,
        history=result.history,
    )


def _constant_columns(rows: DenseRows | SparseRows) -> npt.NDArray[np.bool_]:
    """The columns that are constant, (d,): their mean carries the rounding of a long sum, so that their spread only
    tells which to look at.
    """
    constant: npt.NDArray[np.bool_] = rows.spread == 0.0
    near = np.flatnonzero(~constant & (rows.spread <= NEARLY_CONSTANT * np.abs(rows.mean)))
    for j in near:
        column = rows.X[:, [j]]
        constant[j] = column.max() == column.min()
    return constant


def _coarse_start(
    problem: Problem, objective: MultinomialObjective, solver: str
) -> tuple[tuple[Floats, Floats] | None, int]:
    """The optimum for a part of the rows, and what it cost in passes over all of them; (None, 0) for a short fit.

    Most Newton steps go into finding the scale of the coefficients, above all where rare classes are nearly separated;
    a few thousand rows tell it as well as all.
    """
    n, d = problem.X.shape
    few = n < COARSE_FROM or n < COARSE_SHARE * COARSE_ROWS_PER_FEATURE * d
    if solver != "newton" or few or not problem.ridge.all():
        return None, 0
    coarse = coarse_problem(problem, objective.row_scores()[1], COARSE_SHARE, COARSE_ROWS_PER_FEATURE * d)
    if 2 * coarse.X.shape[0] > n:
        return None, 0
    solution = solve_smooth(
        coarse,
        objective.rows.workers,
        solver=solver,
        tol=COARSE_TOL,
        max_iter=COARSE_MAX_ITER,
        start=None,
        progress=None,
        announce=None,
    )
    return (solution.coef, solution.intercept), round(solution.n_passes * coarse.X.shape[0] / n)


def _targets(problem: Problem, objective: MultinomialObjective, cold: Evaluation) -> Targets:
    """The sums over the rows that the certificate needs; `cold` is the evaluation at W = 0."""
    rows = objective.rows
    if problem.offset is None:
        # Σ π (p − y) x̃ with p the same for all rows, as at W = 0, is −Σ π y x̃.
        return Targets(objective.frequency, -cold.gradient_sum, rows.mean, rows.spread)
    plain = MultinomialObjective(rows, replace(problem, offset=None), memory=0)
    centred = -plain.evaluate(np.zeros(plain.shape)).gradient_sum
    pi = np.full(rows.n, 1.0 / rows.n) if problem.weights is None else problem.weights / rows.total_weight
    if problem.probabilities is not None:
        own = np.einsum("ik,ik->i", problem.probabilities, problem.offset)
    else:
        own = problem.offset[np.arange(rows.n), problem.labels]
    return Targets(objective.frequency, centred, rows.mean, rows.spread, pi @ problem.offset, float(pi @ own))


def _finite_optimum(problem: Problem, run: Run, result: Result) -> tuple[Result, Any]:
    """Go on with a fit without a bound, once it is known whether it has a finite optimum; and the `Decision` on that.

    Where classes are separated, every Newton step adds about one unit to the logits of some row, however small the
    decrement has become; near a finite optimum the steps in the logits shrink with it. So a fit that ended with small
    steps has an optimum, and any other is judged by `decide_separation`. Where that leaves the matter open, the fit
    goes on; should it end with large steps, its decrement means nothing, and its reason is "undecided".
    """
    if result.reason == "certified" and _largest_move(run) <= SMALL_MOVE:
        return result, None
    if result.reason == "interrupted":
        return result, None
    from ._separation import decide_separation

    at = result.evaluation
    decision = decide_separation(problem, (at.coef, at.intercept), n_threads=run.objective.rows.workers.n_threads)
    if decision.verdict == "separated":
        result.reason = "separated"
        return result, decision
    if result.reason == "iterations" and result.n_iter < run.max_iter:
        result = run.minimise()
    if decision.verdict == "undecided" and result.reason in ("certified", "rounding"):
        small = result.certificate.gap <= result.certificate.objective and _largest_move(run) <= SMALL_MOVE
        result.reason = result.reason if small else "undecided"
    return result, decision


def _largest_move(run: Run) -> float:
    """The largest change of a difference of logits in the last direction, over the rows."""
    rows, direction = run.objective.rows, run.direction
    if direction is None:
        return np.inf
    largest = 0.0
    for block in rows.blocks():
        x = rows.centred(block)
        u = x @ direction[:, : rows.d].T
        if run.objective.has_intercept:
            u += direction[:, -1]
        largest = max(largest, float(np.ptp(u, axis=1).max()))
    return largest
