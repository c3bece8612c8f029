"""What `_torch` binds, second part: the losses (`_torch_rows` says what a rule is)."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._kernels import portable
from ._torch_gpu import gpu_kernels
from ._torch_rows import (
    Options,
    add_tangents,
    as_arrays,
    as_tensor,
    cpu_kernels,
    formula,
    like_rows,
    masked,
    reduced,
    run_kernel,
    sum_product,
)
from ._typing import LossOptions


def loss_dtype(x: Tensor) -> torch.dtype:
    return x.dtype if x.dtype.itemsize >= 4 else torch.float32


def loss_per_row(x: Tensor, *rest: Any) -> tuple[tuple[int, ...], torch.dtype]:
    return reduced(x, rest[-1].axis), loss_dtype(x)


class Entropy:
    name = "entropy"
    tensors = ("logits", "where")
    shape = staticmethod(loss_per_row)

    @staticmethod
    def run(x: Tensor, where: Tensor | None, o: Options) -> Tensor:
        return run_kernel("entropy", (x,), o, where, loss_dtype(x))

    @staticmethod
    def formula(x: Tensor, where: Tensor | None, o: Options) -> Tensor:
        return formula("entropy", (x,), o, where)

    @staticmethod
    def _gradient(f: Any, tensors: Any, o: Options) -> Tensor:
        x, where = tensors
        log_p = f.log_softmax(x, where, *o)
        return -f.softmax_product(x, torch.where(log_p.isfinite(), log_p, 0.0), where, *o)

    @staticmethod
    def vjp(f: Any, tensors: Any, o: Options, needs: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return Entropy._gradient(f, tensors, o) * g.unsqueeze(o.axis).to(tensors[0].dtype), None

    @staticmethod
    def jvp(f: Any, tensors: Any, o: Options, tangents: Any) -> Tensor | None:
        x = tensors[0]
        return sum_product(Entropy._gradient(f, tensors, o), tangents[0], o.axis).to(loss_dtype(x))


class KLDivergence:
    name = "kl_divergence"
    tensors = ("logits_p", "logits_q", "where")
    shape = staticmethod(loss_per_row)

    @staticmethod
    def run(x: Tensor, y: Tensor, where: Tensor | None, o: Options) -> Tensor:
        return run_kernel("kl_divergence", (x, y), o, where, loss_dtype(x))

    @staticmethod
    def formula(x: Tensor, y: Tensor, where: Tensor | None, o: Options) -> Tensor:
        return formula("kl_divergence", (x, y), o, where)

    @staticmethod
    def _by_p(f: Any, tensors: Any, o: Options) -> Tensor:
        """J (log p - log q), where J does not see that the difference of the logits lacks a constant."""
        x, y, where = tensors
        p = f.softmax(x, where, *o)
        return f.softmax_product(x, torch.where(p > 0, (x - y) / o.temperature, 0.0), where, *o)

    @staticmethod
    def _by_q(f: Any, tensors: Any, o: Options) -> Tensor:
        """(q - p)/T, in float64, where the difference of two close probabilities keeps its digits."""
        x, y, where = tensors
        wide = _wide(x)
        p, q = f.softmax(x.to(wide), where, *o), f.softmax(y.to(wide), where, *o)
        return masked(((q - p) / o.temperature).to(x.dtype), where)

    @staticmethod
    def vjp(f: Any, tensors: Any, o: Options, needs: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        g = g.unsqueeze(o.axis).to(tensors[0].dtype)
        return (
            KLDivergence._by_p(f, tensors, o) * g if needs[0] else None,
            KLDivergence._by_q(f, tensors, o) * g if needs[1] else None,
            None,
        )

    @staticmethod
    def jvp(f: Any, tensors: Any, o: Options, tangents: Any) -> Tensor | None:
        tp, tq, _ = tangents
        by_p = None if tp is None else sum_product(KLDivergence._by_p(f, tensors, o), tp, o.axis)
        by_q = None if tq is None else sum_product(KLDivergence._by_q(f, tensors, o), tq, o.axis)
        result = add_tangents(by_p, by_q)
        return None if result is None else result.to(loss_dtype(tensors[0]))


def _wide(x: Tensor) -> torch.dtype:
    return x.dtype if x.device.type == "mps" else torch.float64


class CrossEntropy:
    name = "cross_entropy"
    tensors = ("logits", "target", "weight", "where")
    shape = staticmethod(loss_per_row)

    @staticmethod
    def run(logits: Tensor, target: Tensor, weight: Tensor | None, where: Tensor | None, o: Options) -> Tensor:
        return loss_and_gradient(logits, target, o.axis, loss_options(o, weight, where), None, want_grad=False)[0]

    @staticmethod
    def formula(logits: Tensor, target: Tensor, weight: Tensor | None, where: Tensor | None, o: Options) -> Tensor:
        return _formula(logits, target, o.axis, loss_options(o, weight, where), None, want_grad=False)[0]

    @staticmethod
    def vjp(f: Any, tensors: Any, o: Options, needs: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        by_logits = f.cross_entropy_gradient(*tensors, g, *o) if needs[0] else None
        by_target = None
        if needs[1]:
            by_target = (surprise(f, tensors, o) * g.unsqueeze(o.axis)).to(tensors[1].dtype)
        return by_logits, by_target, None, None

    @staticmethod
    def jvp(f: Any, tensors: Any, o: Options, tangents: Any) -> Tensor | None:
        tx, tq = tangents[0], tangents[1]
        dtype = loss_dtype(tensors[0])
        by_logits = by_target = None
        if tx is not None:
            by_logits = sum_product(f.cross_entropy_gradient(*tensors, None, *o), tx, o.axis).to(dtype)
        if tq is not None:
            by_target = (surprise(f, tensors, o) * tq).sum(o.axis).to(dtype)
        return add_tangents(by_logits, by_target)


class CrossEntropyGradient:
    """The gradient of sum(row_scale·loss) in the logits."""

    name = "cross_entropy_gradient"
    tensors = ("logits", "target", "weight", "where", "row_scale")
    shape = staticmethod(like_rows)

    @staticmethod
    def run(
        logits: Tensor,
        target: Tensor,
        weight: Tensor | None,
        where: Tensor | None,
        row_scale: Tensor | None,
        o: Options,
    ) -> Tensor:
        result = loss_and_gradient(logits, target, o.axis, loss_options(o, weight, where), row_scale)
        return result[1]  # type: ignore[return-value]

    @staticmethod
    def formula(
        logits: Tensor,
        target: Tensor,
        weight: Tensor | None,
        where: Tensor | None,
        row_scale: Tensor | None,
        o: Options,
    ) -> Tensor:
        result = _formula(logits, target, o.axis, loss_options(o, weight, where), row_scale, want_grad=True)
        return result[1]  # type: ignore[return-value]

    @staticmethod
    def vjp(f: Any, tensors: Any, o: Options, needs: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        *loss, row_scale = tensors
        by_logits = by_target = by_scale = None
        if needs[0]:
            by_logits = hessian_product_formula(f, loss, o, g, row_scale)
        if needs[1]:
            by_target = _gradient_by_target(f, loss, o, g, row_scale).to(loss[1].dtype)
        if needs[4]:
            by_scale = sum_product(f.cross_entropy_gradient(*loss, None, *o), g, o.axis).to(row_scale.dtype)
        return by_logits, by_target, None, None, by_scale

    @staticmethod
    def jvp(f: Any, tensors: Any, o: Options, tangents: Any) -> Tensor | None:
        *loss, row_scale = tensors
        result: Tensor | None = None
        if tangents[0] is not None:
            result = hessian_product_formula(f, loss, o, tangents[0], row_scale)
        if tangents[1] is not None:
            result = add_tangents(result, _gradient_along_target(f, loss, o, tangents[1], row_scale))
        if tangents[4] is not None:
            result = add_tangents(result, f.cross_entropy_gradient(*loss, tangents[4], *o))
        return result


def loss_and_gradient(
    logits: Tensor, target: Tensor, axis: int, options: LossOptions, row_scale: Any, *, want_grad: bool = True
) -> tuple[Tensor, Tensor | None]:
    """Both from the kernel, in one read of the logits."""
    gpu = gpu_kernels(logits, target, row_scale, options.weight, options.where)
    if gpu is not None:
        found: tuple[Tensor, Tensor | None] = gpu.cross_entropy(
            logits, target, axis, options, row_scale=row_scale, want_grad=want_grad
        )
        return found
    arrays = as_arrays(logits, target, row_scale, options.weight, options.where)
    if arrays is None:
        with torch.no_grad():
            result: tuple[Tensor, Tensor | None] = portable.cross_entropy(
                logits, target, axis, options, row_scale=row_scale, want_grad=want_grad
            )
        return result
    x, y, scale, weight, where = arrays
    plain = dataclasses.replace(options, weight=weight, where=where)
    loss, gradient = cpu_kernels().cross_entropy(x, y, axis, plain, row_scale=scale, want_grad=want_grad)
    return as_tensor(loss, loss_dtype(logits)), None if gradient is None else as_tensor(gradient, logits.dtype)


def _formula(
    logits: Tensor, target: Tensor, axis: int, options: LossOptions, row_scale: Any, *, want_grad: bool
) -> tuple[Tensor, Tensor | None]:
    """Both in PyTorch's operations."""
    kernel = portable.cross_entropy.__wrapped__  # type: ignore[attr-defined]
    result: tuple[Tensor, Tensor | None] = kernel(
        logits, target, axis, options, row_scale=row_scale, want_grad=want_grad
    )
    return result


def hessian_product(
    logits: Tensor, target: Tensor, v: Tensor, axis: int, options: LossOptions, row_scale: Any
) -> Tensor:
    """Multiply by the Hessian, in the kernel."""
    arrays = as_arrays(logits, target, v, row_scale, options.weight, options.where)
    if arrays is None:
        with torch.no_grad():
            result: Tensor = portable.cross_entropy_hvp(logits, target, v, axis, options, row_scale=row_scale)
        return result
    x, y, u, scale, weight, where = arrays
    plain = dataclasses.replace(options, weight=weight, where=where)
    return as_tensor(cpu_kernels().cross_entropy_hvp(x, y, u, axis, plain, row_scale=scale), logits.dtype)


def loss_options(o: Options, weight: Tensor | None, where: Tensor | None) -> LossOptions:
    return LossOptions(
        weight=weight,
        ignore_index=o.ignore_index,
        label_smoothing=o.label_smoothing,
        where=where,
        temperature=o.temperature,
        softcap=o.softcap,
        z_loss=o.z_loss,
        precision=o.precision,  # type: ignore[arg-type]
    )


class _Parts(NamedTuple):
    """A cross entropy written in functions that can be differentiated again, in float64."""

    y: Tensor  # the capped logits, before the temperature
    slope: Tensor | None  # dy/dlogits
    curvature: Tensor | None
    weights: Tensor  # a, as in `_kernels/portable_losses.py`
    where: Tensor | None
    o: Options  # of the row functions of y


def _parts(tensors: Any, o: Options) -> _Parts:
    logits, target, weight, where = tensors
    x = logits.to(_wide(logits))
    slope = curvature = None
    if o.softcap is not None:
        x = x if where is None else torch.where(where, x, 0.0)
        tanh = torch.tanh(x / o.softcap)
        slope = 1 / torch.cosh(x / o.softcap) ** 2
        curvature = -2 / o.softcap * tanh * slope
        x = o.softcap * tanh
        if where is not None:
            slope, curvature = masked(slope, where), masked(curvature, where)
    weights = _target_weights(x, target, weight, where, o)
    return _Parts(x, slope, curvature, weights, where, Options(o.axis, o.temperature))


def _per_class(weight: Tensor, like: Tensor, axis: int) -> Tensor:
    shape = [1] * like.ndim
    shape[axis] = -1
    return weight.to(like.dtype).reshape(shape)


def _target_weights(x: Tensor, target: Tensor, weight: Tensor | None, where: Tensor | None, o: Options) -> Tensor:
    eps, n = o.label_smoothing, x.shape[o.axis]
    valid = None
    if target.ndim == x.ndim:
        weights = (1 - eps) * target.to(x.dtype)
    else:
        labels = target.unsqueeze(o.axis).long()
        if o.ignore_index is not None:
            valid = labels != o.ignore_index
            labels = torch.where(valid, labels, 0)
        shape = [1] * x.ndim
        shape[o.axis] = n
        chosen = torch.arange(n, device=x.device).reshape(shape) == labels
        weights = (1 - eps) * chosen.to(x.dtype)
    if eps:
        kept = torch.ones_like(x) if where is None else where.to(x.dtype)
        weights = weights + eps * kept / kept.sum(o.axis, keepdim=True)
    if weight is not None:
        weights = weights * _per_class(weight, x, o.axis)
    return weights if valid is None else torch.where(valid, weights, 0.0)


def _counts(tensors: Any, o: Options) -> Tensor | None:
    """Rows that are not ignored, or None for all."""
    logits, target = tensors[0], tensors[1]
    if o.ignore_index is None or target.ndim == logits.ndim:
        return None
    counts: Tensor = (target != o.ignore_index).unsqueeze(o.axis)
    return counts


def _scaled(values: Tensor, tensors: Any, o: Options, row_scale: Any) -> Tensor:
    """Rows times their scale, 0 where masked or ignored, in the dtype of the logits."""
    if row_scale is not None:
        values = values * (
            row_scale.unsqueeze(o.axis) if isinstance(row_scale, Tensor) and row_scale.ndim else row_scale
        )
    values = masked(values, tensors[3])
    counts = _counts(tensors, o)
    values = values if counts is None else torch.where(counts, values, 0.0)
    return values.to(tensors[0].dtype)


def hessian_product_formula(f: Any, tensors: Any, o: Options, v: Tensor, row_scale: Any) -> Tensor:
    """Multiply by the Hessian in functions that can be differentiated again."""
    part = _parts(tensors, o)
    y, t = part.y, o.temperature
    v = masked(v.to(y.dtype), part.where)
    u = v if part.slope is None else part.slope * v
    total = part.weights.sum(o.axis, keepdim=True)
    product = total / t * f.softmax_product(y, u, part.where, *part.o)
    gradient = f.log_softmax_vjp(y, part.weights, part.where, *part.o).neg() if part.slope is not None else None
    if o.z_loss:
        p = f.softmax(y, part.where, *part.o)
        lse = f.logsumexp(y, part.where, *part.o).unsqueeze(o.axis)
        product = product + 2 * o.z_loss * (
            lse / t * f.softmax_product(y, u, part.where, *part.o) + p * (p * u).sum(o.axis, keepdim=True) / t**2
        )
        if gradient is not None:
            gradient = gradient + 2 * o.z_loss / t * lse * p
    if part.slope is not None and part.curvature is not None and gradient is not None:
        product = part.slope * product + part.curvature * v * gradient
    return _scaled(product, tensors, o, row_scale)


def surprise(f: Any, tensors: Any, o: Options) -> Tensor:
    """D loss/d q: -(1 - smoothing)·w·log p; 0 behind the mask."""
    part = _parts(tensors, o)
    values = -(1 - o.label_smoothing) * f.log_softmax(part.y, part.where, *part.o)
    if tensors[2] is not None:
        values = values * _per_class(tensors[2], values, o.axis)
    return masked(values, part.where)


def _gradient_by_target(f: Any, tensors: Any, o: Options, g: Tensor, row_scale: Any) -> Tensor:
    """D <gradient, g>/d q: (1 - smoothing)·w·(<p, u> - u) with u = slope·g/T."""
    part = _parts(tensors, o)
    u = masked(g.to(part.y.dtype), part.where)
    u = u if part.slope is None else part.slope * u
    values = -(1 - o.label_smoothing) * f.log_softmax_jvp(part.y, u, part.where, *part.o)
    if tensors[2] is not None:
        values = values * _per_class(tensors[2], values, o.axis)
    return _scaled(values, tensors, o, row_scale)


def _gradient_along_target(f: Any, tensors: Any, o: Options, tangent: Tensor, row_scale: Any) -> Tensor:
    """How the gradient changes when the target probabilities move along `tangent`."""
    part = _parts(tensors, o)
    change = (1 - o.label_smoothing) * tangent.to(part.y.dtype)
    if tensors[2] is not None:
        change = change * _per_class(tensors[2], change, o.axis)
    values = -f.log_softmax_vjp(part.y, change, part.where, *part.o)
    values = values if part.slope is None else part.slope * values
    return _scaled(values, tensors, o, row_scale)


LOSS_RULES: tuple[Any, ...] = (Entropy, KLDivergence, CrossEntropy, CrossEntropyGradient)
