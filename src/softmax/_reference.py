"""The slow exact twin of every function: the truth in the tests and in the gate of the benchmarks.

Twice, so that each checks the other:

- `row_*` take one row as a list of floats and follow the definition with `math` alone. Read them to see what is meant.
- The others take arrays and return a `Pair`, a number of about 100 bits held as the unevaluated sum of two float64 with
  a common exponent, by the error-free transformations of Dekker (1971) and Knuth (TAOCP 2, 4.2.2). Their relative error
  is below 2**-70, a fraction of 1e-5 of an ulp of float64; a million entries take less than a second.

A row without a softmax (its maximum is nan or infinite) gives nan, a masked entry 0 or -inf, and nothing warns.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from ._typing import LossOptions

_F = TypeVar("_F", bound=Callable[..., Any])
_INF = math.inf


# One row, by the definitions


def row_logsumexp(row: Sequence[float]) -> float:
    """Return log of the sum of exp(row); log1p keeps a sum that is small beside its largest term."""
    top = max(row, default=-_INF)
    if not math.isfinite(top):
        return top
    rest = list(row)
    rest.remove(top)
    return top + math.log1p(math.fsum(math.exp(v - top) for v in rest))


def row_softmax(row: Sequence[float]) -> list[float]:
    """Return exp(row) over its sum."""
    top = max(row)
    terms = [math.exp(v - top) for v in row]
    total = math.fsum(terms)
    return [term / total for term in terms]


def row_log_softmax(row: Sequence[float]) -> list[float]:
    """Return row minus its logsumexp."""
    top = max(row)
    log_total = row_logsumexp([v - top for v in row])
    return [(v - top) - log_total for v in row]


def row_softmax_jacobian(row: Sequence[float]) -> list[list[float]]:
    """Return S_i (1 - S_i) on the diagonal, -S_i S_j beside it."""
    p = row_softmax(row)
    return [[a * (1 - b) if i == j else -a * b for j, b in enumerate(p)] for i, a in enumerate(p)]


def row_softmax_jvp(row: Sequence[float], v: Sequence[float]) -> list[float]:
    """Multiply the Jacobian of softmax by v, row by row."""
    return [math.fsum(a * b for a, b in zip(line, v, strict=True)) for line in row_softmax_jacobian(row)]


def row_log_softmax_jvp(row: Sequence[float], v: Sequence[float]) -> list[float]:
    """Return v - <p, v>."""
    p = row_softmax(row)
    return [math.fsum([a, *(-b * c for b, c in zip(p, v, strict=True))]) for a in v]


def row_log_softmax_vjp(row: Sequence[float], g: Sequence[float]) -> list[float]:
    """Return g - p sum(g)."""
    return [math.fsum([a, *(-b * c for c in g)]) for a, b in zip(g, row_softmax(row), strict=True)]


def row_entropy(row: Sequence[float]) -> float:
    """Return minus the sum of p log p, in nats; 0 log 0 is 0."""
    return -math.fsum(p * log_p for p, log_p in zip(row_softmax(row), row_log_softmax(row), strict=True) if p)


def row_kl_divergence(row_p: Sequence[float], row_q: Sequence[float]) -> float:
    """Return the sum of p (log p - log q), in nats; 0 log 0 is 0."""
    terms = zip(row_softmax(row_p), row_log_softmax(row_p), row_log_softmax(row_q), strict=True)
    return math.fsum(p * (log_p - log_q) for p, log_p, log_q in terms if p)


def row_cross_entropy(
    row: Sequence[float],
    target: int | Sequence[float],
    *,
    weight: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
    temperature: float = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
) -> float:
    """Return minus the sum of weight · target · log p, in nats, plus z_loss · logsumexp²."""
    z = [(v if softcap is None else softcap * math.tanh(v / softcap)) / temperature for v in row]
    n = len(z)
    q = list(target) if isinstance(target, Sequence) else [float(j == target) for j in range(n)]
    q = [(1 - label_smoothing) * a + label_smoothing / n for a in q]
    w = [1.0] * n if weight is None else weight
    terms = (-b * a * log_p for a, b, log_p in zip(q, w, row_log_softmax(z), strict=True) if a * b)
    return math.fsum(terms) + z_loss * row_logsumexp(z) ** 2


# Arithmetic on pairs


def _two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _split(a: Any) -> tuple[Any, Any]:
    wide = 134217729.0 * a
    high = wide - (wide - a)
    return high, a - high


def _two_product(a: Any, b: Any) -> tuple[Any, Any]:
    product = a * b
    (a1, a2), (b1, b2) = _split(a), _split(b)
    return product, ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2


class Pair:
    """(hi + lo) · 2**exponent, with abs(lo) at most half an ulp of hi; lo is 0 where hi is not finite."""

    __array_ufunc__ = None
    __slots__ = ("exponent", "hi", "lo")

    def __init__(self, hi: Any, lo: Any = 0.0, exponent: Any = 0) -> None:
        hi = np.asarray(hi, dtype=np.float64)
        with np.errstate(all="ignore"):
            total = hi + lo
            rest = lo - (total - hi)
        self.hi: Any = total
        self.lo: Any = np.where(np.isfinite(total), rest, 0.0)
        self.exponent: Any = exponent

    def at(self, exponent: Any) -> Pair:
        """Return the same number with another exponent; what becomes subnormal is rounded."""
        shift = self.exponent - exponent
        if np.all(shift == 0):
            return Pair(self.hi, self.lo, exponent)
        return Pair(np.ldexp(self.hi, shift), np.ldexp(self.lo, shift), exponent)

    def rounded(self) -> Any:
        """Return the nearest float64 (a subnormal one is rounded twice)."""
        return np.ldexp(self.hi, self.exponent)

    def __neg__(self) -> Pair:
        return Pair(-self.hi, -self.lo, self.exponent)

    def __add__(self, other: Any) -> Pair:
        b = _as_pair(other)
        exponent = np.maximum(self.exponent, b.exponent)
        a, b = self.at(exponent), b.at(exponent)
        high, low = _two_sum(a.hi, b.hi)
        high2, low2 = _two_sum(a.lo, b.lo)
        low = low + high2
        first = high + low
        low = low - (first - high)
        return Pair(np.where(np.isfinite(high), first, high), np.where(np.isfinite(high), low + low2, 0.0), exponent)

    def __sub__(self, other: Any) -> Pair:
        return self + -_as_pair(other)

    def __mul__(self, other: Any) -> Pair:
        b = _as_pair(other)
        product, error = _two_product(self.hi, b.hi)
        error = np.where(np.isfinite(product), error + (self.hi * b.lo + self.lo * b.hi), 0.0)
        return Pair(product, error, self.exponent + b.exponent)

    def __truediv__(self, other: Any) -> Pair:
        b = _as_pair(other)
        quotient = self.hi / b.hi
        known = np.where(np.isfinite(quotient), quotient, 0.0)
        plain = Pair(b.hi, b.lo)
        left = Pair(self.hi, self.lo) - plain * known
        second = np.where(np.isfinite(quotient), left.hi / b.hi, 0.0)
        return Pair(quotient, np.where(np.isfinite(second), second, 0.0), self.exponent - b.exponent)

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other: Any) -> Pair:
        return _as_pair(other) - self

    def __getitem__(self, key: Any) -> Pair:
        exponent = self.exponent if np.ndim(self.exponent) == 0 else self.exponent[key]
        return Pair(self.hi[key], self.lo[key], exponent)

    def moveaxis(self, source: int, destination: int) -> Pair:
        """Return the pair with one axis moved."""
        exponent = self.exponent
        if np.ndim(exponent):
            exponent = np.moveaxis(exponent, source, destination)
        return Pair(np.moveaxis(self.hi, source, destination), np.moveaxis(self.lo, source, destination), exponent)

    def sum(self, axis: int = -1) -> Pair:
        """Return the sum along an axis, which stays with length 1."""
        rows = self.at(np.max(self.exponent)).moveaxis(axis, -1)
        if rows.hi.shape[-1] == 0:
            zero = np.zeros((*rows.hi.shape[:-1], 1))
            return Pair(zero).moveaxis(-1, axis)
        while (n := rows.hi.shape[-1]) > 1:
            half = n // 2
            total = rows[..., :half] + rows[..., half : 2 * half]
            if n % 2:
                total = _concatenate([total, rows[..., -1:]])
            rows = total
        return rows.moveaxis(-1, axis)


def _concatenate(pairs: list[Pair]) -> Pair:
    """Join pairs of one exponent along the last axis."""
    high = np.concatenate([p.hi for p in pairs], axis=-1)
    return Pair(high, np.concatenate([p.lo for p in pairs], axis=-1), pairs[0].exponent)


def _as_pair(value: Any) -> Pair:
    return value if isinstance(value, Pair) else Pair(value)


def _choose(condition: Any, a: Any, b: Any) -> Pair:
    """Take `a` where the condition holds, else `b`. The constants 0, inf and nan have the exponent of the other."""
    if not isinstance(a, Pair):
        a = Pair(a, 0.0, b.exponent if isinstance(b, Pair) and _scales_to_itself(a) else 0)
    if not isinstance(b, Pair):
        b = Pair(b, 0.0, a.exponent if _scales_to_itself(b) else 0)
    exponent = a.exponent
    if np.ndim(a.exponent) or np.ndim(b.exponent) or a.exponent != b.exponent:
        exponent = np.where(condition, a.exponent, b.exponent)
    return Pair(np.where(condition, a.hi, b.hi), np.where(condition, a.lo, b.lo), exponent)


def _scales_to_itself(value: Any) -> bool:
    return np.ndim(value) == 0 and (value == 0 or not math.isfinite(value))


# exp and log of pairs

_SCALE = 600  # exponentials are held times 2**600, so that exp(-745) and its error are normal numbers
_STEPS = 256
_BLOCK = 16384
_FACTORIALS = [1 / math.factorial(k) for k in range(8, 2, -1)]


def _to_pair(value: int, bits: int) -> tuple[float, float]:
    """Return value / 2**bits as the nearest float64 and the float64 nearest to what is left."""
    high = value / (1 << bits)
    numerator, denominator = high.as_integer_ratio()
    return high, (value - (numerator << bits) // denominator) / (1 << bits)


@functools.cache
def _log_two() -> tuple[float, float, float]:
    """Return log 2 in three parts, the first two of 40 bits: their products with an exponent are exact."""
    bits = 240
    value = sum((1 << bits) // (k << k) for k in range(1, bits))
    first = value >> (bits - 40)
    second = (value - (first << (bits - 40))) >> (bits - 80)
    third = value - (first << (bits - 40)) - (second << (bits - 80))
    return math.ldexp(first, -40), math.ldexp(second, -80), math.ldexp(third, -bits)


@functools.cache
def _exp_table() -> tuple[Any, Any]:
    """Return exp(j / 256) for j from -128 to 128, by integers of 240 bits."""
    bits = 240
    entries = []
    for j in range(-128, 129):
        term = total = 1 << bits
        for k in range(1, 60):
            term = term * j // (_STEPS * k)
            total += term
        entries.append(_to_pair(total, bits))
    high, low = (np.array(part) for part in zip(*entries, strict=True))
    return high, low


def _exp_parts(t: Pair) -> tuple[Any, Pair, Pair]:
    """Return the three parts of exp(t) = 2**k (table + rest), for abs(t) <= 1000."""
    first, second, third = _log_two()
    k = np.rint(t.hi / math.log(2))
    reduced = t + Pair(-k * first) + Pair(-k * second, -k * third)
    j = np.rint(reduced.hi * _STEPS)
    f = reduced - j / _STEPS
    tail = np.zeros_like(f.hi)
    for coefficient in _FACTORIALS:
        tail = tail * f.hi + coefficient
    growth = f + f * f * 0.5 + tail * f.hi * f.hi * f.hi
    index = j.astype(np.int64) + 128
    table = Pair(_exp_table()[0][index], _exp_table()[1][index])
    return k.astype(np.int64), table, table * growth


def _in_blocks(function: _F) -> _F:
    """Apply a function of one pair to blocks of entries that stay in the cache."""

    @functools.wraps(function)
    def blocked(t: Pair) -> Pair:
        high, low = t.hi.ravel(), t.lo.ravel()
        starts = range(0, max(high.size, 1), _BLOCK)
        flat = _concatenate([function(Pair(high[i : i + _BLOCK], low[i : i + _BLOCK])) for i in starts])
        return Pair(flat.hi.reshape(t.hi.shape), flat.lo.reshape(t.hi.shape), flat.exponent)

    return blocked  # type: ignore[return-value]


@_in_blocks
def _exp(t: Pair) -> Pair:
    """Return exp(t) with the exponent -600, for t <= 1000; 0 below -1000."""
    usable = t.hi > -1000
    k, table, rest = _exp_parts(_choose(usable, t, 0.0))
    value = table + rest
    high, low = (np.where(usable, np.ldexp(part, k + _SCALE), 0.0) for part in (value.hi, value.lo))
    return Pair(np.where(np.isnan(t.hi), t.hi, high), low, -_SCALE)


@_in_blocks
def _expm1(t: Pair) -> Pair:
    """Return exp(t) - 1 for abs(t) <= 1000, without cancellation near 0."""
    k, table, rest = _exp_parts(t)
    return (Pair(np.ldexp(table.hi, k), np.ldexp(table.lo, k)) - 1.0) + Pair(np.ldexp(rest.hi, k), np.ldexp(rest.lo, k))


def _log(total: Pair, beyond_one: Pair | None = None) -> Pair:
    """Return log of a positive finite total, of which `beyond_one` (total - 1) may be known better: one Newton step."""
    rest = total - 1.0 if beyond_one is None else beyond_one
    unscaled = rest.at(0)
    near = np.abs(unscaled.hi) < 0.5
    start = np.where(near, np.log1p(np.where(near, unscaled.hi, 0.0)), np.log(total.at(0).hi))
    grown = _expm1(Pair(start))
    return Pair(start) + (unscaled - grown) / (grown + 1.0)


def _tanh(u: Pair) -> Pair:
    """Return tanh(u); it is 1 from 400 on, where it is nearer to 1 than any pair."""
    doubled = _choose(np.abs(u.hi) < 400, u + u, np.sign(u.hi) * 800.0)
    grown = _expm1(doubled)
    value = grown / (grown + 2.0)
    return _choose(np.isnan(u.hi), u, value)


# Rows of logits


def _quiet(function: _F) -> _F:
    """Silence NumPy's warnings: nan and inf are part of the policy."""

    @functools.wraps(function)
    def silent(*args: Any, **kwargs: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)

    return silent  # type: ignore[return-value]


class _Rows:
    """Rows of z along one axis, shifted by their maximum, with what every function starts from."""

    def __init__(
        self, x: Any, axis: int, where: Any = None, temperature: float = 1.0, softcap: float | None = None
    ) -> None:
        given = np.asarray(x)
        x = given.astype(np.float64)
        self.axis = axis % x.ndim
        self.mask = np.ones(x.shape, bool) if where is None else np.broadcast_to(np.asarray(where), x.shape)
        self.tanh: Pair | None = None
        if softcap is None:
            divided = temperature != 1.0 and given.dtype.kind not in "iub"
            # Divided in the arithmetic of x: the bounds hold for the rounded quotient.
            z = Pair((given / given.dtype.type(temperature)).astype(np.float64) if divided else x / temperature)
        else:
            self.tanh = _tanh(Pair(np.where(self.mask, x, 0.0)) / Pair(float(softcap)))
            z = self.tanh * softcap / Pair(float(temperature))
        z = _choose(self.mask, z, -_INF)
        self.z = z
        high = np.max(z.hi, axis=self.axis, keepdims=True, initial=-_INF)
        low = np.max(np.where(z.hi == high, z.lo, -_INF), axis=self.axis, keepdims=True, initial=-_INF)
        self.top = Pair(high, np.where(np.isfinite(low), low, 0.0))
        self.finite = np.isfinite(high)
        self.unmasked = self.mask.any(axis=self.axis, keepdims=True)
        # Rows without a softmax are computed as zeros and blanked at the end.
        self.shifted = _choose(self.finite, z - self.top, 0.0)
        self.exp = _choose(self.finite, _exp(self.shifted), 0.0)
        leader = np.argmax((self.shifted.hi == 0) & (self.shifted.lo == 0), axis=self.axis) if x.size else None
        self.leads = np.zeros(x.shape, bool)
        if leader is not None:
            np.put_along_axis(self.leads, np.expand_dims(leader, self.axis), True, axis=self.axis)
        self.rest = _choose(self.leads, 0.0, self.exp).sum(self.axis)  # without one maximum
        self.total = self.rest.at(0) + 1.0

    @functools.cached_property
    def p(self) -> Pair:
        """Probabilities, with the exponent -600."""
        return self.exp / self.total

    @functools.cached_property
    def complement(self) -> Pair:
        """1 - p; at the largest entry from the others, so that it is not lost where p is near 1."""
        return _choose(self.leads, (self.rest / self.total).at(0), 1.0 - self.p.at(0))

    @functools.cached_property
    def log_total(self) -> Pair:
        """Log of the sum of exp(shifted); where that is below 1e-100, the sum without the maximum itself."""
        tiny = self.rest.hi < math.ldexp(1.0, _SCALE - 333)
        return _choose(tiny, self.rest, _log(self.total, self.rest))

    def blank(self, value: Any, masked: float) -> Pair:
        """Put nan in rows without a softmax, `masked` behind the mask."""
        return _choose(self.mask, _choose(self.finite, value, math.nan), masked)

    def reduced(self, value: Pair, bad: Any) -> Pair:
        """Return one number per row, without the axis; `bad` in rows without a softmax."""
        value = _choose(self.finite, value, bad)
        exponent = value.exponent if np.ndim(value.exponent) == 0 else np.squeeze(value.exponent, self.axis)
        return Pair(np.squeeze(value.hi, self.axis), np.squeeze(value.lo, self.axis), exponent)


# The function


@_quiet
def softmax(x: Any, axis: int = -1, *, where: Any = None, temperature: float = 1.0) -> Pair:
    """Return exp(x/T) over its sum."""
    rows = _Rows(x, axis, where, temperature)
    return rows.blank(rows.p, 0.0)


@_quiet
def log_softmax(x: Any, axis: int = -1, *, where: Any = None, temperature: float = 1.0) -> Pair:
    """Return x/T minus its logsumexp."""
    rows = _Rows(x, axis, where, temperature)
    at_top = (rows.shifted.hi == 0) & (rows.shifted.lo == 0)
    log_total = rows.log_total
    return rows.blank(_choose(at_top, -log_total, rows.shifted - log_total), -_INF)


@_quiet
def logsumexp(x: Any, axis: int = -1, *, b: Any = None, where: Any = None, temperature: float = 1.0) -> Pair:
    """Return log of the sum of b·exp(x/T), without the axis; nan where a weighted sum is negative."""
    if b is not None:
        return weighted_logsumexp(x, b, axis, where=where, temperature=temperature)[0]
    rows = _Rows(x, axis, where, temperature)
    at_zero = (rows.top.hi == 0) & (rows.top.lo == 0)
    log_total = rows.log_total
    return rows.reduced(_choose(at_zero, log_total, rows.top + log_total), rows.top.hi)


@_quiet
def weighted_logsumexp(
    x: Any, b: Any, axis: int = -1, *, where: Any = None, temperature: float = 1.0
) -> tuple[Pair, Any]:
    """Return log of the sum of b·exp(x/T), nan where that is negative, and its sign; finite logits only."""
    x, b = np.broadcast_arrays(np.asarray(x), np.asarray(b, dtype=np.float64))
    rows = _Rows(x, axis, b != 0 if where is None else (b != 0) & np.asarray(where), temperature)
    total = (rows.exp * b).sum(rows.axis).at(0)
    sign = np.sign(total.hi)
    value = rows.top + _log(total * sign)
    value = _choose(sign == 0, -_INF, _choose(sign < 0, math.nan, value))
    return rows.reduced(value, rows.top.hi), np.squeeze(sign, rows.axis)


# The derivative


def _vectors(rows: _Rows, g: Any) -> Pair:
    """Return a direction or a cotangent, 0 behind the mask."""
    return Pair(np.where(rows.mask, np.asarray(g).astype(np.float64), 0.0))


def _centred(rows: _Rows, g: Pair) -> Pair:
    """Return g - <p, g>, the cotangent counted from its entry at the largest probability."""
    d = g - _choose(rows.leads, g, 0.0).sum(rows.axis)
    return d - (rows.p * d).sum(rows.axis)


@_quiet
def softmax_vjp(x: Any, g: Any, axis: int = -1, *, where: Any = None, temperature: float = 1.0) -> Pair:
    """Return p (g - <p, g>) / T."""
    rows = _Rows(x, axis, where, temperature)
    return rows.blank(rows.p * _centred(rows, _vectors(rows, g)) / float(temperature), 0.0)


softmax_jvp = softmax_vjp  # the Jacobian is symmetric


@_quiet
def log_softmax_jvp(x: Any, v: Any, axis: int = -1, *, where: Any = None, temperature: float = 1.0) -> Pair:
    """Return (v - <p, v>) / T."""
    rows = _Rows(x, axis, where, temperature)
    return rows.blank(_centred(rows, _vectors(rows, v)) / float(temperature), 0.0)


@_quiet
def log_softmax_vjp(x: Any, g: Any, axis: int = -1, *, where: Any = None, temperature: float = 1.0) -> Pair:
    """Return (g - p sum(g)) / T."""
    rows = _Rows(x, axis, where, temperature)
    return rows.blank(_less_share(rows, _vectors(rows, g)) / float(temperature), 0.0)


def _less_share(rows: _Rows, a: Pair) -> Pair:
    """Return a - p sum(a); at the largest entry (1 - p) a - p (sum of the others)."""
    total = a.sum(rows.axis)
    others = _choose(rows.leads, 0.0, a).sum(rows.axis)
    return _choose(rows.leads, rows.complement * a - rows.p.at(0) * others, a - rows.p.at(0) * total)


@_quiet
def softmax_jacobian(x: Any, axis: int = -1, *, where: Any = None, temperature: float = 1.0) -> Pair:
    """Return S_i (1 - S_i) on the diagonal and -S_i S_j beside it, over T; its two axes are last."""
    rows = _Rows(x, axis, where, temperature)
    p, complement = rows.blank(rows.p, 0.0).at(0).moveaxis(rows.axis, -1), rows.complement.moveaxis(rows.axis, -1)
    n = p.hi.shape[-1]
    dense = _choose(np.eye(n, dtype=bool), (p * complement)[..., None], -(p[..., :, None] * p[..., None, :]))
    return dense / float(temperature)


logsumexp_hessian = softmax_jacobian  # at T = 1


@_quiet
def log_softmax_jacobian(x: Any, axis: int = -1, *, where: Any = None, temperature: float = 1.0) -> Pair:
    """Return 1 - S_i on the diagonal and -S_j beside it, over T; its two axes are last, masked rows are 0."""
    rows = _Rows(x, axis, where, temperature)
    p, complement = rows.blank(rows.p, 0.0).at(0).moveaxis(rows.axis, -1), rows.complement.moveaxis(rows.axis, -1)
    n = p.hi.shape[-1]
    dense = _choose(np.eye(n, dtype=bool), complement[..., None], -p[..., None, :])
    return _choose(np.moveaxis(rows.mask, rows.axis, -1)[..., None], dense, 0.0) / float(temperature)


# The losses, in nats


@_quiet
def entropy(x: Any, axis: int = -1, *, where: Any = None, temperature: float = 1.0) -> Pair:
    """Return minus the sum of p log p; 0 where all is masked."""
    rows = _Rows(x, axis, where, temperature)
    terms = rows.p.at(0) * (rows.log_total.at(0) - rows.shifted)
    return rows.reduced(_choose(rows.exp.hi == 0, 0.0, terms).sum(rows.axis), np.where(rows.unmasked, math.nan, 0.0))


@_quiet
def kl_divergence(p: Any, q: Any, axis: int = -1, *, where: Any = None, temperature: float = 1.0) -> Pair:
    """Return the sum of P (log P - log Q), both given as logits; 0 where all is masked."""
    a, b = _Rows(p, axis, where, temperature), _Rows(q, axis, where, temperature)
    terms = a.p.at(0) * ((a.shifted - b.shifted) + (b.log_total.at(0) - a.log_total.at(0)))
    total = _choose(a.exp.hi == 0, 0.0, terms).sum(a.axis)
    return a.reduced(_choose(b.finite, total, math.nan), np.where(a.unmasked, math.nan, 0.0))


class _Loss:
    """Cross entropy of rows as sum_j c_j (lse - z_j) + z_loss lse², c being weight times smoothed target."""

    def __init__(self, logits: Any, target: Any, axis: int, options: LossOptions) -> None:
        self.options = options
        self.rows = rows = _Rows(logits, axis, options.where, options.temperature, options.softcap)
        target, n = np.asarray(target), rows.mask.shape[rows.axis]
        shape = [1] * rows.mask.ndim
        shape[rows.axis] = n
        weight = np.ones(n) if options.weight is None else np.asarray(options.weight).astype(np.float64)
        self.ignored = np.zeros(rows.finite.shape, bool)
        if target.dtype.kind in "iu":
            index = np.expand_dims(target, rows.axis)
            if options.ignore_index is not None:
                self.ignored = index == options.ignore_index
            probability = (np.arange(n).reshape(shape) == index).astype(np.float64)
        else:
            probability = target.astype(np.float64)
        classes = np.maximum(rows.mask.sum(axis=rows.axis, keepdims=True), 1)
        smoothing = float(options.label_smoothing)
        smoothed = Pair(probability) * (Pair(1.0) - smoothing) + Pair(np.where(rows.mask, smoothing, 0.0)) / classes
        self.c = _choose(self.ignored, 0.0, smoothed * weight.reshape(shape))
        self.lse = _choose(rows.finite, rows.top + rows.log_total.at(0), 0.0)

    def value(self) -> Pair:
        """Return the loss of every row; 0 where it is ignored, inf where all is masked."""
        rows = self.rows
        terms = self.c * (rows.log_total.at(0) - rows.shifted)
        total = _choose(self.c.hi == 0, 0.0, terms).sum(rows.axis)
        total = total + self.lse * self.lse * self.options.z_loss
        value = rows.reduced(total, np.where(rows.unmasked, math.nan, _INF))
        return _choose(np.squeeze(self.ignored, rows.axis), 0.0, value)

    def slopes(self) -> tuple[Pair, Pair]:
        """Return the first and second derivative of z in the logits."""
        temperature = float(self.options.temperature)
        if self.rows.tanh is None:
            return Pair(1.0) / temperature, Pair(0.0)
        tanh = self.rows.tanh
        first = (1.0 - tanh) * (1.0 + tanh) / temperature
        return first, tanh * first * -2.0 / float(self.options.softcap or 1.0)

    def grad_z(self) -> Pair:
        """Return sum(c) p - c + 2 z_loss lse p."""
        rows = self.rows
        grad = -_less_share(rows, self.c)
        return grad + rows.p.at(0) * self.lse * (2.0 * self.options.z_loss)

    def blank(self, value: Pair) -> Pair:
        """Put 0 in rows that do not count."""
        value = self.rows.blank(value, 0.0)
        return _choose(self.ignored, 0.0, value)


@_quiet
def cross_entropy(logits: Any, target: Any, axis: int = -1, options: LossOptions | None = None) -> Pair:
    """Return the loss of every row, not reduced, for class indices or probabilities."""
    return _Loss(logits, target, axis, options or LossOptions()).value()


@_quiet
def cross_entropy_grad(logits: Any, target: Any, axis: int = -1, options: LossOptions | None = None) -> Pair:
    """Return the derivative of the sum of the losses in the logits."""
    loss = _Loss(logits, target, axis, options or LossOptions())
    return loss.blank(loss.grad_z() * loss.slopes()[0])


@_quiet
def cross_entropy_hvp(logits: Any, target: Any, v: Any, axis: int = -1, options: LossOptions | None = None) -> Pair:
    """Return the second derivative of the sum of the losses times `v`."""
    loss = _Loss(logits, target, axis, options or LossOptions())
    rows, z_loss = loss.rows, 2.0 * loss.options.z_loss
    first, second = loss.slopes()
    vector = _vectors(rows, v)
    u = vector * first
    p = rows.p.at(0)
    share = loss.c.sum(rows.axis) + loss.lse * z_loss
    product = p * _centred(rows, u) * share + p * (p * u).sum(rows.axis) * z_loss
    return loss.blank(product * first + loss.grad_z() * second * vector)
