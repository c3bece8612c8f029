"""The Jacobian of softmax as a structured matrix, A = diag(p) − p pᵀ: n numbers stored, products in O(n).

With A come its pseudo-inverse, two factors B Bᵀ = L Lᵀ = A, its log-pseudo-determinant and its eigenvalues, all from
closed forms in p. The arithmetic is float64; results are rounded to the dtype of the logits and the operand.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from ._arrays import Library
from ._checks import check_array, check_axes, check_dense, check_numpy, check_operand, check_operator_logits
from ._derivative import covariance, diagonal, probabilities
from ._dispatch import kernels_for
from ._typing import Array, ArrayLike, Axis, DType

__all__ = ["SoftmaxJacobian"]

_BLOCK = 1 << 18  # elements of a temporary in the search for eigenvalues (2 MiB)


class _Structured(ABC):
    """A stack of n x n matrices that are never stored."""

    # NumPy then leaves `array @ matrix` to __rmatmul__ instead of taking the matrix for an object.
    __array_ufunc__ = None

    def __init__(self, lib: Library, batch: tuple[int, ...], n: int, dtype: DType) -> None:
        self._lib = lib
        self.shape = (*batch, n, n)
        self.dtype = dtype

    @property
    @abstractmethod
    def T(self) -> _Structured:  # noqa: N802 - the name that arrays have
        """The transpose."""

    @abstractmethod
    def _times(self, v: Array) -> Array:
        """The product with the columns of v, (..., n, k), in the dtype of the arithmetic."""

    @abstractmethod
    def _dense(self) -> Array:
        """The matrices in the dtype of the arithmetic."""

    def toarray(self) -> Array:
        """Return the dense matrices, (..., n, n).

        Raises
        ------
        ArrayValueError
            For more than 2^31 elements.
        """
        check_dense(self.shape)
        with self._lib.quiet():
            return self._lib.cast(self._dense(), self.dtype)

    def __matmul__(self, other: ArrayLike) -> Array:
        """Multiply a vector (n,) or matrices (..., n, k), with the rules of ``@`` for dense matrices."""
        return self._multiply(other)

    def __rmatmul__(self, other: ArrayLike) -> Array:
        """Multiply from the left a vector (n,) or matrices (..., k, n)."""
        return self.T._multiply(other, transposed=True)

    def _multiply(self, other: ArrayLike, *, transposed: bool = False) -> Array:
        lib = self._lib
        v = check_operand(lib, other, self._like(), self.shape[-1], left=transposed)
        dtype = lib.promote(self.dtype, v.dtype)
        v = lib.wide(v)
        vector = len(v.shape) == 1
        if vector:
            v = v[:, None]
        elif transposed:
            v = _swap(lib, v)
        with lib.quiet():
            result = self._times(v)
        if vector:
            result = result[..., 0]
        elif transposed:
            result = _swap(lib, result)
        return lib.cast(result, dtype)

    @abstractmethod
    def _like(self) -> Array:
        """An array in `dtype` beside which operands are converted."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__.strip('_')} of shape {self.shape} and dtype {self.dtype}>"


class SoftmaxJacobian(_Structured):
    r"""The Jacobian of softmax at `x`, as a matrix that stores only the n probabilities.

    .. math:: A = \operatorname{diag}(p) - p\,p^\top, \qquad p = S(x)

    A is also the covariance of a one-hot vector drawn with probabilities p, and the Fisher information of p in the
    logits: symmetric, positive semidefinite, of rank m − 1 where m probabilities are not 0.

    Parameters
    ----------
    x : array
        Logits, as in `softmax`; not masked. A logit of −inf is a probability of 0.
    axis : int, tuple of int or None, default -1
        The axis of the softmax; several are taken together, in their order, as one of length n. The other axes number
        the matrices of a stack.

    Attributes
    ----------
    shape : tuple of int
        (..., n, n).
    dtype : dtype
        That of `x`. The arithmetic is in float64 (JAX without x64: float32), and only results are rounded to it.
    T : SoftmaxJacobian
        The transpose, which is the matrix itself.

    Raises
    ------
    ArrayTypeError, ArrayValueError, AxisError
        As in `softmax`; ArrayValueError also for no logits at all (n = 0) and for a masked array.

    See Also
    --------
    softmax_jacobian : the dense matrix, and its derivation from the definition.

    Notes
    -----
    ``A @ v`` takes a vector (n,) or matrices (..., n, k), ``v @ A`` a vector or matrices (..., k, n), with the rules of
    ``@`` for dense matrices (some libraries, among them PyTorch, refuse a foreign object on the right of their ``@``;
    there ``A.T @ v`` serves). Products cost O(n) for each column. 1 − p is never a difference where p > 1/2, and the
    closed forms below have no inverse of a sum, so that they hold for p down to 1e−300 and for p → 1. Numbers beyond
    the range of float64, such as 1/p for a subnormal p, come out as inf or nan.

    The Cholesky factor is that of Tanabe and Sagae [1]_.

    References
    ----------
    .. [1] K. Tanabe and M. Sagae, "An exact Cholesky decomposition and the generalized inverse of the
       variance-covariance matrix of the multinomial distribution, with applications", Journal of the Royal
       Statistical Society B 54(1), 1992. :doi:`10.1111/j.2517-6161.1992.tb01875.x`

    Examples
    --------
    >>> import softmax as sm
    >>> A = sm.SoftmaxJacobian([0.0, 0.0])
    >>> A @ [1.0, 0.0]
    array([ 0.25, -0.25])
    >>> A.pinv().toarray()
    array([[ 1., -1.],
           [-1.,  1.]])
    >>> A.eigvalsh()
    array([0. , 0.5])
    """

    def __init__(self, x: ArrayLike, /, *, axis: Axis = -1) -> None:
        lib, x, mask = check_array(x)
        layout = check_axes(axis, tuple(x.shape))
        x = check_operator_logits(layout.to_trailing(lib, x), mask)
        super().__init__(lib, tuple(x.shape[:-1]), x.shape[-1], x.dtype)
        self._x = x
        self._p, self._rest = probabilities(lib, x, None, 1.0)
        top = lib.xp.argmax(self._p, axis=-1)
        self._is_top = top[..., None] == lib.positions(x.shape[-1], x)

    @property
    def T(self) -> SoftmaxJacobian:  # noqa: N802 - the name that arrays have
        """The transpose, which is the matrix itself."""
        return self

    def pinv(self) -> _Structured:
        """Return the Moore–Penrose inverse A⁺ = C diag(1/p) C, C = I − 11ᵀ/n, as a structured matrix.

        Where probabilities are 0, so are their rows and columns, and n counts the others.
        """
        return _PseudoInverse(self)

    def sqrt(self) -> _Structured:
        """Return B = diag(√p) − p √pᵀ, with B Bᵀ = A, as a structured matrix (B is not symmetric)."""
        return _SquareRoot(self)

    def cholesky(self) -> _Structured:
        """Return the lower triangular L with L Lᵀ = A, of diagonal 0 or more, as a structured matrix.

        With q_j the sum of the probabilities behind j: L_jj = √(p_j q_j / q_{j−1}), L_ij = −p_i √(p_j / (q_{j−1} q_j)).
        """
        return _Cholesky(self)

    def logpdet(self) -> Any:
        """Return the logarithm of the product of the eigenvalues that are not 0: Σ log p + log n, shape (...).

        Logits of −inf are left out of the sum, and of n.
        """
        lib, xp = self._lib, self._lib.xp
        log_p = kernels_for(lib).log_softmax(lib.wide(self._x), self._x.ndim - 1)
        used = log_p != -float("inf")
        count = xp.sum(lib.cast(used, log_p.dtype), axis=-1)
        total = xp.sum(xp.where(used, log_p, 0.0), axis=-1) + xp.log(count)
        return lib.unwrap(lib.cast(total, self.dtype))

    def eigvalsh(self) -> np.ndarray[Any, Any]:
        """Return the n eigenvalues in ascending order, shape (..., n); NumPy only.

        Between two neighbouring values of p lies exactly one, the root of Σ p_i / (p_i − λ), found by bisection to the
        last bit of that sum; a value that occurs k times is itself an eigenvalue k − 1 times; and one eigenvalue is 0.
        The relative error is a few eps for every one of them. The cost is O(n²).

        Raises
        ------
        ArrayTypeError
            If the logits are not NumPy's.
        """
        check_numpy(self._lib, "eigvalsh")
        p = np.asarray(self._p, np.float64)
        rows = [_eigenvalues(row) for row in p.reshape(-1, p.shape[-1])]
        return np.reshape(rows, p.shape).astype(self.dtype)

    def _like(self) -> Array:
        return self._x

    def _times(self, v: Array) -> Array:
        return self._p[..., None] * self._centred(v)

    def _dense(self) -> Array:
        return covariance(self._lib, self._p, self._rest)

    def _centred(self, v: Array) -> Array:
        """v − ⟨p, v⟩, by way of the entry at the largest p, where the two are closest."""
        v = v - self._sum(self._is_top, v)
        return v - self._sum(self._p, v)

    def _sum(self, weights: Array, v: Array) -> Array:
        """Σ weights · v over axis -2, which stays; a boolean weight picks."""
        xp, weights = self._lib.xp, weights[..., None]
        picked = xp.where(weights, v, 0.0) if weights.dtype == self._lib.bool_dtype() else weights * v
        return xp.sum(picked, axis=-2, keepdims=True)


class _Part(_Structured):
    """A matrix that is made of the probabilities of a Jacobian."""

    def __init__(self, jacobian: SoftmaxJacobian) -> None:
        super().__init__(jacobian._lib, jacobian.shape[:-2], jacobian.shape[-1], jacobian.dtype)
        self._of = jacobian

    def _like(self) -> Array:
        return self._of._x


class _Factor(_Part):
    """A part that is not symmetric: it can multiply both ways."""

    @property
    def T(self) -> _Structured:  # noqa: N802 - the name that arrays have
        return _Transposed(self)

    @abstractmethod
    def _times_transposed(self, v: Array) -> Array:
        """The product of the transpose with the columns of v."""


class _Transposed(_Part):
    """The transpose of a factor."""

    def __init__(self, factor: _Factor) -> None:
        super().__init__(factor._of)
        self._factor = factor

    @property
    def T(self) -> _Structured:  # noqa: N802 - the name that arrays have
        return self._factor

    def _times(self, v: Array) -> Array:
        return self._factor._times_transposed(v)

    def _dense(self) -> Array:
        return _swap(self._lib, self._factor._dense())


class _PseudoInverse(_Part):
    """C diag(1/p) C on the support of p."""

    def __init__(self, jacobian: SoftmaxJacobian) -> None:
        super().__init__(jacobian)
        xp, p = self._lib.xp, jacobian._p
        self._used = jacobian._x != -float("inf")
        with self._lib.quiet():  # a p that underflowed: its inverse is out of range, as the class says
            self._inverse = xp.where(self._used, 1.0 / xp.where(self._used, p, 1.0), 0.0)
        self._count = xp.sum(self._lib.cast(self._used, p.dtype), axis=-1, keepdims=True)

    @property
    def T(self) -> _Structured:  # noqa: N802 - the name that arrays have
        return self

    def _times(self, v: Array) -> Array:
        return self._centred(self._inverse[..., None] * self._centred(v))

    def _centred(self, v: Array) -> Array:
        """C v, 0 where p is."""
        xp, used = self._lib.xp, self._used[..., None]
        mean = xp.sum(xp.where(used, v, 0.0), axis=-2, keepdims=True) / self._count[..., None]
        return xp.where(used, v - mean, 0.0)

    def _dense(self) -> Array:
        xp, r, m = self._lib.xp, self._inverse, self._count
        total = (xp.sum(r, axis=-1, keepdims=True) / m / m)[..., None]
        off = total - (r[..., None] + r[..., None, :]) / m[..., None]
        on = (r - 2.0 * r / m)[..., None] + total
        both = self._used[..., None] & self._used[..., None, :]
        return xp.where(both, xp.where(diagonal(self._lib, r), on, off), 0.0)


class _SquareRoot(_Factor):
    """diag(s) − p sᵀ, s = √p."""

    def __init__(self, jacobian: SoftmaxJacobian) -> None:
        super().__init__(jacobian)
        self._s = self._lib.xp.sqrt(jacobian._p)

    def _times(self, v: Array) -> Array:
        a, xp = self._of, self._lib.xp
        p, s, top = a._p[..., None], self._s[..., None], a._is_top[..., None]
        scaled = s * v
        lead = xp.sum(xp.where(top, scaled, 0.0), axis=-2, keepdims=True)
        others = xp.sum(xp.where(top, 0.0, scaled), axis=-2, keepdims=True)
        return xp.where(top, a._rest[..., None] * lead - p * others, scaled - p * (lead + others))

    def _times_transposed(self, v: Array) -> Array:
        return self._s[..., None] * self._of._centred(v)

    def _dense(self) -> Array:
        p, s = self._of._p, self._s
        on = (s * self._of._rest)[..., None]
        return self._lib.xp.where(diagonal(self._lib, p), on, 0.0 - p[..., None] * s[..., None, :])


class _Cholesky(_Factor):
    """Tanabe and Sagae's factor: a diagonal, and −p_i f_j below it."""

    def __init__(self, jacobian: SoftmaxJacobian) -> None:
        super().__init__(jacobian)
        lib, xp, p = self._lib, self._lib.xp, jacobian._p
        tail = lib.flip(lib.cumulate(lib.flip(p, -1), -1), -1)  # q_{j-1}: p_j and all behind
        behind = xp.concat([tail[..., 1:], tail[..., :1] * 0.0], axis=-1)  # q_j
        # Where nothing lies behind, the entries are 0; safe operands keep inf and nan out of gradients there.
        some = behind > 0
        ratio = xp.sqrt(xp.where(some, behind, 1.0) / xp.where(tail > 0, tail, 1.0))
        self._diagonal = xp.where(some, xp.sqrt(p) * ratio, behind)
        # √p_j / √(q_{j-1} q_j) without the product, which could underflow.
        self._f = xp.where(
            some, xp.sqrt(p / xp.where(tail > 0, tail, 1.0)) / xp.sqrt(xp.where(some, behind, 1.0)), behind
        )

    def _times(self, v: Array) -> Array:
        before = self._lib.cumulate(self._f[..., None] * v, -2)
        before = self._lib.xp.concat([before[..., :1, :] * 0.0, before[..., :-1, :]], axis=-2)
        return self._diagonal[..., None] * v - self._of._p[..., None] * before

    def _times_transposed(self, v: Array) -> Array:
        lib = self._lib
        tail = lib.flip(lib.cumulate(lib.flip(self._of._p[..., None] * v, -2), -2), -2)
        behind = lib.xp.concat([tail[..., 1:, :], tail[..., :1, :] * 0.0], axis=-2)
        return self._diagonal[..., None] * v - self._f[..., None] * behind

    def _dense(self) -> Array:
        xp, p = self._lib.xp, self._of._p
        i = self._lib.positions(p.shape[-1], p)
        below = i[:, None] > i[None, :]
        entries = xp.where(below, 0.0 - p[..., None] * self._f[..., None, :], 0.0)
        return xp.where(diagonal(self._lib, p), self._diagonal[..., None], entries)


def _swap(lib: Library, a: Array) -> Array:
    """The matrices transposed."""
    k = len(a.shape)
    return lib.permute(a, [*range(k - 2), k - 1, k - 2])


def _eigenvalues(p: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The eigenvalues of diag(p) − p pᵀ, ascending; p sums to 1.

    An eigenvalue λ that is no p_i solves 1 = Σ p_i² / (p_i − λ). Since Σ p_i = 1, that is λ Σ p_i / (p_i − λ) = 0: no
    cancellation is left, and a relative change of p moves every root by no more than its own size.
    """
    if np.isnan(p).any():
        return np.full_like(p, np.nan)
    values, counts = np.unique(p[p > 0], return_counts=True)
    n_zeros = p.size - int(counts.sum()) + 1
    known = np.concatenate([np.zeros(n_zeros), np.repeat(values, counts - 1)])
    weights = counts * values
    step = max(1, _BLOCK // values.size)
    roots = [_roots(values, weights, slice(i, i + step)) for i in range(0, values.size - 1, step)]
    return np.sort(np.concatenate([known, *roots]))


def _roots(values: np.ndarray[Any, Any], weights: np.ndarray[Any, Any], part: slice) -> np.ndarray[Any, Any]:
    """The roots of Σ weights / (values − λ) in the intervals values[j], values[j + 1] of `part`.

    The sum rises from −inf to inf in each. Non-negative floats are ordered as the integers that spell them: bisecting
    those ends at neighbouring floats after at most 62 steps, however many orders of magnitude lie between the ends.
    """
    low, high = values[:-1][part].view(np.int64).copy(), values[1:][part].view(np.int64).copy()
    while (open_ := np.flatnonzero(high - low > 1)).size:
        middle = low[open_] + (high[open_] - low[open_]) // 2
        negative = np.sum(weights / (values - middle.view(np.float64)[:, None]), axis=1) < 0
        low[open_[negative]] = middle[negative]
        high[open_[~negative]] = middle[~negative]
    return high.view(np.float64)
