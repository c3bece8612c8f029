"""`softmax_path`: fits of one data set at many strengths of the penalty, each certified, sharing what they can."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from softmax._errors import NotCertifiedWarning, OptionError

from ._estimator import SoftmaxRegression
from ._follow import Follower, can_follow
from ._inputs import Inputs, prepare
from ._problem import Problem, Progress, Solution
from ._rows import Floats
from ._solvers import DEFAULT_MAX_ITER, solve, workers_for
from ._stale import Shared
from ._threads import Workers

# Announce(C, solution): called after each point of a path, which ends there where it returns True.
Announce = Callable[[float, Solution], bool | None]


@dataclass(eq=False)
class SoftmaxPath:
    """What `softmax_path` returns; point i belongs to ``Cs[i]``.

    Attributes
    ----------
    Cs : ndarray of shape (n_Cs,)
        As they were given.
    classes : ndarray of shape (K,)
        The labels, sorted.
    coefs : ndarray of shape (n_Cs, K, d)
    intercepts : ndarray of shape (n_Cs, K)
    objectives, gaps : ndarray of shape (n_Cs,)
        The minimised function in nats, and the bound of its distance to the optimum.
    statuses : list of str
        As ``SoftmaxRegression.status_``.
    n_passes : ndarray of shape (n_Cs,)
        How often X was read in full for each point.
    """

    Cs: Floats
    classes: npt.NDArray[Any]
    coefs: Floats
    intercepts: Floats
    objectives: Floats
    gaps: Floats
    statuses: list[str]
    n_passes: npt.NDArray[np.intp]
    _solutions: list[Solution] = field(repr=False)
    _template: SoftmaxRegression = field(repr=False)
    _inputs: Inputs = field(repr=False)

    def __len__(self) -> int:
        return len(self.Cs)

    def model(self, i: int) -> SoftmaxRegression:
        """Point i as a fitted `SoftmaxRegression`."""
        C = float(self.Cs[i])
        return fitted_model(self._template, C, self._inputs, self._solutions[i])

    def predict_log_proba(self, X: Any, i: int) -> Floats:
        """Logarithms of the probabilities at point i, (n, K), in nats."""
        return self.model(i).predict_log_proba(X)

    def predict_proba(self, X: Any, i: int) -> Floats:
        """Probabilities of the classes at point i, (n, K)."""
        return self.model(i).predict_proba(X)


def softmax_path(
    X: Any,
    y: Any,
    Cs: npt.ArrayLike | int = 10,
    *,
    l1_ratio: float = 0.0,
    grouped: bool = False,
    penalty_weights: npt.ArrayLike | None = None,
    fit_intercept: bool = True,
    tol: float = 1e-6,
    max_iter: int | None = None,
    class_weight: Mapping[Any, float] | str | None = None,
    sample_weight: npt.ArrayLike | None = None,
    offset: npt.ArrayLike | None = None,
    n_threads: int | None = None,
    verbose: int = 0,
) -> SoftmaxPath:
    r"""Softmax regressions of one data set at many strengths of the penalty, each certified.

    Point i minimises, in nats, the objective of ``SoftmaxRegression(C=Cs[i])``,

    .. math:: f(W, b) = \sum_i \pi_i\,[\operatorname{lse}(W x_i + b) - (W x_i + b)_{y_i}] + \lambda \sum_j v_j
              \left[ \frac{1-r}{2} \lVert W_{:j} \rVert_2^2 + r\, \Omega(W_{:j}) \right],
              \qquad \lambda = \frac{1}{C \sum_i s_i}.

    The points are fitted from the smallest C to the largest, whatever their order. Each starts where those before it
    predict its optimum to be, and uses the curvature that they have seen: most take a few passes over X, where a fit
    from nothing takes tens.

    Parameters
    ----------
    X : array, sparse matrix or data frame of shape (n, d)
        Finite numbers. Read, never changed.
    y : array of shape (n,) or (n, K)
        Labels, or probabilities of K classes.
    Cs : int or sequence of float, default=10
        Inverse strengths of the penalty, > 0; inf is no penalty. An integer takes so many between 1e-4 and 1e4, evenly
        spaced in their logarithm.
    l1_ratio : float, default=0.0
        The share r of the penalty Ω: 0 is L2, 1 is L1, what is between is the elastic net.
    grouped : bool, default=False
        Whether Ω is the 2-norm of all coefficients of a feature, which are then 0 together, and not their 1-norm.
    penalty_weights : array of shape (d,), optional
        Factors v ≥ 0 of the penalty of each feature; 1 by default.
    fit_intercept : bool, default=True
        Whether to fit b; otherwise it is 0.
    tol : float, default=1e-6
        Every point ends when its gap is at most `tol` times its objective.
    max_iter : int or None, default=None
        Largest number of iterations of a point; None is a safety net of 1000.
    class_weight : dict, "balanced" or None, default=None
        Weight of each class, by label; multiplies `sample_weight`.
    sample_weight : array of shape (n,), optional
        Weights ≥ 0; every class needs a positive sum.
    offset : array of shape (n, K), optional
        Known parts of the logits.
    n_threads : int or None, default=None
        Threads; None takes the environment variable SOFTMAX_NUM_THREADS, else all processors.
    verbose : int, default=0
        With 1, print a line per point.

    Returns
    -------
    SoftmaxPath
        Arrays over the points, in the order of `Cs`: ``Cs``, ``coefs`` (n_Cs, K, d), ``intercepts`` (n_Cs, K),
        ``objectives``, ``gaps``, ``statuses``, ``n_passes``. ``model(i)`` is point i as a fitted `SoftmaxRegression`,
        ``predict_proba(X, i)`` and ``predict_log_proba(X, i)`` its predictions.

    Raises
    ------
    OptionError
        If a parameter is outside its range, or `Cs` is empty.
    ArrayValueError, TargetError, ValueError, TypeError
        As `SoftmaxRegression.fit`.

    Notes
    -----
    Points that do not reach `tol` give one `NotCertifiedWarning` together, with the worst gap. A KeyboardInterrupt
    leaves the points that are done, those of the smaller C, with the same warning.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> import softmax as sm
    >>> X, y = load_iris(return_X_y=True)
    >>> path = sm.softmax_path(X, y, [0.01, 1.0, 100.0])
    >>> path.statuses
    ['certified', 'certified', 'certified']
    >>> path.coefs.shape
    (3, 3, 4)
    >>> bool(path.objectives[0] > path.objectives[1] > path.objectives[2])
    True
    >>> path.model(1).predict(X[:2])
    array([0, 0])
    """
    values = grid_of(Cs)
    template = SoftmaxRegression(
        l1_ratio=l1_ratio,
        grouped=grouped,
        penalty_weights=penalty_weights,
        fit_intercept=fit_intercept,
        tol=tol,
        max_iter=max_iter,
        class_weight=class_weight,
        n_threads=n_threads,
        verbose=0,
    )
    inputs = prepare(template, X, y, sample_weight, offset)
    announce = _print_point if verbose else None
    distinct, places = np.unique(values, return_inverse=True)
    found = fit_points(
        inputs.problem,
        distinct,
        tol=float(tol),
        max_iter=template.max_iter,
        n_threads=n_threads,
        announce=announce,
    )
    if not found:
        raise KeyboardInterrupt
    if len(found) < len(distinct):
        last = distinct[len(found) - 1]
        warnings.warn(
            f"interrupted after {len(found)} of {len(distinct)} points: the path ends at C={last:g}.",
            NotCertifiedWarning,
            stacklevel=2,
        )
        values, places = values[places < len(found)], places[places < len(found)]
    solutions = [found[place] for place in places]
    warn_of_points(values, solutions, float(tol), stacklevel=3)
    return SoftmaxPath(
        Cs=values,
        classes=inputs.classes,
        coefs=np.array([solution.coef for solution in solutions]),
        intercepts=np.array([solution.intercept for solution in solutions]),
        objectives=np.array([solution.objective for solution in solutions]),
        gaps=np.array([solution.gap for solution in solutions]),
        statuses=[status_of(solution) for solution in solutions],
        n_passes=np.array([solution.n_passes for solution in solutions], dtype=np.intp),
        _solutions=solutions,
        _template=template,
        _inputs=inputs,
    )


def grid_of(Cs: Any) -> Floats:
    """The values of C that a caller asks for."""
    if isinstance(Cs, Integral):
        if int(Cs) < 1:
            raise OptionError(f"Cs must be a positive number of values, or the values themselves; got {Cs!r}.")
        return np.logspace(-4, 4, int(Cs)) if int(Cs) > 1 else np.ones(1)
    try:
        values: Floats = np.array(Cs, dtype=np.float64)
    except (TypeError, ValueError):
        raise OptionError(f"Cs must be an integer or numbers > 0, got {Cs!r}.") from None
    if values.ndim != 1:
        raise OptionError(f"Cs must be an integer or a sequence of numbers > 0, got {Cs!r}.")
    if values.size == 0:
        raise OptionError("Cs is empty: pass at least one value, or a number of values such as Cs=10.")
    wrong = ~(values > 0)
    if wrong.any():
        place = int(np.argmax(wrong))
        raise OptionError(f"every C must be a number > 0 (inf is no penalty); got {values[place]} at position {place}.")
    return values


def problem_at(problem: Problem, C: float) -> Problem:
    """The problem at C, from the one at C = 1."""
    lasso = None if problem.lasso is None or np.isinf(C) else problem.lasso / C
    return replace(problem, ridge=problem.ridge / C, lasso=lasso)


def fit_points(
    problem: Problem,
    Cs: Sequence[float] | Floats,
    *,
    tol: float,
    max_iter: int | None = None,
    n_threads: int | None = None,
    workers: Workers | None = None,
    shared: Shared | None = None,
    copies: int = 1,
    announce: Announce | None = None,
) -> list[Solution]:
    """The solutions at `Cs`, rising and distinct; `problem` is that at C = 1.

    `shared` is what fits of all rows have learnt, where these are a part of them; an empty one is filled. `workers` are
    used where they are given, and `n_threads` otherwise. After a KeyboardInterrupt the list ends early, and so it does
    where `announce` returns True.
    """
    if workers is None:
        with workers_for(problem, n_threads) as own:
            return fit_points(
                problem,
                Cs,
                tol=tol,
                max_iter=max_iter,
                n_threads=n_threads,
                workers=own,
                shared=shared,
                copies=copies,
                announce=announce,
            )
    solutions: list[Solution] = []
    try:
        for C, solution in _points(problem, Cs, workers, tol, max_iter, n_threads, shared, copies):
            if solution.reason == "interrupted":
                break
            solutions.append(solution)
            if announce is not None and announce(C, solution):
                break
    except KeyboardInterrupt:
        del solutions[len(Cs) - 1 :]  # one that came after the last fit must be seen too
    return solutions


def _points(
    problem: Problem,
    Cs: Sequence[float] | Floats,
    workers: Workers,
    tol: float,
    max_iter: int | None,
    n_threads: int | None,
    shared: Shared | None,
    copies: int,
) -> Iterator[tuple[float, Solution]]:
    """C and the solution there, one after another, by the way that suits the penalty."""
    finite = [float(C) for C in Cs if np.isfinite(C)]
    if problem.lasso is not None and problem.lower is None:
        from ._proximal import proximal_path  # compiled kernels, which only a lasso needs

        factors = (1.0 / C for C in finite)
        path = proximal_path(problem, factors, tol=tol, max_iter=max_iter, n_threads=n_threads)
        yield from zip(finite, path, strict=False)
        finite = []
    points = PathFitter(problem, workers, tol, max_iter, n_threads, shared, copies)
    for C in [*finite, *(float(C) for C in Cs if np.isinf(C))]:
        yield C, points.fit(C)


class PathFitter:
    """Fits one point of a path after another, from small C to large, by the way that suits its penalty."""

    def __init__(
        self,
        problem: Problem,
        workers: Workers,
        tol: float,
        max_iter: int | None,
        n_threads: int | None,
        shared: Shared | None,
        copies: int,
    ) -> None:
        self._problem = problem
        self._tol = tol
        self._max_iter = max_iter
        self._n_threads = n_threads
        self._last: tuple[Floats, Floats] | None = None
        # A small limit of iterations is a request that only the general solver can honour.
        follows = can_follow(problem) and max_iter is None
        self._follower = Follower(problem, workers, shared, copies=copies) if follows else None

    def fit(self, C: float, progress: Progress | None = None) -> Solution:
        """The solution at C."""
        solution = None
        if self._follower is not None and np.isfinite(C):
            solution = self._follower.fit(C, tol=self._tol, progress=progress)
            if solution is None:
                solution = self._general(C, self._follower.best, progress)
                self._follower.adopt(C, solution)
        if solution is None:
            solution = self._general(C, self._last, progress)
        if np.isfinite(solution.coef).all():
            self._last = (solution.coef, solution.intercept)
        return solution

    def _general(self, C: float, start: tuple[Floats, Floats] | None, progress: Progress | None) -> Solution:
        return solve(
            problem_at(self._problem, C),
            tol=self._tol,
            max_iter=DEFAULT_MAX_ITER if self._max_iter is None else self._max_iter,
            start=start,
            n_threads=self._n_threads,
            progress=progress,
        )


def status_of(solution: Solution) -> str:
    """`status_` of a fitted model."""
    if solution.reason == "certified":
        return "estimated" if solution.estimated else "certified"
    return "separated" if solution.reason == "separated" else "not converged"


def fitted_model(template: SoftmaxRegression, C: float, inputs: Inputs, solution: Solution) -> SoftmaxRegression:
    """A `SoftmaxRegression` with the parameters of `template` and C that holds a solution; `inputs` are at C = 1."""
    model = SoftmaxRegression(**{**template.get_params(deep=False), "C": C})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotCertifiedWarning)  # whoever fitted the path has warned
        model._keep(replace(inputs, penalty=inputs.penalty / C), solution)
    model.n_features_in_ = inputs.problem.X.shape[1]
    if hasattr(template, "feature_names_in_"):
        model.feature_names_in_ = template.feature_names_in_
    return model


def warn_of_points(Cs: Floats, solutions: Sequence[Solution], tol: float, stacklevel: int) -> None:
    """One warning for all points that are not certified."""
    bad = [(C, s) for C, s in zip(Cs, solutions, strict=True) if s.reason != "certified"]
    if not bad:
        return
    C, worst = max(bad, key=lambda pair: pair[1].gap / pair[1].objective if pair[1].objective else np.inf)
    relative = worst.gap / worst.objective if worst.objective else np.inf
    why = (
        "the classes are separated there, so that no finite optimum exists without a penalty; leave inf out"
        if worst.reason == "separated"
        else "raise max_iter or tol, or leave out the largest values of C"
    )
    warnings.warn(
        f"{len(bad)} of {len(Cs)} points of the path are not certified to tol={tol:g}; "
        f"the worst reached {relative:.1e} at C={C:g}: {why}.",
        NotCertifiedWarning,
        stacklevel=stacklevel,
    )


def _print_point(C: float, solution: Solution) -> None:
    print(  # noqa: T201  verbose asks for it
        f"C {C:9.3g}  {solution.n_passes:4d} passes  objective {solution.objective:.9g}  gap {solution.gap:.2g}",
        flush=True,
    )
