"""Who takes part: each computes the mean loss and its gradients, from fresh leaves, by `backward`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import softmax as sm
from benchmarks.nn.cases import LINEAR, UPSTREAM, Case

F = torch.nn.functional
OURS = "softmax"
Loss = Callable[..., Tensor]


def _dense(x: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(x, weight), target)


def _chunked(x: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    from torch.nn.modules.linear_cross_entropy_options import LinearCrossEntropyOptions

    return F.linear_cross_entropy(x, weight, target, options=LinearCrossEntropyOptions())


def losses(case: Case) -> dict[str, Loss]:
    """Name and loss of every contender of a case."""
    if case.kind == LINEAR:
        found: dict[str, Loss] = {OURS: sm.linear_cross_entropy, "torch": _dense}
        if hasattr(F, "linear_cross_entropy"):
            found["torch linear_cross_entropy"] = _chunked
        found["torch.compile"] = torch.compile(_dense, dynamic=False)
        return found
    return {
        OURS: sm.cross_entropy,
        "torch": F.cross_entropy,
        "torch.compile": torch.compile(F.cross_entropy, dynamic=False),
    }


def step(loss: Loss, arrays: dict[str, Any]) -> tuple[Callable[[], Tensor], list[Tensor]]:
    """One forward and backward pass, which returns the loss, and the tensors that get the gradients."""
    leaves = [a.clone().requires_grad_() for name, a in arrays.items() if name != "target"]
    target = arrays["target"]

    def call() -> Tensor:
        for leaf in leaves:
            leaf.grad = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = loss(*leaves, target)
            value.backward(torch.full_like(value, UPSTREAM))
        return value.detach()

    return call, leaves
