"""How well the coefficients of a fit without a bound are determined: the condition of its Hessian, estimated.

Half the squared Newton decrement is the gap to the optimum only as far as the Newton system can be solved, and
coefficients that satisfy ∇f = 0 to rounding are the optimum only to about ε · condition. What is estimated is

    condition = λ_max(A) / λ_min(A),      A = S⁻¹ H S⁻¹      on contrasts (columns that sum to 0 over the classes)

where H is the Hessian in the coefficients of centred columns, intercepts included, and S = diag √(variance_j + λ_j),
1 for an intercept: the units of X do not matter.

Both ends are Ritz values: extreme eigenvalues of A in a subspace that grows by two vectors with each pass over X, the
residual at the upper end as in Lanczos's method and the preconditioned residual at the lower one as in Davidson's. They
lie inside the spectrum, so that the estimate errs downwards. A residual of `CLOSE` times its value bounds the distance
to an eigenvalue by as much.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from ._newton import Result, Run
from ._objective import MultinomialObjective
from ._preconditioners import KroneckerInverse, Preconditioner
from ._rows import Floats

EPS = float(np.finfo(np.float64).eps)

# Beyond this a fit warns: of 16 digits, 10 are lost.
LARGE = 1e10
# Ratios that rounding cannot tell from infinity.
SINGULAR = 1.0 / (64 * EPS)
CLOSE = 0.3
# A residual may be small at an inner eigenvalue too: both ends have to stay where they are, to this share, for a step.
SETTLED = 0.1
MIN_STEPS = 5
MAX_STEPS = 30
# Numbers of all vectors together.
MEMORY = 1 << 27
# Applications of the preconditioner before the first pass.
WARM_UP = 6
# Columns and classes with at least this share of the weakest direction are named, and no more than so many.
SHARE = 0.3
NAMED = 4


@dataclass(frozen=True)
class Condition:
    """`value` ≥ 1, inf where A is singular to rounding; the columns of X (d for the intercepts) and the classes that
    the direction of least curvature consists of, the most important first.
    """

    value: float
    columns: tuple[int, ...]
    classes: tuple[int, ...]
    n_features: int

    @property
    def large(self) -> bool:
        """Whether a fit should warn."""
        return self.value > LARGE

    def message(self, features: list[str] | None = None, classes: list[str] | None = None) -> str:
        """What a user should know, and what to do; names instead of indices where they are given."""

        def column(j: int) -> str:
            if j == self.n_features:
                return "the intercepts"
            return f"column {j}" if features is None else f"column {j} ({features[j]})"

        groups = ", ".join(str(k) if classes is None else classes[k] for k in self.classes)
        where = f"{' and '.join(map(column, self.columns))} in class{'es' * (len(self.classes) > 1)} {groups}"
        if np.isinf(self.value):
            said = f"not determined along one direction, mostly {where}: the Hessian is singular to rounding"
        else:
            said = (
                f"ill determined: about {np.log10(self.value):.0f} of 16 digits are lost along one direction, mostly "
                f"{where}, where the condition of the Hessian is estimated to be {self.value:.0e}"
            )
        return (
            f"The coefficients are {said}. Leave out columns that others explain, merge rare classes, or penalise "
            "(C=1e4, say)."
        )


def condition_of(run: Run, result: Result, inverse: KroneckerInverse) -> Condition | None:
    """The condition at the end of a run; None where no optimum is known to exist, or the user has ended the fit."""
    if result.reason in ("separated", "undecided", "interrupted") or not np.isfinite(result.evaluation.point).all():
        return None
    objective = run.objective
    if run.now is not result.evaluation:
        objective.evaluate(result.evaluation.point)
    objective.single = False
    inverse.update(objective.class_covariance())
    return estimate_condition(objective, inverse)


def estimate_condition(objective: MultinomialObjective, preconditioner: Preconditioner) -> Condition:
    """The condition at the point that `objective` evaluated last."""
    rows, shape = objective.rows, objective.shape
    squares = np.where(rows.flat, 0.0, rows.spread**2) + objective.ridge
    scale = np.sqrt(np.where(squares > 0, squares, 1.0))
    if objective.has_intercept:
        scale = np.append(scale, 1.0)

    def solve(vector: Floats) -> Floats:
        image: Floats = preconditioner.solve(vector * scale) * scale
        return image / np.linalg.norm(image)

    upper = np.random.default_rng(0).standard_normal(shape)
    upper -= upper.mean(axis=0)
    lower = upper
    for _ in range(WARM_UP):
        lower = solve(lower)
    basis, images = np.empty((0, lower.size)), np.empty((0, lower.size))
    values, smallest, singular = np.ones(2), lower, False
    for step in range(1, max(2, min(MAX_STEPS, MEMORY // (4 * lower.size)))):
        new = _orthonormal([upper, lower], basis)
        if len(new) == 0:
            break
        basis = np.vstack([basis, new])
        products = objective.hessian_products(new.reshape(-1, *shape) / scale) / scale
        images = np.vstack([images, products.reshape(new.shape)])
        projected = basis @ images.T
        before = values[[-1, 0]]
        values, vectors = scipy.linalg.eigh(0.5 * (projected + projected.T))
        ends = vectors[:, [-1, 0]].T
        largest, smallest = (ends @ basis).reshape(2, *shape)
        upper, lower = (ends @ images).reshape(2, *shape) - values[[-1, 0]][:, None, None] * [largest, smallest]
        singular = values[0] * SINGULAR <= values[-1]
        sizes = np.linalg.norm(upper), np.linalg.norm(lower)
        close = np.all(sizes <= CLOSE * values[[-1, 0]]) and np.all(abs(values[[-1, 0]] / before - 1.0) <= SETTLED)
        if singular or (close and step >= MIN_STEPS):
            break
        lower = solve(lower)
    return Condition(
        np.inf if singular else float(values[-1] / values[0]),
        _largest(np.linalg.norm(smallest, axis=0)),
        _largest(np.linalg.norm(smallest, axis=1)),
        rows.d,
    )


def _orthonormal(vectors: list[Floats], basis: Floats) -> Floats:
    """What is new in some matrices against an orthonormal basis: orthonormal rows, of columns that sum to 0."""
    known = basis
    for vector in vectors:
        part = (vector - vector.mean(axis=0)).ravel()
        size = float(np.linalg.norm(part))
        for _ in range(2):
            part = part - (known @ part) @ known
        rest = float(np.linalg.norm(part))
        if size > 0.0 and rest > 1e-10 * size:
            known = np.vstack([known, part / rest])
    return known[len(basis) :]


def _largest(shares: Floats) -> tuple[int, ...]:
    """The positions of the largest numbers, in falling order."""
    order = np.argsort(-shares, kind="stable")[:NAMED]
    return tuple(int(j) for j in order if shares[j] >= SHARE * shares[order[0]])
