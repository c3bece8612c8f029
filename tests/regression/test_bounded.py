"""Fits within limits: against L-BFGS-B on the same objective, with the certificate against the true gap."""

from functools import cache

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
import scipy.special

from softmax.regression import _bounded
from softmax.regression._bounded import _BoundedFit, certify_box, solve_bounded
from softmax.regression._box_model import DenseCurvature, ProductCurvature, minimise_model
from softmax.regression._problem import Problem
from softmax.regression._solvers import solve
from softmax.regression._threads import Workers

INF = np.inf
LIMITS = ["signs", "box", "anywhere", "some"]
VARIANTS = ["plain", "no-intercept", "weights", "offset", "soft", "csr", "float32", "unpenalised"]


def limits_of(kind, n_classes, scale, rng):
    """Lower and upper limits (K, d) of a named kind, in units of 1/scale."""
    shape = (n_classes, len(scale))
    low, high = np.full(shape, -INF), np.full(shape, INF)
    if kind == "signs":
        low[:] = 0.0
    elif kind == "box":
        low[:], high[:] = -0.08 / scale, 0.1 / scale
    elif kind == "anywhere":  # 0 is not allowed everywhere
        low = rng.normal(size=shape) / scale
        high = np.where(rng.random(shape) < 0.5, low + rng.exponential(size=shape) / scale, INF)
    else:
        high[0], low[1] = 0.1 / scale, -0.1 / scale
        low[:, 0] = high[:, 0] = 0.2 / scale[0]
    return low, high


def problem_of(kind, variant, n=90, d=4, n_classes=3, seed=0):
    """Rows that overlap, in columns of very different units, and limits of which some bind."""
    rng = np.random.default_rng([seed, LIMITS.index(kind), VARIANTS.index(variant)])
    scale = 10.0 ** np.arange(-1, d - 1)
    X = (rng.standard_normal((n, d)) + rng.integers(0, 3, d)) * scale
    W = 2 * rng.standard_normal((n_classes, d)) / scale
    logits = X @ W.T
    labels = (logits - logits.mean(axis=0) + rng.gumbel(size=(n, n_classes))).argmax(axis=1)
    ridge = 1e-3 * scale**2
    options = {}
    if variant == "weights":
        options["weights"] = rng.exponential(size=n) + 0.01
    elif variant == "offset":
        options["offset"] = rng.standard_normal((n, n_classes))
    elif variant == "soft":
        options["probabilities"], labels = rng.dirichlet(np.ones(n_classes), n), None
    elif variant == "csr":
        X = scipy.sparse.csr_array(np.where(rng.random((n, d)) < 0.5, 0.0, X))
    elif variant == "float32":
        X = np.asfortranarray(X.astype(np.float32))
    elif variant == "unpenalised":
        ridge[1] = 0.0
    low, high = limits_of(kind, n_classes, scale, rng)
    return Problem(X, labels, n_classes, ridge, intercept=variant != "no-intercept", lower=low, upper=high, **options)


def objective(problem, coef, intercept):
    """f and its gradient in W and b, straight from the definition."""
    X = problem.X.toarray() if scipy.sparse.issparse(problem.X) else problem.X.astype(np.float64)
    Y = np.eye(problem.n_classes)[problem.labels] if problem.probabilities is None else problem.probabilities
    pi = np.ones(len(X)) if problem.weights is None else problem.weights
    pi = pi / pi.sum()
    z = X @ coef.T + intercept + (0.0 if problem.offset is None else problem.offset)
    top = z.max(axis=1, keepdims=True)
    lse = np.log(np.exp(z - top).sum(axis=1, keepdims=True)) + top
    residual = (np.exp(z - lse) - Y) * pi[:, None]
    value = float(pi @ (lse[:, 0] - (Y * z).sum(axis=1)) + 0.5 * (problem.ridge * coef**2).sum())
    return value, residual.T @ X + problem.ridge * coef, residual.sum(axis=0)


def reference(problem):
    """The optimal value by L-BFGS-B, restarted until it stands."""
    k, d = problem.n_classes, problem.X.shape[1]
    X = problem.X.toarray() if scipy.sparse.issparse(problem.X) else problem.X
    scale = np.abs(X).max(axis=0).astype(np.float64)

    def function(v):
        coef, b = v[: k * d].reshape(k, d) / scale, v[k * d :]
        value, gradient, excess = objective(problem, coef, b if problem.intercept else np.zeros(k))
        return value, np.append((gradient / scale).ravel(), excess if problem.intercept else [])

    low, high = (problem.lower * scale).ravel(), (problem.upper * scale).ravel()
    free = [(None, None)] * (k if problem.intercept else 0)
    v = np.append(np.clip(np.zeros(k * d), low, high), np.zeros(len(free)))
    for _ in range(4):
        result = scipy.optimize.minimize(
            function,
            v,
            jac=True,
            method="L-BFGS-B",
            bounds=[*zip(low, high, strict=True), *free],
            options={"maxiter": 20000, "maxfun": 40000, "ftol": 1e-16, "gtol": 1e-12, "maxcor": 30},
        )
        v = result.x
    return result.fun


@cache
def known(kind, variant):
    """A problem, what L-BFGS-B finds for it, and what we find."""
    problem = problem_of(kind, variant)
    return problem, reference(problem), solve_bounded(problem, tol=1e-10, max_iter=50)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", LIMITS)
def test_the_optimum_is_that_of_another_method(kind, variant):
    problem, best, solution = known(kind, variant)
    assert solution.reason == "certified"
    assert solution.objective == pytest.approx(objective(problem, solution.coef, solution.intercept)[0], rel=1e-12)
    assert solution.objective == pytest.approx(best, rel=3e-10)
    assert np.all((problem.lower <= solution.coef) & (solution.coef <= problem.upper))
    assert np.any((problem.lower == solution.coef) | (solution.coef == problem.upper)), "no limit binds: a weak test"
    assert solution.gap >= 0
    assert solution.n_iter <= 30


@pytest.mark.parametrize("variant", VARIANTS)
def test_products_with_the_hessian_reach_the_same_optimum(monkeypatch, variant):
    problem, _, expected = known("anywhere", variant)
    monkeypatch.setattr(_bounded, "DENSE_LIMIT", 0)
    solution = solve_bounded(problem, tol=1e-10, max_iter=100)
    assert solution.reason == "certified"
    assert solution.objective == pytest.approx(expected.objective, rel=3e-10)
    assert "> 0" in solution.history[0]["because"]


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v != "unpenalised"])
@pytest.mark.parametrize("kind", LIMITS)
def test_the_certified_gap_is_at_least_the_true_gap(kind, variant):
    problem, best, optimum = known(kind, variant)
    rng = np.random.default_rng(3)
    tight = 0
    with Workers(None) as workers:
        fit = _BoundedFit(problem, workers)
        for size in (3.0, 1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-6):
            noise = rng.standard_normal(optimum.coef.shape) / fit.rows.spread
            coef = np.clip(optimum.coef + size * noise, problem.lower, problem.upper)
            intercept = optimum.intercept + size * rng.standard_normal(3) * problem.intercept
            now = fit.objective.evaluate(fit.objective.point_of(coef, intercept))
            certificate = certify_box(now, fit.sums, fit.ridge, fit.low, fit.high, problem.intercept)
            true = now.value - best
            assert certificate.gap >= true - 1e-10 * best
            tight += certificate.gap <= 1e3 * true + 1e-12
    assert tight >= 4, "the bound is too far off to be of use"


@pytest.mark.parametrize("variant", ["plain", "weights", "offset", "soft", "csr"])
def test_the_gap_is_that_of_its_dual_point(variant):
    """With Q = (1−t)P + t 1rᵀ written out over the rows."""
    problem = problem_of("anywhere", variant)
    X = problem.X.toarray() if scipy.sparse.issparse(problem.X) else problem.X
    Y = np.eye(3)[problem.labels] if problem.probabilities is None else problem.probabilities
    pi = np.ones(len(X)) if problem.weights is None else problem.weights
    pi = pi / pi.sum()
    rng = np.random.default_rng(5)
    with Workers(None) as workers:
        fit = _BoundedFit(problem, workers)
        coef = np.clip(0.3 * rng.standard_normal((3, 4)) / fit.rows.spread, problem.lower, problem.upper)
        now = fit.objective.evaluate(fit.objective.point_of(coef, rng.standard_normal(3)))
        gap = certify_box(now, fit.sums, fit.ridge, fit.low, fit.high, True).gap
    z = X @ now.coef.T + now.intercept + (0.0 if problem.offset is None else problem.offset)
    P = scipy.special.softmax(z, axis=1)
    mean, aim = pi @ P, pi @ Y
    t = np.max((mean - aim) / mean)
    assert t > 0.05, "the intercepts need no repair: a weak test"
    r = (aim - (1 - t) * mean) / t
    Q = (1 - t) * P + t * r
    np.testing.assert_allclose(pi @ Q, aim, atol=1e-12)
    divergence = t * pi @ scipy.special.rel_entr(r, P).sum(axis=1)
    g = ((Q - Y) * pi[:, None]).T @ X + problem.ridge * now.coef
    fall = 0.0
    for k, j in np.ndindex(3, 4):
        low, high = problem.lower[k, j] - now.coef[k, j], problem.upper[k, j] - now.coef[k, j]
        D = np.clip(-g[k, j] / problem.ridge[j], low, high)
        fall -= g[k, j] * D + 0.5 * problem.ridge[j] * D**2
    assert gap == pytest.approx(fall + divergence, rel=1e-7)


def test_a_column_without_penalty_is_certified_between_finite_limits_alone():
    problem = problem_of("box", "unpenalised")
    solution = solve_bounded(problem, tol=1e-9, max_iter=50)
    assert solution.reason == "certified"
    assert not solution.estimated
    rng = np.random.default_rng(4)
    with Workers(None) as workers:
        fit = _BoundedFit(problem, workers)
        for size in (1.0, 1e-2, 1e-4):
            coef = np.clip(solution.coef + size * rng.standard_normal((3, 4)), problem.lower, problem.upper)
            now = fit.objective.evaluate(fit.objective.point_of(coef, solution.intercept))
            gap = certify_box(now, fit.sums, fit.ridge, fit.low, fit.high, True).gap
            assert now.value - solution.objective <= gap < INF
    _, best, solution = known("signs", "unpenalised")
    assert solution.estimated
    assert solution.objective == pytest.approx(best, rel=1e-8)


@pytest.mark.parametrize("kind", LIMITS)
def test_signs_of_the_gradient_at_the_limits(kind):
    problem = problem_of(kind, "plain")
    solution = solve_bounded(problem, tol=1e-13, max_iter=50)
    _, gradient, excess = objective(problem, solution.coef, solution.intercept)
    small = 1e-6 * np.abs(problem.X).max(axis=0)
    at_low, at_high = solution.coef == problem.lower, solution.coef == problem.upper
    assert np.all((gradient >= -small) | at_high)
    assert np.all((gradient <= small) | at_low)
    assert np.abs(excess).max() < 1e-8
    assert (at_low | at_high).any()


def test_limits_that_do_not_bind_change_nothing():
    problem = problem_of("signs", "plain")
    free = Problem(problem.X, problem.labels, 3, problem.ridge)
    expected = solve(free, tol=1e-11)
    wide = np.full((3, 4), 2 * np.abs(expected.coef).max())
    solution = solve_bounded(
        Problem(problem.X, problem.labels, 3, problem.ridge, lower=-wide, upper=wide), tol=1e-11, max_iter=50
    )
    np.testing.assert_allclose(solution.coef * problem.X.std(axis=0), expected.coef * problem.X.std(axis=0), atol=1e-5)
    assert solution.objective == pytest.approx(expected.objective, rel=1e-10)
    bound = solve_bounded(problem, tol=1e-11, max_iter=50)
    assert bound.objective > 1.01 * expected.objective


def test_equal_limits_fix_a_coefficient():
    problem = problem_of("some", "plain")
    solution = solve_bounded(problem, tol=1e-9, max_iter=50)
    np.testing.assert_array_equal(solution.coef[:, 0], problem.lower[:, 0])
    everything = problem.lower.copy()
    everything[~np.isfinite(everything)] = 0.0
    fixed = Problem(problem.X, problem.labels, 3, problem.ridge, lower=everything, upper=everything)
    solution = solve_bounded(fixed, tol=1e-12, max_iter=50)
    np.testing.assert_array_equal(solution.coef, everything)
    assert solution.objective == pytest.approx(reference(fixed), rel=1e-10)


def test_a_start_beyond_the_limits_is_cut_to_them():
    problem = problem_of("box", "plain")
    cold = solve_bounded(problem, tol=1e-9, max_iter=50)
    warm = solve_bounded(problem, tol=1e-9, max_iter=50, start=(cold.coef, cold.intercept))
    assert warm.n_iter == 0
    far = solve_bounded(problem, tol=1e-9, max_iter=50, start=(1e3 * np.ones((3, 4)), np.zeros(3)))
    assert far.reason == "certified"
    assert far.objective == pytest.approx(cold.objective, rel=2e-9)


def test_too_few_iterations_are_told_with_the_best_point():
    problem = problem_of("box", "plain")
    solution = solve_bounded(problem, tol=1e-9, max_iter=1)
    assert solution.reason == "iterations"
    assert solution.gap > 1e-9 * solution.objective
    assert solution.objective - known("box", "plain")[1] <= solution.gap


def test_an_interrupt_leaves_the_best_point():
    problem = problem_of("box", "plain")
    seen = []

    def progress(iteration, passes, value, gap):
        seen.append((value, gap))
        if iteration == 2:
            raise KeyboardInterrupt

    solution = solve_bounded(problem, tol=1e-12, max_iter=50, progress=progress)
    assert solution.reason == "interrupted"
    assert (solution.objective, solution.gap) == seen[-1]
    assert [h["objective"] for h in solution.history] == [value for value, _ in seen]


def test_a_fit_repeats_bitwise_and_changes_nothing_of_the_callers():
    problem = problem_of("anywhere", "weights", n=3000)
    before = [np.copy(a) for a in (problem.X, problem.labels, problem.lower, problem.upper, problem.ridge)]
    one, two = (solve_bounded(problem, tol=1e-9, max_iter=50, n_threads=2) for _ in range(2))
    np.testing.assert_array_equal(one.coef, two.coef)
    np.testing.assert_array_equal(one.intercept, two.intercept)
    for a, b in zip(before, (problem.X, problem.labels, problem.lower, problem.upper, problem.ridge), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_step_minimises_the_model_over_the_box():
    rng = np.random.default_rng(0)

    class Matrix:
        def __init__(self, A):
            self.A, self.diagonal = A, np.diag(A)

        def product(self, s):
            return self.A @ s

        def newton(self, r, free):
            d = np.zeros_like(r)
            d[free] = -np.linalg.solve(self.A[np.ix_(free, free)], r[free])
            return d

    for _ in range(50):
        size = int(rng.integers(1, 12))
        B = rng.standard_normal((size, size + 1))
        A = B @ B.T + 1e-3 * np.eye(size)
        g = rng.standard_normal(size)
        low, high = -rng.exponential(size=size) * (rng.random(size) < 0.8), rng.exponential(size=size)
        found = minimise_model(Matrix(A), g, low, high, 1e-10)
        root = np.linalg.cholesky(A).T
        best = scipy.optimize.lsq_linear(
            root, -np.linalg.solve(root.T, g), (low - 1e-300, high), tol=1e-14, method="bvls"
        ).x
        value = g @ best + 0.5 * best @ A @ best
        assert -found.decrease == pytest.approx(g @ found.step + 0.5 * found.step @ A @ found.step, abs=1e-10)
        assert -found.decrease <= value + 1e-9 * (1 + abs(value))
        assert np.all((low <= found.step) & (found.step <= high))


@pytest.mark.parametrize("intercept", [True, False])
def test_both_forms_of_the_hessian_agree(intercept):
    problem = problem_of("signs", "plain" if intercept else "no-intercept")
    with Workers(None) as workers:
        fit = _BoundedFit(problem, workers)
        fit.objective.evaluate(fit.cold + 0.1)
        dense = DenseCurvature(fit.objective)
        products = ProductCurvature(fit.objective, fit.rows.second_moment())
        products.refresh()
        v = np.random.default_rng(1).standard_normal(fit.objective.shape).ravel()
        np.testing.assert_allclose(dense.product(v), products.product(v), rtol=1e-5, atol=1e-5 * np.abs(v).max())
        free = np.arange(len(v)) % 3 != 0
        r = fit.objective.hessian_product(np.where(free, v, 0.0).reshape(fit.objective.shape)).ravel()
        for curvature in (dense, products):
            step = curvature.newton(r, free)
            assert not step[~free].any()
            left = (r + dense.product(step))[free] / np.sqrt(dense.diagonal[free])
            assert np.linalg.norm(left) <= 0.2 * np.linalg.norm(r[free] / np.sqrt(dense.diagonal[free]))
