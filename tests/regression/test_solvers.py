"""Which solver is chosen, what it does with its preconditioner, and that hard data do not stop it."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse

import softmax as sm
from softmax.regression import _newton, _objective, _solvers
from softmax.regression._problem import Problem
from softmax.regression._solvers import FACTOR_LIMIT, choose_solver, solve


def blobs(n, d, n_classes, spread=1.0, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    return rng.standard_normal((n, d)) + spread * rng.standard_normal((n_classes, d))[y], y


def test_the_rule_of_auto():
    assert choose_solver("auto", 10, 300) == ("newton", f"K·d = 3000 ≤ {FACTOR_LIMIT}")
    assert choose_solver("auto", 10, 301) == ("newton-cg", f"K·d = 3010 > {FACTOR_LIMIT}")
    assert choose_solver("newton", 100, 1000) == ("newton", "as asked")


def preconditioners(model):
    return [record["preconditioner"] for record in model.history_]


def test_the_first_step_is_a_newton_step_without_a_product():
    X, y = blobs(2000, 20, 10)
    for solver in ("newton", "newton-cg"):
        first = sm.SoftmaxRegression(solver=solver).fit(X, y).history_[1]
        assert first["preconditioner"] == "kronecker"
        assert first["cg"] <= 1


def test_the_factor_is_kept_from_step_to_step():
    X, y = blobs(2000, 20, 10)
    model = sm.SoftmaxRegression(1e3, tol=1e-10).fit(X, y)
    used = preconditioners(model)
    assert 1 <= used.count("fresh factor") < used.count("factor") + used.count("kronecker")


def test_small_data_take_plain_newton_steps():
    X, y = blobs(100, 3, 3)
    model = sm.SoftmaxRegression(tol=1e-10).fit(X, y)
    assert set(preconditioners(model)) <= {"start", "kronecker", "fresh factor", "intercepts"}
    assert not any(record["cg"] for record in model.history_)


def test_both_solvers_find_one_optimum():
    X, y = blobs(500, 40, 12)
    one, other = (sm.SoftmaxRegression(10.0, solver=name, tol=1e-10).fit(X, y) for name in ("newton", "newton-cg"))
    assert one.status_ == other.status_ == "certified"
    np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("storage", [np.asarray, scipy.sparse.csr_array])
@pytest.mark.parametrize("options", [{}, {"fit_intercept": False}, {"penalty_weights": np.arange(1.0, 41)}], ids=str)
def test_many_features_take_the_diagonal_and_find_the_same_optimum(monkeypatch, storage, options):
    X, y = blobs(500, 40, 12)
    X[np.abs(X) < 1.0] = 0.0
    X[:, 3] = 0.0
    expected = sm.SoftmaxRegression(10.0, tol=1e-10, **options).fit(X, y)
    monkeypatch.setattr(_solvers, "COVARIANCE_LIMIT", 39)
    model = sm.SoftmaxRegression(10.0, solver="newton-cg", tol=1e-10, **options).fit(storage(X), y)
    assert model.status_ == "certified"
    assert {"kronecker", "diagonal"} <= set(preconditioners(model))
    np.testing.assert_allclose(model.predict_proba(X), expected.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("intercept", [True, False])
def test_many_classes_do_without_their_covariance(monkeypatch, intercept):
    X, y = blobs(500, 40, 12)
    expected = sm.SoftmaxRegression(10.0, tol=1e-10, fit_intercept=intercept).fit(X, y)
    monkeypatch.setattr(_objective, "CLASS_LIMIT", 11)
    monkeypatch.setattr(_objective.MultinomialObjective, "class_covariance", None)
    model = sm.SoftmaxRegression(10.0, solver="newton-cg", tol=1e-10, fit_intercept=intercept).fit(X, y)
    assert model.status_ == "certified"
    assert set(preconditioners(model)) == {"start", "diagonal"}
    np.testing.assert_allclose(model.predict_proba(X), expected.predict_proba(X), atol=1e-6)


@pytest.mark.filterwarnings("ignore:The coefficients are not determined along one direction, mostly column 7")
def test_the_diagonal_takes_unpenalised_and_constant_features(monkeypatch):
    X, y = blobs(500, 40, 5, spread=0.2)
    X[:, 7] = 2.5
    weights = np.ones(40)
    weights[[2, 7]] = 0.0
    expected = sm.SoftmaxRegression(tol=1e-10, penalty_weights=weights).fit(X, y)
    monkeypatch.setattr(_solvers, "COVARIANCE_LIMIT", 39)
    model = sm.SoftmaxRegression(tol=1e-10, penalty_weights=weights, solver="newton-cg").fit(X, y)
    assert model.status_ == expected.status_ == "estimated"
    assert not model.coef_[:, 7].any()
    np.testing.assert_allclose(model.predict_proba(X), expected.predict_proba(X), atol=2e-5)


@pytest.mark.parametrize("solver", ["newton", "newton-cg"])
@pytest.mark.parametrize("C", [1.0, 1e4])
def test_steps_that_overshoot_are_shortened(C, solver):
    """Classes of a few rows, far out in data with heavy tails: the first Newton steps are much too long."""
    rng = np.random.default_rng(2)
    X = rng.standard_t(2, (3000, 5))
    y = (X[:, 0] + rng.gumbel(size=3000) > 0).astype(int)
    y[:6], y[6:9] = 2, 3
    X[:6, 1] += 30
    X[6:9, 2] += 30
    model = sm.SoftmaxRegression(C, solver=solver).fit(X, y)
    assert model.status_ == "certified"
    objectives = [record["objective"] for record in model.history_]
    assert all(later <= earlier * (1 + 1e-12) for earlier, later in pairwise(objectives))
    assert any(0 < record["step"] < 1 for record in model.history_)


def test_rare_classes_are_certified():
    X, y = blobs(3000, 4, 2)
    y[:3] = 2
    y[3] = 3
    model = sm.SoftmaxRegression(100.0).fit(X, y)
    assert model.status_ == "certified"
    np.testing.assert_allclose(model.predict_proba(X).mean(axis=0), np.bincount(y) / 3000, atol=1e-6)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda t: (t - 0.3) ** 2, 0.3),
        (lambda t: (t - 0.7) ** 2 + (t - 0.7) ** 3 / 10, 0.7),
        (lambda t: (t - 5) ** 2, 1.0),
        (lambda t: (t - 1e-3) ** 2, 0.0),
    ],
    ids=["between", "cubic", "beyond", "before"],
)
def test_the_line_search_interpolates(function, expected):
    steps, h = _newton.LENGTHS, 1e-6
    slopes = (function(steps + h) - function(steps - h)) / (2 * h)
    safe, step = _newton._bracketed_minimum(steps, function(steps), slopes)
    assert step == pytest.approx(expected, abs=1e-8)
    assert safe <= step
    assert safe == 0.0 or function(safe) < function(0.0)


def test_the_line_search_survives_overflow():
    steps = _newton.LENGTHS
    values = np.where(steps < 0.2, -steps, np.nan)
    slopes = np.where(steps < 0.2, -1.0, np.nan)
    assert _newton._bracketed_minimum(steps, values, slopes) == (0.125, 0.125)
    assert _newton._bracketed_minimum(steps, steps * np.nan, steps * np.nan) == (0.0, 0.0)


def test_many_features_of_few_rows_do_without_their_covariance():
    rng = np.random.default_rng(0)
    X, labels = rng.standard_normal((40, 300)), np.arange(40) % 3
    for n_rows, word in ((40, "diagonal"), (40 * 40, "kronecker")):
        repeats = n_rows // 40
        problem = Problem(np.tile(X, (repeats, 1)), np.tile(labels, repeats), 3, np.full(300, 0.01))
        solution = solve(problem, solver="newton-cg", tol=1e-9)
        assert solution.reason == "certified"
        assert word in [record["preconditioner"] for record in solution.history]
