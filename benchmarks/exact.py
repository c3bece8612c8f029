"""Every operation on rows, in the precision asked for: float64 for a rough answer, wider for the exact one.

Arguments are (rows, classes) arrays, `target` and the loss are (rows,). Nothing here is shared with the kernels judged.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def _shifted(x: Any, real: Any) -> Any:
    wide = x.astype(real)
    return wide - wide.max(axis=-1, keepdims=True)


def _log_sum(shifted: Any) -> Any:
    return np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def softmax(x: Any, real: Any = np.float64) -> tuple[Any, ...]:
    e = np.exp(_shifted(x, real))
    return (e / e.sum(axis=-1, keepdims=True),)


def log_softmax(x: Any, real: Any = np.float64) -> tuple[Any, ...]:
    shifted = _shifted(x, real)
    return (shifted - _log_sum(shifted),)


def logsumexp(x: Any, real: Any = np.float64) -> tuple[Any, ...]:
    return (x.max(axis=-1, keepdims=True).astype(real) + _log_sum(_shifted(x, real)),)


def masked_softmax(x: Any, where: Any, real: Any = np.float64) -> tuple[Any, ...]:
    return softmax(np.where(where, x, x.dtype.type(-np.inf)), real)


def softmax_vjp(x: Any, g: Any, real: Any = np.float64) -> tuple[Any, ...]:
    p, wide = softmax(x, real)[0], g.astype(real)
    pivot = np.take_along_axis(wide, x.argmax(axis=-1, keepdims=True), axis=-1)
    wide = wide - pivot
    return (p * (wide - (p * wide).sum(axis=-1, keepdims=True)),)


def cross_entropy_and_grad(x: Any, target: Any, real: Any = np.float64) -> tuple[Any, ...]:
    """Return the loss of each row and its gradient; the entry of the true class is minus the sum of the others."""
    column = target[:, None]
    shifted = _shifted(x, real)
    loss = _log_sum(shifted) - np.take_along_axis(shifted, column, axis=-1)
    grad = softmax(x, real)[0]
    np.put_along_axis(grad, column, 0, axis=-1)
    np.put_along_axis(grad, column, -grad.sum(axis=-1, keepdims=True), axis=-1)
    return loss, grad


OPERATIONS = {
    function.__name__: function
    for function in (softmax, log_softmax, logsumexp, masked_softmax, softmax_vjp, cross_entropy_and_grad)
}
