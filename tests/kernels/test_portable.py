"""The portable kernels on NumPy arrays, against the exact reference."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from softmax import _reference as reference
from softmax._kernels import _rows, portable
from softmax._typing import LossOptions
from tests.accuracy import GENERATORS, constant_softmax, logits, naive_log_softmax, naive_softmax, numpy_dtype
from tests.ulp import EPS, as_float64, assert_within, must_fail, ulp_error

INF, NAN = math.inf, math.nan
CASES = [(dtype, name) for dtype, generators in GENERATORS.items() for name in generators]


# Forward


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 17, 1000, 20_000])
@pytest.mark.parametrize(("dtype", "generator"), CASES, ids="-".join)
def test_error_bounds(dtype: str, generator: str, n: int) -> None:
    x = logits(dtype, generator, n)
    bound = {"float32": 1.0, "float64": 4.0}[dtype]
    assert_within(portable.softmax(x, 1), reference.softmax(x), bound)
    assert_within(portable.log_softmax(x, 1), reference.log_softmax(x), bound)
    truth = reference.logsumexp(x)
    # Where the result cancels against the maximum, half an ulp of the maximum is what is left.
    slack = np.spacing(np.abs(x).max(axis=1)) / np.spacing(np.abs(truth.rounded()).astype(dtype))
    assert_within(portable.logsumexp(x, 1), truth, bound + np.asarray(slack, float))


@pytest.mark.parametrize(("dtype", "factor"), [("float32", 1.0), ("float64", 4.0)])
def test_inputs_of_the_bounds_can_fail(dtype: str, factor: float) -> None:
    x = logits(dtype, "30 randn", 1000)
    for wrong in (naive_softmax, constant_softmax):
        with must_fail():
            assert_within(wrong(x), reference.softmax(x), factor)
    with must_fail():
        assert_within(naive_log_softmax(x), reference.log_softmax(x), factor)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@pytest.mark.parametrize("n", [1, 3, 1000, 70_000])
def test_half_precision(name: str, n: int) -> None:
    dtype = numpy_dtype(name)
    rng = np.random.default_rng(n)
    rows = [np.zeros(n), rng.normal(size=n), 5 * rng.normal(size=n)]
    x = np.asarray(rows).astype(dtype)
    wide = x.astype(np.float64)
    for function in ("softmax", "log_softmax", "logsumexp"):
        got = getattr(portable, function)(x, 1)
        assert got.dtype == dtype
        assert_within(got, getattr(reference, function)(wide), 0.51, name)


@pytest.mark.parametrize("where_top", ["first", "middle", "last"])
@pytest.mark.parametrize(("low", "n"), [(-15.0, 100_000), (-17.0, 1_000_000)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_long_skewed_rows_sum_to_one(dtype: str, low: float, n: int, where_top: str) -> None:
    x = np.full(n + 1, low, dtype)
    x[{"first": 0, "middle": n // 2, "last": n}[where_top]] = 0
    p = portable.softmax(x, 0)
    assert abs(math.fsum(p.tolist()) - 1) <= 1e-7
    if dtype == "float64":
        assert_within(p, reference.softmax(x), 2.0)
        assert_within(portable.log_softmax(x, 0), reference.log_softmax(x), 2.0)


@pytest.mark.parametrize("row", [[0.0, -40.0], [0.0, -18.0], [1e8, 1e8 + 8, 1e8 + 16], [-700.0, 0.0, -30.0]])
def test_logarithms_near_zero(row: list[float]) -> None:
    x = np.array(row)
    assert_within(portable.log_softmax(x, 0), reference.log_softmax(x), 2.0)
    if row[0] == 0.0:
        assert_within(portable.logsumexp(x, 0), reference.logsumexp(x), 2.0)
        with must_fail():
            assert_within(naive_log_softmax(x), reference.log_softmax(x), 2.0)


def test_longdouble_is_not_narrowed() -> None:
    if np.finfo(np.longdouble).eps == np.finfo(np.float64).eps:
        pytest.skip("longdouble is float64 here")
    x = np.array([0, 1, 2], np.longdouble)
    p = portable.softmax(x, 0)
    assert p.dtype == np.longdouble
    assert abs(p.sum() - 1) <= 2 * np.finfo(np.longdouble).eps
    assert p[2] != np.float64(p[2])


# Layout: the order of every sum is that of the positions, not of the memory.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [5, 128, 1001])
def test_layout_changes_no_bit(dtype: str, n: int) -> None:
    rng = np.random.default_rng(n)
    x = (5 * rng.normal(size=(6, n))).astype(dtype)
    g = rng.normal(size=(6, n)).astype(dtype)

    def run(x: Any, g: Any, axis: int) -> list[Any]:
        results = [f(x, axis) for f in (portable.softmax, portable.log_softmax, portable.logsumexp, portable.entropy)]
        return [*results, portable.softmax_vjp(x, g, axis), portable.log_softmax_vjp(x, g, axis)]

    expected = run(x, g, 1)
    wide = np.zeros((12, 3 * n), dtype)
    wide[::2, ::3] = x
    for name, other in {
        "Fortran": np.asfortranarray(x),
        "strided": wide[::2, ::3],
        "reversed": np.ascontiguousarray(x[:, ::-1])[:, ::-1],
    }.items():
        for got, want in zip(run(other, g, 1), expected, strict=True):
            assert np.array_equal(got, want), name
    for got, want in zip(run(x.T, g.T, 0), expected, strict=True):
        assert np.array_equal(got.T if got.ndim == 2 else got, want)
    for i in range(6):
        for got, want in zip(run(x[i], g[i], 0), expected, strict=True):
            assert np.array_equal(got, want[i])
    repeated = np.broadcast_to(x[0], (4, n))
    assert np.array_equal(portable.softmax(repeated, 1)[3], expected[0][0])


@pytest.mark.parametrize("n", [*range(1, 20), 1000, 4095])
def test_ordered_sum(n: int) -> None:
    rng = np.random.default_rng(n)
    a = rng.normal(size=(2, n, 3)) * 10.0 ** rng.integers(-12, 12, (2, n, 3))
    total, low = _rows.ordered_sum(np, a, 1, compensated=True)
    assert total.shape == low.shape == (2, 1, 3)
    plain, nothing = _rows.ordered_sum(np, a, 1)
    assert nothing is None
    assert np.array_equal(plain, total)
    for i, k in itertools.product(range(2), range(3)):
        left = math.fsum([*a[i, :, k], -total[i, 0, k], -low[i, 0, k]])
        assert abs(left) <= n * EPS["float64"] ** 2 * np.abs(a[i, :, k]).sum()


def test_out_may_be_the_input() -> None:
    x = np.random.default_rng(0).normal(size=(3, 8))
    expected = portable.softmax(x, 1)
    got = portable.softmax(x, 1, out=x)
    assert got is x
    assert np.array_equal(x, expected)


def test_inputs_stay_as_they_are() -> None:
    rng = np.random.default_rng(1)
    x, g = rng.normal(size=(2, 3, 8))
    where = rng.random((3, 8)) < 0.6
    copies = x.copy(), g.copy(), where.copy()
    for array in (x, g, where):
        array.flags.writeable = False
    portable.softmax_vjp(x, g, 1, where=where)
    portable.cross_entropy(x, np.abs(g), 1, LossOptions(where=where, label_smoothing=0.1, z_loss=0.1), want_grad=True)
    portable.logsumexp(x, 1, b=g, where=where, return_sign=True)
    assert all(np.array_equal(a, b) for a, b in zip((x, g, where), copies, strict=True))


# Special values


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    ("row", "lse"),
    [
        ([-INF, -INF], -INF),
        ([INF, 0], INF),
        ([INF, -INF], INF),
        ([INF, INF, 0], INF),
        ([NAN, 0], NAN),
        ([NAN, INF], NAN),
    ],
    ids=str,
)
def test_rows_without_a_softmax(dtype: str, row: list[float], lse: float) -> None:
    x = np.array([row, [0.0] * len(row)], dtype)
    with np.errstate(all="raise"):
        p, log_p, total = portable.softmax(x, 1), portable.log_softmax(x, 1), portable.logsumexp(x, 1)
        gradient = portable.softmax_vjp(x, np.ones_like(x), 1)
    assert np.isnan(p[0]).all()
    assert np.isnan(log_p[0]).all()
    assert np.array_equal(total[0], np.array(lse, dtype), equal_nan=True)
    assert np.isfinite(p[1]).all()
    assert np.isnan(gradient[0]).all()


def test_infinite_logits_beside_finite_ones() -> None:
    x = np.array([-INF, 0.0, 1.0])
    assert portable.softmax(x, 0)[0] == 0
    assert portable.log_softmax(x, 0)[0] == -INF
    assert_within(portable.softmax(x, 0)[1:], reference.softmax(x[1:]), 2.0)
    for f in (portable.softmax_vjp, portable.log_softmax_vjp, portable.log_softmax_jvp):
        assert np.isfinite(f(x, np.array([1.0, 2.0, 3.0]), 0)).all()


@pytest.mark.parametrize(
    ("dtype", "row"),
    [("float16", [6e4, -6e4, 6e4]), ("float32", [3e38, -3e38, 3e38]), ("float64", [1.7e308, -1.7e308])],
)
def test_a_shift_that_overflows(dtype: str, row: list[float]) -> None:
    x = np.array(row, dtype)
    with np.errstate(all="raise"):
        p, log_p = portable.softmax(x, 0), portable.log_softmax(x, 0)
    expected = [1.0, 0.0] if len(row) == 2 else [0.5, 0.0, 0.5]
    assert p.tolist() == expected
    assert log_p[1] == -INF or dtype == "float32"


MASKED = np.array([[NAN, INF, 1.0, 2.0], [NAN, INF, -INF, 0.0], [1.0, 2.0, 3.0, 4.0]])
MASK = np.array([[False, False, True, True], [False] * 4, [True] * 4])


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_what_stands_behind_the_mask_does_not_matter(temperature: float) -> None:
    options: dict[str, Any] = {"where": MASK, "temperature": temperature}
    clean = np.where(MASK, MASKED, 7.0)
    for f in (portable.softmax, portable.log_softmax, portable.logsumexp, portable.entropy):
        assert np.array_equal(f(MASKED, 1, **options), f(clean, 1, **options))
    p, log_p = portable.softmax(MASKED, 1, **options), portable.log_softmax(MASKED, 1, **options)
    assert (p[~MASK] == 0).all()
    assert (log_p[~MASK] == -INF).all()
    assert portable.logsumexp(MASKED, 1, **options)[1] == -INF
    assert_within(p[0, 2:], reference.softmax(MASKED[0, 2:] / temperature), 4.0)
    g = np.where(MASK, 1.0 + np.arange(4.0), NAN)
    for f in (portable.softmax_vjp, portable.log_softmax_vjp, portable.log_softmax_jvp):
        result = f(MASKED, g, 1, **options)
        assert (result[~MASK] == 0).all()
        assert np.isfinite(result).all()
        assert np.array_equal(result, f(clean, np.where(MASK, g, 0), 1, **options))


def test_a_masked_row_of_infinities_is_still_none() -> None:
    x, where = np.array([0.0, -INF, -INF]), np.array([False, True, True])
    assert np.array_equal(portable.softmax(x, 0, where=where), [0, NAN, NAN], equal_nan=True)


@pytest.mark.parametrize(("shape", "axis"), [((0,), 0), ((3, 0), 1), ((0, 3), 0), ((0, 3), 1)], ids=str)
def test_empty_axes(shape: tuple[int, ...], axis: int) -> None:
    x = np.zeros(shape)
    rows = shape[:axis] + shape[axis + 1 :]
    assert portable.softmax(x, axis).shape == portable.log_softmax(x, axis).shape == shape
    value, sign = portable.logsumexp(x, axis, return_sign=True)
    assert value.shape == sign.shape == rows
    assert (value == -INF).all()
    assert (sign == 0).all()
    assert portable.softmax_vjp(x, x, axis).shape == shape


# logsumexp with factors, signs and complex numbers


def test_signed_sums() -> None:
    rng = np.random.default_rng(0)
    x, b = 5 * rng.normal(size=(50, 9)), rng.normal(size=(50, 9))
    value, sign = portable.logsumexp(x, 1, b=b, return_sign=True)
    exact = [math.fsum(bi * math.exp(xi) for xi, bi in zip(*pair, strict=True)) for pair in zip(x, b, strict=True)]
    np.testing.assert_allclose(value, np.log(np.abs(exact)), rtol=1e-13)
    assert np.array_equal(sign, np.sign(exact))
    assert {-1.0, 1.0} == set(sign)
    plain = portable.logsumexp(x, 1, b=b)
    assert np.array_equal(np.isnan(plain), sign < 0)
    assert np.array_equal(plain[sign > 0], value[sign > 0])


@pytest.mark.parametrize(
    ("x", "b", "value", "sign"),
    [
        ([1.0, 1.0], [1.0, -1.0], -INF, 0.0),
        ([1.0, INF], [1.0, -1.0], INF, -1.0),
        ([INF, INF], [1.0, -1.0], NAN, NAN),
        ([1.0, NAN], [1.0, 0.0], 1.0, 1.0),
        ([1.0, 1e4], [1.0, 0.0], 1.0, 1.0),
        ([1.0, 2.0], [0.0, 0.0], -INF, 0.0),
        ([0.0, 1000.0], [1e300, 1e-300], 300 * math.log(10), 1.0),
        ([0.0, -40.0], [1.0, 1.0], 4.248354255291589e-18, 1.0),
        ([0.0, -40.0], [1.0, -1.0], -4.248354255291589e-18, 1.0),
    ],
    ids=str,
)
def test_signed_sums_at_the_edges(x: list[float], b: list[float], value: float, sign: float) -> None:
    with np.errstate(all="raise"):
        got = portable.logsumexp(np.array(x), 0, b=np.array(b), return_sign=True)
    np.testing.assert_allclose(got[0], value, rtol=4e-16)
    np.testing.assert_equal(got[1], sign)


INFINITIES = [
    complex(re, im) for re in (-INF, INF) for im in (0.0, -0.0, INF, -INF, 0.7533, 2.3562, 3.9270, 5.4978)
]  # the phases of the last four lie in the four quadrants


@pytest.mark.parametrize("first", INFINITIES, ids=str)
def test_complex_infinities_follow_c99(first: complex) -> None:
    for second in INFINITIES:
        x = np.array([first, second])
        with np.errstate(all="ignore"):
            expected = np.log(np.sum(np.exp(x)))
        np.testing.assert_equal(portable.logsumexp(x, 0), expected)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("dtype", "rtol"), [("complex64", 2e-7), ("complex128", 4e-15)])
def test_complex_sums(dtype: str, rtol: float, weighted: bool) -> None:
    rng = np.random.default_rng(3)
    x = (rng.uniform(1, 30, (20, 40)) + 1j * rng.uniform(1, 40, (20, 40))).astype(dtype)
    b = (rng.normal(size=(20, 40)) + 1j * rng.normal(size=(20, 40))).astype(dtype) if weighted else None
    terms = np.exp(x.astype(complex)) * (1 if b is None else b.astype(complex))
    total = terms.sum(axis=1)
    got = portable.logsumexp(x, 1, b=b)
    assert got.dtype == np.dtype(dtype)
    np.testing.assert_allclose(got, np.log(total), rtol=rtol, atol=rtol * 40)
    assert (np.abs(got.imag) <= np.pi * (1 + rtol)).all()
    value, sign = portable.logsumexp(x, 1, b=b, return_sign=True)
    assert not np.iscomplexobj(value)
    np.testing.assert_allclose(sign, total / np.abs(total), rtol=40 * rtol)


def test_a_tiny_phase_survives() -> None:
    got = portable.logsumexp(np.array([0, 2.2204460492503132e-17j]), 0)
    assert got.imag == pytest.approx(1.1102230246251566e-17, rel=1e-15, abs=0)
    small = portable.logsumexp(np.array([1e-3j, -40 + 1e-3j]), 0)
    assert small.real == pytest.approx(4.248354255291589e-18, rel=1e-13, abs=0)
    huge = portable.logsumexp(np.array([800 + 0j, complex(-INF, INF)]), 0)
    assert huge == 800


# Products with the derivative


def _cotangents(n: int, rng: Any) -> dict[str, Any]:
    return {"randn": rng.normal(size=n), "1e4 + randn": 1e4 + rng.normal(size=n)}


def _peaked(n: int, rng: Any) -> dict[str, Any]:
    skewed = np.full(n, -17.0)
    skewed[n // 3] = 0
    return {"randn": rng.normal(size=n), "20 randn": 20 * rng.normal(size=n), "skewed": skewed}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [2, 10, 1000, 30_000])
def test_vjp_and_jvp(dtype: str, n: int) -> None:
    rng = np.random.default_rng(n)
    eps = EPS[dtype]
    failures = 0
    for (x_name, x), (g_name, g) in itertools.product(_peaked(n, rng).items(), _cotangents(n, rng).items()):
        x, g = x.astype(dtype), g.astype(dtype)
        exact = reference.softmax_vjp(x, g).rounded()
        p = reference.softmax(x).rounded()
        spread = math.fsum(p * np.abs(g.astype(float) - float(g[p.argmax()])))
        bound = 2 * eps * (np.abs(exact).max() + p * spread)
        got = portable.softmax_vjp(x, g, 0)
        assert got.dtype == dtype
        assert (np.abs(got - exact) <= bound).all(), (x_name, g_name)
        assert abs(math.fsum(got.tolist())) <= n * eps * np.abs(exact).max()
        naive = naive_softmax(x)
        naive = naive * (g - (naive * g).sum())
        failures += bool((np.abs(naive - exact) > bound).any())
        for name in ("log_softmax_vjp", "log_softmax_jvp"):
            exact = getattr(reference, name)(x, g).rounded()
            got = getattr(portable, name)(x, g, 0)
            rest = p * np.abs(g).sum() if name == "log_softmax_vjp" else spread
            assert (np.abs(got - exact) <= 2 * eps * (np.abs(exact).max() + rest)).all(), (name, x_name, g_name)
    assert failures >= 2  # the formula everybody writes does not pass


def test_jvp_and_vjp_of_softmax_are_one_function() -> None:
    assert portable.softmax_jvp is portable.softmax_vjp


# Losses


OPTIONS = {
    "plain": LossOptions(),
    "weight": LossOptions(weight=np.array([0.5, 2.0, 0.0, 1.0, 3.0])),
    "smoothing": LossOptions(label_smoothing=0.1),
    "temperature": LossOptions(temperature=0.3),
    "softcap": LossOptions(softcap=2.0, temperature=2.0),
    "z_loss": LossOptions(z_loss=0.3),
    "all": LossOptions(
        weight=np.array([0.5, 2.0, 0.1, 1.0, 3.0]), label_smoothing=0.2, temperature=0.7, softcap=4.0, z_loss=0.01
    ),
}


def _loss_case(kind: str, dtype: str, shape: tuple[int, ...], axis: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(11)
    x = (4 * rng.normal(size=shape)).astype(dtype)
    rows = shape[:axis] + shape[axis + 1 :]
    if kind == "index":
        target = rng.integers(0, 5, rows)
    else:
        target = np.moveaxis(rng.dirichlet(np.ones(5), rows), -1, axis).astype(dtype)
    return x, target, rng.normal(size=shape).astype(dtype)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("kind", ["index", "probability"])
@pytest.mark.parametrize(
    ("dtype", "shape", "axis"), [("float32", (6, 5, 5), 1), ("float64", (5, 30), 0), ("float64", (30, 5), 1)]
)
def test_cross_entropy(options: LossOptions, kind: str, dtype: str, shape: tuple[int, ...], axis: int) -> None:
    x, target, v = _loss_case(kind, dtype, shape, axis)
    loss, gradient = portable.cross_entropy(x, target, axis, options, want_grad=True)
    assert loss.dtype == gradient.dtype == x.dtype
    exact = reference.cross_entropy(x, target, axis, options).rounded()
    np.testing.assert_allclose(loss, exact, rtol=8 * EPS[dtype])
    exact = reference.cross_entropy_grad(x, target, axis, options).rounded()
    scale = np.abs(exact).max()
    np.testing.assert_allclose(gradient, exact, rtol=0, atol=8 * EPS[dtype] * scale)
    exact = reference.cross_entropy_hvp(x, target, v, axis, options).rounded()
    product = portable.cross_entropy_hvp(x, target, v, axis, options)
    np.testing.assert_allclose(product, exact, rtol=0, atol=16 * EPS[dtype] * np.abs(exact).max())
    assert np.abs(product).max() > 0.05
    nothing = portable.cross_entropy(x, target, axis, options)
    assert nothing[1] is None
    assert np.array_equal(nothing[0], loss)


def test_masked_loss() -> None:
    rng = np.random.default_rng(5)
    x = 3 * rng.normal(size=(40, 6))
    where = rng.random((40, 6)) < 0.7
    where[:, 2] = True
    target = np.full(40, 2)
    options = LossOptions(where=where, label_smoothing=0.3, z_loss=0.1, softcap=5.0)
    behind = np.where(where, x, NAN)
    loss, gradient = portable.cross_entropy(behind, target, 1, options, want_grad=True)
    product = portable.cross_entropy_hvp(behind, target, np.where(where, x, NAN), 1, options)
    assert (gradient[~where] == 0).all()
    assert (product[~where] == 0).all()
    for i in range(40):
        kept = np.flatnonzero(where[i])
        row, label = x[i, kept], np.array(list(kept).index(2))
        plain = LossOptions(label_smoothing=0.3, z_loss=0.1, softcap=5.0)
        value, slope = portable.cross_entropy(row, label, 0, plain, want_grad=True)
        np.testing.assert_allclose(loss[i], value, rtol=1e-14)
        np.testing.assert_allclose(gradient[i, kept], slope, rtol=1e-12, atol=1e-15)


def test_fully_masked_and_impossible_targets() -> None:
    x, where = np.zeros((3, 3)), np.array([[False] * 3, [True, False, True], [True] * 3])
    loss, gradient = portable.cross_entropy(x, np.array([1, 1, 1]), 1, LossOptions(where=where), want_grad=True)
    assert loss[:2].tolist() == [INF, INF]
    assert (gradient[0] == 0).all()
    assert gradient[1, 1] == 0
    assert np.isfinite(loss[2])


def test_ignored_rows_and_labels_out_of_range() -> None:
    x = np.array([[1.0, 2.0], [NAN, INF], [1.0, 2.0]])
    options = LossOptions(ignore_index=-100, z_loss=0.1, label_smoothing=0.1)
    loss, gradient = portable.cross_entropy(x, np.array([0, -100, 5]), 1, options, want_grad=True)
    assert loss[1] == 0
    assert (gradient[1] == 0).all()
    assert np.isfinite(gradient[0]).all()
    assert np.isnan(loss[2])
    assert np.isnan(gradient[2]).any()
    assert (portable.cross_entropy_hvp(x, np.array([0, -100, 1]), np.ones_like(x), 1, options)[1] == 0).all()
    unsigned = portable.cross_entropy(x[:1], np.array([156], np.uint8), 1, LossOptions(ignore_index=-100))[0]
    assert np.isnan(unsigned).all()  # 156 is not -100


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_true_class_near_certainty(dtype: str) -> None:
    x = np.array([[30.0, 0.0], [20.0, 0.0], [0.0, 35.0]], dtype)
    target = np.array([0, 0, 1])
    loss, gradient = portable.cross_entropy(x, target, 1, LossOptions(), want_grad=True)
    assert_within(loss, reference.cross_entropy(x, target, 1, LossOptions()), 2.0)
    assert loss[0] == pytest.approx(9.357622968839e-14)
    exact = reference.cross_entropy_grad(x, target, 1, LossOptions())
    assert (ulp_error(gradient, exact) <= 4).all()
    naive = naive_softmax(x) - np.eye(2, dtype=dtype)[target]
    with must_fail():
        assert_within(naive, exact, 4.0)


def test_infinite_logits_with_no_target() -> None:
    x = np.array([[0.0, -INF, 1.0]])
    loss, gradient = portable.cross_entropy(x, np.array([[0.5, 0.0, 0.5]]), 1, LossOptions(), want_grad=True)
    assert np.isfinite(loss).all()
    assert np.isfinite(gradient).all()
    assert gradient[0, 1] == 0


@pytest.mark.parametrize("scale", [2.5, np.array([0.0, 1.0, -3.0], np.float32)], ids=["number", "array"])
def test_row_scale(scale: Any) -> None:
    rng = np.random.default_rng(0)
    x, v = rng.normal(size=(2, 3, 4)).astype(np.float32)
    target = np.array([0, 3, 1])
    one = portable.cross_entropy(x, target, 1, LossOptions(), want_grad=True)
    scaled = portable.cross_entropy(x, target, 1, LossOptions(), row_scale=scale, want_grad=True)
    assert np.array_equal(one[0], scaled[0])
    factor = np.broadcast_to(scale, 3)[:, None]
    np.testing.assert_allclose(scaled[1], one[1] * factor, rtol=3e-7)
    product = portable.cross_entropy_hvp(x, target, v, 1, LossOptions(), row_scale=scale)
    np.testing.assert_allclose(product, portable.cross_entropy_hvp(x, target, v, 1, LossOptions()) * factor, rtol=3e-7)


def test_half_precision_losses_are_float32() -> None:
    x = np.array([[11.0, 0.0], [1.0, 2.0]], np.float16)
    loss, gradient = portable.cross_entropy(x, np.array([0, 1]), 1, LossOptions(), want_grad=True)
    assert (loss.dtype, gradient.dtype) == (np.float32, np.float16)
    assert_within(loss, reference.cross_entropy(x.astype(float), np.array([0, 1]), 1, LossOptions()), 1.0)
    assert portable.entropy(x, 1).dtype == portable.kl_divergence(x, x, 1).dtype == np.float32


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("spread", [1.0, 20.0])
def test_entropy(dtype: str, spread: float) -> None:
    x = (spread * np.random.default_rng(2).normal(size=(30, 50))).astype(dtype)
    assert_within(portable.entropy(x, 1), reference.entropy(x), 4.0)
    assert portable.entropy(np.array([0.0, -INF]), 0) == 0
    assert np.isnan(portable.entropy(np.array([-INF, -INF]), 0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("step", [0.0, 1e-12, 1e-6, 1e-3, 0.3, 3.0, 30.0])
def test_kl_divergence(dtype: str, step: float) -> None:
    mpmath = pytest.importorskip("mpmath", reason="needs mpmath")
    rng = np.random.default_rng(7)
    x = (3 * rng.normal(size=(3, 30))).astype(dtype)
    y = (x + step * rng.normal(size=x.shape)).astype(dtype) + np.asarray(2.0, dtype)

    def exact_row(p: Any, q: Any) -> float:
        e, f = ([mpmath.exp(mpmath.mpf(float(v))) for v in row] for row in (p, q))
        shift = mpmath.log(mpmath.fsum(f) / mpmath.fsum(e))
        logs = [mpmath.mpf(float(a)) - mpmath.mpf(float(b)) + shift for a, b in zip(p, q, strict=True)]
        return float(mpmath.fsum(a * b for a, b in zip(e, logs, strict=True)) / mpmath.fsum(e))

    with mpmath.workprec(400):
        exact = [exact_row(p, q) for p, q in zip(x, y, strict=True)]
    got = portable.kl_divergence(x, y, 1)
    assert (got >= 0).all()
    np.testing.assert_allclose(got, exact, rtol=4 * EPS[dtype], atol=np.finfo(dtype).smallest_subnormal)
    if 0 < step < 1e-3 and dtype == "float64":
        naive = (naive_softmax(x) * (naive_log_softmax(x) - naive_log_softmax(y))).sum(axis=1)
        with must_fail():
            np.testing.assert_allclose(naive, exact, rtol=1e-9)


def test_kl_divergence_at_the_edges() -> None:
    p, q = np.array([0.0, -INF]), np.array([0.0, 0.0])
    assert portable.kl_divergence(p, q, 0) == pytest.approx(math.log(2), rel=1e-15)
    assert portable.kl_divergence(q, p, 0) == INF
    assert portable.kl_divergence(p, p, 0) == 0
    far = portable.kl_divergence(np.array([0.0, -900.0]), np.array([-900.0, 0.0]), 0)
    assert far == pytest.approx(900, rel=1e-15)
    where = np.array([True, False])
    assert portable.kl_divergence(q, np.array([3.0, NAN]), 0, where=where) == 0


def test_error_measure_sees_a_wrong_digit() -> None:
    x = logits("float64", "randn", 1000)
    p = portable.softmax(x, 1)
    error = ulp_error(p * (1 + 16 * EPS["float64"]), reference.softmax(x))
    assert error.max() > 4
    assert as_float64(p).dtype == np.float64
