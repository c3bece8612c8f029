"""Cross entropy of rows of logits: loss, and the gradient times the scale of its row, with every option.

Read: the logits, once where a row fits one tile, else twice; target probabilities and a mask as often, a label and a
weight a row. Written: one loss a row, the gradient (each entry once, rounded once; it may replace the logits). Never
stored: probabilities, target weights, one-hot rows. Rows that are ignored are not read.

With target weights a (a_j = w_j·q_j, smoothed), A their sum, k the largest probability: the loss of a row is
A·log(sum) + sum of a_j (m - z_j), where nothing cancels, and its gradient A·p_j - a_j, at k what the others leave,
p_k (A - a_k - a_k·rest).
"""

# mypy: disable-error-code="no-untyped-def,name-defined"
from __future__ import annotations

import triton
import triton.language as tl

from .row import (
    FINISH,
    FIRST_PASS,
    ONCE,
    PARTIAL,
    SECOND_PASS,
    STATE,
    allowed,
    decay,
    divided,
    exponential,
    finite,
    first_place,
    join,
    log1p,
    peak,
    per_row_temperature,
    place,
    probability,
    rest_of,
    rounded,
    safe,
    shifted,
    widen,
)

_INF = tl.constexpr(float("inf"))


@triton.jit
def _logits(
    x, offsets, inside, t, cap,
    TEMPERATURE: tl.constexpr, CAP: tl.constexpr, ACC: tl.constexpr, CACHE: tl.constexpr,
):  # fmt: skip
    """z = cap·tanh(x/cap)/T in the dtype of the arithmetic, -inf outside, and the slope of the cap."""
    raw = tl.load(x + offsets, mask=inside, other=-_INF, eviction_policy=CACHE)
    if CAP:
        u = widen(raw, ACC) / cap.to(ACC)
        shrunk = tl.exp(-2.0 * tl.abs(u))
        tanh = (1.0 - shrunk) / (1.0 + shrunk)
        tanh = tl.where(u < 0.0, -tanh, tanh)
        slope = 4.0 * shrunk / ((1.0 + shrunk) * (1.0 + shrunk))
        z = cap.to(ACC) * tanh
        if TEMPERATURE != 0:
            z = z / t.to(ACC)
        z = tl.where(inside, z, -_INF)
    else:
        z = widen(divided(raw, t, TEMPERATURE), ACC)
        slope = z
    return z, slope


@triton.jit
def _target_weights(
    target, offsets, cols, label, within, inside, weight, smoothing, share,
    PROBABILITIES: tl.constexpr, SMOOTH: tl.constexpr, WEIGHT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """a: the weight of each class in the loss."""
    if PROBABILITIES:
        a = widen(tl.load(target + offsets, mask=within, other=0.0), ACC)
    else:
        a = tl.where(cols == label, 1.0, 0.0).to(ACC)
    if SMOOTH:
        a = (1.0 - smoothing).to(ACC) * a + tl.where(inside, share.to(ACC), 0.0)
    if WEIGHT:
        a = a * widen(tl.load(weight + cols, mask=within, other=0.0), ACC)
    return a


@triton.jit
def _state(z, a, inside, cols, DENSE: tl.constexpr, EXTRAS: tl.constexpr, MODE: tl.constexpr, INDEX: tl.constexpr):
    """The state of a block, and its exponentials.

    Maximum and rest; place of the first maximum, a there, the other a, sum of a·(m - z), of a loss in many classes;
    sum of e·(m - z), of the entropy.
    """
    m = peak(z)
    h, lost = shifted(z, safe(m)[:, None], MODE)
    e = exponential(h, lost, MODE)
    is_top = inside & (z == safe(m)[:, None])
    rest = rest_of(e, is_top)
    top = m.to(tl.float64)
    at = tl.full(top.shape, 0, tl.int64)
    a_top, others, excess, spread = top, top, top, top
    if DENSE or EXTRAS:
        place_of_top = first_place(is_top, cols, INDEX)
        at = place_of_top.to(tl.int64)
    if DENSE:
        first = cols == place_of_top[:, None]
        a_top = tl.sum(tl.where(first, a, 0.0), 1).to(tl.float64)
        others = tl.sum(tl.where(first, 0.0, a), 1).to(tl.float64)
        excess = tl.sum(tl.where(a == 0.0, 0.0, a * -h), 1).to(tl.float64)
    if EXTRAS:
        spread = tl.sum(tl.where(e == 0.0, 0.0, e * -h), 1).to(tl.float64)
    return top, rest, at, a_top, others, excess, spread, e


@triton.jit
def _join_losses(
    m1, rest1, at1, a1, others1, excess1, spread1, m2, rest2, at2, a2, others2, excess2, spread2,
    DENSE: tl.constexpr, EXTRAS: tl.constexpr,
):  # fmt: skip
    first = m1 >= m2
    m, rest = join(m1, rest1, m2, rest2)
    lower1, lower2 = safe(m) - safe(m1), safe(m) - safe(m2)
    at, a_top, others, excess, spread = tl.where(first, at1, at2), a1, others1, excess1, spread1
    if DENSE:
        total1, total2 = a1 + others1, a2 + others2
        excess = excess1 + tl.where(total1 == 0.0, 0.0, total1 * lower1)
        excess += excess2 + tl.where(total2 == 0.0, 0.0, total2 * lower2)
        others = others1 + others2 + tl.where(first, a2, a1)
        a_top = tl.where(first, a1, a2)
    if EXTRAS:
        sum1, sum2 = 1.0 + rest1, 1.0 + rest2
        spread = tl.where(sum1 == 0.0, 0.0, decay(m1, m) * (spread1 + sum1 * lower1))
        spread += tl.where(sum2 == 0.0, 0.0, decay(m2, m) * (spread2 + sum2 * lower2))
    return m, rest, at, a_top, others, excess, spread


@triton.jit
def loss_kernel(
    x, target, grad, where, loss, states, weight, row_scale, per_row,
    extras, argmax,
    temperature: "fp64", scale: "fp64", softcap: "fp64", smoothing: "fp64", z_loss: "fp64",  # noqa: F821, UP037
    ignore: "i64", n, n_rows, inner, scale_step,  # noqa: F821, UP037
    x_outer, x_inner, x_step, target_outer, target_inner, target_step,
    grad_outer, grad_inner, grad_step, where_outer, where_inner, where_step,
    PROBABILITIES: tl.constexpr, SMOOTH: tl.constexpr, WEIGHT: tl.constexpr, CAP: tl.constexpr, Z_LOSS: tl.constexpr,
    IGNORE: tl.constexpr, SCALE: tl.constexpr, GRAD: tl.constexpr, EXTRAS: tl.constexpr,
    MODE: tl.constexpr, ACC: tl.constexpr, INDEX: tl.constexpr, MASK: tl.constexpr,
    TEMPERATURE: tl.constexpr, ONE_BLOCK: tl.constexpr, PHASE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    DENSE: tl.constexpr = PROBABILITIES or SMOOTH
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    alive = rows < n_rows
    if TEMPERATURE == 2:
        t = per_row_temperature(per_row, rows, alive, TEMPERATURE, ROWS)[:, None]
    else:
        t = per_row_temperature(temperature, rows, alive, TEMPERATURE, ROWS)[:, None]
    cap = (tl.zeros([1], tl.float64) + softcap)[:, None]
    eps = (tl.zeros([1], tl.float64) + smoothing)[:, None]
    x += place(rows, inner, x_outer, x_inner)[:, None]
    if PROBABILITIES:
        target += place(rows, inner, target_outer, target_inner)[:, None]
    if MASK:
        where += place(rows, inner, where_outer, where_inner)[:, None]
    columns = tl.arange(0, COLUMNS)[None, :].to(INDEX)
    block = tl.program_id(1).to(INDEX)
    blocks = (n + COLUMNS - 1) // COLUMNS

    # Labels: those that count, and those out of range, which make their row nan and are never followed.
    counts = alive
    length = n
    if PROBABILITIES:
        label = tl.zeros([ROWS], tl.int64)
        valid = alive
    else:
        label = tl.load(target + rows, mask=alive, other=0).to(tl.int64)
        if IGNORE:
            counts = alive & (label != ignore)
            if ROWS == 1:
                length = tl.sum(tl.where(counts, n, 0), 0)
        valid = (label >= 0) & (label < n)
    live = counts[:, None]

    kept = tl.full([ROWS], 1, tl.int64)
    if MASK:
        kept = tl.full([ROWS], 0, tl.int64)
        for start in range(0, length, COLUMNS):
            cols = columns + start
            kept += tl.sum(allowed(where, live & (cols < n), cols * where_step, MASK).to(tl.int32), 1)
        share = eps / kept.to(tl.float64)[:, None]
    else:
        share = eps / n

    top = tl.full([ROWS], -_INF, tl.float64)
    rest = tl.full([ROWS], -1.0, tl.float64)
    at = tl.full([ROWS], 0, tl.int64)
    a_top = tl.full([ROWS], 0.0, tl.float64)
    others = tl.full([ROWS], 0.0, tl.float64)
    excess = tl.full([ROWS], 0.0, tl.float64)
    spread = tl.full([ROWS], 0.0, tl.float64)
    z_label = tl.full([ROWS], -_INF, tl.float64)
    if ONE_BLOCK or PHASE == PARTIAL:
        cols = columns + block * COLUMNS
        within = live & (cols < n)
        inside = allowed(where, within, cols * where_step, MASK)
        z, slope = _logits(x, cols * x_step, inside, t, cap, TEMPERATURE, CAP, ACC, ONCE)
        a = z
        if DENSE:
            a = _target_weights(
                target, cols * target_step, cols, label[:, None], within, inside, weight, eps, share,
                PROBABILITIES, SMOOTH, WEIGHT, ACC,
            )  # fmt: skip
        top, rest, at, a_top, others, excess, spread, e = _state(z, a, inside, cols, DENSE, EXTRAS, MODE, INDEX)
    elif PHASE == FINISH:
        for i in range(blocks):
            state = states + (rows * blocks + i) * STATE
            fourth = tl.load(state + 3, mask=alive, other=-_INF)
            if not DENSE:
                z_label = tl.maximum(z_label, fourth)
            top, rest, at, a_top, others, excess, spread = _join_losses(
                top, rest, at, a_top, others, excess, spread,
                tl.load(state, mask=alive, other=-_INF), tl.load(state + 1, mask=alive, other=0.0),
                tl.load(state + 2, mask=alive, other=0.0).to(tl.int64), fourth,
                tl.load(state + 4, mask=alive, other=0.0), tl.load(state + 5, mask=alive, other=0.0),
                tl.load(state + 6, mask=alive, other=0.0), DENSE, EXTRAS,
            )  # fmt: skip
    else:
        for start in range(0, length, COLUMNS):
            cols = columns + start
            within = live & (cols < n)
            inside = allowed(where, within, cols * where_step, MASK)
            z, slope = _logits(x, cols * x_step, inside, t, cap, TEMPERATURE, CAP, ACC, FIRST_PASS)
            a = z
            if DENSE:
                a = _target_weights(
                    target, cols * target_step, cols, label[:, None], within, inside, weight, eps, share,
                    PROBABILITIES, SMOOTH, WEIGHT, ACC,
                )  # fmt: skip
            top2, rest2, at2, a2, others2, excess2, spread2, e = _state(z, a, inside, cols, DENSE, EXTRAS, MODE, INDEX)
            top, rest, at, a_top, others, excess, spread = _join_losses(
                top, rest, at, a_top, others, excess, spread,
                top2, rest2, at2, a2, others2, excess2, spread2, DENSE, EXTRAS,
            )  # fmt: skip

    if not DENSE and PHASE != FINISH:
        here = (counts & valid)[:, None]
        if PHASE == PARTIAL:
            here = here & (label >= block * COLUMNS)[:, None] & (label < (block + 1) * COLUMNS)[:, None]
        spot = tl.where(valid, label, 0)[:, None]
        there, _there_slope = _logits(
            x, spot * x_step, allowed(where, here, spot * where_step, MASK), t, cap, TEMPERATURE, CAP, ACC, ONCE
        )
        z_label = tl.max(there, 1).to(tl.float64)
        if GRAD:
            tl.debug_barrier()  # the gradient may be written over the logits, by other threads than have read this one

    if PHASE == PARTIAL:
        state = states + (rows * blocks + block) * STATE
        tl.store(state, top, mask=alive)
        tl.store(state + 1, rest, mask=alive)
        tl.store(state + 2, at.to(tl.float64), mask=alive)
        tl.store(state + 3, a_top if DENSE else z_label, mask=alive)
        tl.store(state + 4, others, mask=alive)
        tl.store(state + 5, excess, mask=alive)
        tl.store(state + 6, spread, mask=alive)
    else:
        good = finite(top) & (rest == rest)
        log_total = log1p(rest)
        if DENSE:
            total = a_top + others
            value = total * log_total + excess
        else:
            total = tl.full([ROWS], 1.0, tl.float64)
            if WEIGHT:
                total = tl.load(weight + label, mask=counts & valid, other=1.0).to(tl.float64)
            value = tl.where(total == 0.0, 0.0, total * (log_total + (top - z_label)))
        slope_of_z = tl.zeros([ROWS], tl.float64)
        if Z_LOSS:
            lse = top + log_total
            value += z_loss * lse * lse
            slope_of_z = 2.0 * z_loss * lse
        value = tl.where(good, value, float("nan"))
        if MASK:
            value = tl.where(kept == 0, _INF, value)
        value = tl.where(valid, value, float("nan"))
        if IGNORE:
            value = tl.where(counts, value, 0.0)
        if block == 0:
            tl.store(loss + rows, rounded(value, loss.dtype.element_ty), mask=alive)
        if EXTRAS:
            whole = tl.where(rest == rest, top, float("nan"))
            bad = tl.where(kept == 0, 0.0, float("nan"))
            lse_out = tl.where(good, top + log_total, whole)
            entropy = tl.where(good, log_total + spread / (1.0 + rest), bad)
            largest = tl.where(good, 1.0 / (1.0 + rest), bad)
            if block == 0:
                dtype: tl.constexpr = loss.dtype.element_ty
                tl.store(extras + rows, rounded(lse_out, dtype), mask=alive)
                tl.store(extras + n_rows + rows, rounded(entropy, dtype), mask=alive)
                tl.store(extras + 2 * n_rows + rows, rounded(largest, dtype), mask=alive)
                tl.store(argmax + rows, tl.where(good, at, 0), mask=alive)
        if GRAD:
            factor = 1.0 / tl.reshape(t, [ROWS])
            if SCALE == 1:
                factor = factor * scale
            elif SCALE == 2:
                factor = factor * widen(tl.load(row_scale + rows * scale_step, mask=alive, other=0.0), tl.float64)
            factor = tl.where(good & valid, factor, float("nan"))
            grad += place(rows, inner, grad_outer, grad_inner)[:, None]
            if ONE_BLOCK:
                _write(
                    e, a, slope, rest, at, a_top, others, total, slope_of_z, z_label, top, factor, label, counts,
                    grad, cols, grad_step, alive[:, None] & (cols < n), inside,
                    DENSE, CAP, Z_LOSS, IGNORE, MODE, ACC, MASK,
                )  # fmt: skip
            else:
                first = block * COLUMNS
                last = length if PHASE != FINISH else tl.minimum(length, first + COLUMNS)
                for start in range(first, last.to(INDEX), COLUMNS):
                    cols = columns + start
                    within = live & (cols < n)
                    inside = allowed(where, within, cols * where_step, MASK)
                    z, slope = _logits(x, cols * x_step, inside, t, cap, TEMPERATURE, CAP, ACC, SECOND_PASS)
                    a = z
                    if DENSE:
                        a = _target_weights(
                            target, cols * target_step, cols, label[:, None], within, inside, weight, eps, share,
                            PROBABILITIES, SMOOTH, WEIGHT, ACC,
                        )  # fmt: skip
                    h, lost = shifted(z, safe(top).to(ACC)[:, None], MODE)
                    e = exponential(h, lost, MODE)
                    _write(
                        e, a, slope, rest, at, a_top, others, total, slope_of_z, z_label, top, factor, label, counts,
                        grad, cols, grad_step, alive[:, None] & (cols < n), inside,
                        DENSE, CAP, Z_LOSS, IGNORE, MODE, ACC, MASK,
                    )  # fmt: skip
                if IGNORE and ROWS == 1:
                    end = n if PHASE != FINISH else tl.minimum(n, first + COLUMNS)
                    for start in range(first + length, end.to(INDEX), COLUMNS):
                        cols = columns + start
                        nothing = tl.full([ROWS, COLUMNS], 0.0, grad.dtype.element_ty)
                        tl.store(grad + cols * grad_step, nothing, mask=cols < end)


@triton.jit
def _write(
    e, a, slope, rest, at, a_top, others, total, slope_of_z, z_label, top, factor, label, counts,
    grad, cols, step, within, inside,
    DENSE: tl.constexpr, CAP: tl.constexpr, Z_LOSS: tl.constexpr, IGNORE: tl.constexpr,
    MODE: tl.constexpr, ACC: tl.constexpr, MASK: tl.constexpr,
):  # fmt: skip
    """Store one block of the gradient."""
    p = probability(e, rest, MODE)
    if DENSE:
        left = ((others - a_top * rest) / (1.0 + rest)).to(ACC)[:, None]
        y = tl.where(cols == at[:, None], left, p * total.to(ACC)[:, None] - a)
    else:
        weight = total.to(ACC)[:, None]
        # the others' sum where the label leads; else p is at most 1/2, and p - 1 has all its digits
        left = tl.where((z_label == top)[:, None], -p * rest.to(ACC)[:, None], p - 1.0)
        y = weight * tl.where(cols == label[:, None], left, p)
    if Z_LOSS:
        y += slope_of_z.to(ACC)[:, None] * p
    if CAP:
        y = y * slope
    y = y * factor.to(ACC)[:, None]
    if MASK:
        y = tl.where(inside, y, 0.0)
    if IGNORE:
        y = tl.where(counts[:, None], y, 0.0)
    tl.store(grad + cols * step, rounded(y, grad.dtype.element_ty), mask=within)
