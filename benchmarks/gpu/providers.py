"""Who computes a case: ours and its peers, each as a function of the same tensors.

A provider's `build(case, data)` returns a call without arguments, or None for what it does not do. A call returns the
results to check: the probabilities or their derivative; or the loss, with the gradients where there are any. What has
to be fresh for every call, as for peers that write over their input, comes from `fresh(case, data)` outside the clock.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch

import softmax as sm

from .cases import Case

F = torch.nn.functional

Call = Callable[[], tuple[Any, ...]]
UPSTREAM = 0.7  # some peers skip the scaling of the gradient at exactly 1


class Data:
    """The tensors of a case."""

    def __init__(self, case: Case, device: str) -> None:
        generator = torch.Generator(device=device).manual_seed(case.number)
        dtype = getattr(torch, case.dtype)

        def normal(*shape: int) -> Any:
            return torch.randn(*shape, dtype=dtype, device=device, generator=generator)

        n, v = case.rows, case.classes
        self.target = torch.randint(0, v, (n,), device=device, generator=generator)
        self.x = self.weight = self.logits = self.cotangent = self.probabilities = None
        if case.features:
            self.x = normal(n, case.features)
            self.weight = normal(v, case.features).mul_((0.1 if case.flat else 2.0) / case.features**0.5)
        else:
            self.logits = normal(n, v).mul_(0.1 if case.flat else 2.0)
            if not case.flat:
                self.logits[torch.arange(n, device=device), self.target] += 8  # as after training
        if case.part == "backward":
            self.cotangent = normal(n, v)
        if case.probabilities:
            self.probabilities = torch.softmax(normal(n, v).float(), 1)
        if case.ignored:
            self.target[torch.rand(n, device=device, generator=generator) < case.ignored] = -100
        self.class_weight = (
            torch.rand(v, device=device, generator=generator) + 0.5 if "weight" in case.options else None
        )

    def options(self, case: Case) -> dict[str, Any]:
        """Return the options of a loss by PyTorch's names."""
        found = {key: value for key, value in case.options.items() if key != "weight"}
        return found | ({} if self.class_weight is None else {"weight": self.class_weight})


def _gradients(loss: Any, *leaves: Any) -> tuple[Any, ...]:
    return torch.autograd.grad(loss, leaves, torch.full_like(loss, UPSTREAM))


def _with_autograd(case: Case, data: Data, loss: Callable[..., Any]) -> Call:
    """The loss of the leaves; with the gradients but in a forward case."""
    given = [t for t in (data.logits, data.x, data.weight) if t is not None]
    if case.part == "forward":

        def forward() -> tuple[Any, ...]:
            with torch.no_grad():
                return (loss(*given),)

        return forward
    leaves = [t.detach().requires_grad_() for t in given]

    def both() -> tuple[Any, ...]:
        value = loss(*leaves)
        return value.detach(), *_gradients(value, *leaves)

    return both


class Ours:
    name = "softmax"
    distribution = "softmax"

    def build(self, case: Case, data: Data) -> Call | None:
        options = data.options(case) | ({"ignore_index": -100} if case.ignored else {})
        target = data.probabilities if case.probabilities else data.target
        if case.operation == "softmax":
            if case.part == "forward":
                return lambda: (sm.softmax(data.logits),)
            return lambda: (sm.softmax_vjp(data.logits, data.cotangent),)
        if case.operation == "linear_cross_entropy":
            return _with_autograd(case, data, lambda x, w: sm.linear_cross_entropy(x, w, target, **options))
        if case.part == "loss and gradient":
            return lambda: sm.cross_entropy_and_grad(data.logits, target, **options)
        return _with_autograd(case, data, lambda x: sm.cross_entropy(x, target, **options))


class Eager:
    name = "torch eager"
    distribution = "torch"

    def loss(self, case: Case, data: Data) -> Callable[..., Any]:
        target, options = data.probabilities if case.probabilities else data.target, data.options(case)
        if case.operation == "cross_entropy":
            return lambda x: F.cross_entropy(x.float() if case.dtype == "bfloat16" else x, target, **options)
        return lambda x, w: F.cross_entropy(F.linear(x, w).float(), target, **options)

    def build(self, case: Case, data: Data) -> Call | None:
        if case.operation == "linear_cross_entropy" and case.rows * case.classes > 5e9:
            return None  # the logits, their float32 copy and both gradients do not fit
        if case.operation == "softmax":
            if case.part == "forward":
                return lambda: (torch.softmax(data.logits, 1),)
            y = torch.softmax(data.logits, 1)
            return lambda: (torch._softmax_backward_data(data.cotangent, y, 1, y.dtype),)
        return _with_autograd(case, data, self.loss(case, data))


class Compiled(Eager):
    name = "torch.compile"

    def build(self, case: Case, data: Data) -> Call | None:
        if case.operation == "softmax":
            function = torch.compile(lambda x: torch.softmax(x, 1), dynamic=False)
            if case.part == "forward":
                return lambda: (function(data.logits),)
            backward = torch.compile(lambda g, y: y * (g - (g * y).sum(1, keepdim=True)), dynamic=False)
            y = torch.softmax(data.logits, 1)
            return lambda: (backward(data.cotangent, y),)
        return _with_autograd(case, data, torch.compile(self.loss(case, data), dynamic=False))


class Liger:
    name = "Liger"
    distribution = "liger-kernel"

    def build(self, case: Case, data: Data) -> Call | None:
        functional = importlib.import_module("liger_kernel.transformers.functional")
        if case.probabilities:
            return None
        options = data.options(case)
        ce_weight = {"ce_weight": options.pop("weight")} if "weight" in options else {}
        if case.operation == "softmax":
            if case.part == "forward":
                return lambda: (functional.liger_softmax(data.logits),)
            return None  # its backward is reached through its forward alone
        if case.operation == "linear_cross_entropy":
            loss = functional.liger_fused_linear_cross_entropy
            return _with_autograd(case, data, lambda x, w: loss(x, w, data.target, **ce_weight, **options))
        if case.part == "forward":
            return None  # it computes the gradient with the loss
        # It writes the gradient over the logits, so every call needs fresh ones; the clone is inside the clock here and
        # its time is reported beside.
        loss = functional.liger_cross_entropy
        return _with_autograd(case, data, lambda x: loss(x.clone(), data.target, **ce_weight, **options))


class Quack:
    name = "QuACK"
    distribution = "quack-kernels"

    def build(self, case: Case, data: Data) -> Call | None:
        if case.options or case.probabilities or case.ignored:
            return None
        if case.operation == "softmax":
            module = importlib.import_module("quack.softmax")
            if case.part == "forward":
                return lambda: (module.softmax(data.logits),)
            y = module.softmax(data.logits)
            return lambda: (module.softmax_bwd(data.cotangent, y),)
        if case.operation == "cross_entropy":
            loss = importlib.import_module("quack.cross_entropy").cross_entropy
            return _with_autograd(case, data, lambda x: loss(x, data.target, reduction="mean"))
        if case.classes % 8 or case.rows % 8:
            return None
        loss = importlib.import_module("quack.linear_cross_entropy").chunked_linear_cross_entropy
        return _with_autograd(case, data, lambda x, w: loss(x, w, data.target, reduction="mean"))


OURS = Ours()
PEERS = (Eager(), Compiled(), Liger(), Quack())
