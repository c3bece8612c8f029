"""The certified gap is never below the true gap, which is found in arithmetic that is fine enough to tell."""

import mpmath
import numpy as np
import pytest

from softmax.regression._certificate import Targets, certify
from softmax.regression._objective import MultinomialObjective
from softmax.regression._problem import Problem
from softmax.regression._rows import DenseRows
from softmax.regression._solvers import solve
from softmax.regression._threads import Workers


def classes_and_rows(case):
    """X (n, d), labels (n,), weights, penalty of a named case."""
    rng = np.random.default_rng(7)
    n, d, n_classes = 40, 3, 3
    labels = np.arange(n) % n_classes
    centres = 1.5 * rng.standard_normal((n_classes, d))
    X = rng.standard_normal((n, d)) + centres[labels]
    weights, penalty = None, 1.0 / n
    if case == "peaked":
        X, penalty = 4 * centres[labels] + 0.3 * X, 1e-6
    elif case == "separable":
        X, penalty = 10.0 * np.eye(n_classes)[labels] + 0.1 * X, 1e-9
    elif case == "badly-scaled":
        X = X * np.array([1e-4, 1.0, 1e5]) + np.array([0.0, 1e3, -1e6])
    elif case == "rare-class":
        labels = (np.arange(n) == 5) + 2 * (np.arange(n) > 20)
    elif case == "weighted":
        weights = rng.exponential(size=n) ** 3
    elif case == "two-classes":
        labels = labels % 2
    return X, labels, weights, penalty


CASES = ["plain", "peaked", "separable", "badly-scaled", "rare-class", "weighted", "two-classes"]


def problem_of(X, labels, weights, penalty, intercept):
    """The problem with the same penalty on every feature."""
    ridge = np.full(X.shape[1], penalty)
    return Problem(X, labels, int(labels.max()) + 1, ridge, weights=weights, intercept=intercept)


def targets_of(objective):
    """The sums over the targets, straight from their definition."""
    rows = objective.rows
    X = rows.X - rows.mean
    onehot = np.eye(objective.n_classes)[objective.labels]
    weights = np.ones(rows.n) if rows.weights is None else rows.weights
    return Targets(objective.frequency, (onehot.T * weights) @ X / rows.total_weight, rows.mean, rows.spread)


def certificate_of(objective, now, targets):
    """The certificate of an evaluation."""
    return certify(
        coef=now.coef,
        intercept=now.intercept if objective.has_intercept else None,
        loss=now.loss,
        gradient_sum=now.gradient_sum,
        excess=now.excess,
        penalty=objective.penalty,
        targets=targets,
    )


def exact_objective(X, labels, weights, penalty, coef, intercept):
    """The objective in 50 digits."""
    weights = np.ones(len(X)) if weights is None else weights
    total = mpmath.fsum(weights)
    value = mpmath.mpf(0)
    for x, label, weight in zip(X, labels, weights, strict=True):
        logits = [mpmath.fdot(w, x) + b for w, b in zip(coef, intercept, strict=True)]
        value += weight * (mpmath.log(mpmath.fsum(map(mpmath.exp, logits))) - logits[label]) / total
    return value + penalty * mpmath.fsum(w * w for w in mpmath.matrix(coef)) / 2


def exact_optimum(X, labels, weights, penalty, intercept, start):
    """The optimal value in 50 digits, by Newton's method from a point close to the optimum."""
    n, d = X.shape
    n_classes, width = len(start), d + int(intercept)
    weights = np.ones(n) if weights is None else weights
    total = mpmath.fsum(weights)
    A = [[mpmath.mpf(v) for v in x] + [mpmath.mpf(1)] * int(intercept) for x in X]
    # Features in units of their size keep the matrix well enough conditioned for 50 digits.
    theta = mpmath.matrix(n_classes * width, 1)
    for k in range(n_classes):
        for j in range(width):
            theta[k * width + j] = start[k][j]
    for _ in range(8):
        gradient = mpmath.matrix(n_classes * width, 1)
        hessian = mpmath.matrix(n_classes * width)
        for a, label, weight in zip(A, labels, weights, strict=True):
            z = [mpmath.fdot(a, theta[k * width : (k + 1) * width]) for k in range(n_classes)]
            top = max(z)
            e = [mpmath.exp(v - top) for v in z]
            s = mpmath.fsum(e)
            p = [v / s for v in e]
            for k in range(n_classes):
                residual = weight / total * (p[k] - (k == label))
                for j in range(width):
                    gradient[k * width + j] += residual * a[j]
                for other in range(n_classes):
                    curvature = weight / total * p[k] * ((k == other) - p[other])
                    for j in range(width):
                        for i in range(width):
                            hessian[k * width + j, other * width + i] += curvature * a[j] * a[i]
        for k in range(n_classes):
            for j in range(width):
                # The direction that adds a number to all intercepts is held by a term that vanishes at Σ b = 0.
                if j < d:
                    gradient[k * width + j] += penalty * theta[k * width + j]
                    hessian[k * width + j, k * width + j] += penalty
                else:
                    for other in range(n_classes):
                        gradient[k * width + j] += theta[other * width + j]
                        hessian[k * width + j, other * width + j] += 1
        step = mpmath.lu_solve(hessian, gradient)
        theta -= step
        if mpmath.norm(gradient) < mpmath.mpf(10) ** -40:
            break
    coef = [[theta[k * width + j] for j in range(d)] for k in range(n_classes)]
    constants = [theta[k * width + d] if intercept else mpmath.mpf(0) for k in range(n_classes)]
    return exact_objective(X, labels, weights, penalty, coef, constants)


@pytest.mark.parametrize("intercept", [True, False], ids=["intercept", "no-intercept"])
@pytest.mark.parametrize("case", CASES)
def test_gap_is_at_least_the_true_gap(case, intercept):
    X, labels, weights, penalty = classes_and_rows(case)
    n_classes = labels.max() + 1
    rng = np.random.default_rng(0)
    with mpmath.workdps(50), Workers(None) as workers:
        rows = DenseRows(X, weights, n_classes, intercept, workers)
        problem = problem_of(X, labels, weights, penalty, intercept)
        at = solve(problem, solver="newton", tol=1e-13, max_iter=100, n_threads=1)
        start = np.column_stack([at.coef, at.intercept]) if intercept else at.coef
        optimum = exact_optimum(X, labels, weights, penalty, intercept, start)
        objective = MultinomialObjective(rows, problem)
        point = objective.point_of(at.coef, at.intercept)
        targets = targets_of(objective)
        seen = []
        for noise in [0.0, 1e-12, 1e-9, 1e-6, 1e-3, 0.1, 1.0]:
            shift = noise * rng.standard_normal(objective.shape) * np.abs(point).max(axis=0)
            now = objective.evaluate(point + shift)
            certificate = certificate_of(objective, now, targets)
            exact = exact_objective(X, labels, weights, penalty, now.coef.tolist(), now.intercept.tolist())
            true_gap = exact - optimum
            assert true_gap >= -(mpmath.mpf(10) ** -30)
            assert certificate.gap >= true_gap, (noise, float(true_gap))
            assert certificate.gap >= certificate.objective - optimum, "the bound holds for the rounded objective, too"
            assert abs(certificate.objective - exact) <= 1e-13 * exact
            seen.append(certificate.gap / float(exact))
        assert max(seen) > 1e-2, "the points must be bad enough that a wrong bound would show"
        assert min(seen) <= 1e-9


@pytest.mark.parametrize("case", CASES)
def test_the_moved_dual_point_is_feasible_and_gives_the_gap(case):
    """Build Q row by row, as the formulas say, and compare f − D(Q) and its parts with the certificate."""
    X, labels, weights, penalty = classes_and_rows(case)
    n_classes = labels.max() + 1
    with Workers(None) as workers:
        rows = DenseRows(X, weights, n_classes, True, workers)
        objective = MultinomialObjective(rows, problem_of(X, labels, weights, penalty, True))
        coef = np.random.default_rng(1).standard_normal((n_classes, X.shape[1])) / rows.spread
        now = objective.evaluate(objective.joined(coef, np.linspace(0, 1, n_classes)))
        certificate = certificate_of(objective, now, targets_of(objective))
    pi = np.full(len(X), 1 / len(X)) if weights is None else weights / weights.sum()
    y = np.eye(n_classes)[labels]
    z = (X - rows.mean) @ coef.T + np.linspace(0, 1, n_classes)
    log_p = z - np.logaddexp.reduce(z, axis=1, keepdims=True)
    excess = pi @ (np.exp(log_p) - y)
    t = certificate.shift
    assert 0.01 < t <= 1
    q = (1 - t) * np.exp(log_p) + t * (pi @ np.exp(log_p) - excess / t)
    assert q.min() >= -1e-15
    q = np.maximum(q, 0)
    np.testing.assert_allclose(q.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(pi @ q, pi @ y, rtol=1e-12)
    G = (q - y).T @ (pi[:, None] * (X - rows.mean))
    np.testing.assert_allclose(
        certificate.coefficient_gap, np.linalg.norm(G + penalty * coef) ** 2 / (2 * penalty), rtol=1e-9
    )
    aside = (np.exp(log_p) - y).T @ (pi[:, None] * (X - rows.mean)) + penalty * coef
    np.testing.assert_allclose(certificate.unmoved_gap, np.linalg.norm(aside) ** 2 / (2 * penalty), rtol=1e-9)
    entropy = np.where(q > 0, q * np.log(np.where(q > 0, q, 1)), 0).sum(axis=1)
    dual = -(pi @ entropy) - np.linalg.norm(G) ** 2 / (2 * penalty)
    divergence = pi @ (entropy - (q * log_p).sum(axis=1))
    assert certificate.gap - certificate.coefficient_gap >= divergence * (1 - 1e-9)
    np.testing.assert_allclose(now.value - dual, divergence + certificate.coefficient_gap, rtol=1e-9)


def test_the_intercept_gradient_alone_makes_a_gap():
    """At W = optimal coefficients and a wrong intercept the coefficient gradient alone would not tell."""
    X, labels, weights, _ = classes_and_rows("plain")
    X = X - X.mean(axis=0)
    with Workers(None) as workers:
        rows = DenseRows(X, weights, 3, True, workers)
        # With λ this large W is 0 and only the intercept is left to be wrong.
        objective = MultinomialObjective(rows, problem_of(X, labels, weights, 1e12, True))
        zero = objective.evaluate(np.column_stack([np.zeros((3, 3)), np.log(objective.frequency)]))
        targets = targets_of(objective)
        wrong = np.log(objective.frequency) + np.array([0.5, 0.0, 0.0])
        now = objective.evaluate(np.column_stack([np.zeros((3, 3)), wrong]))
        certificate = certificate_of(objective, now, targets)
    true_gap = now.value - zero.value
    assert true_gap > 0.01
    assert certificate.coefficient_gap < 1e-3 * true_gap
    assert true_gap <= certificate.gap <= 20 * true_gap


def test_without_intercept_gradient_the_gap_is_the_strong_convexity_bound():
    X, labels, weights, penalty = classes_and_rows("plain")
    with Workers(None) as workers:
        rows = DenseRows(X, weights, 3, False, workers)
        objective = MultinomialObjective(rows, problem_of(X, labels, weights, penalty, False))
        now = objective.evaluate(np.ones(objective.shape) * [[1.0], [0.0], [-1.0]])
        targets = targets_of(objective)
        certificate = certificate_of(objective, now, targets)
    np.testing.assert_allclose(certificate.gap, np.linalg.norm(now.gradient) ** 2 / (2 * penalty), rtol=1e-12)
    np.testing.assert_allclose(certificate.grad_norm, np.linalg.norm(now.gradient), rtol=1e-14)


@pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
def test_the_bound_holds_with_offsets_and_a_penalty_of_each_feature(soft):
    X, labels, weights, _ = classes_and_rows("weighted")
    rng = np.random.default_rng(3)
    targets = rng.dirichlet(np.ones(3), len(X)) if soft else None
    problem = Problem(
        X,
        None if soft else labels,
        3,
        np.array([1e-3, 0.1, 1.0]),
        probabilities=targets,
        weights=weights,
        offset=rng.standard_normal((len(X), 3)),
    )
    optimum = solve(problem, tol=1e-12, n_threads=1)
    assert optimum.reason == "certified"
    assert not optimum.estimated
    for steps in (1, 2, 3):
        early = solve(problem, tol=1e-12, max_iter=steps, n_threads=1)
        assert early.gap >= early.objective - optimum.objective > 0
        assert early.gap <= 1e4 * (early.objective - optimum.objective)
    z = X @ optimum.coef.T + optimum.intercept + problem.offset
    truth = np.eye(3)[labels] if targets is None else targets
    loss = (np.logaddexp.reduce(z, axis=1) - (truth * z).sum(axis=1)) @ weights / weights.sum()
    expected = loss + 0.5 * (problem.ridge * optimum.coef**2).sum()
    np.testing.assert_allclose(optimum.objective, expected, rtol=1e-13)
