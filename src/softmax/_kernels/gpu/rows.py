"""Row functions: softmax, log_softmax, logsumexp, and products with their derivatives.

Read: the logits, once where a row fits one tile, else twice (the second time from L2 where the rows at work fit in
there); a cotangent and a mask as often. Written: the result, each entry once. Never stored: shifted logits,
exponentials, probabilities that are not the result. A row that several programs share leaves the states of its blocks,
7 numbers each.
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

# What a kernel computes.
SOFTMAX, LOG_SOFTMAX, LOGSUMEXP = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
JACOBIAN, CENTRED, RESIDUAL = tl.constexpr(3), tl.constexpr(4), tl.constexpr(5)

_INF = tl.constexpr(float("inf"))


@triton.jit
def _load(x, offsets, inside, t, TEMPERATURE: tl.constexpr, ACC: tl.constexpr, CACHE: tl.constexpr):
    raw = tl.load(x + offsets, mask=inside, other=-_INF, eviction_policy=CACHE)
    return widen(divided(raw, t, TEMPERATURE), ACC)


@triton.jit
def forward_kernel(
    x, out, where, states, temperature: "fp64", per_row, n, n_rows, inner,  # noqa: F821, UP037
    x_outer, x_inner, x_step, out_outer, out_inner, out_step, where_outer, where_inner, where_step,
    FUNCTION: tl.constexpr, MODE: tl.constexpr, ACC: tl.constexpr, INDEX: tl.constexpr, MASK: tl.constexpr,
    TEMPERATURE: tl.constexpr, ONE_BLOCK: tl.constexpr, PHASE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """softmax, log_softmax or logsumexp; `out` of logsumexp holds one number a row."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    live = (rows < n_rows)[:, None]
    if TEMPERATURE == 2:
        t = per_row_temperature(per_row, rows, rows < n_rows, TEMPERATURE, ROWS)[:, None]
    else:
        t = per_row_temperature(temperature, rows, rows < n_rows, TEMPERATURE, ROWS)[:, None]
    x += place(rows, inner, x_outer, x_inner)[:, None]
    if MASK:
        where += place(rows, inner, where_outer, where_inner)[:, None]
    columns = tl.arange(0, COLUMNS)[None, :].to(INDEX)
    block = tl.program_id(1).to(INDEX)
    blocks = (n + COLUMNS - 1) // COLUMNS

    top = tl.full([ROWS], -_INF, tl.float64)
    rest = tl.full([ROWS], -1.0, tl.float64)
    if ONE_BLOCK or PHASE == PARTIAL:
        cols = columns + block * COLUMNS
        inside = allowed(where, live & (cols < n), cols * where_step, MASK)
        z = _load(x, cols * x_step, inside, t, TEMPERATURE, ACC, ONCE)
        m = peak(z)
        h, lost = shifted(z, safe(m)[:, None], MODE)
        e = exponential(h, lost, MODE)
        top = m.to(tl.float64)
        rest = rest_of(e, inside & (z == safe(m)[:, None]))
    elif PHASE == FINISH:
        for i in range(blocks):
            state = states + (rows * blocks + i) * STATE
            top, rest = join(
                top,
                rest,
                tl.load(state, mask=rows < n_rows, other=-_INF),
                tl.load(state + 1, mask=rows < n_rows, other=0),
            )
    else:
        for start in range(0, n, COLUMNS):
            cols = columns + start
            inside = allowed(where, live & (cols < n), cols * where_step, MASK)
            z = _load(x, cols * x_step, inside, t, TEMPERATURE, ACC, FIRST_PASS)
            m = peak(z)
            h, lost = shifted(z, safe(m)[:, None], MODE)
            e = exponential(h, lost, MODE)
            top, rest = join(top, rest, m.to(tl.float64), rest_of(e, inside & (z == safe(m)[:, None])))

    if PHASE == PARTIAL:
        state = states + (rows * blocks + block) * STATE
        tl.store(state, top, mask=rows < n_rows)
        tl.store(state + 1, rest, mask=rows < n_rows)
    elif FUNCTION == LOGSUMEXP:
        value = tl.where(finite(top), top + log1p(rest), tl.where(rest == rest, top, float("nan")))
        if block == 0:
            tl.store(out + rows, rounded(value, out.dtype.element_ty), mask=rows < n_rows)
    else:
        out += place(rows, inner, out_outer, out_inner)[:, None]
        good = (finite(top) & (rest == rest))[:, None]
        shift = safe(top).to(ACC)[:, None]
        if ONE_BLOCK:
            _write(h, lost, e, rest, good, out, cols * out_step, live & (cols < n), inside, FUNCTION, MODE, ACC, MASK)
        else:
            first = block * COLUMNS
            last = n if PHASE != FINISH else tl.minimum(n, first + COLUMNS)
            for start in range(first, last.to(INDEX), COLUMNS):
                cols = columns + start
                inside = allowed(where, live & (cols < n), cols * where_step, MASK)
                z = _load(x, cols * x_step, inside, t, TEMPERATURE, ACC, SECOND_PASS)
                h, lost = shifted(z, shift, MODE)
                e = h
                if FUNCTION == SOFTMAX:
                    e = exponential(h, lost, MODE)
                _write(
                    h, lost, e, rest, good, out, cols * out_step, live & (cols < n), inside, FUNCTION, MODE, ACC, MASK
                )


@triton.jit
def _write(
    h, lost, e, rest, good, out, offsets, within, inside,
    FUNCTION: tl.constexpr, MODE: tl.constexpr, ACC: tl.constexpr, MASK: tl.constexpr,
):  # fmt: skip
    """Store one block of softmax or log_softmax."""
    if FUNCTION == SOFTMAX:
        y = probability(e, rest, MODE)
        masked = 0.0
    else:
        y = h + (lost - log1p(rest).to(ACC)[:, None])
        masked = -_INF
    y = tl.where(good, y, float("nan"))
    if MASK:
        y = tl.where(inside, y, masked)
    tl.store(out + offsets, rounded(y, out.dtype.element_ty), mask=within)


@triton.jit
def _product_state(z, u, inside, cols, FUNCTION: tl.constexpr, MODE: tl.constexpr, INDEX: tl.constexpr):
    """Maximum, rest, place of the first maximum, cotangent there, and the sum that the product needs; and what it used.

    The sum is that of e·(u - u there) for JACOBIAN and CENTRED, of the u elsewhere for RESIDUAL.
    """
    m = peak(z)
    h, lost = shifted(z, safe(m)[:, None], MODE)
    e = exponential(h, lost, MODE)
    is_top = inside & (z == safe(m)[:, None])
    rest = rest_of(e, is_top)
    place_of_top = first_place(is_top, cols, INDEX)
    first = cols == place_of_top[:, None]
    u_top = tl.sum(tl.where(first, u, 0.0), 1)
    if FUNCTION == RESIDUAL:
        total = tl.sum(tl.where(first, 0.0, u), 1)
    else:
        total = tl.sum(tl.where(inside, e * (u - u_top[:, None]), 0.0), 1)
    return m.to(tl.float64), rest, place_of_top.to(tl.int64), u_top.to(tl.float64), total.to(tl.float64), e


@triton.jit
def _join_products(m1, rest1, at1, u1, sum1, m2, rest2, at2, u2, sum2, FUNCTION: tl.constexpr):
    first = m1 >= m2
    m, rest = join(m1, rest1, m2, rest2)
    if FUNCTION == RESIDUAL:
        total = sum1 + sum2 + tl.where(first, u2, u1)
    else:
        # each sum is moved to the cotangent at the joint maximum
        s1, s2 = 1.0 + rest1, 1.0 + rest2
        w1 = tl.where(s1 == 0.0, 0.0, decay(m1, m) * (sum1 + tl.where(first, 0.0, s1 * (u1 - u2))))
        w2 = tl.where(s2 == 0.0, 0.0, decay(m2, m) * (sum2 + tl.where(first, s2 * (u2 - u1), 0.0)))
        total = w1 + w2
    return m, rest, tl.where(first, at1, at2), tl.where(first, u1, u2), total


@triton.jit
def product_kernel(
    x, g, out, where, states, temperature: "fp64", per_row, n, n_rows, inner,  # noqa: F821, UP037
    x_outer, x_inner, x_step, g_outer, g_inner, g_step, out_outer, out_inner, out_step,
    where_outer, where_inner, where_step,
    FUNCTION: tl.constexpr, MODE: tl.constexpr, ACC: tl.constexpr, INDEX: tl.constexpr, MASK: tl.constexpr,
    TEMPERATURE: tl.constexpr, ONE_BLOCK: tl.constexpr, PHASE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """p·(g - <p, g>)/T, (g - <p, g>)/T or (g - p·sum(g))/T.

    The cotangent is shifted by its entry at the largest probability, which changes nothing (J·1 = 0) and removes the
    cancellation in g - <p, g>; in the last, that entry is what the others leave.
    """
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    live = (rows < n_rows)[:, None]
    if TEMPERATURE == 2:
        t = per_row_temperature(per_row, rows, rows < n_rows, TEMPERATURE, ROWS)[:, None]
    else:
        t = per_row_temperature(temperature, rows, rows < n_rows, TEMPERATURE, ROWS)[:, None]
    x += place(rows, inner, x_outer, x_inner)[:, None]
    g += place(rows, inner, g_outer, g_inner)[:, None]
    if MASK:
        where += place(rows, inner, where_outer, where_inner)[:, None]
    columns = tl.arange(0, COLUMNS)[None, :].to(INDEX)
    block = tl.program_id(1).to(INDEX)
    blocks = (n + COLUMNS - 1) // COLUMNS

    top = tl.full([ROWS], -_INF, tl.float64)
    rest = tl.full([ROWS], -1.0, tl.float64)
    at = tl.full([ROWS], 0, tl.int64)
    u_top = tl.full([ROWS], 0.0, tl.float64)
    total = tl.full([ROWS], 0.0, tl.float64)
    if ONE_BLOCK or PHASE == PARTIAL:
        cols = columns + block * COLUMNS
        inside = allowed(where, live & (cols < n), cols * where_step, MASK)
        z = _load(x, cols * x_step, inside, t, TEMPERATURE, ACC, ONCE)
        u = widen(tl.load(g + cols * g_step, mask=inside, other=0.0), ACC)
        top, rest, at, u_top, total, e = _product_state(z, u, inside, cols, FUNCTION, MODE, INDEX)
    elif PHASE == FINISH:
        for i in range(blocks):
            state = states + (rows * blocks + i) * STATE
            alive = rows < n_rows
            top, rest, at, u_top, total = _join_products(
                top, rest, at, u_top, total,
                tl.load(state, mask=alive, other=-_INF), tl.load(state + 1, mask=alive, other=0.0),
                tl.load(state + 2, mask=alive, other=0.0).to(tl.int64), tl.load(state + 3, mask=alive, other=0.0),
                tl.load(state + 4, mask=alive, other=0.0), FUNCTION,
            )  # fmt: skip
    else:
        for start in range(0, n, COLUMNS):
            cols = columns + start
            inside = allowed(where, live & (cols < n), cols * where_step, MASK)
            z = _load(x, cols * x_step, inside, t, TEMPERATURE, ACC, FIRST_PASS)
            u = widen(tl.load(g + cols * g_step, mask=inside, other=0.0), ACC)
            top2, rest2, at2, u2, total2, e = _product_state(z, u, inside, cols, FUNCTION, MODE, INDEX)
            top, rest, at, u_top, total = _join_products(
                top, rest, at, u_top, total, top2, rest2, at2, u2, total2, FUNCTION
            )

    if PHASE == PARTIAL:
        state = states + (rows * blocks + block) * STATE
        alive = rows < n_rows
        tl.store(state, top, mask=alive)
        tl.store(state + 1, rest, mask=alive)
        tl.store(state + 2, at.to(tl.float64), mask=alive)
        tl.store(state + 3, u_top, mask=alive)
        tl.store(state + 4, total, mask=alive)
    else:
        out += place(rows, inner, out_outer, out_inner)[:, None]
        good = (finite(top) & (rest == rest))[:, None]
        if ONE_BLOCK:
            _write_product(
                e, u, rest, at, u_top, total, good, t, out, cols, out_step, live & (cols < n), inside,
                FUNCTION, MODE, ACC, MASK, TEMPERATURE, ONE_BLOCK, COLUMNS,
            )  # fmt: skip
        else:
            first = block * COLUMNS
            last = n if PHASE != FINISH else tl.minimum(n, first + COLUMNS)
            for start in range(first, last.to(INDEX), COLUMNS):
                cols = columns + start
                inside = allowed(where, live & (cols < n), cols * where_step, MASK)
                u = widen(tl.load(g + cols * g_step, mask=inside, other=0.0), ACC)
                e = u
                if FUNCTION != CENTRED:
                    z = _load(x, cols * x_step, inside, t, TEMPERATURE, ACC, SECOND_PASS)
                    h, lost = shifted(z, safe(top).to(ACC)[:, None], MODE)
                    e = exponential(h, lost, MODE)
                _write_product(
                    e, u, rest, at, u_top, total, good, t, out, cols, out_step, live & (cols < n), inside,
                    FUNCTION, MODE, ACC, MASK, TEMPERATURE, ONE_BLOCK, COLUMNS,
                )  # fmt: skip


@triton.jit
def _write_product(
    e, u, rest, at, u_top, total, good, t, out, cols, out_step, within, inside,
    FUNCTION: tl.constexpr, MODE: tl.constexpr, ACC: tl.constexpr, MASK: tl.constexpr, TEMPERATURE: tl.constexpr,
    ONE_BLOCK: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Store one block of a product."""
    is_first = cols == at[:, None]
    if FUNCTION == RESIDUAL:
        p = probability(e, rest, MODE)
        # at the maximum p is 1 / (1 + rest)
        left = ((u_top * rest - total) / (1.0 + rest)).to(ACC)[:, None]
        y = tl.where(is_first, left, u - p * (u_top + total).to(ACC)[:, None])
    else:
        y = (u - u_top.to(ACC)[:, None]) - (total / (1.0 + rest)).to(ACC)[:, None]
        if FUNCTION == JACOBIAN:
            y = probability(e, rest, MODE) * y
            if ONE_BLOCK and COLUMNS == 2:  # two entries are opposite; rounded apart they would not cancel
                other = tl.sum(tl.where(is_first | (within == 0), 0.0, y), 1)
                y = tl.where(is_first, -other[:, None], y)
    if TEMPERATURE != 0:
        y = y / t.to(ACC)
    y = tl.where(good, y, float("nan"))
    if MASK:
        y = tl.where(inside, y, 0.0)
    tl.store(out + cols * out_step, rounded(y, out.dtype.element_ty), mask=within)
