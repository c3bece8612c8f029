"""How well predicted probabilities fit the classes that were seen: figures for all rows, for each class, and pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ._errors import ArrayValueError, OptionError, TargetError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
# The z of a two-sided interval of 95 %.
Z95 = 1.959963984540054


@dataclass(frozen=True)
class Baseline:
    """The constant answer that a model has to beat: always the class that was the most frequent in the fit.

    `log_loss` is that of answering with the class frequencies of the fit, in nats per row.
    """

    code: int
    accuracy: float
    log_loss: float


@dataclass(frozen=True)
class Scores:
    """Figures of n rows in K classes.

    `accuracy` counts a row whose label the model does not know as wrong; everything else is over the other rows.
    `log_loss`: mean of −log p(true class), in nats per row. `confusion[i, j]`: rows of class i that were taken for j,
    `(K, K)`. `precision`, `recall`, `f1`, `class_log_loss`: per class, `(K,)`, nan where there is nothing to divide by.
    """

    n_rows: int
    n_unknown: int
    accuracy: float
    log_loss: float
    baseline: Baseline
    confusion: Ints
    precision: Floats
    recall: Floats
    f1: Floats
    class_log_loss: Floats

    @property
    def support(self) -> Ints:
        """Rows of each class, `(K,)`."""
        return np.asarray(self.confusion.sum(axis=1))

    @property
    def macro_f1(self) -> float:
        """Mean F1 over the classes that have a row."""
        present = self.support > 0
        return float(np.mean(self.f1[present])) if present.any() else float("nan")

    def confusions(self, limit: int) -> list[tuple[int, int, int]]:
        """Return the most frequent mistakes as (class, taken for, rows)."""
        wrong = self.confusion - np.diag(np.diag(self.confusion))
        order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
        pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True)]
        return [(i, j, int(wrong[i, j])) for i, j in pairs if wrong[i, j]]

    def summary(self) -> dict[str, Any]:
        """Return the figures of all rows, as JSON can hold them."""
        return {
            "rows": self.n_rows,
            "unknown_labels": self.n_unknown,
            "accuracy": self.accuracy,
            "log_loss": self.log_loss,
            "macro_f1": self.macro_f1,
            "baseline_accuracy": self.baseline.accuracy,
            "baseline_log_loss": self.baseline.log_loss,
        }


def evaluate(codes: Ints, log_proba: Floats, class_weights: Floats) -> Scores:
    """Compare log-probabilities `(n, K)` with class codes `(n,)`, where a negative code is a label that is not known.

    `class_weights (K,)` are the rows (or weights) per class of the fit, from which the baseline answers.
    """
    known = codes >= 0
    truth, log_p = codes[known], log_proba[known]
    n_classes = log_proba.shape[1]
    predicted = np.argmax(log_p, axis=1)
    losses = -log_p[np.arange(len(truth)), truth]
    confusion = np.bincount(truth * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)
    hits, support, taken = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    frequencies = class_weights / class_weights.sum()
    majority = int(np.argmax(frequencies))
    with np.errstate(divide="ignore", invalid="ignore"):
        return Scores(
            n_rows=len(codes),
            n_unknown=int(np.count_nonzero(~known)),
            accuracy=float(hits.sum() / len(codes)),
            log_loss=_mean(losses),
            baseline=Baseline(
                code=majority,
                accuracy=float(support[majority] / len(codes)),
                log_loss=_mean(-np.log(frequencies)[truth]),
            ),
            confusion=confusion,
            precision=hits / taken,
            recall=hits / support,
            f1=2 * hits / (support + taken),
            class_log_loss=np.bincount(truth, weights=losses, minlength=n_classes) / support,
        )


def _mean(values: Floats) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


@dataclass(frozen=True, eq=False)
class ReliabilityBins:
    """Rows in bins of a predicted probability; arrays (n_bins,), nan where a bin is empty.

    A bin holds the probabilities in (low, high], the first one also `low`. `count` are its rows and `weight` their
    weights; `confidence` is the mean probability, `accuracy` the share of rows in which it came true;
    `standard_error` is √(a (1 − a) / m) of that share, and `lower`, `upper` its Wilson interval at 95 %, where m is the
    number of rows, or (Σw)² / Σw² with weights.
    """

    low: Floats
    high: Floats
    count: Ints
    weight: Floats
    confidence: Floats
    accuracy: Floats
    standard_error: Floats
    lower: Floats
    upper: Floats

    @property
    def ece(self) -> float:
        """Expected calibration error, Σ_b w_b |accuracy_b − confidence_b| / Σ_b w_b."""
        used = self.count > 0
        return float(np.average(np.abs(self.accuracy - self.confidence)[used], weights=self.weight[used]))

    @property
    def mce(self) -> float:
        """Maximum calibration error, max_b |accuracy_b − confidence_b|."""
        return float(np.nanmax(np.abs(self.accuracy - self.confidence)))


@dataclass(frozen=True, eq=False)
class ReliabilityTable:
    """Whether predicted probabilities come true as often as they say; made by `reliability_table`.

    Attributes
    ----------
    bins : ReliabilityBins
        By the probability of the most probable class, which counts as true where the row has that class.
    ece, mce : float
        Expected and maximum calibration error of `bins`.
    brier : float
        Σ_k (p_k − y_k)², mean over the rows, from 0 to 2; at K = 2 it is twice the score of one class.
    log_loss : float
        −log p(true class), mean over the rows, in nats.
    accuracy, confidence : float
        Share of rows whose most probable class is true, and the mean probability of that class.
    n_rows : int
        Rows of weight > 0.
    classes : ndarray (K,)
        The labels.
    """

    bins: ReliabilityBins
    ece: float
    mce: float
    brier: float
    log_loss: float
    accuracy: float
    confidence: float
    n_rows: int
    classes: npt.NDArray[Any]
    _data: tuple[Ints, Floats, Floats, int, str]

    def of_class(self, label: Any) -> ReliabilityBins:
        """Bins by the probability of one class, which counts as true where the row has that class.

        Raises
        ------
        OptionError
            If there is no such class.
        """
        labels = self.classes.tolist()
        if label not in labels:
            raise OptionError(f"label must be one of the classes {labels!r}, got {label!r}.")
        codes, probabilities, weights, n_bins, strategy = self._data
        k = labels.index(label)
        return _bins(probabilities[:, k], codes == k, weights, n_bins, strategy)

    def class_errors(self) -> Floats:
        """Expected calibration error of each class, (K,); their mean is the classwise error."""
        return np.array([self.of_class(label).ece for label in self.classes.tolist()])

    def to_dict(self) -> dict[str, Any]:
        """The figures and the bins, as JSON can hold them; None stands for what an empty bin has not."""
        figures = {name: getattr(self, name) for name in ("ece", "mce", "brier", "log_loss", "accuracy", "confidence")}
        bins = {
            name: [value if value == value else None for value in getattr(self.bins, name).tolist()]
            for name in ReliabilityBins.__dataclass_fields__
        }
        return {"rows": self.n_rows, **figures, "bins": bins}

    def summary(self) -> str:
        """The table as text of at most 80 columns."""
        lines = [
            f"Reliability of {self.n_rows} rows in {len(self.classes)} classes",
            f"accuracy {self.accuracy:.4f}   mean confidence {self.confidence:.4f}   log-loss {self.log_loss:.4f} nats",
            f"ECE {self.ece:.4f}   MCE {self.mce:.4f}   Brier score {self.brier:.4f}",
            "",
            f"{'confidence':>18}{'rows':>9}{'mean':>9}{'accuracy':>10}{'std err':>9}{'95 % interval':>18}",
        ]
        b = self.bins
        for i in np.flatnonzero(b.count):
            bounds = f"{b.low[i]:.4f} – {b.high[i]:.4f}"
            interval = f"{b.lower[i]:.3f} – {b.upper[i]:.3f}"
            lines.append(
                f"{bounds:>18}{b.count[i]:>9}{b.confidence[i]:>9.4f}{b.accuracy[i]:>10.4f}"
                f"{b.standard_error[i]:>9.4f}{interval:>18}"
            )
        return "\n".join(lines)


def reliability_table(
    y_true: Any,
    probabilities: Any,
    *,
    classes: Any = None,
    n_bins: int = 15,
    strategy: str = "uniform",
    sample_weight: Any = None,
) -> ReliabilityTable:
    r"""Compare predicted probabilities with how often they come true.

    .. math:: \mathrm{ECE} = \sum_b \frac{|B_b|}{n} \left| \mathrm{acc}(B_b) - \mathrm{conf}(B_b) \right|

    over bins :math:`B_b` of rows by the probability of their most probable class.

    Parameters
    ----------
    y_true : array of shape (n,)
        The labels that were seen.
    probabilities : array of shape (n, K) or (n,)
        Predicted probabilities, rows that sum to 1; or, for two classes, the probability of the second one.
    classes : array of shape (K,), optional
        The label of each column, such as ``model.classes_``. By default the sorted labels of `y_true`, which then needs
        a row of every class.
    n_bins : int, default 15
        Number of bins.
    strategy : {"uniform", "quantile"}, default "uniform"
        Bins of equal width, or of about equal weight.
    sample_weight : array of shape (n,), optional
        Weights ≥ 0 of the rows.

    Returns
    -------
    ReliabilityTable
        ``bins``, ``ece``, ``mce``, ``brier``, ``log_loss``, ``of_class(label)``, ``summary()``.

    Raises
    ------
    ArrayValueError
        If `probabilities` are not probabilities of K classes, or `sample_weight` does not fit.
    TargetError
        If a label is none of the classes.
    OptionError
        If `n_bins` or `strategy` is outside its range.

    Notes
    -----
    The bins and the calibration errors are those of [1]_ and [2]_, the intervals of shares those of [3]_, and the
    quadratic score that of [4]_. The estimate of ECE is biased upwards: even a perfect model has some, about
    √(n_bins / n) times a constant.

    References
    ----------
    .. [1] M. P. Naeini, G. Cooper and M. Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning",
       AAAI 2015.
    .. [2] C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On calibration of modern neural networks", ICML 2017.
    .. [3] E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
       Statistical Association 22, 1927.
    .. [4] G. W. Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78, 1950.

    Examples
    --------
    >>> import softmax as sm
    >>> p = [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6]]
    >>> table = sm.reliability_table(["no", "no", "yes", "yes"], p, n_bins=5)
    >>> round(table.ece, 3), round(table.brier, 3)
    (0.25, 0.35)
    """
    if isinstance(n_bins, bool) or not isinstance(n_bins, int | np.integer) or n_bins < 1:
        raise OptionError(f"n_bins must be a positive integer, got {n_bins!r}.")
    if strategy not in ("uniform", "quantile"):
        raise OptionError(f"strategy must be 'uniform' or 'quantile', got {strategy!r}.")
    matrix = _probabilities(probabilities)
    labels, codes = _codes(y_true, classes, matrix.shape)
    weights = _row_weights(sample_weight, len(matrix))
    kept = weights > 0
    if not kept.all():
        matrix, codes, weights = matrix[kept], codes[kept], weights[kept]
    rows = np.arange(len(matrix))
    top = np.argmax(matrix, axis=1)
    bins = _bins(matrix[rows, top], top == codes, weights, int(n_bins), strategy)
    with np.errstate(divide="ignore"):
        losses = -np.log(matrix[rows, codes])
    # Σ_k (p_k − y_k)² = Σ_k p_k² − 2 p_y + 1, without an (n, K) array of targets.
    quadratic = np.einsum("ij,ij->i", matrix, matrix) - 2.0 * matrix[rows, codes] + 1.0
    return ReliabilityTable(
        bins=bins,
        ece=bins.ece,
        mce=bins.mce,
        brier=float(np.average(quadratic, weights=weights)),
        log_loss=float(np.average(losses, weights=weights)),
        accuracy=float(np.average(top == codes, weights=weights)),
        confidence=float(np.average(matrix[rows, top], weights=weights)),
        n_rows=len(matrix),
        classes=labels,
        _data=(codes, matrix, weights, int(n_bins), strategy),
    )


def _probabilities(probabilities: Any) -> Floats:
    """Probabilities (n, K), float64, checked."""
    try:
        matrix: Floats = np.asarray(probabilities, dtype=np.float64)
    except (TypeError, ValueError):
        raise ArrayValueError("probabilities must be numbers, one row per row and one column per class.") from None
    if matrix.ndim == 1 and matrix.size:
        matrix = np.column_stack([1.0 - matrix, matrix])
    if matrix.ndim != 2 or matrix.shape[0] < 1 or matrix.shape[1] < 2:
        raise ArrayValueError(f"probabilities must have shape (n, K) with n ≥ 1 and K ≥ 2, got {matrix.shape}.")
    fine = (matrix >= 0) & (matrix <= 1.0 + 1e-6)
    if not fine.all():
        i, k = np.unravel_index(int(np.argmin(fine)), matrix.shape)
        raise ArrayValueError(f"probabilities must lie in [0, 1], got {matrix[i, k]} at row {i}, class {k}.")
    sums = matrix.sum(axis=1)
    wrong = np.abs(sums - 1.0) > 1e-3
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ArrayValueError(
            f"each row of probabilities must sum to 1; row {row} sums to {sums[row]:.6g}. For logits, take sm.softmax."
        )
    return matrix


def _codes(y_true: Any, classes: Any, shape: tuple[int, ...]) -> tuple[npt.NDArray[Any], Ints]:
    """The labels (K,), and the column of each row's label."""
    y = np.asarray(y_true)
    if y.shape != shape[:1]:
        raise TargetError(f"y_true must hold one label per row, shape ({shape[0]},), got {y.shape}.")
    labels = np.unique(y) if classes is None else np.asarray(classes)
    if labels.shape != (shape[1],):
        advice = "Pass classes, the label of each column." if classes is None else "Pass one label per column."
        source = "y_true has" if classes is None else "classes holds"
        raise TargetError(f"{source} {labels.size} labels, and probabilities have {shape[1]} columns. {advice}")
    order = np.argsort(labels, kind="stable")
    place = np.minimum(np.searchsorted(labels, y, sorter=order), len(labels) - 1)
    codes = order[place]
    wrong = labels[codes] != y
    if wrong.any():
        i = int(np.argmax(wrong))
        raise TargetError(f"the label {y.tolist()[i]!r} of row {i} is none of the classes {labels.tolist()!r}.")
    return labels, codes.astype(np.int64)


def _row_weights(sample_weight: Any, n: int) -> Floats:
    """Weights (n,), checked."""
    if sample_weight is None:
        return np.ones(n)
    weights: Floats = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (n,) or not np.all(np.isfinite(weights) & (weights >= 0)) or not weights.any():
        raise ArrayValueError(f"sample_weight must be {n} finite numbers ≥ 0, not all of them 0.")
    return weights


def _bins(values: Floats, hits: npt.NDArray[np.bool_], weights: Floats, n_bins: int, strategy: str) -> ReliabilityBins:
    """Bins of probabilities and of whether they came true."""
    if strategy == "uniform":
        edges = np.linspace(0.0, 1.0, n_bins + 1)
    else:
        edges = np.unique(_quantiles(values, weights, np.linspace(0.0, 1.0, n_bins + 1)))
        edges = edges if len(edges) > 1 else np.repeat(edges, 2)
    place = np.searchsorted(edges[1:-1], values)

    def sums(what: Floats | None) -> Floats:
        return np.bincount(place, weights=what, minlength=len(edges) - 1).astype(np.float64)

    weight, count = sums(weights), sums(None).astype(np.int64)
    with np.errstate(divide="ignore", invalid="ignore"):
        accuracy = sums(weights * hits) / weight
        size = weight**2 / sums(weights**2)
        error = np.sqrt(accuracy * (1.0 - accuracy) / size)
        centre = (accuracy + Z95**2 / (2 * size)) / (1.0 + Z95**2 / size)
        half = Z95 / (1.0 + Z95**2 / size) * np.sqrt(accuracy * (1.0 - accuracy) / size + (Z95 / (2 * size)) ** 2)
        return ReliabilityBins(
            low=edges[:-1],
            high=edges[1:],
            count=count,
            weight=weight,
            confidence=sums(weights * values) / weight,
            accuracy=accuracy,
            standard_error=error,
            lower=np.maximum(centre - half, 0.0),
            upper=np.minimum(centre + half, 1.0),
        )


def _quantiles(values: Floats, weights: Floats, shares: Floats) -> Floats:
    """Quantiles between the order statistics; with weights, the first value whose share of the weight is enough."""
    if np.all(weights == weights[0]):
        return np.asarray(np.quantile(values, shares))
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    place = np.searchsorted(total, shares * total[-1])
    place[0] = 0
    return np.asarray(values[order][np.minimum(place, len(values) - 1)])
