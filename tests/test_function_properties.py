"""Laws of the function on drawn inputs, and bits that neither layout, batch nor threads may change."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import softmax as sm
from softmax import _reference as reference
from tests.accuracy import find_backend, portable_kernels
from tests.ulp import EPS, ulp_error


@pytest.fixture(params=["numpy", "portable"], autouse=True)
def kernels(request):
    find_backend(request.param)
    with portable_kernels() if request.param == "portable" else contextlib.nullcontext():
        yield request.param


DTYPES = ("float16", "float32", "float64")
RANGE = {"float16": 6e4, "float32": 1e30, "float64": 1e300}
EXAMPLES = settings(max_examples=60)


@st.composite
def logits(draw: Any, dtypes: tuple[str, ...] = DTYPES, largest: float | None = None, max_size: int = 70) -> Any:
    """A row in one of the dtypes: of the whole range, near 0, with near ties, or on a grid."""
    dtype = draw(st.sampled_from(dtypes))
    n = draw(st.integers(1, max_size))
    bound = RANGE[dtype] if largest is None else largest
    width = np.dtype(dtype).itemsize * 8
    bound = float(np.dtype(dtype).type(bound))
    elements = draw(
        st.sampled_from(
            [
                st.floats(-bound, bound, width=width),
                st.floats(-min(30.0, bound), min(30.0, bound), width=width),
                st.integers(-40, 40).map(lambda k: k / 4),
                st.integers(0, 3).map(lambda k: 1 + k * EPS[dtype]),
            ]
        )
    )
    return draw(hnp.arrays(dtype, n, elements=elements))


def same_bits(a: Any, b: Any) -> None:
    """Equal dtype, shape and values, nan and the sign of 0 included."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    assert a.tobytes() == b.tobytes()


# Laws


@given(x=logits())
@EXAMPLES
def test_probabilities(x):
    p = sm.softmax(x)
    assert p.dtype == x.dtype
    assert ((p >= 0) & (p <= 1)).all()
    eps = EPS[x.dtype.name]
    # Each of the roundings is at most an ulp, that of a subnormal result half the smallest number.
    assert abs(math.fsum(map(float, p)) - 1) <= eps + len(p) * float(np.finfo(x.dtype).smallest_subnormal)


@given(x=logits(), data=st.data())
@EXAMPLES
def test_permutation(x, data):
    order = data.draw(st.permutations(range(len(x))))
    p, permuted = sm.softmax(x), sm.softmax(x[order])
    assert ulp_error(permuted, reference.Pair(p[order].astype(np.float64)), x.dtype.name).max() <= 2


@given(x=hnp.arrays(np.int64, st.integers(1, 60), elements=st.integers(-300, 300)), c=st.integers(-200, 200))
@pytest.mark.parametrize("dtype", DTYPES)
@EXAMPLES
def test_exact_shifts_change_no_bit(dtype, x, c):
    # Quarters up to 125 are exact in every one of the dtypes, and so is the sum.
    x, c = (x / 4).astype(dtype), np.dtype(dtype).type(c / 4)
    assert ((x + c).astype(np.float64) == x.astype(np.float64) + float(c)).all()
    same_bits(sm.softmax(x + c), sm.softmax(x))
    same_bits(sm.log_softmax(x + c), sm.log_softmax(x))


@given(x=logits())
@EXAMPLES
def test_monotone(x):
    order = np.argsort(x, kind="stable")
    for function in (sm.softmax, sm.log_softmax):
        y = function(x)[order]
        assert (np.nextafter(y[1:], y.dtype.type(np.inf)) >= y[:-1]).all()
        if x.dtype != np.float64:
            assert (y[1:] >= y[:-1]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_monotone_over_neighbours(dtype):
    # Every number in a run has to give a result no smaller than the one before it, whatever the exponential does.
    for start in (-0.5, -2.0, -10.0, -80.0):
        run = np.array([start], dtype)
        first = run.view("i4" if dtype == "float32" else "i8")[0]
        steps = np.arange(20_000, dtype=first.dtype)
        x = np.sort(np.concatenate([(first - steps * (1 + 37 * (dtype == "float64"))).view(dtype), [0]]).astype(dtype))
        p = sm.softmax(x)
        slack = np.spacing(p[1:]) if dtype == "float64" else 0.0
        assert (np.diff(p) >= -slack).all()


@given(x=logits())
@EXAMPLES
def test_the_largest_stays_the_largest(x):
    for y in (sm.softmax(x), sm.log_softmax(x)):
        assert y[x.argmax()] == y.max()


@given(x=logits(("float32", "float64"), largest=80.0))
@EXAMPLES
def test_the_logarithm_and_the_probability(x):
    p, log_p = sm.softmax(x).astype(np.float64), sm.log_softmax(x).astype(np.float64)
    eps = EPS[x.dtype.name]
    assert (np.abs(np.exp(log_p) - p) <= eps * (2 + 2 * np.abs(log_p)) * p + np.finfo(x.dtype).smallest_subnormal).all()
    assert (log_p <= 0).all()


@given(x=logits())
@EXAMPLES
def test_logsumexp_is_no_less_than_the_maximum(x):
    lse = sm.logsumexp(x)
    assert lse.dtype == x.dtype
    assert lse >= x.max()
    assert float(lse) <= float(x.max()) + math.log(len(x)) + 2 * float(np.spacing(np.abs(lse))) + 1e-2 * (
        x.dtype == np.float16
    )


@given(x=logits(), copies=st.integers(1, 5))
@EXAMPLES
def test_equal_entries_get_equal_results(x, copies):
    p = sm.softmax(np.repeat(x, copies)).reshape(-1, copies)
    assert (p == p[:, :1]).all()


@given(x=logits(("float32", "float64")), data=st.data())
@EXAMPLES
def test_a_mask_leaves_out(x, data):
    where = data.draw(hnp.arrays(bool, x.shape))
    behind = data.draw(st.sampled_from([0.0, np.nan, np.inf, -np.inf, float(np.finfo(x.dtype).max)]))
    hidden = np.where(where, x, behind).astype(x.dtype)
    p, log_p, lse = (f(hidden, where=where) for f in (sm.softmax, sm.log_softmax, sm.logsumexp))
    assert (p[~where] == 0).all()
    assert (log_p[~where] == -np.inf).all()
    if not where.any():
        assert lse == -np.inf
        return
    # The two sums differ in order, and what is near 0 is known to the rounding of the logits it is left of.
    kept, eps = x[where], EPS[x.dtype.name]
    error = ulp_error(p[where], reference.Pair(sm.softmax(kept).astype(np.float64)), x.dtype.name)
    assert error.max() <= 4
    slack = 4 * eps * float(np.abs(kept).max())
    np.testing.assert_allclose(log_p[where], sm.log_softmax(kept), rtol=4 * eps, atol=slack)
    np.testing.assert_allclose(lse, sm.logsumexp(kept), rtol=4 * eps, atol=slack)


@given(x=logits(("float64",), largest=300.0), temperature=st.sampled_from([0.25, 0.5, 2.0, 8.0]))
@EXAMPLES
def test_temperature_divides(x, temperature):
    same_bits(sm.softmax(x, temperature=temperature), sm.softmax(x / temperature))
    same_bits(sm.logsumexp(x, temperature=temperature), sm.logsumexp(x / temperature))


# Bits

FUNCTIONS = {"softmax": sm.softmax, "log_softmax": sm.log_softmax, "logsumexp": sm.logsumexp}
FUNCTION = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
DTYPE = pytest.mark.parametrize("dtype", DTYPES)
SHAPES = [(3, 1), (5, 2), (4, 7), (3, 8), (2, 17), (33, 10), (6, 33), (3, 130), (2, 1000), (2, 4099)]
SHAPE = pytest.mark.parametrize("shape", SHAPES, ids=str)


def sample(shape: tuple[int, ...], dtype: str) -> Any:
    return (5 * np.random.default_rng(shape[-1]).normal(size=shape)).astype(dtype)


def layouts(x: Any) -> dict[str, Any]:
    """The same numbers, laid out otherwise."""
    n, m = x.shape
    wide = np.full((2 * n, 3 * m + 1), np.nan, x.dtype)
    wide[::2, 1::3] = x
    backwards = np.ascontiguousarray(x[::-1, ::-1])
    odd = np.empty(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    odd[...] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    return {
        "strided": wide[::2, 1::3],
        "reversed": backwards[::-1, ::-1],
        "Fortran": np.asfortranarray(x),
        "unaligned": odd,
        "read-only": read_only,
        "big-endian": x.astype(x.dtype.newbyteorder(">")),
        "masked array": np.ma.array(x),
    }


@FUNCTION
@SHAPE
@DTYPE
def test_layout_changes_no_bit(dtype, shape, function):
    x = sample(shape, dtype)
    expected = function(x)
    for name, same in layouts(x).items():
        before = same.copy()
        got = function(same)
        assert got.dtype.newbyteorder("=") == expected.dtype, name
        same_bits(got.astype(expected.dtype), expected)
        np.testing.assert_array_equal(same, before)


@FUNCTION
@DTYPE
def test_a_broadcast_input_changes_no_bit(dtype, function):
    row = sample((1, 77), dtype)
    same_bits(function(np.broadcast_to(row, (9, 77))), np.repeat(np.asarray(function(row)), 9, axis=0))
    column = sample((9, 1), dtype)
    same_bits(function(np.broadcast_to(column, (9, 77))), function(np.repeat(column, 77, axis=1)))


@FUNCTION
@SHAPE
@DTYPE
def test_the_first_axis_of_the_transpose_changes_no_bit(dtype, shape, function):
    x = sample(shape, dtype)
    expected = np.asarray(function(x))
    for transposed in (x.T, np.ascontiguousarray(x.T)):
        got = np.asarray(function(transposed, axis=0))
        same_bits(np.ascontiguousarray(got.T), expected)


@FUNCTION
@DTYPE
def test_several_axes_are_one(dtype, function):
    x = sample((4, 5, 6), dtype)
    flat = np.asarray(function(np.ascontiguousarray(x.transpose(1, 0, 2)).reshape(5, 24)))
    got = np.asarray(function(x, axis=(0, 2)))
    same_bits(got if got.ndim == 1 else np.ascontiguousarray(got.transpose(1, 0, 2)).reshape(5, 24), flat)
    same_bits(np.asarray(function(x, axis=None)).reshape(-1), np.asarray(function(x.reshape(-1))).reshape(-1))


@FUNCTION
@SHAPE
@DTYPE
def test_a_row_of_a_batch_is_the_row_alone(dtype, shape, function):
    x = sample((40, shape[1]), dtype)
    whole = np.asarray(function(x))
    for count in (1, 2, 15, 17):
        same_bits(np.asarray(function(x[:count])), whole[:count])
    for row in (0, 7, 39):
        same_bits(np.asarray(function(x[row])), whole[row])


@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("shape", [(1, 300_000), (300_001, 1), (4099, 100), (97, 3000), (50_000, 7)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernels", ["numpy"], indirect=True)  # the portable ones use one thread
def test_the_number_of_threads_changes_no_bit(dtype, shape, axis, monkeypatch):
    x = sample(shape, dtype)
    where = np.random.default_rng(1).random(shape) < 0.7
    g = sample((shape[0], shape[1] + 1), dtype)[:, 1:]
    results = []
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("SOFTMAX_NUM_THREADS", threads)
        results.append(
            [
                *(function(x, axis=axis) for function in FUNCTIONS.values()),
                sm.softmax(x, axis=axis, where=where),
                sm.softmax(x, axis=axis, precision="fast"),
                sm.softmax_vjp(x, g, axis=axis),
                sm.log_softmax_vjp(x, g, axis=axis),
            ]
        )
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            same_bits(a, b)


# Where the result goes

LIKE_X = pytest.mark.parametrize("function", [sm.softmax, sm.log_softmax], ids=["softmax", "log_softmax"])


@LIKE_X
@SHAPE
@DTYPE
def test_out(dtype, shape, function):
    x = sample(shape, dtype)
    expected = function(x)
    whole = np.full((shape[0], 2 * shape[1]), np.nan, dtype)
    for out in (np.full(shape, np.nan, dtype), np.full(shape, np.nan, dtype, order="F"), whole[:, ::2], whole[:, ::-2]):
        assert function(x, out=out) is out
        same_bits(np.ascontiguousarray(out), expected)
    wider = np.full(shape, np.nan, np.float64)
    function(x, out=wider)
    np.testing.assert_array_equal(wider, expected.astype(np.float64))


@LIKE_X
@SHAPE
@DTYPE
def test_in_place(dtype, shape, function):
    x = sample(shape, dtype)
    for axis in (-1, 0):
        expected = function(x, axis=axis)
        for same in (x.copy(), np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2]):
            assert function(same, axis=axis, out=same) is same
            same_bits(np.ascontiguousarray(same), expected)


@LIKE_X
@DTYPE
def test_overlapping_memory(dtype, function):
    buffer = sample((12, 40), dtype)
    for source, target in (
        ((slice(0, 10), slice(0, 30)), (slice(1, 11), slice(0, 30))),
        ((slice(0, 10), slice(3, 33)), (slice(0, 10), slice(0, 30))),
    ):
        memory = buffer.copy()
        expected = function(memory[source].copy())
        function(memory[source], out=memory[target])
        same_bits(np.ascontiguousarray(memory[target]), expected)
    square = sample((30, 30), dtype)
    expected = function(square.copy())
    function(square, out=square.T)
    same_bits(np.ascontiguousarray(square.T), expected)


@FUNCTION
@SHAPE
def test_every_entry_is_written(shape, function, on_nan_memory):
    for dtype in DTYPES:
        x = sample(shape, dtype)
        for axis in (-1, 0):
            same_bits(on_nan_memory(function, x, axis=axis), function(x, axis=axis))
