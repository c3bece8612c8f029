"""How well predicted probabilities fit the classes that were seen: figures for all rows, for each class, and pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


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
