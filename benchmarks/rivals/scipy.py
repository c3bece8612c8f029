"""SciPy: `scipy.special`, one thread whatever is asked; where it has no such function, the usual lines of NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special

from benchmarks.registry import Case
from benchmarks.rivals import Implementation

NAME = "SciPy"
DISTRIBUTION = "scipy"
NOTE = (
    "scipy.special on the NumPy array, a new result each call, always one thread. Masked: numpy.where with -inf, then "
    "softmax. Vector-Jacobian product and cross entropy: softmax or log_softmax, then the textbook formula in NumPy."
)


def _vjp(x: Any, g: Any, axis: int) -> Any:
    p = scipy.special.softmax(x, axis=axis)
    return p * (g - (p * g).sum(axis=axis, keepdims=True))


def _cross_entropy_and_grad(x: Any, target: Any) -> tuple[Any, Any]:
    rows = np.arange(len(target))
    log_p = scipy.special.log_softmax(x, axis=-1)
    grad = np.exp(log_p)
    grad[rows, target] -= 1
    grad /= len(target)
    return -log_p[rows, target].mean(), grad


def implementations(case: Case, arrays: dict[str, Any], threads: int) -> list[Implementation]:
    """Return SciPy's way to compute the case."""
    x, axis = arrays["x"], case.axis
    calls = {
        "softmax": lambda: scipy.special.softmax(x, axis=axis),
        "log_softmax": lambda: scipy.special.log_softmax(x, axis=axis),
        "logsumexp": lambda: scipy.special.logsumexp(x, axis=axis),
        "masked_softmax": lambda: scipy.special.softmax(np.where(arrays["where"], x, x.dtype.type(-np.inf)), axis=axis),
        "softmax_vjp": lambda: _vjp(x, arrays["g"], axis),
        "cross_entropy_and_grad": lambda: _cross_entropy_and_grad(x, arrays["target"]),
    }
    return [Implementation(NAME, calls[case.operation], lambda r: r if isinstance(r, tuple) else (r,))]
