"""Our own functions in the shape of a rival: the public names, called as a user calls them."""

from __future__ import annotations

from typing import Any

import numpy as np

import softmax as sm
from benchmarks.registry import Case
from benchmarks.rivals import Implementation

NAME = "softmax"
DISTRIBUTION = "softmax"
NOTE = (
    "the public function on the NumPy array, a new result each call; threads by SOFTMAX_NUM_THREADS. 'out=' writes "
    "into an array given by the caller; 'fast' is precision=\"fast\"."
)


def _result(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def implementations(case: Case, arrays: dict[str, Any], threads: int) -> list[Implementation]:
    """Return the plain call, then the variants that the case asks for (fast mode is a mode of float32 only)."""
    x, axis = arrays["x"], case.axis
    if case.operation == "masked_softmax":
        where = arrays["where"]
        return [Implementation(NAME, lambda: sm.softmax(x, axis=axis, where=where), _result, own=True)]
    if case.operation == "softmax_vjp":
        g = arrays["g"]
        return [Implementation(NAME, lambda: sm.softmax_vjp(x, g, axis=axis), _result, own=True)]
    if case.operation == "cross_entropy_and_grad":
        target = arrays["target"]
        return [Implementation(NAME, lambda: sm.cross_entropy_and_grad(x, target, axis=axis), _result, own=True)]
    function = getattr(sm, case.operation)
    ways = [Implementation(NAME, lambda: function(x, axis=axis), _result, own=True)]
    fast = "fast" in case.own_variants and x.dtype == np.float32
    if fast:
        ways.append(
            Implementation(
                f"{NAME} (fast)", lambda: function(x, axis=axis, precision="fast"), _result, own=True, precision="fast"
            )
        )
    if "out" in case.own_variants:
        out = np.empty_like(x)
        ways.append(Implementation(f"{NAME} (out=)", lambda: function(x, axis=axis, out=out), _result, own=True))
        if fast:
            ways.append(
                Implementation(
                    f"{NAME} (fast, out=)",
                    lambda: function(x, axis=axis, out=out, precision="fast"),
                    _result,
                    own=True,
                    precision="fast",
                )
            )
    return ways
