"""What the public functions cannot show of the compiled kernels: every route gives the same bits."""

import ast
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba", reason="Numba is missing: no compiled kernels here")

from softmax._kernels import cpu, portable
from softmax._kernels.cpu import (
    columns,
    fast,
    gradients,
    layout,
    losses,
    rows,
    simd,
    threads,
)
from softmax._typing import LossOptions

DTYPES = [np.float32, np.float64]


def logits(shape, dtype, seed=0):
    """Peaked and flat rows, and some far below their maximum."""
    rng = np.random.default_rng(seed)
    scale = rng.choice([0.1, 3.0, 40.0], size=(*shape[:-1], 1))
    return np.ascontiguousarray(scale * rng.standard_normal(shape), dtype)


def by_single_rows(x):
    """softmax of each row alone, by the row kernel."""
    out = np.full(x.shape, np.nan, x.dtype)
    for row, result in zip(x, out, strict=True):
        rows.softmax_rows(row, row.size, result)
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 3, 8, 10, 15, 16, 17, 31, 32, 33, 48, 100])
def test_sixteen_short_rows_at_a_time_give_the_bits_of_single_rows(dtype, n):
    x = logits((48, n), dtype, seed=n)
    out = np.full(x.size, np.nan, dtype)
    columns.softmax_short_rows(x.reshape(-1), n, out)
    np.testing.assert_array_equal(out.reshape(x.shape), by_single_rows(x))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 10, 16, 17, 31])
def test_logarithms_of_short_rows_have_the_bits_of_long_ones(dtype, n):
    x = logits((48, n), dtype, seed=n)
    x[0], x[1], x[2], x[3, 0], x[4] = np.inf, -np.inf, 0, np.nan, x[4, 0]
    x[5, 0], x[5, -1] = np.nan, -np.inf
    for short, long, size in (
        (columns.log_softmax_short_rows, rows.log_softmax_rows, x.size),
        (columns.logsumexp_short_rows, rows.logsumexp_rows, len(x)),
    ):
        got, expected = np.zeros(size, dtype), np.ones(size, dtype)
        short(x.reshape(-1), n, got)
        long(x.reshape(-1), n, expected)
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "inner"), [(1, 5), (2, 16), (7, 17), (16, 3), (17, 40), (33, 1), (300, 19)])
def test_columns_give_the_bits_of_single_rows(dtype, n, inner):
    x = np.ascontiguousarray(np.moveaxis(logits((3, inner, n), dtype), -1, 1))
    out = np.full(x.size, np.nan, dtype)
    columns.softmax_columns(x.reshape(-1), n, inner, out)
    expected = by_single_rows(np.ascontiguousarray(np.moveaxis(x, 1, -1)).reshape(-1, n)).reshape(3, inner, n)
    np.testing.assert_array_equal(np.moveaxis(out.reshape(x.shape), 1, -1), expected)


def test_exponentials_computed_twice_equal_those_kept():
    n = rows.KEEP // columns.LANES + 3  # columns of this length are exponentiated twice, rows are not
    x = np.ascontiguousarray(logits((5, n), np.float32).T)
    out = np.empty(x.size, np.float32)
    columns.softmax_columns(x.reshape(-1), n, 5, out)
    np.testing.assert_array_equal(out.reshape(x.shape).T, by_single_rows(np.ascontiguousarray(x.T)))


def test_a_row_too_long_to_keep():
    x = logits((1, rows.KEEP + 7), np.float32)[0]
    out = np.full_like(x, np.nan)
    rows.softmax_rows(x, x.size, out)
    e = np.exp(x.astype(np.float64) - x.max())
    np.testing.assert_allclose(out, (e / e.sum()).astype(np.float32), rtol=2e-7, atol=1.5e-45)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 5, 16, 37, 64])
def test_masked_rows_give_the_bits_of_minus_infinity(dtype, n):
    x = logits((9, n), dtype)
    mask = np.random.default_rng(n).random(x.shape) > 0.5
    mask[0], mask[1] = False, True
    hidden = np.where(mask, x, np.nan)
    out = np.full(x.size, np.nan, dtype)
    rows.softmax_masked_rows(hidden.reshape(-1), mask.reshape(-1), n, out)
    expected = by_single_rows(np.where(mask, x, -np.inf).astype(dtype))
    expected[~mask.any(axis=1)] = 0
    np.testing.assert_array_equal(out.reshape(x.shape), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_change_no_bit(dtype, monkeypatch):
    x = logits((1001, 101), dtype)
    results = []
    for count in ("1", "2", "7"):
        monkeypatch.setenv("SOFTMAX_NUM_THREADS", count)
        results.append((cpu.softmax(x, 1), cpu.softmax(x, 0), cpu.log_softmax(x, 1), cpu.logsumexp(x, 1)))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["index", "probability"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_loss_with_options_is_that_of_one_block(axis, kind):
    rng = np.random.default_rng(axis)
    x = rng.normal(size=(40, 41, 42)).astype(np.float32)  # more than one block
    assert x.size > 2 * layout.BLOCK
    rows_of = tuple(np.delete(x.shape, axis))
    target = rng.integers(0, 40, rows_of) if kind == "index" else rng.random(x.shape)
    where = rng.random(x.shape) < 0.9
    where[0], where[:, 0], where[..., 0] = True, True, True
    if kind == "index":
        np.put_along_axis(where, np.expand_dims(target, axis), True, axis)
    options = LossOptions(label_smoothing=0.1, where=where, temperature=2.0, softcap=5.0, z_loss=0.01)
    scale = rng.random(rows_of)
    for given in (None, 0.5, scale):
        got = cpu.cross_entropy(x, target, axis, options, row_scale=given, want_grad=True)
        expected = portable.cross_entropy(x, target, axis, options, row_scale=given, want_grad=True)
        for a, b in zip(got, expected, strict=True):
            assert a.dtype == b.dtype == np.float32
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
    loss, gradient = cpu.cross_entropy(x, target, axis, options)
    np.testing.assert_allclose(loss, expected[0], rtol=1e-6)
    assert gradient is None


def test_shares_cover_all_rows_once(monkeypatch):
    monkeypatch.setenv("SOFTMAX_NUM_THREADS", "3")
    seen = []
    threads.over_rows(lambda start, stop: seen.append((start, stop)), 103, 10 * threads.SHARE)
    edges = sorted(seen)
    assert len(edges) == 3
    assert edges[0][0] == 0
    assert edges[-1][1] == 103
    assert all(a[1] == b[0] for a, b in pairwise(edges))


def test_an_error_in_a_thread_reaches_the_caller(monkeypatch):
    monkeypatch.setenv("SOFTMAX_NUM_THREADS", "3")

    def task(start, stop):
        if stop == 100:
            raise ValueError("from a thread")

    with pytest.raises(ValueError, match="from a thread"):
        threads.over_rows(task, 100, 10 * threads.SHARE)


def test_read_only_memory_is_read_where_it_lies():
    x = logits((50, 20), np.float64)
    x.flags.writeable = False
    np.testing.assert_array_equal(cpu.softmax(x, 1), by_single_rows(x.copy()))
    assert np.shares_memory(cpu._flat(x), x)
    assert not x.flags.writeable


def test_the_cache_knows_every_source_of_the_folder():
    kernels = [rows.softmax_rows, columns.softmax_columns, gradients.softmax_vjp_rows, losses.cross_entropy_rows]
    for kernel in (*kernels, fast.softmax_rows):
        assert kernel._cache._cache_file._source_stamp == simd._sources()


def test_without_a_place_to_cache_a_kernel_is_compiled_all_the_same(monkeypatch):
    def no_place(self):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr("numba.core.dispatcher.Dispatcher.enable_caching", no_place)
    kernel = simd.kernel(rows.logsumexp_rows.py_func)
    out = np.empty(1)
    kernel(np.zeros(4), 4, out)
    assert out[0] == pytest.approx(np.log(4), rel=1e-15)


def test_every_kernel_aligns_its_stack():
    found = 0
    for path in Path(cpu.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            marks = getattr(node, "decorator_list", [])
            if any(isinstance(mark, ast.Name) and mark.id == "kernel" for mark in marks):
                found += 1
                first = node.body[1]
                assert ast.unparse(first) == "align_stack()", f"{path.name}: {node.name}"
    assert found >= 10
