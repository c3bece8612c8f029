"""Arrays of values: components, axes for vectors and matrices, and what is reduced along the last axis."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from . import _dual as dual
from ._ast import Node
from ._dual import Array
from ._errors import UndefinedError


@dataclass(slots=True)
class Val:
    """An array whose last `rank` axes are those of a vector or matrix; `row`: a transposed vector."""

    array: Array
    rank: int = 0
    row: bool = False


def raised(value: Val, rank: int) -> Array:
    """A number with axes for a vector or matrix behind."""
    extra = rank - value.rank
    if extra <= 0:
        return value.array
    return dual.linear(lambda x: np.asarray(x).reshape(np.shape(x) + (1,) * extra), value.array)


def column(a: Array) -> Array:
    return dual.linear(lambda x: x[..., None], a)


def line(a: Array) -> Array:
    return dual.linear(lambda x: x[..., None, :], a)


def flat(a: Array, axis: int) -> Array:
    return dual.linear(lambda x: np.squeeze(x, axis=axis), a)


def take(x: Any, rank: int, positions: Any, whole: bool) -> Any:
    x = np.asarray(x)
    count, batch = x.shape[-rank], x.ndim - rank
    if whole and positions.ndim and positions.shape[0] == count == positions.size and batch <= positions.ndim - 1:
        front = np.moveaxis(x, -rank, 0)
        return front.reshape((count,) + (1,) * (positions.ndim - 1 - batch) + front.shape[1:])
    outside = (positions < 0) | (positions >= count)
    shape = np.broadcast_shapes(x.shape[:batch], positions.shape)
    spread = np.broadcast_to(x, shape + x.shape[batch:])
    index = np.broadcast_to(np.where(outside, 0, positions), shape).reshape(shape + (1,) * rank)
    index = np.broadcast_to(index, (*shape, 1, *x.shape[batch + 1 :]))
    taken = np.squeeze(np.take_along_axis(spread, index, axis=-rank), axis=-rank)
    if outside.any():
        hidden = np.broadcast_to(outside, shape).reshape(shape + (1,) * (rank - 1))
        taken = np.where(hidden, np.nan, taken)
    return taken


def reduce(op: str, a: Array) -> Array:
    """Reduce the last axis."""
    if op == "sum":
        return dual.sum_last(a)
    if op in ("max", "min"):
        choose = np.argmax if op == "max" else np.argmin
        best = choose(dual.primal(a), axis=-1)[..., None]
        return dual.linear(
            lambda x: np.take_along_axis(x, np.broadcast_to(best, (*x.shape[:-1], 1)), axis=-1)[..., 0], a
        )
    out: Array = np.ones(())
    for k in range(dual.primal(a).shape[-1]):
        out = dual.mul(out, dual.linear(partial(np.take, indices=k, axis=-1), a))
    return out


def where_converged(array: Array, node: Node) -> Array:
    """The terms of a series along the last axis, without value where the last one still matters."""
    terms = dual.primal(array)
    with np.errstate(all="ignore"):
        rest = np.abs(terms[..., -1]) > 1e-15 * (np.abs(np.sum(terms, axis=-1)) + 1e-300)
    if rest.all():
        raise UndefinedError("an infinite series that does not converge", node.start, node.end)
    return dual.where(rest[..., None], np.asarray(np.nan), array)
