"""`SoftmaxRegression`: options, attributes and scikit-learn's conventions around the solvers; no arithmetic."""

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator

from softmax._errors import NotCertifiedWarning

from ._callbacks import CallbackSupport, bridge, with_callbacks
from ._inputs import Inputs, prepare
from ._predictions import LinearClassifierMixin
from ._problem import Progress, Solution
from ._rows import Floats
from ._solvers import DEFAULT_MAX_ITER, solve
from ._state import restore, state_of

if TYPE_CHECKING:
    from ._inference_result import SoftmaxInference


class SoftmaxRegression(CallbackSupport, LinearClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    r"""Softmax (multinomial logistic) regression, fitted until its optimality is certified.

    The model is p(y = k | x) = softmax(W x + b)_k. With weights π_i = s_i / Σ s (sample times class weight) the fit
    minimises

    .. math:: f(W, b) = \sum_i \pi_i\,[\operatorname{lse}(W x_i + b) - (W x_i + b)_{y_i}] + \lambda \sum_j v_j
              \left[ \frac{1-r}{2} \lVert W_{:j} \rVert_2^2 + r\, \Omega(W_{:j}) \right],
              \qquad \lambda = \frac{1}{C \sum_i s_i},

    in nats, where r is `l1_ratio`, v are the `penalty_weights` and Ω is the 1-norm, or the 2-norm with `grouped`. This
    is the objective of scikit-learn's multinomial ``LogisticRegression`` over the sum of the weights. The intercept b
    is not penalised. The number of classes is K ≥ 2, and there are always K sets of coefficients. At K = 2 scikit-learn
    fits one set, the difference of ours, and the L2 penalty of the two halves is half as large:
    ``SoftmaxRegression(C)`` equals ``LogisticRegression(C=2 * C)`` there.

    The units of X do not matter for the speed or the stop, only, through the penalty, for the optimum itself.

    Parameters
    ----------
    C : float, default=1.0
        Inverse strength of the penalty, > 0; inf for none.
    l1_ratio : float, default=0.0
        Share r of the L1 penalty, from 0 (ridge) to 1 (lasso).
    grouped : bool, default=False
        Whether the L1 part takes the coefficients of a feature over all classes as a group, which is in or out as a
        whole: Ω(W_:j) = ‖W_:j‖₂.
    penalty_weights : array of shape (d,) or None, default=None
        Factor v_j ≥ 0 of each feature's penalty; 0 leaves a feature unpenalised.
    bounds : pair of floats or arrays or None, default=None
        Lower and upper limits of the coefficients, each a number or an array that broadcasts to (K, d); None or an
        infinite number on either side for no limit. ``(0, None)`` asks for coefficients ≥ 0.
    fit_intercept : bool, default=True
        Whether to fit b; otherwise it is 0.
    solver : {"auto", "newton", "newton-cg"}, default="auto"
        For a smooth penalty without bounds: both are Newton's method with conjugate gradients. "newton" preconditions
        them with a factor of the whole Hessian, assembled from the rows that matter and kept from step to step; it
        needs (K·d)² numbers. "newton-cg" preconditions with the Kronecker product of a class and a feature covariance;
        with more than 4096 features or 512 classes, or far more features than rows, with the diagonal of the Hessian.
        "auto" takes "newton" up to K·d = 3000. ``history_[0]`` says which, and why. An L1 penalty and bounds have their
        own solvers.
    tol : float, default=1e-6
        The fit stops when ``gap_ <= tol * objective_``.
    max_iter : int or None, default=None
        Largest number of iterations; None is a safety net of 1000.
    class_weight : dict, "balanced" or None, default=None
        Weight of each class, by label; "balanced" is n / (K · n_k). Multiplies `sample_weight`.
    warm_start : bool, default=False
        Whether to start from the coefficients of the last fit, where it had the same classes and features.
    n_threads : int or None, default=None
        The most threads that the fit takes; None for the environment variable SOFTMAX_NUM_THREADS, else all processors.
        A fit repeats bitwise at a fixed number.
    random_state : int or None, default=None
        Accepted for compatibility: a fit draws nothing at random from outside and always repeats.
    verbose : int, default=0
        With 1, print the solver, the reason for it, and a line per iteration.

    Attributes
    ----------
    coef_ : ndarray of shape (K, d), float64
        W. Its columns sum to 0, unless `bounds` or an L1 penalty say otherwise.
    intercept_ : ndarray of shape (K,), float64
        b. Sums to 0.
    classes_ : ndarray of shape (K,)
        The labels, sorted; 0 … K−1 where y was a matrix of probabilities.
    n_features_in_ : int
        d.
    feature_names_in_ : ndarray of shape (d,)
        Names of the columns, where X had any.
    n_iter_ : int
        Iterations taken.
    objective_ : float
        f at the returned coefficients, in nats.
    gap_ : float
        Upper bound of ``objective_`` minus the optimum: from strong convexity under an L2 penalty, ‖∇_W f‖² / (2λ)
        where the intercept gradient is 0, and with a term for what it is otherwise; the Fenchel duality gap under an L1
        penalty. Evaluated in float64 on the returned coefficients and X as given, rounding allowed for. It holds
        whether or not the fit converged. Where some feature has no penalty no such bound exists: then it is half the
        squared Newton decrement, an estimate, and `status_` says so.
    grad_norm_ : float
        Euclidean norm of the gradient in (W, b): of the smallest subgradient under an L1 penalty, of the projected
        gradient under bounds.
    status_ : {"certified", "estimated", "not converged", "separated"}
        Whether ``gap_ <= tol * objective_``, as a bound or as an estimate. "separated": without a penalty, some
        combination of features separates classes, so that no finite optimum exists. Where that could not be decided,
        the fit is "not converged" unless its steps became small, and the warning says what was tried.
    separating_direction_ : ndarray of shape (K, d + 1) or None
        Where ``status_`` is "separated": the direction of (W, b), intercepts last, along which the likelihood grows for
        ever.
    condition_ : float or None
        Where ``gap_`` is an estimate, the estimated condition of the Hessian at the returned coefficients: its largest
        over its smallest eigenvalue, in columns that are centred and of unit variance, on coefficients that sum to 0
        over the classes; intercepts included. About log10 of it of the 16 digits of a float64 are lost in the
        coefficients, and the estimated gap can be trusted as long as most are left; from 1e10 on a fit warns and names
        the columns. inf where the coefficients are not determined, as with a column that is there twice. The estimate,
        from a few passes over X, errs downwards, seldom by more than a factor of 2. None where ``gap_`` is a bound,
        where no finite optimum is known to exist, and under an L1 penalty or bounds.
    penalty_ : float
        λ; 0 for ``C=inf``.
    temperature_ : float
        What `calibrate` found; 1.0 before.
    n_passes_ : int
        How often X was read in full.
    history_ : list of dict
        One record per iteration: iteration, passes, objective, gap, grad_norm, and what the solver adds.

    Notes
    -----
    float32 data is read in float64, block by block, for every value, gradient and certificate; coefficients are always
    float64. CSR data stays sparse (CSC is converted once). Besides X the fit needs a work array of n·K numbers, or,
    where that would not fit, computes them anew in every pass. A fit that does not reach `tol` gives one
    `NotCertifiedWarning`, with the gap it reached, the reason and what to change.

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
        l1_ratio: float = 0.0,
        grouped: bool = False,
        penalty_weights: npt.ArrayLike | None = None,
        bounds: tuple[npt.ArrayLike | None, npt.ArrayLike | None] | None = None,
        fit_intercept: bool = True,
        solver: str = "auto",
        tol: float = 1e-6,
        max_iter: int | None = None,
        class_weight: Mapping[Any, float] | str | None = None,
        warm_start: bool = False,
        n_threads: int | None = None,
        random_state: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.C = C
        self.l1_ratio = l1_ratio
        self.grouped = grouped
        self.penalty_weights = penalty_weights
        self.bounds = bounds
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.n_threads = n_threads
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None, offset: Any = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : array, sparse matrix or data frame of shape (n, d)
            Finite numbers. Read, never changed, and not copied as a whole where it is float32 or float64 and dense or
            CSR.
        y : array of shape (n,) or (n, K)
            Labels of any sortable dtype, at least two different ones; or probabilities of K classes, rows that sum to
            1.
        sample_weight : array of shape (n,), optional
            Weights ≥ 0; every class needs a positive sum. A row of weight 0 counts as absent.
        offset : array of shape (n, K), optional
            Known parts of the logits, added to W x + b during the fit. Predictions do not contain them.

        Returns
        -------
        self

        Raises
        ------
        OptionError
            If a parameter is outside its range.
        ArrayValueError
            If X is not finite (says in which row and column) or a damaged sparse matrix.
        TargetError
            If there are fewer than two classes, a class has no weight, or y does not fit X.
        MemoryError
            If K·d coefficients do not fit in memory.
        ValueError, TypeError
            scikit-learn's own, if X or y is not numeric, empty or of the wrong shape.
        """
        inputs = prepare(self, X, y, sample_weight, offset)
        watch = bridge(
            self,
            X,
            y,
            classes=inputs.classes,
            also=self._reporter(),
            metadata={"sample_weight": sample_weight, "offset": offset},
        )
        solution = solve(
            inputs.problem,
            solver=self.solver,
            tol=float(self.tol),
            max_iter=DEFAULT_MAX_ITER if self.max_iter is None else int(self.max_iter),
            start=self._start(inputs),
            n_threads=self.n_threads,
            progress=watch,
            announce=self._announce if self.verbose else None,
        )
        self._keep(inputs, solution)
        watch.close()
        return self

    def inference(self, X: Any, y: Any, **options: Any) -> "SoftmaxInference":
        """Return standard errors, tests and intervals of the coefficients, from the data of the fit.

        Parameters
        ----------
        X, y : as in `fit`
            The data that the model was fitted to.
        **options
            sample_weight and offset, as in `fit`; reference, the label of the reference class; parametrisation,
            "reference" or "symmetric"; covariance, "classical", "robust" (HC0), "HC1" or "cluster" with clusters, one
            label per row; assume, "sandwich" for a penalised fit, whose errors are then those of its own penalised
            target; level of the intervals, 0.95.

        Returns
        -------
        SoftmaxInference
            With ``summary()``, ``bse``, ``pvalues``, ``conf_int()`` and the like.

        Raises
        ------
        OptionError
            For a penalised fit without ``assume="sandwich"``, or where no finite estimate exists.
        """
        from ._inference import infer

        return infer(self, X, y, **options)

    def calibrate(self, X: Any, y: Any, *, cv: Any = 5, sample_weight: Any = None, offset: Any = None) -> Self:
        """Set `temperature_`, which divides the logits of ``predict_proba``, from rows that had no part in a fit.

        Parameters
        ----------
        X, y, sample_weight, offset : as in `fit`
            The data of the fit; with ``cv="prefit"``, other data.
        cv : int, splitter, iterable of (train, test) or "prefit", default=5
            How rows are held out from clones of the model; "prefit" takes the model's own logits for X, which it must
            not have seen.

        Returns
        -------
        self
        """
        from ._calibration import calibrate

        return calibrate(self, X, y, cv=cv, sample_weight=sample_weight, offset=offset)

    def _start(self, inputs: Inputs) -> tuple[Floats, Floats] | None:
        """Where a warm start begins, or None."""
        if not self.warm_start or not hasattr(self, "coef_") or not np.array_equal(self.classes_, inputs.classes):
            return None
        same = self.coef_.shape == (len(inputs.classes), inputs.problem.X.shape[1])
        return (self.coef_, self.intercept_) if same else None

    def _reporter(self) -> Progress | None:
        """What is called after each iteration: prints with `verbose`, and the hook `_progress` where a caller has set
        one.
        """
        hook: Progress | None = getattr(self, "_progress", None)
        if not self.verbose:
            return hook

        def report(iteration: int, passes: int, objective: float, gap: float) -> None:
            print(f"{iteration:9d}  {passes:6d}  {objective:15.9g}  {gap:11.3g}", flush=True)  # noqa: T201  verbose asks
            if hook is not None:
                hook(iteration, passes, objective, gap)

        return report

    @staticmethod
    def _announce(solver: str, because: str) -> None:
        """Say which solver runs, and why."""
        print(f"solver {solver} ({because})\niteration  passes        objective          gap")  # noqa: T201

    def _keep(self, inputs: Inputs, solution: Solution) -> None:
        """Set the fitted attributes, and warn if the optimum was not reached."""
        self.classes_ = inputs.classes
        self.coef_ = solution.coef
        self.intercept_ = solution.intercept
        self.penalty_ = inputs.penalty
        self.temperature_ = 1.0
        self.__dict__.pop("calibration_", None)  # of an earlier fit
        self.n_iter_ = solution.n_iter
        self.n_passes_ = solution.n_passes
        self.history_ = solution.history
        self.objective_ = solution.objective
        self.gap_ = solution.gap
        self.grad_norm_ = solution.grad_norm
        self.separating_direction_ = solution.direction
        self.condition_ = None if solution.condition is None else solution.condition.value
        complaints = []
        if solution.reason == "certified":
            self.status_ = "estimated" if solution.estimated else "certified"
        else:
            self.status_ = "separated" if solution.reason == "separated" else "not converged"
            complaints.append(self._complaint(solution))
        if solution.condition is not None and solution.condition.large:
            complaints.append(solution.condition.message(*self._names()))
        if complaints:
            warnings.warn(" ".join(complaints), NotCertifiedWarning, stacklevel=4)

    def _names(self) -> tuple[list[str] | None, list[str]]:
        """The names of the features, where they have any, and those of the classes, for messages."""
        names = getattr(self, "feature_names_in_", None)
        return None if names is None else list(names), [str(label) for label in self.classes_.tolist()]

    def _complaint(self, solution: Solution) -> str:
        """Why a fit did not reach its tolerance, how far it came, and what to change."""
        relative = solution.gap / solution.objective if solution.objective else np.inf
        verdict = ""
        if solution.decision is not None and solution.decision.verdict != "overlapping":
            verdict = solution.decision.message(*self._names())
        if solution.reason == "separated":
            return verdict + " separating_direction_ holds the direction."
        if solution.reason == "undecided":
            return verdict
        remedy = {
            "iterations": f"max_iter={self.max_iter or DEFAULT_MAX_ITER} was reached: raise max_iter or tol",
            "rounding": f"rounding in float64 allows no more: pass tol={2 * relative:.1e} or a smaller C, or rescale X",
            "interrupted": "it was interrupted: these are the best coefficients so far",
        }[solution.reason]
        kind = "estimated to be within" if solution.estimated else "certified to"
        reached = f"the fit is {kind} {relative:.1e} of the objective only, not to tol={self.tol:g}; {remedy}."
        return f"{reached} {verdict}".rstrip()

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
