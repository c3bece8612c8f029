r"""How far a result is from the optimum: one function for everybody, that shares no code with the library.

With π = 1/n, y_i one-hot and z_i = W x_i + b, all tools are judged by scikit-learn's objective over n,

    f(W, b) = Σ π [lse(z_i) − z_{i, y_i}] + Σ_j (λ_j / 2) ‖W_:j‖² + Σ_j μ_j Ω(W_:j),

Ω the 1-norm or, grouped, the 2-norm. By Fenchel–Young, lse(z) ≥ ⟨q, z⟩ + H(q) for each q of the simplex (H the entropy
in nats), so that for any rows q_i with Σ π q_i = Σ π y_i (which frees the bound of b)

    f(W, b)  ≥  Σ π H(q_i) + ⟨G, W⟩ + Σ_j (λ_j / 2) ‖W_:j‖² + Σ_j μ_j Ω(W_:j),      G = Σ π (q_i − y_i) x_iᵀ,

and the least value of the right side over W is a lower bound of the optimum: −‖(|G_:j| − μ_j)₊‖² / (2 λ_j) for each
feature, and −∞ where λ_j = 0 and the dual norm of G_:j exceeds μ_j. The q_i are taken from the softmax at a point near
the optimum and repaired until the constraints hold (`_mixed`, `_corrected`). Nothing here asks who found the point.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
from scipy.special import entr

# Numbers in a block of logits, so that memory does not grow with n · K; more where a sum of (K, d) has to be worth it.
BLOCK, LARGE_BLOCK = 2_000_000, 15_000_000
# Up to this many classes the intercepts are optimised before the bound is taken.
MOST_CLASSES_REFINED = 500


@dataclass(frozen=True, eq=False)
class Objective:
    """X (n, d) dense or CSR, y (n,) in [0, K), ridge λ and lasso μ (one number for all features), `intercept`."""

    X: Any
    y: np.ndarray
    n_classes: int
    ridge: float
    lasso: float = 0.0
    grouped: bool = False
    intercept: bool = True

    def value(self, W: Any, b: np.ndarray) -> float:
        """Return f in float64, nats."""
        W, b = _dense(W), np.asarray(b, dtype=np.float64)
        loss = 0.0
        for x, labels in self.blocks():
            z = _logits(x, W, b)
            z -= z[np.arange(len(labels)), labels][:, None]
            highest = z.max(axis=1)
            z -= highest[:, None]
            loss += float((highest + np.log(np.exp(z, out=z).sum(axis=1))).sum())
        norm = np.linalg.norm(W, axis=0).sum() if self.grouped else np.abs(W).sum()
        return loss / len(self.y) + self.ridge / 2 * float(np.vdot(W, W)) + self.lasso * float(norm)

    def blocks(self) -> Iterator[tuple[Any, np.ndarray]]:
        """Yield float64 rows of X and their labels, a block at a time."""
        K, d = self.n_classes, self.X.shape[1]
        size = max(1, BLOCK // K, min(d, LARGE_BLOCK // K))
        for start in range(0, len(self.y), size):
            yield self.X[start : start + size].astype(np.float64), self.y[start : start + size]


def lower_bound(objective: Objective, W: Any, b: np.ndarray) -> float:
    """Return a number that the optimum is not below: tight if (W, b) is near the optimum; −inf if it is too far off."""
    W, b = _dense(W), np.asarray(b, dtype=np.float64)
    if objective.ridge == 0 and objective.lasso == 0:
        return _unpenalised_bound(objective, W, b)
    bound = _penalised_bound(objective, W, b)
    if objective.intercept and objective.n_classes <= MOST_CLASSES_REFINED:
        near = objective.value(W, b)
        if near - bound > 1e-12 * near:
            bound = max(bound, _penalised_bound(objective, W, _optimal_intercept(objective, W, b)))
    return bound


def relative_gap(value: float, bound: float) -> float:
    """Return (f − bound) / f; inf where a coefficient was not finite."""
    return float((value - bound) / value) if np.isfinite(value) else float("inf")


def _dense(W: Any) -> np.ndarray:
    return np.asarray(W.toarray() if scipy.sparse.issparse(W) else W, dtype=np.float64)


def _logits(x: Any, W: np.ndarray, b: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.asarray(x @ W.T) + b
    return found


def _softmax(z: np.ndarray) -> np.ndarray:
    """Return the softmax of each row, in the place of z."""
    z -= z.max(axis=1, keepdims=True)
    p: np.ndarray = np.exp(z, out=z)
    p /= p.sum(axis=1, keepdims=True)
    return p


def _plus_one_hot(p: np.ndarray, labels: np.ndarray, amount: float) -> np.ndarray:
    """Add `amount` in place where the label is."""
    p[np.arange(len(labels)), labels] += amount
    return p


def _class_sums(x: Any, labels: np.ndarray, K: int) -> np.ndarray:
    """Return Σ y_i x_iᵀ, (K, d)."""
    y = scipy.sparse.csr_matrix((np.ones(len(labels)), labels, np.arange(len(labels) + 1)), (len(labels), K))
    found = y.T @ x
    return np.asarray(found.toarray() if scipy.sparse.issparse(found) else found)


def _penalised_bound(objective: Objective, W: np.ndarray, b: np.ndarray) -> float:
    """Return the dual value at the repaired softmax of the point."""
    n, K, d = len(objective.y), objective.n_classes, W.shape[1]
    frequency = np.bincount(objective.y, minlength=K) / n
    G, sums, mean, p_mean = np.zeros((K, d)), np.zeros((K, d)), np.zeros(d), np.zeros(K)
    for x, labels in objective.blocks():
        p = _softmax(_logits(x, W, b))
        p_mean += p.sum(axis=0) / n
        sums += _class_sums(x, labels, K) / n
        G += (x.T @ _plus_one_hot(p, labels, -1)).T / n
        mean += np.asarray(x.sum(axis=0)).ravel() / n
    t, r = _mixed(p_mean, frequency) if objective.intercept else (0.0, np.full(K, 1 / K))
    G = (1 - t) * G + t * (np.outer(r, mean) - sums)
    size = _size(objective, G)
    kept = 1.0
    if objective.ridge == 0 and size.max(initial=0.0) > objective.lasso:
        # Towards the labels: there G is 0, and the constraint holds as well.
        kept = objective.lasso / float(size.max())
        conjugate = 0.0
    elif objective.ridge == 0:
        conjugate = 0.0
    else:
        conjugate = float((np.maximum(size - objective.lasso, 0) ** 2).sum()) / (2 * objective.ridge)
    entropy = 0.0
    for x, labels in objective.blocks():
        q = _plus_one_hot(kept * ((1 - t) * _softmax(_logits(x, W, b)) + t * r), labels, 1 - kept)
        entropy += float(entr(q).sum()) / n
    return entropy - conjugate


def _size(objective: Objective, G: np.ndarray) -> np.ndarray:
    """Return what has to stay within μ: the norm of each column of G, or each entry's size."""
    found: np.ndarray = np.linalg.norm(G, axis=0) if objective.grouped else np.abs(G)
    return found


def _mixed(p_mean: np.ndarray, frequency: np.ndarray) -> tuple[float, np.ndarray]:
    """Return t and r, a point of the simplex, with (1 − t) p̄ + t r = ȳ."""
    # r = p̄ − (p̄ − ȳ) / t is in the simplex as soon as t ≥ max (p̄ − ȳ) / p̄.
    excess = p_mean - frequency
    t = min(1.0, float(np.max(excess / p_mean)) * (1 + 1e-12) + 1e-300)
    r = np.maximum(p_mean - excess / t, 0)
    return t, r / r.sum()


def _optimal_intercept(objective: Objective, W: np.ndarray, b: np.ndarray, steps: int = 3) -> np.ndarray:
    """Return b after a few Newton steps with W fixed; unchanged where a step would not help."""
    n, K = len(objective.y), objective.n_classes
    frequency = np.bincount(objective.y, minlength=K) / n
    best, least = b, np.inf
    for _ in range(steps + 1):
        p_mean, second = np.zeros(K), np.zeros((K, K))
        for x, _labels in objective.blocks():
            p = _softmax(_logits(x, W, b))
            p_mean += p.sum(axis=0) / n
            second += p.T @ p / n
        excess = float(np.abs(p_mean - frequency).max())
        if excess >= least:
            break
        best, least = b, excess
        step = scipy.linalg.lstsq(np.diag(p_mean) - second, p_mean - frequency)[0]
        b = b - step
    return best


def _unpenalised_bound(objective: Objective, W: np.ndarray, b: np.ndarray) -> float:
    """Return Σ π H(q_i) for rows q_i with Σ π (q_i − y_i) x̃_iᵀ = 0, where x̃ has a 1 for the intercept.

    q_i = p_i − J_i A x̃_i with J_i = diag(p_i) − p_i p_iᵀ moves the gradient by −H A, to 0 for the Newton step A = H⁺ G;
    the rows of q_i still sum to 1, and near the optimum they are positive.
    """
    n, K = len(objective.y), objective.n_classes
    W = np.column_stack([W, b]) if objective.intercept else W
    d = W.shape[1]

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for x, labels in objective.blocks():
            x = x.toarray() if scipy.sparse.issparse(x) else x
            x = np.column_stack([x, np.ones(len(labels))]) if objective.intercept else x
            yield x, _softmax(x @ W.T), labels

    G, H = np.zeros((K, d)), np.zeros((K, d, K, d))
    for x, p, labels in blocks():
        G += _plus_one_hot(p.copy(), labels, -1).T @ x / n
        for k in range(K):
            for m in range(k, K):
                part = (x * (p[:, k] * ((k == m) - p[:, m]))[:, None]).T @ x / n
                H[k, :, m] += part
                if m != k:
                    H[m, :, k] += part
    A = scipy.linalg.lstsq(H.reshape(K * d, K * d), G.ravel(), cond=1e-13)[0].reshape(K, d)
    entropy, left = 0.0, np.zeros((K, d))
    for x, p, labels in blocks():
        a = x @ A.T
        q = p * (1 - (a - (p * a).sum(axis=1, keepdims=True)))
        if q.min() < 0:
            return -np.inf
        entropy += float(entr(q).sum()) / n
        left += _plus_one_hot(q, labels, -1).T @ x / n
    # What rounding leaves of the constraint counts against the size of the optimum, which is about that of W.
    return entropy - 2 * float(np.linalg.norm(left)) * float(np.linalg.norm(W))


def separates(X: Any, y: np.ndarray, direction: np.ndarray) -> bool:
    """Whether going along (K, d + 1) ever further lowers the loss of some row and raises that of none."""
    d = X.shape[1]
    x = X.toarray() if scipy.sparse.issparse(X) else np.asarray(X, dtype=np.float64)
    z = x @ direction[:, :d].T + direction[:, d]
    margin = z[np.arange(len(y)), y][:, None] - z
    rounding = 1e-12 * (np.abs(x) @ np.abs(direction[:, :d]).T + np.abs(direction[:, d])).max(axis=1)[:, None]
    return bool(np.all(margin >= -rounding) and np.any(margin > 1e3 * rounding))
