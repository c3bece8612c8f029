"""One policy for special values, in every back-end and without a warning.

A row of only -inf, or with +inf or nan, has no softmax: softmax and log_softmax give nan throughout, logsumexp gives
-inf, +inf, nan. An entry behind a mask gives 0, -inf, nothing, whatever it is; so does a fully masked row. An empty
axis gives an empty result, and logsumexp -inf.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

import softmax as sm
from softmax import _reference as reference
from tests.accuracy import WITH_TRITON, find_backend, numpy_dtype
from tests.ulp import as_float64, assert_within

INF, NAN = math.inf, math.nan
DTYPE = pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])


@pytest.fixture(params=WITH_TRITON)
def backend(request):
    return find_backend(request.param)


def values(backend, function, x, **options):
    """The result as float64; masks are converted beside the logits."""
    options = {name: backend.array(v) for name, v in options.items()}
    result = backend.call(function, x, **options)
    return as_float64(np.from_dlpack(result) if backend.name == "strict" else result)


def skip_unknown_dtype(backend, dtype):
    if backend.name == "strict" and dtype in ("float16", "bfloat16"):
        pytest.skip("array_api_strict has float32 and float64 alone")


# Rows without a softmax

ROWS = {
    "-inf": ([-INF], -INF),
    "-inf -inf": ([-INF, -INF], -INF),
    "inf": ([INF], INF),
    "inf 0": ([INF, 0.0], INF),
    "inf -inf": ([INF, -INF], INF),
    "inf inf 0": ([INF, INF, 0.0], INF),
    "nan": ([NAN], NAN),
    "nan 0": ([NAN, 0.0], NAN),
    "0 nan": ([0.0, NAN], NAN),
    "nan -inf": ([NAN, -INF], NAN),
    "nan inf": ([NAN, INF], NAN),
    "inf nan": ([INF, NAN], NAN),
}


@DTYPE
@pytest.mark.parametrize(("row", "lse"), ROWS.values(), ids=ROWS)
def test_rows_without_a_softmax(backend, row, lse, dtype):
    skip_unknown_dtype(backend, dtype)
    x = np.array(row, numpy_dtype(dtype))
    for function in ("softmax", "log_softmax"):
        np.testing.assert_array_equal(values(backend, function, x), np.full(len(row), NAN))
        np.testing.assert_array_equal(values(backend, function, x[:, None], axis=0), np.full((len(row), 1), NAN))
    np.testing.assert_array_equal(values(backend, "logsumexp", x), lse)
    np.testing.assert_array_equal(values(backend, "logsumexp", x[:, None], axis=0), [lse])


# The compiled kernels have ways of their own for short, odd and long rows; the portable ones have one way.
WHEREVER = [
    (name, n, p)
    for name in ("numpy", "torch")
    for n in (1, 2, 7, 8, 16, 17, 33, 100, 1000)
    for p in ("accurate", "fast")
]
WHEREVER += [(name, n, "accurate") for name in ("portable", "strict", "jax") for n in (1, 7, 33)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("backend", "n", "precision"), WHEREVER, indirect=["backend"])
def test_a_special_value_is_seen_wherever_it_stands(backend, n, precision, dtype):
    places = range(n) if n <= 33 else (0, 1, n // 2, n - 17, n - 2, n - 1)
    rng = np.random.default_rng(n)
    x = rng.normal(size=(len(places), n)).astype(dtype)
    for special, lse in ((NAN, NAN), (INF, INF), (-INF, None)):
        bad = x.copy()
        for row, place in enumerate(places):
            bad[row, place] = special
        result = values(backend, "logsumexp", bad, precision=precision)
        p = values(backend, "softmax", bad, precision=precision)
        log_p = values(backend, "log_softmax", bad, precision=precision)
        if lse is not None:
            np.testing.assert_array_equal(result, np.full(len(places), lse))
            assert np.isnan(p).all()
            assert np.isnan(log_p).all()
        elif n > 1:
            at = np.arange(len(places)), np.array(places)
            assert (p[at] == 0).all()
            assert (log_p[at] == -INF).all()
            np.testing.assert_allclose(p, reference.softmax(bad).rounded(), rtol=1e-5)
            np.testing.assert_allclose(result, reference.logsumexp(bad).rounded(), rtol=1e-5)


@pytest.mark.parametrize("shape", [(7, 5), (300, 3), (5, 129)], ids=str)
@pytest.mark.parametrize("axis", [-1, 0])
def test_a_bad_row_leaves_its_neighbours_alone(backend, axis, shape):
    x = np.random.default_rng(6).normal(size=shape)
    rows = x if axis == -1 else x.T
    good = {f: values(backend, f, x, axis=axis) for f in ("softmax", "log_softmax", "logsumexp")}
    rows[1, 2], rows[2, 0] = NAN, INF
    for function, before in good.items():
        after = values(backend, function, x, axis=axis)
        if function != "logsumexp" and axis == 0:
            before, after = before.T, after.T
        assert not np.isfinite(after[1:3]).any()
        np.testing.assert_array_equal(np.delete(after, [1, 2], 0), np.delete(before, [1, 2], 0))


def test_entries_of_minus_infinity(backend):
    x = np.array([-INF, 0.0, 1.0])
    np.testing.assert_allclose(values(backend, "softmax", x), [0, 0.2689414213699951, 0.7310585786300049], rtol=1e-15)
    expected = [-INF, -1.3132616875182228, -0.3132616875182228]
    np.testing.assert_allclose(values(backend, "log_softmax", x), expected, rtol=1e-15)
    np.testing.assert_allclose(values(backend, "logsumexp", x), 1.3132616875182228, rtol=1e-15)


# The ends of the range

ENDS = {
    "float16": [6e4, -6e4, 6e4],
    "float32": [3.4e38, -3.4e38, 3.4e38],
    "float64": [1.7e308, -1.7e308, 1.7e308],
}


@pytest.mark.parametrize("dtype", ENDS)
def test_the_ends_of_the_range(backend, dtype):
    skip_unknown_dtype(backend, dtype)
    x = np.array(ENDS[dtype], dtype)
    np.testing.assert_array_equal(values(backend, "softmax", x), [0.5, 0.0, 0.5])
    nearest = -np.float64(math.log(2)).astype(dtype).astype(np.float64)
    np.testing.assert_allclose(values(backend, "log_softmax", x), [nearest, -INF, nearest], rtol=1e-15)
    np.testing.assert_array_equal(values(backend, "logsumexp", x), x[0].astype(np.float64))


def test_a_maximum_at_the_lower_end(backend):
    x = np.full(3, np.finfo(np.float64).min)
    np.testing.assert_allclose(values(backend, "softmax", x), np.full(3, 1 / 3), rtol=1e-15)
    assert values(backend, "logsumexp", x) == x[0]


@pytest.mark.parametrize(("dtype", "low"), [("float32", -100.0), ("float64", -740.0)])
def test_subnormal_results(backend, dtype, low):
    if backend.flushes_subnormals:
        pytest.skip("XLA flushes subnormal numbers to 0")
    x = np.array([[0.0, low]], dtype)
    for function, bound in (("softmax", 2.0), ("log_softmax", 2.0), ("logsumexp", 2.0)):
        truth = getattr(reference, function)(x)
        assert_within(values(backend, function, x), truth, bound, dtype)
    assert values(backend, "softmax", x)[0, 1] > 0


# Shapes without elements, and without axes


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_empty(backend, dtype):
    for shape, axis, reduced in (
        ((0,), -1, ()),
        ((3, 0), -1, (3,)),
        ((3, 0), 0, (0,)),
        ((0, 3), 0, (3,)),
        ((0, 3), -1, (0,)),
        ((2, 0, 3), (0, 1), (3,)),
        ((2, 0, 3), None, ()),
    ):
        x = np.zeros(shape, dtype)
        for function in ("softmax", "log_softmax"):
            assert values(backend, function, x, axis=axis).shape == shape
        np.testing.assert_array_equal(values(backend, "logsumexp", x, axis=axis), np.full(reduced, -INF))
        kept = values(backend, "logsumexp", x, axis=axis, keepdims=True)
        assert kept.ndim == len(shape)


def test_a_single_number(backend):
    for axis in (-1, 0, None, ()):
        x = np.array(2.5)
        assert values(backend, "softmax", x, axis=axis) == 1.0
        assert values(backend, "log_softmax", x, axis=axis) == 0.0
        assert values(backend, "logsumexp", x, axis=axis) == 2.5


def test_no_axis_is_each_entry_by_itself(backend):
    x = np.array([[1.0, -INF], [NAN, 3.0]])
    np.testing.assert_array_equal(values(backend, "softmax", x, axis=()), [[1, NAN], [NAN, 1]])
    np.testing.assert_array_equal(values(backend, "logsumexp", x, axis=()), x)


# Masks


@DTYPE
@pytest.mark.parametrize("behind", [0.0, 1e4, NAN, INF, -INF], ids=str)
def test_what_stands_behind_a_mask_does_not_matter(backend, behind, dtype):
    skip_unknown_dtype(backend, dtype)
    x = np.array([[1.0, behind, 2.0, behind], [behind, behind, 3.0, 0.5]], numpy_dtype(dtype))
    where = np.array([[True, False, True, False], [False, False, True, True]])
    kept = np.stack([row[keep] for row, keep in zip(x, where, strict=True)])
    for function, hidden in (("softmax", 0.0), ("log_softmax", -INF)):
        got = values(backend, function, x, where=where)
        np.testing.assert_array_equal(got[~where], np.full(4, hidden))
        np.testing.assert_allclose(got[where].reshape(2, 2), values(backend, function, kept), rtol=1e-6)
    lse = values(backend, "logsumexp", x, where=where)
    np.testing.assert_allclose(lse, values(backend, "logsumexp", kept), rtol=1e-6)


@pytest.mark.parametrize("content", [0.0, NAN, INF, -INF], ids=str)
def test_a_fully_masked_row(backend, content):
    x = np.array([[content, content], [0.0, 0.0]])
    where = np.array([[False, False], [True, True]])
    np.testing.assert_array_equal(values(backend, "softmax", x, where=where), [[0, 0], [0.5, 0.5]])
    log_p = values(backend, "log_softmax", x, where=where)
    np.testing.assert_allclose(log_p, [[-INF, -INF], [-math.log(2)] * 2], rtol=1e-15)
    lse = values(backend, "logsumexp", x, where=where)
    np.testing.assert_allclose(lse, [-INF, math.log(2)], rtol=1e-15)


def test_a_masked_row_can_still_be_bad(backend):
    x = np.array([[-INF, 0.0], [INF, 0.0], [NAN, 0.0]])
    where = np.array([True, False])
    assert np.isnan(values(backend, "softmax", x, where=where)[:, 0]).all()
    np.testing.assert_array_equal(values(backend, "softmax", x, where=where)[:, 1], np.zeros(3))
    np.testing.assert_array_equal(values(backend, "log_softmax", x, where=where)[:, 1], np.full(3, -INF))
    np.testing.assert_array_equal(values(backend, "logsumexp", x, where=where), [-INF, INF, NAN])


def test_masks_broadcast(backend):
    x = np.random.default_rng(1).normal(size=(2, 3, 4))
    for where in (
        np.array([True, False, True, True]),
        np.array([[True], [False], [True]]),
        np.array(True),
        np.array(False),
    ):
        full = np.broadcast_to(where, x.shape).copy()
        for function in ("softmax", "log_softmax", "logsumexp"):
            for axis in (-1, 1, (0, 2), None):
                got = values(backend, function, x, where=where, axis=axis)
                np.testing.assert_array_equal(got, values(backend, function, x, where=full, axis=axis))


def test_the_masked_arrays_of_numpy():
    x = np.ma.array([[1.0, NAN, 2.0], [INF, 0.0, 0.0]], mask=[[False, True, False], [True, False, False]])
    where = ~np.ma.getmaskarray(x)
    for function in (sm.softmax, sm.log_softmax, sm.logsumexp):
        got = function(x)
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got, function(x.data, where=where))
        both = function(x, where=[True, True, False])
        np.testing.assert_array_equal(both, function(x.data, where=where & [True, True, False]))
        unmasked = np.ma.array([1.0, 2.0])
        np.testing.assert_array_equal(function(unmasked), function(unmasked.data))
    assert sm.softmax(np.ma.masked_all((2, 2))).tolist() == [[0, 0], [0, 0]]
    integers = np.ma.array([3, 200, 7], mask=[False, True, False], dtype=np.uint8)
    assert sm.softmax(integers)[1] == 0


# Weights and signs of logsumexp


def test_a_weight_of_zero_drops_its_entry(backend):
    for hidden in (NAN, INF, -INF, 1e4):
        x, b = np.array([[hidden, 0.5, 1.0]]), np.array([[0.0, 1.0, 2.0]])
        expected = reference.logsumexp(np.array([[0.5, 1.0]]), b=np.array([[1.0, 2.0]])).rounded()
        np.testing.assert_allclose(values(backend, "logsumexp", x, b=b), expected, rtol=1e-15)


def test_signs(backend):
    cases = [([1.0, 2.0], [1.0, -1.0], 1.541324854612918, -1.0), ([1.0, 1.0], [1.0, -1.0], -INF, 0.0)]
    cases += [([], [], -INF, 0.0), ([0.0, -INF], [2.0, -1.0], math.log(2), 1.0), ([NAN], [1.0], NAN, NAN)]
    for x, b, value, sign in cases:
        with backend.context():
            got = sm.logsumexp(backend.array(np.array(x)), b=backend.array(np.array(b)), return_sign=True)
        np.testing.assert_allclose([float(v) for v in got], [value, sign], rtol=1e-15)
    assert np.isnan(values(backend, "logsumexp", np.array([1.0, 2.0]), b=np.array([1.0, -1.0])))


# Derivatives

PRODUCTS = ("softmax_vjp", "softmax_jvp", "log_softmax_vjp", "log_softmax_jvp")


@pytest.mark.parametrize("function", PRODUCTS)
@pytest.mark.parametrize("behind", [0.0, NAN, INF, -INF], ids=str)
def test_derivatives_behind_a_mask(backend, behind, function):
    x, g = np.array([[1.0, behind, 2.0], [behind] * 3]), np.array([[3.0, behind, -1.0], [behind] * 3])
    where = np.array([[True, False, True], [False] * 3])
    with backend.context():
        got = getattr(sm, function)(backend.array(x), backend.array(g), where=backend.array(where))
        got = as_float64(np.from_dlpack(got) if backend.name == "strict" else got)
    expected = getattr(reference, function)(x[:1, [0, 2]], g[:1, [0, 2]]).rounded()
    np.testing.assert_allclose(got[:1, [0, 2]], expected, rtol=1e-14)
    np.testing.assert_array_equal(got[~where], np.zeros(4))


@pytest.mark.parametrize("function", PRODUCTS)
def test_derivatives_of_bad_rows(backend, function):
    x = np.array([[-INF, -INF], [INF, 0.0], [NAN, 0.0], [-INF, 0.0]])
    with backend.context():
        got = getattr(sm, function)(backend.array(x), backend.array(np.ones((4, 2))))
        got = as_float64(np.from_dlpack(got) if backend.name == "strict" else got)
    assert np.isnan(got[:3]).all()
    assert np.isfinite(got[3]).all()


def test_nothing_of_the_callers_is_changed(backend):
    x = np.array([[NAN, 0.0, 3.0], [1.0, 2.0, -INF]])
    where = np.array([[False, True, True], [True, True, True]])
    before, mask = x.copy(), where.copy()
    given = backend.array(x)
    for function in ("softmax", "log_softmax", "logsumexp"):
        with backend.context():
            getattr(sm, function)(given, where=backend.array(where))
    np.testing.assert_array_equal(as_float64(np.from_dlpack(given) if backend.name == "strict" else given), before)
    np.testing.assert_array_equal(where, mask)
