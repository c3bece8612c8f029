"""Linear cross entropy in chunks of rows: logits, loss and gradient of a chunk follow each other while it is in cache.

Read: x once, the weights twice for each chunk (once without gradients). Written: the gradients. Never stored: logits or
probabilities of more rows than a chunk has. Rows that are ignored are left out before anything is computed.

Where not even sums of gradients fit that are wider than the gradients, the pass goes over blocks of classes instead,
and twice: the first time for the normaliser of each row, the second for the gradients, each written once.

`Pass` says what is done in which order; `NumPyPass`, and `TorchPass` in `_torch_linear`, say with which functions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ._kernels import portable_parts as parts
from ._linear_plan import BLOCK, PART
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


Needs = tuple[bool, bool, bool]  # which gradients are wanted: of x, of the weights, of the bias
KINDS = {"logsumexp": "wide", "entropy": "wide", "max_probability": "wide", "argmax": "index"}


@dataclass(slots=True)
class PassResult:
    """What a pass found. Gradients are those of Σ row_scale · loss, in the dtype that they were summed in."""

    loss: Array  # (N,)
    gradients: tuple[Array | None, Array | None, Array | None] = (None, None, None)  # of x, linear_weight, bias
    extras: dict[str, Array] = field(default_factory=dict)


class Pass(ABC):
    """One pass over a problem, `rows` rows at a time; or, where `columns` is given, `columns` classes at a time."""

    leaves_out = True  # whether `kept` leaves the ignored rows out

    def __init__(self, problem: LinearProblem, rows: int, columns: int | None = None) -> None:
        self.problem = problem
        self.rows = rows
        self.columns = columns
        self.n, self.d = problem.x.shape
        self.v = problem.linear_weight.shape[0]

    @abstractmethod
    def kept(self) -> Any:
        """Numbers of the rows that are not ignored, or None for all."""

    @abstractmethod
    def new(self, shape: tuple[int, ...], kind: str, zero: bool) -> Array:
        """A new array of the "input", "logit", "wide", "state" or "index" dtype, filled with zeros if asked."""

    @abstractmethod
    def cast(self, values: Array, kind: str) -> Array:
        """The values in the dtype of that kind, themselves where they are."""

    @abstractmethod
    def multiply(self, a: Array, b: Array, out: Array, add: bool = False) -> None:
        """out = a b, or out + a b; all of the "logit" dtype."""

    @abstractmethod
    def add_sum(self, total: Array, gradient: Array) -> None:
        """Add the sum of the rows to total, of the "wide" dtype."""

    @abstractmethod
    def chunk_loss(
        self, z: Array, target: Array, options: LossOptions, row_scale: Any, want_grad: bool, extras: bool
    ) -> tuple[Array, Array | None, dict[str, Array]]:
        """Loss, gradient (which may lie in z) and extras of a chunk of logits."""

    def run(self, row_scale: Any = None, needs: Needs = (False, False, False), extras: bool = False) -> PassResult:
        """Go over the problem."""
        if self.columns is not None:
            return self._by_classes(self.columns, row_scale, needs, extras)
        kept = self.kept()
        m = self.n if kept is None else len(kept)
        result = self._result(extras, m < self.n)
        by_x = self.new((self.n, self.d), "logit", m < self.n) if needs[0] else None
        by_weight = self.new((self.v, self.d), "wide" if m > self.rows else "logit", m == 0) if needs[1] else None
        by_bias = self.new((self.v,), "wide", True) if needs[2] else None
        chunks = -(-m // max(1, min(self.rows, m)))
        buffer = self.new((-(-m // chunks) if chunks else 0, self.v), "logit", False)
        classes = slice(0, self.v)
        for k in range(chunks):
            start, stop = m * k // chunks, m * (k + 1) // chunks
            here = slice(start, stop) if kept is None else kept[start:stop]
            x, z = self.cast(self.problem.x[here], "logit"), buffer[: stop - start]
            self.logits(x, z, classes)
            target, options, scale = self._rows_of(here, row_scale)
            loss, gradient, more = self.chunk_loss(z, target, options, scale, any(needs), extras)
            result.loss[here] = loss
            for name, values in more.items():
                result.extras[name][here] = values
            if by_x is not None:
                self._write_by_x(by_x, gradient, here, classes)
            if by_weight is not None:
                self._add_by_weight(by_weight, gradient, x, k == 0)
            if by_bias is not None:
                self.add_sum(by_bias, gradient)
        result.gradients = (by_x, by_weight, by_bias)
        return result

    def _by_classes(self, columns: int, row_scale: Any, needs: Needs, extras: bool) -> PassResult:
        """Twice over blocks of classes: for the state of the rows, then for the gradients."""
        result = self._result(extras, True)
        by_x = self.new((self.n, self.d), "wide", True) if needs[0] else None
        by_weight = self.new((self.v, self.d), "input", self.n == 0) if needs[1] else None
        by_bias = self.new((self.v,), "wide", True) if needs[2] else None
        x = self.cast(self.problem.x, "logit")
        buffer = self.new((self.n, columns), "logit", False)
        blocks = [slice(start, min(start + columns, self.v)) for start in range(0, self.v, columns)]
        # One array for all states: a small one kept after each piece would keep its temporaries from being used again.
        states = self.new((len(parts.State._fields), self.n), "state", False)
        for classes in blocks:
            z = self._block(x, buffer, classes)
            for here in self._pieces(columns):
                found = parts.state_of(self.part(z, here, classes))
                if classes.start:
                    found = parts.join(parts.State(*states[:, here]), found)
                for values, out in zip(found, states, strict=True):
                    out[here] = values
        for here in self._pieces(columns):
            self.write_rows(result, here, parts.State(*states[:, here]))
        for classes in blocks if any(needs) else ():
            z = self._block(x, buffer, classes)
            for here in self._pieces(columns):
                scale = row_scale[here] if getattr(row_scale, "ndim", 0) else row_scale
                z[here] = parts.gradient_of(self.part(z, here, classes), parts.State(*states[:, here]), scale)
            if by_x is not None:
                self._write_by_x(by_x, z, slice(0, self.n), classes, add=True)
            if by_weight is not None and self.n:
                product = self.new((z.shape[1], self.d), "logit", False)
                self.multiply(z.T, x, product)
                by_weight[classes] = product
            if by_bias is not None:
                self.add_sum(by_bias[classes], z)
        result.gradients = (by_x, by_weight, by_bias)
        return result

    def write_rows(self, result: PassResult, here: slice, state: parts.State) -> None:
        """Loss and extras of rows from their state; rows that are ignored stay 0."""
        options, target = self.problem.options, self.problem.target[here]
        found = {"loss": parts.loss_of(state, options), **(parts.extras_of(state) if result.extras else {})}
        for name, values in found.items():
            out = result.loss if name == "loss" else result.extras[name]
            out[here] = self.cast(values, KINDS.get(name, "wide"))
            if options.ignore_index is not None:
                out[here][target == options.ignore_index] = 0

    def part(self, z: Array, here: slice, classes: slice) -> parts.Part:
        """Some rows of a block of classes."""
        p, options = self.problem, self.problem.options.of_rows(here)
        where = None if options.where is None else options.where[:, classes]
        weight = None if options.weight is None else options.weight[classes]
        target = p.target[here] if p.indices else p.target[here, classes]
        return parts.Part(z[here], target, classes.start, replace(options, where=where, weight=weight))

    def _pieces(self, columns: int) -> list[slice]:
        """Slices of the rows, so few that the temporaries of a piece stay in cache."""
        step = max(1, PART // columns)
        return [slice(start, min(start + step, self.n)) for start in range(0, self.n, step)]

    def _block(self, x: Array, buffer: Array, classes: slice) -> Array:
        """The logits of a block of classes, in the buffer."""
        width = classes.stop - classes.start
        z = buffer.reshape(-1)[: self.n * width].reshape(self.n, width)
        self.logits(x, z, classes)
        return z

    def _result(self, extras: bool, zero: bool) -> PassResult:
        result = PassResult(self.new((self.n,), "wide", zero))
        if extras:
            result.extras = {name: self.new((self.n,), kind, zero) for name, kind in KINDS.items()}
        return result

    def _blocks(self, classes: slice) -> Iterator[slice]:
        """The classes in slices that are small enough to be converted, or added, by the way."""
        step = max(1, BLOCK // max(1, self.d * 8))
        for start in range(classes.start, classes.stop, step):
            yield slice(start, min(start + step, classes.stop))

    def _weights(self, classes: slice) -> Iterator[tuple[slice, Array]]:
        """Classes, counted from the first of `classes`, and their weights in the dtype of the products."""
        weight = self.problem.linear_weight[classes]
        if self.cast(weight[:0], "logit").dtype == weight.dtype:
            yield slice(0, len(weight)), weight
            return
        for own in self._blocks(slice(0, len(weight))):
            yield own, self.cast(weight[own], "logit")

    def logits(self, x: Array, out: Array, classes: slice) -> None:
        """out = x Wᵀ + b of some classes."""
        for own, weight in self._weights(classes):
            self.multiply(x, weight.T, out[:, own])
        if self.problem.bias is not None:
            out += self.problem.bias[classes]

    def _write_by_x(self, by_x: Array, gradient: Array, here: Any, classes: slice, add: bool = False) -> None:
        """by_x[here] = gradient W, or with it added."""
        if by_x.dtype != gradient.dtype:
            for own, weight in self._weights(classes):
                out = self.new((len(gradient), self.d), "logit", False)
                self.multiply(gradient[:, own], weight, out)
                by_x[here] += out
            return
        direct = isinstance(here, slice)
        out = by_x[here] if direct else self.new((len(here), self.d), "logit", False)
        for own, weight in self._weights(classes):
            self.multiply(gradient[:, own], weight, out, add or own.start > 0)
        if not direct:
            by_x[here] = out

    def _add_by_weight(self, by_weight: Array, gradient: Array, x: Array, first: bool) -> None:
        """Add gradientᵀ x to by_weight; the first time, write it."""
        if by_weight.dtype == gradient.dtype:
            self.multiply(gradient.T, x, by_weight, not first)
            return
        for own in self._blocks(slice(0, self.v)):
            product = self.new((own.stop - own.start, self.d), "logit", False)
            self.multiply(gradient[:, own].T, x, product)
            if first:
                by_weight[own] = product
            else:
                by_weight[own] += product

    def _rows_of(self, here: Any, row_scale: Any) -> tuple[Array, LossOptions, Any]:
        """Target, options and scale of some rows."""
        options = self.problem.options.of_rows(here)
        if self.leaves_out and options.ignore_index is not None:
            options = replace(options, ignore_index=None)
        per_row = getattr(row_scale, "ndim", 0)
        return self.problem.target[here], options, row_scale[here] if per_row else row_scale


class NumPyPass(Pass):
    """With NumPy's products and the kernel set for NumPy."""

    def __init__(self, problem: LinearProblem, rows: int, columns: int | None, kernels: Any) -> None:
        super().__init__(problem, rows, columns)
        self.kernels = kernels
        item = problem.x.dtype
        wide = np.dtype(np.float64 if item.itemsize == 8 else np.float32)
        self.dtypes = {
            "input": item,
            "logit": wide,
            "wide": wide,
            "state": np.dtype(float),
            "index": np.dtype(np.int64),
        }

    def run(self, row_scale: Any = None, needs: Needs = (False, False, False), extras: bool = False) -> PassResult:
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

    def cast(self, values: Array, kind: str) -> Array:
        return values.astype(self.dtypes[kind], copy=False)

    def multiply(self, a: Array, b: Array, out: Array, add: bool = False) -> None:
        if not add:
            np.matmul(a, b, out=out)
            return
        step = max(1, BLOCK // max(1, out.shape[1] * out.itemsize))  # NumPy cannot add a product: by blocks of it
        for start in range(0, len(out), step):
            out[start : start + step] += a[start : start + step] @ b

    def add_sum(self, total: Array, gradient: Array) -> None:
        total += np.add.reduce(gradient, axis=0, dtype=np.float64)

    def chunk_loss(
        self, z: Array, target: Array, options: LossOptions, row_scale: Any, want_grad: bool, extras: bool
    ) -> tuple[Array, Array | None, dict[str, Array]]:
        result: tuple[Array, Array | None, dict[str, Array]] = self.kernels.chunk_loss(
            z, target, options, row_scale=row_scale, want_grad=want_grad, extras=extras
        )
        return result
