"""softmax, log_softmax and logsumexp along contiguous rows: x holds x.size / n rows of n elements.

Read: x twice (log_softmax three times), the second time from cache where a row fits. Written: out, once for float32
(the float64 exponentials of one row stay in a buffer), twice for float64 (they wait in out). A row longer than KEEP is
exponentiated twice and nothing is kept. out may be x.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
import math

import numpy as np

from .exp import (
    add,
    add_to_larger,
    exp_shifted,
    fold,
    fold_max,
    quotient,
    reciprocal,
    scratch,
    shifted_minus,
    two_sum,
    unit,
)
from .simd import (
    LANES,
    align_stack,
    both,
    count,
    equal,
    first,
    inlined,
    kernel,
    larger,
    load,
    load_mask,
    load_part,
    select,
    splat,
    store,
    store_part,
)

KEEP = 1 << 20  # elements of a float32 row whose exponentials are kept (8 MiB)


@inlined
def buffer(n):
    """At least n doubles that start at a cache line, so that no vector of them straddles two."""
    memory = np.empty(n + LANES + 8)
    return memory[(-(memory.ctypes.data >> 3)) & 7 :]


@inlined
def row_max(x, start, n):
    """The largest of x[start : start + n], nan left out."""
    whole = n // LANES * LANES
    lowest = x.dtype.type(-np.inf)
    top = larger(splat(lowest), load_part(x, start + whole, n - whole, lowest))
    for i in range(start, start + whole, LANES):
        top = larger(top, load(x, i))
    return fold_max(top)


@inlined
def lane_start(n, like):
    """What a partial sum begins with: a unit, no smaller than any term, lets a cheaper error-free addition serve.

    The units are taken off in the end, exactly. A sum of one term needs none.
    """
    return unit(like) if n > LANES else 0.0


@inlined
def exp_sum(x, start, n, m, e, offset, keep):
    """Sum of exp(x - m) by lanes, as (total, error); whole vectors are kept in e, the last part is returned."""
    whole = n // LANES * LANES
    tops = splat(m)
    begin = lane_start(n, tops)
    acc = splat(begin)
    error = splat(0.0)
    for i in range(0, whole, LANES):
        v = exp_shifted(load(x, start + i), tops)
        if keep:
            store(e, offset + i, v)
        acc, error = add_to_larger(acc, error, v, tops)
    part = splat(0.0)
    if whole < n:
        v = exp_shifted(load_part(x, start + whole, n - whole, m), tops)
        part = select(first(n - whole), v, part)
        acc, error = add_to_larger(acc, error, part, tops)
    total, rounding = fold(acc, error, tops)
    total, rounding = two_sum(total - LANES * begin, rounding)  # the difference is exact
    return total, rounding, part


@kernel
def softmax_rows(x, n, out):
    """p = exp(x - m) / sum."""
    align_stack()
    whole = n // LANES * LANES
    keep = x.itemsize == 8 or n <= KEEP
    memory = buffer(n if keep and x.itemsize < 8 else 0)
    for start in range(0, x.size, n):
        m = row_max(x, start, n)
        e, offset = scratch(memory, out, start)
        total, error, part = exp_sum(x, start, n, m, e, offset, keep)
        high, low = reciprocal(total, error, 1.0)
        tops, highs, lows = splat(m), splat(high), splat(low)
        for i in range(0, whole, LANES):
            v = load(e, offset + i) if keep else exp_shifted(load(x, start + i), tops)
            store(out, start + i, quotient(v, highs, lows, tops))
        if whole < n:
            store_part(out, start + whole, n - whole, quotient(part, highs, lows, tops))


@kernel
def softmax_masked_rows(x, mask, n, out):
    """softmax over the elements where mask is True; the others get 0, whatever they are."""
    align_stack()
    whole = n // LANES * LANES
    lowest = splat(x.dtype.type(-np.inf))
    nothing = splat(x.dtype.type(0))
    row = np.empty(n + LANES, x.dtype)
    memory = buffer(n if x.itemsize < 8 else 0)
    for start in range(0, x.size, n):
        for i in range(0, whole, LANES):
            store(row, i, select(load_mask(mask, start + i, LANES), load(x, start + i), lowest))
        if whole < n:
            v = load_part(x, start + whole, n - whole, x.dtype.type(0))
            store(row, whole, select(load_mask(mask, start + whole, n - whole), v, lowest))
        m = row_max(row, 0, n)
        e, offset = scratch(memory, out, start)
        total, error, part = exp_sum(row, 0, n, m, e, offset, True)
        high, low = reciprocal(total, error, 1.0)
        tops, highs, lows = splat(m), splat(high), splat(low)
        for i in range(0, whole, LANES):
            p = quotient(load(e, offset + i), highs, lows, tops)
            store(out, start + i, select(load_mask(mask, start + i, LANES), p, nothing))
        if whole < n:
            p = select(load_mask(mask, start + whole, n - whole), quotient(part, highs, lows, tops), nothing)
            store_part(out, start + whole, n - whole, p)


@inlined
def rest_sum(x, start, n, m, e, offset, keep):
    """(elements equal to m, sum of exp(x - m) over the others as a pair, the last part of the exponentials).

    All exponentials, those of the maxima included, are kept in e if asked. The sum is nan where m is infinite.
    """
    whole = n // LANES * LANES
    tops = splat(m)
    ties = 0
    acc = splat(0.0)
    error = splat(0.0)
    for i in range(0, whole, LANES):
        v = load(x, start + i)
        tie = equal(v, tops)
        w = exp_shifted(v, tops)
        if keep:
            store(e, offset + i, w)
        ties += count(tie)
        acc, error = add(acc, error, select(tie, splat(0.0), w), tops)
    part = splat(0.0)
    if whole < n:
        v = load_part(x, start + whole, n - whole, m)
        tie = equal(v, tops)
        part = exp_shifted(v, tops)
        ties += count(both(tie, first(n - whole)))
        acc, error = add(acc, error, select(tie, splat(0.0), part), tops)
    total, rounding = fold(acc, error, tops)
    return ties, np.nan if math.isinf(m) else total, rounding, part


@inlined
def log_of_sum(ties, total, rounding, like):
    """log of the sum of all, from `rest_sum`: accurate when only one term is not tiny."""
    rest = (total + rounding) / unit(like)
    return math.log1p(rest) if ties == 1 else math.log(ties + rest)


@inlined
def has_nan(x, start, n):
    found = False
    for i in range(start, start + n):
        found = found or x[np.uintp(i)] != x[np.uintp(i)]
    return found


@inlined
def logsumexp_of(x, start, n, m, log_sum):
    """m + log_sum; an infinite m decides, unless there is a nan behind it."""
    if math.isinf(m):
        return np.nan if has_nan(x, start, n) else np.float64(m)
    return np.float64(m) + log_sum


@kernel
def log_softmax_rows(x, n, out):
    """x - m - log(sum)."""
    align_stack()
    whole = n // LANES * LANES
    nothing = buffer(0)
    for start in range(0, x.size, n):
        m = row_max(x, start, n)
        tops = splat(m)
        ties, total, error, _ = rest_sum(x, start, n, m, nothing, 0, False)
        log_sums = splat(log_of_sum(ties, total, error, tops))
        for i in range(0, whole, LANES):
            store(out, start + i, shifted_minus(load(x, start + i), tops, log_sums, tops))
        if whole < n:
            v = load_part(x, start + whole, n - whole, m)
            store_part(out, start + whole, n - whole, shifted_minus(v, tops, log_sums, tops))


@kernel
def logsumexp_rows(x, n, out):
    """m + log(sum), one number per row."""
    align_stack()
    nothing = buffer(0)
    for row in range(out.size):
        m = row_max(x, row * n, n)
        ties, total, error, _ = rest_sum(x, row * n, n, m, nothing, 0, False)
        out[row] = logsumexp_of(x, row * n, n, m, log_of_sum(ties, total, error, splat(m)))
