"""The error bounds of the products with the Jacobians, measured against the exact reference.

With r the exact result and k the largest probability, entry i of softmax_vjp (and jvp) is within
2 eps (max abs r + p_i sum_j p_j abs(g_j - g_k)), and its rows sum to 0 within n eps max abs r.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from softmax import _reference as reference
from softmax._reference import Pair
from tests.accuracy import MAIN, backends, find_backend, naive_softmax
from tests.ulp import EPS, FORMATS, as_float64, must_fail


@pytest.fixture
def backend(request):
    return find_backend(request.param)


def _skewed(rng: Any, n: int) -> Any:
    x = np.full((1, n), -17.0)
    x[0, n // 3] = 0
    return x


LOGITS = {
    "randn": lambda rng, n: rng.normal(size=(max(1, 3000 // n), n)),
    "20 randn": lambda rng, n: 20 * rng.normal(size=(max(1, 3000 // n), n)),
    "100 randn": lambda rng, n: 100 * rng.normal(size=(max(1, 3000 // n), n)),
    "skewed": _skewed,
}
OFFSETS = {"g": 0.0, "1e4 + g": 1e4, "1e8 + g": 1e8}
CASES = [
    (logits, offset, n, dtype)
    for dtype in ("float32", "float64")
    for logits in LOGITS
    for offset in OFFSETS
    for n in (2, 7, 1000, 100_000)
    if (logits, offset) != ("100 randn", "1e8 + g") and not (n < 1000 and logits == "skewed")
]


@dataclass(frozen=True)
class Problem:
    """Logits, a cotangent, and what the bounds are made of: p, and the cotangent counted from its leading entry."""

    x: Any
    g: Any
    p: Any
    spread: Any
    total: Any

    def naive(self, function: str) -> Any:
        """What the formula gives in the dtype of the logits."""
        p, g = naive_softmax(self.x), self.g
        mean = (p * g).sum(axis=-1, keepdims=True)
        if function == "log_softmax_vjp":
            return g - p * g.sum(axis=-1, keepdims=True)
        return g - mean if function == "log_softmax_jvp" else p * (g - mean)

    def slack(self, function: str) -> Any:
        """What the bound of each entry allows beside the largest result, in units of 2 eps."""
        if function == "log_softmax_vjp":
            return self.p * np.abs(self.total)
        return self.spread if function == "log_softmax_jvp" else self.p * self.spread


@functools.lru_cache(maxsize=1)
def problem(logits: str, offset: str, n: int, dtype: str) -> Problem:
    rng = np.random.default_rng(n)
    x = LOGITS[logits](rng, n).astype(dtype)
    g = (OFFSETS[offset] + rng.normal(size=x.shape)).astype(dtype)
    p, wide = reference.softmax(x).rounded(), g.astype(np.float64)
    leading = np.take_along_axis(wide, x.argmax(axis=-1)[:, None], axis=-1)
    spread = (p * np.abs(wide - leading)).sum(axis=-1, keepdims=True)
    return Problem(x, g, p, spread, Pair(wide).sum().hi)


@functools.lru_cache(maxsize=1)
def exact(function: str, *case: Any) -> Pair:
    given = problem(*case)
    result: Pair = getattr(reference, function)(given.x, given.g).at(0)
    return result


def check(got: Any, function: str, *case: Any) -> None:
    """Every entry within the bound, and for softmax rows that sum to 0."""
    given, truth, dtype = problem(*case), exact(function, *case), case[-1]
    eps, smallest = EPS[dtype], 2.0 ** (FORMATS[dtype][1] - FORMATS[dtype][0] + 1)
    got = as_float64(got)
    largest = np.abs(truth.hi).max(axis=-1, keepdims=True)
    error = np.abs((Pair(got) - truth).hi)
    bound = 2 * eps * (largest + given.slack(function)) + smallest
    excess = np.where(np.isnan(error), np.inf, error / bound)
    assert excess.max() <= 1, f"{excess.max():.3g} of the bound at {np.unravel_index(excess.argmax(), excess.shape)}"
    if function == "log_softmax_jvp":
        return  # its rows do not sum to 0; those weighted by p do
    n = got.shape[-1]
    lost = 2 * eps * np.abs(given.total) if function == "log_softmax_vjp" else np.zeros_like(largest)
    for row, size, allowed in zip(got, largest[:, 0], lost[:, 0], strict=True):
        assert abs(math.fsum(row)) <= n * (eps * size + smallest) + allowed


PRODUCTS = ("softmax_vjp", "softmax_jvp", "log_softmax_vjp", "log_softmax_jvp")
CASE = pytest.mark.parametrize(("logits", "offset", "n", "dtype"), CASES)


@backends(*MAIN)
@pytest.mark.parametrize("function", PRODUCTS)
@CASE
def test_products(backend, function, logits, offset, n, dtype):
    given = problem(logits, offset, n, dtype)
    got = backend.call(function, given.x, given.g)
    check(got, function, logits, offset, n, dtype)


@pytest.mark.parametrize("function", ["softmax", "log_softmax"])
@pytest.mark.parametrize(("logits", "offset", "n", "dtype"), [case for case in CASES if case[2] in (7, 1000)])
def test_autograd(function, logits, offset, n, dtype):
    backend = find_backend("torch")
    given = problem(logits, offset, n, dtype)
    x, g = backend.array(given.x).requires_grad_(), backend.array(given.g)
    backend.call(function, x).backward(g)
    check(x.grad, f"{function}_vjp", logits, offset, n, dtype)


@backends(*MAIN)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", PRODUCTS)
def test_products_along_the_first_axis(backend, function, dtype):
    case = ("20 randn", "1e4 + g", 1000, dtype)
    given = problem(*case)
    got = backend.call(function, np.ascontiguousarray(given.x.T), np.ascontiguousarray(given.g.T), axis=0)
    check(as_float64(got).T, function, *case)


@backends(*MAIN)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", PRODUCTS)
def test_products_with_a_mask_and_a_temperature(backend, function, dtype):
    rng = np.random.default_rng(4)
    x, g = 20 * rng.normal(size=(20, 57)).astype(dtype), (1e4 + rng.normal(size=(20, 57))).astype(dtype)
    where = rng.random(x.shape) < 0.6
    hidden = np.where(where, x, np.nan).astype(dtype), np.where(where, g, np.inf).astype(dtype)
    got = as_float64(backend.call(function, *hidden, where=backend.array(where), temperature=2.0))
    truth = getattr(reference, function)(x, g, where=where, temperature=2.0).rounded()
    assert (got[~where] == 0).all()
    p, size = reference.softmax(x, where=where, temperature=2.0).rounded(), np.abs(g * where)
    total = np.abs((g * where).astype(np.float64).sum(axis=-1, keepdims=True))
    slack = p * total if function == "log_softmax_vjp" else (p * size).sum(axis=-1, keepdims=True) * 1e-3
    bound = 2 * EPS[dtype] * (np.abs(truth).max(axis=-1, keepdims=True) + slack)
    assert (np.abs(got - truth) <= bound).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("logits", ["randn", "20 randn", "skewed"])
def test_the_usual_formula_fails(logits, dtype):
    for function in ("softmax_vjp", "log_softmax_jvp"):
        case = (logits, "1e4 + g", 1000, dtype)
        with must_fail():
            check(problem(*case).naive(function), function, *case)
    with must_fail():
        check(np.zeros_like(problem(*case).x), function, *case)


def test_the_usual_formula_fails_without_an_offset():
    case = ("skewed", "g", 1000, "float32")
    with must_fail():
        check(problem(*case).naive("softmax_vjp"), "softmax_vjp", *case)


def test_the_exact_result_rounded_passes():
    for case in CASES:
        if case[2] < 1000:
            for function in PRODUCTS:
                check(exact(function, *case).rounded().astype(case[-1]), function, *case)
