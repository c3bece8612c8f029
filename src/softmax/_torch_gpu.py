"""Which tensors the Triton kernels serve: those on a CUDA device, where Triton is installed."""

from __future__ import annotations

import functools
import importlib
import os
from typing import Any

import torch
from torch import Tensor

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def gpu_kernels(x: Tensor, *others: Any) -> Any:
    """Return the kernel set in Triton if it can compute with `x` and everything that comes with it, else None."""
    if not serves(x) or x.dtype not in _DTYPES:
        return None
    for tensor in (x, *others):
        if isinstance(tensor, Tensor) and not _has_memory(tensor):
            return None
    return _kernels()


def serves(x: Tensor) -> bool:
    """Whether the kernels run on the device of `x`."""
    return x.is_cuda


def _has_memory(x: Tensor) -> bool:
    """Whether a kernel can read the numbers where they lie."""
    if type(x) not in (Tensor, torch.nn.Parameter) or x.layout != torch.strided or x.is_neg() or x.is_conj():
        return False
    # wrapped by a transform, or batched by the vmap that torch.autograd.grad(is_grads_batched=True) still uses
    functorch = torch._C._functorch
    return not functorch.is_functorch_wrapped_tensor(x) and not functorch.is_legacy_batchedtensor(x)


@functools.cache
def _kernels() -> Any:
    if os.environ.get("SOFTMAX_KERNELS") == "portable":
        return None
    try:
        return importlib.import_module("softmax._kernels.gpu")
    except ImportError:
        return None


def free_memory(x: Tensor) -> int:
    """Bytes that are free on the device of `x`, which is a CUDA device."""
    return int(torch.cuda.mem_get_info(x.device)[0])


# Products of half precision that are summed in float32


def adds_wide(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a product of this dtype can be added to float32 where that lies, which PyTorch does on CUDA alone."""
    return device.type == "cuda" and torch.version.cuda is not None and dtype in (torch.float16, torch.bfloat16)


def add_product(total: Tensor, a: Tensor, b: Tensor, *, first: bool) -> None:
    """Add a b, summed in float32 and not rounded to its own dtype, to total; the first time, write it."""
    if first:
        torch.mm(a, b, out_dtype=total.dtype, out=total)
    else:
        torch.addmm(total, a, b, out_dtype=total.dtype, out=total)
