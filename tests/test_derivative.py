"""Products with the Jacobians, and the dense Jacobians; the structured one has a file of its own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import softmax as sm
from softmax import _reference as reference
from tests.accuracy import MAIN, backends, find_backend
from tests.ulp import EPS, as_float64, assert_within

PRODUCTS = ("softmax_jvp", "softmax_vjp", "log_softmax_jvp", "log_softmax_vjp")


@pytest.fixture
def backend(request):
    return find_backend(request.param)


def exact(pair: Any) -> np.ndarray:
    return pair.rounded()


def skewed(rng, n):
    """One 0 among -17s, and a cotangent that is largest elsewhere."""
    x = np.full((2, n), -17.0)
    x[0, n // 2] = x[1, -1] = 0.0
    return x, rng.normal(size=(2, n))


INPUTS = {
    "plain": lambda rng, n: (rng.normal(size=(3, n)), rng.normal(size=(3, n))),
    "offset cotangent": lambda rng, n: (rng.normal(size=(3, n)), 1e4 + rng.normal(size=(3, n))),
    "peaked": lambda rng, n: (20 * rng.normal(size=(3, n)), rng.normal(size=(3, n))),
    "peaked, offset": lambda rng, n: (20 * rng.normal(size=(3, n)), 1e4 + rng.normal(size=(3, n))),
    "skewed": skewed,
    "one certain class": lambda rng, n: (40 * np.eye(3, n), rng.normal(size=(3, n))),
}


def naive_vjp(x, g):
    e = np.exp(x - x.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    return p * (g - (p * g).sum(-1, keepdims=True))


def bound(truth, x, g, eps):
    """2 eps (max |result| + p_i sum_j p_j |g_j - g_argmax|), entry by entry."""
    p = exact(reference.softmax(x))
    lead = np.take_along_axis(g, p.argmax(-1, keepdims=True), -1).astype(float)
    spread = (p * np.abs(g.astype(float) - lead)).sum(-1, keepdims=True)
    return 2 * eps * (np.abs(truth).max(-1, keepdims=True) + p * spread)


@backends(*MAIN)
@pytest.mark.parametrize("function", ["softmax_vjp", "softmax_jvp"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [3, 17, 1000])
@pytest.mark.parametrize("kind", INPUTS)
def test_a_product_keeps_its_bound_and_its_rows_sum_to_zero(backend, function, dtype, n, kind, rng):
    x, g = (a.astype(dtype) for a in INPUTS[kind](rng, n))
    truth = exact(getattr(reference, function)(x, g))
    got = as_float64(backend.call(function, x, g))
    assert (np.abs(got - truth) <= bound(truth, x, g, EPS[dtype])).all()
    row_sums = np.abs([math.fsum(row) for row in got])
    assert (row_sums <= n * EPS[dtype] * np.abs(truth).max(-1)).all()


@pytest.mark.parametrize("kind", ["offset cotangent", "peaked, offset"])
def test_the_inputs_catch_the_textbook_formula(kind, rng):
    x, g = (a.astype(np.float32) for a in INPUTS[kind](rng, 1000))
    truth = exact(reference.softmax_vjp(x, g))
    assert (np.abs(naive_vjp(x, g) - truth) > bound(truth, x, g, EPS["float32"])).any()


@backends()
@pytest.mark.parametrize("function", PRODUCTS)
@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("axis", [-1, 0, (0, 2), None], ids=str)
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_products_over_axes_masks_and_temperatures(backend, function, temperature, axis, masked, rng):
    x, v = 3 * rng.normal(size=(4, 3, 5)), rng.normal(size=(4, 3, 5))
    where = rng.random(x.shape) < 0.6 if masked else None
    order = {-1: (0, 1, 2), 0: (1, 2, 0), (0, 2): (1, 0, 2), None: (0, 1, 2)}[axis]
    rows = {-1: (4, 3, 5), 0: (3, 5, 4), (0, 2): (3, 20), None: (60,)}[axis]

    def to_rows(a):
        return None if a is None else a.transpose(order).reshape(rows)

    truth = exact(getattr(reference, function)(to_rows(x), to_rows(v), where=to_rows(where), temperature=temperature))
    options: dict[str, Any] = {"axis": axis, "temperature": temperature}
    if masked:
        options["where"] = backend.array(where)
    got = to_rows(as_float64(backend.call(function, x, v, **options)))
    np.testing.assert_allclose(got, truth, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("function", PRODUCTS)
@pytest.mark.parametrize("hidden", [np.nan, np.inf, -np.inf, 1e308])
def test_nothing_behind_the_mask_is_looked_at(function, hidden):
    x, v, where = np.array([1.0, 2.0, hidden]), np.array([0.5, -1.0, hidden]), np.array([True, True, False])
    got = getattr(sm, function)(x, v, where=where)
    assert got[2] == 0
    np.testing.assert_array_equal(got[:2], getattr(sm, function)(x[:2], v[:2]))


@pytest.mark.parametrize("function", PRODUCTS)
def test_a_masked_array_is_a_mask(function):
    x = np.ma.masked_array([1.0, 2.0, 3.0], [False, True, False])
    got = getattr(sm, function)(x, np.array([1.0, np.nan, 3.0]))
    expected = getattr(sm, function)(x.data, [1.0, 0.0, 3.0], where=~x.mask)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("function", PRODUCTS)
def test_a_fully_masked_row_has_no_derivative_and_a_row_without_softmax_has_nan(function):
    product = getattr(sm, function)
    assert (product(np.ones((2, 3)), np.ones((2, 3)), where=False) == 0).all()
    assert np.isnan(product(np.array([np.inf, 0.0]), np.array([1.0, 2.0]))).all()
    assert np.isnan(product(np.full(3, -np.inf), np.arange(3.0))).all()


@pytest.mark.parametrize("function", PRODUCTS)
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), ()], ids=str)
def test_empty_and_zero_dimensional(function, shape):
    got = getattr(sm, function)(np.ones(shape), np.ones(shape))
    assert np.shape(got) == shape
    assert (np.asarray(got) == 0).all()


@pytest.mark.parametrize(
    ("x", "v", "expected"),
    [
        (np.float32, np.float32, np.float32),
        (np.float32, np.float64, np.float64),
        (np.float64, np.float32, np.float64),
        (np.float16, np.float16, np.float16),
        (np.float16, np.float32, np.float32),
        (np.int64, np.float32, np.float64),
        (np.float32, np.int64, np.float32),
        (bool, bool, np.float64),
    ],
    ids=lambda t: t.__name__,
)
def test_the_dtype_of_a_product(x, v, expected):
    assert sm.softmax_jvp(np.ones(3, x), np.ones(3, v)).dtype == expected


def test_a_list_takes_the_dtype_of_the_logits():
    assert sm.softmax_vjp(np.ones(2, np.float32), [0.1, 0.2]).dtype == np.float32


# Dense


@backends()
@pytest.mark.parametrize("function", ["softmax_jacobian", "log_softmax_jacobian", "logsumexp_hessian"])
@pytest.mark.parametrize("axis", [-1, 0, (0, 1), None], ids=str)
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_dense_jacobians_against_the_reference(backend, function, axis, masked, rng):
    x = 5 * rng.normal(size=(3, 4))
    where = np.array([[True, False, True, True]] * 3) if masked else None
    rows = x.T if axis == 0 else x if axis == -1 else x.reshape(-1)
    mask = None if where is None else where.T if axis == 0 else where if axis == -1 else where.reshape(-1)
    truth = getattr(reference, function)(rows, where=mask)
    options = {"axis": axis, "where": backend.array(where)} if masked else {"axis": axis}
    got = backend.call(function, x, **options)
    assert_within(got, truth, 10 if backend.name == "jax" else 8, "float64")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_diagonal_keeps_its_relative_accuracy_when_a_probability_tends_to_one(dtype):
    x = np.array([0.0, -12.0], dtype) if dtype == "float16" else np.array([0.0, -40.0, -41.0], dtype)
    got = sm.softmax_jacobian(x)
    assert got.dtype == dtype
    assert_within(got, reference.softmax_jacobian(x), 8 if dtype == "float64" else 0.51)
    assert_within(sm.log_softmax_jacobian(x), reference.log_softmax_jacobian(x), 8 if dtype == "float64" else 0.51)


def test_the_jacobian_is_what_the_derivation_says(rng):
    x = rng.normal(size=6)
    s, jacobian = sm.softmax(x), sm.softmax_jacobian(x)
    for i in range(6):
        for j in range(6):
            expected = s[j] * (1 - s[j]) if i == j else -s[i] * s[j]
            assert jacobian[i, j] == pytest.approx(expected, rel=1e-15)
    np.testing.assert_array_equal(jacobian, jacobian.T)
    assert np.abs(jacobian.sum(axis=1)).max() < 1e-16
    assert np.linalg.eigvalsh(jacobian).min() > -1e-16


@pytest.mark.parametrize("temperature", [0.25, 3.0])
def test_dense_jacobians_have_the_temperature_in_them(temperature, rng):
    x, identity = rng.normal(size=5), np.eye(5)
    options = {"temperature": temperature}
    rows = np.broadcast_to(x, (5, 5))
    np.testing.assert_allclose(sm.softmax_jacobian(x, **options), sm.softmax_jvp(rows, identity, **options), rtol=1e-14)
    np.testing.assert_allclose(
        sm.log_softmax_jacobian(x, **options), sm.log_softmax_jvp(rows, identity, **options).T, rtol=1e-14
    )
    np.testing.assert_allclose(
        sm.logsumexp_hessian(x, **options), sm.softmax_jacobian(x, **options) / temperature, rtol=1e-14
    )


def test_the_hessian_does_not_square_a_tiny_temperature():
    x = np.array([0.0, 1e-199])
    assert np.isfinite(sm.logsumexp_hessian(x * 0, temperature=1e-150)).all()
    assert not np.isnan(sm.logsumexp_hessian(x * 0, temperature=1e-200)).any()


@pytest.mark.parametrize("function", ["softmax_jacobian", "log_softmax_jacobian", "logsumexp_hessian"])
def test_dense_jacobians_of_more_than_two_to_the_31_elements_are_refused(function):
    large = np.broadcast_to(np.float16(0), (1 << 16,))
    with pytest.raises(sm.ArrayValueError, match=r"4294967296 elements.*SoftmaxJacobian"):
        getattr(sm, function)(large)
    with pytest.raises(sm.ArrayValueError, match="SoftmaxJacobian"):
        sm.SoftmaxJacobian(large).toarray()


@pytest.mark.parametrize("function", ["softmax_jacobian", "log_softmax_jacobian", "logsumexp_hessian"])
def test_dense_jacobians_of_little(function):
    dense = getattr(sm, function)
    assert dense(np.ones((2, 0))).shape == (2, 0, 0)
    assert dense(np.ones((0, 2))).shape == (0, 2, 2)
    assert dense(3).tolist() == [[0.0]]
    assert dense([[1, 2], [3, 4]]).dtype == np.float64


@pytest.mark.parametrize("function", ["softmax_jacobian", "log_softmax_jacobian", "logsumexp_hessian"])
def test_dense_jacobians_of_pytorch_carry_gradients(function, rng):
    torch = pytest.importorskip("torch")
    x = torch.tensor(rng.normal(size=4), requires_grad=True)
    assert torch.autograd.gradcheck(getattr(sm, function), x)


# Bad input


@pytest.mark.parametrize("function", PRODUCTS)
@pytest.mark.parametrize(
    ("v", "error", "message"),
    [
        ([1.0, 2.0], sm.ArrayValueError, r"must have the shape of the logits, \(3,\); got \(2,\)"),
        ([1.0, 2.0, 3j], sm.ArrayTypeError, "must be real"),
        (["a", "b", "c"], sm.ArrayTypeError, "holds no numbers"),
        (None, sm.ArrayTypeError, "got NoneType"),
        (np.ma.masked_array([1.0, 2.0, 3.0], [0, 0, 1]), sm.ArrayTypeError, "masked array"),
        ([[1.0], [2.0, 3.0]], sm.ArrayValueError, "no rectangular array"),
    ],
    ids=["shape", "complex", "strings", "None", "masked", "ragged"],
)
def test_a_bad_tangent_is_named(function, v, error, message):
    with pytest.raises(error, match=message):
        getattr(sm, function)(np.ones(3), v)


def test_a_tangent_of_another_library_is_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(sm.ArrayTypeError, match=r"v must be an array of numpy.*Convert it first"):
        sm.softmax_jvp(np.ones(3), torch.ones(3))
    assert sm.softmax_jvp(torch.ones(3), np.ones(3, np.float32)).dtype == torch.float32
