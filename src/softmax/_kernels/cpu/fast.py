"""softmax, log_softmax and logsumexp of contiguous float32 rows in float32 arithmetic: half the work, a few ulp.

The rounding of x - m costs half an ulp per unit of |x - m|. Sums run in float32 within blocks of BLOCK elements and in
float64 across blocks, which keeps |sum p - 1| below 1e-6 at any length. Exponentials carry a factor 2^40, so that none
is subnormal; they wait in out, which may be x.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
import math

import numpy as np

from .rows import logsumexp_of, row_max
from .simd import (
    LANES,
    add_integers,
    align_stack,
    both,
    count,
    equal,
    first,
    fma,
    from_bits,
    halves,
    inlined,
    kernel,
    lane,
    less,
    load,
    load_part,
    select,
    shift_left,
    splat,
    store,
    store_part,
    to_bits,
    widen,
)

BLOCK = 8 * LANES

_LOG2E = np.float32(1.4426950408889634)
_LN2 = np.float32(0.6931471805599453)
_ROUND = np.float32(12582912.0)  # 1.5 * 2^23: adding it leaves the nearest integer in the low bits
_LOWEST = np.float32(-114.0)  # exp of less is 0 in float32, whatever it is divided by
_SCALE = 2.0**40
_SCALE_BITS = np.int32((127 + 40) << 23)
_A2 = np.float32(0.49999993472900072)  # as in exp.py
_A3 = np.float32(0.16666520704059853)
_A4 = np.float32(0.041668385245298617)
_A5 = np.float32(0.0083687167640566239)
_A6 = np.float32(0.0013814690146285749)
_ONE = np.float32(1.0)
_ZERO = np.float32(0.0)


@inlined
def _exp(x, m):
    t = x - m
    t = select(less(t, splat(_LOWEST)), splat(_LOWEST), t)  # in this order a nan stays
    shifted = fma(t, splat(_LOG2E), splat(_ROUND))
    r = fma(shifted - splat(_ROUND), splat(-_LN2), t)
    q = fma(fma(fma(fma(splat(_A6), r, splat(_A5)), r, splat(_A4)), r, splat(_A3)), r, splat(_A2))
    p = fma(fma(q, r, splat(_ONE)), r, splat(_ONE))
    power = add_integers(shift_left(to_bits(shifted), splat(np.int32(23))), splat(_SCALE_BITS))
    return p * from_bits(power)  # and not a sum of their bits, in which a nan would be lost


@inlined
def _total(acc):
    a8, b8 = halves(acc)
    a4, b4 = halves(a8 + b8)
    a2, b2 = halves(a4 + b4)
    a1, b1 = halves(a2 + b2)
    return lane(a1 + b1, 0)


@inlined
def _sum(x, start, n, m, out, keep, ties_too):
    """(elements equal to m, scaled sum of the exponentials: without those of the maxima unless ties_too)."""
    whole = n // LANES * LANES
    tops = splat(m)
    acc = splat(0.0)
    ties = 0
    for block in range(0, whole, BLOCK):
        part = splat(_ZERO)
        for i in range(block, min(block + BLOCK, whole), LANES):
            v = load(x, start + i)
            e = _exp(v, tops)
            if keep:
                store(out, start + i, e)
            if not ties_too:
                tie = equal(v, tops)
                ties += count(tie)
                e = select(tie, splat(_ZERO), e)
            part = part + e
        acc = acc + widen(part)
    if whole < n:
        here = first(n - whole)
        v = load_part(x, start + whole, n - whole, m)
        e = select(here, _exp(v, tops), splat(_ZERO))
        if keep:
            store_part(out, start + whole, n - whole, e)
        if not ties_too:
            tie = both(equal(v, tops), here)
            ties += count(tie)
            e = select(tie, splat(_ZERO), e)
        acc = acc + widen(e)
    return ties, _total(acc)


@kernel
def softmax_rows(x, n, out):
    """p = exp(x - m) / sum."""
    align_stack()
    whole = n // LANES * LANES
    for start in range(0, x.size, n):
        m = row_max(x, start, n)
        _, total = _sum(x, start, n, m, out, True, True)
        factor = splat(np.float32(1.0 / total))
        for i in range(start, start + whole, LANES):
            store(out, i, load(out, i) * factor)
        if whole < n:
            rest = n - whole
            store_part(out, start + whole, rest, load_part(out, start + whole, rest, _ZERO) * factor)


@inlined
def _log_sum(x, start, n, m):
    ties, rest = _sum(x, start, n, m, x, False, False)
    if math.isinf(m):
        return np.nan
    return math.log1p(rest / _SCALE) if ties == 1 else math.log(ties + rest / _SCALE)


@kernel
def log_softmax_rows(x, n, out):
    """x - m - log(sum)."""
    align_stack()
    whole = n // LANES * LANES
    for start in range(0, x.size, n):
        m = row_max(x, start, n)
        tops = splat(m)
        log_sums = splat(np.float32(_log_sum(x, start, n, m)))
        for i in range(start, start + whole, LANES):
            store(out, i, (load(x, i) - tops) - log_sums)
        if whole < n:
            rest = n - whole
            store_part(out, start + whole, rest, (load_part(x, start + whole, rest, m) - tops) - log_sums)


@kernel
def logsumexp_rows(x, n, out):
    """m + log(sum), one number per row."""
    align_stack()
    for row in range(out.size):
        m = row_max(x, row * n, n)
        out[row] = logsumexp_of(x, row * n, n, m, _log_sum(x, row * n, n, m))
