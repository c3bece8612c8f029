"""Folds of a cross-validation: which rows, what problem they make, and what becomes of classes that they lack."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import logsumexp
from sklearn.model_selection import KFold, StratifiedKFold, check_cv

from softmax._errors import OptionError

from ._inputs import Inputs, _as_uniform, _weights
from ._problem import Problem
from ._rows import Floats

Split = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]


@dataclass(frozen=True, eq=False)
class Data:
    """All rows, as `prepare` checked them without weights: `unit` is the problem with the penalty of Σ weights = C = 1.

    `sample_weight` (n,) ≥ 0 or None; `class_weight` as the caller gave it: its factors depend on the rows.
    """

    unit: Problem
    classes: npt.NDArray[Any]
    sample_weight: Floats | None
    class_weight: Mapping[Any, float] | str | None

    @classmethod
    def of(cls, inputs: Inputs, sample_weight: Floats | None, class_weight: Any) -> "Data":
        """`inputs` are those without weights, at C = 1."""
        problem, n = inputs.problem, inputs.problem.X.shape[0]
        return cls(replace(problem, ridge=problem.ridge * n), inputs.classes, sample_weight, class_weight)

    def with_ratio(self, l1_ratio: float) -> "Data":
        """The same with the penalty shared between L2 and Ω; `unit` has no lasso yet."""
        factors = self.unit.ridge
        lasso = factors * l1_ratio if l1_ratio > 0 and factors.any() else None
        return replace(self, unit=replace(self.unit, ridge=factors * (1.0 - l1_ratio), lasso=lasso))

    @property
    def target(self) -> npt.NDArray[Any]:
        """Labels (n,) or probabilities (n, K)."""
        target = self.unit.labels if self.unit.probabilities is None else self.unit.probabilities
        assert target is not None
        return target

    def part(self, index: npt.NDArray[np.intp] | None) -> "Part":
        """The problem of the rows in `index`, None for all: those of positive weight, classes that they have."""
        unit, weights = self.unit, self.sample_weight
        if weights is not None:
            own = np.arange(len(weights)) if index is None else index
            index = own[weights[own] > 0]
        labels, soft = (_rows(array, index) for array in (unit.labels, unit.probabilities))
        if soft is not None:
            present = np.flatnonzero(soft.any(axis=0))
        else:
            assert labels is not None
            present = np.flatnonzero(np.bincount(labels, minlength=unit.n_classes))
        complete = len(present) == unit.n_classes
        if not complete:
            labels = None if labels is None else np.searchsorted(present, labels)
            soft = None if soft is None else np.ascontiguousarray(soft[:, present])
        offset = _rows(unit.offset, index)
        X = unit.X if index is None else unit.X[index]
        problem = replace(
            unit,
            X=X,
            labels=labels,
            n_classes=len(present),
            probabilities=soft,
            offset=offset if offset is None or complete else np.ascontiguousarray(offset[:, present]),
            lower=None if unit.lower is None else unit.lower[present],
            upper=None if unit.upper is None else unit.upper[present],
        )
        total, weights = self._weights(problem, self.classes[present], _rows(weights, index))
        problem = replace(
            problem,
            ridge=unit.ridge / total,
            lasso=None if unit.lasso is None else unit.lasso / total,
            weights=weights,
        )
        return Part(problem, present, unit.n_classes, total)

    def _weights(
        self, problem: Problem, classes: npt.NDArray[Any], sample_weight: Floats | None
    ) -> tuple[float, Floats | None]:
        """The sum of the weights of a part, and the weights, None where all are equal."""
        factors = self.class_weight
        if isinstance(factors, Mapping):
            present = set(classes.tolist())
            factors = {label: factor for label, factor in factors.items() if label in present}
        if len(classes) < 2:
            factors = None
        weights = _weights(factors, problem.X, classes, problem.labels, problem.probabilities, sample_weight)
        return _as_uniform(weights, problem.X.shape[0])


def _rows(array: Any, index: npt.NDArray[np.intp] | None) -> Any:
    return array if array is None or index is None else array[index]


@dataclass(frozen=True, eq=False)
class Part:
    """The problem of some rows at C = 1, the positions of its classes among all K, and the sum of its weights."""

    problem: Problem
    present: npt.NDArray[np.intp]
    n_classes: int
    total_weight: float

    @property
    def complete(self) -> bool:
        """Whether every class is present."""
        return len(self.present) == self.n_classes

    def restricted(self, coef: Floats, intercept: Floats) -> tuple[Floats, Floats]:
        """Coefficients of all classes as those of the classes present."""
        coef, intercept = coef[self.present], intercept[self.present]
        return coef - coef.mean(axis=0), intercept - intercept.mean()

    def expanded(self, coef: Floats, intercept: Floats) -> tuple[Floats, Floats]:
        """Coefficients of the classes present as those of all K.

        A class without rows has no say in the coefficients: its own are 0, which is where the penalised fit puts them
        as the weight of its rows goes to 0. Its intercept gives it the mean probability 1 / (n + m) on the n rows of
        the part, m the number of such classes: as much as one row each would have had.
        """
        if self.complete:
            return coef, intercept
        problem = self.problem
        n, missing = problem.X.shape[0], self.n_classes - len(self.present)
        logits = problem.X @ coef.T + intercept
        if problem.offset is not None:
            logits = logits + problem.offset
        lse = logsumexp(logits, axis=1)
        weights = np.full(n, 1.0 / n) if problem.weights is None else problem.weights / problem.weights.sum()

        def excess(b: float) -> float:
            return float((weights @ (1.0 / (missing + np.exp(np.minimum(lse - b, 700.0))))) - 1.0 / (n + missing))

        low, high = float(lse.min()) - np.log(n), float(lse.max()) - np.log(n)
        level = brentq(excess, low - 1e-6, high + 1e-6, xtol=1e-10)
        full_coef, full_intercept = np.zeros((self.n_classes, coef.shape[1])), np.full(self.n_classes, level)
        full_coef[self.present], full_intercept[self.present] = coef, intercept
        return full_coef, full_intercept - full_intercept.mean()


def splits_of(cv: Any, X: Any, y: Any, groups: Any, random_state: Any, *, soft: bool) -> list[Split]:
    """(train, test) positions of each fold.

    Raises
    ------
    OptionError
        If `cv` is none of what it may be, or asks for more folds than there are rows.
    """
    n = X.shape[0]
    if cv is None:
        cv = 5
    if not isinstance(cv, bool) and isinstance(cv, Integral):
        splitter: Any = _splitter(int(cv), n, y, random_state, soft)
    elif not isinstance(cv, str) and (hasattr(cv, "split") or isinstance(cv, Iterable)):
        splitter = check_cv(cv, y=None if soft else y, classifier=True)
    else:
        raise OptionError(
            f"cv must be a number of folds ≥ 2, 'alo', a splitter of scikit-learn or pairs (train, test); got {cv!r}."
        )
    with warnings.catch_warnings():
        # A class with fewer rows than folds is no matter here: see Part.expanded.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        pairs = list(splitter.split(X, None if soft else y, groups))
    splits = [(_positions(train, n), _positions(test, n)) for train, test in pairs]
    if not splits:
        raise OptionError("cv gives no folds: pass at least one pair (train, test).")
    for number, (train, test) in enumerate(splits):
        if not len(train) or not len(test):
            raise OptionError(f"fold {number} of cv has {len(train)} rows to train on and {len(test)} to score.")
    return splits


def _splitter(folds: int, n: int, y: Any, random_state: Any, soft: bool) -> Any:
    if folds < 2:
        raise OptionError(f"cv must be at least 2 folds, got {folds}: one fold leaves nothing to train on.")
    if folds > n:
        raise OptionError(f"cv={folds} folds need at least as many rows, and X has {n} (n_samples = {n}).")
    shuffle = random_state is not None
    if soft:
        return KFold(folds, shuffle=shuffle, random_state=random_state)
    largest = int(np.unique(y, return_counts=True)[1].max())
    if folds > largest:
        raise OptionError(
            f"cv={folds} stratified folds need a class with {folds} rows, and the largest has {largest}: "
            f"pass cv={max(2, largest)}, or a splitter such as sklearn.model_selection.LeaveOneOut()."
        )
    return StratifiedKFold(folds, shuffle=shuffle, random_state=random_state)


def _positions(index: Any, n: int) -> npt.NDArray[np.intp]:
    array = np.asarray(index)
    if array.dtype == bool:
        array = np.flatnonzero(array)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise OptionError("each fold of cv must be a pair of arrays of row numbers or of booleans.")
    array = array.astype(np.intp)
    if array.size and (array.min() < -n or array.max() >= n):
        raise OptionError(f"a fold of cv names row {int(array.max())}, and X has {n} rows.")
    return np.where(array < 0, array + n, array)
