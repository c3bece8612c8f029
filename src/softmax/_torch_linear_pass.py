"""The pass of `_linear_pass` with PyTorch's products, and what a call of the linear cross entropy is made of there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._kernels import portable
from ._linear_pass import LinearProblem, Pass, PassResult
from ._linear_plan import BLOCK, GPU_CHUNK, GPU_CHUNK_WITH_GRADIENT, PART, LinearPlan, Sizes, When, plan_for
from ._torch_gpu import add_product, adds_wide, gpu_kernels
from ._torch_losses import loss_dtype
from ._torch_rows import as_arrays, as_tensor, cpu_kernels
from ._typing import LossOptions

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
    columns: int | None = None  # of a block, where the logits are computed twice


SCHEMA = (
    "float temperature, int? ignore_index, float label_smoothing, float? softcap, float z_loss, int rows, int? columns"
)


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


def product_dtype(x: Tensor) -> torch.dtype:
    """The dtype that products are computed in: that of x where the processor has products of it, else float32."""
    if x.dtype.itemsize >= 4 or not x.is_cpu:
        return x.dtype
    ops = torch.ops.mkldnn
    supported = ops._is_mkldnn_bf16_supported() if x.dtype == torch.bfloat16 else ops._is_mkldnn_fp16_supported()
    return x.dtype if supported else torch.float32


class TorchPass(Pass):
    """With PyTorch's products; the losses of CPU tensors from the NumPy kernels, without a copy."""

    def __init__(self, problem: LinearProblem, rows: int, columns: int | None = None) -> None:
        super().__init__(problem, rows, columns)
        x: Tensor = problem.x
        self.device = x.device
        self.leaves_out = x.is_cpu  # elsewhere, finding the rows would wait for the device
        state = torch.float32 if x.device.type == "mps" else torch.float64
        kinds = {"input": x.dtype, "logit": product_dtype(x), "wide": loss_dtype(x)}
        self.dtypes = {**kinds, "state": state, "index": torch.int64}

    def kept(self) -> Any:
        ignored = self.problem.options.ignore_index
        if ignored is None or not self.leaves_out:
            return None
        kept = self.problem.target != ignored
        return None if kept.all() else kept.nonzero()[:, 0]

    def new(self, shape: tuple[int, ...], kind: str, zero: bool) -> Tensor:
        create = torch.zeros if zero else torch.empty
        return create(shape, dtype=self.dtypes[kind], device=self.device)

    def cast(self, values: Tensor, kind: str) -> Tensor:
        return values.to(self.dtypes[kind])

    def multiply(self, a: Tensor, b: Tensor, out: Tensor, add: bool = False) -> None:
        if add:
            out.addmm_(a, b)
        else:
            torch.mm(a, b, out=out)

    def logits(self, x: Tensor, out: Tensor, classes: slice) -> None:
        bias, weight = self.problem.bias, self.problem.linear_weight
        if bias is not None and weight.dtype == x.dtype:
            torch.addmm(bias[classes], x, weight[classes].t(), out=out)
        else:
            super().logits(x, out, classes)

    def _add_by_weight(self, by_weight: Tensor, gradient: Tensor, x: Tensor, first: bool) -> None:
        if by_weight.dtype != gradient.dtype and adds_wide(gradient.device, gradient.dtype):
            add_product(by_weight, gradient.t(), x, first=first)
        else:
            super()._add_by_weight(by_weight, gradient, x, first)

    def add_sum(self, total: Tensor, gradient: Tensor) -> None:
        total += gradient.sum(0, dtype=total.dtype)

    def chunk_loss(
        self, z: Tensor, target: Tensor, options: LossOptions, row_scale: Any, want_grad: bool, extras: bool
    ) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        gpu = gpu_kernels(z, target, row_scale, options.weight, options.where, options.temperature)
        if gpu is not None:
            found: tuple[Tensor, Tensor | None, dict[str, Tensor]] = gpu.chunk_loss(
                z, target, options, row_scale=row_scale, want_grad=want_grad, extras=extras
            )
            return found
        compiled = cpu_kernels() is not portable
        if z.is_cpu and z.dtype.itemsize < 4 and not (compiled and z.dtype == torch.bfloat16):
            return self._narrow_loss(z, target, options, row_scale, want_grad, extras)
        bits = z.view(torch.uint16) if z.is_cpu and z.dtype == torch.bfloat16 else z
        arrays = as_arrays(bits, target, row_scale, options.weight, options.where, options.temperature)
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
        if gradient is not None:
            gradient = as_tensor(gradient, z.dtype) if bits is z else z
        return torch.from_numpy(loss), gradient, values

    def _narrow_loss(
        self, z: Tensor, target: Tensor, options: LossOptions, row_scale: Any, want_grad: bool, extras: bool
    ) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        """Half precision: some rows at a time in float32, the gradient written back over the logits."""
        step = max(1, PART // self.v)
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


def run(
    tensors: Any, o: Options, row_scale: Any = None, needs: Any = (False, False, False), extras: bool = False
) -> PassResult:
    """One pass; autograd sees nothing of it."""
    with torch.no_grad(), torch.autocast(tensors[X].device.type, enabled=False):
        problem = problem_of([None if t is None else t.detach() for t in tensors], o)
        return TorchPass(problem, o.rows, o.columns).run(row_scale, needs, extras)


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


def sum_over(loss: Tensor, denominator: Tensor) -> Tensor:
    """The sum in float64 over the denominator."""
    return (loss.to(denominator.dtype).sum() / denominator).to(loss.dtype)


def denominator_of(x: Tensor, denominator: Any) -> Tensor:
    """What a sum is divided by, nan for 0."""
    wide = torch.float32 if x.device.type == "mps" else torch.float64
    if isinstance(denominator, Tensor):
        return torch.where(denominator == 0, torch.nan, denominator.to(wide))
    value = 1.0 if denominator is None else denominator or float("nan")
    return torch.full((), value, dtype=wide, device=x.device)


def plan(problem: LinearProblem, when: When, extras: bool, budget: int | None) -> LinearPlan:
    x = problem.x
    logit, wide = product_dtype(x).itemsize, loss_dtype(x).itemsize
    (n, d), v = x.shape, problem.linear_weight.shape[0]
    adds = logit == wide or adds_wide(x.device, x.dtype)
    chunk = (GPU_CHUNK if when == "no gradient" else GPU_CHUNK_WITH_GRADIENT) if x.is_cuda else 0
    sizes = Sizes(n, d, v, x.dtype.itemsize, logit, wide, when, extras, adds=adds, chunk=chunk)
    return plan_for(sizes, budget)
