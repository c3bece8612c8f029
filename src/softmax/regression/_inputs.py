"""What a caller passes to a fit, checked and turned into a `Problem`; every refusal says what came and what to do."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, column_or_1d, validate_data

from softmax._errors import ArrayValueError, OptionError, TargetError

from ._problem import Problem
from ._rows import Floats
from ._solvers import SOLVERS

# A fit holds about so many arrays of the size of the coefficients.
COEFFICIENT_ARRAYS = 12
# λ and its inverse stay so far from the limits of float64.
MOST_STRENGTH = 1e300


@dataclass(frozen=True, eq=False)
class Inputs:
    """A fit's problem, its class labels (K,), and λ = 1 / (C Σ weights), 0 without penalty."""

    problem: Problem
    classes: npt.NDArray[Any]
    penalty: float


def check_parameters(model: Any) -> None:
    """Refuse parameters of a `SoftmaxRegression` outside their ranges.

    Raises
    ------
    OptionError
        Names the parameter, what came and what is allowed.
    """
    if not _is_real(model.C) or not model.C > 0:
        raise OptionError(f"C must be a number > 0, got {model.C!r}; inf is no penalty.")
    if not _is_real(model.l1_ratio) or not 0 <= model.l1_ratio <= 1:
        raise OptionError(f"l1_ratio must be a number from 0 (L2) to 1 (L1), got {model.l1_ratio!r}.")
    if not _is_real(model.tol) or not 0 < model.tol < np.inf:
        raise OptionError(f"tol must be a finite number > 0, got {model.tol!r}.")
    if model.max_iter is not None and (not _is_integer(model.max_iter) or model.max_iter < 1):
        raise OptionError(f"max_iter must be a positive integer or None, got {model.max_iter!r}.")
    if model.solver not in SOLVERS:
        raise OptionError(f"solver must be one of {', '.join(SOLVERS)}; got {model.solver!r}.")


def prepare(model: Any, X: Any, y: Any, sample_weight: Any, offset: Any) -> Inputs:
    """Check the arguments of `model.fit` and say what to minimise; sets `n_features_in_` and the like on `model`."""
    check_parameters(model)
    sample = check_sample(model, X, y, sample_weight)
    n_classes, d = len(sample.classes), sample.X.shape[1]
    _refuse_too_large(n_classes, d)
    shifts = _offset(offset, sample.n_given, n_classes)
    if shifts is not None and sample.kept is not None:
        shifts = shifts[sample.kept]
    total, weights = _as_uniform(sample.weights, sample.X.shape[0])
    penalty = 0.0 if np.isinf(model.C) else _strength(float(model.C), total)
    strength = penalty * _penalty_weights(model.penalty_weights, d)
    lasso = strength * model.l1_ratio if model.l1_ratio > 0 and strength.any() else None
    lower, upper = _limits(model.bounds, n_classes, d)
    problem = Problem(
        sample.X,
        sample.labels,
        n_classes,
        strength * (1.0 - model.l1_ratio),
        probabilities=sample.probabilities,
        weights=weights,
        offset=shifts,
        intercept=bool(model.fit_intercept),
        lasso=lasso,
        grouped=bool(model.grouped),
        lower=lower,
        upper=upper,
    )
    return Inputs(problem, sample.classes, penalty)


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows of weight above 0 (n, d), and for each its class or the probabilities of the K classes, and its weight.

    `weights` is None where all are 1; `kept` are the rows' places among the `n_given`, None where all are kept.
    """

    X: Any
    classes: npt.NDArray[Any]
    labels: npt.NDArray[np.intp] | None
    probabilities: Floats | None
    weights: Floats | None
    n_given: int
    kept: npt.NDArray[np.intp] | None


def check_sample(
    model: Any, X: Any, y: Any, sample_weight: Any, *, classes: npt.NDArray[Any] | None = None, first: bool = True
) -> Sample:
    """Check the rows, the targets and the weights of a fit; sets `n_features_in_` and the like on `model`.

    `classes`, sorted, are those that y may hold, some of them, where y does not say it itself; rows after the `first`
    are checked against `n_features_in_`.
    """
    complete = classes is None
    sparse = scipy.sparse.issparse(X)
    if sparse:
        check_sparse_structure(X)
    soft = y is not None and _is_matrix(y)
    X = validate_data(
        model,
        X,
        dtype=[np.float64, np.float32],
        accept_sparse="csr",
        accept_large_sparse=True,
        ensure_all_finite=False,
        skip_check_array=False,
        reset=first,
    )
    refuse_not_finite(X, getattr(model, "feature_names_in_", None))
    if sparse:
        X = _canonical(X)
    if y is None:
        raise TargetError(
            f"{type(model).__name__} requires y to be passed, but the target y is None: pass one label per row."
        )
    labels: npt.NDArray[np.intp] | None = None
    probabilities: Floats | None = None
    if soft:
        probabilities = _target_probabilities(y, X.shape[0])
        classes = np.arange(probabilities.shape[1]) if classes is None else classes
    else:
        _refuse_mixed(y)
        y = column_or_1d(y, warn=True)
        if len(y) != X.shape[0]:
            raise TargetError(f"X has {X.shape[0]} rows and y {len(y)}: pass one label per row.")
        if classes is None:
            classes, labels = classes_of(y)
        else:
            labels = _places(y, classes)
    n = X.shape[0]
    weights = _weights(model.class_weight, X, classes, labels, probabilities, sample_weight, complete=complete)
    kept = None
    if weights is not None and not weights.all():
        kept = np.flatnonzero(weights)
        X, weights = X[kept], weights[kept]
        labels = None if labels is None else labels[kept]
        probabilities = None if probabilities is None else probabilities[kept]
    return Sample(X, classes, labels, probabilities, weights, n, kept)


def classes_of(y: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.intp]]:
    """Sorted labels, and the position of each row's label among them."""
    if y.dtype == object and all(isinstance(label, float) for label in y):
        y = y.astype(np.float64)
    if y.dtype.kind in "fc":
        if not np.isfinite(y).all():
            row = int(np.argmin(np.isfinite(y)))
            kind = "NaN" if np.isnan(y[row]) else "infinity"
            raise TargetError(f"Input y contains {kind} at row {row}: every row needs a label.")
        check_classification_targets(y)  # refuses what looks like a target of a regression
    try:
        classes, labels = np.unique(y, return_inverse=True)
    except TypeError:
        raise _mixed(y) from None
    if len(classes) < 2:
        raise TargetError(f"y needs at least 2 classes, got 1 class: {classes.tolist()[0]!r}.")
    return classes, labels.reshape(-1)


def _places(y: npt.NDArray[Any], classes: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """The position of each row's label among known classes."""
    try:
        places: npt.NDArray[np.intp] = np.searchsorted(classes, y).clip(max=len(classes) - 1)
    except TypeError:
        raise _mixed(y) from None
    unknown = np.flatnonzero(classes[places] != y)
    if len(unknown):
        row = int(unknown[0])
        raise TargetError(f"y holds {y[row]!r} at row {row}, which is none of the classes {classes.tolist()}.")
    return places


def _refuse_mixed(y: Any) -> None:
    """Refuse text beside other labels in a list, where NumPy would quietly make text of all."""
    if isinstance(y, list | tuple):
        text = [isinstance(label, str | bytes) for label in y]
        if any(text) and not all(text):
            raise _mixed(y)


def _mixed(y: Any) -> TargetError:
    kinds = sorted({type(label).__name__ for label in y})
    verb = "mixes" if len(kinds) > 1 else "holds"
    return TargetError(
        f"y {verb} labels that cannot be sorted ({', '.join(kinds)}). Convert them to one type, for example to str."
    )


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_matrix(y: Any) -> bool:
    """Whether y is an (n, K) matrix with K ≥ 2."""
    shape: tuple[int, ...] | None = getattr(y, "shape", None)
    if shape is None:
        shape = np.shape(y) if isinstance(y, list | tuple) and len(y) and isinstance(y[0], list | tuple) else ()
    return len(shape) == 2 and shape[1] >= 2


def check_sparse_structure(X: Any) -> None:
    """Refuse index arrays that do not describe a matrix: SciPy reads and writes outside of arrays there."""
    if X.format == "coo" and X.ndim == 2:
        for axis, (place, size) in enumerate(zip((X.row, X.col), X.shape, strict=True)):
            if len(place) and (place.min() < 0 or place.max() >= size):
                bad = place[(place < 0) | (place >= size)][0]
                raise ArrayValueError(
                    f"X is a damaged COO matrix: {('row', 'column')[axis]} {int(bad)} is outside [0, {size}). "
                    "Build it anew."
                )
    if X.format not in ("csr", "csc"):
        return
    rows, columns = X.shape if X.format == "csr" else X.shape[::-1]
    indptr, indices = X.indptr, X.indices
    broken = (
        len(indptr) != rows + 1
        or indptr[0] != 0
        or indptr[-1] > min(len(indices), len(X.data))
        or np.any(np.diff(indptr) < 0)
    )
    if broken:
        raise ArrayValueError(
            f"X is a damaged {X.format.upper()} matrix: indptr must rise from 0 to at most the number of stored "
            f"values ({len(indices)}) in {rows + 1} steps. Build it anew."
        )
    if indptr[-1] and (indices[: indptr[-1]].min() < 0 or indices[: indptr[-1]].max() >= columns):
        bad = (indices[: indptr[-1]] < 0) | (indices[: indptr[-1]] >= columns)
        place = int(np.argmax(bad))
        raise ArrayValueError(
            f"X is a damaged {X.format.upper()} matrix: index {int(indices[place])} at position {place} of indices "
            f"is outside [0, {columns}). Build it anew."
        )


def _canonical(X: Any) -> Any:
    """A CSR matrix with sorted unique indices, of the same arrays where they are so; its flags may be wrong."""
    X = type(X)((X.data, X.indices, X.indptr), shape=X.shape)
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


def refuse_not_finite(X: Any, names: npt.NDArray[Any] | None) -> None:
    """Say where the first nan or infinity is."""
    values = X.data if scipy.sparse.issparse(X) else X
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum(dtype=np.float64)):  # one quick pass; a sum of finite values may still overflow
            return
    for start in range(0, max(len(values), 1), 4096):
        bad = ~np.isfinite(values[start : start + 4096])
        if not bad.any():
            continue
        place = int(np.argmax(bad))
        if scipy.sparse.issparse(X):
            row = int(np.searchsorted(X.indptr, start + place, side="right")) - 1
            column = int(X.indices[start + place])
            value = values[start + place]
        else:
            row, column = start + place // X.shape[1], place % X.shape[1]
            value = values[row, column]
        name = "" if names is None else f" ({names[column]})"
        kind = "NaN" if np.isnan(value) else "infinity"
        advice = (
            "Impute missing values or leave out their rows."
            if np.isnan(value)
            else "A value too large for its dtype, or a division by 0, is the usual cause."
        )
        raise ArrayValueError(f"Input X contains {kind} at row {row}, column {column}{name}. {advice}")


def _target_probabilities(y: Any, n: int) -> Floats:
    """An (n, K) matrix of probabilities, rows made to sum to 1 exactly."""
    try:
        matrix: Floats = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError):
        raise TargetError("a matrix y must hold numbers: the probability of each class in each row.") from None
    if len(matrix) != n:
        raise TargetError(f"X has {n} rows and y {len(matrix)}: pass one row of probabilities per row.")
    fine = np.isfinite(matrix) & (matrix >= 0)
    if not fine.all():
        place = np.unravel_index(int(np.argmin(fine)), matrix.shape)
        raise TargetError(
            f"a matrix y holds probabilities, finite and ≥ 0; got {matrix[place]} at row {place[0]}, column {place[1]}."
        )
    sums = matrix.sum(axis=1)
    wrong = np.abs(sums - 1.0) > 1e-6
    if wrong.any():
        row = int(np.argmax(wrong))
        raise TargetError(
            f"each row of a matrix y must sum to 1; row {row} sums to {sums[row]:.9g}. "
            "For counts, divide each row by its sum and pass the sums as sample_weight."
        )
    matrix = matrix / sums[:, None]
    empty = np.flatnonzero(~matrix.any(axis=0))
    if len(empty):
        raise TargetError(f"class {int(empty[0])} has probability 0 in every row of y. Leave its column out.")
    return matrix


def _weights(
    class_weight: Mapping[Any, float] | str | None,
    X: Any,
    classes: npt.NDArray[Any],
    labels: npt.NDArray[np.intp] | None,
    probabilities: Floats | None,
    sample_weight: Any,
    *,
    complete: bool = True,
) -> Floats | None:
    """Sample times class weights, or None where all are 1; with `complete` every class needs some weight."""
    if sample_weight is None and class_weight is None:
        return None
    weights: Floats = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True, copy=True)
    if labels is None:
        if class_weight is not None:
            raise OptionError(
                "class_weight needs labels: with a matrix of probabilities a row has no class. Pass sample_weight."
            )
        assert probabilities is not None
        if complete:
            _refuse_weightless(classes, weights @ probabilities)
        return weights
    if complete:
        _refuse_weightless(classes, np.bincount(labels, weights=weights, minlength=len(classes)))
    if class_weight is not None:
        factors = compute_class_weight(class_weight, classes=classes, y=classes[labels], sample_weight=weights)
        if not np.all(np.isfinite(factors)) or np.any(factors < 0):
            raise OptionError(
                f"class weights must be finite and ≥ 0, got {factors.tolist()} for the classes {classes.tolist()}."
            )
        weights *= factors[labels]
    if complete and class_weight is not None:
        _refuse_weightless(classes, np.bincount(labels, weights=weights, minlength=len(classes)))
    return weights


def _refuse_weightless(classes: npt.NDArray[Any], totals: npt.NDArray[Any]) -> None:
    """Every class needs some weight."""
    if not totals.all():
        label = classes.tolist()[int(np.argmin(totals))]
        raise TargetError(
            f"class {label!r} has total weight 0, so that its probability has no optimum > 0. "
            "Leave out its rows, or give them weight."
        )


def _as_uniform(weights: Floats | None, n: int) -> tuple[float, Floats | None]:
    """The sum of the weights, and the weights, None where all are equal: only their ratios matter to the loss."""
    if weights is None:
        return float(n), None
    with np.errstate(over="ignore"):
        total = float(weights.sum())
    if not np.isfinite(total):
        raise ArrayValueError(
            f"the weights sum to more than float64 holds; the largest is {weights.max():g}. Divide them by it."
        )
    return total, None if np.all(weights == weights[0]) else weights


def _strength(C: float, total: float) -> float:
    """λ = 1 / (C Σ weights), where it is a number."""
    product = C * total
    if not 1.0 / MOST_STRENGTH <= product <= MOST_STRENGTH:
        raise OptionError(
            f"the penalty is 1 / (C · sum of the weights), and C={C:g} with weights that sum to {total:g} leave the "
            "range of numbers. Pass weights of the order of 1, C=inf for no penalty, or another C."
        )
    return 1.0 / product


def _offset(offset: Any, n: int, n_classes: int) -> Floats | None:
    """Known parts of the logits, (n, K)."""
    if offset is None:
        return None
    shifts: Floats = np.asarray(offset, dtype=np.float64)
    if shifts.shape != (n, n_classes):
        raise ArrayValueError(f"offset must have shape (n, K) = ({n}, {n_classes}), got {shifts.shape}.")
    if not np.isfinite(shifts).all():
        row, column = np.unravel_index(int(np.argmin(np.isfinite(shifts))), shifts.shape)
        raise ArrayValueError(f"offset must be finite, got {shifts[row, column]} at row {row}, class {column}.")
    return shifts


def _penalty_weights(weights: Any, d: int) -> Floats:
    """Factors of the penalty of each feature, (d,)."""
    if weights is None:
        return np.ones(d)
    factors: Floats = np.asarray(weights, dtype=np.float64)
    if factors.shape != (d,):
        raise OptionError(f"penalty_weights must have one number per feature, shape ({d},), got {factors.shape}.")
    fine = np.isfinite(factors) & (factors >= 0)
    if not fine.all():
        place = int(np.argmin(fine))
        raise OptionError(f"penalty_weights must be finite and ≥ 0, got {factors[place]} for feature {place}.")
    return factors


def _limits(bounds: Any, n_classes: int, d: int) -> tuple[Floats | None, Floats | None]:
    """Lower and upper limits of the coefficients, (K, d); (None, None) where nothing is limited."""
    if bounds is None:
        return None, None
    try:
        lower, upper = bounds
        limits = [
            np.broadcast_to(np.asarray(given, dtype=np.float64), (n_classes, d)).copy()
            for given in (-np.inf if lower is None else lower, np.inf if upper is None else upper)
        ]
    except (TypeError, ValueError):
        raise OptionError(
            f"bounds must be a pair (lower, upper) of numbers or arrays that fit the shape of coef_, "
            f"(K, d) = ({n_classes}, {d}); got {bounds!r}."
        ) from None
    low, high = limits
    wrong = np.isnan(low) | np.isnan(high) | (low > high) | (low == np.inf) | (high == -np.inf)
    if wrong.any():
        k, j = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
        raise OptionError(
            f"bounds must have lower ≤ upper; got lower {low[k, j]} and upper {high[k, j]} for class {k}, feature {j}."
        )
    if np.isneginf(low).all() and np.isposinf(high).all():
        return None, None
    return low, high


def available_memory() -> float:
    """Bytes that this machine can still give, inf where it does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return 1024.0 * int(line.split()[1])
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError, AttributeError):
        return np.inf


def _refuse_too_large(n_classes: int, d: int) -> None:
    """K·d coefficients, and the few arrays of their size that a fit works with, must fit in memory."""
    needed, available = 8.0 * COEFFICIENT_ARRAYS * n_classes * (d + 1), available_memory()
    if needed > available:
        fits = int(available / (8.0 * COEFFICIENT_ARRAYS * n_classes))
        raise MemoryError(
            f"{n_classes} classes × {d} features need about {needed / 2**30:.3g} GiB of memory for the coefficients "
            f"and work arrays; {available / 2**30:.3g} GiB are available, enough for {fits} features. "
            "Use fewer features (hashing, a rarer vocabulary) or merge classes."
        )
