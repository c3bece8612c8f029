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
    n, classes = z.shape
    scale = np.broadcast_to(np.asarray(row_scale, dtype=np.float64), (n,))
    temperature = np.broadcast_to(np.asarray(options.temperature, dtype=np.float64), (n,))
    where = None if options.where is None else np.broadcast_to(options.where, z.shape)
    loss, gradient = np.empty(n), np.empty(z.shape)
    extras = np.empty((4, n))
    for i in range(n):
        mask = None if where is None else where[i]
        one = replace(options, where=mask, temperature=float(temperature[i]))
        loss[i] = reference.cross_entropy(z[i], np.asarray(target)[i], -1, one).rounded()
        gradient[i] = scale[i] * reference.cross_entropy_grad(z[i], np.asarray(target)[i], -1, one).rounded()
        capped = z[i] if one.softcap is None else one.softcap * np.tanh(z[i] / one.softcap)
        rest = {"where": mask, "temperature": one.temperature}
        p = reference.softmax(capped, **rest).rounded()
        extras[0, i] = reference.logsumexp(capped, **rest).rounded()
        extras[1, i] = reference.entropy(capped, **rest).rounded()
        extras[2:, i] = (np.argmax(p), p.max()) if classes else 0.0
    by_bias = np.array([math.fsum(column) for column in gradient.T])
    return Truth(loss, product(gradient, linear_weight), product(gradient.T, x), by_bias, *extras)
