"""The search of `SoftmaxRegressionCV`: fits to folds at each C, their scores, and what an interrupt leaves of them."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from softmax._errors import OptionError
from softmax._function import log_softmax
from softmax._threads import number_of_threads

from ._callbacks import SearchWatch
from ._estimator import SoftmaxRegression
from ._folds import Data, Part, Split
from ._follow import can_follow
from ._loo import check_size, leave_one_out_logits
from ._path import Announce, fit_points, problem_at
from ._problem import Solution
from ._rows import Floats
from ._scores import ROW_SCORES, takes_weights, weighted_mean
from ._solvers import workers_for
from ._stale import Shared
from ._threads import Workers

if TYPE_CHECKING:
    from ._cv import SoftmaxRegressionCV

# Below this estimated time of one pass, in nanoseconds, threads take a fold each and not a share of every pass.
FOLD_PER_THREAD = 2e7

# Keep(position, solution): takes the solution at that C.
Keep = Callable[[int, Solution], None]
# Score(coef, intercept) on the rows of one fold.
Score = Callable[[Floats, Floats], float]


@dataclass(eq=False)
class Curve:
    """Scores of one l1_ratio, (folds, n_Cs), and which of them are `done`; nan where they are not.

    `means` and `errors` (n_Cs,) are over the same folds for every C, and nan for a C that has not been compared.
    `solutions` are those of all rows by C, if any; `passes` and `uncertified` (folds,) count over the fits to folds.
    """

    scores: Floats
    done: npt.NDArray[np.bool_]
    means: Floats
    errors: Floats
    passes: npt.NDArray[np.intp]
    uncertified: npt.NDArray[np.intp]
    solutions: dict[float, Solution] = field(default_factory=dict)

    @classmethod
    def empty(cls, folds: int, n_Cs: int) -> Self:
        """Before the first fit."""
        nothing = np.full((folds, n_Cs), np.nan)
        counts = np.zeros((2, folds), dtype=np.intp)
        return cls(nothing, np.zeros((folds, n_Cs), dtype=bool), nothing[0].copy(), nothing[0].copy(), *counts)

    @property
    def complete(self) -> bool:
        """Whether every score is there."""
        return bool(self.done.all())

    @property
    def n_passes(self) -> int:
        """Passes of all fits that ended."""
        return int(self.passes.sum()) + sum(solution.n_passes for solution in self.solutions.values())

    @property
    def compared(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Folds and values of C whose scores can be compared with each other.

        After an interrupt these are the folds that are complete. Where there is none, they are the folds that were
        begun, with the values that all of them have reached: each begins with the smallest.
        """
        folds: npt.NDArray[np.bool_] = np.all(self.done, axis=1)
        if not folds.any():
            folds = np.any(self.done, axis=1)
        Cs: npt.NDArray[np.bool_] = np.all(self.done[folds], axis=0) & folds.any()
        return folds, Cs

    def average(self) -> None:
        """Set means and standard errors over folds."""
        folds, Cs = self.compared
        if not folds.any():
            return
        scores = self.scores[folds][:, Cs]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=RuntimeWarning)  # folds without weight are nan
            self.means[Cs] = np.nanmean(scores, axis=0)
            spread = np.nanstd(scores, axis=0, ddof=1) if len(scores) > 1 else np.nan
        used = np.sum(~np.isnan(scores), axis=0)
        self.errors[Cs] = spread / np.sqrt(np.maximum(used, 1))


def choose(means: Floats, errors: Floats, *, one_standard_error: bool) -> tuple[int, int]:
    """Positions (C, l1_ratio) of the choice among means (n_Cs, n_ratios), C rising."""
    best = np.nanmax(means)
    # The first of equals along C, and then along the ratios.
    C, ratio = (int(i) for i in np.argwhere(means == best)[0])
    if one_standard_error and np.isfinite(errors[C, ratio]):
        C = int(np.argmax(means[:, ratio] >= best - errors[C, ratio]))
    return C, ratio


def folds_compared(model: Any) -> int:
    """How many folds the mean scores of a fitted `SoftmaxRegressionCV` are about."""
    scores = model.scores_.reshape(len(model.scores_), -1)
    return int(np.sum(~np.isnan(scores[:, ~np.isnan(model.mean_scores_.ravel())]).any(axis=1)))


def targets_of(data: Data) -> npt.NDArray[Any]:
    """Labels (n,) or probabilities (n, K), as a fit takes them."""
    target = data.target
    return target if target.ndim == 2 else data.classes[target]


def count_fits(data: Data, ratios: Floats, n_Cs: int, folds: int) -> int:
    """How many fits a search takes, the last one aside: those to folds, and to all rows where these go ahead."""
    ahead = sum(can_follow(data.with_ratio(float(ratio)).unit) for ratio in ratios)
    return n_Cs * (len(ratios) * folds + ahead)


class Search:
    """The fits and scores of one l1_ratio, the one at position `place`, over `Cs`, rising and distinct."""

    def __init__(
        self,
        options: "SoftmaxRegressionCV",
        data: Data,
        Cs: Floats,
        folds: list[Split],
        scoring: Any,
        watch: SearchWatch,
        place: int,
    ) -> None:
        self._options = options
        ratios = options._ratios()
        self._ratio = float(ratios[place])
        self._data = data.with_ratio(self._ratio)
        self._Cs = Cs
        self._folds = folds
        self._scoring = scoring
        self._weighted = not isinstance(scoring, str) and takes_weights(scoring)
        self._watch = watch
        self._place = place
        self._n_evaluations = len(ratios) * len(Cs) * len(folds)

    def run(self) -> Curve:
        """Scores of each fold at each C, or those that an interrupt leaves; without folds, "alo"."""
        if not self._folds:
            return self._leave_one_out()
        curve = Curve.empty(len(self._folds), len(self._Cs))
        with suppress(KeyboardInterrupt):
            self._fill(curve)
        curve.average()
        return curve

    def _leave_one_out(self) -> Curve:
        """Scores of rows by the models without them, approximately."""
        data = self._data
        everything = data.part(None)
        problem = everything.problem
        if not can_follow(problem):
            raise OptionError(
                "cv='alo' needs an L2 penalty on every feature: l1_ratio=0, no bounds, and no penalty weight of 0."
            )
        check_size(problem.n_classes, problem.X.shape[1])
        curve = Curve.empty(1, len(self._Cs))
        weights = data.sample_weight
        target = data.target if weights is None else data.target[weights > 0]
        weights = None if weights is None else weights[weights > 0]
        shares = np.full(len(target), 1.0 / len(target)) if weights is None else weights / weights.sum()

        def score(i: int, own: Solution) -> None:
            logits = leave_one_out_logits(problem_at(problem, float(self._Cs[i])), own.coef, own.intercept, workers)
            rows = ROW_SCORES[self._scoring](log_softmax(logits), target)
            curve.means[i] = curve.scores[0, i] = weighted_mean(rows, weights)
            curve.errors[i] = np.sqrt(float(np.sum(shares**2 * (rows - curve.means[i]) ** 2)))
            curve.done[0, i] = True
            curve.solutions[float(self._Cs[i])] = own

        with suppress(KeyboardInterrupt), workers_for(problem, self._options.n_threads) as workers:
            self._fit(everything, Shared(), workers, None, score, copies=len(self._Cs))
        return curve

    def _fill(self, curve: Curve) -> None:
        """Fit and score fold after fold, or some at once."""
        options, folds = self._options, self._folds
        everything = self._data.part(None)
        shared = Shared()
        if can_follow(everything.problem):

            def keep(i: int, solution: Solution) -> None:
                curve.solutions[float(self._Cs[i])] = solution

            self._fit(everything, shared, None, None, keep, copies=len(folds) + 1)
        threads = number_of_threads(options.n_threads)
        n, d = everything.problem.X.shape
        short = n * everything.n_classes * (4.0 + d / 6.0) < FOLD_PER_THREAD
        apart = short and threads > 1 and len(folds) > 1

        def fold(number: int) -> None:
            with self._ends_all():
                self._fold(curve, number, shared, Workers(None) if apart else None)
            if options.verbose:
                best = self._Cs[int(np.argmax(curve.scores[number]))]
                passes = f"{curve.passes[number]} passes"
                print(f"fold {number + 1} of {len(folds)}: {passes}, best C {best:.3g}", flush=True)  # noqa: T201

        if not apart:
            for number in range(len(folds)):
                fold(number)
            return
        with Workers(min(threads, len(folds))) as workers, self._ends_all():
            workers.map(fold, range(len(folds)))

    @contextmanager
    def _ends_all(self) -> Iterator[None]:
        """Let an interrupt or an error in one thread end the folds of the others: the pool waits for them."""
        try:
            yield
        except BaseException:
            self._watch.stopped = True
            raise

    def _fold(self, curve: Curve, number: int, shared: Shared, workers: Workers | None) -> None:
        """Fit to the rows outside of one fold at each C, and score on those inside."""
        train, test = self._folds[number]
        part = self._data.part(train)
        score = self._score_on(test)

        def keep(i: int, solution: Solution) -> None:
            curve.scores[number, i] = score(*part.expanded(solution.coef, solution.intercept))
            curve.passes[number] += solution.n_passes
            curve.uncertified[number] += solution.reason != "certified"
            curve.done[number, i] = True

        if len(part.present) < 2:
            zero = np.zeros((1, part.problem.X.shape[1])), np.zeros(1)
            solution = Solution(*zero, 0.0, 0.0, 0.0, "certified", 0, 0)
            task = self._tell(part, number, keep)
            for C in self._Cs:
                if task(float(C), solution):
                    raise KeyboardInterrupt
            return
        lent = shared if part.complete and shared.optima else None
        self._fit(part, lent, workers, number, keep)

    def _fit(
        self,
        part: Part,
        shared: Shared | None,
        workers: Workers | None,
        fold: int | None,
        keep: Keep,
        *,
        copies: int = 1,
    ) -> None:
        """Fit at each C to a part of the rows, that outside of a fold or all."""
        options = self._options
        apart = workers is not None and fold is not None
        solutions = fit_points(
            part.problem,
            self._Cs,
            tol=float(options.tol),
            max_iter=options.max_iter,
            n_threads=1 if apart else options.n_threads,
            workers=workers,
            shared=shared,
            copies=copies,
            announce=self._tell(part, fold, keep),
        )
        if len(solutions) < len(self._Cs) or (self._watch.stopped and fold is not None):
            raise KeyboardInterrupt

    def _tell(self, part: Part, fold: int | None, keep: Keep) -> Announce:
        """What is to be called after each fit to a part: it keeps the solution and tells the watch.

        It returns True where the search is to end.
        """
        watch, Cs, n_folds = self._watch, self._Cs, len(self._folds)
        evaluation = fold is not None or not n_folds
        name = "candidate-split-evaluation" if evaluation else "candidate-fit"
        where = "all rows" if fold is None else f"fold {fold + 1} of {n_folds}"
        arguments = self._arguments(part, None if fold is None else self._folds[fold][0]) if watch.asks else {}
        place = 0

        def task() -> int:
            """The number of the task: those of a candidate together, and those of all rows behind them."""
            candidate = self._place * len(Cs) + place
            return self._n_evaluations + candidate if fold is None else candidate * n_folds + fold

        def announce(C: float, solution: Solution) -> bool:
            nonlocal place
            keep(place, solution)
            watch.end(task(), f"{where}, C = {C:.3g}", lambda: self._fitted(part, C, solution), arguments)
            place += 1
            # A request to stop is heeded where there is something to choose from.
            stop = watch.stopped and evaluation
            if not stop and place < len(Cs):
                watch.begin(task(), name, arguments)
            return stop

        watch.begin(task(), name, arguments)
        return announce

    def _fitted(self, part: Part, C: float, solution: Solution) -> dict[str, Any]:
        """What makes an estimator predict as a fit to a part does."""
        coef, intercept = part.expanded(solution.coef, solution.intercept)
        return {
            "coef_": coef,
            "intercept_": intercept,
            "classes_": self._data.classes,
            "temperature_": 1.0,
            "n_features_in_": coef.shape[1],
            "feature_names_in_": None,  # callbacks predict for the checked X, which has none
            "C_": C,
            "l1_ratio_": self._ratio,
        }

    def _arguments(self, part: Part, train: npt.NDArray[np.intp] | None) -> dict[str, Any]:
        """X, y and metadata of the fits to a part, as callbacks get them: functions, which few call."""
        data = self._data
        weights = data.sample_weight
        index = np.arange(len(data.target)) if train is None else train
        if weights is not None:
            index = index[weights[index] > 0]

        def metadata() -> dict[str, Any] | None:
            return None if weights is None else {"sample_weight": weights[index]}

        return {"X": lambda: part.problem.X, "y": lambda: targets_of(data)[index], "metadata": metadata}

    def _score_on(self, test: npt.NDArray[np.intp]) -> Score:
        """The score on the rows of a fold."""
        data = self._data
        weights = data.sample_weight
        if weights is not None:
            test = test[weights[test] > 0]
            weights = weights[test]
        if not len(test):
            return lambda coef, intercept: np.nan
        X, target = data.unit.X[test], data.target[test]
        offset = None if data.unit.offset is None else data.unit.offset[test]

        def by_rows(coef: Floats, intercept: Floats) -> float:
            logits = X @ coef.T + intercept
            if offset is not None:
                logits += offset
            return weighted_mean(ROW_SCORES[self._scoring](log_softmax(logits), target), weights)

        def by_scorer(coef: Floats, intercept: Floats) -> float:
            model = SoftmaxRegression(C=1.0)
            model.coef_, model.intercept_, model.classes_, model.temperature_ = coef, intercept, data.classes, 1.0
            model.n_features_in_ = coef.shape[1]
            extra = {} if weights is None or not self._weighted else {"sample_weight": weights}
            return float(self._scoring(model, X, data.classes[target], **extra))

        return by_rows if isinstance(self._scoring, str) else by_scorer
