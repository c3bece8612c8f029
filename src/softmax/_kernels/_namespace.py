"""How the portable kernels reach the array-API functions of an array's library."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

# PyTorch has no namespace of its own; `_torch_namespace` puts itself here when it is loaded.
torch_namespace: ModuleType | None = None


def namespace_of(x: Any) -> Any:
    """Return the array-API namespace of `x`; no framework is imported for it."""
    get = getattr(x, "__array_namespace__", None)
    if get is not None:
        return get()
    if torch_namespace is not None and isinstance(x, torch_namespace.torch.Tensor):
        return torch_namespace
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        return importlib.import_module("softmax._kernels._torch_namespace")
    return sys.modules[type(x).__module__.partition(".")[0]]


def cast(xp: Any, x: Any, dtype: Any) -> Any:
    """Return `x` in `dtype`, itself where it already is."""
    if x.dtype == dtype:
        return x
    return x.astype(dtype) if hasattr(x, "astype") else xp.astype(x, dtype)


def itemsize(xp: Any, dtype: Any) -> int:
    """Bytes of one element."""
    size = getattr(dtype, "itemsize", None)
    return int(size) if isinstance(size, int) else xp.finfo(dtype).bits // 8


def is_complex(xp: Any, x: Any) -> bool:
    """Whether the elements of `x` are complex numbers."""
    kind = getattr(x.dtype, "kind", None)  # numpy.isdtype refuses the dtypes of other packages, such as bfloat16
    return kind == "c" if isinstance(kind, str) else bool(xp.isdtype(x.dtype, "complex floating"))


def wide_dtype(xp: Any, x: Any) -> Any:
    """Choose the real dtype of the arithmetic: float64 for narrower input where the device has it, else its own."""
    if is_complex(xp, x):
        return xp.float64
    if itemsize(xp, x.dtype) >= 8:
        return x.dtype
    # Apple's GPUs have no float64.
    return xp.float32 if getattr(getattr(x, "device", None), "type", "") == "mps" else xp.float64


def positions(xp: Any, like: Any, axis: int) -> Any:
    """0, 1, ..., n - 1 along `axis`, with length 1 along the others, on the device of `like`."""
    n = like.shape[axis]
    shape = [1] * like.ndim
    shape[axis] = n
    if getattr(xp, "__name__", "") == "jax.numpy":
        # Traced arrays have no device, and JAX may lower this where 64-bit integers are switched off.
        return xp.reshape(xp.arange(n, dtype=xp.int32), tuple(shape))
    return xp.reshape(xp.arange(n, dtype=xp.int64, device=like.device), tuple(shape))
