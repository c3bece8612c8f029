"""Newton's method with conjugate gradients, stopped by the certificate.

One iteration: solve H·v = −∇f by preconditioned conjugate gradients (Hessian products, one pass each), take the step,
evaluate. What differs between the solvers is the preconditioner (`_schemes.py`). Steps are of unit length; where that
overshoots, one pass evaluates the objective and its slope at several lengths at once, the minimum of the cubic between
the two that bracket it is taken, and the steps that follow are damped (`_damping.py`). Where the objective still falls
steeply at the end of a unit step, as it does along directions in which classes are nearly separated and every step adds
one unit to the margins, longer ones are tried in the same way.

Where some feature has no penalty, no bound on the gap exists. There the gap is estimated by half the squared Newton
decrement, −½⟨∇f, v⟩.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ._certificate import Certificate, Targets, certify
from ._damping import Damping
from ._objective import Evaluation, MultinomialObjective
from ._preconditioners import Preconditioner, contrast_eigen
from ._problem import Progress
from ._rows import Floats
from ._slices import add_multiple, dot, multiply_and_add

EPS = float(np.finfo(np.float64).eps)

LENGTHS = np.array([0.0625, 0.125, 0.25, 0.5, 1.0])
LONGER = np.array([1.5, 2.5, 4.0, 8.0])
# The share of the slope left at the end of a unit step above which longer ones are tried: exp(−1) where margins grow.
STEEP = 0.3
SUFFICIENT_DECREASE = 1e-4
MAX_STALLS = 3
MAX_ZOOMS = 8
# Without a bound on the gap the direction also tells how far the optimum is, and is found at least so precisely.
ESTIMATE_FORCING = 0.1


class Scheme(Protocol):
    """Chooses the preconditioner of each iteration.

    `single` says that products may be taken in float32, `damped` that steps are to be damped, `forcing` to which share
    conjugate gradients reduce the residual.
    """

    single: bool
    damped: bool
    forcing: float

    def prepare(
        self, objective: MultinomialObjective, last_cg: int, damping: Damping
    ) -> tuple[Preconditioner, str, int]:
        """The preconditioner of the damped Hessian, a word on it for the history, and the number of CG steps after
        which to stop.

        0 stands for a preconditioner that is the inverse of the Hessian at the current point.
        """


@dataclass
class Result:
    """Where a run ended: the point, its certificate, why it ended, and one record per iteration."""

    evaluation: Evaluation
    certificate: Certificate
    reason: str
    n_iter: int
    direction: Floats | None = None
    history: list[dict[str, Any]] = field(default_factory=list)


class Run:
    """One minimisation from `now`, the last evaluation of `objective`, until the gap is at most `tol` relative to the
    objective.

    `targets` of None asks for estimates of the gap in place of bounds.
    """

    def __init__(
        self,
        objective: MultinomialObjective,
        now: Evaluation,
        scheme: Scheme,
        targets: Targets | None,
        *,
        tol: float,
        max_iter: int,
        progress: Progress | None = None,
    ) -> None:
        self.objective = objective
        self.now = now
        self.scheme = scheme
        self.targets = targets
        self.tol = tol
        self.max_iter = max_iter
        self.progress = progress
        self.history: list[dict[str, Any]] = []
        if hasattr(progress, "current"):
            setattr(progress, "current", lambda: (self.now.coef, self.now.intercept))  # noqa: B010  a Progress need not
        self.iteration, self.stalls, self.cg, self.step, self.note = 0, 0, 0, 0.0, "start"
        self.full_step = True
        self.damping = Damping(objective.rows.spread, objective.has_intercept)
        self.damped, self.promised = False, 0.0
        self.direction: Floats | None = None
        self.certificate = self._judge()
        self.best = (self.now, self.certificate)

    def minimise(self, until: int | None = None) -> Result:
        """Run, or go on, until the gap is small, `max_iter` or `until` iterations are taken, or rounding allows no more
        progress.

        `reason` of the result is "certified", "iterations", "rounding" or "interrupted".
        """
        limit = self.max_iter if until is None else min(until, self.max_iter)
        try:
            reason = self._loop(limit)
        except (KeyboardInterrupt, StopIteration):  # the latter from a callback
            reason = "interrupted"
        return Result(*self.best, reason, self.iteration, self.direction, self.history)

    def _loop(self, limit: int) -> str:
        while True:
            if self.targets is None:
                self._aim()
                self.certificate = self._judge()
                self._remember()
            self._record()
            if self.certificate.holds(self.tol):
                return "certified"
            if self.stalls >= MAX_STALLS:
                return "rounding"
            if self.iteration >= limit:
                return "iterations"
            self.iteration += 1
            if self.targets is not None:
                self._aim()
            assert self.direction is not None
            before = self.now.value
            self.now, self.step = advance(self.objective, self.now, self.direction, self.full_step)
            self.full_step = self.step >= 1.0 or self.scheme.damped
            if self.scheme.damped:
                # A fall that small drowns in rounding, and teaches nothing.
                tells = self.promised > 64 * EPS * before
                self.damping.learn(self.step, (before - self.now.value) / self.promised if tells else 1.0)
            if self.targets is not None:
                self.certificate = self._judge()
                self._remember()

    def _remember(self) -> None:
        """Keep the best point, and count the iterations that brought nothing."""
        best, certificate = self.best
        better = self.certificate.gap < certificate.gap
        # Less than 64 ε nats is rounding: of separated classes, without a penalty, it would fall for ever.
        falls = self.now.value < best.value * (1 - 4 * EPS) and best.value > 64 * EPS
        self.stalls = 0 if better or falls else self.stalls + 1
        if better or self.now.value < best.value * (1 - 64 * EPS):
            self.best = (self.now, self.certificate)

    def _aim(self) -> None:
        """The direction of the next step."""
        certificate = self.certificate
        intercepts_left = certificate.unmoved_gap <= 0.5 * self.tol * certificate.objective
        apart = self.objective.few_classes and self.note != "intercepts"
        if self.targets is not None and intercepts_left and self.stalls == 0 and apart:
            self.direction, self.cg, self.note = _intercept_step(self.objective, self.now), 0, "intercepts"
            self.promised = 0.0
            return
        # Where a step of the intercepts alone has not sufficed, or costs too much, both are solved for together.
        enough = _enough(self.objective, certificate, self.tol, jointly=not apart)
        damping = self.damping.row
        self.damped = damping is not None
        preconditioner, self.note, limit = self.scheme.prepare(self.objective, self.cg, self.damping)
        # Products only find a direction: float32 will do, until a short step or none at all says that it did not.
        self.objective.single = self.scheme.single and self.stalls == 0 and self.full_step
        forcing = self.scheme.forcing if self.targets is not None else min(self.scheme.forcing, ESTIMATE_FORCING)
        self.direction, residual, self.cg = conjugate_gradients(
            self.objective, self.now, preconditioner, limit, enough, damping, forcing
        )
        # −⟨∇f, v⟩ − ½⟨v, Hv⟩, where (H + damping)·v = −∇f − residual.
        pulled = residual - self.now.gradient
        if damping is not None:
            pulled += damping * self.direction
        self.promised = 0.5 * float(np.vdot(pulled, self.direction))

    def _judge(self) -> Certificate:
        """The certificate of the point evaluated last, or an estimate in its place."""
        now = self.now
        if self.targets is None:
            # A damped step is too short for an estimate.
            fall = np.inf
            if self.direction is not None and not self.damped:
                fall = max(0.0, -0.5 * float(np.vdot(now.gradient, self.direction)))
            return Certificate(now.value, fall, fall, float(np.linalg.norm(now.gradient)), 0.0, fall)
        return certify(
            coef=now.coef,
            intercept=now.intercept if self.objective.has_intercept else None,
            loss=now.loss,
            gradient_sum=now.gradient_sum,
            excess=now.excess,
            penalty=self.objective.ridge,
            targets=self.targets,
        )

    def _record(self) -> None:
        certificate, passes = self.certificate, self.objective.rows.n_passes
        self.history.append(
            {
                "iteration": self.iteration,
                "passes": passes,
                "objective": certificate.objective,
                "gap": certificate.gap,
                "grad_norm": certificate.grad_norm,
                "cg": self.cg,
                "step": self.step,
                "preconditioner": self.note,
            }
        )
        if self.progress is not None:
            self.progress(self.iteration, passes, certificate.objective, certificate.gap)


def _enough(
    objective: MultinomialObjective, certificate: Certificate, tol: float, *, jointly: bool
) -> Callable[[Floats], bool]:
    """Return a test of the residual of the Newton system: whether a gradient that small would be certified, once a step
    of the intercepts has followed, or, `jointly`, without one.
    """
    if not objective.ridge.all():
        return lambda residual: False
    target = 0.1 * tol * certificate.objective
    scale = 1.0 / np.sqrt(2 * objective.ridge)
    frequency = objective.frequency

    def enough(residual: Floats) -> bool:
        if not objective.has_intercept:
            return float(np.linalg.norm(residual * scale)) ** 2 <= target
        coefficients_do = float(np.linalg.norm(residual[:, :-1] * scale)) ** 2 <= target
        if not (coefficients_do and jointly):
            return coefficients_do
        # The repair of the intercepts costs about t·log K with t = max c_j / p̄_j.
        return bool(np.max(np.abs(residual[:, -1]) / frequency) * (1 + np.log(len(frequency))) <= target)

    return enough


def conjugate_gradients(
    objective: MultinomialObjective,
    at: Evaluation,
    preconditioner: Preconditioner,
    limit: int,
    enough: Callable[[Floats], bool],
    damping: Floats | None,
    forcing: float,
) -> tuple[Floats, Floats, int]:
    """An approximate Newton direction (K, p), what is left of the system, and the number of steps it took.

    A `limit` of 0 says that the preconditioner is the inverse itself: its image of the gradient is the direction.
    Otherwise stops when the residual has fallen by `forcing` in the norm of the preconditioner, when `enough` says so,
    or at `limit`.
    """
    residual = -at.gradient
    image = preconditioner.solve(residual)
    if limit == 0:
        return image, np.zeros_like(residual), 0
    solution = np.zeros_like(residual)
    direction = image
    workers = objective.rows.workers
    size = dot(workers, residual, image)
    goal = forcing**2 * size
    for step in range(1, limit + 1):
        curved = objective.hessian_product(direction)
        if damping is not None:
            curved += damping * direction
        curvature = dot(workers, direction, curved)
        if not curvature > 0.0:
            return (solution if step > 1 else direction), residual, step
        length = size / curvature
        add_multiple(workers, solution, length, direction)
        add_multiple(workers, residual, -length, curved)
        if enough(residual):
            return solution, residual, step
        image = preconditioner.solve(residual)
        new_size = dot(workers, residual, image)
        if not new_size > goal:
            return solution, residual, step
        multiply_and_add(workers, direction, new_size / size, image)
        size = new_size
    return solution, residual, limit


def _intercept_step(objective: MultinomialObjective, at: Evaluation) -> Floats:
    """Newton's step in the intercepts alone, from the probabilities at hand."""
    values, vectors = contrast_eigen(objective.class_covariance())
    shift = -vectors @ ((vectors.T @ at.excess) / values)
    return objective.joined(np.zeros(at.coef.shape), shift - shift.mean())


def advance(
    objective: MultinomialObjective, at: Evaluation, direction: Floats, full_step: bool
) -> tuple[Evaluation, float]:
    """The evaluated next point and the length of the step to it."""
    slope = float(np.vdot(at.gradient, direction))
    slack = 8 * EPS * abs(at.value)
    if full_step:
        new = objective.evaluate(at.point + direction)
        if new.value <= at.value + SUFFICIENT_DECREASE * slope + slack:
            if float(np.vdot(new.gradient, direction)) < STEEP * slope < -slack:
                return _lengthened(objective, at, direction, new)
            return new, 1.0
        del new  # four matrices of coefficients
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


def _lengthened(
    objective: MultinomialObjective, at: Evaluation, direction: Floats, unit: Evaluation
) -> tuple[Evaluation, float]:
    """The minimum over longer steps, where a unit step has ended on a steep slope."""
    values, slopes = objective.along(at.point, direction, LONGER)
    known = np.append(1.0, LONGER)
    values = np.append(unit.value, values)
    slopes = np.append(float(np.vdot(unit.gradient, direction)), slopes)
    safe, step = _bracketed_minimum(known, values, slopes)
    if step <= 1.0:
        return objective.evaluate(unit.point), 1.0
    new = objective.evaluate(at.point + step * direction)
    if new.value <= unit.value:
        return new, step
    return objective.evaluate(at.point + max(safe, 1.0) * direction), max(safe, 1.0)


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
