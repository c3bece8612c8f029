"""Dual numbers over NumPy arrays: a value and its slope along one direction, nested for higher derivatives.

Every function takes arrays or duals. A dual of a higher tag is a number whose value and slope may be duals of lower
tags; what has a lower tag is constant for a higher one, so that nested derivatives do not mix their directions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any  # an array or a Dual
WORST_CONDITION = 1e7  # beyond it an inverse has too few right digits to tell anything


@dataclass(slots=True)
class Dual:
    """`value` + `slope` ε, where ε² = 0; `tag` says which ε."""

    value: Array
    slope: Array
    tag: int


def tag_of(a: Array) -> int:
    return a.tag if isinstance(a, Dual) else 0


def primal(a: Array) -> Any:
    """The array below all duals."""
    while isinstance(a, Dual):
        a = a.value
    return a


def slope_of(a: Array, tag: int) -> Array:
    """The derivative along the direction `tag`: zero where the number does not depend on it."""
    if isinstance(a, Dual) and a.tag == tag:
        return a.slope
    return np.zeros(np.shape(primal(a)))


def _split(a: Array, tag: int) -> tuple[Array, Array | None]:
    if isinstance(a, Dual) and a.tag == tag:
        return a.value, a.slope
    return a, None


def linear(function: Callable[[Any], Any], a: Array) -> Array:
    """Apply a linear function of arrays."""
    if isinstance(a, Dual):
        return Dual(linear(function, a.value), linear(function, a.slope), a.tag)
    return function(a)


def _linear2(function: Callable[[Any, Any], Any], a: Array, b: Array, sign: int) -> Array:
    tag = max(tag_of(a), tag_of(b))
    if not tag:
        return function(a, b)
    (av, ad), (bv, bd) = _split(a, tag), _split(b, tag)
    value = _linear2(function, av, bv, sign)
    if ad is None:
        slope = bd if sign > 0 else neg(bd)
    elif bd is None:
        slope = ad
    else:
        slope = _linear2(function, ad, bd, sign)
    return Dual(value, slope, tag)


def add(a: Array, b: Array) -> Array:
    return _linear2(np.add, a, b, 1)


def sub(a: Array, b: Array) -> Array:
    return _linear2(np.subtract, a, b, -1)


def neg(a: Array) -> Array:
    return linear(np.negative, a)


def bilinear(function: Callable[[Any, Any], Any], a: Array, b: Array) -> Array:
    """Apply a function of two arrays that is linear in each: a product of any kind."""
    tag = max(tag_of(a), tag_of(b))
    if not tag:
        return function(a, b)
    (av, ad), (bv, bd) = _split(a, tag), _split(b, tag)
    value = bilinear(function, av, bv)
    if ad is None:
        return Dual(value, bilinear(function, av, bd), tag)
    left = bilinear(function, ad, bv)
    if bd is None:
        return Dual(value, left, tag)
    return Dual(value, add(left, bilinear(function, av, bd)), tag)


def mul(a: Array, b: Array) -> Array:
    return bilinear(np.multiply, a, b)


def div(a: Array, b: Array) -> Array:
    if not tag_of(b):
        return linear(lambda x: x / b, a)
    return mul(a, chain(np.reciprocal, lambda x: neg(mul(reciprocal(x), reciprocal(x))), b))


def reciprocal(a: Array) -> Array:
    return div(1.0, a)


def chain(function: Callable[[Any], Any], derivative: Callable[[Array], Array], a: Array) -> Array:
    """Apply a function entry by entry, whose derivative is given as a function of duals."""
    if isinstance(a, Dual):
        return Dual(chain(function, derivative, a.value), mul(derivative(a.value), a.slope), a.tag)
    return function(a)


def exp(a: Array) -> Array:
    return chain(np.exp, exp, a)


def log(a: Array) -> Array:
    return chain(np.log, reciprocal, a)


def sqrt(a: Array) -> Array:
    return chain(np.sqrt, lambda x: div(0.5, sqrt(x)), a)


def sin(a: Array) -> Array:
    return chain(np.sin, cos, a)


def cos(a: Array) -> Array:
    return chain(np.cos, lambda x: neg(sin(x)), a)


def tan(a: Array) -> Array:
    return div(sin(a), cos(a))


def sinh(a: Array) -> Array:
    return chain(np.sinh, cosh, a)


def cosh(a: Array) -> Array:
    return chain(np.cosh, sinh, a)


def tanh(a: Array) -> Array:
    return chain(np.tanh, lambda x: sub(1.0, square(tanh(x))), a)


def arcsin(a: Array) -> Array:
    return chain(np.arcsin, lambda x: reciprocal(sqrt(sub(1.0, square(x)))), a)


def arccos(a: Array) -> Array:
    return chain(np.arccos, lambda x: neg(reciprocal(sqrt(sub(1.0, square(x))))), a)


def arctan(a: Array) -> Array:
    return chain(np.arctan, lambda x: reciprocal(add(1.0, square(x))), a)


def artanh(a: Array) -> Array:
    return chain(np.arctanh, lambda x: reciprocal(sub(1.0, square(x))), a)


def square(a: Array) -> Array:
    return mul(a, a)


def sign(a: Array) -> Array:
    return np.sign(primal(a))


def absolute(a: Array) -> Array:
    return chain(np.abs, sign, a)


def sigmoid(a: Array) -> Array:
    return chain(_sigmoid, lambda x: mul(sigmoid(x), sub(1.0, sigmoid(x))), a)


def _sigmoid(x: Any) -> Any:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def logit(a: Array) -> Array:
    return sub(log(a), log(sub(1.0, a)))


def softplus(a: Array) -> Array:
    return chain(lambda x: np.logaddexp(0.0, x), sigmoid, a)


def relu(a: Array) -> Array:
    return mul(a, (primal(a) > 0).astype(float))


def erf(a: Array) -> Array:
    return chain(_erf, lambda x: mul(2.0 / np.sqrt(np.pi), exp(neg(square(x)))), a)


def _erf(x: Any) -> Any:
    from math import erf as scalar

    return np.vectorize(scalar, otypes=[float])(x)


def where(condition: Any, a: Array, b: Array) -> Array:
    """Choose entries of `a` where the condition holds, of `b` elsewhere."""
    tag = max(tag_of(a), tag_of(b))
    if not tag:
        return np.where(condition, a, b)
    (av, ad), (bv, bd) = _split(a, tag), _split(b, tag)
    zero = np.zeros(())
    return Dual(where(condition, av, bv), where(condition, zero if ad is None else ad, zero if bd is None else bd), tag)


def power(a: Array, b: Array) -> Array:
    """`a` to the `b`; where `b` is a plain whole number, for every sign of `a`."""
    if not tag_of(b):
        exponent = np.asarray(b, dtype=float)
        return chain(
            lambda x: np.power(np.asarray(x, dtype=float), exponent),
            lambda x: where(exponent == 0, np.zeros(()), mul(exponent, power(x, exponent - 1.0))),
            a,
        )
    return exp(mul(b, log(a)))


def matmul(a: Array, b: Array) -> Array:
    return bilinear(np.matmul, a, b)


def inverse(a: Array) -> Array:
    if isinstance(a, Dual):
        inner = inverse(a.value)
        return Dual(inner, neg(matmul(matmul(inner, a.slope), inner)), a.tag)
    with np.errstate(all="ignore"):
        singular = np.linalg.cond(a) > WORST_CONDITION
    if np.any(singular):
        safe = np.where(singular[..., None, None], np.eye(np.shape(a)[-1]), a)
        return np.where(singular[..., None, None], np.nan, np.linalg.inv(safe))
    return np.linalg.inv(a)


def determinant(a: Array) -> Array:
    if isinstance(a, Dual):
        value = determinant(a.value)
        product = matmul(inverse(a.value), a.slope)
        return Dual(value, mul(value, linear(lambda x: np.trace(x, axis1=-2, axis2=-1), product)), a.tag)
    return np.linalg.det(a)


def sum_last(a: Array, axes: int = 1) -> Array:
    """Sum over the last axes."""
    return linear(lambda x: np.sum(x, axis=tuple(range(-axes, 0))), a)
