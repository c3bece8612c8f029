"""Whether results of ours are right, before anything is timed: the loss of all rows, the rest at both ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from .cases import Case
from .providers import UPSTREAM, Data

F = torch.nn.functional

CHECKED = 32  # rows, or classes, from each end
CHUNK = 2**26  # logits in float64 at a time
EPS = {"float32": 2.0**-23, "bfloat16": 2.0**-7}

# What is compared: name, result, exact value, allowed error.
Comparison = tuple[str, Any, Any, Any]


def check(case: Case, data: Data, results: tuple[Any, ...]) -> list[str]:
    """Return a line for each result that is wrong, none if all is right."""
    wrong = []
    compare = _softmax if case.operation == "softmax" else _loss
    for name, got, truth, allowed in compare(case, data, *results):
        error = (got.double() - truth).abs()
        if not (error <= allowed).all():
            excess = float((error / allowed).nan_to_num(nan=float("inf")).max())
            wrong.append(f"{case.name}: {name} is off by {excess:.3g} times what is allowed")
    return wrong


def ends(n: int, device: Any) -> Any:
    """Return the first and the last numbers below n."""
    numbers = torch.arange(n, device=device)
    return numbers if n <= 2 * CHECKED else torch.cat([numbers[:CHECKED], numbers[-CHECKED:]])


def _softmax(case: Case, data: Data, result: Any) -> Iterator[Comparison]:
    some, eps = ends(case.rows, result.device), EPS[case.dtype]
    p = torch.softmax(data.logits[some].double(), 1)
    if case.part == "forward":
        yield "softmax", result[some], p, eps * p + 1e-40
        return
    g = data.cotangent[some].double()
    exact = p * (g - (p * g).sum(1, keepdim=True))
    yield "the derivative", result[some], exact, 4 * eps * p * g.abs().amax(1, keepdim=True) + 1e-30


def _loss(case: Case, data: Data, loss: Any, *gradients: Any) -> Iterator[Comparison]:
    some, eps = ends(case.rows, loss.device), EPS[case.dtype]
    losses, normaliser = _all_rows(case, data)
    total = _denominator(case, data)
    mean = losses.sum() / total
    yield "the loss", loss, mean, (1e-6 if not case.features else eps) * mean.abs().clamp(min=1)
    if not gradients:
        return
    upstream = (UPSTREAM if case.part == "autograd" else 1.0) / total
    z = _logits(case, data, some).requires_grad_()
    (by_row,) = torch.autograd.grad(_row_losses(case, data, z, some).sum() * upstream, z)
    if not case.features:
        yield "the gradient", gradients[0][some], by_row, eps * by_row.abs() + 2.0**-21 * upstream
        return
    # The logits of the layer are rounded once before and once after they become their gradient.
    weight, x = data.weight, data.x
    by_x, size = by_row @ weight.double(), by_row.abs() @ weight.double().abs()
    yield "the gradient of x", gradients[0][some], by_x, 8 * eps * size + 1e-12
    classes = ends(case.classes, loss.device)
    p = torch.exp((x @ weight[classes].t()).double() - normaliser[:, None])
    by_class = (p - (data.target[:, None] == classes).double()) * upstream
    exact, size = by_class.t() @ x.double(), by_class.abs().t() @ x.double().abs()
    yield "the gradient of the weights", gradients[1][classes], exact, 8 * eps * size + 1e-12


def _all_rows(case: Case, data: Data) -> tuple[Any, Any]:
    """Losses and normalisers of all rows, some rows at a time."""
    losses, normalisers = [], []
    step = max(1, CHUNK // case.classes)
    for rows in torch.arange(case.rows, device=data.target.device).split(step):
        z = _logits(case, data, rows)
        losses.append(_row_losses(case, data, z, rows))
        normalisers.append(torch.logsumexp(z, 1))
    return torch.cat(losses), torch.cat(normalisers)


def _logits(case: Case, data: Data, rows: Any) -> Any:
    z = data.x[rows] @ data.weight.t() if case.features else data.logits[rows]
    return z.double()


def _row_losses(case: Case, data: Data, z: Any, rows: Any) -> Any:
    target = data.probabilities[rows].double() if case.probabilities else data.target[rows]
    return F.cross_entropy(z, target, reduction="none", **_options(case, data))


def _options(case: Case, data: Data) -> dict[str, Any]:
    return {key: value.double() if torch.is_tensor(value) else value for key, value in data.options(case).items()}


def _denominator(case: Case, data: Data) -> Any:
    """What the mean divides by."""
    if case.probabilities:
        return float(case.rows)
    kept = data.target[data.target != -100]
    weight = _options(case, data).get("weight")
    return float(len(kept)) if weight is None else weight[kept].sum()
