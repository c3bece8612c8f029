"""Directions along which the likelihood of unpenalised coefficients never falls: the search over the pairs of a cone.

For rows z_i with true classes T_i (one, or all that have a positive probability), a direction D (K, r) recedes where

    (D_t − D_k)·z_i ≥ 0   for t in T_i and every open rival k,      (D_t − D_u)·z_i = 0   for t, u in T_i,      (1)

and it separates where some of the first are positive. A pair (i, k) is open while no direction found so far separates
it; what separates the pairs still open can be added to a large multiple of the earlier direction.

Two proofs, one of which a Newton iterate P = softmax(Z Wᵀ) over T_i and the open rivals of each row ends in:

* No direction separates. Let g = Σ (p_i − y_i) z_iᵀ with y_i > 0 on T_i alone, S = H⁻¹ g and s_i = S z_i. Then Q with
  q_ik = p_ik (1 − s_ik + ⟨p_i, s_i⟩) satisfies Σ (q_i − y_i) z_iᵀ = g − H S = 0. Where max (s_ik − ⟨p_i, s_i⟩) < 1, Q
  is positive, and for D with (1): 0 = Σ ⟨q_i − y_i, D z_i⟩ ≤ 0 term by term, hence D z_i is the same for all classes of
  row i. (In the terms of Albert and Anderson (1984), Biometrika 71: the rows overlap.)
* Some direction separates. Newton's steps grow every separated margin by about 1 and leave the others, in the limit, as
  they are. So the pairs whose margin a step hardly moves are required to stay at 0, the step is projected on that
  subspace, and (1) is checked on all rows.

Where neither comes about, a linear programme decides: maximise the sum of all open margins subject to (1) and |D| ≤ 1,
with the violated constraints added a few thousand at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.optimize
from scipy.linalg.blas import dsyrk

from ._rows import Floats, mirrored, sum_in_order
from ._threads import Workers

Bools = npt.NDArray[np.bool_]

# A margin counts as 0 up to this part of Σ_j |D_kj z_ij|.
ZERO = 1e-9
# A Newton step that moves a margin by less than this does not separate the pair.
MOVED = 0.5
NULL = 1e-11
# The overlap test leaves this for the rounding of the solve.
SURE = 1.0 - 1e-3
# A squared Newton decrement per row below this is rounding, and proves nothing.
ROUNDED_AWAY = 1e-13
MAX_ITER = 60
BLOCK_ELEMENTS = 1 << 18
# Multiplications of one assembly of the Hessian; more rows than that allows are taken in only when they matter.
ASSEMBLY = 4e9
MAX_PARAMETERS = 2500
# Multiplications of a whole search: about a minute on two cores. Counted and not timed, so that a verdict repeats.
BUDGET = 2e11
LP_ROUNDS = 60
LP_ADDED = 2000
# A safety net: programmes of the sizes that come here take a few seconds at most.
LP_SECONDS = 60.0
LP_ENTRIES = 1e8


@dataclass(eq=False)
class Cone:
    """The rows and pairs of (1).

    Attributes
    ----------
    Z : (n, r), columns of unit size; one of ones where there is an intercept
    truth : (n, K), T_i
    open : (n, K), the rivals that no direction has separated yet
    workers : threads for the sums over rows
    low, high : (K, r), limits of D in {0, ±1} that follow from limits on the coefficients, or None
    budget : multiplications that may still be spent
    """

    Z: Floats
    truth: Bools
    open: Bools
    workers: Workers
    low: Floats | None = None
    high: Floats | None = None
    budget: float = BUDGET

    @property
    def n_classes(self) -> int:
        """K."""
        return int(self.truth.shape[1])

    @property
    def n_parameters(self) -> int:
        """Contrasts of classes times columns."""
        return (self.n_classes - 1) * int(self.Z.shape[1])

    def margins(self, D: Floats, rows: Bools | slice = slice(None)) -> tuple[Floats, Floats, Floats]:
        """(D_t − D_k)·z_i for all k (n, K), the spread within T_i (n,), and the size that rounding is relative to
        (n,).
        """
        logits = self.Z[rows] @ D.T
        truth = self.truth[rows]
        least = np.where(truth, logits, np.inf).min(axis=1)
        most = np.where(truth, logits, -np.inf).max(axis=1)
        size = (np.abs(self.Z[rows]) @ np.abs(D).T).max(axis=1)
        return least[:, None] - logits, most - least, size

    def recedes(self, D: Floats) -> tuple[bool, Bools, Floats]:
        """Whether D satisfies (1), the open pairs that it separates, and by how much each row violates it."""
        self.budget -= 3.0 * self.Z.size * self.n_classes
        margins, ties, size = self.margins(D)
        slack = ZERO * size
        lowest = np.where(self.open, margins, np.inf).min(axis=1)
        violation = np.maximum(np.maximum(-lowest, ties), 0.0)
        good = bool((violation <= slack).all())
        if good and self.low is not None and self.high is not None:
            good = bool(((np.minimum(self.low, 0) <= D) | (self.low == -1)).all())
            good = good and bool(((np.maximum(self.high, 0) >= D) | (self.high == 1)).all())
        separated: Bools = self.open & (margins > slack[:, None])
        return good, separated, np.where(violation > slack, violation, 0.0)


@dataclass(frozen=True)
class Found:
    """`kind` "overlap", "direction" or "undecided"; the direction (K, r) in the second case; Newton steps or rounds;
    what found it, and in the last case what stood in the way.
    """

    kind: str
    direction: Floats | None
    steps: int
    how: str
    obstacle: str = ""


def search(cone: Cone, start: Floats | None = None) -> Found:
    """Decide whether a direction separates open pairs of the cone."""
    if cone.n_parameters == 0 or not (cone.open.any() or (cone.truth.sum(axis=1) > 1).any()):
        return Found("overlap", None, 0, "nothing is open")
    size = cone.n_parameters
    if size > MAX_PARAMETERS:
        obstacle = f"for {size} coefficients without penalty more would take too long (the limit is {MAX_PARAMETERS})"
        return Found("undecided", None, 0, "none", obstacle)
    first = by_newton(cone, start)
    if first.kind != "undecided":
        return first
    entries = cone.open.sum() * cone.Z.shape[1]
    if cone.budget <= 0:
        return replace(first, obstacle="the work set aside for the search was spent")
    if entries > LP_ENTRIES:
        obstacle = f"a linear programme of {entries:.2g} numbers would not fit (the limit is {LP_ENTRIES:.2g})"
        return replace(first, obstacle=obstacle)
    second = by_linear_programme(cone)
    return replace(second, steps=first.steps + second.steps)


# ---------------------------------------------------------------------------------------------------- Newton's method


@dataclass(eq=False)
class _Working:
    """The rows that Newton's method sees: those with an open pair or a tie, or a part of them."""

    Z: Floats
    target: Floats  # 1/|T_i| on T_i
    allowed: Bools  # T_i and the open rivals
    reference: int
    workers: Workers

    def contrasts(self, full: Floats) -> Floats:
        """(K, r) with the reference class at 0, without it, as a vector."""
        kept: Floats = np.delete(full - full[self.reference], self.reference, axis=0)
        return kept.ravel()

    def full(self, vector: Floats) -> Floats:
        """The (K, r) matrix of a vector of contrasts."""
        part = vector.reshape(-1, self.Z.shape[1])
        return np.asarray(np.insert(part, self.reference, 0.0, axis=0))

    def logits(self, D: Floats) -> Floats:
        """Z Dᵀ, (n, K)."""
        product: Floats = self.Z @ D.T
        return product

    def loss(self, logits: Floats) -> tuple[float, Floats]:
        """Σ lse − ⟨y, z⟩ over the allowed classes, and the probabilities."""
        z = np.where(self.allowed, logits, -np.inf)
        z -= z.max(axis=1, keepdims=True)
        e = np.exp(z)
        total = e.sum(axis=1, keepdims=True)
        own = (self.target * np.where(self.allowed, z, 0.0)).sum()
        return float(np.log(total).sum() - own), e / total

    def assemble(self, P: Floats) -> Floats:
        """Σ (diag p_i − p_i p_iᵀ) ⊗ z_i z_iᵀ in the contrasts, both triangles."""
        kept = np.delete(np.arange(P.shape[1]), self.reference)
        r = self.Z.shape[1]
        size = len(kept) * r
        step = max(BLOCK_ELEMENTS // max(size, 1), 64)
        edges = np.arange(0, len(P), step)

        def part(firsts: npt.NDArray[np.intp]) -> Floats:
            hessian, diagonal = np.zeros((size, size), order="F"), np.zeros((r, size))
            for first in firsts:
                z, p = self.Z[first : first + step], P[first : first + step][:, kept]
                weighted = (p[:, :, None] * z[:, None, :]).reshape(len(z), size)
                hessian = dsyrk(-1.0, weighted.T, beta=1.0, c=hessian, lower=1, overwrite_c=1)
                diagonal += z.T @ weighted
            for k in range(len(kept)):
                own = slice(k * r, (k + 1) * r)
                hessian[own, own] += diagonal[:, own]
            return hessian

        parts = self.workers.map(part, np.array_split(edges, min(self.workers.n_threads, len(edges))))
        return mirrored(sum_in_order(parts))


def _working(cone: Cone, rows: npt.NDArray[np.intp]) -> _Working:
    """The part of the cone that stands in `rows`."""
    truth = cone.truth[rows]
    reference = int(np.argmax(cone.truth.sum(axis=0)))
    return _Working(
        cone.Z[rows], truth / truth.sum(axis=1, keepdims=True), truth | cone.open[rows], reference, cone.workers
    )


def by_newton(cone: Cone, start: Floats | None) -> Found:
    """Newton's method on the likelihood of the open pairs, until one of the two proofs holds."""
    candidates = np.flatnonzero((cone.truth | cone.open).sum(axis=1) > 1)
    if len(candidates) == 0:
        return Found("overlap", None, 0, "no open pair")
    limit = max(int(ASSEMBLY / max(cone.n_parameters, 1) ** 2), 4 * cone.Z.shape[1], 200)
    rows = candidates if len(candidates) <= 2 * limit else _first_rows(cone, candidates, limit)
    D = np.zeros((cone.n_classes, cone.Z.shape[1])) if start is None else start
    steps = 0
    while True:
        work = _working(cone, rows)
        kind, D, direction, used, violations = _newton_run(cone, work, D, warm=start is not None or steps > 0)
        steps += used
        if kind == "direction":
            return Found(kind, direction, steps, "Newton's method")
        if kind == "overlap" and (len(rows) == len(candidates) or _spans(work)):
            return Found(kind, None, steps, "Newton's method")
        if len(rows) == len(candidates) or cone.budget <= 0:
            return Found("undecided", None, steps, "Newton's method", "it came to no proof")
        # The part of the rows says nothing about the rest: take in those that contradict it, or any others.
        outside = np.setdiff1d(candidates, rows)
        worst = outside[np.argsort(-violations[outside], kind="stable")] if violations is not None else outside
        rows = np.union1d(rows, worst[:limit])


def _first_rows(cone: Cone, candidates: npt.NDArray[np.intp], limit: int) -> npt.NDArray[np.intp]:
    """About `limit` rows spread over the classes: all of a rare class, and even steps through the others."""
    owner = cone.truth[candidates].argmax(axis=1)
    share = max(limit // cone.n_classes, 1)
    parts = []
    for k in range(cone.n_classes):
        own = candidates[owner == k]
        parts.append(own[:: max(len(own) // share, 1)])
    return np.sort(np.concatenate(parts))


def _spans(work: _Working) -> bool:
    """Whether the rows of a part leave no direction undetermined: then an overlap of the part is one of the whole."""
    full_rank = np.where(work.allowed, 1.0, 0.0)
    values = scipy.linalg.eigvalsh(_scaled(work.assemble(full_rank / full_rank.sum(axis=1, keepdims=True)))[0])
    return bool(values[0] > NULL * values[-1])


def _scaled(matrix: Floats) -> tuple[Floats, Floats]:
    """The matrix with a unit diagonal, and the factors that were applied on both sides; an empty row stays empty."""
    diagonal = np.diag(matrix)
    factor = np.where(diagonal > 0, 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)), 0.0)
    return matrix * factor * factor[:, None], factor


def _solver(hessian: Floats) -> Callable[[Floats], Floats]:
    """H⁻¹ up to the directions that H does not see; one step of refinement."""
    scaled, factor = _scaled(hessian)
    for power in range(-13, 1):
        lifted = scaled.copy()
        np.fill_diagonal(lifted, 1.0 + 10.0**power)
        try:
            lower = scipy.linalg.cholesky(lifted, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            continue
        break

    def apply(right: Floats) -> Floats:
        right = factor * right
        x = scipy.linalg.cho_solve((lower, True), right, check_finite=False)
        for _ in range(2):
            x = x + scipy.linalg.cho_solve((lower, True), right - scaled @ x, check_finite=False)
        return np.asarray(factor * x)

    return apply


def _newton_run(
    cone: Cone, work: _Working, D: Floats, warm: bool
) -> tuple[str, Floats, Floats | None, int, Floats | None]:
    """("overlap" | "direction" | "undecided", last iterate, direction, steps, violations of a refused direction)."""
    value, P = work.loss(work.logits(D))
    zero_value, zero_P = work.loss(np.zeros(work.target.shape))
    if not value <= zero_value:
        D, value, P, warm = np.zeros_like(D), zero_value, zero_P, False
    violations = None
    for step in range(1, MAX_ITER + 1):
        cone.budget -= cone.n_parameters**2 * (len(P) + cone.n_parameters / 3)
        if cone.budget <= 0:
            break
        gradient = (P - work.target).T @ work.Z
        right = np.delete(gradient, work.reference, axis=0).ravel()
        hessian = work.assemble(P)
        solve = _solver(hessian)
        S = solve(right)
        if _proves_overlap(work, P, hessian, solve, right, S):
            return "overlap", D, None, step, None
        if not float(right @ S) > ROUNDED_AWAY * len(P):
            break
        move = -work.full(S)
        if (warm and step <= 3) or (step >= 6 and step % 2 == 0):
            direction, violations = _rounded(cone, work, move)
            if direction is not None:
                return "direction", D, direction, step, None
            if violations is not None and len(work.Z) < len(cone.Z) and violations.any():
                return "undecided", D, None, step, violations
        length, slope = 1.0, -float(right @ S)
        for _ in range(30):
            trial, trial_P = work.loss(work.logits(D + length * move))
            if trial <= value + 1e-4 * length * slope + 1e-15 * abs(value):
                break
            length *= 0.5
        else:
            break
        D, value, P = D + length * move, trial, trial_P
    return "undecided", D, None, step, violations


def _proves_overlap(
    work: _Working, P: Floats, hessian: Floats, solve: Callable[[Floats], Floats], right: Floats, S: Floats
) -> bool:
    """Whether Q of the module docstring is positive, with room for what the solve leaves over."""

    def deviations(vector: Floats) -> Floats:
        s = work.logits(work.full(vector))
        s -= (P * s).sum(axis=1, keepdims=True)
        return np.where(work.allowed, s, 0.0)

    if not deviations(S).max() < SURE:
        return False
    residual = right - hessian @ S
    factor = _scaled(hessian)[1]
    if not np.linalg.norm(factor * residual) <= 1e-6 * np.linalg.norm(factor * right):
        return False
    return bool(np.abs(deviations(solve(residual))).max() < 0.1 * (1.0 - SURE))


def _rounded(cone: Cone, work: _Working, move: Floats) -> tuple[Floats | None, Floats | None]:
    """The step with the margins that it hardly moves set to 0, where that recedes and separates; else the violations
    of it.
    """
    cone.budget -= cone.n_parameters**2 * (len(work.Z) + 10.0 * cone.n_parameters)
    logits = work.logits(move)
    least = np.where(work.target > 0, logits, np.inf).min(axis=1)
    tied = work.allowed & ((work.target > 0) | (least[:, None] - logits < MOVED))
    flat = tied / tied.sum(axis=1, keepdims=True)
    gram, factor = _scaled(work.assemble(flat))
    values, vectors = scipy.linalg.eigh(gram, check_finite=False)
    n_null = int(np.searchsorted(values, NULL * max(values[-1], 1.0)))
    if n_null == 0:
        return None, None
    # In the scaled coordinates; a coordinate that no tied pair sees keeps its value.
    unseen = factor == 0
    scale = np.where(unseen, 1.0, factor)
    vector = work.contrasts(move) / scale
    null = vectors[:, :n_null]
    projected = null @ (null.T @ vector)
    rest, rest_values = vectors[:, n_null:], values[n_null:]
    for _ in range(2):  # the margins that are left, from the rows themselves
        s = work.logits(work.full(projected * scale))
        s -= (flat * s).sum(axis=1, keepdims=True)
        pushed = np.delete((flat * s).T @ work.Z, work.reference, axis=0).ravel() * factor
        projected = projected - rest @ ((rest.T @ pushed) / rest_values)
    direction = work.full(projected * scale)
    largest = np.abs(direction).max()
    if not largest > 1e-8 * np.abs(move).max():
        return None, None
    direction /= largest
    good, separated, violations = cone.recedes(direction)
    if good and separated.any():
        return direction, None
    return None, violations


# ------------------------------------------------------------------------------------------------- linear programming


def by_linear_programme(cone: Cone) -> Found:
    """Maximise the sum of the open margins over |D| ≤ 1 and (1), taking constraints in as they are violated."""
    n_classes, r = cone.n_classes, cone.Z.shape[1]
    owner = cone.truth.argmax(axis=1)
    pair_row, pair_class = np.nonzero(cone.open)
    tie_row, tie_class = np.nonzero(cone.truth)
    tie = tie_class != owner[tie_row]
    tie_row, tie_class = tie_row[tie], tie_class[tie]
    objective = np.zeros((n_classes, r))
    np.add.at(objective, owner[pair_row], cone.Z[pair_row])
    np.add.at(objective, pair_class, -cone.Z[pair_row])
    objective /= max(len(pair_row), 1)
    if cone.low is not None and cone.high is not None:
        low, high = cone.low.copy(), cone.high.copy()
    else:
        low, high = np.full((n_classes, r), -1.0), np.full((n_classes, r), 1.0)
        reference = int(np.argmax(cone.truth.sum(axis=0)))
        low[reference] = high[reference] = 0.0

    def constraints(rows: npt.NDArray[np.intp], classes: npt.NDArray[np.intp]) -> scipy.sparse.csr_array:
        """Rows (e_k − e_y) ⊗ z_i of the matrix of −margins."""
        z = cone.Z[rows]
        columns = np.concatenate(
            [classes[:, None] * r + np.arange(r), owner[rows][:, None] * r + np.arange(r)], axis=1
        ).ravel()
        pointers = np.arange(len(rows) + 1) * (2 * r)
        values = np.concatenate([z, -z], axis=1).ravel()
        return scipy.sparse.csr_array((values, columns, pointers), shape=(len(rows), n_classes * r))

    rng = np.random.default_rng(0)
    taken = np.zeros(len(pair_row), dtype=bool)
    taken[rng.permutation(len(pair_row))[:LP_ADDED]] = True
    ties_taken = np.zeros(len(tie_row), dtype=bool)
    ties_taken[rng.permutation(len(tie_row))[:LP_ADDED]] = True
    end = perf_counter() + LP_SECONDS
    for step in range(1, LP_ROUNDS + 1):
        result = scipy.optimize.linprog(
            -objective.ravel(),
            A_ub=constraints(pair_row[taken], pair_class[taken]),
            b_ub=np.zeros(int(taken.sum())),
            A_eq=constraints(tie_row[ties_taken], tie_class[ties_taken]) if ties_taken.any() else None,
            b_eq=np.zeros(int(ties_taken.sum())) if ties_taken.any() else None,
            bounds=np.column_stack([low.ravel(), high.ravel()]),
            method="highs",
            options={
                "primal_feasibility_tolerance": 1e-10,
                "dual_feasibility_tolerance": 1e-10,
                "time_limit": max(end - perf_counter(), 0.01),
            },
        )
        if result.status != 0:
            obstacle = f"its limit of {LP_SECONDS:g} s was reached" if result.status == 1 else "rounding made it fail"
            return Found("undecided", None, step, "a linear programme", obstacle)
        if -result.fun <= ZERO:
            return Found("overlap", None, step, "a linear programme")
        D = result.x.reshape(n_classes, r)
        logits = cone.Z @ D.T
        own = logits[np.arange(len(owner)), owner]
        pair_margins = own[pair_row] - logits[pair_row, pair_class]
        tie_margins = np.abs(own[tie_row] - logits[tie_row, tie_class])
        worst, tie_worst = np.where(taken, 0.0, -pair_margins), np.where(ties_taken, 0.0, tie_margins)
        if worst.max(initial=0.0) <= 1e-8 and tie_worst.max(initial=0.0) <= 1e-8:
            kind, direction = _after_programme(cone, D)
            obstacle = "" if direction is not None else "its direction is right to rounding only"
            return Found(kind, direction, step, "a linear programme", obstacle)
        for mask, size in ((taken, worst), (ties_taken, tie_worst)):
            order = np.argsort(-size, kind="stable")[:LP_ADDED]
            mask[order[size[order] > 1e-8]] = True
    return Found("undecided", None, LP_ROUNDS, "a linear programme", f"it was not done after {LP_ROUNDS} rounds")


def _after_programme(cone: Cone, D: Floats) -> tuple[str, Floats | None]:
    """A vertex satisfies (1) to the tolerance of the programme alone: set its small margins to 0 and check."""
    good, separated, _ = cone.recedes(D)
    if good and separated.any():
        return "direction", D
    if cone.low is None:
        rows = np.flatnonzero((cone.truth | cone.open).sum(axis=1) > 1)
        largest = np.where(cone.open, cone.margins(D)[0], 0.0).max()
        direction, _ = _rounded(cone, _working(cone, rows), D * (MOVED * 1e6 / largest))
        if direction is not None:
            return "direction", direction
    return "undecided", None
