"""The slow truth for fits with a lasso penalty: the objective from its definition, and its minimum by accelerated
proximal gradient steps, which know nothing of working sets, coordinates or Hessians.
"""

from dataclasses import replace

import numpy as np
import scipy.sparse

from softmax.regression._problem import Problem


def parts(problem):
    """X dense, targets (n, K), weights with sum 1, offset."""
    X = problem.X.toarray() if scipy.sparse.issparse(problem.X) else problem.X
    X = X.astype(np.float64)
    n = len(X)
    Y = np.eye(problem.n_classes)[problem.labels] if problem.probabilities is None else problem.probabilities
    weights = np.ones(n) if problem.weights is None else problem.weights
    offset = np.zeros((n, problem.n_classes)) if problem.offset is None else problem.offset
    return X, Y, weights / weights.sum(), offset


def penalty_of(problem, W):
    norms = np.sqrt((W**2).sum(axis=0)) if problem.grouped else np.abs(W).sum(axis=0)
    return 0.5 * (problem.ridge * W**2).sum() + (problem.lasso * norms).sum()


def objective_of(problem, W, b):
    X, Y, weights, offset = parts(problem)
    Z = X @ W.T + b + offset
    top = Z.max(axis=1)
    lse = top + np.log(np.exp(Z - top[:, None]).sum(axis=1))
    return weights @ (lse - (Y * Z).sum(axis=1)) + penalty_of(problem, W)


def gradient_of(problem, W, b):
    """Of the loss alone: (K, d) and (K,)."""
    X, Y, weights, offset = parts(problem)
    Z = X @ W.T + b + offset
    P = np.exp(Z - Z.max(axis=1, keepdims=True))
    R = weights[:, None] * (P / P.sum(axis=1, keepdims=True) - Y)
    return R.T @ X, R.sum(axis=0)


def shrunk(problem, U, step):
    """The proximal map of step times the lasso, within the limits."""
    threshold = step * problem.lasso
    if problem.grouped:
        norms = np.sqrt((U**2).sum(axis=0))
        return U * np.maximum(0.0, 1 - threshold / np.maximum(norms, 1e-300))
    W = np.sign(U) * np.maximum(np.abs(U) - threshold, 0.0)
    return W if problem.lower is None else np.clip(W, problem.lower, problem.upper)


def minimum_of(problem, iterations=20_000, tolerance=1e-13):
    """(objective, W, b) at the minimum: FISTA with restarts, in features of mean 0 and spread 1, on which the penalty
    of each is changed accordingly; the intercept is one more block.
    """
    X, Y, weights, offset = parts(problem)
    mean = weights @ X if problem.intercept else np.zeros(X.shape[1])
    spread = np.sqrt(weights @ (X - mean) ** 2)
    spread[spread == 0] = 1.0
    centred = (X - mean) / spread
    limits = {} if problem.lower is None else {"lower": problem.lower * spread, "upper": problem.upper * spread}
    scaled = replace(problem, ridge=problem.ridge / spread**2, lasso=problem.lasso / spread, **limits)
    # diag(p) − ppᵀ ≼ ½.
    curvature = 0.5 * np.linalg.norm(centred * np.sqrt(weights)[:, None], 2) ** 2 + scaled.ridge.max()
    W, a = np.zeros((problem.n_classes, X.shape[1])), np.zeros(problem.n_classes)
    V, c, momentum = W, a, 1.0
    for _ in range(iterations):
        Z = centred @ V.T + c + offset
        P = np.exp(Z - Z.max(axis=1, keepdims=True))
        R = weights[:, None] * (P / P.sum(axis=1, keepdims=True) - Y)
        new = shrunk(scaled, V - (R.T @ centred + scaled.ridge * V) / curvature, 1 / curvature)
        new_a = c - 2 * R.sum(axis=0) * problem.intercept
        change = max(np.abs(new - V).max(initial=0.0), np.abs(new_a - c).max())
        if ((V - new) * (new - W)).sum() + (c - new_a) @ (new_a - a) > 0:
            momentum, V, c = 1.0, new, new_a
        else:
            following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            V, c = new + (momentum - 1) / following * (new - W), new_a + (momentum - 1) / following * (new_a - a)
            momentum = following
        W, a = new, new_a
        if change < tolerance:
            break
    W = W / spread
    b = a - W @ mean
    return objective_of(problem, W, b), W, b


def problem_named(name, seed=3):
    """A small problem for each thing that a fit has to master."""
    rng = np.random.default_rng(seed)
    n, d, n_classes = 60, 8, {"two-classes": 2, "four-classes": 4}.get(name.split("+")[0], 3)
    X = rng.standard_normal((n, d))
    labels = (X @ rng.standard_normal((d, n_classes)) + rng.gumbel(size=(n, n_classes))).argmax(axis=1)
    labels[:n_classes] = np.arange(n_classes)
    options = {"ridge": np.zeros(d), "lasso": np.full(d, 0.03)}
    for word in name.split("+"):
        if word == "sparse":
            X = scipy.sparse.csr_array(X * (rng.random((n, d)) < 0.4))
        elif word == "float32":
            X = X.astype(np.float32)
        elif word == "fortran":
            X = np.asfortranarray(X)
        elif word == "raw":
            X = X * 10.0 ** rng.uniform(-2, 2, d) + 100.0
            options["lasso"] = 0.03 * X.std(axis=0)
        elif word == "weighted":
            options["weights"] = rng.exponential(size=n) ** 2 + 0.01
        elif word == "soft":
            options["probabilities"] = rng.dirichlet(np.full(n_classes, 0.3), n)
        elif word == "offset":
            options["offset"] = rng.standard_normal((n, n_classes))
        elif word == "elastic":
            options["ridge"] = np.full(d, 0.02)
        elif word == "mixed":
            options["ridge"] = np.where(np.arange(d) < 3, 0.05, 0.0)
            options["lasso"] = 0.03 * (np.arange(d) != 1) * rng.uniform(0.5, 2, d)
        elif word == "free":
            options["lasso"] = 0.03 * (np.arange(d) != 2)
        elif word == "grouped":
            options["grouped"] = True
            options["lasso"] = options["lasso"] * np.sqrt(n_classes)
        elif word == "limits":
            options |= {"lower": np.full((n_classes, d), -0.2), "upper": np.full((n_classes, d), 0.4)}
        elif word == "positive":
            options |= {"lower": np.zeros((n_classes, d)), "upper": np.full((n_classes, d), np.inf)}
        elif word == "through-origin":
            options["intercept"] = False
    given = None if "probabilities" in options else labels.astype(np.intp)
    return Problem(X, given, n_classes, **options)


NAMES = [
    "plain",
    "two-classes",
    "four-classes+weighted",
    "sparse",
    "sparse+weighted+offset",
    "float32",
    "fortran+through-origin",
    "raw",
    "soft",
    "sparse+soft+elastic",
    "offset",
    "elastic",
    "mixed",
    "limits",
    "positive+sparse",
    "limits+elastic",
    "grouped",
    "grouped+sparse+offset",
    "grouped+elastic+weighted",
    "grouped+soft+through-origin",
]
