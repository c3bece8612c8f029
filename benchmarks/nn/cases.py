"""The cases and their data: logits as a network in training has them, with targets that they predict half well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

DTYPES = ("float32", "bfloat16")
LINEAR, LOGITS = "linear", "logits"
UPSTREAM = 0.5  # what flows back: at 1 some implementations leave a multiplication out


@dataclass(frozen=True)
class Case:
    """N rows, D features (0 where the logits are given), V classes."""

    n: int
    d: int
    v: int

    @property
    def kind(self) -> str:
        """Whether the linear layer belongs to it."""
        return LINEAR if self.d else LOGITS

    @property
    def id(self) -> str:
        """N × D × V, or N × V."""
        return "x".join(str(size) for size in (self.n, self.d, self.v) if size)

    @property
    def flop(self) -> float:
        """Operations of the three products of matrices."""
        return 6.0 * self.n * self.d * self.v


CASES = (
    Case(4096, 512, 32_000),
    Case(1024, 768, 50_257),
    Case(8192, 256, 1000),
    Case(16_384, 64, 100),
    Case(1024, 0, 32_000),
    Case(8192, 0, 1000),
    Case(16_384, 0, 100),
)
BY_ID = {case.id: case for case in CASES}


def data(case: Case, dtype: str) -> dict[str, Any]:
    """Features, weights and targets; or logits and targets. The logits have a standard deviation of 3."""
    make = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=make)

    kind = getattr(torch, dtype)
    target = torch.empty(case.n, dtype=torch.long)
    if case.kind == LOGITS:
        logits = 3 * normal(case.n, case.v)
        arrays = {"logits": logits.to(kind)}
    else:
        x, weight = normal(case.n, case.d), 3 * normal(case.v, case.d) / case.d**0.5
        arrays = {"x": x.to(kind), "weight": weight.to(kind)}
    for start in range(0, case.n, 256):
        rows = slice(start, start + 256)
        z = logits[rows] if case.kind == LOGITS else x[rows] @ weight.t()
        uniform = torch.rand(z.shape, generator=make).clamp(min=1e-30)
        target[rows] = (z - torch.log(-torch.log(uniform))).argmax(1)  # drawn from the softmax of z
    return {**arrays, "target": target}


def truth(case: Case, arrays: dict[str, Any]) -> dict[str, Any]:
    """Loss and gradients in float64, a few rows at a time."""
    n, target = case.n, arrays["target"]
    total = 0.0
    if case.kind == LOGITS:
        z = arrays["logits"].double()
        gradient = (UPSTREAM / n) * torch.softmax(z, 1)
        gradient[torch.arange(n), target] -= UPSTREAM / n
        return {"loss": torch.nn.functional.cross_entropy(z, target), "logits": gradient}
    x, weight = arrays["x"].double(), arrays["weight"].double()
    by_x, by_weight = torch.empty_like(x), torch.zeros_like(weight)
    for start in range(0, n, 256):
        rows = slice(start, min(start + 256, n))
        z = x[rows] @ weight.t()
        total += float(torch.nn.functional.cross_entropy(z, target[rows], reduction="sum"))
        gradient = (UPSTREAM / n) * torch.softmax(z, 1)
        gradient[torch.arange(len(z)), target[rows]] -= UPSTREAM / n
        by_x[rows] = gradient @ weight
        by_weight += gradient.t() @ x[rows]
    return {"loss": torch.tensor(total / n), "x": by_x, "weight": by_weight}
