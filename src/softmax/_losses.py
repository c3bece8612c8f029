"""Cross entropy and its kin, in nats and in the logits: value, gradient, Hessian product."""

from __future__ import annotations

from typing import Any, NamedTuple

from ._arrays import NUMPY, Library, product
from ._checks import (
    check_array,
    check_axes,
    check_class_axis,
    check_class_weight,
    check_fraction,
    check_ignore_index,
    check_partner,
    check_positive,
    check_precision,
    check_reduction,
    check_target,
    check_temperature,
    check_where,
)
from ._dispatch import kernels_for
from ._typing import Array, ArrayLike, Axis, LossOptions, Precision, Reduction

__all__ = ["cross_entropy", "cross_entropy_and_grad", "cross_entropy_hvp", "entropy", "kl_divergence"]


def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    /,
    *,
    axis: int = -1,
    weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    where: ArrayLike | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    reduction: Reduction = "mean",
    precision: Precision = "accurate",
) -> Any:
    r"""Score logits against class indices or probabilities, in nats.

    .. math:: \ell = w_y\, \bigl(\mathrm{lse}(z) - z_y\bigr), \qquad
              \ell = \sum_j w_j\, q_j\, \bigl(\mathrm{lse}(z) - z_j\bigr)

    for a class index y and for probabilities q, with z = softcap · tanh(logits / softcap) / T.

    Parameters
    ----------
    logits : array, shape (..., K, ...)
        Scores of the K classes, of any array library. Integers and booleans are computed as float64.
    target : array
        Integers in [0, K) of the shape of `logits` without `axis`, or floating numbers of the shape of `logits`:
        finite, 0 or more. Probabilities of a row need not sum to 1; the loss is linear in them.
    axis : int, default -1
        The class axis.
    weight : array, shape (K,), optional
        A finite weight, 0 or more, for each class.
    ignore_index : int, optional
        A target with this value counts nothing: loss and gradient 0, and no share in the mean.
    label_smoothing : float, default 0.0
        ε in [0, 1]: the target becomes (1 − ε) q + ε / K.
    where : boolean array, optional
        True for the classes that are possible; broadcasts to `logits`. The others have probability 0 and gradient 0,
        and K counts the possible ones of a row. A target that is masked has an infinite loss.
    temperature : float, default 1.0
        T, a finite number above 0 that divides the (capped) logits.
    softcap : float, optional
        Bound the logits smoothly to (−softcap, softcap).
    z_loss : float, default 0.0
        Add z_loss · lse(z)², not weighted by class, which keeps the normaliser near 1.
    reduction : {"mean", "sum", "none"}, default "mean"
        "mean" divides the sum by the total weight of the targets that are not ignored (for probabilities: by the number
        of rows). "none" returns the loss of each row, of the shape of `logits` without `axis`.
    precision : {"accurate", "fast"}, default "accurate"
        "fast" computes NumPy float32 rows in float32 arithmetic.

    Returns
    -------
    array
        In the dtype of `logits`, float32 at least. The mean over no rows is nan.

    Raises
    ------
    ArrayTypeError, ArrayValueError, AxisError, OptionError
        As in `softmax`, and for an option outside its range.
    TargetError
        If the target has the wrong shape or dtype, or a value out of range. Values are not looked at in code that is
        traced (``jax.jit``, ``torch.compile``), nor on a CUDA device, which it would wait for, unless the environment
        variable SOFTMAX_CHECK is 1; a class index out of range then gives nan.

    See Also
    --------
    cross_entropy_and_grad : value and gradient in one read of the logits.

    Notes
    -----
    The largest exponential is left out of the sum: the loss of [30, 0] for class 0 is 9.36e−14 and not 0. A logit of
    −inf with target probability 0 adds 0. Weights, smoothing and the mean are those of PyTorch.

    Examples
    --------
    >>> import softmax as sm
    >>> float(sm.cross_entropy([30.0, 0.0], 0))
    9.357622968839737e-14
    >>> sm.cross_entropy([[2.0, 1.0], [0.0, 3.0]], [0, 0], reduction="none").round(4)
    array([0.3133, 3.0486])
    """
    c = _check(
        logits,
        target,
        axis,
        reduction,
        weight=weight,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        where=where,
        temperature=temperature,
        softcap=softcap,
        z_loss=z_loss,
        precision=precision,
    )
    loss, _ = kernels_for(c.lib).cross_entropy(c.logits, c.target, c.axis, c.options)
    return reduce_loss(c.lib, loss, c.reduction, _denominator(c))


def cross_entropy_and_grad(
    logits: ArrayLike,
    target: ArrayLike,
    /,
    *,
    axis: int = -1,
    weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    where: ArrayLike | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    reduction: Reduction = "mean",
    precision: Precision = "accurate",
) -> tuple[Any, Any]:
    r"""Return the cross entropy and its gradient in the logits, from one read of them.

    .. math:: \frac{\partial \ell}{\partial z_i} = w_y\,(p_i - [i = y]), \qquad p = S(z)

    Parameters
    ----------
    logits : array, shape (..., K, ...)
        Scores of the K classes, as in `cross_entropy`.
    target : array
        Class indices or probabilities, as in `cross_entropy`.
    axis : int, default -1
        The class axis.
    weight : array, shape (K,), optional
        A finite weight, 0 or more, for each class.
    ignore_index : int, optional
        A target with this value counts nothing.
    label_smoothing : float, default 0.0
        ε in [0, 1]: the target becomes (1 − ε) q + ε / K.
    where : boolean array, optional
        True for the classes that are possible; the gradient of the others is 0.
    temperature : float, default 1.0
        T, a finite number above 0 that divides the (capped) logits.
    softcap : float, optional
        Bound the logits smoothly to (−softcap, softcap).
    z_loss : float, default 0.0
        Add z_loss · lse(z)².
    reduction : {"mean", "sum", "none"}, default "mean"
        As in `cross_entropy`. With "none", each row of the gradient is that of its own loss.
    precision : {"accurate", "fast"}, default "accurate"
        "fast" computes NumPy float32 rows in float32 arithmetic.

    Returns
    -------
    value : array
        As `cross_entropy` returns it.
    gradient : array
        Of the shape and floating dtype of `logits`.

    Raises
    ------
    ArrayTypeError, ArrayValueError, AxisError, OptionError, TargetError
        As in `cross_entropy`.

    See Also
    --------
    cross_entropy : the value alone, and what the options mean.
    cross_entropy_hvp : products with the second derivative.

    Notes
    -----
    The entry of the largest probability is what the others leave: it keeps its relative accuracy (4 eps) when the
    probability of the true class tends to 1.

    Examples
    --------
    >>> import softmax as sm
    >>> value, gradient = sm.cross_entropy_and_grad([0.0, -20.0], 0)
    >>> gradient
    array([-2.06115362e-09,  2.06115362e-09])
    """
    c = _check(
        logits,
        target,
        axis,
        reduction,
        weight=weight,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        where=where,
        temperature=temperature,
        softcap=softcap,
        z_loss=z_loss,
        precision=precision,
    )
    total = _denominator(c)
    loss, gradient = kernels_for(c.lib).cross_entropy(
        c.logits, c.target, c.axis, c.options, row_scale=_row_scale(c, total), want_grad=True
    )
    return reduce_loss(c.lib, loss, c.reduction, total), gradient


def cross_entropy_hvp(
    logits: ArrayLike,
    target: ArrayLike,
    v: ArrayLike,
    /,
    *,
    axis: int = -1,
    weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    where: ArrayLike | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    reduction: Reduction = "mean",
    precision: Precision = "accurate",
) -> Any:
    r"""Multiply the Hessian of the cross entropy in the logits by a vector.

    .. math:: H v = w_y\, p \odot (v - \langle p, v \rangle), \qquad p = S(z)

    for a class index and no softcap or z_loss; with them, their terms are added.

    Parameters
    ----------
    logits : array, shape (..., K, ...)
        Scores of the K classes, as in `cross_entropy`.
    target : array
        Class indices or probabilities, as in `cross_entropy`.
    v : array
        The vector, of the shape of `logits`.
    axis : int, default -1
        The class axis.
    weight : array, shape (K,), optional
        A finite weight, 0 or more, for each class.
    ignore_index : int, optional
        A target with this value counts nothing.
    label_smoothing : float, default 0.0
        ε in [0, 1]: the target becomes (1 − ε) q + ε / K.
    where : boolean array, optional
        True for the classes that are possible; the result is 0 at the others, and `v` is not looked at there.
    temperature : float, default 1.0
        T, a finite number above 0 that divides the (capped) logits.
    softcap : float, optional
        Bound the logits smoothly to (−softcap, softcap).
    z_loss : float, default 0.0
        Add z_loss · lse(z)².
    reduction : {"mean", "sum", "none"}, default "mean"
        As in `cross_entropy`. "none" and "sum" give the same: rows do not meet in the Hessian.
    precision : {"accurate", "fast"}, default "accurate"
        "fast" computes NumPy float32 rows in float32 arithmetic.

    Returns
    -------
    array
        Of the shape of `logits`, in the dtype that holds `logits` and `v` (integers and lists take that of `logits`).

    Raises
    ------
    ArrayTypeError, ArrayValueError, AxisError, OptionError, TargetError
        As in `cross_entropy`; ArrayValueError also if `v` has another shape than `logits`.

    See Also
    --------
    cross_entropy : what the options mean.
    logsumexp_hessian : the Hessian of one row, dense.

    Examples
    --------
    >>> import softmax as sm
    >>> sm.cross_entropy_hvp([0.0, 0.0], 0, [1.0, 0.0])
    array([ 0.25, -0.25])
    """
    c = _check(
        logits,
        target,
        axis,
        reduction,
        v=v,
        weight=weight,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        where=where,
        temperature=temperature,
        softcap=softcap,
        z_loss=z_loss,
        precision=precision,
    )
    return kernels_for(c.lib).cross_entropy_hvp(
        c.logits, c.target, c.v, c.axis, c.options, row_scale=_row_scale(c, _denominator(c))
    )


def kl_divergence(
    logits_p: ArrayLike,
    logits_q: ArrayLike,
    /,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    temperature: float = 1.0,
    reduction: Reduction = "none",
) -> Any:
    r"""Return the Kullback–Leibler divergence of two softmax distributions, in nats.

    .. math:: D(p \,\|\, q) = \sum_i p_i\, \log \frac{p_i}{q_i}, \qquad p = S(x_p / T), \; q = S(x_q / T)

    Parameters
    ----------
    logits_p, logits_q : array
        Logits of p and of q, of one shape and one array library.
    axis : int, tuple of int or None, default -1
        The axis or axes along which the probabilities sum to 1.
    where : boolean array, optional
        True for the entries to use; broadcasts to the logits.
    temperature : float, default 1.0
        T, a finite number above 0 that divides both logits.
    reduction : {"none", "mean", "sum"}, default "none"
        "none" gives the divergence of each row.

    Returns
    -------
    array
        0 or more, in the dtype of the logits, float32 at least. It is inf where q is 0 and p is not.

    Raises
    ------
    ArrayTypeError, ArrayValueError, AxisError, OptionError
        As in `softmax`; ArrayValueError also if the two have different shapes.

    See Also
    --------
    cross_entropy : the same plus the entropy of p, for p given as probabilities.

    Notes
    -----
    Terms with p_i = 0 are 0. Where the two distributions are close, the terms of first order, which cancel in the sum,
    are left out of it: the result is accurate down to its own size, and not only to eps.

    Examples
    --------
    >>> import softmax as sm
    >>> float(sm.kl_divergence([1e-9, 0.0], [0.0, 0.0]))
    1.25e-19
    """
    lib, x, mask = check_array(logits_p, "logits_p")
    _, y, mask_q = (
        check_array(logits_q, "logits_q") if not lib.owns(logits_q) or lib is NUMPY else (lib, logits_q, None)
    )
    x, y = check_partner(lib, y, x, "logits_q")
    layout = check_axes(axis, tuple(x.shape))
    mask = mask_q if mask is None else mask if mask_q is None else mask & mask_q
    where = check_where(lib, where, mask, x)
    value = kernels_for(lib).kl_divergence(
        layout.to_rows(lib, x),
        layout.to_rows(lib, y),
        layout.axis,
        where=None if where is None else layout.to_rows(lib, where),
        temperature=check_temperature(temperature),
    )
    return reduce_loss(lib, value, check_reduction(reduction), float(product(value.shape)))


def entropy(
    logits: ArrayLike,
    /,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    temperature: float = 1.0,
    reduction: Reduction = "none",
) -> Any:
    r"""Return the entropy of softmax distributions, in nats.

    .. math:: H(p) = -\sum_i p_i \log p_i, \qquad p = S(x / T)

    Parameters
    ----------
    logits : array
        Logits, as in `softmax`.
    axis : int, tuple of int or None, default -1
        The axis or axes along which the probabilities sum to 1.
    where : boolean array, optional
        True for the entries to use; broadcasts to the logits.
    temperature : float, default 1.0
        T, a finite number above 0 that divides the logits.
    reduction : {"none", "mean", "sum"}, default "none"
        "none" gives the entropy of each row.

    Returns
    -------
    array
        In [0, log n], in the dtype of the logits, float32 at least. Terms with p_i = 0 are 0.

    Raises
    ------
    ArrayTypeError, ArrayValueError, AxisError, OptionError
        As in `softmax`.

    See Also
    --------
    kl_divergence : between two distributions.

    Examples
    --------
    >>> import softmax as sm
    >>> float(sm.entropy([0.0, 0.0]))
    0.6931471805599453
    """
    lib, x, mask = check_array(logits, "logits")
    layout = check_axes(axis, tuple(x.shape))
    where = check_where(lib, where, mask, x)
    value = kernels_for(lib).entropy(
        layout.to_rows(lib, x),
        layout.axis,
        where=None if where is None else layout.to_rows(lib, where),
        temperature=check_temperature(temperature),
    )
    return reduce_loss(lib, value, check_reduction(reduction), float(product(value.shape)))


class _Checked(NamedTuple):
    """The arguments of a cross entropy, checked."""

    lib: Library
    logits: Array
    target: Array
    v: Array | None
    indices: bool  # the target holds class indices
    axis: int
    options: LossOptions
    reduction: Reduction


def _check(
    logits: ArrayLike,
    target: ArrayLike,
    axis: Any,
    reduction: Any,
    *,
    v: ArrayLike | None = None,
    weight: ArrayLike | None,
    ignore_index: Any,
    label_smoothing: Any,
    where: ArrayLike | None,
    temperature: Any,
    softcap: Any,
    z_loss: Any,
    precision: Any,
) -> _Checked:
    """Everything that the kernels rely on."""
    lib, x, mask = check_array(logits, "logits")
    axis = check_class_axis(axis, tuple(x.shape))
    if v is not None:
        x, v = check_partner(lib, v, x, "v")
    ignore_index = check_ignore_index(ignore_index)
    target, indices = check_target(lib, target, x, axis, ignore_index)
    options = LossOptions(
        weight=None if weight is None else check_class_weight(lib, weight, x, x.shape[axis]),
        ignore_index=ignore_index,
        label_smoothing=check_fraction(label_smoothing, "label_smoothing"),
        where=check_where(lib, where, mask, x),
        temperature=check_temperature(temperature),
        softcap=None if softcap is None else check_positive(softcap, "softcap"),
        z_loss=check_positive(z_loss, "z_loss", zero=True),
        precision=check_precision(precision),
    )
    return _Checked(lib, x, target, v, indices, axis, options, check_reduction(reduction))


def _denominator(c: _Checked) -> Any:
    """What the mean of `c` divides by; None for another reduction."""
    if c.reduction != "mean":
        return None
    shape = c.logits.shape
    rows = product(shape[: c.axis] + shape[c.axis + 1 :])
    return mean_denominator(c.lib, c.target, c.options, rows, indices=c.indices)


def mean_denominator(lib: Library, target: Array, options: LossOptions, rows: int, *, indices: bool) -> Any:
    """What a mean divides by: the weight of the targets that count, or the number of rows."""
    if not indices or (options.weight is None and options.ignore_index is None):
        return float(rows)
    xp, target = lib.xp, lib.reshape(target, (-1,))
    kept = target == target if options.ignore_index is None else target != options.ignore_index
    if options.weight is None:
        count = lib.cast(kept, lib.float_dtype())
    else:
        # where nobody could look at the values, a label may lie out of range: its loss is nan, whatever it weighs
        valid = kept & (target >= 0) & (target < options.weight.shape[0])
        weight = lib.take(options.weight, xp.where(valid, target, 0))
        count = xp.where(kept, lib.wide(weight), 0.0)
    total = xp.sum(count)
    return float(total) if lib is NUMPY else total


def _row_scale(c: _Checked, total: Any) -> Any:
    """What the gradient of each row is multiplied by."""
    if total is None:
        return None
    if isinstance(total, float):
        return 1.0 / total if total else float("nan")
    shape = c.logits.shape
    return c.lib.broadcast(1.0 / _nonzero(c.lib, total), shape[: c.axis] + shape[c.axis + 1 :])


def reduce_loss(lib: Library, loss: Array, reduction: Reduction, total: Any) -> Any:
    """The sum in float64, over `total` for a mean; nan over nothing."""
    if reduction == "none":
        return lib.unwrap(loss)
    value = lib.xp.sum(lib.wide(loss))
    if reduction == "mean":
        value = value / ((total or float("nan")) if isinstance(total, float) else _nonzero(lib, total))
    return lib.unwrap(lib.cast(value, loss.dtype))


def _nonzero(lib: Library, total: Array) -> Array:
    """nan instead of 0, so that a division by it is silent."""
    return lib.xp.where(total == 0, float("nan"), total)
