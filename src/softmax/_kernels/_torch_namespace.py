"""PyTorch's functions under their array-API names and arguments: those that the portable kernels call, no more."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import (
    abs,
    arange,
    atan2,
    bool,
    broadcast_to,
    ceil,
    complex64,
    complex128,
    cos,
    cosh,
    exp,
    expm1,
    finfo,
    float32,
    float64,
    full_like,
    hypot,
    imag,
    int64,
    isfinite,
    isnan,
    log,
    log1p,
    promote_types,
    real,
    reshape,
    sgn,
    sin,
    squeeze,
    tanh,
    unsqueeze,
    where,
    zeros_like,
)

from . import _namespace

__all__ = [
    "abs",
    "all",
    "any",
    "arange",
    "astype",
    "atan2",
    "bool",
    "broadcast_to",
    "ceil",
    "complex64",
    "complex128",
    "cos",
    "cosh",
    "exp",
    "expand_dims",
    "expm1",
    "finfo",
    "float32",
    "float64",
    "full_like",
    "hypot",
    "imag",
    "int64",
    "isdtype",
    "isfinite",
    "isnan",
    "log",
    "log1p",
    "max",
    "min",
    "real",
    "reshape",
    "result_type",
    "sign",
    "sin",
    "squeeze",
    "sum",
    "tanh",
    "where",
    "zeros_like",
]

result_type = promote_types


def astype(x: Any, dtype: Any) -> Any:
    return x.to(dtype)


def isdtype(dtype: Any, kind: str) -> Any:
    if kind != "complex floating":
        raise NotImplementedError(kind)
    return dtype.is_complex


def max(x: Any, *, axis: int, keepdims: Any = False) -> Any:
    return torch.amax(x, axis, keepdim=keepdims)


def min(x: Any, *, axis: int, keepdims: Any = False) -> Any:
    return torch.amin(x, axis, keepdim=keepdims)


def sum(x: Any, *, axis: int, keepdims: Any = False) -> Any:
    return torch.sum(x, axis, keepdim=keepdims)


def any(x: Any, *, axis: int, keepdims: Any = False) -> Any:
    return torch.any(x, axis, keepdim=keepdims)


def all(x: Any, *, axis: int, keepdims: Any = False) -> Any:
    return torch.all(x, axis, keepdim=keepdims)


def expand_dims(x: Any, *, axis: int) -> Any:
    return unsqueeze(x, axis)


def sign(x: Any) -> Any:
    return where(isnan(x), x, sgn(x))  # sgn knows complex numbers, but takes nan for 0


_namespace.torch_namespace = sys.modules[__name__]
