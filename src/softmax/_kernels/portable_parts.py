"""Cross entropy of rows whose classes come in parts: blocks computed one by one, or the shares of several processes.

A part is summed up in a `State` per row; states join in the order of the parts; the joined state gives the loss, and
the gradient of any part, whose logits are computed again or still there. Arithmetic is float64 (float32 where the
device has no other). With target weights a = w·((1 − ε)·q + ε·kept/K), the loss of a row is
Σ a_j (lse − z_j) + z_loss·lse²; its sums are taken against the maximum of the part, so that nothing cancels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from softmax._typing import LossOptions

from ._namespace import cast, namespace_of, positions, wide_dtype
from ._rows import INF, NAN, quiet


class State(NamedTuple):
    """Rows of a part: one number per row in each, all in the dtype of the arithmetic."""

    top: Any  # the largest z
    rest: Any  # sum of exp(z - top) without one of the maxima; -1 where there is no maximum but -inf
    own: Any  # sum of w·q·(top - z)
    own_weight: Any  # sum of w·q
    even: Any  # sum of w·(top - z) over the classes that are kept: what smoothing adds
    even_weight: Any  # sum of w over them
    kept: Any  # how many they are
    spread: Any  # sum of exp(z - top)·(top - z)
    argmax: Any  # the number of the first maximum, counted over all parts


class Part(NamedTuple):
    """What belongs to the classes [first, first + k) of some rows."""

    z: Any  # (n, k) logits, before softcap and temperature
    target: Any  # (n,) class indices counted over all parts, or (n, k) probabilities
    first: int
    options: LossOptions  # weight (k,) and where (n, k) of the part


def _transformed(xp: Any, part: Part) -> tuple[Any, Any, Any]:
    """z of the loss, its slope in the logits, and which classes are kept (None for all)."""
    o = part.options
    z = cast(xp, part.z, wide_dtype(xp, part.z))
    if o.where is not None:
        z = xp.where(o.where, z, 0.0)
    slope: Any = 1.0
    if o.softcap is not None:
        z = z / o.softcap
        sech = 1 / xp.cosh(z)
        z, slope = o.softcap * xp.tanh(z), sech * sech
    temperature: Any = o.temperature
    if getattr(temperature, "ndim", 0):
        temperature = xp.expand_dims(cast(xp, temperature, z.dtype), axis=1)
    z, slope = z / temperature, slope / temperature
    if o.where is not None:
        z = xp.where(o.where, z, -INF)
    return z, slope, o.where


def _own_weights(xp: Any, z: Any, part: Part) -> Any:
    """w·q of the classes of the part."""
    if part.target.ndim == 2:
        q = cast(xp, part.target, z.dtype)
    else:
        label = xp.expand_dims(part.target - part.first, axis=1)
        q = cast(xp, positions(xp, z, 1) == label, z.dtype)
    return q if part.options.weight is None else q * cast(xp, part.options.weight, z.dtype)


def _class_weights(xp: Any, z: Any, part: Part) -> Any:
    """w of the classes that are kept, 0 of the others."""
    w = xp.full_like(z, 1.0)
    if part.options.weight is not None:
        w = w * cast(xp, part.options.weight, z.dtype)
    return w if part.options.where is None else xp.where(part.options.where, w, 0.0)


@quiet
def state_of(part: Part) -> State:
    """Sum up a part."""
    xp = namespace_of(part.z)
    z, _, where = _transformed(xp, part)
    top = xp.max(z, axis=1, keepdims=True)
    base = xp.where(top > -INF, top, 0.0)  # a nan stays: nan > -inf is false, but then z - 0 holds it
    shift = xp.where(top == INF, NAN, base - z)
    e = xp.exp(-shift)
    is_top = z == top
    index = positions(xp, z, 1)
    first = xp.min(xp.where(is_top, index, z.shape[1]), axis=1, keepdims=True)
    here = index == first
    rest = xp.sum(xp.where(here, 0.0, e), axis=1) - xp.where(top[:, 0] == -INF, 1.0, 0.0)
    own, w = _own_weights(xp, z, part), _class_weights(xp, z, part)
    kept = xp.sum(cast(xp, where, z.dtype), axis=1) if where is not None else xp.sum(xp.full_like(z, 1.0), axis=1)

    def total(weights: Any) -> Any:
        return xp.sum(xp.where(weights == 0, 0.0, weights * shift), axis=1)

    return State(
        top[:, 0],
        rest,
        total(own),
        xp.sum(own, axis=1),
        total(w),
        xp.sum(w, axis=1),
        kept,
        total(e),
        cast(xp, xp.where(first[:, 0] < z.shape[1], first[:, 0] + part.first, 0), z.dtype),
    )


@quiet
def join(a: State, b: State) -> State:
    """The state of two parts, the classes of a before those of b."""
    xp = namespace_of(a.top)
    larger = b.top > a.top
    top = xp.where(larger, b.top, a.top)

    def moved(s: State, is_top: Any) -> tuple[Any, ...]:
        """Its sums against the common maximum."""
        gap = xp.where(s.top > -INF, top - s.top, 0.0)  # 0 in a part without classes, whose sums are 0 or inf
        gap = xp.where(is_top, 0.0, gap)
        shrink = xp.exp(-gap)
        e = (1 + s.rest) * shrink
        return (
            xp.where(is_top, s.rest, e),
            s.own + xp.where(s.own_weight == 0, 0.0, s.own_weight * gap),
            s.even + xp.where(s.even_weight == 0, 0.0, s.even_weight * gap),
            shrink * s.spread + xp.where(e == 0, 0.0, e * gap),
        )

    of_a, of_b = moved(a, ~larger), moved(b, larger)
    rest, own, even, spread = (first + second for first, second in zip(of_a, of_b, strict=True))
    return State(
        top,
        rest,
        own,
        a.own_weight + b.own_weight,
        even,
        a.even_weight + b.even_weight,
        a.kept + b.kept,
        spread,
        xp.where(larger, b.argmax, a.argmax),
    )


def _total_weight(xp: Any, s: State, options: LossOptions) -> Any:
    """A: the sum of the target weights."""
    eps = options.label_smoothing
    total = (1 - eps) * s.own_weight
    return total + eps * s.even_weight / xp.where(s.kept == 0, 1.0, s.kept) if eps else total


@quiet
def loss_of(s: State, options: LossOptions) -> Any:
    """The losses of the rows: nan in one without a softmax, inf where all is masked."""
    xp = namespace_of(s.top)
    log_sum = xp.log1p(s.rest)
    eps = options.label_smoothing
    value = (1 - eps) * (s.own + xp.where(s.own_weight == 0, 0.0, s.own_weight * log_sum))
    if eps:
        even = s.even + xp.where(s.even_weight == 0, 0.0, s.even_weight * log_sum)
        value = value + eps * even / xp.where(s.kept == 0, 1.0, s.kept)
    if options.z_loss:
        value = value + options.z_loss * (s.top + log_sum) ** 2
    value = xp.where(xp.isfinite(s.top), value, NAN)
    return xp.where(s.kept == 0, INF, value)


@quiet
def extras_of(s: State) -> dict[str, Any]:
    """Logsumexp, entropy, largest probability and its class."""
    xp = namespace_of(s.top)
    fine = xp.isfinite(s.top)
    empty = s.kept == 0
    log_sum = xp.log1p(s.rest)
    total = 1 + s.rest
    return {
        "logsumexp": xp.where(fine, s.top + log_sum, s.top),
        "entropy": xp.where(empty, 0.0, xp.where(fine, log_sum + s.spread / total, NAN)),
        "max_probability": xp.where(empty, 0.0, xp.where(fine, 1 / total, NAN)),
        "argmax": cast(xp, s.argmax, xp.int64),
    }


@quiet
def gradient_of(part: Part, s: State, row_scale: Any = None) -> Any:
    """The gradient of Σ row_scale · loss in the logits of a part, whose rows have the joined state s."""
    xp = namespace_of(part.z)
    o = part.options
    z, slope, where = _transformed(xp, part)

    def column(values: Any) -> Any:
        return xp.expand_dims(values, axis=1)

    log_sum = xp.log1p(s.rest)
    log_p = (z - column(s.top)) - column(log_sum)
    a = (1 - o.label_smoothing) * _own_weights(xp, z, part)
    if o.label_smoothing:
        share = o.label_smoothing / xp.where(s.kept == 0, 1.0, s.kept)
        a = a + column(share) * _class_weights(xp, z, part)
    total = column(_total_weight(xp, s, o))
    # Where p is near 1: A p - a = (A - a) - A (1 - p), the loss of digits in 1 - p left out.
    near = log_p > -0.5
    p = xp.exp(log_p)
    gradient = xp.where(near, (total - a) + total * xp.expm1(xp.where(near, log_p, 0.0)), total * p - a)
    if o.z_loss:
        gradient = gradient + column(2 * o.z_loss * (s.top + log_sum)) * p
    gradient = gradient * slope
    if row_scale is not None:
        gradient = gradient * (column(cast(xp, row_scale, z.dtype)) if getattr(row_scale, "ndim", 0) else row_scale)
    gradient = xp.where(column(xp.isfinite(s.top)), gradient, NAN)
    if where is not None:
        gradient = xp.where(where, gradient, 0.0)
    if part.target.ndim == 1 and o.ignore_index is not None:
        gradient = xp.where(column(part.target != o.ignore_index), gradient, 0.0)
    return cast(xp, gradient, part.z.dtype)
