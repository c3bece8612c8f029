"""Distance from the exact result in units in the last place, for any binary floating dtype.

The unit is the spacing of the dtype in the binade of the exact result, and never less than its smallest subnormal
number. Fractions count: the exact result is a `Pair` of the reference, with more than 90 bits.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from softmax._reference import Pair

# Bits of the significand and exponent of the smallest normal number.
FORMATS = {"float16": (11, -14), "bfloat16": (8, -126), "float32": (24, -126), "float64": (53, -1022)}
EPS = {name: 2.0 ** (1 - bits) for name, (bits, _) in FORMATS.items()}
LARGEST = {
    "float16": 65504.0,
    "bfloat16": 3.3895313892515355e38,
    "float32": 3.4028234663852886e38,
    "float64": 1.7976931348623157e308,
}


def dtype_name(array: Any) -> str:
    """The name of an array's dtype, the same for NumPy, ml_dtypes and PyTorch."""
    return str(array.dtype).removeprefix("torch.")


def as_float64(array: Any) -> Any:
    """Any array as NumPy float64; exact for every format above."""
    if type(array).__module__.partition(".")[0] == "torch":
        array = array.detach().double().cpu().numpy()
    return np.asarray(array).astype(np.float64)


def unit_exponent(truth: Pair, dtype: str) -> Any:
    """k where 2**k is the unit in the last place of the exact result."""
    bits, smallest = FORMATS[dtype]
    fraction, exponent = np.frexp(truth.hi)
    # Just below a power of two the spacing is that of the binade below.
    below = (np.abs(fraction) == 0.5) & (truth.lo * np.sign(truth.hi) < 0)
    exponent = exponent.astype(np.int64) - 1 - below + truth.exponent
    exponent = np.where(truth.hi == 0, smallest, exponent)
    return np.maximum(exponent, smallest) - (bits - 1)


def ulp_error(got: Any, truth: Pair, dtype: str | None = None) -> Any:
    """abs(got - truth) in ulp, entry by entry; inf where one is nan and the other is not.

    An infinite result counts as right where the exact one is beyond the largest number of the dtype.
    """
    dtype = dtype or dtype_name(got)
    got = as_float64(got)
    unit = unit_exponent(truth, dtype)
    with np.errstate(all="ignore"):
        # In units: what is far above them overflows to inf, which is far enough.
        difference = Pair(np.ldexp(got, np.broadcast_to(-truth.exponent, got.shape))) - Pair(truth.hi, truth.lo)
        error = np.abs(np.ldexp(difference.hi, truth.exponent - unit))
        overflow = np.isinf(got) & (np.sign(got) == np.sign(truth.hi))
        overflow &= np.abs(truth.rounded()) >= LARGEST[dtype]
    error = np.where(overflow, 0.0, np.where(np.isnan(error), np.inf, error))
    return np.where(np.isnan(got) & np.isnan(truth.hi), 0.0, error)


def largest_ulp_error(got: Any, truth: Pair, dtype: str | None = None) -> float:
    """The largest error over the entries, 0 if there is none."""
    error = ulp_error(got, truth, dtype)
    return float(error.max()) if error.size else 0.0


def assert_within(got: Any, truth: Pair, bound: Any, dtype: str | None = None) -> None:
    """Every entry is within `bound` ulp (a number, or one for each entry); the message names the worst entry."""
    shape = np.shape(truth.hi)
    assert tuple(got.shape) == shape, f"shape {tuple(got.shape)} came, not {shape}"
    error = ulp_error(got, truth, dtype)
    excess = error / bound
    if not error.size or excess.max() <= 1:
        return
    where = np.unravel_index(int(excess.argmax()), shape)
    limit = np.broadcast_to(bound, shape)[where]
    raise AssertionError(
        f"{error[where]:.4g} ulp at {tuple(map(int, where))}, bound {limit:.4g} "
        f"({int((excess > 1).sum())} of {error.size} entries beyond): "
        f"got {as_float64(got)[where]!r}, exact {truth.rounded()[where]!r}"
    )


@contextlib.contextmanager
def must_fail() -> Any:
    """The check inside has to fail: it proves that its inputs can tell a wrong answer from a right one."""
    try:
        yield
    except AssertionError:
        return
    raise AssertionError("a wrong answer passed: these inputs prove nothing")
