"""Fits of one set of rows at many strengths of the L2 penalty, each from what the others have learnt.

The optimum is a smooth function of log C, so that polynomials through the last few optima predict the next one to a few
digits. What is left is done by a quasi-Newton method whose every step costs one pass over X, the evaluation of a point,
which is a certificate at the same time:

* The direction is that of L-BFGS (Nocedal and Wright, Numerical Optimization, algorithm 7.4) on a preconditioner.
  Curvature is that of the loss alone, so that pairs (step, change of the gradient) serve at every λ; from one C to the
  next they are scaled by the trace of the class covariance, the part of the curvature that changes most.
* The preconditioner is a factor of the Hessian, assembled at some earlier C and factored for the λ at hand, where it is
  small, and a Kronecker product with shared eigenvectors of the features otherwise.
* A point is evaluated at the end of the step. Near the optimum the gradient is linear along it, so the minimum on the
  line and the gradient there are known without an evaluation, and the next direction starts from there: exact line
  searches that cost nothing.
* What the certificate charges for intercepts that are off their optimum is large; so the last step is Newton's in the
  intercepts alone.

Each dual value is a lower bound of the same optimum, so the gap is the lowest objective minus the highest dual value.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ._certificate import Certificate, certify
from ._objective import Evaluation, MultinomialObjective
from ._preconditioners import Preconditioner, contrast_eigen
from ._problem import Problem, Progress, Solution
from ._rows import DenseRows, Floats, SparseRows, rows_of
from ._solvers import COVARIANCE_LIMIT, _targets
from ._stale import Shared, SharedCovariance, Snapshot, sampled_covariance
from ._threads import Workers

# Pairs that L-BFGS remembers, over all C, and the numbers they may hold.
PAIRS = 60
PAIR_NUMBERS = 2e7
# Up to this number of parameters a factor of the whole Hessian is kept; it is made anew for each λ, so that beyond the
# second number it must cost no more than some tens of passes: size² ≤ this times n.
FACTOR_LIMIT, FACTOR_ALWAYS, FACTOR_ROWS = 3000, 500, 400
# Optima that a prediction uses at most.
LONGEST_PREDICTION = 4
# Evaluations of one fit, after which it is left to the general solver.
MAX_EVALUATIONS = 80
# The share of the gap that the coefficients may cause when the intercepts get their turn.
COEFFICIENT_SHARE = 0.9
# Between these lengths a line is trusted to be a parabola.
PARABOLA = (0.05, 3.0)
# A step that multiplies the objective by this is shortened by this factor, down to this length.
OVERSHOT, SHRINK, SHORTEST = 2.0, 0.2, 1e-3
# Of one fit: steps that overshoot before the curvature is taken anew, and before the fit is left to the general solver.
OVERSHOOTS = (2, 5)
# Passes of a fit that are taken for granted: more of them count towards a new Hessian.
USUAL_PASSES = 3
# Down to this tolerance steps are found by passes in float32, where these are bound by their matrix products.
SINGLE_TOL = 1e-7
# The softmax of an element costs as much as so many multiplications of a matrix product.
SOFTMAX_COST = 20.0

Pair = tuple[Floats, Floats, float]


class Track:
    """Points at values of log C, and the one that they predict at another: a polynomial through the last few."""

    def __init__(self) -> None:
        self._at: list[float] = []
        self._points: list[Floats] = []

    def add(self, log_c: float, point: Floats) -> None:
        """Remember an optimum."""
        keep = LONGEST_PREDICTION + 1
        self._at, self._points = [*self._at, log_c][-keep:], [*self._points, point][-keep:]

    def predict(self, log_c: float) -> Floats | None:
        """The polynomial of the degree that would have predicted the last point best."""
        if not self._at:
            return None
        errors = [
            float(np.linalg.norm(self._through(self._at[-1], -1 - order, -1) - self._points[-1]))
            for order in range(1, len(self._at))
        ]
        order = 1 + int(np.argmin(errors)) if errors else 1
        return self._through(log_c, -order, None)

    def _through(self, log_c: float, first: int, last: int | None) -> Floats:
        at, points = self._at[first:last], self._points[first:last]
        total = np.zeros_like(points[0])
        for i, (own, point) in enumerate(zip(at, points, strict=True)):
            others = [x for j, x in enumerate(at) if j != i]
            total += float(np.prod([(log_c - x) / (own - x) for x in others])) * point
        return total


class Follower:
    """Fits `problem` at one C after another; its ridge is the penalty at C = 1, > 0 in every feature.

    With a `shared` that holds what a follower of all rows has learnt this one belongs to a part of them, and only reads
    it; an empty one it fills. `copies` says for how many followers a Hessian that is assembled here will serve.
    """

    def __init__(self, problem: Problem, workers: Workers, shared: Shared | None = None, *, copies: int = 1) -> None:
        self.problem = problem
        self.rows: DenseRows | SparseRows = rows_of(
            problem.X, problem.weights, problem.n_classes, problem.intercept, workers
        )
        objective = MultinomialObjective(self.rows, problem)
        self.shared = Shared() if shared is None else shared
        self.owner = not self.shared.optima
        self.copies = copies
        self.size = objective.shape[0] * objective.shape[1]
        self.factors = self.size <= FACTOR_LIMIT and (
            self.size <= FACTOR_ALWAYS or self.size**2 <= FACTOR_ROWS * self.rows.n
        )
        self.single = not self.factors and self.rows.allows_single
        self.cold = np.zeros(objective.shape)
        if problem.intercept:
            logs = np.log(objective.frequency)
            self.cold[:, -1] = logs - logs.mean()
        self.targets = _targets(problem, objective, objective.evaluate(self.cold))
        # One pass at the speed of products, and what an assembly costs in such passes: it runs at thrice the speed.
        one_pass = self.rows.n * objective.n_classes * (4.0 * objective.shape[1] + SOFTMAX_COST)
        self.assembly = self.rows.n * float(self.size) ** 2 / (3.0 * one_pass)
        self.strength = float(np.mean(problem.ridge))
        if self.shared.features is None:
            moment = self.rows.second_moment() if self.rows.d <= COVARIANCE_LIMIT else self.rows.spread**2
            self.shared.features = SharedCovariance(moment, problem.ridge / self.strength)
        self.pairs: list[tuple[Floats, Floats]] = []
        self.most_pairs = int(np.clip(PAIR_NUMBERS // (2 * self.size), 5, PAIRS))
        self.trace = 0.0
        self.spent = 0
        self.last_count = 0
        self.own: Snapshot | None = None
        self.best: tuple[Floats, Floats] | None = None
        self._track = Track()

    def fit(self, C: float, *, tol: float, progress: Progress | None = None) -> Solution | None:
        """The optimum at C, or None where this way does not lead to it: then `best` is where to go on from."""
        passes = self.rows.n_passes
        fit = _Fit(self, C, tol)
        certified = fit.run(progress)
        best, found = fit.best_of_all()
        self.best = (best.coef, best.intercept)
        self.last_count = fit.count
        self.spent += max(0, fit.count - USUAL_PASSES)
        if not certified:
            return None
        self._remember(C, fit.objective, best)
        if self.owner and fit.covariance is not None:
            self.shared.keep_covariance(C, fit.covariance)
        return Solution(
            coef=np.ascontiguousarray(best.coef),
            intercept=best.intercept,
            objective=found.objective,
            gap=fit.gap,
            grad_norm=found.grad_norm,
            reason="certified",
            n_iter=fit.count,
            n_passes=self.rows.n_passes - passes,
            history=fit.history,
        )

    def adopt(self, C: float, solution: Solution) -> None:
        """Remember an optimum that another solver found."""
        objective = MultinomialObjective(self.rows, self.problem)
        self._remember(C, objective, objective.evaluate(objective.point_of(solution.coef, solution.intercept)))

    def start(self, C: float, objective: MultinomialObjective) -> Floats:
        """What the optima so far predict, on top of the optimum of all rows where there is one."""
        base = self._reference(C, objective)
        step = self._track.predict(float(np.log(C)))
        if base is None:
            return self.cold if step is None else step
        return base if step is None else base + step

    def _reference(self, C: float, objective: MultinomialObjective) -> Floats | None:
        if self.owner or C not in self.shared.optima:
            return None
        return objective.point_of(*self.shared.optima[C])

    def _remember(self, C: float, objective: MultinomialObjective, at: Evaluation) -> None:
        base = self._reference(C, objective)
        self._track.add(float(np.log(C)), at.point if base is None else at.point - base)
        if self.owner:
            self.shared.optima[C] = (at.coef, at.intercept)

    def snapshot(self, C: float) -> Snapshot | None:
        """The Hessian to precondition with."""
        if not self.factors:
            return None
        return self.own if self.own is not None else self.shared.snapshot(C)

    def take_snapshot(self, C: float, snapshot: Snapshot) -> None:
        """Use a new Hessian from now on; pairs that corrected the old one go."""
        if self.owner:
            self.shared.keep_snapshot(C, snapshot)
        else:
            self.own = snapshot
        self.pairs, self.spent = [], 0

    def new_hessian_pays(self, count: int) -> bool:
        """Whether the passes beyond the usual, of this fit and those before, have cost as much as a Hessian."""
        return bool(self.copies * (self.spent + max(0, count - USUAL_PASSES)) >= self.assembly)


class _Fit:
    """One fit of a `Follower`.

    `point` and `gradient` are where the model stands, evaluated or not; `lowest` the lowest evaluation in any
    precision, `best` in float64, with its certificate; `dual` the highest dual value, in float64.
    """

    def __init__(self, follower: Follower, C: float, tol: float) -> None:
        self.follower = follower
        self.C = C
        self.tol = tol
        self.ridge = follower.problem.ridge / C
        self.objective = MultinomialObjective(follower.rows, replace(follower.problem, ridge=self.ridge))
        self.single = follower.single and tol >= SINGLE_TOL
        self.best: Evaluation | None = None
        self.certificate: Certificate | None = None
        self.dual = -np.inf
        self.covariance: Floats | None = None
        self.preconditioner: Preconditioner | None = None
        self.pairs: list[Pair] = []
        self.count = self.overshoots = 0
        self.history: list[dict[str, Any]] = []
        self._first_pass = follower.rows.n_passes
        # Where the last fit was over at its start, so may be this one: then it must be in float64.
        at = self._evaluate(follower.start(C, self.objective), exact=follower.last_count == 0)
        if not np.isfinite(at.value):
            at = self._evaluate(follower.cold)
        self.lowest = at
        self.point, self.gradient = at.point, at.gradient
        self._see(at)
        self._record(0.0, "start", None)

    @property
    def gap(self) -> float:
        """Of `best`."""
        return np.inf if self.certificate is None else max(self.certificate.objective - self.dual, 0.0)

    @property
    def certified(self) -> bool:
        """Whether `best` is close enough."""
        return self.certificate is not None and self.gap <= self.tol * self.certificate.objective

    def run(self, progress: Progress | None) -> bool:
        """Step until certified, or until this way leads nowhere."""
        follower, fresh = self.follower, False
        while not self.certified:
            if self.count >= MAX_EVALUATIONS or self.overshoots >= OVERSHOOTS[1]:
                return False
            self.count += 1
            if follower.factors and not fresh:
                fresh = self.overshoots >= OVERSHOOTS[0] or follower.new_hessian_pays(self.count)
                if fresh:
                    self._assemble()
            self._step(progress)
        return True

    def best_of_all(self) -> tuple[Evaluation, Certificate]:
        """The best point in float64."""
        if self.best is None or self.certificate is None or self.lowest.value < 0.999 * self.best.value:
            self._see(self._evaluate(self.lowest.point))
        assert self.best is not None
        assert self.certificate is not None
        return self.best, self.certificate

    def _step(self, progress: Progress | None) -> None:
        intercepts = self._coefficients_suffice()
        if intercepts:
            direction = self._intercept_step()
        else:
            if self.preconditioner is None:
                self._prepare()
                assert self.preconditioner is not None
            direction = -_two_loops(self.gradient, self.pairs, self.preconditioner)
        self._record(self._advance(direction, intercepts), "intercepts" if intercepts else "stale", progress)

    # Evaluations.

    def _evaluate(self, point: Floats, *, exact: bool = True) -> Evaluation:
        self.objective.single_evaluate = self.single and not exact
        return self.objective.evaluate(point)

    def _certify(self, at: Evaluation) -> Certificate:
        if self.objective.has_intercept and not np.all(self.objective.frequency + at.excess > 0.0):
            # A step so long that a class has lost all probability says nothing of the optimum.
            return Certificate(at.value, np.inf, np.inf, float(np.linalg.norm(at.gradient)), 1.0, np.inf)
        return certify(
            coef=at.coef,
            intercept=at.intercept if self.objective.has_intercept else None,
            loss=at.loss,
            gradient_sum=at.gradient_sum,
            excess=at.excess,
            penalty=self.ridge,
            targets=self.follower.targets,
        )

    def _see(self, at: Evaluation) -> None:
        """Judge the evaluation made last; one in float32 that looks good enough is repeated in float64."""
        if at.value < self.lowest.value:
            self.lowest = at
        certificate = self._certify(at)
        if self.objective.single_evaluate:
            if not certificate.holds(self.tol):
                return
            at = self._evaluate(at.point)
            certificate = self._certify(at)
        self.dual = max(self.dual, certificate.objective - certificate.gap)
        if self.certificate is None or certificate.objective < self.certificate.objective:
            self.best, self.certificate = at, certificate

    def _record(self, step: float, note: str, progress: Progress | None) -> None:
        passes = self.follower.rows.n_passes - self._first_pass
        certificate = self.certificate or self._certify(self.lowest)
        gap = certificate.gap if self.certificate is None else self.gap
        self.history.append(
            {
                "iteration": self.count,
                "passes": passes,
                "objective": certificate.objective,
                "gap": gap,
                "grad_norm": certificate.grad_norm,
                "cg": 0,
                "step": step,
                "preconditioner": note,
            }
        )
        if progress is not None:
            progress(self.count, passes, certificate.objective, gap)

    # Directions.

    def _coefficients_suffice(self) -> bool:
        """Whether the gradient in the coefficients, as the model has it, is small enough for the certificate."""
        if not self.objective.has_intercept:
            return False
        gap = 0.5 * float(np.sum(self.gradient[:, :-1] ** 2 / self.ridge))
        return gap <= COEFFICIENT_SHARE * self.tol * self.lowest.value

    def _intercept_step(self) -> Floats:
        """Newton's step in the intercepts alone, from the probabilities at hand."""
        self.covariance = self.objective.class_covariance()
        values, vectors = contrast_eigen(self.covariance)
        direction = np.zeros_like(self.point)
        direction[:, -1] = -vectors @ ((vectors.T @ self.gradient[:, -1]) / values)
        return direction

    def _prepare(self) -> None:
        """Choose the preconditioner, and give the pairs this λ."""
        follower = self.follower
        lent = None if follower.owner else follower.shared.covariances.get(self.C)
        self.covariance = sampled_covariance(self.objective) if lent is None else lent
        trace = float(np.trace(self.covariance))
        if follower.trace > 0.0:
            follower.pairs = [(step, trace / follower.trace * change) for step, change in follower.pairs]
        follower.trace = trace
        self.pairs = [_with_penalty(step, change, self.ridge) for step, change in follower.pairs]
        snapshot = follower.snapshot(self.C)
        if snapshot is not None:
            self.preconditioner = snapshot.factor(self.ridge, trace / snapshot.trace)
            return
        assert follower.shared.features is not None
        strength, intercept = follower.strength / self.C, self.objective.has_intercept
        self.preconditioner = follower.shared.features.inverse(self.covariance, strength, intercept)

    def _assemble(self) -> None:
        """Take the Hessian at the lowest point, and go on from there."""
        at = self._evaluate(self.lowest.point)
        trace = float(np.trace(sampled_covariance(self.objective)))
        self.follower.take_snapshot(self.C, Snapshot(self.objective, trace))
        self.preconditioner = None
        self.point, self.gradient = at.point, at.gradient

    # Steps.

    def _advance(self, direction: Floats, intercepts: bool) -> float:
        """Evaluate the end of the step, learn from it, and move the model's point to the minimum on the line.

        Returns the length of the step.
        """
        length = 1.0
        new = self._evaluate(self.point + direction, exact=intercepts)
        while not new.value <= OVERSHOT * self.lowest.value and length > SHORTEST:
            length *= SHRINK
            new = self._evaluate(self.point + length * direction, exact=intercepts)
        self.overshoots += length < 1.0
        if not np.isfinite(new.value):
            return 0.0
        self._see(new)
        step, change = new.point - self.point, new.gradient - self.gradient
        curvature = self._learn(step, change)
        best = -float(np.vdot(self.gradient, step)) / curvature if curvature > 0.0 else 1.0
        if not intercepts and PARABOLA[0] < best < PARABOLA[1] and abs(best - 1.0) > 0.1:
            self.point = self.point + best * step
            self.gradient = self.gradient + best * change
            return length * best
        self.point, self.gradient = new.point, new.gradient
        return length

    def _learn(self, step: Floats, change: Floats) -> float:
        """Keep a pair; returns its curvature."""
        d = len(self.ridge)
        curvature = float(np.vdot(step, change))
        loss_change = change.copy()
        loss_change[:, :d] -= self.ridge * step[:, :d]
        if float(np.vdot(step, loss_change)) > 0.0 < curvature:
            most, pairs = self.follower.most_pairs, self.follower.pairs
            pairs.append((step, loss_change))
            self.pairs.append((step, change, 1.0 / curvature))
            del pairs[:-most], self.pairs[:-most]
        return curvature


def _with_penalty(step: Floats, change: Floats, ridge: Floats) -> Pair:
    """A pair of the loss as one of the objective, with the inverse of its curvature."""
    full = change.copy()
    full[:, : len(ridge)] += ridge * step[:, : len(ridge)]
    return step, full, 1.0 / float(np.vdot(step, full))


def _two_loops(gradient: Floats, pairs: Sequence[Pair], preconditioner: Preconditioner) -> Floats:
    """The L-BFGS inverse of the Hessian, built on the preconditioner, times the gradient."""
    rest = gradient.copy()
    shares = []
    for step, change, inverse in reversed(pairs):
        share = inverse * float(np.vdot(step, rest))
        rest -= share * change
        shares.append(share)
    result = preconditioner.solve(rest)
    for (step, change, inverse), share in zip(pairs, reversed(shares), strict=True):
        result += (share - inverse * float(np.vdot(change, result))) * step
    return result


def can_follow(problem: Problem) -> bool:
    """Whether a problem is one that a `Follower` fits: smooth, with a penalty on every feature."""
    return problem.smooth and bool(np.all((problem.ridge > 0.0) & np.isfinite(problem.ridge)))
