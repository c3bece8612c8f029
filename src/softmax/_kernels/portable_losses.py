"""Losses of the portable kernel set: value, gradient and Hessian product, per row, in nats.

With z = softcap·tanh(logits/softcap)/T and target weights a (a_j = w_j·q_j, smoothed) the loss of a row is
sum_j a_j (lse - z_j) + z_loss·lse², where the difference is taken after the shift by the maximum, so nothing cancels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from softmax._typing import LossOptions

from ._namespace import cast, itemsize, namespace_of, positions, wide_dtype
from ._rows import (
    INF,
    NAN,
    Row,
    apply_jacobian,
    blank_bad_rows,
    first_of,
    first_top,
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


class _Loss(NamedTuple):
    """A loss before reduction; what is reduced keeps the class axis with length 1."""

    row: Row
    weights: Any  # a: target weights times class weights
    lse: Any
    valid: Any  # rows that are not ignored, or None
    slope: Any  # d softcap(x)/dx, or None
    curvature: Any  # its derivative, or None


@quiet
def cross_entropy(
    logits: Any, target: Any, axis: int, options: LossOptions, *, row_scale: Any = None, want_grad: bool = False
) -> tuple[Any, Any]:
    """Return the loss of each row and, if wanted, its gradient times `row_scale`."""
    xp = namespace_of(logits)
    if logits.shape[axis] == 0:
        return _nothing(xp, logits, axis), xp.zeros_like(logits) if want_grad else None
    loss = _prepare(xp, logits, target, axis, options)
    surprise = -log_probabilities(xp, loss.row)
    terms = xp.where(loss.weights == 0, 0.0, loss.weights * surprise)
    value = _total(xp, loss, terms, axis)
    if options.z_loss:
        value = value + options.z_loss * loss.lse * loss.lse
    # Behind a full mask every entry is -inf: the loss is that of a target of probability 0.
    value = xp.where(loss.row.finite, value, _bad_row_loss(xp, loss, options, axis))
    if loss.valid is not None:
        value = xp.where(loss.valid, value, 0.0)
    value = cast(xp, xp.squeeze(value, axis=axis), loss_dtype(xp, logits))
    return value, _gradient(xp, logits, loss, axis, options, row_scale) if want_grad else None


@quiet
def chunk_loss(
    z: Any, target: Any, options: LossOptions, *, row_scale: Any = None, want_grad: bool = False, extras: bool = False
) -> tuple[Any, Any, dict[str, Any]]:
    """Loss, gradient and extras of rows (n, K) of logits, which may be overwritten; T may be one number per row."""
    xp = namespace_of(z)
    x, chain = z, None
    if extras or hasattr(options.temperature, "ndim"):
        x, chain = _transformed(xp, z, options)
        options = replace(options, softcap=None, temperature=1.0)
    loss, gradient = cross_entropy(x, target, 1, options, row_scale=row_scale, want_grad=want_grad)
    if gradient is not None and chain is not None:
        gradient = cast(xp, gradient * chain, z.dtype)
    loss = cast(xp, loss, loss_dtype(xp, z))
    return loss, gradient, _extras(xp, x, options.where, loss.dtype) if extras else {}


def _transformed(xp: Any, z: Any, options: LossOptions) -> tuple[Any, Any]:
    """softcap·tanh(z/softcap)/T in the dtype of the arithmetic, and its slope."""
    slope: Any = 1.0
    x = cast(xp, z, wide_dtype(xp, z))
    if options.softcap is not None:
        x, slope, _ = _softcap(xp, z, options.softcap, options.where)
    temperature: Any = options.temperature
    if getattr(temperature, "ndim", 0):
        temperature = xp.expand_dims(cast(xp, temperature, x.dtype), axis=1)
    return x / temperature, slope / temperature


def _extras(xp: Any, x: Any, where: Any, dtype: Any) -> dict[str, Any]:
    """What else a row says: its logsumexp, entropy, first largest entry and largest probability."""
    row = split_rows(xp, x, 1, where)
    largest = xp.where(row.finite, 1 / (1 + row.rest), NAN)
    if where is not None:
        largest = xp.where(xp.any(where, axis=1, keepdims=True), largest, 0.0)
    first = xp.where(first_of(xp, row.shifted == 0, 1), positions(xp, x, 1), 0)
    values = {
        "logsumexp": xp.where(row.finite, row.top + log_rest(xp, row), row.top),
        "max_probability": largest,
        "argmax": xp.sum(first, axis=1, keepdims=True),
    }
    squeezed = {name: xp.squeeze(value, axis=1) for name, value in values.items()}
    result = {name: value if name == "argmax" else cast(xp, value, dtype) for name, value in squeezed.items()}
    return {**result, "entropy": cast(xp, entropy(x, 1, where=where), dtype)}


@quiet
def cross_entropy_hvp(
    logits: Any, target: Any, v: Any, axis: int, options: LossOptions, *, row_scale: Any = None
) -> Any:
    """Multiply the Hessian of the scaled sum of the losses by `v`."""
    xp = namespace_of(logits)
    if logits.shape[axis] == 0:
        return xp.zeros_like(logits)
    loss = _prepare(xp, logits, target, axis, options)
    row = loss.row
    v = unmasked(xp, row, v, options.where)
    u = _through_cap(loss, v, options)
    product = plain_sum(xp, loss.weights, axis) * apply_jacobian(xp, row, u, axis)
    if options.z_loss:
        p = probabilities(xp, row)
        # sum of p·u enters with a product of its own, so the shift of `centred` does not apply
        mean = plain_sum(xp, p * u, axis, compensated=row.error is not None)
        product = product + 2 * options.z_loss * (loss.lse * apply_jacobian(xp, row, u, axis) + p * mean)
    product = _through_cap(loss, product, options)
    if loss.curvature is not None:
        product = product + loss.curvature * v / options.temperature * _logit_gradient(xp, loss, axis, options)
    return _finish(xp, loss, product, axis, options, row_scale, logits.dtype)


@quiet
def entropy(logits: Any, axis: int, *, where: Any = None, temperature: float = 1.0) -> Any:
    """-sum p log p of each row."""
    xp = namespace_of(logits)
    if logits.shape[axis] == 0:
        return _nothing(xp, logits, axis)
    row = split_rows(xp, logits, axis, where, temperature)
    p = probabilities(xp, row)
    terms = xp.where(p == 0, 0.0, p * -log_probabilities(xp, row))
    value = plain_sum(xp, terms, axis, compensated=row.error is not None)
    return _row_value(xp, value, row, axis, where, logits)


@quiet
def kl_divergence(logits_p: Any, logits_q: Any, axis: int, *, where: Any = None, temperature: float = 1.0) -> Any:
    """Return sum p (log p - log q) of each row, as sum p·(exp(d) - 1 - d), d = log q - log p: no term is negative."""
    xp = namespace_of(logits_p)
    if logits_p.shape[axis] == 0:
        return _nothing(xp, logits_p, axis)
    row_p = split_rows(xp, logits_p, axis, where, temperature)
    row_q = split_rows(xp, logits_q, axis, where, temperature)
    p, q = probabilities(xp, row_p), probabilities(xp, row_q)
    d = _log_ratio(xp, row_p, row_q, p, axis)
    near = xp.abs(d) < 1.0
    terms = xp.where(near, p * _expm1_minus(xp, xp.where(near, d, 0.0)), q - p - p * d)
    terms = xp.where(p == 0, q, terms)
    value = plain_sum(xp, terms, axis, compensated=row_p.error is not None)
    value = xp.where(row_q.finite, value, NAN)
    return _row_value(xp, value, row_p, axis, where, logits_p)


def _row_value(xp: Any, value: Any, row: Row, axis: int, where: Any, like: Any) -> Any:
    """Put nan where a row has no softmax, 0 where all of it is masked."""
    value = xp.where(row.finite, value, NAN)
    if where is not None:
        value = xp.where(xp.any(where, axis=axis, keepdims=True), value, 0.0)
    return cast(xp, xp.squeeze(value, axis=axis), loss_dtype(xp, like))


def _nothing(xp: Any, logits: Any, axis: int) -> Any:
    """Return the 0 of each row without entries, as of a fully masked one; a sum, which every library can trace."""
    return cast(xp, xp.sum(logits, axis=axis), loss_dtype(xp, logits))


def loss_dtype(xp: Any, logits: Any) -> Any:
    """float32 or wider."""
    return logits.dtype if itemsize(xp, logits.dtype) >= 4 else xp.float32


# Pieces


def _prepare(xp: Any, logits: Any, target: Any, axis: int, options: LossOptions) -> _Loss:
    """Rows, target weights and chain factors of a cross entropy."""
    x, slope, curvature = logits, None, None
    if options.softcap is not None:
        x, slope, curvature = _softcap(xp, logits, options.softcap, options.where)
    row = split_rows(xp, x, axis, options.where, options.temperature)
    weights, valid = _target_weights(xp, row, target, axis, options)
    return _Loss(row, weights, row.top + log_rest(xp, row), valid, slope, curvature)


def _softcap(xp: Any, logits: Any, cap: float, where: Any) -> tuple[Any, Any, Any]:
    """cap·tanh(x/cap) in the dtype of the arithmetic, its slope sech², and its curvature; 0 behind the mask."""
    x = cast(xp, logits, wide_dtype(xp, logits)) / cap
    if where is not None:
        x = xp.where(where, x, 0.0)
    tanh = xp.tanh(x)
    sech = 1 / xp.cosh(x)
    slope = sech * sech
    return cap * tanh, slope, -2 / cap * tanh * slope


def _target_weights(xp: Any, row: Row, target: Any, axis: int, options: LossOptions) -> tuple[Any, Any]:
    """Return a, as large as the logits, and which rows count."""
    dtype, n, ndim = row.shifted.dtype, row.shifted.shape[axis], row.shifted.ndim
    eps = options.label_smoothing
    classes = None
    if options.weight is not None:
        shape = [1] * ndim
        shape[axis] = n
        classes = xp.reshape(cast(xp, options.weight, dtype), tuple(shape))
    valid = None
    if target.ndim == ndim:
        weights = (1 - eps) * cast(xp, target, dtype)
    else:
        target = xp.expand_dims(cast(xp, target, xp.int64), axis=axis)
        if options.ignore_index is not None:
            valid = target != options.ignore_index
            target = xp.where(valid, target, 0)
        weights = (1 - eps) * cast(xp, positions(xp, row.shifted, axis) == target, dtype)
        # Where nobody could look at the values (traced arrays, a GPU), a label out of range gives nan.
        weights = xp.where((target >= 0) & (target < n), weights, NAN)
    if eps:
        share = eps / n
        if options.where is not None:
            kept = cast(xp, options.where, dtype)
            share = eps * kept / xp.sum(kept, axis=axis, keepdims=True)
            share = xp.where(options.where, share, 0.0)
        weights = weights + share
    return weights if classes is None else weights * classes, valid


def _total(xp: Any, loss: _Loss, terms: Any, axis: int) -> Any:
    return plain_sum(xp, terms, axis, compensated=loss.row.error is not None)


def _bad_row_loss(xp: Any, loss: _Loss, options: LossOptions, axis: int) -> Any:
    """nan, and inf where all of the row is masked."""
    nan = xp.full_like(loss.lse, NAN)
    if options.where is None:
        return nan
    return xp.where(xp.any(options.where, axis=axis, keepdims=True), nan, INF)


def _through_cap(loss: _Loss, v: Any, options: LossOptions) -> Any:
    """dz/dlogits times `v`."""
    v = v if loss.slope is None else loss.slope * v
    return v if options.temperature == 1.0 else v / options.temperature


def _logit_gradient(xp: Any, loss: _Loss, axis: int, options: LossOptions) -> Any:
    """Differentiate the loss in z."""
    gradient = -residual(xp, loss.row, loss.weights, axis)
    if options.z_loss:
        gradient = gradient + 2 * options.z_loss * loss.lse * probabilities(xp, loss.row)
    return gradient


def _gradient(xp: Any, logits: Any, loss: _Loss, axis: int, options: LossOptions, row_scale: Any) -> Any:
    gradient = _through_cap(loss, _logit_gradient(xp, loss, axis, options), options)
    return _finish(xp, loss, gradient, axis, options, row_scale, logits.dtype)


def _finish(xp: Any, loss: _Loss, values: Any, axis: int, options: LossOptions, row_scale: Any, dtype: Any) -> Any:
    """Scale the rows, blank what has no derivative, round once."""
    if row_scale is not None:
        if getattr(row_scale, "ndim", None):
            row_scale = xp.expand_dims(cast(xp, row_scale, values.dtype), axis=axis)
        values = values * row_scale
    values = blank_bad_rows(xp, loss.row, values, options.where, 0.0)
    if loss.valid is not None:
        values = xp.where(loss.valid, values, 0.0)
    return cast(xp, values, dtype)


def _log_ratio(xp: Any, row_p: Row, row_q: Row, p: Any, axis: int) -> Any:
    """Return log q - log p where p > 0, accurate also where the two are close; 0 elsewhere.

    With D = z_q - z_p, less its value at the largest p: log q - log p = D - log sum p·exp(D), and that logarithm is
    log1p(sum p·expm1(D)).
    """
    difference = row_q.shifted - row_p.shifted
    if row_p.error is not None:
        difference = difference + (row_q.error - row_p.error)
    d = difference - pick(xp, first_top(xp, row_p, axis), difference, axis)
    d = xp.where(p == 0, 0.0, d)
    largest = xp.max(d, axis=axis, keepdims=True)
    growth = plain_sum(xp, p * xp.expm1(xp.where(d < 1.0, d, 1.0)), axis, compensated=row_p.error is not None)
    # Mass of q where p has none is missing from that sum.
    covered = ~xp.any((p == 0) & (row_q.exp > 0), axis=axis, keepdims=True)
    close = covered & (largest < 1.0) & (growth > -0.5)
    by_growth = d - xp.log1p(xp.where(close, growth, 0.0))
    by_logs = log_probabilities(xp, row_q) - log_probabilities(xp, row_p)
    return xp.where(p == 0, 0.0, xp.where(close, by_growth, by_logs))


def _expm1_minus(xp: Any, d: Any) -> Any:
    """exp(d) - 1 - d for |d| < 1, by its series: the two leading terms of expm1 cancel."""
    # d²/2!·(1 + d/3·(1 + d/4·(...))); 19 terms leave less than 2^-53 at |d| = 1.
    series = xp.full_like(d, 1.0)
    for k in range(20, 2, -1):
        series = 1 + d / k * series
    return d * d / 2 * series
