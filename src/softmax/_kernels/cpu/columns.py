"""softmax of sixteen rows at a time, one to a lane: rows side by side (another axis than the last), or short ones.

Element i of the row in lane j stands at base + i * step + j; short rows are first turned so, in a tile.
The sums are those of rows.py in the same order (partial sum i % 16, then halves): the bits are the same.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
import numpy as np

from .exp import add, add_to_larger, exp_shifted, quotient, reciprocal, scratch, two_sum
from .rows import KEEP, buffer, lane_start
from .simd import (
    LANES,
    align_stack,
    gather,
    inlined,
    kernel,
    larger,
    load,
    load_part,
    scatter,
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


@kernel
def softmax_short_rows(x, n, out):
    """softmax of rows of n elements, a multiple of 16 of them."""
    align_stack()
    memory = buffer(n * LANES if x.itemsize < 8 else 0)
    sums = buffer(2 * LANES * LANES)
    tile = np.empty(n * LANES, x.dtype)
    for base in range(0, x.size, n * LANES):
        for i in range(n):
            store(tile, i * LANES, gather(x, base + i, n))
        _softmax(tile, 0, LANES, n, tile, 0, LANES, memory, sums, True)
        for i in range(n):
            scatter(out, base + i, n, load(tile, i * LANES))
