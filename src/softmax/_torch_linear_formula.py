"""The linear cross entropy in PyTorch's own operations: derivatives of higher order, and what is traced.

The logits of one chunk at a time are there, unless a third derivative records them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ._torch_linear_pass import BIAS, TARGET, WEIGHT, Options, X
from ._torch_losses import loss_dtype
from ._torch_rows import add_tangents, sum_product


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


def gradient_by_target(tensors: Any, row_scale: Tensor, o: Options) -> Tensor:
    """The gradient in target probabilities."""
    parts = [formula_gradients(own, row_scale[here])[-1] for here, own in chunks_of(tensors, o)]
    return torch.cat(parts) if parts else torch.zeros_like(tensors[TARGET])


def gradients_by_formula(tensors: Any, row_scale: Tensor, o: Options) -> tuple[Tensor | None, ...]:
    """The gradients in x, linear_weight and bias, in PyTorch's operations."""
    parts: list[Any] = [formula_gradients(own, row_scale[here]) for here, own in chunks_of(tensors, o)]
    if not parts:
        return tuple(None if t is None else torch.zeros_like(t) for t in tensors[:3])
    by_x = torch.cat([part[0] for part in parts])
    by_bias = None if tensors[BIAS] is None else sum(part[2] for part in parts)
    return by_x, sum(part[1] for part in parts), by_bias
