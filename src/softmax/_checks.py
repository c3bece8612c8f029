"""The only file that validates arrays, axes, targets and options.

Each check returns what the layers below may rely on, or raises one of our exceptions: what was wrong, what came,
what to do.
"""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Callable
from typing import Any, cast, get_args

import numpy as np

from ._arrays import NUMPY, Layout, Library, describe, is_plain, library_of
from ._errors import ArrayTypeError, ArrayValueError, AxisError, OptionError, TargetError
from ._typing import Array, ArrayLike, DType, Precision, Reduction

MAX_DENSE = 2**31  # elements of a dense Jacobian

# Arrays


def check_array(x: ArrayLike, name: str = "x", *, allow_complex: bool = False) -> tuple[Library, Array, Array | None]:
    """The library of `x`, `x` as a floating array of it, and the mask (true = use) if it is a numpy.ma array."""
    lib = library_of(x)
    if lib is None:
        raise ArrayTypeError(f"{name} is no array that is understood: got {describe(x)}. {_way_to_array(x)}")
    mask = None
    if isinstance(x, np.ma.MaskedArray):
        mask = ~np.ma.getmaskarray(x)
    if lib is NUMPY:
        x = _as_numpy(x, name)
    x = _as_floating(lib, x, name)
    if not allow_complex and lib.kind(x.dtype) == "complex":
        raise ArrayTypeError(
            f"{name} is complex ({describe(x)}), and softmax is a function of real logits. "
            "Pass its real part; logsumexp accepts complex numbers."
        )
    return lib, x, mask


def _way_to_array(x: object) -> str:
    """What to do with something that is no array."""
    module = type(x).__module__
    if module.startswith("scipy.sparse"):
        return "Sparse input has no softmax that stays sparse; pass x.toarray()."
    if hasattr(x, "to_numpy"):
        return "Pass x.to_numpy()."
    if hasattr(x, "__array__") or (hasattr(x, "__iter__") and not isinstance(x, (str, bytes, dict, set))):
        return "Pass numpy.asarray(x), or a list of numbers."
    return "Pass an array of numbers (NumPy, PyTorch, JAX or any array-API library), a list of numbers or a number."


def _as_numpy(x: Any, name: str) -> np.ndarray[Any, Any]:
    """A plain ndarray in native byte order and aligned, without a copy where `x` is that already."""
    try:
        array = np.asarray(np.ma.getdata(x) if isinstance(x, np.ma.MaskedArray) else x)
    except ValueError as error:  # rows of different lengths
        raise ArrayValueError(
            f"{name} is no rectangular array: {error} Pad its rows to one length and mask the padding with where=."
        ) from None
    if array.dtype.kind in "fciu" and not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array if array.flags.aligned else array.copy()


def _as_floating(lib: Library, x: Array, name: str) -> Array:
    """`x` itself if real or complex; integers and booleans as float64, before anything is subtracted."""
    layout = getattr(x, "layout", None)
    if lib.name == "torch" and (layout is not lib.xp.strided or x.is_quantized or x.is_nested):
        what = "nested" if x.is_nested else "quantised" if x.is_quantized else f"not dense ({layout})"
        raise ArrayTypeError(
            f"{name} is a tensor that is {what}: got {describe(x)}. Pass a dense one, for instance {name}.to_dense()."
        )
    kind = lib.kind(x.dtype)
    if kind == "other":
        raise ArrayTypeError(f"{name} holds no numbers that softmax is defined for: got {describe(x)}. {_cure(x)}")
    return lib.cast(x, lib.float_dtype()) if kind in ("integer", "bool") else x


def _cure(x: Any) -> str:
    """What to do with an array of a foreign dtype."""
    kind = getattr(x.dtype, "kind", None)
    if kind == "O":
        return "If all its elements are numbers, pass x.astype(float)."
    if kind in ("U", "S", "T"):
        return "If its strings are numbers, pass x.astype(float); category names have to be encoded first."
    if kind == "V" and getattr(x.dtype, "names", None):
        return "Pass one of its fields, or numpy.lib.recfunctions.structured_to_unstructured(x)."
    return "Cast it to float32 or float64 first."


def check_partner(lib: Library, value: ArrayLike, like: Array, name: str) -> tuple[Array, Array]:
    """A tangent or cotangent beside its logits: same shape, and both in the dtype that holds both."""
    value = _convert(lib, value, like, name)
    if tuple(value.shape) != tuple(like.shape):
        raise ArrayValueError(
            f"{name} must have the shape of the logits, {tuple(like.shape)}; got {tuple(value.shape)}. "
            "Broadcast or reshape it first."
        )
    if lib.kind(value.dtype) == "complex":
        raise ArrayTypeError(f"{name} must be real; got {describe(value)}. Pass its real part.")
    dtype = lib.promote(like.dtype, value.dtype)
    return lib.cast(like, dtype), lib.cast(value, dtype)


def check_dense(shape: tuple[int, ...]) -> None:
    """A stack of n x n matrices that may be stored: at most 2^31 elements."""
    if (count := math.prod(shape)) > MAX_DENSE:
        raise ArrayValueError(
            f"a dense Jacobian of shape {shape} would hold {count} elements, more than {MAX_DENSE}. "
            "SoftmaxJacobian(x) stores only the probabilities; multiply with @."
        )


def check_operator_logits(x: Array, mask: Array | None) -> Array:
    """At least one logit for each matrix, and none masked."""
    if mask is not None:
        raise ArrayValueError(
            "SoftmaxJacobian takes no masked array. Leave the masked logits out, or set them to -inf."
        )
    if x.shape[-1] == 0:
        raise ArrayValueError(f"SoftmaxJacobian needs at least one logit along its axis; got shape {tuple(x.shape)}.")
    return x


def check_numpy(lib: Library, what: str) -> None:
    """The library is NumPy."""
    if lib is not NUMPY:
        raise ArrayTypeError(f"{what} needs NumPy logits; they are of {lib.name}. Pass numpy.asarray(x).")


def check_operand(lib: Library, value: ArrayLike, like: Array, n: int, *, left: bool) -> Array:
    """A vector (n,), or matrices whose axis -2 (on the `left` of the operator: -1) is n long."""
    value = _convert(lib, value, like, "the operand of @")
    shape = tuple(value.shape)
    if lib.kind(value.dtype) == "complex":
        raise ArrayTypeError(f"the operand of @ must be real; got {describe(value)}. Take its parts one by one.")
    if not shape or shape[-1 if left or len(shape) == 1 else -2] != n:
        wanted = f"({n},) or (..., k, {n})" if left else f"({n},) or (..., {n}, k)"
        raise ArrayValueError(f"the operand of @ must have shape {wanted}; got {shape}.")
    return value


def check_weights_of_sum(lib: Library, b: ArrayLike, x: Array) -> tuple[Array, Array]:
    """The factors of a logsumexp, and `x`, broadcast against each other; integers take the dtype of `x`."""
    b = _convert(lib, b, x, "b")
    try:
        shape = np.broadcast_shapes(tuple(x.shape), tuple(b.shape))
    except ValueError:
        raise ArrayValueError(
            f"b of shape {tuple(b.shape)} and x of shape {tuple(x.shape)} do not broadcast together. "
            "Give b the shape of x, or 1 along the axes it is constant on."
        ) from None
    dtype = lib.promote(x.dtype, b.dtype)
    return lib.broadcast(lib.cast(x, dtype), shape), lib.broadcast(lib.cast(b, dtype), shape)


def _convert(lib: Library, value: ArrayLike, like: Array, name: str) -> Array:
    """`value` as a floating array of the library of `like`; numbers, sequences and integers take its dtype."""
    if isinstance(value, np.ma.MaskedArray):
        raise ArrayTypeError(f"{name} is a masked array, and only the logits may be: pass {name}.filled(0).")
    plain = is_plain(value)
    value = _of_library(lib, value, like, name)
    kind = lib.kind(value.dtype)
    if kind == "other":
        raise ArrayTypeError(f"{name} holds no numbers: got {describe(value)}. {_cure(value)}")
    if kind in ("integer", "bool") or (plain and kind == "real"):
        return lib.cast(value, like.dtype)
    return value


def _of_library(lib: Library, value: ArrayLike, like: Array, name: str) -> Array:
    """`value` in the library of `like`: its own arrays as they are, NumPy's and plain sequences converted."""
    if lib is not NUMPY and lib.owns(value):
        return value
    if library_of(value) is not NUMPY:
        raise ArrayTypeError(
            f"{name} must be an array of {lib.name}, as the logits are; got {describe(value)}. Convert it first."
        )
    value = _as_numpy(value, name)
    return value if lib is NUMPY else lib.convert(value, like)


def check_where(lib: Library, where: ArrayLike | None, mask: Array | None, like: Array) -> Array | None:
    """`where` and the mask of a numpy.ma array as one boolean array of the shape of the logits."""
    if where is None:
        return mask if mask is None or mask.shape == like.shape else lib.broadcast(mask, like.shape)
    if isinstance(where, np.ma.MaskedArray):
        where = np.ma.filled(where, False)
    where = _of_library(lib, where, like, "where")
    if lib.kind(where.dtype) != "bool":
        raise ArrayTypeError(
            f"where must be boolean, True for the entries to use; got {describe(where)}. Pass for instance where != 0."
        )
    shape = tuple(like.shape)
    if tuple(where.shape) != shape:
        try:
            fits = np.broadcast_shapes(tuple(where.shape), shape) == shape
        except ValueError:
            fits = False
        if not fits:
            raise ArrayValueError(
                f"where must broadcast to the shape of the logits, {shape}; got {tuple(where.shape)}. "
                "Give it that shape, or 1 along the axes it is constant on."
            )
        where = lib.broadcast(where, shape)
    return where if mask is None else where & mask


def check_out(lib: Library, out: Any, like: Array, dtype: DType) -> None:
    """`out` can take the result: NumPy's, writable, of the shape and of a dtype that holds it."""
    if lib is not NUMPY:
        raise OptionError(f"out= is for NumPy arrays; the logits are of {lib.name}. Leave it out and use the result.")
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise ArrayTypeError(f"out must be a numpy.ndarray; got {describe(out)}. Pass numpy.empty_like(x).")
    if out.shape != like.shape:
        raise ArrayValueError(f"out must have the shape of the result, {like.shape}; got {out.shape}.")
    if lib.kind(out.dtype) != "real" or lib.promote(out.dtype, dtype) != out.dtype.newbyteorder("="):
        raise ArrayTypeError(
            f"out of dtype {out.dtype} cannot hold a result of dtype {dtype} without loss. "
            f"Give it that dtype, or ask for less precision with dtype={out.dtype.name!r}."
        )
    if not out.flags.writeable:
        raise ArrayValueError("out is read-only. Pass an array that can be written to, as numpy.empty_like(x).")
    if any(step == 0 and size > 1 for step, size in zip(out.strides, out.shape, strict=True)):
        raise ArrayValueError("out has elements that share memory (a broadcast view). Pass numpy.empty_like(x).")


# Linear layers


def check_layer(lib: Library, x: Array, linear_weight: ArrayLike, bias: ArrayLike | None) -> tuple[Array, Array | None]:
    """Weights (V, D) with V > 0 and a bias (V,) that go with features (..., D): one library, dtype and device."""
    weight = _layer_part(lib, linear_weight, x, "linear_weight")
    if not x.ndim or weight.ndim != 2 or x.shape[-1] != weight.shape[1]:
        raise ArrayValueError(
            "x must have shape (..., D) and linear_weight (V, D), with D features and V classes; got "
            f"{tuple(x.shape)} and {tuple(weight.shape)}.{_transposed(x, weight)}"
        )
    if weight.shape[0] == 0:
        raise ArrayValueError(f"linear_weight needs at least one class; got shape {tuple(weight.shape)}.")
    if bias is None:
        return weight, None
    bias = _layer_part(lib, bias, x, "bias")
    if tuple(bias.shape) != (weight.shape[0],):
        raise ArrayValueError(
            f"bias must hold one number for each class, shape ({weight.shape[0]},); got {tuple(bias.shape)}."
        )
    return weight, bias


def _layer_part(lib: Library, value: ArrayLike, x: Array, name: str) -> Array:
    if isinstance(value, np.ma.MaskedArray):
        raise ArrayTypeError(f"{name} is a masked array. Pass {name}.filled(0), and the classes to use as where=.")
    value = _as_floating(lib, _convert(lib, value, x, name), name)
    if value.dtype != x.dtype:
        raise ArrayTypeError(
            f"{name} must have the dtype of x, {x.dtype}; got {value.dtype}. Cast one of them"
            + (", or run under torch.autocast." if lib.name == "torch" else ".")
        )
    if lib.name == "torch" and value.device != x.device:
        raise ArrayValueError(f"{name} must be on the device of x, {x.device}; got {value.device}. Move one of them.")
    return value


def _transposed(x: Array, weight: Array) -> str:
    """A hint where the weights fit the other way round."""
    fits = x.ndim and weight.ndim == 2 and x.shape[-1] == weight.shape[0]
    return " Pass linear_weight.T." if fits else ""


def check_row_temperature(lib: Library, value: Any, x: Array) -> Any:
    """A finite number above 0, or an array of them, one for each row of x (..., D), which becomes (N,)."""
    if isinstance(value, (float, int, np.generic)) or not (hasattr(value, "shape") or isinstance(value, (list, tuple))):
        return check_temperature(value)
    rows = tuple(x.shape[:-1])
    value = lib.cast(_convert(lib, value, x, "temperature"), lib.loss_dtype(x.dtype))
    if tuple(value.shape) == () and rows:
        value = lib.broadcast(value, rows)
    if tuple(value.shape) != rows:
        raise OptionError(
            f"temperature must be a number or hold one for each row, shape {rows}; got shape {tuple(value.shape)}."
        )
    if getattr(value, "requires_grad", False):
        raise OptionError("temperature requires a gradient, and the loss has none in it. Pass temperature.detach().")
    if math.prod(rows) and lib.truth(lib.xp.all((value > 0) & (value < math.inf))) is False:
        found = lib.to_numpy(value)
        row, bad = _first(~((found > 0) & (found < math.inf)), found)
        raise OptionError(f"temperature must be finite and above 0; got {bad} at row {row}. It divides the logits.")
    return lib.reshape(value, (-1,))


def check_budget(value: Any, free: Callable[[], int]) -> int | None:
    """Bytes, from an integer or from a fraction of `free()`; None for no limit."""
    if value is None:
        return None
    if not isinstance(value, (bool, np.bool_)):
        if isinstance(value, numbers.Integral) and int(value) > 0:
            return int(value)
        if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral) and 0.0 < float(value) <= 1.0:
            return int(float(value) * free())
    raise OptionError(
        "memory_budget must be a positive integer (bytes), a fraction in (0.0, 1.0] of the free memory, or None; "
        f"got {value!r}."
    )


# Axes


def check_axes(axis: Any, shape: tuple[int, ...]) -> Layout:
    """Layout of an int, a tuple of ints or None (all axes); a 0-d array has its one element as its axis -1 and 0."""
    ndim = len(shape)
    if axis is None:
        return Layout(shape, tuple(range(ndim)))
    given = axis if isinstance(axis, tuple) else (axis,)
    axes = [_one_axis(a, ndim) for a in given]
    if len(set(axes)) < len(axes):
        raise AxisError(f"axis names an axis twice: got {axis} for an array of {ndim} dimensions. Name each once.")
    return Layout(shape, tuple(sorted(axes)) if ndim else ())


def check_class_axis(axis: Any, shape: tuple[int, ...]) -> int:
    """The one axis that numbers the classes."""
    if not shape:
        raise ArrayValueError("the logits need an axis for the classes; got a single number. Pass at least [logit].")
    if axis is None or isinstance(axis, tuple):
        raise AxisError(f"axis must be one integer here, the class axis; got {axis}. Reshape the logits first.")
    return _one_axis(axis, len(shape))


def _one_axis(axis: Any, ndim: int) -> int:
    if isinstance(axis, (bool, np.bool_)):
        raise AxisError(f"axis must be an integer, a tuple of integers or None; got {axis!r}.")
    try:
        index = operator.index(axis)
    except TypeError:
        raise AxisError(f"axis must be an integer, a tuple of integers or None; got {axis!r}.") from None
    size = max(ndim, 1)  # as NumPy does, axis -1 and 0 of a 0-d array are taken
    if not -size <= index < size:
        raise AxisError(
            f"axis {index} is out of range for an array of {ndim} dimensions. Pass a number in [{-size}, {size})."
        )
    return index % size


# Options


def _number(value: Any, name: str, what: str) -> float:
    """A real number as a float; `what` says which are allowed."""
    if type(value) is float or type(value) is int:
        return float(value)
    if not isinstance(value, (bool, np.bool_)) and isinstance(value, numbers.Real):
        return float(value)
    raise OptionError(f"{name} must be {what}; got {value!r} ({describe(value)}).")


def check_temperature(value: Any) -> float:
    """A finite number above 0."""
    if type(value) is not float and hasattr(value, "shape") and not isinstance(value, np.generic):
        raise OptionError(
            f"temperature must be a number; got {describe(value)}. To divide by an array, or to learn a temperature, "
            "divide the logits by it before the call."
        )
    temperature = _number(value, "temperature", "a finite number above 0")
    if not 0.0 < temperature < math.inf:
        raise OptionError(f"temperature must be a finite number above 0; got {value!r}. It divides the logits.")
    return temperature


def check_precision(value: Any) -> Precision:
    """Either "accurate" or "fast"."""
    return cast(Precision, _one_of(value, "precision", get_args(Precision)))


def check_reduction(value: Any) -> Reduction:
    """One of "none", "mean", "sum"."""
    return cast(Reduction, _one_of(value, "reduction", get_args(Reduction)))


def _one_of(value: Any, name: str, allowed: tuple[str, ...]) -> str:
    if isinstance(value, str) and value in allowed:
        return value
    raise OptionError(f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}.")


def check_dtype(lib: Library, dtype: Any, *, allow_complex: bool = False) -> DType:
    """A floating dtype of the library, from its own name for it or a string."""
    try:
        found = lib.find_dtype(dtype)
    except (TypeError, AttributeError):
        raise OptionError(
            f"dtype must be a floating dtype of {lib.name}; got {dtype!r}. Pass for instance 'float32'."
        ) from None
    kind = lib.kind(found)
    if kind == "real" or (allow_complex and kind == "complex"):
        return found
    raise OptionError(f"dtype must be a floating dtype of {lib.name}; got {dtype!r}. Pass for instance 'float32'.")


def check_fraction(value: Any, name: str) -> float:
    """A number in [0, 1]."""
    number = _number(value, name, "a number in [0, 1]")
    if not 0.0 <= number <= 1.0:
        raise OptionError(f"{name} must be a number in [0, 1]; got {value!r}.")
    return number


def check_positive(value: Any, name: str, *, zero: bool = False) -> float:
    """A finite number above 0, or from 0."""
    what = "a finite number, 0 or more" if zero else "a finite number above 0"
    number = _number(value, name, what)
    if not (math.isfinite(number) and (number > 0.0 or (zero and number == 0.0))):
        raise OptionError(f"{name} must be {what}; got {value!r}.")
    return number


def check_ignore_index(value: Any) -> int | None:
    """An integer or None."""
    if value is None:
        return None
    try:
        if not isinstance(value, (bool, np.bool_)):
            return operator.index(value)
    except TypeError:
        pass
    raise OptionError(f"ignore_index must be an integer or None; got {value!r}.")


# Targets


def check_class_weight(lib: Library, weight: ArrayLike, logits: Array, n_classes: int) -> Array:
    """One finite weight, 0 or more, for each class, in the dtype of the loss."""
    weight = (
        _convert(lib, weight, logits, "weight") if not is_plain(weight) else _of_library(lib, weight, logits, "weight")
    )
    if lib.kind(weight.dtype) not in ("real", "integer"):
        raise ArrayTypeError(f"weight must hold real numbers; got {describe(weight)}.")
    if tuple(weight.shape) != (n_classes,):
        raise ArrayValueError(
            f"weight must hold one number for each class, shape ({n_classes},); got shape {tuple(weight.shape)}."
        )
    weight = lib.cast(weight, lib.loss_dtype(logits.dtype))
    if getattr(weight, "requires_grad", False):
        raise ArrayValueError("weight requires a gradient, and the loss has none in it. Pass weight.detach().")
    if n_classes and _all_within(lib, weight, math.inf) is False:
        raise ArrayValueError(f"weight must be finite and not negative; got {_offender(lib, weight, math.inf)}.")
    return weight


def check_target(
    lib: Library, target: ArrayLike, logits: Array, axis: int, ignore_index: int | None
) -> tuple[Array, bool]:
    """The target as class indices (the shape of the logits without the class axis) or as probabilities (their shape).

    Returns it and whether it holds indices. Values are looked at where there are any: not in traced arrays.
    """
    shape = tuple(logits.shape)
    row_shape = shape[:axis] + shape[axis + 1 :]
    if isinstance(target, np.ma.MaskedArray):
        raise TargetError("target is a masked array. Fill it with a number and pass that as ignore_index.")
    plain = is_plain(target)
    try:
        target = _of_library(lib, target, logits, "target")
    except ArrayValueError as error:
        raise TargetError(str(error)) from None
    if plain and tuple(target.shape) == row_shape and math.prod(row_shape) == 0:  # NumPy takes [] for float64
        target = lib.cast(target, lib.index_dtype())
    got, kind = tuple(target.shape), lib.kind(target.dtype)
    if kind == "integer" and got == row_shape:
        return _check_indices(lib, target, shape[axis], ignore_index), True
    if kind == "real" and got == shape:
        if ignore_index is not None:
            raise OptionError(
                "ignore_index needs class indices; the target holds probabilities. Mask rows by a zero row."
            )
        return _check_probabilities(lib, target, logits), False
    raise TargetError(_misfit(describe(target), kind, got, shape, row_shape))


def _misfit(what: str, kind: str, got: tuple[int, ...], shape: tuple[int, ...], row_shape: tuple[int, ...]) -> str:
    """Why a target is neither indices nor probabilities, and what to do."""
    wanted = f"integers of shape {row_shape} (class indices) or floating numbers of shape {shape} (probabilities)"
    advice = ""
    if kind == "real" and got == row_shape:
        advice = " Class indices have to be integers: cast them."
    elif kind in ("integer", "bool") and got == shape:
        advice = " If it is one-hot, cast it to a floating dtype, or pass target.argmax over the class axis."
    elif kind == "integer" and math.prod(got) == math.prod(row_shape):
        advice = f" Reshape it to {row_shape}."
    return f"target must hold {wanted}; got {what}.{advice}"


def _check_indices(lib: Library, target: Array, n_classes: int, ignore_index: int | None) -> Array:
    """Indices in [0, n_classes), or `ignore_index`."""
    if lib.name == "torch":  # its unsigned integers have no comparisons
        target = lib.cast(target, lib.index_dtype())
    if math.prod(target.shape) and _all_within(lib, target, n_classes) is False:
        bad = (target < 0) | (target >= n_classes)
        if ignore_index is not None:
            bad = bad & (target != ignore_index)
        # Asked of the library: inside torch.func.jvp a tensor answers, but has no memory to look at.
        if lib.truth(lib.xp.any(bad)):
            row, value = _first(lib.to_numpy(bad), lib.to_numpy(target))
            raise TargetError(
                f"target must lie in [0, {n_classes}); got {value} at row {row}. "
                f"If it marks padding, pass ignore_index={value}."
            )
    return lib.cast(target, lib.index_dtype())


def _check_probabilities(lib: Library, target: Array, logits: Array) -> Array:
    """Finite numbers, 0 or more; a row need not sum to 1."""
    target = lib.cast(target, lib.loss_dtype(logits.dtype))
    if math.prod(target.shape) and _all_within(lib, target, math.inf) is False:
        raise TargetError(
            f"target probabilities must be finite and not negative; got {_offender(lib, target, math.inf)}."
        )
    return target


def _all_within(lib: Library, values: Array, limit: float) -> bool | None:
    """Whether all lie in [0, limit); nan does not. None where nobody can look."""
    if not lib.readable(values):
        return None
    least, most = lib.bounds(values)
    return lib.truth((least >= 0) & (most < limit))


def _offender(lib: Library, values: Array, limit: float) -> str:
    """The first value outside [0, limit), and where it stands."""
    found = lib.to_numpy(values)
    index, value = _first(~((found >= 0) & (found < limit)), found)
    return f"{value} at {index}"


def _first(bad: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    """Index and value of the first true entry of `bad`."""
    index = tuple(int(i) for i in np.argwhere(bad)[0])
    return (index[0] if len(index) == 1 else index), values[index].item()
