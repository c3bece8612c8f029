"""The kernel set for NumPy, compiled by Numba: chooses kernel, layout and threads.

Three ways lead to the kernels:

* contiguous float32 or float64, last axis, no mask: straight, shared among the threads;
* the same over another axis: softmax has a kernel for columns;
* everything else (strides, masks, temperature, float16, bfloat16): in cache-sized blocks of contiguous rows (`layout`).

Rare options (complex and weighted logsumexp) and long double go to the portable set, and so do, block by block, losses
with probabilities, smoothing, masks, temperature, softcap or z-loss. README.md of `_kernels` holds the contract.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..._typing import LossOptions
from .. import portable
from ..portable import cross_entropy_hvp, entropy, kl_divergence
from . import chunk, columns, fast, gradients, losses, rows
from .layout import map_rows, reduce_rows, row_blocks, working_dtype
from .threads import over_rows

__all__ = [
    "chunk_loss",
    "cross_entropy",
    "cross_entropy_hvp",
    "entropy",
    "kl_divergence",
    "log_softmax",
    "log_softmax_fast_last",
    "log_softmax_jvp",
    "log_softmax_last",
    "log_softmax_vjp",
    "logsumexp",
    "logsumexp_last",
    "softmax",
    "softmax_fast_last",
    "softmax_jvp",
    "softmax_last",
    "softmax_vjp",
]

_PLAIN = (np.dtype(np.float32), np.dtype(np.float64))
SHORT = 31  # rows up to this length are computed sixteen at a time


def _flat(x: Any) -> Any:
    """A C-contiguous array as one axis. Kernels never write what they read, but are compiled for writable memory."""
    x = x.reshape(-1)
    if not x.flags.writeable:
        x = np.asarray(_Memory(x))
    return x


class _Memory:
    """Read-only memory under an interface that does not say so."""

    def __init__(self, x: Any) -> None:
        self.owner = x
        self.__array_interface__ = {**x.__array_interface__, "data": (x.__array_interface__["data"][0], False)}


def _compiled(dtype: np.dtype[Any]) -> bool:
    """Whether some kernel serves this dtype; long double and complex have none."""
    return dtype.itemsize <= 8 and dtype.kind != "c"


def _straight(x: Any) -> bool:
    """Whether kernels can read x where it lies."""
    return x.dtype in _PLAIN and x.flags.c_contiguous and x.flags.aligned


def _short_or_long(short: Callable[..., None], long: Callable[..., None]) -> Callable[..., None]:
    """A kernel of flat rows: short ones sixteen at a time, what remains of them, and longer ones, one by one.

    The bits do not depend on the choice.
    """

    def flat(x: Any, n: int, out: Any) -> None:
        width = n * out.size // x.size  # elements of out to a row: n, or 1
        together = x.size // (n * 16) * 16 if n <= SHORT else 0
        if together:
            short(x[: together * n], n, out[: together * width])
        if together * n < x.size:
            long(x[together * n :], n, out[together * width :])

    return flat


_softmax_flat = _short_or_long(columns.softmax_short_rows, rows.softmax_rows)
_log_softmax_flat = _short_or_long(columns.log_softmax_short_rows, rows.log_softmax_rows)
_logsumexp_flat = _short_or_long(columns.logsumexp_short_rows, rows.logsumexp_rows)


def _fast_if_long(short: Callable[..., None], fast_kernel: Callable[..., None]) -> Callable[..., None]:
    """The fast mode: for short rows the accurate kernel is the faster one."""

    def flat(x: Any, n: int, out: Any) -> None:
        (short if n <= SHORT else fast_kernel)(x, n, out)

    return flat


_FORWARD: dict[tuple[str, str], Callable[..., None]] = {
    ("softmax", "accurate"): _softmax_flat,
    ("softmax", "fast"): _fast_if_long(_softmax_flat, fast.softmax_rows),
    ("log_softmax", "accurate"): _log_softmax_flat,
    ("log_softmax", "fast"): _fast_if_long(_log_softmax_flat, fast.log_softmax_rows),
    ("logsumexp", "accurate"): _logsumexp_flat,
    ("logsumexp", "fast"): _fast_if_long(_logsumexp_flat, fast.logsumexp_rows),
}


def _kernel(name: str, precision: str, dtype: np.dtype[Any]) -> Callable[..., None]:
    """The fast kernels are for float32 rows alone."""
    return _FORWARD[name, precision if dtype == np.float32 else "accurate"]


def _along_rows(kernel: Callable[..., None], x: Any, n: int, out: Any, width: int) -> None:
    """kernel(x, n, out) on flat arrays, shared among the threads; `width` elements of out belong to a row."""

    def task(start: int, stop: int) -> None:
        kernel(x[start * n : stop * n], n, out[start * width : stop * width])

    over_rows(task, x.size // n, x.size)


def _new(kernel: Callable[..., None], x: Any) -> Any:
    """kernel of an aligned C-contiguous array over its last axis, in a new array."""
    out = np.empty(x.shape, x.dtype)
    _along_rows(kernel, _flat(x), x.shape[-1], out.reshape(-1), x.shape[-1])
    return out


def softmax_last(x: Any) -> Any:
    """softmax of an aligned C-contiguous float32 or float64 array over its last axis."""
    if x.ndim == 1 and x.flags.writeable:  # the shortest way, for the smallest calls
        out = np.empty(x.shape, x.dtype)
        rows.softmax_rows(x, x.size, out)
        return out
    return _new(_softmax_flat, x)


def log_softmax_last(x: Any) -> Any:
    """log_softmax of such an array."""
    if x.ndim == 1 and x.flags.writeable:
        out = np.empty(x.shape, x.dtype)
        rows.log_softmax_rows(x, x.size, out)
        return out
    return _new(_log_softmax_flat, x)


def softmax_fast_last(x: Any) -> Any:
    """softmax of such an array in float32 arithmetic, if it is float32."""
    return _new(_kernel("softmax", "fast", x.dtype), x)


def log_softmax_fast_last(x: Any) -> Any:
    """log_softmax of such an array in float32 arithmetic, if it is float32."""
    return _new(_kernel("log_softmax", "fast", x.dtype), x)


def logsumexp_last(x: Any) -> Any:
    """logsumexp of such an array; a NumPy scalar where one number remains."""
    out = np.empty(x.shape[:-1], x.dtype)
    _along_rows(_logsumexp_flat, _flat(x), x.shape[-1], out.reshape(-1), 1)
    return out[()]


def _forward(
    name: str, x: Any, axis: int, where: Any, temperature: float, precision: str, out: Any, masked: float
) -> Any:
    """softmax and log_softmax in every layout."""
    result = out
    if out is None or out.dtype != x.dtype or (out is not x and np.may_share_memory(x, out)):
        result = np.empty(x.shape, x.dtype)
    if x.size:
        kernel = _kernel(name, precision, x.dtype)
        direct = temperature == 1.0 and _straight(x) and _straight(result)
        if not (direct and _in_place(name, kernel, x, axis, where, result)):
            with np.errstate(all="ignore"):
                map_rows(kernel, x, axis, result, where=where, temperature=temperature, masked=masked)
    if out is not None and result is not out:
        with np.errstate(all="ignore"):
            np.copyto(out, result, casting="same_kind")
        return out
    return result


def _in_place(name: str, kernel: Callable[..., None], x: Any, axis: int, where: Any, out: Any) -> bool:
    """Compute where contiguous arrays lie, if a kernel serves this axis and mask; whether it was done."""
    n = x.shape[axis]
    last = axis == x.ndim - 1
    if where is None and last:
        _along_rows(kernel, _flat(x), n, out.reshape(-1), n)
    elif where is None and name == "softmax":
        _softmax_columns(x, axis, out)
    elif name == "softmax" and last and where.flags.c_contiguous:
        _softmax_masked(x, where, out)
    else:
        return False
    return True


def _softmax_columns(x: Any, axis: int, out: Any) -> None:
    """softmax over an axis that is not the last one of a contiguous array."""
    n = x.shape[axis]
    inner = int(np.prod(x.shape[axis + 1 :]))
    flat, target = _flat(x), out.reshape(-1)
    block = n * inner

    def task(start: int, stop: int) -> None:
        columns.softmax_columns(flat[start * block : stop * block], n, inner, target[start * block : stop * block])

    over_rows(task, x.size // block, x.size)


def _softmax_masked(x: Any, where: Any, out: Any) -> None:
    """softmax over the last axis of contiguous arrays, under a contiguous mask."""
    n = x.shape[-1]
    flat, mask, target = _flat(x), _flat(where), out.reshape(-1)

    def task(start: int, stop: int) -> None:
        part = slice(start * n, stop * n)
        rows.softmax_masked_rows(flat[part], mask[part], n, target[part])

    over_rows(task, x.size // n, x.size)


def softmax(
    x: Any,
    axis: int,
    *,
    where: Any = None,
    temperature: float = 1.0,
    precision: str = "accurate",
    out: Any = None,
) -> Any:
    """exp(x/T) over its sum."""
    if not _compiled(x.dtype):
        return portable.softmax(x, axis, where=where, temperature=temperature, out=out)
    return _forward("softmax", x, axis, where, temperature, precision, out, 0.0)


def log_softmax(
    x: Any,
    axis: int,
    *,
    where: Any = None,
    temperature: float = 1.0,
    precision: str = "accurate",
    out: Any = None,
) -> Any:
    """x/T minus the log of the sum of exp(x/T)."""
    if not _compiled(x.dtype):
        return portable.log_softmax(x, axis, where=where, temperature=temperature, out=out)
    return _forward("log_softmax", x, axis, where, temperature, precision, out, -np.inf)


def logsumexp(
    x: Any,
    axis: int,
    *,
    b: Any = None,
    where: Any = None,
    temperature: float = 1.0,
    precision: str = "accurate",
    return_sign: bool = False,
) -> Any:
    """log of the sum of exp(x/T), without the axis."""
    if b is not None or return_sign or not _compiled(x.dtype) or x.shape[axis] == 0:
        options = {"b": b, "where": where, "temperature": temperature, "return_sign": return_sign}
        return portable.logsumexp(x, axis, **options)
    out = np.empty(x.shape[:axis] + x.shape[axis + 1 :], x.dtype)
    if x.size:
        kernel = _kernel("logsumexp", precision, x.dtype)
        if where is None and temperature == 1.0 and _straight(x) and axis == x.ndim - 1:
            _along_rows(kernel, _flat(x), x.shape[axis], out.reshape(-1), 1)
        else:
            with np.errstate(all="ignore"):
                reduce_rows(kernel, x, axis, out, where=where, temperature=temperature)
    return out[()]


def _derivative(kernel: Callable[..., None], x: Any, v: Any, axis: int, where: Any, temperature: float) -> Any:
    """A product with the Jacobian: kernel(x, v, n, 1/T, out)."""
    dtype = np.result_type(x.dtype, v.dtype)
    out = np.empty(x.shape, dtype)
    if x.size == 0:
        return out
    n = x.shape[axis]
    plain = where is None and temperature == 1.0 and axis == x.ndim - 1 and x.dtype == v.dtype
    if plain and _straight(x) and _straight(v):
        flat, operand, target = _flat(x), _flat(v), out.reshape(-1)

        def task(start: int, stop: int) -> None:
            part = slice(start * n, stop * n)
            kernel(flat[part], operand[part], n, 1.0, target[part])

        over_rows(task, x.size // n, x.size)
        return out

    def scaled(x: Any, v: Any, n: int, out: Any) -> None:
        kernel(x, v, n, 1.0 / temperature, out)

    with np.errstate(all="ignore"):
        map_rows(scaled, x.astype(dtype, copy=False), axis, out, others=(v,), where=where, temperature=temperature)
    return out


def _product(name: str, kernel: Callable[..., None]) -> Callable[..., Any]:
    """The public form of one product with a Jacobian."""

    def product(x: Any, v: Any, axis: int, *, where: Any = None, temperature: float = 1.0) -> Any:
        if not (_compiled(x.dtype) and _compiled(v.dtype)):
            return getattr(portable, name)(x, v, axis, where=where, temperature=temperature)
        return _derivative(kernel, x, v, axis, where, temperature)

    product.__name__ = name
    return product


softmax_vjp = softmax_jvp = _product("softmax_vjp", gradients.softmax_vjp_rows)
log_softmax_vjp = _product("log_softmax_vjp", gradients.log_softmax_vjp_rows)
log_softmax_jvp = _product("log_softmax_jvp", gradients.log_softmax_jvp_rows)


def _is_plain_loss(logits: Any, target: Any, options: LossOptions) -> bool:
    """Class indices and at most class weights and an ignored index: what the compiled loss serves."""
    return (
        target.ndim == logits.ndim - 1
        and target.dtype.kind in "iu"
        and options.label_smoothing == 0.0
        and options.where is None
        and options.temperature == 1.0
        and options.softcap is None
        and options.z_loss == 0.0
    )


def cross_entropy(
    logits: Any, target: Any, axis: int, options: LossOptions, *, row_scale: Any = None, want_grad: bool = False
) -> tuple[Any, Any]:
    """The loss of each row, and the gradient of Σ row_scale · loss in the logits (or None)."""
    if logits.size == 0 or not _compiled(logits.dtype):
        return portable.cross_entropy(logits, target, axis, options, row_scale=row_scale, want_grad=want_grad)
    if not _is_plain_loss(logits, target, options):
        serve = _loss_by_rows if working_dtype(logits.dtype) == np.float32 else _loss_by_blocks
        return serve(logits, target, axis, options, row_scale, want_grad)
    per_row = _per_row(target, options, row_scale, logits.shape[axis])
    loss = np.empty(target.shape, working_dtype(logits.dtype))
    gradient = np.empty(logits.shape, logits.dtype) if want_grad else None
    if axis == logits.ndim - 1 and _straight(logits):
        _loss_rows(_flat(logits), logits.shape[axis], per_row, loss.reshape(-1), gradient)
        return loss, gradient
    moved = np.moveaxis(logits, axis, -1)
    target_gradient = None if gradient is None else np.moveaxis(gradient, axis, -1)
    for here in row_blocks(moved.shape[:-1], moved.shape[-1]):
        block = np.ascontiguousarray(moved[here], loss.dtype)
        part = np.empty(block.shape[:-1], loss.dtype)
        part_gradient: Any = np.empty_like(block) if want_grad else None
        shares = tuple(v if v.size == 1 else v[here] for v in per_row)
        _loss_rows(block.reshape(-1), block.shape[-1], shares, part.reshape(-1), part_gradient)
        loss[here] = part
        if target_gradient is not None:
            with np.errstate(all="ignore"):
                np.copyto(target_gradient[here], part_gradient, casting="unsafe")
    return loss, gradient


def _per_row(target: Any, options: LossOptions, row_scale: Any, n: int) -> tuple[Any, Any, Any]:
    """Class index, weight and factor of each row, for the compiled loss.

    The index is -1 where it is ignored, and n where it is out of range, as a graph of torch.compile does not look.
    """
    index = np.asarray(target, np.int64)
    if index.size and not (index.min() >= 0 and index.max() < n):
        index = np.where((index < 0) | (index >= n), n, index)
    if options.ignore_index is not None:
        index = np.where(np.asarray(target) == options.ignore_index, -1, index)
    weight = np.ones(1)
    if options.weight is not None:
        weight = np.asarray(options.weight, np.float64)[np.where(index < n, index, -1)]
    factor = weight if row_scale is None else weight * np.asarray(row_scale, np.float64)
    weight, factor = (v if v.size == 1 else np.broadcast_to(v, index.shape) for v in (weight, factor))
    return index, weight, factor


def chunk_loss(
    z: Any, target: Any, options: LossOptions, *, row_scale: Any = None, want_grad: bool = False, extras: bool = False
) -> tuple[Any, Any, dict[str, Any]]:
    """Loss, gradient (in the place of z) and extras of contiguous rows (n, K); T may be one number per row.

    bfloat16 comes as its bits, in uint16.
    """
    plain = not extras and not hasattr(options.temperature, "ndim") and _is_plain_loss(z, target, options)
    if plain and z.size and _straight(z):
        loss = np.empty(len(z), z.dtype)
        _loss_rows(
            z.reshape(-1), z.shape[1], _per_row(target, options, row_scale, z.shape[1]), loss, z if want_grad else None
        )
        return loss, z if want_grad else None, {}
    if z.dtype in (np.float32, np.uint16) and z.size:
        return _chunk_rows(z, target, options, row_scale, want_grad, extras)
    return _chunk_by_blocks(z, target, options, row_scale, want_grad, extras)


def _chunk_rows(
    z: Any, target: Any, options: LossOptions, row_scale: Any, want_grad: bool, extras: bool
) -> tuple[Any, Any, dict[str, Any]]:
    """The compiled loss with all its options."""
    rows, n = z.shape
    nothing = np.empty(0)
    loss, more = np.empty(rows, np.float32), np.empty((rows if extras else 0, 4))
    indices = target.ndim == 1
    label = _per_row(target, replace(options, weight=None), None, n)[0] if indices else np.empty(0, np.int64)
    q = np.empty((0, n), np.float32) if indices else np.ascontiguousarray(target)
    weight = nothing if options.weight is None else np.asarray(options.weight, np.float64)
    mask: Any = np.empty((0, n), bool)
    if options.where is not None:
        one = options.where.strides[0] == 0
        mask = np.ascontiguousarray(options.where[:1] if one else options.where)
    temperature = np.atleast_1d(np.asarray(options.temperature, np.float64))
    scale = np.ones(1) if row_scale is None else np.atleast_1d(np.asarray(row_scale, np.float64))

    def share(values: Any, start: int, stop: int) -> Any:
        """Some rows of what may be the same for all."""
        return values if len(values) < rows or not len(values) else values[start:stop]

    def task(start: int, stop: int) -> None:
        chunk.chunk_rows(
            _flat(z[start:stop]),
            n,
            share(label, start, stop),
            _flat(share(q, start, stop)),
            _flat(weight),
            _flat(share(mask, start, stop)),
            share(temperature, start, stop),
            0.0 if options.softcap is None else options.softcap,
            options.label_smoothing,
            options.z_loss,
            share(scale, start, stop),
            loss[start:stop],
            more[start:stop].reshape(-1),
            want_grad,
        )

    over_rows(task, rows, z.size)
    names = ("logsumexp", "entropy", "max_probability")
    values = {name: more[:, k].astype(np.float32) for k, name in enumerate(names) if extras}
    if extras:
        values["argmax"] = more[:, 3].astype(np.int64)
    return loss, z if want_grad else None, values


def _chunk_by_blocks(
    z: Any, target: Any, options: LossOptions, row_scale: Any, want_grad: bool, extras: bool
) -> tuple[Any, Any, dict[str, Any]]:
    """The portable loss of a chunk, a block at a time."""
    parts = []
    for (here,) in (index or (slice(None),) for index in row_blocks(z.shape[:1], z.shape[1])):
        scale = row_scale[here] if getattr(row_scale, "ndim", 0) else row_scale
        loss, gradient, more = portable.chunk_loss(
            z[here], target[here], options.of_rows(here), row_scale=scale, want_grad=want_grad, extras=extras
        )
        if want_grad:
            z[here] = gradient
        parts.append({"loss": loss, **more})
    values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return values.pop("loss"), z if want_grad else None, values


def _loss_by_rows(
    logits: Any, target: Any, axis: int, options: LossOptions, row_scale: Any, want_grad: bool
) -> tuple[Any, Any]:
    """The compiled loss with all its options, for float32 and narrower logits: over a copy of them, in order."""
    x, n = np.moveaxis(logits, axis, -1), logits.shape[axis]
    indices = target.ndim < x.ndim
    target = target if indices else np.moveaxis(target, axis, -1)
    mask = None if options.where is None else np.moveaxis(options.where, axis, -1)
    scale = row_scale if row_scale is None or not np.ndim(row_scale) else np.broadcast_to(row_scale, x.shape[:-1])
    straight = axis == logits.ndim - 1 and _straight(logits)
    loss = np.empty(x.shape[:-1], np.float32)
    gradient = np.empty(logits.shape, logits.dtype) if want_grad and not straight else None
    moved = None if gradient is None else np.moveaxis(gradient, axis, -1)
    for here in [()] if straight else row_blocks(x.shape[:-1], n):
        block = x[here]
        rows = np.array(block, np.float32, order="C", copy=None if straight and not want_grad else True)
        part, _, _ = _chunk_rows(
            rows.reshape(-1, n),
            target[here].reshape((-1,) if indices else (-1, n)),
            options if mask is None else replace(options, where=mask[here].reshape(-1, n)),
            scale if scale is None or not np.ndim(scale) else scale[here].reshape(-1),
            want_grad,
            False,
        )
        loss[here] = part.reshape(block.shape[:-1])
        if moved is None:
            gradient = rows if want_grad else None
        else:
            with np.errstate(all="ignore"):
                np.copyto(moved[here], rows, casting="unsafe")
    return loss, gradient


def _loss_by_blocks(
    logits: Any, target: Any, axis: int, options: LossOptions, row_scale: Any, want_grad: bool
) -> tuple[Any, Any]:
    """The portable loss with all its options, a block at a time: memory is read once, temporaries stay in cache."""
    x = np.moveaxis(logits, axis, -1)
    target = np.moveaxis(target, axis, -1) if target.ndim == x.ndim else target
    mask = None if options.where is None else np.moveaxis(options.where, axis, -1)
    scale = None if row_scale is None else np.broadcast_to(row_scale, x.shape[:-1])
    loss = np.empty(x.shape[:-1], working_dtype(x.dtype))
    gradient = np.empty(logits.shape, logits.dtype) if want_grad else None
    moved = None if gradient is None else np.moveaxis(gradient, axis, -1)
    for here in row_blocks(x.shape[:-1], x.shape[-1]):
        block = x[here]
        loss[here], part = portable.cross_entropy(
            block,
            target[here],
            block.ndim - 1,
            options if mask is None else replace(options, where=mask[here]),
            row_scale=None if scale is None else scale[here],
            want_grad=want_grad,
        )
        if moved is not None:
            moved[here] = part
    return loss, gradient


def _loss_rows(flat: Any, n: int, per_row: tuple[Any, ...], loss: Any, gradient: Any) -> None:
    """The compiled loss on flat rows; `per_row`: class index, weight and factor, the last two maybe of length 1."""
    index, weight, factor = (np.ascontiguousarray(v).reshape(-1) for v in per_row)
    sink = np.empty(0, flat.dtype) if gradient is None else gradient.reshape(-1)

    def task(start: int, stop: int) -> None:
        elements, own = slice(start * n, stop * n), slice(start, stop)
        losses.cross_entropy_rows(
            flat[elements],
            n,
            index[own],
            weight if weight.size == 1 else weight[own],
            factor if factor.size == 1 else factor[own],
            loss[own],
            sink if gradient is None else sink[elements],
        )

    over_rows(task, loss.size, flat.size)
