"""The error bounds of softmax, log_softmax and logsumexp, measured against the exact reference."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest

import softmax as sm
from softmax import _reference as reference
from tests.accuracy import (
    GENERATORS,
    LENGTHS,
    MAIN,
    backends,
    constant_softmax,
    find_backend,
    logits,
    naive_log_softmax,
    naive_logsumexp,
    naive_softmax,
    numpy_dtype,
)
from tests.ulp import as_float64, assert_within, dtype_name, must_fail, ulp_error


@pytest.fixture
def backend(request):
    return find_backend(request.param)


@functools.lru_cache(maxsize=1)
def input_and_truth(dtype: str, generator: str, n: int, function: str) -> tuple[Any, Any]:
    """One input with its exact result; tests of the same input follow one another."""
    x = logits(dtype, generator, n)
    return x, getattr(reference, function)(x)


WIDE = pytest.mark.parametrize(("dtype", "generator"), [(d, g) for d, names in GENERATORS.items() for g in names])
LENGTH = pytest.mark.parametrize("n", LENGTHS)


# Rows 1 and 2: float32 within 1 ulp, float64 within 2 (4 on the portable kernels), subnormal results included


@backends(*MAIN)
@LENGTH
@WIDE
def test_softmax(backend, dtype, generator, n):
    x, truth = input_and_truth(dtype, generator, n, "softmax")
    p = backend.call("softmax", x)
    assert dtype_name(p) == dtype
    assert_within(p, truth, backend.softmax_ulp(dtype))


@backends("jax", "strict")
@pytest.mark.parametrize("n", [1, 7, 1000])
@WIDE
def test_softmax_of_other_libraries(backend, dtype, generator, n):
    x, truth = input_and_truth(dtype, generator, n, "softmax")
    p = np.asarray(backend.call("softmax", x))
    assert dtype_name(p) == dtype
    error = ulp_error(p, truth)
    if backend.flushes_subnormals:  # then the correction of a probability below tiny / eps is lost
        error = error[truth.rounded() >= np.finfo(dtype).tiny / np.finfo(dtype).eps]
    assert error.max() <= backend.softmax_ulp(dtype)


@WIDE
def test_the_inputs_of_softmax_tell_right_from_wrong(dtype, generator):
    for n in LENGTHS[1:-1]:
        x, truth = input_and_truth(dtype, generator, n, "softmax")
        with must_fail():
            assert_within(constant_softmax(x), truth, 4.0)
    x, truth = input_and_truth(dtype, generator, 1000, "softmax")
    with must_fail():
        assert_within(naive_softmax(x), truth, 1.0 if dtype == "float32" else 2.0)
    assert_within(reference.softmax(x).rounded().astype(dtype), truth, 0.51)


def test_the_inputs_reach_subnormal_results():
    for dtype, generator in (("float32", "U(-103, 0)"), ("float64", "U(-745, 0)")):
        _, truth = input_and_truth(dtype, generator, 1000, "softmax")
        p = truth.rounded().astype(dtype)
        assert ((p > 0) & (p < np.finfo(dtype).tiny)).sum() > 50


@backends(*MAIN)
@pytest.mark.parametrize("n", [1, 2, 3, 17, 1000, 100_000])
@WIDE
def test_log_softmax(backend, dtype, generator, n):
    x, truth = input_and_truth(dtype, generator, n, "log_softmax")
    assert_within(backend.call("log_softmax", x), truth, backend.other_ulp(dtype))


@backends(*MAIN)
@pytest.mark.parametrize("n", [1, 2, 3, 17, 1000, 100_000])
@WIDE
def test_logsumexp(backend, dtype, generator, n):
    x, truth = input_and_truth(dtype, generator, n, "logsumexp")
    assert_sum_within(backend.call("logsumexp", x), truth, x, backend.other_ulp(dtype))


def assert_sum_within(got: Any, truth: Any, x: Any, bound: float) -> None:
    """Within `bound` ulp of the largest of result, maximum and log of the shifted sum: the latter two may cancel."""
    top, lse = x.max(axis=-1).astype(np.float64), truth.rounded()
    largest = np.maximum(np.abs(lse - top), np.maximum(np.abs(lse), np.abs(top)))
    unit = np.spacing(largest.astype(x.dtype)).astype(np.float64)
    excess = np.abs((reference.Pair(as_float64(got)) - truth).rounded()) / unit
    assert excess.max() <= bound, f"{excess.max():.4g} ulp of the largest of maximum and result, bound {bound}"


@WIDE
def test_the_inputs_of_log_softmax_tell_right_from_wrong(dtype, generator):
    x, truth = input_and_truth(dtype, generator, 2, "log_softmax")
    with must_fail():
        assert_within(naive_log_softmax(x), truth, 4.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_inputs_of_logsumexp_tell_right_from_wrong(dtype):
    x, truth = input_and_truth(dtype, "randn", 2, "logsumexp")
    with must_fail():
        assert_within(naive_logsumexp(x), truth, 4.0)
    x, truth = input_and_truth(dtype, "randn", 1000, "logsumexp")
    with must_fail():
        assert_sum_within(x.max(axis=-1), truth, x, 4.0)


@backends(*MAIN)
@pytest.mark.parametrize("temperature", [0.1, 0.5, 3.0, 1000.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_temperature(backend, dtype, temperature):
    x = logits(dtype, "30 randn", 1000)
    quotient = x / x.dtype.type(temperature)
    for function, bound in (("softmax", backend.softmax_ulp(dtype)), ("log_softmax", backend.other_ulp(dtype))):
        got = backend.call(function, x, temperature=temperature)
        assert_within(got, getattr(reference, function)(quotient), bound)


@backends(*MAIN)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("n", [3, 17, 1000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_masked(backend, dtype, n, share):
    x = logits(dtype, "30 randn", n)
    where = np.random.default_rng(n).random(x.shape) < share
    for function in ("softmax", "log_softmax", "logsumexp"):
        bound = backend.softmax_ulp(dtype) if function == "softmax" else backend.other_ulp(dtype)
        got = backend.call(function, x, where=backend.array(where))
        assert_within(got, getattr(reference, function)(x, where=where), bound)


@backends(*MAIN)
@pytest.mark.parametrize("axis", [0, 1, (0, 2), None], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_axes(backend, dtype, axis):
    x = 30 * np.random.default_rng(5).normal(size=(13, 40, 19)).astype(dtype)
    axes = (0, 1, 2) if axis is None else (axis if isinstance(axis, tuple) else (axis,))
    first = tuple(range(len(axes)))
    rows = np.moveaxis(x, axes, first).reshape(-1, *np.delete(x.shape, axes))
    truth = reference.softmax(rows, 0)
    got = as_float64(backend.call("softmax", x, axis=axis))
    assert_within(np.moveaxis(got, axes, first).reshape(rows.shape), truth, backend.softmax_ulp(dtype), dtype)
    lse = backend.call("logsumexp", x, axis=axis)
    assert_within(lse, reference.logsumexp(rows, 0), backend.other_ulp(dtype))


# Row 3: long rows of one large and very many small logits, whose sum a plain float32 sum loses


def skewed(n: int, low: float, position: str, axis: int) -> Any:
    """One 0 among n logits of `low`; over axis 0 in three columns that differ by a constant."""
    row = np.full(n + 1, low, np.float32)
    row[{"first": 0, "middle": n // 2, "last": n}[position]] = 0
    return row if axis == -1 else row[:, None] + np.float32([0, 2, -4])


def check_skewed(p: Any, n: int, low: float, position: str) -> None:
    """Sums of 1 within 1e-7, and both values within 1 ulp."""
    p = as_float64(p).reshape(n + 1, -1)
    for column in p.T:
        assert abs(math.fsum(column) - 1) <= 1e-7
    total = 1 + n * math.exp(low)
    expected = np.full(p.shape, math.exp(low) / total)
    expected[{"first": 0, "middle": n // 2, "last": n}[position]] = 1 / total
    assert_within(p, reference.Pair(expected), 1.0, "float32")


@backends(*MAIN)
@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("position", ["first", "middle", "last"])
@pytest.mark.parametrize("low", [-15.0, -16.0, -17.0])
@pytest.mark.parametrize("n", [100_000, 1_000_000])
def test_long_skewed_rows(backend, n, low, position, axis):
    check_skewed(backend.call("softmax", skewed(n, low, position, axis), axis=axis), n, low, position)


def test_the_skewed_rows_tell_right_from_wrong():
    x = skewed(1_000_000, -17.0, "first", 0)
    with must_fail():
        check_skewed(naive_softmax(x, 0), 1_000_000, -17.0, "first")
    row = skewed(1_000_000, -17.0, "first", -1)
    lanes = row.reshape(-1)[1:].reshape(-1, 16)  # one float32 accumulator per lane, as vector code sums
    total = np.float32(1) + functools.reduce(np.add, np.exp(lanes)).sum(dtype=np.float32)
    with must_fail():
        check_skewed(np.exp(row) / total, 1_000_000, -17.0, "first")


# Row 4: half precision, within 0.51 ulp

HALF = pytest.mark.parametrize("dtype", ["float16", "bfloat16"])


@functools.lru_cache(maxsize=1)
def half_and_truth(dtype: str, n: int, function: str) -> tuple[Any, Any]:
    x = np.random.default_rng(n).normal(size=(max(1, 4000 // n), n)).astype(numpy_dtype(dtype))
    return x, getattr(reference, function)(x)


@backends(*MAIN)
@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("function", ["softmax", "log_softmax", "logsumexp"])
@HALF
def test_half_precision(backend, dtype, function, n):
    x, truth = half_and_truth(dtype, n, function)
    got = backend.call(function, x)
    assert dtype_name(got) == dtype
    assert_within(got, truth, 0.51)


@backends(*MAIN)
@HALF
def test_seventy_thousand_zeros(backend, dtype):
    x = np.zeros(70_000, numpy_dtype(dtype))
    nearest = np.float64(1 / 70_000).astype(x.dtype).astype(np.float64)
    np.testing.assert_array_equal(as_float64(backend.call("softmax", x)), np.full(x.shape, nearest))
    nearest = np.float64(math.log(70_000)).astype(x.dtype).astype(np.float64)
    assert as_float64(backend.call("logsumexp", x)) == nearest
    np.testing.assert_array_equal(as_float64(backend.call("log_softmax", x)), np.full(x.shape, -nearest))


@HALF
def test_the_half_precision_inputs_tell_right_from_wrong(dtype):
    x, truth = half_and_truth(dtype, 1000, "softmax")
    for wrong in (naive_softmax, constant_softmax):
        with must_fail():
            assert_within(wrong(x), truth, 0.51)
    zeros = np.zeros((1, 70_000), x.dtype)
    with must_fail(), np.errstate(all="ignore"):
        assert_within(naive_softmax(zeros), reference.softmax(zeros), 0.51)


# Row 5: logarithms next to 0

NEAR_ZERO = {
    "[0, -40]": np.array([0.0, -40.0]),
    "[-40, 0]": np.array([-40.0, 0.0]),
    "[0, -18]": np.array([0, -18], np.float32),
    "[0, -100]": np.array([0, -100], np.float32),
    "[0, -700]": np.array([0.0, -700.0]),
    "[0, -16, ...]": np.array([0] + 100_000 * [-16], np.float32),
    "[0, -17, ...]": np.array([0] + 100_000 * [-17], np.float32),
    "1e8 + [0, 8, 16]": np.float32(1e8) + np.array([0, 8, 16], np.float32),
    "1e15 + [0, 8, 16]": 1e15 + np.array([0.0, 8.0, 16.0]),
    "[0.5, -40]": np.array([0.5, -40.0]),
}
NEAR = pytest.mark.parametrize("x", NEAR_ZERO.values(), ids=NEAR_ZERO)


@backends()
@pytest.mark.parametrize("function", ["log_softmax", "logsumexp"])
@NEAR
def test_logarithms_near_zero(backend, function, x):
    truth = getattr(reference, function)(x[None])
    if backend.flushes_subnormals and np.min(np.abs(truth.rounded())) < np.finfo(x.dtype).tiny:
        pytest.skip("XLA flushes subnormal numbers to 0")
    assert_within(np.asarray(backend.call(function, x[None])), truth, 2.0)


def test_the_logarithms_near_zero_are_lost_by_the_naive_formula():
    for name in ("[0, -40]", "[0, -18]", "[0, -16, ...]", "1e8 + [0, 8, 16]"):
        x = NEAR_ZERO[name][None]
        with must_fail():
            assert_within(naive_log_softmax(x), reference.log_softmax(x), 2.0)


@backends(*MAIN)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_logarithm_of_a_total_probability_of_one(backend, dtype):
    # The maximum and the log of the sum cancel: what is left is known to the rounding of the larger of them.
    p = np.random.default_rng(8).dirichlet(np.ones(50), size=40)
    x = np.log(p).astype(dtype)
    exact = reference.logsumexp(x)
    error = np.abs(as_float64(backend.call("logsumexp", x)) - exact.rounded())
    assert (error <= np.finfo(dtype).eps * np.abs(x.max(axis=-1))).all()


# Row 6: integers and booleans are float64 before anything is subtracted

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def integer_rows(dtype: str) -> list[Any]:
    info = np.iinfo(dtype)
    rows = [[info.min, info.max], [info.max, info.min, info.max], [1, 2, info.max], [0, 1, 2], [info.max, info.max - 1]]
    return [np.array(row, dtype) for row in rows]


@backends()
@pytest.mark.parametrize("function", ["softmax", "log_softmax", "logsumexp"])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers(backend, dtype, function):
    for x in integer_rows(dtype):
        got = np.asarray(backend.call(function, x))
        assert got.dtype == np.float64
        np.testing.assert_array_equal(got, np.asarray(backend.call(function, x.astype(np.float64))))


@backends()
@pytest.mark.parametrize("function", ["softmax", "log_softmax", "logsumexp"])
def test_booleans(backend, function):
    for x in (np.array([True, False]), np.array([True, True, True, False])):
        got = np.asarray(backend.call(function, x))
        assert got.dtype == np.float64
        np.testing.assert_array_equal(got, np.asarray(backend.call(function, x.astype(np.float64))))


def test_integers_that_wrap_elsewhere():
    assert sm.softmax(np.array([0, 200], np.uint8)).tolist() == pytest.approx([math.exp(-200), 1.0], rel=1e-15)
    assert sm.softmax(np.array([-128, 127], np.int8)).tolist() == pytest.approx([math.exp(-255), 1.0], rel=1e-15)
    assert sm.softmax(np.array([1, 2, 255], np.uint8))[2] == 1.0
    for dtype in INTEGERS:
        info = np.iinfo(dtype)
        with must_fail(), np.errstate(all="ignore"):
            x = np.array([info.min, info.max], dtype)
            wrapped = x - x.max()
            assert (np.exp(wrapped.astype(np.float64)) <= 1).all()
            assert wrapped[0] < 0


# precision="fast"


@backends("numpy")
@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("generator", GENERATORS["float32"])
def test_fast(backend, generator, n):
    x, truth = input_and_truth("float32", generator, n, "softmax")
    p = backend.call("softmax", x, precision="fast")
    distance = x.max(axis=-1, keepdims=True).astype(np.float64) - x
    assert_within(p, truth, 4 + distance)
    for row in p:
        assert abs(math.fsum(map(float, row)) - 1) <= 1e-6


@backends("numpy")
@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("position", ["first", "middle", "last"])
@pytest.mark.parametrize("low", [-15.0, -17.0])
def test_fast_on_long_skewed_rows(backend, low, position, axis):
    p = backend.call("softmax", skewed(1_000_000, low, position, axis), axis=axis, precision="fast")
    for column in as_float64(p).reshape(1_000_001, -1).T:
        assert abs(math.fsum(column) - 1) <= 1e-6


def test_fast_changes_float32_alone():
    for dtype in ("float16", "float64"):
        x = np.random.default_rng(3).normal(size=(5, 99)).astype(dtype)
        for function in (sm.softmax, sm.log_softmax, sm.logsumexp):
            np.testing.assert_array_equal(function(x, precision="fast"), function(x))
