"""Expectations and probabilities over finitely many outcomes, and integrals by quadrature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import _ast as ast
from . import _dual as dual
from ._arrays import Val
from ._dual import Array
from ._errors import NotUnderstoodError
from ._shapes import SUPPORT

if TYPE_CHECKING:
    from ._evaluate import Evaluator

OUTCOMES = 6
NODES = 241  # of the double exponential rule; every other one is the check
REACH = 4.0


def expectation(ev: Evaluator, node: ast.Expect) -> Val:
    """E, Var or Cov over a joint law of the random names with finitely many outcomes."""
    if node.op == "E" and node.over and node.law.lower() in ev.scope.laws:
        weight = ast.Prob(node.law.lower(), tuple(ast.Event("var", (name,)) for name in node.over))
        total = ast.Big("sum", node.over, None, None, (), ast.Mul(weight, node.args[0]))
        return ev.value(total)
    if node.law and not node.over:
        raise NotUnderstoodError("an expectation whose variable is not named", node.start, node.end)
    names = sorted(ev.scope.random_names)
    if not any(ast.symbols(arg) & set(names) for arg in node.args) and not node.over:
        raise NotUnderstoodError("an expectation of something that is not random", node.start, node.end)
    if any(isinstance(part, ast.Expect) for arg in node.args for part in ast.walk(arg)):
        ev.nodes += 200
    weights, tables = _outcomes(ev, names)
    with ev.axis(weights.shape[-1]):
        kept = dict(ev.locals)
        front = (weights.shape[-1],) + (1,) * (ev.depth - 2) + (ev.points,)
        for name in names:
            ev.locals[name] = Val(np.moveaxis(tables[name], -1, 0).reshape(front))
        weight = np.moveaxis(weights, -1, 0).reshape(front)
        values = [ev.scalar(arg) for arg in node.args]
        ev.locals = kept
        depth = ev.depth

        def mean(array: Array) -> Array:
            return dual.linear(lambda x: _front_sum(x * weight, depth), array)

        first = mean(values[0])
        if node.op == "E":
            return Val(first)
        other = values[1] if node.op == "Cov" and len(values) > 1 else values[0]
        return Val(dual.sub(mean(dual.mul(values[0], other)), dual.mul(first, mean(other))))


def _front_sum(x: Any, depth: int) -> Any:
    return np.sum(x, axis=0) if x.ndim == depth else x


def _outcomes(ev: Evaluator, names: list[str]) -> tuple[Any, dict[str, Any]]:
    """Weights (points, outcomes), and for each name its value at each outcome."""
    if not ev.independent:
        raw = np.exp(ev.domains.table("outcomes", (ev.points, OUTCOMES)))
        tables = {name: _values(ev, name, (ev.points, OUTCOMES)) for name in names}
        return raw / raw.sum(axis=-1, keepdims=True), tables
    count = 3 ** len(names)
    if count > 250:
        raise NotUnderstoodError("too many random variables")
    weights = np.ones((ev.points, count))
    tables = {}
    for place, name in enumerate(names):
        digits = np.arange(count) // 3**place % 3
        raw = np.exp(ev.domains.table(f"law of {name}", (ev.points, 3)))
        weights = weights * (raw / raw.sum(axis=-1, keepdims=True))[:, digits]
        tables[name] = _values(ev, name, (ev.points, 3))[:, digits]
    return weights, tables


def _values(ev: Evaluator, name: str, shape: tuple[int, int]) -> Any:
    from ._domains import draw

    domain = ev.domains.domain(name, 0)
    return draw(domain, ev.domains.generator(f"values of {name}"), shape, 0)


def probability(ev: Evaluator, node: ast.Prob) -> Val:
    """P(events | given) under a joint law of all variables of that name."""
    names = ev.scope.laws[node.name]
    count = SUPPORT ** len(names)
    if count > 250:
        raise NotUnderstoodError("a law of too many variables", node.start, node.end)
    weights = law(ev, node.name)
    outcomes = np.arange(count)
    digits = {name: outcomes // SUPPORT**place % SUPPORT for place, name in enumerate(names)}
    given = _happens(ev, node.given, digits)
    both = np.logical_and(_happens(ev, node.events, digits), given)
    top = np.sum(weights * both, axis=-1)
    bottom = np.sum(weights * given, axis=-1)
    return Val(top / bottom)


def law(ev: Evaluator, name: str) -> Any:
    """The joint law of that name: (points, outcomes)."""
    names = ev.scope.laws[name]
    if ev.independent:
        weights = np.ones((ev.points, SUPPORT ** len(names)))
        for place, variable in enumerate(names):
            digits = np.arange(weights.shape[1]) // SUPPORT**place % SUPPORT
            one = np.exp(ev.domains.table(f"law {name} of {variable}", (ev.points, SUPPORT)))
            weights = weights * (one / one.sum(axis=-1, keepdims=True))[:, digits]
        return weights
    raw = np.exp(ev.domains.table(f"law {name}", (ev.points, SUPPORT ** len(names))))
    return raw / raw.sum(axis=-1, keepdims=True)


def _happens(ev: Evaluator, events: tuple[ast.Event, ...], digits: dict[str, Any]) -> Any:
    out: Any = np.ones((1, 1), dtype=bool)
    for event in events:
        out = np.logical_and(out, _one(ev, event, digits))
    return out


def _one(ev: Evaluator, event: ast.Event, digits: dict[str, Any]) -> Any:
    if event.op == "not":
        return np.logical_not(_one(ev, event.args[0], digits))
    if event.op in ("and", "or"):
        join = np.logical_and if event.op == "and" else np.logical_or
        return join(_one(ev, event.args[0], digits), _one(ev, event.args[1], digits))
    name = event.args[0]
    if event.op == "at":
        value = dual.primal(ev.scalar(event.args[1]))
        positions = (np.rint(value).astype(int) - 1) % 3
    else:
        index = ev.indices.get(name)
        if index is None:
            raise NotUnderstoodError(f"no value is known for {name}", event.start, event.end)
        positions = np.asarray(index.values) - 1
    return positions[..., None] == digits[name]


# --- integrals ---


def integral(ev: Evaluator, node: ast.Integral) -> Val:
    """Quadrature by the double exponential rule; a variable of a probability is summed over its values instead."""
    if node.name in ev.scope.support_names:
        return ev.value(ast.Big("sum", (node.name,), None, None, (), node.body, start=node.start, end=node.end))
    low = -np.inf if node.lower is None else dual.primal(ev.scalar(node.lower))
    high = np.inf if node.upper is None else dual.primal(ev.scalar(node.upper))
    t = np.linspace(-REACH, REACH, NODES)
    with ev.axis(NODES):
        t = t.reshape((NODES,) + (1,) * (ev.depth - 1))
        x, weight = _rule(t, np.asarray(low, dtype=float), np.asarray(high, dtype=float))
        kept = dict(ev.locals)
        ev.locals[node.name] = Val(x)
        hidden = ev.indices.pop(node.name, None)
        body = ev.scalar(node.body)
        ev.locals = kept
        if hidden is not None:
            ev.indices[node.name] = hidden
        depth = ev.depth

    def total(array: Any) -> Any:
        array = np.asarray(array, dtype=float)
        far = ~np.isfinite(array * weight) & (np.abs(x) > 50)
        terms = np.where(far, 0.0, array * np.where(far, 0.0, weight))
        if terms.ndim < depth:
            terms = np.broadcast_to(terms, (NODES, *np.shape(terms)))
        fine = terms.sum(axis=0)
        coarse = 2 * terms[::2].sum(axis=0)
        unsure = np.abs(fine - coarse) > 1e-9 * (np.abs(fine) + np.abs(terms).sum(axis=0))
        return np.where(unsure, np.nan, fine)

    return Val(dual.linear(total, body))


def _rule(t: Any, low: Any, high: Any) -> tuple[Any, Any]:
    step = 2 * REACH / (NODES - 1)
    half = np.pi / 2
    with np.errstate(over="ignore"):
        if np.isinf(low).all() and np.isinf(high).all():
            return np.sinh(half * np.sinh(t)), step * half * np.cosh(t) * np.cosh(half * np.sinh(t))
        if np.isinf(high).all():
            grown = np.exp(half * np.sinh(t))
            return low + grown, step * half * np.cosh(t) * grown
        if np.isinf(low).all():
            grown = np.exp(half * np.sinh(t))
            return high - grown, step * half * np.cosh(t) * grown
        middle, reach = (high + low) / 2, (high - low) / 2
        place = np.tanh(half * np.sinh(t))
        return middle + reach * place, step * reach * half * np.cosh(t) / np.cosh(half * np.sinh(t)) ** 2
