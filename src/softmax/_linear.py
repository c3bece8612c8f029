"""Cross entropy of a linear layer without its logits: checks, plan, and the reduction of what a pass found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from . import _linear_pass as linear_pass
from ._arrays import NUMPY, Library, describe, product
from ._checks import (
    check_array,
    check_budget,
    check_class_weight,
    check_fraction,
    check_ignore_index,
    check_layer,
    check_positive,
    check_precision,
    check_reduction,
    check_row_temperature,
    check_target,
    check_where,
)
from ._dispatch import kernels_for
from ._errors import ArrayTypeError, OptionError
from ._linear_plan import LinearPlan, Sizes, When, free_memory, plan_for
from ._losses import mean_denominator, reduce_loss
from ._typing import Array, ArrayLike, LossOptions, Precision, Reduction

__all__ = ["linear_cross_entropy", "linear_cross_entropy_and_grad"]


@dataclass(frozen=True, slots=True)
class LinearExtras:
    """What the pass of a linear cross entropy saw besides the loss; no gradient flows into it.

    All but `accuracy` have the shape of the rows and belong to the logits after softcap, temperature and mask. In a row
    that is ignored they are 0.

    Attributes
    ----------
    logsumexp : array
        The normaliser of each row.
    entropy : array
        Of the predicted probabilities, in nats.
    max_probability : array
        The largest predicted probability.
    argmax : array of int64
        The class it belongs to, the first of several.
    accuracy : float or array
        The share of rows, among those that are not ignored, whose class is `argmax`; for probabilities, whose most
        probable target is. nan if there are none, and for probabilities that several processes share.
    """

    logsumexp: Any
    entropy: Any
    max_probability: Any
    argmax: Any
    accuracy: Any


class LinearGradients(NamedTuple):
    """Gradients of a linear cross entropy, each of the shape and dtype of its argument."""

    x: Any
    linear_weight: Any
    bias: Any  # None where there is no bias


def linear_cross_entropy(
    x: ArrayLike,
    linear_weight: ArrayLike,
    target: ArrayLike,
    /,
    bias: ArrayLike | None = None,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    where: ArrayLike | None = None,
    temperature: float | ArrayLike = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    reduction: Reduction = "mean",
    precision: Precision = "accurate",
    memory_budget: int | float | None = None,
    return_extras: bool = False,
    process_group: Any = None,
) -> Any:
    r"""Score the logits of a linear layer against class indices or probabilities, in nats, and never store them.

    .. math:: \ell_n = \mathrm{CE}(W x_n + b, \; y_n), \qquad W: (V, D), \; x_n: (D,)

    with the cross entropy and the options of `cross_entropy`. The logits of a few rows at a time are computed, scored,
    turned into their gradient and used up; those of all rows, N × V, never exist.

    Parameters
    ----------
    x : array, shape (..., D)
        Features, one row for each target: NumPy arrays or PyTorch tensors, float16, bfloat16, float32 or float64.
        Integers are computed as float64.
    linear_weight : array, shape (V, D)
        The weights of the layer, as `torch.nn.Linear` holds them, in the dtype of `x`.
    target : array
        Integers in [0, V) of shape (...), or floating numbers of shape (..., V): finite, 0 or more.
    bias : array, shape (V,), optional
        Added to the logits. −inf makes a class impossible.
    weight : array, shape (V,), optional
        A finite weight, 0 or more, for each class.
    ignore_index : int, optional
        A target with this value counts nothing, and nothing is computed for its row.
    label_smoothing : float, default 0.0
        ε in [0, 1]: the target becomes (1 − ε) q + ε / V.
    where : boolean array, optional
        True for the classes that are possible; broadcasts to (..., V). A mask of shape (V,) holds for all rows.
    temperature : float or array, default 1.0
        T, finite and above 0, divides the (capped) logits: a number, or an array of shape (...), one for each row.
    softcap : float, optional
        Bound the logits smoothly to (−softcap, softcap).
    z_loss : float, default 0.0
        Add z_loss · lse(z)².
    reduction : {"mean", "sum", "none"}, default "mean"
        As in `cross_entropy`; "none" returns an array of shape (...).
    precision : {"accurate", "fast"}, default "accurate"
        As in `cross_entropy`.
    memory_budget : int or float, optional
        The most memory that the call may need beyond its arguments, results and gradients included: bytes as an
        integer, or a fraction in (0.0, 1.0] of the memory that is free. By default the fastest way is taken.
    return_extras : bool, default False
        Return also what the pass sees of each row.
    process_group : torch.distributed.ProcessGroup, optional
        A group of processes that share out the classes. Each passes the same `x` and class indices, and of its own
        classes, which follow each other in the order of the ranks, `linear_weight`, `bias`, `weight`, `where` and
        target probabilities. Loss and gradient of `x` come out the same in all. The first derivative alone is there,
        and every process has to ask for it.

    Returns
    -------
    loss : array
        In float32, or float64 for float64 input. The mean over no rows is nan, with gradients 0.
    extras : LinearExtras
        Only if `return_extras`: logsumexp, entropy, argmax, largest probability and accuracy.

    Raises
    ------
    ArrayTypeError
        If an argument is no array of NumPy or PyTorch, or the dtypes differ.
    ArrayValueError
        If the shapes do not fit, or there is no class.
    OptionError, TargetError
        As in `cross_entropy`, and if nothing fits into `memory_budget`; the message then says the smallest that would.

    See Also
    --------
    linear_cross_entropy_and_grad : value and gradients of NumPy arrays, from the same pass.
    cross_entropy : for logits that exist; what the options mean.
    explain_dispatch : prints the plan of a call, with its memory.

    Notes
    -----
    With PyTorch, the gradients of a reduced loss come from the forward pass: 6 N D V operations in all. With
    ``reduction="none"`` what flows back is not known then, and the logits are computed a second time (8 N D V).
    Products run in the dtype of `x` (float16, and bfloat16 on processors without products of it, in float32), sums
    over chunks in float32 at least, and gradients are rounded once. Repeated calls give the same bits.

    Examples
    --------
    >>> import numpy as np
    >>> import softmax as sm
    >>> x, weight = np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> sm.linear_cross_entropy(x, weight, [0, 1], reduction="none").round(4)
    array([0.862 , 0.7586])
    """
    c = _check(
        x,
        linear_weight,
        target,
        bias,
        reduction,
        memory_budget,
        weight=weight,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        where=where,
        temperature=temperature,
        softcap=softcap,
        z_loss=z_loss,
        precision=precision,
        process_group=process_group,
    )
    denominator = _denominator(c)
    if c.lib is NUMPY:
        plan = _numpy_plan(c, "no gradient", bool(return_extras))
        result = _numpy_pass(c, plan).run(extras=bool(return_extras))
        value, extras = _reduced(c, result.loss, denominator), result.extras
    else:
        value, extras = kernels_for(c.lib).linear_cross_entropy(
            c.problem, c.reduction, denominator, c.budget, bool(return_extras), c.shares
        )
        value = c.lib.reshape(value, c.rows) if c.reduction == "none" else value
    return (value, _extras(c, extras)) if return_extras else value


def linear_cross_entropy_and_grad(
    x: ArrayLike,
    linear_weight: ArrayLike,
    target: ArrayLike,
    /,
    bias: ArrayLike | None = None,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    where: ArrayLike | None = None,
    temperature: float | ArrayLike = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    reduction: Reduction = "mean",
    precision: Precision = "accurate",
    memory_budget: int | float | None = None,
) -> tuple[Any, LinearGradients]:
    r"""Return the cross entropy of a linear layer and its gradients, from one pass over the rows.

    .. math:: \frac{\partial \ell}{\partial x_n} = W^\top g_n, \quad
              \frac{\partial \ell}{\partial W} = \sum_n g_n x_n^\top, \quad
              \frac{\partial \ell}{\partial b} = \sum_n g_n

    where g is the gradient in the logits, as `cross_entropy_and_grad` gives it.

    Parameters
    ----------
    x : array, shape (..., D)
        Features, a NumPy array.
    linear_weight : array, shape (V, D)
        The weights of the layer, in the dtype of `x`.
    target : array
        Class indices or probabilities, as in `linear_cross_entropy`.
    bias : array, shape (V,), optional
        Added to the logits.
    weight : array, shape (V,), optional
        A finite weight, 0 or more, for each class.
    ignore_index : int, optional
        A target with this value counts nothing.
    label_smoothing : float, default 0.0
        ε in [0, 1]: the target becomes (1 − ε) q + ε / V.
    where : boolean array, optional
        True for the classes that are possible.
    temperature : float or array, default 1.0
        T, a number or one for each row, that divides the (capped) logits.
    softcap : float, optional
        Bound the logits smoothly to (−softcap, softcap).
    z_loss : float, default 0.0
        Add z_loss · lse(z)².
    reduction : {"mean", "sum", "none"}, default "mean"
        With "none" the gradients are those of the sum of the losses.
    precision : {"accurate", "fast"}, default "accurate"
        As in `cross_entropy`.
    memory_budget : int or float, optional
        The most memory that the call may need beyond its arguments, results included, in bytes or as a fraction.

    Returns
    -------
    value : array
        As `linear_cross_entropy` returns it.
    gradients : LinearGradients
        ``(x, linear_weight, bias)``, each like its argument, rounded once; the last is None without a bias.

    Raises
    ------
    ArrayTypeError, ArrayValueError, OptionError, TargetError
        As in `linear_cross_entropy`; ArrayTypeError also for tensors, which have ``backward()``.

    See Also
    --------
    linear_cross_entropy : the value alone, and what the options mean.

    Examples
    --------
    >>> import numpy as np
    >>> import softmax as sm
    >>> value, gradients = sm.linear_cross_entropy_and_grad(np.ones((1, 2)), np.zeros((2, 2)), [0], np.zeros(2))
    >>> gradients.bias
    array([-0.5,  0.5])
    """
    c = _check(
        x,
        linear_weight,
        target,
        bias,
        reduction,
        memory_budget,
        weight=weight,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        where=where,
        temperature=temperature,
        softcap=softcap,
        z_loss=z_loss,
        precision=precision,
    )
    if c.lib is not NUMPY:
        raise ArrayTypeError(
            "linear_cross_entropy_and_grad is for NumPy arrays. Call linear_cross_entropy on the tensors, and "
            "backward() on the loss."
        )
    denominator = _denominator(c)
    plan = _numpy_plan(c, "with the loss", False)
    needs = (True, True, c.problem.bias is not None)
    result = _numpy_pass(c, plan).run(None, needs)
    scale = None if denominator is None else 1.0 / denominator if denominator else 0.0
    by_x, by_weight, by_bias = (_rounded(g, scale, c.problem.x.dtype) for g in result.gradients)
    by_x = c.lib.reshape(by_x, (*c.rows, c.problem.x.shape[1]))
    return _reduced(c, result.loss, denominator), LinearGradients(by_x, by_weight, by_bias)


def explain_plan(name: str, *args: Any, **options: Any) -> LinearPlan:
    """The plan of a call of `name`, which would raise where the call would."""
    reduction, budget = options.pop("reduction", "mean"), options.pop("memory_budget", None)
    extras = bool(options.pop("return_extras", False))
    x, linear_weight, target, bias = args if len(args) == 4 else (*args, options.pop("bias", None))
    c = _check(x, linear_weight, target, bias, reduction, budget, **{**_DEFAULTS, **options})
    if c.lib is NUMPY:
        return _numpy_plan(c, "with the loss" if name.endswith("grad") else "no gradient", extras)
    plan: LinearPlan = kernels_for(c.lib).plan_of(c.problem, c.reduction, extras, c.budget)
    return plan


_DEFAULTS: dict[str, Any] = {
    "weight": None,
    "ignore_index": None,
    "label_smoothing": 0.0,
    "where": None,
    "temperature": 1.0,
    "softcap": None,
    "z_loss": 0.0,
    "precision": "accurate",
}


class _Checked(NamedTuple):
    """The arguments of a linear cross entropy, checked."""

    lib: Library
    problem: linear_pass.LinearProblem
    rows: tuple[int, ...]  # the shape of what numbers the rows
    reduction: Reduction
    budget: int | None
    shares: Any = None  # which classes these are, where several processes share them


def _check(
    x: ArrayLike,
    linear_weight: ArrayLike,
    target: ArrayLike,
    bias: ArrayLike | None,
    reduction: Any,
    memory_budget: Any,
    *,
    weight: ArrayLike | None,
    ignore_index: Any,
    label_smoothing: Any,
    where: ArrayLike | None,
    temperature: Any,
    softcap: Any,
    z_loss: Any,
    precision: Any,
    process_group: Any = None,
) -> _Checked:
    """Everything that a pass relies on."""
    lib, x, mask = check_array(x, "x")
    if mask is not None or lib.name not in ("numpy", "torch"):
        raise ArrayTypeError(
            "x must be a NumPy array (not a masked one) or a PyTorch tensor; got "
            f"{'a masked array' if mask is not None else describe(x)}. Convert it; ignore_index leaves rows out."
        )
    if lib.name == "torch":
        x, linear_weight, bias = kernels_for(lib).autocast(x, linear_weight, bias)
    linear_weight, bias = check_layer(lib, x, linear_weight, bias)
    rows, d, v = tuple(x.shape[:-1]), x.shape[-1], linear_weight.shape[0]
    zero = np.zeros((), x.dtype) if lib is NUMPY else x.new_zeros(())
    logits = lib.broadcast(zero, (*rows, v))  # stands for the shape and dtype of what is never there
    ignore_index = check_ignore_index(ignore_index)
    shares, all_logits = None, logits
    if process_group is not None:
        if lib is NUMPY:
            raise OptionError("process_group is for PyTorch tensors; x is a NumPy array. Pass torch.from_numpy(x).")
        shares = kernels_for(lib).shares_of(process_group, v, x)
        if getattr(target, "ndim", None) == len(rows):  # class indices, which count the classes of all
            all_logits = lib.broadcast(zero, (*rows, shares.total))
    target, indices = check_target(lib, target, all_logits, len(rows), ignore_index)
    mask = check_where(lib, where, None, logits)
    n = product(rows)
    options = LossOptions(
        weight=None if weight is None else check_class_weight(lib, weight, logits, v),
        ignore_index=ignore_index,
        label_smoothing=check_fraction(label_smoothing, "label_smoothing"),
        where=None if mask is None else lib.reshape(mask, (n, v)),
        temperature=check_row_temperature(lib, temperature, x),
        softcap=None if softcap is None else check_positive(softcap, "softcap"),
        z_loss=check_positive(z_loss, "z_loss", zero=True),
        precision=check_precision(precision),
    )
    target = lib.reshape(target, (n,) if indices else (n, v))
    problem = linear_pass.LinearProblem(lib.reshape(x, (n, d)), linear_weight, target, bias, options)
    budget = check_budget(memory_budget, lambda: _free_memory(lib, x))
    return _Checked(lib, problem, rows, check_reduction(reduction), budget, shares)


def _free_memory(lib: Library, x: Array) -> int:
    """Bytes that are free where `x` lies."""
    free: int = kernels_for(lib).free_memory(x) if lib is not NUMPY and x.is_cuda else free_memory()
    return free


def _denominator(c: _Checked) -> Any:
    """What a mean divides by; None for another reduction."""
    if c.reduction != "mean" or c.shares is not None:
        return None
    p = c.problem
    return mean_denominator(c.lib, p.target, p.options, p.x.shape[0], indices=p.indices)


def _reduced(c: _Checked, loss: Array, denominator: Any) -> Any:
    return reduce_loss(c.lib, c.lib.reshape(loss, c.rows), c.reduction, denominator)


def _numpy_pass(c: _Checked, plan: LinearPlan) -> linear_pass.NumPyPass:
    columns = plan.columns if plan.way == "recompute" else None
    return linear_pass.NumPyPass(c.problem, plan.rows, columns, kernels_for(NUMPY))


def _numpy_plan(c: _Checked, gradient: When, extras: bool) -> LinearPlan:
    x = c.problem.x
    wide = max(4, x.dtype.itemsize)
    (n, d), v = x.shape, c.problem.linear_weight.shape[0]
    sizes = Sizes(n, d, v, x.dtype.itemsize, wide, wide, gradient, extras)
    return plan_for(sizes, c.budget)


def _rounded(gradient: Array | None, scale: float | None, dtype: Any) -> Array | None:
    """Scale a gradient where it lies, then round it."""
    if gradient is None:
        return None
    with np.errstate(all="ignore"):
        if scale is not None:
            gradient *= gradient.dtype.type(scale)
        return gradient.astype(dtype, copy=False)


def _extras(c: _Checked, values: dict[str, Array]) -> LinearExtras:
    """The extras in the shape of the rows, and the accuracy of the rows that count."""
    p, lib = c.problem, c.lib
    label = p.target if p.indices else p.target.argmax(1)
    right = lib.cast(values["argmax"] == label, lib.float_dtype())
    ignored = p.options.ignore_index
    count: Any = float(p.x.shape[0])
    if p.indices and ignored is not None:
        kept = lib.cast(label != ignored, lib.float_dtype())
        right, count = right * kept, lib.xp.sum(kept)
    with lib.quiet():
        if c.shares is not None and not p.indices:
            right = right * float("nan")  # the most probable target may be another process's
        accuracy = lib.xp.sum(right) / count if lib is not NUMPY or count else float("nan")
    shaped = {name: lib.unwrap(lib.reshape(value, c.rows)) for name, value in values.items()}
    return LinearExtras(**shaped, accuracy=float(accuracy) if lib is NUMPY else accuracy)
