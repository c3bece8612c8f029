"""Any strided, masked, half-precision or byte-swapped array as contiguous rows, a cache-sized block at a time."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

BLOCK = 1 << 15  # elements of a block


def row_blocks(shape: tuple[int, ...], n: int) -> Iterator[tuple[slice | int, ...]]:
    """Indices into leading axes `shape`, each of at most BLOCK elements in rows of n (but of at least one row)."""
    if not shape or math.prod(shape) * n <= BLOCK:
        yield ()
        return
    inner = math.prod(shape[1:]) * n
    step = BLOCK // inner
    for start in range(0, shape[0], max(step, 1)):
        if step:
            yield (slice(start, start + step),)
        else:
            for rest in row_blocks(shape[1:], n):
                yield (start, *rest)


def working_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of the kernel that serves rows of `dtype`: float64 for float64, float32 for anything narrower."""
    return np.dtype(np.float64 if dtype.itemsize == 8 else np.float32)


def load_block(x: Any, temperature: float, mask: Any = None, hidden: float = -math.inf, dtype: Any = None) -> Any:
    """A fresh contiguous block: x / temperature in the arithmetic of x, with `hidden` where mask is False."""
    block = np.empty(x.shape, dtype or working_dtype(x.dtype))
    if temperature == 1.0:
        np.copyto(block, x, casting="unsafe")
    else:
        np.copyto(block, x / x.dtype.type(temperature), casting="unsafe")
    if mask is not None:
        np.copyto(block, hidden, where=~mask)
    return block


def map_rows(
    kernel: Callable[..., None],
    x: Any,
    axis: int,
    out: Any,
    *,
    others: tuple[Any, ...] = (),
    where: Any = None,
    temperature: float = 1.0,
    masked: float = 0.0,
) -> None:
    """out = kernel(x, *others, n, out), row by row, on flat contiguous arrays of the working dtype.

    `out` has the shape of x; entries where `where` is False get `masked`.
    """
    x, out = np.moveaxis(x, axis, -1), np.moveaxis(out, axis, -1)
    others = tuple(np.moveaxis(other, axis, -1) for other in others)
    where = None if where is None else np.moveaxis(where, axis, -1)
    for index in row_blocks(x.shape[:-1], x.shape[-1]):
        mask = None if where is None else where[index]
        block = load_block(x[index], temperature, mask)
        operands = [load_block(other[index], 1.0, mask, 0.0, block.dtype) for other in others]
        result = np.empty_like(block) if operands else block
        kernel(block.reshape(-1), *(v.reshape(-1) for v in operands), x.shape[-1], result.reshape(-1))
        if mask is not None:
            np.copyto(result, masked, where=~mask)
        np.copyto(out[index], result, casting="unsafe")


def reduce_rows(
    kernel: Callable[..., None], x: Any, axis: int, out: Any, *, where: Any = None, temperature: float = 1.0
) -> None:
    """out = kernel(rows of x): one number per row; out has the shape of x without `axis`."""
    x = np.moveaxis(x, axis, -1)
    where = None if where is None else np.moveaxis(where, axis, -1)
    for index in row_blocks(x.shape[:-1], x.shape[-1]):
        block = load_block(x[index], temperature, None if where is None else where[index])
        result = np.empty(block.shape[:-1], block.dtype)
        kernel(block.reshape(-1), x.shape[-1], result.reshape(-1))
        np.copyto(out[(*index, ...)], result, casting="unsafe")  # the dots keep a 0-d result an array
