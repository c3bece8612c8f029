"""The kernel set for tensors on a GPU, in Triton; README.md of the folder above holds the contract.

Tensors come on one device and stay there; nothing waits for it. Autograd sees nothing of what happens here.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from softmax._typing import LossOptions

from . import launch, losses, row, rows
from .launch import DOUBLE, FULL, NARROW
from .layout import Rows, as_rows

__all__ = [
    "chunk_loss",
    "cross_entropy",
    "log_softmax",
    "log_softmax_jvp",
    "log_softmax_vjp",
    "logsumexp",
    "softmax",
    "softmax_jvp",
    "softmax_vjp",
]

# Whether Triton runs these kernels in its interpreter, on tensors in the memory of the CPU.
INTERPRETED = not isinstance(rows.forward_kernel, triton.runtime.JITFunction)

_WHOLE, _PARTIAL, _FINISH = 0, 1, 2  # phases, as in row.py


def arithmetic(dtype: torch.dtype, precision: str = "accurate", *, wide: bool = False) -> int:
    """Return which arithmetic of row.py serves a dtype; `wide` asks for float64 for all but precision="fast"."""
    if dtype == torch.float64:
        return FULL
    if precision == "fast" or (dtype.itemsize == 2 and not wide):
        return NARROW
    return DOUBLE


# The contract


def softmax(
    x: Tensor,
    axis: int,
    *,
    where: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    precision: str = "accurate",
    out: None = None,
) -> Tensor:
    """exp(x/T) over its sum."""
    return _forward(rows.SOFTMAX, x, axis, where, temperature, precision)


def log_softmax(
    x: Tensor,
    axis: int,
    *,
    where: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    precision: str = "accurate",
    out: None = None,
) -> Tensor:
    """x/T minus the log of the sum of exp(x/T)."""
    return _forward(rows.LOG_SOFTMAX, x, axis, where, temperature, precision)


def logsumexp(
    x: Tensor,
    axis: int,
    *,
    where: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    precision: str = "accurate",
) -> Tensor:
    """Log of the sum of exp(x/T)."""
    row_shape = x.shape[:axis] + x.shape[axis + 1 :]
    if x.numel() == 0:
        return torch.full(row_shape, -math.inf, dtype=x.dtype, device=x.device)
    out = torch.empty(row_shape, dtype=x.dtype, device=x.device)
    r = as_rows(axis, x, x, mask_bytes(where))
    tensors = {"x": r.tensors[0], "out": out, "where": r.tensors[2]}
    run(rows.forward_kernel, r, tensors, temperature, arithmetic(x.dtype, precision), FUNCTION=rows.LOGSUMEXP)
    return out


def softmax_vjp(
    x: Tensor, g: Tensor, axis: int, *, where: Tensor | None = None, temperature: float | Tensor = 1.0
) -> Tensor:
    """p·(g - <p, g>)/T."""
    return _product(rows.JACOBIAN, x, g, axis, where, temperature)


softmax_jvp = softmax_vjp  # J is symmetric


def log_softmax_vjp(
    x: Tensor, g: Tensor, axis: int, *, where: Tensor | None = None, temperature: float | Tensor = 1.0
) -> Tensor:
    """(g - p·sum(g))/T."""
    return _product(rows.RESIDUAL, x, g, axis, where, temperature)


def log_softmax_jvp(
    x: Tensor, v: Tensor, axis: int, *, where: Tensor | None = None, temperature: float | Tensor = 1.0
) -> Tensor:
    """(v - <p, v>)/T."""
    return _product(rows.CENTRED, x, v, axis, where, temperature)


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    axis: int,
    options: LossOptions,
    *,
    row_scale: Tensor | float | None = None,
    want_grad: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Return the loss of each row and, if wanted, its gradient times `row_scale`."""
    gradient = torch.empty_like(logits) if want_grad else None
    return _losses(logits, target, axis, options, row_scale, gradient, None), gradient


def chunk_loss(
    z: Tensor,
    target: Tensor,
    options: LossOptions,
    *,
    row_scale: Tensor | float | None = None,
    want_grad: bool = False,
    extras: bool = False,
) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
    """Loss, gradient, written over the logits, and extras of rows (n, K); T may be one number per row."""
    found: dict[str, Tensor] = {}
    if extras:
        found = {name: z.new_empty(len(z), dtype=loss_dtype(z)) for name in EXTRAS}
        found["argmax"] = torch.empty(len(z), dtype=torch.int64, device=z.device)
    loss = _losses(z, target, 1, options, row_scale, z if want_grad else None, found or None)
    return loss, z if want_grad else None, found


# Launches

EXTRAS = ("logsumexp", "entropy", "max_probability")


def loss_dtype(x: Tensor) -> torch.dtype:
    """float32 or wider."""
    return x.dtype if x.dtype.itemsize >= 4 else torch.float32


def _losses(
    logits: Tensor,
    target: Tensor,
    axis: int,
    options: LossOptions,
    row_scale: Any,
    gradient: Tensor | None,
    extras: dict[str, Tensor] | None,
) -> Tensor:
    """Fill `gradient` and `extras` where they are wanted, and return the losses."""
    row_shape = logits.shape[:axis] + logits.shape[axis + 1 :]
    if logits.numel() == 0:
        return torch.zeros(row_shape, dtype=loss_dtype(logits), device=logits.device)
    loss = torch.empty(row_shape, dtype=loss_dtype(logits), device=logits.device)
    probabilities = target.ndim == logits.ndim
    r = as_rows(axis, logits, target if probabilities else None, gradient, mask_bytes(options.where))
    scale, step = _per_row(row_scale, row_shape)
    found = None if extras is None else torch.empty((len(EXTRAS), loss.numel()), dtype=loss.dtype, device=loss.device)
    temperature: Any = options.temperature
    tensors = {
        "x": r.tensors[0],
        "target": r.tensors[1] if probabilities else target.contiguous(),
        "grad": r.tensors[2],
        "where": r.tensors[3],
        "loss": loss,
        "weight": None if options.weight is None else options.weight.contiguous(),
        "row_scale": scale,
        "extras": found,
        "argmax": None if extras is None else extras["argmax"],
    }
    run(
        losses.loss_kernel,
        r,
        tensors,
        temperature,
        arithmetic(
            logits.dtype, options.precision, wide=options.softcap is not None or isinstance(temperature, Tensor)
        ),
        scale=1.0 if row_scale is None or scale is not None else float(row_scale),
        scale_step=step,
        softcap=options.softcap or 0.0,
        smoothing=options.label_smoothing,
        z_loss=options.z_loss,
        ignore=-1 if options.ignore_index is None else options.ignore_index,
        PROBABILITIES=probabilities,
        SMOOTH=options.label_smoothing != 0.0,
        WEIGHT=options.weight is not None,
        CAP=options.softcap is not None,
        Z_LOSS=options.z_loss != 0.0,
        IGNORE=options.ignore_index is not None and not probabilities,
        SCALE=0 if row_scale is None else 1 if scale is None else 2,
        GRAD=gradient is not None,
        EXTRAS=extras is not None,
    )
    if gradient is not None:
        filled(gradient, r.tensors[2])
    if extras is not None:
        extras.update(zip(EXTRAS, found, strict=True))  # type: ignore[arg-type]
    return loss


def _per_row(row_scale: Any, row_shape: Any) -> tuple[Tensor | None, int]:
    """One number for each row, or one for all, with the step between them; None where it is no tensor."""
    if not isinstance(row_scale, Tensor):
        return None, 0
    scale = row_scale.expand(row_shape)
    if all(stride == 0 or size == 1 for stride, size in zip(scale.stride(), scale.shape, strict=True)):
        return scale, 0
    return scale.contiguous(), 1


def _forward(
    function: Any, x: Tensor, axis: int, where: Tensor | None, temperature: float | Tensor, precision: str
) -> Tensor:
    out = torch.empty_like(x)
    if x.numel() == 0:
        return out
    r = as_rows(axis, x, out, mask_bytes(where))
    tensors = dict(zip(("x", "out", "where"), r.tensors, strict=True))
    run(rows.forward_kernel, r, tensors, temperature, arithmetic(x.dtype, precision), FUNCTION=function)
    return filled(out, tensors["out"])


def _product(
    function: Any, x: Tensor, g: Tensor, axis: int, where: Tensor | None, temperature: float | Tensor
) -> Tensor:
    out = torch.empty_like(x)
    if x.numel() == 0:
        return out
    r = as_rows(axis, x, g, out, mask_bytes(where))
    tensors = dict(zip(("x", "g", "out", "where"), r.tensors, strict=True))
    run(rows.product_kernel, r, tensors, temperature, arithmetic(x.dtype), FUNCTION=function)
    return filled(out, tensors["out"])


def filled(out: Tensor, written: Tensor | None) -> Tensor:
    """Return `out`, from the copy that the kernel wrote where no two strides describe it."""
    if written is not None and written is not out:
        out.copy_(written)
    return out


def mask_bytes(where: Tensor | None) -> Tensor | None:
    """Booleans as the bytes that a kernel reads."""
    return None if where is None else where.view(torch.uint8)


def run(
    kernel: Any, r: Rows, tensors: dict[str, Any], temperature: float | Tensor, mode: int, **arguments: Any
) -> None:
    """Launch a row kernel over all rows: once or, where several programs share a row, twice."""
    x = r.tensors[0]
    assert x is not None
    way = launch.choose(r.n, r.n_rows, mode, r.by_columns, launch.processors(x.device))
    states = None
    if way.split:
        size = (r.n_rows, way.blocks(r.n), row.STATE.value)
        states = torch.empty(size, dtype=torch.float64, device=x.device)
    per_row = temperature.contiguous() if isinstance(temperature, Tensor) else None
    scalar = 1.0 if isinstance(temperature, Tensor) else float(temperature)
    pointers = tensors | {"states": states, "per_row": per_row}
    strides = {
        f"{name}_{part}": stride
        for name, three in zip(_laid_out(kernel), r.strides, strict=True)
        for part, stride in zip(("outer", "inner", "step"), three, strict=True)
    }
    arguments |= {name: x if t is None else t for name, t in pointers.items()}  # a pointer that is not read is any
    arguments |= strides | {
        "temperature": scalar,
        "n": r.n,
        "n_rows": r.n_rows,
        "inner": r.inner,
        "MODE": mode,
        "ACC": tl.float32 if mode == NARROW else tl.float64,
        "INDEX": tl.int64 if r.wide_offsets else tl.int32,
        "MASK": tensors["where"] is not None,
        "TEMPERATURE": 2 if per_row is not None else int(scalar != 1.0),
        "ONE_BLOCK": way.one_block,
        "ROWS": way.rows,
        "COLUMNS": way.columns,
        "num_warps": way.warps,
        "enable_fp_fusion": False,  # every fma is written out, so that all phases and rows round alike
    }
    with torch.cuda.device_of(x) if x.is_cuda else contextlib.nullcontext():
        for phase in (_PARTIAL, _FINISH) if way.split else (_WHOLE,):
            kernel[way.grid(r.n, r.n_rows)](**arguments, PHASE=phase)


def _laid_out(kernel: Any) -> list[str]:
    """Return the names of the arguments that have strides, in the order of the signature."""
    return [name.removesuffix("_step") for name in kernel.arg_names if name.endswith("_step") and name != "scale_step"]
