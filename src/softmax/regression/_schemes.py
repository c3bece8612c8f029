"""Which preconditioner each Newton iteration takes, and when a factor of the Hessian is assembled anew."""

import numpy as np

from ._damping import Damping
from ._objective import MultinomialObjective
from ._preconditioners import DiagonalInverse, FactoredHessian, KroneckerInverse, Preconditioner

# Conjugate gradients reduce the residual to this share.
FORCING = 0.1
# A Hessian is assembled from so many rows for each of its rows.
ROWS_PER_PARAMETER = 10
# Up to this number of multiplications an assembly costs no more than the overhead of a few passes.
SMALL_ASSEMBLY = 2e7
# The softmax of an element costs as much as so many multiplications of a matrix product.
SOFTMAX_COST = 40.0
# A factor serves until the damping has changed by more than this.
REFACTOR = 5.0


class KroneckerScheme:
    """Kronecker preconditioner with the class covariance of the current point."""

    damped = False
    forcing = FORCING
    single = True  # a pass is bound by its matrix products, which float32 halves

    def __init__(self, inverse: KroneckerInverse, limit: int = 200) -> None:
        self._inverse = inverse
        self._limit = limit

    def prepare(
        self, objective: MultinomialObjective, last_cg: int, damping: Damping
    ) -> tuple[Preconditioner, str, int]:
        """Refresh the class factor: it needs the probabilities at hand and no pass."""
        self._inverse.update(objective.class_covariance())
        return self._inverse, "kronecker", self._limit


class DiagonalScheme:
    """The diagonal of the Hessian at each point, for features or classes so many that their covariance costs too much.

    With few classes the first step from a cold start is taken with the Kronecker inverse, which costs no pass.
    """

    damped = False
    single = True
    forcing = 0.3  # a new diagonal costs two or three products, and a short step wastes what is spent on it

    def __init__(self, inverse: KroneckerInverse, exact_start: bool, limit: int = 200) -> None:
        self._inverse = inverse
        self._exact = exact_start
        self._limit = limit

    def prepare(
        self, objective: MultinomialObjective, last_cg: int, damping: Damping
    ) -> tuple[Preconditioner, str, int]:
        """Compute the diagonal anew."""
        exact, self._exact = self._exact and objective.few_classes, False
        if not objective.few_classes:
            return DiagonalInverse(objective), "diagonal", self._limit
        self._inverse.update(objective.class_covariance())
        if exact:
            return self._inverse, "kronecker", self._limit
        return DiagonalInverse(objective, self._inverse), "diagonal", self._limit


class StaleFactorScheme:
    """A factor of the Hessian, assembled anew only when that costs less than the CG steps it saves.

    The first step is taken with the Kronecker inverse, which is exact at a cold start. Small problems assemble from all
    rows at every step; others from `ROWS_PER_PARAMETER` rows for each parameter.
    """

    damped = True
    forcing = FORCING
    single = False  # a pass is short, and raw units spread the entries of a product widely

    def __init__(self, inverse: KroneckerInverse, objective: MultinomialObjective, exact_start: bool) -> None:
        n_classes, width = objective.shape
        n, size = objective.rows.n, (n_classes - 1) * width
        self._kronecker = inverse
        self._exact = exact_start
        self._factor: FactoredHessian | None = None
        self._always = n * size**2 <= SMALL_ASSEMBLY
        one_pass = n * n_classes * (2.0 * width + SOFTMAX_COST)
        # Choosing the rows costs two passes, whatever their number: so many rows cost as much again.
        count = max(ROWS_PER_PARAMETER * size, int(4.0 * one_pass / size**2))
        self._count = count if 2 * count <= n else None
        # What an assembly costs, in passes: multiplications, and a little for the softmax.
        assembly = 0.5 * min(n, self._count or n) * size**2 + size**3 / 6.0
        self._limit = int(np.clip(2 + assembly / one_pass, 4, 24))
        self._damped_by = 0.0

    def prepare(
        self, objective: MultinomialObjective, last_cg: int, damping: Damping
    ) -> tuple[Preconditioner, str, int]:
        """Keep what there is while CG is quick with it."""
        if self._exact:
            self._exact = False
            self._kronecker.update(objective.class_covariance())
            return self._kronecker, "kronecker", 0
        if self._factor is None or self._always or last_cg >= self._limit:
            self._factor, self._damped_by = FactoredHessian(objective, self._count, damping.row), damping.strength
            exact = self._count is None
            return self._factor, "fresh factor", 0 if exact else self._limit
        weaker, stronger = sorted((damping.strength, self._damped_by))
        if stronger > REFACTOR * weaker:
            self._factor.damp(damping.row)
            self._damped_by = damping.strength
        return self._factor, "factor", self._limit
