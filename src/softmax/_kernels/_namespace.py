"""The array-API calls that the portable kernels use, for libraries that have a namespace and for PyTorch, which has none."""

from __future__ import annotations

import functools
import sys
from types import ModuleType, SimpleNamespace
from typing import Any


def namespace_of(x: Any) -> Any:
    """The array-API namespace of `x`; nothing is imported for it."""
    get = getattr(x, "__array_namespace__", None)
    if get is not None:
        return get()
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        return _torch_namespace(torch)
    return sys.modules[type(x).__module__.partition(".")[0]]


def cast(xp: Any, x: Any, dtype: Any) -> Any:
    """`x` in `dtype`, itself where it already is."""
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
    """The real dtype of the arithmetic: float64 for narrower input where the device has it, else the input's own."""
    if is_complex(xp, x):
        return xp.float64
    if itemsize(xp, x.dtype) >= 8:
        return x.dtype
    # Apple's GPUs have no float64.
    return xp.float32 if getattr(getattr(x, "device", None), "type", "") == "mps" else xp.float64


def positions(xp: Any, like: Any, n: int) -> Any:
    """0, 1, ..., n - 1 in the dtype and on the device of `like`."""
    if getattr(xp, "__name__", "") == "jax.numpy":
        return xp.arange(n, dtype=like.dtype)  # traced arrays have no device
    return xp.arange(n, dtype=like.dtype, device=like.device)


@functools.cache
def _torch_namespace(torch: ModuleType) -> SimpleNamespace:
    """PyTorch's functions under their array-API names; only what the portable kernels call."""
    t: Any = torch

    def reduction(name: str) -> Any:
        function = getattr(t, name)

        def reduce(x: Any, axis: int, keepdims: bool = False) -> Any:
            return function(x, dim=axis, keepdim=keepdims)

        return reduce

    def isdtype(dtype: Any, kind: str) -> bool:
        if kind == "complex floating":
            return bool(dtype.is_complex)
        raise NotImplementedError(kind)

    def arange(n: int, dtype: Any = None, device: Any = None) -> Any:
        return t.arange(n, dtype=dtype, device=device)

    names = (
        "exp log log1p expm1 tanh cosh abs where isfinite isnan maximum minimum zeros_like full_like atan2 sin cos real imag "
        "hypot ceil reshape broadcast_to concat complex64 complex128 float32 float64 int64 bool finfo"
    )
    return SimpleNamespace(
        **{name: getattr(t, name) for name in names.split()},
        astype=lambda x, dtype: x.to(dtype),
        max=reduction("amax"),
        min=reduction("amin"),
        sum=reduction("sum"),
        any=reduction("any"),
        all=reduction("all"),
        argmax=reduction("argmax"),
        squeeze=lambda x, axis: t.squeeze(x, axis),
        expand_dims=lambda x, axis: t.unsqueeze(x, axis),
        take_along_axis=lambda x, indices, axis: t.take_along_dim(x, indices, axis),
        sign=t.sgn,
        result_type=t.promote_types,
        isdtype=isdtype,
        arange=arange,
    )
