"""The cases: which operation, on which shape, along which axis, and the arrays that go in."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

FLOAT_DTYPES = ("float32", "float64")
OPERATIONS = ("softmax", "log_softmax", "logsumexp", "masked_softmax", "softmax_vjp", "cross_entropy_and_grad")
PRECISIONS = ("accurate", "fast")

# How many arrays of the size of the logits an operation reads and writes when nothing is read twice: the least traffic.
TRAFFIC = {
    "softmax": 2.0,
    "log_softmax": 2.0,
    "logsumexp": 1.0,
    "masked_softmax": 2.0,
    "softmax_vjp": 3.0,
    "cross_entropy_and_grad": 2.0,
}


@dataclass(frozen=True)
class Case:
    """One line of the benchmark: an operation on logits of one shape.

    `group` is the name that the cases share in the tables, `own_variants` what is timed of ours besides the plain call.
    """

    group: str
    operation: str
    shape: tuple[int, ...]
    axis: int = -1
    own_variants: tuple[str, ...] = ()
    quick: bool = False

    @property
    def id(self) -> str:
        """Return a name that fits on a command line, such as ``B2-softmax-1000x10``."""
        size = "x".join(str(n) for n in self.shape)
        return f"{self.group}-{self.operation}-{size}" + ("" if self.axis == -1 else f"-axis{self.axis}")

    @property
    def size(self) -> int:
        """Return the number of logits."""
        return int(np.prod(self.shape))

    @property
    def classes(self) -> int:
        """Return the length of a row."""
        return self.shape[self.axis]

    def bytes_moved(self, dtype: str) -> float:
        """Return the least traffic of one call in bytes: each array read once, each result written once."""
        per_element = TRAFFIC[self.operation] * np.dtype(dtype).itemsize
        return self.size * (per_element + (1.0 if self.operation == "masked_softmax" else 0.0))


CASES = (
    Case("B1", "softmax", (8,), quick=True),
    Case("B2", "softmax", (1000, 10), own_variants=("fast",), quick=True),
    Case("B2", "softmax", (100_000, 10), own_variants=("fast",)),
    Case("B3", "softmax", (1000, 1000), own_variants=("fast", "out"), quick=True),
    Case("B4", "softmax", (32, 32_000), own_variants=("fast", "out"), quick=True),
    Case("B4", "softmax", (1, 1_000_000), own_variants=("fast", "out")),
    Case("B4", "softmax", (1, 10_000_000), own_variants=("fast", "out")),
    Case("B5", "softmax", (1000, 1000), axis=0, own_variants=("fast",), quick=True),
    Case("B5", "softmax", (64, 81, 8732), axis=1, own_variants=("fast",)),
    Case("B6", "log_softmax", (1000, 1000), own_variants=("fast",), quick=True),
    Case("B6", "log_softmax", (100_000, 10), own_variants=("fast",)),
    Case("B6", "logsumexp", (1000, 1000), own_variants=("fast",), quick=True),
    Case("B6", "logsumexp", (100_000, 10), own_variants=("fast",)),
    Case("B7", "softmax_vjp", (32, 32_000), quick=True),
    Case("B7", "softmax_vjp", (1000, 1000)),
    Case("B7", "softmax_vjp", (100_000, 10)),
    Case("B7", "cross_entropy_and_grad", (32, 32_000), quick=True),
    Case("B7", "cross_entropy_and_grad", (1000, 1000)),
    Case("B7", "cross_entropy_and_grad", (100_000, 10)),
    Case("B7", "cross_entropy_and_grad", (8, 128_256)),
    Case("B8", "masked_softmax", (1000, 1000), quick=True),
    Case("B8", "masked_softmax", (32, 32_000)),
)


def inputs(case: Case, dtype: str) -> dict[str, Any]:
    """Return the arrays of a case, the same in every process: logits ``x`` of 3·randn and what the operation needs.

    ``g`` is a cotangent of x's shape, ``target`` class indices (the axis left out), ``where`` a mask that keeps half.
    """
    rng = np.random.default_rng(zlib.crc32(case.id.encode()))
    x = rng.standard_normal(case.shape, dtype=np.float32).astype(dtype, copy=False)
    if dtype == "float64":
        x += rng.standard_normal(case.shape) * 2.0**-24
    x *= 3
    arrays: dict[str, Any] = {"x": x}
    if case.operation == "softmax_vjp":
        arrays["g"] = rng.standard_normal(case.shape, dtype=np.float32).astype(dtype, copy=False)
    if case.operation == "cross_entropy_and_grad":
        rows = tuple(np.delete(case.shape, case.axis))
        arrays["target"] = rng.integers(0, case.classes, rows)
    if case.operation == "masked_softmax":
        arrays["where"] = rng.random(case.shape, dtype=np.float32) < 0.5
    return arrays


def select(patterns: list[str] | None = None, *, quick: bool = False) -> list[Case]:
    """Return the cases whose id contains one of the patterns (all where there is none), in the order of CASES."""
    chosen = [case for case in CASES if case.quick or not quick]
    if patterns:
        chosen = [case for case in CASES if any(pattern in case.id for pattern in patterns)]
    if not chosen:
        raise ValueError(f"no case matches {patterns}; the cases are: " + ", ".join(case.id for case in CASES))
    return chosen
