"""The kernels of coordinate descent against their definitions in NumPy."""

import numpy as np
import pytest
import scipy.sparse
from scipy.special import logsumexp, softmax

from softmax._kernels.cpu import coordinate

N, WIDTH, K, D = 41, 48, 4, 6


@pytest.fixture(params=["dense", "sparse"])
def case(request, rng):
    """(columns as the kernels take them, X, weights, probabilities (K, WIDTH), targets (K, N))."""
    X = rng.standard_normal((N, D)) * (rng.random((N, D)) < (1.0 if request.param == "dense" else 0.4))
    weights = np.zeros(WIDTH)
    weights[:N] = rng.dirichlet(np.ones(N))
    if request.param == "dense":
        values = np.zeros((D, WIDTH))
        values[:, :N] = X.T
        columns = (values.reshape(-1), WIDTH)
    else:
        matrix = scipy.sparse.csc_array(X)
        columns = (matrix.data, matrix.indices.astype(np.int32), matrix.indptr.astype(np.int64))
    probability = np.full((K, WIDTH), 1 / K)
    probability[:, :N] = rng.dirichlet(np.ones(K), N).T
    targets = np.eye(K)[rng.integers(0, K, N)].T
    return columns, X, weights, probability, targets


def lists(targets, weights):
    classes, rows = np.nonzero(targets)
    starts = np.searchsorted(classes, np.arange(K + 1)).astype(np.int64)
    return weights[rows] * targets[classes, rows], rows.astype(np.int32), starts


def hessian(X, weights, P):
    """Σ π (diag p − ppᵀ) ⊗ x xᵀ, class-major, with a last column of ones in every class."""
    X = np.column_stack([X, np.ones(N)])
    blocks = np.einsum("i,ki,kl->ikl", weights, P, np.eye(K)) - np.einsum("i,ki,li->ikl", weights, P, P)
    return np.einsum("ikl,ia,ib->kalb", blocks, X, X).reshape(K * (D + 1), K * (D + 1))


def test_probabilities(rng):
    logits, change = 30 * rng.standard_normal((K, WIDTH)), rng.standard_normal((K, WIDTH))
    out, sums = np.empty(K * WIDTH), np.empty(WIDTH)
    moved = logits.reshape(-1).copy()
    for first in range(0, WIDTH, 16):
        coordinate.probabilities(moved, change.reshape(-1), 0.5, WIDTH, first, first + 16, out, sums)
    expected = logits + 0.5 * change
    np.testing.assert_allclose(moved.reshape(K, WIDTH), expected, rtol=1e-15)
    np.testing.assert_allclose(out.reshape(K, WIDTH), softmax(expected, axis=0), rtol=1e-13, atol=1e-300)
    np.testing.assert_allclose(sums, logsumexp(expected, axis=0), rtol=1e-14)


def test_gradients(case):
    columns, X, weights, probability, targets = case
    values, rows, starts = lists(targets, weights)
    out, excess = np.empty((K, D)), np.empty(K)
    arguments = (probability.reshape(-1), weights, values, rows, starts, WIDTH)
    coordinate.all_gradients(columns, D, *arguments, 0, K, np.empty(WIDTH), out, excess)
    residual = weights[:N] * (probability[:, :N] - targets)
    np.testing.assert_allclose(out, residual @ X, atol=1e-15)
    np.testing.assert_allclose(excess, residual.sum(axis=1), atol=1e-15)


def test_products_are_those_of_the_hessian(case, rng):
    columns, X, weights, probability, _ = case
    direction, shift = rng.standard_normal((K, D)), rng.standard_normal(K)
    ends, slots = np.arange(K + 1) * D, np.tile(np.arange(D), K)
    out, sums, change, mean = np.empty(K * D), np.empty(K), np.empty(K * WIDTH), np.empty(WIDTH)
    coordinate.products(
        columns, ends, slots, direction.reshape(-1), True, shift, probability.reshape(-1), weights, WIDTH, change, mean,
        np.empty(WIDTH), out, sums,
    )  # fmt: skip
    expected = hessian(X, weights[:N], probability[:, :N]) @ np.column_stack([direction, shift]).reshape(-1)
    expected = expected.reshape(K, D + 1)
    np.testing.assert_allclose(out.reshape(K, D), expected[:, :D], atol=1e-14)
    np.testing.assert_allclose(sums, expected[:, D], atol=1e-14)


@pytest.mark.parametrize("by_gram", [False, True])
def test_sweeps_reach_the_minimum_of_the_model(case, by_gram):
    """The model's own optimality conditions, with the Hessian written out."""
    columns, X, weights, probability, targets = case
    values, rows, starts = lists(targets, weights)
    ends, slots, size = (np.arange(K + 1) * D).astype(np.int64), np.tile(np.arange(D), K), K * D
    ridge, lasso, extra = np.full(size, 0.01), np.full(size, 0.02), np.zeros(size)
    coef, shift, change, mean = np.zeros(size), np.zeros(K), np.zeros(K * WIDTH), np.zeros(WIDTH)
    places = (np.arange(K + 1) * (D + 1) ** 2 if by_gram else np.zeros(K + 1)).astype(np.int64)
    memory = (np.empty(places[-1]), places, np.zeros(size + K, dtype=bool))
    curvature, sums, last, scratch = np.empty(size), np.empty(K), np.full(K, np.inf), np.zeros(4 * WIDTH + D + 1)
    for i in range(300):
        worst = coordinate.sweep(
            columns, ends, slots, coef, np.zeros(size), ridge, lasso, lasso, np.full(size, -np.inf),
            np.full(size, np.inf), extra, curvature, probability.reshape(-1), change, mean, weights, values, rows,
            starts, WIDTH, True, shift, sums, 0.0, i == 0, *memory, 0.0, last, scratch,
        )  # fmt: skip
    assert worst < 1e-12
    residual = weights[:N] * (probability[:, :N] - targets)
    slope = np.column_stack([residual @ X, residual.sum(axis=1)])
    moved = np.column_stack([coef.reshape(K, D), shift]).reshape(-1)
    slope += (hessian(X, weights[:N], probability[:, :N]) @ moved).reshape(K, D + 1)
    np.testing.assert_allclose(slope[:, D], 0, atol=1e-12)
    slope, coef = slope[:, :D] + 0.01 * coef.reshape(K, D), coef.reshape(K, D)
    assert 0 < np.count_nonzero(coef) < size
    np.testing.assert_allclose(slope[coef != 0], -0.02 * np.sign(coef[coef != 0]), atol=1e-12)
    assert np.all(np.abs(slope) <= 0.02 + 1e-12)


@pytest.mark.parametrize("whole", [False, True])
def test_grouped_sweeps_reach_the_minimum_of_the_model(case, whole):
    columns, X, weights, probability, targets = case
    residual = weights[:N] * (probability[:, :N] - targets)
    slopes, excess = np.ascontiguousarray((residual @ X).T), residual.sum(axis=1)
    slots = np.arange(D)
    blocks = np.empty((D, K, K if whole else 1))
    flat = probability.reshape(-1)
    coordinate.block_curvatures(columns, slots, flat, weights, WIDTH, blocks, np.empty(2 * WIDTH))
    coef, shift, change, mean = np.zeros((D, K)), np.zeros(K), np.zeros(K * WIDTH), np.zeros(WIDTH)
    ridge, lasso, far = np.full(D, 0.01), np.full(D, 0.09), np.full(D, np.inf)
    for _ in range(2000):
        worst = coordinate.grouped_sweep(
            columns, slots, slopes, coef, np.zeros((D, K)), ridge, lasso, lasso, np.zeros(D), blocks, flat, change,
            mean, weights, WIDTH, True, excess, shift, np.empty(K), 0.0, far, True,
        )  # fmt: skip
    assert worst < 1e-12
    slope = np.column_stack([slopes.T, excess])
    moved = np.column_stack([coef.T, shift]).reshape(-1)
    slope += (hessian(X, weights[:N], probability[:, :N]) @ moved).reshape(K, D + 1)
    np.testing.assert_allclose(slope[:, D], 0, atol=1e-11)
    slope, norms = slope[:, :D] + 0.01 * coef.T, np.linalg.norm(coef, axis=1)
    on = norms > 0
    assert 0 < np.count_nonzero(on) < D
    np.testing.assert_allclose(slope[:, on], -0.09 * (coef.T / np.maximum(norms, 1e-300))[:, on], atol=1e-11)
    assert np.all(np.linalg.norm(slope, axis=0) <= 0.09 + 1e-11)
