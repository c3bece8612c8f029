"""Fits with a lasso penalty: absolute values, with or without squares, or a norm per feature; one, or a path of them.

Each is a run of proximal Newton steps on a working set (`_proximal_fit`), certified by a duality gap. The penalties of
a path start from one another's solutions, and from the sequential strong rule, which leaves out features that at the
next penalty are all but sure to have no coefficient; the pass over all features at the end makes it sure. A single fit
goes through a few larger penalties for the same reason.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse

from softmax._errors import OptionError
from softmax._threads import number_of_threads

from ._certificate import EPS
from ._problem import Problem, Progress, Solution
from ._proximal_fit import Keys, Level, Point, ProximalFit
from ._rows import Floats
from ._threads import Workers

DEFAULT_MAX_ITER = 1000
# A cold fit goes through penalties that fall by this factor, each solved to this relative gap.
CONTINUATION = 0.2
COARSE = 1e-2
POOL_FROM = 1e6
# The most that one coordinate may move a logit in one step, at first.
RADIUS = 2.0
# Of the gap that is asked for, the share that the working set alone may have before all features are looked at.
SHARE = 0.5
# Steps that bring next to nothing, after which rounding is held to be the reason.
MAX_STALLS = 4
# No violation can be told from rounding below this, in units of the penalty.
FINEST = 1e-13


class _Descent:
    """The steps at one level of the penalties."""

    def __init__(self, fit: ProximalFit, level: Level, previous: Level | None, tol: float, progress: Any) -> None:
        self.fit = fit
        self.level = level
        self.tol = tol
        self.progress = progress
        self.first_pass = fit.n_passes
        # Without a gradient from another level, all that is known is the support.
        unknown = np.full(fit.d, np.inf)
        threshold = unknown if previous is None else np.maximum(2 * level.lasso - previous.lasso, 0.0)
        self.iteration = 0
        self.history: list[dict[str, Any]] = []
        self.damping, self.radius, self.eta, self.step = 0.0, RADIUS, 0.1, 1.0
        self.stalls, self.best, self.lowest = 0, np.inf, np.inf
        self.intercept, self.gap, self.grad_norm = fit.constant, np.inf, np.inf
        self.point = self._point(fit.keys(threshold, level, fit.support()))
        if hasattr(progress, "current"):
            setattr(progress, "current", self._current)  # noqa: B010  a Progress need not

    def _point(self, keys: Keys) -> Point:
        ws = self.fit.working_set(self.level, keys)
        return self.fit.point(ws, self.fit.evaluate(ws))

    def _current(self) -> tuple[Floats, Floats]:
        """Coefficients and intercept where the fit stands."""
        self.fit.commit(self.point.ws)
        return self.fit.coef.copy(), self.fit.rounded_constant(self.point.ws)

    def run(self, max_iter: int) -> Solution:
        """Step until the gap is small enough, or `max_iter` steps are taken, or rounding allows no more progress."""
        try:
            reason = self._loop(max_iter)
        except (KeyboardInterrupt, StopIteration):  # the latter from a callback
            self.progress = None
            self._judge()
            reason = "certified" if self._holds() else "interrupted"
        fit, level = self.fit, self.level
        return Solution(
            coef=fit.coef.copy(),
            intercept=self.intercept,
            objective=self.point.objective,
            gap=self.gap,
            grad_norm=self.grad_norm,
            reason=reason,
            n_iter=self.iteration,
            n_passes=fit.n_passes - self.first_pass,
            estimated=bool(np.any((level.lasso == 0) & (level.ridge == 0))),
            history=self.history,
        )

    def _holds(self) -> bool:
        return self.gap <= self.tol * self.point.objective

    def _loop(self, max_iter: int) -> str:
        while True:
            gap = self.fit.restricted_gap(self.point)
            self._count_stalls(gap)
            last = self.iteration >= max_iter or self.stalls >= MAX_STALLS
            if gap <= SHARE * self.tol * self.point.objective or last:
                new = self._judge()
                if self._holds():
                    return "certified"
                if self.iteration >= max_iter:
                    return "iterations"
                if len(new):
                    self.point = self._point(np.union1d(self.point.ws.keys, new))
                    self.stalls, self.best = 0, np.inf
                elif self.stalls >= MAX_STALLS:
                    return "rounding"
                else:
                    self.stalls += 1
                    self.eta *= 0.1
            else:
                self._record(gap, "working set")
            self._step()

    def _count_stalls(self, gap: float) -> None:
        """Steps in a row that lowered neither the gap nor the objective."""
        objective = self.point.objective
        progress = gap < 0.9 * self.best or objective < self.lowest * (1 - 64 * EPS)
        self.stalls = 0 if progress else self.stalls + 1
        self.best, self.lowest = min(self.best, gap), min(self.lowest, objective)

    def _step(self) -> None:
        """One step, and what it teaches about the next."""
        point = self.point
        self.iteration += 1
        share = self.tol * point.objective
        # A violation of ε·μ costs ε times the penalty in the gap.
        goal = max(0.2 * share / max(point.ws.penalty(point.ws.coef), share), FINEST)
        self.point, self.step = self.fit.step(point, self.damping, self.radius, self.eta, goal)
        short = self.step < 0.25
        self.damping = max(4 * self.damping, 1e-3) if short else (self.damping / 4 if self.damping > 1e-4 else 0.0)
        self.radius = 0.25 * self.radius if self.step < 1.0 else min(2 * self.radius, RADIUS)

    def _judge(self) -> Keys:
        """The certificate at the coefficients as they would be returned; gives the coordinates that have to come in."""
        fit, ws = self.fit, self.point.ws
        self.intercept = fit.rounded_constant(ws)
        self.point = fit.point(ws, fit.evaluate(ws))
        fit.commit(ws)
        self.gap, self.grad_norm, new = fit.certificate(self.point, self.level)
        self._record(self.gap, "all features")
        return new

    def _record(self, gap: float, scope: str) -> None:
        """Keep a record, and tell who asked; gaps of a working set are no bounds, and say so."""
        passes = self.fit.n_passes - self.first_pass
        self.history.append(
            {
                "iteration": self.iteration,
                "passes": passes,
                "objective": self.point.objective,
                "gap": gap,
                "scope": scope,
                "coordinates": len(self.point.ws),
                "step": self.step,
            }
        )
        if self.progress is not None:
            self.progress(self.iteration, passes, self.point.objective, gap)


def _level(problem: Problem, factor: float) -> Level:
    lasso = np.zeros(problem.X.shape[1]) if problem.lasso is None else np.asarray(problem.lasso, dtype=np.float64)
    return Level(factor, factor * problem.ridge, factor * lasso)


def _largest_factor(fit: ProximalFit) -> float:
    """The smallest factor of the penalties at which no coefficient with a lasso penalty is left; `gradient` there."""
    problem, level = fit.problem, _level(fit.problem, 1.0)
    keys = np.union1d(fit.of_features(np.flatnonzero(level.lasso == 0)), fit.support())
    ws = fit.working_set(level, keys)
    point = fit.point(ws, fit.evaluate(ws))
    for _ in range(100):
        if fit.restricted_gap(point) <= 1e-10 * point.objective:
            break
        point, step = fit.step(point, 0.0, RADIUS, 0.01, FINEST)
        if step == 0.0:
            break
    fit.commit(ws)
    fit.certificate(point, level)
    penalised = level.lasso > 0
    size = np.sqrt(np.square(fit.gradient).sum(axis=0)) if problem.grouped else np.abs(fit.gradient).max(axis=0)
    return float(np.max(size[penalised] / level.lasso[penalised], initial=0.0))


def _workers(problem: Problem, n_threads: int | None) -> Workers:
    n, d = problem.X.shape
    entries = problem.X.nnz if scipy.sparse.issparse(problem.X) else n * d
    long_pass = problem.n_classes * (4.0 * n + entries / 6.0) >= POOL_FROM
    return Workers(number_of_threads(n_threads) if long_pass or n_threads is not None else None)


def _refuse(problem: Problem) -> None:
    if problem.grouped and problem.lower is not None:
        raise OptionError(
            "bounds cannot be combined with grouped=True: a norm per feature and limits per coefficient are not solved "
            "together. Leave out one of the two."
        )


def solve_proximal(
    problem: Problem,
    *,
    tol: float,
    max_iter: int | None = None,
    start: tuple[Floats, Floats] | None = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> Solution:
    """Fit `problem` until its relative duality gap is at most `tol`.

    Without a `start` (coef, intercept) the fit passes through a few larger penalties, each solved roughly.
    """
    _refuse(problem)
    max_iter = DEFAULT_MAX_ITER if max_iter is None else max_iter
    target, previous, n_iter = _level(problem, 1.0), None, 0
    with _workers(problem, n_threads) as workers:
        fit = ProximalFit(problem, workers)
        fit.start(*(start or ()))
        interrupted = False
        if start is None:
            previous = _level(problem, _largest_factor(fit))
            while previous.factor * CONTINUATION > 1.0 and not interrupted and n_iter < max_iter:
                level = _level(problem, previous.factor * CONTINUATION)
                rough = _Descent(fit, level, previous, max(tol, COARSE), progress).run(max_iter - n_iter)
                interrupted, n_iter, previous = rough.reason == "interrupted", n_iter + rough.n_iter, level
        solution = _Descent(fit, target, previous, tol, progress).run(0 if interrupted else max_iter - n_iter)
        reason = "interrupted" if interrupted and solution.reason == "iterations" else solution.reason
        return replace(solution, n_iter=n_iter + solution.n_iter, n_passes=fit.n_passes, reason=reason)


def proximal_path(
    problem: Problem,
    factors: Iterable[float],
    *,
    tol: float,
    max_iter: int | None = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Solution]:
    """The solutions for the penalties of `problem` times each of `factors`, which should fall, one by one.

    Each starts from the one before it; what they share is prepared once. A solution is made when it is asked for: the
    coefficients of all of them together can be much larger than the data. An interrupted one is the last.
    """
    _refuse(problem)
    max_iter = DEFAULT_MAX_ITER if max_iter is None else max_iter
    with _workers(problem, n_threads) as workers:
        fit = ProximalFit(problem, workers)
        fit.start()
        previous = _level(problem, _largest_factor(fit))
        for factor in factors:
            level = _level(problem, factor)
            solution = _Descent(fit, level, previous, tol, progress).run(max_iter)
            yield solution
            if solution.reason == "interrupted":
                return
            previous = level


def maximal_penalty(problem: Problem, *, n_threads: int | None = None) -> float:
    """The smallest factor of the penalties of `problem` at which every coefficient with a lasso penalty is 0.

    Features without lasso keep their coefficients, and their ridge as it is.
    """
    _refuse(problem)
    with _workers(problem, n_threads) as workers:
        fit = ProximalFit(problem, workers)
        fit.start()
        return _largest_factor(fit)
