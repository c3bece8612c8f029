"""What the public functions take and refuse: axes, shapes, dtypes, masks, out=; every message, and the short cut."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import softmax as sm
from softmax import _dispatch, _function
from tests.accuracy import portable_kernels

FUNCTIONS = ("softmax", "log_softmax", "logsumexp")
LIKE_X = FUNCTIONS[:2]
ALL = pytest.mark.parametrize("function", FUNCTIONS)
SHAPED = pytest.mark.parametrize("function", LIKE_X)


@pytest.fixture(params=["compiled", "portable"])
def kernels(request):
    """Both kernel sets for NumPy."""
    if request.param == "portable":
        with portable_kernels():
            yield
    else:
        pytest.importorskip("numba")
        yield


def call(function: str, x: Any, **options: Any) -> Any:
    return getattr(sm, function)(x, **options)


# The short cut for plain NumPy calls


@ALL
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1,), (8,), (3, 5), (2, 3, 40), (70, 1000)], ids=str)
def test_the_short_cut_gives_the_bits_of_the_general_way(kernels, function, dtype, shape, rng, monkeypatch):
    x = (5 * rng.normal(size=shape)).astype(dtype)
    short = call(function, x)
    monkeypatch.setattr(_function, "rows", None)
    general = call(function, x, temperature=float("1.0"), axis=x.ndim - 1)
    assert type(short) is type(general)
    assert short.dtype == general.dtype == dtype
    np.testing.assert_array_equal(short, general)


@ALL
def test_the_short_cut_is_taken(function, monkeypatch):
    class TakenError(Exception):
        pass

    def taken(x):
        raise TakenError

    monkeypatch.setattr(_function.rows, function, taken)
    plain = np.ones((2, 3))
    with pytest.raises(TakenError):
        call(function, plain)
    others: list[tuple[Any, dict[str, Any]]] = [
        ([1.0, 2.0], {}),
        (np.ones(3, np.float16), {}),
        (np.ones(3, int), {}),
        (plain.T, {}),
        (plain[:, ::2], {}),
        (np.ones((0, 3)), {}),
        (np.float64(1.0), {}),
        (np.array(1.0), {}),
        (np.ma.masked_array(plain), {}),
        (plain.astype(">f8"), {}),
        (np.frombuffer(b"\0" * 17, np.uint8)[1:].view(np.float64), {}),
        (plain, {"axis": 0}),
        (plain, {"where": True}),
        (plain, {"temperature": 2.0}),
        (plain, {"dtype": "float32"}),
        (plain, {"precision": "fast"}),
    ]
    for x, options in others:
        call(function, x, **options)  # does not raise


def test_the_kernels_are_chosen_anew_after_forget():
    x = np.array([1.0, 2.0])
    before = sm.softmax(x)
    with portable_kernels():
        np.testing.assert_allclose(sm.softmax(x), before, rtol=1e-15)
        assert "portable" in sm.show_config()["kernels"]
    np.testing.assert_array_equal(sm.softmax(x), before)


# Axes


@SHAPED
@pytest.mark.parametrize("axis", [(0,), (1, 2), (2, 0), (0, 1), (0, 1, 2), (-1, -3), None, ()], ids=str)
def test_several_axes_are_taken_together(kernels, function, axis, rng):
    x = rng.normal(size=(3, 4, 5))
    got = call(function, x, axis=axis)
    axes = tuple(range(3)) if axis is None else tuple(a % 3 for a in axis)
    order = [i for i in range(3) if i not in axes] + sorted(axes)
    rows = x.transpose(order).reshape(*(x.shape[i] for i in range(3) if i not in axes), -1)
    expected = call(function, rows).reshape([x.shape[i] for i in order]).transpose(np.argsort(order))
    np.testing.assert_array_equal(got, expected)
    total = np.exp(got) if function == "log_softmax" else got
    np.testing.assert_allclose(total.sum(axis=axes), 1.0, rtol=1e-14)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [0, -1, (0, 2), None, ()], ids=str)
def test_logsumexp_has_the_shape_of_a_numpy_reduction(kernels, axis, keepdims, rng):
    x = rng.normal(size=(3, 4, 5))
    got = sm.logsumexp(x, axis=axis, keepdims=keepdims)
    expected = np.log(np.exp(x).sum(axis=axis, keepdims=keepdims))
    assert np.shape(got) == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-14)


@ALL
@pytest.mark.parametrize("axis", [-1, 0, None, ()], ids=str)
@pytest.mark.parametrize("x", [3, 3.0, np.float32(3), np.array(3.0)], ids=["int", "float", "float32", "array"])
def test_a_single_number_has_one_element_on_its_axis(kernels, function, axis, x):
    got = call(function, x, axis=axis)
    assert isinstance(got, np.floating)
    assert got.dtype == (np.float32 if isinstance(x, np.float32) else np.float64)
    assert got == {"softmax": 1.0, "log_softmax": 0.0, "logsumexp": 3.0}[function]


@ALL
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3)], ids=str)
@pytest.mark.parametrize("axis", [-1, 0, None], ids=str)
def test_empty_arrays(kernels, function, shape, axis):
    got = call(function, np.ones(shape), axis=axis)
    if function == "logsumexp":
        assert np.shape(got) == np.sum(np.ones(shape), axis=axis).shape
        assert (np.asarray(got) == -np.inf).all()
    else:
        assert got.shape == shape


@ALL
@pytest.mark.parametrize(
    ("axis", "message"),
    [
        (2, r"axis 2 is out of range for an array of 2 dimensions\. Pass a number in \[-2, 2\)"),
        (-3, r"axis -3 is out of range"),
        ((0, 0), r"names an axis twice: got \(0, 0\)"),
        ((0, -2), r"names an axis twice"),
        (1.0, r"must be an integer, a tuple of integers or None; got 1\.0"),
        ([0], r"got \[0\]"),
        ("0", r"got '0'"),
        (True, r"got True"),
        ((0, None), r"got None"),
    ],
    ids=str,
)
def test_a_wrong_axis(function, axis, message):
    with pytest.raises(sm.AxisError, match=message) as caught:
        call(function, np.ones((2, 3)), axis=axis)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, IndexError)


@ALL
def test_a_number_has_no_axis_1(function):
    with pytest.raises(sm.AxisError, match="0 dimensions"):
        call(function, 1.0, axis=1)


# What is no array


@ALL
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ("abc", sm.ArrayTypeError, r"got str\. Pass an array of numbers"),
        (None, sm.ArrayTypeError, "got NoneType"),
        ({1.0: 2.0}, sm.ArrayTypeError, "got dict"),
        (range(3), sm.ArrayTypeError, r"got range\. Pass numpy\.asarray\(x\)"),
        (["a", "b"], sm.ArrayTypeError, "category names have to be encoded first"),
        (np.array([1.0, None]), sm.ArrayTypeError, r"dtype object and shape \(2,\).*x\.astype\(float\)"),
        ([1, 2**70], sm.ArrayTypeError, r"dtype object"),
        (np.zeros(2, "M8[s]"), sm.ArrayTypeError, r"datetime64\[s\].*Cast it"),
        (np.zeros(2, "m8[s]"), sm.ArrayTypeError, r"timedelta64\[s\]"),
        (np.zeros(2, [("a", float)]), sm.ArrayTypeError, "Pass one of its fields"),
        (np.zeros(2, "V4"), sm.ArrayTypeError, r"\|V4"),
        ([[1.0], [2.0, 3.0]], sm.ArrayValueError, "no rectangular array.*mask the padding with where="),
    ],
    ids=lambda v: type(v).__name__ if not isinstance(v, str) else "",
)
def test_what_is_no_array_of_numbers(function, x, error, message):
    with pytest.raises(error, match=message):
        call(function, x)


@SHAPED
def test_complex_numbers_have_no_softmax(function):
    with pytest.raises(sm.ArrayTypeError, match=r"x is complex.*logsumexp accepts complex numbers"):
        call(function, np.ones(2) * 1j)
    assert sm.logsumexp(np.ones(2) * 1j).dtype == np.complex128


@ALL
@pytest.mark.parametrize("kind", ["csr_array", "coo_matrix"])
def test_sparse_input_is_refused(function, kind):
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(sm.ArrayTypeError, match=r"Sparse input.*x\.toarray\(\)"):
        call(function, getattr(sparse, kind)(np.eye(3)))


@ALL
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_are_refused_with_what_to_do(function, library):
    frame = pytest.importorskip(library).DataFrame({"a": [1.0, 2.0]})
    with pytest.raises(sm.ArrayTypeError, match=r"DataFrame.*Pass x\.to_numpy\(\)"):
        call(function, frame)


@ALL
def test_tensors_that_are_not_dense_are_refused(function):
    torch = pytest.importorskip("torch")
    for tensor in (torch.eye(3).to_sparse(), torch.eye(3).to_sparse_coo()):
        with pytest.raises(sm.ArrayTypeError, match=r"not dense.*x\.to_dense\(\)"):
            call(function, tensor)
    with pytest.raises(sm.ArrayTypeError, match=r"float8_e5m2.*Cast it"):
        call(function, torch.ones(3).to(torch.float8_e5m2))


@ALL
def test_float8_and_int4_of_ml_dtypes_are_refused(function):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for name in ("float8_e4m3fn", "int4"):
        with pytest.raises(sm.ArrayTypeError, match=f"{name}.*Cast it"):
            call(function, np.ones(3).astype(getattr(ml_dtypes, name)))


# Dtypes and layouts that are taken

INTEGERS = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


@ALL
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_computed_as_float64(kernels, function, dtype):
    if dtype == "bool":
        x = np.array([True, False, True])
    else:
        limits = np.iinfo(dtype)
        x = np.array([limits.min, limits.max, limits.max - 1, 1], dtype)
    got = call(function, x)
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, call(function, x.astype(np.float64)))


@ALL
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble", "bfloat16"])
def test_floating_dtypes_stay(kernels, function, dtype, rng):
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    x = rng.normal(size=(3, 5)).astype(dtype)
    got = call(function, x)
    assert got.dtype == x.dtype
    expected = call(function, x.astype(np.float64))
    tolerance = {2: 1e-2, 4: 1e-6}.get(x.dtype.itemsize, 1e-14)
    np.testing.assert_allclose(got.astype(np.float64), expected, rtol=tolerance)


LAYOUTS = {
    "contiguous": lambda x: x,
    "Fortran": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "reversed": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "transposed": lambda x: x.T.copy().T,
    "read-only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    "other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
    "misaligned": lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape),
    "subclass": lambda x: x.view(np.memmap),
    "matrix": lambda x: x.view(np.matrix),
}


@ALL
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("axis", [-1, 0, None], ids=str)
def test_the_layout_changes_no_bit_and_the_caller_s_data_stays(kernels, function, dtype, layout, axis, rng):
    x = rng.normal(size=(6, 37)).astype(dtype)
    given = layout(x)
    before = given.tobytes()
    got = call(function, given, axis=axis)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, call(function, x, axis=axis))
    assert given.tobytes() == before


# where


@ALL
def test_masks_broadcast_and_combine_with_numpy_ma(kernels, function, rng):
    x, where = rng.normal(size=(4, 5)), np.array([True, False, True, True, False])
    full = np.broadcast_to(where, x.shape)
    expected = call(function, x, where=full)
    for same in (where, where.tolist(), where[None]):
        np.testing.assert_array_equal(call(function, x, where=same), expected)
    np.testing.assert_array_equal(call(function, np.ma.masked_array(x, ~full)), expected)
    columns = np.array([True, True, True, False, True])
    masked = np.ma.masked_array(x, ~np.broadcast_to(columns, x.shape))
    np.testing.assert_array_equal(call(function, masked, where=where), call(function, x, where=where & columns))
    assert type(call(function, masked)) is np.ndarray


@ALL
@pytest.mark.parametrize("hidden", [np.nan, np.inf, -np.inf, 1e308])
def test_what_stands_behind_a_mask_does_not_matter(kernels, function, hidden):
    x = np.array([1.0, hidden, 2.0])
    got = call(function, x, where=[True, False, True])
    visible = call(function, x[[0, 2]])
    if function == "logsumexp":
        assert got == visible
    else:
        np.testing.assert_array_equal(got[[0, 2]], visible)
        assert got[1] == (0 if function == "softmax" else -np.inf)


@ALL
def test_fully_masked_rows(kernels, function):
    got = call(function, np.array([[1.0, np.nan], [np.inf, 2.0]]), where=False)
    assert (got == {"softmax": 0.0}.get(function, -np.inf)).all()


SPECIAL = {
    "all -inf": ([-np.inf, -np.inf], -np.inf),
    "+inf": ([np.inf, 0.0], np.inf),
    "two +inf": ([np.inf, np.inf], np.inf),
    "both infinities": ([np.inf, -np.inf], np.inf),
    "nan": ([np.nan, 0.0], np.nan),
    "nan beside +inf": ([np.nan, np.inf], np.nan),
    "nan beside -inf": ([np.nan, -np.inf], np.nan),
}


@ALL
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("row", "total"), SPECIAL.values(), ids=SPECIAL)
@pytest.mark.parametrize("axis", [0, 1])
def test_rows_without_a_softmax(kernels, function, dtype, row, total, axis):
    x = np.array([row, [0.0, 0.0]], dtype)
    got = call(function, x if axis == 1 else x.T.copy(), axis=axis)
    got = got if function == "logsumexp" or axis == 1 else got.T
    if function == "logsumexp":
        np.testing.assert_array_equal(got[0], dtype(total))
    else:
        assert np.isnan(got[0]).all()
    assert np.isfinite(got[1]).all()


@ALL
@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        (np.ones(4, bool), sm.ArrayValueError, r"must broadcast to the shape of the logits, \(2, 3\); got \(4,\)"),
        (np.ones((5, 2, 3), bool), sm.ArrayValueError, r"got \(5, 2, 3\)"),
        (np.ones((2, 3), int), sm.ArrayTypeError, r"must be boolean.*int64.*where != 0"),
        ([1.0, 0.0, 1.0], sm.ArrayTypeError, "must be boolean"),
        ("abc", sm.ArrayTypeError, "got str"),
    ],
    ids=["size", "dimensions", "integers", "list of floats", "string"],
)
def test_a_wrong_mask(function, where, error, message):
    with pytest.raises(error, match=message):
        call(function, np.ones((2, 3)), where=where)


# Options


@ALL
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "must be a finite number above 0; got 0"),
        (0.0, "got 0.0"),
        (-1.0, "got -1.0"),
        (np.nan, "got nan"),
        (np.inf, "got inf"),
        (np.float32(-2), "above 0"),
        ("1", "got '1'"),
        (None, "got None"),
        (True, "got True"),
        (1j, "finite number"),
        (np.ones(2), r"must be a number; got numpy.ndarray.*divide the logits by it"),
        (np.array(2.0), "divide the logits by it"),
    ],
    ids=str,
)
def test_a_wrong_temperature(function, value, message):
    with pytest.raises(sm.OptionError, match=message):
        call(function, np.ones(3), temperature=value)


@ALL
@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int8(2)], ids=lambda v: type(v).__name__)
def test_a_temperature_of_any_real_type(kernels, function, value, rng):
    x = rng.normal(size=5)
    np.testing.assert_array_equal(call(function, x, temperature=value), call(function, x / 2))


def test_a_learned_temperature_is_refused_and_not_detached():
    torch = pytest.importorskip("torch")
    with pytest.raises(sm.OptionError, match="to learn a temperature, divide the logits"):
        sm.softmax(torch.ones(3), temperature=torch.tensor(2.0, requires_grad=True))


@ALL
@pytest.mark.parametrize("value", ["Fast", "", None, 1], ids=repr)
def test_a_wrong_precision(function, value):
    with pytest.raises(sm.OptionError, match="precision must be one of 'accurate', 'fast'"):
        call(function, np.ones(3), precision=value)


@ALL
@pytest.mark.parametrize("value", ["int64", int, "nonsense", "complex128", np.object_, 3], ids=repr)
def test_a_wrong_dtype(function, value):
    with pytest.raises(sm.OptionError, match="dtype must be a floating dtype of numpy"):
        call(function, np.ones(3), dtype=value)


@ALL
def test_dtype_rounds_the_result_and_never_the_input(kernels, function):
    x = np.array([1.0 + 2**-40, 1.0, 1e5])
    for dtype in ("float32", np.float16, np.dtype(np.float32)):
        with np.errstate(over="ignore"):
            expected = call(function, x).astype(dtype)
        np.testing.assert_array_equal(call(function, x, dtype=dtype), expected, strict=True)
    wide = call(function, x.astype(np.float32), dtype=np.float64)
    np.testing.assert_array_equal(wide, call(function, x.astype(np.float32).astype(np.float64)), strict=True)
    assert call(function, [1, 2], dtype="float32").dtype == np.float32


def test_unknown_keywords_and_positions_are_python_s_own_errors():
    with pytest.raises(TypeError):
        sm.softmax(np.ones(3), dim=0)
    with pytest.raises(TypeError):
        sm.softmax(np.ones(3), 0)


# out


@SHAPED
@pytest.mark.parametrize("axis", [-1, 0, (0, 2), (1, 2), None], ids=str)
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_out_takes_the_result_in_any_layout(kernels, function, axis, masked, rng):
    x = rng.normal(size=(4, 5, 6))
    options: dict[str, Any] = {"axis": axis, "where": rng.random(x.shape) < 0.7} if masked else {"axis": axis}
    expected = call(function, x, **options)
    targets = [
        np.full_like(x, np.nan),
        np.full((8, 5, 6), np.nan)[::2],
        np.full((6, 5, 4), np.nan).T,
        np.full(x.shape, np.nan, ">f8"),
        np.full(x.shape, np.nan, np.longdouble),
    ]
    for out in targets:
        assert call(function, x, out=out, **options) is out
        np.testing.assert_array_equal(out, expected)


@SHAPED
@pytest.mark.parametrize("axis", [-1, 0, None, (0, 1)], ids=str)
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_out_may_be_or_overlap_the_input(kernels, function, axis, masked, rng):
    data = rng.normal(size=(9, 40))
    options: dict[str, Any] = {"axis": axis, "where": rng.random((8, 40)) < 0.7} if masked else {"axis": axis}
    expected = call(function, data[:8].copy(), **options)
    same = data[:8].copy()
    assert call(function, same, out=same, **options) is same
    np.testing.assert_array_equal(same, expected)
    view = data[:8].copy()
    call(function, view, out=view[:], **options)
    np.testing.assert_array_equal(view, expected)
    for source, target in ((slice(0, 8), slice(1, 9)), (slice(1, 9), slice(0, 8))):
        shared = np.empty_like(data)
        shared[source] = data[:8]
        call(function, shared[source], out=shared[target], **options)
        np.testing.assert_array_equal(shared[target], expected)
    backwards = data[:8].copy()
    call(function, backwards, out=backwards[::-1], **options)
    np.testing.assert_array_equal(backwards[::-1], expected)


def test_out_may_overlap_the_mask():
    memory = np.array([1.0, 0.0, 1.0])
    mask = memory.view(bool)[::8]  # the lowest byte of each number
    memory[:] = [np.frombuffer(bytes([k, 0, 0, 0, 0, 0, 0, 0]))[0] for k in (1, 0, 1)]
    where = mask.copy()
    np.testing.assert_array_equal(
        sm.softmax([1.0, 2.0, 3.0], where=mask, out=memory), sm.softmax([1.0, 2, 3], where=where)
    )


@SHAPED
def test_out_takes_what_dtype_rounds_to(kernels, function):
    x, out = np.array([1.0, 2.0]), np.empty(2, np.float32)
    assert call(function, x, dtype="float32", out=out) is out
    np.testing.assert_array_equal(out, call(function, x).astype(np.float32))
    wide = np.empty(2)
    assert call(function, x.astype(np.float32), out=wide) is wide
    np.testing.assert_array_equal(wide, call(function, x.astype(np.float32)))


@SHAPED
def test_out_of_a_single_number_is_returned_itself(function):
    out = np.empty(())
    assert call(function, 2.0, out=out) is out
    assert out == (1.0 if function == "softmax" else 0.0)


def read_only(shape):
    out = np.empty(shape)
    out.flags.writeable = False
    return out


@SHAPED
@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        (np.empty(4), sm.ArrayValueError, r"must have the shape of the result, \(3,\); got \(4,\)"),
        (np.empty((1, 3)), sm.ArrayValueError, r"got \(1, 3\)"),
        (np.empty(3, np.float32), sm.ArrayTypeError, r"dtype float32 cannot hold.*float64.*dtype='float32'"),
        (np.empty(3, int), sm.ArrayTypeError, "dtype int64 cannot hold"),
        (np.empty(3, complex), sm.ArrayTypeError, "dtype complex128 cannot hold"),
        (np.empty(3, object), sm.ArrayTypeError, "dtype object cannot hold"),
        ([0.0, 0.0, 0.0], sm.ArrayTypeError, r"out must be a numpy\.ndarray; got list"),
        (np.ma.empty(3), sm.ArrayTypeError, "MaskedArray"),
        (read_only(3), sm.ArrayValueError, "out is read-only"),
        (np.lib.stride_tricks.as_strided(np.empty(1), (3,), (0,)), sm.ArrayValueError, "share memory"),
    ],
    ids=["size", "dimensions", "narrow", "integer", "complex", "object", "list", "masked", "read-only", "broadcast"],
)
def test_an_impossible_out(function, out, error, message):
    with pytest.raises(error, match=message):
        call(function, np.ones(3), out=out)


@SHAPED
def test_out_is_numpy_only(function):
    torch = pytest.importorskip("torch")
    with pytest.raises(sm.OptionError, match=r"out= is for NumPy arrays; the logits are of torch"):
        call(function, torch.ones(3), out=torch.ones(3))
    with pytest.raises(sm.ArrayTypeError, match=r"out must be a numpy\.ndarray; got torch"):
        call(function, np.ones(3), out=torch.ones(3))


# logsumexp alone


def test_the_factors_broadcast_both_ways(kernels, rng):
    x, b = rng.normal(size=(4, 1, 2)), rng.uniform(0.5, 2.0, size=(3, 1))
    np.testing.assert_allclose(sm.logsumexp(x, b=b, axis=1), np.log((b * np.exp(x)).sum(axis=1)), rtol=1e-14)
    np.testing.assert_allclose(sm.logsumexp(1.0, b=[1.0, 2.0]), 1 + np.log(3.0), rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_factors_that_are_integers_or_lists_take_the_dtype_of_x(kernels, dtype):
    x = np.zeros(2, dtype)
    for b in ([1, 2], [1.0, 2.0], np.array([1, 2])):
        assert sm.logsumexp(x, b=b).dtype == dtype
    assert sm.logsumexp(x, b=np.ones(2)).dtype == np.float64


def test_a_factor_of_zero_drops_its_entry(kernels):
    for hidden in (np.nan, np.inf, -np.inf):
        assert sm.logsumexp([hidden, 2.0], b=[0.0, 1.0]) == 2.0


def test_signs(kernels):
    value, sign = sm.logsumexp([1.0, 1.0], b=[1.0, -1.0], return_sign=True)
    assert (value, sign) == (-np.inf, 0.0)
    value, sign = sm.logsumexp(np.ones((2, 0)), return_sign=True, keepdims=True)
    assert value.shape == sign.shape == (2, 1)
    assert (value == -np.inf).all()
    assert (sign == 0).all()
    value, sign = sm.logsumexp(np.array([1.0, 2.0]), return_sign=True, dtype="float32")
    assert value.dtype == sign.dtype == np.float32
    assert np.isnan(sm.logsumexp([0.0], b=[-1.0]))


@pytest.mark.parametrize(
    ("b", "error", "message"),
    [
        (np.ones(4), sm.ArrayValueError, r"b of shape \(4,\) and x of shape \(3,\) do not broadcast"),
        (["a", "b", "c"], sm.ArrayTypeError, "b holds no numbers"),
        (np.ma.masked_array([1.0, 2.0, 3.0], [0, 0, 1]), sm.ArrayTypeError, r"b\.filled\(0\)"),
    ],
    ids=["shape", "strings", "masked"],
)
def test_wrong_factors(b, error, message):
    with pytest.raises(error, match=message):
        sm.logsumexp(np.ones(3), b=b)


# What explains a call


def test_explain_dispatch_names_the_kernel_and_the_reason():
    x = np.ones(3)
    found = sm.explain_dispatch(sm.softmax, x, axis=0)
    assert (found.function, found.library) == ("softmax", "numpy")
    assert str(found) == f"softmax runs {found.kernel}: {found.reason}."
    assert sm.explain_dispatch("softmax", x) == found
    with portable_kernels():
        found = sm.explain_dispatch(sm.cross_entropy_and_grad, x, 0)
        assert found.kernel == "softmax._kernels.portable_losses.cross_entropy"
        assert found.reason == "SOFTMAX_KERNELS=portable is set"


def test_explain_dispatch_of_another_library():
    strict = pytest.importorskip("array_api_strict")
    found = sm.explain_dispatch(sm.logsumexp, strict.ones(3))
    assert (found.library, found.kernel) == ("array_api_strict", "softmax._kernels.portable.logsumexp")


def test_explain_dispatch_refuses_what_the_call_would():
    with pytest.raises(sm.OptionError, match="function must be one of"):
        sm.explain_dispatch(np.exp, 1.0)
    with pytest.raises(sm.OptionError, match="function must be one of"):
        sm.explain_dispatch("nonsense", 1.0)
    with pytest.raises(sm.ArrayTypeError):
        sm.explain_dispatch(sm.softmax, "abc")
    with pytest.raises(TypeError):
        sm.explain_dispatch(sm.softmax, [1.0], nonsense=1)


def test_every_public_array_function_can_be_explained():
    taken = {"softmax_jvp": 2, "softmax_vjp": 2, "log_softmax_jvp": 2, "log_softmax_vjp": 2, "kl_divergence": 2}
    taken |= {"cross_entropy": 2, "cross_entropy_and_grad": 2, "cross_entropy_hvp": 3}
    functions = [n for n in sm.__all__ if n.startswith(("softmax", "log", "cross", "kl", "entropy"))]
    functions.remove("softmax_path")
    assert len(functions) == 15
    for name in functions:
        assert sm.explain_dispatch(name, *itertools.repeat([1.0], taken.get(name, 1))).kernel


def test_a_wrong_setting_of_the_kernels_is_named(monkeypatch):
    monkeypatch.setenv("SOFTMAX_KERNELS", "gpu")
    _dispatch.forget()
    try:
        with pytest.raises(sm.OptionError, match="SOFTMAX_KERNELS must be 'portable', 'auto' or unset; got 'gpu'"):
            sm.softmax(np.ones(3))
    finally:
        monkeypatch.undo()
        _dispatch.forget()


def test_show_config_says_what_is_there():
    config = sm.show_config()
    assert config["versions"]["numpy"] == np.__version__
    assert config["threads"] >= 1
    assert config["kernels"].startswith("softmax._kernels.")
