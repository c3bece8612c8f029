"""Arithmetic in slices is that of whole arrays, and repeats bitwise."""

import numpy as np
import pytest

from softmax.regression import _slices
from softmax.regression._preconditioners import KroneckerInverse
from softmax.regression._slices import SLICE, add_multiple, dot, multiply_and_add, over_features, slices
from softmax.regression._threads import Workers

SHAPES = [(1, 1), (3, SLICE // 3), (7, 9001), (2, 5 * SLICE + 1)]


def pair(shape):
    return np.random.default_rng(0).standard_normal((2, *shape))


@pytest.mark.parametrize("length", [0, 1, SLICE, 2 * SLICE - 1, 2 * SLICE, 10 * SLICE + 7])
def test_slices_cover_an_axis_once(length):
    parts = slices(length)
    assert [i for part in parts for i in (part.start, part.stop)] == sorted(
        [0, length] + 2 * [part.stop for part in parts[:-1]]
    )
    assert all(part.stop - part.start < 2 * SLICE for part in parts)


@pytest.mark.parametrize("shape", SHAPES)
def test_sums_and_multiples(shape):
    x, y = pair(shape)
    for n_threads in (None, 1, 2, 3):
        with Workers(n_threads) as workers:
            one, other = y.copy(), y.copy()
            add_multiple(workers, one, -0.3, x)
            multiply_and_add(workers, other, 0.7, x)
            value = dot(workers, x, y)
            assert dot(workers, x, y) == value
        np.testing.assert_allclose(value, (x * y).sum(), rtol=0, atol=1e-12 * np.abs(x * y).sum())
        np.testing.assert_array_equal(one, y + -0.3 * x)
        np.testing.assert_array_equal(other, 0.7 * y + x)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_feature_is_visited_once(shape):
    visits = np.zeros(shape[1])

    def visit(own):
        visits[own] += 1

    with Workers(2) as workers:
        over_features(workers, shape, visit)
    assert (visits == 1).all()


@pytest.mark.parametrize("intercept", [True, False])
def test_the_inverse_of_single_features_in_slices(monkeypatch, intercept):
    """(M ⊗ Σ + λI)⁻¹ with a diagonal Σ, beside the dense matrix."""
    monkeypatch.setattr(_slices, "SLICE", 16)
    rng = np.random.default_rng(1)
    k, d = 4, 30
    p = rng.dirichlet(np.ones(k))
    M = np.diag(p) - np.outer(p, p)
    values, ridge = rng.exponential(size=d), rng.exponential(size=d)
    residual = rng.standard_normal((k, d + intercept))
    residual -= residual.mean(axis=0)
    with Workers(2) as workers:
        inverse = KroneckerInverse(values, ridge, intercept, workers=workers)
        inverse.update(M)
        solution = inverse.solve(residual)
    np.testing.assert_allclose(solution.sum(axis=0), 0, atol=1e-13)
    back = M @ solution
    back[:, :d] = back[:, :d] * values + ridge * solution[:, :d]
    np.testing.assert_allclose(back, residual, atol=1e-12)
