"""What the passes of a fit need beyond `simd.py`: vectors of a chosen width, exp and log1p.

Longer formulas are written as instructions (`Lanes`): Numba would take a second to type what LLVM takes as it is.
Exponentials are those of numbers <= 0 and accurate to about 1e-15 (float64) or 1e-7 (float32): a tenth of the cost of
a correctly rounded one is saved, and a sum over rows does not see the difference.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,misc"
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

from .exp import _B2, _B3, _B4, _B5, _B6, _B7, _B8, _B9, _B10, _B11
from .fast import _A2, _A3, _A4, _A5, _A6
from .simd import Vector, _call, _constant_vector, _pointer, _suffix

REGISTER = 32  # bytes: what a product of matrices takes at a time; longer registers are filled in part
WIDE = 64  # bytes: what functions of numbers take at a time; more would not leave room for what they remember

# For functions that kernels call: nobody calls them from Python, and a wrapper would take as long to compile.
_INNER = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_INLINE = {"forceinline": True, **_INNER}
inner = njit(**_INNER)
inlined = njit(**_INLINE)


class Lanes:
    """A vector while a kernel is compiled: arithmetic with others and with numbers emits the instructions."""

    def __init__(self, builder, value):
        self.builder = builder
        self.value = value
        self.type = value.type

    def of(self, number):
        """A number in every lane, of the type of this vector."""
        return Lanes(self.builder, ir.Constant(self.type, [number] * self.type.count))

    def _emit(self, name, *others):
        values = [other.value if isinstance(other, Lanes) else self.of(other).value for other in others]
        return Lanes(self.builder, getattr(self.builder, name)(self.value, *values))

    def __add__(self, other):
        return self._emit("fadd", other)

    def __sub__(self, other):
        return self._emit("fsub", other)

    def __mul__(self, other):
        return self._emit("fmul", other)

    def __truediv__(self, other):
        return self._emit("fdiv", other)

    def fma(self, b, c):
        """self * b + c, rounded once."""
        values = [self.value, *(v.value if isinstance(v, Lanes) else self.of(v).value for v in (b, c))]
        return Lanes(self.builder, _call(self.builder, f"llvm.fma.{_suffix(self.type)}", self.type, values))

    def chain(self, *factors):
        """The polynomial with these coefficients, the highest power first, by Horner's rule."""
        value = self.of(factors[0])
        for factor in factors[1:]:
            value = value.fma(self, factor)
        return value

    def bits(self):
        """The same bits as integers."""
        width = 64 if self.type.element == ir.DoubleType() else 32
        return Lanes(self.builder, self.builder.bitcast(self.value, ir.VectorType(ir.IntType(width), self.type.count)))

    def numbers(self):
        """The same bits as floating-point numbers."""
        element = ir.DoubleType() if self.type.element.width == 64 else ir.FloatType()
        return Lanes(self.builder, self.builder.bitcast(self.value, ir.VectorType(element, self.type.count)))

    def plus(self, other):
        """Addition of integers."""
        return self._emit("add", other)

    def left(self, count):
        """Integers shifted to the left."""
        return self._emit("shl", count)

    def right(self, count):
        """Integers shifted to the right, zeros coming in."""
        return self._emit("lshr", count)

    def masked(self, mask):
        """Integers with the bits of a mask."""
        return self._emit("and_", mask)

    def zero_if_below(self, other, bound):
        """0 where other < bound."""
        far = self.builder.fcmp_ordered("<", other.value, other.of(bound).value)
        return Lanes(self.builder, self.builder.select(far, self.of(0.0).value, self.value))


def on_lanes(function):
    """An intrinsic of one vector: `function` emits its instructions."""

    @intrinsic
    def applied(typingctx, vector):
        return vector(vector), lambda context, builder, signature, args: function(Lanes(builder, args[0])).value

    return applied


_LOG2E = 1.4426950408889634
_LN2_HI = float.fromhex("0x1.62e42fefa3800p-1")  # 42 bits: k * _LN2_HI is exact for |k| < 2^11
_LN2_LO = float.fromhex("0x1.ef35793c76730p-45")
_ROUND = 6755399441055744.0  # 1.5 * 2^52: adding it leaves the nearest integer in the low bits
_LOWEST = -708.0  # exp of less is taken as 0
_LN2_HI_32 = float.fromhex("0x1.62e4p-1")  # 15 bits
_LN2_LO_32 = float.fromhex("0x1.7f7d1cp-20")
_ROUND_32 = 12582912.0
_LOWEST_32 = -87.0


def _exp_double(t):
    shifted = t.fma(_LOG2E, _ROUND)
    k = shifted - _ROUND
    r = k.fma(-_LN2_LO, k.fma(-_LN2_HI, t))
    # Odd and even powers apart: a chain of ten would be waited for.
    z = r * r
    q = z.chain(_B11, _B9, _B7, _B5, _B3).fma(r, z.chain(_B10, _B8, _B6, _B4, _B2))
    s = shifted.bits().left(52).plus(1023 << 52).numbers()
    return z.fma(q, r).fma(s, s).zero_if_below(t, _LOWEST)


def _exp_single(t):
    shifted = t.fma(_LOG2E, _ROUND_32)
    k = shifted - _ROUND_32
    r = k.fma(-_LN2_LO_32, k.fma(-_LN2_HI_32, t))
    q = r.chain(*map(float, (_A6, _A5, _A4, _A3, _A2)))
    s = shifted.bits().left(23).plus(127 << 23).numbers()
    return (r * r).fma(q, r).fma(s, s).zero_if_below(t, _LOWEST_32)


# exp(t) of a vector t <= 0, 0 where it is next to underflow; nan stays.
exp_below = on_lanes(lambda t: _exp_double(t) if t.type.element == ir.DoubleType() else _exp_single(t))


# log((1 + s) / (1 - s)) = 2 s + s^3 P(s^2): a minimax polynomial of relative error 2^-57 for |s| <= 0.1733, computed
# by Chebyshev interpolation in 200 bits; the highest power first.
_P = [
    float.fromhex(digits)
    for digits in (
        "0x1.2be6c99b32a48p-3",
        "0x1.39f2bba043e06p-3",
        "0x1.74630f3e18fa7p-3",
        "0x1.c71c61a40ddfbp-3",
        "0x1.2492492eefe17p-2",
        "0x1.99999999949d0p-2",
        "0x1.5555555555558p-1",
    )
]
_ROOT_HALF = 0x3FE6A09E00000000  # the bits of the root of 1/2, cut
_MANTISSA = (1 << 52) - 1
_MAGIC = 0x4330000000000000  # of 2^52: an integer below 2^52 added to these bits is added to the number
_MAGIC_VALUE = 4503599627370496.0 + 1023.0


def _log1p(x):
    one = x.of(1.0)
    u = one + x
    back = u - one
    lost = (one - (u - back)) + (x - back)  # u + lost = 1 + x exactly
    bits = u.bits().plus((1023 << 52) - _ROOT_HALF)
    k = bits.right(52).plus(_MAGIC).numbers() - _MAGIC_VALUE
    f = bits.masked(_MANTISSA).plus(_ROOT_HALF).numbers() - 1.0
    s = f / (f + 2.0)
    z = s * s
    tail = (s * z).fma(z.chain(*_P), k.fma(_LN2_LO, lost / u))
    rest = s.fma(f, x.of(0.0) - tail)  # log(1 + f) = f - s f + s³ P, and f is exact
    return x.fma(0.0, k.fma(_LN2_HI, f - rest))


# log(1 + x) of a float64 vector x >= 0, to about 2e-16; nan stays.
log1p_of = on_lanes(_log1p)


def register(dtype):
    """A vector of REGISTER bytes."""
    return Vector(dtype, REGISTER * 8 // dtype.bitwidth)


def _wide(dtype):
    return Vector(dtype, WIDE * 8 // dtype.bitwidth)


def _loader(vector_of):
    @intrinsic
    def load(typingctx, array, index):
        vector = vector_of(array.dtype)

        def codegen(context, builder, signature, args):
            pointer, _, align = _pointer(context, builder, array, *args)
            pointer = builder.bitcast(pointer, context.get_value_type(vector).as_pointer())
            return builder.load(pointer, align=align)

        return vector(array, types.intp), codegen

    return load


# Elements index, index + 1, ... of an array, as one vector of REGISTER or of WIDE bytes.
load_register = _loader(register)
load_wide = _loader(_wide)


@intrinsic
def load_as(typingctx, array, index, like):
    """As many elements of an array as a vector has, as a vector of the dtype of that one."""
    vector = Vector(array.dtype, like.size)

    def codegen(context, builder, signature, args):
        pointer, _, align = _pointer(context, builder, array, *args[:2])
        pointer = builder.bitcast(pointer, context.get_value_type(vector).as_pointer())
        return _converted(builder, builder.load(pointer, align=align), context.get_value_type(like))

    return like(array, types.intp, like), codegen


@intrinsic
def store_any(typingctx, array, index, vector):
    """Write all lanes to elements index, index + 1, ..., in the dtype of the array."""
    written = Vector(array.dtype, vector.size)

    def codegen(context, builder, signature, args):
        kind = context.get_value_type(written)
        pointer, _, align = _pointer(context, builder, array, *args[:2])
        builder.store(_converted(builder, args[2], kind), builder.bitcast(pointer, kind.as_pointer()), align=align)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


@intrinsic
def add_to(typingctx, array, index, vector):
    """array[index ...] += vector, in the dtype of the array."""
    written = Vector(array.dtype, vector.size)

    def codegen(context, builder, signature, args):
        kind = context.get_value_type(written)
        pointer, _, align = _pointer(context, builder, array, *args[:2])
        pointer = builder.bitcast(pointer, kind.as_pointer())
        total = builder.fadd(builder.load(pointer, align=align), _converted(builder, args[2], kind))
        builder.store(total, pointer, align=align)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


def _converted(builder, value, kind):
    if value.type.element == kind.element:
        return value
    return builder.fpext(value, kind) if kind.element == ir.DoubleType() else builder.fptrunc(value, kind)


@intrinsic
def same(typingctx, like, scalar):
    """`scalar`, in the dtype of a vector, in as many lanes as the vector has."""

    def codegen(context, builder, signature, args):
        value = context.cast(builder, args[1], signature.args[1], like.dtype)
        return _constant_vector(context, builder, like, value)

    return like(like, scalar), codegen


@intrinsic
def widened(typingctx, vector):
    """A vector in float64."""
    wide = Vector(types.float64, vector.size)
    return wide(vector), lambda context, builder, signature, args: _converted(
        builder, args[0], context.get_value_type(wide)
    )


def _folded(combine):
    """An intrinsic: the lanes of a vector combined, the first half with the second, again and again."""

    @intrinsic
    def folded(typingctx, vector):
        def codegen(context, builder, signature, args):
            value = args[0]
            size = vector.size
            while size > 1:
                size //= 2
                lanes = ir.VectorType(ir.IntType(32), size)
                halves = [
                    builder.shuffle_vector(value, value, ir.Constant(lanes, list(range(first, first + size))))
                    for first in (0, size)
                ]
                value = combine(builder, *halves)
            return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

        return vector.dtype(vector), codegen

    return folded


sum_lanes = _folded(lambda builder, a, b: builder.fadd(a, b))
max_lanes = _folded(lambda builder, a, b: builder.select(builder.fcmp_ordered("<", a, b), b, a))


def lanes_of(array):  # pragma: no cover - compiled
    """How many elements of an array a register holds, as a constant of the compiler."""


@overload(lanes_of, jit_options=_INLINE)
def _lanes_of(array):
    size = register(array.dtype).size
    return lambda array: size


def width_of(array):  # pragma: no cover - compiled
    """How many elements of an array a vector of WIDE bytes holds."""


@overload(width_of, jit_options=_INLINE)
def _width_of(array):
    size = _wide(array.dtype).size
    return lambda array: size


def readable(array, buffer, where_it_lies):  # pragma: no cover - compiled
    """The array itself if it can be read where it lies, else the buffer; the buffer if their dtypes differ."""


@overload(readable, jit_options=_INLINE)
def _readable(array, buffer, where_it_lies):
    if array == buffer:
        return lambda array, buffer, where_it_lies: array if where_it_lies else buffer
    return lambda array, buffer, where_it_lies: buffer


def same_kind(array, buffer):  # pragma: no cover - compiled
    """Whether two arrays have one dtype, as a constant of the compiler."""


@overload(same_kind, jit_options=_INLINE)
def _same_kind(array, buffer):
    same = array == buffer
    return lambda array, buffer: same
