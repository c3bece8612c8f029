"""The estimated condition of the Hessian, against that of the Hessian written out."""

import warnings

import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import load_wine

import softmax as sm
from softmax.regression import _condition
from softmax.regression._problem import Problem
from softmax.regression._solvers import solve


def labels_of(rng, X, n_classes, size=1.0, shift=0.0):
    """Labels drawn from a softmax model of the columns in their own units; `shift` makes class 0 rare."""
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    logits = size * Z @ rng.standard_normal((X.shape[1], n_classes)) + rng.gumbel(size=(len(X), n_classes))
    logits[:, 0] -= shift
    return logits.argmax(axis=1)


def hessian(X, P, ridge=0.0, weights=None, intercept=True):
    """A of the module on an orthonormal basis of the contrasts."""
    n, n_classes = P.shape
    pi = np.full(n, 1.0 / n) if weights is None else weights / weights.sum()
    Z = X - (pi @ X if intercept else 0.0)
    squares = pi @ Z**2 + ridge
    Z, diagonal = Z / np.sqrt(squares), np.broadcast_to(ridge / squares, X.shape[1])
    if intercept:
        Z, diagonal = np.column_stack([Z, np.ones(n)]), np.append(diagonal, 0.0)
    H = np.zeros((n_classes, Z.shape[1]) * 2)
    for k in range(n_classes):
        for m in range(n_classes):
            H[k, :, m, :] = Z.T @ ((pi * P[:, k] * ((k == m) - P[:, m]))[:, None] * Z) + (k == m) * np.diag(diagonal)
    contrasts = np.linalg.qr(np.column_stack([np.ones(n_classes), np.eye(n_classes)[:, 1:]]))[0][:, 1:]
    Q = np.kron(contrasts, np.eye(Z.shape[1]))
    return Q.T @ H.reshape(len(Q), len(Q)) @ Q


CASES = {
    "well": {},
    "wide": {"d": 25, "n_classes": 7, "n": 2500},
    "two classes": {"n_classes": 2},
    "walks": {"d": 20, "columns": lambda X: np.cumsum(X, axis=1), "n": 2000},
    "near copy": {"columns": lambda X: np.column_stack([X, X[:, 0] + 1e-5 * X[:, 1] ** 2])},
    "raw units": {"columns": lambda X: 1e3 * (X + 5.0) * 10.0 ** np.arange(4)},
    "rare": {"shift": 4.0, "n": 3000},
    "no intercept": {"intercept": False, "columns": lambda X: X + 1.0},
    "some penalised": {"ridge": np.array([0.0, 1e-2, 1.0, 0.0])},
    "weights": {"weighted": True},
    "sparse": {"sparse": True},
    "conjugate gradients": {"solver": "newton-cg", "d": 12, "n_classes": 9, "n": 2000},
}


@pytest.mark.parametrize("case", CASES)
def test_the_estimate_is_the_condition_within_a_factor_of_two(case):
    options = {"n": 600, "d": 4, "n_classes": 3, "columns": lambda X: X, "intercept": True} | CASES[case]
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X = options["columns"](rng.standard_normal((options["n"], options["d"])))
        y = labels_of(rng, X, options["n_classes"], shift=options.get("shift", 0.0))
        weights = rng.uniform(0.5, 3.0, len(X)) if "weighted" in options else None
        ridge = np.broadcast_to(options.get("ridge", 0.0), X.shape[1]).copy()
        data = scipy.sparse.csr_array(X) if "sparse" in options else X
        problem = Problem(data, y, options["n_classes"], ridge, weights=weights, intercept=options["intercept"])
        solution = solve(problem, tol=1e-9, solver=options.get("solver", "auto"))
        P = sm.softmax(X @ solution.coef.T + solution.intercept)
        true = np.linalg.cond(hessian(X, P, ridge, weights, options["intercept"]))
        assert 0.5 * true <= solution.condition.value <= 1.01 * true
        assert solution.condition.large == (true > 1e10)


def test_it_costs_a_few_passes_and_repeats(monkeypatch):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((2000, 10))
    problem = Problem(X, labels_of(rng, X, 5), 5, np.zeros(10))
    passes = []
    estimate = _condition.estimate_condition

    def counted(objective, preconditioner):
        before = objective.rows.n_passes
        found = estimate(objective, preconditioner)
        passes.append(objective.rows.n_passes - before)
        return found

    monkeypatch.setattr(_condition, "estimate_condition", counted)
    first, second = solve(problem, tol=1e-8), solve(problem, tol=1e-8)
    assert first.condition == second.condition
    assert passes[0] <= 12


@pytest.mark.parametrize("kind", ["copy", "nearly", "constant"])
def test_coefficients_that_are_not_determined_are_named(kind):
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(4)
    X = rng.standard_normal((500, 3))
    y = labels_of(rng, X, 3)
    last = {"copy": 2.0 * X[:, 1], "nearly": X[:, 1] + 1e-6 * rng.standard_normal(500), "constant": np.full(500, 3.0)}
    frame = pandas.DataFrame(np.column_stack([X, last[kind]]), columns=["a", "b", "c", "other"])
    words = {
        "copy": r"not determined along one direction, mostly .*column 3 \(other\).* singular to rounding",
        "nearly": r"about 1[23] of 16 digits are lost .* mostly .*column 1 \(b\).*estimated to be .e\+1[23]",
        "constant": r"not determined along one direction, mostly column 3 \(other\) in class",
    }
    with pytest.warns(sm.NotCertifiedWarning, match=words[kind]) as caught:
        model = sm.SoftmaxRegression(np.inf, tol=1e-7).fit(frame, y)
    assert len(caught) == 1
    assert model.status_ == "estimated"
    assert model.condition_ > 1e10
    assert np.isinf(model.condition_) == (kind != "nearly")


def test_rare_classes_are_named():
    condition = _condition.Condition(1e13, (4,), (1, 0), 4)
    assert "mostly the intercepts in classes rare, a," in condition.message(list("wxyz"), ["a", "rare"])
    assert "mostly column 2 in class 1," in _condition.Condition(1e13, (2,), (1,), 4).message()


def test_it_is_there_where_the_gap_is_an_estimate():
    X, y = load_wine(return_X_y=True)
    rng = np.random.default_rng(5)
    free = labels_of(rng, X, 3, size=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sm.NotCertifiedWarning)
        for options, target, there in (
            ({}, free, False),
            ({"C": np.inf}, free, True),
            ({"C": np.inf, "max_iter": 2}, free, True),
            ({"penalty_weights": np.arange(13) > 0}, free, True),
            ({"C": np.inf}, y, False),
            ({"penalty_weights": np.arange(13) > 0, "l1_ratio": 0.5}, free, False),
        ):
            model = sm.SoftmaxRegression(**options).fit(X, target)
            assert (model.condition_ is not None) == there
            assert not there or 1.0 < model.condition_ < 1e6
