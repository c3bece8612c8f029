"""The derivatives of softmax, log_softmax and logsumexp: products with the Jacobian, and the Jacobian, dense."""

from __future__ import annotations

from typing import Any

from ._arrays import Layout, Library
from ._checks import check_array, check_axes, check_dense, check_partner, check_temperature, check_where
from ._dispatch import kernels_for
from ._typing import Array, ArrayLike, Axis

__all__ = [
    "log_softmax_jacobian",
    "log_softmax_jvp",
    "log_softmax_vjp",
    "logsumexp_hessian",
    "softmax_jacobian",
    "softmax_jvp",
    "softmax_vjp",
]


def softmax_jvp(
    x: ArrayLike,
    v: ArrayLike,
    /,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    temperature: float = 1.0,
) -> Any:
    r"""Multiply the Jacobian of softmax by a tangent: the directional derivative along `v`.

    .. math:: J v = \frac{1}{T}\, p \odot (v - \langle p, v \rangle), \qquad p = S(x)

    Parameters
    ----------
    x : array
        Logits, as in `softmax`.
    v : array
        The tangent, of the shape of `x`.
    axis : int, tuple of int or None, default -1
        The axis or axes of the softmax.
    where : boolean array, optional
        True for the entries to use. The result is 0 at the others, and `v` is not looked at there.
    temperature : float, default 1.0
        T, a finite number above 0 that divides the logits.

    Returns
    -------
    array
        Of the shape of `x`, in the dtype that holds `x` and `v` (an integer or a list takes that of `x`).

    Raises
    ------
    ArrayTypeError, ArrayValueError, AxisError, OptionError
        As in `softmax`; ArrayValueError also if `v` has another shape than `x`.

    See Also
    --------
    softmax_vjp : equal in value, because J is symmetric.
    softmax_jacobian : J itself, and where it comes from.

    Notes
    -----
    `v` is first shifted by its entry at the largest probability. That changes nothing in exact arithmetic, since J
    maps constants to 0, and removes the cancellation between v and ⟨p, v⟩: the error of entry i is at most
    2 eps (max abs result + p_i Σ_j p_j abs(v_j − v_max)).

    Examples
    --------
    >>> import softmax as sm
    >>> sm.softmax_jvp([0.0, 0.0], [1.0, 0.0])
    array([ 0.25, -0.25])
    """
    return _product("softmax_jvp", x, v, "v", axis, where, temperature)


def softmax_vjp(
    x: ArrayLike,
    g: ArrayLike,
    /,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    temperature: float = 1.0,
) -> Any:
    r"""Multiply the transposed Jacobian of softmax by a cotangent: the backward pass.

    .. math:: J^\top g = \frac{1}{T}\, p \odot (g - \langle p, g \rangle), \qquad p = S(x)

    Parameters
    ----------
    x : array
        Logits, as in `softmax`.
    g : array
        The cotangent, the derivative of something in softmax(x); of the shape of `x`.
    axis : int, tuple of int or None, default -1
        The axis or axes of the softmax.
    where : boolean array, optional
        True for the entries to use. The result is 0 at the others, and `g` is not looked at there.
    temperature : float, default 1.0
        T, a finite number above 0 that divides the logits.

    Returns
    -------
    array
        Of the shape of `x`, in the dtype that holds `x` and `g` (an integer or a list takes that of `x`).

    Raises
    ------
    ArrayTypeError, ArrayValueError, AxisError, OptionError
        As in `softmax`; ArrayValueError also if `g` has another shape than `x`.

    See Also
    --------
    softmax_jvp : equal in value, because J is symmetric; its notes state the error.

    Examples
    --------
    >>> import softmax as sm
    >>> sm.softmax_vjp([0.0, 0.0], [10001.0, 10000.0])
    array([ 0.25, -0.25])
    """
    return _product("softmax_vjp", x, g, "g", axis, where, temperature)


def log_softmax_jvp(
    x: ArrayLike,
    v: ArrayLike,
    /,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    temperature: float = 1.0,
) -> Any:
    r"""Multiply the Jacobian of log_softmax by a tangent: the directional derivative along `v`.

    .. math:: L v = \frac{1}{T}\, (v - \langle p, v \rangle), \qquad p = S(x)

    Parameters
    ----------
    x : array
        Logits, as in `softmax`.
    v : array
        The tangent, of the shape of `x`.
    axis : int, tuple of int or None, default -1
        The axis or axes of the softmax.
    where : boolean array, optional
        True for the entries to use. The result is 0 at the others, and `v` is not looked at there.
    temperature : float, default 1.0
        T, a finite number above 0 that divides the logits.

    Returns
    -------
    array
        Of the shape of `x`, in the dtype that holds `x` and `v` (an integer or a list takes that of `x`).

    Raises
    ------
    ArrayTypeError, ArrayValueError, AxisError, OptionError
        As in `softmax`; ArrayValueError also if `v` has another shape than `x`.

    See Also
    --------
    log_softmax_vjp : the product with the transpose; this Jacobian is not symmetric.

    Examples
    --------
    >>> import softmax as sm
    >>> sm.log_softmax_jvp([0.0, 0.0], [1.0, 0.0])
    array([ 0.5, -0.5])
    """
    return _product("log_softmax_jvp", x, v, "v", axis, where, temperature)


def log_softmax_vjp(
    x: ArrayLike,
    g: ArrayLike,
    /,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    temperature: float = 1.0,
) -> Any:
    r"""Multiply the transposed Jacobian of log_softmax by a cotangent: the backward pass.

    .. math:: L^\top g = \frac{1}{T}\, \bigl(g - p \sum_j g_j\bigr), \qquad p = S(x)

    Parameters
    ----------
    x : array
        Logits, as in `softmax`.
    g : array
        The cotangent, the derivative of something in log_softmax(x); of the shape of `x`.
    axis : int, tuple of int or None, default -1
        The axis or axes of the softmax.
    where : boolean array, optional
        True for the entries to use. The result is 0 at the others, and `g` is not looked at there.
    temperature : float, default 1.0
        T, a finite number above 0 that divides the logits.

    Returns
    -------
    array
        Of the shape of `x`, in the dtype that holds `x` and `g` (an integer or a list takes that of `x`).

    Raises
    ------
    ArrayTypeError, ArrayValueError, AxisError, OptionError
        As in `softmax`; ArrayValueError also if `g` has another shape than `x`.

    See Also
    --------
    log_softmax_jvp : the product with the Jacobian itself.

    Examples
    --------
    >>> import softmax as sm
    >>> sm.log_softmax_vjp([0.0, 0.0], [1.0, 0.0])
    array([ 0.5, -0.5])
    """
    return _product("log_softmax_vjp", x, g, "g", axis, where, temperature)


def softmax_jacobian(
    x: ArrayLike,
    /,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    temperature: float = 1.0,
) -> Any:
    r"""Return the Jacobian of softmax as dense matrices: entry i, j is the derivative of probability i in logit j.

    .. math:: J = \frac{1}{T}\,\bigl(\operatorname{diag}(p) - p\,p^\top\bigr), \qquad p = S(x)

    Parameters
    ----------
    x : array
        Logits, as in `softmax`.
    axis : int, tuple of int or None, default -1
        The axis of the softmax; several are taken together, in their order, as one of length n.
    where : boolean array, optional
        True for the entries to use. Rows and columns of the others are 0.
    temperature : float, default 1.0
        T, a finite number above 0 that divides the logits.

    Returns
    -------
    array, shape (..., n, n)
        In the dtype of `x`; `...` are the axes of `x` without `axis`.

    Raises
    ------
    ArrayTypeError, ArrayValueError, AxisError, OptionError
        As in `softmax`; ArrayValueError also for more than 2^31 elements, where SoftmaxJacobian serves.

    See Also
    --------
    SoftmaxJacobian : the same without storing it, and its pseudo-inverse, factors and eigenvalues.
    softmax_jvp, softmax_vjp : products with it.

    Notes
    -----
    Derivation. Write S_i = e_i / Σ with e_i = exp(x_i) and Σ = Σ_k e_k. Of these, e_i depends on x_j only if i = j
    (∂e_i/∂x_j = e_i for i = j, else 0), and Σ always does (∂Σ/∂x_j = e_j). The quotient rule gives, for i = j,

    .. math:: \frac{\partial S_j}{\partial x_j} = \frac{e_j \Sigma - e_j e_j}{\Sigma^2}
              = \frac{e_j}{\Sigma} \cdot \frac{\Sigma - e_j}{\Sigma} = S_j (1 - S_j)

    and for i ≠ j

    .. math:: \frac{\partial S_i}{\partial x_j} = \frac{0 \cdot \Sigma - e_i e_j}{\Sigma^2}
              = -\frac{e_i}{\Sigma} \cdot \frac{e_j}{\Sigma} = -S_i S_j

    With a temperature x_j stands for x_j / T, and the chain rule adds the factor 1 / T. J is symmetric and positive
    semidefinite, and its rows sum to 0, since the probabilities sum to 1.

    1 − S_j is computed as the sum of the other probabilities where S_j > 1/2, so that the diagonal keeps its relative
    accuracy when S_j → 1.

    Examples
    --------
    >>> import softmax as sm
    >>> sm.softmax_jacobian([0.0, 0.0])
    array([[ 0.25, -0.25],
           [-0.25,  0.25]])
    """
    lib, x, where, temperature = _dense_input(x, axis, where, temperature)
    with lib.quiet():
        return lib.cast(covariance(lib, *probabilities(lib, x, where, temperature)) / temperature, x.dtype)


def log_softmax_jacobian(
    x: ArrayLike,
    /,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    temperature: float = 1.0,
) -> Any:
    r"""Return the Jacobian of log_softmax as dense matrices: entry i, j is ∂ log S_i / ∂ x_j.

    .. math:: L = \frac{1}{T}\,\bigl(I - \mathbf 1\,p^\top\bigr), \qquad p = S(x)

    Parameters
    ----------
    x : array
        Logits, as in `softmax`.
    axis : int, tuple of int or None, default -1
        The axis of the softmax; several are taken together, in their order, as one of length n.
    where : boolean array, optional
        True for the entries to use. Rows and columns of the others are 0.
    temperature : float, default 1.0
        T, a finite number above 0 that divides the logits.

    Returns
    -------
    array, shape (..., n, n)
        In the dtype of `x`; `...` are the axes of `x` without `axis`.

    Raises
    ------
    ArrayTypeError, ArrayValueError, AxisError, OptionError
        As in `softmax`; ArrayValueError also for more than 2^31 elements: use log_softmax_jvp and log_softmax_vjp.

    See Also
    --------
    softmax_jacobian : row i of this one times S_i.

    Examples
    --------
    >>> import softmax as sm
    >>> sm.log_softmax_jacobian([0.0, 0.0])
    array([[ 0.5, -0.5],
           [-0.5,  0.5]])
    """
    lib, x, where, temperature = _dense_input(x, axis, where, temperature)
    p, rest = probabilities(lib, x, where, temperature)
    on_diagonal = diagonal(lib, p)
    with lib.quiet():
        entries = lib.xp.where(on_diagonal, rest[..., None], 0.0 - p[..., None, :]) / temperature
    if where is not None:
        entries = lib.xp.where(where[..., None] & where[..., None, :], entries, 0.0)
    return lib.cast(entries, x.dtype)


def logsumexp_hessian(
    x: ArrayLike,
    /,
    *,
    axis: Axis = -1,
    where: ArrayLike | None = None,
    temperature: float = 1.0,
) -> Any:
    r"""Return the second derivatives of logsumexp as dense matrices.

    .. math:: H = \frac{1}{T^2}\,\bigl(\operatorname{diag}(p) - p\,p^\top\bigr), \qquad p = S(x)

    Parameters
    ----------
    x : array
        Real numbers, as in `softmax`.
    axis : int, tuple of int or None, default -1
        The axis that is summed over; several are taken together, in their order, as one of length n.
    where : boolean array, optional
        True for the entries to sum. Rows and columns of the others are 0.
    temperature : float, default 1.0
        T, a finite number above 0 that divides `x`.

    Returns
    -------
    array, shape (..., n, n)
        In the dtype of `x`; `...` are the axes of `x` without `axis`.

    Raises
    ------
    ArrayTypeError, ArrayValueError, AxisError, OptionError
        As in `softmax`; ArrayValueError also for more than 2^31 elements, where SoftmaxJacobian serves.

    See Also
    --------
    softmax_jacobian : the gradient of logsumexp(x, temperature=T) is softmax(x, temperature=T) / T.

    Examples
    --------
    >>> import softmax as sm
    >>> sm.logsumexp_hessian([0.0, 0.0], temperature=0.5)
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    lib, x, where, temperature = _dense_input(x, axis, where, temperature)
    with lib.quiet():
        h = covariance(lib, *probabilities(lib, x, where, temperature)) / temperature
        return lib.cast(h / temperature, x.dtype)  # T² could underflow where 1/T² is in range


def _product(
    function: str, x: ArrayLike, v: ArrayLike, name: str, axis: Any, where: ArrayLike | None, temperature: Any
) -> Any:
    """A product with a Jacobian, by the kernel of this name."""
    lib, x, mask = check_array(x)
    x, v = check_partner(lib, v, x, name)
    layout = check_axes(axis, tuple(x.shape))
    where = check_where(lib, where, mask, x)
    result = getattr(kernels_for(lib), function)(
        layout.to_rows(lib, x),
        layout.to_rows(lib, v),
        layout.axis,
        where=None if where is None else layout.to_rows(lib, where),
        temperature=check_temperature(temperature),
    )
    return lib.unwrap(layout.from_rows(lib, result))


def _dense_input(
    x: ArrayLike, axis: Any, where: ArrayLike | None, temperature: Any
) -> tuple[Library, Array, Array | None, float]:
    """Checked input with the axis of the softmax last, not too large for dense matrices."""
    lib, x, mask = check_array(x)
    layout: Layout = check_axes(axis, tuple(x.shape))
    where = check_where(lib, where, mask, x)
    x = layout.to_trailing(lib, x)
    check_dense((*x.shape, x.shape[-1]))
    return lib, x, None if where is None else layout.to_trailing(lib, where), check_temperature(temperature)


# What SoftmaxJacobian shares with the dense functions


def probabilities(lib: Library, x: Array, where: Array | None, temperature: float) -> tuple[Array, Array]:
    """p = softmax(x) in float64 or wider, and 1 − p without the cancellation."""
    p = kernels_for(lib).softmax(lib.wide(x), x.ndim - 1, where=where, temperature=temperature)
    return p, complement(lib, p)


def complement(lib: Library, p: Array) -> Array:
    """1 − p along the last axis: for the one p above 1/2 the sum of the others, where the difference would cancel."""
    large = p > 0.5
    others = lib.xp.sum(lib.xp.where(large, 0.0, p), axis=-1, keepdims=True)
    return lib.xp.where(large, others, 1.0 - p)


def covariance(lib: Library, p: Array, rest: Array) -> Array:
    """diag(p) − p pᵀ."""
    return lib.xp.where(diagonal(lib, p), (p * rest)[..., None], 0.0 - p[..., None] * p[..., None, :])


def diagonal(lib: Library, p: Array) -> Array:
    """True where i = j, (n, n)."""
    i = lib.positions(p.shape[-1], p)
    return i[:, None] == i[None, :]
