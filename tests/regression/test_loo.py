"""Approximate leave-one-out against leaving each row out."""

import numpy as np
import pytest

import softmax as sm
from softmax.regression import _loo


def blobs(n, d, n_classes, spread=0.7, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    y[: 3 * n_classes] = np.arange(3 * n_classes) % n_classes
    return rng.standard_normal((n, d)) + spread * rng.standard_normal((n_classes, d))[y], y


def exact(X, y, C, weights=None, **options):
    """Log-probability of each row by the fit without it, (n, K)."""
    rows = np.arange(len(y))
    found = []
    for i in rows:
        kept = rows != i
        own = None if weights is None else weights[kept]
        found.append(
            sm.SoftmaxRegression(C, tol=1e-10, **options).fit(X[kept], y[kept], own).predict_log_proba(X[[i]])[0]
        )
    return np.array(found)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize(("C", "close"), [(0.01, 1e-3), (1.0, 1e-2), (30.0, 3e-2)])
def test_close_to_leaving_rows_out(C, close, intercept):
    X, y = blobs(120, 4, 3)
    rows = np.arange(120)
    found = sm.SoftmaxRegressionCV([C], cv="alo", tol=1e-10, fit_intercept=intercept).fit(X, y)
    expected = exact(X, y, C, fit_intercept=intercept)[rows, y]
    inside = sm.SoftmaxRegression(C, tol=1e-10, fit_intercept=intercept).fit(X, y).predict_log_proba(X)[rows, y]
    optimism = inside.mean() - expected.mean()
    assert optimism > 0
    # What is left of the optimism of scoring the rows that were fitted.
    assert abs(found.mean_scores_[0] - expected.mean()) < close * max(1.0, optimism)
    assert abs(found.mean_scores_[0] - expected.mean()) < 0.15 * optimism
    assert found.std_errors_[0] == pytest.approx(expected.std() / np.sqrt(120), rel=0.1)


def test_each_row_is_close_and_better_than_nothing():
    X, y = blobs(80, 3, 4)
    model = sm.SoftmaxRegression(0.5, tol=1e-11).fit(X, y)
    path_inputs = _problem(X, y, 0.5)
    logits = _loo.leave_one_out_logits(path_inputs, model.coef_, model.intercept_, _workers())
    left_out, plain, expected = sm.log_softmax(logits), model.predict_log_proba(X), exact(X, y, 0.5)
    assert np.abs(left_out - expected).max() < 0.2 * np.abs(plain - expected).max()
    assert np.abs(left_out - expected).mean() < 0.05 * np.abs(plain - expected).mean()


def _problem(X, y, C):
    from softmax.regression._problem import Problem

    return Problem(X, y, int(y.max()) + 1, np.full(X.shape[1], 1 / (C * len(y))))


def _workers():
    from softmax.regression._threads import Workers

    return Workers(None)


def test_errors_vanish_as_the_penalty_grows():
    """As C falls the objective becomes quadratic in the coefficients, and one Newton step is the answer."""
    X, y = blobs(60, 3, 3)
    errors = []
    for C in (1e-2, 1e-3):
        model = sm.SoftmaxRegression(C, tol=1e-12, fit_intercept=False).fit(X, y)
        problem = _problem(X, y, C)
        from dataclasses import replace

        problem = replace(problem, intercept=False)
        logits = _loo.leave_one_out_logits(problem, model.coef_, model.intercept_, _workers())
        errors.append(np.abs(sm.log_softmax(logits) - exact(X, y, C, fit_intercept=False)).max())
    assert errors[0] < 1e-4
    assert errors[1] < errors[0] / 50


def test_weights_and_blocks(monkeypatch):
    X, y = blobs(90, 3, 3)
    weights = np.random.default_rng(0).exponential(size=90)
    found = sm.SoftmaxRegressionCV([1.0], cv="alo", tol=1e-10).fit(X, y, weights)
    expected = exact(X, y, 1.0, weights)[np.arange(90), y]
    inside = found.predict_log_proba(X)[np.arange(90), y]
    mean = weights @ expected / weights.sum()
    assert abs(found.mean_scores_[0] - mean) < 0.15 * abs(weights @ inside / weights.sum() - mean)
    monkeypatch.setattr(_loo, "BLOCK_NUMBERS", 64)
    again = sm.SoftmaxRegressionCV([1.0], cv="alo", tol=1e-10).fit(X, y, weights)
    np.testing.assert_allclose(again.scores_, found.scores_, rtol=1e-12)


def test_weights_of_zero_are_absent_rows():
    X, y = blobs(90, 3, 3)
    weights = (np.arange(90) % 4 > 0).astype(float)
    kept = weights > 0
    one = sm.SoftmaxRegressionCV([0.1, 1.0], cv="alo", tol=1e-9).fit(X, y, weights)
    other = sm.SoftmaxRegressionCV([0.1, 1.0], cv="alo", tol=1e-9).fit(X[kept], y[kept])
    np.testing.assert_allclose(one.scores_, other.scores_, rtol=1e-6)


def test_probabilities_for_targets_and_offsets():
    X, y = blobs(90, 3, 3)
    hard = sm.SoftmaxRegressionCV([1.0], cv="alo", tol=1e-9).fit(X, y)
    soft = sm.SoftmaxRegressionCV([1.0], cv="alo", tol=1e-9).fit(X, np.eye(3)[y])
    np.testing.assert_allclose(soft.scores_, hard.scores_, rtol=1e-6)
    offset = np.outer(X[:, 0], [0.5, -0.5, 0.0])
    moved = sm.SoftmaxRegressionCV([1.0], cv="alo", tol=1e-9).fit(X, y, offset=offset)
    assert np.isfinite(moved.scores_).all()
    assert moved.scores_[0, 0] != hard.scores_[0, 0]


def test_the_choice_is_that_of_leaving_rows_out():
    X, y = blobs(60, 6, 3, spread=0.4)
    Cs = np.logspace(-2, 1, 4)
    search = sm.SoftmaxRegressionCV(Cs, cv="alo").fit(X, y)
    exact_means = [exact(X, y, C)[np.arange(60), y].mean() for C in Cs]
    assert search.best_index_ == int(np.argmax(exact_means))
    assert search.scores_.shape == (1, 4)
    assert search.status_ == "certified"


def test_too_many_parameters_are_refused():
    X, y = blobs(60, 3, 3)
    with pytest.raises(sm.OptionError, match=r"cv='alo' inverts a matrix of .* = 16016 rows .* Pass cv=5"):
        _loo.check_size(9, 2001)
    _loo.check_size(7, 900)
    assert sm.SoftmaxRegressionCV([1.0], cv="alo").fit(X, y).status_ == "certified"
