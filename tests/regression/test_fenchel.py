"""The duality gap of a fit with a lasso penalty is never below the distance to the optimum."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from softmax.regression._fenchel import Penalties, RowSums, duality_gap, repair_of, soft_divergence
from softmax.regression._proximal import _level
from softmax.regression._proximal_fit import ProximalFit
from softmax.regression._threads import Workers

from .lasso_reference import NAMES, minimum_of, objective_of, problem_named


def gap_at(problem, W, b):
    """The gap at given coefficients, found as a fit finds it, and (for comparison) the objective it takes it from."""
    with Workers(None) as workers:
        fit = ProximalFit(problem, workers)
        fit.start(W, b)
        level = _level(problem, 1.0)
        ws = fit.working_set(level, fit.support())
        fit.rounded_constant(ws)
        point = fit.point(ws, fit.evaluate(ws))
        return fit.certificate(point, level)[0], point.objective


@pytest.fixture(scope="module")
def minima():
    found = {}

    def of(name):
        if name not in found:
            problem = problem_named(name)
            found[name] = (problem, *minimum_of(problem))
        return found[name]

    return of


@pytest.mark.parametrize("name", NAMES)
def test_gap_is_at_least_the_true_gap(name, minima, rng):
    problem, optimum, W, b = minima(name)
    for size in (0.0, 1e-6, 1e-3, 0.1, 1.0, 10.0):
        for sparsity in (0.0, 0.7):
            change = size * rng.standard_normal(W.shape) * (rng.random(W.shape) >= sparsity)
            point = W + change * (W != 0) if sparsity else W + change
            intercept = b + size * rng.standard_normal(b.shape) * problem.intercept
            if problem.lower is not None:
                point = np.clip(point, problem.lower, problem.upper)
            gap, objective = gap_at(problem, point, intercept)
            true = objective_of(problem, point, intercept)
            assert abs(objective - true) <= 1e-12 * true
            assert gap >= true - optimum - 1e-13 * true, (size, sparsity)
            assert gap < 1e3 * (1 + size) ** 2


@pytest.mark.parametrize("name", NAMES)
def test_gap_is_at_least_the_true_gap_where_coefficients_are_missing(name, minima):
    """At the optimum of a larger penalty the gradient is beyond the bound: P itself is no dual point."""
    problem, optimum, _, _ = minima(name)
    for factor in (1.01, 1.5, 100.0):
        _, W, b = minimum_of(replace(problem, lasso=factor * problem.lasso))
        true = objective_of(problem, W, b) - optimum
        gap = gap_at(problem, W, b)[0]
        assert true <= gap <= 500 * max(true, 1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gap_is_small_at_the_optimum(name, minima):
    problem, optimum, W, b = minima(name)
    assert gap_at(problem, W, b)[0] <= 1e-8 * optimum


def test_gap_falls_as_the_point_nears_the_optimum(minima):
    problem, _, W, b = minima("plain")
    rng = np.random.default_rng(0)
    direction = rng.standard_normal(W.shape) * (W != 0)
    gaps = [gap_at(problem, W + size * direction, b)[0] for size in (1e-1, 1e-2, 1e-3, 1e-4)]
    assert all(later < earlier / 5 for earlier, later in itertools.pairwise(gaps))


def test_conjugates_are_the_largest_values_of_what_they_are_the_conjugates_of(rng):
    grid = np.linspace(-6, 6, 240_001)
    cases = [
        (0.7, 0.4, -np.inf, np.inf),
        (0.7, 0.4, -1.0, 0.5),
        (0.0, 0.4, -1.0, 0.5),
        (0.0, 0.0, -2.0, 3.0),
        (0.7, 0.0, -np.inf, np.inf),
        (0.5, 0.3, 0.2, 1.0),
    ]
    for ridge, lasso, low, high in cases:
        limits = (None, None) if low == -np.inf else (np.array([low]), np.array([high]))
        penalties = Penalties(np.array([ridge]), np.array([lasso]), *limits)
        inside = grid[(grid >= low) & (grid <= high)]
        for slope in rng.uniform(-2, 2, 20):
            w = rng.choice(inside)
            conjugate = np.max(-slope * inside - lasso * np.abs(inside) - 0.5 * ridge * inside**2)
            bracket = lasso * abs(w) + 0.5 * ridge * w * w + conjugate + slope * w
            if ridge == 0 and lasso == 0:
                bracket = 0.0  # without a penalty there is no bracket: the certificate is an estimate there
            assert penalties.brackets(np.array([w]), np.array([slope]))[0] == pytest.approx(bracket, abs=1e-8)


def test_conjugate_of_a_norm(rng):
    penalties = Penalties(np.array([0.7]), np.array([0.4]), grouped=True)
    grid = rng.standard_normal((2, 400_000)) * np.linspace(0, 3, 400_000)
    for slope in rng.uniform(-2, 2, (10, 2, 1)):
        w = rng.standard_normal((2, 1))
        sizes = np.sqrt((grid**2).sum(axis=0))
        conjugate = max(0.0, np.max(-(slope * grid).sum(axis=0) - 0.4 * sizes - 0.35 * sizes**2))
        bracket = 0.4 * np.linalg.norm(w) + 0.35 * np.sum(w**2) + conjugate + np.sum(slope * w)
        assert penalties.brackets(w, slope)[0] == pytest.approx(bracket, abs=1e-3)


def test_largest_feasible_scale():
    plain = Penalties(np.zeros(3), np.array([1.0, 2.0, 4.0]))
    assert plain.scales(np.array([-2.0, 3.0, 1.0])) == (0.5, 0.5)
    assert plain.scales(np.array([0.5, -2.0, 1.0])) == (1.0, 1.0)
    elastic = Penalties(np.array([0.1, 0.0, 0.0]), np.array([1.0, 2.0, 4.0]))
    assert elastic.scales(np.array([-2.0, 2.5, 1.0])) == (0.8, 0.5)
    limited = Penalties(np.zeros(1), np.ones(1), np.zeros(1), np.full(1, np.inf))
    assert limited.scales(np.array([5.0])) == (1.0, 0.2)
    assert limited.scales(np.array([-5.0])) == (0.2, 0.2)


def test_divergence_of_labels_is_that_of_probabilities(rng):
    P = rng.dirichlet(np.ones(4), 30)
    labels = rng.integers(0, 4, 30)
    weights = rng.dirichlet(np.ones(30))
    rows = RowSums(weights, np.log(P[np.arange(30), labels]), None, 0.0, 0.0, np.zeros(4))
    for s in (0.0, 0.3, 0.999, 1.0):
        soft = soft_divergence(P.T, np.eye(4)[labels].T, weights, s)
        assert rows.towards_targets(s) == pytest.approx(soft, abs=1e-13)


def test_repair_gives_the_column_sums_that_the_intercept_asks_for(rng):
    frequency = rng.dirichlet(np.ones(5))
    for size in (1e-9, 1e-3, 0.05):
        excess = size * (rng.dirichlet(np.ones(5)) - frequency)
        repair = repair_of(excess, frequency, 1.0)
        moved = (1 - repair.t) * (frequency + excess) + repair.t * repair.r
        assert moved == pytest.approx(frequency, abs=1e-15)
        assert repair.r.min() >= 0 and repair.t <= 1


def test_gap_counts_a_coordinate_that_violates_its_bound():
    """Scaling by s costs what it must: a violated coordinate makes the bound large, not wrong."""
    rows = RowSums(np.full(10, 0.1), np.full(10, -0.5), None, 0.5, 1.0, np.zeros(2))
    arguments = {
        "coef": np.array([1.0]),
        "targets": np.zeros(1),
        "rounding": np.zeros(1),
        "penalties": Penalties(np.zeros(1), np.ones(1)),
        "repair": repair_of(np.zeros(2), np.full(2, 0.5), 0.0),
        "rows": rows,
        "objective": 1.5,
    }
    gaps = [duality_gap(gradient=np.array([slope]), **arguments) for slope in (-1.0, -1.01, -1.5)]
    assert gaps[0] < 1e-14 and gaps[0] < gaps[1] < gaps[2]
