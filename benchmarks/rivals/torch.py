"""PyTorch: its own CPU kernels, oneDNN's through `to_mkldnn`, and `torch.masked`."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cross_entropy

from benchmarks.registry import Case
from benchmarks.rivals import Implementation

NAME = "PyTorch"
DISTRIBUTION = "torch"
NOTE = (
    "tensors over the same memory (torch.from_numpy), a new result each call, torch.set_num_threads; forward in "
    "no_grad, gradients by torch.autograd.grad (forward plus backward). oneDNN: the input is already in its "
    "layout, the result too; float32 only. Masked: masked_fill with -inf, then softmax; and torch.masked.softmax."
)


def _forward(name: str, call: Any) -> Implementation:
    return Implementation(name, call, _to_numpy, context=torch.no_grad)


def _vjp(x: Any, g: Any, axis: int) -> Any:
    return torch.autograd.grad(torch.softmax(x, axis), x, g)[0]


def _cross_entropy_and_grad(x: Any, target: Any) -> tuple[Any, Any]:
    loss = cross_entropy(x, target)
    return loss, torch.autograd.grad(loss, x)[0]


def _masked_implementations(x: Any, keep: Any, axis: int) -> list[Implementation]:
    drop = ~keep
    ways = {
        NAME: lambda: torch.softmax(x.masked_fill(drop, -torch.inf), axis),
        f"{NAME} (torch.masked)": lambda: torch.masked.softmax(x, axis, mask=keep),
    }
    return [_forward(name, call) for name, call in ways.items()]


def _to_numpy(result: Any) -> tuple[Any, ...]:
    tensors = result if isinstance(result, tuple) else (result,)
    return tuple((t.to_dense() if t.is_mkldnn else t).detach().numpy() for t in tensors)


def implementations(case: Case, arrays: dict[str, Any], threads: int) -> list[Implementation]:
    """Return PyTorch's ways to compute the case."""
    torch.set_num_threads(threads)
    x, axis = torch.from_numpy(arrays["x"]), case.axis
    if case.operation == "masked_softmax":
        return _masked_implementations(x, torch.from_numpy(arrays["where"]), axis)
    if case.operation == "softmax_vjp":
        leaf, g = x.requires_grad_(), torch.from_numpy(arrays["g"])
        return [Implementation(NAME, lambda: _vjp(leaf, g, axis), _to_numpy)]
    if case.operation == "cross_entropy_and_grad":
        leaf, target = x.requires_grad_(), torch.from_numpy(arrays["target"])
        return [Implementation(NAME, lambda: _cross_entropy_and_grad(leaf, target), _to_numpy)]
    function = getattr(torch, case.operation)
    ways = [_forward(NAME, lambda: function(x, axis))]
    if case.operation == "softmax" and x.dtype is torch.float32 and torch.backends.mkldnn.is_available():
        inside = x.to_mkldnn()
        ways.append(_forward(f"{NAME} (oneDNN)", lambda: torch.softmax(inside, axis)))
    return ways
