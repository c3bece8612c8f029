"""The gate: how far a result is from the exact one, and whether that is within the stated bound.

Rows chosen from first to last, up to `SAMPLE` entries, are measured to fractions of an ulp: float32 by a float64
evaluation, whose own error is below 1e-6 ulp of float32, float64 by the reference of 100 bits. All other rows of ours
are compared with the float64 evaluation, roughly, which catches what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import fsum, inf
from typing import Any

import numpy as np

from benchmarks import exact
from benchmarks.registry import Case

SAMPLE = {"float32": 2_000_000, "float64": 300_000}
BLOCK = 500_000

# In ulp of the exact result. A vector-Jacobian product is bounded otherwise, see `_vjp_shares`.
BOUNDS = {
    ("softmax", "float32"): 1.0,
    ("softmax", "float64"): 2.0,
    ("log_softmax", "float32"): 2.0,
    ("log_softmax", "float64"): 2.0,
    ("logsumexp", "float32"): 2.0,
    ("logsumexp", "float64"): 2.0,
    ("masked_softmax", "float32"): 1.0,
    ("masked_softmax", "float64"): 2.0,
    ("cross_entropy_and_grad", "float32"): 4.0,
    ("cross_entropy_and_grad", "float64"): 4.0,
}
PORTABLE_FLOAT64_BOUND = 4.0
FAST_SUM_BOUND = 1e-6


@dataclass(frozen=True)
class Verdict:
    """What the gate found: `error` in `unit` (largest over the entries), and whether the result may pass."""

    error: float
    unit: str
    passed: bool
    reason: str = ""


@dataclass(frozen=True)
class Truth:
    """The expected results of one case: float64 for every row, two float64 that add up for the chosen rows."""

    case: Case
    arrays: dict[str, Any]
    rough: tuple[Any, ...]
    rows: Any
    exact: tuple[tuple[Any, Any], ...]


def by_rows(array: Any, axis: int) -> Any:
    """Return the array with `axis` last and the others as one."""
    return np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis])


def some_rows(array: Any, axis: int, rows: Any) -> Any:
    """Return by_rows(array, axis)[rows] without the copy of the others that it may need."""
    moved = np.moveaxis(array, axis, -1)
    if moved.ndim == 1 or moved.flags.c_contiguous or isinstance(rows, slice):
        return by_rows(array, axis)[rows]
    return moved[np.unravel_index(rows, moved.shape[:-1])]


def chosen_rows(case: Case, dtype: str) -> Any:
    """Return the rows that are measured: spread evenly with both ends; all for a loss, which is their mean."""
    rows = case.size // case.classes
    keep = rows if case.operation == "cross_entropy_and_grad" else max(1, min(rows, SAMPLE[dtype] // case.classes))
    return np.unique(np.linspace(0, rows - 1, keep).round().astype(np.int64))


def _blocks(rows: int, classes: int) -> Iterator[slice]:
    """Yield ranges of rows so short that the wide temporaries of one stay small."""
    step = max(1, BLOCK // classes)
    return (slice(start, start + step) for start in range(0, rows, step))


def _in_blocks(function: Any, operands: dict[str, Any]) -> list[Any]:
    """Apply a function of rows, block by block, and put its results together."""
    parts = [
        function(**{name: array[block] for name, array in operands.items()}) for block in _blocks(*operands["x"].shape)
    ]
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def truth(case: Case, arrays: dict[str, Any]) -> Truth:
    """Return the expected results of a case."""
    operands = {name: a.reshape(-1) if name == "target" else by_rows(a, case.axis) for name, a in arrays.items()}
    count = len(operands["x"])
    rough = _in_blocks(exact.ROUGH[case.operation], operands)
    if case.operation == "cross_entropy_and_grad":
        rough = [rough[0].mean().reshape(1, 1), rough[1] / count]
    dtype = str(arrays["x"].dtype)
    rows = chosen_rows(case, dtype)
    if dtype == "float32":
        return Truth(case, arrays, tuple(rough), rows, tuple((v[rows] if len(v) > 1 else v, 0.0) for v in rough))
    flat = _in_blocks(exact.EXACT[case.operation], {name: array[rows] for name, array in operands.items()})
    pairs = list(zip(flat[::2], flat[1::2], strict=True))
    if case.operation == "cross_entropy_and_grad":
        pairs = [_mean(*pairs[0]), exact.divided(*pairs[1], count)]
    return Truth(case, arrays, tuple(rough), rows, tuple(pairs))


def _mean(high: Any, low: Any) -> tuple[Any, Any]:
    """Return the mean of losses, given in two parts, in two parts of shape (1, 1)."""
    parts = [*high.ravel().tolist(), *low.ravel().tolist()]
    nearest = fsum(parts)
    total = (Fraction(nearest) + Fraction(fsum([*parts, -nearest]))) / len(high)
    return np.array([[float(total)]]), np.array([[float(total - Fraction(float(total)))]])


def bound(case: Case, dtype: str, *, portable: bool = False) -> float:
    """Return the stated bound of an operation in ulp."""
    stated = BOUNDS[case.operation, dtype]
    return max(stated, PORTABLE_FLOAT64_BOUND) if portable and dtype == "float64" else stated


def _distance(got: Any, high: Any, low: Any) -> Any:
    """Return abs(got - exact), infinite where got is nan."""
    distance = np.abs((got - high) - low)
    return np.where(np.isnan(distance), inf, distance)


def _ulps(got: Any, high: Any, low: Any) -> Any:
    """Return the distance in units in the last place of the exact value, in the dtype of `got`."""
    return _distance(got, high, low) / np.spacing(np.abs(high).astype(got.dtype)).astype(np.float64)


def _vjp_shares(got: Any, high: Any, low: Any, x: Any, g: Any) -> tuple[Any, Any]:
    """Return the errors in eps of the row's largest entry, and the part of the bound that each entry uses.

    The bound of entry i is 2 eps (max_j abs(r_j) + p_i sum_j p_j abs(g_j - g_argmax)), r being the exact result.
    """
    eps = float(np.finfo(got.dtype).eps)
    distance = _distance(got, high, low)
    largest = np.abs(high).max(axis=-1, keepdims=True)
    p = exact.softmax(x)[0]
    pivot = np.take_along_axis(g, x.argmax(axis=-1, keepdims=True), axis=-1)
    spread = (p * np.abs(g - pivot)).sum(axis=-1, keepdims=True)
    return distance / (eps * largest), distance / (2 * eps * (largest + p * spread))


def _as_rows(case: Case, outputs: tuple[Any, ...], rows: Any) -> tuple[Any, ...]:
    """Return the chosen rows of the results; values per row (logsumexp) as a column."""
    if case.operation == "logsumexp":
        return (np.asarray(outputs[0]).reshape(-1, 1)[rows],)
    if case.operation == "cross_entropy_and_grad":
        return np.asarray(outputs[0]).reshape(1, 1), some_rows(np.asarray(outputs[1]), case.axis, rows)
    return (some_rows(np.asarray(outputs[0]), case.axis, rows),)


def judge(
    outputs: tuple[Any, ...],
    truth: Truth,
    *,
    precision: str = "accurate",
    portable: bool = False,
    everything: bool = True,
) -> Verdict:
    """Return how far a result is from the truth and whether it is within the bound stated for `precision`.

    `everything` compares the rows roughly that are not among the chosen ones.
    """
    case, dtype = truth.case, truth.arrays["x"].dtype
    unit = "eps of the row's largest" if case.operation == "softmax_vjp" else "ulp"
    wrong = _wrong_form(case, outputs, dtype)
    if everything and not wrong:
        wrong = _far_off(case, outputs, truth, dtype)
    if wrong:
        return Verdict(inf, unit, False, wrong)
    results = _as_rows(case, outputs, truth.rows)
    error = share = 0.0
    for got, (high, low) in zip(results, truth.exact, strict=True):
        found = _largest(got, high, low, truth, precision, portable)
        error, share = max(error, found[0]), max(share, found[1])
    if not share <= 1:
        limit = _limit_text(case, str(dtype), precision, portable)
        return Verdict(error, unit, False, f"{error:.4g} {unit}; the bound is {limit}")
    if precision == "fast" and case.operation == "softmax":
        off = float(np.abs(results[0].sum(axis=-1, dtype=np.float64) - 1).max())
        if not off <= FAST_SUM_BOUND:
            return Verdict(error, unit, False, f"abs(sum - 1) is {off:.2g}; the bound is {FAST_SUM_BOUND:g}")
    return Verdict(error, unit, True)


def _largest(got: Any, high: Any, low: Any, truth: Truth, precision: str, portable: bool) -> tuple[float, float]:
    """Return the largest error, and the largest part of the bound that an entry uses."""
    case = truth.case
    names = [name for name in ("x", "g") if name in truth.arrays and case.operation != "cross_entropy_and_grad"]
    beside = {name: some_rows(truth.arrays[name], case.axis, truth.rows) for name in names}
    error = share = 0.0
    for block in _blocks(*got.shape):
        parts = got[block], high[block], low[block] if np.ndim(low) else low
        more = {name: array[block] for name, array in beside.items()}
        if case.operation == "softmax_vjp":
            errors, shares = _vjp_shares(*parts, **more)
        else:
            errors = _ulps(*parts)
            limit: Any = bound(case, str(got.dtype), portable=portable)
            if precision == "fast":
                limit = 4 + _room(case, more["x"])
            elif case.operation == "logsumexp":
                limit = limit * _cancellation(high[block], more["x"])
            shares = errors / limit
        error, share = max(error, float(errors.max())), max(share, float(shares.max()))
    return error, share


def _room(case: Case, x: Any) -> Any:
    """Return abs(x - max); for a logarithm, which has the errors of all exponentials in it, the largest of the row."""
    below = x.max(axis=-1, keepdims=True).astype(np.float64) - x
    return below if case.operation == "softmax" else below.max(axis=-1, keepdims=True)


def _cancellation(value: Any, x: Any) -> Any:
    """Return an ulp of the maximum over an ulp of the value, at least 1: what max + log(sum) may lose in the sum."""
    top = np.abs(x.max(axis=-1, keepdims=True))
    return np.maximum(1.0, np.spacing(top).astype(np.float64) / np.spacing(np.abs(value).astype(x.dtype)))


def _limit_text(case: Case, dtype: str, precision: str, portable: bool) -> str:
    if case.operation == "softmax_vjp":
        return "2 eps (max abs r + p_i sum_j p_j abs(g_j - g_argmax))"
    if precision == "fast":
        return "4 + abs(x - max) ulp" if case.operation == "softmax" else "4 + max - min ulp"
    text = f"{bound(case, dtype, portable=portable):g} ulp"
    return text + (" of the larger of it and the row's maximum" if case.operation == "logsumexp" else "")


def _far_off(case: Case, outputs: tuple[Any, ...], truth: Truth, dtype: np.dtype[Any]) -> str:
    """Name the first entry that is off by 1e5 eps of the row's largest, or nothing."""
    results = _as_rows(case, outputs, slice(None))
    for got, expected in zip(results, truth.rough, strict=True):
        for block in _blocks(*got.shape):
            rough = expected[block]
            slack = 1e5 * float(np.finfo(dtype).eps) * np.abs(rough).max(axis=-1, keepdims=True)
            bad = ~(np.abs(got[block] - rough) <= slack)
            if bad.any():
                row, column = np.argwhere(bad)[0]
                values = f"{got[block][row, column]!r}, not {rough[row, column]!r}"
                return f"entry {column} of row {block.start + row} is {values}"
    return ""


def _wrong_form(case: Case, outputs: tuple[Any, ...], dtype: np.dtype[Any]) -> str:
    """Say what is wrong with the number, shape or dtype of the results, or nothing."""
    reduced = tuple(np.delete(case.shape, case.axis))
    shapes = {"logsumexp": (reduced,), "cross_entropy_and_grad": ((), case.shape)}.get(case.operation, (case.shape,))
    if len(outputs) != len(shapes):
        return f"{len(outputs)} results came, not {len(shapes)}"
    for got, shape in zip(outputs, shapes, strict=True):
        if np.shape(got) != shape or np.asarray(got).dtype != dtype:
            return f"a result of shape {np.shape(got)} and dtype {np.asarray(got).dtype} came, not {shape} and {dtype}"
    return ""
