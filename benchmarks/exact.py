"""Every operation on rows, twice: in plain float64 for a rough answer, and by the reference for the exact one.

Arguments are (rows, classes) arrays, `target` is (rows,). Nothing here is shared with the kernels that are judged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from softmax import _reference as reference


def softmax(x: Any) -> tuple[Any, ...]:
    e = np.exp(_shifted(x))
    return (e / e.sum(axis=-1, keepdims=True),)


def log_softmax(x: Any) -> tuple[Any, ...]:
    shifted = _shifted(x)
    return (shifted - _log_sum(shifted),)


def logsumexp(x: Any) -> tuple[Any, ...]:
    return (x.max(axis=-1, keepdims=True) + _log_sum(_shifted(x)),)


def masked_softmax(x: Any, where: Any) -> tuple[Any, ...]:
    return softmax(np.where(where, x, -np.inf))


def softmax_vjp(x: Any, g: Any) -> tuple[Any, ...]:
    p = softmax(x)[0]
    wide = g - np.take_along_axis(g, x.argmax(axis=-1, keepdims=True), axis=-1).astype(np.float64)
    return (p * (wide - (p * wide).sum(axis=-1, keepdims=True)),)


def cross_entropy_and_grad(x: Any, target: Any) -> tuple[Any, ...]:
    """Return the loss of each row and its gradient; the entry of the true class is minus the sum of the others."""
    column = target[:, None]
    shifted = _shifted(x)
    loss = _log_sum(shifted) - np.take_along_axis(shifted, column, axis=-1)
    grad = softmax(x)[0]
    np.put_along_axis(grad, column, 0, axis=-1)
    np.put_along_axis(grad, column, -grad.sum(axis=-1, keepdims=True), axis=-1)
    return loss, grad


def _shifted(x: Any) -> Any:
    return x.astype(np.float64) - x.max(axis=-1, keepdims=True)


def _log_sum(shifted: Any) -> Any:
    """Return log of the sum of exp, one maximum left out of the sum so that log1p sees what is small."""
    e = np.exp(shifted)
    np.put_along_axis(e, shifted.argmax(axis=-1, keepdims=True), 0, axis=-1)
    return np.log1p(e.sum(axis=-1, keepdims=True))


ROUGH: dict[str, Callable[..., tuple[Any, ...]]] = {
    function.__name__: function
    for function in (softmax, log_softmax, logsumexp, masked_softmax, softmax_vjp, cross_entropy_and_grad)
}

# The same by the reference: each result as two arrays that add up, of shape (rows, classes) or (rows, 1).
EXACT: dict[str, Callable[..., tuple[Any, ...]]] = {
    "softmax": lambda x: _two(reference.softmax(x)),
    "log_softmax": lambda x: _two(reference.log_softmax(x)),
    "logsumexp": lambda x: _columns(reference.logsumexp(x)),
    "masked_softmax": lambda x, where: _two(reference.softmax(x, where=where)),
    "softmax_vjp": lambda x, g: _two(reference.softmax_vjp(x, g)),
    "cross_entropy_and_grad": lambda x, target: (
        *_columns(reference.cross_entropy(x, target)),
        *_two(reference.cross_entropy_grad(x, target)),
    ),
}


def divided(high: Any, low: Any, count: int) -> tuple[Any, Any]:
    """Return numbers in two parts over `count`, in two parts."""
    return _two(reference.Pair(high, low) / float(count))


def _two(value: reference.Pair) -> tuple[Any, Any]:
    plain = value.at(0)
    return plain.hi, plain.lo


def _columns(value: reference.Pair) -> tuple[Any, Any]:
    high, low = _two(value)
    return high[:, None], low[:, None]
