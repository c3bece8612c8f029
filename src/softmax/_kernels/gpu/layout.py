"""Tensors as rows: any axis and any stride, as far as two numbers of a row say where it begins; else a copy."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor


class Rows(NamedTuple):
    """Tensors of one shape whose rows lie along one axis.

    Row r begins at (r // inner)·outer_stride + (r % inner)·inner_stride, its entries are `step` apart.
    """

    tensors: tuple[Tensor | None, ...]
    strides: tuple[tuple[int, int, int], ...]  # (outer, inner, step) of each tensor, zeros for None
    n: int
    n_rows: int
    inner: int

    @property
    def by_columns(self) -> bool:
        """Whether neighbours in the memory of the first tensor belong to different rows."""
        outer, inner, step = self.strides[0]
        return step != 1 and (inner if self.inner > 1 else outer) == 1 and self.n_rows > 1 and self.n > 1

    @property
    def wide_offsets(self) -> bool:
        """Whether a place inside a row may need more than 31 bits."""
        reach = max((self.n + 2**17) * max(1, abs(step)) for _, _, step in self.strides)
        return reach >= 2**31


def as_rows(axis: int, *tensors: Tensor | None) -> Rows:
    """Lay out tensors of the shape of the first; those that no two strides describe are copied."""
    first = tensors[0]
    assert first is not None
    shape = tuple(first.shape)
    others = [i for i in range(len(shape)) if i != axis]
    given = [t for t in tensors if t is not None]
    groups = _groups(shape, others, given)
    if len(groups) > 2:
        tensors = tuple(None if t is None else t.contiguous() for t in tensors)
        given = [t for t in tensors if t is not None]
        groups = _groups(shape, others, given)
    outer = groups[0] if groups else []
    inner = groups[1] if len(groups) > 1 else []  # none where one stride is enough: no division finds the row then
    strides = tuple(
        (0, 0, 0)
        if t is None
        else (t.stride(outer[-1]) if outer else 0, t.stride(inner[-1]) if inner else 0, t.stride(axis))
        for t in tensors
    )
    n_rows = math.prod(shape[i] for i in others)
    return Rows(tensors, strides, shape[axis], n_rows, math.prod(shape[i] for i in inner))


def _groups(shape: tuple[int, ...], dims: list[int], tensors: list[Tensor]) -> list[list[int]]:
    """Neighbouring dimensions that every tensor can walk through with one stride; those of length 1 are left out."""
    groups: list[list[int]] = []
    for dim in dims:
        if shape[dim] == 1:
            continue
        if groups and all(t.stride(groups[-1][-1]) == t.stride(dim) * shape[dim] for t in tensors):
            groups[-1].append(dim)
        else:
            groups.append([dim])
    return groups
