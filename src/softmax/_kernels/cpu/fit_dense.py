"""Passes over a dense X: for each tile of rows logits, what is wanted of them, and the product back; all from cache.

X is read through (x, base, s0, s1): element (i, j) is x[base + i·s0 + j·s1] of memory seen as one axis. Tiles whose
rows are contiguous, of the arithmetic's dtype and not shifted are read where they lie, others are copied to a buffer.
`packed` are R·K sets of coefficients (`fit_products.pack`), `constant` theirs, padded like them. `goal` is (labels,
soft, weights, offset), each of length 0 if there is none.

Read: X once. Written: sums, and the probabilities, tile by tile (K, step). Never stored: logits.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
import numpy as np
from numpy import uintp as at

from .fit_products import gradient_tile, logits_tile
from .fit_tiles import along_tile, curvature_tile, excess_tile, residual_tile
from .fit_vectors import lanes_of, readable, same_kind
from .simd import LANES, kernel


@kernel
def copy_tile(x, base, s0, s1, shift, rows, n, width, buffer):
    """X - shift of some rows into a buffer (rows, width)."""
    if s1 <= s0:
        for i in range(rows):
            start, to = base + i * s0, i * width
            for j in range(n):
                buffer[at(to + j)] = x[at(start + j * s1)]
    else:
        for j in range(n):
            start = base + j * s1
            for i in range(rows):
                buffer[at(i * width + j)] = x[at(start + i * s0)]
    if shift.size > 0:
        for i in range(rows):
            to, start = i * width, base + i * s0
            for j in range(n):
                buffer[at(to + j)] = x[at(start + j * s1)] - shift[at(j)]


@kernel
def fill_tile(first, rows, step, n_classes, labels, soft, weights, label_tile, soft_tile, weight_tile):
    """Labels, probabilities and weights of a tile; the columns behind the last row get its target and weight 0."""
    last = first + rows - 1
    for i in range(step):
        row = min(first + i, last)
        if labels.size > 0:
            label_tile[at(i)] = labels[at(row)]
        if first + i > last:
            weight_tile[at(i)] = 0.0
        else:
            weight_tile[at(i)] = weights[at(row)] if weights.size > 0 else 1.0
        if soft.size > 0:
            for k in range(n_classes):
                soft_tile[at(k * step + i)] = soft[at(row * n_classes + k)]


@kernel
def add_offset(z, step, first, rows, n_classes, sets, offset):
    """z[(r K + k) step + i] += offset[(first + i) K + k]; the last row stands for those behind it."""
    last = first + rows - 1
    for i in range(step):
        row = min(first + i, last)
        for r in range(sets):
            for k in range(n_classes):
                z[at((r * n_classes + k) * step + i)] += offset[at(row * n_classes + k)]


@kernel
def fold_excess(lanes, excess):
    """excess[k] += Σ lanes[16 k ...]."""
    for k in range(excess.size):
        total = 0.0
        for i in range(LANES):
            total += lanes[at(k * LANES + i)]
        excess[at(k)] += total


@kernel
def tile_of(x, base, s0, s1, shift, first, rows, n, width, buffer):
    """(whether the tile can be read where it lies, its base, the step from row to row); else it is copied."""
    start = base + first * s0
    if same_kind(x, buffer) and s1 == 1 and shift.size == 0 and start + (rows - 1) * s0 + width <= x.size:
        return True, start, s0
    copy_tile(x, start, s0, s1, shift, rows, n, width, buffer)
    return False, 0, width


@kernel
def evaluate(
    x,
    base,
    s0,
    s1,
    n,
    shift,
    start,
    stop,
    step,
    packed,
    constant,
    n_classes,
    goal,
    kept,
    losses,
    gradient,
    width,
    excess,
):
    """As `portable_fit.Dense.evaluate`."""
    labels, soft, weights, offset = goal
    size = losses.size * n_classes
    dtype = packed.dtype
    z = np.zeros((max(constant.size, gradient.size // width)) * step, dtype)
    buffer = np.zeros(step * width, dtype)
    label_tile, weight_tile = np.zeros(step, dtype), np.zeros(step, dtype)
    soft_tile = np.zeros(n_classes * step if soft.size > 0 else 0, dtype)
    lanes = np.zeros(size * LANES)
    none = kept[:0]
    for first in range(start, stop, step):
        rows = min(step, stop - first)
        lies, here, ld = tile_of(x, base, s0, s1, shift, first, rows, n, width, buffer)
        tile = readable(x, buffer, lies)
        fill_tile(first, rows, step, n_classes, labels, soft, weights, label_tile, soft_tile, weight_tile)
        logits_tile(tile, here, ld, rows, n, packed, constant, z, step)
        if offset.size > 0:
            add_offset(z, step, first, rows, n_classes, losses.size, offset)
        for r in range(losses.size):
            keep = kept if r == losses.size - 1 else none
            losses[at(r)] += residual_tile(
                z,
                r * n_classes * step,
                step,
                rows,
                n_classes,
                label_tile,
                soft_tile,
                weight_tile,
                keep,
                first * n_classes,
            )
        excess_tile(z, step, rows, lanes)
        gradient_tile(tile, here, ld, rows, z, step, gradient, width)
    fold_excess(lanes, excess)


@kernel
def product(
    x, base, s0, s1, n, shift, start, stop, step, packed, constant, n_classes, weights, kept, gradient, width, excess
):
    """As `portable_fit.Dense.product`."""
    size = excess.size
    dtype = packed.dtype
    z = np.zeros((max(constant.size, gradient.size // width)) * step, dtype)
    buffer = np.zeros(step * width, dtype)
    weight_tile, none = np.zeros(step, dtype), np.zeros(0, dtype)
    lanes = np.zeros(size * LANES)
    for first in range(start, stop, step):
        rows = min(step, stop - first)
        lies, here, ld = tile_of(x, base, s0, s1, shift, first, rows, n, width, buffer)
        tile = readable(x, buffer, lies)
        fill_tile(first, rows, step, n_classes, weights[:0], weights[:0], weights, none, none, weight_tile)
        logits_tile(tile, here, ld, rows, n, packed, constant, z, step)
        for r in range(0, size, n_classes):
            curvature_tile(z, r * step, step, rows, n_classes, weight_tile, kept, first * n_classes)
        excess_tile(z, step, rows, lanes)
        gradient_tile(tile, here, ld, rows, z, step, gradient, width)
    fold_excess(lanes, excess)


@kernel
def product_anew(
    x, base, s0, s1, n, shift, start, stop, step, coef, coef_constant, packed, constant, n_classes, goal, gradient, width,
    excess,
):  # fmt: skip
    """As `portable_fit.Dense.product_anew`."""
    _, _, weights, offset = goal
    size = excess.size
    dtype = packed.dtype
    z = np.zeros((max(constant.size, gradient.size // width)) * step, dtype)
    buffer = np.zeros(step * width, dtype)
    label_tile, weight_tile, none = np.zeros(step, dtype), np.zeros(step, dtype), np.zeros(0, dtype)
    lanes = np.zeros(size * LANES)
    kept = np.zeros(n_classes * step, np.float32)
    for first in range(start, stop, step):
        rows = min(step, stop - first)
        lies, here, ld = tile_of(x, base, s0, s1, shift, first, rows, n, width, buffer)
        tile = readable(x, buffer, lies)
        fill_tile(first, rows, step, n_classes, weights[:0], weights[:0], weights, label_tile, none, weight_tile)
        logits_tile(tile, here, ld, rows, n, coef, coef_constant, z, step)
        if offset.size > 0:
            add_offset(z, step, first, rows, n_classes, 1, offset)
        residual_tile(z, 0, step, rows, n_classes, label_tile, none, weight_tile, kept, 0)
        logits_tile(tile, here, ld, rows, n, packed, constant, z, step)
        for r in range(0, size, n_classes):
            curvature_tile(z, r * step, step, rows, n_classes, weight_tile, kept, 0)
        excess_tile(z, step, rows, lanes)
        gradient_tile(tile, here, ld, rows, z, step, gradient, width)
    fold_excess(lanes, excess)


@kernel
def along(
    x, base, s0, s1, n, shift, start, stop, step, coef, coef_constant, move, move_constant, n_classes, goal, steps, sums
):
    """As `portable_fit.Dense.along`; sums (2 S,)."""
    labels, soft, weights, offset = goal
    dtype = coef.dtype
    z, u = np.zeros(coef_constant.size * step, dtype), np.zeros(coef_constant.size * step, dtype)
    lanes = lanes_of(coef)
    width = (n + lanes - 1) // lanes * lanes
    buffer = np.zeros(step * width, dtype)
    label_tile, weight_tile = np.full(step, -1.0).astype(dtype), np.zeros(step, dtype)
    soft_tile = np.zeros(n_classes * step if soft.size > 0 else 0, dtype)
    for first in range(start, stop, step):
        rows = min(step, stop - first)
        lies, here, ld = tile_of(x, base, s0, s1, shift, first, rows, n, width, buffer)
        tile = readable(x, buffer, lies)
        fill_tile(first, rows, step, n_classes, labels, soft, weights, label_tile, soft_tile, weight_tile)
        logits_tile(tile, here, ld, rows, n, coef, coef_constant, z, step)
        if offset.size > 0:
            add_offset(z, step, first, rows, n_classes, 1, offset)
        logits_tile(tile, here, ld, rows, n, move, move_constant, u, step)
        along_tile(z, u, step, rows, n_classes, label_tile, soft_tile, weight_tile, steps, sums)


@kernel
def probabilities(x, base, s0, s1, n, shift, start, stop, step, packed, constant, n_classes, offset, out):
    """softmax of rows start ... stop into out (K, stop - start), float64."""
    z = np.zeros(constant.size * step, packed.dtype)
    lanes = lanes_of(packed)
    width = (n + lanes - 1) // lanes * lanes
    buffer = np.zeros(step * width, packed.dtype)
    for first in range(start, stop, step):
        rows = min(step, stop - first)
        lies, here, ld = tile_of(x, base, s0, s1, shift, first, rows, n, width, buffer)
        logits_tile(readable(x, buffer, lies), here, ld, rows, n, packed, constant, z, step)
        if offset.size > 0:
            add_offset(z, step, first, rows, n_classes, 1, offset)
        for i in range(rows):
            top = z[at(i)]
            for k in range(1, n_classes):
                top = max(top, z[at(k * step + i)])
            total = 0.0
            for k in range(n_classes):
                e = np.exp(z[at(k * step + i)] - top)
                total += e
                out[k, first - start + i] = e
            for k in range(n_classes):
                out[k, first - start + i] /= total


@kernel
def column_sums(x, base, s0, s1, n, start, stop, weights, centre, total):
    """total (d,) += Σ w x; with a centre, Σ w (x - centre)²."""
    for i in range(start, stop):
        weight = weights[at(i)] if weights.size > 0 else 1.0
        here = base + i * s0
        if centre.size > 0:
            for j in range(n):
                v = x[at(here + j * s1)] - centre[at(j)]
                total[at(j)] += weight * (v * v)
        else:
            for j in range(n):
                total[at(j)] += weight * x[at(here + j * s1)]
