"""`SoftmaxRegression`: labels, options and scikit-learn's conventions around the solvers; no arithmetic of its own."""

import warnings
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from softmax._errors import ArrayTypeError, ModelFileError, NotCertifiedWarning, OptionError, TargetError
from softmax._function import log_softmax, softmax
from softmax._threads import number_of_threads

from ._newton import Progress, Result
from ._rows import DenseRows, Floats
from ._solvers import SOLVERS, choose_solver, solve
from ._threads import Workers

# A safety net: the hardest data met so far took a tenth of it.
DEFAULT_MAX_ITER = 1000
# Below this estimated time of one pass, in nanoseconds, a pool of threads costs more than it saves.
POOL_FROM = 1e6
# What SoftmaxRegression keeps of a fit as plain numbers.
CERTIFICATE = ("objective_", "gap_", "grad_norm_", "status_", "n_iter_", "n_passes_", "history_")


class SoftmaxRegression(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    r"""Softmax (multinomial logistic) regression with an L2 penalty, fitted until its optimality is certified.

    The model is p(y = k | x) = softmax(W x + b)_k. With weights π_i = s_i / Σ s (sample times class weight) the fit
    minimises

    .. math:: f(W, b) = \sum_i \pi_i\,[\operatorname{lse}(W x_i + b) - (W x_i + b)_{y_i}] + \frac{\lambda}{2} \lVert W
    \rVert^2,
              \qquad \lambda = \frac{1}{C \sum_i s_i},

    in nats: the objective of scikit-learn's multinomial ``LogisticRegression`` over the sum of the weights. The
    intercept b is not penalised. The number of classes is K ≥ 2, and there are always K sets of coefficients. At K = 2
    scikit-learn fits one set, the difference of ours, and the penalty of the two halves is half as large:
    ``SoftmaxRegression(C)`` equals ``LogisticRegression(C=2 * C)`` there.

    The units of X do not matter for the speed or the stop, only, through the penalty, for the optimum itself.

    Parameters
    ----------
    C : float, default=1.0
        Inverse strength of the penalty, finite and > 0.
    fit_intercept : bool, default=True
        Whether to fit b; otherwise it is 0.
    solver : {"auto", "newton", "newton-cg"}, default="auto"
        Both are Newton's method with conjugate gradients. "newton" preconditions them with a factor of the whole
        Hessian, which it keeps from step to step; it needs (K·d)² numbers. "newton-cg" preconditions with the Kronecker
        product of a class and a feature covariance. "auto" takes "newton" up to K·d = 3000. ``history_[0]`` says which,
        and why.
    tol : float, default=1e-6
        The fit stops when ``gap_ <= tol * objective_``.
    max_iter : int or None, default=None
        Largest number of Newton steps; None is a safety net of 1000.
    class_weight : dict, "balanced" or None, default=None
        Weight of each class, by label; "balanced" is n / (K · n_k). Multiplies `sample_weight`.
    warm_start : bool, default=False
        Whether to start from the coefficients of the last fit, where it had the same classes and features.
    n_threads : int or None, default=None
        Threads of the fit; None takes the environment variable SOFTMAX_NUM_THREADS, else all processors. A fit repeats
        bitwise at a fixed number.
    verbose : int, default=0
        With 1, print a line per iteration.

    Attributes
    ----------
    coef_ : ndarray of shape (K, d), float64
        W. Its columns sum to 0.
    intercept_ : ndarray of shape (K,), float64
        b. Sums to 0.
    classes_ : ndarray of shape (K,)
        The labels, sorted.
    n_features_in_ : int
        d.
    feature_names_in_ : ndarray of shape (d,)
        Names of the columns, where X had any.
    n_iter_ : int
        Newton steps taken.
    objective_ : float
        f at the returned coefficients, in nats.
    gap_ : float
        Upper bound of ``objective_`` minus the optimum, from Fenchel duality: ‖∇_W f‖² / (2λ) where the intercept
        gradient is 0, and with a term for what it is otherwise. Evaluated in float64 on the returned coefficients and X
        as given, rounding allowed for. It holds whether or not the fit converged.
    grad_norm_ : float
        Euclidean norm of the gradient in (W, b).
    status_ : {"certified", "not converged"}
        Whether ``gap_ <= tol * objective_``.
    n_passes_ : int
        How often X was read in full.
    history_ : list of dict
        One record per iteration: iteration, passes, objective, gap, grad_norm, cg (conjugate-gradient steps), step
        (length), preconditioner.

    Notes
    -----
    Dense X only; float32 is computed in float64, block by block, and coefficients are always float64. The fit needs one
    work array of n·K float64 numbers besides X. A fit that does not reach `tol` gives one `NotCertifiedWarning`, with
    the gap it reached.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> import softmax as sm
    >>> X, y = load_iris(return_X_y=True)
    >>> model = sm.SoftmaxRegression().fit(X, y)
    >>> model.status_
    'certified'
    >>> model.predict_proba(X[:1]).round(3)
    array([[0.982, 0.018, 0.   ]])
    """

    def __init__(
        self,
        C: float = 1.0,
        *,
        fit_intercept: bool = True,
        solver: str = "auto",
        tol: float = 1e-6,
        max_iter: int | None = None,
        class_weight: Mapping[Any, float] | str | None = None,
        warm_start: bool = False,
        n_threads: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.C = C
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.n_threads = n_threads
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : array or data frame of shape (n, d)
            Finite numbers, dense. Read, never copied as a whole or changed.
        y : array of shape (n,)
            Labels of any sortable dtype, at least two different ones.
        sample_weight : array of shape (n,), optional
            Weights ≥ 0; every class needs a positive sum. A row of weight 0 counts as absent.

        Returns
        -------
        self

        Raises
        ------
        OptionError
            If a parameter is outside its range.
        ArrayTypeError
            If X is sparse.
        TargetError
            If there are fewer than two classes, or a class has no weight.
        ValueError, TypeError
            scikit-learn's own, if X or y is not numeric, not finite, empty or of the wrong shape.
        """
        self._check_parameters()
        _refuse_sparse(X)
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        classes, labels = _classes_of(y)
        weights = self._weights(X, y, sample_weight, classes, labels)
        if weights is not None and not weights.all():
            kept = np.flatnonzero(weights)
            X, labels, weights = X[kept], labels[kept], weights[kept]
        total, weights = _as_uniform(weights, len(X))
        start = self._start(classes, X.shape[1])
        solver, because = choose_solver(self.solver, len(classes), X.shape[1])
        n_threads = number_of_threads(self.n_threads)
        n, d = X.shape
        long_pass = n * len(classes) * (4.0 + d / 6.0) >= POOL_FROM
        report = self._reporter(solver, because)
        with Workers(n_threads if long_pass or self.n_threads is not None else None) as workers:
            rows = DenseRows(X, weights, len(classes), bool(self.fit_intercept), workers)
            result = solve(
                rows,
                labels,
                len(classes),
                penalty=1.0 / (self.C * total),
                intercept=bool(self.fit_intercept),
                solver=solver,
                tol=float(self.tol),
                max_iter=DEFAULT_MAX_ITER if self.max_iter is None else int(self.max_iter),
                start=start,
                progress=report,
            )
        result.history[0] |= {"solver": solver, "because": because}
        self.classes_ = classes
        self._keep(result, rows.n_passes)
        return self

    def decision_function(self, X: Any) -> Floats:
        """Logits W x + b, (n, K); at K = 2 the difference of the two, (n,), positive for the second class."""
        X = self._validated(X)
        if len(self.classes_) == 2:
            difference: Floats = X @ (self.coef_[1] - self.coef_[0]) + (self.intercept_[1] - self.intercept_[0])
            return difference
        return self._logits(X)

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The most probable label of each row, (n,)."""
        scores = self.decision_function(X)
        best = (scores > 0).astype(np.intp) if scores.ndim == 1 else np.argmax(scores, axis=1)
        labels: npt.NDArray[Any] = self.classes_[best]
        return labels

    def predict_proba(self, X: Any) -> Floats:
        """Probabilities of the classes, (n, K), float64, rows sum to 1."""
        probabilities: Floats = softmax(self._logits(self._validated(X)))
        return probabilities

    def predict_log_proba(self, X: Any) -> Floats:
        """Logarithms of the probabilities in nats, (n, K), accurate also where a probability underflows or rounds to
        1.
        """
        logs: Floats = log_softmax(self._logits(self._validated(X)))
        return logs

    def _logits(self, X: npt.NDArray[Any]) -> Floats:
        logits: Floats = X @ self.coef_.T + self.intercept_
        return logits

    def _validated(self, X: Any) -> npt.NDArray[Any]:
        """X checked against the fit."""
        check_is_fitted(self)
        _refuse_sparse(X)
        array: npt.NDArray[Any] = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return array

    def _check_parameters(self) -> None:
        """Refuse parameters outside their ranges."""
        if not _is_real(self.C) or not self.C > 0:
            raise OptionError(f"C must be a number > 0, got {self.C!r}.")
        if not np.isfinite(self.C):
            raise OptionError(
                "C must be finite, got inf: fits without penalty are not supported yet. "
                "A large C such as 1e6 comes near to one."
            )
        if not _is_real(self.tol) or not 0 < self.tol < np.inf:
            raise OptionError(f"tol must be a finite number > 0, got {self.tol!r}.")
        if self.max_iter is not None and (not _is_integer(self.max_iter) or self.max_iter < 1):
            raise OptionError(f"max_iter must be a positive integer or None, got {self.max_iter!r}.")
        if self.solver not in SOLVERS:
            raise OptionError(f"solver must be one of {', '.join(SOLVERS)}; got {self.solver!r}.")

    def _weights(
        self,
        X: npt.NDArray[Any],
        y: npt.NDArray[Any],
        sample_weight: Any,
        classes: npt.NDArray[Any],
        labels: npt.NDArray[np.intp],
    ) -> Floats | None:
        """Sample times class weights, or None where all are 1."""
        if sample_weight is None and self.class_weight is None:
            return None
        weights: Floats = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True, copy=True)
        _refuse_weightless(classes, labels, weights)
        if self.class_weight is not None:
            factors = compute_class_weight(self.class_weight, classes=classes, y=y, sample_weight=weights)
            if not np.all(np.isfinite(factors)) or np.any(factors < 0):
                raise OptionError(
                    f"class weights must be finite and ≥ 0, got {factors.tolist()} for the classes {classes.tolist()}."
                )
            weights *= factors[labels]
            _refuse_weightless(classes, labels, weights)
        return weights

    def _start(self, classes: npt.NDArray[Any], d: int) -> tuple[Floats, Floats] | None:
        """Where a warm start begins, or None."""
        if not self.warm_start or not hasattr(self, "coef_") or not np.array_equal(self.classes_, classes):
            return None
        return (self.coef_, self.intercept_) if self.coef_.shape == (len(classes), d) else None

    def _reporter(self, solver: str, because: str) -> Progress | None:
        """What is called after each iteration: prints with `verbose`, and the hook `_progress` where a caller has set
        one.
        """
        hook: Progress | None = getattr(self, "_progress", None)
        if not self.verbose:
            return hook
        print(f"solver {solver} ({because})\niteration  passes        objective          gap")  # noqa: T201  verbose asks for it

        def report(iteration: int, passes: int, objective: float, gap: float) -> None:
            print(f"{iteration:9d}  {passes:6d}  {objective:15.9g}  {gap:11.3g}", flush=True)  # noqa: T201
            if hook is not None:
                hook(iteration, passes, objective, gap)

        return report

    def _keep(self, result: Result, n_passes: int) -> None:
        """Set the fitted attributes, and warn if there is no certificate."""
        certificate = result.certificate
        self.coef_ = result.evaluation.coef
        self.intercept_ = result.evaluation.intercept
        self.n_iter_ = result.n_iter
        self.n_passes_ = n_passes
        self.history_ = result.history
        self.objective_ = certificate.objective
        self.gap_ = certificate.gap
        self.grad_norm_ = certificate.grad_norm
        self.status_ = "certified" if result.reason == "certified" else "not converged"
        if self.status_ != "certified":
            relative = self.gap_ / self.objective_
            remedy = {
                "iterations": f"max_iter={self.max_iter or DEFAULT_MAX_ITER} was reached: raise max_iter or tol",
                "rounding": "rounding in float64 allows no more: "
                f"pass tol={2 * relative:.1e} or a smaller C, or rescale X",
            }[result.reason]
            warnings.warn(
                f"the fit is certified to {relative:.1e} of the objective only, not to tol={self.tol:g}; {remedy}.",
                NotCertifiedWarning,
                stacklevel=3,
            )

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        state.pop("_progress", None)  # a hook belongs to the caller of one fit
        return state

    def __softmax_state__(self) -> tuple[str, dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """What `softmax.save` writes: a kind, a header of plain Python values, and arrays."""
        check_is_fitted(self)
        header = {
            "params": self.get_params(deep=False),
            "certificate": {name.rstrip("_"): getattr(self, name) for name in CERTIFICATE},
        }
        arrays = {"coef": self.coef_, "intercept": self.intercept_, "classes": self.classes_}
        if hasattr(self, "feature_names_in_"):
            arrays["feature_names"] = self.feature_names_in_
        return "SoftmaxRegression", header, arrays

    @classmethod
    def from_state(cls, header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The estimator that `__softmax_state__` described.

        Raises
        ------
        ModelFileError
            If the state is not one that `__softmax_state__` could have returned.
        """
        try:
            model = cls(**header["params"])
            model.coef_, model.intercept_, model.classes_ = arrays["coef"], arrays["intercept"], arrays["classes"]
            for name in CERTIFICATE:
                setattr(model, name, header["certificate"][name.rstrip("_")])
        except (KeyError, TypeError) as error:
            raise ModelFileError(f"the saved SoftmaxRegression is damaged ({error!r}).") from None
        n_classes = len(model.classes_)
        if (
            model.coef_.ndim != 2
            or len(model.coef_) != n_classes
            or model.intercept_.shape != (n_classes,)
            or n_classes < 2
        ):
            raise ModelFileError(
                "the saved SoftmaxRegression is damaged: "
                f"coef {model.coef_.shape}, intercept {model.intercept_.shape} and {n_classes} classes "
                "do not belong together."
            )
        model.n_features_in_ = model.coef_.shape[1]
        if "feature_names" in arrays:
            if arrays["feature_names"].shape != (model.n_features_in_,):
                raise ModelFileError(
                    "the saved SoftmaxRegression is damaged: feature names and coefficients differ in number."
                )
            model.feature_names_in_ = arrays["feature_names"]
        return model


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _refuse_sparse(X: Any) -> None:
    """Sparse matrices and arrays are not supported yet."""
    if scipy.sparse.issparse(X):
        raise ArrayTypeError(
            f"X must be dense: sparse data is not supported yet, got {type(X).__name__}. "
            "Pass X.toarray() if it fits in memory."
        )


def _classes_of(y: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.intp]]:
    """Sorted labels, and the position of each row's label among them."""
    if y.dtype == object and all(isinstance(label, float) for label in y):
        y = y.astype(np.float64)
    if y.dtype.kind in "fc":
        check_classification_targets(y)  # refuses what looks like a target of a regression
    try:
        classes, labels = np.unique(y, return_inverse=True)
    except TypeError:
        kinds = sorted({type(label).__name__ for label in y})
        raise TargetError(
            f"y mixes labels that cannot be sorted ({', '.join(kinds)}). Convert them to one type, for example to str."
        ) from None
    if len(classes) < 2:
        raise TargetError(f"y needs at least 2 classes, got 1 class: {classes.tolist()[0]!r}.")
    return classes, labels.reshape(-1)


def _refuse_weightless(classes: npt.NDArray[Any], labels: npt.NDArray[np.intp], weights: Floats) -> None:
    """Every class needs some weight."""
    totals = np.bincount(labels, weights=weights, minlength=len(classes))
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
    return float(weights.sum()), None if np.all(weights == weights[0]) else weights
