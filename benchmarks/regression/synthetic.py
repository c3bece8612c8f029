"""Generated data, the same from the same seed."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.regression.datasets import Data
from benchmarks.regression.registry import GROWTH


def unit_norm_embeddings(n: int, d: int, K: int, separation: float, seed: int) -> Data:
    """Return unit vectors with a decaying spectrum, as frozen embeddings have.

    With s_j = j^-½: class means μ_k ~ separation · s ∘ N(0, I), and x = (μ_y + s ∘ N(0, I)) Qᵀ over its length, Q a
    random rotation.
    """
    rng = np.random.default_rng(seed)
    s = np.arange(1, d + 1) ** -0.5
    means = separation * s * rng.standard_normal((K, d))
    y = rng.permutation(np.arange(n) % K)
    rotation = np.linalg.qr(rng.standard_normal((d, d)))[0]
    X = (means[y] + s * rng.standard_normal((n, d))) @ rotation.T
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return Data(X, y, K)


def overlapping(n: int, d: int, K: int, seed: int) -> Data:
    """Return labels drawn from a softmax model with moderate coefficients, so that no classes are separated.

    The model does not depend on n.
    """
    rng = np.random.default_rng(seed)
    W, b = 0.4 * rng.standard_normal((d, K)), 0.5 * rng.standard_normal(K)
    X = rng.standard_normal((n, d))
    logits = X @ W + b
    return Data(X, np.argmax(logits + rng.gumbel(size=(n, K)), axis=1), K)


def wide(n: int, d: int, K: int, informative: int, seed: int) -> Data:
    """Return far more features than rows, a few of which matter."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    W = np.zeros((d, K))
    W[rng.choice(d, informative, replace=False)] = rng.standard_normal((informative, K))
    return Data(X, np.argmax(X @ W + rng.gumbel(size=(n, K)), axis=1), K)


def few_shot(fits: int, per_class: int, K: int, d: int, seed: int) -> Data:
    """Return a pool of embeddings and, for each fit, rows with `per_class` examples of each class."""
    pool = unit_norm_embeddings(1000 * K, d, K, 1.0, seed)
    rng = np.random.default_rng(seed + 1)
    members = [np.flatnonzero(pool.y == k) for k in range(K)]
    batches = [np.concatenate([rng.choice(rows, per_class, replace=False) for rows in members]) for _ in range(fits)]
    return Data(pool.X, pool.y, K, batches=np.stack(batches))


BUILDERS = {
    "overlapping": partial(overlapping, 50_000, 30, 6, seed=2),
    "embeddings-close": partial(unit_norm_embeddings, 50_000, 384, 100, 0.6, seed=8),
    "embeddings-apart": partial(unit_norm_embeddings, 50_000, 384, 100, 2.0, seed=8),
    "embeddings-sweep": partial(unit_norm_embeddings, 20_000, 256, 100, 0.6, seed=9),
    "wide": partial(wide, 500, 5000, 5, 20, seed=11),
    "few-shot": partial(few_shot, 1000, 8, 20, 384, seed=13),
    **{f"growth-{n}": partial(overlapping, n, 30, 10, seed=14) for n in GROWTH},
}
