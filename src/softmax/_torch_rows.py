"""What `_torch` binds, first part: the functions of rows and their products with the derivative.

A rule is one function, as a class of static methods that is never instantiated; its arguments are the tensors named in
`tensors`, then the options:

    run(*tensors, options)                    values from a kernel; no derivative is recorded
    formula(*tensors, options)                the same in PyTorch's operations, which can be traced and differentiated
    shape(*tensors, options)                  shape and dtype of the result
    vjp(f, tensors, options, needs, g)        gradient or None for each tensor
    jvp(f, tensors, options, tangents)        tangent of the result; a tangent that is None is zero

The derivatives call the same functions again (`f` is the table they are bound in), so that any order exists and every
order runs on a kernel where nothing watches. J = (diag(p) - p pᵀ)/T throughout.
"""

from __future__ import annotations

import functools
import importlib
import os
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from ._kernels import _torch_namespace as _torch_namespace  # so that Dynamo finds it loaded
from ._kernels import portable
from ._torch_gpu import gpu_kernels

INF = float("inf")
NAN = float("nan")
OPTIONAL = ("where", "weight", "row_scale", "b")


class Options(NamedTuple):
    """Everything about a call that is not a tensor."""

    axis: int
    temperature: float = 1.0
    precision: str = "accurate"
    ignore_index: int | None = None
    label_smoothing: float = 0.0
    softcap: float | None = None
    z_loss: float = 0.0


# Kernels


@functools.cache
def cpu_kernels() -> Any:
    """Return the kernel set for arrays in memory: compiled where Numba is there."""
    if os.environ.get("SOFTMAX_KERNELS") == "portable":
        return portable
    try:
        return importlib.import_module("softmax._kernels.cpu")
    except ImportError:
        return portable


def as_arrays(*tensors: Any) -> list[Any] | None:
    """Map tensors to NumPy arrays over their memory; None where NumPy cannot look at it. What is no tensor stays."""
    x = tensors[0]
    if not x.is_cpu or type(x) not in (Tensor, torch.nn.Parameter):
        return None
    try:
        return [_as_array(t) if isinstance(t, Tensor) else t for t in tensors]
    except RuntimeError:
        return None  # sparse, or batched by the vmap that torch.autograd.grad(is_grads_batched=True) still uses


def _as_array(x: Tensor) -> Any:
    if x.requires_grad:
        x = x.detach()
    try:
        return x.numpy()
    except (TypeError, RuntimeError):  # bfloat16, which NumPy lacks; or a sign that is kept beside the memory
        x = x.float() if x.dtype == torch.bfloat16 else x.resolve_conj().resolve_neg()
        return x.numpy()


def as_tensor(values: Any, dtype: torch.dtype) -> Tensor:
    """Wrap what a NumPy kernel returned, over the same memory where the dtype allows it."""
    result = torch.from_numpy(values if isinstance(values, np.ndarray) else np.asarray(values))
    return result if result.dtype == dtype else result.to(dtype)


def run_plain(name: str, x: Tensor, axis: int) -> Tensor | None:
    """Take the short way to a kernel without options, for last axes in order; None where there is none."""
    short = short_kernels().get(name)
    if short is None or type(x) is not Tensor or axis != x.ndim - 1 or not x.is_cpu:
        return None
    if x.dtype not in _PLAIN_DTYPES or not x.is_contiguous() or x.requires_grad or x.is_neg() or not x.numel():
        return None
    result = short(x.numpy())
    return torch.from_numpy(result) if type(result) is np.ndarray else torch.as_tensor(result)


_PLAIN_DTYPES = (torch.float32, torch.float64)


@functools.cache
def short_kernels() -> dict[str, Any]:
    """Return the kernels of rows in order that skip the general call; the portable set has none."""
    names = {name: getattr(cpu_kernels(), f"{name}_last", None) for name in ("softmax", "log_softmax", "logsumexp")}
    return {name: kernel for name, kernel in names.items() if kernel is not None}


def run_kernel(
    name: str, tensors: tuple[Tensor, ...], o: Options, where: Tensor | None, dtype: torch.dtype, **options: Any
) -> Tensor:
    """Call a row kernel; autograd sees nothing of it."""
    gpu = gpu_kernels(*tensors, where)
    if hasattr(gpu, name):
        found: Tensor = getattr(gpu, name)(*tensors, o.axis, where=where, temperature=o.temperature, **options)
        return found
    arrays = as_arrays(*tensors, where)
    if arrays is not None:
        kernel = getattr(cpu_kernels(), name)
        return as_tensor(kernel(*arrays[:-1], o.axis, where=arrays[-1], temperature=o.temperature, **options), dtype)
    with torch.no_grad():
        result: Tensor = getattr(portable, name)(*tensors, o.axis, where=where, temperature=o.temperature, **options)
    return result


def formula(name: str, tensors: tuple[Tensor, ...], o: Options, where: Tensor | None) -> Tensor:
    """Compute a row kernel in PyTorch's operations, without the guard against NumPy's warnings, which is not traced."""
    kernel = getattr(portable, name).__wrapped__
    result: Tensor = kernel(*tensors, o.axis, where=where, temperature=o.temperature)
    return result


def transformed() -> bool:
    """Whether a transform of torch.func or forward mode is at work."""
    return forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()


def reduced(x: Tensor, axis: int) -> tuple[int, ...]:
    return (*x.shape[:axis], *x.shape[axis + 1 :])


def masked(x: Tensor, where: Tensor | None) -> Tensor:
    return x if where is None else torch.where(where, x, 0.0)


def like_rows(x: Tensor, *_: Any) -> tuple[tuple[int, ...], torch.dtype]:
    return tuple(x.shape), x.dtype


def one_per_row(x: Tensor, *rest: Any) -> tuple[tuple[int, ...], torch.dtype]:
    return reduced(x, rest[-1].axis), x.dtype


def add_tangents(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """Add what is there: a tangent that is None is zero."""
    if a is None or b is None:
        return b if a is None else a
    return a + b


def sum_product(a: Tensor, b: Tensor, axis: int) -> Tensor:
    """Return <a, b> of each row; 0 times anything is 0, as a probability of 0 stands beside an infinite logarithm."""
    return torch.where(a == 0, 0.0, a * b).sum(axis)


# Functions of one array


class Softmax:
    name = "softmax"
    tensors = ("x", "where")
    shape = staticmethod(like_rows)

    @staticmethod
    def run(x: Tensor, where: Tensor | None, o: Options) -> Tensor:
        return run_kernel("softmax", (x,), o, where, x.dtype, precision=o.precision)

    @staticmethod
    def formula(x: Tensor, where: Tensor | None, o: Options) -> Tensor:
        return formula("softmax", (x,), o, where)

    @staticmethod
    def vjp(f: Any, tensors: Any, o: Options, needs: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, where = tensors
        return f.softmax_product(x, g, where, *o), None

    @staticmethod
    def jvp(f: Any, tensors: Any, o: Options, tangents: Any) -> Tensor | None:
        x, where = tensors
        return f.softmax_product(x, tangents[0], where, *o)


class LogSoftmax:
    name = "log_softmax"
    tensors = ("x", "where")
    shape = staticmethod(like_rows)

    @staticmethod
    def run(x: Tensor, where: Tensor | None, o: Options) -> Tensor:
        return run_kernel("log_softmax", (x,), o, where, x.dtype, precision=o.precision)

    @staticmethod
    def formula(x: Tensor, where: Tensor | None, o: Options) -> Tensor:
        return formula("log_softmax", (x,), o, where)

    @staticmethod
    def vjp(f: Any, tensors: Any, o: Options, needs: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, where = tensors
        return f.log_softmax_vjp(x, g, where, *o), None

    @staticmethod
    def jvp(f: Any, tensors: Any, o: Options, tangents: Any) -> Tensor | None:
        x, where = tensors
        return f.log_softmax_jvp(x, tangents[0], where, *o)


class LogSumExp:
    name = "logsumexp"
    tensors = ("x", "where")
    shape = staticmethod(one_per_row)

    @staticmethod
    def run(x: Tensor, where: Tensor | None, o: Options) -> Tensor:
        return run_kernel("logsumexp", (x,), o, where, x.dtype, precision=o.precision)

    @staticmethod
    def formula(x: Tensor, where: Tensor | None, o: Options) -> Tensor:
        return formula("logsumexp", (x,), o, where)

    @staticmethod
    def vjp(f: Any, tensors: Any, o: Options, needs: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, where = tensors
        return masked(f.softmax(x, where, *o) * (g / o.temperature).unsqueeze(o.axis), where), None

    @staticmethod
    def jvp(f: Any, tensors: Any, o: Options, tangents: Any) -> Tensor | None:
        x, where = tensors
        return sum_product(f.softmax(x, where, *o), tangents[0], o.axis) / o.temperature


class WeightedLogSumExp:
    """log |sum of b·exp(x/T)|, and for complex arrays the logarithm of the sum."""

    name = "weighted_logsumexp"
    tensors = ("x", "b", "where")

    @staticmethod
    def shape(x: Tensor, *rest: Any) -> tuple[tuple[int, ...], torch.dtype]:
        return reduced(x, rest[-1].axis), x.dtype

    @staticmethod
    def run(x: Tensor, b: Tensor | None, where: Tensor | None, o: Options) -> Tensor:
        wanted = not x.is_complex()
        with torch.no_grad():
            result = portable.logsumexp(
                x,
                o.axis,
                b=b,
                where=where,
                temperature=o.temperature,
                return_sign=wanted,
            )
        value: Tensor = result[0] if wanted else result
        return value

    @staticmethod
    def _slopes(f: Any, tensors: Any, o: Options) -> tuple[Tensor, Tensor]:
        """exp(x/T - value) and its product with b, signed as the sum: what d value/d b and d value/d(x/T) are."""
        x, b, where = tensors
        exponent = x / o.temperature - f.weighted_logsumexp(x, b, where, *o).unsqueeze(o.axis)
        ratio = torch.exp(exponent if where is None else torch.where(where, exponent, -INF))
        if not x.is_complex():
            ratio = ratio * sign_of_sum(x, b, where, o).unsqueeze(o.axis)
        return ratio, ratio if b is None else torch.where(b != 0, b * ratio, 0.0)

    @staticmethod
    def vjp(f: Any, tensors: Any, o: Options, needs: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        ratio, slope = WeightedLogSumExp._slopes(f, tensors, o)
        g = g.unsqueeze(o.axis)
        return slope.conj() * (g / o.temperature), ratio.conj() * g if needs[1] else None, None

    @staticmethod
    def jvp(f: Any, tensors: Any, o: Options, tangents: Any) -> Tensor | None:
        ratio, slope = WeightedLogSumExp._slopes(f, tensors, o)
        tx, tb, _ = tangents
        by_x = None if tx is None else (slope * tx).sum(o.axis) / o.temperature
        by_b = None if tb is None else (ratio * tb).sum(o.axis)
        return add_tangents(by_x, by_b)


def sign_of_sum(x: Tensor, b: Tensor | None, where: Tensor | None, o: Options) -> Tensor:
    """Return the sign of the sum of b·exp(x/T), which has no derivative."""
    with torch.no_grad():
        sign: Tensor = portable.logsumexp(x, o.axis, b=b, where=where, temperature=o.temperature, return_sign=True)[1]
    return sign


# Products with the derivative. Each is linear in its second array; in the first it differentiates by the second
# derivative of softmax, S(u, v) = J·(u'·v')·T with u' = u - <p, u>.


class SoftmaxProduct:
    """J g, which is the vjp and the jvp of softmax."""

    name = "softmax_product"
    tensors = ("x", "g", "where")
    shape = staticmethod(like_rows)

    @staticmethod
    def run(x: Tensor, g: Tensor, where: Tensor | None, o: Options) -> Tensor:
        return run_kernel("softmax_vjp", (x, g), o, where, x.dtype)

    @staticmethod
    def formula(x: Tensor, g: Tensor, where: Tensor | None, o: Options) -> Tensor:
        return formula("softmax_vjp", (x, g), o, where)

    @staticmethod
    def _second(f: Any, tensors: Any, o: Options, u: Tensor) -> Tensor:
        x, g, where = tensors
        product = f.log_softmax_jvp(x, u, where, *o) * f.log_softmax_jvp(x, g, where, *o)
        return o.temperature * f.softmax_product(x, product, where, *o)

    @staticmethod
    def vjp(f: Any, tensors: Any, o: Options, needs: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, _, where = tensors
        return (
            SoftmaxProduct._second(f, tensors, o, g) if needs[0] else None,
            f.softmax_product(x, g, where, *o) if needs[1] else None,
            None,
        )

    @staticmethod
    def jvp(f: Any, tensors: Any, o: Options, tangents: Any) -> Tensor | None:
        x, _, where = tensors
        tx, tg, _ = tangents
        by_x = None if tx is None else SoftmaxProduct._second(f, tensors, o, tx)
        return add_tangents(by_x, None if tg is None else f.softmax_product(x, tg, where, *o))


class LogSoftmaxVjp:
    """(g - p·sum(g))/T."""

    name = "log_softmax_vjp"
    tensors = ("x", "g", "where")
    shape = staticmethod(like_rows)

    @staticmethod
    def run(x: Tensor, g: Tensor, where: Tensor | None, o: Options) -> Tensor:
        return run_kernel("log_softmax_vjp", (x, g), o, where, x.dtype)

    @staticmethod
    def formula(x: Tensor, g: Tensor, where: Tensor | None, o: Options) -> Tensor:
        return formula("log_softmax_vjp", (x, g), o, where)

    @staticmethod
    def _second(f: Any, tensors: Any, o: Options, u: Tensor) -> Tensor:
        x, g, where = tensors
        total = masked(g, where).sum(o.axis, keepdim=True)
        return -total / o.temperature * f.softmax_product(x, u, where, *o)

    @staticmethod
    def vjp(f: Any, tensors: Any, o: Options, needs: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, _, where = tensors
        return (
            LogSoftmaxVjp._second(f, tensors, o, g) if needs[0] else None,
            f.log_softmax_jvp(x, g, where, *o) if needs[1] else None,
            None,
        )

    @staticmethod
    def jvp(f: Any, tensors: Any, o: Options, tangents: Any) -> Tensor | None:
        x, _, where = tensors
        tx, tg, _ = tangents
        by_x = None if tx is None else LogSoftmaxVjp._second(f, tensors, o, tx)
        return add_tangents(by_x, None if tg is None else f.log_softmax_vjp(x, tg, where, *o))


class LogSoftmaxJvp:
    """(v - <p, v>)/T."""

    name = "log_softmax_jvp"
    tensors = ("x", "v", "where")
    shape = staticmethod(like_rows)

    @staticmethod
    def run(x: Tensor, v: Tensor, where: Tensor | None, o: Options) -> Tensor:
        return run_kernel("log_softmax_jvp", (x, v), o, where, x.dtype)

    @staticmethod
    def formula(x: Tensor, v: Tensor, where: Tensor | None, o: Options) -> Tensor:
        return formula("log_softmax_jvp", (x, v), o, where)

    @staticmethod
    def vjp(f: Any, tensors: Any, o: Options, needs: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, v, where = tensors
        by_x = None
        if needs[0]:
            total = masked(g, where).sum(o.axis, keepdim=True)
            by_x = -total / o.temperature * f.softmax_product(x, v, where, *o)
        return by_x, f.log_softmax_vjp(x, g, where, *o) if needs[1] else None, None

    @staticmethod
    def jvp(f: Any, tensors: Any, o: Options, tangents: Any) -> Tensor | None:
        x, v, where = tensors
        tx, tv, _ = tangents
        by_x = None
        if tx is not None:
            # the same for every entry of a row; the product does not see the common part of v
            centred = f.log_softmax_jvp(x, v, where, *o)
            change = (f.softmax_product(x, tx, where, *o) * centred).sum(o.axis, keepdim=True)
            by_x = masked((-change).expand_as(x), where)
        return add_tangents(by_x, None if tv is None else f.log_softmax_jvp(x, tv, where, *o))


ROW_RULES: tuple[Any, ...] = (
    Softmax,
    LogSoftmax,
    LogSumExp,
    WeightedLogSumExp,
    SoftmaxProduct,
    LogSoftmaxVjp,
    LogSoftmaxJvp,
)
