"""Value, gradient and Hessian of the objective against direct formulas, for every storage and split of the rows."""

import numpy as np
import pytest
import scipy.sparse
from scipy.special import log_softmax

from softmax.regression import _rows
from softmax.regression._objective import MultinomialObjective
from softmax.regression._preconditioners import DiagonalInverse, FactoredHessian, KroneckerInverse
from softmax.regression._problem import Problem
from softmax.regression._rows import DenseRows, rows_of
from softmax.regression._threads import Workers

N, D, K = 203, 5, 4
PENALTY = 0.01


def data(storage="C", offset=0.0):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((N, D)) * [1.0, 3.0, 0.1, 1.0, 2.0] + offset
    X = {"C": np.ascontiguousarray, "F": np.asfortranarray, "float32": np.float32, "strided": strided}[storage](X)
    X.setflags(write=False)
    return X, rng.integers(0, K, N), rng.exponential(size=N)


def strided(X):
    """The same numbers, with gaps between the rows and the columns."""
    wide = np.full((2 * len(X), 3 * X.shape[1]), np.nan)
    wide[::2, ::3] = X
    return wide[::2, ::3]


def objective_of(rows, labels, intercept):
    return MultinomialObjective(rows, Problem(rows.X, labels, K, np.full(D, PENALTY), intercept=intercept))


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 48 rows, so that 203 rows make five."""
    monkeypatch.setattr(_rows, "BLOCK_ELEMENTS", 1)


def naive(X, labels, weights, coef, intercept):
    """Value and gradient as the formulas say."""
    X = X.astype(np.float64)
    pi = np.full(N, 1 / N) if weights is None else weights / weights.sum()
    log_p = log_softmax(X @ coef.T + intercept, axis=1)
    residual = (np.exp(log_p) - np.eye(K)[labels]) * pi[:, None]
    value = -pi @ log_p[np.arange(N), labels] + PENALTY / 2 * np.sum(coef**2)
    return value, residual.T @ X + PENALTY * coef, residual.sum(axis=0)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("n_threads", [None, 1, 3], ids=["serial", "one", "three"])
@pytest.mark.parametrize("weighted", [False, True], ids=["uniform", "weighted"])
@pytest.mark.parametrize("intercept", [True, False], ids=["intercept", "no-intercept"])
@pytest.mark.parametrize(
    ("storage", "offset"),
    [("C", 0.0), ("F", 1.0), ("float32", 0.0), ("strided", 2.0), ("C", 1e5)],
    ids=["C", "F", "float32", "strided", "far-from-0"],
)
def test_value_and_gradient(storage, offset, intercept, weighted, n_threads):
    X, labels, weights = data(storage, offset)
    weights = weights if weighted else None
    coef = np.random.default_rng(0).standard_normal((K, D))
    constant = -coef @ X.astype(np.float64).mean(axis=0) + [0.5, 0.0, -0.5, 1.0] if intercept else np.zeros(K)
    with Workers(n_threads) as workers:
        rows = DenseRows(X, weights, K, intercept, workers)
        assert rows.n_blocks == 5
        assert rows.origin.any() == (offset > 1e3 and intercept)
        objective = objective_of(rows, labels, intercept)
        now = objective.evaluate(objective.point_of(coef, constant))
    value, gradient, excess = naive(X, labels, weights, now.coef, now.intercept)
    scale = 1 + offset
    np.testing.assert_allclose(now.value, value, rtol=1e-14 * scale)
    np.testing.assert_allclose(now.excess, excess, atol=1e-15 * scale)
    centred = gradient - np.outer(excess, rows.mean) if intercept else gradient
    np.testing.assert_allclose(now.gradient[:, :D], centred, atol=1e-14 * scale)
    np.testing.assert_allclose(now.coef, coef, rtol=1e-15)
    assert np.abs(centred).max() > 0.1


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("weighted", [False, True], ids=["uniform", "weighted"])
@pytest.mark.parametrize("intercept", [True, False], ids=["intercept", "no-intercept"])
def test_second_derivatives(intercept, weighted):
    X, labels, weights = data()
    rng = np.random.default_rng(1)
    with Workers(2) as workers:
        rows = DenseRows(X, weights if weighted else None, K, intercept, workers)
        objective = objective_of(rows, labels, intercept)
        point, v = rng.standard_normal((2, *objective.shape))
        h = 1e-5
        difference = objective.evaluate(point + h * v).gradient - objective.evaluate(point - h * v).gradient
        now = objective.evaluate(point)
        product = objective.hessian_product(v)
        np.testing.assert_allclose(product, difference / (2 * h), atol=1e-8)
        assert np.abs(product).max() > 0.1

        basis = np.eye(K * objective.shape[1]).reshape(-1, *objective.shape)
        full = np.array([objective.hessian_product(e).ravel() for e in basis])
        reference = int(np.argmax(objective.frequency))
        kept = np.delete(np.arange(K), reference)
        data_part = full.reshape(K, objective.shape[1], K, -1).copy()
        for k in range(K):
            data_part[k, range(D), k, range(D)] -= PENALTY
        reduced = objective.reduced_hessian(reference)
        size = (K - 1) * objective.shape[1]
        expected = data_part[np.ix_(kept, range(objective.shape[1]), kept, range(objective.shape[1]))].reshape(
            size, size
        )
        np.testing.assert_allclose(np.tril(reduced), np.tril(expected), atol=1e-8)

        residual = v - v.mean(axis=0)
        np.testing.assert_allclose(
            objective.hessian_product(FactoredHessian(objective).solve(residual)), residual, atol=1e-6
        )

        if intercept:
            shifts = np.eye(K)
            columns = [objective.hessian_product(objective.joined(np.zeros((K, D)), e))[:, -1] for e in shifts]
            np.testing.assert_allclose(objective.class_covariance(), np.array(columns), atol=1e-9)

        steps = np.array([-0.5, 0.25, 1.0])
        values, slopes = objective.along(point, v, steps)
        for step, value, slope in zip(steps, values, slopes, strict=True):
            there = objective.evaluate(point + step * v)
            np.testing.assert_allclose(value, there.value, rtol=1e-13)
            np.testing.assert_allclose(slope, np.vdot(there.gradient, v), rtol=1e-12)
        assert now.value != values[1]


@pytest.mark.parametrize("intercept", [True, False], ids=["intercept", "no-intercept"])
def test_the_kronecker_inverse_is_exact_where_all_rows_agree(intercept):
    X, labels, weights = data()
    with Workers(None) as workers:
        rows = DenseRows(X, weights, K, intercept, workers)
        objective = objective_of(rows, labels, intercept)
        point = np.zeros(objective.shape)
        if intercept:
            point[:, -1] = [0.3, -1.0, 0.0, 2.0]
        objective.evaluate(point)
        inverse = KroneckerInverse(rows.second_moment(), np.full(D, PENALTY), intercept)
        inverse.update(objective.class_covariance())
        residual = np.random.default_rng(5).standard_normal(objective.shape)
        residual -= residual.mean(axis=0)
        np.testing.assert_allclose(objective.hessian_product(inverse.solve(residual)), residual, atol=1e-6)


@pytest.mark.parametrize("intercept", [True, False], ids=["intercept", "no-intercept"])
@pytest.mark.parametrize("storage", ["dense", "far", "sparse"])
@pytest.mark.parametrize("memory", [None, 0])
def test_the_diagonal_of_the_hessian(small_blocks, storage, intercept, memory):
    X, labels, weights = data()
    X = X * np.where(np.arange(D) % 2, 1.0, 50.0)
    if storage == "far":
        X[:, 0] += 1e5
    with Workers(2) as workers:
        rows = rows_of(scipy.sparse.csr_array(X) if storage == "sparse" else X, weights, K, intercept, workers)
        problem = Problem(rows.X, labels, K, np.full(D, PENALTY), intercept=intercept)
        objective = MultinomialObjective(rows, problem, memory=memory)
        objective.evaluate(0.01 * np.random.default_rng(2).standard_normal(objective.shape))
        diagonal = objective.hessian_diagonal()
        for k, j in np.ndindex(objective.shape):
            unit = np.zeros(objective.shape)
            unit[k, j] = 1.0
            expected = objective.hessian_product(unit)[k, j] - PENALTY * (j < D)
            np.testing.assert_allclose(diagonal[k, j], expected, rtol=2e-4, atol=1e-30)


@pytest.mark.parametrize("intercept", [True, False], ids=["intercept", "no-intercept"])
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "with-covariance"])
def test_the_diagonal_inverse_on_contrasts(intercept, alone):
    """What it returns solves the system of the diagonal, up to a multiple of 1 in each column."""
    X, labels, weights = data()
    with Workers(None) as workers:
        rows = DenseRows(X, weights, K, intercept, workers)
        objective = objective_of(rows, labels, intercept)
        objective.evaluate(np.random.default_rng(2).standard_normal(objective.shape))
        kronecker = KroneckerInverse(rows.spread**2, np.full(D, PENALTY), intercept)
        covariance = objective.class_covariance()
        kronecker.update(covariance)
        residual = np.random.default_rng(5).standard_normal(objective.shape)
        residual -= residual.mean(axis=0)
        solution = DiagonalInverse(objective, None if alone else kronecker).solve(residual)
        np.testing.assert_allclose(solution.sum(axis=0), 0.0, atol=1e-12 * np.abs(solution).max())
        left = objective.hessian_diagonal() * solution - residual
        left[:, :D] += PENALTY * solution[:, :D]
        if intercept and not alone:
            np.testing.assert_allclose(covariance @ solution[:, D], residual[:, D], atol=1e-12)
            left[:, D] = 0.0
        np.testing.assert_allclose(left, np.broadcast_to(left[0], left.shape), rtol=1e-9, atol=1e-12)


def test_sums_repeat_bitwise_at_a_fixed_number_of_threads(small_blocks):
    X, labels, weights = data()
    point = np.random.default_rng(0).standard_normal((K, D + 1))

    def gradient():
        with Workers(2) as workers:
            rows = DenseRows(X, weights, K, True, workers)
            return objective_of(rows, labels, True).evaluate(point).gradient

    first = gradient()
    assert all(np.array_equal(first, gradient()) for _ in range(20))
