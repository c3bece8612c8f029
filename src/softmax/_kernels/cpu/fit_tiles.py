"""What happens to the logits of a tile of rows: residuals, losses, curvature; sixteen rows at a time, one to a lane.

A tile z holds logits (K, step), classes first, from element `start` on; `rows` of its columns mean something, rounded
up to 16 where the last row is repeated with weight 0. `labels` (step,) are class numbers in the dtype of z, `weights`
(step,) likewise, `soft` (K, step) probability targets or of length 0. Probabilities go to `kept` in float32.

Read and written: z, in place, and kept. Losses are summed in float64.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from numpy import uintp as at

from .fit_vectors import (
    add_to,
    exp_below,
    inlined,
    inner,
    load_as,
    load_wide,
    log1p_of,
    same,
    store_any,
    sum_lanes,
    widened,
    width_of,
)
from .simd import LANES, align_stack, equal, fma, larger, select


@inlined
def _top(z, base, step, n_classes):
    top = load_wide(z, base)
    for k in range(1, n_classes):
        top = larger(top, load_wide(z, base + k * step))
    return top


@inlined
def _index_of_top(z, base, step, n_classes, top):
    """The class of the largest logit, as a number in the dtype of z; the last one of several."""
    one = same(load_wide(z, 0), 1.0)
    number = same(load_wide(z, 0), 0.0)
    index = number
    for k in range(n_classes):
        index = select(equal(load_wide(z, base + k * step), top), number, index)
        number = number + one
    return index


@inlined
def _exponentials(z, base, step, n_classes, top, own_class):
    """exp(z - top) into z; (their sum without the own class, that of the own class, its z - top)."""
    one = same(load_wide(z, 0), 1.0)
    zero = same(load_wide(z, 0), 0.0)
    others, own, margin, number = zero, zero, zero, zero
    for k in range(n_classes):
        t = load_wide(z, base + k * step) - top
        e = exp_below(t)
        tie = equal(own_class, number)
        others = others + select(tie, zero, e)
        own = select(tie, e, own)
        margin = select(tie, t, margin)
        store_any(z, base + k * step, e)
        number = number + one
    return others, own, margin


@inlined
def _soft_margin(z, base, step, n_classes, top, soft, i):
    """The sum of y (z - top); an impossible class of probability 0 counts 0."""
    zero = same(load_wide(z, 0), 0.0)
    margin = zero
    for k in range(n_classes):
        y = load_wide(soft, k * step + i)
        margin = margin + select(equal(y, zero), zero, y * (load_wide(z, base + k * step) - top))
    return margin


@inlined
def _keep(z, base, step, n_classes, scale, kept, to):
    for k in range(n_classes):
        store_any(kept, to + k * step, load_wide(z, base + k * step) * scale)


@inlined
def _residuals(z, base, step, n_classes, own_class, own, scale):
    """The own class gets `own`, the others their exponential times scale."""
    one = same(load_wide(z, 0), 1.0)
    number = same(load_wide(z, 0), 0.0)
    for k in range(n_classes):
        e = load_wide(z, base + k * step) * scale
        store_any(z, base + k * step, select(equal(own_class, number), own, e))
        number = number + one


@inlined
def _soft_residuals(z, base, step, n_classes, pivot, share, scale, weight, soft, i):
    """w (p - y); at the pivot, the most probable class, w ((1 - y) - the others' share)."""
    one = same(load_wide(z, 0), 1.0)
    number = same(load_wide(z, 0), 0.0)
    for k in range(n_classes):
        y = load_wide(soft, k * step + i)
        r = select(equal(pivot, number), (one - y) - share, load_wide(z, base + k * step) * scale - y)
        store_any(z, base + k * step, weight * r)
        number = number + one


@inner
def residual_tile(z, start, step, rows, n_classes, labels, soft, weights, kept, to):
    """Turn logits into w (p - y), write p to kept from element `to` on if it has a size; return the sum of w·loss.

    Loss and residual are relative to the share of the other classes, which is accurate where the probability of the
    own class rounds to 1: loss = log1p(others + (own - 1)) - (z_y - top).
    """
    align_stack()
    one = same(load_wide(z, 0), 1.0)
    loss = same(widened(one), 0.0)
    for i in range(0, (rows + 15) // 16 * 16, width_of(z)):
        base = start + i
        weight = load_wide(weights, i)
        top = _top(z, base, step, n_classes)
        if soft.size > 0:
            own_class = _index_of_top(z, base, step, n_classes, top)
            margin = _soft_margin(z, base, step, n_classes, top, soft, i)
            others, own, _ = _exponentials(z, base, step, n_classes, top, own_class)
        else:
            own_class = load_wide(labels, i)
            others, own, margin = _exponentials(z, base, step, n_classes, top, own_class)
        value = log1p_of(widened(others + (own - one))) - widened(margin)
        loss = fma(widened(weight), value, loss)
        scale = one / (others + own)
        if kept.size > 0:
            _keep(z, base, step, n_classes, scale, kept, to + i)
        if soft.size > 0:
            _soft_residuals(z, base, step, n_classes, own_class, others * scale, scale, weight, soft, i)
        else:
            scale = scale * weight
            _residuals(z, base, step, n_classes, own_class, -(others * scale), scale)
    return sum_lanes(loss)


@inner
def curvature_tile(u, start, step, rows, n_classes, weights, kept, to):
    """Turn u into w p (u - <p, u> / sum p), with p as it was kept: rounded, so that its sum is not 1."""
    align_stack()
    zero = same(load_wide(u, 0), 0.0)
    for i in range(0, rows, width_of(u)):
        base = start + i
        total, mean = zero, zero
        for k in range(n_classes):
            v = load_wide(u, base + k * step)
            p = load_as(kept, to + i + k * step, v)
            total = total + p
            mean = fma(p, v, mean)
        mean = mean / total
        weight = load_wide(weights, i)
        for k in range(n_classes):
            v = load_wide(u, base + k * step)
            p = load_as(kept, to + i + k * step, v)
            store_any(u, base + k * step, (weight * p) * (v - mean))


@inner
def along_tile(z, u, step, rows, n_classes, labels, soft, weights, steps, sums):
    """Add to sums (2 S,) the losses at z + t u and their derivatives in t, for each t of steps (S,)."""
    align_stack()
    one = same(load_wide(z, 0), 1.0)
    zero = same(load_wide(z, 0), 0.0)
    for i in range(0, rows, width_of(z)):
        own_class = load_wide(labels, i)
        zy, uy, number = zero, zero, zero
        for k in range(n_classes):
            v, du = load_wide(z, i + k * step), load_wide(u, i + k * step)
            if soft.size > 0:
                y = load_wide(soft, i + k * step)
                none = equal(y, zero)
                zy = zy + select(none, zero, y * v)
                uy = uy + select(none, zero, y * du)
            else:
                tie = equal(own_class, number)
                zy = select(tie, v, zy)
                uy = select(tie, du, uy)
            number = number + one
        weight = widened(load_wide(weights, i))
        for s in range(steps.size):
            t = same(zy, steps[at(s)])
            top = fma(t, load_wide(u, i), load_wide(z, i))
            for k in range(1, n_classes):
                top = larger(top, fma(t, load_wide(u, i + k * step), load_wide(z, i + k * step)))
            others, own, slope, number = zero, zero, zero, zero
            for k in range(n_classes):
                du = load_wide(u, i + k * step)
                e = exp_below(fma(t, du, load_wide(z, i + k * step)) - top)
                tie = equal(own_class, number)
                others = others + select(tie, zero, e)
                own = select(tie, e, own)
                slope = fma(e, du - uy, slope)
                number = number + one
            value = log1p_of(widened(others + (own - one))) + widened(top - fma(t, uy, zy))
            sums[at(s)] += sum_lanes(weight * value)
            sums[at(steps.size + s)] += sum_lanes(weight * widened(slope / (others + own)))


@inner
def excess_tile(z, step, rows, excess):
    """excess[16 k + lane] += the columns of row k of z that belong to the lane; float64 fills half of the lanes."""
    align_stack()
    lanes = width_of(z)
    for k in range(excess.size // LANES):
        total = load_wide(z, k * step)
        for i in range(lanes, rows, lanes):
            total = total + load_wide(z, k * step + i)
        add_to(excess, k * LANES, total)
