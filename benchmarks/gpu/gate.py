"""Whether results of ours are right: the first and last rows of a case against float64, before anything is timed."""

from __future__ import annotations

from typing import Any

import torch

from .cases import Case
from .providers import UPSTREAM, Data

F = torch.nn.functional
CHECKED = 32  # rows from each end
EPS = {"float32": 2.0**-23, "bfloat16": 2.0**-7}


def check(case: Case, data: Data, results: tuple[Any, ...]) -> list[str]:
    """Return a line for each result that is wrong, none if all is right."""
    wrong = []
    for name, got, truth, allowed in _compare(case, data, results):
        error = (got.double() - truth).abs()
        if not (error <= allowed).all():
            excess = float((error / allowed).nan_to_num(nan=float("inf")).max())
            wrong.append(f"{case.name}: {name} is off by {excess:.3g} times what is allowed")
    return wrong


def _ends(n: int, device: Any) -> Any:
    rows = torch.arange(n, device=device)
    return rows if n <= 2 * CHECKED else torch.cat([rows[:CHECKED], rows[-CHECKED:]])


def _compare(case: Case, data: Data, results: tuple[Any, ...]) -> Any:
    """(name, result, exact, allowed error) of everything that is looked at."""
    device = data.target.device
    some = _ends(case.rows, device)
    eps = EPS[case.dtype]
    if case.operation == "softmax":
        x = data.logits[some].double()
        p = torch.softmax(x, 1)
        if case.part == "forward":
            yield "the probabilities", results[0][some], p, eps * p + 1e-40
            return
        g = data.cotangent[some].double()
        size = g.abs().amax(1, keepdim=True)
        yield "the derivative", results[0][some], p * (g - (p * g).sum(1, keepdim=True)), 4 * eps * p * size + 1e-30
        return
    loss, *gradients = results
    exact, by_row, total = _losses(case, data, some)
    if case.rows == len(some):
        yield "the loss", loss, exact.sum() / total, 1e-6 * (exact.sum() / total).abs().clamp(min=1)
    if not gradients:
        return
    upstream = UPSTREAM if case.part == "autograd" else 1.0
    scaled = by_row * (upstream / total)
    if not case.features:
        yield "the gradient", gradients[0][some], scaled, eps * scaled.abs() + 2.0**-21 * (upstream / total)
        return
    # logits of a linear layer are rounded to bfloat16 before and after they become gradients
    exact_x = scaled @ data.weight.double()
    size = scaled.abs() @ data.weight.double().abs()
    yield "the gradient of x", gradients[0][some], exact_x, 8 * eps * size + 1e-12
    if case.rows == len(some):
        exact_w = scaled.t() @ data.x[some].double()
        yield (
            "the gradient of the weights",
            gradients[1],
            exact_w,
            8 * eps * scaled.abs().t() @ data.x[some].double().abs(),
        )


def _losses(case: Case, data: Data, some: Any) -> tuple[Any, Any, Any]:
    """Losses of some rows and their gradients in the logits, and what a mean over all rows divides by."""
    options = {key: value.double() if torch.is_tensor(value) else value for key, value in data.options(case).items()}
    z = data.x[some] @ data.weight.t() if case.features else data.logits[some]
    z = z.double().requires_grad_()
    target = data.probabilities[some].double() if case.probabilities else data.target[some]
    losses = F.cross_entropy(z, target, reduction="none", **options)
    (gradient,) = torch.autograd.grad(losses.sum(), z)
    total: Any = float(case.rows)
    if not case.probabilities:
        kept = data.target[data.target != -100]
        total = float(len(kept)) if "weight" not in options else options["weight"][kept].sum()
    return losses.detach(), gradient, total
