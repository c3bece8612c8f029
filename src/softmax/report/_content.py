"""What a report says, before it becomes HTML: plain values, gathered from a model, its data and its evaluation."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from softmax._evaluation import ReliabilityBins, Scores, reliability_table

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BINS = 15
MOST_COEFFICIENTS = 20
MOST_SPOKEN = 3


@dataclass(frozen=True)
class Column:
    """A column of the table: its kind in words, rows without a value, and how many features it becomes."""

    name: str
    kind: str
    missing: int | None
    features: int


@dataclass(frozen=True)
class Fit:
    """A certificate. `what` says which rows; `tolerance` is relative to the objective; `history` may be empty."""

    what: str
    status: str
    objective: float
    gap: float
    grad_norm: float
    passes: float
    iterations: int
    tolerance: float
    seconds: float | None = None
    history: Sequence[dict[str, Any]] = ()


@dataclass(frozen=True)
class Reliability:
    """Bins by the probability of the predicted class, of the model or of it at another temperature."""

    name: str
    bins: ReliabilityBins


@dataclass(frozen=True)
class Evaluated:
    """Figures on rows; `what` names them."""

    what: str
    scores: Scores
    reliability: list[Reliability]


@dataclass(frozen=True)
class Coefficient:
    """A coefficient of one class and feature, with standard error and interval where they are known."""

    label: str
    feature: str
    value: float
    error: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Choice:
    """A search for C: scores by C, `(m,)`, and which one was taken, by which rule."""

    Cs: Floats
    mean: Floats
    error: Floats
    chosen: float
    best: float
    scoring: str
    rule: str


@dataclass
class Content:
    """Everything on the page. Lists may be empty and parts None; the page then says why, where it knows."""

    title: str
    labels: list[str]
    facts: list[tuple[str, str]] = field(default_factory=list)
    columns: list[Column] = field(default_factory=list)
    sizes: Ints | None = None
    fits: list[Fit] = field(default_factory=list)
    evaluated: Evaluated | None = None
    coefficients: list[Coefficient] = field(default_factory=list)
    n_coefficients: int = 0
    no_intervals: str = ""
    interval_note: str = ""
    speaks: list[tuple[str, list[tuple[str, float]], list[tuple[str, float]]]] = field(default_factory=list)
    choice: Choice | None = None
    separation: str | None = None
    temperature: float = 1.0
    notes: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    command: str | None = None


def reliabilities(log_proba: Floats, codes: Ints, temperature: float) -> list[Reliability]:
    """The reliability of a model, and what it was before its temperature, where it has one other than 1.

    Rows with a negative code have a label that the model does not know, and are left aside.
    """
    known = codes >= 0
    if not known.any():
        return []
    log_p, codes = log_proba[known], codes[known]
    if temperature == 1.0:
        return [_reliability("model", log_p, codes)]
    before = log_p * temperature  # the logits, up to a constant of each row
    before = before - np.logaddexp.reduce(before, axis=1, keepdims=True)
    return [
        _reliability(f"after calibration, T = {temperature:.3g}", log_p, codes),
        _reliability("before, T = 1", before, codes),
    ]


def _reliability(name: str, log_proba: Floats, codes: Ints) -> Reliability:
    classes = np.arange(log_proba.shape[1])
    return Reliability(name, reliability_table(codes, np.exp(log_proba), classes=classes, n_bins=BINS).bins)


def largest_coefficients(
    coef: Floats,
    labels: Sequence[str],
    features: Sequence[str],
    errors: Floats | None,
    quantile: float = 1.959963984540054,
) -> list[Coefficient]:
    """The coefficients of largest magnitude; of two classes those of the second, the first has the opposite."""
    first = 1 if len(coef) == 2 else 0
    flat = np.abs(coef[first:]).ravel()
    order = np.argsort(-flat, kind="stable")[:MOST_COEFFICIENTS]
    chosen = []
    for place in order:
        if not flat[place] > 0:
            break
        k, j = divmod(int(place), coef.shape[1])
        k += first
        value = float(coef[k, j])
        error = None if errors is None else float(errors[k, j])
        interval = None if error is None else (value - quantile * error, value + quantile * error)
        chosen.append(Coefficient(labels[k], features[j], value, error, interval))
    return chosen


def spoken(
    coef: Floats, labels: Sequence[str], features: Sequence[str]
) -> list[tuple[str, list[tuple[str, float]], list[tuple[str, float]]]]:
    """For each class the features whose coefficients are largest, and smallest, with their values."""
    table = []
    for label, row in zip(labels, coef, strict=True):
        order = np.argsort(-row, kind="stable")
        high = [(features[j], float(row[j])) for j in order[:MOST_SPOKEN] if row[j] > 0]
        low = [(features[j], float(row[j])) for j in order[::-1][:MOST_SPOKEN] if row[j] < 0]
        table.append((label, high, low))
    return table


def versions() -> dict[str, str]:
    """The versions that made a report."""
    import sklearn

    from softmax import __version__

    return {
        "softmax": __version__,
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "python": platform.python_version(),
    }
