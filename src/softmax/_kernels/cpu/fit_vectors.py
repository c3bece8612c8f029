"""What the passes of a fit need beyond `simd.py`: registers for products of matrices, exp and log1p of many numbers.

Exponentials are those of numbers <= 0 and accurate to about 1e-15 (float64) or 1e-7 (float32): a tenth of the cost of
a correctly rounded one is saved, and a sum over rows does not see the difference.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,misc"
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from .exp import _B2, _B3, _B4, _B5, _B6, _B7, _B8, _B9, _B10, _B11, two_sum
from .fast import _A2, _A3, _A4, _A5, _A6
from .simd import (
    Vector,
    _constant_vector,
    _integer,
    _pointer,
    add_integers,
    fma,
    from_bits,
    halves,
    inlined,
    lane,
    larger,
    less,
    narrow,
    select,
    shift_left,
    to_bits,
    widen,
)

REGISTER = 32  # bytes: what a product of matrices takes at a time; longer registers are filled in part
WIDE = 64  # bytes: what functions of numbers take at a time; more would not leave room for what they remember

_and = _integer("and_")
_shift_right = _integer("lshr")
_subtract = _integer("sub")
_INLINE = {"forceinline": True, "error_model": "numpy"}


def _register(dtype):
    return Vector(dtype, REGISTER * 8 // dtype.bitwidth)


def _register_pointer(context, builder, array, args):
    pointer, _, align = _pointer(context, builder, array, *args)
    return builder.bitcast(pointer, context.get_value_type(_register(array.dtype)).as_pointer()), align


@intrinsic
def load_register(typingctx, array, index):
    """Elements index, index + 1, ... as one register."""

    def codegen(context, builder, signature, args):
        pointer, align = _register_pointer(context, builder, array, args)
        return builder.load(pointer, align=align)

    return _register(array.dtype)(array, types.intp), codegen


@intrinsic
def store_register(typingctx, array, index, vector):
    """Write a register."""

    def codegen(context, builder, signature, args):
        pointer, align = _register_pointer(context, builder, array, args[:2])
        builder.store(args[2], pointer, align=align)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


@intrinsic
def add_register(typingctx, array, index, vector):
    """array[index ...] += vector, widened to the dtype of the array."""
    wide = Vector(array.dtype, vector.size)

    def codegen(context, builder, signature, args):
        whole = context.get_value_type(wide)
        data = context.make_array(array)(context, builder, args[0]).data
        pointer = builder.bitcast(builder.gep(data, [args[1]]), whole.as_pointer())
        align = array.dtype.bitwidth // 8
        value = args[2] if wide == vector else builder.fpext(args[2], whole)
        builder.store(builder.fadd(builder.load(pointer, align=align), value), pointer, align=align)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


@intrinsic
def broadcast(typingctx, array, index):
    """Element `index` in every lane of a register."""
    register = _register(array.dtype)

    def codegen(context, builder, signature, args):
        data = context.make_array(array)(context, builder, args[0]).data
        scalar = builder.load(builder.gep(data, [args[1]]))
        whole = context.get_value_type(register)
        lane0 = builder.insert_element(ir.Constant(whole, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), register.size), [0] * register.size)
        return builder.shuffle_vector(lane0, ir.Constant(whole, ir.Undefined), zeros)

    return register(array, types.intp), codegen


def _wide(dtype):
    return Vector(dtype, WIDE * 8 // dtype.bitwidth)


@intrinsic
def load_wide(typingctx, array, index):
    """Elements index, index + 1, ... as one vector of WIDE bytes."""
    vector = _wide(array.dtype)

    def codegen(context, builder, signature, args):
        pointer, _, align = _pointer(context, builder, array, *args)
        pointer = builder.bitcast(pointer, context.get_value_type(vector).as_pointer())
        return builder.load(pointer, align=align)

    return vector(array, types.intp), codegen


@intrinsic
def load_as(typingctx, array, index, like):
    """As many elements as a vector has, as a vector of the dtype of the array."""
    vector = Vector(array.dtype, like.size)

    def codegen(context, builder, signature, args):
        pointer, _, align = _pointer(context, builder, array, *args[:2])
        pointer = builder.bitcast(pointer, context.get_value_type(vector).as_pointer())
        return builder.load(pointer, align=align)

    return vector(array, types.intp, like), codegen


@intrinsic
def store_any(typingctx, array, index, vector):
    """Write all lanes to elements index, index + 1, ..."""

    def codegen(context, builder, signature, args):
        pointer, _, align = _pointer(context, builder, array, *args[:2])
        pointer = builder.bitcast(pointer, context.get_value_type(vector).as_pointer())
        builder.store(args[2], pointer, align=align)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


@intrinsic
def same(typingctx, like, scalar):
    """`scalar`, of the dtype of a vector, in as many lanes as the vector has."""

    def codegen(context, builder, signature, args):
        value = context.cast(builder, args[1], signature.args[1], like.dtype)
        return _constant_vector(context, builder, like, value)

    return like(like, scalar), codegen


@intrinsic
def once(typingctx):
    """Keeps LLVM from unrolling the loop it stands in, which would spill sums that fill the registers."""

    def codegen(context, builder, signature, args):
        builder.asm(ir.FunctionType(ir.VoidType(), []), "", "", [], True)
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def zero_register(typingctx, array):
    """A register of zeros in the dtype of an array."""
    register = _register(array.dtype)

    def codegen(context, builder, signature, args):
        return ir.Constant(context.get_value_type(register), [0.0] * register.size)

    return register(array), codegen


@intrinsic
def store_turned(typingctx, array, index, step, a, b, c, d):
    """Write (a_l, b_l, c_l, d_l) to elements index + l·step ..., for every lane l."""
    size = a.size

    def codegen(context, builder, signature, args):
        kind = ir.IntType(32)
        double = ir.Constant(ir.VectorType(kind, 2 * size), list(range(2 * size)))
        front = builder.shuffle_vector(args[3], args[4], double)
        back = builder.shuffle_vector(args[5], args[6], double)
        four = ir.VectorType(front.type.element, 4)
        data = context.make_array(array)(context, builder, args[0]).data
        position = args[1]
        for k in range(size):
            pick = [k, size + k, 2 * size + k, 3 * size + k]
            value = builder.shuffle_vector(front, back, ir.Constant(ir.VectorType(kind, 4), pick))
            pointer = builder.bitcast(builder.gep(data, [position]), four.as_pointer())
            builder.store(value, pointer, align=array.dtype.bitwidth // 8)
            position = builder.add(position, args[2])
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, a, b, c, d), codegen


def lanes_of(array):  # pragma: no cover - compiled
    """How many elements of an array a register holds, as a constant of the compiler."""


@overload(lanes_of, jit_options=_INLINE)
def _lanes_of(array):
    size = _register(array.dtype).size
    return lambda array: size


def width_of(array):  # pragma: no cover - compiled
    """How many elements of an array a vector of WIDE bytes holds."""


@overload(width_of, jit_options=_INLINE)
def _width_of(array):
    size = _wide(array.dtype).size
    return lambda array: size


_LOG2E = 1.4426950408889634
_LN2_HI = float.fromhex("0x1.62e42fefa3800p-1")  # 42 bits: k * _LN2_HI is exact for |k| < 2^11
_LN2_LO = float.fromhex("0x1.ef35793c76730p-45")
_ROUND = 6755399441055744.0  # 1.5 * 2^52: adding it leaves the nearest integer in the low bits
_LOWEST = -708.0  # exp of less is taken as 0
_LOG2E_32 = np.float32(_LOG2E)
_LN2_HI_32 = np.float32(float.fromhex("0x1.62e4p-1"))  # 15 bits
_LN2_LO_32 = np.float32(float.fromhex("0x1.7f7d1cp-20"))
_ROUND_32 = np.float32(12582912.0)
_LOWEST_32 = np.float32(-87.0)
_ONE_32 = np.float32(1.0)
_ZERO_32 = np.float32(0.0)


def exp_below(t):  # pragma: no cover - compiled
    """exp(t) of a vector t <= 0, 0 where it is next to underflow; nan stays."""


@overload(exp_below, jit_options=_INLINE)
def _exp_below(t):
    def double(t):
        shifted = fma(t, same(t, _LOG2E), same(t, _ROUND))
        k = shifted - same(t, _ROUND)
        r = fma(k, same(t, -_LN2_LO), fma(k, same(t, -_LN2_HI), t))
        # Odd and even powers apart: a chain of ten would be waited for.
        z = r * r
        odd = fma(fma(same(t, _B11), z, same(t, _B9)), z, same(t, _B7))
        even = fma(fma(same(t, _B10), z, same(t, _B8)), z, same(t, _B6))
        odd = fma(fma(odd, z, same(t, _B5)), z, same(t, _B3))
        even = fma(fma(even, z, same(t, _B4)), z, same(t, _B2))
        q = fma(odd, r, even)
        s = from_bits(add_integers(shift_left(to_bits(shifted), same(to_bits(t), 52)), same(to_bits(t), 1023 << 52)))
        e = fma(fma(z, q, r), s, s)
        return select(less(t, same(t, _LOWEST)), same(t, 0.0), e)

    def single(t):
        shifted = fma(t, same(t, _LOG2E_32), same(t, _ROUND_32))
        k = shifted - same(t, _ROUND_32)
        r = fma(k, same(t, -_LN2_LO_32), fma(k, same(t, -_LN2_HI_32), t))
        q = fma(fma(fma(fma(same(t, _A6), r, same(t, _A5)), r, same(t, _A4)), r, same(t, _A3)), r, same(t, _A2))
        power = add_integers(
            shift_left(to_bits(shifted), same(to_bits(t), np.int32(23))), same(to_bits(t), np.int32(127 << 23))
        )
        s = from_bits(power)
        e = fma(fma(r * r, q, r), s, s)
        return select(less(t, same(t, _LOWEST_32)), same(t, _ZERO_32), e)

    return double if t.dtype == types.float64 else single


# log((1 + s) / (1 - s)) = 2 s + s^3 P(s^2): a minimax polynomial of relative error 2^-57 for |s| <= 0.1733, computed
# by Chebyshev interpolation in 200 bits.
_P0 = float.fromhex("0x1.5555555555558p-1")
_P1 = float.fromhex("0x1.99999999949d0p-2")
_P2 = float.fromhex("0x1.2492492eefe17p-2")
_P3 = float.fromhex("0x1.c71c61a40ddfbp-3")
_P4 = float.fromhex("0x1.74630f3e18fa7p-3")
_P5 = float.fromhex("0x1.39f2bba043e06p-3")
_P6 = float.fromhex("0x1.2be6c99b32a48p-3")
_ROOT_HALF = 0x3FE6A09E00000000  # the bits of the root of 1/2, cut
_TO_ONE = (1023 << 52) - _ROOT_HALF
_MANTISSA = (1 << 52) - 1
_MAGIC = 0x4330000000000000  # of 2^52: an integer below 2^52 added to these bits is added to the number
_MAGIC_VALUE = 4503599627370496.0 + 1023.0


@inlined
def log1p_of(x):
    """log(1 + x) of a float64 vector x >= 0, to about 2e-16; nan stays."""
    u, lost = two_sum(same(x, 1.0), x)
    bits = add_integers(to_bits(u), same(to_bits(x), _TO_ONE))
    k = from_bits(add_integers(_shift_right(bits, same(to_bits(x), 52)), same(to_bits(x), _MAGIC))) - same(
        x, _MAGIC_VALUE
    )
    m = from_bits(add_integers(_and(bits, same(to_bits(x), _MANTISSA)), same(to_bits(x), _ROOT_HALF)))
    f = m - same(x, 1.0)
    s = f / (same(x, 2.0) + f)
    z = s * s
    q = fma(fma(fma(same(x, _P6), z, same(x, _P5)), z, same(x, _P4)), z, same(x, _P3))
    q = fma(fma(fma(q, z, same(x, _P2)), z, same(x, _P1)), z, same(x, _P0))
    low = fma(k, same(x, _LN2_LO), lost / u)
    tail = fma(s * z, q, low)
    # 2 s = f - s f, and f is exact
    result = fma(k, same(x, _LN2_HI), f - fma(s, f, -tail))
    return fma(x, same(x, 0.0), result)


def widened(v):  # pragma: no cover - compiled
    """A vector in float64."""


@overload(widened, jit_options=_INLINE)
def _widened(v):
    return (lambda v: v) if v.dtype == types.float64 else (lambda v: widen(v))


def as_kept(v):  # pragma: no cover - compiled
    """A vector in float32."""


@overload(as_kept, jit_options=_INLINE)
def _as_kept(v):
    return (lambda v: narrow(v)) if v.dtype == types.float64 else (lambda v: v)


def in_kind_of(v, like):  # pragma: no cover - compiled
    """A float32 vector in the dtype of another."""


@overload(in_kind_of, jit_options=_INLINE)
def _in_kind_of(v, like):
    return (lambda v, like: widen(v)) if like.dtype == types.float64 else (lambda v, like: v)


def sum_lanes(v):  # pragma: no cover - compiled
    """The sum of the lanes, halved again and again."""


@overload(sum_lanes, jit_options=_INLINE)
def _sum_lanes(v):
    if v.size == 2:
        return lambda v: lane(v, 0) + lane(v, 1)

    def folded(v):
        a, b = halves(v)
        return sum_lanes(a + b)

    return folded


def max_lanes(v):  # pragma: no cover - compiled
    """The largest lane."""


@overload(max_lanes, jit_options=_INLINE)
def _max_lanes(v):
    if v.size == 1:
        return lambda v: lane(v, 0)

    def folded(v):
        a, b = halves(v)
        return max_lanes(larger(a, b))

    return folded


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
