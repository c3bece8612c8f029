"""L1, elastic-net and grouped penalties: the optimum by another way, the bound on the gap, whole features in or out."""

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
from sklearn.linear_model import LogisticRegression

import softmax as sm


@pytest.fixture(scope="module")
def data():
    """200 rows, 12 features of which four matter, three classes; the first column in other units."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 12))
    W = np.zeros((12, 3))
    W[:4] = 2 * rng.standard_normal((4, 3))
    y = (X @ W + rng.gumbel(size=(200, 3))).argmax(axis=1)
    X[:, 0] *= 10
    return X, y


def objective(X, y, coef, intercept, model, weights=None):
    """The objective of the docstring, written out."""
    weights = np.ones(len(X)) if weights is None else weights
    z = X @ coef.T + intercept
    loss = weights @ (np.logaddexp.reduce(z, axis=1) - z[np.arange(len(y)), y]) / weights.sum()
    strength = 1 / (model.C * weights.sum())
    omega = np.linalg.norm(coef, axis=0).sum() if model.grouped else np.abs(coef).sum()
    return loss + strength * ((1 - model.l1_ratio) / 2 * (coef**2).sum() + model.l1_ratio * omega)


@pytest.mark.parametrize("l1_ratio", [1.0, 0.3])
def test_agrees_with_logistic_regression(data, l1_ratio):
    X, y = data
    ours = sm.SoftmaxRegression(0.3, l1_ratio=l1_ratio, tol=1e-10).fit(X, y)
    assert ours.status_ == "certified"
    np.testing.assert_allclose(ours.objective_, objective(X, y, ours.coef_, ours.intercept_, ours), rtol=1e-12)
    theirs = LogisticRegression(C=0.3, l1_ratio=l1_ratio, solver="saga", tol=1e-7, max_iter=20_000).fit(X, y)
    their_value = objective(X, y, theirs.coef_, theirs.intercept_, ours)
    assert -1e-9 <= their_value - ours.objective_ <= 1e-4
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=5e-3)
    assert 0 < np.count_nonzero(ours.coef_) < ours.coef_.size


def test_the_optimum_of_a_split_problem_is_the_same(data):
    """W = U − V with U, V ≥ 0 makes the L1 norm a sum, which L-BFGS-B minimises."""
    X, y = data
    model = sm.SoftmaxRegression(0.1, l1_ratio=1.0, tol=1e-10).fit(X, y)
    K, d = model.coef_.shape
    onehot = np.eye(K)[y]

    def value(theta):
        U, V, b = theta[: K * d].reshape(K, d), theta[K * d : 2 * K * d].reshape(K, d), theta[2 * K * d :]
        z = X @ (U - V).T + b
        lse = np.logaddexp.reduce(z, axis=1)
        residual = (np.exp(z - lse[:, None]) - onehot) / len(X)
        g = residual.T @ X
        fall = (lse - (onehot * z).sum(axis=1)).mean() + model.penalty_ * (U.sum() + V.sum())
        return fall, np.concatenate([(g + model.penalty_).ravel(), (model.penalty_ - g).ravel(), residual.sum(axis=0)])

    limits = [(0, None)] * (2 * K * d) + [(None, None)] * K
    found = scipy.optimize.minimize(
        value,
        np.zeros(2 * K * d + K),
        jac=True,
        bounds=limits,
        method="L-BFGS-B",
        options={"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-15, "gtol": 1e-10},
    )
    assert model.objective_ <= found.fun + 1e-10
    assert found.fun - model.objective_ <= 1e-6


@pytest.mark.parametrize("options", [{"l1_ratio": 1.0}, {"l1_ratio": 0.5}, {"l1_ratio": 1.0, "grouped": True}], ids=str)
def test_the_gap_is_at_least_the_true_gap(data, options):
    X, y = data
    best = sm.SoftmaxRegression(0.3, tol=1e-12, **options).fit(X, y)
    for tol in (1e-1, 1e-3, 1e-5):
        rough = sm.SoftmaxRegression(0.3, tol=tol, **options).fit(X, y)
        assert rough.status_ == "certified"
        assert rough.gap_ <= tol * rough.objective_
        assert rough.objective_ - best.objective_ <= rough.gap_ + 1e-14
        assert best.objective_ <= rough.objective_ + best.gap_


def test_features_of_a_group_are_in_or_out_as_a_whole(data):
    X, y = data
    model = sm.SoftmaxRegression(0.05, l1_ratio=1.0, grouped=True).fit(X, y)
    used = np.count_nonzero(model.coef_, axis=0)
    assert set(used.tolist()) == {0, 3}


def test_sparse_weighted_and_soft_data_give_the_same_optimum(data):
    X, y = data
    weights = np.arange(200) % 3 + 0.0
    weights[:9] = 2.0
    expected = sm.SoftmaxRegression(0.3, l1_ratio=1.0, tol=1e-11).fit(X, y, sample_weight=weights)
    others = [
        sm.SoftmaxRegression(0.3, l1_ratio=1.0, tol=1e-11).fit(scipy.sparse.csr_array(X), y, sample_weight=weights),
        sm.SoftmaxRegression(0.3, l1_ratio=1.0, tol=1e-11).fit(X, np.eye(3)[y], sample_weight=weights),
        sm.SoftmaxRegression(0.3, l1_ratio=1.0, tol=1e-11).fit(
            np.repeat(X, weights.astype(int), axis=0), np.repeat(y, weights.astype(int))
        ),
    ]
    for model in others:
        np.testing.assert_allclose(model.objective_, expected.objective_, rtol=1e-9)
        np.testing.assert_allclose(model.coef_, expected.coef_, atol=2e-4)


def test_a_strong_penalty_leaves_the_class_frequencies(data):
    X, y = data
    model = sm.SoftmaxRegression(1e-6, l1_ratio=1.0).fit(X, y)
    assert not model.coef_.any()
    np.testing.assert_allclose(model.predict_proba(X[:1])[0], np.bincount(y) / len(y), rtol=1e-6)


def test_hard_data_are_certified():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((30, 60))
    X[:, 1] = X[:, 0]
    X[:, 2] = 1.0
    y = np.zeros(30, int)
    y[10:] = 1
    y[29] = 2
    for options in ({}, {"grouped": True}, {"l1_ratio": 0.5}):
        model = sm.SoftmaxRegression(1.0, **{"l1_ratio": 1.0, **options}).fit(X, y)
        assert model.status_ == "certified"
