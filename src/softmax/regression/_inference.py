"""Standard errors of a fitted softmax regression: checks, the last Newton steps, covariances, refusals.

The sums over the rows are in `_information`, what is read off them in `_inference_result`.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack, solve
from sklearn.base import clone
from sklearn.utils.validation import _num_samples, check_is_fitted

from softmax._errors import OptionError, TargetError
from softmax._threads import number_of_threads

from ._inference_result import SoftmaxInference
from ._information import Design, Point, evaluate, meat
from ._inputs import available_memory, prepare
from ._problem import Problem
from ._rows import Floats, mirrored
from ._separation import decide_separation
from ._threads import Workers

COVARIANCES = ("classical", "robust", "HC0", "HC1", "cluster")
# Newton steps from coefficients that are meant to be the optimum already; without a finite optimum they do not end.
MAX_STEPS = 40
# The distance to the optimum, in standard errors, below which no figure changes in nine digits.
NEAR = 1e-9
# Below this reciprocal condition, in columns of unit length, a covariance would be rounding and nothing else.
SINGULAR = 1e-14
# The part of a column's variance, when the other columns are known, below which it is taken for their combination.
DEPENDENT = 1e-13
# From this number of multiplications on an information is worth several threads.
THREADS_FROM = 1e8


@dataclass(frozen=True, eq=False)
class Optimum:
    """θ (K−1, p) in the units of x̃, the sums there, the inverse of the penalised information, how it was reached.

    `distance` is how far the start was, and `rest` how far the end is, in standard errors: √(gᵀ A⁻¹ g).
    """

    theta: Floats
    point: Point
    inverse: Floats
    condition: float
    steps: int
    distance: float
    rest: float


def infer(
    model: Any,
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    offset: Any = None,
    reference: Any = None,
    parametrisation: str = "reference",
    covariance: str = "classical",
    clusters: Any = None,
    assume: str | None = None,
    level: float = 0.95,
) -> SoftmaxInference:
    r"""Standard errors, tests and intervals of a fitted softmax regression.

    The coefficients are those of the fit, brought to the maximum of the likelihood by Newton steps on a copy where they
    are not there to nine digits (``n_newton`` says how many; the model is not changed). With the scores
    :math:`s_i = w_i\,(y_i - p_i) \otimes x_i` and the Fisher information :math:`I` of all rows, the covariance is

    .. math:: I^{-1} \text{ (classical)}, \qquad c\, I^{-1} \Bigl(\sum_g u_g u_g^T\Bigr) I^{-1},\quad u_g = \sum_{i \in
              g} s_i \text{ (robust)}

    where each g is one row ("HC0": c = 1; "HC1": c = n / (n − q), with q parameters) or one of G clusters ("cluster": c
    = G / (G − 1) · (n − 1) / (n − q)).

    Parameters
    ----------
    model : SoftmaxRegression
        Fitted with ``C=inf``, or see `assume`.
    X, y : as in ``fit``
        The data of the fit.
    sample_weight : array of shape (n,), optional
        The weights of the fit. "classical" takes them as frequencies: a weight of 2 is a row that was seen twice. The
        robust covariances take them as sampling (probability) weights: only their ratios matter, and a row of weight 2
        is still one row.
    offset : array of shape (n, K), optional
        The offset of the fit.
    reference : label, optional
        The class that the others are compared with; the first one by default.
    parametrisation : {"reference", "symmetric"}, default="reference"
        Differences from the reference class, (K−1, p), or the coefficients of all classes with sum 0, (K, p).
    covariance : {"classical", "robust", "HC0", "HC1", "cluster"}, default="classical"
        See above. "robust" is HC0. Under `assume` "classical" stands for HC0, since the other does not exist.
    clusters : array of shape (n,), optional
        The cluster of each row, for "cluster".
    assume : {"sandwich"} or None, default=None
        What a penalised model needs. With it, the coefficients are taken as an M-estimator: the standard errors are
        those of their scatter around the penalised optimum of infinitely many such samples at the same penalty, and not
        around the coefficients of the true model, from which that optimum is biased towards 0. Intervals therefore do
        not cover the truth at their level, and p-values test that the *penalised* target is 0. Only for L2 penalties.
    level : float, default=0.95
        Coverage of the intervals.

    Returns
    -------
    SoftmaxInference
        ``params``, ``bse``, ``zvalues``, ``pvalues``, ``conf_int()``, ``cov_params``, ``wald_tests()``,
        ``summary()`` and more.

    Raises
    ------
    OptionError
        If an option is outside its range or not defined for the model; if no finite estimate exists, naming the
        direction that separates the classes; if columns are collinear, naming them; if X and y are not the data of the
        fit.
    TargetError, ArrayValueError
        If X, y, `sample_weight`, `offset` or `clusters` do not fit the model or each other.
    MemoryError
        If the information of ((K−1) p)² numbers does not fit in memory.

    Notes
    -----
    The intercept is the first column. The information is summed over blocks of rows, of sparse X too. Agrees with
    ``statsmodels`` ``MNLogit`` for "classical", "HC0" and "cluster".

    The sandwich is that of [1]_ and [2]_; with weights, that of a pseudo-likelihood [3]_.

    References
    ----------
    .. [1] P. J. Huber, "The behavior of maximum likelihood estimates under nonstandard conditions", Proc. Fifth
       Berkeley Symposium, 1967.
    .. [2] H. White, "Maximum likelihood estimation of misspecified models", Econometrica 50, 1982.
    .. [3] D. A. Binder, "On the variances of asymptotically normal estimators from complex surveys", International
       Statistical Review 51, 1983.

    Examples
    --------
    >>> import numpy as np
    >>> import softmax as sm
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = sm.SoftmaxRegression(C=np.inf).fit(X[50:, :2], y[50:])
    >>> result = model.inference(X[50:, :2], y[50:])
    >>> result.params.round(3)
    array([[-13.046,   1.902,   0.405]])
    >>> result.bse.round(3)
    array([[3.097, 0.517, 0.863]])
    """
    check_is_fitted(model)
    covariance = _check_options(model, covariance, clusters, assume, parametrisation, level)
    problem, total, kept = _problem(model, X, y, sample_weight, offset)
    labels = model.classes_.tolist()
    if reference is not None and reference not in labels:
        raise OptionError(f"reference must be a class of the model, one of {_some(labels)}; got {reference!r}.")
    groups = None if covariance != "cluster" else _groups(clusters, _num_samples(X), kept)
    n, d = problem.X.shape
    long = n * float((problem.n_classes - 1) * (d + 1)) ** 2 >= THREADS_FROM
    with Workers(number_of_threads(model.n_threads) if long else 1) as workers:
        design = Design(problem, total, 0 if reference is None else labels.index(reference), workers)
        result = _estimate(model, design, covariance, groups, float(level))
    return result.to_symmetric() if parametrisation == "symmetric" else result


def _estimate(
    model: Any, design: Design, covariance: str, groups: npt.NDArray[np.intp] | None, level: float
) -> SoftmaxInference:
    """The estimate with its covariance, of checked arguments, against the reference class of the design."""
    _refuse_too_large(design)
    labels, intercept = model.classes_.tolist(), design.problem.intercept
    names = feature_names(model, intercept)
    if getattr(model, "status_", None) == "separated":
        direction = np.roll(model.separating_direction_, 1, axis=1)
        raise _separated(design, direction if intercept else direction[:, 1:], names, labels)
    ridge = _ridge(design)
    optimum = _maximise(design, _start(design, model), ridge, names, labels, _trust(model))
    cov = _covariance(design, optimum, covariance, groups)
    back = design.back()
    size, p = len(cov), design.n_features
    shape = (size // p, p, size // p, p)
    cov = (back @ cov.reshape(shape).transpose(0, 2, 1, 3) @ back.T).transpose(0, 2, 1, 3).reshape(size, size)
    null, df = _null(design)
    return SoftmaxInference(
        classes=model.classes_,
        feature_names=names,
        intercept=intercept,
        covariance=covariance,
        n_clusters=None if groups is None else int(groups.max()) + 1,
        level=level,
        penalised=ridge is not None,
        llf=optimum.point.likelihood,
        llnull=null,
        df_model=df,
        n_obs=design.n,
        sum_weights=design.total,
        n_effective=design.total**2 / float(design.weights @ design.weights),
        condition_number=optimum.condition,
        n_newton=optimum.steps,
        distance=optimum.distance,
        score_norm=optimum.rest,
        base=(optimum.theta @ back.T, cov, design.reference),
        reference=labels[design.reference],
    )


def feature_names(model: Any, intercept: bool) -> list[str]:
    """The names of the parameters of a class: those of the columns, x0, x1, … where they have none."""
    given = getattr(model, "feature_names_in_", None)
    names = [f"x{j}" for j in range(model.n_features_in_)] if given is None else [str(name) for name in given]
    return ["intercept", *names] if intercept else names


def _check_options(
    model: Any, covariance: str, clusters: Any, assume: str | None, parametrisation: str, level: float
) -> str:
    """Refuse what is outside its range or not defined; the covariance to compute."""
    if covariance not in COVARIANCES:
        raise OptionError(f"covariance must be one of {', '.join(COVARIANCES)}; got {covariance!r}.")
    if (covariance == "cluster") != (clusters is not None):
        raise OptionError("covariance='cluster' and clusters belong together: pass both, clusters one per row.")
    if assume not in (None, "sandwich"):
        raise OptionError(f"assume must be 'sandwich' or None, got {assume!r}.")
    if parametrisation not in ("reference", "symmetric"):
        raise OptionError(f"parametrisation must be 'reference' or 'symmetric', got {parametrisation!r}.")
    check_level(level)
    weights = model.penalty_weights
    penalised = np.isfinite(model.C) and (weights is None or bool(np.any(np.asarray(weights))))
    if penalised and model.l1_ratio > 0:
        raise OptionError(
            "after an L1 penalty the coefficients have no normal distribution, and no standard errors are given. "
            "Fit with C=inf on rows that did not choose the features."
        )
    if penalised and assume is None:
        raise OptionError(
            f"the model has a penalty (C={model.C:g}), so that its coefficients are biased and have no standard errors "
            "around the true ones. Fit with C=inf, or pass assume='sandwich' for the scatter around the penalised "
            "optimum (see the documentation)."
        )
    if covariance in ("classical", "robust"):
        if covariance == "robust" or penalised:
            return "HC0"
        if model.class_weight is not None:
            raise OptionError(
                "the model was fitted with class_weight, and a reweighted likelihood has no classical covariance. "
                "Pass covariance='robust'."
            )
    return covariance


def check_level(level: float) -> None:
    """Refuse a coverage outside (0, 1)."""
    if not isinstance(level, int | float | np.floating) or not 0 < level < 1:
        raise OptionError(f"level must be a number between 0 and 1, such as 0.95; got {level!r}.")


def _problem(
    model: Any, X: Any, y: Any, sample_weight: Any, offset: Any
) -> tuple[Problem, float, npt.NDArray[np.bool_] | None]:
    """What the model was fitted to, the sum of its weights, and which rows have any where some have none."""
    # A copy takes what checking sets. With C=1 its λ is 1 / Σ w, which tells the sum of the weights.
    probe = clone(model).set_params(C=1.0)
    inputs = prepare(probe, X, y, sample_weight, offset)
    if probe.n_features_in_ != model.n_features_in_:
        raise TargetError(f"X has {probe.n_features_in_} columns, and the model was fitted to {model.n_features_in_}.")
    if not np.array_equal(inputs.classes, model.classes_):
        raise TargetError(
            f"y has the classes {_some(inputs.classes.tolist())} and the model {_some(model.classes_.tolist())}. "
            "Pass the data of the fit."
        )
    problem, total = inputs.problem, 1.0 / inputs.penalty
    problem = replace(problem, ridge=problem.ridge * (total / model.C), lasso=None)
    if problem.lower is not None and problem.upper is not None:
        if np.any((model.coef_ <= problem.lower) | (model.coef_ >= problem.upper)):
            raise OptionError("some coefficients lie on their bounds, where standard errors are not defined.")
        problem = replace(problem, lower=None, upper=None)
    kept = None
    if problem.X.shape[0] < _num_samples(X):
        kept = np.asarray(sample_weight, dtype=np.float64).ravel() > 0
    return problem, total, kept


def _some(labels: list[Any]) -> str:
    """At most ten labels, for a message."""
    shown = ", ".join(repr(label) for label in labels[:10])
    return shown if len(labels) <= 10 else f"{shown}, … ({len(labels)} in all)"


def _groups(clusters: Any, n: int, kept: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.intp]:
    """The cluster of each row as a number from 0 on."""
    given = np.asarray(clusters)
    if given.shape != (n,):
        raise OptionError(f"clusters must have one entry per row, shape ({n},), got {given.shape}.")
    missing = given != given
    if np.any(missing):
        raise OptionError(f"clusters has a missing value at row {int(np.argmax(missing))}.")
    codes = np.unique(given if kept is None else given[kept], return_inverse=True)[1].reshape(-1)
    if codes.max() < 1:
        raise OptionError("covariance='cluster' needs at least 2 clusters, got 1.")
    return codes


def _refuse_too_large(design: Design) -> None:
    """Say how much memory the information needs, and what there is."""
    size = (design.problem.n_classes - 1) * design.n_features
    need, there = 5 * 8.0 * size**2, available_memory()
    if need > there:
        raise MemoryError(
            f"the covariance of {size} parameters needs about {need / 1e9:.1f} GB with its work arrays, and "
            f"{there / 1e9:.1f} GB are available: at most {int((there / 40) ** 0.5)} parameters fit."
        )


def _start(design: Design, model: Any) -> Floats:
    """The model's coefficients as θ (K−1, p) in the units of x̃."""
    full = model.coef_
    if design.problem.intercept:
        full = np.column_stack([model.intercept_, full])
    theta: Floats = (full[design.others] - full[design.reference]) @ design.forth().T
    return theta


def _trust(model: Any) -> float | None:
    """The relative gap that the fit claims; None where it claims nothing."""
    if getattr(model, "status_", None) not in ("certified", "estimated"):
        return None
    reached = model.gap_ / model.objective_ if model.objective_ > 0 else 0.0
    return max(float(model.tol), float(reached))


def _ridge(design: Design) -> Floats | None:
    """The penalty's matrix in reference coordinates, ((K−1)p, (K−1)p): ‖W_:j‖² = θ_:jᵀ (I − 11ᵀ/K) θ_:j."""
    strength = design.problem.ridge / design.scale**2
    if not strength.any():
        return None
    n_classes, first = design.problem.n_classes, int(design.problem.intercept)
    matrix = np.zeros((n_classes - 1, design.n_features, n_classes - 1, design.n_features))
    columns = np.arange(first, design.n_features)
    centring = np.eye(n_classes - 1) - 1.0 / n_classes
    matrix[:, columns, :, columns] = strength[:, None, None] * centring
    size = (n_classes - 1) * design.n_features
    return matrix.reshape(size, size)


def _maximise(
    design: Design, theta: Floats, ridge: Floats | None, names: list[str], labels: list[Any], trust: float | None
) -> Optimum:
    """Newton's method to the maximum of the (penalised) likelihood."""
    first = 0.0
    for step in range(MAX_STEPS):
        point = evaluate(design, theta)
        assert point.information is not None
        gradient, matrix = point.score.ravel(), point.information
        if ridge is not None:
            gradient, matrix = gradient - ridge @ theta.ravel(), matrix + ridge
        inverted = _inverse(matrix)
        if inverted is None:
            raise _singular(design, theta, names, labels)
        inverse, condition = inverted
        move = inverse @ gradient
        rest = float(np.sqrt(np.maximum(gradient @ move, 0.0)))
        if step == 0:
            first = rest
            _refuse_other_data(design, point, rest, trust)
        # Where no finite optimum exists the likelihood soon grows no more while the steps stay as long as ever.
        if rest <= NEAR and np.max(np.abs(move)) <= 1e-6 * (1.0 + np.max(np.abs(theta))):
            return Optimum(theta, point, inverse, condition, step, first, rest)
        theta = theta + _length(design, theta, move, gradient, point, ridge) * move.reshape(theta.shape)
    raise _without_maximum(
        design, theta, names, labels, f"Newton's method did not reach it in {MAX_STEPS} steps: fit to a smaller tol"
    )


def _length(design: Design, theta: Floats, move: Floats, gradient: Floats, point: Point, ridge: Floats | None) -> float:
    """How much of a Newton step to take: all of it near the optimum, else a part that is sure to ascend."""
    slope = float(gradient @ move)
    if slope < 0.25:
        return 1.0

    def value(at: Floats, likelihood: float) -> float:
        flat = at.ravel()
        return likelihood if ridge is None else likelihood - 0.5 * float(flat @ ridge @ flat)

    here, length = value(theta, point.likelihood), 1.0
    while length > 1e-6:
        there = theta + length * move.reshape(theta.shape)
        if value(there, evaluate(design, there, information=False).likelihood) >= here + 1e-4 * length * slope:
            break
        length /= 2
    return length


def _inverse(matrix: Floats) -> tuple[Floats, float] | None:
    """The inverse of a symmetric positive definite matrix and its condition, after scaling to a unit diagonal."""
    diagonal = np.diag(matrix)
    if not np.all(diagonal > 0) or not np.isfinite(matrix).all():
        return None
    scale = 1.0 / np.sqrt(diagonal)
    scaled = matrix * scale[:, None] * scale
    norm = float(np.abs(scaled).sum(axis=0).max())
    factor, info = lapack.dpotrf(scaled, lower=1)
    if info:
        return None
    reciprocal, _ = lapack.dpocon(factor, norm, uplo="L")
    if reciprocal < SINGULAR:
        return None
    inverse = mirrored(lapack.dpotri(factor, lower=1)[0])
    return inverse * scale[:, None] * scale, 1.0 / float(reciprocal)


def _covariance(design: Design, optimum: Optimum, covariance: str, groups: npt.NDArray[np.intp] | None) -> Floats:
    """The covariance of θ in the units of x̃, ((K−1)p, (K−1)p)."""
    if covariance == "classical":
        return optimum.inverse
    n, size = design.n, len(optimum.inverse)
    factor = 1.0
    if covariance in ("HC1", "cluster"):
        if n <= size:
            raise OptionError(
                f"covariance={covariance!r} divides by rows − parameters, which is {n} − {size}. "
                "Take 'HC0', or fewer features."
            )
        factor = n / (n - size)
    drift = optimum.point.score / n
    if groups is not None:
        n_groups = int(groups.max()) + 1
        factor = n_groups / (n_groups - 1) * (n - 1) / (n - size)
    inner = meat(design, optimum.theta, drift, groups)
    half = optimum.inverse @ inner @ optimum.inverse
    return factor * 0.5 * (half + half.T)


def _null(design: Design) -> tuple[float, int]:
    """The log-likelihood without features, and how many parameters the features have."""
    problem, others = design.problem, design.problem.n_classes - 1
    constant = problem.intercept or _spans_constant(design)
    if not constant:
        zero = np.zeros((others, design.n_features))
        return evaluate(design, zero, information=False).likelihood, others * design.n_features
    empty = replace(problem, X=np.empty((design.n, 0)), ridge=np.empty(0), intercept=True)
    alone = Design(empty, design.total, design.reference)
    sums = np.zeros(problem.n_classes)
    for rows in alone.slices():
        sums += design.weights[rows] @ alone.targets(rows)
    logs = np.log(sums)
    theta = (logs[design.others] - logs[design.reference])[:, None]
    if problem.offset is None:
        likelihood = evaluate(alone, theta, information=False).likelihood
    else:
        labels = list(range(problem.n_classes))
        likelihood = _maximise(alone, theta, None, ["intercept"], labels, None).point.likelihood
    return likelihood, others * (design.n_features - 1)


def _spans_constant(design: Design) -> bool:
    """Whether some combination of the columns of a model without intercept is 1 in every row."""
    sums = np.zeros(design.n_features)
    for rows in design.slices():
        sums += design.weights[rows] @ design.rows(rows)
    sums /= design.total
    explained = sums @ solve(design.gram(), sums, assume_a="sym")
    return bool(1.0 - explained <= 1e-10)


def _refuse_other_data(design: Design, point: Point, distance: float, trust: float | None) -> None:
    """The coefficients should be the optimum of the data, as near as the fit says."""
    if trust is None or distance < 1e-3:
        return
    gap, objective = 0.5 * distance**2, abs(point.likelihood)
    if gap > 100 * trust * objective + 1e-9:
        raise OptionError(
            f"the coefficients are {distance:.2g} standard errors away from the optimum of these data, further than "
            "the fit allows. Pass the X, y, sample_weight and offset that the model was fitted with."
        )


def _singular(design: Design, theta: Floats, names: list[str], labels: list[Any]) -> OptionError:
    """Say why an information has no inverse: columns that depend on others, or else classes that are separated."""
    gram = design.gram()
    _, pivots, rank, _ = lapack.dpstrf(gram, tol=DEPENDENT, lower=1)
    order = pivots - 1
    if rank < len(gram):
        first, dependent = order[:rank], order[rank:]
        lines = [_dependence(gram, design.scale, first, int(j), names, design.problem.intercept) for j in dependent[:5]]
        more = f" and {len(dependent) - 5} more" if len(dependent) > 5 else ""
        return OptionError(
            f"the columns of X are collinear, so that their coefficients are not determined: {'; '.join(lines)}{more}. "
            f"Leave out {'this column' if len(dependent) == 1 else 'these columns'}."
        )
    return _without_maximum(
        design,
        theta,
        names,
        labels,
        "the information is singular to rounding, classes being almost separated. Merge some, or leave out columns",
    )


def _without_maximum(design: Design, theta: Floats, names: list[str], labels: list[Any], otherwise: str) -> OptionError:
    """Say why Newton's method found no maximum: because classes are separated, or `otherwise`."""
    full = np.zeros((design.problem.n_classes, design.n_features))
    full[design.others] = theta @ design.back().T
    start = (full[:, 1:], full[:, 0]) if design.problem.intercept else (full, np.zeros(len(full)))
    decision = decide_separation(design.problem, start)
    if decision.separation is not None:
        direction = np.roll(decision.separation.direction, 1, axis=1)
        return _separated(design, direction if design.problem.intercept else direction[:, 1:], names, labels)
    if decision.verdict == "overlapping":
        return OptionError(f"a finite estimate exists, and no standard errors were found: {otherwise}.")
    first = int(design.problem.intercept)
    return OptionError(f"no standard errors were found. {decision.message(names[first:], [str(k) for k in labels])}")


def _dependence(
    gram: Floats, scale: Floats, first: npt.NDArray[np.intp], column: int, names: list[str], intercept: bool
) -> str:
    """A column as a combination of others, in words."""
    if gram[column, column] <= DEPENDENT:
        return f"{names[column]} is {'constant' if intercept else '0 in every row'}"
    shares = solve(gram[np.ix_(first, first)], gram[first, column], assume_a="pos")
    units = np.concatenate([np.ones(int(intercept)), scale])
    keep = [i for i in np.argsort(-np.abs(shares)) if abs(shares[i]) > 1e-6 and not (intercept and first[i] == 0)]
    terms = [f"{shares[i] * units[column] / units[first[i]]:+.4g}·{names[first[i]]}" for i in keep[:5]]
    tail = " + …" if len(keep) > 5 else (" + constant" if intercept else "")
    return f"{names[column]} = {' '.join(terms).removeprefix('+')}{tail}"


def _separated(design: Design, direction: Floats, names: list[str], labels: list[Any]) -> OptionError:
    """Name the classes and columns of a direction (K, p) along which the likelihood grows for ever."""
    first = int(design.problem.intercept)
    spread = (direction * np.concatenate([np.ones(first), design.scale]))[:, first:]
    main = int(np.argmax(np.ptp(spread, axis=0)))
    high, low = int(np.argmax(spread[:, main])), int(np.argmin(spread[:, main]))
    steps = spread[high] - spread[low]
    order = [int(j) for j in np.argsort(-np.abs(steps), kind="stable") if abs(steps[j]) > 1e-3 * np.max(np.abs(steps))]
    difference = (direction[high] - direction[low])[first:]
    named = ", ".join(f"{names[first + j]} ({difference[j]:+.3g})" for j in order[:5])
    return OptionError(
        "no finite estimate exists: a combination of features separates classes, and the likelihood grows for ever as "
        f"the coefficients of class {labels[high]!r} less those of class {labels[low]!r} move along {named}. Drop or "
        "merge the features or classes, or fit with a penalty (assume='sandwich' says what its standard errors mean)."
    )
