"""The exponential of a shifted logit, and sums of such exponentials.

e = exp(x - m), m the row maximum:

* float32 rows, in float64 arithmetic: x - m = k ln 2 + r, exp(r) by a degree-6 minimax polynomial of relative error
  2^-28.3; k goes into the exponent field.
* float64 rows: x - m is split exactly into h + l (TwoSum), r = h - k ln 2 + l keeps its rounding error, and exp(r) - 1
  is a degree-11 minimax polynomial of relative error 2^-57.9. The result is scaled by 2^512, so that neither a sum nor
  a quotient of two such numbers meets the subnormal range: the only rounding there is the last one.

The polynomials are minimax approximations of (exp(r) - 1 - r) / r^2 on |r| <= ln(2)/2 (Remez exchange, 200 bits).
Every multiply-add is an explicit fma and every sum has its order: rows, tails and columns give the same bits.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
from numba import types
from numba.extending import overload

from .simd import (
    add_integers,
    fma,
    from_bits,
    halves,
    inlined,
    lane,
    larger,
    less,
    narrow,
    select,
    shift_left,
    splat,
    to_bits,
    widen,
)

SCALE = 512  # float64 exponentials are kept as 2^SCALE times their value

_LOG2E = 1.4426950408889634
_LN2 = 0.6931471805599453
_LN2_HI = float.fromhex("0x1.62e42fefa3800p-1")  # 42 bits: k * _LN2_HI is exact for |k| < 2^11
_LN2_LO = float.fromhex("0x1.ef35793c76730p-45")
_ROUND = 6755399441055744.0  # 1.5 * 2^52: adding it leaves the nearest integer in the low bits
_SCALE_BITS = (1023 + SCALE) << 52
_LOWEST64 = -1000.0  # exp of less underflows to 0 whatever it is divided by; also maps -inf to a finite number
_LOWEST32 = -700.0

_A2 = 0.49999993472900072
_A3 = 0.16666520704059853
_A4 = 0.041668385245298617
_A5 = 0.0083687167640566239
_A6 = 0.0013814690146285749

_B2 = float.fromhex("0x1.0000000000009p-1")
_B3 = float.fromhex("0x1.55555555554fap-3")
_B4 = float.fromhex("0x1.5555555550976p-5")
_B5 = float.fromhex("0x1.1111111127bbbp-7")
_B6 = float.fromhex("0x1.6c16c18400cc1p-10")
_B7 = float.fromhex("0x1.a01a012a1a856p-13")
_B8 = float.fromhex("0x1.a0199a642576cp-16")
_B9 = float.fromhex("0x1.71df26405ddb6p-19")
_B10 = float.fromhex("0x1.28ad31f6715cap-22")
_B11 = float.fromhex("0x1.ad7d990460f35p-26")


@inlined
def two_sum(a, b):
    """(s, e): s = fl(a + b), and s + e = a + b exactly (Knuth)."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


@inlined
def _exp32(t):
    t = select(less(t, splat(_LOWEST32)), splat(_LOWEST32), t)  # in this order a nan stays
    shifted = fma(t, splat(_LOG2E), splat(_ROUND))
    r = fma(shifted - splat(_ROUND), splat(-_LN2), t)
    q = fma(fma(splat(_A6), r, splat(_A5)), r, splat(_A4))
    q = fma(fma(q, r, splat(_A3)), r, splat(_A2))
    p = fma(fma(q, r, splat(1.0)), r, splat(1.0))
    return from_bits(add_integers(to_bits(p), shift_left(to_bits(shifted), splat(52))))


@inlined
def _exp64(h, low):
    far = less(h, splat(_LOWEST64))
    low = select(far, splat(0.0), low)
    h = select(far, splat(_LOWEST64), h)
    shifted = fma(h, splat(_LOG2E), splat(_ROUND))
    k = shifted - splat(_ROUND)
    high = fma(k, splat(-_LN2_HI), h)
    low = fma(k, splat(-_LN2_LO), low)
    r = high + low
    low = (high - r) + low
    q = fma(fma(splat(_B11), r, splat(_B10)), r, splat(_B9))
    q = fma(fma(q, r, splat(_B8)), r, splat(_B7))
    q = fma(fma(q, r, splat(_B6)), r, splat(_B5))
    q = fma(fma(q, r, splat(_B4)), r, splat(_B3))
    q = fma(q, r, splat(_B2))
    u = r + fma(r * r, q, low)
    s = from_bits(add_integers(shift_left(to_bits(shifted), splat(52)), splat(_SCALE_BITS)))
    return fma(u, s, s)


@inlined
def exp_coarse(t):
    """exp of float64 t <= 0 with a relative error of 2^-28, and 1e-304 below -700."""
    return _exp32(t)


# One meaning, one implementation per dtype of the row, chosen when a kernel is compiled. Where a function takes x only
# to know that dtype, it says so by its name `like`.
def exp_shifted(x, m):  # pragma: no cover - compiled
    """exp(x - m) of vectors x and m, m the row maximum: float64; times 2^SCALE for float64 rows."""


def unit(like):  # pragma: no cover - compiled
    """exp_shifted(m, m): 1, or 2^SCALE."""


def add(acc, error, value, like):  # pragma: no cover - compiled
    """(acc, error) + value: plain for float32 rows, compensated for float64 rows."""


def add_to_larger(acc, error, value, like):  # pragma: no cover - compiled
    """The same where acc >= |value|: three operations fewer."""


def fold(acc, error, like):  # pragma: no cover - compiled
    """Add the lanes pairwise, j and j + 8, then 4, 2, 1: (sum, its rounding error)."""


def quotient(e, high, low, like):  # pragma: no cover - compiled
    """e * (high + low), rounded once to the dtype of the row."""


def scratch(e, out, start):  # pragma: no cover - compiled
    """(array, offset) for the exponentials of a row: the buffer e for float32, the output itself for float64."""


def wide(v):  # pragma: no cover - compiled
    """v as float64."""


def narrow_like(v, like):  # pragma: no cover - compiled
    """float64 v in the dtype of the row."""


def deviation(v, centre, rest):  # pragma: no cover - compiled
    """v - (centre + rest) in float64, rounded once: centre and rest are the exact sum of two numbers."""


def shifted_minus(x, m, c, like):  # pragma: no cover - compiled
    """x - m - c, rounded once (float32) or to within an ulp (float64); c >= 0 >= x - m, hence no cancellation."""


_INLINE = {"forceinline": True, "error_model": "numpy"}


@overload(exp_shifted, jit_options=_INLINE)
def _exp_shifted(x, m):
    if x.dtype == types.float32:
        return lambda x, m: _exp32(widen(x) - widen(m))

    def exact(x, m):
        h = x - m
        b = h - x
        return _exp64(h, (x - (h - b)) - (m + b))

    return exact


@overload(unit, jit_options=_INLINE)
def _unit(like):
    return (lambda like: 1.0) if like.dtype == types.float32 else (lambda like: 2.0**SCALE)


@overload(add, jit_options=_INLINE)
def _add(acc, error, value, like):
    if like.dtype == types.float32:
        return lambda acc, error, value, like: (acc + value, error)

    def compensated(acc, error, value, like):
        total, rounding = two_sum(acc, value)
        return total, error + rounding

    return compensated


@overload(add_to_larger, jit_options=_INLINE)
def _add_to_larger(acc, error, value, like):
    if like.dtype == types.float32:
        return lambda acc, error, value, like: (acc + value, error)

    def compensated(acc, error, value, like):
        total = acc + value
        return total, error + (value - (total - acc))

    return compensated


@overload(quotient, jit_options=_INLINE)
def _quotient(e, high, low, like):
    if like.dtype == types.float32:
        return lambda e, high, low, like: narrow(e * high)
    return lambda e, high, low, like: fma(e, high, e * low)


@overload(scratch, jit_options=_INLINE)
def _scratch(e, out, start):
    if out.dtype == types.float32:
        return lambda e, out, start: (e, 0)
    return lambda e, out, start: (out, start)


@overload(shifted_minus, jit_options=_INLINE)
def _shifted_minus(x, m, c, like):
    if like.dtype == types.float32:
        return lambda x, m, c, like: narrow((widen(x) - widen(m)) - c)

    def exact(x, m, c, like):
        h, low = two_sum(x, -m)
        low = select(less(h, splat(_LOWEST64)), splat(0.0), low)
        return h - (c - low)

    return exact


@overload(wide, jit_options=_INLINE)
def _wide(v):
    return (lambda v: widen(v)) if v.dtype == types.float32 else (lambda v: v)


@overload(narrow_like, jit_options=_INLINE)
def _narrow_like(v, like):
    return (lambda v, like: narrow(v)) if like.dtype == types.float32 else (lambda v, like: v)


@overload(deviation, jit_options=_INLINE)
def _deviation(v, centre, rest):
    if v.dtype == types.float32:
        # Where v is the pivot and p next to 1, v - centre is 0 and rest is all there is.
        return lambda v, centre, rest: (widen(v) - centre) - rest

    def exact(v, centre, rest):
        d, low = two_sum(v, -centre)
        return d + (low - rest)

    return exact


@inlined
def _fold_once(acc, error):
    a, b = halves(acc)
    total, rounding = two_sum(a, b)
    a, b = halves(error)
    return total, rounding + (a + b)


@overload(fold, jit_options=_INLINE)
def _fold(acc, error, like):
    if like.dtype == types.float32:

        def plain(acc, error, like):
            a8, b8 = halves(acc)
            a4, b4 = halves(a8 + b8)
            a2, b2 = halves(a4 + b4)
            a1, b1 = halves(a2 + b2)
            return lane(a1 + b1, 0), 0.0

        return plain

    def compensated(acc, error, like):
        a8, e8 = _fold_once(acc, error)
        a4, e4 = _fold_once(a8, e8)
        a2, e2 = _fold_once(a4, e4)
        a1, e1 = _fold_once(a2, e2)
        return lane(a1, 0), lane(e1, 0)

    return compensated


@inlined
def fold_max(v):
    """The largest lane."""
    a8, b8 = halves(v)
    a4, b4 = halves(larger(a8, b8))
    a2, b2 = halves(larger(a4, b4))
    a1, b1 = halves(larger(a2, b2))
    return lane(larger(a1, b1), 0)


@inlined
def reciprocal(total, error, one):
    """1 / (total + error) as high + low; `one` is 1 in the kind of total, scalar or vector."""
    high = one / total
    return high, (fma(high, -total, one) - error * high) * high
