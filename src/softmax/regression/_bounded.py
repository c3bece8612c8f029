r"""Fits with box and sign limits on the coefficients, and their certificate.

Limits tie the K coefficient sets of a feature to fixed places, so that these are not free to be centred and all K sets
are unknowns. Each iteration minimises the quadratic model of the objective over the box (`_box_model`) and steps there.

For rows q_i of the simplex with Σ π_i q_i = Σ π_i y_i where there is an intercept, Fenchel–Young as in `_certificate`
gives, with G(Q) = Σ π_i (q_i − y_i) x_iᵀ,

    f(W, b) − f*  ≤  Σ π_i KL(q_i ‖ p_i)  −  min { ⟨G(Q) + ΛW, D⟩ + ½ Σ_j λ_j ‖D_:j‖² :  W + D within the limits }.

The minimum is a sum over coefficients: with g the entry of G(Q) + ΛW, D = −g/λ_j cut to the limits, or, where λ_j = 0,
the limit that g points away from. Q is P, moved onto the constraint of the intercepts as `_certificate` explains. Where
λ_j = 0 and that limit is infinite the bound is too; such a fit stops on the decrease that the quadratic model promises,
an estimate.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import xlogy

from softmax._threads import number_of_threads

from ._box_model import Curvature, DenseCurvature, ModelStep, ProductCurvature, minimise_model
from ._objective import Evaluation, MultinomialObjective
from ._problem import Problem, Progress, Solution
from ._rows import Floats, rows_of
from ._threads import Workers

EPS = float(np.finfo(np.float64).eps)
# Up to this number of parameters the Hessian is assembled.
DENSE_LIMIT = 1600
# Multiplications of a pass from which on a pool of threads is worth its start.
POOL_FROM = 2e6
# While the gap falls this fast with an old Hessian, no new one is assembled.
QUICK = 0.2
MAX_STALLS = 3
SUFFICIENT_DECREASE = 1e-4
LENGTHS = 0.5 ** np.arange(1.0, 9.0)


@dataclass(frozen=True)
class TargetSums:
    """What the certificate has to know of the data, as weighted means over the rows: ȳ (K,), Ỹ = Σ π y x̃ᵀ (K, d), the
    features' mean and spread (d,), o (K,) and ⟨y, o⟩.
    """

    frequency: Floats
    centred: Floats
    mean: Floats
    spread: Floats
    offset: Floats
    own_offset: float


@dataclass(frozen=True)
class BoxCertificate:
    """`gap` ≥ f − f*, infinite where no bound exists; `grad_norm` of the projected gradient."""

    gap: float
    grad_norm: float


def certify_box(
    now: Evaluation, sums: TargetSums, ridge: Floats, low: Floats, high: Floats, intercept: bool
) -> BoxCertificate:
    """The certificate of an evaluated point whose coefficients lie within the limits."""
    loss, excess = now.loss, now.excess
    uncentred = now.gradient_sum + np.outer(excess, sums.mean) + ridge * now.coef
    projected = np.clip(now.coef - uncentred, low, high) - now.coef
    grad_norm = float(np.linalg.norm(projected))
    moved, repair = now.gradient_sum, 0.0
    if intercept:
        grad_norm = float(np.hypot(grad_norm, np.linalg.norm(excess)))
        present = sums.frequency > 0
        mean_probability = sums.frequency + excess
        with np.errstate(divide="ignore", invalid="ignore"):
            t = float(np.max(np.where(present, excess / mean_probability, 1.0), initial=0.0))
            t = min(1.0, t + 4 * EPS * min(1.0, float(loss / mean_probability.min())))
        r = np.maximum(mean_probability - excess / t, 0.0)
        r /= r.sum()
        mean_logits = now.coef @ sums.mean + now.intercept + sums.offset
        own = float(np.vdot(now.coef, sums.centred)) + sums.own_offset
        own += float(sums.frequency @ (now.coef @ sums.mean + now.intercept))
        repair = t * max(0.0, float(xlogy(r, r).sum()) + loss + own - float(r @ mean_logits))
        moved = (1 - t) * now.gradient_sum - t * sums.centred
    rounding = 4 * EPS * sums.spread * min(1.0, float(np.sqrt(2 * loss)))
    gradient = moved + ridge * now.coef
    falls = [_fall(gradient + sign * rounding, ridge, low - now.coef, high - now.coef) for sign in (-1.0, 1.0)]
    gap = float(np.maximum(*falls).sum()) + repair + 8 * EPS * now.value
    return BoxCertificate(gap if np.isfinite(gap) else np.inf, grad_norm)


def _fall(g: Floats, ridge: Floats, low: Floats, high: Floats) -> Floats:
    """−min { g·D + ½λD² : low ≤ D ≤ high }, entry by entry."""
    with np.errstate(divide="ignore", invalid="ignore"):
        D = np.where(ridge > 0, -g / ridge, np.where(g > 0, -np.inf, np.where(g < 0, np.inf, 0.0)))
    D = np.clip(D, low, high)
    with np.errstate(invalid="ignore"):
        values = -(g * D + 0.5 * ridge * np.where(ridge > 0, D, 0.0) ** 2)
    return np.where(np.isfinite(D), np.maximum(values, 0.0), np.inf)


def solve_bounded(
    problem: Problem,
    *,
    tol: float,
    max_iter: int,
    start: tuple[Floats, Floats] | None = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> Solution:
    """Fit within `problem.lower` and `problem.upper`; `start` is (coef, intercept) of an earlier fit."""
    n, d = problem.X.shape
    threads = number_of_threads(n_threads)
    pool = n_threads is not None or float(n) * d * problem.n_classes >= POOL_FROM
    # Workers(1): the BLAS of NumPy and that of SciPy would wait for work side by side, each with its own threads.
    with Workers(threads if pool else None) as workers, Workers(1 if pool else None):
        return _BoundedFit(problem, workers).run(tol, max_iter, start, progress)


class _BoundedFit:
    """One fit: the objective, the limits, the current point and the best one."""

    def __init__(self, problem: Problem, workers: Workers) -> None:
        n_classes, d = problem.n_classes, problem.X.shape[1]
        self.rows = rows_of(problem.X, problem.weights, n_classes, problem.intercept, workers)
        self.objective = MultinomialObjective(self.rows, problem)
        self.ridge = self.objective.ridge
        self.low = np.full((n_classes, d), -np.inf) if problem.lower is None else problem.lower
        self.high = np.full((n_classes, d), np.inf) if problem.upper is None else problem.upper
        free = (np.isinf(self.low) | np.isinf(self.high)).any(axis=0)
        self.estimated = bool((free & (self.ridge == 0)).any())
        self.cold = self._cold_point(problem)
        self.begin = self.objective.evaluate(self.cold)
        self.sums = self._target_sums(problem)
        self.dense = self.objective.shape[0] * self.objective.shape[1] <= DENSE_LIMIT
        self.products = None if self.dense else ProductCurvature(self.objective, self.rows.second_moment())
        self.assembled: DenseCurvature | None = None
        self.quick = False
        self.history: list[dict[str, Any]] = []
        self.stalls = 0

    def _cold_point(self, problem: Problem) -> Floats:
        """The point of the box nearest to 0, with the intercepts at the log frequencies."""
        coef = np.clip(np.zeros(self.low.shape), self.low, self.high)
        intercept = np.zeros(problem.n_classes)
        if problem.intercept:
            frequency = self.objective.frequency
            logs = np.log(np.maximum(frequency, 1e-3 / max(self.rows.n, 1)))
            return self.objective.joined(coef, logs - logs.mean())
        return self.objective.point_of(coef, intercept)

    def _target_sums(self, problem: Problem) -> TargetSums:
        """Σ π (p − y) x̃ᵀ with p the same for all rows, as at W = 0 without offsets, is −Σ π y x̃ᵀ."""
        plain = MultinomialObjective(self.rows, replace(problem, offset=None), memory=0)
        centred = -plain.evaluate(np.zeros(plain.shape)).gradient_sum
        offset, own = np.zeros(problem.n_classes), 0.0
        if problem.offset is not None:
            pi = np.full(self.rows.n, 1.0 / self.rows.n) if problem.weights is None else problem.weights
            pi = pi / pi.sum()
            offset = pi @ problem.offset
            if problem.probabilities is not None:
                own = float(pi @ (problem.probabilities * problem.offset).sum(axis=1))
            else:
                own = float(pi @ problem.offset[np.arange(self.rows.n), problem.labels])
        return TargetSums(self.objective.frequency, centred, self.rows.mean, self.rows.spread, offset, own)

    def run(
        self, tol: float, max_iter: int, start: tuple[Floats, Floats] | None, progress: Progress | None
    ) -> Solution:
        """Iterate until the gap is at most `tol` relative to the objective."""
        now = self._started(start)
        self.best = (now, np.inf, np.inf)
        if hasattr(progress, "current"):
            setattr(progress, "current", lambda: (now.coef, now.intercept))  # noqa: B010  a Progress need not
        iteration, reason, step, faces = 0, "iterations", 0.0, 0
        try:
            while True:
                gap, grad_norm, model = self._judge(now, tol)
                self._keep(now, gap, grad_norm)
                self._record(iteration, now, gap, grad_norm, step, faces)
                if progress is not None:
                    progress(iteration, self.rows.n_passes, now.value, gap)
                if gap <= tol * now.value:
                    reason = "certified"
                    break
                if self.stalls >= MAX_STALLS:
                    reason = "rounding"
                    break
                if iteration >= max_iter:
                    break
                iteration += 1
                model = self._model_step(now, tol, gap) if model is None else model
                faces = model.n_faces
                now, step = self._advance(now, model)
        except (KeyboardInterrupt, StopIteration):  # the latter from a callback
            reason = "interrupted"
        return self._solution(reason, iteration)

    def _started(self, start: tuple[Floats, Floats] | None) -> Evaluation:
        """The evaluated cold point, or the warm one cut to the limits where that is better."""
        if start is None:
            return self.begin
        coef = np.clip(start[0], self.low, self.high)
        # The logits at the mean stay as they were when limits cut coefficients off.
        intercept = start[1] + (start[0] - coef) @ self.rows.mean if self.objective.has_intercept else start[1]
        warm = self.objective.evaluate(self.objective.point_of(coef, intercept))
        return warm if warm.value < self.begin.value else self.objective.evaluate(self.cold)

    def _judge(self, now: Evaluation, tol: float) -> tuple[float, float, ModelStep | None]:
        """The gap, the norm of the projected gradient, and the model step where the gap is its estimate."""
        certificate = certify_box(now, self.sums, self.ridge, self.low, self.high, self.objective.has_intercept)
        if not self.estimated:
            return certificate.gap, certificate.grad_norm, None
        model = self._model_step(now, tol, np.inf)
        return model.decrease + 8 * EPS * now.value, certificate.grad_norm, model

    def _keep(self, now: Evaluation, gap: float, grad_norm: float) -> None:
        """Remember the best point, and count iterations that bring nothing."""
        best, best_gap, _ = self.best
        self.quick = gap <= QUICK * best_gap and np.isfinite(best_gap)
        better = gap < best_gap or now.value < best.value * (1 - 64 * EPS)
        self.stalls = 0 if better or not self.history else self.stalls + 1
        if better:
            self.best = (now, gap, grad_norm)

    def _record(self, iteration: int, now: Evaluation, gap: float, grad_norm: float, step: float, faces: int) -> None:
        at_limit = (self.low < self.high) & ((now.coef <= self.low) | (now.coef >= self.high))
        record: dict[str, Any] = {
            "iteration": iteration,
            "passes": self.rows.n_passes,
            "objective": now.value,
            "gap": gap,
            "grad_norm": grad_norm,
            "step": step,
            "faces": faces,
            "at_limit": int(at_limit.sum()),
        }
        if not self.history:
            size = self.objective.shape[0] * self.objective.shape[1]
            relation = "≤" if self.dense else ">"
            record |= {"solver": "bounded", "because": f"limits on coefficients; K·p = {size} {relation} {DENSE_LIMIT}"}
        self.history.append(record)

    def _model_step(self, now: Evaluation, tol: float, gap: float) -> ModelStep:
        """The minimum of the quadratic model over the box."""
        curvature: Curvature
        if self.products is None:
            if self.assembled is None or not self.quick:
                self.assembled = DenseCurvature(self.objective)
            curvature, accuracy, faces = self.assembled, 1e-4, 60
        else:
            self.products.refresh()
            curvature, accuracy, faces = self.products, 0.1, 12
        low, high = self.low - now.coef, self.high - now.coef
        if self.objective.has_intercept:
            free = np.full((len(low), 1), np.inf)
            low, high = np.hstack([low, -free]), np.hstack([high, free])
        return minimise_model(curvature, now.gradient.ravel(), low.ravel(), high.ravel(), accuracy, faces)

    def _advance(self, now: Evaluation, model: ModelStep) -> tuple[Evaluation, float]:
        """The evaluated point at the end of the step, or of the best shorter one."""
        objective = self.objective
        step = model.step.reshape(objective.shape)
        slope = float(np.vdot(now.gradient, step))
        slack = 8 * EPS * abs(now.value)
        new = objective.evaluate(self._within(now.point + step))
        if new.value <= now.value + SUFFICIENT_DECREASE * slope + slack:
            return new, 1.0
        scale = 1.0
        for _ in range(4):
            values, _slopes = objective.along(now.point, step, scale * LENGTHS)
            values = np.where(np.isfinite(values), values, np.inf)
            best = int(np.argmin(values))
            if values[best] < now.value + SUFFICIENT_DECREASE * scale * LENGTHS[best] * slope + slack:
                length = float(scale * LENGTHS[best])
                return objective.evaluate(self._within(now.point + length * step)), length
            scale *= float(LENGTHS[-1])
        return objective.evaluate(now.point), 0.0

    def _within(self, point: Floats) -> Floats:
        """The point with its coefficients cut to the limits: a sum of floats may end beyond them."""
        d = self.low.shape[1]
        point[:, :d] = np.clip(point[:, :d], self.low, self.high)
        return point

    def _solution(self, reason: str, n_iter: int) -> Solution:
        now, gap, grad_norm = self.best
        return Solution(
            coef=now.coef.copy(),
            intercept=now.intercept.copy(),
            objective=now.value,
            gap=gap,
            grad_norm=grad_norm,
            reason=reason,
            n_iter=n_iter,
            n_passes=self.rows.n_passes,
            estimated=self.estimated,
            history=self.history,
        )
