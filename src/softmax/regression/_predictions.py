"""What a fitted classifier says of new rows; every estimator that has logits shares it."""

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from softmax._function import log_softmax, softmax

from ._inputs import check_sparse_structure, refuse_not_finite
from ._rows import Floats


class SoftmaxClassifierMixin(ClassifierMixin):  # type: ignore[misc]  # scikit-learn has no types
    """Predictions from `_logits` and, for two classes, their difference `_margin`.

    A `temperature_` other than 1 divides the logits before they become probabilities.
    """

    classes_: npt.NDArray[Any]
    temperature_: float

    def _logits(self, X: Any) -> Floats:
        raise NotImplementedError

    def _margin(self, X: Any) -> Floats:
        raise NotImplementedError

    def decision_function(self, X: Any) -> Floats:
        """Logits, (n, K); at K = 2 the difference of the two, (n,), positive for the second class."""
        X = self._validated(X)
        return self._margin(X) if len(self.classes_) == 2 else self._logits(X)

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The most probable label of each row, (n,)."""
        scores = self.decision_function(X)
        best = (scores > 0).astype(np.intp) if scores.ndim == 1 else np.argmax(scores, axis=1)
        labels: npt.NDArray[Any] = self.classes_[best]
        return labels

    def predict_proba(self, X: Any) -> Floats:
        """Probabilities of the classes, (n, K), float64, rows sum to 1."""
        probabilities: Floats = softmax(self._logits(self._validated(X)), temperature=self._temperature())
        return probabilities

    def predict_log_proba(self, X: Any) -> Floats:
        """Logarithms of the probabilities in nats, (n, K), accurate also where a probability underflows or rounds to
        1.
        """
        logs: Floats = log_softmax(self._logits(self._validated(X)), temperature=self._temperature())
        return logs

    def _temperature(self) -> float:
        return float(getattr(self, "temperature_", 1.0))

    def _validated(self, X: Any) -> Any:
        """X checked against the fit."""
        check_is_fitted(self)
        if scipy.sparse.issparse(X):
            check_sparse_structure(X)
        X = validate_data(
            self,
            X,
            dtype=[np.float64, np.float32],
            accept_sparse="csr",
            accept_large_sparse=True,
            ensure_all_finite=False,
            reset=False,
        )
        refuse_not_finite(X, getattr(self, "feature_names_in_", None))
        return X

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class LinearClassifierMixin(SoftmaxClassifierMixin):
    """Predictions from logits W x + b."""

    coef_: Floats
    intercept_: Floats

    def _logits(self, X: Any) -> Floats:
        logits: Floats = X @ self.coef_.T + self.intercept_
        return logits

    def _margin(self, X: Any) -> Floats:
        difference: Floats = X @ (self.coef_[1] - self.coef_[0]) + (self.intercept_[1] - self.intercept_[0])
        return difference
