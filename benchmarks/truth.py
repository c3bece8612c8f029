"""The gate: how far a result is from the exact one, and whether that is within the stated bound.

Every entry is compared with a plain float64 evaluation, which catches what is wrong; rows chosen from first to last, up
to `SAMPLE` entries, are compared with the extended-precision reference, which measures fractions of an ulp.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks import exact
from benchmarks.registry import Case

SAMPLE = 4_000_000
CHUNK = 1_000_000

# In ulp of the exact result. A vector-Jacobian product is bounded otherwise, see `_vjp_excess`.
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


@dataclass(frozen=True)
class Verdict:
    """What the gate found: `error` in `unit` (largest over the entries), the bound, and whether the result may pass."""

    error: float
    unit: str
    passed: bool
    reason: str = ""


@dataclass(frozen=True)
class Truth:
    """The expected results of one case: a rough one for every entry, an exact one for the chosen rows."""

    case: Case
    arrays: dict[str, Any]
    rough: tuple[Any, ...]
    rows: Any
    exact: tuple[Any, ...]


def by_rows(array: Any, axis: int) -> Any:
    """Return the array with `axis` last and the others as one."""
    return np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis])


def chosen_rows(case: Case) -> Any:
    """Return the rows that are compared exactly: all where they fit the sample, else spread evenly with both ends."""
    rows = case.size // case.classes
    keep = max(1, min(rows, SAMPLE // case.classes))
    return np.unique(np.linspace(0, rows - 1, keep).round().astype(np.int64))


def _operands(case: Case, arrays: dict[str, Any]) -> dict[str, Any]:
    """Return every array of a case as rows."""
    return {
        name: array.reshape(-1) if name == "target" else by_rows(array, case.axis) for name, array in arrays.items()
    }


def _in_chunks(function: Any, operands: dict[str, Any]) -> tuple[Any, ...]:
    """Apply a function of rows to a million entries at a time, so that the wide temporaries stay small."""
    rows, classes = operands["x"].shape
    step = max(1, CHUNK // classes)
    parts = [
        function(**{name: array[start : start + step] for name, array in operands.items()})
        for start in range(0, rows, step)
    ]
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def truth(case: Case, arrays: dict[str, Any]) -> Truth:
    """Return the expected results of a case."""
    operands, rows = _operands(case, arrays), chosen_rows(case)
    chosen = {name: array[rows] for name, array in operands.items()}
    function = exact.OPERATIONS[case.operation]
    rough = _in_chunks(function, operands)
    fine = _in_chunks(partial(function, real=np.longdouble), chosen)
    if case.operation == "cross_entropy_and_grad":
        rough, fine = _mean(*rough), _mean(*fine)
    return Truth(case, arrays, rough, rows, fine)


def _mean(loss: Any, grad: Any) -> tuple[Any, Any]:
    """Return the mean loss as a (1, 1) array, and its gradient."""
    return loss.mean().reshape(1, 1), grad / len(loss)


def _ulps(got: Any, expected: Any, dtype: np.dtype[Any]) -> Any:
    """Return abs(got - expected) in units in the last place of the exact value in `dtype`."""
    distance = np.abs(got.astype(expected.dtype) - expected)
    unit = np.spacing(np.abs(expected).astype(dtype)).astype(expected.dtype)
    return np.where(np.isnan(distance), np.inf, distance / unit).astype(np.float64)


def _vjp_excess(got: Any, expected: Any, x: Any, g: Any, eps: float) -> tuple[float, Any]:
    """Return the error in eps of the row's largest entry, and the part of the bound that each entry uses.

    The bound of entry i is 2 eps (max_j abs(r_j) + p_i sum_j p_j abs(g_j - g_argmax)), r being the exact result.
    """
    distance = np.abs(got.astype(expected.dtype) - expected)
    distance = np.where(np.isnan(distance), np.inf, distance)
    largest = np.abs(expected).max(axis=-1, keepdims=True)
    p = exact.softmax(x)[0]
    pivot = np.take_along_axis(g, x.argmax(axis=-1, keepdims=True), axis=-1)
    spread = (p * np.abs(g - pivot)).sum(axis=-1, keepdims=True)
    return float((distance / (eps * largest)).max()), distance / (2 * eps * (largest + p * spread))


def _as_rows(case: Case, outputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the results as rows; per-row values (logsumexp) as a column of one entry."""
    if case.operation == "logsumexp":
        return (np.asarray(outputs[0]).reshape(-1, 1),)
    if case.operation == "cross_entropy_and_grad":
        return np.asarray(outputs[0]).reshape(1, 1), by_rows(np.asarray(outputs[1]), case.axis)
    return (by_rows(np.asarray(outputs[0]), case.axis),)


def bound(case: Case, dtype: str, *, portable: bool = False) -> float:
    """Return the stated bound of an operation in ulp."""
    stated = BOUNDS[case.operation, dtype]
    return max(stated, PORTABLE_FLOAT64_BOUND) if portable and dtype == "float64" else stated


def judge(outputs: tuple[Any, ...], truth: Truth, *, precision: str = "accurate", portable: bool = False) -> Verdict:
    """Return how far a result is from the truth and whether it is within the bound stated for `precision`."""
    case, x = truth.case, truth.arrays["x"]
    dtype = x.dtype
    unit = "eps of the row's largest" if case.operation == "softmax_vjp" else "ulp"
    wrong = _wrong_form(case, outputs, dtype)
    if wrong:
        return Verdict(np.inf, unit, False, wrong)
    results = _as_rows(case, outputs)
    for got, expected in zip(results, truth.rough, strict=True):
        scale = np.abs(expected).max(axis=-1, keepdims=True)
        slack = 1e5 * float(np.finfo(dtype).eps) * scale
        bad = ~(np.abs(got - expected) <= slack)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            return Verdict(
                np.inf,
                unit,
                False,
                f"entry {column} of row {row} is {got[row, column]!r}, not {expected[row, column]!r}",
            )
    if case.operation == "softmax_vjp":
        rows = truth.rows
        x_rows, g_rows = (by_rows(truth.arrays[name], case.axis)[rows] for name in ("x", "g"))
        eps = float(np.finfo(dtype).eps)
        error, used = _vjp_excess(results[0][rows], truth.exact[0], x_rows, g_rows, eps)
        return _verdict(error, unit, bool((used <= 1).all()), "2 eps (max abs r + p_i sum_j p_j abs(g_j - g_argmax))")
    if case.operation == "cross_entropy_and_grad":
        errors = [_ulps(got, expected, dtype) for got, expected in zip(results, truth.exact, strict=True)]
    else:
        errors = [_ulps(results[0][truth.rows], truth.exact[0], dtype)]
    error = max(float(e.max()) for e in errors)
    if precision == "fast":
        return _fast_verdict(case, results[0][truth.rows], errors[0], truth)
    limit = bound(case, str(dtype), portable=portable)
    return _verdict(error, unit, error <= limit, f"{limit:g} ulp")


def _fast_verdict(case: Case, got: Any, errors: Any, truth: Truth) -> Verdict:
    """Judge the fast mode: 4 + abs(x - max) ulp and, for probabilities, abs(sum - 1) <= 1e-6."""
    error = float(errors.max())
    if case.operation == "logsumexp":
        return _verdict(error, "ulp", error <= 4, "4 ulp")
    x = by_rows(truth.arrays["x"], case.axis)[truth.rows].astype(np.float64)
    within = bool((errors <= 4 + (x.max(axis=-1, keepdims=True) - x)).all())
    if case.operation == "softmax":
        off = float(np.abs(got.astype(np.float64).sum(axis=-1) - 1).max())
        if not off <= 1e-6:
            return Verdict(error, "ulp", False, f"abs(sum - 1) is {off:.2g}; the bound is 1e-6")
    return _verdict(error, "ulp", within, "4 + abs(x - max) ulp")


def _verdict(error: float, unit: str, passed: bool, limit: str) -> Verdict:
    return Verdict(error, unit, passed, "" if passed else f"{error:.4g} {unit}; the bound is {limit}")


def _wrong_form(case: Case, outputs: tuple[Any, ...], dtype: np.dtype[Any]) -> str:
    """Say what is wrong with the shape or dtype of a result, or nothing."""
    reduced = tuple(np.delete(case.shape, case.axis))
    shapes = {"logsumexp": (reduced,), "cross_entropy_and_grad": ((), case.shape)}.get(case.operation, (case.shape,))
    if len(outputs) != len(shapes):
        return f"{len(outputs)} results came, not {len(shapes)}"
    for got, shape in zip(outputs, shapes, strict=True):
        if np.shape(got) != shape or np.asarray(got).dtype != dtype:
            return f"a result of shape {np.shape(got)} and dtype {np.asarray(got).dtype} came, not {shape} and {dtype}"
    return ""
