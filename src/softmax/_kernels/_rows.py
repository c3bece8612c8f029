"""What every portable kernel starts from: rows split into maximum, shifted entries and their exponentials.

Read once: the logits. Kept: the shifted entries and their exponentials, in the dtype of the arithmetic.
Every sum over a row is a tree of elementwise additions, so its order is the same for every memory layout.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ._namespace import cast, itemsize, positions, wide_dtype

INF = float("inf")
NAN = float("nan")

_F = TypeVar("_F", bound=Callable[..., Any])


def quiet(function: _F) -> _F:
    """Silence NumPy's warnings: an overflow or a nan of the arithmetic is part of the policy."""

    @functools.wraps(function)
    def silent(*args: Any, **kwargs: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)

    return silent  # type: ignore[return-value]


class Row(NamedTuple):
    """Rows of z = x/temperature along one axis; what is reduced keeps the axis with length 1."""

    shifted: Any  # fl(z - top)
    error: Any  # z - top - shifted, or None where the arithmetic is wider than the input
    exp: Any  # exp(shifted)
    top: Any  # the maximum
    finite: Any  # whether the maximum is finite: the rows that have a softmax
    rest: Any  # sum of exp without one of the maxima, whose exp is 1
    rest_low: Any  # what the rounding of `rest` lost, or None


def split_rows(xp: Any, x: Any, axis: int, where: Any = None, temperature: float = 1.0) -> Row:
    """Shift the rows of `x` by their maximum, exactly, and sum their exponentials without it."""
    dtype = wide_dtype(xp, x)
    compensated = itemsize(xp, x.dtype) >= itemsize(xp, dtype)
    # Divided in the arithmetic of the logits: what softmax(x / T) computes, to the bit.
    z = cast(xp, x if temperature == 1.0 else x / temperature, dtype)
    if where is not None:
        z = xp.where(where, z, -INF)
    top = xp.max(z, axis=axis, keepdims=True)
    finite = xp.isfinite(top)
    safe_top = xp.where(finite, top, xp.zeros_like(top))
    shifted = z - safe_top
    exp = xp.exp(shifted)
    is_top = z == safe_top  # not shifted == 0: XLA may compute that difference with an fma here and without one there
    others = xp.where(is_top, 0.0, exp)
    error = None
    if compensated:
        error = difference_error(xp, z, safe_top, shifted)
        others = others + others * error
    rest, low = ordered_sum(xp, others, axis, compensated=compensated)
    ties = xp.sum(cast(xp, is_top, dtype), axis=axis, keepdims=True)
    return Row(shifted, error, exp, top, finite, rest + (ties - 1), low)


def difference_error(xp: Any, a: Any, b: Any, difference: Any) -> Any:
    """Return the rounding error of `difference` = fl(a - b) (TwoSum), 0 where it is not finite."""
    minus_b = difference - a
    error = (a - (difference - minus_b)) - (b + minus_b)
    return xp.where(xp.isfinite(error), error, xp.zeros_like(error))


def ordered_sum(xp: Any, a: Any, axis: int, *, compensated: bool = False) -> tuple[Any, Any]:
    """Sum along `axis`, which stays with length 1, as a tree: halves are added, an odd last entry waits.

    Returns the sum and, if compensated, the sum of the rounding errors of its additions (else None).
    """
    before = (slice(None),) * axis

    def part(values: Any, start: int, stop: int) -> Any:
        return values[(*before, slice(start, stop), ...)]

    n = a.shape[axis]
    low = xp.zeros_like(a) if compensated and n == 1 else None
    waiting: Any = None
    waiting_low: Any = None
    while n > 1:
        half = n // 2
        if n % 2:
            last, last_low = part(a, n - 1, n), None if low is None else part(low, n - 1, n)
            if waiting is None:
                waiting, waiting_low = last, last_low
            else:
                waiting, waiting_low = _add(waiting, waiting_low, last, last_low, compensated)
        left, right = part(a, 0, half), part(a, half, 2 * half)
        if low is None:
            a, low = _add(left, None, right, None, compensated)
        else:
            a, low = _add(left, part(low, 0, half), right, part(low, half, 2 * half), compensated)
        n = half
    return (a, low) if waiting is None else _add(a, low, waiting, waiting_low, compensated)


def _add(a: Any, a_low: Any, b: Any, b_low: Any, compensated: bool) -> tuple[Any, Any]:
    """Return a + b with the rounding error of the addition (TwoSum) and the errors carried so far."""
    total = a + b
    if not compensated:
        return total, None
    b_part = total - a
    low = (a - (total - b_part)) + (b - b_part)
    for carried in (a_low, b_low):
        low = low if carried is None else low + carried
    return total, low


def plain_sum(xp: Any, a: Any, axis: int, *, compensated: bool = False) -> Any:
    """`ordered_sum` with what its rounding lost added back."""
    total, low = ordered_sum(xp, a, axis, compensated=compensated)
    # An infinite entry leaves nan in the errors.
    return total if low is None else xp.where(xp.isfinite(low), total + low, total)


def log_rest(xp: Any, row: Row) -> Any:
    """Return the log of the sum of exp(z - top): log1p of the sum without the maximum, hence accurate near 0."""
    return xp.log1p(row.rest if row.rest_low is None else row.rest + row.rest_low)


def probabilities(xp: Any, row: Row) -> Any:
    """Divide exp(z - top) by its sum; meaningless in rows that are not `finite`.

    What the shift and the sum lost is folded in after the division: two roundings beside that of exp.
    """
    total = 1 + row.rest
    p = row.exp / total
    if row.error is None:
        return p
    part = total - 1
    low = (1 - (total - part)) + (row.rest - part) + row.rest_low
    return p + p * (row.error - low / total)


def log_probabilities(xp: Any, row: Row) -> Any:
    """Return shifted - log_rest, both of one sign; meaningless in rows that are not `finite`."""
    log_total = log_rest(xp, row)
    return row.shifted - log_total if row.error is None else row.shifted + (row.error - log_total)


def first_of(xp: Any, flags: Any, axis: int) -> Any:
    """Mark the first true entry of each row, and no other."""
    index = positions(xp, flags, axis)
    return index == xp.min(xp.where(flags, index, flags.shape[axis]), axis=axis, keepdims=True)


def first_top(xp: Any, row: Row, axis: int) -> Any:
    """Mark the first maximum of each row."""
    return first_of(xp, row.shifted == 0, axis)


def pick(xp: Any, mark: Any, values: Any, axis: int) -> Any:
    """Return the one entry of each row that is marked, with the axis kept."""
    return xp.sum(xp.where(mark, values, 0.0), axis=axis, keepdims=True)


def blank_bad_rows(xp: Any, row: Row, values: Any, where: Any, masked: float) -> Any:
    """Put nan in rows whose maximum is not finite, `masked` behind the mask whatever stands there."""
    values = xp.where(row.finite, values, NAN)
    return values if where is None else xp.where(where, values, masked)


# Products with J = diag(p) - p pᵀ. A cotangent is first shifted by its entry at the largest probability, which changes
# nothing in exact arithmetic (J·1 = 0) and removes the cancellation in g - <p, g>.


def unmasked(xp: Any, row: Row, g: Any, where: Any) -> Any:
    """`g` in the dtype of the arithmetic, 0 behind the mask."""
    g = cast(xp, g, row.shifted.dtype)
    return g if where is None else xp.where(where, g, 0.0)


def centred(xp: Any, row: Row, p: Any, g: Any, axis: int) -> Any:
    """Return g - <p, g>."""
    g = g - pick(xp, first_top(xp, row, axis), g, axis)
    return g - plain_sum(xp, p * g, axis, compensated=row.error is not None)


def apply_jacobian(xp: Any, row: Row, g: Any, axis: int) -> Any:
    """(diag(p) - p pᵀ) g."""
    p = probabilities(xp, row)
    product = p * centred(xp, row, p, g, axis)
    if g.shape[axis] != 2:
        return product
    # Two entries are opposite; rounded apart they would not cancel.
    is_top = first_top(xp, row, axis)
    return xp.where(is_top, -pick(xp, ~is_top, product, axis), product)


def residual(xp: Any, row: Row, a: Any, axis: int) -> Any:
    """Return a - p·sum(a), the entry at the largest probability from what the others leave.

    There a_k - p_k·sum(a) = p_k·(a_k·rest - sum of the other a), rest = (1 - p_k)/p_k: accurate when p_k is near 1.
    """
    is_top = first_top(xp, row, axis)
    a_top = pick(xp, is_top, a, axis)
    others = plain_sum(xp, xp.where(is_top, 0.0, a), axis, compensated=row.error is not None)
    p = probabilities(xp, row)
    return xp.where(is_top, p * (a_top * row.rest - others), a - p * (a_top + others))
