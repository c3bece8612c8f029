"""The linear cross entropy of classes that are shared out over the processes of a group.

Every process holds the same rows and targets, and the weights, bias, class weights and mask of its own classes, which
follow each other in the order of the ranks. For each chunk of rows the processes exchange nine numbers per row (`State`
of `_kernels/portable_parts.py`), join them in that order, and so agree on the loss to the last bit. The gradients of
the weights stay where the weights are; that of x is summed over the group.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.distributed as distributed
from torch import Tensor
from torch.autograd.function import once_differentiable

from ._kernels import portable_parts as parts
from ._linear_pass import KINDS, LinearProblem, Needs, PassResult
from ._linear_plan import PART
from ._torch_linear_pass import EXTRAS, Options, TorchPass, X, denominator_of, problem_of, rounded, sum_over
from ._typing import LossOptions


class Shares(NamedTuple):
    """Which classes a process has."""

    group: Any
    first: int  # the number of its first class
    total: int  # classes of all processes


def shares_of(group: Any, classes: int, device: torch.device) -> Shares:
    """Ask the other processes how many classes they have."""
    mine = torch.tensor([classes], device=device)
    sizes = [torch.empty_like(mine) for _ in range(distributed.get_world_size(group))]
    distributed.all_gather(sizes, mine, group=group)
    counts = [int(size) for size in sizes]
    return Shares(group, sum(counts[: distributed.get_rank(group)]), sum(counts))


def mean_denominator(problem: LinearProblem, shares: Shares) -> Any:
    """What a mean divides by: the weight of the targets that count, wherever their classes are."""
    target, o = problem.target, problem.options
    if not problem.indices:
        return float(len(target))
    counts = torch.ones_like(target, dtype=torch.bool) if o.ignore_index is None else target != o.ignore_index
    if o.weight is None:
        return counts.sum().double()
    own = target - shares.first
    here = counts & (own >= 0) & (own < len(o.weight))
    total = torch.where(here, o.weight.double()[own.clamp(0, len(o.weight) - 1)], 0.0).sum()
    distributed.all_reduce(total, group=shares.group)
    return total


class SharedPass(TorchPass):
    """A pass over the rows with the classes of one process."""

    def __init__(self, problem: LinearProblem, rows: int, shares: Shares) -> None:
        super().__init__(problem, rows)
        self.shares = shares

    def run(self, row_scale: Any = None, needs: Needs = (False, False, False), extras: bool = False) -> PassResult:
        result = super().run(row_scale, needs, extras)
        by_x = result.gradients[0]
        if by_x is not None:
            wide = by_x.to(self.dtypes["wide"])
            distributed.all_reduce(wide, group=self.shares.group)
            result.gradients = (wide, *result.gradients[1:])
        return result

    def chunk_loss(
        self, z: Tensor, target: Tensor, options: LossOptions, row_scale: Any, want_grad: bool, extras: bool
    ) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        step = max(1, PART // self.v)
        pieces = [slice(start, min(start + step, len(z))) for start in range(0, len(z), step)]
        own = self.new((len(parts.State._fields), len(z)), "state", False)
        for here in pieces:
            for values, out in zip(parts.state_of(self._part(z, target, options, here)), own, strict=True):
                out[here] = values
        state = self._joined(own)
        for here in pieces if want_grad else ():
            scale = row_scale[here] if isinstance(row_scale, Tensor) and row_scale.ndim else row_scale
            of_rows = parts.State(*(values[here] for values in state))
            z[here] = parts.gradient_of(self._part(z, target, options, here), of_rows, scale)
        loss = parts.loss_of(state, options)
        if options.ignore_index is not None:  # where rows are not left out
            loss = torch.where(target == options.ignore_index, 0.0, loss)
        found = parts.extras_of(state) if extras else {}
        values = {name: self.cast(value, KINDS[name]) for name, value in found.items()}
        return self.cast(loss, "wide"), z if want_grad else None, values

    def _part(self, z: Tensor, target: Tensor, options: LossOptions, here: slice) -> parts.Part:
        return parts.Part(z[here], target[here], self.shares.first, options.of_rows(here))

    def _joined(self, own: Tensor) -> parts.State:
        """The state of all processes' classes."""
        group = self.shares.group
        gathered = [torch.empty_like(own) for _ in range(distributed.get_world_size(group))]
        distributed.all_gather(gathered, own, group=group)
        state = parts.State(*gathered[0])
        for other in gathered[1:]:
            state = parts.join(state, parts.State(*other))
        return state


class SharedLoss(torch.autograd.Function):
    """The losses of the rows, or their sum over a denominator with the gradients from the same pass.

    Arguments: the tensors, denominator (None for the rows), extras, the shares, the options.
    """

    @staticmethod
    def forward(ctx: Any, *args: Any) -> tuple[Tensor, ...]:
        tensors, denominator, extras, shares, o = args[:7], args[7], args[8], args[9], Options(*args[10:])
        with_loss = denominator is not None and any(ctx.needs_input_grad[:3])
        result = _run(tensors, o, shares, None, ctx.needs_input_grad[:3] if with_loss else (False,) * 3, extras)
        ctx.save_for_backward(*tensors, denominator)
        ctx.shares, ctx.options = shares, o
        ctx.gradients = result.gradients if with_loss else None
        more = tuple(result.extras[name] for name in EXTRAS if extras)
        ctx.mark_non_differentiable(*more)
        return (result.loss if denominator is None else sum_over(result.loss, denominator)), *more

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Any, ...]:
        *tensors, denominator = ctx.saved_tensors
        held, ctx.gradients = ctx.gradients, None
        if held is None:
            needs = ctx.needs_input_grad[:3]
            held = _run(tensors, ctx.options, ctx.shares, grad if denominator is None else None, needs, False).gradients
        scale = None if denominator is None else torch.where(denominator.isnan(), 0.0, grad / denominator)
        found = (
            None if g is None else rounded(g, None if scale is None else scale.to(g.dtype), t)
            for g, t in zip(held, tensors, strict=False)
        )
        return *found, *(None,) * (7 + len(ctx.options))


_shared_loss: Any = SharedLoss.apply


def _run(tensors: Any, o: Options, shares: Shares, row_scale: Any, needs: Any, extras: bool) -> PassResult:
    with torch.no_grad(), torch.autocast(tensors[X].device.type, enabled=False):
        problem = problem_of([None if t is None else t.detach() for t in tensors], o)
        return SharedPass(problem, o.rows, shares).run(row_scale, needs, extras)


def shared_linear_cross_entropy(
    problem: LinearProblem, tensors: Any, o: Options, shares: Shares, reduction: str, extras: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss over the classes of all processes, and the extras."""
    rows = torch.tensor([o.rows], device=problem.x.device)  # as many chunks everywhere
    distributed.all_reduce(rows, op=distributed.ReduceOp.MIN, group=shares.group)
    o = o._replace(rows=int(rows), columns=None)
    denominator = None
    if reduction != "none":
        denominator = denominator_of(problem.x, mean_denominator(problem, shares) if reduction == "mean" else None)
    value, *more = _shared_loss(*tensors, denominator, extras, shares, *o)
    return value, dict(zip(EXTRAS, more, strict=False)) if extras else {}
