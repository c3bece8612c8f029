"""Sixteen rows at a time, one to a lane: rows side by side (softmax over another axis than the last), or short ones.

Element i of the row in lane j stands at base + i * step + j; short rows are first turned so, in a tile.
The sums are those of rows.py in the same order (partial sum i % 16, then halves): the bits are the same.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
import math

import numpy as np
from numpy import uintp as at  # an unsigned index needs no test for negative values

from .exp import add, add_to_larger, exp_shifted, quotient, reciprocal, scratch, shifted_minus, two_sum
from .rows import KEEP, buffer, lane_start, log_of_sum, logsumexp_of
from .simd import (
    LANES,
    align_stack,
    equal,
    gather,
    inlined,
    kernel,
    larger,
    load,
    load_part,
    scatter,
    select,
    splat,
    store,
    store_part,
)


@inlined
def _fold(sums, n, start, like):
    """Add the partial sums of each lane as rows.py does, n of them if there are fewer than 16; errors stand behind."""
    behind = LANES * LANES
    filled = min(n, LANES)
    half = LANES // 2
    while half > 0:
        for k in range(0, (filled - half) * LANES, LANES):
            other = k + half * LANES
            error = load(sums, behind + k) + load(sums, behind + other)
            total, error = add(load(sums, k), error, load(sums, other), like)
            store(sums, k, total)
            store(sums, behind + k, error)
        filled = min(filled, half)
        half //= 2
    return two_sum(load(sums, 0) - splat(LANES * start), load(sums, behind))


@inlined
def _softmax(x, base, step, n, out, obase, ostep, memory, sums, keep):
    """softmax of sixteen rows; element i of lane j stands at base + i * step + j."""
    top = load(x, base)
    for i in range(1, n):
        top = larger(top, load(x, base + i * step))
    top = larger(splat(x.dtype.type(-np.inf)), top)
    e, first = scratch(memory, out, obase)
    stride = ostep if x.itemsize == 8 else LANES
    behind = LANES * LANES
    start = lane_start(n, top)
    for i in range(n):
        v = exp_shifted(load(x, base + i * step), top)
        if keep:
            store(e, first + i * stride, v)
        k = (i % LANES) * LANES
        total, error = splat(start), splat(0.0)
        if i >= LANES:
            total, error = load(sums, k), load(sums, behind + k)
        total, error = add_to_larger(total, error, v, top)
        store(sums, k, total)
        store(sums, behind + k, error)
    total, error = _fold(sums, n, start, top)
    high, low = reciprocal(total, error, splat(1.0))
    for i in range(n):
        v = load(e, first + i * stride) if keep else exp_shifted(load(x, base + i * step), top)
        store(out, obase + i * ostep, quotient(v, high, low, top))


@kernel
def softmax_columns(x, n, inner, out):
    """softmax over the middle axis of (outer, n, inner)."""
    align_stack()
    keep = x.itemsize == 8 or n * LANES <= KEEP
    memory = buffer(n * LANES if keep and x.itemsize < 8 else 0)
    sums = buffer(2 * LANES * LANES)
    whole = inner // LANES * LANES
    tile = np.empty(n * LANES if whole < inner else 0, x.dtype)
    for base in range(0, x.size, n * inner):
        for column in range(base, base + whole, LANES):
            _softmax(x, column, inner, n, out, column, inner, memory, sums, keep)
        if whole < inner:
            column, width = base + whole, inner - whole
            for i in range(n):
                store(tile, i * LANES, load_part(x, column + i * inner, width, x.dtype.type(0)))
            _softmax(tile, 0, LANES, n, tile, 0, LANES, memory, sums, keep)
            for i in range(n):
                store_part(out, column + i * inner, width, load(tile, i * LANES))


@inlined
def _gather_rows(x, base, n, tile):
    """Turn sixteen rows of n elements into n vectors."""
    for i in range(n):
        store(tile, i * LANES, gather(x, base + i, n))


@kernel
def softmax_short_rows(x, n, out):
    """softmax of rows of n elements, a multiple of 16 of them."""
    align_stack()
    memory = buffer(n * LANES if x.itemsize < 8 else 0)
    sums = buffer(2 * LANES * LANES)
    tile = np.empty(n * LANES, x.dtype)
    for base in range(0, x.size, n * LANES):
        _gather_rows(x, base, n, tile)
        _softmax(tile, 0, LANES, n, tile, 0, LANES, memory, sums, True)
        for i in range(n):
            scatter(out, base + i, n, load(tile, i * LANES))


@inlined
def _log_sums(tile, n, sums, tops, logs):
    """The maxima and the logarithms of the sums of sixteen rows, as rows.py has them."""
    top = load(tile, 0)
    for i in range(1, n):
        top = larger(top, load(tile, i * LANES))
    top = larger(splat(tile.dtype.type(-np.inf)), top)
    behind = LANES * LANES
    ties = splat(0.0)
    for i in range(n):
        x = load(tile, i * LANES)
        tie = equal(x, top)
        ties = ties + select(tie, splat(1.0), splat(0.0))
        k = (i % LANES) * LANES
        total, error = splat(0.0), splat(0.0)
        if i >= LANES:
            total, error = load(sums, k), load(sums, behind + k)
        total, error = add(total, error, select(tie, splat(0.0), exp_shifted(x, top)), top)
        store(sums, k, total)
        store(sums, behind + k, error)
    rest, error = _fold(sums, n, 0.0, top)
    store(tops, 0, top)
    store(logs, 0, rest + error)
    store(logs, LANES, ties)
    for j in range(LANES):
        log_sum = log_of_sum(logs[at(j + LANES)], logs[at(j)], 0.0, top)
        logs[at(j)] = np.nan if math.isinf(tops[at(j)]) else log_sum


@kernel
def log_softmax_short_rows(x, n, out):
    """log_softmax of rows of n elements, a multiple of 16 of them."""
    align_stack()
    sums, logs = buffer(2 * LANES * LANES), buffer(2 * LANES)
    tile, tops = np.empty(n * LANES, x.dtype), np.empty(LANES, x.dtype)
    for base in range(0, x.size, n * LANES):
        _gather_rows(x, base, n, tile)
        _log_sums(tile, n, sums, tops, logs)
        top, log_sums = load(tops, 0), load(logs, 0)
        for i in range(n):
            scatter(out, base + i, n, shifted_minus(load(tile, i * LANES), top, log_sums, top))


@kernel
def logsumexp_short_rows(x, n, out):
    """logsumexp of rows of n elements, a multiple of 16 of them."""
    align_stack()
    sums, logs = buffer(2 * LANES * LANES), buffer(2 * LANES)
    tile, tops = np.empty(n * LANES, x.dtype), np.empty(LANES, x.dtype)
    for row in range(0, out.size, LANES):
        _gather_rows(x, row * n, n, tile)
        _log_sums(tile, n, sums, tops, logs)
        for j in range(LANES):
            out[at(row + j)] = logsumexp_of(x, (row + j) * n, n, tops[at(j)], logs[at(j)])
