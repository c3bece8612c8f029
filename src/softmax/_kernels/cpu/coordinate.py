"""Coordinate descent for a softmax regression with an absolute-value penalty, and the sums over rows that go with it.

Every matrix of logits is (K, width) in one flat array, a class after the other, rows padded with zero weight to a
multiple of 16, `width`. `feature_columns` says how columns of X come.

One step of the fit minimises the quadratic model of the loss with the exact Hessian, which couples the classes,

    ½ Σ_i π_i [Σ_k p_ik u_ik² − s_i²] + Σ_i Σ_k π_i (p_ik − y_ik) u_ik,      s_i = Σ_k p_ik u_ik,

in the change u of the logits. Within class k two vectors over rows say all that a coordinate has to know: v = π [(p −
y) + p (u − s)], so that its derivative is ⟨x_j, v⟩, and h = π p (1 − p), so that its curvature is ⟨x_j², h⟩.

Read: probabilities, columns. Written: the change of the logits, its mean s, the coefficients. Never stored: a Hessian.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
import math

import numpy as np
from numpy import uintp as at  # an unsigned index needs no test for negative values

from .exp import exp_shifted
from .feature_columns import add, clear, dot, fold, move, shift_class, slope_of, spread, weighted_square
from .simd import LANES, align_stack, fma, inlined, kernel, lane, larger, load, splat, store

UNITS = 2.0**-512  # exponentials of float64 rows come times 2^512
TINY = 1e-300
GRAM_ROUNDS = 200


@kernel
def probabilities(logits, change, step, width, first, last, out, log_sums):
    """Softmax over the classes of rows first ... last − 1 (multiples of 16), after logits += step · change; log_sums
    gets the logsumexp of each row.
    """
    align_stack()
    n_classes = logits.size // width
    for i in range(first, last, LANES):
        top = splat(-np.inf)
        for k in range(n_classes):
            here = k * width + i
            if step != 0.0:
                store(logits, here, fma(splat(step), load(change, here), load(logits, here)))
            top = larger(top, load(logits, here))
        total = splat(0.0)
        for k in range(n_classes):
            here = k * width + i
            e = exp_shifted(load(logits, here), top) * splat(UNITS)
            store(out, here, e)
            total = total + e
        scale = splat(1.0) / total
        for k in range(n_classes):
            here = k * width + i
            store(out, here, load(out, here) * scale)
        store(log_sums, i, top)
        for j in range(LANES):
            log_sums[at(i + j)] += math.log(lane(total, j))


@inlined
def _residual(probability, begin, weights, targets, rows, first, last, v):
    """v = π p − π y for one class; `targets` are π y at `rows`, first ... last − 1 of them."""
    for i in range(0, v.size, LANES):
        store(v, i, load(probability, begin + i) * load(weights, i))
    for e in range(first, last):
        v[at(rows[at(e)])] -= targets[at(e)]


@inlined
def _sum(v):
    total = splat(0.0)
    for i in range(0, v.size, LANES):
        total = total + load(v, i)
    return fold(total)


@kernel
def residual_rows(probability, weights, targets, rows, starts, width, first, last, out):
    """π (p − y) of classes first ... last − 1 into `out`, laid out as the probabilities are."""
    align_stack()
    for k in range(first, last):
        v = out[k * width : k * width + weights.size]
        _residual(probability, k * width, weights, targets, rows, starts[k], starts[k + 1], v)


@kernel
def all_gradients(columns, n_columns, probability, weights, targets, rows, starts, width, first, last, v, out, excess):
    """out[k, j] = Σ_i π_i (p_ik − y_ik) x_ij for all columns and classes first ... last − 1, and the same without x."""
    align_stack()
    for k in range(first, last):
        _residual(probability, k * width, weights, targets, rows, starts[k], starts[k + 1], v)
        excess[k] = _sum(v)
        for j in range(n_columns):
            out[k, j] = dot(columns, j, v)


@kernel
def logits_of(columns, slots, ends, coef, constant, width, first, last, out):
    """out[k] += constant[k] + Σ_a coef[a] x_slot(a), for classes first ... last − 1."""
    align_stack()
    for k in range(first, last):
        for i in range(k * width, (k + 1) * width):
            out[at(i)] += constant[k]
        for a in range(ends[k], ends[k + 1]):
            if coef[a] != 0.0:
                add(columns, slots[a], coef[a], out, k * width)


@inlined
def _open_class(probability, change, mean, weights, targets, rows, first, last, begin, fresh, v, h, own):
    """v, h and an empty change of class k, from its place in the arrays."""
    for i in range(0, v.size, LANES):
        p, w = load(probability, begin + i), load(weights, i)
        weighted = p * w
        store(h, i, weighted * (splat(1.0) - p))
        if not fresh:
            weighted = fma(weighted, load(change, begin + i) - load(mean, i), weighted)
        store(v, i, weighted)
        store(own, i, splat(0.0))
    for e in range(first, last):
        v[at(rows[at(e)])] -= targets[at(e)]


@inlined
def _close_class(probability, change, mean, begin, shift, own):
    """Add the change of one class, and `shift` in every row, to the change of the logits and to its mean."""
    for i in range(0, own.size, LANES):
        u = load(own, i) + splat(shift)
        store(change, begin + i, load(change, begin + i) + u)
        store(mean, i, fma(load(probability, begin + i), u, load(mean, i)))


@inlined
def _coordinate(slope, curvature, coef, ridge, lasso, extra, base, low, high):
    """The minimum of ½ c (w − coef)² + slope (w − coef) + ½ ridge w² + lasso |w| + ½ extra (w − base)² in [low, high],
    and the curvature there.
    """
    stiff = curvature + ridge + extra
    centre = curvature * coef - slope + extra * base
    if centre > lasso:
        new = (centre - lasso) / stiff
    elif centre < -lasso:
        new = (centre + lasso) / stiff
    else:
        new = 0.0
    return min(max(new, low), high), stiff


@kernel
def some_gradients(
    columns, ends, slots, probability, change, mean, weights, targets, rows, starts, width, fresh, scratch, out, excess
):  # fmt: skip
    """The same for pairs of class and column, those of class k from ends[k] to ends[k + 1] in `slots`, in the quadratic
    model after `change`; with `fresh`, before any.
    """
    align_stack()
    size = weights.size
    v, h, own = scratch[:size], scratch[size : 2 * size], scratch[2 * size : 3 * size]
    for k in range(starts.size - 1):
        _open_class(
            probability, change, mean, weights, targets, rows, starts[k], starts[k + 1], k * width, fresh, v, h, own
        )
        excess[k] = _sum(v)
        for a in range(ends[k], ends[k + 1]):
            out[a] = dot(columns, slots[a], v)


@kernel
def _by_residual(
    columns, slots, coef, base, ridge, lasso, unit, low, high, extra, curvature, free, damping,
    v, h, own, total_curvature, repeats,
):  # fmt: skip
    """Up to `repeats` rounds over the coordinates of one class, v and own kept up to date: (violation seen in the first
    round, change of the intercept, whether a coordinate moved).
    """
    align_stack()
    initial, moved = 0.0, False
    for repeat in range(repeats):
        largest = 0.0
        for a in range(slots.size):
            if repeat > 0 and coef[a] == 0.0:
                continue
            slope = dot(columns, slots[a], v)
            new, stiff = _coordinate(
                slope, curvature[a], coef[a], ridge[a], lasso[a], extra[a], base[a], low[a], high[a]
            )
            step = new - coef[a]
            if step != 0.0:
                coef[a] = new
                moved = True
                move(columns, slots[a], step, h, v, own)
                largest = max(largest, abs(step) * stiff / unit[a])
        if repeat == 0:
            initial = largest
        if largest <= 0.2 * initial:
            break
    shift = -_sum(v) / (total_curvature + damping + TINY) if free else 0.0
    return initial, shift, moved


@kernel
def _by_gram(
    columns, slots, coef, base, ridge, lasso, unit, low, high, extra, curvature, free, damping,
    v, h, own, total_curvature, gram, ready, slopes, scratch,
):  # fmt: skip
    """The same until the class is solved, with the products between its coordinates: row a of `gram` is computed when
    coordinate a first moves. The last row belongs to the intercept. Needs an empty `own`; v is not kept up to date.
    """
    align_stack()
    m = slots.size
    for a in range(m):
        slopes[a] = dot(columns, slots[a], v)
    slopes[m] = _sum(v)
    if free and not ready[m]:
        ready[m] = True
        for b in range(m):
            gram[m, b] = dot(columns, slots[b], h)
        gram[m, m] = total_curvature
    initial, total_shift = 0.0, 0.0
    for i in range(m):
        own[at(i)] = coef[i]
    for repeat in range(GRAM_ROUNDS):
        largest = 0.0
        if free:
            shift = -slopes[m] / (total_curvature + damping + TINY)
            total_shift += shift
            for b in range(m + 1):
                slopes[b] += shift * gram[m, b]
        for a in range(m):
            new, stiff = _coordinate(
                slopes[a], curvature[a], coef[a], ridge[a], lasso[a], extra[a], base[a], low[a], high[a]
            )
            step = new - coef[a]
            if step == 0.0:
                continue
            if not ready[a]:
                ready[a] = True
                spread(columns, slots[a], h, scratch)
                for b in range(m):
                    gram[a, b] = dot(columns, slots[b], scratch)
                gram[a, m] = _sum(scratch) if not free else gram[m, a]
                clear(columns, slots[a], scratch)
            coef[a] = new
            for b in range(m + 1):
                slopes[b] += step * gram[a, b]
            largest = max(largest, abs(step) * stiff / unit[a])
        if repeat == 0:
            initial = largest
        if largest <= 0.02 * initial:
            break
    moved = False
    for a in range(m):
        scratch[at(a)] = coef[a] - own[at(a)]
        own[at(a)] = 0.0
    for a in range(m):
        step = scratch[at(a)]
        scratch[at(a)] = 0.0
        if step != 0.0:
            moved = True
            add(columns, slots[a], step, own, 0)
    return initial, total_shift, moved


@kernel
def sweep(
    columns, ends, slots, coef, base, ridge, lasso, unit, low, high, extra, curvature,
    probability, change, mean, weights, targets, rows, starts, width,
    free, intercept, total_curvature, damping, fresh, gram, places, ready, tolerance, last, scratch,
):  # fmt: skip
    """One round over the classes; the largest change of a derivative, in `unit`s, that a class saw at first.

    `ends`, `slots` and the arrays of the same length list the coordinates by class. With `fresh`, no coordinate has
    moved yet and curvatures are computed. `free` says whether there are intercepts, `intercept` (K,) is their change,
    `total_curvature` (K,) theirs. Class k with m coordinates has (m + 1)² numbers of `gram` from places[k] to
    places[k + 1], or none, and then goes by residuals; `ready` tells which rows of it are computed. `last` (K,) keeps
    the violation of each class; those that were below `tolerance` are left out.
    """
    align_stack()
    size = weights.size
    v, h, own = scratch[:size], scratch[size : 2 * size], scratch[2 * size : 3 * size]
    free_space, slopes = scratch[3 * size : 4 * size], scratch[4 * size :]
    worst = 0.0
    for k in range(starts.size - 1):
        first, end = ends[k], ends[k + 1]
        if (first == end and not free) or last[k] < tolerance:
            continue
        begin = k * width
        _open_class(
            probability, change, mean, weights, targets, rows, starts[k], starts[k + 1], begin, fresh, v, h, own
        )
        if fresh:
            total_curvature[k] = _sum(h)
            for a in range(first, end):
                curvature[a] = max(weighted_square(columns, slots[a], h), TINY)
        if places[k + 1] > places[k]:
            m = end - first + 1
            square = gram[places[k] : places[k + 1]].reshape((m, m))
            initial, shift, moved = _by_gram(
                columns, slots[first:end], coef[first:end], base[first:end], ridge[first:end], lasso[first:end],
                unit[first:end], low[first:end], high[first:end], extra[first:end], curvature[first:end], free, damping,
                v, h, own, total_curvature[k], square, ready[first + k : end + k + 1], slopes, free_space,
            )  # fmt: skip
        else:
            initial, shift, moved = _by_residual(
                columns, slots[first:end], coef[first:end], base[first:end], ridge[first:end], lasso[first:end],
                unit[first:end], low[first:end], high[first:end], extra[first:end], curvature[first:end], free, damping,
                v, h, own, total_curvature[k], 3,
            )  # fmt: skip
        last[k] = initial
        worst = max(worst, initial)
        intercept[k] += shift
        if moved or shift != 0.0:
            _close_class(probability, change, mean, begin, shift, own)
    return worst


@kernel
def products(columns, ends, slots, direction, free, shift, probability, weights, width, change, mean, v, out, sums):
    """The Hessian times a direction: out[a] and, for the intercepts, sums[k]. `change` and `mean` are overwritten."""
    align_stack()
    n_classes = ends.size - 1
    mean[:] = 0.0
    for k in range(n_classes):
        begin = k * width
        for i in range(begin, begin + width):
            change[at(i)] = shift[k]
        for a in range(ends[k], ends[k + 1]):
            add(columns, slots[a], direction[a], change, begin)
        for i in range(0, weights.size, LANES):
            store(mean, i, fma(load(probability, begin + i), load(change, begin + i), load(mean, i)))
    for k in range(n_classes):
        begin = k * width
        for i in range(0, weights.size, LANES):
            weighted = load(probability, begin + i) * load(weights, i)
            store(v, i, weighted * (load(change, begin + i) - load(mean, i)))
        if free:
            sums[k] = _sum(v)
        for a in range(ends[k], ends[k + 1]):
            out[a] = dot(columns, slots[a], v)


@kernel
def block_curvatures(columns, slots, probability, weights, width, blocks, scratch):
    """The Hessian block of each feature: (K, K) where `blocks` has three axes, else its diagonal."""
    align_stack()
    size = weights.size
    h, v = scratch[:size], scratch[size : 2 * size]
    n_classes = probability.size // width
    for k in range(n_classes):
        for i in range(0, size, LANES):
            p = load(probability, k * width + i)
            weighted = p * load(weights, i)
            store(v, i, weighted)
            store(h, i, weighted * (splat(1.0) - p))
        for f in range(slots.size):
            blocks[f, k, k if blocks.shape[2] > 1 else 0] = max(weighted_square(columns, slots[f], h), TINY)
        if blocks.shape[2] == 1:
            continue
        for other in range(k):
            for i in range(0, size, LANES):
                store(h, i, load(v, i) * load(probability, other * width + i))
            for f in range(slots.size):
                product = -weighted_square(columns, slots[f], h)
                blocks[f, k, other] = product
                blocks[f, other, k] = product


@inlined
def _shrink(aim, stiff, ridge, lasso, out):
    """out = the minimum of Σ_k [½ stiff_k w_k² − aim_k w_k] + ½ ridge ‖w‖² + lasso ‖w‖."""
    size = 0.0
    for k in range(aim.size):
        size += aim[k] ** 2
    if lasso == 0.0:
        for k in range(aim.size):
            out[k] = aim[k] / (stiff[k] + ridge)
        return
    if math.sqrt(size) <= lasso:
        for k in range(aim.size):
            out[k] = 0.0
        return
    # ‖w‖ = τ where Σ (aim / ((stiff + ridge) τ + lasso))² = 1; the sum is convex and falls, so Newton rises to it.
    tau = 0.0
    for _ in range(60):
        value, derivative = -1.0, 0.0
        for k in range(aim.size):
            below = (stiff[k] + ridge) * tau + lasso
            share = (aim[k] / below) ** 2
            value += share
            derivative -= 2 * share * (stiff[k] + ridge) / below
        if not value > 1e-15:
            break
        following = tau - value / derivative
        if following <= tau * (1 + 1e-15):
            break
        tau = following
    for k in range(aim.size):
        out[k] = aim[k] * tau / ((stiff[k] + ridge) * tau + lasso)


@kernel
def grouped_sweep(
    columns, slots, slopes, coef, base, ridge, lasso, unit, extra, blocks,
    probability, change, mean, weights, width, free, excess, intercept, total_curvature, damping, radius, all_features,
):  # fmt: skip
    """One round over features with one penalty for the coefficients of all classes, `coef` (F, K); the largest change
    of a derivative, in `unit`s.

    `slopes` (F, K) and `excess` (K,) are the derivatives where the change of the logits was 0. `blocks` are those of
    `block_curvatures`: with whole ones a feature is solved before the next, with diagonals it makes one step in the
    metric 2 diag(H), which is above H because diag(p) − ppᵀ has no row whose other entries outweigh the diagonal.
    Without `all_features`, those without a coefficient are left out.
    """
    align_stack()
    n_classes = probability.size // width
    slope, start, aim = np.zeros(n_classes), np.zeros(n_classes), np.zeros(n_classes)
    stiff, new = np.zeros(n_classes), np.zeros(n_classes)
    rounds = 1 if blocks.shape[2] == 1 else 30
    worst, first = 0.0, 0.0
    for f in range(slots.size):
        if not all_features and not np.any(coef[f]):
            continue
        for k in range(n_classes):
            own = slope_of(columns, slots[f], probability, change, k * width, mean, weights)
            slope[k] = slopes[f, k] + own
            start[k] = coef[f, k]
            stiff[k] = 2 * blocks[f, k, k if rounds > 1 else 0] + extra[f]
        for repeat in range(rounds):
            largest = 0.0
            for k in range(n_classes):
                total = slope[k] + extra[f] * (coef[f, k] - base[f, k])
                if repeat > 0:
                    for other in range(n_classes):
                        total += blocks[f, k, other] * (coef[f, other] - start[other])
                aim[k] = stiff[k] * coef[f, k] - total
            _shrink(aim, stiff, ridge[f], lasso[f], new)
            for k in range(n_classes):
                new[k] = min(max(new[k], base[f, k] - radius[f]), base[f, k] + radius[f])
                largest = max(largest, abs(new[k] - coef[f, k]) * (stiff[k] + ridge[f]))
                coef[f, k] = new[k]
            if repeat == 0:
                worst = max(worst, largest / unit[f])
                first = largest
            if largest <= 0.05 * first:
                break
        for k in range(n_classes):
            step = coef[f, k] - start[k]
            if step != 0.0:
                shift_class(columns, slots[f], step, probability, change, k * width, mean)
    if free:
        for k in range(n_classes):
            total, curvature = splat(0.0), splat(0.0)
            begin = k * width
            for i in range(0, weights.size, LANES):
                p = load(probability, begin + i)
                weighted = p * load(weights, i)
                total = fma(weighted, load(change, begin + i) - load(mean, i), total)
                curvature = fma(weighted, splat(1.0) - p, curvature)
            total_curvature[k] = fold(curvature)
            shift = -(excess[k] + fold(total)) / (total_curvature[k] + damping + TINY)
            intercept[k] += shift
            for i in range(0, weights.size, LANES):
                store(change, begin + i, load(change, begin + i) + splat(shift))
                store(mean, i, fma(load(probability, begin + i), splat(shift), load(mean, i)))
    return worst
