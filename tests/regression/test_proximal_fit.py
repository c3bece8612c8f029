"""Fits with lasso, elastic net and grouped penalties against a slow solver that shares nothing with them."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse

from softmax._errors import OptionError
from softmax.regression._problem import Problem
from softmax.regression._proximal import maximal_penalty, proximal_path, solve_proximal

from .lasso_reference import NAMES, gradient_of, minimum_of, objective_of, problem_named


def text_problem(n=600, d=300, n_classes=20, seed=0, **options):
    """Sparse counts with near-duplicate columns, as pairs of words are, and a few words that most rows have."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    own = rng.random((n_classes, d)) < 0.05
    X = (rng.random((n, d)) < np.where(own[labels], 0.5, 0.02)).astype(float)
    X[:, 1::7] = X[:, 0:-1:7] * (rng.random((n, X[:, 1::7].shape[1])) < 0.9)
    X[:, :3] = rng.random((n, 3)) < 0.8
    X *= rng.uniform(0.5, 1, (n, 1))
    return Problem(
        scipy.sparse.csr_array(X), labels.astype(np.intp), n_classes, np.zeros(d), lasso=np.ones(d), **options
    )


def correlated_problem(**options):
    """Dense columns so much alike that single coordinates move slowly, more of them than rows."""
    rng = np.random.default_rng(5)
    X = rng.standard_normal((80, 200)) + 4 * rng.standard_normal((80, 1))
    labels = (X[:, :5] @ rng.standard_normal((5, 3)) + 2 * rng.gumbel(size=(80, 3))).argmax(axis=1)
    return Problem(X, labels.astype(np.intp), 3, np.zeros(200), lasso=np.ones(200), **options)


def assert_optimal(problem, solution, accuracy):
    """The conditions of an optimum, from the definition: ∇loss + ridge·w + lasso·∂Ω contains 0."""
    gradient, excess = gradient_of(problem, solution.coef, solution.intercept)
    slope = gradient + problem.ridge * solution.coef
    if problem.intercept:
        assert np.abs(excess).max() <= accuracy
    if problem.grouped:
        norms = np.sqrt((solution.coef**2).sum(axis=0))
        on = norms > 0
        assert (
            np.abs(slope + problem.lasso * solution.coef / np.maximum(norms, 1e-300))[:, on].max(initial=0) <= accuracy
        )
        assert np.all(np.sqrt((slope**2).sum(axis=0)) <= problem.lasso + accuracy)
        return
    on = solution.coef != 0
    assert np.abs(slope + problem.lasso * np.sign(solution.coef))[on].max(initial=0.0) <= accuracy
    assert np.all(np.abs(slope) <= problem.lasso + accuracy)


@pytest.mark.parametrize("name", [*NAMES, "free", "free+sparse+elastic"])
def test_minimum_is_that_of_the_slow_solver(name):
    problem = problem_named(name)
    optimum, W, _ = minimum_of(problem)
    solution = solve_proximal(problem, tol=1e-9)
    assert solution.reason == "certified"
    assert solution.estimated == (name == "free")
    assert solution.gap <= 1e-9 * solution.objective
    assert solution.objective == pytest.approx(objective_of(problem, solution.coef, solution.intercept), rel=1e-13)
    assert -1e-12 <= solution.objective - optimum <= solution.gap + 1e-12
    assert solution.n_iter < 40
    if problem.lower is None:
        assert_optimal(problem, solution, 1e-6 * max(1.0, problem.lasso.max()))
    else:
        assert np.all((solution.coef >= problem.lower) & (solution.coef <= problem.upper))
    assert np.count_nonzero(solution.coef) > 0 and np.count_nonzero(W)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("make", [text_problem, correlated_problem])
def test_larger_problems_meet_the_conditions_of_an_optimum(make, grouped):
    problem = make(grouped=grouped)
    top = maximal_penalty(problem)
    for factor in (0.3, 0.03):
        here = replace(problem, lasso=factor * top * problem.lasso)
        solution = solve_proximal(here, tol=1e-8, n_threads=2)
        assert solution.reason == "certified"
        assert solution.n_iter <= 60
        assert_optimal(here, solution, 1e-5 * factor * top)


@pytest.mark.parametrize("name", ["plain", "sparse+weighted+offset", "grouped", "free", "elastic", "soft", "raw"])
def test_every_penalised_coefficient_is_0_from_the_maximal_penalty_on(name):
    problem = problem_named(name)
    top = maximal_penalty(problem)
    penalised = problem.lasso > 0
    scaled = [replace(problem, lasso=factor * top * problem.lasso) for factor in (1 + 1e-9, 0.99)]
    above, below = (solve_proximal(here, tol=1e-10).coef[:, penalised] for here in scaled)
    assert not above.any()
    assert below.any()


def test_maximal_penalty_without_intercept_is_the_gradient_at_0():
    problem = problem_named("plain+through-origin")
    gradient, _ = gradient_of(problem, np.zeros((3, 8)), np.zeros(3))
    assert maximal_penalty(problem) == pytest.approx(np.max(np.abs(gradient) / problem.lasso), rel=1e-14)


def test_grouped_features_come_and_go_as_a_whole():
    problem = text_problem(grouped=True)
    top = maximal_penalty(problem)
    used = []
    for solution in proximal_path(problem, [0.5 * top, 0.2 * top], tol=1e-6):
        count = np.count_nonzero(solution.coef, axis=0)
        assert set(count) == {0, problem.n_classes}
        used.append(np.count_nonzero(count))
    assert 0 < used[0] < used[1] < problem.X.shape[1]


@pytest.mark.parametrize("make", [text_problem, correlated_problem])
@pytest.mark.parametrize("grouped", [False, True])
def test_a_path_gives_what_single_fits_give(make, grouped):
    problem = make(grouped=grouped)
    factors = maximal_penalty(problem) * np.array([1.0, 0.7, 0.3, 0.1])
    for factor, solution in zip(factors, proximal_path(problem, factors, tol=1e-8, n_threads=2), strict=True):
        alone = solve_proximal(replace(problem, lasso=factor * problem.lasso), tol=1e-8)
        assert solution.reason == alone.reason == "certified"
        assert abs(solution.objective - alone.objective) <= 2e-8 * alone.objective


def test_a_path_of_elastic_nets_scales_both_penalties():
    problem = replace(problem_named("elastic"), lasso=np.full(8, 0.02))
    (solution,) = proximal_path(problem, [0.5], tol=1e-10)
    halved = replace(problem, lasso=0.5 * problem.lasso, ridge=0.5 * problem.ridge)
    assert solution.objective == pytest.approx(minimum_of(halved)[0], rel=1e-9)


def test_a_warm_start_takes_few_steps():
    problem = problem_named("plain")
    cold = solve_proximal(problem, tol=1e-10)
    warm = solve_proximal(problem, tol=1e-10, start=(cold.coef, cold.intercept))
    assert warm.n_iter == 0 and warm.reason == "certified"
    np.testing.assert_array_equal(warm.coef, cold.coef)
    far = solve_proximal(problem, tol=1e-10, start=(cold.coef[::-1] + 1.0, cold.intercept[::-1]))
    assert far.objective == pytest.approx(cold.objective, rel=1e-9)


def test_weights_are_repetitions():
    problem = problem_named("plain")
    times = np.arange(60) % 4 + 1
    weighted = solve_proximal(replace(problem, weights=times.astype(float)), tol=1e-11)
    rows = np.repeat(np.arange(60), times)
    repeated = solve_proximal(replace(problem, X=problem.X[rows], labels=problem.labels[rows]), tol=1e-11)
    np.testing.assert_allclose(weighted.coef, repeated.coef, atol=1e-5)
    assert weighted.objective == pytest.approx(repeated.objective, rel=1e-10)


@pytest.mark.parametrize("grouped", [False, True])
def test_storage_does_not_matter(grouped):
    problem = text_problem(grouped=grouped)
    problem = replace(problem, lasso=np.full(300, 0.3 * maximal_penalty(problem)))
    expected = solve_proximal(problem, tol=1e-9)
    dense = problem.X.toarray()
    for X in (dense, np.asfortranarray(dense), dense[:, ::-1][:, ::-1], dense.astype(np.float32),
              scipy.sparse.csr_matrix(problem.X, dtype=np.float32)):  # fmt: skip
        solution = solve_proximal(replace(problem, X=X), tol=1e-9)
        rounded = 1e-7 if X.dtype == np.float32 else 2e-9
        assert solution.objective == pytest.approx(expected.objective, rel=rounded)


def test_probabilities_are_repeated_rows_with_labels():
    problem = problem_named("soft")
    shares = np.round(problem.probabilities * 20)
    shares[:, 0] += 20 - shares.sum(axis=1)
    shares = np.abs(shares)
    totals = shares.sum(axis=1)
    soft = replace(problem, probabilities=shares / totals[:, None], weights=totals)
    rows, labels = np.nonzero(shares)
    hard = Problem(
        problem.X[rows], labels.astype(np.intp), 3, problem.ridge, weights=shares[rows, labels], lasso=problem.lasso
    )
    first, second = solve_proximal(soft, tol=1e-11), solve_proximal(hard, tol=1e-11)
    np.testing.assert_allclose(first.coef, second.coef, atol=1e-5)
    assert first.objective == pytest.approx(second.objective, rel=1e-10)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_hard_data_are_certified(sparse, grouped):
    """Constant, empty and repeated columns, fewer rows than classes, a class with one row, separable classes."""
    rng = np.random.default_rng(2)
    X = rng.standard_normal((30, 40))
    X[:, 1], X[:, 2], X[:, 3] = X[:, 0], 5.0, 0.0
    labels = np.r_[np.zeros(15), np.ones(14), 2].astype(np.intp)
    few = (X[:4], np.array([0, 1, 2, 3], dtype=np.intp), 4)
    apart = (X + 20.0 * labels[:, None], labels, 3)
    for rows, y, n_classes in ((X, labels, 3), few, apart):
        data = scipy.sparse.csr_array(rows) if sparse else rows
        problem = Problem(data, y, n_classes, np.zeros(40), lasso=np.full(40, 1e-4), grouped=grouped)
        solution = solve_proximal(problem, tol=1e-6)
        assert solution.reason == "certified", solution
        assert np.isfinite(solution.coef).all() and not solution.coef[:, 3].any()
        assert_optimal(problem, solution, 1e-4)


def test_a_tolerance_beyond_rounding_ends():
    solution = solve_proximal(problem_named("plain"), tol=1e-17)
    assert solution.reason == "rounding"
    assert solution.gap <= 1e-13
    assert solution.n_iter < 60


@pytest.mark.parametrize("max_iter", [0, 1, 2])
def test_the_number_of_steps_is_kept_and_the_gap_holds(max_iter):
    problem = problem_named("plain")
    solution = solve_proximal(problem, tol=1e-12, max_iter=max_iter)
    assert solution.reason == "iterations" and solution.n_iter == max_iter
    assert solution.objective == pytest.approx(objective_of(problem, solution.coef, solution.intercept), rel=1e-13)
    assert solution.gap >= solution.objective - minimum_of(problem)[0]


@pytest.mark.parametrize("stop", [1, 3])
def test_an_interrupted_fit_keeps_what_it_has(stop):
    problem = problem_named("plain")
    calls = []

    def progress(iteration, passes, objective, gap):
        calls.append((iteration, passes, objective, gap))
        if len(calls) == stop:
            raise KeyboardInterrupt

    solution = solve_proximal(problem, tol=1e-12, progress=progress)
    assert solution.reason == "interrupted"
    assert solution.objective == pytest.approx(objective_of(problem, solution.coef, solution.intercept), rel=1e-13)
    assert solution.gap >= solution.objective - minimum_of(problem)[0]


def test_an_interrupted_path_ends():
    problem = problem_named("plain")

    def progress(*_):
        raise KeyboardInterrupt

    solutions = list(proximal_path(problem, [1.0, 0.5, 0.2], tol=1e-12, progress=progress))
    assert len(solutions) == 1


def test_a_history_tells_bounds_from_gaps_of_a_working_set():
    solution = solve_proximal(problem_named("plain"), tol=1e-9)
    assert solution.history[-1]["scope"] == "all features"
    assert solution.history[-1]["gap"] == solution.gap
    assert {record["scope"] for record in solution.history} == {"all features", "working set"}


def test_a_fit_repeats_bitwise_at_a_fixed_number_of_threads():
    problem = text_problem(n=2000)
    problem = replace(problem, lasso=np.full(300, 0.1 * maximal_penalty(problem)))
    first, second = (solve_proximal(problem, tol=1e-8, n_threads=2) for _ in range(2))
    np.testing.assert_array_equal(first.coef, second.coef)
    other = solve_proximal(problem, tol=1e-8, n_threads=1)
    assert other.objective == pytest.approx(first.objective, rel=1e-8)


@pytest.mark.parametrize("name", ["plain", "sparse+weighted+offset", "soft", "limits", "grouped"])
def test_nothing_of_the_callers_is_changed(name):
    problem = problem_named(name)
    arrays = [value for value in vars(problem).values() if isinstance(value, np.ndarray)]
    if scipy.sparse.issparse(problem.X):
        arrays += [problem.X.data, problem.X.indices, problem.X.indptr]
    before = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    solution = solve_proximal(problem, tol=1e-8, start=(np.zeros((3, 8)), np.zeros(3)))
    assert solution.reason == "certified"
    for array, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, old)


def test_limits_of_grouped_features_are_refused():
    problem = replace(problem_named("limits"), grouped=True)
    for call in (lambda: solve_proximal(problem, tol=1e-6), lambda: maximal_penalty(problem),
                 lambda: list(proximal_path(problem, [1.0], tol=1e-6))):  # fmt: skip
        with pytest.raises(OptionError, match="grouped"):
            call()


def test_rare_strong_features_do_not_make_steps_short():
    """A feature of two rows has next to no curvature where p is small: its own step must not spoil that of others."""
    rng = np.random.default_rng(7)
    n = 3000
    labels = (np.arange(n) % 30).astype(np.intp)
    X = scipy.sparse.random_array((n, 400), density=0.01, rng=rng, format="lil")
    for j in range(100):
        X[rng.choice(n, 2, replace=False), j] = 30.0
    X = scipy.sparse.csr_array(X)
    problem = Problem(X, labels, 30, np.zeros(400), lasso=np.ones(400))
    factors = maximal_penalty(problem) * np.geomspace(1, 0.2, 5)
    for solution in proximal_path(problem, factors, tol=1e-6):
        assert solution.reason == "certified"
        assert solution.n_iter <= 15
