"""Products of a tile of rows with all coefficients, and back: small matrix products with registers written out.

A general product packs both operands first, which costs more than the product where there are few classes. Here the
rows are read where they lie: four of them against up to three registers of coefficients, twelve sums in registers.

    z (K, T) = W xᵀ + constant       lanes are classes; the four rows are turned on their way to memory
    G (K, d) += r x                  lanes are features
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
import numpy as np
from numpy import uintp as at

from .fit_vectors import (
    add_register,
    broadcast,
    lanes_of,
    load_register,
    once,
    store_register,
    store_turned,
    zero_register,
)
from .simd import align_stack, fma, inlined, kernel

COPY_FROM = 32  # classes from which on a panel of a tile is copied before it is multiplied


@inlined
def _logits3(x, a, b, c, d, n, w, start, constant, k, z, to, step):
    size = lanes_of(x)
    p0 = p1 = p2 = p3 = load_register(constant, k)
    q0 = q1 = q2 = q3 = load_register(constant, k + size)
    r0 = r1 = r2 = r3 = load_register(constant, k + 2 * size)
    for j in range(n):
        once()
        u = load_register(w, start)
        v = load_register(w, start + size)
        t = load_register(w, start + 2 * size)
        start += 3 * size
        s = broadcast(x, a + j)
        p0, q0, r0 = fma(s, u, p0), fma(s, v, q0), fma(s, t, r0)
        s = broadcast(x, b + j)
        p1, q1, r1 = fma(s, u, p1), fma(s, v, q1), fma(s, t, r1)
        s = broadcast(x, c + j)
        p2, q2, r2 = fma(s, u, p2), fma(s, v, q2), fma(s, t, r2)
        s = broadcast(x, d + j)
        p3, q3, r3 = fma(s, u, p3), fma(s, v, q3), fma(s, t, r3)
    store_turned(z, to, step, p0, p1, p2, p3)
    store_turned(z, to + size * step, step, q0, q1, q2, q3)
    store_turned(z, to + 2 * size * step, step, r0, r1, r2, r3)


@inlined
def _logits2(x, a, b, c, d, n, w, start, constant, k, z, to, step):
    size = lanes_of(x)
    p0 = p1 = p2 = p3 = load_register(constant, k)
    q0 = q1 = q2 = q3 = load_register(constant, k + size)
    for j in range(n):
        once()
        u = load_register(w, start)
        v = load_register(w, start + size)
        start += 2 * size
        s = broadcast(x, a + j)
        p0, q0 = fma(s, u, p0), fma(s, v, q0)
        s = broadcast(x, b + j)
        p1, q1 = fma(s, u, p1), fma(s, v, q1)
        s = broadcast(x, c + j)
        p2, q2 = fma(s, u, p2), fma(s, v, q2)
        s = broadcast(x, d + j)
        p3, q3 = fma(s, u, p3), fma(s, v, q3)
    store_turned(z, to, step, p0, p1, p2, p3)
    store_turned(z, to + size * step, step, q0, q1, q2, q3)


@inlined
def _logits1(x, a, b, c, d, n, w, start, constant, k, z, to, step):
    size = lanes_of(x)
    p0 = p1 = p2 = p3 = load_register(constant, k)
    q0 = q1 = q2 = q3 = zero_register(x)  # two sums for each: a chain of four would wait for itself
    for j in range(0, n - 1, 2):
        once()
        u = load_register(w, start)
        v = load_register(w, start + size)
        start += 2 * size
        p0, q0 = fma(broadcast(x, a + j), u, p0), fma(broadcast(x, a + j + 1), v, q0)
        p1, q1 = fma(broadcast(x, b + j), u, p1), fma(broadcast(x, b + j + 1), v, q1)
        p2, q2 = fma(broadcast(x, c + j), u, p2), fma(broadcast(x, c + j + 1), v, q2)
        p3, q3 = fma(broadcast(x, d + j), u, p3), fma(broadcast(x, d + j + 1), v, q3)
    if n % 2:
        u = load_register(w, start)
        p0, p1 = fma(broadcast(x, a + n - 1), u, p0), fma(broadcast(x, b + n - 1), u, p1)
        p2, p3 = fma(broadcast(x, c + n - 1), u, p2), fma(broadcast(x, d + n - 1), u, p3)
    store_turned(z, to, step, p0 + q0, p1 + q1, p2 + q2, p3 + q3)


@inlined
def panel(registers):
    """How many of the remaining registers of classes, or of features, go together: three, and never one after three."""
    return 2 if registers in (2, 4) else min(registers, 3)


@kernel
def pack(coef, packed):
    """Coefficients (K, d) as panels (d, 3 registers), zeros for classes that are not there."""
    n_classes, n = coef.shape
    size = lanes_of(packed)
    registers = (n_classes + size - 1) // size
    to, k = 0, 0
    while registers > 0:
        wide = panel(registers)
        for j in range(n):
            for i in range(k, k + wide * size):
                packed[at(to)] = coef[at(i), at(j)] if i < n_classes else 0.0
                to += 1
        k += wide * size
        registers -= wide


@kernel
def logits_tile(x, base, ld, rows, n, packed, constant, z, step):
    """z[k·step + i] = constant_k + Σ_j W_kj x[base + i·ld + j], i < rows rounded up to 16 (the last row repeated)."""
    align_stack()
    size = lanes_of(x)
    last = base + (rows - 1) * ld
    for row in range(0, (rows + 15) // 16 * 16, 4):
        a = base + row * ld
        registers = constant.size // size
        k, start = 0, 0
        b, c, d = min(a + ld, last), min(a + 2 * ld, last), min(a + 3 * ld, last)
        a = min(a, last)
        while registers > 0:
            wide = panel(registers)
            to = k * step + row
            if wide == 3:
                _logits3(x, a, b, c, d, n, packed, start, constant, k, z, to, step)
            elif wide == 2:
                _logits2(x, a, b, c, d, n, packed, start, constant, k, z, to, step)
            else:
                _logits1(x, a, b, c, d, n, packed, start, constant, k, z, to, step)
            k += wide * size
            start += wide * size * n
            registers -= wide


@inlined
def _gradient3(x, base, ld, rows, r, k, step, g, to, width):
    size = lanes_of(x)
    p0 = p1 = p2 = p3 = q0 = q1 = q2 = q3 = r0 = r1 = r2 = r3 = zero_register(x)
    a, b, c, d = k * step, (k + 1) * step, (k + 2) * step, (k + 3) * step
    for i in range(rows):
        once()
        u = load_register(x, base)
        v = load_register(x, base + size)
        t = load_register(x, base + 2 * size)
        base += ld
        s = broadcast(r, a + i)
        p0, q0, r0 = fma(s, u, p0), fma(s, v, q0), fma(s, t, r0)
        s = broadcast(r, b + i)
        p1, q1, r1 = fma(s, u, p1), fma(s, v, q1), fma(s, t, r1)
        s = broadcast(r, c + i)
        p2, q2, r2 = fma(s, u, p2), fma(s, v, q2), fma(s, t, r2)
        s = broadcast(r, d + i)
        p3, q3, r3 = fma(s, u, p3), fma(s, v, q3), fma(s, t, r3)
    _add4(g, to, width, p0, p1, p2, p3)
    _add4(g, to + size, width, q0, q1, q2, q3)
    _add4(g, to + 2 * size, width, r0, r1, r2, r3)


@inlined
def _add4(g, to, width, a, b, c, d):
    add_register(g, to, a)
    add_register(g, to + width, b)
    add_register(g, to + 2 * width, c)
    add_register(g, to + 3 * width, d)


@inlined
def _gradient2(x, base, ld, rows, r, k, step, g, to, width):
    size = lanes_of(x)
    p0 = p1 = p2 = p3 = q0 = q1 = q2 = q3 = zero_register(x)
    a, b, c, d = k * step, (k + 1) * step, (k + 2) * step, (k + 3) * step
    for i in range(rows):
        once()
        u = load_register(x, base)
        v = load_register(x, base + size)
        base += ld
        s = broadcast(r, a + i)
        p0, q0 = fma(s, u, p0), fma(s, v, q0)
        s = broadcast(r, b + i)
        p1, q1 = fma(s, u, p1), fma(s, v, q1)
        s = broadcast(r, c + i)
        p2, q2 = fma(s, u, p2), fma(s, v, q2)
        s = broadcast(r, d + i)
        p3, q3 = fma(s, u, p3), fma(s, v, q3)
    _add4(g, to, width, p0, p1, p2, p3)
    _add4(g, to + size, width, q0, q1, q2, q3)


@inlined
def _gradient1(x, base, ld, rows, r, k, step, g, to, width):
    p0 = p1 = p2 = p3 = zero_register(x)
    a, b, c, d = k * step, (k + 1) * step, (k + 2) * step, (k + 3) * step
    for i in range(rows):
        once()
        u = load_register(x, base)
        base += ld
        p0, p1 = fma(broadcast(r, a + i), u, p0), fma(broadcast(r, b + i), u, p1)
        p2, p3 = fma(broadcast(r, c + i), u, p2), fma(broadcast(r, d + i), u, p3)
    _add4(g, to, width, p0, p1, p2, p3)


@inlined
def _copy_panel(x, base, ld, rows, wide, panel):
    """Columns of a tile, side by side: rows that lie a power of 2 apart would compete for the same cache lines."""
    size = lanes_of(x)
    to = 0
    for _ in range(rows):
        for j in range(0, wide, size):
            store_register(panel, to + j, load_register(x, base + j))
        base += ld
        to += wide


@kernel
def gradient_tile(x, base, ld, rows, r, step, g, width):
    """g[k·width + j] += Σ_i r[k·step + i] x[base + i·ld + j], i < rows, j < width, in float64.

    k runs to g.size / width, a multiple of 4, j to `width`, a multiple of a register: x is read there, and means
    nothing.
    """
    align_stack()
    size = lanes_of(x)
    groups = g.size // width
    together = groups >= COPY_FROM
    buffer = np.empty(3 * size * rows if together else 0, x.dtype)
    registers = width // size
    j = 0
    while registers > 0:
        wide = panel(registers)
        source, first, jump = x, base + j, ld
        if together:
            _copy_panel(x, first, ld, rows, wide * size, buffer)
            source, first, jump = buffer, 0, wide * size
        for k in range(0, groups, 4):
            to = k * width + j
            if wide == 3:
                _gradient3(source, first, jump, rows, r, k, step, g, to, width)
            elif wide == 2:
                _gradient2(source, first, jump, rows, r, k, step, g, to, width)
            else:
                _gradient1(source, first, jump, rows, r, k, step, g, to, width)
        j += wide * size
        registers -= wide
