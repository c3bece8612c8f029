"""Scores of held-out rows: the built-in ones from log-probabilities, and any scorer of scikit-learn through a model."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import check_scoring, get_scorer

from softmax._errors import OptionError, TargetError

from ._rows import Floats

# Rows whose logits at all points are held at once.
BLOCK_NUMBERS = 1 << 22


def _log_loss(log_p: Floats, target: npt.NDArray[Any]) -> Floats:
    if target.ndim == 1:
        own: Floats = log_p[np.arange(len(target)), target]
        return own
    sums: Floats = np.where(target == 0.0, 0.0, target * log_p).sum(axis=1)
    return sums


def _accuracy(log_p: Floats, target: npt.NDArray[Any]) -> Floats:
    right: Floats = (log_p.argmax(axis=1) == target).astype(np.float64)
    return right


def _brier(log_p: Floats, target: npt.NDArray[Any]) -> Floats:
    difference = np.exp(log_p)
    if target.ndim == 1:
        difference[np.arange(len(target)), target] -= 1.0
    else:
        difference -= target
    squares: Floats = -(difference**2).sum(axis=1)
    return squares


# Scores of rows, the larger the better: (log-probabilities (n, K), labels (n,) or probabilities (n, K)) -> (n,).
ROW_SCORES: dict[str, Callable[[Floats, npt.NDArray[Any]], Floats]] = {
    "neg_log_loss": _log_loss,
    "accuracy": _accuracy,
    "brier": _brier,
}


def check_scoring_of(scoring: Any, *, soft: bool, offset: bool, rows_only: bool) -> Any:
    """`scoring` as a name in `ROW_SCORES` or a scorer(model, X, y); says what does not go together.

    Raises
    ------
    OptionError, TargetError
    """
    if isinstance(scoring, str) and scoring in ROW_SCORES:
        if soft and scoring == "accuracy":
            raise TargetError("accuracy needs labels, and y holds probabilities: use neg_log_loss or brier.")
        return scoring
    if isinstance(scoring, str):
        try:
            scorer = get_scorer(scoring)
        except ValueError:
            raise OptionError(
                f"scoring must be one of {', '.join(ROW_SCORES)}, the name of a scorer of scikit-learn, or a callable "
                f"(model, X, y) -> float; got {scoring!r}."
            ) from None
    elif callable(scoring):
        scorer = check_scoring(_Dummy(), scoring=scoring)
    else:
        raise OptionError(f"scoring must be a name or a callable (model, X, y) -> float, got {scoring!r}.")
    for refused, what in (
        (rows_only, "cv='alo'"),
        (soft, "probabilities as targets"),
        (offset, "an offset"),
    ):
        if refused:
            raise OptionError(f"{what} can be scored by {', '.join(ROW_SCORES)} only, got scoring={scoring!r}.")
    return scorer


def takes_weights(scorer: Any) -> bool:
    """Whether a scorer takes `sample_weight`."""
    if hasattr(scorer, "_score_func"):
        return "sample_weight" in inspect.signature(scorer._score_func).parameters
    try:
        parameters = inspect.signature(scorer).parameters
    except (TypeError, ValueError):
        return False
    return "sample_weight" in parameters


def weighted_mean(values: Floats, weights: Floats | None) -> float:
    """nan of nothing."""
    if weights is None:
        return float(values.mean()) if len(values) else np.nan
    total = weights.sum()
    return float(weights @ values / total) if total > 0 else np.nan


class _Dummy:
    """What `check_scoring` wants to see of an estimator."""

    def fit(self, X: Any, y: Any) -> None:
        """Never called."""
