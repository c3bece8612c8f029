"""The linear cross entropy bound to PyTorch.

Three bindings, as in `_torch`, for the losses of rows and for their gradients: an `autograd.Function` (backward of any
order, forward mode, vmap), a custom operator (torch.compile), and PyTorch's own operations where a transform is
compiled. A fourth, for a reduced loss that only `backward()` will ask about, computes the gradients with the loss.

First derivatives run on the kernels. Those of higher order come from `formula`, the loss of a chunk in PyTorch's own
operations: the logits of one chunk at a time, unless a third derivative records them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._kernels import portable
from ._linear_pass import LinearProblem, Pass, PassResult
from ._linear_plan import BLOCK, CACHED, LinearPlan, Sizes, When, plan_for
from ._torch_losses import loss_dtype
from ._torch_rows import add_tangents, as_arrays, as_tensor, cpu_kernels, sum_product, transformed
from ._typing import LossOptions, Reduction

TENSORS = ("x", "linear_weight", "bias", "target", "weight", "where", "row_temperature")
X, WEIGHT, BIAS, TARGET = range(4)
EXTRAS = ("logsumexp", "entropy", "max_probability", "argmax")
Tensors = tuple[Tensor | None, ...]


class Options(NamedTuple):
    """Everything about a call that is not a tensor."""

    temperature: float
    ignore_index: int | None
    label_smoothing: float
    softcap: float | None
    z_loss: float
    rows: int  # of a chunk


SCHEMA = "float temperature, int? ignore_index, float label_smoothing, float? softcap, float z_loss, int rows"


def tensors_of(problem: LinearProblem) -> Tensors:
    o = problem.options
    temperature: Any = o.temperature
    temperature = temperature if isinstance(temperature, Tensor) else None
    return problem.x, problem.linear_weight, problem.bias, problem.target, o.weight, o.where, temperature


def problem_of(tensors: Any, o: Options) -> LinearProblem:
    x, linear_weight, bias, target, weight, where, temperature = tensors
    options = LossOptions(
        weight=weight,
        ignore_index=o.ignore_index,
        label_smoothing=o.label_smoothing,
        where=where,
        temperature=o.temperature if temperature is None else temperature,
        softcap=o.softcap,
        z_loss=o.z_loss,
    )
    return LinearProblem(x, linear_weight, target, bias, options)


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


# The pass


def product_dtype(x: Tensor) -> torch.dtype:
    """The dtype that products are computed in: that of x where the processor has products of it, else float32."""
    if x.dtype.itemsize >= 4 or not x.is_cpu:
        return x.dtype
    ops = torch.ops.mkldnn
    supported = ops._is_mkldnn_bf16_supported() if x.dtype == torch.bfloat16 else ops._is_mkldnn_fp16_supported()
    return x.dtype if supported else torch.float32


class TorchPass(Pass):
    """With PyTorch's products; the losses of CPU tensors from the NumPy kernels, without a copy."""

    def __init__(self, problem: LinearProblem, rows: int) -> None:
        super().__init__(problem, rows)
        x = problem.x
        self.like: Tensor = x
        self.leaves_out = x.is_cpu  # elsewhere, finding the rows would wait for the device
        self.dtypes = {"logit": product_dtype(x), "wide": loss_dtype(x), "index": torch.int64}

    def kept(self) -> Any:
        ignored = self.problem.options.ignore_index
        if ignored is None or not self.leaves_out:
            return None
        kept = self.problem.target != ignored
        return None if kept.all() else kept.nonzero()[:, 0]

    def new(self, shape: tuple[int, ...], kind: str, zero: bool) -> Tensor:
        create = torch.zeros if zero else torch.empty
        return create(shape, dtype=self.dtypes[kind], device=self.like.device)

    def features(self, here: Any) -> Tensor:
        rows: Tensor = self.problem.x[here]
        return rows.to(self.dtypes["logit"])

    def blocks(self) -> Any:
        """Slices of the classes, of the size of a block."""
        step = max(1, BLOCK // max(1, self.d * self.dtypes["wide"].itemsize))
        for start in range(0, self.v, step):
            yield slice(start, min(start + step, self.v))

    def weights(self) -> Any:
        """Classes and their weights in the dtype of the products: all at once where that is their own."""
        weight, dtype = self.problem.linear_weight, self.dtypes["logit"]
        if weight.dtype == dtype:
            yield slice(0, self.v), weight
            return
        for classes in self.blocks():
            yield classes, weight[classes].to(dtype)

    def logits(self, x: Tensor, out: Tensor) -> None:
        bias = self.problem.bias
        for classes, weight in self.weights():
            whole = len(weight) == self.v
            target = out if whole else x.new_empty((len(x), len(weight)))
            if bias is None:
                torch.mm(x, weight.t(), out=target)
            else:
                torch.addmm(bias[classes].to(x.dtype), x, weight.t(), out=target)
            if not whole:
                out[:, classes] = target

    def chunk_loss(
        self, z: Tensor, target: Tensor, options: LossOptions, row_scale: Any, want_grad: bool, extras: bool
    ) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        if z.is_cpu and z.dtype.itemsize < 4:
            return self._narrow_loss(z, target, options, row_scale, want_grad, extras)
        arrays = as_arrays(z, target, row_scale, options.weight, options.where, options.temperature)
        if arrays is None:
            result: tuple[Tensor, Tensor | None, dict[str, Tensor]] = portable.chunk_loss(
                z, target, options, row_scale=row_scale, want_grad=want_grad, extras=extras
            )
            return result
        plain = replace(options, weight=arrays[3], where=arrays[4], temperature=arrays[5])
        loss, gradient, more = cpu_kernels().chunk_loss(
            arrays[0], arrays[1], plain, row_scale=arrays[2], want_grad=want_grad, extras=extras
        )
        values = {name: torch.from_numpy(value) for name, value in more.items()}
        return torch.from_numpy(loss), None if gradient is None else as_tensor(gradient, z.dtype), values

    def _narrow_loss(
        self, z: Tensor, target: Tensor, options: LossOptions, row_scale: Any, want_grad: bool, extras: bool
    ) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        """Half precision: some rows at a time in float32, the gradient written back over the logits."""
        step = max(1, CACHED // 2 // self.v)
        parts: list[dict[str, Tensor]] = []
        for start in range(0, len(z), step):
            here = slice(start, start + step)
            scale = row_scale[here] if isinstance(row_scale, Tensor) and row_scale.ndim else row_scale
            loss, gradient, more = self.chunk_loss(
                z[here].float(), target[here], options.of_rows(here), scale, want_grad, extras
            )
            if gradient is not None:
                z[here] = gradient
            parts.append({"loss": loss, **more})
        values = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return values.pop("loss"), z if want_grad else None, values

    def times_weights(self, gradient: Tensor, out: Tensor, here: Any) -> None:
        direct = isinstance(here, slice)
        target = out[here] if direct else out.new_empty((len(here), self.d))
        for k, (classes, weight) in enumerate(self.weights()):
            part = gradient[:, classes]
            if k == 0:
                torch.mm(part, weight, out=target)
            else:
                target.addmm_(part, weight)
        if not direct:
            out[here] = target

    def add_product(self, total: Tensor, gradient: Tensor, x: Tensor, first: bool) -> None:
        if total.dtype == gradient.dtype:
            total.addmm_(gradient.t(), x, beta=0 if first else 1)
            return
        for classes in self.blocks():
            part = torch.mm(gradient[:, classes].t(), x)
            if first:
                total[classes] = part
            else:
                total[classes] += part

    def add_sum(self, total: Tensor, gradient: Tensor) -> None:
        total += gradient.sum(0, dtype=total.dtype)


def run(
    tensors: Any, o: Options, row_scale: Any = None, needs: Any = (False, False, False), extras: bool = False
) -> PassResult:
    """One pass; autograd sees nothing of it."""
    with torch.no_grad(), torch.autocast(tensors[X].device.type, enabled=False):
        problem = problem_of([None if t is None else t.detach() for t in tensors], o)
        return TorchPass(problem, o.rows).run(row_scale, needs, extras)


def rounded(gradient: Tensor, scale: Tensor | None, like: Tensor) -> Tensor:
    """Scale a gradient where it lies, then round it, block by block: it is not wanted afterwards."""
    if gradient.dtype == like.dtype:
        return gradient if scale is None else gradient.mul_(scale)
    result = torch.empty_like(gradient, dtype=like.dtype)
    step = max(1, BLOCK // 4 * len(gradient) // max(1, gradient.numel()))
    for start in range(0, len(gradient), step):
        part = gradient[start : start + step]
        result[start : start + step] = part if scale is None else part.mul_(scale)
    return result


# The loss in PyTorch's operations


def formula(x: Tensor, linear_weight: Tensor, bias: Tensor | None, *rest: Any) -> Tensor:
    """The losses of some rows, to be differentiated."""
    return losses_of(wide_logits(x, linear_weight, bias), *rest).to(loss_dtype(x))


def wide_logits(x: Tensor, linear_weight: Tensor, bias: Tensor | None) -> Tensor:
    """x Wᵀ + b, in float64 from the product on."""
    wide = x.dtype if x.device.type == "mps" else torch.float64
    z = (x @ linear_weight.t()).to(wide)
    return z if bias is None else z + bias.to(wide)


def losses_of(
    z: Tensor, target: Tensor, weight: Tensor | None, where: Tensor | None, temperature: Tensor | None, o: Options
) -> Tensor:
    """The losses of rows of logits; no infinity meets a zero on the way, not in a derivative either."""
    possible = z > -torch.inf  # and not nan
    possible = (possible | z.isnan()) if where is None else (possible | z.isnan()) & where
    some = possible.any(1, keepdim=True)
    z = torch.where(possible, z, 0.0)
    if o.softcap is not None:
        z = o.softcap * torch.tanh(z / o.softcap)
    z = z / (o.temperature if temperature is None else temperature.to(z.dtype)[:, None])
    lse = torch.logsumexp(torch.where(possible | ~some, z, -torch.inf), 1, keepdim=True)
    q, counts = _target_weights(z, target, weight, where, o)
    impossible = (~possible & (q != 0)).any(1)
    loss = torch.where(possible, q * (lse - z), 0.0).sum(1)
    loss = torch.where(impossible, torch.inf, loss)
    if o.z_loss:
        loss = loss + o.z_loss * lse[:, 0] ** 2
    unmasked = some[:, 0] if where is None else where.any(1)
    loss = torch.where(some[:, 0], loss, torch.where(unmasked, torch.nan, torch.inf))
    return torch.where(counts, loss, 0.0)


def _target_weights(
    z: Tensor, target: Tensor, weight: Tensor | None, where: Tensor | None, o: Options
) -> tuple[Tensor, Tensor]:
    """What each class weighs in the loss of each row, and which rows count."""
    n, v = z.shape
    counts = torch.ones(n, dtype=torch.bool, device=z.device)
    if target.ndim == 2:
        q = target.to(z.dtype)
    else:
        if o.ignore_index is not None:
            counts = target != o.ignore_index
        label = torch.where(counts, target, 0)
        q = (torch.arange(v, device=z.device) == label[:, None]).to(z.dtype)
    q = (1 - o.label_smoothing) * q
    if o.label_smoothing:
        share = torch.ones_like(z) if where is None else where.to(z.dtype)
        q = q + o.label_smoothing * share / share.sum(1, keepdim=True).clamp(min=1)
    return (q if weight is None else q * weight.to(z.dtype)), counts


def chunks_of(tensors: Any, o: Options) -> Iterator[tuple[slice, tuple[Any, ...]]]:
    """The rows of each chunk, and the arguments of `formula` for them."""
    x, linear_weight, bias, target, weight, where, temperature = tensors
    for start in range(0, len(x), max(1, o.rows)):
        here = slice(start, start + max(1, o.rows))
        own = (target[here], weight, None if where is None else where[here])
        yield here, (x[here], linear_weight, bias, *own, None if temperature is None else temperature[here], o)


def _pullback(function: Any, *given: Tensor) -> tuple[Any, Any]:
    """The value, and the map from its cotangents to those of what was given."""
    result: Any = torch.func.vjp(function, *given)
    return result


def formula_rows(tensors: Any, o: Options) -> Tensor:
    """`formula` of all rows."""
    parts = [formula(*arguments) for _, arguments in chunks_of(tensors, o)]
    return torch.cat(parts) if parts else tensors[X].new_zeros(0, dtype=loss_dtype(tensors[X])) + 0 * tensors[X].sum()


def formula_gradients(arguments: Any, scale: Tensor) -> tuple[Tensor, ...]:
    """Gradients of Σ scale · loss of a chunk in x, the weights, the bias if there is one, and probabilities."""
    x, linear_weight, bias, target = arguments[:4]
    rest = arguments[4:]
    layer = (x, linear_weight) if bias is None else (x, linear_weight, bias)
    wanted = layer if target.ndim == 1 else (*layer, target)

    def loss(*given: Tensor) -> Tensor:
        own_bias = None if bias is None else given[2]
        return formula(given[0], given[1], own_bias, target if target.ndim == 1 else given[-1], *rest)

    value, pull = _pullback(loss, *wanted)
    result: tuple[Tensor, ...] = pull(scale.to(value.dtype))
    return result


def second_order(
    tensors: Any, row_scale: Tensor, o: Options, cotangents: Any
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """D <gradients, cotangents>: by x, linear_weight, bias, target (probabilities) and row_scale.

    In the first three it is the Hessian of Σ row_scale · loss times the cotangents.
    """
    by_rows: dict[str, list[Tensor]] = {"x": [], "target": [], "row_scale": []}
    by_weight = by_bias = None
    found: Any
    has_bias = tensors[BIAS] is not None
    layer = 2 + has_bias
    for here, arguments in chunks_of(tensors, o):
        x, linear_weight, bias, target = arguments[:4]
        rest = arguments[4:]
        scale = row_scale[here]
        given = (x, linear_weight, *((bias,) if has_bias else ()), *((target,) if target.ndim == 2 else ()), scale)

        def gradients(*values: Tensor, target: Any = target, rest: Any = rest) -> tuple[Tensor, ...]:
            own_target = target if target.ndim == 1 else values[-2]
            own = (*values[:2], values[2] if has_bias else None, own_target, *rest)
            return formula_gradients(own, values[-1])[:layer]

        seeds = [cotangents[X][here] if cotangents[X] is not None else None, cotangents[WEIGHT]]
        seeds += [cotangents[BIAS]] if has_bias else []
        values, pull = _pullback(gradients, *given)
        found = pull(tuple(torch.zeros_like(v) if s is None else s for s, v in zip(seeds, values, strict=True)))
        by_rows["x"].append(found[0])
        by_weight = add_tangents(by_weight, found[1])
        by_bias = add_tangents(by_bias, found[2]) if has_bias else None
        if target.ndim == 2:
            by_rows["target"].append(found[-2])
        by_rows["row_scale"].append(found[-1])
    joined = {name: torch.cat(parts) if parts else None for name, parts in by_rows.items()}
    return joined["x"], by_weight, by_bias, joined["target"], joined["row_scale"]


def along(tensors: Any, o: Options, tangents: Any) -> Tensor:
    """How the losses of the rows change along tangents of x, linear_weight, bias and probabilities."""
    tx, tw, tb, tq = tangents[:4]
    parts = [tensors[X].new_zeros(0, dtype=loss_dtype(tensors[X]))]
    for here, (x, linear_weight, bias, target, *rest) in chunks_of(tensors, o):
        z = wide_logits(x, linear_weight, bias)
        if target.ndim == 1:
            value, pull = _pullback(lambda z, rest=(target, *rest): losses_of(z, *rest), z)
        else:
            value, pull = _pullback(lambda z, q, rest=rest: losses_of(z, q, *rest), z, target)
        slopes = pull(torch.ones_like(value))
        change = None if tx is None else tx[here] @ linear_weight.t()
        change = add_tangents(change, None if tw is None else x @ tw.t())
        change = add_tangents(change, None if tb is None else tb.expand(len(x), -1))
        total = torch.zeros_like(value)
        for slope, tangent in zip(slopes, (change, None if tq is None else tq[here]), strict=False):
            if tangent is not None:
                total = total + sum_product(slope, tangent.to(slope.dtype), 1)
        parts.append(total.to(parts[0].dtype))
    return torch.cat(parts)


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


def _by_target(tensors: Any, row_scale: Tensor, o: Options) -> Tensor:
    """The gradient in target probabilities."""
    parts = [formula_gradients(own, row_scale[here])[-1] for here, own in chunks_of(tensors, o)]
    return torch.cat(parts) if parts else torch.zeros_like(tensors[TARGET])


def _by_formula(tensors: Any, row_scale: Tensor, o: Options) -> tuple[Tensor | None, ...]:
    """The gradients in x, linear_weight and bias, in PyTorch's operations."""
    parts: list[Any] = [formula_gradients(own, row_scale[here]) for here, own in chunks_of(tensors, o)]
    if not parts:
        return tuple(None if t is None else torch.zeros_like(t) for t in tensors[:3])
    by_x = torch.cat([part[0] for part in parts])
    by_bias = None if tensors[BIAS] is None else sum(part[2] for part in parts)
    return by_x, sum(part[1] for part in parts), by_bias


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
            found = _by_formula(ctx.saved_tensors, grads[0], ctx.options)
        elif any(needs[:3]):
            found = _gradients(*ctx.saved_tensors, grads[0], *needs[:3], *ctx.options)
        by_target = _by_target(ctx.saved_tensors, grads[0], ctx.options) if needs[TARGET] else None
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
        return _sum_over(result.loss, denominator), *more

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        nothing = (None,) * (5 + len(Options._fields))
        if grads[0] is None:
            return (None,) * 4 + nothing
        *tensors, denominator = ctx.saved_tensors
        needs, o = ctx.needs_input_grad[:4], ctx.options
        scale = _scale(grads[0], denominator)
        per_row = scale.to(loss_dtype(tensors[X])).expand(len(tensors[X]))
        by_target = _by_target(tensors, per_row, o) if needs[TARGET] else None
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


def _sum_over(loss: Tensor, denominator: Tensor) -> Tensor:
    """The sum in float64 over the denominator."""
    return (loss.to(denominator.dtype).sum() / denominator).to(loss.dtype)


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
    return _sum_over(result.loss, denominator), *more, *found


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
    by_target = _by_target(tensors, grad, o) if needs[TARGET] else None
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
    by_target = _by_target(tensors, per_row, o) if needs[TARGET] else None
    return (*found, by_target, *(None,) * (8 + len(o)))


_rows_op.register_autograd(_backward_rows, setup_context=_save_rows)
_reduced_op.register_autograd(_backward_reduced, setup_context=_save_reduced)


# The kernel set


def plan(problem: LinearProblem, when: When, extras: bool, budget: int | None) -> LinearPlan:
    x = problem.x
    logit, wide = product_dtype(x).itemsize, loss_dtype(x).itemsize
    (n, d), v = x.shape, problem.linear_weight.shape[0]
    sizes = Sizes(n, d, v, x.dtype.itemsize, logit, wide, when, extras)
    return plan_for(sizes, budget)


def linear_cross_entropy(
    problem: LinearProblem, reduction: Reduction, denominator: Any, budget: int | None, extras: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss (of the rows, for reduction "none"), and the extras; `denominator` is None for a sum."""
    tensors = tensors_of(problem)
    needs = [torch.is_grad_enabled() and t is not None and t.requires_grad for t in tensors[:4]]
    special = transformed()
    reduced = reduction != "none"
    when: When = "no gradient" if not any(needs) else "with the loss" if reduced and not special else "after the loss"
    p = problem.options
    temperature = 1.0 if tensors[6] is not None else p.temperature
    rows = plan(problem, when, extras, budget).rows
    o = Options(temperature, p.ignore_index, p.label_smoothing, p.softcap, p.z_loss, rows)
    total = _total(problem.x, denominator)
    if when == "with the loss":
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
    return _sum_over(loss, total) if reduced else loss, dict(zip(EXTRAS, more, strict=False)) if extras else {}


def _total(x: Tensor, denominator: Any) -> Tensor:
    """What a sum is divided by, nan for 0."""
    wide = torch.float32 if x.device.type == "mps" else torch.float64
    if isinstance(denominator, Tensor):
        return torch.where(denominator == 0, torch.nan, denominator.to(wide))
    value = 1.0 if denominator is None else denominator or float("nan")
    return torch.full((), value, dtype=wide, device=x.device)
