"""Types shared by the public layer and the kernels. Nothing here loads a framework."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

# An array of NumPy, PyTorch, JAX or any array-API library. The libraries share no base class that a checker could use.
Array: TypeAlias = Any
# What the functions take: an array, or nested sequences of numbers, or a number.
ArrayLike: TypeAlias = Any
DType: TypeAlias = Any
Axis: TypeAlias = int | tuple[int, ...] | None
Shape: TypeAlias = Sequence[int]

Precision: TypeAlias = Literal["accurate", "fast"]
Reduction: TypeAlias = Literal["none", "mean", "sum"]


@dataclass(frozen=True, slots=True)
class LossOptions:
    """The options of a cross entropy, checked. `weight` and `where` are arrays of the logits' library."""

    weight: Array | None = None  # (K,), in the dtype of the loss
    ignore_index: int | None = None
    label_smoothing: float = 0.0
    where: Array | None = None  # boolean, broadcast to the shape of the logits
    temperature: float = 1.0
    softcap: float | None = None
    z_loss: float = 0.0
    precision: Precision = "accurate"

    def of_rows(self, here: Any) -> LossOptions:
        """The same for some rows of logits (n, K): a slice of them, or their numbers. The temperature may be (n,)."""
        where = None if self.where is None else self.where[here]
        temperature: Any = self.temperature
        if getattr(temperature, "ndim", 0):
            temperature = temperature[here]
        return replace(self, where=where, temperature=temperature)
