"""Functions: known ones, those of this library, those a note defines, and generic ones that stand for any."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _ast as ast
from . import _chance
from . import _dual as dual
from ._arrays import Val, reduce
from ._dual import Array, Dual
from ._errors import NotUnderstoodError
from ._names import ELEMENTWISE, LIBRARY

if TYPE_CHECKING:
    from ._evaluate import Evaluator

_ELEMENTWISE: dict[str, Callable[[Array], Array]] = {
    "exp": dual.exp, "log": dual.log, "sin": dual.sin, "cos": dual.cos, "tan": dual.tan, "sinh": dual.sinh,
    "cosh": dual.cosh, "tanh": dual.tanh, "arcsin": dual.arcsin, "arccos": dual.arccos, "arctan": dual.arctan,
    "sigmoid": dual.sigmoid, "sigma": dual.sigmoid, "logit": dual.logit, "relu": dual.relu, "softplus": dual.softplus,
    "sign": dual.sign, "erf": dual.erf, "abs": dual.absolute, "sqrt": dual.sqrt, "artanh": dual.artanh,
    "cot": lambda a: dual.reciprocal(dual.tan(a)), "sec": lambda a: dual.reciprocal(dual.cos(a)),
    "csc": lambda a: dual.reciprocal(dual.sin(a)), "odds": lambda a: dual.div(a, dual.sub(1.0, a)),
    "silu": lambda a: dual.mul(a, dual.sigmoid(a)),
}  # fmt: skip


def call(ev: Evaluator, node: ast.Call) -> Val:
    """Evaluate a call, with derivatives by its only argument where it has primes."""
    if not node.args:
        definition = ev.scope.functions.get(node.name)
        if definition is None or len(definition.parameters) != 1:
            raise NotUnderstoodError(f"{node.name} is not defined in this note", node.start, node.end)
        args = [ev.value(ast.Sym(definition.parameters[0]))]
    elif node.name in ("kl", "H") and all(
        isinstance(arg, ast.Sym) and arg.name.lower() in ev.scope.laws for arg in node.args
    ):
        args = [Val(_chance.law(ev, arg.name.lower()), 1) for arg in node.args]  # type: ignore[attr-defined]
    else:
        args = [ev.value(arg) for arg in node.args]
    if not node.primes:
        return _apply(ev, node, args)
    if len(args) != 1:
        raise NotUnderstoodError("a prime on a function of several arguments", node.start, node.end)
    outer = ev.tags
    if outer + node.primes > 4:
        raise NotUnderstoodError("a derivative of a high order", node.start, node.end)
    value = args[0]
    if value.rank and node.name not in _ELEMENTWISE and node.name not in ev.scope.functions:
        raise NotUnderstoodError("a prime on a function of a vector", node.start, node.end)
    for order in range(node.primes):
        value = Val(
            Dual(value.array, np.ones(np.shape(dual.primal(value.array))), outer + order + 1), value.rank, value.row
        )
    kept, ev.cache = ev.cache, {}
    ev.tags = outer + node.primes
    found = _apply(ev, node, [value])
    ev.tags, ev.cache = outer, kept
    array = found.array
    for order in reversed(range(node.primes)):
        array = dual.slope_of(array, outer + order + 1)
    return Val(array, found.rank, found.row)


def _apply(ev: Evaluator, node: ast.Call, args: list[Val]) -> Val:

    name = node.name
    if name in ev.scope.functions and name not in LIBRARY:
        return ev.apply(ev.scope.functions[name], args)
    if name in ELEMENTWISE or (name == "sigma" and name not in ev.scope.functions):
        return Val(_ELEMENTWISE[name](args[0].array), args[0].rank, args[0].row)
    if name in LIBRARY:
        function = {"softmax": softmax, "logsoftmax": log_softmax, "lse": log_sum_exp}[name]
        return Val(function(args[0].array), 0 if name == "lse" else 1)
    special = _SPECIAL.get(name)
    if special is not None:
        return special(ev, args)
    if name in ("max", "min"):
        return _extreme(name, args)
    if name in ev.scope.generic:
        return Val(_generic(ev, name, args))
    raise NotUnderstoodError(f"no meaning is known for the function {name}", node.start, node.end)


# --- this library ---


def softmax(a: Array) -> Array:
    """The library's softmax, and its derivative diag(p) - p pᵀ."""
    if isinstance(a, Dual):
        p = softmax(a.value)
        weighted = dual.mul(p, a.slope)
        mean = dual.linear(lambda x: np.sum(x, axis=-1, keepdims=True), weighted)
        return Dual(p, dual.sub(weighted, dual.mul(p, mean)), a.tag)
    import softmax as sm

    return sm.softmax(np.ascontiguousarray(a))


def log_softmax(a: Array) -> Array:
    if isinstance(a, Dual):
        mean = dual.linear(lambda x: np.sum(x, axis=-1, keepdims=True), dual.mul(softmax(a.value), a.slope))
        return Dual(log_softmax(a.value), dual.sub(a.slope, mean), a.tag)
    import softmax as sm

    return sm.log_softmax(np.ascontiguousarray(a))


def log_sum_exp(a: Array) -> Array:
    if isinstance(a, Dual):
        return Dual(log_sum_exp(a.value), dual.sum_last(dual.mul(softmax(a.value), a.slope)), a.tag)
    import softmax as sm

    return np.asarray(sm.logsumexp(np.ascontiguousarray(a)))


# --- the others ---


def _entropy(ev: Evaluator, args: list[Val]) -> Val:

    log = dual.log(args[-1].array)
    return Val(dual.neg(dual.sum_last(dual.mul(args[0].array, log))))


def _divergence(ev: Evaluator, args: list[Val]) -> Val:

    p, q = (arg.array for arg in args)
    return Val(dual.sum_last(dual.mul(p, dual.sub(dual.log(p), dual.log(q)))))


def _diagonal(ev: Evaluator, args: list[Val]) -> Val:

    value = args[0]
    if value.rank == 1:
        return Val(dual.linear(lambda x: x[..., None] * np.eye(x.shape[-1]), value.array), 2)
    return Val(dual.linear(lambda x: np.diagonal(x, axis1=-2, axis2=-1), value.array), 1)


def _trace(ev: Evaluator, args: list[Val]) -> Val:

    if args[0].row:
        raise NotUnderstoodError("the trace of an identity matrix of unknown size")
    return Val(dual.linear(lambda x: np.trace(x, axis1=-2, axis2=-1), args[0].array))


def _determinant(ev: Evaluator, args: list[Val]) -> Val:

    if args[0].row:
        return Val(np.ones(()))
    return Val(dual.determinant(args[0].array))


def _logarithm(ev: Evaluator, args: list[Val]) -> Val:

    return Val(dual.div(dual.log(args[1].array), dual.log(args[0].array)), args[1].rank, args[1].row)


def _normal(ev: Evaluator, args: list[Val]) -> Val:
    """The Gaussian density at args[0] of the mean args[1] and the variance or covariance args[2]."""
    x, mean, variance = args
    difference = dual.sub(x.array, mean.array)
    if variance.rank == 0:
        square = dual.div(dual.square(difference), dual.mul(-2.0, variance.array))
        return Val(dual.div(dual.exp(square), dual.sqrt(dual.mul(2 * np.pi, variance.array))))
    column = dual.linear(lambda a: a[..., None], difference)
    line = dual.linear(lambda a: a[..., None, :], difference)
    form = dual.matmul(dual.matmul(line, dual.inverse(variance.array)), column)
    form = dual.linear(lambda a: a[..., 0, 0], form)
    count = dual.primal(variance.array).shape[-1]
    scale = dual.sqrt(dual.mul((2 * np.pi) ** count, dual.determinant(variance.array)))
    return Val(dual.div(dual.exp(dual.mul(-0.5, form)), scale))


def _factorial(ev: Evaluator, args: list[Val]) -> Val:

    return Val(_gamma(np.asarray(dual.primal(args[0].array), dtype=float) + 1.0))


def _binomial(ev: Evaluator, args: list[Val]) -> Val:

    n, k = (np.asarray(dual.primal(arg.array), dtype=float) for arg in args)
    return Val(_gamma(n + 1) / (_gamma(k + 1) * _gamma(n - k + 1)))


def _gamma(x: Any) -> Any:
    from math import gamma

    def scalar(value: float) -> float:
        try:
            return gamma(value)
        except (ValueError, OverflowError):
            return float("nan")

    return np.vectorize(scalar, otypes=[float])(x)


_SPECIAL = {
    "H": _entropy, "kl": _divergence, "diag": _diagonal, "tr": _trace, "det": _determinant, "logbase": _logarithm,
    "cal:N": _normal, "factorial": _factorial, "binom": _binomial,
}  # fmt: skip


def _extreme(name: str, args: list[Val]) -> Val:

    if len(args) == 1:
        return Val(reduce(name, args[0].array))
    out = args[0].array
    for arg in args[1:]:
        first, second = dual.primal(out), dual.primal(arg.array)
        out = dual.where(first >= second if name == "max" else first <= second, out, arg.array)
    return Val(out)


def _generic(ev: Evaluator, name: str, args: list[Val]) -> Array:
    """Some smooth function: a different one at each point, the same for each use of the name."""
    out: Array = ev.domains.table(f"{name} 0", (ev.points,))
    for place, arg in enumerate(args):
        shape = (ev.points, *dual.primal(arg.array).shape[-arg.rank :]) if arg.rank else (ev.points,)
        a, b, c, d = (ev.domains.table(f"{name} {place} {part}", shape) for part in "abcd")
        wave = dual.mul(d, dual.sin(dual.add(dual.mul(b, arg.array), c)))
        part = dual.add(dual.mul(a, arg.array), wave)
        out = dual.add(out, dual.sum_last(part, arg.rank) if arg.rank else part)
        if place:
            out = dual.add(out, dual.mul(0.5, dual.sin(out)))
    return out
