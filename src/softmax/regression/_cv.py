"""`SoftmaxRegressionCV`: the strength of the penalty by cross-validation."""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _check_sample_weight

from softmax._errors import NotCertifiedWarning, OptionError

from ._callbacks import CallbackSupport, SearchWatch, with_callbacks
from ._estimator import SoftmaxRegression
from ._folds import Data, Split, splits_of
from ._inputs import Inputs, _refuse_weightless, prepare
from ._path import fitted_model, grid_of
from ._predictions import LinearClassifierMixin
from ._rows import Floats
from ._scores import check_scoring_of
from ._search import Curve, Search, choose, count_fits, targets_of
from ._state import restore, state_of


class SoftmaxRegressionCV(CallbackSupport, LinearClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    r"""Softmax regression whose penalty is chosen by cross-validation, every fit of it certified.

    For each value of C and each fold the model is fitted to the rows outside the fold and scored on those inside. The
    fits share what they learn: those of a fold start from the fits to all rows, which are made first, and take their
    curvature from them. The value with the best mean score is kept, and ``coef_`` is its fit to all rows.

    Parameters
    ----------
    Cs : int or sequence of float, default=10
        Inverse strengths of the penalty to try, > 0. An integer takes so many between 1e-4 and 1e4, evenly spaced in
        their logarithm. λ = 1 / (C Σ weights) with the weights of the rows of each fit, as if each were a fit of its
        own.
    cv : int, "alo", splitter or iterable, default=5
        A number of stratified folds (plain ones for a matrix y); a splitter of scikit-learn; pairs (train, test) of row
        numbers; or "alo", approximate leave-one-out, which takes no fits besides those to all rows: one Newton step
        away from each row, from one factor of the Hessian. It needs an L2 penalty alone, and (K·d)² numbers.
    scoring : str or callable, default="neg_log_loss"
        "neg_log_loss" (mean log-probability of the label, in nats), "accuracy", "brier" (minus the mean of
        Σ_k (p_k − y_k)²), the name of a scorer of scikit-learn, or a callable (model, X, y) -> float. Larger is better.
    one_standard_error : bool, default=False
        Take the smallest C whose mean score is at most one standard error below the best, and not the best itself.
    refit : bool, default=True
        Whether to keep the fit to all rows at the chosen value. Without it there are scores alone, and no predictions.
    l1_ratio : float or sequence of float, default=0.0
        As in `SoftmaxRegression`; a sequence is searched together with `Cs`.
    grouped : bool, default=False
        As in `SoftmaxRegression`.
    penalty_weights : array of shape (d,), optional
        Factors ≥ 0 of the penalty of each feature.
    bounds : tuple (lower, upper), optional
        Limits of the coefficients, as in `SoftmaxRegression`.
    fit_intercept : bool, default=True
        Whether to fit the intercept, which has no penalty.
    solver : str, default="auto"
        As in `SoftmaxRegression`, for the fits that share nothing. Those that do have a way of their own.
    tol : float, default=1e-6
        Every fit ends when its gap is at most `tol` times its objective.
    max_iter : int or None, default=None
        Largest number of iterations of a fit; None is a safety net of 1000.
    class_weight : dict, "balanced" or None, default=None
        Weight of each class in the fits; "balanced" follows the rows of each fit. Scores do not have it.
    n_threads : int or None, default=None
        Threads; None takes the environment variable SOFTMAX_NUM_THREADS, else all processors. Where a pass over X is
        short, each thread takes folds of its own.
    random_state : int or None, default=None
        Shuffles the rows before they are dealt to an integer number of folds; None deals them in their order.
    verbose : int, default=0
        With 1, print a line per fold.

    Attributes
    ----------
    C_ : float
        The chosen value.
    l1_ratio_ : float
        The chosen share of L1.
    Cs_ : ndarray of shape (n_Cs,)
        The values tried, in the order of `Cs`.
    l1_ratios_ : ndarray of shape (n_ratios,)
        The shares tried.
    scores_ : ndarray of shape (n_folds, n_Cs) or (n_folds, n_Cs, n_ratios)
        Score of each fold; the last axis where `l1_ratio` is a sequence. One row for "alo", and one of nan where all
        rows of a fold have weight 0. nan too where an interrupted search has not been.
    mean_scores_ : ndarray of shape (n_Cs,) or (n_Cs, n_ratios)
        Means over the folds; after an interrupt, over those that are complete, and nan where there is nothing to
        compare.
    std_errors_ : ndarray of shape (n_Cs,) or (n_Cs, n_ratios)
        Standard errors of the means: over folds, or over rows for "alo".
    best_index_ : int or tuple of int
        Where ``mean_scores_`` holds the chosen value.
    total_passes_ : int
        How often X, or a part of it, was read in all fits.
    coef_, intercept_, classes_, n_features_in_, feature_names_in_
        Of the fit to all rows, as in `SoftmaxRegression`.
    objective_, gap_, grad_norm_, status_, penalty_, n_iter_, n_passes_, history_, temperature_, separating_direction_
        The certificate of that fit, as in `SoftmaxRegression`.

    Notes
    -----
    A class none of whose rows are among those of a fit stays in the model: its coefficients are 0, and its intercept
    gives it a mean probability of 1 / (n + m) on the n rows of the fit, where m is the number of such classes, as if
    there were one row more of each. So its rows have a finite loss. "alo" has no such case: one Newton step keeps every
    probability above 0.

    A KeyboardInterrupt ends the search. If some value has been scored, the best so far is kept, with a
    `NotCertifiedWarning` that says how many scores there are; its fit to all rows is made now where it has not been
    made, and a second interrupt ends that fit where it stands. Otherwise the interrupt goes on to the caller.

    Callbacks of scikit-learn (≥ 1.9) see the search as that of its own searches: each value and fold is a task, each
    of the fits to all rows that go ahead is one, and the last fit. A callback that asks to stop ends the search as an
    interrupt does, as soon as there is a score.

    Ties are won by the smaller C, the stronger penalty. At K = 2 the penalty is half as large as that of scikit-learn's
    `LogisticRegressionCV` at the same C: see `SoftmaxRegression`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> import softmax as sm
    >>> X, y = load_iris(return_X_y=True)
    >>> model = sm.SoftmaxRegressionCV(Cs=[0.1, 1.0, 10.0, 100.0]).fit(X, y)
    >>> model.C_
    100.0
    >>> model.scores_.shape
    (5, 4)
    >>> model.status_
    'certified'
    """

    def __init__(
        self,
        Cs: int | npt.ArrayLike = 10,
        *,
        cv: Any = 5,
        scoring: Any = "neg_log_loss",
        one_standard_error: bool = False,
        refit: bool = True,
        l1_ratio: float | npt.ArrayLike = 0.0,
        grouped: bool = False,
        penalty_weights: npt.ArrayLike | None = None,
        bounds: tuple[npt.ArrayLike | None, npt.ArrayLike | None] | None = None,
        fit_intercept: bool = True,
        solver: str = "auto",
        tol: float = 1e-6,
        max_iter: int | None = None,
        class_weight: Mapping[Any, float] | str | None = None,
        n_threads: int | None = None,
        random_state: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.Cs = Cs
        self.cv = cv
        self.scoring = scoring
        self.one_standard_error = one_standard_error
        self.refit = refit
        self.l1_ratio = l1_ratio
        self.grouped = grouped
        self.penalty_weights = penalty_weights
        self.bounds = bounds
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.class_weight = class_weight
        self.n_threads = n_threads
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None, offset: Any = None, *, groups: Any = None) -> Self:
        """Choose C, and fit the model with it.

        Parameters
        ----------
        X : array, sparse matrix or data frame of shape (n, d)
            Finite numbers. Read, never changed; the rows of one fold are copied at a time and thread.
        y : array of shape (n,) or (n, K)
            Labels of any sortable dtype, or probabilities of K classes.
        sample_weight : array of shape (n,), optional
            Weights ≥ 0, in the fits and in the scores. A row of weight 0 counts as absent.
        offset : array of shape (n, K), optional
            Known parts of the logits.
        groups : array of shape (n,), optional
            What a splitter by groups wants to know.

        Returns
        -------
        self

        Raises
        ------
        OptionError
            If a parameter is outside its range, `cv` does not fit the rows, or `scoring` does not fit `y`.
        ArrayValueError, TargetError, ValueError, TypeError
            As `SoftmaxRegression.fit`.
        """
        grid, ratios = grid_of(self.Cs), self._ratios()
        template = self._template(float(ratios[0]))
        inputs, data = self._inputs(template, X, y, sample_weight, offset)
        alo = isinstance(self.cv, str) and self.cv == "alo"
        scoring = check_scoring_of(
            self.scoring,
            soft=data.unit.probabilities is not None,
            offset=data.unit.offset is not None,
            rows_only=alo,
        )
        folds = [] if alo else self._splits(data, groups)
        distinct = np.unique(grid)
        watch = SearchWatch(
            self,
            X,
            y,
            total=count_fits(data, ratios, len(distinct), len(folds)),
            refit=bool(self.refit),
            also=getattr(self, "_progress", None),
            metadata={"sample_weight": sample_weight, "offset": offset},
        )
        curves: list[Curve] = []
        for place in range(len(ratios)):
            curves.append(Search(self, data, distinct, folds, scoring, watch, place).run())
            if watch.stopped or not curves[-1].complete:
                break
        watch.end_search()
        if not any(curve.done.any() for curve in curves):
            raise KeyboardInterrupt
        curves += [Curve.empty(max(1, len(folds)), len(distinct)) for _ in ratios[len(curves) :]]
        self._keep_scores(grid, ratios, curves)
        self.classes_ = inputs.classes
        self.n_features_in_ = template.n_features_in_
        if hasattr(template, "feature_names_in_"):
            self.feature_names_in_ = template.feature_names_in_
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        if self.refit:
            self._refit(template, inputs, data, curves[int(np.argmax(ratios == self.l1_ratio_))], watch)
        watch.close()
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "coef_")

    def _ratios(self) -> Floats:
        """The values of l1_ratio to try."""
        try:
            ratios: Floats = np.atleast_1d(np.array(self.l1_ratio, dtype=np.float64))
        except (TypeError, ValueError):
            ratios = np.array([np.nan])
        if ratios.ndim != 1 or not ratios.size or not np.all((ratios >= 0) & (ratios <= 1)):
            raise OptionError(f"l1_ratio must be a number from 0 to 1, or several, got {self.l1_ratio!r}.")
        return ratios

    def _template(self, ratio: float) -> SoftmaxRegression:
        """The model that each fit stands for, at C = 1."""
        shared = set(SoftmaxRegression().get_params(deep=False)) & set(self.get_params(deep=False))
        options = {name: getattr(self, name) for name in shared}
        return SoftmaxRegression(**{**options, "l1_ratio": ratio, "verbose": 0})

    def _inputs(self, template: SoftmaxRegression, X: Any, y: Any, sample_weight: Any, offset: Any) -> Any:
        """(inputs without weights and lasso at C = 1, the same as `Data`)."""
        # Weights belong to the rows of a fit and are applied there.
        bare = SoftmaxRegression(**{**template.get_params(deep=False), "class_weight": None, "l1_ratio": 0.0})
        inputs = prepare(bare, X, y, None, offset)
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(bare, name):
                setattr(template, name, getattr(bare, name))
        weights = None
        if sample_weight is not None:
            X = inputs.problem.X
            weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True, copy=True)
            target = inputs.problem.labels if inputs.problem.probabilities is None else inputs.problem.probabilities
            assert target is not None
            soft = target.ndim == 2
            _refuse_weightless(inputs.classes, weights @ target if soft else np.bincount(target, weights=weights))
        return inputs, Data.of(inputs, weights, self.class_weight)

    def _splits(self, data: Data, groups: Any) -> list[Split]:
        soft = data.unit.probabilities is not None
        # Splitters refuse labels of dtype object that are not text; their positions deal the same folds.
        labels = None if soft else data.target if data.classes.dtype == object else data.classes[data.target]
        return splits_of(self.cv, data.unit.X, labels, groups, self.random_state, soft=soft)

    def _keep_scores(self, grid: Floats, ratios: Floats, curves: list[Curve]) -> None:
        """Set the attributes of the search, and choose."""
        distinct, places = np.unique(grid, return_inverse=True)
        if any(curve.complete for curve in curves):
            for curve in curves:
                if not curve.complete:  # by other folds than those that are
                    curve.means[:] = curve.errors[:] = np.nan
        means, errors = (np.stack([getattr(c, name) for c in curves], axis=-1) for name in ("means", "errors"))
        if np.all(np.isnan(means)):
            raise OptionError("every score is nan: the scorer cannot score any fold.")
        C, ratio = choose(means, errors, one_standard_error=bool(self.one_standard_error))
        several = np.ndim(self.l1_ratio) > 0
        shown: Any = (slice(None),) if several else 0
        first = int(np.flatnonzero(places == C)[0])
        self.Cs_, self.l1_ratios_ = grid, ratios
        self.scores_ = np.stack([curve.scores for curve in curves], axis=-1)[:, places][..., *np.atleast_1d(shown)]
        self.mean_scores_ = means[places][..., *np.atleast_1d(shown)]
        self.std_errors_ = errors[places][..., *np.atleast_1d(shown)]
        self.C_, self.l1_ratio_ = float(distinct[C]), float(ratios[ratio])
        self.best_index_ = (first, ratio) if several else first
        self.total_passes_ = sum(curve.n_passes for curve in curves)
        self._warn_of_search(curves, int(np.sum(~np.isnan(means))))

    def _warn_of_search(self, curves: list[Curve], n_compared: int) -> None:
        """Say which scores are missing, or are by fits that did not end well."""
        done = np.stack([curve.done for curve in curves])
        if not done.all():
            folds = next(curve.compared[0] for curve in curves if curve.done.any())
            warnings.warn(
                f"the search was interrupted after {done.sum()} of {done.size} scores: C={self.C_:.4g} is the best of "
                f"{n_compared} by {folds.sum()} of {len(folds)} folds.",
                NotCertifiedWarning,
                stacklevel=5,
            )
        n_bad = sum(int(curve.uncertified.sum()) for curve in curves)
        if n_bad:
            fits, are = ("fit", "is") if n_bad == 1 else ("fits", "are")
            warnings.warn(
                f"{n_bad} {fits} to folds {are} not certified to tol={self.tol:g}: scores there are of the best "
                "coefficients found. Raise max_iter or tol, or leave out the largest values of C.",
                NotCertifiedWarning,
                stacklevel=5,
            )

    def _refit(self, template: SoftmaxRegression, inputs: Inputs, data: Data, curve: Curve, watch: SearchWatch) -> None:
        """Take the fit to all rows at the chosen value, or make it."""
        model = SoftmaxRegression(**{**template.get_params(deep=False), "C": self.C_, "l1_ratio": self.l1_ratio_})
        solution = curve.solutions.get(self.C_)
        complaints: list[str] = []
        if solution is not None:
            with watch.refit(None):
                total = data.with_ratio(self.l1_ratio_).part(None).total_weight
                model = fitted_model(model, self.C_, replace(inputs, penalty=1.0 / total), solution)
            if solution.reason != "certified":
                complaints.append(model._complaint(solution))
        else:
            with watch.refit(model), warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", NotCertifiedWarning)
                model.fit(data.unit.X, targets_of(data), data.sample_weight, data.unit.offset)
            complaints += [str(warning.message) for warning in caught]
            self.total_passes_ += model.n_passes_
        for complaint in complaints:
            warnings.warn(complaint, NotCertifiedWarning, stacklevel=4)
        for name, value in vars(model).items():
            if name.endswith("_") and not name.startswith("_") and name not in ("classes_", "n_features_in_"):
                setattr(self, name, value)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        state.pop("_progress", None)  # a hook belongs to the caller of one fit
        return state

    def __softmax_state__(self) -> tuple[str, dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """What `softmax.save` writes: a kind, a header of plain Python values, and arrays."""
        return state_of(self)

    @classmethod
    def from_state(cls, header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The estimator that `__softmax_state__` described.

        Raises
        ------
        ModelFileError
            If the state is not one that `__softmax_state__` could have returned.
        """
        model = cls()
        restore(model, header, arrays)
        return model
