"""Binds the portable kernels to JAX: compiled, in float64 inside whatever the configuration, and differentiable.

Loaded by `_dispatch` when the caller's array is JAX's. Values come from the portable kernels, traced under a local
`enable_x64`; derivatives from rules (custom_jvp) that call the same functions again, so that every order exists.
JAX gets its reverse mode by transposing the forward rules. Their linear maps are therefore built so that the transposed
code is the code again: the shift by the entry at the largest probability, a null operation in exact arithmetic, stands
on both sides of the product with J = (diag(p) - p pᵀ)/T. Only the order of the sums is then XLA's and not ours.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.experimental
import jax.numpy as jnp

from ._kernels import portable
from ._kernels._namespace import positions
from ._kernels._rows import first_of
from ._typing import LossOptions

Array = Any
_ENABLE_X64: Any = getattr(jax, "enable_x64", getattr(jax.experimental, "enable_x64", None))


def _wide() -> Any:
    """Allow float64 in what is traced inside, whatever the configuration."""
    return _ENABLE_X64(True)


def _rule(function: Callable[..., Any]) -> Any:
    """Give a function of (name, axis, temperature, *arrays) a derivative of its own, by `defjvp`."""
    return jax.custom_jvp(function, nondiff_argnums=(0, 1, 2))


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of (name, axis, temperature, *arrays) per value of the first three."""
    result: Callable[..., Any] = jax.jit(function, static_argnums=(0, 1, 2))
    return result


# Linear maps, in float64: `p` are probabilities and `top` marks one largest entry of each row.


def _centre(p: Array, top: Array, v: Array, axis: int) -> Array:
    """Return v - <p, v>, from v less its entry at the top."""
    v = v - jnp.sum(jnp.where(top, v, 0.0), axis=axis, keepdims=True)
    return v - jnp.sum(p * v, axis=axis, keepdims=True)


def _spread(p: Array, top: Array, g: Array, axis: int) -> Array:
    """Return g - p·sum(g), the transpose of `_centre`: the entry at the top is what the others leave."""
    g = g - p * jnp.sum(g, axis=axis, keepdims=True)
    return g - jnp.where(top, jnp.sum(g, axis=axis, keepdims=True), 0.0)


def _product(p: Array, top: Array, v: Array, axis: int) -> Array:
    """Return (diag(p) - p pᵀ) v."""
    return _spread(p, top, p * _centre(p, top, v, axis), axis)


_MAPS = {"softmax_vjp": _product, "log_softmax_vjp": _spread, "log_softmax_jvp": _centre}


@_compiled
def _linear(name: str, axis: int, temperature: float, x: Array, v: Array, where: Array) -> Array:
    """Apply a linear map at the logits `x`; 0 behind the mask, nan in rows that have no softmax."""
    if x.size == 0:
        return x
    with _wide():
        z, v = x.astype(jnp.float64), v.astype(jnp.float64)
        v = _masked(v, where)
        p = _rows("softmax", axis, temperature, z, where)
        size = jax.lax.stop_gradient(z if where is None else jnp.where(where, z, -jnp.inf))
        top = first_of(jnp, size == jnp.max(size, axis=axis, keepdims=True), axis)
        return _masked(_MAPS[name](p, top, v, axis) / temperature, where).astype(x.dtype)


def _masked(x: Array, where: Array) -> Array:
    return x if where is None else jnp.where(where, x, 0.0)


# Functions of rows


@_rule
def _rows_rule(name: str, axis: int, temperature: float, x: Array, where: Array) -> Array:
    """Run a portable kernel, with float64 at hand."""
    with _wide():
        return getattr(portable, name)(x, axis, where=where, temperature=temperature)


_rows = _compiled(_rows_rule)


def _rows_jvp(name: str, axis: int, temperature: float, primals: Any, tangents: Any) -> tuple[Array, Array]:
    (x, where), dx = primals, tangents[0]
    value = _rows(name, axis, temperature, x, where)
    if name in ("logsumexp", "entropy"):
        with _wide():  # a rule runs where JAX differentiates, and that may be elsewhere
            if name == "logsumexp":
                slope = _masked(_rows("softmax", axis, temperature, x, where), where) / temperature
            else:
                log_p = _rows("log_softmax", axis, temperature, x, where)
                log_p = jnp.where(jnp.isfinite(log_p), log_p, 0.0)
                slope = -_linear("softmax_vjp", axis, temperature, x, log_p, where)
            return value, jnp.sum(slope * dx, axis=axis).astype(value.dtype)
    return value, _linear(
        {"softmax": "softmax_vjp", "log_softmax": "log_softmax_jvp"}[name], axis, temperature, x, dx, where
    )


_rows_rule.defjvp(_rows_jvp)


def softmax(
    x: Array,
    axis: int,
    *,
    where: Array = None,
    temperature: float = 1.0,
    precision: str = "accurate",
    out: None = None,
) -> Array:
    return _rows("softmax", axis, temperature, x, where)


def log_softmax(
    x: Array,
    axis: int,
    *,
    where: Array = None,
    temperature: float = 1.0,
    precision: str = "accurate",
    out: None = None,
) -> Array:
    return _rows("log_softmax", axis, temperature, x, where)


def logsumexp(
    x: Array,
    axis: int,
    *,
    b: Array = None,
    where: Array = None,
    temperature: float = 1.0,
    precision: str = "accurate",
    return_sign: bool = False,
) -> Any:
    if b is not None or jnp.iscomplexobj(x):
        if b is not None:
            dtype = jnp.promote_types(x.dtype, b.dtype)
            x, b = jnp.broadcast_arrays(x.astype(dtype), b.astype(dtype))
        value, sign = _weighted(not jnp.iscomplexobj(x), axis, temperature, x, b, where)
        if sign is None:
            return (value.real, jnp.exp(1j * value.imag)) if return_sign else value
        return (value, sign) if return_sign else jnp.where(sign < 0, jnp.nan, value)
    value = _rows("logsumexp", axis, temperature, x, where)
    if not return_sign:
        return value
    sign = jnp.where(jnp.isnan(value), value, (value > -jnp.inf).astype(value.dtype))
    return value, jax.lax.stop_gradient(sign)


@_rule
def _weighted_rule(signed: bool, axis: int, temperature: float, x: Array, b: Array, where: Array) -> Any:
    """Return log |sum of b·exp(x/T)| and the sign if `signed` (real arrays), else the logarithm and None."""
    with _wide():
        result = portable.logsumexp(x, axis, b=b, where=where, temperature=temperature, return_sign=signed)
        return result if signed else (result, None)


_weighted = _compiled(_weighted_rule)


def _weighted_jvp(signed: bool, axis: int, temperature: float, primals: Any, tangents: Any) -> tuple[Any, Any]:
    (x, b, where), (dx, db, _) = primals, tangents
    value, sign = _weighted(signed, axis, temperature, x, b, where)
    with _wide():
        wide = jnp.float64 if signed else jnp.complex128
        z, b = x.astype(wide), None if b is None else b.astype(wide)
        total, _ = _weighted(signed, axis, temperature, z, b, where)
        exponent = z / temperature - jnp.expand_dims(total, axis)
        ratio = jnp.exp(exponent if where is None else jnp.where(where, exponent, -jnp.inf))
        if signed:
            ratio = ratio * jnp.expand_dims(sign, axis)
        slope = ratio if b is None else jnp.where(b != 0, b * ratio, 0.0)
        tangent = slope * dx / temperature
        tangent = tangent if b is None else tangent + ratio * db
        tangent = jnp.sum(tangent, axis=axis).astype(value.dtype)
        return (value, sign), (tangent, jnp.zeros_like(sign) if signed else None)


_weighted_rule.defjvp(_weighted_jvp)


def softmax_vjp(x: Array, g: Array, axis: int, *, where: Array = None, temperature: float = 1.0) -> Array:
    return _linear("softmax_vjp", axis, temperature, x, g, where)


softmax_jvp = softmax_vjp  # J is symmetric


def log_softmax_vjp(x: Array, g: Array, axis: int, *, where: Array = None, temperature: float = 1.0) -> Array:
    return _linear("log_softmax_vjp", axis, temperature, x, g, where)


def log_softmax_jvp(x: Array, v: Array, axis: int, *, where: Array = None, temperature: float = 1.0) -> Array:
    return _linear("log_softmax_jvp", axis, temperature, x, v, where)


# Losses


def entropy(logits: Array, axis: int, *, where: Array = None, temperature: float = 1.0) -> Array:
    return _rows("entropy", axis, temperature, logits, where)


def kl_divergence(
    logits_p: Array, logits_q: Array, axis: int, *, where: Array = None, temperature: float = 1.0
) -> Array:
    return _pair("kl_divergence", axis, temperature, logits_p, logits_q, where)


@_rule
def _pair_rule(name: str, axis: int, temperature: float, x: Array, y: Array, where: Array) -> Array:
    with _wide():
        return getattr(portable, name)(x, y, axis, where=where, temperature=temperature)


_pair = _compiled(_pair_rule)


def _pair_jvp(name: str, axis: int, temperature: float, primals: Any, tangents: Any) -> tuple[Array, Array]:
    (x, y, where), (dx, dy, _) = primals, tangents
    value = _pair(name, axis, temperature, x, y, where)
    with _wide():  # where the difference of two close probabilities keeps its digits
        x, y = x.astype(jnp.float64), y.astype(jnp.float64)
        p, q = (_rows("softmax", axis, temperature, z, where) for z in (x, y))
        # J does not see that the difference of the logits lacks a constant.
        ratio = jnp.where(p > 0, (x - y) / temperature, 0.0)
        by_p = _linear("softmax_vjp", axis, temperature, x, ratio, where)
        by_q = _masked((q - p) / temperature, where)
        return value, jnp.sum(by_p * dx + by_q * dy, axis=axis).astype(value.dtype)


_pair_rule.defjvp(_pair_jvp)


def cross_entropy(
    logits: Array, target: Array, axis: int, options: LossOptions, *, row_scale: Any = None, want_grad: bool = False
) -> tuple[Array, Array | None]:
    static, arrays = _split(options)
    if not want_grad:
        return _loss(axis, static, logits, target, *arrays), None
    loss, gradient = _loss_and_gradient(axis, static, logits, target, row_scale, *arrays)
    return loss, gradient


def cross_entropy_hvp(
    logits: Array, target: Array, v: Array, axis: int, options: LossOptions, *, row_scale: Any = None
) -> Array:
    static, arrays = _split(options)
    return _hessian_product(axis, static, logits, target, v, row_scale, *arrays)


def _split(options: LossOptions) -> tuple[LossOptions, tuple[Array, Array]]:
    """Separate the arrays of the options, which are traced, from what a compiled function depends on."""
    return dataclasses.replace(options, weight=None, where=None), (options.weight, options.where)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _loss(axis: int, o: LossOptions, logits: Array, target: Array, weight: Array, where: Array) -> Array:
    """The loss of each row, in float64, from functions that have derivatives."""
    with _wide():
        x = logits.astype(jnp.float64)
        if o.softcap is not None:
            x = o.softcap * jnp.tanh((x if where is None else jnp.where(where, x, 0.0)) / o.softcap)
        log_p = _rows("log_softmax", axis, o.temperature, x, where)
        a, valid = _target_weights(axis, o, log_p, target, weight, where)
        loss = -jnp.sum(a * jnp.where(a == 0, 0.0, log_p), axis=axis)
        if o.z_loss:
            lse = _rows("logsumexp", axis, o.temperature, x, where)
            loss = loss + o.z_loss * lse * lse
        loss = loss if valid is None else jnp.where(valid, loss, 0.0)
        return loss.astype(jnp.promote_types(logits.dtype, jnp.float32))


def _target_weights(
    axis: int, o: LossOptions, like: Array, target: Array, weight: Array, where: Array
) -> tuple[Array, Array]:
    """Target weights as large as the logits, and which rows count."""
    n, valid = like.shape[axis], None
    if target.ndim == like.ndim:
        a = (1 - o.label_smoothing) * target.astype(like.dtype)
    else:
        labels = target
        if o.ignore_index is not None:
            valid = target != o.ignore_index
            labels = jnp.where(valid, target, 0)
        labels = jnp.expand_dims(labels, axis)
        a = (1 - o.label_smoothing) * (positions(jnp, like, axis) == labels).astype(like.dtype)
        a = jnp.where((labels >= 0) & (labels < n), a, jnp.nan)  # nobody looked at a traced label
    if o.label_smoothing:
        kept = jnp.ones_like(like) if where is None else where.astype(like.dtype)
        a = a + o.label_smoothing * kept / jnp.maximum(jnp.sum(kept, axis=axis, keepdims=True), 1.0)
    if weight is not None:
        shape = [n if i == axis else 1 for i in range(like.ndim)]
        a = a * weight.astype(like.dtype).reshape(shape)
    return a, valid


@functools.partial(jax.jit, static_argnums=(0, 1))
def _loss_and_gradient(
    axis: int, o: LossOptions, logits: Array, target: Array, row_scale: Array, weight: Array, where: Array
) -> tuple[Array, Array]:
    loss, pull = jax.vjp(lambda x: _loss(axis, o, x, target, weight, where), logits)
    scale = jnp.ones_like(loss) if row_scale is None else jnp.broadcast_to(row_scale, loss.shape).astype(loss.dtype)
    return loss, pull(scale)[0]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _hessian_product(
    axis: int, o: LossOptions, logits: Array, target: Array, v: Array, row_scale: Array, weight: Array, where: Array
) -> Array:
    def gradient(x: Array) -> Array:
        return _loss_and_gradient(axis, o, x, target, row_scale, weight, where)[1]

    return jax.jvp(gradient, (logits,), (v.astype(logits.dtype),))[1]
