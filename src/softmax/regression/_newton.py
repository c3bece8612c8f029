"""Newton's method with conjugate gradients, stopped by the certificate.

One iteration: solve H·v = −∇f by preconditioned conjugate gradients (Hessian products, one pass each), take the step,
evaluate. What differs between the solvers is the preconditioner (`_solvers.py`). Steps are of unit length; where that
overshoots, one pass evaluates the objective and its slope at several lengths at once, and the minimum of the cubic
between the two that bracket it is taken.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ._certificate import Certificate, Targets, certify
from ._objective import Evaluation, MultinomialObjective
from ._preconditioners import Preconditioner, contrast_eigen
from ._problem import Progress
from ._rows import Floats

EPS = float(np.finfo(np.float64).eps)

LENGTHS = np.array([0.0625, 0.125, 0.25, 0.5, 1.0])
SUFFICIENT_DECREASE = 1e-4
MAX_STALLS = 3
MAX_ZOOMS = 8


class Scheme(Protocol):
    """Chooses the preconditioner of each iteration."""

    def prepare(self, objective: MultinomialObjective, last_cg: int) -> tuple[Preconditioner, str, int]:
        """The preconditioner, a word on it for the history, and the number of CG steps after which to stop.

        0 stands for a preconditioner that is the inverse of the Hessian at the current point.
        """


@dataclass
class Result:
    """Where a run ended: the point, its certificate, why it ended, and one record per iteration."""

    evaluation: Evaluation
    certificate: Certificate
    reason: str
    n_iter: int
    history: list[dict[str, Any]] = field(default_factory=list)


def minimise(
    objective: MultinomialObjective,
    now: Evaluation,
    scheme: Scheme,
    targets: Targets,
    *,
    tol: float,
    max_iter: int,
    progress: Progress | None = None,
) -> Result:
    """Minimise from `now`, the last evaluation of `objective`, until the certified gap is at most `tol` relative to the
    objective.

    `reason` of the result is "certified", "iterations" or "rounding" (float64 allows no more progress).
    """
    certificate = _certificate(objective, now, targets)
    best = (now, certificate)
    history: list[dict[str, Any]] = []
    full_step, stalls, cg, step, note = True, 0, 0, 0.0, "start"
    reason, iteration = "iterations", 0
    while True:
        history.append(
            {
                "iteration": iteration,
                "passes": objective.rows.n_passes,
                "objective": certificate.objective,
                "gap": certificate.gap,
                "grad_norm": certificate.grad_norm,
                "cg": cg,
                "step": step,
                "preconditioner": note,
            }
        )
        if progress is not None:
            progress(iteration, objective.rows.n_passes, certificate.objective, certificate.gap)
        if certificate.holds(tol):
            reason = "certified"
            break
        if stalls >= MAX_STALLS:
            reason = "rounding"
            break
        if iteration >= max_iter:
            break
        iteration += 1
        if certificate.coefficient_gap <= 0.5 * tol * certificate.objective and stalls == 0:
            direction, cg, note = _intercept_step(objective, now), 0, "intercepts"
        else:
            preconditioner, note, limit = scheme.prepare(objective, cg)
            direction, cg = conjugate_gradients(
                objective, now, preconditioner, limit, _enough(objective, certificate, tol)
            )
        now, step = _advance(objective, now, direction, full_step)
        full_step = step == 1.0
        certificate = _certificate(objective, now, targets)
        stalls = stalls + 1 if certificate.gap >= best[1].gap and now.value >= best[0].value * (1 - 4 * EPS) else 0
        if certificate.gap < best[1].gap or now.value < best[0].value * (1 - 64 * EPS):
            best = (now, certificate)
    return Result(best[0], best[1], reason, iteration, history)


def _certificate(objective: MultinomialObjective, at: Evaluation, targets: Targets) -> Certificate:
    """The certificate of an evaluated point."""
    return certify(
        coef=at.coef,
        intercept=at.intercept if objective.has_intercept else None,
        loss=at.loss,
        gradient_sum=at.gradient_sum,
        excess=at.excess,
        penalty=objective.penalty,
        targets=targets,
    )


def _enough(objective: MultinomialObjective, certificate: Certificate, tol: float) -> Callable[[Floats], bool]:
    """Return a test of the residual of the Newton system: whether a gradient that small would be certified."""
    target = 0.1 * tol * certificate.objective
    bound = np.sqrt(2 * objective.penalty * target)
    frequency = objective.frequency

    def enough(residual: Floats) -> bool:
        if not objective.has_intercept:
            return bool(np.linalg.norm(residual) <= bound)
        coefficients_do = np.linalg.norm(residual[:, :-1]) <= bound
        # The repair of the intercepts costs about t·log K with t = max c_j / p̄_j.
        return bool(
            coefficients_do and np.max(np.abs(residual[:, -1]) / frequency) * (1 + np.log(len(frequency))) <= target
        )

    return enough


def conjugate_gradients(
    objective: MultinomialObjective,
    at: Evaluation,
    preconditioner: Preconditioner,
    limit: int,
    enough: Callable[[Floats], bool],
    forcing: float = 0.1,
) -> tuple[Floats, int]:
    """An approximate Newton direction (K, p), and the number of steps it took.

    A `limit` of 0 says that the preconditioner is the inverse itself: its image of the gradient is the direction.
    Otherwise stops when the residual has fallen by `forcing` in the norm of the preconditioner, when `enough` says so,
    or at `limit`.
    """
    residual = -at.gradient
    solution = np.zeros_like(residual)
    image = preconditioner.solve(residual)
    if limit == 0:
        return image, 0
    direction = image
    size = float(np.vdot(residual, image))
    goal = forcing**2 * size
    for step in range(1, limit + 1):
        curved = objective.hessian_product(direction)
        curvature = float(np.vdot(direction, curved))
        if not curvature > 0.0:
            return (solution if step > 1 else direction), step
        length = size / curvature
        solution = solution + length * direction
        residual = residual - length * curved
        if enough(residual):
            return solution, step
        image = preconditioner.solve(residual)
        new_size = float(np.vdot(residual, image))
        if not new_size > goal:
            return solution, step
        direction = image + (new_size / size) * direction
        size = new_size
    return solution, limit


def _intercept_step(objective: MultinomialObjective, at: Evaluation) -> Floats:
    """Newton's step in the intercepts alone, from the probabilities at hand."""
    values, vectors = contrast_eigen(objective.class_covariance())
    shift = -vectors @ ((vectors.T @ at.excess) / values)
    return objective.joined(np.zeros(at.coef.shape), shift - shift.mean())


def _advance(
    objective: MultinomialObjective, at: Evaluation, direction: Floats, full_step: bool
) -> tuple[Evaluation, float]:
    """The evaluated next point and the length of the step to it."""
    slope = float(np.vdot(at.gradient, direction))
    slack = 8 * EPS * abs(at.value)
    if full_step:
        new = objective.evaluate(at.point + direction)
        if new.value <= at.value + SUFFICIENT_DECREASE * slope + slack:
            return new, 1.0
    scale = 1.0
    for _ in range(MAX_ZOOMS):
        steps = scale * LENGTHS
        values, slopes = objective.along(at.point, direction, steps)
        safe, step = _bracketed_minimum(steps, values, slopes)
        if safe > 0.0:
            new = objective.evaluate(at.point + step * direction)
            if step == safe or new.value <= at.value + SUFFICIENT_DECREASE * step * slope + slack:
                return new, step
            return objective.evaluate(at.point + safe * direction), safe
        scale *= LENGTHS[0]
    return objective.evaluate(at.point), 0.0


def _bracketed_minimum(steps: Floats, values: Floats, slopes: Floats) -> tuple[float, float]:
    """Two lengths for a convex function known at `steps` (increasing): the last on the way down, and a guess of the
    minimum.

    Both are 0.0 where the function rises from the first length on.
    """
    falling = (slopes < 0.0) & np.isfinite(values)
    n_falling = len(steps) if falling.all() else int(np.argmin(falling))
    if n_falling == 0:
        return 0.0, 0.0
    safe = float(steps[n_falling - 1])
    if n_falling == len(steps) or not (np.isfinite(values[n_falling]) and np.isfinite(slopes[n_falling])):
        return safe, safe
    left, right = n_falling - 1, n_falling
    width = float(steps[right] - steps[left])
    # Minimum of the cubic through both values and slopes (Nocedal and Wright, Numerical Optimization, eq. 3.59).
    first = slopes[left] + slopes[right] - 3 * (values[right] - values[left]) / width
    root = np.sqrt(max(first**2 - slopes[left] * slopes[right], 0.0))
    denominator = slopes[right] - slopes[left] + 2 * root
    fraction = (slopes[right] + root - first) / denominator if denominator > 0 else 0.5
    return safe, float(steps[right] - width * np.clip(fraction, 0.0, 1.0))
