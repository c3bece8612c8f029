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
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg

from ._certificate import Certificate, Targets, certify
from ._objective import Evaluation, MultinomialObjective
from ._preconditioners import Preconditioner, contrast_eigen
from ._problem import Problem, Progress, Solution
from ._rows import DenseRows, Floats, SparseRows, rows_of
from ._threads import Workers

# Pairs that L-BFGS remembers, over all C, and the numbers they may hold.
PAIRS = 60
PAIR_NUMBERS = 2e7
# Up to this number of parameters a factor of the whole Hessian is kept.
FACTOR_LIMIT = 3000
# Beyond this number of features their covariance is taken as diagonal.
COVARIANCE_LIMIT = 4096
# Optima that a prediction uses at most.
LONGEST_PREDICTION = 4
# Evaluations of one fit, after which it is left to the general solver.
MAX_EVALUATIONS = 80
# The share of the gap that the coefficients may cause when the intercepts get their turn.
COEFFICIENT_SHARE = 0.9
# Between these lengths a line is trusted to be a parabola.
PARABOLA = (0.05, 3.0)


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


class SharedCovariance:
    """(M ⊗ Σ + I ⊗ diag λ)⁻¹ for any M (K, K) and any multiple of one vector λ: Σ is diagonalised once.

    With D = diag(v)^−½ for λ = λ₀ v and D Σ D = U diag(s) Uᵀ the inverse is D U (m_k s + λ₀)⁻¹ Uᵀ D in the eigenvectors
    of M.
    """

    def __init__(self, covariance: Floats, shape_of_ridge: Floats) -> None:
        self._root = 1.0 / np.sqrt(shape_of_ridge)
        self._vectors: Floats | None = None
        if covariance.ndim == 2:
            values, self._vectors = scipy.linalg.eigh(covariance * np.outer(self._root, self._root), check_finite=False)
        else:
            values = covariance * self._root**2
        self._values: Floats = np.maximum(values, 0.0)

    def inverse(self, class_covariance: Floats, strength: float, intercept: bool) -> "KroneckerSolve":
        """The inverse for M and λ₀."""
        values, vectors = contrast_eigen(class_covariance)
        scale = np.outer(values, self._values) + strength
        return KroneckerSolve(vectors, values, scale, self._vectors, self._root, intercept)


@dataclass(frozen=True)
class KroneckerSolve:
    """One inverse of `SharedCovariance`."""

    class_vectors: Floats
    class_values: Floats
    scale: Floats
    vectors: Floats | None
    root: Floats
    intercept: bool

    def solve(self, residual: Floats) -> Floats:
        """Apply it to a (K, p) matrix whose columns sum to 0 over the classes."""
        rotated = self.class_vectors.T @ residual
        inner = (rotated[:, :-1] if self.intercept else rotated) * self.root
        inner = inner / self.scale if self.vectors is None else ((inner @ self.vectors) / self.scale) @ self.vectors.T
        inner *= self.root
        if self.intercept:
            inner = np.column_stack([inner, rotated[:, -1] / self.class_values])
        solution: Floats = self.class_vectors @ inner
        return solution


class Snapshot:
    """The Hessian of the loss at some point, in the contrasts to one class; factored for any λ."""

    def __init__(self, objective: MultinomialObjective) -> None:
        self._reference = int(np.argmax(objective.frequency))
        self._hessian = objective.reduced_hessian(self._reference)
        self._shape = objective.shape
        self._intercept = objective.has_intercept
        self.trace = float(np.trace(objective.class_covariance()))

    def factor(self, ridge: Floats, scale: float) -> "FactorSolve":
        """The inverse of scale · H + diag λ; ‖W‖² is ‖A‖² − ‖Σ_k A_k‖² / K in the contrasts A."""
        n_classes, width = self._shape
        matrix = scale * self._hessian
        penalty = np.append(ridge, 0.0) if self._intercept else ridge
        for k in range(n_classes - 1):
            for other in range(k + 1):
                block = matrix[k * width : (k + 1) * width, other * width : (other + 1) * width]
                block[np.diag_indices(width)] += penalty * (float(k == other) - 1.0 / n_classes)
        return FactorSolve(lifted_cholesky(matrix), self._reference)


@dataclass(frozen=True)
class FactorSolve:
    """The inverse that a Cholesky factor in contrasts to class `reference` stands for."""

    factor: Floats
    reference: int

    def solve(self, residual: Floats) -> Floats:
        """Apply it to a (K, p) matrix whose columns sum to 0 over the classes."""
        right = np.delete(residual, self.reference, axis=0)
        contrasts = scipy.linalg.cho_solve((self.factor, True), right.ravel(), check_finite=False)
        solution: Floats = np.insert(contrasts.reshape(right.shape), self.reference, 0.0, axis=0)
        solution -= solution.mean(axis=0)
        return solution


def lifted_cholesky(matrix: Floats) -> Floats:
    """The lower factor; what rounding has made indefinite gets a growing part of its diagonal (it only
    preconditions).
    """
    diagonal = np.diag(matrix).copy()
    floor = max(float(diagonal.max()), 1e-300) * np.finfo(np.float64).eps
    for power in range(-14, 1):
        try:
            factor: Floats = scipy.linalg.cholesky(matrix, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            np.fill_diagonal(matrix, diagonal + 10.0**power * np.maximum(diagonal, floor))
        else:
            return factor
    return np.asfortranarray(np.diag(np.sqrt(np.maximum(diagonal, floor))))


@dataclass
class Shared:
    """What followers of the same features and classes lend each other: rows differ, curvature hardly does."""

    covariance: SharedCovariance | None = None
    # (log C from which on it serves, snapshot), rising; followers that come later only read.
    snapshots: list[tuple[float, Snapshot]] = field(default_factory=list)
    # Optima by C, coordinates of X: (coef, intercept).
    optima: dict[float, tuple[Floats, Floats]] = field(default_factory=dict)

    def snapshot(self, log_c: float) -> Snapshot | None:
        """The last that began at this C or before."""
        return next((s for start, s in reversed(self.snapshots) if start <= log_c), None)


@dataclass
class _State:
    """Where one fit stands: the lowest point with its certificate, the highest dual value, the model's point."""

    best: Evaluation
    certificate: Certificate
    dual: float
    point: Floats
    gradient: Floats

    @property
    def gap(self) -> float:
        return max(self.certificate.objective - self.dual, 0.0)

    def holds(self, tol: float) -> bool:
        return self.gap <= tol * self.certificate.objective

    def see(self, at: Evaluation, certificate: Certificate) -> None:
        self.dual = max(self.dual, certificate.objective - certificate.gap)
        if certificate.objective < self.certificate.objective:
            self.best, self.certificate = at, certificate


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
        self.objective = MultinomialObjective(self.rows, problem)
        self.shared = Shared() if shared is None else shared
        self.owner = not self.shared.optima
        self.copies = copies
        self.size = self.objective.shape[0] * self.objective.shape[1]
        self.factors = self.size <= FACTOR_LIMIT
        self._cold = np.zeros(self.objective.shape)
        if problem.intercept:
            logs = np.log(self.objective.frequency)
            self._cold[:, -1] = logs - logs.mean()
        at = self.objective.evaluate(self._cold)
        # Σ π (p − y) x̃ with p the same for all rows, as at W = 0, is −Σ π y x̃.
        self._targets = Targets(self.objective.frequency, -at.gradient_sum, self.rows.mean, self.rows.spread)
        self._scale = float(np.mean(problem.ridge))
        if self.shared.covariance is None:
            moment = self.rows.second_moment() if self.rows.d <= COVARIANCE_LIMIT else self.rows.spread**2
            self.shared.covariance = SharedCovariance(moment, problem.ridge / self._scale)
        self._track = Track()
        self._pairs: list[tuple[Floats, Floats]] = []
        self._most = int(np.clip(PAIR_NUMBERS // (2 * self.size), 5, PAIRS))
        self._trace = 0.0
        self._excess = 0.0

    # Starting points.

    def _start(self, C: float) -> Floats:
        """What the optima so far predict, on top of the optimum of all rows where there is one."""
        base = self._reference(C)
        step = self._track.predict(np.log(C))
        if base is None:
            return self._cold if step is None else step
        return base if step is None else base + step

    def _reference(self, C: float) -> Floats | None:
        if self.owner or C not in self.shared.optima:
            return None
        return self.objective.point_of(*self.shared.optima[C])

    def _remember(self, C: float, at: Evaluation) -> None:
        base = self._reference(C)
        self._track.add(float(np.log(C)), at.point if base is None else at.point - base)
        if self.owner:
            self.shared.optima[C] = (at.coef, at.intercept)

    # One fit.

    def fit(self, C: float, *, tol: float, progress: Progress | None = None) -> Solution | None:
        """The optimum at C, or None where it was not certified in `MAX_EVALUATIONS` passes: then `best` is where to go
        on from.
        """
        passes = self.rows.n_passes
        ridge = self.problem.ridge / C
        objective = self.objective = MultinomialObjective(self.rows, replace(self.problem, ridge=ridge))
        at = objective.evaluate(self._start(C))
        if not np.isfinite(at.value):
            at = objective.evaluate(self._cold)
        certificate = self._certificate(at)
        state = _State(at, certificate, certificate.objective - certificate.gap, at.point, at.gradient)
        history = [self._record(0, passes, state, 0.0, "start")]
        preconditioner: Preconditioner | None = None
        pairs: list[tuple[Floats, Floats, float]] = []
        count = 0
        while not state.holds(tol) and count < MAX_EVALUATIONS:
            count += 1
            only_intercept = self._coefficients_suffice(state, tol)
            if only_intercept:
                direction = self._intercept_step(state)
            else:
                if preconditioner is None:
                    preconditioner, pairs = self._prepare(C, ridge)
                direction = -_two_loops(state.gradient, pairs, preconditioner)
            step = self._advance(state, direction, ridge, pairs, only_intercept)
            history.append(self._record(count, passes, state, step, "intercepts" if only_intercept else "stale"))
            if progress is not None:
                progress(count, self.rows.n_passes - passes, state.certificate.objective, state.gap)
        self.best = (state.best.coef, state.best.intercept)
        self._excess += max(0, count - 3)
        if not state.holds(tol):
            return None
        self._trace = float(np.trace(objective.class_covariance()))
        self._remember(C, state.best)
        found = state.certificate
        return Solution(
            coef=state.best.coef,
            intercept=state.best.intercept,
            objective=found.objective,
            gap=state.gap,
            grad_norm=found.grad_norm,
            reason="certified",
            n_iter=count,
            n_passes=self.rows.n_passes - passes,
            history=history,
        )

    def adopt(self, C: float, solution: Solution) -> None:
        """Remember an optimum that another solver found."""
        at = self.objective.evaluate(self.objective.point_of(solution.coef, solution.intercept))
        self._trace = float(np.trace(self.objective.class_covariance()))
        self._remember(C, at)

    def _certificate(self, at: Evaluation) -> Certificate:
        objective = self.objective
        return certify(
            coef=at.coef,
            intercept=at.intercept if objective.has_intercept else None,
            loss=at.loss,
            gradient_sum=at.gradient_sum,
            excess=at.excess,
            penalty=objective.penalty,
            targets=self._targets,
        )

    def _record(self, iteration: int, passes: int, state: _State, step: float, note: str) -> dict[str, Any]:
        return {
            "iteration": iteration,
            "passes": self.rows.n_passes - passes,
            "objective": state.certificate.objective,
            "gap": state.gap,
            "grad_norm": state.certificate.grad_norm,
            "cg": 0,
            "step": step,
            "preconditioner": note,
        }

    def _coefficients_suffice(self, state: _State, tol: float) -> bool:
        """Whether the gradient in the coefficients, as the model has it, is small enough for the certificate."""
        if not self.objective.has_intercept:
            return False
        gap = 0.5 * float(np.sum(state.gradient[:, :-1] ** 2 / self.objective.ridge))
        return gap <= COEFFICIENT_SHARE * tol * state.certificate.objective

    def _intercept_step(self, state: _State) -> Floats:
        """Newton's step in the intercepts alone, from the probabilities at hand."""
        values, vectors = contrast_eigen(self.objective.class_covariance())
        direction = np.zeros_like(state.point)
        direction[:, -1] = -vectors @ ((vectors.T @ state.gradient[:, -1]) / values)
        return direction

    def _prepare(self, C: float, ridge: Floats) -> tuple[Preconditioner, list[tuple[Floats, Floats, float]]]:
        """The preconditioner for the point evaluated last, and the pairs for its λ."""
        objective, log_c = self.objective, float(np.log(C))
        covariance = objective.class_covariance()
        trace = float(np.trace(covariance))
        if self._trace > 0.0:
            ratio = trace / self._trace
            self._pairs = [(s, ratio * y) for s, y in self._pairs]
        self._trace = trace
        pairs = [_with_penalty(s, y, ridge) for s, y in self._pairs]
        if self.factors and self.owner and self._excess * self.copies >= self._assembly_cost():
            self.shared.snapshots.append((log_c, Snapshot(objective)))
            self._pairs, pairs, self._excess = [], [], 0.0
        snapshot = self.shared.snapshot(log_c) if self.factors else None
        if snapshot is not None:
            return snapshot.factor(ridge, trace / snapshot.trace), pairs
        assert self.shared.covariance is not None
        strength = self._scale / C
        return self.shared.covariance.inverse(covariance, strength, objective.has_intercept), pairs

    def _assembly_cost(self) -> float:
        """The cost of a Hessian in passes, roughly: its product runs at thrice the speed."""
        return float(self.size**2 / (3.0 * (4.0 * self.size + 20.0 * self.objective.n_classes)))

    def _advance(
        self,
        state: _State,
        direction: Floats,
        ridge: Floats,
        pairs: list[tuple[Floats, Floats, float]],
        only_intercept: bool,
    ) -> float:
        """Evaluate the end of the step, learn from it, and move the model's point to the minimum on the line."""
        length = 1.0
        new = self.objective.evaluate(state.point + direction)
        while not new.value <= 2.0 * state.certificate.objective and length > 1e-6:
            length *= 0.25
            new = self.objective.evaluate(state.point + length * direction)
        if not np.isfinite(new.value):
            return 0.0
        state.see(new, self._certificate(new))
        step, change = new.point - state.point, new.gradient - state.gradient
        curvature = float(np.vdot(step, change))
        loss_change = change.copy()
        loss_change[:, : len(ridge)] -= ridge * step[:, : len(ridge)]
        if float(np.vdot(step, loss_change)) > 0.0 < curvature:
            self._pairs.append((step, loss_change))
            pairs.append((step, change, 1.0 / curvature))
            del self._pairs[: -self._most], pairs[: -self._most]
        best = -float(np.vdot(state.gradient, step)) / curvature if curvature > 0.0 else 1.0
        if not only_intercept and PARABOLA[0] < best < PARABOLA[1] and abs(best - 1.0) > 0.1:
            state.point = state.point + best * step
            state.gradient = state.gradient + best * change
            return length * best
        state.point, state.gradient = new.point, new.gradient
        return length


def _with_penalty(step: Floats, change: Floats, ridge: Floats) -> tuple[Floats, Floats, float]:
    """A pair of the loss as one of the objective, with the inverse of its curvature."""
    full = change.copy()
    full[:, : len(ridge)] += ridge * step[:, : len(ridge)]
    return step, full, 1.0 / float(np.vdot(step, full))


def _two_loops(
    gradient: Floats, pairs: Sequence[tuple[Floats, Floats, float]], preconditioner: Preconditioner
) -> Floats:
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
    """Whether a problem is one that a `Follower` fits: smooth, every feature penalised by a multiple of one number."""
    ridge: npt.NDArray[Any] = problem.ridge
    return problem.smooth and bool(np.all(ridge == ridge[0])) and ridge[0] > 0.0 and np.isfinite(ridge[0])
