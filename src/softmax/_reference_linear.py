"""The slow exact twin of the linear cross entropy: products of matrices by exact sums, then `_reference` row by row."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from . import _reference as reference
from ._reference import _two_product
from ._typing import LossOptions


def product(a: Any, b: Any) -> Any:
    """Return a @ b of two finite matrices, every entry rounded once to float64."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    terms = np.concatenate(_two_product(a[:, None, :], b.T[None, :, :]), axis=-1)
    return np.array([[math.fsum(entry) for entry in row] for row in terms]).reshape(a.shape[0], b.shape[1])


def logits(x: Any, linear_weight: Any, bias: Any = None) -> Any:
    """Return x Wᵀ + b."""
    z = product(x, np.asarray(linear_weight, dtype=np.float64).T)
    return z if bias is None else z + np.asarray(bias, dtype=np.float64)


class Truth(NamedTuple):
    """What a linear cross entropy is, in float64; gradients of the sum of row_scale · loss."""

    loss: Any  # (N,)
    x: Any  # (N, D)
    linear_weight: Any  # (V, D)
    bias: Any  # (V,)
    logsumexp: Any  # (N,), of the capped logits over the temperature, as are those that follow
    entropy: Any
    argmax: Any
    max_probability: Any


def linear_cross_entropy(
    x: Any, linear_weight: Any, target: Any, bias: Any = None, *, options: LossOptions, row_scale: Any = 1.0
) -> Truth:
    """Return loss, gradients and extras of rows (N, D) for classes (V, D); the temperature may be one per row."""
    z = logits(x, linear_weight, bias)
    scale = np.broadcast_to(np.asarray(row_scale, dtype=np.float64), z.shape[:1])
    if np.ndim(options.temperature) == 0:
        loss, gradient, extras = _rows(z, np.asarray(target), options)
    else:
        parts = [_rows(z[i : i + 1], np.asarray(target)[i : i + 1], _of_row(options, z, i)) for i in range(len(z))]
        loss, gradient = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
        extras = np.concatenate([part[2] for part in parts], axis=1)
    gradient = scale[:, None] * gradient
    by_bias = np.array([math.fsum(column) for column in gradient.T])
    return Truth(loss, product(gradient, linear_weight), product(gradient.T, x), by_bias, *extras)


def _of_row(options: LossOptions, z: Any, i: int) -> LossOptions:
    """The options of one row."""
    where = None if options.where is None else np.broadcast_to(options.where, z.shape)[i : i + 1]
    return replace(options, where=where, temperature=float(np.asarray(options.temperature)[i]))


def _rows(z: Any, target: Any, options: LossOptions) -> tuple[Any, Any, Any]:
    """Loss, gradient in the logits, and the four extras of rows with one temperature."""
    loss = reference.cross_entropy(z, target, -1, options).rounded()
    gradient = reference.cross_entropy_grad(z, target, -1, options).rounded()
    z = z if options.softcap is None else options.softcap * np.tanh(z / options.softcap)
    rest: dict[str, Any] = {"where": options.where, "temperature": options.temperature}
    p = reference.softmax(z, **rest).rounded()
    extras = (reference.logsumexp(z, **rest).rounded(), reference.entropy(z, **rest).rounded())
    return loss, gradient, np.stack([*extras, p.argmax(1), p.max(1)])
