"""softmax, log_softmax and logsumexp: document, check, delegate."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._arrays import NUMPY, Layout, Library
from ._checks import (
    check_array,
    check_axes,
    check_dtype,
    check_out,
    check_precision,
    check_temperature,
    check_weights_of_sum,
    check_where,
)
from ._dispatch import kernels_for, rows
from ._typing import Array, ArrayLike, Axis, DType, Precision

__all__ = ["log_softmax", "logsumexp", "softmax"]

# The defaults, as objects: a call that leaves them alone is recognised by identity, which costs nothing and cannot
# call into foreign code. A call that spells a default out takes the general way, to the same values.
_LAST = -1
_ONE = 1.0
_ACCURATE: Precision = "accurate"
_FAST: Precision = "fast"
_F32, _F64 = np.dtype(np.float32), np.dtype(np.float64)
_ALIGNED_C = 0x101  # the flags C_CONTIGUOUS and ALIGNED
_ndarray = np.ndarray


def softmax(
    x: ArrayLike,
    /,
    *,
    axis: Axis = _LAST,
    where: ArrayLike | None = None,
    temperature: float = _ONE,
    dtype: DType | None = None,
    out: Array | None = None,
    precision: Precision = _ACCURATE,
) -> Any:
    r"""Turn logits into probabilities.

    .. math:: S_i(x) = \frac{\exp(x_i / T)}{\sum_j \exp(x_j / T)}

    Parameters
    ----------
    x : array
        Logits, of any shape and of any array library; or a number or nested lists of numbers, which count as NumPy.
        Integers and booleans are computed as float64. The mask of a ``numpy.ma`` array is taken as `where`.
    axis : int, tuple of int or None, default -1
        The axis, or axes taken together, along which the probabilities sum to 1. None means all of them.
    where : boolean array, optional
        True for the entries to use; broadcasts to the shape of `x`. The others get exactly 0, whatever stands there.
    temperature : float, default 1.0
        T, a finite number above 0 that divides the logits.
    dtype : dtype, optional
        The dtype of the result. Nothing is computed in a narrower one than that of `x`.
    out : numpy.ndarray, optional
        Where the result goes (NumPy only); of its shape, and of a dtype that holds it. It may be `x` itself.
    precision : {"accurate", "fast"}, default "accurate"
        "fast" computes NumPy float32 rows in float32 arithmetic: an error of up to 4 + abs(x_i − max x) ulp.

    Returns
    -------
    array
        Like `x`: its library, shape and floating dtype. A 0-d result of NumPy is a NumPy scalar.

    Raises
    ------
    ArrayTypeError
        If `x` is no array of real numbers (strings, objects, sparse or complex input).
    ArrayValueError
        If lists are ragged, `where` does not broadcast to `x`, or `out` has another shape or is read-only.
    AxisError
        If `axis` is out of range or names an axis twice.
    OptionError
        If another option is outside its range.

    See Also
    --------
    log_softmax : its logarithm, accurate where the probability is near 0 or 1.
    softmax_jacobian : its derivative.

    Notes
    -----
    The error is at most 1 ulp in float32 and 2 ulp in float64 (4 ulp on the portable kernels), subnormal results
    included, and 0.51 ulp in float16 and bfloat16; this holds for the rounded quotient x / T. A probability below the
    smallest subnormal number is returned as 0, and one nearer to 1 than the arithmetic resolves as 1; mathematically
    neither value is reached.

    A row of only −inf, or with +inf or nan, gives nan throughout and no warning. A fully masked row gives zeros.
    An empty `x` gives an empty result.

    The maximum is subtracted first, as in [1]_, but without rounding the difference.

    References
    ----------
    .. [1] P. Blanchard, D. J. Higham and N. J. Higham, "Accurately computing the log-sum-exp and softmax functions",
       IMA Journal of Numerical Analysis 41(4), 2021. :doi:`10.1093/imanum/draa038`

    Examples
    --------
    >>> import softmax as sm
    >>> sm.softmax([1.0, 2.0, 3.0]).round(4)
    array([0.09  , 0.2447, 0.6652])
    >>> sm.softmax([1.0, 2.0, 3.0], where=[True, True, False]).round(4)
    array([0.2689, 0.7311, 0.    ])
    """
    if (
        type(x) is _ndarray
        and axis is _LAST
        and where is None
        and temperature is _ONE
        and dtype is None
        and out is None
        and (precision is _ACCURATE or precision is _FAST)
        and ((d := x.dtype) is _F32 or d is _F64)
        and x.flags.num & _ALIGNED_C == _ALIGNED_C
        and x.size
        and x.ndim
    ):
        return rows.softmax(x) if precision is _ACCURATE else rows.softmax_fast(x)
    return _like_x("softmax", x, axis, where, temperature, dtype, out, precision)


def log_softmax(
    x: ArrayLike,
    /,
    *,
    axis: Axis = _LAST,
    where: ArrayLike | None = None,
    temperature: float = _ONE,
    dtype: DType | None = None,
    out: Array | None = None,
    precision: Precision = _ACCURATE,
) -> Any:
    r"""Turn logits into the logarithms of their softmax, in nats.

    .. math:: \log S_i(x) = x_i / T - \log \sum_j \exp(x_j / T)

    Parameters
    ----------
    x : array
        Logits, of any shape and of any array library; or a number or nested lists of numbers, which count as NumPy.
        Integers and booleans are computed as float64. The mask of a ``numpy.ma`` array is taken as `where`.
    axis : int, tuple of int or None, default -1
        The axis, or axes taken together, along which the probabilities sum to 1. None means all of them.
    where : boolean array, optional
        True for the entries to use; broadcasts to the shape of `x`. The others get −inf, whatever stands there.
    temperature : float, default 1.0
        T, a finite number above 0 that divides the logits.
    dtype : dtype, optional
        The dtype of the result. Nothing is computed in a narrower one than that of `x`.
    out : numpy.ndarray, optional
        Where the result goes (NumPy only); of its shape, and of a dtype that holds it. It may be `x` itself.
    precision : {"accurate", "fast"}, default "accurate"
        "fast" computes NumPy float32 rows in float32 arithmetic.

    Returns
    -------
    array
        Like `x`: its library, shape and floating dtype. Entries are 0 or less.

    Raises
    ------
    ArrayTypeError
        If `x` is no array of real numbers (strings, objects, sparse or complex input).
    ArrayValueError
        If lists are ragged, `where` does not broadcast to `x`, or `out` has another shape or is read-only.
    AxisError
        If `axis` is out of range or names an axis twice.
    OptionError
        If another option is outside its range.

    See Also
    --------
    softmax : the probabilities themselves.
    logsumexp : what is subtracted.

    Notes
    -----
    The maximum is left out of the sum and log1p closes it, so that the largest entry is accurate where its probability
    is near 1: for the logits [0, −40] it is −4.25e−18 and not 0. The error is at most 2 ulp.

    A row of only −inf, or with +inf or nan, gives nan throughout and no warning. A fully masked row gives −inf.

    Examples
    --------
    >>> import softmax as sm
    >>> sm.log_softmax([0.0, -40.0])
    array([-4.24835426e-18, -4.00000000e+01])
    """
    if (
        type(x) is _ndarray
        and axis is _LAST
        and where is None
        and temperature is _ONE
        and dtype is None
        and out is None
        and (precision is _ACCURATE or precision is _FAST)
        and ((d := x.dtype) is _F32 or d is _F64)
        and x.flags.num & _ALIGNED_C == _ALIGNED_C
        and x.size
        and x.ndim
    ):
        return rows.log_softmax(x) if precision is _ACCURATE else rows.log_softmax_fast(x)
    return _like_x("log_softmax", x, axis, where, temperature, dtype, out, precision)


def logsumexp(
    x: ArrayLike,
    /,
    *,
    axis: Axis = _LAST,
    b: ArrayLike | None = None,
    where: ArrayLike | None = None,
    temperature: float = _ONE,
    keepdims: bool = False,
    return_sign: bool = False,
    dtype: DType | None = None,
    precision: Precision = _ACCURATE,
) -> Any:
    r"""Take the logarithm of a sum of exponentials, in nats, without overflow.

    .. math:: \mathrm{lse}(x) = \log \sum_j b_j \exp(x_j / T)

    Parameters
    ----------
    x : array
        Real or complex, of any shape and of any array library; or a number or nested lists of numbers, which count as
        NumPy. Integers and booleans are computed as float64. The mask of a ``numpy.ma`` array is taken as `where`.
    axis : int, tuple of int or None, default -1
        The axis or axes to sum over. None means all of them.
    b : array, optional
        Factors of the exponentials, broadcast against `x`; they may be negative or complex. A factor of 0 drops its
        entry, be that infinite or nan.
    where : boolean array, optional
        True for the entries to sum; broadcasts to the shape of `x` (and `b`).
    temperature : float, default 1.0
        T, a finite number above 0 that divides `x`.
    keepdims : bool, default False
        Keep the axes that were summed over, with length 1.
    return_sign : bool, default False
        Return the logarithm of the modulus of the sum, and its sign (for complex numbers, its phase factor).
    dtype : dtype, optional
        The dtype of the result. Nothing is computed in a narrower one than that of `x`.
    precision : {"accurate", "fast"}, default "accurate"
        "fast" computes NumPy float32 rows in float32 arithmetic.

    Returns
    -------
    value : array
        In the floating dtype of `x` and `b`. A 0-d result of NumPy is a NumPy scalar.
    sign : array
        If `return_sign`: 1, −1, 0 for an empty or vanishing sum, nan where the value is nan.

    Raises
    ------
    ArrayTypeError
        If `x` or `b` is no array of numbers (strings, objects, sparse input).
    ArrayValueError
        If lists are ragged, or shapes do not broadcast.
    AxisError
        If `axis` is out of range or names an axis twice.
    OptionError
        If another option is outside its range.

    See Also
    --------
    log_softmax : ``x - logsumexp(x, keepdims=True)``, more accurate than that difference.

    Notes
    -----
    The largest term is left out of the sum and log1p closes it: [0, −40] gives 4.25e−18 and not 0. The error is at most
    2 ulp where all terms are positive and the result does not cancel against the maximum.

    The sum over no entry (an empty axis, a fully masked row) and over −inf alone is −inf; with +inf in a row it
    is +inf, with nan it is nan. A sum that is negative is nan unless `return_sign`. Complex numbers whose largest real
    part is infinite give what log and exp of C99, Annex G, give.

    Examples
    --------
    >>> import softmax as sm
    >>> float(sm.logsumexp([1000.0, 1000.0]))
    1000.6931471805599
    >>> [round(float(part), 6) for part in sm.logsumexp([1.0, 2.0], b=[1.0, -1.0], return_sign=True)]
    [1.541325, -1.0]
    """
    if (
        type(x) is _ndarray
        and axis is _LAST
        and b is None
        and where is None
        and temperature is _ONE
        and keepdims is False
        and return_sign is False
        and dtype is None
        and precision is _ACCURATE
        and ((d := x.dtype) is _F32 or d is _F64)
        and x.flags.num & _ALIGNED_C == _ALIGNED_C
        and x.size
        and x.ndim
    ):
        return rows.logsumexp(x)
    lib, x, mask = check_array(x, allow_complex=True)
    temperature, precision = check_temperature(temperature), check_precision(precision)
    if b is not None:
        x, b = check_weights_of_sum(lib, b, x)
    wanted = None if dtype is None else check_dtype(lib, dtype, allow_complex=lib.kind(x.dtype) == "complex")
    if wanted is not None:
        x = lib.cast(x, lib.promote(x.dtype, wanted))
    layout = check_axes(axis, tuple(x.shape))
    where = check_where(lib, where, mask, x)
    kernels = kernels_for(lib)
    result = kernels.logsumexp(
        layout.to_rows(lib, x),
        layout.axis,
        b=None if b is None else layout.to_rows(lib, b),
        where=None if where is None else layout.to_rows(lib, where),
        temperature=temperature,
        precision=precision,
        return_sign=return_sign,
    )

    def finish(value: Array) -> Any:
        value = lib.reshape(value, layout.kept()) if keepdims else value
        return lib.unwrap(value if wanted is None else _round_to(lib, value, wanted))

    if return_sign:
        value, sign = result
        return finish(value), finish(sign)
    return finish(result)


def _round_to(lib: Library, value: Array, dtype: DType) -> Array:
    """`value` in `dtype`; the modulus of a complex sum stays real."""
    if lib.kind(dtype) == "complex" and lib.kind(value.dtype) == "real":
        return value
    return lib.cast(value, dtype)


def _like_x(
    function: str,
    x: ArrayLike,
    axis: Any,
    where: ArrayLike | None,
    temperature: Any,
    dtype: DType | None,
    out: Array | None,
    precision: Any,
) -> Any:
    """The general way of softmax and log_softmax."""
    lib, x, mask = check_array(x)
    layout = check_axes(axis, tuple(x.shape))
    where = check_where(lib, where, mask, x)
    temperature, precision = check_temperature(temperature), check_precision(precision)
    wanted = x.dtype if dtype is None else check_dtype(lib, dtype)
    if wanted != x.dtype:
        x = lib.cast(x, lib.promote(x.dtype, wanted))
    if where is not None:
        where = layout.to_rows(lib, where)
    options = {"where": where, "temperature": temperature, "precision": precision}
    kernel = getattr(kernels_for(lib), function)
    if out is not None:
        check_out(lib, out, x, wanted)
        return _into(out, kernel, x, layout, wanted, options)
    result = layout.from_rows(lib, kernel(layout.to_rows(lib, x), layout.axis, **options))
    return lib.unwrap(lib.cast(result, wanted))


def _into(out: Array, kernel: Any, x: Array, layout: Layout, wanted: DType, options: dict[str, Any]) -> Array:
    """Let the kernel write to `out` where it can; else compute beside it and copy."""
    lib, where = NUMPY, options["where"]
    if where is not None and np.may_share_memory(out, where):
        options = {**options, "where": where.copy()}  # the kernels look after an overlap with x only
    source = layout.to_rows(lib, x)
    if x.dtype == out.dtype == wanted and out.flags.aligned:
        target = source if out is x else layout.to_rows(lib, out)
        if layout.in_place or np.may_share_memory(target, out):
            kernel(source, layout.axis, out=target, **options)
            return out
    result = layout.from_rows(lib, kernel(source, layout.axis, **options))
    out[...] = lib.cast(lib.cast(result, wanted), out.dtype)
    return out
