"""Binds the kernels to PyTorch: autograd of any order, forward mode, vmap, and torch.compile.

Loaded by `_dispatch` when the caller's array is a tensor. CPU tensors go through the NumPy kernel set without a copy,
others through the portable kernels in PyTorch's own operations.

A call that nothing watches goes straight to the kernel. Otherwise each function of `_torch_rows` and
`_torch_losses` is bound three times, because no binding can do all: an `autograd.Function` has forward mode but
Dynamo refuses it for its `jvp`; a custom operator compiles but returns zero tangents without a word; PyTorch's own
operations, which compile and have tangents, stand in where a transform is compiled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _torch_losses as losses
from . import _torch_rows as rows
from ._kernels import portable
from ._torch_gpu import free_memory as free_memory
from ._torch_gpu import gpu_kernels
from ._torch_linear import autocast as autocast
from ._torch_linear import linear_cross_entropy as linear_cross_entropy
from ._torch_linear import plan_of as plan_of
from ._torch_linear import shares_of as shares_of
from ._typing import LossOptions

_OPTION_SCHEMA = (
    "int axis, float temperature, str precision, int? ignore_index, float label_smoothing, float? softcap, float z_loss"
)


def _watched(*tensors: Tensor | None) -> bool:
    """Whether anything but the values of the result is wanted: a derivative, a batched dimension, a graph."""
    if torch.compiler.is_compiling() or rows.transformed():
        return True
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


# Binding


def _bind_function(rule: Any, call: Any) -> Any:
    """Bind the rule as an `autograd.Function`: backward, forward mode and vmap in eager mode."""
    n = len(rule.tensors)

    class Bound(torch.autograd.Function):
        @staticmethod
        def forward(*args: Any) -> Tensor:
            return rule.run(*args[:n], rows.Options(*args[n:]))

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
            ctx.save_for_backward(*inputs[:n])
            ctx.save_for_forward(*inputs[:n])
            ctx.options = rows.Options(*inputs[n:])
            ctx.set_materialize_grads(False)

        @staticmethod
        def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
            return _backward(rule, call, ctx, n, grads[0])

        @staticmethod
        def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor | None:
            return rule.jvp(call, ctx.saved_tensors, ctx.options, tangents[:n])

        @staticmethod
        def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Tensor, int]:
            return _batched(rule, call, info.batch_size, in_dims, args)

    Bound.__name__ = Bound.__qualname__ = rule.name
    return Bound.apply


def _bind_operator(rule: Any, call: Any) -> Any:
    """Bind the rule as a custom operator: what torch.compile can put into a graph."""
    n = len(rule.tensors)
    arguments = ", ".join(f"{'Tensor?' if name in rows.OPTIONAL else 'Tensor'} {name}" for name in rule.tensors)

    def run(*args: Any) -> Tensor:
        return rule.run(*args[:n], rows.Options(*args[n:])).contiguous()

    operator = torch.library.custom_op(
        f"softmax::{rule.name}", run, mutates_args=(), schema=f"({arguments}, {_OPTION_SCHEMA}) -> Tensor"
    )

    def fake(*args: Any) -> Tensor:
        shape, dtype = rule.shape(*args[:n], rows.Options(*args[n:]))
        return torch.empty(shape, dtype=dtype, device=args[0].device)

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:n])
        ctx.options = rows.Options(*inputs[n:])

    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:
        return _backward(rule, call, ctx, n, grad)

    operator.register_fake(fake)
    operator.register_autograd(backward, setup_context=setup_context)
    operator.register_vmap(lambda info, in_dims, *args: _batched(rule, call, info.batch_size, in_dims, args))
    return operator._opoverload


def _backward(rule: Any, call: Any, ctx: Any, n: int, grad: Tensor | None) -> tuple[Tensor | None, ...]:
    """Gradients for the tensors that need one, and None for all else."""
    nothing = (None,) * len(rows.Options._fields)
    if grad is None:
        return (None,) * n + nothing
    return (*rule.vjp(call, ctx.saved_tensors, ctx.options, ctx.needs_input_grad[:n], grad), *nothing)


def _batched(rule: Any, call: Any, size: int, in_dims: tuple[int | None, ...], args: Any) -> tuple[Tensor, int]:
    """One more leading dimension: the rows are what they were."""
    n = len(rule.tensors)
    options = rows.Options(*args[n:])
    batched = {}
    for name, tensor, dim in zip(rule.tensors, args[:n], in_dims[:n], strict=True):
        if tensor is None:
            continue
        if name != "weight":
            tensor = tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        elif dim is not None:
            return _one_by_one(rule, call, size, in_dims, args), 0
        batched[name] = tensor
    moved = options._replace(axis=options.axis + 1)
    return getattr(call, rule.name)(*(batched.get(name) for name in rule.tensors), *moved), 0


def _one_by_one(rule: Any, call: Any, size: int, in_dims: tuple[int | None, ...], args: Any) -> Tensor:
    """Class weights that differ per example: no kernel takes them."""
    rows = []
    for i in range(size):
        picked = (a if dim is None else a.select(dim, i) for a, dim in zip(args, in_dims, strict=True))
        rows.append(getattr(call, rule.name)(*picked))
    return torch.stack(rows)


def _bind_formula(rule: Any, call: Any) -> Any:
    """Bind the rule as PyTorch's own operations: what Dynamo traces inside a transform such as torch.func.jvp."""
    n = len(rule.tensors)

    def traced(*args: Any) -> Tensor:
        result: Tensor = rule.formula(*args[:n], rows.Options(*args[n:]))
        return result

    return traced


class _Table:
    """The bound rules by name. What a derivative calls stays in the binding it came from."""

    def __init__(self, bind: Any) -> None:
        for rule in (*rows.ROW_RULES, *losses.LOSS_RULES):
            setattr(self, rule.name, bind(rule, self))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


_EAGER = _Table(_bind_function)
_COMPILED = _Table(_bind_operator)
_TRACED = _Table(_bind_formula)


def _table() -> _Table:
    """Choose the binding for a call that is watched."""
    if not torch.compiler.is_compiling():
        return _EAGER
    return _TRACED if rows.transformed() else _COMPILED


def _call(rule: Any, *tensors: Tensor | None, axis: int, **options: Any) -> Tensor:
    """Straight to the kernel, or through the binding that fits."""
    filled = rows.Options(axis, **options)
    if not _watched(*tensors):
        return rule.run(*tensors, filled)
    result: Tensor = getattr(_table(), rule.name)(*tensors, *filled)
    return result


# The kernel set


def reason(x: Tensor) -> str:
    """Say which kernels compute with `x`, and why."""
    if gpu_kernels(x) is not None:
        way = f"on {x.device}: the Triton kernels serve it"
    elif x.is_cuda:
        way = f"on {x.device} without Triton (pip install 'softmax[gpu]'): PyTorch's operations serve it"
    elif x.is_cpu:
        way = "in memory: the NumPy kernels serve it without a copy"
    else:
        way = f"on {x.device}: PyTorch's operations serve it"
    return f"the input is a torch.Tensor {way}, with autograd and torch.compile"


def softmax(
    x: Tensor,
    axis: int,
    *,
    where: Tensor | None = None,
    temperature: float = 1.0,
    precision: str = "accurate",
    out: None = None,
) -> Tensor:
    if where is None and temperature == 1.0 and precision == "accurate" and not _watched(x):
        result = rows.run_plain("softmax", x, axis)
        if result is not None:
            return result
    return _call(rows.Softmax, x, where, axis=axis, temperature=temperature, precision=precision)


def log_softmax(
    x: Tensor,
    axis: int,
    *,
    where: Tensor | None = None,
    temperature: float = 1.0,
    precision: str = "accurate",
    out: None = None,
) -> Tensor:
    if where is None and temperature == 1.0 and precision == "accurate" and not _watched(x):
        result = rows.run_plain("log_softmax", x, axis)
        if result is not None:
            return result
    return _call(rows.LogSoftmax, x, where, axis=axis, temperature=temperature, precision=precision)


def logsumexp(
    x: Tensor,
    axis: int,
    *,
    b: Tensor | None = None,
    where: Tensor | None = None,
    temperature: float = 1.0,
    precision: str = "accurate",
    return_sign: bool = False,
) -> Any:
    if b is None and not x.is_complex():
        value = _call(rows.LogSumExp, x, where, axis=axis, temperature=temperature, precision=precision)
        if not return_sign:
            return value
        sign = torch.where(value.isnan(), value, (value > -rows.INF).to(value.dtype))
        return value, sign.detach()
    if torch.compiler.is_compiling() or not _watched(x, b):
        kernel = portable.logsumexp.__wrapped__  # type: ignore[attr-defined]
        return kernel(x, axis, b=b, where=where, temperature=temperature, return_sign=return_sign)
    if b is not None:
        dtype = torch.promote_types(x.dtype, b.dtype)
        x, b = torch.broadcast_tensors(x.to(dtype), b.to(dtype))
    value = _call(rows.WeightedLogSumExp, x, b, where, axis=axis, temperature=temperature, precision=precision)
    if value.is_complex():
        return (value.real, torch.exp(1j * value.imag)) if return_sign else value
    sign = rows.sign_of_sum(x.detach(), b, where, rows.Options(axis, temperature))
    return (value, sign) if return_sign else torch.where(sign < 0, rows.NAN, value)


def softmax_vjp(x: Tensor, g: Tensor, axis: int, *, where: Tensor | None = None, temperature: float = 1.0) -> Tensor:
    return _call(rows.SoftmaxProduct, x, g, where, axis=axis, temperature=temperature)


softmax_jvp = softmax_vjp  # J is symmetric


def log_softmax_vjp(
    x: Tensor, g: Tensor, axis: int, *, where: Tensor | None = None, temperature: float = 1.0
) -> Tensor:
    return _call(rows.LogSoftmaxVjp, x, g, where, axis=axis, temperature=temperature)


def log_softmax_jvp(
    x: Tensor, v: Tensor, axis: int, *, where: Tensor | None = None, temperature: float = 1.0
) -> Tensor:
    return _call(rows.LogSoftmaxJvp, x, v, where, axis=axis, temperature=temperature)


def entropy(logits: Tensor, axis: int, *, where: Tensor | None = None, temperature: float = 1.0) -> Tensor:
    return _call(losses.Entropy, logits, where, axis=axis, temperature=temperature)


def kl_divergence(
    logits_p: Tensor, logits_q: Tensor, axis: int, *, where: Tensor | None = None, temperature: float = 1.0
) -> Tensor:
    return _call(losses.KLDivergence, logits_p, logits_q, where, axis=axis, temperature=temperature)


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    axis: int,
    options: LossOptions,
    *,
    row_scale: Tensor | float | None = None,
    want_grad: bool = False,
) -> tuple[Tensor, Tensor | None]:
    tensors = (logits, target, options.weight, options.where)
    if want_grad and not _watched(logits, target):
        return losses.loss_and_gradient(logits, target, axis, options, row_scale)
    keywords = _loss_keywords(axis, options)
    loss = _call(losses.CrossEntropy, *tensors, **keywords)
    if not want_grad:
        return loss, None
    if isinstance(row_scale, (int, float)):
        row_scale = torch.full_like(loss, row_scale)
    return loss, _call(losses.CrossEntropyGradient, *tensors, row_scale, **keywords)


def cross_entropy_hvp(
    logits: Tensor,
    target: Tensor,
    v: Tensor,
    axis: int,
    options: LossOptions,
    *,
    row_scale: Tensor | float | None = None,
) -> Tensor:
    watched = _watched(logits, target, v, row_scale if isinstance(row_scale, Tensor) else None)
    if not watched:
        return losses.hessian_product(logits, target, v, axis, options, row_scale)
    tensors = (logits, target, options.weight, options.where)
    return losses.hessian_product_formula(
        _table(), tensors, rows.Options(**_loss_keywords(axis, options)), v, row_scale
    )


def _loss_keywords(axis: int, options: LossOptions) -> dict[str, Any]:
    return {
        "axis": axis,
        "temperature": options.temperature,
        "precision": options.precision,
        "ignore_index": options.ignore_index,
        "label_smoothing": options.label_smoothing,
        "softcap": options.softcap,
        "z_loss": options.z_loss,
    }
