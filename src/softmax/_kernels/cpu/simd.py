"""A vector type for Numba: 16 numbers that LLVM keeps in whatever registers the machine has.

Kernels written with it say in which order every sum is taken: lane j of an accumulator holds the elements i with
i % 16 == j, and `halves` folds the lanes. Nothing is left to an automatic vectoriser, and no fast-math flag is used.

Arrays are contiguous; an index counts elements from their start. `load_part` and `store_part` touch only the first
`count` elements, so that no memory outside an array is read or written.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,misc"
import functools
import hashlib
import operator
from pathlib import Path

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

LANES = 16

inlined = njit(forceinline=True, error_model="numpy")


@functools.cache
def _sources() -> str:
    """A digest of this folder: a kernel depends on all that is inlined into it, not on its own file alone."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def kernel(function):
    """Compile at the first call for each dtype; keep the code on disk, for as long as no source of this folder changes.

    Numba keeps it beside the source, or in the user's cache folder where that cannot be written; without either, it is
    compiled anew in each process.
    """
    dispatcher = njit(nogil=True, error_model="numpy")(function)
    try:
        dispatcher.enable_caching()
    except RuntimeError:
        return dispatcher
    dispatcher._cache._cache_file._source_stamp = _sources()
    return dispatcher


class Vector(types.Type):
    """`size` numbers of type `dtype`, as one LLVM vector."""

    def __init__(self, dtype: types.Type, size: int = LANES) -> None:
        self.dtype = dtype
        self.size = size
        super().__init__(name=f"Vector({dtype}, {size})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        element = ir.IntType(1) if vector.dtype == types.boolean else manager.lookup(vector.dtype).get_value_type()
        super().__init__(manager, vector, ir.VectorType(element, vector.size))


def _constant_vector(context, builder, vector, scalar):
    """`scalar` in every lane."""
    whole = context.get_value_type(vector)
    lane0 = builder.insert_element(ir.Constant(whole, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.size), [0] * vector.size)
    return builder.shuffle_vector(lane0, ir.Constant(whole, ir.Undefined), zeros)


@intrinsic
def align_stack(typingctx):
    """Align the stack of the calling kernel: spilled vectors that straddle two cache lines cost 40 ns a row."""

    def codegen(context, builder, signature, args):
        builder.function.attributes.add("nounwind")  # llvmlite writes no alignment into an otherwise empty list
        builder.function.attributes.alignstack = 64
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def splat(typingctx, scalar):
    """`scalar` in every lane."""
    vector = Vector(scalar)
    return vector(scalar), lambda context, builder, signature, args: _constant_vector(context, builder, vector, *args)


def _suffix(llvm_type):
    """How LLVM spells a type in the name of an overloaded function."""
    if isinstance(llvm_type, ir.VectorType):
        return f"v{llvm_type.count}{_suffix(llvm_type.element)}"
    if isinstance(llvm_type, ir.IntType):
        return f"i{llvm_type.width}"
    return "f64" if llvm_type == ir.DoubleType() else "f32"


def _call(builder, name, result, arguments):
    function_type = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), arguments)


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c, rounded once; scalars or vectors."""

    def codegen(context, builder, signature, args):
        return _call(builder, f"llvm.fma.{_suffix(args[0].type)}", args[0].type, args)

    return a(a, a, a), codegen


def _operator(operation, name):
    @type_callable(operation)
    def typed(context):
        return lambda a, b: a if isinstance(a, Vector) and a == b else None

    @lower_builtin(operation, Vector, Vector)
    def emit(context, builder, signature, args):
        return getattr(builder, name)(*args)


@type_callable(operator.neg)
def _neg_typed(context):
    return lambda a: a if isinstance(a, Vector) else None


@lower_builtin(operator.neg, Vector)
def _neg(context, builder, signature, args):
    return builder.fneg(args[0])


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")
_operator(operator.truediv, "fdiv")


def _integer(name):
    @intrinsic
    def emit(typingctx, a, b):
        return a(a, a), lambda context, builder, signature, args: getattr(builder, name)(*args)

    return emit


add_integers = _integer("add")
shift_left = _integer("shl")
shift_right = _integer("lshr")
bits_of_both = _integer("and_")


def _compare(predicate):
    @intrinsic
    def emit(typingctx, a, b):
        mask = Vector(types.boolean, a.size) if isinstance(a, Vector) else types.boolean
        return mask(a, a), lambda context, builder, signature, args: builder.fcmp_ordered(predicate, *args)

    return emit


less = _compare("<")
equal = _compare("==")


@intrinsic
def select(typingctx, mask, a, b):
    """a where mask, else b, lane by lane."""
    return a(mask, a, a), lambda context, builder, signature, args: builder.select(*args)


@intrinsic
def count(typingctx, mask):
    """How many lanes of a mask are set."""

    def codegen(context, builder, signature, args):
        bits = builder.bitcast(args[0], ir.IntType(mask.size))
        return builder.zext(builder.ctpop(bits), ir.IntType(64))

    return types.int64(mask), codegen


@intrinsic
def both(typingctx, a, b):
    """Lanes set in both masks."""
    return a(a, a), lambda context, builder, signature, args: builder.and_(*args)


@intrinsic
def larger(typingctx, a, b):
    """The larger of each pair; a nan in b is left out."""

    def codegen(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered("<", *args), args[1], args[0])

    return a(a, a), codegen


def _cast(instruction, pairs):
    @intrinsic
    def cast(typingctx, value):
        result = Vector(pairs[value.dtype], value.size)

        def codegen(context, builder, signature, args):
            return getattr(builder, instruction)(args[0], context.get_value_type(result))

        return result(value), codegen

    return cast


to_bits = _cast("bitcast", {types.float64: types.int64, types.float32: types.int32})
from_bits = _cast("bitcast", {types.int64: types.float64, types.int32: types.float32})
widen = _cast("fpext", {types.float32: types.float64})
narrow = _cast("fptrunc", {types.float64: types.float32})
widen_bits = _cast("zext", {types.uint16: types.int32})
narrow_bits = _cast("trunc", {types.int32: types.uint16})


@intrinsic
def halves(typingctx, vector):
    """(the first half of the lanes, the second half)."""
    half = Vector(vector.dtype, vector.size // 2)
    pair = types.UniTuple(half, 2)

    def codegen(context, builder, signature, args):
        index = ir.VectorType(ir.IntType(32), half.size)
        parts = [
            builder.shuffle_vector(args[0], args[0], ir.Constant(index, list(range(start, start + half.size))))
            for start in (0, half.size)
        ]
        return context.make_tuple(builder, pair, parts)

    return pair(vector), codegen


@intrinsic
def lane(typingctx, vector, index):
    """One lane, as a scalar."""
    return vector.dtype(vector, types.intp), lambda context, builder, signature, args: builder.extract_element(*args)


def _pointer(context, builder, array_type, array, index):
    """The address of element `index`, as a pointer to a vector; and the alignment that can be relied on."""
    data = context.make_array(array_type)(context, builder, array).data
    address = builder.gep(data, [index])
    vector = context.get_value_type(Vector(array_type.dtype))
    return builder.bitcast(address, vector.as_pointer()), vector, array_type.dtype.bitwidth // 8


def _first(builder, count):
    """The mask of the first `count` lanes."""
    index = ir.VectorType(ir.IntType(64), LANES)
    lane0 = builder.insert_element(ir.Constant(index, ir.Undefined), count, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    counts = builder.shuffle_vector(lane0, ir.Constant(index, ir.Undefined), zeros)
    return builder.icmp_signed("<", ir.Constant(index, list(range(LANES))), counts)


@intrinsic
def load(typingctx, array, index):
    """Elements index ... index + 15."""

    def codegen(context, builder, signature, args):
        pointer, _, align = _pointer(context, builder, array, *args)
        return builder.load(pointer, align=align)

    return Vector(array.dtype)(array, types.intp), codegen


@intrinsic
def store(typingctx, array, index, vector):
    """Write the 16 lanes to elements index ... index + 15."""

    def codegen(context, builder, signature, args):
        pointer, _, align = _pointer(context, builder, array, *args[:2])
        builder.store(args[2], pointer, align=align)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


@intrinsic
def load_part(typingctx, array, index, count, rest):
    """Elements index ... index + count - 1, the other lanes `rest`."""

    def codegen(context, builder, signature, args):
        pointer, vector, align = _pointer(context, builder, array, *args[:2])
        filling = _constant_vector(context, builder, Vector(array.dtype), args[3])
        arguments = [pointer, ir.Constant(ir.IntType(32), align), _first(builder, args[2]), filling]
        return _call(builder, f"llvm.masked.load.{_suffix(vector)}.p0", vector, arguments)

    return Vector(array.dtype)(array, types.intp, types.intp, array.dtype), codegen


@intrinsic
def load_mask(typingctx, array, index, count):
    """Elements index ... index + count - 1 of a boolean array as a mask; the other lanes False."""
    mask = Vector(types.boolean)

    def codegen(context, builder, signature, args):
        data = context.make_array(array)(context, builder, args[0]).data
        octets = ir.VectorType(ir.IntType(8), LANES)
        zeros = ir.Constant(octets, [0] * LANES)
        address = builder.bitcast(builder.gep(data, [args[1]]), octets.as_pointer())
        arguments = [address, ir.Constant(ir.IntType(32), 1), _first(builder, args[2]), zeros]
        values = _call(builder, f"llvm.masked.load.v{LANES}i8.p0", octets, arguments)
        return builder.icmp_unsigned("!=", values, zeros)

    return mask(array, types.intp, types.intp), codegen


@intrinsic
def store_part(typingctx, array, index, count, vector):
    """Write the first `count` lanes."""

    def codegen(context, builder, signature, args):
        pointer, kind, align = _pointer(context, builder, array, *args[:2])
        arguments = [args[3], pointer, ir.Constant(ir.IntType(32), align), _first(builder, args[2])]
        _call(builder, f"llvm.masked.store.{_suffix(kind)}.p0", ir.VoidType(), arguments)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, vector), codegen


def _addresses(context, builder, array_type, array, index, step):
    """The addresses of elements index, index + step, ..., as a vector of pointers."""
    element = context.get_value_type(array_type.dtype)
    data = context.make_array(array_type)(context, builder, array).data
    whole = ir.VectorType(ir.IntType(64), LANES)
    steps = builder.mul(
        _constant_vector(context, builder, Vector(types.int64), step), ir.Constant(whole, list(range(LANES)))
    )
    offsets = builder.add(steps, _constant_vector(context, builder, Vector(types.int64), index))
    size = ir.Constant(whole, [array_type.dtype.bitwidth // 8] * LANES)
    base = _constant_vector(context, builder, Vector(types.int64), builder.ptrtoint(data, ir.IntType(64)))
    return builder.inttoptr(builder.add(base, builder.mul(offsets, size)), ir.VectorType(element.as_pointer(), LANES))


@intrinsic
def gather(typingctx, array, index, step):
    """Elements index, index + step, ..., index + 15 step."""

    def codegen(context, builder, signature, args):
        vector = context.get_value_type(Vector(array.dtype))
        pointers = _addresses(context, builder, array, *args)
        mask = ir.Constant(ir.VectorType(ir.IntType(1), LANES), [1] * LANES)
        align = ir.Constant(ir.IntType(32), array.dtype.bitwidth // 8)
        arguments = [pointers, align, mask, ir.Constant(vector, ir.Undefined)]
        return _call(builder, f"llvm.masked.gather.{_suffix(vector)}.v{LANES}p0", vector, arguments)

    return Vector(array.dtype)(array, types.intp, types.intp), codegen


@intrinsic
def scatter(typingctx, array, index, step, vector):
    """Write the lanes to elements index, index + step, ..., index + 15 step."""

    def codegen(context, builder, signature, args):
        pointers = _addresses(context, builder, array, *args[:3])
        mask = ir.Constant(ir.VectorType(ir.IntType(1), LANES), [1] * LANES)
        align = ir.Constant(ir.IntType(32), array.dtype.bitwidth // 8)
        _call(
            builder,
            f"llvm.masked.scatter.{_suffix(args[3].type)}.v{LANES}p0",
            ir.VoidType(),
            [args[3], pointers, align, mask],
        )
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, vector), codegen


@intrinsic
def first(typingctx, count):
    """The mask of the first `count` lanes."""
    return Vector(types.boolean)(types.intp), lambda context, builder, signature, args: _first(builder, args[0])
