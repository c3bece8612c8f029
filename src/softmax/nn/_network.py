"""The function that a fit leaves, x ↦ logits, in NumPy and in float64: predictions need no PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

# Numbers in the widest layer of the rows that are computed at a time: 64 MiB.
MOST_NUMBERS = 2**23

# What stands between two layers; PyTorch's are in `_training`, ONNX's in `persistence/_onnx`.
ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
    "relu": lambda z: np.maximum(z, 0.0),
    "tanh": np.tanh,
    "logistic": expit,
    "gelu": lambda z: 0.5 * z * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (z + 0.044715 * z**3))),
    "silu": lambda z: z * expit(z),
}


def logits(X: Any, coefs: Sequence[Array], intercepts: Sequence[Array], activation: str) -> Floats:
    """Logits (n, K) of rows (n, d), dense or CSR, for weights (width before, width after) and intercepts per layer."""
    weights = [np.asarray(coef, dtype=np.float64) for coef in coefs]
    out = np.empty((X.shape[0], weights[-1].shape[1]))
    step = max(1, MOST_NUMBERS // max(max(weight.shape) for weight in weights))
    between = ACTIVATIONS[activation]
    for start in range(0, X.shape[0], step):
        rows = X[start : start + step]
        z: Any = rows if rows.dtype == np.float64 else rows.astype(np.float64)
        for i, (weight, intercept) in enumerate(zip(weights, intercepts, strict=True)):
            z = (between(z) if i else z) @ weight + intercept
        out[start : start + step] = z
    return out


def initial(widths: Sequence[int], activation: str, rng: np.random.RandomState) -> tuple[list[Floats], list[Floats]]:
    """Weights after Glorot and Bengio (2010), uniform with variance 2 / (width before + width after); intercepts 0."""
    # The slope of a logistic at 0 is 1/4 and not 1; a fourth of the paper's factor of 16 is customary.
    factor = 2.0 if activation == "logistic" else 6.0
    pairs = list(pairwise(widths))
    coefs = [rng.uniform(-1.0, 1.0, pair) * np.sqrt(factor / sum(pair)) for pair in pairs]
    return coefs, [np.zeros(width) for width in widths[1:]]
