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
