"""The kernel set in array-API calls: the fallback for any library, and for NumPy where Numba is missing.

Arguments arrive checked (README.md of this folder holds the contract). Input narrower than float64 is computed in
float64 and rounded once; float64 recovers what rounding x - max loses (TwoSum) and folds it in as exp(h)·(1 + error).
Nothing warns: what the special values give is the policy of the contract and not an accident.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ._namespace import cast, is_complex, namespace_of, wide_dtype
from ._rows import (
    INF,
    Row,
    apply_jacobian,
    blank_bad_rows,
    centred,
    first_of,
    log_probabilities,
    log_rest,
    pick,
    plain_sum,
    probabilities,
    quiet,
    residual,
    split_rows,
    unmasked,
)
from .portable_losses import chunk_loss, cross_entropy, cross_entropy_hvp, entropy, kl_divergence

__all__ = [
    "chunk_loss",
    "cross_entropy",
    "cross_entropy_hvp",
    "entropy",
    "kl_divergence",
    "log_softmax",
    "log_softmax_jvp",
    "log_softmax_vjp",
    "logsumexp",
    "softmax",
    "softmax_jvp",
    "softmax_vjp",
]

# Forward


@quiet
def softmax(
    x: Any,
    axis: int,
    *,
    where: Any = None,
    temperature: float = 1.0,
    precision: str = "accurate",
    out: Any = None,
) -> Any:
    """exp(x/T) over its sum."""
    return _forward(probabilities, 0.0, x, axis, where, temperature, out)


@quiet
def log_softmax(
    x: Any,
    axis: int,
    *,
    where: Any = None,
    temperature: float = 1.0,
    precision: str = "accurate",
    out: Any = None,
) -> Any:
    """x/T minus the log of the sum of exp(x/T)."""
    return _forward(log_probabilities, -INF, x, axis, where, temperature, out)


def _forward(
    entries: Callable[[Any, Row], Any], masked: float, x: Any, axis: int, where: Any, temperature: float, out: Any
) -> Any:
    """Compute one of the two functions that return an array like `x`."""
    xp = namespace_of(x)
    result = x
    if x.shape[axis] != 0:
        row = split_rows(xp, x, axis, where, temperature)
        result = cast(xp, blank_bad_rows(xp, row, entries(xp, row), where, masked), x.dtype)
    if out is None:
        return result
    np.copyto(out, result, casting="same_kind")
    return out


@quiet
def logsumexp(
    x: Any,
    axis: int,
    *,
    b: Any = None,
    where: Any = None,
    temperature: float = 1.0,
    precision: str = "accurate",
    return_sign: bool = False,
) -> Any:
    """Return the log of the sum of b·exp(x/T), and with `return_sign` the log of its modulus and its sign."""
    xp = namespace_of(x)
    dtype = x.dtype if b is None else xp.result_type(x.dtype, b.dtype)
    if b is not None:
        shape = np.broadcast_shapes(tuple(x.shape), tuple(b.shape))
        x, b = (xp.broadcast_to(cast(xp, a, dtype), shape) for a in (x, b))
    if x.shape[axis] == 0:
        value = xp.sum(x, axis=axis, keepdims=True) - INF
        sign = xp.zeros_like(value)
    elif is_complex(xp, x):
        value, sign = _complex_logsumexp(xp, x, axis, b, where, temperature, return_sign)
    elif b is not None:
        value, sign = _weighted_logsumexp(xp, x, axis, b, where, temperature)
        value = value if return_sign else xp.where(sign < 0, float("nan"), value)
    else:
        row = split_rows(xp, x, axis, where, temperature)
        value = xp.where(row.finite, row.top + log_rest(xp, row), row.top)
        sign = xp.where(xp.isnan(value), value, cast(xp, value > -INF, value.dtype))
    if not return_sign:
        return cast(xp, xp.squeeze(value, axis=axis), dtype)
    real = _real_dtype(xp, dtype)
    return cast(xp, xp.squeeze(value, axis=axis), real), cast(xp, xp.squeeze(sign, axis=axis), dtype)


def _real_dtype(xp: Any, dtype: Any) -> Any:
    """Choose the dtype of the modulus."""
    if not xp.isdtype(dtype, "complex floating"):
        return dtype
    return xp.float32 if dtype == xp.complex64 else xp.float64


def _weighted_logsumexp(xp: Any, x: Any, axis: int, b: Any, where: Any, temperature: float) -> tuple[Any, Any]:
    """Return log |sum of b·exp(z)| and the sign of the sum. A weight of 0 drops its entry, whatever that is."""
    dtype = wide_dtype(xp, x)
    z, b = cast(xp, x, dtype), cast(xp, b, dtype)
    if temperature != 1.0:
        z = z / temperature
    used = b != 0 if where is None else (b != 0) & where
    z, b = xp.where(used, z, -INF), xp.where(used, b, 0.0)
    # The shift is the exponent of the largest term, and the exponential enters as two factors:
    # with weights of very different size that exponent is not the largest, and exp of it could overflow.
    size = xp.where(used, z + xp.log(xp.abs(b)), -INF)
    largest = xp.max(size, axis=axis, keepdims=True)
    leads = first_of(xp, size == largest, axis)
    shift = pick(xp, leads, z, axis)
    regular = xp.isfinite(largest) & xp.isfinite(shift)
    shift = xp.where(regular, shift, 0.0)
    half = xp.exp((z - shift) / 2)
    others = used & ~leads
    rest = plain_sum(xp, xp.where(others, b * half * half, 0.0), axis, compensated=True)
    lead = pick(xp, leads, b, axis)
    ratio = rest / lead
    near = ratio > -0.5
    log_near = xp.log(xp.abs(lead)) + xp.log1p(xp.where(near, ratio, 0.0))
    value = shift + xp.where(near, log_near, xp.log(xp.abs(lead + rest)))
    direct = xp.sum(xp.where(used & ~regular, b * xp.exp(xp.where(regular, 0.0, z)), 0.0), axis=axis, keepdims=True)
    value = xp.where(regular, value, xp.log(xp.abs(direct)))
    return value, xp.sign(xp.where(regular, lead + rest, direct))


def _complex_logsumexp(
    xp: Any, z: Any, axis: int, b: Any, where: Any, temperature: float, return_sign: bool
) -> tuple[Any, Any]:
    """Return the log of the sum of b·exp(z); for infinite Re z exactly what log and exp of C99 give."""
    z = cast(xp, z, xp.complex128)
    if temperature != 1.0:
        z = z / temperature
    used = where
    if b is not None:
        b = cast(xp, b, xp.complex128)
        used = b != 0 if where is None else (b != 0) & where
    if used is not None:
        z = xp.where(used, z, complex(-INF, 0.0))
    real, angle = xp.real(z), xp.imag(z)
    size = real if b is None else xp.where(used, real + xp.log(xp.abs(b)), -INF)
    size = xp.where(xp.isnan(size), INF, size)
    leads = first_of(xp, size == xp.max(size, axis=axis, keepdims=True), axis)
    shift, lead_angle = pick(xp, leads, real, axis), pick(xp, leads, angle, axis)
    present = real != -INF
    regular = xp.isfinite(shift) & xp.all(xp.isfinite(angle) | ~present, axis=axis, keepdims=True)

    # The terms divided by the leading one: their sum is 1 + rest, and rest may be far below 1.
    modulus, turn = xp.exp(real - shift), angle - lead_angle
    parts = [modulus * xp.cos(turn), modulus * xp.sin(turn)]
    lead_log = shift
    if b is not None:
        lead = pick(xp, leads, b, axis)
        ratio = b / lead
        u, v = xp.real(ratio), xp.imag(ratio)
        parts = [u * parts[0] - v * parts[1], u * parts[1] + v * parts[0]]
        lead_log = lead_log + xp.log(xp.abs(lead))
        lead_angle = lead_angle + xp.atan2(xp.imag(lead), xp.real(lead))
    others = present & ~leads
    re, im = (plain_sum(xp, xp.where(others, part, 0.0), axis, compensated=True) for part in parts)
    growth = 2 * re + re * re + im * im  # |1 + rest|² - 1
    near = growth > -0.5
    log_near = 0.5 * xp.log1p(xp.where(near, growth, 0.0))
    log_modulus = lead_log + xp.where(near, log_near, xp.log(xp.hypot(1 + re, im)))
    phase = _wrap(xp, lead_angle + xp.atan2(im, 1 + re))

    terms = xp.exp(xp.where(regular, 0.0, z))
    terms = terms if b is None else xp.where(used, b * terms, 0.0)
    direct = xp.sum(terms, axis=axis, keepdims=True)
    if not return_sign:
        return xp.where(regular, _complex(xp, log_modulus, phase), xp.log(direct)), None
    value = xp.where(regular, log_modulus, xp.log(xp.abs(direct)))
    sign = xp.where(log_modulus == -INF, 0.0, _complex(xp, xp.cos(phase), xp.sin(phase)))
    return value, xp.where(regular, sign, xp.sign(direct))


def _complex(xp: Any, real: Any, imag: Any) -> Any:
    """Make real + i·imag, as complex128."""
    return cast(xp, real, xp.complex128) + cast(xp, imag, xp.complex128) * 1j


def _wrap(xp: Any, angle: Any) -> Any:
    """Return the same angle in (-pi, pi], unchanged to the last digit where it already lies there."""
    turns = xp.ceil((angle - np.pi) / (2 * np.pi))
    return angle - turns * (2 * np.pi)


# Derivatives


@quiet
def softmax_vjp(x: Any, g: Any, axis: int, *, where: Any = None, temperature: float = 1.0) -> Any:
    """p·(g - <p, g>)/T."""
    xp = namespace_of(x)
    if x.shape[axis] == 0:
        return x
    row = split_rows(xp, x, axis, where, temperature)
    product = apply_jacobian(xp, row, unmasked(xp, row, g, where), axis)
    return _derivative(xp, row, product, where, temperature, x.dtype)


softmax_jvp = softmax_vjp  # J is symmetric


@quiet
def log_softmax_vjp(x: Any, g: Any, axis: int, *, where: Any = None, temperature: float = 1.0) -> Any:
    """(g - p·sum(g))/T."""
    xp = namespace_of(x)
    if x.shape[axis] == 0:
        return x
    row = split_rows(xp, x, axis, where, temperature)
    product = residual(xp, row, unmasked(xp, row, g, where), axis)
    return _derivative(xp, row, product, where, temperature, x.dtype)


@quiet
def log_softmax_jvp(x: Any, v: Any, axis: int, *, where: Any = None, temperature: float = 1.0) -> Any:
    """(v - <p, v>)/T."""
    xp = namespace_of(x)
    if x.shape[axis] == 0:
        return x
    row = split_rows(xp, x, axis, where, temperature)
    product = centred(xp, row, probabilities(xp, row), unmasked(xp, row, v, where), axis)
    return _derivative(xp, row, product, where, temperature, x.dtype)


def _derivative(xp: Any, row: Row, product: Any, where: Any, temperature: float, dtype: Any) -> Any:
    """Divide by the temperature, blank what has no derivative, round once."""
    product = product if temperature == 1.0 else product / temperature
    return cast(xp, blank_bad_rows(xp, row, product, where, 0.0), dtype)
