"""Whether unpenalised coefficients have a finite optimum, and the direction in which they run away where they have not.

For a direction D (K, d + 1), intercepts last, of the coefficients without penalty, row x̃_i = (x_i, 1) has the margins

    m_ik = (D_{y_i} − D_k)·x̃_i      for each class k ≠ y_i.

The likelihood grows for ever along D where no margin is negative and some are positive; the classes are then separated,
completely where a D has only positive margins, else quasi-completely, and no finite optimum exists. Where there is no
such D, one exists (Albert and Anderson 1984, Biometrika 71, 1–10). A row with a target of several positive
probabilities has to keep the logits of those classes equal.

The search goes from cheap to dear: the last iterate itself; columns whose values alone split the classes into two
groups; then `_recession.search` on what is still open. Each direction is checked on all rows before it is reported.
"""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse

from softmax._threads import number_of_threads

from ._problem import Problem
from ._recession import ZERO, Bools, Cone, search
from ._rows import Floats
from ._threads import Workers

Verdict: TypeAlias = Literal["separated", "overlapping", "undecided"]

# Entries of the dense copy of the unpenalised columns, and of the margins, beyond which only the cheap checks are made.
LARGEST_COPY = 150_000_000
# A direction is added to earlier ones in at most this ratio; beyond it the earlier ones stand alone.
LARGEST_RATIO = 1e6
MAX_LEVELS = 30
NAMED = 5


@dataclass(frozen=True)
class Split:
    """Column `feature` alone separates: its values are at most `threshold` in `classes` and at least that in all
    others; at least and at most for a `sign` of −1.
    """

    feature: int
    classes: tuple[int, ...]
    sign: int
    threshold: float


@dataclass(frozen=True, eq=False)
class Separation:
    """A direction in which the likelihood never stops growing.

    Attributes
    ----------
    kind : "complete" or "quasi-complete"
    direction : (K, d + 1), intercepts last; 0 for columns with a penalty
    exact_kind : whether it is proven that no direction separates more rows from more classes
    n_separated, n_boundary : rows with a positive margin to some class; rows with a margin of 0 to some class
    violation : the largest −m_ik over Σ_j |D_kj x_ij|, 0 or rounding
    classes, features : those that take part, the most important first
    splits : single columns that separate, one entry each; the usual reason
    how : what found it
    steps : Newton steps and linear programmes that it took
    """

    kind: str
    direction: Floats
    exact_kind: bool
    n_separated: int
    n_boundary: int
    violation: float
    classes: tuple[int, ...]
    features: tuple[int, ...]
    splits: tuple[Split, ...]
    how: str
    steps: int

    def message(self, features: list[str] | None = None, classes: list[str] | None = None) -> str:
        """What a user should know, and what to do; names instead of indices where they are given."""

        def feature(j: int) -> str:
            return f"column {j}" if features is None else f"column {j} ({features[j]})"

        def group(ks: tuple[int, ...]) -> str:
            words = [str(k) if classes is None else classes[k] for k in ks[:NAMED]]
            more = f" and {len(ks) - NAMED} more" if len(ks) > NAMED else ""
            return ("class " if len(ks) == 1 else "classes ") + ", ".join(words) + more

        if self.splits:
            bounds = {1: ("at most", "at least"), -1: ("at least", "at most")}
            reasons = [
                f"{feature(s.feature)} is {bounds[s.sign][0]} {s.threshold:g} in {group(s.classes)} and "
                f"{bounds[s.sign][1]} that in all others"
                for s in self.splits[:NAMED]
            ]
            more = f"; and {len(self.splits) - NAMED} more such columns" if len(self.splits) > NAMED else ""
            reason = "; ".join(reasons) + more
        elif self.features:
            more = f" and {len(self.features) - NAMED} more" if len(self.features) > NAMED else ""
            reason = f"{', '.join(map(feature, self.features[:NAMED]))}{more} together separate {group(self.classes)}"
        else:
            reason = f"{group(self.classes)} {'has' if len(self.classes) == 1 else 'have'} no rows"
        return (
            f"{self.kind.capitalize()} separation: no finite optimum exists without a penalty. {reason[0].upper()}"
            f"{reason[1:]}. Penalise (C=1e4, say), drop the columns, or merge the classes."
        )


@dataclass(frozen=True, eq=False)
class Decision:
    """What is known about a finite optimum.

    Attributes
    ----------
    verdict : "separated": there is none, and `separation` says why; "overlapping": it is proven that there is one;
        "undecided": neither was proven
    separation : of the first verdict, else None
    how : what the verdict comes from, or was tried last
    steps : Newton steps and linear programmes that it took
    obstacle : why an undecided search ended, in words; otherwise empty
    """

    verdict: Verdict
    separation: Separation | None
    how: str
    steps: int
    obstacle: str = ""

    def message(self, features: list[str] | None = None, classes: list[str] | None = None) -> str:
        """What a user should know, and what to do; names instead of indices where they are given."""
        if self.separation is not None:
            return self.separation.message(features, classes)
        if self.verdict == "overlapping":
            return "The classes overlap: a finite optimum exists."
        tried = "no column separates classes by itself"
        if self.how != "none":
            tried += f", and the last method tried, {self.how}, proved neither"
        return (
            f"Whether a finite optimum exists without a penalty is undecided: {tried}; {self.obstacle}. If classes are "
            "separated, the coefficients are one point on the way to infinity. Penalise (C=1e4, say), leave out rare "
            "columns, or merge rare classes."
        )


def decide_separation(
    problem: Problem, guess: Floats | tuple[Floats, Floats] | None = None, *, n_threads: int | None = None
) -> Decision:
    """Decide whether the unpenalised columns separate the classes.

    `guess` (K, d + 1), or (coef, intercept), is the iterate of a fit that does not converge; it only saves time.
    """
    # NumPy and SciPy may each bring a BLAS, and two pools of threads that wait for work take it from each other: one
    # thread for BLAS, and the sums over rows in our own pool.
    with Workers(number_of_threads(n_threads)) as workers, Workers(1):
        return _Search(problem, guess, workers).decision()


class _Search:
    """One search: the columns without penalty, in units of their own, and the direction found so far."""

    def __init__(self, problem: Problem, guess: Floats | tuple[Floats, Floats] | None, workers: Workers) -> None:
        self.problem = problem
        self.workers = workers
        free = problem.ridge == 0
        if problem.lasso is not None:
            free &= problem.lasso == 0
        self.columns = np.flatnonzero(free)
        self.truth = _truth(problem)
        self.low, self.high = _limits(problem, self.columns)
        X = problem.X
        whole = len(self.columns) == X.shape[1]
        self.X = X if whole else X[:, self.columns]
        self.typical = np.asarray(abs(self.X).mean(axis=0, dtype=np.float64)).ravel()
        self.splits: list[Split] = []
        self.steps = 0
        self.how = "none"
        self.guess: Floats | None = None
        if guess is not None:
            both = np.column_stack(guess) if isinstance(guess, tuple) else np.asarray(guess, dtype=np.float64)
            self.guess = both[:, [*self.columns, X.shape[1]]]
            if not problem.intercept:
                self.guess[:, -1] = 0.0

    # -- the cheap checks, in the coordinates of X

    def logits(self, D: Floats, absolute: bool = False) -> Floats:
        """D x̃, (n, K); with `absolute` Σ |D_kj x̃_ij|."""
        X, D = (abs(self.X), np.abs(D)) if absolute else (self.X, D)
        if not scipy.sparse.issparse(X):
            X = np.asarray(X, dtype=np.float64)
        product: Floats = X @ np.ascontiguousarray(D[:, :-1].T) + D[:, -1]
        return product

    def margins(self, D: Floats) -> tuple[Floats, Floats, Floats]:
        """Margins (n, K), spread within the true classes (n,), size (n,)."""
        logits = self.logits(D)
        least = np.where(self.truth, logits, np.inf).min(axis=1)
        most = np.where(self.truth, logits, -np.inf).max(axis=1)
        # An intercept that should be 0 carries the rounding of D·mean: a row of zeros is no more exact than the others.
        size = np.abs(D[:, :-1]) @ self.typical + self.logits(D, absolute=True)
        return least[:, None] - logits, most - least, size.max(axis=1)

    def allowed(self, D: Floats) -> bool:
        """Whether limits on the coefficients let them run along D."""
        if self.low is None or self.high is None:
            return True
        coef = D[:, :-1]
        return bool((((coef >= 0) | (self.low == -1)) & ((coef <= 0) | (self.high == 1))).all())

    def complete(self, D: Floats) -> bool:
        """Whether all margins of D are positive."""
        if (self.truth.sum(axis=1) > 1).any() or not self.allowed(D):
            return False
        margins, _, size = self.margins(D)
        return bool((np.where(self.truth, np.inf, margins).min(axis=1) > ZERO * size).all())

    def by_columns(self) -> Floats | None:
        """The sum of the directions that single columns, and classes without rows, give."""
        n_classes, d = self.truth.shape[1], len(self.columns)
        direction = np.zeros((n_classes, d + 1))
        present: Bools = np.asarray(self.truth.any(axis=0))
        if self.problem.intercept and not present.all():
            direction[~present, -1] = -1.0
        if present.sum() >= 2 and d > 0:
            lows, highs = _class_ranges(self.X, self.truth)
            self.least = lows.min(axis=0)
            self.widths = highs.max(axis=0) - self.least
            order, valid, thresholds = _cuts(lows, highs, present, self.problem.intercept)
            for j in np.flatnonzero(valid.any(axis=0)):
                self.take_column(direction, int(j), order[:, j], valid[:, j], thresholds[:, j])
        return direction if direction.any() else None

    def take_column(self, direction: Floats, j: int, order: Any, valid: Bools, thresholds: Floats) -> None:
        """Add the cuts of column j, all classes before a cut against all behind it, and note the one to tell of."""
        width = self.widths[j]
        falls = valid
        if self.low is not None and self.high is not None:
            # D falls for all classes before a cut, or else it rises for all behind it.
            falls = valid & np.logical_and.accumulate(self.low[order[:-1], j] == -1)
            rises = valid & ~falls & np.logical_and.accumulate((self.high[order[1:], j] == 1)[::-1])[::-1]
            direction[order[1:], j] += np.cumsum(rises) / width
            direction[order[1:], -1] -= np.cumsum(rises * thresholds) / width
            valid = falls | rises
        direction[order[:-1], j] -= np.cumsum(falls[::-1])[::-1] / width
        direction[order[:-1], -1] += np.cumsum((falls * thresholds)[::-1])[::-1] / width
        told = np.flatnonzero(valid)
        if len(told) == 0:
            return
        # Classes in which the column is constant at its minimum stand before the last cut at that value.
        same = [c for c in told if thresholds[c] == thresholds[told[0]]]
        cut = same[-1] if thresholds[told[0]] == self.least[j] else told[0]
        below, above = order[: cut + 1], order[cut + 1 :]
        group, sign = (below, 1) if len(below) <= len(above) else (above, -1)
        classes = tuple(int(k) for k in np.sort(group))
        self.splits.append(Split(int(self.columns[j]), classes, int(sign), float(thresholds[cut])))

    # -- the whole search

    def decision(self) -> Decision:
        """From cheap to dear."""
        if self.guess is not None and self.complete(self.guess):
            self.how = "iterate"
            return self.separated(self.guess, exact=True)
        direction = self.by_columns()
        if direction is not None:
            self.how = "columns"
        entries = self.X.shape[0] * max(self.X.shape[1], self.truth.shape[1])
        if entries > LARGEST_COPY:
            obstacle = f"for more, a table of {entries:.2g} entries would be needed (the limit is {LARGEST_COPY:.2g})"
            return self.ended(direction, obstacle)
        cone, back, forth = self.cone()
        inner = None if direction is None else forth(direction)
        if inner is not None:
            good, separated, _ = cone.recedes(inner)
            if good and separated.any():
                cone.open &= ~separated
            else:
                inner, self.splits = None, []
        start = None if self.guess is None else forth(self.guess)
        obstacle = f"{MAX_LEVELS} directions did not exhaust the separated rows"
        for _ in range(MAX_LEVELS):
            found = search(cone, start)
            self.steps += found.steps
            if found.kind != "direction":
                obstacle = found.obstacle
            if found.kind != "direction" or found.direction is None:
                self.how = found.how if inner is None else self.how
                break
            added = self.sum_of(cone, inner, found.direction)
            _, separated, _ = cone.recedes(found.direction)
            if inner is None:
                self.how = found.how
            if added is not None:
                inner = added
            cone.open &= ~separated
        return self.ended(None if inner is None else back(inner), obstacle)

    def cone(self) -> tuple[Cone, Any, Any]:
        """The rows in units of their columns, and the maps of a direction from there to X and back."""
        X = self.X.toarray() if scipy.sparse.issparse(self.X) else self.X
        Z = np.array(X, dtype=np.float64)
        intercept = self.problem.intercept
        mean = Z.mean(axis=0) if intercept else np.zeros(Z.shape[1])
        Z -= mean
        scale = np.abs(Z).max(axis=0, initial=0.0)
        flat = scale <= 16 * np.finfo(np.float64).eps * np.abs(mean)
        Z[:, flat] = 0.0
        with np.errstate(under="ignore"):
            Z /= np.where(flat, 1.0, scale)
        root = np.sqrt((Z**2).mean(axis=0))
        root[flat] = 1.0
        Z /= root
        scale = np.where(flat, 1.0, scale * root)

        def back(D: Floats) -> Floats:
            coef = D[:, : len(scale)] / scale
            coef[:, flat] = 0.0
            constant = D[:, -1] - coef @ mean if intercept else np.zeros(len(D))
            whole = np.column_stack([coef, constant])
            return np.asarray(whole / np.abs(whole).max())

        def forth(D: Floats) -> Floats:
            coef = D[:, :-1] * scale
            coef[:, flat] = 0.0
            return np.column_stack([coef, D[:, -1] + D[:, :-1] @ mean]) if intercept else coef

        low, high = self.low, self.high
        if intercept:
            Z = np.column_stack([Z, np.ones(len(Z))])
            if low is not None and high is not None:
                low, high = np.column_stack([low, -np.ones(len(low))]), np.column_stack([high, np.ones(len(high))])
        return Cone(Z, self.truth, ~self.truth, self.workers, low, high), back, forth

    @staticmethod
    def sum_of(cone: Cone, old: Floats | None, new: Floats) -> Floats | None:
        """`new`, and so much of `old` that what it separates stays separated; None where the ratio is out of bounds."""
        if old is None:
            return new
        before, _, size = cone.margins(old)
        margins, _, _ = cone.margins(new)
        closed = ~cone.truth & ~cone.open & (before > ZERO * size[:, None])
        falling = closed & (margins < 0)
        ratio = float((-margins[falling] / before[falling]).max()) if falling.any() else 0.0
        if ratio > LARGEST_RATIO:
            return None
        total = new + max(2 * ratio, float(np.abs(new).max() / np.abs(old).max())) * old
        return np.asarray(total / np.abs(total).max())

    def ended(self, direction: Floats | None, obstacle: str) -> Decision:
        """The verdict on a direction in the coordinates of X, or on there being none; `obstacle` says why the search
        was not carried to its end, if it was not.
        """
        if direction is not None:
            return self.separated(direction, exact=not obstacle)
        return Decision("undecided" if obstacle else "overlapping", None, self.how, self.steps, obstacle)

    def separated(self, D: Floats, exact: bool) -> Decision:
        """Look at the margins of D once more, on all rows, in the coordinates of X."""
        D = D / np.abs(D).max()
        margins, ties, size = self.margins(D)
        rivals = ~self.truth
        positive = rivals & (margins > ZERO * size[:, None])
        boundary = rivals & ~positive
        with np.errstate(invalid="ignore", divide="ignore"):
            relative = np.where(rivals, -margins, ties[:, None]).max(axis=1) / size
        kind = "complete" if not boundary.any() and not (self.truth.sum(axis=1) > 1).any() else "quasi-complete"
        whole = np.zeros((len(D), self.problem.X.shape[1] + 1))
        whole[:, [*self.columns, -1]] = D
        classes, features = self.involved(D)
        separation = Separation(
            kind=kind,
            direction=whole,
            exact_kind=exact or kind == "complete",
            n_separated=int(positive.any(axis=1).sum()),
            n_boundary=int(boundary.any(axis=1).sum()),
            violation=max(0.0, float(np.nanmax(relative, initial=0.0))),
            classes=classes,
            features=features,
            splits=tuple(self.splits),
            how=self.how,
            steps=self.steps,
        )
        return Decision("separated", separation, self.how, self.steps)

    def involved(self, D: Floats) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Classes and features whose part in the logits differs from the median class, the largest first."""
        if scipy.sparse.issparse(self.X):
            spread = np.asarray(abs(self.X).max(axis=0).todense()).ravel()
        else:
            spread = np.ptp(self.X, axis=0).astype(np.float64) if len(self.columns) else np.zeros(0)
        part = np.abs(D - np.median(D, axis=0)) * np.append(spread, 1.0)
        small = 1e-6 * part.max()
        by_class, by_feature = part.max(axis=1), part[:, :-1].max(axis=0, initial=0.0)
        classes = [int(k) for k in np.argsort(-by_class, kind="stable") if by_class[k] > small]
        features = [int(self.columns[j]) for j in np.argsort(-by_feature, kind="stable") if by_feature[j] > small]
        return tuple(classes), tuple(features)


def _truth(problem: Problem) -> Bools:
    """(n, K): the classes that a row's target gives a positive probability."""
    if problem.probabilities is not None:
        positive: Bools = problem.probabilities > 0
        return positive
    assert problem.labels is not None
    return np.asarray(problem.labels[:, None] == np.arange(problem.n_classes))


def _limits(problem: Problem, columns: npt.NDArray[np.intp]) -> tuple[Floats | None, Floats | None]:
    """How far a coefficient can run: −1 or 0 downwards, 0 or 1 upwards."""
    if problem.lower is None and problem.upper is None:
        return None, None
    shape = (problem.n_classes, len(columns))
    low = np.full(shape, -1.0) if problem.lower is None else np.where(np.isneginf(problem.lower[:, columns]), -1.0, 0.0)
    high = np.full(shape, 1.0) if problem.upper is None else np.where(np.isposinf(problem.upper[:, columns]), 1.0, 0.0)
    return low, high


def _class_ranges(X: Any, truth: Bools) -> tuple[Floats, Floats]:
    """The least and the largest value of each column among the rows of each class, (K, d) each; ±inf without rows."""
    lows, highs = np.full((truth.shape[1], X.shape[1]), np.inf), np.full((truth.shape[1], X.shape[1]), -np.inf)
    for k in np.flatnonzero(truth.any(axis=0)):
        part = X[np.flatnonzero(truth[:, k])]
        least, most = part.min(axis=0), part.max(axis=0)
        if scipy.sparse.issparse(part):
            least, most = least.toarray().ravel(), most.toarray().ravel()
        lows[k], highs[k] = least, most
    return lows, highs


def _cuts(low: Floats, high: Floats, present: Bools, intercept: bool) -> tuple[npt.NDArray[np.intp], Bools, Floats]:
    """The classes of each column by their ranges (m, d); whether the first c + 1 of them lie below, or at, all others
    (m − 1, d); and the thresholds between them (m − 1, d).
    """
    classes = np.flatnonzero(present)
    low, high = low[classes], high[classes]
    # A stable sort by the upper end and then by the lower one.
    first = np.argsort(high, axis=0, kind="stable")
    order = np.take_along_axis(first, np.argsort(np.take_along_axis(low, first, axis=0), axis=0, kind="stable"), axis=0)
    low, high = np.take_along_axis(low, order, axis=0), np.take_along_axis(high, order, axis=0)
    tops, bottoms = np.maximum.accumulate(high, axis=0)[:-1], low[1:]
    # At the threshold lie all values of the first part where its least one does, and likewise of the second.
    behind = np.maximum.accumulate(high[::-1], axis=0)[::-1][1:]
    valid = (tops < bottoms) | ((tops == bottoms) & ((low[:1] < tops) | (behind > bottoms)))
    thresholds = 0.5 * tops + 0.5 * bottoms if intercept else np.zeros_like(tops)
    if not intercept:
        valid &= (tops <= 0.0) & (bottoms >= 0.0)
    return classes[order], np.asarray(valid), thresholds
