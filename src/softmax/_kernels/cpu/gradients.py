"""Products with the Jacobian of softmax and log_softmax along contiguous rows.

softmax:      J v = p (v - <p, v>) = p (d - <p, d>) with d = v - v[argmax x]. The shift is neutral in exact arithmetic
              and removes the cancellation that a common offset of v, or a peaked p, would cause. J is symmetric.
log_softmax:  jvp = v - <p, v> = d - <p, d>,   vjp = g - p sum(g).

Read: x twice, the other operand twice. Written: out, once (float32) or twice (float64, where it holds the exponentials
meanwhile); out must not overlap v or g.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
import numpy as np

from .exp import (
    add,
    add_to_larger,
    deviation,
    exp_shifted,
    fold,
    narrow_like,
    quotient,
    reciprocal,
    scratch,
    two_sum,
    unit,
    wide,
)
from .rows import buffer, lane_start, rest_sum, row_max
from .simd import (
    LANES,
    align_stack,
    count,
    equal,
    first,
    fma,
    inlined,
    kernel,
    load,
    load_part,
    select,
    splat,
    store,
    store_part,
)


@inlined
def first_maximum(x, start, n, m):
    """The index in x of the first element equal to m; start if there is none."""
    tops = splat(m)
    for i in range(start, start + n, LANES):
        width = min(LANES, start + n - i)
        v = load(x, i) if width == LANES else load_part(x, i, width, m)
        if count(equal(v, tops)) > 0:
            for k in range(i, i + width):
                if x[np.uintp(k)] == m:
                    return k
    return start


@inlined
def weighted_sums(x, v, start, n, m, pivot, e, offset):
    """(S, error, D): S = sum e with e = exp(x - m), D = sum e (v - pivot) / S. Whole vectors of e are kept."""
    whole = n // LANES * LANES
    tops = splat(m)
    pivots = splat(pivot)
    begin = lane_start(n, tops)
    acc = splat(begin)
    error = splat(0.0)
    product = splat(0.0)
    rounding = splat(0.0)
    for i in range(0, whole, LANES):
        w = exp_shifted(load(x, start + i), tops)
        store(e, offset + i, w)
        acc, error = add_to_larger(acc, error, w, tops)
        product, rounding = add(product, rounding, w * (wide(load(v, start + i)) - pivots), tops)
    part = splat(0.0)
    if whole < n:
        rest = n - whole
        w = exp_shifted(load_part(x, start + whole, rest, m), tops)
        part = select(first(rest), w, part)
        acc, error = add_to_larger(acc, error, part, tops)
        d = wide(load_part(v, start + whole, rest, v.dtype.type(pivot))) - pivots
        product, rounding = add(product, rounding, part * d, tops)
    total, error1 = fold(acc, error, tops)
    total, error1 = two_sum(total - LANES * begin, error1)
    dot, rounding1 = fold(product, rounding, tops)
    high, low = reciprocal(total, error1, 1.0)
    return high, low, (dot + rounding1) * high, part


@inlined
def _prepared(x, v, start, n, out, memory):
    """What both products need: (m, where it is, e, its offset, its last part, 1/S and pivot + D as pairs)."""
    m = row_max(x, start, n)
    top = first_maximum(x, start, n, m)
    pivot = np.float64(v[np.uintp(top)])
    e, offset = scratch(memory, out, start)
    high, low, mean, part = weighted_sums(x, v, start, n, m, pivot, e, offset)
    centre, rest = two_sum(pivot, mean)
    return splat(m), top, e, offset, part, high, low, splat(centre), splat(rest)


@kernel
def softmax_vjp_rows(x, v, n, scale, out):
    """out = scale p (v - <p, v>)."""
    align_stack()
    whole = n // LANES * LANES
    memory = buffer(n if x.itemsize < 8 else 0)
    for start in range(0, x.size, n):
        tops, top, e, offset, part, high, low, centre, rest = _prepared(x, v, start, n, out, memory)
        highs, lows = splat(high * scale), splat(low * scale)
        for i in range(0, whole, LANES):
            d = deviation(load(v, start + i), centre, rest)
            store(out, start + i, quotient(load(e, offset + i) * d, highs, lows, tops))
        if whole < n:
            d = deviation(load_part(v, start + whole, n - whole, v.dtype.type(0)), centre, rest)
            store_part(out, start + whole, n - whole, quotient(part * d, highs, lows, tops))
        if n == 2:  # the two are opposite; rounded apart they would not cancel
            out[np.uintp(top)] = -out[np.uintp(2 * start + 1 - top)]


@kernel
def log_softmax_jvp_rows(x, v, n, scale, out):
    """out = scale (v - <p, v>)."""
    align_stack()
    whole = n // LANES * LANES
    memory = buffer(n if x.itemsize < 8 else 0)
    for start in range(0, x.size, n):
        tops, _, _, _, _, _, _, centre, rest = _prepared(x, v, start, n, out, memory)
        scales = splat(scale)
        for i in range(0, whole, LANES):
            store(out, start + i, narrow_like(deviation(load(v, start + i), centre, rest) * scales, tops))
        if whole < n:
            d = deviation(load_part(v, start + whole, n - whole, v.dtype.type(0)), centre, rest)
            store_part(out, start + whole, n - whole, narrow_like(d * scales, tops))


@inlined
def row_sum(g, start, n, like):
    """Sum of g[start : start + n] as a pair."""
    whole = n // LANES * LANES
    acc = splat(0.0)
    error = splat(0.0)
    for i in range(0, whole, LANES):
        acc, error = add(acc, error, wide(load(g, start + i)), like)
    if whole < n:
        acc, error = add(acc, error, wide(load_part(g, start + whole, n - whole, g.dtype.type(0))), like)
    return fold(acc, error, like)


@kernel
def log_softmax_vjp_rows(x, g, n, scale, out):
    """out = scale (g - p sum(g)); for the largest p, g (1 - p) - p (sum of the other g), which does not cancel."""
    align_stack()
    whole = n // LANES * LANES
    memory = buffer(n if x.itemsize < 8 else 0)
    for start in range(0, x.size, n):
        m = row_max(x, start, n)
        tops = splat(m)
        e, offset = scratch(memory, out, start)
        ties, rest, error, part = rest_sum(x, start, n, m, e, offset, True)
        total, rounding = two_sum(ties * unit(tops), rest)
        high, _ = reciprocal(total, rounding + error, 1.0)
        weight, weight_error = row_sum(g, start, n, tops)
        top = first_maximum(x, start, n, m)
        own = np.float64(g[np.uintp(top)])
        factors, scales = splat(-(weight + weight_error) * high), splat(scale)
        for i in range(0, whole, LANES):
            r = fma(load(e, offset + i), factors, wide(load(g, start + i)))
            store(out, start + i, narrow_like(r * scales, tops))
        if whole < n:
            r = fma(part, factors, wide(load_part(g, start + whole, n - whole, g.dtype.type(0))))
            store_part(out, start + whole, n - whole, narrow_like(r * scales, tops))
        others = ((ties - 1) * unit(tops) + (rest + error)) * high
        weight, rounding = two_sum(weight, -own)
        out[np.uintp(top)] = scale * (own * others - unit(tops) * high * (weight + (rounding + weight_error)))
