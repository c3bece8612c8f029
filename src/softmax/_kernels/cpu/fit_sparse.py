"""Passes over a sparse X (CSR): a row at a time, its logits in a buffer of the first-level cache, never in memory.

Coefficients lie with the features first, (d, R·S), S = K rounded up to a register with zeros behind K; constants,
(R·S,), and gradients likewise. A buffer of logits has R rows of L ≥ S numbers, L a multiple of 16; logits behind the
classes are set to −inf, so that they have probability 0. `goal` is (labels, soft, weights, offset).

Neighbouring rows that are equal have one set of logits, and one row of the gradient to add to: they are taken
together, unless there are offsets or probabilities to fit, which tell them apart.

Read: X once, and the rows of the coefficients that its entries name. Written: those of the gradient, and the
probabilities, (n, K).
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
import math

import numpy as np
from numpy import uintp as at

from .fit_vectors import (
    add_to,
    exp_below,
    inlined,
    inner,
    lanes_of,
    load_register,
    load_wide,
    max_lanes,
    same,
    store_any,
    sum_lanes,
    width_of,
)
from .simd import LANES, align_stack, equal, fma, kernel, larger, select


@inlined
def _logits_of(values, columns, first, last, w, stride, start, constant, z, to, size):
    """z[to ...] = constant + Σ values · rows of w, `size` numbers from column `start` on: 8, 4, 2 or 1 registers."""
    lanes = lanes_of(w)
    k = 0
    while k < size:
        left = size - k
        if left >= 8 * lanes:
            a, b = load_register(constant, start + k), load_register(constant, start + k + lanes)
            c, d = load_register(constant, start + k + 2 * lanes), load_register(constant, start + k + 3 * lanes)
            e, f = load_register(constant, start + k + 4 * lanes), load_register(constant, start + k + 5 * lanes)
            g, h = load_register(constant, start + k + 6 * lanes), load_register(constant, start + k + 7 * lanes)
            for i in range(first, last):
                v = _value(values, i, a)
                row = np.int64(columns[at(i)]) * stride + start + k
                a, b = fma(v, load_register(w, row), a), fma(v, load_register(w, row + lanes), b)
                c, d = fma(v, load_register(w, row + 2 * lanes), c), fma(v, load_register(w, row + 3 * lanes), d)
                e, f = fma(v, load_register(w, row + 4 * lanes), e), fma(v, load_register(w, row + 5 * lanes), f)
                g, h = fma(v, load_register(w, row + 6 * lanes), g), fma(v, load_register(w, row + 7 * lanes), h)
            store_any(z, to + k, a)
            store_any(z, to + k + lanes, b)
            store_any(z, to + k + 2 * lanes, c)
            store_any(z, to + k + 3 * lanes, d)
            store_any(z, to + k + 4 * lanes, e)
            store_any(z, to + k + 5 * lanes, f)
            store_any(z, to + k + 6 * lanes, g)
            store_any(z, to + k + 7 * lanes, h)
            k += 8 * lanes
        elif left >= 2 * lanes:
            a, b = load_register(constant, start + k), load_register(constant, start + k + lanes)
            for i in range(first, last):
                v = _value(values, i, a)
                row = np.int64(columns[at(i)]) * stride + start + k
                a, b = fma(v, load_register(w, row), a), fma(v, load_register(w, row + lanes), b)
            store_any(z, to + k, a)
            store_any(z, to + k + lanes, b)
            k += 2 * lanes
        else:
            a = load_register(constant, start + k)
            for i in range(first, last):
                row = np.int64(columns[at(i)]) * stride + start + k
                a = fma(_value(values, i, a), load_register(w, row), a)
            store_any(z, to + k, a)
            k += lanes


@inlined
def _value(values, i, like):
    return same(like, values[at(i)])


@inlined
def _scatter(values, columns, first, last, r, to, size, gradient, stride, start):
    """Rows of the gradient += values · r[to : to + size]."""
    lanes = lanes_of(r)
    for i in range(first, last):
        v = _value(values, i, load_register(r, to))
        row = np.int64(columns[at(i)]) * stride + start
        for k in range(0, size, lanes):
            add_to(gradient, row + k, v * load_register(r, to + k))


@inner
def _group_end(values, columns, ends, row, stop):
    """The end of the rows from `row` on that are equal to it."""
    first, size = np.int64(ends[at(row)]), np.int64(ends[at(row + 1)] - ends[at(row)])
    last = row + 1
    while last < stop and ends[at(last + 1)] - ends[at(last)] == size:
        other = np.int64(ends[at(last)])
        i = 0
        while (
            i < size
            and columns[at(other + i)] == columns[at(first + i)]
            and values[at(other + i)] == values[at(first + i)]
        ):
            i += 1
        if i < size:
            break
        last += 1
    return last


@inlined
def _weight_of(weights, row, last):
    """The weight of rows row ... last."""
    if weights.size == 0:
        return np.float64(last - row)
    total = 0.0
    for i in range(row, last):
        total += weights[at(i)]
    return total


@inlined
def _row_top(z, to, length):
    lanes = width_of(z)
    top = load_wide(z, to)
    for k in range(to + lanes, to + length, lanes):
        top = larger(top, load_wide(z, k))
    return max_lanes(top)


@inlined
def _row_exponentials(z, to, length, top, own, numbers):
    """exp(z - top) into z: (their sum without class `own`, that of the own class)."""
    lanes = width_of(z)
    tops = same(load_wide(z, to), top)
    ours = same(tops, own)
    zero = same(tops, 0.0)
    others, mine = zero, zero
    for k in range(0, length, lanes):
        e = exp_below(load_wide(z, to + k) - tops)
        tie = equal(load_wide(numbers, k), ours)
        others = others + select(tie, zero, e)
        mine = mine + select(tie, e, zero)
        store_any(z, to + k, e)
    return np.float64(sum_lanes(others)), np.float64(sum_lanes(mine))


@inlined
def _keep_row(z, to, n_classes, scale, kept, start):
    """float32 probabilities, exactly K of them."""
    lanes = width_of(z)
    whole = n_classes // lanes * lanes
    scales = same(load_wide(z, to), scale)
    for k in range(0, whole, lanes):
        store_any(kept, start + k, load_wide(z, to + k) * scales)
    for k in range(whole, n_classes):
        kept[at(start + k)] = z[at(to + k)] * scale


@inlined
def _soft_margin(z, to, n_classes, top, soft, start):
    """(the class of the largest logit, the sum of y (z - top))."""
    pivot, margin = 0, 0.0
    for k in range(n_classes):
        v = z[at(to + k)]
        y = soft[at(start + k)]
        if v == top:
            pivot = k
        if y != 0.0:
            margin += y * (np.float64(v) - np.float64(top))
    return pivot, margin


@inlined
def _scale_row(z, to, length, factor):
    lanes = width_of(z)
    factors = same(load_wide(z, to), factor)
    for k in range(to, to + length, lanes):
        store_any(z, k, load_wide(z, k) * factors)


@inlined
def _finish_row(z, to, length, row, n_classes, offset):
    """Add the offset; -inf behind the classes."""
    for k in range(to + n_classes, to + length):
        z[at(k)] = -np.inf
    if offset.size > 0:
        for k in range(n_classes):
            z[at(to + k)] += offset[at(row * n_classes + k)]


@inlined
def _row_residual(z, to, length, n_classes, row, last, goal, numbers, kept):
    """Turn the logits of equal rows into Σ w (p - y), keep p if `kept` has a size; return Σ w·loss."""
    labels, soft, weights, offset = goal
    _finish_row(z, to, length, row, n_classes, offset)
    top = _row_top(z, to, length)
    if soft.size > 0:
        own, margin = _soft_margin(z, to, n_classes, top, soft, row * n_classes)
    else:
        own = np.int64(labels[at(row)])
        margin = np.float64(z[at(to + own)]) - np.float64(top)
    weight = _weight_of(weights, row, last)
    one_class = True
    if last - row > 1:
        for i in range(row + 1, last):
            one_class = one_class and np.int64(labels[at(i)]) == own
        if not one_class:
            margin = 0.0
            for i in range(row, last):
                w = weights[at(i)] if weights.size > 0 else 1.0
                margin += w * (np.float64(z[at(to + np.int64(labels[at(i)]))]) - np.float64(top))
            margin /= weight
    others, mine = _row_exponentials(z, to, length, top, own, numbers)
    loss = math.log1p(others + (mine - 1.0)) - margin
    scale = 1.0 / (others + mine)
    if kept.size > 0:
        for i in range(row, last):
            _keep_row(z, to, n_classes, scale, kept, i * n_classes)
    if soft.size > 0:
        for k in range(n_classes):
            z[at(to + k)] = weight * (z[at(to + k)] * scale - soft[at(row * n_classes + k)])
        z[at(to + own)] = weight * ((1.0 - soft[at(row * n_classes + own)]) - others * scale)
    else:
        _scale_row(z, to, length, scale * weight)
        if one_class:
            z[at(to + own)] = -others * scale * weight
        else:
            for i in range(row, last):
                z[at(to + np.int64(labels[at(i)]))] -= weights[at(i)] if weights.size > 0 else 1.0
    return weight * loss


@inlined
def _buffer(rows, length, like):
    """`rows` rows of logits, and the numbers of the classes."""
    z = np.zeros(rows * length, like.dtype)
    numbers = np.arange(length).astype(like.dtype)
    return z, numbers


@inlined
def _add_excess(z, length, size, sets, excess):
    lanes = lanes_of(z)
    for r in range(sets):
        for k in range(0, size, lanes):
            add_to(excess, r * size + k, load_register(z, r * length + k))


@kernel
def evaluate(values, columns, ends, start, stop, w, constant, size, n_classes, goal, kept, losses, gradient, excess):
    """As `portable_fit.Sparse.evaluate`; excess (R·S,)."""
    align_stack()
    sets = losses.size
    length = (size + LANES - 1) // LANES * LANES
    z, numbers = _buffer(sets, length, w)
    stride = sets * size
    none = kept[:0]
    alone = goal[1].size > 0 or goal[3].size > 0
    row = start
    while row < stop:
        group = row + 1 if alone else _group_end(values, columns, ends, row, stop)
        first, last = ends[at(row)], ends[at(row + 1)]
        for r in range(sets):
            _logits_of(values, columns, first, last, w, stride, r * size, constant, z, r * length, size)
            keep = kept if r == sets - 1 else none
            losses[at(r)] += _row_residual(z, r * length, length, n_classes, row, group, goal, numbers, keep)
        _add_excess(z, length, size, sets, excess)
        for r in range(sets):
            _scatter(values, columns, first, last, z, r * length, size, gradient, stride, r * size)
        row = group


@inlined
def _curve_row(u, to, length, p, weight):
    """Turn u into w p (u - <p, u> / sum p); what is behind the classes may be anything finite, p is 0 there."""
    lanes = width_of(u)
    zero = same(load_wide(u, to), 0.0)
    total, mean = zero, zero
    for k in range(0, length, lanes):
        v = load_wide(p, k)
        total = total + v
        mean = fma(v, load_wide(u, to + k), mean)
    means = same(zero, sum_lanes(mean) / sum_lanes(total))
    factor = same(zero, weight)
    for k in range(0, length, lanes):
        store_any(u, to + k, (factor * load_wide(p, k)) * (load_wide(u, to + k) - means))


@kernel
def product(values, columns, ends, start, stop, w, constant, size, n_classes, weights, kept, alone, gradient, excess):
    """As `portable_fit.Sparse.product`."""
    align_stack()
    sets = constant.size // size
    length = (size + LANES - 1) // LANES * LANES
    u, p = np.zeros(sets * length, w.dtype), np.zeros(length, w.dtype)
    stride = sets * size
    row = start
    while row < stop:
        group = row + 1 if alone else _group_end(values, columns, ends, row, stop)
        first, last = ends[at(row)], ends[at(row + 1)]
        for k in range(n_classes):
            p[at(k)] = kept[at(row * n_classes + k)]
        weight = _weight_of(weights, row, group)
        for r in range(sets):
            _logits_of(values, columns, first, last, w, stride, r * size, constant, u, r * length, size)
            _curve_row(u, r * length, length, p, weight)
        _add_excess(u, length, size, sets, excess)
        for r in range(sets):
            _scatter(values, columns, first, last, u, r * length, size, gradient, stride, r * size)
        row = group


@inlined
def _softmax_row(z, length, row, n_classes, offset, numbers):
    _finish_row(z, 0, length, row, n_classes, offset)
    others, mine = _row_exponentials(z, 0, length, _row_top(z, 0, length), 0, numbers)
    _scale_row(z, 0, length, 1.0 / (others + mine))


@kernel
def product_anew(
    values, columns, ends, start, stop, coef, coef_constant, w, constant, size, n_classes, goal, gradient, excess
):
    """As `portable_fit.Sparse.product_anew`."""
    align_stack()
    _, _, weights, offset = goal
    alone = offset.size > 0
    sets = constant.size // size
    length = (size + LANES - 1) // LANES * LANES
    p, numbers = _buffer(1, length, w)
    u = np.zeros(sets * length, w.dtype)
    stride = sets * size
    row = start
    while row < stop:
        group = row + 1 if alone else _group_end(values, columns, ends, row, stop)
        first, last = ends[at(row)], ends[at(row + 1)]
        weight = _weight_of(weights, row, group)
        _logits_of(values, columns, first, last, coef, size, 0, coef_constant, p, 0, size)
        _softmax_row(p, length, row, n_classes, offset, numbers)
        for r in range(sets):
            _logits_of(values, columns, first, last, w, stride, r * size, constant, u, r * length, size)
            _curve_row(u, r * length, length, p, weight)
        _add_excess(u, length, size, sets, excess)
        for r in range(sets):
            _scatter(values, columns, first, last, u, r * length, size, gradient, stride, r * size)
        row = group


@inlined
def _step_row(z, u, length, own, zy, uy, t, numbers, v):
    """(loss, its derivative) of one row at z + t u; own is -1 for a soft target."""
    lanes = width_of(z)
    steps = same(load_wide(z, 0), t)
    for k in range(0, length, lanes):
        store_any(v, k, fma(steps, load_wide(u, k), load_wide(z, k)))
    top = _row_top(v, 0, length)
    others, mine = _row_exponentials(v, 0, length, top, own, numbers)
    shifts = same(steps, uy)
    slope = same(steps, 0.0)
    for k in range(0, length, lanes):
        slope = fma(load_wide(v, k), load_wide(u, k) - shifts, slope)
    loss = math.log1p(others + (mine - 1.0)) + (np.float64(top) - (zy + t * uy))
    return loss, np.float64(sum_lanes(slope)) / (others + mine)


@kernel
def along(
    values, columns, ends, start, stop, coef, coef_constant, move, move_constant, size, n_classes, goal, steps, sums
):
    """As `portable_fit.Sparse.along`; sums (2 S,)."""
    align_stack()
    labels, soft, weights, offset = goal
    length = (size + LANES - 1) // LANES * LANES
    z, numbers = _buffer(1, length, coef)
    u, v = np.zeros(length, coef.dtype), np.zeros(length, coef.dtype)
    alone = soft.size > 0 or offset.size > 0
    row = start
    while row < stop:
        group = row + 1 if alone else _group_end(values, columns, ends, row, stop)
        first, last = ends[at(row)], ends[at(row + 1)]
        _logits_of(values, columns, first, last, coef, size, 0, coef_constant, z, 0, size)
        _logits_of(values, columns, first, last, move, size, 0, move_constant, u, 0, size)
        _finish_row(z, 0, length, row, n_classes, offset)
        own, zy, uy = np.int64(-1), 0.0, 0.0
        if soft.size > 0:
            for k in range(n_classes):
                y = soft[at(row * n_classes + k)]
                if y != 0.0:
                    zy += y * z[at(k)]
                    uy += y * u[at(k)]
        else:
            own, zy, uy = _own_step(z, u, labels, weights, row, group)
        weight = _weight_of(weights, row, group)
        for s in range(steps.size):
            loss, slope = _step_row(z, u, length, own, zy, uy, steps[at(s)], numbers, v)
            sums[at(s)] += weight * loss
            sums[at(steps.size + s)] += weight * slope
        row = group


@inner
def _own_step(z, u, labels, weights, row, last):
    """(true class, its logit and change) of equal rows: −1 and weighted means where they have several classes."""
    own = np.int64(labels[at(row)])
    zy, uy, total = 0.0, 0.0, 0.0
    one_class = True
    for i in range(row, last):
        k = np.int64(labels[at(i)])
        one_class = one_class and k == own
        w = weights[at(i)] if weights.size > 0 else 1.0
        zy, uy, total = zy + w * z[at(k)], uy + w * u[at(k)], total + w
    if one_class:
        return own, np.float64(z[at(own)]), np.float64(u[at(own)])
    return np.int64(-1), zy / total, uy / total


@kernel
def probabilities(values, columns, ends, start, stop, coef, constant, size, n_classes, offset, out):
    """softmax of rows start ... stop into out (stop - start, K)."""
    align_stack()
    length = (size + LANES - 1) // LANES * LANES
    z, numbers = _buffer(1, length, coef)
    for row in range(start, stop):
        _logits_of(values, columns, ends[at(row)], ends[at(row + 1)], coef, size, 0, constant, z, 0, size)
        _softmax_row(z, length, row, n_classes, offset, numbers)
        for k in range(n_classes):
            out[row - start, k] = z[at(k)]


@kernel
def moments(values, squares, columns, ends, start, stop, w, constant, size, n_classes, goal, total, excess):
    """total (d, 2, S) += Σ q x and Σ q x², excess (S,) += Σ q for q = w p (1 − p) at the point."""
    align_stack()
    _, _, weights, offset = goal
    alone = offset.size > 0
    length = (size + LANES - 1) // LANES * LANES
    p, numbers = _buffer(1, length, w)
    row = start
    while row < stop:
        group = row + 1 if alone else _group_end(values, columns, ends, row, stop)
        first, last = ends[at(row)], ends[at(row + 1)]
        _logits_of(values, columns, first, last, w, size, 0, constant, p, 0, size)
        _softmax_row(p, length, row, n_classes, offset, numbers)
        weight, one = same(load_wide(p, 0), _weight_of(weights, row, group)), same(load_wide(p, 0), 1.0)
        for k in range(0, length, width_of(p)):
            v = load_wide(p, k)
            store_any(p, k, weight * (v * (one - v)))
        _add_excess(p, length, size, 1, excess)
        _scatter(values, columns, first, last, p, 0, size, total, 2 * size, 0)
        _scatter(squares, columns, first, last, p, 0, size, total, 2 * size, size)
        row = group


@kernel
def second_moment(values, columns, ends, start, stop, weights, total):
    """total (d, d), its lower triangle += Σ w x xᵀ; columns are sorted in each row."""
    align_stack()
    for row in range(start, stop):
        weight = weights[at(row)] if weights.size > 0 else 1.0
        first, last = ends[at(row)], ends[at(row + 1)]
        for i in range(first, last):
            v = weight * np.float64(values[at(i)])
            own = columns[at(i)]
            for j in range(first, i + 1):
                total[np.uintp(own), np.uintp(columns[at(j)])] += v * values[at(j)]


@kernel
def column_sums(values, columns, ends, start, stop, weights, centre, total):
    """total (3, d) += (Σ w (x - centre)^power, Σ w, number) of stored entries; power 1 without a centre, else 2."""
    align_stack()
    for row in range(start, stop):
        weight = weights[at(row)] if weights.size > 0 else 1.0
        for i in range(ends[at(row)], ends[at(row + 1)]):
            j = np.uintp(columns[at(i)])
            v = np.float64(values[at(i)])
            if centre.size > 0:
                v = (v - centre[j]) ** 2
            total[0, j] += weight * v
            total[1, j] += weight
            total[2, j] += 1.0
