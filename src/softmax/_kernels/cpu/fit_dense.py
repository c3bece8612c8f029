"""Passes over a dense X: for each tile of rows logits, what is wanted of them, and the product back; all from cache.

X is read through (x, base, s0, s1): element (i, j) is x[base + i·s0 + j·s1] of memory seen as one axis. Tiles whose
rows are contiguous, of the arithmetic's dtype and not shifted are read where they lie, others are copied to a buffer.
`packed` are R·K sets of coefficients (`fit_products.pack`), `constant` theirs, padded like them. `goal` is (labels,
soft, weights, offset), each of length 0 if there is none.

Read: X once. Written: sums, and the probabilities, tile by tile (K, step). Never stored: logits.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
import math

from numpy import uintp as at

from .fit_products import gradient_tile, logits_tile, pack
from .fit_tiles import along_tile, curvature_tile, excess_tile, residual_tile
from .fit_vectors import inner, readable, same_kind
from .simd import LANES, align_stack, kernel


@inner
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


@inner
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


@inner
def add_offset(z, step, first, rows, n_classes, sets, offset):
    """z[(r K + k) step + i] += offset[(first + i) K + k]; the last row stands for those behind it."""
    last = first + rows - 1
    for i in range(step):
        row = min(first + i, last)
        for r in range(sets):
            for k in range(n_classes):
                z[at((r * n_classes + k) * step + i)] += offset[at(row * n_classes + k)]


@inner
def tile_of(x, place, shift, first, rows, width, buffer):
    """(whether the tile can be read where it lies, its base, the step from row to row); else it is copied."""
    base, s0, s1, n = place
    start = base + first * s0
    if same_kind(x, buffer) and s1 == 1 and shift.size == 0 and start + (rows - 1) * s0 + width <= x.size:
        return True, start, s0
    copy_tile(x, start, s0, s1, shift, rows, n, width, buffer)
    return False, 0, width


@kernel
def evaluate(x, place, shift, start, stop, step, at_, n_classes, goal, kept, losses, gradient, width, excess, scratch):
    """As `portable_fit.Dense.evaluate`; excess (R·K·16,) by lanes."""
    align_stack()
    packed, constant = at_
    labels, soft, weights, offset = goal
    z, buffer, panel, label_tile, weight_tile, soft_tile = scratch
    none = kept[:0]
    for first in range(start, stop, step):
        rows = min(step, stop - first)
        lies, here, ld = tile_of(x, place, shift, first, rows, width, buffer)
        tile = readable(x, buffer, lies)
        fill_tile(first, rows, step, n_classes, labels, soft, weights, label_tile, soft_tile, weight_tile)
        logits_tile(tile, here, ld, rows, place[3], packed, constant, z, step)
        if offset.size > 0:
            add_offset(z, step, first, rows, n_classes, losses.size, offset)
        for r in range(losses.size):
            keep = kept if r == losses.size - 1 else none
            own, to = r * n_classes * step, first * n_classes
            losses[at(r)] += residual_tile(z, own, step, rows, n_classes, label_tile, soft_tile, weight_tile, keep, to)
        excess_tile(z, step, rows, excess)
        gradient_tile(tile, here, ld, rows, z, step, gradient, width, panel)


@kernel
def product(x, place, shift, start, stop, step, move, n_classes, weights, kept, gradient, width, excess, scratch):
    """As `portable_fit.Dense.product`; excess (R·K·16,) by lanes."""
    align_stack()
    packed, constant = move
    z, buffer, panel, label_tile, weight_tile, soft_tile = scratch
    none = weights[:0]
    for first in range(start, stop, step):
        rows = min(step, stop - first)
        lies, here, ld = tile_of(x, place, shift, first, rows, width, buffer)
        tile = readable(x, buffer, lies)
        fill_tile(first, rows, step, n_classes, none, none, weights, label_tile, soft_tile, weight_tile)
        logits_tile(tile, here, ld, rows, place[3], packed, constant, z, step)
        for k in range(0, excess.size // LANES, n_classes):
            curvature_tile(z, k * step, step, rows, n_classes, weight_tile, kept, first * n_classes)
        excess_tile(z, step, rows, excess)
        gradient_tile(tile, here, ld, rows, z, step, gradient, width, panel)


@kernel
def product_anew(
    x, place, shift, start, stop, step, at_, move, n_classes, goal, kept, gradient, width, excess, scratch
):
    """As `portable_fit.Dense.product_anew`; excess (R·K·16,) by lanes, kept (K, step) for the tile at hand."""
    align_stack()
    coef, coef_constant = at_
    packed, constant = move
    weights, offset = goal[2], goal[3]
    z, buffer, panel, label_tile, weight_tile, soft_tile = scratch
    none = weights[:0]
    for first in range(start, stop, step):
        rows = min(step, stop - first)
        lies, here, ld = tile_of(x, place, shift, first, rows, width, buffer)
        tile = readable(x, buffer, lies)
        fill_tile(first, rows, step, n_classes, none, none, weights, label_tile, soft_tile, weight_tile)
        logits_tile(tile, here, ld, rows, place[3], coef, coef_constant, z, step)
        if offset.size > 0:
            add_offset(z, step, first, rows, n_classes, 1, offset)
        residual_tile(z, 0, step, rows, n_classes, label_tile, soft_tile, weight_tile, kept, 0)
        logits_tile(tile, here, ld, rows, place[3], packed, constant, z, step)
        for k in range(0, excess.size // LANES, n_classes):
            curvature_tile(z, k * step, step, rows, n_classes, weight_tile, kept, 0)
        excess_tile(z, step, rows, excess)
        gradient_tile(tile, here, ld, rows, z, step, gradient, width, panel)


@kernel
def along(x, place, shift, start, stop, step, at_, move, n_classes, goal, steps, sums, width, scratch, u):
    """As `portable_fit.Dense.along`; sums (2 S,), u as the z of scratch; labels of scratch are -1."""
    align_stack()
    labels, soft, weights, offset = goal
    z, buffer, _, label_tile, weight_tile, soft_tile = scratch
    for first in range(start, stop, step):
        rows = min(step, stop - first)
        lies, here, ld = tile_of(x, place, shift, first, rows, width, buffer)
        tile = readable(x, buffer, lies)
        fill_tile(first, rows, step, n_classes, labels, soft, weights, label_tile, soft_tile, weight_tile)
        logits_tile(tile, here, ld, rows, place[3], at_[0], at_[1], z, step)
        if offset.size > 0:
            add_offset(z, step, first, rows, n_classes, 1, offset)
        logits_tile(tile, here, ld, rows, place[3], move[0], move[1], u, step)
        along_tile(z, u, step, rows, n_classes, label_tile, soft_tile, weight_tile, steps, sums)


@kernel
def probabilities(x, place, shift, start, stop, step, at_, n_classes, offset, width, scratch, out):
    """softmax of rows start ... stop into out (K, stop - start), float64."""
    align_stack()
    z, buffer = scratch[0], scratch[1]
    for first in range(start, stop, step):
        rows = min(step, stop - first)
        lies, here, ld = tile_of(x, place, shift, first, rows, width, buffer)
        logits_tile(readable(x, buffer, lies), here, ld, rows, place[3], at_[0], at_[1], z, step)
        if offset.size > 0:
            add_offset(z, step, first, rows, n_classes, 1, offset)
        for i in range(rows):
            top = z[at(i)]
            for k in range(1, n_classes):
                top = max(top, z[at(k * step + i)])
            total = 0.0
            for k in range(n_classes):
                e = math.exp(z[at(k * step + i)] - top)
                total += e
                out[k, first - start + i] = e
            for k in range(n_classes):
                out[k, first - start + i] /= total


@kernel
def column_sums(x, place, start, stop, weights, centre, total):
    """total (d,) += Σ w x; with a centre, Σ w (x - centre)²."""
    align_stack()
    base, s0, s1, n = place
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


@kernel
def prepare_point(point, mean, intercept, coef, constant_of, packed, constant):
    """A point (K, p) as coefficients (K, d) and intercepts (K,), and packed; mean (d,)."""
    align_stack()
    n_classes, n = coef.shape
    for k in range(n_classes):
        total = 0.0
        for j in range(n):
            coef[k, j] = point[k, j]
            total += point[k, j] * mean[j]
        constant_of[k] = point[k, n] - total if intercept else 0.0
        constant[k] = constant_of[k]
    pack(coef, packed)


@kernel
def finish_sums(total, lanes, weight, mean, intercept, ridge, coef, sums, excess, gradient):
    """From the sums of a pass: those of the centred rows, (K, d) and (K,), and the gradient (K, p); ½ Σ λ W².

    `total` (K or more, d or more), lanes (K, 16); both are set to 0 again.
    """
    align_stack()
    n_classes, n = sums.shape
    value = 0.0
    for k in range(n_classes):
        own = 0.0
        for i in range(LANES):
            own += lanes[k, i]
            lanes[k, i] = 0.0
        own /= weight
        excess[k] = own
        shift = own if intercept else 0.0
        for j in range(n):
            g = total[k, j] / weight - shift * mean[j]
            pull = ridge[j] * coef[k, j]
            sums[k, j] = g
            gradient[k, j] = g + pull
            value += pull * coef[k, j]
        if intercept:
            gradient[k, n] = own
    total[:] = 0.0
    return 0.5 * value
