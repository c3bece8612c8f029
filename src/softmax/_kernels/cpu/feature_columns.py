"""What a kernel does with one column of X, sparse or dense.

Columns come as a tuple: of three arrays where they are sparse (values, rows, starts), of (values, width) where they are
dense, and then column j is row j of `values`, padded to `width`, a multiple of 16. One meaning, one implementation per
kind of tuple, chosen when a kernel is compiled.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from numba.extending import overload
from numpy import uintp as at  # an unsigned index needs no test for negative values

from .simd import LANES, fma, halves, inlined, lane, load, splat, store

_INLINE = {"forceinline": True, "error_model": "numpy"}


def dot(columns, slot, v):  # pragma: no cover - compiled
    """⟨x_slot, v⟩."""


def weighted_square(columns, slot, h):  # pragma: no cover - compiled
    """⟨x_slot², h⟩."""


def move(columns, slot, step, h, v, change):  # pragma: no cover - compiled
    """v += step · h · x_slot, change += step · x_slot."""


def add(columns, slot, step, out, start):  # pragma: no cover - compiled
    """out[start:] += step · x_slot."""


def spread(columns, slot, h, out):  # pragma: no cover - compiled
    """out = h · x_slot where x_slot is not 0."""


def clear(columns, slot, out):  # pragma: no cover - compiled
    """out = 0 there."""


def slope_of(columns, slot, probability, change, begin, mean, weights):  # pragma: no cover - compiled
    """⟨x_slot, π p (u − s)⟩ of the class that begins at `begin`."""


def shift_class(columns, slot, step, probability, change, begin, mean):  # pragma: no cover - compiled
    """u += step · x_slot, s += step · p · x_slot."""


@inlined
def fold(v):
    """The sum of the lanes."""
    a8, b8 = halves(v)
    a4, b4 = halves(a8 + b8)
    a2, b2 = halves(a4 + b4)
    a1, b1 = halves(a2 + b2)
    return lane(a1 + b1, 0)


@overload(dot, jit_options=_INLINE)
def _dot(columns, slot, v):
    def sparse(columns, slot, v):
        values, rows, starts = columns
        a, b, c, d = 0.0, 0.0, 0.0, 0.0
        first, last = starts[slot], starts[slot + 1]
        whole = first + (last - first) // 4 * 4
        for e in range(first, whole, 4):
            a += values[at(e)] * v[at(rows[at(e)])]
            b += values[at(e + 1)] * v[at(rows[at(e + 1)])]
            c += values[at(e + 2)] * v[at(rows[at(e + 2)])]
            d += values[at(e + 3)] * v[at(rows[at(e + 3)])]
        for e in range(whole, last):
            a += values[at(e)] * v[at(rows[at(e)])]
        return (a + b) + (c + d)

    def dense(columns, slot, v):
        values, width = columns
        total = splat(0.0)
        for i in range(0, v.size, LANES):
            total = fma(load(values, slot * width + i), load(v, i), total)
        return fold(total)

    return sparse if len(columns) == 3 else dense


@overload(weighted_square, jit_options=_INLINE)
def _weighted_square(columns, slot, h):
    def sparse(columns, slot, h):
        values, rows, starts = columns
        total = 0.0
        for e in range(starts[slot], starts[slot + 1]):
            total += values[at(e)] ** 2 * h[at(rows[at(e)])]
        return total

    def dense(columns, slot, h):
        values, width = columns
        total = splat(0.0)
        for i in range(0, h.size, LANES):
            x = load(values, slot * width + i)
            total = fma(x * x, load(h, i), total)
        return fold(total)

    return sparse if len(columns) == 3 else dense


@overload(move, jit_options=_INLINE)
def _move(columns, slot, step, h, v, change):
    def sparse(columns, slot, step, h, v, change):
        values, rows, starts = columns
        for e in range(starts[slot], starts[slot + 1]):
            i = at(rows[at(e)])
            shift = step * values[at(e)]
            v[i] += h[i] * shift
            change[i] += shift

    def dense(columns, slot, step, h, v, change):
        values, width = columns
        for i in range(0, v.size, LANES):
            shift = splat(step) * load(values, slot * width + i)
            store(v, i, fma(load(h, i), shift, load(v, i)))
            store(change, i, load(change, i) + shift)

    return sparse if len(columns) == 3 else dense


@overload(add, jit_options=_INLINE)
def _add(columns, slot, step, out, start):
    def sparse(columns, slot, step, out, start):
        values, rows, starts = columns
        for e in range(starts[slot], starts[slot + 1]):
            out[at(start + rows[at(e)])] += step * values[at(e)]

    def dense(columns, slot, step, out, start):
        values, width = columns
        for i in range(0, width, LANES):
            store(out, start + i, fma(splat(step), load(values, slot * width + i), load(out, start + i)))

    return sparse if len(columns) == 3 else dense


@overload(spread, jit_options=_INLINE)
def _spread(columns, slot, h, out):
    def sparse(columns, slot, h, out):
        values, rows, starts = columns
        for e in range(starts[slot], starts[slot + 1]):
            i = at(rows[at(e)])
            out[i] = h[i] * values[at(e)]

    def dense(columns, slot, h, out):
        values, width = columns
        for i in range(0, h.size, LANES):
            store(out, i, load(values, slot * width + i) * load(h, i))

    return sparse if len(columns) == 3 else dense


@overload(clear, jit_options=_INLINE)
def _clear(columns, slot, out):
    def sparse(columns, slot, out):
        _, rows, starts = columns
        for e in range(starts[slot], starts[slot + 1]):
            out[at(rows[at(e)])] = 0.0

    def dense(columns, slot, out):
        out[:] = 0.0

    return sparse if len(columns) == 3 else dense


@overload(slope_of, jit_options=_INLINE)
def _slope_of(columns, slot, probability, change, begin, mean, weights):
    def sparse(columns, slot, probability, change, begin, mean, weights):
        values, rows, starts = columns
        total = 0.0
        for e in range(starts[slot], starts[slot + 1]):
            i = at(rows[at(e)])
            here = at(begin) + i
            total += values[at(e)] * weights[i] * probability[here] * (change[here] - mean[i])
        return total

    def dense(columns, slot, probability, change, begin, mean, weights):
        values, width = columns
        total = splat(0.0)
        for i in range(0, width, LANES):
            inner = load(probability, begin + i) * (load(change, begin + i) - load(mean, i))
            total = fma(load(values, slot * width + i) * load(weights, i), inner, total)
        return fold(total)

    return sparse if len(columns) == 3 else dense


@overload(shift_class, jit_options=_INLINE)
def _shift_class(columns, slot, step, probability, change, begin, mean):
    def sparse(columns, slot, step, probability, change, begin, mean):
        values, rows, starts = columns
        for e in range(starts[slot], starts[slot + 1]):
            i = at(rows[at(e)])
            here = at(begin) + i
            shift = step * values[at(e)]
            change[here] += shift
            mean[i] += shift * probability[here]

    def dense(columns, slot, step, probability, change, begin, mean):
        values, width = columns
        for i in range(0, width, LANES):
            shift = splat(step) * load(values, slot * width + i)
            store(change, begin + i, load(change, begin + i) + shift)
            store(mean, i, fma(load(probability, begin + i), shift, load(mean, i)))

    return sparse if len(columns) == 3 else dense
