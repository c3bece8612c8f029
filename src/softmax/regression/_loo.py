r"""Approximate leave-one-out: what each row's logits would be without it, from one factor of the Hessian.

Leaving out row i and taking one step of Newton's method from the optimum of all rows gives, with H the Hessian, x̃_i the
centred features with a 1 for the intercept, S_i = diag p_i − p_i p_iᵀ and π_i the row's weight,

    z_i^(−i) ≈ z_i + π_i A_i (I − π_i S_i A_i)⁻¹ (p_i − y_i),        A_i = (I ⊗ x̃_iᵀ) H⁻¹ (I ⊗ x̃_i),

since H without the row is H − π_i (I ⊗ x̃_i) S_i (I ⊗ x̃_iᵀ) and the rest is the identity of Woodbury. C stays what it
is. In contrasts to one class the matrices are K−1 by K−1 and H is not singular.

Source: Rad and Maleki (2020), "A scalable estimate of the out-of-sample prediction error via approximate
leave-one-out", and arXiv:1711.05420 for several classes.
"""

import numpy as np
import scipy.linalg

from softmax._errors import OptionError

from ._objective import MultinomialObjective
from ._problem import Problem
from ._rows import Floats, rows_of
from ._stale import Snapshot
from ._threads import Workers

# H⁻¹ is needed as a whole: (K·d)² numbers.
SIZE_LIMIT = 6000
# Numbers of the largest temporary array.
BLOCK_NUMBERS = 1 << 21


def check_size(n_classes: int, d: int) -> None:
    """Refuse what would need too large a matrix.

    Raises
    ------
    OptionError
    """
    size = (n_classes - 1) * (d + 1)
    if size > SIZE_LIMIT:
        raise OptionError(
            f"cv='alo' inverts a matrix of (K−1)·(d+1) = {size} rows ({8 * size**2 / 2**30:.3g} GiB), and goes up to "
            f"{SIZE_LIMIT}. Pass cv=5 for folds."
        )


def leave_one_out_logits(problem: Problem, coef: Floats, intercept: Floats, workers: Workers) -> Floats:
    """Logits (n, K) of each row by the model without it, up to a constant in each row; `coef` and `intercept` are the
    optimum of `problem`, which is smooth.
    """
    rows = rows_of(problem.X, problem.weights, problem.n_classes, problem.intercept, workers)
    objective = MultinomialObjective(rows, problem)
    objective.evaluate(objective.point_of(coef, intercept))
    factor = Snapshot(objective, 1.0).factor(problem.ridge, 1.0)
    kept = np.delete(np.arange(problem.n_classes), factor.reference)
    count, width = len(kept), objective.shape[1]
    inverse, _ = scipy.linalg.lapack.dpotri(factor.factor, lower=1)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    # (j, (k, l, j')): one product with the rows gives Σ_j x_j H⁻¹[k j, l j'] for all k, l, j'.
    stacked = np.ascontiguousarray(inverse.reshape(count, width, count, width).transpose(1, 0, 2, 3)).reshape(width, -1)
    weights = np.full(rows.n, 1.0) if problem.weights is None else problem.weights
    logits: Floats = problem.X @ coef.T + intercept
    if problem.offset is not None:
        logits += problem.offset
    logits -= logits[:, factor.reference, None]
    step = max(1, BLOCK_NUMBERS // (count**2 * width))
    reference = factor.reference

    def block(start: int) -> None:
        own = slice(start, min(start + step, rows.n))
        x = objective._features(own)
        product = (x @ stacked).reshape(len(x), count**2, width)
        a = np.matmul(product, x[:, :, None]).reshape(len(x), count, count)
        a *= (weights[own] / rows.total_weight)[:, None, None]
        z = logits[own]
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        residual = p.copy()
        if problem.probabilities is not None:
            residual -= problem.probabilities[own]
        else:
            assert problem.labels is not None
            residual[np.arange(len(x)), problem.labels[own]] -= 1.0
        q, right = p[:, kept], residual[:, kept, None]
        # S A = diag(q) A − q (qᵀ A)
        leverage = q[:, :, None] * (a - np.matmul(q[:, None, :], a))
        shift = np.matmul(a, np.linalg.solve(np.eye(count) - leverage, right))[:, :, 0]
        moved = np.insert(shift, reference, 0.0, axis=1)
        logits[own] = z + moved

    workers.map(block, range(0, rows.n, step))
    return logits
