"""The ten cases of the GPU benchmark: shapes, options, and the floor that no kernel can beat.

A floor is the least traffic in bytes (each array read once, each result written once) or the least arithmetic (2 N D V
operations for the logits, as much for each of the two gradients). Measured rates of the same run turn it into a time.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

Part = Literal["forward", "backward", "loss and gradient", "autograd"]
SIZES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Case:
    """One line of the table: an operation on N rows of V classes, from D features where a linear layer comes first."""

    number: int
    operation: Literal["softmax", "cross_entropy", "linear_cross_entropy"]
    part: Part
    rows: int
    classes: int
    dtype: str
    features: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    ignored: float = 0.0  # share of the rows
    probabilities: bool = False
    flat: bool = False  # logits of 0.1·randn, beside which much skipped work would go unnoticed
    latency: bool = False  # so small that the launch counts: timed as a graph too

    @property
    def name(self) -> str:
        """Return a name that fits on a command line."""
        size = "x".join(str(n) for n in (self.rows, self.features, self.classes) if n)
        extra = "".join(f"-{key}" for key in self.options) + ("-probabilities" if self.probabilities else "")
        flat = "-flat" if self.flat else ""
        return f"{self.number}-{self.operation}-{self.part.replace(' ', '-')}-{self.dtype}-{size}{extra}{flat}"

    @property
    def bytes(self) -> float | None:
        """Return the least traffic, or None where arithmetic is the floor."""
        if self.features:
            return None
        arrays = {"forward": 1.0, "backward": 3.0, "loss and gradient": 2.0, "autograd": 3.0}[self.part]
        if self.operation == "softmax" and self.part == "forward":
            arrays = 2.0
        if self.probabilities:
            arrays += 2.0 if self.part == "autograd" else 1.0
        return arrays * self.rows * self.classes * SIZES[self.dtype]

    @property
    def flops(self) -> float | None:
        """Return the least number of operations, or None where traffic is the floor."""
        if not self.features:
            return None
        products = 1 if self.part == "forward" else 3
        return products * 2.0 * self.rows * self.features * self.classes

    def tiny(self) -> Case:
        """Return the case in a size for the interpreter."""
        return replace(self, rows=min(self.rows, 3), classes=min(self.classes, 37), features=min(self.features, 5))


def _softmax(number: int, rows: int, classes: int, dtype: str, *parts: Part, **more: Any) -> list[Case]:
    return [Case(number, "softmax", part, rows, classes, dtype, **more) for part in parts or ("forward", "backward")]


def _loss(number: int, rows: int, classes: int, dtype: str, *parts: Part, **more: Any) -> list[Case]:
    return [Case(number, "cross_entropy", part, rows, classes, dtype, **more) for part in parts]


def _linear(number: int, rows: int, features: int, classes: int, part: Part, **more: Any) -> Case:
    return Case(number, "linear_cross_entropy", part, rows, classes, "bfloat16", features, **more)


_MANY = {"label_smoothing": 0.1, "weight": True}
CASES: tuple[Case, ...] = (
    *_softmax(1, 1_048_576, 1000, "float32"),
    *_softmax(2, 65_536, 4096, "bfloat16"),
    *_softmax(3, 16_384, 131_072, "bfloat16"),
    *_softmax(3, 8192, 262_144, "float32", "forward"),
    *_loss(4, 8192, 128_256, "bfloat16", "forward", "loss and gradient", "autograd"),
    *_loss(4, 8192, 128_256, "bfloat16", "loss and gradient", flat=True),
    *_loss(5, 262_144, 1000, "float32", "loss and gradient", "autograd", options=_MANY, ignored=0.1),
    *_loss(5, 262_144, 1000, "float32", "loss and gradient", "autograd", probabilities=True),
    *_loss(6, 256, 1000, "float32", "autograd", latency=True),
    *_softmax(6, 64, 10, "float32", "forward", latency=True),
    *_softmax(6, 1, 131_072, "bfloat16", "forward", latency=True),
    *_loss(7, 32_768, 128_256, "bfloat16", "loss and gradient", "autograd"),
    _linear(8, 8192, 4096, 128_256, "autograd"),
    _linear(8, 1024, 4096, 128_256, "autograd"),
    _linear(8, 8192, 4096, 128_256, "autograd", flat=True),
    _linear(9, 16_384, 768, 50_257, "autograd"),
    _linear(9, 4096, 512, 1_000_000, "autograd"),
    _linear(10, 8192, 4096, 131_072, "forward"),
)
