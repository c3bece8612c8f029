"""Temperature scaling: one number that divides the logits, so that probabilities come true as often as they say."""

import warnings
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.model_selection import KFold, StratifiedKFold, check_cv
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _check_sample_weight, _num_samples, check_is_fitted

from softmax import reliability_table
from softmax._errors import ArrayValueError, OptionError, TargetError
from softmax._function import log_softmax, softmax

from ._rows import Floats

Model = TypeVar("Model")
Split = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]

BLOCK_ELEMENTS = 1 << 17
# Far more than Newton's method with a bracket needs.
MAX_STEPS = 200
# Beyond these limits a temperature stands for one that does not exist.
SMALLEST, LARGEST = 1e-12, 1e12
N_BINS = 15


def fit_temperature(logits: Any, y: Any, sample_weight: Any = None) -> tuple[float, float, float]:
    r"""The temperature at which given logits predict best.

    .. math:: \min_{T > 0} \; \sum_i \pi_i \left[ \operatorname{lse}(z_i / T) - \langle y_i, z_i \rangle / T \right],
              \qquad \pi_i = w_i / \sum_i w_i.

    In s = 1 / T this is convex, with the derivatives :math:`\sum_i \pi_i \langle p_i - y_i, z_i \rangle` and
    :math:`\sum_i \pi_i \operatorname{Var}_{p_i}(z_i)`, p_i = softmax(s z_i); Newton's method inside a bracket of the
    root takes it to the last digits.

    Parameters
    ----------
    logits : array of shape (n, K)
        Logits of rows that had no part in the fit. −inf stands for a class that cannot be.
    y : array of shape (n,) or (n, K)
        The class of each row as a number from 0 to K − 1, or probabilities of the classes.
    sample_weight : array of shape (n,), optional
        Weights ≥ 0.

    Returns
    -------
    temperature, before, after : float
        T, and the mean loss in nats at temperature 1 and at T.

    Raises
    ------
    OptionError
        If no T > 0 is best: every row has its largest logit at its class (the smaller T, the better), or the logits do
        not rank the classes better than chance (the larger, the better).
    ArrayValueError, TargetError
        If the arguments are not as above.

    Notes
    -----
    Logits that are the same for all classes in every row leave T undetermined, and 1 is returned.

    Source: C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On calibration of modern neural networks", ICML 2017.
    """
    z, target, weights = _check(logits, y, sample_weight)
    # Differences to the row's largest logit: the loss does not change, and nothing overflows.
    z = z - z.max(axis=1, keepdims=True)
    n_classes = z.shape[1]
    codes = target if target.ndim == 1 else None

    def sums(s: float) -> tuple[float, float, float]:
        """The loss and its two derivatives in s."""
        totals = np.zeros(3)
        size = max(1, BLOCK_ELEMENTS // n_classes)
        for start in range(0, len(z), size):
            rows = slice(start, start + size)
            logs = log_softmax(z[rows] * s)
            p = np.exp(logs)
            finite = np.where(p > 0, z[rows], 0.0)  # 0 · (−inf) counts as 0
            mean = np.einsum("ij,ij->i", p, finite)
            variance = np.einsum("ij,ij->i", p, (finite - mean[:, None]) ** 2)
            if codes is not None:
                place = np.arange(len(p)), codes[rows]
                own, loss = z[rows][place], -logs[place]
            else:
                y_rows = target[rows]
                own = np.sum(y_rows * np.where(y_rows > 0, z[rows], 0.0), axis=1)
                loss = -np.sum(y_rows * np.where(y_rows > 0, logs, 0.0), axis=1)
            totals += np.stack([loss, mean - own, variance]) @ weights[rows]
        return float(totals[0]), float(totals[1]), float(totals[2])

    before, slope, curvature = sums(1.0)
    finite = np.where(np.isfinite(z), z, 0.0)
    if not finite.any():
        return 1.0, before, before
    _refuse_limits(z, finite, target, weights)
    s = _root(sums, slope, curvature)
    after = sums(s)[0]
    return 1.0 / s, before, min(after, before)


def _root(sums: Any, slope: float, curvature: float) -> float:
    """The s at which the slope, which grows with s, is 0: Newton's method in log s, inside a bracket."""
    s, low, high = 1.0, 0.0, np.inf
    for _ in range(MAX_STEPS):
        if slope == 0:
            return s
        low, high = (s, high) if slope < 0 else (low, s)
        guess = s * float(np.exp(np.clip(-slope / (s * curvature), -2.0, 2.0))) if curvature > 0 else 0.0
        if not low < guess < high:
            guess = 2.0 * s if high == np.inf else (0.5 * s if low == 0 else float(np.sqrt(low * high)))
        if not SMALLEST < guess < LARGEST:
            return s
        near, s = abs(guess - s) <= 1e-9 * s, guess
        if near:  # the steps converge quadratically: this was the last one that matters
            return s
        _, slope, curvature = sums(s)
    return s


def _refuse_limits(z: Floats, finite: Floats, target: npt.NDArray[Any], weights: Floats) -> None:
    """The slopes at s = 0 and at s = ∞ tell whether there is a root between."""
    possible = np.isfinite(z)
    own = z[np.arange(len(z)), target] if target.ndim == 1 else np.sum(target * finite, axis=1)
    at_infinity = -own
    at_zero = finite.sum(axis=1) / possible.sum(axis=1) - own
    if float(weights @ at_infinity) <= 0:
        raise OptionError(
            "every row has its largest logit at its class, so that the smaller the temperature, the better, and none "
            "is best. Keep temperature 1, or calibrate on rows that are harder to predict."
        )
    if float(weights @ at_zero) >= 0:
        raise OptionError(
            "the logits rank the classes no better than chance, so that the larger the temperature, the better, and "
            "none is best. Check that the columns of the logits belong to the classes of y."
        )


def _check(logits: Any, y: Any, sample_weight: Any) -> tuple[Floats, npt.NDArray[Any], Floats]:
    """Logits (n, K), class numbers (n,) or probabilities (n, K), and weights that sum to 1, of the rows with weight."""
    z: Floats = np.asarray(logits, dtype=np.float64)
    if z.ndim != 2 or len(z) < 1 or z.shape[1] < 2:
        raise ArrayValueError(f"logits must have shape (n, K) with n ≥ 1 and K ≥ 2, got {z.shape}.")
    wrong = np.isnan(z) | (z == np.inf)
    if wrong.any():
        i, k = np.unravel_index(int(np.argmax(wrong)), z.shape)
        raise ArrayValueError(f"logits must be numbers < inf, got {z[i, k]} at row {i}, class {k}.")
    target = np.asarray(y)
    if target.shape == z.shape:
        target = target.astype(np.float64)
        if not np.all(target >= 0) or np.any(np.abs(target.sum(axis=1) - 1.0) > 1e-6):
            raise TargetError("a matrix y must hold probabilities: numbers ≥ 0 in rows that sum to 1.")
    else:
        if target.shape != z.shape[:1]:
            raise TargetError(f"y must have shape ({len(z)},) or {z.shape} for these logits, got {target.shape}.")
        if target.dtype.kind not in "iu" or target.min() < 0 or target.max() >= z.shape[1]:
            raise TargetError(f"y must hold class numbers from 0 to {z.shape[1] - 1}.")
    if sample_weight is None:
        return _without_impossible(z, target, np.full(len(z), 1.0 / len(z)))
    weights: Floats = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (len(z),) or not np.all(np.isfinite(weights) & (weights >= 0)) or not weights.any():
        raise ArrayValueError(f"sample_weight must be {len(z)} finite numbers ≥ 0, not all of them 0.")
    kept = weights > 0
    return _without_impossible(z[kept], target[kept], weights[kept] / weights.sum())


def _without_impossible(
    z: Floats, target: npt.NDArray[Any], weights: Floats
) -> tuple[Floats, npt.NDArray[Any], Floats]:
    """The arguments, if every row's class is one that can be."""
    own = z[np.arange(len(z)), target] if target.ndim == 1 else np.where(target > 0, z, 0.0).min(axis=1)
    if np.isneginf(own).any():
        raise TargetError(f"the logit of the class of row {int(np.argmin(own))} is −inf, so that its loss is infinite.")
    return z, target, weights


def calibrate(model: Model, X: Any, y: Any, *, cv: Any = 5, sample_weight: Any = None, offset: Any = None) -> Model:
    """Set the temperature that divides a model's logits in ``predict_proba``, from rows that had no part in a fit.

    Parameters
    ----------
    model : SoftmaxRegression
        A fitted model. Its coefficients stay as they are.
    X, y, sample_weight, offset : as in ``fit``
        The data of the fit; with ``cv="prefit"``, other data.
    cv : int, splitter, iterable of (train, test) or "prefit", default=5
        How the rows are held out: clones of the model are fitted to the others, and their logits for the rows held out
        are put together. A number stands for as many stratified folds. "prefit" fits nothing and takes the model's own
        logits for X, which it must not have seen.

    Returns
    -------
    model
        The same object, with ``temperature_`` set, and with a record ``calibration_``: a dict of `temperature`,
        `log_loss_before`, `log_loss_after` (nats), `ece_before`, `ece_after` (see `reliability_table`, 15 bins; of the
        most probable class where y is a matrix), `n_rows`, `n_left_out` (rows whose class was missing from the other
        folds) and `folds` (0 for "prefit").

    Raises
    ------
    OptionError
        If `cv` holds nothing out, or no temperature is best (see `fit_temperature`).
    TargetError
        If y has classes that the model does not know.

    Notes
    -----
    A temperature moves no prediction: the order of the classes stays. The model that is calibrated has seen all rows
    and those of the folds a part of them, so that T is a little too large for small data.

    Examples
    --------
    >>> import softmax as sm
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = sm.SoftmaxRegression(C=100).fit(X[:500], y[:500])
    >>> record = model.calibrate(X[:500], y[:500]).calibration_
    >>> model.temperature_ > 1, record["log_loss_after"] < record["log_loss_before"]
    (True, True)
    """
    check_is_fitted(model)
    codes = _class_numbers(model, y)
    weights: Floats = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    given = None if sample_weight is None else weights
    if isinstance(cv, str):
        if cv != "prefit":
            raise OptionError(f"cv must be a number of folds, a splitter, splits or 'prefit'; got {cv!r}.")
        rows, logits, folds = np.arange(_num_samples(X)), _logits(model, X, offset), 0
    else:
        splits = _splits(cv, X, y, codes)
        parts = [_held_out(model, X, y, given, offset, train, test) for train, test in splits]
        rows, logits = np.concatenate([test for _, test in splits]), np.concatenate(parts)
        folds = len(splits)
    target, weights = codes[rows], weights[rows]
    own = logits[np.arange(len(rows)), target] if target.ndim == 1 else np.where(target > 0, logits, 0.0).min(axis=1)
    known = ~np.isneginf(own)
    logits, target, weights = logits[known], target[known], weights[known]
    temperature, before, after = fit_temperature(logits, target, weights)
    seen = target if target.ndim == 1 else np.argmax(target, axis=1)
    errors = [
        reliability_table(
            seen,
            softmax(logits, temperature=t),
            classes=np.arange(logits.shape[1]),
            n_bins=N_BINS,
            sample_weight=weights,
        ).ece
        for t in (1.0, temperature)
    ]
    fitted: Any = model
    fitted.temperature_ = temperature
    fitted.calibration_ = {
        "temperature": temperature,
        "log_loss_before": before,
        "log_loss_after": after,
        "ece_before": errors[0],
        "ece_after": errors[1],
        "n_rows": int(np.count_nonzero(weights)),
        "n_left_out": int(np.count_nonzero(~known)),
        "folds": folds,
    }
    return model


def _class_numbers(model: Any, y: Any) -> npt.NDArray[Any]:
    """The number of each row's class in the model, (n,); a matrix of probabilities stays one."""
    given = np.asarray(y)
    n_classes = len(model.classes_)
    if given.ndim == 2 and given.shape[1] == n_classes:
        return given.astype(np.float64)
    given = given.reshape(-1) if given.ndim == 2 and given.shape[1] == 1 else given
    if given.ndim != 1:
        raise TargetError(f"y must hold one label per row, or a row of {n_classes} probabilities; got {given.shape}.")
    place = np.minimum(np.searchsorted(model.classes_, given), n_classes - 1)
    wrong = model.classes_[place] != given
    if wrong.any():
        row = int(np.argmax(wrong))
        raise TargetError(f"the model does not know the class {given.tolist()[row]!r} of row {row}.")
    return place


def _splits(cv: Any, X: Any, y: Any, codes: npt.NDArray[Any]) -> list[Split]:
    """Pairs of rows to fit and rows held out."""
    n = _num_samples(X)
    stratified = codes.ndim == 1
    if isinstance(cv, int | np.integer):
        if not 2 <= cv <= n:
            raise OptionError(f"cv must be from 2 to the number of rows, {n}; got {cv}.")
        largest = int(np.bincount(codes).max()) if stratified else 0
        splitter: Any = StratifiedKFold(int(cv)) if stratified and largest >= cv else KFold(int(cv))
    else:
        splitter = check_cv(cv, codes if stratified else None, classifier=stratified)
    with warnings.catch_warnings():
        # Folds without a row of some class are dealt with, and counted, below.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        splits = [(np.asarray(train), np.asarray(test)) for train, test in splitter.split(X, y if stratified else None)]
    if not sum(len(test) for _, test in splits):
        raise OptionError("cv holds no rows out.")
    return splits


def _held_out(
    model: Any,
    X: Any,
    y: Any,
    weights: Floats | None,
    offset: Any,
    train: npt.NDArray[np.intp],
    test: npt.NDArray[np.intp],
) -> Floats:
    """Logits (m, K) of the rows `test` from a clone fitted to the rows `train`; −inf for classes unseen there."""

    def part(what: Any, rows: npt.NDArray[np.intp]) -> Any:
        return None if what is None else _safe_indexing(what, rows)

    train = train if weights is None else train[weights[train] > 0]
    target = np.asarray(y)
    soft = target.ndim == 2 and target.shape[1] >= 2
    shifts = None if offset is None else np.asarray(offset, dtype=np.float64)
    labels = target[train]
    if soft:
        columns = np.flatnonzero(labels.any(axis=0))
        labels = labels[:, columns]
    else:
        columns = np.flatnonzero(np.isin(model.classes_, labels))
    if len(columns) < 2:
        raise OptionError("a fold of cv leaves rows of one class only to fit. Take other folds.")
    offsets = () if shifts is None else (shifts[np.ix_(train, columns)],)  # a network takes none
    fold = clone(model).fit(part(X, train), labels, part(weights, train), *offsets)
    logits = np.full((len(test), len(model.classes_)), -np.inf)
    logits[:, columns] = _logits(fold, part(X, test), None if shifts is None else shifts[np.ix_(test, columns)])
    return logits


def _logits(model: Any, X: Any, offset: Any) -> Floats:
    """Logits (n, K) at temperature 1, at K = 2 too."""
    scores = model.decision_function(X)
    if scores.ndim == 1:
        scores = np.column_stack([-0.5 * scores, 0.5 * scores])
    logits: Floats = scores if offset is None else scores + np.asarray(offset, dtype=np.float64)
    return logits
