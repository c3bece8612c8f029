"""The linear cross entropy bound to PyTorch.

Three bindings, as in `_torch`, for the losses of rows and for their gradients: an `autograd.Function` (backward of any
order, forward mode, vmap), a custom operator (torch.compile), and PyTorch's own operations where a transform is
compiled. A fourth, for a reduced loss that only `backward()` will ask about, computes the gradients with the loss.

First derivatives run on the kernels (`_torch_linear_pass`); those of higher order on `_torch_linear_formula`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ._linear_pass import LinearProblem
from ._linear_plan import LinearPlan, When
from ._torch_linear_formula import (
    along,
    formula_rows,
    gradient_by_target,
    gradients_by_formula,
    second_order,
)
from ._torch_linear_pass import (
    EXTRAS,
    SCHEMA,
    TARGET,
    TENSORS,
    Options,
    X,
    denominator_of,
    plan,
    rounded,
    run,
    sum_over,
    tensors_of,
)
from ._torch_losses import loss_dtype
from ._torch_rows import add_tangents, transformed
from ._typing import Reduction

# Binding


def _nothing(x: Tensor) -> Tensor:
    """Stands for a result that nobody asked for, where a tensor has to be returned."""
    return x.new_empty(0)


def _run_rows(tensors: Any, o: Options, extras: bool) -> tuple[Tensor, ...]:
    result = run(tensors, o, extras=extras)
    return result.loss, *(result.extras[name] for name in EXTRAS if extras)


def _run_gradients(tensors: Any, row_scale: Tensor, needs: Any, o: Options) -> tuple[Tensor | None, ...]:
    found = run(tensors, o, row_scale.detach(), needs).gradients
    return tuple(None if g is None else rounded(g, None, t) for g, t in zip(found, tensors[:3], strict=True))


def _batched(x: Tensor) -> bool:
    """Whether x stands for many tensors, as the seeds of autograd.grad(is_grads_batched=True) do."""
    of = torch._C._functorch
    return bool(of.is_batchedtensor(x) or of.is_legacy_batchedtensor(x))


def _stacked(call: Any, size: int, in_dims: Any, args: Any) -> tuple[Any, Any]:
    """One call for each example of a batch."""
    results = []
    for i in range(size):
        picked = (a if dim is None else a.select(dim, i) for a, dim in zip(args, in_dims, strict=True))
        results.append(call(*picked))
    stacked = tuple(None if parts[0] is None else torch.stack(parts) for parts in zip(*results, strict=True))
    return stacked, tuple(None if part is None else 0 for part in stacked)


class Rows(torch.autograd.Function):
    """The losses of the rows, and the extras if asked. Arguments: the tensors, `extras`, the options."""

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:
        return _run_rows(args[:7], Options(*args[8:]), args[7])

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs[:7])
        ctx.save_for_forward(*inputs[:7])
        ctx.options = Options(*inputs[8:])
        ctx.outputs = len(output)
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        nothing = (None,) * (4 + len(Options._fields))
        if grads[0] is None:
            return (None,) * 4 + nothing
        needs = ctx.needs_input_grad[:4]
        found: Any = (None, None, None)
        if torch._C._functorch.is_legacy_batchedtensor(grads[0]):  # a kernel cannot look into it
            found = gradients_by_formula(ctx.saved_tensors, grads[0], ctx.options)
        elif any(needs[:3]):
            found = _gradients(*ctx.saved_tensors, grads[0], *needs[:3], *ctx.options)
        by_target = gradient_by_target(ctx.saved_tensors, grads[0], ctx.options) if needs[TARGET] else None
        return (*found, by_target, *nothing)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        return along(ctx.saved_tensors, ctx.options, tangents), *(None,) * (ctx.outputs - 1)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        return _stacked(_rows, info.batch_size, in_dims, args)


class Gradients(torch.autograd.Function):
    """The gradients of Σ row_scale · loss. Arguments: the tensors, row_scale, which are wanted, the options."""

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor | None, ...]:
        return _run_gradients(args[:7], args[7], args[8:11], Options(*args[11:]))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs[:8])
        ctx.save_for_forward(*inputs[:8])
        ctx.needs = inputs[8:11]
        ctx.options = Options(*inputs[11:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        *tensors, row_scale = ctx.saved_tensors
        found: Any = (None,) * 5
        if any(g is not None for g in grads):
            found = second_order(tensors, row_scale, ctx.options, grads)
        nothing = (None,) * (3 + len(Options._fields))
        return (*found[:4], None, None, None, found[4], *nothing)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        *tensors, row_scale = ctx.saved_tensors
        o, needs = ctx.options, ctx.needs
        total: list[Tensor | None] = [None, None, None]

        def add(found: Any, sign: float = 1.0) -> None:
            for i in range(3):
                total[i] = add_tangents(total[i], sign * found[i] if needs[i] else None)

        if any(t is not None for t in tangents[:3]):
            add(second_order(tensors, row_scale, o, tangents[:3]))  # the Hessian is symmetric
        if tangents[7] is not None:
            add(_gradients(*tensors, tangents[7], *needs, *o))
        if tangents[TARGET] is not None:  # the gradient is linear in the target, but for a constant
            for sign, target in ((1.0, tangents[TARGET]), (-1.0, torch.zeros_like(tensors[TARGET]))):
                add(_gradients(*tensors[:TARGET], target, *tensors[TARGET + 1 :], row_scale, *needs, *o), sign)
        return tuple(
            torch.zeros_like(t) if needed and part is None else part
            for needed, part, t in zip(needs, total, tensors[:3], strict=True)
        )

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        return _stacked(_gradients, info.batch_size, in_dims, args)


class Reduced(torch.autograd.Function):
    """Σ loss / denominator, with the gradients from the same pass.

    Arguments: the tensors, denominator, extras, the options. The gradients are handed over to the first backward pass,
    which scales them where they lie; a later one, or one that is to be differentiated, computes them again.
    """

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, ...]:
        tensors, denominator, extras, o = args[:7], args[7], args[8], Options(*args[9:])
        result = run(tensors, o, None, ctx.needs_input_grad[:3], extras)
        ctx.save_for_backward(*tensors, denominator)
        ctx.options = o
        ctx.gradients = list(result.gradients)
        more = tuple(result.extras[name] for name in EXTRAS if extras)
        ctx.mark_non_differentiable(*more)
        ctx.set_materialize_grads(False)
        return sum_over(result.loss, denominator), *more

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        nothing = (None,) * (5 + len(Options._fields))
        if grads[0] is None:
            return (None,) * 4 + nothing
        *tensors, denominator = ctx.saved_tensors
        needs, o = ctx.needs_input_grad[:4], ctx.options
        scale = _scale(grads[0], denominator)
        per_row = scale.to(loss_dtype(tensors[X])).expand(len(tensors[X]))
        by_target = gradient_by_target(tensors, per_row, o) if needs[TARGET] else None
        if torch.is_grad_enabled():
            found = _gradients(*tensors, per_row, *needs[:3], *o) if any(needs[:3]) else (None, None, None)
            return (*found, by_target, *nothing)
        held, ctx.gradients = ctx.gradients, None
        if held is None:
            held = list(run(tensors, o, None, needs[:3]).gradients)
        if _batched(scale):
            ctx.gradients = held
            found = [None if g is None else (g * scale).to(t.dtype) for g, t in zip(held, tensors, strict=False)]
            return (*found, by_target, *nothing)
        found = []
        for like in reversed(tensors[:3]):  # the last reference to each goes before the next is rounded
            gradient = held.pop()
            found.append(None if gradient is None else rounded(gradient, scale.to(gradient.dtype), like))
            del gradient
        return (*reversed(found), by_target, *nothing)


# PyTorch gives `apply` no types.
_rows: Any = Rows.apply
_gradients: Any = Gradients.apply
_reduced: Any = Reduced.apply


def _scale(grad: Tensor, denominator: Tensor) -> Tensor:
    """What each loss is multiplied by; 0 for the mean over no rows, which is nan."""
    return torch.where(denominator.isnan(), 0.0, grad.to(denominator.dtype) / denominator)


# Operators for torch.compile

_ARGUMENTS = ", ".join(
    f"{'Tensor' if name in ('x', 'linear_weight', 'target') else 'Tensor?'} {name}" for name in TENSORS
)


def _needs_schema() -> str:
    return "bool needs_x, bool needs_weight, bool needs_bias"


def _operator_rows(*args: Any) -> tuple[Tensor, ...]:
    found = _run_rows(args[:7], Options(*args[8:]), args[7])
    return found if args[7] else (*found, *(_nothing(args[X]) for _ in EXTRAS))


def _fake_rows(*args: Any) -> tuple[Tensor, ...]:
    x, n = args[X], args[X].shape[0] if args[7] else 0
    dtype = loss_dtype(x)
    kinds = [dtype, dtype, dtype, torch.int64] if args[7] else [x.dtype] * 4
    return x.new_empty(x.shape[0], dtype=dtype), *(x.new_empty(n, dtype=kind) for kind in kinds)


def _operator_gradients(*args: Any) -> tuple[Tensor, ...]:
    found = _run_gradients(args[:7], args[7], args[8:11], Options(*args[11:]))
    return tuple(_nothing(args[X]) if g is None else g for g in found)


def _fake_gradients(*args: Any) -> tuple[Tensor, ...]:
    wanted = zip(args[:3], args[8:11], strict=True)
    return tuple(
        torch.empty_like(t, memory_format=torch.contiguous_format) if needed else _nothing(args[X])
        for t, needed in wanted
    )


def _operator_reduced(*args: Any) -> tuple[Tensor, ...]:
    tensors, denominator, extras, needs, o = args[:7], args[7], args[8], args[9:12], Options(*args[12:])
    result = run(tensors, o, None, needs, extras)
    more = [result.extras[name] if extras else _nothing(args[X]) for name in EXTRAS]
    wide = loss_dtype(args[X])
    found = [args[X].new_empty(0, dtype=wide) if g is None else g.to(wide) for g in result.gradients]
    return sum_over(result.loss, denominator), *more, *found


def _fake_reduced(*args: Any) -> tuple[Tensor, ...]:
    rows = _fake_rows(*args[:7], args[8], *args[12:])
    wide = loss_dtype(args[X])
    shapes = (t.shape if needed else (0,) for t, needed in zip(args[:3], args[9:12], strict=True))
    found = [args[X].new_empty(shape, dtype=wide) for shape in shapes]
    return rows[0].new_empty(()), *rows[1:], *found


def _custom(name: str, run_it: Any, fake: Any, schema: str) -> Any:
    operator = torch.library.custom_op(f"softmax::{name}", run_it, mutates_args=(), schema=schema)
    operator.register_fake(fake)
    return operator


_FIVE = "(Tensor, Tensor, Tensor, Tensor, Tensor)"
_rows_op = _custom(
    "linear_cross_entropy_rows", _operator_rows, _fake_rows, f"({_ARGUMENTS}, bool extras, {SCHEMA}) -> {_FIVE}"
)
_gradients_op = _custom(
    "linear_cross_entropy_gradients",
    _operator_gradients,
    _fake_gradients,
    f"({_ARGUMENTS}, Tensor row_scale, {_needs_schema()}, {SCHEMA}) -> (Tensor, Tensor, Tensor)",
)
_reduced_op = _custom(
    "linear_cross_entropy_reduced",
    _operator_reduced,
    _fake_reduced,
    f"({_ARGUMENTS}, Tensor denominator, bool extras, {_needs_schema()}, {SCHEMA}) -> "
    "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)


def _save_rows(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.save_for_backward(*inputs[:7])
    ctx.options = Options(*inputs[8:])
    ctx.mark_non_differentiable(*output[1:])


def _backward_rows(ctx: Any, grad: Tensor, *_: Any) -> tuple[Any, ...]:
    tensors, o, needs = ctx.saved_tensors, ctx.options, ctx.needs_input_grad
    found = _gradients_op(*tensors, grad.contiguous(), *needs[:3], *o)
    picked = (g if needed else None for g, needed in zip(found, needs, strict=False))
    by_target = gradient_by_target(tensors, grad, o) if needs[TARGET] else None
    return (*picked, by_target, *(None,) * (4 + len(o)))


def _save_reduced(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.save_for_backward(*inputs[:8], *output[5:])
    ctx.options = Options(*inputs[12:])
    ctx.mark_non_differentiable(*output[1:])


def _backward_reduced(ctx: Any, grad: Tensor, *_: Any) -> tuple[Any, ...]:
    *tensors, denominator, by_x, by_weight, by_bias = ctx.saved_tensors
    needs, o = ctx.needs_input_grad, ctx.options
    scale = _scale(grad, denominator)
    found = [
        (g * scale.to(g.dtype)).to(t.dtype) if needed else None
        for g, t, needed in zip((by_x, by_weight, by_bias), tensors, needs, strict=False)
    ]
    per_row = scale.to(loss_dtype(tensors[X])).expand(len(tensors[X]))
    by_target = gradient_by_target(tensors, per_row, o) if needs[TARGET] else None
    return (*found, by_target, *(None,) * (8 + len(o)))


_rows_op.register_autograd(_backward_rows, setup_context=_save_rows)
_reduced_op.register_autograd(_backward_reduced, setup_context=_save_reduced)


# The kernel set


def autocast(x: Tensor, linear_weight: Any, bias: Any) -> tuple[Any, Any, Any]:
    """Cast the arguments as torch.autocast does those of a linear layer."""
    kind = x.device.type
    if not torch.is_autocast_enabled(kind):
        return x, linear_weight, bias
    dtype = torch.get_autocast_dtype(kind)
    narrow = (torch.float32, torch.float16, torch.bfloat16)
    return tuple(  # type: ignore[return-value]
        t.to(dtype) if isinstance(t, Tensor) and t.dtype in narrow and t.device.type == kind else t
        for t in (x, linear_weight, bias)
    )


def plan_of(problem: LinearProblem, reduction: Reduction, extras: bool, budget: int | None) -> LinearPlan:
    """How a call would go, gradients included where they are asked for."""
    layer = (problem.x, problem.linear_weight, problem.bias, problem.target)
    when: When = "no gradient"
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in layer):
        when = "with the loss" if reduction != "none" and not transformed() else "after the loss"
    return plan(problem, when, extras, budget)


def shares_of(group: Any, classes: int, x: Tensor) -> Any:
    """Which classes this process has, in a group that shares them."""
    from ._torch_linear_shares import shares_of as ask

    return ask(group, classes, x.device)


def linear_cross_entropy(
    problem: LinearProblem,
    reduction: Reduction,
    denominator: Any,
    budget: int | None,
    extras: bool,
    shares: Any = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss (of the rows, for reduction "none"), and the extras; `denominator` is None for a sum.

    With `shares` the classes are those of one process; the denominator is then found here.
    """
    tensors = tensors_of(problem)
    needs = [torch.is_grad_enabled() and t is not None and t.requires_grad for t in tensors[:4]]
    special = transformed()
    reduced = reduction != "none"
    p = problem.options
    temperature = 1.0 if tensors[6] is not None else p.temperature
    way = plan_of(problem, reduction, extras, budget)
    columns = way.columns if way.way == "recompute" else None
    o = Options(temperature, p.ignore_index, p.label_smoothing, p.softcap, p.z_loss, way.rows, columns)
    if shares is not None:
        from ._torch_linear_shares import shared_linear_cross_entropy

        return shared_linear_cross_entropy(problem, tensors, o, shares, reduction, extras)
    total = denominator_of(problem.x, denominator)
    if way.gradient == "with the loss":
        if torch.compiler.is_compiling():
            value, *more = _reduced_op(*tensors, total, extras, *needs[:3], *o)
        else:
            value, *more = _reduced(*tensors, total, extras, *o)
        return value, dict(zip(EXTRAS, more, strict=False)) if extras else {}
    if torch.compiler.is_compiling():
        loss, *more = (formula_rows(tensors, o),) if special else _rows_op(*tensors, extras, *o)
        if special and extras:
            _, *more = _rows_op(*(t if t is None else t.detach() for t in tensors), True, *o)
    elif special or any(needs):
        loss, *more = _rows(*tensors, extras, *o)
    else:
        loss, *more = _run_rows(tensors, o, extras)
    return sum_over(loss, total) if reduced else loss, dict(zip(EXTRAS, more, strict=False)) if extras else {}
