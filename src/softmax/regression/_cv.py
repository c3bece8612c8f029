"""`SoftmaxRegressionCV`: the strength of the penalty by cross-validation."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _check_sample_weight

from softmax._errors import NotCertifiedWarning, OptionError
from softmax._function import log_softmax
from softmax._threads import number_of_threads

from ._estimator import SoftmaxRegression
from ._folds import Data, Part, Split, splits_of
from ._follow import can_follow
from ._inputs import Inputs, _refuse_weightless, prepare
from ._loo import check_size, leave_one_out_logits
from ._path import fit_points, fitted_model, grid_of, problem_at, warn_of_points
from ._predictions import LinearClassifierMixin
from ._problem import Solution
from ._rows import Floats
from ._scores import ROW_SCORES, check_scoring_of, takes_weights, weighted_mean
from ._solvers import DEFAULT_MAX_ITER, solve, workers_for
from ._stale import Shared
from ._state import restore, state_of
from ._threads import Workers

# Below this estimated time of one pass, in nanoseconds, threads take a fold each and not a share of every pass.
FOLD_PER_THREAD = 2e7


@dataclass(eq=False)
class _Curve:
    """Scores of one l1_ratio: (folds, n_Cs), their means and standard errors; solutions of all rows by C, if any."""

    scores: Floats
    means: Floats
    errors: Floats
    solutions: dict[float, Solution]
    n_passes: int
    uncertified: int


class SoftmaxRegressionCV(LinearClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
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
        rows of a fold have weight 0.
    mean_scores_ : ndarray of shape (n_Cs,) or (n_Cs, n_ratios)
        Means over the folds.
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
        curves = []
        for ratio in ratios:
            own = _Search(self, data.with_ratio(float(ratio)), np.unique(grid), scoring)
            curves.append(own.leave_one_out() if alo else own.over(folds))
        self._keep_scores(grid, ratios, curves)
        self.classes_ = inputs.classes
        self.n_features_in_ = template.n_features_in_
        if hasattr(template, "feature_names_in_"):
            self.feature_names_in_ = template.feature_names_in_
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        if self.refit:
            self._refit(template, inputs, data, curves[int(np.argmax(ratios == self.l1_ratio_))])
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

    def _keep_scores(self, grid: Floats, ratios: Floats, curves: list[_Curve]) -> None:
        """Set the attributes of the search, and choose."""
        distinct, places = np.unique(grid, return_inverse=True)
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
        n_bad = sum(curve.uncertified for curve in curves)
        if n_bad:
            warnings.warn(
                f"{n_bad} fits to folds are not certified to tol={self.tol:g}: their scores are those of the best "
                "coefficients found. Raise max_iter or tol, or leave out the largest values of C.",
                NotCertifiedWarning,
                stacklevel=3,
            )

    def _refit(self, template: SoftmaxRegression, inputs: Inputs, data: Data, curve: _Curve) -> None:
        """Take the fit to all rows at the chosen value, or make it."""
        template = SoftmaxRegression(**{**template.get_params(deep=False), "l1_ratio": self.l1_ratio_})
        part = data.with_ratio(self.l1_ratio_).part(None)
        solution = curve.solutions.get(self.C_)
        if solution is None:
            solution = solve(
                problem_at(part.problem, self.C_),
                solver=self.solver,
                tol=float(self.tol),
                max_iter=DEFAULT_MAX_ITER if self.max_iter is None else int(self.max_iter),
                n_threads=self.n_threads,
            )
            self.total_passes_ += solution.n_passes
        warn_of_points(np.array([self.C_]), [solution], float(self.tol), stacklevel=4)
        model = fitted_model(template, self.C_, replace(inputs, penalty=1.0 / part.total_weight), solution)
        for name, value in vars(model).items():
            if name.endswith("_") and not name.startswith("_") and name not in ("classes_", "n_features_in_"):
                setattr(self, name, value)

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


def choose(means: Floats, errors: Floats, *, one_standard_error: bool) -> tuple[int, int]:
    """Positions (C, l1_ratio) of the choice among means (n_Cs, n_ratios), C rising."""
    best = np.nanmax(means)
    # The first of equals along C, and then along the ratios.
    C, ratio = (int(i) for i in np.argwhere(means == best)[0])
    if one_standard_error and np.isfinite(errors[C, ratio]):
        C = int(np.argmax(means[:, ratio] >= best - errors[C, ratio]))
    return C, ratio


class _Search:
    """The fits and scores of one l1_ratio over `Cs`, rising and distinct."""

    def __init__(self, options: SoftmaxRegressionCV, data: Data, Cs: Floats, scoring: Any) -> None:
        self._options = options
        self._data = data
        self._Cs = Cs
        self._scoring = scoring
        self._weighted = not isinstance(scoring, str) and takes_weights(scoring)

    def over(self, folds: list[Split]) -> _Curve:
        """Scores of folds."""
        options = self._options
        everything = self._data.part(None)
        shared = Shared()
        solutions: dict[float, Solution] = {}
        if can_follow(everything.problem):
            solutions = self._fit_all(everything, shared, len(folds) + 1)
        threads = number_of_threads(options.n_threads)
        n, d = everything.problem.X.shape
        short = n * everything.n_classes * (4.0 + d / 6.0) < FOLD_PER_THREAD

        def fold(number: int) -> tuple[Floats, int, int]:
            train, test = folds[number]
            result = self._fold(train, test, shared, Workers(None) if apart else None)
            if options.verbose:
                best = self._Cs[int(np.argmax(result[0]))]
                print(f"fold {number + 1} of {len(folds)}: {result[1]} passes, best C {best:.3g}", flush=True)  # noqa: T201
            return result

        apart = short and threads > 1 and len(folds) > 1
        if apart:
            with Workers(min(threads, len(folds))) as workers:
                results = workers.map(fold, range(len(folds)))
        else:
            results = [fold(number) for number in range(len(folds))]
        scores = np.array([result[0] for result in results])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=RuntimeWarning)  # folds without weight are nan
            means = np.nanmean(scores, axis=0)
            spread = np.nanstd(scores, axis=0, ddof=1) if len(folds) > 1 else np.full(len(self._Cs), np.nan)
        used = np.sum(~np.isnan(scores), axis=0)
        passes = sum(result[1] for result in results) + sum(s.n_passes for s in solutions.values())
        errors = spread / np.sqrt(np.maximum(used, 1))
        return _Curve(scores, means, errors, solutions, passes, sum(result[2] for result in results))

    def leave_one_out(self) -> _Curve:
        """Scores of rows by the models without them, approximately."""
        data, options = self._data, self._options
        everything = data.part(None)
        problem = everything.problem
        if not can_follow(problem):
            raise OptionError(
                "cv='alo' needs an L2 penalty on every feature: l1_ratio=0, no bounds, and no penalty weight of 0."
            )
        check_size(problem.n_classes, problem.X.shape[1])
        solutions = self._fit_all(everything, Shared(), len(self._Cs))
        weights = data.sample_weight
        target = data.target if weights is None else data.target[weights > 0]
        weights = None if weights is None else weights[weights > 0]
        means, errors = np.empty(len(self._Cs)), np.empty(len(self._Cs))
        with workers_for(problem, options.n_threads) as workers:
            for i, C in enumerate(self._Cs):
                own = solutions[float(C)]
                logits = leave_one_out_logits(problem_at(problem, float(C)), own.coef, own.intercept, workers)
                rows = ROW_SCORES[self._scoring](log_softmax(logits), target)
                means[i] = weighted_mean(rows, weights)
                shares = np.full(len(rows), 1.0 / len(rows)) if weights is None else weights / weights.sum()
                errors[i] = np.sqrt(float(np.sum(shares**2 * (rows - means[i]) ** 2)))
        passes = sum(s.n_passes for s in solutions.values())
        return _Curve(means[None], means, errors, solutions, passes, 0)

    def _fit_all(self, part: Part, shared: Shared, copies: int) -> dict[float, Solution]:
        found = self._fit(part, shared, None, copies)
        return {float(C): solution for C, solution in zip(self._Cs, found, strict=True)}

    def _fit(self, part: Part, shared: Shared | None, workers: Workers | None, copies: int = 1) -> list[Solution]:
        options = self._options
        solutions = fit_points(
            part.problem,
            self._Cs,
            tol=float(options.tol),
            max_iter=options.max_iter,
            n_threads=options.n_threads if workers is None else 1,
            workers=workers,
            shared=shared,
            copies=copies,
        )
        if len(solutions) < len(self._Cs):
            raise KeyboardInterrupt
        return solutions

    def _fold(
        self, train: npt.NDArray[np.intp], test: npt.NDArray[np.intp], shared: Shared, workers: Workers | None
    ) -> tuple[Floats, int, int]:
        """(score at each C, passes, fits that are not certified) of one fold."""
        part = self._data.part(train)
        if len(part.present) < 2:
            width = part.problem.X.shape[1]
            points = [part.expanded(np.zeros((1, width)), np.zeros(1))] * len(self._Cs)
            return self._scores(points, test), 0, 0
        solutions = self._fit(part, shared if part.complete and shared.optima else None, workers)
        points = [part.expanded(solution.coef, solution.intercept) for solution in solutions]
        bad = sum(solution.reason != "certified" for solution in solutions)
        return self._scores(points, test), sum(solution.n_passes for solution in solutions), bad

    def _scores(self, points: list[tuple[Floats, Floats]], test: npt.NDArray[np.intp]) -> Floats:
        """The score of each (coef, intercept) on the rows of a fold."""
        data = self._data
        weights = data.sample_weight
        if weights is not None:
            test = test[weights[test] > 0]
            weights = weights[test]
        if not len(test):
            return np.full(len(points), np.nan)
        X, target = data.unit.X[test], data.target[test]
        if not isinstance(self._scoring, str):
            return np.array([self._scored(X, data.classes[target], weights, *point) for point in points])
        scores = np.empty(len(points))
        for i, (coef, intercept) in enumerate(points):
            logits = X @ coef.T + intercept
            if data.unit.offset is not None:
                logits += data.unit.offset[test]
            scores[i] = weighted_mean(ROW_SCORES[self._scoring](log_softmax(logits), target), weights)
        return scores

    def _scored(self, X: Any, y: Any, weights: Floats | None, coef: Floats, intercept: Floats) -> float:
        """The score by a scorer of scikit-learn's kind."""
        model = SoftmaxRegression(C=1.0)
        model.coef_, model.intercept_, model.classes_, model.temperature_ = coef, intercept, self._data.classes, 1.0
        model.n_features_in_ = coef.shape[1]
        extra = {} if weights is None or not self._weighted else {"sample_weight": weights}
        return float(self._scoring(model, X, y, **extra))
