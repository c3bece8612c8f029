"""Products of a tile of rows with all coefficients, and back: small matrix products with registers written out.

A general product packs both operands first, which costs more than the product where there are few classes. Here the
rows are read where they lie: four of them against up to three registers of coefficients, twelve sums in registers.

    z (K, T) = W xᵀ + constant       lanes are classes; the four rows are turned on their way to memory
    G (K, d) += r x                  lanes are features

The loops are written as instructions, see `fit_vectors.py`.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy import uintp as at

from .fit_vectors import inlined, inner, lanes_of, load_register, register, store_any
from .simd import _call, _suffix, align_stack, kernel

COPY_FROM = 32  # classes from which on a panel of a tile is copied before it is multiplied
ROWS = 4  # and with one register of classes twice as many: fewer sums would wait for each other


class _Memory:
    """The elements of an array, while a kernel is compiled."""

    def __init__(self, context, builder, array_type, array):
        self.builder = builder
        self.data = context.make_array(array_type)(context, builder, array).data
        self.dtype = array_type.dtype
        self.align = array_type.dtype.bitwidth // 8

    def at(self, index, kind):
        """A pointer to a vector."""
        return self.builder.bitcast(self.builder.gep(self.data, [index]), kind.as_pointer())

    def load(self, index, kind):
        return self.builder.load(self.at(index, kind), align=self.align)

    def store(self, index, value):
        self.builder.store(value, self.at(index, value.type), align=self.align)

    def everywhere(self, index, kind):
        """One element in every lane."""
        scalar = self.builder.load(self.builder.gep(self.data, [index]))
        lane0 = self.builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
        return self.builder.shuffle_vector(lane0, ir.Constant(kind, ir.Undefined), zeros)


class _Sums:
    """rows × columns sums, in registers."""

    def __init__(self, builder, kind, rows, columns):
        self.builder, self.kind = builder, kind
        self.cells = [[cgutils.alloca_once(builder, kind) for _ in range(columns)] for _ in range(rows)]

    def add_product(self, factors, vectors):
        """cells[i][j] += factors[i]() · vectors[j]."""
        for row, factor in zip(self.cells, factors, strict=True):
            first = factor()
            for cell, vector in zip(row, vectors, strict=True):
                values = [first, vector, self.builder.load(cell)]
                name = f"llvm.fma.{_suffix(self.kind)}"
                self.builder.store(_call(self.builder, name, self.kind, values), cell)

    def values(self, column):
        return [self.builder.load(row[column]) for row in self.cells]


def _counted(builder, count):
    """A loop that LLVM does not unroll: it would spill sums that fill the registers."""
    loop = cgutils.for_range(builder, count)
    index = loop.__enter__()
    builder.asm(ir.FunctionType(ir.VoidType(), []), "", "", [], True)
    return loop, index.index


def _store_turned(builder, memory, index, step, vectors):
    """Write lane l of four vectors side by side to element index + l·step, for every l."""
    size = vectors[0].type.count
    kind = ir.IntType(32)
    both = ir.Constant(ir.VectorType(kind, 2 * size), list(range(2 * size)))
    front, back = builder.shuffle_vector(*vectors[:2], both), builder.shuffle_vector(*vectors[2:], both)
    for lane in range(size):
        pick = [lane, size + lane, 2 * size + lane, 3 * size + lane]
        memory.store(index, builder.shuffle_vector(front, back, ir.Constant(ir.VectorType(kind, 4), pick)))
        index = builder.add(index, step)


def _logits_panel(registers, rows):
    @intrinsic
    def panel(typingctx, x, first, ld, last, n, w, start, constant, k, z, to, step):
        """z[to ...] of `registers` registers of classes from k on, for `rows` rows of x, none behind `last`."""
        index = types.intp

        def codegen(context, builder, signature, args):
            _, first, ld, last, n, _, start, _, k, _, to, step = args
            memory = {
                name: _Memory(context, builder, kind, value)
                for name, kind, value in zip(
                    "xwcz", (x, w, constant, z), (args[0], args[5], args[7], args[9]), strict=True
                )
            }
            kind = context.get_value_type(register(x.dtype))
            number = lambda value: ir.Constant(first.type, value)  # noqa: E731
            bases = []
            for i in range(rows):
                base = builder.add(first, builder.mul(ld, number(i)))
                bases.append(builder.select(builder.icmp_signed("<", base, last), base, last))
            sums = _Sums(builder, kind, rows, registers)
            for column in range(registers):
                begin = memory["c"].load(builder.add(k, number(column * kind.count)), kind)
                for line in sums.cells:
                    builder.store(begin, line[column])
            loop, j = _counted(builder, n)
            panel = builder.add(start, builder.mul(j, number(registers * kind.count)))
            vectors = [memory["w"].load(builder.add(panel, number(q * kind.count)), kind) for q in range(registers)]
            factors = [lambda base=base: memory["x"].everywhere(builder.add(base, j), kind) for base in bases]
            sums.add_product(factors, vectors)
            loop.__exit__(None, None, None)
            for column in range(registers):
                place = builder.add(to, builder.mul(step, number(column * kind.count)))
                values = sums.values(column)
                for i in range(0, rows, 4):
                    _store_turned(builder, memory["z"], builder.add(place, number(i)), step, values[i : i + 4])
            return context.get_dummy_value()

        return types.void(x, index, index, index, index, w, index, constant, index, z, index, index), codegen

    return panel


def _gradient_panel(registers):
    @intrinsic
    def panel(typingctx, x, base, ld, rows, r, k, step, g, to, width):
        """g[to ...] += Σ_i r x_i of `registers` registers of features, for four classes from k on."""
        index = types.intp

        def codegen(context, builder, signature, args):
            source, base, ld, rows, residuals, k, step, gradient, to, width = args
            source, residuals, gradient = (
                _Memory(context, builder, *pair) for pair in ((x, source), (r, residuals), (g, gradient))
            )
            kind = context.get_value_type(register(x.dtype))
            summed = ir.VectorType(context.get_value_type(g.dtype), kind.count)
            number = lambda value: ir.Constant(base.type, value)  # noqa: E731
            sums = _Sums(builder, kind, 4, registers)
            for row in sums.cells:
                for cell in row:
                    builder.store(ir.Constant(kind, [0.0] * kind.count), cell)
            starts = [builder.mul(builder.add(k, number(c)), step) for c in range(4)]
            loop, i = _counted(builder, rows)
            here = builder.add(base, builder.mul(i, ld))
            vectors = [source.load(builder.add(here, number(q * kind.count)), kind) for q in range(registers)]
            factors = [lambda start=start: residuals.everywhere(builder.add(start, i), kind) for start in starts]
            sums.add_product(factors, vectors)
            loop.__exit__(None, None, None)
            for column in range(registers):
                place = builder.add(to, number(column * kind.count))
                for value in sums.values(column):
                    value = value if kind == summed else builder.fpext(value, summed)
                    gradient.store(place, builder.fadd(gradient.load(place, summed), value))
                    place = builder.add(place, width)
            return context.get_dummy_value()

        return types.void(x, index, index, index, r, index, index, g, index, index), codegen

    return panel


_logits3, _logits2, _logits1 = _logits_panel(3, ROWS), _logits_panel(2, ROWS), _logits_panel(1, 2 * ROWS)
_gradient3, _gradient2, _gradient1 = _gradient_panel(3), _gradient_panel(2), _gradient_panel(1)


@inlined
def together(registers):
    """How many of the remaining registers of classes, or of features, go together: three, and never one after three."""
    return 2 if registers == 2 or registers == 4 else min(registers, 3)


@kernel
def pack(coef, packed):
    """Coefficients (K, d) as panels (d, 3 registers), zeros for classes that are not there."""
    align_stack()
    n_classes, n = coef.shape
    size = lanes_of(packed)
    registers = (n_classes + size - 1) // size
    to, k = 0, 0
    while registers > 0:
        wide = together(registers)
        for j in range(n):
            for i in range(k, k + wide * size):
                packed[at(to)] = coef[at(i), at(j)] if i < n_classes else 0.0
                to += 1
        k += wide * size
        registers -= wide


@inner
def logits_tile(x, base, ld, rows, n, packed, constant, z, step):
    """z[k·step + i] = constant_k + Σ_j W_kj x[base + i·ld + j], i < rows rounded up to 16 (the last row repeated)."""
    align_stack()
    size = lanes_of(x)
    last = base + (rows - 1) * ld
    end = (rows + 15) // 16 * 16
    k, start = 0, 0
    registers = constant.size // size
    while registers > 0:
        wide = together(registers)
        to = k * step
        if wide == 3:
            for row in range(0, end, ROWS):
                _logits3(x, base + row * ld, ld, last, n, packed, start, constant, k, z, to + row, step)
        elif wide == 2:
            for row in range(0, end, ROWS):
                _logits2(x, base + row * ld, ld, last, n, packed, start, constant, k, z, to + row, step)
        else:
            for row in range(0, end, 2 * ROWS):
                _logits1(x, base + row * ld, ld, last, n, packed, start, constant, k, z, to + row, step)
        k += wide * size
        start += wide * size * n
        registers -= wide


@inner
def copy_panel(x, base, ld, rows, wide, panel):
    """Columns of a tile, side by side: rows that lie a power of 2 apart would compete for the same cache lines."""
    size = lanes_of(x)
    to = 0
    for _ in range(rows):
        for j in range(0, wide, size):
            store_any(panel, to + j, load_register(x, base + j))
        base += ld
        to += wide


@inner
def gradient_tile(x, base, ld, rows, r, step, g, width, panel):
    """g[k·width + j] += Σ_i r[k·step + i] x[base + i·ld + j], i < rows, j < width, in float64.

    k runs to g.size / width, a multiple of 4, j to `width`, a multiple of a register: x is read there, and means
    nothing. `panel` has room for three registers of every row.
    """
    align_stack()
    size = lanes_of(x)
    groups = g.size // width
    registers = width // size
    j = 0
    while registers > 0:
        wide = together(registers)
        source, first, jump = x, base + j, ld
        if groups >= COPY_FROM:
            copy_panel(x, first, ld, rows, wide * size, panel)
            source, first, jump = panel, 0, wide * size
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
