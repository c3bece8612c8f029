"""What the row kernels are made of: places in memory, the exponential, the state of a row and how two states join.

The state of (a part of) a row is its maximum m and rest, the sum of exp(z - m) without one of the maxima, whose
exponential is 1. Hence log(sum) = m + log1p(rest), which keeps its digits where one probability is near 1. Of a part
that holds nothing but -inf, 1 + rest is 0: joining it gives no nan. A nan anywhere makes rest nan.

Three arithmetics (`MODE`, with `ACC` the dtype):

    NARROW  float32, the exponential of the hardware      float16, bfloat16; float32 with precision="fast"
    DOUBLE  float64, a polynomial of error 2^-28          float32; anything under a soft cap
    FULL    float64, that of the library, and the rounding error of z - m folded in        float64
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import triton
import triton.language as tl

NARROW, DOUBLE, FULL = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
# What a launch does with a row: all of it, the state of one block, or all that follows from the states of its blocks.
WHOLE, PARTIAL, FINISH = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
# No temperature, one number, one for each row.
NONE, SCALAR, PER_ROW = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)

# What a load of logits asks of L2: keep what is read again, drop it after that.
ONCE, FIRST_PASS, SECOND_PASS = tl.constexpr(""), tl.constexpr("evict_last"), tl.constexpr("evict_first")

STATE = tl.constexpr(7)  # numbers kept of a block: m, rest, and what is summed beside them

_INF = tl.constexpr(float("inf"))
_LOG2E = tl.constexpr(1.4426950408889634)
_LN2_HI = tl.constexpr(float.fromhex("0x1.62e42fefa3800p-1"))  # 42 bits: its product with k is exact
_LN2_LO = tl.constexpr(float.fromhex("0x1.ef35793c76730p-45"))
_ROUND = tl.constexpr(6755399441055744.0)  # 1.5 * 2^52: adding it leaves the nearest integer in the low bits
# exp(r) = 1 + r + r^2 (A2 + ...) for |r| <= ln(2)/2, minimax of relative error 2^-28.3
_A2 = tl.constexpr(0.49999993472900072)
_A3 = tl.constexpr(0.16666520704059853)
_A4 = tl.constexpr(0.041668385245298617)
_A5 = tl.constexpr(0.0083687167640566239)
_A6 = tl.constexpr(0.0013814690146285749)


# Memory


@triton.jit
def place(rows, inner, outer_stride, inner_stride):
    """Offsets of rows numbered through the two dimensions that are not theirs."""
    return (rows // inner) * outer_stride + (rows % inner) * inner_stride


@triton.jit
def per_row_temperature(temperature, rows, live, KIND: tl.constexpr, ROWS: tl.constexpr):
    """The temperature of each row in float64; 1 where there is none."""
    if KIND == PER_ROW:
        t = widen(tl.load(temperature + rows, mask=live, other=1.0), tl.float64)
    elif KIND == SCALAR:
        t = tl.zeros([ROWS], tl.float64) + temperature
    else:
        t = tl.full([ROWS], 1.0, tl.float64)
    return t


@triton.jit
def widen(raw, ACC: tl.constexpr):
    """To the dtype of the arithmetic, exactly; bfloat16 by way of float32."""
    if raw.dtype == tl.bfloat16:
        raw = raw.to(tl.float32)
    return raw.to(ACC)


@triton.jit
def divided(raw, t, KIND: tl.constexpr):
    """raw / t: by one number in the dtype of raw, as the division before the call would give; else in float64."""
    if KIND == PER_ROW:
        raw = widen(raw, tl.float64) / t
    elif KIND == SCALAR:
        if raw.dtype == tl.float64:
            raw = raw / t
        else:
            divisor = tl.broadcast_to(t.to(tl.float32), raw.shape)
            raw = tl.div_rn(raw.to(tl.float32), divisor).to(raw.dtype)
    return raw


@triton.jit
def rounded(y, DTYPE: tl.constexpr):
    """To the dtype of the result; from float64 to bfloat16 by way of float32, which cannot matter at 0.5001 ulp."""
    if tl.bfloat16 == DTYPE:
        y = y.to(tl.float32)
    return y.to(DTYPE)


@triton.jit
def allowed(where, inside, offsets, MASK: tl.constexpr):
    """The entries that count: inside the row, and not masked."""
    if MASK:
        inside = inside & (tl.load(where + offsets, mask=inside, other=0) != 0)
    return inside


# Exponential


@triton.jit
def constant(value: tl.constexpr, like):
    """A number in the shape and dtype of `like`."""
    return tl.full(like.shape, value, like.dtype)


@triton.jit
def shifted(z, m, MODE: tl.constexpr):
    """z - m, and what its rounding lost."""
    h = z - m
    if MODE == FULL:
        back = h - z
        lost = (z - (h - back)) + (-m - back)
        lost = tl.where((h > -_INF) & (h < _INF), lost, 0.0)
    else:
        lost = tl.zeros_like(h)
    return h, lost


@triton.jit
def exponential(h, lost, MODE: tl.constexpr):
    """exp(h + lost); nan stays nan, and so far below 0 that no result could show it, 0."""
    if MODE == DOUBLE:
        x = tl.where(h < -700.0, -700.0, tl.where(h > 700.0, 700.0, h))
        shift = tl.fma(x, constant(_LOG2E, x), constant(_ROUND, x))
        k = shift - _ROUND
        r = tl.fma(k, constant(-_LN2_LO, x), tl.fma(k, constant(-_LN2_HI, x), x))
        series = tl.fma(r, constant(_A6, x), constant(_A5, x))
        series = tl.fma(series, r, constant(_A4, x))
        series = tl.fma(series, r, constant(_A3, x))
        series = tl.fma(series, r, constant(_A2, x))
        base = tl.fma(series * r, r, r) + 1.0
        bits = base.to(tl.int64, bitcast=True) + (shift.to(tl.int64, bitcast=True) << 52)
        e = tl.where(h < -700.0, 0.0, bits.to(tl.float64, bitcast=True))
    else:
        e = tl.exp(h)
        if MODE == FULL:
            e = tl.where(lost == 0.0, e, e + e * lost)  # not inf + inf * 0
    return e


@triton.jit
def log1p(x):
    """log(1 + x) of a float64 that is 0 or more, -1 (a part without entries) or nan."""
    total = 1.0 + x
    lost = x - (total - 1.0)
    inexact = tl.where((total > 0.0) & (total < _INF), lost / total, 0.0)
    return tl.log(total) + inexact


# State


@triton.jit
def finite(m):
    return (m > -_INF) & (m < _INF)


@triton.jit
def peak(z):
    """The maximum of each row."""
    return tl.max(z, 1)


@triton.jit
def safe(m):
    """The maximum to subtract: 0 for rows that have no softmax."""
    return tl.where(finite(m), m, 0.0)


@triton.jit
def first_place(is_top, cols, INDEX: tl.constexpr):
    """The place of the first maximum of each row."""
    bits: tl.constexpr = INDEX.primitive_bitwidth - 1
    far = tl.full([1, 1], (1 << bits) - 1, INDEX)
    return tl.min(tl.where(is_top, cols, far), 1)


@triton.jit
def rest_of(e, is_top):
    """Sum of the exponentials without one maximum, in float64."""
    others = tl.sum(tl.where(is_top, 0.0, e), 1).to(tl.float64)
    return others + (tl.sum(is_top.to(tl.int32), 1) - 1).to(tl.float64)


@triton.jit
def decay(m, top):
    """exp(m - top) for the joint maximum `top`; 1 where they are equal, infinite ones too."""
    return tl.exp(tl.where(m == top, 0.0, m - top))


@triton.jit
def join(m1, rest1, m2, rest2):
    """The state of two parts together."""
    top = tl.maximum(m1, m2)
    whole = (1.0 + rest1) * decay(m1, top)
    more = (1.0 + rest2) * decay(m2, top)
    # The part that holds the maximum enters by its rest, so that small rests keep their digits.
    return top, tl.where(m1 >= m2, rest1 + more, rest2 + whole)


@triton.jit
def probability(e, rest, MODE: tl.constexpr):
    """e / (1 + rest), in the dtype of e."""
    if MODE == FULL:  # noqa: SIM108
        p = e / (1.0 + rest)[:, None]
    else:
        p = e * (1.0 / (1.0 + rest)).to(e.dtype)[:, None]
    return p
