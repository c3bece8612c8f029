"""Linear cross entropy in chunks of rows: logits, loss and gradient of a chunk follow each other while it is in cache.

Read: x once, the weights twice for each chunk (once without gradients). Written: the gradients. Never stored: logits or
probabilities of more rows than a chunk has. Rows that are ignored are left out before anything is computed.

`Pass` says what is done in which order; `NumPyPass`, and `TorchPass` in `_torch_linear`, say with which functions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ._linear_plan import BLOCK
from ._typing import Array, LossOptions


@dataclass(frozen=True, slots=True)
class LinearProblem:
    """The arguments of a linear cross entropy, checked, with the rows along one axis."""

    x: Array  # (N, D)
    linear_weight: Array  # (V, D), of the dtype of x
    target: Array  # (N,) class indices, or (N, V) probabilities
    bias: Array | None  # (V,)
    options: LossOptions  # the temperature may be an array (N,)

    @property
    def indices(self) -> bool:
        return bool(self.target.ndim == 1)


@dataclass(slots=True)
class PassResult:
    """What a pass found. Gradients are those of Σ row_scale · loss, in the dtype that they were summed in."""

    loss: Array  # (N,)
    gradients: tuple[Array | None, Array | None, Array | None] = (None, None, None)  # of x, linear_weight, bias
    extras: dict[str, Array] = field(default_factory=dict)


class Pass(ABC):
    """One pass over the rows of a problem."""

    leaves_out = True  # whether `kept` leaves the ignored rows out

    def __init__(self, problem: LinearProblem, rows: int) -> None:
        self.problem = problem
        self.rows = rows  # of a chunk, at most
        self.n, self.d = problem.x.shape
        self.v = problem.linear_weight.shape[0]

    @abstractmethod
    def kept(self) -> Any:
        """Numbers of the rows that are not ignored, or None for all."""

    @abstractmethod
    def new(self, shape: tuple[int, ...], kind: str, zero: bool) -> Array:
        """A new array of the "logit", the "wide" or the "index" dtype, filled with zeros if asked."""

    @abstractmethod
    def logits(self, x: Array, out: Array) -> None:
        """out = x Wᵀ + b."""

    @abstractmethod
    def chunk_loss(
        self, z: Array, target: Array, options: LossOptions, row_scale: Any, want_grad: bool, extras: bool
    ) -> tuple[Array, Array | None, dict[str, Array]]:
        """Loss, gradient (which may lie in z) and extras of a chunk of logits."""

    @abstractmethod
    def times_weights(self, gradient: Array, out: Array, here: Any) -> None:
        """out[here] = gradient W."""

    @abstractmethod
    def add_product(self, total: Array, gradient: Array, x: Array, first: bool) -> None:
        """Add gradientᵀ x to total; the first time, write it."""

    @abstractmethod
    def add_sum(self, total: Array, gradient: Array) -> None:
        """Add the sum of the rows to total."""

    def run(
        self, row_scale: Any = None, needs: tuple[bool, bool, bool] = (False, False, False), extras: bool = False
    ) -> PassResult:
        """Go over the rows. `needs` says which gradients are wanted: of x, of the weights, of the bias."""
        kept = self.kept()
        m = self.n if kept is None else len(kept)
        result = PassResult(self.new((self.n,), "wide", m < self.n))
        by_x = self.new((self.n, self.d), "logit", m < self.n) if needs[0] else None
        by_weight = self.new((self.v, self.d), "wide" if m > self.rows else "logit", m == 0) if needs[1] else None
        by_bias = self.new((self.v,), "wide", True) if needs[2] else None
        if extras:
            kinds = {"logsumexp": "wide", "entropy": "wide", "max_probability": "wide", "argmax": "index"}
            result.extras = {name: self.new((self.n,), kind, m < self.n) for name, kind in kinds.items()}
        rows = max(1, min(self.rows, m))
        chunks = -(-m // rows)
        buffer = self.new((-(-m // chunks) if chunks else 0, self.v), "logit", False)
        for k in range(chunks):
            start, stop = m * k // chunks, m * (k + 1) // chunks
            here = slice(start, stop) if kept is None else kept[start:stop]
            x = self.features(here)
            z = buffer[: stop - start]
            self.logits(x, z)
            target, options, scale = self._rows_of(here, row_scale)
            loss, gradient, more = self.chunk_loss(z, target, options, scale, any(needs), extras)
            result.loss[here] = loss
            for name, values in more.items():
                result.extras[name][here] = values
            if by_x is not None:
                self.times_weights(gradient, by_x, here)
            if by_weight is not None:
                self.add_product(by_weight, gradient, x, k == 0)
            if by_bias is not None:
                self.add_sum(by_bias, gradient)
        result.gradients = (by_x, by_weight, by_bias)
        return result

    def features(self, here: Any) -> Array:
        """The rows of x, in the dtype that products are computed in."""
        return self.problem.x[here]

    def _rows_of(self, here: Any, row_scale: Any) -> tuple[Array, LossOptions, Any]:
        """Target, options and scale of some rows."""
        options = self.problem.options.of_rows(here)
        if self.leaves_out and options.ignore_index is not None:
            options = replace(options, ignore_index=None)
        per_row = getattr(row_scale, "ndim", 0)
        return self.problem.target[here], options, row_scale[here] if per_row else row_scale


class NumPyPass(Pass):
    """With NumPy's products and the kernel set for NumPy."""

    def __init__(self, problem: LinearProblem, rows: int, kernels: Any) -> None:
        super().__init__(problem, rows)
        self.kernels = kernels
        item = problem.x.dtype
        wide = np.dtype(np.float64 if item.itemsize == 8 else np.float32)
        self.dtypes = {"logit": wide, "wide": wide, "index": np.dtype(np.int64)}

    def run(
        self, row_scale: Any = None, needs: tuple[bool, bool, bool] = (False, False, False), extras: bool = False
    ) -> PassResult:
        with np.errstate(all="ignore"):  # an infinity or nan in the input gives what it gives
            return super().run(row_scale, needs, extras)

    def kept(self) -> Any:
        ignored = self.problem.options.ignore_index
        if ignored is None:
            return None
        kept = self.problem.target != ignored
        return None if kept.all() else np.flatnonzero(kept)

    def new(self, shape: tuple[int, ...], kind: str, zero: bool) -> Array:
        return np.zeros(shape, self.dtypes[kind]) if zero else np.empty(shape, self.dtypes[kind])

    def features(self, here: Any) -> Array:
        return np.asarray(self.problem.x[here], self.dtypes["logit"])

    def blocks(self) -> Any:
        """Slices of the classes, of the size of a block."""
        step = max(1, BLOCK // max(1, self.d * self.dtypes["wide"].itemsize))
        for start in range(0, self.v, step):
            yield slice(start, min(start + step, self.v))

    def weights(self) -> Any:
        """Classes and their weights in the dtype of the products: all at once where that is their own."""
        weight, dtype = self.problem.linear_weight, self.dtypes["logit"]
        if weight.dtype == dtype:
            yield slice(0, self.v), weight
            return
        for classes in self.blocks():
            yield classes, weight[classes].astype(dtype)

    def logits(self, x: Array, out: Array) -> None:
        for classes, weight in self.weights():
            np.matmul(x, weight.T, out=out[:, classes])
        if self.problem.bias is not None:
            out += self.problem.bias

    def chunk_loss(
        self, z: Array, target: Array, options: LossOptions, row_scale: Any, want_grad: bool, extras: bool
    ) -> tuple[Array, Array | None, dict[str, Array]]:
        result: tuple[Array, Array | None, dict[str, Array]] = self.kernels.chunk_loss(
            z, target, options, row_scale=row_scale, want_grad=want_grad, extras=extras
        )
        return result

    def times_weights(self, gradient: Array, out: Array, here: Any) -> None:
        direct = isinstance(here, slice)
        target = out[here] if direct else np.empty((len(here), self.d), out.dtype)
        for k, (classes, weight) in enumerate(self.weights()):
            if k == 0:
                np.matmul(gradient[:, classes], weight, out=target)
            else:
                target += gradient[:, classes] @ weight
        if not direct:
            out[here] = target

    def add_product(self, total: Array, gradient: Array, x: Array, first: bool) -> None:
        if first:
            np.matmul(gradient.T, x, out=total)
            return
        for classes in self.blocks():
            total[classes] += gradient[:, classes].T @ x

    def add_sum(self, total: Array, gradient: Array) -> None:
        total += np.add.reduce(gradient, axis=0, dtype=np.float64)
