"""Cross entropy of contiguous rows with every option, for float32 logits and bfloat16 ones (as uint16).

With z = softcap·tanh(x/softcap)/T and target weights a = w·((1 − ε)·q + ε·kept/K), the loss of a row is
Σ a_j (lse − z_j) + z_loss·lse², and its gradient in z is (Σa + 2 z_loss lse)·p − a, the entry of the largest p being
what the others leave. Arithmetic is float64, with exponentials good to 2⁻²⁸, and the gradient is rounded once.

Read: x once. Written: loss, what else is asked of a row, and the gradient, over x. Stored meanwhile, for one row: z and
exp(z − m), and a and the slope of the softcap where there are any.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
import math

import numpy as np
from numba import types
from numba.extending import overload

from .exp import exp_coarse, fold, fold_max
from .rows import buffer
from .simd import (
    LANES,
    add_integers,
    align_stack,
    bits_of_both,
    count,
    equal,
    first,
    fma,
    from_bits,
    inlined,
    kernel,
    larger,
    less,
    load,
    load_mask,
    load_part,
    narrow,
    narrow_bits,
    select,
    shift_left,
    shift_right,
    splat,
    store,
    store_part,
    to_bits,
    widen,
    widen_bits,
)

_FLOAT = np.float32(0)  # stands for its dtype
_INLINE = {"forceinline": True, "error_model": "numpy"}


def wide_logits(v):  # pragma: no cover - compiled
    """Logits as float64."""


def narrow_to(v, like):  # pragma: no cover - compiled
    """float64 v as `like` holds numbers, rounded once to nearest, ties to even."""


@overload(wide_logits, jit_options=_INLINE)
def _wide_logits(v):
    if v.dtype == types.float32:
        return lambda v: widen(v)
    if v.dtype == types.float64:
        return lambda v: v
    return lambda v: widen(from_bits(shift_left(widen_bits(v), splat(np.int32(16)))))


@overload(narrow_to, jit_options=_INLINE)
def _narrow_to(v, like):
    if like.dtype == types.float32:
        return lambda v, like: narrow(v)

    def to_bfloat16(v, like):
        # By way of float32: the second rounding can only differ from one of v where v lies within 2⁻²⁴ of a tie.
        x = narrow(v)
        bits = to_bits(x)
        odd = bits_of_both(shift_right(bits, splat(np.int32(16))), splat(np.int32(1)))
        rounded = shift_right(add_integers(add_integers(bits, splat(np.int32(0x7FFF))), odd), splat(np.int32(16)))
        quiet_nan = splat(np.int32(0x7FC0))
        return narrow_bits(select(equal(x, x), rounded, quiet_nan))

    return to_bfloat16


@inlined
def some(array, index, width):
    """16 elements, of which those beyond `width` are 0 and not read."""
    return load(array, index) if width == LANES else load_part(array, index, width, array.dtype.type(0))


@inlined
def kept_of(mask, index, width):
    """Which of 16 elements are there, and not masked."""
    if mask.size > 0:
        return load_mask(mask, index, width)
    return first(width)


@inlined
def _transform(x, start, n, temperature, cap, mask, one_mask, z, slope):
    """z of a row, padded with −inf, and the slope of the softcap; the largest z (nan left out), how many are kept.

    Without a softcap the temperature divides the logits in their own arithmetic, as everywhere.
    """
    divisor = splat(np.float64(np.float32(temperature)))
    lowest = splat(-np.inf)
    top = lowest
    kept = 0
    for i in range(0, n, LANES):
        width = min(LANES, n - i)
        here = kept_of(mask, i if one_mask else start + i, width)
        v = select(here, wide_logits(some(x, start + i, width)), splat(0.0))
        if cap > 0.0:
            u = v * splat(1.0 / cap)
            away = larger(u, -u)
            e = exp_coarse(away * splat(-2.0))
            whole = splat(1.0) + e
            t = (splat(1.0) - e) / whole
            t = select(less(u, splat(0.0)), -t, t)
            t = select(equal(u, u), t, u)
            store(slope, i, splat(4.0 / temperature) * e / (whole * whole))
            v = t * splat(cap / temperature)
        elif temperature != 1.0:
            v = widen(narrow(v / divisor))
        v = select(here, v, lowest)
        kept += count(here)
        store(z, i, v)
        top = larger(top, v)
    return fold_max(top), kept


@inlined
def _exponentials(z, n, m, e):
    """exp(z − m) in e; how many z equal m, the sum of the others' exponentials, and of e·(m − z)."""
    tops = splat(m)
    lowest = splat(-np.inf)
    nothing = splat(0.0)
    acc, spread = nothing, nothing
    ties = 0
    for i in range(0, n, LANES):
        v = load(z, i)
        w = select(less(lowest, v), exp_coarse(v - tops), nothing)
        w = select(equal(v, v), w, v)  # a nan is less than nothing, and must not be lost
        tie = equal(v, tops)
        ties += count(tie)
        store(e, i, w)
        acc = acc + select(tie, nothing, w)
        spread = spread + select(equal(w, nothing), nothing, w * (tops - v))
    return ties, fold(acc, nothing, splat(_FLOAT))[0], fold(spread, nothing, splat(_FLOAT))[0]


@inlined
def _target_weights(q, start, weight, mask, one_mask, n, share, rest, a):
    """a_j = w_j·(share·kept_j + rest·q_j), in a."""
    for i in range(0, n, LANES):
        width = min(LANES, n - i)
        here = kept_of(mask, i if one_mask else start + i, width)
        v = select(here, splat(share), splat(0.0))
        if q.size > 0:
            v = fma(splat(rest), wide_logits(some(q, start + i, width)), v)
        if weight.size > 0:
            v = v * some(weight, i, width)
        store(a, i, v)


@inlined
def _weighted_sums(a, z, n, m):
    """Sums of a and of a·(m − z); nothing comes of an a that is 0."""
    nothing = splat(0.0)
    total, loss = nothing, nothing
    for i in range(0, n, LANES):
        w = load(a, i)
        total = total + w
        loss = loss + select(equal(w, nothing), nothing, w * (splat(m) - load(z, i)))
    return fold(total, nothing, splat(_FLOAT))[0], fold(loss, nothing, splat(_FLOAT))[0]


@inlined
def _first_of(z, n, m):
    """The number of the first z that equals m; 0 if none does."""
    for i in range(0, n, LANES):
        if count(equal(load(z, i), splat(m))) > 0:
            for k in range(i, i + LANES):
                if z[np.uintp(k)] == m:
                    return k
    return 0


@inlined
def _fill(x, start, n, mask, one_mask, value):
    """A row that has no gradient: `value`, and 0 behind the mask."""
    like = splat(x.dtype.type(0))
    for i in range(0, n, LANES):
        width = min(LANES, n - i)
        here = kept_of(mask, i if one_mask else start + i, width)
        store_part(x, start + i, width, narrow_to(select(here, splat(value), splat(0.0)), like))


@inlined
def _set(x, index, value):
    """x[index] = value, rounded as vectors are."""
    store_part(x, index, 1, narrow_to(splat(value), splat(x.dtype.type(0))))


@kernel
def chunk_rows(x, n, label, q, weight, mask, temperature, cap, smoothing, z_loss, scale, loss, extras, wanted):
    """The loss of every row, and over x its gradient times `scale`, if `wanted`.

    label: class indices, -1 for a row to leave out, n for one out of range; or of length 0, then q: probabilities.
    weight: one number per class, or none. mask: one row for all, all rows, or none. temperature, scale: one number for
    all, or one per row. cap: 0 for none. extras: logsumexp, entropy, largest probability and its class of each row, or
    none.
    """
    align_stack()
    one_mask = mask.size == n and loss.size > 1
    dense = smoothing > 0.0 or q.size > 0
    z, e = buffer(n + LANES), buffer(n + LANES)
    a = buffer(n + LANES if dense else 0)
    slope = buffer(n + LANES if cap > 0.0 else 0)
    like = splat(x.dtype.type(0))
    for row in range(loss.size):
        start = row * n
        more = extras[4 * row : 4 * row + 4]
        y = label[row] if label.size > 0 else 0
        if y < 0:
            loss[row] = 0.0
            if more.size > 0:
                more[:] = 0.0
            if wanted:
                _fill(x, start, n, mask, one_mask, 0.0)
            continue
        if y >= n:
            loss[row] = np.nan
            if more.size > 0:
                more[:] = np.nan
            if wanted:
                _fill(x, start, n, mask, one_mask, np.nan)
            continue
        inverse = 1.0 / temperature[row % temperature.size]
        factor = scale[row % scale.size]
        m, kept = _transform(x, start, n, temperature[row % temperature.size], cap, mask, one_mask, z, slope)
        ties, rest, spread = _exponentials(z, n, m, e)
        if kept == 0 or not (math.isfinite(m) and math.isfinite(rest)):
            loss[row] = np.inf if kept == 0 else np.nan
            if more.size > 0:
                more[0] = m if rest == rest else np.nan
                more[1] = more[2] = 0.0 if kept == 0 else np.nan
                more[3] = 0.0
            if wanted:
                _fill(x, start, n, mask, one_mask, 0.0 if kept == 0 else np.nan)
            continue
        others = rest + (ties - 1)
        log_sum = math.log1p(others)
        lse = m + log_sum
        at = _first_of(z, n, m)
        if more.size > 0:
            more[0] = lse
            more[1] = log_sum + spread / (1.0 + others)
            more[2] = 1.0 / (1.0 + others)
            more[3] = at
        own = 1.0 - smoothing
        if weight.size > 0 and label.size > 0:
            own = own * weight[np.uintp(y)]
        a_top, a_rest, value = 0.0, 0.0, 0.0
        if dense:
            _target_weights(q, start, weight, mask, one_mask, n, smoothing / kept, 1.0 - smoothing, a)
            if label.size > 0:
                a[np.uintp(y)] += own
            a_top = a[np.uintp(at)]
            a[np.uintp(at)] = 0.0
            a_rest, value = _weighted_sums(a, z, n, m)
        elif y == at:
            a_top = own
        else:
            a_rest = own
            value = own * (m - z[np.uintp(y)]) if own != 0.0 else 0.0
        value += (a_rest + a_top) * log_sum if a_rest + a_top != 0.0 else 0.0
        loss[row] = value + z_loss * lse * lse
        if wanted:
            push = 2.0 * z_loss * lse
            p_top = 1.0 / (1.0 + others)
            per_e = splat((a_rest + a_top + push) * p_top)
            for i in range(0, n, LANES):
                width = min(LANES, n - i)
                g = load(e, i) * per_e
                if dense:
                    g = g - load(a, i)
                g = g * (load(slope, i) if cap > 0.0 else splat(inverse)) * splat(factor)
                g = select(kept_of(mask, i if one_mask else start + i, width), g, splat(0.0))
                if width == LANES:
                    store(x, start + i, narrow_to(g, like))
                else:
                    store_part(x, start + i, width, narrow_to(g, like))
            # Now the entries that the loop has wrong: the class that stands alone, and the largest p.
            if not dense and y != at and (mask.size == 0 or mask[np.uintp(y if one_mask else start + y)]):
                chain = slope[np.uintp(y)] if cap > 0.0 else inverse
                _set(x, start + y, ((a_rest + push) * p_top * e[np.uintp(y)] - own) * chain * factor)
            chain = slope[np.uintp(at)] if cap > 0.0 else inverse
            _set(x, start + at, p_top * ((a_rest - a_top * others) + push) * chain * factor)
