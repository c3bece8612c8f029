"""What the public layer has to know of an array library: kinds of dtype, conversion, shape. No arithmetic.

A library is found by the type of the caller's array, in `sys.modules`: whoever holds a tensor has loaded its framework,
so nothing is ever imported here but NumPy.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from ._typing import Array, DType

Kind: TypeAlias = Literal["real", "complex", "integer", "bool", "other"]

_PYTHON_NUMBERS = (bool, int, float, complex)


class Library(ABC):
    """One array library. `xp` holds its functions; the names used are those of the array API."""

    name: str

    def __init__(self, xp: Any) -> None:
        self.xp = xp

    @abstractmethod
    def kind(self, dtype: DType) -> Kind:
        """What the elements are; "other" is what no function here can compute with."""

    @abstractmethod
    def owns(self, value: object) -> bool:
        """Whether `value` is an array of this library."""

    @abstractmethod
    def convert(self, value: Any, like: Array) -> Array:
        """Nested sequences, a number or a NumPy array as an array of this library, beside `like`."""

    @abstractmethod
    def cast(self, x: Array, dtype: DType) -> Array:
        """`x` in `dtype`, itself where it already is."""

    @abstractmethod
    def to_numpy(self, x: Array) -> np.ndarray[Any, Any]:
        """A copy for reading single values; fails where the values are not there yet (traced arrays)."""

    def float_dtype(self) -> DType:
        """What integers and booleans are computed in."""
        return self.xp.float64

    def bool_dtype(self) -> DType:
        """The dtype of a mask."""
        return self.xp.bool

    def index_dtype(self) -> DType:
        """The dtype of class indices."""
        return self.xp.int64

    def find_dtype(self, dtype: Any) -> DType:
        """`dtype` as this library names it; raises TypeError for what is none."""
        if isinstance(dtype, str):
            dtype = getattr(self.xp, dtype, None)
        if self.kind(dtype) == "other":
            raise TypeError(dtype)
        return dtype

    def promote(self, first: DType, second: DType) -> DType:
        """The dtype that holds both."""
        return first if first == second else self.xp.result_type(first, second)

    def permute(self, x: Array, axes: Sequence[int]) -> Array:
        """The axes in another order."""
        return self.xp.permute_dims(x, tuple(axes))

    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        """The same elements in another shape."""
        return self.xp.reshape(x, tuple(shape))

    def broadcast(self, x: Array, shape: Sequence[int]) -> Array:
        """`x` repeated to `shape`; raises where the shapes do not fit."""
        return self.xp.broadcast_to(x, tuple(shape))

    def truth(self, condition: Array) -> bool | None:
        """A one-element condition as a bool, or None where its value cannot be looked at (traced arrays)."""
        return bool(condition)

    def readable(self, x: Array) -> bool:
        """Whether its values may be looked at for a check: not where that would wait for a device."""
        return True

    def unwrap(self, x: Array) -> Any:
        """What the caller gets for a 0-d result."""
        return x

    def wide(self, x: Array) -> Array:
        """`x` in the dtype to compute in before rounding to its own: float64, or wider where it is."""
        return self.cast(x, self.promote(x.dtype, self.float_dtype()))

    def cumulate(self, x: Array, axis: int) -> Array:
        """Sums of the entries up to and including each."""
        return self.xp.cumulative_sum(x, axis=axis)

    def flip(self, x: Array, axis: int) -> Array:
        """The entries in reverse order."""
        return self.xp.flip(x, axis=axis)

    def quiet(self) -> contextlib.AbstractContextManager[None]:
        """Arithmetic in here may overflow or meet nan without a warning: what it gives then is documented."""
        return contextlib.nullcontext()

    def bounds(self, x: Array) -> tuple[Array, Array]:
        """The smallest and the largest element; both nan if one is."""
        return self.xp.min(x), self.xp.max(x)

    def take(self, x: Array, index: Array) -> Array:
        """The entries of a 1-d array at these places."""
        return self.xp.take(x, index, axis=0)

    def positions(self, n: int, like: Array) -> Array:
        """0, 1, ..., n - 1 beside `like`."""
        return self.xp.arange(n)

    def loss_dtype(self, dtype: DType) -> DType:
        """float32 or wider."""
        return self.promote(dtype, self.xp.float32)


class NumPy(Library):
    """numpy.ndarray, NumPy scalars, Python numbers and lists; with ml_dtypes, bfloat16."""

    name = "numpy"

    def __init__(self) -> None:
        super().__init__(np)

    def kind(self, dtype: DType) -> Kind:
        kinds: dict[str, Kind] = {"f": "real", "c": "complex", "i": "integer", "u": "integer", "b": "bool"}
        if not isinstance(dtype, np.dtype):
            return "other"
        # A dtype of another package may call itself "f" and be 8 bits wide; the builtin ones have numbers below 24.
        if dtype.num < 24:
            return kinds.get(dtype.kind, "other")
        return "real" if dtype.name == "bfloat16" else "other"

    def owns(self, value: object) -> bool:
        return isinstance(value, (np.ndarray, np.generic))

    def convert(self, value: Any, like: Array) -> Array:
        return np.asarray(value)

    def cast(self, x: Array, dtype: DType) -> Array:
        if x.dtype == dtype:
            return x
        with self.quiet():  # a value out of range becomes inf: that is the policy and no accident
            return x.astype(dtype)

    def to_numpy(self, x: Array) -> np.ndarray[Any, Any]:
        return np.asarray(x)

    def find_dtype(self, dtype: Any) -> DType:
        found = np.dtype(dtype)
        if self.kind(found) == "other" or dtype is None:
            raise TypeError(dtype)
        return found

    def float_dtype(self) -> DType:
        return np.dtype(np.float64)

    def promote(self, first: DType, second: DType) -> DType:
        if first == second:
            return first
        try:
            return np.promote_types(first, second)
        except TypeError:  # bfloat16 with float16
            return np.dtype(np.float32)

    def quiet(self) -> contextlib.AbstractContextManager[None]:
        return np.errstate(all="ignore")

    def bounds(self, x: Array) -> tuple[Array, Array]:
        with self.quiet():
            return np.min(x), np.max(x)

    def cumulate(self, x: Array, axis: int) -> Array:
        return np.cumsum(x, axis=axis)

    def loss_dtype(self, dtype: DType) -> DType:
        return self.promote(dtype, np.dtype(np.float32))

    def unwrap(self, x: Array) -> Any:
        return x[()] if x.ndim == 0 else x


class Torch(Library):
    """torch.Tensor, strided."""

    name = "torch"

    def kind(self, dtype: DType) -> Kind:
        t = self.xp
        if dtype in (t.float32, t.float64, t.float16, t.bfloat16):
            return "real"
        if dtype in (t.complex64, t.complex128):
            return "complex"
        if dtype is t.bool:
            return "bool"
        integers = (t.int64, t.int32, t.uint8, t.int8, t.int16, t.uint16, t.uint32, t.uint64)
        return "integer" if dtype in integers else "other"

    def owns(self, value: object) -> bool:
        return isinstance(value, self.xp.Tensor)

    def convert(self, value: Any, like: Array) -> Array:
        if isinstance(value, np.ndarray):
            value = np.array(value)  # PyTorch refuses negative strides, and warns of read-only memory
        return self.xp.as_tensor(value, device=like.device)

    def cast(self, x: Array, dtype: DType) -> Array:
        return x.to(dtype)

    def to_numpy(self, x: Array) -> np.ndarray[Any, Any]:
        return np.asarray(x.detach().cpu().numpy())

    def promote(self, first: DType, second: DType) -> DType:
        return first if first == second else self.xp.promote_types(first, second)

    def permute(self, x: Array, axes: Sequence[int]) -> Array:
        return x.permute(tuple(axes))

    def wide(self, x: Array) -> Array:
        return x if x.device.type == "mps" else super().wide(x)  # Apple's GPUs have no float64

    def cumulate(self, x: Array, axis: int) -> Array:
        return self.xp.cumsum(x, axis)

    def flip(self, x: Array, axis: int) -> Array:
        return self.xp.flip(x, (axis,))

    def take(self, x: Array, index: Array) -> Array:
        return self.xp.take(x, index)

    def positions(self, n: int, like: Array) -> Array:
        return self.xp.arange(n, device=like.device)

    def readable(self, x: Array) -> bool:
        if self.xp.compiler.is_compiling():
            return False
        return x.device.type != "cuda" or os.environ.get("SOFTMAX_CHECK", "") not in ("", "0")

    def truth(self, condition: Array) -> bool | None:
        if not self.readable(condition):
            return None
        with contextlib.suppress(RuntimeError):  # inside torch.func.vmap, or a tensor without memory
            return bool(condition)
        return None


class Jax(Library):
    """jax.Array, traced ones too."""

    name = "jax"

    def kind(self, dtype: DType) -> Kind:
        return NUMPY.kind(dtype)

    def owns(self, value: object) -> bool:
        jax = sys.modules["jax"]
        return isinstance(value, jax.Array)

    def convert(self, value: Any, like: Array) -> Array:
        return self.xp.asarray(value)

    def cast(self, x: Array, dtype: DType) -> Array:
        return x if x.dtype == dtype else x.astype(dtype)

    def to_numpy(self, x: Array) -> np.ndarray[Any, Any]:
        return np.asarray(x)

    def find_dtype(self, dtype: Any) -> DType:
        return NUMPY.find_dtype(dtype)

    def float_dtype(self) -> DType:
        return self.xp.result_type(float)  # float64, or float32 unless jax_enable_x64 is set

    def bool_dtype(self) -> DType:
        return np.dtype(bool)

    def index_dtype(self) -> DType:
        return self.xp.result_type(int)

    def loss_dtype(self, dtype: DType) -> DType:
        return self.promote(dtype, np.dtype(np.float32))

    def cumulate(self, x: Array, axis: int) -> Array:
        return self.xp.cumsum(x, axis=axis)

    def truth(self, condition: Array) -> bool | None:
        return None if isinstance(condition, sys.modules["jax"].core.Tracer) else bool(condition)


class Standard(Library):
    """Any library whose arrays have `__array_namespace__`."""

    def __init__(self, xp: Any) -> None:
        super().__init__(xp)
        self.name = str(getattr(xp, "__name__", type(xp).__name__))

    def kind(self, dtype: DType) -> Kind:
        names: tuple[tuple[Kind, str], ...] = (
            ("real", "real floating"),
            ("integer", "integral"),
            ("bool", "bool"),
            ("complex", "complex floating"),
        )
        with contextlib.suppress(TypeError, ValueError):
            for kind, name in names:
                if self.xp.isdtype(dtype, name):
                    return kind
        return "other"

    def owns(self, value: object) -> bool:
        space = getattr(value, "__array_namespace__", None)
        return space is not None and space() is self.xp

    def convert(self, value: Any, like: Array) -> Array:
        return self.xp.asarray(value, device=like.device)

    def cast(self, x: Array, dtype: DType) -> Array:
        return x if x.dtype == dtype else self.xp.astype(x, dtype)

    def positions(self, n: int, like: Array) -> Array:
        return self.xp.arange(n, device=like.device)

    def to_numpy(self, x: Array) -> np.ndarray[Any, Any]:
        return np.asarray(x.get() if hasattr(x, "get") else x)  # CuPy copies from the device by get()


NUMPY = NumPy()


def library_of(x: object) -> Library | None:
    """The library whose array `x` is (numbers and sequences count as NumPy's), or None."""
    if isinstance(x, (np.ndarray, np.generic, list, tuple, *_PYTHON_NUMBERS)):
        return NUMPY
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        return Torch(torch)
    jax = sys.modules.get("jax")
    if jax is not None and isinstance(x, jax.Array):
        return Jax(jax.numpy)
    space = getattr(x, "__array_namespace__", None)
    return None if space is None else Standard(space())


class Layout(NamedTuple):
    """Which axes a function runs over, and the way to one axis and back.

    One axis stays where it is. Several axes, none, or those of a 0-d array become one trailing axis, in their order.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]  # sorted, in [0, ndim)

    @property
    def in_place(self) -> bool:
        """Whether the array can be used as it is."""
        return len(self.axes) == 1

    @property
    def others(self) -> tuple[int, ...]:
        """The axes that number the rows."""
        return tuple(i for i in range(len(self.shape)) if i not in self.axes)

    @property
    def axis(self) -> int:
        """The one axis, once in rows."""
        return self.axes[0] if self.in_place else len(self.others)

    def to_rows(self, lib: Library, x: Array) -> Array:
        """`x`, of this shape, with one axis to run over."""
        return x if self.in_place else self.to_trailing(lib, x)

    def to_trailing(self, lib: Library, x: Array) -> Array:
        """`x`, of this shape, with one axis to run over, which is the last."""
        rows = self.others
        order = rows + self.axes
        if order != tuple(range(len(order))):
            x = lib.permute(x, order)
        if self.in_place:
            return x
        n = product([self.shape[i] for i in self.axes])
        return lib.reshape(x, [*(self.shape[i] for i in rows), n])

    def from_rows(self, lib: Library, x: Array) -> Array:
        """The inverse of `to_rows`."""
        if self.in_place:
            return x
        order = self.others + self.axes
        x = lib.reshape(x, [self.shape[i] for i in order])
        if order == tuple(range(len(order))):
            return x
        return lib.permute(x, [order.index(i) for i in range(len(order))])

    def kept(self) -> tuple[int, ...]:
        """The shape of a reduction that keeps the axes with length 1."""
        return tuple(1 if i in self.axes else size for i, size in enumerate(self.shape))


def is_plain(value: object) -> bool:
    """Whether `value` is a number or a sequence: such a value takes the dtype of the array it goes with."""
    return isinstance(value, (list, tuple, *_PYTHON_NUMBERS))


def describe(value: object) -> str:
    """What came, for a message: type, dtype and shape."""
    name = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    if dtype is None or not isinstance(shape, tuple):
        return name
    return f"{name} of dtype {dtype} and shape {tuple(shape)}"


def product(shape: Sequence[int]) -> int:
    """The number of elements."""
    return math.prod(shape)
